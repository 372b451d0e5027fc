/* readahead: reads pieces of one file in a known order, in advance, with O_DIRECT. */
#ifndef QUERN__AHEAD_H
#define QUERN__AHEAD_H

#include "direct_io.h"

enum { QUERN__AHEAD = 8 }; /* pieces in flight */

typedef struct quern__ahead {
    quern__direct direct;
    char *memory, *places; /* memory: the allocation; places: the aligned buffers in it */
    size_t most, place;    /* bytes of the largest piece; bytes of a buffer */
    int64_t asked, taken;  /* numbers of pieces requested and taken */
    struct {
        int64_t at, bytes; /* file offset; bytes read, -1: in flight */
    } pieces[QUERN__AHEAD];
} quern__ahead;

/* Bytes of memory for pieces of at most `most` bytes. */
size_t quern__ahead_size(size_t most);
/* Opens the file with O_DIRECT. Without support or memory all pieces are empty. */
void quern__ahead_open(quern__ahead *a, const char *path, int same, size_t most);
/* Requests the next piece. The caller keeps at most QUERN__AHEAD requested pieces that are not
 * taken. */
void quern__ahead_ask(quern__ahead *a, int64_t at, size_t bytes);
/* Takes the oldest piece: copies up to n bytes from file offset `at`. Returns their number; 0:
 * use a normal read. */
size_t quern__ahead_take(quern__ahead *a, int64_t at, void *to, size_t n);
/* Waits for reads in flight and discards them. */
void quern__ahead_forget(quern__ahead *a);
void quern__ahead_close(quern__ahead *a);

#endif
