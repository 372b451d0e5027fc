/* float8_kernel: kernels of the dtype policy float8 (keras.src.layers: _float8_build, _float8_call).
 * Inputs and kernel are rounded to float8_e4m3fn with a scale each. Training would also update the
 * scales from histories of the largest inputs, kernels and gradients; it is not in this version. */
#include "keras/keras.h"

#include <stdio.h>
#include <string.h>

/* The six weights of scales and histories, before the kernel in Keras's order; files have them
 * after it. */
static int add_scales(quern__layer *l, quern__variable *scales[3], quern_error *err)
{
    static const char *const of[] = { "inputs", "kernel", "outputs_grad" };
    json_t *config = json_object_get(json_object_get(l->config, "dtype"), "config");
    int64_t length = json_is_integer(json_object_get(config, "amax_history_length"))
                         ? quern__config_int(config, "amax_history_length")
                         : 1024;
    quern_shape one = { 0 }, history = { .rank = 1, .dims = { length } };
    if (length < 1)
        return quern__fail(err, QUERN_INVALID, l->name, "amax_history_length must be at least 1");
    for (int i = 0; i < 3; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s_scale", of[i]);
        if (!(scales[i] = quern__layer_weight_of(l, name, &one, NULL, "", err)))
            return QUERN_NOMEM;
        *(float *)scales[i]->data = 1;
        snprintf(name, sizeof name, "%s_amax_history", of[i]);
        if (!quern__layer_weight_of(l, name, &history, NULL, "", err))
            return QUERN_NOMEM;
    }
    return QUERN_OK;
}

int quern__float8_build(quern__layer *l, const quern__kernel_form *form, quern_error *err)
{
    quern__variable *scales[3];
    json_t *given = json_object_get(l->config, "quantization_config");
    if (quern__config_int(l->config, "lora_rank"))
        return quern__fail(err, QUERN_INVALID, l->name, "LoRA does not work with float8");
    if (given && !json_is_null(given) && !quern__is_class(given, "Float8QuantizationConfig"))
        return quern__fail(err, QUERN_INVALID, l->name,
                           "quantization_config is not a Float8QuantizationConfig");
    int status = add_scales(l, scales, err);
    if (status >= 0)
        status = quern__float_build(l, form, err);
    if (status < 0)
        return status;
    l->kernel.of_float8 = scales[0];
    l->kernel.scale = scales[1];
    for (int i = 0; i < l->n_weights; i++)
        snprintf(l->places[i], sizeof *l->places, "vars/%d", i < 6 ? i + l->n_weights - 6 : i - 6);
    return QUERN_OK;
}

quern__id quern__float8_rounded(quern__graph *g, quern__id x, quern__variable *scale)
{
    static const double largest = 448;
    quern__id by = quern__graph_variable(g, scale),
              shares = quern__unary(g, QUERN__CLIP, quern__div2(g, x, by), -largest, largest, 0);
    return quern__mul2(g, quern__unary_of(g, QUERN__FLOAT8, shares), by);
}

quern__id quern__float8_bias(const quern__layer *l, quern__graph *g)
{
    const char *source = quern__config_text(
        json_object_get(json_object_get(l->config, "dtype"), "config"), "source_name");
    quern__id bias = quern__graph_variable(g, l->kernel.bias);
    bool rounds = !source || !strcmp(source, "float32");
    return rounds ? quern__unary_of(g, QUERN__TO_BFLOAT16, bias) : bias;
}
