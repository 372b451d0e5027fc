/* Groups whose cases continue over several runs: metrics (updates) and optimizers (steps); and
 * initializers, which draw. */
#include "conformance.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- metrics ---- */

/* The inputs of one update. The `prediction` of a metric of values is the values. False: there are
 * none. */
typedef struct updating {
    const quern_tensor *truth, *prediction, *weight, *mask;
} updating;

static bool update_inputs(test_case *c, int update, updating *u)
{
    *u = (updating){ 0 };
    case_inputs(c, "y_true", update, &u->truth, 1);
    case_inputs(c, "y_pred", update, &u->prediction, 1);
    case_inputs(c, "sample_weight", update, &u->weight, 1);
    case_inputs(c, "mask", update, &u->mask, 1);
    if (case_inputs(c, "values", update, &u->prediction, 1))
        u->truth = u->prediction;
    if (!u->truth || !u->prediction)
        case_fail(c, "update %d has no y_true or y_pred", update);
    return u->truth && u->prediction;
}

static void update_metric(test_case *c, const quern__accumulator *m, const updating *u)
{
    evaluation e;
    quern_error err = { 0 };
    const quern_shape *t = &u->truth->shape, *p = &u->prediction->shape,
                      *w = u->weight ? &u->weight->shape : t;
    bool batch =
        t->rank && p->rank && w->rank && t->dims[0] == p->dims[0] && w->dims[0] == t->dims[0];
    if (evaluation_begin(&e, batch ? t->dims[0] : 0, &err) < 0) {
        case_error(c, &err);
        return;
    }
    quern__id truth = evaluation_leaf(&e, u->truth),
              prediction = evaluation_leaf(&e, u->prediction);
    quern__id weight = u->weight ? evaluation_leaf(&e, u->weight) : 0,
              mask = u->mask ? evaluation_leaf(&e, u->mask) : 0;
    quern__accumulator_nodes(m, e.graph, truth, prediction, weight, mask);
    if (evaluation_run(&e, NULL, 0, NULL, &err) < 0)
        case_error(c, &err);
    evaluation_end(&e);
}

void run_metric(test_case *c)
{
    quern_error err = { 0 };
    updating u;
    double results[QUERN__MAX_METRIC_RESULTS];
    const quern__class *row = quern__class_find(QUERN__METRIC, c->class_name, &err);
    json_t *config = row ? quern__config(row, c->config, false, &err) : NULL;
    quern__accumulator *m = NULL;
    int updates = (int)json_integer_value(json_object_get(c->spec, "updates"));
    if (!config)
        case_error(c, &err);
    else if (update_inputs(c, 0, &u) &&
             !(m = quern__accumulator_new(row, config, c->class_name, &u.truth->shape,
                                          &u.prediction->shape, &err)))
        case_error(c, &err);
    for (int k = 0; c->result == PASSED && k < updates; k++) {
        char name[16];
        snprintf(name, sizeof name, "r%d", k);
        const quern_tensor *want = case_numbered(c, "r", k);
        if (update_inputs(c, k, &u))
            update_metric(c, m, &u);
        quern__accumulator_results(m, results);
        quern_tensor got = { .dtype = QUERN_FLOAT64, .data = results };
        if (m->n_results > 1 ||
            (want && want->shape.rank == 1)) /* Keras returns a vector of one class */
            got.shape = (quern_shape){ .rank = 1, .dims = { m->n_results } };
        if (c->result == PASSED && want)
            case_compare(c, name, &got, want);
    }
    quern__accumulator_free(m);
}

/* ---- optimizers ---- */

static void compare_variable(test_case *c, const char *what, const quern__variable *v,
                             const quern_tensor *want)
{
    quern_tensor got = { .dtype = v->dtype, .shape = v->shape, .data = v->data };
    case_compare(c, what, &got, want);
}

/* All variables of the optimizer, in the order in which Keras saves them. */
static void compare_state(test_case *c, const quern__optimizer *o)
{
    json_t *states = json_object_get(c->spec, "state"), *state;
    size_t k;
    json_array_foreach(states, k, state)
    {
        const char *path = quern__config_text(state, "path");
        const quern_tensor *want = case_member(c, quern__config_text(state, "member"));
        const quern__variable *v = quern__optimizer_variable(o, (int)k);
        if (!v)
            case_fail(c, "the optimizer keeps no '%s'", path);
        else if (want)
            compare_variable(c, path, v, want);
    }
    if (quern__optimizer_variable(o, (int)k))
        case_fail(c, "the optimizer keeps more than Keras's: %s",
                  quern__optimizer_variable(o, (int)k)->path);
}

/* The variables after the moving averages replaced them. */
static void compare_finalized(test_case *c, quern__optimizer *o, quern__variable *const *variables,
                              int n)
{
    quern__optimizer_finalize(o);
    for (int i = 0; i < n; i++)
        compare_variable(c, "a variable after training", variables[i], case_numbered(c, "r", i));
}

/* Part k of a member along its first axis. */
static quern_tensor part_of(const quern_tensor *t, int k)
{
    quern_tensor part = { .dtype = t->dtype, .shape = { .rank = t->shape.rank - 1 } };
    memcpy(part.shape.dims, t->shape.dims + 1, (size_t)part.shape.rank * sizeof *part.shape.dims);
    part.data =
        (char *)t->data + (size_t)(k * quern_shape_count(&part.shape)) * quern_dtype_size(t->dtype);
    return part;
}

/* One step with the k-th gradients; then compares the variables with the expected ones. */
static void optimizer_step(test_case *c, quern__optimizer *o, quern__variable *const *variables,
                           int n, int k)
{
    evaluation e;
    quern_error err = { 0 };
    quern__id gradients[4];
    if (evaluation_begin(&e, 0, &err) < 0) {
        case_error(c, &err);
        return;
    }
    for (int i = 0; i < n; i++) {
        quern_tensor g = part_of(case_numbered(c, "g", i), k);
        gradients[i] = evaluation_constant(&e, &g);
    }
    quern__optimizer_prepare(o);
    quern__optimizer_nodes(o, e.graph, gradients);
    if (evaluation_run(&e, NULL, 0, NULL, &err) < 0)
        case_error(c, &err);
    evaluation_end(&e);
    for (int i = 0; i < n && c->result == PASSED; i++) {
        char what[40];
        quern_tensor want = part_of(case_numbered(c, "y", i), k);
        snprintf(what, sizeof what, "variable %d after step %d", i, k + 1);
        compare_variable(c, what, variables[i], &want);
    }
}

/* The k-th variable of the case, and its gradients and results. */
static quern__variable *own_variable(test_case *c, int k, quern_error *err)
{
    const quern_tensor *x = case_numbered(c, "x", k), *g = case_numbered(c, "g", k),
                       *y = case_numbered(c, "y", k);
    const char *name =
        json_string_value(json_array_get(json_object_get(c->spec, "variables"), (size_t)k));
    if (!x || !g || !y || !name || x->dtype != QUERN_FLOAT32 || g->shape.rank != x->shape.rank + 1)
        return NULL;
    quern__variable *v = quern__variable_new(name, QUERN_FLOAT32, &x->shape, true, err);
    if (v)
        memcpy(v->data, x->data, (size_t)quern_shape_count(&x->shape) * sizeof(float));
    return v;
}

void run_optimizer(test_case *c)
{
    quern_error err = { 0 };
    quern__variable *variables[4] = { 0 };
    int n = 0;
    json_t *config = NULL;
    while (n < 4 && case_numbered(c, "x", n) && (variables[n] = own_variable(c, n, &err)))
        n++;
    const quern__class *row = quern__object(QUERN__OPTIMIZER, c->spec, &config, &err);
    const quern_tensor *g = case_member(c, "g0");
    json_t *excluded = json_object_get(c->spec, "exclude_from_weight_decay");
    if (config && excluded)
        json_object_set(config, "exclude_from_weight_decay", excluded);
    quern__optimizer *o =
        row ? quern__optimizer_new(row, config, variables, NULL, n, "", &err) : NULL;
    if (!o || !g)
        case_error(c, &err);
    for (int k = 0; o && g && k < g->shape.dims[0] && c->result == PASSED; k++)
        optimizer_step(c, o, variables, n, k);
    if (o && c->result == PASSED)
        compare_state(c, o);
    if (o && c->result == PASSED && case_member(c, "r0"))
        compare_finalized(c, o, variables, n);
    quern__optimizer_free(o);
    for (int i = 0; i < n; i++)
        quern__variable_free(variables[i]);
}

/* ---- initializers ---- */

static void compare_statistics(test_case *c, const quern__variable *v)
{
    json_t *expected = json_object_get(c->spec, "expected");
    int64_t n = quern_shape_count(&v->shape);
    const float *x = v->data;
    double mean = 0, squares = 0, low = quern__config_number(expected, "low"),
           high = quern__config_number(expected, "high");
    for (int64_t i = 0; i < n; i++)
        mean += (double)x[i] / (double)n;
    for (int64_t i = 0; i < n; i++)
        squares += (x[i] - mean) * (x[i] - mean) / (double)n;
    /* four standard errors of a mean and of a standard deviation */
    double std = quern__config_number(expected, "std"),
           want = quern__config_number(expected, "mean");
    double slack = 4 * std / sqrt((double)n);
    c->max_error = fmax(fabs(mean - want), fabs(sqrt(squares) - std));
    if (!(fabs(mean - want) <= slack))
        case_fail(c, "the mean is %.6g, expected %.6g", mean, want);
    if (!(fabs(sqrt(squares) - std) <= slack))
        case_fail(c, "the standard deviation is %.6g, expected %.6g", sqrt(squares), std);
    for (int64_t i = 0; i < n; i++)
        if ((!isnan(low) && x[i] < low - 1e-6 * fabs(low)) ||
            (!isnan(high) && x[i] > high + 1e-6 * fabs(high)))
            case_fail(c, "%.9g is outside %.9g … %.9g", (double)x[i], low, high);
}

/* Rows, or columns where they are fewer, are orthogonal to each other and as long as the gain. */
static void compare_orthogonal(test_case *c, const quern__variable *v)
{
    json_t *given = json_object_get(c->config, "gain");
    double gain = json_is_number(given) ? json_number_value(given) : 1;
    int64_t columns = v->shape.dims[v->shape.rank - 1],
            rows = quern_shape_count(&v->shape) / columns;
    int64_t n = rows < columns ? rows : columns, length = rows < columns ? columns : rows;
    const float *x = v->data;
    for (int64_t a = 0; a < n; a++)
        for (int64_t b = 0; b <= a; b++) {
            double dot = 0, want = a == b ? gain * gain : 0;
            for (int64_t k = 0; k < length; k++)
                dot += rows < columns ? (double)x[a * columns + k] * x[b * columns + k]
                                      : (double)x[k * columns + a] * x[k * columns + b];
            c->max_error = fmax(c->max_error, fabs(dot - want));
            if (fabs(dot - want) > 1e-5 * fmax(1, gain * gain))
                case_fail(c, "vectors %lld and %lld have the product %.9g, expected %.9g",
                          (long long)a, (long long)b, dot, want);
        }
}

void run_initializer(test_case *c)
{
    quern_error err = { 0 };
    quern_shape shape = { 0 };
    const char *kind = quern__config_text(c->spec, "kind");
    json_t *dims = json_object_get(c->spec, "shape"), *d;
    size_t k;
    json_array_foreach(dims, k, d) shape.dims[shape.rank < QUERN_MAX_RANK ? shape.rank++ : 0] =
        json_integer_value(d);
    if (case_member(c, "y0"))
        shape = case_member(c, "y0")->shape;
    quern__variable *v = quern__variable_new("weight", QUERN_FLOAT32, &shape, true, &err);
    if (!v || quern__initialize(c->spec, v, 7, &err) < 0)
        case_error(c, &err);
    else if (kind && !strcmp(kind, "exact"))
        compare_variable(c, "y0", v, case_member(c, "y0"));
    else if (kind && !strcmp(kind, "orthogonal"))
        compare_orthogonal(c, v);
    else
        compare_statistics(c, v);
    quern__variable_free(v);
}
