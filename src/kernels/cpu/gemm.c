/* Matrix product C = A B, built on the tile. A panel of 32 columns of B, 512 deep, is packed into a
 * buffer that fits in L1 or L2 (or is read in place where that is fast). All rows of A are
 * multiplied by it in place.
 *
 * Loop order: slices of 512 of k, then panels of 32 columns, then tiles of 8 rows. A call has a
 * block of rows or of columns of C. In the blocked layout a block of columns is contiguous, and the
 * leading dimension is its width. A single row (generation of text) has a kernel of its own,
 * because the product is bound by reading B. */
#include "gemm_microkernel.h"

#include <string.h>

enum { tile_columns = QUERN__TILE_COLUMNS, most_depth = QUERN__TILE_DEPTH };

/* Whether to read a panel of B in place: its rows do not conflict in the same cache sets, and are
 * read either often enough or only once. */
static bool read_b_in_place(bool tb, int64_t m, int64_t ldb, int64_t columns)
{
    return !tb && columns == tile_columns && (m == 1 || (ldb <= 128 && m <= 1024));
}

/* Vector by matrix: computes the columns that form groups of 64, and reads each once. Returns their
 * number. */
static int64_t vector_by_matrix(int64_t n, int64_t k, quern__left a, const float *b, int64_t ldb,
                                float *c)
{
    int64_t whole = n / (2 * tile_columns) * (2 * tile_columns);
    for (int64_t j = 0; j < whole; j += 2 * tile_columns)
        for (int64_t p = 0; p < k; p += most_depth)
            quern__tile_row(k - p < most_depth ? k - p : most_depth,
                            (quern__left){ a.a + p * a.step, a.row, a.step }, b + p * ldb + j, ldb,
                            c + j, p > 0);
    return whole;
}

/* C[m,n] = A'[m,k] B'[k,n], row-major; A' = ta ? Aᵀ : A. Each has its leading dimension. */
static void gemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                 const float *b, int64_t ldb, float *c, int64_t ldc)
{
    float packed[tile_columns * most_depth] __attribute__((aligned(64)));
    quern__left left = { a, ta ? 1 : lda, ta ? lda : 1 };
    if (k == 0)
        for (int64_t i = 0; i < m; i++)
            memset(c + i * ldc, 0, sizeof(float) * (size_t)n);
    int64_t done = m == 1 && !tb ? vector_by_matrix(n, k, left, b, ldb, c) : 0;
    for (int64_t p = 0; p < k && done < n; p += most_depth) {
        int64_t depth = k - p < most_depth ? k - p : most_depth;
        /* the panel is packed once, and serves all rows */
        for (int64_t j = done; j < n; j += tile_columns) {
            int64_t columns = n - j < tile_columns ? n - j : tile_columns, ld = tile_columns;
            const float *panel = tb ? b + j * ldb + p : b + p * ldb + j;
            if (read_b_in_place(tb, m, ldb, columns))
                ld = ldb;
            else {
                quern__tile_pack(tb, panel, ldb, depth, columns, packed);
                panel = packed;
            }
            quern__tile_strip(m, depth, (quern__left){ a + p * left.step, left.row, left.step },
                              panel, ld, c + j, ldc, p > 0, columns);
        }
    }
}

/* The rows or columns [begin, end) of a product. */
static int gemm_block(const quern__call *c, int64_t begin, int64_t end)
{
    bool ta = c->attr->i[0], tb = c->attr->i[1];
    int64_t ra, ca, rb, cb, m, n;
    quern__as_matrix(&c->in[0].shape, &ra, &ca);
    quern__as_matrix(&c->in[1].shape, &rb, &cb);
    quern__as_matrix(&c->out[0].shape, &m, &n);
    const float *a = c->in[0].data, *b = c->in[1].data;
    float *out = c->out[0].data;
    /* restrict the product to the block of the call */
    int64_t ldc = n, k = ta ? ra : ca;
    if (c->axis >= 0 && c->axis == c->out[0].shape.rank - 1) {
        bool panel_b = c->panel && (c->panelled & 2), panel_out = c->panel && c->panelled >> 16;
        n = end - begin;
        b += panel_b ? begin * rb : tb ? begin * cb : begin;
        out += panel_out ? begin * m : begin;
        cb = panel_b ? n : cb;
        ldc = panel_out ? n : ldc;
    } else if (c->axis >= 0) {
        int64_t per = m / c->out[0].shape.dims[0];
        a += ta ? begin * per : begin * per * ca;
        out += begin * per * ldc;
        m = (end - begin) * per;
    }
    if (c->n_in == 3 && k) { /* b is packed in panels of 32 columns; a block has whole panels */
        int64_t from = c->axis == c->out[0].shape.rank - 1 ? begin : 0;
        quern__tile_product(m, n, k, (quern__left){ a, ca, 1 },
                            (const float *)c->in[2].data + from * k, out, ldc, false);
        return 0;
    }
    gemm(ta, tb, m, n, k, a, ca, b, cb, out, ldc);
    return 0;
}

/* Batched product: records [begin, end), each with a product for every index of its other leading
 * axes. */
static int batched(const quern__call *c, int64_t begin, int64_t end)
{
    bool ta = c->attr->i[0], tb = c->attr->i[1];
    const quern_shape *sa = &c->in[0].shape, *so = &c->out[0].shape;
    int64_t m = so->dims[so->rank - 2], n = so->dims[so->rank - 1],
            k = sa->dims[sa->rank - (ta ? 2 : 1)];
    quern__part p = quern__call_part(c, so, begin, end);
    for (int64_t at = p.start; at < p.start + p.length; at += m * n) {
        int64_t pair = at / (m * n);
        gemm(ta, tb, m, n, k, (const float *)c->in[0].data + pair * m * k, ta ? m : k,
             (const float *)c->in[1].data + pair * n * k, tb ? k : n, (float *)c->out[0].data + at,
             n);
    }
    return 0;
}

quern__kernel *quern__cpu_gemm(const quern__call *c)
{
    bool pairs = c->op == &quern__op_batched_matmul;
    for (int i = 0; i < 2; i++)
        if ((c->op != &quern__op_matmul && !pairs) || c->in[i].dtype != QUERN_FLOAT32)
            return NULL;
    return pairs ? batched : gemm_block;
}
