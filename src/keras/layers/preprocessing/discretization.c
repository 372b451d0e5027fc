/* discretization: Discretization: numbers become the indices of bins. The boundaries are given, or
 * adapt learns them as quantiles of a stream. As in Keras, the state is a summary of bounded size:
 * weighted values, whose number epsilon determines.
 * https://keras.io/api/layers/preprocessing_layers/numerical/discretization/ */
#include "keras/keras.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { most_boundaries = 1 << 20 };

/* A value and its weight. A summary has them in ascending order, in float32 as in Keras. */
typedef struct point {
    float value, weight;
} point;

typedef struct summary {
    point *points;
    int64_t n;
} summary;

typedef struct discretization {
    quern__look look;
    float *boundaries;
    int64_t n;
    bool known;
    summary seen;
} discretization;

static int look_bin(const void *self, const quern_tensor *in, int64_t at, int64_t n, float *out,
                    const char **why)
{
    const discretization *d = self;
    int64_t low = 0, high = d->n;
    double x = quern__get(in, at);
    (void)n;
    *why = "the boundaries of the bins are not learned; adapt the layer first";
    if (!d->known)
        return QUERN_NOTFOUND;
    while (low < high) { /* a number equal to a boundary belongs to the bin on its right */
        int64_t middle = (low + high) / 2;
        if (x < (double)d->boundaries[middle])
            high = middle;
        else
            low = middle + 1;
    }
    *out = (float)low;
    return QUERN_OK;
}

/* ---- learning ---- */

static int by_value(const void *a, const void *b)
{
    float x = ((const point *)a)->value, y = ((const point *)b)->value;
    return (x > y) - (x < y);
}

/* Keeps every step-th of the sorted numbers of a batch, 1 / epsilon numbers in all. */
static int64_t summarise(point *p, int64_t n, double epsilon)
{
    double step = (double)n * epsilon > 1 ? (double)n * epsilon : 1;
    int64_t kept = 0;
    qsort(p, (size_t)n, sizeof *p, by_value);
    for (int64_t i = (int64_t)(step - 1); i < n; i += (int64_t)step)
        p[kept++] = (point){ p[i].value, (float)step };
    return kept;
}

/* Piecewise linear interpolation at x through (from[i], to[i]); constant outside. */
static double interpolate(double x, const double *from, const double *to, int64_t n)
{
    int64_t low = 0, high = n - 1;
    if (x <= from[0] || n < 2)
        return to[0];
    if (x >= from[n - 1])
        return to[n - 1];
    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        if (from[middle] <= x)
            low = middle;
        else
            high = middle;
    }
    return (to[high] - to[low]) / (from[high] - from[low]) * (x - from[low]) + to[low];
}

/* Replaces a summary by its values at multiples of epsilon of the total weight. A summary that is
 * smaller does not change. */
static int compress(summary *s, double epsilon, quern_error *err)
{
    int64_t n = s->n, kept = (int64_t)ceil(1 / epsilon);
    if ((double)n * epsilon < 1)
        return QUERN_OK;
    double *parts = quern__zalloc((size_t)n, 3 * sizeof *parts), *sums = parts ? parts + n : NULL,
           *values = parts ? sums + n : NULL;
    point *out = quern__zalloc((size_t)kept, sizeof *out);
    if (!parts || !out) {
        quern__free(parts);
        quern__free(out);
        return quern__fail_memory(err, (size_t)n * 3 * sizeof *parts);
    }
    float sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += s->points[i].weight;
        sums[i] = (double)sum;
        values[i] = (double)s->points[i].value;
    }
    for (int64_t i = 0; i < n; i++)
        parts[i] = (double)((float)sums[i] / sum);
    double before = 0;
    for (int64_t i = 0; i < kept; i++) {
        double part = epsilon + (double)i * epsilon, now = interpolate(part, parts, sums, n);
        out[i] = (point){ (float)interpolate(part, parts, values, n), (float)(now - before) };
        before = now;
    }
    quern__free(parts);
    quern__free(s->points);
    *s = (summary){ out, kept };
    return QUERN_OK;
}

static int discretization_adapt(quern__layer *l, const quern_tensor *batch, int64_t seen,
                                quern_error *err)
{
    discretization *d = l->object;
    int64_t n = quern_shape_count(&batch->shape);
    double epsilon = quern__config_number(l->config, "epsilon");
    if (seen == 0)
        d->seen.n = 0;
    point *all = quern__zalloc((size_t)(n + d->seen.n) + 1, sizeof *all);
    if (!all)
        return quern__fail_memory(err, (size_t)(n + d->seen.n) * sizeof *all);
    for (int64_t i = 0; i < n; i++) {
        all[i].value = (float)quern__get(batch, i);
        if (!isfinite(all[i].value)) {
            quern__free(all);
            return quern__fail(err, QUERN_NUMBER, l->name, "number %lld of a batch is not finite",
                               (long long)i);
        }
    }
    n = summarise(all, n, epsilon);
    if (d->seen.n)
        memcpy(all + n, d->seen.points, (size_t)d->seen.n * sizeof *all);
    quern__free(d->seen.points);
    d->seen = (summary){ all, n + d->seen.n };
    qsort(all, (size_t)d->seen.n, sizeof *all, by_value);
    return compress(&d->seen, epsilon, err);
}

/* Reads the boundaries of the config: given, learned, or from a file. */
static int take_boundaries(quern__layer *l, quern_error *err)
{
    discretization *d = l->object;
    json_t *list = json_object_get(l->config, "bin_boundaries"), *v;
    size_t k, n = json_array_size(list);
    if (!json_is_array(list) || n > most_boundaries)
        return quern__fail(err, QUERN_INVALID, l->name,
                           "bin_boundaries must be a list of at most %d numbers", most_boundaries);
    float *own = quern__zalloc(n + 1, sizeof *own);
    if (!own)
        return quern__fail_memory(err, n * sizeof *own);
    quern__free(d->boundaries);
    d->boundaries = own;
    d->n = (int64_t)n;
    json_array_foreach(list, k, v)
    {
        own[k] = (float)json_number_value(v);
        if (!json_is_number(v) || (k && own[k] < own[k - 1]))
            return quern__fail(err, QUERN_INVALID, l->name,
                               "bin_boundaries must be numbers in ascending order");
    }
    d->known = true;
    return QUERN_OK;
}

static int discretization_adapted(quern__layer *l, quern_error *err)
{
    discretization *d = l->object;
    const char *mode = quern__config_text(l->config, "output_mode");
    int64_t bins = quern__config_int(l->config, "num_bins");
    int status = compress(&d->seen, 1 / (double)bins, err);
    json_t *list = json_array();
    for (int64_t i = 0; i + 1 < d->seen.n; i++)
        json_array_append_new(list, json_real((double)d->seen.points[i].value));
    if (status >= 0 && strcmp(mode, "int") && d->seen.n != bins)
        status =
            quern__fail(err, QUERN_SHAPE, l->name, "the data gives %lld bins, the output has %lld",
                        (long long)d->seen.n, (long long)bins);
    json_object_set_new(l->config, "bin_boundaries", list);
    if (status < 0)
        return status;
    return take_boundaries(l, err);
}

/* ---- the layer ---- */

static int discretization_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    json_t *list = json_object_get(l->config, "bin_boundaries"),
           *bins = json_object_get(l->config, "num_bins");
    double epsilon = quern__config_number(l->config, "epsilon");
    (void)in, (void)n;
    int status = quern__check_output_mode(l, 0, 4, err);
    if (status < 0)
        return status;
    if (json_is_null(list) && json_is_null(bins))
        return quern__fail(err, QUERN_INVALID, l->name, "needs num_bins or bin_boundaries");
    if (!json_is_null(bins) &&
        !(json_integer_value(bins) >= 1 && json_integer_value(bins) <= most_boundaries))
        return quern__fail(err, QUERN_INVALID, l->name, "num_bins must be in 1 … %d",
                           most_boundaries);
    if (!(epsilon >= 1e-6 && epsilon <= 1))
        return quern__fail(err, QUERN_INVALID, l->name, "epsilon must be in 1e-6 … 1");
    discretization *d = l->object = quern__zalloc(1, sizeof *d);
    if (!d)
        return quern__fail_memory(err, sizeof *d);
    d->look = (quern__look){ look_bin, d };
    l->given = json_is_null(bins);
    return json_is_null(list) ? QUERN_OK : take_boundaries(l, err);
}

static quern__id discretization_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                     bool training)
{
    const discretization *d = l->object;
    quern_shape s = *quern__shape_of(g, in[0]);
    (void)n, (void)training;
    int64_t depth = d->known ? d->n + 1 : quern__config_int(l->config, "num_bins");
    return quern__encode_categories(l, g, quern__lookup(g, in, 1, &d->look, 1, 1, &s), depth, 0);
}

static void discretization_drop(quern__layer *l)
{
    discretization *d = l->object;
    if (d) {
        quern__free(d->boundaries);
        quern__free(d->seen.points);
    }
    quern__free(d);
}

static const quern__field fields[] = {
    { "bin_boundaries", QUERN__F_ANY, "null" },   { "num_bins", QUERN__F_ANY, "null" },
    { "epsilon", QUERN__F_NUMBER, "0.01" },       { "output_mode", QUERN__F_TEXT, "\"int\"" },
    { "sparse", QUERN__F_ONLY_DEFAULT, "false" }, { 0 }
};
const quern__class quern__layer_discretization = { .group = QUERN__LAYER,
                                                   .name = "Discretization",
                                                   .aliases = "",
                                                   .module = "keras.layers",
                                                   .fields = fields,
                                                   .build = discretization_build,
                                                   .call = discretization_call,
                                                   .adapt = discretization_adapt,
                                                   .adapted = discretization_adapted,
                                                   .destroy_state = discretization_drop };
