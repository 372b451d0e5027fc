/* File blocks of a CSV. For any block size each record comes once per epoch, in an order of the
 * epoch (P5), with the reported shuffle quality (P17). Quotes, newlines inside them and several
 * files are supported. A bad record has its line (P15). Files whose quotes do not pair are
 * rejected. */
#include "shuffling.h"

#include "source/csv/csv.h"
#include "source/generator_struct.h"

#include <math.h>
#include <quern/quern.h>
#include <unistd.h>

enum { most = 200000 };
static char folder[64] = "/tmp/quern-blocks-XXXXXX", first[96], second[96];
static int32_t order[most];

static int make_folder(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(first, sizeof first, "%s/1.csv", folder);
    snprintf(second, sizeof second, "%s/2.csv", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(first);
    unlink(second);
    return rmdir(folder);
}

/* Fields whose inside looks like records. */
static const char *const texts[] = {
    "plain",  "",         "\"\"",          "\"a,b\"",        "\"7,8\n9,\"\"x\"\"\n10,11\"", "\",\"",
    "\"\n\"", "\"\"\"\"", "\"\"\",\"\"\"", "\" \"\"\"\",\"", "\"\n\n1,2,3\n\n4,5,6\n\""
};

/* The same, with quotes inside unquoted fields, which RFC 4180 does not allow. */
static const char *const stray[] = { "5\" pipe",   "\"7,8\n9,\"\"x\"\"\n10,11\"",
                                     "a\"b\"c",    "\"\n\"",
                                     "\"ab\"cd\"", "\"\"\",\"\"\"",
                                     "6\"" };

enum { PLAIN, ALL, COMMAS, STRAY, KINDS }; /* kinds of fields */

static void write_records(const char *path, int from, int to, int what, const char *newline)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fprintf(f, "number,a long name that makes the header longer than a block is,class%s", newline);
    for (int i = from; i < to; i++) {
        uint64_t any = quern__hash64((uint64_t)i) % (sizeof texts / sizeof *texts);
        const char *text = what == PLAIN    ? "plain"
                           : what == COMMAS ? "\",\""
                           : what == STRAY  ? stray[any % (sizeof stray / sizeof *stray)]
                                            : texts[any];
        fprintf(f, "%d,%s,%d%s", i, text, i % 7, i + 1 < to || i % 2 ? newline : "");
        if (i % 50 == 3)
            fputs(newline, f); /* an empty line */
    }
    assert_int_equal(fclose(f), 0);
}

typedef struct room {
    quern_batch_spec spec;
    quern_batch b;
    float x[256];
    int32_t y[256];
    float weights[256];
    int64_t indices[256];
    quern__bad bad;
} room;
static room r;

static quern_generator *opened(const char *words, int64_t block, int64_t batch, bool shuffle,
                               quern_error *err)
{
    r = (room){ .spec = {
                    .n_inputs = 1,
                    .n_targets = 1,
                    .batch_size = batch,
                    .shapes = { { .rank = 2, .dims = { -1, 1 } }, { .rank = 1, .dims = { -1 } } },
                    .dtypes = { QUERN_FLOAT32, QUERN_INT32 },
                    .names = { "x", "y" },
                    .weights = { { .rank = 1, .dims = { -1 } } } } };
    r.b = (quern_batch){
        .spec = &r.spec, .arrays = { r.x, r.y }, .weights = r.weights, .indices = r.indices
    };
    quern__csv_block = block;
    quern_generator *g = quern_file_generator(
        words, &(quern_file_opts){ .target = "class", .features = "number" }, err);
    quern__csv_block = 0;
    CHECK_OK(g ? 0 : err->code, *err);
    CHECK_OK(g->ops->open(g, &r.spec, shuffle, 7, err), *err);
    return g;
}

/* The numbers of an epoch in their order; returns their count, or the error. */
static int read_epoch(quern_generator *g, int64_t epoch, quern_error *err)
{
    int n = 0, status = g->ops->reset(g, epoch, err);
    while (status >= 0 && (status = g->ops->next(g, &r.b, err)) == QUERN_OK)
        for (int64_t i = 0; i < r.b.size && n < most; i++, n++) {
            order[n] = (int32_t)r.x[i];
            assert_int_equal(r.y[i], order[n] % 7);
        }
    return status < 0 ? status : n;
}

static void every_record_occurs_once(void **state)
{
    (void)state;
    enum { n = 240 };
    static int32_t before[n];
    char words[200];
    snprintf(words, sizeof words, "%s %s", first, second);
    for (int k = 0; k < 2 * KINDS; k++) {
        int what = k % KINDS;
        write_records(first, 0, 150, what, k / KINDS ? "\r\n" : "\n");
        write_records(second, 150, n, what, k / KINDS ? "\r\n" : "\n");
        for (int64_t block = 1; block < 160; block += block < 24 ? 1 : 13) {
            quern_error err = { 0 };
            quern_generator *g = opened(words, block, 16, true, &err);
            for (int epoch = 0; epoch < 3; epoch++) {
                size_t asked = quern__memory().allocations;
                int got = read_epoch(g, epoch % 2, &err);
                assert_true(epoch == 0 ||
                            quern__memory().allocations == asked); /* for blocks of any file */
                if (got != n)
                    fail_msg("blocks of %d bytes, texts %d: %d %s: %s", (int)block, what, got,
                             err.where, err.text);
                if (!each_once(order, n))
                    fail_msg("blocks of %d bytes, texts %d", (int)block, what);
                if (epoch == 2)
                    assert_memory_equal(before, order, n * sizeof *order);
                if (epoch == 0)
                    memcpy(before, order, sizeof before);
                else if (epoch == 1)
                    assert_memory_not_equal(before, order, n * sizeof *order);
                if (epoch == 1 && block % 2) { /* in file order, in between */
                    CHECK_OK(g->ops->open(g, &r.spec, false, 7, &err), err);
                    assert_int_equal(read_epoch(g, 0, &err), n);
                    for (int i = 0; i < n; i++)
                        assert_int_equal(order[i], i);
                    CHECK_OK(g->ops->open(g, &r.spec, true, 7, &err), err);
                }
            }
            quern_generator_free(g);
        }
    }
}

/* Blocks of the default size, on two threads; through the page cache and with O_DIRECT. */
static void large_files_are_read_with_and_without_page_cache(void **state)
{
    (void)state;
    static int32_t before[most];
    for (int what = PLAIN; what <= ALL; what++)
        for (int past = 0; past < 2; past++) {
            quern_error err = { 0 };
            write_records(first, 0, most, what, "\n");
            quern__direct_always = past;
            quern_generator *g = opened(first, 0, 100, true, &err);
            for (int i = 0; i < 10; i++)
                CHECK_OK(g->ops->next(g, &r.b, &err), err);
            assert_int_equal(read_epoch(g, 1, &err), most); /* from the start again */
            assert_true(each_once(order, most));
            assert_true(!past || !memcmp(before, order, sizeof before));
            memcpy(before, order, sizeof before);
            quern_generator_free(g);
        }
    quern__direct_always = -1;
}

/* P17: records sorted by class. The variance of the class counts of a batch, relative to a
 * uniform shuffle, is the reported index of dispersion. */
static void shuffle_quality_equals_the_report(void **state)
{
    (void)state;
    enum { classes = 100 };
    write_records(first, 0, most, PLAIN, "\n");
    for (int64_t block = 512; block <= 32 << 10; block *= 4)
        for (int batch = 16; batch <= 256; batch *= 16) {
            quern_error err = { 0 };
            double sum = 0;
            quern_generator *g = opened(first, block, batch, true, &err);
            hear_dispersion();
            assert_int_equal(read_epoch(g, 3, &err), most);
            for (int b = 0; b < most / batch; b++)
                for (int c = 0; c < classes; c++) {
                    double count = 0;
                    for (int i = 0; i < batch; i++)
                        count += order[b * batch + i] / (most / classes) == c;
                    sum += (count - (double)batch / classes) * (count - (double)batch / classes);
                }
            double own =
                sum / (most / batch * classes) / (batch * (1.0 / classes) * (1 - 1.0 / classes));
            if (fabs(own / said - 1) > 0.15 || (warnings == 1) != (said > 1.1))
                fail_msg("dispersion %g with blocks of %d bytes, batches of %d; reported %g", own,
                         (int)block, batch, said);
            quern_generator_free(g);
        }
    quern_set_log(NULL, NULL);
}

/* A bad record has its file and line, in any order of reading. */
static void bad_records_have_file_and_line(void **state)
{
    (void)state;
    enum { n = 3000 };
    write_records(first, 0, n, ALL, "\n");
    FILE *f = fopen(first, "ab");
    fprintf(f, "oh,no,1\n");
    for (int i = n; i < n + 999; i++)
        fprintf(f, "%d,plain,%d\n", i, i % 7);
    assert_int_equal(fclose(f), 0);
    quern_error lines[2] = { 0 };
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        quern_error err = { 0 };
        quern_generator *g = opened(first, 100, 16, shuffle, &err);
        assert_true(read_epoch(g, 0, &lines[shuffle]) == QUERN_FORMAT);
        r.bad = (quern__bad){ .policy = QUERN_BAD_SKIP, .most = 4 };
        r.b.bad = &r.bad;
        assert_int_equal(read_epoch(g, 0, &err), n + 999); /* the record can be skipped */
        assert_int_equal(r.bad.count, 1);
        assert_string_equal(r.bad.places[0].where, lines[shuffle].where);
        quern_generator_free(g);
    }
    assert_string_equal(lines[0].where, lines[1].where);
    assert_string_equal(lines[0].text, lines[1].text);
    assert_non_null(strstr(lines[0].where, "1.csv:"));
}

/* A field longer than the search range that contains text like records; a quote too many. */
static void ambiguous_files_are_errors(void **state)
{
    (void)state;
    for (int how = 0; how < 2; how++) {
        quern_error err = { 0 };
        write_records(first, 0, 20000, PLAIN, "\n");
        FILE *f = fopen(first, "ab");
        fprintf(f, "20000,\"\n");
        for (int i = 0; i < 20000; i++)
            fprintf(f, "%d,plain,%d\n", i, i % 7);
        fputs("\",1\n", f);
        for (int i = 0; how && i < 10000; i++)
            fprintf(f, "%d,plain,%d\n", i, i % 7);
        fputs(how ? "20001,\"plain,2\n" : "", f);
        assert_int_equal(fclose(f), 0);
        quern_generator *g = opened(first, 8 << 10, 16, true, &err);
        assert_int_equal(read_epoch(g, 0, &err), QUERN_FORMAT);
        assert_true(strstr(err.where, first) != NULL);
        r.bad = (quern__bad){ .policy = QUERN_BAD_SKIP, .most = most };
        r.b.bad = &r.bad;
        int n =
            read_epoch(g, 0, &(quern_error){ 0 }); /* a file that ends inside quotes is an error */
        assert_true(how ? n == QUERN_FORMAT : n >= 20000 && r.bad.count > 0);
        quern_generator_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_record_occurs_once),
                                        cmocka_unit_test(
                                            large_files_are_read_with_and_without_page_cache),
                                        cmocka_unit_test(shuffle_quality_equals_the_report),
                                        cmocka_unit_test(bad_records_have_file_and_line),
                                        cmocka_unit_test(ambiguous_files_are_errors) };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
