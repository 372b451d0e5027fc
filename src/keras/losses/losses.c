/* losses: the rows of losses and of metrics that are means of the same values, with weights, masks
 * and reductions (keras.src.losses.loss, keras.src.metrics.reduction_metrics). */
#include "losses.h"

#include <math.h>
#include <string.h>

void quern__match_ranks(quern__graph *g, quern__id *truth, quern__id *prediction)
{
    if (!*truth || !*prediction)
        return;
    quern_shape t = *quern__shape_of(g, *truth), p = *quern__shape_of(g, *prediction);
    if (t.rank + 1 == p.rank && p.dims[p.rank - 1] == 1) {
        if (t.rank == 1)
            *truth = quern__reshape(g, *truth, &p);
        else
            *prediction = quern__reshape(g, *prediction, &t);
    } else if (t.rank == p.rank + 1 && t.dims[t.rank - 1] == 1) {
        if (p.rank == 1)
            *prediction = quern__reshape(g, *prediction, &t);
        else
            *truth = quern__reshape(g, *truth, &p);
    }
}

/* ---- rows ---- */

/* 1 where the label is not ignore_class; 0: no class is ignored. */
static quern__id not_ignored(quern__graph *g, json_t *config, quern__id truth, quern__id values)
{
    json_t *ignore = json_object_get(config, "ignore_class");
    if (!json_is_integer(ignore) || !values)
        return 0;
    quern__id labels =
        quern__cast(g, quern__reshape(g, truth, quern__shape_of(g, values)), QUERN_FLOAT32);
    return quern__binary(
        g, QUERN__NOT_EQUAL, labels,
        quern__graph_constant(g, (double)json_integer_value(ignore), QUERN_FLOAT32));
}

/* Keras treats a circle loss of 0 as masked. */
static quern__id above_zero(quern__graph *g, json_t *config, quern__id truth, quern__id values)
{
    (void)config, (void)truth;
    return quern__binary(g, QUERN__GREATER, values, quern__graph_constant(g, 0, QUERN_FLOAT32));
}

#define REDUCTION                                             \
    {                                                         \
        "reduction", QUERN__F_TEXT, "\"sum_over_batch_size\"" \
    }
#define AXIS                       \
    {                              \
        "axis", QUERN__F_INT, "-1" \
    }
#define LOGITS \
    { "from_logits", QUERN__F_BOOL, "false" }, { "label_smoothing", QUERN__F_NUMBER, "0.0" }, AXIS
#define SPARSE \
    { "from_logits", QUERN__F_BOOL, "false" }, { "ignore_class", QUERN__F_INT, "null" }
#define FOCAL(ALPHA, GAMMA) \
    { "alpha", QUERN__F_NUMBER, ALPHA }, { "gamma", QUERN__F_NUMBER, GAMMA }, LOGITS
static const quern__field plain_loss[] = { REDUCTION, { 0 } };
static const quern__field huber_fields[] = { { "delta", QUERN__F_NUMBER, "1.0" },
                                             REDUCTION,
                                             { 0 } };
static const quern__field axis_loss[] = { AXIS, REDUCTION, { 0 } };
static const quern__field axis_metric[] = { AXIS, { 0 } };
static const quern__field logits_loss[] = { LOGITS, REDUCTION, { 0 } };
static const quern__field sparse_loss[] = { SPARSE, REDUCTION, AXIS, { 0 } };
static const quern__field logits_metric[] = { LOGITS, { 0 } };
static const quern__field sparse_metric[] = { SPARSE, AXIS, { 0 } };
static const quern__field binary_focal_fields[] = {
    { "apply_class_balancing", QUERN__F_BOOL, "false" }, FOCAL("0.25", "2.0"), REDUCTION, { 0 }
};
static const quern__field categorical_focal_fields[] = { FOCAL("0.25", "2.0"), REDUCTION, { 0 } };
static const quern__field dice_fields[] = {
    REDUCTION, { "name", QUERN__F_TEXT, "null" }, { "axis", QUERN__F_ANY, "null" }, { 0 }
};
static const quern__field tversky_fields[] = { { "alpha", QUERN__F_NUMBER, "0.5" },
                                               { "beta", QUERN__F_NUMBER, "0.5" },
                                               REDUCTION,
                                               { "axis", QUERN__F_ANY, "null" },
                                               { 0 } };
static const quern__field circle_fields[] = { { "gamma", QUERN__F_NUMBER, "80.0" },
                                              { "margin", QUERN__F_NUMBER, "0.4" },
                                              { "remove_diagonal", QUERN__F_BOOL, "true" },
                                              REDUCTION,
                                              { 0 } };
static const quern__field huber_metric_fields[] = { { "delta", QUERN__F_NUMBER, "1.0" }, { 0 } };
static const quern__field binary_focal_plain[] = {
    { "apply_class_balancing", QUERN__F_BOOL, "false" }, FOCAL("0.25", "2.0"), { 0 }
};
static const quern__field categorical_focal_plain[] = { FOCAL("0.25", "2.0"), { 0 } };
static const quern__field q_loss[] = { { "q", QUERN__F_NUMBER, "0.5" }, REDUCTION, { 0 } };
static const quern__field threshold_metric[] = { { "threshold", QUERN__F_NUMBER, "0.5" }, { 0 } };
static const quern__field binary_metric[] = { { "from_logits", QUERN__F_BOOL, "false" },
                                              { "label_smoothing", QUERN__F_NUMBER, "0.0" },
                                              { 0 } };
static const quern__field top_k_metric[] = { { "k", QUERN__F_INT, "5" }, { 0 } };
static const quern__field k_metric[] = { { "k", QUERN__F_INT, "5" },
                                         { "from_sorted_ids", QUERN__F_BOOL, "false" },
                                         { 0 } };

enum { LABELS = 1, NEGATIVE = 3 };
#define LOSS(ID, NAME, ALIASES, FIELDS, VALUE, EXTRA, MEANS)          \
    static const quern__class ID##_loss = { .group = QUERN__LOSS,     \
                                            .name = NAME,             \
                                            .aliases = ALIASES,       \
                                            .module = "keras.losses", \
                                            .fields = FIELDS,         \
                                            .value = VALUE,           \
                                            .extra = EXTRA,           \
                                            .means = QUERN_MEANS_##MEANS }
#define METRIC(ID, NAME, ALIASES, FIELDS, VALUE, EXTRA)                  \
    static const quern__class ID##_metric = { .group = QUERN__METRIC,    \
                                              .name = NAME,              \
                                              .aliases = ALIASES,        \
                                              .module = "keras.metrics", \
                                              .fields = FIELDS,          \
                                              .value = VALUE,            \
                                              .extra = EXTRA }
#define BOTH(ID, NAME, ALIASES, LOSS_FIELDS, METRIC_FIELDS, VALUE, EXTRA, MEANS) \
    LOSS(ID, NAME, ALIASES, LOSS_FIELDS, VALUE, EXTRA, MEANS);                   \
    METRIC(ID, NAME, ALIASES, METRIC_FIELDS, VALUE, EXTRA)
BOTH(mse, "MeanSquaredError", "mse", plain_loss, NULL, quern__squared, 0, NUMBERS);
BOTH(mae, "MeanAbsoluteError", "mae", plain_loss, NULL, quern__absolute, 0, NUMBERS);
BOTH(mape, "MeanAbsolutePercentageError", "mape", plain_loss, NULL, quern__percentage, 0, NUMBERS);
BOTH(msle, "MeanSquaredLogarithmicError", "msle", plain_loss, NULL, quern__squared_logarithmic, 0,
     NUMBERS);
LOSS(cosine, "CosineSimilarity", "cosine_proximity", axis_loss, quern__cosine, NEGATIVE, NUMBERS);
METRIC(cosine, "CosineSimilarity", "cosine_proximity", axis_metric, quern__cosine, 0);
LOSS(huber, "Huber", "huber_loss", huber_fields, quern__huber, 0, NUMBERS);
LOSS(log_cosh, "LogCosh", "", plain_loss, quern__log_cosh, 0, NUMBERS);
METRIC(log_cosh, "LogCoshError", "logcosh", NULL, quern__log_cosh, 0);
BOTH(poisson, "Poisson", "", plain_loss, NULL, quern__poisson, 0, NUMBERS);
BOTH(kl, "KLDivergence", "kld kullback_leibler_divergence", plain_loss, NULL, quern__kl_divergence,
     0, NUMBERS);
BOTH(hinge, "Hinge", "", plain_loss, NULL, quern__hinge, 0, SIGN);
BOTH(squared_hinge, "SquaredHinge", "", plain_loss, NULL, quern__squared_hinge, 0, SIGN);
BOTH(categorical_hinge, "CategoricalHinge", "", plain_loss, NULL, quern__categorical_hinge, 0,
     ONE_HOT);
LOSS(dice, "Dice", "", dice_fields, quern__dice, 0, NUMBERS);
LOSS(tversky, "Tversky", "", tversky_fields, quern__tversky, 0, NUMBERS);
BOTH(bce, "BinaryCrossentropy", "bce", logits_loss, binary_metric, quern__binary_crossentropy, 0,
     BINARY);
LOSS(binary_focal, "BinaryFocalCrossentropy", "", binary_focal_fields, quern__binary_focal, 0,
     BINARY);
BOTH(cce, "CategoricalCrossentropy", "", logits_loss, logits_metric,
     quern__categorical_crossentropy, 0, ONE_HOT);
LOSS(categorical_focal, "CategoricalFocalCrossentropy", "", categorical_focal_fields,
     quern__categorical_focal, 0, ONE_HOT);
LOSS(generalized, "CategoricalGeneralizedCrossEntropy", "", q_loss, quern__generalized_crossentropy,
     LABELS, CLASS);
LOSS(ctc, "CTC", "", plain_loss, quern__ctc_value, LABELS, NUMBERS);
static const quern__class circle_loss = { .group = QUERN__LOSS,
                                          .name = "Circle",
                                          .aliases = "",
                                          .module = "keras.losses",
                                          .fields = circle_fields,
                                          .value = quern__circle_value,
                                          .valid = above_zero,
                                          .extra = LABELS,
                                          .means = QUERN_MEANS_CLASS };
static const quern__class scce_metric = { .group = QUERN__METRIC,
                                          .name = "SparseCategoricalCrossentropy",
                                          .aliases = "",
                                          .module = "keras.metrics",
                                          .fields = sparse_metric,
                                          .value = quern__sparse_categorical_crossentropy,
                                          .valid = not_ignored };
static const quern__class scce_loss = { .group = QUERN__LOSS,
                                        .name = "SparseCategoricalCrossentropy",
                                        .aliases = "",
                                        .module = "keras.losses",
                                        .fields = sparse_loss,
                                        .value = quern__sparse_categorical_crossentropy,
                                        .valid = not_ignored,
                                        .extra = LABELS,
                                        .means = QUERN_MEANS_CLASS };
METRIC(rmse, "RootMeanSquaredError", "rmse", NULL, quern__squares_of, QUERN__METRIC_ROOT);
METRIC(mean, "Mean", "", NULL, quern__values, QUERN__METRIC_OF_VALUES);
METRIC(sum, "Sum", "", NULL, quern__values, QUERN__METRIC_OF_TOTALS);
METRIC(accuracy, "Accuracy", "", NULL, quern__equal, 0);
METRIC(binary_accuracy, "BinaryAccuracy", "", threshold_metric, quern__binary_equal, 0);
METRIC(categorical_accuracy, "CategoricalAccuracy", "", NULL, quern__argmax_equal, 0);
METRIC(sparse_accuracy, "SparseCategoricalAccuracy", "", NULL, quern__sparse_equal, LABELS);
METRIC(top_k_accuracy, "TopKCategoricalAccuracy", "", top_k_metric, quern__top_k, 0);
#define FUNCTION(ID, NAME, FIELDS, VALUE)                                \
    static const quern__class ID##_metric = { .group = QUERN__METRIC,    \
                                              .name = NAME,              \
                                              .aliases = "",             \
                                              .module = "keras.metrics", \
                                              .fields = FIELDS,          \
                                              .value = VALUE,            \
                                              .function = true }
FUNCTION(huber, "huber", huber_metric_fields, quern__huber);
FUNCTION(binary_focal, "binary_focal_crossentropy", binary_focal_plain, quern__binary_focal);
FUNCTION(categorical_focal, "categorical_focal_crossentropy", categorical_focal_plain,
         quern__categorical_focal);
METRIC(pearson, "PearsonCorrelation", "", axis_metric, quern__pearson, 0);
METRIC(concordance, "ConcordanceCorrelation", "", axis_metric, quern__concordance, 0);
METRIC(sparse_top_k_accuracy, "SparseTopKCategoricalAccuracy", "", k_metric, quern__sparse_top_k,
       LABELS);

const quern__class *const quern__loss_classes[] = { &mse_loss,
                                                    &mae_loss,
                                                    &mape_loss,
                                                    &msle_loss,
                                                    &cosine_loss,
                                                    &huber_loss,
                                                    &log_cosh_loss,
                                                    &poisson_loss,
                                                    &kl_loss,
                                                    &hinge_loss,
                                                    &squared_hinge_loss,
                                                    &categorical_hinge_loss,
                                                    &dice_loss,
                                                    &tversky_loss,
                                                    &bce_loss,
                                                    &binary_focal_loss,
                                                    &cce_loss,
                                                    &categorical_focal_loss,
                                                    &generalized_loss,
                                                    &scce_loss,
                                                    &ctc_loss,
                                                    &circle_loss,
                                                    NULL };
const quern__class *const quern__metric_classes[] = { &mse_metric,
                                                      &mae_metric,
                                                      &mape_metric,
                                                      &msle_metric,
                                                      &rmse_metric,
                                                      &cosine_metric,
                                                      &log_cosh_metric,
                                                      &poisson_metric,
                                                      &kl_metric,
                                                      &hinge_metric,
                                                      &squared_hinge_metric,
                                                      &categorical_hinge_metric,
                                                      &bce_metric,
                                                      &cce_metric,
                                                      &scce_metric,
                                                      &mean_metric,
                                                      &sum_metric,
                                                      &accuracy_metric,
                                                      &binary_accuracy_metric,
                                                      &categorical_accuracy_metric,
                                                      &sparse_accuracy_metric,
                                                      &top_k_accuracy_metric,
                                                      &sparse_top_k_accuracy_metric,
                                                      &huber_metric,
                                                      &binary_focal_metric,
                                                      &categorical_focal_metric,
                                                      &pearson_metric,
                                                      &concordance_metric,
                                                      &quern__metric_tp,
                                                      &quern__metric_fp,
                                                      &quern__metric_tn,
                                                      &quern__metric_fn,
                                                      &quern__metric_precision,
                                                      &quern__metric_recall,
                                                      &quern__metric_sensitivity_at,
                                                      &quern__metric_specificity_at,
                                                      &quern__metric_precision_at,
                                                      &quern__metric_recall_at,
                                                      &quern__metric_auc,
                                                      &quern__metric_iou,
                                                      &quern__metric_binary_iou,
                                                      &quern__metric_mean_iou,
                                                      &quern__metric_one_hot_iou,
                                                      &quern__metric_one_hot_mean_iou,
                                                      &quern__metric_f1,
                                                      &quern__metric_fbeta,
                                                      &quern__metric_r2,
                                                      NULL };

/* ---- weights, masks and reductions ---- */

static quern__id sum(quern__graph *g, quern__id x)
{
    return quern__reduce(g, QUERN__SUM, x, ~0u, false);
}

/* The number of elements as a value, because dynamic dimensions are known at run time only. */
static quern__id count_of(quern__graph *g, quern__id x)
{
    return sum(
        g, quern__broadcast(g, quern__graph_constant(g, 1, QUERN_FLOAT32), quern__shape_of(g, x)));
}

/* Matches the ranks of values and weights: Keras squeezes or expands a last axis of size 1. Weights
 * per record apply to all elements of the record. */
static void fit_weights(quern__graph *g, quern__id *values, quern__id *weights)
{
    quern__match_ranks(g, values, weights);
    quern_shape v = *quern__shape_of(g, *values), w = *quern__shape_of(g, *weights);
    if (w.rank >= v.rank || w.rank < 1)
        return;
    for (int i = 0; i < w.rank; i++)
        if (w.dims[i] != v.dims[i])
            return;
    while (w.rank < v.rank)
        w.dims[w.rank++] = 1;
    *weights = quern__reshape(g, *weights, &w);
}

/* The product of two arrays of weights; a missing one counts as 1. */
static quern__id multiplied(quern__graph *g, quern__id a, quern__id b)
{
    if (!a || !b)
        return a ? a : b;
    fit_weights(g, &a, &b);
    return quern__mul2(g, a, b);
}

/* The mask as weights. For a mean, they are scaled so that the mean counts unmasked values only. */
static quern__id mask_weights(quern__graph *g, quern__id mask, bool mean)
{
    quern__id m = quern__binary(g, QUERN__NOT_EQUAL, quern__cast(g, mask, QUERN_FLOAT32),
                                quern__graph_constant(g, 0, QUERN_FLOAT32));
    quern__id left = m ? sum(g, m) : 0;
    if (!mean || !left)
        return m;
    quern__id least = quern__unary(g, QUERN__CLIP, left, 1, INFINITY, 0);
    return quern__mul2(g, m, quern__div2(g, count_of(g, m), least));
}

/* The values of a loss or metric, by its row; a custom class gets itself as an argument. */
static quern__id values_of(quern__graph *g, const quern__class *c, json_t *config, quern__id truth,
                           quern__id prediction)
{
    return c->own_value ? c->own_value(c, g, config, truth, prediction)
                        : c->value(g, config, truth, prediction);
}

quern__id quern__loss(quern__graph *g, const quern__class *c, json_t *config, quern__id truth,
                      quern__id prediction, quern__id weights, quern__id mask)
{
    const char *reduction = quern__config_text(config, "reduction");
    bool none = !reduction || !strcmp(reduction, "none"),
         weighed = reduction && !strcmp(reduction, "mean_with_sample_weight");
    bool add = reduction && !strcmp(reduction, "sum"), mean = !none && !add && !weighed;
    /* values per record, and which of them count */
    quern__id values = values_of(g, c, config, truth, prediction);
    quern__id valid = values && c->valid ? c->valid(g, config, truth, values) : 0;
    if (!values)
        return 0;
    if (reduction && !none && !add && !weighed && strcmp(reduction, "sum_over_batch_size") &&
        strcmp(reduction, "mean"))
        return quern__graph_fail(g, QUERN_INVALID, "no reduction is called '%s'", reduction);
    if (c->group == QUERN__LOSS && c->extra == NEGATIVE)
        values = quern__scale(g, values, -1);
    if (mask || valid)
        weights = multiplied(g, weights, mask_weights(g, multiplied(g, valid, mask), mean));
    if (weights) {
        weights = quern__cast(g, weights, QUERN_FLOAT32);
        fit_weights(g, &values, &weights);
        values = quern__mul2(g, values, weights);
    }
    if (none || !values || quern__shape_of(g, values)->rank == 0)
        return values;
    if (weighed && weights) {
        quern__id by = sum(g, weights),
                  nothing = quern__binary(g, QUERN__EQUAL, by,
                                          quern__graph_constant(g, 0, QUERN_FLOAT32));
        return quern__div2(g, sum(g, values), quern__add2(g, by, nothing)); /* 0 / 0 is 0 */
    }
    return add ? sum(g, values) : quern__reduce(g, QUERN__MEAN, values, ~0u, false);
}

int quern__loss_target(const quern__class *c, const quern_shape *output, quern_shape *target)
{
    *target = *output;
    if (c && c->extra == LABELS && output->rank > 1)
        target->rank--;
    return c && c->extra == LABELS ? QUERN_INT32 : QUERN_FLOAT32;
}

int quern__loss_means(const quern__class *c, json_t *config, const quern_shape *output,
                      int64_t *classes, int64_t *ignored)
{
    json_t *axis = json_object_get(config, "axis"),
           *ignore = json_object_get(config, "ignore_class");
    *classes = 0;
    *ignored = json_is_integer(ignore) ? (int64_t)json_integer_value(ignore) : INT64_MIN;
    if (!c)
        return QUERN_MEANS_NUMBERS;
    if (!c->module)
        return QUERN_MEANS_ANYTHING;
    bool last = !axis || json_integer_value(axis) == -1;
    if (c->means == QUERN_MEANS_CLASS && c->value != quern__circle_value && last &&
        output->rank > 1)
        *classes = output->dims[output->rank - 1];
    if (c->means == QUERN_MEANS_ONE_HOT && last && output->rank > 1)
        *classes = output->dims[output->rank - 1];
    return c->means;
}

const char *quern__metric_meaning(const char *name, const quern_shape *truth,
                                  const quern_shape *prediction)
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

/* The mean (or sum) over all axes from `first` on. */
static quern__id reduced_from(quern__graph *g, int what, quern__id x, int first)
{
    int rank = x ? quern__shape_of(g, x)->rank : 0;
    uint32_t axes = ((1u << rank) - 1) & ~((1u << first) - 1);
    return axes ? quern__reduce(g, what, x, axes, false) : x;
}

/* keras.src.metrics.reduction_metrics.reduce_to_samplewise_values: one value and one weight per
 * record. */
static void samplewise(quern__graph *g, int what, quern__id *values, quern__id *weights)
{
    if (*weights) {
        *weights = quern__cast(g, *weights, quern__graph_value(g, *values)->dtype);
        quern__match_ranks(g, values, weights);
        int rank = quern__shape_of(g, *weights)->rank;
        *values = reduced_from(g, what, *values, rank);
        *weights = quern__broadcast(g, *weights, quern__shape_of(g, *values));
        *values = quern__mul2(g, *values, *weights);
        *weights = reduced_from(g, what, *weights, 1);
    }
    *values = reduced_from(g, what, *values, 1);
}

void quern__mean_nodes(quern__graph *g, const quern__class *c, json_t *config, quern__id truth,
                       quern__id prediction, quern__id weights, quern__id mask,
                       quern__variable *total, quern__variable *count)
{
    quern__id values = values_of(g, c, config, truth, prediction);
    if (!values)
        return;
    if (mask && c->extra != QUERN__METRIC_ROOT) /* the squares of RootMeanSquaredError do not have a
                                                   mask in Keras */
        weights = multiplied(g, weights, mask_weights(g, mask, false));
    if (weights && c->valid)
        weights = multiplied(g, weights, c->valid(g, config, truth, values));
    samplewise(g, c->extra == QUERN__METRIC_OF_TOTALS ? QUERN__SUM : QUERN__MEAN, &values,
               &weights);
    if (!values)
        return;
    quern__id n = weights ? sum(g, weights) : count_of(g, values),
              all = quern__cast(g, sum(g, values), QUERN_FLOAT64);
    quern__assign(g, total, quern__add2(g, quern__graph_variable(g, total), all));
    quern__assign(
        g, count,
        quern__add2(g, quern__graph_variable(g, count), quern__cast(g, n, QUERN_FLOAT64)));
}

bool quern__metric_rises(const quern__class *c)
{
    return c->higher_is_better || strstr(c->name, "Accuracy") ||
           strstr(c->name, "CosineSimilarity") || strstr(c->name, "Correlation");
}
