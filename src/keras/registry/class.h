/* class: descriptor rows. Every Keras class (layer, loss, metric, optimizer, initializer, …) is a
 * row of a table: its name, its aliases, its arguments with Keras's defaults, and functions that
 * add graph nodes. A `.keras` file, a spec string and a call from C are read with the same row.
 * Names and defaults: keras-team/keras 3.15.
 *
 * A "config" is the JSON object with the arguments of one instance. Functions that add nodes return
 * a value id; the graph holds their errors. */
#ifndef QUERN__CLASS_H
#define QUERN__CLASS_H

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
    QUERN__OPERATION, /* a function of keras.ops, as a layer of a functional model */
    QUERN__CALLBACK,  /* module callbacks has the rows */
    QUERN__GROUPS
} quern__group;

/* The JSON that an argument accepts. */
typedef enum quern__kind_of_field {
    QUERN__F_NUMBER,
    QUERN__F_INT,
    QUERN__F_BOOL,
    QUERN__F_TEXT,
    QUERN__F_SIZES,       /* an integer or an array of integers */
    QUERN__F_EDGES,       /* an integer, an array of integers or an array of pairs */
    QUERN__F_ANY,         /* any JSON; the class checks it */
    QUERN__F_ACTIVATION,  /* a name or an object */
    QUERN__F_INITIALIZER, /* a name or an object */
    QUERN__F_REGULARIZER, /* null, a name or an object */
    QUERN__F_CONSTRAINT,  /* null, a name or an object */
    QUERN__F_LAYER,       /* null or an object */
    QUERN__F_RATE,        /* a number or a schedule */
    QUERN__F_OPTIMIZER,   /* a name or an object */
    QUERN__F_ONLY_DEFAULT /* Keras has the argument, quern supports its default only */
} quern__kind_of_field;

/* One argument of a class. An array of fields has Keras's order; a field without a name ends it. */
typedef struct quern__field {
    const char *name;
    quern__kind_of_field kind;
    const char *fallback; /* default as JSON, such as "1e-7" or "\"zeros\""; NULL: the argument is
                             required */
} quern__field;

/* The arguments of a kernel and a bias. Keras writes them in this order for every layer that has
 * both. */
#define QUERN__KERNEL_AND_BIAS_FIELDS                                     \
    { "kernel_initializer", QUERN__F_INITIALIZER, "\"glorot_uniform\"" }, \
        { "bias_initializer", QUERN__F_INITIALIZER, "\"zeros\"" },        \
        { "kernel_regularizer", QUERN__F_REGULARIZER, "null" },           \
        { "bias_regularizer", QUERN__F_REGULARIZER, "null" },             \
        { "kernel_constraint", QUERN__F_CONSTRAINT, "null" },             \
    {                                                                     \
        "bias_constraint", QUERN__F_CONSTRAINT, "null"                    \
    }

/* What a layer does with the mask of its inputs: it drops the mask, passes it to its outputs, or
 * sets context->mask_out. */
enum { QUERN__MASK_ENDS, QUERN__MASK_PASSES, QUERN__MASK_OWN };

/* An argument of a layer's call that is a value, in Keras's order. `many`: the argument is a list
 * of values. A name that begins with '*' is Python's *args: its values are positional arguments. */
typedef struct quern__call_arg {
    const char *name;
    bool many;
} quern__call_arg;

struct quern__layer;
struct quern__optimizer;
struct quern__accumulator;

/* A descriptor row. NULL or 0 in a member means that the class does not have that feature. */
typedef struct quern__class {
    quern__group group;
    const char *name;       /* Keras's class name */
    const char *written;    /* name in files, when it differs; NULL: `name` */
    const char *aliases;    /* other names, separated by blanks */
    const char *module;     /* "keras.layers"; NULL: a custom class */
    const char *registered; /* "package>Class" of a custom class; NULL: a class of Keras */
    const quern__field *fields;
    int extra; /* selects one statistic or variant, for functions that several rows share */

    /* ---- layers ---- */

    /* Creates the weights for these input shapes, whose batch dimension is dynamic. NULL: the layer
     * has no weights. */
    int (*build)(struct quern__layer *layer, const quern_shape *in, int n_in, quern_error *err);
    /* Adds the nodes of one call and returns the first output. */
    quern__id (*call)(struct quern__layer *layer, quern__graph *g, const quern__id *in, int n_in,
                      bool training);
    const quern__call_arg *call_args; /* call arguments that are values; NULL: only "inputs" */
    bool list; /* without `call_args`: true: "inputs" is a list of values; false: one value */
    const quern__field *call_flags; /* call arguments that are true or false; a spec string gives
                                       them as arguments too */
    int masks;                      /* QUERN__MASK_… */
    bool model;                     /* a nested model */
    bool removes_masks;             /* a call removes the masks of its inputs, as in Keras */
    bool strings;                   /* the layer accepts strings */
    bool whole;                     /* the layer accepts int32 and int64; others get float32 */
    bool by_step; /* the layer can compute a sequence step by step: the steps are independent, or it
                   * keeps what later steps need as states (context->stepping) */
    /* Frees layer->object. */
    void (*destroy_state)(struct quern__layer *layer);
    /* Keras's adapt: learns from one batch of inputs. `seen`: records in earlier batches. */
    int (*adapt)(struct quern__layer *layer, const quern_tensor *batch, int64_t seen,
                 quern_error *err);
    /* Ends adapt after the last batch. */
    int (*adapted)(struct quern__layer *layer, quern_error *err);

    /* ---- losses and metrics ---- */

    /* Adds nodes for one value per record, or per element of all axes but the last. */
    quern__id (*value)(quern__graph *g, json_t *config, quern__id truth, quern__id prediction);
    /* The same for a custom class, whose function is in its row; it replaces `value`. */
    quern__id (*own_value)(const struct quern__class *c, quern__graph *g, json_t *config,
                           quern__id truth, quern__id prediction);
    /* Losses: the meaning of a target, QUERN_MEANS_… */
    int means;
    /* Losses: 1 for each value that counts, otherwise 0. NULL: all values count. */
    quern__id (*valid)(quern__graph *g, json_t *config, quern__id truth, quern__id values);
    /* Metrics that are not a mean of values: checks the config, creates total and given of the
     * accumulator for these shapes, and sets the number of results. */
    int (*counts)(struct quern__accumulator *m, const quern_shape *truth,
                  const quern_shape *prediction, quern_error *err);
    /* Adds nodes for the amount that one batch adds to the total. */
    quern__id (*count)(const struct quern__accumulator *m, quern__graph *g, quern__id truth,
                       quern__id prediction, quern__id weights);
    /* Computes the n_results results from the total. */
    void (*results)(const struct quern__accumulator *m, double *out);
    bool higher_is_better; /* metrics: the direction of improvement */
    bool function; /* metrics: Keras has a function only, and files store it in a MeanMetricWrapper
                    */

    /* ---- optimizers ---- */

    /* Creates the slots of all variables; called once. */
    int (*slots)(struct quern__optimizer *o, quern_error *err);
    /* Adds the nodes that the updates of all variables share. */
    void (*begin)(struct quern__optimizer *o, quern__graph *g, quern__id iteration);
    /* Adds the nodes that update variable k. Returns its new content. */
    quern__id (*step)(struct quern__optimizer *o, quern__graph *g, int k, quern__id gradient,
                      quern__id rate, quern__id iteration, double decay);
    /* Sets the slots that do not start at zero, before the first step. */
    void (*init_slots)(struct quern__optimizer *o);
    /* Wrappers: the loss to differentiate instead of `loss`. */
    quern__id (*scale)(const struct quern__optimizer *o, quern__graph *g, quern__id loss);
    /* Wrappers: adds nodes that replace all steps. */
    void (*wrap)(struct quern__optimizer *o, quern__graph *g, quern__id *gradients);

    /* ---- other groups ---- */

    /* Initializers: fills `data`. */
    int (*fill)(json_t *config, const quern_shape *shape, float *data, uint64_t seed,
                quern_error *err);
    /* Regularizers: the penalty, a scalar. */
    quern__id (*penalty)(quern__graph *g, json_t *config, quern__id x);
    /* Constraints: the projected weight. */
    quern__id (*project)(quern__graph *g, json_t *config, quern__id x);
    /* Schedules: the learning rate at a step. */
    double (*rate)(json_t *config, double step);
} quern__class;

/* ---- registry.c ---- */

/* All rows of a group; NULL ends them. */
const quern__class *const *quern__classes(quern__group group);
/* The row with that name or alias, compared without case and underscores. Returns NULL and names
 * the nearest name in the hint when no row has it. */
const quern__class *quern__class_find(quern__group group, const char *name, quern_error *err);
/* The same search in `rows`; `what` names the group in messages. */
const quern__class *quern__class_among(const quern__class *const *rows, const char *what,
                                       const char *name, quern_error *err);
const char *quern__group_name(quern__group group);
/* custom_classes.c: the registered custom class with that name or "package>Class"; NULL: it does
 * not exist. */
const quern__class *quern__registered(quern__group group, const char *name);
/* The group of the object that the field holds; -1: the field does not hold an object. */
int quern__field_group(const quern__field *field);
/* Completes a config with defaults. When `strict`, an unknown key is an error; otherwise it stays.
 * Returns new. */
json_t *quern__config(const quern__class *c, json_t *given, bool strict, quern_error *err);
/* known_members.c: checks that each member of a config from a file is a field of the class, a field
 * of `common`, or known to have no effect. Otherwise returns QUERN_UNSUPPORTED with the first other
 * member. */
int quern__understood(const quern__class *c, const quern__field *common, json_t *given,
                      quern_error *err);
bool quern__is_field(const quern__field *fields, const char *name);
/* Reads an object of a group from JSON: a name, or {"class_name", "config"}. Returns its row;
 * `config` gets the full config, new.
 */
const quern__class *quern__object(quern__group group, json_t *spec, json_t **config,
                                  quern_error *err);
/* {"module", "class_name", "config", "registered_name"} of an object. Returns new. */
json_t *quern__serialize(const quern__class *c, json_t *config);
/* The same for a function without arguments. Returns new. */
json_t *quern__serialize_function(const quern__class *c);
double quern__config_number(json_t *config, const char *key); /* NaN for null */
int64_t quern__config_int(json_t *config, const char *key);
bool quern__config_bool(json_t *config, const char *key);
const char *quern__config_text(json_t *config, const char *key); /* NULL for null; borrowed */
/* Whether an object has this class_name. */
bool quern__is_class(json_t *spec, const char *name);
/* config.seed, or `otherwise` where the config has no seed. */
uint64_t quern__config_seed(json_t *config, uint64_t otherwise);
/* The axes of a key (an integer or a list; a negative axis counts from the end) as a bit mask; 0
 * for null. */
uint32_t quern__config_axes(json_t *config, const char *key, int rank);
/* Keras's default name of an instance: the class name in snake case, such as "max_pooling2d". */
void quern__snake_case(const char *name, char *out, size_t size);

/* ---- spec_parser.c ---- */

/* Parses a spec string such as "dense 128 relu kernel_regularizer=l2(0.01)". Returns the row of its
 * first word; `config` gets the arguments, new. Member "call" of the config has the call flags of a
 * layer. */
const quern__class *quern__parse_spec(quern__group group, const char *text, json_t **config,
                                      quern_error *err);
/* The same among given rows, which NULL ends; `what` names them in messages. */
const quern__class *quern__parse_spec_among(const quern__class *const *rows, const char *what,
                                            const char *text, json_t **config, quern_error *err);

#endif
