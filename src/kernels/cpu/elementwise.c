/* Unary and binary functions of float32: one loop for each row of ops/functions.def, which the
 * compiler vectorizes. A binary function calls its loop for runs of outputs, for which each input is
 * contiguous or one number. */
#include "vector.h"

#define R            float
#define EXP          quern__exp
#define EXPM1        quern__expm1
#define LOG          quern__log
#define LOG1P_EXP(x) quern__log1p_of_share(quern__exp_falling(x))
#define SIGMOID      quern__sigmoid
#define SQRT         sqrtf
#define TANH         quern__tanh
#define BELOW        below
#define EXP_FALLING  quern__exp_falling
#define ABS          fabsf
#define POW          quern__pow
#define RINT         rintf
#define FLOOR        floorf
#define CEIL         ceilf
#define TRUNC        truncf
#define SIN          sinf
#define COS          cosf
#define LOG1P_OF     log1pf
#define ERF          erff
#define TAN          tanf
#define ASIN         asinf
#define ACOS         acosf
#define ATAN         atanf
#define SINH         sinhf
#define COSH         coshf
#define ASINH        asinhf
#define ACOSH        acoshf
#define ATANH        atanhf
#define CBRT         cbrtf
#define EXP2         exp2f
#define ERFC         erfcf
#define ATAN2        atan2f
#define FMOD         fmodf
#define NEXTAFTER    nextafterf

/* Normal distribution function at x, with e = exp(-x x / 2). erfc(z) = t q(t) exp(-z z), t = 1 / (1
 * + 0.4 z). The polynomial q has a relative error of 1.3e-7 for z >= 0. The derivative of gelu uses
 * the same exponential. */
static inline __attribute__((always_inline)) float below(float x, float e)
{
    float t = 1 / (1 + 0.28284271f * fabsf(x));
    float q = ((0.050187290f * t - 0.18261534f) * t + 0.16864386f) * t - 0.0052554090f;
    q = (((q * t + 0.14127734f) * t + 0.16857818f) * t + 0.20783858f) * t;
    q = (q + 0.22566977f) * t + 0.22567587f;
    float half = 0.5f * t * q * e;
    return x < 0 ? half : 1 - half;
}
#include "ops/gradients_of_functions.h"
#include "ops/rounding_of_functions.h"
#include "ops/special_functions.h"

/* ---- unary functions ---- */

#ifdef __clang__ /* log1p and erf are calls of libm, which clang does not vectorize */
#pragma clang diagnostic ignored "-Wpass-failed"
#endif

typedef void grad_loop(int64_t n, const float *xs, const float *ys, const float *dys, float *dxs,
                       float a, float b, float c);

#define UNARY(NAME, text, value, grad)                                                         \
    static void value_##NAME(int64_t n, const float *xs, float *ys, float a, float b, float c) \
    {                                                                                          \
        (void)a, (void)b, (void)c;                                                             \
        QUERN__APART for (int64_t i = 0; i < n; i++)                                           \
        {                                                                                      \
            float x = xs[i];                                                                   \
            ys[i] = value;                                                                     \
        }                                                                                      \
    }                                                                                          \
    static void grad_##NAME(int64_t n, const float *xs, const float *ys, const float *dys,     \
                            float *dxs, float a, float b, float c)                             \
    {                                                                                          \
        (void)a, (void)b, (void)c;                                                             \
        QUERN__APART for (int64_t i = 0; i < n; i++)                                           \
        {                                                                                      \
            float x = xs[i], y = ys[i];                                                        \
            (void)x, (void)y;                                                                  \
            dxs[i] = dys[i] * (grad);                                                          \
        }                                                                                      \
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
static grad_loop *const grad_loops[] = {
#define UNARY(NAME, ...) grad_##NAME,
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

static int unary_grad_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    const double *f = c->attr->f;
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    const float *x = c->in[0].data, *y = c->in[1].data, *dy = c->in[2].data;
    float *dx = c->out[0].data;
    for (int64_t o = 0, at = p.start; o < p.outer; o++, at += p.stride)
        grad_loops[c->attr->i[0]](p.length, x + at, y + at, dy + at, dx + at, (float)f[0],
                                  (float)f[1], (float)f[2]);
    return 0;
}

/* ---- binary functions: strides sa and sb are 0 (a scalar) or 1 ---- */

typedef void pair_loop(int64_t n, const float *as, int sa, const float *bs, int sb, float *ys);

#define UNARY(...)
#define BINARY(NAME, text, value)                                                             \
    static void pair_##NAME(int64_t n, const float *as, int sa, const float *bs, int sb,      \
                            float *ys)                                                        \
    {                                                                                         \
        float a = n ? as[0] : 0, b = n ? bs[0] : 0;                                           \
        if (sa && sb)                                                                         \
            QUERN__APART for (int64_t i = 0; i < n; i++) a = as[i], b = bs[i], ys[i] = value; \
        else if (sa)                                                                          \
            QUERN__APART for (int64_t i = 0; i < n; i++) a = as[i], ys[i] = value;            \
        else if (sb)                                                                          \
            QUERN__APART for (int64_t i = 0; i < n; i++) b = bs[i], ys[i] = value;            \
        else                                                                                  \
            for (int64_t i = 0; i < n; i++)                                                   \
                ys[i] = value;                                                                \
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

/* The axes of the output after merging, the slowest first, with the strides of both inputs; 0: the
 * input repeats along the axis. An axis merges with the one after it if each input either is
 * contiguous over both or repeats over both. Strides of the last axis are 0 or 1. */
typedef struct merged_axes {
    int n; /* at least 1 */
    int64_t size[QUERN_MAX_RANK], a[QUERN_MAX_RANK], b[QUERN_MAX_RANK];
} merged_axes;

/* The stride of an input for each axis of the output. */
static void broadcast_strides(const quern_shape *in, const quern_shape *out, int64_t *stride)
{
    int64_t step = 1;
    for (int k = out->rank - 1, at = in->rank - 1; k >= 0; k--, at--) {
        stride[k] = at >= 0 && in->dims[at] > 1 ? step : 0;
        step *= at >= 0 ? in->dims[at] : 1;
    }
}

static merged_axes merge_axes(const quern__call *c)
{
    const quern_shape *out = &c->out[0].shape;
    int64_t a[QUERN_MAX_RANK], b[QUERN_MAX_RANK];
    merged_axes x;
    x.n = 0;
    broadcast_strides(&c->in[0].shape, out, a);
    broadcast_strides(&c->in[1].shape, out, b);
    for (int k = 0; k < out->rank; k++) {
        int64_t size = out->dims[k];
        int last = x.n - 1;
        if (size == 1)
            continue;
        if (last >= 0 && x.a[last] == a[k] * size && x.b[last] == b[k] * size) {
            x.size[last] *= size;
            x.a[last] = a[k];
            x.b[last] = b[k];
            continue;
        }
        x.size[x.n] = size;
        x.a[x.n] = a[k];
        x.b[x.n++] = b[k];
    }
    if (x.n == 0) {
        x.size[0] = x.n = 1;
        x.a[0] = x.b[0] = 0;
    }
    return x;
}

/* An element of the output, and the addresses of the inputs for it. */
typedef struct position {
    const merged_axes *x;
    int64_t index[QUERN_MAX_RANK];
    const float *a, *b;
} position;

/* Moves to the element `by` later; from the last one, past the end. */
static void advance(position *p, int64_t by)
{
    const merged_axes *x = p->x;
    for (int k = x->n - 1; by > 0; k--) {
        int64_t to = p->index[k] + by;
        by = 0;
        if (k > 0 && to >= x->size[k]) {
            by = to == x->size[k] ? 1 : to / x->size[k];
            to -= by * x->size[k];
        }
        p->a += (to - p->index[k]) * x->a[k];
        p->b += (to - p->index[k]) * x->b[k];
        p->index[k] = to;
    }
}

/* Splits each run of outputs at the ends of the last merged axis, so that each input is contiguous
 * or a scalar. */
static int binary_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    quern__part part = quern__call_part(c, &c->out[0].shape, begin, end);
    pair_loop *loop = pair_loops[c->attr->i[0]];
    merged_axes x = merge_axes(c);
    position p = { .x = &x, .a = c->in[0].data, .b = c->in[1].data };
    float *y = c->out[0].data;
    int last = x.n - 1;
    if (part.length == 0)
        return 0;
    for (int64_t o = 0; o < part.outer; o++) {
        int64_t skip = o ? part.stride - part.length : part.start, run;
        advance(&p, skip);
        y += skip;
        for (int64_t left = part.length; left > 0; left -= run) {
            run = x.size[last] - p.index[last];
            run = run < left ? run : left;
            loop(run, p.a, (int)x.a[last], p.b, (int)x.b[last], y);
            advance(&p, run);
            y += run;
        }
    }
    return 0;
}

quern__kernel *quern__cpu_elementwise(const quern__call *c)
{
    if (!quern__inputs_are_floats(c) || c->out[0].dtype != QUERN_FLOAT32)
        return NULL;
    if (c->op == &quern__op_unary)
        return unary_kernel;
    if (c->op == &quern__op_unary_grad)
        return unary_grad_kernel;
    return c->op == &quern__op_binary ? binary_kernel : NULL;
}
