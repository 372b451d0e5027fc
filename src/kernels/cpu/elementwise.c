/* Unary and binary functions of float32: one loop for each row of ops/functions.def, which the
 * compiler vectorizes. Four cases of broadcasting are fast: the same shape, a scalar, a row along
 * the last axes, and a number per row. Other cases use the reference kernel. */
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

/* How an input broadcasts to the output. */
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
    if (in->rank == out->rank && in->dims[in->rank - 1] == 1 &&
        n == quern_shape_count(out) / out->dims[out->rank - 1])
        return ROWS; /* one number for each row of the last axis */
    return OTHER;
}

/* An input: its data, its broadcast, its size. */
typedef struct side {
    const float *data;
    int layout;
    int64_t count;
} side;

static side side_of(const quern_tensor *t, const quern_shape *out)
{
    return (side){ t->data, layout(&t->shape, out), quern_shape_count(&t->shape) };
}

/* The address in a side for output element `at`; rows have `last` elements. */
static const float *side_address(const side *s, int64_t at, int64_t last)
{
    switch (s->layout) {
    case SAME:
        return s->data + at;
    case TAIL:
        return s->data + at % s->count;
    case ROWS:
        return s->data + at / last;
    default:
        return s->data;
    }
}

static bool is_read_in_order(const side *s) { return s->layout == SAME || s->layout == TAIL; }

/* A run of consecutive outputs, split so that each input is contiguous or a scalar. */
static void pair_run(pair_loop *loop, const side *a, const side *b, int64_t last, int64_t at,
                     int64_t n, float *y)
{
    while (n > 0) {
        int64_t run = n;
        if (a->layout == TAIL && a->count - at % a->count < run)
            run = a->count - at % a->count;
        if (b->layout == TAIL && b->count - at % b->count < run)
            run = b->count - at % b->count;
        if ((a->layout == ROWS || b->layout == ROWS) && last - at % last < run)
            run = last - at % last;
        loop(run, side_address(a, at, last), is_read_in_order(a), side_address(b, at, last),
             is_read_in_order(b), y + at);
        at += run;
        n -= run;
    }
}

/* Whether a side has one stride for the whole part: full shape, scalar, or the same piece of a
 * repeated row. */
static bool has_one_stride(const side *s, const quern__part *p)
{
    return s->layout == SAME || s->layout == SCALAR ||
           (s->layout == TAIL && p->stride % s->count == 0 &&
            p->start % s->count + p->length <= s->count);
}

static int binary_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *s = &c->out[0].shape;
    quern__part p = quern__call_part(c, s, begin, end);
    pair_loop *loop = pair_loops[c->attr->i[0]];
    side a = side_of(&c->in[0], s), b = side_of(&c->in[1], s);
    int64_t last = s->rank ? s->dims[s->rank - 1] : 1;
    float *y = c->out[0].data;
    if (!has_one_stride(&a, &p) || !has_one_stride(&b, &p)) {
        for (int64_t o = 0; o < p.outer; o++)
            pair_run(loop, &a, &b, last, o * p.stride + p.start, p.length, y);
        return 0;
    }
    const float *pa = side_address(&a, p.start, last), *pb = side_address(&b, p.start, last);
    int64_t step_a = a.layout == SAME ? p.stride : 0, step_b = b.layout == SAME ? p.stride : 0;
    for (int64_t o = 0; o < p.outer; o++)
        loop(p.length, pa + o * step_a, is_read_in_order(&a), pb + o * step_b, is_read_in_order(&b),
             y + p.start + o * p.stride);
    return 0;
}

/* ---- any other broadcast, such as (B, H, W, C) and (B, 1, 1, C) ---- */

/* The axes of the output after merging, the slowest first, with the strides of both inputs. An axis
 * merges with the one after it if each input either is contiguous over both or repeats over both.
 * Strides of the last axis are 0 or 1. */
typedef struct merged_axes {
    int n;
    int64_t size[QUERN_MAX_RANK], a[QUERN_MAX_RANK], b[QUERN_MAX_RANK];
} merged_axes;

/* The stride of an input for each axis of the output; 0: the input repeats along it. */
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
    merged_axes x = { 0 };
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
    return x;
}

/* Computes n consecutive outputs from `at`, row by row of the last axis. */
static void broadcast_run(pair_loop *loop, const merged_axes *x, const float *a, const float *b,
                          int64_t at, int64_t n, float *y)
{
    int64_t index[QUERN_MAX_RANK], left = at;
    int last = x->n - 1;
    for (int k = last; k >= 0; k--) {
        index[k] = left % x->size[k];
        left /= x->size[k];
        a += index[k] * x->a[k];
        b += index[k] * x->b[k];
    }
    while (n > 0) {
        int64_t run = x->size[last] - index[last] < n ? x->size[last] - index[last] : n;
        loop(run, a, (int)x->a[last], b, (int)x->b[last], y + at);
        at += run;
        n -= run;
        a += run * x->a[last];
        b += run * x->b[last];
        index[last] += run;
        for (int k = last; k > 0 && index[k] == x->size[k]; k--) {
            a += x->a[k - 1] - x->size[k] * x->a[k];
            b += x->b[k - 1] - x->size[k] * x->b[k];
            index[k] = 0;
            index[k - 1]++;
        }
    }
}

static int broadcast_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    merged_axes x = merge_axes(c);
    for (int64_t o = 0; o < p.outer; o++)
        broadcast_run(pair_loops[c->attr->i[0]], &x, c->in[0].data, c->in[1].data,
                      o * p.stride + p.start, p.length, c->out[0].data);
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
    if (c->op != &quern__op_binary)
        return NULL;
    bool other = layout(&c->in[0].shape, &c->out[0].shape) == OTHER ||
                 layout(&c->in[1].shape, &c->out[0].shape) == OTHER;
    return other ? broadcast_kernel : binary_kernel;
}
