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

static quern__id repeat(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X;
    json_t *times = json_object_get(l->config, "repeats");
    (void)training;
    if (json_is_array(times) && json_array_size(times) == 1)
        times = json_array_get(times, 0);
    if (!json_is_integer(times) || json_is_null(json_object_get(l->config, "axis")))
        return quern__graph_fail(g, QUERN_UNSUPPORTED,
                                 "repeats by element, or without an axis, are not in this version");
    return x ? repeated(g, x, quern__op_axis(l, g, "axis", quern__op_rank(g, x)),
                        json_integer_value(times))
             : 0;
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

#define ROW(ID, NAME, FIELDS, CALL, ARGS, EXTRA) \
    QUERN__OPERATION_ROW(ID, NAME, "numpy", FIELDS, CALL, ARGS, EXTRA)
ROW(repeat, "Repeat", repeat_fields, repeat, quern__args_x, 0);
ROW(tile, "Tile", tile_fields, tile, quern__args_x, 0);
ROW(flip, "Flip", axis_fields, flip, quern__args_x, 0);
ROW(flipud, "Flipud", NULL, flip, quern__args_x, 1);
ROW(fliplr, "Fliplr", NULL, flip, quern__args_x, 2);
ROW(roll, "Roll", roll_fields, roll, quern__args_x, 0);
ROW(pad, "Pad", pad_fields, pad, pad_args, 0);
