/* global_pooling: GlobalAveragePooling and GlobalMaxPooling: one value per channel, over all
 * spatial axes. */
#include "keras/layers/convolutional/spatial.h"
#include "keras/layers/layer_rows.h"

static quern__id over_space(quern__layer *l, quern__graph *g, quern__id x, int what)
{
    int rank = quern__shape_of(g, x)->rank, first = quern__channels_first(l) ? 2 : 1;
    uint32_t axes = 0;
    for (int i = 0; i < rank - 2; i++)
        axes |= 1u << (first + i);
    return quern__reduce(g, what, x, axes, quern__config_bool(l->config, "keepdims"));
}

/* The mean of the steps that a mask (B, T) selects. */
static quern__id masked_average(quern__layer *l, quern__graph *g, quern__id x, quern__id mask)
{
    quern_shape s = *quern__shape_of(g, x), spread = s;
    int axis = quern__channels_first(l) ? 2 : 1;
    bool keep = quern__config_bool(l->config, "keepdims");
    spread.dims[3 - axis] = 1;
    mask = quern__reshape(g, mask, &spread);
    quern__id zero = quern__graph_constant(g, 0, QUERN_FLOAT32);
    quern__id sum = quern__reduce(g, QUERN__SUM, quern__select(g, mask, x, zero), 1u << axis, keep);
    return quern__div2(g, sum, quern__reduce(g, QUERN__SUM, mask, 1u << axis, keep));
}

static quern__id global_average_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                     bool training)
{
    (void)training;
    quern__id given = quern__layer_argument(l, in, n, "mask", 0),
              mask = given ? given : quern__layer_mask(l, 0);
    if (mask && quern__shape_of(g, in[0])->rank == 3)
        return masked_average(l, g, in[0], mask);
    return over_space(l, g, in[0], QUERN__MEAN);
}

static quern__id global_max_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                 bool training)
{
    (void)n, (void)training;
    return over_space(l, g, in[0], QUERN__REDUCE_MAX);
}

static const quern__field pool_fields[] = { QUERN__DATA_FORMAT_FIELD,
                                            { "keepdims", QUERN__F_BOOL, "false" },
                                            { 0 } };
static const quern__call_arg masked_takes[] = { { "inputs", false }, { "mask", false }, { 0 } };

const quern__class quern__layer_global_average_pooling1d = { .group = QUERN__LAYER,
                                                             .name = "GlobalAveragePooling1D",
                                                             .aliases = "GlobalAvgPool1D",
                                                             .module = "keras.layers",
                                                             .fields = pool_fields,
                                                             .call = global_average_call,
                                                             .call_args = masked_takes };

QUERN__LAYER_ROW(global_average_pooling2d, "GlobalAveragePooling2D", "GlobalAvgPool2D", pool_fields,
                 NULL, global_average_call, ENDS);
QUERN__LAYER_ROW(global_average_pooling3d, "GlobalAveragePooling3D", "GlobalAvgPool3D", pool_fields,
                 NULL, global_average_call, ENDS);
QUERN__LAYER_ROW(global_max_pooling1d, "GlobalMaxPooling1D", "GlobalMaxPool1D", pool_fields, NULL,
                 global_max_call, ENDS);
QUERN__LAYER_ROW(global_max_pooling2d, "GlobalMaxPooling2D", "GlobalMaxPool2D", pool_fields, NULL,
                 global_max_call, ENDS);
QUERN__LAYER_ROW(global_max_pooling3d, "GlobalMaxPooling3D", "GlobalMaxPool3D", pool_fields, NULL,
                 global_max_call, ENDS);
