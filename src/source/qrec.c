/* Prepared records as a source. Records are known by number, and an epoch visits them block by block, the blocks in an order of the
 * epoch's own, as many blocks at once as a window holds, the records of a window in an order of its own. Where the blocks begin
 * moves from epoch to epoch, so that the short one is not always the same. What a window holds follows from seed, epoch and its
 * number alone: a run that goes on reads one window again, and any thread may read any place. */
#include "qrec.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { n_slots = 2, block_bytes = 64 << 10 };
size_t quern__qrec_window = 4 << 20;

/* A window in memory. */
typedef struct slot {
    int64_t pass, window; /* -1: none */
    int users;
    bool loading;
    char *bytes;
} slot;

typedef struct prepared {
    quern__qrec q;
    char *path;
    int fd;
    bool shuffle, told;
    uint64_t seed;
    int64_t block, blocks;           /* records of a block; blocks of a window */
    int order[2 * QUERN_MAX_ARRAYS]; /* array of a record that feeds an array of the batch, -1: dealt out in their order */
    size_t at[2 * QUERN_MAX_ARRAYS]; /* byte of a record at which an array begins */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    slot slots[n_slots];
} prepared;

/* ---- order ---- */

/* How the records of an epoch are cut: those before `from` are another generator's. */
typedef struct cut {
    int64_t from, count, per, full; /* per: records of a window but the last; full: whole blocks */
    int64_t windows, turn;          /* turn: by how much the beginning has moved */
    quern__random_key blocks, within;
} cut;

static cut cut_of(const quern_generator *g, int64_t pass)
{
    const prepared *p = g->self;
    cut c = { .from = g->from, .count = g->count, .per = p->block * p->blocks, .full = g->count / p->block };
    c.windows = (c.full + p->blocks - 1) / p->blocks;
    c.windows = c.windows ? c.windows : 1;
    c.blocks = quern__random_key_of(p->seed, QUERN__RANDOM_SHUFFLE_BLOCKS, (uint64_t)pass);
    c.within = quern__random_key_of(p->seed, QUERN__RANDOM_SHUFFLE_WINDOW, (uint64_t)pass);
    if (p->shuffle && c.count)
        c.turn = (int64_t)(quern__random_uniform(c.blocks, 1, 0) * (double)c.count);
    return c;
}

/* Records of window w: the last has those that fill no block too. */
static int64_t window_size(const cut *c, int64_t w) { return w + 1 < c->windows ? c->per : c->count - (c->windows - 1) * c->per; }

/* Where the run of records that begins at place i of a window's contents is: the number of its first, and how many follow it, at
 * most to the end of its block. */
static int64_t run_of(const prepared *p, const cut *c, int64_t w, int64_t i, int64_t *many)
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

/* ---- windows ---- */

static int read_run(const prepared *p, int64_t record, int64_t many, char *to, quern_error *err)
{
    size_t bytes = (size_t)(many * p->q.bytes);
    off_t from = (off_t)(p->q.first + record * p->q.bytes);
    for (size_t at = 0; at < bytes;) {
        ssize_t got = pread(p->fd, to + at, bytes - at, from + (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return quern__fail(err, QUERN_IO, p->path, "record %lld, byte %lld: %s", (long long)record + 1,
                               (long long)from + (long long)at,
                               got < 0 ? strerror(errno) : "the file became shorter while it was read");
        at += (size_t)got;
    }
    return QUERN_OK;
}

/* The disk is told of all blocks of a window, so that it reads several at a time. */
static void announce(const prepared *p, const cut *c, int64_t w)
{
    int64_t n = w < c->windows ? window_size(c, w) : 0, many;
    for (int64_t i = 0; i < n; i += many) {
        int64_t record = run_of(p, c, w, i, &many);
        posix_fadvise(p->fd, (off_t)(p->q.first + record * p->q.bytes), (off_t)(many * p->q.bytes), POSIX_FADV_WILLNEED);
    }
}

static int load(const prepared *p, const cut *c, int64_t w, char *to, quern_error *err)
{
    int64_t n = window_size(c, w), many;
    int status = QUERN_OK;
    if (w == 0)
        announce(p, c, 0);
    announce(p, c, w + 1);
    for (int64_t i = 0; i < n && status >= 0; i += many) {
        int64_t record = run_of(p, c, w, i, &many);
        many = many > n - i ? n - i : many;
        status = read_run(p, record, many, to + (size_t)(i * p->q.bytes), err);
    }
    return status;
}

/* The window, lent; it may have to be loaded, or waited for. NULL on failure. */
static slot *borrow(prepared *p, const cut *c, int64_t pass, int64_t w, quern_error *err)
{
    slot *s = NULL;
    int status = QUERN_OK;
    pthread_mutex_lock(&p->lock);
    while (!s) {
        slot *idle = NULL;
        for (int i = 0; i < n_slots; i++) {
            slot *one = &p->slots[i];
            if (one->pass == pass && one->window == w)
                s = one;
            else if (!one->users && (!idle || one->pass < idle->pass || (one->pass == idle->pass && one->window < idle->window)))
                idle = one;
        }
        if (s && s->loading)
            s = NULL;
        else if (s)
            s->users++;
        else if (idle) {
            *idle = (slot){ .pass = pass, .window = w, .users = 1, .loading = true, .bytes = idle->bytes };
            pthread_mutex_unlock(&p->lock);
            status = load(p, c, w, idle->bytes, err);
            pthread_mutex_lock(&p->lock);
            idle->loading = false;
            if (status < 0)
                *idle = (slot){ .pass = -1, .window = -1, .bytes = idle->bytes };
            pthread_cond_broadcast(&p->changed);
            s = idle;
            break;
        }
        if (!s)
            pthread_cond_wait(&p->changed, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return status < 0 ? NULL : s;
}

static void give_back(prepared *p, slot *s)
{
    pthread_mutex_lock(&p->lock);
    s->users--;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

/* ---- a run ---- */

/* Which array feeds which; one array of all numbers is dealt out. */
static int match(prepared *p, const quern_batch_spec *spec, quern_error *err)
{
    const quern__description *d = &p->q.what;
    char have[96], want[96];
    for (int side = 0; side < 1 + (spec->n_targets > 0); side++) {
        int n = side ? spec->n_targets : spec->n_inputs, own = side ? d->n_y : d->n_x, first = side ? spec->n_inputs : 0;
        int64_t all = 0, per = own ? quern__per_record(&d->shapes[side ? d->n_x : 0]) : 0;
        for (int i = 0; i < n; i++)
            all += quern__per_record(&spec->shapes[first + i]);
        for (int i = 0; i < n; i++) {
            int k = own == n ? i : -1;
            for (int j = 0; own == n && spec->names[first + i] && j < own; j++)
                k = !strcmp(d->names[(side ? d->n_x : 0) + j], spec->names[first + i]) ? j : k;
            k = k < 0 ? -1 : (side ? d->n_x : 0) + k;
            p->order[first + i] = k;
            if (spec->dtypes[first + i] == QUERN_STRING)
                return quern__fail(err, QUERN_UNSUPPORTED, p->path, "the model wants strings, prepared records are numbers");
            if (k >= 0 ? quern__per_record(&d->shapes[k]) != quern__per_record(&spec->shapes[first + i]) : own != 1 || per != all)
                return quern__fail(
                    err, QUERN_SHAPE, p->path, "%s %s a record, the model wants %s for '%s'", side ? "targets of" : "inputs of",
                    own ? quern_shape_text(&d->shapes[k < 0 ? (side ? d->n_x : 0) : k], have, sizeof have) : "nothing",
                    quern_shape_text(&spec->shapes[first + i], want, sizeof want),
                    spec->names[first + i] ? spec->names[first + i] : "?");
        }
    }
    return QUERN_OK;
}

static void size_windows(prepared *p, size_t *bytes)
{
    int64_t window = (int64_t)(quern__qrec_window / n_slots / (size_t)p->q.bytes);
    window = window < 1 ? 1 : window;
    p->block = block_bytes / p->q.bytes;
    p->block = p->block > window / 16 ? window / 16 : p->block; /* many places at once */
    p->block = p->block < 1 ? 1 : p->block;
    p->blocks = window / p->block;
    *bytes = (size_t)((p->block * p->blocks + p->block) * p->q.bytes);
}

static size_t prepared_bytes(const quern_generator *g, const quern_batch_spec *spec, bool shuffle)
{
    prepared sized = { .q = ((const prepared *)g->self)->q };
    size_t bytes;
    (void)spec, (void)shuffle;
    size_windows(&sized, &bytes);
    return n_slots * bytes;
}

static int prepared_open(quern_generator *g, const quern_batch_spec *spec, bool shuffle, uint64_t seed, quern_error *err)
{
    prepared *p = g->self;
    size_t bytes;
    int status = match(p, spec, err);
    if (status < 0)
        return status;
    size_windows(p, &bytes);
    for (int i = 0; i < n_slots; i++) {
        p->slots[i].pass = p->slots[i].window = -1;
        if (!p->slots[i].bytes && !(p->slots[i].bytes = quern__alloc(bytes)))
            return quern__fail_memory(err, bytes);
    }
    g->spec = spec;
    p->shuffle = shuffle;
    p->seed = seed;
    cut c = cut_of(g, 0);
    if (shuffle && !p->told && c.windows > 1)
        quern__note("%s: records are uniformly shuffled; drawn from %lld places at once, two meet in a batch again %.2f times as "
                    "often as by "
                    "chance",
                    p->path, (long long)p->blocks, 1 + (double)(c.windows - 1) / (double)p->blocks);
    p->told = true;
    return QUERN_OK;
}

static void prepared_close(quern_generator *g)
{
    prepared *p = g->self;
    for (int i = 0; i < n_slots; i++) {
        quern__free(p->slots[i].bytes);
        p->slots[i].bytes = NULL;
    }
}

/* Whether a record is what was written. */
static int check_sum(const prepared *p, const char *record, int64_t number, quern_error *err)
{
    uint32_t sum;
    size_t n = (size_t)p->q.bytes - QUERN__QREC_SUM;
    memcpy(&sum, record + n, sizeof sum);
    if (quern__qrec_sum(record, n) == sum)
        return QUERN_OK;
    return quern__fail(err, QUERN_FORMAT, p->path, "record %lld, byte %lld: is damaged, its check sum is another one",
                       (long long)number + 1, (long long)(p->q.first + number * p->q.bytes));
}

/* A number of an array of a record into place `at` of the batch. */
static int put(const prepared *p, const quern_batch *b, int array, int64_t at, double v, int64_t record, quern_error *err)
{
    if (b->spec->dtypes[array] != QUERN_INT32)
        ((float *)b->arrays[array])[at] = (float)v;
    else if (v == floor(v) && fabs(v) <= INT32_MAX)
        ((int32_t *)b->arrays[array])[at] = (int32_t)v;
    else
        return quern__fail(err, QUERN_INVALID, p->path, "record %lld: %g is no whole number", (long long)record + 1, v);
    return QUERN_OK;
}

static int take(const prepared *p, const char *record, quern_batch *b, int64_t place, quern_error *err)
{
    const quern_batch_spec *spec = b->spec;
    const quern__description *d = &p->q.what;
    int64_t dealt = 0;
    int status = QUERN_OK;
    for (int a = 0; a < spec->n_inputs + spec->n_targets && status >= 0; a++) {
        int64_t per = quern__per_record(&spec->shapes[a]);
        int k = p->order[a] >= 0 ? p->order[a] : a < spec->n_inputs ? 0 : d->n_x;
        dealt = a == spec->n_inputs ? 0 : dealt;
        quern_tensor from = { .dtype = d->dtypes[k], .data = (char *)(uintptr_t)record + p->at[k] };
        int64_t first = p->order[a] >= 0 ? 0 : dealt;
        dealt += per;
        if (from.dtype == spec->dtypes[a])
            memcpy((char *)b->arrays[a] + (size_t)(place * per) * quern_dtype_size(from.dtype),
                   (char *)from.data + (size_t)first * quern_dtype_size(from.dtype), (size_t)per * quern_dtype_size(from.dtype));
        else if (from.dtype == QUERN_UINT8 && spec->dtypes[a] == QUERN_FLOAT32)
            for (int64_t i = 0; i < per; i++)
                ((float *)b->arrays[a])[place * per + i] = ((const uint8_t *)from.data)[first + i];
        else
            for (int64_t i = 0; i < per && status >= 0; i++) {
                double v;
                quern_tensor one = { .dtype = from.dtype, .data = (char *)&v };
                memcpy(&v, (char *)from.data + (size_t)(first + i) * quern_dtype_size(from.dtype), quern_dtype_size(from.dtype));
                status = put(p, b, a, place * per + i, quern__number_of(&one, 0), b->indices[place], err);
            }
    }
    if (d->weighted)
        memcpy(b->weights + place, record + p->q.bytes - QUERN__QREC_SUM - (int64_t)sizeof(float), sizeof(float));
    return status;
}

static int prepared_read(quern_generator *g, int64_t pass, int64_t first, quern_batch *b, quern_error *err)
{
    prepared *p = g->self;
    cut c = cut_of(g, pass);
    slot *s = NULL;
    int64_t held = -1, good = 0;
    int status = QUERN_OK;
    for (int64_t r = 0; r < b->size && status >= 0; r++) {
        int64_t w = (first + r) / c.per, many;
        w = w < c.windows ? w : c.windows - 1;
        if (w != held) {
            if (s)
                give_back(p, s);
            s = borrow(p, &c, pass, w, err);
            held = w;
        }
        if (!s)
            return err && err->code ? err->code : QUERN_IO;
        quern__random_key key = c.within;
        key.k[0] ^= (uint32_t)quern__hash64((uint64_t)w + 1);
        int64_t i = first + r - w * c.per,
                from = p->shuffle ? (int64_t)quern__random_permute(key, (uint64_t)window_size(&c, w), (uint64_t)i) : i;
        quern_error own = { 0 };
        const char *record = s->bytes + (size_t)(from * p->q.bytes);
        b->indices[good] = run_of(p, &c, w, from, &many);
        status = check_sum(p, record, b->indices[good], &own);
        status = status < 0 ? status : take(p, record, b, good, &own);
        if (status >= 0)
            good++;
        else
            status = quern__bad_record(b->bad, status, &own, err);
    }
    b->size = good;
    if (s)
        give_back(p, s);
    b->has_weights = p->q.what.weighted;
    return status;
}

static void prepared_free(quern_generator *g)
{
    prepared *p = g->self;
    prepared_close(g);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->changed);
    quern__qrec_free(&p->q);
    close(p->fd);
    quern__free(p->path);
    quern__free(p);
}

static const char *class_name(const quern_generator *g, int target, int i)
{
    const prepared *p = g->self;
    return target >= 0 && target < QUERN_MAX_ARRAYS && i >= 0 && i < p->q.n_classes[target] ? p->q.classes[target][i] : NULL;
}

quern_generator *quern__qrec_open(const char *path, quern_error *err)
{
    static const quern__source_ops kind = {
        .open = prepared_open, .read = prepared_read, .close = prepared_close, .free = prepared_free, .bytes = prepared_bytes
    };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    prepared *p = fd >= 0 ? quern__zalloc(1, sizeof *p) : NULL;
    if (!p) {
        if (fd >= 0)
            close(fd);
        quern__fail(err, fd < 0 ? QUERN_IO : QUERN_NOMEM, path, "%s", fd < 0 ? strerror(errno) : "no memory");
        return NULL;
    }
    int status = quern__qrec_head_read(fd, path, &p->q, err);
    p->path = status < 0 ? NULL : quern__strdup(path);
    quern_generator *g = p->path ? quern__generator_new(&kind, p) : NULL;
    if (!g) {
        quern__qrec_free(&p->q);
        quern__free(p->path);
        quern__free(p);
        close(fd);
        return NULL;
    }
    p->fd = fd;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    size_t at = 0;
    for (int i = 0; i < p->q.what.n_x + p->q.what.n_y; i++) {
        p->at[i] = at;
        at += (size_t)quern__per_record(&p->q.what.shapes[i]) * quern_dtype_size(p->q.what.dtypes[i]);
    }
    g->finite = true;
    g->count = p->q.count;
    g->class_name = class_name;
    g->features = (int)quern__per_record(&p->q.what.shapes[0]);
    g->where = p->path;
    g->bad.can = 1u << QUERN_BAD_SKIP;
    return g;
}
