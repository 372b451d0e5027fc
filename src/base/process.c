/* process: the memory of the process and its limits, for the planner. It reads files of Linux; a
 * missing file means unknown and no limit. */
#include "base.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

const char *quern__proc = "/proc/self", *quern__cgroups = "/sys/fs/cgroup";

/* The number after `key` in a file of lines "key number"; SIZE_MAX when it is missing. An empty
 * key: the first number. */
static size_t number_in(const char *path, const char *key)
{
    FILE *f = fopen(path, "re");
    char line[512], *end;
    size_t found = SIZE_MAX, n = strlen(key);
    while (f && found == SIZE_MAX && fgets(line, sizeof line, f)) {
        if (strncmp(line, key, n))
            continue;
        unsigned long long number = strtoull(line + n, &end, 10);
        found = end == line + n ? SIZE_MAX : (size_t)number; /* "max" is not a number */
        if (!n)
            break;
    }
    if (f)
        fclose(f);
    return found;
}

static size_t status_bytes(const char *key)
{
    char path[512];
    snprintf(path, sizeof path, "%s/status", quern__proc);
    size_t kilobytes = number_in(path, key);
    return kilobytes == SIZE_MAX ? 0 : kilobytes << 10;
}

size_t quern__peak_bytes(void) { return status_bytes("VmHWM:"); }

/* Bytes of mapped files: the program and its libraries, an upper bound of their resident part. */
static size_t mapped_files(void)
{
    char path[512], line[4096], inode[32];
    unsigned long long from, to;
    size_t bytes = 0;
    snprintf(path, sizeof path, "%s/maps", quern__proc);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "%llx-%llx %*s %*s %*s %31s", &from, &to, inode) == 3 &&
            strcmp(inode, "0") && !strstr(line, " ---p "))
            bytes += (size_t)(to - from);
    if (f)
        fclose(f);
    return bytes;
}

quern__process quern__process_now(void)
{
    quern__process p = { .peak = quern__peak_bytes(),
                         .files = mapped_files(),
                         .resident_files = status_bytes("RssFile:") + status_bytes("RssShmem:"),
                         .anonymous = status_bytes("RssAnon:"),
                         .address_space = status_bytes("VmSize:"),
                         .data = status_bytes("VmData:") };
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
    struct mallinfo2 m = mallinfo2();
    p.heap = m.uordblks + m.hblkhd;
#endif
    return p;
}

/* ---- limits ---- */

static void least(quern__limit *l, size_t bytes, const char *name)
{
    if (bytes < l->bytes)
        *l = (quern__limit){ bytes, name };
}

/* The limit of one cgroup, minus the memory of others in it; the page cache does not count, because
 * the kernel can drop it. */
static void group(quern__limit *l, const char *folder, bool second, size_t own)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", folder, second ? "memory.max" : "memory.limit_in_bytes");
    size_t limit = number_in(path, "");
    snprintf(path, sizeof path, "%s/%s", folder,
             second ? "memory.current" : "memory.usage_in_bytes");
    size_t used = number_in(path, "");
    if (limit == SIZE_MAX || limit >= (size_t)1 << 62)
        return;
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    size_t active = number_in(path, second ? "active_file " : "total_active_file "),
           inactive = number_in(path, second ? "inactive_file " : "total_inactive_file ");
    size_t cached = active == SIZE_MAX || inactive == SIZE_MAX ? 0 : active + inactive;
    used = used == SIZE_MAX || used < cached ? 0 : used - cached;
    size_t others = used > own ? used - own : 0;
    least(l, limit > others ? limit - others : 0, "memory cgroup");
}

/* Visits the process's cgroup and its parents up to the root, because each can limit. */
static void groups(quern__limit *l, size_t own)
{
    char path[512], line[600], folder[1100];
    snprintf(path, sizeof path, "%s/cgroup", quern__proc);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        char *controllers = strchr(line, ':'),
             *name = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!name)
            continue;
        *name++ = 0;
        name[strcspn(name, "\n")] = 0;
        bool second = !controllers[1], first = false;
        for (char *save = NULL, *one = strtok_r(controllers + 1, ",", &save); one;
             one = strtok_r(NULL, ",", &save))
            first = first || !strcmp(one, "memory");
        if (!first && !second)
            continue;
        for (;;) {
            snprintf(folder, sizeof folder, "%s%s%s", quern__cgroups, first ? "/memory" : "", name);
            group(l, folder, second, own);
            char *slash = strrchr(name, '/');
            if (!slash || !name[1])
                break;
            slash[slash == name] = 0;
        }
        if (first) { /* in a container, the mounted cgroup is that of the process */
            snprintf(folder, sizeof folder, "%s/memory", quern__cgroups);
            group(l, folder, false, own);
        }
    }
    if (f)
        fclose(f);
}

quern__limit quern__process_limit(const quern__process *now, size_t resident, int threads)
{
    const struct {
        int what;
        size_t used;
        const char *name;
    } kinds[] = { { RLIMIT_AS, now->address_space, "limit of address space (ulimit -v)" },
                  { RLIMIT_DATA, now->data, "limit of data (ulimit -d)" },
                  { RLIMIT_RSS, resident, "limit of resident memory (ulimit -m)" } };
    quern__limit l = { SIZE_MAX, NULL };
    struct rlimit r;
    size_t stack = quern__thread_stack();
    groups(&l, now->anonymous + now->resident_files);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t used = kinds[i].used + (kinds[i].what == RLIMIT_RSS ? 0 : (size_t)threads * stack);
        if (!getrlimit(kinds[i].what, &r) && r.rlim_cur != RLIM_INFINITY)
            least(&l, r.rlim_cur > used ? resident + (size_t)(r.rlim_cur - used) : 0,
                  kinds[i].name);
    }
    return l;
}

size_t quern__memory_for_files(void)
{
    size_t kilobytes = number_in("/proc/meminfo", "MemAvailable:");
    quern__limit l = { kilobytes == SIZE_MAX ? SIZE_MAX : kilobytes << 10, NULL };
    groups(&l, 0);
    return l.bytes;
}
