/* Windows of prepared records. An epoch visits the records block by block, the blocks in an order of the epoch's own, as many
 * blocks at once as a window holds, the records of a window in an order of its own. Where the blocks begin moves from epoch to
 * epoch, so that the short one is not always the same. What a window holds follows from seed, epoch and its number alone: a run
 * that goes on reads one window again, and any thread may read any place.
 *
 * There are two windows in memory: while records are taken from one, the threads that take them fill the other, each batch as much
 * of it as it is itself of its window. A file that is larger than memory is read past the system's cache, which would only be
 * filled in vain: single pages take it longer than the disk. */
#include "qrec_windows.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum { least_block = 64 << 10, most_block = 256 << 10, places_wanted = 128 };
size_t quern__qrec_window = 4 << 20;

/* ---- order ---- */

quern__cut quern__blocks_cut(const quern__blocks *p, int64_t from, int64_t count, int64_t pass)
{
    quern__cut c = { .pass = pass, .from = from, .count = count, .per = p->block * p->blocks, .full = count / p->block };
    c.windows = (c.full + p->blocks - 1) / p->blocks;
    c.windows = c.windows ? c.windows : 1;
    c.blocks = quern__random_key_of(p->seed, QUERN__RANDOM_SHUFFLE_BLOCKS, (uint64_t)pass);
    c.within = quern__random_key_of(p->seed, QUERN__RANDOM_SHUFFLE_WINDOW, (uint64_t)pass);
    if (p->shuffle && c.count)
        c.turn = (int64_t)(quern__random_uniform(c.blocks, 1, 0) * (double)c.count);
    return c;
}

int64_t quern__window_size(const quern__cut *c, int64_t w)
{
    return w + 1 < c->windows ? c->per : c->count - (c->windows - 1) * c->per;
}

/* The number of record i of a window, and how many follow it in the file, at most to the end of its block. */
static int64_t run_of(const quern__blocks *p, const quern__cut *c, int64_t w, int64_t i, int64_t *many)
{
    int64_t k = w * p->blocks + i / p->block, left = p->block - i % p->block, at;
    if (k < c->full)
        at = (p->shuffle ? (int64_t)quern__random_permute(c->blocks, (uint64_t)c->full, (uint64_t)k) : k) * p->block + i % p->block;
    else { /* what fills no block */
        at = c->full * p->block + (w * c->per + i - c->full * p->block);
        left = c->count - at;
    }
    at = (at + c->turn) % c->count;
    *many = at + left > c->count ? c->count - at : left;
    return c->from + at;
}

static int64_t byte_of(const quern__blocks *p, int64_t record) { return p->q->first + record * p->q->bytes; }

/* Where a block is put whose first record is this one. */
static char *room_of(const quern__blocks *p, const quern__window *s, int64_t block, int64_t first)
{
    return s->bytes + (size_t)block * p->place + byte_of(p, first) % QUERN__DIRECT_ALIGN;
}

const char *quern__window_record(const quern__blocks *p, const quern__window *s, int64_t i, int64_t *number)
{
    int64_t many, within = i % p->block, first;
    *number = run_of(p, &s->cut, s->number, i, &many);
    first = *number - within;
    first += first < s->cut.from ? s->cut.count : 0; /* the block goes on at the beginning of the file */
    return room_of(p, s, i / p->block, first) + within * p->q->bytes;
}

/* ---- filling ---- */

/* Records of the block at place `block` of a window. */
static int64_t size_of(const quern__blocks *p, const quern__window *s, int64_t block)
{
    int64_t left = s->n - block * p->block;
    return left < p->block ? left : p->block;
}

/* Reads a block by way of the system's cache, in one run or two. */
static int read_block(const quern__blocks *p, const quern__window *s, int64_t block, quern_error *err)
{
    int64_t n = size_of(p, s, block), many, from = block * p->block, first = run_of(p, &s->cut, s->number, from, &many);
    char *to = room_of(p, s, block, first);
    for (int64_t i = 0; i < n; i += many, to += many * p->q->bytes) {
        int64_t record = run_of(p, &s->cut, s->number, from + i, &many), at = byte_of(p, record);
        many = many > n - i ? n - i : many;
        quern__activity_set("reading", p->path, "record", record + 1);
        size_t bytes = (size_t)(many * p->q->bytes), got = quern__read_at(p->fd, to, bytes, at);
        if (got < bytes)
            return quern__fail(err, QUERN_IO, p->path, "record %lld, byte %lld: %s", (long long)record + 1,
                               (long long)(at + (int64_t)got),
                               errno ? strerror(errno) : "the file became shorter while it was read");
    }
    return QUERN_OK;
}

/* The bytes that hold the first run of a block, from and to a multiple of QUERN__DIRECT_ALIGN; `least`: how many of them must come
 * for the block to be whole, 0 when it has a second run. */
static size_t aligned(const quern__blocks *p, const quern__window *s, int64_t block, int64_t *at, int64_t *least)
{
    int64_t n = size_of(p, s, block), many, first = run_of(p, &s->cut, s->number, block * p->block, &many);
    int64_t begin = byte_of(p, first), end = byte_of(p, first + (many < n ? many : n));
    *at = begin / QUERN__DIRECT_ALIGN * QUERN__DIRECT_ALIGN;
    *least = many < n ? 0 : end - *at;
    return (size_t)((end - *at + QUERN__DIRECT_ALIGN - 1) / QUERN__DIRECT_ALIGN * QUERN__DIRECT_ALIGN);
}

static bool begin_direct(const quern__blocks *p, const quern__window *s, int64_t block)
{
    int64_t at, least;
    if (p->direct.fd < 0)
        return false;
    size_t bytes = aligned(p, s, block, &at, &least);
    return least > 0 && quern__direct_begin(&p->direct, s->bytes + (size_t)block * p->place, bytes, at,
                                            (uint64_t)(s - p->all) << 32 | (uint64_t)block);
}

/* Waits until something has changed: under the lock, which is open meanwhile. One thread waits for the disk, the others for it. */
static void wait_for_change(quern__blocks *p)
{
    quern__direct_done done[QUERN__DIRECT_MOST];
    if (p->coming <= 0 || p->waited) { /* below 0: what came before it was counted */
        pthread_cond_wait(&p->changed, &p->lock);
        return;
    }
    p->waited = true;
    pthread_mutex_unlock(&p->lock);
    int n = quern__direct_wait(&p->direct, done);
    pthread_mutex_lock(&p->lock);
    p->waited = false;
    for (int i = 0; i < n; i++) {
        quern__window *s = &p->all[done[i].tag >> 32];
        int64_t block = (int64_t)(done[i].tag & UINT32_MAX), at, least;
        aligned(p, s, block, &at, &least);
        if (done[i].bytes < least && s->why.code >= 0) /* reading it as usual tells why, or helps */
            read_block(p, s, block, &s->why);
        s->filled += size_of(p, s, block);
        p->coming--;
    }
    pthread_cond_broadcast(&p->changed);
}

/* The disk is told of what is read soon, so that it reads several blocks at a time. Under the lock it is decided who tells what. */
static void announce(quern__blocks *p, quern__window *s, int64_t upto)
{
    while (p->direct.fd < 0 && s->announced < s->n && s->announced < upto) {
        int64_t many, record = run_of(p, &s->cut, s->number, s->announced, &many);
        s->announced += many;
        pthread_mutex_unlock(&p->lock);
        posix_fadvise(p->fd, (off_t)byte_of(p, record), (off_t)(many * p->q->bytes), POSIX_FADV_WILLNEED);
        pthread_mutex_lock(&p->lock);
    }
}

/* Fills a window up to so many records, or has it filled, beside others who do. Under the lock, which is open while the disk is
 * asked. */
static void fill(quern__blocks *p, quern__window *s, int64_t upto)
{
    s->fillers++;
    while (s->given < s->n && s->given < upto && s->why.code >= 0) {
        if (p->coming >= QUERN__DIRECT_MOST) {
            wait_for_change(p);
            continue;
        }
        announce(p, s, s->given + s->n / 4 + 1);
        if (s->given >= s->n)
            break;
        quern_error why = { 0 };
        int64_t block = s->given / p->block;
        s->given += size_of(p, s, block);
        pthread_mutex_unlock(&p->lock);
        bool comes = begin_direct(p, s, block);
        int status = comes ? QUERN_OK : read_block(p, s, block, &why);
        pthread_mutex_lock(&p->lock);
        p->coming += comes;
        s->filled += comes ? 0 : size_of(p, s, block);
        if (status < 0)
            s->why = why;
    }
    s->fillers--;
    pthread_cond_broadcast(&p->changed);
}

/* ---- lending ---- */

/* The window, if it is in memory, or room that is made for it. For one that is not wanted yet (`before` it is `before`), nothing is
 * put out that came after. NULL: all are in use. */
static quern__window *find(quern__blocks *p, const quern__cut *c, int64_t w, const quern__window *before)
{
    quern__window *idle = NULL;
    for (int i = 0; i < QUERN__WINDOWS; i++) {
        quern__window *one = &p->all[i];
        if (one->cut.pass == c->pass && one->number == w)
            return one;
        if (!one->users && !one->fillers && one->filled == one->given && (!idle || one->turn < idle->turn) &&
            (!before || one->turn < before->turn))
            idle = one;
    }
    if (idle)
        *idle = (quern__window){
            .cut = *c, .number = w, .n = quern__window_size(c, w), .turn = ++p->turns, .memory = idle->memory, .bytes = idle->bytes
        };
    return idle;
}

/* Of the window behind one that is lent, as much is read as was taken of it, `end` of its places; what comes by itself is asked for
 * a little earlier. */
static void read_ahead(quern__blocks *p, const quern__window *s, int64_t end)
{
    quern__window *next = s->number + 1 < s->cut.windows ? find(p, &s->cut, s->number + 1, s) : NULL;
    if (next)
        fill(p, next, (int64_t)((double)end / (double)s->n * (double)next->n) + (p->direct.fd < 0 ? 0 : next->n / 8));
}

quern__window *quern__window_borrow(quern__blocks *p, const quern__cut *c, int64_t w, quern_error *err)
{
    quern__window *s;
    int64_t many;
    quern__activity_set("reading", p->path, "record", run_of(p, c, w, 0, &many) + 1);
    pthread_mutex_lock(&p->lock);
    while (!(s = find(p, c, w, NULL)))
        wait_for_change(p);
    s->users++;
    fill(p, s, s->n);
    while (s->filled < s->given)
        wait_for_change(p);
    if (s->why.code < 0) {
        if (err && !err->code)
            *err = s->why;
        if (!--s->users)
            s->cut.pass = s->number = -1;
        s = NULL;
        pthread_cond_broadcast(&p->changed);
    } else
        read_ahead(p, s, 0);
    pthread_mutex_unlock(&p->lock);
    return s;
}

void quern__window_return(quern__blocks *p, quern__window *s, int64_t end)
{
    pthread_mutex_lock(&p->lock);
    read_ahead(p, s, end);
    s->users--;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

/* ---- opening ---- */

size_t quern__blocks_size(quern__blocks *p)
{
    int64_t window = (int64_t)(quern__qrec_window / QUERN__WINDOWS / (size_t)p->q->bytes);
    window = window < 1 ? 1 : window;
    /* many places at once, of which each is worth a disk's while */
    int64_t bytes = window / places_wanted * p->q->bytes;
    p->block = (bytes < least_block ? least_block : bytes > most_block ? most_block : bytes) / p->q->bytes;
    p->block = p->block > window / 16 ? window / 16 : p->block;
    p->block = p->block < 1 ? 1 : p->block;
    p->blocks = window / p->block;
    p->place = (size_t)(p->block * p->q->bytes + 2 * QUERN__DIRECT_ALIGN - 2) / QUERN__DIRECT_ALIGN * QUERN__DIRECT_ALIGN;
    return (size_t)(p->blocks + 1) * p->place + QUERN__DIRECT_ALIGN;
}

int quern__blocks_open(quern__blocks *p, bool shuffle, uint64_t seed, quern_error *err)
{
    size_t bytes = quern__blocks_size(p);
    p->shuffle = shuffle;
    p->seed = seed;
    for (int i = 0; i < QUERN__WINDOWS; i++) {
        quern__window *one = &p->all[i];
        one->cut.pass = one->number = -1;
        if (!one->memory && !(one->memory = quern__alloc_large(bytes)))
            return quern__fail_memory(err, bytes);
        one->bytes = one->memory + -(uintptr_t)one->memory % QUERN__DIRECT_ALIGN;
    }
    if (p->direct.fd < 0 && quern__direct_wanted(byte_of(p, p->q->count)))
        p->direct = quern__direct_open(p->path, p->fd);
    return QUERN_OK;
}

void quern__blocks_close(quern__blocks *p)
{
    quern__direct_close(&p->direct);
    for (int i = 0; i < QUERN__WINDOWS; i++) {
        quern__free_aligned(p->all[i].memory);
        p->all[i] = (quern__window){ 0 };
    }
    p->coming = 0;
}
