/* batch_arrays: the arrays of one batch: checks them against the model, converts them to its
 * dtypes, and runs the batch. quern_train_on_batch and its relatives use it; fit has its own path
 * without copies.
 *
 * An array of the model's dtype is used in place. Others are converted into memory of the model,
 * which grows with the largest batch, so later calls do not allocate. All arrays are checked before
 * the first one is converted. */
#include "model_struct.h"
#include "tensor/array_axes.h"
#include "tensor/convert_dtype.h"

/* A batch; arrays are numbered: inputs, then targets, then weights. */
typedef struct batch {
    const quern_tensor *x, *y, *w; /* as the caller gives them; y and w may be NULL */
    int64_t records;
    void *arrays[3 * QUERN__MAX_IO]; /* as quern__model_run takes them */
    quern__weighing weighing;
} batch;

/* What the model expects as one array of a batch. */
typedef struct wanted {
    char where[8]; /* such as "x[0]" */
    int number;
    int output;   /* of targets and weights; -1: an input */
    bool weights; /* `shape` is that of weights per step, or per record where the output has no time
                     axis */
    const char *name; /* of the input or output */
    int dtype;
    quern_shape shape;
} wanted;

/* Writes "x[0]" without snprintf, which is slower than all checks together. */
static void write_where(char where[8], char side, int i)
{
    *where++ = side;
    *where++ = '[';
    if (i > 9)
        *where++ = (char)('0' + i / 10);
    *where++ = (char)('0' + i % 10);
    *where++ = ']';
    *where = 0;
}

/* Describes array `number` of a batch: an input, the target of an output, or its sample weights. */
static wanted wanted_of(const quern_model *m, int number)
{
    int target = number - m->n_in, weights = target - m->n_out;
    wanted w = { .number = number, .output = -1, .dtype = QUERN_FLOAT32 };
    if (target < 0) {
        write_where(w.where, 'x', number);
        w.name = quern_model_input_name(m, number);
        w.dtype = quern_model_input_dtype(m, number);
        w.shape = quern_model_input_shape(m, number);
        return w;
    }
    w.weights = weights >= 0;
    w.output = w.weights ? weights : target;
    w.name = quern_model_output_name(m, w.output);
    write_where(w.where, w.weights ? 'w' : 'y', w.output);
    if (w.weights)
        w.shape = quern__model_weights_shape(m, w.output, QUERN_WEIGHTS_STEPS);
    else
        w.dtype = quern_model_target(m, w.output, &w.shape);
    return w;
}

/* Whether a loss or a metric reads the target of an output. */
static bool reads_target(const quern_model *m, int output)
{
    bool reads = m->loss_rows[output] != NULL;
    for (int i = 0; i < m->n_means && !reads; i++)
        reads = m->means[i].output == output && m->means[i].measure && m->means[i].measure->row;
    return reads;
}

/* Array `number` of the caller; NULL: it is missing, and the batch does not need it. */
static const quern_tensor *given(const quern_model *m, const batch *b, int number)
{
    int target = number - m->n_in, weights = target - m->n_out;
    if (target < 0)
        return &b->x[number];
    const quern_tensor *t = weights < 0 ? b->y : b->w;
    t = t ? t + (weights < 0 ? target : weights) : NULL;
    return t && (t->data || (weights < 0 && reads_target(m, target))) ? t : NULL;
}

/* ---- checks ---- */

int quern__array_check(const quern_tensor *t, const char *where, int64_t records, quern_error *err)
{
    if (t->shape.rank < 1 || t->shape.rank > QUERN_MAX_RANK)
        return quern__fail(err, QUERN_SHAPE, where, "has rank %d, records need 1 to %d",
                           t->shape.rank, QUERN_MAX_RANK);
    for (int k = 0; k < t->shape.rank; k++)
        if (t->shape.dims[k] < 0)
            return quern__fail(err, QUERN_SHAPE, where, "axis %d is %lld", k,
                               (long long)t->shape.dims[k]);
    if (t->shape.dims[0] != records)
        return quern__fail(err, QUERN_SHAPE, where, "has %lld records, x[0] has %lld",
                           (long long)t->shape.dims[0], (long long)records);
    if (!quern_dtype_name(t->dtype))
        return quern__fail(err, QUERN_DTYPE, where, "has an unknown dtype (%d)", t->dtype);
    return t->data || !quern_shape_count(&t->shape)
               ? QUERN_OK
               : quern__fail(err, QUERN_INVALID, where, "data is NULL");
}

/* Returns the QUERN_WEIGHTS_… of an array of weights, or QUERN_SHAPE. */
static int weights_kind(const quern_model *m, const quern_tensor *t, const wanted *w,
                        quern_error *err)
{
    char have[96], want[96];
    quern_shape of_records = quern__model_weights_shape(m, w->output, QUERN_WEIGHTS_RECORDS);
    if (quern__axes_fit(&t->shape, &of_records))
        return QUERN_WEIGHTS_RECORDS;
    if (quern__axes_fit(&t->shape, &w->shape))
        return QUERN_WEIGHTS_STEPS;
    return quern__fail(
        err, QUERN_SHAPE, w->where, "has shape %s, the model expects %s%s for '%.60s'",
        quern_shape_text(&t->shape, have, sizeof have), w->shape.rank > 1 ? "(None,) or " : "",
        quern_shape_text(&w->shape, want, sizeof want), w->name);
}

/* Checks one array: records, shape, and whether its dtype converts to that of the model. */
static int check_array(const quern_model *m, const quern_tensor *t, int number, batch *b,
                       quern_error *err)
{
    wanted w = wanted_of(m, number);
    int status = quern__array_check(t, w.where, b->records, err);
    if (status < 0)
        return status;
    if (b->records < 1)
        return quern__fail(err, QUERN_INVALID, w.where, "has no records");
    status = w.weights ? weights_kind(m, t, &w, err)
                       : quern__axes_check(w.where, &t->shape, &w.shape, w.name, w.output < 0, err);
    if (status >= 0 && !quern__convertible(t->dtype, w.dtype))
        status = quern__fail(err, QUERN_INVALID, w.where, "has dtype %s, the model expects %s",
                             quern_dtype_name(t->dtype), quern_dtype_name(w.dtype));
    if (status > 0)
        b->weighing.of[w.output] = (uint8_t)status;
    return status;
}

/* ---- conversion ---- */

/* Checks the sizes of the strings of an input. */
static int check_strings(const quern_tensor *t, const wanted *w, int64_t per, quern_error *err)
{
    const quern_string *s = t->const_data;
    for (int64_t i = 0; i < quern_shape_count(&t->shape); i++)
        if (s[i].size < 0 || s[i].size > QUERN_MOST_STRING)
            return quern__fail(err, QUERN_INVALID, w->where,
                               "record %lld: a string of %lld bytes, expected at most %d",
                               (long long)(i / per), (long long)s[i].size, QUERN_MOST_STRING);
    return QUERN_OK;
}

/* Ensures memory for the array in the model's dtype; it never shrinks. */
static void *converted_room(quern_model *m, const quern_tensor *t, const wanted *w,
                            quern_error *err)
{
    quern__converted *c = &m->converted[w->number];
    size_t bytes = SIZE_MAX;
    bool fits = quern__shape_bytes(&t->shape, w->dtype, &bytes);
    if (fits && bytes <= c->bytes)
        return c->numbers;
    void *numbers = fits ? quern__alloc(bytes) : NULL;
    if (!numbers) {
        quern__fail_memory(err, bytes);
        return NULL;
    }
    quern__free(c->numbers);
    *c = (quern__converted){ numbers, bytes };
    return numbers;
}

/* Sets the address of an array in the batch: the caller's elements, or converted ones. */
static int convert_array(quern_model *m, const quern_tensor *t, int number, batch *b,
                         quern_error *err)
{
    char why[128];
    wanted w = wanted_of(m, number);
    int64_t n = quern_shape_count(&t->shape), per = n / b->records;
    b->arrays[w.number] = t->data;
    if (t->dtype == QUERN_STRING)
        return check_strings(t, &w, per, err);
    if (t->dtype == w.dtype)
        return QUERN_OK;
    void *numbers = b->arrays[w.number] = converted_room(m, t, &w, err);
    if (!numbers)
        return QUERN_NOMEM;
    int64_t good = quern__convert(t->const_data, t->dtype, n, numbers, w.dtype, 0);
    return good == n ? QUERN_OK
                     : quern__fail(err, QUERN_INVALID, w.where, "record %lld: %s",
                                   (long long)(good / per),
                                   quern__convert_why(t->const_data, t->dtype, good, w.dtype, why));
}

/* Checks all arrays, then converts those of other dtypes. */
static int batch_read(quern_model *m, batch *b, quern_error *err)
{
    const quern_tensor *t;
    int n = m->n_in + 2 * m->n_out, status = QUERN_OK;
    b->records = b->x[0].shape.dims[0];
    if (quern__model_open(m)) {
        quern_shape in[QUERN__MAX_IO];
        for (int i = 0; i < m->n_in; i++)
            in[i] = quern__model_closing(m, i, &b->x[i].shape);
        if ((status = quern__model_close(m, in, err)) < 0)
            return status;
    }
    for (int i = 0; i < n && status >= 0; i++)
        if ((t = given(m, b, i)) != NULL)
            status = check_array(m, t, i, b, err);
    for (int i = 0; i < n && status >= 0; i++)
        if ((t = given(m, b, i)) != NULL)
            status = convert_array(m, t, i, b, err);
    return status;
}

/* ---- runs ---- */

/* One step on a batch; `logs` gets the results of this batch alone. */
static int batch_run(quern_model *m, quern__mode mode, batch *b, double *logs, quern_error *err)
{
    int status = m->optimizer ? batch_read(m, b, err) : quern__not_compiled(m, err);
    if (status < 0)
        return status;
    quern__model_reset(m);
    status = quern__model_run(m, mode, b->arrays, &b->weighing, b->records, b->records, 0, 0, err);
    if (status >= 0 && logs)
        quern__model_read_logs(m, logs);
    return status;
}

int quern_train_on_batch(quern_model *m, const quern_tensor *x, const quern_tensor *y,
                         const quern_tensor *w, double *logs, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m, "x", x, "y", y);
    if (quern__model_waits(m, "train_on_batch", err) < 0)
        return QUERN_INVALID;
    return batch_run(m, QUERN__TRAIN, &(batch){ .x = x, .y = y, .w = w }, logs, err);
}

int quern_test_on_batch(quern_model *m, const quern_tensor *x, const quern_tensor *y,
                        const quern_tensor *w, double *logs, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m, "x", x, "y", y);
    if (m->sums && quern__model_waits(m, "test_on_batch within an epoch", err) < 0)
        return QUERN_INVALID;
    return batch_run(m, QUERN__TEST, &(batch){ .x = x, .y = y, .w = w }, logs, err);
}

int quern_predict_on_batch(quern_model *m, const quern_tensor *x, const float **out,
                           quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m, "x", x, "out", out);
    batch b = { .x = x };
    int status = batch_read(m, &b, err);
    return status < 0 ? status : quern__model_predict(m, b.arrays, b.records, out, err);
}
