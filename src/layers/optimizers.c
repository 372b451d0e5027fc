/* SGD, RMSprop, Adam, AdamW: their slots in the order in which Keras saves them, clipping, decay, and the nodes of a step. */
#include "optimizers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

quern__variable *quern__slot(quern__optimizer *o, int k, int which, const char *name, quern_error *err)
{
    char path[256];
    snprintf(path, sizeof path, "optimizer/%s_%s", o->trained[k]->path, name);
    quern__variable *v = quern__variable_new(path, QUERN_FLOAT32, &o->trained[k]->shape, false, err);
    if (v) {
        v->optimizer = true;
        o->place[k][which] = o->n_slots;
        o->slots[o->n_slots++] = v;
    }
    return v;
}

quern__variable *quern__slot_of(const quern__optimizer *o, int k, int which)
{
    return o->place[k][which] < 0 ? NULL : o->slots[o->place[k][which]];
}

int quern__slots_of_all(quern__optimizer *o, int which, const char *name, bool wanted, quern_error *err)
{
    for (int k = 0; wanted && k < o->n; k++)
        if (!quern__slot(o, k, which, name, err))
            return QUERN_NOMEM;
    return QUERN_OK;
}

static int sgd_slots(quern__optimizer *o, quern_error *err)
{
    return quern__slots_of_all(o, 0, "momentum", quern__config_number(o->config, "momentum") != 0, err);
}

static quern__id sgd_step(quern__optimizer *o, quern__graph *g, int k, quern__id gradient, quern__id rate, quern__id iteration,
                          double decay)
{
    (void)iteration;
    return quern__sgd(g, o->trained[k], gradient, rate, quern__slot_of(o, k, 0), quern__config_number(o->config, "momentum"),
                      quern__config_bool(o->config, "nesterov"), decay);
}

quern__id quern__squares(quern__graph *g, quern__id gradient)
{
    return quern__scattered(g, gradient) ? quern__each_row(g, gradient, QUERN__SQUARE, 0, 0) : 0;
}

static int rmsprop_slots(quern__optimizer *o, quern_error *err)
{
    int status = quern__slots_of_all(o, 0, "velocity", true, err);
    status = status < 0 ? status : quern__slots_of_all(o, 1, "momentum", quern__config_number(o->config, "momentum") > 0, err);
    return status < 0 ? status : quern__slots_of_all(o, 2, "average_gradient", quern__config_bool(o->config, "centered"), err);
}

static quern__id rmsprop_step(quern__optimizer *o, quern__graph *g, int k, quern__id gradient, quern__id rate, quern__id iteration,
                              double decay)
{
    (void)iteration;
    return quern__rmsprop(g, o->trained[k], gradient, quern__squares(g, gradient), rate, quern__slot_of(o, k, 0),
                          quern__slot_of(o, k, 1), quern__slot_of(o, k, 2), quern__config_number(o->config, "rho"),
                          quern__config_number(o->config, "momentum"), quern__config_number(o->config, "epsilon"), decay);
}

static int adam_slots(quern__optimizer *o, quern_error *err)
{
    for (int k = 0; k < o->n; k++)
        if (!quern__slot(o, k, 0, "momentum", err) || !quern__slot(o, k, 1, "velocity", err))
            return QUERN_NOMEM;
    return quern__slots_of_all(o, 2, "velocity_hat", quern__config_bool(o->config, "amsgrad"), err);
}

static quern__id adam_step(quern__optimizer *o, quern__graph *g, int k, quern__id gradient, quern__id rate, quern__id iteration,
                           double decay)
{
    return quern__adam(g, o->trained[k], gradient, quern__squares(g, gradient), rate, iteration, quern__slot_of(o, k, 0),
                       quern__slot_of(o, k, 1), quern__slot_of(o, k, 2), quern__config_number(o->config, "beta_1"),
                       quern__config_number(o->config, "beta_2"), quern__config_number(o->config, "epsilon"), decay);
}

static const quern__field sgd_fields[] = { { "learning_rate", QUERN__F_RATE, "0.01" },
                                           { "momentum", QUERN__F_NUMBER, "0.0" },
                                           { "nesterov", QUERN__F_BOOL, "false" },
                                           QUERN__OPTIMIZER_FIELDS("null") };
static const quern__field rmsprop_fields[] = { { "learning_rate", QUERN__F_RATE, "0.001" }, { "rho", QUERN__F_NUMBER, "0.9" },
                                               { "momentum", QUERN__F_NUMBER, "0.0" },      { "epsilon", QUERN__F_NUMBER, "1e-7" },
                                               { "centered", QUERN__F_BOOL, "false" },      QUERN__OPTIMIZER_FIELDS("null") };
#define BETAS                                                                                                                  \
    { "learning_rate", QUERN__F_RATE, "0.001" }, { "beta_1", QUERN__F_NUMBER, "0.9" }, { "beta_2", QUERN__F_NUMBER, "0.999" }, \
        { "epsilon", QUERN__F_NUMBER, "1e-7" },                                                                                \
    {                                                                                                                          \
        "amsgrad", QUERN__F_BOOL, "false"                                                                                      \
    }
static const quern__field adam_fields[] = { BETAS, QUERN__OPTIMIZER_FIELDS("null") };
static const quern__field adamw_fields[] = { BETAS, QUERN__OPTIMIZER_FIELDS("0.004") };

#define OPTIMIZER(ID, NAME, FIELDS, SLOTS, STEP)                   \
    static const quern__class ID = { .group = QUERN__OPTIMIZER,    \
                                     .name = NAME,                 \
                                     .aliases = "",                \
                                     .module = "keras.optimizers", \
                                     .fields = FIELDS,             \
                                     .slots = SLOTS,               \
                                     .step = STEP }
OPTIMIZER(sgd_class, "SGD", sgd_fields, sgd_slots, sgd_step);
OPTIMIZER(rmsprop_class, "RMSprop", rmsprop_fields, rmsprop_slots, rmsprop_step);
OPTIMIZER(adam_class, "Adam", adam_fields, adam_slots, adam_step);
OPTIMIZER(adamw_class, "AdamW", adamw_fields, adam_slots, adam_step);
const quern__class *const quern__optimizer_classes[] = {
    &sgd_class,   &rmsprop_class, &adam_class,  &adamw_class, &quern__adagrad, &quern__adadelta, &quern__adamax,
    &quern__lion, &quern__lamb,   &quern__ftrl, NULL
};

quern__optimizer *quern__optimizer_new(const quern__class *kind, json_t *config, quern__variable *const *trained, int n,
                                       quern_error *err)
{
    static const char *const clips[] = { "clipnorm", "clipvalue", "global_clipnorm" };
    int clipping = 0;
    for (int i = 0; i < 3; i++)
        clipping += !isnan(quern__config_number(config, clips[i]));
    quern__optimizer *o = quern__zalloc(1, sizeof *o);
    quern_shape scalar = { 0 };
    if (o) {
        *o = (quern__optimizer){ .kind = kind, .config = config, .n = n };
        o->trained = quern__zalloc((size_t)n + 1, sizeof *o->trained);
        o->slots = quern__zalloc(3 * (size_t)n + 1, sizeof *o->slots);
        o->place = quern__zalloc((size_t)n + 1, sizeof *o->place);
        o->constraints = quern__zalloc((size_t)n + 1, sizeof *o->constraints);
        o->iteration = quern__variable_new("optimizer/iteration", QUERN_INT64, &scalar, false, err);
        o->rate = quern__variable_new("optimizer/learning_rate", QUERN_FLOAT32, &scalar, false, err);
    }
    int status = o && o->trained && o->slots && o->place && o->constraints && o->iteration && o->rate ? QUERN_OK : QUERN_NOMEM;
    if (status >= 0 && clipping > 1)
        status = quern__fail(err, QUERN_INVALID, kind->name, "only one of clipnorm, clipvalue, global_clipnorm can be set");
    for (int k = 0; status >= 0 && k < n; k++) {
        o->trained[k] = trained[k];
        o->place[k][0] = o->place[k][1] = o->place[k][2] = -1;
    }
    if (status >= 0) {
        json_t *rate = json_object_get(config, "learning_rate");
        o->schedule = json_is_object(rate) || json_is_string(rate) ? rate : NULL;
        *(float *)o->rate->data = o->schedule ? 0 : (float)json_number_value(rate);
        o->rate->optimizer = o->iteration->optimizer = true;
        status = kind->slots(o, err);
    }
    if (status < 0) {
        quern__optimizer_free(o);
        return NULL;
    }
    return o;
}

void quern__optimizer_free(quern__optimizer *o)
{
    if (!o)
        return;
    for (int i = 0; i < o->n_slots; i++)
        quern__variable_free(o->slots[i]);
    quern__variable_free(o->iteration);
    quern__variable_free(o->rate);
    quern__free(o->trained);
    quern__free(o->slots);
    quern__free(o->place);
    quern__free(o->constraints);
    json_decref(o->config);
    quern__free(o);
}

void quern__optimizer_schedule(quern__optimizer *o)
{
    if (o->schedule)
        *(float *)o->rate->data = (float)quern__schedule_rate(o->schedule, (double)*(int64_t *)o->iteration->data);
}

static quern__id square_sum(quern__graph *g, quern__id x)
{
    return quern__reduce(g, QUERN__SUM, quern__each_row(g, x, QUERN__SQUARE, 0, 0), ~0u, false);
}

/* x * c / max(norm, c). A table of rows stays one, but under the norm of all (Keras on TensorFlow multiplies the sum then). */
static quern__id to_norm(quern__graph *g, quern__id x, quern__id squares, double c, bool rows)
{
    quern__id norm = quern__unary(g, QUERN__SQRT, squares, 0, 0, 0);
    quern__id most = quern__binary(g, QUERN__MAXIMUM, norm, quern__graph_constant(g, c, QUERN_FLOAT32));
    quern__id factor = quern__scale(g, quern__unary(g, QUERN__RECIPROCAL, most, 0, 0, 0), c);
    return rows ? quern__scaled_rows(g, x, factor) : quern__mul2(g, x, factor);
}

static void clip(quern__optimizer *o, quern__graph *g, quern__id *gradients)
{
    double norm = quern__config_number(o->config, "clipnorm"), value = quern__config_number(o->config, "clipvalue"),
           global = quern__config_number(o->config, "global_clipnorm");
    quern__id all = 0;
    for (int k = 0; k < o->n && !isnan(global); k++)
        if (gradients[k])
            all = all ? quern__add2(g, all, square_sum(g, gradients[k])) : square_sum(g, gradients[k]);
    for (int k = 0; k < o->n; k++) {
        if (!gradients[k])
            continue;
        if (!isnan(norm))
            gradients[k] = to_norm(g, gradients[k], square_sum(g, gradients[k]), norm, true);
        else if (!isnan(value))
            gradients[k] = quern__each_row(g, gradients[k], QUERN__CLIP, -value, value);
        else if (!isnan(global))
            gradients[k] = to_norm(g, gradients[k], all, global, false);
    }
}

void quern__optimizer_nodes(quern__optimizer *o, quern__graph *g, quern__id *gradients)
{
    char scope[64];
    quern__snake_case(o->kind->name, scope, sizeof scope);
    quern__graph_scope(g, scope);
    clip(o, g, gradients);
    double decay = quern__config_number(o->config, "weight_decay");
    quern__id rate = quern__graph_variable(g, o->rate), iteration = quern__graph_variable(g, o->iteration);
    for (int k = 0; k < o->n; k++)
        if (gradients[k]) {
            quern__id content = o->kind->step(o, g, k, gradients[k], rate, iteration, isnan(decay) ? 0 : decay);
            quern__id fit = content ? quern__constrained(g, o->constraints[k], content) : 0;
            if (fit)
                quern__assign_again(g, content, fit);
        }
    quern__assign(g, o->iteration, quern__shift(g, iteration, 1));
}
