/* Ops of images: convolution, pooling, batch normalization. */
#include "harness.h"

/* The first elements of an array, in another shape. */
static quern__id first_of(quern__graph *g, quern__id x, const quern_shape *shape)
{
    quern_shape all = { .rank = 1, .dims = { quern_shape_count(quern__shape_of(g, x)) } };
    return quern__reshape(
        g, quern__slice(g, quern__reshape(g, x, &all), 0, 0, quern_shape_count(shape)), shape);
}

/* FAR: kernel positions so far apart that the kernel copies the image piece by piece. */
enum { PADDED, STRIDES, DILATION, ONE_AXIS, THREE_AXES, UNEVEN, FAR, KINDS };

/* An image of all elements of x, and windows over it; `c` channels. */
static void image_of(quern__graph *g, quern__id x, int kind, quern_shape *image, quern__frame *w)
{
    bool large = quern__shape_of(g, x)->dims[0] > 3;
    int64_t c = large ? 10 : 1, records = large ? 3 : 1, rows = large ? 30 : 3,
            columns = large ? 10 : 4;
    *image = (quern_shape){ .rank = 4, .dims = { records, rows, columns, c } };
    *w = (quern__frame){
        2, { 1, 3, 2 }, { 1, 1, 1 }, { 1, 1, 1 }, { 0, 1, 1 }, { 1, rows, columns }
    };
    if (kind == STRIDES)
        *w = (quern__frame){ 2,           { 1, 3, 2 }, { 1, 2, 2 },
                             { 1, 1, 1 }, { 0, 1, 0 }, { 1, (rows + 1) / 2, columns / 2 } };
    if (kind == DILATION)
        *w = (quern__frame){ 2,           { 1, 3, 2 }, { 1, 1, 1 },
                             { 1, 1, 2 }, { 0, 1, 0 }, { 1, rows, columns - 2 } };
    if (kind == FAR)
        *w = (quern__frame){
            2, { 1, 3, 2 }, { 1, 1, 1 }, { 1, 40, 60 }, { 0, 40, 30 }, { 1, rows, columns }
        };
    if (kind == ONE_AXIS) {
        *image = (quern_shape){ .rank = 3, .dims = { records, rows * columns, c } };
        *w = (quern__frame){ 1,           { 1, 1, 4 }, { 1, 1, 1 },
                             { 1, 1, 1 }, { 0 },       { 1, 1, rows * columns - 3 } };
    }
    if (kind == THREE_AXES) {
        *image = (quern_shape){ .rank = 5, .dims = { records, 3, rows / 3, columns, c } };
        *w = (quern__frame){ 3,           { 2, 1, 2 }, { 2, 1, 1 },
                             { 1, 1, 1 }, { 0, 0, 1 }, { 1, rows / 3, columns } };
    }
}

static quern__id kernel_of(quern__graph *g, quern__id other, const quern__frame *w,
                           int64_t channels, int64_t filters)
{
    quern_shape kernel = { .rank = w->axes };
    for (int a = 0; a < w->axes; a++)
        kernel.dims[a] = w->kernel[3 - w->axes + a];
    kernel.dims[kernel.rank++] = channels;
    if (filters)
        kernel.dims[kernel.rank++] = filters;
    return first_of(g, other, &kernel);
}

static int64_t filters_of(const quern_shape *image, int kind)
{
    bool large = image->dims[image->rank - 1] > 1;
    return !large ? 2 : kind == UNEVEN ? 37 : kind == PADDED ? 32 : 6;
}

static quern__id convolved(quern__graph *g, quern__id x, quern__id other, int kind)
{
    quern_shape image;
    quern__frame w;
    image_of(g, x, kind, &image, &w);
    quern__id kernel =
        kernel_of(g, other, &w, image.dims[image.rank - 1], filters_of(&image, kind));
    return quern__convolve(g, first_of(g, x, &image), kernel, &w);
}

/* x is the output of windows over a larger image. */
static quern__id transposed(quern__graph *g, quern__id x, quern__id other, int kind)
{
    quern_shape image;
    quern__frame w;
    int64_t size[3];
    image_of(g, x, kind, &image, &w);
    for (int a = 0; a < 3; a++) {
        int at = a - (3 - w.axes);
        w.out[a] = at < 0 ? 1 : image.dims[1 + at];
        size[a] =
            (w.out[a] - 1) * w.stride[a] + (w.kernel[a] - 1) * w.dilation[a] + 1 - w.before[a];
    }
    quern__id kernel =
        kernel_of(g, other, &w, filters_of(&image, kind), image.dims[image.rank - 1]);
    return quern__convolve_back(g, first_of(g, x, &image), kernel, &w, size);
}

static quern__id by_channel(quern__graph *g, quern__id x, quern__id other, int kind)
{
    quern_shape image;
    quern__frame w;
    image_of(g, x, kind, &image, &w);
    return quern__depthwise(g, first_of(g, x, &image),
                            kernel_of(g, other, &w, image.dims[image.rank - 1], 0), &w);
}

/* f: the kind of windows, which pooling does not dilate; 8: mean; 16: windows that divide the image
 * evenly. */
static quern__id pooled(quern__graph *g, quern__id x, quern__id other, int f)
{
    quern_shape image;
    quern__frame w;
    (void)other;
    image_of(g, x, f & 7, &image, &w);
    for (int a = 0; a < 3; a++) {
        w.dilation[a] = 1;
        if (f & 16)
            w.stride[a] = 0, w.out[a] = (w.out[a] + 1) / 2;
    }
    return quern__pool(g, first_of(g, x, &image), f & 8, &w);
}

/* f: 1 gamma, 2 beta, 4 rows without spatial axes. */
static quern__id batch_normalized(quern__graph *g, quern__id x, quern__id other, int f)
{
    bool large = quern__shape_of(g, x)->dims[0] > 3;
    quern_shape image = { .rank = 4,
                          .dims = { large ? 5 : 2, large ? 9 : 2, large ? 5 : 1, large ? 40 : 3 } },
                rows = { .rank = 2, .dims = { large ? 65 : 3, large ? 130 : 4 } };
    const quern_shape *s = f & 4 ? &rows : &image;
    quern_shape row = { .rank = 1, .dims = { s->dims[s->rank - 1] } };
    quern__id moments, twice = quern__scale(g, other, 2);
    return quern__batch_normalize(g, first_of(g, x, s), f & 1 ? first_of(g, other, &row) : 0,
                                  f & 2 ? first_of(g, twice, &row) : 0, 1e-3, &moments);
}

/* f: 0 transposed axes, 1 the records stay, 2 … 4 broadcast over the first, the middle, the last
 * axis, 5 the mean over all but the first axis, whose gradient is a broadcast. */
static quern__id moved(quern__graph *g, quern__id x, quern__id other, int f)
{
    bool large = quern__shape_of(g, x)->dims[0] > 3;
    quern_shape s = { .rank = 3, .dims = { large ? 70 : 3, large ? 13 : 2, large ? 10 : 2 } },
                wide = s;
    x = quern__reshape(g, x, &s);
    if (f < 2)
        return quern__transpose(g, x, f ? (int[]){ 0, 2, 1 } : (int[]){ 2, 0, 1 });
    if (f == 5)
        return quern__mul2(g, quern__reduce(g, QUERN__MEAN, x, 6, true),
                           quern__reshape(g, other, &s));
    s.dims[f - 2] = 1;
    wide.dims[f - 2] = 5;
    return quern__broadcast(g, first_of(g, x, &s), &wide);
}

static quern__id dropped(quern__graph *g, quern__id x, quern__id other, int f)
{
    (void)other;
    return quern__dropout(g, x, f ? 0.5 : 0.3, 9, 0);
}

static void gradients_are_right(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        check_gradient("convolve", convolved, kind, -1.3, 0.21);
        check_gradient("convolve_back", transposed, kind, -1.3, 0.21);
        check_gradient("depthwise", by_channel, kind, -1.3, 0.21);
        for (int f = 0; kind < FAR && f < 32; f += 8) /* windows of a pool are inside the image */
            check_gradient("pool", pooled, kind | f, -1.3, 0.21);
    }
    for (int f = 0; f < 6; f++)
        check_gradient("move", moved, f, -1.3, 0.21);
    for (int f = 0; f < 8; f++)
        check_gradient("batch_normalize", batch_normalized, f, -1.3, 0.21);
}

static void both_ways(builder *build, int f, const char *name)
{
    compare(build, f, name, -0.4, 1e-4);
    forward = build;
    compare(way_back, f, name, -0.4, 1e-4);
}

static void kernels_agree(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        both_ways(convolved, kind, "convolve");
        both_ways(transposed, kind, "convolve_back");
        both_ways(by_channel, kind, "depthwise");
        for (int f = 0; kind < FAR && f < 32; f += 8) /* windows of a pool are inside the image */
            both_ways(pooled, kind | f, "pool");
    }
    for (int f = 0; f < 6; f++)
        both_ways(moved, f, "move");
    for (int f = 0; f < 2; f++)
        both_ways(dropped, f, "dropout");
    for (int f = 0; f < 8; f++)
        both_ways(batch_normalized, f, "batch_normalize");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(gradients_are_right),
                                        cmocka_unit_test(kernels_agree) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
