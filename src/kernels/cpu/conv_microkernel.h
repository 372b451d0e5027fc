/* The product tile (gemm_microkernel.h) for left factors with rows at any address and numbers in
 * runs, as in a convolution: a row is a window, a run the positions of one kernel row. */
#ifndef QUERN__KERNELS_RUNS_H
#define QUERN__KERNELS_RUNS_H

#include "cpu.h"

#include "gemm_microkernel.h"

/* Number p of run r of row i is a[i][r * a_run + p * step]. Row p of run r of the right factor is
 * at b + r * b_run + p * ldb. */
typedef struct quern__runs {
    int64_t runs, length, a_run, step, b_run, ldb;
} quern__runs;

/* c = a b, or c += a b, for 8 rows, of which `rows` are stored, and `columns` <= 32. All 8 rows
 * must be readable. Reads 16 numbers of each row of b if `columns` <= 16, else 32. */
void quern__runs_tile(const quern__runs *r, const float *const a[QUERN__TILE_ROWS], const float *b,
                      float *c, int64_t ldc, bool add, int64_t rows, int64_t columns);

/* c = a b for 8 rows, which may write 16 or 32 numbers from the start of each row of c. The next
 * rows overwrite the numbers after the last column. */
void quern__runs_tile_over(const quern__runs *r, const float *const a[QUERN__TILE_ROWS],
                           const float *b, float *c, int64_t ldc, bool add, int64_t rows,
                           int64_t columns);

#endif
