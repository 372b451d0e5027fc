/* Utility functions of Keras for arrays: pad_sequences, to_categorical, normalize and
 * make_sampling_table. */
#include "tensor/tensor.h"

#include <math.h>
#include <quern/text.h>
#include <string.h>

/* A number of an integer or floating type; integers are exact. */
typedef struct number {
    bool whole;
    int64_t i;
    double d;
} number;

static bool is_known(int dtype)
{
    return dtype == QUERN_FLOAT32 || dtype == QUERN_FLOAT64 || dtype == QUERN_INT32 ||
           dtype == QUERN_INT64;
}

/* Element `at` of an array. */
static number load_number(const quern_tensor *t, int64_t at)
{
    switch (t->dtype) {
    case QUERN_INT32:
        return (number){ true, ((const int32_t *)t->data)[at], 0 };
    case QUERN_INT64:
        return (number){ true, ((const int64_t *)t->data)[at], 0 };
    case QUERN_FLOAT32:
        return (number){ false, 0, (double)((const float *)t->data)[at] };
    default:
        return (number){ false, 0, ((const double *)t->data)[at] };
    }
}

/* Converts to int64, truncated towards zero. False: nan, or out of range. */
static bool to_integer(number x, int64_t *out)
{
    if (!x.whole && !(x.d > -0x1p63 && x.d < 0x1p63))
        return false;
    *out = x.whole ? x.i : (int64_t)x.d;
    return true;
}

/* Stores a number. False: the type cannot represent it. */
static bool store_number(const quern_tensor *t, int64_t at, number x)
{
    int64_t whole = 0;
    if ((t->dtype == QUERN_INT32 || t->dtype == QUERN_INT64) && !to_integer(x, &whole))
        return false;
    switch (t->dtype) {
    case QUERN_INT32:
        ((int32_t *)t->data)[at] = (int32_t)whole;
        return whole >= INT32_MIN && whole <= INT32_MAX;
    case QUERN_INT64:
        ((int64_t *)t->data)[at] = whole;
        return true;
    case QUERN_FLOAT32:
        ((float *)t->data)[at] = x.whole ? (float)x.i : (float)x.d;
        return true;
    default:
        ((double *)t->data)[at] = x.whole ? (double)x.i : x.d;
        return true;
    }
}

/* ---- pad_sequences ---- */

/* 1 for "post", 0 for "pre" and NULL. */
static int is_post(const char *word, const char *what, quern_error *err)
{
    if (!word || !strcmp(word, "pre"))
        return 0;
    return !strcmp(word, "post") ? 1
                                 : quern__fail(err, QUERN_INVALID, "pad_sequences",
                                               "%s '%.40s' is not pre or post", what, word);
}

/* Completes the result's shape (n, steps, …); the caller has set dims[1], -1: the longest row.
 * Empty rows do not determine the shape of a step. */
static int padded_shape(const quern_tensor *rows, int64_t n, quern_shape *shape, quern_error *err)
{
    int64_t longest = 0, steps = shape->dims[1];
    const quern_shape *first = NULL;
    for (int64_t r = 0; r < n; r++) {
        const quern_shape *own = &rows[r].shape;
        if (own->rank < 1 || own->rank >= QUERN_MAX_RANK || quern_shape_count(own) < 0 ||
            !is_known(rows[r].dtype))
            return quern__fail(err, own->rank < 1 ? QUERN_SHAPE : QUERN_DTYPE, "pad_sequences",
                               "row %lld is not an array of int32, int64, float32 or float64",
                               (long long)r);
        longest = own->dims[0] > longest ? own->dims[0] : longest;
        if (own->dims[0] == 0)
            continue;
        if (first &&
            (first->rank != own->rank ||
             memcmp(first->dims + 1, own->dims + 1, (size_t)(own->rank - 1) * sizeof *own->dims)))
            return quern__fail(err, QUERN_SHAPE, "pad_sequences",
                               "the steps of row %lld have a different shape", (long long)r);
        first = first ? first : own;
    }
    shape->rank = first ? first->rank + 1 : 2;
    shape->dims[0] = n;
    shape->dims[1] = steps < 0 ? longest : steps;
    for (int k = 2; k < shape->rank; k++)
        shape->dims[k] = first->dims[k - 1];
    return quern_shape_count(shape) < 0
               ? quern__fail(err, QUERN_SHAPE, "pad_sequences", "the result is too large")
               : QUERN_OK;
}

int quern_pad_sequences(const quern_tensor *rows, int64_t n, const char *padding,
                        const char *truncating, double value, quern_tensor *out, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "rows", rows, "out", out);
    int pad_post = is_post(padding, "padding", err),
        cut_post = pad_post < 0 ? pad_post : is_post(truncating, "truncating", err);
    int status = cut_post < 0 ? cut_post : padded_shape(rows, n, &out->shape, err);
    if (status < 0 || !out->data)
        return status;
    if (!is_known(out->dtype))
        return quern__fail(err, QUERN_DTYPE, "pad_sequences",
                           "out is not int32, int64, float32 or float64");
    int64_t per_step = 1, steps = out->shape.dims[1];
    for (int k = 2; k < out->shape.rank; k++)
        per_step *= out->shape.dims[k];
    for (int64_t r = 0; r < n; r++) {
        int64_t own = rows[r].shape.dims[0], kept = own < steps ? own : steps,
                from = cut_post ? 0 : own - kept;
        int64_t begin = pad_post ? 0 : steps - kept;
        for (int64_t i = 0; i < steps * per_step; i++) {
            int64_t step = i / per_step - begin, at = r * steps * per_step + i;
            bool filled = step >= 0 && step < kept;
            number x = filled ? load_number(&rows[r], from * per_step + i - begin * per_step)
                              : (number){ false, 0, value };
            if (!store_number(out, at, x))
                return quern__fail(err, QUERN_NUMBER, "pad_sequences",
                                   "a number of row %lld does not fit %s", (long long)r,
                                   quern_dtype_name(out->dtype));
        }
    }
    return QUERN_OK;
}

/* ---- to_categorical ---- */

int quern_to_categorical(const quern_tensor *x, int64_t classes, quern_tensor *out,
                         quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "x", x, "out", out);
    int64_t n = quern_shape_count(&x->shape), most = -1, class = 0;
    int rank = x->shape.rank;
    if (!is_known(x->dtype) || (out->data && !is_known(out->dtype)))
        return quern__fail(err, QUERN_DTYPE, "to_categorical",
                           "the types must be int32, int64, float32 or float64");
    if (rank > 1 && x->shape.dims[rank - 1] == 1)
        rank--;
    if (n < 0 || rank >= QUERN_MAX_RANK || classes < 0)
        return quern__fail(err, QUERN_SHAPE, "to_categorical",
                           "%lld classes or rank %d is out of range", (long long)classes, rank);
    for (int64_t i = 0; i < n; i++) {
        if (!to_integer(load_number(x, i), &class) || class == INT64_MAX)
            return quern__fail(err, QUERN_NUMBER, "to_categorical",
                               "number %lld is not a class index", (long long)i);
        most = class > most ? class : most;
    }
    classes = classes ? classes : most + 1;
    out->shape.rank = rank + 1;
    memcpy(out->shape.dims, x->shape.dims, (size_t)rank * sizeof *out->shape.dims);
    out->shape.dims[rank] = classes;
    if (quern_shape_count(&out->shape) < 0)
        return quern__fail(err, QUERN_SHAPE, "to_categorical",
                           "%lld classes of %lld numbers exceed the size limit", (long long)classes,
                           (long long)n);
    if (out->data)
        for (int64_t i = 0; i < n; i++) {
            to_integer(load_number(x, i), &class);
            class += class < 0 ? classes : 0;
            if (class < 0 || class >= classes)
                return quern__fail(err, QUERN_NUMBER, "to_categorical",
                                   "number %lld is class %lld, outside the %lld classes",
                                   (long long)i, (long long)class, (long long)classes);
            for (int64_t k = 0; k < classes; k++)
                store_number(out, i * classes + k, (number){ true, k == class, 0 });
        }
    return QUERN_OK;
}

/* ---- normalize ---- */

static double as_double(number x) { return x.whole ? (double)x.i : x.d; }

/* The norm of n numbers at distance `stride`. */
static double norm(const quern_tensor *x, int64_t at, int64_t n, int64_t stride, double order)
{
    double sum = isinf(order) && order < 0 ? INFINITY : 0;
    for (int64_t i = 0; i < n; i++) {
        double size = fabs(as_double(load_number(x, at + i * stride)));
        if (isinf(order))
            sum = order > 0 ? fmax(sum, size) : fmin(sum, size);
        else
            sum += order == 0 ? size != 0 : pow(size, order);
    }
    return isinf(order) || order == 0 ? sum : pow(sum, 1 / order);
}

int quern_normalize(const quern_tensor *x, int axis, double order, quern_tensor *out,
                    quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "x", x, "out", out);
    int rank = x->shape.rank;
    int64_t inner = 1, outer = 1;
    axis += axis < 0 ? rank : 0;
    if (!is_known(x->dtype) || (out->dtype != QUERN_FLOAT32 && out->dtype != QUERN_FLOAT64))
        return quern__fail(err, QUERN_DTYPE, "normalize",
                           "x must be int32, int64, float32 or float64, out float32 or float64");
    if (quern_shape_count(&x->shape) < 0 || axis < 0 || axis >= rank || isnan(order))
        return quern__fail(err, QUERN_SHAPE, "normalize", "axis %d is out of range for rank %d",
                           axis, rank);
    int64_t n = x->shape.dims[axis];
    for (int k = 0; k < rank; k++) {
        inner *= k > axis ? x->shape.dims[k] : 1;
        outer *= k < axis ? x->shape.dims[k] : 1;
    }
    out->shape = x->shape;
    if (rank == 1)
        out->shape = (quern_shape){ .rank = 2, .dims = { 1, n } };
    if (out->data)
        for (int64_t row = 0; row < outer * inner; row++) {
            int64_t at = row / inner * n * inner + row % inner;
            double length = norm(x, at, n, inner, order);
            for (int64_t i = 0; i < n; i++)
                store_number(out, at + i * inner,
                             (number){ false, 0,
                                       as_double(load_number(x, at + i * inner)) /
                                           (length == 0 ? 1 : length) });
        }
    return QUERN_OK;
}

int quern_make_sampling_table(int64_t size, double factor, double *out, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "out", out);
    const double gamma = 0.577; /* Keras's value of Euler's constant */
    if (!(factor > 0) || size < 0)
        return quern__fail(err, QUERN_INVALID, "sampling table",
                           "size %lld or factor %g is out of range", (long long)size, factor);
    for (int64_t i = 0; i < size; i++) {
        double rank = i ? (double)i : 1,
               f = factor * (rank * (log(rank) + gamma) + 0.5 - 1 / (12 * rank));
        out[i] = fmin(1, f / sqrt(f));
    }
    return QUERN_OK;
}
