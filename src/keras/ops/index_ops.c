/* index_ops: operations that select elements: Python's indexing, take, one_hot. Indices are
 * constants, and the batch dimension must be selected as a whole. Semantics: NumPy's basic
 * indexing, keras.src.ops.numpy of Keras 3.15. */
#include "operations.h"

#include <string.h>

enum { most_picked = QUERN__MAX_ARGUMENTS };

quern__id quern__op_stride(quern__graph *g, quern__id x, int axis, int64_t begin, int64_t step,
                           int64_t count)
{
    if (!x || step == 1)
        return x ? quern__slice(g, x, axis, begin, count) : 0;
    quern_shape s = *quern__shape_of(g, x), rows = s, one = s;
    int64_t length = count * step, left = s.dims[axis] - begin;
    quern__id own = quern__slice(g, x, axis, begin, length < left ? length : left);
    if (length > left) /* to a multiple of `step` */
        own = quern__pad(g, own, axis, 0, length - left, quern__op_number(g, 0));
    if (s.rank == QUERN_MAX_RANK)
        return quern__graph_fail(g, QUERN_SHAPE, "a tensor has at most %d axes", QUERN_MAX_RANK);
    memmove(rows.dims + axis + 1, rows.dims + axis, (size_t)(s.rank - axis) * sizeof *rows.dims);
    rows.rank++;
    rows.dims[axis] = count;
    rows.dims[axis + 1] = step;
    one.dims[axis] = count;
    return quern__reshape(g, quern__slice(g, quern__reshape(g, own, &rows), axis + 1, 0, 1), &one);
}

/* The start or stop of a slice as an index from `low` to `high`. */
static int64_t bound(json_t *config, const char *key, int64_t size, int64_t missing, int64_t low,
                     int64_t high)
{
    json_t *given = json_object_get(config, key);
    int64_t at = json_is_integer(given)
                     ? json_integer_value(given) + (json_integer_value(given) < 0 ? size : 0)
                     : missing;
    return at < low ? low : at > high ? high : at;
}

/* x[start:stop:step] along one axis. */
static quern__id sliced(quern__graph *g, quern__id x, int axis, json_t *slice)
{
    json_t *config = json_object_get(slice, "config"), *given = json_object_get(config, "step");
    int64_t step = json_is_integer(given) ? json_integer_value(given) : 1,
            size = quern__shape_of(g, x)->dims[axis];
    bool all = json_is_null(json_object_get(config, "start")) &&
               json_is_null(json_object_get(config, "stop")) && step == 1;
    if (all || !x)
        return x;
    if (!quern__op_closed(g, x, axis, "an index"))
        return 0;
    if (step == 0)
        return quern__graph_fail(g, QUERN_INVALID, "a step of 0");
    int64_t start = step > 0 ? bound(config, "start", size, 0, 0, size)
                             : bound(config, "start", size, size - 1, -1, size - 1);
    int64_t stop = step > 0 ? bound(config, "stop", size, size, 0, size)
                            : bound(config, "stop", size, -1, -1, size - 1);
    if (step < 0 && json_is_null(json_object_get(config, "stop")))
        stop = -1;
    int64_t count = step > 0 ? (stop - start + step - 1) / step : (start - stop - step - 1) / -step;
    if (count < 1)
        return quern__graph_fail(g, QUERN_UNSUPPORTED,
                                 "an index that selects nothing of axis %d is not in this version",
                                 axis);
    if (step > 0)
        return quern__op_stride(g, x, axis, start, step, count);
    return quern__op_stride(g, quern__reverse(g, x, axis), axis, size - 1 - start, -step, count);
}

/* Selects one index of an axis and removes the axis. */
static quern__id at_index(quern__graph *g, quern__id x, int axis, int64_t index)
{
    int64_t size = quern__shape_of(g, x)->dims[axis];
    if (!quern__op_closed(g, x, axis, "an index"))
        return 0;
    index += index < 0 ? size : 0;
    if (index < 0 || index >= size)
        return quern__graph_fail(g, QUERN_SHAPE, "index %lld of an axis of %lld", (long long)index,
                                 (long long)size);
    return quern__op_drop(g, quern__slice(g, x, axis, index, 1), axis);
}

/* Python's x[key] with integers, slices, None and an ellipsis. */
static quern__id get_item(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          bool training)
{
    quern__id x = quern__operand(l, g, in, n, "x");
    json_t *key = json_object_get(l->context->options, "key"),
           *list = json_is_array(key) ? json_incref(key) : json_pack("[O]", key), *v;
    int axis = 0, taken = 0, rank = x ? quern__shape_of(g, x)->rank : 0;
    size_t k;
    (void)training;
    json_array_foreach(list, k, v) taken += json_is_integer(v) || quern__is_class(v, "__slice__");
    json_array_foreach(list, k, v)
    {
        if (!x)
            break;
        if (json_is_null(v))
            x = quern__op_expand(g, x, axis++);
        else if (quern__is_class(v, "__ellipsis__"))
            axis += rank - taken;
        else if (axis >= quern__shape_of(g, x)->rank)
            x = quern__graph_fail(g, QUERN_SHAPE, "more indices than axes");
        else if (json_is_integer(v))
            x = at_index(g, x, axis, json_integer_value(v));
        else if (quern__is_class(v, "__slice__"))
            x = sliced(g, x, axis++, v);
        else
            x = quern__graph_fail(
                g, QUERN_UNSUPPORTED,
                "an index that is not a number, slice, None or ... is not in this version");
    }
    json_decref(list);
    return x;
}

/* Selects parts of an axis by constant indices, or rows of a table by an index tensor. */
static quern__id take(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = quern__operand(l, g, in, n, "x"),
              ids = quern__layer_argument(l, in, n, "indices", 0), parts[most_picked];
    json_t *given = quern__op_numbers(json_object_get(l->context->options, "indices")), *v;
    size_t k;
    (void)training;
    if (!x || json_is_null(json_object_get(l->config, "axis")))
        return x ? quern__graph_fail(g, QUERN_UNSUPPORTED,
                                     "take without an axis is not in this version")
                 : 0;
    int axis = quern__op_axis(l, g, "axis", quern__shape_of(g, x)->rank);
    if (axis < 0)
        return 0;
    if (ids && axis == 0 && quern__shape_of(g, x)->rank == 2 && quern__shape_of(g, x)->dims[0] > 0)
        return quern__gather(g, x, ids);
    if (json_is_integer(given))
        return at_index(g, x, axis, json_integer_value(given));
    if (ids || !json_is_array(given) || json_array_size(given) < 1 ||
        json_array_size(given) > most_picked)
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "these indices are not in this version");
    json_array_foreach(given, k, v)
    {
        if (!json_is_integer(v))
            return quern__graph_fail(g, QUERN_UNSUPPORTED,
                                     "indices of several axes are not in this version");
        parts[k] = quern__op_expand(g, at_index(g, x, axis, json_integer_value(v)), axis);
        if (!parts[k])
            return 0;
    }
    return quern__concat(g, parts, (int)json_array_size(given), axis);
}

/* An index out of range gives a row of zeros. */
static quern__id one_hot(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                         bool training)
{
    quern__id x = quern__operand(l, g, in, n, "x");
    int rank = x ? quern__shape_of(g, x)->rank : 0,
        axis = x ? quern__op_axis(l, g, "axis", rank + 1) : -1;
    (void)training;
    if (axis < 0)
        return 0;
    quern__id y = quern__one_hot(g, x, quern__config_int(l->config, "num_classes"), false);
    return y ? quern__op_move_axis(g, y, rank, axis) : 0;
}

static const quern__call_arg item_args[] = { { "x", false }, { "key", false }, { 0 } };
static const quern__call_arg take_args[] = { { "x", false }, { "indices", false }, { 0 } };
static const quern__field take_fields[] = { { "axis", QUERN__F_ANY, "null" }, { 0 } };
static const quern__field hot_fields[] = { { "num_classes", QUERN__F_INT, NULL },
                                           { "axis", QUERN__F_INT, "-1" },
                                           { "dtype", QUERN__F_ANY, "null" },
                                           { "sparse", QUERN__F_ONLY_DEFAULT, "false" },
                                           { 0 } };
QUERN__OPERATION_ROW(get_item, "GetItem", "numpy", NULL, get_item, item_args, 0);
QUERN__OPERATION_ROW(take, "Take", "numpy", take_fields, take, take_args, 0);
QUERN__OPERATION_ROW(one_hot, "OneHot", "nn", hot_fields, one_hot, quern__args_x, 0);
