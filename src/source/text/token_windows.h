/* windows: places of a corpus at which a window of tokens begins, many of them held at once, so that they can be drawn in any
 * order. Windows begin at every `stride`th token of each block, counted anew in each, and run on into the blocks behind it. By
 * number a group is some blocks in an order of its own; forward it is the blocks that come next. */
#ifndef QUERN__WINDOWS_H
#define QUERN__WINDOWS_H

#include "corpus.h"

#include <quern/text.h>

typedef struct quern__segment {
    int64_t first, count; /* place of its tokens, and how many windows may begin at */
    int64_t before;       /* windows of the segments before it */
} quern__segment;

typedef struct quern__windows {
    quern__corpus *corpus;
    const quern_tokenizer *t;
    int64_t length, stride; /* tokens of a window beside the one behind it, and from one to the next */
    bool narrow;            /* ids have 16 bits */
    void *ids;
    int64_t capacity, n; /* tokens there is room for, and held */
    int32_t *scratch;    /* the tokens of a block */
    int64_t scratch_room;
    quern__segment *segments;
    int n_segments, most_segments;
    int complete;      /* segments whose windows can be drawn now; forward, the others wait for what is behind them */
    int64_t n_windows; /* that can be drawn */
    int64_t seen;      /* tokens that were read since the start */
    bool ended;        /* forward: no block is left */
} quern__windows;

/* Cuts the corpus and takes all memory: ids of `memory` bytes. Corpus, tokenizer, length and stride are set. */
int quern__windows_open(quern__windows *w, size_t memory, quern_error *err);
/* The next group; QUERN_END when there is none. By number: blocks in the order that follows from the key (NULL: as they stand) from
 * *place on, which moves behind them. It may happen to have no windows. */
int quern__windows_fill(quern__windows *w, const quern__random_key *key, int64_t *place, quern_error *err);
/* The tokens of window i of the group, and the one behind them. */
void quern__windows_copy(const quern__windows *w, int64_t i, int32_t *to);
void quern__windows_forget(quern__windows *w);
void quern__windows_close(quern__windows *w);

/* The first tokens of block k, at most `most`, to `to`, which has room for those of any block. */
int quern__corpus_tokens(quern__corpus *c, const quern_tokenizer *t, int64_t k, int64_t most, int32_t *to, int64_t *count,
                         quern_error *err);
/* Ids that `to` needs room for. */
static inline int64_t quern__corpus_tokens_room(const quern__corpus *c) { return quern__corpus_most(c) + QUERN_PIECE_BYTES; }

/* ---- stateful_lanes.c: the corpus in as many lanes as a batch has records, each read forward ---- */
typedef struct quern__lane {
    int64_t block, end; /* the next block, and the one behind its last */
    int64_t n, at;      /* tokens held, and where the next window begins among them */
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

/* Cuts the corpus and takes all memory, at most `memory` bytes. Corpus, tokenizer, length and n are set. */
int quern__lanes_open(quern__lanes *l, size_t memory, quern_error *err);
void quern__lanes_start(quern__lanes *l);
/* Whether every lane has one more window; QUERN_END when one of them has not. */
int quern__lanes_ready(quern__lanes *l, quern_error *err);
/* The window of a lane, and the token behind it (NULL: nowhere); the lane moves behind the window. */
void quern__lanes_take(quern__lanes *l, int64_t lane, int32_t *to);
void quern__lanes_close(quern__lanes *l);

#endif
