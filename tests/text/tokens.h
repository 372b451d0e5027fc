/* Helpers of the tokenizer tests: text readers in memory, and encoding in chunks. */
#ifndef QUERN_TESTS_TOKENS_H
#define QUERN_TESTS_TOKENS_H

#include "base/base.h"
#include "check.h"

#include <jansson.h>
#include <quern/text.h>

/* A text that is read `step` bytes at a time (0: as many as requested). */
typedef struct given_text {
    const char *bytes;
    size_t n, at, step;
} given_text;

static inline int64_t read_given(void *user, char *to, int64_t room, quern_error *err)
{
    given_text *g = user;
    size_t n = g->n - g->at;
    (void)err;
    n = n > (size_t)room ? (size_t)room : n;
    n = g->step && n > g->step ? g->step : n;
    memcpy(to, g->bytes + g->at, n);
    g->at += n;
    return (int64_t)n;
}

static inline quern_tokenizer *train(const char *words, const char *bytes, size_t n, size_t step,
                                     quern_error *err)
{
    given_text g = { bytes, n, 0, step };
    return quern_tokenizer_train(words, read_given, &g, err);
}

static inline quern_tokenizer *train_on(const char *words, const char *text)
{
    quern_error err = { 0 };
    quern_tokenizer *t = train(words, text, strlen(text), 0, &err);
    if (!t)
        fail_msg("%s: %s", words, err.text);
    return t;
}

/* Reads a file and terminates it with 0. The caller calls free(). */
static inline char *file_of(const char *name, size_t *n)
{
    char path[500];
    snprintf(path, sizeof path, "%s/%s", QUERN_TEST_DATA, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *bytes = malloc(1 << 20);
    bytes[ *n = fread(bytes, 1, (1 << 20) - 1, f)] = 0;
    fclose(f);
    return bytes;
}

static inline uint64_t next_random(uint64_t *state) { return quern__hash64(++*state); }

/* Encodes in chunks of random lengths up to `most`, with random buffer sizes; the rest of a
 * chunk moves to the start of the next. Returns the number of ids. */
static inline int64_t encode_chunked(const quern_tokenizer *t, const char *text, size_t n,
                                     int32_t *ids, size_t most, uint64_t seed)
{
    quern_error err = { 0 };
    size_t from = 0, to = 0, used = 0;
    int64_t count = 0;
    while (from < n) {
        to = to + 1 + next_random(&seed) % most;
        to = to > n ? n : to;
        do {
            int64_t room = QUERN_PIECE_BYTES + (int64_t)(next_random(&seed) % 100);
            int64_t got = quern_tokenizer_encode(t, text + from, to - from, to == n, ids + count,
                                                 room, &used, &err);
            CHECK_OK(got, err);
            count += got;
            from += used;
        } while (used);
        assert_true(to < n || from == n);
    }
    return count;
}

#endif
