/* elementwise: unary functions, binary functions with NumPy's broadcasting, select and cast.
 *
 * functions.def has one row per function: its name, its value and (unary) its derivative, as C
 * expressions of x, y and the parameters a, b, c. This file expands the rows into the reference
 * kernels with the macros below, in double. kernels/cpu/elementwise.c expands the same rows into
 * fast kernels with other macros.
 *
 * All ops are divided along any axis, because element i of the result needs element i of each input
 * (after broadcasting). */
#include "build.h"

#include <math.h>

#define R            double
#define EXP          exp
#define EXPM1        expm1
#define LOG          log
#define LOG1P_EXP(x) log1p(exp(x))
#define SIGMOID(x)   (1 / (1 + exp(-(x))))
#define SQRT         sqrt
#define TANH         tanh
#define BELOW        below
#define EXP_FALLING  exp
#define ABS          fabs
#define POW          pow
#define RINT         rint
#define FLOOR        floor
#define CEIL         ceil
#define TRUNC        trunc
#define SIN          sin
#define COS          cos
#define LOG1P_OF     log1p
#define ERF          erf
#define TAN          tan
#define ASIN         asin
#define ACOS         acos
#define ATAN         atan
#define SINH         sinh
#define COSH         cosh
#define ASINH        asinh
#define ACOSH        acosh
#define ATANH        atanh
#define CBRT         cbrt
#define EXP2         exp2
#define ERFC         erfc
#define ATAN2        atan2
#define FMOD         fmod
#define NEXTAFTER    nextafter

/* The standard normal distribution function. */
static double below(double x, double e)
{
    (void)e; /* exp(-x x / 2), which the fast version uses */
    return 0.5 * (1 + erf(x * 0.7071067811865476));
}
#include "gradients_of_functions.h"
#include "rounding_of_functions.h"
#include "special_functions.h"

static const char *const unary_names[] = {
#define UNARY(NAME, text, ...) text,
#define BINARY(...)
#include "functions.def"
#undef UNARY
#undef BINARY
};
static const char *const binary_names[] = {
#define UNARY(...)
#define BINARY(NAME, text, ...) text,
#include "functions.def"
#undef UNARY
#undef BINARY
};
const char *quern__unary_name(int function) { return unary_names[function]; }
const char *quern__binary_name(int function) { return binary_names[function]; }

/* The rows of functions.def as one switch: f(x). */
static double unary_value(int function, double x, double a, double b, double c)
{
    (void)a, (void)b, (void)c;
    switch (function) {
#define UNARY(NAME, text, value, grad) \
    case QUERN__##NAME:                \
        return value;
#define BINARY(...)
#include "functions.def"
#undef UNARY
#undef BINARY
    }
    return NAN;
}

/* The derivative f'(x); y is f(x), which many derivatives are shorter with. */
static double unary_grad(int function, double x, double y, double a, double b, double c)
{
    (void)y, (void)a, (void)b, (void)c;
    switch (function) {
#define UNARY(NAME, text, value, grad) \
    case QUERN__##NAME:                \
        return grad;
#define BINARY(...)
#include "functions.def"
#undef UNARY
#undef BINARY
    }
    return NAN;
}

static double binary_value(int function, double a, double b)
{
    switch (function) {
#define UNARY(...)
#define BINARY(NAME, text, value) \
    case QUERN__##NAME:           \
        return value;
#include "functions.def"
#undef UNARY
#undef BINARY
    }
    return NAN;
}

/* Along any axis. */
static int ways_elements(const quern__graph *g, const quern__node *node)
{
    (void)g, (void)node;
    return QUERN__WAY_ELEMENTS;
}

/* ---- unary: i[0] function, f[0..2] parameters ---- */

static int unary_reference(const quern__call *c, int64_t begin, int64_t end)
{
    const double *f = c->attr->f;
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t o = 0; o < p.outer; o++)
        for (int64_t k = 0, i = o * p.stride + p.start; k < p.length; k++, i++)
            quern__set(&c->out[0], i,
                       unary_value((int)c->attr->i[0], quern__get(&c->in[0], i), f[0], f[1], f[2]));
    return 0;
}

/* dx = dy * f'(x): inputs x, y, dy */
static int unary_grad_reference(const quern__call *c, int64_t begin, int64_t end)
{
    const double *f = c->attr->f;
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t o = 0; o < p.outer; o++)
        for (int64_t k = 0, i = o * p.stride + p.start; k < p.length; k++, i++) {
            double grad = unary_grad((int)c->attr->i[0], quern__get(&c->in[0], i),
                                     quern__get(&c->in[1], i), f[0], f[1], f[2]);
            quern__set(&c->out[0], i, grad * quern__get(&c->in[2], i));
        }
    return 0;
}

const quern__op quern__op_unary_grad = { .name = "unary_grad",
                                         .ways = ways_elements,
                                         .reference = unary_grad_reference };

/* Functions with steps have no gradient; a line has a constant one; others need x, y and dy. */
static void unary_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                           quern__id *dx)
{
    quern__node copy = *node; /* a copy of ids and attributes */
    switch (copy.attr.i[0]) { /* steps, whose gradient is 0 */
    case QUERN__SIGN:
    case QUERN__ROUND:
    case QUERN__FINITE:
    case QUERN__SIGNBIT:
    case QUERN__BIT_NOT:
        return;
    }
    if (copy.attr.i[0] == QUERN__TO_FLOAT16 || copy.attr.i[0] == QUERN__TO_BFLOAT16) {
        dx[0] = quern__unary_of(g, (int)copy.attr.i[0], dy[0]); /* the gradient has that type too */
        return;
    }
    if (copy.attr.i[0] == QUERN__FLOAT8) {
        dx[0] = quern__graph_fail(g, QUERN_UNSUPPORTED,
                                  "%s: training with rounding to %s is not in this version",
                                  copy.scope, quern__unary_name((int)copy.attr.i[0]));
        return;
    }
    if (copy.attr.i[0] == QUERN__AFFINE) {
        dx[0] = quern__scale(g, dy[0], copy.attr.f[0]);
        return;
    }
    dx[0] =
        quern__build(g, &quern__op_unary_grad, (quern__id[]){ copy.in[0], copy.out[0], dy[0] }, 3,
                     &copy.attr, quern__shape_of(g, copy.in[0]), quern__dtype_of(g, copy.in[0]));
}

const quern__op quern__op_unary = { .name = "unary",
                                    .ways = ways_elements,
                                    .gradient = unary_gradient,
                                    .reference = unary_reference,
                                    .in_place = true };

quern__id quern__unary(quern__graph *g, int function, quern__id x, double a, double b, double c)
{
    if (!x)
        return 0;
    quern__attr attr = { .i = { function }, .f = { a, b, c } };
    return quern__build(g, &quern__op_unary, &x, 1, &attr, quern__shape_of(g, x),
                        quern__dtype_of(g, x));
}

quern__id quern__scale(quern__graph *g, quern__id x, double factor)
{
    return factor == 1 ? x : quern__unary(g, QUERN__AFFINE, x, factor, 0, 0);
}
quern__id quern__shift(quern__graph *g, quern__id x, double term)
{
    return term == 0 ? x : quern__unary(g, QUERN__AFFINE, x, 1, term, 0);
}

/* ---- broadcasting ---- */

/* The broadcast shape of two shapes. Returns false when they do not fit. */
static bool broadcast_shape(const quern_shape *a, const quern_shape *b, quern_shape *out)
{
    int rank = a->rank > b->rank ? a->rank : b->rank;
    *out = (quern_shape){ .rank = rank };
    for (int i = 1; i <= rank; i++) {
        int64_t da = i <= a->rank ? a->dims[a->rank - i] : 1,
                db = i <= b->rank ? b->dims[b->rank - i] : 1;
        if (da != db && da != 1 && db != 1)
            return false;
        out->dims[rank - i] = da == 1 ? db : da;
    }
    return true;
}

int64_t quern__broadcast_index(const quern_shape *from, const quern_shape *to, int64_t i)
{
    int64_t index = 0, stride = 1;
    for (int k = 1; k <= to->rank; k++) {
        int64_t d = to->dims[to->rank - k], at = i % d;
        i /= d;
        if (k > from->rank)
            continue;
        int64_t own = from->dims[from->rank - k];
        index += (own == 1 ? 0 : at) * stride;
        stride *= own;
    }
    return index;
}

quern__id quern__unbroadcast(quern__graph *g, quern__id x, const quern_shape *shape)
{
    if (!x || quern_shape_equal(quern__shape_of(g, x), shape))
        return x;
    quern_shape from = *quern__shape_of(g, x), to = *shape;
    /* the axes that are missing in `shape`, or have size 1 there only */
    uint32_t axes = 0;
    for (int i = 0; i < from.rank; i++) {
        int k = i - (from.rank - to.rank);
        if (k < 0 || (to.dims[k] == 1 && from.dims[i] != 1))
            axes |= 1u << i;
    }
    /* first within each record while it is in the cache, then over the records */
    if (from.rank > 2 && from.dims[0] < 0 && axes & 1 && axes & ~1u) {
        x = quern__reduce(g, QUERN__SUM, x, axes & ~1u, false);
        axes = 1;
    }
    return quern__reshape(g, quern__reduce(g, QUERN__SUM, x, axes, false), &to);
}

/* ---- binary: i[0] function ---- */

static int binary_reference(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *s = &c->out[0].shape;
    bool whole = c->out[0].dtype == QUERN_INT32; /* integers wrap */
    quern__part p = quern__call_part(c, s, begin, end);
    for (int64_t o = 0; o < p.outer; o++)
        for (int64_t k = 0, i = o * p.stride + p.start; k < p.length; k++, i++) {
            double a = quern__get(&c->in[0], quern__broadcast_index(&c->in[0].shape, s, i));
            double b = quern__get(&c->in[1], quern__broadcast_index(&c->in[1].shape, s, i));
            double y = binary_value((int)c->attr->i[0], a, b);
            quern__set(&c->out[0], i, whole ? quern__int32_of(y) : y);
        }
    return 0;
}

/* Adds the gradients of both operands, summed over the axes along which each was broadcast. */
static void binary_gradient(quern__graph *g, const quern__node *node, const quern__id *dys,
                            quern__id *dx)
{
    quern__id a = node->in[0], b = node->in[1], y = node->out[0], dy = dys[0], da = 0, db = 0;
    switch (node->attr.i[0]) {
    case QUERN__ADD:
        da = db = dy;
        break;
    case QUERN__SUB:
        da = dy, db = quern__scale(g, dy, -1);
        break;
    case QUERN__MUL:
        da = quern__mul2(g, dy, b), db = quern__mul2(g, dy, a);
        break;
    case QUERN__DIV:
        da = quern__div2(g, dy, b), db = quern__scale(g, quern__mul2(g, da, y), -1);
        break;
    case QUERN__POW:
        da = quern__mul2(
            g, dy, quern__mul2(g, b, quern__binary(g, QUERN__POW, a, quern__shift(g, b, -1))));
        db = quern__mul2(g, dy, quern__mul2(g, y, quern__unary_of(g, QUERN__LOG, a)));
        break;
    case QUERN__MAXIMUM: /* TensorFlow: for equal elements, the gradient flows to a */
        da = quern__mul2(g, dy, quern__binary(g, QUERN__GREATER_EQUAL, a, b));
        db = quern__mul2(g, dy, quern__binary(g, QUERN__LESS, a, b));
        break;
    case QUERN__MINIMUM:
        da = quern__mul2(g, dy, quern__binary(g, QUERN__LESS_EQUAL, a, b));
        db = quern__mul2(g, dy, quern__binary(g, QUERN__GREATER, a, b));
        break;
    case QUERN__ATAN2:
        da = quern__div2(g, dy, quern__add2(g, quern__square(g, a), quern__square(g, b)));
        db = quern__scale(g, quern__mul2(g, da, a), -1);
        da = quern__mul2(g, da, b);
        break;
    case QUERN__TRUNC_MOD:
        da = dy;
        db = quern__mul2(g, dy, quern__unary_of(g, QUERN__TRUNC, quern__div2(g, a, b)));
        db = quern__scale(g, db, -1);
        break;
    case QUERN__NEXT_AFTER:
        da = dy;
        break;
    case QUERN__FLOOR_MOD:
        da = dy;
        db = quern__scale(g, quern__mul2(g, dy, quern__binary(g, QUERN__FLOOR_DIV, a, b)), -1);
        break;
    default:
        return;
    }
    dx[0] = quern__unbroadcast(g, da, quern__shape_of(g, a));
    dx[1] = quern__unbroadcast(g, db, quern__shape_of(g, b));
}

const quern__op quern__op_binary = { .name = "binary",
                                     .ways = ways_elements,
                                     .gradient = binary_gradient,
                                     .reference = binary_reference,
                                     .in_place = true };

/* float64 if either is, otherwise float32 if either is, otherwise the dtype of a. */
static int dtype_of_two(quern__graph *g, quern__id a, quern__id b)
{
    int da = quern__dtype_of(g, a), db = quern__dtype_of(g, b);
    bool fa = da == QUERN_FLOAT32 || da == QUERN_FLOAT64,
         fb = db == QUERN_FLOAT32 || db == QUERN_FLOAT64;
    if (da == QUERN_FLOAT64 || db == QUERN_FLOAT64)
        return QUERN_FLOAT64;
    return fa ? da : fb ? db : da;
}

quern__id quern__binary(quern__graph *g, int function, quern__id a, quern__id b)
{
    if (!a || !b)
        return 0;
    quern_shape shape;
    char ta[96], tb[96];
    if (!broadcast_shape(quern__shape_of(g, a), quern__shape_of(g, b), &shape))
        return quern__graph_fail(g, QUERN_SHAPE, "%s: shapes %s and %s do not fit",
                                 binary_names[function],
                                 quern_shape_text(quern__shape_of(g, a), ta, sizeof ta),
                                 quern_shape_text(quern__shape_of(g, b), tb, sizeof tb));
    quern__attr attr = { .i = { function } };
    int dtype = dtype_of_two(g, a, b);
    /* comparisons give 0 or 1 in a float dtype */
    bool compares = function >= QUERN__EQUAL && function <= QUERN__GREATER_EQUAL;
    if (compares && dtype != QUERN_FLOAT64)
        dtype = QUERN_FLOAT32;
    return quern__build(g, &quern__op_binary, (quern__id[]){ a, b }, 2, &attr, &shape, dtype);
}

quern__id quern__add2(quern__graph *g, quern__id a, quern__id b)
{
    return quern__binary(g, QUERN__ADD, a, b);
}
quern__id quern__sub2(quern__graph *g, quern__id a, quern__id b)
{
    return quern__binary(g, QUERN__SUB, a, b);
}
quern__id quern__mul2(quern__graph *g, quern__id a, quern__id b)
{
    return quern__binary(g, QUERN__MUL, a, b);
}
quern__id quern__div2(quern__graph *g, quern__id a, quern__id b)
{
    return quern__binary(g, QUERN__DIV, a, b);
}

/* ---- select ---- */

static int select_reference(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *s = &c->out[0].shape;
    quern__part p = quern__call_part(c, s, begin, end);
    for (int64_t o = 0; o < p.outer; o++)
        for (int64_t k = 0, i = o * p.stride + p.start; k < p.length; k++, i++) {
            double condition = quern__get(&c->in[0], quern__broadcast_index(&c->in[0].shape, s, i));
            const quern_tensor *from = &c->in[condition != 0 ? 1 : 2];
            quern__set(&c->out[0], i, quern__get(from, quern__broadcast_index(&from->shape, s, i)));
        }
    return 0;
}

static void select_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                            quern__id *dx)
{
    quern__id condition = node->in[0], a = node->in[1], b = node->in[2];
    quern__id zero = quern__graph_constant(g, 0, quern__dtype_of(g, dy[0]));
    dx[1] = quern__unbroadcast(g, quern__select(g, condition, dy[0], zero), quern__shape_of(g, a));
    dx[2] = quern__unbroadcast(g, quern__select(g, condition, zero, dy[0]), quern__shape_of(g, b));
}

const quern__op quern__op_select = { .name = "select",
                                     .ways = ways_elements,
                                     .gradient = select_gradient,
                                     .reference = select_reference };

quern__id quern__select(quern__graph *g, quern__id condition, quern__id a, quern__id b)
{
    if (!condition || !a || !b)
        return 0;
    quern_shape both, shape;
    if (!broadcast_shape(quern__shape_of(g, a), quern__shape_of(g, b), &both) ||
        !broadcast_shape(&both, quern__shape_of(g, condition), &shape))
        return quern__graph_fail(g, QUERN_SHAPE, "select: shapes do not fit");
    return quern__build(g, &quern__op_select, (quern__id[]){ condition, a, b }, 3, NULL, &shape,
                        dtype_of_two(g, a, b));
}

/* ---- cast ---- */

static int cast_reference(const quern__call *c, int64_t begin, int64_t end)
{
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    bool rounds = c->in[0].dtype == QUERN_INT64 &&
                  c->out[0].dtype == QUERN_FLOAT32; /* one conversion, not through double */
    for (int64_t o = 0; o < p.outer && rounds; o++)
        for (int64_t k = 0, i = o * p.stride + p.start; k < p.length; k++, i++)
            ((float *)c->out[0].data)[i] = (float)((const int64_t *)c->in[0].data)[i];
    if (rounds)
        return 0;
    for (int64_t o = 0; o < p.outer; o++)
        for (int64_t k = 0, i = o * p.stride + p.start; k < p.length; k++, i++)
            quern__set(&c->out[0], i, quern__get(&c->in[0], i));
    return 0;
}

static void cast_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                          quern__id *dx)
{
    int dtype = quern__dtype_of(g, node->in[0]);
    if (dtype == QUERN_FLOAT32 || dtype == QUERN_FLOAT64)
        dx[0] = quern__cast(g, dy[0], dtype);
}

const quern__op quern__op_cast = {
    .name = "cast", .ways = ways_elements, .gradient = cast_gradient, .reference = cast_reference
};

quern__id quern__cast(quern__graph *g, quern__id x, int dtype)
{
    if (!x || quern__dtype_of(g, x) == dtype)
        return x;
    return quern__build(g, &quern__op_cast, &x, 1, NULL, quern__shape_of(g, x), dtype);
}
