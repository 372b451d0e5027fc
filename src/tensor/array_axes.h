/* array_axes: compares the axes of an array with those of the model, and converts between memory
 * orders. */
#ifndef QUERN__AXES_H
#define QUERN__AXES_H

#include "tensor/tensor.h"

/* Whether records of shape `have` (axis 0: the records) fit `want`. The axes must be equal,
 * except that a last axis of 1 may be added or dropped, as in Keras. */
bool quern__axes_fit(const quern_shape *have, const quern_shape *want);
/* The same as a check: fails with QUERN_SHAPE at `where`. The error has both shapes and the
 * axis; the hint says how to convert. `name` (may be NULL) is the input or output of the model.
 * `input`: the hint may suggest --data-format. */
int quern__axes_check(const char *where, const quern_shape *have, const quern_shape *want,
                      const char *name, bool input, quern_error *err);

/* Sets *first: "channels_first" is true, "channels_last" and NULL are false. QUERN_INVALID for
 * other words. */
int quern__data_format(const char *word, bool *first, quern_error *err);
/* The shape with axis 1 (the channels) moved to the end, for rank >= 3. */
quern_shape quern__axes_turned(const quern_shape *s);
/* Whether a channels-first input has a channel axis: an array without the model's last axis of 1
 * has none. */
bool quern__has_channels(const quern_shape *have, const quern_shape *want);

/* Visits the elements of an array in memory order and returns the C-order index of each. */
typedef struct quern__walk {
    int n; /* axes, the fastest first */
    int64_t size[QUERN_MAX_RANK], step[QUERN_MAX_RANK], at[QUERN_MAX_RANK], place;
} quern__walk;
/* A walk over axes [from, rank) of a shape. `fortran`: the first axis is the fastest. Axis
 * `channel` (-1: none) becomes the last. */
quern__walk quern__walk_of(const quern_shape *s, int from, bool fortran, int channel);
/* The C-order index of the next element. */
static inline int64_t quern__walk_next(quern__walk *w)
{
    int64_t place = w->place;
    for (int i = 0; i < w->n; i++) {
        w->place += w->step[i];
        if (++w->at[i] < w->size[i])
            break;
        w->place -= w->step[i] * w->size[i];
        w->at[i] = 0;
    }
    return place;
}

#endif
