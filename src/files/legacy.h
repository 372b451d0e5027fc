/* What the files about `.h5` of whole models share. Not for other rooms. */
#ifndef QUERN__LEGACY_H
#define QUERN__LEGACY_H

#include "files.h"
#include "h5.h"

/* A list of names that may stand in several attributes: name, or name0, name1, … */
typedef struct quern__names {
    char **list;
    int n;
} quern__names;

/* QUERN_END when there is none. */
int quern__legacy_names(quern__h5 *h, uint64_t object, const char *name, quern__names *out, quern_error *err);
void quern__legacy_names_free(quern__names *names);
/* legacy_config.c: [layer, call, output, …] as a __keras_tensor__. Returns new; NULL when it is none. */
json_t *quern__legacy_tensor(json_t *layers, json_t *list);
/* legacy_ops.c: a layer that is a function of TensorFlow made into an operation of keras.ops; false: it is none that is known. */
bool quern__legacy_operation(json_t *layers, json_t *spec);
/* legacy_layers.c: a layer of Keras 2, and one of its calls {"args", "kwargs"}, made into those of Keras 3. */
void quern__legacy_layer(json_t *spec);
void quern__legacy_call(json_t *spec, json_t *call);
/* The same for what depends on the whole model: how masks are merged. Tells what Keras 3 does not open again. */
void quern__legacy_finish(json_t *model);
/* legacy_optimizer.c: the state of the optimizer; what is none of this one's is told, and it begins anew. */
int quern__legacy_optimizer(quern_model *m, quern__h5 *h, quern_error *err);

#endif
