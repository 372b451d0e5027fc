/* spatial: windows over spatial axes. Padding follows TensorFlow: "same" gives ceil(size / stride)
 * windows, with the larger half of an odd padding at the end; "causal" pads at the start only.
 *
 * All ops have channels last. A layer with data_format channels_first transposes its input
 * (quern__channels_last) and its result (quern__channels_back). quern__layer_frame turns the config
 * into the frame of ops/convolve.h, with fewer than three axes aligned to the right. */
#include "spatial.h"

#include <stdio.h>

enum { largest = 1 << 24 };

/* Moves the channels to axis 1 (`first`), or from axis 1 to the end. */
static quern__id moved(quern__graph *g, quern__id x, bool first)
{
    int rank = quern__shape_of(g, x)->rank, order[QUERN_MAX_RANK] = { 0 };
    for (int i = 1; i < rank; i++)
        order[i] = first ? i - 1 : i + 1;
    if (rank > 1) /* the axis that moves to the other end */
        order[first ? 1 : rank - 1] = first ? rank - 1 : 1;
    return quern__transpose(g, x, order);
}

quern__id quern__channels_last(const quern__layer *l, quern__graph *g, quern__id x)
{
    return x && quern__channels_first(l) ? moved(g, x, false) : x;
}

quern__id quern__channels_back(const quern__layer *l, quern__graph *g, quern__id y)
{
    return y && quern__channels_first(l) ? moved(g, y, true) : y;
}

bool quern__sizes_fit(const quern__layer *l, quern__graph *g, int axes)
{
    for (const quern__field *f = l->kind->fields; f && f->name; f++) {
        size_t n = json_array_size(json_object_get(l->config, f->name));
        if ((f->kind == QUERN__F_SIZES || f->kind == QUERN__F_EDGES) && n > 1 && n != (size_t)axes)
            return quern__graph_fail(g, QUERN_INVALID, "%s has %zu entries for %d spatial axes",
                                     f->name, n, axes);
    }
    return true;
}

/* Computes the windows of one axis; kernel, stride and dilation are set. */
static bool axis_frame(const quern__layer *l, quern__frame *f, int a, int64_t size)
{
    int64_t reach = (f->kernel[a] - 1) * f->dilation[a] + 1, lacking;
    f->before[a] = 0;
    if (quern__config_is(l, "padding", "same")) {
        f->out[a] = (size + f->stride[a] - 1) / f->stride[a];
        lacking = (f->out[a] - 1) * f->stride[a] + reach - size;
        f->before[a] = lacking > 0 ? lacking / 2 : 0;
    } else if (quern__config_is(l, "padding", "causal")) {
        f->before[a] = reach - 1;
        f->out[a] = (size - 1) / f->stride[a] + 1;
    } else
        f->out[a] = size < reach ? 0 : (size - reach) / f->stride[a] + 1;
    return f->out[a] > 0;
}

bool quern__layer_frame(const quern__layer *l, quern__graph *g, const char *kernel, int64_t strides,
                        int axes, const int64_t *size, quern__frame *f)
{
    *f = (quern__frame){ axes, { 1, 1, 1 }, { 1, 1, 1 }, { 1, 1, 1 }, { 0 }, { 1, 1, 1 } };
    const char *padding = quern__config_text(l->config, "padding");
    if (padding && strcmp(padding, "same") && strcmp(padding, "valid") &&
        (axes > 1 || strcmp(padding, "causal")))
        return quern__graph_fail(g, QUERN_INVALID, "padding '%s' is not one of %s", padding,
                                 axes > 1 ? "same, valid" : "same, valid, causal");
    if (!quern__sizes_fit(l, g, axes))
        return false;
    for (int i = 0; i < axes; i++) {
        int a = 3 - axes + i;
        f->kernel[a] = quern__by_axis(l, kernel, i, 0);
        f->stride[a] = quern__by_axis(l, "strides", i, strides ? strides : f->kernel[a]);
        f->dilation[a] = quern__by_axis(l, "dilation_rate", i, 1);
        if (f->kernel[a] < 1 || f->stride[a] < 1 || f->dilation[a] < 1 || f->kernel[a] > largest ||
            f->dilation[a] > largest || f->stride[a] > largest)
            return quern__graph_fail(g, QUERN_INVALID,
                                     "%s, strides and dilation_rate must be from 1 to %d", kernel,
                                     (int)largest);
        if (size[i] < 1 || !axis_frame(l, f, a, size[i]))
            return quern__graph_fail(
                g, QUERN_SHAPE, "no window of %lld fits into %lld along spatial axis %d",
                (long long)((f->kernel[a] - 1) * f->dilation[a] + 1), (long long)size[i], i);
    }
    return true;
}
