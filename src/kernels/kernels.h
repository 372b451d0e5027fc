/* kernels: fast ways to compute an op. plan asks for one; where there is none, the op's reference kernel runs. */
#ifndef QUERN__KERNELS_H
#define QUERN__KERNELS_H

#include "ops/ops.h"

/* The fastest kernel of this build for a call whose shapes and types are set (addresses not yet); `*name` gets its name for
 * reports. */
quern__kernel *quern__kernel_for(const quern__call *call, const char **name);

/* Bytes of stack that the fast kernel of an op may use: its packed copies and tiles lie there, so that nothing allocates. */
size_t quern__kernel_stack(const quern__call *call);

/* A product of row-major float matrices: C[m,n] = A'[m,k] B'[k,n], A' = ta ? Aᵀ : A, each with its leading dimension. One thread.
 * 0, or a negative status. */
int quern__gemm_plain(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb,
                      float *c, int64_t ldc);

/* Whether all inputs are float32, as most fast kernels want them. */
bool quern__inputs_are_floats(const quern__call *call);
/* A kernel by the name of its op. */
typedef struct quern__named_kernel {
    const char *name;
    quern__kernel *kernel;
} quern__named_kernel;
/* The kernel that a table, which ends with { 0 }, names for a call with inputs of float32; NULL: none. */
quern__kernel *quern__kernel_among(const quern__call *call, const quern__named_kernel *all);

/* Kernels of plain/, by op; NULL when they do not fit the call. */
quern__kernel *quern__plain_elementwise(const quern__call *call);
quern__kernel *quern__plain_classes(const quern__call *call);
quern__kernel *quern__plain_reduce(const quern__call *call);
quern__kernel *quern__plain_update(const quern__call *call);
quern__kernel *quern__plain_dropout(const quern__call *call);
quern__kernel *quern__plain_recurrence(const quern__call *call);
quern__kernel *quern__plain_convolve(const quern__call *call);
quern__kernel *quern__plain_pool(const quern__call *call);
quern__kernel *quern__plain_batch_normalize(const quern__call *call);
quern__kernel *quern__plain_move(const quern__call *call);
quern__kernel *quern__plain_gather(const quern__call *call);
quern__kernel *quern__plain_normalize(const quern__call *call);
quern__kernel *quern__plain_attention(const quern__call *call);

#endif
