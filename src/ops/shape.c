/* shape: ops that move elements without computing: reshape, rebatch and stop_gradient (views),
 * broadcast, transpose, concat, reverse, iota, slice and its gradient pad.
 *
 * A view has the memory of its input, so its kernel never runs in a plan. concat, reverse, slice
 * and pad treat an array as (outer, axis, inner): they copy runs of `inner` elements for each index
 * of the axes before. They are divided by records if the axis is not the first one. */
#include "build.h"

#include <string.h>

/* The product of the dimensions, negative when one is dynamic; 0 on overflow. */
static int64_t open_count(const quern_shape *s)
{
    int64_t count = 1;
    for (int i = 0; i < s->rank; i++)
        if (__builtin_mul_overflow(count, s->dims[i], &count))
            return 0;
    return count;
}

/* ---- reshape ---- */

/* The reference kernel of views, for tests that compute them in memory of their own. */
static int copy_reference(const quern__call *c, int64_t begin, int64_t end)
{
    (void)begin, (void)end;
    if (c->out[0].data != c->in[0].data)
        memcpy(c->out[0].data, c->in[0].data,
               (size_t)quern_shape_count(&c->out[0].shape) * quern_dtype_size(c->out[0].dtype));
    return 0;
}

static void reshape_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                             quern__id *dx)
{
    quern_shape shape = *quern__shape_of(g, node->in[0]);
    dx[0] = quern__reshape(g, dy[0], &shape);
}

const quern__op quern__op_reshape = { .name = "reshape",
                                      .ways = quern__ways_whole,
                                      .gradient = reshape_gradient,
                                      .reference = copy_reference,
                                      .view = true };

quern__id quern__reshape(quern__graph *g, quern__id x, const quern_shape *shape)
{
    char from[96], to[96];
    if (!x || quern_shape_equal(quern__shape_of(g, x), shape))
        return x;
    if (open_count(quern__shape_of(g, x)) != open_count(shape))
        return quern__graph_fail(g, QUERN_SHAPE, "cannot reshape %s to %s",
                                 quern_shape_text(quern__shape_of(g, x), from, sizeof from),
                                 quern_shape_text(shape, to, sizeof to));
    return quern__build(g, &quern__op_reshape, &x, 1, NULL, shape, quern__dtype_of(g, x));
}

static void rebatch_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                             quern__id *dx)
{
    dx[0] = quern__rebatch(g, dy[0], quern__shape_of(g, node->in[0])->dims[0]);
}

const quern__op quern__op_rebatch = { .name = "rebatch",
                                      .ways = quern__ways_whole,
                                      .gradient = rebatch_gradient,
                                      .reference = copy_reference,
                                      .view = true };

quern__id quern__rebatch(quern__graph *g, quern__id x, int64_t records)
{
    if (!x)
        return 0;
    quern_shape shape = *quern__shape_of(g, x);
    shape.dims[0] = records;
    return quern__build(g, &quern__op_rebatch, &x, 1, NULL, &shape, quern__dtype_of(g, x));
}

const quern__op quern__op_stop_gradient = {
    .name = "stop_gradient", .ways = quern__ways_whole, .reference = copy_reference, .view = true
};

quern__id quern__stop_gradient(quern__graph *g, quern__id x)
{
    return x ? quern__build(g, &quern__op_stop_gradient, &x, 1, NULL, quern__shape_of(g, x),
                            quern__dtype_of(g, x))
             : 0;
}

/* ---- broadcast ---- */

/* Along any axis. */
static int ways_elements(const quern__graph *g, const quern__node *node)
{
    (void)g, (void)node;
    return QUERN__WAY_ELEMENTS;
}

static int broadcast_reference(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *s = &c->out[0].shape;
    quern__part p = quern__call_part(c, s, begin, end);
    for (int64_t o = 0; o < p.outer; o++)
        for (int64_t k = 0, i = o * p.stride + p.start; k < p.length; k++, i++)
            quern__set(&c->out[0], i,
                       quern__get(&c->in[0], quern__broadcast_index(&c->in[0].shape, s, i)));
    return 0;
}

static void broadcast_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                               quern__id *dx)
{
    quern_shape shape = *quern__shape_of(g, node->in[0]);
    dx[0] = quern__unbroadcast(g, dy[0], &shape);
}

const quern__op quern__op_broadcast = { .name = "broadcast",
                                        .ways = ways_elements,
                                        .gradient = broadcast_gradient,
                                        .reference = broadcast_reference };

quern__id quern__broadcast(quern__graph *g, quern__id x, const quern_shape *shape)
{
    if (!x || quern_shape_equal(quern__shape_of(g, x), shape))
        return x;
    const quern_shape *from = quern__shape_of(g, x);
    bool fits = from->rank <= shape->rank;
    for (int k = 1; fits && k <= from->rank; k++)
        fits = from->dims[from->rank - k] == 1 ||
               from->dims[from->rank - k] == shape->dims[shape->rank - k];
    char a[96], b[96];
    if (!fits)
        return quern__graph_fail(g, QUERN_SHAPE, "%s does not broadcast to %s",
                                 quern_shape_text(from, a, sizeof a),
                                 quern_shape_text(shape, b, sizeof b));
    return quern__build(g, &quern__op_broadcast, &x, 1, NULL, shape, quern__dtype_of(g, x));
}

/* ---- transpose: axis i[k] of x becomes axis k ---- */

/* By records where the first axis stays in its place. */
static int ways_transpose(const quern__graph *g, const quern__node *node)
{
    (void)g;
    return node->attr.i[0] == 0 ? QUERN__WAY_ROWS : QUERN__WAY_WHOLE;
}

static int transpose_reference(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *from = &c->in[0].shape, *to = &c->out[0].shape;
    int64_t stride[QUERN_MAX_RANK];
    quern__part p = quern__call_part(c, to, begin, end);
    for (int64_t k = from->rank - 1, s = 1; k >= 0; s *= from->dims[k--])
        stride[k] = s;
    /* i to the indices of the result, last axis first, and these to the element of x */
    for (int64_t i = p.start; i < p.start + p.length; i++) {
        int64_t at = 0, rest = i;
        for (int k = to->rank - 1; k >= 0; rest /= to->dims[k--])
            at += rest % to->dims[k] * stride[c->attr->i[k]];
        quern__set(&c->out[0], i, quern__get(&c->in[0], at));
    }
    return 0;
}

static void transpose_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                               quern__id *dx)
{
    int inverse[QUERN_MAX_RANK] = { 0 };
    for (int k = 0; k < quern__shape_of(g, node->in[0])->rank; k++)
        inverse[node->attr.i[k]] = k;
    dx[0] = quern__transpose(g, dy[0], inverse);
}

const quern__op quern__op_transpose = { .name = "transpose",
                                        .ways = ways_transpose,
                                        .gradient = transpose_gradient,
                                        .reference = transpose_reference };

quern__id quern__transpose(quern__graph *g, quern__id x, const int *permutation)
{
    if (!x)
        return 0;
    quern_shape from = *quern__shape_of(g, x), to = { .rank = from.rank };
    quern__attr attr = { 0 };
    for (int k = 0; k < from.rank; k++) {
        attr.i[k] = permutation[k];
        to.dims[k] = from.dims[permutation[k]];
    }
    return quern__build(g, &quern__op_transpose, &x, 1, &attr, &to, quern__dtype_of(g, x));
}

/* ---- concat: i[0] axis ---- */

/* By records where the axis of the op is not the first one. */
static int ways_concat(const quern__graph *g, const quern__node *node)
{
    (void)g;
    return node->attr.i[0] > 0 ? QUERN__WAY_ROWS : QUERN__WAY_WHOLE;
}

/* The number of elements before an axis, and of elements per index of it. */
static void around(const quern_shape *s, int64_t axis, int64_t *outer, int64_t *inner)
{
    *outer = *inner = 1;
    for (int i = 0; i < s->rank; i++)
        *(i < axis ? outer : inner) *= i == axis ? 1 : s->dims[i];
}

static int concat_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t axis = c->attr->i[0], outer, inner, first = 0, last, total = c->out[0].shape.dims[axis],
            at = 0;
    size_t size = quern_dtype_size(c->out[0].dtype);
    around(&c->out[0].shape, axis, &outer, &inner);
    last = outer;
    if (c->axis == 0) {
        int64_t per = outer / c->out[0].shape.dims[0];
        first = begin * per, last = end * per;
    }
    for (int k = 0; k < c->n_in; k++) {
        int64_t own = c->in[k].shape.dims[axis];
        for (int64_t o = first; o < last; o++)
            memcpy((char *)c->out[0].data + (size_t)((o * total + at) * inner) * size,
                   (const char *)c->in[k].data + (size_t)(o * own * inner) * size,
                   (size_t)(own * inner) * size);
        at += own;
    }
    return 0;
}

static void concat_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                            quern__id *dx)
{
    quern__node copy = *node;
    int axis = (int)copy.attr.i[0];
    int64_t at = 0;
    for (int k = 0; k < copy.n_in; k++) {
        int64_t own = quern__shape_of(g, copy.in[k])->dims[axis];
        dx[k] = quern__slice(g, dy[0], axis, at, own);
        at += own;
    }
}

const quern__op quern__op_concat = { .name = "concat",
                                     .ways = ways_concat,
                                     .gradient = concat_gradient,
                                     .reference = concat_reference };

quern__id quern__concat(quern__graph *g, const quern__id *x, int n, int axis)
{
    for (int k = 0; k < n; k++)
        if (!x[k])
            return 0;
    quern_shape shape = *quern__shape_of(g, x[0]);
    char a[96], b[96];
    for (int k = 1; k < n; k++) {
        const quern_shape *s = quern__shape_of(g, x[k]);
        bool fits =
            s->rank == shape.rank && axis < s->rank && s->dims[axis] > 0 && shape.dims[axis] > 0;
        for (int i = 0; fits && i < s->rank; i++)
            fits = i == axis || s->dims[i] == shape.dims[i];
        if (!fits)
            return quern__graph_fail(g, QUERN_SHAPE, "cannot concatenate %s and %s along axis %d",
                                     quern_shape_text(&shape, a, sizeof a),
                                     quern_shape_text(s, b, sizeof b), axis);
        shape.dims[axis] += s->dims[axis];
    }
    quern__attr attr = { .i = { axis } };
    return n == 1
               ? x[0]
               : quern__build(g, &quern__op_concat, x, n, &attr, &shape, quern__dtype_of(g, x[0]));
}

quern__id quern__pad(quern__graph *g, quern__id x, int axis, int64_t before, int64_t after,
                     quern__id value)
{
    quern__id parts[3], edge = 0;
    quern_shape s = x ? *quern__shape_of(g, x) : (quern_shape){ 0 };
    int n = 0;
    s.dims[axis] = before;
    if (before > 0)
        parts[n++] = edge = quern__broadcast(g, value, &s);
    parts[n++] = x;
    s.dims[axis] = after;
    if (after > 0)
        parts[n++] = after == before ? edge : quern__broadcast(g, value, &s);
    return quern__concat(g, parts, n, axis);
}

/* ---- reverse: i[0] axis ---- */

static int reverse_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t axis = c->attr->i[0], outer, inner, first = 0, last, n = c->out[0].shape.dims[axis];
    size_t size = quern_dtype_size(c->out[0].dtype);
    around(&c->out[0].shape, axis, &outer, &inner);
    last = outer;
    if (c->axis == 0) {
        int64_t per = outer / c->out[0].shape.dims[0];
        first = begin * per, last = end * per;
    }
    for (int64_t o = first; o < last; o++)
        for (int64_t k = 0; k < n; k++)
            memcpy((char *)c->out[0].data + (size_t)((o * n + k) * inner) * size,
                   (const char *)c->in[0].data + (size_t)((o * n + n - 1 - k) * inner) * size,
                   (size_t)inner * size);
    return 0;
}

static void reverse_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                             quern__id *dx)
{
    dx[0] = quern__reverse(g, dy[0], (int)node->attr.i[0]);
}

const quern__op quern__op_reverse = { .name = "reverse",
                                      .ways = ways_concat,
                                      .gradient = reverse_gradient,
                                      .reference = reverse_reference };

quern__id quern__reverse(quern__graph *g, quern__id x, int axis)
{
    if (!x)
        return 0;
    if (axis < 1 || axis >= quern__shape_of(g, x)->rank)
        return quern__graph_fail(g, QUERN_SHAPE, "axis %d to reverse does not exist", axis);
    return quern__build(g, &quern__op_reverse, &x, 1, &(quern__attr){ .i = { axis } },
                        quern__shape_of(g, x), quern__dtype_of(g, x));
}

/* ---- 0, 1, 2, … ---- */

static int iota_reference(const quern__call *c, int64_t begin, int64_t end)
{
    (void)begin, (void)end;
    for (int64_t i = 0; i < quern_shape_count(&c->out[0].shape); i++)
        quern__set(&c->out[0], i, (double)i);
    return 0;
}

const quern__op quern__op_iota = { .name = "iota",
                                   .ways = quern__ways_whole,
                                   .reference = iota_reference };

quern__id quern__iota(quern__graph *g, int64_t n)
{
    quern_shape shape = { .rank = 1, .dims = { n } };
    return n < 1 ? quern__graph_fail(g, QUERN_SHAPE, "iota of %lld", (long long)n)
                 : quern__build(g, &quern__op_iota, NULL, 0, NULL, &shape, QUERN_FLOAT32);
}

/* ---- slice and pad ---- */

/* Copies the part of an axis out of the whole, or (pad) into zeros. */
static int slice_or_pad(const quern__call *c, int64_t begin, int64_t end, bool pad)
{
    const quern__attr *a = c->attr;
    const quern_tensor *whole = pad ? &c->out[0] : &c->in[0], *part = pad ? &c->in[0] : &c->out[0];
    int64_t axis = a->i[QUERN__SLICE_AXIS], outer, inner, first = 0, last;
    size_t size = quern_dtype_size(whole->dtype);
    around(&whole->shape, axis, &outer, &inner);
    last = outer;
    if (c->axis == 0) {
        int64_t per = outer / whole->shape.dims[0];
        first = begin * per, last = end * per;
    }
    /* bytes of a whole axis, of the part, and before the part */
    size_t row = (size_t)(a->i[QUERN__SLICE_WHOLE] * inner) * size,
           cut = (size_t)(a->i[QUERN__SLICE_PART] * inner) * size,
           skip = (size_t)(a->i[QUERN__SLICE_BEGIN] * inner) * size;
    for (int64_t o = first; o < last; o++) {
        char *w = (char *)whole->data + (size_t)o * row, *p = (char *)part->data + (size_t)o * cut;
        if (pad) {
            memset(w, 0, row);
            memcpy(w + skip, p, cut);
        } else
            memcpy(p, w + skip, cut);
    }
    return 0;
}

static int slice_reference(const quern__call *c, int64_t begin, int64_t end)
{
    return slice_or_pad(c, begin, end, false);
}
static int pad_reference(const quern__call *c, int64_t begin, int64_t end)
{
    return slice_or_pad(c, begin, end, true);
}

static void slice_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                           quern__id *dx)
{
    quern__attr attr = node->attr;
    dx[0] = quern__build(g, &quern__op_pad, dy, 1, &attr, quern__shape_of(g, node->in[0]),
                         quern__dtype_of(g, dy[0]));
}

static void pad_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                         quern__id *dx)
{
    dx[0] = quern__slice(g, dy[0], (int)node->attr.i[QUERN__SLICE_AXIS],
                         node->attr.i[QUERN__SLICE_BEGIN], node->attr.i[QUERN__SLICE_PART]);
}

const quern__op quern__op_slice = {
    .name = "slice", .ways = ways_concat, .gradient = slice_gradient, .reference = slice_reference
};
const quern__op quern__op_pad = {
    .name = "pad", .ways = ways_concat, .gradient = pad_gradient, .reference = pad_reference
};

quern__id quern__slice(quern__graph *g, quern__id x, int axis, int64_t begin, int64_t size)
{
    if (!x)
        return 0;
    quern_shape shape = *quern__shape_of(g, x);
    if (axis < 0 || axis >= shape.rank || shape.dims[axis] < 0 || begin < 0 || size < 0 ||
        begin > shape.dims[axis] - size)
        return quern__graph_fail(g, QUERN_SHAPE, "slice [%lld, %lld) is outside axis %d",
                                 (long long)begin, (long long)(begin + size), axis);
    quern__attr attr = { .i = { [QUERN__SLICE_AXIS] = axis,
                                [QUERN__SLICE_BEGIN] = begin,
                                [QUERN__SLICE_PART] = size,
                                [QUERN__SLICE_WHOLE] = shape.dims[axis] } };
    shape.dims[axis] = size;
    return quern__build(g, &quern__op_slice, &x, 1, &attr, &shape, quern__dtype_of(g, x));
}
