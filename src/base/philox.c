/* random: Philox 4x32-10 as a pure function of key and counter, and permutations built on it. */
#include "base.h"

#include <math.h>

uint64_t quern__hash64(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

quern__random_key quern__random_key_of(uint64_t seed, uint64_t purpose, uint64_t stream)
{
    uint64_t h = quern__hash64(quern__hash64(quern__hash64(seed) ^ purpose) ^ stream);
    return (quern__random_key){ { (uint32_t)h, (uint32_t)(h >> 32) } };
}

void quern__random4(quern__random_key key, uint64_t high, uint64_t low, uint32_t out[4])
{
    uint32_t c0 = (uint32_t)low, c1 = (uint32_t)(low >> 32), c2 = (uint32_t)high,
             c3 = (uint32_t)(high >> 32);
    uint32_t k0 = key.k[0], k1 = key.k[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

static double unit(uint32_t a, uint32_t b)
{
    return (double)((((uint64_t)a << 32) | b) >> 11) * 0x1p-53;
}

double quern__random_uniform(quern__random_key key, uint64_t high, uint64_t low)
{
    uint32_t r[4];
    quern__random4(key, high, low, r);
    return unit(r[0], r[1]);
}

/* Box and Muller, "A note on the generation of random normal deviates", 1958; one number of the
 * pair. */
double quern__random_normal(quern__random_key key, uint64_t high, uint64_t low)
{
    uint32_t r[4];
    quern__random4(key, high, low, r);
    double radius = sqrt(-2 * log(1 - unit(r[0], r[1])));
    return radius * cos(2 * 3.14159265358979323846 * unit(r[2], r[3]));
}

uint64_t quern__random_permute(quern__random_key key, uint64_t n, uint64_t i)
{
    if (n < 2)
        return i;
    int bits = 64 - __builtin_clzll(n - 1), half = (bits + 1) / 2;
    uint64_t mask = ((uint64_t)1 << half) - 1;
    do { /* the network permutes 2^(2·half) >= n numbers; iterate until the result is below n */
        uint64_t left = i >> half, right = i & mask;
        for (uint64_t round = 0; round < 8; round++) {
            uint64_t mix =
                quern__hash64(right ^ (round << 56) ^ (((uint64_t)key.k[1] << 32) | key.k[0]));
            uint64_t next = left ^ (mix & mask);
            left = right;
            right = next;
        }
        i = (left << half) | right;
    } while (i >= n);
    return i;
}
