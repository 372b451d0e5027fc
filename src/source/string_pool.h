/* string_pool: strings in a fixed amount of memory, stored and removed in any order. A string
 * occupies a chain of chunks, so any string can use the chunks that another released: there is
 * no fragmentation. */
#ifndef QUERN__POOL_H
#define QUERN__POOL_H

#include "base/base.h"

typedef struct quern__pool quern__pool;
typedef struct quern__pooled {
    int32_t first; /* index of the first chunk; -1: the empty string */
    int32_t size;
} quern__pooled;

/* A pool for strings of at least `bytes` bytes in total. Returns new; NULL: out of memory. */
quern__pool *quern__pool_new(size_t bytes);
void quern__pool_free(quern__pool *p);
/* Removes all strings. */
void quern__pool_reset(quern__pool *p);
/* Whether n strings of up to `size` bytes each fit. */
bool quern__pool_has(const quern__pool *p, int n, size_t size);
/* Stores a string that fits. Copies the bytes. */
quern__pooled quern__pool_put(quern__pool *p, const char *bytes, size_t n);
/* Copies a string to `to` and releases its chunks. */
void quern__pool_take(quern__pool *p, quern__pooled s, char *to);

#endif
