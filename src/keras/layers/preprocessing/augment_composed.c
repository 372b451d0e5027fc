/* augment_composed: augmentations that are composed of others: RandomColorJitter, RandAugment and
 * AugMix. */
#include "augmentation.h"

#include <math.h>
#include <string.h>

/* The counters of part k, separate from those of all other parts. */
static quern__draws of_part(const quern__draws *d, int64_t k)
{
    return (quern__draws){ d->key, d->record, d->base + QUERN__DRAWS_OF_PART * (uint64_t)(k + 1) };
}

/* RandomColorJitter: all parts in order. */
void quern__jitter(const quern__augmentation *a, const quern__draws *d, float *p, float *scratch)
{
    for (int k = 0; k < a->n_parts; k++) {
        quern__draws own = of_part(d, k);
        a->parts[k]->change->make(a->parts[k], &own, p, scratch);
    }
}

/* Applies `chosen` random parts in sequence. As in Keras, a part can occur twice with the same
 * result. */
void quern__rand_augment(const quern__augmentation *a, const quern__draws *d, float *p,
                         float *scratch)
{
    for (int64_t i = 0; i < a->chosen; i++) {
        int64_t k = (int64_t)(quern__drawn(d, (uint64_t)i) * a->n_parts);
        quern__draws own = of_part(d, k);
        a->parts[k]->change->make(a->parts[k], &own, p, scratch);
    }
}

/* A gamma-distributed number (Marsaglia and Tsang, "A simple method for generating gamma
 * variables", 2000). It uses counters from k on, fewer than 2^10. */
static double gamma_drawn(const quern__draws *d, double shape, uint64_t k)
{
    double more = shape < 1 ? shape + 1 : shape, third = more - 1.0 / 3, c = 1 / sqrt(9 * third),
           v = 1;
    for (uint64_t i = 1; i < 512; i++) {
        double x = quern__random_normal(d->key, d->record, d->base + k + 2 * i),
               u = quern__drawn(d, k + 2 * i + 1);
        v = (1 + c * x) * (1 + c * x) * (1 + c * x);
        if (v > 0 && log(1 - u) < 0.5 * x * x + third - third * v + third * log(v))
            break;
    }
    return third * v * (shape < 1 ? pow(1 - quern__drawn(d, k), 1 / shape) : 1);
}

/* AugMix: chains of parts, each applied to the original image, are mixed with Dirichlet weights;
 * the mixture is blended with the image by a beta-distributed weight. `scratch` holds a chain, the
 * mixture, and the scratch of the parts. */
void quern__aug_mix(const quern__augmentation *a, const quern__draws *d, float *p, float *scratch)
{
    int64_t size = quern__picture_size(&a->of.picture);
    float *chain = scratch, *mixed = scratch + size, *room = mixed + size;
    double all = 0, first = gamma_drawn(d, a->alpha, 1 << 18),
           second = gamma_drawn(d, a->alpha, (1 << 18) + 1024);
    float kept = (float)(first / (first + second));
    memset(mixed, 0, (size_t)size * sizeof *mixed);
    for (int64_t i = 0; i < a->chains; i++)
        all += gamma_drawn(d, a->alpha, (uint64_t)(1 << 19) + 1024 * (uint64_t)i);
    for (int64_t i = 0; i < a->chains; i++) {
        float share =
            (float)(gamma_drawn(d, a->alpha, (uint64_t)(1 << 19) + 1024 * (uint64_t)i) / all);
        memcpy(chain, p, (size_t)size * sizeof *p);
        for (int64_t j = 0; j < a->depth; j++) {
            int64_t place = i * a->depth + j,
                    k = (int64_t)(quern__drawn(d, (uint64_t)place) * (a->n_parts + 1));
            quern__draws own = of_part(d, place);
            if (k < a->n_parts) /* otherwise the image does not change in this step */
                a->parts[k]->change->make(a->parts[k], &own, chain, room);
        }
        for (int64_t n = 0; n < size; n++)
            mixed[n] += share * chain[n];
    }
    for (int64_t n = 0; n < size; n++)
        p[n] = quern__clip((double)(kept * p[n] + (1 - kept) * mixed[n]), a->low, a->high);
}
