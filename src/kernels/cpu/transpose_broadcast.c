/* Broadcast and transpose of float32. The loop goes over the output by row and updates the source
 * offset axis by axis.
 *
 * Both are one walk with source strides by output axis: permuted strides for a transpose, stride 0
 * along repeated axes for a broadcast. The gradient of a mean is a broadcast times a factor. */
#include "vector.h"

/* Source strides for each axis of the output. */
typedef struct walk {
    int rank;
    int64_t dims[QUERN_MAX_RANK], stride[QUERN_MAX_RANK], at[QUERN_MAX_RANK], place;
} walk;

/* Moves to row `row` of the output. */
static void walk_set(walk *w, int64_t row)
{
    w->place = 0;
    for (int k = w->rank - 2; k >= 0; k--) {
        w->at[k] = row % w->dims[k];
        w->place += w->at[k] * w->stride[k];
        row /= w->dims[k];
    }
}

/* Moves to the next row. */
static void walk_next(walk *w)
{
    for (int k = w->rank - 2; k >= 0; k--) {
        w->place += w->stride[k];
        if (++w->at[k] < w->dims[k])
            return;
        w->place -= w->dims[k] * w->stride[k];
        w->at[k] = 0;
    }
}

/* One row of n elements; the strides 1 and 0 have loops of their own. */
static void copy_row(int64_t n, const float *x, int64_t stride, float factor, float *restrict y)
{
    if (stride == 1)
        for (int64_t i = 0; i < n; i++)
            y[i] = x[i] * factor;
    else if (stride == 0)
        for (int64_t i = 0; i < n; i++)
            y[i] = x[0] * factor;
    else
        for (int64_t i = 0; i < n; i++)
            y[i] = x[i * stride] * factor;
}

/* The part of a call, times a factor. Partial rows occur only if the call is partitioned along the
 * last axis. */
static int copy_rows(const quern__call *c, walk *w, float factor, int64_t begin, int64_t end)
{
    const quern_shape *s = &c->out[0].shape;
    int64_t n = w->dims[w->rank - 1], step = w->stride[w->rank - 1];
    quern__part p = quern__call_part(c, s, begin, end);
    const float *x = c->in[0].data;
    float *y = c->out[0].data;
    for (int64_t o = 0; n && o < p.outer; o++) {
        int64_t i = o * p.stride + p.start, last = i + p.length;
        for (walk_set(w, i / n); i < last; walk_next(w)) {
            int64_t from = i % n, count = last - i < n - from ? last - i : n - from;
            copy_row(count, x + w->place + from * step, step, factor, y + i);
            i += count;
        }
    }
    return 0;
}

/* Broadcast, and the gradient of a mean. */
static int spread_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *from = &c->in[0].shape, *to = &c->out[0].shape;
    int64_t results = quern_shape_count(from), all = quern_shape_count(to);
    float factor = c->op != &quern__op_mean_grad ? 1
                   : all                         ? (float)((double)results / (double)all)
                                                 : 0;
    walk w = { .rank = to->rank };
    for (int64_t k = to->rank - 1, at = from->rank - 1, stride = 1; k >= 0; k--, at--) {
        w.dims[k] = to->dims[k];
        w.stride[k] = at >= 0 && from->dims[at] > 1 ? stride : 0;
        stride *= at >= 0 ? from->dims[at] : 1;
    }
    return copy_rows(c, &w, factor, begin, end);
}

static int transpose_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *from = &c->in[0].shape, *to = &c->out[0].shape;
    int64_t stride[QUERN_MAX_RANK];
    walk w = { .rank = to->rank };
    for (int64_t k = from->rank - 1, s = 1; k >= 0; s *= from->dims[k--])
        stride[k] = s;
    for (int k = 0; k < to->rank; k++) {
        w.dims[k] = to->dims[k];
        w.stride[k] = stride[c->attr->i[k]];
    }
    return copy_rows(c, &w, 1, begin, end);
}

quern__kernel *quern__cpu_transpose_broadcast(const quern__call *c)
{
    bool transpose = c->op == &quern__op_transpose,
         spread = c->op == &quern__op_broadcast || c->op == &quern__op_mean_grad;
    if ((!transpose && !spread) || c->in[0].dtype != QUERN_FLOAT32 ||
        c->out[0].dtype != QUERN_FLOAT32 || c->out[0].shape.rank < 1)
        return NULL;
    return transpose ? transpose_kernel : spread_kernel;
}
