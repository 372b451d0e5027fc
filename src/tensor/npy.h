/* npy: reads the header of a `.npy` array (NumPy's format 1.0 to 3.0, numpy.lib.format) within
 * limits, and writes it. */
#ifndef QUERN__NPY_H
#define QUERN__NPY_H

#include "tensor/tensor.h"

typedef struct quern__npy {
    int dtype;           /* a quern_dtype */
    bool swapped;        /* big-endian numbers */
    bool fortran;        /* column-major order; it matters for rank 2 and more only */
    quern_shape shape;   /* no dynamic dimensions; a scalar has rank 0 */
    size_t header_bytes; /* offset of the first number */
    size_t data_bytes;   /* checked product */
} quern__npy;

enum { QUERN__NPY_PROLOGUE = 10, QUERN__NPY_HEADER_LIMIT = 4096 };

/* The size of the header, from its first 10 bytes (versions 2 and 3: `n` must be 12). Returns
 * QUERN_FORMAT when the bytes are not a header or the size exceeds QUERN__NPY_HEADER_LIMIT. */
int quern__npy_header_bytes(const uint8_t *bytes, size_t n, size_t *out, const char *where,
                            quern_error *err);
/* Parses a header of header_bytes. Accepts numbers of any size and byte order, and bool; other
 * dtypes are QUERN_DTYPE errors. */
int quern__npy_parse(const uint8_t *bytes, size_t n, quern__npy *out, const char *where,
                     quern_error *err);
/* Writes a header of version 1.0, padded to 64 bytes. Returns its size, at most 256. */
size_t quern__npy_write(const quern_shape *shape, int dtype, uint8_t out[256]);

#endif
