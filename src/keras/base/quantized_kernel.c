/* quantized_kernel: kernels of 8 or 4 bits with scales (keras.src.layers: _int8_build, _int4_build,
 * _int8_call, _int4_call). The gradient of a quantized product is that of its inputs without the
 * rounding, as in Keras; kernel and scales are not trained. */
#include "base/json.h"
#include "keras/keras.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *quern__quantization(json_t *dtype, char *text, size_t size)
{
    json_t *config = json_object_get(dtype, "config");
    const char *mode = json_is_string(dtype) ? json_string_value(dtype)
                                             : quern__config_text(config, "mode"),
               *end = mode ? strstr(mode, "_from_") : NULL;
    if (!mode || (json_is_string(dtype) && !end))
        return NULL;
    snprintf(text, size, "%.*s", (int)(end ? end - mode : (long)strlen(mode)), mode);
    return text;
}

int quern__refuse_quantized(const quern__layer *l, quern_error *err)
{
    char mode[32];
    json_t *dtype = json_object_get(l->config, "dtype"), *policy;
    const char *key, *found = quern__quantization(dtype, mode, sizeof mode);
    json_t *map = json_object_get(json_object_get(dtype, "config"), "policy_map");
    if (quern__is_field(l->kind->fields, "quantization_config"))
        return QUERN_OK;
    json_object_foreach(map, key, policy) if (!found) found =
        quern__quantization(policy, mode, sizeof mode);
    return found ? quern__fail(err, QUERN_UNSUPPORTED, l->name,
                               "%s with the quantization '%s' is not in this version",
                               l->kind->name, mode)
                 : QUERN_OK;
}

/* ---- build ---- */

static int unknown(const quern__layer *l, const char *what, json_t *v, quern_error *err)
{
    char *text = quern__json_text(v, 0);
    int status = quern__fail(err, QUERN_UNSUPPORTED, l->name,
                             "quantization_config: %s=%.100s is not in this version", what,
                             text ? text : "?");
    free(text);
    return status;
}

/* Reads the quantizer of the inputs. Without a quantization_config, int8 has the default one. */
static int read_quantizer(quern__layer *l, json_t *given, quern_error *err)
{
    quern__kernel_weights *k = &l->kernel;
    json_t *range, *config = json_object_get(given, "config"), *v;
    const char *key;
    k->high = 127;
    k->low = -127;
    k->epsilon = 1e-7;
    k->of_inputs = k->bits == 8 && json_is_null(given);
    if (json_is_null(given) || json_is_null(json_object_get(config, "activation_quantizer")))
        return QUERN_OK;
    json_t *quantizer = json_object_get(config, "activation_quantizer");
    config = json_object_get(quantizer, "config");
    range = json_object_get(config, "value_range");
    if (!quern__is_class(quantizer, "AbsMaxQuantizer"))
        return unknown(l, "activation_quantizer", quantizer, err);
    json_object_foreach(config, key,
                        v) if (!strcmp(key, "output_dtype")
                                   ? !json_is_string(v) || strcmp(json_string_value(v), "int8")
                                   : strcmp(key, "value_range") && strcmp(key, "epsilon") &&
                                         strcmp(key, "axis")) return unknown(l, key, v, err);
    if (range) {
        k->low = json_number_value(json_array_get(range, 0));
        k->high = json_number_value(json_array_get(range, 1));
    }
    if (json_object_get(config, "epsilon"))
        k->epsilon = quern__config_number(config, "epsilon");
    k->of_inputs = true;
    return k->low >= -128 && k->low < 0 && k->high > 0 && k->high <= 127 && k->epsilon >= 0
               ? QUERN_OK
               : unknown(l, "value_range", range, err);
}

/* Reads mode and quantization_config. *block gets the size of a group of int4; 0: none. */
static int read_mode(quern__layer *l, const char *mode, int64_t *block, quern_error *err)
{
    json_t *given = json_object_get(l->config, "quantization_config"),
           *config = json_object_get(given, "config"), *v;
    const char *key;
    char *end = NULL;
    bool wide = !strcmp(mode, "int8"),
         narrow = !strncmp(mode, "int4", 4) && (!mode[4] || mode[4] == '/');
    *block = narrow && mode[4] ? strtoll(mode + 5, &end, 10) : -1;
    if ((!wide && !narrow) || (end && *end))
        return quern__fail(err, QUERN_UNSUPPORTED, l->name,
                           "the quantization '%s' is not in this version", mode);
    l->kernel.bits = wide ? 8 : 4;
    if (!given)
        given = json_null();
    if (!json_is_null(given) &&
        !quern__is_class(given, wide ? "Int8QuantizationConfig" : "Int4QuantizationConfig"))
        return unknown(l, "class", given, err);
    json_object_foreach(config, key,
                        v) if (strcmp(key, "weight_quantizer") &&
                               strcmp(key, "activation_quantizer") &&
                               (wide || strcmp(key, "block_size"))) return unknown(l, key, v, err);
    if (!json_is_null(given) && narrow)
        *block = json_is_integer(json_object_get(config, "block_size"))
                     ? quern__config_int(config, "block_size")
                     : -1;
    if (*block != -1 && *block < 1)
        return quern__fail(err, QUERN_INVALID, l->name, "block_size must be at least 1, or -1");
    *block = *block > 0 ? *block : 0;
    return read_quantizer(l, given, err);
}

/* Adds a weight that is not trained, stored at vars/`place`. */
static quern__variable *add_frozen(quern__layer *l, const char *name, const char *suffix,
                                   const quern_shape *shape, int stored, int *place,
                                   quern_error *err)
{
    char own[64];
    snprintf(own, sizeof own, "%.40s%s", name, suffix);
    quern__variable *v = quern__layer_weight_of(l, own, shape, NULL, "", err);
    if (!v)
        return NULL;
    v->trainable = false;
    v->stored = stored;
    snprintf(l->places[l->n_weights - 1], sizeof *l->places, "vars/%d", (*place)++);
    return v;
}

/* Shapes of base and scales, and the steps from base to scales. */
static void lay_out(quern__kernel_weights *k, const quern__kernel_form *form, int64_t block,
                    quern_shape *base, quern_shape *scale)
{
    *base = form->shape;
    *scale = form->scale;
    if (k->bits == 4 && form->rows) {
        *base = (quern_shape){ .rank = 2, .dims = { 1, 1 } };
        for (int i = 0; i < form->shape.rank; i++)
            base->dims[!(form->shared >> i & 1)] *= form->shape.dims[i];
    }
    uint32_t shared = k->bits == 4 && form->rows ? 1 : form->shared;
    if (k->bits == 4 || !scale->rank) {
        *scale = (quern_shape){ 0 };
        for (int i = 0; i < base->rank; i++)
            if (block || !(shared >> i & 1))
                scale->dims[scale->rank++] =
                    shared >> i & 1 ? (base->dims[i] + block - 1) / block : base->dims[i];
    }
    for (int i = base->rank - 1, at = scale->rank; i >= 0; i--) {
        bool own = block || !(shared >> i & 1);
        k->by[i] = block && shared >> i & 1 ? block : 1;
        k->step[i] = 0;
        if (form->scale.rank && k->bits == 8)
            k->step[i] = form->step[i];
        else if (own)
            k->step[i] = at == scale->rank ? 1 : k->step[i + 1] * scale->dims[at];
        at -= own;
    }
}

int quern__quantized_build(quern__layer *l, const quern__kernel_form *form, const char *mode,
                           quern_error *err)
{
    quern__kernel_weights *k = &l->kernel;
    quern_shape base, scale;
    int64_t block;
    int status = read_mode(l, mode, &block, err), place = form->bias.rank ? 2 : 1, first = 0;
    if (status < 0)
        return status;
    if (quern_shape_count(&form->shape) < 1)
        return quern__fail(err, QUERN_SHAPE, l->name, "the kernel is too large");
    if (form->bias.rank &&
        !(k->bias = quern__layer_weight(l, "bias", &form->bias, "bias_initializer", err)))
        return QUERN_NOMEM;
    if (k->bias)
        snprintf(l->places[l->n_weights - 1], sizeof *l->places, "vars/1");
    if ((status = quern__lora_build(l, form, err)) < 0)
        return status;
    lay_out(k, form, block, &base, &scale);
    k->base = add_frozen(l, form->name, "", &base,
                         k->bits == 8 ? QUERN__STORED_INT8 : QUERN__STORED_INT4, &first, err);
    k->scale = k->base ? add_frozen(l, form->name, "_scale", &scale, 0, &place, err) : NULL;
    for (int64_t i = 0; k->scale && i < quern_shape_count(&scale); i++)
        ((float *)k->scale->data)[i] = 1;
    if (!block || !k->scale)
        return k->scale ? QUERN_OK : QUERN_NOMEM;
    k->of_inputs = false; /* Keras quantizes no inputs of kernels with groups */
    quern_shape each = { .rank = 1, .dims = { base.dims[!form->rows] } };
    k->zero = add_frozen(l, form->name, "_zero", &scale, QUERN__STORED_INT8, &place, err);
    k->groups = k->zero ? add_frozen(l, "g_idx", "", &each, 0, &place, err) : NULL;
    for (int64_t i = 0; k->groups && i < each.dims[0]; i++)
        ((float *)k->groups->data)[i] = (float)(i / block);
    return k->groups ? QUERN_OK : QUERN_NOMEM;
}

/* ---- calls ---- */

quern__id quern__kernel_numbers(const quern__layer *l, quern__graph *g)
{
    const quern__kernel_weights *k = &l->kernel;
    quern__id base = quern__graph_variable(g, k->base), numbers;
    if (k->of_float8)
        return quern__float8_rounded(g, base, k->scale);
    if (k->bits != 4)
        return base;
    quern__id scale = quern__graph_variable(g, k->scale);
    if (k->zero) {
        quern__id groups = quern__graph_variable(g, k->groups),
                  zero = quern__gather(g, quern__graph_variable(g, k->zero), groups);
        numbers = quern__mul2(g, quern__sub2(g, base, zero), quern__gather(g, scale, groups));
    } else
        numbers = quern__div2(g, base, scale);
    return quern__reshape(g, numbers, &k->shape);
}

quern__id quern__kernel_scales(const quern__layer *l, quern__graph *g)
{
    return l->kernel.bits == 8 ? quern__graph_variable(g, l->kernel.scale) : 0;
}

/* Whole numbers for the inputs, with a scale for each row (keras.quantizers.abs_max_quantize). */
static quern__id quantize_inputs(const quern__kernel_weights *k, quern__graph *g, quern__id x,
                                 bool training, quern__id *scale)
{
    uint32_t last = 1u << (quern__shape_of(g, x)->rank - 1);
    quern__id most =
        quern__reduce(g, QUERN__REDUCE_MAX, quern__unary_of(g, QUERN__ABS, x), last, true);
    *scale =
        quern__stop_gradient(g, quern__div2(g, quern__graph_constant(g, k->high, QUERN_FLOAT32),
                                            quern__shift(g, most, k->epsilon)));
    quern__id scaled = quern__mul2(g, x, *scale),
              whole = quern__unary(g, QUERN__CLIP, quern__unary_of(g, QUERN__ROUND, scaled), k->low,
                                   k->high, 0);
    if (!training)
        return whole;
    /* The sum is exactly `whole`, and its gradient is that of `scaled`. */
    return quern__add2(g, scaled, quern__stop_gradient(g, quern__sub2(g, whole, scaled)));
}

quern__id quern__kernel_product(const quern__layer *l, quern__graph *g, quern__id x,
                                quern__id numbers, quern__id scales, quern__id delta, bool training)
{
    const quern__kernel_weights *k = &l->kernel;
    quern__id inputs = x, of_rows = 0;
    if (!x || !numbers)
        return 0;
    if (k->of_float8)
        inputs = quern__float8_rounded(g, x, k->of_float8);
    else if (k->of_inputs)
        inputs = quantize_inputs(k, g, x, training, &of_rows);
    else if (delta && !scales) {
        numbers = quern__add2(g, numbers, delta);
        delta = 0;
    }
    quern__id y = quern__matmul(g, inputs, numbers, false, false);
    if (of_rows && scales)
        y = quern__div2(g, y, quern__mul2(g, of_rows, scales));
    else if (of_rows || scales)
        y = quern__div2(g, y, of_rows ? of_rows : scales);
    return delta ? quern__add2(g, y, quern__matmul(g, x, delta, false, false)) : y;
}

/* Rows of scales or zeros (…, groups) by column of the table. */
static quern__id by_column(const quern__kernel_weights *k, quern__graph *g, quern__variable *v,
                           quern__id ids)
{
    quern__id groups =
        quern__one_hot(g, quern__graph_variable(g, k->groups), v->shape.dims[1], false);
    return quern__matmul(g, quern__gather(g, quern__graph_variable(g, v), ids), groups, false,
                         true);
}

quern__id quern__kernel_rows(const quern__layer *l, quern__graph *g, quern__id ids)
{
    const quern__kernel_weights *k = &l->kernel;
    if (!k->bits)
        return quern__gather(g, quern__layer_kernel(l, g), ids);
    quern__id y = quern__gather(g, quern__graph_variable(g, k->base), ids);
    if (k->zero)
        y = quern__mul2(g, quern__sub2(g, y, by_column(k, g, k->zero, ids)),
                        by_column(k, g, k->scale, ids));
    else {
        quern_shape column = { .rank = 2, .dims = { k->shape.dims[0], 1 } };
        quern__id scales = quern__reshape(g, quern__graph_variable(g, k->scale), &column);
        y = quern__div2(g, y, quern__gather(g, scales, ids));
    }
    if (!k->a)
        return y;
    quern__id more = quern__matmul(g, quern__gather(g, quern__graph_variable(g, k->a), ids),
                                   quern__graph_variable(g, k->b), false, false);
    return quern__add2(g, y, quern__scale(g, more, k->factor));
}
