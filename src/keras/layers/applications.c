/* applications: layers that keras.applications defines: LayerScale and StochasticDepth of ConvNeXt,
 * CustomScaleLayer of InceptionResNetV2. Formulas: keras.src.applications of Keras 3.15. */
#include "layer_rows.h"

#include <string.h>

/* gamma (projection_dim), initialised with init_values. */
static int layer_scale_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    quern_shape shape = { .rank = 1, .dims = { quern__config_int(l->config, "projection_dim") } };
    (void)n;
    if (in->rank < 2 || in->dims[in->rank - 1] != shape.dims[0])
        return quern__fail(err, QUERN_SHAPE, l->name,
                           "projection_dim=%lld is not the size of the last axis",
                           (long long)shape.dims[0]);
    quern__variable *gamma = quern__layer_weight(l, "gamma", &shape, "gamma", err);
    for (int64_t i = 0; gamma && i < shape.dims[0]; i++)
        ((float *)gamma->data)[i] = (float)quern__config_number(l->config, "init_values");
    return gamma ? QUERN_OK : QUERN_NOMEM;
}

static quern__id layer_scale_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                  bool training)
{
    (void)n, (void)training;
    return quern__mul2(g, in[0], quern__graph_variable(g, l->weights[0]));
}

/* Drops whole records in training: all axes except the first share one random number. */
static quern__id stochastic_depth_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                       bool training)
{
    double rate = quern__config_number(l->config, "drop_path_rate");
    (void)n;
    return training && rate > 0
               ? quern__dropout(g, in[0], rate, quern__config_seed(l->config, l->seed), ~1u)
               : in[0];
}

/* x + scale y */
static quern__id custom_scale_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                   bool training)
{
    (void)training;
    return n == 2 ? quern__add2(g, in[0],
                                quern__scale(g, in[1], quern__config_number(l->config, "scale")))
                  : quern__graph_fail(g, QUERN_INVALID, "needs two inputs");
}

static const quern__field layer_scale_fields[] = { { "init_values", QUERN__F_NUMBER, NULL },
                                                   { "projection_dim", QUERN__F_INT, NULL },
                                                   { 0 } };
static const quern__field depth_fields[] = { { "drop_path_rate", QUERN__F_NUMBER, NULL }, { 0 } };
static const quern__field scale_fields[] = { { "scale", QUERN__F_NUMBER, NULL }, { 0 } };
const quern__class quern__layer_layer_scale = { .group = QUERN__LAYER,
                                                .name = "LayerScale",
                                                .aliases = "",
                                                .module = "keras.src.applications.convnext",
                                                .fields = layer_scale_fields,
                                                .build = layer_scale_build,
                                                .call = layer_scale_call,
                                                .by_step = true };
const quern__class quern__layer_stochastic_depth = { .group = QUERN__LAYER,
                                                     .name = "StochasticDepth",
                                                     .aliases = "",
                                                     .module = "keras.src.applications.convnext",
                                                     .fields = depth_fields,
                                                     .call = stochastic_depth_call,
                                                     .by_step = true };
const quern__class quern__layer_custom_scale_layer = {
    .group = QUERN__LAYER,
    .name = "CustomScaleLayer",
    .aliases = "",
    .module = "keras.src.applications.inception_resnet_v2",
    .fields = scale_fields,
    .call = custom_scale_call,
    .list = true,
    .by_step = true
};
