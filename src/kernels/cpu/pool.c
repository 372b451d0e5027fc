/* Pooling and depthwise convolution of float32 images: for each window, up to 64 contiguous
 * channels at a time. Images are (B, space, C), and a call has some of the records.
 *
 * Three forms of the maximum:
 *
 *   window_max, back_to_most   one window; vectors of channels
 *   row_max, back_row          a row of windows if a pixel has fewer than 16 channels: a vector
 *                              covers several pixels
 *   once                       backward, if windows tile the image: dx is written, not added to
 *
 * Depthwise ops walk over the kernel positions that are inside the image. Their kernel gradient
 * sums a record in float and records in double. */
#include "vector.h"

#include "ops/convolve.h"

#include <string.h>

enum { width = 64, lanes = 16 };

/* The records of a call. */
typedef struct records {
    int64_t first, last;
} records;

static records records_of(const quern__call *c, int64_t begin, int64_t end)
{
    return c->axis < 0 ? (records){ 0, c->out[0].shape.dims[0] } : (records){ begin, end };
}

/* The offset of a position of the image. */
static int64_t image_offset(const quern__space *s, int64_t i, int64_t j, int64_t k)
{
    return ((i * s->in[1] + j) * s->in[2] + k) * s->channels;
}

/* Advances to the next window in C order. */
static void next_window(const quern__space *s, int64_t *o)
{
    for (int a = 2; a >= 0 && ++o[a] == s->out[a]; a--)
        o[a] = 0;
}

/* ---- pooling ---- */

/* The part of a window inside the image. */
typedef struct window {
    int64_t from[3], to[3], count;
} window;

/* Sets window `o`. Windows must ascend in C order: only axes that changed are recomputed. */
static void window_at(const quern__space *s, const int64_t *o, window *w)
{
    bool moved = true;
    for (int a = 2; a >= 0 && moved; a--) {
        quern__space_window(s, a, o[a], &w->from[a], &w->to[a]);
        moved = o[a] == 0;
    }
    w->count = (w->to[0] - w->from[0]) * (w->to[1] - w->from[1]) * (w->to[2] - w->from[2]);
}

/* Whether windows neither overlap nor leave gaps, so that each image position is written once. */
static bool tiled(const quern__space *s)
{
    for (int a = 0; a < 3; a++)
        if (s->stride[a] != s->kernel[a] || s->before[a] || s->out[a] * s->stride[a] < s->in[a])
            return false;
    return true;
}

#define EACH_PLACE(S, W)                                                                       \
    for (int64_t i_ = (W)->from[0]; i_ < (W)->to[0]; i_++)                                     \
        for (int64_t j_ = (W)->from[1]; j_ < (W)->to[1]; j_++)                                 \
            for (int64_t k_ = (W)->from[2], at = image_offset(S, i_, j_, k_); k_ < (W)->to[2]; \
                 k_++, at += (S)->channels)

/* The maximum of a window for n channels. A NaN counts only if it comes first. */
static void window_max(const quern__space *s, const window *w, const float *x, float *restrict y,
                       int64_t n)
{
    for (int64_t q = 0; q < n; q++)
        y[q] = -INFINITY;
    EACH_PLACE(s, w)
    for (int64_t q = 0; q < n; q++)
        y[q] = x[at + q] > y[q] ? x[at + q] : y[q];
}

/* Few channels fit in one vector, so one pass computes a row of windows. It also computes the lanes
 * after the last channel; the next windows overwrite them. The last windows of a row are computed
 * exactly. */
typedef float lane __attribute__((vector_size(64), aligned(4)));
typedef int32_t mask __attribute__((vector_size(64)));
#define CHOSEN(M, A, B) (lane)(((M) & (mask)(A)) | (~(M) & (mask)(B)))

/* The number of windows of a row for that pass, the extent of the first window, and the steps
 * between positions and between windows. */
typedef struct stretch {
    int64_t count, places[2], up, down, step;
} stretch;

static stretch row_stretch(const quern__space *s, const window *w, int64_t windows_left)
{
    int64_t c = s->channels, along = w->to[2] - w->from[2];
    stretch r = { .places = { w->to[1] - w->from[1], along },
                  .up = s->in[2] * c,
                  .down = c,
                  .step = s->stride[2] * c };
    bool plain =
        s->stride[2] > 0 && c < lanes && s->in[0] == 1 && along == s->kernel[2] && w->from[2] == 0;
    /* windows whose vectors stay inside the row, and whose stores stay before the last window */
    int64_t in_row = plain ? ((s->in[2] - along + 1) * c - lanes) / r.step + 1 : 0,
            left = windows_left - lanes / c - 1;
    r.count = in_row < s->out[2] ? in_row : s->out[2];
    r.count = r.count < left ? r.count : left;
    r.count = r.count > 0 && (s->in[2] - along + 1) * c >= lanes ? r.count : 0;
    return r;
}

/* The maximum of r->count windows; 16 lanes are several pixels. */
static void row_max(const stretch *r, const float *x, float *y)
{
    for (int64_t k = 0; k < r->count; k++, x += r->step, y += r->down) {
        lane most = *(const lane *)x;
        for (int64_t i = 0; i < r->places[0]; i++)
            for (int64_t j = 0; j < r->places[1]; j++) {
                lane v = *(const lane *)(x + i * r->up + j * r->down);
                most = CHOSEN(v > most, v, most);
            }
        *(lane *)y = most;
    }
}

/* The gradient of those windows: each lane gives dy to its first maximum. */
static void back_row(const stretch *r, const float *x, const float *y, const float *dy, float *dx)
{
    for (int64_t k = 0; k < r->count;
         k++, x += r->step, dx += r->step, y += r->down, dy += r->down) {
        lane left = *(const lane *)dy, most = *(const lane *)y, none = { 0 };
        for (int64_t i = 0; i < r->places[0]; i++)
            for (int64_t j = 0; j < r->places[1]; j++) {
                mask hit = *(const lane *)(x + i * r->up + j * r->down) == most;
                *(lane *)(dx + i * r->up + j * r->down) = CHOSEN(hit, left, none);
                left = CHOSEN(hit, none, left);
            }
    }
}

/* The mean of a window for n channels. */
static void window_mean(const quern__space *s, const window *w, const float *x, float *restrict y,
                        int64_t n)
{
    float share = 1 / (float)w->count;
    for (int64_t q = 0; q < n; q++)
        y[q] = 0;
    EACH_PLACE(s, w)
    for (int64_t q = 0; q < n; q++)
        y[q] += x[at + q];
    for (int64_t q = 0; q < n; q++)
        y[q] *= share;
}

/* Forward pass: window by window in C order, or a row of windows at once. */
static int pool_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    quern__space s = quern__space_of(c->attr, &c->in[0].shape, &c->out[0].shape);
    records r = records_of(c, begin, end);
    int64_t windows = quern__space_numbers(s.out, 1),
            image = quern__space_numbers(s.in, s.channels);
    float *y = (float *)c->out[0].data + r.first * windows * s.channels;
    for (int64_t i = r.first; i < r.last; i++) {
        const float *x = (const float *)c->in[0].data + i * image;
        int64_t o[3] = { 0 };
        window w;
        for (int64_t m = 0; m < windows; m++, y += s.channels, next_window(&s, o)) {
            window_at(&s, o, &w);
            stretch together = !c->attr->i[QUERN__POOL_MEAN] && o[2] == 0
                                   ? row_stretch(&s, &w, windows - m)
                                   : (stretch){ 0 };
            if (together.count) {
                row_max(&together, x + image_offset(&s, w.from[0], w.from[1], w.from[2]), y);
                m += together.count - 1;
                y += (together.count - 1) * s.channels;
                o[2] += together.count - 1;
                continue;
            }
            for (int64_t q = 0; q < s.channels; q += width) {
                int64_t n = s.channels - q < width ? s.channels - q : width;
                (c->attr->i[QUERN__POOL_MEAN] ? window_mean : window_max)(&s, &w, x + q, y + q, n);
            }
        }
    }
    return 0;
}

/* The first of equal maxima receives the whole gradient: `left` of dy goes to the first position
 * that equals y. `once`: dx is not initialized. */
static void back_to_most(const quern__space *s, const window *w, bool once, const float *x,
                         const float *y, const float *dy, float *restrict dx, int64_t n)
{
    float left[width];
    for (int64_t q = 0; q < n; q++)
        left[q] = dy[q];
    if (once) {
        EACH_PLACE(s, w)
        for (int64_t q = 0; q < n; q++) {
            dx[at + q] = x[at + q] == y[q] ? left[q] : 0;
            left[q] = x[at + q] == y[q] ? 0 : left[q];
        }
        return;
    }
    EACH_PLACE(s, w)
    for (int64_t q = 0; q < n; q++) {
        dx[at + q] += x[at + q] == y[q] ? left[q] : 0;
        left[q] = x[at + q] == y[q] ? 0 : left[q];
    }
}

/* Adds an equal part of dy to each element of a window. */
static void back_to_all(const quern__space *s, const window *w, const float *dy, float *restrict dx,
                        int64_t n)
{
    float share = 1 / (float)w->count;
    EACH_PLACE(s, w)
    for (int64_t q = 0; q < n; q++)
        dx[at + q] += dy[q] * share;
}

/* Backward pass. Inputs dy, and for a maximum x and y. */
static int pool_grad_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    quern__space s = quern__space_of(c->attr, &c->out[0].shape, &c->in[0].shape);
    records r = records_of(c, begin, end);
    int64_t windows = quern__space_numbers(s.out, 1),
            image = quern__space_numbers(s.in, s.channels);
    for (int64_t i = r.first; i < r.last; i++) {
        float *dx = (float *)c->out[0].data + i * image;
        int64_t o[3] = { 0 }, at = i * windows * s.channels;
        bool once = !c->attr->i[QUERN__POOL_MEAN] && tiled(&s);
        window w;
        if (!once)
            memset(dx, 0, sizeof *dx * (size_t)image);
        for (int64_t m = 0; m < windows; m++, at += s.channels, next_window(&s, o)) {
            window_at(&s, o, &w);
            stretch together =
                once && o[2] == 0 ? row_stretch(&s, &w, windows - m) : (stretch){ 0 };
            if (together.count) {
                int64_t from = image_offset(&s, w.from[0], w.from[1], w.from[2]);
                back_row(&together, (const float *)c->in[1].data + i * image + from,
                         (const float *)c->in[2].data + at, (const float *)c->in[0].data + at,
                         dx + from);
                m += together.count - 1;
                at += (together.count - 1) * s.channels;
                o[2] += together.count - 1;
                continue;
            }
            for (int64_t q = 0; q < s.channels; q += width) {
                int64_t n = s.channels - q < width ? s.channels - q : width;
                const float *dy = (const float *)c->in[0].data + at + q;
                if (c->attr->i[QUERN__POOL_MEAN])
                    back_to_all(&s, &w, dy, dx + q, n);
                else
                    back_to_most(&s, &w, once, (const float *)c->in[1].data + i * image + q,
                                 (const float *)c->in[2].data + at + q, dy, dx + q, n);
            }
        }
    }
    return 0;
}

/* ---- depthwise convolution ---- */

/* Iterates over the kernel positions of a window inside the image: k is the index of the position,
 * `at` the image offset. */
#define EACH_TAP(S, O)                                                                            \
    for (int64_t i_ = lowest[0]; i_ < beyond[0]; i_++)                                            \
        for (int64_t j_ = lowest[1]; j_ < beyond[1]; j_++)                                        \
            for (int64_t l_ = lowest[2], k = (i_ * (S)->kernel[1] + j_) * (S)->kernel[2] + l_,    \
                         at = image_offset(                                                       \
                             S, (O)[0] * (S)->stride[0] - (S)->before[0] + i_ * (S)->dilation[0], \
                             (O)[1] * (S)->stride[1] - (S)->before[1] + j_ * (S)->dilation[1],    \
                             (O)[2] * (S)->stride[2] - (S)->before[2] + l_ * (S)->dilation[2]);   \
                 l_ < beyond[2]; l_++, k++, at += (S)->dilation[2] * (S)->channels)

/* The kernel positions of window `o` inside the image: [lowest, beyond) by axis. */
static void kernel_range(const quern__space *s, const int64_t *o, int64_t *lowest, int64_t *beyond)
{
    for (int a = 0; a < 3; a++)
        quern__space_inside(s, a, o[a], &lowest[a], &beyond[a]);
}

static void forward_channels(const quern__space *s, const int64_t *o, const float *x,
                             const float *w, float *restrict y, int64_t n)
{
    int64_t lowest[3], beyond[3];
    kernel_range(s, o, lowest, beyond);
    for (int64_t q = 0; q < n; q++)
        y[q] = 0;
    EACH_TAP(s, o)
    for (int64_t q = 0; q < n; q++)
        y[q] += x[at + q] * w[k * s->channels + q];
}

static void back_channels(const quern__space *s, const int64_t *o, const float *y, const float *w,
                          float *restrict dx, int64_t n)
{
    int64_t lowest[3], beyond[3];
    kernel_range(s, o, lowest, beyond);
    EACH_TAP(s, o)
    for (int64_t q = 0; q < n; q++)
        dx[at + q] += y[q] * w[k * s->channels + q];
}

/* Forward pass and input gradient: the same loops, with the direction of the copy exchanged. */
static int depthwise_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    bool back = c->op == &quern__op_depthwise_back;
    const quern_tensor *image = back ? &c->out[0] : &c->in[0],
                       *made = back ? &c->in[0] : &c->out[0];
    quern__space s = quern__space_of(c->attr, &image->shape, &made->shape);
    records r = records_of(c, begin, end);
    int64_t windows = quern__space_numbers(s.out, 1), per = quern__space_numbers(s.in, s.channels);
    const float *w = c->in[1].data;
    for (int64_t i = r.first; i < r.last; i++) {
        float *x = (float *)image->data + i * per,
              *y = (float *)made->data + i * windows * s.channels;
        int64_t o[3] = { 0 };
        if (back)
            memset(x, 0, sizeof *x * (size_t)per);
        for (int64_t m = 0; m < windows; m++, y += s.channels, next_window(&s, o))
            for (int64_t q = 0; q < s.channels; q += width) {
                int64_t n = s.channels - q < width ? s.channels - q : width;
                if (back)
                    back_channels(&s, o, y + q, w + q, x + q, n);
                else
                    forward_channels(&s, o, x + q, w + q, y + q, n);
            }
    }
    return 0;
}

/* Row k of the gradient over some records: a record is summed in float, records in double. */
static void sum_position(const quern__space *s, int64_t k, records r, const float *x,
                         const float *dy, double *sums, int64_t n)
{
    int64_t windows = quern__space_numbers(s->out, s->channels),
            image = quern__space_numbers(s->in, s->channels), at[3];
    for (int64_t q = 0; q < n; q++)
        sums[q] = 0;
    for (int64_t i = r.first; i < r.last; i++) {
        float part[width] = { 0 };
        const float *own = dy + i * windows;
        int64_t o[3] = { 0 };
        for (int64_t m = 0; m < windows; m += s->channels, own += s->channels, next_window(s, o)) {
            if (!quern__space_seen(s, o, k, at))
                continue;
            const float *from = x + i * image + image_offset(s, at[0], at[1], at[2]);
            for (int64_t q = 0; q < n; q++)
                part[q] += from[q] * own[q];
        }
        for (int64_t q = 0; q < n; q++)
            sums[q] += part[q];
    }
}

/* Rows of (parts * positions, C): each row is one kernel position over one part of the records. */
static int depthwise_weights_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    quern__space s = quern__space_of(c->attr, &c->in[0].shape, &c->in[1].shape);
    int64_t parts = c->attr->i[QUERN__WEIGHTS_PARTS];
    if (c->axis < 0)
        begin = 0, end = parts * s.places;
    for (int64_t row = begin; row < end; row++) {
        int64_t part = row / s.places;
        records r = { s.records * part / parts, s.records * (part + 1) / parts };
        for (int64_t q = 0; q < s.channels; q += width) {
            int64_t n = s.channels - q < width ? s.channels - q : width;
            double sums[width];
            sum_position(&s, row % s.places, r, (const float *)c->in[0].data + q,
                         (const float *)c->in[1].data + q, sums, n);
            for (int64_t k = 0; k < n; k++)
                ((float *)c->out[0].data)[row * s.channels + q + k] = (float)sums[k];
        }
    }
    return 0;
}

quern__kernel *quern__cpu_pool(const quern__call *c)
{
    static const quern__op_kernel all[] = { { &quern__op_pool, pool_kernel },
                                            { &quern__op_pool_grad, pool_grad_kernel },
                                            { &quern__op_depthwise, depthwise_kernel },
                                            { &quern__op_depthwise_back, depthwise_kernel },
                                            { &quern__op_depthwise_weights,
                                              depthwise_weights_kernel },
                                            { 0 } };
    return quern__kernel_among(c, all);
}
