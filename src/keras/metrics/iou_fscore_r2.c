/* iou_fscore_r2: intersection over union from a confusion matrix, F scores, and the coefficient of
 * determination. Formulas: keras-team/keras 3, keras.src.metrics.iou_metrics, f_score_metrics,
 * regression_metrics. */
#include "keras/losses/losses.h"

#include <math.h>
#include <string.h>

static const double epsilon = 1e-7;
enum { most_classes = 1 << 12 };

static bool flag(const quern__accumulator *m, const char *key)
{
    return quern__config_bool(m->config, key);
}

/* ---- intersection over union ---- */

typedef enum overlap { OF_LABELS, OF_BINARY, OF_ONE_HOT } overlap;

static int64_t classes_of(const quern__accumulator *m)
{
    return m->row->extra == OF_BINARY ? 2 : quern__config_int(m->config, "num_classes");
}

/* Keras counts in integers unless the config has another dtype. */
static bool counts_whole(const quern__accumulator *m)
{
    const char *dtype = quern__config_text(m->config, "dtype");
    json_t *policy = json_object_get(json_object_get(m->config, "dtype"), "config");
    dtype = dtype ? dtype : quern__config_text(policy, "name");
    return !dtype || !strncmp(dtype, "int", 3) || !strncmp(dtype, "uint", 4);
}

/* `counts` of IoU metrics: a confusion matrix. */
static int matrix_counts(quern__accumulator *m, const quern_shape *truth,
                         const quern_shape *prediction, quern_error *err)
{
    json_t *ids = json_object_get(m->config, "target_class_ids"), *id;
    int64_t n = classes_of(m);
    size_t k;
    (void)truth, (void)prediction;
    if (n < 1 || n > most_classes)
        return quern__fail(err, QUERN_INVALID, m->row->name, "num_classes=%lld, expected 1 … %d",
                           (long long)n, most_classes);
    if (ids && (!json_is_array(ids) || !json_array_size(ids)))
        return quern__fail(err, QUERN_INVALID, m->row->name,
                           "target_class_ids must be a list of classes");
    json_array_foreach(
        ids, k, id) if (!json_is_integer(id) || json_integer_value(id) >= n ||
                        json_integer_value(id) <
                            -n) return quern__fail(err, QUERN_INVALID, m->row->name,
                                                   "target_class_ids has a class outside 0 … %lld",
                                                   (long long)n - 1);
    return quern__accumulator_total(m, &(quern_shape){ .rank = 2, .dims = { n, n } }, err);
}

static quern__id labels(const quern__accumulator *m, quern__graph *g, quern__id x, bool sparse)
{
    return sparse ? x : quern__argmax(g, quern__axis_last(g, m->config, x));
}

/* Adds the confusion matrix of a batch; scores become labels first. */
static quern__id matrix_nodes(const quern__accumulator *m, quern__graph *g, quern__id truth,
                              quern__id prediction, quern__id weights)
{
    json_t *ignore = json_object_get(m->config, "ignore_class");
    bool whole = counts_whole(m);
    if (m->row->extra == OF_BINARY && prediction)
        prediction = quern__binary(
            g, QUERN__GREATER_EQUAL, prediction,
            quern__graph_constant(g, quern__config_number(m->config, "threshold"), QUERN_FLOAT32));
    else if (m->row->extra != OF_BINARY) {
        truth = labels(m, g, truth, m->row->extra != OF_ONE_HOT && flag(m, "sparse_y_true"));
        prediction = labels(m, g, prediction, flag(m, "sparse_y_pred"));
    }
    return quern__confusion(g, truth, prediction, weights, classes_of(m),
                            json_is_integer(ignore) ? json_integer_value(ignore) : QUERN__NO_LABEL,
                            whole);
}

/* The mean over the requested classes that occur. */
static void matrix_results(const quern__accumulator *m, double *out)
{
    json_t *ids = json_object_get(m->config, "target_class_ids");
    int64_t n = m->total->shape.dims[0], asked = ids ? (int64_t)json_array_size(ids) : n;
    const double *counts = m->total->data;
    double sum = 0, valid = 0;
    for (int64_t k = 0; k < asked; k++) {
        int64_t c = ids ? json_integer_value(json_array_get(ids, (size_t)k)) : k;
        c = c < 0 ? c + n : c;
        double all = -counts[c * n + c];
        for (int64_t i = 0; i < n; i++)
            all += counts[c * n + i] + counts[i * n + c];
        if (!(all > 1e-9))
            continue;
        sum += counts[c * n + c] / (all + epsilon);
        valid++;
    }
    *out = sum / (valid + epsilon);
}

/* ---- F scores: counts (4, classes): true positives, false positives, false negatives, truths ----
 */

static int matched(const quern__accumulator *m, const quern_shape *truth,
                   const quern_shape *prediction, quern_error *err)
{
    if (truth->rank == 2 && prediction->rank == 2 && prediction->dims[1] > 0 &&
        truth->dims[1] == prediction->dims[1])
        return QUERN_OK;
    return quern__fail(err, QUERN_SHAPE, m->row->name,
                       "targets and predictions must both have rank 2");
}

/* `counts` of F scores: checks the config. */
static int f_counts(quern__accumulator *m, const quern_shape *truth, const quern_shape *prediction,
                    quern_error *err)
{
    const char *average = quern__config_text(m->config, "average"), *const known[] = { "micro",
                                                                                       "macro",
                                                                                       "weighted" };
    double beta = m->row->extra ? 1 : quern__config_number(m->config, "beta"),
           threshold = quern__config_number(m->config, "threshold");
    bool ok = !average;
    if (average)
        for (int i = 0; i < 3; i++)
            ok = ok || !strcmp(average, known[i]);
    if (!ok)
        return quern__fail(err, QUERN_INVALID, m->row->name,
                           "average must be none, micro, macro or weighted");
    if (!(beta > 0))
        return quern__fail(err, QUERN_INVALID, m->row->name, "beta=%g, expected more than 0", beta);
    if (!isnan(threshold) && !(threshold > 0 && threshold <= 1))
        return quern__fail(err, QUERN_INVALID, m->row->name,
                           "threshold=%g, expected more than 0 and at most 1", threshold);
    int status = matched(m, truth, prediction, err);
    m->n_results =
        average ? 1 : (int)(prediction->dims[1] < INT32_MAX ? prediction->dims[1] : INT32_MAX);
    quern_shape shape = {
        .rank = 2, .dims = { 4, average && !strcmp(average, "micro") ? 1 : prediction->dims[1] }
    };
    if (status < 0)
        return status;
    return quern__accumulator_total(m, &shape, err);
}

/* Sums over the records as a row; for average "micro" over the classes too. */
static quern__id row_of(const quern__accumulator *m, quern__graph *g, quern__id x,
                        quern__id weights)
{
    quern_shape row = { .rank = 2, .dims = { 1, m->total->shape.dims[1] } };
    x = quern__cast(g, x, QUERN_FLOAT64);
    x = weights ? quern__mul2(g, x, weights) : x;
    return quern__reshape(g, quern__reduce(g, QUERN__SUM, x, row.dims[1] == 1 ? 3 : 1, false),
                          &row);
}

/* Weights as a column of float64. */
static quern__id column(quern__graph *g, quern__id weights)
{
    if (!weights)
        return 0;
    quern_shape s = *quern__shape_of(g, weights);
    if (s.rank == 1)
        s.dims[s.rank++] = 1;
    return quern__cast(g, quern__reshape(g, weights, &s), QUERN_FLOAT64);
}

/* Adds the counts of a batch: predictions above the threshold, or the maximum of each record. */
static quern__id f_nodes(const quern__accumulator *m, quern__graph *g, quern__id truth,
                         quern__id prediction, quern__id weights)
{
    double threshold = quern__config_number(m->config, "threshold");
    if (!truth || !prediction)
        return 0;
    if (!isnan(threshold))
        prediction = quern__binary(g, QUERN__GREATER, prediction,
                                   quern__graph_constant(g, threshold, QUERN_FLOAT32));
    else { /* without a threshold: the largest of each record, unless it is 0 */
        quern__id most = quern__reduce(g, QUERN__REDUCE_MAX, prediction, 2, true);
        quern__id size = quern__unary_of(g, QUERN__ABS, prediction);
        prediction = quern__mul2(
            g, quern__binary(g, QUERN__GREATER_EQUAL, prediction, most),
            quern__binary(g, QUERN__GREATER, size, quern__graph_constant(g, 1e-9, QUERN_FLOAT32)));
    }
    truth = quern__cast(g, truth, QUERN_FLOAT32);
    weights = column(g, weights);
    quern__id none = quern__unary(g, QUERN__AFFINE, truth, -1, 1, 0),
              missed = quern__unary(g, QUERN__AFFINE, prediction, -1, 1, 0);
    quern__id rows[4] = { row_of(m, g, quern__mul2(g, prediction, truth), weights),
                          row_of(m, g, quern__mul2(g, prediction, none), weights),
                          row_of(m, g, quern__mul2(g, missed, truth), weights),
                          row_of(m, g, truth, weights) };
    return quern__concat(g, rows, 4, 0);
}

/* F scores per class, or their mean. */
static void f_results(const quern__accumulator *m, double *out)
{
    const char *average = quern__config_text(m->config, "average");
    double beta = m->row->extra ? 1 : quern__config_number(m->config, "beta"), sum = 0, all = 0;
    int64_t n = m->total->shape.dims[1];
    const double *tp = m->total->data, *fp = tp + n, *fn = fp + n, *truths = fn + n;
    bool weighted = average && !strcmp(average, "weighted");
    for (int64_t c = 0; c < n; c++)
        all += weighted ? truths[c] : 1;
    for (int64_t c = 0; c < n; c++) {
        double precision = tp[c] / (tp[c] + fp[c] + epsilon),
               recall = tp[c] / (tp[c] + fn[c] + epsilon);
        double score =
            precision * recall / (beta * beta * precision + recall + epsilon) * (1 + beta * beta);
        if (!average)
            out[c] = score;
        sum += weighted ? score * truths[c] / (all + epsilon) : score / all;
    }
    if (average)
        *out = sum;
}

/* ---- R²: counts (5, columns): sums, squares, residuals, weights, elements of all columns (in the
 * first column) ---- */

/* `counts` of R2Score: checks the config. */
static int r2_counts(quern__accumulator *m, const quern_shape *truth, const quern_shape *prediction,
                     quern_error *err)
{
    const char *how = quern__config_text(m->config, "class_aggregation");
    int status = matched(m, truth, prediction, err);
    if (how && strcmp(how, "uniform_average") && strcmp(how, "variance_weighted_average"))
        return quern__fail(
            err, QUERN_INVALID, m->row->name,
            "class_aggregation must be none, uniform_average or variance_weighted_average");
    if (quern__config_int(m->config, "num_regressors") < 0)
        return quern__fail(err, QUERN_INVALID, m->row->name, "num_regressors is negative");
    m->n_results =
        how ? 1 : (int)(prediction->dims[1] < INT32_MAX ? prediction->dims[1] : INT32_MAX);
    if (status < 0)
        return status;
    return quern__accumulator_total(
        m, &(quern_shape){ .rank = 2, .dims = { 5, prediction->dims[1] } }, err);
}

/* Adds the sums of a batch in float64. */
static quern__id r2_nodes(const quern__accumulator *m, quern__graph *g, quern__id truth,
                          quern__id prediction, quern__id weights)
{
    if (!truth || !prediction)
        return 0;
    quern_shape shape = *quern__shape_of(g, truth);
    quern__id ones = quern__broadcast(g, quern__graph_constant(g, 1, QUERN_FLOAT64), &shape),
              zero = 0;
    truth = quern__cast(g, truth, QUERN_FLOAT64);
    prediction = quern__cast(g, prediction, QUERN_FLOAT64);
    weights = weights ? quern__broadcast(g, column(g, weights), &shape) : ones;
    quern__id gap = quern__square(g, quern__sub2(g, truth, prediction));
    quern__id squares = quern__square(g, truth);
    quern__id rows[5] = { row_of(m, g, truth, weights), row_of(m, g, squares, weights),
                          row_of(m, g, gap, weights), row_of(m, g, weights, zero),
                          row_of(m, g, ones, zero) };
    return quern__concat(g, rows, 5, 0);
}

/* Adjusts for the number of regressors where there are more elements than regressors. */
static double adjusted(const quern__accumulator *m, double r2, double seen)
{
    double p = quern__config_number(m->config, "num_regressors");
    return p == 0 || p >= seen - 1 ? r2 : 1 - (1 - r2) * (seen - 1) / (seen - p - 1);
}

/* The coefficient of determination per column, or aggregated. */
static void r2_results(const quern__accumulator *m, double *out)
{
    const char *how = quern__config_text(m->config, "class_aggregation");
    int64_t n = m->total->shape.dims[1];
    const double *sum = m->total->data, *squares = sum + n, *residual = squares + n,
                 *count = residual + n, *numbers = count + n;
    double seen = numbers[0] * (double)n, mean = 0, weighed = 0, all = 0;
    for (int64_t c = 0; c < n; c++) {
        double total = squares[c] - sum[c] * (sum[c] / count[c]), score = 1 - residual[c] / total;
        score = isinf(score) ? 0 : score;
        mean += score / (double)n;
        weighed += total * score;
        all += total;
        if (!how)
            out[c] = adjusted(m, score, seen);
    }
    if (how)
        *out = adjusted(m, !strcmp(how, "uniform_average") ? mean : weighed / all, seen);
}

/* ---- rows ---- */

#define NAMED \
    { "name", QUERN__F_TEXT, "null" }, { "dtype", QUERN__F_ANY, "\"int64\"" }
#define IGNORE                               \
    {                                        \
        "ignore_class", QUERN__F_INT, "null" \
    }
#define CLASSES                           \
    {                                     \
        "num_classes", QUERN__F_INT, NULL \
    }
#define TARGETS                                \
    {                                          \
        "target_class_ids", QUERN__F_ANY, NULL \
    }
#define SPARSE(WHICH, DEFAULT)                    \
    {                                             \
        "sparse_y_" WHICH, QUERN__F_BOOL, DEFAULT \
    }
#define AXIS                       \
    {                              \
        "axis", QUERN__F_INT, "-1" \
    }
static const quern__field iou_fields[] = {
    CLASSES, TARGETS, NAMED, IGNORE, SPARSE("true", "true"), SPARSE("pred", "true"), AXIS, { 0 }
};
static const quern__field mean_iou_fields[] = {
    CLASSES, NAMED, IGNORE, SPARSE("true", "true"), SPARSE("pred", "true"), AXIS, { 0 }
};
static const quern__field one_hot_iou_fields[] = {
    CLASSES, TARGETS, NAMED, IGNORE, SPARSE("pred", "false"), AXIS, { 0 }
};
static const quern__field one_hot_mean_iou_fields[] = { CLASSES, NAMED,
                                                        IGNORE,  SPARSE("pred", "false"),
                                                        AXIS,    { 0 } };
static const quern__field binary_iou_fields[] = { { "target_class_ids", QUERN__F_ANY, "[0, 1]" },
                                                  { "threshold", QUERN__F_NUMBER, "0.5" },
                                                  NAMED,
                                                  { 0 } };
static const quern__field f1_fields[] = { { "average", QUERN__F_TEXT, "null" },
                                          { "threshold", QUERN__F_NUMBER, "null" },
                                          { "name", QUERN__F_TEXT, "\"f1_score\"" },
                                          { 0 } };
static const quern__field fbeta_fields[] = { { "average", QUERN__F_TEXT, "null" },
                                             { "beta", QUERN__F_NUMBER, "1.0" },
                                             { "threshold", QUERN__F_NUMBER, "null" },
                                             { "name", QUERN__F_TEXT, "\"fbeta_score\"" },
                                             { 0 } };
static const quern__field r2_fields[] = { { "class_aggregation", QUERN__F_TEXT,
                                            "\"uniform_average\"" },
                                          { "num_regressors", QUERN__F_INT, "0" },
                                          { "name", QUERN__F_TEXT, "\"r2_score\"" },
                                          { 0 } };
#define METRIC(ID, NAME, FIELDS, FAMILY, EXTRA)                            \
    const quern__class quern__metric_##ID = { .group = QUERN__METRIC,      \
                                              .name = NAME,                \
                                              .aliases = "",               \
                                              .module = "keras.metrics",   \
                                              .fields = FIELDS,            \
                                              .counts = FAMILY##_counts,   \
                                              .count = FAMILY##_nodes,     \
                                              .results = FAMILY##_results, \
                                              .higher_is_better = true,    \
                                              .extra = EXTRA }
METRIC(iou, "IoU", iou_fields, matrix, OF_LABELS);
METRIC(binary_iou, "BinaryIoU", binary_iou_fields, matrix, OF_BINARY);
METRIC(mean_iou, "MeanIoU", mean_iou_fields, matrix, OF_LABELS);
METRIC(one_hot_iou, "OneHotIoU", one_hot_iou_fields, matrix, OF_ONE_HOT);
METRIC(one_hot_mean_iou, "OneHotMeanIoU", one_hot_mean_iou_fields, matrix, OF_ONE_HOT);
METRIC(f1, "F1Score", f1_fields, f, 1);
METRIC(fbeta, "FBetaScore", fbeta_fields, f, 0);
METRIC(r2, "R2Score", r2_fields, r2, 0);
