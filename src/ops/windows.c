/* Windows along the steps of a sequence: (records, steps, width) to (records, windows, kernel, width), place j of window w being
 * step w * stride + j * dilation - before, or `filler` outside. A convolution is then one matrix product, pooling a sum or a
 * maximum. i[0] kernel, i[1] stride, i[2] dilation, i[3] before; f[0] filler. */
#include "build.h"

/* The step at a place of a window; -1: outside. */
static int64_t step_at(const quern__attr *a, int64_t window, int64_t j, int64_t steps)
{
    int64_t t = window * a->i[1] + j * a->i[2] - a->i[3];
    return t >= 0 && t < steps ? t : -1;
}

static int windows_reference(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *in = &c->in[0].shape, *out = &c->out[0].shape;
    int64_t width = in->dims[2], kernel = out->dims[2];
    quern__part p = quern__call_part(c, out, begin, end);
    for (int64_t i = p.start; i < p.start + p.length; i++) {
        int64_t at = i / width, record = at / kernel / out->dims[1];
        int64_t t = step_at(c->attr, at / kernel % out->dims[1], at % kernel, in->dims[1]);
        quern__set(&c->out[0], i, t < 0 ? c->attr->f[0] : quern__get(&c->in[0], (record * in->dims[1] + t) * width + i % width));
    }
    return 0;
}

/* Every place of a window goes back to its step. */
static int windows_slope_reference(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *in = &c->in[0].shape, *out = &c->out[0].shape;
    int64_t width = out->dims[2], per = in->dims[1] * in->dims[2] * width;
    quern__part p = quern__call_part(c, out, begin, end);
    for (int64_t i = p.start; i < p.start + p.length; i++)
        quern__set(&c->out[0], i, 0);
    int64_t first = p.start / (out->dims[1] * width), last = (p.start + p.length) / (out->dims[1] * width);
    for (int64_t i = first * per; i < last * per; i++) {
        int64_t at = i / width, t = step_at(c->attr, at / in->dims[2] % in->dims[1], at % in->dims[2], out->dims[1]);
        int64_t to = (i / per * out->dims[1] + t) * width + i % width;
        if (t >= 0)
            quern__set(&c->out[0], to, quern__get(&c->out[0], to) + quern__get(&c->in[0], i));
    }
    return 0;
}

const quern__op quern__op_windows_slope = { .name = "windows_slope",
                                            .ways = quern__ways_rows,
                                            .reference = windows_slope_reference };

static void windows_gradient(quern__graph *g, const quern__node *node, const quern__id *dy, quern__id *dx)
{
    quern__attr attr = node->attr;
    dx[0] = quern__build(g, &quern__op_windows_slope, dy, 1, &attr, quern__shape_of(g, node->in[0]), quern__dtype_of(g, dy[0]));
}

const quern__op quern__op_windows = {
    .name = "windows", .ways = quern__ways_rows, .gradient = windows_gradient, .reference = windows_reference
};

quern__id quern__windows(quern__graph *g, quern__id x, int64_t windows, int64_t kernel, int64_t stride, int64_t dilation,
                         int64_t before, double filler)
{
    if (!x)
        return 0;
    quern_shape s = *quern__shape_of(g, x), out = { .rank = 4, .dims = { s.dims[0], windows, kernel, s.dims[2] } };
    quern__attr attr = { .i = { kernel, stride, dilation, before }, .f = { filler } };
    if (s.rank != 3 || windows < 1 || kernel < 1 || stride < 1 || dilation < 1)
        return quern__graph_fail(g, QUERN_SHAPE, "windows of %lld steps do not fit", (long long)kernel);
    return quern__build(g, &quern__op_windows, &x, 1, &attr, &out, quern__dtype_of(g, x));
}
