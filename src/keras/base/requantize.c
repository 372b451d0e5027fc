/* requantize: the sum of a quantized kernel and its LoRA product, quantized again, as Keras writes
 * it to files (keras.src.layers: _get_kernel_with_merged_lora). Formulas are those of
 * keras.quantizers.abs_max_quantize and abs_max_quantize_grouped_with_zero_point, in float32. */
#include "keras/keras.h"

#include <math.h>

static const float epsilon = 1e-7f;

/* The element of the scales for element i of base. */
static int64_t scale_at(const quern__kernel_weights *k, int64_t i)
{
    int64_t at = 0;
    for (int axis = k->base->shape.rank - 1; axis >= 0; axis--) {
        int64_t size = k->base->shape.dims[axis];
        at += i % size / k->by[axis] * k->step[axis];
        i /= size;
    }
    return at;
}

/* Element i of the sum. Base and kernel have their elements in the same order. */
static float sum_at(const quern__kernel_weights *k, int64_t i)
{
    int64_t rank = k->b->shape.dims[0], columns = k->b->shape.dims[1], at = scale_at(k, i);
    const float *a = quern__variable_numbers(k->a), *b = quern__variable_numbers(k->b),
                *scale = quern__variable_numbers(k->scale);
    float whole = ((const float *)quern__variable_numbers(k->base))[i],
          number = k->zero
                       ? (whole - ((const float *)quern__variable_numbers(k->zero))[at]) * scale[at]
                       : whole / scale[at];
    double more = 0;
    for (int64_t r = 0; r < rank; r++)
        more += (double)a[i / columns * rank + r] * b[r * columns + i % columns];
    return number + (float)(k->factor * more);
}

/* The smallest and the largest number of each group. The zeros with which Keras fills the last
 * group count. */
static void limits(const quern__kernel_weights *k, float *low, float *high)
{
    int64_t n = quern_shape_count(&k->base->shape), scales = quern_shape_count(&k->scale->shape);
    bool filled = false;
    for (int axis = 0; axis < k->base->shape.rank; axis++)
        filled = filled || k->base->shape.dims[axis] % k->by[axis];
    for (int64_t s = 0; s < scales; s++) {
        low[s] = INFINITY;
        high[s] = -INFINITY;
    }
    for (int64_t i = 0; i < n; i++) {
        float number = sum_at(k, i);
        int64_t s = scale_at(k, i);
        low[s] = fminf(low[s], number);
        high[s] = fmaxf(high[s], number);
    }
    for (int axis = 0; filled && axis < k->base->shape.rank; axis++)
        for (int64_t s = 0; k->by[axis] > 1 && s < scales; s++)
            if (s / k->step[axis] % ((k->base->shape.dims[axis] - 1) / k->by[axis] + 1) ==
                (k->base->shape.dims[axis] - 1) / k->by[axis]) {
                low[s] = fminf(low[s], 0);
                high[s] = fmaxf(high[s], 0);
            }
}

static float within(float x, float low, float high) { return fminf(fmaxf(x, low), high); }

static quern__variable *like(quern__variable *v, quern_error *err)
{
    quern__variable *out = quern__variable_new(v->path, QUERN_FLOAT32, &v->shape, false, err);
    if (out)
        out->stored = v->stored;
    return out;
}

int quern__requantize(const quern__kernel_weights *k, quern__variable *out[3], quern_error *err)
{
    int64_t n = quern_shape_count(&k->base->shape), scales = quern_shape_count(&k->scale->shape);
    float *low = quern__alloc((size_t)scales * 2 * sizeof *low), *high = low ? low + scales : NULL,
          least = k->bits == 8 ? -127 : -8, most = k->bits == 8 ? 127 : 7;
    out[0] = like(k->base, err);
    out[1] = like(k->scale, err);
    out[2] = k->zero ? like(k->zero, err) : NULL;
    if (!low || !out[0] || !out[1] || (k->zero && !out[2])) {
        quern__free(low);
        return low ? QUERN_NOMEM : quern__fail_memory(err, (size_t)scales * 2 * sizeof *low);
    }
    float *whole = out[0]->data, *scale = out[1]->data, *zero = k->zero ? out[2]->data : NULL;
    limits(k, low, high);
    for (int64_t s = 0; s < scales; s++) {
        scale[s] = zero ? (high[s] - low[s] + epsilon) / (most - least)
                        : most / (fmaxf(-low[s], high[s]) + epsilon);
        if (zero)
            zero[s] = within(rintf(-low[s] / scale[s]) + least, least, most);
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t s = scale_at(k, i);
        float x = sum_at(k, i);
        whole[i] = within(zero ? rintf(x / scale[s]) + zero[s] : rintf(x * scale[s]), least, most);
    }
    quern__free(low);
    return QUERN_OK;
}
