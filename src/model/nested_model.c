/* nested_model: models as layers: what the rows of Sequential and Functional do
 * (keras/layers/core/sequential_functional.c). Their object is a model without compile settings.
 * The inner model keeps its blueprint; its weights are, in Keras's order, in the list of the outer
 * layer.
 *
 * The outer layer owns the inner model (l->object) and adopts its layers. Their weights get the
 * name of the outer layer as a prefix of their path. A call of the outer layer adds the nodes of
 * all inner calls to the same graph, so a nested model costs nothing at run time. */
#include "model_struct.h"

#include <string.h>

/* ---- the layer ---- */

/* Checks the shape of a call's input against input i of the model, where any size fits an open
 * axis. */
static int check_shape(const char *name, const quern_model *m, int i, const quern_shape *in,
                       quern_error *err)
{
    char want[96], got[96];
    quern_shape own = quern__symbolic_shape(m->b, m->in[i]), given = *in;
    own.dims[0] = given.dims[0] = -1;
    return quern__fits_symbolic(&own, &given)
               ? QUERN_OK
               : quern__fail(err, QUERN_SHAPE, name, "input %d has shape %s, expected %s", i,
                             quern_shape_text(&given, got, sizeof got),
                             quern_shape_text(&own, want, sizeof want));
}

/* Checks that a call has the shapes of the model's inputs. */
static int check_shapes(const quern__layer *l, const quern_model *m, const quern_shape *in,
                        int n_in, quern_error *err)
{
    int values = 0, status = QUERN_OK; /* the other inputs are masks */
    for (int i = 0; i < n_in; i++)
        values += !l->arguments || l->arguments[i] == 0;
    if (values != m->n_in)
        return quern__fail(err, QUERN_SHAPE, l->name, "%d inputs, expected %d", values, m->n_in);
    for (int i = 0; i < values && status >= 0; i++)
        status = check_shape(l->name, m, i, &in[i], err);
    return status;
}

/* Moves the ownership of the model's layers to the outer layer. */
static int adopt(quern__layer *l, quern_model *m, quern_error *err)
{
    char part[160];
    int status = QUERN_OK;
    for (int k = 0; k < m->b->n && status >= 0; k++) {
        if (m->b->nodes[k].again)
            continue;
        quern__layer_group(m, k, part, sizeof part);
        status = quern__layer_adopt(l, m->b->nodes[k].layer, part, err);
    }
    return status;
}

/* The path of a weight begins with the names of all layers that enclose it. */
static int rename_weights(quern__layer *l, quern_error *err)
{
    for (int i = 0; i < l->n_weights; i++) {
        quern__text path = { 0 };
        quern__text_add(&path, "%s/%s", l->name, l->weights[i]->path);
        if (path.failed)
            return quern__fail_memory(err, path.capacity);
        quern__free(l->weights[i]->path);
        l->weights[i]->path = path.data;
    }
    return QUERN_OK;
}

/* Creates the inner model from the config, unless quern_apply_model provided it, and adopts its
 * layers. */
static int nested_build(quern__layer *l, const quern_shape *in, int n_in, quern_error *err)
{
    size_t unbounded = (size_t)1 << 40;
    if (l->depth >= QUERN__MAX_DEPTH)
        return quern__fail(err, QUERN_UNSUPPORTED, l->name, "models are nested more than %d deep",
                           QUERN__MAX_DEPTH);
    quern__network_env env = { .room = l->room ? *l->room : unbounded,
                               .seed = l->seed,
                               .depth = l->depth + 1,
                               .unfilled = l->unfilled,
                               .shape = n_in == 1 || (l->arguments && l->arguments[1] != 0)
                                            ? in
                                            : NULL };
    quern_model *m = l->object;
    if (!m)
        l->object = m =
            quern__network_read(l->config, !strcmp(l->kind->name, "Sequential"), &env, err);
    if (!m)
        return err && err->code ? err->code : QUERN_NOMEM;
    if (l->room)
        *l->room = m->b->room;
    int status = check_shapes(l, m, in, n_in, err);
    if (status >= 0)
        status = adopt(l, m, err);
    if (status < 0)
        return status;
    return rename_weights(l, err);
}

/* Calls the inner model: its inputs get the values and masks of the call, and its nodes join the
 * graph. */
static quern__id nested_call(quern__layer *l, quern__graph *g, const quern__id *in, int n_in,
                             bool training)
{
    quern_model *m = l->object;
    size_t n = (size_t)m->b->n_values;
    quern__id *ids = quern__zalloc(2 * n + 1, sizeof *ids), *masks = ids ? ids + n : NULL, given,
              first;
    bool *timed = quern__zalloc(n + 1, sizeof *timed);
    (void)training;
    if (!ids || !timed)
        quern__graph_fail(g, QUERN_NOMEM, "out of memory");
    if (ids && timed)
        for (int i = 0, k = 0; i < n_in; i++) {
            if (l->context->arguments && l->context->arguments[i] != 0)
                continue; /* a mask */
            quern_error err = { 0 };
            if (in[i] && !l->context->stepping &&
                check_shape(l->name, m, k, quern__shape_of(g, in[i]), &err) < 0)
                quern__graph_fail(g, err.code, "%s", err.text);
            given = quern__layer_argument(l, in, n_in, "mask", k);
            ids[m->in[k]] = quern__cast(g, in[i], quern__tensor_dtype(m->b, m->in[k]));
            masks[m->in[k]] =
                given ? quern__cast(g, given, QUERN_FLOAT32) : quern__layer_mask(l, i);
            timed[m->in[k++]] = l->context->stepping != NULL;
        }
    if (!quern__graph_status(g))
        quern__model_nodes(m, l, g, l->context, ids, masks, timed);
    first = quern__graph_status(g) ? 0 : ids[m->out[0]];
    if (first) {
        l->context->mask_out[0] = masks[m->out[0]];
        l->context->ended = l->context->stepping && !timed[m->out[0]];
    }
    if (first)
        for (int i = 1; i < m->n_out; i++)
            quern__layer_result(l, ids[m->out[i]], masks[m->out[i]]);
    quern__free(ids);
    quern__free(timed);
    return first;
}

/* Runs before the layer frees the layers that it has adopted. */
static void nested_drop(quern__layer *l)
{
    quern_model_free(l->object);
    l->object = NULL;
}

const quern__nesting quern__nested_model = { .build = nested_build,
                                             .call = nested_call,
                                             .drop = nested_drop };

/* ---- from C ---- */

int quern_apply_model(quern_blueprint *b, quern_model *m, const char *name, const int *values,
                      int n)
{
    quern__memory_watch();
    if (!m || quern__model_waits(m, "becoming a layer", b ? &b->error : NULL) < 0) {
        if (b && !m)
            quern__missing(&b->error, "model", m, NULL);
        return -1;
    }
    if (n < 0 || (n > 0 && !values)) {
        quern_model_free(m);
        if (b)
            quern__fail(&b->error, QUERN_INVALID, "values", n < 0 ? "the number is %d" : "is NULL",
                        n);
        return -1;
    }
    quern__uncompile(m);
    quern__program_free(&m->inner);
    const quern__class *c = m->sequential ? &quern__layer_sequential : &quern__layer_functional;
    json_t *given = json_deep_copy(m->kept), *config;
    given = given ? given : json_object();
    json_object_set_new(given, "name", json_string(name ? name : m->name));
    json_object_set_new(given, "layers", json_array()); /* the writer adds the layers */
    config = b && !b->error.code ? quern__config(c, given, false, &b->error) : NULL;
    json_decref(given);
    if (!config) {
        quern_model_free(m);
        return -1;
    }
    quern__free(m->name);
    m->name = quern__strdup(quern__config_text(config, "name"));
    return quern__blueprint_add_model(b, c, config, m,
                                      &(quern__inputs){ .values = values, .n = n });
}

int quern_apply_again(quern_blueprint *b, int layer, const int *values, int n)
{
    quern__memory_watch();
    if (!b || b->error.code || quern__missing(&b->error, "values", values, NULL))
        return -1;
    if (layer < 0 || layer >= b->n_values || quern__producer(b, layer)->n_in == 0) {
        quern__fail(&b->error, QUERN_INVALID, "again", "%d is not the output of a layer", layer);
        return -1;
    }
    return quern__blueprint_again(b, b->values[layer].node,
                                  &(quern__inputs){ .values = values, .n = n }, "again");
}
