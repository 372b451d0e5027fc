/* What every layer does: it is made from a config, gets its weights when its input shapes are known, and adds nodes when called. */
#include "layers.h"

#include <stdio.h>
#include <string.h>

quern__layer *quern__layer_new(const quern__class *kind, json_t *config, quern_error *err)
{
    const char *name = quern__config_text(config, "name");
    quern__layer *l = quern__zalloc(1, sizeof *l);
    if (!l || !(l->name = quern__strdup(name ? name : ""))) {
        quern__free(l);
        json_decref(config);
        quern__fail_memory(err, sizeof *l);
        return NULL;
    }
    l->kind = kind;
    l->config = config;
    l->trainable = quern__config_bool(config, "trainable");
    return l;
}

void quern__layer_free(quern__layer *l)
{
    if (!l)
        return;
    for (int i = 0; i < l->n_weights; i++)
        quern__variable_free(l->weights[i]);
    for (int i = 0; i < l->n_constants; i++)
        quern__variable_free(l->constants[i]);
    quern__free(l->scratch);
    json_decref(l->config);
    quern__free(l->name);
    quern__free(l);
}

quern__variable *quern__layer_weight(quern__layer *l, const char *name, const quern_shape *shape, const char *initializer,
                                     quern_error *err)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", l->name, name);
    size_t bytes;
    if (l->room && (!quern__shape_bytes(shape, QUERN_FLOAT32, &bytes) || bytes > *l->room)) {
        quern__fail(err, QUERN_FORMAT, path, "this weight is larger than all there may be");
        return NULL;
    }
    if (l->room)
        *l->room -= bytes;
    quern__variable *v = quern__variable_new(path, QUERN_FLOAT32, shape, l->trainable, err);
    json_t *spec = json_object_get(l->config, initializer);
    if (v && spec && quern__initialize(spec, v, l->seed + (uint64_t)l->n_weights, err) < 0) {
        quern__variable_free(v);
        return NULL;
    }
    if (v)
        snprintf(l->roles[l->n_weights], sizeof *l->roles, "%.*s", (int)strcspn(initializer, "_"), initializer);
    return v ? l->weights[l->n_weights++] = v : NULL;
}

/* Numbers of a nested list, and its shape along the first of each. */
static int64_t flatten(json_t *v, float *out, quern_shape *shape, int depth)
{
    int64_t n = 0;
    json_t *item;
    size_t k;
    if (!json_is_array(v)) {
        if (out)
            *out = (float)json_number_value(v);
        return json_is_number(v) ? 1 : -1;
    }
    if (depth >= QUERN_MAX_RANK)
        return -1;
    shape->rank = depth + 1 > shape->rank ? depth + 1 : shape->rank;
    shape->dims[depth] = (int64_t)json_array_size(v);
    json_array_foreach(v, k, item)
    {
        int64_t more = flatten(item, out ? out + n : NULL, shape, depth + 1);
        if (more < 0)
            return -1;
        n += more;
    }
    return n;
}

quern__variable *quern__layer_constant(quern__layer *l, json_t *numbers, quern_error *err)
{
    quern_shape shape = { 0 };
    int64_t n = flatten(numbers, NULL, &shape, 0);
    if (n < 1 || n != quern_shape_count(&shape) || l->n_constants == (int)(sizeof l->constants / sizeof *l->constants)) {
        quern__fail(err, QUERN_INVALID, l->name, "expected a number or a list of numbers");
        return NULL;
    }
    quern__variable *v = quern__variable_new(l->name, QUERN_FLOAT32, &shape, false, err);
    if (v)
        flatten(numbers, v->data, &shape, 0);
    return v ? l->constants[l->n_constants++] = v : NULL;
}

int quern__layer_build(quern__layer *l, const quern_shape *in, int n_in, uint64_t seed, quern_error *err)
{
    if (l->built)
        return QUERN_OK;
    l->seed = quern__hash64(seed);
    l->built = true;
    l->n_in = n_in < QUERN_MAX_RANK ? n_in : QUERN_MAX_RANK;
    for (int i = 0; i < l->n_in; i++)
        l->in[i] = in[i];
    return l->kind->build ? l->kind->build(l, in, n_in, err) : QUERN_OK;
}

/* The key of a weight's regularizer or constraint: what stands before "_initializer" in the key it was filled by. */
json_t *quern__layer_option(const quern__layer *l, int weight, const char *suffix)
{
    char key[96];
    snprintf(key, sizeof key, "%s_%s", l->roles[weight], suffix);
    return json_object_get(l->config, key);
}

/* `by_record`: the penalty of an output counts by the record (Keras divides by the batch). */
static void add_penalty(quern__layer *l, quern__graph *g, json_t *spec, quern__id x, bool by_record)
{
    quern__id p = quern__penalty(g, spec, x);
    const quern_shape open = { .rank = 1, .dims = { by_record ? quern__shape_of(g, x)->dims[0] : 1 } };
    if (p && by_record) {
        quern__id ones = quern__broadcast(g, quern__graph_constant(g, 1, QUERN_FLOAT32), &open);
        p = quern__div2(g, p, quern__reduce(g, QUERN__SUM, ones, ~0u, false));
    }
    if (p)
        l->penalty = l->penalty ? quern__add2(g, l->penalty, p) : p;
}

void quern__layer_penalise(quern__layer *l, quern__graph *g, json_t *spec, quern__id x)
{
    add_penalty(l, g, spec, x, quern__shape_of(g, x)->rank > 0);
}

quern__id quern__layer_call(quern__layer *l, quern__graph *g, const quern__id *in, int n_in, bool training)
{
    quern__graph_scope(g, l->name);
    quern__id y = l->kind->call(l, g, in, n_in, training);
    for (int i = 0; y && i < l->n_weights; i++)
        add_penalty(l, g, quern__layer_option(l, i, "regularizer"), quern__graph_variable(g, l->weights[i]), false);
    if (y)
        add_penalty(l, g, json_object_get(l->config, "activity_regularizer"), y, quern__shape_of(g, y)->rank > 0);
    return y;
}
