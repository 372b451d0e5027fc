/* layer_normalization: LayerNormalization and RMSNormalization. Over the last axes they are one op.
 * Over other axes, and with rms_scaling, they are small ops. */
#include "keras/keras.h"

#define ID  quern__id
#define ARG const ID *in, int n, bool training

/* The shape of gamma and beta: the normalised axes in order; `spread` has size 1 on the other axes.
 */
static int weight_shape(const quern__layer *l, const quern_shape *in, quern_shape *shape,
                        quern_shape *spread, quern_error *err)
{
    uint32_t axes = quern__config_axes(l->config, "axis", in->rank);
    *shape = (quern_shape){ 0 };
    *spread = *in;
    for (int i = 0; i < in->rank; i++) {
        bool own = axes >> i & 1;
        if (own && in->dims[i] < 1)
            return quern__fail(err, QUERN_SHAPE, l->name, "axis %d does not have a fixed size", i);
        spread->dims[i] = own ? in->dims[i] : 1;
        if (own)
            shape->dims[shape->rank++] = in->dims[i];
    }
    return shape->rank ? QUERN_OK : quern__fail(err, QUERN_SHAPE, l->name, "axis is empty");
}

/* Whether the axes are the last ones, without a gap. */
static bool are_last(uint32_t axes, int rank)
{
    uint32_t all = (1u << rank) - 1, lowest = axes & -axes;
    return axes == (all & ~(lowest - 1));
}

/* Merges the last axes: (…, their product). */
static quern_shape joined(const quern_shape *s, int axes)
{
    quern_shape out = { .rank = s->rank - axes + 1 };
    for (int i = 0; i < out.rank - 1; i++)
        out.dims[i] = s->dims[i];
    out.dims[out.rank - 1] = 1;
    for (int i = out.rank - 1; i < s->rank; i++)
        out.dims[out.rank - 1] *= s->dims[i];
    return out;
}

/* Normalises over any axes with small ops; gamma and beta have the shape `spread`. */
static ID over_axes(quern__graph *g, ID x, uint32_t axes, ID gamma, ID beta, bool centred,
                    bool by_variance, double epsilon)
{
    ID d = centred || by_variance ? quern__sub2(g, x, quern__reduce(g, QUERN__MEAN, x, axes, true))
                                  : x;
    ID variance = quern__reduce(g, QUERN__MEAN, quern__square(g, d), axes, true);
    ID inverse = quern__unary_of(g, QUERN__RSQRT, quern__shift(g, variance, epsilon));
    ID y = quern__mul2(g, centred ? d : x, inverse);
    y = gamma ? quern__mul2(g, y, gamma) : y;
    return beta ? quern__add2(g, y, beta) : y;
}

static ID normalised(quern__layer *l, quern__graph *g, ID x, quern__variable *gamma,
                     quern__variable *beta, bool centred, bool by_variance)
{
    quern_shape s = *quern__shape_of(g, x), shape, spread;
    quern_error err = { 0 };
    uint32_t axes = quern__config_axes(l->config, "axis", s.rank);
    double epsilon = quern__config_number(l->config, "epsilon");
    if (weight_shape(l, &s, &shape, &spread, &err) < 0)
        return quern__graph_fail(g, err.code, "%s", err.text);
    if (l->context->stepping && axes & 2)
        l->context->stepping->refused = l->name;
    bool fused = are_last(axes, s.rank) && !by_variance;
    quern_shape rows = joined(&s, fused ? shape.rank : 1),
                one = { .rank = 1, .dims = { rows.dims[rows.rank - 1] } };
    ID weights[2] = {
        gamma ? quern__reshape(g, quern__graph_variable(g, gamma), fused ? &one : &spread) : 0,
        beta ? quern__reshape(g, quern__graph_variable(g, beta), fused ? &one : &spread) : 0
    };
    if (!fused)
        return over_axes(g, x, axes, weights[0], weights[1], centred, by_variance, epsilon);
    return quern__reshape(
        g,
        quern__normalize(g, quern__reshape(g, x, &rows), weights[0], weights[1], centred, epsilon),
        &s);
}

/* ---- LayerNormalization ---- */

static int layer_normalization_build(quern__layer *l, const quern_shape *in, int n,
                                     quern_error *err)
{
    quern_shape shape, spread;
    bool rms = quern__config_bool(l->config, "rms_scaling");
    (void)n;
    int status = weight_shape(l, in, &shape, &spread, err);
    if (status < 0)
        return status;
    if ((quern__config_bool(l->config, "scale") || rms) &&
        !quern__layer_weight(l, "gamma", &shape, "gamma_initializer", err))
        return QUERN_NOMEM;
    if (quern__config_bool(l->config, "center") && !rms &&
        !quern__layer_weight(l, "beta", &shape, "beta_initializer", err))
        return QUERN_NOMEM;
    return QUERN_OK;
}

static ID layer_normalization_call(quern__layer *l, quern__graph *g, ARG)
{
    (void)n, (void)training;
    bool rms = quern__config_bool(l->config, "rms_scaling"),
         scale = quern__config_bool(l->config, "scale") || rms;
    quern__variable *gamma = scale ? l->weights[0] : NULL,
                    *beta = l->n_weights > scale ? l->weights[scale] : NULL;
    return normalised(l, g, in[0], gamma, beta, !rms, rms);
}

/* ---- RMSNormalization ---- */

static int rms_normalization_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    quern_shape shape, spread;
    (void)n;
    int status = weight_shape(l, in, &shape, &spread, err);
    quern__variable *scale = status < 0 ? NULL : quern__layer_weight(l, "scale", &shape, "", err);
    if (scale)
        for (int64_t i = 0; i < quern_shape_count(&shape); i++)
            ((float *)scale->data)[i] = 1;
    return scale ? QUERN_OK : status < 0 ? status : QUERN_NOMEM;
}

static ID rms_normalization_call(quern__layer *l, quern__graph *g, ARG)
{
    (void)n, (void)training;
    return normalised(l, g, in[0], l->weights[0], NULL, false, false);
}

static const quern__field layer_fields[] = {
    { "axis", QUERN__F_ANY, "-1" },
    { "epsilon", QUERN__F_NUMBER, "0.001" },
    { "center", QUERN__F_BOOL, "true" },
    { "scale", QUERN__F_BOOL, "true" },
    { "beta_initializer", QUERN__F_INITIALIZER, "\"zeros\"" },
    { "gamma_initializer", QUERN__F_INITIALIZER, "\"ones\"" },
    { "beta_regularizer", QUERN__F_REGULARIZER, "null" },
    { "gamma_regularizer", QUERN__F_REGULARIZER, "null" },
    { "beta_constraint", QUERN__F_CONSTRAINT, "null" },
    { "gamma_constraint", QUERN__F_CONSTRAINT, "null" },
    { "rms_scaling", QUERN__F_BOOL, "false" },
    { 0 }
};
static const quern__field rms_fields[] = { { "axis", QUERN__F_ANY, "-1" },
                                           { "epsilon", QUERN__F_NUMBER, "1e-6" },
                                           { 0 } };

const quern__class quern__layer_layer_normalization = { .group = QUERN__LAYER,
                                                        .name = "LayerNormalization",
                                                        .aliases = "",
                                                        .module = "keras.layers",
                                                        .fields = layer_fields,
                                                        .build = layer_normalization_build,
                                                        .call = layer_normalization_call,
                                                        .masks = QUERN__MASK_PASSES,
                                                        .by_step = true };
const quern__class quern__layer_rms_normalization = { .group = QUERN__LAYER,
                                                      .name = "RMSNormalization",
                                                      .aliases = "",
                                                      .module = "keras.layers",
                                                      .fields = rms_fields,
                                                      .build = rms_normalization_build,
                                                      .call = rms_normalization_call,
                                                      .masks = QUERN__MASK_PASSES,
                                                      .by_step = true };
