/* The source of prepared records (.qrec). Records are random access; qrec_windows.c keeps two
 * windows of them in memory. This file verifies the checksum of each record and distributes its
 * elements to the arrays of a batch.
 *
 * A record has its arrays in order, each in its stored type, then the weight, then the checksum. A
 * run maps them to the arrays of a batch in one of two ways. A file with a schema maps columns by
 * name (`places`), and class indices by name (`maps`). A file without one maps whole arrays by name
 * or order (`order`). Identity maps are dropped, so that the usual case is one conversion per
 * array.
 *
 * Any reader thread calls prepared_read. Everything that it reads is constant during a run, except
 * the windows, which have their lock. */
#include "qrec_windows.h"
#include "source/column_map.h"
#include "source/generator_struct.h"
#include "tensor/array_axes.h"
#include "tensor/convert_dtype.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

typedef struct prepared {
    quern__qrec q;
    char *path;
    bool told;
    int order[2 * QUERN_MAX_ARRAYS]; /* by array of the batch: array of the record; -1: elements in
                                        order */
    size_t at[2 * QUERN_MAX_ARRAYS]; /* by array of the record: its byte offset */
    int *places[2]; /* inputs, targets: by position in the run the column of the file; NULL:
                       identity */
    int counts[2];  /* positions of inputs, of targets */
    int **maps; /* by target of the run: model class of each class of the file; NULL: identity */
    int n_maps;
    quern_schema *schema; /* of the run */
    quern__blocks windows;
} prepared;

/* ---- a run ---- */

/* Maps arrays of the record to arrays of the batch. A single array may fill several arrays in
 * order. */
static int prepared_match(prepared *p, const quern_batch_spec *spec, quern_error *err)
{
    const quern__description *d = &p->q.what;
    char have[96], want[96];
    for (int side = 0; side < 1 + (spec->n_targets > 0); side++) {
        int n = side ? spec->n_targets : spec->n_inputs, own = side ? d->n_y : d->n_x,
            first = side ? spec->n_inputs : 0;
        int64_t all = 0, per = own ? quern__per_record(&d->shapes[side ? d->n_x : 0]) : 0;
        for (int i = 0; i < n; i++)
            all += quern__per_record(&spec->shapes[first + i]);
        if (p->places[side]) {
            for (int i = 0; i < n; i++)
                p->order[first + i] = -1;
            if (p->counts[side] != all)
                return quern__fail(err, QUERN_SHAPE, p->path,
                                   "%d %s per record, the model expects %lld", p->counts[side],
                                   side ? "targets" : "inputs", (long long)all);
            continue;
        }
        for (int i = 0; i < n; i++) {
            int k = own == n ? i : -1;
            for (int j = 0; own == n && spec->names[first + i] && j < own; j++)
                k = !strcmp(d->names[(side ? d->n_x : 0) + j], spec->names[first + i]) ? j : k;
            k = k < 0 ? -1 : (side ? d->n_x : 0) + k;
            p->order[first + i] = k;
            if (spec->dtypes[first + i] == QUERN_STRING)
                return quern__fail(
                    err, QUERN_UNSUPPORTED, p->path,
                    "the model expects strings, prepared records contain numbers only");
            int status = k >= 0 && d->axes[k] == QUERN__AXES_OWN
                             ? quern__deal_axes(spec, first + i, p->path, &d->shapes[k], err)
                             : QUERN_OK;
            if (status < 0)
                return status;
            bool fits =
                own == 1 && per == all && d->axes[side ? d->n_x : 0]; /* elements in order */
            if (k >= 0)
                fits = quern__per_record(&d->shapes[k]) ==
                           quern__per_record(&spec->shapes[first + i]) ||
                       !d->axes[k];
            if (!fits)
                return quern__fail(
                    err, QUERN_SHAPE, p->path,
                    "%s of shape %s per record, the model expects %s for '%s'",
                    side ? "targets" : "inputs",
                    own ? quern_shape_text(&d->shapes[k < 0 ? (side ? d->n_x : 0) : k], have,
                                           sizeof have)
                        : "()",
                    quern_shape_text(&spec->shapes[first + i], want, sizeof want),
                    spec->names[first + i] ? spec->names[first + i] : "?");
            if (k >= 0 && d->axes[k] == QUERN__AXES_LOST &&
                !quern__axes_fit(&d->shapes[k], &spec->shapes[first + i]))
                quern__warn("%s: an earlier version prepared the file without shapes; the shape of "
                            "'%s', %s, is not checked",
                            p->path, spec->names[first + i] ? spec->names[first + i] : "?",
                            quern_shape_text(&spec->shapes[first + i], want, sizeof want));
        }
    }
    return QUERN_OK;
}

/* Frees the maps and the schema of a run. */
static void forget_names(prepared *p)
{
    for (int i = 0; i < p->n_maps; i++)
        quern__free(p->maps[i]);
    quern__free(p->maps);
    quern__free(p->places[0]);
    quern__free(p->places[1]);
    quern_schema_free(p->schema);
    p->maps = NULL;
    p->n_maps = 0;
    p->places[0] = p->places[1] = NULL;
    p->schema = NULL;
}

/* Sets the columns of inputs or targets for a run: by the model's schema, else by the names of
 * inputs and outputs. */
static int order_side(prepared *p, const quern_batch_spec *spec, bool target, quern_error *err)
{
    const quern_schema *own = p->q.schema;
    const quern_schema *model = spec->schema;
    int n = target ? own->n_targets : own->n_features, wanted = n, status;
    if (model)
        wanted = target ? model->n_targets : model->n_features;
    int *order = quern__alloc(((size_t)(n > wanted ? n : wanted) + 1) * sizeof *order);
    p->places[target] = order;
    const char **names = quern__alloc(((size_t)n + 1) * sizeof *names);
    if (order && names)
        for (int i = 0; i < n; i++) {
            order[i] = i;
            names[i] = quern__schema_at(own, target, i)->name;
        }
    if (!order || !names)
        status = quern__fail_memory(err, (size_t)n * sizeof *order);
    else
        status = model ? quern__schema_order(model, own, target, p->path, order, err)
                       : quern__deal_by_name(spec, target, names, n, order, err);
    quern__free(names);
    p->counts[target] = wanted;
    return status;
}

/* Maps the classes of the file's targets to those of the model. */
static int map_classes(prepared *p, const quern_batch_spec *spec, quern_error *err)
{
    const quern_schema *now = p->schema;
    if (!(p->maps = quern__zalloc((size_t)now->n_targets + 1, sizeof *p->maps)))
        return quern__fail_memory(err, (size_t)now->n_targets);
    for (int t = 0, status; t < now->n_targets; t++) {
        const quern__schema_column *own = quern__schema_at(p->q.schema, true, p->places[1][t]);
        status =
            quern__schema_class_map(quern__schema_at(now, true, t), own, p->path, &p->maps[t], err);
        p->n_maps = t + 1;
        if (status >= 0)
            status = quern__deal_classes(spec, quern__deal_output(spec, t), own->name,
                                         &quern__schema_at(now, true, t)->classes, p->path, err);
        if (status < 0)
            return status;
    }
    return QUERN_OK;
}

/* Removes an identity mapping, so that records are copied as they are. */
static void drop_identity(prepared *p, bool target)
{
    bool same = p->counts[target] == (target ? p->q.schema->n_targets : p->q.schema->n_features);
    for (int i = 0; p->places[target] && i < p->counts[target]; i++)
        same = same && p->places[target][i] == i && !(target && p->maps[i]);
    if (same) {
        quern__free(p->places[target]);
        p->places[target] = NULL;
    }
}

/* Maps columns by name. */
static int match_names(prepared *p, const quern_batch_spec *spec, quern_error *err)
{
    forget_names(p);
    if (!p->q.schema)
        return QUERN_OK;
    int status = order_side(p, spec, false, err);
    if (status >= 0 && spec->n_targets)
        status = order_side(p, spec, true, err);
    if (status < 0)
        return status;
    p->schema = spec->schema ? quern__schema_copy(spec->schema, err)
                             : quern__schema_pick(p->q.schema, p->places[0], p->places[1], err);
    if (!p->schema)
        return QUERN_NOMEM;
    for (int t = 0; t < p->schema->n_targets && !spec->schema && spec->n_targets; t++)
        p->schema->columns[p->schema->n_features + t].output = quern__deal_output(spec, t);
    status = spec->schema ? QUERN_OK : quern__deal_share(spec, p->schema, err);
    if (status >= 0 && spec->n_targets)
        status = map_classes(p, spec, err);
    for (int side = 0; side < 2; side++)
        drop_identity(p, side);
    return status;
}

/* The windows, and the buffers of O_DIRECT. */
static size_t prepared_bytes(const quern_generator *g, const quern_batch_spec *spec, bool shuffle)
{
    quern__blocks sized = { .q = &((const prepared *)g->self)->q };
    (void)spec, (void)shuffle;
    return QUERN__WINDOWS * quern__blocks_size(&sized) + QUERN__DIRECT_BYTES;
}

static int prepared_open(quern_generator *g, const quern_batch_spec *spec, bool shuffle,
                         uint64_t seed, quern_error *err)
{
    prepared *p = g->self;
    int status = match_names(p, spec, err);
    if (status >= 0)
        status = prepared_match(p, spec, err);
    if (status >= 0)
        status = quern__blocks_open(&p->windows, shuffle, seed, err);
    if (status < 0)
        return status;
    g->spec = spec;
    quern__cut c = quern__blocks_cut(&p->windows, g->from, g->count, 0);
    if (shuffle && !p->told && c.windows > 1)
        quern__note("%s: records are uniformly shuffled; a window of %lld blocks makes two records "
                    "share a batch again %.2f "
                    "times as often as a perfect shuffle",
                    p->path, (long long)p->windows.blocks,
                    1 + (double)(c.windows - 1) / (double)p->windows.blocks);
    p->told = true;
    return QUERN_OK;
}

static void prepared_close(quern_generator *g)
{
    quern__blocks_close(&((prepared *)g->self)->windows);
}

/* Verifies the checksum of a record. */
static int verify_checksum(const prepared *p, const char *record, int64_t number, quern_error *err)
{
    uint32_t sum;
    size_t n = (size_t)p->q.bytes - QUERN__QREC_SUM;
    memcpy(&sum, record + n, sizeof sum);
    if (quern__qrec_sum(record, n) == sum)
        return QUERN_OK;
    return quern__fail(err, QUERN_FORMAT, p->path,
                       "record %lld, byte %lld: the checksum does not match", (long long)number + 1,
                       (long long)(p->q.first + number * p->q.bytes));
}

/* Copies `per` elements by column mapping, from position `dealt` of the run on; classes are
 * mapped to those of the model. Returns the number of elements before the first that does not
 * fit. */
static int64_t copy_columns(const prepared *p, const quern_batch *b, int array, int64_t place,
                            int64_t per, int64_t dealt, const char *numbers)
{
    bool target = array >= b->spec->n_inputs;
    int have = p->q.what.dtypes[target ? p->q.what.n_x : 0], want = b->spec->dtypes[array];
    for (int64_t i = 0; i < per; i++) {
        int64_t at = dealt + i, k = p->places[target][at];
        const char *one = numbers + (size_t)k * quern_dtype_size(have);
        const int *map = target && at < p->n_maps ? p->maps[at] : NULL;
        double v = -1;
        if (map && quern__convert(one, have, 1, &v, QUERN_FLOAT64, 0) == 1 && v >= 0 &&
            v < quern__schema_at(p->q.schema, true, (int)k)->classes.n)
            v = map[(int)v];
        if (quern__convert(map ? (const char *)&v : one, map ? QUERN_FLOAT64 : have, 1,
                           b->arrays[array], want, place * per + i) < 1)
            return i;
    }
    return per;
}

/* Rejects a table value for an integer input if it may have been rounded: float32 is exact below
 * 2^24 only. */
static int check_exact(const prepared *p, const char *number, int64_t record, quern_error *err)
{
    float v;
    memcpy(&v, number, sizeof v);
    if (fabsf(v) < 1 << 24 || isnan(v))
        return QUERN_OK;
    quern__fail(
        err, QUERN_INVALID, p->path,
        "record %lld: %.0f may be rounded: a prepared table stores float32, exact below 2^24",
        (long long)record + 1, (double)v);
    quern__hint(err, "use the table itself, or prepare an array of int64 (x=ids.npy)");
    return QUERN_INVALID;
}

/* Converts a verified record to row `place` of the batch. */
static int copy_record(const prepared *p, const char *record, quern_batch *b, int64_t place,
                       quern_error *err)
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
        bool named = p->places[a >= spec->n_inputs];
        const char *numbers =
            record + p->at[k] + (named ? 0 : (size_t)from * quern_dtype_size(d->dtypes[k]));
        dealt += per;
        bool whole = a < spec->n_inputs && spec->dtypes[a] != QUERN_FLOAT32,
             table = d->dtypes[k] == QUERN_FLOAT32 && d->axes[k];
        if (whole && table)
            for (int64_t i = 0; i < per && status >= 0; i++)
                status = check_exact(
                    p, numbers + (named ? p->places[0][from + i] : i) * (int64_t)sizeof(float),
                    b->indices[place], err);
        if (status < 0)
            return status;
        int64_t good = named ? copy_columns(p, b, a, place, per, from, numbers)
                             : quern__convert(numbers, d->dtypes[k], per, b->arrays[a],
                                              spec->dtypes[a], place * per);
        if (good < per)
            status = quern__fail(
                err, QUERN_INVALID, p->path, "record %lld: %s", (long long)b->indices[place] + 1,
                quern__convert_why(numbers, d->dtypes[k],
                                   named ? p->places[a >= spec->n_inputs][from + good] : good,
                                   spec->dtypes[a], why));
    }
    if (d->weighted)
        memcpy(b->weights + place, record + p->q.bytes - QUERN__QREC_SUM - (int64_t)sizeof(float),
               sizeof(float));
    return status;
}

/* Reads a batch: borrows each window that it needs, and verifies and copies the records. */
static int prepared_read(quern_generator *g, int64_t pass, int64_t first, quern_batch *b,
                         quern_error *err)
{
    prepared *p = g->self;
    quern__blocks *all = &p->windows;
    quern__cut c = quern__blocks_cut(all, g->from, g->count, pass);
    quern__window *s = NULL;
    int64_t good = 0, place = 0;
    int status = QUERN_OK;
    for (int64_t r = 0; r < b->size && status >= 0; r++) {
        /* the window of the record; the last one includes the remainder */
        int64_t w = (first + r) / c.per;
        w = w < c.windows ? w : c.windows - 1;
        if (!s || w != s->number) {
            if (s)
                quern__window_return(all, s, s->n);
            s = quern__window_borrow(all, &c, w, err);
        }
        if (!s)
            return err && err->code ? err->code : QUERN_IO;
        /* the order of records in a window has a key of its own */
        quern__random_key key = c.within;
        key.k[0] ^= (uint32_t)quern__hash64((uint64_t)w + 1);
        place = first + r - w * c.per;
        int64_t from = all->shuffle
                           ? (int64_t)quern__random_permute(key, (uint64_t)s->n, (uint64_t)place)
                           : place;
        quern_error own = { 0 };
        const char *record = quern__window_record(all, s, from, &b->indices[good]);
        status = verify_checksum(p, record, b->indices[good], &own);
        if (status >= 0)
            status = copy_record(p, record, b, good, &own);
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
    forget_names(p);
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
    if (p->schema)
        return quern_schema_class(p->schema, target, i);
    return target >= 0 && target < QUERN_MAX_ARRAYS && i >= 0 && i < p->q.n_classes[target]
               ? p->q.classes[target][i]
               : NULL;
}

static const quern_schema *prepared_schema(const quern_generator *g)
{
    return ((const prepared *)g->self)->schema;
}

static int prepared_shapes(const quern_generator *g, quern__description *out, quern_error *err)
{
    (void)err;
    *out = ((const prepared *)g->self)->q.what;
    return QUERN_OK;
}

quern_generator *quern__qrec_open(const char *path, quern_error *err)
{
    static const quern__source_ops kind = { .open = prepared_open,
                                            .read = prepared_read,
                                            .shapes = prepared_shapes,
                                            .close = prepared_close,
                                            .free = prepared_free,
                                            .bytes = prepared_bytes };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    prepared *p = fd >= 0 ? quern__zalloc(1, sizeof *p) : NULL;
    if (!p) {
        if (fd >= 0)
            close(fd);
        quern__fail(err, fd < 0 ? QUERN_IO : QUERN_NOMEM, path, "%s",
                    fd < 0 ? strerror(errno) : "out of memory");
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
        at +=
            (size_t)quern__per_record(&p->q.what.shapes[i]) * quern_dtype_size(p->q.what.dtypes[i]);
    }
    g->finite = true;
    g->count = p->q.count;
    g->class_name = class_name;
    g->schema = prepared_schema;
    g->features = (int)quern__per_record(&p->q.what.shapes[0]);
    g->where = p->path;
    g->bad.can = 1u << QUERN_BAD_SKIP;
    return g;
}
