/* augmentation: changes of images with random factors. Each record has its own random numbers, also
 * where Keras uses one for a whole batch. Random numbers are counter-based: a draw k of a record is
 * a function of the seed, the record and k. */
#ifndef QUERN__AUGMENTATION_H
#define QUERN__AUGMENTATION_H

#include "image.h"

enum { QUERN__FILL_CONSTANT, QUERN__FILL_NEAREST, QUERN__FILL_WRAP, QUERN__FILL_REFLECT };
enum {
    QUERN__MOST_KERNEL = 63,
    QUERN__MOST_CURVE = 1023,
    QUERN__MOST_PARTS = 11,
    QUERN__MOST_BINS = 1 << 16
};
/* First counter for draws per element of a record. The counters of parts are this far apart too. */
#define QUERN__DRAWS_BY_PIXEL ((uint64_t)1 << 20)
#define QUERN__DRAWS_OF_PART  ((uint64_t)1 << 40)

typedef struct quern__augmentation {
    quern__of_size of;
    quern__each each;
    const struct quern__change *change;
    double range[3][2]; /* of its factors, in the order of the row's fields */
    double low, high;   /* value_range */
    int fill_mode, n_fill;
    double fill[3]; /* n_fill 1: one value for all channels; 3: one per channel; 0: noise */
    bool nearest;
    int64_t kernel[2], bins;
    int mode; /* RandomFlip: bit 0 horizontal, bit 1 vertical */
    int n_parts;
    struct quern__augmentation *parts[QUERN__MOST_PARTS]; /* owned */
    /* the number of parts that are applied in sequence; chains and their depth of AugMix */
    int64_t chosen, chains, depth;
    double alpha;
} quern__augmentation;

/* A kind of augmentation. It changes the image p in place; `scratch` holds `copies` images and
 * `numbers` more elements. */
typedef void quern__make_change(const quern__augmentation *a, const quern__draws *d, float *p,
                                float *scratch);
typedef struct quern__change {
    const char *name; /* of the layer */
    quern__make_change *make;
    struct {
        const char *key;
        double low, high;
        int style; /* the range that a single number f means */
    } factors[3];
    int copies;
    int colours;                         /* required channels: 3; 1: 1 or 3; 0: any */
    bool always;                         /* in prediction too */
    const char *list[QUERN__MOST_PARTS]; /* names of its parts */
} quern__change;
enum { QUERN__TO_BOUND, QUERN__MIRRORED, QUERN__POINT }; /* max(-f, low) … f; -f … f; f */

/* Draw k of a record, uniform in the range of `factor`. */
static inline double quern__factor(const quern__augmentation *a, const quern__draws *d, int factor,
                                   uint64_t k)
{
    return a->range[factor][0] + (a->range[factor][1] - a->range[factor][0]) * quern__drawn(d, k);
}
/* Whether an augmentation whose probability is factor 0 is applied; uses draws k and k + 1. */
static inline bool quern__happens(const quern__augmentation *a, const quern__draws *d, uint64_t k)
{
    return quern__drawn(d, k + 1) < quern__factor(a, d, 0, k);
}
static inline int64_t quern__picture_size(const quern__picture *p)
{
    return p->height * p->width * p->channels;
}
static inline float quern__clip(double x, double low, double high)
{
    return (float)(x < low ? low : x > high ? high : x);
}

/* ---- augment_geometry.c ---- */
quern__make_change quern__flip, quern__rotate, quern__zoom, quern__translate, quern__shear,
    quern__skew, quern__bend;
/* Samples `from` for every position of `to` at its position under the projection t, like
 * TensorFlow's ImageProjectiveTransformV3.
 */
void quern__project(const quern__augmentation *a, const double t[8], int fill_mode,
                    const float *from, float *to);
/* The projection that maps four points `end` to `start`, each (x, y). Returns false when it does
 * not exist. */
bool quern__homography(const double start[4][2], const double end[4][2], double t[8]);

/* ---- augment_composed.c ---- */
quern__make_change quern__jitter, quern__rand_augment, quern__aug_mix;

/* ---- augment_color.c ---- */
quern__make_change quern__contrast, quern__brightness, quern__hue, quern__saturation,
    quern__sharpness, quern__grayscale, quern__invert, quern__posterize, quern__solarize,
    quern__degenerate, quern__auto_contrast, quern__equalize, quern__erase, quern__blur;
/* A Gaussian curve with the sum 1. */
void quern__gaussian_curve(int64_t size, double sigma, float *out);
/* Convolves with a kernel of rows × columns around each position; the outside is 0. */
void quern__weigh_around(const quern__picture *q, const float *kernel, const int64_t size[2],
                         const float *from, float *to);

#endif
