/* lora: kernels, and their low-rank adaptation (LoRA). The kernel is frozen, and two small matrices a and
 * b are trained: the layer computes with kernel + (alpha / rank) a b. Files of Keras have that sum
 * as the kernel, and the matrices start again from zeros (keras.src.layers: save_own_variables). */
#include "keras/keras.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Adds one of the two matrices. Its regularizer is that of the kernel. */
static quern__variable *add_matrix(quern__layer *l, const quern__kernel_form *form,
                                   const char *which, const quern_shape *shape,
                                   const char *initializer, quern_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "lora_%.40s_%s", form->name, which);
    json_t *object = json_string(initializer);
    quern__variable *v = quern__layer_weight_of(l, name, shape, object, form->name, err);
    json_decref(object);
    if (v)
        *l->places[l->n_weights - 1] = 0;
    return v;
}

int quern__lora_build(quern__layer *l, const quern__kernel_form *form, quern_error *err)
{
    char constraint[64];
    int64_t rank = quern__config_int(l->config, "lora_rank"), last = form->shape.rank - 1;
    double alpha = quern__config_number(l->config, "lora_alpha");
    quern_shape a = form->shape, b = { .rank = 2, .dims = { rank, form->shape.dims[last] } };
    snprintf(constraint, sizeof constraint, "%.40s_constraint", form->name);
    if (!rank)
        return QUERN_OK;
    if (rank < 0)
        return quern__fail(err, QUERN_INVALID, l->name, "lora_rank must be at least 1");
    if (!json_is_null(json_object_get(l->config, constraint)))
        return quern__fail(err, QUERN_INVALID, l->name, "LoRA does not work with a %s", constraint);
    if (!form->alpha || isnan(alpha))
        alpha = (double)rank;
    if (alpha == (double)rank)
        json_object_set_new(l->config, "lora_alpha", json_integer(rank));
    a.dims[last] = rank;
    l->kernel.factor = alpha / (double)rank;
    l->kernel.a = add_matrix(l, form, "a", &a, "he_uniform", err);
    l->kernel.b = l->kernel.a ? add_matrix(l, form, "b", &b, "zeros", err) : NULL;
    return l->kernel.b ? QUERN_OK : QUERN_NOMEM;
}

int quern__kernel_build(quern__layer *l, const quern__kernel_form *form, quern_error *err)
{
    char mode[32];
    l->kernel.shape = form->shape;
    if (!form->shared ||
        !quern__quantization(json_object_get(l->config, "dtype"), mode, sizeof mode))
        return quern__float_build(l, form, err);
    if (!strcmp(mode, "float8") && form->rows)
        return quern__float8_build(l, form, err);
    return quern__quantized_build(l, form, mode, err);
}

int quern__float_build(quern__layer *l, const quern__kernel_form *form, quern_error *err)
{
    char initializer[64];
    snprintf(initializer, sizeof initializer, "%.40s_initializer", form->name);
    l->kernel.base = quern__layer_weight(
        l, form->name, form->initial.rank ? &form->initial : &form->shape, initializer, err);
    if (!l->kernel.base)
        return QUERN_NOMEM;
    l->kernel.base->shape = form->shape;
    if (form->bias.rank &&
        !(l->kernel.bias = quern__layer_weight(l, "bias", &form->bias, "bias_initializer", err)))
        return QUERN_NOMEM;
    int status = quern__lora_build(l, form, err);
    if (l->kernel.a)
        l->kernel.base->trainable = false;
    return status;
}

/* (…, n) as a matrix with n columns. */
static quern_shape as_rows(const quern_shape *s)
{
    int64_t columns = s->dims[s->rank - 1];
    return (quern_shape){ .rank = 2, .dims = { quern_shape_count(s) / columns, columns } };
}

quern__id quern__kernel_delta(const quern__layer *l, quern__graph *g)
{
    const quern__kernel_weights *k = &l->kernel;
    if (!k->a)
        return 0;
    quern_shape rows = as_rows(&k->a->shape);
    quern__id product = quern__matmul(g, quern__reshape(g, quern__graph_variable(g, k->a), &rows),
                                      quern__graph_variable(g, k->b), false, false);
    return quern__scale(g, quern__reshape(g, product, &k->shape), k->factor);
}

quern__id quern__layer_kernel(const quern__layer *l, quern__graph *g)
{
    quern__id base = quern__graph_variable(g, l->kernel.base);
    return l->kernel.a ? quern__add2(g, base, quern__kernel_delta(l, g)) : base;
}

quern__id quern__layer_biased(const quern__layer *l, quern__graph *g, quern__id y)
{
    if (!l->kernel.bias)
        return y;
    return quern__add2(g, y,
                       l->kernel.of_float8 ? quern__float8_bias(l, g)
                                           : quern__graph_variable(g, l->kernel.bias));
}

/* ---- files ---- */

double quern__lora_element(const quern__kernel_weights *k, int64_t i)
{
    int64_t rank = k->b->shape.dims[0], columns = k->b->shape.dims[1];
    const float *a = (const float *)quern__variable_numbers(k->a) + i / columns * rank,
                *b = (const float *)quern__variable_numbers(k->b) + i % columns;
    double sum = 0;
    for (int64_t r = 0; r < rank; r++)
        sum += (double)a[r] * b[r * columns];
    return k->factor * sum;
}

/* base + factor a b, new. */
static quern__variable *merged(const quern__kernel_weights *k, quern_error *err)
{
    quern__variable *out =
        quern__variable_new(k->base->path, QUERN_FLOAT32, &k->base->shape, false, err);
    if (!out)
        return NULL;
    int64_t n = quern_shape_count(&out->shape);
    const float *base = quern__variable_numbers(k->base);
    float *to = out->data;
    for (int64_t i = 0; i < n; i++)
        to[i] = (float)(base[i] + quern__lora_element(k, i));
    return out;
}

int quern__layer_stored(const quern__layer *l, const quern__variable *v, quern__variable **stored,
                        quern_error *err)
{
    *stored = NULL;
    const quern__kernel_weights *k = &l->kernel;
    if (k->a && v == k->base && !k->bits)
        return (*stored = merged(k, err)) ? QUERN_OK : QUERN_NOMEM;
    if (k->a && k->bits && (v == k->base || v == k->scale || v == k->zero))
        return (*stored = quern__requantize(k, v, err)) ? QUERN_OK : QUERN_NOMEM;
    int status = QUERN_OK;
    for (int i = 0; i < l->n_inner && status >= 0 && !*stored; i++)
        status = quern__layer_stored(l->inner[i], v, stored, err);
    return status;
}

quern__variable *quern__layer_inexact(const quern__layer *l, int *i)
{
    quern__variable *own[] = { l->kernel.base, l->kernel.a, l->kernel.b, l->kernel.scale,
                               l->kernel.zero };
    int n = l->kernel.a ? 3 + (l->kernel.scale != NULL) + (l->kernel.zero != NULL) : 0;
    if (*i < n)
        return own[*i];
    *i -= n;
    quern__variable *v = NULL;
    for (int k = 0; k < l->n_inner && !v; k++)
        v = quern__layer_inexact(l->inner[k], i);
    return v;
}

void quern__kernel_config(json_t *config)
{
    static const char *const own[] = { "lora_rank", "lora_alpha", "quantization_config" };
    if (json_is_null(json_object_get(config, "lora_rank")))
        json_object_set_new(config, "lora_alpha", json_null());
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (json_is_null(json_object_get(config, own[i])))
            json_object_del(config, own[i]);
}
