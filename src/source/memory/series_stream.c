/* Time-series windows over the rows of another generator: a CSV, arrays in files, a program. A ring
 * holds only the rows that a window spans. Each window is a record of a stream, which
 * shuffle_buffer.c shuffles and batches.
 *
 * Row k of the data is in row k mod span of the rings. Rows come in batches of 64, in order,
 * without shuffling; the windows are shuffled afterwards. The stream owns the generator of the
 * rows. */
#include "series.h"
#include "source/generator_struct.h"
#include "tensor/convert_dtype.h"

#include <string.h>

enum { rows_at_once = 64, most_bytes = 1 << 30 };

typedef struct rolling {
    quern__series plan, now; /* as given; with the length of the model's input */
    quern_generator *rows;
    quern_batch_spec spec; /* spec of the rows */
    quern_batch batch;
    int64_t indices[rows_at_once];
    int64_t at, place;  /* next row in the batch; random access: first row of the next batch */
    int64_t seen, next; /* rows read; first row of the next window */
    int64_t span, numbers, x_per,
        y_per; /* rows in the ring; input elements of a row, their slots, and its target elements */
    float *x;  /* rings: (span, x_per) and (span, y_per) */
    double *y;
    bool touched, ended;
    quern__bad *bad; /* list for bad rows */
} rolling;

/* Frees the batch of rows and the rings. */
static void drop_buffers(rolling *r)
{
    for (int i = 0; i < 2 * QUERN_MAX_ARRAYS; i++)
        quern__free(r->batch.arrays[i]);
    for (int i = 0; i < QUERN_MAX_ARRAYS; i++)
        quern__free(r->batch.target_weights[i]);
    quern__free(r->batch.weights);
    quern__free(r->x);
    quern__free(r->y);
    r->batch = (quern_batch){ 0 };
    r->x = NULL;
    r->y = NULL;
}

static void rolling_free(void *self)
{
    rolling *r = self;
    drop_buffers(r);
    quern_generator_free(r->rows);
    quern__free(r);
}

/* Derives the spec of a row from the spec of windows: removes axis 1. */
static int row_spec(rolling *r, const quern_batch_spec *spec, quern_error *err)
{
    r->spec = *spec;
    r->spec.batch_size = rows_at_once;
    r->now = r->plan;
    r->numbers = r->x_per = r->y_per = 0;
    for (int i = 0; i < spec->n_inputs; i++) {
        quern_shape *s = &r->spec.shapes[i];
        int64_t steps = s->rank > 1 ? s->dims[1] : 0;
        r->now.length = r->now.length ? r->now.length : steps;
        if (steps < 1 || steps != r->now.length || spec->dtypes[i] == QUERN_STRING)
            return quern__fail(err, QUERN_SHAPE, "time series",
                               "windows of %lld rows do not fit input %d with %lld steps",
                               (long long)r->now.length, i, (long long)steps);
        memmove(s->dims + 1, s->dims + 2, (size_t)(s->rank - 2) * sizeof *s->dims);
        s->rank--;
        r->numbers += quern__per_record(s);
        r->x_per += quern__slots(&r->spec, i);
    }
    for (int i = spec->n_inputs; i < spec->n_inputs + spec->n_targets; i++)
        r->y_per += quern__per_record(&spec->shapes[i]);
    r->span = quern__series_span(&r->now, spec->n_targets > 0);
    double bytes =
        (double)r->span * ((double)r->x_per * sizeof(float) + (double)r->y_per * sizeof(double));
    return r->span > 0 && bytes <= most_bytes
               ? QUERN_OK
               : quern__fail(err, QUERN_INVALID, "time series",
                             "a window of %lld rows exceeds %d bytes", (long long)r->span,
                             most_bytes);
}

/* Allocates the batch of rows and the rings. */
static int make_buffers(rolling *r, quern_error *err)
{
    bool made = true;
    drop_buffers(r);
    for (int i = 0; i < r->spec.n_inputs + r->spec.n_targets; i++) {
        int64_t per = quern__per_record(&r->spec.shapes[i]);
        r->batch.arrays[i] =
            quern__zalloc(rows_at_once * (size_t)per, quern_dtype_size(r->spec.dtypes[i]));
        made = made && r->batch.arrays[i];
    }
    for (int i = 0; i < r->spec.n_targets; i++) {
        int64_t per = quern__per_record(&r->spec.weights[i]);
        r->batch.target_weights[i] = quern__zalloc(rows_at_once * (size_t)per, sizeof(float));
        made = made && r->batch.target_weights[i];
    }
    r->batch.weights = quern__zalloc(rows_at_once, sizeof(float));
    r->x = quern__zalloc((size_t)r->span, (size_t)r->x_per * sizeof *r->x);
    r->y = quern__zalloc((size_t)r->span, (size_t)r->y_per * sizeof *r->y + 1);
    r->batch.spec = &r->spec;
    r->batch.indices = r->indices;
    return made && r->batch.weights && r->x && r->y ? QUERN_OK
                                                    : quern__fail_memory(err, (size_t)r->span);
}

/* Opens the rows with the spec of one row, and sets the size of a window. */
static int rolling_match(void *self, const quern_batch_spec *spec, int64_t *x_count,
                         int64_t *y_count, quern_error *err)
{
    rolling *r = self;
    int status = row_spec(r, spec, err);
    if (status >= 0)
        status = make_buffers(r, err);
    if (status >= 0)
        status = r->rows->ops->open(r->rows, &r->spec, false, 0, err);
    r->touched = false;
    *x_count = r->now.length * r->numbers;
    *y_count = r->y_per;
    return status;
}

/* Moves to the first window. Rows that cannot be read again are an error. */
static int rolling_rewind(void *self, quern_error *err)
{
    rolling *r = self;
    r->at = r->batch.size = r->place = r->seen = 0;
    r->next = r->plan.start;
    r->ended = false;
    if (!r->touched || r->rows->ops->read)
        return QUERN_OK;
    r->touched = false;
    return r->rows->ops->reset ? r->rows->ops->reset(r->rows, 0, err)
                               : quern__fail(err, QUERN_UNSUPPORTED, "time series",
                                             "its rows cannot be read a second time");
}

/* Reads the next batch of rows. */
static int fetch_rows(rolling *r, quern_error *err)
{
    quern_generator *g = r->rows;
    int64_t left = g->ops->read ? g->count - r->place : rows_at_once;
    r->at = 0;
    r->batch.size = left < rows_at_once ? left : rows_at_once;
    r->batch.has_weights = 0;
    memset(r->batch.weighs, 0, sizeof r->batch.weighs);
    r->batch.bad = r->bad;
    if (r->batch.size < 1)
        return QUERN_END;
    r->touched = true;
    int status = g->ops->read ? g->ops->read(g, 0, r->place, &r->batch, err)
                              : g->ops->next(g, &r->batch, err);
    r->place += r->batch.size;
    bool weighted = r->batch.has_weights;
    for (int i = 0; i < r->spec.n_targets; i++)
        weighted = weighted || r->batch.weighs[i];
    return status == QUERN_OK && weighted ? quern__fail(err, QUERN_UNSUPPORTED, "time series",
                                                        "sample weights of rows are not supported")
                                          : status;
}

/* Copies one row to the rings. */
static int take_row(rolling *r, quern_error *err)
{
    int status = r->at < r->batch.size ? QUERN_OK : fetch_rows(r, err);
    if (status != QUERN_OK)
        return status;
    int64_t to = r->seen % r->span, x = to * r->x_per, y = to * r->y_per;
    for (int i = 0; i < r->spec.n_inputs + r->spec.n_targets; i++) {
        int64_t per = quern__per_record(&r->spec.shapes[i]);
        bool input = i < r->spec.n_inputs;
        size_t size = quern_dtype_size(r->spec.dtypes[i]);
        const char *from = (const char *)r->batch.arrays[i] + (size_t)(r->at * per) * size;
        if (input)
            memcpy(r->x + x, from, (size_t)per * size);
        else
            quern__convert(from, r->spec.dtypes[i], per, r->y, QUERN_FLOAT64, y);
        x += input ? quern__slots(&r->spec, i) : 0;
        y += input ? 0 : per;
    }
    r->at++;
    r->seen++;
    return QUERN_OK;
}

/* Reads rows until the ring holds the next window, then copies the window. */
static int rolling_read(void *self, float *x, double *y, quern_error *err)
{
    rolling *r = self;
    const quern__series *p = &r->now;
    int64_t first = 0;
    /* the last windows end where rows, or end_index, end */
    while (r->seen < r->next + r->span) {
        int status = r->ended || (p->end >= 0 && r->next + (p->length - 1) * p->rate >= p->end)
                         ? QUERN_END
                         : take_row(r, err);
        r->ended = status == QUERN_END;
        if (status != QUERN_OK)
            return status;
    }
    for (int i = 0; i < r->spec.n_inputs; i++) {
        int64_t per = quern__slots(&r->spec, i);
        for (int64_t k = 0; k < p->length; k++, x += per) {
            int64_t row = r->next + (p->reverse ? p->length - 1 - k : k) * p->rate;
            memcpy(x, r->x + row % r->span * r->x_per + first, (size_t)per * sizeof *x);
        }
        first += per;
    }
    if (r->y_per)
        memcpy(y, r->y + (r->next + p->target) % r->span * r->y_per, (size_t)r->y_per * sizeof *y);
    r->next += p->stride;
    return QUERN_OK;
}

static void rolling_note(void *self, quern__bad *bad) { ((rolling *)self)->bad = bad; }

static void rolling_cancel(void *self)
{
    rolling *r = self;
    if (r->rows->ops->cancel)
        r->rows->ops->cancel(r->rows);
}

static void rolling_close(void *self)
{
    rolling *r = self;
    if (r->rows->ops->close)
        r->rows->ops->close(r->rows);
}

/* class names are those of the rows */
static const char *rolling_class(void *self, int target, int i)
{
    rolling *r = self;
    return quern_generator_class(r->rows, target, i);
}

static const quern_schema *rolling_schema(void *self)
{
    return quern_generator_schema(((rolling *)self)->rows);
}

quern_generator *quern_series_generator(quern_generator *rows, const quern_series_opts *opts,
                                        quern_error *err)
{
    QUERN__ENTER_ANY(err);
    quern_series_opts o;
    quern__series plan;
    int status = QUERN__OPTIONS(o, QUERN__SERIES_OPTS_0_1, opts, err);
    if (status >= 0)
        status = quern__series_plan(&o, &plan, err);
    rolling *r = rows && status >= 0 ? quern__zalloc(1, sizeof *r) : NULL;
    if (!r) {
        if (rows)
            quern__fail_memory(err, sizeof *r);
        quern_generator_free(rows);
        return NULL;
    }
    r->plan = plan;
    r->rows = rows;
    quern__stream s = { .match = rolling_match,
                        .rewind = rolling_rewind,
                        .read = rolling_read,
                        .note = rolling_note,
                        .cancel = rolling_cancel,
                        .close = rolling_close,
                        .free = rolling_free,
                        .class_name = rolling_class,
                        .schema = rolling_schema,
                        .self = r,
                        .bytes = 4 << 20,
                        .once = !rows->ops->read && !rows->finite && !rows->restarts,
                        .where = "time series" };
    unsigned can =
        rows->bad.can &
        1u << QUERN_BAD_SUBSTITUTE; /* skipping a row would join rows that are not consecutive */
    quern_generator *g = quern__stream_generator(&s, err);
    if (g) {
        g->bad.can = can;
        g->stall_timeout = rows->stall_timeout;
        g->watches = rows->watches;
    }
    return g;
}
