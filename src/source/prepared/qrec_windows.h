/* qrec_windows: what is in memory of a file of prepared records, and the order in which an epoch visits them (docs/qrec.md).
 * qrec.c takes records from it. */
#ifndef QUERN__QREC_WINDOWS_H
#define QUERN__QREC_WINDOWS_H

#include "qrec.h"
#include "source/io/direct_io.h"

#include <pthread.h>

enum { QUERN__WINDOWS = 2 };

/* How the records of an epoch are cut: those before `from` are another generator's. */
typedef struct quern__cut {
    int64_t pass, from, count, per, full; /* per: records of a window but the last; full: whole blocks */
    int64_t windows, turn;                /* turn: by how much the beginning has moved */
    quern__random_key blocks, within;
} quern__cut;

/* A window in memory, in part or whole. Its blocks are announced to the disk, given to be read, filled; all counted in records.
 * Each has a place of its own, in which it lies as far from a multiple of QUERN__DIRECT_ALIGN as it does in the file. */
typedef struct quern__window {
    quern__cut cut; /* pass -1: none */
    int64_t number, n, announced, given, filled;
    int users, fillers;
    uint64_t turn;        /* the how manieth that was put into memory */
    quern_error why;      /* it could not be read */
    char *memory, *bytes; /* memory: what was asked for */
} quern__window;

typedef struct quern__blocks {
    const quern__qrec *q; /* borrowed, as the path is */
    const char *path;
    int fd;
    quern__direct direct; /* of a file that is larger than memory */
    int coming;           /* blocks that are on their way by it */
    bool waited;          /* a thread waits for them            */
    bool shuffle;
    uint64_t seed, turns;
    int64_t block, blocks; /* records of a block; blocks of a window */
    size_t place;          /* bytes of the room for a block */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    quern__window all[QUERN__WINDOWS];
} quern__blocks;

/* Finds how large blocks and windows are; bytes of one window. Needs q. */
size_t quern__blocks_size(quern__blocks *p);
int quern__blocks_open(quern__blocks *p, bool shuffle, uint64_t seed, quern_error *err);
void quern__blocks_close(quern__blocks *p);

quern__cut quern__blocks_cut(const quern__blocks *p, int64_t from, int64_t count, int64_t pass);
/* Records of window w: the last has those that fill no block too. */
int64_t quern__window_size(const quern__cut *c, int64_t w);
/* Record i of a window that is lent, and its number in the file. */
const char *quern__window_record(const quern__blocks *p, const quern__window *s, int64_t i, int64_t *number);

/* The window, whole, lent; it may have to be read first. NULL on failure. From any thread. */
quern__window *quern__window_borrow(quern__blocks *p, const quern__cut *c, int64_t w, quern_error *err);
/* Gives it back and reads of the next as much as was taken of this one: `end` of its places. */
void quern__window_return(quern__blocks *p, quern__window *s, int64_t end);

#endif
