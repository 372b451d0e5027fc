/* spectral_normalization: SpectralNormalization: in training, the kernel of the inner layer is
 * divided by an estimate of its largest singular value, and the result is stored (Miyato et al.,
 * "Spectral Normalization for Generative Adversarial Networks", 2018;
 * keras.src.layers.normalization.spectral_normalization). */
#include "keras/keras.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Moves the last weight to index 1: Keras counts a layer's own weights, among them the shared
 * kernel, before those of inner layers. */
static void own_second(quern__layer *l)
{
    size_t rest = (size_t)l->n_weights - 2;
    int last = l->n_weights - 1;
    quern__variable *weight = l->weights[last];
    json_t *options = l->options[last];
    char role[sizeof *l->roles], place[sizeof *l->places];
    memcpy(role, l->roles[last], sizeof role);
    memcpy(place, l->places[last], sizeof place);
    memmove(l->weights + 2, l->weights + 1, sizeof *l->weights * rest);
    memmove(l->options + 2, l->options + 1, sizeof *l->options * rest);
    memmove(l->roles + 2, l->roles + 1, sizeof *l->roles * rest);
    memmove(l->places + 2, l->places + 1, sizeof *l->places * rest);
    l->weights[1] = weight;
    l->options[1] = options;
    memcpy(l->roles[1], role, sizeof role);
    memcpy(l->places[1], place, sizeof place);
}

static int spectral_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    quern__layer *inner = quern__layer_inside(l, json_object_get(l->config, "layer"), "layer", err);
    (void)n;
    if (!inner)
        return QUERN_UNSUPPORTED;
    if (quern__config_int(l->config, "power_iterations") < 1)
        return quern__fail(err, QUERN_INVALID, l->name, "power_iterations must be at least 1");
    int status = quern__layer_build_inside(l, inner, in, n, "layer", err);
    if (status < 0)
        return status;
    const char *last = inner->n_weights ? strrchr(inner->weights[0]->path, '/') : NULL;
    if (!last || (strcmp(last, "/kernel") && strcmp(last, "/embeddings")))
        return quern__fail(err, QUERN_INVALID, l->name, "%s does not have a kernel",
                           inner->kind->name);
    if (inner->kernel.bits || inner->kernel.a)
        return quern__fail(err, QUERN_UNSUPPORTED, l->name,
                           "a kernel that is quantized or has LoRA is not in this version");
    const quern_shape *kernel = &inner->weights[0]->shape;
    quern_shape row = { .rank = 2, .dims = { 1, kernel->dims[kernel->rank - 1] } };
    quern__variable *u = quern__layer_weight(l, "vector_u", &row, "", err);
    if (!u)
        return QUERN_NOMEM;
    u->trainable = false;
    snprintf(l->places[l->n_weights - 1], sizeof *l->places, "vars/1");
    l->weight_written_twice = true;
    own_second(l);
    json_t *normal =
        json_pack("{s:s, s:{s:f}}", "class_name", "TruncatedNormal", "config", "stddev", 0.02);
    status = l->unfilled ? QUERN_OK : quern__initialize(normal, u, l->seed + 17, err);
    json_decref(normal);
    return status;
}

/* x / max(norm, 1e-7) */
static quern__id unit(quern__graph *g, quern__id x)
{
    quern__id squares = quern__reduce(g, QUERN__SUM, quern__square(g, x), ~0u, false);
    quern__id inverse =
        quern__unary_of(g, QUERN__RSQRT, quern__unary(g, QUERN__CLIP, squares, 1e-14, INFINITY, 0));
    return quern__mul2(g, x, inverse);
}

/* Updates the kernel before the rest of the step reads it. A kernel of zeros does not change. */
static void normalise(quern__layer *l, quern__graph *g)
{
    quern__variable *kernel = l->inner[0]->weights[0], *vector = l->weights[1];
    quern__id w = quern__graph_variable(g, kernel), u = quern__graph_variable(g, vector), v = 0;
    quern_shape shape = kernel->shape, matrix = { .rank = 2, .dims = { 0, vector->shape.dims[1] } };
    matrix.dims[0] = quern_shape_count(&shape) / matrix.dims[1];
    quern__id rows = quern__reshape(g, w, &matrix), before = u;
    for (int64_t k = 0; k < quern__config_int(l->config, "power_iterations"); k++) {
        v = unit(g, quern__matmul(g, u, rows, false, true));
        u = unit(g, quern__matmul(g, v, rows, false, false));
    }
    quern__id sigma = quern__reduce(
        g, QUERN__SUM, quern__mul2(g, quern__matmul(g, v, rows, false, false), u), ~0u, false);
    quern__id any =
        quern__reduce(g, QUERN__REDUCE_MAX, quern__unary_of(g, QUERN__ABS, w), ~0u, false);
    quern__id fit = quern__select(g, any, quern__div2(g, w, sigma), w),
              next = quern__select(g, any, u, before);
    quern__assign(g, vector, quern__stop_gradient(g, next));
    quern__graph_replace(g, kernel, quern__assign(g, kernel, quern__stop_gradient(g, fit)));
}

static quern__id spectral_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                               bool training)
{
    quern__context context = *l->context;
    context.n_out = 0;
    if (training && quern__assigned(g, l->inner[0]->weights[0]))
        return quern__graph_fail(
            g, QUERN_UNSUPPORTED,
            "a layer that is called twice cannot be normalised before each call");
    if (training)
        normalise(l, g);
    quern__id y = quern__layer_call_inside(l, l->inner[0], g, in, n, &context);
    l->context->mask_out[0] = quern__layer_mask(l, 0);
    return y;
}

static const quern__field fields[] = { { "layer", QUERN__F_LAYER, NULL },
                                       { "power_iterations", QUERN__F_INT, "1" },
                                       { 0 } };
const quern__class quern__layer_spectral_normalization = { .group = QUERN__LAYER,
                                                           .name = "SpectralNormalization",
                                                           .aliases = "",
                                                           .module = "keras.layers",
                                                           .fields = fields,
                                                           .build = spectral_build,
                                                           .call = spectral_call,
                                                           .masks = QUERN__MASK_OWN };
