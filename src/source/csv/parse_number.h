/* parse_number: decimal text to the nearest float or double, rounded once. */
#ifndef QUERN__NUMBER_H
#define QUERN__NUMBER_H

#include "base/base.h"

/* Reads a decimal number ("-12.5e3"; no spaces, no words) at p. The byte after the number must
 * not be a part of a number. Returns the end of the number; NULL: no number. Overflow gives
 * infinity. */
const char *quern__read_float(const char *p, float *out);
const char *quern__read_double(const char *p, double *out);
/* Reads an integer of digits only, exactly. NULL also if it exceeds int64. */
const char *quern__read_whole(const char *p, int64_t *out);

#endif
