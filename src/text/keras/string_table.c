/* Set of distinct strings: the bytes are in one buffer, and an open-addressing hash table with
 * linear probing finds them. The table is at most half full. */
#include "string_table.h"

#include <stdlib.h>
#include <string.h>

/* Multiply-xorshift hash, eight bytes per step. It is mixed well because strings come from
 * hostile files. */
static uint32_t string_hash(const char *bytes, size_t n)
{
    uint64_t h = n * 0x9e3779b97f4a7c15u, word;
    for (; n >= 8; bytes += 8, n -= 8) {
        memcpy(&word, bytes, 8);
        h = (h ^ word) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    word = 0;
    memcpy(&word, bytes, n);
    h = (h ^ word) * 0xff51afd7ed558ccdu;
    h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53u;
    return (uint32_t)(h ^ (h >> 33));
}

/* The slot of the string, or the free slot for it. */
static size_t string_slot(const quern__strings *s, const char *bytes, size_t n, uint32_t hash)
{
    for (size_t at = hash & (s->n_slots - 1);; at = (at + 1) & (s->n_slots - 1)) {
        if (!s->slots[at])
            return at;
        const quern__string *item = &s->items[s->slots[at] - 1];
        if (item->hash == hash && item->length == n && !memcmp(s->bytes + item->start, bytes, n))
            return at;
    }
}

int64_t quern__strings_find(const quern__strings *s, const char *bytes, size_t n)
{
    return s->n ? (int64_t)s->slots[string_slot(s, bytes, n, string_hash(bytes, n))] - 1 : -1;
}

/* Inserts all strings into the empty slots. */
static void fill_slots(quern__strings *s)
{
    for (int64_t i = 0; i < s->n; i++) {
        size_t at = s->items[i].hash & (s->n_slots - 1);
        while (s->slots[at])
            at = (at + 1) & (s->n_slots - 1);
        s->slots[at] = (uint32_t)i + 1;
    }
}

/* Grows the arrays for one more string of n bytes. False: out of memory. */
static bool strings_reserve(quern__strings *s, size_t n)
{
    if (s->room - s->used <= n) {
        size_t room = (s->used + n + 1) * 2;
        char *bytes = quern__realloc(s->bytes, room);
        if (!bytes)
            return false;
        s->bytes = bytes;
        s->room = room;
    }
    if (s->n == s->capacity) {
        int64_t capacity = s->capacity ? 2 * s->capacity : 64;
        quern__string *items = quern__realloc(s->items, (size_t)capacity * sizeof *items);
        if (!items)
            return false;
        s->items = items;
        s->capacity = capacity;
    }
    if ((size_t)s->n * 2 >= s->n_slots) {
        size_t n_slots = s->n_slots ? 2 * s->n_slots : 128;
        uint32_t *slots = quern__zalloc(n_slots, sizeof *slots);
        if (!slots)
            return false;
        quern__free(s->slots);
        s->slots = slots;
        s->n_slots = n_slots;
        fill_slots(s);
    }
    return true;
}

int64_t quern__strings_add(quern__strings *s, const char *bytes, size_t n, quern_error *err)
{
    if (n > INT32_MAX || s->n == INT32_MAX)
        return quern__fail(err, QUERN_NOMEM, NULL,
                           "the number or length of strings exceeds 2^31 - 1");
    if (!strings_reserve(s, n))
        return quern__fail_memory(err, s->used + n);
    uint32_t hash = string_hash(bytes, n);
    size_t at = string_slot(s, bytes, n, hash);
    if (s->slots[at])
        return (int64_t)s->slots[at] - 1;
    s->items[s->n] = (quern__string){ .start = s->used, .length = (uint32_t)n, .hash = hash };
    memcpy(s->bytes + s->used, bytes, n);
    s->bytes[s->used + n] = 0;
    s->used += n + 1;
    s->slots[at] = (uint32_t)++s->n;
    return s->n - 1;
}

/* The smallest count that at least half of the strings do not exceed, by bisection. */
static int64_t median_count(const quern__strings *s)
{
    int64_t low = 0, high = INT64_MAX;
    while (low < high) {
        int64_t middle = low + (high - low) / 2, below = 0;
        for (int64_t i = 0; i < s->n; i++)
            below += s->items[i].count <= middle;
        if (2 * below >= s->n)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

void quern__strings_prune(quern__strings *s)
{
    int64_t limit = median_count(s), kept = 0;
    size_t used = 0;
    for (int64_t i = 0; i < s->n; i++) {
        quern__string item = s->items[i];
        if (item.count <= limit)
            continue;
        memmove(s->bytes + used, s->bytes + item.start, (size_t)item.length + 1);
        item.start = used;
        used += (size_t)item.length + 1;
        s->items[kept++] = item;
    }
    s->n = kept;
    s->used = used;
    if (s->slots)
        memset(s->slots, 0, s->n_slots * sizeof *s->slots);
    fill_slots(s);
}

int64_t quern__strings_count(quern__strings *s, const char *bytes, size_t n, quern_error *err)
{
    if (n > QUERN__COUNTED_BYTES / 2)
        return quern__fail(err, QUERN_NOMEM, NULL, "a word of %zu bytes exceeds %d", n,
                           QUERN__COUNTED_BYTES / 2);
    if (s->n >= QUERN__MOST_COUNTED || s->used + n >= QUERN__COUNTED_BYTES)
        quern__strings_prune(s);
    int64_t number = quern__strings_add(s, bytes, n, err);
    if (number >= 0)
        s->items[number].count++;
    return number;
}

static int by_count_then_bytes(const void *a, const void *b, void *context)
{
    const quern__strings *s = context;
    const quern__string *x = &s->items[*(const int32_t *)a], *y = &s->items[*(const int32_t *)b];
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    size_t common = x->length < y->length ? x->length : y->length;
    int order = memcmp(s->bytes + y->start, s->bytes + x->start, common);
    return order ? order : (x->length < y->length) - (x->length > y->length);
}

void quern__strings_sort(const quern__strings *s, int32_t *order)
{
    for (int64_t i = 0; i < s->n; i++)
        order[i] = (int32_t)i;
    qsort_r(order, (size_t)s->n, sizeof *order, by_count_then_bytes, (void *)(uintptr_t)s);
}

void quern__strings_free(quern__strings *s)
{
    quern__free(s->bytes);
    quern__free(s->items);
    quern__free(s->slots);
    *s = (quern__strings){ 0 };
}
