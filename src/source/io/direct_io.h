/* direct_io: asynchronous reads of file pieces that bypass the page cache (O_DIRECT). Many reads
 * are in flight while the caller continues. The disk writes directly to the caller's memory,
 * which needs almost no processor time. It is for files that exceed the memory and therefore
 * would never be in the page cache. */
#ifndef QUERN__DIRECT_H
#define QUERN__DIRECT_H

#include "base/base.h"

enum {
    QUERN__DIRECT_ALIGN = 4096,    /* alignment of file offsets, addresses and sizes */
    QUERN__DIRECT_MOST = 64,       /* maximum of reads in flight */
    QUERN__DIRECT_BYTES = 64 << 10 /* upper bound of the kernel's memory for them */
};

typedef struct quern__direct {
    int fd; /* -1: not supported; use normal reads */
    unsigned long context;
} quern__direct;

/* A completed read. */
typedef struct quern__direct_done {
    uint64_t tag;
    int64_t bytes; /* fewer than requested at the end of the file; negative: failed */
} quern__direct_done;

/* Whether a file of `bytes` bytes should bypass the page cache: it exceeds half of the memory
 * for files. */
bool quern__direct_wanted(int64_t bytes);
extern int
    quern__direct_always; /* 1: always, 0: never, -1: quern__direct_wanted decides; for tests */
/* Opens the file with O_DIRECT. fd is -1 unless it is the same file as descriptor `same`. */
quern__direct quern__direct_open(const char *path, int same);
/* Waits for all reads in flight. */
void quern__direct_close(quern__direct *d);
/* Starts a read. False: use a normal read. */
bool quern__direct_begin(const quern__direct *d, void *to, size_t bytes, int64_t at, uint64_t tag);
/* Waits for at least one read. Returns the number of completed reads, at most
 * QUERN__DIRECT_MOST. One thread at a time. */
int quern__direct_wait(const quern__direct *d, quern__direct_done *done);

#endif
