/* requantize: the sum of a quantized kernel and its LoRA product, quantized again, as Keras writes
 * it to files (keras.src.layers: _get_kernel_with_merged_lora). Formulas are those of
 * keras.quantizers.abs_max_quantize and abs_max_quantize_grouped_with_zero_point, in float32. */
#include "keras/keras.h"

#include <math.h>
#include <string.h>

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

/* Element i of the sum, whose scale is s. Base and kernel have their elements in the same order. */
static float sum_at(const quern__kernel_weights *k, int64_t i, int64_t s)
{
    const float *base = quern__variable_numbers(k->base),
                *scale = quern__variable_numbers(k->scale);
    float number = base[i] / scale[s];
    if (k->zero)
        number = (base[i] - ((const float *)quern__variable_numbers(k->zero))[s]) * scale[s];
    return number + (float)quern__lora_element(k, i);
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
        int64_t s = scale_at(k, i);
        float number = sum_at(k, i, s);
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

quern__variable *quern__requantize(const quern__kernel_weights *k, const quern__variable *v,
                                   quern_error *err)
{
    int64_t n = quern_shape_count(&k->base->shape), scales = quern_shape_count(&k->scale->shape);
    size_t bytes = (size_t)scales * sizeof(float);
    float *low = quern__alloc(2 * bytes), *high = low ? low + scales : NULL, *zero = low,
          *scale = high, least = k->bits == 8 ? -127 : -8, most = k->bits == 8 ? 127 : 7;
    quern__variable *out =
        low ? quern__variable_new(v->path, QUERN_FLOAT32, &v->shape, false, err) : NULL;
    if (!low)
        quern__fail_memory(err, 2 * bytes);
    if (!out) {
        quern__free(low);
        return NULL;
    }
    out->stored = v->stored;
    limits(k, low, high);
    for (int64_t s = 0; s < scales; s++) { /* zero and scale replace low and high */
        float range = high[s] - low[s], largest = fmaxf(-low[s], high[s]), from = low[s];
        scale[s] = k->zero ? (range + epsilon) / (most - least) : most / (largest + epsilon);
        zero[s] = k->zero ? within(rintf(-from / scale[s]) + least, least, most) : 0;
    }
    float *to = out->data;
    if (v != k->base)
        memcpy(to, v == k->scale ? scale : zero, bytes);
    for (int64_t i = 0; i < n && v == k->base; i++) {
        int64_t s = scale_at(k, i);
        float x = sum_at(k, i, s);
        to[i] = within(k->zero ? rintf(x / scale[s]) + zero[s] : rintf(x * scale[s]), least, most);
    }
    quern__free(low);
    return out;
}
