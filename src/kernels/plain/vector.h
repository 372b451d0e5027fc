/* Functions of numbers in loops that the compiler vectorises: it is told to call the vector forms of the C library's functions
 * (libmvec, at most 4 ulp). No -ffast-math: NaN and infinity stay what they are. */
#ifndef QUERN__KERNELS_VECTOR_H
#define QUERN__KERNELS_VECTOR_H

#include "plain.h"

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && defined(__GNUC__) && \
    !defined(__clang__)
#define QUERN__SIMD __attribute__((simd("notinbranch")))
#else
#define QUERN__SIMD
#endif

#include <math.h>
QUERN__SIMD float expf(float);
QUERN__SIMD float logf(float);
QUERN__SIMD float log1pf(float);
QUERN__SIMD float expm1f(float);
QUERN__SIMD float tanhf(float);
QUERN__SIMD float powf(float, float);

/* exp(x) of a number that is not positive, to 2 ulp; zero below -87.3, where floats end. Unlike the C library's vectors it takes no
 * slow way for numbers that give zero, and needs no call. Cephes's polynomial (https://www.netlib.org/cephes/, expf). */
static inline __attribute__((always_inline)) float quern__exp_falling(float x)
{
    const float round = 12582912; /* 1.5 * 2^23: what is added to it loses its fraction */
    float c = x > -87.3f ? x : -87.3f, n = (c * 1.44269504f + round) - round;
    float r = (c - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = ((1.9875691500e-4f * r + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r + 4.1665795894e-2f;
    p = ((p * r + 1.6666665459e-1f) * r + 5.0000001201e-1f) * r * r + r + 1;
    union {
        int32_t bits;
        float power;
    } two = { ((int32_t)n + 127) * (1 << 23) };
    return x > -87.3f ? p * two.power : x == x ? 0 : x;
}

#endif
