/* depthwise: depthwise convolution: the forward pass, the input gradient, and the kernel gradient,
 * as in convolve.c. Each channel of an image (B, space, C) has its own filter, a column of the
 * kernel (kernel, C). No sum runs over channels, so the ops are bound by memory and do not
 * pack the kernel. */
#include "convolve.h"

#include "build.h"

static int depthwise_reference(const quern__call *c, int64_t begin, int64_t end)
{
    quern__space s = quern__space_of(c->attr, &c->in[0].shape, &c->out[0].shape);
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t i = p.start; i < p.start + p.length; i++) {
        int64_t o[3], q, at[3], record = quern__space_apart(i, s.out, s.channels, o, &q);
        double sum = 0;
        for (int64_t k = 0; k < s.places; k++)
            if (quern__space_seen(&s, o, k, at))
                sum += quern__get(&c->in[0],
                                  quern__space_together(record, s.in, at) * s.channels + q) *
                       quern__get(&c->in[1], k * s.channels + q);
        quern__set(&c->out[0], i, sum);
    }
    return 0;
}

/* Adds each dy, times the kernel, to the positions that its window read. */
static int back_reference(const quern__call *c, int64_t begin, int64_t end)
{
    quern__space s = quern__space_of(c->attr, &c->out[0].shape, &c->in[0].shape);
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    int64_t per = quern__space_numbers(s.out, s.channels),
            each = quern__space_numbers(s.in, s.channels);
    for (int64_t i = p.start; i < p.start + p.length; i++)
        quern__set(&c->out[0], i, 0);
    for (int64_t i = p.start / each * per; i < (p.start + p.length) / each * per; i++) {
        int64_t o[3], q, at[3], record = quern__space_apart(i, s.out, s.channels, o, &q);
        for (int64_t k = 0; k < s.places; k++)
            if (quern__space_seen(&s, o, k, at)) {
                int64_t to = quern__space_together(record, s.in, at) * s.channels + q;
                double d = quern__get(&c->in[0], i) * quern__get(&c->in[1], k * s.channels + q);
                quern__set(&c->out[0], to, quern__get(&c->out[0], to) + d);
            }
    }
    return 0;
}

/* Sums over the records of each part: (parts * positions, C). */
static int weights_reference(const quern__call *c, int64_t begin, int64_t end)
{
    quern__space s = quern__space_of(c->attr, &c->in[0].shape, &c->in[1].shape);
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    int64_t per = quern__space_numbers(s.out, 1), parts = c->attr->i[QUERN__WEIGHTS_PARTS];
    for (int64_t i = p.start; i < p.start + p.length; i++) {
        int64_t q = i % s.channels, k = i / s.channels % s.places, part = i / s.channels / s.places;
        double sum = 0;
        for (int64_t n = s.records * part / parts * per; n < s.records * (part + 1) / parts * per;
             n++) {
            int64_t o[3], at[3], none, record = quern__space_apart(n, s.out, 1, o, &none);
            if (quern__space_seen(&s, o, k, at))
                sum += quern__get(&c->in[0],
                                  quern__space_together(record, s.in, at) * s.channels + q) *
                       quern__get(&c->in[1], n * s.channels + q);
        }
        quern__set(&c->out[0], i, sum);
    }
    return 0;
}

const quern__op quern__op_depthwise_weights = { .name = "depthwise_weights",
                                                .ways = quern__ways_eighths,
                                                .reference = weights_reference,
                                                .work = quern__work_weights };

/* The kernel gradient: the parts, then their sum in order. */
static quern__id weights_of(quern__graph *g, quern__id x, quern__id dy, quern__id w,
                            const quern__frame *f)
{
    const quern_shape kernel = *quern__shape_of(g, w);
    int64_t channels = kernel.dims[kernel.rank - 1], rows = quern_shape_count(&kernel) / channels;
    quern__attr attr = quern__frame_attr(f);
    attr.i[QUERN__WEIGHTS_PARTS] = QUERN__CONVOLVE_PARTS;
    quern_shape all = { .rank = 2, .dims = { QUERN__CONVOLVE_PARTS * rows, channels } };
    quern__id in[2] = { x, dy };
    quern__id dw =
        quern__build(g, &quern__op_depthwise_weights, in, 2, &attr, &all, quern__dtype_of(g, x));
    return quern__add_parts(g, dw, QUERN__CONVOLVE_PARTS, &kernel);
}

static void depthwise_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                               quern__id *dx)
{
    quern__node n = *node;
    quern__id x = n.in[0], w = n.in[1], in[2] = { dy[0], w };
    quern__frame f = quern__frame_of(g, &n.attr, x, dy[0]);
    dx[0] = quern__build(g, &quern__op_depthwise_back, in, 2, &n.attr, quern__shape_of(g, x),
                         quern__dtype_of(g, x));
    dx[1] = weights_of(g, x, dy[0], w, &f);
}

static void back_gradient(quern__graph *g, const quern__node *node, const quern__id *dx,
                          quern__id *dy)
{
    quern__node n = *node;
    quern__id y = n.in[0], w = n.in[1];
    quern__frame f = quern__frame_of(g, &n.attr, dx[0], y);
    dy[0] = quern__depthwise(g, dx[0], w, &f);
    dy[1] = weights_of(g, dx[0], y, w, &f);
}

const quern__op quern__op_depthwise = { .name = "depthwise",
                                        .ways = quern__ways_rows,
                                        .gradient = depthwise_gradient,
                                        .reference = depthwise_reference,
                                        .work = quern__work_forward,
                                        .whole = 2 };
const quern__op quern__op_depthwise_back = { .name = "depthwise_back",
                                             .ways = quern__ways_rows,
                                             .gradient = back_gradient,
                                             .reference = back_reference,
                                             .work = quern__work_back,
                                             .whole = 2 };

quern__id quern__depthwise(quern__graph *g, quern__id x, quern__id w, const quern__frame *f)
{
    if (!x || !w)
        return 0;
    quern_shape s = *quern__shape_of(g, x);
    const quern_shape *k = quern__shape_of(g, w);
    if (s.rank != f->axes + 2 || k->rank != f->axes + 1 ||
        k->dims[k->rank - 1] != s.dims[s.rank - 1])
        return quern__graph_fail(g, QUERN_SHAPE, "a depthwise kernel does not fit its image");
    quern_shape out = quern__image_shape(&s, f->axes, f->out, s.dims[s.rank - 1]);
    quern__frame frame = *f;
    x = quern__without_border(g, x, &frame);
    quern__attr attr = quern__frame_attr(&frame);
    return quern__build(g, &quern__op_depthwise, (quern__id[]){ x, w }, 2, &attr, &out,
                        quern__dtype_of(g, x));
}
