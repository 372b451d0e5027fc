/* token_windows: token windows of a corpus, many of them in memory, so that they can be drawn in
 * any order. Windows begin at every `stride`-th token of each block, counted from the block's
 * start, and extend into the following blocks. A group is a set of random blocks, or
 * sequentially the next blocks. */
#ifndef QUERN__WINDOWS_H
#define QUERN__WINDOWS_H

#include "corpus.h"

#include <quern/text.h>

typedef struct quern__segment {
    int64_t first,
        count;      /* index of its first token; number of tokens at which windows may begin */
    int64_t before; /* windows of the previous segments */
} quern__segment;

typedef struct quern__windows {
    quern__corpus *corpus;
    const quern_tokenizer *t;
    int64_t length, stride; /* tokens of a window, without the next token; distance of windows */
    bool narrow;            /* ids have 16 bits */
    void *ids;
    int64_t capacity, n; /* capacity and size, in tokens */
    int32_t *scratch;    /* tokens of one block */
    int64_t scratch_room;
    quern__segment *segments;
    int n_segments, most_segments;
    int complete;      /* segments whose windows can be drawn; sequential: the others need following
                          tokens */
    int64_t n_windows; /* that can be drawn */
    int64_t seen;      /* tokens read since the start */
    bool ended;        /* sequential: there are no more blocks */
} quern__windows;

/* Divides the corpus and allocates `memory` bytes for ids. The caller sets corpus, t, length and
 * stride first. */
int quern__windows_open(quern__windows *w, size_t memory, quern_error *err);
/* Fills the next group; QUERN_END: no block is left. Random access: takes blocks in the order of
 * the key (NULL: file order) from position *place, and advances it. A group may have no windows. */
int quern__windows_fill(quern__windows *w, const quern__random_key *key, int64_t *place,
                        quern_error *err);
/* Copies window i of the group and the token after it. */
void quern__windows_copy(const quern__windows *w, int64_t i, int32_t *to);
/* Discards the group, for a restart. */
void quern__windows_forget(quern__windows *w);
void quern__windows_close(quern__windows *w);

/* Encodes block k and stores its first tokens, at most `most`, in `to`. */
int quern__corpus_tokens(quern__corpus *c, const quern_tokenizer *t, int64_t k, int64_t most,
                         int32_t *to, int64_t *count, quern_error *err);
/* Capacity of `to` in tokens. */
static inline int64_t quern__corpus_tokens_room(const quern__corpus *c)
{
    return quern__corpus_most(c) + QUERN_PIECE_BYTES;
}

/* ---- stateful_lanes.c: one lane per record of a batch, each read sequentially ---- */
typedef struct quern__lane {
    int64_t block, end; /* the next block; the end of its range */
    int64_t n, at;      /* tokens held; index of the next window */
    int32_t *ids;
} quern__lane;

typedef struct quern__lanes {
    quern__corpus *corpus;
    const quern_tokenizer *t;
    int64_t length;
    int64_t n;
    quern__lane *lanes;
    int32_t *ids;
} quern__lanes;

/* Divides the corpus and allocates at most `memory` bytes. The caller sets corpus, t, length and
 * n first. */
int quern__lanes_open(quern__lanes *l, size_t memory, quern_error *err);
/* Moves all lanes to the start of their ranges. */
void quern__lanes_start(quern__lanes *l);
/* Reads until every lane has one more window; QUERN_END: one of them has not. */
int quern__lanes_ready(quern__lanes *l, quern_error *err);
/* Copies the window of a lane and the token after it to `to` (NULL: not copied), and advances
 * the lane by one window. */
void quern__lanes_take(quern__lanes *l, int64_t lane, int32_t *to);
void quern__lanes_close(quern__lanes *l);

#endif
