/* axes: whether the axes of an array that is read are those that the model has, and the order in which its numbers lie. */
#ifndef QUERN__AXES_H
#define QUERN__AXES_H

#include "tensor/tensor.h"

/* Whether records of shape `have` (its first axis the records) are records of `want`: the same axes, but that a last axis of 1 may
 * be added or dropped, as Keras's models do. */
bool quern__axes_fit(const quern_shape *have, const quern_shape *want);
/* The same, or QUERN_SHAPE at `where`, which names both and the axis, with what helps as its hint. `name` (may be NULL) is that of
 * the model's input or output; of inputs the hint may be another --data-format. */
int quern__axes_check(const char *where, const quern_shape *have, const quern_shape *want, const char *name, bool input,
                      quern_error *err);

/* "channels_first" is true, "channels_last" and NULL false; QUERN_INVALID for other words. */
int quern__data_format(const char *word, bool *first, quern_error *err);
/* The array whose second axis are the channels (of rank 3 and more), with them as its last. */
quern_shape quern__axes_turned(const quern_shape *s);
/* Whether an input that is declared channels first has such an axis: what lacks the model's last axis of 1 has none. */
bool quern__has_channels(const quern_shape *have, const quern_shape *want);

/* Goes through the numbers of an array in the order in which they lie, and tells the place of each in C order. */
typedef struct quern__walk {
    int n; /* axes, the one that changes fastest first */
    int64_t size[QUERN_MAX_RANK], step[QUERN_MAX_RANK], at[QUERN_MAX_RANK], place;
} quern__walk;
/* Axes [from, rank) of the shape; `fortran`: the first changes fastest. Axis `channel` (-1: none) becomes the last one. */
quern__walk quern__walk_of(const quern_shape *s, int from, bool fortran, int channel);
/* The place of the next number. */
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
