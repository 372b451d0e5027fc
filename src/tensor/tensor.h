/* tensor: module functions on dtypes, shapes and views. See <quern/tensor.h>. */
#ifndef QUERN__TENSOR_H
#define QUERN__TENSOR_H

#include "base/base.h"
#include <quern/tensor.h>

quern_shape quern__shape(int rank, const int64_t *dims);
/* The shape for `batch` records: dynamic dimensions become fixed. */
quern_shape quern__shape_close(quern_shape shape, int64_t batch);
/* Bytes of a shape with fixed dimensions. Returns false when a dimension is dynamic or the product
 * overflows. */
bool quern__shape_bytes(const quern_shape *shape, int dtype, size_t *out);

#endif
