/* Decimal text to float or double, correctly rounded. A mantissa of 53 bits and a power of ten
 * up to 10^22 are exact, so one operation rounds correctly (Clinger, "How to read floating point
 * numbers accurately", PLDI 1990). A float is rounded from this double, unless the double is
 * exactly between two floats: then the digits that it lost decide. All other numbers go to the C
 * library. */
#include "parse_number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct decimal {
    uint64_t mantissa;
    int exponent;         /* power of ten */
    bool negative, exact; /* exact: the mantissa contains all digits */
} decimal;

static const double powers[] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                 1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };

static inline unsigned digit(char c) { return (unsigned)((unsigned char)c - '0'); }

/* Splits a number into mantissa and power of ten. Returns its end; NULL: no number. */
static inline const char *decimal_scan(const char *p, decimal *d)
{
    const char *start;
    uint64_t m = 0;
    d->negative = *p == '-';
    p += *p == '-' || *p == '+';
    start = p;
    while (digit(*p) <= 9)
        m = m * 10 + digit(*p++);
    ptrdiff_t digits = p - start;
    d->exponent = 0;
    if (*p == '.') {
        const char *point = ++p;
        while (digit(*p) <= 9)
            m = m * 10 + digit(*p++);
        d->exponent = (int)(point - p);
        digits += p - point;
    }
    if (digits == 0)
        return NULL;
    if (*p == 'e' || *p == 'E') {
        const char *e = p + 1;
        bool down = *e == '-';
        int power = 0;
        e += *e == '-' || *e == '+';
        if (digit(*e) > 9)
            return NULL;
        for (; digit(*e) <= 9; e++)
            power = power < 100000 ? power * 10 + (int)digit(*e) : power;
        d->exponent += down ? -power : power;
        p = e;
    }
    d->mantissa = m;
    d->exact = digits <= 19;
    return p;
}

/* The nearest double by one operation; false: not applicable. */
static inline bool decimal_to_double(const decimal *d, double *out)
{
    if (!d->exact || d->mantissa > (uint64_t)1 << 53 || d->exponent < -22 || d->exponent > 22)
        return false;
    double m = (double)d->mantissa;
    *out = d->exponent < 0 ? m / powers[-d->exponent] : m * powers[d->exponent];
    return true;
}

const char *quern__read_double(const char *p, double *out)
{
    decimal d;
    const char *end = decimal_scan(p, &d);
    if (!end)
        return NULL;
    if (decimal_to_double(&d, out))
        *out = d.negative ? -*out : *out;
    else
        *out = quern__strtod(p, NULL);
    return end;
}

const char *quern__read_float(const char *p, float *out)
{
    decimal d;
    double v;
    uint64_t bits;
    const char *end = decimal_scan(p, &d);
    if (!end)
        return NULL;
    if (decimal_to_double(&d, &v)) {
        memcpy(&bits, &v, sizeof bits);
        bool between = (bits & 0x1fffffff) == 0x10000000, normal = v >= 1.17549435e-38 || v == 0;
        if (!between && normal) {
            *out = d.negative ? -(float)v : (float)v;
            return end;
        }
    }
    *out = quern__strtof(p, NULL);
    return end;
}

const char *quern__read_whole(const char *p, int64_t *out)
{
    bool negative = *p == '-';
    int64_t v = 0;
    p += *p == '-' || *p == '+';
    const char *start = p;
    for (; digit(*p) <= 9; p++)
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, negative ? -(int)digit(*p) : (int)digit(*p), &v))
            return NULL;
    *out = v;
    return p > start ? p : NULL;
}
