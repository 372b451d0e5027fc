/* queue: a bounded line of recycled batches between the worker threads and the training thread.
 *
 * Batches come out in ticket order, whatever the number of workers. All buffers (max_queue_size + workers + 1) are
 * allocated by open; after it nothing allocates. One lock. No user code ever runs while it is held. */
#ifndef QUERN__QUEUE_H
#define QUERN__QUEUE_H

#include "batch/batch.h"

typedef struct quern__line quern__line;

typedef struct quern__line_opts {
    quern_batch_spec spec;      /* what the model wants; batch_size is set                                             */
    const char *phase;          /* "train", "validation", "evaluate", "predict"                                        */
    uint64_t seed;
    bool shuffle;               /* indexed sources                                                                     */
    int workers;                /* 0: everything on the caller's thread; indexed sources use all, serial ones one      */
    int max_queue_size;         /* batches ready and waiting, at most                                                  */
    int64_t steps;              /* batches in an epoch, 0: as many as the data has                                     */
    int64_t first_epoch, n_epochs; /* epochs the run will have: nothing is read beyond first..n_epochs × steps batches */
    double stall_timeout;       /* seconds; a wait longer than that is QUERN_STALLED naming stage, source, record; 0: warn every 30 s */
    int on_exhausted;           /* QUERN_EXHAUSTED_…                                                                   */
    const char *class_weight;   /* see batch/weights.h: "0:1,1:4"                                                      */
} quern__line_opts;

/* Opens the generator for a run and starts the workers. Returns new, NULL on failure. Borrows the generator. */
quern__line *quern__line_open(quern_generator *g, const quern__line_opts *opts, quern_error *err);
/* The next batch. QUERN_OK: *out is lent until quern__line_release. QUERN_END: the epoch is over (its `steps` were taken,
 * or the data of an indexed source was read through once, or a serial source ended: see quern__line_exhausted). */
int quern__line_take(quern__line *line, quern_batch **out, quern_error *err);
void quern__line_release(quern__line *line, quern_batch *batch);
/* Begins the next epoch (from 0). A line is opened before its first. For validation: restart = the data from the beginning. */
int quern__line_begin_epoch(quern__line *line, int64_t epoch, bool restart, quern_error *err);
/* The serial source has ended (StopIteration): there will be no further batch. */
bool quern__line_exhausted(const quern__line *line);
/* Batches an epoch will have, -1 if only the end will tell. */
int64_t quern__line_steps(const quern__line *line);
/* Seconds the consumer has waited for data so far, and batches that stand ready now. */
double quern__line_waited(const quern__line *line);
int quern__line_depth(quern__line *line);
/* Bytes of all buffers of the line, before it is opened (for the plan). */
int quern__line_bytes(const quern__line_opts *opts, size_t *out, quern_error *err);
/* Wakes everybody, joins the threads (within 100 ms even in mid-batch), closes the source. NULL is fine. */
void quern__line_close(quern__line *line);

#endif
