/* noise: GaussianNoise, GaussianDropout and AlphaDropout: random in training, the identity in
 * prediction. Random numbers are counter-based, like those of Dropout. */
#include "keras/keras.h"

#include <math.h>

/* The rate or deviation is in 0 … 1. The deviation of GaussianDropout is infinite for rate 1. */
static int noise_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    const char *key = l->kind->fields[0].name;
    double value = quern__config_number(l->config, key);
    (void)in, (void)n;
    if (!(value >= 0 && value <= 1) || (l->kind->extra && value == 1))
        return quern__fail(err, QUERN_INVALID, l->name, "%s %g is outside 0 … 1", key, value);
    return QUERN_OK;
}

static quern__id gaussian_noise(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                bool training)
{
    double deviation = quern__config_number(l->config, "stddev");
    (void)n;
    if (!training || deviation == 0)
        return in[0];
    return quern__add2(
        g, in[0],
        quern__scale(g, quern__noise(g, in[0], quern__config_seed(l->config, l->seed)), deviation));
}

static quern__id gaussian_dropout(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                  bool training)
{
    double rate = quern__config_number(l->config, "rate");
    (void)n;
    if (!training || rate == 0)
        return in[0];
    quern__id noise = quern__unary(g, QUERN__AFFINE,
                                   quern__noise(g, in[0], quern__config_seed(l->config, l->seed)),
                                   sqrt(rate / (1 - rate)), 1, 0);
    return quern__mul2(g, in[0], noise);
}

/* Dropped elements get the lower bound of SELU; then an affine map restores mean and variance
 * (Klambauer et al., "Self-normalizing neural networks", 2017). */
static quern__id alpha_dropout(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                               bool training)
{
    const double least = -1.6732632423543772 * 1.0507009873554805;
    double rate = quern__config_number(l->config, "rate");
    (void)n;
    if (!training || rate == 0)
        return in[0];
    double a = 1 / sqrt((1 - rate) * (1 + rate * least * least)), b = -a * least * rate;
    quern__id ones =
        quern__broadcast(g, quern__graph_constant(g, 1, QUERN_FLOAT32), quern__shape_of(g, in[0]));
    quern__id stays = quern__dropout(g, ones, rate, quern__config_seed(l->config, l->seed),
                                     quern__shared_axes(l));
    quern__id kept = quern__select(g, stays, in[0], quern__graph_constant(g, least, QUERN_FLOAT32));
    return quern__unary(g, QUERN__AFFINE, kept, a, b, 0);
}

static const quern__field noise_fields[] = { { "stddev", QUERN__F_NUMBER, NULL },
                                             { "seed", QUERN__F_INT, "null" },
                                             { 0 } };
static const quern__field gaussian_fields[] = { { "rate", QUERN__F_NUMBER, NULL },
                                                { "seed", QUERN__F_INT, "null" },
                                                { 0 } };
static const quern__field alpha_fields[] = { { "rate", QUERN__F_NUMBER, NULL },
                                             { "noise_shape", QUERN__F_ANY, "null" },
                                             { "seed", QUERN__F_INT, "null" },
                                             { 0 } };

#define LAYER(ID, NAME, FIELDS, CALL, OPEN)                               \
    const quern__class quern__layer_##ID = { .group = QUERN__LAYER,       \
                                             .name = NAME,                \
                                             .aliases = "",               \
                                             .module = "keras.layers",    \
                                             .fields = FIELDS,            \
                                             .build = noise_build,        \
                                             .call = CALL,                \
                                             .masks = QUERN__MASK_PASSES, \
                                             .by_step = true,             \
                                             .extra = OPEN }
LAYER(gaussian_noise, "GaussianNoise", noise_fields, gaussian_noise, false);
LAYER(gaussian_dropout, "GaussianDropout", gaussian_fields, gaussian_dropout, true);
LAYER(alpha_dropout, "AlphaDropout", alpha_fields, alpha_dropout, true);
