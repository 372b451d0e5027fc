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

/* A layer call. The first call of a layer owns it; later calls share its weights. */
typedef struct quern__call_node {
    quern__layer *layer;
    bool again;        /* not the first call of this layer */
    int call;          /* index among the calls of its layer */
    int n_in, *in;     /* values of the blueprint */
    int *arguments;    /* by input: index into `call_args` of the row */
    json_t *options;   /* call flags and constants; NULL: none */
    unsigned keywords; /* bit k: argument k is a keyword argument in Python */
    int first, n_out;  /* its outputs are the values first, first + 1, …, first + n_out - 1 */
} quern__call_node;

/* An output of a node. quern_blueprint functions name it by its index among `values`. */
typedef struct quern__symbolic_tensor {
    int node, output;
    quern_shape shape;
} quern__symbolic_tensor;

struct quern_blueprint {
    uint64_t seed;
    quern_error error;
    size_t room;     /* remaining bytes for weights */
    int depth;       /* number of models that enclose this one */
    bool unfilled;   /* a file provides the weights: initializers do not run */
    int64_t records; /* the batch size when it is fixed; 0: dynamic */
    int n, capacity;
    quern__call_node *nodes;
    int n_values, value_capacity;
    quern__symbolic_tensor *values;
};

/* The dtype of a value: that of an input, otherwise float32. */
int quern__tensor_dtype(const quern_blueprint *b, int value);

/* A log entry: a metric, or (without a row) the loss of an output, or the total loss (output -1). A
 * metric with several results has an entry for their mean, as in Keras, followed by an entry for
 * each result. */
typedef struct quern__mean {
    char *name;
    quern__accumulator *measure; /* NULL for results of a metric: the last entry with one has it */
    int part;                    /* 0: the metric; k: its k-th result */
    int output;
    bool weighted; /* uses sample weights */
} quern__mean;

/* By output: the kind of sample weights, QUERN_WEIGHTS_…; 0: none. */
typedef struct quern__weighing {
    uint8_t of[QUERN__MAX_IO];
} quern__weighing;

/* A graph and its plan, for one mode, capacity and kind of weights. */
typedef struct quern__program {
    quern__graph *graph;
    quern__plan *plan;
    int64_t capacity;
    quern__weighing weighing;
    bool recomputed; /* the graph has recomputed activations */
    char whole[120]; /* why micro-batches are impossible; empty: they are possible */
    quern__id outputs[QUERN__MAX_IO], masks[QUERN__MAX_IO], loss;
} quern__program;

/* Gradient accumulation over micro-batches. Variables are NULL without it. */
typedef struct quern__micro_batches {
    int64_t n; /* micro-batches per batch; 0: none */
    bool any;  /* accept layers that read the whole batch or keep a state */
    /* of the present micro-batch: its fraction of the records; 1 when it is the first, the last */
    quern__variable *share, *first, *last;
    quern__variable **sums; /* by trained variable: the sum of gradients; then, for gathered tables,
                               the sum of their squares */
    int n_sums;
} quern__micro_batches;

/* Memory for an array of a batch whose elements have another dtype than the model's. */
typedef struct quern__converted {
    void *numbers;
    size_t bytes;
} quern__converted;

/* A member of a model's file that quern does not use; it is written back. */
typedef struct quern__kept_member {
    char *name, *bytes;
    size_t n;
} quern__kept_member;

struct quern_model {
    quern_blueprint *b;
    char *name;
    bool sequential;
    int n_in, n_out, in[QUERN__MAX_IO], out[QUERN__MAX_IO];
    json_t *in_keys, *out_keys; /* names of inputs and outputs that Keras holds in a dictionary,
                                   sorted; NULL: they are a list */
    quern__optimizer *optimizer;
    const quern__class *loss_rows[QUERN__MAX_IO];
    json_t *loss_configs[QUERN__MAX_IO];
    double loss_weights[QUERN__MAX_IO];
    json_t *compile; /* Keras's compile_config; NULL: not compiled */
    bool keras_2;    /* a file of Keras 2 with its training semantics (member "keras_2") */
    int n_means;
    quern__mean means[QUERN__MAX_MEANS];
    quern__program programs[QUERN__MODES],
        inner; /* inner: computes one value for quern__model_value */
    int inner_value;
    bool inner_whole; /* quern__model_value does not convert it to float32 */
    void *arena;
    size_t arena_bytes, arena_limit; /* limit: the memory budget of the arena; 0: no budget */
    int low_memory; /* QUERN__LOW_MEMORY_…: how much time plans may spend to save memory */
    quern__micro_batches micro_batches;
    quern__converted
        converted[3 * QUERN__MAX_IO]; /* by array of a batch: inputs, targets, weights */
    int threads;
    quern__team *team;
    json_t *kept;  /* unknown members of its config; NULL: none */
    int n_members; /* unknown members of its file */
    quern__kept_member *members;
    quern_tokenizer *tokenizer; /* owned; NULL: none */
    quern_schema *schema;       /* schema of the training data; owned; NULL: none */
    int runs; /* active calls of fit, evaluate, predict and adapt; the model cannot be freed
                 meanwhile */
    bool trains,
        sums; /* one run trains; metric totals belong to the present epoch or its validation */
    bool profiling, watch;  /* watch: check every output for values that are not finite */
    quern__profile profile; /* of the training plan */
};

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
void quern__program_free(quern__program *p);
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
/* The node that computes a value, and the shape of a value. */
static inline const quern__call_node *quern__producer(const quern_blueprint *b, int value)
{
    return &b->nodes[b->values[value].node];
}
static inline const quern_shape *quern__tensor_shape(const quern_blueprint *b, int value)
{
    return &b->values[value].shape;
}
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
/* Grows the arena to the size of a plan. */
int quern__model_make_room(quern_model *m, const quern__plan *plan, quern_error *err);
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
 * refuses models for which micro-batches have no meaning (program->whole). */
int quern__model_set_micro_batches(quern_model *m, int64_t n, bool any, quern_error *err);
/* micro_batches.c, in this order: bytes of the gradient sums; reasons against micro-batches in
 * losses, layers and optimizer, which set program->whole; the nodes that accumulate gradients and
 * run the optimizer; one batch. */
size_t quern__micro_batches_bytes(const quern_model *m);
void quern__micro_batches_loss(const quern_model *m, quern__program *p, int output, quern__id loss);
void quern__micro_batches_layers(const quern_model *m, quern__program *p, int n_nodes);
void quern__micro_batches_optimizer(const quern_model *m, quern__program *p,
                                    const quern__id *gradients);
int quern__micro_batches_add(quern_model *m, quern__graph *g, quern__id *gradients,
                             quern_error *err);
int quern__micro_batches_run(quern_model *m, const quern__step_run *whole, quern_error *err);
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
/* The profile of training steps; NULL: profiling is off. */
quern__profile *quern__model_profile(quern_model *m);
/* Copies the log entries so far. */
void quern__model_read_logs(const quern_model *m, double *logs);
/* The i-th variable of a run that is neither a weight nor an optimizer slot: metric totals and
 * layer states. NULL: no more. Training must be prepared. */
quern__variable *quern__model_run_variable(quern_model *m, int i);
/* Whether a higher value of log entry i is better. */
bool quern__model_log_rises(const quern_model *m, int i);
quern__variable *quern__model_variable(const quern_model *m, int i);
/* Whether all weights and optimizer variables are finite. `err` names the first element that is
 * not. */
bool quern__model_finite(const quern_model *m, quern_error *err);

#endif
