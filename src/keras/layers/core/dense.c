/* dense: Dense: y = activation(x W + b), x (B, …, C), W (C, units), b (units). */
#include "keras/layers/layer_rows.h"

/* Adds kernel (C, units) and bias (units). */
static int dense_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    (void)n;
    int64_t units = quern__config_int(l->config, "units"),
            width = in[0].rank > 1 ? in[0].dims[in[0].rank - 1] : -1;
    char text[96];
    if (units < 1)
        return quern__fail(err, QUERN_INVALID, l->name, "units must be at least 1");
    if (width < 1)
        return quern__fail(err, QUERN_SHAPE, l->name, "inputs %s do not have a fixed last axis",
                           quern_shape_text(in, text, sizeof text));
    quern__kernel_form form = { .name = "kernel",
                                .shape = { .rank = 2, .dims = { width, units } },
                                .shared = 1,
                                .rows = true };
    if (quern__config_bool(l->config, "use_bias"))
        form.bias = (quern_shape){ .rank = 1, .dims = { units } };
    return quern__kernel_build(l, &form, err);
}

static quern__id dense_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                            bool training)
{
    (void)n;
    quern__id y =
        quern__kernel_product(l, g, in[0], quern__kernel_numbers(l, g), quern__kernel_scales(l, g),
                              quern__kernel_delta(l, g), training);
    y = quern__layer_biased(l, g, y);
    return quern__activation(g, json_object_get(l->config, "activation"), y);
}

static const quern__field dense_fields[] = { { "units", QUERN__F_INT, NULL },
                                             { "activation", QUERN__F_ACTIVATION, "\"linear\"" },
                                             { "use_bias", QUERN__F_BOOL, "true" },
                                             QUERN__KERNEL_AND_BIAS_FIELDS,
                                             QUERN__LORA_FIELDS,
                                             QUERN__QUANTIZATION_FIELD,
                                             { 0 } };
QUERN__LAYER_ROW(dense, "Dense", "", dense_fields, dense_build, dense_call, PASSES);
