/* The header of a `.npy` array (NumPy's format 1.0 to 3.0, numpy.lib.format), read with limits and written. */
#ifndef QUERN__NPY_H
#define QUERN__NPY_H

#include "tensor/tensor.h"

typedef struct quern__npy {
    int dtype;           /* a quern_dtype */
    bool swapped;        /* the first byte of a number is its largest */
    bool fortran;        /* columns first; only shapes of rank 2 and more differ */
    quern_shape shape;   /* closed; a scalar has rank 0 */
    size_t header_bytes; /* from the magic to the first number */
    size_t data_bytes;   /* checked product */
} quern__npy;

enum { QUERN__NPY_PROLOGUE = 10, QUERN__NPY_HEADER_LIMIT = 4096 };

/* How long the header is, from its first 10 bytes (version 2 and 3: 12 are needed, then `n` must be 12); QUERN_FORMAT when
 * they are not a header's, or it is longer than QUERN__NPY_HEADER_LIMIT. */
int quern__npy_header_bytes(const uint8_t *bytes, size_t n, size_t *out, const char *where, quern_error *err);
/* Parses a whole header of header_bytes. Numbers of any size and order of bytes, and bool; other types are QUERN_DTYPE, named. */
int quern__npy_parse(const uint8_t *bytes, size_t n, quern__npy *out, const char *where, quern_error *err);
/* Writes a version 1.0 header padded to 64 bytes; returns its length, at most 256. */
size_t quern__npy_write(const quern_shape *shape, int dtype, uint8_t out[256]);

#endif
