/* convolve: window geometry for reference and fast kernels of images, from the attributes and
 * shapes of a call. */
#ifndef QUERN__OPS_CONVOLVE_H
#define QUERN__OPS_CONVOLVE_H

#include "ops.h"

typedef struct quern__space {
    int64_t records, in[3], out[3], channels,
        filters; /* spatial sizes of the image and of the output */
    int64_t kernel[3], stride[3], dilation[3], before[3];
    int64_t places; /* positions of the kernel */
} quern__space;

/* For `image` (B, in, channels) and `made` (B, out, filters). */
quern__space quern__space_of(const quern__attr *attr, const quern_shape *image,
                             const quern_shape *made);

/* Elements of an array with spatial sizes `space` (`in` or `out`) and `each` elements per position.
 */
static inline int64_t quern__space_numbers(const int64_t *space, int64_t each)
{
    return space[0] * space[1] * space[2] * each;
}

/* The kernel positions [*first, *end) along axis a that are inside the image for window `o`. */
static inline void quern__space_inside(const quern__space *s, int a, int64_t o, int64_t *first,
                                       int64_t *end)
{
    int64_t from = o * s->stride[a] - s->before[a], d = s->dilation[a];
    *first = from < 0 ? (-from + d - 1) / d : 0;
    *end = s->in[a] > from ? (s->in[a] - from + d - 1) / d : 0;
    *end = *end < s->kernel[a] ? *end : s->kernel[a];
    *first = *first < *end ? *first : *end;
}

/* Pooling: the elements [*from, *to) of an axis in window `o`. Windows without a stride divide the
 * axis evenly, as in AdaptiveAveragePooling. */
static inline void quern__space_window(const quern__space *s, int a, int64_t o, int64_t *from,
                                       int64_t *to)
{
    int64_t n = s->in[a];
    *from = s->stride[a] ? o * s->stride[a] - s->before[a] : o * n / s->out[a];
    *to = s->stride[a] ? *from + s->kernel[a] : ((o + 1) * n + s->out[a] - 1) / s->out[a];
    *from = *from < 0 ? 0 : *from;
    *to = *to < n ? *to : n;
}

/* ---- for reference kernels ---- */

/* Splits index i of an array (B, space, last) into record (the result), position and last index. */
static inline int64_t quern__space_apart(int64_t i, const int64_t *space, int64_t last,
                                         int64_t *place, int64_t *own)
{
    *own = i % last;
    i /= last;
    for (int a = 2; a >= 0; a--) {
        place[a] = i % space[a];
        i /= space[a];
    }
    return i;
}

static inline int64_t quern__space_together(int64_t record, const int64_t *space,
                                            const int64_t *place)
{
    return ((record * space[0] + place[0]) * space[1] + place[1]) * space[2] + place[2];
}

/* Whether kernel position k of window o is inside the image; `at` gets the position. */
static inline bool quern__space_seen(const quern__space *s, const int64_t *o, int64_t k,
                                     int64_t *at)
{
    bool inside = true;
    for (int a = 2; a >= 0; a--) {
        at[a] = o[a] * s->stride[a] - s->before[a] + k % s->kernel[a] * s->dilation[a];
        k /= s->kernel[a];
        inside = inside && at[a] >= 0 && at[a] < s->in[a];
    }
    return inside;
}

/* ---- for builders ---- */

/* Parts of the records for the gradient of a small kernel; the sums of the parts are added in
 * order. */
enum { QUERN__CONVOLVE_PARTS = 8 };
quern__attr quern__frame_attr(const quern__frame *f);
/* The frame of a node's attributes, whose windows over `image` give `made`. */
quern__frame quern__frame_of(const quern__graph *g, const quern__attr *attr, quern__id image,
                             quern__id made);
/* zero_border.c: x without a border of zeros along spatial axes, which the frame gets as padding. */
quern__id quern__without_border(const quern__graph *g, quern__id x, quern__frame *f);
/* (B, space, last), with the batch dimension of `x`. */
quern_shape quern__image_shape(const quern_shape *x, int axes, const int64_t *space, int64_t last);
/* Multiplications of image ops: for each output element, all kernel elements of one filter. */
double quern__work_forward(const quern__attr *attr, const quern_shape *in, const quern_shape *out);
double quern__work_back(const quern__attr *attr, const quern_shape *in, const quern_shape *out);
double quern__work_weights(const quern__attr *attr, const quern_shape *in, const quern_shape *out);
int quern__ways_eighths(const quern__graph *g, const quern__node *node);
/* Adds `count` parts in the shape of a kernel. */
quern__id quern__add_parts(quern__graph *g, quern__id parts, int64_t count,
                           const quern_shape *kernel);

#endif
