/* locally_connected: LocallyConnected1D and 2D of Keras 2: a convolution with a kernel of its own at
 * each position. Keras 3 does not have these layers; files of Keras 2 do
 * (tf_keras.src.layers.locally_connected, implementation 1). */
#include "keras/ops/operations.h"
#include "spatial.h"

enum { most_positions = 1024, most_window = 256 };

/* Numbers of windows by axis, and of the kernel: positions (all windows) and elements of a window.
 */
typedef struct windows {
    int64_t size[2], stride[2], count[2], positions, elements;
} windows;

static bool find_windows(const quern__layer *l, const quern_shape *in, windows *w)
{
    int axes = l->kind->extra;
    *w = (windows){ { 1, 1 }, { 1, 1 }, { 1, 1 }, 1, 1 };
    for (int a = 0; a < axes; a++) {
        w->size[a] = quern__by_axis(l, "kernel_size", a, 0);
        w->stride[a] = quern__by_axis(l, "strides", a, 1);
        if (w->size[a] < 1 || w->size[a] > most_window || w->stride[a] < 1 ||
            in->dims[1 + a] < w->size[a])
            return false;
        w->count[a] = (in->dims[1 + a] - w->size[a]) / w->stride[a] + 1;
        if (w->count[a] > most_positions)
            return false;
        w->positions *= w->count[a];
        w->elements *= w->size[a];
    }
    return w->positions <= most_positions && w->elements <= most_window;
}

static int local_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    int axes = l->kind->extra;
    int64_t filters = quern__config_int(l->config, "filters");
    char text[96];
    windows w;
    (void)n;
    if (in->rank != axes + 2 || in->dims[axes + 1] < 1 || filters < 1)
        return quern__fail(err, QUERN_SHAPE, l->name,
                           "inputs %s are not (records, %d spatial axes, channels), or no filters",
                           quern_shape_text(in, text, sizeof text), axes);
    if (!find_windows(l, in, &w))
        return quern__fail(err, QUERN_UNSUPPORTED, l->name,
                           "inputs %s need from 1 to %d windows of at most %d elements",
                           quern_shape_text(in, text, sizeof text), most_positions, most_window);
    quern__kernel_form form = {
        .name = "kernel",
        .shape = { .rank = 3, .dims = { w.positions, w.elements * in->dims[axes + 1], filters } }
    };
    if (quern__config_bool(l->config, "use_bias")) {
        form.bias = (quern_shape){ .rank = axes + 1, .dims = { w.count[0], w.count[1] } };
        form.bias.dims[axes] = filters;
    }
    return quern__kernel_build(l, &form, err);
}

/* The windows as rows: (B, positions, elements times channels). */
static quern__id windows_of(quern__graph *g, quern__id x, const windows *w, int axes)
{
    quern__id parts[most_window];
    quern_shape rows = { .rank = 3, .dims = { quern__shape_of(g, x)->dims[0], w->positions } };
    int k = 0;
    for (int64_t i = 0; i < w->size[0]; i++)
        for (int64_t j = 0; j < w->size[1]; j++, k++) {
            parts[k] = quern__op_stride(g, x, 1, i, w->stride[0], w->count[0]);
            if (axes > 1)
                parts[k] = quern__op_stride(g, parts[k], 2, j, w->stride[1], w->count[1]);
        }
    quern__id all = quern__concat(g, parts, k, axes + 1);
    rows.dims[2] = all ? quern__shape_of(g, all)->dims[axes + 1] : 0;
    return quern__reshape(g, all, &rows);
}

static quern__id local_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                            bool training)
{
    int axes = l->kind->extra;
    const quern_shape s = *quern__shape_of(g, in[0]), *kernel = &l->kernel.shape;
    quern__id parts[most_positions];
    windows w;
    (void)n, (void)training;
    if (!find_windows(l, &s, &w) || w.positions != kernel->dims[0])
        return quern__graph_fail(g, QUERN_SHAPE, "the kernel has %lld positions, not %lld",
                                 (long long)kernel->dims[0], (long long)w.positions);
    quern__id x = windows_of(g, in[0], &w, axes), own = quern__layer_kernel(l, g);
    quern_shape row = { .rank = 2, .dims = { s.dims[0], kernel->dims[1] } },
                matrix = { .rank = 2, .dims = { kernel->dims[1], kernel->dims[2] } },
                one = { .rank = 3, .dims = { s.dims[0], 1, kernel->dims[2] } },
                out = { .rank = axes + 2, .dims = { s.dims[0], w.count[0], w.count[1] } };
    for (int64_t p = 0; p < w.positions; p++) {
        quern__id a = quern__reshape(g, quern__slice(g, x, 1, p, 1), &row),
                  b = quern__reshape(g, quern__slice(g, own, 0, p, 1), &matrix);
        parts[p] = quern__reshape(g, quern__matmul(g, a, b, false, false), &one);
    }
    out.dims[axes + 1] = kernel->dims[2];
    quern__id y = quern__reshape(g, quern__concat(g, parts, (int)w.positions, 1), &out);
    return quern__activation(g, json_object_get(l->config, "activation"),
                             quern__layer_biased(l, g, y));
}

static const quern__field local_fields[] = { { "filters", QUERN__F_INT, NULL },
                                             { "kernel_size", QUERN__F_SIZES, NULL },
                                             { "strides", QUERN__F_SIZES, "1" },
                                             { "padding", QUERN__F_ONLY_DEFAULT, "\"valid\"" },
                                             { "data_format", QUERN__F_ONLY_DEFAULT,
                                               "\"channels_last\"" },
                                             { "activation", QUERN__F_ACTIVATION, "\"linear\"" },
                                             { "use_bias", QUERN__F_BOOL, "true" },
                                             QUERN__KERNEL_AND_BIAS_FIELDS,
                                             { "implementation", QUERN__F_ONLY_DEFAULT, "1" },
                                             { 0 } };

#define LAYER(ID_, NAME, AXES)                                           \
    const quern__class quern__layer_##ID_ = { .group = QUERN__LAYER,     \
                                              .name = NAME,              \
                                              .aliases = "",             \
                                              .module = "keras.layers",  \
                                              .fields = local_fields,    \
                                              .build = local_build,      \
                                              .call = local_call,        \
                                              .masks = QUERN__MASK_ENDS, \
                                              .extra = AXES }
LAYER(locally_connected1d, "LocallyConnected1D", 1);
LAYER(locally_connected2d, "LocallyConnected2D", 2);
