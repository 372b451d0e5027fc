/* confusion_metrics: metrics that count predictions above thresholds: true and false positives and
 * negatives, precision, recall, one of these at a value of the other, and areas under curves.
 * Formulas: keras-team/keras 3, keras.src.metrics.confusion_metrics. */
#include "keras/losses/losses.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double epsilon = 1e-7;
static const float far_below = -1e10F; /* NEG_INF of Keras */
enum { most_thresholds = 1 << 20 };

typedef enum counted { TP, FP, TN, FN } counted;

/* ---- thresholds ---- */

/* Whether the numbers equal i / (n - 1) within the tolerance of numpy.allclose. */
static bool evenly(const float *x, int64_t n)
{
    bool even = n >= 3;
    for (int64_t i = 0; i < n && even; i++) {
        double want = (double)i / (double)(n - 1);
        even = fabs((double)x[i] - want) <= epsilon + 1e-5 * want;
    }
    return even;
}

/* Reads the thresholds of a config: a number, a list, or null for `otherwise`. `x` has the capacity
 * of all. Returns their number or a negative status. */
static int64_t read_thresholds(json_t *given, float otherwise, float *x, const char *where,
                               quern_error *err)
{
    size_t n = json_is_array(given) ? json_array_size(given) : 1;
    if (json_is_null(given)) {
        x[0] = otherwise;
        return 1;
    }
    if (n < 1 || n > most_thresholds)
        return quern__fail(err, QUERN_INVALID, where, "%zu thresholds, expected 1 … %d", n,
                           most_thresholds);
    for (size_t i = 0; i < n; i++) {
        json_t *one = json_is_array(given) ? json_array_get(given, i) : given;
        double v = json_number_value(one);
        if (!json_is_number(one) || !(v >= 0 && v <= 1))
            return quern__fail(err, QUERN_INVALID, where, "thresholds must be numbers in 0 … 1");
        x[i] = (float)v;
    }
    return (int64_t)n;
}

/* Sets element i to i / (n - 1). */
static void spread(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)((double)i / (double)(n - 1));
}

static int make_counts(quern__accumulator *m, const float *x, int64_t n, int64_t labels, int how,
                       quern_error *err)
{
    quern_shape shape = { .rank = 3, .dims = { 4, n, labels } };
    m->how = how;
    int status = quern__accumulator_given(m, 0, x, n, err);
    if (status < 0)
        return status;
    return quern__accumulator_total(m, &shape, err);
}

/* Checks class_id (a negative id counts from the end) and top_k against the number of classes. */
static int check_classes(const quern__accumulator *m, const quern_shape *prediction,
                         quern_error *err)
{
    static const char *const keys[] = { "class_id", "top_k" };
    for (int i = 0; i < 2; i++) {
        json_t *given = json_object_get(m->config, keys[i]);
        int64_t v = json_integer_value(given),
                last = prediction->rank ? prediction->dims[prediction->rank - 1] : 0;
        if (!given || json_is_null(given))
            continue;
        if (prediction->rank < 2)
            return quern__fail(err, QUERN_SHAPE, m->row->name, "%s needs predictions of classes",
                               keys[i]);
        if (!json_is_integer(given) || v > last - (i == 0) || v < (i == 0 ? -last : 1))
            return quern__fail(err, QUERN_INVALID, m->row->name, "%s is not among %lld classes",
                               keys[i], (long long)last);
    }
    return QUERN_OK;
}

/* `counts` of metrics with the thresholds of the config. */
static int listed_counts(quern__accumulator *m, const quern_shape *truth,
                         const quern_shape *prediction, quern_error *err)
{
    (void)truth;
    json_t *top = json_object_get(m->config, "top_k"),
           *given = json_object_get(m->config, "thresholds");
    float *x = quern__zalloc(json_array_size(given) + 1, sizeof *x);
    if (!x)
        return quern__fail_memory(err, json_array_size(given) * sizeof *x);
    int64_t n =
        read_thresholds(given, json_is_integer(top) ? far_below : 0.5F, x, m->row->name, err);
    int status = n < 0 ? (int)n : check_classes(m, prediction, err);
    if (status >= 0)
        status = make_counts(m, x, n, 1,
                             evenly(x, n) ? QUERN__THRESHOLDS_EVEN : QUERN__THRESHOLDS_ANY, err);
    m->n_results = n > 0 ? (int)n : 1;
    quern__free(x);
    return status;
}

/* ---- nodes ---- */

static quern__id last_axis(quern__graph *g, quern__id x, int64_t at)
{
    int axis = x ? quern__shape_of(g, x)->rank - 1 : 0;
    return x ? quern__slice(g, x, axis, at < 0 ? at + quern__shape_of(g, x)->dims[axis] : at, 1)
             : 0;
}

/* Expands weights to the predictions: they are per prediction, or per record (or step) without the
 * last axis. */
static quern__id fitted(quern__graph *g, quern__id weights, quern__id truth)
{
    if (!weights || !truth)
        return 0;
    quern_shape w = *quern__shape_of(g, weights);
    const quern_shape *t = quern__shape_of(g, truth);
    if (w.rank == t->rank)
        return weights;
    if (w.rank > t->rank)
        return quern__reshape(g, weights, t);
    w.dims[w.rank++] = 1;
    return quern__reshape(g, weights, &w);
}

/* Adds the nodes that count true and false positives and negatives, after class_id and top_k. */
static quern__id tally(const quern__accumulator *m, quern__graph *g, quern__id truth,
                       quern__id prediction, quern__id weights)
{
    json_t *class_id = json_object_get(m->config, "class_id"),
           *top = json_object_get(m->config, "top_k");
    bool by_label = quern__config_bool(m->config, "multi_label");
    quern__match_ranks(g, &prediction, &truth);
    weights = fitted(g, weights, truth);
    if (json_is_integer(top))
        prediction = quern__keep_top(g, prediction, json_integer_value(top));
    if (json_is_integer(class_id)) {
        bool each = weights &&
                    quern__shape_of(g, weights)->dims[quern__shape_of(g, weights)->rank - 1] != 1;
        if (each)
            return quern__graph_fail(g, QUERN_SHAPE,
                                     "weights per class cannot be combined with class_id");
        truth = last_axis(g, truth, json_integer_value(class_id));
        prediction = last_axis(g, prediction, json_integer_value(class_id));
    }
    if (m->given[1]) {
        quern__id labels = quern__graph_variable(g, m->given[1]);
        weights = weights ? quern__mul2(g, weights, labels) : labels;
    }
    return quern__tally(g, truth, prediction, weights, quern__graph_variable(g, m->given[0]),
                        (quern__thresholds)m->how, by_label);
}

/* ---- results ---- */

static const double *counts_of(const quern__accumulator *m, counted which)
{
    const quern_shape *s = &m->total->shape;
    return (const double *)m->total->data + which * s->dims[1] * s->dims[2];
}

static double share(double part, double rest)
{
    return part + rest != 0 ? part / (part + rest) : 0;
}

static void plain_results(const quern__accumulator *m, double *out)
{
    memcpy(out, counts_of(m, (counted)m->row->extra), (size_t)m->n_results * sizeof *out);
}

/* Precision and recall: true positives divided by their sum with the counts that the row names. */
static void share_results(const quern__accumulator *m, double *out)
{
    const double *tp = counts_of(m, TP), *rest = counts_of(m, (counted)m->row->extra);
    for (int i = 0; i < m->n_results; i++)
        out[i] = share(tp[i], rest[i]);
}

/* ---- sensitivity, specificity, precision and recall at a value of another ---- */

typedef enum kind {
    SENSITIVITY,
    SPECIFICITY,
    PRECISION
} kind; /* recall is the same as sensitivity */

static double rate(const quern__accumulator *m, int what, int64_t i)
{
    counted hit = what == SPECIFICITY ? TN : TP, miss = what == SENSITIVITY ? FN : FP;
    return share(counts_of(m, hit)[i], counts_of(m, miss)[i]);
}

/* `counts` of metrics at a value of another: evenly spaced thresholds. */
static int at_counts(quern__accumulator *m, const quern_shape *truth, const quern_shape *prediction,
                     quern_error *err)
{
    (void)truth;
    int64_t n = quern__config_int(m->config, "num_thresholds");
    const char *key = m->row->fields[0].name;
    double value = quern__config_number(m->config, key);
    if (n < 1 || n > most_thresholds)
        return quern__fail(err, QUERN_INVALID, m->row->name, "num_thresholds=%lld, expected 1 … %d",
                           (long long)n, most_thresholds);
    if (!(value >= 0 && value <= 1))
        return quern__fail(err, QUERN_INVALID, m->row->name, "%s=%g is outside 0 … 1", key, value);
    float half = 0.5F, *x = n == 1 ? &half : quern__zalloc((size_t)n, sizeof *x);
    if (!x)
        return quern__fail_memory(err, (size_t)n * sizeof *x);
    if (n > 1)
        spread(x, n);
    int status = check_classes(m, prediction, err);
    if (status >= 0)
        status =
            make_counts(m, x, n, 1, n > 1 ? QUERN__THRESHOLDS_EVEN : QUERN__THRESHOLDS_ANY, err);
    if (n > 1)
        quern__free(x);
    return status;
}

static void at_results(const quern__accumulator *m, double *out)
{
    int held = m->row->extra % 4, wanted = m->row->extra / 4;
    double least = quern__config_number(m->config, m->row->fields[0].name);
    *out = 0;
    for (int64_t i = 0; i < m->total->shape.dims[1]; i++)
        if (rate(m, held, i) >= least)
            *out = fmax(*out, rate(m, wanted, i));
}

/* ---- areas under curves ---- */

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static bool is_one_of(const char *word, const char *const *words)
{
    for (; word && *words; words++)
        if (quern__same_name(word, *words))
            return true;
    return false;
}

/* Checks the config of AUC; `labels` gets the number of labels that count separately. */
static int check_area(const quern__accumulator *m, const quern_shape *prediction, int64_t *labels,
                      quern_error *err)
{
    static const char *const curves[] = { "ROC", "PR", "PRGAIN", NULL };
    static const char *const sums[] = { "interpolation", "minoring", "majoring", NULL };
    bool multi = quern__config_bool(m->config, "multi_label");
    json_t *n = json_object_get(m->config, "num_labels"),
           *weights = json_object_get(m->config, "label_weights");
    if (!is_one_of(quern__config_text(m->config, "curve"), curves))
        return quern__fail(err, QUERN_INVALID, m->row->name, "curve must be ROC, PR or PRGAIN");
    if (!is_one_of(quern__config_text(m->config, "summation_method"), sums))
        return quern__fail(err, QUERN_INVALID, m->row->name,
                           "summation_method must be interpolation, minoring or majoring");
    if (multi && prediction->rank != 2)
        return quern__fail(err, QUERN_SHAPE, m->row->name,
                           "multi_label needs predictions of rank 2, got %d", prediction->rank);
    *labels = multi ? prediction->dims[1] : 1;
    if (json_is_integer(n) && json_integer_value(n) && (!multi || json_integer_value(n) != *labels))
        return quern__fail(err, QUERN_INVALID, m->row->name,
                           multi ? "num_labels=%lld, the predictions have %lld"
                                 : "num_labels needs multi_label=true",
                           (long long)json_integer_value(n), (long long)*labels);
    int64_t last = prediction->rank ? prediction->dims[prediction->rank - 1] : 1;
    if (json_is_array(weights) && (int64_t)json_array_size(weights) != last)
        return quern__fail(err, QUERN_INVALID, m->row->name, "%zu label_weights for %lld labels",
                           json_array_size(weights), (long long)last);
    return QUERN_OK;
}

/* Stores the label weights for predictions whose labels are counted together. */
static int give_label_weights(quern__accumulator *m, quern_error *err)
{
    json_t *weights = json_object_get(m->config, "label_weights");
    size_t n = json_array_size(weights);
    if (!n || quern__config_bool(m->config, "multi_label"))
        return QUERN_OK;
    float *x = quern__zalloc(n, sizeof *x);
    if (x)
        for (size_t i = 0; i < n; i++)
            x[i] = (float)json_number_value(json_array_get(weights, i));
    int status = x ? quern__accumulator_given(m, 1, x, (int64_t)n, err)
                   : quern__fail_memory(err, n * sizeof *x);
    quern__free(x);
    return status;
}

/* `counts` of AUC: the thresholds 0 … 1, with one below 0 and one above 1. */
static int area_counts(quern__accumulator *m, const quern_shape *truth,
                       const quern_shape *prediction, quern_error *err)
{
    json_t *given = json_object_get(m->config, "thresholds");
    int64_t labels = 1, n = quern__config_int(m->config, "num_thresholds");
    int status = check_area(m, prediction, &labels, err);
    (void)truth;
    n = json_is_array(given) ? (int64_t)json_array_size(given) + 2 : n;
    if (status >= 0 && (n < 2 || n > most_thresholds))
        return quern__fail(err, QUERN_INVALID, m->row->name, "num_thresholds=%lld, expected 2 … %d",
                           (long long)n, most_thresholds);
    float *x = status < 0 ? NULL : quern__zalloc((size_t)n, sizeof *x);
    if (status < 0)
        return status;
    if (!x)
        return quern__fail_memory(err, (size_t)n * sizeof *x);
    spread(x, n);
    bool even = true;
    if (json_is_array(given) && n > 2) {
        int64_t read = read_thresholds(given, 0, x + 1, m->row->name, err);
        status = read < 0 ? (int)read : status;
        qsort(x + 1, (size_t)n - 2, sizeof *x, compare);
        even = evenly(x, n);
    }
    x[0] = (float)-epsilon;
    x[n - 1] = (float)(1 + epsilon);
    if (status >= 0)
        status = make_counts(m, x, n, labels, even ? QUERN__THRESHOLDS_OPEN : QUERN__THRESHOLDS_ANY,
                             err);
    quern__free(x);
    if (status < 0)
        return status;
    return give_label_weights(m, err);
}

static quern__id area_nodes(const quern__accumulator *m, quern__graph *g, quern__id truth,
                            quern__id prediction, quern__id weights)
{
    if (quern__config_bool(m->config, "from_logits"))
        prediction = quern__unary_of(g, QUERN__SIGMOID, prediction);
    return tally(m, g, truth, prediction, weights);
}

static double divided(double a, double b) { return b != 0 ? a / b : 0; }

/* Computes a point of the ROC, PR or PRGAIN curve; where a gain diverges, it has the value that
 * Keras sets. */
static void point(const quern__accumulator *m, char curve, int64_t i, double *x, double *y)
{
    double tp = counts_of(m, TP)[i], fp = counts_of(m, FP)[i], tn = counts_of(m, TN)[i],
           fn = counts_of(m, FN)[i];
    double scale = divided(tp + fn, tn + fp);
    *x = curve == 'O' ? share(fp, tn) : share(tp, fn);
    *y = curve == 'O' ? share(tp, fn) : share(tp, fp);
    if (curve == 'G') {
        *x = tp == 0 ? 0 : fmax(1 - scale * fn / tp, 0);
        *y = tp == 0 ? 1 : 1 - scale * fp / tp;
    }
}

static double trapezium(const quern__accumulator *m, char curve, const char *method, int64_t i,
                        int64_t next)
{
    double x, y, below, to;
    point(m, curve, i, &x, &y);
    point(m, curve, next, &to, &below);
    double height = quern__same_name(method, "interpolation") ? (y + below) / 2
                    : quern__same_name(method, "minoring")    ? fmin(y, below)
                                                              : fmax(y, below);
    return (x - to) * height;
}

/* Davis & Goadrich 2006: between two points, counts are interpolated, not precision. */
static double precise_part(const quern__accumulator *m, int64_t i, int64_t next)
{
    const double *tp = counts_of(m, TP), *fp = counts_of(m, FP), *fn = counts_of(m, FN);
    double p = tp[i] + fp[i], q = tp[next] + fp[next], dtp = tp[i] - tp[next];
    double slope = divided(dtp, fmax(p - q, 0)), intercept = tp[next] - slope * q,
           ratio = p > 0 && q > 0 ? p / q : 1;
    return divided(slope * (dtp + intercept * log(ratio)), fmax(tp[next] + fn[next], 0));
}

/* The area under the curve, by Riemann sums or interpolation; with multi_label the mean over
 * labels. */
static void area_results(const quern__accumulator *m, double *out)
{
    const char *name = quern__config_text(m->config, "curve"),
               *method = quern__config_text(m->config, "summation_method");
    char curve = quern__same_name(name, "ROC") ? 'O' : quern__same_name(name, "PR") ? 'P' : 'G';
    bool precise = curve == 'P' && quern__same_name(method, "interpolation");
    int64_t n = m->total->shape.dims[1], labels = m->total->shape.dims[2];
    json_t *weights = quern__config_bool(m->config, "multi_label")
                          ? json_object_get(m->config, "label_weights")
                          : NULL;
    double sum = 0, all = 0;
    for (int64_t l = 0; l < labels; l++) {
        double area = 0, w = json_is_array(weights)
                                 ? json_number_value(json_array_get(weights, (size_t)l))
                                 : 1;
        for (int64_t i = l; i + labels < n * labels; i += labels)
            area += precise ? precise_part(m, i, i + labels)
                            : trapezium(m, curve, method, i, i + labels);
        sum += w * area;
        all += w;
    }
    *out = divided(sum, all);
}

/* ---- rows ---- */

#define AT(KEY)                                                                    \
    {                                                                              \
        { KEY, QUERN__F_NUMBER, NULL }, { "num_thresholds", QUERN__F_INT, "200" }, \
            { "class_id", QUERN__F_INT, "null" },                                  \
        {                                                                          \
            0                                                                      \
        }                                                                          \
    }
static const quern__field thresholds_fields[] = { { "thresholds", QUERN__F_ANY, "null" }, { 0 } };
static const quern__field share_fields[] = { { "thresholds", QUERN__F_ANY, "null" },
                                             { "top_k", QUERN__F_INT, "null" },
                                             { "class_id", QUERN__F_INT, "null" },
                                             { 0 } };
static const quern__field specificity_fields[] = AT("specificity"),
                          sensitivity_fields[] = AT("sensitivity"), recall_fields[] = AT("recall"),
                          precision_fields[] = AT("precision");
static const quern__field area_fields[] = { { "num_thresholds", QUERN__F_INT, "200" },
                                            { "curve", QUERN__F_TEXT, "\"ROC\"" },
                                            { "summation_method", QUERN__F_TEXT,
                                              "\"interpolation\"" },
                                            { "name", QUERN__F_TEXT, "null" },
                                            { "dtype", QUERN__F_ANY, "\"float32\"" },
                                            { "thresholds", QUERN__F_ANY, "null" },
                                            { "multi_label", QUERN__F_BOOL, "false" },
                                            { "num_labels", QUERN__F_INT, "null" },
                                            { "label_weights", QUERN__F_ANY, "null" },
                                            { "from_logits", QUERN__F_BOOL, "false" },
                                            { 0 } };
#define METRIC(ID, NAME, FIELDS, COUNTS, NODES, RESULTS, RISES, EXTRA)   \
    const quern__class quern__metric_##ID = { .group = QUERN__METRIC,    \
                                              .name = NAME,              \
                                              .aliases = "",             \
                                              .module = "keras.metrics", \
                                              .fields = FIELDS,          \
                                              .counts = COUNTS,          \
                                              .count = NODES,            \
                                              .results = RESULTS,        \
                                              .higher_is_better = RISES, \
                                              .extra = EXTRA }
METRIC(tp, "TruePositives", thresholds_fields, listed_counts, tally, plain_results, false, TP);
METRIC(fp, "FalsePositives", thresholds_fields, listed_counts, tally, plain_results, false, FP);
METRIC(tn, "TrueNegatives", thresholds_fields, listed_counts, tally, plain_results, false, TN);
METRIC(fn, "FalseNegatives", thresholds_fields, listed_counts, tally, plain_results, false, FN);
METRIC(precision, "Precision", share_fields, listed_counts, tally, share_results, true, FP);
METRIC(recall, "Recall", share_fields, listed_counts, tally, share_results, true, FN);
METRIC(sensitivity_at, "SensitivityAtSpecificity", specificity_fields, at_counts, tally, at_results,
       true, SPECIFICITY + 4 * SENSITIVITY);
METRIC(specificity_at, "SpecificityAtSensitivity", sensitivity_fields, at_counts, tally, at_results,
       true, SENSITIVITY + 4 * SPECIFICITY);
METRIC(precision_at, "PrecisionAtRecall", recall_fields, at_counts, tally, at_results, true,
       SENSITIVITY + 4 * PRECISION);
METRIC(recall_at, "RecallAtPrecision", precision_fields, at_counts, tally, at_results, true,
       PRECISION + 4 * SENSITIVITY);
METRIC(auc, "AUC", area_fields, area_counts, area_nodes, area_results, true, 0);
