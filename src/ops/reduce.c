/* reduce: reductions: sums, means, extrema, argmax. Sums are in double and in C order, so that they
 * do not depend on threads.
 *
 * A reduction is divided by records if it keeps the first axis, and by columns if it keeps only the
 * last one. Every output is computed by one thread. The gradient of a sum is a broadcast, that of a
 * mean a scaled one. The gradient of an extremum is divided among equal elements, as in
 * TensorFlow. */
#include "build.h"

#include <math.h>

/* ---- reduce ---- */

/* Rows, columns or nothing, by the axes that are kept. */
static int ways_reduce(const quern__graph *g, const quern__node *node)
{
    int rank = quern__shape_of(g, node->in[0])->rank;
    uint32_t axes = (uint32_t)node->attr.i[QUERN__REDUCE_AXES];
    if (rank > 1 && !(axes & 1))
        return QUERN__WAY_ROWS;
    if (rank > 1 && axes == (1u << (rank - 1)) - 1)
        return QUERN__WAY_COLUMNS;
    return QUERN__WAY_WHOLE;
}

/* The loops over x: kept dimensions outside, reduced ones inside, with their strides in x. */
typedef struct walk {
    int kept, reduced;
    int64_t kept_dims[QUERN_MAX_RANK], kept_strides[QUERN_MAX_RANK], dims[QUERN_MAX_RANK],
        strides[QUERN_MAX_RANK], count;
} walk;

static walk walk_of(const quern_shape *s, uint32_t axes)
{
    walk w = { .count = 1 };
    int64_t strides[QUERN_MAX_RANK];
    for (int64_t k = s->rank - 1, n = 1; k >= 0; n *= s->dims[k--])
        strides[k] = n;
    for (int k = 0; k < s->rank; k++)
        if (axes >> k & 1) {
            w.dims[w.reduced] = s->dims[k];
            w.strides[w.reduced++] = strides[k];
            w.count *= s->dims[k];
        } else {
            w.kept_dims[w.kept] = s->dims[k];
            w.kept_strides[w.kept++] = strides[k];
        }
    return w;
}

/* The offset of index i of an array with these dimensions, in C order, by strides. */
static int64_t place(int n, const int64_t *dims, const int64_t *strides, int64_t i)
{
    int64_t at = 0;
    for (int k = n - 1; k >= 0; i /= dims[k--])
        at += i % dims[k] * strides[k];
    return at;
}

/* Reduces the elements of one output, in C order. */
static double reduce_one(const quern_tensor *x, const walk *w, int64_t at, int64_t what)
{
    double sum = what == QUERN__REDUCE_MAX ? -INFINITY : what == QUERN__REDUCE_MIN ? INFINITY : 0;
    for (int64_t k = 0; k < w->count; k++) {
        double v = quern__get(x, at + place(w->reduced, w->dims, w->strides, k));
        if (what == QUERN__REDUCE_MAX)
            sum = v > sum || isnan(v) ? v : sum;
        else if (what == QUERN__REDUCE_MIN)
            sum = v < sum || isnan(v) ? v : sum;
        else
            sum += v;
    }
    return what == QUERN__MEAN ? (w->count ? sum / (double)w->count : 0) : sum;
}

static int reduce_reference(const quern__call *c, int64_t begin, int64_t end)
{
    walk w = walk_of(&c->in[0].shape, (uint32_t)c->attr->i[QUERN__REDUCE_AXES]);
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t o = 0; o < p.outer; o++)
        for (int64_t k = 0, i = o * p.stride + p.start; k < p.length; k++, i++)
            quern__set(&c->out[0], i,
                       reduce_one(&c->in[0], &w, place(w.kept, w.kept_dims, w.kept_strides, i),
                                  c->attr->i[QUERN__REDUCE_FUNCTION]));
    return 0;
}

/* The gradient of a mean: dy (with the axes kept) divided by the number of elements. */
static int mean_grad_reference(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *s = &c->out[0].shape, *kept = &c->in[0].shape;
    int64_t results = quern_shape_count(kept);
    double share = results ? (double)results / (double)quern_shape_count(s) : 0;
    quern__part p = quern__call_part(c, s, begin, end);
    for (int64_t o = 0; o < p.outer; o++)
        for (int64_t k = 0, i = o * p.stride + p.start; k < p.length; k++, i++)
            quern__set(&c->out[0], i,
                       share * quern__get(&c->in[0], quern__broadcast_index(kept, s, i)));
    return 0;
}

static int ways_elements(const quern__graph *g, const quern__node *node)
{
    (void)g, (void)node;
    return QUERN__WAY_ELEMENTS;
}

const quern__op quern__op_mean_grad = { .name = "mean_grad",
                                        .ways = ways_elements,
                                        .reference = mean_grad_reference };

/* The gradient of a max or min, divided among equal elements: inputs x, y, dy, both with the axes
 * kept. */
static int reduce_grad_reference(const quern__call *c, int64_t begin, int64_t end)
{
    (void)begin, (void)end;
    const quern_shape *s = &c->in[0].shape;
    walk w = walk_of(s, (uint32_t)c->attr->i[QUERN__REDUCE_AXES]);
    int64_t rows = quern_shape_count(&c->in[1].shape);
    for (int64_t r = 0; r < rows; r++) {
        int64_t at = place(w.kept, w.kept_dims, w.kept_strides, r), equal = 0;
        double y = quern__get(&c->in[1], r), dy = quern__get(&c->in[2], r);
        for (int64_t k = 0; k < w.count; k++)
            equal += quern__get(&c->in[0], at + place(w.reduced, w.dims, w.strides, k)) == y;
        for (int64_t k = 0; k < w.count; k++) {
            int64_t i = at + place(w.reduced, w.dims, w.strides, k);
            quern__set(&c->out[0], i, quern__get(&c->in[0], i) == y ? dy / (double)equal : 0);
        }
    }
    return 0;
}

const quern__op quern__op_reduce_grad = { .name = "reduce_grad",
                                          .ways = quern__ways_whole,
                                          .reference = reduce_grad_reference };

/* The shape with size 1 along the reduced axes. */
static quern_shape kept_shape(const quern_shape *s, uint32_t axes)
{
    quern_shape out = *s;
    for (int k = 0; k < s->rank; k++)
        if (axes >> k & 1)
            out.dims[k] = 1;
    return out;
}

static void reduce_gradient(quern__graph *g, const quern__node *node, const quern__id *dys,
                            quern__id *dx)
{
    quern__node copy = *node;
    quern_shape whole = *quern__shape_of(g, copy.in[0]),
                kept = kept_shape(&whole, (uint32_t)copy.attr.i[QUERN__REDUCE_AXES]);
    quern__id dy = quern__reshape(g, dys[0], &kept), y = quern__reshape(g, copy.out[0], &kept);
    if (copy.attr.i[QUERN__REDUCE_FUNCTION] == QUERN__SUM)
        dx[0] = quern__broadcast(g, dy, &whole);
    else if (copy.attr.i[QUERN__REDUCE_FUNCTION] == QUERN__MEAN)
        dx[0] = quern__build(g, &quern__op_mean_grad, &dy, 1, NULL, &whole, quern__dtype_of(g, dy));
    else
        dx[0] = quern__build(g, &quern__op_reduce_grad, (quern__id[]){ copy.in[0], y, dy }, 3,
                             &copy.attr, &whole, quern__dtype_of(g, dy));
}

const quern__op quern__op_reduce = { .name = "reduce",
                                     .ways = ways_reduce,
                                     .gradient = reduce_gradient,
                                     .reference = reduce_reference };

quern__id quern__reduce(quern__graph *g, int what, quern__id x, uint32_t axes, bool keepdims)
{
    if (!x)
        return 0;
    quern_shape s = *quern__shape_of(g, x), out = { 0 };
    axes &= (1u << s.rank) - 1;
    for (int k = 0; k < s.rank; k++)
        if (!(axes >> k & 1))
            out.dims[out.rank++] = s.dims[k];
    if (keepdims)
        out = kept_shape(&s, axes);
    if (!axes)
        return x;
    quern__attr attr = { .i = { [QUERN__REDUCE_FUNCTION] = what,
                                [QUERN__REDUCE_AXES] = axes,
                                [QUERN__REDUCE_KEEPDIMS] = keepdims } };
    return quern__build(g, &quern__op_reduce, &x, 1, &attr, &out, quern__dtype_of(g, x));
}

/* ---- indices ---- */

/* The shape without the last axis. */
static quern_shape rows_of(const quern_shape *s)
{
    quern_shape out = *s;
    out.rank--;
    return out;
}

static int argmax_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = c->in[0].shape.dims[c->in[0].shape.rank - 1];
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t r = p.start; r < p.start + p.length; r++) {
        int64_t best = 0;
        for (int64_t k = 1; k < n; k++)
            if (quern__get(&c->in[0], r * n + k) > quern__get(&c->in[0], r * n + best))
                best = k;
        quern__set(&c->out[0], r, (double)best);
    }
    return 0;
}

const quern__op quern__op_argmax = { .name = "argmax",
                                     .ways = quern__ways_rows,
                                     .reference = argmax_reference };

quern__id quern__argmax(quern__graph *g, quern__id x)
{
    if (!x)
        return 0;
    quern_shape shape = rows_of(quern__shape_of(g, x));
    return quern__build(g, &quern__op_argmax, &x, 1, NULL, &shape, QUERN_FLOAT32);
}

/* i[0] k */
static int in_top_k_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = c->in[0].shape.dims[c->in[0].shape.rank - 1];
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t r = p.start; r < p.start + p.length; r++) {
        int64_t label = (int64_t)quern__get(&c->in[1], r), larger = 0;
        bool in = label >= 0 && label < n;
        double own = in ? quern__get(&c->in[0], r * n + label) : 0;
        for (int64_t k = 0; in && k < n; k++) {
            double v = quern__get(&c->in[0], r * n + k);
            in = isfinite(v);
            larger += v > own;
        }
        quern__set(&c->out[0], r, in && larger < c->attr->i[0]);
    }
    return 0;
}

const quern__op quern__op_in_top_k = { .name = "in_top_k",
                                       .ways = quern__ways_rows,
                                       .reference = in_top_k_reference };

quern__id quern__in_top_k(quern__graph *g, quern__id scores, quern__id labels, int64_t k)
{
    if (!scores || !labels)
        return 0;
    quern_shape shape = rows_of(quern__shape_of(g, scores));
    quern__attr attr = { .i = { k } };
    return quern__build(g, &quern__op_in_top_k,
                        (quern__id[]){ scores, quern__reshape(g, labels, &shape) }, 2, &attr,
                        &shape, QUERN_FLOAT32);
}
