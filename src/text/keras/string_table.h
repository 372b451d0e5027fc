/* string_table: distinct byte strings with indices 0 … in order of insertion, each with a count.
 * Vocabularies use it, and the learning of vocabularies. Lookups do not change the table: any
 * number of threads may find concurrently. */
#ifndef QUERN__STRINGS_H
#define QUERN__STRINGS_H

#include "base/base.h"

typedef struct quern__string {
    size_t start; /* offset of its bytes */
    uint32_t length;
    uint32_t hash;
    int64_t count;
    int64_t texts; /* number of texts that contain it, and the last of them (from 1); the caller
                      maintains both */
    int64_t last_text;
} quern__string;

enum { QUERN__MOST_COUNTED = 1 << 19, QUERN__COUNTED_BYTES = 16 << 20 };

/* All zero: an empty table. */
typedef struct quern__strings {
    char *bytes; /* each string is followed by a zero byte */
    size_t used, room;
    quern__string *items;
    int64_t n, capacity;
    uint32_t *slots; /* index + 1, by hash; 0: free */
    size_t n_slots;
} quern__strings;

/* The index of a string, or -1. */
int64_t quern__strings_find(const quern__strings *s, const char *bytes, size_t n);
/* Inserts a string unless it exists. Returns its index; a new string has index s->n - 1 and
 * count 0. Negative status: out of memory, or more than 2^31 - 1 strings or bytes. */
int64_t quern__strings_add(quern__strings *s, const char *bytes, size_t n, quern_error *err);
/* Increments the count of a string, and inserts it first if it is new. Returns its index. Memory
 * is bounded: at QUERN__MOST_COUNTED strings or QUERN__COUNTED_BYTES bytes it calls
 * quern__strings_prune. Therefore indices are valid until the next call only. */
int64_t quern__strings_count(quern__strings *s, const char *bytes, size_t n, quern_error *err);
/* Removes the strings with the lowest counts: all strings of a count, until at least half are
 * removed. The others keep their order. */
void quern__strings_prune(quern__strings *s);
/* Writes the indices to `order` (s->n entries), in Keras's order: descending count, then
 * descending bytes. */
void quern__strings_sort(const quern__strings *s, int32_t *order);
void quern__strings_free(quern__strings *s);

static inline const char *quern__strings_at(const quern__strings *s, int64_t i)
{
    return s->bytes + s->items[i].start;
}

#endif
