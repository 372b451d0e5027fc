/* Bytes as a file in memory. */
#include "target.h"

#include <quern/quern.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* The allocator: no block is larger than 256 MiB, so that a large model in a spec string is an
 * error and does not exhaust the machine. */
static void *limited(void *context, void *old, size_t bytes)
{
    (void)context;
    if (bytes == 0)
        return free(old), NULL;
    return bytes > 256u << 20 ? NULL : realloc(old, bytes);
}

__attribute__((constructor)) static void limit(void) { quern_set_memory(limited, NULL); }

const char *fuzz_file(const uint8_t *bytes, size_t n)
{
    static int fd = -1;
    static char path[64];
    if (fd < 0)
        fd = memfd_create("fuzz", 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, bytes, n, 0) == (ssize_t)n ? path : NULL;
}
