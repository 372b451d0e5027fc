/* layers: Keras's words. Every class (layer, loss, metric, optimizer, initializer, regularizer) is a row of a table: its name, its
 * aliases, its config fields with Keras's defaults, and functions that add graph nodes. The same row reads a `.keras` file, a word
 * of the command line and a call from C. Names and defaults: keras-team/keras 3.15. */
#ifndef QUERN__LAYERS_H
#define QUERN__LAYERS_H

#include "ops/ops.h"

#include <jansson.h>
#include <quern/schema.h>

typedef enum quern__group {
    QUERN__LAYER,
    QUERN__LOSS,
    QUERN__METRIC,
    QUERN__OPTIMIZER,
    QUERN__INITIALIZER,
    QUERN__REGULARIZER,
    QUERN__CONSTRAINT,
    QUERN__SCHEDULE,
    QUERN__OPERATION, /* of keras.ops, as layers of a functional model */
    QUERN__CALLBACK,  /* its rows are in the room callbacks */
    QUERN__GROUPS
} quern__group;

typedef enum quern__kind_of_field {
    QUERN__F_NUMBER,
    QUERN__F_INT,
    QUERN__F_BOOL,
    QUERN__F_TEXT,
    QUERN__F_SIZES,       /* a whole number, or an array of them                          */
    QUERN__F_EDGES,       /* the same, or an array of pairs                               */
    QUERN__F_ANY,         /* what the class says                                          */
    QUERN__F_ACTIVATION,  /* a name, or an object with arguments                          */
    QUERN__F_INITIALIZER, /* a name or an object                                          */
    QUERN__F_REGULARIZER, /* null, a name or an object                                    */
    QUERN__F_CONSTRAINT,  /* null, a name or an object                                    */
    QUERN__F_LAYER,       /* null, or an object                                          */
    QUERN__F_RATE,        /* a number, or a schedule                                      */
    QUERN__F_OPTIMIZER,   /* a name or an object                                          */
    QUERN__F_ONLY_DEFAULT /* known to Keras, not in this version: another value is refused */
} quern__kind_of_field;

/* One argument of a class: in Keras's order; the default as JSON ("1e-7", "\"zeros\"", "null"; NULL: must be given). */
typedef struct quern__field {
    const char *name;
    quern__kind_of_field kind;
    const char *fallback;
} quern__field;

/* How a kernel and a bias begin and what holds them: rows that Keras writes in this order for every layer with the two. */
#define QUERN__KERNEL_AND_BIAS_FIELDS                                                                                      \
    { "kernel_initializer", QUERN__F_INITIALIZER, "\"glorot_uniform\"" },                                                  \
        { "bias_initializer", QUERN__F_INITIALIZER, "\"zeros\"" }, { "kernel_regularizer", QUERN__F_REGULARIZER, "null" }, \
        { "bias_regularizer", QUERN__F_REGULARIZER, "null" }, { "kernel_constraint", QUERN__F_CONSTRAINT, "null" },        \
    {                                                                                                                      \
        "bias_constraint", QUERN__F_CONSTRAINT, "null"                                                                     \
    }

/* What becomes of the mask of a layer's inputs: it ends there, goes on with the outputs, or the layer says (context->mask_out). */
enum { QUERN__MASK_ENDS, QUERN__MASK_PASSES, QUERN__MASK_OWN };

/* An argument of a layer's call that takes values, in Keras's order; `many`: a list of them. A name that begins with '*' is
 * Python's *args: its values are arguments by position. */
typedef struct quern__call_arg {
    const char *name;
    bool many;
} quern__call_arg;

struct quern__layer;
struct quern__optimizer;
struct quern__accumulator;
typedef struct quern__class {
    quern__group group;
    const char *name;       /* Keras's class name                                  */
    const char *written;    /* how files call it, where that is another; NULL: so   */
    const char *aliases;    /* other names, between blanks                          */
    const char *module;     /* "keras.layers"; NULL: of the program's own           */
    const char *registered; /* "package>Class" of the program's own; NULL: Keras's */
    const quern__field *fields;
    /* Layers: makes weights for input shapes (batch open) / adds nodes. */
    int (*build)(struct quern__layer *layer, const quern_shape *in, int n_in, quern_error *err);
    quern__id (*call)(struct quern__layer *layer, quern__graph *g, const quern__id *in, int n_in, bool training);
    const quern__call_arg *call_args; /* layers: arguments of the call that take values; NULL: "inputs" alone */
    bool list;                        /* layers: these inputs are a list; else, without `takes`, they are one value */
    const quern__field *call_flags;   /* layers: arguments of the call that are true or false; words give them beside the others */
    int masks;                        /* layers: QUERN__MASK_… */
    bool model;                       /* layers: a model as a layer of another */
    bool strings;                     /* layers: inputs of text are what it takes */
    bool whole;                       /* layers: int32 and int64 are taken as they are; all others are given float32 */
    void (*destroy_state)(struct quern__layer *layer); /* layers: frees layer->object */
    bool by_step; /* layers: steps of a sequence may come one after another: each is computed alone, or the layer keeps
                     what later steps need (context->stepping) */
    /* Layers with a state that is learned by looking at data (Keras: adapt): one batch of inputs, `seen` numbers by place before.
     */
    int (*adapt)(struct quern__layer *layer, const quern_tensor *batch, int64_t seen, quern_error *err);
    int (*adapted)(struct quern__layer *layer, quern_error *err); /* after the last batch; NULL: nothing is left to do */
    /* Losses and metrics: one value per record (or per element before the last axis). */
    quern__id (*value)(quern__graph *g, json_t *config, quern__id truth, quern__id prediction);
    /* The same for classes of the program's own, whose functions are told by the row; NULL: `value` is it. */
    quern__id (*own_value)(const struct quern__class *c, quern__graph *g, json_t *config, quern__id truth, quern__id prediction);
    int means; /* losses: what the numbers of a target are to them, a QUERN_MEANS_… */
    /* Losses: which of those values count at all (1, else 0); NULL: every one. */
    quern__id (*valid)(quern__graph *g, json_t *config, quern__id truth, quern__id values);
    /* Metrics that are no means of values: checks the config, makes what is counted and what is given for such truths and
     * predictions, and says how many results there are / adds the nodes of what one batch adds to it / computes the results. */
    int (*counts)(struct quern__accumulator *m, const quern_shape *truth, const quern_shape *prediction, quern_error *err);
    quern__id (*count)(const struct quern__accumulator *m, quern__graph *g, quern__id truth, quern__id prediction,
                       quern__id weights);
    void (*results)(const struct quern__accumulator *m, double *out);
    bool higher_is_better; /* metrics: more is better */
    bool function;         /* metrics that Keras has as functions alone: files have them in a MeanMetricWrapper */
    /* Optimizers: slots of the variables (called once); nodes that all steps share (NULL: none); the nodes of one variable's step.
     */
    int (*slots)(struct quern__optimizer *o, quern_error *err);
    void (*begin)(struct quern__optimizer *o, quern__graph *g, quern__id iteration);
    quern__id (*step)(struct quern__optimizer *o, quern__graph *g, int k, quern__id gradient, quern__id rate, quern__id iteration,
                      double decay);                /* the variable's new content */
    void (*init_slots)(struct quern__optimizer *o); /* before the very first step: what is no zero; NULL: nothing */
    /* Optimizers around others: the loss as it is wanted (NULL: as it is), and the nodes instead of steps. */
    quern__id (*scale)(const struct quern__optimizer *o, quern__graph *g, quern__id loss);
    void (*wrap)(struct quern__optimizer *o, quern__graph *g, quern__id *gradients);
    /* Initializers. */
    int (*fill)(json_t *config, const quern_shape *shape, float *data, uint64_t seed, quern_error *err);
    /* Regularizers. */
    quern__id (*penalty)(quern__graph *g, json_t *config, quern__id x);
    /* Constraints: the weight made to fit. */
    quern__id (*project)(quern__graph *g, json_t *config, quern__id x);
    /* Schedules: the learning rate at a step. */
    double (*rate)(json_t *config, double step);
    int extra; /* what a row's function is told: which statistic of a family */
} quern__class;

/* ---- registry.c ---- */
/* All rows of a group, NULL at the end. */
const quern__class *const *quern__classes(quern__group group);
/* The row of that name or alias (without case and underscores); NULL, with the nearest name in the error. */
const quern__class *quern__class_find(quern__group group, const char *name, quern_error *err);
/* The row among some, and what they are called in messages. */
const quern__class *quern__class_among(const quern__class *const *rows, const char *what, const char *name, quern_error *err);
const char *quern__group_name(quern__group group);
/* custom_classes.c: the class of that name, or of that "package>Class", which the program registered; NULL: there is none. */
const quern__class *quern__registered(quern__group group, const char *name);
/* The group of the object that such a field holds; -1: it holds none. */
int quern__field_group(const quern__field *field);
/* A full config: what is given, and defaults for the rest. Keys that the class does not know are an error when `strict`, else kept.
 * Returns new. */
json_t *quern__config(const quern__class *c, json_t *given, bool strict, quern_error *err);
/* known_members.c: QUERN_OK when every member of a config from a file is a field of the class, one of `common`, or known to change
 * nothing; else QUERN_UNSUPPORTED with the name of the first that is none of these. */
int quern__understood(const quern__class *c, const quern__field *common, json_t *given, quern_error *err);
/* Whether a field of that name is among them. */
bool quern__is_field(const quern__field *fields, const char *name);
/* An object of a group from JSON: a name, {"class_name", "config"}; its row and full config (new). */
const quern__class *quern__object(quern__group group, json_t *spec, json_t **config, quern_error *err);
/* {"module", "class_name", "config", "registered_name"} of an object. Returns new. */
json_t *quern__serialize(const quern__class *c, json_t *config);
/* The same of a function without arguments. Returns new. */
json_t *quern__serialize_function(const quern__class *c);
double quern__config_number(json_t *config, const char *key); /* NaN for null */
int64_t quern__config_int(json_t *config, const char *key);
bool quern__config_bool(json_t *config, const char *key);
const char *quern__config_text(json_t *config, const char *key); /* NULL for null; borrowed */
uint64_t quern__config_seed(json_t *config, uint64_t otherwise); /* its own "seed", where it has one */
/* The axes that a key names (a number or a list, counted from the end when negative) as a bit mask; 0 for null. */
uint32_t quern__config_axes(json_t *config, const char *key, int rank);
/* Keras's default name of a class: snake case ("max_pooling2d"). */
void quern__snake_case(const char *name, char *out, size_t size);

/* ---- spec_parser.c: "dense 128 relu kernel_regularizer=l2(0.01)" ---- */
/* The row named by the first word and the config of the others; what the call of a layer is told stands in its member "call".
 * Returns the row; `config` new. `base` is the text's place for
 * messages. */
const quern__class *quern__parse_spec(quern__group group, const char *text, json_t **config, quern_error *err);

/* The same among given rows (NULL at the end). */
const quern__class *quern__parse_spec_among(const quern__class *const *rows, const char *what, const char *text, json_t **config,
                                            quern_error *err);

/* ---- activations.c ---- */
quern__id quern__activation(quern__graph *g, json_t *spec, quern__id x); /* null: linear */
int quern__activation_check(json_t *spec, quern_error *err);
bool quern__is_activation(const char *name);

/* ---- layer.c, core.c ---- */
enum {
    QUERN__MAX_STATES_OF_ONE = 32,
    QUERN__MAX_INNER = 8,
    QUERN__MAX_RESULTS = 16,
    QUERN__MAX_ARGUMENTS = 64,
    QUERN__MAX_DEPTH = 24
};

/* Sequences that are computed a few steps at a time, as generation does: what is kept between runs. The k-th state that a graph
 * asks for is the k-th of every graph made with it, whatever the number of steps. */
enum { QUERN__MAX_STATES = 256 };
typedef struct quern__stepping {
    int64_t texts, context;    /* sequences at once; steps that may be kept (of attention) */
    quern__variable *position; /* float32 scalar: steps done before this run */
    int64_t steps;             /* in a run of this graph */
    int n_states, asked;
    quern__variable *states[QUERN__MAX_STATES];
    const char *refused; /* the layer that cannot be computed step by step; NULL: none met */
} quern__stepping;

/* One call of a layer: what it is told beside its inputs, and what it gives beside the value it returns. */
typedef struct quern__context {
    bool training;
    bool again;                       /* the graph has a call of this layer before: penalties on weights are there */
    const quern__id *masks;           /* by input: (records, steps), 0 where to look away; 0 or NULL: none */
    const int *arguments;             /* by input: which of the row's `takes` it is for; NULL: the first */
    json_t *options;                  /* arguments of the call that are no values: {"use_causal_mask": true}; NULL: none */
    struct quern__stepping *stepping; /* steps come one after the other: states are kept between runs; NULL: whole sequences */
    bool ended;                       /* set by layers whose outputs have no steps any more, though their inputs have */
    int n_out;
    quern__id out[QUERN__MAX_RESULTS], mask_out[QUERN__MAX_RESULTS];
} quern__context;

typedef struct quern__layer {
    const quern__class *kind;
    char *name;
    json_t *config;
    bool built, trainable;
    bool unfilled; /* its weights stay zeros: they are read from a file next */
    int n_weights, weight_capacity;
    quern__variable **weights;   /* in Keras's order */
    char (*roles)[32];           /* "kernel": of kernel_initializer, kernel_regularizer, kernel_constraint */
    char (*places)[160];         /* in a file, below the layer: "vars/0", "cell/vars/0" */
    json_t **options;            /* where its regularizer and constraint stand; borrowed */
    int n_inner, depth;          /* depth: layers around it */
    struct quern__layer **inner; /* layers inside a wrapper or a model; their weights are in its list and are its own */
    bool owned_by_wrapper;       /* it is an inner layer: its weights belong to the wrapper            */
    bool weight_written_twice;   /* files have its first weight, which is that of a layer inside, as its own vars/0 too */
    int n_states;
    quern__variable *states[QUERN__MAX_STATES_OF_ONE]; /* of stateful layers: what is kept between batches; no weights */
    int n_constants;
    quern__variable *constants[4];  /* numbers of its config that its nodes read: no weights */
    quern_shape in[QUERN_MAX_RANK]; /* input shapes it was built for */
    const int *arguments;           /* while it is built: as in its context; NULL: all for the first */
    int n_in;
    int64_t records;         /* in every batch, when that is fixed (stateful models); 0: open */
    uint64_t seed;           /* of its initializers and its dropout */
    void *scratch;           /* what adapt keeps between batches */
    void *object;            /* what its nodes ask, of layers that look up */
    bool given;              /* its state is given: there is nothing to adapt */
    size_t *room;            /* bytes that weights may still take; NULL: as many as there are */
    quern__id penalty;       /* while a graph is built: losses it added */
    quern__context *context; /* while it is called */
} quern__layer;
/* A layer of a class with a full config (taken). Returns new. Layers inside it are its own (wrappers). */
quern__layer *quern__layer_new(const quern__class *kind, json_t *config, quern_error *err);
void quern__layer_free(quern__layer *layer);
int quern__layer_build(quern__layer *layer, const quern_shape *in, int n_in, uint64_t seed, quern_error *err);
/* Adds a weight: path "layer/name", filled by the initializer in config[initializer]. */
quern__variable *quern__layer_weight(quern__layer *layer, const char *name, const quern_shape *shape, const char *initializer,
                                     quern_error *err);
/* Lets a layer and all inside it be trained, or no longer; its config tells it too. Weights that only count (means of batches) are
 * never trained. */
void quern__layer_set_trainable(quern__layer *layer, bool on);
/* Takes a built layer in: its weights join those of this one, in a file below `part`; freed with it from now on. */
int quern__layer_adopt(quern__layer *layer, quern__layer *inner, const char *part, quern_error *err);
/* Puts the last `n` weights into a file below `part` ("cell"; NULL: the layer itself), numbered from 0. */
void quern__layer_place(quern__layer *layer, int n, const char *part);
/* Adds a layer inside this one, from its object in a config, called `name` in paths. Returns borrowed; NULL on failure. */
quern__layer *quern__layer_inside(quern__layer *layer, json_t *spec, const char *name, quern_error *err);
/* Builds an inner layer; its weights join those of the wrapper, in a file below `part`. */
int quern__layer_build_inside(quern__layer *layer, quern__layer *inner, const quern_shape *in, int n_in, const char *part,
                              quern_error *err);
/* During a call of the wrapper: calls the inner layer. Its penalties on outputs join; those on weights are the wrapper's to add. */
quern__id quern__layer_call_inside(quern__layer *layer, quern__layer *inner, quern__graph *g, const quern__id *in, int n_in,
                                   quern__context *context);
/* Adds a constant of that path: a number or a (nested) list of them. */
quern__variable *quern__layer_constant(quern__layer *layer, const char *path, json_t *numbers, quern_error *err);
/* config[role_suffix] of a weight: its "regularizer", its "constraint". Borrowed, NULL for none. */
json_t *quern__layer_option(const quern__layer *layer, int weight, const char *suffix);
/* Adds the penalty of a regularizer on an output, by the record, to layer->penalty. */
void quern__layer_penalise(quern__layer *layer, quern__graph *g, json_t *spec, quern__id x);
/* Nodes of the layer for inputs; penalties of its regularizers are added to layer->penalty. Returns the first output; the pass gets
 * all of them and their masks. */
quern__id quern__layer_call(quern__layer *layer, quern__graph *g, const quern__id *in, int n_in, quern__context *context);
/* During a call: the k-th input that is for the argument of that name; 0: none. */
quern__id quern__layer_argument(const quern__layer *layer, const quern__id *in, int n_in, const char *name, int k);
/* During a build or a call: which input is the first for the argument of that name; -1: none. */
int quern__layer_place_of(const quern__layer *layer, int n_in, const char *name);
/* During a call: the mask of input i; 0: none. */
quern__id quern__layer_mask(const quern__layer *layer, int i);
/* During a call: where any mask of the inputs looks, as Keras merges them; 0: an input has none. */
quern__id quern__layer_merged_mask(const quern__layer *layer, quern__graph *g, int n_in);
/* Whether masks are merged as Keras 2 does: where all of them look. Its files say so by "mask_all" (files/legacy_layers.c). */
bool quern__layer_masks_all(const quern__layer *layer);
/* During a call: an option of it that is true or false. */
bool quern__layer_flag(const quern__layer *layer, const char *name);
/* During a call of a layer that is stateful, or computed step by step: the variable of its k-th state, (records, …) with the
 * records open. It begins with zeros. NULL when there is no memory: the graph has failed. */
quern__variable *quern__layer_state(quern__layer *layer, quern__graph *g, int k, const quern_shape *shape);
/* During a call: gives one more output, with its mask (0: none). */
void quern__layer_result(quern__layer *layer, quern__id value, quern__id mask);

/* ---- string_lookup.c: layers with a vocabulary, and what files keep of it ---- */
bool quern__layer_looks_up(const quern__layer *layer);
/* Weights of tf_idf, which a file has beside weights; NULL: none. */
quern__variable *quern__layer_idf(const quern__layer *layer);
/* Whether such a layer is TextVectorization, whose vocabulary Keras writes a second time for the layer inside. */
bool quern__layer_is_text(const quern__layer *layer);
/* A learned vocabulary that lines cannot hold (tf_idf has weights, tokens may be newlines) as members of the layer's config. */
void quern__layer_inline_vocabulary(const quern__layer *layer, json_t *config);
/* The vocabulary as vocabulary.txt has it; false when the config has it. */
bool quern__layer_vocabulary_text(const quern__layer *layer, quern__text *out);
int quern__layer_read_vocabulary(quern__layer *layer, const char *lines, size_t n, quern_error *err);

/* ---- core.c ---- */
/* Values to be merged: those of lower rank get axes of 1 behind the records, as Keras gives them. `out` has room for n. */
void quern__match_input_ranks(quern__graph *g, const quern__id *in, int n, quern__id *out);
/* Axes along which config.noise_shape has 1: they share a draw. */
uint32_t quern__shared_axes(const quern__layer *layer);

/* ---- category_encoding.c ---- */
/* Indices as config.output_mode has them: themselves ("int"), a row of `depth` numbers for each ("one_hot"; a last axis of 1 goes),
 * or one for all of a record's along axis 1: 1 where any is ("multi_hot"), or how many are ("count"), each with its weight (0: 1).
 * An index outside leaves no mark. */
quern__id quern__encode_categories(quern__layer *layer, quern__graph *g, quern__id indices, int64_t depth, quern__id weights);
/* Whether config.output_mode is one of the first n of int, one_hot, multi_hot and count, from the `first` on. */
int quern__check_output_mode(quern__layer *layer, int first, int n, quern_error *err);

/* ---- losses.c, metrics.c ---- */
/* A loss: its values, weighted, reduced as its config says. `weights` and `mask` (0: none) have the rank of the values or less; a
 * mean under a mask is over what it leaves. */
quern__id quern__loss(quern__graph *g, const quern__class *c, json_t *config, quern__id truth, quern__id prediction,
                      quern__id weights, quern__id mask);
/* Squeezes or expands the ranks of truth and prediction to each other, as Keras does. */
void quern__match_ranks(quern__graph *g, quern__id *truth, quern__id *prediction);
/* The dtype in which a loss wants its targets, and the shape for outputs of `shape`. */
/* What the numbers of a target are to a loss (NULL: none) and its config for such an output; of classes how many there are (0: not
 * known), and the label that stands for none (INT64_MIN: there is no such one). */
int quern__loss_means(const quern__class *c, json_t *config, const quern_shape *output, int64_t *classes, int64_t *ignored);
int quern__loss_target(const quern__class *c, const quern_shape *output, quern_shape *target);
/* `extra` of metrics: the root of a mean; those that take values, not targets and predictions: Mean and Sum. */
enum { QUERN__METRIC_ROOT = 2, QUERN__METRIC_OF_VALUES = 4, QUERN__METRIC_OF_TOTALS = 5 };
/* What "accuracy" or "crossentropy" means for these shapes. */
const char *quern__metric_meaning(const char *name, const quern_shape *truth, const quern_shape *prediction);
/* Adds sum(values * weights) to `total` and sum(weights) to `count`: the nodes of a metric that is a mean. */
void quern__mean_nodes(quern__graph *g, const quern__class *c, json_t *config, quern__id truth, quern__id prediction,
                       quern__id weights, quern__id mask, quern__variable *total, quern__variable *count);
/* Whether more is better: accuracies and similarities. */
bool quern__metric_rises(const quern__class *c);

/* ---- accumulator.c ---- */
enum { QUERN__MAX_METRIC_RESULTS = 200 };
/* What one metric adds up over batches, until it is reset. */
typedef struct quern__accumulator {
    const quern__class *row; /* NULL: a mean of numbers that others add */
    json_t *config;
    quern__variable *total, *count; /* float64; of a row that counts, total is all it counts and count is NULL */
    quern__variable *given[2];      /* numbers that its nodes read; NULL: none */
    int how;                        /* what the row notes of them */
    int n_results;
} quern__accumulator;
/* A metric for truths and predictions of these shapes (of a batch, open or not). `config` is taken. Returns new. */
quern__accumulator *quern__accumulator_new(const quern__class *row, json_t *config, const char *name, const quern_shape *truth,
                                           const quern_shape *prediction, quern_error *err);
void quern__accumulator_free(quern__accumulator *m);
/* Adds the nodes that add a batch. `weights`, `mask`: 0 for none. */
void quern__accumulator_nodes(const quern__accumulator *m, quern__graph *g, quern__id truth, quern__id prediction,
                              quern__id weights, quern__id mask);
void quern__accumulator_reset(quern__accumulator *m);
/* The n_results results of now. */
void quern__accumulator_results(const quern__accumulator *m, double *out);
/* For rows: makes what is counted, of that shape, zeros; a list of numbers that the nodes read. */
int quern__accumulator_total(quern__accumulator *m, const quern_shape *shape, quern_error *err);
int quern__accumulator_given(quern__accumulator *m, int which, const float *numbers, int64_t n, quern_error *err);

/* ---- sgd_rmsprop_adam.c ---- */
enum { QUERN__SLOTS = 3 };
typedef struct quern__optimizer {
    const quern__class *kind;
    json_t *config;
    quern__variable *iteration, *rate; /* calls of the optimizer; with gradients accumulated, several for a step */
    int n, n_slots; /* trained variables; slots in the order in which Keras saves them, after averages and accumulators */
    quern__variable **trained, **slots;
    int (*place)[QUERN__SLOTS];         /* by variable: numbers of its slots, -1 for none */
    bool *automatic;                    /* by slot: Keras keeps it only where it follows attributes by itself: not inside */
    bool inside;                        /* LossScaleOptimizer, as which this one is marked */
    quern__variable **averages, **sums; /* by variable, of the slots: moving averages, accumulated gradients; NULL: not asked */
    const char *within;                 /* what Keras's paths begin with: the name of a sequential model; "" for none */
    bool *undecayed;                    /* by variable: weight decay leaves it out */
    json_t **constraints;               /* by variable; borrowed, NULL for none */
    json_t *schedule;                   /* of the rate; borrowed from config, NULL for none */
    struct quern__optimizer **inner;    /* optimizers that do the steps of this one */
    int n_inner, *inner_of;             /* by variable: which of them */
    quern__id common;                   /* while a graph is built: what steps of several variables share */
    quern__id *squares;                 /* by variable, while a graph is built: what quern__squares is to give; 0: as it finds */
    bool sums_rows;                     /* rows of a table's gradient are added up before they are squared, as by Keras 2 */
} quern__optimizer;
/* An optimizer for n variables (borrowed; the array is copied), with their constraints (borrowed; NULL: none). `config` is taken,
 * `within` borrowed. Returns new. */
quern__optimizer *quern__optimizer_new(const quern__class *kind, json_t *config, quern__variable *const *trained,
                                       json_t *const *constraints, int n, const char *within, quern_error *err);
void quern__optimizer_free(quern__optimizer *o);
/* Everything it keeps, in the order in which Keras saves it, inner optimizers last; NULL at the end. */
quern__variable *quern__optimizer_variable(const quern__optimizer *o, int i);
/* How many numbers those are; and how many there are before the first step, in files that Keras wrote then. */
int quern__optimizer_count(const quern__optimizer *o, bool unused);
/* The optimizer that has the rate and counts the steps: itself, or the inner one that it scales for. */
quern__optimizer *quern__optimizer_leader(quern__optimizer *o);
/* nadam_adafactor_muon.c: the product that Nadam keeps, from the steps it has made, where a file lacks it. */
void quern__nadam_resume(quern__optimizer *o);
/* The config with the rates of now, as files have it. Returns new. */
json_t *quern__optimizer_config(const quern__optimizer *o);
/* Before each step: sets the rate, when it follows a schedule, and what begins as a copy of the weights. */
void quern__optimizer_prepare(quern__optimizer *o);
/* The squares of the gradient of variable k where they are not simply that: of a table of which rows were taken. 0: they are. */
quern__id quern__squares(const quern__optimizer *o, quern__graph *g, int k, quern__id gradient);
/* Whether gradients are clipped. */
bool quern__optimizer_clips(const quern__optimizer *o);
/* The loss as its gradients are wanted: scaled where the optimizer says so. */
quern__id quern__optimizer_scale(const quern__optimizer *o, quern__graph *g, quern__id loss);
/* Clipping, weight decay, the step of each variable, averages, constraints and the count of iterations. gradients[k] is 0 where
 * none flows. */
void quern__optimizer_nodes(quern__optimizer *o, quern__graph *g, quern__id *gradients);
/* After the last step of a training: weights become their moving averages, where there are any. */
void quern__optimizer_finalize(quern__optimizer *o);

/* ---- initializers.c, regularizers.c ---- */
int quern__initialize(json_t *spec, quern__variable *v, uint64_t seed, quern_error *err);
quern__id quern__penalty(quern__graph *g, json_t *spec, quern__id x); /* scalar; 0 for null */

/* ---- constraints.c, schedules.c ---- */
quern__id quern__constrained(quern__graph *g, json_t *spec, quern__id x); /* 0 for null */
double quern__schedule_rate(json_t *spec, double step);                   /* NaN when it is no schedule */

#endif
