/* number: decimal text to the nearest float or double, rounded once. */
#ifndef QUERN__NUMBER_H
#define QUERN__NUMBER_H

#include "base/base.h"

/* Reads a decimal number ("-12.5e3"; no spaces, no words) that begins at p. The text must be followed by a byte that no number
 * holds. Returns where it ends; NULL when there is none. An overflow gives infinity. */
const char *quern__read_float(const char *p, float *out);
const char *quern__read_double(const char *p, double *out);
/* A whole number in digits alone, exactly; NULL also where it does not fit. */
const char *quern__read_whole(const char *p, int64_t *out);

#endif
