/* model_weights: access to layers by name: their weights and their `trainable` flag.
 * "encoder/dense" is a layer of the nested model "encoder".
 *
 * Weights are numbered in the order of the model's nodes, which is Keras's order (layer_order.c).
 * Shared layers count once. Addresses of weights are those of C order, so a weight in the blocked
 * layout is converted first (quern__variable_numbers). */
#include "model_struct.h"

#include <stdio.h>
#include <string.h>

quern__variable *quern__model_variable(const quern_model *m, int i)
{
    for (int k = 0; k < m->b->n; k++) {
        const quern__layer *l = m->b->nodes[k].layer;
        if (m->b->nodes[k].again)
            continue;
        if (i < l->n_weights)
            return l->weights[i];
        i -= l->n_weights;
    }
    return NULL;
}

int quern_model_weights(const quern_model *m)
{
    if (!m)
        return 0;
    int n = 0;
    for (int k = 0; k < m->b->n; k++)
        n += m->b->nodes[k].again ? 0 : m->b->nodes[k].layer->n_weights;
    return n;
}

/* A weight as an array; borrowed. */
static quern_tensor view_of(quern__variable *v)
{
    return (
        quern_tensor){ .dtype = v->dtype, .shape = v->shape, .data = quern__variable_numbers(v) };
}

quern_tensor quern_model_weight(const quern_model *m, int i, const char **path)
{
    quern__variable *v = m && i >= 0 ? quern__model_variable(m, i) : NULL;
    if (path)
        *path = v ? v->path : NULL;
    return v ? view_of(v) : (quern_tensor){ 0 };
}

/* ---- layers ---- */

int quern_model_layers(const quern_model *m)
{
    if (!m)
        return 0;
    int n = 0;
    for (int k = 0; k < m->b->n; k++)
        n += !m->b->nodes[k].again;
    return n;
}

const char *quern_model_layer(const quern_model *m, int i)
{
    if (!m || i < 0)
        return NULL;
    for (int k = 0; k < m->b->n; k++)
        if (!m->b->nodes[k].again && i-- == 0)
            return m->b->nodes[k].layer->name;
    return NULL;
}

/* Searches the layer of the name's first part, and in it the layer of the rest. */
static quern__layer *find(const quern_model *m, const char *name)
{
    for (int k = 0; k < m->b->n; k++) {
        quern__layer *l = m->b->nodes[k].layer;
        size_t n = strlen(l->name);
        if (!strcmp(l->name, name))
            return l;
        if (l->kind->model && !strncmp(l->name, name, n) && name[n] == '/')
            return find(l->object, name + n + 1);
    }
    return NULL;
}

/* The layer of that name, or NULL with an error that suggests the nearest name. Returns borrowed.
 */
static quern__layer *find_or_fail(const quern_model *m, const char *name, quern_error *err)
{
    quern__layer *l = find(m, name);
    const char *names[256];
    int n = 0;
    if (l)
        return l;
    for (int k = 0; k < m->b->n && n < 256; k++)
        names[n++] = m->b->nodes[k].layer->name;
    quern__fail(err, QUERN_NOTFOUND, m->name, "no layer is called '%.100s'", name);
    const char *near = quern__nearest(name, names, (size_t)n, sizeof *names);
    if (near)
        quern__hint(err, "did you mean '%s'?", near);
    return NULL;
}

int quern_model_get_weights(const quern_model *m, const char *layer, quern_tensor *out, int room,
                            quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m);
    const quern__layer *l = layer ? find_or_fail(m, layer, err) : NULL;
    if (layer && !l)
        return QUERN_NOTFOUND;
    int n = l ? l->n_weights : quern_model_weights(m);
    for (int i = 0; out && i < n && i < room; i++)
        out[i] = view_of(l ? l->weights[i] : quern__model_variable(m, i));
    return n;
}

/* Checks that an array has data, a numeric dtype, and the shape of the weight. */
static int check_weight(const quern__variable *v, const quern_tensor *from, quern_error *err)
{
    char want[96], got[96];
    if (quern__missing(err, v->path, from->data, NULL))
        return QUERN_INVALID;
    if (quern_shape_equal(&v->shape, &from->shape) && from->dtype != QUERN_STRING &&
        quern_dtype_size(from->dtype))
        return QUERN_OK;
    if (from->dtype == QUERN_STRING || !quern_dtype_size(from->dtype))
        return quern__fail(err, QUERN_DTYPE, v->path, "dtype %d is not numeric", from->dtype);
    return quern__fail(err, QUERN_SHAPE, v->path, "shape %s, expected %s",
                       quern_shape_text(&from->shape, got, sizeof got),
                       quern_shape_text(&v->shape, want, sizeof want));
}

/* Copies numbers of any dtype to a weight. */
static void set_weight(quern__variable *v, const quern_tensor *from)
{
    quern_tensor to = view_of(v);
    for (int64_t k = 0; k < quern_shape_count(&v->shape); k++)
        quern__set(&to, k, quern__get(from, k));
}

int quern_model_set_weights(quern_model *m, const char *layer, const quern_tensor *weights, int n,
                            quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m);
    quern__layer *l = layer ? find_or_fail(m, layer, err) : NULL;
    if (layer && !l)
        return QUERN_NOTFOUND;
    int have = l ? l->n_weights : quern_model_weights(m), status = QUERN_OK;
    if (n != have)
        return quern__fail(err, QUERN_INVALID, layer ? layer : m->name, "%d weights, expected %d",
                           n, have);
    if (n > 0 && quern__missing(err, "weights", weights, NULL))
        return QUERN_INVALID;
    for (int i = 0; i < n && status >= 0; i++)
        status = check_weight(l ? l->weights[i] : quern__model_variable(m, i), &weights[i], err);
    for (int i = 0; i < n && status >= 0; i++)
        set_weight(l ? l->weights[i] : quern__model_variable(m, i), &weights[i]);
    return status;
}

int quern_model_trainable(const quern_model *m, const char *layer, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m, "layer", layer);
    const quern__layer *l = find_or_fail(m, layer, err);
    return l ? l->trainable : QUERN_NOTFOUND;
}

int quern_model_set_trainable(quern_model *m, const char *layer, int on, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m);
    if (quern__model_waits(m, "freezing", err) < 0)
        return QUERN_INVALID;
    quern__layer *l = layer ? find_or_fail(m, layer, err) : NULL;
    if (layer && !l)
        return QUERN_NOTFOUND;
    if (l)
        quern__layer_set_trainable(l, on != 0);
    for (int k = 0; !layer && k < m->b->n; k++)
        quern__layer_set_trainable(m->b->nodes[k].layer, on != 0);
    return m->compile ? quern__compile(m, json_deep_copy(m->compile), err) : QUERN_OK;
}

/* Visits the layers of a model below the path `before`; nested models come before their layers. */
static int walk(const quern_model *m, const char *before, quern__layer_visitor *fn, void *user,
                quern_error *err)
{
    int status = QUERN_OK;
    for (int k = 0; status >= 0 && k < m->b->n; k++) {
        quern__layer *l = m->b->nodes[k].layer;
        char group[160], path[320];
        bool operation =
            l->kind->group == QUERN__OPERATION; /* files do not have an operation as a layer */
        if (m->b->nodes[k].again || operation || (m->sequential && m->b->nodes[k].n_in == 0))
            continue;
        quern__layer_group(m, k, group, sizeof group);
        if ((size_t)snprintf(path, sizeof path, "%s%s", before, group) >= sizeof path)
            return quern__fail(err, QUERN_UNSUPPORTED, l->name, "its path in the file is too long");
        status = fn(user, l, path, err);
        snprintf(path, sizeof path, "%s%s/", before, group);
        if (status >= 0 && l->kind->model)
            status = walk(l->object, path, fn, user, err);
    }
    return status;
}

int quern__model_walk(const quern_model *m, quern__layer_visitor *fn, void *user, quern_error *err)
{
    return walk(m, "", fn, user, err);
}
