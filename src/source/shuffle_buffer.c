/* Makes batches of a record stream. With shuffling, records pass through a buffer of 4 MiB. Each
 * output record is drawn from the full buffer, and the last record of the buffer replaces the drawn
 * one. The draw is counter-based: key (seed, epoch), counter = number of records drawn in the
 * epoch. Therefore the same seed gives the same order. A stream that supports random starts
 * (`order`) also permutes its file blocks.
 *
 * Without shuffling the buffer is a queue that read_many fills.
 *
 * Layout: x has capacity + 1 rows of `slots` floats, y the same number of rows of doubles. The
 * additional row keeps the last good record, which substitutes bad ones. Strings are in a pool; a
 * row has their handles. A record of the stream has all inputs in order, then all targets, and
 * batch_put_target converts targets to the types of the batch.
 *
 * With random draws and read_many the buffer is refilled when a quarter of it is free, so that
 * read_many gets long runs. The functions run on the reader thread that advances the source. */
#include "column_map.h"
#include "generator_struct.h"
#include "string_pool.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { window_bytes = 4 << 20, window_most = 1 << 16 };

typedef struct streaming {
    quern__stream s;
    bool shuffle, ended, told;
    uint64_t seed;
    quern__random_key key;
    int64_t capacity, chunk; /* records of the buffer; free rows that trigger a refill */
    int64_t held, taken,
        head; /* records in the buffer; drawn in this epoch; index of the first (not shuffled) */
    int64_t per[2 * QUERN_MAX_ARRAYS]; /* elements of a record in each array of the batch */
    int64_t slots;                     /* 4-byte units of the inputs of a record */
    float *x; /* (capacity + 1, slots); elements have the types of the inputs */
    double *y;
    bool many;       /* read_many is used */
    quern__bad *bad; /* list of the current batch */
    bool has_good;   /* row `capacity` holds the last good record */
    int64_t owed;    /* copies of it that substitute bad records and are not yet in the buffer */
    int n_strings;   /* of a record */
    quern__pooled *strings; /* (capacity, n_strings) */
    quern__pool *pool;      /* bytes of the strings; NULL: no strings */
    char *string;           /* buffer of one string */
} streaming;

/* Doubles of a record: targets and the weight. */
static int64_t doubles(const streaming *w) { return w->s.y_count + w->s.weighted; }

/* `reset` of the source: an empty buffer, the key of the epoch, and the stream at its start. */
static int stream_reset(quern_generator *g, int64_t epoch, quern_error *err)
{
    streaming *w = g->self;
    if (w->pool)
        quern__pool_reset(w->pool);
    w->held = w->taken = w->head = w->owed = 0;
    w->ended = w->has_good = false;
    w->key = quern__random_key_of(w->seed, QUERN__RANDOM_SHUFFLE_WINDOW, (uint64_t)epoch);
    if (w->s.order)
        w->s.order(w->s.self, w->shuffle ? &w->key : NULL, epoch);
    return w->s.rewind(w->s.self, err);
}

/* Matches the stream to the spec and checks the sizes of a record. */
static int stream_match(streaming *w, const quern_batch_spec *spec, quern_error *err)
{
    char want[96];
    int64_t all[2] = { 0, 0 };
    for (int i = 0; i < spec->n_inputs + spec->n_targets; i++) {
        w->per[i] = 1;
        for (int k = 1; k < spec->shapes[i].rank; k++)
            w->per[i] *= spec->shapes[i].dims[k];
        all[i >= spec->n_inputs] += w->per[i];
    }
    int status =
        w->s.match ? w->s.match(w->s.self, spec, &w->s.x_count, &w->s.y_count, err) : QUERN_OK;
    for (int i = 0; i < 1 + (spec->n_targets > 0) && status >= 0; i++) {
        int64_t count = i ? w->s.y_count : w->s.x_count,
                arrays = i ? spec->n_targets : spec->n_inputs;
        quern_shape_text(&spec->shapes[i ? spec->n_inputs : 0], want, sizeof want);
        if (arrays > 1)
            snprintf(want, sizeof want, "%lld in %lld", (long long)all[i], (long long)arrays);
        if (count != all[i])
            status = quern__fail(err, QUERN_SHAPE, w->s.where,
                                 "%lld %s per record, the model expects %s", (long long)count,
                                 i ? "targets" : "inputs", want);
        if (status < 0 && w->s.schema && spec->n_targets && !w->s.y_count)
            quern__hint(err, "name the predicted columns with --target");
        else if (status < 0 && w->s.schema && !i)
            quern__hint(err, "name the columns of the inputs with --features");
        else if (status < 0 && i && arrays == 1)
            quern__deal_hint(spec, 0, count, err);
    }
    return status;
}

/* Counts slots and strings of a record. Records with strings are read one at a time. */
static void count_slots(streaming *w, const quern_batch_spec *spec)
{
    w->n_strings = 0;
    w->slots = 0;
    for (int i = 0; i < spec->n_inputs; i++)
        w->slots += quern__slots(spec, i);
    for (int i = 0; i < spec->n_inputs; i++)
        w->n_strings += spec->dtypes[i] == QUERN_STRING ? (int)w->per[i] : 0;
    w->many = w->s.read_many && !w->n_strings;
}

/* Frees the memory for strings. */
static void free_pool(streaming *w)
{
    quern__pool_free(w->pool);
    quern__free(w->strings);
    quern__free(w->string);
    w->pool = NULL;
    w->strings = NULL;
    w->string = NULL;
}

/* Allocates the memory for strings: 4 MiB, and one more record of the largest strings. */
static int make_pool(streaming *w, quern_error *err)
{
    size_t bytes = window_bytes + (size_t)w->n_strings * QUERN_MOST_STRING;
    free_pool(w);
    w->pool = quern__pool_new(bytes);
    w->strings = quern__zalloc((size_t)w->capacity, (size_t)w->n_strings * sizeof *w->strings);
    w->string = quern__alloc(QUERN_MOST_STRING);
    return w->pool && w->strings && w->string ? QUERN_OK : quern__fail_memory(err, bytes);
}

/* Upper bound of the bytes that stream_open and the stream allocate. */
static size_t stream_bytes(const quern_generator *g, const quern_batch_spec *spec, bool shuffle)
{
    const streaming *w = g->self;
    size_t strings = 0, record = sizeof(double);
    for (int i = 0; i < spec->n_inputs + spec->n_targets; i++) {
        size_t per = (size_t)quern__per_record(&spec->shapes[i]);
        bool text = spec->dtypes[i] == QUERN_STRING;
        strings += text ? per : 0;
        record += i < spec->n_inputs ? (size_t)quern__slots(spec, i) * sizeof(float)
                                     : per * sizeof(double);
    }
    size_t window = record > window_bytes ? record : window_bytes,
           most = shuffle || !w->s.read_many ? window_most : window_most / 16;
    window = most * record < window ? most * record : window;
    return (shuffle || w->s.read_many ? window : record) + record + w->s.bytes +
           (strings ? window_bytes + strings * QUERN_MOST_STRING +
                          window_most * strings * sizeof(quern__pooled)
                    : 0);
}

/* Matches the stream, and sizes and allocates the buffer. */
static int stream_open(quern_generator *g, const quern_batch_spec *spec, bool shuffle,
                       uint64_t seed, quern_error *err)
{
    streaming *w = g->self;
    int status = stream_match(w, spec, err);
    if (status < 0)
        return status;
    count_slots(w, spec);
    size_t record = (size_t)w->slots * sizeof(float) + (size_t)doubles(w) * sizeof(double);
    /* records of the buffer, and free rows that trigger a refill */
    int64_t most = shuffle ? window_most : w->many ? window_most / 16 : 1;
    w->capacity = (int64_t)(window_bytes / (record ? record : 1));
    w->capacity = w->capacity < 1 ? 1 : w->capacity > most ? most : w->capacity;
    w->chunk = !shuffle ? w->capacity : w->many ? (w->capacity + 3) / 4 : 1;
    quern__free(w->x);
    quern__free(w->y);
    w->x = quern__zalloc((size_t)w->capacity + 1, (size_t)w->slots * sizeof *w->x);
    w->y = quern__zalloc((size_t)w->capacity + 1, (size_t)doubles(w) * sizeof *w->y + 1);
    if (!w->x || !w->y)
        return quern__fail_memory(err, (size_t)w->capacity * record);
    if (w->n_strings && g->bad.policy == QUERN_BAD_SUBSTITUTE)
        return quern__fail(err, QUERN_UNSUPPORTED, "bad_records",
                           "'substitute' applies to numbers; input '%s' is text", spec->names[0]);
    if (w->n_strings)
        status = make_pool(w, err);
    if (status < 0)
        return status;
    w->shuffle = shuffle;
    w->seed = seed;
    g->spec = spec;
    return stream_reset(g, 0, err);
}

void quern__log_dispersion(const char *where, const char *what, double places, double all,
                           int64_t batch, const char *advice)
{
    static const char text[] = "%s: the shuffle draws %s from %.0f place%s of the data; for data "
                               "sorted by class, the index of "
                               "dispersion is %.2f (1 is a perfect shuffle)%s%s";
    places = places < 1 ? 1 : all > 0 && places > all ? all : places;
    double dispersion = 1 + (double)(batch - 1) * (1 / places - (all > 0 ? 1 / all : 0));
    bool weak = dispersion > 1.1;
    (weak ? quern__warn : quern__note)(text, where, what, places, places < 1.5 ? "" : "s",
                                       dispersion, weak ? ": " : "", weak ? advice : "");
}

/* Logs the quality of the shuffle once, as soon as the buffer is known to hold only a part of
 * the data. A buffer that is refilled by quarters also holds the rest of earlier
 * refills: its records come from 7/4 times the places that fill it. */
static void log_dispersion(streaming *w, int64_t batch)
{
    if (!w->shuffle || w->ended || w->told)
        return;
    w->told = true;
    int64_t all = 0, filled = w->s.places ? w->s.places(w->s.self, &all) : 1;
    double places = (double)filled * (filled > 1 ? 1.75 : 1);
    quern__log_dispersion(w->s.where, "records", places, (double)all, batch,
                          "'quern prepare' shuffles all records");
}

/* Copies a record between rows of the buffer, to or from the row of the last good one. */
static void copy_record(streaming *w, int64_t to, int64_t from)
{
    memcpy(w->x + to * w->slots, w->x + from * w->slots, (size_t)w->slots * sizeof *w->x);
    memcpy(w->y + to * doubles(w), w->y + from * doubles(w), (size_t)doubles(w) * sizeof *w->y);
}

/* Handles a failed read: applies the policy for bad records, or returns the error. */
static int stream_failed(streaming *w, int status, const quern_error *own, quern_error *err)
{
    bool passed = w->s.passed && w->s.passed(w->s.self);
    status = quern__bad_record(passed ? w->bad : NULL, status, own, err);
    if (status < 0 && w->bad && !passed)
        quern__hint(err, "repair the data: reading cannot continue after this error");
    if (status >= 0)
        w->owed += w->bad->policy == QUERN_BAD_SUBSTITUTE;
    return status;
}

/* Reads up to `most` records into the buffer. Returns their number, 0 at the end, or a negative
 * status. */
static int64_t read_some(streaming *w, int64_t most, quern_error *err)
{
    float *x = w->x + w->held * w->slots;
    double *y = w->y + w->held * doubles(w);
    if (w->many)
        return w->s.read_many(w->s.self, x, y, most, err);
    int status = w->s.read(w->s.self, x, y, err);
    return status < 0 ? status : status == QUERN_OK;
}

/* Fills the buffer, or reads until the stream ends. Substitutes owed copies of the last good
 * record first. */
static int buffer_fill(streaming *w, quern_error *err)
{
    if (w->ended || (w->held && w->capacity - w->held < w->chunk))
        return QUERN_OK;
    w->head = w->held ? w->head : 0;
    while (!w->ended && w->held < w->capacity &&
           (!w->pool || quern__pool_has(w->pool, w->n_strings, QUERN_MOST_STRING))) {
        /* substitute a bad record by the last good one */
        if (w->owed && w->has_good) {
            copy_record(w, w->held++, w->capacity);
            w->owed--;
            continue;
        }
        quern_error own = { 0 };
        int64_t n = read_some(w, w->capacity - w->held, &own);
        if (n < 0) {
            int status = stream_failed(w, (int)n, &own, err);
            if (status < 0)
                return status;
            continue;
        }
        w->ended = n == 0;
        const quern_string *s = w->n_strings && !w->ended ? w->s.strings(w->s.self) : NULL;
        if (s)
            for (int i = 0; i < w->n_strings; i++)
                w->strings[w->held * w->n_strings + i] =
                    quern__pool_put(w->pool, s[i].data, (size_t)s[i].size);
        w->held += n;
        w->has_good = w->has_good || n > 0;
        if (n > 0)
            copy_record(w, w->capacity, w->held - 1);
    }
    return QUERN_OK;
}

/* Stores one target element in the type of the spec. */
static int batch_put_target(const streaming *w, const quern_batch_spec *spec, const quern_batch *b,
                            int array, int64_t at, double v, quern_error *err)
{
    if (spec->dtypes[array] != QUERN_INT32)
        ((float *)b->arrays[array])[at] = (float)v;
    else if (v == floor(v) && fabs(v) <= INT32_MAX)
        ((int32_t *)b->arrays[array])[at] = (int32_t)v;
    else
        return quern__fail(err, QUERN_INVALID, w->s.where,
                           "record %lld of the epoch: label %g is not an integer",
                           (long long)w->taken + 1, v);
    return QUERN_OK;
}

/* Moves one record from the buffer to row `at` of the batch. The last record of the buffer
 * replaces it. */
static int buffer_take(streaming *w, const quern_batch_spec *spec, quern_batch *b, int64_t at,
                       quern_error *err)
{
    int64_t nx = w->slots, ny = w->s.y_count, all = doubles(w), k;
    /* draw a random record, or take the next one */
    k = w->shuffle
            ? (int64_t)(quern__random_uniform(w->key, 0, (uint64_t)w->taken) * (double)w->held)
            : w->head++;
    const float *x = w->x + k * nx;
    const double *y = w->y + k * all;
    quern__pooled *s = w->n_strings ? w->strings + k * w->n_strings : NULL;
    /* distribute its elements to the arrays of the batch */
    for (int a = 0; a < spec->n_inputs + spec->n_targets; a++) {
        int64_t per = w->per[a];
        int status = QUERN_OK;
        if (spec->dtypes[a] == QUERN_STRING)
            for (int64_t i = 0; i < per && status >= 0; i++, s++) {
                quern__pool_take(w->pool, *s, w->string);
                status = quern_batch_put_string(b, a, at * per + i, w->string, s->size, err);
            }
        else if (a < spec->n_inputs)
            memcpy((char *)b->arrays[a] + (size_t)(at * per) * quern_dtype_size(spec->dtypes[a]), x,
                   (size_t)per * quern_dtype_size(spec->dtypes[a]));
        else
            for (int64_t i = 0; i < per && status >= 0; i++)
                status = batch_put_target(w, spec, b, a, at * per + i, y[i], err);
        if (status < 0)
            return status;
        x += a < spec->n_inputs ? quern__slots(spec, a) : 0;
        y += a < spec->n_inputs ? 0 : per;
    }
    if (w->s.weighted)
        b->weights[at] = (float)w->y[k * all + ny];
    w->held--;
    w->taken++;
    if (!w->shuffle)
        return QUERN_OK;
    /* the last record of the buffer replaces the drawn one */
    memmove(w->x + k * nx, w->x + w->held * nx, (size_t)nx * sizeof(float));
    memmove(w->y + k * all, w->y + w->held * all, (size_t)all * sizeof(double));
    if (w->n_strings)
        memmove(w->strings + k * w->n_strings, w->strings + w->held * w->n_strings,
                (size_t)w->n_strings * sizeof *s);
    return QUERN_OK;
}

/* Fills a batch from the buffer; fewer records only at the end of the epoch. */
static int stream_next(quern_generator *g, quern_batch *b, quern_error *err)
{
    streaming *w = g->self;
    int64_t n = 0;
    w->bad = b->bad;
    if (w->s.note)
        w->s.note(w->s.self, b->bad);
    for (; n < g->spec->batch_size; n++) {
        int status = buffer_fill(w, err);
        if (status >= 0)
            log_dispersion(w, g->spec->batch_size);
        if (status >= 0 && !w->held)
            break;
        if (status >= 0)
            status = buffer_take(w, g->spec, b, n, err);
        if (status < 0)
            return status;
    }
    b->size = n;
    b->has_weights = w->s.weighted;
    return n ? QUERN_OK : QUERN_END;
}

static void stream_free(quern_generator *g)
{
    streaming *w = g->self;
    w->s.free(w->s.self);
    free_pool(w);
    quern__free(w->x);
    quern__free(w->y);
    quern__free(w);
}

static void stream_cancel(quern_generator *g)
{
    streaming *w = g->self;
    if (w->s.cancel)
        w->s.cancel(w->s.self);
}

static void stream_close(quern_generator *g)
{
    streaming *w = g->self;
    if (w->s.close)
        w->s.close(w->s.self);
}

static const char *class_name(const quern_generator *g, int target, int i)
{
    const streaming *w = g->self;
    return w->s.class_name ? w->s.class_name(w->s.self, target, i) : NULL;
}

static const quern_schema *stream_schema(const quern_generator *g)
{
    const streaming *w = g->self;
    return w->s.schema ? w->s.schema(w->s.self) : NULL;
}

static int stream_describe(const quern_generator *g, quern__description *out, quern_error *err)
{
    const streaming *w = g->self;
    if (w->s.describe)
        return w->s.describe(w->s.self, out, err);
    *out = (quern__description){ .n_x = 1, .n_y = w->s.y_count > 0, .weighted = w->s.weighted };
    out->shapes[0] = (quern_shape){ .rank = 2, .dims = { -1, w->s.x_count } };
    out->shapes[1] = (quern_shape){ .rank = 2, .dims = { -1, w->s.y_count } };
    out->dtypes[0] = out->dtypes[1] = QUERN_FLOAT32;
    out->axes[0] = out->axes[1] = QUERN__AXES_TABLE;
    return QUERN_OK;
}

quern_generator *quern__stream_generator(const quern__stream *s, quern_error *err)
{
    static const quern__source_ops kind = { .open = stream_open,
                                            .next = stream_next,
                                            .reset = stream_reset,
                                            .cancel = stream_cancel,
                                            .close = stream_close,
                                            .free = stream_free,
                                            .describe = stream_describe,
                                            .bytes = stream_bytes };
    streaming *w = quern__zalloc(1, sizeof *w);
    quern_generator *g = w ? quern__generator_new(&kind, w) : NULL;
    if (!g) {
        quern__free(w);
        s->free(s->self);
        quern__fail_memory(err, sizeof *w);
        return NULL;
    }
    w->s = *s;
    g->finite = !s->once;
    g->strings = s->strings != NULL;
    g->keeps = s->strings && s->schema;
    g->bad.can = s->passed ? 1u << QUERN_BAD_SKIP | 1u << QUERN_BAD_SUBSTITUTE : 0;
    g->class_name = class_name;
    g->schema = stream_schema;
    g->features = (int)s->x_count;
    g->where = w->s.where;
    return g;
}
