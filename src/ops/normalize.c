/* normalize: normalization of rows (the last axis), as in LayerNormalization (Ba, Kiros and Hinton,
 * 2016) and RMSNormalization (Zhang and Sennrich, 2019): y = (x - mean) inverse gamma + beta with
 * inverse = 1 / sqrt(variance + epsilon). Not centered, the mean counts as 0.
 *
 * The forward pass stores mean and inverse of each row. In the backward pass, rows give dx; columns
 * give the gradients of gamma and beta, each summed by one thread in a fixed order. Where a record
 * has several rows, the op for dx also sums over them, while they are in the cache. */
#include "build.h"

#include <math.h>

static int64_t width_of(const quern_tensor *t) { return t->shape.dims[t->shape.rank - 1]; }

/* The rows of a call that is partitioned by rows. */
static quern__part rows_of(const quern__call *c, int64_t begin, int64_t end)
{
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    return (quern__part){ .start = p.start / width_of(&c->out[0]),
                          .length = p.length / width_of(&c->out[0]) };
}

/* ---- forward: inputs x, [gamma], [beta]; outputs y, (…, 2) mean and inverse ---- */

/* The mean and inverse of one row of n elements. */
static void statistics(const quern_tensor *x, int64_t row, int64_t n, bool centred, double epsilon,
                       double *mean, double *inverse)
{
    double sum = 0, squares = 0;
    for (int64_t k = row * n; centred && k < (row + 1) * n; k++)
        sum += quern__get(x, k);
    *mean = sum / (double)n;
    for (int64_t k = row * n; k < (row + 1) * n; k++)
        squares += (quern__get(x, k) - *mean) * (quern__get(x, k) - *mean);
    *inverse = 1 / sqrt(squares / (double)n + epsilon);
}

static int normalize_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = width_of(&c->in[0]), gamma = c->attr->i[QUERN__NORMALIZE_GAMMA],
            beta = c->attr->i[QUERN__NORMALIZE_BETA];
    quern__part p = rows_of(c, begin, end);
    for (int64_t r = p.start; r < p.start + p.length; r++) {
        double mean, inverse;
        statistics(&c->in[0], r, n, c->attr->i[QUERN__NORMALIZE_CENTRED],
                   c->attr->f[QUERN__NORMALIZE_EPSILON], &mean, &inverse);
        quern__set(&c->out[1], 2 * r, mean);
        quern__set(&c->out[1], 2 * r + 1, inverse);
        for (int64_t k = 0; k < n; k++) {
            double y = (quern__get(&c->in[0], r * n + k) - mean) * inverse;
            y = gamma ? y * quern__get(&c->in[gamma], k) : y;
            quern__set(&c->out[0], r * n + k, beta ? y + quern__get(&c->in[beta], k) : y);
        }
    }
    return 0;
}

/* ---- dx: inputs x, statistics, dy, [gamma]. With h = (x - mean) inverse and d = dy gamma: dx =
 * inverse (d - mean(d) - h mean(d h)); not centered, without mean(d). Where a record has several
 * rows, outputs 1 and 2 are the sums over them of dy h and of dy, (B, n) ---- */

/* Sums of column k over rows [first, last). */
static void sums_of(const quern__call *c, int64_t n, int64_t first, int64_t last, int64_t k,
                    double *gamma, double *beta)
{
    *gamma = *beta = 0;
    for (int64_t r = first; r < last; r++) {
        double dy = quern__get(&c->in[2], r * n + k);
        *gamma += dy * (quern__get(&c->in[0], r * n + k) - quern__get(&c->in[1], 2 * r)) *
                  quern__get(&c->in[1], 2 * r + 1);
        *beta += dy;
    }
}

/* Outputs 1 and 2 of the records of a call. */
static void sums_by_record(const quern__call *c, quern__part rows, int64_t n)
{
    int64_t per = quern_shape_count(&c->in[0].shape) / (n * c->in[0].shape.dims[0]);
    for (int64_t r = rows.start / per; r < (rows.start + rows.length) / per; r++)
        for (int64_t k = 0; k < n; k++) {
            double gamma, beta;
            sums_of(c, n, r * per, (r + 1) * per, k, &gamma, &beta);
            quern__set(&c->out[1], r * n + k, gamma);
            quern__set(&c->out[2], r * n + k, beta);
        }
}

static int normalize_grad_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = width_of(&c->in[0]);
    quern__part p = rows_of(c, begin, end);
    for (int64_t r = p.start; r < p.start + p.length; r++) {
        double mean = quern__get(&c->in[1], 2 * r), inverse = quern__get(&c->in[1], 2 * r + 1),
               sum = 0, along = 0;
        for (int64_t k = 0; k < n; k++) {
            double d =
                quern__get(&c->in[2], r * n + k) * (c->n_in > 3 ? quern__get(&c->in[3], k) : 1);
            sum += c->attr->i[QUERN__NORMALIZE_CENTRED] ? d : 0;
            along += d * (quern__get(&c->in[0], r * n + k) - mean) * inverse;
        }
        for (int64_t k = 0; k < n; k++) {
            double d =
                quern__get(&c->in[2], r * n + k) * (c->n_in > 3 ? quern__get(&c->in[3], k) : 1);
            double h = (quern__get(&c->in[0], r * n + k) - mean) * inverse;
            quern__set(&c->out[0], r * n + k, inverse * (d - (sum + h * along) / (double)n));
        }
    }
    if (c->n_out > 1)
        sums_by_record(c, p, n);
    return 0;
}

/* ---- gradients of gamma and beta where a record is a row: inputs x, statistics, dy; sums of dy h
 * and of dy over all rows ---- */

/* By columns, so that one thread adds all rows of a column. */
static int ways_columns(const quern__graph *g, const quern__node *node)
{
    (void)g, (void)node;
    return QUERN__WAY_COLUMNS;
}

static int normalize_sums_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = width_of(&c->in[0]), rows = quern_shape_count(&c->in[0].shape) / (n ? n : 1);
    if (c->axis < 0)
        begin = 0, end = n;
    for (int64_t k = begin; k < end; k++) {
        double gamma, beta;
        sums_of(c, n, 0, rows, k, &gamma, &beta);
        quern__set(&c->out[0], k, gamma);
        quern__set(&c->out[1], k, beta);
    }
    return 0;
}

const quern__op quern__op_normalize_grad = { .name = "normalize_grad",
                                             .ways = quern__ways_rows,
                                             .reference = normalize_grad_reference };
const quern__op quern__op_normalize_sums = { .name = "normalize_sums",
                                             .ways = ways_columns,
                                             .reference = normalize_sums_reference };

/* Adds the op for dx and the sums for the gradients of gamma and beta. */
static void normalize_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                               quern__id *dx)
{
    quern__node copy = *node;
    int64_t gamma = copy.attr.i[QUERN__NORMALIZE_GAMMA], beta = copy.attr.i[QUERN__NORMALIZE_BETA];
    quern__id in[4] = { copy.in[0], copy.out[1], dy[0], gamma ? copy.in[gamma] : 0 };
    int dtype = quern__dtype_of(g, in[0]), n_in = gamma ? 4 : 3;
    quern_shape shape = *quern__shape_of(g, in[0]),
                row = { .rank = 1, .dims = { shape.dims[shape.rank - 1] } };
    quern_shape by_record = { .rank = 2, .dims = { shape.dims[0], row.dims[0] } };
    quern__id out[3] = { 0 }, *sums = out + 1;
    bool learned = gamma || beta, joined = learned && shape.rank > 2;
    if (!dy[0])
        return;
    dx[0] = quern__graph_node(g, &quern__op_normalize_grad, "normalize_grad", in, n_in, &copy.attr,
                              (quern_shape[]){ shape, by_record, by_record },
                              (int[]){ dtype, dtype, dtype }, joined ? 3 : 1, out);
    if (joined)
        for (int k = 0; k < 2; k++)
            sums[k] = quern__reduce(g, QUERN__SUM, sums[k], 1, false);
    else if (learned)
        quern__graph_node(g, &quern__op_normalize_sums, "normalize_sums", in, 3, &copy.attr,
                          (quern_shape[]){ row, row }, (int[]){ dtype, dtype }, 2, sums);
    if (gamma)
        dx[gamma] = sums[0];
    if (beta)
        dx[beta] = sums[1];
}

const quern__op quern__op_normalize = { .name = "normalize",
                                        .ways = quern__ways_rows,
                                        .gradient = normalize_gradient,
                                        .reference = normalize_reference };

quern__id quern__normalize(quern__graph *g, quern__id x, quern__id gamma, quern__id beta,
                           bool centred, double epsilon)
{
    if (!x)
        return 0;
    quern_shape shape = *quern__shape_of(g, x), statistic = shape;
    int64_t n = shape.rank > 1 ? shape.dims[shape.rank - 1] : 0;
    int dtype = quern__dtype_of(g, x), n_in = 1;
    quern__id in[3] = { x }, out[2];
    quern__attr attr = { .i = { [QUERN__NORMALIZE_CENTRED] = centred },
                         .f = { [QUERN__NORMALIZE_EPSILON] = epsilon } };
    for (int k = 0; k < 2; k++) {
        quern__id own = k ? beta : gamma;
        if (!own)
            continue;
        if (quern__shape_of(g, own)->rank != 1 || quern__shape_of(g, own)->dims[0] != n)
            return quern__graph_fail(g, QUERN_SHAPE, "normalize: rows of %lld do not fit",
                                     (long long)n);
        attr.i[k ? QUERN__NORMALIZE_BETA : QUERN__NORMALIZE_GAMMA] = n_in;
        in[n_in++] = own;
    }
    if (n < 1)
        return quern__graph_fail(g, QUERN_SHAPE, "normalize: the last axis is not fixed");
    statistic.dims[shape.rank - 1] = 2;
    return quern__graph_node(g, &quern__op_normalize, "normalize", in, n_in, &attr,
                             (quern_shape[]){ shape, statistic }, (int[]){ dtype, dtype }, 2, out);
}
