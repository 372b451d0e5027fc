/* Tiles over runs, split into parts that fit in the vector registers, as in gemm_microkernel.c.
 *
 * The left factor of a convolution is not a matrix in memory: each of 8 rows has an address of its
 * own, and its numbers come in runs. A whole tile has 32 columns. A half tile has 16, for layers
 * with few filters. The sums run over runs, then over the numbers of a run. */
#include "conv_microkernel.h"

#include <string.h>

enum { rows_of_tile = QUERN__TILE_ROWS, columns_of_tile = QUERN__TILE_COLUMNS };

enum { part_rows = QUERN__PART_ROWS, width = QUERN__VECTOR_NUMBERS, columns_of_half = 16 };
/* Vectors per row of a part of a half tile; a part of a whole tile has two. */
enum { vectors_of_half = 2 * width <= columns_of_half ? 2 : 1 };

/* part_rows rows by `vectors` (a constant) vectors of columns. */
static inline __attribute__((always_inline)) void part(int vectors, const quern__runs *r,
                                                       const float *const *a, const float *b,
                                                       float *c, int64_t ldc, bool add)
{
    quern__vector s[part_rows][2] = { { { 0 } } };
    const float *row[part_rows];
    for (int i = 0; i < part_rows; i++)
        row[i] = a[i];
    /* `q` is the offset in the left rows, `from` the row of the right factor */
    for (int64_t n = 0; n < r->runs; n++, b += r->b_run) {
        const float *from = b;
        for (int64_t p = 0, q = n * r->a_run; p < r->length; p++, q += r->step, from += r->ldb) {
            quern__vector right[2];
            QUERN__UNROLL(2)
            for (int j = 0; j < vectors; j++)
                right[j] = *(const quern__vector *)(from + width * j);
            QUERN__UNROLL(8)
            for (int i = 0; i < part_rows; i++) {
                QUERN__UNROLL(2)
                for (int j = 0; j < vectors; j++)
                    s[i][j] += row[i][q] * right[j];
            }
        }
    }
    QUERN__UNROLL(8)
    for (int i = 0; i < part_rows; i++) {
        QUERN__UNROLL(2)
        for (int j = 0; j < vectors; j++) {
            quern__vector *to = (quern__vector *)(c + i * ldc + width * j);
            *to = add ? *to + s[i][j] : s[i][j];
        }
    }
}

/* A whole tile: 8 rows by 32 columns. */
static void full(const quern__runs *r, const float *const *a, const float *b, float *c, int64_t ldc,
                 bool add)
{
    for (int i = 0; i < rows_of_tile; i += part_rows)
        for (int j = 0; j < columns_of_tile; j += 2 * width)
            part(2, r, a + i, b + j, c + i * ldc + j, ldc, add);
}

/* As full, for 16 columns. */
static void half(const quern__runs *r, const float *const *a, const float *b, float *c, int64_t ldc,
                 bool add)
{
    for (int i = 0; i < rows_of_tile; i += part_rows)
        for (int j = 0; j < columns_of_half; j += vectors_of_half * width)
            part(vectors_of_half, r, a + i, b + j, c + i * ldc + j, ldc, add);
}

void quern__runs_tile(const quern__runs *r, const float *const a[QUERN__TILE_ROWS], const float *b,
                      float *c, int64_t ldc, bool add, int64_t rows, int64_t columns)
{
    void (*tile)(const quern__runs *, const float *const *, const float *, float *, int64_t, bool) =
        columns > columns_of_half ? full : half;
    if (rows == rows_of_tile && (columns == columns_of_tile || columns == columns_of_half)) {
        tile(r, a, b, c, ldc, add);
        return;
    }
    /* a partial tile is computed in a buffer, and its valid part is copied */
    float whole[rows_of_tile * columns_of_tile];
    tile(r, a, b, whole, columns_of_tile, false);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            c[i * ldc + j] = whole[i * columns_of_tile + j] + (add ? c[i * ldc + j] : 0);
}

void quern__runs_tile_over(const quern__runs *r, const float *const a[QUERN__TILE_ROWS],
                           const float *b, float *c, int64_t ldc, bool add, int64_t rows,
                           int64_t columns)
{
    /* if one part has all columns, a row is written whole before the next */
    if (columns <= columns_of_half && vectors_of_half * width == columns_of_half)
        half(r, a, b, c, ldc, add);
    else if (columns > columns_of_half && 2 * width == columns_of_tile)
        full(r, a, b, c, ldc, add);
    else
        quern__runs_tile(r, a, b, c, ldc, add, rows, columns);
}
