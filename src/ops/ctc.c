/* ctc: connectionist temporal classification (Graves, Fernández, Gomez and Schmidhuber, 2006). The
 * loss is the negative log-probability of a record's labels, summed over all alignments with its
 * steps, where blanks (class 0) separate labels.
 *
 * The forward-backward algorithm works on logarithms in double. Labels l1 … ln give 2 n + 1 states:
 * blank, l1, blank, …, ln, blank. An alignment starts in state 0 or 1, ends in one of the last two,
 * and moves by 0, 1 or 2 states per step; 2 only between different labels.
 *
 * alpha (B, T, states) is output 1 of the forward op and an input of the backward op. beta needs
 * two steps only. The gradient of logit k at step t is the softmax less the probability that an
 * alignment is in a state of class k at t. */
#include "build.h"

#include <math.h>

/* One record: `states` counts its labels and the blanks around them. */
typedef struct record {
    const quern_tensor *labels, *logits;
    int64_t first_label, n, states, first_logit, steps, classes;
} record;

/* The class of a state. */
static int64_t class_of(const record *r, int64_t s)
{
    return s % 2 ? (int64_t)quern__get(r->labels, r->first_label + s / 2) : 0;
}

/* Whether state s can follow state s - 2 directly: it is a label that differs from the previous
 * one. */
static bool may_skip(const record *r, int64_t s)
{
    return s % 2 && s > 1 && class_of(r, s) != class_of(r, s - 2);
}

/* Reads a record; label 0 ends its labels. Reports a fault for a label that is not a class. */
static int read_record(const quern__call *c, int64_t i, record *r)
{
    const quern_shape *l = &c->in[0].shape, *z = &c->in[1].shape;
    *r = (record){ .labels = &c->in[0],
                   .logits = &c->in[1],
                   .first_label = i * l->dims[1],
                   .first_logit = i * z->dims[1] * z->dims[2],
                   .steps = z->dims[1],
                   .classes = z->dims[2] };
    for (int64_t k = 0; k < l->dims[1]; k++) {
        double label = quern__get(&c->in[0], r->first_label + k);
        if (!(label >= 0 && label < (double)r->classes && label == floor(label)))
            return quern__call_fault(c, QUERN_INVALID, i, label, (double)(r->classes - 1), "label");
        r->n += label != 0;
    }
    r->states = 2 * r->n + 1;
    return 0;
}

/* log(exp(a) + exp(b)) */
static double either(double a, double b)
{
    double more = fmax(a, b), less = fmin(a, b);
    return less == -INFINITY ? more : more + log1p(exp(less - more));
}

/* log(sum(exp(logits))) of a step. */
static double log_sum(const record *r, int64_t t)
{
    double most = -INFINITY, sum = 0;
    for (int64_t k = 0; k < r->classes; k++)
        most = fmax(most, quern__get(r->logits, r->first_logit + t * r->classes + k));
    for (int64_t k = 0; k < r->classes; k++)
        sum += exp(quern__get(r->logits, r->first_logit + t * r->classes + k) - most);
    return most + log(sum);
}

/* The log-probability of the class of state s at step t; `all` is log_sum of the step. */
static double chance(const record *r, int64_t t, int64_t s, double all)
{
    return quern__get(r->logits, r->first_logit + t * r->classes + class_of(r, s)) - all;
}

/* Sets alpha[t * row + s]: the log-probability of all alignments that end in state s at step t.
 * Returns that of all alignments. */
static double forward(const record *r, double *alpha, int64_t row)
{
    for (int64_t t = 0; t < r->steps; t++) {
        double all = log_sum(r, t), *now = alpha + t * row;
        const double *before = now - row;
        for (int64_t s = 0; s < r->states; s++) {
            /* log-probability of reaching s: by staying, by one state, or over a blank */
            double ways = t == 0 ? (s < 2 ? 0 : -INFINITY) : before[s];
            if (t > 0 && s > 0)
                ways = either(ways, before[s - 1]);
            if (t > 0 && may_skip(r, s))
                ways = either(ways, before[s - 2]);
            now[s] = ways + chance(r, t, s, all);
        }
    }
    const double *last = alpha + (r->steps - 1) * row;
    return either(last[r->states - 1], r->states > 1 ? last[r->states - 2] : -INFINITY);
}

static int ctc_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t row = c->out[1].shape.dims[2], first = c->axis < 0 ? 0 : begin,
            last = c->axis < 0 ? c->out[0].shape.dims[0] : end;
    for (int64_t i = first; i < last; i++) {
        record r;
        int status = read_record(c, i, &r);
        if (status < 0)
            return status;
        quern__set(&c->out[0], i, -forward(&r, (double *)c->out[1].data + i * r.steps * row, row));
    }
    return 0;
}

/* Sets now[s]: the log-probability of all continuations after state s at step t, from those of the
 * next step (`next`). */
static void backward(const record *r, int64_t t, const double *next, double *now)
{
    double all = t + 1 < r->steps ? log_sum(r, t + 1) : 0;
    for (int64_t s = 0; s < r->states; s++) {
        now[s] = s >= r->states - 2 ? 0 : -INFINITY;
        if (t + 1 == r->steps)
            continue;
        now[s] = next[s] + chance(r, t + 1, s, all);
        if (s + 1 < r->states)
            now[s] = either(now[s], next[s + 1] + chance(r, t + 1, s + 1, all));
        if (s + 2 < r->states && may_skip(r, s + 2))
            now[s] = either(now[s], next[s + 2] + chance(r, t + 1, s + 2, all));
    }
}

/* Inputs labels, logits, alpha of the forward pass, dy; output 1 is scratch for two steps. */
static int ctc_grad_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t row = c->in[2].shape.dims[2], first = c->axis < 0 ? 0 : begin,
            last = c->axis < 0 ? c->out[0].shape.dims[0] : end;
    for (int64_t i = first; i < last; i++) {
        record r;
        int status = read_record(c, i, &r);
        if (status < 0)
            return status;
        const double *alpha = (const double *)c->in[2].data + i * r.steps * row,
                     *ends = alpha + (r.steps - 1) * row;
        double *room = (double *)c->out[1].data + i * 2 * row, dy = quern__get(&c->in[3], i);
        /* beta from the last step to the first, in two alternating rows */
        double total = either(ends[r.states - 1], r.states > 1 ? ends[r.states - 2] : -INFINITY);
        for (int64_t t = r.steps - 1; t >= 0; t--) {
            double *now = room + t % 2 * row, all = log_sum(&r, t);
            int64_t at = r.first_logit + t * r.classes;
            backward(&r, t, room + (t + 1) % 2 * row, now);
            for (int64_t k = 0; k < r.classes; k++) /* without an alignment, the gradient is 0 */
                quern__set(&c->out[0], at + k,
                           total == -INFINITY ? 0 : dy * exp(quern__get(r.logits, at + k) - all));
            for (int64_t s = 0; s < r.states && total > -INFINITY; s++) {
                int64_t k = at + class_of(&r, s);
                quern__set(&c->out[0], k,
                           quern__get(&c->out[0], k) -
                               dy * exp(alpha[t * row + s] + now[s] - total));
            }
        }
    }
    return 0;
}

const quern__op quern__op_ctc_grad = {
    .name = "ctc_grad", .ways = quern__ways_rows, .reference = ctc_grad_reference, .inner = 2
};

static void ctc_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                         quern__id *dx)
{
    quern_shape shapes[2] = { *quern__shape_of(g, node->in[1]), *quern__shape_of(g, node->out[1]) };
    int dtypes[2] = { quern__dtype_of(g, node->in[1]), QUERN_FLOAT64 };
    quern__id in[4] = { node->in[0], node->in[1], node->out[1], dy[0] }, out[2];
    shapes[1].dims[1] = 2;
    if (dy[0])
        dx[1] = quern__graph_node(g, &quern__op_ctc_grad, "ctc_grad", in, 4, NULL, shapes, dtypes,
                                  2, out);
}

const quern__op quern__op_ctc = { .name = "ctc",
                                  .ways = quern__ways_rows,
                                  .gradient = ctc_gradient,
                                  .reference = ctc_reference,
                                  .inner = 2 };

quern__id quern__ctc(quern__graph *g, quern__id labels, quern__id logits)
{
    if (!labels || !logits)
        return 0;
    quern_shape l = *quern__shape_of(g, labels), z = *quern__shape_of(g, logits);
    if (l.rank != 2 || z.rank != 3 || l.dims[0] != z.dims[0] || z.dims[1] < 1 || l.dims[1] < 0 ||
        l.dims[1] > (1 << 20))
        return quern__graph_fail(
            g, QUERN_SHAPE,
            "ctc needs labels (records, labels) and logits (records, steps, classes)");
    quern_shape shapes[2] = { { .rank = 1, .dims = { z.dims[0] } },
                              { .rank = 3, .dims = { z.dims[0], z.dims[1], 2 * l.dims[1] + 1 } } };
    int dtypes[2] = { quern__dtype_of(g, logits), QUERN_FLOAT64 };
    quern__id out[2];
    return quern__graph_node(g, &quern__op_ctc, "ctc", (quern__id[]){ labels, logits }, 2, NULL,
                             shapes, dtypes, 2, out);
}
