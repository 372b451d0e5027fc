/* Softmax and cross-entropy of float32 rows: exponentials in vectors, the sum of a row in double.
 *
 * The cross-entropy of labels stores no probabilities. Its backward pass writes softmax(logits) dy
 * into the gradient, and subtracts dy at the label. Rows are divided by records. log softmax and
 * sparsemax use the reference kernel. */
#include "vector.h"

enum { stretch = 256 }; /* exponentials on the stack at a time */

/* y = exp(x - shift), with shift the maximum of the row, so that no result exceeds 1. */
static void exponentials(int64_t n, const float *x, float shift, float *y)
{
    for (int64_t k = 0; k < n; k++)
        y[k] = quern__exp_falling(x[k] - shift);
}

/* The maximum of a row; NaN if the row has one. */
static float largest(int64_t n, const float *x)
{
    float max = -INFINITY;
    for (int64_t k = 0; k < n; k++)
        max = x[k] > max || x[k] != x[k] ? x[k] : max;
    return max;
}

/* sum(exp(x - max)) of a row. */
static double exponential_sum(int64_t n, const float *x, float max)
{
    float e[stretch];
    double sum = 0;
    for (int64_t k = 0; k < n; k += stretch) {
        int64_t m = n - k < stretch ? n - k : stretch;
        exponentials(m, x + k, max, e);
        for (int64_t j = 0; j < m; j++)
            sum += e[j];
    }
    return sum;
}

/* y = softmax(x) * factor */
static void softmax_row(int64_t n, const float *x, double factor, float *y)
{
    double sum = 0;
    exponentials(n, x, largest(n, x), y);
    for (int64_t k = 0; k < n; k++)
        sum += y[k];
    float scale = (float)(factor / sum);
    for (int64_t k = 0; k < n; k++)
        y[k] *= scale;
}

static int softmax_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = c->in[0].shape.dims[c->in[0].shape.rank - 1];
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t at = p.start; at < p.start + p.length; at += n)
        softmax_row(n, (const float *)c->in[0].data + at, 1, (float *)c->out[0].data + at);
    return 0;
}

/* The label of a row; -1: ignored; -2: a fault, which is reported. */
static int64_t label_of(const quern__call *c, int64_t row, int64_t n)
{
    double label = quern__get(&c->in[0], row);
    if (c->attr->i[0] != QUERN__NO_LABEL && label == (double)c->attr->i[0])
        return -1;
    if (label >= 0 && label < (double)n && label == floor(label))
        return (int64_t)label;
    int64_t per = quern_shape_count(&c->in[0].shape) / c->in[0].shape.dims[0];
    quern__call_fault(c, QUERN_INVALID, row / per, label, (double)(n - 1), "label");
    return -2;
}

static int sparse_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = c->in[1].shape.dims[c->in[1].shape.rank - 1];
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t r = p.start; r < p.start + p.length; r++) {
        const float *x = (const float *)c->in[1].data + r * n;
        int64_t label = label_of(c, r, n);
        if (label < -1)
            return QUERN_INVALID;
        float max = largest(n, x);
        ((float *)c->out[0].data)[r] =
            label < 0 ? 0 : (float)(log(exponential_sum(n, x, max)) + ((double)max - x[label]));
    }
    return 0;
}

static int sparse_grad_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = c->in[1].shape.dims[c->in[1].shape.rank - 1];
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t r = p.start / n; r < (p.start + p.length) / n; r++) {
        int64_t label = label_of(c, r, n);
        if (label < -1)
            return QUERN_INVALID;
        float dy = label < 0 ? 0 : ((const float *)c->in[2].data)[r],
              *dx = (float *)c->out[0].data + r * n;
        softmax_row(n, (const float *)c->in[1].data + r * n, dy, dx);
        if (label >= 0)
            dx[label] -= dy;
    }
    return 0;
}

quern__kernel *quern__cpu_softmax_crossentropy(const quern__call *c)
{
    if (c->out[0].dtype != QUERN_FLOAT32)
        return NULL;
    if (c->op == &quern__op_softmax)
        return c->in[0].dtype == QUERN_FLOAT32 ? softmax_kernel : NULL;
    if (c->op == &quern__op_sparse_crossentropy)
        return c->in[1].dtype == QUERN_FLOAT32 ? sparse_kernel : NULL;
    if (c->op == &quern__op_sparse_crossentropy_grad)
        return c->in[1].dtype == QUERN_FLOAT32 && c->in[2].dtype == QUERN_FLOAT32
                   ? sparse_grad_kernel
                   : NULL;
    return NULL;
}
