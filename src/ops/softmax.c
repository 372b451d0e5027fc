/* softmax: ops over classes, the last axis: softmax, log softmax, sparsemax, one-hot, and
 * cross-entropy from logits, which is fused so that it is exact where softmax saturates. Rows are
 * independent, so all ops are divided by records.
 *
 * All of them use log_sum: the maximum m of a row and log(sum(exp(x - m))). With it, log softmax(x)
 * = x - m - log sum, and no exponential overflows.
 *
 * A cross-entropy has the gradient (softmax - target) dy. It recomputes the softmax from the
 * logits, so the forward pass stores nothing. */
#include "build.h"

#include <math.h>

static int64_t classes_of(const quern_tensor *t) { return t->shape.dims[t->shape.rank - 1]; }

/* max and log(sum(exp(x - max))) of a row. */
static void log_sum(const quern_tensor *x, int64_t row, int64_t n, double *max, double *log_sum_out)
{
    double sum = 0;
    *max = -INFINITY;
    for (int64_t k = 0; k < n; k++) {
        double v = quern__get(x, row * n + k);
        *max = v > *max || isnan(v) ? v : *max;
    }
    for (int64_t k = 0; k < n; k++)
        sum += exp(quern__get(x, row * n + k) - *max);
    *log_sum_out = log(sum);
}

/* The rows of a call that is partitioned by records; axes between the first and the last belong to
 * their record. */
static quern__part rows_of(const quern__call *c, int64_t begin, int64_t end, bool keeps_classes)
{
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    int64_t n = keeps_classes ? classes_of(&c->out[0]) : 1;
    return (quern__part){ .start = p.start / n, .length = p.length / n };
}

/* ---- softmax and log softmax ---- */

static int softmax_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = classes_of(&c->in[0]);
    quern__part p = rows_of(c, begin, end, true);
    for (int64_t r = p.start; r < p.start + p.length; r++) {
        double max, ls;
        log_sum(&c->in[0], r, n, &max, &ls);
        for (int64_t k = 0; k < n; k++)
            quern__set(&c->out[0], r * n + k,
                       exp(quern__get(&c->in[0], r * n + k) - max) / exp(ls));
    }
    return 0;
}

/* dx = y (dy - sum(dy y)): inputs y, dy */
static int softmax_grad_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = classes_of(&c->in[0]);
    quern__part p = rows_of(c, begin, end, true);
    for (int64_t r = p.start; r < p.start + p.length; r++) {
        double dot = 0;
        for (int64_t k = r * n; k < (r + 1) * n; k++)
            dot += quern__get(&c->in[0], k) * quern__get(&c->in[1], k);
        for (int64_t k = r * n; k < (r + 1) * n; k++)
            quern__set(&c->out[0], k, quern__get(&c->in[0], k) * (quern__get(&c->in[1], k) - dot));
    }
    return 0;
}

static int log_softmax_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = classes_of(&c->in[0]);
    quern__part p = rows_of(c, begin, end, true);
    for (int64_t r = p.start; r < p.start + p.length; r++) {
        double max, ls;
        log_sum(&c->in[0], r, n, &max, &ls);
        for (int64_t k = 0; k < n; k++)
            quern__set(&c->out[0], r * n + k, quern__get(&c->in[0], r * n + k) - max - ls);
    }
    return 0;
}

/* dx = dy - exp(y) sum(dy): inputs y, dy */
static int log_softmax_grad_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = classes_of(&c->in[0]);
    quern__part p = rows_of(c, begin, end, true);
    for (int64_t r = p.start; r < p.start + p.length; r++) {
        double sum = 0;
        for (int64_t k = r * n; k < (r + 1) * n; k++)
            sum += quern__get(&c->in[1], k);
        for (int64_t k = r * n; k < (r + 1) * n; k++)
            quern__set(&c->out[0], k,
                       quern__get(&c->in[1], k) - exp(quern__get(&c->in[0], k)) * sum);
    }
    return 0;
}

const quern__op quern__op_softmax_grad = { .name = "softmax_grad",
                                           .ways = quern__ways_rows,
                                           .reference = softmax_grad_reference };
const quern__op quern__op_log_softmax_grad = { .name = "log_softmax_grad",
                                               .ways = quern__ways_rows,
                                               .reference = log_softmax_grad_reference };

/* A gradient node with inputs y (or x) and dy, in the shape of y. */
static quern__id softmax_family_grad(quern__graph *g, const quern__op *op, quern__id y,
                                     quern__id dy)
{
    return quern__build(g, op, (quern__id[]){ y, dy }, 2, NULL, quern__shape_of(g, y),
                        quern__dtype_of(g, y));
}

static void softmax_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                             quern__id *dx)
{
    dx[0] = softmax_family_grad(g, &quern__op_softmax_grad, node->out[0], dy[0]);
}

static void log_softmax_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                                 quern__id *dx)
{
    dx[0] = softmax_family_grad(g, &quern__op_log_softmax_grad, node->out[0], dy[0]);
}

const quern__op quern__op_softmax = { .name = "softmax",
                                      .ways = quern__ways_rows,
                                      .gradient = softmax_gradient,
                                      .reference = softmax_reference };
const quern__op quern__op_log_softmax = { .name = "log_softmax",
                                          .ways = quern__ways_rows,
                                          .gradient = log_softmax_gradient,
                                          .reference = log_softmax_reference };

/* ---- sparsemax, as Keras 3.15 computes it: sorted in descending order, the support is where z_j >
 * (z_1 + … + z_j - 1) / j, k elements, and the threshold is (sum of the partial sums of the support
 * - 1) / k. (Martins and Astudillo, ICML 2016, use the k-th partial sum.) */

/* The rank, from 1, of element i in its row in descending order, and the sum of all elements up to
 * it. */
static int64_t place_of(const quern_tensor *x, int64_t row, int64_t n, int64_t i, double *partial)
{
    double own = quern__get(x, row * n + i);
    int64_t place = 1;
    *partial = own;
    for (int64_t k = 0; k < n; k++) {
        double v = quern__get(x, row * n + k);
        bool before = k != i && (v > own || (v == own && k < i));
        place += before;
        *partial += before ? v : 0;
    }
    return place;
}

/* The threshold of a row; `size` gets the size of its support. */
static double threshold_of(const quern_tensor *x, int64_t row, int64_t n, int64_t *size)
{
    double sum = 0, partial;
    *size = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t place = place_of(x, row, n, i, &partial);
        if (quern__get(x, row * n + i) - (partial - 1) / (double)place > 0) {
            sum += partial;
            ++*size;
        }
    }
    return (sum - 1) / (double)*size;
}

static int sparsemax_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = classes_of(&c->in[0]), size;
    quern__part p = rows_of(c, begin, end, true);
    for (int64_t r = p.start; r < p.start + p.length; r++) {
        double t = threshold_of(&c->in[0], r, n, &size);
        for (int64_t k = r * n; k < (r + 1) * n; k++) {
            double v = quern__get(&c->in[0], k) - t;
            quern__set(&c->out[0], k, v < 0 ? 0 : v);
        }
    }
    return 0;
}

/* dx = dy where x > t, minus (k + 1 - rank) / k of the sum of dy over the support: inputs x, dy */
static int sparsemax_grad_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = classes_of(&c->in[0]), size;
    quern__part p = rows_of(c, begin, end, true);
    for (int64_t r = p.start; r < p.start + p.length; r++) {
        double t = threshold_of(&c->in[0], r, n, &size), sum = 0, partial;
        for (int64_t k = r * n; k < (r + 1) * n; k++)
            sum += quern__get(&c->in[0], k) > t ? quern__get(&c->in[1], k) : 0;
        for (int64_t i = 0; i < n; i++) {
            double own = quern__get(&c->in[0], r * n + i), dy = quern__get(&c->in[1], r * n + i);
            int64_t place = place_of(&c->in[0], r, n, i, &partial);
            bool in = own - (partial - 1) / (double)place > 0;
            quern__set(&c->out[0], r * n + i,
                       (own > t ? dy : 0) -
                           (in ? sum * (double)(size + 1 - place) / (double)size : 0));
        }
    }
    return 0;
}

const quern__op quern__op_sparsemax_grad = { .name = "sparsemax_grad",
                                             .ways = quern__ways_rows,
                                             .reference = sparsemax_grad_reference };

static void sparsemax_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                               quern__id *dx)
{
    dx[0] = softmax_family_grad(g, &quern__op_sparsemax_grad, node->in[0], dy[0]);
}

const quern__op quern__op_sparsemax = { .name = "sparsemax",
                                        .ways = quern__ways_rows,
                                        .gradient = sparsemax_gradient,
                                        .reference = sparsemax_reference };

/* A vector counts as one row. */
static quern__id over_rows(quern__graph *g, const quern__op *op, quern__id x)
{
    if (!x)
        return 0;
    quern_shape s = *quern__shape_of(g, x);
    if (s.rank == 0)
        return quern__graph_fail(g, QUERN_SHAPE, "%s of a scalar", op->name);
    if (s.rank > 1)
        return quern__build(g, op, &x, 1, NULL, &s, quern__dtype_of(g, x));
    quern_shape row = { .rank = 2, .dims = { 1, s.dims[0] } };
    quern__id in = quern__reshape(g, x, &row);
    return quern__reshape(g, quern__build(g, op, &in, 1, NULL, &row, quern__dtype_of(g, x)), &s);
}

quern__id quern__softmax(quern__graph *g, quern__id x)
{
    return over_rows(g, &quern__op_softmax, x);
}
quern__id quern__sparsemax(quern__graph *g, quern__id x)
{
    return over_rows(g, &quern__op_sparsemax, x);
}
quern__id quern__log_softmax(quern__graph *g, quern__id x)
{
    return over_rows(g, &quern__op_log_softmax, x);
}

/* ---- cross-entropy of labels: i[0] the label to ignore, or QUERN__NO_LABEL ---- */

/* The label of a row; -1 for an ignored one; a fault when it is out of range. */
static int64_t label_of(const quern__call *c, const quern_tensor *labels, int64_t row, int64_t n,
                        int64_t ignore)
{
    double label = quern__get(labels, row);
    if (ignore != QUERN__NO_LABEL && label == (double)ignore)
        return -1;
    if (label >= 0 && label < (double)n && label == floor(label))
        return (int64_t)label;
    /* the record of the row, for the message */
    int64_t rows = quern_shape_count(&labels->shape), batch = c->run->batch > 0 ? c->run->batch : 1;
    int64_t per = rows / batch > 0 ? rows / batch : 1;
    quern__call_fault(c, QUERN_INVALID, row / per, label, (double)(n - 1), "label");
    return -2;
}

static int sparse_crossentropy_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = classes_of(&c->in[1]);
    quern__part p = rows_of(c, begin, end, false);
    for (int64_t r = p.start; r < p.start + p.length; r++) {
        int64_t label = label_of(c, &c->in[0], r, n, c->attr->i[0]);
        if (label < -1)
            return QUERN_INVALID;
        double max, ls;
        log_sum(&c->in[1], r, n, &max, &ls);
        quern__set(&c->out[0], r, label < 0 ? 0 : max + ls - quern__get(&c->in[1], r * n + label));
    }
    return 0;
}

/* dlogits = dy (softmax - one_hot): inputs labels, logits, dy */
static int sparse_crossentropy_grad_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = classes_of(&c->in[1]);
    quern__part p = rows_of(c, begin, end, true);
    for (int64_t r = p.start; r < p.start + p.length; r++) {
        int64_t label = label_of(c, &c->in[0], r, n, c->attr->i[0]);
        if (label < -1)
            return QUERN_INVALID;
        double max, ls, dy = label < 0 ? 0 : quern__get(&c->in[2], r);
        log_sum(&c->in[1], r, n, &max, &ls);
        for (int64_t k = 0; k < n; k++)
            quern__set(&c->out[0], r * n + k,
                       dy * (exp(quern__get(&c->in[1], r * n + k) - max - ls) - (k == label)));
    }
    return 0;
}

const quern__op quern__op_sparse_crossentropy_grad = { .name = "sparse_crossentropy_grad",
                                                       .ways = quern__ways_rows,
                                                       .reference =
                                                           sparse_crossentropy_grad_reference };

static void sparse_crossentropy_gradient(quern__graph *g, const quern__node *node,
                                         const quern__id *dy, quern__id *dx)
{
    quern__attr attr = node->attr;
    quern__id labels = node->in[0], logits = node->in[1];
    dx[1] =
        quern__build(g, &quern__op_sparse_crossentropy_grad, (quern__id[]){ labels, logits, dy[0] },
                     3, &attr, quern__shape_of(g, logits), quern__dtype_of(g, logits));
}

const quern__op quern__op_sparse_crossentropy = { .name = "sparse_crossentropy",
                                                  .ways = quern__ways_rows,
                                                  .gradient = sparse_crossentropy_gradient,
                                                  .reference = sparse_crossentropy_reference };

quern__id quern__sparse_crossentropy(quern__graph *g, quern__id labels, quern__id logits,
                                     int64_t ignore)
{
    if (!labels || !logits)
        return 0;
    quern_shape rows = *quern__shape_of(g, logits);
    rows.rank--;
    quern__attr attr = { .i = { ignore } };
    quern__id flat = quern__reshape(g, labels, &rows);
    return quern__build(g, &quern__op_sparse_crossentropy, (quern__id[]){ flat, logits }, 2, &attr,
                        &rows, quern__dtype_of(g, logits));
}

/* ---- cross-entropy of distributions ---- */

static int crossentropy_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = classes_of(&c->in[1]);
    quern__part p = rows_of(c, begin, end, false);
    for (int64_t r = p.start; r < p.start + p.length; r++) {
        double max, ls, sum = 0;
        log_sum(&c->in[1], r, n, &max, &ls);
        for (int64_t k = r * n; k < (r + 1) * n; k++)
            sum -= quern__get(&c->in[0], k) * (quern__get(&c->in[1], k) - max - ls);
        quern__set(&c->out[0], r, sum);
    }
    return 0;
}

/* dlogits = dy (softmax sum(targets) - targets): inputs targets, logits, dy */
static int crossentropy_grad_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = classes_of(&c->in[1]);
    quern__part p = rows_of(c, begin, end, true);
    for (int64_t r = p.start; r < p.start + p.length; r++) {
        double max, ls, sum = 0, dy = quern__get(&c->in[2], r);
        log_sum(&c->in[1], r, n, &max, &ls);
        for (int64_t k = r * n; k < (r + 1) * n; k++)
            sum += quern__get(&c->in[0], k);
        for (int64_t k = r * n; k < (r + 1) * n; k++)
            quern__set(
                &c->out[0], k,
                dy * (exp(quern__get(&c->in[1], k) - max - ls) * sum - quern__get(&c->in[0], k)));
    }
    return 0;
}

const quern__op quern__op_crossentropy_grad = { .name = "crossentropy_grad",
                                                .ways = quern__ways_rows,
                                                .reference = crossentropy_grad_reference };

static void crossentropy_gradient(quern__graph *g, const quern__node *node, const quern__id *dys,
                                  quern__id *dx)
{
    quern__id targets = node->in[0], logits = node->in[1], dy = dys[0];
    quern_shape kept = *quern__shape_of(g, logits);
    dx[1] = quern__build(g, &quern__op_crossentropy_grad, (quern__id[]){ targets, logits, dy }, 3,
                         NULL, &kept, quern__dtype_of(g, logits));
    /* targets from the data need no gradient */
    if (quern__graph_value(g, targets)->kind == QUERN__VALUE_BATCH)
        return;
    kept.dims[kept.rank - 1] = 1;
    dx[0] = quern__scale(
        g, quern__mul2(g, quern__reshape(g, dy, &kept), quern__log_softmax(g, logits)), -1);
}

const quern__op quern__op_crossentropy = { .name = "crossentropy",
                                           .ways = quern__ways_rows,
                                           .gradient = crossentropy_gradient,
                                           .reference = crossentropy_reference };

quern__id quern__crossentropy(quern__graph *g, quern__id targets, quern__id logits)
{
    if (!targets || !logits)
        return 0;
    quern_shape rows = *quern__shape_of(g, logits);
    char a[96], b[96];
    if (!quern_shape_equal(&rows, quern__shape_of(g, targets)))
        return quern__graph_fail(g, QUERN_SHAPE, "targets %s do not fit outputs %s",
                                 quern_shape_text(quern__shape_of(g, targets), a, sizeof a),
                                 quern_shape_text(&rows, b, sizeof b));
    rows.rank--;
    return quern__build(g, &quern__op_crossentropy, (quern__id[]){ targets, logits }, 2, NULL,
                        &rows, quern__dtype_of(g, logits));
}

/* ---- one-hot: i[0] depth, i[1] whether a label out of range is a fault ---- */

static int one_hot_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = c->attr->i[0];
    quern__part p = rows_of(c, begin, end, true);
    for (int64_t r = p.start; r < p.start + p.length; r++) {
        double at = quern__get(&c->in[0], r);
        int64_t label = c->attr->i[1]               ? label_of(c, &c->in[0], r, n, QUERN__NO_LABEL)
                        : at >= 0 && at < (double)n ? (int64_t)at
                                                    : -1;
        if (label < -1)
            return QUERN_INVALID;
        for (int64_t k = 0; k < n; k++)
            quern__set(&c->out[0], r * n + k, k == label);
    }
    return 0;
}

const quern__op quern__op_one_hot = { .name = "one_hot",
                                      .ways = quern__ways_rows,
                                      .reference = one_hot_reference };

quern__id quern__one_hot(quern__graph *g, quern__id labels, int64_t depth, bool check)
{
    if (!labels)
        return 0;
    quern_shape shape = *quern__shape_of(g, labels);
    if (shape.rank == QUERN_MAX_RANK)
        return quern__graph_fail(g, QUERN_SHAPE, "one_hot: more than %d axes", QUERN_MAX_RANK);
    shape.dims[shape.rank++] = depth;
    quern__attr attr = { .i = { depth, check } };
    return quern__build(g, &quern__op_one_hot, &labels, 1, &attr, &shape, QUERN_FLOAT32);
}
