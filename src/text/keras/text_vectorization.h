/* Keras's TextVectorization as an object: a text becomes tokens (standardize, split, n-grams), tokens become indices or a row. */
#ifndef QUERN__VECTORIZE_H
#define QUERN__VECTORIZE_H

#include "vocabulary.h"

enum {
    QUERN__MOST_GRAMS = 16,
    QUERN__VECTORIZE_BYTES = 1 << 16 /* longer texts need memory to be looked at; n-grams of characters, half as long ones */
};

typedef struct quern__vectorizer {
    quern__vocabulary *vocabulary;
    bool lower, strip, ragged;
    int split; /* 0: none, ' ': white space, 'c': characters */
    int n_grams, grams[QUERN__MOST_GRAMS];
    int64_t length; /* output_sequence_length; -1: none */
} quern__vectorizer;

/* From the config of the layer. Returns new, NULL on failure. */
quern__vectorizer *quern__vectorizer_new(const json_t *config, quern_error *err);
void quern__vectorizer_free(quern__vectorizer *z);

/* Shows one text to the vocabulary; quern__vocabulary_reset comes before the first, quern__vocabulary_finish after the last. */
int quern__vectorize_adapt(quern__vectorizer *z, const char *text, size_t n, quern_error *err);
/* The indices of a text (output_mode int), the first `room` of them; how many there are, or a negative status. Padding with 0 and
 * the cut at output_sequence_length are the caller's: only it knows the longest text of the batch. */
int64_t quern__vectorize_ids(const quern__vectorizer *z, const char *text, size_t n, int64_t *ids, int64_t room, quern_error *err);
/* The same as numbers, cut at `length` and padded with 0. */
int quern__vectorize_padded(const quern__vectorizer *z, const char *text, size_t n, float *ids, int64_t length, quern_error *err);
/* The row of a text in the other modes: quern__vocabulary_depth numbers. */
int quern__vectorize_row(const quern__vectorizer *z, const char *text, size_t n, float *row, quern_error *err);

#endif
