/* CSV (P16): numbers equal those of the C library, and buffer boundaries have no effect. Also
 * class names, several files, weights, and missing values by column. */
#include "check.h"

#include "source/csv/parse_number.h"
#include "source/generator_struct.h"

#include <dirent.h>
#include <math.h>
#include <quern/quern.h>
#include <unistd.h>
#include <zlib.h>

static char path[64], other[64];

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(name, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    fclose(f);
}

/* Numbers are rounded as by strtof and strtod of glibc, which are correct. */
static void numbers_are_rounded_once(void **state)
{
    (void)state;
    char text[80];
    uint64_t seed = 1;
    const char *const hard[] = {
        "0.1", "16777217", "1.00000017881393421514957253748434595763683319091796875001",
        "9007199254740993", "1e-45", "7.0064923216240853546186479164495806564013097093825788e-46",
        "3.4028235e38", "3.40282357e38", "1e23", "-0", "5e-324", "123456789012345678901234567890",
        ".5", "5.", "1e400",
        /* as doubles halfway between two floats, exactly below and
         * above */
        "8.000001430511474", "8.000001430511475", "8.000003337860107", "8.000003337860108",
        "8388608.5000000000000000001", "0.000000000000000000000000000000000001"
    };
    for (size_t i = 0; i < 400000 + sizeof hard / sizeof *hard; i++) {
        float f = -1, want_f;
        double d = -1, want_d;
        if (i < sizeof hard / sizeof *hard)
            snprintf(text, sizeof text, "%s", hard[i]);
        else {
            seed = quern__hash64(seed + i);
            int digits = 1 + (int)(seed % 18), point = (int)(seed >> 8) % 12;
            snprintf(text, sizeof text, "%s%.*f", seed & 64 ? "-" : "", point,
                     (double)(seed >> 20) / pow(10, 18 - digits));
            if (seed & 128)
                snprintf(text + strlen(text), 8, "e%d", (int)(seed >> 40) % 40 - 20);
        }
        const char *a = quern__read_float(text, &f), *b = quern__read_double(text, &d);
        char *end;
        want_f = strtof(text, &end);
        want_d = strtod(text, NULL);
        if (a != end || b != end || memcmp(&f, &want_f, 4) || memcmp(&d, &want_d, 8))
            fail_msg("%s: %.9g and %.17g, expected %.9g and %.17g", text, (double)f, d,
                     (double)want_f, want_d);
    }
    for (const char *const *bad =
             (const char *const[]){ "", "-", ".", "e5", "1e", "1e+", "x", "nan", NULL };
         *bad; bad++)
        assert_null(quern__read_double(*bad, &(double){ 0 }));
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

static int64_t read_all(const char *words, const quern_file_opts *o, kept *k, quern_error *err)
{
    *k = (kept){ 0 };
    quern_model *m = quern_model_from_spec("input 3 | activation linear", 0, err);
    quern_generator *g = quern_file_generator(words, o, err);
    int64_t n = g ? quern_predict_generator(m, g, 4, 0, keep, k, err) : err->code;
    quern_generator_free(g);
    quern_model_free(m);
    return n;
}

/* Every buffer size, and so every position of its boundaries, plain and gzipped, gives the same
 * rows. */
static void buffer_boundaries_have_no_effect(void **state)
{
    (void)state;
    static const char text[] = "\xef\xbb\xbf"
                               "a,\"b\"\"\n,x\",c\r\n1,-2.5,3e1\r\n\"4\",\"5\n\",\" 6 \"\n\n7,,?\n "
                               "10 ,11,\"1\"\"2\"\n0.1,0.2,0.3";
    kept want, k;
    quern_error err = { 0 };
    char *torn = strstr(text, "\"1\"\"2\"");
    assert_non_null(torn);
    char good[sizeof text];
    memcpy(good, text, sizeof text);
    memcpy(good + (torn - text), "\"12\"  ", 6);
    write_file(path, good);
    gzFile z = gzopen(other, "wb");
    gzwrite(z, good, (unsigned)strlen(good));
    gzclose(z);
    const quern_file_opts fill = { .missing = "-1" };
    if (read_all(path, &fill, &want, &err) != 5)
        fail_msg("%s: %s", err.where, err.text);
    const float rows[5][3] = {
        { 1, -2.5f, 30 }, { 4, 5, 6 }, { 7, -1, -1 }, { 10, 11, 12 }, { 0.1f, 0.2f, 0.3f }
    };
    assert_memory_equal(want.rows, rows, sizeof rows);
    size_t usual = quern__csv_buffer;
    for (quern__csv_buffer = 1; quern__csv_buffer < sizeof good + 2; quern__csv_buffer++)
        for (int gz = 0; gz < 2; gz++) {
            if (read_all(gz ? other : path, &fill, &k, &err) != 5)
                fail_msg("buffer of %zu: %s: %s", quern__csv_buffer, err.where, err.text);
            assert_memory_equal(k.rows, want.rows, sizeof rows);
        }
    /* an error has the same line too */
    write_file(path, text);
    for (quern__csv_buffer = 1; quern__csv_buffer < sizeof text; quern__csv_buffer++) {
        err = (quern_error){ 0 };
        assert_int_equal(read_all(path, &fill, &k, &err), QUERN_FORMAT);
        if (!strstr(err.where, ":8: column 'c'") || !strstr(err.text, "'1\"2' is not a number"))
            fail_msg("buffer of %zu: %s: %s", quern__csv_buffer, err.where, err.text);
    }
    quern__csv_buffer = usual;
}

/* Labels, weights and inputs as the model gets them. */
typedef struct seen {
    int n;
    float x[16], w[16];
    int32_t y[16];
} seen;

static void take(const char *words, const quern_file_opts *o, seen *s, quern_error *err)
{
    quern_batch_spec spec = { .n_inputs = 1,
                              .n_targets = 1,
                              .batch_size = 16,
                              .shapes = { { .rank = 2, .dims = { -1, 1 } },
                                          { .rank = 1, .dims = { -1 } } },
                              .dtypes = { QUERN_FLOAT32, QUERN_INT32 },
                              .means = { QUERN_MEANS_CLASS } };
    quern_batch b = { .spec = &spec, .size = 16, .arrays = { s->x, s->y }, .weights = s->w };
    quern_generator *g = quern_file_generator(words, o, err);
    if (!g || g->ops->open(g, &spec, false, 0, err) < 0 || g->ops->next(g, &b, err) < 0)
        fail_msg("%s: %s", err->where, err->text);
    s->n = (int)b.size;
    assert_int_equal(b.has_weights, o->weight != NULL);
    if (o->target && !strcmp(o->target, "kind")) {
        assert_string_equal(quern_generator_class(g, 0, 0), "ant");
        assert_string_equal(quern_generator_class(g, 0, 2), "cow");
        assert_null(quern_generator_class(g, 0, 3));
    }
    quern_generator_free(g);
}

static void columns_map_to_inputs_targets_and_weights(void **state)
{
    (void)state;
    quern_error err = { 0 };
    seen s;
    char words[160];
    write_file(path, "id,kind,size,w\nx1,cow,5,0.5\nx2,ant,6,1\n");
    write_file(other, "id,kind,size,w\nx3,\"bee\",7,2\nx4,ant,8,1\n");
    snprintf(words, sizeof words, "%s %s", path, other);
    take(words, &(quern_file_opts){ .target = "kind", .features = "size", .weight = "w" }, &s,
         &err);
    assert_int_equal(s.n, 4);
    const float x[] = { 5, 6, 7, 8 }, w[] = { 0.5f, 1, 2, 1 };
    const int32_t y[] = { 2, 0, 1, 0 };
    assert_memory_equal(s.x, x, sizeof x);
    assert_memory_equal(s.w, w, sizeof w);
    assert_memory_equal(s.y, y, sizeof y);
    /* a different header, a column named twice, an unknown column */
    write_file(other, "id,kind,sise,w\nx3,bee,7,2\n");
    err = (quern_error){ 0 };
    quern_generator *g = quern_file_generator(
        words, &(quern_file_opts){ .target = "kind", .features = "size" }, &err);
    assert_null(g);
    assert_non_null(strstr(err.text, "column 3 is 'sise'"));
    err = (quern_error){ 0 };
    assert_null(quern_file_generator(
        path, &(quern_file_opts){ .target = "kind", .features = "size,kind" }, &err));
    assert_non_null(strstr(err.text, "named twice"));
    err = (quern_error){ 0 };
    assert_null(quern_file_generator(path, &(quern_file_opts){ .weight = "v" }, &err));
    assert_non_null(strstr(err.text, "no column is called 'v'"));
    /* missing values by column */
    write_file(path, "a,b,c\n,?,3\n");
    kept k;
    assert_int_equal(read_all(path, &(quern_file_opts){ .missing = "a=7,b=-2" }, &k, &err), 1);
    assert_true(k.rows[0][0] == 7 && k.rows[0][1] == -2 && k.rows[0][2] == 3);
    err = (quern_error){ 0 };
    assert_true(read_all(path, &(quern_file_opts){ .missing = "a=7" }, &k, &err) < 0);
    assert_non_null(strstr(err.where, "column 'b'"));
    err = (quern_error){ 0 };
    assert_true(read_all(path, &(quern_file_opts){ .missing = "a=x" }, &k, &err) < 0);
    assert_string_equal(err.where, "--missing");
}

/* P4: no descriptor stays open, at the end of a file, before it, or after an error. */
static void files_are_closed(void **state)
{
    (void)state;
    kept k;
    quern_error err = { 0 };
    int before = 0;
    write_file(path, "a,b,c\n1,2,3\n4,5,6\n7,8,nine\n");
    for (int i = 0; i < 50; i++) {
        DIR *d = opendir("/proc/self/fd");
        int n = 0;
        while (readdir(d))
            n++;
        closedir(d);
        if (i == 1)
            before = n;
        assert_true(i < 2 || n == before);
        err = (quern_error){ 0 };
        assert_true(read_all(path, NULL, &k, &err) < 0);
        quern_generator_free(quern_file_generator(QUERN_TEST_DATA "/numpy/stored.npz", NULL, &err));
    }
}

/* Opens the file as a stream of three features. */
static quern__stream open_stream(void)
{
    quern__stream s;
    quern_error err = { 0 };
    char *paths[] = { path };
    if (quern__csv_open(paths, 1, ',', &(quern_file_opts){ .missing = "0" }, &s, &err) < 0)
        fail_msg("%s: %s", err.where, err.text);
    return s;
}

/* Two threads give the results of one: rows, the end, and the first bad record on either thread. */
static void two_threads_equal_one(void **state)
{
    (void)state;
    enum { n = 5000 };
    static float one[n][3], many[n][3];
    for (int bad = 0; bad < 3; bad++) {
        FILE *f = fopen(path, "wb");
        fputs("a,b,c\n", f);
        for (int r = 0; r < n; r++)
            fprintf(f, "%s%d,%.5f,%s%s\r\n", r % 97 == 5 ? "\n" : "", r, r / 7.0,
                    r % 1500 == 11 ? "\"3\"" : "3",
                    bad && (r == 4100 || (bad == 2 && r == 3100)) ? ",4" : "");
        fclose(f);
        quern_error first = { 0 }, second = { 0 };
        quern__stream s = open_stream();
        int serial = 0, status;
        while (serial < n && (status = s.read(s.self, one[serial], NULL, &first)) == QUERN_OK)
            serial++;
        s.free(s.self);
        s = open_stream();
        int64_t got = 0, total = 0;
        while (total < n && (got = s.read_many(s.self, many[total], NULL, n - total, &second)) > 0)
            total += got;
        s.free(s.self);
        assert_string_equal(first.where, second.where);
        assert_string_equal(first.text, second.text);
        assert_int_equal(first.code, second.code);
        if (!first.code) {
            assert_int_equal(serial, n);
            assert_int_equal(total, n);
            assert_memory_equal(one, many, sizeof one);
        } else
            assert_true(total <= serial);
    }
}

/* P19: every changed byte and every truncation, plain and gzipped. */
static void corrupt_files_do_not_crash(void **state)
{
    (void)state;
    static const char text[] = "a,b,c\n1,2,3\n\"4\",\"5\n\",6\n7,8,9\n";
    kept k;
    gzFile z = gzopen(other, "wb");
    gzwrite(z, text, sizeof text - 1);
    gzclose(z);
    char packed[256];
    FILE *f = fopen(other, "rb");
    size_t n = fread(packed, 1, sizeof packed, f);
    fclose(f);
    for (int gz = 0; gz < 2; gz++)
        for (size_t i = 0; i < 2 * (gz ? n : sizeof text - 1); i++) {
            size_t all = gz ? n : sizeof text - 1, length = i < all ? all : i - all;
            char copy[256];
            memcpy(copy, gz ? packed : text, all);
            if (i < all)
                copy[i] = (char)(copy[i] ^ (gz ? 0xff : 0x12));
            f = fopen(path, "wb");
            fwrite(copy, 1, length, f);
            fclose(f);
            quern_error err = { 0 };
            int64_t rows = read_all(path, NULL, &k, &err);
            assert_true(rows >= 0 ? rows <= 4 : err.code < 0 && *err.text);
        }
}

int main(void)
{
    snprintf(path, sizeof path, "/tmp/quern-csv-%d.csv", (int)getpid());
    snprintf(other, sizeof other, "/tmp/quern-csv-%d-2.csv", (int)getpid());
    const struct CMUnitTest tests[] = { cmocka_unit_test(numbers_are_rounded_once),
                                        cmocka_unit_test(buffer_boundaries_have_no_effect),
                                        cmocka_unit_test(columns_map_to_inputs_targets_and_weights),
                                        cmocka_unit_test(two_threads_equal_one),
                                        cmocka_unit_test(files_are_closed),
                                        cmocka_unit_test(corrupt_files_do_not_crash) };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path), unlink(other);
    return failed;
}
