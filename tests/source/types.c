/* Arrays of every type, byte order and memory order, from all kinds of sources
 * (tests/data/numpy/types, as NumPy wrote them), and numbers that do not fit. */
#include "check.h"

#include "source/generator_struct.h"
#include "tensor/convert_dtype.h"

#include <float.h>
#include <math.h>
#include <quern/quern.h>
#include <stdbool.h>
#include <unistd.h>
#include <zlib.h>

static const char *const names[] = { "f2lC", "f2lF", "f2bC", "f2bF", "f4lC", "f4lF", "f4bC",
                                     "f4bF", "f8lC", "f8lF", "f8bC", "f8bF", "i1lC", "i1lF",
                                     "i2lC", "i2lF", "i2bC", "i2bF", "i4lC", "i4lF", "i4bC",
                                     "i4bF", "i8lC", "i8lF", "i8bC", "i8bF", "u1lC", "u1lF",
                                     "u2lC", "u2lF", "u2bC", "u2bF", "u4lC", "u4lF", "u4bC",
                                     "u4bF", "u8lC", "u8lF", "u8bC", "u8bF", "b1lC", "b1lF" };
enum { n_names = sizeof names / sizeof *names };
static char path[64];

static int make_path(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/quern-types-%d", (int)getpid());
    return 0;
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

/* Element i of an array, as defined in the README of the files. */
static double number(const char *name, int i)
{
    int bits = 8 * (name[1] - '0');
    if (i < 41)
        return name[0] == 'f'   ? (i * 5 - 100) / 4.0
               : name[0] == 'i' ? i * 3 - 60
               : name[0] == 'u' ? i * 3
                                : i % 3 == 0;
    return name[0] == 'f'   ? (bits == 16   ? 65504
                               : bits == 32 ? (double)FLT_MAX
                                            : INFINITY)
           : name[0] == 'b' ? 1
                            : (double)(float)(ldexp(1, name[0] == 'i' ? bits - 1 : bits) - 1);
}

/* Reads the first batch of `words`: returns a status, and the numbers. */
static int read_as(const char *words, const quern_file_opts *o, const quern_batch_spec *spec,
                   void *x, quern_error *err)
{
    int64_t indices[16];
    quern_batch b = { .spec = spec, .size = 7, .arrays = { x }, .indices = indices };
    quern_generator *g = quern_file_generator(words, o, err);
    int status = g ? g->ops->open(g, spec, false, 1, err) : err->code;
    if (status >= 0)
        status = g->ops->read ? g->ops->read(g, 0, 0, &b, err) : g->ops->next(g, &b, err);
    if (status >= 0 && b.size != 7)
        status = quern__fail(err, QUERN_FORMAT, words, "%lld records", (long long)b.size);
    quern_generator_free(g);
    return status;
}

static const quern_batch_spec floats = { .n_inputs = 1,
                                         .batch_size = 7,
                                         .shapes = { { .rank = 3, .dims = { -1, 2, 3 } } },
                                         .dtypes = { QUERN_FLOAT32 },
                                         .names = { "x" } };

static void gzip_copy(const char *from)
{
    char bytes[1000];
    FILE *f = fopen(from, "rb");
    assert_non_null(f);
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    gzFile z = gzopen(path, "wb");
    assert_int_equal(gzwrite(z, bytes, (unsigned)n), n);
    gzclose(z);
}

static void all_sources_read_all_types(void **state)
{
    (void)state;
    for (int k = 0; k < n_names; k++)
        for (int from = 0; from < 5; from++) {
            char words[400], file[300];
            float x[42];
            quern_error err = { 0 };
            const quern_file_opts as_stream = { .format = "npy" };
            snprintf(file, sizeof file, "%s/numpy/types/%s.npy", QUERN_TEST_DATA, names[k]);
            if (from == 0)
                snprintf(words, sizeof words, "x=%s", file);
            else if (from < 3)
                snprintf(words, sizeof words, "x=%s/numpy/types/%s.npz:/%s", QUERN_TEST_DATA,
                         from == 1 ? "types" : "deflated", names[k]);
            else if (from == 3) {
                gzip_copy(file);
                snprintf(words, sizeof words, "x=%s", path);
            } else
                snprintf(words, sizeof words, "%s", file);
            if (read_as(words, from == 4 ? &as_stream : NULL, &floats, x, &err) < 0)
                fail_msg("%s: %s: %s", words, err.where, err.text);
            for (int i = 0; i < 42; i++)
                if (x[i] != (float)number(names[k], i))
                    fail_msg("%s, number %d: %.9g, expected %.9g", words, i, (double)x[i],
                             number(names[k], i));
        }
}

/* IEEE 754 binary16 is converted exactly. */
static void halves_are_exact(void **state)
{
    (void)state;
    const struct {
        uint16_t bits;
        float is;
    } known[] = { { 0x0000, 0 },
                  { 0x3c00, 1 },
                  { 0xc000, -2 },
                  { 0x7bff, 65504 },
                  { 0x0001, 5.9604644775390625e-8f },
                  { 0x03ff, 6.0975551605224609375e-5f },
                  { 0x0400, 6.103515625e-5f },
                  { 0x3555, 0.333251953125f },
                  { 0xfc00, -INFINITY } };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_true(quern__half(known[i].bits) == known[i].is);
    assert_true(isnan(quern__half(0x7e00)) && signbit(quern__half(0x8000)));
}

/* Integers are rounded to the nearest float in one step, not through a double. */
static void integers_are_rounded_once(void **state)
{
    (void)state;
    const int64_t i[] = { 16777217, (1ll << 60) + (1ll << 36) + 1, -16777219 };
    const uint64_t u[] = { (1ull << 63) + (1ull << 39) + 1, UINT64_MAX };
    const double as[] = { 16777216, 0x1p60 + 0x1p37, -16777220, 0x1p63 + 0x1p40, 0x1p64 };
    for (int k = 0; k < 5; k++) {
        float v;
        assert_int_equal(quern__convert(k < 3 ? (const void *)&i[k] : (const void *)&u[k - 3],
                                        k < 3 ? QUERN_INT64 : QUERN_UINT64, 1, &v, QUERN_FLOAT32,
                                        0),
                         1);
        assert_true((double)v == as[k]);
    }
}

static void values_out_of_range_are_named(void **state)
{
    (void)state;
    const struct {
        int dtype, want;
        union {
            double f8;
            float f4;
            int64_t i8;
            uint64_t u8;
            uint16_t f2;
        } v;
        const char *said;
    } cases[] = {
        { QUERN_FLOAT64, QUERN_INT32, { .f8 = 1.5 }, "1.5 is not an integer" },
        { QUERN_FLOAT64, QUERN_INT64, { .f8 = NAN }, "nan is not an integer" },
        { QUERN_FLOAT32,
          QUERN_INT32,
          { .f4 = 0x1p31f },
          "2147483648 is outside int32 (-2147483648 to 2147483647)" },
        { QUERN_FLOAT64, QUERN_INT64, { .f8 = 0x1p63 }, "9223372036854775808 is outside int64" },
        { QUERN_INT64, QUERN_INT32, { .i8 = -2147483649 }, "-2147483649 is outside int32" },
        { QUERN_UINT64, QUERN_INT64, { .u8 = 1ull << 63 }, "9223372036854775808 is outside int64" },
        { QUERN_FLOAT16, QUERN_INT32, { .f2 = 0x3800 }, "0.5 is not an integer" }
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        int64_t to;
        char text[128];
        assert_int_equal(quern__convert(&cases[k].v, cases[k].dtype, 1, &to, cases[k].want, 0), 0);
        if (!strstr(quern__convert_why(&cases[k].v, cases[k].dtype, 0, cases[k].want, text),
                    cases[k].said))
            fail_msg("%s, expected %s", text, cases[k].said);
    }
    int64_t large = INT64_MAX;
    int32_t least = 0;
    double lowest = -2147483648.0;
    assert_int_equal(quern__convert(&large, QUERN_INT64, 1, &large, QUERN_INT64, 0), 1);
    assert_int_equal(quern__convert(&lowest, QUERN_FLOAT64, 1, &least, QUERN_INT32, 0), 1);
    assert_int_equal(least, INT32_MIN);
}

/* Writes a file with an array of zeros except its first elements. */
static void write_array(const char *descr, const char *order, const char *shape,
                        const void *numbers, size_t n, int64_t size)
{
    char head[129];
    memcpy(head, "\x93NUMPY\x01\x00\x76\x00", 10);
    snprintf(head + 10, sizeof head - 10, "{'descr': %s, 'fortran_order': %s, 'shape': %s, }",
             descr, order, shape);
    size_t length = 10 + strlen(head + 10);
    memset(head + length, ' ', 128 - length);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(head, 1, 128, f);
    fwrite(numbers, 1, n, f);
    fclose(f);
    assert_int_equal(truncate(path, 128 + size), 0);
}

static void messages_name_shape_and_limit(void **state)
{
    (void)state;
    const struct {
        const char *descr, *shape, *said;
    } cases[] = { { "'<c8'", "(7, 2, 3)",
                    ".npy array of dtype '<c8'; supported: float16 to float64, int8 to int64, "
                    "uint8 to uint64, bool" },
                  { "'<U12'", "(7, 2, 3)", ".npy array of dtype '<U12'; supported" },
                  { "'|O'", "(7, 2, 3)", ".npy array of dtype '|O'; supported" },
                  { "[('a', '<f4')]", "(7, 2, 3)", "a structured dtype" },
                  { "'<f4'", "(7, 0)", "shape (7, 0) has no elements" },
                  { "'<f4'", "(0, 6)", "shape (0, 6) has no records" },
                  { "'<f4'", "(7, 0, 3)", "shape (7, 0, 3) has no elements" },
                  { "'<f4'", "(7, 4096, 8192)",
                    "shape (7, 4096, 8192) gives records of more than 16777216 elements" },
                  { "'<f4'", "()", "is a scalar; an array of records is expected" } };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        float x[42];
        char words[100];
        quern_error err = { 0 };
        write_array(cases[k].descr, "False", cases[k].shape, "", 0, 168);
        snprintf(words, sizeof words, "x=%s", path);
        assert_true(read_as(words, NULL, &floats, x, &err) < 0);
        if (!strstr(err.text, cases[k].said))
            fail_msg("%s %s: %s", cases[k].descr, cases[k].shape, err.text);
    }
}

/* IDX files of every type (big-endian). */
static void idx_files_have_all_types(void **state)
{
    (void)state;
    static const uint8_t types[] = { 8, 9, 11, 12, 13, 14 };
    static const int sizes[] = { 1, 1, 2, 4, 4, 8 };
    for (int k = 0; k < 6; k++)
        for (int zipped = 0; zipped < 2; zipped++) {
            uint8_t bytes[16 + 42 * 8] = { 0, 0, types[k], 3, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 0, 3 };
            float x[42];
            char words[100];
            quern_error err = { 0 };
            for (int i = 0; i < 42; i++) {
                float f = (float)i - 20.5f;
                double d = i - 20.5;
                uint64_t bits = (uint64_t)(int64_t)(k == 0 ? i : i - 20);
                uint32_t half;
                memcpy(&half, &f, sizeof half);
                if (k == 4)
                    bits = half;
                if (k == 5)
                    memcpy(&bits, &d, sizeof bits);
                for (int b = 0; b < sizes[k]; b++)
                    bytes[16 + i * sizes[k] + b] = (uint8_t)(bits >> 8 * (sizes[k] - 1 - b));
            }
            gzFile z = gzopen(path, zipped ? "wb" : "wbT");
            gzwrite(z, bytes, (unsigned)(16 + 42 * sizes[k]));
            gzclose(z);
            snprintf(words, sizeof words, "x=%s", path);
            if (read_as(words, NULL, &floats, x, &err) < 0)
                fail_msg("type %d: %s: %s", types[k], err.where, err.text);
            for (int i = 0; i < 42; i++)
                assert_true(x[i] == (k == 0  ? (float)i
                                     : k < 4 ? (float)(i - 20)
                                             : (float)i - 20.5f));
        }
}

/* Integer inputs: the error names the record. */
static void values_out_of_range_name_their_record(void **state)
{
    (void)state;
    quern_batch_spec whole = { .n_inputs = 1,
                               .batch_size = 7,
                               .shapes = { { .rank = 2, .dims = { -1, 2 } } },
                               .dtypes = { QUERN_INT32 },
                               .names = { "x" } };
    const uint64_t numbers[14] = { 1, 2, 3, 4, 5, 3000000000, 7 };
    const double fractions[14] = { 1, 2, 3, 2.5 };
    int32_t x[14];
    char words[100];
    quern_error err = { 0 };
    snprintf(words, sizeof words, "x=%s", path);
    write_array("'<u8'", "False", "(7, 2)", numbers, sizeof numbers, sizeof numbers);
    assert_int_equal(read_as(words, NULL, &whole, x, &err), QUERN_INVALID);
    assert_non_null(strstr(err.where, "record 3"));
    assert_non_null(strstr(err.text, "3000000000 is outside int32"));
    err = (quern_error){ 0 };
    write_array("'<f8'", "False", "(7, 2)", fractions, sizeof fractions, sizeof fractions);
    assert_int_equal(read_as(path, &(quern_file_opts){ .format = "npy" }, &whole, x, &err),
                     QUERN_INVALID);
    assert_non_null(strstr(err.text, "record 2: 2.5 is not an integer"));
}

/* Arrays in memory of types that only sources support. */
static void arrays_in_memory_have_all_types(void **state)
{
    (void)state;
    uint16_t half[4] = { 0x3c00, 0x4000, 0x4200, 0x3555 };
    uint64_t large[4] = { 1, 2, 3, 1ull << 63 };
    double fraction[4] = { 0, 1, 0.5, 2 };
    float x[4];
    int32_t y[4];
    int64_t indices[4];
    const quern_batch_spec spec = { .n_inputs = 2,
                                    .n_targets = 1,
                                    .batch_size = 4,
                                    .shapes = { { .rank = 2, .dims = { -1, 1 } },
                                                { .rank = 1, .dims = { -1 } },
                                                { .rank = 1, .dims = { -1 } } },
                                    .dtypes = { QUERN_FLOAT32, QUERN_FLOAT32, QUERN_INT32 },
                                    .names = { "a", "b", "y" } };
    const quern_tensor in[3] = {
        { .dtype = QUERN_FLOAT16, .shape = { .rank = 1, .dims = { 4 } }, .data = half },
        { .dtype = QUERN_UINT64, .shape = { .rank = 2, .dims = { 4, 1 } }, .data = large },
        { .dtype = QUERN_FLOAT64, .shape = { .rank = 1, .dims = { 4 } }, .data = fraction }
    };
    float second[4];
    quern_error err = { 0 };
    quern_batch b = { .spec = &spec, .size = 4, .arrays = { x, second, y }, .indices = indices };
    quern_generator *g = quern_array_generator(in, 2, in + 2, 1, NULL, &err);
    CHECK_OK(g ? g->ops->open(g, &spec, false, 1, &err) : err.code, err);
    assert_int_equal(g->ops->read(g, 0, 0, &b, &err), QUERN_INVALID);
    assert_string_equal(err.where, "y");
    assert_non_null(strstr(err.text, "record 2: 0.5 is not an integer"));
    assert_true(x[0] == 1 && x[2] == 3 && x[3] == 0.333251953125f && second[3] == 0x1p63f);
    quern_generator_free(g);
}

/* Large arrays in Fortran order: few elements per record are random access, many are read by
 * blocks, compressed ones are errors. */
static void large_fortran_arrays_are_read_or_rejected(void **state)
{
    (void)state;
    const struct {
        int64_t records, per;
        bool by_number;
    } sizes[] = { { 40000, 30, true }, { 2000, 600, false } };
    for (int k = 0; k < 2; k++) {
        int64_t n = sizes[k].records, per = sizes[k].per, seen = 0;
        int32_t *all = malloc((size_t)(n * per) * sizeof *all);
        float *x = malloc((size_t)(100 * per) * sizeof *x);
        int64_t indices[100];
        char words[100], shape[64];
        quern_error err = { 0 };
        assert_non_null(all);
        assert_non_null(x);
        for (int64_t r = 0; r < n; r++)
            for (int64_t i = 0; i < per; i++)
                all[i * n + r] = (int32_t)(r * 7 + i);
        snprintf(shape, sizeof shape, "(%lld, %lld)", (long long)n, (long long)per);
        write_array("'<i4'", "True", shape, all, (size_t)(n * per) * sizeof *all,
                    n * per * (int64_t)sizeof *all);
        snprintf(words, sizeof words, "x=%s", path);
        quern_batch_spec spec = { .n_inputs = 1,
                                  .batch_size = 100,
                                  .shapes = { { .rank = 2, .dims = { -1, per } } },
                                  .dtypes = { QUERN_FLOAT32 },
                                  .names = { "x" } };
        quern_batch b = { .spec = &spec, .size = 100, .arrays = { x }, .indices = indices };
        quern_generator *g = quern_file_generator(words, NULL, &err);
        CHECK_OK(g ? g->ops->open(g, &spec, false, 1, &err) : err.code, err);
        assert_int_equal(g->ops->read != NULL, sizes[k].by_number);
        for (; seen < n; seen += b.size) {
            CHECK_OK(g->ops->read ? g->ops->read(g, 0, seen, &b, &err) : g->ops->next(g, &b, &err),
                     err);
            for (int64_t r = 0; r < b.size; r++)
                for (int64_t i = 0; i < per; i++)
                    assert_true(x[r * per + i] == (float)((seen + r) * 7 + i));
        }
        quern_generator_free(g);
        gzFile z = gzopen(path, "wb1");
        assert_non_null(z);
        char head[128];
        npy_head(head, "<i4", (int)n, (int)per);
        char *order = strstr(head + 10, "False");
        assert_non_null(order);
        memcpy(order, "True ", 5);
        gzwrite(z, head, 128);
        gzwrite(z, all, (unsigned)((size_t)(n * per) * sizeof *all));
        gzclose(z);
        assert_null(quern_file_generator(words, NULL, &err));
        assert_non_null(strstr(err.text, "a compressed Fortran-order array exceeds 4 MiB"));
        assert_non_null(strstr(err.hint, "np.ascontiguousarray"));
        free(all);
        free(x);
    }
}

/* The error of a missing member lists the members of the archive. */
static void missing_members_are_named(void **state)
{
    (void)state;
    const struct {
        const char *words, *said;
    } cases[] = { { "x=%s/numpy/stored.npz:x", NULL },
                  { "x=%s/numpy/stored.npz:/x", NULL },
                  { "x=%s/numpy/stored.npz:/images",
                    "has no array 'images'; it has 'x', 'y', 'w'" },
                  { "x=%s/numpy/stored.npz:images", "has no array 'images'; it has 'x', 'y', 'w'" },
                  { "%s/numpy/types/types.npz", "has no array 'x'; it has 'f2lC', 'f2lF'" },
                  { "x=%s/numpy/none.npz:x", "No such file" } };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        float x[42];
        char words[300];
        quern_error err = { 0 };
        snprintf(words, sizeof words, cases[k].words, QUERN_TEST_DATA);
        int status = read_as(words, NULL, &floats, x, &err);
        if (cases[k].said ? status >= 0 || !strstr(err.text, cases[k].said) : status < 0)
            fail_msg("%s: %s: %s", words, err.where, err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(all_sources_read_all_types),
                                        cmocka_unit_test(halves_are_exact),
                                        cmocka_unit_test(integers_are_rounded_once),
                                        cmocka_unit_test(values_out_of_range_are_named),
                                        cmocka_unit_test(messages_name_shape_and_limit),
                                        cmocka_unit_test(idx_files_have_all_types),
                                        cmocka_unit_test(values_out_of_range_name_their_record),
                                        cmocka_unit_test(arrays_in_memory_have_all_types),
                                        cmocka_unit_test(large_fortran_arrays_are_read_or_rejected),
                                        cmocka_unit_test(missing_members_are_named) };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
