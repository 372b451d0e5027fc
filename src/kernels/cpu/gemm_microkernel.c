/* Tiles in GCC's vector types, as wide as the vector registers. Goto and van de Geijn, "Anatomy of
 * High-Performance Matrix Multiplication", 2008.
 *
 * A tile is divided into parts, whose sums stay in registers. A part has two vectors of columns:
 * with AVX-512 8 rows by 32 columns, with AVX 4 by 16, otherwise 4 by 8. Each step of k reads two
 * vectors of b, and multiplies them by one broadcast number of each row of a.
 *
 * Packing copies k rows of 32 columns, so that the tile reads consecutive lines. A transposed
 * matrix is packed in squares of 8 by 8. */
#include "gemm_microkernel.h"

#include <string.h>

enum { rows_of_tile = QUERN__TILE_ROWS, columns_of_tile = QUERN__TILE_COLUMNS };

enum { part_rows = QUERN__PART_ROWS, width = QUERN__VECTOR_NUMBERS };

/* A part of a tile: some rows by two vectors of columns. */
static inline __attribute__((always_inline)) void part(int64_t k, quern__left a, const float *b,
                                                       int64_t ldb, float *c, int64_t ldc, bool add)
{
    quern__vector s[part_rows][2] = { { { 0 } } };
    /* one outer product per k: a column of a by a row of b */
    for (int64_t p = 0; p < k; p++, a.a += a.step, b += ldb) {
        quern__vector b0 = *(const quern__vector *)b, b1 = *(const quern__vector *)(b + width);
        QUERN__UNROLL(8)
        for (int i = 0; i < part_rows; i++) {
            s[i][0] += a.a[i * a.row] * b0;
            s[i][1] += a.a[i * a.row] * b1;
        }
    }
    QUERN__UNROLL(8)
    for (int i = 0; i < part_rows; i++)
        for (int j = 0; j < 2; j++) {
            quern__vector *to = (quern__vector *)(c + i * ldc + width * j);
            *to = add ? *to + s[i][j] : s[i][j];
        }
}

/* Consecutive tiles, from top to bottom. */
static void tile_column(int64_t tiles, int64_t k, quern__left a, const float *b, int64_t ldb,
                        float *c, int64_t ldc, bool add)
{
    for (int64_t i = 0; i < tiles * rows_of_tile; i += part_rows)
        for (int j = 0; j < columns_of_tile; j += 2 * width)
            part(k, (quern__left){ a.a + i * a.row, a.row, a.step }, b + j, ldb, c + i * ldc + j,
                 ldc, add);
}

/* One row by `columns` columns (a constant). b is read once, in place; 64 columns are enough
 * independent sums to hide latency. */
static inline __attribute__((always_inline)) void
row(int columns, int64_t k, quern__left a, const float *b, int64_t ldb, float *c, bool add)
{
    enum { most = 2 * columns_of_tile / width };
    quern__vector s[most] = { { 0 } };
    for (int64_t p = 0; p < k; p++, a.a += a.step, b += ldb) {
        QUERN__UNROLL(16)
        for (int j = 0; j < columns / width; j++)
            s[j] += *a.a * *(const quern__vector *)(b + j * width);
    }
    QUERN__UNROLL(16)
    for (int j = 0; j < columns / width; j++) {
        quern__vector *to = (quern__vector *)(c + width * j);
        *to = add ? *to + s[j] : s[j];
    }
}

static void row_of_tile(int64_t k, quern__left a, const float *b, int64_t ldb, float *c, bool add)
{
    row(columns_of_tile, k, a, b, ldb, c, add);
}

void quern__tile_row(int64_t k, quern__left a, const float *b, int64_t ldb, float *c, bool add)
{
    row(2 * columns_of_tile, k, a, b, ldb, c, add);
}

/* Few rows are computed singly. More are computed as a whole tile in a buffer, padded with zero
 * rows, and the valid part is copied. */
static void tile_rows(int64_t k, quern__left a, const float *b, int64_t ldb, float *c, int64_t ldc,
                      bool add, int64_t rows, int64_t columns)
{
    float whole[rows_of_tile * columns_of_tile], left[rows_of_tile * QUERN__TILE_DEPTH];
    if (rows < 4)
        for (int64_t i = 0; i < rows; i++)
            row_of_tile(k, (quern__left){ a.a + i * a.row, a.row, a.step }, b, ldb,
                        whole + i * columns_of_tile, false);
    else {
        for (int64_t p = 0; p < k; p++)
            for (int64_t i = 0; i < rows_of_tile; i++)
                left[p * rows_of_tile + i] = i < rows ? a.a[i * a.row + p * a.step] : 0;
        tile_column(1, k, (quern__left){ left, 1, rows_of_tile }, b, ldb, whole, columns_of_tile,
                    false);
    }
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            c[i * ldc + j] = whole[i * columns_of_tile + j] + (add ? c[i * ldc + j] : 0);
}

void quern__tile(int64_t k, quern__left a, const float *b, int64_t ldb, float *c, int64_t ldc,
                 bool add, int64_t rows, int64_t columns)
{
    if (rows == rows_of_tile && columns == columns_of_tile)
        tile_column(1, k, a, b, ldb, c, ldc, add);
    else if (rows == 1 && columns == columns_of_tile)
        row_of_tile(k, a, b, ldb, c, add);
    else
        tile_rows(k, a, b, ldb, c, ldc, add, rows, columns);
}

void quern__tile_strip(int64_t m, int64_t k, quern__left a, const float *b, int64_t ldb, float *c,
                       int64_t ldc, bool add, int64_t columns)
{
    int64_t whole = columns == columns_of_tile ? m / rows_of_tile : 0;
    if (whole)
        tile_column(whole, k, a, b, ldb, c, ldc, add);
    /* the rows of the last tile, or all rows if the columns are not full */
    for (int64_t i = whole * rows_of_tile; i < m; i += rows_of_tile)
        quern__tile(k, (quern__left){ a.a + i * a.row, a.row, a.step }, b, ldb, c + i * ldc, ldc,
                    add, m - i < rows_of_tile ? m - i : rows_of_tile, columns);
}

/* Transposes 8 by 8 numbers: number q of row j becomes number j of row q. */
#if defined(__AVX__)
typedef float eight __attribute__((vector_size(32), aligned(4)));
#if defined(__clang__)
#define PAIR(A, B, ...) __builtin_shufflevector(A, B, __VA_ARGS__)
#else
typedef int places __attribute__((vector_size(32)));
#define PAIR(A, B, ...) __builtin_shuffle(A, B, (places){ __VA_ARGS__ })
#endif

static void transpose_8x8(const float *b, int64_t ldb, float *to)
{
    eight r[8], s[8];
    for (int j = 0; j < 8; j++)
        r[j] = *(const eight *)(b + j * ldb);
    for (int j = 0; j < 8; j += 2) { /* interleaves two rows, then four, then eight */
        s[j] = PAIR(r[j], r[j + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        s[j + 1] = PAIR(r[j], r[j + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int j = 0; j < 8; j += 4)
        for (int k = 0; k < 2; k++) {
            r[j + 2 * k] = PAIR(s[j + k], s[j + k + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            r[j + 2 * k + 1] = PAIR(s[j + k], s[j + k + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int k = 0; k < 4; k++) {
        *(eight *)(to + k * columns_of_tile) = PAIR(r[k], r[k + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        *(eight *)(to + (k + 4) * columns_of_tile) =
            PAIR(r[k], r[k + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}
#else
static void transpose_8x8(const float *b, int64_t ldb, float *to)
{
    for (int64_t j = 0; j < 8; j++)
        for (int64_t q = 0; q < 8; q++)
            to[q * columns_of_tile + j] = b[j * ldb + q];
}
#endif

/* Eight rows of the transpose at a time, so that a cache line is used completely while it is in
 * cache. */
static void pack_transposed(const float *b, int64_t ldb, int64_t k, int64_t columns, float *to)
{
    int64_t whole_k = k / 8 * 8, whole_j = columns / 8 * 8;
    for (int64_t p = 0; p < whole_k; p += 8)
        for (int64_t j = 0; j < whole_j; j += 8)
            transpose_8x8(b + j * ldb + p, ldb, to + p * columns_of_tile + j);
    for (int64_t p = 0; p < k; p++)
        for (int64_t j = p < whole_k ? whole_j : 0; j < columns; j++)
            to[p * columns_of_tile + j] = b[j * ldb + p];
}

void quern__tile_pack(bool t, const float *b, int64_t ldb, int64_t k, int64_t columns, float *to)
{
    if (columns < columns_of_tile)
        memset(to, 0, (size_t)(k * columns_of_tile) * sizeof *to);
    if (t) {
        pack_transposed(b, ldb, k, columns, to);
        return;
    }
    for (int64_t p = 0; p < k; p++, b += ldb, to += columns_of_tile)
        if (columns == columns_of_tile)
            memcpy(to, b,
                   columns_of_tile *
                       sizeof *to); /* a constant size, so that the compiler inlines it */
        else
            memcpy(to, b, (size_t)columns * sizeof *to);
}

void quern__tile_pack_all(bool t, const float *b, int64_t ldb, int64_t k, int64_t n, float *to)
{
    for (int64_t j = 0; j < n; j += columns_of_tile, to += k * columns_of_tile)
        quern__tile_pack(t, t ? b + j * ldb : b + j, ldb, k,
                         n - j < columns_of_tile ? n - j : columns_of_tile, to);
}

void quern__tile_product(int64_t m, int64_t n, int64_t k, quern__left a, const float *packed,
                         float *c, int64_t ldc, bool add)
{
    for (int64_t j = 0; j < n; j += columns_of_tile, packed += k * columns_of_tile)
        for (int64_t p = 0; p < k; p += QUERN__TILE_DEPTH)
            quern__tile_strip(m, k - p < QUERN__TILE_DEPTH ? k - p : QUERN__TILE_DEPTH,
                              (quern__left){ a.a + p * a.step, a.row, a.step },
                              packed + p * columns_of_tile, columns_of_tile, c + j, ldc, add || p,
                              n - j < columns_of_tile ? n - j : columns_of_tile);
}
