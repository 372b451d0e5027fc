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

/* Appends the index of each part to `at`, in C order, and the sizes of nested lists to `shape`.
 * Returns the number of indices; -1: not integers, or too many. */
static int flat_indices(json_t *given, int64_t *at, int count, quern_shape *shape, int depth)
{
    json_t *v;
    size_t k;
    if (json_is_integer(given) && depth == shape->rank && count < most_picked) {
        at[count] = json_integer_value(given);
        return count + 1;
    }
    if (!json_is_array(given) || depth == QUERN_MAX_RANK)
        return -1;
    if (count == 0 && depth == shape->rank)
        shape->dims[shape->rank++] = (int64_t)json_array_size(given);
    if (depth >= shape->rank || shape->dims[depth] != (int64_t)json_array_size(given))
        return -1;
    json_array_foreach(given, k, v)
    {
        count = flat_indices(v, at, count, shape, depth + 1);
        if (count < 0)
            return -1;
    }
    return count;
}

/* Selects parts of an axis by constant indices of any shape, which replaces the axis. */
static quern__id take_constant(quern__graph *g, quern__id x, int axis, json_t *given)
{
    int64_t at[most_picked];
    quern__id parts[most_picked];
    quern_shape shape = { 0 }, s = *quern__shape_of(g, x), to = { 0 };
    int count = flat_indices(given, at, 0, &shape, 0);
    if (count < 1 || s.rank - 1 + shape.rank > QUERN_MAX_RANK)
        return quern__graph_fail(g, QUERN_UNSUPPORTED,
                                 "indices other than 1 to %d integers are not in this version",
                                 most_picked);
    for (int k = 0; k < count; k++) {
        parts[k] = quern__op_expand(g, at_index(g, x, axis, at[k]), axis);
        if (!parts[k])
            return 0;
    }
    for (int i = 0; i < s.rank; i++) {
        for (int k = 0; i == axis && k < shape.rank; k++)
            to.dims[to.rank++] = shape.dims[k];
        if (i != axis)
            to.dims[to.rank++] = s.dims[i];
    }
    return quern__reshape(g, quern__concat(g, parts, count, axis), &to);
}

/* Selects by an index tensor: rows of the matrix whose rows are the elements of the axis. */
static quern__id take_rows(quern__graph *g, quern__id x, quern__id ids, int axis)
{
    quern_shape s = *quern__shape_of(g, x), t = *quern__shape_of(g, ids), to = t;
    int rank = s.rank, order[QUERN_MAX_RANK], n = 0;
    if (!quern__op_closed(g, x, axis, "take") || rank - 1 + t.rank > QUERN_MAX_RANK)
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "take of more than %d axes", QUERN_MAX_RANK);
    if (s.dims[0] < 0)
        return quern__graph_fail(g, QUERN_UNSUPPORTED,
                                 "an index tensor selects for all records; take_along_axis selects "
                                 "for each");
    int64_t width = 1;
    for (int i = 0; i < rank; i++)
        width *= i == axis ? 1 : s.dims[i];
    quern_shape matrix = { .rank = 2, .dims = { s.dims[axis], width } };
    quern__id table = quern__reshape(g, quern__op_move_axis(g, x, axis, 0), &matrix),
              size = quern__op_number(g, (double)s.dims[axis]);
    quern__id below = quern__binary(g, QUERN__LESS, ids, quern__op_number(g, 0)),
              wrapped = quern__add2(g, ids, quern__mul2(g, below, size));
    for (int i = 0; i < rank; i++)
        if (i != axis)
            to.dims[to.rank++] = s.dims[i];
    quern__id y = quern__reshape(g, quern__gather(g, table, wrapped), &to);
    for (int i = 0; i < axis; i++) /* the axes before `axis`, the indices, the others */
        order[n++] = t.rank + i;
    for (int i = 0; i < t.rank; i++)
        order[n++] = i;
    for (int i = axis; i + 1 < rank; i++)
        order[n++] = t.rank + i;
    return axis ? quern__transpose(g, y, order) : y;
}

static quern__id take(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = quern__operand(l, g, in, n, "x"),
              ids = quern__layer_argument(l, in, n, "indices", 0);
    json_t *given = quern__op_numbers(json_object_get(l->context->options, "indices"));
    (void)training;
    if (!x || json_is_null(json_object_get(l->config, "axis")))
        return x ? quern__graph_fail(g, QUERN_UNSUPPORTED,
                                     "take without an axis is not in this version")
                 : 0;
    int axis = quern__op_axis(l, g, "axis", quern__shape_of(g, x)->rank);
    if (axis < 0)
        return 0;
    if (ids)
        return take_rows(g, x, ids, axis);
    return json_is_integer(given) ? at_index(g, x, axis, json_integer_value(given))
                                  : take_constant(g, x, axis, given);
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

/* 1 where a class is among the indices of axis 1, or of the only axis. */
static quern__id multi_hot(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    quern__id x = quern__operand(l, g, in, n, "inputs");
    int rank = quern__op_rank(g, x), axis = x ? quern__op_axis(l, g, "axis", rank + 1) : -1;
    (void)training;
    if (axis < 0 || rank < 1)
        return axis < 0 ? 0 : quern__graph_fail(g, QUERN_SHAPE, "multi_hot of one number");
    quern__id y = quern__one_hot(g, x, quern__config_int(l->config, "num_classes"), false);
    y = y ? quern__op_move_axis(g, y, rank, axis) : 0;
    return quern__reduce(g, QUERN__REDUCE_MAX, y, rank > 1 ? 2u : 1u, false);
}

/* How often each number from 0 to minlength - 1 is in the last axis; a larger one is an error of the
 * step, because the shape of a result cannot depend on values. */
static quern__id bincount(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          bool training)
{
    quern__id x = quern__operand(l, g, in, n, "x");
    int rank = quern__op_rank(g, x);
    int64_t length = quern__config_int(l->config, "minlength");
    (void)training;
    if (!x || rank < 1 || length < 1)
        return x ? quern__graph_fail(g, QUERN_UNSUPPORTED,
                                     "bincount without minlength is not in this version: the size "
                                     "of its result depends on values")
                 : 0;
    return quern__reduce(g, QUERN__SUM, quern__one_hot(g, x, length, true), 1u << (rank - 1),
                         false);
}

static const quern__call_arg item_args[] = { { "x", false }, { "key", false }, { 0 } };
static const quern__call_arg take_args[] = { { "x", false }, { "indices", false }, { 0 } };
static const quern__field take_fields[] = { { "axis", QUERN__F_ANY, "null" }, { 0 } };
static const quern__field hot_fields[] = { { "num_classes", QUERN__F_INT, NULL },
                                           { "axis", QUERN__F_INT, "-1" },
                                           { "dtype", QUERN__F_ANY, "null" },
                                           { "sparse", QUERN__F_ONLY_DEFAULT, "false" },
                                           { 0 } };
static const quern__field multi_fields[] = { { "num_classes", QUERN__F_INT, NULL },
                                             { "axis", QUERN__F_INT, "-1" },
                                             { "dtype", QUERN__F_ANY, "null" },
                                             { "sparse", QUERN__F_ONLY_DEFAULT, "false" },
                                             { 0 } };
static const quern__field bincount_fields[] = { { "weights", QUERN__F_ONLY_DEFAULT, "null" },
                                                { "minlength", QUERN__F_INT, "0" },
                                                { "sparse", QUERN__F_ONLY_DEFAULT, "false" },
                                                { 0 } };
static const quern__call_arg inputs_args[] = { { "inputs", false }, { 0 } };
QUERN__OPERATION_ROW(multi_hot, "MultiHot", "nn", multi_fields, multi_hot, inputs_args, 0);
QUERN__OPERATION_ROW(bincount, "Bincount", "numpy", bincount_fields, bincount, quern__args_x, 0);
QUERN__OPERATION_ROW(get_item, "GetItem", "numpy", NULL, get_item, item_args, 0);
QUERN__OPERATION_ROW(take, "Take", "numpy", take_fields, take, take_args, 0);
QUERN__OPERATION_ROW(one_hot, "OneHot", "nn", hot_fields, one_hot, quern__args_x, 0);
