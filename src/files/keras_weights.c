/* keras_weights: weights in HDF5 in the layout of Keras 3, in model.weights.h5 and `.weights.h5`:
 * layers/<class>[_k]/vars/<i>, nested models with their layers below them, and optimizer/vars/<i>.
 */
#include "files.h"
#include "h5.h"
#include "model/model_struct.h"

#include <stdio.h>
#include <string.h>

/* Called for each variable with its path, and for the group of each layer (v NULL, `name`: of the
 * layer). A negative result stops. */
typedef struct visitor {
    int (*fn)(struct visitor *visitor, const char *path, quern__variable *v, const char *name,
              quern_error *err);
    quern__h5 *from;
    quern__objects read; /* datasets of `from` that were read */
    quern__h5_file *to;
    const char *where;
    bool no_rate; /* the file does not have the learning rate of the optimizer */
} visitor;

/* Visits weight i of a layer at `place` below the group of the layer. */
static int visit_weight(visitor *v, const quern__layer *l, int i, const char *group,
                        const char *place, quern_error *err)
{
    char path[512];
    size_t bytes;
    quern__variable *own = l->weights[i], *stored = NULL;
    snprintf(path, sizeof path, "%s/%s", group, place);
    if (!*place) { /* files do not store it */
        if (v->from && quern__shape_bytes(&own->shape, own->dtype, &bytes))
            memset(quern__variable_numbers(own), 0, bytes);
        return QUERN_OK;
    }
    int status = v->to ? quern__layer_stored(l, own, &stored, err) : QUERN_OK;
    if (status >= 0)
        status = v->fn(v, path, stored ? stored : own, NULL, err);
    quern__variable_free(stored);
    return status;
}

/* Visits the group and the weights of a layer; those of a nested model belong to its layers. */
static int visit_layer(void *user, quern__layer *l, const char *group, quern_error *err)
{
    visitor *v = user;
    char path[512];
    snprintf(path, sizeof path, "%s/vars", group);
    int status = v->fn(v, path, NULL, l->name, err);
    if (status >= 0 && l->weight_written_twice)
        status = visit_weight(v, l, 0, group, "vars/0", err);
    for (int i = 0; status >= 0 && i < l->n_weights && !l->kind->model; i++)
        status = visit_weight(v, l, i, group, l->places[i], err);
    for (int p = 0; status >= 0 && quern__layer_idf(l) && p < 1 + quern__layer_is_text(l); p++) {
        snprintf(path, sizeof path, "%s%s/vars/idf_weights", group, p ? "/_lookup_layer" : "");
        status = v->fn(v, path, quern__layer_idf(l), NULL, err);
    }
    return status;
}

/* Visits the variables of an optimizer below `group`. Files of Keras 2 have them in the same order,
 * but without the learning rate (v->no_rate). */
static int visit_optimizer(const quern__optimizer *o, const char *group, visitor *v,
                           quern_error *err)
{
    char path[256];
    int status = QUERN_OK, at = 0;
    quern__variable *own;
    for (int i = 0; status >= 0 && (own = quern__optimizer_variable(o, i)); i++) {
        if (v->no_rate && own == o->rate)
            continue;
        snprintf(path, sizeof path, "%s/vars/%d", group, at++);
        status = v->fn(v, path, own, NULL, err);
    }
    return status;
}

/* ---- writing ---- */

/* Writes a variable, or a group with the name of its layer. */
static int write_one(visitor *v, const char *path, quern__variable *of, const char *name,
                     quern_error *err)
{
    if (of)
        return quern__h5_write_variable(v->to, path, of, err);
    return quern__h5_write_group(v->to, path, "name", name, err);
}

/* Keras writes an inner optimizer a second time in a group of its own: that of a
 * LossScaleOptimizer, or each of a MultiOptimizer.
 */
static int write_inner(const quern__optimizer *o, visitor *v, quern_error *err)
{
    char group[192], name[64];
    int status = QUERN_OK;
    for (int i = 0; status >= 0 && i < o->n_inner; i++) {
        const quern__optimizer *inner = o->inner[i];
        int same = 0;
        for (int k = 0; k < i; k++)
            same += o->inner[k]->kind == inner->kind;
        quern__snake_case(inner->kind->name, name, sizeof name);
        if (quern__optimizer_leader((quern__optimizer *)(uintptr_t)o) == inner)
            snprintf(group, sizeof group, "optimizer/inner_optimizer");
        else
            snprintf(group, sizeof group,
                     same ? "optimizer/optimizers/%s_%d" : "optimizer/optimizers/%s", name, same);
        status = visit_optimizer(inner, group, v, err);
    }
    return status;
}

int quern__weights_write(const quern_model *m, const char *beside, quern__image *image,
                         quern_error *err)
{
    visitor v = { .fn = write_one, .to = quern__h5_create(beside, image, err) };
    int status = v.to ? quern__model_walk(m, visit_layer, &v, err) : QUERN_NOMEM;
    if (status >= 0 && m->optimizer)
        status = visit_optimizer(m->optimizer, "optimizer", &v, err);
    if (status >= 0 && m->optimizer)
        status = write_inner(m->optimizer, &v, err);
    if (status >= 0)
        status = quern__h5_write_group(v.to, "vars", "name", m->name, err);
    if (status >= 0)
        return quern__h5_finish(v.to, err);
    quern__h5_close(v.to);
    return status;
}

/* ---- reading ---- */

/* Reads a variable from its path; a missing one is an error. */
static int read_one(visitor *v, const char *path, quern__variable *of, const char *name,
                    quern_error *err)
{
    char where[700];
    uint64_t object;
    (void)name;
    if (!of)
        return QUERN_OK;
    snprintf(where, sizeof where, "%.150s: %s", v->where, path);
    v->from->where = where;
    int status = quern__h5_find(v->from, v->from->root, path, &object, err);
    if (status == QUERN_END)
        return of->optimizer
                   ? QUERN_OK
                   : quern__fail(err, QUERN_FORMAT, where, "weight %s is missing", of->path);
    if (status >= 0)
        status = quern__h5_read_variable(v->from, object, where, of, err);
    if (status >= 0)
        status = quern__objects_add(&v->read, object, err);
    v->from->where = v->where;
    return status;
}

/* Whether the file has all variables of the optimizer, for files of Keras 2 without the learning
 * rate (*no_rate). Otherwise they are ignored, as in Keras, with a warning unless the optimizer
 * never made a step. */
static bool keeps_as_much(const quern_model *m, quern__h5 *h, bool *no_rate)
{
    const quern__optimizer *o = m->optimizer;
    char path[64] = "optimizer/vars/0";
    uint64_t object;
    int found = 0;
    while (found < 1 << 20 &&
           quern__h5_find(h, h->root, path, &object, &(quern_error){ 0 }) == QUERN_OK)
        snprintf(path, sizeof path, "optimizer/vars/%d", ++found);
    *no_rate =
        m->keras_2 && !o->n_inner && !o->schedule && found == quern__optimizer_count(o, false) - 1;
    if (*no_rate)
        return true;
    if (found && found != quern__optimizer_count(o, false) &&
        found != quern__optimizer_count(o, true))
        quern__warn("%s: the optimizer starts from the beginning: the file has %d of its "
                    "variables, expected %d",
                    h->where, found, quern__optimizer_count(o, false));
    return found == quern__optimizer_count(o, false);
}

int quern__weights_read(quern_model *m, const char *path, const char *bytes, size_t n,
                        quern_error *err)
{
    quern__h5 h;
    visitor v = { .fn = read_one, .from = &h, .where = path };
    int status = quern__h5_open(&h, bytes, n, path, err);
    h.once = true;
    if (status >= 0)
        status = quern__model_walk(m, visit_layer, &v, err);
    if (status >= 0 && m->optimizer && keeps_as_much(m, &h, &v.no_rate))
        status = visit_optimizer(m->optimizer, "optimizer", &v, err);
    if (status >= 0)
        status = quern__unread(&h, &v.read, err);
    quern__objects_free(&v.read);
    return status;
}
