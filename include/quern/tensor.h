/* Types, shapes and views of arrays.
 *
 * A quern_tensor is a view: it does not own the memory of `data`. Arrays are
 * dense, in C order, with the byte order of the machine. */
#ifndef QUERN_TENSOR_H
#define QUERN_TENSOR_H

#include <quern/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The largest number of dimensions of an array. */
#define QUERN_MAX_RANK 8

/* ---- types ---- */

/* The type of the elements of an array. */
typedef enum quern_dtype {
    QUERN_DTYPE_DEFAULT = 0, /* float32, where a choice is allowed */
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
    QUERN_STRING = 11,  /* each element is a quern_string */
    QUERN_FLOAT16 = 12, /* IEEE 754 binary16; in source arrays only */
    QUERN_UINT64 = 13   /* in source arrays only */
} quern_dtype;

/* Bytes of one element; 0: `dtype` is not a quern_dtype. */
QUERN_API size_t quern_dtype_size(int dtype);

/* The name of a type in NumPy and Keras, such as "float32". Returns borrowed:
 * valid for ever; NULL: `dtype` is not a quern_dtype. */
QUERN_API const char *quern_dtype_name(int dtype);

/* The quern_dtype with that name; 0: unknown name. */
QUERN_API int quern_dtype_from_name(const char *name);

/* ---- shapes ---- */

/* Dimensions, first to last. A negative dimension is dynamic: -1 is the number
 * of records in the batch, -k is k times that number. */
typedef struct quern_shape {
    int32_t rank;
    int32_t reserved;
    int64_t dims[QUERN_MAX_RANK];
} quern_shape;

/* Number of elements; 1 for a scalar. Returns -1 if a dimension is dynamic or
 * the product overflows. */
QUERN_API int64_t quern_shape_count(const quern_shape *shape);

/* Whether two shapes are equal, dynamic dimensions included. */
QUERN_API int quern_shape_equal(const quern_shape *a, const quern_shape *b);

/* Writes the shape as Keras prints it, "(None, 28, 28)", into `text` of `size`
 * bytes, truncated if needed, with a zero byte at the end. Returns `text`. */
QUERN_API const char *quern_shape_text(const quern_shape *shape, char *text, size_t size);

/* ---- views ---- */

/* A string of `size` bytes, which may contain zero bytes. It does not own
 * `data`. */
typedef struct quern_string {
    const char *data;
    int64_t size;
} quern_string;

/* A view of an array that another object owns. */
typedef struct quern_tensor {
    int32_t dtype; /* a quern_dtype */
    int32_t reserved;
    quern_shape shape;
    union {
        void *data;
        const void *const_data; /* the same address, for an array that is only read */
    };
} quern_tensor;

#ifdef __cplusplus
}
#endif
#endif
