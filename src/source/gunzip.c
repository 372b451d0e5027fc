/* Inflating forward, by either library: both are told where input and output are, and keep all else in a state that can be copied.
 */
#include "gunzip.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { room = 1 << 15 };

#ifdef QUERN_HAVE_ISAL
#include <isa-l/igzip_lib.h>

typedef struct inflate_state engine;

static bool engine_begin(engine *e)
{
    isal_inflate_init(e);
    e->crc_flag = ISAL_GZIP;
    return true;
}

/* Inflates what it can. False when the data is broken. */
static bool engine_run(engine *e, bool *finished)
{
    bool ok = isal_inflate(e) >= 0;
    *finished = e->block_state == ISAL_BLOCK_FINISH;
    return ok;
}

static bool engine_copy(engine *to, const engine *from)
{
    *to = *from;
    return true;
}

static void engine_end(engine *e) { (void)e; }
static size_t engine_bytes(void) { return sizeof(engine); }
#else
#include <zlib.h>

typedef z_stream engine;

static bool engine_begin(engine *e)
{
    memset(e, 0, sizeof *e);
    return inflateInit2(e, 15 + 16) == Z_OK; /* gzip, its check sum too */
}

static bool engine_run(engine *e, bool *finished)
{
    int code = inflate(e, Z_NO_FLUSH);
    *finished = code == Z_STREAM_END;
    return code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR;
}

static bool engine_copy(engine *to, const engine *from) { return inflateCopy(to, (engine *)(uintptr_t)from) == Z_OK; }
static void engine_end(engine *e) { inflateEnd(e); }
static size_t engine_bytes(void) { return 1 << 16; }
#endif

struct quern__gunzip {
    int fd;
    int64_t offset;      /* in the file, of the byte behind the input */
    bool ended, between; /* between: a member has ended, and no other has begun */
    bool begun;          /* the engine is there */
    engine e;
    uint8_t in[room];
};

struct quern__gunzip_mark {
    int64_t offset; /* in the file, of the next byte of input */
    bool between;
    engine e;
};

quern__gunzip *quern__gunzip_new(int fd)
{
    quern__gunzip *g = quern__zalloc(1, sizeof *g);
    if (g)
        g->fd = fd;
    if (g && quern__gunzip_rewind(g))
        return g;
    quern__free(g);
    return NULL;
}

bool quern__gunzip_rewind(quern__gunzip *g)
{
    if (g->begun)
        engine_end(&g->e);
    g->offset = 0;
    g->ended = false;
    g->between = true;
    g->begun = engine_begin(&g->e);
    g->e.avail_in = 0;
    return g->begun;
}

/* More of the file behind an empty input. False when it cannot be read; at its end nothing comes. */
static bool refill(quern__gunzip *g)
{
    ssize_t got;
    do
        got = pread(g->fd, g->in, room, g->offset);
    while (got < 0 && errno == EINTR);
    g->e.next_in = g->in;
    g->e.avail_in = got > 0 ? (uint32_t)got : 0;
    g->offset += got > 0 ? got : 0;
    return got >= 0;
}

/* A file may hold several compressed members, one behind the other, and zeros behind the last. */
static bool next_member(quern__gunzip *g)
{
    while (g->e.avail_in && *g->e.next_in == 0) {
        g->e.next_in++;
        g->e.avail_in--;
    }
    if (g->e.avail_in == 0)
        return true;
    uint8_t *in = g->e.next_in;
    uint32_t left = g->e.avail_in;
    engine_end(&g->e);
    g->begun = engine_begin(&g->e);
    g->e.next_in = in;
    g->e.avail_in = left;
    g->between = false;
    return g->begun;
}

int64_t quern__gunzip_read(quern__gunzip *g, void *to, size_t n)
{
    uint32_t wanted = (uint32_t)(n < (1u << 30) ? n : 1u << 30), left = wanted;
    while (left && !g->ended) {
        if (g->e.avail_in == 0 && !refill(g))
            return -1;
        if (g->e.avail_in == 0) {
            g->ended = true;
            return g->between && g->offset ? (int64_t)(wanted - left) : -1; /* within a member something is missing */
        }
        if (g->between && !next_member(g))
            return -1;
        if (g->between)
            continue;
        g->e.next_out = (uint8_t *)to + (wanted - left);
        g->e.avail_out = left;
        if (!engine_run(&g->e, &g->between))
            return -1;
        left = g->e.avail_out;
    }
    return wanted - left;
}

void quern__gunzip_free(quern__gunzip *g)
{
    if (!g)
        return;
    if (g->begun)
        engine_end(&g->e);
    close(g->fd);
    quern__free(g);
}

quern__gunzip_mark *quern__gunzip_mark_new(const quern__gunzip *g)
{
    quern__gunzip_mark *m = quern__zalloc(1, sizeof *m);
    if (m && engine_copy(&m->e, &g->e)) {
        m->offset = g->offset - (int64_t)g->e.avail_in;
        m->between = g->between;
        return m;
    }
    quern__free(m);
    return NULL;
}

bool quern__gunzip_go(quern__gunzip *g, const quern__gunzip_mark *mark)
{
    if (g->begun)
        engine_end(&g->e);
    g->begun = engine_copy(&g->e, &mark->e);
    g->offset = mark->offset;
    g->between = mark->between;
    g->ended = false;
    g->e.avail_in = 0;
    return g->begun;
}

void quern__gunzip_mark_free(quern__gunzip_mark *m)
{
    if (m)
        engine_end(&m->e);
    quern__free(m);
}

size_t quern__gunzip_mark_bytes(void) { return engine_bytes(); }
