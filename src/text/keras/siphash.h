/* siphash: SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012).
 * Keras's Hashing layer uses it when it has a salt. */
#ifndef QUERN__SIPHASH_H
#define QUERN__SIPHASH_H

#include <stddef.h>
#include <stdint.h>

/* The hash of n bytes under a 128-bit key. */
uint64_t quern__siphash(const uint64_t key[2], const char *bytes, size_t n);

#endif
