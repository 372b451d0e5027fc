/* sgd_rmsprop_adam: SGD, RMSprop, Adam, AdamW: their slots in the order in which Keras saves them,
 * and their updates, each a single op. The table of all optimizers is here too. */
#include "optimizers.h"

static int sgd_slots(quern__optimizer *o, quern_error *err)
{
    return quern__slots_of_all(o, 0, "momentum", quern__config_number(o->config, "momentum") != 0,
                               err);
}

static quern__id sgd_step(quern__optimizer *o, quern__graph *g, int k, quern__id gradient,
                          quern__id rate, quern__id iteration, double decay)
{
    (void)iteration;
    return quern__sgd(g, o->trained[k], gradient, rate, quern__slot_of(o, k, 0),
                      quern__config_number(o->config, "momentum"),
                      quern__config_bool(o->config, "nesterov"), decay);
}

static int rmsprop_slots(quern__optimizer *o, quern_error *err)
{
    int status = quern__slots_of_all(o, 0, "velocity", true, err);
    if (status >= 0)
        status = quern__slots_of_all(o, 1, "momentum",
                                     quern__config_number(o->config, "momentum") > 0, err);
    if (status < 0)
        return status;
    return quern__slots_of_all(o, 2, "average_gradient", quern__config_bool(o->config, "centered"),
                               err);
}

static quern__id rmsprop_step(quern__optimizer *o, quern__graph *g, int k, quern__id gradient,
                              quern__id rate, quern__id iteration, double decay)
{
    (void)iteration;
    return quern__rmsprop(g, o->trained[k], gradient, quern__squares(o, g, k, gradient), rate,
                          quern__slot_of(o, k, 0), quern__slot_of(o, k, 1), quern__slot_of(o, k, 2),
                          quern__config_number(o->config, "rho"),
                          quern__config_number(o->config, "momentum"),
                          quern__config_number(o->config, "epsilon"), decay);
}

static int adam_slots(quern__optimizer *o, quern_error *err)
{
    for (int k = 0; k < o->n; k++)
        if (!quern__slot(o, k, 0, "momentum", err) || !quern__slot(o, k, 1, "velocity", err))
            return QUERN_NOMEM;
    return quern__slots_of_all(o, 2, "velocity_hat", quern__config_bool(o->config, "amsgrad"), err);
}

static quern__id adam_step(quern__optimizer *o, quern__graph *g, int k, quern__id gradient,
                           quern__id rate, quern__id iteration, double decay)
{
    return quern__adam(g, o->trained[k], gradient, quern__squares(o, g, k, gradient), rate,
                       iteration, quern__slot_of(o, k, 0), quern__slot_of(o, k, 1),
                       quern__slot_of(o, k, 2), quern__config_number(o->config, "beta_1"),
                       quern__config_number(o->config, "beta_2"),
                       quern__config_number(o->config, "epsilon"), decay);
}

static const quern__field sgd_fields[] = { { "learning_rate", QUERN__F_RATE, "0.01" },
                                           { "momentum", QUERN__F_NUMBER, "0.0" },
                                           { "nesterov", QUERN__F_BOOL, "false" },
                                           QUERN__OPTIMIZER_FIELDS("null"),
                                           QUERN__OPTIMIZER_FIELDS_END };
static const quern__field rmsprop_fields[] = { { "learning_rate", QUERN__F_RATE, "0.001" },
                                               { "rho", QUERN__F_NUMBER, "0.9" },
                                               { "momentum", QUERN__F_NUMBER, "0.0" },
                                               { "epsilon", QUERN__F_NUMBER, "1e-7" },
                                               { "centered", QUERN__F_BOOL, "false" },
                                               QUERN__OPTIMIZER_FIELDS("null"),
                                               QUERN__OPTIMIZER_FIELDS_END };
#define RATE                                    \
    {                                           \
        "learning_rate", QUERN__F_RATE, "0.001" \
    }
#define BETAS                                                                     \
    { "beta_1", QUERN__F_NUMBER, "0.9" }, { "beta_2", QUERN__F_NUMBER, "0.999" }, \
        { "epsilon", QUERN__F_NUMBER, "1e-7" },                                   \
    {                                                                             \
        "amsgrad", QUERN__F_BOOL, "false"                                         \
    }
static const quern__field adam_fields[] = { RATE, BETAS, QUERN__OPTIMIZER_FIELDS("null"),
                                            QUERN__OPTIMIZER_FIELDS_END };
static const quern__field adamw_fields[] = { RATE, QUERN__OPTIMIZER_DECAY("0.004"), BETAS,
                                             QUERN__OPTIMIZER_COMMON, QUERN__OPTIMIZER_FIELDS_END };

static const quern__class sgd_class = { QUERN__OPTIMIZER_ROW("SGD", sgd_fields, sgd_slots,
                                                             sgd_step) };
static const quern__class rmsprop_class = { QUERN__OPTIMIZER_ROW("RMSprop", rmsprop_fields,
                                                                 rmsprop_slots, rmsprop_step) };
static const quern__class adam_class = { QUERN__OPTIMIZER_ROW("Adam", adam_fields, adam_slots,
                                                              adam_step) };
static const quern__class adamw_class = { QUERN__OPTIMIZER_ROW("AdamW", adamw_fields, adam_slots,
                                                               adam_step) };
const quern__class *const quern__optimizer_classes[] = { &sgd_class,
                                                         &rmsprop_class,
                                                         &adam_class,
                                                         &adamw_class,
                                                         &quern__adagrad,
                                                         &quern__adadelta,
                                                         &quern__adamax,
                                                         &quern__lion,
                                                         &quern__lamb,
                                                         &quern__ftrl,
                                                         &quern__nadam,
                                                         &quern__adafactor,
                                                         &quern__muon,
                                                         &quern__schedule_free_adamw,
                                                         &quern__loss_scale_optimizer,
                                                         &quern__multi_optimizer,
                                                         NULL };
