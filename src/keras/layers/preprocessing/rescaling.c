/* rescaling: Rescaling: x * scale + offset, with a scalar or one number per channel. */
#include "keras/layers/layer_rows.h"

static quern__id rescaling_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                bool training)
{
    (void)n, (void)training;
    double scale = quern__config_number(l->config, "scale"),
           offset = quern__config_number(l->config, "offset");
    if (!l->n_constants)
        return quern__unary(g, QUERN__AFFINE, in[0], scale, offset, 0);
    quern__id factor = quern__graph_variable(g, l->constants[0]),
              term = quern__graph_variable(g, l->constants[1]);
    return quern__add2(g, quern__mul2(g, in[0], factor), term);
}

/* Adds scale and offset as constants: a scalar or one number per channel. */
static int rescaling_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    (void)in, (void)n;
    json_t *scale = json_object_get(l->config, "scale"),
           *offset = json_object_get(l->config, "offset");
    if (json_is_number(scale) && json_is_number(offset))
        return QUERN_OK;
    return quern__layer_constant(l, l->name, scale, err) &&
                   quern__layer_constant(l, l->name, offset, err)
               ? QUERN_OK
               : QUERN_INVALID;
}

static const quern__field rescaling_fields[] = { { "scale", QUERN__F_ANY, NULL },
                                                 { "offset", QUERN__F_ANY, "0.0" },
                                                 { 0 } };
QUERN__LAYER_ROW(rescaling, "Rescaling", "", rescaling_fields, rescaling_build, rescaling_call,
                 PASSES);
