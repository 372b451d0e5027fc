/* P15: every changed byte and every truncation of small files, under every policy for bad
 * records, read on the trainer's thread and by two workers. The run ends with all unchanged
 * records, or with an error that has a place. The result is equal for all numbers of workers. */
#include "check.h"

#include "queue/queue.h"
#include "source/csv/csv.h"

#include <quern/quern.h>
#include <unistd.h>
#include <zlib.h>

enum { n_records = 7, width = 2, most_out = 64, room = 4096 };
static const int policies[] = { QUERN_BAD_FAIL, QUERN_BAD_SKIP, QUERN_BAD_SUBSTITUTE };
static char path[2][80];

/* The result of a run. */
typedef struct outcome {
    int status, batches;
    int64_t records, bad;
    float x[most_out][width];
    double y[most_out];
    quern_error err, first;
} outcome;

typedef struct format {
    const char *name, *words; /* of the first and of the second file */
    size_t (*write)(char *to, int which);
    /* lines: records are lines, so a changed byte other than a newline does not move the others;
     * blocks: shuffled by blocks */
    bool lines, gzipped, protocol, blocks;
    int files;
} format;

static size_t lines(char *to, char separator)
{
    int n = sprintf(to, "a%cb%cy\n", separator, separator);
    for (int i = 0; i < n_records; i++)
        n += sprintf(to + n, "%d.25%c-%d%c%d\n", i + 1, separator, 20 + i, separator, i % 3);
    return (size_t)n;
}
static size_t write_csv(char *to, int which) { return (void)which, lines(to, ','); }
static size_t write_tsv(char *to, int which) { return (void)which, lines(to, '\t'); }

/* An array in format version 1.0: two columns of float32, or labels as float64, in which a
 * changed bit makes a fraction. */
static size_t npy(char *to, bool labels, int from, int n)
{
    npy_head(to, labels ? "<f8" : "<f4", n, labels ? 0 : 2);
    for (int i = 0; i < n; i++)
        if (labels)
            memcpy(to + 128 + 8 * i, &(double){ (from + i) % 3 }, 8);
        else
            memcpy(to + 128 + 8 * i,
                   (float[]){ (float)(from + i) + 1.25f, (float)(-20 - from - i) }, 8);
    return 128 + 8 * (size_t)n;
}
static size_t write_npy(char *to, int which) { return npy(to, which == 1, 0, n_records); }

static size_t write_protocol(char *to, int which)
{
    size_t n = 0;
    (void)which;
    for (int from = 0; from < 6; from += 2) {
        n += npy(to + n, false, from, 2);
        n += npy(to + n, true, from, 2);
    }
    return n;
}

static size_t write_idx(char *to, int which)
{
    memcpy(to,
           which ? (char[]){ 0, 0, 8, 1, 0, 0, 0, n_records }
                 : (char[]){ 0, 0, 8, 2, 0, 0, 0, n_records, 0, 0, 0, width },
           which ? 8 : 12);
    size_t head = which ? 8 : 12, per = which ? 1 : width;
    for (size_t i = 0; i < n_records * per; i++)
        to[head + i] = (char)(which ? i % 3 : i + 1);
    return head + n_records * per;
}

/* A zip of stored members, written by the definition of the format. */
static size_t write_npz(char *to, int which)
{
    char array[300], central[300];
    size_t at = 0, n_central = 0;
    (void)which;
    for (int k = 0; k < 2; k++) {
        uint32_t n = (uint32_t)npy(array, k == 1, 0, n_records),
                 crc = (uint32_t)crc32(0, (uint8_t *)array, n), where = (uint32_t)at;
        char head[46] = "PK\3\4\24", *c = central + n_central;
        memcpy(head + 14, &crc, 4), memcpy(head + 18, &n, 4), memcpy(head + 22, &n, 4);
        head[26] = 5;
        memcpy(to + at, head, 30);
        memcpy(to + at + 30, k ? "y.npy" : "x.npy", 5);
        memcpy(to + at + 35, array, n);
        at += 35 + n;
        memset(c, 0, 46);
        memcpy(c, "PK\1\2\24\0\24", 7);
        memcpy(c + 16, head + 14, 12), memcpy(c + 42, &where, 4);
        c[28] = 5;
        memcpy(c + 46, k ? "y.npy" : "x.npy", 5);
        n_central += 51;
    }
    memcpy(to + at, central, n_central);
    char end[22] = "PK\5\6";
    end[8] = end[10] = 2;
    memcpy(end + 12, &(uint32_t){ (uint32_t)n_central }, 4),
        memcpy(end + 16, &(uint32_t){ (uint32_t)at }, 4);
    memcpy(to + at + n_central, end, 22);
    return at + n_central + 22;
}

static const format formats[] = {
    { .name = "csv", .words = "%s", .write = write_csv, .lines = true, .files = 1 },
    { .name = "tsv", .words = "%s", .write = write_tsv, .lines = true, .files = 1 },
    { .name = "csv", .words = "%s", .write = write_csv, .gzipped = true, .files = 1 },
    { .name = "csv", .words = "%s %s", .write = write_csv, .files = 2 },
    { .name = "csv", .words = "%s", .write = write_csv, .lines = true, .blocks = true, .files = 1 },
    { .name = "npy", .words = "x=%s y=%s", .write = write_npy, .files = 2 },
    { .name = "npy", .words = "x=%s y=%s", .write = write_npy, .gzipped = true, .files = 2 },
    { .name = "idx", .words = "x=%s y=%s", .write = write_idx, .files = 2 },
    { .name = "idx", .words = "x=%s y=%s", .write = write_idx, .gzipped = true, .files = 2 },
    { .name = "npz", .words = "%s", .write = write_npz, .files = 1 },
    { .name = "npy", .words = "%s", .write = write_protocol, .protocol = true, .files = 1 },
};
enum { n_formats = sizeof formats / sizeof *formats };

static void put(int which, const char *bytes, size_t n)
{
    FILE *f = fopen(path[which], "wb");
    assert_non_null(f);
    assert_true(fwrite(bytes, 1, n, f) == n && !fclose(f));
}

static size_t made(const format *f, int which, char *to)
{
    char plain[room];
    size_t n = f->write(f->gzipped ? plain : to, which), packed = 0;
    if (!f->gzipped)
        return n;
    z_stream z = { .next_in = (uint8_t *)plain,
                   .avail_in = (uInt)n,
                   .next_out = (uint8_t *)to,
                   .avail_out = room };
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    packed = z.total_out;
    deflateEnd(&z);
    return packed;
}

static quern_generator *opened(const format *f, quern_error *err)
{
    char words[200];
    snprintf(words, sizeof words, f->words, path[0], path[1]);
    quern_file_opts o = { .target = f->name[0] == 'c' || f->name[0] == 't' ? "y" : NULL,
                          .format = f->name };
    quern__csv_block = f->blocks;
    quern_generator *g = quern_file_generator(words, &o, err);
    quern__csv_block = 0;
    return g;
}

static void drain(quern_generator *g, bool shuffle, int workers, outcome *o)
{
    quern__queue_opts opts = { .spec = { .n_inputs = 1,
                                         .n_targets = 1,
                                         .batch_size = 3,
                                         .shapes = { { .rank = 2, .dims = { -1, width } },
                                                     { .rank = 1, .dims = { -1 } } },
                                         .dtypes = { QUERN_FLOAT32, QUERN_INT32 },
                                         .names = { "x", "y" } },
                               .shuffle = shuffle,
                               .seed = 1,
                               .depth = 2,
                               .workers = workers };
    quern__queue *q = quern__queue_open(g, &opts, &o->err);
    o->status = q ? quern__queue_begin(q, 0, -1, true, &o->err) : o->err.code;
    for (quern_batch *b;
         o->status == QUERN_OK && (o->status = quern__queue_take(q, &b, &o->err)) == QUERN_OK;
         o->batches++) {
        for (int64_t r = 0; r < b->size && o->records < most_out; r++, o->records++) {
            memcpy(o->x[o->records], (float *)b->arrays[0] + r * width, sizeof *o->x);
            o->y[o->records] = ((int32_t *)b->arrays[1])[r];
        }
        assert_true(o->batches < most_out); /* no endless loop */
        quern__queue_release(q);
    }
    quern__queue_close(q);
    o->bad = quern_generator_bad_records(g);
    if (quern_generator_bad_record(g, 0))
        o->first = *quern_generator_bad_record(g, 0);
}

static bool run(const format *f, int policy, int workers, outcome *o)
{
    *o = (outcome){ 0 };
    quern_generator *g = opened(f, &o->err);
    o->status = g ? QUERN_OK : o->err.code;
    bool applies = g && (policy == QUERN_BAD_FAIL ||
                         quern_generator_set_bad_records(g, policy, 0, &o->err) == QUERN_OK);
    if (applies)
        drain(g, f->blocks, workers, o);
    else if (g)
        assert_string_equal(o->err.where, "bad_records"),
            assert_true(f->protocol && policy == QUERN_BAD_SUBSTITUTE);
    quern_generator_free(g);
    return applies;
}

/* Whether the inputs of record k of the clean file are in the result, at or after *at. (A label
 * that is not a number turns all labels into classes.) */
static bool came(const outcome *o, const outcome *clean, int64_t k, int64_t *at)
{
    for (; *at < o->records; ++*at)
        if (!memcmp(o->x[*at], clean->x[k], sizeof *o->x))
            return ++*at, true;
    return false;
}

/* The line (0: the header) of a byte. */
static int line_of(const char *bytes, size_t at)
{
    int line = 0;
    for (size_t i = 0; i < at; i++)
        line += bytes[i] == '\n';
    return line;
}

/* Reads a changed file under every policy. `touched`: the changed record, -1: unknown. */
static void try(const format *f, const outcome *clean, int touched)
{
    static outcome of[3], other;
    for (int p = 0; p < 3; p++) {
        outcome *o = &of[p];
        if (!run(f, policies[p], 0, o)) {
            if (o->status == QUERN_OK)
                continue;
        } else if (!f->protocol || policies[p] != QUERN_BAD_SUBSTITUTE) {
            run(f, policies[p], 2, &other);
            assert_int_equal(other.status, o->status);
            assert_int_equal(other.records, o->records);
            assert_memory_equal(other.x, o->x, sizeof o->x);
            assert_memory_equal(other.y, o->y, sizeof o->y);
            assert_int_equal(other.bad, o->bad);
            assert_string_equal(other.err.text, o->err.text);
            assert_string_equal(other.err.where, o->err.where);
        }
        assert_true(o->status == QUERN_END || o->status < 0);
        if (o->status < 0) {
            assert_true(*o->err.where && *o->err.text);
            if (touched >= 0 && p > 0) /* one bad record must not end the run */
                fail_msg("%s: %s: %s", f->name, o->err.where, o->err.text);
        }
        if (o->bad)
            assert_true(p > 0 && strstr(o->first.where, "/tmp/quern-bad") && *o->first.text);
    }
    if (of[0].status == QUERN_END) { /* without bad records the policy has no effect */
        assert_int_equal(of[1].bad, 0);
        assert_memory_equal(of[1].x, of[0].x, sizeof of->x);
    } else if (of[1].status == QUERN_END)
        assert_true(of[1].bad > 0);
    if (touched < 0)
        return;
    int64_t at = 0;
    for (int k = 0; k < n_records; k++)
        if ((f->blocks ? (int)clean->x[k][0] - 1 : k) != touched) {
            at = f->blocks ? 0 : at; /* in any order */
            assert_true(came(&of[1], clean, k, &at));
        }
    assert_int_equal(of[1].records + of[1].bad, n_records);
    assert_int_equal(of[2].records, n_records);
    assert_int_equal(of[2].bad, of[1].bad);
}

static void any_changed_byte_or_length_is_handled(void **state)
{
    static char bytes[2][room];
    static const int changes[] = { 0xff, 0x01, 0x80, 0x10 };
    (void)state;
    for (int k = 0; k < n_formats; k++) {
        const format *f = &formats[k];
        outcome clean;
        size_t n[2] = { 0 };
        for (int i = 0; i < 2; i++) {
            snprintf(path[i], sizeof path[i], "/tmp/quern-bad-%d-%d.%s", (int)getpid(), i, f->name);
            put(i, bytes[i], n[i] = made(f, i, bytes[i]));
        }
        run(f, QUERN_BAD_FAIL, 0, &clean);
        if (clean.status != QUERN_END)
            fail_msg("%s: %s: %s", f->words, clean.err.where, clean.err.text);
        assert_int_equal(clean.records,
                         f->protocol ? 6
                                     : n_records * (f->name[0] == 'c' && f->files == 2 ? 2 : 1));
        for (int i = 0; i < f->files; i++) {
            for (size_t at = 0; at < n[i]; at++) {
                for (int c = 0; c < 4; c++) {
                    char was = bytes[i][at], now = (char)(was ^ changes[c]);
                    bool moves = strchr("\n\r\"", was) || strchr("\n\r\"", now);
                    bytes[i][at] = now;
                    put(i, bytes[i], n[i]);
                    try(f, &clean, f->lines && !moves ? line_of(bytes[i], at) - 1 : -1);
                    bytes[i][at] = was;
                }
                put(i, bytes[i], at);
                try(f, &clean, -1);
            }
            put(i, bytes[i], n[i]);
        }
        for (int i = 0; i < 2; i++)
            unlink(path[i]);
    }
}

/* The allowed number of bad records, and one more; the error has the place of the first. */
static void the_limit_of_bad_records_is_exact(void **state)
{
    (void)state;
    snprintf(path[0], sizeof path[0], "/tmp/quern-bad-%d.csv", (int)getpid());
    const char text[] = "a,b,y\n1,2,0\n1,2\n3,x,1\n5,6,0\n7,8,1,9\n1e999,1,0\n9,10,2\n";
    put(0, text, sizeof text - 1);
    for (int most = 3; most <= 4; most++)
        for (int workers = 0; workers < 3; workers++) {
            outcome o = { 0 };
            quern_error err = { 0 };
            quern_generator *g =
                quern_file_generator(path[0], &(quern_file_opts){ .target = "y" }, &err);
            assert_int_equal(quern_generator_set_bad_records(g, QUERN_BAD_SKIP, most, &err),
                             QUERN_OK);
            drain(g, false, workers, &o);
            assert_int_equal(o.bad, 4);
            assert_non_null(strstr(o.first.where, ".csv:3"));
            if (most == 3) {
                assert_true(o.status < 0);
                assert_non_null(strstr(o.err.where, ".csv:7"));
                assert_non_null(strstr(o.err.text, "more than 3 bad records"));
            } else {
                assert_int_equal(o.status, QUERN_END);
                assert_int_equal(o.records, 3);
                assert_true(o.x[0][0] == 1 && o.x[1][0] == 5 && o.x[2][0] == 9);
                assert_non_null(strstr(quern_generator_bad_record(g, 3)->where, ".csv:7"));
                assert_null(quern_generator_bad_record(g, 4));
            }
            quern_generator_free(g);
        }
    unlink(path[0]);
}

/* An invalid UTF-8 byte of a text is skipped: the result equals that of the text without the
 * byte. */
static void text_continues_without_invalid_bytes(void **state)
{
    static const char clean[] = "to be or not to be that is the question whether it is nobler";
    enum { length = sizeof clean - 1, window = 4 };
    quern_error err = { 0 };
    char bytes[length + 1];
    (void)state;
    snprintf(path[0], sizeof path[0], "/tmp/quern-bad-%d.txt", (int)getpid());
    put(0, clean, length);
    quern_text_reader *reader = quern_text_reader_open(path[0], &err);
    quern_tokenizer *t = quern_tokenizer_train("char", quern_text_reader_read, reader, &err);
    quern_text_reader_close(reader);
    assert_non_null(t);
    for (int at = 0; at <= length; at++) {
        int32_t got[3][2 * length * window];
        int64_t n[3] = { 0 };
        for (int k = 0; k < 3;
             k++) { /* without the byte; with an invalid one, 0 workers and 1 worker */
            memcpy(bytes, clean, (size_t)at);
            bytes[at] = (char)0xfe;
            memcpy(bytes + at + (k > 0), clean + at, (size_t)(length - at));
            put(0, bytes, length + (k > 0));
            quern_generator *g =
                quern_text_generator(path[0], t, &(quern_text_opts){ .stride = 1 }, &err);
            assert_int_equal(quern_generator_set_bad_records(g, QUERN_BAD_SUBSTITUTE, 0, NULL),
                             QUERN_INVALID);
            CHECK_OK(
                quern_generator_set_bad_records(g, k ? QUERN_BAD_SKIP : QUERN_BAD_FAIL, 1, &err),
                err);
            quern__queue_opts o = { .spec = { .n_inputs = 1,
                                              .n_targets = 1,
                                              .batch_size = 5,
                                              .shapes = { { .rank = 2, .dims = { -1, window } },
                                                          { .rank = 2, .dims = { -1, window } } },
                                              .dtypes = { QUERN_INT32, QUERN_INT32 },
                                              .names = { "x", "y" } },
                                    .depth = 2,
                                    .workers = k == 2 };
            quern__queue *q = quern__queue_open(g, &o, &err);
            int status = q ? quern__queue_begin(q, 0, -1, true, &err) : err.code;
            for (quern_batch *b;
                 status == QUERN_OK && (status = quern__queue_take(q, &b, &err)) == QUERN_OK;) {
                memcpy(got[k] + n[k], b->arrays[0], (size_t)b->size * window * sizeof(int32_t));
                n[k] += b->size * window;
                quern__queue_release(q);
            }
            quern__queue_close(q);
            CHECK_OK(status, err);
            assert_int_equal(quern_generator_bad_records(g), k > 0);
            if (k)
                assert_non_null(strstr(quern_generator_bad_record(g, 0)->where, ".txt"));
            quern_generator_free(g);
            assert_int_equal(n[k], n[0]);
            assert_memory_equal(got[k], got[0], (size_t)n[k] * sizeof(int32_t));
        }
        assert_int_equal(n[0], (length - window) * window);
    }
    quern_tokenizer_free(t);
    unlink(path[0]);
}

static int nothing(void *user, quern_batch *b, quern_error *err)
{
    return (void)user, (void)b, (void)err, QUERN_END;
}

/* A policy that does not apply is an error with its name (P10). */
static void inapplicable_policies_are_errors(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_generator *of[] = { quern_callback_generator(&(quern_callback_ops){ .next = nothing },
                                                       NULL),
                              quern_indexed_generator(nothing, NULL, 5) };
    for (int k = 0; k < 2; k++) {
        for (int p = QUERN_BAD_SKIP; p <= QUERN_BAD_SUBSTITUTE; p++, err = (quern_error){ 0 }) {
            assert_int_equal(quern_generator_set_bad_records(of[k], p, 0, &err), QUERN_INVALID);
            assert_string_equal(err.where, "bad_records");
        }
        assert_int_equal(quern_generator_set_bad_records(of[k], QUERN_BAD_FAIL, 0, &err), QUERN_OK);
        quern_generator_free(of[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(any_changed_byte_or_length_is_handled),
                                        cmocka_unit_test(the_limit_of_bad_records_is_exact),
                                        cmocka_unit_test(text_continues_without_invalid_bytes),
                                        cmocka_unit_test(inapplicable_policies_are_errors) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
