/* direct: pieces of a file read past the system's cache of files, many at once, while the caller goes on. The disk writes into the
 * caller's memory by itself, so that reading takes next to none of the processor's time; what was read is not kept. For files that
 * are larger than memory, which no cache could hold. */
#ifndef QUERN__DIRECT_H
#define QUERN__DIRECT_H

#include "base/base.h"

enum {
    QUERN__DIRECT_ALIGN = 4096,    /* of places in the file and in memory, and of sizes */
    QUERN__DIRECT_MOST = 64,       /* pieces that are on their way at once */
    QUERN__DIRECT_BYTES = 64 << 10 /* of memory that the system keeps for them, at most */
};

typedef struct quern__direct {
    int fd; /* -1: the file or the system cannot; all is read as usual */
    unsigned long context;
} quern__direct;

/* A piece that has come. */
typedef struct quern__direct_done {
    uint64_t tag;
    int64_t bytes; /* fewer than asked for at the end of the file; negative: failed */
} quern__direct_done;

/* Whether a file of so many bytes is better read past the cache: it takes more than half of the memory that there is for it. */
bool quern__direct_wanted(int64_t bytes);
extern int quern__direct_always; /* 1, 0; -1: as it is wanted; tests choose */
/* Opens the file once more; one that is not the file of `same` is not read. */
quern__direct quern__direct_open(const char *path, int same);
/* Waits for all that is on its way. */
void quern__direct_close(quern__direct *d);
/* Begins to read a piece. false: it has to be read as usual. */
bool quern__direct_begin(const quern__direct *d, void *to, size_t bytes, int64_t at, uint64_t tag);
/* Waits for at least one piece of those on their way: how many have come, of at most QUERN__DIRECT_MOST. One thread at a time. */
int quern__direct_wait(const quern__direct *d, quern__direct_done *done);

#endif
