/* Windows of float32 sequences: rows of numbers copied, and added on the way back. */
#include "vector.h"

#include <string.h>

/* Place j of window w of a record: where its row lies among the steps; -1: outside. */
static int64_t row_of(const quern__attr *a, int64_t w, int64_t j, int64_t steps)
{
    int64_t t = w * a->i[1] + j * a->i[2] - a->i[3];
    return t >= 0 && t < steps ? t : -1;
}

static int windows_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *out = &c->out[0].shape;
    int64_t steps = c->in[0].shape.dims[1], n = out->dims[3], first = c->axis < 0 ? 0 : begin,
            last = c->axis < 0 ? out->dims[0] : end;
    for (int64_t r = first; r < last; r++) {
        const float *x = (const float *)c->in[0].data + r * steps * n;
        float *y = (float *)c->out[0].data + r * out->dims[1] * out->dims[2] * n;
        for (int64_t w = 0; w < out->dims[1]; w++)
            for (int64_t j = 0; j < out->dims[2]; j++, y += n) {
                int64_t t = row_of(c->attr, w, j, steps);
                if (t >= 0)
                    memcpy(y, x + t * n, sizeof(float) * (size_t)n);
                else
                    for (int64_t k = 0; k < n; k++)
                        y[k] = (float)c->attr->f[0];
            }
    }
    return 0;
}

QUERN__CLONES static void add_row(int64_t n, const float *restrict x, float *restrict y)
{
    for (int64_t k = 0; k < n; k++)
        y[k] += x[k];
}

static int windows_slope_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *in = &c->in[0].shape;
    int64_t steps = c->out[0].shape.dims[1], n = in->dims[3], first = c->axis < 0 ? 0 : begin,
            last = c->axis < 0 ? in->dims[0] : end;
    for (int64_t r = first; r < last; r++) {
        const float *dy = (const float *)c->in[0].data + r * in->dims[1] * in->dims[2] * n;
        float *dx = (float *)c->out[0].data + r * steps * n;
        memset(dx, 0, sizeof(float) * (size_t)(steps * n));
        for (int64_t w = 0; w < in->dims[1]; w++)
            for (int64_t j = 0; j < in->dims[2]; j++, dy += n) {
                int64_t t = row_of(c->attr, w, j, steps);
                if (t >= 0)
                    add_row(n, dy, dx + t * n);
            }
    }
    return 0;
}

quern__kernel *quern__plain_windows(const quern__call *c)
{
    bool forward = !strcmp(c->op->name, "windows"), back = !strcmp(c->op->name, "windows_slope");
    if ((!forward && !back) || c->in[0].dtype != QUERN_FLOAT32 || c->out[0].dtype != QUERN_FLOAT32)
        return NULL;
    return forward ? windows_kernel : windows_slope_kernel;
}
