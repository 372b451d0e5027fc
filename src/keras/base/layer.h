/* layer: an instance of a layer class with its config, weights and states, and the calls that add
 * its nodes to a graph.
 *
 * A layer is built once, for the shapes of its first inputs, and called once per graph and layer
 * call. A wrapper owns inner layers: their weights also are in the list of the wrapper, so that
 * files, optimizers and counts need one list only. */
#ifndef QUERN__LAYER_H
#define QUERN__LAYER_H

#include "keras/base/layer_kernel.h"
#include "keras/registry/class.h"

enum {
    QUERN__MAX_STATES_OF_ONE = 32, /* states of one layer */
    QUERN__MAX_CONSTANTS = 64,     /* constants of one layer */
    QUERN__MAX_INNER = 8,          /* inner layers of a wrapper */
    QUERN__MAX_RESULTS = 16,       /* outputs of a call */
    QUERN__MAX_ARGUMENTS = 64,     /* values of a call */
    QUERN__MAX_DEPTH = 24,         /* nested layers and models */
    QUERN__MAX_STATES = 256        /* states of a decoder */
};

/* Incremental decoding: sequences are computed a few steps per run, and layers keep states between
 * runs. Every graph that uses this object requests its states in the same order, for any number of
 * steps per run. */
typedef struct quern__stepping {
    int64_t texts, context;    /* sequences per run; steps that attention can keep */
    quern__variable *position; /* float32 scalar: steps before this run */
    int64_t steps;             /* steps in one run of this graph */
    int n_states, asked;       /* states that exist; states that the present graph has requested */
    quern__variable *states[QUERN__MAX_STATES];
    const char *refused; /* name of the layer that prevents incremental decoding; NULL: all layers
                            support it */
} quern__stepping;

/* The arguments and results of one layer call, except its inputs and first output. */
typedef struct quern__context {
    bool training;
    bool again; /* the graph has an earlier call of this layer, which added the penalties on weights
                 */
    const quern__id *masks; /* by input: (B, T), 0 for steps to ignore; id 0 or NULL: no mask */
    const int *arguments;   /* by input: index into `call_args` of the row; NULL: all belong to the
                               first argument */
    json_t *options;        /* call flags, such as {"use_causal_mask": true}; NULL: no flags */
    struct quern__stepping *stepping; /* incremental decoding; NULL: whole sequences */
    bool ended;                       /* set by a layer that removes the time axis of its inputs */
    int n_out;
    quern__id out[QUERN__MAX_RESULTS], mask_out[QUERN__MAX_RESULTS];
} quern__context;

struct quern__layer;
/* How the layers Sequential and Functional, whose object is a model, are built, called and freed.
 * The blueprint of module model gives it to its layers, because this module does not know models. */
typedef struct quern__nesting {
    int (*build)(struct quern__layer *layer, const quern_shape *in, int n_in, quern_error *err);
    quern__id (*call)(struct quern__layer *layer, quern__graph *g, const quern__id *in, int n_in,
                      bool training);
    void (*drop)(struct quern__layer *layer); /* frees the object */
} quern__nesting;

typedef struct quern__layer {
    const quern__class *kind;
    char *name;
    json_t *config;
    bool built, trainable;
    bool keras_2;  /* the model trains with the semantics of Keras 2 */
    bool unfilled; /* the initializers do not run, because a file provides the weights */
    int n_weights, weight_capacity;
    quern__variable **weights; /* in Keras's order */
    char (*roles)[32];         /* by weight: "kernel" for kernel_initializer, kernel_regularizer,
                                  kernel_constraint */
    char (*places)[160]; /* by weight: its path in a file, below the layer: "vars/0", "cell/vars/0";
                          "": files do not store it, it is zeros when the others are read */
    json_t **options;    /* by weight: the config with its regularizer and constraint; borrowed */
    int n_inner, depth;  /* depth: number of layers that enclose this one */
    struct quern__layer **inner; /* inner layers of a wrapper or nested model */
    bool owned_by_wrapper;       /* an inner layer: the wrapper owns its weights */
    bool weight_written_twice; /* files store the first weight, which an inner layer has, as vars/0
                                  of this layer too */
    int n_states;
    quern__variable *states[QUERN__MAX_STATES_OF_ONE]; /* of a stateful layer: kept between batches,
                                                          not weights */
    int n_constants;
    /* numbers of the config that nodes read, or matrices of resizing by size; not weights */
    quern__variable *constants[QUERN__MAX_CONSTANTS];
    quern__kernel_weights kernel;   /* of a layer that quern__kernel_build built */
    quern_shape in[QUERN_MAX_RANK]; /* input shapes at build */
    const int *arguments;           /* during build: as in quern__context */
    int n_in;
    bool closed;     /* an operation whose calls take the fixed batch size as the size of axis 0 */
    int64_t records; /* batch size, when it is fixed (stateful models); 0: dynamic */
    uint64_t seed;   /* for initializers and dropout */
    void *scratch;   /* state of adapt between batches */
    void *object;    /* what lookup nodes read; destroy_state of the row frees it */
    bool given;      /* the config has the state: adapt is not needed */
    size_t *room;    /* remaining bytes for weights; NULL: no limit */
    const quern__nesting *nesting; /* NULL: the layer does not belong to a blueprint */
    quern__id penalty;             /* during a call: sum of the penalties that it added; 0: none */
    quern__context *context;       /* during a call */
} quern__layer;

/* A layer of a class with a full config, which it takes. A wrapper creates its inner layers.
 * Returns new. */
quern__layer *quern__layer_new(const quern__class *kind, json_t *config, quern_error *err);
void quern__layer_free(quern__layer *layer);
/* Creates and initialises the weights for these input shapes. */
int quern__layer_build(quern__layer *layer, const quern_shape *in, int n_in, uint64_t seed,
                       quern_error *err);
/* During build: adds the weight "layer/name", filled by the initializer of config[initializer].
 * Returns borrowed. */
quern__variable *quern__layer_weight(quern__layer *layer, const char *name,
                                     const quern_shape *shape, const char *initializer,
                                     quern_error *err);
/* The same with the object of the initializer (NULL: zeros), and the role, which selects the
 * regularizer and the constraint. */
quern__variable *quern__layer_weight_of(quern__layer *layer, const char *name,
                                        const quern_shape *shape, json_t *initializer,
                                        const char *role, quern_error *err);
/* Sets `trainable` of a layer and its inner layers, in the config too. Statistics such as moving
 * means are never trained. */
void quern__layer_set_trainable(quern__layer *layer, bool on);
/* Takes a built inner layer. Its weights join the list of `layer`; files store them below `part`.
 */
int quern__layer_adopt(quern__layer *layer, quern__layer *inner, const char *part,
                       quern_error *err);
/* Sets the file paths of the last `n` weights: "part/vars/0", … ; NULL: "vars/0", … */
void quern__layer_place(quern__layer *layer, int n, const char *part);
/* Creates an inner layer from its object in a config; `name` is its name in paths. Returns
 * borrowed. */
quern__layer *quern__layer_inside(quern__layer *layer, json_t *spec, const char *name,
                                  quern_error *err);
/* Builds an inner layer. Its weights join the list of the wrapper; files store them below `part`.
 */
int quern__layer_build_inside(quern__layer *layer, quern__layer *inner, const quern_shape *in,
                              int n_in, const char *part, quern_error *err);
/* During a call of the wrapper: calls the inner layer. The call adds its penalties on outputs to
 * those of the wrapper; the wrapper adds the penalties on weights. */
quern__id quern__layer_call_inside(quern__layer *layer, quern__layer *inner, quern__graph *g,
                                   const quern__id *in, int n_in, quern__context *context);
/* Adds a constant with that path: a number or a nested list of numbers. Returns borrowed. */
quern__variable *quern__layer_constant(quern__layer *layer, const char *path, json_t *numbers,
                                       quern_error *err);
/* config[role_suffix] of a weight, for suffix "regularizer" or "constraint". Returns borrowed;
 * NULL: none. */
json_t *quern__layer_option(const quern__layer *layer, int weight, const char *suffix);
/* During a call: adds a regularizer's penalty on an output, divided by the batch size, to
 * layer->penalty. */
void quern__layer_penalise(quern__layer *layer, quern__graph *g, json_t *spec, quern__id x);
/* Adds the nodes of one call; `context` gets all outputs and masks, layer->penalty the penalties.
 * Returns the first output. */
quern__id quern__layer_call(quern__layer *layer, quern__graph *g, const quern__id *in, int n_in,
                            quern__context *context);
/* During a call: the k-th input that belongs to the argument `name`; 0: none. */
quern__id quern__layer_argument(const quern__layer *layer, const quern__id *in, int n_in,
                                const char *name, int k);
/* During build or a call: the index of the first input that belongs to the argument `name`; -1:
 * none. */
int quern__layer_place_of(const quern__layer *layer, int n_in, const char *name);
/* During a call: the mask of input i; 0: none. */
quern__id quern__layer_mask(const quern__layer *layer, int i);
/* During a call: the union of the masks of the inputs, as Keras merges them; 0: an input does not
 * have a mask. */
quern__id quern__layer_merged_mask(const quern__layer *layer, quern__graph *g, int n_in);
/* Whether masks are merged by intersection, as Keras 2 does. files/legacy_layers.c sets "mask_all"
 * for this. */
bool quern__layer_masks_all(const quern__layer *layer);
/* During a call: a call flag. */
bool quern__layer_flag(const quern__layer *layer, const char *name);
/* During a call of a stateful layer or in incremental decoding: the variable of the k-th state,
 * zeros at first. Its shape is (B, …) with a dynamic B. Returns borrowed; NULL: the graph has an
 * error (no memory). */
quern__variable *quern__layer_state(quern__layer *layer, quern__graph *g, int k,
                                    const quern_shape *shape);
/* fixed_batch.c: x with the fixed batch size of the layer instead of a dynamic axis, and the result
 * with a dynamic axis 0, when that has the fixed size; the layer then is closed. */
quern__id quern__layer_close_batch(const quern__layer *layer, quern__graph *g, quern__id x);
quern__id quern__layer_reopen_batch(quern__layer *layer, quern__graph *g, quern__id x);
/* During a call: adds one more output with its mask (0: none). */
void quern__layer_result(quern__layer *layer, quern__id value, quern__id mask);

/* ---- string_lookup.c: layers with a vocabulary ---- */

bool quern__layer_looks_up(const quern__layer *layer);
/* The tf_idf weights, which files store next to the layer's weights; NULL: none. Returns borrowed.
 */
quern__variable *quern__layer_idf(const quern__layer *layer);
/* Whether the layer is TextVectorization. Keras stores its vocabulary a second time, for its inner
 * StringLookup. */
bool quern__layer_is_text(const quern__layer *layer);
/* Writes a learned vocabulary into `config` where vocabulary.txt cannot hold it: with tf_idf
 * weights, or with newlines in tokens.
 */
void quern__layer_inline_vocabulary(const quern__layer *layer, json_t *config);
/* Writes the content of vocabulary.txt. Returns false when the config has the vocabulary. */
bool quern__layer_vocabulary_text(const quern__layer *layer, quern__text *out);
/* Reads vocabulary.txt: n bytes. */
int quern__layer_read_vocabulary(quern__layer *layer, const char *lines, size_t n,
                                 quern_error *err);

/* ---- functions that several layers share ---- */

/* Values for a merging layer: inserts axes of size 1 after the batch axis of those with a lower
 * rank, as Keras does. `out` has the capacity n. */
void quern__match_input_ranks(quern__graph *g, const quern__id *in, int n, quern__id *out);
/* The axes along which config.noise_shape is 1, as a bit mask: all elements along them share one
 * random number. */
uint32_t quern__shared_axes(const quern__layer *layer);
/* category_encoding.c: encodes indices as config.output_mode says. "int": the indices. "one_hot":
 * `depth` numbers for each index; a last axis of size 1 is removed. "multi_hot": 1 for each index
 * that occurs along axis 1. "count": the number of occurrences, each with its weight (id 0: 1). An
 * index outside of 0 … depth - 1 has no effect. */
quern__id quern__encode_categories(quern__layer *layer, quern__graph *g, quern__id indices,
                                   int64_t depth, quern__id weights);
/* Checks that config.output_mode is among the `n` modes from `first` on in: int, one_hot,
 * multi_hot, count. */
int quern__check_output_mode(quern__layer *layer, int first, int n, quern_error *err);

/* layer_adapt.c: whether adapt determines a state of the layer that neither its config nor a
 * constant gives. */
bool quern__layer_learns(const quern__layer *layer);
/* One batch of adapt; *seen counts the records. The end of adapt, after the last batch. */
int quern__layer_adapt(quern__layer *layer, const quern_tensor *batch, int64_t *seen,
                       quern_error *err);
int quern__layer_adapted(quern__layer *layer, quern_error *err);

/* The rows of layers/core/sequential_functional.c. */
extern const quern__class quern__layer_sequential, quern__layer_functional;

#endif
