/* build: functions that add nodes, internal to src/ops. */
#ifndef QUERN__OPS_BUILD_H
#define QUERN__OPS_BUILD_H

#include "ops.h"

/* Adds a node with one output. Returns 0 when an input is 0. */
quern__id quern__build(quern__graph *g, const quern__op *op, const quern__id *in, int n_in,
                       const quern__attr *attr, const quern_shape *shape, int dtype);
int quern__dtype_of(const quern__graph *g, quern__id id);
/* The index in `from` of element i of `to`, to which `from` is broadcast. */
int64_t quern__broadcast_index(const quern_shape *from, const quern_shape *to, int64_t i);
/* Sums x over the axes along which `shape` was broadcast to the shape of x. */
quern__id quern__unbroadcast(quern__graph *g, quern__id x, const quern_shape *shape);

/* Partitionings that several rows share (ops.c): none; by rows where axis 0 is kept. */
int quern__ways_whole(const quern__graph *g, const quern__node *node);
int quern__ways_rows(const quern__graph *g, const quern__node *node);

#endif
