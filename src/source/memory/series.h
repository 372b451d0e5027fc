/* series: time-series windows over consecutive rows: the rows of each window, for arrays in
 * memory and for streams. */
#ifndef QUERN__SERIES_H
#define QUERN__SERIES_H

#include "source/source.h"

/* Window k begins at row start + k * stride and has `length` rows at distance `rate`, in reverse
 * order if `reverse`. Its target is the one of the row `target` after its first. Rows from `end`
 * on are ignored; end < 0: all rows count. */
typedef struct quern__series {
    int64_t start, end, stride, rate, length, target;
    bool reverse;
} quern__series;

enum { QUERN__SERIES_OPTS_0_1 = 64 }; /* bytes of quern_series_opts in version 0.1 */
/* Checks the options. `sequence_length` 0: the length is set later. */
int quern__series_plan(const quern_series_opts *o, quern__series *out, quern_error *err);
/* Rows from the first to the last that a window needs, with its target; -1: overflow. */
int64_t quern__series_span(const quern__series *s, bool targets);
/* Number of windows in `rows` rows; targets: number of targets, -1: no targets. */
int64_t quern__series_count(const quern__series *s, int64_t rows, int64_t targets);

#endif
