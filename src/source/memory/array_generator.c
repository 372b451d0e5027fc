/* Generators from user callbacks (pull and random access) and from arrays in memory. Also
 * functions that all random-access sources share. */
#include "source/column_map.h"
#include "source/generator_struct.h"
#include "tensor/array_axes.h"
#include "tensor/convert_dtype.h"

#include <stdio.h>
#include <string.h>

quern_generator *quern__generator_new(const quern__source_ops *ops, void *self)
{
    quern_generator *g = quern__zalloc(1, sizeof *g);
    if (g) {
        g->ops = ops;
        g->self = self;
    }
    return g;
}

void quern__generator_keep(quern_generator *g)
{
    __atomic_add_fetch(&g->runs, 1, __ATOMIC_ACQ_REL);
}

void quern_generator_free(quern_generator *g)
{
    if (!g || __atomic_sub_fetch(&g->runs, 1, __ATOMIC_ACQ_REL) >= 0)
        return;
    g->ops->free(g);
    quern__free(g->position.state);
    quern__free(g->bad.places);
    quern__free(g);
}

int quern_generator_features(const quern_generator *g) { return g ? g->features : 0; }
int64_t quern_generator_count(const quern_generator *g)
{
    return g && g->ops->read ? g->count : -1;
}

int quern_generator_slice(quern_generator *g, int64_t from, int64_t to, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "generator", g);
    if (!g->ops->read || from < 0 || to < from || to > g->count)
        return quern__fail(err, QUERN_INVALID, "slice",
                           "range %lld … %lld is outside the %lld records", (long long)from,
                           (long long)to, (long long)quern_generator_count(g));
    g->from += from;
    g->count = to - from;
    return QUERN_OK;
}

/* The order of a run's records. */
typedef struct order {
    bool shuffle;
    uint64_t seed;
} order;

int64_t quern__per_record(const quern_shape *s)
{
    int64_t n = 1;
    for (int i = 1; i < s->rank; i++)
        n *= s->dims[i];
    return n;
}

int64_t quern__slots(const quern_batch_spec *spec, int i)
{
    return quern__per_record(&spec->shapes[i]) * (spec->dtypes[i] == QUERN_INT64 ? 2 : 1);
}

int quern__weights_kind(const quern_batch_spec *spec, int target, const quern_shape *have)
{
    static const quern_shape records = { .rank = 1, .dims = { -1 } };
    const quern_shape *steps = &spec->weights[target];
    if (quern__axes_fit(have, &records))
        return QUERN_WEIGHTS_RECORDS;
    return steps->rank == 2 && quern__axes_fit(have, steps) ? QUERN_WEIGHTS_STEPS : -1;
}

/* ---- pull callbacks ---- */

typedef struct pull {
    quern_callback_ops ops;
    void *user;
    bool begun, had; /* begun: not at the start; had: a batch came */
} pull;

static int pull_next(quern_generator *g, quern_batch *batch, quern_error *err)
{
    pull *p = g->self;
    p->begun = true;
    int status = p->ops.next(p->user, batch, err);
    p->had = p->had || status == QUERN_OK;
    return status <= 0 || status == QUERN_END
               ? status
               : quern__fail(err, QUERN_INVALID, "generator",
                             "next returned %d, expected QUERN_OK or QUERN_END", status);
}

static int pull_reset(quern_generator *g, int64_t epoch, quern_error *err)
{
    pull *p = g->self;
    (void)epoch;
    p->begun = p->begun && !p->ops.reset;
    return p->ops.reset ? p->ops.reset(p->user, err) : QUERN_OK;
}

static int pull_open(quern_generator *g, const quern_batch_spec *spec, bool shuffle, uint64_t seed,
                     quern_error *err)
{
    pull *p = g->self;
    (void)shuffle, (void)seed;
    g->spec = spec;
    return p->begun && p->ops.reset && !g->position.restored ? pull_reset(g, 0, err) : QUERN_OK;
}

static int pull_empty(const quern_generator *g, quern_error *err)
{
    const pull *p = g->self;
    if (!p->had || p->ops.reset)
        return quern__fail(err, QUERN_INVALID, "generator", "the generator is empty");
    int status = quern__fail(err, QUERN_INVALID, "generator", "has ended and cannot restart");
    quern__hint(err, "set quern_callback_ops.reset to restart it");
    return status;
}

static int pull_save(const quern_generator *g, void *state, size_t room, size_t *size,
                     quern_error *err)
{
    pull *p = g->self;
    return p->ops.save(p->user, state, room, size, err);
}

static int pull_restore(quern_generator *g, const void *state, size_t size, quern_error *err)
{
    pull *p = g->self;
    return p->ops.restore(p->user, state, size, err);
}

static void self_free(quern_generator *g) { quern__free(g->self); }

quern_generator *quern_callback_generator(const quern_callback_ops *ops, void *user)
{
    if (!ops || !ops->next)
        return NULL;
    static const quern__source_ops kind = { .open = pull_open,
                                            .next = pull_next,
                                            .reset = pull_reset,
                                            .free = self_free,
                                            .save = pull_save,
                                            .restore = pull_restore,
                                            .empty = pull_empty };
    pull *p = quern__zalloc(1, sizeof *p);
    if (p)
        *p = (pull){ *ops, user };
    quern_generator *g = p ? quern__generator_new(&kind, p) : NULL;
    if (g) {
        g->strings = true;
        g->restarts = ops->reset != NULL;
        g->saves = ops->save && ops->restore;
    } else
        quern__free(p);
    return g;
}

/* ---- random access ---- */

void quern__number_records(const quern_generator *g, bool shuffle, uint64_t seed, int64_t pass,
                           int64_t first, quern_batch *b)
{
    quern__random_key key =
        quern__random_key_of(seed, QUERN__RANDOM_SHUFFLE_BLOCKS, (uint64_t)pass);
    for (int64_t r = 0; r < b->size; r++)
        b->indices[r] = g->from + (shuffle ? (int64_t)quern__random_permute(key, (uint64_t)g->count,
                                                                            (uint64_t)(first + r))
                                           : first + r);
}

typedef struct indexed {
    quern_read *read;
    void *user;
    order order;
} indexed;

static int indexed_open(quern_generator *g, const quern_batch_spec *spec, bool shuffle,
                        uint64_t seed, quern_error *err)
{
    (void)err;
    g->spec = spec;
    ((indexed *)g->self)->order = (order){ shuffle, seed };
    return QUERN_OK;
}

static int indexed_read(quern_generator *g, int64_t pass, int64_t first, quern_batch *b,
                        quern_error *err)
{
    indexed *n = g->self;
    int64_t size = b->size;
    quern__number_records(g, n->order.shuffle, n->order.seed, pass, first, b);
    quern__activity_set("waiting for the callback", "generator",
                        b->size > 1 ? "records from number" : "record number", b->indices[0]);
    int status = n->read(n->user, b, err);
    if (status >= 0 && b->size != size)
        return quern__fail(err, QUERN_INVALID, "generator", "returned %lld records, expected %lld",
                           (long long)b->size, (long long)size);
    return status > 0 ? quern__fail(err, QUERN_INVALID, "generator", "ended before record %lld",
                                    (long long)g->count)
                      : status;
}

quern_generator *quern_indexed_generator(quern_read *read, void *user, int64_t count)
{
    if (!read)
        return NULL;
    static const quern__source_ops kind = { .open = indexed_open,
                                            .read = indexed_read,
                                            .free = self_free };
    indexed *n = count >= 0 ? quern__zalloc(1, sizeof *n) : NULL;
    quern_generator *g = n ? quern__generator_new(&kind, n) : NULL;
    if (!g) {
        quern__free(n);
        return NULL;
    }
    *n = (indexed){ .read = read, .user = user };
    g->strings = true;
    g->finite = true;
    g->count = count;
    return g;
}

/* ---- arrays ---- */

typedef struct arrays {
    int n_x, n_y;
    quern_tensor t[2 * QUERN_MAX_ARRAYS];
    const float *weights;
    quern_tensor own[QUERN_MAX_ARRAYS]; /* weights by target; data NULL: none */
    order order;
} arrays;

/* "x", or "x, array 1" if there are several. */
static const char *where_of(const arrays *a, int i, char where[32])
{
    bool x = i < a->n_x;
    int n = x ? a->n_x : a->n_y, at = x ? i : i - a->n_x;
    snprintf(where, 32, n > 1 ? "%s, array %d" : "%s", x ? "x" : "y", at);
    return where;
}

/* Compares the arrays with the spec: number, axes and types. */
static int array_open(quern_generator *g, const quern_batch_spec *spec, bool shuffle, uint64_t seed,
                      quern_error *err)
{
    arrays *a = g->self;
    char have[96], want[96], where[32];
    if (a->n_x != spec->n_inputs || (spec->n_targets && a->n_y != spec->n_targets))
        return quern__fail(err, QUERN_SHAPE, "arrays",
                           "%d inputs and %d targets, the model has %d and %d", a->n_x, a->n_y,
                           spec->n_inputs, spec->n_targets);
    for (int i = 0; i < spec->n_inputs + spec->n_targets; i++) {
        const quern_tensor *t = &a->t[i];
        int status = quern__deal_axes(spec, i, where_of(a, i, where), &t->shape, err);
        if (status < 0)
            return status;
        if (!quern__convertible(t->dtype, spec->dtypes[i]))
            return quern__fail(err, QUERN_INVALID, where, "has type %s, the model expects %s",
                               quern_dtype_name(t->dtype), quern_dtype_name(spec->dtypes[i]));
    }
    for (int i = 0; i < spec->n_targets; i++)
        if (a->own[i].data && quern__weights_kind(spec, i, &a->own[i].shape) < 0)
            return quern__fail(
                err, QUERN_SHAPE, "weights",
                "weights of target %d have shape %s, the model expects (None,) or %s", i,
                quern_shape_text(&a->own[i].shape, have, sizeof have),
                quern_shape_text(&spec->weights[i], want, sizeof want));
    g->spec = spec;
    a->order = (order){ shuffle, seed };
    return QUERN_OK;
}

/* Converts one record of an array and stores it at row `place` of the batch. */
static int copy_record(const quern_tensor *from, int64_t record, int64_t count, void *to, int dtype,
                       int64_t place, const char *where, quern_error *err)
{
    char why[128];
    const char *first =
        (const char *)from->data + (size_t)(record * count) * quern_dtype_size(from->dtype);
    int64_t good = quern__convert(first, from->dtype, count, to, dtype, place * count);
    return good == count
               ? QUERN_OK
               : quern__fail(err, QUERN_INVALID, where, "record %lld: %s", (long long)record,
                             quern__convert_why(first, from->dtype, good, dtype, why));
}

/* Copies the records of a batch, with their weights. */
static int array_read(quern_generator *g, int64_t pass, int64_t first, quern_batch *batch,
                      quern_error *err)
{
    const arrays *a = g->self;
    const quern_batch_spec *s = g->spec;
    char where[32];
    int status;
    quern__number_records(g, a->order.shuffle, a->order.seed, pass, first, batch);
    for (int i = 0; i < s->n_inputs + s->n_targets; i++)
        for (int64_t r = 0, per = quern__per_record(&a->t[i].shape); r < batch->size; r++)
            if ((status = copy_record(&a->t[i], batch->indices[r], per, batch->arrays[i],
                                      s->dtypes[i], r, where_of(a, i, where), err)) < 0)
                return status;
    for (int i = 0; i < s->n_inputs; i++)
        for (int64_t k = 0, per = quern__per_record(&a->t[i].shape);
             a->t[i].dtype == QUERN_STRING && k < batch->size * per; k++)
            if (((quern_string *)batch->arrays[i])[k].size > QUERN_MOST_STRING ||
                ((quern_string *)batch->arrays[i])[k].size < 0)
                return quern__fail(
                    err, QUERN_INVALID, "x", "record %lld: a string of %lld bytes exceeds %d",
                    (long long)batch->indices[k / per],
                    (long long)((quern_string *)batch->arrays[i])[k].size, QUERN_MOST_STRING);
    if (a->weights)
        for (int64_t r = 0; r < batch->size; r++)
            batch->weights[r] = a->weights[batch->indices[r]];
    batch->has_weights = a->weights != NULL;
    for (int i = 0; i < s->n_targets; i++) {
        const quern_tensor *w = &a->own[i];
        int64_t per = w->data ? quern__per_record(&w->shape) : 0;
        batch->weighs[i] = w->data ? quern__weights_kind(s, i, &w->shape) : QUERN_WEIGHTS_COMMON;
        if (w->data)
            for (int64_t r = 0; r < batch->size; r++)
                copy_record(w, batch->indices[r], per, batch->target_weights[i], QUERN_FLOAT32, r,
                            "weights", NULL);
    }
    return QUERN_OK;
}

static int array_shapes(const quern_generator *g, quern__description *out, quern_error *err)
{
    const arrays *a = g->self;
    (void)err;
    *out = (quern__description){ .n_x = a->n_x };
    for (int i = 0; i < a->n_x; i++)
        out->shapes[i] = a->t[i].shape;
    return QUERN_OK;
}

static const quern__source_ops array_kind = {
    .open = array_open, .shapes = array_shapes, .read = array_read, .free = self_free
};

int quern_array_generator_weights(quern_generator *g, int target, const quern_tensor *weights,
                                  quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "generator", g, "weights", weights);
    arrays *a = g->self;
    if (g->ops != &array_kind || target < 0 || target >= a->n_y)
        return quern__fail(err, QUERN_INVALID, "weights",
                           g->ops == &array_kind ? "target %d does not exist"
                                                 : "the generator has no arrays in memory",
                           target);
    if (quern__missing(err, "weights", weights->data, NULL))
        return QUERN_INVALID;
    if (weights->shape.rank < 1 || weights->shape.rank > 2 ||
        weights->shape.dims[0] != a->t[0].shape.dims[0] || quern_shape_count(&weights->shape) < 0)
        return quern__fail(err, QUERN_SHAPE, "weights",
                           "weights of target %d do not have shape (records) or (records, steps)",
                           target);
    a->own[target] = *weights;
    return QUERN_OK;
}

quern_generator *quern_array_generator(const quern_tensor *x, int n_x, const quern_tensor *y,
                                       int n_y, const float *weights, quern_error *err)
{
    QUERN__ENTER(err, NULL, "x", x);
    char where[32];
    arrays *a = n_x >= 1 && n_x <= QUERN_MAX_ARRAYS && n_y >= 0 && n_y <= QUERN_MAX_ARRAYS
                    ? quern__zalloc(1, sizeof *a)
                    : NULL;
    bool fits = a != NULL;
    if (a)
        *a = (arrays){ .n_x = n_x, .n_y = n_y };
    if (n_y > 0 && quern__missing(err, "y", y, NULL))
        fits = false;
    for (int i = 0; fits && i < n_x + n_y; i++) {
        a->t[i] = i < n_x ? x[i] : y[i - n_x];
        a->t[i].dtype = a->t[i].dtype ? a->t[i].dtype : QUERN_FLOAT32;
        fits = a->t[i].shape.rank >= 1 && quern_dtype_size(a->t[i].dtype) &&
               quern_shape_count(&a->t[i].shape) >= 0 &&
               a->t[i].shape.dims[0] == a->t[0].shape.dims[0];
        if (fits && quern_shape_count(&a->t[i].shape) > 0 &&
            quern__missing(err, where_of(a, i, where), a->t[i].data, NULL))
            fits = false;
    }
    if (!fits) {
        quern__free(a);
        quern__fail(err, QUERN_SHAPE, "arrays", "all arrays must have the same number of records");
        return NULL;
    }
    a->weights = weights;
    quern_generator *g = quern__generator_new(&array_kind, a);
    if (g) {
        g->strings = g->finite = true;
        g->count = a->t[0].shape.dims[0];
    } else
        quern__free(a);
    return g;
}
