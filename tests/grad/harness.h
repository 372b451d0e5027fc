/* Tests of ops: the gradient of a builder against finite differences in double, and its fast
 * kernels against the reference kernels in float32. A builder makes a value from two matrices and a
 * number that selects a variant. */
#ifndef TEST_GRAD_HARNESS_H
#define TEST_GRAD_HARNESS_H

#include "check.h"

#include "base/isa.h"
#include "grad/grad.h"
#include "step/step.h"

#include <math.h>
#include <string.h>

typedef quern__id builder(quern__graph *g, quern__id x, quern__id other, int function);

static quern__variable variable(int dtype, int rank, int64_t rows, int64_t columns, double first,
                                double by)
{
    quern__variable v = { .path = "v",
                          .dtype = dtype,
                          .shape = { .rank = rank, .dims = { rows, columns } } };
    size_t bytes;
    assert_true(quern__shape_bytes(&v.shape, dtype, &bytes));
    v.data = quern__alloc_aligned(bytes + 64, 64);
    quern_tensor t = { .dtype = dtype, .shape = v.shape, .data = v.data };
    for (int64_t i = 0; i < quern_shape_count(&v.shape); i++)
        quern__set(&t, i, first + by * (double)i + 0.1 * sin(7.0 * (double)i));
    return v;
}

/* Runs the graph once with one thread and returns a scalar. */
static double run(quern__team *team, quern__plan *p, quern__id loss)
{
    quern_error err = { 0 };
    void *arena = quern__alloc_aligned(p->arena_bytes + 64, 64);
    quern__step_run r = { .arena = arena, .records = 1 };
    CHECK_OK(quern__step(team, p, &r, &err), err);
    const quern__value *v = quern__graph_value(p->graph, loss);
    quern_tensor t = { .dtype = v->dtype, .data = quern__plan_address(p, loss, arena, NULL) };
    double out = quern__get(&t, 0);
    quern__free_aligned(arena);
    return out;
}

/* The directional derivative of sum(y * weights) by x, from nodes and from differences. */
static void check_gradient(const char *name, builder *build, int function, double first, double by)
{
    quern_error err = { 0 };
    quern__variable x = variable(QUERN_FLOAT64, 2, 3, 4, first, by),
                    other = variable(QUERN_FLOAT64, 2, 3, 4, 0.7, 0.11);
    quern__graph *g = quern__graph_new();
    quern__id ids[2] = { quern__graph_variable(g, &x), quern__graph_variable(g, &other) },
              d[2] = { 0 };
    quern__id y = build(g, ids[0], ids[1], function);
    if (quern__graph_status(g))
        fail_msg("%s: %s", name, quern__graph_error(g)->text);
    quern__variable w =
        variable(QUERN_FLOAT64, 1, quern_shape_count(quern__shape_of(g, y)), 0, 0.3, 0.07);
    quern__id flat = quern__reshape(g, y, &w.shape);
    quern__id loss = quern__reduce(g, QUERN__SUM,
                                   quern__mul2(g, flat, quern__graph_variable(g, &w)), ~0u, false);
    CHECK_OK(quern__gradients(g, loss, 0, ids, 2, d, &err), err);
    CHECK_OK(quern__graph_verify(g, &err), err);
    quern__team *team = quern__team_new(1, &err);
    for (int k = 0; k < 2; k++) {
        quern__variable *v = k ? &other : &x;
        if (!d[k])
            continue;
        quern__id direction = quern__reduce(g, QUERN__SUM, d[k], ~0u, false);
        quern__plan *p = quern__plan_new(g, (quern__id[]){ loss, direction }, 2, 1, &err);
        assert_non_null(p);
        double grad = run(team, p, direction), h = 1e-5, value[2];
        for (int side = 0; side < 2; side++) {
            for (int i = 0; i < 12; i++)
                ((double *)v->data)[i] += side ? -2 * h : h;
            value[side] = run(team, p, loss);
        }
        for (int i = 0; i < 12; i++)
            ((double *)v->data)[i] += h;
        double want = (value[0] - value[1]) / (2 * h);
        if (!(fabs(grad - want) <= 1e-6 + 1e-6 * fabs(want)))
            fail_msg("%s: gradient %d is %.9g, by differences %.9g", name, k, grad, want);
        quern__plan_free(p);
    }
    quern__team_free(team);
    quern__graph_free(g);
    quern__free_aligned(x.data);
    quern__free_aligned(other.data);
    quern__free_aligned(w.data);
}

/* The gradients of both inputs of another builder, concatenated: for kernels of the backward pass.
 */
static builder *forward;
static quern__id way_back(quern__graph *g, quern__id x, quern__id other, int f)
{
    quern_error err = { 0 };
    quern__id y = forward(g, x, other, f), wrt[2] = { x, other }, d[2] = { 0 };
    quern__id seed = quern__unary(g, QUERN__AFFINE, y, 0.3, 0.1, 0);
    CHECK_OK(quern__gradients(g, y, quern__stop_gradient(g, seed), wrt, 2, d, &err), err);
    return d[1] ? quern__concat(g, d, 2, 0) : d[0];
}

/* The elements of y, computed by the kernels of the processor kind in use (or by reference
 * kernels). */
static void compute(quern__graph *g, quern__id y, bool reference, float *out, size_t n)
{
    quern_error err = { 0 };
    quern__plan *p = quern__plan_new(g, &y, 1, 1, &err);
    quern__team *team = quern__team_new(2, &err);
    assert_true(p && team);
    void *arena = quern__alloc_aligned(p->arena_bytes + 64, 64);
    quern__step_run r = { .arena = arena, .records = 1 };
    for (int e = 0; reference && e < p->n_entries; e++)
        p->entries[e].kernel = p->entries[e].call.op->reference;
    CHECK_OK(quern__step(team, p, &r, &err), err);
    memcpy(out, quern__plan_address(p, y, arena, NULL), n * sizeof *out);
    quern__free_aligned(arena);
    quern__team_free(team);
    quern__plan_free(p);
}

/* Every fast float32 kernel of every available processor kind against the reference kernel, and
 * kinds with bit-identical results against each other. */
static void compare(builder *build, int function, const char *name, double first, double by)
{
    quern_error err = { 0 };
    quern__variable x = variable(QUERN_FLOAT32, 2, 70, 130, first, by),
                    other = variable(QUERN_FLOAT32, 2, 70, 130, 0.7, 1e-4);
    quern__graph *g = quern__graph_new();
    quern__id y =
        build(g, quern__graph_variable(g, &x), quern__graph_variable(g, &other), function);
    size_t n = (size_t)quern_shape_count(quern__shape_of(g, y));
    float *want = quern__alloc(n * sizeof *want), *got = quern__alloc(n * sizeof *got),
          *before = quern__alloc(n * sizeof *before);
    const char *isa;
    compute(g, y, true, want, n);
    for (int k = 0; (isa = quern_isa_name(k)); k++) {
        CHECK_OK(quern_set_isa(isa, &err), err);
        compute(g, y, false, got, n);
        bool same = k && quern__isa_same_bits(isa, quern_isa_name(k - 1));
        for (size_t i = 0; i < n; i++) {
            if (!(fabs((double)got[i] - want[i]) <= 2e-5 * (1 + fabs((double)want[i]))))
                fail_msg("%s %d, %s: element %zu is %.9g, reference %.9g", name, function, isa, i,
                         (double)got[i], (double)want[i]);
            if (same && memcmp(&got[i], &before[i], sizeof *got))
                fail_msg("%s %d: element %zu is %.9g by %s, %.9g by %s", name, function, i,
                         (double)got[i], isa, (double)before[i], quern_isa_name(k - 1));
        }
        memcpy(before, got, n * sizeof *got);
    }
    CHECK_OK(quern_set_isa(NULL, &err), err);
    quern__free(before);
    quern__free(want);
    quern__free(got);
    quern__graph_free(g);
    quern__free_aligned(x.data);
    quern__free_aligned(other.data);
}

#endif
