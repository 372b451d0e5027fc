/* Keras's StringLookup and IntegerLookup as objects: a vocabulary that is given or learned, and what a token of it becomes.
 * Integers are held as strings of eight bytes whose order is that of the numbers, so there is one way for both. A vocabulary that
 * is not being adapted may be used by any number of threads. */
#ifndef QUERN__VOCABULARY_H
#define QUERN__VOCABULARY_H

#include "string_table.h"

#include <jansson.h>

enum { QUERN__INT, QUERN__ONE_HOT, QUERN__MULTI_HOT, QUERN__COUNT, QUERN__TF_IDF };
/* What quern__vocabulary_find gives for the mask where only `int` output has a place for it. */
#define QUERN__MASKED INT64_MAX

typedef struct quern__vocabulary {
    bool integers, invert, pad, fixed, farmhash; /* fixed: given, so it cannot be learned */
    int mode;
    int64_t max_tokens, n_oov; /* max_tokens 0: no limit */
    char *mask, *oov;          /* NULL: none. Of integers: keys */
    size_t mask_length, oov_length;
    quern__strings tokens; /* without mask and unknown */
    float *idf;            /* tf_idf: by column, from the unknown on; NULL until there is a vocabulary */
    quern__strings counted;
    int64_t texts; /* whole ones that adapt has seen */
} quern__vocabulary;

/* From the config of the layer. Options of Keras that are not here are QUERN_UNSUPPORTED, named. Returns new, NULL on failure. */
quern__vocabulary *quern__vocabulary_new(const json_t *config, bool integers, quern_error *err);
void quern__vocabulary_free(quern__vocabulary *v);

/* The key of an integer. */
const char *quern__vocabulary_key(int64_t value, char key[8]);

/* Learning: forget what was counted, count each token of a text, end the text (tf_idf counts texts), and make the vocabulary.
 * Memory is bounded (quern__strings_count), which Keras's is not: beyond that many words the rarest are forgotten. */
int quern__vocabulary_reset(quern__vocabulary *v, quern_error *err);
int quern__vocabulary_count(quern__vocabulary *v, const char *token, size_t n, quern_error *err);
void quern__vocabulary_end_text(quern__vocabulary *v);
int quern__vocabulary_finish(quern__vocabulary *v, quern_error *err);

/* set_vocabulary(list, idf): strings or integers, with the special tokens in front or without any. `idf` NULL: none. */
int quern__vocabulary_set(quern__vocabulary *v, const json_t *list, const json_t *idf, quern_error *err);
/* get_vocabulary(). Returns new; NULL when there is no memory. */
json_t *quern__vocabulary_list(const quern__vocabulary *v);

/* Where learned tokens begin, how many indices there are, and columns of an output that is not `int`. */
int64_t quern__vocabulary_start(const quern__vocabulary *v);
int64_t quern__vocabulary_size(const quern__vocabulary *v);
int64_t quern__vocabulary_depth(const quern__vocabulary *v);

/* Index of a token, QUERN__MASKED, or QUERN_NUMBER when it is unknown and there is no index for that. */
int64_t quern__vocabulary_find(const quern__vocabulary *v, const char *token, size_t n, quern_error *err);
/* Index to token, for `invert`: the unknown where there is none. Borrowed. */
const char *quern__vocabulary_token(const quern__vocabulary *v, int64_t index, size_t *n);
int64_t quern__vocabulary_value(const char *key);

/* Marks an index in a row of quern__vocabulary_depth numbers, which begins as zeros: 1 (one_hot, multi_hot), or one more (count,
 * tf_idf). The row of tf_idf then wants quern__vocabulary_weigh, once. */
void quern__vocabulary_mark(const quern__vocabulary *v, int64_t index, float *row);
void quern__vocabulary_weigh(const quern__vocabulary *v, float *row);

#endif
