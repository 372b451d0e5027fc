/* Products of matrices that fit in L1 and are only needed in part, or have zeros in a known part.
 * For this module only. */
#ifndef QUERN__KERNELS_SMALL_H
#define QUERN__KERNELS_SMALL_H

#include "cpu.h"

/* The part of c = a b that is computed or summed: everything; columns up to row + shift; inner
 * indexes up to row + shift; inner indexes from row - shift. Rows are processed eight at a time, so
 * slightly more is computed. */
enum { QUERN__SMALL_WHOLE, QUERN__SMALL_BELOW, QUERN__SMALL_UP_TO, QUERN__SMALL_FROM };

typedef struct quern__small {
    int64_t m, n, k; /* n is a multiple of 32, the row length of b and c; k <= 512 */
    const float *a;
    int64_t row, inner; /* strides of a */
    const float *b;
    int64_t ldb;
    float *c;
    int64_t ldc;
    bool add; /* c += a b */
    int part; /* QUERN__SMALL_… */
    int64_t shift;
} quern__small;

void quern__small_product(const quern__small *s);

#endif
