/* kernels: fast ways to compute an op. plan asks for one; where there is none, the op's reference kernel runs. */
#ifndef QUERN__KERNELS_H
#define QUERN__KERNELS_H

#include "ops/ops.h"

/* The fastest kernel of this build for a call whose shapes and types are set (addresses not yet); `*name` gets its name for
 * reports. */
quern__kernel *quern__kernel_for(const quern__call *call, const char **name);

/* Bytes of stack that the fast kernel of an op may use: its packed copies and tiles lie there, so that nothing allocates. */
size_t quern__kernel_stack(const quern__call *call);

/* Whether all inputs are float32, as most fast kernels want them. */
bool quern__inputs_are_floats(const quern__call *call);
/* A kernel by the name of its op. */
typedef struct quern__named_kernel {
    const char *name;
    quern__kernel *kernel;
} quern__named_kernel;
/* The kernel that a table, which ends with { 0 }, names for a call with inputs of float32; NULL: none. */
quern__kernel *quern__kernel_among(const quern__call *call, const quern__named_kernel *all);

#endif
