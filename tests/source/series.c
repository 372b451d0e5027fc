/* Time-series windows over rows: windows of an array equal those of the same rows as a stream;
 * invalid options are errors. */
#include "check.h"

#include "source/generator_struct.h"
#include "source/memory/series.h"

#include <quern/quern.h>
#include <stdio.h>
#include <unistd.h>

enum { rows = 200, columns = 2, length = 5 };

static float data[rows * columns], targets[rows];
static const quern_tensor x = { .dtype = QUERN_FLOAT32,
                                .shape = { .rank = 2, .dims = { rows, columns } },
                                .data = data },
                          y = { .dtype = QUERN_FLOAT32,
                                .shape = { .rank = 1, .dims = { rows } },
                                .data = targets };
static const quern_batch_spec spec = { .n_inputs = 1,
                                       .n_targets = 1,
                                       .batch_size = rows,
                                       .shapes = { { .rank = 3, .dims = { -1, length, columns } },
                                                   { .rank = 1, .dims = { -1 } } },
                                       .dtypes = { QUERN_FLOAT32, QUERN_FLOAT32 },
                                       .names = { "x", "y" },
                                       .weights = { { .rank = 1, .dims = { -1 } } } };

typedef struct seen {
    float x[rows * length * columns], y[rows], w[rows];
    int64_t indices[rows];
    quern_batch b;
} seen;

static void fill(void)
{
    for (int i = 0; i < rows * columns; i++)
        data[i] = (float)i;
    for (int i = 0; i < rows; i++)
        targets[i] = (float)(1000 + i);
}

/* Reads all records of a pass; returns their number. */
static int64_t take(quern_generator *g, bool shuffle, seen *s)
{
    quern_error err = { 0 };
    memset(s, 0, sizeof *s);
    s->b = (quern_batch){ .spec = &spec,
                          .size = rows,
                          .arrays = { s->x, s->y },
                          .weights = s->w,
                          .indices = s->indices };
    if (!g || g->ops->open(g, &spec, shuffle, 3, &err) < 0)
        fail_msg("%s: %s", err.where, err.text);
    if (g->ops->read) {
        s->b.size = g->count;
        assert_int_equal(g->ops->read(g, 0, 0, &s->b, &err), 0);
    } else if (g->ops->next(g, &s->b, &err) < 0)
        fail_msg("%s: %s", err.where, err.text);
    return s->b.size;
}

/* The definition: window k has rows start + k * stride + i * rate, and the target `offset` after
 * its first row. */
static void windows_match_the_definition(void **state)
{
    static const quern_series_opts options[] = {
        { .sequence_length = length },
        { .sequence_length = length, .target_offset = length },
        { .sequence_length = length, .sequence_stride = 3, .sampling_rate = 4 },
        { .sequence_length = length, .sequence_stride = 40, .target_offset = 2 },
        { .sequence_length = length, .start_index = 7, .end_index = 150, .reverse = 1 }
    };
    static seen s;
    (void)state;
    fill();
    for (size_t k = 0; k < 2 * (sizeof options / sizeof *options); k++) {
        const quern_series_opts *o = &options[k / 2];
        quern_generator *g =
            k % 2 ? quern_series_generator(quern_array_generator(&x, 1, &y, 1, NULL, NULL), o, NULL)
                  : quern_series_array_generator(&x, &y, o, NULL);
        int64_t stride = o->sequence_stride ? o->sequence_stride : 1,
                rate = o->sampling_rate ? o->sampling_rate : 1, n = 0;
        int64_t end = o->end_index ? o->end_index : rows, got = take(g, false, &s);
        for (int64_t at = o->start_index;
             at + (length - 1) * rate < end && at + o->target_offset < rows; at += stride, n++) {
            for (int i = 0; i < length * columns; i++) {
                int64_t step = o->reverse ? length - 1 - i / columns : i / columns;
                assert_true(s.x[n * length * columns + i] ==
                            (float)((at + step * rate) * columns + i % columns));
            }
            assert_true(s.y[n] == (float)(1000 + at + o->target_offset));
        }
        assert_int_equal(got, n);
        quern_generator_free(g);
    }
}

/* Shuffled, each window comes once with its own target; a second pass has another order. */
static void shuffled_windows_occur_once(void **state)
{
    static seen s;
    (void)state;
    fill();
    for (int k = 0; k < 2; k++) {
        quern_series_opts o = { .sequence_length = k ? 0 : length };
        quern_generator *g =
            k ? quern_series_generator(quern_array_generator(&x, 1, &y, 1, NULL, NULL), &o, NULL)
              : quern_series_array_generator(&x, &y, &o, NULL);
        int64_t n = take(g, true, &s), moved = 0;
        bool met[rows] = { 0 };
        assert_int_equal(n, rows - length + 1);
        for (int64_t i = 0; i < n; i++) {
            int first = (int)s.x[i * length * columns] / columns;
            assert_false(met[first]);
            met[first] = true;
            moved += first != i;
            assert_true(s.y[i] == (float)(1000 + first));
        }
        assert_true(moved > n / 2);
        quern_generator_free(g);
    }
}

/* A table, read twice: the second pass restarts it. */
static void tables_give_windows(void **state)
{
    static seen s;
    char path[] = "/tmp/quern-series-XXXXXX";
    quern_error err = { 0 };
    (void)state;
    fill();
    int fd = mkstemp(path);
    FILE *f = fdopen(fd, "w");
    fprintf(f, "a,b,t\n");
    for (int i = 0; i < rows; i++)
        fprintf(f, "%g,%g,%g\n", (double)data[2 * i], (double)data[2 * i + 1], (double)targets[i]);
    fclose(f);
    quern_generator *table =
        quern_file_generator(path, &(quern_file_opts){ .target = "t", .format = "csv" }, &err);
    quern_generator *g =
        quern_series_generator(table, &(quern_series_opts){ .target_offset = length }, &err);
    for (int pass = 0; pass < 2; pass++) {
        assert_int_equal(take(g, false, &s), rows - length);
        assert_true(s.x[0] == 0 && s.x[9] == 9 && s.y[0] == 1005 && s.y[rows - length - 1] == 1199);
        s.b.size = rows;
        assert_int_equal(g->ops->next(g, &s.b, &err), QUERN_END);
        assert_int_equal(g->ops->reset(g, pass + 1, &err), 0);
    }
    quern_generator_free(g);
    unlink(path);
}

static void invalid_options_are_errors(void **state)
{
    quern_error err = { 0 };
    const quern_series_opts wrong[] = { { .sequence_length = 0 },
                                        { .sequence_length = length, .start_index = -1 },
                                        { .sequence_length = length, .end_index = rows },
                                        { .sequence_length = length, .sampling_rate = INT64_MAX },
                                        { .sequence_length = length, .start_index = INT64_MAX },
                                        { .sequence_length = length, .sequence_stride = INT64_MAX },
                                        { .sequence_length = -3 } };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        err = (quern_error){ 0 };
        assert_null(quern_series_array_generator(&x, &y, &wrong[i], &err));
        assert_int_equal(err.code, QUERN_INVALID);
    }
    assert_null(quern_series_generator(NULL, &wrong[0], &err));
    float w[rows] = { 0 };
    static seen s;
    quern_generator *g = quern_series_generator(quern_array_generator(&x, 1, &y, 1, w, NULL),
                                                &(quern_series_opts){ 0 }, &err);
    s.b = (quern_batch){
        .spec = &spec, .arrays = { s.x, s.y }, .weights = s.w, .indices = s.indices
    };
    err = (quern_error){ 0 };
    assert_int_equal(g->ops->open(g, &spec, false, 0, &err), 0);
    assert_int_equal(g->ops->next(g, &s.b, &err), QUERN_UNSUPPORTED);
    quern_generator_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(windows_match_the_definition),
                                        cmocka_unit_test(shuffled_windows_occur_once),
                                        cmocka_unit_test(tables_give_windows),
                                        cmocka_unit_test(invalid_options_are_errors) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
