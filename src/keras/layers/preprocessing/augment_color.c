/* augment_color: augmentations that change pixel values: brightness, contrast, colors, sharpness,
 * blur, erasing. */
#include "augmentation.h"

#include <math.h>
#include <string.h>

#define EACH_NUMBER(Q) for (int64_t i = 0, n_ = quern__picture_size(Q); i < n_; i++)

/* Maps a value from one range to another, in float32. */
static float moved(float x, double low, double high, double to_low, double to_high)
{
    if (low == to_low && high == to_high)
        return x;
    return (x - (float)low) / (float)(high - low) * (float)(to_high - to_low) + (float)to_low;
}

/* The first channel of pixel i. */
static float *pixel(const quern__picture *q, float *p, int64_t i)
{
    return p + i / q->width * q->y_step + i % q->width * q->x_step;
}

/* ---- brightness and contrast ---- */

void quern__contrast(const quern__augmentation *a, const quern__draws *d, float *p, float *scratch)
{
    const quern__picture *q = &a->of.picture;
    double by = 1 - a->range[0][0] + (a->range[0][1] + a->range[0][0]) * quern__drawn(d, 0);
    int64_t n = q->height * q->width;
    (void)scratch;
    for (int64_t c = 0; c < q->channels; c++) {
        double mean = 0;
        for (int64_t i = 0; i < n; i++)
            mean += (double)pixel(q, p, i)[c * q->c_step];
        mean /= (double)n;
        for (int64_t i = 0; i < n; i++) {
            float *x = pixel(q, p, i) + c * q->c_step;
            *x = quern__clip(((double)*x - mean) * by + mean, a->low, a->high);
        }
    }
}

void quern__brightness(const quern__augmentation *a, const quern__draws *d, float *p,
                       float *scratch)
{
    double by = quern__factor(a, d, 0, 0) * (a->high - a->low);
    (void)scratch;
    EACH_NUMBER(&a->of.picture)
    p[i] = quern__clip((double)p[i] + by, a->low, a->high);
}

void quern__invert(const quern__augmentation *a, const quern__draws *d, float *p, float *scratch)
{
    bool happens = quern__happens(a, d, 0);
    (void)scratch;
    EACH_NUMBER(&a->of.picture)
    p[i] = happens ? (float)a->high - p[i] : p[i];
}

void quern__posterize(const quern__augmentation *a, const quern__draws *d, float *p, float *scratch)
{
    int64_t low = (int64_t)a->range[0][0], high = (int64_t)a->range[0][1],
            bits = low == high ? low : low + (int64_t)(quern__drawn(d, 0) * (double)(high - low));
    int shift = (int)(8 - bits);
    (void)scratch;
    EACH_NUMBER(&a->of.picture)
    {
        float x = moved(p[i], a->low, a->high, 0, 255);
        int whole = x > 0 ? x < 255 ? (int)x : 255 : 0;
        p[i] = moved((float)(whole >> shift << shift), 0, 255, a->low, a->high);
    }
}

/* As in Keras, the ranges of addition and threshold start at the lower factors and end at 255 times
 * the upper factors. */
void quern__solarize(const quern__augmentation *a, const quern__draws *d, float *p, float *scratch)
{
    double part[2];
    (void)scratch;
    for (int k = 0; k < 2; k++)
        part[k] =
            a->range[k][0] + (a->range[k][1] * 255 - a->range[k][0]) * quern__drawn(d, (uint64_t)k);
    EACH_NUMBER(&a->of.picture)
    {
        float x = quern__clip((double)moved(p[i], a->low, a->high, 0, 255) + part[0], 0, 255);
        p[i] = moved((double)x < part[1] ? x : 255 - x, 0, 255, a->low, a->high);
    }
}

/* Keras takes the extrema over the second and third axis, for any data format. */
void quern__auto_contrast(const quern__augmentation *a, const quern__draws *d, float *p,
                          float *scratch)
{
    const quern__picture *q = &a->of.picture;
    int64_t size = quern__picture_size(q), last = q->c_step == 1 ? q->channels : q->width;
    (void)d, (void)scratch;
    for (int64_t k = 0; k < last; k++) {
        float low = INFINITY, high = -INFINITY;
        for (int64_t i = k; i < size; i += last) {
            float x = moved(p[i], a->low, a->high, 0, 255);
            low = x < low ? x : low;
            high = x > high ? x : high;
        }
        float scale = 255 / (high - low), offset = -low * scale;
        if (high > low)
            for (int64_t i = k; i < size; i += last) {
                float x = moved(p[i], a->low, a->high, 0, 255) * scale + offset;
                p[i] = moved(quern__clip((double)x, 0, 255), 0, 255, a->low, a->high);
            }
    }
}

/* The bin of a value among 0 … top; NaN is in bin 0. */
static int64_t bin_of(float place, float top)
{
    return place > 0 ? (int64_t)(place < top ? place : top) : 0;
}

/* Maps each value by the cumulative histogram of its channel. Keras uses the histogram of the
 * batch; here it is of the image. */
void quern__equalize(const quern__augmentation *a, const quern__draws *d, float *p, float *table)
{
    const quern__picture *q = &a->of.picture;
    int64_t n = q->height * q->width, top = a->bins - 1;
    float low = (float)a->low, scale = (float)(255 / (a->high - a->low)), most = (float)top;
    (void)d;
    for (int64_t c = 0; c < q->channels; c++) {
        int64_t filled = 0;
        memset(table, 0, (size_t)a->bins * sizeof *table);
        for (int64_t i = 0; i < n; i++) {
            float x = (pixel(q, p, i)[c * q->c_step] - low) * scale;
            table[bin_of(x * most / 255, most)]++;
        }
        double first = 0, sum = 0;
        for (int64_t k = 0; k < a->bins; k++) {
            filled += table[k] > 0;
            sum += (double)table[k];
            first = first > 0 ? first : sum;
            table[k] = (float)sum;
        }
        if (filled > 1)
            for (int64_t i = 0; i < n; i++) {
                float *x = pixel(q, p, i) + c * q->c_step;
                float place = (*x - low) * scale / 255 * most;
                double share = ((double)table[bin_of(place, most)] - first) * 255 / (sum - first);
                *x = low + quern__clip(rint(share), 0, 255) / scale;
            }
    }
}

/* ---- colors ---- */

static float gray(const quern__picture *q, const float *p)
{
    return q->channels == 1 ? *p
                            : 0.2989f * p[0] + 0.587f * p[q->c_step] + 0.114f * p[2 * q->c_step];
}

void quern__grayscale(const quern__augmentation *a, const quern__draws *d, float *p, float *scratch)
{
    const quern__picture *q = &a->of.picture;
    (void)scratch;
    if (quern__drawn(d, 0) < a->range[0][0])
        for (int64_t i = 0; i < q->height * q->width; i++) {
            float *x = pixel(q, p, i), level = gray(q, x);
            for (int64_t c = 0; c < q->channels; c++)
                x[c * q->c_step] = level;
        }
}

void quern__degenerate(const quern__augmentation *a, const quern__draws *d, float *p,
                       float *scratch)
{
    const quern__picture *q = &a->of.picture;
    double by = quern__factor(a, d, 0, 0);
    (void)scratch;
    for (int64_t i = 0; i < q->height * q->width; i++) {
        float *x = pixel(q, p, i), level = gray(q, x);
        for (int64_t c = 0; c < q->channels; c++)
            x[c * q->c_step] =
                quern__clip((double)x[c * q->c_step] + by * (double)(level - x[c * q->c_step]),
                            a->low, a->high);
    }
}

typedef struct hsv {
    float h, s, v;
} hsv;

static hsv hsv_of(const float *p, int64_t step)
{
    float r = p[0], g = p[step], b = p[2 * step], most = fmaxf(r, fmaxf(g, b)),
          range = most - fminf(r, fminf(g, b));
    float h = r == most   ? (g - b) / (6 * range)
              : g == most ? (b - r) / (6 * range) + 2.0f / 6
                          : (r - g) / (6 * range) + 4.0f / 6;
    h = range > 0 ? h : 0;
    return (hsv){ h < 0 ? h + 1 : h, most > 0 ? range / most : 0, most };
}

static void rgb_of(hsv x, float *p, int64_t step)
{
    float turn = x.h * 6,
          part[3] = { fabsf(turn - 3) - 1, 2 - fabsf(turn - 2), 2 - fabsf(turn - 4) };
    for (int c = 0; c < 3; c++)
        p[c * step] = ((1 - x.s) + x.s * quern__clip((double)part[c], 0, 1)) * x.v;
}

void quern__hue(const quern__augmentation *a, const quern__draws *d, float *p, float *scratch)
{
    const quern__picture *q = &a->of.picture;
    float by = (float)((quern__drawn(d, 0) > 0.5 ? -0.5 : 0.5) * quern__factor(a, d, 0, 1));
    (void)scratch;
    EACH_NUMBER(q)
    p[i] = moved(p[i], a->low, a->high, 0, 1);
    for (int64_t i = 0; i < q->height * q->width; i++) {
        hsv x = hsv_of(pixel(q, p, i), q->c_step);
        x.h += by;
        x.h -= x.h > 1 ? 1 : 0;
        x.h += x.h < 0 ? 1 : 0;
        rgb_of(x, pixel(q, p, i), q->c_step);
    }
    EACH_NUMBER(q)
    p[i] = moved(quern__clip((double)p[i], 0, 1), 0, 1, a->low, a->high);
}

/* Keras clips the saturation factor (0 … 1) to the value range. */
void quern__saturation(const quern__augmentation *a, const quern__draws *d, float *p,
                       float *scratch)
{
    const quern__picture *q = &a->of.picture;
    double factor = quern__factor(a, d, 0, 0), by = factor / (1 - factor + 1e-7);
    (void)scratch;
    for (int64_t i = 0; i < q->height * q->width; i++) {
        hsv x = hsv_of(pixel(q, p, i), q->c_step);
        x.s = quern__clip((double)x.s * by, a->low, a->high);
        rgb_of(x, pixel(q, p, i), q->c_step);
    }
}

/* ---- neighborhoods ---- */

void quern__weigh_around(const quern__picture *q, const float *kernel, const int64_t size[2],
                         const float *from, float *to)
{
    for (int64_t y = 0; y < q->height; y++)
        for (int64_t x = 0; x < q->width; x++)
            for (int64_t c = 0; c < q->channels; c++) {
                float sum = 0;
                for (int64_t k = 0; k < size[0] * size[1]; k++) {
                    int64_t row = y + k / size[1] - (size[0] - 1) / 2,
                            column = x + k % size[1] - (size[1] - 1) / 2;
                    if (row >= 0 && row < q->height && column >= 0 && column < q->width)
                        sum +=
                            kernel[k] * from[row * q->y_step + column * q->x_step + c * q->c_step];
                }
                to[y * q->y_step + x * q->x_step + c * q->c_step] = sum;
            }
}

void quern__sharpness(const quern__augmentation *a, const quern__draws *d, float *p, float *scratch)
{
    const float n = 1.0f / 13, kernel[9] = { n, n, n, n, 5 * n, n, n, n, n };
    float by = (float)(1 - 2 * quern__factor(a, d, 0, 0));
    quern__weigh_around(&a->of.picture, kernel, (int64_t[2]){ 3, 3 }, p, scratch);
    EACH_NUMBER(&a->of.picture)
    p[i] = quern__clip((double)(p[i] + by * (scratch[i] - p[i])), a->low, a->high);
}

void quern__gaussian_curve(int64_t size, double sigma, float *out)
{
    double sum = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < size; i++) {
            double x = ((double)i - (double)(size - 1) / 2) / sigma, height = exp(-0.5 * x * x);
            sum += pass ? 0 : height;
            out[i] = (float)(height / sum);
        }
}

/* Keras multiplies columns of the first curve by rows of the second, and reshapes the result to
 * size[0] × size[1]. */
void quern__blur(const quern__augmentation *a, const quern__draws *d, float *p, float *scratch)
{
    float curves[2][QUERN__MOST_KERNEL], kernel[QUERN__MOST_KERNEL * QUERN__MOST_KERNEL];
    const int64_t *size = a->kernel;
    if (quern__happens(a, d, 0)) {
        for (int k = 0; k < 2; k++)
            quern__gaussian_curve(size[k], quern__factor(a, d, 1, 2 + (uint64_t)k) + 1e-6,
                                  curves[k]);
        for (int64_t k = 0; k < size[0] * size[1]; k++)
            kernel[k] = curves[1][k / size[0]] * curves[0][k % size[0]];
        quern__weigh_around(&a->of.picture, kernel, size, p, scratch);
        memcpy(p, scratch, (size_t)quern__picture_size(&a->of.picture) * sizeof *p);
    }
    EACH_NUMBER(&a->of.picture)
    p[i] = quern__clip((double)p[i], a->low, a->high);
}

/* Erases a rectangle whose sides are square roots of fractions of the image's sides. */
void quern__erase(const quern__augmentation *a, const quern__draws *d, float *p, float *scratch)
{
    const quern__picture *q = &a->of.picture;
    double sides[2] = { (double)q->width, (double)q->height }, from[2], to[2];
    (void)scratch;
    for (int k = 0; k < 2; k++) {
        double length = sqrt(quern__factor(a, d, 1, 2 + (uint64_t)k)) * sides[k];
        from[k] = quern__drawn(d, 4 + (uint64_t)k) * (sides[k] - length);
        to[k] = from[k] + length;
    }
    if (quern__happens(a, d, 0))
        for (int64_t i = 0; i < q->height * q->width; i++) {
            double x = (double)(i % q->width), y = (double)(i / q->width);
            if (x < from[0] || x >= to[0] || y < from[1] || y >= to[1])
                continue;
            for (int64_t c = 0; c < q->channels; c++) {
                uint64_t at = d->base + QUERN__DRAWS_BY_PIXEL + (uint64_t)(i * q->channels + c);
                double value = a->n_fill ? a->fill[a->n_fill > 1 ? c : 0]
                                         : quern__random_normal(d->key, d->record, at) * a->high;
                pixel(q, p, i)[c * q->c_step] = quern__clip(value, a->low, a->high);
            }
        }
}
