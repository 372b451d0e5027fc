/* Operations of keras.ops that a functional model holds: what Python's operators and functions made of its values, and what Keras
 * writes by itself where masks are made. They have no weights and pass no masks on; an argument may be a constant. */
#include "operations.h"

#include <stdio.h>
#include <string.h>

/* The numbers of a constant: a number, a list, or {"class_name": "__numpy__" or "__tensor__", "config": {"value": …}}. */
static json_t *numbers_of(json_t *given)
{
    const char *kind = quern__config_text(given, "class_name");
    bool array = kind && (!strcmp(kind, "__numpy__") || !strcmp(kind, "__tensor__"));
    return array ? json_object_get(json_object_get(given, "config"), "value") : given;
}

/* A constant array is a variable of the layer; its path tells which argument of which call it is. */
static quern__id constant_array(quern__layer *l, quern__graph *g, const char *name, json_t *numbers)
{
    char path[64];
    quern_error err = { 0 };
    snprintf(path, sizeof path, "%.20s %p", name, (void *)numbers);
    quern__variable *v = NULL;
    for (int k = 0; k < l->n_constants; k++)
        v = !strcmp(l->constants[k]->path, path) ? l->constants[k] : v;
    v = v ? v : quern__layer_constant(l, path, numbers, &err);
    return v ? quern__graph_variable(g, v) : quern__graph_fail(g, err.code, "the constant %s: %s", name, err.text);
}

quern__id quern__operand(quern__layer *l, quern__graph *g, const quern__id *in, int n, const char *name)
{
    quern__id x = quern__layer_argument(l, in, n, name, 0);
    json_t *numbers = numbers_of(json_object_get(l->context->options, name));
    if (x)
        return x;
    if (json_is_number(numbers))
        return quern__graph_constant(g, json_number_value(numbers), QUERN_FLOAT32);
    if (json_is_boolean(numbers))
        return quern__graph_constant(g, json_is_true(numbers), QUERN_FLOAT32);
    if (json_is_array(numbers))
        return constant_array(l, g, name, numbers);
    return quern__graph_fail(g, QUERN_UNSUPPORTED, "its argument %s is neither a value nor a constant of numbers", name);
}

static quern__id truth(quern__graph *g, quern__id x)
{
    return quern__binary(g, QUERN__NOT_EQUAL, x, quern__graph_constant(g, 0, QUERN_FLOAT32));
}

#define CALL(NAME) static quern__id NAME(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
#define X(NAME)    quern__operand(l, g, in, n, NAME)

/* row->extra: the function. */
CALL(of_two)
{
    (void)training;
    return quern__binary(g, l->kind->extra, X("x1"), X("x2"));
}

/* The activation of that name, with the arguments of the config. */
CALL(of_one)
{
    (void)training;
    quern__id x = X("x");
    json_t *spec = json_pack("{s:s, s:O}", "class_name", l->kind->name, "config", l->config);
    quern__id y = x ? quern__activation(g, spec, x) : 0;
    json_decref(spec);
    return y;
}

CALL(logical_or)
{
    (void)training;
    return quern__binary(g, QUERN__MAXIMUM, truth(g, X("x1")), truth(g, X("x2")));
}

CALL(logical_and)
{
    (void)training;
    return quern__mul2(g, truth(g, X("x1")), truth(g, X("x2")));
}

CALL(any)
{
    (void)n, (void)training;
    int rank = quern__shape_of(g, in[0])->rank;
    json_t *axis = json_object_get(l->config, "axis");
    uint32_t axes = json_is_null(axis) ? ~0u : quern__config_axes(l->config, "axis", rank);
    if (axes & 1)
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "any over the records is not in this version");
    return quern__reduce(g, QUERN__REDUCE_MAX, truth(g, in[0]), axes, quern__config_bool(l->config, "keepdims"));
}

CALL(concatenate)
{
    (void)training;
    int rank = quern__shape_of(g, in[0])->rank, axis = (int)quern__config_int(l->config, "axis");
    axis += axis < 0 ? rank : 0;
    if (axis < 1 || axis >= rank)
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "axis %d of values of %d axes is not in this version", axis, rank);
    return quern__concat(g, in, n, axis);
}

static const quern__call_arg two[] = { { "x1", false }, { "x2", false }, { 0 } };
static const quern__call_arg one[] = { { "x", false }, { 0 } };
static const quern__call_arg list[] = { { "xs", true }, { 0 } };
static const quern__field any_fields[] = { { "axis", QUERN__F_ANY, "null" }, { "keepdims", QUERN__F_BOOL, "false" }, { 0 } };
static const quern__field elu_fields[] = { { "alpha", QUERN__F_NUMBER, "1.0" }, { 0 } };
static const quern__field leaky_fields[] = { { "negative_slope", QUERN__F_NUMBER, "0.2" }, { 0 } };
static const quern__field last_axis[] = { { "axis", QUERN__F_INT, "-1" }, { 0 } };
static const quern__field first_axis[] = { { "axis", QUERN__F_INT, "0" }, { 0 } };

#define OPERATION(ID, NAME, MODULE, FIELDS, CALL_, TAKES, EXTRA)        \
    static const quern__class ID = { .group = QUERN__OPERATION,         \
                                     .name = NAME,                      \
                                     .aliases = "",                     \
                                     .module = "keras.src.ops." MODULE, \
                                     .fields = FIELDS,                  \
                                     .call = CALL_,                     \
                                     .call_args = TAKES,                \
                                     .extra = EXTRA,                    \
                                     .by_step = true }
OPERATION(op_add, "Add", "numpy", NULL, of_two, two, QUERN__ADD);
OPERATION(op_subtract, "Subtract", "numpy", NULL, of_two, two, QUERN__SUB);
OPERATION(op_multiply, "Multiply", "numpy", NULL, of_two, two, QUERN__MUL);
OPERATION(op_divide, "Divide", "numpy", NULL, of_two, two, QUERN__DIV);
OPERATION(op_true_divide, "TrueDivide", "numpy", NULL, of_two, two, QUERN__DIV);
OPERATION(op_maximum, "Maximum", "numpy", NULL, of_two, two, QUERN__MAXIMUM);
OPERATION(op_minimum, "Minimum", "numpy", NULL, of_two, two, QUERN__MINIMUM);
OPERATION(op_not_equal, "NotEqual", "numpy", NULL, of_two, two, QUERN__NOT_EQUAL);
OPERATION(op_logical_or, "LogicalOr", "numpy", NULL, logical_or, two, 0);
OPERATION(op_logical_and, "LogicalAnd", "numpy", NULL, logical_and, two, 0);
OPERATION(op_any, "Any", "numpy", any_fields, any, one, 0);
OPERATION(op_concatenate, "Concatenate", "numpy", first_axis, concatenate, list, 0);
OPERATION(op_relu, "Relu", "nn", NULL, of_one, one, 0);
OPERATION(op_relu6, "Relu6", "nn", NULL, of_one, one, 0);
OPERATION(op_elu, "Elu", "nn", elu_fields, of_one, one, 0);
OPERATION(op_leaky_relu, "LeakyRelu", "nn", leaky_fields, of_one, one, 0);
OPERATION(op_softmax, "Softmax", "nn", last_axis, of_one, one, 0);

const quern__class *const quern__operation_classes[] = {
    &op_add,     &op_subtract,  &op_multiply,   &op_divide,      &op_true_divide, &op_maximum,
    &op_minimum, &op_not_equal, &op_logical_or, &op_logical_and, &op_any,         &op_concatenate,
    &op_relu,    &op_relu6,     &op_elu,        &op_leaky_relu,  &op_softmax,     NULL
};
