/* grad: gradients as nodes, added by one reverse walk over the graph. */
#ifndef QUERN__GRAD_H
#define QUERN__GRAD_H

#include "ops/ops.h"

/* Adds the nodes that compute the gradient of a scalar `loss` for the n values `wrt`. out[i] gets
 * the gradient; 0: the loss does not depend on wrt[i]. `seed` is the gradient of the loss itself
 * (0: 1). Returns a status. */
int quern__gradients(quern__graph *g, quern__id loss, quern__id seed, const quern__id *wrt, int n,
                     quern__id *out, quern_error *err);

#endif
