/* depthwise_convolution: DepthwiseConv1D and 2D apply `depth_multiplier` kernels to each channel.
 * SeparableConv1D and 2D add a pointwise convolution over all channels.
 * https://keras.io/api/layers/convolution_layers/ */
#include "spatial.h"

static bool separable(const quern__layer *l) { return !strncmp(l->kind->name, "Separable", 9); }

static int depthwise_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    int axes = l->kind->extra;
    char text[96];
    (void)n;
    if (in->rank != axes + 2 || quern__channels_of(l, in) < 1)
        return quern__fail(err, QUERN_SHAPE, l->name,
                           "inputs %s are not (records, %d spatial axes, channels)",
                           quern_shape_text(in, text, sizeof text), axes);
    int64_t many = quern__config_int(l->config, "depth_multiplier"),
            width = quern__channels_of(l, in),
            filters = separable(l) ? quern__config_int(l->config, "filters") : width * many;
    if (many < 1 || many > 1 << 20 || filters < 1)
        return quern__fail(err, QUERN_INVALID, l->name,
                           "depth_multiplier and filters must be at least 1");
    quern_shape own = { .rank = axes + 2 }, point = { .rank = axes + 2 },
                bias = { .rank = 1, .dims = { filters } };
    for (int a = 0; a < axes; a++) {
        own.dims[a] = quern__by_axis(l, "kernel_size", a, 0);
        point.dims[a] = 1;
        if (own.dims[a] < 1)
            return quern__fail(err, QUERN_INVALID, l->name, "kernel_size must be at least 1");
    }
    own.dims[axes] = width;
    own.dims[axes + 1] = many;
    point.dims[axes] = width * many;
    point.dims[axes + 1] = filters;
    if (!quern__layer_weight(l, separable(l) ? "depthwise_kernel" : "kernel", &own,
                             "depthwise_initializer", err))
        return QUERN_NOMEM;
    if (separable(l) &&
        !quern__layer_weight(l, "pointwise_kernel", &point, "pointwise_initializer", err))
        return QUERN_NOMEM;
    if (quern__config_bool(l->config, "use_bias") &&
        !quern__layer_weight(l, "bias", &bias, "bias_initializer", err))
        return QUERN_NOMEM;
    return QUERN_OK;
}

/* Repeats each channel `many` times: [a b] to [a a b b]. */
static quern__id repeated(quern__graph *g, quern__id x, int64_t many)
{
    quern_shape s = *quern__shape_of(g, x), one = s, out = s;
    one.dims[one.rank++] = 1;
    quern_shape wide = one;
    wide.dims[s.rank] = many;
    out.dims[s.rank - 1] *= many;
    return many == 1
               ? x
               : quern__reshape(g, quern__broadcast(g, quern__reshape(g, x, &one), &wide), &out);
}

static quern__id depthwise_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                bool training)
{
    int axes = l->kind->extra;
    quern__id x = quern__channels_last(l, g, in[0]);
    const quern_shape *own = &l->weights[0]->shape;
    quern_shape kernel = *own;
    quern__frame f, points = { axes, { 1, 1, 1 }, { 1, 1, 1 }, { 1, 1, 1 }, { 0 }, { 1, 1, 1 } };
    (void)n, (void)training;
    if (!x ||
        !quern__layer_frame(l, g, "kernel_size", 1, axes, quern__shape_of(g, x)->dims + 1, &f))
        return 0;
    kernel.rank = axes + 1;
    kernel.dims[axes] = own->dims[axes] * own->dims[axes + 1];
    quern__id y =
        quern__depthwise(g, repeated(g, x, own->dims[axes + 1]),
                         quern__reshape(g, quern__graph_variable(g, l->weights[0]), &kernel), &f);
    memcpy(points.out, f.out, sizeof points.out);
    if (separable(l))
        y = quern__convolve(g, y, quern__graph_variable(g, l->weights[1]), &points);
    if (quern__config_bool(l->config, "use_bias"))
        y = quern__add2(g, y, quern__graph_variable(g, l->weights[l->n_weights - 1]));
    return quern__activation(g, json_object_get(l->config, "activation"),
                             quern__channels_back(l, g, y));
}

#define FRAME { "strides", QUERN__F_SIZES, "1" }, { "padding", QUERN__F_TEXT, "\"valid\"" },
#define SPACE \
    { "data_format", QUERN__F_TEXT, "\"channels_last\"" }, { "dilation_rate", QUERN__F_SIZES, "1" },
#define DEPTH { "depth_multiplier", QUERN__F_INT, "1" },
#define LAST \
    { "activation", QUERN__F_ACTIVATION, "\"linear\"" }, { "use_bias", QUERN__F_BOOL, "true" },
#define BEGIN(NAME) { NAME "_initializer", QUERN__F_INITIALIZER, "\"glorot_uniform\"" },
#define BEGIN_BIAS  { "bias_initializer", QUERN__F_INITIALIZER, "\"zeros\"" },
#define HOLD(NAME)  { NAME "_regularizer", QUERN__F_REGULARIZER, "null" },
#define FIT(NAME)   { NAME "_constraint", QUERN__F_CONSTRAINT, "null" },
static const quern__field depthwise_fields[] = { { "kernel_size", QUERN__F_SIZES, NULL },
                                                 FRAME DEPTH SPACE LAST BEGIN("depthwise")
                                                     BEGIN_BIAS HOLD("depthwise") HOLD("bias")
                                                         FIT("depthwise") FIT("bias"){ 0 } };
static const quern__field separable_fields[] = {
    { "filters", QUERN__F_INT, NULL },
    { "kernel_size", QUERN__F_SIZES, NULL },
    FRAME SPACE DEPTH LAST BEGIN("depthwise") BEGIN("pointwise") BEGIN_BIAS HOLD("depthwise")
        HOLD("pointwise") HOLD("bias") FIT("depthwise") FIT("pointwise") FIT("bias"){ 0 }
};

#define LAYER(ID_, NAME, ALIASES, FIELDS, AXES)                          \
    const quern__class quern__layer_##ID_ = { .group = QUERN__LAYER,     \
                                              .name = NAME,              \
                                              .aliases = ALIASES,        \
                                              .module = "keras.layers",  \
                                              .fields = FIELDS,          \
                                              .build = depthwise_build,  \
                                              .call = depthwise_call,    \
                                              .masks = QUERN__MASK_ENDS, \
                                              .extra = AXES }
LAYER(depthwise_conv1d, "DepthwiseConv1D", "", depthwise_fields, 1);
LAYER(depthwise_conv2d, "DepthwiseConv2D", "", depthwise_fields, 2);
LAYER(separable_conv1d, "SeparableConv1D", "SeparableConvolution1D", separable_fields, 1);
LAYER(separable_conv2d, "SeparableConv2D", "SeparableConvolution2D", separable_fields, 2);
