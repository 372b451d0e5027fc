/* model: models of layers, with the graphs and plans for training, evaluation and prediction. See
 * <quern/model.h>.
 *
 * Life of a model: a blueprint collects layer calls; a model is created from values of the
 * blueprint; compile adds an optimizer, losses and log entries; each mode gets a program (graph and
 * plan) when it is first used. Threads: one caller at a time. */
#ifndef QUERN__MODEL_H
#define QUERN__MODEL_H

#include "grad/grad.h"
#include "keras/keras.h"
#include "step/step.h"
#include <quern/model.h>
#include <quern/source_files.h>
#include <quern/text.h>

enum { QUERN__MAX_IO = 16, QUERN__MAX_MEANS = 256, QUERN__MAX_NODES = 1 << 14 };
typedef enum quern__mode { QUERN__TRAIN, QUERN__TEST, QUERN__PREDICT, QUERN__MODES } quern__mode;

/* By output: the kind of sample weights, QUERN_WEIGHTS_…; 0: none. */
typedef struct quern__weighing {
    uint8_t of[QUERN__MAX_IO];
} quern__weighing;

/* How to create a model from a config. */
typedef struct quern__network_env {
    size_t room; /* limit on bytes of weights */
    uint64_t seed;
    int depth;                /* number of models that enclose it */
    bool unfilled;            /* a file provides the weights */
    const quern_shape *shape; /* input shape, for a config without one; NULL: unknown */
} quern__network_env;
/* Creates a model without compile settings. Returns new. */
quern_model *quern__network_read(json_t *config, bool sequential, const quern__network_env *env,
                                 quern_error *err);
/* compile_config.c: the compile settings as Keras 3 reads them, with the current learning rate.
 * Returns new. */
json_t *quern__compiled_json(const quern_model *m);
/* config.json of a model, with compile_config. Returns new. */
json_t *quern__config_write(const quern_model *m);
/* Creates the model of a config.json; its weights may have up to `room` bytes. Returns new. */
quern_model *quern__config_read(json_t *root, size_t room, quern_error *err);
/* Compiles with a compile_config, which it takes. After a failure, the model is not compiled. */
int quern__compile(quern_model *m, json_t *compile, quern_error *err);
/* Fails with "the model is not compiled" and a hint. */
int quern__not_compiled(const quern_model *m, quern_error *err);
/* quern_model_set_schema without the check for a run. */
int quern__model_set_schema(quern_model *m, const quern_schema *s, quern_error *err);
/* Fails when a run trains the model; `what` names the refused action. */
int quern__model_waits(const quern_model *m, const char *what, quern_error *err);
void quern__uncompile(quern_model *m);
/* The inputs of a layer call. */
typedef struct quern__inputs {
    const int *values, *arguments; /* arguments NULL: in the order of the values */
    int n;
    json_t *options;   /* borrowed; NULL: none */
    unsigned keywords; /* bit mask of the arguments that are keyword arguments */
} quern__inputs;
/* call_read.c: a layer call from a file. */
typedef struct quern__inbound {
    int values[QUERN__MAX_ARGUMENTS], arguments[QUERN__MAX_ARGUMENTS], n;
    json_t *options; /* owned by the caller */
    unsigned keywords;
    bool early; /* a value of an input does not exist yet */
} quern__inbound;
/* Reads a node. The caller frees out->options in any case. */
int quern__inbound_read(const quern_blueprint *b, const quern__class *c, json_t *node,
                        quern__inbound *out, const char *where, quern_error *err);
/* Writes the keys of an object in sorted order, which is Keras's order of dictionaries. Returns
 * their number; -1: more than `most`. Borrowed. */
int quern__sorted_keys(json_t *object, const char **keys, int most);
/* The value of [layer, call, output]; -1: it does not exist (yet). */
int quern__find_value(const quern_blueprint *b, json_t *history);
/* Adds a layer with a full config (taken) and its first call. `words` names it in messages. Returns
 * the index of the first output; -1 on failure (the blueprint has the error). */
int quern__blueprint_add(quern_blueprint *b, const quern__class *c, json_t *config,
                         const quern__inputs *in, const char *words);
/* Adds a nested model (taken) as a layer with that config (taken). */
int quern__blueprint_add_model(quern_blueprint *b, const quern__class *c, json_t *config,
                               quern_model *m, const quern__inputs *in);
/* The path of a node's layer in a file: "layers/dense_1". */
void quern__layer_group(const quern_model *m, int node, char *out, size_t size);
/* Calls `fn` once for each layer with its path in files; a nested model comes before its layers. A
 * negative result stops the walk. */
typedef int quern__layer_visitor(void *user, quern__layer *layer, const char *group,
                                 quern_error *err);
int quern__model_walk(const quern_model *m, quern__layer_visitor *fn, void *user, quern_error *err);
/* Adds another call of the layer of a node. */
int quern__blueprint_again(quern_blueprint *b, int node, const quern__inputs *in,
                           const char *words);
/* layer_order.c: sorts the nodes in Keras's order of the layers of a functional model. */
int quern__blueprint_order(quern_blueprint *b, const int *outputs, int n_outputs);
/* Whether every batch must have the fixed batch size: for states, or operations over records. */
bool quern__model_has_fixed_batch(const quern_model *m);
/* ---- open_axes.c ---- */

/* The size of an open axis of a model without data, and its second size. Multiples of 32, so that
 * five poolings and up-samplings by 2 give the same size. */
enum { QUERN__OPEN_SIZE = 96, QUERN__OPEN_SECOND = 128, QUERN__MOST_CLOSINGS = 32 };
/* Whether an input has an open axis. */
bool quern__model_open(const quern_model *m);
/* Whether the sizes of the open axes are those of data, or the caller has set them. */
bool quern__model_sized(const quern_model *m);
/* Closes the model over these shapes of its inputs, one for each; axis 0 is ignored. A model
 * without open axes does not change. Fails where the shapes do not fit the inputs, or where a layer
 * cannot have these sizes; the model then keeps its shapes. */
int quern__model_close(quern_model *m, const quern_shape *in, quern_error *err);
/* Makes the present sizes of open axes the largest of later runs whose source does not state
 * shapes. */
void quern__model_bound(quern_model *m);
/* Closes the model over its largest sizes, which are known (quern__model_sized). */
int quern__model_close_bound(quern_model *m, quern_error *err);
/* Drops the plans of training and evaluation, for all sizes of open axes. */
void quern__model_forget_plans(quern_model *m);
/* The shape over which an array of shape `have` closes input i: it has the sizes of the array at
 * open axes. An array may lack a last axis of size 1. */
quern_shape quern__model_closing(const quern_model *m, int i, const quern_shape *have);
/* The shape of input i with -1 at open axes. */
quern_shape quern__model_symbolic_input(const quern_model *m, int i);

/* The shape of an output's sample weights: QUERN_WEIGHTS_RECORDS or QUERN_WEIGHTS_STEPS, which are
 * equal without a time axis. */
quern_shape quern__model_weights_shape(const quern_model *m, int output, int kind);
/* Runs one batch. arrays: inputs, targets, weights (of outputs with weights). Metrics accumulate
 * until quern__model_reset. */
int quern__model_run(quern_model *m, quern__mode mode, void *const *arrays,
                     const quern__weighing *weighing, int64_t records, int64_t capacity,
                     int64_t epoch, int64_t first, quern_error *err);
/* Predicts one batch. `out` gets the address of each output, valid until the next run. */
int quern__model_predict(quern_model *m, void *const *x, int64_t records, const float **out,
                         quern_error *err);
/* Checks that an array can be read: a known dtype, fixed dimensions, as many records as x[0], and
 * data. */
int quern__array_check(const quern_tensor *t, const char *where, int64_t records, quern_error *err);
/* Adds the nodes of all layers. `ids` and `masks` get each value of the blueprint and its mask (0:
 * none), n_values each; `penalty` gets the sum of the penalties (0: none). With `stepping`, the
 * size of the second axis of the inputs is stepping->steps. */
void quern__model_forward(quern_model *m, quern__graph *g, bool training, quern__stepping *stepping,
                          quern__id *ids, quern__id *masks, quern__id *penalty);
/* Adds the nodes of a model's layers, for inputs in `ids` and `masks`. `timed` (NULL: no
 * incremental decoding) marks values with a time axis. With `outer`, the model is nested in that
 * layer, and `call` is the context of its call. */
void quern__model_nodes(quern_model *m, quern__layer *outer, quern__graph *g,
                        const quern__context *call, quern__id *ids, quern__id *masks, bool *timed);
/* Plans the program of a mode without allocating the arena. */
int quern__model_plan(quern_model *m, quern__mode mode, int64_t capacity,
                      const quern__weighing *weighing, quern_error *err);
/* Levels of memory saving: none; the low-memory schedule; from QUERN__LOW_MEMORY_RECOMPUTE on,
 * activation recomputation in training with increasing levels, up to QUERN__LOW_MEMORY_MOST. */
enum { QUERN__LOW_MEMORY_NONE, QUERN__LOW_MEMORY_SCHEDULE, QUERN__LOW_MEMORY_RECOMPUTE };
enum { QUERN__LOW_MEMORY_MOST = QUERN__LOW_MEMORY_RECOMPUTE + QUERN__RECOMPUTE_LEVELS - 1 };
/* Sets the level and drops plans of another level. */
void quern__model_set_low_memory(quern_model *m, int low_memory);
/* Trains with n micro-batches per batch (1: none) and drops training plans of another number.
 * `any`: accepts layers that read the whole batch (BatchNormalization) or keep a state. Planning
 * refuses models for which micro-batches have no meaning (quern__model_undivided). */
int quern__model_set_micro_batches(quern_model *m, int64_t n, bool any, quern_error *err);
/* Bytes of the sums of gradients of micro-batches. */
size_t quern__micro_batches_bytes(const quern_model *m);
/* Creates the program of a mode for batches of up to `capacity` records, unless it exists.
 * `weighing` NULL: no sample weights. */
int quern__model_prepare(quern_model *m, quern__mode mode, int64_t capacity,
                         const quern__weighing *weighing, quern_error *err);
void quern__model_reset(quern_model *m);
/* Computes a value of the blueprint for one batch in prediction mode, as integers (`whole`) or as
 * float32. `out` is valid until the next run. The program stays while `value` is the same;
 * quern__model_forget drops it, for example when states changed. */
int quern__model_value(quern_model *m, int value, bool whole, void *const *x, int64_t records,
                       int64_t capacity, quern_tensor *out, quern_error *err);
void quern__model_forget(quern_model *m);
/* Memory of a model in bytes: weights (in both layouts, if there are two) and metrics; optimizer; a
 * copy of the weights; scratch for writing its file; the size of a file in memory, such as a
 * checkpoint. */
typedef struct quern__model_size {
    size_t weights, optimizer, snapshot, writing, image;
} quern__model_size;
quern__model_size quern__model_bytes(const quern_model *m);
/* Returns the pages of the arena to the system. Predictions in the arena become invalid; the next
 * run maps the pages again. */
void quern__model_release_arena(quern_model *m);
/* The profile of the steps of a mode; NULL: profiling is off. */
quern__profile *quern__model_profile(quern_model *m, quern__mode mode);
/* Copies the log entries so far. */
void quern__model_read_logs(const quern_model *m, double *logs);
/* The i-th variable of a run that is neither a weight nor an optimizer slot: metric totals and
 * layer states. NULL: no more. Training must be prepared. */
quern__variable *quern__model_run_variable(quern_model *m, int i);
/* The i-th weight that a model file does not store exactly, because it stores the sum of a kernel
 * and its LoRA matrices. NULL: no more. */
quern__variable *quern__model_inexact_variable(const quern_model *m, int i);
/* Whether a higher value of log entry i is better. */
bool quern__model_log_rises(const quern_model *m, int i);
quern__variable *quern__model_variable(const quern_model *m, int i);
/* Whether all weights and optimizer variables are finite. `err` names the first element that is
 * not. */
bool quern__model_finite(const quern_model *m, quern_error *err);

/* ---- model_runs.c: what a run asks of a model ---- */

/* The name for messages; borrowed. */
const char *quern__model_name(const quern_model *m);
/* Whether the model has an optimizer; and the optimizer (borrowed), NULL: not compiled. */
bool quern__model_compiled(const quern_model *m);
quern__optimizer *quern__model_optimizer(const quern_model *m);
uint64_t quern__model_seed(const quern_model *m);
/* The batch size of a model in which it is fixed; 0: dynamic. */
int64_t quern__model_records(const quern_model *m);
/* The arrays that a batch of this model has. `batch_size` 0: the model's own, or 32. */
void quern__model_spec(const quern_model *m, quern__mode mode, int64_t batch_size,
                       quern_batch_spec *spec);
/* A run of fit (trains), evaluate, predict or adapt begins or ends. The model cannot be freed
 * meanwhile. */
void quern__model_run_begin(quern_model *m, bool trains);
void quern__model_run_end(quern_model *m, bool trains);
/* Whether a run uses the model. */
bool quern__model_in_use(const quern_model *m);
/* Whether the metric totals belong to an epoch that is not complete, or to its validation. */
void quern__model_set_totals_in_use(quern_model *m, bool in_use);
bool quern__model_totals_in_use(const quern_model *m);
/* The arrays that a checkpoint has besides the model file, and their bytes: those of
 * quern__model_run_variable, then those of quern__model_inexact_variable. NULL: no more. */
void *quern__model_run_array(quern_model *m, int i, size_t *bytes);
/* Saves the arrays of quern__model_run_variable to `kept`, or restores them (`back`). Returns their bytes; `kept` NULL: only
 * that. */
size_t quern__model_copy_totals(quern_model *m, char *kept, bool back);
/* The sum of the losses since quern__model_reset, of which the log `loss` is the mean. */
double quern__model_loss_total(const quern_model *m);
/* The sample weights for which the program of a mode is planned. */
quern__weighing quern__model_weighing(const quern_model *m, quern__mode mode);
/* Creates the thread pool unless it exists; the number of its threads. */
int quern__model_start_threads(quern_model *m, quern_error *err);
int quern__model_threads(const quern_model *m);
/* The micro-batches per batch; 1: the batch is not split. */
int64_t quern__model_micro_batches(const quern_model *m);
/* Why training in micro-batches is impossible; empty: it is possible. Training must be planned. */
const char *quern__model_undivided(const quern_model *m);
/* Bytes of the plan of a mode, and its estimated time. Zeros: it is not planned. */
typedef struct quern__plan_size {
    size_t arena, lower_bound, gradients, stack; /* stack: of each thread */
    double seconds;
    bool recomputes; /* the plan recomputes activations */
} quern__plan_size;
quern__plan_size quern__model_plan_size(const quern_model *m, quern__mode mode);
/* The live bytes of each phase of the training plan, for up to `capacity` phases. Returns the number
 * of phases; 0: it is not planned. */
int quern__model_live(const quern_model *m, size_t *live, int capacity);
/* Bytes of the arena that exists; the limit for a larger one (0: none). */
size_t quern__model_arena_bytes(const quern_model *m);
void quern__model_limit_arena(quern_model *m, size_t bytes);
/* The layer of call k if this is its first call, otherwise NULL (borrowed). There are
 * quern__model_calls calls. */
int quern__model_calls(const quern_model *m);
quern__layer *quern__model_layer_of_call(const quern_model *m, int k);
/* Computes the first input of call k for one batch, as quern__model_value does. */
int quern__model_layer_input(quern_model *m, int k, void *const *x, int64_t records,
                             int64_t capacity, quern_tensor *out, quern_error *err);
/* Adds the nodes of the model in prediction mode, and sets *y to output 0. */
int quern__model_forward_output(quern_model *m, quern__graph *g, quern__stepping *stepping,
                                quern__id *y, quern_error *err);
/* Makes the arena large enough for a plan of such a graph. */
int quern__model_make_room(quern_model *m, const quern__plan *plan, quern_error *err);
/* Runs such a plan. `out` gets the address of value y, valid until the next run. */
int quern__model_run_plan(quern_model *m, quern__plan *plan, quern__id y, void *const *arrays,
                          int64_t records, const float **out, quern_error *err);

#endif
