/* Token windows of a text: each comes once per epoch for any files and order (P5), resume
 * position (P12), shuffle quality (P17), any bytes (P19). The corpus of most tests consists of
 * numbers, from which the start of a window is known. */
#include "corpora.h"
#include "shuffling.h"
#include "source/generator_struct.h"

#include <math.h>

enum { numbers = 6000, bytes = 7 * numbers, window = 20 };
static char corpus[bytes + 1];
static quern_tokenizer *digits;
static reading r;

static int prepare(void **state)
{
    for (int i = 0; i < numbers; i++)
        sprintf(corpus + 7 * i, "%06d%c", i, i % 5 ? ' ' : '\n');
    digits = tokenizer("char", corpus, bytes);
    assert_int_equal(quern_tokenizer_size(digits), 12); /* newline, space, 0 … 9 */
    return make_folder(state);
}

static int clean_up(void **state)
{
    quern_tokenizer_free(digits);
    return drop_folder(state);
}

/* The start of a window; its targets are one token further. */
static int place_of(const int32_t *x, const int32_t *y, bool last)
{
    int at = 0, number = 0;
    while (x[at] > 1)
        at++;
    for (int i = 1; i < 7; i++)
        number = number * 10 + x[at + i] - 2;
    int place = 7 * number - 1 - at;
    for (int i = 0; i < window; i++)
        assert_int_equal(corpus[place + i], "\n 0123456789"[x[i]]);
    for (int i = last ? window - 1 : 0; i < window; i++)
        assert_int_equal(corpus[place + i + 1], "\n 0123456789"[y[last ? 0 : i]]);
    return place;
}

/* The starts of the windows of an epoch, in order; returns their number. */
static int places(reading *run, bool last, int *out)
{
    int n = 0, status;
    while ((status = next(run)) == QUERN_OK)
        for (int k = 0; k < run->b.size; k++)
            out[n++] = place_of(run->x + k * window, run->y + k * (last ? 1 : window), last);
    if (status < 0)
        fail_msg("%s: %s", run->err.where, run->err.text);
    return n;
}

static int by_number(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

/* All kinds of files, memory for all or a part of the windows, every stride: the same windows,
 * each once, in order or not. */
static void every_window_occurs_once(void **state)
{
    (void)state;
    static int seen[bytes], want[2][bytes], order[2][bytes];
    const char *plain = file("all.txt", corpus, bytes), *zipped = file("all.txt.gz", corpus, bytes);
    const char *one = file("one", corpus, 10001), *two = file("two", corpus + 10001, 3);
    char mixed[400], parts[400];
    snprintf(mixed, sizeof mixed, "%s %s %s", one, two,
             file("rest.gz", corpus + 10004, bytes - 10004));
    snprintf(parts, sizeof parts, "%s %s %s", one, two,
             file("rest", corpus + 10004, bytes - 10004));
    const char *const words[] = { plain, zipped, mixed, parts };
    int count[2];
    for (int stride = 1; stride <= 23; stride += 11)
        for (int f = 0; f < 4; f++)
            for (int memory = 0; memory < 2; memory++)
                for (int shuffle = 0; shuffle < 2; shuffle++) {
                    quern_text_opts o = { .stride = stride,
                                          .memory = memory ? 8192 : 0,
                                          .targets = memory };
                    quern_generator *g = quern_text_generator(words[f], digits, &o, &r.err);
                    CHECK_OK(begin(&r, g, window, o.targets, 33, shuffle, 5), r.err);
                    int n = places(&r, o.targets, order[0]);
                    memcpy(seen, order[0], (size_t)n * sizeof *seen);
                    qsort(seen, (size_t)n, sizeof *seen, by_number);
                    for (int i = 0; i < n; i++)
                        assert_int_equal(stride == 1 ? i
                                         : i         ? seen[i] - seen[i - 1] <= stride &&
                                                   seen[i] > seen[i - 1]
                                             : !seen[0],
                                         stride == 1 ? seen[i] : 1);
                    assert_true(n == bytes - window || stride > 1);
                    assert_true(seen[n - 1] > bytes - window - 1 - stride);
                    if (f == 0 && !shuffle)
                        count[memory] = n, memcpy(want[memory], seen, (size_t)n * sizeof *seen);
                    assert_int_equal(n, count[memory]);
                    assert_memory_equal(seen, want[memory], (size_t)n * sizeof *seen);
                    assert_true(shuffle || !memcmp(seen, order[0], (size_t)n * sizeof *seen));
                    CHECK_OK(g->ops->reset(g, 1, &r.err), r.err);
                    assert_int_equal(places(&r, o.targets, order[1]), n);
                    int same = 0;
                    for (int i = 0; i < n; i++)
                        same += order[0][i] == order[1][i];
                    assert_true(shuffle ? same < n / 20 + 3
                                        : same == n); /* epochs have different orders */
                    quern_generator_free(g);
                }
}

/* A state after any batch gives the same rest of the epoch, and the same next epoch. */
static void restored_positions_give_the_same_rest(void **state)
{
    (void)state;
    static int all[2 * bytes], rest[2 * bytes];
    static struct {
        uint8_t state[128];
        size_t size;
        int n;
    } at[4000];
    const char *path = file("all.txt", corpus, bytes);
    for (int kind = 0; kind < 4; kind++) {
        quern_text_opts o = { .stride = kind == 2 ? 0 : 7,
                              .memory = kind == 3 ? 0 : 8192 * (1 + (kind == 2) * 16),
                              .contiguous = kind == 2 };
        quern_generator *g = quern_text_generator(path, digits, &o, &r.err);
        CHECK_OK(begin(&r, g, window, false, 5, kind != 1, 5), r.err);
        int n = 0, batches = 0;
        for (int epoch = 0; epoch < 2; epoch++) {
            CHECK_OK(g->ops->reset(g, epoch, &r.err), r.err);
            while (next(&r) == QUERN_OK) {
                for (int k = 0; k < r.b.size; k++)
                    all[n++] = place_of(r.x + k * window, r.y + k * window, false);
                CHECK_OK(g->ops->save(g, at[batches].state, 128, &at[batches].size, &r.err), r.err);
                at[batches++].n = n;
            }
        }
        quern_generator_free(g);
        assert_true(batches > 100);
        for (int b = 0; b < batches - 1; b += 1 + batches / 50) {
            g = quern_text_generator(path, digits, &o, &r.err);
            CHECK_OK(quern_generator_restore(g, at[b].state, at[b].size, &r.err), r.err);
            CHECK_OK(begin(&r, g, window, false, 5, kind != 1, 5), r.err);
            int some = places(&r, false, rest);
            if (some < n - at[b].n) {
                CHECK_OK(g->ops->reset(g, 1, &r.err), r.err);
                some += places(&r, false, rest + some);
            }
            assert_int_equal(some, n - at[b].n);
            assert_memory_equal(rest, all + at[b].n, (size_t)some * sizeof *rest);
            quern_generator_free(g);
        }
        g = quern_text_generator(path, digits, &o, &r.err);
        for (size_t i = 0; i < at[3].size;
             i++) { /* random bytes are rejected, or are a valid position */
            uint8_t bad[128];
            memcpy(bad, at[3].state, sizeof bad);
            bad[i] ^= 0x41;
            if (quern_generator_restore(g, bad, at[3].size, NULL) == QUERN_OK &&
                begin(&r, g, window, false, 5, kind != 1, 5) >= 0)
                next(&r);
            assert_true(quern_generator_restore(g, bad, i, NULL) < 0);
        }
        CHECK_OK(quern_generator_restore(g, at[3].state, at[3].size, &r.err), r.err);
        CHECK_OK(begin(&r, g, window, false, kind == 2 ? 6 : 5, kind != 1, kind == 2 ? 5 : 6),
                 r.err);
        assert_int_equal(kind == 1 ? QUERN_INVALID : next(&r),
                         QUERN_INVALID); /* another seed, or number of lanes */
        quern_generator_free(g);
    }
}

/* Record k of a batch continues record k of the previous batch, and few windows are left at the
 * ends. */
static void lanes_continue_across_batches(void **state)
{
    (void)state;
    enum { lanes = 7 };
    int last[lanes], n = 0;
    quern_text_opts o = { .contiguous = 1 };
    quern_generator *g = quern_text_generator(file("all.txt", corpus, bytes), digits, &o, &r.err);
    CHECK_OK(begin(&r, g, window, false, lanes, true, 5), r.err);
    for (; next(&r) == QUERN_OK; n++) {
        assert_int_equal(r.b.size, lanes);
        for (int k = 0; k < lanes; k++) {
            int place = place_of(r.x + k * window, r.y + k * window, false);
            assert_true(n        ? place == last[k] + window
                        : k == 0 ? place == 0
                                 : place > last[k - 1] + bytes / lanes - 600);
            last[k] = place;
        }
    }
    assert_true(n * lanes * window > bytes * 9 / 10);
    quern_generator_free(g);
    o.stride = 3;
    g = quern_text_generator(file("all.txt", corpus, bytes), digits, &o, &r.err);
    assert_int_equal(begin(&r, g, window, false, lanes, true, 5), QUERN_INVALID);
    quern_generator_free(g);
    o.stride = 0;
    g = quern_text_generator(file("all.gz", corpus, bytes), digits, &o, &r.err);
    assert_int_equal(begin(&r, g, window, false, lanes, true, 5), QUERN_UNSUPPORTED);
    quern_generator_free(g);
    g = quern_text_generator(file("short.txt", corpus, 700), digits, &o, &r.err);
    assert_int_equal(begin(&r, g, window, false, lanes, true, 5), QUERN_INVALID);
    quern_generator_free(g);
}

/* P17: a text of sorted letters. The variance of the letters of a batch, relative to independent
 * draws, is near the reported value; a value above 1.1 is a warning. */
static void shuffle_quality_equals_the_report(void **state)
{
    (void)state;
    enum { letters = 8, each = 1 << 17, batch = 64, length = 4 };
    char *text = malloc(letters * each);
    for (int i = 0; text && i < letters * each; i++)
        text[i] = (char)('a' + i / each);
    quern_tokenizer *t = tokenizer("char", text, letters * each);
    const char *path = file("sorted.txt", text, letters * each);
    const size_t memories[] = { 0, 1 << 19, 1 << 17, 1 << 15, 1 << 14 };
    for (int c = 0; c < 5; c++) {
        hear_dispersion();
        quern_generator *g = quern_text_generator(
            path, t, &(quern_text_opts){ .memory = memories[c], .stride = 16 }, &r.err);
        CHECK_OK(begin(&r, g, length, false, batch, true, 3), r.err);
        double sum = 0, batches = 0;
        for (; next(&r) == QUERN_OK && r.b.size == batch; batches += letters) {
            int count[letters] = { 0 };
            for (int k = 0; k < batch; k++)
                count[r.x[k * length]]++;
            for (int k = 0; k < letters; k++)
                sum += (count[k] - batch / letters) * (count[k] - batch / letters);
        }
        double d = sum / batches / (batch * (1.0 / letters) * (1 - 1.0 / letters));
        assert_true(c == 0 ? said == 0 : said > 1); /* all windows are in memory: no report */
        if (fabs(d / (c ? said : 1) - 1) > 0.15 || warnings != (said > 1.1))
            fail_msg("dispersion %g with %zu bytes, reported %g", d, memories[c], said);
        quern_generator_free(g);
    }
    quern_set_log(NULL, NULL);
    quern_tokenizer_free(t);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_window_occurs_once),
                                        cmocka_unit_test(restored_positions_give_the_same_rest),
                                        cmocka_unit_test(lanes_continue_across_batches),
                                        cmocka_unit_test(shuffle_quality_equals_the_report) };
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
