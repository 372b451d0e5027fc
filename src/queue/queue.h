/* queue: a bounded ring of recycled batches between reader threads and the trainer.
 * quern__queue_open allocates all buffers; later calls do not allocate.
 * The batches of an epoch have tickets 0, 1, …, and the trainer takes them in this order. With
 * random access any reader fills any ticket. A sequential source is advanced by one reader at a
 * time. No more tickets are issued than the epoch can use, so a user's generator is never
 * advanced further than the run needs. */
#ifndef QUERN__QUEUE_H
#define QUERN__QUEUE_H

#include "source/source.h"

enum { QUERN__MAX_WORKERS = 64 };
typedef struct quern__queue quern__queue;

typedef struct quern__queue_opts {
    quern_batch_spec spec;
    bool shuffle;
    uint64_t seed;
    int depth;   /* prefetched batches, 1 … 1024 */
    int workers; /* reader threads; 0: take reads on the caller's thread */
    bool bad;    /* bad records do not fail at once: batches have a list of them */
    const volatile int *interrupt; /* not 0: take returns QUERN_CANCELED; NULL: no interruption */
    bool restart;                  /* with forever: also a source that is not finite restarts */
    bool forever;                  /* a finite source restarts when it ends inside an epoch */
} quern__queue_opts;

/* Allocates all slots, opens the generator for a run, and starts the reader threads. Borrows g;
 * copies opts. Returns new; NULL on failure, such as a generator that another run uses. */
quern__queue *quern__queue_open(quern_generator *g, const quern__queue_opts *opts,
                                quern_error *err);
/* Begins an epoch of at most `steps` batches (-1: until the source ends). `restart`: from the
 * start of the data. */
int quern__queue_begin(quern__queue *q, int64_t epoch, int64_t steps, bool restart,
                       quern_error *err);
/* Seconds after which a wait for a reader is logged, once per wait; tests reduce it. Without
 * workers the trainer reads, and no thread can log the wait. */
extern double quern__queue_patience;
/* Takes the next batch, borrowed until quern__queue_release. QUERN_END after the last batch of
 * the epoch or source. QUERN_CANCELED (without an error text) after an interruption. Trainer
 * thread only, like all functions of the queue. */
int quern__queue_take(quern__queue *q, quern_batch **out, quern_error *err);
/* Returns the batch of the last take; its slot gets a later ticket. */
void quern__queue_release(quern__queue *q);
/* A fingerprint of the data. Random access: a hash of the number of records and of 16 batches of
 * the first pass, evenly spaced (all, if there are fewer). Sequential: a hash of the source's
 * name. Called before an epoch begins. */
int quern__queue_fingerprint(quern__queue *q, uint64_t *out, quern_error *err);
/* Bad records of the epoch up to the last batch that was taken; sets that number when a run
 * resumes. */
int64_t quern__queue_bad(const quern__queue *q);
void quern__queue_restore_bad_count(quern__queue *q, int64_t n);
/* Skips the next `n` batches of the epoch, or all if there are fewer. */
int quern__queue_skip(quern__queue *q, int64_t n, quern_error *err);
/* The source of the queue; borrowed. */
const quern_generator *quern__queue_source(const quern__queue *q);
double quern__queue_waited(const quern__queue *q); /* total seconds that take has waited */
/* Bytes of all slots, for the memory budget. */
size_t quern__queue_bytes(const quern__queue_opts *opts);
/* Ends the run: stops the readers, closes the generator and frees the queue. After a stall it
 * does not wait. */
void quern__queue_close(quern__queue *q);

#endif
