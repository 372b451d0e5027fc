/* qrec_windows: the windows of a file of prepared records that are in memory, and the order in
 * which an epoch visits the records (docs/qrec.md). qrec.c takes records from them. */
#ifndef QUERN__QREC_WINDOWS_H
#define QUERN__QREC_WINDOWS_H

#include "qrec.h"
#include "source/io/direct_io.h"

#include <pthread.h>

enum { QUERN__WINDOWS = 2 };

/* The division of an epoch into blocks and windows. Records outside [from, from + count) belong
 * to other generators. */
typedef struct quern__cut {
    int64_t pass, from, count, per,
        full; /* per: records of a window except the last; full: number of complete blocks */
    int64_t windows, turn; /* turn: records by which the file is rotated */
    quern__random_key blocks, within;
} quern__cut;

/* A window in memory. Its blocks are announced to the system, given to a reading thread, then
 * filled; all three counts are in records. Each block has a buffer, in which its offset from an
 * aligned address equals that in the file. */
typedef struct quern__window {
    quern__cut cut; /* pass -1: unused */
    int64_t number, n, announced, given, filled;
    int users, fillers;
    uint64_t turn;        /* sequence number of its assignment */
    quern_error why;      /* the read error; code 0: none */
    char *memory, *bytes; /* memory: the allocation; bytes: its aligned part */
} quern__window;

typedef struct quern__blocks {
    const quern__qrec *q; /* q and path are borrowed */
    const char *path;
    int fd;
    quern__direct direct; /* for a file that exceeds the memory; fd -1: not used */
    int coming;           /* blocks in flight */
    bool waited;          /* a thread waits for the disk */
    bool shuffle;
    uint64_t seed, turns;
    int64_t block, blocks; /* records of a block; blocks of a window */
    size_t place;          /* bytes of the buffer of a block */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    quern__window all[QUERN__WINDOWS];
} quern__blocks;

/* Sets the sizes of blocks and windows from q. Returns the bytes of one window. */
size_t quern__blocks_size(quern__blocks *p);
/* Allocates the windows for a run, and opens the file with O_DIRECT if it exceeds the memory. */
int quern__blocks_open(quern__blocks *p, bool shuffle, uint64_t seed, quern_error *err);
/* Waits for reads in flight and frees the windows. */
void quern__blocks_close(quern__blocks *p);

/* The division of records [from, from + count) in pass `pass`; a pure function of the seed. */
quern__cut quern__blocks_cut(const quern__blocks *p, int64_t from, int64_t count, int64_t pass);
/* Records of window w. The last one includes those after the last complete block. */
int64_t quern__window_size(const quern__cut *c, int64_t w);
/* Record i of a borrowed window; *number is its index in the file. */
const char *quern__window_record(const quern__blocks *p, const quern__window *s, int64_t i,
                                 int64_t *number);

/* Borrows a complete window, which is read first if necessary. NULL on failure. Any thread. */
quern__window *quern__window_borrow(quern__blocks *p, const quern__cut *c, int64_t w,
                                    quern_error *err);
/* Returns a window of which `end` records were taken, and fills the next in proportion. */
void quern__window_return(quern__blocks *p, quern__window *s, int64_t end);

#endif
