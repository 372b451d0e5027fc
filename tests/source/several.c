/* Files for models with several inputs and outputs: gzipped arrays read in parallel, columns of
 * a CSV in order. */
#include "check.h"

#include "source/generator_struct.h"

#include <quern/quern.h>
#include <unistd.h>
#include <zip.h>
#include <zlib.h>

enum { n = 1500, per = 600, batch = 16 };
static char path[4][80], words[500];

static const int widths[] = { per, 2, 1, 1 };

/* Byte k of record r of array f: an input that counts its records, a small one, two labels. */
static uint8_t byte_of(int f, int r, int k)
{
    return (uint8_t)(f == 0   ? (k == 0   ? r >> 8
                                 : k == 1 ? r & 255
                                          : (r * 31 + k * k) & 255)
                     : f == 1 ? (r + k) % 200
                              : r % (f + 5));
}

static void write_gzipped(void)
{
    for (int f = 0; f < 4; f++) {
        uint8_t head[12] = { 0,
                             0,
                             8,
                             (uint8_t)(f < 2 ? 2 : 1),
                             0,
                             0,
                             n >> 8,
                             n & 255,
                             0,
                             0,
                             (uint8_t)(widths[f] >> 8),
                             widths[f] & 255 };
        snprintf(path[f], sizeof path[f], "/tmp/quern-several-%d-%d.gz", (int)getpid(), f);
        gzFile z = gzopen(path[f], "wb");
        gzwrite(z, head, f < 2 ? 12 : 8);
        for (int r = 0; r < n; r++)
            for (int k = 0; k < widths[f]; k++)
                gzputc(z, byte_of(f, r, k));
        gzclose(z);
    }
    snprintf(words, sizeof words, "y:second=%s x:small=%s y:first=%s x:large=%s", path[3], path[1],
             path[2], path[0]);
}

/* The same as deflated members of an NPZ, after a comment. */
static void write_npz(void)
{
    static uint8_t arrays[4][128 + n * per];
    int code;
    snprintf(path[0], sizeof path[0], "/tmp/quern-several-%d.npz", (int)getpid());
    zip_t *z = zip_open(path[0], ZIP_CREATE | ZIP_TRUNCATE, &code);
    assert_non_null(z);
    for (int f = 0; f < 4; f++) {
        char name[8], shape[64];
        snprintf(shape, sizeof shape, f < 2 ? "(%d, %d)" : "(%d,)", n, widths[f]);
        memcpy(arrays[f], "\x93NUMPY\x01\x00\x76\x00", 10);
        sprintf((char *)arrays[f] + 10, "{'descr': '|u1', 'fortran_order': False, 'shape': %-66s}",
                shape);
        memset(arrays[f] + 10 + strlen((char *)arrays[f] + 10), ' ', 1);
        for (int r = 0; r < n; r++)
            for (int k = 0; k < widths[f]; k++)
                arrays[f][128 + r * widths[f] + k] = byte_of(f, r, k);
        snprintf(name, sizeof name, "%d.npy", f);
        assert_true(
            zip_file_add(z, name,
                         zip_source_buffer(z, arrays[f], (zip_uint64_t)(128 + n * widths[f]), 0),
                         0) == f);
    }
    assert_int_equal(zip_set_archive_comment(z, "more than twenty-two bytes, PK is among them", 44),
                     0);
    assert_int_equal(zip_close(z), 0);
    snprintf(words, sizeof words, "y:second=%s:/3 x:small=%s:/1 y:first=%s:/2 x:large=%s:/0",
             path[0], path[0], path[0], path[0]);
}

static quern_batch_spec spec = { .n_inputs = 2,
                                 .n_targets = 2,
                                 .batch_size = batch,
                                 .shapes = { { .rank = 2, .dims = { -1, per } },
                                             { .rank = 2, .dims = { -1, 2 } },
                                             { .rank = 1, .dims = { -1 } },
                                             { .rank = 2, .dims = { -1, 1 } } },
                                 .dtypes = { QUERN_FLOAT32, QUERN_INT32, QUERN_INT32,
                                             QUERN_FLOAT32 },
                                 .names = { "large", "small", "first", "second" } };

/* Reads a pass and checks that every record comes once with all its parts. Returns the number of
 * records that are not at their position in the file. */
static int pass(quern_generator *g, int targets)
{
    static float x[batch * per];
    static int times[n];
    int32_t small[batch * 2], first[batch];
    float second[batch];
    quern_batch b = { .spec = &spec, .arrays = { x, small, first, second } };
    quern_error err = { 0 };
    int at = 0, moved = 0;
    memset(times, 0, sizeof times);
    for (int status; (b.size = batch, status = g->ops->next(g, &b, &err)) != QUERN_END;) {
        CHECK_OK(status, err);
        for (int r = 0; r < b.size; r++, at++) {
            int record = (int)x[r * per] * 256 + (int)x[r * per + 1];
            times[record]++;
            moved += record != at;
            assert_true(x[r * per + 599] == (float)((record * 31 + 599 * 599) & 255));
            assert_int_equal(small[2 * r + 1], (record + 1) % 200);
            assert_int_equal(targets ? first[r] : record % 7, record % 7);
            assert_int_equal(targets ? (int)second[r] : record % 8, record % 8);
        }
    }
    for (int i = 0; i < n; i++)
        assert_int_equal(times[i], 1);
    return moved;
}

static void arrays_stay_aligned(void (*write)(void))
{
    quern_error err = { 0 };
    write();
    spec.names[1] = "small";
    quern_generator *g = quern_file_generator(words, NULL, &err);
    if (!g)
        fail_msg("%s: %s", err.where, err.text);
    for (int round = 0; round < 3;
         round++) { /* predict (without targets), fit, evaluate, in turns */
        spec.n_targets = 0;
        CHECK_OK(g->ops->open(g, &spec, false, 1, &err), err);
        assert_int_equal(pass(g, 0), 0);
        spec.n_targets = 2;
        CHECK_OK(g->ops->open(g, &spec, true, 1, &err), err);
        for (int epoch = 0; epoch < 2; epoch++) {
            CHECK_OK(g->ops->reset(g, epoch, &err), err);
            assert_true(pass(g, 2) > n / 2);
        }
        CHECK_OK(g->ops->open(g, &spec, false, 1, &err), err);
        assert_int_equal(pass(g, 2), 0);
    }
    spec.dtypes[1] = QUERN_INT32;
    spec.names[1] = "other";
    assert_int_equal(g->ops->open(g, &spec, false, 1, &err), QUERN_INVALID);
    assert_non_null(strstr(err.text, "no file for input 'other'"));
    quern_generator_free(g);
    for (int f = 0; f < 4; f++)
        unlink(path[f]);
}

static void gzipped_arrays_stay_aligned(void **state)
{
    (void)state;
    arrays_stay_aligned(write_gzipped);
}

static void zip_members_stay_aligned(void **state)
{
    (void)state;
    arrays_stay_aligned(write_npz);
}

/* Columns in order: three of the first input, one of the second; two targets. */
static void columns_fill_inputs_and_targets_in_order(void **state)
{
    (void)state;
    quern_batch_spec s = { .n_inputs = 2,
                           .n_targets = 2,
                           .batch_size = 4,
                           .shapes = { { .rank = 2, .dims = { -1, 3 } },
                                       { .rank = 2, .dims = { -1, 1 } },
                                       { .rank = 1, .dims = { -1 } },
                                       { .rank = 1, .dims = { -1 } } },
                           .dtypes = { QUERN_FLOAT32, QUERN_FLOAT32, QUERN_INT32, QUERN_FLOAT32 } };
    float a[12], b[4], z[4];
    int32_t y[4];
    quern_error err = { 0 };
    quern_batch batch_of = { .spec = &s, .size = 4, .arrays = { a, b, y, z } };
    snprintf(path[0], sizeof path[0], "/tmp/quern-several-%d.csv", (int)getpid());
    FILE *f = fopen(path[0], "w");
    assert_true(f && fputs("a,z,b,c,d,y\n1,-1,2,3,4,5\n6,-2,7,8,9,10\n", f) >= 0 && !fclose(f));
    quern_generator *g = quern_file_generator(path[0], &(quern_file_opts){ .target = "y,z" }, &err);
    assert_non_null(g);
    CHECK_OK(g->ops->open(g, &s, false, 1, &err), err);
    CHECK_OK(g->ops->next(g, &batch_of, &err), err);
    assert_int_equal(batch_of.size, 2);
    const float want_a[] = { 1, 2, 3, 6, 7, 8 };
    assert_memory_equal(a, want_a, sizeof want_a);
    assert_true(b[0] == 4 && b[1] == 9 && y[0] == 5 && y[1] == 10 && z[0] == -1 && z[1] == -2);
    s.n_inputs = 1;
    assert_int_equal(g->ops->open(g, &s, false, 1, &err), QUERN_SHAPE);
    quern_generator_free(g);
    unlink(path[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gzipped_arrays_stay_aligned), cmocka_unit_test(zip_members_stay_aligned),
        cmocka_unit_test(columns_fill_inputs_and_targets_in_order)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
