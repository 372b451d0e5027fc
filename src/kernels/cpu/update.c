/* One optimizer step for one variable of float32: one pass over the variable, its slots and its
 * gradient. Inputs, attributes and formulas are those of ops/update.c.
 *
 * A thread has a block of the variable: runs of consecutive elements, or whole panels in the
 * blocked layout. Numbers that are equal for all elements are computed once per call, in double.
 * Variants that are rare (amsgrad, centered, momentum of RMSprop) use the reference kernel. */
#include "vector.h"

#include <string.h>

typedef struct coefficients {
    float rate, a, b, c, decay; /* the loops below define a, b and c */
} coefficients;

/* a: 1 - beta_1, b: 1 - beta_2, c: epsilon; rate: alpha, the corrected learning rate; decay:
 * learning rate times weight decay */
static void adam_loop(int64_t n, coefficients k, float *restrict v, float *restrict m,
                      float *restrict s, const float *restrict d)
{
    for (int64_t i = 0; i < n; i++) {
        float g = d[i];
        m[i] += (g - m[i]) * k.a;
        s[i] += (g * g - s[i]) * k.b;
        v[i] -= v[i] * k.decay + k.rate * m[i] / (sqrtf(s[i]) + k.c);
    }
}

/* As above, with the squares of the gradient as an input. */
static void adam_squares_loop(int64_t n, coefficients k, float *restrict v, float *restrict m,
                              float *restrict s, const float *restrict d,
                              const float *restrict squares)
{
    for (int64_t i = 0; i < n; i++) {
        m[i] += (d[i] - m[i]) * k.a;
        s[i] += (squares[i] - s[i]) * k.b;
        v[i] -= v[i] * k.decay + k.rate * m[i] / (sqrtf(s[i]) + k.c);
    }
}

/* a: rho, b: epsilon */
static void rmsprop_loop(int64_t n, coefficients k, float *restrict v, float *restrict s,
                         const float *restrict d)
{
    for (int64_t i = 0; i < n; i++) {
        s[i] = k.a * s[i] + (1 - k.a) * d[i] * d[i];
        v[i] -= v[i] * k.decay + k.rate * d[i] / sqrtf(s[i] + k.b);
    }
}

static void sgd_loop(int64_t n, coefficients k, float *restrict v, const float *restrict d)
{
    for (int64_t i = 0; i < n; i++)
        v[i] -= v[i] * k.decay + k.rate * d[i];
}

/* a: momentum */
static void momentum_loop(int64_t n, coefficients k, bool nesterov, float *restrict v,
                          float *restrict m, const float *restrict d)
{
    for (int64_t i = 0; i < n; i++) {
        float step = k.rate * d[i];
        m[i] = k.a * m[i] - step;
        v[i] += (nesterov ? k.a * m[i] - step : m[i]) - v[i] * k.decay;
    }
}

/* For each run of the call's part: `at` is its first element, p.length its size. */
#define EACH_RUN(c, begin, end)                                          \
    quern__part p = quern__call_part(c, &(c)->out[0].shape, begin, end); \
    for (int64_t o = 0, at = p.start; o < p.outer; o++, at += p.stride)

static int adam_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    const double *f = c->attr->f;
    double t = quern__get(&c->in[5], 0) + 1, rate = quern__get(&c->in[4], 0);
    coefficients k = { (float)(rate * sqrt(1 - pow(f[QUERN__ADAM_BETA_2], t)) /
                               (1 - pow(f[QUERN__ADAM_BETA_1], t))),
                       (float)(1 - f[QUERN__ADAM_BETA_1]), (float)(1 - f[QUERN__ADAM_BETA_2]),
                       (float)f[QUERN__ADAM_EPSILON], (float)(rate * f[QUERN__ADAM_DECAY]) };
    float *v = c->out[0].data, *m = c->out[1].data, *s = c->out[2].data;
    const float *d = c->in[3].data;
    const float *squares = c->attr->i[QUERN__ADAM_HAS_SQUARES] ? c->in[6].data : NULL;
    EACH_RUN(c, begin, end)
    {
        if (squares)
            adam_squares_loop(p.length, k, v + at, m + at, s + at, d + at, squares + at);
        else
            adam_loop(p.length, k, v + at, m + at, s + at, d + at);
    }
    return 0;
}

static int rmsprop_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    const double *f = c->attr->f;
    double rate = quern__get(&c->in[3], 0);
    coefficients k = { (float)rate, (float)f[QUERN__RMSPROP_RHO], (float)f[QUERN__RMSPROP_EPSILON],
                       0, (float)(rate * f[QUERN__RMSPROP_DECAY]) };
    float *v = c->out[0].data, *s = c->out[1].data;
    const float *d = c->in[2].data;
    EACH_RUN(c, begin, end)
    rmsprop_loop(p.length, k, v + at, s + at, d + at);
    return 0;
}

static int sgd_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    const double *f = c->attr->f;
    double rate = quern__get(&c->in[c->n_in - 1], 0);
    coefficients k = { (float)rate, (float)f[QUERN__SGD_MOMENTUM], 0, 0,
                       (float)(rate * f[QUERN__SGD_DECAY]) };
    float *v = c->out[0].data, *m = c->attr->i[QUERN__SGD_HAS_MOMENTUM] ? c->out[1].data : NULL;
    const float *d = c->in[c->n_in - 2].data;
    EACH_RUN(c, begin, end)
    {
        if (m)
            momentum_loop(p.length, k, c->attr->i[QUERN__SGD_NESTEROV], v + at, m + at, d + at);
        else
            sgd_loop(p.length, k, v + at, d + at);
    }
    return 0;
}

static int assign_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    float *v = c->out[0].data;
    const float *x = c->in[1].data;
    EACH_RUN(c, begin, end)
    memmove(v + at, x + at, (size_t)p.length * sizeof *v);
    return 0;
}

quern__kernel *quern__cpu_update(const quern__call *c)
{
    for (int i = 0; i < c->n_out; i++)
        if (c->out[i].dtype != QUERN_FLOAT32)
            return NULL;
    if (c->op == &quern__op_assign && c->in[1].dtype == QUERN_FLOAT32 && !c->panelled)
        return assign_kernel;
    if (c->op == &quern__op_adam && !c->attr->i[QUERN__ADAM_AMSGRAD] &&
        c->in[3].dtype == QUERN_FLOAT32)
        return adam_kernel;
    if (c->op == &quern__op_rmsprop && !c->attr->i[QUERN__RMSPROP_HAS_MOMENTUM] &&
        !c->attr->i[QUERN__RMSPROP_CENTERED] && !c->attr->i[QUERN__RMSPROP_HAS_SQUARES] &&
        c->in[2].dtype == QUERN_FLOAT32)
        return rmsprop_kernel;
    if (c->op == &quern__op_sgd && c->in[c->n_in - 2].dtype == QUERN_FLOAT32)
        return sgd_kernel;
    return NULL;
}
