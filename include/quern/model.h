/* Models: layers put together, compiled, and run batch by batch. Layers, losses, metrics and optimizers are named in the words of
 * the command line ("dense 128 relu kernel_regularizer=l2(0.01)"): Keras's names, arguments in Keras's order, then name=value.
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

/* Threads: one at a time. */
typedef struct quern_blueprint quern_blueprint;
/* Threads: one at a time, for predicting too; it computes on threads of its own (quern_model_set_threads). Hooks of its run are on
 * the thread that trains, and may do what <quern/callbacks.h> says. The thread that trains or predicts executes kernels too: it
 * needs up to 1 MiB of stack, and less than a plan needs is QUERN_UNSUPPORTED. Threads of the library have 1 MiB at least. */
typedef struct quern_model quern_model;

/* An empty blueprint. All that is random in the model follows from `seed`. Returns new, NULL when there is no memory. */
QUERN_API quern_blueprint *quern_blueprint_new(uint64_t seed);
/* An input of a shape ("28 28 1", `name=` may follow). Returns the number of its value; -1 on failure, which the blueprint keeps:
 * later calls return -1 too, and quern_model_new tells the error. */
QUERN_API int quern_input(quern_blueprint *b, const char *words);
/* Applies a layer to a value, or to several ("add", "concatenate"). Returns the number of the result. */
QUERN_API int quern_apply(quern_blueprint *b, const char *words, int value);
QUERN_API int quern_apply_n(quern_blueprint *b, const char *words, const int *values, int n);
/* Applies the layer (or model) that made the value `layer` to other values: both calls share its weights. Returns the number of its
 * first result; others follow it. */
QUERN_API int quern_apply_again(quern_blueprint *b, int layer, const int *values, int n);
/* Applies a model as a layer called `name` (NULL: by the model's own name) to one value for each of its inputs. Takes the model, on
 * failure too; it is compiled no longer. Returns the number of its first output; others follow it. */
QUERN_API int quern_apply_model(quern_blueprint *b, quern_model *m, const char *name, const int *values, int n);
/* For a blueprint that becomes no model. NULL is fine. */
QUERN_API void quern_blueprint_free(quern_blueprint *b);

/* The model from inputs to outputs. Takes the blueprint, on failure too. Returns new, NULL on failure. */
QUERN_API quern_model *quern_model_new(quern_blueprint *b, const int *inputs, int n_inputs, const int *outputs, int n_outputs,
                                       quern_error *err);
/* A model in words: "input 28 28 1 | flatten | dense 10 softmax". "as NAME" behind a layer names its value; "@NAME" among the words
 * of a layer adds that value to its inputs ("dense 8 | add @x"), and alone goes on from there; another "input" is another input; a
 * last "output @A @B" tells several outputs, or one that is an input itself; without it a layer stands last. Returns new, NULL on
 * failure. */
QUERN_API quern_model *quern_model_from_words(const char *pipeline, uint64_t seed, quern_error *err);
/* NULL is fine. A model in a run is not freed: a warning says so (quern_set_log). */
QUERN_API void quern_model_free(quern_model *m);

/* Sets optimizer ("adam learning_rate=1e-3"), loss (one for all outputs, one each between commas, or "price:mse,kind:mae" by
 * output) and metrics (between commas, for every output or by output; "" for none; "weighted mae" counts sample weights). NULL
 * leaves what the model was compiled with; a fresh model needs an optimizer and a loss, and has no metrics. The optimizer's state
 * begins anew. On failure the model is not compiled. */
QUERN_API int quern_compile(quern_model *m, const char *optimizer, const char *loss, const char *metrics, quern_error *err);
/* All that is random from now on (dropout, shuffling) follows from this seed. */
QUERN_API void quern_model_set_seed(quern_model *m, uint64_t seed);
/* The schema of the data that the model has learned from, which its file (.keras) holds too; NULL: it has seen none that has names.
 * Borrowed: until it is set again or the model is freed. quern_fit_generator sets it the first time; later data is matched with it
 * by name. Setting copies; NULL forgets it, so that the next fit learns it anew. */
QUERN_API const quern_schema *quern_model_schema(const quern_model *m);
QUERN_API int quern_model_set_schema(quern_model *m, const quern_schema *s, quern_error *err);
/* The tokenizer of a language model, which its file holds too; NULL: none. Borrowed: until it is set again or the model is freed.
 * Setting one copies it; NULL takes it away. */
QUERN_API const quern_tokenizer *quern_model_tokenizer(const quern_model *m);
QUERN_API int quern_model_set_tokenizer(quern_model *m, const quern_tokenizer *t, quern_error *err);
/* The states of stateful layers (stateful=true) begin anew with zeros; nothing else does that, epochs neither. */
QUERN_API void quern_model_reset_states(quern_model *m);
/* Whether the model has such layers. */
QUERN_API int quern_model_stateful(const quern_model *m);
/* Threads that compute (1 … 64; the start is 2, or 1 on a machine with one core). The result does not depend on it. */
QUERN_API int quern_model_set_threads(quern_model *m, int threads, quern_error *err);

/* How many inputs the model has. */
QUERN_API int quern_model_inputs(const quern_model *m);
/* How many outputs. */
QUERN_API int quern_model_outputs(const quern_model *m);
/* Shape of input or output i, records open; of rank 0 where there are not so many. */
QUERN_API quern_shape quern_model_input_shape(const quern_model *m, int i);
QUERN_API quern_shape quern_model_output_shape(const quern_model *m, int i);
/* The type in which input i is taken: QUERN_STRING, QUERN_INT32 or QUERN_INT64 as its dtype says, QUERN_FLOAT32 for every other
 * dtype. Whole numbers go as they are into the layers that take them (Embedding, the lookups, Hashing, HashedCrossing,
 * CategoryEncoding, Flatten, Reshape, Identity); other layers are given the nearest float32. */
QUERN_API int quern_model_input_dtype(const quern_model *m, int i);
/* The type of the numbers of output i: QUERN_FLOAT32, whatever the dtype of its layer; 0 where there are not so many outputs. */
QUERN_API int quern_model_output_dtype(const quern_model *m, int i);
/* The name of the i-th input or output: that of its layer. NULL: there are not so many. Borrowed from the model. */
QUERN_API const char *quern_model_input_name(const quern_model *m, int i);
QUERN_API const char *quern_model_output_name(const quern_model *m, int i);
/* Whether the i-th output is logits (its loss has from_logits=true): of what function it becomes probabilities. */
enum { QUERN_LOGITS_NONE = 0, QUERN_LOGITS_SOFTMAX = 1, QUERN_LOGITS_SIGMOID = 2 };
QUERN_API int quern_model_output_logits(const quern_model *m, int i);
/* What the loss of the i-th output takes the numbers of its target for (QUERN_MEANS_…); QUERN_MEANS_ANYTHING where the model has no
 * such output or is not compiled. */
QUERN_API int quern_model_output_means(const quern_model *m, int i);
/* Shape and type in which the loss wants target i. */
QUERN_API int quern_model_target(const quern_model *m, int i, quern_shape *shape);
/* Weights in Keras's order (layer by layer, trained ones first): how many, and each as a view of the model's own memory, up
 * to date until the model's next run, with its path; numbers written there before that run count. */
QUERN_API int quern_model_weights(const quern_model *m);
QUERN_API quern_tensor quern_model_weight(const quern_model *m, int i, const char **path);

/* The layers in Keras's order: how many, and the name of each (borrowed; NULL when there is none). A layer of a model inside the
 * model goes by both names below: "encoder/dense". */
QUERN_API int quern_model_layers(const quern_model *m);
QUERN_API const char *quern_model_layer(const quern_model *m, int i);
/* Weights of a layer (NULL: of the whole model) in Keras's order, as views like those of quern_model_weight. `out` has room for
 * `room` of them. Returns how many there are. */
QUERN_API int quern_model_get_weights(const quern_model *m, const char *layer, quern_tensor *out, int room, quern_error *err);
/* Copies `n` arrays, all weights of a layer (NULL: of the model) in that order, into it. Shapes must be the same, types need not.
 */
QUERN_API int quern_model_set_weights(quern_model *m, const char *layer, const quern_tensor *weights, int n, quern_error *err);
/* Whether a layer is trained; a negative status when there is no such layer. */
QUERN_API int quern_model_trainable(const quern_model *m, const char *layer, quern_error *err);
/* Freezes a layer (NULL: all) and the layers inside it, or lets them be trained again. A compiled model is compiled anew: the
 * optimizer's state begins anew. */
QUERN_API int quern_model_set_trainable(quern_model *m, const char *layer, int on, quern_error *err);

/* One batch. `x` has an array for each input and `y` one for each output; the first axis is the record. `w` (NULL: none) has the
 * sample weights of each output, of shape (records) or (records, steps); data NULL: that output has none. The target of an output
 * without a loss may have data NULL. The functions borrow the arrays for the call.
 * Before anything runs, each array is checked: its shape, its number of records, its type and its numbers. Numbers of another type
 * become those of the model (quern_model_input_dtype, quern_model_target) as in quern_fit. An integer input or target takes whole
 * numbers in its range only; QUERN_INVALID names the first record that has another one. The model keeps the memory for converted
 * arrays: no batch allocates, unless it has more records than all batches before.
 * train_on_batch and test_on_batch reset the metrics. `logs` (NULL: none) gets the loss, then the metrics (quern_model_log_name);
 * it has room for quern_model_logs numbers. */
QUERN_API int quern_train_on_batch(quern_model *m, const quern_tensor *x, const quern_tensor *y, const quern_tensor *w,
                                   double *logs, quern_error *err);
QUERN_API int quern_test_on_batch(quern_model *m, const quern_tensor *x, const quern_tensor *y, const quern_tensor *w, double *logs,
                                  quern_error *err);
/* Predictions of a batch: `out` gets for each output a pointer into the model's memory, valid until its next run. */
QUERN_API int quern_predict_on_batch(quern_model *m, const quern_tensor *x, const float **out, quern_error *err);
/* Names of the logs: "loss", then the metrics as they were given. A metric of several results (f1_score) is logged as their mean,
 * and behind it each by itself: f1_score[0], f1_score[1], … */
QUERN_API int quern_model_logs(const quern_model *m);
QUERN_API const char *quern_model_log_name(const quern_model *m, int i);

/* Keras's summary as text. The caller frees it with free(). NULL when there is no memory. */
QUERN_API char *quern_model_summary(const quern_model *m);
/* What a summary shows beside; 0: not. */
typedef struct quern_summary_opts {
    size_t size;        /* sizeof (quern_summary_opts); 0: the layout of version 0.1 (docs/abi.md) */
    int expand_nested;  /* the layers of models in the model, below them */
    int show_trainable; /* Y or N for each layer with weights */
} quern_summary_opts;
/* The same with options (NULL: none). */
QUERN_API char *quern_model_summary_with(const quern_model *m, const quern_summary_opts *opts);
/* The same as one JSON object: name, layers (name, class, output_shape, params), params, trainable. Freed with free(). */
QUERN_API char *quern_model_summary_json(const quern_model *m);

/* Notes from now on (or no longer) where the time of training steps goes; what was noted is forgotten. */
QUERN_API int quern_model_set_profile(quern_model *m, int on);
/* The table: layer, node, kernel, shape, microseconds a step, share. The caller frees it with free(). */
QUERN_API char *quern_model_profile(const quern_model *m);
/* Looks from now on (or no longer) at every output of every node: the first number that is not finite is an error that names its
 * layer and record. Slow: for finding where a loss went wrong. */
QUERN_API int quern_model_set_watch(quern_model *m, int on);

/* Checks the library on this machine: every fast kernel against its reference, and that training does not depend on the number of
 * threads. `report` gets each check's name, outcome and detail (borrowed). Returns 0 when all are well. */
typedef void quern_check_fn(void *user, const char *check, int ok, const char *detail);
QUERN_API int quern_self_check(quern_check_fn *report, void *user);

#ifdef __cplusplus
}
#endif
#endif
