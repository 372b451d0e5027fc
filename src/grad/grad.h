/* grad: gradients as nodes, by one walk over the graph in reverse. */
#ifndef QUERN__GRAD_H
#define QUERN__GRAD_H

#include "ops/ops.h"

/* Adds the nodes that compute the gradient of a scalar `loss` for each of the n values `wrt`; out[i] is 0 where nothing flows.
 * `seed` is the gradient of the loss itself (0: 1). */
int quern__gradients(quern__graph *g, quern__id loss, quern__id seed, const quern__id *wrt, int n, quern__id *out,
                     quern_error *err);

#endif
