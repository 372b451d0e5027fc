/* Shuffles records uniformly with two passes and bounded memory (Rao, "Generation of random
 * permutation of given number of elements using random sampling numbers", 1961; Sanders, "Random
 * permutations on distributed, external and hierarchical memory", 1998).
 * Pass 1 appends each record to a pile that is drawn for it. Pass 2 shuffles each pile in memory
 * (Fisher-Yates) and writes the piles in sequence: the result is a uniform permutation. A pile
 * that exceeds the memory is divided in the same way. */
#include "qrec.h"
#include "source/generator_struct.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    most_piles = 512,
    least_memory = 4 << 20,
    usual_memory = 64 << 20,
    batch_bytes = 1 << 20,
    most_batch = 4096
};
int quern__qrec_piles = 64;

/* A buffered output file: a pile (records without checksums) or the result (with checksums). */
typedef struct sink {
    int fd;
    char *buffer;
    size_t room, held;
    int64_t written, records;
} sink;

typedef struct preparing {
    quern_generator *from;
    const quern_prepare_opts *o;
    const char *path;
    quern__qrec q;
    quern_batch_spec spec;
    size_t bytes, memory; /* bytes: of a record without its checksum */
    quern__random_key key;
    uint64_t splits; /* divisions and shuffles so far; the counter of the draws */
    sink out;
} preparing;

static int write_error(const preparing *p, quern_error *err)
{
    return quern__fail(err, QUERN_IO, p->path, "cannot be written: %s",
                       strerror(errno ? errno : EIO));
}

/* Writes the buffer at the end of the file. */
static int sink_flush(const preparing *p, sink *s, quern_error *err)
{
    if (!quern__write_at(s->fd, s->buffer, s->held, s->written))
        return write_error(p, err);
    s->written += (int64_t)s->held;
    s->held = 0;
    return QUERN_OK;
}

/* Appends a record; `summed`: with its checksum, which also extends the fingerprint of the file. */
static int sink_add(preparing *p, sink *s, const char *record, bool summed, quern_error *err)
{
    size_t bytes = p->bytes + (summed ? QUERN__QREC_SUM : 0);
    int status = s->held + bytes > s->room ? sink_flush(p, s, err) : QUERN_OK;
    if (status < 0)
        return status;
    memcpy(s->buffer + s->held, record, p->bytes);
    if (summed) {
        uint32_t sum = quern__qrec_sum(record, p->bytes);
        memcpy(s->buffer + s->held + p->bytes, &sum, sizeof sum);
        p->q.fingerprint = quern__qrec_print(p->q.fingerprint, sum);
    }
    s->held += bytes;
    s->records++;
    return QUERN_OK;
}

/* ---- piles ---- */

/* Closes and frees n piles; their files are unlinked already. */
static void free_piles(sink *piles, int n)
{
    for (int i = 0; i < n; i++) {
        if (piles[i].fd >= 0)
            close(piles[i].fd);
        quern__free(piles[i].buffer);
    }
    quern__free(piles);
}

/* Creates n piles. The files are unlinked at once, so nothing remains after a crash. */
static sink *make_piles(const preparing *p, int n, quern_error *err)
{
    sink *piles = quern__zalloc((size_t)n, sizeof *piles);
    char name[4096];
    size_t room = p->memory / 4 / (size_t)n;
    if (piles)
        for (int i = 0; i < n; i++)
            piles[i].fd = -1;
    if ((size_t)snprintf(name, sizeof name, "%s.pile-XXXXXX", p->path) >= sizeof name) {
        quern__free(piles);
        quern__fail(err, QUERN_INVALID, p->path, "the name is too long");
        return NULL;
    }
    if (piles)
        for (int i = 0; i < n; i++) {
            snprintf(name, sizeof name, "%s.pile-XXXXXX", p->path);
            piles[i].room = room > p->bytes ? room : p->bytes;
            piles[i].buffer = quern__alloc(piles[i].room);
            piles[i].fd = piles[i].buffer ? mkstemp(name) : -1;
            if (piles[i].fd >= 0) {
                unlink(name);
                continue;
            }
            int status = piles[i].buffer ? write_error(p, err) : quern__fail_memory(err, room);
            (void)status;
            free_piles(piles, n);
            return NULL;
        }
    if (!piles)
        quern__fail_memory(err, (size_t)n * sizeof *piles);
    return piles;
}

static bool stopped(const preparing *p) { return p->o->interrupt && *p->o->interrupt; }

static int was_stopped(const preparing *p, quern_error *err)
{
    return quern__fail(err, QUERN_CANCELED, p->path, "interrupted; no file was written");
}

static int read_pile(const preparing *p, const sink *pile, int64_t from, char *to, size_t bytes,
                     quern_error *err)
{
    if (quern__read_at(pile->fd, to, bytes, from) == bytes)
        return QUERN_OK;
    return quern__fail(err, QUERN_IO, p->path, "a temporary file cannot be read: %s",
                       errno ? strerror(errno) : "it became shorter");
}

static int put_piles(preparing *p, sink *piles, int n, quern_error *err);

/* Divides a pile that exceeds the memory into several. */
static int divide_pile(preparing *p, const sink *pile, quern_error *err)
{
    int n = (int)(pile->written / (int64_t)(p->memory / 4)) + 2;
    n = n < most_piles ? n : most_piles;
    sink *piles = make_piles(p, n, err);
    char *record = quern__alloc(p->bytes);
    int status = piles && record ? QUERN_OK : QUERN_NOMEM;
    uint64_t split = ++p->splits;
    for (int64_t r = 0; status >= 0 && r < pile->records; r++) {
        int to = (int)(quern__random_uniform(p->key, split, (uint64_t)r) * n);
        status = read_pile(p, pile, r * (int64_t)p->bytes, record, p->bytes, err);
        if (status >= 0)
            status = sink_add(p, &piles[to], record, false, err);
    }
    if (status >= 0)
        status = put_piles(p, piles, n, err);
    if (piles)
        free_piles(piles, n);
    quern__free(record);
    return status;
}

/* Shuffles a pile in memory and appends it to the result. */
static int put_pile(preparing *p, const sink *pile, quern_error *err)
{
    if (pile->written > (int64_t)(p->memory / 2))
        return divide_pile(p, pile, err);
    size_t n = (size_t)pile->records;
    char *all = quern__alloc(n * p->bytes + 1);
    uint32_t *order = quern__alloc(n * sizeof *order + 1);
    int status = all && order ? read_pile(p, pile, 0, all, n * p->bytes, err)
                              : quern__fail_memory(err, n * p->bytes);
    uint64_t split = ++p->splits;
    for (size_t i = 0; status >= 0 && i < n; i++) { /* Fisher-Yates, inside-out */
        size_t k = (size_t)(quern__random_uniform(p->key, split, i) * (double)(i + 1));
        order[i] = order[k];
        order[k] = (uint32_t)i;
    }
    for (size_t i = 0; status >= 0 && i < n; i++) {
        const char *record = all + order[i] * p->bytes;
        status = sink_add(p, &p->out, record, true, err);
    }
    quern__free(all);
    quern__free(order);
    return status < 0 || !stopped(p) ? status : was_stopped(p, err);
}

static int put_piles(preparing *p, sink *piles, int n, quern_error *err)
{
    int status = QUERN_OK;
    for (int i = 0; i < n && status >= 0; i++) {
        status = sink_flush(p, &piles[i], err);
        quern__free(piles[i].buffer); /* the buffer's memory is reused for the pile */
        piles[i].buffer = NULL;
    }
    for (int i = 0; i < n && status >= 0; i++)
        status = put_pile(p, &piles[i], err);
    return status;
}

/* ---- reading ---- */

/* The stored type: small integers keep their type; large ones become int32 or, for inputs,
 * int64; all others float32. */
static int stored_dtype(int dtype, bool input)
{
    bool small = dtype == QUERN_UINT8 || dtype == QUERN_INT8 || dtype == QUERN_UINT16 ||
                 dtype == QUERN_INT16 || dtype == QUERN_BOOL;
    bool large = dtype == QUERN_INT64 || dtype == QUERN_UINT32 || dtype == QUERN_UINT64;
    if (small)
        return dtype;
    if (large && input)
        return QUERN_INT64;
    return large || dtype == QUERN_INT32 ? QUERN_INT32 : QUERN_FLOAT32;
}

/* The type of a stored type in a batch: small integers become float32. */
static int batch_dtype(int kept)
{
    return kept == QUERN_INT32 || kept == QUERN_INT64 ? kept : QUERN_FLOAT32;
}

/* Stores a small integer and advances *to. */
static void pack_number(char **to, int dtype, double v)
{
    size_t n = quern_dtype_size(dtype);
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
    } one;
    if (dtype == QUERN_UINT8 || dtype == QUERN_BOOL)
        one.u8 = (uint8_t)v;
    else if (dtype == QUERN_INT8)
        one.i8 = (int8_t)v;
    else if (dtype == QUERN_UINT16)
        one.u16 = (uint16_t)v;
    else
        one.i16 = (int16_t)v;
    memcpy(*to, &one, n);
    *to += n;
}

/* Writes record r of a batch in the stored types: inputs, targets, weight. */
static void pack_record(const preparing *p, const quern_batch *b, int64_t r, char *to)
{
    const quern__description *d = &p->q.what;
    for (int i = 0; i < d->n_x + d->n_y; i++) {
        int64_t per = quern__per_record(&d->shapes[i]);
        size_t bytes = (size_t)per * quern_dtype_size(batch_dtype(d->dtypes[i]));
        const char *from = (const char *)b->arrays[i] + (size_t)r * bytes;
        if (d->dtypes[i] == batch_dtype(d->dtypes[i])) {
            memcpy(to, from, bytes);
            to += bytes;
        } else
            for (int64_t k = 0; k < per; k++)
                pack_number(&to, d->dtypes[i], ((const float *)b->arrays[i])[r * per + k]);
    }
    if (d->weighted)
        memcpy(to, b->has_weights ? &b->weights[r] : &(float){ 1 }, sizeof(float));
}

/* Reads the next batch of the source, from record `first` on. QUERN_END after the last one. */
static int next_batch(preparing *p, int64_t first, quern_batch *b, quern_error *err)
{
    b->size = p->spec.batch_size;
    b->first = first;
    if (!p->from->ops->read)
        return p->from->ops->next(p->from, b, err);
    if (first >= p->from->count)
        return QUERN_END;
    b->size = p->from->count - first < b->size ? p->from->count - first : b->size;
    return p->from->ops->read(p->from, 0, first, b, err);
}

/* Pass 1: reads all records and appends each to its pile. */
static int distribute(preparing *p, quern_batch *b, sink *piles, int n, quern_error *err)
{
    char *record = quern__alloc(p->bytes);
    int status = record ? QUERN_OK : quern__fail_memory(err, p->bytes);
    while (status == QUERN_OK) {
        status = next_batch(p, p->q.count, b, err);
        if (status != QUERN_OK)
            break;
        for (int64_t r = 0; r < b->size && status >= 0; r++, p->q.count++) {
            int to = (int)(quern__random_uniform(p->key, 0, (uint64_t)p->q.count) * n);
            pack_record(p, b, r, record);
            status = sink_add(p, &piles[to], record, false, err);
        }
        if (status >= 0 && stopped(p))
            status = was_stopped(p, err);
    }
    quern__free(record);
    return status < 0 ? status : QUERN_OK;
}

static int make_batch(preparing *p, quern_batch *b, quern_error *err)
{
    size_t per = (size_t)p->spec.batch_size;
    *b = (quern_batch){ .spec = &p->spec };
    bool ok = (b->weights = quern__zalloc(per, sizeof *b->weights)) &&
              (b->indices = quern__zalloc(per, sizeof *b->indices));
    for (int i = 0; ok && i < p->spec.n_inputs + p->spec.n_targets; i++)
        ok = (b->arrays[i] = quern__zalloc(per * (size_t)quern__per_record(&p->spec.shapes[i]),
                                           quern_dtype_size(p->spec.dtypes[i]))) != NULL;
    for (int i = 0; ok && i < p->spec.n_targets; i++)
        ok = (b->target_weights[i] = quern__zalloc(per, sizeof(float))) != NULL;
    return ok ? QUERN_OK : quern__fail_memory(err, per * p->bytes);
}

static void free_batch(quern_batch *b)
{
    for (int i = 0; i < 2 * QUERN_MAX_ARRAYS; i++)
        quern__free(b->arrays[i]);
    for (int i = 0; i < QUERN_MAX_ARRAYS; i++)
        quern__free(b->target_weights[i]);
    quern__free(b->weights);
    quern__free(b->indices);
}

static int copy_classes(preparing *p, quern_error *err)
{
    const quern_schema *schema = quern_generator_schema(p->from);
    if (schema && !(p->q.schema = quern__schema_copy(schema, err)))
        return QUERN_NOMEM;
    for (int t = 0; t < p->q.what.n_y; t++) {
        int n = 0;
        while (quern_generator_class(p->from, t, n))
            n++;
        p->q.classes[t] = n ? quern__zalloc((size_t)n, sizeof *p->q.classes[t]) : NULL;
        for (int i = 0; i < n; i++)
            if (!p->q.classes[t] || !(p->q.classes[t][p->q.n_classes[t]++] =
                                          quern__strdup(quern_generator_class(p->from, t, i))))
                return quern__fail_memory(err, (size_t)n * sizeof *p->q.classes[t]);
    }
    return QUERN_OK;
}

/* ---- preparing ---- */

/* Sets the layout of a record and the spec for the generator. */
static int set_layout(preparing *p, quern_error *err)
{
    quern_generator *g = p->from;
    quern__description *d = &p->q.what;
    if (!g->ops->describe)
        return quern__fail(err, QUERN_UNSUPPORTED, g->where ? g->where : "generator",
                           "has an unknown record layout and cannot be prepared");
    int status = g->ops->describe(g, d, err);
    p->spec = (quern_batch_spec){ .n_inputs = d->n_x, .n_targets = d->n_y };
    for (int i = 0; status >= 0 && i < d->n_x + d->n_y; i++) {
        d->dtypes[i] = stored_dtype(d->dtypes[i], i < d->n_x);
        p->spec.shapes[i] = d->shapes[i];
        p->spec.dtypes[i] = batch_dtype(d->dtypes[i]);
        p->spec.names[i] = d->names[i];
    }
    for (int i = 0; i < d->n_y; i++)
        p->spec.weights[i] = (quern_shape){ .rank = 1, .dims = { -1 } };
    p->q.bytes = status < 0 ? 0 : quern__qrec_record_bytes(d);
    if (status >= 0 && !p->q.bytes)
        return quern__fail(err, QUERN_UNSUPPORTED, p->path, "a record exceeds 1 GiB");
    p->bytes = (size_t)p->q.bytes - QUERN__QREC_SUM;
    if (status >= 0 && p->memory < least_memory + 8 * p->bytes)
        return quern__fail(err, QUERN_BUDGET, "memory",
                           "%zu bytes are not enough; preparing needs %zu", p->memory,
                           least_memory + 8 * p->bytes);
    p->spec.batch_size = (int64_t)(batch_bytes / (4 * p->bytes + 1));
    p->spec.batch_size = p->spec.batch_size < 1            ? 1
                         : p->spec.batch_size > most_batch ? most_batch
                                                           : p->spec.batch_size;
    return status;
}

/* Runs both passes. The class names must be known before the header's size. */
static int shuffle_all(preparing *p, sink *piles, int n, quern_error *err)
{
    quern_batch b = { 0 };
    int status = make_batch(p, &b, err);
    if (status >= 0)
        status = p->from->ops->open(p->from, &p->spec, false, 0, err);
    bool opened = status >= 0;
    if (opened && !p->from->ops->read && p->from->ops->reset)
        status = p->from->ops->reset(p->from, 0, err);
    if (status >= 0)
        status = distribute(p, &b, piles, n, err);
    if (status >= 0)
        status = copy_classes(p, err);
    if (opened && p->from->ops->close)
        p->from->ops->close(p->from);
    free_batch(&b);
    if (status < 0)
        return status;
    p->q.first = quern__qrec_head_room(&p->q);
    p->out.written = p->q.first;
    return p->q.first < 0 ? quern__fail_memory(err, 1) : put_piles(p, piles, n, err);
}

/* Writes the file atomically: to a temporary name, then renamed. */
static int write_all(preparing *p, const char *temporary, quern_error *err)
{
    /* piles of a third of the memory on average; a random access source has a known size */
    int64_t known = p->from->count * (int64_t)p->bytes;
    int n = p->from->count ? (int)(known / (int64_t)(p->memory / 3)) + 1 : quern__qrec_piles;
    n = n < most_piles ? n : most_piles;
    p->out =
        (sink){ .fd = quern__file_create(temporary), .room = p->memory / 16 + (size_t)p->q.bytes };
    p->out.buffer = quern__alloc(p->out.room);
    sink *piles = p->out.fd < 0 || !p->out.buffer ? NULL : make_piles(p, n, err);
    int status = QUERN_IO;
    if (p->out.fd < 0)
        status = write_error(p, err);
    else if (!p->out.buffer)
        status = quern__fail_memory(err, p->out.room);
    else if (piles)
        status = shuffle_all(p, piles, n, err);
    if (status >= 0)
        status = sink_flush(p, &p->out, err);
    if (status >= 0)
        status = quern__qrec_head_write(p->out.fd, p->path, &p->q, err);
    if (piles)
        free_piles(piles, n);
    quern__free(p->out.buffer);
    if (p->out.fd >= 0 && close(p->out.fd) && status >= 0)
        status = write_error(p, err);
    if (status >= 0)
        return quern__file_replace(temporary, p->path, err);
    unlink(temporary);
    return status;
}

int64_t quern_prepare(quern_generator *data, const quern_prepare_opts *opts, const char *path,
                      quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "data", data, "path", path);
    enum { opts_0_1 = 32 };
    quern_prepare_opts o;
    char temporary[4096];
    if (data->position.going)
        return quern__fail(err, QUERN_INVALID, data->where ? data->where : "generator",
                           "is in use by a run");
    int status = QUERN__OPTIONS(o, opts_0_1, opts, err);
    if (status < 0)
        return status;
    preparing p = { .from = data, .o = &o, .path = path };
    p.memory = p.o->memory ? p.o->memory : usual_memory;
    p.q.seed = p.o->seed;
    p.key = quern__random_key_of(p.o->seed, QUERN__RANDOM_PREPARE, 0);
    status = quern__file_beside(path, "", temporary, err);
    if (status >= 0)
        status = set_layout(&p, err);
    if (status >= 0)
        status = write_all(&p, temporary, err);
    quern__qrec_free(&p.q);
    return status < 0 ? quern__leave_file(err, path, status) : p.q.count;
}
