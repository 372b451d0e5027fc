/* farmhash: the FarmHash64 fingerprint (Pike and Alakuijala, Google 2014). Keras uses it to
 * assign unknown strings to buckets. */
#ifndef QUERN__FARMHASH_H
#define QUERN__FARMHASH_H

#include <stddef.h>
#include <stdint.h>

/* The fingerprint of n bytes. */
uint64_t quern__fingerprint64(const char *bytes, size_t n);
/* Combines two fingerprints, as TensorFlow does for crossed columns. */
uint64_t quern__fingerprint_cat(uint64_t a, uint64_t b);

#endif
