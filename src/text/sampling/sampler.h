/* sampler: the state of a sampler: its options, and all memory that a draw needs. */
#ifndef QUERN__SAMPLER_H
#define QUERN__SAMPLER_H

#include "base/base.h"

#include <quern/text.h>

enum {
    QUERN__PENALTY,
    QUERN__TEMPERATURE,
    QUERN__TOP_K,
    QUERN__TOP_P,
    QUERN__MIN_P,
    QUERN__TYPICAL,
    QUERN__FILTERS
};

/* An entry of the heap: the largest key first; equal keys by ascending id. */
typedef struct quern__choice {
    double key;
    int32_t id;
} quern__choice;

struct quern_sampler {
    quern_sampling how;
    int filters[QUERN__FILTERS], n_filters; /* enabled filters, in order */
    int64_t vocabulary;
    double *logits;  /* by token */
    double *weights; /* of the kept tokens: exponentials, then probabilities */
    int32_t *kept;   /* the kept tokens, ascending */
    int64_t n_kept;
    double total;        /* sum of `weights` */
    quern__choice *heap; /* NULL: no enabled filter sorts */
    uint8_t *marks;      /* by token: scratch of the filters, all 0 between them */
    uint32_t *seen;      /* by token: the last draw whose window contains it; NULL: no penalty */
    uint32_t draw;
};

/* ---- sampling_filters.c ---- */
/* Applies the repetition penalty to the tokens of the window. A token out of range is
 * QUERN_INVALID. */
int quern__sample_penalty(quern_sampler *s, const int32_t *window, int64_t n, quern_error *err);
/* Keeps the tokens with a logit above -infinity; at temperature 0 only the largest. */
void quern__sample_begin(quern_sampler *s);
/* Applies one filter other than the penalty. */
void quern__sample_filter(quern_sampler *s, int filter);
/* Computes the weights of the kept tokens, exp(logit - largest logit), and their total. */
void quern__sample_weights(quern_sampler *s);

#endif
