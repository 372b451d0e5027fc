/* matmul: the matrix product, and packing of matrices for it. i[0]: a is transposed, i[1]: b is
 * transposed. All axes but the last count as rows.
 *
 * An optional third input is b packed. quern__matmul adds it for products over sequences (B, T, K)
 * with (K, N), which are divided by records: each block reads all of b. pack writes (blocks, K,
 * 32): block p has the columns 32 p … 32 p + 31, row by row, and zeros after the last column.
 *
 * Gradients, without transposes: da = dy bᵀ and db = aᵀ dy. With them, the factors change
 * places. */
#include "build.h"

enum { few_steps = 8 };

/* Rows or columns of the result. */
static int ways_product(const quern__graph *g, const quern__node *node)
{
    (void)g, (void)node;
    return QUERN__WAY_PRODUCT;
}

static int matmul_reference(const quern__call *c, int64_t begin, int64_t end)
{
    bool ta = c->attr->i[0], tb = c->attr->i[1];
    int64_t ra, ca, rb, cb, rows, columns;
    quern__as_matrix(&c->in[0].shape, &ra, &ca);
    quern__as_matrix(&c->in[1].shape, &rb, &cb);
    quern__as_matrix(&c->out[0].shape, &rows, &columns);
    int64_t inner = ta ? ra : ca;
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t o = 0; o < p.outer; o++)
        for (int64_t k = 0, i = o * p.stride + p.start; k < p.length; k++, i++) {
            int64_t m = i / columns, n = i % columns;
            double sum = 0;
            for (int64_t j = 0; j < inner; j++)
                sum += quern__get(&c->in[0], ta ? j * ca + m : m * ca + j) *
                       quern__get(&c->in[1], tb ? n * cb + j : j * cb + n);
            quern__set(&c->out[0], i, sum);
        }
    return 0;
}

/* Multiplications: elements of the result times the length of the inner axis. */
static double matmul_work(const quern__attr *attr, const quern_shape *in, const quern_shape *out)
{
    int64_t rows, columns;
    quern__as_matrix(in, &rows, &columns);
    return (double)quern_shape_count(out) * (double)(attr->i[0] ? rows : columns);
}

/* ---- packed B blocks, for kernels that read a matrix often. i[0]: of its transpose ---- */

/* Element i of the result is in panel i / (rows * width), row by row. */
static int pack_reference(const quern__call *c, int64_t begin, int64_t end)
{
    bool t = c->attr->i[0];
    int64_t rows = c->in[0].shape.dims[t], columns = c->in[0].shape.dims[!t],
            ld = c->in[0].shape.dims[1];
    int64_t width = c->out[0].shape.dims[2];
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t i = p.start; i < p.start + p.length; i++) {
        int64_t panel = i / (rows * width), row = i / width % rows,
                column = panel * width + i % width;
        quern__set(&c->out[0], i,
                   column < columns
                       ? quern__get(&c->in[0], t ? column * ld + row : row * ld + column)
                       : 0);
    }
    return 0;
}

const quern__op quern__op_pack = {
    .name = "pack", .ways = quern__ways_rows, .slice = 8, .reference = pack_reference
};

quern__id quern__pack(quern__graph *g, quern__id matrix, bool transposed)
{
    enum { width = 32 };
    const quern_shape *s = quern__shape_of(g, matrix);
    quern_shape out = { .rank = 3,
                        .dims = { (s->dims[!transposed] + width - 1) / width, s->dims[transposed],
                                  width } };
    return quern__build(g, &quern__op_pack, &matrix, 1, &(quern__attr){ .i = { transposed } }, &out,
                        quern__dtype_of(g, matrix));
}

/* ---- the product ---- */

static void matmul_gradient(quern__graph *g, const quern__node *node, const quern__id *dys,
                            quern__id *dx)
{
    quern__id a = node->in[0], b = node->in[1], dy = dys[0];
    bool ta = node->attr.i[0], tb = node->attr.i[1];
    quern_shape sa = *quern__shape_of(g, a), sb = *quern__shape_of(g, b);
    quern__id da = ta ? quern__matmul(g, b, dy, tb, true) : quern__matmul(g, dy, b, false, !tb);
    quern__id db = tb ? quern__matmul(g, dy, a, true, ta) : quern__matmul(g, a, dy, !ta, false);
    dx[0] = quern__reshape(g, da, &sa);
    dx[1] = quern__reshape(g, db, &sb);
}

const quern__op quern__op_matmul = { .name = "matmul",
                                     .ways = ways_product,
                                     .gradient = matmul_gradient,
                                     .reference = matmul_reference,
                                     .work = matmul_work };

quern__id quern__matmul(quern__graph *g, quern__id a, quern__id b, bool ta, bool tb)
{
    if (!a || !b)
        return 0;
    quern_shape sa = *quern__shape_of(g, a), sb = *quern__shape_of(g, b), out = sa;
    char left[96], right[96];
    int64_t ra = 0, ca = 0, rb = 0, cb = 0;
    bool fits = sa.rank >= 1 && sb.rank >= 1;
    if (fits) {
        quern__as_matrix(&sa, &ra, &ca);
        quern__as_matrix(&sb, &rb, &cb);
        fits = (ta ? ra : ca) == (tb ? cb : rb);
    }
    if (!fits)
        return quern__graph_fail(g, QUERN_SHAPE, "cannot multiply %s%s by %s%s",
                                 quern_shape_text(&sa, left, sizeof left), ta ? "ᵀ" : "",
                                 quern_shape_text(&sb, right, sizeof right), tb ? "ᵀ" : "");
    if (ta)
        out = (quern_shape){ .rank = 2, .dims = { ca } };
    out.dims[out.rank - 1] = tb ? rb : cb;
    /* products over sequences run per record, so one packed matrix serves all of them */
    bool sequences = sa.rank > 2 && sa.dims[1] >= few_steps && !ta && sb.rank == 2;
    quern__attr attr = { .i = { ta, tb } };
    quern__id in[3] = { a, b, sequences ? quern__pack(g, b, tb) : 0 };
    return quern__build(g, &quern__op_matmul, in, 2 + sequences, &attr, &out,
                        quern__dtype_of(g, a));
}
