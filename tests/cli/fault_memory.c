/* Memory that runs out, loaded before a program (LD_PRELOAD): the n-th allocation fails, including
 * those of libraries. Environment variables select the fault:
 *   FAULT_MEMORY       n, from 1; 0: none fails, they are only counted
 *   FAULT_MEMORY_FROM  whether all later ones fail too
 *   FAULT_SAID         a file that receives their number when the program ends, or the stack of a
 *                      crash, one line per function */
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Other names of glibc's own functions. */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t n);
void *__libc_memalign(size_t alignment, size_t n);

static atomic_long allocations;
static long at = -1; /* -1: not yet read */
static bool from;

static int said(void)
{
    const char *path = getenv("FAULT_SAID");
    return path ? open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666) : -1;
}

static void print_crash(int number)
{
    void *frames[32];
    int fd = said();
    at = 0;
    backtrace_symbols_fd(frames, backtrace(frames, 32), fd);
    signal(number, SIG_DFL);
    raise(number);
}

static void print_count(void)
{
    int fd = said();
    at = 0;
    dprintf(fd, "%ld\n", atomic_load(&allocations));
    close(fd);
}

__attribute__((constructor)) static void begin(void)
{
    void *frame;
    const char *n = getenv("FAULT_MEMORY");
    if (!n)
        return;
    backtrace(&frame, 1); /* loads its library now */
    signal(SIGSEGV, print_crash);
    signal(SIGABRT, print_crash);
    signal(SIGFPE, print_crash);
    signal(SIGBUS, print_crash);
    atexit(print_count);
    from = getenv("FAULT_MEMORY_FROM");
    atomic_store(&allocations, 0);
    at = atol(n);
}

/* A place for a debugger's breakpoint. */
void fault_memory_now(void);
__attribute__((noinline)) void fault_memory_now(void) { errno = ENOMEM; }

static bool fails(void)
{
    if (at < 0)
        return false;
    long now = atomic_fetch_add(&allocations, 1) + 1;
    bool due = at > 0 && (from ? now >= at : now == at);
    if (due)
        fault_memory_now();
    return due;
}

void *malloc(size_t n) { return fails() ? NULL : __libc_malloc(n); }

void *calloc(size_t count, size_t size) { return fails() ? NULL : __libc_calloc(count, size); }

void *realloc(void *old, size_t n) { return fails() ? NULL : __libc_realloc(old, n); }

void *aligned_alloc(size_t alignment, size_t n)
{
    return fails() ? NULL : __libc_memalign(alignment, n);
}

int posix_memalign(void **out, size_t alignment, size_t n)
{
    void *p = fails() ? NULL : __libc_memalign(alignment, n);
    if (p)
        *out = p;
    return p ? 0 : ENOMEM;
}
