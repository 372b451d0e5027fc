/* attention: multi-head attention as one op: y = softmax(scale q kᵀ) v with a mask, for each record
 * and head (Vaswani et al., "Attention is all you need", 2017).
 *
 * Scores are computed a few at a time and not stored. The forward pass stores the maximum score of
 * each query and 1 / the sum of its exponentials; the backward pass recomputes the scores from
 * them. Heads are adjacent in the last axis, as a projection writes them; several heads of q can
 * share one of k and v. A query whose keys are all masked gets the mean of all values or zeros;
 * Keras has both.
 *
 * Inputs: q (B, T, heads * d), k (B, S, shared * d), v (B, S, shared * e), [mask], [offset]. The
 * mask has the axes (B, heads, T, S), each of that size or 1. Causal: query i sees keys up to
 * offset + i. Outputs: y (B, T, heads * e), statistics (B, T, heads, 2).
 *
 * With p the shares (softmax), m the factors of dropout and D = sum(dy y), the backward pass is dv
 * = (p m)ᵀ dy, ds = p (m dy vᵀ - D), dq = scale ds k, dk = scale dsᵀ q. The sum D needs y only, as
 * in Dao et al., "FlashAttention", 2022. */
#include "build.h"

#include <math.h>

/* A masked score: far below every score, finite, and exact in every dtype. */
#define NOWHERE -0x1p100

typedef struct sizes {
    int64_t steps, keys, heads, shared, d, e; /* d, e: size of a head of k, of v */
} sizes;

static sizes sizes_of(const quern__call *c)
{
    const quern__attr *a = c->attr;
    return (sizes){ .steps = c->in[0].shape.dims[1],
                    .keys = c->in[1].shape.dims[1],
                    .heads = a->i[QUERN__ATTENTION_HEADS],
                    .shared = a->i[QUERN__ATTENTION_SHARED],
                    .d = c->in[0].shape.dims[2] / a->i[QUERN__ATTENTION_HEADS],
                    .e = c->in[2].shape.dims[2] / a->i[QUERN__ATTENTION_SHARED] };
}

/* Indices of the first element of a query, a key and a value, for head h of a record. */
static int64_t query_at(const sizes *s, int64_t r, int64_t h, int64_t t)
{
    return ((r * s->steps + t) * s->heads + h) * s->d;
}
static int64_t key_at(const sizes *s, int64_t r, int64_t h, int64_t t)
{
    return ((r * s->keys + t) * s->shared + h / (s->heads / s->shared)) * s->d;
}
static int64_t value_at(const sizes *s, int64_t r, int64_t h, int64_t t)
{
    return key_at(s, r, h, t) / s->d * s->e;
}
static int64_t result_at(const sizes *s, int64_t r, int64_t h, int64_t t)
{
    return query_at(s, r, h, t) / s->d * s->e;
}

/* Whether query t of head h attends to a key, by the causal rule and the mask. */
static bool is_attended(const quern__call *c, int64_t r, int64_t h, int64_t t, int64_t key)
{
    const quern__attr *a = c->attr;
    if (a->i[QUERN__ATTENTION_CAUSAL] &&
        key > t + (a->i[QUERN__ATTENTION_OFFSET]
                       ? (int64_t)quern__get(&c->in[a->i[QUERN__ATTENTION_OFFSET]], 0)
                       : 0))
        return false;
    if (!a->i[QUERN__ATTENTION_MASK])
        return true;
    const quern_shape *m = &c->in[a->i[QUERN__ATTENTION_MASK]].shape;
    const int64_t at[4] = { r, h, t, key };
    int64_t place = 0;
    for (int i = 0; i < 4; i++)
        place = place * m->dims[i] + (m->dims[i] > 1 ? at[i] : 0);
    return quern__get(&c->in[a->i[QUERN__ATTENTION_MASK]], place) != 0;
}

/* The scaled product of query t and a key; NOWHERE if the query does not attend to it. */
static double score(const quern__call *c, const sizes *s, int64_t r, int64_t h, int64_t t,
                    int64_t key)
{
    double sum = 0;
    if (!is_attended(c, r, h, t, key))
        return NOWHERE;
    for (int64_t i = 0; i < s->d; i++)
        sum += quern__get(&c->in[0], query_at(s, r, h, t) + i) *
               quern__get(&c->in[1], key_at(s, r, h, key) + i);
    return sum * c->attr->f[QUERN__ATTENTION_SCALE];
}

/* The factor of dropout: 0 or 1 / (1 - rate). */
static double chance(const quern__call *c, const sizes *s, int64_t r, int64_t h, int64_t t,
                     int64_t key)
{
    double rate = c->attr->f[QUERN__ATTENTION_DROPOUT];
    uint32_t bits[4];
    if (rate <= 0)
        return 1;
    quern__random_key own = quern__random_key_of(
        c->run->seed ^ quern__hash64((uint64_t)c->attr->i[QUERN__ATTENTION_SEED]),
        QUERN__RANDOM_DROPOUT, (uint64_t)c->run->epoch);
    quern__random4(own, (uint64_t)(c->run->first + r),
                   (uint64_t)((h * s->steps + t) * ((s->keys + 3) / 4) + key / 4), bits);
    return rate < 1 && (double)bits[key % 4] * 0x1p-32 >= rate ? 1 / (1 - rate) : 0;
}

/* The records of a call. */
static quern__part records_of(const quern__call *c, int64_t begin, int64_t end)
{
    return (quern__part){ .start = c->axis < 0 ? 0 : begin,
                          .length = c->axis < 0 ? c->out[0].shape.dims[0] : end - begin };
}

/* Computes one query of one head: its output, the maximum score, and 1 / the sum of exponentials.
 */
static void attend(const quern__call *c, const sizes *s, int64_t r, int64_t h, int64_t t)
{
    double most = NOWHERE, sum = 0;
    for (int64_t j = 0; j < s->keys; j++)
        most = fmax(most, score(c, s, r, h, t, j));
    for (int64_t j = 0; j < s->keys; j++)
        sum += exp(score(c, s, r, h, t, j) - most);
    /* the sum has at least one term exp(0), so 1 / sum is finite */
    double inverse = c->attr->i[QUERN__ATTENTION_ZEROS] && most == NOWHERE ? 0 : 1 / sum;
    for (int64_t i = 0; i < s->e; i++) {
        double y = 0;
        for (int64_t j = 0; j < s->keys; j++)
            y += exp(score(c, s, r, h, t, j) - most) * inverse * chance(c, s, r, h, t, j) *
                 quern__get(&c->in[2], value_at(s, r, h, j) + i);
        quern__set(&c->out[0], result_at(s, r, h, t) + i, y);
    }
    int64_t at = 2 * ((r * s->steps + t) * s->heads + h);
    quern__set(&c->out[1], at, most);
    quern__set(&c->out[1], at + 1, inverse);
}

static int attention_reference(const quern__call *c, int64_t begin, int64_t end)
{
    sizes s = sizes_of(c);
    quern__part p = records_of(c, begin, end);
    for (int64_t r = p.start; r < p.start + p.length; r++)
        for (int64_t h = 0; h < s.heads; h++)
            for (int64_t t = 0; t < s.steps; t++)
                attend(c, &s, r, h, t);
    return 0;
}

/* ---- backward pass: the inputs of the forward pass, then y, the statistics, dy; outputs dq, dk,
 * dv ---- */

static void add(quern_tensor *to, int64_t at, double term)
{
    quern__set(to, at, quern__get(to, at) + term);
}

/* One query: its gradient, and its part of the gradients of keys and values. */
static void attend_back(const quern__call *c, const sizes *s, int64_t r, int64_t h, int64_t t)
{
    /* `along` is D of the file's head */
    const quern_tensor *y = &c->in[c->n_in - 3], *kept = y + 1, *dy = y + 2;
    int64_t at = 2 * ((r * s->steps + t) * s->heads + h), from = result_at(s, r, h, t);
    double most = quern__get(kept, at), inverse = quern__get(kept, at + 1), along = 0;
    for (int64_t i = 0; i < s->e; i++)
        along += quern__get(dy, from + i) * quern__get(y, from + i);
    for (int64_t j = 0; j < s->keys; j++) {
        /* p, m, and dy vᵀ for this pair */
        double share = exp(score(c, s, r, h, t, j) - most) * inverse,
               left = chance(c, s, r, h, t, j), grad = 0;
        for (int64_t i = 0; i < s->e; i++) {
            grad += quern__get(dy, from + i) * quern__get(&c->in[2], value_at(s, r, h, j) + i);
            add(&c->out[2], value_at(s, r, h, j) + i, share * left * quern__get(dy, from + i));
        }
        double ds = is_attended(c, r, h, t, j)
                        ? share * (grad * left - along) * c->attr->f[QUERN__ATTENTION_SCALE]
                        : 0;
        for (int64_t i = 0; i < s->d; i++) {
            add(&c->out[0], query_at(s, r, h, t) + i,
                ds * quern__get(&c->in[1], key_at(s, r, h, j) + i));
            add(&c->out[1], key_at(s, r, h, j) + i,
                ds * quern__get(&c->in[0], query_at(s, r, h, t) + i));
        }
    }
}

/* The backward pass of some records. Sets the outputs to 0 first, because queries add to keys. */
static int attention_grad_reference(const quern__call *c, int64_t begin, int64_t end)
{
    sizes s = sizes_of(c);
    quern__part p = records_of(c, begin, end);
    for (int k = 0; k < 3; k++) {
        int64_t per = quern_shape_count(&c->out[k].shape) / c->out[k].shape.dims[0];
        for (int64_t i = p.start * per; i < (p.start + p.length) * per; i++)
            quern__set(&c->out[k], i, 0);
    }
    for (int64_t r = p.start; r < p.start + p.length; r++)
        for (int64_t h = 0; h < s.heads; h++)
            for (int64_t t = 0; t < s.steps; t++)
                attend_back(c, &s, r, h, t);
    return 0;
}

/* Two products per pair of query and key; the backward pass recomputes the scores and adds four
 * more. */
static double attention_work(const quern__attr *attr, const quern_shape *in, const quern_shape *out)
{
    (void)attr, (void)out;
    return 2.0 * (double)quern_shape_count(in) * (double)in[1].dims[1];
}

static double grad_work(const quern__attr *attr, const quern_shape *in, const quern_shape *out)
{
    return 2.5 * attention_work(attr, in, out);
}

const quern__op quern__op_attention_grad = { .name = "attention_grad",
                                             .ways = quern__ways_rows,
                                             .reference = attention_grad_reference,
                                             .work = grad_work };

/* Adds the backward op, whose inputs are those of the forward op, its outputs and dy. */
static void attention_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                               quern__id *dx)
{
    quern__node copy = *node;
    quern__id in[8], out[3];
    quern_shape shapes[3];
    int dtypes[3], n = copy.n_in;
    if (!dy[0])
        return;
    /* inputs of the forward op, its outputs, dy; the gradients have the shapes of q, k and v */
    for (int i = 0; i < n; i++)
        in[i] = copy.in[i];
    in[n] = copy.out[0];
    in[n + 1] = copy.out[1];
    in[n + 2] = dy[0];
    for (int i = 0; i < 3; i++) {
        shapes[i] = *quern__shape_of(g, in[i]);
        dtypes[i] = quern__dtype_of(g, in[i]);
    }
    if (quern__graph_node(g, &quern__op_attention_grad, "attention_grad", in, n + 3, &copy.attr,
                          shapes, dtypes, 3, out))
        for (int i = 0; i < 3; i++)
            dx[i] = out[i];
}

const quern__op quern__op_attention = { .name = "attention",
                                        .ways = quern__ways_rows,
                                        .gradient = attention_gradient,
                                        .reference = attention_reference,
                                        .work = attention_work };

/* Whether the shapes match. */
static bool fits(const quern_shape *q, const quern_shape *k, const quern_shape *v,
                 const quern_shape *mask, int heads, int shared)
{
    if (q->rank != 3 || k->rank != 3 || v->rank != 3 || heads < 1 || shared < 1 || heads % shared ||
        q->dims[2] % heads || k->dims[2] != q->dims[2] / heads * shared || v->dims[2] % shared ||
        k->dims[1] != v->dims[1] || k->dims[0] != v->dims[0] ||
        (k->dims[0] != q->dims[0] && (k->dims[0] < 0 || q->dims[0] > 0)) || q->dims[1] < 1 ||
        k->dims[1] < 1)
        return false;
    const int64_t whole[4] = { q->dims[0], heads, q->dims[1], k->dims[1] };
    for (int i = 0; mask && i < 4; i++)
        if (mask->rank != 4 || (mask->dims[i] != 1 && mask->dims[i] != whole[i]))
            return false;
    return true;
}

quern__id quern__attention(quern__graph *g, const quern__attended *a)
{
    if (!a->q || !a->k || !a->v)
        return 0;
    quern_shape q = *quern__shape_of(g, a->q), v = *quern__shape_of(g, a->v), shapes[2] = { q, q };
    int dtype = quern__dtype_of(g, a->q), n = 3;
    quern__id in[5] = { a->q, a->k, a->v }, out[2];
    quern__attr attr = {
        .i = { [QUERN__ATTENTION_HEADS] = a->heads,
               [QUERN__ATTENTION_SHARED] = a->shared,
               [QUERN__ATTENTION_CAUSAL] = a->causal,
               [QUERN__ATTENTION_ZEROS] = a->zeros,
               [QUERN__ATTENTION_SEED] = (int64_t)a->seed },
        .f = { [QUERN__ATTENTION_SCALE] = a->scale, [QUERN__ATTENTION_DROPOUT] = a->dropout }
    };
    char tq[96], tk[96], tv[96];
    if (!fits(&q, quern__shape_of(g, a->k), &v, a->mask ? quern__shape_of(g, a->mask) : NULL,
              a->heads, a->shared))
        return quern__graph_fail(
            g, QUERN_SHAPE,
            "attention: queries %s, keys %s, values %s or their mask do not fit %d heads",
            quern_shape_text(&q, tq, sizeof tq),
            quern_shape_text(quern__shape_of(g, a->k), tk, sizeof tk),
            quern_shape_text(&v, tv, sizeof tv), a->heads);
    /* the optional inputs */
    for (int k = 0; k < 2; k++)
        if (k ? a->offset : a->mask) {
            attr.i[k ? QUERN__ATTENTION_OFFSET : QUERN__ATTENTION_MASK] = n;
            in[n++] = k ? a->offset : a->mask;
        }
    shapes[0].dims[2] = v.dims[2] / a->shared * a->heads;
    shapes[1].dims[2] = 2 * a->heads;
    return quern__graph_node(g, &quern__op_attention, "attention", in, n, &attr, shapes,
                             (int[]){ dtype, dtype }, 2, out);
}
