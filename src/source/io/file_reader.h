/* bytes: a file read forward through one buffer, plain (pread), gzipped, or standard input. */
#ifndef QUERN__BYTES_H
#define QUERN__BYTES_H

#include "gunzip.h"

typedef struct quern__bytes {
    const char *path; /* borrowed */
    int fd;
    quern__gunzip *gz; /* when the file is gzipped */
    char *buffer;      /* capacity + 1 bytes; the byte at `end` is always 0 */
    size_t begin, end, capacity;
    int64_t offset; /* of the next byte of a plain file; -1: it cannot be sought */
    int64_t stop; /* a plain file is read up to here first, and behind it as much again as is there, which is little; 0: as much as
                     there is room for */
    bool ended;
    struct quern__decoder *decoder; /* of a text in another encoding; NULL: bytes are as they stand */
} quern__bytes;

/* The place in a plain file of the byte at `begin`. */
static inline int64_t quern__bytes_place(const quern__bytes *b) { return b->offset - (int64_t)(b->end - b->begin); }

/* Opens a file ("-": standard input), in place of one that is open, whose buffer serves on. At first fd is -1, all else zero.
 * Content that begins as gzip does is inflated. */
int quern__bytes_open(quern__bytes *b, const char *path, size_t capacity, quern_error *err);
/* Reads more behind what is left in [begin, end), which moves to the front; the buffer grows up to `limit` when it is full. Returns
 * how many bytes came, 0 at the end, or a negative status. */
int64_t quern__bytes_more(quern__bytes *b, size_t limit, quern_error *err);
/* From here on, and for what the buffer holds already, bytes are text in an encoding that iconv knows, and come as UTF-8. */
int quern__bytes_decode(quern__bytes *b, const char *encoding, quern_error *err);
/* Goes to a place of a plain file, with a stop. */
void quern__bytes_seek(quern__bytes *b, int64_t at, int64_t stop);
/* The buffer, which was empty, holds so many bytes more, that someone else read. */
void quern__bytes_put(quern__bytes *b, size_t n);
int quern__bytes_rewind(quern__bytes *b, quern_error *err);
void quern__bytes_close(quern__bytes *b);

#endif
