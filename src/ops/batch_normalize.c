/* batch_normalize: batch normalization by channel (Ioffe and Szegedy, "Batch Normalization", 2015):
 * y = (x - mean) inverse gamma + beta with inverse = 1 / sqrt(variance + epsilon).
 *
 * Each record gives its own mean and variance per channel while it is in the cache; a second op
 * merges them in the order of records, so that no sum depends on threads. The backward pass has the
 * same structure: sums of dy and dy h per record, then dx, where h = (x - mean) inverse.
 *
 * Five ops, for x (B, space, C):
 *
 *   batch_moments    x to (B, 2, C): mean and variance of each record
 *   batch_merge      (B, 2, C) to (2, C), of the batch
 *   batch_normalize  x and (2, C) to y
 *   batch_sums       x, (2, C), dy to (B, 2, C): sums of dy h and dy, which a reduction adds
 *   batch_grad       dx */
#include "build.h"

#include <math.h>

static int64_t channels_of(const quern_tensor *t) { return t->shape.dims[t->shape.rank - 1]; }
/* Rows of a record: the product of its spatial sizes. */
static int64_t rows_of(const quern_tensor *t)
{
    return quern_shape_count(&t->shape) / (t->shape.dims[0] ? t->shape.dims[0] : 1) /
           channels_of(t);
}

/* ---- moments: x to (B, 2, C): mean and variance of each record ---- */

static int moments_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = channels_of(&c->in[0]), rows = rows_of(&c->in[0]);
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t r = p.start / (2 * n); r < (p.start + p.length) / (2 * n); r++)
        for (int64_t k = 0; k < n; k++) {
            double sum = 0, squares = 0;
            for (int64_t i = r * rows; i < (r + 1) * rows; i++)
                sum += quern__get(&c->in[0], i * n + k);
            double mean = sum / (double)rows;
            for (int64_t i = r * rows; i < (r + 1) * rows; i++)
                squares += (quern__get(&c->in[0], i * n + k) - mean) *
                           (quern__get(&c->in[0], i * n + k) - mean);
            quern__set(&c->out[0], 2 * r * n + k, mean);
            quern__set(&c->out[0], (2 * r + 1) * n + k, squares / (double)rows);
        }
    return 0;
}

/* ---- merge: (B, 2, C) to (2, C); all records have the same weight ---- */

static int merge_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = channels_of(&c->in[0]), records = c->in[0].shape.dims[0];
    (void)begin, (void)end;
    for (int64_t k = 0; k < n; k++) {
        /* variance of the batch: mean of the variances plus variance of the means */
        double mean = 0, variance = 0;
        for (int64_t r = 0; r < records; r++)
            mean += quern__get(&c->in[0], 2 * r * n + k);
        mean /= (double)records;
        for (int64_t r = 0; r < records; r++) {
            double gap = quern__get(&c->in[0], 2 * r * n + k) - mean;
            variance += quern__get(&c->in[0], (2 * r + 1) * n + k) + gap * gap;
        }
        quern__set(&c->out[0], k, mean);
        quern__set(&c->out[0], n + k, variance / (double)records);
    }
    return 0;
}

const quern__op quern__op_batch_moments = { .name = "batch_moments",
                                            .ways = quern__ways_rows,
                                            .reference = moments_reference };
const quern__op quern__op_batch_merge = { .name = "batch_merge",
                                          .ways = quern__ways_whole,
                                          .reference = merge_reference };

/* ---- y: inputs x, (2, C), [gamma], [beta] ---- */

static int normalize_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = channels_of(&c->in[0]), gamma = c->attr->i[QUERN__NORMALIZE_GAMMA],
            beta = c->attr->i[QUERN__NORMALIZE_BETA];
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t i = p.start; i < p.start + p.length; i++) {
        int64_t k = i % n;
        double h = (quern__get(&c->in[0], i) - quern__get(&c->in[1], k)) /
                   sqrt(quern__get(&c->in[1], n + k) + c->attr->f[QUERN__NORMALIZE_EPSILON]);
        h = gamma ? h * quern__get(&c->in[gamma], k) : h;
        quern__set(&c->out[0], i, beta ? h + quern__get(&c->in[beta], k) : h);
    }
    return 0;
}

/* ---- x, (2, C), dy to (B, 2, C): sums of dy h and of dy over each record. ---- */

static int sums_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = channels_of(&c->in[0]), rows = rows_of(&c->in[0]);
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t r = p.start / (2 * n); r < (p.start + p.length) / (2 * n); r++)
        for (int64_t k = 0; k < n; k++) {
            double along = 0, sum = 0,
                   inverse = 1 / sqrt(quern__get(&c->in[1], n + k) +
                                      c->attr->f[QUERN__NORMALIZE_EPSILON]);
            for (int64_t i = r * rows; i < (r + 1) * rows; i++) {
                double d = quern__get(&c->in[2], i * n + k);
                along +=
                    d * (quern__get(&c->in[0], i * n + k) - quern__get(&c->in[1], k)) * inverse;
                sum += d;
            }
            quern__set(&c->out[0], 2 * r * n + k, along);
            quern__set(&c->out[0], (2 * r + 1) * n + k, sum);
        }
    return 0;
}

/* ---- dx: x, (2, C), sums (2, C), dy, [gamma]: dx = gamma inverse (dy - mean(dy) - h mean(dy h))
 * ---- */

static int batch_grad_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = channels_of(&c->in[0]);
    double count = (double)(quern_shape_count(&c->in[0].shape) / n);
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t i = p.start; i < p.start + p.length; i++) {
        int64_t k = i % n;
        double inverse =
            1 / sqrt(quern__get(&c->in[1], n + k) + c->attr->f[QUERN__NORMALIZE_EPSILON]);
        double h = (quern__get(&c->in[0], i) - quern__get(&c->in[1], k)) * inverse;
        double d = quern__get(&c->in[3], i) -
                   (quern__get(&c->in[2], n + k) + h * quern__get(&c->in[2], k)) / count;
        quern__set(&c->out[0], i, d * inverse * (c->n_in > 4 ? quern__get(&c->in[4], k) : 1));
    }
    return 0;
}

const quern__op quern__op_batch_sums = {
    .name = "batch_sums", .ways = quern__ways_rows, .reference = sums_reference, .whole = 2
};
const quern__op quern__op_batch_grad = { .name = "batch_grad",
                                         .ways = quern__ways_rows,
                                         .reference = batch_grad_reference,
                                         .whole = 2 | 4 | 16 };

static void normalize_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                               quern__id *dx)
{
    quern__node n = *node;
    int64_t gamma = n.attr.i[QUERN__NORMALIZE_GAMMA], beta = n.attr.i[QUERN__NORMALIZE_BETA];
    quern_shape s = *quern__shape_of(g, n.in[0]),
                own = { .rank = 1, .dims = { s.dims[s.rank - 1] } };
    quern_shape each = { .rank = 3, .dims = { s.dims[0], 2, own.dims[0] } };
    int dtype = quern__dtype_of(g, n.in[0]);
    /* sums per record, then over the records: (2, C); they are also the gradients of gamma and
     * beta */
    quern__id sums =
        quern__build(g, &quern__op_batch_sums, (quern__id[]){ n.in[0], n.in[1], dy[0] }, 3, &n.attr,
                     &each, dtype);
    sums = quern__reduce(g, QUERN__SUM, sums, 1, false);
    quern__id in[5] = { n.in[0], n.in[1], sums, dy[0], gamma ? n.in[gamma] : 0 };
    dx[0] = quern__build(g, &quern__op_batch_grad, in, gamma ? 5 : 4, &n.attr, &s, dtype);
    if (gamma)
        dx[gamma] = quern__reshape(g, quern__slice(g, sums, 0, 0, 1), &own);
    if (beta)
        dx[beta] = quern__reshape(g, quern__slice(g, sums, 0, 1, 1), &own);
}

const quern__op quern__op_batch_normalize = { .name = "batch_normalize",
                                              .ways = quern__ways_rows,
                                              .gradient = normalize_gradient,
                                              .reference = normalize_reference,
                                              .whole = 14 };

quern__id quern__batch_normalize(quern__graph *g, quern__id x, quern__id gamma, quern__id beta,
                                 double epsilon, quern__id *moments)
{
    if (!x)
        return 0;
    quern_shape s = *quern__shape_of(g, x),
                each = { .rank = 3, .dims = { s.dims[0], 2, s.dims[s.rank - 1] } };
    quern_shape all = { .rank = 2, .dims = { 2, each.dims[2] } };
    int dtype = quern__dtype_of(g, x), n_in = 2;
    quern__attr attr = { .f = { [QUERN__NORMALIZE_EPSILON] = epsilon } };
    if (s.rank < 2 || each.dims[2] < 1)
        return quern__graph_fail(g, QUERN_SHAPE, "the axis of channels is missing");
    quern__id own = quern__build(g, &quern__op_batch_moments, &x, 1, &attr, &each, dtype);
    *moments = quern__build(g, &quern__op_batch_merge, &own, 1, &attr, &all, dtype);
    quern__id in[4] = { x, *moments };
    if (gamma)
        in[attr.i[QUERN__NORMALIZE_GAMMA] = n_in++] = gamma;
    if (beta)
        in[attr.i[QUERN__NORMALIZE_BETA] = n_in++] = beta;
    return quern__build(g, &quern__op_batch_normalize, in, n_in, &attr, &s, dtype);
}
