/* Files as streams: values, places in messages (P13), unusual forms of CSV (P16), every flipped
 * byte and every truncation (P19). */
#include "check.h"

#include <math.h>
#include <quern/quern.h>
#include <unistd.h>

static char csv_path[64], x_path[64], y_path[64];

static void write_file(const char *path, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

typedef struct kept {
    int64_t n;
    float rows[64][3];
} kept;

static int keep(void *user, const float *const *out, int64_t n)
{
    kept *k = user;
    for (int64_t r = 0; r < n && k->n < 64; r++, k->n++)
        memcpy(k->rows[k->n], out[0] + 3 * r, sizeof k->rows[0]);
    return 0;
}

/* Reads a CSV of three columns through a model that returns its input. */
static int64_t read_csv(const char *text, const char *missing, kept *k, quern_error *err)
{
    write_file(csv_path, text, strlen(text));
    *k = (kept){ 0 };
    quern_model *m = quern_model_from_spec("input 3 | activation linear", 0, err);
    quern_generator *g =
        quern_file_generator(csv_path, &(quern_file_opts){ .missing = missing }, err);
    int64_t n = g ? quern_predict_generator(m, g, 4, 0, keep, k, err) : err->code;
    quern_generator_free(g);
    quern_model_free(m);
    return n;
}

static void csv_forms_are_read_correctly(void **state)
{
    (void)state;
    const struct {
        const char *text, *missing;
        int64_t n;
        float last;
        const char *where, *said;
    } cases[] = {
        { "a,b,c\n1,2,3\n4,5,6\n", NULL, 2, 6, "", "" },
        { "a,b,c\r\n1,2,3\r\n4,5,6.5", NULL, 2, 6.5f, "", "" },
        { "\xef\xbb\xbf"
          "a,b,c\n\n1,2,3\n\n",
          NULL, 1, 3, "", "" },
        { "\"a\nx\",\"b,\",\"c\"\"\"\n\"1\",2,\"-3e2\"\n", NULL, 1, -300, "", "" },
        { "a,b,c\n1,?,3\n,NA,nan\n", "7.5", 2, 7.5f, "", "" },
        { "a,b,c\n1,2,0.1\n", NULL, 1, 0.1f, "", "" },
        { "a,b,c\n1,2,3\n4,?,6\n", NULL, -14, 0, ":3: column 'b'", "a value is missing" },
        { "a,b,c\n1,2,1e999\n", NULL, -14, 0, ":2: column 'c'", "does not fit float32" },
        { "a,b,c\n1,2,3\n4,5\n", NULL, -7, 0, ":3", "2 fields, expected 3" },
        { "a,b,c\n1,2,3,4\n", NULL, -7, 0, ":2", "4 fields, expected 3" },
        { "a,b,c\n1,2,x3\n", NULL, -7, 0, ":2: column 'c'", "'x3' is not a number" },
        { "a,b,c\n1,2,\"3\n", NULL, -7, 0, "", "the file ends inside quotes" },
        { "", NULL, -7, 0, "", "no header" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        quern_error err = { 0 };
        kept k;
        int64_t n = read_csv(cases[i].text, cases[i].missing, &k, &err);
        if (n != cases[i].n || !strstr(err.where, cases[i].where) ||
            !strstr(err.text, cases[i].said))
            fail_msg("case %zu: %lld, '%s: %s'", i, (long long)n, err.where, err.text);
        if (n > 0)
            assert_true(k.rows[n - 1][2] == cases[i].last);
    }
}

static void missing_targets_are_named(void **state)
{
    (void)state;
    quern_error err = { 0 };
    write_file(csv_path, "a,label\n1,2\n", 12);
    quern_generator *g =
        quern_file_generator(csv_path, &(quern_file_opts){ .target = "label" }, &err);
    assert_int_equal(quern_generator_features(g), 1);
    quern_generator_free(g);
    assert_null(quern_file_generator(csv_path, &(quern_file_opts){ .target = "labell" }, &err));
    assert_string_equal(err.hint, "did you mean 'label'?");
}

/* P19: any changed or missing byte gives a result or an error, never a crash. */
static void corrupt_files_are_errors(void **state)
{
    (void)state;
    uint8_t images[16 + 5 * 4] = { 0, 0, 8, 3, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 2 },
                            labels[8 + 5] = { 0, 0, 8, 1, 0, 0, 0, 5, 0, 1, 2, 1, 0 };
    char words[160];
    snprintf(words, sizeof words, "x=%s y=%s", x_path, y_path);
    write_file(y_path, labels, sizeof labels);
    int good = 0, bad = 0;
    for (size_t i = 0; i < 2 * sizeof images + 1; i++) {
        quern_error err = { 0 };
        uint8_t copy[sizeof images];
        double logs[1];
        memcpy(copy, images, sizeof images);
        if (i < sizeof images)
            copy[i] ^= 0xff;
        write_file(x_path, copy, i <= sizeof images ? sizeof images : i - sizeof images - 1);
        quern_model *m = quern_model_from_spec("input 2 2 | flatten | dense 3 softmax", 0, &err);
        assert_true(quern_compile(m, "sgd", "sparse_categorical_crossentropy", NULL, &err) >= 0);
        quern_generator *g = quern_file_generator(words, NULL, &err);
        int64_t n = g ? quern_evaluate_generator(m, g, 2, 0, logs, &err) : err.code;
        assert_true(n == 5 || (n < 0 && *err.text));
        good += n == 5;
        bad += n < 0;
        quern_generator_free(g);
        quern_model_free(m);
    }
    assert_true(good >= 20 && bad >= 40); /* pixels may have any value; headers and ends may not */
}

static void labels_out_of_range_are_named(void **state)
{
    (void)state;
    quern_error err = { 0 };
    double logs[1];
    write_file(csv_path, "a,y\n1,0\n2,1\n3,9\n", 16);
    quern_model *m = quern_model_from_spec("input 1 | dense 2 softmax", 0, &err);
    assert_true(quern_compile(m, "sgd", "sparse_categorical_crossentropy", NULL, &err) >= 0);
    quern_generator *g = quern_file_generator(csv_path, &(quern_file_opts){ .target = "y" }, &err);
    assert_int_equal(quern_evaluate_generator(m, g, 2, 0, logs, &err), QUERN_INVALID);
    assert_non_null(strstr(err.text, "label 9 is outside 0 … 1"));
    quern_generator_free(g);
    quern_model_free(m);
}

int main(void)
{
    snprintf(csv_path, sizeof csv_path, "/tmp/quern-%d.csv", (int)getpid());
    snprintf(x_path, sizeof x_path, "/tmp/quern-%d-idx3-ubyte", (int)getpid());
    snprintf(y_path, sizeof y_path, "/tmp/quern-%d-idx1-ubyte", (int)getpid());
    const struct CMUnitTest tests[] = { cmocka_unit_test(csv_forms_are_read_correctly),
                                        cmocka_unit_test(missing_targets_are_named),
                                        cmocka_unit_test(corrupt_files_are_errors),
                                        cmocka_unit_test(labels_out_of_range_are_named) };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(csv_path), unlink(x_path), unlink(y_path);
    return failed;
}
