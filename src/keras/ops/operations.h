/* What the rows of keras.ops share. An operation is a layer without weights: its config holds the arguments of Keras's Operation
 * class, its call takes tensors and constants by the names of that class's `call`. */
#ifndef QUERN__OPERATIONS_H
#define QUERN__OPERATIONS_H

#include "keras/keras.h"

/* A row. MODULE is the part of the module after "keras.src.ops."; EXTRA is what CALL reads from row->extra. */
#define QUERN__OPERATION_ROW(ID, NAME, MODULE, FIELDS, CALL, ARGS, EXTRA)           \
    const quern__class quern__operation_##ID = { .group = QUERN__OPERATION,         \
                                                 .name = NAME,                      \
                                                 .aliases = "",                     \
                                                 .module = "keras.src.ops." MODULE, \
                                                 .fields = FIELDS,                  \
                                                 .call = CALL,                      \
                                                 .call_args = ARGS,                 \
                                                 .extra = EXTRA,                    \
                                                 .by_step = true }

/* Arguments of calls: (x), (x1, x2), (xs). */
extern const quern__call_arg quern__args_x[], quern__args_x1_x2[], quern__args_xs[];
/* Fields of configs: axis and keepdims; an axis that is -1 by default. */
extern const quern__field quern__fields_axis_keepdims[], quern__fields_last_axis[];

/* During a call: the argument of that name, a tensor or a constant that the call was given. 0: the graph has failed. */
quern__id quern__operand(quern__layer *layer, quern__graph *g, const quern__id *in, int n_in, const char *name);
/* The same; 0 without a failure where the call has no such argument, or null. */
quern__id quern__operand_or_none(quern__layer *layer, quern__graph *g, const quern__id *in, int n_in, const char *name);
/* config[key] as an axis of `rank` axes, counted from the end when negative; -1: the graph has failed. */
int quern__op_axis(const quern__layer *layer, quern__graph *g, const char *key, int rank);
/* config[key] as a bit mask of axes; null: all axes. 0: the graph has failed. */
uint32_t quern__op_axes(const quern__layer *layer, quern__graph *g, const char *key, int rank);
/* x as 1 where it is not 0, else 0. */
quern__id quern__op_truth(quern__graph *g, quern__id x);
quern__id quern__op_number(quern__graph *g, double number);
/* x with an axis of size 1 before `axis` (0 … rank). */
quern__id quern__op_expand(quern__graph *g, quern__id x, int axis);
/* x with axis `from` moved to place `to`. */
quern__id quern__op_move_axis(quern__graph *g, quern__id x, int from, int to);
/* `count` elements of an axis from `begin` on, each `step` >= 1 after the one before (index_ops.c). */
quern__id quern__op_stride(quern__graph *g, quern__id x, int axis, int64_t begin, int64_t step, int64_t count);
/* Whether operands may change axis 0: its size is fixed. Else the graph fails: `what` is not in this version over the batch. */
bool quern__op_closed(quern__graph *g, quern__id x, int axis, const char *what);

#endif
