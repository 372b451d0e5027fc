/* Helpers of the tests of text: files, tokenizers, and a generator called as by the queue. */
#ifndef QUERN_TESTS_SOURCE_CORPORA_H
#define QUERN_TESTS_SOURCE_CORPORA_H

#include "check.h"

#include "source/generator_struct.h"

#include <quern/quern.h>
#include <quern/text.h>
#include <unistd.h>
#include <zlib.h>

static char folder[64];

static inline int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/quern-text-XXXXXX");
    return mkdtemp(folder) ? 0 : 1;
}

static inline int drop_folder(void **state)
{
    char command[100];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

/* Writes a file to the folder. Returns its path, valid until eight more are written. */
static inline const char *file(const char *name, const char *text, size_t n)
{
    static char paths[8][100];
    static int at;
    char *path = paths[at++ % 8];
    size_t length = strlen(name);
    snprintf(path, 100, "%s/%s", folder, name);
    if (length > 3 && !strcmp(name + length - 3, ".gz")) {
        gzFile z = gzopen(path, "wb");
        assert_true(z && gzwrite(z, text, (unsigned)n) == (int)n && !gzclose(z));
    } else {
        FILE *f = fopen(path, "wb");
        assert_true(f && fwrite(text, 1, n, f) == n && !fclose(f));
    }
    return path;
}

typedef struct giving {
    const char *text;
    size_t left;
} giving;

static inline int64_t give(void *user, char *to, int64_t room, quern_error *err)
{
    giving *g = user;
    size_t n = g->left < (size_t)room ? g->left : (size_t)room;
    (void)err;
    memcpy(to, g->text, n);
    g->text += n;
    g->left -= n;
    return (int64_t)n;
}

static inline quern_tokenizer *tokenizer(const char *words, const char *text, size_t n)
{
    quern_error err = { 0 };
    giving g = { text, n };
    quern_tokenizer *t = quern_tokenizer_train(words, give, &g, &err);
    if (!t)
        fail_msg("%s: %s", err.where, err.text);
    return t;
}

/* A run without a queue: an open generator and its batch. */
enum { most_numbers = 1 << 16 };
typedef struct reading {
    quern_generator *g;
    quern_batch_spec spec;
    quern_batch b;
    int32_t x[most_numbers], y[most_numbers];
    quern_error err;
} reading;

/* Opens the generator for integer windows of `length` and their targets. Returns a status. */
static inline int begin(reading *r, quern_generator *g, int64_t length, bool last, int64_t batch,
                        bool shuffle, uint64_t seed)
{
    r->g = g;
    r->err = (quern_error){ 0 };
    r->spec = (quern_batch_spec){ .n_inputs = 1,
                                  .n_targets = 1,
                                  .batch_size = batch,
                                  .shapes = { { .rank = 2, .dims = { -1, length } },
                                              { .rank = 2, .dims = { -1, last ? 1 : length } } },
                                  .dtypes = { QUERN_INT32, QUERN_INT32 } };
    r->b = (quern_batch){ .spec = &r->spec, .arrays = { r->x, r->y } };
    assert_true(batch * length <= most_numbers);
    return g->ops->open(g, &r->spec, shuffle, seed, &r->err);
}

static inline int next(reading *r)
{
    r->b.size = r->spec.batch_size;
    return r->g->ops->next(r->g, &r->b, &r->err);
}

#endif
