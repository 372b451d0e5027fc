/* repeat_ops: operations of keras.ops that repeat, flip, roll and pad along axes. Axis 0 is the
 * dynamic batch dimension; an operation that would repeat or reorder it is an error. Semantics:
 * keras.src.ops.numpy of Keras 3.15. */
#include "operations.h"

#include <string.h>

#define X quern__operand(l, g, in, n, "x")

/* ---- repeating, flipping, rolling ---- */

/* Repeats every element of an axis `times` times: [a b] to [a a b b]. */
static quern__id repeated(quern__graph *g, quern__id x, int axis, int64_t times)
{
    if (!x || axis < 0 || (axis == 0 && !quern__op_closed(g, x, 0, "repeat")))
        return 0;
    if (times < 1)
        return quern__graph_fail(g, QUERN_INVALID, "repeats must be at least 1");
    quern__id wide = quern__op_expand(g, x, axis + 1);
    if (!wide)
        return 0;
    quern_shape many = *quern__shape_of(g, wide), to = *quern__shape_of(g, x);
    many.dims[axis + 1] = times;
    to.dims[axis] *= times;
    return quern__reshape(g, quern__broadcast(g, wide, &many), &to);
}

/* Repeats element k of an axis times[k] times. */
static quern__id repeated_each(quern__graph *g, quern__id x, int axis, json_t *times)
{
    quern__id parts[QUERN__MAX_ARGUMENTS];
    int64_t size = quern__shape_of(g, x)->dims[axis];
    int count = 0;
    if (!quern__op_closed(g, x, axis, "repeat"))
        return 0;
    if (size != (int64_t)json_array_size(times) || size > QUERN__MAX_ARGUMENTS)
        return quern__graph_fail(g, QUERN_UNSUPPORTED,
                                 "repeats must have one number for each of at most %d elements",
                                 QUERN__MAX_ARGUMENTS);
    for (int64_t k = 0; k < size; k++) {
        int64_t own = json_integer_value(json_array_get(times, (size_t)k));
        if (own)
            parts[count++] = repeated(g, quern__slice(g, x, axis, k, 1), axis, own);
    }
    return count ? quern__concat(g, parts, count, axis)
                 : quern__graph_fail(g, QUERN_SHAPE, "repeats leave no elements");
}

static quern__id repeat(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X;
    json_t *times = quern__op_numbers(json_object_get(l->config, "repeats"));
    (void)training;
    if (json_is_array(times) && json_array_size(times) == 1)
        times = json_array_get(times, 0);
    if (!x || json_is_null(json_object_get(l->config, "axis")))
        return x ? quern__graph_fail(g, QUERN_UNSUPPORTED,
                                     "repeats without an axis are not in this version")
                 : 0;
    int axis = quern__op_axis(l, g, "axis", quern__op_rank(g, x));
    if (axis >= 0 && json_is_array(times))
        return repeated_each(g, x, axis, times);
    return axis < 0 ? 0 : repeated(g, x, axis, json_integer_value(times));
}

/* Repeats the whole along each axis: [a b] to [a b a b]. */
static quern__id tile(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X, copies[QUERN__MAX_ARGUMENTS];
    int64_t times[QUERN_MAX_RANK];
    int count = x ? quern__op_integers(l, g, "repeats", times, QUERN_MAX_RANK) : -1;
    (void)training;
    while (count > 0 && x && quern__op_rank(g, x) < count)
        x = quern__op_expand(g, x, 0);
    for (int k = 0; k < count && x; k++) {
        int axis = quern__op_rank(g, x) - count + k;
        if (times[k] < 1 || times[k] > QUERN__MAX_ARGUMENTS)
            return quern__graph_fail(g, QUERN_UNSUPPORTED, "repeats must be from 1 to %d",
                                     QUERN__MAX_ARGUMENTS);
        for (int64_t i = 0; i < times[k]; i++)
            copies[i] = x;
        x = quern__op_join(g, copies, (int)times[k], axis);
    }
    return count < 0 ? 0 : x;
}

static quern__id reversed(quern__graph *g, quern__id x, int axis)
{
    return axis > 0 || quern__op_closed(g, x, 0, "flip") ? quern__reverse(g, x, axis) : 0;
}

/* row->extra: the axis plus 1; 0: config.axis. */
static quern__id flip(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X;
    uint32_t axes = x ? l->kind->extra ? 1u << (l->kind->extra - 1)
                                       : quern__op_axes(l, g, "axis", quern__op_rank(g, x))
                      : 0;
    (void)training;
    for (int i = 0; i < quern__op_rank(g, x) && axes; i++)
        if (axes >> i & 1)
            x = reversed(g, x, i);
    return axes ? x : 0;
}

/* x with the last two axes of these sizes. */
static quern__id as_matrices(quern__graph *g, quern__id x, int64_t rows, int64_t columns)
{
    quern_shape s = x ? *quern__shape_of(g, x) : (quern_shape){ .rank = 2 };
    s.dims[s.rank - 2] = rows;
    s.dims[s.rank - 1] = columns;
    return quern__reshape(g, x, &s);
}

/* Quarter turns of the last two axes: each reverses the last and exchanges both. Keras on
 * TensorFlow reshapes to the final sizes after the first turn, which changes the result of two turns
 * when the sizes differ. */
static quern__id turned(quern__graph *g, quern__id x, int turns)
{
    int order[QUERN_MAX_RANK], rank = quern__op_rank(g, x);
    int64_t rows = quern__shape_of(g, x)->dims[rank - 2],
            columns = quern__shape_of(g, x)->dims[rank - 1];
    for (int i = 0; i < rank; i++)
        order[i] = i < rank - 2 ? i : 2 * rank - 3 - i;
    for (int k = 0; k < turns && x; k++) {
        if (k == 1)
            x = turns % 2 ? as_matrices(g, x, columns, rows) : as_matrices(g, x, rows, columns);
        x = quern__transpose(g, quern__reverse(g, x, rank - 1), order);
    }
    return turns % 2 ? as_matrices(g, x, columns, rows) : as_matrices(g, x, rows, columns);
}

static quern__id rot90(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = quern__operand(l, g, in, n, "array");
    int64_t axes[QUERN_MAX_RANK];
    int rank = quern__op_rank(g, x), order[QUERN_MAX_RANK], back[QUERN_MAX_RANK], at = 0,
        count = x ? quern__op_integers(l, g, "axes", axes, QUERN_MAX_RANK) : -1,
        turns = (int)(((quern__config_int(l->config, "k") % 4) + 4) % 4);
    (void)training;
    if (count < 0)
        return 0;
    int a = (int)(axes[0] + (axes[0] < 0 ? rank : 0)),
        b = count == 2 ? (int)(axes[1] + (axes[1] < 0 ? rank : 0)) : a;
    if (a == b || a < 0 || b < 0 || a >= rank || b >= rank)
        return quern__graph_fail(g, QUERN_SHAPE, "axes must be two axes of a tensor of %d", rank);
    if (!quern__op_closed(g, x, a, "rot90") || !quern__op_closed(g, x, b, "rot90"))
        return 0;
    for (int i = 0; i < rank; i++)
        if (i != a && i != b)
            order[at++] = i;
    order[at++] = a;
    order[at] = b;
    for (int i = 0; i < rank; i++)
        back[order[i]] = i;
    x = quern__transpose(g, x, order);
    return x ? quern__transpose(g, turned(g, x, turns), back) : 0;
}

static quern__id rolled(quern__graph *g, quern__id x, int axis, int64_t shift)
{
    if (!x || axis < 0 || (axis == 0 && !quern__op_closed(g, x, 0, "roll")))
        return 0;
    int64_t size = quern__shape_of(g, x)->dims[axis], by = ((shift % size) + size) % size;
    if (!by)
        return x;
    quern__id ends[2] = { quern__slice(g, x, axis, size - by, by),
                          quern__slice(g, x, axis, 0, size - by) };
    return quern__concat(g, ends, 2, axis);
}

/* Rolls the elements along axes; each part that leaves one end is concatenated at the other. */
static quern__id roll(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X;
    int64_t shifts[QUERN_MAX_RANK], axes[QUERN_MAX_RANK];
    (void)training;
    if (json_is_null(json_object_get(l->config, "axis")))
        return quern__graph_fail(g, QUERN_UNSUPPORTED,
                                 "roll without an axis is not in this version");
    int count = x ? quern__op_integers(l, g, "shift", shifts, QUERN_MAX_RANK) : -1,
        n_axes = count < 0 ? -1 : quern__op_integers(l, g, "axis", axes, QUERN_MAX_RANK);
    if (n_axes < 0 || (count != n_axes && count != 1))
        return n_axes < 0
                   ? 0
                   : quern__graph_fail(g, QUERN_INVALID, "%d shifts for %d axes", count, n_axes);
    for (int k = 0; k < n_axes && x; k++) {
        int64_t axis = axes[k] + (axes[k] < 0 ? quern__op_rank(g, x) : 0);
        x = rolled(g, x, axis < quern__op_rank(g, x) ? (int)axis : -1, shifts[count == 1 ? 0 : k]);
    }
    return x;
}

/* ---- padding ---- */

/* `size` elements before (or after) an axis: mirrored without the edge (reflect) or with it. */
static quern__id mirrored(quern__graph *g, quern__id x, int axis, int64_t size, bool before,
                          bool reflect)
{
    int64_t length = quern__shape_of(g, x)->dims[axis];
    if (size > length - reflect)
        return quern__graph_fail(g, QUERN_SHAPE, "a pad of %lld at an axis of %lld",
                                 (long long)size, (long long)length);
    int64_t from = before ? (int64_t)reflect : length - reflect - size;
    return quern__reverse(g, quern__slice(g, x, axis, from, size), axis);
}

static quern__id padded_by_mirror(quern__graph *g, quern__id x, int axis, int64_t before,
                                  int64_t after, bool reflect)
{
    quern__id with[3];
    int count = 0;
    if (before)
        with[count++] = mirrored(g, x, axis, before, true, reflect);
    with[count++] = x;
    if (after)
        with[count++] = mirrored(g, x, axis, after, false, reflect);
    return quern__concat(g, with, count, axis);
}

static quern__id pad(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X, value = quern__operand_or_none(l, g, in, n, "constant_values");
    json_t *widths = json_object_get(l->config, "pad_width"), *own;
    const char *mode = quern__config_text(l->config, "mode");
    size_t axis;
    (void)training;
    if (!x || !json_is_array(widths) || json_array_size(widths) != (size_t)quern__op_rank(g, x))
        return x ? quern__graph_fail(g, QUERN_SHAPE, "pad_width does not fit a tensor of %d axes",
                                     quern__op_rank(g, x))
                 : 0;
    if (!mode || (strcmp(mode, "constant") && strcmp(mode, "reflect") && strcmp(mode, "symmetric")))
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "pad mode %.30s is not in this version",
                                 mode ? mode : "?");
    value = value ? value : quern__op_number(g, 0);
    json_array_foreach(widths, axis, own)
    {
        int64_t before = json_integer_value(json_array_get(own, 0)),
                after = json_integer_value(json_array_get(own, 1));
        if (before < 0 || after < 0 ||
            ((before || after) && axis == 0 && !quern__op_closed(g, x, 0, "pad")))
            return 0;
        x = !strcmp(mode, "constant")
                ? quern__pad(g, x, (int)axis, before, after, value)
                : padded_by_mirror(g, x, (int)axis, before, after, !strcmp(mode, "reflect"));
        if (!x)
            return 0;
    }
    return x;
}

static const quern__call_arg pad_args[] = { { "x", false }, { "constant_values", false }, { 0 } };
static const quern__field axis_fields[] = { { "axis", QUERN__F_ANY, "null" }, { 0 } };
static const quern__field repeat_fields[] = { { "repeats", QUERN__F_ANY, NULL },
                                              { "axis", QUERN__F_ANY, "null" },
                                              { 0 } };
static const quern__field tile_fields[] = { { "repeats", QUERN__F_ANY, NULL }, { 0 } };
static const quern__field roll_fields[] = { { "shift", QUERN__F_ANY, NULL },
                                            { "axis", QUERN__F_ANY, "null" },
                                            { 0 } };
static const quern__field pad_fields[] = { { "pad_width", QUERN__F_ANY, NULL },
                                           { "mode", QUERN__F_TEXT, "\"constant\"" },
                                           { 0 } };

static const quern__field rot_fields[] = { { "k", QUERN__F_INT, "1" },
                                           { "axes", QUERN__F_ANY, "[0, 1]" },
                                           { 0 } };
static const quern__call_arg array_args[] = { { "array", false }, { 0 } };

#define ROW(ID, NAME, FIELDS, CALL, ARGS, EXTRA) \
    QUERN__OPERATION_ROW(ID, NAME, "numpy", FIELDS, CALL, ARGS, EXTRA)
ROW(repeat, "Repeat", repeat_fields, repeat, quern__args_x, 0);
ROW(tile, "Tile", tile_fields, tile, quern__args_x, 0);
ROW(flip, "Flip", axis_fields, flip, quern__args_x, 0);
ROW(flipud, "Flipud", NULL, flip, quern__args_x, 1);
ROW(fliplr, "Fliplr", NULL, flip, quern__args_x, 2);
ROW(roll, "Roll", roll_fields, roll, quern__args_x, 0);
ROW(pad, "Pad", pad_fields, pad, pad_args, 0);
ROW(rot90, "Rot90", rot_fields, rot90, array_args, 0);
