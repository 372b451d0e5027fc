/* records: arrays in files as records, x=FILE y=FILE [w=FILE]. array_arguments.c opens what words name, array_dataset.c reads it.
 */
#ifndef QUERN__RECORDS_H
#define QUERN__RECORDS_H

#include "array_file.h"

enum { QUERN__RECORDS_PARTS = 3 * QUERN_MAX_ARRAYS + 1, QUERN__RECORDS_BLOCKS = 64 };

typedef struct quern__records {
    int n;
    quern__array_file parts[QUERN__RECORDS_PARTS];
    char roles[QUERN__RECORDS_PARTS];     /* 'x', 'y', 'w' */
    char names[QUERN__RECORDS_PARTS][64]; /* of an input or output; empty: the next one */
    int order[2 * QUERN_MAX_ARRAYS];      /* part that feeds an array of the batch */
    int weight;                           /* part of the weights of all targets, -1: none */
    int own[QUERN_MAX_ARRAYS];            /* by target: part of its own weights, -1: none */
    bool channels_first, shuffle;         /* channels_first: inputs have them so */
    uint64_t seed;
    /* Forward: blocks of `block` records, and the places where they begin, kept while the first pass goes by. From then on a pass
     * may visit them in any order. */
    int64_t block, left; /* left: records until the present block ends */
    int n_blocks, kept, visited;
    quern__place places[QUERN__RECORDS_BLOCKS][QUERN__RECORDS_PARTS];
    bool in_order;
    quern__random_key key;
    int read[QUERN__RECORDS_PARTS],
        n_read;                      /* parts in the order in which a record of the run is laid out; those of the weights last */
    int types[QUERN__RECORDS_PARTS]; /* of those: what the run wants them in */
    bool passed;                     /* the record that failed lies behind */
} quern__records;

/* Returns new. */
quern__records *quern__records_words(const char *words, const char *format, quern_error *err);
void quern__records_free(void *self);
void quern__records_forget(quern__records *r); /* the places */

#endif
