/* operations: operations of keras.ops in a functional model: those that the program writes with
 * Python's operators and functions, and those that Keras inserts for masks. This file has operands,
 * axes, and the table of all rows. */
#include "operations.h"

#include <stdio.h>
#include <string.h>

const quern__call_arg quern__args_x[] = { { "x", false }, { 0 } };
const quern__call_arg quern__args_x1_x2[] = { { "x1", false }, { "x2", false }, { 0 } };
const quern__call_arg quern__args_xs[] = { { "xs", true }, { 0 } };
const quern__field quern__fields_axis_keepdims[] = { { "axis", QUERN__F_ANY, "null" },
                                                     { "keepdims", QUERN__F_BOOL, "false" },
                                                     { 0 } };
const quern__field quern__fields_last_axis[] = { { "axis", QUERN__F_INT, "-1" }, { 0 } };

/* ---- operands ---- */

json_t *quern__op_numbers(json_t *given)
{
    bool array = quern__is_class(given, "__numpy__") || quern__is_class(given, "__tensor__");
    return array ? json_object_get(json_object_get(given, "config"), "value") : given;
}

/* A constant array becomes a variable of the layer. Its path names the argument and the call. */
static quern__id constant_array(quern__layer *l, quern__graph *g, const char *name, json_t *numbers)
{
    char path[64];
    quern_error err = { 0 };
    snprintf(path, sizeof path, "%.20s %p", name, (void *)numbers);
    quern__variable *v = NULL;
    for (int k = 0; k < l->n_constants; k++)
        v = !strcmp(l->constants[k]->path, path) ? l->constants[k] : v;
    if (!v)
        v = quern__layer_constant(l, path, numbers, &err);
    return v ? quern__graph_variable(g, v)
             : quern__graph_fail(g, err.code, "the constant %s: %s", name, err.text);
}

int quern__op_integers(const quern__layer *l, quern__graph *g, const char *key, int64_t *out,
                       int most)
{
    json_t *given = json_object_get(l->config, key), *v;
    size_t k;
    int count = 0;
    if (json_is_integer(given)) {
        out[0] = json_integer_value(given);
        return 1;
    }
    if (!json_is_array(given) || json_array_size(given) > (size_t)most) {
        quern__graph_fail(g, QUERN_UNSUPPORTED,
                          "%s is not an integer or a list of at most %d integers", key, most);
        return -1;
    }
    json_array_foreach(given, k, v) out[count++] = json_integer_value(v);
    return count;
}

quern__id quern__op_number(quern__graph *g, double number)
{
    return quern__graph_constant(g, number, QUERN_FLOAT32);
}

quern__id quern__operand_or_none(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                 const char *name)
{
    quern__id x = quern__layer_argument(l, in, n, name, 0);
    json_t *numbers = quern__op_numbers(json_object_get(l->context->options, name));
    if (x || !numbers || json_is_null(numbers))
        return x;
    if (json_is_number(numbers))
        return quern__op_number(g, json_number_value(numbers));
    if (json_is_boolean(numbers))
        return quern__op_number(g, json_is_true(numbers));
    if (json_is_array(numbers))
        return constant_array(l, g, name, numbers);
    return quern__graph_fail(g, QUERN_UNSUPPORTED,
                             "the argument %s is neither a tensor nor a constant of numbers", name);
}

quern__id quern__operand(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                         const char *name)
{
    quern__id x = quern__operand_or_none(l, g, in, n, name);
    return x ? x : quern__graph_fail(g, QUERN_INVALID, "the argument %s is missing", name);
}

/* ---- axes ---- */

int quern__op_axis(const quern__layer *l, quern__graph *g, const char *key, int rank)
{
    json_t *given = json_object_get(l->config, key);
    int64_t axis = json_integer_value(given);
    axis += axis < 0 ? rank : 0;
    if (json_is_integer(given) && axis >= 0 && axis < rank)
        return (int)axis;
    quern__graph_fail(g, QUERN_SHAPE, "%s=%lld of a tensor of %d axes", key,
                      (long long)json_integer_value(given), rank);
    return -1;
}

uint32_t quern__op_axes(const quern__layer *l, quern__graph *g, const char *key, int rank)
{
    json_t *given = json_object_get(l->config, key), *axis;
    size_t k;
    bool fits = json_is_null(given) || json_is_integer(given) || json_is_array(given);
    json_array_foreach(given, k, axis) fits = fits && json_is_integer(axis) &&
                                              json_integer_value(axis) >= -rank &&
                                              json_integer_value(axis) < rank;
    if (json_is_integer(given))
        fits = json_integer_value(given) >= -rank && json_integer_value(given) < rank;
    if (!fits)
        quern__graph_fail(g, QUERN_SHAPE, "%s does not fit a tensor of %d axes", key, rank);
    if (!fits || json_is_null(given))
        return fits ? ~0u : 0;
    return quern__config_axes(l->config, key, rank);
}

bool quern__op_closed(quern__graph *g, quern__id x, int axis, const char *what)
{
    if (x && axis >= 0 && quern__shape_of(g, x)->dims[axis] >= 0)
        return true;
    if (x && axis >= 0)
        quern__graph_fail(g, QUERN_UNSUPPORTED,
                          "%s over the records of a batch is not in this version", what);
    return false;
}

/* ---- small graphs ---- */

quern__id quern__op_truth(quern__graph *g, quern__id x)
{
    return quern__binary(g, QUERN__NOT_EQUAL, x, quern__op_number(g, 0));
}

quern__id quern__op_expand(quern__graph *g, quern__id x, int axis)
{
    if (!x)
        return 0;
    quern_shape s = *quern__shape_of(g, x);
    if (s.rank == QUERN_MAX_RANK || axis > s.rank)
        return quern__graph_fail(g, QUERN_SHAPE, "a tensor has at most %d axes", QUERN_MAX_RANK);
    memmove(s.dims + axis + 1, s.dims + axis, (size_t)(s.rank - axis) * sizeof *s.dims);
    s.dims[axis] = 1;
    s.rank++;
    return quern__reshape(g, x, &s);
}

quern__id quern__op_drop(quern__graph *g, quern__id x, int axis)
{
    quern_shape s = x ? *quern__shape_of(g, x) : (quern_shape){ 0 };
    if (!x)
        return 0;
    memmove(s.dims + axis, s.dims + axis + 1, (size_t)(s.rank - axis - 1) * sizeof *s.dims);
    s.rank--;
    return quern__reshape(g, x, &s);
}

quern__id quern__op_move_axis(quern__graph *g, quern__id x, int from, int to)
{
    int order[QUERN_MAX_RANK], n = 0, rank = quern__op_rank(g, x);
    if (!x || from == to)
        return x;
    for (int i = 0; i < rank; i++) {
        if (n == to)
            order[n++] = from;
        if (i != from)
            order[n++] = i;
    }
    if (n < rank)
        order[n] = from;
    return quern__transpose(g, x, order);
}

/* ---- the table ---- */

#define OPERATION(ID) extern const quern__class quern__operation_##ID;
#include "operation_catalog.def"
#undef OPERATION

#define OPERATION(ID) &quern__operation_##ID,
const quern__class *const quern__operation_classes[] = {
#include "operation_catalog.def"
    NULL
};
