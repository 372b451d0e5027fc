/* Which kernel computes a call. The order of the table is the order in which they are asked. */
#include "kernels.h"
#include "plain/tile.h"

#include <string.h>

/* The part of a product that is rows or columns [begin, end) of the result. */
static int product(const quern__call *c, int64_t begin, int64_t end)
{
    bool ta = c->attr->i[0], tb = c->attr->i[1];
    int64_t ra, ca, rb, cb, m, n;
    quern__as_matrix(&c->in[0].shape, &ra, &ca);
    quern__as_matrix(&c->in[1].shape, &rb, &cb);
    quern__as_matrix(&c->out[0].shape, &m, &n);
    const float *a = c->in[0].data, *b = c->in[1].data;
    float *out = c->out[0].data;
    int64_t ldc = n, k = ta ? ra : ca;
    if (c->axis >= 0 && c->axis == c->out[0].shape.rank - 1) {
        bool panel_b = c->panel && (c->panelled & 2), panel_out = c->panel && c->panelled >> 16;
        n = end - begin;
        b += panel_b ? begin * rb : tb ? begin * cb : begin;
        out += panel_out ? begin * m : begin;
        cb = panel_b ? n : cb;
        ldc = panel_out ? n : ldc;
    } else if (c->axis >= 0) {
        int64_t per = m / c->out[0].shape.dims[0];
        a += ta ? begin * per : begin * per * ca;
        out += begin * per * ldc;
        m = (end - begin) * per;
    }
    if (c->n_in == 3 && k) { /* b is packed: its panels of 32 columns, of which a block has whole ones */
        int64_t from = c->axis == c->out[0].shape.rank - 1 ? begin : 0;
        quern__tile_product(m, n, k, (quern__left){ a, ca, 1 }, (const float *)c->in[2].data + from * k, out, ldc, false);
        return 0;
    }
    return quern__gemm_plain(ta, tb, m, n, k, a, ca, b, cb, out, ldc);
}

/* Pair by pair: records [begin, end), each with as many pairs as its other leading axes count. */
static int batched(const quern__call *c, int64_t begin, int64_t end)
{
    bool ta = c->attr->i[0], tb = c->attr->i[1];
    const quern_shape *sa = &c->in[0].shape, *so = &c->out[0].shape;
    int64_t m = so->dims[so->rank - 2], n = so->dims[so->rank - 1], k = sa->dims[sa->rank - (ta ? 2 : 1)];
    quern__part p = quern__call_part(c, so, begin, end);
    int status = 0;
    for (int64_t at = p.start; at < p.start + p.length && status >= 0; at += m * n) {
        int64_t pair = at / (m * n);
        status = quern__gemm_plain(ta, tb, m, n, k, (const float *)c->in[0].data + pair * m * k, ta ? m : k,
                                   (const float *)c->in[1].data + pair * n * k, tb ? k : n, (float *)c->out[0].data + at, n);
    }
    return status;
}

static quern__kernel *product_kernel(const quern__call *c, const char **name)
{
    bool pairs = !strcmp(c->op->name, "batched_matmul");
    for (int i = 0; i < 2; i++)
        if ((strcmp(c->op->name, "matmul") && !pairs) || c->in[i].dtype != QUERN_FLOAT32)
            return NULL;
    *name = "plain gemm";
    return pairs ? batched : product;
}

bool quern__inputs_are_floats(const quern__call *call)
{
    for (int i = 0; i < call->n_in; i++)
        if (call->in[i].dtype != QUERN_FLOAT32)
            return false;
    return true;
}

quern__kernel *quern__kernel_among(const quern__call *call, const quern__named_kernel *all)
{
    for (; all->name; all++)
        if (!strcmp(call->op->name, all->name))
            return quern__inputs_are_floats(call) ? all->kernel : NULL;
    return NULL;
}

quern__kernel *quern__kernel_for(const quern__call *call, const char **name)
{
    quern__kernel *(*const plain[])(const quern__call *) = {
        quern__plain_elementwise, quern__plain_classes,   quern__plain_reduce,         quern__plain_update, quern__plain_dropout,
        quern__plain_normalize,   quern__plain_attention, quern__plain_recurrence,     quern__plain_gather, quern__plain_convolve,
        quern__plain_move,        quern__plain_pool,      quern__plain_batch_normalize
    };
    quern__kernel *kernel = product_kernel(call, name);
    if (kernel)
        return kernel;
    *name = "plain";
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if ((kernel = plain[i](call)))
            return kernel;
    *name = "reference";
    return call->op->reference;
}

/* As the compiler reports them (-fstack-usage), with a fifth on top. */
size_t quern__kernel_stack(const quern__call *call)
{
    static const struct {
        const char *op;
        size_t bytes;
    } large[] = { { "attention_grad", 656 << 10 }, { "attention", 256 << 10 }, { "convolve", 320 << 10 },
                  { "matmul", 96 << 10 },          { "batched_", 96 << 10 },   { "recurrence", 96 << 10 } };
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        if (!strncmp(call->op->name, large[i].op, strlen(large[i].op)))
            return large[i].bytes;
    return 16 << 10;
}
