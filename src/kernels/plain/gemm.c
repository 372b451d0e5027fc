/* The matrix product, around the tile: a panel of 32 columns of B, 512 deep, is packed into a block that stays in the first caches
 * (or lies well enough where it is), and all rows of A pass by it, where they lie. */
#include "tile.h"

#include <string.h>

enum { tile_columns = QUERN__TILE_COLUMNS, most_depth = QUERN__TILE_DEPTH };

/* Whether a panel of B can be read where it lies: its rows are not spread over too many lines of the cache that fall together, and
 * each is read often enough or only once. */
static bool lies_well(bool tb, int64_t m, int64_t ldb, int64_t columns)
{
    return !tb && columns == tile_columns && (m == 1 || (ldb <= 128 && m <= 1024));
}

/* The columns of a vector by a matrix that come in runs of 64, each read once. How many that are. */
static int64_t vector_by_matrix(int64_t n, int64_t k, quern__left a, const float *b, int64_t ldb, float *c)
{
    int64_t whole = n / (2 * tile_columns) * (2 * tile_columns);
    for (int64_t j = 0; j < whole; j += 2 * tile_columns)
        for (int64_t p = 0; p < k; p += most_depth)
            quern__tile_row(k - p < most_depth ? k - p : most_depth, (quern__left){ a.a + p * a.step, a.row, a.step },
                            b + p * ldb + j, ldb, c + j, p > 0);
    return whole;
}

int quern__gemm_plain(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb,
                      float *c, int64_t ldc)
{
    float packed[tile_columns * most_depth] __attribute__((aligned(64)));
    quern__left left = { a, ta ? 1 : lda, ta ? lda : 1 };
    if (k == 0)
        for (int64_t i = 0; i < m; i++)
            memset(c + i * ldc, 0, sizeof(float) * (size_t)n);
    int64_t done = m == 1 && !tb ? vector_by_matrix(n, k, left, b, ldb, c) : 0;
    for (int64_t p = 0; p < k && done < n; p += most_depth) {
        int64_t depth = k - p < most_depth ? k - p : most_depth;
        for (int64_t j = done; j < n; j += tile_columns) {
            int64_t columns = n - j < tile_columns ? n - j : tile_columns, ld = tile_columns;
            const float *panel = tb ? b + j * ldb + p : b + p * ldb + j;
            if (lies_well(tb, m, ldb, columns))
                ld = ldb;
            else {
                quern__tile_pack(tb, panel, ldb, depth, columns, packed);
                panel = packed;
            }
            quern__tile_strip(m, depth, (quern__left){ a + p * left.step, left.row, left.step }, panel, ld, c + j, ldc, p > 0,
                              columns);
        }
    }
    return 0;
}
