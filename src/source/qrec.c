/* Prepared records as a source: records are known by number, lie in windows in memory (qrec_windows.c), are checked against their
 * sums and dealt out to the arrays of a batch. */
#include "axes.h"
#include "convert.h"
#include "qrec_windows.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

typedef struct prepared {
    quern__qrec q;
    char *path;
    bool told;
    int order[2 * QUERN_MAX_ARRAYS]; /* array of a record that feeds an array of the batch, -1: dealt out in their order */
    size_t at[2 * QUERN_MAX_ARRAYS]; /* byte of a record at which an array begins */
    quern__blocks windows;
} prepared;

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
            int status =
                k >= 0 && d->axes[k] == QUERN__AXES_OWN
                    ? quern__axes_check(p->path, &d->shapes[k], &spec->shapes[first + i], spec->names[first + i], !side, err)
                    : QUERN_OK;
            if (status < 0)
                return status;
            if (k >= 0 ? quern__per_record(&d->shapes[k]) != quern__per_record(&spec->shapes[first + i]) && d->axes[k]
                       : own != 1 || per != all || !d->axes[side ? d->n_x : 0])
                return quern__fail(
                    err, QUERN_SHAPE, p->path, "%s %s a record, the model wants %s for '%s'", side ? "targets of" : "inputs of",
                    own ? quern_shape_text(&d->shapes[k < 0 ? (side ? d->n_x : 0) : k], have, sizeof have) : "nothing",
                    quern_shape_text(&spec->shapes[first + i], want, sizeof want),
                    spec->names[first + i] ? spec->names[first + i] : "?");
            if (k >= 0 && d->axes[k] == QUERN__AXES_LOST && !quern__axes_fit(&d->shapes[k], &spec->shapes[first + i]))
                quern__warn("%s: was prepared by an earlier version, which kept no shapes: that '%s' is %s is not checked", p->path,
                            spec->names[first + i] ? spec->names[first + i] : "?",
                            quern_shape_text(&spec->shapes[first + i], want, sizeof want));
        }
    }
    return QUERN_OK;
}

static size_t prepared_bytes(const quern_generator *g, const quern_batch_spec *spec, bool shuffle)
{
    quern__blocks sized = { .q = &((const prepared *)g->self)->q };
    (void)spec, (void)shuffle;
    return QUERN__WINDOWS * quern__blocks_size(&sized) + QUERN__DIRECT_BYTES;
}

static int prepared_open(quern_generator *g, const quern_batch_spec *spec, bool shuffle, uint64_t seed, quern_error *err)
{
    prepared *p = g->self;
    int status = match(p, spec, err);
    status = status < 0 ? status : quern__blocks_open(&p->windows, shuffle, seed, err);
    if (status < 0)
        return status;
    g->spec = spec;
    quern__cut c = quern__blocks_cut(&p->windows, g->from, g->count, 0);
    if (shuffle && !p->told && c.windows > 1)
        quern__note("%s: records are uniformly shuffled; drawn from %lld places at once, two meet in a batch again %.2f times as "
                    "often as by chance",
                    p->path, (long long)p->windows.blocks, 1 + (double)(c.windows - 1) / (double)p->windows.blocks);
    p->told = true;
    return QUERN_OK;
}

static void prepared_close(quern_generator *g) { quern__blocks_close(&((prepared *)g->self)->windows); }

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

static int take(const prepared *p, const char *record, quern_batch *b, int64_t place, quern_error *err)
{
    const quern_batch_spec *spec = b->spec;
    const quern__description *d = &p->q.what;
    char why[128];
    int64_t dealt = 0;
    int status = QUERN_OK;
    for (int a = 0; a < spec->n_inputs + spec->n_targets && status >= 0; a++) {
        int64_t per = quern__per_record(&spec->shapes[a]);
        int k = p->order[a] >= 0 ? p->order[a] : a < spec->n_inputs ? 0 : d->n_x;
        dealt = a == spec->n_inputs ? 0 : dealt;
        int64_t from = p->order[a] >= 0 ? 0 : dealt;
        const char *numbers = record + p->at[k] + (size_t)from * quern_dtype_size(d->dtypes[k]);
        dealt += per;
        int64_t good = quern__convert(numbers, d->dtypes[k], per, b->arrays[a], spec->dtypes[a], place * per);
        if (good < per)
            status = quern__fail(err, QUERN_INVALID, p->path, "record %lld: %s", (long long)b->indices[place] + 1,
                                 quern__convert_why(numbers, d->dtypes[k], good, spec->dtypes[a], why));
    }
    if (d->weighted)
        memcpy(b->weights + place, record + p->q.bytes - QUERN__QREC_SUM - (int64_t)sizeof(float), sizeof(float));
    return status;
}

static int prepared_read(quern_generator *g, int64_t pass, int64_t first, quern_batch *b, quern_error *err)
{
    prepared *p = g->self;
    quern__blocks *all = &p->windows;
    quern__cut c = quern__blocks_cut(all, g->from, g->count, pass);
    quern__window *s = NULL;
    int64_t good = 0, place = 0;
    int status = QUERN_OK;
    for (int64_t r = 0; r < b->size && status >= 0; r++) {
        int64_t w = (first + r) / c.per;
        w = w < c.windows ? w : c.windows - 1;
        if (!s || w != s->number) {
            if (s)
                quern__window_return(all, s, s->n);
            s = quern__window_borrow(all, &c, w, err);
        }
        if (!s)
            return err && err->code ? err->code : QUERN_IO;
        quern__random_key key = c.within;
        key.k[0] ^= (uint32_t)quern__hash64((uint64_t)w + 1);
        place = first + r - w * c.per;
        int64_t from = all->shuffle ? (int64_t)quern__random_permute(key, (uint64_t)s->n, (uint64_t)place) : place;
        quern_error own = { 0 };
        const char *record = quern__window_record(all, s, from, &b->indices[good]);
        status = check_sum(p, record, b->indices[good], &own);
        status = status < 0 ? status : take(p, record, b, good, &own);
        if (status >= 0)
            good++;
        else
            status = quern__bad_record(b->bad, status, &own, err);
    }
    b->size = good;
    if (s)
        quern__window_return(all, s, place + 1);
    b->has_weights = p->q.what.weighted;
    return status;
}

static void prepared_free(quern_generator *g)
{
    prepared *p = g->self;
    prepared_close(g);
    pthread_mutex_destroy(&p->windows.lock);
    pthread_cond_destroy(&p->windows.changed);
    quern__qrec_free(&p->q);
    close(p->windows.fd);
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
    p->windows = (quern__blocks){ .q = &p->q, .path = p->path, .fd = fd, .direct = { .fd = -1 } };
    pthread_mutex_init(&p->windows.lock, NULL);
    pthread_cond_init(&p->windows.changed, NULL);
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
