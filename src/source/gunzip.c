/* Inflating forward. */
#include "gunzip.h"

#include <errno.h>
#include <unistd.h>

#ifdef QUERN_HAVE_ISAL
#include <isa-l/igzip_lib.h>

enum { room = 1 << 16 };

struct quern__gunzip {
    int fd;
    int64_t offset; /* of the next byte of the file */
    bool ended, started;
    struct inflate_state state;
    uint8_t in[room];
};

quern__gunzip *quern__gunzip_new(int fd)
{
    quern__gunzip *g = quern__zalloc(1, sizeof *g);
    if (g) {
        g->fd = fd;
        quern__gunzip_rewind(g);
    }
    return g;
}

bool quern__gunzip_rewind(quern__gunzip *g)
{
    g->offset = 0;
    g->ended = g->started = false;
    isal_inflate_init(&g->state);
    g->state.crc_flag = ISAL_GZIP;
    return true;
}

/* More of the file behind an empty input. False when it cannot be read; at its end nothing comes. */
static bool refill(quern__gunzip *g)
{
    ssize_t got;
    do
        got = pread(g->fd, g->in, room, g->offset);
    while (got < 0 && errno == EINTR);
    g->state.next_in = g->in;
    g->state.avail_in = got > 0 ? (uint32_t)got : 0;
    g->offset += got > 0 ? got : 0;
    return got >= 0;
}

/* A file may hold several compressed members, one behind the other, and zeros behind the last. */
static bool next_member(quern__gunzip *g)
{
    while (g->state.avail_in && *g->state.next_in == 0 && g->started) {
        g->state.next_in++;
        g->state.avail_in--;
    }
    if (g->state.avail_in == 0)
        return true;
    uint8_t *in = g->state.next_in;
    uint32_t left = g->state.avail_in;
    isal_inflate_init(&g->state);
    g->state.crc_flag = ISAL_GZIP;
    g->state.next_in = in;
    g->state.avail_in = left;
    return true;
}

int64_t quern__gunzip_read(quern__gunzip *g, void *to, size_t n)
{
    g->state.next_out = to;
    g->state.avail_out = (uint32_t)(n < (1u << 30) ? n : 1u << 30);
    uint32_t wanted = g->state.avail_out;
    while (g->state.avail_out && !g->ended) {
        bool finished = g->state.block_state == ISAL_BLOCK_FINISH;
        if (g->state.avail_in == 0 && !refill(g))
            return -1;
        if (finished)
            next_member(g);
        if (g->state.avail_in == 0) { /* the end of the file is one of a member too, or something is missing */
            g->ended = true;
            if (!finished)
                return -1;
            break;
        }
        g->started = true;
        if (g->state.block_state != ISAL_BLOCK_FINISH && isal_inflate(&g->state) < 0)
            return -1;
    }
    return wanted - g->state.avail_out;
}

void quern__gunzip_free(quern__gunzip *g)
{
    if (g)
        close(g->fd);
    quern__free(g);
}

#else
#include <zlib.h>

struct quern__gunzip {
    gzFile file;
};

quern__gunzip *quern__gunzip_new(int fd)
{
    quern__gunzip *g = quern__zalloc(1, sizeof *g);
    if (g && !(g->file = gzdopen(fd, "rb"))) {
        quern__free(g);
        return NULL;
    }
    if (g)
        gzbuffer(g->file, 1 << 16);
    return g;
}

bool quern__gunzip_rewind(quern__gunzip *g) { return gzrewind(g->file) == 0; }

int64_t quern__gunzip_read(quern__gunzip *g, void *to, size_t n)
{
    int got = gzread(g->file, to, (unsigned)(n < (1u << 30) ? n : 1u << 30)), code = Z_OK;
    gzerror(g->file, &code);
    return got < 0 || (code != Z_OK && code != Z_STREAM_END) ? -1 : got;
}

void quern__gunzip_free(quern__gunzip *g)
{
    if (g)
        gzclose(g->file);
    quern__free(g);
}
#endif
