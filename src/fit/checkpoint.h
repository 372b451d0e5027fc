/* checkpoint: the interface of checkpoint.c and checkpoint_read.c, for module fit only. */
#ifndef QUERN__CHECKPOINT_H
#define QUERN__CHECKPOINT_H

#include "fit.h"

/* A position in a run: batches trained on in this epoch (step) and in total. */
typedef struct quern__place {
    int64_t epoch, step, records, batches;
    int64_t bad; /* bad records of the epoch */
    bool ended;  /* the run is complete */
    bool placed; /* the generator started at the position itself; else the run discards earlier
                    batches */
} quern__place;

typedef struct quern__checkpoint_writer quern__checkpoint_writer;
/* The parts of a checkpoint; all borrowed. */
typedef struct quern__checkpointing {
    quern_model *m;
    const quern_fit_opts *o;
    quern_generator *source;
    quern_history *h;
    quern_callback *const *callbacks; /* of the caller */
    int n_callbacks;
    int64_t batch_size;
    bool single;          /* true: does not keep path.previous */
    uint64_t fingerprint; /* of the data */
    void *found;          /* from find to finish */
    struct quern__checkpoint_writer *writer;
} quern__checkpointing;

/* Start the writer thread, and end it. Close waits for the last write and returns its status. */
int quern__checkpoint_open(quern__checkpointing *c, quern_error *err);
int quern__checkpoint_close(quern__checkpointing *c, quern_error *err);
/* Copies the state of the run; the writer thread then writes it to opts.checkpoint. Returns the
 * status of the previous write. */
int quern__checkpoint_write(quern__checkpointing *c, const quern__place *p, quern_error *err);
/* Returns the status of the last write without waiting. Called after each step, so that a failure
 * is reported early. */
int quern__checkpoint_failed(quern__checkpointing *c, quern_error *err);
/* Restores model, history and generator from the newest valid checkpoint. QUERN_END: no checkpoint.
 * A different model, different data or different options are errors. */
int quern__checkpoint_find(quern__checkpointing *c, quern__place *p, quern_error *err);
/* The batch size in a checkpoint; 0: no valid checkpoint. */
int64_t quern__checkpoint_batch_size(const char *path);
/* Restores callbacks and accumulators, after on_train_begin and after the accumulators were reset.
 */
int quern__checkpoint_finish(quern__checkpointing *c, quern_error *err);
void quern__checkpoint_forget(quern__checkpointing *c);

/* ---- shared by checkpoint.c and checkpoint_read.c ---- */

enum { QUERN__RUN_FORMAT = 1 }; /* of run.json */
/* Writes path.previous to `out`. */
int quern__checkpoint_previous(const char *path, char *out, size_t size, quern_error *err);
/* The k-th piece of state in run.bin, at its present address; NULL: no more. */
void *quern__checkpoint_piece(const quern__checkpointing *c, int k, size_t *size);
/* The options that change the results of a run. Returns new. */
json_t *quern__checkpoint_options(const quern__checkpointing *c);

#endif
