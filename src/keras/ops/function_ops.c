/* function_ops: functions of one or two numbers of keras.ops that few models use: trigonometry,
 * rounding, special functions, and functions of the bits of integers. Formulas:
 * keras.src.backend.tensorflow.numpy and math of Keras 3.15. */
#include "operations.h"

#include <math.h>

#define X(NAME) quern__operand(l, g, in, n, NAME)

/* log(exp(a) + exp(b)) = max + softplus(-|a - b|) */
static quern__id logaddexp(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    (void)training;
    quern__id a = X("x1"), b = X("x2"), gap = quern__unary_of(g, QUERN__ABS, quern__sub2(g, a, b));
    return quern__add2(g, quern__binary(g, QUERN__MAXIMUM, a, b),
                       quern__unary_of(g, QUERN__SOFTPLUS, quern__scale(g, gap, -1)));
}

static quern__id hypot_of(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          bool training)
{
    (void)training;
    return quern__sqrt(g, quern__add2(g, quern__square(g, X("x1")), quern__square(g, X("x2"))));
}

/* row->extra 1: degrees to radians; 0: radians to degrees. */
static quern__id degrees(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                         bool training)
{
    (void)training;
    const double radian = 3.14159265358979323846 / 180;
    return quern__scale(g, X("x"), l->kind->extra ? radian : 1 / radian);
}

/* max(a, b) + log2(1 + 2^-|a - b|) */
static quern__id logaddexp2(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                            bool training)
{
    (void)training;
    const double log2 = 0.6931471805599453;
    quern__id a = X("x1"), b = X("x2"), gap = quern__unary_of(g, QUERN__ABS, quern__sub2(g, a, b));
    quern__id more = quern__unary_of(g, QUERN__SOFTPLUS, quern__scale(g, gap, -log2));
    return quern__add2(g, quern__binary(g, QUERN__MAXIMUM, a, b), quern__scale(g, more, 1 / log2));
}

/* 0 below 0, 1 above 0, x2 at 0. */
static quern__id heaviside(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    (void)training;
    quern__id a = X("x1"), b = X("x2"), zero = quern__op_number(g, 0), one = quern__op_number(g, 1);
    quern__id above = quern__select(g, quern__binary(g, QUERN__GREATER, a, zero), one, b);
    return quern__select(g, quern__binary(g, QUERN__LESS, a, zero), zero, above);
}

/* x1 2^x2; zeros and infinite numbers stay. */
static quern__id ldexp_of(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          bool training)
{
    (void)training;
    quern__id a = X("x1"), power = quern__unary_of(g, QUERN__EXP2, X("x2")),
              y = quern__mul2(g, a, quern__stop_gradient(g, power));
    quern__id stays = quern__binary(g, QUERN__EQUAL, quern__scale(g, a, 0.5), a);
    return quern__select(g, stays, a, y);
}

/* Whether all elements are close: one number. */
static quern__id allclose(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          bool training)
{
    (void)training;
    double rtol = quern__config_number(l->config, "rtol"),
           atol = quern__config_number(l->config, "atol");
    quern__id a = X("x1"), b = X("x2"), gap = quern__unary_of(g, QUERN__ABS, quern__sub2(g, a, b)),
              bound =
                  quern__unary(g, QUERN__AFFINE, quern__unary_of(g, QUERN__ABS, b), rtol, atol, 0);
    return quern__reduce(g, QUERN__REDUCE_MIN, quern__binary(g, QUERN__LESS_EQUAL, gap, bound), ~0u,
                         false);
}

/* The first choice whose condition holds. */
static quern__id select_of(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    (void)training;
    int count = 0;
    quern__id y = quern__operand_or_none(l, g, in, n, "default");
    y = y ? y : quern__op_number(g, 0);
    while (quern__layer_argument(l, in, n, "condlist", count))
        count++;
    if (!count || quern__layer_argument(l, in, n, "choicelist", count) ||
        !quern__layer_argument(l, in, n, "choicelist", count - 1))
        return quern__graph_fail(g, QUERN_INVALID, "select needs a choice for each condition");
    for (int k = count - 1; k >= 0; k--)
        y = quern__select(g, quern__op_truth(g, quern__layer_argument(l, in, n, "condlist", k)),
                          quern__layer_argument(l, in, n, "choicelist", k), y);
    return y;
}

/* The number of axes. */
static quern__id ndim(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)training;
    quern__id x = X("x");
    return x ? quern__op_number(g, quern__op_rank(g, x)) : 0;
}

static const quern__call_arg xy_args[] = { { "x", false }, { "y", false }, { 0 } };
static const quern__call_arg select_args[] = {
    { "condlist", true }, { "choicelist", true }, { "default", false }, { 0 }
};
static const quern__field close_fields[] = { { "rtol", QUERN__F_NUMBER, "1e-5" },
                                             { "atol", QUERN__F_NUMBER, "1e-8" },
                                             { "equal_nan", QUERN__F_ONLY_DEFAULT, "false" },
                                             { 0 } };

#define ONE(ID, NAME, MODULE, F) \
    QUERN__OPERATION_ROW(ID, NAME, MODULE, NULL, quern__op_of_one, quern__args_x, F)
#define TWO(ID, NAME, F) \
    QUERN__OPERATION_ROW(ID, NAME, "numpy", NULL, quern__op_of_two, quern__args_x1_x2, F)
#define BITS(ID, NAME, F) QUERN__INTEGER_ROW(ID, NAME, "numpy", NULL, quern__op_of_two, xy_args, F)
ONE(tan, "Tan", "numpy", QUERN__TAN);
ONE(arcsin, "Arcsin", "numpy", QUERN__ASIN);
ONE(arccos, "Arccos", "numpy", QUERN__ACOS);
ONE(arctan, "Arctan", "numpy", QUERN__ATAN);
ONE(sinh, "Sinh", "numpy", QUERN__SINH);
ONE(cosh, "Cosh", "numpy", QUERN__COSH);
ONE(arcsinh, "Arcsinh", "numpy", QUERN__ASINH);
ONE(arccosh, "Arccosh", "numpy", QUERN__ACOSH);
ONE(arctanh, "Arctanh", "numpy", QUERN__ATANH);
ONE(sinc, "Sinc", "numpy", QUERN__SINC);
ONE(cbrt, "Cbrt", "numpy", QUERN__CBRT);
ONE(exp2, "Exp2", "numpy", QUERN__EXP2);
ONE(signbit, "Signbit", "numpy", QUERN__SIGNBIT);
ONE(i0, "I0", "numpy", QUERN__BESSEL_I0);
ONE(erfc, "Erfc", "math", QUERN__ERFC);
ONE(erfinv, "Erfinv", "math", QUERN__ERFINV);
TWO(arctan2, "Arctan2", QUERN__ATAN2);
TWO(fmod, "Fmod", QUERN__TRUNC_MOD);
TWO(nextafter, "Nextafter", QUERN__NEXT_AFTER);
BITS(bitwise_and, "BitwiseAnd", QUERN__BIT_AND);
BITS(bitwise_or, "BitwiseOr", QUERN__BIT_OR);
BITS(bitwise_xor, "BitwiseXor", QUERN__BIT_XOR);
BITS(bitwise_left_shift, "BitwiseLeftShift", QUERN__SHIFT_LEFT);
BITS(bitwise_right_shift, "BitwiseRightShift", QUERN__SHIFT_RIGHT);
BITS(left_shift, "LeftShift", QUERN__SHIFT_LEFT);
BITS(right_shift, "RightShift", QUERN__SHIFT_RIGHT);
QUERN__INTEGER_ROW(bitwise_not, "BitwiseNot", "numpy", NULL, quern__op_of_one, quern__args_x,
                   QUERN__BIT_NOT);
QUERN__INTEGER_ROW(bitwise_invert, "BitwiseInvert", "numpy", NULL, quern__op_of_one, quern__args_x,
                   QUERN__BIT_NOT);
QUERN__OPERATION_ROW(logaddexp2, "Logaddexp2", "numpy", NULL, logaddexp2, quern__args_x1_x2, 0);
QUERN__OPERATION_ROW(heaviside, "Heaviside", "numpy", NULL, heaviside, quern__args_x1_x2, 0);
QUERN__OPERATION_ROW(ldexp, "Ldexp", "numpy", NULL, ldexp_of, quern__args_x1_x2, 0);
QUERN__OPERATION_ROW(allclose, "AllClose", "numpy", close_fields, allclose, quern__args_x1_x2, 0);
QUERN__OPERATION_ROW(select, "Select", "numpy", NULL, select_of, select_args, 0);
QUERN__OPERATION_ROW(ndim, "Ndim", "numpy", NULL, ndim, quern__args_x, 0);
QUERN__OPERATION_ROW(logaddexp, "Logaddexp", "numpy", NULL, logaddexp, quern__args_x1_x2, 0);
QUERN__OPERATION_ROW(hypot, "Hypot", "numpy", NULL, hypot_of, quern__args_x1_x2, 0);
QUERN__OPERATION_ROW(deg2rad, "Deg2rad", "numpy", NULL, degrees, quern__args_x, 1);
QUERN__OPERATION_ROW(rad2deg, "Rad2deg", "numpy", NULL, degrees, quern__args_x, 0);
