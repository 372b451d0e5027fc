/* Windows over rows that follow each other in time: which rows a window has, for those in memory and those that stream by. */
#ifndef QUERN__SERIES_H
#define QUERN__SERIES_H

#include "source/source.h"

/* Window k begins at row start + k * stride, has `length` rows `rate` apart, the last first where `reverse`, and the target of the
 * row `target` behind its first. Rows from `end` on do not count (end < 0: all do). */
typedef struct quern__series {
    int64_t start, end, stride, rate, length, target;
    bool reverse;
} quern__series;

/* From the options, whose `sequence_length` may be 0: then the length is told later. */
int quern__series_plan(const quern_series_opts *o, quern__series *out, quern_error *err);
/* Rows from the first of a window to the last that it needs, that of the target included; -1: too many to count. */
int64_t quern__series_span(const quern__series *s, bool targets);
/* Windows of so many rows and targets (-1: there are none). */
int64_t quern__series_count(const quern__series *s, int64_t rows, int64_t targets);

#endif
