/* The tile of products (gemm_microkernel.h) for left factors whose rows lie anywhere and whose numbers come in runs, as those of a
 * convolution do: a row is a window, a run the places of one row of the kernel. */
#ifndef QUERN__KERNELS_RUNS_H
#define QUERN__KERNELS_RUNS_H

#include "cpu.h"

#include "gemm_microkernel.h"

/* Number p of run r of row i is at a[i] + r * a_run + p * step; row p of run r of the right factor at b + r * b_run + p * ldb. */
typedef struct quern__runs {
    int64_t runs, length, a_run, step, b_run, ldb;
} quern__runs;

/* c = a b, or c += a b, for 8 rows of which `rows` are stored, and `columns` <= 32. Rows that are not stored must be readable too.
 * Of b, 16 numbers of a row are read when `columns` <= 16, else 32. */
void quern__runs_tile(const quern__runs *r, const float *const a[QUERN__TILE_ROWS], const float *b, float *c, int64_t ldc, bool add,
                      int64_t rows, int64_t columns);

/* The same without adding, for 8 rows, where the 16 or 32 numbers from the start of each row of c on may be written: what is no
 * column of a row is written over by the next ones. */
void quern__runs_tile_over(const quern__runs *r, const float *const a[QUERN__TILE_ROWS], const float *b, float *c, int64_t ldc,
                           bool add, int64_t rows, int64_t columns);

#endif
