/* operations: functions that rows of keras.ops share. An operation is a layer without weights. Its
 * config has the arguments of Keras's Operation class; its call takes tensors and constants by the
 * argument names of that class's `call`. */
#ifndef QUERN__OPERATIONS_H
#define QUERN__OPERATIONS_H

#include "keras/keras.h"

/* A row. MODULE is the part of the module after "keras.src.ops."; EXTRA is what CALL reads from
 * row->extra. CALL takes int32 inputs as they are, for exact integers, if WHOLE is true. */
#define QUERN__ANY_ROW(ID, NAME, MODULE, FIELDS, CALL, ARGS, EXTRA, WHOLE)          \
    const quern__class quern__operation_##ID = { .group = QUERN__OPERATION,         \
                                                 .name = NAME,                      \
                                                 .aliases = "",                     \
                                                 .module = "keras.src.ops." MODULE, \
                                                 .fields = FIELDS,                  \
                                                 .call = CALL,                      \
                                                 .call_args = ARGS,                 \
                                                 .extra = EXTRA,                    \
                                                 .whole = WHOLE,                    \
                                                 .by_step = true }
#define QUERN__OPERATION_ROW(...) QUERN__ANY_ROW(__VA_ARGS__, false)
#define QUERN__INTEGER_ROW(...)   QUERN__ANY_ROW(__VA_ARGS__, true)

/* Arguments of calls: (x), (x1, x2), (xs). */
extern const quern__call_arg quern__args_x[], quern__args_x1_x2[], quern__args_xs[];
/* Fields of configs: axis and keepdims; an axis that is -1 by default. */
extern const quern__field quern__fields_axis_keepdims[], quern__fields_last_axis[];

/* During a call: the argument `name`, a tensor or a constant. 0: the graph has an error. */
quern__id quern__operand(quern__layer *layer, quern__graph *g, const quern__id *in, int n_in,
                         const char *name);
/* The same for an optional argument; 0 without an error: it is missing or null. */
quern__id quern__operand_or_none(quern__layer *layer, quern__graph *g, const quern__id *in,
                                 int n_in, const char *name);
/* The numbers of a constant: a number, a list, or {"class_name": "__numpy__" or "__tensor__",
 * "config": {"value": …}}. Borrowed. */
json_t *quern__op_numbers(json_t *given);
/* Reads the integers of config[key], a number or a list of at most `most`. Returns their number;
 * -1: the graph has an error. */
int quern__op_integers(const quern__layer *layer, quern__graph *g, const char *key, int64_t *out,
                       int most);
/* The number of axes of x; 0 where the graph has an error. */
static inline int quern__op_rank(quern__graph *g, quern__id x)
{
    return x ? quern__shape_of(g, x)->rank : 0;
}
/* config[key] as an axis of `rank` axes; a negative axis counts from the end. -1: the graph has an
 * error. */
int quern__op_axis(const quern__layer *layer, quern__graph *g, const char *key, int rank);
/* config[key] as a bit mask of axes; null: all axes. 0: the graph has an error. */
uint32_t quern__op_axes(const quern__layer *layer, quern__graph *g, const char *key, int rank);
/* 1 where x is not 0, otherwise 0. */
quern__id quern__op_truth(quern__graph *g, quern__id x);
quern__id quern__op_number(quern__graph *g, double number);
/* x with an axis of size 1 before `axis` (0 … rank). */
quern__id quern__op_expand(quern__graph *g, quern__id x, int axis);
/* x without an axis of size 1. */
quern__id quern__op_drop(quern__graph *g, quern__id x, int axis);
/* x with axis `from` moved to index `to`. */
quern__id quern__op_move_axis(quern__graph *g, quern__id x, int from, int to);
/* elementwise_ops.c: calls of rows whose `extra` is a unary function, or a binary function of the
 * first two arguments. Two int32 operands give int32; a constant of integers next to one is int32.
 */
quern__id quern__op_of_one(quern__layer *layer, quern__graph *g, const quern__id *in, int n_in,
                           bool training);
quern__id quern__op_of_two(quern__layer *layer, quern__graph *g, const quern__id *in, int n_in,
                           bool training);
/* matrix_ops.c: 1 where column - row is at least `least` and at most `most`, otherwise 0. */
quern__id quern__op_band(quern__graph *g, int64_t rows, int64_t columns, int64_t least,
                         int64_t most);
/* matrix_ops.c: the diagonal with that offset of the axes a and b, as the last axis. */
quern__id quern__op_diagonal(quern__graph *g, quern__id x, int a, int b, int64_t offset);
/* image_ops.c: the argument `name`, an image with channels last; 0: it does not have four axes. */
quern__id quern__op_image(quern__layer *layer, quern__graph *g, const quern__id *in, int n_in,
                          const char *name);
/* reduce_ops.c: the product of all elements of an axis, which stays with size 1. */
quern__id quern__op_product(quern__graph *g, quern__id x, int axis);
/* index_ops.c: `count` elements of an axis: begin, begin + step, … with step >= 1. */
quern__id quern__op_stride(quern__graph *g, quern__id x, int axis, int64_t begin, int64_t step,
                           int64_t count);
/* join_ops.c: concatenates n tensors along an axis. The batch axis cannot grow. */
quern__id quern__op_join(quern__graph *g, const quern__id *in, int n, int axis);
/* Checks that axis 0 has a fixed size, so that operands may change it. Otherwise the graph fails:
 * `what` is not in this version over the batch. */
bool quern__op_closed(quern__graph *g, quern__id x, int axis, const char *what);

#endif
