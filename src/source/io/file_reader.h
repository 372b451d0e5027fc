/* file_reader: a file read sequentially through one buffer: plain (pread), gzipped, or standard
 * input. */
#ifndef QUERN__BYTES_H
#define QUERN__BYTES_H

#include "gunzip.h"

typedef struct quern__bytes {
    const char *path; /* borrowed */
    int fd;
    quern__gunzip *gz; /* not NULL: the file is gzipped */
    char *buffer;      /* capacity + 1 bytes; the byte at `end` is always 0 */
    size_t begin, end, capacity;
    int64_t offset; /* of the next byte of a plain file; -1: not seekable */
    int64_t stop;   /* A plain file is read up to this offset first, then in small steps. 0: reads
                       fill the buffer. */
    bool ended;
    struct quern__decoder *decoder; /* converts the text to UTF-8; NULL: no conversion */
} quern__bytes;

/* The file offset of the byte at `begin`, in a plain file. */
static inline int64_t quern__bytes_place(const quern__bytes *b)
{
    return b->offset - (int64_t)(b->end - b->begin);
}

/* Opens a file ("-": standard input) and closes the previous one, whose buffer it reuses. Before
 * the first call fd is -1 and all else is zero. Gzipped content is inflated. */
int quern__bytes_open(quern__bytes *b, const char *path, size_t capacity, quern_error *err);
/* Moves the rest [begin, end) to the front and reads more after it; a full buffer grows up to
 * `limit`. Returns the number of new bytes, 0 at the end, or a negative status. */
int64_t quern__bytes_more(quern__bytes *b, size_t limit, quern_error *err);
/* Decodes the buffer and all following bytes from an encoding of iconv to UTF-8. */
int quern__bytes_decode(quern__bytes *b, const char *encoding, quern_error *err);
/* Moves to an offset of a plain file and sets `stop`. */
void quern__bytes_seek(quern__bytes *b, int64_t at, int64_t stop);
/* Adds n bytes that the caller has written to the empty buffer. */
void quern__bytes_put(quern__bytes *b, size_t n);
/* Restarts at offset 0; fails for a pipe. */
int quern__bytes_rewind(quern__bytes *b, quern_error *err);
/* Closes the file and frees the buffer. */
void quern__bytes_close(quern__bytes *b);

#endif
