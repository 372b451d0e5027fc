/* Gather of rows of a float32 table by index, and scatter-add of rows to a table.
 *
 * gather is divided by records; it copies a row of C numbers for each index. scatter is divided by
 * columns: each thread reads all indices, and adds its columns of each row, in the order of the
 * indices. No two threads write the same element, and the sum does not depend on threads. */
#include "vector.h"

#include <string.h>

static int gather_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t rows = c->in[0].shape.dims[0], width = c->in[0].shape.dims[1];
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t i = p.start / width; i < (p.start + p.length) / width; i++) {
        int64_t row = quern__call_row(c, &c->in[1], i, rows);
        if (row < 0)
            return QUERN_INVALID;
        memcpy((float *)c->out[0].data + i * width, (const float *)c->in[0].data + row * width,
               (size_t)width * sizeof(float));
    }
    return 0;
}

static void add_row(int64_t n, const float *restrict x, float *restrict to)
{
    for (int64_t i = 0; i < n; i++)
        to[i] += x[i];
}

static int scatter_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t rows = c->out[0].shape.dims[0], width = c->out[0].shape.dims[1],
            n = quern_shape_count(&c->in[0].shape);
    float *to = c->out[0].data;
    if (c->axis < 0)
        begin = 0, end = width;
    for (int64_t r = 0; r < rows; r++)
        memset(to + r * width + begin, 0, (size_t)(end - begin) * sizeof *to);
    for (int64_t i = 0; i < n; i++) {
        int64_t row = quern__call_row(c, &c->in[0], i, rows);
        if (row < 0)
            return QUERN_INVALID;
        add_row(end - begin, (const float *)c->in[1].data + i * width + begin,
                to + row * width + begin);
    }
    return 0;
}

quern__kernel *quern__cpu_gather(const quern__call *c)
{
    if (c->out[0].dtype != QUERN_FLOAT32)
        return NULL;
    if (c->op == &quern__op_gather && c->in[0].dtype == QUERN_FLOAT32)
        return gather_kernel;
    return c->op == &quern__op_scatter && c->in[1].dtype == QUERN_FLOAT32 && !c->panelled
               ? scatter_kernel
               : NULL;
}
