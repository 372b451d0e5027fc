/* Dropout of float32 where every element has its own draw: four elements to one address, as ops/random.c says. */
#include "vector.h"

#include <string.h>

static int dropout_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *s = &c->out[0].shape;
    double rate = c->attr->f[0];
    float scale = rate < 1 ? (float)(1 / (1 - rate)) : 0;
    quern__random_key key =
        quern__random_key_of(c->run->seed ^ quern__hash64((uint64_t)c->attr->i[0]), QUERN__RANDOM_DROPOUT, (uint64_t)c->run->epoch);
    int64_t per = quern_shape_count(s) / s->dims[0], first = c->axis < 0 ? 0 : begin, last = c->axis < 0 ? s->dims[0] : end;
    for (int64_t r = first; r < last; r++) {
        const float *x = (const float *)c->in[0].data + r * per;
        float *y = (float *)c->out[0].data + r * per;
        for (int64_t k = 0; k < per; k += 4) {
            uint32_t bits[4];
            quern__random4(key, (uint64_t)(c->run->first + r), (uint64_t)k / 4, bits);
            for (int64_t j = k; j < k + 4 && j < per; j++)
                y[j] = (double)bits[j - k] * 0x1p-32 >= rate ? x[j] * scale : 0;
        }
    }
    return 0;
}

quern__kernel *quern__plain_dropout(const quern__call *c)
{
    return !strcmp(c->op->name, "dropout") && c->out[0].dtype == QUERN_FLOAT32 && !c->attr->i[1] ? dropout_kernel : NULL;
}
