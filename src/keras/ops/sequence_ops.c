/* sequence_ops: operations of keras.ops that make sequences of numbers, and integrals: linspace,
 * logspace, geomspace, vander, trapezoid. Semantics: keras.src.backend.tensorflow.numpy of
 * Keras 3.15. */
#include "operations.h"

#include <math.h>
#include <string.h>

#define X(NAME) quern__operand(l, g, in, n, NAME)

/* config.num numbers from a to b, along a new axis config.axis. */
static quern__id spaced(quern__layer *l, quern__graph *g, quern__id a, quern__id b)
{
    int64_t num = quern__config_int(l->config, "num");
    bool closed = quern__config_bool(l->config, "endpoint");
    quern__id gap = quern__sub2(g, b, a);
    int rank = quern__op_rank(g, gap) + 1, axis = gap ? quern__op_axis(l, g, "axis", rank) : -1;
    if (axis < 0 || num < 1 || rank > QUERN_MAX_RANK)
        return axis < 0 ? 0
                        : quern__graph_fail(g, QUERN_UNSUPPORTED,
                                            "num below 1, or more than %d axes", QUERN_MAX_RANK);
    quern_shape s = *quern__shape_of(g, gap), along = { .rank = rank };
    for (int i = 0; i < rank; i++)
        along.dims[i] = i == axis ? num : 1;
    int64_t steps = num > 1 && closed ? num - 1 : num;
    quern__id share =
        quern__reshape(g, quern__scale(g, quern__iota(g, num), 1 / (double)steps), &along);
    a = quern__op_expand(g, quern__broadcast(g, a, &s), axis);
    b = quern__op_expand(g, quern__broadcast(g, b, &s), axis);
    return quern__add2(g, quern__mul2(g, a, quern__one_minus(g, share)), quern__mul2(g, b, share));
}

static quern__id linspace(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          bool training)
{
    (void)training;
    const char *dtype = quern__config_text(l->config, "dtype");
    quern__id y = spaced(l, g, X("start"), X("stop"));
    return dtype && strstr(dtype, "int") ? quern__unary_of(g, QUERN__FLOOR, y) : y;
}

/* base^linspace */
static quern__id logspace(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          bool training)
{
    (void)training;
    double base = quern__config_number(l->config, "base");
    if (!(base > 0))
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "base must be above 0");
    return quern__unary_of(g, QUERN__EXP,
                           quern__scale(g, spaced(l, g, X("start"), X("stop")), log(base)));
}

static quern__id log_size(quern__graph *g, quern__id x)
{
    return quern__unary_of(g, QUERN__LOG, quern__unary_of(g, QUERN__ABS, x));
}

/* exp(linspace(log |start|, log |stop|)), with the sign of start. */
static quern__id geomspace(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    (void)training;
    quern__id a = X("start"),
              y = quern__unary_of(g, QUERN__EXP,
                                  spaced(l, g, log_size(g, a), log_size(g, X("stop"))));
    return quern__mul2(g, y, quern__unary_of(g, QUERN__SIGN, a));
}

/* The powers 0 … N - 1 of each element, from the largest on unless `increasing`. */
static quern__id vander(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)training;
    json_t *given = json_object_get(l->config, "N");
    quern__id x = X("x"), powers[QUERN__MAX_ARGUMENTS];
    int64_t count = json_is_integer(given) ? json_integer_value(given)
                    : x                    ? quern__shape_of(g, x)->dims[0]
                                           : 0;
    if (!x || count < 1 || count > QUERN__MAX_ARGUMENTS || quern__op_rank(g, x) != 1)
        return x ? quern__graph_fail(g, QUERN_UNSUPPORTED,
                                     "vander of a vector with an N of 1 to %d",
                                     QUERN__MAX_ARGUMENTS)
                 : 0;
    bool up = quern__config_bool(l->config, "increasing");
    quern__id column = quern__op_expand(g, x, 1),
              now = quern__broadcast(g, quern__op_number(g, 1), quern__shape_of(g, column));
    for (int64_t k = 0; k < count; k++) {
        powers[up ? k : count - 1 - k] = now;
        now = k ? quern__mul2(g, now, column) : column;
    }
    return quern__concat(g, powers, (int)count, 1);
}

/* The sum of the means of adjacent elements, times the distance dx. */
static quern__id trapezoid(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    (void)training;
    quern__id y = X("y");
    int axis = y ? quern__op_axis(l, g, "axis", quern__op_rank(g, y)) : -1;
    if (axis < 0 || !quern__op_closed(g, y, axis, "an integral"))
        return 0;
    int64_t gaps = quern__shape_of(g, y)->dims[axis] - 1;
    if (gaps < 1)
        return quern__graph_fail(g, QUERN_SHAPE, "an integral over one element");
    quern__id pairs =
        quern__add2(g, quern__slice(g, y, axis, 1, gaps), quern__slice(g, y, axis, 0, gaps));
    return quern__scale(g, quern__reduce(g, QUERN__SUM, pairs, 1u << axis, false),
                        0.5 * quern__config_number(l->config, "dx"));
}

static const quern__call_arg space_args[] = { { "start", false }, { "stop", false }, { 0 } };
static const quern__call_arg y_args[] = { { "y", false }, { 0 } };
static const quern__field space_fields[] = { { "num", QUERN__F_INT, "50" },
                                             { "endpoint", QUERN__F_BOOL, "true" },
                                             { "retstep", QUERN__F_ONLY_DEFAULT, "false" },
                                             { "dtype", QUERN__F_ANY, "null" },
                                             { "axis", QUERN__F_INT, "0" },
                                             { 0 } };
static const quern__field log_fields[] = {
    { "num", QUERN__F_INT, "50" },     { "endpoint", QUERN__F_BOOL, "true" },
    { "base", QUERN__F_NUMBER, "10" }, { "dtype", QUERN__F_ANY, "null" },
    { "axis", QUERN__F_INT, "0" },     { 0 }
};
static const quern__field geom_fields[] = { { "num", QUERN__F_INT, "50" },
                                            { "endpoint", QUERN__F_BOOL, "true" },
                                            { "dtype", QUERN__F_ANY, "null" },
                                            { "axis", QUERN__F_INT, "0" },
                                            { 0 } };
static const quern__field vander_fields[] = { { "N", QUERN__F_ANY, "null" },
                                              { "increasing", QUERN__F_BOOL, "false" },
                                              { 0 } };
static const quern__field trapezoid_fields[] = { { "x", QUERN__F_ONLY_DEFAULT, "null" },
                                                 { "dx", QUERN__F_NUMBER, "1.0" },
                                                 { "axis", QUERN__F_INT, "-1" },
                                                 { 0 } };

#define ROW(ID, NAME, FIELDS, CALL, ARGS) \
    QUERN__OPERATION_ROW(ID, NAME, "numpy", FIELDS, CALL, ARGS, 0)
ROW(linspace, "Linspace", space_fields, linspace, space_args);
ROW(logspace, "Logspace", log_fields, logspace, space_args);
ROW(geomspace, "Geomspace", geom_fields, geomspace, space_args);
ROW(vander, "Vander", vander_fields, vander, quern__args_x);
ROW(trapezoid, "Trapezoid", trapezoid_fields, trapezoid, y_args);
