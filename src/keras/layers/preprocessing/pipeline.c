/* pipeline: Pipeline: a sequence of layers as one layer. */
#include "keras/keras.h"

#include <stdio.h>
#include <string.h>

/* The output shape of an inner layer, found by a call in a temporary graph. */
static int shape_behind(quern__layer *l, quern__layer *inner, quern_shape *shape, quern_error *err)
{
    quern__graph *g = quern__graph_new();
    quern__context own = { 0 }, context = { 0 }, *kept = l->context;
    quern__id x = g ? quern__graph_batch(g, 0, QUERN_FLOAT32, shape) : 0;
    l->context = &own;
    quern__id y = x ? quern__layer_call_inside(l, inner, g, &x, 1, &context) : 0;
    l->context = kept;
    l->penalty = 0;
    const quern_error *sticky = g ? quern__graph_error(g) : NULL;
    int status = y        ? QUERN_OK
                 : sticky ? quern__fail(err, sticky->code, inner->name, "%s", sticky->text)
                          : quern__fail_memory(err, 1);
    if (y)
        *shape = *quern__shape_of(g, y);
    quern__graph_free(g);
    return status;
}

/* The name of inner layer k in files: its class in snake case, with a number from the second of a
 * class on. */
static void place_of(const quern__layer *l, int k, char *out, size_t size)
{
    char name[48];
    int before = 0;
    quern__snake_case(l->inner[k]->kind->name, name, sizeof name);
    for (int i = 0; i < k; i++)
        before += l->inner[i]->kind == l->inner[k]->kind;
    snprintf(out, size, before ? "layers/%s_%d" : "layers/%s", name, before);
}

static int pipeline_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    json_t *list = json_object_get(l->config, "layers"), *spec;
    quern_shape shape = *in;
    size_t k;
    int status =
        n == 1 && json_is_array(list) && json_array_size(list) <= QUERN__MAX_INNER
            ? QUERN_OK
            : quern__fail(err, QUERN_INVALID, l->name,
                          "needs one input and a list of at most %d layers", QUERN__MAX_INNER);
    json_array_foreach(list, k, spec)
    {
        const char *name = quern__config_text(json_object_get(spec, "config"), "name");
        char place[64];
        quern__layer *inner =
            status < 0 ? NULL : quern__layer_inside(l, spec, name ? name : "layer", err);
        if (status < 0)
            return status;
        if (!inner)
            return QUERN_UNSUPPORTED;
        place_of(l, (int)k, place, sizeof place);
        status = quern__layer_build_inside(l, inner, &shape, 1, place, err);
        if (status >= 0)
            status = shape_behind(l, inner, &shape, err);
    }
    return status;
}

static quern__id pipeline_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                               bool training)
{
    quern__id x = in[0], mask = quern__layer_mask(l, 0);
    (void)n;
    for (int k = 0; k < l->n_inner && x; k++) {
        quern__context context = { .training = training, .masks = &mask };
        x = quern__layer_call_inside(l, l->inner[k], g, &x, 1, &context);
        mask = context.mask_out[0];
    }
    l->context->mask_out[0] = mask;
    return x;
}

static const quern__field fields[] = { { "layers", QUERN__F_ANY, NULL }, { 0 } };
const quern__class quern__layer_pipeline = { .group = QUERN__LAYER,
                                             .name = "Pipeline",
                                             .aliases = "",
                                             .module = "keras.layers",
                                             .fields = fields,
                                             .build = pipeline_build,
                                             .call = pipeline_call,
                                             .masks = QUERN__MASK_OWN };
