/* Converts elements between types. Each pair of types has its own loop, so that the compiler can
 * vectorise it. */
#include "convert_dtype.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

float quern__half(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 31,
             fraction = bits & 1023, out;
    float v;
    if (!exponent) {
        v = ldexpf((float)fraction, -24);
        return sign ? -v : v;
    }
    out = sign | (exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13;
    memcpy(&v, &out, sizeof v);
    return v;
}

void quern__swap_bytes(void *numbers, int64_t n, size_t size)
{
    uint8_t *p = numbers;
    for (int64_t i = 0; size > 1 && i < n; i++, p += size)
        for (size_t k = 0; k < size / 2; k++) {
            uint8_t kept = p[k];
            p[k] = p[size - 1 - k];
            p[size - 1 - k] = kept;
        }
}

bool quern__convertible(int have, int want)
{
    return (have == QUERN_STRING) == (want == QUERN_STRING);
}

/* Loop over the elements v of type T; BODY stores v or returns i. */
#define EACH(T, BODY)                                                    \
    for (int64_t i = 0; i < n; i++) {                                    \
        T v;                                                             \
        memcpy(&v, (const char *)from + (size_t)i * sizeof v, sizeof v); \
        BODY;                                                            \
    }                                                                    \
    return n
#define WHOLE_TYPES(BODY)     \
    case QUERN_INT8:          \
        EACH(int8_t, BODY);   \
    case QUERN_BOOL:          \
    case QUERN_UINT8:         \
        EACH(uint8_t, BODY);  \
    case QUERN_INT16:         \
        EACH(int16_t, BODY);  \
    case QUERN_UINT16:        \
        EACH(uint16_t, BODY); \
    case QUERN_INT32:         \
        EACH(int32_t, BODY);  \
    case QUERN_UINT32:        \
        EACH(uint32_t, BODY); \
    case QUERN_INT64:         \
        EACH(int64_t, BODY);  \
    case QUERN_UINT64:        \
        EACH(uint64_t, BODY)

/* To a floating type: every value, rounded once. */
#define INTO_REAL(NAME, TO)                                            \
    static int64_t NAME(const void *from, int have, int64_t n, TO *to) \
    {                                                                  \
        switch (have) {                                                \
        case QUERN_FLOAT16:                                            \
            EACH(uint16_t, to[i] = (TO)quern__half(v));                \
        case QUERN_FLOAT32:                                            \
            EACH(float, to[i] = (TO)v);                                \
        case QUERN_FLOAT64:                                            \
            EACH(double, to[i] = (TO)v);                               \
            WHOLE_TYPES(to[i] = (TO)v);                                \
        }                                                              \
        return 0;                                                      \
    }
/* To an integer type with maximum 2^(BITS - 1) - 1: values that fit exactly. */
#define INTO_WHOLE(NAME, TO, BITS)                                                      \
    static bool NAME##_real(double v, TO *to)                                           \
    {                                                                                   \
        double bound = ldexp(1, BITS - 1);                                              \
        bool fits = v == floor(v) && v >= -bound && v < bound;                          \
        if (fits)                                                                       \
            *to = (TO)v;                                                                \
        return fits;                                                                    \
    }                                                                                   \
    static int64_t NAME(const void *from, int have, int64_t n, TO *to)                  \
    {                                                                                   \
        switch (have) {                                                                 \
        case QUERN_FLOAT16:                                                             \
            EACH(uint16_t, if (!NAME##_real((double)quern__half(v), to + i)) return i); \
        case QUERN_FLOAT32:                                                             \
            EACH(float, if (!NAME##_real((double)v, to + i)) return i);                 \
        case QUERN_FLOAT64:                                                             \
            EACH(double, if (!NAME##_real(v, to + i)) return i);                        \
            WHOLE_TYPES(if (__builtin_add_overflow(v, 0, to + i)) return i);            \
        }                                                                               \
        return 0;                                                                       \
    }

INTO_REAL(to_float, float)
INTO_REAL(to_double, double)
INTO_WHOLE(to_int32, int32_t, 32)
INTO_WHOLE(to_int64, int64_t, 64)

int64_t quern__convert(const void *from, int have, int64_t n, void *to, int want, int64_t at)
{
    if (have == want) {
        memcpy((char *)to + (size_t)at * quern_dtype_size(want), from,
               (size_t)n * quern_dtype_size(want));
        return n;
    }
    switch (want) {
    case QUERN_FLOAT64:
        return to_double(from, have, n, (double *)to + at);
    case QUERN_INT32:
        return to_int32(from, have, n, (int32_t *)to + at);
    case QUERN_INT64:
        return to_int64(from, have, n, (int64_t *)to + at);
    default:
        return to_float(from, have, n, (float *)to + at);
    }
}

int64_t quern__convert_walk(const void *from, int have, int64_t n, void *to, int want,
                            quern__walk *walk)
{
    enum { most = 256 };
    int64_t moved[most];
    size_t size = quern_dtype_size(want), own = quern_dtype_size(have);
    for (int64_t done = 0; done < n;) {
        int64_t part = n - done < most ? n - done : most,
                good = quern__convert((const char *)from + (size_t)done * own, have, part, moved,
                                      want, 0);
        for (int64_t i = 0; i < good; i++)
            memcpy((char *)to + (size_t)quern__walk_next(walk) * size,
                   (char *)moved + (size_t)i * size, size);
        done += good;
        if (good < part)
            return done;
    }
    return n;
}

const char *quern__convert_why(const void *from, int have, int64_t i, int want, char text[128])
{
    const char *p = (const char *)from + (size_t)i * quern_dtype_size(have);
    char number[40];
    double v = 0;
    int64_t whole;
    uint64_t large;
    quern__convert(p, have, 1, &v, QUERN_FLOAT64, 0);
    memcpy(&large, p, have == QUERN_UINT64 ? sizeof large : 0);
    if (have == QUERN_UINT64)
        snprintf(number, sizeof number, "%llu", (unsigned long long)large);
    else if (to_int64(p, have, 1, &whole))
        snprintf(number, sizeof number, "%lld", (long long)whole);
    else
        quern__format(number, sizeof number, fabs(v) < 1e20 ? "%.0f" : "%g", v);
    if (!(v == floor(v)) || isinf(v))
        quern__format(text, 128, "%g is not an integer", v);
    else
        snprintf(text, 128, "%.39s is outside %.8s (%s)", number, quern_dtype_name(want),
                 want == QUERN_INT32 ? "-2147483648 to 2147483647"
                                     : "-9223372036854775808 to 9223372036854775807");
    return text;
}
