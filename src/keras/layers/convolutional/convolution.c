/* convolution: Conv1D, Conv2D, Conv3D and their transposes.
 * https://keras.io/api/layers/convolution_layers/
 *
 * Images are (B, space, C) inside; `extra` of the row is the number of spatial axes. With groups,
 * each group of channels has a convolution of its own, and the results are concatenated. A
 * transposed convolution is the input gradient of a convolution (ops/convolve.c). */
#include "spatial.h"

enum { most_groups = 1024 };

/* Kernels have the shape (positions, channels of a group, filters); transposed ones (positions,
 * filters, channels). */
static bool transposed(const quern__layer *l) { return strstr(l->kind->name, "Transpose"); }

/* Checks that the input has the spatial axes and a fixed number of channels. */
static int check_input(const quern__layer *l, const quern_shape *in, int axes, quern_error *err)
{
    char text[96];
    if (in->rank != axes + 2)
        return quern__fail(err, QUERN_SHAPE, l->name,
                           "inputs %s are not (records, %d spatial axes, channels)",
                           quern_shape_text(in, text, sizeof text), axes);
    if (quern__channels_of(l, in) < 1)
        return quern__fail(err, QUERN_SHAPE, l->name,
                           "inputs %s do not have a fixed number of channels",
                           quern_shape_text(in, text, sizeof text));
    return QUERN_OK;
}

/* Adds the kernel and the bias. */
static int convolution_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    int axes = l->kind->extra, status = check_input(l, in, axes, err);
    (void)n;
    if (status < 0)
        return status;
    int64_t filters = quern__config_int(l->config, "filters"), width = quern__channels_of(l, in),
            groups = transposed(l) ? 1 : quern__config_int(l->config, "groups");
    if (filters < 1 || groups < 1 || groups > most_groups || filters % groups || width % groups)
        return quern__fail(err, QUERN_INVALID, l->name,
                           "%lld filters, %lld channels and %lld groups do not divide",
                           (long long)filters, (long long)width, (long long)groups);
    quern__kernel_form form = { .name = "kernel", .shape = { .rank = axes + 2 }, .alpha = true };
    for (int a = 0; a < axes; a++)
        if ((form.shape.dims[a] = quern__by_axis(l, "kernel_size", a, 0)) < 1)
            return quern__fail(err, QUERN_INVALID, l->name, "kernel_size must be at least 1");
    form.shape.dims[axes] = transposed(l) ? filters : width / groups;
    form.shape.dims[axes + 1] = transposed(l) ? width : filters;
    if (quern__config_bool(l->config, "use_bias"))
        form.bias = (quern_shape){ .rank = 1, .dims = { filters } };
    return quern__kernel_build(l, &form, err);
}

/* Adds the bias, restores the data format, and applies the activation. */
static quern__id finished(const quern__layer *l, quern__graph *g, quern__id y)
{
    return quern__activation(g, json_object_get(l->config, "activation"),
                             quern__channels_back(l, g, quern__layer_biased(l, g, y)));
}

/* Convolves each group of channels with its part of the kernel. */
static quern__id grouped(quern__graph *g, quern__id x, quern__id w, const quern__frame *f,
                         int64_t groups)
{
    const quern_shape kernel = *quern__shape_of(g, w);
    int last = kernel.rank - 1;
    int64_t width = kernel.dims[last - 1], filters = kernel.dims[last] / groups;
    quern__id parts[most_groups];
    for (int64_t k = 0; k < groups; k++)
        parts[k] = quern__convolve(g, quern__slice(g, x, last, k * width, width),
                                   quern__slice(g, w, last, k * filters, filters), f);
    return quern__concat(g, parts, (int)groups, last);
}

static quern__id convolution_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                  bool training)
{
    int axes = l->kind->extra;
    quern__id x = quern__channels_last(l, g, in[0]), w = quern__layer_kernel(l, g);
    int64_t groups = quern__config_int(l->config, "groups");
    quern__frame f;
    (void)n, (void)training;
    if (!x ||
        !quern__layer_frame(l, g, "kernel_size", 1, axes, quern__shape_of(g, x)->dims + 1, &f))
        return 0;
    return finished(l, g, groups > 1 ? grouped(g, x, w, &f, groups) : quern__convolve(g, x, w, &f));
}

/* ---- transposed convolution: the input gradient of a convolution whose image has the size of the
 * output ---- */

/* The output size of an axis of size n (keras.src.backend.common.backend_utils). 0: output_padding
 * does not fit. */
static int64_t transposed_size(const quern__layer *l, int64_t n, int axis, int64_t kernel,
                               int64_t stride, int64_t dilation)
{
    int64_t reach = (kernel - 1) * dilation + 1,
            more = quern__by_axis(l, "output_padding", axis, -1);
    bool same = quern__config_is(l, "padding", "same");
    if (more < 0)
        return same ? n * stride : n * stride + (reach > stride ? reach - stride : 0);
    return more < stride ? (n - 1) * stride + reach - (same ? 2 * (reach / 2) : 0) + more : 0;
}

static quern__id transposed_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                 bool training)
{
    int axes = l->kind->extra;
    quern__id x = quern__channels_last(l, g, in[0]);
    quern__frame f = { axes, { 1, 1, 1 }, { 1, 1, 1 }, { 1, 1, 1 }, { 0 }, { 1, 1, 1 } };
    int64_t size[3] = { 1, 1, 1 };
    (void)n, (void)training;
    if (!x || !quern__sizes_fit(l, g, axes))
        return 0;
    for (int i = 0; i < axes; i++) {
        int a = 3 - axes + i;
        f.out[a] = quern__shape_of(g, x)->dims[1 + i];
        f.kernel[a] = quern__by_axis(l, "kernel_size", i, 0);
        f.stride[a] = quern__by_axis(l, "strides", i, 1);
        f.dilation[a] = quern__by_axis(l, "dilation_rate", i, 1);
        if (f.stride[a] < 1 || f.dilation[a] < 1 || f.out[a] < 1)
            return quern__graph_fail(g, QUERN_INVALID,
                                     "strides, dilation_rate and spatial sizes must be at least 1");
        size[a] = transposed_size(l, f.out[a], i, f.kernel[a], f.stride[a], f.dilation[a]);
        /* padding of the convolution whose input gradient this is */
        int64_t lacking =
            (f.out[a] - 1) * f.stride[a] + (f.kernel[a] - 1) * f.dilation[a] + 1 - size[a];
        f.before[a] = quern__config_is(l, "padding", "same") && lacking > 0 ? lacking / 2 : 0;
        if (size[a] < 1)
            return quern__graph_fail(g, QUERN_INVALID, "output_padding must be below strides");
    }
    return finished(l, g,
                    quern__convolve_back(g, x, quern__graph_variable(g, l->weights[0]), &f, size));
}

#define FIRST_FIELDS                                                            \
    { "filters", QUERN__F_INT, NULL }, { "kernel_size", QUERN__F_SIZES, NULL }, \
        { "strides", QUERN__F_SIZES, "1" }, { "padding", QUERN__F_TEXT, "\"valid\"" },
#define FORMAT         { "data_format", QUERN__F_TEXT, "\"channels_last\"" },
#define DILATION       { "dilation_rate", QUERN__F_SIZES, "1" },
#define OUTPUT_PADDING { "output_padding", QUERN__F_SIZES, "null" },
#define LAST_FIELDS                                                                             \
    { "activation", QUERN__F_ACTIVATION, "\"linear\"" }, { "use_bias", QUERN__F_BOOL, "true" }, \
        QUERN__KERNEL_AND_BIAS_FIELDS
static const quern__field conv_fields[] = { FIRST_FIELDS FORMAT DILATION{ "groups", QUERN__F_INT,
                                                                          "1" },
                                            LAST_FIELDS,
                                            QUERN__LORA_FIELDS,
                                            { 0 } };
static const quern__field transpose_fields[] = {
    FIRST_FIELDS OUTPUT_PADDING FORMAT DILATION LAST_FIELDS, { 0 }
};
/* Keras swaps these two arguments in three dimensions. */
static const quern__field transpose3_fields[] = {
    FIRST_FIELDS FORMAT OUTPUT_PADDING DILATION LAST_FIELDS, { 0 }
};

#define LAYER(ID_, NAME, ALIASES, FIELDS_, CALL, AXES)                    \
    const quern__class quern__layer_##ID_ = { .group = QUERN__LAYER,      \
                                              .name = NAME,               \
                                              .aliases = ALIASES,         \
                                              .module = "keras.layers",   \
                                              .fields = FIELDS_,          \
                                              .build = convolution_build, \
                                              .call = CALL,               \
                                              .masks = QUERN__MASK_ENDS,  \
                                              .extra = AXES }
LAYER(conv1d, "Conv1D", "Convolution1D", conv_fields, convolution_call, 1);
LAYER(conv2d, "Conv2D", "Convolution2D", conv_fields, convolution_call, 2);
LAYER(conv3d, "Conv3D", "Convolution3D", conv_fields, convolution_call, 3);
LAYER(conv1d_transpose, "Conv1DTranspose", "Convolution1DTranspose", transpose_fields,
      transposed_call, 1);
LAYER(conv2d_transpose, "Conv2DTranspose", "Convolution2DTranspose", transpose_fields,
      transposed_call, 2);
LAYER(conv3d_transpose, "Conv3DTranspose", "Convolution3DTranspose", transpose3_fields,
      transposed_call, 3);
