/* FarmHash64's fingerprint (Pike and Alakuijala, Google 2014), by which Keras puts unknown strings into buckets. */
#ifndef QUERN__FARMHASH_H
#define QUERN__FARMHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t quern__fingerprint64(const char *bytes, size_t n);
/* Two fingerprints as one, by which TensorFlow crosses columns. */
uint64_t quern__fingerprint_cat(uint64_t a, uint64_t b);

#endif
