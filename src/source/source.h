/* source: where records come from. One table of functions (quern__source_ops) that every kind fills; the rooms batch and
 * queue know no kind. Two natures: an *indexed* source has a known number of records and reads any of them, by several
 * threads; a *serial* one is advanced by one thread only, exactly as far as the run needs. */
#ifndef QUERN__SOURCE_H
#define QUERN__SOURCE_H

#include "tensor/tensor.h"
#include <quern/source.h>

/* One recycled batch. The arrays follow the spec: inputs, then targets, then weights (float32, one number a record). */
struct quern_batch {
    const quern_batch_spec *spec; /* borrowed from the line                                             */
    int64_t size, capacity;       /* records it holds, records it has room for                          */
    int64_t epoch, first;         /* epoch (from 0), and place of its first record within the epoch     */
    int64_t ticket;               /* place in line since the run began                                  */
    bool has_weights;             /* weights were filled (else every record counts 1)                   */
    quern_tensor arrays[3 * QUERN_MAX_ARRAYS];
    int64_t *indices;             /* the records, for places in messages; capacity of them              */
    void *owner;                  /* the line                                                           */
};

typedef struct quern__source_ops {
    const char *kind; /* "csv", "idx", … as messages and `--json` say it */
    /* Learns what the run wants, checks that the data fits it (both shapes and the input's name in the message), and
     * allocates all it will need. `seed`, `phase` ("train", "validation", "evaluate", "predict") are for programs. */
    int (*open)(quern_generator *g, const quern_batch_spec *spec, uint64_t seed, const char *phase, quern_error *err);
    /* Serial only: fills the next batch. QUERN_OK, QUERN_END, or negative. */
    int (*next)(quern_generator *g, quern_batch *batch, quern_error *err);
    /* Serial only: starts anew (`epoch` from 0); NULL: cannot. */
    int (*reset)(quern_generator *g, int64_t epoch, quern_error *err);
    /* Indexed only: fills records rows[0 … n-1] of the batch from records indices[…]. `worker` is 0 … n_workers-1 and is never
     * used by two threads at once. */
    int (*read)(quern_generator *g, const int64_t *indices, size_t n, quern_batch *batch, int worker, quern_error *err);
    /* Wakes a blocked next (the run is over); from any thread. NULL: it never blocks for long. */
    void (*cancel)(quern_generator *g);
    /* Ends the run: threads joined, programs gone; open may follow again. */
    void (*close)(quern_generator *g);
    void (*free)(quern_generator *g);
    /* Names the place of a record for messages ("train.csv:812"). */
    void (*place)(quern_generator *g, int64_t record, char *text, size_t size);
} quern__source_ops;

struct quern_generator {
    const quern__source_ops *ops;
    quern_generator_opts opts; /* own copies of the strings */
    int64_t n_records;         /* -1: serial, or not known  */
    int64_t block_records;     /* indexed: records that are cheap to read together; 1: any order is as good */
    bool parallel;             /* read may be called by several workers */
    quern_batch_spec data;     /* what the data is, n_inputs 0 when not known */
    void *self;                /* the kind's own */
};

#endif
