/* optimizers: slots, and the arguments that all optimizers have; internal to src/keras/optimizers.
 */
#ifndef QUERN__OPTIMIZERS_H
#define QUERN__OPTIMIZERS_H

#include "keras/keras.h"

/* Adds slot `which` of variable k: zeros of its shape. Returns borrowed. */
quern__variable *quern__slot(quern__optimizer *o, int k, int which, const char *name,
                             quern_error *err);
/* The same with another path, dtype and shape. `k` < 0: the slot does not belong to a variable. */
quern__variable *quern__slot_made(quern__optimizer *o, int k, int which, const char *path,
                                  int dtype, const quern_shape *shape, quern_error *err);
/* Sets `automatic` of the last slot. */
void quern__slot_automatic(quern__optimizer *o);
/* Slot `which` of variable k. Returns borrowed; NULL: it does not exist. */
quern__variable *quern__slot_of(const quern__optimizer *o, int k, int which);
/* Adds slot `which` to every variable when `wanted`. */
int quern__slots_of_all(quern__optimizer *o, int which, const char *name, bool wanted,
                        quern_error *err);

/* ---- adagrad_family.c: nodes that several updates use ---- */
double quern__option(const quern__optimizer *o, const char *key);
/* a x + b y */
quern__id quern__mixed(quern__graph *g, quern__id x, double a, quern__id y, double b);
/* The content of a slot before the step; the second function writes the new content and returns it.
 */
quern__id quern__before(const quern__optimizer *o, quern__graph *g, int k, int which);
quern__id quern__keep(const quern__optimizer *o, quern__graph *g, int k, int which, quern__id x);
/* The variable after weight decay: v - rate decay v. The second function subtracts the step and
 * writes the result. */
quern__id quern__decayed(const quern__optimizer *o, quern__graph *g, int k, quern__id rate,
                         double decay);
quern__id quern__moved(const quern__optimizer *o, quern__graph *g, int k, quern__id rate,
                       double decay, quern__id step);
/* iterations + 1 as float32, and 1 - beta^(iterations + 1). */
quern__id quern__step_number(quern__graph *g, quern__id iteration);
quern__id quern__correction(quern__graph *g, double beta, quern__id iteration);

/* ---- variable_patterns.c ---- */
/* Matches a regular expression with a part of a text, or (`whole`) with all of it. Returns 1 or 0,
 * or a negative status for an invalid pattern. */
int quern__pattern_fits(const char *pattern, const char *text, bool whole, quern_error *err);
/* Keras's path of variable k. */
void quern__keras_path(const quern__optimizer *o, int k, char *out, size_t size);

#define QUERN__OPTIMIZER_DECAY(DECAY)          \
    {                                          \
        "weight_decay", QUERN__F_NUMBER, DECAY \
    }
#define QUERN__OPTIMIZER_COMMON                                                                \
    { "clipnorm", QUERN__F_NUMBER, "null" }, { "clipvalue", QUERN__F_NUMBER, "null" },         \
        { "global_clipnorm", QUERN__F_NUMBER, "null" }, { "use_ema", QUERN__F_BOOL, "false" }, \
        { "ema_momentum", QUERN__F_NUMBER, "0.99" },                                           \
        { "ema_overwrite_frequency", QUERN__F_INT, "null" },                                   \
        { "loss_scale_factor", QUERN__F_NUMBER, "null" },                                      \
        { "gradient_accumulation_steps", QUERN__F_INT, "null" },                               \
    {                                                                                          \
        "name", QUERN__F_TEXT, "null"                                                          \
    }
/* Most optimizers have weight decay before the common arguments. */
#define QUERN__OPTIMIZER_FIELDS(DECAY) QUERN__OPTIMIZER_DECAY(DECAY), QUERN__OPTIMIZER_COMMON
/* Patterns of names without weight decay. Keras sets them by a method, and files do not store them.
 */
#define QUERN__OPTIMIZER_FIELDS_END \
    { "exclude_from_weight_decay", QUERN__F_ANY, "null" }, { 0 }

/* The first members of every optimizer's row. */
#define QUERN__OPTIMIZER_ROW(NAME, FIELDS, SLOTS, STEP)                                   \
    .group = QUERN__OPTIMIZER, .name = NAME, .aliases = "", .module = "keras.optimizers", \
    .fields = FIELDS, .slots = SLOTS, .step = STEP

/* adagrad_family.c */
extern const quern__class quern__adagrad, quern__adadelta, quern__adamax, quern__lion, quern__lamb,
    quern__ftrl;
/* nadam_adafactor_muon.c, optimizer_wrappers.c */
extern const quern__class quern__nadam, quern__adafactor, quern__muon, quern__schedule_free_adamw,
    quern__loss_scale_optimizer, quern__multi_optimizer;

#endif
