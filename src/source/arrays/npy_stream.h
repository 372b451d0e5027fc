/* npy_stream: concatenated `.npy` arrays, x then y for each batch, from a descriptor: a
 * program's output or standard input. The end of the stream between batches is the end of the
 * data; inside a batch it is an error with batch and byte. */
#ifndef QUERN__PROTOCOL_H
#define QUERN__PROTOCOL_H

#include "source/source.h"
#include "tensor/npy.h"

enum { QUERN__PROTOCOL_ARRAYS = 2 * QUERN_MAX_ARRAYS + 1 };

/* The owner zeroes it and sets where, arrays (both borrowed), timeout, fd, and optionally said,
 * hear and gone. */
typedef struct quern__protocol {
    const char *where;   /* name in errors */
    const char *arrays;  /* order of the arrays: "x,y,w", or names of inputs and outputs; NULL: all
                            inputs, then all targets */
    bool channels_first; /* inputs have their channels on axis 1, which moves to the end */
    double timeout;      /* seconds without data that are an error; 0: no limit */
    int fd;
    int said; /* the writer's standard error, which poll also watches; -1: none */
    void (*hear)(struct quern__protocol *p);
    bool (*gone)(struct quern__protocol *p); /* whether the writer has exited although the stream is
                                                open; NULL: unknown */
    bool held; /* the writer has exited and no data came for some seconds: the stream ends */
    int n, order[QUERN__PROTOCOL_ARRAYS]; /* index of the batch array, or -1: weights */
    int64_t batch, bytes;                 /* read so far */
    bool stop;                            /* set atomically to end a wait */
    bool passed;                          /* the refused array was read to its end */
    bool ahead;                           /* the header of the next array was read */
    quern__npy npy;                       /* that header */
    bool alone;                    /* no other thread reports stalls: a long wait is logged here */
    const volatile int *interrupt; /* ends a wait if not 0; NULL: none */
    uint8_t *scratch;              /* an array before its conversion */
    size_t scratch_bytes;
} quern__protocol;

/* Sets the arrays of the run. */
int quern__protocol_open(quern__protocol *p, const quern_batch_spec *spec, quern_error *err);
/* The next batch; QUERN_END if the stream ends before it. */
int quern__protocol_next(quern__protocol *p, const quern_batch_spec *spec, quern_batch *b,
                         quern_error *err);
/* Records of the first batch, from its header: see quern__source_ops.first. */
int64_t quern__protocol_first(quern__protocol *p, const volatile int *interrupt, quern_error *err);
/* Whether no batch was taken: the stream is at its start. */
bool quern__protocol_fresh(const quern__protocol *p);
/* Resets the counters after a rewind. */
void quern__protocol_begin(quern__protocol *p);
/* Fails at the current batch and byte. */
int quern__protocol_fail(const quern__protocol *p, int code, quern_error *err, const char *what);

#endif
