/* What layers that change pictures share: where the axes of a picture lie, and the ranges of their factors. */
#ifndef QUERN__PICTURES_H
#define QUERN__PICTURES_H

#include "keras/layers/convolutional/spatial.h"

/* A picture of a record: element (y, x, c) is number y * y_step + x * x_step + c * c_step. */
typedef struct quern__picture {
    int64_t height, width, channels, y_step, x_step, c_step;
} quern__picture;

/* The picture of a record of inputs (None, height, width, channels), or (None, channels, height, width). */
quern__picture quern__picture_of(const quern__layer *layer, const quern_shape *shape);
/* Whether the inputs are pictures of fixed size. */
int quern__picture_check(quern__layer *layer, const quern_shape *in, int n, quern_error *err);

/* ---- resizing.c ---- */
/* Build and call of layers that give pictures of config.height and config.width. `extra` of their rows: the whole is resized; or a
 * centre is cut out, where the picture is large enough, else the largest part with the ratio of the target is resized; or of that
 * part as much as the target has, as Keras's RandomCrop does. */
enum { QUERN__WHOLE, QUERN__CENTRE, QUERN__CUT };
int quern__resizing_build(quern__layer *layer, const quern_shape *in, int n, quern_error *err);
/* Adds the weights of one axis as a constant; a picture whose axis is resized by it. */
int quern__resizing_weights(quern__layer *layer, const char *how, bool antialias, int64_t in, int64_t out, quern_error *err);
quern__id quern__resized_along(quern__graph *g, quern__id x, int axis, quern__variable *weights);
quern__id quern__resizing_call(quern__layer *layer, quern__graph *g, const quern__id *in, int n, bool training);

#endif
