/* spatial: functions of layers with one to three spatial axes: sizes per axis from a config,
 * Keras's windows, and the data format. Internal to src/keras/layers. */
#ifndef QUERN__LAYERS_SPACE_H
#define QUERN__LAYERS_SPACE_H

#include "keras/keras.h"

#include <string.h>

/* Entry `axis` of a config member that is a number for all axes or a list with one per axis; `none`
 * where it is null or missing. */
static inline int64_t quern__by_axis(const quern__layer *l, const char *key, int axis, int64_t none)
{
    json_t *v = json_object_get(l->config, key);
    v = json_is_array(v) ? json_array_get(v, json_array_size(v) == 1 ? 0 : (size_t)axis) : v;
    return json_is_integer(v) ? json_integer_value(v) : none;
}

/* Checks that every list of sizes has an entry for each of `axes`, or a single one. Returns false
 * and fails the graph otherwise. */
bool quern__sizes_fit(const quern__layer *l, quern__graph *g, int axes);

static inline bool quern__config_is(const quern__layer *l, const char *key, const char *value)
{
    const char *text = quern__config_text(l->config, key);
    return text && !strcmp(text, value);
}

static inline bool quern__channels_first(const quern__layer *l)
{
    return quern__config_is(l, "data_format", "channels_first");
}

/* The size of spatial axis `a`, and the number of channels, of an input. */
static inline int64_t quern__space_size(const quern__layer *l, const quern_shape *s, int a)
{
    return s->dims[(quern__channels_first(l) ? 2 : 1) + a];
}
static inline int64_t quern__channels_of(const quern__layer *l, const quern_shape *s)
{
    return s->dims[quern__channels_first(l) ? 1 : s->rank - 1];
}

/* Moves channels from the front to the end for data_format "channels_first", and back. */
quern__id quern__channels_last(const quern__layer *l, quern__graph *g, quern__id x);
quern__id quern__channels_back(const quern__layer *l, quern__graph *g, quern__id y);

/* Sets the windows of a layer over spatial sizes `size`: the kernel is config[kernel], and a
 * missing stride is `strides` (0: the kernel size). Returns false and fails the graph when no
 * window fits. */
bool quern__layer_frame(const quern__layer *l, quern__graph *g, const char *kernel, int64_t strides,
                        int axes, const int64_t *size, quern__frame *f);

#endif
