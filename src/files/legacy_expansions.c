/* legacy_expansions: functions of TensorFlow that keras.ops does not have, as several operations.
 * Those before the last become layers of their own, before the layer of the function. */
#include "legacy.h"

#include <stdio.h>
#include <string.h>

/* A function that is being converted. */
typedef struct expansion {
    json_t *layers, *spec, *call, *args; /* args: the arguments after the first; may be NULL */
    const char *name;                    /* of the layer */
    int steps;
} expansion;

/* The tensor that a layer returns. Returns new. */
static json_t *result_of(const char *name)
{
    return json_pack("{s:s, s:{s:[s,i,i]}}", "class_name", "__keras_tensor__", "config",
                     "keras_history", name, 0, 0);
}

/* Adds a layer before the function's and returns its result; steals the references. */
static json_t *step(expansion *e, const char *kind, json_t *config, json_t *args)
{
    char name[160];
    json_t *spec = json_object();
    size_t at = 0;
    snprintf(name, sizeof name, "%.120s_step_%d", e->name, ++e->steps);
    json_object_set_new(config, "name", json_string(name));
    json_object_set_new(spec, "name", json_string(name));
    quern__legacy_become(spec, kind, "numpy", config, args, json_object());
    while (at < json_array_size(e->layers) && json_array_get(e->layers, at) != e->spec)
        at++;
    json_array_insert_new(e->layers, at, spec);
    return result_of(name);
}

/* Makes the function's layer the last operation. */
static void last(expansion *e, const char *kind, const char *module, json_t *config, json_t *args)
{
    json_object_set_new(config, "name", json_string(e->name));
    quern__legacy_become(e->spec, kind, module, config, args, json_object());
}

static json_t *first_operand(const expansion *e)
{
    return quern__legacy_operand(e->layers, e->call);
}

static json_t *argument(const expansion *e, const char *name)
{
    return quern__legacy_operand(e->layers, json_object_get(e->args, name));
}

static bool is_on(const expansion *e, const char *name)
{
    return json_is_true(json_object_get(e->args, name));
}

/* Products with transposed operands. */
static bool matmul(expansion *e)
{
    char subscripts[32];
    bool a = is_on(e, "transpose_a") || is_on(e, "adjoint_a"),
         b = is_on(e, "transpose_b") || is_on(e, "adjoint_b");
    if (!a && !b)
        return false;
    snprintf(subscripts, sizeof subscripts, "...%s,...%s->...ij", a ? "ki" : "ik", b ? "jk" : "kj");
    last(e, "Einsum", "numpy", json_pack("{s:s}", "subscripts", subscripts),
         json_pack("[o,o]", first_operand(e), argument(e, "b")));
    return true;
}

/* x log(y); 0 where x is 0. */
static bool xlogy(expansion *e)
{
    json_t *zero = step(e, "Equal", json_object(), json_pack("[o,i]", first_operand(e), 0)),
           *log = step(e, "Log", json_object(), json_pack("[o]", argument(e, "y"))),
           *product = step(e, "Multiply", json_object(), json_pack("[o,o]", first_operand(e), log));
    last(e, "Where", "numpy", json_object(), json_pack("[o,f,o]", zero, 0.0, product));
    return true;
}

/* The sum of a list, from the left. */
static bool add_n(expansion *e)
{
    json_t *list = first_operand(e), *sum = json_incref(json_array_get(list, 0));
    size_t n = json_array_size(list);
    for (size_t k = 1; k + 1 < n; k++)
        sum = step(e, "Add", json_object(), json_pack("[o,O]", sum, json_array_get(list, k)));
    if (n > 1)
        last(e, "Add", "numpy", json_object(),
             json_pack("[o,O]", sum, json_array_get(list, n - 1)));
    else
        last(e, "Copy", "numpy", json_object(), json_pack("[o]", n ? sum : json_object()));
    json_decref(list);
    return true;
}

/* From the last element on (reverse), and without the element itself (exclusive). */
static bool cumsum(expansion *e)
{
    bool reverse = is_on(e, "reverse"), exclusive = is_on(e, "exclusive");
    json_t *axis = json_object_get(e->args, "axis"), *x = first_operand(e), *y;
    if (!reverse && !exclusive)
        return json_decref(x), false;
    axis = json_is_integer(axis) ? json_incref(axis) : json_integer(0);
    if (reverse)
        x = step(e, "Flip", json_pack("{s:O}", "axis", axis), json_pack("[o]", x));
    if (exclusive) {
        y = step(e, "Cumsum", json_pack("{s:O}", "axis", axis), json_pack("[O]", x));
        if (reverse) {
            y = step(e, "Subtract", json_object(), json_pack("[o,o]", y, x));
            last(e, "Flip", "numpy", json_pack("{s:O}", "axis", axis), json_pack("[o]", y));
        } else
            last(e, "Subtract", "numpy", json_object(), json_pack("[o,o]", y, x));
    } else {
        y = step(e, "Cumsum", json_pack("{s:O}", "axis", axis), json_pack("[o]", x));
        last(e, "Flip", "numpy", json_pack("{s:O}", "axis", axis), json_pack("[o]", y));
    }
    json_decref(axis);
    return true;
}

/* one_hot with other values than 1 and 0. */
static bool one_hot(expansion *e)
{
    json_t *on = json_object_get(e->args, "on_value"), *off = json_object_get(e->args, "off_value"),
           *axis = json_object_get(e->args, "axis");
    if (!json_is_number(on) && !json_is_number(off))
        return false;
    double high = json_is_number(on) ? json_number_value(on) : 1,
           low = json_is_number(off) ? json_number_value(off) : 0;
    json_t *hot =
        step(e, "OneHot",
             json_pack("{s:O, s:o}", "num_classes", json_object_get(e->args, "depth"), "axis",
                       json_is_integer(axis) ? json_incref(axis) : json_integer(-1)),
             json_pack("[o]", first_operand(e)));
    json_t *scaled = step(e, "Multiply", json_object(), json_pack("[o,f]", hot, high - low));
    last(e, "Add", "numpy", json_object(), json_pack("[o,f]", scaled, low));
    return true;
}

/* Elements within so many diagonals of the main one: the others become 0. */
static bool band_part(expansion *e)
{
    json_t *lower = json_object_get(e->args, "num_lower"),
           *upper = json_object_get(e->args, "num_upper");
    if (!json_is_integer(lower) || !json_is_integer(upper))
        return false;
    json_int_t below = json_integer_value(lower), above = json_integer_value(upper);
    json_t *x = first_operand(e);
    if (below >= 0 && above >= 0) {
        x = step(e, "Tril", json_pack("{s:I}", "k", above), json_pack("[o]", x));
        last(e, "Triu", "numpy", json_pack("{s:I}", "k", -below), json_pack("[o]", x));
    } else if (above >= 0)
        last(e, "Tril", "numpy", json_pack("{s:I}", "k", above), json_pack("[o]", x));
    else if (below >= 0)
        last(e, "Triu", "numpy", json_pack("{s:I}", "k", -below), json_pack("[o]", x));
    else
        last(e, "Copy", "numpy", json_object(), json_pack("[o]", x));
    return true;
}

/* Parts of an axis by a constant mask: take with the indices of its ones. */
static bool boolean_mask(expansion *e)
{
    json_t *mask = json_object_get(e->args, "mask"), *axis = json_object_get(e->args, "axis"),
           *indices, *v;
    size_t k;
    if (!json_is_array(mask) || !json_is_integer(axis))
        return false;
    indices = json_array();
    json_array_foreach(mask, k, v) if (json_is_true(v))
        json_array_append_new(indices, json_integer((json_int_t)k));
    last(e, "Take", "numpy", json_pack("{s:O}", "axis", axis),
         json_pack("[o,o]", first_operand(e), indices));
    return true;
}

bool quern__legacy_expand(json_t *layers, json_t *spec, const char *function)
{
    static const struct {
        const char *function;
        bool (*expand)(expansion *e);
    } functions[] = {
        { "linalg.matmul", matmul },      { "math.xlogy", xlogy },
        { "math.add_n", add_n },          { "math.cumsum", cumsum },
        { "one_hot", one_hot },           { "linalg.band_part", band_part },
        { "boolean_mask", boolean_mask }, { "compat.v1.boolean_mask", boolean_mask }
    };
    json_t *calls = json_object_get(spec, "inbound_nodes");
    expansion e = { .layers = layers,
                    .spec = spec,
                    .call = json_array_get(calls, 0),
                    .name = quern__config_text(json_object_get(spec, "config"), "name") };
    if (json_array_size(calls) != 1 || !json_is_array(e.call) || !e.name)
        return false;
    char name[160]; /* the config of the layer is replaced before the name is used */
    snprintf(name, sizeof name, "%.150s", e.name);
    json_t *call = json_incref(e.call);
    e.name = name;
    e.args = quern__legacy_arguments(call);
    bool known = false;
    for (size_t k = 0; k < sizeof functions / sizeof *functions && !known; k++)
        known = !strcmp(functions[k].function, function) && functions[k].expand(&e);
    json_decref(call);
    return known;
}
