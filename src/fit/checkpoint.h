/* checkpoint: what fit asks of checkpoint.c. Not for other rooms. */
#ifndef QUERN__CHECKPOINT_H
#define QUERN__CHECKPOINT_H

#include "fit.h"

/* Where a run is: batches of the epoch that were trained on, of the whole run. */
typedef struct quern__place {
    int64_t epoch, step, records, batches;
    int64_t bad; /* records of the epoch that could not be used */
    bool ended;  /* the run has come to its end: nothing is left to train */
    bool placed; /* the generator went to its place itself; else batches must be left out */
} quern__place;

typedef struct quern__checkpoint_writer quern__checkpoint_writer;
/* What a checkpoint is made of; all borrowed. */
typedef struct quern__checkpointing {
    quern_model *m;
    const quern_fit_opts *o;
    quern_generator *source;
    quern_history *h;
    quern_callback *const *callbacks; /* the caller's */
    int n_callbacks;
    int64_t batch_size;
    bool single;          /* only the newest is kept */
    uint64_t fingerprint; /* of the data */
    void *found;          /* between find and finish */
    struct quern__checkpoint_writer *writer;
} quern__checkpointing;

/* Starts the thread that writes; waits for the last one to be written, and says what became of it. */
int quern__checkpoint_open(quern__checkpointing *c, quern_error *err);
int quern__checkpoint_close(quern__checkpointing *c, quern_error *err);
/* Takes a copy of all that goes into opts.checkpoint, which is written while training goes on. What became of the one before it is
 * told here. */
int quern__checkpoint_write(quern__checkpointing *c, const quern__place *p, quern_error *err);
/* What became of the last one, where it failed; never waits. After each step, so that a run does not go on for long without one. */
int quern__checkpoint_failed(quern__checkpointing *c, quern_error *err);
/* The newest good one: the model's weights, the history and the generator's place are as it says. QUERN_END: there is none. Another
 * model, other data or other options are refused. */
int quern__checkpoint_find(quern__checkpointing *c, quern__place *p, quern_error *err);
/* The batch size of a checkpoint's run; 0 where there is none that is good. */
int64_t quern__checkpoint_batch_size(const char *path);
/* After on_train_begin, and after the epoch's sums have begun anew: callbacks and sums go on. */
int quern__checkpoint_finish(quern__checkpointing *c, quern_error *err);
void quern__checkpoint_forget(quern__checkpointing *c);

#endif
