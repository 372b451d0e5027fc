/* reduce_ops: operations along axes: sums, means, extrema, products, norms, argmax, cumulative
 * sums. Sums use double precision in a fixed order (ops/reduce.c). Formulas: keras.src.ops.numpy,
 * math, linalg and nn of Keras 3.15. */
#include "operations.h"

#include <math.h>
#include <string.h>

enum {
    unrolled = 512
}; /* the largest axis of a product or a cumulative function, which become one node per element */

#define X quern__operand(l, g, in, n, "x")

static bool keeps(const quern__layer *l) { return quern__config_bool(l->config, "keepdims"); }
/* row->extra: the reduction. */
static quern__id reduced(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                         bool training)
{
    quern__id x = X;
    uint32_t axes = x ? quern__op_axes(l, g, "axis", quern__op_rank(g, x)) : 0;
    (void)training;
    return axes ? quern__reduce(g, l->kind->extra, x, axes, keeps(l)) : 0;
}

/* The extremum of the elements and config.initial. */
static quern__id extreme(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                         bool training)
{
    quern__id y = reduced(l, g, in, n, training);
    json_t *initial = json_object_get(l->config, "initial");
    int function = l->kind->extra == QUERN__REDUCE_MAX ? QUERN__MAXIMUM : QUERN__MINIMUM;
    return json_is_number(initial)
               ? quern__binary(g, function, y, quern__op_number(g, json_number_value(initial)))
               : y;
}

/* row->extra: QUERN__REDUCE_MAX for any, QUERN__REDUCE_MIN for all, QUERN__SUM for count_nonzero.
 */
static quern__id of_truth(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          bool training)
{
    quern__id x = quern__op_truth(g, X);
    uint32_t axes = x ? quern__op_axes(l, g, "axis", quern__op_rank(g, x)) : 0;
    (void)training;
    return axes ? quern__reduce(g, l->kind->extra, x, axes, keeps(l)) : 0;
}

/* mean((x - mean(x))^2) */
static quern__id variance(quern__graph *g, quern__id x, uint32_t axes, bool keep)
{
    quern__id mean = quern__reduce(g, QUERN__MEAN, x, axes, true);
    return quern__reduce(g, QUERN__MEAN, quern__square(g, quern__sub2(g, x, mean)), axes, keep);
}

/* row->extra 1: the square root. */
static quern__id variance_of(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                             bool training)
{
    quern__id x = X, y;
    uint32_t axes = x ? quern__op_axes(l, g, "axis", quern__op_rank(g, x)) : 0;
    (void)training;
    y = axes ? variance(g, x, axes, keeps(l)) : 0;
    return l->kind->extra ? quern__sqrt(g, y) : y;
}

/* Mean and variance; the variance is the second result. */
static quern__id moments(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                         bool training)
{
    quern__id x = X;
    uint32_t axes = x ? quern__op_axes(l, g, "axes", quern__op_rank(g, x)) : 0;
    (void)training;
    if (!axes)
        return 0;
    quern__layer_result(l, variance(g, x, axes, keeps(l)), 0);
    return quern__reduce(g, QUERN__MEAN, x, axes, keeps(l));
}

/* Maximum less minimum (peak to peak). */
static quern__id ptp(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X;
    uint32_t axes = x ? quern__op_axes(l, g, "axis", quern__op_rank(g, x)) : 0;
    (void)training;
    return axes ? quern__sub2(g, quern__reduce(g, QUERN__REDUCE_MAX, x, axes, keeps(l)),
                              quern__reduce(g, QUERN__REDUCE_MIN, x, axes, keeps(l)))
                : 0;
}

/* max + log(sum(exp(x - max))) */
static quern__id logsumexp(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    quern__id x = X;
    uint32_t axes = x ? quern__op_axes(l, g, "axis", quern__op_rank(g, x)) : 0;
    (void)training;
    if (!axes)
        return 0;
    quern__id most = quern__stop_gradient(g, quern__reduce(g, QUERN__REDUCE_MAX, x, axes, true));
    quern__id sum = quern__reduce(
        g, QUERN__SUM, quern__unary_of(g, QUERN__EXP, quern__sub2(g, x, most)), axes, keeps(l));
    quern__id same = quern__reduce(g, QUERN__REDUCE_MAX, most, axes, keeps(l));
    return quern__add2(g, quern__unary_of(g, QUERN__LOG, sum), same);
}

/* sum(w x) / sum(w). Weights with one axis belong to config.axis. */
static quern__id average(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                         bool training)
{
    quern__id x = X, w = quern__operand_or_none(l, g, in, n, "weights");
    uint32_t axes = x ? quern__op_axes(l, g, "axis", quern__op_rank(g, x)) : 0;
    (void)training;
    if (!axes || !w)
        return axes ? quern__reduce(g, QUERN__MEAN, x, axes, false) : 0;
    if (quern__op_rank(g, w) == 1 && quern__op_rank(g, x) > 1) {
        int axis = quern__op_axis(l, g, "axis", quern__op_rank(g, x));
        quern_shape s = { .rank = quern__op_rank(g, x) };
        for (int i = 0; i < s.rank; i++)
            s.dims[i] = i == axis ? quern__shape_of(g, w)->dims[0] : 1;
        w = axis < 0 ? 0 : quern__reshape(g, w, &s);
    }
    quern__id ones = w ? quern__broadcast(g, w, quern__shape_of(g, x)) : 0;
    return quern__div2(g, quern__reduce(g, QUERN__SUM, quern__mul2(g, x, w), axes, false),
                       quern__reduce(g, QUERN__SUM, ones, axes, false));
}

/* ---- products and cumulative functions: one node per element of the axis ---- */

quern__id quern__op_product(quern__graph *g, quern__id x, int axis)
{
    quern__id y = 0;
    int64_t size = x ? quern__shape_of(g, x)->dims[axis] : 0;
    if (!quern__op_closed(g, x, axis, "prod"))
        return 0;
    if (size > unrolled)
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "a product over %lld elements, at most %d",
                                 (long long)size, unrolled);
    for (int64_t k = 0; k < size; k++) {
        quern__id one = quern__slice(g, x, axis, k, 1);
        y = k ? quern__mul2(g, y, one) : one;
    }
    return y;
}

/* The product over one axis at a time. */
static quern__id prod(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X;
    uint32_t axes = x ? quern__op_axes(l, g, "axis", quern__op_rank(g, x)) : 0;
    quern_shape to = { 0 };
    (void)training;
    for (int i = 0; i < quern__op_rank(g, x) && axes; i++)
        if (axes >> i & 1)
            x = quern__op_product(g, x, i);
    if (!axes || !x || keeps(l))
        return axes ? x : 0;
    for (int i = 0; i < quern__op_rank(g, x); i++)
        if (!(axes >> i & 1))
            to.dims[to.rank++] = quern__shape_of(g, x)->dims[i];
    return quern__reshape(g, x, &to);
}

/* row->extra: the function of the previous result and the next element. */
static quern__id cumulative(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                            bool training)
{
    quern__id x = X, parts[unrolled], now = 0;
    (void)training;
    if (json_is_null(json_object_get(l->config, "axis")))
        return quern__graph_fail(g, QUERN_UNSUPPORTED,
                                 "a cumulative function without an axis is not in this version");
    int axis = x ? quern__op_axis(l, g, "axis", quern__op_rank(g, x)) : -1;
    if (axis < 0 || !quern__op_closed(g, x, axis, "a cumulative function"))
        return 0;
    int64_t size = quern__shape_of(g, x)->dims[axis];
    if (size > unrolled)
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "an axis of %lld, at most %d",
                                 (long long)size, unrolled);
    for (int64_t k = 0; k < size; k++) {
        quern__id one = quern__slice(g, x, axis, k, 1);
        parts[k] = now = k ? quern__binary(g, l->kind->extra, now, one) : one;
    }
    return quern__concat(g, parts, (int)size, axis);
}

/* x[1:] - x[:-1] along an axis, n times. */
static quern__id diff(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X;
    int axis = x ? quern__op_axis(l, g, "axis", quern__op_rank(g, x)) : -1;
    (void)training;
    if (axis < 0 || !quern__op_closed(g, x, axis, "diff"))
        return 0;
    for (int64_t k = quern__config_int(l->config, "n"); k > 0 && x; k--) {
        int64_t size = quern__shape_of(g, x)->dims[axis] - 1;
        x = size < 1 ? quern__graph_fail(g, QUERN_SHAPE, "the result has no elements along axis %d",
                                         axis)
                     : quern__sub2(g, quern__slice(g, x, axis, 1, size),
                                   quern__slice(g, x, axis, 0, size));
    }
    return x;
}

/* ---- argmax and argmin ---- */

/* row->extra -1: argmin. Of equal elements, the first counts. */
static quern__id arg_extreme(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                             bool training)
{
    quern__id x = X;
    (void)training;
    if (json_is_null(json_object_get(l->config, "axis")))
        return quern__graph_fail(g, QUERN_UNSUPPORTED,
                                 "an index over the records of a batch is not in this version");
    int rank = quern__op_rank(g, x), axis = x ? quern__op_axis(l, g, "axis", rank) : -1;
    if (axis < 0 || !quern__op_closed(g, x, axis, "argmax"))
        return 0;
    x = l->kind->extra < 0 ? quern__scale(g, x, -1) : x;
    quern__id y = quern__argmax(g, quern__op_move_axis(g, x, axis, rank - 1));
    return keeps(l) ? quern__op_expand(g, y, axis) : y;
}

/* ---- norms ---- */

/* sum(|x|^p)^(1/p) over axes; p = infinity: the maximum. */
static quern__id vector_norm(quern__graph *g, quern__id x, double p, uint32_t axes, bool keep)
{
    quern__id size = quern__unary_of(g, QUERN__ABS, x);
    if (p == 2)
        return quern__sqrt(g, quern__reduce(g, QUERN__SUM, quern__square(g, x), axes, keep));
    if (isinf(p))
        return quern__reduce(g, p > 0 ? QUERN__REDUCE_MAX : QUERN__REDUCE_MIN, size, axes, keep);
    if (p == 0)
        return quern__reduce(g, QUERN__SUM, quern__op_truth(g, x), axes, keep);
    if (p == 1)
        return quern__reduce(g, QUERN__SUM, size, axes, keep);
    quern__id sum = quern__reduce(
        g, QUERN__SUM, quern__binary(g, QUERN__POW, size, quern__op_number(g, p)), axes, keep);
    return quern__binary(g, QUERN__POW, sum, quern__op_number(g, 1 / p));
}

/* The number of axes in a mask. */
static int bits(uint32_t axes)
{
    int count = 0;
    for (; axes; axes >>= 1)
        count += axes & 1;
    return count;
}

/* Vector norms and the Frobenius norm of matrices. */
static quern__id norm(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X;
    json_t *ord = json_object_get(l->config, "ord");
    uint32_t axes = x ? quern__op_axes(l, g, "axis", quern__op_rank(g, x)) : 0;
    const char *name = json_string_value(ord);
    (void)training;
    if (!axes)
        return 0;
    bool euclid = json_is_null(ord) || (name && !strcmp(name, "fro"));
    if (euclid || (bits(axes) == 1 && (json_is_number(ord) || (name && !strcmp(name, "inf")))))
        return vector_norm(g, x,
                           euclid ? 2
                           : name ? (double)INFINITY
                                  : json_number_value(ord),
                           axes, keeps(l));
    return quern__graph_fail(g, QUERN_UNSUPPORTED, "this norm of matrices is not in this version");
}

/* x / max(norm(x), epsilon) */
static quern__id normalize(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    quern__id x = X;
    uint32_t axes = x ? quern__op_axes(l, g, "axis", quern__op_rank(g, x)) : 0;
    json_t *order = json_object_get(l->config, "order"),
           *epsilon = json_object_get(l->config, "epsilon");
    double p = json_is_number(order) ? json_number_value(order) : 2,
           least = json_is_number(epsilon) ? json_number_value(epsilon) : 1e-7;
    (void)training;
    if (!axes)
        return 0;
    if (p == 2) { /* Keras computes this one as x * rsqrt(max(sum(x^2), epsilon^2)) */
        quern__id squares = quern__reduce(g, QUERN__SUM, quern__square(g, x), axes, true);
        return quern__mul2(g, x,
                           quern__unary_of(g, QUERN__RSQRT,
                                           quern__binary(g, QUERN__MAXIMUM, squares,
                                                         quern__op_number(g, least * least))));
    }
    return quern__div2(g, x,
                       quern__binary(g, QUERN__MAXIMUM, vector_norm(g, x, p, axes, true),
                                     quern__op_number(g, least)));
}

static const quern__call_arg average_args[] = { { "x", false }, { "weights", false }, { 0 } };
static const quern__field axis_fields[] = { { "axis", QUERN__F_ANY, "null" }, { 0 } };
static const quern__field extreme_fields[] = { { "axis", QUERN__F_ANY, "null" },
                                               { "keepdims", QUERN__F_BOOL, "false" },
                                               { "initial", QUERN__F_NUMBER, "null" },
                                               { 0 } };
static const quern__field prod_fields[] = { { "axis", QUERN__F_ANY, "null" },
                                            { "keepdims", QUERN__F_BOOL, "false" },
                                            { "dtype", QUERN__F_ANY, "null" },
                                            { 0 } };
static const quern__field moments_fields[] = { { "axes", QUERN__F_ANY, NULL },
                                               { "keepdims", QUERN__F_BOOL, "false" },
                                               { "synchronized", QUERN__F_ONLY_DEFAULT, "false" },
                                               { 0 } };
static const quern__field cumulative_fields[] = { { "axis", QUERN__F_ANY, "null" },
                                                  { "dtype", QUERN__F_ANY, "null" },
                                                  { 0 } };
static const quern__field diff_fields[] = { { "n", QUERN__F_INT, "1" },
                                            { "axis", QUERN__F_INT, "-1" },
                                            { 0 } };
static const quern__field norm_fields[] = { { "ord", QUERN__F_ANY, "null" },
                                            { "axis", QUERN__F_ANY, "null" },
                                            { "keepdims", QUERN__F_BOOL, "false" },
                                            { 0 } };
static const quern__field normalize_fields[] = { { "axis", QUERN__F_ANY, "-1" },
                                                 { "order", QUERN__F_ANY, "2" },
                                                 { "epsilon", QUERN__F_ANY, "null" },
                                                 { 0 } };

#define ROW(ID, NAME, MODULE, FIELDS, CALL, EXTRA) \
    QUERN__OPERATION_ROW(ID, NAME, MODULE, FIELDS, CALL, quern__args_x, EXTRA)
ROW(mean, "Mean", "numpy", quern__fields_axis_keepdims, reduced, QUERN__MEAN);
ROW(sum, "Sum", "numpy", quern__fields_axis_keepdims, reduced, QUERN__SUM);
ROW(max, "Max", "numpy", extreme_fields, extreme, QUERN__REDUCE_MAX);
ROW(min, "Min", "numpy", extreme_fields, extreme, QUERN__REDUCE_MIN);
ROW(amax, "Amax", "numpy", quern__fields_axis_keepdims, reduced, QUERN__REDUCE_MAX);
ROW(amin, "Amin", "numpy", quern__fields_axis_keepdims, reduced, QUERN__REDUCE_MIN);
ROW(any, "Any", "numpy", quern__fields_axis_keepdims, of_truth, QUERN__REDUCE_MAX);
ROW(all, "All", "numpy", quern__fields_axis_keepdims, of_truth, QUERN__REDUCE_MIN);
ROW(count_nonzero, "CountNonzero", "numpy", axis_fields, of_truth, QUERN__SUM);
ROW(var, "Var", "numpy", quern__fields_axis_keepdims, variance_of, 0);
ROW(std, "Std", "numpy", quern__fields_axis_keepdims, variance_of, 1);
ROW(moments, "Moments", "nn", moments_fields, moments, 0);
ROW(ptp, "Ptp", "numpy", quern__fields_axis_keepdims, ptp, 0);
ROW(logsumexp, "Logsumexp", "math", quern__fields_axis_keepdims, logsumexp, 0);
QUERN__OPERATION_ROW(average, "Average", "numpy", axis_fields, average, average_args, 0);
ROW(prod, "Prod", "numpy", prod_fields, prod, 0);
ROW(cumsum, "Cumsum", "numpy", cumulative_fields, cumulative, QUERN__ADD);
ROW(cumprod, "Cumprod", "numpy", cumulative_fields, cumulative, QUERN__MUL);
ROW(diff, "Diff", "numpy", diff_fields, diff, 0);
ROW(argmax, "Argmax", "numpy", quern__fields_axis_keepdims, arg_extreme, 1);
ROW(argmin, "Argmin", "numpy", quern__fields_axis_keepdims, arg_extreme, -1);
ROW(norm, "Norm", "linalg", norm_fields, norm, 0);
ROW(normalize, "Normalize", "nn", normalize_fields, normalize, 0);
