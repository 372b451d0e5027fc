/* Arrays in files that NumPy wrote: x (7, 2, 3) = 0, 1/4, 2/4, …; y = 0 1 2 0 1 2 0; w from 0.5
 * to 2 (tests/data/numpy). */
#include "check.h"

#include "source/generator_struct.h"

#include <quern/quern.h>
#include <stdbool.h>
#include <unistd.h>
#include <zlib.h>

static const quern_batch_spec spec = { .n_inputs = 1,
                                       .n_targets = 1,
                                       .batch_size = 16,
                                       .shapes = { { .rank = 3, .dims = { -1, 2, 3 } },
                                                   { .rank = 1, .dims = { -1 } } },
                                       .dtypes = { QUERN_FLOAT32, QUERN_INT32 },
                                       .names = { "image", "kind" },
                                       .weights = { { .rank = 1, .dims = { -1 } } } };

typedef struct seen {
    float x[16 * 6], w[16], own[16];
    int32_t y[16];
    int64_t indices[16];
    quern_batch b;
} seen;

/* Reads the first batch by random access or sequentially, as the source supports. */
static int take(const char *format, bool shuffle, seen *s, quern_error *err)
{
    char words[800];
    snprintf(words, sizeof words, format, QUERN_TEST_DATA "/numpy", QUERN_TEST_DATA "/numpy",
             QUERN_TEST_DATA "/numpy");
    memset(s, 0, sizeof *s);
    s->b = (quern_batch){
        .spec = &spec, .size = 16, .arrays = { s->x, s->y }, .weights = s->w, .indices = s->indices
    };
    s->b.target_weights[0] = s->own;
    quern_generator *g = quern_file_generator(words, NULL, err);
    int status = g ? g->ops->open(g, &spec, shuffle, 6, err) : err->code;
    if (status >= 0 && g->ops->read) {
        s->b.size = g->count;
        status = g->ops->read(g, 0, 0, &s->b, err);
    } else if (status >= 0)
        status = g->ops->next(g, &s->b, err);
    quern_generator_free(g);
    return status;
}

static void values_equal_numpy(void **state)
{
    (void)state;
    const struct {
        const char *words;
        double step;
        int weighted;
    } files[] = { { "x=%s/x.npy y=%s/y.npy", 0.25, 0 },
                  { "%s/stored.npz", 0.25, 1 },
                  { "%s/deflated.npz", 0, 1 },
                  { "x=%s/stored.npz:/x y=%s/y.npy w=%s/deflated.npz:/w", 0.25, 1 },
                  { "y:kind=%s/y.npy x:image=%s/x.npy", 0.25, 0 },
                  { "y:kind=%s/y.npy x:image=%s/x.npy w:kind=%s/stored.npz:/w", 0.25, 2 } };
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        seen s;
        quern_error err = { 0 };
        if (take(files[f].words, false, &s, &err) < 0)
            fail_msg("%s: %s: %s", files[f].words, err.where, err.text);
        assert_int_equal(s.b.size, 7);
        assert_int_equal(s.b.has_weights, files[f].weighted == 1);
        assert_int_equal(s.b.weighs[0],
                         files[f].weighted == 2 ? QUERN_WEIGHTS_RECORDS : QUERN_WEIGHTS_COMMON);
        for (int i = 0; i < 42; i++)
            assert_true(s.x[i] ==
                        (files[f].step > 0 ? (float)(i * files[f].step) : (float)(i / 4)));
        for (int i = 0; i < 7; i++) {
            assert_int_equal(s.y[i], i % 3);
            if (files[f].weighted)
                CHECK_NEAR((files[f].weighted == 1 ? s.w : s.own)[i], 0.5 + 0.25 * i, 1e-6, 0);
        }
    }
}

/* Shuffled random access: every record comes once, x with its own y. */
static void shuffled_records_keep_their_labels(void **state)
{
    (void)state;
    seen s;
    quern_error err = { 0 };
    int times[7] = { 0 }, moved = 0;
    assert_true(take("%s/stored.npz", true, &s, &err) >= 0);
    for (int i = 0; i < 7; i++) {
        int record = (int)s.indices[i];
        times[record]++;
        moved += record != i;
        assert_true(s.x[6 * i] == (float)(record * 1.5));
        assert_int_equal(s.y[i], record % 3);
    }
    for (int i = 0; i < 7; i++)
        assert_int_equal(times[i], 1);
    assert_true(moved > 0);
}

/* A gzipped IDX of 3,000 records sorted by class. Every pass has each record once with its own
 * label. From the second pass on the blocks are in a random order, so that a batch has several
 * classes (P17). A pass does not depend on previous passes (P12). */
static void gzip_is_shuffled_by_blocks(void **state)
{
    (void)state;
    enum { n = 3000, per = 600 };
    static float x[16 * per];
    static double classes[3];
    char path[2][80], words[200];
    quern_error err = { 0 };
    for (int f = 0; f < 2; f++) {
        uint8_t head[12] = { 0, 0,        8,        (uint8_t)(f ? 1 : 2), 0, 0, n >> 8, n & 255, 0,
                             0, per >> 8, per & 255 };
        snprintf(path[f], sizeof path[f], "/tmp/quern-blocks-%d-%d.gz", (int)getpid(), f);
        gzFile z = gzopen(path[f], "wb");
        gzwrite(z, head, f ? 8 : 12);
        for (int r = 0; r < n; r++)
            for (int k = 0; k < (f ? 1 : per); k++)
                gzputc(z, f        ? r / (n / 10)
                          : k == 0 ? r >> 8
                          : k == 1 ? r & 255
                                   : (r * 31 + k * k) & 255);
        gzclose(z);
    }
    snprintf(words, sizeof words, "x=%s y=%s", path[0], path[1]);
    quern_batch_spec wide = { .n_inputs = 1,
                              .n_targets = 1,
                              .batch_size = 16,
                              .shapes = { { .rank = 2, .dims = { -1, per } },
                                          { .rank = 1, .dims = { -1 } } },
                              .dtypes = { QUERN_FLOAT32, QUERN_INT32 } };
    quern_generator *g = quern_file_generator(words, NULL, &err);
    if (!g || g->ops->open(g, &wide, true, 1, &err) < 0)
        fail_msg("%s: %s", err.where, err.text);
    for (int pass = 0; pass < 4; pass++) {
        static int times[n], order[2][n];
        int at = 0;
        if (pass == 3) {
            quern_generator_free(g);
            g = quern_file_generator(words, NULL, &err);
            CHECK_OK(g->ops->open(g, &wide, true, 1, &err), err);
        }
        int32_t y[16];
        int64_t first = -1;
        quern_batch b = { .spec = &wide, .arrays = { x, y }, .weights = NULL };
        memset(times, 0, sizeof times);
        CHECK_OK(g->ops->reset(g, pass < 3 ? pass : 2, &err), err);
        for (int status; (b.size = 16, status = g->ops->next(g, &b, &err)) != QUERN_END;) {
            CHECK_OK(status, err);
            for (int r = 0; r < b.size; r++) {
                int record = (int)x[r * per] * 256 + (int)x[r * per + 1];
                first = first < 0 ? record : first;
                times[record]++;
                order[pass == 3][at++] = record;
                assert_int_equal(y[r], record / (n / 10));
                assert_true(x[r * per + 599] == (float)((record * 31 + 599 * 599) & 255));
            }
        }
        for (int i = 0; i < n; i++)
            assert_int_equal(times[i], 1);
        if (pass < 3)
            classes[pass] = (double)(first / (n / 10));
        else
            assert_memory_equal(order[0], order[1], sizeof order[0]);
    }
    assert_true(classes[0] < 6 && (classes[1] >= 6 || classes[2] >= 6 || classes[1] != classes[2]));
    quern_generator_free(g);
    unlink(path[0]);
    unlink(path[1]);
}

static void slices_have_the_given_records(void **state)
{
    (void)state;
    quern_error err = { 0 };
    seen s = { 0 };
    quern_generator *g = quern_file_generator(QUERN_TEST_DATA "/numpy/stored.npz", NULL, &err);
    assert_int_equal(quern_generator_count(g), 7);
    assert_int_equal(quern_generator_slice(g, 2, 6, &err), QUERN_OK);
    assert_int_equal(quern_generator_slice(g, 1, 9, &err), QUERN_INVALID);
    assert_int_equal(quern_generator_count(g), 4);
    s.b = (quern_batch){
        .spec = &spec, .size = 4, .arrays = { s.x, s.y }, .weights = s.w, .indices = s.indices
    };
    assert_true(g->ops->open(g, &spec, false, 5, &err) >= 0 &&
                g->ops->read(g, 0, 0, &s.b, &err) >= 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(s.indices[i], i + 2);
    assert_true(s.x[0] == 3);
    quern_generator_free(g);
}

static void errors_name_their_cause(void **state)
{
    (void)state;
    const char *const words[][2] = {
        { "x=%s/x.npy y=%s/no.npy", "No such file" },
        { "x=%s/fortran.npy y=%s/y.npy",
          "has shape (7, 3), the model expects (None, 2, 3) for 'image'" },
        { "x=%s/y.npy y=%s/y.npy", "has shape (7,), the model expects (None, 2, 3)" },
        { "x=%s/stored.npz:/z y=%s/y.npy", "has no array 'z'" },
        { "x=%s/x.npy:/x y=%s/y.npy", "not an NPZ file" },
        { "x=%s/x.npy", "no file for output 'kind'" },
        { "x=%s/x.npy x:other=%s/x.npy y=%s/y.npy", "the model has 1 inputs" },
        { "x=%s/x.npy y=%s/x.npy", "has shape (7, 2, 3), the model expects (None,) for 'kind'" },
        { "x=%s/x.npy y=%s/y.npy w=%s/x.npy", "expected weights with one number per record" },
        { "x=%s/x.npy y=%s/y.npy w:mind=%s/y.npy", "no output is called 'mind'" },
        { "x=%s y=%s/y.npy", "Is a directory" }
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        seen s;
        quern_error err = { 0 };
        assert_true(take(words[i][0], false, &s, &err) < 0);
        if (!strstr(err.text, words[i][1]))
            fail_msg("%s: %s: %s", words[i][0], err.where, err.text);
    }
}

/* P19: every changed byte and every truncation of an NPY, a stored and a deflated NPZ. */
static void corrupt_files_do_not_crash(void **state)
{
    (void)state;
    const char *const files[] = { "x.npy", "stored.npz", "deflated.npz" };
    char from[300], path[100], words[200];
    static uint8_t bytes[4000], copy[4000];
    snprintf(path, sizeof path, "/tmp/quern-arrays-%d", (int)getpid());
    for (int f = 0; f < 3; f++) {
        snprintf(from, sizeof from, "%s/numpy/%s", QUERN_TEST_DATA, files[f]);
        FILE *file = fopen(from, "rb");
        assert_non_null(file);
        size_t n = fread(bytes, 1, sizeof bytes, file);
        fclose(file);
        assert_true(n > 100 && n < sizeof bytes);
        snprintf(words, sizeof words, f ? "x=%s:/x y=%s:/y" : "x=%s y=%s", path, path);
        for (size_t i = 0; i < 2 * n; i++) {
            memcpy(copy, bytes, n);
            if (i < n)
                copy[i] ^= 0xff;
            file = fopen(path, "wb");
            assert_non_null(file);
            fwrite(copy, 1, i < n ? n : i - n, file);
            fclose(file);
            seen s;
            quern_error err = { 0 };
            int status = take(words, false, &s, &err);
            assert_true(status >= 0 || (err.code < 0 && *err.text));
            for (int k = 0; k < 42 && f == 2 && status >= 0;
                 k++) /* the checksum covers all inflated bytes */
                assert_true(s.b.size == 7 && s.x[k] == (float)(k / 4) && s.y[k / 6] == k / 6 % 3);
        }
    }
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(values_equal_numpy),
                                        cmocka_unit_test(shuffled_records_keep_their_labels),
                                        cmocka_unit_test(slices_have_the_given_records),
                                        cmocka_unit_test(gzip_is_shuffled_by_blocks),
                                        cmocka_unit_test(errors_name_their_cause),
                                        cmocka_unit_test(corrupt_files_do_not_crash) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
