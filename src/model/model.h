/* model: layers put together, and the graphs and plans of training, testing and predicting. See <quern/model.h>. */
#ifndef QUERN__MODEL_H
#define QUERN__MODEL_H

#include "grad/grad.h"
#include "keras/keras.h"
#include "step/step.h"
#include <quern/model.h>
#include <quern/source.h>
#include <quern/text.h>

enum { QUERN__MAX_IO = 16, QUERN__MAX_MEANS = 256, QUERN__MAX_NODES = 1 << 14 };
typedef enum quern__mode { QUERN__TRAIN, QUERN__TEST, QUERN__PREDICT, QUERN__MODES } quern__mode;

/* A layer applied to values. The first application of a layer owns it; later ones share its weights. */
typedef struct quern__call_node {
    quern__layer *layer;
    bool again;        /* not the first application of this layer                   */
    int call;          /* which application of its layer, from 0                    */
    int n_in, *in;     /* values                                                    */
    int *arguments;    /* by input: place in the row's `takes`                      */
    json_t *options;   /* arguments of the call that are no values; NULL: none      */
    unsigned keywords; /* the k-th bit: the k-th argument is given by its name      */
    int first, n_out;  /* its outputs are the values first, first + 1, …            */
} quern__call_node;

/* An output of a node, by the number that people hold. */
typedef struct quern__symbolic_tensor {
    int node, output;
    quern_shape shape;
} quern__symbolic_tensor;

struct quern_blueprint {
    uint64_t seed;
    quern_error error;
    size_t room;     /* bytes that weights may still take */
    int depth;       /* models around it */
    bool unfilled;   /* weights are read from a file next: no initializer runs */
    int64_t records; /* in every batch, of a model with a fixed batch size; 0: open */
    int n, capacity;
    quern__call_node *nodes;
    int n_values, value_capacity;
    quern__symbolic_tensor *values;
};

/* Type of a value: that of an input, else float32. */
int quern__tensor_dtype(const quern_blueprint *b, int value);

/* A number that is reported of an epoch: a metric, or (without a row) the loss of an output, or of all (output -1). A metric of
 * several results is their mean, as Keras shows it, and behind it each of them by itself. */
typedef struct quern__mean {
    char *name;
    quern__accumulator *measure; /* the parts of a metric have none: they are of the last that has one */
    int part;                    /* 0: the metric itself; k: its k-th result */
    int output;
    bool weighted; /* by sample weights */
} quern__mean;

/* By output: the QUERN_WEIGHTS_… that its values are weighted with; 0: not at all. */
typedef struct quern__weighing {
    uint8_t of[QUERN__MAX_IO];
} quern__weighing;

/* A graph, its plan, and what it was made for. */
typedef struct quern__program {
    quern__graph *graph;
    quern__plan *plan;
    int64_t capacity;
    quern__weighing weighing;
    bool recomputed; /* something in it is computed again */
    char whole[120]; /* why a batch cannot be divided; empty: it can be */
    quern__id outputs[QUERN__MAX_IO], masks[QUERN__MAX_IO], loss;
} quern__program;

/* What a batch that is trained in parts needs. Variables are NULL where batches go whole. */
typedef struct quern__micro_batches {
    int64_t n;                             /* parts; 0: batches go whole */
    bool any;                              /* even where layers look at the whole batch, or keep a state */
    quern__variable *share, *first, *last; /* of the part that runs: its part of the records, whether it is the first, the last */
    quern__variable *
        *sums; /* by trained variable: gradients so far; behind them, where rows of a table are squared, their squares */
    int n_sums;
} quern__micro_batches;

/* Memory for an array of a batch whose numbers have another type than the model's. */
typedef struct quern__converted {
    void *numbers;
    size_t bytes;
} quern__converted;

/* A member of a model's file that is none of quern's. */
typedef struct quern__kept_member {
    char *name, *bytes;
    size_t n;
} quern__kept_member;

struct quern_model {
    quern_blueprint *b;
    char *name;
    bool sequential;
    int n_in, n_out, in[QUERN__MAX_IO], out[QUERN__MAX_IO];
    json_t *in_keys, *out_keys; /* names of inputs and outputs that Keras holds in a dictionary, sorted; NULL: they are a list */
    quern__optimizer *optimizer;
    const quern__class *loss_rows[QUERN__MAX_IO];
    json_t *loss_configs[QUERN__MAX_IO];
    double loss_weights[QUERN__MAX_IO];
    json_t *compile; /* Keras's compile_config; NULL: not compiled */
    bool keras_2;    /* compiled by Keras 2 (its member "keras_2"): it trains as that did */
    int n_means;
    quern__mean means[QUERN__MAX_MEANS];
    quern__program programs[QUERN__MODES], inner; /* inner: of one value, for quern__model_value */
    int inner_value;
    bool inner_whole; /* it is given as it is */
    void *arena;
    size_t arena_bytes, slab_limit; /* limit: what a budget leaves it; 0: no budget */
    int low_memory;                 /* how much memory goes before time in plans: a QUERN__THRIFT_… */
    quern__micro_batches parts;
    quern__converted converted[3 * QUERN__MAX_IO]; /* by array of a batch: inputs, targets, weights */
    int threads;
    quern__team *team;
    json_t *kept;  /* members of its config in the file that are no part of it; NULL: none */
    int n_members; /* of its file, for when it is written again */
    quern__kept_member *members;
    quern_tokenizer *tokenizer; /* its own; NULL: none */
    quern_schema *schema;       /* of the data that it learned from; its own; NULL: none */
    int runs;                   /* of fit, evaluate, predict and adapt that are on: it cannot be freed then */
    bool trains, sums;          /* one of them trains; the sums of metrics are those of its epoch, or of its validation, so far */
    bool profiling, watch;      /* watch: every output is looked at for numbers that are not finite */
    quern__profile profile;     /* of the training plan */
};

/* What a model is read into. */
typedef struct quern__network_env {
    size_t room; /* bytes that weights may take */
    uint64_t seed;
    int depth;                /* models around it */
    bool unfilled;            /* weights are read from a file next */
    const quern_shape *shape; /* of its input, where its config may not tell it; NULL: unknown */
} quern__network_env;
/* A model without compile settings from its config. Returns new. */
quern_model *quern__network_read(json_t *config, bool sequential, const quern__network_env *env, quern_error *err);
/* compile_config.c: what compile was given, as Keras 3 reads it, with the rate of now. Returns new. */
json_t *quern__compiled_json(const quern_model *m);
/* config.json of a model, with compile_config. Returns new. */
json_t *quern__config_write(const quern_model *m);
/* The model of a config.json, whose weights may take up to `room` bytes. Returns new. */
quern_model *quern__config_read(json_t *root, size_t room, quern_error *err);
/* Compiles as a compile_config says (taken). The first failure leaves the model without. */
int quern__compile(quern_model *m, json_t *compile, quern_error *err);
/* "the model is not compiled", and what does it. */
int quern__not_compiled(const quern_model *m, quern_error *err);
/* What quern_model_set_schema does, within a run too. */
int quern__model_set_schema(quern_model *m, const quern_schema *s, quern_error *err);
/* An error that names what cannot be done to a model while it trains. */
int quern__model_waits(const quern_model *m, const char *what, quern_error *err);
void quern__uncompile(quern_model *m);
void quern__program_free(quern__program *p);
/* What a layer is applied to. */
typedef struct quern__inputs {
    const int *values, *arguments; /* arguments NULL: by the order of the values */
    int n;
    json_t *options;   /* borrowed; NULL: none */
    unsigned keywords; /* which arguments are given by their names, as a bit mask */
} quern__inputs;
/* call_read.c: a call of a layer as a file has it. */
typedef struct quern__inbound {
    int values[QUERN__MAX_ARGUMENTS], arguments[QUERN__MAX_ARGUMENTS], n;
    json_t *options; /* owned by the caller */
    unsigned keywords;
    bool early; /* some input is not there yet */
} quern__inbound;
/* Reads a node; its options are to be freed, whatever it returns. */
int quern__inbound_read(const quern_blueprint *b, const quern__class *c, json_t *node, quern__inbound *out, const char *where,
                        quern_error *err);
/* The value [layer, call, output]; -1: not there (yet). */
int quern__find_value(const quern_blueprint *b, json_t *history);
/* Applies a layer of a class with a full config (taken). Returns the number of its first value or -1. */
int quern__blueprint_add(quern_blueprint *b, const quern__class *c, json_t *config, const quern__inputs *in, const char *words);
/* Applies a model (taken) as a layer of that config. */
int quern__blueprint_add_model(quern_blueprint *b, const quern__class *c, json_t *config, quern_model *m, const quern__inputs *in);
/* Where a file has the layer of a node: "layers/dense_1". */
void quern__layer_group(const quern_model *m, int node, char *out, size_t size);
/* Calls `fn` with each layer once, models in the model before their own layers, and where a file has it. Negative stops. */
typedef int quern__layer_visitor(void *user, quern__layer *layer, const char *group, quern_error *err);
int quern__model_walk(const quern_model *m, quern__layer_visitor *fn, void *user, quern_error *err);
/* Applies the layer of that node again. */
int quern__blueprint_again(quern_blueprint *b, int node, const quern__inputs *in, const char *words);
/* Puts the nodes into the order that Keras gives the layers of a functional model. */
int quern__blueprint_order(quern_blueprint *b, const int *outputs, int n_outputs);
/* The node that makes a value, and its shape. */
static inline const quern__call_node *quern__producer(const quern_blueprint *b, int value)
{
    return &b->nodes[b->values[value].node];
}
static inline const quern_shape *quern__tensor_shape(const quern_blueprint *b, int value) { return &b->values[value].shape; }
/* The shape of the weights of an output: QUERN_WEIGHTS_RECORDS, or _STEPS, which is the same where it has none. */
quern_shape quern__model_weights_shape(const quern_model *m, int output, int kind);
/* Runs one batch; arrays: inputs, targets, weights (of outputs that are weighted). Metrics add up until quern__model_reset. */
int quern__model_run(quern_model *m, quern__mode mode, void *const *arrays, const quern__weighing *weighing, int64_t records,
                     int64_t capacity, int64_t epoch, int64_t first, quern_error *err);
/* Predicts one batch: `out` gets for each output its numbers, valid until the next run. */
int quern__model_predict(quern_model *m, void *const *x, int64_t records, const float **out, quern_error *err);
/* Checks that an array can be read: a known type, closed axes, so many records as x[0], and data. */
int quern__array_check(const quern_tensor *t, const char *where, int64_t records, quern_error *err);
/* The layers' nodes: the value of each value of the blueprint into `ids`, and its mask (0: none), room for n_values each; `penalty`
 * gets the sum of what regularizers add, 0 for none. With `stepping` the second axis of the inputs has its number of steps. */
void quern__model_forward(quern_model *m, quern__graph *g, bool training, quern__stepping *stepping, quern__id *ids,
                          quern__id *masks, quern__id *penalty);
/* The nodes of a model's layers, whose inputs stand in `ids` and `masks`; `timed` (NULL: not by steps) tells values that have
 * steps. With `outer` the model is that layer, and its context that of the call. */
void quern__model_nodes(quern_model *m, quern__layer *outer, quern__graph *g, const quern__context *call, quern__id *ids,
                        quern__id *masks, bool *timed);
/* Room in the model's arena for a plan. */
int quern__model_make_room(quern_model *m, const quern__plan *plan, quern_error *err);
/* Plans the program of a mode without memory for its values. */
int quern__model_plan(quern_model *m, quern__mode mode, int64_t capacity, const quern__weighing *weighing, quern_error *err);
/* How much memory goes before time in a model's plans: not; as far as nothing runs twice; and from QUERN__THRIFT_RECOMPUTE on
 * values of training are computed again, the more the further, up to QUERN__THRIFT_MOST. */
enum { QUERN__THRIFT_NONE, QUERN__THRIFT_FRUGAL, QUERN__THRIFT_RECOMPUTE };
enum { QUERN__THRIFT_MOST = QUERN__THRIFT_RECOMPUTE + QUERN__RECOMPUTE_LEVELS - 1 };
/* Sets it; plans made otherwise are dropped. */
void quern__model_set_thrift(quern_model *m, int low_memory);
/* Trains batches in n parts from here on (1: whole). `any`: even where layers look at the whole batch (BatchNormalization) or keep
 * a state; what has no meaning then is refused by planning (program->whole). Plans of training made otherwise are dropped. */
int quern__model_set_parts(quern_model *m, int64_t n, bool any, quern_error *err);
/* micro_batches.c: what the sums of gradients take; whether a batch can be divided, as far as losses, layers and the optimizer say
 * (program->whole); the nodes that add and make the step; and a batch, part by part. */
size_t quern__parts_bytes(const quern_model *m);
void quern__parts_loss(const quern_model *m, quern__program *p, int output, quern__id loss);
void quern__parts_layers(const quern_model *m, quern__program *p, int n_nodes);
void quern__parts_optimizer(const quern_model *m, quern__program *p, const quern__id *gradients);
int quern__parts_add(quern_model *m, quern__graph *g, quern__id *gradients, quern_error *err);
int quern__parts_run(quern_model *m, const quern__step_run *whole, quern_error *err);
/* Makes the program of a mode for batches of up to `capacity` records, if it is not there. `weighing` NULL: no weights. */
int quern__model_prepare(quern_model *m, quern__mode mode, int64_t capacity, const quern__weighing *weighing, quern_error *err);
void quern__model_reset(quern_model *m);
/* A value of the blueprint for one batch, as predicting computes it, whole numbers as they are or as float32; `out` is a view until
 * the next run. The program made for it is kept while the value is the same; quern__model_forget drops it (states that it read have
 * changed). */
int quern__model_value(quern_model *m, int value, bool whole, void *const *x, int64_t records, int64_t capacity, quern_tensor *out,
                       quern_error *err);
void quern__model_forget(quern_model *m);
/* Bytes of a model: what it holds, of weights (in both forms, if there are two) and of the optimizer; a copy of its weights; and
 * what writing its file takes for a moment; and what a file takes that is made in memory, as a checkpoint is. */
typedef struct quern__model_size {
    size_t weights, optimizer, snapshot, writing, image;
} quern__model_size;
quern__model_size quern__model_bytes(const quern_model *m);
/* Gives the pages of the arena back; predictions that lie there are gone. The next run has them again. */
void quern__model_release_arena(quern_model *m);
/* Where the time of training steps is noted; NULL while nobody asked. */
quern__profile *quern__model_profile(quern_model *m);
/* Loss and metrics so far. */
void quern__model_read_logs(const quern_model *m, double *logs);
/* What a run has summed up and keeps between batches, beside the weights: sums of loss and metrics, states of layers; NULL at the
 * end. The model's training is prepared. */
quern__variable *quern__model_run_variable(quern_model *m, int i);
/* Whether more of a log is better. */
bool quern__model_log_rises(const quern_model *m, int i);
quern__variable *quern__model_variable(const quern_model *m, int i);
/* Whether all weights and all the optimizer keeps are finite; `err` names the first number that is not. */
bool quern__model_finite(const quern_model *m, quern_error *err);

#endif
