/* batch_normalization: BatchNormalization and GroupNormalization.
 * https://keras.io/api/layers/normalization_layers/
 *
 * BatchNormalization (Ioffe and Szegedy, 2015) has gamma, beta, and two moving statistics of the
 * size of the axis, which are weights but not trained. In training it uses the moments of the
 * batch: one op (ops/batch_normalize.c) for the last axis without a mask, small ops otherwise. In
 * prediction, or if it is frozen, it uses the moving statistics.
 *
 * GroupNormalization (Wu and He, 2018) splits the axis into groups (B, …, groups, C / groups, …),
 * and normalizes each record and group on its own. */
#include "keras/keras.h"

#include <math.h>

typedef quern__id id;

/* The single axis that `axis` names; -1: it does not exist, or its size is not fixed. */
static int axis_of(const quern__layer *l, const quern_shape *s)
{
    json_t *v = json_object_get(l->config, "axis");
    v = json_is_array(v) && json_array_size(v) == 1 ? json_array_get(v, 0) : v;
    int64_t axis = json_is_integer(v) ? json_integer_value(v) : s->rank;
    axis += axis < 0 ? s->rank : 0;
    return axis < 1 || axis >= s->rank || s->dims[axis] < 1 ? -1 : (int)axis;
}

/* Adds gamma and beta when scale and center are set. */
static int scale_and_center(quern__layer *l, int64_t width, quern_error *err)
{
    quern_shape shape = { .rank = 1, .dims = { width } };
    if (quern__config_bool(l->config, "scale") &&
        !quern__layer_weight(l, "gamma", &shape, "gamma_initializer", err))
        return QUERN_NOMEM;
    if (quern__config_bool(l->config, "center") &&
        !quern__layer_weight(l, "beta", &shape, "beta_initializer", err))
        return QUERN_NOMEM;
    return QUERN_OK;
}

/* The scale; 0: the layer has none. */
static id gamma_of(const quern__layer *l, quern__graph *g)
{
    return quern__config_bool(l->config, "scale") ? quern__graph_variable(g, l->weights[0]) : 0;
}

/* The offset; 0: the layer has none. */
static id beta_of(const quern__layer *l, quern__graph *g)
{
    bool scale = quern__config_bool(l->config, "scale");
    return quern__config_bool(l->config, "center") ? quern__graph_variable(g, l->weights[scale])
                                                   : 0;
}

/* Broadcasts a row along `axis` to that shape. */
static id along(quern__graph *g, id row, const quern_shape *s, int axis)
{
    quern_shape spread = { .rank = s->rank };
    for (int i = 0; i < s->rank; i++)
        spread.dims[i] = i == axis ? s->dims[axis] : 1;
    return row ? quern__reshape(g, row, &spread) : 0;
}

/* ---- BatchNormalization ---- */

/* Adds gamma, beta, moving mean and moving variance, in Keras's order. */
static int batch_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    int axis = axis_of(l, in);
    (void)n;
    if (axis < 0)
        return quern__fail(err, QUERN_SHAPE, l->name,
                           "axis does not name one of the %d input axes, with a fixed size",
                           in->rank);
    int status = scale_and_center(l, in->dims[axis], err);
    quern_shape shape = { .rank = 1, .dims = { in->dims[axis] } };
    quern__variable *mean =
        status < 0 ? NULL
                   : quern__layer_weight(l, "moving_mean", &shape, "moving_mean_initializer", err);
    quern__variable *variance =
        mean ? quern__layer_weight(l, "moving_variance", &shape, "moving_variance_initializer", err)
             : NULL;
    if (status < 0)
        return status;
    if (!variance)
        return QUERN_NOMEM;
    mean->trainable = variance->trainable = false;
    return QUERN_OK;
}

/* moving = moving * momentum + batch * (1 - momentum), after the update by an earlier call of the
 * layer in this graph. */
static void move(quern__layer *l, quern__graph *g, quern__variable *v, id batch)
{
    double momentum = quern__config_number(l->config, "momentum");
    id before = quern__assigned(g, v), old = before ? before : quern__graph_variable(g, v);
    quern_shape row = v->shape;
    id x = quern__add2(g, quern__scale(g, old, momentum),
                       quern__scale(g, quern__reshape(g, batch, &row), 1 - momentum));
    quern__assign(g, v, x);
}

/* (x - mean) / sqrt(variance + epsilon) * gamma + beta, along the axis. */
static id normalised(quern__layer *l, quern__graph *g, id x, id mean, id variance,
                     const quern_shape *s, int axis)
{
    id gamma = along(g, gamma_of(l, g), s, axis), beta = along(g, beta_of(l, g), s, axis);
    id factor = quern__unary_of(
        g, QUERN__RSQRT, quern__shift(g, variance, quern__config_number(l->config, "epsilon")));
    factor = gamma ? quern__mul2(g, factor, gamma) : factor;
    id term = quern__mul2(g, mean, factor);
    term = beta ? quern__sub2(g, beta, term) : quern__scale(g, term, -1);
    return quern__add2(g, quern__mul2(g, x, factor), term);
}

/* Mean and variance of the unmasked elements (mask 0: of all). */
static void moments(quern__graph *g, id x, id mask, int axis, id *mean, id *variance)
{
    quern_shape s = *quern__shape_of(g, x), one = s;
    uint32_t axes = ((1u << s.rank) - 1) & ~(1u << axis);
    id ones = quern__broadcast(g, quern__graph_constant(g, 1, QUERN_FLOAT32), &s);
    if (mask) {
        one.dims[s.rank - 1] = 1;
        ones = quern__mul2(g, ones, quern__reshape(g, mask, &one));
    }
    id count = quern__reduce(g, QUERN__SUM, ones, axes, true),
       zero = quern__graph_constant(g, 0, QUERN_FLOAT32);
    *mean = quern__div2(
        g, quern__reduce(g, QUERN__SUM, quern__select(g, ones, x, zero), axes, true), count);
    id gap = quern__select(g, ones, quern__sub2(g, x, *mean), zero);
    *variance =
        quern__div2(g, quern__reduce(g, QUERN__SUM, quern__square(g, gap), axes, true), count);
}

/* Keras 2 normalizes images with TensorFlow's fused kernel, whose variance for the moving average is
 * that of a sample: N / (N - 1) times the variance of the N elements of a channel
 * (tensorflow/core/kernels/fused_batch_norm_op.cc). */
static id sample_variance(quern__graph *g, id variance, const quern_shape *s, int axis)
{
    quern_shape records = { .rank = 1, .dims = { s->dims[0] } };
    double each = 1;
    for (int k = 1; k < s->rank; k++)
        each *= k == axis ? 1 : (double)s->dims[k];
    id one = quern__graph_constant(g, 1, QUERN_FLOAT32),
       count = quern__scale(
           g, quern__reduce(g, QUERN__SUM, quern__broadcast(g, one, &records), ~0u, false), each),
       less = quern__binary(g, QUERN__MAXIMUM, quern__sub2(g, count, one), one);
    return quern__mul2(g, variance, quern__div2(g, count, less));
}

static id batch_call(quern__layer *l, quern__graph *g, const id *in, int n, bool training)
{
    quern_shape s = *quern__shape_of(g, in[0]);
    int axis = axis_of(l, &s);
    id given = quern__layer_argument(l, in, n, "mask", 0),
       mask = given ? given : quern__layer_mask(l, 0), mean, variance, y;
    quern__variable *moving_mean = l->weights[l->n_weights - 2],
                    *moving_variance = l->weights[l->n_weights - 1];
    if (axis < 0)
        return quern__graph_fail(g, QUERN_SHAPE, "axis does not name an input axis");
    if (!training || !l->trainable)
        return normalised(l, g, in[0], along(g, quern__graph_variable(g, moving_mean), &s, axis),
                          along(g, quern__graph_variable(g, moving_variance), &s, axis), &s, axis);
    if (mask && quern__shape_of(g, mask)->rank != s.rank - 1)
        return quern__graph_fail(g, QUERN_SHAPE, "the mask must have one axis less than the input");
    /* the moments of the batch, and the result */
    if (axis == s.rank - 1 && !mask) {
        id both;
        y = quern__batch_normalize(g, in[0], gamma_of(l, g), beta_of(l, g),
                                   quern__config_number(l->config, "epsilon"), &both);
        if (!y)
            return 0;
        mean = quern__slice(g, both, 0, 0, 1);
        variance = quern__slice(g, both, 0, 1, 1);
    } else {
        moments(g, in[0], mask, axis, &mean, &variance);
        y = normalised(l, g, in[0], mean, variance, &s, axis);
    }
    /* the moving statistics do not have a gradient */
    move(l, g, moving_mean, quern__stop_gradient(g, mean));
    if (l->keras_2 && s.rank >= 4 && !mask)
        variance = sample_variance(g, variance, &s, axis);
    move(l, g, moving_variance, quern__stop_gradient(g, variance));
    return y;
}

/* ---- GroupNormalization ---- */

/* The number of groups; -1 in the config: one for each channel. */
static int64_t groups_of(const quern__layer *l, int64_t width)
{
    int64_t groups = quern__config_int(l->config, "groups");
    return groups == -1 ? width : groups;
}

static int group_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    int axis = axis_of(l, in);
    (void)n;
    if (axis < 0)
        return quern__fail(err, QUERN_SHAPE, l->name,
                           "axis does not name one of the %d input axes, with a fixed size",
                           in->rank);
    int64_t groups = groups_of(l, in->dims[axis]);
    if (groups < 1 || in->dims[axis] % groups || in->rank + 1 > QUERN_MAX_RANK)
        return quern__fail(err, QUERN_INVALID, l->name,
                           "%lld channels do not divide into %lld groups",
                           (long long)in->dims[axis], (long long)groups);
    return scale_and_center(l, in->dims[axis], err);
}

/* The mean over all axes except batch and groups, in two reductions over adjacent axes. */
static id group_mean(quern__graph *g, id x, int axis)
{
    int rank = quern__shape_of(g, x)->rank;
    uint32_t behind = ((1u << rank) - 1) & ~((2u << axis) - 1), before = ((1u << axis) - 1) & ~1u;
    x = quern__reduce(g, QUERN__MEAN, x, behind, true);
    return before ? quern__reduce(g, QUERN__MEAN, x, before, true) : x;
}

static id group_call(quern__layer *l, quern__graph *g, const id *in, int n, bool training)
{
    quern_shape s = *quern__shape_of(g, in[0]), apart = { .rank = s.rank + 1 },
                spread = { .rank = s.rank + 1 };
    int axis = axis_of(l, &s);
    (void)n, (void)training;
    if (axis < 0)
        return quern__graph_fail(g, QUERN_SHAPE, "axis does not name an input axis");
    int64_t groups = groups_of(l, s.dims[axis]);
    /* the shape with the axis split in two, and the shape in which gamma and beta broadcast */
    for (int i = 0; i < apart.rank; i++) {
        if (i == axis)
            apart.dims[i] = groups;
        else
            apart.dims[i] = i == axis + 1 ? s.dims[axis] / groups : s.dims[i < axis ? i : i - 1];
        spread.dims[i] = i == axis || i == axis + 1 ? apart.dims[i] : 1;
    }
    id x = quern__reshape(g, in[0], &apart), gap = quern__sub2(g, x, group_mean(g, x, axis));
    id variance = group_mean(g, quern__square(g, gap), axis);
    id inverse = quern__unary_of(
        g, QUERN__RSQRT, quern__shift(g, variance, quern__config_number(l->config, "epsilon")));
    id gamma = gamma_of(l, g), beta = beta_of(l, g), y = quern__mul2(g, gap, inverse);
    y = gamma ? quern__mul2(g, y, quern__reshape(g, gamma, &spread)) : y;
    y = beta ? quern__add2(g, y, quern__reshape(g, beta, &spread)) : y;
    return quern__reshape(g, y, &s);
}

#define BEGINNING                                                                 \
    { "epsilon", QUERN__F_NUMBER, "0.001" }, { "center", QUERN__F_BOOL, "true" }, \
        { "scale", QUERN__F_BOOL, "true" },                                       \
        { "beta_initializer", QUERN__F_INITIALIZER, "\"zeros\"" },                \
        { "gamma_initializer", QUERN__F_INITIALIZER, "\"ones\"" },
#define LIMITS                                                 \
    { "beta_regularizer", QUERN__F_REGULARIZER, "null" },      \
        { "gamma_regularizer", QUERN__F_REGULARIZER, "null" }, \
        { "beta_constraint", QUERN__F_CONSTRAINT, "null" },    \
        { "gamma_constraint", QUERN__F_CONSTRAINT, "null" },
static const quern__field batch_fields[] = {
    { "axis", QUERN__F_ANY, "-1" },
    { "momentum", QUERN__F_NUMBER, "0.99" },
    BEGINNING{ "moving_mean_initializer", QUERN__F_INITIALIZER, "\"zeros\"" },
    { "moving_variance_initializer", QUERN__F_INITIALIZER, "\"ones\"" },
    LIMITS{ "renorm", QUERN__F_ONLY_DEFAULT, "false" },
    { "renorm_clipping", QUERN__F_ONLY_DEFAULT, "null" },
    { "renorm_momentum", QUERN__F_NUMBER, "0.99" },
    { "synchronized", QUERN__F_BOOL, "false" },
    { 0 }
};
static const quern__field group_fields[] = { { "groups", QUERN__F_INT, "32" },
                                             { "axis", QUERN__F_ANY, "-1" },
                                             BEGINNING LIMITS{ 0 } };
static const quern__call_arg batch_takes[] = { { "inputs", false }, { "mask", false }, { 0 } };

const quern__class quern__layer_batch_normalization = { .group = QUERN__LAYER,
                                                        .name = "BatchNormalization",
                                                        .aliases = "",
                                                        .module = "keras.layers",
                                                        .fields = batch_fields,
                                                        .build = batch_build,
                                                        .call = batch_call,
                                                        .call_args = batch_takes,
                                                        .masks = QUERN__MASK_PASSES,
                                                        .by_step = true };
const quern__class quern__layer_group_normalization = { .group = QUERN__LAYER,
                                                        .name = "GroupNormalization",
                                                        .aliases = "",
                                                        .module = "keras.layers",
                                                        .fields = group_fields,
                                                        .build = group_build,
                                                        .call = group_call,
                                                        .masks = QUERN__MASK_PASSES };
