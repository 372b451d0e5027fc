/* unit_normalization: UnitNormalization: x / max(norm, 1e-6) along axes. */
#include "keras/layers/layer_rows.h"

#include <math.h>

/* x / max(norm, 1e-6): the squares are at least 1e-12 before the root. */
static quern__id unit_normalization_call(quern__layer *l, quern__graph *g, const quern__id *in,
                                         int n, bool training)
{
    (void)n, (void)training;
    uint32_t axes = quern__config_axes(l->config, "axis", quern__shape_of(g, in[0])->rank);
    quern__id squares = quern__reduce(g, QUERN__SUM, quern__square(g, in[0]), axes, true);
    quern__id inverse =
        quern__unary_of(g, QUERN__RSQRT, quern__unary(g, QUERN__CLIP, squares, 1e-12, INFINITY, 0));
    return quern__mul2(g, in[0], inverse);
}

static const quern__field axis_fields[] = { { "axis", QUERN__F_ANY, "-1" }, { 0 } };
QUERN__LAYER_ROW(unit_normalization, "UnitNormalization", "", axis_fields, NULL,
                 unit_normalization_call, PASSES);
