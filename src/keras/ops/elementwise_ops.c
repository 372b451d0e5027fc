/* elementwise_ops: elementwise operations: arithmetic, comparisons, logic, powers, casts, where.
 * Comparisons and logic return 1 and 0. Formulas: keras.src.ops.numpy,
 * keras.src.backend.tensorflow.numpy of Keras 3.15. */
#include "operations.h"

#include <math.h>
#include <string.h>

#define X(NAME) quern__operand(l, g, in, n, NAME)

static bool is_int(quern__graph *g, quern__id x)
{
    return x && quern__graph_value(g, x)->dtype == QUERN_INT32;
}

/* Whether a constant argument consists of integers. */
static bool is_integer_constant(json_t *given)
{
    const char *dtype = quern__config_text(json_object_get(given, "config"), "dtype");
    return json_is_integer(given) ||
           (dtype && (!strncmp(dtype, "int", 3) || !strncmp(dtype, "uint", 4)));
}

/* x as int32 when it is an integer constant, otherwise unchanged. */
static quern__id exact(quern__layer *l, quern__graph *g, const char *name, quern__id x)
{
    bool integer = is_integer_constant(json_object_get(l->context->options, name));
    return integer ? quern__cast(g, x, QUERN_INT32) : x;
}

quern__id quern__op_of_two(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    (void)training;
    const char *first = l->kind->call_args[0].name, *second = l->kind->call_args[1].name;
    quern__id a = X(first), b = X(second);
    if (is_int(g, a) && !is_int(g, b))
        b = exact(l, g, second, b);
    if (is_int(g, b) && !is_int(g, a))
        a = exact(l, g, first, a);
    if (is_int(g, a) != is_int(g, b)) {
        a = quern__cast(g, a, QUERN_FLOAT32);
        b = quern__cast(g, b, QUERN_FLOAT32);
    }
    return quern__binary(g, l->kind->extra, a, b);
}

quern__id quern__op_of_one(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    (void)training;
    return quern__unary_of(g, l->kind->extra, X("x"));
}

/* keras.ops.nn: the activation of that name, with the arguments of the config. */
static quern__id activation(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                            bool training)
{
    (void)training;
    quern__id x = X("x");
    json_t *spec = json_pack("{s:s, s:O}", "class_name", l->kind->name, "config", l->config);
    quern__id y = x ? quern__activation(g, spec, x) : 0;
    json_decref(spec);
    return y;
}

static quern__id logical_or(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                            bool training)
{
    (void)training;
    return quern__binary(g, QUERN__MAXIMUM, quern__op_truth(g, X("x1")),
                         quern__op_truth(g, X("x2")));
}

static quern__id logical_and(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                             bool training)
{
    (void)training;
    return quern__mul2(g, quern__op_truth(g, X("x1")), quern__op_truth(g, X("x2")));
}

static quern__id logical_xor(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                             bool training)
{
    (void)training;
    return quern__binary(g, QUERN__NOT_EQUAL, quern__op_truth(g, X("x1")),
                         quern__op_truth(g, X("x2")));
}

static quern__id logical_not(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                             bool training)
{
    (void)training;
    return quern__binary(g, QUERN__EQUAL, X("x"), quern__op_number(g, 0));
}

static quern__id where(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)training;
    quern__id condition = quern__op_truth(g, X("condition"));
    return quern__select(g, condition, X("x1"), X("x2"));
}

/* |x1 - x2| <= atol + rtol |x2| */
static quern__id isclose(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                         bool training)
{
    (void)training;
    quern__id a = X("x1"), b = X("x2"), rtol = quern__operand_or_none(l, g, in, n, "rtol"),
              atol = quern__operand_or_none(l, g, in, n, "atol");
    rtol = rtol ? rtol : quern__op_number(g, 1e-5);
    atol = atol ? atol : quern__op_number(g, 1e-8);
    quern__id gap = quern__unary_of(g, QUERN__ABS, quern__sub2(g, a, b));
    return quern__binary(
        g, QUERN__LESS_EQUAL, gap,
        quern__add2(g, atol, quern__mul2(g, rtol, quern__unary_of(g, QUERN__ABS, b))));
}

/* A constant integer exponent becomes a product, which has a gradient for negative bases too. */
static quern__id power(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)training;
    json_t *exponent = json_object_get(l->context->options, "x2");
    double p = json_number_value(exponent);
    quern__id x = X("x1"), y = x;
    if (json_is_number(exponent) && p == 2)
        return quern__square(g, x);
    if (json_is_number(exponent) && p == 0.5)
        return quern__sqrt(g, x);
    if (!json_is_number(exponent) || p != floor(p) || p < 1 || p > 16)
        return quern__binary(g, QUERN__POW, x, X("x2"));
    for (int k = 1; k < (int)p; k++)
        y = quern__mul2(g, y, x);
    return y;
}

static quern__id clip(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)training;
    json_t *least = json_object_get(l->config, "x_min"),
           *most = json_object_get(l->config, "x_max");
    if (!(json_is_number(least) || json_is_null(least)) ||
        !(json_is_number(most) || json_is_null(most)))
        return quern__graph_fail(g, QUERN_UNSUPPORTED,
                                 "bounds that are not numbers are not in this version");
    double low = json_is_number(least) ? json_number_value(least) : -(double)INFINITY;
    return quern__unary(g, QUERN__CLIP, X("x"), low,
                        json_is_number(most) ? json_number_value(most) : (double)INFINITY, 0);
}

/* 0 where the divisor is 0. */
static quern__id divide_no_nan(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                               bool training)
{
    (void)training;
    quern__id a = X("x1"), b = X("x2"), zero = quern__op_number(g, 0), safe = quern__op_truth(g, b);
    return quern__select(
        g, safe, quern__div2(g, a, quern__select(g, safe, b, quern__op_number(g, 1))), zero);
}

static quern__id squared_difference(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                    bool training)
{
    (void)training;
    return quern__square(g, quern__sub2(g, X("x1"), X("x2")));
}

/* Returns x, for operations that copy. */
static quern__id same(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)training;
    return X("x");
}

static quern__id stop_gradient(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                               bool training)
{
    (void)training;
    return quern__stop_gradient(g, X("variable"));
}

/* row->extra: the number that fills the shape of x. */
static quern__id constant_like(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                               bool training)
{
    (void)training;
    quern__id x = X("x");
    return x ? quern__broadcast(g, quern__op_number(g, l->kind->extra), quern__shape_of(g, x)) : 0;
}

static quern__id full_like(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    (void)training;
    quern__id x = X("x");
    return x ? quern__broadcast(g, X("fill_value"), quern__shape_of(g, x)) : 0;
}

/* Rounds half to even at a decimal place. */
static quern__id round_to(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          bool training)
{
    (void)training;
    double factor = pow(10, (double)quern__config_int(l->config, "decimals"));
    quern__id x = X("x");
    return factor == 1
               ? quern__unary_of(g, QUERN__ROUND, x)
               : quern__scale(g, quern__unary_of(g, QUERN__ROUND, quern__scale(g, x, factor)),
                              1 / factor);
}

/* row->extra: the base of a logarithm. */
static quern__id logarithm(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    (void)training;
    return quern__scale(g, quern__unary_of(g, QUERN__LOG, X("x")), 1 / log(l->kind->extra));
}

static quern__id isnan_of(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          bool training)
{
    (void)training;
    quern__id x = X("x");
    return quern__binary(g, QUERN__NOT_EQUAL, x, x);
}

static quern__id isfinite_of(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                             bool training)
{
    (void)training;
    return quern__unary_of(g, QUERN__FINITE, X("x"));
}

static const quern__call_arg where_args[] = {
    { "condition", false }, { "x1", false }, { "x2", false }, { 0 }
};
static const quern__call_arg close_args[] = {
    { "x1", false }, { "x2", false }, { "rtol", false }, { "atol", false }, { 0 }
};
static const quern__call_arg full_args[] = { { "x", false }, { "fill_value", false }, { 0 } };
static const quern__call_arg variable_args[] = { { "variable", false }, { 0 } };
static const quern__field close_fields[] = { { "equal_nan", QUERN__F_ONLY_DEFAULT, "false" },
                                             { 0 } };
static const quern__field clip_fields[] = { { "x_min", QUERN__F_ANY, NULL },
                                            { "x_max", QUERN__F_ANY, NULL },
                                            { 0 } };
static const quern__field dtype_fields[] = { { "dtype", QUERN__F_ANY, "null" }, { 0 } };
static const quern__field decimals_fields[] = { { "decimals", QUERN__F_INT, "0" }, { 0 } };
static const quern__field alpha_fields[] = { { "alpha", QUERN__F_NUMBER, "1.0" }, { 0 } };
static const quern__field leaky_fields[] = { { "negative_slope", QUERN__F_NUMBER, "0.2" }, { 0 } };
static const quern__field gelu_fields[] = { { "approximate", QUERN__F_BOOL, "true" }, { 0 } };
static const quern__field half_fields[] = { { "threshold", QUERN__F_NUMBER, "0.5" }, { 0 } };
static const quern__field squareplus_fields[] = { { "b", QUERN__F_NUMBER, "4" }, { 0 } };
static const quern__field threshold_fields[] = { { "threshold", QUERN__F_NUMBER, NULL },
                                                 { "default_value", QUERN__F_NUMBER, NULL },
                                                 { 0 } };

#define TWO(ID, NAME, FUNCTION) \
    QUERN__OPERATION_ROW(ID, NAME, "numpy", NULL, quern__op_of_two, quern__args_x1_x2, FUNCTION)
#define EXACT(ID, NAME, FUNCTION) \
    QUERN__INTEGER_ROW(ID, NAME, "numpy", NULL, quern__op_of_two, quern__args_x1_x2, FUNCTION)
#define ONE(ID, NAME, MODULE, F) \
    QUERN__OPERATION_ROW(ID, NAME, MODULE, NULL, quern__op_of_one, quern__args_x, F)
#define NN(ID, NAME, FIELDS) \
    QUERN__OPERATION_ROW(ID, NAME, "nn", FIELDS, activation, quern__args_x, 0)
EXACT(add, "Add", QUERN__ADD);
EXACT(subtract, "Subtract", QUERN__SUB);
EXACT(multiply, "Multiply", QUERN__MUL);
TWO(divide, "Divide", QUERN__DIV);
TWO(true_divide, "TrueDivide", QUERN__DIV);
EXACT(maximum, "Maximum", QUERN__MAXIMUM);
EXACT(minimum, "Minimum", QUERN__MINIMUM);
EXACT(fmax, "Fmax", QUERN__MAXIMUM);
EXACT(fmin, "Fmin", QUERN__MINIMUM);
EXACT(equal, "Equal", QUERN__EQUAL);
EXACT(not_equal, "NotEqual", QUERN__NOT_EQUAL);
EXACT(less, "Less", QUERN__LESS);
EXACT(less_equal, "LessEqual", QUERN__LESS_EQUAL);
EXACT(greater, "Greater", QUERN__GREATER);
EXACT(greater_equal, "GreaterEqual", QUERN__GREATER_EQUAL);
EXACT(mod, "Mod", QUERN__FLOOR_MOD);
EXACT(floor_divide, "FloorDivide", QUERN__FLOOR_DIV);
ONE(negative, "Negative", "numpy", QUERN__NEG);
ONE(absolute, "Absolute", "numpy", QUERN__ABS);
ONE(fabs, "Fabs", "numpy", QUERN__ABS);
ONE(sign, "Sign", "numpy", QUERN__SIGN);
ONE(square, "Square", "numpy", QUERN__SQUARE);
ONE(sqrt, "Sqrt", "numpy", QUERN__SQRT);
ONE(rsqrt, "Rsqrt", "math", QUERN__RSQRT);
ONE(reciprocal, "Reciprocal", "numpy", QUERN__RECIPROCAL);
ONE(exp, "Exp", "numpy", QUERN__EXP);
ONE(log, "Log", "numpy", QUERN__LOG);
ONE(tanh, "Tanh", "numpy", QUERN__TANH);
ONE(floor, "Floor", "numpy", QUERN__FLOOR);
ONE(ceil, "Ceil", "numpy", QUERN__CEIL);
ONE(trunc, "Trunc", "numpy", QUERN__TRUNC);
ONE(sin, "Sin", "numpy", QUERN__SIN);
ONE(cos, "Cos", "numpy", QUERN__COS);
ONE(log1p, "Log1p", "numpy", QUERN__LOG1P);
ONE(expm1, "Expm1", "numpy", QUERN__EXPM1);
ONE(erf, "Erf", "math", QUERN__ERF);
NN(relu, "Relu", NULL);
NN(relu6, "Relu6", NULL);
NN(sigmoid, "Sigmoid", NULL);
NN(softplus, "Softplus", NULL);
NN(softsign, "Softsign", NULL);
NN(silu, "Silu", NULL);
NN(log_sigmoid, "LogSigmoid", NULL);
NN(leaky_relu, "LeakyRelu", leaky_fields);
NN(hard_sigmoid, "HardSigmoid", NULL);
NN(hard_silu, "HardSilu", NULL);
NN(elu, "Elu", alpha_fields);
NN(selu, "Selu", NULL);
NN(celu, "Celu", alpha_fields);
NN(gelu, "Gelu", gelu_fields);
NN(glu, "Glu", quern__fields_last_axis);
NN(hard_tanh, "HardTanh", NULL);
NN(tanh_shrink, "TanhShrink", NULL);
NN(soft_shrink, "SoftShrink", half_fields);
NN(hard_shrink, "HardShrink", half_fields);
NN(squareplus, "Squareplus", squareplus_fields);
NN(sparse_plus, "SparsePlus", NULL);
NN(sparse_sigmoid, "SparseSigmoid", NULL);
NN(threshold, "Threshold", threshold_fields);
NN(softmax, "Softmax", quern__fields_last_axis);
NN(log_softmax, "LogSoftmax", quern__fields_last_axis);
NN(sparsemax, "Sparsemax", quern__fields_last_axis);
QUERN__OPERATION_ROW(logical_or, "LogicalOr", "numpy", NULL, logical_or, quern__args_x1_x2, 0);
QUERN__OPERATION_ROW(logical_and, "LogicalAnd", "numpy", NULL, logical_and, quern__args_x1_x2, 0);
QUERN__OPERATION_ROW(logical_xor, "LogicalXor", "numpy", NULL, logical_xor, quern__args_x1_x2, 0);
QUERN__OPERATION_ROW(logical_not, "LogicalNot", "numpy", NULL, logical_not, quern__args_x, 0);
QUERN__OPERATION_ROW(where, "Where", "numpy", NULL, where, where_args, 0);
QUERN__OPERATION_ROW(isclose, "Isclose", "numpy", close_fields, isclose, close_args, 0);
QUERN__OPERATION_ROW(power, "Power", "numpy", NULL, power, quern__args_x1_x2, 0);
QUERN__OPERATION_ROW(clip, "Clip", "numpy", clip_fields, clip, quern__args_x, 0);
QUERN__OPERATION_ROW(divide_no_nan, "DivideNoNan", "numpy", NULL, divide_no_nan, quern__args_x1_x2,
                     0);
QUERN__OPERATION_ROW(squared_difference, "SquaredDifference", "math", NULL, squared_difference,
                     quern__args_x1_x2, 0);
QUERN__OPERATION_ROW(copy, "Copy", "numpy", NULL, same, quern__args_x, 0);
QUERN__OPERATION_ROW(stop_gradient, "StopGradient", "core", NULL, stop_gradient, variable_args, 0);
QUERN__OPERATION_ROW(zeros_like, "ZerosLike", "numpy", dtype_fields, constant_like, quern__args_x,
                     0);
QUERN__OPERATION_ROW(ones_like, "OnesLike", "numpy", dtype_fields, constant_like, quern__args_x, 1);
QUERN__OPERATION_ROW(full_like, "FullLike", "numpy", dtype_fields, full_like, full_args, 0);
QUERN__OPERATION_ROW(round, "Round", "numpy", decimals_fields, round_to, quern__args_x, 0);
QUERN__OPERATION_ROW(log2, "Log2", "numpy", NULL, logarithm, quern__args_x, 2);
QUERN__OPERATION_ROW(log10, "Log10", "numpy", NULL, logarithm, quern__args_x, 10);
QUERN__OPERATION_ROW(isnan, "Isnan", "numpy", NULL, isnan_of, quern__args_x, 0);
QUERN__OPERATION_ROW(isfinite, "Isfinite", "numpy", NULL, isfinite_of, quern__args_x, 0);
