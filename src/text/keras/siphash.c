/* SipHash-2-4, after the reference implementation: two rounds for every eight bytes, four at the
 * end. */
#include "siphash.h"

static uint64_t rotate_left(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }

static void rounds(uint64_t v[4], int n)
{
    for (; n > 0; n--) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate_left(v[1], 13) ^ v[0];
        v[3] = rotate_left(v[3], 16) ^ v[2];
        v[0] = rotate_left(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotate_left(v[1], 17) ^ v[2];
        v[3] = rotate_left(v[3], 21) ^ v[0];
        v[2] = rotate_left(v[2], 32);
    }
}

uint64_t quern__siphash(const uint64_t key[2], const char *bytes, size_t n)
{
    uint64_t v[4] = { key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du,
                      key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u };
    for (size_t at = 0; at <= n;
         at += 8) { /* the last word contains the remaining bytes, and the length in its top byte */
        size_t own = n - at < 8 ? n - at : 8;
        uint64_t word = own < 8 ? (uint64_t)n << 56 : 0;
        for (size_t i = 0; i < own; i++)
            word |= (uint64_t)(uint8_t)bytes[at + i] << (8 * i);
        v[3] ^= word;
        rounds(v, 2);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
