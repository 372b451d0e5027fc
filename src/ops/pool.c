/* pool: pooling of images (B, space, C) per channel: the maximum of each window, or the mean of its
 * elements inside the image (padding does not count). NaN counts only where it comes first, as in
 * std::max.
 *
 * Backward: the first maximum gets the whole gradient, as in TensorFlow; with a mean, all elements
 * get equal parts. The mean needs dy only; the maximum is found again from x and y. */
#include "convolve.h"

#include "build.h"

#include <math.h>

typedef struct window {
    int64_t from[3], to[3], count; /* elements [from, to) by axis, and their number */
} window;

static window window_of(const quern__space *s, const int64_t *o)
{
    window w = { .count = 1 };
    for (int a = 0; a < 3; a++) {
        quern__space_window(s, a, o[a], &w.from[a], &w.to[a]);
        w.count *= w.to[a] - w.from[a];
    }
    return w;
}

/* The index of element n of a window. */
static int64_t place(const quern__space *s, const window *w, int64_t record, int64_t n)
{
    int64_t at[3];
    for (int a = 2; a >= 0; a--) {
        at[a] = w->from[a] + n % (w->to[a] - w->from[a]);
        n /= w->to[a] - w->from[a];
    }
    return quern__space_together(record, s->in, at);
}

static int pool_reference(const quern__call *c, int64_t begin, int64_t end)
{
    quern__space s = quern__space_of(c->attr, &c->in[0].shape, &c->out[0].shape);
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t i = p.start; i < p.start + p.length; i++) {
        int64_t o[3], q, record = quern__space_apart(i, s.out, s.channels, o, &q);
        window w = window_of(&s, o);
        double most = -INFINITY, sum = 0;
        for (int64_t n = 0; n < w.count; n++) {
            double v = quern__get(&c->in[0], place(&s, &w, record, n) * s.channels + q);
            most = v > most ? v : most;
            sum += v;
        }
        quern__set(&c->out[0], i, c->attr->i[QUERN__POOL_MEAN] ? sum / (double)w.count : most);
    }
    return 0;
}

/* The gradient. Inputs dy, and for a maximum x and y. */
static int pool_grad_reference(const quern__call *c, int64_t begin, int64_t end)
{
    quern__space s = quern__space_of(c->attr, &c->out[0].shape, &c->in[0].shape);
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    int64_t per = quern__space_numbers(s.out, s.channels),
            each = quern__space_numbers(s.in, s.channels);
    for (int64_t i = p.start; i < p.start + p.length; i++)
        quern__set(&c->out[0], i, 0);
    for (int64_t i = p.start / each * per; i < (p.start + p.length) / each * per; i++) {
        int64_t o[3], q, record = quern__space_apart(i, s.out, s.channels, o, &q);
        window w = window_of(&s, o);
        bool mean = c->attr->i[QUERN__POOL_MEAN];
        double d = quern__get(&c->in[0], i);
        for (int64_t n = 0; n < w.count; n++) {
            int64_t at = place(&s, &w, record, n) * s.channels + q;
            if (!mean && quern__get(&c->in[1], at) != quern__get(&c->in[2], i))
                continue;
            quern__set(&c->out[0], at,
                       quern__get(&c->out[0], at) + (mean ? d / (double)w.count : d));
            if (!mean)
                break;
        }
    }
    return 0;
}

const quern__op quern__op_pool_grad = { .name = "pool_grad",
                                        .ways = quern__ways_rows,
                                        .reference = pool_grad_reference };

static void pool_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                          quern__id *dx)
{
    quern__node n = *node;
    quern__id in[3] = { dy[0], n.in[0], n.out[0] };
    dx[0] = quern__build(g, &quern__op_pool_grad, in, n.attr.i[QUERN__POOL_MEAN] ? 1 : 3, &n.attr,
                         quern__shape_of(g, n.in[0]), quern__dtype_of(g, n.in[0]));
}

const quern__op quern__op_pool = {
    .name = "pool", .ways = quern__ways_rows, .gradient = pool_gradient, .reference = pool_reference
};

/* The maximum commutes with increasing functions: relu and an addition per channel are moved after
 * the pooling, where fewer elements remain. The backward pass becomes shorter too. */
static quern__id later(quern__graph *g, quern__id x, const quern__frame *f)
{
    const quern__op *op = quern__op_of(g, x);
    const quern__node *node = op ? quern__graph_node_at(g, quern__graph_value(g, x)->node) : NULL;
    if (node && op == &quern__op_unary && node->attr.i[0] == QUERN__RELU0)
        return quern__unary_of(g, QUERN__RELU0, quern__pool(g, node->in[0], false, f));
    if (node && op == &quern__op_binary && node->attr.i[0] == QUERN__ADD &&
        quern__shape_of(g, node->in[1])->rank == 1) {
        quern__id term = node->in[1];
        return quern__add2(g, quern__pool(g, node->in[0], false, f), term);
    }
    return 0;
}

quern__id quern__pool(quern__graph *g, quern__id x, bool mean, const quern__frame *f)
{
    quern__id sooner = x && !mean ? later(g, x, f) : 0;
    if (!x || sooner)
        return sooner;
    quern_shape s = *quern__shape_of(g, x);
    if (s.rank != f->axes + 2)
        return quern__graph_fail(g, QUERN_SHAPE, "an image has %d spatial axes, expected %d",
                                 f->axes, s.rank - 2);
    quern_shape out = quern__image_shape(&s, f->axes, f->out, s.dims[s.rank - 1]);
    quern__attr attr = quern__frame_attr(f);
    attr.i[QUERN__POOL_MEAN] = mean;
    return quern__build(g, &quern__op_pool, &x, 1, &attr, &out, quern__dtype_of(g, x));
}
