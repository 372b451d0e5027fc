/* Losses and the metrics that are means of the same values: one function each gives a value per record.
 * Formulas: https://keras.io/api/losses/ (epsilon 1e-7; probabilities are clipped to [epsilon, 1 - epsilon]). */
#include "layers.h"

#include <math.h>
#include <string.h>

static quern__id last_mean(quern__graph *g, quern__id x)
{
    return x ? quern__reduce(g, QUERN__MEAN, x, 1u << (quern__shape_of(g, x)->rank - 1), false) : 0;
}

void quern__match_ranks(quern__graph *g, quern__id *truth, quern__id *prediction)
{
    if (!*truth || !*prediction)
        return;
    quern_shape t = *quern__shape_of(g, *truth), p = *quern__shape_of(g, *prediction);
    if (t.rank + 1 == p.rank && p.dims[p.rank - 1] == 1)
        *truth = quern__reshape(g, *truth, &p);
    else if (t.rank == p.rank + 1 && t.dims[t.rank - 1] == 1)
        *truth = quern__reshape(g, *truth, &p);
}

static quern__id difference(quern__graph *g, quern__id t, quern__id p)
{
    quern__match_ranks(g, &t, &p);
    return quern__sub2(g, quern__cast(g, t, quern__graph_value(g, p)->dtype), p);
}

static quern__id squared(quern__graph *g, json_t *config, quern__id t, quern__id p)
{
    (void)config;
    return last_mean(g, quern__unary(g, QUERN__SQUARE, difference(g, t, p), 0, 0, 0));
}

static quern__id absolute(quern__graph *g, json_t *config, quern__id t, quern__id p)
{
    (void)config;
    return last_mean(g, quern__unary(g, QUERN__ABS, difference(g, t, p), 0, 0, 0));
}

static quern__id huber(quern__graph *g, json_t *config, quern__id t, quern__id p)
{
    double delta = quern__config_number(config, "delta");
    quern__id e = quern__unary(g, QUERN__ABS, difference(g, t, p), 0, 0, 0);
    if (!e)
        return 0;
    quern__id small = quern__scale(g, quern__unary(g, QUERN__SQUARE, e, 0, 0, 0), 0.5);
    quern__id large = quern__unary(g, QUERN__AFFINE, e, delta, -delta * delta / 2, 0);
    quern__id inside = quern__binary(g, QUERN__LESS_EQUAL, e, quern__graph_constant(g, delta, quern__graph_value(g, e)->dtype));
    return last_mean(g, quern__select(g, inside, small, large));
}

/* t (1 - a) + a / n */
static quern__id smoothed(quern__graph *g, json_t *config, quern__id t, int64_t n)
{
    double a = quern__config_number(config, "label_smoothing");
    return a > 0 ? quern__unary(g, QUERN__AFFINE, t, 1 - a, a / (double)n, 0) : t;
}

/* The logits behind a prediction: itself, or what a softmax or sigmoid was made from (as Keras keeps them); 0 when there are none.
 */
static quern__id logits_of(quern__graph *g, json_t *config, quern__id p, const char *op, int function)
{
    if (quern__config_bool(config, "from_logits"))
        return p;
    const quern__op *row = quern__op_of(g, p);
    const quern__node *node = row ? quern__graph_node_at(g, quern__graph_value(g, p)->node) : NULL;
    return node && !strcmp(row->name, op) && (function < 0 || node->attr.i[0] == function) ? node->in[0] : 0;
}

static quern__id binary_crossentropy(quern__graph *g, json_t *config, quern__id t, quern__id p)
{
    quern__match_ranks(g, &t, &p);
    t = smoothed(g, config, quern__cast(g, t, quern__graph_value(g, p)->dtype), 2);
    quern__id z = logits_of(g, config, p, "unary", QUERN__SIGMOID);
    if (z) /* softplus(z) - z t */
        return last_mean(g, quern__sub2(g, quern__unary(g, QUERN__SOFTPLUS, z, 0, 0, 0), quern__mul2(g, z, t)));
    p = quern__unary(g, QUERN__CLIP, p, 1e-7, 1 - 1e-7, 0);
    quern__id yes = quern__mul2(g, t, quern__unary(g, QUERN__LOG, p, 0, 0, 0));
    quern__id no = quern__mul2(g, quern__unary(g, QUERN__AFFINE, t, -1, 1, 0),
                               quern__unary(g, QUERN__LOG, quern__unary(g, QUERN__AFFINE, p, -1, 1, 0), 0, 0, 0));
    return last_mean(g, quern__scale(g, quern__add2(g, yes, no), -1));
}

/* Probabilities made to sum to 1, clipped, as logits. */
static quern__id clipped_log(quern__graph *g, quern__id p, bool normalise)
{
    uint32_t last = 1u << (quern__shape_of(g, p)->rank - 1);
    quern__id q = normalise ? quern__div2(g, p, quern__reduce(g, QUERN__SUM, p, last, true)) : p;
    return quern__unary(g, QUERN__LOG, quern__unary(g, QUERN__CLIP, q, 1e-7, 1 - 1e-7, 0), 0, 0, 0);
}

static quern__id categorical_crossentropy(quern__graph *g, json_t *config, quern__id t, quern__id p)
{
    if (!t || !p)
        return 0;
    const quern_shape *s = quern__shape_of(g, p);
    uint32_t last = 1u << (s->rank - 1);
    t = smoothed(g, config, quern__cast(g, t, quern__graph_value(g, p)->dtype), s->dims[s->rank - 1]);
    quern__id z = logits_of(g, config, p, "softmax", -1);
    if (z)
        return quern__crossentropy(g, t, z);
    return quern__scale(g, quern__reduce(g, QUERN__SUM, quern__mul2(g, t, clipped_log(g, p, true)), last, false), -1);
}

static quern__id sparse_crossentropy(quern__graph *g, json_t *config, quern__id t, quern__id p)
{
    json_t *ignore = json_object_get(config, "ignore_class");
    quern__id z = t && p ? logits_of(g, config, p, "softmax", -1) : 0;
    if (!t || !p)
        return 0;
    /* log p of clipped probabilities has log-sum-exp 0 only where they sum to 1, so it is taken off again by adding it */
    int64_t ignored = json_is_integer(ignore) ? json_integer_value(ignore) : -1;
    if (z)
        return quern__sparse_crossentropy(g, t, z, ignored);
    const quern_shape *s = quern__shape_of(g, p);
    uint32_t last = 1u << (s->rank - 1);
    quern_shape rows = *s;
    int64_t classes = s->dims[--rows.rank];
    quern__id hot = quern__one_hot(g, quern__reshape(g, t, &rows), classes, ignored < 0);
    return quern__scale(g, quern__reduce(g, QUERN__SUM, quern__mul2(g, hot, clipped_log(g, p, false)), last, false), -1);
}

/* ---- accuracies ---- */

static quern__id argmax_equal(quern__graph *g, json_t *config, quern__id t, quern__id p)
{
    (void)config;
    return quern__binary(g, QUERN__EQUAL, quern__argmax(g, t), quern__argmax(g, p));
}

static quern__id sparse_equal(quern__graph *g, json_t *config, quern__id t, quern__id p)
{
    (void)config;
    quern__id best = quern__argmax(g, p);
    return best
               ? quern__binary(g, QUERN__EQUAL, quern__cast(g, quern__reshape(g, t, quern__shape_of(g, best)), QUERN_FLOAT32), best)
               : 0;
}

static quern__id binary_equal(quern__graph *g, json_t *config, quern__id t, quern__id p)
{
    if (!t || !p)
        return 0;
    quern__match_ranks(g, &t, &p);
    quern__id threshold = quern__graph_constant(g, quern__config_number(config, "threshold"), quern__graph_value(g, p)->dtype);
    return last_mean(
        g, quern__binary(g, QUERN__EQUAL, quern__cast(g, t, QUERN_FLOAT32), quern__binary(g, QUERN__GREATER, p, threshold)));
}

static quern__id sparse_top_k(quern__graph *g, json_t *config, quern__id t, quern__id p)
{
    return quern__in_top_k(g, p, t, quern__config_int(config, "k"));
}

static quern__id top_k(quern__graph *g, json_t *config, quern__id t, quern__id p)
{
    return quern__in_top_k(g, p, quern__argmax(g, t), quern__config_int(config, "k"));
}

/* ---- rows ---- */

#define REDUCTION                                             \
    {                                                         \
        "reduction", QUERN__F_TEXT, "\"sum_over_batch_size\"" \
    }
#define LOGITS                                                                                \
    { "from_logits", QUERN__F_BOOL, "false" }, { "label_smoothing", QUERN__F_NUMBER, "0.0" }, \
    {                                                                                         \
        "axis", QUERN__F_ONLY_DEFAULT, "-1"                                                   \
    }
#define SPARSE \
    { "from_logits", QUERN__F_BOOL, "false" }, { "ignore_class", QUERN__F_INT, "null" }, { "axis", QUERN__F_ONLY_DEFAULT, "-1" }
static const quern__field plain_loss[] = { REDUCTION, { 0 } };
static const quern__field huber_loss[] = { { "delta", QUERN__F_NUMBER, "1.0" }, REDUCTION, { 0 } };
static const quern__field logits_loss[] = { LOGITS, REDUCTION, { 0 } };
static const quern__field sparse_loss[] = { SPARSE, REDUCTION, { 0 } };
static const quern__field logits_metric[] = { LOGITS, { 0 } };
static const quern__field sparse_metric[] = { SPARSE, { 0 } };
static const quern__field threshold_metric[] = { { "threshold", QUERN__F_NUMBER, "0.5" }, { 0 } };
static const quern__field k_metric[] = { { "k", QUERN__F_INT, "5" }, { "from_sorted_ids", QUERN__F_ONLY_DEFAULT, "false" }, { 0 } };

enum { LABELS = 1, ROOT = 2 };
#define ROW(ID, GROUP, NAME, ALIASES, FIELDS, VALUE, EXTRA)                                                      \
    static const quern__class ID = { .group = QUERN__##GROUP,                                                    \
                                     .name = NAME,                                                               \
                                     .aliases = ALIASES,                                                         \
                                     .module = QUERN__##GROUP == QUERN__LOSS ? "keras.losses" : "keras.metrics", \
                                     .fields = FIELDS,                                                           \
                                     .value = VALUE,                                                             \
                                     .extra = EXTRA }
#define BOTH(ID, NAME, ALIASES, LOSS_FIELDS, METRIC_FIELDS, VALUE, EXTRA) \
    ROW(ID##_loss, LOSS, NAME, ALIASES, LOSS_FIELDS, VALUE, EXTRA);       \
    ROW(ID##_metric, METRIC, NAME, ALIASES, METRIC_FIELDS, VALUE, EXTRA)
BOTH(mse, "MeanSquaredError", "mse", plain_loss, NULL, squared, 0);
BOTH(mae, "MeanAbsoluteError", "mae", plain_loss, NULL, absolute, 0);
BOTH(bce, "BinaryCrossentropy", "bce", logits_loss, logits_metric, binary_crossentropy, 0);
BOTH(cce, "CategoricalCrossentropy", "", logits_loss, logits_metric, categorical_crossentropy, 0);
BOTH(scce, "SparseCategoricalCrossentropy", "", sparse_loss, sparse_metric, sparse_crossentropy, LABELS);
ROW(huber_row, LOSS, "Huber", "huber_loss", huber_loss, huber, 0);
ROW(rmse, METRIC, "RootMeanSquaredError", "rmse", NULL, squared, ROOT);
ROW(binary_accuracy, METRIC, "BinaryAccuracy", "", threshold_metric, binary_equal, 0);
ROW(categorical_accuracy, METRIC, "CategoricalAccuracy", "", NULL, argmax_equal, 0);
ROW(sparse_accuracy, METRIC, "SparseCategoricalAccuracy", "", NULL, sparse_equal, LABELS);
ROW(top_k_accuracy, METRIC, "TopKCategoricalAccuracy", "", k_metric, top_k, 0);
ROW(sparse_top_k_accuracy, METRIC, "SparseTopKCategoricalAccuracy", "", k_metric, sparse_top_k, LABELS);

const quern__class *const quern__loss_classes[] = { &mse_loss, &mae_loss, &bce_loss, &cce_loss, &scce_loss, &huber_row, NULL };
const quern__class *const quern__metric_classes[] = {
    &mse_metric,      &mae_metric,           &bce_metric,      &cce_metric,     &scce_metric,           &rmse,
    &binary_accuracy, &categorical_accuracy, &sparse_accuracy, &top_k_accuracy, &sparse_top_k_accuracy, NULL
};

/* ---- what is done with the values ---- */

/* values * weights, the weights repeated over the values of their record. */
static quern__id weighted(quern__graph *g, quern__id values, quern__id weights)
{
    if (!weights || !values)
        return values;
    quern_shape s = *quern__shape_of(g, values);
    for (int i = 1; i < s.rank; i++)
        s.dims[i] = 1;
    return quern__mul2(g, values, quern__reshape(g, weights, &s));
}

quern__id quern__loss(quern__graph *g, const quern__class *c, json_t *config, quern__id truth, quern__id prediction,
                      quern__id weights)
{
    const char *reduction = quern__config_text(config, "reduction");
    quern__id values = c->value(g, config, truth, prediction);
    if (!values || !reduction || !strcmp(reduction, "none"))
        return values ? quern__graph_fail(g, QUERN_UNSUPPORTED, "reduction none cannot train") : 0;
    quern__id sum = weighted(g, values, weights);
    if (!strcmp(reduction, "sum"))
        return quern__reduce(g, QUERN__SUM, sum, ~0u, false);
    if (!strcmp(reduction, "mean_with_sample_weight") && weights)
        return quern__div2(g, quern__reduce(g, QUERN__SUM, sum, ~0u, false), quern__reduce(g, QUERN__SUM, weights, ~0u, false));
    return quern__reduce(g, QUERN__MEAN, sum, ~0u, false);
}

int quern__loss_target(const quern__class *c, const quern_shape *output, quern_shape *target)
{
    *target = *output;
    if (c && c->extra == LABELS && output->rank > 1)
        target->rank--;
    return c && c->extra == LABELS ? QUERN_INT32 : QUERN_FLOAT32;
}

const char *quern__metric_meaning(const char *name, const quern_shape *truth, const quern_shape *prediction)
{
    bool accuracy = quern__same_name(name, "accuracy") || quern__same_name(name, "acc");
    bool entropy = quern__same_name(name, "crossentropy") || quern__same_name(name, "ce");
    if (!accuracy && !entropy)
        return name;
    int64_t last = prediction->rank ? prediction->dims[prediction->rank - 1] : 1;
    if (last == 1)
        return accuracy ? "BinaryAccuracy" : "BinaryCrossentropy";
    if (truth->rank < prediction->rank || truth->dims[truth->rank - 1] == 1)
        return accuracy ? "SparseCategoricalAccuracy" : "SparseCategoricalCrossentropy";
    return accuracy ? "CategoricalAccuracy" : "CategoricalCrossentropy";
}

void quern__metric(quern__graph *g, const quern__class *c, json_t *config, quern__id truth, quern__id prediction, quern__id weights,
                   quern__variable *total, quern__variable *count)
{
    quern__id values = c->value(g, config, truth, prediction);
    if (!values)
        return;
    quern__id sum = quern__reduce(g, QUERN__SUM, weighted(g, values, weights), ~0u, false);
    quern__id ones = quern__broadcast(g, quern__graph_constant(g, 1, QUERN_FLOAT32), quern__shape_of(g, values));
    quern__id n = quern__reduce(g, QUERN__SUM, weighted(g, ones, weights), ~0u, false);
    quern__assign(g, total, quern__add2(g, quern__graph_variable(g, total), quern__cast(g, sum, QUERN_FLOAT64)));
    quern__assign(g, count, quern__add2(g, quern__graph_variable(g, count), quern__cast(g, n, QUERN_FLOAT64)));
}

double quern__metric_result(const quern__class *c, double total, double count)
{
    double mean = count != 0 ? total / count : 0;
    return c && c->extra == ROOT ? sqrt(mean) : mean;
}
