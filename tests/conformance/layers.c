/* Layers: outputs, gradients of inputs and weights, state, and the losses they add. */
#include "conformance.h"

#include <stdio.h>
#include <string.h>

typedef struct layer_case {
    test_case *c;
    evaluation e;
    quern__layer *layer;
    int n_in, n_wrt;
    quern__id in[MOST_OUTPUTS];
    quern__id wrt[MOST_OUTPUTS], slopes[MOST_OUTPUTS];
    char names[MOST_OUTPUTS][16]; /* of the members that hold the gradients wanted: dx0, dw1 */
} layer_case;

/* Inputs as leaves; those whose gradient is wanted are noted. */
static int take_inputs(layer_case *l)
{
    json_t *inputs = json_object_get(l->c->spec, "inputs"), *input;
    size_t k;
    json_array_foreach(inputs, k, input)
    {
        const char *name = quern__config_text(input, "member"), *arg = quern__config_text(input, "arg");
        const quern_tensor *t = name ? case_member(l->c, name) : NULL;
        if (!t || l->n_in == MOST_OUTPUTS)
            return case_fail(l->c, "input %zu is missing", k), -1;
        if (strncmp(arg, "inputs", 6) && strncmp(arg, "sequences", 9))
            return case_skip(l->c, "%s: argument %s", l->c->class_name, arg), -1;
        quern__id id = l->in[l->n_in++] = evaluation_leaf(&l->e, t);
        snprintf(l->names[l->n_wrt], sizeof *l->names, "d%s", name);
        if (case_member(l->c, l->names[l->n_wrt]))
            l->wrt[l->n_wrt++] = id;
    }
    return 0;
}

/* The layer with the weights of the case. */
static int take_layer(layer_case *l, quern_error *err)
{
    json_t *config = NULL;
    const quern__class *row = quern__object(QUERN__LAYER, l->c->spec, &config, err);
    quern_shape shapes[MOST_OUTPUTS];
    l->layer = row ? quern__layer_new(row, config, err) : NULL;
    for (int i = 0; i < l->n_in; i++)
        shapes[i] = *quern__shape_of(l->e.graph, l->in[i]);
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

static void compare_layer(layer_case *l, quern__id y, quern__id loss, bool gradients, quern_error *err)
{
    quern__id ids[2 + MOST_OUTPUTS] = { y, loss };
    quern_tensor got[2 + MOST_OUTPUTS];
    const quern_tensor *want = case_member(l->c, "y0");
    for (int i = 0; gradients && i < l->n_wrt; i++)
        ids[2 + i] = l->slopes[i];
    if (evaluation_run(&l->e, ids, 2 + l->n_wrt, got, err) < 0) {
        case_error(l->c, err);
        return;
    }
    if (want)
        case_compare(l->c, "y0", &got[0], want);
    for (int i = 0; gradients && i < l->n_wrt; i++)
        if (ids[2 + i])
            case_compare(l->c, l->names[i], &got[2 + i], case_member(l->c, l->names[i]));
        else
            case_fail(l->c, "%s: no gradient flows", l->names[i]);
    if (case_member(l->c, "r0") && loss)
        case_compare(l->c, "r0", &got[1], case_member(l->c, "r0"));
    for (int i = 0; i < l->layer->n_weights; i++) {
        const quern_tensor *state = case_numbered(l->c, "s", i);
        const quern__variable *v = l->layer->weights[i];
        quern_tensor now = { .dtype = v->dtype, .shape = v->shape, .data = v->data };
        if (state)
            case_compare(l->c, v->path, &now, state);
    }
}

void run_layer(test_case *c)
{
    layer_case l = { .c = c };
    quern_error err = { 0 };
    if (!quern__class_find(QUERN__LAYER, c->class_name, &err)) {
        case_error(c, &err);
        return;
    }
    if (json_integer_value(json_object_get(c->spec, "calls")) > 1 || json_object_size(json_object_get(c->spec, "call")))
        case_skip(c, "%s: several calls, or arguments of the call", c->class_name);
    else if (evaluation_begin(&l.e, case_records(c), &err) < 0)
        case_error(c, &err);
    if (c->result != PASSED)
        return;
    if (take_inputs(&l) == 0 && take_layer(&l, &err) < 0)
        case_error(c, &err);
    if (c->result == PASSED) {
        bool training = json_is_true(json_object_get(c->spec, "training"));
        quern__id y = quern__layer_call(l.layer, l.e.graph, l.in, l.n_in, &(quern__context){ .training = training }), loss = l.layer->penalty;
        const quern_tensor *g = case_member(c, "g0");
        bool gradients = y && g && l.n_wrt > 0;
        if (case_member(c, "y1"))
            case_skip(c, "%s: several outputs", c->class_name);
        quern__id total = gradients ? evaluation_seeded(&l.e, y, g) : 0;
        if (total && loss)
            total = quern__add2(l.e.graph, total, loss);
        if (total && quern__gradients(l.e.graph, total, 0, l.wrt, l.n_wrt, l.slopes, &err) < 0)
            case_error(c, &err);
        else
            compare_layer(&l, y, loss, gradients, &err);
    }
    quern__layer_free(l.layer);
    evaluation_end(&l.e);
}
