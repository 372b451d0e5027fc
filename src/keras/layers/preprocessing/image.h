/* image: functions that image layers share: the axes of an image, and resizing along an axis. */
#ifndef QUERN__PICTURES_H
#define QUERN__PICTURES_H

#include "keras/layers/convolutional/spatial.h"

/* An image of a record: element (y, x, c) has the index y * y_step + x * x_step + c * c_step. */
typedef struct quern__picture {
    int64_t height, width, channels, y_step, x_step, c_step;
} quern__picture;

/* The image of a record of inputs (None, height, width, channels) or (None, channels, height,
 * width). */
quern__picture quern__picture_of(const quern__layer *layer, const quern_shape *shape);
/* Checks that the inputs are images of fixed size. */
int quern__picture_check(quern__layer *layer, const quern_shape *in, int n, quern_error *err);

/* The first member of the state that a layer has for images of one size. Calls of a layer may have
 * several sizes, and so may an axis that is None; the nodes of earlier graphs keep their state. The
 * object of the layer is the first of a list. */
typedef struct quern__of_size {
    quern__picture picture;
    struct quern__of_size *next; /* NULL: the last */
} quern__of_size;
/* Makes the state for images of this shape, with its member `picture`. Returns new; NULL: error. */
typedef void *quern__make_of_size(const quern__layer *layer, const quern_shape *shape,
                                  quern_error *err);
/* During a call: the layer's state for images of this shape, which the first such call makes. NULL:
 * the graph has an error. */
const void *quern__state_of_size(quern__layer *layer, quern__graph *g, const quern_shape *shape,
                                 quern__make_of_size *make);
/* Frees the list of the layer, each state with `drop`. */
void quern__states_of_sizes_free(quern__layer *layer, void (*drop)(void *state));

/* ---- resizing.c ---- */
/* Build and call of layers whose output has config.height and config.width. `extra` of the row:
 * QUERN__WHOLE resizes the whole image. QUERN__CENTRE crops the centre; of a small image, it
 * resizes the largest part with the target's aspect ratio. QUERN__CUT resizes that part and crops
 * it, as Keras's RandomCrop does. */
enum { QUERN__WHOLE, QUERN__CENTRE, QUERN__CUT };
int quern__resizing_build(quern__layer *layer, const quern_shape *in, int n, quern_error *err);
/* The largest part of an image with the target's aspect ratio, rounded as in Keras, and its start;
 * with `pad`, the smallest enclosing one. */
void quern__aspect_part(const int64_t in[2], const int64_t out[2], bool pad, int64_t part[2],
                        int64_t start[2]);
/* Adds the weights of one axis, (in, out), as a constant; the second function resizes an axis with
 * them. */
int quern__resizing_weights(quern__layer *layer, const char *how, bool antialias, int64_t in,
                            int64_t out, quern_error *err);
/* During a call: resizes an axis to `out` elements. The layer keeps a matrix for each size. */
quern__id quern__resized(quern__layer *layer, quern__graph *g, quern__id x, int axis,
                         const char *how, bool antialias, int64_t out);
quern__id quern__resized_along(quern__graph *g, quern__id x, int axis, quern__variable *weights);
quern__id quern__resizing_call(quern__layer *layer, quern__graph *g, const quern__id *in, int n,
                               bool training);

#endif
