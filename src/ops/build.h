/* What the files of ops share to add nodes. Not for other rooms. */
#ifndef QUERN__OPS_BUILD_H
#define QUERN__OPS_BUILD_H

#include "ops.h"

/* Adds a node of one output. 0 when an input is none. */
quern__id quern__build(quern__graph *g, const quern__op *op, const quern__id *in, int n_in, const quern__attr *attr,
                       const quern_shape *shape, int dtype);
int quern__dtype_of(const quern__graph *g, quern__id id);
/* Place in `from` of element i of `to`, to which `from` is broadcast. */
int64_t quern__broadcast_index(const quern_shape *from, const quern_shape *to, int64_t i);
/* Sums x down to a shape that was broadcast to x's. */
quern__id quern__unbroadcast(quern__graph *g, quern__id x, const quern_shape *shape);

/* Ways that several rows share (ops.c): none; by rows when axis 0 is kept. */
int quern__ways_whole(const quern__graph *g, const quern__node *node);
int quern__ways_rows(const quern__graph *g, const quern__node *node);

#endif
