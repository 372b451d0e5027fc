/* legacy: functions that the readers of whole-model `.h5` files share; internal to src/files. */
#ifndef QUERN__LEGACY_H
#define QUERN__LEGACY_H

#include "files.h"
#include "h5.h"

/* A list of names, which Keras splits into several attributes when it is long: name, or name0,
 * name1, … */
typedef struct quern__names {
    char **list;
    int n;
} quern__names;

/* Reads a list of names. Returns QUERN_END when it does not exist. The caller frees it. */
int quern__legacy_names(quern__h5 *h, uint64_t object, const char *name, quern__names *out,
                        quern_error *err);
void quern__legacy_names_free(quern__names *names);
/* legacy_config.c: [layer, call, output, …] as a __keras_tensor__. Returns new; NULL: it is not a
 * tensor. */
json_t *quern__legacy_tensor(json_t *layers, json_t *list);
/* legacy_ops.c: converts a layer that is a function of TensorFlow to an operation of keras.ops.
 * Returns false for an unknown one.
 */
bool quern__legacy_operation(json_t *layers, json_t *spec);
/* An operand of a call: a tensor, a constant, or a list of them. Returns new. */
json_t *quern__legacy_operand(json_t *layers, json_t *given);
/* The arguments after the first tensor of a call. Borrowed. */
json_t *quern__legacy_arguments(json_t *call);
/* Makes `spec` an operation with that config and call; steals the references. */
void quern__legacy_become(json_t *spec, const char *kind, const char *module, json_t *config,
                          json_t *args, json_t *kwargs);
/* legacy_expansions.c: converts a function that keras.ops does not have to several operations;
 * those before the last become layers before `spec`. Returns false for another function. */
bool quern__legacy_expand(json_t *layers, json_t *spec, const char *function);
/* legacy_layers.c: converts a layer of Keras 2, and one of its calls {"args", "kwargs"}, to
 * Keras 3. */
void quern__legacy_layer(json_t *spec);
void quern__legacy_call(json_t *spec, json_t *call);
/* Converts what depends on the whole model: how layers merge masks. Warns about features that Keras
 * 3 cannot open again. */
void quern__legacy_finish(json_t *model);
/* legacy_optimizer.c: reads the state of the optimizer. State of another optimizer is ignored with
 * a warning. */
int quern__legacy_optimizer(quern_model *m, quern__h5 *h, quern_error *err);

#endif
