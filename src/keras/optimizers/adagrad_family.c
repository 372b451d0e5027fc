/* adagrad_family: optimizers written from ops: Adagrad, Adadelta, Adamax, Lion, Lamb, Ftrl.
 * Formulas: keras.src.optimizers of Keras 3.
 *
 * Each STEP adds the nodes of one variable, and returns its new content. quern__before reads a
 * slot, quern__keep writes it, and quern__moved subtracts the step after weight decay. Squares of a
 * sparse gradient are those of its rows (quern__each_row), as in Keras on TensorFlow. The functions
 * before them are also those of nadam_adafactor_muon.c. */
#include "optimizers.h"

#include <math.h>

static double number(const quern__optimizer *o, const char *key) { return quern__option(o, key); }
static quern__id add(quern__graph *g, quern__id a, quern__id b) { return quern__add2(g, a, b); }
static quern__id mul(quern__graph *g, quern__id a, quern__id b) { return quern__mul2(g, a, b); }

/* x to a constant exponent. */
static quern__id power(quern__graph *g, quern__id x, double exponent)
{
    return quern__binary(g, QUERN__POW, x, quern__graph_constant(g, exponent, QUERN_FLOAT32));
}

/* ---- functions that several updates use ---- */

double quern__option(const quern__optimizer *o, const char *key)
{
    return quern__config_number(o->config, key);
}

quern__id quern__mixed(quern__graph *g, quern__id x, double a, quern__id y, double b)
{
    return add(g, quern__scale(g, x, a), quern__scale(g, y, b));
}

quern__id quern__before(const quern__optimizer *o, quern__graph *g, int k, int which)
{
    return quern__graph_variable(g, quern__slot_of(o, k, which));
}

quern__id quern__keep(const quern__optimizer *o, quern__graph *g, int k, int which, quern__id x)
{
    return quern__assign(g, quern__slot_of(o, k, which), x);
}

quern__id quern__decayed(const quern__optimizer *o, quern__graph *g, int k, quern__id rate,
                         double decay)
{
    quern__id v = quern__graph_variable(g, o->trained[k]);
    return decay > 0 ? quern__sub2(g, v, mul(g, v, quern__scale(g, rate, decay))) : v;
}

quern__id quern__moved(const quern__optimizer *o, quern__graph *g, int k, quern__id rate,
                       double decay, quern__id step)
{
    return quern__assign(g, o->trained[k],
                         quern__sub2(g, quern__decayed(o, g, k, rate, decay), step));
}

quern__id quern__step_number(quern__graph *g, quern__id iteration)
{
    return quern__shift(g, quern__cast(g, iteration, QUERN_FLOAT32), 1);
}

quern__id quern__correction(quern__graph *g, double beta, quern__id iteration)
{
    quern__id p = quern__binary(g, QUERN__POW, quern__graph_constant(g, beta, QUERN_FLOAT32),
                                quern__step_number(g, iteration));
    return quern__unary(g, QUERN__AFFINE, p, -1, 1, 0);
}

/* ---- optimizers ---- */

/* Sets all elements of a slot; NULL: its creation failed. */
static void fill_slot(quern__variable *v, double with)
{
    if (v)
        for (int64_t i = 0; i < quern_shape_count(&v->shape); i++)
            ((float *)v->data)[i] = (float)with;
}

#define STEP(NAME)                                                                         \
    static quern__id NAME(quern__optimizer *o, quern__graph *g, int k, quern__id gradient, \
                          quern__id rate, quern__id iteration, double decay)
#define TWO_SLOTS(NAME, FIRST, SECOND)                                                   \
    static int NAME(quern__optimizer *o, quern_error *err)                               \
    {                                                                                    \
        for (int k = 0; k < o->n; k++)                                                   \
            if (!quern__slot(o, k, 0, FIRST, err) || !quern__slot(o, k, 1, SECOND, err)) \
                return QUERN_NOMEM;                                                      \
        return QUERN_OK;                                                                 \
    }
TWO_SLOTS(adadelta_slots, "accumulated_grad", "accumulated_delta_var")
TWO_SLOTS(adamax_slots, "momentum", "norm")
TWO_SLOTS(lamb_slots, "momentum", "velocity")
TWO_SLOTS(ftrl_zeros, "accumulator", "linear")

static int adagrad_slots(quern__optimizer *o, quern_error *err)
{
    int status = quern__slots_of_all(o, 0, "accumulator", true, err);
    for (int k = 0; k < o->n && status >= 0; k++)
        fill_slot(quern__slot_of(o, k, 0), number(o, "initial_accumulator_value"));
    return status;
}

static int ftrl_slots(quern__optimizer *o, quern_error *err)
{
    int status = ftrl_zeros(o, err);
    for (int k = 0; k < o->n && status >= 0; k++)
        fill_slot(quern__slot_of(o, k, 0), number(o, "initial_accumulator_value"));
    return status;
}

static int lion_slots(quern__optimizer *o, quern_error *err)
{
    return quern__slots_of_all(o, 0, "momentum", true, err);
}

/* Duchi, Hazan and Singer, 2011: the step is divided by the root of the sum of all squares. */
STEP(adagrad_step)
{
    (void)iteration;
    quern__id sum = quern__keep(
        o, g, k, 0,
        add(g, quern__before(o, g, k, 0), quern__each_row(g, gradient, QUERN__SQUARE, 0, 0)));
    quern__id below = quern__sqrt(g, quern__shift(g, sum, number(o, "epsilon")));
    return quern__moved(o, g, k, rate, decay, quern__div2(g, mul(g, gradient, rate), below));
}

/* Zeiler, 2012: the ratio of two moving averages replaces the rate: of squared steps and of squared
 * gradients. */
STEP(adadelta_step)
{
    (void)iteration;
    double rho = number(o, "rho"), epsilon = number(o, "epsilon");
    quern__id deltas = quern__before(o, g, k, 1),
              sum = quern__keep(o, g, k, 0,
                                quern__mixed(g, quern__before(o, g, k, 0), rho,
                                             quern__each_row(g, gradient, QUERN__SQUARE, 0, 0),
                                             1 - rho));
    quern__id delta =
        quern__div2(g, mul(g, quern__sqrt(g, quern__shift(g, deltas, epsilon)), gradient),
                    quern__sqrt(g, quern__shift(g, sum, epsilon)));
    quern__keep(o, g, k, 1, quern__mixed(g, deltas, rho, quern__square(g, delta), 1 - rho));
    return quern__moved(o, g, k, rate, decay, mul(g, delta, rate));
}

/* Kingma and Ba, 2015, section 7: Adam with the maximum norm instead of the second moment. */
STEP(adamax_step)
{
    double beta_1 = number(o, "beta_1");
    quern__id m = quern__keep(
        o, g, k, 0, quern__mixed(g, quern__before(o, g, k, 0), beta_1, gradient, 1 - beta_1));
    quern__id u =
        quern__keep(o, g, k, 1,
                    quern__binary(g, QUERN__MAXIMUM,
                                  quern__scale(g, quern__before(o, g, k, 1), number(o, "beta_2")),
                                  quern__each_row(g, gradient, QUERN__ABS, 0, 0)));
    quern__id below =
        mul(g, quern__shift(g, u, number(o, "epsilon")), quern__correction(g, beta_1, iteration));
    return quern__moved(o, g, k, rate, decay, quern__div2(g, mul(g, m, rate), below));
}

/* Chen et al., 2023: the sign of a mix of momentum and gradient. */
STEP(lion_step)
{
    (void)iteration;
    double beta_1 = number(o, "beta_1"), beta_2 = number(o, "beta_2");
    quern__id m = quern__before(o, g, k, 0);
    quern__id direction =
        quern__unary_of(g, QUERN__SIGN, quern__mixed(g, m, beta_1, gradient, 1 - beta_1));
    quern__keep(o, g, k, 0, quern__mixed(g, m, beta_2, gradient, 1 - beta_2));
    return quern__moved(o, g, k, rate, decay, mul(g, direction, rate));
}

/* The Euclidean norm of all elements. */
static quern__id length(quern__graph *g, quern__id x)
{
    return quern__sqrt(g, quern__reduce(g, QUERN__SUM, quern__square(g, x), ~0u, false));
}

/* You et al., 2020: Adam's direction, scaled by the norm of the weight over the norm of the
 * direction; by 1 if one of them is 0. */
STEP(lamb_step)
{
    double beta_1 = number(o, "beta_1"), beta_2 = number(o, "beta_2");
    quern__id m = quern__keep(
        o, g, k, 0, quern__mixed(g, quern__before(o, g, k, 0), beta_1, gradient, 1 - beta_1));
    quern__id v =
        quern__keep(o, g, k, 1,
                    quern__mixed(g, quern__before(o, g, k, 1), beta_2,
                                 quern__each_row(g, gradient, QUERN__SQUARE, 0, 0), 1 - beta_2));
    quern__id below =
        quern__shift(g, quern__sqrt(g, quern__div2(g, v, quern__correction(g, beta_2, iteration))),
                     number(o, "epsilon"));
    quern__id update =
        quern__div2(g, quern__div2(g, m, quern__correction(g, beta_1, iteration)), below);
    quern__id weight = length(g, quern__decayed(o, g, k, rate, decay)), step = length(g, update);
    quern__id zero = quern__graph_constant(g, 0, QUERN_FLOAT32),
              one = quern__graph_constant(g, 1, QUERN_FLOAT32);
    quern__id both = mul(g, quern__binary(g, QUERN__GREATER, weight, zero),
                         quern__binary(g, QUERN__GREATER, step, zero));
    quern__id ratio = quern__select(g, both, quern__div2(g, weight, step), one);
    return quern__moved(o, g, k, rate, decay, mul(g, update, mul(g, ratio, rate)));
}

/* McMahan et al., 2013: the weight follows from the accumulated linear term in closed form. */
STEP(ftrl_step)
{
    (void)iteration;
    double p = -number(o, "learning_rate_power"), l1 = number(o, "l1_regularization_strength");
    quern__id v = quern__decayed(o, g, k, rate, decay), sum = quern__before(o, g, k, 0),
              next = add(g, sum, quern__each_row(g, gradient, QUERN__SQUARE, 0, 0));
    quern__id shrunk =
        add(g, gradient, quern__scale(g, v, 2 * number(o, "l2_shrinkage_regularization_strength")));
    quern__id grown = quern__div2(g, quern__sub2(g, power(g, next, p), power(g, sum, p)), rate);
    quern__id linear = quern__keep(
        o, g, k, 1, add(g, quern__before(o, g, k, 1), quern__sub2(g, shrunk, mul(g, grown, v))));
    /* 2 (l2 + beta / (2 rate)) */
    quern__id l2 = quern__shift(
        g, quern__scale(g, quern__unary_of(g, QUERN__RECIPROCAL, rate), number(o, "beta")),
        2 * number(o, "l2_regularization_strength"));
    quern__id quadratic = add(g, quern__div2(g, power(g, next, p), rate), l2);
    quern__id clipped = quern__unary(g, QUERN__CLIP, linear, -l1, l1, 0);
    quern__keep(o, g, k, 0, next);
    return quern__assign(g, o->trained[k],
                         quern__div2(g, quern__sub2(g, clipped, linear), quadratic));
}

#define RATE                                    \
    {                                           \
        "learning_rate", QUERN__F_RATE, "0.001" \
    }
static const quern__field adagrad_fields[] = { RATE,
                                               { "initial_accumulator_value", QUERN__F_NUMBER,
                                                 "0.1" },
                                               { "epsilon", QUERN__F_NUMBER, "1e-7" },
                                               QUERN__OPTIMIZER_FIELDS("null"),
                                               QUERN__OPTIMIZER_FIELDS_END };
static const quern__field adadelta_fields[] = { RATE,
                                                { "rho", QUERN__F_NUMBER, "0.95" },
                                                { "epsilon", QUERN__F_NUMBER, "1e-7" },
                                                QUERN__OPTIMIZER_FIELDS("null"),
                                                QUERN__OPTIMIZER_FIELDS_END };
static const quern__field beta_fields[] = { RATE,
                                            { "beta_1", QUERN__F_NUMBER, "0.9" },
                                            { "beta_2", QUERN__F_NUMBER, "0.999" },
                                            { "epsilon", QUERN__F_NUMBER, "1e-7" },
                                            QUERN__OPTIMIZER_FIELDS("null"),
                                            QUERN__OPTIMIZER_FIELDS_END };
static const quern__field lion_fields[] = { RATE,
                                            { "beta_1", QUERN__F_NUMBER, "0.9" },
                                            { "beta_2", QUERN__F_NUMBER, "0.99" },
                                            QUERN__OPTIMIZER_FIELDS("null"),
                                            QUERN__OPTIMIZER_FIELDS_END };
static const quern__field ftrl_fields[] = {
    RATE,
    { "learning_rate_power", QUERN__F_NUMBER, "-0.5" },
    { "initial_accumulator_value", QUERN__F_NUMBER, "0.1" },
    { "l1_regularization_strength", QUERN__F_NUMBER, "0.0" },
    { "l2_regularization_strength", QUERN__F_NUMBER, "0.0" },
    { "l2_shrinkage_regularization_strength", QUERN__F_NUMBER, "0.0" },
    { "beta", QUERN__F_NUMBER, "0.0" },
    QUERN__OPTIMIZER_FIELDS("null"),
    QUERN__OPTIMIZER_FIELDS_END
};
const quern__class quern__adagrad = { QUERN__OPTIMIZER_ROW("Adagrad", adagrad_fields, adagrad_slots,
                                                           adagrad_step) };
const quern__class quern__adadelta = { QUERN__OPTIMIZER_ROW("Adadelta", adadelta_fields,
                                                            adadelta_slots, adadelta_step) };
const quern__class quern__adamax = { QUERN__OPTIMIZER_ROW("Adamax", beta_fields, adamax_slots,
                                                          adamax_step) };
const quern__class quern__lion = { QUERN__OPTIMIZER_ROW("Lion", lion_fields, lion_slots,
                                                        lion_step) };
const quern__class quern__lamb = { QUERN__OPTIMIZER_ROW("Lamb", beta_fields, lamb_slots,
                                                        lamb_step) };
const quern__class quern__ftrl = { QUERN__OPTIMIZER_ROW("Ftrl", ftrl_fields, ftrl_slots,
                                                        ftrl_step) };
