/* String pool: one allocation of fixed-size chunks with a free list; the contract is in
 * string_pool.h. */
#include "string_pool.h"

#include <string.h>

enum { chunk_bytes = 252 };

typedef struct chunk {
    int32_t next; /* -1: the last */
    char bytes[chunk_bytes];
} chunk;

struct quern__pool {
    int32_t n, unused, free,
        n_free; /* unused: index of the first chunk never used; free: head of the free list */
    chunk chunks[];
};

static size_t chunks_of(size_t size) { return (size + chunk_bytes - 1) / chunk_bytes; }

quern__pool *quern__pool_new(size_t bytes)
{
    size_t n = chunks_of(bytes);
    quern__pool *p = n < INT32_MAX ? quern__alloc(sizeof *p + n * sizeof(chunk)) : NULL;
    if (p) {
        p->n = (int32_t)n;
        quern__pool_reset(p);
    }
    return p;
}

void quern__pool_free(quern__pool *p) { quern__free(p); }

void quern__pool_reset(quern__pool *p)
{
    p->unused = p->n_free = 0;
    p->free = -1;
}

bool quern__pool_has(const quern__pool *p, int n, size_t size)
{
    return chunks_of(size) * (size_t)n <= (size_t)(p->n_free + p->n - p->unused);
}

static int32_t chunk_new(quern__pool *p)
{
    int32_t k = p->free;
    if (k < 0)
        return p->unused++;
    p->free = p->chunks[k].next;
    p->n_free--;
    return k;
}

quern__pooled quern__pool_put(quern__pool *p, const char *bytes, size_t n)
{
    quern__pooled s = { -1, (int32_t)n };
    for (int32_t *to = &s.first; n;) {
        size_t part = n < chunk_bytes ? n : chunk_bytes;
        *to = chunk_new(p);
        chunk *c = &p->chunks[*to];
        memcpy(c->bytes, bytes, part);
        c->next = -1;
        to = &c->next;
        bytes += part;
        n -= part;
    }
    return s;
}

void quern__pool_take(quern__pool *p, quern__pooled s, char *to)
{
    for (int32_t k = s.first, left = s.size, next; k >= 0; k = next) {
        int32_t part = left < chunk_bytes ? left : chunk_bytes;
        chunk *c = &p->chunks[k];
        memcpy(to, c->bytes, (size_t)part);
        to += part;
        left -= part;
        next = c->next;
        c->next = p->free;
        p->free = k;
        p->n_free++;
    }
}
