/* Dropout of float32 with one draw per element: four elements per counter, as in ops/random.c. The
 * draw is Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), for
 * 16 counters at a time, so that the compiler vectorizes it. The bits are those of quern__random4.
 * With shared axes the reference kernel runs. */
#include "vector.h"

enum { lanes = 16 };

/* quern__random4 for `lanes` consecutive counters from `low` on. */
static void random_lanes(quern__random_key key, uint64_t high, uint64_t low, uint32_t *restrict out)
{
    uint32_t c0[lanes], c1[lanes], c2[lanes], c3[lanes], k0 = key.k[0], k1 = key.k[1];
    for (int i = 0; i < lanes; i++) {
        c0[i] = (uint32_t)(low + (uint64_t)i);
        c1[i] = (uint32_t)((low + (uint64_t)i) >> 32);
        c2[i] = (uint32_t)high;
        c3[i] = (uint32_t)(high >> 32);
    }
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u)
        for (int i = 0; i < lanes; i++) {
            uint64_t p0 = (uint64_t)0xD2511F53u * c0[i], p1 = (uint64_t)0xCD9E8D57u * c2[i];
            c0[i] = (uint32_t)(p1 >> 32) ^ c1[i] ^ k0;
            c2[i] = (uint32_t)(p0 >> 32) ^ c3[i] ^ k1;
            c1[i] = (uint32_t)p1;
            c3[i] = (uint32_t)p0;
        }
    for (int i = 0; i < lanes; i++)
        out[4 * i] = c0[i], out[4 * i + 1] = c1[i], out[4 * i + 2] = c2[i], out[4 * i + 3] = c3[i];
}

/* y = x scale where the bits exceed `most`, otherwise 0. */
static void dropout_row(int64_t n, const float *x, const uint32_t *bits, uint32_t most, float scale,
                        float *restrict y)
{
    for (int64_t j = 0; j < n; j++)
        y[j] = bits[j] > most ? x[j] * scale : 0;
}

static int dropout_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *s = &c->out[0].shape;
    double rate = c->attr->f[QUERN__DROPOUT_RATE];
    float scale = rate < 1 ? (float)(1 / (1 - rate)) : 0;
    double most = ceil(rate * 0x1p32) - 1; /* elements with bits up to it are dropped */
    quern__random_key key = quern__random_key_of(
        c->run->seed ^ quern__hash64((uint64_t)c->attr->i[QUERN__DROPOUT_SEED]),
        QUERN__RANDOM_DROPOUT, (uint64_t)c->run->epoch);
    int64_t per = quern_shape_count(s) / s->dims[0], first = c->axis < 0 ? 0 : begin,
            last = c->axis < 0 ? s->dims[0] : end;
    for (int64_t r = first; r < last; r++) {
        const float *x = (const float *)c->in[0].data + r * per;
        float *y = (float *)c->out[0].data + r * per;
        for (int64_t k = 0; k < per; k += 4 * lanes) {
            uint32_t bits[4 * lanes];
            random_lanes(key, (uint64_t)(c->run->first + r), (uint64_t)k / 4, bits);
            dropout_row(per - k < 4 * lanes ? per - k : 4 * lanes, x + k, bits, (uint32_t)most,
                        scale, y + k);
        }
    }
    return 0;
}

quern__kernel *quern__cpu_dropout(const quern__call *c)
{
    return c->op == &quern__op_dropout && c->out[0].dtype == QUERN_FLOAT32 &&
                   !c->attr->i[QUERN__DROPOUT_SHARED]
               ? dropout_kernel
               : NULL;
}
