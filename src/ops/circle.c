/* circle: the circle loss of each record among all records of the batch: embeddings with the same
 * label attract each other, others repel (Sun et al., "Circle loss", 2020, as in
 * keras.losses.circle). Each record needs all others, so the op is not partitioned.
 *
 * For record i, with d = 1 - cosine of a pair: loss = softplus(log sum over others exp(value) + log
 * sum over same exp(value)). pull() gives a value: a weight that grows with the distance from the
 * optimum, times the distance from the margin, times gamma. The embeddings (B, C)
 * should have unit length; the op does not normalize them. */
#include "build.h"

#include <math.h>

typedef struct pairs {
    const quern_tensor *labels, *embeddings;
    int64_t n, width;
    double gamma, margin;
    bool alone; /* a record does not form a pair with itself */
} pairs;

static pairs pairs_of(const quern__call *c)
{
    return (pairs){ .labels = &c->in[0],
                    .embeddings = &c->in[1],
                    .n = c->in[1].shape.dims[0],
                    .width = c->in[1].shape.dims[1],
                    .gamma = c->attr->f[QUERN__CIRCLE_GAMMA],
                    .margin = c->attr->f[QUERN__CIRCLE_MARGIN],
                    .alone = c->attr->i[QUERN__CIRCLE_ALONE] };
}

/* Whether two records have the same label. */
static bool alike(const pairs *p, int64_t i, int64_t j)
{
    return quern__get(p->labels, i) == quern__get(p->labels, j);
}
static bool counts(const pairs *p, int64_t i, int64_t j) { return i != j || !p->alone; }

/* 1 - cosine, before it is clipped at 0. */
static double distance(const pairs *p, int64_t i, int64_t j)
{
    double dot = 0;
    for (int64_t k = 0; k < p->width; k++)
        dot += quern__get(p->embeddings, i * p->width + k) *
               quern__get(p->embeddings, j * p->width + k);
    return 1 - dot;
}

/* The weighted distance of a pair, and its derivative by the distance. */
static double pull(const pairs *p, bool same, double d, double *grad)
{
    double cut = fmax(d, 0), weight = fmax(same ? p->margin + cut : 1 + p->margin - cut, 0);
    double rest = (same ? p->margin : 1 - p->margin) - cut, sign = same ? -p->gamma : p->gamma;
    *grad = d >= 0 ? sign * ((weight > 0 ? (same ? rest : -rest) : 0) - weight) : 0;
    return sign * weight * rest;
}

/* Logarithms of the sums of exponentials over the records with the same label, and over the others;
 * -infinity without any. */
static void log_sums(const pairs *p, int64_t i, double sums[2])
{
    double most[2] = { -INFINITY, -INFINITY }, grad;
    sums[0] = sums[1] = 0;
    for (int64_t j = 0; j < p->n; j++)
        if (counts(p, i, j))
            most[alike(p, i, j)] =
                fmax(most[alike(p, i, j)], pull(p, alike(p, i, j), distance(p, i, j), &grad));
    for (int64_t j = 0; j < p->n; j++)
        if (counts(p, i, j))
            sums[alike(p, i, j)] +=
                exp(pull(p, alike(p, i, j), distance(p, i, j), &grad) - most[alike(p, i, j)]);
    for (int k = 0; k < 2; k++)
        sums[k] = sums[k] > 0 ? most[k] + log(sums[k]) : -INFINITY;
}

static int circle_reference(const quern__call *c, int64_t begin, int64_t end)
{
    pairs p = pairs_of(c);
    double sums[2];
    (void)begin, (void)end;
    for (int64_t i = 0; i < p.n; i++) {
        log_sums(&p, i, sums);
        double x = sums[0] + sums[1];
        quern__set(&c->out[0], i, fmax(x, 0) + log1p(exp(-fabs(x))));
    }
    return 0;
}

/* Inputs labels, embeddings, dy. */
static int circle_grad_reference(const quern__call *c, int64_t begin, int64_t end)
{
    pairs p = pairs_of(c);
    double sums[2], grad;
    (void)begin, (void)end;
    for (int64_t i = 0; i < p.n * p.width; i++)
        quern__set(&c->out[0], i, 0);
    for (int64_t i = 0; i < p.n; i++) {
        log_sums(&p, i, sums);
        /* the derivative of softplus is the sigmoid; pairs share it by their part of the sum */
        double outer = quern__get(&c->in[2], i) / (1 + exp(-(sums[0] + sums[1])));
        for (int64_t j = 0; j < p.n && sums[0] + sums[1] > -INFINITY; j++) {
            if (!counts(&p, i, j))
                continue;
            bool same = alike(&p, i, j);
            double value = pull(&p, same, distance(&p, i, j), &grad),
                   by = -outer * exp(value - sums[same]) * grad;
            for (int64_t k = 0; k < p.width; k++) {
                int64_t a = i * p.width + k, b = j * p.width + k;
                double x = quern__get(p.embeddings, a), y = quern__get(p.embeddings, b);
                quern__set(&c->out[0], a, quern__get(&c->out[0], a) + by * y);
                quern__set(&c->out[0], b, quern__get(&c->out[0], b) + by * x);
            }
        }
    }
    return 0;
}

const quern__op quern__op_circle_grad = { .name = "circle_grad",
                                          .ways = quern__ways_whole,
                                          .reference = circle_grad_reference };

static void circle_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                            quern__id *dx)
{
    quern__attr attr = node->attr;
    quern__id in[3] = { node->in[0], node->in[1], dy[0] };
    dx[1] = quern__build(g, &quern__op_circle_grad, in, 3, &attr, quern__shape_of(g, in[1]),
                         quern__dtype_of(g, in[1]));
}

const quern__op quern__op_circle = { .name = "circle",
                                     .ways = quern__ways_whole,
                                     .gradient = circle_gradient,
                                     .reference = circle_reference };

quern__id quern__circle(quern__graph *g, quern__id labels, quern__id embeddings, double gamma,
                        double margin, bool alone)
{
    if (!labels || !embeddings)
        return 0;
    quern_shape s = *quern__shape_of(g, embeddings), rows = { .rank = 1, .dims = { s.dims[0] } };
    if (s.rank != 2)
        return quern__graph_fail(g, QUERN_SHAPE, "circle needs embeddings (records, width)");
    quern__attr attr = { .i = { [QUERN__CIRCLE_ALONE] = alone },
                         .f = { [QUERN__CIRCLE_GAMMA] = gamma, [QUERN__CIRCLE_MARGIN] = margin } };
    return quern__build(g, &quern__op_circle,
                        (quern__id[]){ quern__reshape(g, labels, &rows), embeddings }, 2, &attr,
                        &rows, quern__dtype_of(g, embeddings));
}
