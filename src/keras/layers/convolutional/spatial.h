/* What layers over one to three axes of space share: sizes by axis out of a config, windows as Keras lays them, and channels that
 * stand first. Not for other rooms. */
#ifndef QUERN__LAYERS_SPACE_H
#define QUERN__LAYERS_SPACE_H

#include "keras/keras.h"

#include <string.h>

/* Entry `axis` of a config that is one number for all axes or a list by axis; `none` where it is null or missing. */
static inline int64_t quern__by_axis(const quern__layer *l, const char *key, int axis, int64_t none)
{
    json_t *v = json_object_get(l->config, key);
    v = json_is_array(v) ? json_array_get(v, json_array_size(v) == 1 ? 0 : (size_t)axis) : v;
    return json_is_integer(v) ? json_integer_value(v) : none;
}

/* Whether every array of sizes that a layer was given has an entry for each of `axes` (or one for all); else an error of the graph.
 */
bool quern__sizes_fit(const quern__layer *l, quern__graph *g, int axes);

static inline bool quern__config_is(const quern__layer *l, const char *key, const char *value)
{
    const char *text = quern__config_text(l->config, key);
    return text && !strcmp(text, value);
}

static inline bool quern__channels_first(const quern__layer *l) { return quern__config_is(l, "data_format", "channels_first"); }

/* Size of axis `a` of space, and the channels, of an input of `axes` axes of space. */
static inline int64_t quern__space_size(const quern__layer *l, const quern_shape *s, int a)
{
    return s->dims[(quern__channels_first(l) ? 2 : 1) + a];
}
static inline int64_t quern__channels_of(const quern__layer *l, const quern_shape *s)
{
    return s->dims[quern__channels_first(l) ? 1 : s->rank - 1];
}

/* Channels that stand first go behind space, and back. */
quern__id quern__channels_last(const quern__layer *l, quern__graph *g, quern__id x);
quern__id quern__channels_back(const quern__layer *l, quern__graph *g, quern__id y);

/* The windows of a layer over a space of `size` (by axis from the left): its kernel is config[kernel], and a stride that is not
 * given is `strides` (0: the kernel). False, with the graph failed, when no window fits. */
bool quern__layer_frame(const quern__layer *l, quern__graph *g, const char *kernel, int64_t strides, int axes, const int64_t *size,
                        quern__frame *f);

#endif
