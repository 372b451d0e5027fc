/* tally: counts for metrics: predictions above thresholds against truths, and confusion matrices.
 * Counts are in double, in the order of the records, and have no gradient. Formulas:
 * keras-team/keras 3, keras.src.metrics.metrics_utils.
 *
 * The table of a tally is (4, thresholds, labels): true positives, false positives, true negatives,
 * false negatives. Evenly spaced thresholds take one pass over the predictions, plus one over the
 * table. Other thresholds are compared one by one. */
#include "build.h"

#include <math.h>
#include <string.h>

/* ---- tally: inputs truth, prediction, thresholds, [weights]; i[0] kind of thresholds; output (4,
 * thresholds, labels) ---- */

/* Counts for thresholds i / (n - 1) with buckets: each prediction goes to the last bucket whose
 * threshold is below it, in float32 as in Keras. The counts of a threshold are the sums of its
 * bucket and all later ones. */
static void tally_evenly(const quern__call *c, int64_t n, int64_t labels, bool first_below,
                         double *out)
{
    double *positive = out, *negative = out + n * labels, *tn = negative + n * labels,
           *fn = tn + n * labels;
    for (int64_t i = 0, count = quern_shape_count(&c->in[1].shape); i < count; i++) {
        float p = (float)quern__get(&c->in[1], i);
        double w = c->n_in > 3 ? quern__get(&c->in[3], i) : 1;
        bool truth = quern__get(&c->in[0], i) != 0;
        int64_t at = (int64_t)ceilf((p > 0 ? fminf(p, 1) : 0) * (float)(n - 1)) - 1,
                label = i % labels;
        (truth ? fn : tn)[label] +=
            w; /* totals, stored in the row of the first threshold until the end */
        if (at >= 0 || first_below)
            (truth ? positive : negative)[(at > 0 ? at : 0) * labels + label] += w;
    }
    /* a prediction in a later bucket is above earlier thresholds too */
    for (int64_t k = n * labels - labels - 1; k >= 0; k--) {
        positive[k] += positive[k + labels];
        negative[k] += negative[k + labels];
    }
    /* the negatives are the totals less the positives; the totals are in row 0, so it comes last */
    for (int64_t k = n * labels - 1; k >= 0; k--) {
        tn[k] = tn[k % labels] - negative[k];
        fn[k] = fn[k % labels] - positive[k];
    }
}

/* Counts for any thresholds: each prediction against each threshold, in float32 as in Keras. */
static void tally_each(const quern__call *c, int64_t n, int64_t labels, double *out)
{
    for (int64_t i = 0, count = quern_shape_count(&c->in[1].shape); i < count; i++) {
        float p = (float)quern__get(&c->in[1], i);
        double w = c->n_in > 3 ? quern__get(&c->in[3], i) : 1;
        bool truth = quern__get(&c->in[0], i) != 0;
        for (int64_t t = 0; t < n; t++) {
            bool above = p > (float)quern__get(&c->in[2], t);
            /* index of true positives, false positives, true negatives, false negatives */
            int which = above ? !truth : truth ? 3 : 2;
            out[(which * n + t) * labels + i % labels] += w;
        }
    }
}

static int tally_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = c->out[0].shape.dims[1], labels = c->out[0].shape.dims[2];
    (void)begin, (void)end;
    memset(c->out[0].data, 0, (size_t)(4 * n * labels) * sizeof(double));
    if (c->attr->i[0] == QUERN__THRESHOLDS_ANY)
        tally_each(c, n, labels, c->out[0].data);
    else
        tally_evenly(c, n, labels, c->attr->i[0] == QUERN__THRESHOLDS_OPEN, c->out[0].data);
    return 0;
}

const quern__op quern__op_tally = { .name = "tally",
                                    .ways = quern__ways_whole,
                                    .reference = tally_reference };

quern__id quern__tally(quern__graph *g, quern__id truth, quern__id prediction, quern__id weights,
                       quern__id thresholds, quern__thresholds how, bool by_label)
{
    if (!truth || !prediction || !thresholds)
        return 0;
    quern_shape s = *quern__shape_of(g, prediction);
    quern__id in[4] = { quern__reshape(g, truth, &s), prediction, thresholds,
                        weights ? quern__broadcast(g, weights, &s) : 0 };
    quern_shape out = { .rank = 3,
                        .dims = { 4, quern__shape_of(g, thresholds)->dims[0],
                                  by_label && s.rank ? s.dims[s.rank - 1] : 1 } };
    quern__attr attr = { .i = { how } };
    return quern__build(g, &quern__op_tally, in, weights ? 4 : 3, &attr, &out, QUERN_FLOAT64);
}

/* ---- confusion: inputs truth, prediction, [weights] ---- */

/* The row or column of a label; -1 when it is out of range. Whole: the label is truncated first. */
static int64_t label_of(const quern_tensor *t, int64_t i, int64_t classes, bool whole)
{
    double label = whole ? trunc(quern__get(t, i)) : quern__get(t, i);
    return label >= 0 && label < (double)classes ? (int64_t)label : -1;
}

static int confusion_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t classes = c->out[0].shape.dims[0];
    bool ignores = c->attr->i[QUERN__CONFUSION_IGNORES], whole = c->attr->i[QUERN__CONFUSION_WHOLE];
    double *out = c->out[0].data;
    (void)begin, (void)end;
    memset(out, 0, (size_t)(classes * classes) * sizeof *out);
    for (int64_t i = 0, count = quern_shape_count(&c->in[1].shape); i < count; i++) {
        int64_t truth = label_of(&c->in[0], i, classes, whole),
                prediction = label_of(&c->in[1], i, classes, whole);
        double w = c->n_in > 2 ? quern__get(&c->in[2], i) : 1;
        if (truth >= 0 && prediction >= 0 &&
            !(ignores && truth == c->attr->i[QUERN__CONFUSION_IGNORED]))
            out[truth * classes + prediction] += whole ? trunc(w) : w;
    }
    return 0;
}

const quern__op quern__op_confusion = { .name = "confusion",
                                        .ways = quern__ways_whole,
                                        .reference = confusion_reference };

quern__id quern__confusion(quern__graph *g, quern__id truth, quern__id prediction,
                           quern__id weights, int64_t classes, int64_t ignore, bool whole)
{
    if (!truth || !prediction)
        return 0;
    quern_shape s = *quern__shape_of(g, prediction),
                out = { .rank = 2, .dims = { classes, classes } };
    bool one = weights && quern_shape_count(quern__shape_of(g, weights)) == 1;
    quern__id in[3] = { quern__reshape(g, truth, &s), prediction,
                        one ? quern__broadcast(g, weights, &s) : quern__reshape(g, weights, &s) };
    quern__attr attr = { .i = { [QUERN__CONFUSION_IGNORES] = ignore != QUERN__NO_LABEL,
                                [QUERN__CONFUSION_IGNORED] = ignore,
                                [QUERN__CONFUSION_WHOLE] = whole } };
    return quern__build(g, &quern__op_confusion, in, weights ? 3 : 2, &attr, &out, QUERN_FLOAT64);
}

/* ---- keep_top: i[0] k ---- */

static int keep_top_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = c->in[0].shape.dims[c->in[0].shape.rank - 1], most = c->attr->i[0];
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t r = p.start / n; r < (p.start + p.length) / n; r++) {
        /* selection of the next largest element, `most` times */
        for (int64_t k = 0; k < n; k++)
            quern__set(&c->out[0], r * n + k, -1e10);
        double last = INFINITY; /* value and index of the last kept element: the next is smaller, or
                                   equal with a higher index */
        for (int64_t kept = 0, from = -1; kept < most; kept++) {
            int64_t best = -1;
            for (int64_t k = 0; k < n; k++) {
                double v = quern__get(&c->in[0], r * n + k);
                bool left = v < last || (v == last && k > from);
                if (left && (best < 0 || v > quern__get(&c->in[0], r * n + best)))
                    best = k;
            }
            if (best < 0)
                break;
            last = quern__get(&c->in[0], r * n + best);
            from = best;
            quern__set(&c->out[0], r * n + best, last);
        }
    }
    return 0;
}

const quern__op quern__op_keep_top = { .name = "keep_top",
                                       .ways = quern__ways_rows,
                                       .reference = keep_top_reference };

quern__id quern__keep_top(quern__graph *g, quern__id x, int64_t k)
{
    quern__attr attr = { .i = { k } };
    return x ? quern__build(g, &quern__op_keep_top, &x, 1, &attr, quern__shape_of(g, x),
                            quern__dtype_of(g, x))
             : 0;
}
