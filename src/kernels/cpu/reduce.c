/* Sums and means of float32 in the cases that matter for speed: over all leading axes (the gradient
 * of a bias), and over the last axes or all. Column sums are in float over 32 rows, then in double;
 * other sums are in double, in C order for each result.
 *
 * Three kernels by the axes that are reduced:
 *
 *   columns_kernel  all axes but the last: (R, C) to (C), divided by columns
 *   rows_kernel     the last axes, or all: each result sums contiguous numbers
 *   middle_kernel   contiguous axes between the first and the last, which are kept
 *
 * Extrema and other axes use the reference kernel. */
#include "vector.h"

enum { width = 64, block = 32 };

/* Sums of at most `width` adjacent columns over `rows` rows. */
static void column_sums(int64_t rows, int64_t columns, int64_t stride, const float *x, double *sums)
{
    for (int64_t j = 0; j < columns; j++)
        sums[j] = 0;
    for (int64_t i = 0; i < rows; i += block) {
        float part[width] = { 0 };
        /* 32 rows in float: the loop over columns is a vector operation */
        for (int64_t k = i; k < rows && k < i + block; k++)
            for (int64_t j = 0; j < columns; j++)
                part[j] += x[k * stride + j];
        for (int64_t j = 0; j < columns; j++)
            sums[j] += part[j];
    }
}

/* (R, C) to (C); 64 columns at a time. */
static int columns_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = c->in[0].shape.dims[c->in[0].shape.rank - 1],
            rows = quern_shape_count(&c->in[0].shape) / (n ? n : 1);
    if (c->axis < 0)
        begin = 0, end = n;
    double sums[width],
        divisor = c->attr->i[QUERN__REDUCE_FUNCTION] == QUERN__MEAN ? (double)rows : 1;
    for (int64_t j = begin; j < end; j += width) {
        int64_t m = end - j < width ? end - j : width;
        column_sums(rows, m, n, (const float *)c->in[0].data + j, sums);
        for (int64_t k = 0; k < m; k++)
            ((float *)c->out[0].data)[j + k] = (float)(sums[k] / divisor);
    }
    return 0;
}

/* Each result is the sum of `per` contiguous numbers. */
static int rows_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t results = quern_shape_count(&c->out[0].shape),
            per = results ? quern_shape_count(&c->in[0].shape) / results : 0;
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t r = p.start; r < p.start + p.length; r++) {
        const float *x = (const float *)c->in[0].data + r * per;
        double sum = 0;
        for (int64_t k = 0; k < per; k++)
            sum += x[k];
        ((float *)c->out[0].data)[r] = (float)(c->attr->i[QUERN__REDUCE_FUNCTION] == QUERN__MEAN
                                                   ? (per ? sum / (double)per : 0)
                                                   : sum);
    }
    return 0;
}

/* Sums over axes between the first and the last, for each index of the leading axes, by column. */
static int middle_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *s = &c->in[0].shape;
    uint32_t axes = (uint32_t)c->attr->i[QUERN__REDUCE_AXES];
    int64_t count = 1, n = 1;
    for (int i = 0; i < s->rank; i++)
        if (axes >> i & 1)
            count *= s->dims[i];
        else if (axes < 1u << i)
            n *= s->dims[i];
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    double sums[width],
        divisor = c->attr->i[QUERN__REDUCE_FUNCTION] == QUERN__MEAN ? (double)count : 1;
    for (int64_t o = p.start / n; o < (p.start + p.length) / n; o++)
        for (int64_t j = 0; j < n; j += width) {
            int64_t m = n - j < width ? n - j : width;
            column_sums(count, m, n, (const float *)c->in[0].data + o * count * n + j, sums);
            for (int64_t k = 0; k < m; k++)
                ((float *)c->out[0].data)[o * n + j + k] = (float)(sums[k] / divisor);
        }
    return 0;
}

quern__kernel *quern__cpu_reduce(const quern__call *c)
{
    int rank = c->in[0].shape.rank;
    uint32_t axes = (uint32_t)c->attr->i[QUERN__REDUCE_AXES], all = (1u << rank) - 1;
    if (c->op != &quern__op_reduce || c->in[0].dtype != QUERN_FLOAT32 ||
        c->out[0].dtype != QUERN_FLOAT32 || c->attr->i[QUERN__REDUCE_FUNCTION] > QUERN__MEAN)
        return NULL;
    if (rank > 1 && axes == all >> 1)
        return columns_kernel;
    uint32_t lowest = axes & -axes; /* the axes are contiguous and include the last */
    if (axes && axes == (all & ~(lowest - 1)))
        return rows_kernel;
    bool one_run = axes && ((axes + lowest) & axes) == 0;
    return one_run && !(axes & 1) ? middle_kernel : NULL;
}
