/* The core of all products: a tile of 8 rows by 32 columns in registers. Products, recurrence and
 * attention use it. Each element is a sum over k in order, in slices of 512, at any position in any
 * tile. Another partition of a product is therefore bit-identical.
 *
 * The left factor has any strides, so it is read in place, transposed or not. The right factor is
 * read in rows of 32 numbers: in place, or from a packed B block. A block of depth 512 has 64
 * KiB. */
#ifndef QUERN__KERNELS_TILE_H
#define QUERN__KERNELS_TILE_H

#include "cpu.h"

/* A vector as wide as the registers, and the rows of a part that fits in them with two vectors of
 * columns. */
#if defined(__AVX512F__)
typedef float quern__vector __attribute__((vector_size(64), aligned(4)));
enum { QUERN__PART_ROWS = 8 };
#elif defined(__AVX__)
typedef float quern__vector __attribute__((vector_size(32), aligned(4)));
enum { QUERN__PART_ROWS = 4 };
#else
typedef float quern__vector __attribute__((vector_size(16), aligned(4)));
enum { QUERN__PART_ROWS = 4 };
#endif
enum { QUERN__VECTOR_NUMBERS = sizeof(quern__vector) / sizeof(float) };

enum { QUERN__TILE_ROWS = 8, QUERN__TILE_COLUMNS = 32, QUERN__TILE_DEPTH = 512 };

/* The left factor: element (i, p) is a[i * row + p * step]. */
typedef struct quern__left {
    const float *a;
    int64_t row, step;
} quern__left;

/* c = a b, or c += a b, for `rows` <= 8, `columns` <= 32 and k <= 512. b has k rows of 32 numbers,
 * `ldb` apart. Numbers after `columns` may have any value but must be readable. */
void quern__tile(int64_t k, quern__left a, const float *b, int64_t ldb, float *c, int64_t ldc,
                 bool add, int64_t rows, int64_t columns);
/* The same for any number of rows. */
void quern__tile_strip(int64_t m, int64_t k, quern__left a, const float *b, int64_t ldb, float *c,
                       int64_t ldc, bool add, int64_t columns);
/* One row by 64 columns. */
void quern__tile_row(int64_t k, quern__left a, const float *b, int64_t ldb, float *c, bool add);
/* Packs k rows of 32 numbers of a matrix (`t`: of its transpose), with zeros after `columns`. */
void quern__tile_pack(bool t, const float *b, int64_t ldb, int64_t k, int64_t columns, float *to);
/* Packs a matrix (or its transpose) of k rows and n columns as consecutive panels of 32 columns;
 * and the size of the result in numbers. */
void quern__tile_pack_all(bool t, const float *b, int64_t ldb, int64_t k, int64_t n, float *to);
static inline int64_t quern__tile_packed(int64_t k, int64_t n)
{
    return (n + QUERN__TILE_COLUMNS - 1) / QUERN__TILE_COLUMNS * QUERN__TILE_COLUMNS * k;
}
/* c (m, n) = or += a b, b packed by quern__tile_pack_all. */
void quern__tile_product(int64_t m, int64_t n, int64_t k, quern__left a, const float *packed,
                         float *c, int64_t ldc, bool add);

#endif
