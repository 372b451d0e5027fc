/* ring: the queue from inside, for queue.c and stall_report.c. */
#ifndef QUERN__RING_H
#define QUERN__RING_H

#include "queue.h"

#include <pthread.h>

typedef struct quern__slot {
    quern_batch batch;
    bool made;
    int reader; /* who makes it */
    int status;
    quern_error error;
    uint8_t *state; /* where the source is behind the batch, of sources that say so */
    size_t state_size;
} quern__slot;

/* A thread that reads. */
typedef struct quern__reader {
    quern__queue *queue;
    pthread_t thread;
    quern__activity doing;
} quern__reader;

struct quern__queue {
    quern_generator *g;
    quern__queue_opts opts;
    int slots;
    quern__slot *ring;
    quern__reader *readers;
    int running, working;              /* threads; those that make a batch now */
    bool stop, advancing;              /* advancing: a plain source is being read */
    int64_t next, taken, limit, ended; /* tickets: next to give out, released, at most, first that cannot be made */
    int64_t base, pass;                /* indexed: tickets before this epoch since the last restart, and the pass it began with */
    int64_t epoch, first;              /* plain: records so far in the epoch */
    double waited;
    int64_t given; /* records of the epoch that the trainer has had */
    bool stalled;  /* a wait took longer than it may: closing does not wait either */
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

/* Waits, with the lock held, until the slot of the next ticket is made or none will be. QUERN_STALLED when that takes too long,
 * QUERN_CANCELED when it is interrupted. */
int quern__queue_wait(quern__queue *q, const quern__slot *s, quern_error *err);
/* Ends the threads, the source's run and the queue, waiting for all of them; of a queue that stalled by a thread that nobody waits
 * for. */
void quern__queue_end(quern__queue *q);
void quern__queue_abandon(quern__queue *q);

#endif
