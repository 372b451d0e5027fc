/* What reference and fast kernels of images share: where windows lie, read from the attributes of a node and the shapes of its
 * call.
 *
 * Attributes of all of them: i[3 a] stride, i[3 a + 1] dilation, i[3 a + 2] before of axis a of space (0 … 2, at the right), i[9 …
 * 11] kernel, i[12] how many axes there are. */
#ifndef QUERN__OPS_CONVOLVE_H
#define QUERN__OPS_CONVOLVE_H

#include "ops.h"

typedef struct quern__space {
    int64_t records, in[3], out[3], channels, filters; /* sizes of the image, of what windows make of it */
    int64_t kernel[3], stride[3], dilation[3], before[3];
    int64_t places; /* of the kernel */
} quern__space;

/* `image` (records, in, channels), `made` (records, out, filters). */
quern__space quern__space_of(const quern__attr *attr, const quern_shape *image, const quern_shape *made);

/* How many numbers an array of space (`in` or `out`) and `each` has. */
static inline int64_t quern__space_numbers(const int64_t *space, int64_t each) { return space[0] * space[1] * space[2] * each; }

/* The places [*first, *end) of a kernel along an axis that window `o` has inside the image. */
static inline void quern__space_inside(const quern__space *s, int a, int64_t o, int64_t *first, int64_t *end)
{
    int64_t from = o * s->stride[a] - s->before[a], d = s->dilation[a];
    *first = from < 0 ? (-from + d - 1) / d : 0;
    *end = s->in[a] > from ? (s->in[a] - from + d - 1) / d : 0;
    *end = *end < s->kernel[a] ? *end : s->kernel[a];
    *first = *first < *end ? *first : *end;
}

/* Pooling: the numbers [*from, *to) of an axis that window `o` has; windows without a stride share the axis evenly, as
 * AdaptiveAveragePooling does. */
static inline void quern__space_window(const quern__space *s, int a, int64_t o, int64_t *from, int64_t *to)
{
    int64_t n = s->in[a];
    *from = s->stride[a] ? o * s->stride[a] - s->before[a] : o * n / s->out[a];
    *to = s->stride[a] ? *from + s->kernel[a] : ((o + 1) * n + s->out[a] - 1) / s->out[a];
    *from = *from < 0 ? 0 : *from;
    *to = *to < n ? *to : n;
}

/* ---- for reference kernels ---- */

/* Place i of an array of space and something, taken apart; returns the record. */
static inline int64_t quern__space_apart(int64_t i, const int64_t *space, int64_t last, int64_t *place, int64_t *own)
{
    *own = i % last;
    i /= last;
    for (int a = 2; a >= 0; a--) {
        place[a] = i % space[a];
        i /= space[a];
    }
    return i;
}

static inline int64_t quern__space_together(int64_t record, const int64_t *space, const int64_t *place)
{
    return ((record * space[0] + place[0]) * space[1] + place[1]) * space[2] + place[2];
}

/* Place k of the kernel, seen from window o: whether it is inside the image, and where. */
static inline bool quern__space_seen(const quern__space *s, const int64_t *o, int64_t k, int64_t *at)
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

/* Parts into which the records are divided for the gradient of a small kernel; their sums are added in order. */
enum { QUERN__CONVOLVE_PARTS = 8 };
quern__attr quern__frame_attr(const quern__frame *f);
/* The frame of a node's attributes, whose windows over `image` gave `made`. */
quern__frame quern__frame_of(const quern__graph *g, const quern__attr *attr, quern__id image, quern__id made);
/* (records, space, last), the records as of `x`. */
quern_shape quern__image_shape(const quern_shape *x, int axes, const int64_t *space, int64_t last);
/* How much the ops of images multiply: for each number of what windows made, all of the kernel that one filter has. */
double quern__work_forward(const quern__attr *attr, const quern_shape *in, const quern_shape *out);
double quern__work_back(const quern__attr *attr, const quern_shape *in, const quern_shape *out);
double quern__work_weights(const quern__attr *attr, const quern_shape *in, const quern_shape *out);
int quern__ways_eighths(const quern__graph *g, const quern__node *node);
/* What parts below each other add up to, in the shape of a kernel. */
quern__id quern__add_parts(quern__graph *g, quern__id parts, int64_t count, const quern_shape *kernel);

#endif
