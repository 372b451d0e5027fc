/* shape_ops: operations that move elements and compute nothing: reshaping, transposing, concatenating, splitting, repeating,
 * padding. Axis 0 is the dynamic batch dimension; an operation that would split or reorder it is an error. Semantics:
 * keras.src.ops.numpy of Keras 3.15. */
#include "operations.h"

#include <string.h>

#define X quern__operand(l, g, in, n, "x")

/* Reads the integers of config[key], a number or a list. Returns their number; -1: the graph has an error. */
static int whole_numbers(const quern__layer *l, quern__graph *g, const char *key, int64_t *out, int most)
{
    json_t *given = json_object_get(l->config, key), *v;
    size_t k;
    int count = 0;
    if (json_is_integer(given)) {
        out[0] = json_integer_value(given);
        return 1;
    }
    if (!json_is_array(given) || json_array_size(given) > (size_t)most) {
        quern__graph_fail(g, QUERN_UNSUPPORTED, "%s is not an integer or a list of at most %d integers", key, most);
        return -1;
    }
    json_array_foreach(given, k, v) out[count++] = json_integer_value(v);
    return count;
}

/* The new shape can have one -1. A leading -1 or the fixed batch size keeps the records when the other sizes match one record;
 * otherwise the batch axis is merged: (B, T, C) to (B T, C). */
static quern__id reshape(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X;
    int64_t sizes[QUERN_MAX_RANK];
    int rank = x ? whole_numbers(l, g, "newshape", sizes, QUERN_MAX_RANK) : -1, guess = -1;
    (void)training;
    if (rank < 0)
        return 0;
    const quern_shape *s = quern__shape_of(g, x);
    bool open = s->rank && s->dims[0] < 0;
    int64_t count = open ? -s->dims[0] : 1, known = 1;
    for (int i = open; i < s->rank; i++)
        count *= s->dims[i];
    quern_shape to = { .rank = rank };
    for (int i = 0; i < rank; i++) {
        to.dims[i] = sizes[i];
        guess = sizes[i] < 0 && guess < 0 ? i : guess;
        known *= sizes[i] < 0 ? 1 : sizes[i];
    }
    if (open && guess != 0)
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "a reshape that moves the batch axis is not in this version");
    if (guess >= 0 && (known < 1 || count % known))
        return quern__graph_fail(g, QUERN_SHAPE, "%lld elements of a record do not fill the new shape", (long long)count);
    if (guess >= 0)
        to.dims[guess] = open ? -(count / known) : count / known;
    return quern__reshape(g, x, &to);
}

static quern__id transpose(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X;
    int rank = quern__op_rank(g, x), order[QUERN_MAX_RANK];
    int64_t axes[QUERN_MAX_RANK];
    (void)training;
    bool all = json_is_null(json_object_get(l->config, "axes"));
    int count = all ? rank : whole_numbers(l, g, "axes", axes, QUERN_MAX_RANK);
    if (!x || count != rank)
        return count < 0 ? 0 : quern__graph_fail(g, QUERN_SHAPE, "axes do not fit a tensor of %d axes", rank);
    for (int i = 0; i < rank; i++)
        order[i] = all ? rank - 1 - i : (int)(axes[i] < 0 ? axes[i] + rank : axes[i]);
    return quern__transpose(g, x, order);
}

static quern__id swapaxes(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X;
    int rank = quern__op_rank(g, x), order[QUERN_MAX_RANK], a = x ? quern__op_axis(l, g, "axis1", rank) : -1,
        b = a < 0 ? -1 : quern__op_axis(l, g, "axis2", rank);
    (void)training;
    if (b < 0)
        return 0;
    for (int i = 0; i < rank; i++)
        order[i] = i == a ? b : i == b ? a : i;
    return quern__transpose(g, x, order);
}

static quern__id moveaxis(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X;
    int rank = quern__op_rank(g, x), order[QUERN_MAX_RANK];
    int64_t from[QUERN_MAX_RANK], to[QUERN_MAX_RANK];
    int count = x ? whole_numbers(l, g, "source", from, QUERN_MAX_RANK) : -1;
    bool moved[QUERN_MAX_RANK] = { false };
    (void)training;
    if (count < 0 || whole_numbers(l, g, "destination", to, QUERN_MAX_RANK) != count)
        return 0;
    for (int i = 0; i < rank; i++)
        order[i] = -1;
    for (int i = 0; i < count; i++) {
        int64_t a = from[i] + (from[i] < 0 ? rank : 0), b = to[i] + (to[i] < 0 ? rank : 0);
        if (a < 0 || a >= rank || b < 0 || b >= rank)
            return quern__graph_fail(g, QUERN_SHAPE, "source and destination do not fit a tensor of %d axes", rank);
        order[b] = (int)a;
        moved[a] = true;
    }
    for (int i = 0, next = 0; i < rank; i++) {
        while (next < rank && moved[next])
            next++;
        order[i] = order[i] < 0 ? next++ : order[i];
    }
    return quern__transpose(g, x, order);
}

static quern__id expand_dims(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X;
    int64_t axes[QUERN_MAX_RANK];
    int count = x ? whole_numbers(l, g, "axis", axes, QUERN_MAX_RANK) : -1, rank = quern__op_rank(g, x) + (count > 0 ? count : 0);
    (void)training;
    for (int i = 0; i < count; i++)
        axes[i] += axes[i] < 0 ? rank : 0;
    for (int i = 0; i < count && x; i++) { /* in ascending order, because each axis is an index of the result */
        int least = i;
        for (int k = i + 1; k < count; k++)
            least = axes[k] < axes[least] ? k : least;
        int64_t axis = axes[least];
        axes[least] = axes[i];
        if (axis < 0 || axis > quern__op_rank(g, x))
            return quern__graph_fail(g, QUERN_SHAPE, "axis %lld of a tensor of %d axes", (long long)axis, quern__op_rank(g, x));
        x = quern__op_expand(g, x, (int)axis);
    }
    return count < 0 ? 0 : x;
}

static quern__id squeeze(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X;
    if (!x)
        return 0;
    quern_shape s = *quern__shape_of(g, x), to = { 0 };
    bool all = json_is_null(json_object_get(l->config, "axis"));
    uint32_t axes = quern__op_axes(l, g, "axis", s.rank);
    (void)training;
    if (!axes)
        return 0;
    for (int i = 0; i < s.rank; i++) {
        bool drop = axes >> i & 1 && s.dims[i] == 1;
        if (!all && axes >> i & 1 && !drop)
            return quern__graph_fail(g, QUERN_SHAPE, "axis %d has size %lld, not 1", i, (long long)s.dims[i]);
        if (!drop)
            to.dims[to.rank++] = s.dims[i];
    }
    return quern__reshape(g, x, &to);
}

static quern__id ravel(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X;
    (void)training;
    if (!x || !quern__op_closed(g, x, quern__op_rank(g, x) ? 0 : -1, "ravel"))
        return x && !quern__op_rank(g, x) ? quern__op_expand(g, x, 0) : 0;
    return quern__reshape(g, x, &(quern_shape){ .rank = 1, .dims = { quern_shape_count(quern__shape_of(g, x)) } });
}

static quern__id broadcast_to(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X;
    int64_t sizes[QUERN_MAX_RANK];
    int rank = x ? whole_numbers(l, g, "shape", sizes, QUERN_MAX_RANK) : -1;
    quern_shape to = { .rank = rank < 0 ? 0 : rank };
    (void)training;
    for (int i = 0; i < rank; i++)
        to.dims[i] = sizes[i];
    return rank < 0 ? 0 : quern__broadcast(g, x, &to);
}

/* ---- concatenating ---- */

/* The batch axis cannot grow. */
static quern__id joined(quern__graph *g, const quern__id *in, int n, int axis)
{
    if (n == 1)
        return in[0];
    return axis > 0 || quern__op_closed(g, in[0], 0, "joining") ? quern__concat(g, in, n, axis) : 0;
}

static quern__id concatenate(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    int axis = quern__op_axis(l, g, "axis", quern__op_rank(g, in[0]));
    (void)training;
    return axis < 0 ? 0 : joined(g, in, n, axis);
}

static quern__id stack(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id with[QUERN__MAX_ARGUMENTS];
    int axis = quern__op_axis(l, g, "axis", quern__op_rank(g, in[0]) + 1);
    (void)training;
    for (int i = 0; i < n && axis >= 0; i++)
        with[i] = quern__op_expand(g, in[i], axis);
    return axis < 0 ? 0 : joined(g, with, n, axis);
}

/* row->extra: the axis. */
static quern__id stack_along(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id with[QUERN__MAX_ARGUMENTS];
    int axis = l->kind->extra;
    (void)training;
    for (int i = 0; i < n; i++)
        with[i] = quern__op_rank(g, in[i]) > axis ? in[i] : quern__op_expand(g, in[i], axis);
    return joined(g, with, n, axis);
}

static quern__id append(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id both[2] = { quern__operand(l, g, in, n, "x1"), quern__operand(l, g, in, n, "x2") };
    (void)training;
    if (!both[0] || !both[1])
        return 0;
    if (json_is_null(json_object_get(l->config, "axis")))
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "append without an axis is not in this version");
    int axis = quern__op_axis(l, g, "axis", quern__op_rank(g, both[0]));
    return axis < 0 ? 0 : joined(g, both, 2, axis);
}

/* ---- splitting: the call returns the first part; the others are further results ---- */

/* Splits an axis at `count` indices into count + 1 parts. Returns the first. */
static quern__id parts(quern__layer *l, quern__graph *g, quern__id x, int axis, const int64_t *ends, int count)
{
    quern__id first = 0;
    if (!x || (axis == 0 && !quern__op_closed(g, x, 0, "splitting")))
        return 0;
    if (count > QUERN__MAX_RESULTS)
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "%d parts, at most %d", count, QUERN__MAX_RESULTS);
    for (int k = 0; k < count; k++) {
        int64_t begin = k ? ends[k - 1] : 0;
        quern__id part = quern__slice(g, x, axis, begin, ends[k] - begin);
        if (k == 0)
            first = part;
        else
            quern__layer_result(l, part, 0);
    }
    return first;
}

/* Splits into equal parts (split), nearly equal parts (array_split), or at given indices. */
static quern__id split_at(quern__layer *l, quern__graph *g, quern__id x, int axis, bool uneven)
{
    int64_t ends[QUERN__MAX_RESULTS + 1], size = x && axis >= 0 ? quern__shape_of(g, x)->dims[axis] : 0;
    json_t *given = json_object_get(l->config, "indices_or_sections");
    int count = size > 0 ? whole_numbers(l, g, "indices_or_sections", ends, QUERN__MAX_RESULTS - 1) : -1;
    if (count < 0)
        return 0;
    if (!json_is_integer(given)) {
        for (int k = 0; k < count; k++)
            ends[k] += ends[k] < 0 ? size : 0;
        ends[count] = size;
        return parts(l, g, x, axis, ends, count + 1);
    }
    int64_t sections = ends[0];
    if (sections < 1 || sections > QUERN__MAX_RESULTS || (!uneven && size % sections))
        return quern__graph_fail(g, QUERN_SHAPE, "an axis of %lld does not split into %lld parts", (long long)size,
                                 (long long)sections);
    for (int64_t k = 0, end = 0; k < sections; k++)
        ends[k] = end += size / sections + (k < size % sections);
    return parts(l, g, x, axis, ends, (int)sections);
}

static quern__id split(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X;
    (void)training;
    return x ? split_at(l, g, x, quern__op_axis(l, g, "axis", quern__op_rank(g, x)), l->kind->extra) : 0;
}

/* row->extra: the axis. */
static quern__id split_along(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)training;
    return split_at(l, g, X, l->kind->extra, false);
}

/* Splits an axis into its elements and removes it. Returns the first. */
static quern__id unstack(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X, first = 0;
    int axis = x ? quern__op_axis(l, g, "axis", quern__op_rank(g, x)) : -1;
    (void)training;
    if (axis < 0 || !quern__op_closed(g, x, axis, "unstack"))
        return 0;
    int64_t count = quern__shape_of(g, x)->dims[axis];
    if (count > QUERN__MAX_RESULTS)
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "%lld parts, at most %d", (long long)count, QUERN__MAX_RESULTS);
    for (int64_t k = 0; k < count; k++) {
        quern__id part = quern__op_drop(g, quern__slice(g, x, axis, k, 1), axis);
        if (k == 0)
            first = part;
        else
            quern__layer_result(l, part, 0);
    }
    return first;
}

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
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "repeats by element, or without an axis, are not in this version");
    return x ? repeated(g, x, quern__op_axis(l, g, "axis", quern__op_rank(g, x)), json_integer_value(times)) : 0;
}

/* Repeats the whole along each axis: [a b] to [a b a b]. */
static quern__id tile(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X, copies[QUERN__MAX_ARGUMENTS];
    int64_t times[QUERN_MAX_RANK];
    int count = x ? whole_numbers(l, g, "repeats", times, QUERN_MAX_RANK) : -1;
    (void)training;
    while (count > 0 && x && quern__op_rank(g, x) < count)
        x = quern__op_expand(g, x, 0);
    for (int k = 0; k < count && x; k++) {
        int axis = quern__op_rank(g, x) - count + k;
        if (times[k] < 1 || times[k] > QUERN__MAX_ARGUMENTS)
            return quern__graph_fail(g, QUERN_UNSUPPORTED, "repeats must be from 1 to %d", QUERN__MAX_ARGUMENTS);
        for (int64_t i = 0; i < times[k]; i++)
            copies[i] = x;
        x = joined(g, copies, (int)times[k], axis);
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
    uint32_t axes = x ? l->kind->extra ? 1u << (l->kind->extra - 1) : quern__op_axes(l, g, "axis", quern__op_rank(g, x)) : 0;
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
    quern__id ends[2] = { quern__slice(g, x, axis, size - by, by), quern__slice(g, x, axis, 0, size - by) };
    return quern__concat(g, ends, 2, axis);
}

/* Rolls the elements along axes; each part that leaves one end is concatenated at the other. */
static quern__id roll(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X;
    int64_t shifts[QUERN_MAX_RANK], axes[QUERN_MAX_RANK];
    (void)training;
    if (json_is_null(json_object_get(l->config, "axis")))
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "roll without an axis is not in this version");
    int count = x ? whole_numbers(l, g, "shift", shifts, QUERN_MAX_RANK) : -1,
        n_axes = count < 0 ? -1 : whole_numbers(l, g, "axis", axes, QUERN_MAX_RANK);
    if (n_axes < 0 || (count != n_axes && count != 1))
        return n_axes < 0 ? 0 : quern__graph_fail(g, QUERN_INVALID, "%d shifts for %d axes", count, n_axes);
    for (int k = 0; k < n_axes && x; k++) {
        int64_t axis = axes[k] + (axes[k] < 0 ? quern__op_rank(g, x) : 0);
        x = rolled(g, x, axis < quern__op_rank(g, x) ? (int)axis : -1, shifts[count == 1 ? 0 : k]);
    }
    return x;
}

/* ---- padding ---- */

/* `size` elements before (or after) an axis: mirrored without the edge (reflect) or with it. */
static quern__id mirrored(quern__graph *g, quern__id x, int axis, int64_t size, bool before, bool reflect)
{
    int64_t length = quern__shape_of(g, x)->dims[axis];
    if (size > length - reflect)
        return quern__graph_fail(g, QUERN_SHAPE, "a pad of %lld at an axis of %lld", (long long)size, (long long)length);
    int64_t from = before ? (int64_t)reflect : length - reflect - size;
    return quern__reverse(g, quern__slice(g, x, axis, from, size), axis);
}

static quern__id padded_by_mirror(quern__graph *g, quern__id x, int axis, int64_t before, int64_t after, bool reflect)
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
        return x ? quern__graph_fail(g, QUERN_SHAPE, "pad_width does not fit a tensor of %d axes", quern__op_rank(g, x)) : 0;
    if (!mode || (strcmp(mode, "constant") && strcmp(mode, "reflect") && strcmp(mode, "symmetric")))
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "pad mode %.30s is not in this version", mode ? mode : "?");
    value = value ? value : quern__op_number(g, 0);
    json_array_foreach(widths, axis, own)
    {
        int64_t before = json_integer_value(json_array_get(own, 0)), after = json_integer_value(json_array_get(own, 1));
        if (before < 0 || after < 0 || ((before || after) && axis == 0 && !quern__op_closed(g, x, 0, "pad")))
            return 0;
        x = !strcmp(mode, "constant") ? quern__pad(g, x, (int)axis, before, after, value)
                                      : padded_by_mirror(g, x, (int)axis, before, after, !strcmp(mode, "reflect"));
        if (!x)
            return 0;
    }
    return x;
}

static const quern__call_arg pad_args[] = { { "x", false }, { "constant_values", false }, { 0 } };
static const quern__field reshape_fields[] = { { "newshape", QUERN__F_ANY, NULL }, { 0 } };
static const quern__field transpose_fields[] = { { "axes", QUERN__F_ANY, "null" }, { 0 } };
static const quern__field swap_fields[] = { { "axis1", QUERN__F_INT, NULL }, { "axis2", QUERN__F_INT, NULL }, { 0 } };
static const quern__field move_fields[] = { { "source", QUERN__F_ANY, NULL }, { "destination", QUERN__F_ANY, NULL }, { 0 } };
static const quern__field axis_fields[] = { { "axis", QUERN__F_ANY, "null" }, { 0 } };
static const quern__field first_axis[] = { { "axis", QUERN__F_INT, "0" }, { 0 } };
static const quern__field shape_fields[] = { { "shape", QUERN__F_ANY, NULL }, { 0 } };
static const quern__field split_fields[] = { { "indices_or_sections", QUERN__F_ANY, NULL }, { "axis", QUERN__F_INT, "0" }, { 0 } };
static const quern__field section_fields[] = { { "indices_or_sections", QUERN__F_ANY, NULL }, { 0 } };
static const quern__field unstack_fields[] = { { "num", QUERN__F_ANY, "null" }, { "axis", QUERN__F_INT, "0" }, { 0 } };
static const quern__field repeat_fields[] = { { "repeats", QUERN__F_ANY, NULL }, { "axis", QUERN__F_ANY, "null" }, { 0 } };
static const quern__field tile_fields[] = { { "repeats", QUERN__F_ANY, NULL }, { 0 } };
static const quern__field roll_fields[] = { { "shift", QUERN__F_ANY, NULL }, { "axis", QUERN__F_ANY, "null" }, { 0 } };
static const quern__field pad_fields[] = { { "pad_width", QUERN__F_ANY, NULL }, { "mode", QUERN__F_TEXT, "\"constant\"" }, { 0 } };

#define ROW(ID, NAME, FIELDS, CALL, ARGS, EXTRA) QUERN__OPERATION_ROW(ID, NAME, "numpy", FIELDS, CALL, ARGS, EXTRA)
ROW(reshape, "Reshape", reshape_fields, reshape, quern__args_x, 0);
ROW(transpose, "Transpose", transpose_fields, transpose, quern__args_x, 0);
ROW(swapaxes, "Swapaxes", swap_fields, swapaxes, quern__args_x, 0);
ROW(moveaxis, "Moveaxis", move_fields, moveaxis, quern__args_x, 0);
ROW(expand_dims, "ExpandDims", axis_fields, expand_dims, quern__args_x, 0);
ROW(squeeze, "Squeeze", axis_fields, squeeze, quern__args_x, 0);
ROW(ravel, "Ravel", NULL, ravel, quern__args_x, 0);
ROW(broadcast_to, "BroadcastTo", shape_fields, broadcast_to, quern__args_x, 0);
ROW(concatenate, "Concatenate", first_axis, concatenate, quern__args_xs, 0);
static const quern__call_arg stack_args[] = { { "x", true }, { 0 } };
ROW(stack, "Stack", first_axis, stack, stack_args, 0);
ROW(vstack, "Vstack", NULL, stack_along, quern__args_xs, 0);
ROW(hstack, "Hstack", NULL, stack_along, quern__args_xs, 1);
ROW(dstack, "Dstack", NULL, stack_along, quern__args_xs, 2);
ROW(append, "Append", axis_fields, append, quern__args_x1_x2, 0);
ROW(split, "Split", split_fields, split, quern__args_x, 0);
ROW(array_split, "ArraySplit", split_fields, split, quern__args_x, 1);
ROW(vsplit, "Vsplit", section_fields, split_along, quern__args_x, 0);
ROW(hsplit, "Hsplit", section_fields, split_along, quern__args_x, 1);
ROW(dsplit, "Dsplit", section_fields, split_along, quern__args_x, 2);
QUERN__OPERATION_ROW(unstack, "Unstack", "core", unstack_fields, unstack, quern__args_x, 0);
ROW(repeat, "Repeat", repeat_fields, repeat, quern__args_x, 0);
ROW(tile, "Tile", tile_fields, tile, quern__args_x, 0);
ROW(flip, "Flip", axis_fields, flip, quern__args_x, 0);
ROW(flipud, "Flipud", NULL, flip, quern__args_x, 1);
ROW(fliplr, "Fliplr", NULL, flip, quern__args_x, 2);
ROW(roll, "Roll", roll_fields, roll, quern__args_x, 0);
ROW(pad, "Pad", pad_fields, pad, pad_args, 0);
