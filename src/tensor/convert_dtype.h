/* convert_dtype: element conversion like NumPy's astype: integers become the nearest float; a
 * value that an integer type cannot represent is an error. */
#ifndef QUERN__CONVERT_H
#define QUERN__CONVERT_H

#include "array_axes.h"

/* Converts n elements of type `have` at `from` (unaligned) to type `want` (float32, float64,
 * int32 or int64) and stores them at index `at` of `to`. Returns n, or the index of the first
 * element that does not fit: a fraction, nan, or a number out of range. */
int64_t quern__convert(const void *from, int have, int64_t n, void *to, int want, int64_t at);
/* The same; the walk gives the destination indices, from its current position. */
int64_t quern__convert_walk(const void *from, int have, int64_t n, void *to, int want,
                            quern__walk *walk);
/* Explains why element i does not fit: "1.5 is not an integer", "3000000000 is outside int32
 * (-2147483648 to 2147483647)". Returns `text`. */
const char *quern__convert_why(const void *from, int have, int64_t i, int want, char text[128]);
/* Whether type `have` converts to `want`: numbers to numbers, strings to strings. */
bool quern__convertible(int have, int want);
/* Reverses the byte order of n elements of `size` bytes. */
void quern__swap_bytes(void *numbers, int64_t n, size_t size);
/* Converts a half (IEEE 754 binary16) exactly. */
float quern__half(uint16_t bits);

#endif
