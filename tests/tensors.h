/* Test arrays as tensors: FLOATS(x, 8, 4) has 8 records of 4 numbers. */
#ifndef QUERN_TESTS_TENSORS_H
#define QUERN_TESTS_TENSORS_H

#include <quern/tensor.h>

#define TENSOR(type, numbers, ...)                                                            \
    ((quern_tensor){ .dtype = (type),                                                         \
                     .shape = { .rank = sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t), \
                                .dims = { __VA_ARGS__ } },                                    \
                     .const_data = (numbers) })
#define FLOATS(numbers, ...) TENSOR(QUERN_FLOAT32, numbers, __VA_ARGS__)
#define INTS(numbers, ...)   TENSOR(QUERN_INT32, numbers, __VA_ARGS__)

#endif
