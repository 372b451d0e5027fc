/* contraction: products of two tensors whose axes have labels, for matmul, tensordot and einsum. */
#ifndef QUERN__CONTRACTION_H
#define QUERN__CONTRACTION_H

#include "operations.h"

/* Labels of the axes of both operands and of the result, and the size of each label, negative for
 * the dynamic batch dimension. */
typedef struct quern__contraction {
    char a[QUERN_MAX_RANK + 1], b[QUERN_MAX_RANK + 1], out[QUERN_MAX_RANK + 1];
    int64_t size[128];
} quern__contraction;

/* The product. Labels that both operands and not the result have are summed, and size 1 broadcasts.
 */
quern__id quern__op_contract(quern__graph *g, quern__contraction *c, quern__id a, quern__id b);
/* Transposes x, whose axes have the labels `from`, to the order of `to`. */
quern__id quern__op_ordered(quern__graph *g, quern__id x, const char *from, const char *to);
/* Sums the axes of x whose labels are in neither `other` nor `out`, and removes the labels. */
quern__id quern__op_summed(quern__graph *g, quern__id x, char *labels, const char *other,
                           const char *out);

#endif
