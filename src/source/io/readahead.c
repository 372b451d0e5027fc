/* Ring of read-ahead buffers, aligned for O_DIRECT. Requests and pieces are in the same order, so
 * piece k uses buffer k mod QUERN__AHEAD. A read covers whole aligned blocks around the piece; take
 * copies the piece out of them. Reads complete in any order. A failed read leaves a piece empty,
 * and the caller reads normally. */
#include "readahead.h"

#include <string.h>

static int64_t align_down(int64_t at) { return at / QUERN__DIRECT_ALIGN * QUERN__DIRECT_ALIGN; }

/* The largest aligned range that a piece of `most` bytes can touch. */
static size_t buffer_bytes(size_t most)
{
    return (size_t)align_down((int64_t)most + 2 * QUERN__DIRECT_ALIGN - 2);
}

size_t quern__ahead_size(size_t most)
{
    return QUERN__AHEAD * buffer_bytes(most) + QUERN__DIRECT_ALIGN + QUERN__DIRECT_BYTES;
}

void quern__ahead_open(quern__ahead *a, const char *path, int same, size_t most)
{
    *a = (quern__ahead){ .direct = quern__direct_open(path, same),
                         .most = most,
                         .place = buffer_bytes(most) };
    if (a->direct.fd < 0)
        return;
    a->memory = quern__alloc_large(QUERN__AHEAD * a->place + QUERN__DIRECT_ALIGN);
    if (!a->memory)
        quern__direct_close(&a->direct);
    else
        a->places = a->memory + -(uintptr_t)a->memory % QUERN__DIRECT_ALIGN;
}

void quern__ahead_ask(quern__ahead *a, int64_t at, size_t bytes)
{
    int64_t i = a->asked++ % QUERN__AHEAD, end = at + (int64_t)(bytes < a->most ? bytes : a->most);
    a->pieces[i].at = align_down(at);
    bool comes =
        a->direct.fd >= 0 &&
        quern__direct_begin(&a->direct, a->places + (size_t)i * a->place,
                            (size_t)(align_down(end + QUERN__DIRECT_ALIGN - 1) - align_down(at)),
                            align_down(at), (uint64_t)i);
    a->pieces[i].bytes = comes ? -1 : 0;
}

/* Waits for the oldest read. */
static void wait_for_oldest(quern__ahead *a)
{
    quern__direct_done done[QUERN__DIRECT_MOST];
    while (a->pieces[a->taken % QUERN__AHEAD].bytes < 0)
        for (int k = 0, n = quern__direct_wait(&a->direct, done); k < n; k++)
            a->pieces[done[k].tag].bytes = done[k].bytes > 0 ? done[k].bytes : 0;
}

size_t quern__ahead_take(quern__ahead *a, int64_t at, void *to, size_t n)
{
    wait_for_oldest(a);
    int64_t i = a->taken++ % QUERN__AHEAD, from = at - a->pieces[i].at,
            there = a->pieces[i].bytes - from;
    if (from < 0 || there <= 0)
        return 0;
    n = (int64_t)n < there ? n : (size_t)there;
    memcpy(to, a->places + (size_t)i * a->place + from, n);
    return n;
}

void quern__ahead_forget(quern__ahead *a)
{
    for (; a->taken < a->asked; a->taken++)
        wait_for_oldest(a);
    a->asked = a->taken = 0;
}

void quern__ahead_close(quern__ahead *a)
{
    if (!a->memory)
        return;
    quern__direct_close(&a->direct);
    quern__free_aligned(a->memory);
    a->memory = NULL;
}
