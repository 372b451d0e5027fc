/* crossentropy: cross-entropy losses. They use logits where the prediction has them, otherwise
 * probabilities clipped to [1e-7, 1 - 1e-7]. Losses that are a single op are here too. Formulas:
 * https://keras.io/api/losses/probabilistic_losses/
 *
 * A function gets the targets t and the predictions p of a batch, and returns one value per record,
 * or per record and step. losses.c applies weights and the reduction. A prediction that is the
 * result of a softmax or sigmoid node gives its logits, so that the loss is exact where these
 * functions saturate. */
#include "losses.h"

#define VALUE(NAME) quern__id NAME(quern__graph *g, json_t *config, quern__id t, quern__id p)

static quern__id clipped(quern__graph *g, quern__id p)
{
    return quern__unary(g, QUERN__CLIP, p, 1e-7, 1 - 1e-7, 0);
}
static quern__id logarithm(quern__graph *g, quern__id p)
{
    return quern__unary_of(g, QUERN__LOG, p);
}
static quern__id power(quern__graph *g, quern__id x, double exponent)
{
    return x ? quern__binary(g, QUERN__POW, x,
                             quern__graph_constant(g, exponent, quern__graph_value(g, x)->dtype))
             : 0;
}

/* The sum over the last axis. */
static quern__id sum_last(quern__graph *g, quern__id x, bool keepdims)
{
    return x ? quern__reduce(g, QUERN__SUM, x, 1u << (quern__shape_of(g, x)->rank - 1), keepdims)
             : 0;
}

/* t (1 - a) + a / n */
static quern__id smoothed(quern__graph *g, json_t *config, quern__id t, int64_t n)
{
    double a = quern__config_number(config, "label_smoothing");
    return a > 0 ? quern__unary(g, QUERN__AFFINE, t, 1 - a, a / (double)n, 0) : t;
}

/* Keras takes the number of classes from the last axis, for any axis of the loss. */
static quern__id smoothed_by_last(quern__graph *g, json_t *config, quern__id t)
{
    const quern_shape *s = t ? quern__shape_of(g, t) : NULL;
    return s && s->rank ? smoothed(g, config, t, s->dims[s->rank - 1]) : t;
}

/* The logits of a prediction: the prediction itself, or the input of its softmax or sigmoid (Keras
 * keeps these too); 0: none. */
static quern__id logits_of(quern__graph *g, json_t *config, quern__id p, const quern__op *op,
                           int function)
{
    if (quern__config_bool(config, "from_logits"))
        return p;
    if (quern__op_of(g, p) != op)
        return 0;
    const quern__node *node = quern__graph_node_at(g, quern__graph_value(g, p)->node);
    return function < 0 || node->attr.i[0] == function ? node->in[0] : 0;
}

/* -t log p - (1 - t) log(1 - p), elementwise */
static quern__id of_probabilities(quern__graph *g, quern__id t, quern__id p)
{
    p = clipped(g, p);
    quern__id yes = quern__mul2(g, t, logarithm(g, p)),
              no = quern__mul2(g, quern__one_minus(g, t), logarithm(g, quern__one_minus(g, p)));
    return quern__scale(g, quern__add2(g, yes, no), -1);
}

/* softplus(z) - z t, which equals the above for p = sigmoid(z) */
static quern__id of_logits(quern__graph *g, quern__id t, quern__id z)
{
    return quern__sub2(g, quern__unary_of(g, QUERN__SOFTPLUS, z), quern__mul2(g, z, t));
}

VALUE(quern__binary_crossentropy)
{
    quern__match(g, &t, &p);
    if (!t || !p)
        return 0;
    t = smoothed(g, config, t, 2);
    quern__id z = logits_of(g, config, p, &quern__op_unary, QUERN__SIGMOID);
    return quern__last_mean(
        g, quern__axis_last(g, config, z ? of_logits(g, t, z) : of_probabilities(g, t, p)));
}

/* Lin et al., "Focal loss", 2017: (1 - p_t)^gamma times the cross-entropy, p_t the probability of
 * the true label. */
VALUE(quern__binary_focal)
{
    quern__match(g, &t, &p);
    if (!t || !p)
        return 0;
    double alpha = quern__config_number(config, "alpha");
    t = smoothed(g, config, t, 2);
    quern__id z = logits_of(g, config, p, &quern__op_unary, QUERN__SIGMOID);
    p = quern__config_bool(config, "from_logits") ? quern__unary_of(g, QUERN__SIGMOID, p) : p;
    quern__id right = quern__add2(g, quern__mul2(g, t, p),
                                  quern__mul2(g, quern__one_minus(g, t), quern__one_minus(g, p)));
    quern__id each =
        quern__mul2(g, power(g, quern__one_minus(g, right), quern__config_number(config, "gamma")),
                    z ? of_logits(g, t, z) : of_probabilities(g, t, p));
    if (quern__config_bool(config, "apply_class_balancing")) /* t alpha + (1 - t)(1 - alpha) */
        each = quern__mul2(g, quern__unary(g, QUERN__AFFINE, t, 2 * alpha - 1, 1 - alpha, 0), each);
    return quern__last_mean(g, quern__axis_last(g, config, each));
}

/* Scales probabilities to the sum 1. */
static quern__id normalised(quern__graph *g, quern__id p)
{
    return quern__div2(g, p, sum_last(g, p, true));
}

VALUE(quern__categorical_crossentropy)
{
    quern__match(g, &t, &p);
    t = quern__axis_last(g, config, smoothed_by_last(g, config, t));
    quern__id z = p ? logits_of(g, config, p, &quern__op_softmax, -1) : 0;
    p = quern__axis_last(g, config, p);
    if (!t || !p)
        return 0;
    if (z)
        return quern__crossentropy(g, t, quern__axis_last(g, config, z));
    return quern__scale(
        g, sum_last(g, quern__mul2(g, t, logarithm(g, clipped(g, normalised(g, p)))), false), -1);
}

VALUE(quern__categorical_focal)
{
    quern__match(g, &t, &p);
    t = quern__axis_last(g, config, smoothed_by_last(g, config, t));
    p = quern__axis_last(g, config, p);
    if (!t || !p)
        return 0;
    p = quern__config_bool(config, "from_logits") ? quern__softmax(g, p) : p;
    p = clipped(g, normalised(g, p));
    quern__id weight =
        quern__scale(g, power(g, quern__one_minus(g, p), quern__config_number(config, "gamma")),
                     -quern__config_number(config, "alpha"));
    return sum_last(g, quern__mul2(g, weight, quern__mul2(g, t, logarithm(g, p))), false);
}

/* Reshapes labels to the shape of the scores without the last axis. */
static quern__id labels_for(quern__graph *g, quern__id t, quern__id p)
{
    quern_shape rows = *quern__shape_of(g, p);
    rows.rank--;
    return quern__reshape(g, t, &rows);
}

VALUE(quern__sparse_categorical_crossentropy)
{
    json_t *ignore = json_object_get(config, "ignore_class");
    quern__id z = t && p ? logits_of(g, config, p, &quern__op_softmax, -1) : 0;
    if (!t || !p)
        return 0;
    int64_t ignored = json_is_integer(ignore) ? json_integer_value(ignore) : QUERN__NO_LABEL;
    if (z) {
        z = quern__axis_last(g, config, z);
        return quern__sparse_crossentropy(g, z ? labels_for(g, t, z) : 0, z, ignored);
    }
    p = quern__axis_last(g, config, p);
    if (!p)
        return 0;
    /* Keras clips the probabilities, and its softmax of their logarithms normalises them again */
    return quern__sparse_crossentropy(g, labels_for(g, t, p), logarithm(g, clipped(g, p)), ignored);
}

/* (1 - p_label^q) / q (Zhang and Sabuncu, 2018) */
VALUE(quern__generalized_crossentropy)
{
    double q = quern__config_number(config, "q");
    if (!t || !p)
        return 0;
    const quern_shape *s = quern__shape_of(g, p);
    quern__id hot = quern__one_hot(g, labels_for(g, t, p), s->dims[s->rank - 1], true);
    return quern__scale(
        g, quern__one_minus(g, power(g, sum_last(g, quern__mul2(g, hot, p), false), q)), 1 / q);
}

VALUE(quern__ctc_value)
{
    (void)config;
    return quern__ctc(g, t, p);
}

VALUE(quern__circle_value)
{
    return quern__circle(g, t, p, quern__config_number(config, "gamma"),
                         quern__config_number(config, "margin"),
                         quern__config_bool(config, "remove_diagonal"));
}
