/* constraints: projections of a weight after each optimizer step.
 * https://keras.io/api/layers/constraints/ */
#include "keras/keras.h"

#include <math.h>

/* sqrt(sum of squares) over the axes of the config, which stay as axes of size 1 */
static quern__id norms(quern__graph *g, json_t *config, quern__id x)
{
    uint32_t axes = quern__config_axes(config, "axis", quern__shape_of(g, x)->rank);
    quern__id squares = quern__reduce(g, QUERN__SUM, quern__square(g, x), axes, true);
    return quern__sqrt(g, squares);
}

/* x * wanted / (epsilon + norm) */
static quern__id rescaled(quern__graph *g, quern__id x, quern__id wanted, quern__id norm)
{
    return quern__mul2(g, x, quern__div2(g, wanted, quern__shift(g, norm, 1e-7)));
}

static quern__id max_norm(quern__graph *g, json_t *config, quern__id x)
{
    quern__id n = norms(g, config, x);
    return rescaled(
        g, x, quern__unary(g, QUERN__CLIP, n, 0, quern__config_number(config, "max_value"), 0), n);
}

static quern__id min_max_norm(quern__graph *g, json_t *config, quern__id x)
{
    quern__id n = norms(g, config, x);
    double rate = quern__config_number(config, "rate");
    quern__id inside = quern__unary(g, QUERN__CLIP, n, quern__config_number(config, "min_value"),
                                    quern__config_number(config, "max_value"), 0);
    return rescaled(g, x,
                    quern__add2(g, quern__scale(g, inside, rate), quern__scale(g, n, 1 - rate)), n);
}

static quern__id unit_norm(quern__graph *g, json_t *config, quern__id x)
{
    return quern__div2(g, x, quern__shift(g, norms(g, config, x), 1e-7));
}

static quern__id non_negative(quern__graph *g, json_t *config, quern__id x)
{
    (void)config;
    return quern__unary(g, QUERN__CLIP, x, 0, INFINITY, 0);
}

#define AXIS \
    { "axis", QUERN__F_ANY, "0" }, { 0 }
static const quern__field max_fields[] = { { "max_value", QUERN__F_NUMBER, "2" }, AXIS };
static const quern__field min_max_fields[] = { { "min_value", QUERN__F_NUMBER, "0.0" },
                                               { "max_value", QUERN__F_NUMBER, "1.0" },
                                               { "rate", QUERN__F_NUMBER, "1.0" },
                                               AXIS };
static const quern__field unit_fields[] = { AXIS };
#define CONSTRAINT(NAME, FIELDS, PROJECT)                                                       \
    &(const quern__class)                                                                       \
    {                                                                                           \
        .group = QUERN__CONSTRAINT, .name = NAME, .aliases = "", .module = "keras.constraints", \
        .fields = FIELDS, .project = PROJECT                                                    \
    }
const quern__class *const quern__constraint_classes[] = {
    CONSTRAINT("MaxNorm", max_fields, max_norm),
    CONSTRAINT("MinMaxNorm", min_max_fields, min_max_norm),
    CONSTRAINT("UnitNorm", unit_fields, unit_norm), CONSTRAINT("NonNeg", NULL, non_negative), NULL
};

quern__id quern__constrained(quern__graph *g, json_t *spec, quern__id x)
{
    json_t *config = NULL;
    quern_error err = { 0 };
    if (!spec || json_is_null(spec))
        return 0;
    const quern__class *c = quern__object(QUERN__CONSTRAINT, spec, &config, &err);
    if (!c)
        return quern__graph_fail(g, err.code, "%s", err.text);
    quern__id y = c->project(g, config, x);
    json_decref(config);
    return y;
}
