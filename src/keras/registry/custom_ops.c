/* custom_ops: ops by name for custom classes. They call the builders of ops and check the program's
 * arguments first. */
#include "keras/keras.h"

#include <quern/custom.h>

#include <string.h>

/* Checks that the graph exists, that `pointer` is not NULL, and that each node is a value of the
 * graph or 0. */
static bool given(quern_graph *g, const char *name, const void *pointer, const quern_node *x, int n)
{
    if (g && !pointer)
        quern__graph_fail(g, QUERN_INVALID, "%s is NULL", name);
    bool fits = g && pointer;
    for (int i = 0; fits && i < n; i++)
        if (x[i] < 0 || x[i] > quern__graph_values(g)) {
            quern__graph_fail(g, QUERN_INVALID, "value %d does not exist", x[i]);
            fits = false;
        }
    return fits;
}

quern_shape quern_node_shape(const quern_graph *g, quern_node x)
{
    if (!g)
        return (quern_shape){ 0 };
    return x > 0 && x <= quern__graph_values(g) ? *quern__shape_of(g, x) : (quern_shape){ 0 };
}

quern_node quern_node_constant(quern_graph *g, double number)
{
    if (!g)
        return 0;
    return quern__graph_constant(g, number, QUERN_FLOAT32);
}

/* An activation of Keras with that name takes precedence, because it has arguments with defaults.
 */
quern_node quern_node_unary(quern_graph *g, const char *function, quern_node x)
{
    if (!given(g, "function", function, (quern_node[]){ x }, 1))
        return 0;
    if (quern__is_activation(function)) {
        json_t *spec = json_string(function);
        quern__id y = x ? quern__activation(g, spec, x) : 0;
        json_decref(spec);
        return y;
    }
    static const int bare[] = { QUERN__NEG,  QUERN__ABS,   QUERN__SIGN,       QUERN__SQUARE,
                                QUERN__SQRT, QUERN__RSQRT, QUERN__RECIPROCAL, QUERN__EXP,
                                QUERN__LOG,  QUERN__ROUND };
    for (size_t i = 0; i < sizeof bare / sizeof *bare; i++)
        if (quern__same_name(quern__unary_name(bare[i]), function))
            return quern__unary_of(g, bare[i], x);
    return quern__graph_fail(g, QUERN_NOTFOUND, "no unary function is called '%s'", function);
}

quern_node quern_node_binary(quern_graph *g, const char *function, quern_node a, quern_node b)
{
    if (!given(g, "function", function, (quern_node[]){ a, b }, 2))
        return 0;
    for (int f = 0; f < QUERN__BINARY_COUNT; f++)
        if (quern__same_name(quern__binary_name(f), function))
            return quern__binary(g, f, a, b);
    return quern__graph_fail(g, QUERN_NOTFOUND, "no binary function is called '%s'", function);
}

quern_node quern_node_select(quern_graph *g, quern_node condition, quern_node a, quern_node b)
{
    if (!given(g, "", "", (quern_node[]){ condition, a, b }, 3))
        return 0;
    return quern__select(g, condition, a, b);
}

quern_node quern_node_matmul(quern_graph *g, quern_node x, quern_node matrix)
{
    if (!given(g, "", "", (quern_node[]){ x, matrix }, 2))
        return 0;
    return quern__matmul(g, x, matrix, false, false);
}

/* Converts an axis, which counts from the end when negative, to an index; -1: it is out of range.
 */
static int axis_of(quern_graph *g, quern_node x, int axis)
{
    int rank = quern__shape_of(g, x)->rank;
    axis += axis < 0 ? rank : 0;
    if (axis >= 0 && axis < rank)
        return axis;
    quern__graph_fail(g, QUERN_SHAPE, "axis %d is out of range for rank %d", axis, rank);
    return -1;
}

quern_node quern_node_reduce(quern_graph *g, const char *what, quern_node x, const int *axes,
                             int n_axes, int keepdims)
{
    if (!given(g, "axes", n_axes ? (const void *)axes : "", (quern_node[]){ x }, 1))
        return 0;
    static const char *const names[] = { [QUERN__SUM] = "sum",
                                         [QUERN__MEAN] = "mean",
                                         [QUERN__REDUCE_MAX] = "max",
                                         [QUERN__REDUCE_MIN] = "min" };
    uint32_t mask = n_axes ? 0 : ~0u;
    for (int i = 0; x && i < n_axes; i++) {
        int axis = axis_of(g, x, axes[i]);
        if (axis < 0)
            return 0;
        mask |= 1u << axis;
    }
    for (int k = 0; k < (int)(sizeof names / sizeof *names); k++)
        if (what && !strcmp(names[k], what))
            return x ? quern__reduce(g, k, x, mask, keepdims) : 0;
    return quern__graph_fail(g, QUERN_NOTFOUND, "'%s' is not sum, mean, max or min",
                             what ? what : "NULL");
}

quern_node quern_node_softmax(quern_graph *g, quern_node x)
{
    if (!given(g, "", "", (quern_node[]){ x }, 1))
        return 0;
    return x ? quern__softmax(g, x) : 0;
}

quern_node quern_node_reshape(quern_graph *g, quern_node x, const quern_shape *shape)
{
    if (!given(g, "shape", shape, (quern_node[]){ x }, 1))
        return 0;
    return x ? quern__reshape(g, x, shape) : 0;
}

quern_node quern_node_transpose(quern_graph *g, quern_node x, const int *axes)
{
    if (!given(g, "axes", axes, (quern_node[]){ x }, 1))
        return 0;
    uint32_t seen = 0;
    int rank = x ? quern__shape_of(g, x)->rank : 0;
    for (int i = 0; i < rank; i++)
        seen |= axes[i] >= 0 && axes[i] < rank ? 1u << axes[i] : 0;
    if (x && (seen != (1u << rank) - 1 || axes[0] != 0))
        return quern__graph_fail(g, QUERN_SHAPE,
                                 "axes must be a permutation that keeps the batch axis first");
    return x ? quern__transpose(g, x, axes) : 0;
}

quern_node quern_node_concat(quern_graph *g, const quern_node *x, int n, int axis)
{
    if (!given(g, "x", x, x, n))
        return 0;
    for (int i = 0; i < n; i++)
        if (!x[i])
            return 0;
    axis = n > 0 ? axis_of(g, x[0], axis) : -1;
    return axis > 0 ? quern__concat(g, x, n, axis)
                    : quern__graph_fail(g, QUERN_SHAPE, "the batch axis cannot be concatenated");
}

quern_node quern_node_slice(quern_graph *g, quern_node x, int axis, int64_t begin, int64_t size)
{
    if (!given(g, "", "", (quern_node[]){ x }, 1))
        return 0;
    axis = x ? axis_of(g, x, axis) : -1;
    if (axis < 0)
        return 0;
    const quern_shape *s = quern__shape_of(g, x);
    if (begin < 0 || size < 1 || s->dims[axis] < 0 || begin > s->dims[axis] - size)
        return quern__graph_fail(g, QUERN_SHAPE,
                                 "%lld elements from index %lld exceed axis %d of size %lld",
                                 (long long)size, (long long)begin, axis, (long long)s->dims[axis]);
    return quern__slice(g, x, axis, begin, size);
}

quern_node quern_node_stop_gradient(quern_graph *g, quern_node x)
{
    if (!given(g, "", "", (quern_node[]){ x }, 1))
        return 0;
    return x ? quern__stop_gradient(g, x) : 0;
}
