/* Text columns of a CSV: unchanged fields next to numbers, shuffled through a fixed amount of
 * memory; and the string pool. */
#include "check.h"

#include "queue/queue.h"
#include "source/string_pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char path[] = QUERN_BINARY_DIR "/tests/strings.csv";

static quern__queue *open_queue(quern_generator *g, bool shuffle, quern_error *err)
{
    quern__queue_opts o = { .spec = { .n_inputs = 3,
                                      .batch_size = 8,
                                      .shapes = { { .rank = 1, .dims = { -1 } },
                                                  { .rank = 2, .dims = { -1, 1 } },
                                                  { .rank = 2, .dims = { -1, 2 } } },
                                      .dtypes = { QUERN_STRING, QUERN_FLOAT32, QUERN_STRING },
                                      .names = { "title", "number", "texts" } },
                            .shuffle = shuffle,
                            .seed = 4,
                            .depth = 2,
                            .workers = 1 };
    return quern__queue_open(g, &o, err);
}

static void is(quern_string s, const char *want)
{
    if (s.size != (int64_t)strlen(want) || memcmp(s.data, want, strlen(want)))
        fail_msg("'%.*s' is not '%s'", (int)s.size, s.data, want);
}

static void text_fields_are_unchanged(void **state)
{
    (void)state;
    quern_error err = { 0 };
    FILE *f = fopen(path, "w");
    fputs("b,title,n,a\n"
          "last,\"say \"\"x\"\",\ntwice\",1, blanks \n"
          ",,2,NA\n"
          "\xc3\xbc"
          "ber,\xff\xfe,3,7\n",
          f);
    fclose(f);
    quern_generator *g =
        quern_file_generator(path, &(quern_file_opts){ .features = "title,n,a,b" }, &err);
    quern__queue *q = g ? open_queue(g, false, &err) : NULL;
    quern_batch *b = NULL;
    if (!q || quern__queue_begin(q, 0, -1, false, &err) < 0 ||
        quern__queue_take(q, &b, &err) != QUERN_OK)
        fail_msg("%s: %s", err.where, err.text);
    const quern_string *title = b->arrays[0], *rest = b->arrays[2];
    const float *n = b->arrays[1];
    assert_int_equal(b->size, 3);
    is(title[0], "say \"x\",\ntwice");
    is(rest[0], " blanks ");
    is(rest[1], "last");
    is(title[1], "");
    is(rest[2], "NA");
    is(rest[3], "");
    is(title[2], "\xff\xfe");
    is(rest[4], "7");
    is(rest[5], "\xc3\xbc"
                "ber");
    assert_true(n[0] == 1 && n[1] == 2 && n[2] == 3);
    quern__queue_close(q);
    quern_generator_free(g);
}

/* Every record comes once per epoch with its own texts, although the shuffle buffer does not
 * hold all of them. */
static void shuffled_records_keep_their_texts(void **state)
{
    (void)state;
    enum { records = 3000 };
    static char seen[2][records];
    quern_error err = { 0 };
    int moved = 0;
    FILE *f = fopen(path, "w");
    fputs("title,n,a,b\n", f);
    for (int i = 0; i < records; i++) {
        fprintf(f, "t%d,%d,", i, i);
        for (int k = 0; k < i % 4000; k++)
            fputc('a' + i % 26, f);
        fprintf(f, ",b%d\n", i);
    }
    fclose(f);
    quern_generator *g = quern_file_generator(path, &(quern_file_opts){ 0 }, &err);
    quern__queue *q = g ? open_queue(g, true, &err) : NULL;
    if (!q)
        fail_msg("%s: %s", err.where, err.text);
    for (int epoch = 0; epoch < 2; epoch++) {
        quern_batch *b;
        int at = 0;
        assert_int_equal(quern__queue_begin(q, epoch, -1, epoch > 0, &err), QUERN_OK);
        while (quern__queue_take(q, &b, &err) == QUERN_OK) {
            const quern_string *title = b->arrays[0], *rest = b->arrays[2];
            for (int r = 0; r < b->size; r++, at++) {
                char want[32];
                int i = (int)((const float *)b->arrays[1])[r];
                snprintf(want, sizeof want, "t%d", i);
                is(title[r], want);
                *want = 'b';
                is(rest[2 * r + 1], want);
                assert_int_equal(rest[2 * r].size, i % 4000);
                for (int k = 0; k < i % 4000; k++)
                    assert_true(rest[2 * r].data[k] == 'a' + i % 26);
                seen[epoch][i]++;
                moved += i != at;
            }
            quern__queue_release(q);
        }
        for (int i = 0; i < records; i++)
            assert_int_equal(seen[epoch][i], 1);
    }
    assert_true(moved > records);
    quern__queue_close(q);
    quern_generator_free(g);
}

static void long_texts_are_errors(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_batch *b;
    FILE *f = fopen(path, "w");
    fputs("title,n,a,b\nx,1,y,z\nx,1,", f);
    for (int k = 0; k <= QUERN_MOST_STRING; k++)
        fputc('y', f);
    fputs(",z\n", f);
    fclose(f);
    quern_generator *g = quern_file_generator(path, &(quern_file_opts){ 0 }, &err);
    quern__queue *q = open_queue(g, false, &err);
    assert_int_equal(quern__queue_begin(q, 0, -1, false, &err), QUERN_OK);
    assert_true(quern__queue_take(q, &b, &err) < 0);
    assert_non_null(strstr(err.where, ":3: column 'a'"));
    assert_non_null(strstr(err.text, "65537 bytes"));
    quern__queue_close(q);
    quern_generator_free(g);
}

/* Strings of all sizes keep their bytes in any order of put and take; take releases memory. */
static void string_pool_keeps_its_strings(void **state)
{
    (void)state;
    enum { most = 1000, held = 40 };
    quern__pool *p = quern__pool_new(held * most);
    quern__pooled s[held];
    char to[most], mark[held];
    int n = 0;
    uint32_t random = 1;
    for (int step = 0; step < 20000; step++) {
        random = random * 1664525u + 1013904223u;
        if (n < held && quern__pool_has(p, 1, most) && random >> 31) {
            mark[n] = (char)step;
            memset(to, mark[n], most);
            s[n] = quern__pool_put(p, to, random >> 8 & 511);
            n++;
        } else if (n) {
            int k = (int)(random >> 9) % n;
            quern__pool_take(p, s[k], to);
            for (int i = 0; i < s[k].size; i++)
                assert_true(to[i] == mark[k]);
            n--;
            s[k] = s[n];
            mark[k] = mark[n];
        }
    }
    while (n)
        quern__pool_take(p, s[--n], to);
    assert_true(quern__pool_has(p, 1, held * most - 252) && !quern__pool_has(p, 2, held * most));
    quern__pool_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_fields_are_unchanged),
        cmocka_unit_test(shuffled_records_keep_their_texts),
        cmocka_unit_test(long_texts_are_errors),
        cmocka_unit_test(string_pool_keeps_its_strings),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
