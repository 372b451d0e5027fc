/* pool: strings in memory of a fixed size, put and taken in any order. Each lies in chunks that are chained, so that what one
 * leaves any other can use. */
#ifndef QUERN__POOL_H
#define QUERN__POOL_H

#include "base/base.h"

typedef struct quern__pool quern__pool;
typedef struct quern__pooled {
    int32_t first; /* chunk; -1: none, of an empty string */
    int32_t size;
} quern__pooled;

/* Room for strings of `bytes` together, at least. Returns new, NULL when there is no memory. */
quern__pool *quern__pool_new(size_t bytes);
void quern__pool_free(quern__pool *p);
/* Empties it. */
void quern__pool_reset(quern__pool *p);
/* Whether `n` strings of up to `size` bytes each have room still. */
bool quern__pool_has(const quern__pool *p, int n, size_t size);
/* Puts a string for which there is room. */
quern__pooled quern__pool_put(quern__pool *p, const char *bytes, size_t n);
/* Copies it out and gives its room back. */
void quern__pool_take(quern__pool *p, quern__pooled s, char *to);

#endif
