/* convolve: convolution over one to three spatial axes, channels last: the forward pass, the input
 * gradient (which transposed convolutions compute), and the kernel gradient. Dumoulin and Visin, "A
 * guide to convolution arithmetic for deep learning", 2016;
 * https://keras.io/api/layers/convolution_layers/
 *
 * Images are (B, space, C), kernels (kernel, C, filters), results (B, out, filters). With fewer
 * than three axes the missing ones, on the left, have size 1, so every loop has three axes.
 *
 * Three ops cover all cases, because each is the gradient of another:
 *
 *   convolve          y = x * w;  dx is convolve_back, dw is convolve_weights
 *   convolve_back     dx from dy and w;  its gradients are convolve and convolve_weights
 *   convolve_turn     w with positions reversed, channels and filters exchanged
 *
 * The input gradient of a convolution with stride 1 is also a convolution with the turned kernel.
 * back_of chooses the form with fewer multiplications. Fast kernels read the packed kernel, which
 * is an input of its own, so that it is packed once per step. */
#include "convolve.h"

#include "build.h"

quern__space quern__space_of(const quern__attr *attr, const quern_shape *image,
                             const quern_shape *made)
{
    quern__space s = { .records = image->dims[0],
                       .channels = image->dims[image->rank - 1],
                       .filters = made->dims[made->rank - 1] };
    int axes = (int)attr->i[QUERN__FRAME_AXES];
    s.places = 1;
    for (int a = 0; a < 3; a++) {
        int at = a - (3 - axes);
        s.in[a] = at < 0 ? 1 : image->dims[1 + at];
        s.out[a] = at < 0 ? 1 : made->dims[1 + at];
        s.stride[a] = attr->i[QUERN__FRAME_STRIDE + a];
        s.dilation[a] = attr->i[QUERN__FRAME_DILATION + a];
        s.before[a] = attr->i[QUERN__FRAME_BEFORE + a];
        s.kernel[a] = attr->i[QUERN__FRAME_KERNEL + a];
        s.places *= s.kernel[a];
    }
    return s;
}

quern__attr quern__frame_attr(const quern__frame *f)
{
    quern__attr attr = { .i = { [QUERN__FRAME_AXES] = f->axes } };
    for (int a = 0; a < 3; a++) {
        attr.i[QUERN__FRAME_STRIDE + a] = f->stride[a];
        attr.i[QUERN__FRAME_DILATION + a] = f->dilation[a];
        attr.i[QUERN__FRAME_BEFORE + a] = f->before[a];
        attr.i[QUERN__FRAME_KERNEL + a] = f->kernel[a];
    }
    return attr;
}

quern__frame quern__frame_of(const quern__graph *g, const quern__attr *attr, quern__id image,
                             quern__id made)
{
    quern__space s = quern__space_of(attr, quern__shape_of(g, image), quern__shape_of(g, made));
    quern__frame f = { .axes = (int)attr->i[QUERN__FRAME_AXES] };
    for (int a = 0; a < 3; a++) {
        f.kernel[a] = s.kernel[a];
        f.stride[a] = s.stride[a];
        f.dilation[a] = s.dilation[a];
        f.before[a] = s.before[a];
        f.out[a] = s.out[a];
    }
    return f;
}

quern_shape quern__image_shape(const quern_shape *x, int axes, const int64_t *space, int64_t last)
{
    quern_shape s = { .rank = axes + 2, .dims = { x->dims[0] } };
    for (int a = 0; a < axes; a++)
        s.dims[1 + a] = space[3 - axes + a];
    s.dims[axes + 1] = last;
    return s;
}

/* ---- forward: inputs x, w, and w packed for fast kernels ---- */

/* For each output element: the sum over kernel positions inside the image and over channels. */
static int convolve_reference(const quern__call *c, int64_t begin, int64_t end)
{
    quern__space s = quern__space_of(c->attr, &c->in[0].shape, &c->out[0].shape);
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t i = p.start; i < p.start + p.length; i++) {
        int64_t o[3], f, at[3], record = quern__space_apart(i, s.out, s.filters, o, &f);
        double sum = 0;
        for (int64_t k = 0; k < s.places; k++)
            for (int64_t q = 0; quern__space_seen(&s, o, k, at) && q < s.channels; q++)
                sum += quern__get(&c->in[0],
                                  quern__space_together(record, s.in, at) * s.channels + q) *
                       quern__get(&c->in[1], (k * s.channels + q) * s.filters + f);
        quern__set(&c->out[0], i, sum);
    }
    return 0;
}

/* ---- input gradient: inputs y, w, and w packed with filters as rows ---- */

/* Adds each dy, times the kernel, to the positions that its window read. Whole records only. */
static int back_reference(const quern__call *c, int64_t begin, int64_t end)
{
    quern__space s = quern__space_of(c->attr, &c->out[0].shape, &c->in[0].shape);
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    int64_t per = quern__space_numbers(s.out, 1), each = quern__space_numbers(s.in, s.channels);
    for (int64_t i = p.start; i < p.start + p.length; i++)
        quern__set(&c->out[0], i, 0);
    for (int64_t i = p.start / each * per; i < (p.start + p.length) / each * per; i++)
        for (int64_t k = 0; k < s.places; k++) {
            int64_t o[3], at[3], none, record = quern__space_apart(i, s.out, 1, o, &none);
            for (int64_t q = 0; quern__space_seen(&s, o, k, at) && q < s.channels; q++) {
                int64_t to = quern__space_together(record, s.in, at) * s.channels + q;
                double sum = quern__get(&c->out[0], to);
                for (int64_t f = 0; f < s.filters; f++)
                    sum += quern__get(&c->in[0], i * s.filters + f) *
                           quern__get(&c->in[1], (k * s.channels + q) * s.filters + f);
                quern__set(&c->out[0], to, sum);
            }
        }
    return 0;
}

/* ---- kernel gradient: inputs x, dy; one sum per part of the records, (parts * positions * C,
 * filters) ---- */

/* For each element of a part's kernel gradient: the sum over the windows of the part's records. */
static int weights_reference(const quern__call *c, int64_t begin, int64_t end)
{
    quern__space s = quern__space_of(c->attr, &c->in[0].shape, &c->in[1].shape);
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    int64_t per = quern__space_numbers(s.out, 1), parts = c->attr->i[QUERN__WEIGHTS_PARTS];
    for (int64_t i = p.start; i < p.start + p.length; i++) {
        int64_t f = i % s.filters, q = i / s.filters % s.channels,
                k = i / s.filters / s.channels % s.places,
                part = i / s.filters / s.channels / s.places;
        double sum = 0;
        for (int64_t n = s.records * part / parts * per; n < s.records * (part + 1) / parts * per;
             n++) {
            int64_t o[3], at[3], none, record = quern__space_apart(n, s.out, 1, o, &none);
            if (quern__space_seen(&s, o, k, at))
                sum += quern__get(&c->in[0],
                                  quern__space_together(record, s.in, at) * s.channels + q) *
                       quern__get(&c->in[1], n * s.filters + f);
        }
        quern__set(&c->out[0], i, sum);
    }
    return 0;
}

/* Output elements times the kernel elements of one filter. */
static double work_of(const quern_shape *made, const quern_shape *kernel)
{
    return (double)quern_shape_count(made) * (double)quern_shape_count(kernel) /
           (double)made->dims[made->rank - 1];
}

double quern__work_forward(const quern__attr *attr, const quern_shape *in, const quern_shape *out)
{
    (void)attr;
    return work_of(out, &in[1]);
}

double quern__work_back(const quern__attr *attr, const quern_shape *in, const quern_shape *out)
{
    (void)attr, (void)out;
    return work_of(&in[0], &in[1]);
}

double quern__work_weights(const quern__attr *attr, const quern_shape *in, const quern_shape *out)
{
    return work_of(&in[1], out) / (double)attr->i[QUERN__WEIGHTS_PARTS];
}

int quern__ways_eighths(const quern__graph *g, const quern__node *node)
{
    (void)g, (void)node;
    return QUERN__WAY_EIGHTHS;
}

const quern__op quern__op_convolve_weights = { .name = "convolve_weights",
                                               .ways = quern__ways_eighths,
                                               .reference = weights_reference,
                                               .work = quern__work_weights };

quern__id quern__add_parts(quern__graph *g, quern__id parts, int64_t count,
                           const quern_shape *kernel)
{
    quern_shape rows = { .rank = 2, .dims = { count, quern_shape_count(kernel) } };
    if (count > 1)
        parts = quern__reduce(g, QUERN__SUM, quern__reshape(g, parts, &rows), 1, false);
    return quern__reshape(g, parts, kernel);
}

/* dw of a convolution with input x and output gradient dy. */
static quern__id weights_of(quern__graph *g, quern__id x, quern__id dy, quern__id w,
                            const quern__frame *f)
{
    const quern_shape kernel = *quern__shape_of(g, w);
    int64_t columns = kernel.dims[kernel.rank - 1], rows = quern_shape_count(&kernel) / columns;
    /* a small kernel is summed by parts of the records, a large one by parts of the kernel: both
     * use all threads */
    int64_t parts = rows * columns <= 1 << 17 ? QUERN__CONVOLVE_PARTS : 1;
    quern__attr attr = quern__frame_attr(f);
    attr.i[QUERN__WEIGHTS_PARTS] = parts;
    quern_shape all = { .rank = 2, .dims = { parts * rows, columns } };
    quern__id in[2] = { x, dy };
    quern__id dw =
        quern__build(g, &quern__op_convolve_weights, in, 2, &attr, &all, quern__dtype_of(g, x));
    return quern__add_parts(g, dw, parts, &kernel);
}

/* ---- flipped kernel: positions reversed, channels and filters exchanged ---- */

static int turn_reference(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *s = &c->in[0].shape;
    int64_t filters = s->dims[s->rank - 1], channels = s->dims[s->rank - 2],
            places = quern_shape_count(s) / channels / filters;
    (void)begin, (void)end;
    for (int64_t k = 0; k < places; k++)
        for (int64_t q = 0; q < channels; q++)
            for (int64_t f = 0; f < filters; f++)
                quern__set(&c->out[0], ((places - 1 - k) * filters + f) * channels + q,
                           quern__get(&c->in[0], (k * channels + q) * filters + f));
    return 0;
}

static quern__id turned(quern__graph *g, quern__id w);
static void turn_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                          quern__id *dx)
{
    (void)node;
    dx[0] = turned(g, dy[0]);
}

const quern__op quern__op_convolve_turn = { .name = "convolve_turn",
                                            .ways = quern__ways_whole,
                                            .gradient = turn_gradient,
                                            .reference = turn_reference };

static quern__id turned(quern__graph *g, quern__id w)
{
    quern_shape s = *quern__shape_of(g, w), out = s;
    out.dims[s.rank - 1] = s.dims[s.rank - 2];
    out.dims[s.rank - 2] = s.dims[s.rank - 1];
    return quern__build(g, &quern__op_convolve_turn, &w, 1, &(quern__attr){ 0 }, &out,
                        quern__dtype_of(g, w));
}

/* ---- builders ---- */

static bool ones(const int64_t *v) { return v[0] == 1 && v[1] == 1 && v[2] == 1; }

/* Whether the input gradient is faster as a convolution with the flipped kernel than as a product
 * whose columns are added to the image. The estimate counts multiplications; adding an element
 * costs about as much as eight. */
static bool sooner_turned(const quern__space *s)
{
    int64_t image = quern__space_numbers(s->in, 1), windows = quern__space_numbers(s->out, 1),
            k = s->places * s->channels;
    /* multiplications of both forms, with the columns of tiles that are not full */
    int64_t wide = s->channels <= 16 ? 16 : (s->channels + 31) / 32 * 32;
    return ones(s->stride) && image * s->places * s->filters * wide <
                                  windows * (s->filters * ((k + 31) / 32 * 32) + 8 * k);
}

/* The input gradient for an image of the shape `image`, in the faster form. */
static quern__id back_of(quern__graph *g, quern__id y, quern__id w, const quern__frame *f,
                         const quern_shape *image)
{
    quern__attr attr = quern__frame_attr(f);
    quern__space s = quern__space_of(&attr, image, quern__shape_of(g, y));
    if (sooner_turned(&s)) {
        quern__frame t = *f;
        for (int a = 0; a < 3; a++) {
            t.before[a] = f->dilation[a] * (f->kernel[a] - 1) - f->before[a];
            t.out[a] = s.in[a];
        }
        return quern__convolve(g, y, turned(g, w), &t);
    }
    quern_shape matrix = { .rank = 2, .dims = { s.places * s.channels, s.filters } };
    quern__id in[3] = { y, w, quern__pack(g, quern__reshape(g, w, &matrix), true) };
    return quern__build(g, &quern__op_convolve_back, in, 3, &attr, image, quern__dtype_of(g, y));
}

static void convolve_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                              quern__id *dx)
{
    quern__node n = *node;
    quern__id x = n.in[0], w = n.in[1];
    quern_shape image = *quern__shape_of(g, x);
    quern__frame f = quern__frame_of(g, &n.attr, x, dy[0]);
    dx[0] = back_of(g, dy[0], w, &f, &image);
    dx[1] = weights_of(g, x, dy[0], w, &f);
}

static void back_gradient(quern__graph *g, const quern__node *node, const quern__id *dx,
                          quern__id *dy)
{
    quern__node n = *node;
    quern__id y = n.in[0], w = n.in[1];
    quern__frame f = quern__frame_of(g, &n.attr, dx[0], y);
    dy[0] = quern__convolve(g, dx[0], w, &f);
    dy[1] = weights_of(g, dx[0], y, w, &f);
}

const quern__op quern__op_convolve = { .name = "convolve",
                                       .ways = quern__ways_rows,
                                       .gradient = convolve_gradient,
                                       .reference = convolve_reference,
                                       .work = quern__work_forward,
                                       .whole = 6 };
const quern__op quern__op_convolve_back = { .name = "convolve_back",
                                            .ways = quern__ways_rows,
                                            .gradient = back_gradient,
                                            .reference = back_reference,
                                            .work = quern__work_back,
                                            .whole = 6 };

/* Whether w is a kernel of the frame, and x has its number of axes and `own` channels. */
static bool fits(quern__graph *g, quern__id x, quern__id w, const quern__frame *f, int own)
{
    quern_shape s = *quern__shape_of(g, x), k = *quern__shape_of(g, w);
    char left[96], right[96];
    bool ok =
        s.rank == f->axes + 2 && k.rank == s.rank && s.dims[s.rank - 1] == k.dims[k.rank - own];
    for (int a = 0; a < f->axes && ok; a++)
        ok = k.dims[a] == f->kernel[3 - f->axes + a];
    if (!ok)
        quern__graph_fail(g, QUERN_SHAPE, "a kernel %s does not fit %s",
                          quern_shape_text(&k, right, sizeof right),
                          quern_shape_text(&s, left, sizeof left));
    return ok;
}

quern__id quern__convolve(quern__graph *g, quern__id x, quern__id w, const quern__frame *f)
{
    if (!x || !w || !fits(g, x, w, f, 2))
        return 0;
    quern_shape k = *quern__shape_of(g, w),
                matrix = { .rank = 2, .dims = { 0, k.dims[k.rank - 1] } };
    matrix.dims[0] = quern_shape_count(&k) / matrix.dims[1];
    quern_shape out = quern__image_shape(quern__shape_of(g, x), f->axes, f->out, matrix.dims[1]);
    quern__frame frame = *f;
    x = quern__without_border(g, x, &frame);
    quern__id in[3] = { x, w, quern__pack(g, quern__reshape(g, w, &matrix), false) };
    quern__attr attr = quern__frame_attr(&frame);
    return quern__build(g, &quern__op_convolve, in, 3, &attr, &out, quern__dtype_of(g, x));
}

quern__id quern__convolve_back(quern__graph *g, quern__id y, quern__id w, const quern__frame *f,
                               const int64_t in[3])
{
    if (!y || !w || !fits(g, y, w, f, 1))
        return 0;
    const quern_shape *k = quern__shape_of(g, w);
    quern_shape image =
        quern__image_shape(quern__shape_of(g, y), f->axes, in, k->dims[k->rank - 2]);
    return back_of(g, y, w, f, &image);
}
