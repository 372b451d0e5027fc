/* model_struct: the members of a blueprint and of a model. Only modules model and files include it;
 * other modules call the functions of model.h (make check-style). */
#ifndef QUERN__MODEL_STRUCT_H
#define QUERN__MODEL_STRUCT_H

#include "model.h"

/* A layer call. The first call of a layer owns it; later calls share its weights. */
typedef struct quern__call_node {
    quern__layer *layer;
    bool again;        /* not the first call of this layer */
    int call;          /* index among the calls of its layer */
    int n_in, *in;     /* values of the blueprint */
    int *arguments;    /* by input: index into `call_args` of the row */
    json_t *options;   /* call flags and constants; NULL: none */
    unsigned keywords; /* bit k: argument k is a keyword argument in Python */
    uint64_t unmasked; /* bit i: an earlier call removed the mask of input i (layer_order.c) */
    int first, n_out;  /* its outputs are the values first, first + 1, …, first + n_out - 1 */
} quern__call_node;

/* An output of a node. quern_blueprint functions name it by its index among `values`. */
typedef struct quern__symbolic_tensor {
    int node, output;
    quern_shape shape;  /* an open axis has its present size */
    quern_shape second; /* the shape for the second size of open axes */
    uint32_t open;      /* bit k: axis k is open (open_axes.c) */
} quern__symbolic_tensor;

struct quern_blueprint {
    uint64_t seed;
    quern_error error;
    size_t room;     /* remaining bytes for weights */
    int depth;       /* number of models that enclose this one */
    bool unfilled;   /* a file provides the weights: initializers do not run */
    int64_t records; /* the batch size when it is fixed; 0: dynamic */
    bool open;       /* an input has an open axis */
    int n, capacity;
    quern__call_node *nodes;
    int n_values, value_capacity;
    quern__symbolic_tensor *values;
};

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

/* A graph and its plan, for one mode, capacity and kind of weights. */
typedef struct quern__program {
    quern__graph *graph;
    quern__plan *plan;
    int64_t capacity;
    quern__weighing weighing;
    uint64_t closing; /* of a model with open axes: the closing that it is for */
    bool recomputed;  /* the graph has recomputed activations */
    char whole[120];  /* why micro-batches are impossible; empty: they are possible */
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
    /* of a model with open axes (open_axes.c) */
    bool sized; /* the sizes of its open axes are those of data, or the caller set them */
    quern_shape bound[QUERN__MAX_IO]; /* the largest shapes of inputs, if `sized` */
    int n_closings, n_kept_programs;
    struct quern__closing *closings; /* shapes that it had */
    struct quern__kept_program *kept_programs;
    uint64_t closing, closed; /* id of the present one; count of new and known ones */
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
    bool profiling, watch; /* watch: check every output for values that are not finite */
    quern__profile profile;
    const quern__plan *profiled; /* the plan of the profile */
};

/* The dtype of a value: that of an input, otherwise float32. */
int quern__tensor_dtype(const quern_blueprint *b, int value);
/* The node that computes a value, and the shape of a value. */
static inline const quern__call_node *quern__producer(const quern_blueprint *b, int value)
{
    return &b->nodes[b->values[value].node];
}
static inline const quern_shape *quern__tensor_shape(const quern_blueprint *b, int value)
{
    return &b->values[value].shape;
}
/* nested_model.c: a model as the object of a layer. */
extern const quern__nesting quern__nested_model;
void quern__program_free(quern__program *p);
/* dtype_policy.c: warns if a layer has a dtype policy that this version does not compute. */
void quern__warn_policies(const quern_model *m);

/* open_axes.c: the shape of a value with -1 at open axes. */
quern_shape quern__symbolic_shape(const quern_blueprint *b, int value);
/* Whether a shape has the fixed axes of that shape; any size fits an open one. Axis 0 is ignored. */
bool quern__fits_symbolic(const quern_shape *symbolic, const quern_shape *given);
/* If the program of a mode is for another closing, keeps it, and takes that for the present closing
 * if there is one. */
int quern__model_take_program(quern_model *m, quern__mode mode, quern_error *err);
/* Frees the programs of a mode, of all closings. */
void quern__model_drop(quern_model *m, quern__mode mode);
void quern__closings_free(quern_model *m);

/* micro_batches.c, in this order: reasons against micro-batches in losses, layers and optimizer,
 * which set program->whole; the nodes that accumulate gradients and run the optimizer; one batch. */
void quern__micro_batches_loss(const quern_model *m, quern__program *p, int output, quern__id loss);
void quern__micro_batches_layers(const quern_model *m, quern__program *p, int n_nodes);
void quern__micro_batches_optimizer(const quern_model *m, quern__program *p,
                                    const quern__id *gradients);
int quern__micro_batches_add(quern_model *m, quern__graph *g, quern__id *gradients,
                             quern_error *err);
int quern__micro_batches_run(quern_model *m, const quern__step_run *whole, quern_error *err);

#endif
