/* sort_ops: operations of keras.ops that order elements: sort, argsort, top_k, quantiles, and
 * take_along_axis. Of equal elements the first comes first, as in TensorFlow; a gradient goes to the
 * selected elements. Semantics: keras.src.ops.numpy and keras.src.ops.math of Keras 3.15. */
#include "operations.h"

#include <math.h>
#include <string.h>

#define X quern__operand(l, g, in, n, "x")

/* x with config.axis as the last axis; null: all axes as one. `axis` gets the axis. 0: the graph
 * has an error. */
static quern__id axis_last(quern__layer *l, quern__graph *g, quern__id x, int *axis)
{
    int rank = quern__op_rank(g, x);
    *axis = 0;
    if (!x)
        return 0;
    if (json_is_null(json_object_get(l->config, "axis"))) {
        quern_shape one = { .rank = 1, .dims = { quern_shape_count(quern__shape_of(g, x)) } };
        return quern__op_closed(g, x, 0, "sorting") ? quern__reshape(g, x, &one) : 0;
    }
    *axis = quern__op_axis(l, g, "axis", rank);
    if (!quern__op_closed(g, x, *axis, "sorting"))
        return 0;
    return quern__op_move_axis(g, x, *axis, rank - 1);
}

/* Moves the last axis back to its place. */
static quern__id axis_back(quern__graph *g, quern__id x, int axis)
{
    return x ? quern__op_move_axis(g, x, quern__op_rank(g, x) - 1, axis) : 0;
}

static quern__id sorted(quern__graph *g, quern__id x)
{
    return quern__take_along(g, x, quern__argsort(g, x, false));
}

static quern__id sort(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    int axis;
    quern__id x = axis_last(l, g, X, &axis);
    (void)training;
    return axis_back(g, sorted(g, x), axis);
}

static quern__id argsort(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                         bool training)
{
    int axis;
    quern__id x = axis_last(l, g, X, &axis);
    (void)training;
    return axis_back(g, quern__cast(g, quern__argsort(g, x, false), QUERN_INT32), axis);
}

/* The k largest elements of the last axis and their indices, from the largest on. Keras leaves the
 * order open when `sorted` is false. */
static quern__id top_k(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = X;
    int64_t k = quern__config_int(l->config, "k");
    int last = quern__op_rank(g, x) - 1;
    (void)training;
    if (!x || last < 1 || k < 1 || k > quern__shape_of(g, x)->dims[last])
        return x ? quern__graph_fail(g, QUERN_SHAPE,
                                     "k must be from 1 to the size of the last axis, which is not "
                                     "that of the records")
                 : 0;
    quern__id places = quern__slice(g, quern__argsort(g, x, true), last, 0, k),
              values = quern__take_along(g, x, places);
    quern__layer_result(l, quern__cast(g, places, QUERN_INT32), 0);
    return values;
}

/* Broadcasts two tensors to each other, except along the last axis. */
static void match_leading(quern__graph *g, quern__id *a, quern__id *b)
{
    quern_shape s = *quern__shape_of(g, *a), t = *quern__shape_of(g, *b);
    for (int k = 0; s.rank == t.rank && k + 1 < s.rank; k++) {
        if (s.dims[k] == 1)
            s.dims[k] = t.dims[k];
        if (t.dims[k] == 1)
            t.dims[k] = s.dims[k];
    }
    *a = quern__broadcast(g, *a, &s);
    *b = quern__broadcast(g, *b, &t);
}

static quern__id take_along_axis(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                 bool training)
{
    int axis;
    quern__id x = X, indices = quern__operand(l, g, in, n, "indices");
    (void)training;
    x = axis_last(l, g, x, &axis);
    indices = indices ? axis_last(l, g, indices, &axis) : 0;
    if (!x || !indices)
        return 0;
    match_leading(g, &x, &indices);
    return axis_back(g, quern__take_along(g, x, indices), axis);
}

/* ---- quantiles ---- */

/* The axes of config as one last axis, or all axes. `kept` gets the shape with those axes of size 1
 * (keepdims). */
static quern__id axes_last(quern__layer *l, quern__graph *g, quern__id x, quern_shape *kept)
{
    int rank = quern__op_rank(g, x), rest = 0;
    uint32_t axes = x ? quern__op_axes(l, g, "axis", rank) : 0;
    if (!x || !axes)
        return 0;
    quern_shape flat = *kept = *quern__shape_of(g, x);
    int64_t count = 1;
    for (int k = 0, at = 0; k < rank; k++) {
        if (!(axes >> k & 1)) {
            flat.dims[rest++] = kept->dims[k];
            at++;
            continue;
        }
        if (!quern__op_closed(g, x, at, "a quantile"))
            return 0;
        count *= kept->dims[k];
        kept->dims[k] = 1;
        x = quern__op_move_axis(g, x, at, rank - 1);
    }
    flat.rank = rest + 1;
    flat.dims[rest] = count;
    return quern__reshape(g, x, &flat);
}

/* Element `at` of the last axis, without that axis. */
static quern__id element(quern__graph *g, quern__id x, double at)
{
    int last = quern__op_rank(g, x) - 1;
    int64_t n = x ? quern__shape_of(g, x)->dims[last] : 1, k = (int64_t)at;
    k = k < 0 ? 0 : k >= n ? n - 1 : k;
    return quern__op_drop(g, quern__slice(g, x, last, k, 1), last);
}

/* The quantile q of sorted elements (tfp.stats.percentile). */
static quern__id quantile_of(quern__graph *g, quern__id y, double q, const char *method)
{
    double n = (double)quern__shape_of(g, y)->dims[quern__op_rank(g, y) - 1], exact = (n - 1) * q;
    if (!strcmp(method, "lower"))
        return element(g, y, floor(exact));
    if (!strcmp(method, "higher"))
        return element(g, y, ceil(exact));
    if (!strcmp(method, "nearest"))
        return element(g, y, rint(exact));
    if (!strcmp(method, "midpoint"))
        return quern__scale(
            g, quern__add2(g, element(g, y, floor(exact)), element(g, y, ceil(exact))), 0.5);
    double larger = ceil(exact), smaller = larger > 0 ? larger - 1 : 0;
    larger = smaller + 1 < n - 1 ? smaller + 1 : n - 1;
    return quern__add2(g, quern__scale(g, element(g, y, larger), 1 - (larger - exact)),
                       quern__scale(g, element(g, y, smaller), larger - exact));
}

/* A label's score among the k largest of its row. */
static quern__id in_top_k(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          bool training)
{
    quern__id labels = quern__operand(l, g, in, n, "targets"),
              scores = quern__operand(l, g, in, n, "predictions");
    (void)training;
    return labels && scores ? quern__in_top_k(g, scores, labels, quern__config_int(l->config, "k"))
                            : 0;
}

/* row->extra: what q is divided by; 0: Median, the quantile 0.5. A list adds a first axis. As in
 * Keras, Quantile ignores its method (Quantile.call does not pass it on) and Percentile does not. */
static quern__id quantile(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          bool training)
{
    bool median = !l->kind->extra;
    json_t *q = median ? NULL : quern__op_numbers(json_object_get(l->context->options, "q"));
    const char *method = l->kind->extra == 100 ? quern__config_text(l->config, "method") : "linear";
    quern_shape kept;
    quern__id x = X, parts[QUERN__MAX_ARGUMENTS], y;
    size_t count = json_is_array(q) ? json_array_size(q) : 1;
    (void)training;
    if (!median && !json_is_number(q) && !(json_is_array(q) && count >= 1))
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "q must be a number or a list of numbers");
    if (count > QUERN__MAX_ARGUMENTS || !method)
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "q has more than %d quantiles",
                                 QUERN__MAX_ARGUMENTS);
    x = x ? axes_last(l, g, quern__cast(g, x, QUERN_FLOAT32), &kept) : 0;
    y = sorted(g, x);
    for (size_t k = 0; k < count && y; k++) {
        json_t *own = json_is_array(q) ? json_array_get(q, k) : q;
        parts[k] =
            quantile_of(g, y, median ? 0.5 : json_number_value(own) / l->kind->extra, method);
        if (parts[k] && quern__config_bool(l->config, "keepdims"))
            parts[k] = quern__reshape(g, parts[k], &kept);
        if (json_is_array(q))
            parts[k] = quern__op_expand(g, parts[k], 0);
    }
    if (!y || !json_is_array(q))
        return y ? parts[0] : 0;
    return quern__concat(g, parts, (int)count, 0);
}

/* ---- searching sorted numbers ---- */

/* The number of elements of `sorted` (n) that are below x, or also equal to it. */
static quern__id count_below(quern__graph *g, quern__id sorted, quern__id x, bool equal)
{
    if (!sorted || !x || quern__op_rank(g, sorted) != 1)
        return sorted && x
                   ? quern__graph_fail(g, QUERN_SHAPE, "the sorted numbers are not a vector")
                   : 0;
    quern__id wide = quern__op_expand(g, x, quern__op_rank(g, x)),
              below = quern__binary(g, equal ? QUERN__LESS_EQUAL : QUERN__LESS, sorted, wide);
    return quern__reduce(g, QUERN__SUM, below, 1u << quern__op_rank(g, x), false);
}

static quern__id digitize(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          bool training)
{
    (void)training;
    return count_below(g, quern__operand(l, g, in, n, "bins"), X, true);
}

static quern__id searchsorted(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                              bool training)
{
    const char *side = quern__config_text(l->config, "side");
    (void)training;
    return count_below(g, quern__operand(l, g, in, n, "sorted_sequence"),
                       quern__operand(l, g, in, n, "values"), side && !strcmp(side, "right"));
}

static const quern__field last_axis[] = { { "axis", QUERN__F_ANY, "-1" }, { 0 } };
static const quern__field any_axis[] = { { "axis", QUERN__F_ANY, "null" }, { 0 } };
static const quern__field top_fields[] = { { "k", QUERN__F_INT, NULL },
                                           { "sorted", QUERN__F_BOOL, "true" },
                                           { 0 } };
static const quern__field quantile_fields[] = { { "axis", QUERN__F_ANY, "null" },
                                                { "method", QUERN__F_TEXT, "\"linear\"" },
                                                { "keepdims", QUERN__F_BOOL, "false" },
                                                { 0 } };
static const quern__field in_top_fields[] = { { "k", QUERN__F_INT, NULL }, { 0 } };
static const quern__call_arg in_top_args[] = { { "targets", false },
                                               { "predictions", false },
                                               { 0 } };
static const quern__call_arg along_args[] = { { "x", false }, { "indices", false }, { 0 } };
static const quern__call_arg quantile_args[] = { { "x", false }, { "q", false }, { 0 } };

static const quern__call_arg bins_args[] = { { "x", false }, { "bins", false }, { 0 } };
static const quern__call_arg sorted_args[] = { { "sorted_sequence", false },
                                               { "values", false },
                                               { 0 } };
static const quern__field side_fields[] = { { "side", QUERN__F_TEXT, "\"left\"" }, { 0 } };

#define ROW(ID, NAME, FIELDS, CALL, ARGS, EXTRA) \
    QUERN__OPERATION_ROW(ID, NAME, "numpy", FIELDS, CALL, ARGS, EXTRA)
ROW(sort, "Sort", last_axis, sort, quern__args_x, 0);
ROW(argsort, "Argsort", last_axis, argsort, quern__args_x, 0);
ROW(take_along_axis, "TakeAlongAxis", any_axis, take_along_axis, along_args, 0);
ROW(quantile, "Quantile", quantile_fields, quantile, quantile_args, 1);
ROW(percentile, "Percentile", quantile_fields, quantile, quantile_args, 100);
ROW(median, "Median", quern__fields_axis_keepdims, quantile, quern__args_x, 0);
QUERN__OPERATION_ROW(in_top_k, "InTopK", "math", in_top_fields, in_top_k, in_top_args, 0);
QUERN__OPERATION_ROW(top_k, "TopK", "math", top_fields, top_k, quern__args_x, 0);
ROW(digitize, "Digitize", NULL, digitize, bins_args, 0);
ROW(searchsorted, "SearchSorted", side_fields, searchsorted, sorted_args, 0);
