/* Layers: outputs and their masks, gradients of inputs and weights, state, and the losses that they
 * add. */
#include "conformance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct layer_case {
    test_case *c;
    evaluation e;
    quern__layer *layer;
    int n_in, n_wrt, n_ids;
    quern__id in[MOST_OUTPUTS], masks[MOST_OUTPUTS];
    int arguments[MOST_OUTPUTS]; /* by input: its index in the row's `takes` */
    quern__context pass;
    quern__id wrt[MOST_OUTPUTS], grads[MOST_OUTPUTS];
    char names[MOST_OUTPUTS][16];    /* of the members with expected gradients: dx0, dw1 */
    quern__id ids[3 * MOST_OUTPUTS]; /* the computed values, and their members */
    char wanted[3 * MOST_OUTPUTS][16];
    int64_t calls,
        call; /* of a stateful layer, in order: each has its part of the inputs and outputs */
    double *sums[MOST_OUTPUTS]; /* of gradients of weights over the calls, by computed value */
} layer_case;

/* The index of an argument among those that the row takes; -1: none. The first has several
 * names. */
static int argument_of(const quern__class *row, const char *name)
{
    size_t n = strcspn(name, "[");
    for (int i = 0; row->call_args && row->call_args[i].name; i++)
        if (strlen(row->call_args[i].name) == n && !strncmp(row->call_args[i].name, name, n))
            return i;
    return (n == 6 && !strncmp(name, "inputs", n)) || (n == 9 && !strncmp(name, "sequences", n))
               ? 0
               : -1;
}

/* A mask without a name belongs to the first input. */
static int take_mask(layer_case *l, const quern_tensor *t)
{
    quern__id id = evaluation_leaf(&l->e, t);
    l->masks[0] = quern__cast(l->e.graph, id, QUERN_FLOAT32);
    return 0;
}

/* Inputs as leaves; records those with an expected gradient. */
static int take_inputs(layer_case *l, const quern__class *row)
{
    json_t *inputs = json_object_get(l->c->spec, "inputs"), *input;
    size_t k;
    json_array_foreach(inputs, k, input)
    {
        if ((int64_t)k * l->calls / (int64_t)json_array_size(inputs) != l->call)
            continue;
        const char *name = quern__config_text(input, "member"),
                   *arg = quern__config_text(input, "arg");
        const quern_tensor *t = name ? case_member(l->c, name) : NULL;
        if (!t || l->n_in == MOST_OUTPUTS)
            return case_fail(l->c, "input %zu is missing", k), -1;
        int argument = argument_of(row, arg);
        if (!strcmp(arg, "mask")) {
            take_mask(l, t);
            continue;
        }
        if (argument < 0)
            return case_skip(l->c, "%s: argument %s", l->c->class_name, arg), -1;
        l->arguments[l->n_in] = argument;
        quern__id id = l->in[l->n_in++] = evaluation_leaf(&l->e, t);
        snprintf(l->names[l->n_wrt], sizeof *l->names, "d%s", name);
        if (case_member(l->c, l->names[l->n_wrt]))
            l->wrt[l->n_wrt++] = id;
    }
    return 0;
}

/* The layer with the weights of the case. */
static int take_layer(layer_case *l, const quern__class *row, json_t *config, quern_error *err)
{
    quern_shape shapes[MOST_OUTPUTS];
    if (!l->layer && (l->layer = quern__layer_new(row, config, err)) && l->calls > 1)
        l->layer->records = l->e.records;
    for (int i = 0; i < l->n_in; i++)
        shapes[i] = *quern__shape_of(l->e.graph, l->in[i]);
    if (l->layer)
        l->layer->arguments = l->arguments;
    if (!l->layer || quern__layer_build(l->layer, shapes, l->n_in, 1, err) < 0)
        return err->code;
    int n = (int)json_array_size(json_object_get(l->c->spec, "weights"));
    if (n != l->layer->n_weights)
        return case_fail(l->c, "%d weights, expected %d", l->layer->n_weights, n), 0;
    for (int i = 0; i < n; i++) {
        const quern_tensor *w = case_numbered(l->c, "w", i);
        quern__variable *v = l->layer->weights[i];
        if (!w || !quern_shape_equal(&w->shape, &v->shape))
            return case_fail(l->c, "weight %d has another shape", i), 0;
        quern_tensor to = { .dtype = v->dtype, .shape = v->shape, .data = v->data };
        for (int64_t k = 0; k < quern_shape_count(&v->shape); k++)
            quern__set(&to, k, quern__get(w, k));
        snprintf(l->names[l->n_wrt], sizeof *l->names, "dw%d", i);
        if (case_member(l->c, l->names[l->n_wrt]))
            l->wrt[l->n_wrt++] = quern__graph_variable(l->e.graph, v);
    }
    return 0;
}

/* Adds a value to compare with the member "letter" k. If the member exists and the value does not,
 * the case fails. */
static void want(layer_case *l, const char *letter, int k, quern__id id)
{
    if (!case_numbered(l->c, letter, k))
        return;
    if (!id)
        case_fail(l->c, "%s%d is missing", letter, k);
    l->ids[l->n_ids] = id;
    snprintf(l->wanted[l->n_ids++], sizeof *l->wanted, "%s%d", letter, k);
}

/* The call: every output, its mask, and the sum from which all gradients are computed. */
static quern__id call_layer(layer_case *l)
{
    quern__graph *g = l->e.graph;
    l->pass = (quern__context){ .training = json_is_true(json_object_get(l->c->spec, "training")),
                                .masks = l->masks,
                                .arguments = l->arguments,
                                .options = json_object_get(l->c->spec, "call") };
    quern__id y = quern__layer_call(l->layer, g, l->in, l->n_in, &l->pass), total = 0;
    for (int k = 0; y && (k < l->pass.n_out || (l->calls == 1 && case_numbered(l->c, "y", k)));
         k++) {
        quern__id own = k < l->pass.n_out ? l->pass.out[k] : 0;
        int number = (int)l->call * l->pass.n_out + k;
        const quern_tensor *seed = case_numbered(l->c, "g", number);
        want(l, "y", number, own);
        want(l, "m", number, own ? l->pass.mask_out[k] : 0);
        quern__id part = own && seed && l->n_wrt ? evaluation_seeded(&l->e, own, seed) : 0;
        total = total && part ? quern__add2(g, total, part) : part ? part : total;
    }
    want(l, "r", 0, l->layer->penalty);
    return total && l->layer->penalty ? quern__add2(g, total, l->layer->penalty) : total;
}

/* The gradient of a weight is the sum over all calls. */
static void compare_sum(layer_case *l, int i, const quern_tensor *got)
{
    int64_t n = quern_shape_count(&got->shape);
    double *sum = l->sums[i] ? l->sums[i] : calloc((size_t)n, sizeof *sum);
    quern_tensor all = { .dtype = QUERN_FLOAT64, .shape = got->shape, .data = sum };
    l->sums[i] = sum;
    for (int64_t k = 0; k < n; k++)
        sum[k] += quern__get(got, k);
    if (l->call + 1 == l->calls)
        case_compare(l->c, l->wanted[i], &all, case_member(l->c, l->wanted[i]));
}

static void compare_layer(layer_case *l, quern_error *err)
{
    quern_tensor got[3 * MOST_OUTPUTS];
    if (l->c->result != PASSED)
        return;
    if (evaluation_run(&l->e, l->ids, l->n_ids, got, err) < 0) {
        case_error(l->c, err);
        return;
    }
    for (int i = 0; i < l->n_ids; i++) {
        if (l->calls > 1 && !strncmp(l->wanted[i], "dw", 2))
            compare_sum(l, i, &got[i]);
        else
            case_compare(l->c, l->wanted[i], &got[i], case_member(l->c, l->wanted[i]));
    }
    for (int i = 0; i < l->layer->n_weights; i++) {
        const quern_tensor *state = case_numbered(l->c, "s", i);
        const quern__variable *v = l->layer->weights[i];
        quern_tensor now = { .dtype = v->dtype, .shape = v->shape, .data = v->data };
        if (state && l->call + 1 == l->calls)
            case_compare(l->c, v->path, &now, state);
    }
}

/* Gradients of all values that have one. */
static int take_gradients(layer_case *l, quern__id total, quern_error *err)
{
    if (!total)
        return QUERN_OK;
    int status = quern__gradients(l->e.graph, total, 0, l->wrt, l->n_wrt, l->grads, err);
    for (int i = 0; status >= 0 && i < l->n_wrt; i++) {
        if (!l->grads[i])
            case_fail(l->c, "%s: no gradient flows", l->names[i]);
        l->ids[l->n_ids] = l->grads[i];
        memcpy(l->wanted[l->n_ids++], l->names[i], sizeof *l->names);
    }
    return status;
}

/* One call; the first takes the config. */
static void run_call(layer_case *l, const quern__class *row, json_t *config)
{
    quern_error err = { 0 };
    if (evaluation_begin(&l->e, case_records(l->c), &err) < 0) {
        json_decref(config);
        case_error(l->c, &err);
        return;
    }
    l->n_in = l->n_wrt = l->n_ids = 0;
    if (take_inputs(l, row) < 0)
        json_decref(config);
    else if (take_layer(l, row, config, &err) < 0)
        case_error(l->c, &err);
    else if (l->c->result == PASSED) {
        quern__id total = call_layer(l);
        if (l->c->result == PASSED && take_gradients(l, total, &err) < 0)
            case_error(l->c, &err);
        compare_layer(l, &err);
    }
    evaluation_end(&l->e);
}

void run_layer(test_case *c)
{
    layer_case l = { .c = c, .calls = json_integer_value(json_object_get(c->spec, "calls")) };
    quern_error err = { 0 };
    json_t *config = NULL;
    const quern__class *row = quern__object(QUERN__LAYER, c->spec, &config, &err);
    if (!row) {
        case_error(c, &err);
        return;
    }
    l.calls = l.calls > 1 ? l.calls : 1;
    for (; l.call < l.calls && c->result == PASSED; l.call++)
        run_call(&l, row, l.call ? NULL : config);
    for (int i = 0; i < MOST_OUTPUTS; i++)
        free(l.sums[i]);
    quern__layer_free(l.layer);
}
