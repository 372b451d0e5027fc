/* Models: layers put together, compiled, and run batch by batch.
 *
 * A spec string names a layer, loss, metric or optimizer: the class, its
 * arguments in the order of Keras, then name=value, such as "dense 128 relu
 * kernel_regularizer=l2(0.01)".
 *
 *     quern_blueprint *b = quern_blueprint_new(42);
 *     int x = quern_input(b, "28 28 1");
 *     int y = quern_apply(b, "dense 10 softmax", quern_apply(b, "flatten", x));
 *     quern_model *m = quern_model_new(b, &x, 1, &y, 1, &err);
 */
#ifndef QUERN_MODEL_H
#define QUERN_MODEL_H

#include <quern/schema.h>
#include <quern/tensor.h>
#include <quern/text.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- build ---- */

/* A model under construction. Threads: one at a time. */
typedef struct quern_blueprint quern_blueprint;

/* A model. Threads: one at a time, also to predict. It computes on its own
 * threads (quern_model_set_threads). A run calls hooks on the thread that trains;
 * <quern/callbacks.h> says what a hook may do with the model. The calling thread
 * executes kernels too and needs up to 1 MiB of stack: a smaller stack is
 * QUERN_UNSUPPORTED. */
typedef struct quern_model quern_model;

/* An empty blueprint. All random numbers of the model are functions of `seed`.
 * Returns new, NULL if memory is short. */
QUERN_API quern_blueprint *quern_blueprint_new(uint64_t seed);

/* Adds an input; `spec` is its shape without the batch dimension, "28 28 1",
 * then arguments such as `name=`. Returns the index of its value; -1 on failure:
 * the blueprint stores the error, later calls return -1, and quern_model_new
 * reports it. */
QUERN_API int quern_input(quern_blueprint *b, const char *spec);

/* Applies a layer to a value. Returns the index of the result, or -1. */
QUERN_API int quern_apply(quern_blueprint *b, const char *spec, int value);

/* Applies a layer such as "add" or "concatenate" to `n` values. Returns the index
 * of the result, or -1. */
QUERN_API int quern_apply_n(quern_blueprint *b, const char *spec, const int *values, int n);

/* Applies the layer or nested model that computed the value `layer` to other
 * values; both calls share its weights. Returns the index of the first result,
 * followed by the others, or -1. */
QUERN_API int quern_apply_again(quern_blueprint *b, int layer, const int *values, int n);

/* Applies a model as a layer `name` (NULL: the name of the model) to one value
 * for each of its inputs. Takes the model. Returns the index of the first output,
 * followed by the others, or -1. */
QUERN_API int quern_apply_model(quern_blueprint *b, quern_model *m, const char *name,
                                const int *values, int n);

/* Frees a blueprint that does not become a model. NULL: does nothing. */
QUERN_API void quern_blueprint_free(quern_blueprint *b);

/* The model from inputs to outputs, both indexes of values. Takes the blueprint.
 * Returns new, NULL on failure. */
QUERN_API quern_model *quern_model_new(quern_blueprint *b, const int *inputs, int n_inputs,
                                       const int *outputs, int n_outputs, quern_error *err);

/* A model in pipeline syntax: "input 28 28 1 | flatten | dense 10 softmax".
 *
 *     layer as NAME     names the value of the layer
 *     add @NAME         adds a named value to the inputs of the layer
 *     | @NAME |         continues from a named value
 *     | input ... |     adds another input
 *     | output @A @B    selects the outputs; default: the last layer
 *
 * Returns new, NULL on failure. */
QUERN_API quern_model *quern_model_from_spec(const char *pipeline, uint64_t seed, quern_error *err);

/* Frees a model. NULL: does nothing. During a run it only logs a warning
 * (quern_set_log). */
QUERN_API void quern_model_free(quern_model *m);

/* ---- compile and configure ---- */

/* Sets optimizer ("adam learning_rate=1e-3"), loss and metrics. The loss is one
 * for all outputs, one for each between commas, or by output name
 * ("price:mse,kind:mae"). Metrics are between commas, for every output or by
 * name; "": no metrics; "weighted mae" uses sample weights. NULL keeps the
 * current setting; a new model needs optimizer and loss. Resets the optimizer's
 * slots. Returns 0 or a negative status; on failure the model is not compiled. */
QUERN_API int quern_compile(quern_model *m, const char *optimizer, const char *loss,
                            const char *metrics, quern_error *err);

/* Sets the seed of all random numbers from now on (dropout, shuffling). */
QUERN_API void quern_model_set_seed(quern_model *m, uint64_t seed);

/* Sets the number of threads that compute, 1 … 64; default 2, or 1 on a machine
 * with one core. Results do not depend on it. Returns 0 or a negative status. */
QUERN_API int quern_model_set_threads(quern_model *m, int threads, quern_error *err);

/* The schema of the training data; NULL: not known. quern_fit_generator sets it
 * the first time; later data is matched with it by name. Returns borrowed: valid
 * until it is set again or the model is freed. */
QUERN_API const quern_schema *quern_model_schema(const quern_model *m);

/* Sets the schema. Copies `s`; NULL removes it, so that the next fit learns it
 * again. Returns 0 or a negative status. */
QUERN_API int quern_model_set_schema(quern_model *m, const quern_schema *s, quern_error *err);

/* The tokenizer of a language model; NULL: not set. Returns borrowed: valid until
 * it is set again or the model is freed. */
QUERN_API const quern_tokenizer *quern_model_tokenizer(const quern_model *m);

/* Sets the tokenizer. Copies `t`; NULL removes it. Returns 0 or a negative
 * status. */
QUERN_API int quern_model_set_tokenizer(quern_model *m, const quern_tokenizer *t, quern_error *err);

/* Sets the states of stateful layers (stateful=true) to zeros. Only this call
 * resets them; an epoch does not. */
QUERN_API void quern_model_reset_states(quern_model *m);

/* Whether the model has stateful layers. */
QUERN_API int quern_model_stateful(const quern_model *m);

/* ---- inputs, outputs, targets ---- */

/* Number of inputs. */
QUERN_API int quern_model_inputs(const quern_model *m);

/* Number of outputs. */
QUERN_API int quern_model_outputs(const quern_model *m);

/* Shape of input i with a dynamic batch dimension; rank 0: i is out of range. An
 * open axis (None in Keras) has its present size. */
QUERN_API quern_shape quern_model_input_shape(const quern_model *m, int i);

/* The open axes of input i: bit k is set if the size of axis k is None in Keras.
 * 0: none, or i is out of range. The batch axis is not counted. */
QUERN_API uint32_t quern_model_input_open(const quern_model *m, int i);

/* Sets the present sizes of open axes: one shape for each input, of which axis 0
 * is ignored and fixed axes must be equal. A run does this itself if its source
 * states the shapes of its records (arrays, tables, prepared records, windows of
 * text and of series), and *_on_batch functions take them from their arrays. For
 * callbacks and functions, call it before the run. Returns 0; QUERN_SHAPE if the
 * shapes do not fit the inputs, or a layer cannot have these sizes: the model
 * keeps its shapes. Not during a run. */
QUERN_API int quern_model_set_input_shapes(quern_model *m, const quern_shape *shapes,
                                           quern_error *err);

/* Shape of output i with a dynamic batch dimension; rank 0: i is out of range. */
QUERN_API quern_shape quern_model_output_shape(const quern_model *m, int i);

/* Type of input i: QUERN_STRING, QUERN_INT32 or QUERN_INT64 as its dtype says,
 * QUERN_FLOAT32 for every other dtype. Layers for integers (Embedding, the
 * lookups, Hashing, HashedCrossing, CategoryEncoding, Flatten, Reshape, Identity)
 * get the integers; other layers get the nearest float32. */
QUERN_API int quern_model_input_dtype(const quern_model *m, int i);

/* Type of output i: QUERN_FLOAT32 for any dtype of its layer; 0: i is out of
 * range. */
QUERN_API int quern_model_output_dtype(const quern_model *m, int i);

/* Name of input i, that of its layer. Returns borrowed from the model; NULL: i is
 * out of range. */
QUERN_API const char *quern_model_input_name(const quern_model *m, int i);

/* Name of output i, that of its layer. Returns borrowed from the model; NULL: i
 * is out of range. */
QUERN_API const char *quern_model_output_name(const quern_model *m, int i);

/* The function that turns an output into probabilities. */
enum { QUERN_LOGITS_NONE = 0, QUERN_LOGITS_SOFTMAX = 1, QUERN_LOGITS_SIGMOID = 2 };

/* Whether output i is logits, because its loss has from_logits=true: a
 * QUERN_LOGITS_…. */
QUERN_API int quern_model_output_logits(const quern_model *m, int i);

/* What the loss of output i expects of its target, a QUERN_MEANS_…;
 * QUERN_MEANS_ANYTHING: i is out of range, or the model is not compiled. */
QUERN_API int quern_model_output_means(const quern_model *m, int i);

/* Shape and type of target i: writes *shape and returns the quern_dtype. */
QUERN_API int quern_model_target(const quern_model *m, int i, quern_shape *shape);

/* ---- layers and weights ---- */

/* Number of weights, in the order of Keras: by layer, trainable weights first. */
QUERN_API int quern_model_weights(const quern_model *m);

/* Weight i as a view of the model's memory, valid until the next run; numbers
 * written to it before that run take effect. Sets *path (NULL: not wanted) to its
 * path, borrowed from the model. */
QUERN_API quern_tensor quern_model_weight(const quern_model *m, int i, const char **path);

/* Number of layers, in the order of Keras. */
QUERN_API int quern_model_layers(const quern_model *m);

/* Name of layer i. The functions below also accept a layer of a nested model as
 * "encoder/dense". Returns borrowed from the model; NULL: i is out of range. */
QUERN_API const char *quern_model_layer(const quern_model *m, int i);

/* Writes the weights of a layer (NULL: of the model) to `out`, which holds at
 * most `room` views like those of quern_model_weight. Returns their number, which
 * may exceed `room`, or a negative status. */
QUERN_API int quern_model_get_weights(const quern_model *m, const char *layer, quern_tensor *out,
                                      int room, quern_error *err);

/* Copies `n` arrays into the weights of a layer (NULL: of the model), all of them
 * in that order. Shapes must be equal; types are converted. Returns 0 or a
 * negative status. */
QUERN_API int quern_model_set_weights(quern_model *m, const char *layer,
                                      const quern_tensor *weights, int n, quern_error *err);

/* Whether a layer is trainable: 1 or 0; negative: the layer does not exist. */
QUERN_API int quern_model_trainable(const quern_model *m, const char *layer, quern_error *err);

/* Makes a layer (NULL: all) and its inner layers trainable (`on` 1) or freezes
 * them. Compiles a compiled model again, which resets the optimizer's slots.
 * Returns 0 or a negative status. */
QUERN_API int quern_model_set_trainable(quern_model *m, const char *layer, int on,
                                        quern_error *err);

/* ---- one batch ---- */

/* Trains on one batch. `x` has one array for each input, `y` one for each output,
 * each (B, …). `w` (NULL: unweighted) has the sample weights of each output, (B) or
 * (B, T); `data` NULL: that output is unweighted. The target of an output without
 * a loss may have `data` NULL. Borrows the arrays for the call.
 *
 * It checks shape, type and values of each array first, and converts types as
 * quern_fit does. An integer input or target accepts integers in its range only;
 * QUERN_INVALID names the first record with another value. Memory for converted
 * arrays stays with the model: only a batch larger than all before allocates.
 *
 * Resets the metrics. Writes quern_model_logs numbers to `logs` (NULL: not
 * wanted), the loss, then the metrics. Returns 0 or a negative status. */
QUERN_API int quern_train_on_batch(quern_model *m, const quern_tensor *x, const quern_tensor *y,
                                   const quern_tensor *w, double *logs, quern_error *err);

/* Computes loss and metrics of one batch; arguments as quern_train_on_batch. */
QUERN_API int quern_test_on_batch(quern_model *m, const quern_tensor *x, const quern_tensor *y,
                                  const quern_tensor *w, double *logs, quern_error *err);

/* Predicts one batch. Sets out[i] to the numbers of output i, borrowed from the
 * model until its next run. Returns 0 or a negative status. */
QUERN_API int quern_predict_on_batch(quern_model *m, const quern_tensor *x, const float **out,
                                     quern_error *err);

/* Number of log entries. */
QUERN_API int quern_model_logs(const quern_model *m);

/* Name of log entry i: "loss", then the metrics in order. A metric with several
 * results (f1_score) logs their mean, then each: f1_score[0], f1_score[1], ….
 * Returns borrowed from the model; NULL: i is out of range. */
QUERN_API const char *quern_model_log_name(const quern_model *m, int i);

/* ---- summary, profile, checks ---- */

/* Keras's summary as text. Returns new: free it with free(); NULL if memory is
 * short. */
QUERN_API char *quern_model_summary(const quern_model *m);

/* Options of a summary; 0: off. */
typedef struct quern_summary_opts {
    /* sizeof (quern_summary_opts); 0: the layout of version 0.1 (docs/abi.md). */
    size_t size;
    int expand_nested;  /* 1: show the layers of nested models */
    int show_trainable; /* 1: show Y or N for each layer with weights */
} quern_summary_opts;

/* The summary with options; `opts` NULL: the defaults. Returns new: free it with
 * free(); NULL if memory is short. */
QUERN_API char *quern_model_summary_with(const quern_model *m, const quern_summary_opts *opts);

/* The summary as one JSON object: name, layers (name, class, output_shape,
 * params), params, trainable. Returns new: free it with free(); NULL if memory is
 * short. */
QUERN_API char *quern_model_summary_json(const quern_model *m);

/* Starts (`on` 1) or stops the profile of the steps of a run; clears it. It is that
 * of the latest training, evaluation or prediction; a run that trains is profiled
 * without its validations. Returns 0 or a negative status. */
QUERN_API int quern_model_set_profile(quern_model *m, int on);

/* The profile as a table: layer, node, kernel, shape, microseconds of a step,
 * share. Returns new: free it with free(); NULL if memory is short. */
QUERN_API char *quern_model_profile(const quern_model *m);

/* Checks (`on` 1) every output of every node in each step: the first number that
 * is not finite is an error that names its layer and record. Slow; use it to find
 * the cause of a bad loss. Returns 0 or a negative status. */
QUERN_API int quern_model_set_watch(quern_model *m, int on);

/* Receives the name, outcome (1: passed) and detail of a check, all borrowed. */
typedef void quern_check_fn(void *user, const char *check, int ok, const char *detail);

/* Checks the library on this machine: every fast kernel against its reference
 * kernel, and that results do not depend on the number of threads. Returns 0 if
 * all checks pass. */
QUERN_API int quern_self_check(quern_check_fn *report, void *user);

#ifdef __cplusplus
}
#endif
#endif
