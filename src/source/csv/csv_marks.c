/* Marks the start of each CSV block in one pass over the files. Files with quotes inside unquoted
 * fields need it. RFC 4180 does not allow these quotes, so the bytes around a block do not
 * determine its state.
 *
 * A mark has the state of the automaton in four bits of one byte per block. quern__csv_first
 * continues from it to the first record of the block. */
#include "csv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { piece = 64 << 10 };

/* The state of the automaton, and the offset of the next byte. */
typedef struct walk {
    bool inside, fresh, two; /* two: the previous byte may be the first of two quotes */
    bool begins;             /* a record begins here */
    int64_t at;
} walk;

/* The mark of a state. */
static unsigned char mark_of(const walk *w)
{
    return (unsigned char)((w->inside ? QUERN__MARK_INSIDE : 0) |
                           (w->fresh ? QUERN__MARK_FRESH : 0) | (w->two ? QUERN__MARK_TWO : 0) |
                           (w->begins ? QUERN__MARK_RECORD : 0));
}

/* The automaton of quern__csv_step, one byte per step. */
static void mark_step(walk *w, char byte, char separator)
{
    w->at++;
    w->begins = false;
    if (w->two && byte == '"') { /* two quotes are one, inside quotes */
        w->two = false;
        return;
    }
    if (w->inside && !w->two) {
        w->two = byte == '"';
        return;
    }
    w->inside = w->two = false;
    w->begins = byte == '\n';
    w->inside = byte == '"' && w->fresh;
    w->fresh = byte == separator || byte == '\n';
}

/* Marks the starts of the n blocks of file k. */
static int mark_file(const quern__csv *f, int k, unsigned char *marks, int64_t n, quern_error *err)
{
    char *bytes = quern__alloc(piece);
    int fd = bytes ? open(f->paths[k], O_RDONLY | O_CLOEXEC) : -1;
    walk w = { .fresh = true, .begins = true };
    for (size_t got = piece; fd >= 0 && got == piece;) {
        got = quern__read_at(fd, bytes, piece, w.at);
        /* skip a byte order mark */
        size_t i = w.at == 0 && got >= 3 && !memcmp(bytes, "\xef\xbb\xbf", 3) ? 3 : 0;
        w.at += (int64_t)i;
        for (; i < got; i++) {
            if (w.at % f->blocks.size == 0 && w.at / f->blocks.size < n)
                marks[w.at / f->blocks.size] = mark_of(&w);
            mark_step(&w, bytes[i], f->separator);
        }
    }
    quern__free(bytes);
    if (!bytes)
        return quern__fail_memory(err, piece);
    if (fd < 0)
        return quern__fail(err, QUERN_IO, f->paths[k], "cannot be opened: %s", strerror(errno));
    close(fd);
    return QUERN_OK;
}

int quern__csv_mark(quern__csv *f, quern_error *err)
{
    quern__csv_blocks *b = &f->blocks;
    if (!(b->marks = quern__zalloc((size_t)b->n, 1)))
        return quern__fail_memory(err, (size_t)b->n);
    int status = QUERN_OK;
    for (int k = 0; k < f->n_paths && status >= 0; k++) {
        int64_t from = k ? b->ends[k - 1] : 0;
        status = mark_file(f, k, b->marks + from, b->ends[k] - from, err);
    }
    return status;
}

const char *quern__csv_first(unsigned char mark, const char *p, const char *end, char separator)
{
    walk w = { .inside = mark & QUERN__MARK_INSIDE,
               .fresh = mark & QUERN__MARK_FRESH,
               .two = mark & QUERN__MARK_TWO };
    if (mark & QUERN__MARK_RECORD)
        return p;
    while (p < end && !w.begins)
        mark_step(&w, *p++, separator);
    return w.begins ? p : NULL;
}
