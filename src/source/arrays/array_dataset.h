/* array_dataset: arrays in files as records, x=FILE y=FILE [w=FILE]. array_arguments.c parses
 * the words and opens the files, array_dataset.c reads them. */
#ifndef QUERN__RECORDS_H
#define QUERN__RECORDS_H

#include "array_file.h"

enum { QUERN__RECORDS_PARTS = 3 * QUERN_MAX_ARRAYS + 1, QUERN__RECORDS_BLOCKS = 64 };

typedef struct quern__records {
    int n;
    quern__array_file parts[QUERN__RECORDS_PARTS];
    char roles[QUERN__RECORDS_PARTS];     /* 'x', 'y', 'w' */
    char names[QUERN__RECORDS_PARTS][64]; /* name of an input or output; empty: by order */
    int order[2 * QUERN_MAX_ARRAYS];      /* by array of the batch: its part */
    int weight;                           /* part with the weights of all targets; -1: none */
    int own[QUERN_MAX_ARRAYS];            /* by target: part with its own weights; -1: none */
    bool channels_first, shuffle;         /* channels_first: inputs have their channels on axis 1 */
    uint64_t seed;
    /* Sequential: blocks of `block` records and their starts, which the first pass records.
     * Later passes may visit blocks in any order. */
    int64_t block, left; /* left: records up to the end of the block */
    int n_blocks, kept, visited;
    quern__place places[QUERN__RECORDS_BLOCKS][QUERN__RECORDS_PARTS];
    bool in_order;
    quern__random_key key;
    int read[QUERN__RECORDS_PARTS]; /* parts in the order of a record of the run; the weights are
                                       last */
    int n_read;
    int types[QUERN__RECORDS_PARTS]; /* by element of `read`: the type that the run expects */
    bool passed;                     /* reading can continue after the failed record */
} quern__records;

/* Parses the words and opens the files. Returns new. */
quern__records *quern__records_words(const char *words, const char *format, quern_error *err);
/* Closes the files and frees the dataset. */
void quern__records_free(void *self);
void quern__records_forget(quern__records *r); /* frees the block starts */

#endif
