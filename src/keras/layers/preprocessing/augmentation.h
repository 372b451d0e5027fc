/* A change of a picture: what its factors are drawn from, and the function that makes it. Keras's augmentation layers, each picture
 * by itself: where Keras draws a number for a whole batch, here every record has its own. */
#ifndef QUERN__AUGMENTATION_H
#define QUERN__AUGMENTATION_H

#include "image.h"

enum { QUERN__FILL_CONSTANT, QUERN__FILL_NEAREST, QUERN__FILL_WRAP, QUERN__FILL_REFLECT };
enum { QUERN__MOST_KERNEL = 63, QUERN__MOST_CURVE = 1023, QUERN__MOST_PARTS = 11, QUERN__MOST_BINS = 1 << 16 };
/* Where the draws of a record lie that are made for each of its numbers; draws of parts lie that far apart. */
#define QUERN__DRAWS_BY_PIXEL ((uint64_t)1 << 20)
#define QUERN__DRAWS_OF_PART  ((uint64_t)1 << 40)

typedef struct quern__augmentation {
    quern__each each;
    const struct quern__change *change;
    quern__picture picture;
    double range[3][2]; /* of its factors, in the order of the row */
    double low, high;   /* value_range */
    int fill_mode, n_fill;
    double fill[3]; /* n_fill 1: one for all channels, 3: one each; 0: noise */
    bool nearest;
    int64_t kernel[2], bins;
    int mode; /* of RandomFlip: bit 0 left and right, bit 1 up and down */
    int n_parts;
    struct quern__augmentation *parts[QUERN__MOST_PARTS]; /* owned */
    int64_t chosen, chains, depth;                        /* how many parts are applied: one behind the other; or of AugMix */
    double alpha;
} quern__augmentation;

/* A kind of change. It is made in place; `scratch` has room for `copies` pictures and `numbers` more. */
typedef void quern__make_change(const quern__augmentation *a, const quern__draws *d, float *p, float *scratch);
typedef struct quern__change {
    const char *name; /* of its layer */
    quern__make_change *make;
    struct {
        const char *key;
        double low, high;
        int style; /* what a single number f means */
    } factors[3];
    int copies;
    int colours;                         /* channels that it needs: 3; 1: 1 or 3; 0: any */
    bool always;                         /* while predicting too */
    const char *list[QUERN__MOST_PARTS]; /* names of its parts */
} quern__change;
enum { QUERN__TO_BOUND, QUERN__MIRRORED, QUERN__POINT }; /* max(-f, low) … f; -f … f; f */

/* The k-th draw of a record, from the range of factor `factor`. */
static inline double quern__factor(const quern__augmentation *a, const quern__draws *d, int factor, uint64_t k)
{
    return a->range[factor][0] + (a->range[factor][1] - a->range[factor][0]) * quern__drawn(d, k);
}
/* Whether a change with a probability drawn from factor 0 is made: draws k and k + 1. */
static inline bool quern__happens(const quern__augmentation *a, const quern__draws *d, uint64_t k)
{
    return quern__drawn(d, k + 1) < quern__factor(a, d, 0, k);
}
static inline int64_t quern__picture_size(const quern__picture *p) { return p->height * p->width * p->channels; }
static inline float quern__clip(double x, double low, double high) { return (float)(x < low ? low : x > high ? high : x); }

/* ---- augment_geometry.c ---- */
quern__make_change quern__flip, quern__rotate, quern__zoom, quern__translate, quern__shear, quern__skew, quern__bend;
/* Every place of `to` is read from `from` where the projection t sends it, as TensorFlow's ImageProjectiveTransformV3 does. */
void quern__project(const quern__augmentation *a, const double t[8], int fill_mode, const float *from, float *to);
/* The projection that sends the corners end to start, four pairs (x, y) each; false when there is none. */
bool quern__homography(const double start[4][2], const double end[4][2], double t[8]);

/* ---- augment_color.c ---- */
quern__make_change quern__contrast, quern__brightness, quern__hue, quern__saturation, quern__sharpness, quern__grayscale,
    quern__invert, quern__posterize, quern__solarize, quern__degenerate, quern__auto_contrast, quern__equalize, quern__erase,
    quern__blur;
/* Numbers of a Gaussian that add up to 1. */
void quern__gaussian_curve(int64_t size, double sigma, float *out);
/* Sums over rows × columns around each place, with weights; zeros lie outside. */
void quern__weigh_around(const quern__picture *q, const float *kernel, const int64_t size[2], const float *from, float *to);

#endif
