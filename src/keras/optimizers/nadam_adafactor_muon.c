/* nadam_adafactor_muon: optimizers written from ops: Nadam, Adafactor, Muon, ScheduleFreeAdamW.
 * Formulas: keras.src.optimizers of Keras 3.
 *
 * The functions have the form of those in adagrad_family.c. Nadam shares one value among all
 * variables (o->common), which `begin` computes once per call. */
#include "optimizers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static double number(const quern__optimizer *o, const char *key) { return quern__option(o, key); }
static quern__id add(quern__graph *g, quern__id a, quern__id b) { return quern__add2(g, a, b); }
static quern__id mul(quern__graph *g, quern__id a, quern__id b) { return quern__mul2(g, a, b); }
static quern__id divide(quern__graph *g, quern__id a, quern__id b) { return quern__div2(g, a, b); }
static quern__id constant(quern__graph *g, double x)
{
    return quern__graph_constant(g, x, QUERN_FLOAT32);
}
static quern__id squares_of(quern__graph *g, quern__id gradient)
{
    return quern__each_row(g, gradient, QUERN__SQUARE, 0, 0);
}

#define STEP(NAME)                                                                         \
    static quern__id NAME(quern__optimizer *o, quern__graph *g, int k, quern__id gradient, \
                          quern__id rate, quern__id iteration, double decay)

static int two_slots(quern__optimizer *o, quern_error *err)
{
    for (int k = 0; k < o->n; k++)
        if (!quern__slot(o, k, 0, "momentum", err) || !quern__slot(o, k, 1, "velocity", err))
            return QUERN_NOMEM;
    return QUERN_OK;
}

/* ---- Nadam ---- */

/* The last slot is the product of all u_t. */
static int nadam_slots(quern__optimizer *o, quern_error *err)
{
    quern_shape scalar = { 0 };
    quern__variable *product =
        two_slots(o, err) < 0
            ? NULL
            : quern__slot_made(o, -1, 0, "optimizer/u_product", QUERN_FLOAT32, &scalar, err);
    if (product) {
        quern__slot_automatic(o);
        *(float *)product->data = 1;
    }
    return product ? QUERN_OK : QUERN_NOMEM;
}

void quern__nadam_resume(quern__optimizer *o)
{
    double product = 1, beta = number(o, "beta_1");
    int64_t steps = *(int64_t *)o->iteration->data;
    for (int64_t t = 1; t <= steps && product > 1e-45; t++)
        product *= beta * (1 - 0.5 * pow(0.96, (double)t));
    *(float *)o->slots[o->n_slots - 1]->data = (float)product;
}

/* beta_1 (1 - 0.5 · 0.96^step) */
static quern__id u(const quern__optimizer *o, quern__graph *g, quern__id step)
{
    double beta = number(o, "beta_1");
    return quern__unary(g, QUERN__AFFINE, quern__binary(g, QUERN__POW, constant(g, 0.96), step),
                        -0.5 * beta, beta, 0);
}

static void nadam_begin(quern__optimizer *o, quern__graph *g, quern__id iteration)
{
    quern__variable *product = o->slots[o->n_slots - 1];
    o->common = quern__assign(
        g, product,
        mul(g, quern__graph_variable(g, product), u(o, g, quern__step_number(g, iteration))));
}

/* Dozat, 2016: Adam with Nesterov momentum; `ahead` is the momentum of the next step. */
STEP(nadam_step)
{
    double beta_1 = number(o, "beta_1"), beta_2 = number(o, "beta_2");
    quern__id t = quern__step_number(g, iteration), now = u(o, g, t),
              next = u(o, g, quern__shift(g, t, 1));
    quern__id m = quern__keep(
        o, g, k, 0, quern__mixed(g, quern__before(o, g, k, 0), beta_1, gradient, 1 - beta_1));
    quern__id v = quern__keep(
        o, g, k, 1,
        quern__mixed(g, quern__before(o, g, k, 1), beta_2, squares_of(g, gradient), 1 - beta_2));
    quern__id ahead = mul(g, m, divide(g, next, quern__one_minus(g, mul(g, o->common, next))));
    quern__id mean =
        add(g, ahead,
            mul(g, gradient, divide(g, quern__one_minus(g, now), quern__one_minus(g, o->common))));
    quern__id below =
        quern__shift(g, quern__sqrt(g, divide(g, v, quern__correction(g, beta_2, iteration))),
                     number(o, "epsilon"));
    return quern__moved(o, g, k, rate, decay, divide(g, mul(g, mean, rate), below));
}

/* ---- Adafactor ---- */

/* A matrix has a mean per row and per column. For other variables, Keras stores two placeholders
 * that it does not use. */
static int adafactor_slots(quern__optimizer *o, quern_error *err)
{
    for (int k = 0; k < o->n; k++) {
        char path[256];
        quern_shape s = o->trained[k]->shape, rows = s, columns = s;
        bool factored = s.rank >= 2;
        snprintf(path, sizeof path, "optimizer/%s", o->trained[k]->path);
        rows.rank = columns.rank = factored ? s.rank - 1 : 0;
        if (factored)
            columns.dims[s.rank - 2] = s.dims[s.rank - 1];
        int dtype = factored ? QUERN_FLOAT32 : QUERN_INT32;
        for (int i = 0; i < 2; i++) {
            if (!quern__slot_made(o, k, i, path, dtype, i ? &columns : &rows, err))
                return QUERN_NOMEM;
            if (!factored)
                quern__slot_automatic(o);
        }
        if (!quern__slot(o, k, 2, "velocity", err))
            return QUERN_NOMEM;
    }
    return QUERN_OK;
}

/* The mean along the axis that is `from_last` axes from the end. */
static quern__id mean_along(quern__graph *g, quern__id x, int from_last, bool kept)
{
    return x ? quern__reduce(g, QUERN__MEAN, x, 1u << (quern__shape_of(g, x)->rank - from_last),
                             kept)
             : 0;
}

/* The root of the mean square of all elements. */
static quern__id rms(quern__graph *g, quern__id x)
{
    return quern__sqrt(g, quern__reduce(g, QUERN__MEAN, quern__square(g, x), ~0u, false));
}

/* old * beta + new * (1 - beta), where beta is a value */
static quern__id blended(quern__graph *g, quern__id old, quern__id beta, quern__id x)
{
    return add(g, mul(g, old, beta), mul(g, x, quern__one_minus(g, beta)));
}

/* The second moment of a matrix, from the moments of its rows and columns. */
static quern__id factored(quern__optimizer *o, quern__graph *g, int k, quern__id beta,
                          quern__id squares)
{
    quern_shape s = o->trained[k]->shape, column = s, row = s;
    column.dims[s.rank - 1] = row.dims[s.rank - 2] = 1;
    quern__id r = quern__keep(
        o, g, k, 0, blended(g, quern__before(o, g, k, 0), beta, mean_along(g, squares, 1, false)));
    quern__id c = quern__keep(
        o, g, k, 1, blended(g, quern__before(o, g, k, 1), beta, mean_along(g, squares, 2, false)));
    quern__id share = divide(g, r, mean_along(g, r, 1, true));
    return mul(g, quern__reshape(g, share, &column), quern__reshape(g, c, &row));
}

/* relative_step has no effect in Keras: the rate is at most 1 / sqrt(t) with and without it. */
STEP(adafactor_step)
{
    /* the decay of the moments, and a step relative to the size of the weight */
    quern__id t = quern__step_number(g, iteration), w = quern__decayed(o, g, k, rate, decay);
    quern__id beta = quern__one_minus(
        g, quern__binary(g, QUERN__POW, t, constant(g, number(o, "beta_2_decay"))));
    quern__id rho = quern__binary(g, QUERN__MINIMUM, rate, quern__unary_of(g, QUERN__RSQRT, t));
    quern__id alpha = mul(
        g, quern__binary(g, QUERN__MAXIMUM, rms(g, w), constant(g, number(o, "epsilon_2"))), rho);
    /* second moment, factored for matrices */
    quern__id squares = quern__shift(g, squares_of(g, gradient), number(o, "epsilon_1"));
    bool matrix = o->trained[k]->shape.rank >= 2;
    quern__id v = quern__keep(o, g, k, 2,
                              matrix ? factored(o, g, k, beta, squares)
                                     : blended(g, quern__before(o, g, k, 2), beta, squares));
    /* clip the direction by its root mean square */
    quern__id direction = divide(g, gradient, quern__sqrt(g, v)),
              scattered = quern__squares(o, g, k, gradient);
    quern__id length =
        scattered
            ? quern__sqrt(g, quern__reduce(g, QUERN__MEAN, divide(g, scattered, v), ~0u, false))
            : rms(g, direction);
    quern__id size = quern__scale(g, length, 1 / number(o, "clip_threshold"));
    direction = divide(g, direction, quern__binary(g, QUERN__MAXIMUM, size, constant(g, 1)));
    return quern__moved(o, g, k, rate, decay, mul(g, direction, alpha));
}

/* ---- Muon ---- */

/* Whether Adam updates variable k: it is not a matrix, it is an embedding, or its layer is
 * excluded. Returns a negative status for an invalid pattern. */
static int for_adam(const quern__optimizer *o, int k, quern_error *err)
{
    char path[512];
    json_t *patterns = json_object_get(o->config, "exclude_layers"), *one;
    size_t i;
    quern__keras_path(o, k, path, sizeof path);
    if (o->trained[k]->shape.rank != 2)
        return 1;
    if (quern__config_bool(o->config, "exclude_embeddings") && strcasestr(path, "embedding"))
        return 1;
    json_array_foreach(patterns, i, one)
    {
        int fits = json_is_string(one)
                       ? quern__pattern_fits(json_string_value(one), path, false, err)
                       : quern__fail(err, QUERN_INVALID, o->kind->name,
                                     "exclude_layers must have patterns");
        if (fits)
            return fits;
    }
    return 0;
}

enum { most_ns_steps = 100 };

/* A momentum for each variable; Adam's variables also have a velocity. */
static int muon_slots(quern__optimizer *o, quern_error *err)
{
    if (!(number(o, "ns_steps") >= 0 && number(o, "ns_steps") <= most_ns_steps))
        return quern__fail(err, QUERN_INVALID, o->kind->name, "ns_steps is outside 0 … %d",
                           most_ns_steps);
    for (int k = 0; k < o->n; k++) {
        int adam = for_adam(o, k, err);
        if (adam < 0)
            return adam;
        if (!quern__slot(o, k, 0, "momentum", err) ||
            (adam && !quern__slot(o, k, 1, "velocity", err)))
            return QUERN_NOMEM;
    }
    return QUERN_OK;
}

/* _adamw_update_step of Keras */
static quern__id adam_step(quern__optimizer *o, quern__graph *g, int k, quern__id gradient,
                           quern__id rate, quern__id iteration)
{
    double beta_1 = number(o, "adam_beta_1"), beta_2 = number(o, "adam_beta_2");
    quern__id alpha = divide(g, quern__sqrt(g, quern__correction(g, beta_2, iteration)),
                             quern__correction(g, beta_1, iteration));
    quern__id m = quern__keep(
        o, g, k, 0, quern__mixed(g, quern__before(o, g, k, 0), beta_1, gradient, 1 - beta_1));
    quern__id v = quern__keep(
        o, g, k, 1,
        quern__mixed(g, quern__before(o, g, k, 1), beta_2, squares_of(g, gradient), 1 - beta_2));
    quern__id below = quern__shift(g, quern__sqrt(g, v), number(o, "epsilon"));
    return divide(g, mul(g, m, mul(g, alpha, quern__scale(g, rate, number(o, "adam_lr_ratio")))),
                  below);
}

/* Newton-Schulz iteration: a matrix with the same singular vectors, whose singular values
 * approach 1. A tall matrix is transposed first. */
static quern__id orthogonal(const quern__optimizer *o, quern__graph *g, quern__id x)
{
    const quern_shape *s = x ? quern__shape_of(g, x) : NULL;
    bool tall = s && s->dims[0] > s->dims[1];
    x = tall ? quern__transpose(g, x, (const int[]){ 1, 0 }) : x;
    quern__id norm = quern__sqrt(g, quern__reduce(g, QUERN__SUM, quern__square(g, x), ~0u, false));
    x = x ? divide(g, x, quern__shift(g, norm, 1e-7)) : 0;
    for (int i = 0; x && i < quern__config_int(o->config, "ns_steps"); i++) {
        quern__id a = quern__matmul(g, x, x, false, true);
        quern__id b = quern__mixed(g, a, number(o, "muon_b"), quern__matmul(g, a, a, false, false),
                                   number(o, "muon_c"));
        x = add(g, quern__scale(g, x, number(o, "muon_a")), quern__matmul(g, b, x, false, false));
    }
    return tall && x ? quern__transpose(g, x, (const int[]){ 1, 0 }) : x;
}

/* Jordan et al., "Muon", 2024: the momentum of a matrix, made orthogonal; Adam for other
 * variables. */
STEP(muon_step)
{
    bool adam = quern__slot_of(o, k, 1) != NULL;
    double momentum = number(o, "momentum"), rms_rate = number(o, "rms_rate");
    double own = o->undecayed[k] ? 0 : adam ? number(o, "adam_weight_decay") : decay;
    own = isnan(own) ? 0 : own;
    if (adam)
        return quern__moved(o, g, k, rate, own, adam_step(o, g, k, gradient, rate, iteration));
    const quern_shape *s = &o->trained[k]->shape;
    quern__id m = quern__keep(
        o, g, k, 0, add(g, gradient, quern__scale(g, quern__before(o, g, k, 0), momentum)));
    quern__id x = quern__config_bool(o->config, "nesterov")
                      ? add(g, gradient, quern__scale(g, m, momentum))
                      : m;
    double by = isnan(rms_rate)
                    ? 1
                    : sqrt((double)(s->dims[0] > s->dims[1] ? s->dims[0] : s->dims[1])) * rms_rate;
    return quern__moved(o, g, k, rate, own, quern__scale(g, mul(g, orthogonal(o, g, x), rate), by));
}

/* ---- ScheduleFreeAdamW ---- */

/* The momentum is the weight without averaging; it starts as a copy of the weight. */
static void schedule_free_fresh(quern__optimizer *o)
{
    for (int k = 0; k < o->n; k++)
        memcpy(quern__variable_numbers(quern__slot_of(o, k, 0)),
               quern__variable_numbers(o->trained[k]),
               (size_t)quern_shape_count(&o->trained[k]->shape) * sizeof(float));
}

/* As Keras on TensorFlow: the variable that Keras names the old momentum already has the new one
 * when it is read. */
STEP(schedule_free_step)
{
    double beta_1 = number(o, "beta_1"), beta_2 = number(o, "beta_2"),
           warm = number(o, "warmup_steps");
    quern__id t = quern__step_number(g, iteration), z = quern__before(o, g, k, 0), lr = rate;
    if (warm > 0)
        lr = mul(g, lr,
                 quern__binary(g, QUERN__MINIMUM, quern__scale(g, t, 1 / warm), constant(g, 1)));
    quern__id v = quern__keep(
        o, g, k, 1,
        quern__mixed(g, quern__before(o, g, k, 1), beta_2, squares_of(g, gradient), 1 - beta_2));
    quern__id below =
        quern__shift(g, quern__sqrt(g, divide(g, v, quern__correction(g, beta_2, iteration))),
                     number(o, "epsilon"));
    quern__id next =
        quern__keep(o, g, k, 0, quern__sub2(g, z, divide(g, mul(g, lr, gradient), below)));
    quern__id weight = quern__unary_of(g, QUERN__RECIPROCAL, t);
    quern__id x = quern__mixed(g, quern__decayed(o, g, k, rate, decay), 1 / beta_1, next,
                               -(1 - beta_1) / beta_1);
    x = add(g, mul(g, x, quern__one_minus(g, weight)), mul(g, next, weight));
    return quern__assign(g, o->trained[k], quern__mixed(g, next, 1 - beta_1, x, beta_1));
}

/* ---- rows ---- */

#define RATE(DEFAULT)                           \
    {                                           \
        "learning_rate", QUERN__F_RATE, DEFAULT \
    }
#define NUMBER(NAME, DEFAULT)          \
    {                                  \
        NAME, QUERN__F_NUMBER, DEFAULT \
    }
static const quern__field nadam_fields[] = { RATE("0.001"),
                                             NUMBER("beta_1", "0.9"),
                                             NUMBER("beta_2", "0.999"),
                                             NUMBER("epsilon", "1e-7"),
                                             QUERN__OPTIMIZER_FIELDS("null"),
                                             QUERN__OPTIMIZER_FIELDS_END };
static const quern__field adafactor_fields[] = { RATE("0.001"),
                                                 NUMBER("beta_2_decay", "-0.8"),
                                                 NUMBER("epsilon_1", "1e-30"),
                                                 NUMBER("epsilon_2", "1e-3"),
                                                 NUMBER("clip_threshold", "1.0"),
                                                 { "relative_step", QUERN__F_BOOL, "true" },
                                                 QUERN__OPTIMIZER_FIELDS("null"),
                                                 QUERN__OPTIMIZER_FIELDS_END };
static const quern__field muon_fields[] = { RATE("0.001"),
                                            NUMBER("adam_beta_1", "0.9"),
                                            NUMBER("adam_beta_2", "0.999"),
                                            NUMBER("adam_weight_decay", "0.004"),
                                            NUMBER("epsilon", "1e-7"),
                                            QUERN__OPTIMIZER_FIELDS("0.004"),
                                            { "exclude_layers", QUERN__F_ANY, "[]" },
                                            { "exclude_embeddings", QUERN__F_BOOL, "true" },
                                            NUMBER("muon_a", "3.4445"),
                                            NUMBER("muon_b", "-4.775"),
                                            NUMBER("muon_c", "2.0315"),
                                            NUMBER("adam_lr_ratio", "1"),
                                            NUMBER("momentum", "0.95"),
                                            { "ns_steps", QUERN__F_INT, "5" },
                                            { "nesterov", QUERN__F_BOOL, "true" },
                                            NUMBER("rms_rate", "0.2"),
                                            QUERN__OPTIMIZER_FIELDS_END };
static const quern__field schedule_free_fields[] = { RATE("0.0025"),
                                                     NUMBER("beta_1", "0.9"),
                                                     NUMBER("beta_2", "0.999"),
                                                     NUMBER("epsilon", "1e-8"),
                                                     { "warmup_steps", QUERN__F_INT, "0" },
                                                     QUERN__OPTIMIZER_FIELDS("null"),
                                                     QUERN__OPTIMIZER_FIELDS_END };
const quern__class quern__nadam = {
    QUERN__OPTIMIZER_ROW("Nadam", nadam_fields, nadam_slots, nadam_step), .begin = nadam_begin
};
const quern__class quern__adafactor = { QUERN__OPTIMIZER_ROW("Adafactor", adafactor_fields,
                                                             adafactor_slots, adafactor_step) };
const quern__class quern__muon = { QUERN__OPTIMIZER_ROW("Muon", muon_fields, muon_slots,
                                                        muon_step) };
const quern__class quern__schedule_free_adamw = {
    QUERN__OPTIMIZER_ROW("ScheduleFreeAdamW", schedule_free_fields, two_slots, schedule_free_step),
    .init_slots = schedule_free_fresh
};
