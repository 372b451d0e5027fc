/* Layers, losses, metrics and optimizers of one's own, written from ops: what they add to a graph is planned, run on all threads
 * and differentiated like all else. Registered under a name, they are words of a pipeline ("scaled 2.5"), open in `.keras` files
 * that hold them, and are written there as Keras writes a class registered with @keras.saving.register_keras_serializable(package).
 *
 *     static quern_node scaled(quern_custom *self, quern_graph *g, const quern_node *in, int n_in, int training)
 *     {
 *         return quern_node_binary(g, "mul", in[0], quern_node_constant(g, quern_argument_number(self, "factor")));
 *     }
 *     ...
 *     static const quern_argument arguments[] = { { "factor", "1.0" }, { 0 } };
 *     quern_register_layer("mine>Scaled", arguments, NULL, scaled, &err);
 *
 * A quern_node is a value in a graph; 0 is none, and flows through every function: the first mistake is kept and told when the
 * model is made. Register before models are made, from one thread; what is registered stays until the program ends. Functions given
 * are called whenever a model is built or compiled, on the thread that does it, never while a model runs. */
#ifndef QUERN_CUSTOM_H
#define QUERN_CUSTOM_H

#include <quern/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Threads: a graph, its nodes and a custom object are there for the call that is given them, on its thread. */
typedef struct quern__graph quern_graph;
typedef int32_t quern_node;
typedef struct quern_custom quern_custom;

/* ---- what a custom object was told ---- */

/* An argument, in the order in which words give them. `fallback` is its default as JSON ("1.0", "\"tanh\"", "null"); NULL: it must
 * be given. */
typedef struct quern_argument {
    const char *name, *fallback;
} quern_argument;
/* An argument as a number (true is 1, null NaN), or as text (NULL when it is none; borrowed). */
QUERN_API double quern_argument_number(const quern_custom *self, const char *name);
QUERN_API const char *quern_argument_text(const quern_custom *self, const char *name);

/* ---- registering. `name` is "package>Class", as Keras calls it; 0, or a negative status when it is taken or no name ---- */

/* Makes the weights of a layer for inputs of these shapes (records open, a negative first dimension): quern_add_weight. */
typedef int quern_build_fn(quern_custom *self, const quern_shape *in, int n_in, quern_error *err);
/* Adds the nodes of one call; returns the output. `training` is 0 when predicting and evaluating. */
typedef quern_node quern_call_fn(quern_custom *self, quern_graph *g, const quern_node *in, int n_in, int training);
/* One number for each record, (records, …), from what is true and what was predicted, both float32. */
typedef quern_node quern_value_fn(quern_custom *self, quern_graph *g, quern_node truth, quern_node prediction);
/* One step of one weight: what it becomes. `rate` is the learning rate (schedules applied), `iteration` the steps done before, both
 * scalars. `slots` are numbers of the weight's shape that are kept from step to step, zeros at first: what is put there stays. */
typedef quern_node quern_update_fn(quern_custom *self, quern_graph *g, quern_node weight, quern_node gradient, quern_node rate,
                                   quern_node iteration, quern_node *slots);

/* A layer; `build` NULL: it has no weights. */
QUERN_API int quern_register_layer(const char *name, const quern_argument *arguments, quern_build_fn *build, quern_call_fn *call,
                                   quern_error *err);
/* A loss, whose values are weighted, masked and reduced as Keras does; it has the argument `reduction` beside its own. */
QUERN_API int quern_register_loss(const char *name, const quern_argument *arguments, quern_value_fn *value, quern_error *err);
/* A metric: the mean of its values over all records of an epoch. */
QUERN_API int quern_register_metric(const char *name, const quern_argument *arguments, quern_value_fn *value, quern_error *err);
/* An optimizer with the arguments of every optimizer (learning_rate, weight_decay, clipnorm, …) beside its own; `slots` names what
 * it keeps for each weight, NULL at the end. */
QUERN_API int quern_register_optimizer(const char *name, const quern_argument *arguments, const char *const *slots,
                                       quern_update_fn *update, quern_error *err);

/* While a layer is built: a weight, in the order of quern_weight, filled by an initializer in words ("glorot_uniform", "constant
 * 0.5"). Arguments called NAME_regularizer and NAME_constraint hold for it. */
QUERN_API int quern_add_weight(quern_custom *self, const char *name, const quern_shape *shape, const char *initializer,
                               int trainable, quern_error *err);
/* While a layer is called: its k-th weight. */
QUERN_API quern_node quern_weight(quern_custom *self, quern_graph *g, int k);
/* While a layer that trains is called: its k-th weight becomes that when the step ends (a moving mean). */
QUERN_API void quern_weight_becomes(quern_custom *self, quern_graph *g, int k, quern_node x);
/* While a layer is called: adds a number for each record to the loss of the model, as Keras's add_loss does with their mean. */
QUERN_API void quern_add_loss(quern_custom *self, quern_graph *g, quern_node values);

/* ---- ops. Shapes broadcast as NumPy's do; all is float32 unless it says otherwise ---- */

/* The shape of a value; records are negative where they are open. */
QUERN_API quern_shape quern_node_shape(const quern_graph *g, quern_node x);
/* A number, the same for all. */
QUERN_API quern_node quern_node_constant(quern_graph *g, double number);
/* A function of one number: neg abs sign square sqrt rsqrt reciprocal exp log round relu sigmoid tanh …, or any activation of Keras
 * with its defaults. */
QUERN_API quern_node quern_node_unary(quern_graph *g, const char *function, quern_node x);
/* Of two: add sub mul div pow maximum minimum, and equal not_equal greater greater_equal, which give 1 or 0. */
QUERN_API quern_node quern_node_binary(quern_graph *g, const char *function, quern_node a, quern_node b);
/* a where `condition` is not 0, else b. */
QUERN_API quern_node quern_node_select(quern_graph *g, quern_node condition, quern_node a, quern_node b);
/* x (…, k) by a matrix (k, n): (…, n). */
QUERN_API quern_node quern_node_matmul(quern_graph *g, quern_node x, quern_node matrix);
/* "sum", "mean", "max" or "min" over axes (from the end when negative; n_axes 0: all), which stay as 1 when `keepdims`. */
QUERN_API quern_node quern_node_reduce(quern_graph *g, const char *what, quern_node x, const int *axes, int n_axes, int keepdims);
QUERN_API quern_node quern_node_softmax(quern_graph *g, quern_node x); /* over the last axis */
/* The same numbers in another shape; an open first dimension keeps its negative number. */
QUERN_API quern_node quern_node_reshape(quern_graph *g, quern_node x, const quern_shape *shape);
QUERN_API quern_node quern_node_transpose(quern_graph *g, quern_node x,
                                          const int *axes); /* as numpy.transpose; records stay first */
QUERN_API quern_node quern_node_concat(quern_graph *g, const quern_node *x, int n, int axis);
QUERN_API quern_node quern_node_slice(quern_graph *g, quern_node x, int axis, int64_t begin, int64_t size);
/* x, through which no gradient flows. */
QUERN_API quern_node quern_node_stop_gradient(quern_graph *g, quern_node x);

#ifdef __cplusplus
}
#endif
#endif
