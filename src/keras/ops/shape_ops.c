/* shape_ops: operations of keras.ops that change the shape and move no element between records:
 * reshaping, transposing, new axes, broadcasting. Axis 0 is the dynamic batch dimension; an
 * operation that would split or reorder it is an error. Semantics: keras.src.ops.numpy of
 * Keras 3.15. */
#include "operations.h"

#include <string.h>

#define X quern__operand(l, g, in, n, "x")

/* The new shape can have one -1. A leading -1 or the fixed batch size keeps the records when the
 * other sizes match one record; otherwise the batch axis is merged: (B, T, C) to (B T, C). */
static quern__id reshape(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                         bool training)
{
    quern__id x = X;
    int64_t sizes[QUERN_MAX_RANK];
    int rank = x ? quern__op_integers(l, g, "newshape", sizes, QUERN_MAX_RANK) : -1, guess = -1;
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
        return quern__graph_fail(g, QUERN_UNSUPPORTED,
                                 "a reshape that moves the batch axis is not in this version");
    if (guess >= 0 && (known < 1 || count % known))
        return quern__graph_fail(g, QUERN_SHAPE,
                                 "%lld elements of a record do not fill the new shape",
                                 (long long)count);
    if (guess >= 0)
        to.dims[guess] = open ? -(count / known) : count / known;
    return quern__reshape(g, x, &to);
}

static quern__id transpose(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    quern__id x = X;
    int rank = quern__op_rank(g, x), order[QUERN_MAX_RANK];
    int64_t axes[QUERN_MAX_RANK];
    (void)training;
    bool all = json_is_null(json_object_get(l->config, "axes"));
    int count = all ? rank : quern__op_integers(l, g, "axes", axes, QUERN_MAX_RANK);
    if (!x || count != rank)
        return count < 0
                   ? 0
                   : quern__graph_fail(g, QUERN_SHAPE, "axes do not fit a tensor of %d axes", rank);
    for (int i = 0; i < rank; i++)
        order[i] = all ? rank - 1 - i : (int)(axes[i] < 0 ? axes[i] + rank : axes[i]);
    return quern__transpose(g, x, order);
}

static quern__id swapaxes(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          bool training)
{
    quern__id x = X;
    int rank = quern__op_rank(g, x), order[QUERN_MAX_RANK],
        a = x ? quern__op_axis(l, g, "axis1", rank) : -1,
        b = a < 0 ? -1 : quern__op_axis(l, g, "axis2", rank);
    (void)training;
    if (b < 0)
        return 0;
    for (int i = 0; i < rank; i++)
        order[i] = i == a ? b : i == b ? a : i;
    return quern__transpose(g, x, order);
}

static quern__id moveaxis(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          bool training)
{
    quern__id x = X;
    int rank = quern__op_rank(g, x), order[QUERN_MAX_RANK];
    int64_t from[QUERN_MAX_RANK], to[QUERN_MAX_RANK];
    int count = x ? quern__op_integers(l, g, "source", from, QUERN_MAX_RANK) : -1;
    bool moved[QUERN_MAX_RANK] = { false };
    (void)training;
    if (count < 0 || quern__op_integers(l, g, "destination", to, QUERN_MAX_RANK) != count)
        return 0;
    for (int i = 0; i < rank; i++)
        order[i] = -1;
    for (int i = 0; i < count; i++) {
        int64_t a = from[i] + (from[i] < 0 ? rank : 0), b = to[i] + (to[i] < 0 ? rank : 0);
        if (a < 0 || a >= rank || b < 0 || b >= rank)
            return quern__graph_fail(g, QUERN_SHAPE,
                                     "source and destination do not fit a tensor of %d axes", rank);
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

static quern__id expand_dims(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                             bool training)
{
    quern__id x = X;
    int64_t axes[QUERN_MAX_RANK];
    int count = x ? quern__op_integers(l, g, "axis", axes, QUERN_MAX_RANK) : -1,
        rank = quern__op_rank(g, x) + (count > 0 ? count : 0);
    (void)training;
    for (int i = 0; i < count; i++)
        axes[i] += axes[i] < 0 ? rank : 0;
    for (int i = 0; i < count && x;
         i++) { /* in ascending order, because each axis is an index of the result */
        int least = i;
        for (int k = i + 1; k < count; k++)
            least = axes[k] < axes[least] ? k : least;
        int64_t axis = axes[least];
        axes[least] = axes[i];
        if (axis < 0 || axis > quern__op_rank(g, x))
            return quern__graph_fail(g, QUERN_SHAPE, "axis %lld of a tensor of %d axes",
                                     (long long)axis, quern__op_rank(g, x));
        x = quern__op_expand(g, x, (int)axis);
    }
    return count < 0 ? 0 : x;
}

static quern__id squeeze(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                         bool training)
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
            return quern__graph_fail(g, QUERN_SHAPE, "axis %d has size %lld, not 1", i,
                                     (long long)s.dims[i]);
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
    return quern__reshape(
        g, x, &(quern_shape){ .rank = 1, .dims = { quern_shape_count(quern__shape_of(g, x)) } });
}

static quern__id broadcast_to(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                              bool training)
{
    quern__id x = X;
    int64_t sizes[QUERN_MAX_RANK];
    int rank = x ? quern__op_integers(l, g, "shape", sizes, QUERN_MAX_RANK) : -1;
    quern_shape to = { .rank = rank < 0 ? 0 : rank };
    (void)training;
    for (int i = 0; i < rank; i++)
        to.dims[i] = sizes[i];
    return rank < 0 ? 0 : quern__broadcast(g, x, &to);
}

static const quern__field reshape_fields[] = { { "newshape", QUERN__F_ANY, NULL }, { 0 } };
static const quern__field transpose_fields[] = { { "axes", QUERN__F_ANY, "null" }, { 0 } };
static const quern__field swap_fields[] = { { "axis1", QUERN__F_INT, NULL },
                                            { "axis2", QUERN__F_INT, NULL },
                                            { 0 } };
static const quern__field move_fields[] = { { "source", QUERN__F_ANY, NULL },
                                            { "destination", QUERN__F_ANY, NULL },
                                            { 0 } };
static const quern__field axis_fields[] = { { "axis", QUERN__F_ANY, "null" }, { 0 } };
static const quern__field shape_fields[] = { { "shape", QUERN__F_ANY, NULL }, { 0 } };

#define ROW(ID, NAME, FIELDS, CALL, ARGS, EXTRA) \
    QUERN__OPERATION_ROW(ID, NAME, "numpy", FIELDS, CALL, ARGS, EXTRA)
ROW(reshape, "Reshape", reshape_fields, reshape, quern__args_x, 0);
ROW(transpose, "Transpose", transpose_fields, transpose, quern__args_x, 0);
ROW(swapaxes, "Swapaxes", swap_fields, swapaxes, quern__args_x, 0);
ROW(moveaxis, "Moveaxis", move_fields, moveaxis, quern__args_x, 0);
ROW(expand_dims, "ExpandDims", axis_fields, expand_dims, quern__args_x, 0);
ROW(squeeze, "Squeeze", axis_fields, squeeze, quern__args_x, 0);
ROW(ravel, "Ravel", NULL, ravel, quern__args_x, 0);
ROW(broadcast_to, "BroadcastTo", shape_fields, broadcast_to, quern__args_x, 0);
