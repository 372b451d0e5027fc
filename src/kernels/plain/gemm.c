/* The matrix product of builds without oneDNN, and of shapes where it is the faster one. Panels of A and B are packed into a block
 * that lies on the stack and in L1/L2, then a tile of 8 rows and 32 columns is kept in registers (GCC's vector types: the compiler
 * picks the instructions for each processor it was told of). Goto and van de Geijn, "Anatomy of High-Performance Matrix
 * Multiplication", 2008. */
#include "kernels/kernels.h"

#include <string.h>

enum { tile_m = 6, tile_n = 32, block_k = 256, block_m = 96 };

typedef float lane __attribute__((vector_size(64), aligned(4)));

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && defined(__GNUC__) && \
    !defined(__clang__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

/* a: k columns of tile_m numbers; b: k rows of tile_n numbers; c += a b. */
CLONES static void tile(int64_t k, const float *a, const float *b, float *c, int64_t ldc, bool add)
{
    lane s[tile_m][2] = { { { 0 } } };
    for (int64_t p = 0; p < k; p++, a += tile_m, b += tile_n) {
        lane b0 = *(const lane *)b, b1 = *(const lane *)(b + 16);
#pragma GCC unroll 6
        for (int i = 0; i < tile_m; i++) {
            s[i][0] += a[i] * b0;
            s[i][1] += a[i] * b1;
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < tile_m; i++)
        for (int j = 0; j < 2; j++) {
            lane *to = (lane *)(c + i * ldc + 16 * j);
            *to = add ? *to + s[i][j] : s[i][j];
        }
}

/* A tile at the border: computed whole beside, then the part that exists is taken. */
static void border(int64_t k, const float *a, const float *b, float *c, int64_t ldc, bool add, int64_t rows, int64_t columns)
{
    float whole[tile_m * tile_n];
    tile(k, a, b, whole, tile_n, false);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            c[i * ldc + j] = whole[i * tile_n + j] + (add ? c[i * ldc + j] : 0);
}

/* Tiles of rows: `to` gets for each of k columns tile_m numbers, zeros beyond `rows`. */
static void pack_a(bool t, const float *a, int64_t lda, int64_t rows, int64_t k, float *to)
{
    for (int64_t i = 0; i < rows; i += tile_m, to += tile_m * k)
        for (int64_t r = 0; r < tile_m; r++)
            for (int64_t p = 0; p < k; p++)
                to[p * tile_m + r] = i + r < rows ? a[t ? p * lda + i + r : (i + r) * lda + p] : 0;
}

static void pack_b(bool t, const float *b, int64_t ldb, int64_t k, int64_t columns, float *to)
{
    for (int64_t p = 0; p < k; p++, to += tile_n)
        if (!t && columns == tile_n)
            memcpy(to, b + p * ldb, sizeof(float) * tile_n);
        else
            for (int64_t j = 0; j < tile_n; j++)
                to[j] = j < columns ? b[t ? j * ldb + p : p * ldb + j] : 0;
}

int quern__gemm_plain(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb,
                      float *c, int64_t ldc)
{
    float pa[block_m * block_k] __attribute__((aligned(64))), pb[block_k * tile_n] __attribute__((aligned(64)));
    if (k == 0)
        for (int64_t i = 0; i < m; i++)
            memset(c + i * ldc, 0, sizeof(float) * (size_t)n);
    for (int64_t p = 0; p < k; p += block_k) {
        int64_t depth = k - p < block_k ? k - p : block_k;
        for (int64_t i = 0; i < m; i += block_m) {
            int64_t rows = m - i < block_m ? m - i : block_m;
            pack_a(ta, ta ? a + p * lda + i : a + i * lda + p, lda, rows, depth, pa);
            for (int64_t j = 0; j < n; j += tile_n) {
                int64_t columns = n - j < tile_n ? n - j : tile_n;
                pack_b(tb, tb ? b + j * ldb + p : b + p * ldb + j, ldb, depth, columns, pb);
                for (int64_t r = 0; r < rows; r += tile_m) {
                    const float *ar = pa + r * depth;
                    float *to = c + (i + r) * ldc + j;
                    if (rows - r >= tile_m && columns == tile_n)
                        tile(depth, ar, pb, to, ldc, p > 0);
                    else
                        border(depth, ar, pb, to, ldc, p > 0, rows - r < tile_m ? rows - r : tile_m, columns);
                }
            }
        }
    }
    return 0;
}
