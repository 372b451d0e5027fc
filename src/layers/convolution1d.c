/* Conv1D, MaxPooling1D, AveragePooling1D: windows along the steps, then a matrix product, a maximum or a mean. Padding as
 * TensorFlow has it: "same" gives ceil(steps / stride) windows, "causal" looks at the past alone. */
#include "layers.h"

#include <float.h>
#include <string.h>

#define ID quern__id

/* How windows lie over the steps. */
typedef struct frame {
    int64_t kernel, stride, dilation, before, windows;
} frame;

/* A number, or a list of one. */
static int64_t one(const quern__layer *l, const char *key, int64_t none)
{
    json_t *v = json_object_get(l->config, key);
    v = json_is_array(v) ? json_array_get(v, 0) : v;
    return json_is_integer(v) ? json_integer_value(v) : none;
}

static bool is(const quern__layer *l, const char *key, const char *value)
{
    const char *text = quern__config_text(l->config, key);
    return text && !strcmp(text, value);
}

static bool frame_of(const quern__layer *l, const char *kernel, int64_t steps, frame *f)
{
    f->kernel = one(l, kernel, 0);
    f->stride = one(l, "strides", l->kind->extra ? f->kernel : 1);
    f->dilation = one(l, "dilation_rate", 1);
    if (f->kernel < 1 || f->stride < 1 || f->dilation < 1 || f->kernel > 1 << 24 || f->dilation > 1 << 24 || steps < 1)
        return false;
    int64_t reach = (f->kernel - 1) * f->dilation + 1;
    f->before = 0;
    if (is(l, "padding", "same")) {
        f->windows = (steps + f->stride - 1) / f->stride;
        int64_t lacking = (f->windows - 1) * f->stride + reach - steps;
        f->before = lacking > 0 ? lacking / 2 : 0;
    } else if (is(l, "padding", "causal")) {
        f->before = reach - 1;
        f->windows = (steps - 1) / f->stride + 1;
    } else
        f->windows = steps < reach ? 0 : (steps - reach) / f->stride + 1;
    return f->windows > 0;
}

/* With channels first, steps and channels change places on the way in and out. */
static ID turned(const quern__layer *l, quern__graph *g, ID x)
{
    return is(l, "data_format", "channels_first") ? quern__transpose(g, x, (int[]){ 0, 2, 1 }) : x;
}

static ID no_windows(quern__graph *g, const quern_shape *s)
{
    char text[96];
    return quern__graph_fail(g, QUERN_SHAPE, "no window fits into %s", quern_shape_text(s, text, sizeof text));
}

/* ---- Conv1D ---- */

static int conv_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    int64_t filters = quern__config_int(l->config, "filters"), groups = quern__config_int(l->config, "groups"),
            kernel = one(l, "kernel_size", 0);
    int64_t width = in->rank == 3 ? in->dims[is(l, "data_format", "channels_first") ? 1 : 2] : 0;
    char text[96];
    (void)n;
    if (width < 1)
        return quern__fail(err, QUERN_SHAPE, l->name, "inputs %s are not (records, steps, channels)",
                           quern_shape_text(in, text, sizeof text));
    if (filters < 1 || kernel < 1 || groups < 1 || filters % groups || width % groups)
        return quern__fail(err, QUERN_INVALID, l->name, "%lld filters of %lld steps over %lld channels in %lld groups",
                           (long long)filters, (long long)kernel, (long long)width, (long long)groups);
    quern_shape shape = { .rank = 3, .dims = { kernel, width / groups, filters } }, bias = { .rank = 1, .dims = { filters } };
    if (!quern__layer_weight(l, "kernel", &shape, "kernel_initializer", err))
        return QUERN_NOMEM;
    if (quern__config_bool(l->config, "use_bias") && !quern__layer_weight(l, "bias", &bias, "bias_initializer", err))
        return QUERN_NOMEM;
    return QUERN_OK;
}

/* Group k: its channels by its part of the kernel. */
static ID group_of(const quern__layer *l, quern__graph *g, ID x, const frame *f, int64_t k, int64_t groups)
{
    const quern_shape *kernel = &l->weights[0]->shape;
    int64_t width = kernel->dims[1], filters = kernel->dims[2] / groups;
    ID w = quern__graph_variable(g, l->weights[0]);
    if (groups > 1) {
        x = quern__slice(g, x, 2, k * width, width);
        w = quern__slice(g, w, 2, k * filters, filters);
    }
    quern_shape matrix = { .rank = 2, .dims = { f->kernel * width, filters } },
                rows = { .rank = 3, .dims = { quern__shape_of(g, x)->dims[0], f->windows, f->kernel * width } };
    if (f->kernel > 1 || f->stride > 1 || f->before)
        x = quern__windows(g, x, f->windows, f->kernel, f->stride, f->dilation, f->before, 0);
    return quern__matmul(g, quern__reshape(g, x, &rows), quern__reshape(g, w, &matrix), false, false);
}

static ID conv_call(quern__layer *l, quern__graph *g, const ID *in, int n, bool training)
{
    ID x = turned(l, g, in[0]), parts[64];
    int64_t groups = quern__config_int(l->config, "groups");
    frame f;
    (void)n, (void)training;
    if (!x || !frame_of(l, "kernel_size", quern__shape_of(g, x)->dims[1], &f))
        return x ? no_windows(g, quern__shape_of(g, x)) : 0;
    if (groups > 64)
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "more than 64 groups");
    for (int64_t k = 0; k < groups; k++)
        parts[k] = group_of(l, g, x, &f, k, groups);
    ID y = quern__concat(g, parts, (int)groups, 2);
    if (l->n_weights > 1)
        y = quern__add2(g, y, quern__graph_variable(g, l->weights[1]));
    return quern__activation(g, json_object_get(l->config, "activation"), turned(l, g, y));
}

/* ---- pooling ---- */

enum { CONVOLUTION, LARGEST, AVERAGE };

static ID pool_call(quern__layer *l, quern__graph *g, const ID *in, int n, bool training)
{
    ID x = quern__shape_of(g, in[0])->rank == 3 ? turned(l, g, in[0]) : 0, y;
    frame f;
    (void)n, (void)training;
    if (!x || !frame_of(l, "pool_size", quern__shape_of(g, x)->dims[1], &f))
        return no_windows(g, quern__shape_of(g, in[0]));
    if (l->kind->extra == LARGEST)
        y = quern__reduce(g, QUERN__REDUCE_MAX, quern__windows(g, x, f.windows, f.kernel, f.stride, 1, f.before, -(double)FLT_MAX),
                          1u << 2, false);
    else { /* only steps that exist are counted */
        quern_shape steps = { .rank = 3, .dims = { 1, quern__shape_of(g, x)->dims[1], 1 } };
        ID ones = quern__broadcast(g, quern__graph_constant(g, 1, QUERN_FLOAT32), &steps);
        ID count =
            quern__reduce(g, QUERN__SUM, quern__windows(g, ones, f.windows, f.kernel, f.stride, 1, f.before, 0), 1u << 2, false);
        y = quern__reduce(g, QUERN__SUM, quern__windows(g, x, f.windows, f.kernel, f.stride, 1, f.before, 0), 1u << 2, false);
        y = quern__div2(g, y, count);
    }
    return turned(l, g, y);
}

static const quern__field conv_fields[] = { { "filters", QUERN__F_INT, NULL },
                                            { "kernel_size", QUERN__F_ANY, NULL },
                                            { "strides", QUERN__F_ANY, "1" },
                                            { "padding", QUERN__F_TEXT, "\"valid\"" },
                                            { "data_format", QUERN__F_TEXT, "\"channels_last\"" },
                                            { "dilation_rate", QUERN__F_ANY, "1" },
                                            { "groups", QUERN__F_INT, "1" },
                                            { "activation", QUERN__F_ACTIVATION, "\"linear\"" },
                                            { "use_bias", QUERN__F_BOOL, "true" },
                                            QUERN__KERNEL_AND_BIAS_FIELDS,
                                            { 0 } };
static const quern__field pool_fields[] = { { "pool_size", QUERN__F_ANY, "2" },
                                            { "strides", QUERN__F_ANY, "null" },
                                            { "padding", QUERN__F_TEXT, "\"valid\"" },
                                            { "data_format", QUERN__F_TEXT, "\"channels_last\"" },
                                            { 0 } };

#define LAYER(ID_, NAME, ALIASES, FIELDS, BUILD, CALL, EXTRA)            \
    const quern__class quern__layer_##ID_ = { .group = QUERN__LAYER,     \
                                              .name = NAME,              \
                                              .aliases = ALIASES,        \
                                              .module = "keras.layers",  \
                                              .fields = FIELDS,          \
                                              .build = BUILD,            \
                                              .call = CALL,              \
                                              .masks = QUERN__MASK_ENDS, \
                                              .extra = EXTRA }
LAYER(conv1d, "Conv1D", "Convolution1D", conv_fields, conv_build, conv_call, CONVOLUTION);
LAYER(max_pooling1d, "MaxPooling1D", "MaxPool1D", pool_fields, NULL, pool_call, LARGEST);
LAYER(average_pooling1d, "AveragePooling1D", "AvgPool1D", pool_fields, NULL, pool_call, AVERAGE);
