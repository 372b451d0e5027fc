/* Tiles in GCC's vector types, once for each width of registers; which one is chosen when the program starts. Goto and van de
 * Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008. */
#include "tile.h"

#include "targets.h"

#include <string.h>

enum { rows_of_tile = QUERN__TILE_ROWS, columns_of_tile = QUERN__TILE_COLUMNS };

/* Some tiles below each other. */
typedef void strip_fn(int64_t tiles, int64_t k, quern__left a, const float *b, int64_t ldb, float *c, int64_t ldc, bool add);
/* One row and 32 or 64 columns: b is read once, where it lies; 64 columns are sums enough not to wait for each other. */
typedef void row_fn(int64_t k, const float *a, int64_t step, const float *b, int64_t ldb, float *c, bool add);

/* A function that computes ROWS rows and two vectors of columns. */
#define TILE(NAME, TARGET, VECTOR, ROWS)                                                                                           \
    TARGET static inline __attribute__((always_inline)) void NAME(int64_t k, quern__left a, const float *b, int64_t ldb, float *c, \
                                                                  int64_t ldc, bool add)                                           \
    {                                                                                                                              \
        enum { width = sizeof(VECTOR) / sizeof(float) };                                                                           \
        VECTOR s[ROWS][2] = { { { 0 } } };                                                                                         \
        for (int64_t p = 0; p < k; p++, a.a += a.step, b += ldb) {                                                                 \
            VECTOR b0 = *(const VECTOR *)b, b1 = *(const VECTOR *)(b + width);                                                     \
            _Pragma("GCC unroll 8") for (int i = 0; i < ROWS; i++)                                                                 \
            {                                                                                                                      \
                s[i][0] += a.a[i * a.row] * b0;                                                                                    \
                s[i][1] += a.a[i * a.row] * b1;                                                                                    \
            }                                                                                                                      \
        }                                                                                                                          \
        _Pragma("GCC unroll 8") for (int i = 0; i < ROWS; i++) for (int j = 0; j < 2; j++)                                         \
        {                                                                                                                          \
            VECTOR *to = (VECTOR *)(c + i * ldc + width * j);                                                                      \
            *to = add ? *to + s[i][j] : s[i][j];                                                                                   \
        }                                                                                                                          \
    }

#define ROW(NAME, TARGET, VECTOR, COLUMNS)                                                                            \
    TARGET static void NAME(int64_t k, const float *a, int64_t step, const float *b, int64_t ldb, float *c, bool add) \
    {                                                                                                                 \
        enum { width = sizeof(VECTOR) / sizeof(float), n = COLUMNS / width };                                         \
        VECTOR s[n] = { { 0 } };                                                                                      \
        for (int64_t p = 0; p < k; p++, a += step, b += ldb)                                                          \
            _Pragma("GCC unroll 16") for (int j = 0; j < n; j++) s[j] += *a * *(const VECTOR *)(b + j * width);       \
        _Pragma("GCC unroll 16") for (int j = 0; j < n; j++)                                                          \
        {                                                                                                             \
            VECTOR *to = (VECTOR *)(c + width * j);                                                                   \
            *to = add ? *to + s[j] : s[j];                                                                            \
        }                                                                                                             \
    }

/* Tiles below each other, one after the other, in pieces that fit the registers of a processor. */
#define STRIP(NAME, TARGET, PART, ROWS, COLUMNS)                                                                                   \
    TARGET static void NAME(int64_t tiles, int64_t k, quern__left a, const float *b, int64_t ldb, float *c, int64_t ldc, bool add) \
    {                                                                                                                              \
        for (int64_t i = 0; i < tiles * rows_of_tile; i += ROWS)                                                                   \
            for (int j = 0; j < columns_of_tile; j += COLUMNS)                                                                     \
                PART(k, (quern__left){ a.a + i * a.row, a.row, a.step }, b + j, ldb, c + i * ldc + j, ldc, add);                   \
    }

TILE(part_narrow, NARROW, quarter, 4)
STRIP(strip_narrow, NARROW, part_narrow, 4, 8)
ROW(row_narrow, NARROW, quarter, columns_of_tile)
ROW(two_narrow, NARROW, quarter, 2 * columns_of_tile)

#ifdef V4
TILE(part_v3, V3, half, 4)
STRIP(strip_v3, V3, part_v3, 4, 16)
ROW(row_v3, V3, half, columns_of_tile)
ROW(two_v3, V3, half, 2 * columns_of_tile)
TILE(part_v4, V4, wide, 8)
STRIP(strip_v4, V4, part_v4, 8, 32)
ROW(row_v4, V4, wide, columns_of_tile)
ROW(two_v4, V4, wide, 2 * columns_of_tile)

typedef void turn_fn(const float *b, int64_t ldb, float *to);
static void turn_narrow(const float *b, int64_t ldb, float *to);
V3 static void turn_v3(const float *b, int64_t ldb, float *to);

static turn_fn *turn_of_this_machine = turn_narrow;
static strip_fn *strip_of_this_machine = strip_narrow;
static row_fn *row_of_this_machine = row_narrow, *two_of_this_machine = two_narrow;
__attribute__((constructor)) static void choose(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("x86-64-v3"))
        turn_of_this_machine = turn_v3;
    if (__builtin_cpu_supports("x86-64-v4")) {
        strip_of_this_machine = strip_v4;
        row_of_this_machine = row_v4;
        two_of_this_machine = two_v4;
    } else if (__builtin_cpu_supports("x86-64-v3")) {
        strip_of_this_machine = strip_v3;
        row_of_this_machine = row_v3;
        two_of_this_machine = two_v3;
    }
}
#else
typedef void turn_fn(const float *b, int64_t ldb, float *to);
static void turn_narrow(const float *b, int64_t ldb, float *to);
static turn_fn *const turn_of_this_machine = turn_narrow;
static strip_fn *const strip_of_this_machine = strip_narrow;
static row_fn *const row_of_this_machine = row_narrow, *const two_of_this_machine = two_narrow;
#endif

void quern__tile_row(int64_t k, quern__left a, const float *b, int64_t ldb, float *c, bool add)
{
    two_of_this_machine(k, a.a, a.step, b, ldb, c, add);
}

/* Few rows are computed one by one; more as a whole tile beside, its missing rows zeros, of which the part that exists is taken. */
static void border(int64_t k, quern__left a, const float *b, int64_t ldb, float *c, int64_t ldc, bool add, int64_t rows,
                   int64_t columns)
{
    float whole[rows_of_tile * columns_of_tile], left[rows_of_tile * QUERN__TILE_DEPTH];
    if (rows < 4)
        for (int64_t i = 0; i < rows; i++)
            row_of_this_machine(k, a.a + i * a.row, a.step, b, ldb, whole + i * columns_of_tile, false);
    else {
        for (int64_t p = 0; p < k; p++)
            for (int64_t i = 0; i < rows_of_tile; i++)
                left[p * rows_of_tile + i] = i < rows ? a.a[i * a.row + p * a.step] : 0;
        strip_of_this_machine(1, k, (quern__left){ left, 1, rows_of_tile }, b, ldb, whole, columns_of_tile, false);
    }
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            c[i * ldc + j] = whole[i * columns_of_tile + j] + (add ? c[i * ldc + j] : 0);
}

void quern__tile(int64_t k, quern__left a, const float *b, int64_t ldb, float *c, int64_t ldc, bool add, int64_t rows,
                 int64_t columns)
{
    if (rows == rows_of_tile && columns == columns_of_tile)
        strip_of_this_machine(1, k, a, b, ldb, c, ldc, add);
    else if (rows == 1 && columns == columns_of_tile)
        row_of_this_machine(k, a.a, a.step, b, ldb, c, add);
    else
        border(k, a, b, ldb, c, ldc, add, rows, columns);
}

void quern__tile_strip(int64_t m, int64_t k, quern__left a, const float *b, int64_t ldb, float *c, int64_t ldc, bool add,
                       int64_t columns)
{
    int64_t whole = columns == columns_of_tile ? m / rows_of_tile : 0;
    if (whole)
        strip_of_this_machine(whole, k, a, b, ldb, c, ldc, add);
    for (int64_t i = whole * rows_of_tile; i < m; i += rows_of_tile)
        quern__tile(k, (quern__left){ a.a + i * a.row, a.row, a.step }, b, ldb, c + i * ldc, ldc, add,
                    m - i < rows_of_tile ? m - i : rows_of_tile, columns);
}

/* Eight numbers of each of eight rows, turned: number q of row j goes to place j of row q. */
static void turn_narrow(const float *b, int64_t ldb, float *to)
{
    for (int64_t j = 0; j < 8; j++)
        for (int64_t q = 0; q < 8; q++)
            to[q * columns_of_tile + j] = b[j * ldb + q];
}

#ifdef V3
typedef int places __attribute__((vector_size(32)));
#define PAIR(A, B, ...) __builtin_shuffle(A, B, (places){ __VA_ARGS__ })

V3 static void turn_v3(const float *b, int64_t ldb, float *to)
{
    half r[8], s[8];
    for (int j = 0; j < 8; j++)
        r[j] = *(const half *)(b + j * ldb);
    for (int j = 0; j < 8; j += 2) { /* numbers of two rows side by side, then of four, then of eight */
        s[j] = PAIR(r[j], r[j + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        s[j + 1] = PAIR(r[j], r[j + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int j = 0; j < 8; j += 4)
        for (int k = 0; k < 2; k++) {
            r[j + 2 * k] = PAIR(s[j + k], s[j + k + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            r[j + 2 * k + 1] = PAIR(s[j + k], s[j + k + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int k = 0; k < 4; k++) {
        *(half *)(to + k * columns_of_tile) = PAIR(r[k], r[k + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        *(half *)(to + (k + 4) * columns_of_tile) = PAIR(r[k], r[k + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}
#endif

/* Eight rows of the transpose at a time, so that what is read of a line is used while it is near. */
static void pack_transposed(const float *b, int64_t ldb, int64_t k, int64_t columns, float *to)
{
    int64_t whole_k = k / 8 * 8, whole_j = columns / 8 * 8;
    for (int64_t p = 0; p < whole_k; p += 8)
        for (int64_t j = 0; j < whole_j; j += 8)
            turn_of_this_machine(b + j * ldb + p, ldb, to + p * columns_of_tile + j);
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
            memcpy(to, b, columns_of_tile * sizeof *to); /* of a known size: no call */
        else
            memcpy(to, b, (size_t)columns * sizeof *to);
}

void quern__tile_pack_all(bool t, const float *b, int64_t ldb, int64_t k, int64_t n, float *to)
{
    for (int64_t j = 0; j < n; j += columns_of_tile, to += k * columns_of_tile)
        quern__tile_pack(t, t ? b + j * ldb : b + j, ldb, k, n - j < columns_of_tile ? n - j : columns_of_tile, to);
}

void quern__tile_product(int64_t m, int64_t n, int64_t k, quern__left a, const float *packed, float *c, int64_t ldc, bool add)
{
    for (int64_t j = 0; j < n; j += columns_of_tile, packed += k * columns_of_tile)
        for (int64_t p = 0; p < k; p += QUERN__TILE_DEPTH)
            quern__tile_strip(m, k - p < QUERN__TILE_DEPTH ? k - p : QUERN__TILE_DEPTH,
                              (quern__left){ a.a + p * a.step, a.row, a.step }, packed + p * columns_of_tile, columns_of_tile,
                              c + j, ldc, add || p, n - j < columns_of_tile ? n - j : columns_of_tile);
}
