/* What the plain kernels share: the compiler is told to make each for several processors, and to call the vector forms of the C
 * library's functions (libmvec, at most 4 ulp). No -ffast-math: NaN and infinity stay what they are. */
#ifndef QUERN__KERNELS_VECTOR_H
#define QUERN__KERNELS_VECTOR_H

#include "kernels/kernels.h"

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && defined(__GNUC__) && \
    !defined(__clang__)
#define QUERN__CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define QUERN__SIMD   __attribute__((simd("notinbranch")))
#else
#define QUERN__CLONES
#define QUERN__SIMD
#endif

#include <math.h>
QUERN__SIMD float expf(float);
QUERN__SIMD float logf(float);
QUERN__SIMD float log1pf(float);
QUERN__SIMD float expm1f(float);
QUERN__SIMD float tanhf(float);
QUERN__SIMD float powf(float, float);

#endif
