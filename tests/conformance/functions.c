/* Groups of functions: activations, regularizers, losses. Each has a value and a gradient. */
#include "conformance.h"

#include <string.h>

/* Compares y and the gradient of sum(y * g0) for `x` with y0 and `grad`. */
static void value_and_gradient(test_case *c, evaluation *e, quern__id y, quern__id x,
                               const char *grad)
{
    quern_error err = { 0 };
    const quern_tensor *want = case_member(c, grad), *g = case_member(c, "g0");
    quern__id ids[2] = { y, 0 };
    quern_tensor got[2];
    int status = QUERN_OK;
    if (y && want && g)
        status = quern__gradients(e->graph, evaluation_seeded(e, y, g), 0, &x, 1, &ids[1], &err);
    if (status >= 0)
        status = evaluation_run(e, ids, 2, got, &err);
    if (status < 0) {
        case_error(c, &err);
        return;
    }
    case_compare(c, "y0", &got[0], case_member(c, "y0"));
    if (want && ids[1])
        case_compare(c, grad, &got[1], want);
    for (int64_t i = 0; want && !ids[1] && i < quern_shape_count(&want->shape); i++)
        if (quern__get(want, i) != 0)
            case_fail(c, "%s: no gradient flows, expected %.9g", grad, quern__get(want, i));
}

void run_activation(test_case *c)
{
    evaluation e;
    quern_error err = { 0 };
    const quern_tensor *x = case_member(c, "x0");
    json_t *spec = json_pack("{s:s, s:O}", "class_name", c->class_name, "config", c->config);
    if (quern__activation_check(spec, &err) < 0 || evaluation_begin(&e, case_records(c), &err) < 0)
        case_error(c, &err);
    else {
        quern__id in = evaluation_leaf(&e, x);
        value_and_gradient(c, &e, quern__activation(e.graph, spec, in), in, "dx0");
        evaluation_end(&e);
    }
    json_decref(spec);
}

void run_regularizer(test_case *c)
{
    evaluation e;
    quern_error err = { 0 };
    json_t *config = NULL;
    const quern__class *row = quern__class_find(QUERN__REGULARIZER, c->class_name, &err);
    config = row ? quern__config(row, c->config, false, &err) : NULL;
    if (!config || evaluation_begin(&e, 0, &err) < 0)
        case_error(c, &err);
    else {
        quern__id x = evaluation_constant(&e, case_member(c, "x0"));
        quern__id y = row->penalty(e.graph, config, x);
        if (!y && !quern__graph_status(e.graph)) /* factors of 0 add nothing */
            y = quern__reduce(e.graph, QUERN__SUM, quern__scale(e.graph, x, 0), ~0u, false);
        value_and_gradient(c, &e, y, x, "dx0");
        evaluation_end(&e);
    }
    json_decref(config);
}

void run_constraint(test_case *c)
{
    evaluation e;
    quern_error err = { 0 };
    if (!quern__class_find(QUERN__CONSTRAINT, c->class_name, &err) ||
        evaluation_begin(&e, 0, &err) < 0) {
        case_error(c, &err);
        return;
    }
    quern__id x = evaluation_constant(&e, case_member(c, "x0"));
    value_and_gradient(c, &e, quern__constrained(e.graph, c->spec, x), x, "dx0");
    evaluation_end(&e);
}

void run_schedule(test_case *c)
{
    quern_error err = { 0 };
    const quern_tensor *steps = case_member(c, "x0"), *want = case_member(c, "y0");
    if (!quern__class_find(QUERN__SCHEDULE, c->class_name, &err))
        case_error(c, &err);
    for (int64_t i = 0; c->result == PASSED && i < quern_shape_count(&steps->shape); i++) {
        double rate = quern__schedule_rate(c->spec, quern__get(steps, i)),
               expected = quern__get(want, i);
        quern_tensor a = { .dtype = QUERN_FLOAT64, .data = &rate },
                     b = { .dtype = QUERN_FLOAT64, .data = &expected };
        case_compare(c, "rate", &a, &b);
    }
}

void run_loss(test_case *c)
{
    evaluation e;
    quern_error err = { 0 };
    const quern_tensor *truth, *prediction, *weight = NULL, *mask = NULL;
    const quern__class *row = quern__class_find(QUERN__LOSS, c->class_name, &err);
    json_t *config = row ? quern__config(row, c->config, false, &err) : NULL;
    case_inputs(c, "sample_weight", -1, &weight, 1);
    case_inputs(c, "mask", -1, &mask, 1);
    if (case_inputs(c, "y_true", -1, &truth, 1) + case_inputs(c, "y_pred", -1, &prediction, 1) != 2)
        case_fail(c, "y_true or y_pred is missing");
    else if (!config || evaluation_begin(&e, case_records(c), &err) < 0)
        case_error(c, &err);
    else {
        quern__id t = evaluation_leaf(&e, truth), p = evaluation_leaf(&e, prediction);
        quern__id w = weight ? evaluation_leaf(&e, weight) : 0,
                  m = mask ? evaluation_leaf(&e, mask) : 0;
        value_and_gradient(c, &e, quern__loss(e.graph, row, config, t, p, w, m), p, "dx1");
        evaluation_end(&e);
    }
    json_decref(config);
}
