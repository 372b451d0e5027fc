/* regression_losses: distances, hinge losses, correlations and overlaps. Formulas:
 * https://keras.io/api/losses/, epsilon 1e-7. A function gets targets t and predictions p, and
 * returns one value per record, or per record and step: the mean or sum over the last axis.
 * losses.c applies weights and the reduction. */
#include "losses.h"

#include <math.h>

static const double epsilon = 1e-7;

/* A function without parameters. */
static quern__id one(quern__graph *g, int function, quern__id x)
{
    return quern__unary_of(g, function, x);
}
/* The maximum of x and a. */
static quern__id least(quern__graph *g, quern__id x, double a)
{
    return quern__unary(g, QUERN__CLIP, x, a, INFINITY, 0);
}

/* A reduction over the last axis. */
static quern__id last(quern__graph *g, int what, quern__id x, bool keepdims)
{
    return x ? quern__reduce(g, what, x, 1u << (quern__shape_of(g, x)->rank - 1), keepdims) : 0;
}

quern__id quern__last_mean(quern__graph *g, quern__id x) { return last(g, QUERN__MEAN, x, false); }

quern__id quern__axis_last(quern__graph *g, json_t *config, quern__id x)
{
    json_t *given = json_object_get(config, "axis");
    int rank = x ? quern__shape_of(g, x)->rank : 0, order[QUERN_MAX_RANK], n = 0;
    int axis = json_is_integer(given) ? (int)json_integer_value(given) : -1;
    axis = axis < 0 ? axis + rank : axis;
    if (!x || axis == rank - 1)
        return x;
    if (axis < 0 || axis >= rank)
        return quern__graph_fail(g, QUERN_SHAPE, "axis %d of an array with %d axes", axis, rank);
    for (int k = 0; k < rank; k++)
        if (k != axis)
            order[n++] = k;
    order[n] = axis;
    return quern__transpose(g, x, order);
}

void quern__match(quern__graph *g, quern__id *truth, quern__id *prediction)
{
    quern__match_ranks(g, truth, prediction);
    if (*truth && *prediction)
        *truth = quern__cast(g, *truth, quern__graph_value(g, *prediction)->dtype);
}

#define VALUE(NAME) quern__id NAME(quern__graph *g, json_t *config, quern__id t, quern__id p)

/* t - p, after both have the same rank and dtype. */
static quern__id difference(quern__graph *g, quern__id t, quern__id p)
{
    quern__match(g, &t, &p);
    return quern__sub2(g, t, p);
}

VALUE(quern__squares_of)
{
    (void)config;
    return one(g, QUERN__SQUARE, difference(g, t, p));
}

VALUE(quern__squared)
{
    (void)config;
    return quern__last_mean(g, one(g, QUERN__SQUARE, difference(g, t, p)));
}

VALUE(quern__absolute)
{
    (void)config;
    return quern__last_mean(g, one(g, QUERN__ABS, difference(g, t, p)));
}

VALUE(quern__percentage)
{
    (void)config;
    quern__match(g, &t, &p);
    quern__id part = quern__div2(g, quern__sub2(g, t, p), least(g, one(g, QUERN__ABS, t), epsilon));
    return quern__scale(g, quern__last_mean(g, one(g, QUERN__ABS, part)), 100);
}

/* log(1 + max(x, epsilon)) */
static quern__id log_of_next(quern__graph *g, quern__id x)
{
    return one(g, QUERN__LOG, quern__shift(g, least(g, x, epsilon), 1));
}

VALUE(quern__squared_logarithmic)
{
    (void)config;
    quern__match(g, &t, &p);
    return quern__last_mean(
        g, one(g, QUERN__SQUARE, quern__sub2(g, log_of_next(g, p), log_of_next(g, t))));
}

VALUE(quern__huber)
{
    double delta = quern__config_number(config, "delta");
    quern__id e = one(g, QUERN__ABS, difference(g, t, p));
    if (!e)
        return 0;
    quern__id small = quern__scale(g, one(g, QUERN__SQUARE, e), 0.5);
    quern__id large = quern__unary(g, QUERN__AFFINE, e, delta, -delta * delta / 2, 0);
    quern__id inside = quern__binary(
        g, QUERN__LESS_EQUAL, e, quern__graph_constant(g, delta, quern__graph_value(g, e)->dtype));
    return quern__last_mean(g, quern__select(g, inside, small, large));
}

/* log(cosh(x)) = x + softplus(-2x) - log 2, which does not overflow */
VALUE(quern__log_cosh)
{
    (void)config;
    quern__match(g, &t, &p);
    quern__id x = quern__sub2(g, p, t);
    quern__id y = quern__add2(g, x, one(g, QUERN__SOFTPLUS, quern__scale(g, x, -2)));
    return quern__last_mean(g, quern__shift(g, y, -log(2)));
}

VALUE(quern__poisson)
{
    (void)config;
    quern__match(g, &t, &p);
    quern__id product = quern__mul2(g, t, one(g, QUERN__LOG, quern__shift(g, p, epsilon)));
    return quern__last_mean(g, quern__sub2(g, p, product));
}

VALUE(quern__kl_divergence)
{
    (void)config;
    quern__match(g, &t, &p);
    t = quern__unary(g, QUERN__CLIP, t, epsilon, 1, 0);
    p = quern__unary(g, QUERN__CLIP, p, epsilon, 1, 0);
    return last(g, QUERN__SUM, quern__mul2(g, t, one(g, QUERN__LOG, quern__div2(g, t, p))), false);
}

/* x / max(norm, epsilon) along the last axis */
static quern__id normalised(quern__graph *g, quern__id x)
{
    quern__id inverse = one(g, QUERN__RSQRT, last(g, QUERN__SUM, one(g, QUERN__SQUARE, x), true));
    return quern__mul2(g, x, quern__unary(g, QUERN__CLIP, inverse, -INFINITY, 1 / epsilon, 0));
}

/* The loss is the negative similarity (`extra` of its row is -1); the metric is the similarity. */
VALUE(quern__cosine)
{
    quern__match(g, &t, &p);
    t = normalised(g, quern__axis_last(g, config, t));
    p = normalised(g, quern__axis_last(g, config, p));
    return last(g, QUERN__SUM, quern__mul2(g, t, p), false);
}

/* Maps labels 0 and 1 to -1 and 1. A batch with any other label does not change. */
static quern__id hinge_labels(quern__graph *g, quern__id t)
{
    if (!t)
        return 0;
    int dtype = quern__graph_value(g, t)->dtype;
    quern__id zero = quern__binary(g, QUERN__EQUAL, t, quern__graph_constant(g, 0, dtype));
    quern__id unit = quern__binary(g, QUERN__EQUAL, t, quern__graph_constant(g, 1, dtype));
    quern__id binary = quern__reduce(g, QUERN__REDUCE_MIN, quern__add2(g, zero, unit), ~0u, false);
    return quern__select(g, binary, quern__unary(g, QUERN__AFFINE, t, 2, -1, 0), t);
}

/* max(0, 1 - t p), with labels -1 and 1 */
static quern__id margins(quern__graph *g, quern__id t, quern__id p)
{
    quern__match(g, &t, &p);
    return quern__unary_of(g, QUERN__RELU0,
                           quern__one_minus(g, quern__mul2(g, hinge_labels(g, t), p)));
}

VALUE(quern__hinge)
{
    (void)config;
    return quern__last_mean(g, margins(g, t, p));
}

VALUE(quern__squared_hinge)
{
    (void)config;
    return quern__last_mean(g, one(g, QUERN__SQUARE, margins(g, t, p)));
}

VALUE(quern__categorical_hinge)
{
    (void)config;
    quern__match(g, &t, &p);
    quern__id right = last(g, QUERN__SUM, quern__mul2(g, t, p), false);
    quern__id wrong = last(g, QUERN__REDUCE_MAX, quern__mul2(g, quern__one_minus(g, t), p), false);
    return quern__unary_of(g, QUERN__RELU0, quern__shift(g, quern__sub2(g, wrong, right), 1));
}

/* ---- correlations ---- */

static quern__id mean_kept(quern__graph *g, quern__id x) { return last(g, QUERN__MEAN, x, true); }
static quern__id centred(quern__graph *g, quern__id x)
{
    return quern__sub2(g, x, mean_kept(g, x));
}

/* keras.ops.var of centred values; Keras subtracts the mean a second time. */
static quern__id variance(quern__graph *g, quern__id x)
{
    return mean_kept(g, one(g, QUERN__SQUARE, centred(g, x)));
}

VALUE(quern__pearson)
{
    quern__match(g, &t, &p);
    t = centred(g, quern__axis_last(g, config, t));
    p = centred(g, quern__axis_last(g, config, p));
    t = quern__div2(g, t, one(g, QUERN__SQRT, variance(g, t)));
    p = quern__div2(g, p, one(g, QUERN__SQRT, variance(g, p)));
    return quern__last_mean(g, quern__mul2(g, t, p));
}

/* Keras subtracts the mean of the predictions from both. */
VALUE(quern__concordance)
{
    quern__match(g, &t, &p);
    t = quern__axis_last(g, config, t);
    p = quern__axis_last(g, config, p);
    quern__id means[2] = { mean_kept(g, t), mean_kept(g, p) };
    quern__id both = quern__mul2(g, quern__sub2(g, t, means[1]), quern__sub2(g, p, means[1]));
    quern__id spread = quern__add2(g, variance(g, quern__sub2(g, t, means[0])),
                                   variance(g, quern__sub2(g, p, means[1])));
    quern__id below =
        quern__add2(g, spread, one(g, QUERN__SQUARE, quern__sub2(g, means[0], means[1])));
    return quern__last_mean(
        g, quern__div2(g, quern__scale(g, both, 2), quern__shift(g, below, epsilon)));
}

/* ---- overlaps: sums over the axes that the config names; without names, over all ---- */

static uint32_t axes_of(quern__graph *g, json_t *config, quern__id x)
{
    return json_is_null(json_object_get(config, "axis"))
               ? ~0u
               : quern__config_axes(config, "axis", quern__shape_of(g, x)->rank);
}

VALUE(quern__dice)
{
    quern__match(g, &t, &p);
    if (!t || !p || quern__shape_of(g, p)->rank == 0)
        return 0;
    uint32_t axes = axes_of(g, config, p);
    quern__id both = quern__reduce(g, QUERN__SUM, quern__mul2(g, t, p), axes, false);
    quern__id all = quern__add2(g, quern__reduce(g, QUERN__SUM, t, axes, false),
                                quern__reduce(g, QUERN__SUM, p, axes, false));
    return quern__one_minus(
        g, quern__div2(g, quern__scale(g, both, 2), quern__shift(g, all, epsilon)));
}

VALUE(quern__tversky)
{
    quern__match(g, &t, &p);
    if (!t || !p || quern__shape_of(g, p)->rank == 0)
        return 0;
    uint32_t axes = axes_of(g, config, p);
    double alpha = quern__config_number(config, "alpha"),
           beta = quern__config_number(config, "beta");
    quern__id both = quern__reduce(g, QUERN__SUM, quern__mul2(g, t, p), axes, false);
    quern__id missed =
        quern__reduce(g, QUERN__SUM, quern__mul2(g, quern__one_minus(g, p), t), axes, false);
    quern__id false_ones =
        quern__reduce(g, QUERN__SUM, quern__mul2(g, p, quern__one_minus(g, t)), axes, false);
    quern__id below = quern__add2(
        g, both, quern__add2(g, quern__scale(g, missed, alpha), quern__scale(g, false_ones, beta)));
    return quern__one_minus(g, quern__div2(g, both, quern__shift(g, below, epsilon)));
}
