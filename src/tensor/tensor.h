/* tensor: types, shapes and views, for the rooms. See <quern/tensor.h>. */
#ifndef QUERN__TENSOR_H
#define QUERN__TENSOR_H

#include "base/base.h"
#include <quern/tensor.h>

quern_shape quern__shape(int rank, const int64_t *dims);
/* The shape with `batch` records put where dimensions are open. */
quern_shape quern__shape_close(quern_shape shape, int64_t batch);
/* Bytes of a closed shape; false if it is open or the product does not fit. */
bool quern__shape_bytes(const quern_shape *shape, int dtype, size_t *out);

#endif
