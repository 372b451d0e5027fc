/* The gradient of each op against finite differences in double, and each fast kernel against its
 * reference kernel in float32. */
#include "harness.h"

#include "ops/recurrence.h"

static quern__id unary(quern__graph *g, quern__id x, quern__id other, int f)
{
    (void)other;
    if (f == QUERN__ASIN || f == QUERN__ACOS || f == QUERN__ATANH || f == QUERN__ERFINV)
        x = quern__scale(g, x, 0.19);
    if (f == QUERN__ACOSH)
        x = quern__shift(g, x, 6);
    return quern__unary(g, f, x, 0.4, f == QUERN__RELU ? 2.0 : 0.9, 0.1);
}
static quern__id binary(quern__graph *g, quern__id x, quern__id other, int f)
{
    return quern__binary(g, f, x, other);
}
static quern__id row_broadcast(quern__graph *g, quern__id x, quern__id other, int f)
{
    return quern__binary(
        g, f, x, quern__slice(g, quern__reshape(g, other, quern__shape_of(g, other)), 0, 1, 1));
}
/* (B, 2, C / 2) and (B, 1, C / 2): the axis in the middle repeats; f is odd: the inputs change
 * places. */
static quern__id middle_broadcast(quern__graph *g, quern__id x, quern__id other, int f)
{
    quern_shape s = *quern__shape_of(g, x);
    quern_shape whole = { .rank = 3, .dims = { s.dims[0], 2, s.dims[1] / 2 } },
                part = { .rank = 3, .dims = { s.dims[0], 1, s.dims[1] / 2 } };
    quern__id a = quern__reshape(g, x, &whole),
              b = quern__reshape(g, quern__slice(g, other, 1, 0, s.dims[1] / 2), &part);
    return f & 1 ? quern__binary(g, f >> 1, b, a) : quern__binary(g, f >> 1, a, b);
}
/* The sorted rows, from the smallest or (f is 1) from the largest element on. */
static quern__id sorted(quern__graph *g, quern__id x, quern__id other, int f)
{
    (void)other;
    return quern__take_along(g, x, quern__argsort(g, x, f == 1));
}
static quern__id product(quern__graph *g, quern__id x, quern__id other, int f)
{
    return f == 1 ? quern__matmul(g, x, other, true, false)
                  : quern__matmul(g, x, other, false, true);
}
static quern__id softmax(quern__graph *g, quern__id x, quern__id other, int f)
{
    (void)other;
    return f ? quern__log_softmax(g, x) : quern__softmax(g, x);
}
static quern__id crossentropy(quern__graph *g, quern__id x, quern__id other, int f)
{
    if (f)
        return quern__crossentropy(g, other, x);
    quern__id labels = quern__argmax(g, quern__scale(g, other, -1));
    return quern__sparse_crossentropy(g, labels, x, QUERN__NO_LABEL);
}
/* Labels 1, 2 of one record of three steps; labels 0, 1, 1 of three records. */
static quern__id labelled(quern__graph *g, quern__id x, quern__id other, int f)
{
    quern_shape s = *quern__shape_of(g, x),
                steps = { .rank = 3, .dims = { 1, s.dims[0], s.dims[1] } },
                two = { .rank = 2, .dims = { 1, 2 } };
    (void)other;
    if (f == 0)
        return quern__ctc(g, quern__reshape(g, quern__shift(g, quern__iota(g, 2), 1), &two),
                          quern__reshape(g, x, &steps));
    quern__id labels = quern__unary(g, QUERN__CLIP, quern__iota(g, s.dims[0]), 0, 1, 0);
    return quern__circle(g, labels, quern__scale(g, x, 0.4), 3, 0.3, f == 1);
}
static quern__id reduced(quern__graph *g, quern__id x, quern__id other, int f)
{
    (void)other;
    return quern__reduce(g, f & 3, x, f & 4 ? 1u : f & 8 ? 2u : ~0u, false);
}
static quern__id moved(quern__graph *g, quern__id x, quern__id other, int f)
{
    if (f == 0)
        return quern__transpose(g, x, (int[]){ 1, 0 });
    if (f == 1)
        return quern__concat(g, (quern__id[]){ x, other, x }, 3, 1);
    return quern__select(
        g, quern__binary(g, QUERN__GREATER, other, quern__graph_constant(g, 1.2, QUERN_FLOAT64)), x,
        other);
}

static quern__id normalized(quern__graph *g, quern__id x, quern__id other, int f)
{
    quern_shape row = { .rank = 1, .dims = { quern__shape_of(g, x)->dims[1] } };
    quern__id gamma = quern__reshape(g, quern__slice(g, other, 0, 0, 1), &row),
              beta = quern__reshape(g, quern__slice(g, other, 0, 2, 1), &row);
    quern_shape s = *quern__shape_of(g, x),
                apart = { .rank = 3, .dims = { 1, s.dims[0], s.dims[1] } };
    x = f & 8 ? quern__reshape(g, x, &apart) : x; /* several rows to a record */
    return quern__reshape(
        g, quern__normalize(g, x, f & 1 ? gamma : 0, f & 2 ? beta : 0, !(f & 4), 1e-3), &s);
}

/* f: 1 causal, 2 shared keys and values, 4 a mask with a fully masked row, 8 an offset, 16 (large
 * arrays only) heads of 32, 32 dropout and zeros where all keys are masked. */
static quern__id attended(quern__graph *g, quern__id x, quern__id other, int f)
{
    quern_shape s = {
        .rank = 3, .dims = { 1, quern__shape_of(g, x)->dims[0], quern__shape_of(g, x)->dims[1] }
    };
    quern__id q = quern__reshape(g, x, &s), k = quern__reshape(g, other, &s),
              v = quern__unary(g, QUERN__SQUARE, k, 0, 0, 0);
    int64_t width = f & 16 ? 64 : s.dims[2];
    q = quern__slice(g, q, 2, 0, width);
    k = quern__slice(g, k, 2, 0, f & 2 ? width / 2 : width);
    v = quern__slice(g, v, 2, 0, f & 2 ? width / 2 : width);
    quern_shape square = { .rank = 4, .dims = { 1, 1, s.dims[1], s.dims[1] } },
                flat = { .rank = 1, .dims = { s.dims[1] * s.dims[1] } };
    quern__id places =
        quern__cast(g, quern__iota(g, flat.dims[0]), quern__graph_value(g, x)->dtype);
    quern__id third = quern__sub2(
        g, places,
        quern__scale(g, quern__unary(g, QUERN__ROUND, quern__scale(g, places, 1.0 / 3), 0, 0, 0),
                     3));
    quern__id first = quern__binary(g, QUERN__GREATER_EQUAL, places,
                                    quern__graph_constant(g, (double)s.dims[1], QUERN_FLOAT32));
    quern__id mask = quern__mul2(
        g, quern__binary(g, QUERN__NOT_EQUAL, third, quern__graph_constant(g, 1, QUERN_FLOAT32)),
        first);
    return quern__attention(
        g, &(quern__attended){ .q = q,
                               .k = k,
                               .v = v,
                               .mask = f & 4 ? quern__reshape(g, mask, &square) : 0,
                               .offset = f & 8 ? quern__graph_constant(g, 2, QUERN_FLOAT32) : 0,
                               .heads = 2,
                               .shared = f & 2 ? 1 : 2,
                               .causal = f & 1,
                               .scale = 0.4,
                               .zeros = f & 32,
                               .dropout = f & 32 ? 0.3 : 0,
                               .seed = 9 });
}

static quern__id pairs(quern__graph *g, quern__id x, quern__id other, int f)
{
    quern_shape s = *quern__shape_of(g, x),
                many = { .rank = 3, .dims = { 2, s.dims[0], s.dims[1] / 2 } };
    quern__id a = quern__reshape(g, x, &many), b = quern__reshape(g, other, &many);
    if (f == 2) { /* no transpose */
        many = (quern_shape){ .rank = 3, .dims = { 2, s.dims[1] / 2, s.dims[0] } };
        return quern__batched_matmul(g, a, quern__reshape(g, other, &many), false, false);
    }
    return quern__batched_matmul(g, a, b, f == 1, f == 0);
}

/* A reshape with the same rows and columns. */
static quern__id multiplied(quern__graph *g, quern__id z, int64_t columns)
{
    quern_shape down = { .rank = 2, .dims = { columns, 1 } };
    quern__id places = quern__cast(g, quern__iota(g, columns), quern__graph_value(g, z)->dtype);
    quern__id same = quern__binary(g, QUERN__NOT_EQUAL, places, quern__reshape(g, places, &down));
    return quern__matmul(
        g, z, quern__sub2(g, quern__graph_constant(g, 1, quern__graph_value(g, z)->dtype), same),
        false, false);
}

/* f: the cell, 4 biases, 8 a mask, 16 recomputed gates; the states c are part of the result. */
static quern__id recurrent(quern__graph *g, quern__id x, quern__id other, int f)
{
    quern_shape s = *quern__shape_of(g, x);
    int64_t gates = (int64_t[]){ 1, 4, 3 }[f & 3], records = s.dims[0] > 3 ? 14 : 1,
            steps = s.dims[0] / records,
            units = gates > 1       ? s.dims[1] / gates
                    : s.dims[0] > 3 ? 64
                                    : 3;
    quern_shape z = { .rank = 3, .dims = { records, steps, gates * units } },
                row = { .rank = 1, .dims = { gates * units } },
                on = { .rank = 2, .dims = { records, steps } };
    quern__id all = quern__slice(g, other, 1, 0, gates * units),
              states = quern__slice(g, quern__slice(g, other, 0, 0, records), 1, 0, units);
    quern__id bias = quern__reshape(g, quern__slice(g, all, 0, 1, 1), &row), h, c;
    quern__id places =
        quern__cast(g, quern__iota(g, records * steps), quern__graph_value(g, x)->dtype);
    quern__id mask =
        quern__binary(g, QUERN__NOT_EQUAL, places, quern__graph_constant(g, 1, QUERN_FLOAT32));
    quern__graph_lean(g, f & 16);
    quern__id input = quern__reshape(g, quern__slice(g, x, 1, 0, gates * units), &z);
    quern__recur(
        g,
        &(quern__recurrence){
            .cell = f & 3,
            .function = QUERN__TANH,
            .z = f & 16 ? multiplied(g, input, gates * units) : input,
            .kernel = quern__scale(g, quern__slice(g, all, 0, 0, units), 0.2),
            .bias = f & 4 ? bias : 0,
            .own_bias = f & 4 && (f & 3) == QUERN__CELL_GRU ? quern__scale(g, bias, 0.5) : 0,
            .h = states,
            .c = (f & 3) == QUERN__CELL_LSTM ? quern__scale(g, states, 0.7) : 0,
            .mask = f & 8 ? quern__reshape(g, mask, &on) : 0 },
        &h, &c);
    return c ? quern__concat(g, (quern__id[]){ h, c }, 2, 2) : h;
}

/* 0: rows of a table gathered twice; 1: reversed; 2: added at indices. */
static quern__id rows_moved(quern__graph *g, quern__id x, quern__id other, int f)
{
    (void)other;
    quern__id ids = quern__unary(g, QUERN__CLIP, quern__iota(g, 5), 1, 2, 0),
              own = quern__unary(g, QUERN__CLIP, quern__iota(g, quern__shape_of(g, x)->dims[0]), 1,
                                 4, 0);
    return f == 2 ? quern__scatter(g, own, x, 6)
           : f    ? quern__reverse(g, x, 1)
                  : quern__gather(g, x, ids);
}

/* Functions whose differences are not their slopes: steps and roundings. */
static bool is_step(int f)
{
    return f == QUERN__SIGN || f == QUERN__ROUND || f == QUERN__FINITE || f == QUERN__SIGNBIT ||
           f == QUERN__TO_FLOAT16 || f == QUERN__TO_BFLOAT16 || f == QUERN__BIT_NOT ||
           f == QUERN__FLOAT8;
}

static void gradients_are_right(void **state)
{
    (void)state;
    for (int f = 0; f < QUERN__UNARY_COUNT; f++) {
        bool positive = f == QUERN__SQRT || f == QUERN__RSQRT || f == QUERN__LOG ||
                        f == QUERN__LOG1P || f == QUERN__RECIPROCAL;
        if (!is_step(f))
            check_gradient(quern__unary_name(f), unary, f, positive ? 0.6 : -2.23, 0.371);
    }
    for (int f = 0; f <= QUERN__FLOOR_DIV; f++) {
        check_gradient(quern__binary_name(f), binary, f, 0.52, 0.137);
        check_gradient(quern__binary_name(f), row_broadcast, f, 0.52, 0.137);
        check_gradient(quern__binary_name(f), middle_broadcast, 2 * f, 0.52, 0.137);
        check_gradient(quern__binary_name(f), middle_broadcast, 2 * f + 1, 0.52, 0.137);
    }
    for (int f = 0; f < 2; f++) {
        check_gradient("matmul", product, f, -0.4, 0.1);
        check_gradient("softmax", softmax, f, -1.3, 0.21);
        check_gradient("sort", sorted, f, -1.3, 0.21);
        check_gradient("crossentropy", crossentropy, f, -1.3, 0.21);
    }
    for (int f = 0; f < 12; f++)
        check_gradient("reduce", reduced, f, -1.3, 0.21);
    for (int f = 0; f < 3; f++)
        check_gradient("shapes", moved, f, -1.3, 0.21);
    for (int f = 0; f < 16; f++)
        check_gradient("normalize", normalized, f, -1.3, 0.21);
    for (int f = 0; f < 48; f += f == 15 ? 17 : 1)
        check_gradient("attention", attended, f, -0.6, 0.13);
    for (int f = 0; f < 3; f++)
        check_gradient("batched_matmul", pairs, f, -1.3, 0.21);
    for (int f = 0; f < 3; f++)
        check_gradient("ctc, circle", labelled, f, -0.9, 0.17);
    for (int f = 0; f < 3; f++) {
        check_gradient("rows", rows_moved, f, -1.3, 0.21);
    }
    for (int f = 0; f < 31; f++)
        if ((f & 3) < 3)
            check_gradient("recurrence", recurrent, f, -1.3, 0.21);
}

static void kernels_agree(void **state)
{
    (void)state;
    for (int f = 0; f < QUERN__UNARY_COUNT; f++)
        compare(unary, f, quern__unary_name(f),
                f == QUERN__SQRT || f == QUERN__RSQRT || f == QUERN__LOG || f == QUERN__LOG1P ||
                        f == QUERN__RECIPROCAL
                    ? 0.5
                    : -4,
                1e-3);
    for (int f = 0; f < QUERN__BINARY_COUNT; f++) {
        compare(binary, f, quern__binary_name(f), 0.5, 1e-4);
        compare(row_broadcast, f, quern__binary_name(f), 0.5, 1e-4);
        compare(middle_broadcast, 2 * f, quern__binary_name(f), 0.5, 1e-4);
        compare(middle_broadcast, 2 * f + 1, quern__binary_name(f), 0.5, 1e-4);
    }
    for (int f = 0; f < 2; f++) {
        compare(product, f, "matmul", -0.4, 1e-5);
        compare(softmax, f, "softmax", -1.3, 1e-3);
    }
    compare(crossentropy, 0, "sparse_crossentropy", -1.3, 1e-3);
    for (int f = 0; f < 12; f++)
        compare(reduced, f, "reduce", -1.3, 1e-4);
    for (int f = 0; f < 64; f += f == 31 ? 5 : 1) {
        compare(attended, f, "attention", -0.3, 5e-5);
        forward = attended;
        compare(way_back, f, "attention_grad", -0.3, 5e-5);
    }
    for (int f = 0; f < 16; f++) {
        compare(normalized, f, "normalize", -1.3, 1e-4);
        forward = normalized;
        compare(way_back, f, "normalize_grad", -1.3, 1e-4);
    }
    for (int f = 0; f < 3; f++)
        compare(pairs, f, "batched_matmul", -1.3, 1e-4);
    for (int f = 0; f < 31; f++)
        if ((f & 3) < 3) {
            compare(recurrent, f, "recurrence", -1.3, 1e-4);
            forward = recurrent;
            compare(way_back, f, f & 16 ? "recurrence_again" : "recurrence_back", -1.3, 1e-4);
        }
    for (int f = 0; f < 3; f++) {
        compare(rows_moved, f, "rows", -1.3, 1e-4);
        forward = rows_moved;
        compare(way_back, f, "rows backward", -1.3, 1e-4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(gradients_are_right),
                                        cmocka_unit_test(kernels_agree) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
