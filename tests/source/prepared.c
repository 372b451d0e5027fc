/* Prepared records: each record comes once per epoch unchanged, for any reader (P5), in a
 * different order per epoch, with the reported shuffle quality (P17). Every changed or missing
 * byte is detected, with its place (P15, P19). */
#include "shuffling.h"

#include "source/csv/csv.h"
#include "source/generator_struct.h"
#include "source/io/direct_io.h"
#include "source/prepared/qrec.h"

#include <math.h>
#include <pthread.h>
#include <quern/quern.h>
#include <sys/stat.h>
#include <unistd.h>

enum { width = 3 };
static char folder[64] = "/tmp/quern-prepared-XXXXXX", csv[96], qrec[96];

static int make_folder(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(csv, sizeof csv, "%s/t.csv", folder);
    snprintf(qrec, sizeof qrec, "%s/t.qrec", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(csv);
    unlink(qrec);
    return rmdir(folder); /* fails if files are left */
}

/* Writes records 0 … n-1, sorted by class. */
static void write_csv(int n, int classes)
{
    FILE *f = fopen(csv, "w");
    assert_non_null(f);
    fprintf(f, "number,half,square,class\n");
    for (int i = 0; i < n; i++)
        fprintf(f, "%d,%.1f,%d,%c\n", i, i / 2.0, i % 100 * (i % 100),
                'a' + (int)((int64_t)i * classes / n));
    fclose(f);
}

static void prepare(uint64_t seed)
{
    quern_error err = { 0 };
    quern_generator *g = quern_file_generator(
        csv, &(quern_file_opts){ .target = "class", .classes = "class" }, &err);
    CHECK_OK(g ? 0 : err.code, err);
    CHECK_OK(quern_prepare(g, &(quern_prepare_opts){ .seed = seed, .memory = 5 << 20 }, qrec, &err),
             err);
    quern_generator_free(g);
}

/* A batch with its buffers. */
typedef struct room {
    quern_batch_spec spec;
    quern_batch b;
    float x[4096 * width], weights[4096];
    int32_t y[4096];
    int64_t indices[4096];
} room;

static room *make_room(int64_t batch)
{
    room *r = calloc(1, sizeof *r);
    r->spec = (quern_batch_spec){ .n_inputs = 1,
                                  .n_targets = 1,
                                  .batch_size = batch,
                                  .shapes = { { .rank = 2, .dims = { -1, width } },
                                              { .rank = 1, .dims = { -1 } } },
                                  .dtypes = { QUERN_FLOAT32, QUERN_INT32 },
                                  .names = { "x", "y" },
                                  .weights = { { .rank = 1, .dims = { -1 } } } };
    r->b = (quern_batch){
        .spec = &r->spec, .arrays = { r->x, r->y }, .weights = r->weights, .indices = r->indices
    };
    return r;
}

static quern_generator *open_prepared(const room *r, bool shuffle, uint64_t seed)
{
    quern_error err = { 0 };
    quern_generator *g = quern_file_generator(qrec, NULL, &err);
    CHECK_OK(g ? 0 : err.code, err);
    CHECK_OK(g->ops->open(g, &r->spec, shuffle, seed, &err), err);
    return g;
}

/* Reads the numbers of the records of a pass in order, in batches of `batch`, and checks each
 * record. */
static void read_pass(quern_generator *g, room *r, int64_t pass, int64_t batch, int32_t *out)
{
    quern_error err = { 0 };
    for (int64_t first = 0; first < g->count; first += batch) {
        r->b.size = g->count - first < batch ? g->count - first : batch;
        CHECK_OK(g->ops->read(g, pass, first, &r->b, &err), err);
        for (int64_t i = 0; i < r->b.size; i++) {
            const float *x = r->x + i * width;
            int n = (int)x[0];
            assert_true(x[1] == (float)n / 2 && x[2] == (float)(n % 100 * (n % 100)));
            out[first + i] = n;
        }
    }
}

static void every_record_occurs_once(void **state)
{
    (void)state;
    static const int sizes[] = { 1, 2, 97, 1009 };
    static int32_t a[1009], b[1009];
    for (int k = 0; k < 8; k++) {
        int n = sizes[k / 2];
        write_csv(n, 3);
        prepare(7);
        quern__direct_always = k % 2;
        for (size_t window = 64; window <= 1 << 16; window *= 4) {
            quern__qrec_window = window;
            room *r = make_room(4096);
            quern_generator *g = open_prepared(r, true, 3);
            assert_int_equal(g->count, n);
            assert_string_equal(quern_generator_class(g, 0, 0), "a");
            for (int64_t pass = 0; pass < 3; pass++) {
                read_pass(g, r, pass, 16, a);
                assert_true(each_once(a, n));
                read_pass(g, r, pass, pass + 1,
                          b); /* the order does not depend on the batch size */
                assert_memory_equal(a, b, (size_t)n * sizeof *a);
            }
            read_pass(g, r, 1, 16, b);
            assert_true(n < 97 || memcmp(a, b, (size_t)n * sizeof *a) !=
                                      0); /* epochs have different orders */
            g->ops->close(g);
            quern_generator_free(g);
            g = open_prepared(r, false, 0);
            read_pass(g, r, 0, 16, a);
            read_pass(g, r, 1, 7, b);
            assert_true(each_once(a, n));
            assert_memory_equal(a, b, (size_t)n * sizeof *a);
            g->ops->close(g);
            quern_generator_free(g);
            free(r);
        }
    }
    quern__qrec_window = 4 << 20;
    quern__direct_always = -1;
}

/* Several threads take batches in turn; there are more threads than windows in memory. */
typedef struct reading {
    quern_generator *g;
    int64_t next;
    int32_t *out;
} reading;

static void *read_some(void *arg)
{
    reading *a = arg;
    room *r = make_room(8);
    quern_error err = { 0 };
    for (int64_t first;
         (first = __atomic_fetch_add(&a->next, 8, __ATOMIC_RELAXED)) < a->g->count;) {
        r->b.size = a->g->count - first < 8 ? a->g->count - first : 8;
        if (a->g->ops->read(a->g, 2, first, &r->b, &err) < 0)
            break;
        for (int64_t i = 0; i < r->b.size; i++)
            a->out[first + i] = (int32_t)r->x[i * width];
    }
    free(r);
    return NULL;
}

static void the_order_is_independent_of_threads(void **state)
{
    (void)state;
    enum { n = 1009, threads = 8 };
    static int32_t one[n], many[n];
    write_csv(n, 3);
    prepare(1);
    quern__qrec_window = 1 << 10;
    room *r = make_room(4096);
    quern_generator *g = open_prepared(r, true, 9);
    read_pass(g, r, 2, 8, one);
    for (int k = 0; k < 40; k++) {
        pthread_t t[threads];
        if (k == 20) { /* the same with O_DIRECT */
            g->ops->close(g);
            quern__direct_always = 1;
            CHECK_OK(g->ops->open(g, &r->spec, true, 9, &(quern_error){ 0 }), (quern_error){ 0 });
        }
        reading a = { .g = g, .out = many };
        memset(many, 0, sizeof many);
        for (int i = 0; i < threads; i++)
            pthread_create(&t[i], NULL, read_some, &a);
        for (int i = 0; i < threads; i++)
            pthread_join(t[i], NULL);
        assert_memory_equal(one, many, sizeof one);
    }
    quern__qrec_window = 4 << 20;
    quern__direct_always = -1;
    g->ops->close(g);
    quern_generator_free(g);
    free(r);
}

/* The variance of class counts in batches, relative to a uniform shuffle. */
static double dispersion(const int32_t *numbers, int n, int classes, int batch)
{
    double sum = 0;
    int batches = n / batch, per = n / classes;
    for (int b = 0; b < batches; b++)
        for (int c = 0; c < classes; c++) {
            int count = 0;
            for (int i = 0; i < batch; i++)
                count += numbers[b * batch + i] / per == c;
            double gap = count - (double)batch / classes;
            sum += gap * gap;
        }
    double p = 1.0 / classes, expected = batch * p * (1 - p) * (n - batch) / (n - 1.0);
    return sum / (batches * classes) / expected;
}

/* A file sorted by class: prepared, it is uniformly shuffled in every epoch; unprepared, the log
 * reports the weak shuffle. */
static void shuffle_quality_equals_the_report(void **state)
{
    (void)state;
    enum { n = 100000, classes = 10, batch = 100 };
    static int32_t order[n];
    write_csv(n, classes);
    prepare(5);
    quern__qrec_window = 64 << 10; /* a twentieth of the file */
    room *r = make_room(4096);
    quern_generator *g = open_prepared(r, true, 5);
    for (int64_t pass = 0; pass < 3; pass++) {
        read_pass(g, r, pass, 1000, order);
        CHECK_NEAR(dispersion(order, n, classes, batch), 1, 0, 0.1);
    }
    g->ops->close(g);
    quern_generator_free(g);
    quern__qrec_window = 4 << 20;
    hear_dispersion();
    quern_error err = { 0 };
    quern__csv_block = 1 << 30; /* one block: file order */
    g = quern_file_generator(csv, &(quern_file_opts){ .target = "class", .classes = "class" },
                             &err);
    quern__csv_block = 0;
    CHECK_OK(g->ops->open(g, &r->spec, true, 5, &err), err);
    r->spec.batch_size = batch;
    for (int64_t at = 0; at < n; at += r->b.size) {
        r->b.size = batch;
        CHECK_OK(g->ops->next(g, &r->b, &err), err);
        for (int64_t i = 0; i < r->b.size; i++)
            order[at + i] = (int32_t)r->x[i * width];
    }
    quern_set_log(NULL, NULL);
    double own = dispersion(order, n, classes, batch);
    assert_true(each_once(order, n) && own > 1.1 && own <= batch); /* as weak as reported */
    assert_int_equal(warnings, 1);
    quern_generator_free(g);
    free(r);
}

/* Seed and epoch are hashed, not added. */
static void seed_and_epoch_are_independent(void **state)
{
    (void)state;
    enum { n = 1009 };
    static int32_t a[n], b[n];
    write_csv(n, 3);
    prepare(5);
    room *r = make_room(4096);
    quern_generator *g = open_prepared(r, true, 5), *h = open_prepared(r, true, 6);
    read_pass(g, r, 1, 16, a);
    read_pass(h, r, 0, 16, b);
    int same = 0;
    for (int i = 0; i < n; i++)
        same += a[i] == b[i];
    assert_true(same < 10);
    g->ops->close(g);
    h->ops->close(h);
    quern_generator_free(g);
    quern_generator_free(h);
    free(r);
}

/* Every record is equally often at every position: chi-square with 9 degrees of freedom, below
 * 33.7 except once in ten thousand. Also with piles that are divided. */
static void all_orders_are_equally_likely(void **state)
{
    (void)state;
    enum { n = 4, seeds = 150 };
    for (int piles = 1; piles <= 64; piles *= 64) {
        int count[n][n] = { 0 };
        double chi = 0;
        quern__qrec_piles = piles;
        write_csv(n, 1);
        room *r = make_room(4096);
        for (uint64_t seed = 0; seed < seeds; seed++) {
            int32_t order[n];
            prepare(seed);
            quern_generator *g = open_prepared(r, false, 0);
            read_pass(g, r, 0, n, order);
            for (int i = 0; i < n; i++)
                count[i][order[i]]++;
            g->ops->close(g);
            quern_generator_free(g);
        }
        for (int i = 0; i < n; i++)
            for (int k = 0; k < n; k++)
                chi += (count[i][k] - seeds / (double)n) * (count[i][k] - seeds / (double)n) /
                       (seeds / (double)n);
        assert_true(chi < 33.7);
        free(r);
    }
    /* one pile that exceeds the memory is divided */
    enum { many = 300000 };
    static int32_t order[many];
    quern__qrec_piles = 1;
    write_csv(many, 10);
    prepare(3);
    room *r = make_room(4096);
    quern_generator *g = open_prepared(r, false, 0);
    read_pass(g, r, 0, 4096, order);
    assert_true(each_once(order, many));
    CHECK_NEAR(dispersion(order, many, 10, 100), 1, 0, 0.1);
    g->ops->close(g);
    quern_generator_free(g);
    free(r);
    quern__qrec_piles = 64;
}

static char *whole_file(size_t *n)
{
    struct stat st;
    FILE *f = fopen(qrec, "rb");
    assert_non_null(f);
    assert_int_equal(fstat(fileno(f), &st), 0);
    char *bytes = malloc((size_t)st.st_size);
    *n = fread(bytes, 1, (size_t)st.st_size, f);
    fclose(f);
    return bytes;
}

static void put_file(const char *bytes, size_t n)
{
    FILE *f = fopen(qrec, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

/* Reads the whole file; an error has the file and a place. */
static int read_all(quern_error *err)
{
    room *r = make_room(16);
    *err = (quern_error){ 0 };
    quern_generator *g = quern_file_generator(qrec, &(quern_file_opts){ .format = "qrec" }, err);
    int status = g ? g->ops->open(g, &r->spec, false, 0, err) : err->code;
    for (int64_t first = 0; status >= 0 && first < g->count; first += r->b.size) {
        r->b.size = g->count - first < 16 ? g->count - first : 16;
        status = g->ops->read(g, 0, first, &r->b, err);
    }
    if (g)
        g->ops->close(g);
    quern_generator_free(g);
    free(r);
    return status;
}

static void any_flipped_byte_is_detected(void **state)
{
    (void)state;
    quern_error err;
    size_t n;
    write_csv(5, 2);
    prepare(1);
    CHECK_OK(read_all(&err), err);
    char *bytes = whole_file(&n);
    int64_t first = (int64_t)n - 5 * (width * 4 + 4 + 4);
    int found = 0;
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (char)(bytes[i] ^ 0x5a);
        put_file(bytes, n);
        int status = read_all(&err);
        found += status < 0;
        if ((int64_t)i >= first) {
            char want[32];
            snprintf(want, sizeof want, "record %d, byte", (int)(((int64_t)i - first) / 20) + 1);
            assert_true(status == QUERN_FORMAT && strstr(err.text, want) &&
                        !strcmp(err.where, qrec));
        }
        bytes[i] = (char)(bytes[i] ^ 0x5a);
    }
    assert_true(found > 5 * 20 + 100); /* the zeros after the header are not checked */
    bytes[first + 2 * 20 + 3] ^= 1;    /* the third record, which can be skipped */
    put_file(bytes, n);
    room *r = make_room(16);
    quern_generator *g = open_prepared(r, false, 0);
    quern__bad bad = { .policy = QUERN_BAD_SKIP, .most = 1 };
    r->b.size = 5;
    r->b.bad = &bad;
    err = (quern_error){ 0 };
    CHECK_OK(g->ops->read(g, 0, 0, &r->b, &err), err);
    assert_true(r->b.size == 4 && bad.count == 1 && strstr(bad.places[0].text, "record 3, byte"));
    assert_true(r->indices[1] == 1 && r->indices[2] == 3);
    g->ops->close(g);
    quern_generator_free(g);
    free(r);
    bytes[first + 2 * 20 + 3] ^= 1;
    for (size_t k = 0; k < n; k += k < 600 || k > n - 200 ? 1 : 97) {
        put_file(bytes, k);
        assert_true(read_all(&err) < 0);
        assert_string_equal(err.where, qrec);
    }
    free(bytes);
}

/* A file that is truncated during reading: through the page cache or with O_DIRECT, the error
 * names the first missing record. Reads in flight at the end of the run are waited for. */
static void truncation_during_reading_is_an_error(void **state)
{
    (void)state;
    enum { n = 20000, left = 15000, bytes = width * 4 + 4 + 4 };
    write_csv(n, 3);
    for (int direct = 0; direct < 2; direct++) {
        prepare(1);
        quern__direct_always = direct;
        quern__qrec_window = 64 << 10;
        room *r = make_room(100);
        quern_generator *g = open_prepared(r, false, 0);
        quern_error err = { 0 };
        struct stat st;
        assert_int_equal(stat(qrec, &st), 0);
        assert_int_equal(truncate(qrec, st.st_size - (n - left) * bytes), 0);
        int64_t first = 0;
        int status = QUERN_OK;
        for (r->b.size = 100; first < n && (status = g->ops->read(g, 0, first, &r->b, &err)) >= 0;
             first += 100)
            ;
        assert_true(status == QUERN_IO && first > left - 4000 && first <= left);
        assert_true(!strcmp(err.where, qrec) &&
                    strstr(err.text, ": the file became shorter while it was read"));
        assert_true(strtol(err.text + strlen("record "), NULL, 10) > left - 4000);
        g->ops->close(g);
        CHECK_OK(g->ops->open(g, &r->spec, true, 1, &(quern_error){ 0 }), err);
        g->ops->read(g, 0, 0, &r->b, NULL);
        g->ops->close(g);
        quern_generator_free(g);
        free(r);
    }
    quern__qrec_window = 4 << 20;
    quern__direct_always = -1;
}

/* Unsupported sources are errors and leave no files; the end of the tests checks the folder. */
static void rejected_sources_leave_no_files(void **state)
{
    (void)state;
    quern_error err = { 0 };
    volatile int interrupt = 1;
    write_csv(100, 2);
    quern_generator *g = quern_file_generator(
        csv, &(quern_file_opts){ .target = "class", .classes = "class" }, &err);
    assert_int_equal(quern_prepare(g, &(quern_prepare_opts){ .memory = 1 << 20 }, qrec, &err),
                     QUERN_BUDGET);
    assert_int_equal(quern_prepare(g, &(quern_prepare_opts){ .interrupt = &interrupt }, qrec, &err),
                     QUERN_CANCELED);
    assert_int_equal(quern_prepare(g, NULL, "/nowhere/t.qrec", &err), QUERN_IO);
    quern_generator_free(g);
    FILE *f = fopen(csv, "a");
    fprintf(f, "1,2\n");
    fclose(f);
    unlink(qrec);
    err = (quern_error){ 0 };
    g = quern_file_generator(csv, &(quern_file_opts){ .target = "class", .classes = "class" },
                             &err);
    assert_true(!g || quern_prepare(g, NULL, qrec, &err) < 0);
    assert_non_null(strstr(err.text, "fields"));
    quern_generator_free(g);
    assert_int_equal(access(qrec, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_record_occurs_once),
                                        cmocka_unit_test(the_order_is_independent_of_threads),
                                        cmocka_unit_test(shuffle_quality_equals_the_report),
                                        cmocka_unit_test(seed_and_epoch_are_independent),
                                        cmocka_unit_test(all_orders_are_equally_likely),
                                        cmocka_unit_test(any_flipped_byte_is_detected),
                                        cmocka_unit_test(truncation_during_reading_is_an_error),
                                        cmocka_unit_test(rejected_sources_leave_no_files) };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
