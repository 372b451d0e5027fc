/* Sequential reads through one growing buffer, with inflate (gunzip.c) and decoding
 * (text_encoding.c) as needed. */
#include "file_reader.h"
#include "text_encoding.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { piece = 4096 };

static int io_error(const quern__bytes *b, const char *what, quern_error *err)
{
    return quern__fail(err, QUERN_IO, b->path, "%s: %s", what, strerror(errno));
}

static void close_file(quern__bytes *b)
{
    if (b->gz)
        quern__gunzip_free(b->gz);
    else if (b->fd >= 0)
        close(b->fd);
    quern__decoder_free(b->decoder);
}

int quern__bytes_open(quern__bytes *b, const char *path, size_t capacity, quern_error *err)
{
    struct stat st;
    bool standard = !strcmp(path, "-");
    close_file(b);
    *b = (quern__bytes){
        .path = path, .fd = -1, .buffer = b->buffer, .capacity = b->buffer ? b->capacity : capacity
    };
    if (!b->buffer)
        b->buffer = quern__alloc(capacity + 1);
    if (!b->buffer)
        return quern__fail_memory(err, capacity);
    b->buffer[0] = 0;
    b->fd = standard ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (b->fd < 0 || fstat(b->fd, &st))
        return io_error(b, "cannot be opened", err);
    if (S_ISDIR(st.st_mode))
        return quern__fail(err, QUERN_IO, path, "is a directory");
    b->offset = S_ISREG(st.st_mode) ? lseek(b->fd, 0, SEEK_CUR) : -1;
    if (b->offset >= 0 && quern__is_gzip(b->fd, b->offset)) {
        if (!(b->gz = quern__gunzip_new(b->fd)))
            return quern__fail_memory(err, capacity);
        b->fd = -1; /* gz owns the descriptor */
    }
    return QUERN_OK;
}

static int64_t read_raw(quern__bytes *b, char *to, size_t n, quern_error *err)
{
    if (b->gz) {
        int64_t got = quern__gunzip_read(b->gz, to, n);
        if (got < 0)
            return quern__fail(err, QUERN_FORMAT, b->path,
                               "the compressed data is corrupt or incomplete");
        return got;
    }
    ssize_t got;
    do
        got = b->offset >= 0 ? pread(b->fd, to, n, b->offset) : read(b->fd, to, n);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return io_error(b, "cannot be read", err);
    b->offset += b->offset >= 0 ? got : 0;
    return got;
}

/* Reads bytes, decoded to UTF-8 if there is a decoder. */
static int64_t read_some(quern__bytes *b, char *to, size_t n, quern_error *err)
{
    if (!b->decoder)
        return read_raw(b, to, n, err);
    for (bool last = false;;) {
        int64_t made = quern__decoder_take(b->decoder, to, n, last, err);
        if (made || last)
            return made;
        size_t room;
        char *raw = quern__decoder_room(b->decoder, &room);
        int64_t got = read_raw(b, raw, room, err);
        if (got < 0)
            return got;
        last = got == 0;
        quern__decoder_put(b->decoder, (size_t)got);
    }
}

int quern__bytes_decode(quern__bytes *b, const char *encoding, quern_error *err)
{
    b->decoder =
        quern__decoder_new(encoding, b->path, b->buffer + b->begin, b->end - b->begin, err);
    if (!b->decoder)
        return err && err->code ? err->code : QUERN_NOMEM;
    b->begin = b->end = 0;
    b->ended = false;
    return QUERN_OK;
}

int64_t quern__bytes_more(quern__bytes *b, size_t limit, quern_error *err)
{
    size_t left = b->end - b->begin;
    if (b->ended)
        return 0;
    memmove(b->buffer, b->buffer + b->begin, left);
    b->begin = 0;
    b->end = left;
    if (left == b->capacity) {
        size_t capacity = b->capacity < limit / 2 ? 2 * b->capacity : limit;
        char *grown = capacity > b->capacity ? quern__realloc(b->buffer, capacity + 1) : NULL;
        if (!grown)
            return quern__fail(err, QUERN_NOMEM, b->path, "a record exceeds %zu bytes",
                               b->capacity);
        b->buffer = grown;
        b->capacity = capacity;
    }
    size_t n = b->capacity - left;
    int64_t some = b->stop > b->offset ? b->stop - b->offset : left < piece ? piece : (int64_t)left;
    if (b->stop && (int64_t)n > some)
        n = (size_t)some;
    int64_t got = read_some(b, b->buffer + left, n, err);
    b->end += got > 0 ? (size_t)got : 0;
    b->buffer[b->end] = 0;
    b->ended = got == 0;
    return got;
}

void quern__bytes_seek(quern__bytes *b, int64_t at, int64_t stop)
{
    b->offset = at;
    b->stop = stop;
    b->begin = b->end = 0;
    b->buffer[0] = 0;
    b->ended = false;
}

void quern__bytes_put(quern__bytes *b, size_t n)
{
    b->end += n;
    b->buffer[b->end] = 0;
    b->offset += (int64_t)n;
}

int quern__bytes_rewind(quern__bytes *b, quern_error *err)
{
    if (b->gz ? !quern__gunzip_rewind(b->gz) : b->offset < 0)
        return quern__fail(err, QUERN_IO, b->path, "cannot be read again from its start");
    quern__bytes_seek(b, 0, 0);
    if (b->decoder)
        quern__decoder_reset(b->decoder);
    return QUERN_OK;
}

void quern__bytes_close(quern__bytes *b)
{
    close_file(b);
    quern__free(b->buffer);
    *b = (quern__bytes){ .fd = -1 };
}
