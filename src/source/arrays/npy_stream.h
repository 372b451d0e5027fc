/* protocol: `.npy` arrays one behind the other, x then y, batch after batch, out of a descriptor: what another program writes, or
 * standard input. The end of the stream between batches is the end of the data; inside one it is an error that names batch and
 * byte. */
#ifndef QUERN__PROTOCOL_H
#define QUERN__PROTOCOL_H

#include "source/source.h"
#include "tensor/npy.h"

enum { QUERN__PROTOCOL_ARRAYS = 2 * QUERN_MAX_ARRAYS + 1 };

/* Zeroed, then filled by who has it: where, arrays (both borrowed), timeout, fd, and perhaps said and hear. */
typedef struct quern__protocol {
    const char *where;   /* what errors call it */
    const char *arrays;  /* what comes: "x,y,w", or names of inputs and outputs; NULL: all inputs, then all targets */
    bool channels_first; /* of inputs, whose second axis then becomes the last */
    double timeout;      /* seconds of silence that are an error; 0: none */
    int fd;
    int said; /* where the writer says what is wrong, watched too; -1: nowhere */
    void (*hear)(struct quern__protocol *p);
    bool (*gone)(struct quern__protocol *p); /* whether the writer has ended, though its end of the stream is open; NULL: unknown */
    bool held;                               /* it has, and for a grace nothing has come: that is the end */
    int n, order[QUERN__PROTOCOL_ARRAYS];    /* arrays of the batch by number, or -1: weights */
    int64_t batch, bytes;                    /* that have come */
    bool stop;                               /* set, atomically, to end a wait */
    bool passed;                             /* the array that was refused is read to its end */
    bool ahead;                              /* the header of the next array has been read */
    quern__npy npy;                          /* which is this */
    bool alone;                              /* nobody watches the one who waits: what takes long is said */
    const volatile int *interrupt;           /* of those who wait for that; NULL: nobody does */
    uint8_t *scratch;                        /* an array in another dtype, before it is converted */
    size_t scratch_bytes;
} quern__protocol;

/* Learns which arrays the run wants. */
int quern__protocol_open(quern__protocol *p, const quern_batch_spec *spec, quern_error *err);
/* The next batch; QUERN_END when the stream ends before it. */
int quern__protocol_next(quern__protocol *p, const quern_batch_spec *spec, quern_batch *b, quern_error *err);
/* Records of the first batch, whose header is read ahead: as quern__source_ops.first. */
int64_t quern__protocol_first(quern__protocol *p, const volatile int *interrupt, quern_error *err);
/* Whether nothing has been taken: the stream is at its start. */
bool quern__protocol_fresh(const quern__protocol *p);
/* The stream is at its start again. */
void quern__protocol_begin(quern__protocol *p);
/* An error at the present batch and byte. */
int quern__protocol_fail(const quern__protocol *p, int code, quern_error *err, const char *what);

#endif
