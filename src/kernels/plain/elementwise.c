/* Functions of one and two numbers, float32: a loop for each row of ops/functions.def, which the compiler vectorises. Broadcasting
 * is quick where it matters (same shape, a single number, a row along the last axes, a number per row); the rest is left to the
 * reference. */
#include "vector.h"

#include <string.h>

#define R     float
#define EXP   expf
#define EXPM1 expm1f
#define LOG   logf
#define LOG1P log1pf
#define SQRT  sqrtf
#define TANH  tanhf
#define ERF   erff
#define ABS   fabsf
#define POW   powf
#define RINT  rintf
#include "ops/slopes.h"

/* ---- functions of one number ---- */

typedef void slope_loop(int64_t n, const float *xs, const float *ys, const float *dys, float *dxs, float a, float b, float c);

#define UNARY(NAME, text, value, slope)                                                                                        \
    QUERN__CLONES static void value_##NAME(int64_t n, const float *xs, float *ys, float a, float b, float c)                   \
    {                                                                                                                          \
        (void)a, (void)b, (void)c;                                                                                             \
        _Pragma("GCC ivdep") for (int64_t i = 0; i < n; i++)                                                                   \
        {                                                                                                                      \
            float x = xs[i];                                                                                                   \
            ys[i] = value;                                                                                                     \
        }                                                                                                                      \
    }                                                                                                                          \
    QUERN__CLONES static void slope_##NAME(int64_t n, const float *xs, const float *ys, const float *dys, float *dxs, float a, \
                                           float b, float c)                                                                   \
    {                                                                                                                          \
        (void)a, (void)b, (void)c;                                                                                             \
        _Pragma("GCC ivdep") for (int64_t i = 0; i < n; i++)                                                                   \
        {                                                                                                                      \
            float x = xs[i], y = ys[i];                                                                                        \
            (void)x, (void)y;                                                                                                  \
            dxs[i] = dys[i] * (slope);                                                                                         \
        }                                                                                                                      \
    }
#define BINARY(...)
#include "ops/functions.def"
#undef UNARY
#undef BINARY

static void (*const value_loops[])(int64_t, const float *, float *, float, float, float) = {
#define UNARY(NAME, ...) value_##NAME,
#define BINARY(...)
#include "ops/functions.def"
#undef UNARY
#undef BINARY
};
static slope_loop *const slope_loops[] = {
#define UNARY(NAME, ...) slope_##NAME,
#define BINARY(...)
#include "ops/functions.def"
#undef UNARY
#undef BINARY
};

static int unary_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    const double *f = c->attr->f;
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    const float *x = c->in[0].data;
    float *y = c->out[0].data;
    for (int64_t o = 0, at = p.start; o < p.outer; o++, at += p.stride)
        value_loops[c->attr->i[0]](p.length, x + at, y + at, (float)f[0], (float)f[1], (float)f[2]);
    return 0;
}

static int unary_slope_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    const double *f = c->attr->f;
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    const float *x = c->in[0].data, *y = c->in[1].data, *dy = c->in[2].data;
    float *dx = c->out[0].data;
    for (int64_t o = 0, at = p.start; o < p.outer; o++, at += p.stride)
        slope_loops[c->attr->i[0]](p.length, x + at, y + at, dy + at, dx + at, (float)f[0], (float)f[1], (float)f[2]);
    return 0;
}

/* ---- functions of two numbers: strides sa and sb are 0 (one number) or 1 ---- */

typedef void pair_loop(int64_t n, const float *as, int sa, const float *bs, int sb, float *ys);

#define UNARY(...)
#define BINARY(NAME, text, value)                                                                                 \
    QUERN__CLONES static void pair_##NAME(int64_t n, const float *as, int sa, const float *bs, int sb, float *ys) \
    {                                                                                                             \
        float a = n ? as[0] : 0, b = n ? bs[0] : 0;                                                               \
        if (sa && sb)                                                                                             \
            _Pragma("GCC ivdep") for (int64_t i = 0; i < n; i++) a = as[i], b = bs[i], ys[i] = value;             \
        else if (sa)                                                                                              \
            _Pragma("GCC ivdep") for (int64_t i = 0; i < n; i++) a = as[i], ys[i] = value;                        \
        else if (sb)                                                                                              \
            _Pragma("GCC ivdep") for (int64_t i = 0; i < n; i++) b = bs[i], ys[i] = value;                        \
        else                                                                                                      \
            for (int64_t i = 0; i < n; i++)                                                                       \
                ys[i] = value;                                                                                    \
    }
#include "ops/functions.def"
#undef UNARY
#undef BINARY

static pair_loop *const pair_loops[] = {
#define UNARY(...)
#define BINARY(NAME, ...) pair_##NAME,
#include "ops/functions.def"
#undef UNARY
#undef BINARY
};

/* How an input is laid against the output. */
enum { SAME, SCALAR, TAIL, ROWS, OTHER };

static int layout(const quern_shape *in, const quern_shape *out)
{
    if (quern_shape_count(in) == 1)
        return SCALAR;
    int64_t n = quern_shape_count(in), tail = 1;
    if (n == quern_shape_count(out))
        return SAME;
    int k = 1;
    for (; k <= in->rank && in->dims[in->rank - k] == out->dims[out->rank - k]; k++)
        tail *= in->dims[in->rank - k];
    if (tail == n)
        return TAIL; /* the last axes, repeated */
    if (in->rank == out->rank && in->dims[in->rank - 1] == 1 && n == quern_shape_count(out) / out->dims[out->rank - 1])
        return ROWS; /* one number for each row of the last axis */
    return OTHER;
}

/* One run of consecutive outputs, cut so that each input is a run or one number. */
static void pair_run(const quern__call *c, int64_t at, int64_t n)
{
    const quern_shape *s = &c->out[0].shape;
    int la = layout(&c->in[0].shape, s), lb = layout(&c->in[1].shape, s);
    int64_t na = quern_shape_count(&c->in[0].shape), nb = quern_shape_count(&c->in[1].shape),
            last = s->rank ? s->dims[s->rank - 1] : 1;
    const float *a = c->in[0].data, *b = c->in[1].data;
    float *y = c->out[0].data;
    while (n > 0) {
        int64_t run = n;
        if (la == TAIL && na - at % na < run)
            run = na - at % na;
        if (lb == TAIL && nb - at % nb < run)
            run = nb - at % nb;
        if ((la == ROWS || lb == ROWS) && last - at % last < run)
            run = last - at % last;
        const float *pa = la == SAME ? a + at : la == TAIL ? a + at % na : la == ROWS ? a + at / last : a;
        const float *pb = lb == SAME ? b + at : lb == TAIL ? b + at % nb : lb == ROWS ? b + at / last : b;
        pair_loops[c->attr->i[0]](run, pa, la == SAME || la == TAIL, pb, lb == SAME || lb == TAIL, y + at);
        at += run;
        n -= run;
    }
}

static int binary_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t o = 0; o < p.outer; o++)
        pair_run(c, o * p.stride + p.start, p.length);
    return 0;
}

quern__kernel *quern__plain_elementwise(const quern__call *c)
{
    for (int i = 0; i < c->n_in; i++)
        if (c->in[i].dtype != QUERN_FLOAT32)
            return NULL;
    if (c->out[0].dtype != QUERN_FLOAT32)
        return NULL;
    if (!strcmp(c->op->name, "unary"))
        return unary_kernel;
    if (!strcmp(c->op->name, "unary_slope"))
        return unary_slope_kernel;
    if (strcmp(c->op->name, "binary") || layout(&c->in[0].shape, &c->out[0].shape) == OTHER ||
        layout(&c->in[1].shape, &c->out[0].shape) == OTHER)
        return NULL;
    return binary_kernel;
}
