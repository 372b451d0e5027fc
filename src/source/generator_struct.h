/* generator_struct: the members of a generator. Only modules source and queue include it; other
 * modules call the functions of source.h (make check-style). */
#ifndef QUERN__GENERATOR_STRUCT_H
#define QUERN__GENERATOR_STRUCT_H

#include "source.h"

/* Bad records of a generator: policy and counts of the run. */
typedef struct quern__bad_records {
    unsigned can; /* bit mask of the policies that the source supports */
    int policy;
    int64_t most, epoch, all; /* limit per epoch; count in this epoch; count in the run */
    quern_error *places;      /* the first bad records of the run; owned */
} quern__bad_records;

/* The resume position: the state after the last batch that the trainer took. The queue updates
 * it. */
typedef struct quern__position {
    bool known, going; /* known: a run has begun; going: a run is active */
    bool restored;     /* the next run begins here, not at the start */
    bool shuffle;      /* of the run; this and the following fields are for random access */
    uint64_t seed;
    int64_t pass, first, batch_size;
    uint8_t *
        state; /* state of a source with `saves`: QUERN_MAX_STATE bytes, owned; valid if size > 0 */
    size_t size;
} quern__position;

struct quern_generator {
    const quern__source_ops *ops;
    void *self;
    const quern_batch_spec *spec;
    bool restarts;       /* can restart */
    bool finite;         /* an epoch is one pass over it: arrays and files */
    int64_t from, count; /* random access: the first record and the number of records */
    const char *(*class_name)(const quern_generator *g, int target,
                              int i); /* NULL: no class names */
    const quern_schema *(*schema)(
        const quern_generator *g); /* schema of its columns during a run; NULL: no schema */
    int features;
    const char *(*file_of)(const quern_generator *g,
                           int array); /* file of an array of the batch; NULL: `where` */
    const char *where;                 /* name in errors; NULL: "generator"; borrowed from self */
    bool saves;                        /* ops->save and ops->restore are valid */
    bool strings;                      /* can fill arrays of type string */
    bool keeps; /* has named columns and can provide their texts in addition to the inputs */
    quern__position position;
    quern__bad_records bad;
    double stall_timeout; /* seconds that the trainer waits for a batch; 0: no limit */
    bool watches;         /* the source enforces stall_timeout itself */
    const volatile int
        *interrupt; /* not 0: a wait on the trainer's thread returns QUERN_CANCELED; may be NULL */
    bool taken;     /* in use by a run (atomic) */
    int runs;       /* number of detached runs (quern__generator_keep) */
};

#endif
