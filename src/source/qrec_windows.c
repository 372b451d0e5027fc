/* Windows of prepared records. An epoch visits the records block by block, the blocks in an order of the epoch's own, as many
 * blocks at once as a window holds, the records of a window in an order of its own. Where the blocks begin moves from epoch to
 * epoch, so that the short one is not always the same. What a window holds follows from seed, epoch and its number alone: a run
 * that goes on reads one window again, and any thread may read any place.
 *
 * There are two windows in memory: while records are taken from one, the threads that take them fill the other, each batch as much
 * of it as it is itself of its window. */
#include "qrec_windows.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum { block_bytes = 64 << 10 };
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

int64_t quern__window_run(const quern__blocks *p, const quern__cut *c, int64_t w, int64_t i, int64_t *many)
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

/* ---- filling ---- */

static int read_run(const quern__blocks *p, int64_t record, int64_t many, char *to, quern_error *err)
{
    int64_t bytes = many * p->q->bytes, from = p->q->first + record * p->q->bytes;
    int64_t got = (int64_t)quern__read_at(p->fd, to, (size_t)bytes, from);
    if (got == bytes)
        return QUERN_OK;
    return quern__fail(err, QUERN_IO, p->path, "record %lld, byte %lld: %s", (long long)record + 1, (long long)(from + got),
                       errno ? strerror(errno) : "the file became shorter while it was read");
}

/* The next run among records [i, n) of a window: its first record, and how many. */
static int64_t next_run(const quern__blocks *p, const quern__cut *c, const quern__window *s, int64_t i, int64_t *many)
{
    int64_t record = quern__window_run(p, c, s->number, i, many);
    *many = *many > s->n - i ? s->n - i : *many;
    return record;
}

/* The disk is told of what is read soon, so that it reads several blocks at a time. Under the lock it is decided who tells what. */
static void announce(quern__blocks *p, const quern__cut *c, quern__window *s, int64_t upto)
{
    while (s->announced < s->n && s->announced < upto) {
        int64_t many, record = next_run(p, c, s, s->announced, &many);
        s->announced += many;
        pthread_mutex_unlock(&p->lock);
        posix_fadvise(p->fd, (off_t)(p->q->first + record * p->q->bytes), (off_t)(many * p->q->bytes), POSIX_FADV_WILLNEED);
        pthread_mutex_lock(&p->lock);
    }
}

/* Fills a window up to so many records, beside others who do. Under the lock, which is open while the disk is read. */
static void fill(quern__blocks *p, const quern__cut *c, quern__window *s, int64_t upto)
{
    s->fillers++;
    while (s->given < s->n && s->given < upto && s->why.code >= 0) {
        announce(p, c, s, s->given + s->n / 4 + 1);
        int64_t many, i = s->given, record = next_run(p, c, s, i, &many);
        if (i >= s->n)
            break;
        quern_error why = { 0 };
        s->given += many;
        pthread_mutex_unlock(&p->lock);
        int status = read_run(p, record, many, s->bytes + (size_t)(i * p->q->bytes), &why);
        pthread_mutex_lock(&p->lock);
        s->filled += many;
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
        if (one->pass == c->pass && one->number == w)
            return one;
        if (!one->users && !one->fillers && (!idle || one->turn < idle->turn) && (!before || one->turn < before->turn))
            idle = one;
    }
    if (idle)
        *idle = (quern__window){
            .pass = c->pass, .number = w, .n = quern__window_size(c, w), .turn = ++p->turns, .bytes = idle->bytes
        };
    return idle;
}

quern__window *quern__window_borrow(quern__blocks *p, const quern__cut *c, int64_t w, quern_error *err)
{
    quern__window *s;
    pthread_mutex_lock(&p->lock);
    while (!(s = find(p, c, w, NULL)))
        pthread_cond_wait(&p->changed, &p->lock);
    s->users++;
    fill(p, c, s, s->n);
    while (s->filled < s->given)
        pthread_cond_wait(&p->changed, &p->lock);
    if (s->why.code < 0) {
        if (err && !err->code)
            *err = s->why;
        if (!--s->users)
            s->pass = s->number = -1;
        s = NULL;
        pthread_cond_broadcast(&p->changed);
    }
    pthread_mutex_unlock(&p->lock);
    return s;
}

void quern__window_return(quern__blocks *p, const quern__cut *c, quern__window *s, int64_t end)
{
    pthread_mutex_lock(&p->lock);
    quern__window *next = s->number + 1 < c->windows ? find(p, c, s->number + 1, s) : NULL;
    if (next)
        fill(p, c, next, (int64_t)((double)end / (double)s->n * (double)next->n));
    s->users--;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

/* ---- opening ---- */

size_t quern__blocks_size(quern__blocks *p)
{
    int64_t window = (int64_t)(quern__qrec_window / QUERN__WINDOWS / (size_t)p->q->bytes);
    window = window < 1 ? 1 : window;
    p->block = block_bytes / p->q->bytes;
    p->block = p->block > window / 16 ? window / 16 : p->block; /* many places at once */
    p->block = p->block < 1 ? 1 : p->block;
    p->blocks = window / p->block;
    return (size_t)((p->block * p->blocks + p->block) * p->q->bytes);
}

int quern__blocks_open(quern__blocks *p, bool shuffle, uint64_t seed, quern_error *err)
{
    size_t bytes = quern__blocks_size(p);
    p->shuffle = shuffle;
    p->seed = seed;
    for (int i = 0; i < QUERN__WINDOWS; i++) {
        p->all[i].pass = p->all[i].number = -1;
        if (!p->all[i].bytes && !(p->all[i].bytes = quern__alloc(bytes)))
            return quern__fail_memory(err, bytes);
    }
    return QUERN_OK;
}

void quern__blocks_close(quern__blocks *p)
{
    for (int i = 0; i < QUERN__WINDOWS; i++) {
        quern__free(p->all[i].bytes);
        p->all[i].bytes = NULL;
    }
}
