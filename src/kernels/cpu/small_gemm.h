/* Products of matrices so small that they lie in L1, of which a part is known to be zero or not wanted. Not for other rooms. */
#ifndef QUERN__KERNELS_SMALL_H
#define QUERN__KERNELS_SMALL_H

#include "cpu.h"

/* Which part of c = a b is computed, or of the inner axis is added up: everything; columns up to row + shift; inner places up to
 * row + shift; inner places from row - shift. Rows are taken eight at a time: what is left out is a little less than could be. */
enum { QUERN__SMALL_WHOLE, QUERN__SMALL_BELOW, QUERN__SMALL_UP_TO, QUERN__SMALL_FROM };

typedef struct quern__small {
    int64_t m, n, k; /* n a multiple of 32: rows of b and c are that long; k at most 512 */
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
