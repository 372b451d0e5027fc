/* vocabulary: Keras's StringLookup and IntegerLookup: a vocabulary from the config or from
 * adapt, and the index or row of a token. Integers are stored as strings of eight bytes with the
 * same order. Lookups do not change the vocabulary: any number of threads may look up
 * concurrently, but not during adapt. */
#ifndef QUERN__VOCABULARY_H
#define QUERN__VOCABULARY_H

#include "string_table.h"

#include <jansson.h>

enum { QUERN__INT, QUERN__ONE_HOT, QUERN__MULTI_HOT, QUERN__COUNT, QUERN__TF_IDF };
/* The result of quern__vocabulary_find for the mask token if output_mode is not int. */
#define QUERN__MASKED INT64_MAX

typedef struct quern__vocabulary {
    bool integers, invert, pad, fixed,
        farmhash; /* fixed: the config contains the vocabulary, adapt fails */
    int mode;
    int64_t max_tokens, n_oov; /* max_tokens 0: no limit */
    char *mask, *oov;          /* NULL: none; keys if integers */
    size_t mask_length, oov_length;
    quern__strings tokens; /* without the special tokens */
    float *idf;            /* tf_idf: by column, unknown tokens first; NULL: no vocabulary yet */
    quern__strings counted;
    int64_t texts; /* number of complete texts during adapt */
} quern__vocabulary;

/* Creates it from the config of the layer. An unsupported option is QUERN_UNSUPPORTED with its
 * name. Returns new; NULL on failure. */
quern__vocabulary *quern__vocabulary_new(const json_t *config, bool integers, quern_error *err);
void quern__vocabulary_free(quern__vocabulary *v);

/* Writes the key of an integer. Returns `key`. */
const char *quern__vocabulary_key(int64_t value, char key[8]);

/* Adapt: reset the counts, count each token of a text, end the text (tf_idf counts texts), and
 * finish. Memory is bounded (quern__strings_count), unlike in Keras: beyond the limit the rarest
 * tokens are removed. */
int quern__vocabulary_reset(quern__vocabulary *v, quern_error *err);
int quern__vocabulary_count(quern__vocabulary *v, const char *token, size_t n, quern_error *err);
void quern__vocabulary_end_text(quern__vocabulary *v);
int quern__vocabulary_finish(quern__vocabulary *v, quern_error *err);

/* set_vocabulary(list, idf): strings or integers, with or without the special tokens at the
 * start. `idf` NULL: none. */
int quern__vocabulary_set(quern__vocabulary *v, const json_t *list, const json_t *idf,
                          quern_error *err);
/* get_vocabulary(). Returns new; NULL: out of memory. */
json_t *quern__vocabulary_list(const quern__vocabulary *v);

/* The index of the first learned token; the number of indices; the columns of an output that is
 * not int. */
int64_t quern__vocabulary_start(const quern__vocabulary *v);
int64_t quern__vocabulary_size(const quern__vocabulary *v);
int64_t quern__vocabulary_depth(const quern__vocabulary *v);

/* The index of a token, QUERN__MASKED, or QUERN_NUMBER if the token is unknown and
 * num_oov_indices is 0. */
int64_t quern__vocabulary_find(const quern__vocabulary *v, const char *token, size_t n,
                               quern_error *err);
/* The token of an index, for `invert`; the unknown token if the index is out of range. Borrowed. */
const char *quern__vocabulary_token(const quern__vocabulary *v, int64_t index, size_t *n);
/* The integer of a key. */
int64_t quern__vocabulary_value(const char *key);

/* Marks an index in a row of quern__vocabulary_depth elements, initially zero: sets 1 (one_hot,
 * multi_hot) or adds 1 (count, tf_idf). For tf_idf quern__vocabulary_weigh then multiplies the
 * row by the idf weights, once. */
void quern__vocabulary_mark(const quern__vocabulary *v, int64_t index, float *row);
void quern__vocabulary_weigh(const quern__vocabulary *v, float *row);

#endif
