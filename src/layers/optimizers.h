/* What the files of optimizers share: slots, and the arguments that every optimizer takes. Not for other rooms. */
#ifndef QUERN__OPTIMIZERS_H
#define QUERN__OPTIMIZERS_H

#include "layers.h"

/* A slot of variable k, zeros. */
quern__variable *quern__slot(quern__optimizer *o, int k, int which, const char *name, quern_error *err);
/* NULL when it has none. */
quern__variable *quern__slot_of(const quern__optimizer *o, int k, int which);
/* One slot of every variable when `wanted`. */
int quern__slots_of_all(quern__optimizer *o, int which, const char *name, bool wanted, quern_error *err);

/* The squares of a gradient where they are not simply that: of a table of which rows were taken. 0: they are. */
quern__id quern__squares(quern__graph *g, quern__id gradient);

#define QUERN__OPTIMIZER_FIELDS(DECAY)                                                                                             \
    { "weight_decay", QUERN__F_NUMBER, DECAY }, { "clipnorm", QUERN__F_NUMBER, "null" }, { "clipvalue", QUERN__F_NUMBER, "null" }, \
        { "global_clipnorm", QUERN__F_NUMBER, "null" }, { "use_ema", QUERN__F_ONLY_DEFAULT, "false" },                             \
        { "ema_momentum", QUERN__F_NUMBER, "0.99" }, { "ema_overwrite_frequency", QUERN__F_ONLY_DEFAULT, "null" },                 \
        { "loss_scale_factor", QUERN__F_ONLY_DEFAULT, "null" }, { "gradient_accumulation_steps", QUERN__F_ONLY_DEFAULT, "null" },  \
        { "name", QUERN__F_TEXT, "null" },                                                                                         \
    {                                                                                                                              \
        0                                                                                                                          \
    }

/* composed.c */
extern const quern__class quern__adagrad, quern__adadelta, quern__adamax, quern__lion, quern__lamb, quern__ftrl;

#endif
