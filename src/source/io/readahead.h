/* ahead: pieces of one file in an order that is known beforehand, on their way past the system's cache before they are wanted. */
#ifndef QUERN__AHEAD_H
#define QUERN__AHEAD_H

#include "direct_io.h"

enum { QUERN__AHEAD = 8 }; /* pieces on their way */

typedef struct quern__ahead {
    quern__direct direct;
    char *memory, *places; /* memory: what was asked for */
    size_t most, place;    /* bytes of a piece, and of the room for one */
    int64_t asked, taken;  /* pieces */
    struct {
        int64_t at, bytes; /* where it begins, and how much of it is there; -1: it is on its way */
    } pieces[QUERN__AHEAD];
} quern__ahead;

/* Bytes of memory for pieces of at most so many. */
size_t quern__ahead_size(size_t most);
/* Opens the file once more; where that cannot be, or there is no memory, all pieces are empty. */
void quern__ahead_open(quern__ahead *a, const char *path, int same, size_t most);
/* Asks for the next piece; room for it is where fewer than QUERN__AHEAD are asked for and not taken. */
void quern__ahead_ask(quern__ahead *a, int64_t at, size_t bytes);
/* Takes the oldest: copies up to n bytes of it, those at byte `at` of the file first. Returns how many; 0: it must be read as
 * usual. */
size_t quern__ahead_take(quern__ahead *a, int64_t at, void *to, size_t n);
/* Waits for what is on its way and forgets it. */
void quern__ahead_forget(quern__ahead *a);
void quern__ahead_close(quern__ahead *a);

#endif
