/* Distinct strings of bytes, numbered 0 … in the order they came, each with a count: vocabularies, and what is counted to learn
 * them. Finding does not change anything, so that any number of threads may find at once. */
#ifndef QUERN__STRINGS_H
#define QUERN__STRINGS_H

#include "base/base.h"

typedef struct quern__string {
    size_t start; /* of its bytes */
    uint32_t length;
    uint32_t hash;
    int64_t count;
    int64_t texts; /* how many texts it stood in, and the last of them (from 1): for whoever counts those */
    int64_t last_text;
} quern__string;

enum { QUERN__MOST_COUNTED = 1 << 19, QUERN__COUNTED_BYTES = 16 << 20 };

/* Zero it before use. */
typedef struct quern__strings {
    char *bytes; /* each string with a zero behind it */
    size_t used, room;
    quern__string *items;
    int64_t n, capacity;
    uint32_t *slots; /* number + 1 by hash; 0: free */
    size_t n_slots;
} quern__strings;

/* Its number, or -1. */
int64_t quern__strings_find(const quern__strings *s, const char *bytes, size_t n);
/* Its number, which is s->n - 1 and its count 0 when it is new; or a negative status (at most 2^31 - 1 bytes each and strings). */
int64_t quern__strings_add(quern__strings *s, const char *bytes, size_t n, quern_error *err);
/* Adds one to the count of a string that may be new; its number. Memory is bounded: when QUERN__MOST_COUNTED strings or
 * QUERN__COUNTED_BYTES are reached, those with the lowest counts are forgotten (below), so numbers last until the next call only.
 */
int64_t quern__strings_count(quern__strings *s, const char *bytes, size_t n, quern_error *err);
/* Forgets those with the lowest counts: whole counts, until half are gone. The others keep their order. */
void quern__strings_prune(quern__strings *s);
/* Their numbers, in `order` (room for s->n), by falling count, those of one count by falling bytes: Keras's order. */
void quern__strings_sort(const quern__strings *s, int32_t *order);
void quern__strings_free(quern__strings *s);

static inline const char *quern__strings_at(const quern__strings *s, int64_t i) { return s->bytes + s->items[i].start; }

#endif
