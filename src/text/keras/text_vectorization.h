/* text_vectorization: Keras's TextVectorization: a text becomes tokens (standardize, split,
 * ngrams), and tokens become indices or a row. */
#ifndef QUERN__VECTORIZE_H
#define QUERN__VECTORIZE_H

#include "vocabulary.h"

enum {
    QUERN__MOST_GRAMS = 16,
    QUERN__VECTORIZE_BYTES = 1 << 16 /* longer texts allocate memory; for n-grams of characters,
                                        texts of half this length */
};

typedef struct quern__vectorizer {
    quern__vocabulary *vocabulary;
    bool lower, strip, ragged;
    int split; /* 0: none, ' ': white space, 'c': characters */
    int n_grams, grams[QUERN__MOST_GRAMS];
    int64_t length; /* output_sequence_length; -1: none */
} quern__vectorizer;

/* Creates it from the config of the layer. Returns new; NULL on failure. */
quern__vectorizer *quern__vectorizer_new(const json_t *config, quern_error *err);
void quern__vectorizer_free(quern__vectorizer *z);

/* Counts the tokens of one text for adapt. Call quern__vocabulary_reset before the first text,
 * quern__vocabulary_finish after the last. */
int quern__vectorize_adapt(quern__vectorizer *z, const char *text, size_t n, quern_error *err);
/* Writes the first `room` indices of a text (output_mode int). Returns the number of all
 * indices, or a negative status. The caller truncates and pads, because only it knows the
 * longest text of the batch. */
int64_t quern__vectorize_ids(const quern__vectorizer *z, const char *text, size_t n, int64_t *ids,
                             int64_t room, quern_error *err);
/* The same as float32, truncated to `length` and padded with 0. */
int quern__vectorize_padded(const quern__vectorizer *z, const char *text, size_t n, float *ids,
                            int64_t length, quern_error *err);
/* Writes the row of a text in the other output modes: quern__vocabulary_depth elements. */
int quern__vectorize_row(const quern__vectorizer *z, const char *text, size_t n, float *row,
                         quern_error *err);

#endif
