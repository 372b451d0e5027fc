/* join_ops: operations of keras.ops that concatenate tensors and split them. Axis 0 is the dynamic
 * batch dimension; an operation that would split or extend it is an error. Semantics:
 * keras.src.ops.numpy of Keras 3.15. */
#include "operations.h"

#include <string.h>

#define X quern__operand(l, g, in, n, "x")

/* ---- concatenating ---- */

quern__id quern__op_join(quern__graph *g, const quern__id *in, int n, int axis)
{
    if (n == 1)
        return in[0];
    return axis > 0 || quern__op_closed(g, in[0], 0, "joining") ? quern__concat(g, in, n, axis) : 0;
}

static quern__id concatenate(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                             bool training)
{
    int axis = quern__op_axis(l, g, "axis", quern__op_rank(g, in[0]));
    (void)training;
    return axis < 0 ? 0 : quern__op_join(g, in, n, axis);
}

static quern__id stack(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id with[QUERN__MAX_ARGUMENTS];
    int axis = quern__op_axis(l, g, "axis", quern__op_rank(g, in[0]) + 1);
    (void)training;
    for (int i = 0; i < n && axis >= 0; i++)
        with[i] = quern__op_expand(g, in[i], axis);
    return axis < 0 ? 0 : quern__op_join(g, with, n, axis);
}

/* row->extra: the axis. */
static quern__id stack_along(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                             bool training)
{
    quern__id with[QUERN__MAX_ARGUMENTS];
    int axis = l->kind->extra;
    (void)training;
    for (int i = 0; i < n; i++)
        with[i] = quern__op_rank(g, in[i]) > axis ? in[i] : quern__op_expand(g, in[i], axis);
    return quern__op_join(g, with, n, axis);
}

static quern__id append(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id both[2] = { quern__operand(l, g, in, n, "x1"), quern__operand(l, g, in, n, "x2") };
    (void)training;
    if (!both[0] || !both[1])
        return 0;
    if (json_is_null(json_object_get(l->config, "axis")))
        return quern__graph_fail(g, QUERN_UNSUPPORTED,
                                 "append without an axis is not in this version");
    int axis = quern__op_axis(l, g, "axis", quern__op_rank(g, both[0]));
    return axis < 0 ? 0 : quern__op_join(g, both, 2, axis);
}

/* ---- splitting: the call returns the first part; the others are further results ---- */

/* Splits an axis at `count` indices into count + 1 parts. Returns the first. */
static quern__id parts(quern__layer *l, quern__graph *g, quern__id x, int axis, const int64_t *ends,
                       int count)
{
    quern__id first = 0;
    if (!x || (axis == 0 && !quern__op_closed(g, x, 0, "splitting")))
        return 0;
    if (count > QUERN__MAX_RESULTS)
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "%d parts, at most %d", count,
                                 QUERN__MAX_RESULTS);
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
    int64_t ends[QUERN__MAX_RESULTS + 1],
        size = x && axis >= 0 ? quern__shape_of(g, x)->dims[axis] : 0;
    json_t *given = json_object_get(l->config, "indices_or_sections");
    int count = size > 0
                    ? quern__op_integers(l, g, "indices_or_sections", ends, QUERN__MAX_RESULTS - 1)
                    : -1;
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
        return quern__graph_fail(g, QUERN_SHAPE, "an axis of %lld does not split into %lld parts",
                                 (long long)size, (long long)sections);
    for (int64_t k = 0, end = 0; k < sections; k++)
        ends[k] = end += size / sections + (k < size % sections);
    return parts(l, g, x, axis, ends, (int)sections);
}

static quern__id split(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X;
    (void)training;
    return x ? split_at(l, g, x, quern__op_axis(l, g, "axis", quern__op_rank(g, x)), l->kind->extra)
             : 0;
}

/* row->extra: the axis. */
static quern__id split_along(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                             bool training)
{
    (void)training;
    return split_at(l, g, X, l->kind->extra, false);
}

/* Splits an axis into its elements and removes it. Returns the first. */
static quern__id unstack(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                         bool training)
{
    quern__id x = X, first = 0;
    int axis = x ? quern__op_axis(l, g, "axis", quern__op_rank(g, x)) : -1;
    (void)training;
    if (axis < 0 || !quern__op_closed(g, x, axis, "unstack"))
        return 0;
    int64_t count = quern__shape_of(g, x)->dims[axis];
    if (count > QUERN__MAX_RESULTS)
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "%lld parts, at most %d", (long long)count,
                                 QUERN__MAX_RESULTS);
    for (int64_t k = 0; k < count; k++) {
        quern__id part = quern__op_drop(g, quern__slice(g, x, axis, k, 1), axis);
        if (k == 0)
            first = part;
        else
            quern__layer_result(l, part, 0);
    }
    return first;
}

static const quern__field axis_fields[] = { { "axis", QUERN__F_ANY, "null" }, { 0 } };
static const quern__field first_axis[] = { { "axis", QUERN__F_INT, "0" }, { 0 } };
static const quern__field split_fields[] = { { "indices_or_sections", QUERN__F_ANY, NULL },
                                             { "axis", QUERN__F_INT, "0" },
                                             { 0 } };
static const quern__field section_fields[] = { { "indices_or_sections", QUERN__F_ANY, NULL },
                                               { 0 } };
static const quern__field unstack_fields[] = { { "num", QUERN__F_ANY, "null" },
                                               { "axis", QUERN__F_INT, "0" },
                                               { 0 } };
static const quern__call_arg stack_args[] = { { "x", true }, { 0 } };

#define ROW(ID, NAME, FIELDS, CALL, ARGS, EXTRA) \
    QUERN__OPERATION_ROW(ID, NAME, "numpy", FIELDS, CALL, ARGS, EXTRA)
ROW(concatenate, "Concatenate", first_axis, concatenate, quern__args_xs, 0);
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
