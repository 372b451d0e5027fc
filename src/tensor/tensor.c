/* tensor: dtypes, shapes and views. All arithmetic is on sizes and is checked. */
#include "tensor.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} types[] = {
    [QUERN_FLOAT32] = { "float32", 4 },
    [QUERN_FLOAT64] = { "float64", 8 },
    [QUERN_INT32] = { "int32", 4 },
    [QUERN_INT64] = { "int64", 8 },
    [QUERN_UINT8] = { "uint8", 1 },
    [QUERN_INT8] = { "int8", 1 },
    [QUERN_UINT16] = { "uint16", 2 },
    [QUERN_INT16] = { "int16", 2 },
    [QUERN_BOOL] = { "bool", 1 },
    [QUERN_UINT32] = { "uint32", 4 },
    [QUERN_STRING] = { "string", sizeof(quern_string) },
    [QUERN_FLOAT16] = { "float16", 2 },
    [QUERN_UINT64] = { "uint64", 8 },
};
enum { n_types = sizeof types / sizeof *types };

size_t quern_dtype_size(int dtype) { return dtype > 0 && dtype < n_types ? types[dtype].size : 0; }

const char *quern_dtype_name(int dtype)
{
    return dtype > 0 && dtype < n_types ? types[dtype].name : NULL;
}

int quern_dtype_from_name(const char *name)
{
    if (!name)
        return 0;
    for (int i = 1; i < n_types; i++)
        if (!strcmp(types[i].name, name))
            return i;
    return 0;
}

int64_t quern_shape_count(const quern_shape *shape)
{
    if (!shape || shape->rank < 0 || shape->rank > QUERN_MAX_RANK)
        return -1;
    int64_t count = 1;
    for (int i = 0; i < shape->rank; i++)
        if (shape->dims[i] < 0 || __builtin_mul_overflow(count, shape->dims[i], &count))
            return -1;
    return count;
}

int quern_shape_equal(const quern_shape *a, const quern_shape *b)
{
    return a && b && a->rank == b->rank && a->rank >= 0 && a->rank <= QUERN_MAX_RANK &&
           !memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims);
}

const char *quern_shape_text(const quern_shape *shape, char *text, size_t size)
{
    size_t n = 0;
    if (!shape || !text || !size)
        return text && size ? strcpy(text, "") : text;
#define ADD(...) (n < size ? n += (size_t)snprintf(text + n, size - n, __VA_ARGS__) : 0)
    ADD("(");
    for (int i = 0; i < shape->rank; i++) {
        int64_t d = shape->dims[i];
        if (d == -1)
            ADD("None");
        else if (d < 0)
            ADD("%lld*None", (long long)-d);
        else
            ADD("%lld", (long long)d);
        if (i + 1 < shape->rank || shape->rank == 1)
            ADD(i + 1 < shape->rank ? ", " : ",");
    }
    ADD(")");
#undef ADD
    return text;
}

quern_shape quern__shape(int rank, const int64_t *dims)
{
    quern_shape s = { .rank = rank };
    for (int i = 0; i < rank; i++)
        s.dims[i] = dims[i];
    return s;
}

quern_shape quern__shape_close(quern_shape shape, int64_t batch)
{
    for (int i = 0; i < shape.rank; i++)
        if (shape.dims[i] < 0)
            shape.dims[i] *= -batch;
    return shape;
}

bool quern__shape_bytes(const quern_shape *shape, int dtype, size_t *out)
{
    int64_t count = quern_shape_count(shape);
    return count >= 0 && quern__mul((size_t)count, quern_dtype_size(dtype), out);
}
