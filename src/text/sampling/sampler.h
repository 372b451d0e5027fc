/* A sampler: its options, and room for everything that a draw needs. */
#ifndef QUERN__SAMPLER_H
#define QUERN__SAMPLER_H

#include "base/base.h"

#include <quern/text.h>

enum { QUERN__PENALTY, QUERN__TEMPERATURE, QUERN__TOP_K, QUERN__TOP_P, QUERN__MIN_P, QUERN__TYPICAL, QUERN__FILTERS };

/* What a draw puts in order: the largest key first, of equal keys the lowest id. */
typedef struct quern__choice {
    double key;
    int32_t id;
} quern__choice;

struct quern_sampler {
    quern_sampling how;
    int filters[QUERN__FILTERS], n_filters; /* those that are on, in order */
    int64_t vocabulary;
    double *logits;  /* of every token */
    double *weights; /* of the tokens left, in their order: exponentials, then probabilities */
    int32_t *kept;   /* the tokens left, rising */
    int64_t n_kept;
    double total;        /* of `weights` */
    quern__choice *heap; /* NULL where no filter puts in order */
    uint8_t *marks;      /* by token */
    uint32_t *seen;      /* by token: the draw in which the penalty last met it; NULL without penalty */
    uint32_t draw;
};

/* ---- sampling_filters.c ---- */
/* The penalty for the tokens of the window. A token that is none is QUERN_INVALID. */
int quern__sample_penalty(quern_sampler *s, const int32_t *window, int64_t n, quern_error *err);
/* Leaves the tokens that are not forbidden (-infinity); the largest only, where the temperature is 0. */
void quern__sample_begin(quern_sampler *s);
/* One of the filters behind the penalty. */
void quern__sample_filter(quern_sampler *s, int filter);
/* Weights of the tokens left, by which to draw, and their total. */
void quern__sample_weights(quern_sampler *s);

#endif
