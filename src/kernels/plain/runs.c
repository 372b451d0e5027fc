/* Tiles over runs, once for each width of registers; which one is chosen when the program starts. */
#include "runs.h"

#include "targets.h"

#include <string.h>

enum { rows_of_tile = QUERN__TILE_ROWS, columns_of_tile = QUERN__TILE_COLUMNS };

typedef void tile_fn(const quern__runs *r, const float *const *a, const float *b, float *c, int64_t ldc, bool add);

/* ROWS rows and COLUMNS vectors of columns. */
#define PART(NAME, TARGET, VECTOR, ROWS, COLUMNS)                                                                              \
    TARGET static inline __attribute__((always_inline)) void NAME(const quern__runs *r, const float *const *a, const float *b, \
                                                                  float *c, int64_t ldc, bool add)                             \
    {                                                                                                                          \
        enum { width = sizeof(VECTOR) / sizeof(float) };                                                                       \
        VECTOR s[ROWS][COLUMNS] = { { { 0 } } };                                                                               \
        const float *row[ROWS];                                                                                                \
        for (int i = 0; i < ROWS; i++)                                                                                         \
            row[i] = a[i];                                                                                                     \
        for (int64_t n = 0; n < r->runs; n++, b += r->b_run) {                                                                 \
            const float *from = b;                                                                                             \
            for (int64_t p = 0, q = n * r->a_run; p < r->length; p++, q += r->step, from += r->ldb) {                          \
                VECTOR right[COLUMNS];                                                                                         \
                _Pragma("GCC unroll 2") for (int j = 0; j < COLUMNS; j++) right[j] = *(const VECTOR *)(from + width * j);      \
                _Pragma("GCC unroll 8") for (int i = 0; i < ROWS; i++)                                                         \
                {                                                                                                              \
                    _Pragma("GCC unroll 2") for (int j = 0; j < COLUMNS; j++) s[i][j] += row[i][q] * right[j];                 \
                }                                                                                                              \
            }                                                                                                                  \
        }                                                                                                                      \
        _Pragma("GCC unroll 8") for (int i = 0; i < ROWS; i++)                                                                 \
        {                                                                                                                      \
            _Pragma("GCC unroll 2") for (int j = 0; j < COLUMNS; j++)                                                          \
            {                                                                                                                  \
                VECTOR *to = (VECTOR *)(c + i * ldc + width * j);                                                              \
                *to = add ? *to + s[i][j] : s[i][j];                                                                           \
            }                                                                                                                  \
        }                                                                                                                      \
    }

/* A tile of `ALL` columns out of parts. */
#define TILE(NAME, TARGET, PART, ROWS, COLUMNS, ALL)                                                                      \
    TARGET static void NAME(const quern__runs *r, const float *const *a, const float *b, float *c, int64_t ldc, bool add) \
    {                                                                                                                     \
        for (int i = 0; i < rows_of_tile; i += ROWS)                                                                      \
            for (int j = 0; j < ALL; j += COLUMNS)                                                                        \
                PART(r, a + i, b + j, c + i * ldc + j, ldc, add);                                                         \
    }

PART(part_narrow, NARROW, quarter, 4, 2)
TILE(full_narrow, NARROW, part_narrow, 4, 8, columns_of_tile)
TILE(half_narrow, NARROW, part_narrow, 4, 8, 16)

#ifdef V4
PART(part_v3, V3, half, 4, 2)
TILE(full_v3, V3, part_v3, 4, 16, columns_of_tile)
TILE(half_v3, V3, part_v3, 4, 16, 16)
PART(full_part_v4, V4, wide, 8, 2)
PART(half_part_v4, V4, wide, 8, 1)
TILE(full_v4, V4, full_part_v4, 8, 32, columns_of_tile)
TILE(half_v4, V4, half_part_v4, 8, 16, 16)

/* over: whose rows are stored whole, one after the other; NULL: there is none. */
static tile_fn *full = full_narrow, *half_of = half_narrow, *full_over = NULL, *half_over = NULL;
__attribute__((constructor)) static void choose(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("x86-64-v4")) {
        full = full_over = full_v4;
        half_of = half_over = half_v4;
    } else if (__builtin_cpu_supports("x86-64-v3")) {
        full = full_v3;
        half_of = half_over = half_v3;
    }
}
#else
static tile_fn *const full = full_narrow, *const half_of = half_narrow, *const full_over = NULL, *const half_over = NULL;
#endif

void quern__runs_tile(const quern__runs *r, const float *const a[QUERN__TILE_ROWS], const float *b, float *c, int64_t ldc, bool add,
                      int64_t rows, int64_t columns)
{
    tile_fn *tile = columns > 16 ? full : half_of;
    if (rows == rows_of_tile && (columns == columns_of_tile || columns == 16)) {
        tile(r, a, b, c, ldc, add);
        return;
    }
    float whole[rows_of_tile * columns_of_tile];
    tile(r, a, b, whole, columns_of_tile, false);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            c[i * ldc + j] = whole[i * columns_of_tile + j] + (add ? c[i * ldc + j] : 0);
}

void quern__runs_tile_over(const quern__runs *r, const float *const a[QUERN__TILE_ROWS], const float *b, float *c, int64_t ldc,
                           bool add, int64_t rows, int64_t columns)
{
    tile_fn *tile = columns > 16 ? full_over : half_over;
    if (tile)
        tile(r, a, b, c, ldc, add);
    else
        quern__runs_tile(r, a, b, c, ldc, add, rows, columns);
}
