/* Functions in plain arithmetic, which any compiler can vectorize. Vectors of every width, and the
 * remainder of a loop, give identical bits. The error is at most 4 ulp; tests/kernels/functions.c
 * has the figures. Without -ffast-math, NaN and infinity propagate. Subnormal numbers count as
 * zero, as in steps. Coefficients are those of Cephes (https://www.netlib.org/cephes/, single
 * precision), or of series. */
#ifndef QUERN__KERNELS_VECTOR_H
#define QUERN__KERNELS_VECTOR_H

#include "cpu.h"

#include <math.h>
#include <string.h>

#define QUERN__INLINE static inline __attribute__((always_inline))

/* The bits of a float as an integer, and back. */
QUERN__INLINE uint32_t quern__bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

QUERN__INLINE float quern__of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Clamps x; NaN stays NaN. This order of comparisons compiles to one instruction each. */
QUERN__INLINE float quern__between(float least, float x, float most)
{
    x = least > x ? least : x;
    return most < x ? most : x;
}

/* exp(x) = 2^n (1 + p). `rounded` is n + 1.5 * 2^23: adding that constant rounds to an integer. */
QUERN__INLINE float quern__exp_parts(float x, float *rounded)
{
    const float round = 12582912;
    float t = x * 1.44269504f + round, n = t - round;
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p =
        ((1.9875691500e-4f * r + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r + 4.1665795894e-2f;
    *rounded = t;
    return ((p * r + 1.6666665459e-1f) * r + 5.0000001201e-1f) * (r * r) + r;
}

/* 2^n for -127 < n < 128, n in the low nine bits; 0 for -127. */
QUERN__INLINE float quern__power_of_two(uint32_t n)
{
    return quern__of_bits((n << 23) + (127u << 23));
}

/* exp(x) for x <= 88; 0 below -87.7, where the result is subnormal. */
QUERN__INLINE float quern__exp_falling(float x)
{
    float t, p = quern__exp_parts(-88 > x ? -88 : x, &t),
             power = quern__power_of_two(quern__bits(t));
    return p * power + power;
}

/* exp(x) for any x. It scales twice, because 2^n may overflow or underflow where the result does
 * not. */
QUERN__INLINE float quern__exp(float x)
{
    float t, p = quern__exp_parts(quern__between(-104, x, 89), &t);
    uint32_t n = quern__bits(t), half = n >> 1;
    float power = quern__power_of_two(half);
    return (p * power + power) * quern__power_of_two(n - half);
}

/* exp(x) - 1 */
QUERN__INLINE float quern__expm1(float x)
{
    float t, p = quern__exp_parts(quern__between(-18, x, 89), &t);
    uint32_t n = quern__bits(t), half = n >> 1, rest = n - half;
    float a = quern__power_of_two(half), b = quern__power_of_two(rest),
          one = quern__power_of_two(0 - rest); /* one * b = 1 */
    return (p * a + (a - one)) * b;
}

/* 1 / (1 + exp(-x)); below -88 its value at -88, because the result is subnormal. */
QUERN__INLINE float quern__sigmoid(float x)
{
    return 1 / (1 + quern__exp_falling(-88 > x ? 88 : -x));
}

/* t / (t + 2), t = exp(2 |x|) - 1; 1 above 9.1. */
QUERN__INLINE float quern__tanh(float x)
{
    float twice = 2 * fabsf(x), t, p = quern__exp_parts(18.2f < twice ? 18.2f : twice, &t);
    float power = quern__power_of_two(quern__bits(t)), e = p * power + (power - 1);
    return copysignf(e / (e + 2), x);
}

/* log(x) = log(m) + n log(2), m in [√½, √2). NaN for x < 0, -infinity for 0 and subnormal x. */
QUERN__INLINE float quern__log(float x)
{
    const uint32_t one = 0x3f800000, root_of_half = 0x3f3504f3;
    uint32_t bits = quern__bits(x), e = (bits + (one - root_of_half)) >> 23; /* plus 127 */
    float m = quern__of_bits(bits - (e << 23) + one) - 1,
          n = quern__of_bits(0x4b000000 | e) - (8388608 + 127), z = m * m;
    float p = (7.0376836292e-2f * m - 1.1514610310e-1f) * m + 1.1676998740e-1f;
    p = ((p * m - 1.2420140846e-1f) * m + 1.4249322787e-1f) * m - 1.6668057665e-1f;
    p = ((p * m + 2.0000714765e-1f) * m - 2.4999993993e-1f) * m + 3.3333331174e-1f;
    float y = m + (p * m * z - 2.12194440e-4f * n - 0.5f * z) + 0.693359375f * n;
    float least = x < 0 ? NAN : -INFINITY;
    return x < 1.17549435e-38f ? least : x < INFINITY ? y : x;
}

/* log(1 + x) for 0 <= x <= 1: twice the series of atanh(x / (2 + x)). */
QUERN__INLINE float quern__log1p_of_share(float x)
{
    float s = x / (2 + x), z = s * s;
    float p = ((1 / 15.f * z + 1 / 13.f) * z + 1 / 11.f) * z + 1 / 9.f;
    p = ((p * z + 1 / 7.f) * z + 1 / 5.f) * z + 1 / 3.f;
    return 2 * s + 2 * s * (p * z);
}

/* The same for double. */
QUERN__INLINE uint64_t quern__bits_of_double(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

QUERN__INLINE double quern__double_of_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* log2(x) of a positive normal number, to 1e-10: the series of atanh((m - 1) / (m + 1)). */
QUERN__INLINE double quern__log2(double x)
{
    const uint64_t one = 0x3ff0000000000000, root_of_half = 0x3fe6a09e667f3bcd;
    uint64_t bits = quern__bits_of_double(x),
             e = (bits + (one - root_of_half)) >> 52; /* plus 1023 */
    double m = quern__double_of_bits(bits - (e << 52) + one),
           n = quern__double_of_bits(0x4330000000000000 | e) - (0x1p52 + 1023);
    double s = (m - 1) / (m + 1), z = s * s;
    double p = (((1 / 11. * z + 1 / 9.) * z + 1 / 7.) * z + 1 / 5.) * z + 1 / 3.;
    return (p * (z * s) + s) * 2.8853900817779268 + n; /* 2 / log(2) */
}

/* 2^x for |x| < 1000, to 1e-8. */
QUERN__INLINE double quern__exp2(double x)
{
    const double round = 0x1.8p52;
    double t = x + round, r = (x - (t - round)) * 0.69314718055994531;
    double p = (((1 / 5040. * r + 1 / 720.) * r + 1 / 120.) * r + 1 / 24.) * r + 1 / 6.;
    p = ((p * r + 0.5) * r + 1) * r + 1;
    return p * quern__double_of_bits((quern__bits_of_double(t) + 1023) << 52);
}

/* a^b as in C, computed in double. */
QUERN__INLINE float quern__pow(float a, float b)
{
    const double round = 0x1.8p52; /* integers are unchanged by adding and subtracting it */
    double size = fabsf(a), power = b, half = 0.5 * power;
    bool whole = (power + round) - round == power, even = (half + round) - round == half;
    double y = power * (size == 0 ? -INFINITY : size < INFINITY ? quern__log2(size) : size);
    y = -300 > y ? -300 : y;
    float value = (float)quern__exp2(300 < y ? 300 : y);
    value = b == 0 || size == 1 ? 1 : value;
    value = whole && !even ? copysignf(value, a) : value;
    return a < 0 && a > -INFINITY && !whole ? NAN : value;
}

#endif
