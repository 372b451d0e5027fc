/* Class weights: "0:1,1:4". A class is a label, or the place of the largest number of a one-hot target. */
#include "batch.h"

#include <math.h>
#include <stdlib.h>

enum { most_classes = 65536 };

int quern__class_weights_read(const char *text, quern__class_weights *out, quern_error *err)
{
    for (int pass = 0; text && pass < 2; pass++) {
        for (const char *p = text; *p;) {
            char *end, *after;
            long k = strtol(p, &end, 10);
            double w = *end == ':' ? strtod(end + 1, &after) : 0;
            if (*end != ':' || after == end + 1 || (*after && *after != ',') || k < 0 || k >= most_classes || !(w >= 0) || isinf(w))
                return quern__fail(err, QUERN_INVALID, "class_weight", "'%s' is not CLASS:WEIGHT,…", text);
            if (pass == 0)
                out->n = k + 1 > out->n ? k + 1 : out->n;
            else
                out->weight[k] = (float)w;
            p = *after ? after + 1 : after;
        }
        if (pass == 0 && !(out->weight = quern__alloc((size_t)out->n * sizeof *out->weight + 4)))
            return quern__fail_memory(err, (size_t)out->n * 4);
        for (int64_t i = 0; pass == 0 && i < out->n; i++)
            out->weight[i] = NAN;
    }
    return QUERN_OK;
}

/* The class of a record: its label, or the place of the largest of its one-hot target. */
static int64_t class_of(const quern_batch *b, int64_t r)
{
    const quern_batch_spec *s = b->spec;
    int at = s->n_inputs;
    int64_t per = 1, best = 0;
    for (int i = 1; i < s->shapes[at].rank; i++)
        per *= s->shapes[at].dims[i];
    if (s->dtypes[at] == QUERN_INT32)
        return ((const int32_t *)b->arrays[at])[r * per];
    const float *y = (const float *)b->arrays[at] + r * per;
    if (per == 1)
        return (int64_t)lrintf(y[0]);
    for (int64_t k = 1; k < per; k++)
        best = y[k] > y[best] ? k : best;
    return best;
}

/* Weights of targets' own. */
static void weigh_targets(quern_batch *b, int64_t r, float weight)
{
    for (int i = 0; i < b->spec->n_targets; i++) {
        int64_t per = b->weighs[i] == QUERN_WEIGHTS_STEPS ? b->spec->weights[i].dims[1] : b->weighs[i] != QUERN_WEIGHTS_COMMON;
        for (int64_t k = r * per; k < (r + 1) * per; k++)
            b->target_weights[i][k] *= weight;
    }
}

int quern__class_weights_weigh(const quern__class_weights *c, quern_batch *b, quern_error *err)
{
    for (int64_t r = 0; c->weight && r < b->size; r++) {
        int64_t k = class_of(b, r);
        if (k < 0 || k >= c->n || isnan(c->weight[k]))
            return quern__fail(err, QUERN_INVALID, "class_weight", "record %lld of the epoch has class %lld, which has no weight",
                               (long long)(b->first + r + 1), (long long)k);
        b->weights[r] = c->weight[k] * (b->has_weights ? b->weights[r] : 1);
        weigh_targets(b, r, c->weight[k]);
    }
    b->has_weights = b->has_weights || c->weight;
    return QUERN_OK;
}
