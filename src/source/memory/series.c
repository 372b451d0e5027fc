/* Random-access windows over an array in memory, as Keras's timeseries_dataset_from_array and
 * TimeseriesGenerator. Also the arithmetic of windows that series_stream.c shares.
 *
 * Window i begins at row start + i * stride, and has `length` rows, `rate` apart. Its target is the
 * row `target` after its first row. A window is not stored: series_read copies its rows from the
 * array into the batch, converted to the model's type. The arrays are borrowed. */
#include "series.h"
#include "source/generator_struct.h"
#include "tensor/array_axes.h"
#include "tensor/convert_dtype.h"

#include <string.h>

int quern__series_plan(const quern_series_opts *o, quern__series *out, quern_error *err)
{
    *out = (quern__series){ .start = o->start_index,
                            .end = o->end_index ? o->end_index : -1,
                            .stride = o->sequence_stride ? o->sequence_stride : 1,
                            .rate = o->sampling_rate ? o->sampling_rate : 1,
                            .length = o->sequence_length,
                            .target = o->target_offset,
                            .reverse = o->reverse };
    if (out->start < 0 || o->end_index < 0 || (o->end_index && o->end_index <= out->start))
        return quern__fail(err, QUERN_INVALID, "time series",
                           "start_index %lld and end_index %lld select no rows",
                           (long long)o->start_index, (long long)o->end_index);
    if (out->start > INT64_MAX / 4 || out->stride > INT64_MAX / 4)
        return quern__fail(err, QUERN_INVALID, "time series",
                           "start_index or sequence_stride is too large");
    if (out->stride < 1 || out->rate < 1 || out->length < 0 || out->target < 0)
        return quern__fail(err, QUERN_INVALID, "time series",
                           "length, stride, rate and target offset must not be negative");
    return QUERN_OK;
}

int64_t quern__series_span(const quern__series *s, bool targets)
{
    int64_t span;
    if (__builtin_mul_overflow(s->length - 1, s->rate, &span) || span > INT64_MAX / 4 ||
        s->target > INT64_MAX / 4)
        return -1;
    return targets && s->target > span ? s->target + 1 : span + 1;
}

int64_t quern__series_count(const quern__series *s, int64_t rows, int64_t targets)
{
    /* starts: rows at which a complete window can begin */
    int64_t end = s->end >= 0 && s->end < rows ? s->end : rows, span = quern__series_span(s, false),
            starts = end - s->start - span + 1;
    if (span < 0)
        return 0;
    /* the last windows may lack a target */
    if (targets >= 0 && starts > targets - s->start - s->target)
        starts = targets - s->start - s->target;
    return starts > 0 ? (starts + s->stride - 1) / s->stride : 0;
}

typedef struct series {
    quern__series plan;
    quern_tensor x, y; /* y: data NULL: no targets */
    bool shuffle;
    uint64_t seed;
} series;

/* Compares the windows with the input, and the targets with the output. */
static int series_open(quern_generator *g, const quern_batch_spec *spec, bool shuffle,
                       uint64_t seed, quern_error *err)
{
    series *s = g->self;
    char have[96], want[96];
    int64_t steps = spec->shapes[0].rank > 1 ? spec->shapes[0].dims[1] : 1;
    if (spec->n_inputs != 1 || spec->n_targets > 1 || (spec->n_targets && !s->y.data))
        return quern__fail(err, QUERN_SHAPE, "time series",
                           "has one input%s, the model has %d inputs and %d targets",
                           s->y.data ? " and one target" : "", spec->n_inputs, spec->n_targets);
    if (spec->dtypes[0] == QUERN_STRING || steps != s->plan.length ||
        s->x.shape.rank == QUERN_MAX_RANK)
        return quern__fail(
            err, QUERN_SHAPE, "time series", "windows of %lld rows of %s, the model expects %s",
            (long long)s->plan.length, quern_shape_text(&s->x.shape, have, sizeof have),
            quern_shape_text(&spec->shapes[0], want, sizeof want));
    quern_shape windows = { .rank = s->x.shape.rank + 1, .dims = { -1, s->plan.length } };
    memcpy(windows.dims + 2, s->x.shape.dims + 1,
           (size_t)(s->x.shape.rank - 1) * sizeof *windows.dims);
    int status =
        quern__axes_check("time series", &windows, &spec->shapes[0], spec->names[0], true, err);
    if (status >= 0 && spec->n_targets)
        status = quern__axes_check("time series, y", &s->y.shape, &spec->shapes[1], spec->names[1],
                                   false, err);
    if (status < 0)
        return status;
    g->spec = spec;
    s->shuffle = shuffle;
    s->seed = seed;
    return QUERN_OK;
}

/* Copies one row to row `place` of an array of the batch. */
static int copy_row(const quern_tensor *from, int64_t row, void *to, int dtype, int64_t place,
                    quern_error *err)
{
    char why[128];
    int64_t per = quern__per_record(&from->shape);
    const char *first =
        (const char *)from->data + (size_t)(row * per) * quern_dtype_size(from->dtype);
    int64_t good = quern__convert(first, from->dtype, per, to, dtype, place * per);
    return good == per
               ? QUERN_OK
               : quern__fail(err, QUERN_INVALID, "time series", "row %lld: %s", (long long)row,
                             quern__convert_why(first, from->dtype, good, dtype, why));
}

/* Copies the rows of each window. */
static int series_read(quern_generator *g, int64_t pass, int64_t first, quern_batch *b,
                       quern_error *err)
{
    const series *s = g->self;
    const quern__series *p = &s->plan;
    int status = QUERN_OK;
    quern__number_records(g, s->shuffle, s->seed, pass, first, b);
    for (int64_t r = 0; r < b->size && status >= 0; r++) {
        int64_t at = p->start + b->indices[r] * p->stride;
        for (int64_t i = 0; i < p->length && status >= 0; i++)
            status = copy_row(&s->x, at + (p->reverse ? p->length - 1 - i : i) * p->rate,
                              b->arrays[0], g->spec->dtypes[0], r * p->length + i, err);
        if (g->spec->n_targets && status >= 0)
            status = copy_row(&s->y, at + p->target, b->arrays[1], g->spec->dtypes[1], r, err);
    }
    return status;
}

static int series_shapes(const quern_generator *g, quern__description *out, quern_error *err)
{
    const series *s = g->self;
    (void)err;
    *out = (quern__description){ .n_x = 1 };
    out->shapes[0] = (quern_shape){ .rank = s->x.shape.rank + 1, .dims = { -1, s->plan.length } };
    memcpy(out->shapes[0].dims + 2, s->x.shape.dims + 1,
           (size_t)(s->x.shape.rank - 1) * sizeof *s->x.shape.dims);
    return QUERN_OK;
}

static void series_free(quern_generator *g) { quern__free(g->self); }

quern_generator *quern_series_array_generator(const quern_tensor *x, const quern_tensor *y,
                                              const quern_series_opts *opts, quern_error *err)
{
    QUERN__ENTER(err, NULL, "x", x);
    static const quern__source_ops kind = {
        .open = series_open, .read = series_read, .shapes = series_shapes, .free = series_free
    };
    quern_series_opts o;
    quern__series plan;
    if (QUERN__OPTIONS(o, QUERN__SERIES_OPTS_0_1, opts, err) < 0 ||
        quern__series_plan(&o, &plan, err) < 0)
        return NULL;
    if (x->shape.rank < 1 || quern_shape_count(&x->shape) < 0 || x->dtype == QUERN_STRING ||
        plan.length < 1 || x->shape.rank >= QUERN_MAX_RANK || quern__series_span(&plan, true) < 0 ||
        (y &&
         (y->shape.rank < 1 || quern_shape_count(&y->shape) < 0 || y->dtype == QUERN_STRING))) {
        quern__fail(err, QUERN_INVALID, "time series",
                    "needs arrays of numbers with rows, and a sequence_length");
        return NULL;
    }
    if (quern__missing(err, "x", x->data, "y", y ? y->data : "", NULL))
        return NULL;
    if (plan.end >= x->shape.dims[0]) {
        quern__fail(err, QUERN_INVALID, "time series",
                    "end_index %lld is not below %lld, the number of rows", (long long)plan.end,
                    (long long)x->shape.dims[0]);
        return NULL;
    }
    if (plan.end >= 0 && y &&
        quern__series_count(&plan, x->shape.dims[0], y->shape.dims[0]) <
            quern__series_count(&plan, x->shape.dims[0], -1)) {
        quern__fail(err, QUERN_INVALID, "time series",
                    "end_index %lld selects windows without targets", (long long)plan.end);
        return NULL;
    }
    series *s = quern__zalloc(1, sizeof *s);
    quern_generator *g = s ? quern__generator_new(&kind, s) : NULL;
    if (!g) {
        quern__free(s);
        quern__fail_memory(err, sizeof *s);
        return NULL;
    }
    *s = (series){ .plan = plan, .x = *x, .y = y ? *y : (quern_tensor){ 0 } };
    s->x.dtype = x->dtype ? x->dtype : QUERN_FLOAT32;
    s->y.dtype = y && y->dtype ? y->dtype : QUERN_FLOAT32;
    g->finite = true;
    g->count = quern__series_count(&plan, x->shape.dims[0], y ? y->shape.dims[0] : -1);
    g->where = "time series";
    return g;
}
