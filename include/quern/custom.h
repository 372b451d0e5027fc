/* User-defined layers, losses, metrics and optimizers, built from ops. The planner
 * runs their nodes on all threads and differentiates them like its own. A
 * registered class works in spec strings ("scaled 2.5") and in `.keras` files,
 * like a Python class with @keras.saving.register_keras_serializable(package).
 *
 *     static quern_node scaled(quern_custom *self, quern_graph *g,
 *                              const quern_node *in, int n_in, int training)
 *     {
 *         double factor = quern_argument_number(self, "factor");
 *         return quern_node_binary(g, "mul", in[0],
 *                                  quern_node_constant(g, factor));
 *     }
 *     ...
 *     static const quern_argument arguments[] = { { "factor", "1.0" }, { 0 } };
 *     quern_register_layer("mine>Scaled", arguments, NULL, scaled, &err);
 *
 * A quern_node is a value of a graph. 0 marks an error: functions accept it and
 * return 0; the graph stores the first error, and the model's constructor reports
 * it. Register classes before creating models, on one thread; they stay until the
 * program ends. The library calls the functions while it builds or compiles a
 * model, on that thread, and not during a run. */
#ifndef QUERN_CUSTOM_H
#define QUERN_CUSTOM_H

#include <quern/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A graph under construction. Valid for the call that receives it, on its thread.
 */
typedef struct quern__graph quern_graph;

/* A value of a graph; 0: an error. */
typedef int32_t quern_node;

/* An instance of a registered class. Valid for the call that receives it, on its
 * thread. */
typedef struct quern_custom quern_custom;

/* ---- arguments ---- */

/* An argument of a class, in positional order; a table ends with { 0 }.
 * `fallback` is the default as JSON ("1.0", "\"tanh\"", "null"); NULL: required. */
typedef struct quern_argument {
    const char *name, *fallback;
} quern_argument;

/* An argument as a number: true is 1, null is NaN. */
QUERN_API double quern_argument_number(const quern_custom *self, const char *name);

/* An argument as text. Returns borrowed; NULL: it is not a string. */
QUERN_API const char *quern_argument_text(const quern_custom *self, const char *name);

/* ---- registration ---- */

/* Creates the weights of a layer with quern_add_weight. `in` are the shapes of its
 * `n_in` inputs, with a dynamic batch dimension. Returns 0 or a negative status. */
typedef int quern_build_fn(quern_custom *self, const quern_shape *in, int n_in, quern_error *err);

/* Adds the nodes of a layer call and returns the output. `training` is 0 for
 * evaluation and prediction. */
typedef quern_node quern_call_fn(quern_custom *self, quern_graph *g, const quern_node *in, int n_in,
                                 int training);

/* Adds the nodes of a loss or metric and returns (B, …), one number for each
 * record, from `truth` and `prediction`, both float32. */
typedef quern_node quern_value_fn(quern_custom *self, quern_graph *g, quern_node truth,
                                  quern_node prediction);

/* Adds the nodes of an optimizer step and returns the new weight. `rate` is the
 * scheduled learning rate, `iteration` the number of earlier steps, both scalars.
 * `slots` have the weight's shape and start as zeros; values that the function
 * stores in `slots` persist. */
typedef quern_node quern_update_fn(quern_custom *self, quern_graph *g, quern_node weight,
                                   quern_node gradient, quern_node rate, quern_node iteration,
                                   quern_node *slots);

/* Registers a layer as "package>Class"; `build` NULL: without weights. Returns 0,
 * or a negative status if the name is invalid or exists. */
QUERN_API int quern_register_layer(const char *name, const quern_argument *arguments,
                                   quern_build_fn *build, quern_call_fn *call, quern_error *err);

/* Registers a loss with an extra argument `reduction`; its values are weighted,
 * masked and reduced as in Keras. Returns as quern_register_layer. */
QUERN_API int quern_register_loss(const char *name, const quern_argument *arguments,
                                  quern_value_fn *value, quern_error *err);

/* Registers a metric, the mean of its values over the records of an epoch. Returns
 * as quern_register_layer. */
QUERN_API int quern_register_metric(const char *name, const quern_argument *arguments,
                                    quern_value_fn *value, quern_error *err);

/* Registers an optimizer with the common arguments (learning_rate, weight_decay,
 * clipnorm, …) and its own. `slots` are the names of its slots, NULL at the end.
 * Returns as quern_register_layer. */
QUERN_API int quern_register_optimizer(const char *name, const quern_argument *arguments,
                                       const char *const *slots, quern_update_fn *update,
                                       quern_error *err);

/* ---- weights and losses of a layer ---- */

/* In a build function: adds a weight, with an initializer as a spec string
 * ("glorot_uniform", "constant 0.5"). Arguments NAME_regularizer and
 * NAME_constraint of the layer apply to it. Returns 0 or a negative status. */
QUERN_API int quern_add_weight(quern_custom *self, const char *name, const quern_shape *shape,
                               const char *initializer, int trainable, quern_error *err);

/* In a call function: the k-th weight, in the order of quern_add_weight. */
QUERN_API quern_node quern_weight(quern_custom *self, quern_graph *g, int k);

/* In a call function with training: assigns `x` to the k-th weight at the end of
 * the step, for example a moving mean. */
QUERN_API void quern_weight_becomes(quern_custom *self, quern_graph *g, int k, quern_node x);

/* In a call function: adds (B), one number for each record, to the loss, as Keras's
 * add_loss does with their mean. */
QUERN_API void quern_add_loss(quern_custom *self, quern_graph *g, quern_node values);

/* ---- ops: shapes broadcast as in NumPy; values are float32 ---- */

/* The shape of a value, with a dynamic batch dimension. */
QUERN_API quern_shape quern_node_shape(const quern_graph *g, quern_node x);

/* A scalar constant. */
QUERN_API quern_node quern_node_constant(quern_graph *g, double number);

/* An elementwise function: neg abs sign square sqrt rsqrt reciprocal exp log round
 * relu sigmoid tanh …, or any activation of Keras with its defaults. */
QUERN_API quern_node quern_node_unary(quern_graph *g, const char *function, quern_node x);

/* An elementwise function of two values: add sub mul div pow maximum minimum, and
 * equal not_equal greater greater_equal, which return 1 or 0. */
QUERN_API quern_node quern_node_binary(quern_graph *g, const char *function, quern_node a,
                                       quern_node b);

/* Elementwise `a` where `condition` is not 0, otherwise `b`. */
QUERN_API quern_node quern_node_select(quern_graph *g, quern_node condition, quern_node a,
                                       quern_node b);

/* The matrix product of x (…, k) and a matrix (k, n): (…, n). */
QUERN_API quern_node quern_node_matmul(quern_graph *g, quern_node x, quern_node matrix);

/* "sum", "mean", "max" or "min" over `axes`; a negative axis counts from the end,
 * n_axes 0: all axes. `keepdims` 1 keeps them with size 1. */
QUERN_API quern_node quern_node_reduce(quern_graph *g, const char *what, quern_node x,
                                       const int *axes, int n_axes, int keepdims);

/* Softmax over the last axis. */
QUERN_API quern_node quern_node_softmax(quern_graph *g, quern_node x);

/* The same numbers in another shape; a dynamic first dimension stays dynamic. */
QUERN_API quern_node quern_node_reshape(quern_graph *g, quern_node x, const quern_shape *shape);

/* Permutes axes as numpy.transpose does; the batch dimension stays first. */
QUERN_API quern_node quern_node_transpose(quern_graph *g, quern_node x, const int *axes);

/* Concatenates `n` values along `axis`. */
QUERN_API quern_node quern_node_concat(quern_graph *g, const quern_node *x, int n, int axis);

/* The elements [begin, begin + size) of `axis`. */
QUERN_API quern_node quern_node_slice(quern_graph *g, quern_node x, int axis, int64_t begin,
                                      int64_t size);

/* `x` without a gradient. */
QUERN_API quern_node quern_node_stop_gradient(quern_graph *g, quern_node x);

#ifdef __cplusplus
}
#endif
#endif
