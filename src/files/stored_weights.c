/* stored_weights: variables in the form in which files store them. Quantized kernels are float32 in
 * memory; files have int8, or int4 packed as keras.quantizers.pack_int4 does along the last axis. */
#include "files.h"
#include "h5.h"

#include <string.h>

quern_tensor quern__stored_form(const quern__variable *v)
{
    quern_tensor t = { .dtype = v->stored ? QUERN_INT8 : v->dtype, .shape = v->shape };
    int64_t *last = v->shape.rank ? &t.shape.dims[v->shape.rank - 1] : NULL;
    if (v->stored == QUERN__STORED_INT4 && last)
        *last = (*last + 1) / 2;
    return t;
}

static int8_t whole(float x)
{
    return (int8_t)(x >= 127 ? 127 : x > -128 ? x : -128); /* not a number: -128 */
}

/* Packs rows of `columns` numbers into bytes. */
static void pack(int8_t *out, const float *in, int64_t rows, int64_t columns)
{
    int64_t width = (columns + 1) / 2;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < width; k++) {
            int low = whole(in[r * columns + 2 * k]) & 15,
                high = 2 * k + 1 < columns ? whole(in[r * columns + 2 * k + 1]) & 15 : 0;
            int byte = high << 4 | low;
            out[r * width + k] = (int8_t)(byte < 128 ? byte : byte - 256);
        }
}

static void unpack(float *out, const int8_t *in, int64_t rows, int64_t columns)
{
    int64_t width = (columns + 1) / 2;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < columns; k++) {
            int half = (in[r * width + k / 2] & 255) >> (k % 2 ? 4 : 0) & 15;
            out[r * columns + k] = (float)(half < 8 ? half : half - 16);
        }
}

/* Rows of the last axis. */
static int64_t rows_of(const quern__variable *v)
{
    return v->shape.rank ? quern_shape_count(&v->shape) / v->shape.dims[v->shape.rank - 1] : 1;
}

int quern__stored_numbers(quern__variable *v, quern_tensor *out, quern_error *err)
{
    int64_t n = quern_shape_count(&v->shape);
    const float *from = quern__variable_numbers(v);
    *out = quern__stored_form(v);
    out->data = v->stored ? quern__alloc((size_t)n + 1) : quern__variable_numbers(v);
    if (!out->data)
        return quern__fail_memory(err, (size_t)n);
    if (v->stored == QUERN__STORED_INT4)
        pack(out->data, from, rows_of(v), n / rows_of(v));
    else if (v->stored)
        for (int64_t i = 0; i < n; i++)
            ((int8_t *)out->data)[i] = whole(from[i]);
    return QUERN_OK;
}

void quern__stored_free(const quern__variable *v, quern_tensor *t)
{
    if (v->stored)
        quern__free(t->data);
    t->data = NULL;
}

int quern__stored_read(quern__h5 *h, const quern__h5_set *set, const char *where,
                       quern__variable *v, quern_error *err)
{
    char want[96], got[96];
    quern_tensor form = quern__stored_form(v);
    if (!quern_shape_equal(&set->shape, &form.shape))
        return quern__fail(err, QUERN_SHAPE, where, "weight %s has shape %s, expected %s", v->path,
                           quern_shape_text(&set->shape, got, sizeof got),
                           quern_shape_text(&form.shape, want, sizeof want));
    if (v->stored && (set->type.class != 0 || set->type.size != 1 || !set->type.is_signed))
        return quern__fail(err, QUERN_FORMAT, where, "weight %s is not int8", v->path);
    quern_tensor out = { .dtype = v->dtype, .shape = v->shape, .data = quern__variable_numbers(v) };
    if (v->stored != QUERN__STORED_INT4)
        return quern__h5_read(h, set, &out, err);
    form.data = quern__alloc((size_t)quern_shape_count(&form.shape) + 1);
    int status = form.data ? quern__h5_read(h, set, &form, err)
                           : quern__fail_memory(err, (size_t)quern_shape_count(&form.shape));
    if (status >= 0)
        unpack(out.data, form.data, rows_of(v), quern_shape_count(&v->shape) / rows_of(v));
    quern__free(form.data);
    return status;
}

int quern__h5_read_variable(quern__h5 *h, uint64_t object, const char *where, quern__variable *v,
                            quern_error *err)
{
    quern__h5_set set;
    int status = quern__h5_dataset(h, object, &set, err);
    return status < 0 ? status : quern__stored_read(h, &set, where, v, err);
}
