/* ring: the fields of the prefetch queue, for queue.c and stall_report.c only.
 *
 * The ring has depth + workers slots (depth + 1 without workers). Ticket t uses slot t mod `slots`.
 * With reader threads, a slot is in one of three states:
 *
 *   free      made is false, and no ticket in taken … next - 1 maps to it
 *   filling   a reader owns the batch, from next++ until it sets made
 *   ready     made is true; the trainer owns the batch until release adds 1 to taken
 *
 * Invariants: taken <= next <= taken + slots, and next <= limit unless limit is -1. The sizes allow
 * `depth` ready batches while every reader fills one more.
 *
 * `lock` protects made, status, next, taken, limit, ended, working, stop and advancing. A broadcast
 * of `changed` follows each change that can end a wait. The reader that advances a sequential
 * source owns `first` and `pass`. The trainer's thread owns `waited`, `given` and `stalled`. */
#ifndef QUERN__RING_H
#define QUERN__RING_H

#include "queue.h"
#include "source/generator_struct.h"

#include <pthread.h>

typedef struct quern__slot {
    quern_batch batch;
    bool made;         /* filled, or failed with `status` */
    int reader;        /* index of the reader that fills it */
    int status;        /* of the fill: QUERN_OK, QUERN_END or an error */
    quern_error error; /* if status is an error */
    uint8_t *state;    /* resume position after the batch, of sources that save themselves */
    size_t state_size;
} quern__slot;

/* A reader thread. */
typedef struct quern__reader {
    quern__queue *queue;
    pthread_t thread;
    quern__activity doing; /* published for stall messages */
} quern__reader;

struct quern__queue {
    quern_generator *g; /* borrowed; NULL: open failed */
    quern__queue_opts opts;
    int slots; /* depth + workers, at least depth + 1 */
    quern__slot *ring;
    quern__reader *readers;            /* `running` of them are started */
    int running, working;              /* reader threads; readers that fill a batch now */
    bool stop, advancing;              /* advancing: a sequential source is being read */
    int64_t next, taken, limit, ended; /* tickets: next to issue; next to take; limit of the epoch
                                          (-1: none); first that the source cannot fill */
    int64_t base, pass; /* random access: tickets before this epoch since the last restart; the pass
                           at that restart */
    int64_t epoch, first; /* first: sequential: records so far in the epoch */
    double waited;        /* seconds that take has waited in this run */
    int64_t given;        /* records of the epoch that the trainer took */
    bool stalled;         /* a wait exceeded stall_timeout: closing does not wait either */
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

/* Waits, with the lock held, until slot `s` is filled or cannot be filled. Returns QUERN_STALLED
 * after stall_timeout, QUERN_CANCELED after an interruption. */
int quern__queue_wait(quern__queue *q, const quern__slot *s, quern_error *err);
/* Ends threads, run and queue. _end waits for all of them; _abandon, after a stall, passes that
 * wait to a detached thread. */
void quern__queue_end(quern__queue *q);
void quern__queue_abandon(quern__queue *q);

#endif
