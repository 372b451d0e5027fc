/* kernels: fast kernels of ops. plan asks for one for each call. An op without one uses its
 * reference kernel. */
#ifndef QUERN__KERNELS_H
#define QUERN__KERNELS_H

#include "ops/ops.h"

/* The fastest kernel of this build for a call with shapes and types, before its addresses are set.
 * Sets *name to its name for reports. */
quern__kernel *quern__kernel_for(const quern__call *call, const char **name);

/* Stack bytes that the fast kernel of an op may use. Packed copies and tiles are on the stack, so a
 * kernel does not allocate. */
size_t quern__kernel_stack(const quern__call *call);

/* Whether all inputs are float32, as most fast kernels require. */
bool quern__inputs_are_floats(const quern__call *call);
/* The kernel of an op. */
typedef struct quern__op_kernel {
    const quern__op *op;
    quern__kernel *kernel;
} quern__op_kernel;
/* The kernel for a call in a table that ends with { 0 }; NULL: none, or an input is not float32. */
quern__kernel *quern__kernel_among(const quern__call *call, const quern__op_kernel *all);

#endif
