/* queue: a bounded ring of recycled batches between threads that read and the thread that trains. All buffers are allocated by
 * open; after it nothing allocates. Batches have tickets, 0, 1, … in an epoch: an indexed source makes any ticket on any thread, a
 * plain one is advanced by one thread at a time, and they are taken in the order of their tickets. No more tickets are given out
 * than the epoch may take, so a user's generator is never advanced further than the run needs. */
#ifndef QUERN__QUEUE_H
#define QUERN__QUEUE_H

#include "source/source.h"

enum { QUERN__MAX_WORKERS = 64 };
typedef struct quern__queue quern__queue;

typedef struct quern__queue_opts {
    quern_batch_spec spec;
    bool shuffle;
    uint64_t seed;
    int depth;                     /* batches that may stand ready, 1 … 1024                         */
    int workers;                   /* threads that read; 0: read when asked, on the caller's thread  */
    bool bad;                      /* some records may be bad and yet no error: places are noted     */
    const volatile int *interrupt; /* not 0: a wait for a batch ends; NULL: never        */
    bool restart;                  /* with forever: a source that is not finite does so too */
    bool forever;                  /* a finite source begins anew when it ends within an epoch       */
} quern__queue_opts;

quern__queue *quern__queue_open(quern_generator *g, const quern__queue_opts *opts, quern_error *err);
/* Begins an epoch of at most `steps` batches (-1: until the source ends). `restart`: the data from its beginning. */
int quern__queue_begin(quern__queue *q, int64_t epoch, int64_t steps, bool restart, quern_error *err);
/* Seconds that take waits for a worker before it tells, once a wait, what it waits for; tests make it short. Without workers the
 * trainer itself reads, and nobody is there to tell. */
extern double quern__queue_patience;
/* The next batch, lent until quern__queue_release; QUERN_END when the epoch's batches are taken or the source has ended;
 * QUERN_CANCELED (without an error's text) when it was interrupted. */
int quern__queue_take(quern__queue *q, quern_batch **out, quern_error *err);
void quern__queue_release(quern__queue *q);
/* A number that other data would hardly have: of records that are known by number a hash of how many there are and of 16 batches of
 * the run's first pass, from its first to its last (of all where there are no more); of others of what they are called. Before an
 * epoch begins. */
int quern__queue_fingerprint(quern__queue *q, uint64_t *out, quern_error *err);
/* Bad records of the epoch up to the last batch that was taken; what the run that goes on has had of them. */
int64_t quern__queue_bad(const quern__queue *q);
void quern__queue_restore_bad_count(quern__queue *q, int64_t n);
/* Leaves out the next `n` batches of the epoch, or as many as there are. */
int quern__queue_skip(quern__queue *q, int64_t n, quern_error *err);
/* The source behind it. */
const quern_generator *quern__queue_source(const quern__queue *q);
double quern__queue_waited(const quern__queue *q); /* seconds that take has waited */
size_t quern__queue_bytes(const quern__queue_opts *opts);
void quern__queue_close(quern__queue *q);

#endif
