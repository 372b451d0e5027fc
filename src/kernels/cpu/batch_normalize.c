/* Batch normalization of float32 by channel. Few channels: several pixels at a time; many channels:
 * stripes of 64. Sums are in float over 32 steps, then in double. The ops and their arrays are
 * those of ops/batch_normalize.c.
 *
 * A record is a matrix (pixels, C). With C <= 32, 64 / C pixels form one run of up to 64 numbers,
 * and the numbers of a channel are added at the end. With more channels, a stripe has up to 64 of
 * them, and a run is one pixel. Either way the inner loop is a vector operation without a
 * shuffle. */
#include "vector.h"

#include <string.h>

enum { width = 64, block = 32 };

/* The layout of a record: `count` runs of `wide` numbers, `stride` apart, each `pixels` pixels of
 * `channels` channels; then `rest` pixels. */
typedef struct stripe {
    int64_t channels, pixels, wide, stride, count, rest;
} stripe;

static stripe stripe_of(int64_t channels, int64_t first, int64_t pixels)
{
    /* many channels: a stripe from `first` on; few: all of them */
    int64_t n = channels - first < width ? channels - first : width,
            at_once = channels <= width / 2 ? width / channels : 1;
    return (
        stripe){ n, at_once, n * at_once, channels * at_once, pixels / at_once, pixels % at_once };
}

static int64_t channels_of(const quern_tensor *t) { return t->shape.dims[t->shape.rank - 1]; }
static int64_t pixels_of(const quern_tensor *t)
{
    int64_t records = t->shape.dims[0];
    return records ? quern_shape_count(&t->shape) / records / channels_of(t) : 0;
}

/* Repeats a number per channel for each pixel of a stripe. */
static void repeat_channels(const stripe *s, const float *row, float *to)
{
    for (int64_t i = 0; i < s->wide; i++)
        to[i] = row[i % s->channels];
}

/* Sums over `count` runs of `wide` numbers: of x - shift and its square, or of dy (x - shift) and
 * dy. */
static void run_sums(int64_t count, int64_t wide, int64_t stride, const float *x,
                     const float *shift, const float *dy, double *restrict first,
                     double *restrict second)
{
    for (int64_t i = 0; i < count; i += block) {
        float a[width] = { 0 }, b[width] = { 0 };
        int64_t n = count - i < block ? count - i : block;
        if (dy)
            for (int64_t k = 0; k < n; k++, x += stride, dy += stride)
                for (int64_t j = 0; j < wide; j++) {
                    a[j] += dy[j] * (x[j] - shift[j]);
                    b[j] += dy[j];
                }
        else
            for (int64_t k = 0; k < n; k++, x += stride)
                for (int64_t j = 0; j < wide; j++) {
                    float gap = x[j] - shift[j];
                    a[j] += gap;
                    b[j] += gap * gap;
                }
        for (int64_t j = 0; j < wide; j++) {
            first[j] += a[j];
            second[j] += b[j];
        }
    }
}

/* The two sums of a record by channel. `sums` has 2 * width numbers; the second sum starts at
 * `width`. */
static void sums_of(const stripe *s, const float *x, const float *shift, const float *dy,
                    double *sums)
{
    double all[2][width] = { { 0 } };
    int64_t done = s->count * s->stride;
    run_sums(s->count, s->wide, s->stride, x, shift, dy, all[0], all[1]);
    run_sums(s->rest, s->channels, s->channels, x + done, shift, dy ? dy + done : NULL, all[0],
             all[1]);
    for (int64_t j = s->channels; j < s->wide; j++) {
        all[0][j % s->channels] += all[0][j];
        all[1][j % s->channels] += all[1][j];
    }
    memcpy(sums, all[0], sizeof all[0]);
    memcpy(sums + width, all[1], sizeof all[1]);
}

/* Each record uses its first pixel as shift, so that a large mean does not lose precision. */
static int moments_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = channels_of(&c->in[0]), pixels = pixels_of(&c->in[0]);
    int64_t from = c->axis < 0 ? 0 : begin, to = c->axis < 0 ? c->out[0].shape.dims[0] : end;
    for (int64_t r = from; r < to; r++)
        for (int64_t k = 0; k < n; k += width) {
            const float *x = (const float *)c->in[0].data + r * pixels * n + k;
            float *out = (float *)c->out[0].data + 2 * r * n + k, shift[width];
            double sums[2 * width];
            stripe s = stripe_of(n, k, pixels);
            repeat_channels(&s, x, shift);
            sums_of(&s, x, shift, NULL, sums);
            for (int64_t j = 0; j < s.channels; j++) {
                double mean = sums[j] / (double)pixels,
                       variance = sums[width + j] / (double)pixels - mean * mean;
                out[j] = (float)(shift[j] + mean);
                out[n + j] = (float)(variance > 0 ? variance : 0);
            }
        }
    return 0;
}

/* y = x scale + shift, by column. */
static void scale_and_shift(int64_t count, int64_t wide, int64_t stride, const float *x,
                            const float *scale, const float *shift, float *restrict y)
{
    for (int64_t i = 0; i < count; i++, x += stride, y += stride)
        for (int64_t j = 0; j < wide; j++)
            y[j] = x[j] * scale[j] + shift[j];
}

/* 1 / sqrt(variance + epsilon) of channel k. */
static float inverse_of(const quern__call *c, int64_t n, int64_t k)
{
    return (float)(1 / sqrt((double)((const float *)c->in[1].data)[n + k] +
                            c->attr->f[QUERN__NORMALIZE_EPSILON]));
}

static int normalize_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = channels_of(&c->in[0]), pixels = pixels_of(&c->in[0]),
            gamma = c->attr->i[QUERN__NORMALIZE_GAMMA], beta = c->attr->i[QUERN__NORMALIZE_BETA];
    int64_t from = c->axis < 0 ? 0 : begin, to = c->axis < 0 ? c->out[0].shape.dims[0] : end;
    const float *mean = c->in[1].data;
    for (int64_t k = 0; k < n; k += width) {
        float scale[width], shift[width], wide[2][width];
        stripe s = stripe_of(n, k, pixels);
        /* y = x scale + shift, with mean and beta in the shift */
        for (int64_t j = 0; j < s.channels; j++) {
            scale[j] =
                inverse_of(c, n, k + j) * (gamma ? ((const float *)c->in[gamma].data)[k + j] : 1);
            shift[j] =
                (beta ? ((const float *)c->in[beta].data)[k + j] : 0) - mean[k + j] * scale[j];
        }
        repeat_channels(&s, scale, wide[0]);
        repeat_channels(&s, shift, wide[1]);
        for (int64_t r = from; r < to; r++) {
            const float *x = (const float *)c->in[0].data + r * pixels * n + k;
            float *y = (float *)c->out[0].data + r * pixels * n + k;
            int64_t done = s.count * s.stride;
            scale_and_shift(s.count, s.wide, s.stride, x, wide[0], wide[1], y);
            scale_and_shift(s.rest, s.channels, n, x + done, wide[0], wide[1], y + done);
        }
    }
    return 0;
}

/* Sums of dy h and of dy for each record. */
static int sums_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = channels_of(&c->in[0]), pixels = pixels_of(&c->in[0]);
    int64_t from = c->axis < 0 ? 0 : begin, to = c->axis < 0 ? c->out[0].shape.dims[0] : end;
    for (int64_t k = 0; k < n; k += width) {
        float shift[width];
        stripe s = stripe_of(n, k, pixels);
        repeat_channels(&s, (const float *)c->in[1].data + k, shift);
        for (int64_t r = from; r < to; r++) {
            double sums[2 * width];
            int64_t at = r * pixels * n + k;
            float *out = (float *)c->out[0].data + 2 * r * n + k;
            sums_of(&s, (const float *)c->in[0].data + at, shift, (const float *)c->in[2].data + at,
                    sums);
            for (int64_t j = 0; j < s.channels; j++) {
                out[j] = (float)(sums[j] * inverse_of(c, n, k + j));
                out[n + j] = (float)sums[width + j];
            }
        }
    }
    return 0;
}

/* dx = dy scale - x along + shift, by column. */
static void input_grads(int64_t count, int64_t wide, int64_t stride, const float *x,
                        const float *dy, const float *scale, const float *along, const float *shift,
                        float *restrict dx)
{
    for (int64_t i = 0; i < count; i++, x += stride, dy += stride, dx += stride)
        for (int64_t j = 0; j < wide; j++)
            dx[j] = dy[j] * scale[j] - x[j] * along[j] + shift[j];
}

/* dx = dy scale - x along + shift: the formula of ops/batch_normalize.c with its per-channel
 * numbers combined. */
static int batch_grad_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = channels_of(&c->in[0]), pixels = pixels_of(&c->in[0]),
            records = c->in[0].shape.dims[0];
    int64_t from = c->axis < 0 ? 0 : begin, to = c->axis < 0 ? records : end;
    const float *mean = c->in[1].data, *sums = c->in[2].data;
    double count = (double)(records * pixels);
    for (int64_t k = 0; k < n; k += width) {
        float row[3][width], wide[3][width];
        stripe s = stripe_of(n, k, pixels);
        for (int64_t j = 0; j < s.channels; j++) {
            double inverse = inverse_of(c, n, k + j),
                   scale = inverse * (c->n_in > 4 ? ((const float *)c->in[4].data)[k + j] : 1);
            double along = scale * inverse * sums[k + j] / count;
            row[0][j] = (float)scale;
            row[1][j] = (float)along;
            row[2][j] = (float)(mean[k + j] * along - scale * sums[n + k + j] / count);
        }
        for (int i = 0; i < 3; i++)
            repeat_channels(&s, row[i], wide[i]);
        for (int64_t r = from; r < to; r++) {
            int64_t at = r * pixels * n + k, done = at + s.count * s.stride;
            const float *x = c->in[0].data, *dy = c->in[3].data;
            float *dx = c->out[0].data;
            input_grads(s.count, s.wide, s.stride, x + at, dy + at, wide[0], wide[1], wide[2],
                        dx + at);
            input_grads(s.rest, s.channels, n, x + done, dy + done, wide[0], wide[1], wide[2],
                        dx + done);
        }
    }
    return 0;
}

/* Combines the records of each channel, in double. */
static int merge_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = channels_of(&c->in[0]), records = c->in[0].shape.dims[0];
    const float *in = c->in[0].data;
    float *out = c->out[0].data;
    (void)begin, (void)end;
    for (int64_t k = 0; k < n; k++) {
        double mean = 0, variance = 0;
        for (int64_t r = 0; r < records; r++)
            mean += in[2 * r * n + k];
        mean /= (double)records;
        for (int64_t r = 0; r < records; r++) {
            double gap = in[2 * r * n + k] - mean;
            variance += in[(2 * r + 1) * n + k] + gap * gap;
        }
        out[k] = (float)mean;
        out[n + k] = (float)(variance / (double)records);
    }
    return 0;
}

quern__kernel *quern__cpu_batch_normalize(const quern__call *c)
{
    static const quern__op_kernel all[] = {
        { &quern__op_batch_moments, moments_kernel },     { &quern__op_batch_merge, merge_kernel },
        { &quern__op_batch_normalize, normalize_kernel }, { &quern__op_batch_sums, sums_kernel },
        { &quern__op_batch_grad, batch_grad_kernel },     { 0 }
    };
    return quern__kernel_among(c, all);
}
