/* Windows of prepared records. An epoch visits the blocks of the file in a random order; a window
 * holds as many consecutive blocks of this order as memory permits; the records of a window come in
 * a random order. The file is rotated by a random offset per epoch, so that the incomplete block is
 * not always the same. A window is a pure function of seed, epoch and its index. Therefore a
 * resumed run reads one window again, and any thread can read any record.
 *
 * Two windows are in memory. While threads take records from one, they fill the next. A batch that
 * takes a fraction of the current window reads the same fraction of the next. A file that exceeds
 * the memory is read with O_DIRECT, because page cache entries would be evicted before their next
 * use.
 *
 * Locking: one lock protects all fields, and reads happen without it. A thread claims the next
 * block of a window by adding to `given` under the lock. It then reads the block and adds to
 * `filled`. A window is complete when given = filled = n. `users` and `fillers` keep a window in
 * place. Without O_DIRECT, `announced` is ahead of `given`: posix_fadvise has asked for these
 * blocks. */
#include "qrec_windows.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum { least_block = 64 << 10, most_block = 256 << 10, places_wanted = 128 };
size_t quern__qrec_window = 4 << 20;

/* ---- order ---- */

quern__cut quern__blocks_cut(const quern__blocks *p, int64_t from, int64_t count, int64_t pass)
{
    quern__cut c = { .pass = pass,
                     .from = from,
                     .count = count,
                     .per = p->block * p->blocks,
                     .full = count / p->block };
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

/* The file index of record i of window w; *many is the number of consecutive records from there,
 * at most to the end of the block. */
static int64_t run_start(const quern__blocks *p, const quern__cut *c, int64_t w, int64_t i,
                         int64_t *many)
{
    int64_t k = w * p->blocks + i / p->block, left = p->block - i % p->block, at;
    if (k < c->full)
        at = (p->shuffle ? (int64_t)quern__random_permute(c->blocks, (uint64_t)c->full, (uint64_t)k)
                         : k) *
                 p->block +
             i % p->block;
    else { /* the records after the last complete block */
        at = c->full * p->block + (w * c->per + i - c->full * p->block);
        left = c->count - at;
    }
    /* rotate the file; a block at its end continues at the start */
    at = (at + c->turn) % c->count;
    *many = at + left > c->count ? c->count - at : left;
    return c->from + at;
}

/* The byte offset of a record in the file. */
static int64_t byte_of(const quern__blocks *p, int64_t record)
{
    return p->q->first + record * p->q->bytes;
}

/* The address of a block whose first record is `first`: as far from an aligned address as in the
 * file. */
static char *block_address(const quern__blocks *p, const quern__window *s, int64_t block,
                           int64_t first)
{
    return s->bytes + (size_t)block * p->place + byte_of(p, first) % QUERN__DIRECT_ALIGN;
}

const char *quern__window_record(const quern__blocks *p, const quern__window *s, int64_t i,
                                 int64_t *number)
{
    int64_t many, within = i % p->block, first;
    *number = run_start(p, &s->cut, s->number, i, &many);
    first = *number - within;
    first += first < s->cut.from ? s->cut.count
                                 : 0; /* the block continues at the beginning of the file */
    return block_address(p, s, i / p->block, first) + within * p->q->bytes;
}

/* ---- filling ---- */

/* Records of block `block` of a window. */
static int64_t block_records(const quern__blocks *p, const quern__window *s, int64_t block)
{
    int64_t left = s->n - block * p->block;
    return left < p->block ? left : p->block;
}

/* Reads a block through the page cache, in one run or two. */
static int read_block(const quern__blocks *p, const quern__window *s, int64_t block,
                      quern_error *err)
{
    int64_t n = block_records(p, s, block), many, from = block * p->block,
            first = run_start(p, &s->cut, s->number, from, &many);
    char *to = block_address(p, s, block, first);
    for (int64_t i = 0; i < n; i += many, to += many * p->q->bytes) {
        int64_t record = run_start(p, &s->cut, s->number, from + i, &many), at = byte_of(p, record);
        many = many > n - i ? n - i : many;
        quern__activity_set("reading", p->path, "record", record + 1);
        size_t bytes = (size_t)(many * p->q->bytes), got = quern__read_at(p->fd, to, bytes, at);
        if (got < bytes)
            return quern__fail(err, QUERN_IO, p->path, "record %lld, byte %lld: %s",
                               (long long)record + 1, (long long)(at + (int64_t)got),
                               errno ? strerror(errno)
                                     : "the file became shorter while it was read");
    }
    return QUERN_OK;
}

/* The aligned byte range of the first run of a block. *least: bytes of it that complete the
 * block; 0: the block has a second run. */
static size_t aligned_range(const quern__blocks *p, const quern__window *s, int64_t block,
                            int64_t *at, int64_t *least)
{
    int64_t n = block_records(p, s, block), many,
            first = run_start(p, &s->cut, s->number, block * p->block, &many);
    int64_t begin = byte_of(p, first), end = byte_of(p, first + (many < n ? many : n));
    *at = begin / QUERN__DIRECT_ALIGN * QUERN__DIRECT_ALIGN;
    *least = many < n ? 0 : end - *at;
    return (size_t)((end - *at + QUERN__DIRECT_ALIGN - 1) / QUERN__DIRECT_ALIGN *
                    QUERN__DIRECT_ALIGN);
}

/* Starts an asynchronous read of a block. False: the block needs a normal read. */
static bool begin_direct(const quern__blocks *p, const quern__window *s, int64_t block)
{
    int64_t at, least;
    if (p->direct.fd < 0)
        return false;
    size_t bytes = aligned_range(p, s, block, &at, &least);
    return least > 0 && quern__direct_begin(&p->direct, s->bytes + (size_t)block * p->place, bytes,
                                            at, (uint64_t)(s - p->all) << 32 | (uint64_t)block);
}

/* Waits for a change of state. The caller holds the lock, which is released meanwhile. One
 * thread waits for the disk, the others for that thread. */
static void wait_for_change(quern__blocks *p)
{
    quern__direct_done done[QUERN__DIRECT_MOST];
    if (p->coming <= 0 || p->waited) { /* below 0: a completion was counted before its start */
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
        aligned_range(p, s, block, &at, &least);
        if (done[i].bytes < least &&
            s->why.code >= 0) /* a normal read succeeds or explains the error */
            read_block(p, s, block, &s->why);
        s->filled += block_records(p, s, block);
        p->coming--;
    }
    pthread_cond_broadcast(&p->changed);
}

/* Announces the next reads to the system, so that the disk has several in its queue. The lock
 * decides which thread announces what. */
static void announce(quern__blocks *p, quern__window *s, int64_t upto)
{
    while (p->direct.fd < 0 && s->announced < s->n && s->announced < upto) {
        int64_t many, record = run_start(p, &s->cut, s->number, s->announced, &many);
        s->announced += many;
        pthread_mutex_unlock(&p->lock);
        posix_fadvise(p->fd, (off_t)byte_of(p, record), (off_t)(many * p->q->bytes),
                      POSIX_FADV_WILLNEED);
        pthread_mutex_lock(&p->lock);
    }
}

/* Fills a window up to record `upto`, concurrently with other threads. The caller holds the
 * lock, which is released during reads. */
static void window_fill(quern__blocks *p, quern__window *s, int64_t upto)
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
        /* claim the block under the lock, read it without the lock */
        s->given += block_records(p, s, block);
        pthread_mutex_unlock(&p->lock);
        bool comes = begin_direct(p, s, block);
        int status = comes ? QUERN_OK : read_block(p, s, block, &why);
        pthread_mutex_lock(&p->lock);
        p->coming += comes;
        s->filled += comes ? 0 : block_records(p, s, block);
        if (status < 0)
            s->why = why;
    }
    s->fillers--;
    pthread_cond_broadcast(&p->changed);
}

/* ---- borrowing ---- */

/* Finds the window in memory, or evicts the oldest idle one and assigns it. `before`: evict only
 * windows older than this one, for read-ahead. NULL: all are in use. */
static quern__window *window_find(quern__blocks *p, const quern__cut *c, int64_t w,
                                  const quern__window *before)
{
    quern__window *idle = NULL;
    /* the window itself, or the idle one that was assigned first */
    for (int i = 0; i < QUERN__WINDOWS; i++) {
        quern__window *one = &p->all[i];
        if (one->cut.pass == c->pass && one->number == w)
            return one;
        if (!one->users && !one->fillers && one->filled == one->given &&
            (!idle || one->turn < idle->turn) && (!before || one->turn < before->turn))
            idle = one;
    }
    if (idle)
        *idle = (quern__window){ .cut = *c,
                                 .number = w,
                                 .n = quern__window_size(c, w),
                                 .turn = ++p->turns,
                                 .memory = idle->memory,
                                 .bytes = idle->bytes };
    return idle;
}

/* Fills the next window in proportion to the records taken from window s, `end` of them.
 * Asynchronous reads start slightly earlier. */
static void read_ahead(quern__blocks *p, const quern__window *s, int64_t end)
{
    quern__window *next =
        s->number + 1 < s->cut.windows ? window_find(p, &s->cut, s->number + 1, s) : NULL;
    if (next)
        window_fill(p, next,
                    (int64_t)((double)end / (double)s->n * (double)next->n) +
                        (p->direct.fd < 0 ? 0 : next->n / 8));
}

quern__window *quern__window_borrow(quern__blocks *p, const quern__cut *c, int64_t w,
                                    quern_error *err)
{
    quern__window *s;
    int64_t many;
    quern__activity_set("reading", p->path, "record", run_start(p, c, w, 0, &many) + 1);
    pthread_mutex_lock(&p->lock);
    for (s = window_find(p, c, w, NULL); !s; s = window_find(p, c, w, NULL))
        wait_for_change(p);
    s->users++;
    /* read what is missing, then wait for the blocks of other threads */
    window_fill(p, s, s->n);
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
    /* many blocks per window, each large enough for efficient disk reads */
    int64_t bytes = window / places_wanted * p->q->bytes;
    p->block = (bytes < least_block  ? least_block
                : bytes > most_block ? most_block
                                     : bytes) /
               p->q->bytes;
    p->block = p->block > window / 16 ? window / 16 : p->block;
    p->block = p->block < 1 ? 1 : p->block;
    p->blocks = window / p->block;
    p->place = (size_t)(p->block * p->q->bytes + 2 * QUERN__DIRECT_ALIGN - 2) /
               QUERN__DIRECT_ALIGN * QUERN__DIRECT_ALIGN;
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
        if (!one->memory)
            one->memory = quern__alloc_large(bytes);
        if (!one->memory)
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
