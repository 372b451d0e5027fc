/* random: dropout and noise. Random numbers are functions of a counter (seed, epoch, record of the
 * epoch, element), so they do not depend on batch size, recomputation or threads.
 *
 * Dropout does not store its mask: the gradient is the same op on dy, with the same counters.
 * Element k of a record takes word k % 4 of counter (record, k / 4) of Philox 4x32-10. */
#include "build.h"

/* The key of a purpose in a run. */
static quern__random_key key_of(const quern__call *c, uint64_t purpose)
{
    return quern__random_key_of(c->run->seed ^
                                    quern__hash64((uint64_t)c->attr->i[QUERN__DROPOUT_SEED]),
                                purpose, (uint64_t)c->run->epoch);
}

/* Whether dropout keeps element `at` of a record; a counter gives four numbers of 32 bits. */
static bool stays(quern__random_key key, uint64_t record, uint64_t at, double rate)
{
    uint32_t bits[4];
    quern__random4(key, record, at / 4, bits);
    return (double)bits[at % 4] * 0x1p-32 >= rate;
}

/* y = x / (1 - rate) where the element stays, otherwise 0; shared axes use the same number. */
static int dropout_reference(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *s = &c->out[0].shape;
    double rate = c->attr->f[QUERN__DROPOUT_RATE], scale = rate < 1 ? 1 / (1 - rate) : 0;
    quern__random_key key = key_of(c, QUERN__RANDOM_DROPOUT);
    quern_shape drawn = *s; /* the shape of the random numbers: size 1 along shared axes */
    for (int k = 0; k < s->rank; k++)
        if (c->attr->i[QUERN__DROPOUT_SHARED] >> k & 1)
            drawn.dims[k] = 1;
    int64_t per = 1;
    for (int k = 1; k < s->rank; k++)
        per *= drawn.dims[k];
    /* axis 0 shared: all records use the numbers of the first one */
    bool all_share = c->attr->i[QUERN__DROPOUT_SHARED] & 1;
    quern__part p = quern__call_part(c, s, begin, end);
    for (int64_t i = p.start; i < p.start + p.length; i++) {
        int64_t at = quern__broadcast_index(&drawn, s, i), record = all_share ? 0 : at / per;
        bool stay = stays(key, (uint64_t)(c->run->first + record), (uint64_t)(at % per), rate);
        quern__set(&c->out[0], i, stay ? quern__get(&c->in[0], i) * scale : 0);
    }
    return 0;
}

static void dropout_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                             quern__id *dx)
{
    quern__attr attr = node->attr;
    dx[0] = quern__build(g, &quern__op_dropout, dy, 1, &attr, quern__shape_of(g, dy[0]),
                         quern__dtype_of(g, dy[0]));
}

const quern__op quern__op_dropout = { .name = "dropout",
                                      .ways = quern__ways_rows,
                                      .gradient = dropout_gradient,
                                      .reference = dropout_reference,
                                      .in_place = true };

quern__id quern__dropout(quern__graph *g, quern__id x, double rate, uint64_t seed, uint32_t shared)
{
    if (!x || rate == 0)
        return x;
    quern__attr attr = {
        .i = { [QUERN__DROPOUT_SEED] = (int64_t)seed, [QUERN__DROPOUT_SHARED] = shared },
        .f = { [QUERN__DROPOUT_RATE] = rate }
    };
    return quern__build(g, &quern__op_dropout, &x, 1, &attr, quern__shape_of(g, x),
                        quern__dtype_of(g, x));
}

/* ---- noise ---- */

static int noise_reference(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *s = &c->out[0].shape;
    int64_t records = s->rank ? s->dims[0] : 1, per = records ? quern_shape_count(s) / records : 1;
    quern__random_key key = key_of(c, QUERN__RANDOM_NOISE);
    quern__part p = quern__call_part(c, s, begin, end);
    for (int64_t i = p.start; i < p.start + p.length; i++)
        quern__set(
            &c->out[0], i,
            quern__random_normal(key, (uint64_t)(c->run->first + i / per), (uint64_t)(i % per)));
    return 0;
}

const quern__op quern__op_noise = { .name = "noise",
                                    .ways = quern__ways_rows,
                                    .reference = noise_reference };

quern__id quern__noise(quern__graph *g, quern__id x, uint64_t seed)
{
    quern__attr attr = { .i = { [QUERN__DROPOUT_SEED] = (int64_t)seed } };
    return quern__build(g, &quern__op_noise, &x, 1, &attr,
                        x ? quern__shape_of(g, x) : &(quern_shape){ 0 }, QUERN_FLOAT32);
}
