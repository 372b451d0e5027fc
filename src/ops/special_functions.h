/* special_functions: functions of functions.def that the C library does not have. They compute in
 * double, for the reference kernel and for the fast one. */
#ifndef QUERN__SPECIAL_FUNCTIONS_H
#define QUERN__SPECIAL_FUNCTIONS_H

#include <math.h>
#include <stdint.h>

/* The inverse of erf: an approximation (Winitzki, 2008), then Newton steps. */
static inline double quern__erfinv(double x)
{
    if (!(fabs(x) < 1))
        return fabs(x) == 1 ? copysign(INFINITY, x) : NAN;
    const double a = 0.147, pi = 3.14159265358979323846;
    double rest = log((1 - x) * (1 + x)), half = 2 / (pi * a) + rest / 2;
    double y = copysign(sqrt(sqrt(half * half - rest / a) - half), x);
    for (int k = 0; k < 4; k++) {
        double miss = fabs(x) < 0.5 ? erf(y) - x : copysign(1 - fabs(x) - erfc(fabs(y)), x);
        y -= miss * 0.8862269254527580 * exp(y * y);
    }
    return y;
}

/* The modified Bessel functions I0 and I1: the power series of (x / 2)^2. */
static inline double quern__bessel(double x, int order)
{
    double square = x * x / 4, term = order ? x / 2 : 1, sum = 0;
    for (int k = 1; k < 1000 && fabs(term) > 1e-17 * fabs(sum); k++) {
        sum += term;
        term *= square / ((double)k * (k + order));
    }
    return sum;
}

/* sin(pi x) / (pi x) and its derivative. */
static inline double quern__sinc(double x)
{
    double angle = 3.14159265358979323846 * x;
    return x == 0 ? 1 : sin(angle) / angle;
}
static inline double quern__sinc_slope(double x)
{
    double angle = 3.14159265358979323846 * x, pi = 3.14159265358979323846;
    if (fabs(angle) < 1e-3) /* the first terms of the series */
        return pi * angle * (angle * angle / 30 - 1.0 / 3);
    return (cos(angle) - sin(angle) / angle) / x;
}

/* A number as a 32-bit integer, which wraps as TensorFlow's int32 does. 0: it is not finite. */
static inline int32_t quern__int32_of(double x)
{
    return fabs(x) < 9e18 ? (int32_t)(uint32_t)(uint64_t)(int64_t)x : 0;
}
/* x rounded to a binary number of so many digits, half to even: the last digit counts at least
 * 2^least, and numbers from `limit` on become infinite. */
static inline double quern__with_digits(double x, int digits, int least, double limit)
{
    int exponent;
    if (!(fabs(x) < limit))
        return isnan(x) ? x : copysign(INFINITY, x);
    frexp(x, &exponent);
    exponent = exponent - digits > least ? exponent - digits : least;
    return ldexp(rint(ldexp(x, -exponent)), exponent);
}
/* The places of a shift: 0 to 31. */
static inline int32_t quern__places(double x) { return x < 0 ? 0 : x > 31 ? 31 : (int32_t)x; }
static inline int32_t quern__shifted(double a, double b)
{
    return (int32_t)((uint32_t)quern__int32_of(a) << quern__places(b));
}

#endif
