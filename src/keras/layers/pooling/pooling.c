/* pooling: windows of a fixed size, or adaptive pooling with a fixed output size.
 * https://keras.io/api/layers/pooling_layers/ */
#include "keras/layers/convolutional/spatial.h"

enum {
    AVERAGE = 8,
    ADAPTIVE = 16,
    AXES = 7
}; /* bits of a row's `extra`; the low bits are the number of spatial axes */

static bool check(const quern__layer *l, quern__graph *g, quern__id x)
{
    int axes = l->kind->extra & AXES;
    char text[96];
    if (!x || quern__shape_of(g, x)->rank == axes + 2)
        return x != 0;
    return quern__graph_fail(g, QUERN_SHAPE,
                             "inputs %s are not (records, %d spatial axes, channels)",
                             quern_shape_text(quern__shape_of(g, x), text, sizeof text), axes);
}

static quern__id pool_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    quern__id x = check(l, g, in[0]) ? quern__channels_last(l, g, in[0]) : 0;
    quern__frame f;
    (void)n, (void)training;
    if (!x || !quern__layer_frame(l, g, "pool_size", 0, l->kind->extra & AXES,
                                  quern__shape_of(g, x)->dims + 1, &f))
        return 0;
    return quern__channels_back(l, g, quern__pool(g, x, l->kind->extra & AVERAGE, &f));
}

/* Pooling with windows that divide each axis into output_size parts. */
static quern__id adaptive_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                               bool training)
{
    int axes = l->kind->extra & AXES;
    quern__id x =
        check(l, g, in[0]) && quern__sizes_fit(l, g, axes) ? quern__channels_last(l, g, in[0]) : 0;
    quern__frame f = { axes, { 1, 1, 1 }, { 0 }, { 1, 1, 1 }, { 0 }, { 1, 1, 1 } };
    (void)n, (void)training;
    for (int i = 0; x && i < axes; i++) {
        int64_t out = quern__by_axis(l, "output_size", i, 0),
                size = quern__shape_of(g, x)->dims[1 + i];
        f.out[3 - axes + i] = out;
        if (out < 1 || size < 1)
            return quern__graph_fail(g, QUERN_INVALID, "output_size must be at least 1");
    }
    return quern__channels_back(l, g, quern__pool(g, x, l->kind->extra & AVERAGE, &f));
}

static const quern__field pool_fields[] = { { "pool_size", QUERN__F_SIZES, "2" },
                                            { "strides", QUERN__F_SIZES, "null" },
                                            { "padding", QUERN__F_TEXT, "\"valid\"" },
                                            { "data_format", QUERN__F_TEXT, "\"channels_last\"" },
                                            { 0 } };
static const quern__field adaptive_fields[] = { { "output_size", QUERN__F_SIZES, NULL },
                                                { "data_format", QUERN__F_TEXT,
                                                  "\"channels_last\"" },
                                                { 0 } };

#define LAYER(ID_, NAME, ALIASES, FIELDS, CALL, EXTRA)                   \
    const quern__class quern__layer_##ID_ = { .group = QUERN__LAYER,     \
                                              .name = NAME,              \
                                              .aliases = ALIASES,        \
                                              .module = "keras.layers",  \
                                              .fields = FIELDS,          \
                                              .call = CALL,              \
                                              .masks = QUERN__MASK_ENDS, \
                                              .extra = EXTRA }
#define POOL(N)                                                                                 \
    LAYER(max_pooling##N##d, "MaxPooling" #N "D", "MaxPool" #N "D", pool_fields, pool_call, N); \
    LAYER(average_pooling##N##d, "AveragePooling" #N "D", "AvgPool" #N "D", pool_fields,        \
          pool_call, N | AVERAGE);                                                              \
    LAYER(adaptive_max_pooling##N##d, "AdaptiveMaxPooling" #N "D", "", adaptive_fields,         \
          adaptive_call, N | ADAPTIVE);                                                         \
    LAYER(adaptive_average_pooling##N##d, "AdaptiveAveragePooling" #N "D", "", adaptive_fields, \
          adaptive_call, N | ADAPTIVE | AVERAGE)
POOL(1);
POOL(2);
POOL(3);
