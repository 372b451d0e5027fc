/* Types, shapes and views of arrays. No arithmetic.
 *
 * A quern_tensor is a view: it never owns what `data` points to. Arrays are dense, in C order, little-endian.
 */
#ifndef QUERN_TENSOR_H
#define QUERN_TENSOR_H

#include <quern/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QUERN_MAX_RANK 8

typedef enum quern_dtype {
    QUERN_DTYPE_DEFAULT = 0, /* where a choice is allowed: float32 */
    QUERN_FLOAT32 = 1,
    QUERN_FLOAT64 = 2,
    QUERN_INT32 = 3,
    QUERN_INT64 = 4,
    QUERN_UINT8 = 5,
    QUERN_INT8 = 6,
    QUERN_UINT16 = 7,
    QUERN_INT16 = 8,
    QUERN_BOOL = 9, /* one byte, 0 or 1 */
    QUERN_UINT32 = 10,
    QUERN_STRING = 11,  /* each element a quern_string */
    QUERN_FLOAT16 = 12, /* IEEE 754 binary16: of arrays that are read, not of what a model computes in */
    QUERN_UINT64 = 13   /* likewise */
} quern_dtype;

/* A string of bytes that somebody else owns; it may hold zeros. */
typedef struct quern_string {
    const char *data;
    int64_t size;
} quern_string;

/* Dimensions, first to last. A negative dimension is open: -1 stands for the number of records in the batch, -k for k
 * times that number (an array in which k steps of each record were laid side by side). */
typedef struct quern_shape {
    int32_t rank;
    int32_t reserved;
    int64_t dims[QUERN_MAX_RANK];
} quern_shape;

/* A view of an array that somebody else owns. */
typedef struct quern_tensor {
    int32_t dtype; /* a quern_dtype */
    int32_t reserved;
    quern_shape shape;
    union {
        void *data;
        const void *const_data; /* the same address, for an array that functions only read */
    };
} quern_tensor;

/* Bytes of one number of that type; 0 for a type that is none. */
QUERN_API size_t quern_dtype_size(int dtype);

/* NumPy's and Keras's name of the type ("float32"). Returns borrowed: valid for ever; NULL for none. */
QUERN_API const char *quern_dtype_name(int dtype);

/* The type of that name, or 0. */
QUERN_API int quern_dtype_from_name(const char *name);

/* How many numbers the shape holds; -1 if a dimension is open or the product does not fit. A scalar holds 1. */
QUERN_API int64_t quern_shape_count(const quern_shape *shape);

/* Whether two shapes are the same, open dimensions included. */
QUERN_API int quern_shape_equal(const quern_shape *a, const quern_shape *b);

/* Writes "(None, 28, 28)" into `text` of `size` bytes, always terminated. Returns borrowed: `text`. */
QUERN_API const char *quern_shape_text(const quern_shape *shape, char *text, size_t size);

#ifdef __cplusplus
}
#endif
#endif
