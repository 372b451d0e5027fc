/* Layer normalization of float32 rows. A row stays in L1 during its sums, 16 numbers at a time in
 * GCC's vector types. Column sums are in float over 32 rows, then in double. The ops, their arrays
 * and formulas are those of ops/normalize.c.
 *
 * Rows of n numbers: whole vectors of 16 first, then the rest one by one, in double. The 16 sums of
 * a vector are added in double at the end. The order depends on n only, so results do not depend on
 * threads. */
#include "vector.h"

typedef float lane __attribute__((vector_size(64), aligned(4)));
enum { lanes = 16, block = 32, width = 64 };

/* The sum of the 16 numbers of a vector. */
static inline __attribute__((always_inline)) double folded(const lane *s)
{
    double sum = 0;
    for (int j = 0; j < lanes; j++)
        sum += (*s)[j];
    return sum;
}

typedef struct row {
    const float *x, *gamma, *beta; /* gamma, beta: NULL without one */
    int64_t n;
    bool centred;
    double epsilon;
} row;

/* One row: its mean, then its variance around the mean, then y. */
static void forward_row(const row *r, float *y, float *statistic)
{
    const float *x = r->x;
    int64_t n = r->n, whole = n / lanes * lanes;
    lane sum = { 0 }, squares = { 0 };
    double rest = 0, over = 0;
    for (int64_t k = 0; k < whole; k += lanes)
        sum += *(const lane *)(x + k);
    for (int64_t k = whole; k < n; k++)
        rest += x[k];
    float mean = r->centred ? (float)((folded(&sum) + rest) / (double)n) : 0;
    for (int64_t k = 0; k < whole; k += lanes) {
        lane d = *(const lane *)(x + k) - mean;
        squares += d * d;
    }
    for (int64_t k = whole; k < n; k++)
        over += (double)(x[k] - mean) * (x[k] - mean);
    float inverse = (float)(1 / sqrt((folded(&squares) + over) / (double)n + r->epsilon));
    statistic[0] = mean;
    statistic[1] = inverse;
    if (r->gamma && r->beta)
        for (int64_t k = 0; k < n; k++)
            y[k] = (x[k] - mean) * inverse * r->gamma[k] + r->beta[k];
    else
        for (int64_t k = 0; k < n; k++)
            y[k] =
                (x[k] - mean) * inverse * (r->gamma ? r->gamma[k] : 1) + (r->beta ? r->beta[k] : 0);
}

static int normalize_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    const quern__attr *a = c->attr;
    row r = { .n = c->in[0].shape.dims[c->in[0].shape.rank - 1],
              .centred = a->i[QUERN__NORMALIZE_CENTRED],
              .epsilon = a->f[QUERN__NORMALIZE_EPSILON] };
    r.gamma = a->i[QUERN__NORMALIZE_GAMMA] ? c->in[a->i[QUERN__NORMALIZE_GAMMA]].data : NULL;
    r.beta = a->i[QUERN__NORMALIZE_BETA] ? c->in[a->i[QUERN__NORMALIZE_BETA]].data : NULL;
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t at = p.start; at < p.start + p.length; at += r.n) {
        r.x = (const float *)c->in[0].data + at;
        forward_row(&r, (float *)c->out[0].data + at, (float *)c->out[1].data + at / r.n * 2);
    }
    return 0;
}

/* Does not read beta; `statistic` is from the forward pass. */
static void backward_row(const row *r, const float *statistic, const float *dy, float *dx)
{
    const float *x = r->x, *gamma = r->gamma;
    int64_t n = r->n, whole = n / lanes * lanes;
    float mean = statistic[0], inverse = statistic[1];
    lane sum = { 0 }, along = { 0 };
    double rest = 0, over = 0;
    for (int64_t k = 0; k < whole; k += lanes) {
        lane d = *(const lane *)(dy + k);
        if (gamma)
            d *= *(const lane *)(gamma + k);
        sum += d;
        along += d * (*(const lane *)(x + k) - mean);
    }
    for (int64_t k = whole; k < n; k++) {
        float d = dy[k] * (gamma ? gamma[k] : 1);
        rest += d;
        over += (double)d * (x[k] - mean);
    }
    /* mean(d), and mean(d h) inverse, of ops/normalize.c */
    float shift = r->centred ? (float)((folded(&sum) + rest) / (double)n) : 0;
    float coefficient = (float)((folded(&along) + over) / (double)n) * inverse * inverse;
    if (gamma)
        for (int64_t k = 0; k < n; k++)
            dx[k] = inverse * (dy[k] * gamma[k] - shift - (x[k] - mean) * coefficient);
    else
        for (int64_t k = 0; k < n; k++)
            dx[k] = inverse * (dy[k] - shift - (x[k] - mean) * coefficient);
}

/* Sums of at most `width` adjacent columns over at most `block` rows. */
static void sum_block(int64_t rows, int64_t columns, int64_t stride, const float *x,
                      const float *statistic, const float *dy, float *restrict gamma,
                      float *restrict beta)
{
    for (int64_t j = 0; j < columns; j++)
        gamma[j] = beta[j] = 0;
    for (int64_t i = 0; i < rows; i++, x += stride, dy += stride, statistic += 2) {
        float mean = statistic[0], inverse = statistic[1];
        for (int64_t j = 0; j < columns; j++) {
            gamma[j] += dy[j] * ((x[j] - mean) * inverse);
            beta[j] += dy[j];
        }
    }
}

/* Sums of columns [begin, end) over rows [first, last). */
static void sums_of(const quern__call *c, int64_t n, int64_t first, int64_t last, int64_t begin,
                    int64_t end, float *gamma, float *beta)
{
    for (int64_t j = begin; j < end; j += width) {
        int64_t columns = end - j < width ? end - j : width;
        float part[2][width];
        double sums[2][width] = { { 0 } };
        for (int64_t i = first; i < last; i += block) {
            sum_block(last - i < block ? last - i : block, columns, n,
                      (const float *)c->in[0].data + i * n + j,
                      (const float *)c->in[1].data + 2 * i,
                      (const float *)c->in[2].data + i * n + j, part[0], part[1]);
            for (int64_t k = 0; k < columns; k++) {
                sums[0][k] += part[0][k];
                sums[1][k] += part[1][k];
            }
        }
        for (int64_t k = 0; k < columns; k++) {
            gamma[j + k] = (float)sums[0][k];
            beta[j + k] = (float)sums[1][k];
        }
    }
}

/* The gradients of gamma and beta, for columns [begin, end), over all rows. */
static int normalize_sums_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t n = c->in[0].shape.dims[c->in[0].shape.rank - 1],
            rows = quern_shape_count(&c->in[0].shape) / (n ? n : 1);
    if (c->axis < 0)
        begin = 0, end = n;
    sums_of(c, n, 0, rows, begin, end, c->out[0].data, c->out[1].data);
    return 0;
}

static int normalize_grad_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    row r = { .n = c->in[0].shape.dims[c->in[0].shape.rank - 1],
              .centred = c->attr->i[QUERN__NORMALIZE_CENTRED] };
    r.gamma = c->n_in > 3 ? c->in[3].data : NULL;
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t at = p.start; at < p.start + p.length; at += r.n) {
        r.x = (const float *)c->in[0].data + at;
        backward_row(&r, (const float *)c->in[1].data + at / r.n * 2,
                     (const float *)c->in[2].data + at, (float *)c->out[0].data + at);
    }
    /* where a record has several rows: their sums for gamma and beta */
    int64_t per = quern_shape_count(&c->in[0].shape) / (r.n * c->in[0].shape.dims[0]);
    for (int64_t k = p.start / (per * r.n); c->n_out > 1 && k < (p.start + p.length) / (per * r.n);
         k++)
        sums_of(c, r.n, k * per, (k + 1) * per, 0, r.n, (float *)c->out[1].data + k * r.n,
                (float *)c->out[2].data + k * r.n);
    return 0;
}

quern__kernel *quern__cpu_normalize(const quern__call *c)
{
    static const quern__op_kernel all[] = { { &quern__op_normalize, normalize_kernel },
                                            { &quern__op_normalize_grad, normalize_grad_kernel },
                                            { &quern__op_normalize_sums, normalize_sums_kernel },
                                            { 0 } };
    return c->out[0].dtype == QUERN_FLOAT32 ? quern__kernel_among(c, all) : NULL;
}
