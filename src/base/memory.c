/* memory: the allocation functions. They call the allocator hook, count allocations and live blocks
 * with two atomic additions, and can fail at the nth call for tests. An aligned block stores its
 * offset in front of it. */
#include "base.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void *libc_door(void *context, void *old, size_t bytes)
{
    (void)context;
    if (bytes == 0) {
        free(old);
        return NULL;
    }
    return realloc(old, bytes);
}

static quern_alloc_fn *door = libc_door;
static void *door_context;
static atomic_size_t allocations, live_blocks, fail_at;

void quern_set_memory(quern_alloc_fn *alloc, void *context)
{
    door = alloc ? alloc : libc_door;
    door_context = context;
}

quern__memory_account quern__memory(void)
{
    return (quern__memory_account){ atomic_load(&allocations), atomic_load(&live_blocks) };
}

void quern__memory_fail_at(size_t nth)
{
    atomic_store(&fail_at, nth ? atomic_load(&allocations) + nth : 0);
}

static bool refused(void)
{
    size_t now = atomic_fetch_add(&allocations, 1) + 1, limit = atomic_load(&fail_at);
    return limit && now >= limit;
}

void quern__memory_watch(void) { errno = 0; }

bool quern__memory_short(void) { return errno == ENOMEM; }

void *quern__realloc(void *old, size_t bytes)
{
    void *p = refused() ? NULL : door(door_context, old, bytes ? bytes : 1);
    if (!p)
        errno = ENOMEM;
    if (p && !old)
        atomic_fetch_add(&live_blocks, 1);
    return p;
}

void *quern__alloc(size_t bytes) { return quern__realloc(NULL, bytes); }

/* calloc does not touch the pages of a large block, so that they take no memory before their first
 * use. */
void *quern__zalloc(size_t count, size_t size)
{
    size_t bytes;
    if (!quern__mul(count, size, &bytes))
        return NULL;
    if (door != libc_door) {
        void *p = quern__alloc(bytes);
        return p ? memset(p, 0, bytes) : NULL;
    }
    void *p = refused() ? NULL : calloc(1, bytes ? bytes : 1);
    if (p)
        atomic_fetch_add(&live_blocks, 1);
    else
        errno = ENOMEM;
    return p;
}

void quern__free(void *old)
{
    if (!old)
        return;
    atomic_fetch_sub(&live_blocks, 1);
    door(door_context, old, 0);
}

static void *align(char *raw, size_t alignment)
{
    if (!raw)
        return NULL;
    uintptr_t place =
        ((uintptr_t)raw + sizeof(void *) + alignment - 1) & ~(uintptr_t)(alignment - 1);
    char *aligned = raw + (place - (uintptr_t)raw);
    memcpy(aligned - sizeof(void *), &raw, sizeof raw);
    return aligned;
}

void *quern__alloc_aligned(size_t bytes, size_t alignment)
{
    size_t whole;
    return quern__add(bytes, alignment + sizeof(void *), &whole)
               ? align(quern__alloc(whole), alignment)
               : NULL;
}

void *quern__zalloc_aligned(size_t bytes, size_t alignment)
{
    size_t whole;
    return quern__add(bytes, alignment + sizeof(void *), &whole)
               ? align(quern__zalloc(1, whole), alignment)
               : NULL;
}

void *quern__alloc_large(size_t bytes)
{
    const size_t page = (size_t)2 << 20;
    bool large = bytes >= 2 * page;
    void *memory = quern__alloc_aligned(bytes, large ? page : 64);
    int before = errno;
    if (memory && large)
        madvise(memory, bytes / page * page,
                MADV_HUGEPAGE); /* advice only: a failure has no effect */
    errno = memory ? before : ENOMEM;
    return memory;
}

void quern__discard(const void *memory, size_t bytes)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)memory,
                    first = (from + page - 1) / page * page, last = (from + bytes) / page * page;
    int before = errno;
    if (bytes >= (size_t)1 << 20 && last > first)
        madvise((void *)first, last - first, MADV_DONTNEED); /* a failure has no effect */
    errno = before;
}

void quern__free_aligned(void *old)
{
    if (!old)
        return;
    void *raw;
    memcpy(&raw, (char *)old - sizeof(void *), sizeof raw);
    quern__free(raw);
}

char *quern__strndup(const char *text, size_t length)
{
    char *copy = quern__alloc(length + 1);
    if (copy) {
        memcpy(copy, text, length);
        copy[length] = 0;
    }
    return copy;
}

char *quern__strdup(const char *text) { return quern__strndup(text, strlen(text)); }
