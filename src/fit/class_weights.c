/* Class weights: "0:1,1:4", or by class name. The class of a record is its label, or the index of
 * the largest number of a one-hot target. */
#include "class_weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { most_classes = 65536, NO_CLASS = -most_classes };

/* The class of a key: its name or its number. */
static int64_t class_named(const char *key, const quern_batch_spec *spec, quern_error *err)
{
    char *end;
    int64_t named = quern_schema_find_class(spec->schema, 0, key),
            k = named >= 0 ? named : (int64_t)strtol(key, &end, 10);
    int64_t classes = spec->classes[0]                       ? spec->classes[0]
                      : spec->means[0] == QUERN_MEANS_BINARY ? 2
                                                             : most_classes;
    if (spec->means[0] == QUERN_MEANS_BINARY &&
        quern__per_record(&spec->shapes[spec->n_inputs]) > 1)
        classes = quern__per_record(&spec->shapes[spec->n_inputs]);
    if (named < 0 && (end == key || *end || *key == '-' || *key == '+'))
        return quern__fail(err, QUERN_INVALID, "class_weight", "'%.60s' is not a class", key);
    if (k >= classes)
        return quern__fail(err, QUERN_INVALID, "class_weight",
                           "class %lld: the classes are 0 … %lld", (long long)k,
                           (long long)classes - 1);
    return k;
}

/* Reads one "CLASS:WEIGHT" of n bytes. */
static int read_class_weight(const char *p, size_t n, const quern_batch_spec *spec, int64_t *class,
                             double *weight, quern_error *err)
{
    char *own = quern__strndup(p, n), *colon = own ? strrchr(own, ':') : NULL, *end = NULL;
    if (!own)
        return quern__fail_memory(err, n);
    *weight = colon ? quern__strtod(colon + 1, &end) : 0;
    int status =
        colon && end > colon + 1 && !*end && *weight >= 0 && !isinf(*weight)
            ? QUERN_OK
            : quern__fail(err, QUERN_INVALID, "class_weight", "'%.60s' is not CLASS:WEIGHT", own);
    if (status >= 0) {
        *colon = 0;
        *class = class_named(own, spec, err);
        status = *class < 0 ? (int)*class : QUERN_OK;
    }
    quern__free(own);
    return status;
}

int quern__class_weights_read(const char *text, const quern_batch_spec *spec,
                              quern__class_weights *out, quern_error *err)
{
    for (int pass = 0; text && pass < 2; pass++) {
        for (const char *p = text; *p;) {
            size_t n = strcspn(p, ",");
            int64_t k = 0;
            double w = 0;
            int status = read_class_weight(p, n, spec, &k, &w, err);
            if (status < 0)
                return status;
            if (pass == 0)
                out->n = k + 1 > out->n ? k + 1 : out->n;
            else if (!isnan(out->weight[k]))
                return quern__fail(err, QUERN_INVALID, "class_weight",
                                   "'%.*s': the class has a weight already", (int)n, p);
            else
                out->weight[k] = (float)w;
            p += n + (p[n] == ',');
        }
        if (pass == 0 && !(out->weight = quern__alloc((size_t)out->n * sizeof *out->weight + 4)))
            return quern__fail_memory(err, (size_t)out->n * 4);
        for (int64_t i = 0; pass == 0 && i < out->n; i++)
            out->weight[i] = NAN;
    }
    return QUERN_OK;
}

/* The class of a record: its label, or the argmax of its one-hot target; NO_CLASS: a fraction. */
static int64_t class_of(const quern_batch *b, int64_t r)
{
    const quern_batch_spec *s = b->spec;
    int at = s->n_inputs;
    int64_t per = quern__per_record(&b->shapes[at]), best = 0;
    if (s->dtypes[at] == QUERN_INT32)
        return ((const int32_t *)b->arrays[at])[r * per];
    const float *y = (const float *)b->arrays[at] + r * per;
    if (per == 1)
        return y[0] == rintf(y[0]) && fabsf(y[0]) < most_classes ? (int64_t)y[0] : NO_CLASS;
    for (int64_t k = 1; k < per; k++)
        best = y[k] > y[best] ? k : best;
    return best;
}

/* The steps of a target with weights for each step: its own size of the open axis, if it is open.
 */
static int64_t steps_of(const quern_batch *b, int target)
{
    int array = b->spec->n_inputs + target;
    return b->spec->open[array] >> 1 & 1 ? b->shapes[array].dims[1]
                                         : b->spec->weights[target].dims[1];
}

/* Multiplies the target weights of record r. */
static void weigh_targets(quern_batch *b, int64_t r, float weight)
{
    for (int i = 0; i < b->spec->n_targets; i++) {
        int64_t per = b->weighs[i] == QUERN_WEIGHTS_STEPS ? steps_of(b, i)
                                                          : b->weighs[i] != QUERN_WEIGHTS_COMMON;
        for (int64_t k = r * per; k < (r + 1) * per; k++)
            b->target_weights[i][k] *= weight;
    }
}

static int no_weight_error(const quern_batch *b, int64_t r, int64_t k, quern_error *err)
{
    const char *name =
        k >= 0 && k < most_classes ? quern_schema_class(b->spec->schema, 0, (int)k) : NULL;
    char of[80] = "";
    if (name)
        snprintf(of, sizeof of, " ('%.60s')", name);
    return quern__fail(err, QUERN_INVALID, "class_weight",
                       "record %lld of the epoch has class %lld%s, which has no weight",
                       (long long)(b->first + r + 1), (long long)k, of);
}

int quern__class_weights_weigh(const quern__class_weights *c, quern_batch *b, quern_error *err)
{
    for (int64_t r = 0; c->weight && r < b->size; r++) {
        int64_t k = class_of(b, r);
        if (k == NO_CLASS) {
            quern__fail(err, QUERN_INVALID, "class_weight",
                        "record %lld of the epoch has the target %g, which is not a class",
                        (long long)(b->first + r + 1),
                        (double)((const float *)b->arrays[b->spec->n_inputs])[r]);
            quern__hint(err, "--weight COLUMN, or w=FILE, gives each record a weight");
            return QUERN_INVALID;
        }
        if (k < 0 || k >= c->n || isnan(c->weight[k]))
            return no_weight_error(b, r, k, err);
        b->weights[r] = c->weight[k] * (b->has_weights ? b->weights[r] : 1);
        weigh_targets(b, r, c->weight[k]);
    }
    b->has_weights = b->has_weights || c->weight;
    return QUERN_OK;
}
