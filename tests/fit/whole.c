/* Integers stay integers (dtype=int64 and int32 of an input) from every source to the layers that
 * accept them. Expected values are those of Keras 3.15 on TensorFlow 2.21 for these ids. */
#include "check.h"

#include "source/generator_struct.h"

#include <quern/quern.h>
#include <stdbool.h>
#include <unistd.h>
#include <zlib.h>

enum { n = 10 };
static const int64_t ids[n] = {
    0,         1,         16777217,           16777216, -5, 2147483648, 9007199254740993,
    INT64_MAX, INT64_MIN, 1234567890123456789
};
static const struct {
    const char *words;
    float is[n];
} layers[] = {
    { "hashing 1000", { 735, 849, 145, 638, 816, 294, 125, 319, 112, 374 } },
    { "hashing 1000 mask_value=9007199254740993",
      { 20, 766, 264, 344, 829, 997, 0, 414, 960, 946 } },
    { "hashing 1000 salt=(133,137)", { 369, 326, 702, 546, 270, 985, 787, 826, 988, 756 } },
    { "integer_lookup vocabulary=(16777217,2147483648,9223372036854775807,-5)",
      { 0, 0, 1, 0, 4, 2, 0, 3, 0, 0 } },
    { "integer_lookup vocabulary=(16777217,2147483648,9223372036854775807,-5) num_oov_indices=3",
      { 0, 1, 3, 1, 6, 4, 0, 5, 1, 0 } },
    { "identity | flatten | reshape (1,) | hashing 1000",
      { 735, 849, 145, 638, 816, 294, 125, 319, 112, 374 } },
};
enum { n_layers = sizeof layers / sizeof *layers };

static char folder[64] = "/tmp/quern-whole-XXXXXX", path[6][100];
enum { NPY, ZIPPED, STREAM, CSV, TSV, PREPARED, MEMORY, CALLBACK, SERIES, WAYS };
static const char *const ways[] = { "npy",  "npy.gz", "stream",   "csv",   "tsv",
                                    "qrec", "memory", "callback", "series" };

static int make_files(void **state)
{
    char head[128];
    quern_error err = { 0 };
    (void)state;
    assert_non_null(mkdtemp(folder));
    for (int k = 0; k <= PREPARED; k++)
        snprintf(path[k], sizeof path[k], "%s/ids.%s", folder, ways[k]);
    npy_head(head, "<i8", n, 1);
    for (int k = 0; k < 3; k++) {
        gzFile z = gzopen(path[k], k == ZIPPED ? "wb" : "wbT");
        assert_non_null(z);
        gzwrite(z, head, sizeof head);
        gzwrite(z, ids, sizeof ids);
        gzclose(z);
    }
    for (int k = CSV; k <= TSV; k++) {
        FILE *f = fopen(path[k], "w");
        assert_non_null(f);
        fprintf(f, "id\n");
        for (int i = 0; i < n; i++)
            fprintf(f, i == 3 ? "\" %lld \"\n" : i == 1 ? "%lld.0\n" : "%lld\n", (long long)ids[i]);
        fclose(f);
    }
    char words[120];
    snprintf(words, sizeof words, "x=%s", path[NPY]);
    quern_generator *g = quern_file_generator(words, NULL, &err);
    CHECK_OK(g ? quern_prepare(g, NULL, path[PREPARED], &err) : err.code, err);
    quern_generator_free(g);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    for (int k = 0; k <= PREPARED; k++)
        unlink(path[k]);
    return rmdir(folder);
}

static int fill(void *user, quern_batch *b, quern_error *err)
{
    int *at = user;
    (void)err;
    assert_int_equal(b->spec->dtypes[0], QUERN_INT64);
    b->size = *at < n ? 1 : 0;
    if (*at == n)
        return QUERN_END;
    ((int64_t *)b->arrays[0])[0] = ids[(*at)++];
    return QUERN_OK;
}

static int at_callback;

static quern_generator *open_way(int way, quern_error *err)
{
    static const quern_tensor x = { .dtype = QUERN_INT64,
                                    .shape = { .rank = 2, .dims = { n, 1 } },
                                    .data = (void *)(uintptr_t)ids };
    char words[120];
    at_callback = 0;
    if (way == MEMORY)
        return quern_array_generator(&x, 1, NULL, 0, NULL, err);
    if (way == CALLBACK)
        return quern_callback_generator(&(quern_callback_ops){ .next = fill }, &at_callback);
    snprintf(words, sizeof words, way < STREAM || way == SERIES ? "x=%s" : "%s",
             way == SERIES ? path[ZIPPED] : path[way]);
    quern_generator *g = quern_file_generator(
        words, &(quern_file_opts){ .format = way == STREAM ? "npy" : NULL }, err);
    return way == SERIES
               ? quern_series_generator(g, &(quern_series_opts){ .sequence_length = 1 }, err)
               : g;
}

typedef struct kept {
    float out[n];
    int64_t count;
} kept;

static int keep(void *user, const float *const *out, int64_t records)
{
    kept *k = user;
    for (int64_t r = 0; r < records && k->count < n; r++)
        k->out[k->count++] = out[0][r];
    return 0;
}

static int by_value(const void *a, const void *b)
{
    return (*(const float *)a > *(const float *)b) - (*(const float *)a < *(const float *)b);
}

static void ids_from_every_source_match_keras(void **state)
{
    (void)state;
    for (int l = 0; l < n_layers; l++)
        for (int way = 0; way < WAYS; way++) {
            char words[300];
            kept k = { .count = 0 }, want;
            quern_error err = { 0 };
            snprintf(words, sizeof words, "input 1 dtype=int64 | %s", layers[l].words);
            quern_model *m = quern_model_from_spec(words, 1, &err);
            CHECK_OK(m ? 0 : err.code, err);
            quern_generator *g = open_way(way, &err);
            CHECK_OK(g ? 0 : err.code, err);
            if (quern_predict_generator(m, g, way == STREAM ? n : 4, 0, keep, &k, &err) < 0)
                fail_msg("%s: %s: %s: %s", words, ways[way], err.where, err.text);
            memcpy(want.out, layers[l].is, sizeof want.out);
            if (way == PREPARED) { /* in an order of its own */
                qsort(k.out, n, sizeof *k.out, by_value);
                qsort(want.out, n, sizeof *want.out, by_value);
            }
            for (int i = 0; i < n; i++)
                if (k.count != n || k.out[i] != want.out[i])
                    fail_msg("%s: %s: record %d is %g, expected %g", words, ways[way], i,
                             (double)k.out[i], (double)want.out[i]);
            quern_generator_free(g);
            quern_model_free(m);
        }
}

/* Rows of a CSV on two threads, inputs of every type, shuffled or not, with one slot or two. */
static void columns_of_all_types_are_adjacent(void **state)
{
    (void)state;
    enum { rows = 5000, batch = 32 };
    const quern_batch_spec spec = { .n_inputs = 3,
                                    .n_targets = 1,
                                    .batch_size = batch,
                                    .shapes = { { .rank = 2, .dims = { -1, 2 } },
                                                { .rank = 1, .dims = { -1 } },
                                                { .rank = 2, .dims = { -1, 1 } },
                                                { .rank = 1, .dims = { -1 } } },
                                    .dtypes = { QUERN_FLOAT32, QUERN_INT64, QUERN_INT32,
                                                QUERN_FLOAT32 },
                                    .names = { "floats", "large", "whole", "y" },
                                    .weights = { { .rank = 1, .dims = { -1 } } } };
    char file[100];
    snprintf(file, sizeof file, "%s/wide.csv", folder);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fprintf(f, "c,d,a,b,y\n");
    for (int i = 0; i < rows; i++)
        fprintf(f, "%d,%g,%lld,%d,%d\n", i % 7, i / 4.0, (1ll << 61) + i, 1000000000 + i, i % 3);
    fclose(f);
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        static bool seen[rows];
        quern_error err = { 0 };
        quern_generator *g = quern_file_generator(file, &(quern_file_opts){ .target = "y" }, &err);
        CHECK_OK(g ? g->ops->open(g, &spec, shuffle, 3, &err) : err.code, err);
        memset(seen, 0, sizeof seen);
        int64_t all = 0;
        for (int status = QUERN_OK; status == QUERN_OK;) {
            float floats[2 * batch], y[batch];
            int64_t large[batch];
            int32_t whole[batch];
            quern_batch b = { .spec = &spec, .size = batch, .arrays = { floats, large, whole, y } };
            status = g->ops->next(g, &b, &err);
            CHECK_OK(status, err);
            for (int64_t r = 0; status == QUERN_OK && r < b.size; r++, all++) {
                int64_t i = large[r] - (1ll << 61);
                assert_true(i >= 0 && i < rows && !seen[i]);
                seen[i] = true;
                assert_true(floats[2 * r] == (float)(i % 7) && floats[2 * r + 1] == (float)i / 4 &&
                            whole[r] == 1000000000 + i && y[r] == (float)(i % 3));
            }
        }
        assert_int_equal(all, rows);
        quern_generator_free(g);
    }
    unlink(file);
}

static void a_fraction_is_named(void **state)
{
    (void)state;
    const struct {
        const char *dtype, *csv, *where, *said;
    } cases[] = { { "int64", "id\n1\n2.5\n", ":3: column 'id'", "2.5 is not an integer" },
                  { "int64", "id\n1\n9223372036854775808\n", ":3: column 'id'",
                    "9.22337e+18 is outside int64" },
                  { "int32", "id\n1\n2147483648\n", ":3: column 'id'",
                    "2147483648 is outside int32 (-2147483648 to 2147483647)" },
                  { "int32", "id\n-2147483649\n", ":2: column 'id'",
                    "-2147483649 is outside int32" },
                  { "int64", "id\n1\nx\n", ":3: column 'id'", "'x' is not a number" },
                  { "int64", "id\n1\n\"\"\n", ":3: column 'id'", "a value is missing" } };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char file[100], words[100];
        quern_error err = { 0 };
        kept out = { .count = 0 };
        snprintf(file, sizeof file, "%s/bad.csv", folder);
        FILE *f = fopen(file, "w");
        assert_non_null(f);
        fputs(cases[k].csv, f);
        fclose(f);
        snprintf(words, sizeof words, "input 1 dtype=%s | hashing 10", cases[k].dtype);
        quern_model *m = quern_model_from_spec(words, 1, &err);
        quern_generator *g = quern_file_generator(file, NULL, &err);
        CHECK_OK(m && g ? 0 : err.code, err);
        assert_true(quern_predict_generator(m, g, 4, 0, keep, &out, &err) < 0);
        if (!strstr(err.where, cases[k].where) || !strstr(err.text, cases[k].said))
            fail_msg("case %zu: %s: %s", k, err.where, err.text);
        quern_generator_free(g);
        quern_model_free(m);
        unlink(file);
    }
}

/* A prepared table has float32: an id that is not exact in float32 is an error. */
static void inexact_ids_of_prepared_tables_are_errors(void **state)
{
    (void)state;
    const struct {
        const char *csv;
        bool works;
    } cases[] = { { "id\n5\n16777215\n", true }, { "id\n5\n16777217\n", false } };
    for (int c = 0; c < 2; c++) {
        char file[100], qrec[100];
        quern_error err = { 0 };
        kept k = { .count = 0 };
        snprintf(file, sizeof file, "%s/t.csv", folder);
        snprintf(qrec, sizeof qrec, "%s/t.qrec", folder);
        FILE *f = fopen(file, "w");
        assert_non_null(f);
        fputs(cases[c].csv, f);
        fclose(f);
        quern_generator *table = quern_file_generator(file, NULL, &err);
        CHECK_OK(table ? quern_prepare(table, NULL, qrec, &err) : err.code, err);
        quern_generator_free(table);
        quern_generator *g = quern_file_generator(qrec, NULL, &err);
        quern_model *m = quern_model_from_spec("input 1 dtype=int64 | hashing 1000", 1, &err);
        CHECK_OK(g && m ? 0 : err.code, err);
        assert_int_equal(quern_predict_generator(m, g, 2, 0, keep, &k, &err),
                         cases[c].works ? 2 : QUERN_INVALID);
        assert_true(cases[c].works || strstr(err.text, "16777216 may be rounded"));
        quern_generator_free(g);
        quern_model_free(m);
        unlink(file);
        unlink(qrec);
    }
}

/* An id that is in the table, and one that is not; the model's file stores the type. */
static void embeddings_take_ids(void **state)
{
    (void)state;
    char file[100];
    quern_error err = { 0 };
    snprintf(file, sizeof file, "%s/m.keras", folder);
    quern_model *made = quern_model_from_spec(
        "input 2 dtype=int64 | embedding 5 3 mask_zero=true | flatten | dense 1", 1, &err);
    CHECK_OK(made ? quern_model_save(made, file, &err) : err.code, err);
    quern_model *m = quern_model_open(file, &err);
    CHECK_OK(m ? quern_compile(m, "sgd", "mse", NULL, &err) : err.code, err);
    assert_int_equal(quern_model_input_dtype(m, 0), QUERN_INT64);
    int64_t x[4] = { 1, 4, 0, 2 }, other[4] = { 1, 4, 0, 1ll << 33 };
    float y[2] = { 1, 0 };
    const quern_tensor
        tx = { .dtype = QUERN_INT64, .shape = { .rank = 2, .dims = { 2, 2 } }, .data = x },
        to = { .dtype = QUERN_INT64, .shape = { .rank = 2, .dims = { 2, 2 } }, .data = other },
        ty = { .dtype = QUERN_FLOAT32, .shape = { .rank = 1, .dims = { 2 } }, .data = y };
    for (int k = 0; k < 2; k++) {
        quern_generator *g = quern_array_generator(k ? &to : &tx, 1, &ty, 1, NULL, &err);
        quern_history *h =
            quern_fit_generator(m, g, &(quern_fit_opts){ .epochs = 1, .batch_size = 2 }, &err);
        assert_int_equal(h != NULL, k == 0);
        quern_history_free(h);
        quern_generator_free(g);
    }
    assert_non_null(strstr(err.text, "outside 0 … 4"));
    quern_model_free(made);
    quern_model_free(m);
    unlink(file);
}

/* Two crossed ids: each pair, and the same pair in reverse order. */
static void crossings_match_keras(void **state)
{
    (void)state;
    static const float is[n] = { 974, 530, 185, 983, 382, 441, 625, 391, 428, 763 };
    int64_t back[n];
    kept k = { .count = 0 };
    quern_error err = { 0 };
    for (int i = 0; i < n; i++)
        back[i] = ids[n - 1 - i];
    const quern_tensor x[2] = {
        { .dtype = QUERN_INT64,
          .shape = { .rank = 1, .dims = { n } },
          .data = (void *)(uintptr_t)ids },
        { .dtype = QUERN_INT64, .shape = { .rank = 2, .dims = { n, 1 } }, .data = back }
    };
    quern_model *m = quern_model_from_spec("input 1 name=a dtype=int64 as a | input 1 name=b "
                                           "dtype=int64 as b | @a | hashed_crossing 1000 @b",
                                           1, &err);
    quern_generator *g = quern_array_generator(x, 2, NULL, 0, NULL, &err);
    CHECK_OK(m && g ? quern_predict_generator(m, g, 4, 0, keep, &k, &err) : err.code, err);
    for (int i = 0; i < n; i++)
        assert_true(k.out[i] == is[i]);
    quern_generator_free(g);
    quern_model_free(m);
}

/* Layers that adapt to integers: to ids, and to integers that become floats. */
static void layers_adapt_to_integers(void **state)
{
    (void)state;
    const struct {
        const char *words;
        float is[n];
    } cases[] = { { "integer_lookup", { 0 } },
                  { "normalization", { -1, 1, -1, 1, -1, 1, -1, 1, -1, 1 } } };
    static const int64_t two[n] = { 16777216, 50331648, 16777216, 50331648, 16777216,
                                    50331648, 16777216, 50331648, 16777216, 50331648 };
    for (int c = 0; c < 2; c++) {
        char words[100];
        bool seen[n + 1] = { false };
        kept k = { .count = 0 };
        quern_error err = { 0 };
        const quern_tensor x = { .dtype = QUERN_INT64,
                                 .shape = { .rank = 1, .dims = { n } },
                                 .data = (void *)(uintptr_t)(c ? two : ids) };
        snprintf(words, sizeof words, "input 1 dtype=int64 | %s", cases[c].words);
        quern_model *m = quern_model_from_spec(words, 1, &err);
        quern_generator *g = quern_array_generator(&x, 1, NULL, 0, NULL, &err);
        CHECK_OK(m && g ? quern_adapt(m, NULL, g, 4, 0, &err) : err.code, err);
        CHECK_OK(quern_predict_generator(m, g, 4, 0, keep, &k, &err), err);
        for (int i = 0; i < n; i++)
            if (c)
                CHECK_NEAR(k.out[i], cases[c].is[i], 1e-6, 0);
            else { /* each has an index of its own */
                assert_true(k.out[i] >= 1 && k.out[i] <= n && !seen[(int)k.out[i]]);
                seen[(int)k.out[i]] = true;
            }
        quern_generator_free(g);
        quern_model_free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(ids_from_every_source_match_keras),
                                        cmocka_unit_test(columns_of_all_types_are_adjacent),
                                        cmocka_unit_test(a_fraction_is_named),
                                        cmocka_unit_test(embeddings_take_ids),
                                        cmocka_unit_test(inexact_ids_of_prepared_tables_are_errors),
                                        cmocka_unit_test(crossings_match_keras),
                                        cmocka_unit_test(layers_adapt_to_integers) };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
