/* batched: batched matrix products: (…, m, k) with (…, k, n) to (…, m, n) for each index of the
 * leading axes. i[0]: a is transposed, i[1]: b is transposed. Divided by the first axis. */
#include "build.h"

static int batched_reference(const quern__call *c, int64_t begin, int64_t end)
{
    bool ta = c->attr->i[0], tb = c->attr->i[1];
    const quern_shape *sa = &c->in[0].shape, *so = &c->out[0].shape;
    int64_t m = so->dims[so->rank - 2], n = so->dims[so->rank - 1],
            inner = sa->dims[sa->rank - (ta ? 2 : 1)];
    quern__part p = quern__call_part(c, so, begin, end);
    for (int64_t i = p.start; i < p.start + p.length; i++) {
        /* `pair`: the index of the leading axes, the same in a, b and the result */
        int64_t pair = i / (m * n), row = i / n % m, column = i % n;
        double sum = 0;
        for (int64_t j = 0; j < inner; j++)
            sum += quern__get(&c->in[0], pair * m * inner + (ta ? j * m + row : row * inner + j)) *
                   quern__get(&c->in[1],
                              pair * inner * n + (tb ? column * inner + j : j * n + column));
        quern__set(&c->out[0], i, sum);
    }
    return 0;
}

static double batched_work(const quern__attr *attr, const quern_shape *in, const quern_shape *out)
{
    return (double)quern_shape_count(out) * (double)in[0].dims[in[0].rank - (attr->i[0] ? 2 : 1)];
}

static void batched_gradient(quern__graph *g, const quern__node *node, const quern__id *dys,
                             quern__id *dx)
{
    quern__id a = node->in[0], b = node->in[1], dy = dys[0];
    bool ta = node->attr.i[0], tb = node->attr.i[1];
    dx[0] = ta ? quern__batched_matmul(g, b, dy, tb, true)
               : quern__batched_matmul(g, dy, b, false, !tb);
    dx[1] = tb ? quern__batched_matmul(g, dy, a, true, ta)
               : quern__batched_matmul(g, a, dy, !ta, false);
}

const quern__op quern__op_batched_matmul = { .name = "batched_matmul",
                                             .ways = quern__ways_rows,
                                             .gradient = batched_gradient,
                                             .reference = batched_reference,
                                             .work = batched_work };

quern__id quern__batched_matmul(quern__graph *g, quern__id a, quern__id b, bool ta, bool tb)
{
    if (!a || !b)
        return 0;
    quern_shape sa = *quern__shape_of(g, a), sb = *quern__shape_of(g, b), out = sa;
    int last = sa.rank - 1;
    bool fits = sa.rank >= 3 && sb.rank == sa.rank;
    for (int i = 0; fits && i < last - 1; i++)
        fits = sa.dims[i] == sb.dims[i];
    char left[96], right[96];
    if (!fits || sa.dims[ta ? last - 1 : last] != sb.dims[tb ? last : last - 1])
        return quern__graph_fail(g, QUERN_SHAPE, "batched: cannot multiply %s%s by %s%s",
                                 quern_shape_text(&sa, left, sizeof left), ta ? "ᵀ" : "",
                                 quern_shape_text(&sb, right, sizeof right), tb ? "ᵀ" : "");
    out.dims[last - 1] = sa.dims[ta ? last : last - 1];
    out.dims[last] = sb.dims[tb ? last - 1 : last];
    quern__attr attr = { .i = { ta, tb } };
    return quern__build(g, &quern__op_batched_matmul, (quern__id[]){ a, b }, 2, &attr, &out,
                        quern__dtype_of(g, a));
}
