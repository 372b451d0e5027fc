/* Sequential inflate with ISA-L or zlib. Both have a state with pointers to input and output
 * that can be copied, so a mark is a copy of the state. */
#include "gunzip.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { room = 1 << 15 };

#ifdef QUERN_HAVE_ISAL
#include <isa-l/igzip_lib.h>

typedef struct inflate_state engine;

static bool engine_begin(engine *e, bool raw)
{
    isal_inflate_init(e);
    e->crc_flag = raw ? ISAL_DEFLATE : ISAL_GZIP;
    return true;
}

/* Inflates as much as possible. False: the data is corrupt. */
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
typedef z_stream engine;

static bool engine_begin(engine *e, bool raw)
{
    memset(e, 0, sizeof *e);
    return inflateInit2(e, raw ? -15 : 15 + 16) == Z_OK; /* gzip, with its checksum */
}

static bool engine_run(engine *e, bool *finished)
{
    int code = inflate(e, Z_NO_FLUSH);
    *finished = code == Z_STREAM_END;
    return code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR;
}

static bool engine_copy(engine *to, const engine *from)
{
    return inflateCopy(to, (engine *)(uintptr_t)from) == Z_OK;
}
static void engine_end(engine *e) { inflateEnd(e); }
static size_t engine_bytes(void) { return 1 << 16; }
#endif

struct quern__gunzip {
    int fd;
    int64_t offset;      /* file offset of the byte after the input buffer */
    bool ended, between; /* between: a member has ended and the next has not begun */
    bool begun;          /* `e` is initialised */
    /* Deflated zip member: its range in the file, its inflated size and checksum; bytes so far,
     * and their checksum if all were read from the start (whole). */
    bool raw, whole;
    int64_t from, to, bytes, given;
    uint32_t crc, sum;
    engine e;
    uint8_t in[room];
};

struct quern__gunzip_mark {
    int64_t offset; /* file offset of the next input byte */
    int64_t given;
    bool between;
    engine e;
};

bool quern__is_gzip(int fd, int64_t at)
{
    uint8_t head[2];
    return quern__read_at(fd, head, sizeof head, at) == sizeof head && head[0] == 0x1f &&
           head[1] == 0x8b;
}

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

quern__gunzip *quern__inflate_new(int fd, int64_t from, int64_t size, int64_t bytes, uint32_t crc)
{
    quern__gunzip *g = quern__zalloc(1, sizeof *g);
    if (g)
        *g = (quern__gunzip){ .fd = fd, .raw = true, .from = from, .bytes = bytes, .crc = crc };
    if (g && !__builtin_add_overflow(from, size, &g->to) && quern__gunzip_rewind(g))
        return g;
    quern__free(g);
    return NULL;
}

bool quern__gunzip_rewind(quern__gunzip *g)
{
    if (g->begun)
        engine_end(&g->e);
    g->offset = g->from;
    g->ended = false;
    g->between = !g->raw;
    g->whole = true;
    g->given = 0;
    g->sum = 0;
    g->begun = engine_begin(&g->e, g->raw);
    g->e.avail_in = 0;
    return g->begun;
}

/* Refills the empty input buffer; it stays empty at the end of the file. False: read error. */
static bool refill(quern__gunzip *g)
{
    size_t n = g->raw && g->to - g->offset < room ? (size_t)(g->to - g->offset) : room;
    size_t got = quern__read_at(g->fd, g->in, n, g->offset);
    g->e.next_in = g->in;
    g->e.avail_in = (uint32_t)got;
    g->offset += (int64_t)got;
    return got > 0 || !errno;
}

/* Starts the next gzip member. A file can have several concatenated members, and zeros after the
 * last. */
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
    g->begun = engine_begin(&g->e, false);
    g->e.next_in = in;
    g->e.avail_in = left;
    g->between = false;
    return g->begun;
}

/* Inflates a zip member, which has no header or trailer: its size and checksum are compared with
 * the zip directory. */
static int64_t inflate_some(quern__gunzip *g, void *to, uint32_t wanted)
{
    g->e.next_out = to;
    g->e.avail_out = wanted;
    while (g->e.avail_out && !g->ended) {
        uint32_t before = g->e.avail_out;
        if (g->e.avail_in == 0 && !refill(g))
            return -1;
        bool dry = g->e.avail_in == 0; /* the engine may still hold output */
        if (!engine_run(&g->e, &g->ended) || (dry && !g->ended && g->e.avail_out == before))
            return -1;
    }
    uint32_t got = wanted - g->e.avail_out;
    g->given += got;
    g->sum = g->whole ? (uint32_t)crc32(g->sum, to, got) : 0;
    bool right = g->ended ? g->given == g->bytes : g->given <= g->bytes;
    right = right && (g->given < g->bytes || !g->whole || g->sum == g->crc);
    return right ? (int64_t)got : -1;
}

int64_t quern__gunzip_read(quern__gunzip *g, void *to, size_t n)
{
    uint32_t wanted = (uint32_t)(n < (1u << 30) ? n : 1u << 30), left = wanted;
    if (g->raw)
        return inflate_some(g, to, wanted);
    while (left && !g->ended) {
        if (g->e.avail_in == 0 && !refill(g))
            return -1;
        bool dry = g->e.avail_in == 0;
        if (dry && g->between) {
            g->ended = true;
            return g->offset ? (int64_t)(wanted - left) : -1;
        }
        if (g->between && !next_member(g))
            return -1;
        if (g->between)
            continue;
        g->e.next_out = (uint8_t *)to + (wanted - left);
        g->e.avail_out = left;
        if (!engine_run(&g->e, &g->between))
            return -1;
        if (dry && !g->between && g->e.avail_out == left)
            return -1; /* the engine holds no more output: the member is incomplete */
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
        m->given = g->given;
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
    g->given = mark->given;
    g->whole = false;
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
