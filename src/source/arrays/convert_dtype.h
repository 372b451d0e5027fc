/* convert: numbers of one type as those of another, as NumPy's astype has it: whole numbers become the nearest float, and nothing
 * that a whole type cannot hold becomes one. */
#ifndef QUERN__CONVERT_H
#define QUERN__CONVERT_H

#include "array_axes.h"

/* The first n numbers at `from`, of type `have` (aligned to nothing), into `to` from place `at`, of type `want`: float32, float64,
 * int32 or int64. Returns n, or how many stand before the first that does not fit: a fraction, nan, or a number outside the whole
 * type that is wanted. */
int64_t quern__convert(const void *from, int have, int64_t n, void *to, int want, int64_t at);
/* The same with a walk: the numbers go where it says, from its present place on. */
int64_t quern__convert_walk(const void *from, int have, int64_t n, void *to, int want, quern__walk *walk);
/* Why number i does not: "1.5 is no whole number", "3000000000 is outside int32 (-2147483648 to 2147483647)". Returns `text`. */
const char *quern__convert_why(const void *from, int have, int64_t i, int want, char text[128]);
/* Whether a tensor of type `have` can be given where `want` is wanted: numbers for numbers, strings for strings. */
bool quern__convertible(int have, int want);
/* n numbers of so many bytes, in the other order of bytes. */
void quern__swap_bytes(void *numbers, int64_t n, size_t size);
/* A number of a half (IEEE 754 binary16), exactly. */
float quern__half(uint16_t bits);

#endif
