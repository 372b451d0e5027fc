/* Operations of keras.ops that Keras writes into functional models by itself: where masks are made and merged. They are layers
 * without weights; a number among the arguments of their call is one of its options. */
#include "layers.h"

#include <string.h>

/* The second argument: a value, or a number. */
static quern__id second(quern__layer *l, quern__graph *g, const quern__id *in, int n)
{
    quern__id x = quern__layer_argument(l, in, n, "x2", 0);
    json_t *number = json_object_get(l->context->options, "x2");
    if (!x && json_is_number(number))
        x = quern__graph_constant(g, json_number_value(number), QUERN_FLOAT32);
    return x ? x : quern__graph_fail(g, QUERN_INVALID, "takes two arguments");
}

static quern__id truth(quern__graph *g, quern__id x)
{
    return quern__binary(g, QUERN__NOT_EQUAL, x, quern__graph_constant(g, 0, QUERN_FLOAT32));
}

#define CALL(NAME) static quern__id NAME(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)

CALL(not_equal)
{
    (void)training;
    return quern__binary(g, QUERN__NOT_EQUAL, in[0], second(l, g, in, n));
}

CALL(logical_or)
{
    (void)training;
    return quern__binary(g, QUERN__MAXIMUM, truth(g, in[0]), truth(g, second(l, g, in, n)));
}

CALL(logical_and)
{
    (void)training;
    return quern__mul2(g, truth(g, in[0]), truth(g, second(l, g, in, n)));
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

static const quern__takes two[] = { { "x1", false }, { "x2", false }, { 0 } };
static const quern__takes one[] = { { "x", false }, { 0 } };
static const quern__field any_fields[] = { { "axis", QUERN__F_ANY, "null" }, { "keepdims", QUERN__F_BOOL, "false" }, { 0 } };

#define OPERATION(ID, NAME, FIELDS, CALL_, TAKES)                             \
    const quern__class quern__layer_##ID = { .group = QUERN__LAYER,           \
                                             .name = NAME,                    \
                                             .aliases = "",                   \
                                             .module = "keras.src.ops.numpy", \
                                             .fields = FIELDS,                \
                                             .call = CALL_,                   \
                                             .takes = TAKES,                  \
                                             .by_step = true }
OPERATION(not_equal, "NotEqual", NULL, not_equal, two);
OPERATION(logical_or, "LogicalOr", NULL, logical_or, two);
OPERATION(logical_and, "LogicalAnd", NULL, logical_and, two);
OPERATION(any, "Any", any_fields, any, one);
