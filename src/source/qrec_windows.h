/* qrec_windows: what is in memory of a file of prepared records, and the order in which an epoch visits them (docs/qrec.md).
 * qrec.c takes records from it. */
#ifndef QUERN__QREC_WINDOWS_H
#define QUERN__QREC_WINDOWS_H

#include "qrec.h"

#include <pthread.h>

enum { QUERN__WINDOWS = 2 };

/* How the records of an epoch are cut: those before `from` are another generator's. */
typedef struct quern__cut {
    int64_t pass, from, count, per, full; /* per: records of a window but the last; full: whole blocks */
    int64_t windows, turn;                /* turn: by how much the beginning has moved */
    quern__random_key blocks, within;
} quern__cut;

/* A window in memory, in part or whole. Runs of its records are announced to the disk, given to a thread that reads them, filled.
 */
typedef struct quern__window {
    int64_t pass, number; /* -1: none */
    int64_t n, announced, given, filled;
    int users, fillers;
    uint64_t turn;   /* the how manieth that was put into memory */
    quern_error why; /* it could not be read */
    char *bytes;
} quern__window;

typedef struct quern__blocks {
    const quern__qrec *q; /* borrowed, as the path is */
    const char *path;
    int fd;
    bool shuffle;
    uint64_t seed, turns;
    int64_t block, blocks; /* records of a block; blocks of a window */
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
/* Where the run of records that begins at place i of a window's contents is: the number of its first, and how many follow it, at
 * most to the end of its block. */
int64_t quern__window_run(const quern__blocks *p, const quern__cut *c, int64_t w, int64_t i, int64_t *many);

/* The window, whole, lent; it may have to be read first. NULL on failure. From any thread. */
quern__window *quern__window_borrow(quern__blocks *p, const quern__cut *c, int64_t w, quern_error *err);
/* Gives it back and reads of the next as much as was taken of this one: `end` of its places. */
void quern__window_return(quern__blocks *p, const quern__cut *c, quern__window *s, int64_t end);

#endif
