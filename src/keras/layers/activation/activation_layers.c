/* activation_layers: Activation, and the activations that are layers because they have arguments or
 * weights: Softmax, ReLU, LeakyReLU, ELU, PReLU. */
#include "keras/layers/layer_rows.h"

#include <math.h>
#include <string.h>

static double number(const quern__layer *l, const char *key, double null)
{
    double v = quern__config_number(l->config, key);
    return isnan(v) ? null : v;
}

static quern__id activation_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                 bool training)
{
    (void)n, (void)training;
    return quern__activation(g, json_object_get(l->config, "activation"), in[0]);
}

static const quern__field activation_fields[] = { { "activation", QUERN__F_ACTIVATION, NULL },
                                                  { 0 } };
QUERN__LAYER_ROW(activation, "Activation", "", activation_fields, NULL, activation_call, PASSES);

/* Softmax over several axes together. */
static quern__id softmax_over(quern__graph *g, quern__id x, uint32_t mask)
{
    quern__id most = quern__stop_gradient(g, quern__reduce(g, QUERN__REDUCE_MAX, x, mask, true));
    quern__id e = quern__unary_of(g, QUERN__EXP, quern__sub2(g, x, most));
    return quern__div2(g, e, quern__reduce(g, QUERN__SUM, e, mask, true));
}

/* Softmax with a mask: -1e9 is added to masked elements, and their results become 0, in case all
 * are masked. */
static quern__id softmax_masked(quern__layer *l, quern__graph *g, quern__id x, quern__id mask)
{
    quern__context *pass = l->context, bare = { 0 };
    l->context = &bare;
    quern__id far = quern__select(g, mask, x, quern__graph_constant(g, -1e9, QUERN_FLOAT32));
    quern__id y = far ? l->kind->call(l, g, &far, 1, pass->training) : 0;
    l->context = pass;
    return quern__select(g, mask, y, quern__graph_constant(g, 0, QUERN_FLOAT32));
}

static quern__id softmax_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                              bool training)
{
    (void)n, (void)training;
    if (quern__layer_mask(l, 0))
        return softmax_masked(l, g, in[0], quern__layer_mask(l, 0));
    if (json_is_array(json_object_get(l->config, "axis")))
        return softmax_over(g, in[0],
                            quern__config_axes(l->config, "axis", quern__shape_of(g, in[0])->rank));
    json_t *spec = json_pack("{s:s, s:{s:O}}", "class_name", "softmax", "config", "axis",
                             json_object_get(l->config, "axis"));
    quern__id y = quern__activation(g, spec, in[0]);
    json_decref(spec);
    return y;
}

static quern__id relu_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    (void)n, (void)training;
    return quern__unary(g, QUERN__RELU, in[0], number(l, "negative_slope", 0),
                        number(l, "max_value", INFINITY), number(l, "threshold", 0));
}

static quern__id leaky_relu_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                 bool training)
{
    (void)n, (void)training;
    return quern__unary(g, QUERN__LEAKY_RELU, in[0], number(l, "negative_slope", 0.3), 0, 0);
}

static quern__id elu_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          bool training)
{
    (void)n, (void)training;
    return quern__unary(g, QUERN__ELU, in[0], number(l, "alpha", 1), 0, 0);
}

/* The slope has the shape of a record, with size 1 along the shared axes. */
static int prelu_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    quern_shape shape = { .rank = in->rank - 1 };
    json_t *axes = json_object_get(l->config, "shared_axes"), *axis;
    size_t k;
    (void)n;
    for (int i = 1; i < in->rank; i++)
        shape.dims[i - 1] = in->dims[i];
    json_array_foreach(axes, k, axis)
    {
        int64_t at = json_integer_value(axis);
        if (at < 1 || at >= in->rank)
            return quern__fail(err, QUERN_SHAPE, l->name, "shared_axes: axis %lld does not exist",
                               (long long)at);
        shape.dims[at - 1] = 1;
    }
    return quern__layer_weight(l, "alpha", &shape, "alpha_initializer", err) ? QUERN_OK
                                                                             : QUERN_NOMEM;
}

static quern__id prelu_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                            bool training)
{
    (void)n, (void)training;
    quern__id below = quern__unary_of(g, QUERN__RELU0, quern__scale(g, in[0], -1));
    quern__id slope = quern__mul2(g, quern__graph_variable(g, l->weights[0]), below);
    return quern__sub2(g, quern__unary_of(g, QUERN__RELU0, in[0]), slope);
}

static const quern__field axis_fields[] = { { "axis", QUERN__F_ANY, "-1" }, { 0 } };
static const quern__field relu_fields[] = { { "max_value", QUERN__F_NUMBER, "null" },
                                            { "negative_slope", QUERN__F_NUMBER, "0.0" },
                                            { "threshold", QUERN__F_NUMBER, "0.0" },
                                            { 0 } };
static const quern__field leaky_fields[] = { { "negative_slope", QUERN__F_NUMBER, "0.3" }, { 0 } };
static const quern__field elu_fields[] = { { "alpha", QUERN__F_NUMBER, "1.0" }, { 0 } };
static const quern__field prelu_fields[] = { { "alpha_initializer", QUERN__F_INITIALIZER,
                                               "\"zeros\"" },
                                             { "alpha_regularizer", QUERN__F_REGULARIZER, "null" },
                                             { "alpha_constraint", QUERN__F_CONSTRAINT, "null" },
                                             { "shared_axes", QUERN__F_ANY, "null" },
                                             { 0 } };

QUERN__LAYER_ROW(softmax, "Softmax", "", axis_fields, NULL, softmax_call, PASSES);
QUERN__LAYER_ROW(re_lu, "ReLU", "", relu_fields, NULL, relu_call, PASSES);
QUERN__LAYER_ROW(leaky_re_lu, "LeakyReLU", "", leaky_fields, NULL, leaky_relu_call, PASSES);
QUERN__LAYER_ROW(elu, "ELU", "", elu_fields, NULL, elu_call, PASSES);
QUERN__LAYER_ROW(p_re_lu, "PReLU", "", prelu_fields, prelu_build, prelu_call, PASSES);
