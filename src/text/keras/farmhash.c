/* FarmHash64 fingerprint, after the reference implementation: one function per range of lengths.
 * Integers are little-endian. */
#include "farmhash.h"

#include <string.h>

static const uint64_t k0 = 0xc3a5c85c97cb3127u, k1 = 0xb492b66fbe98f273u, k2 = 0x9ae16a3b2f90404fu;

typedef struct two {
    uint64_t first, second;
} two;

static uint64_t load(const char *s)
{
    uint64_t out;
    memcpy(&out, s, 8);
    return out;
}

static uint64_t load32(const char *s)
{
    uint32_t out;
    memcpy(&out, s, 4);
    return out;
}

static uint64_t rotate_right(uint64_t x, int bits) { return x >> bits | x << (64 - bits); }
static uint64_t shift_mix(uint64_t x) { return x ^ (x >> 47); }

static uint64_t mix(uint64_t u, uint64_t v, uint64_t by)
{
    uint64_t a = shift_mix((u ^ v) * by);
    return shift_mix((v ^ a) * by) * by;
}

static uint64_t hash_to_16(const char *s, size_t n)
{
    uint64_t by = k2 + n * 2;
    if (n >= 8) {
        uint64_t a = load(s) + k2, b = load(s + n - 8), c = rotate_right(b, 37) * by + a,
                 d = (rotate_right(a, 25) + b) * by;
        return mix(c, d, by);
    }
    if (n >= 4)
        return mix(n + (load32(s) << 3), load32(s + n - 4), by);
    if (n == 0)
        return k2;
    uint32_t y = (uint8_t)s[0] + ((uint32_t)(uint8_t)s[n >> 1] << 8),
             z = (uint32_t)n + ((uint32_t)(uint8_t)s[n - 1] << 2);
    return shift_mix(y * k2 ^ z * k0) * k2;
}

static uint64_t hash_to_32(const char *s, size_t n)
{
    uint64_t by = k2 + n * 2, a = load(s) * k1, b = load(s + 8), c = load(s + n - 8) * by,
             d = load(s + n - 16) * k2;
    return mix(rotate_right(a + b, 43) + rotate_right(c, 30) + d, a + rotate_right(b + k2, 18) + c,
               by);
}

static uint64_t hash_to_64(const char *s, size_t n)
{
    uint64_t by = k2 + n * 2, a = load(s) * k2, b = load(s + 8), c = load(s + n - 8) * by,
             d = load(s + n - 16) * k2;
    uint64_t y = rotate_right(a + b, 43) + rotate_right(c, 30) + d,
             z = mix(y, a + rotate_right(b + k2, 18) + c, by);
    uint64_t e = load(s + 16) * by, f = load(s + 24), g = (y + load(s + n - 32)) * by,
             h = (z + load(s + n - 24)) * by;
    return mix(rotate_right(e + f, 43) + rotate_right(g, 30) + h, e + rotate_right(f + a, 18) + g,
               by);
}

static two hash_32_with(const char *s, uint64_t a, uint64_t b)
{
    uint64_t w = load(s), x = load(s + 8), y = load(s + 16), z = load(s + 24), c;
    a += w;
    b = rotate_right(b + a + z, 21);
    c = a;
    a += x + y;
    b += rotate_right(a, 44);
    return (two){ a + z, b + c };
}

/* Mixes a block of 64 bytes into x, y, z, v and w. `by` is k1, except for the last block; `nine`
 * is 9 for the last block, else 1. */
static void add_block(const char *s, uint64_t *x, uint64_t *y, uint64_t *z, two *v, two *w,
                      uint64_t by, uint64_t nine)
{
    *x = rotate_right(*x + *y + v->first + load(s + 8), 37) * by;
    *y = rotate_right(*y + v->second + load(s + 48), 42) * by;
    *x ^= w->second * nine;
    *y += v->first * nine + load(s + 40);
    *z = rotate_right(*z + w->first, 33) * by;
    *v = hash_32_with(s, v->second * by, *x + w->first);
    *w = hash_32_with(s + 32, *z + w->second, *y + load(s + 16));
    uint64_t swap = *z;
    *z = *x;
    *x = swap;
}

uint64_t quern__fingerprint64(const char *s, size_t n)
{
    if (n <= 64)
        return n <= 16 ? hash_to_16(s, n) : n <= 32 ? hash_to_32(s, n) : hash_to_64(s, n);
    uint64_t seed = 81, x = seed * k2 + load(s), y = seed * k1 + 113,
             z = shift_mix(y * k2 + 113) * k2;
    two v = { 0, 0 }, w = { 0, 0 };
    const char *end = s + (n - 1) / 64 * 64, *last = s + n - 64;
    for (; s != end; s += 64)
        add_block(s, &x, &y, &z, &v, &w, k1, 1);
    uint64_t by = k1 + ((z & 0xff) << 1);
    w.first += (n - 1) & 63;
    v.first += w.first;
    w.first += v.first;
    add_block(last, &x, &y, &z, &v, &w, by, 9);
    return mix(mix(v.first, w.first, by) + shift_mix(y) * k0 + z, mix(v.second, w.second, by) + x,
               by);
}

uint64_t quern__fingerprint_cat(uint64_t a, uint64_t b)
{
    const uint64_t by = 0xc6a4a7935bd1e995u;
    return shift_mix(shift_mix((a ^ by ^ shift_mix(b * by) * by) * by) * by);
}
