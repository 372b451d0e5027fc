/* Normalization: (x - mean) / sqrt(variance) by place along the kept axes, with numbers given or learned from a stream (adapt).
 * https://keras.io/api/layers/preprocessing_layers/numerical/normalization/ */
#include "layers.h"

#include <math.h>
#include <string.h>

/* Which axes are kept, as a bit mask. */
static bool kept(json_t *config, int rank, uint32_t *out)
{
    json_t *axis = json_object_get(config, "axis"), *a;
    size_t k;
    *out = 0;
    if (json_is_integer(axis))
        *out = 1u << ((json_integer_value(axis) + rank) % rank);
    json_array_foreach(axis, k, a)
    {
        int64_t at = json_integer_value(a) + (json_integer_value(a) < 0 ? rank : 0);
        if (at < 0 || at >= rank)
            return false;
        *out |= 1u << at;
    }
    return true;
}

/* The shape of mean and variance: the kept axes; `spread` has 1 on the others. */
static int state_shape(const quern__layer *l, const quern_shape *in, quern_shape *shape, quern_shape *spread, quern_error *err)
{
    uint32_t keep;
    *shape = *spread = (quern_shape){ 0 };
    if (!kept(l->config, in->rank, &keep))
        return quern__fail(err, QUERN_SHAPE, l->name, "axis is outside the %d axes of its input", in->rank);
    for (int i = 0; i < in->rank; i++) {
        bool own = keep >> i & 1;
        if (own && in->dims[i] < 0)
            return quern__fail(err, QUERN_SHAPE, l->name, "axis %d has no fixed size", i);
        spread->dims[spread->rank++] = own ? in->dims[i] : 1;
        if (own)
            shape->dims[shape->rank++] = in->dims[i];
    }
    return QUERN_OK;
}

static int normalization_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    quern_shape shape, spread, scalar = { 0 };
    json_t *mean = json_object_get(l->config, "mean"), *variance = json_object_get(l->config, "variance");
    (void)n;
    int status = state_shape(l, in, &shape, &spread, err);
    if (status < 0)
        return status;
    if (json_is_null(mean) != json_is_null(variance))
        return quern__fail(err, QUERN_INVALID, l->name, "mean and variance must be given together");
    if (!json_is_null(mean))
        return quern__layer_constant(l, mean, err) && quern__layer_constant(l, variance, err) ? QUERN_OK : QUERN_INVALID;
    l->trainable = false;
    quern__variable *weights[2] = { quern__layer_weight(l, "mean", &shape, "mean_initializer", err),
                                    quern__layer_weight(l, "variance", &shape, "variance_initializer", err) };
    if (!weights[0] || !weights[1])
        return QUERN_NOMEM;
    for (int64_t i = 0; i < quern_shape_count(&shape); i++)
        ((float *)weights[1]->data)[i] = 1;
    quern__variable *count = quern__layer_weight(l, "count", &scalar, "count_initializer", err);
    if (!count)
        return QUERN_NOMEM;
    count->dtype = QUERN_INT64; /* kept by Keras for older files; always 0 */
    return QUERN_OK;
}

/* Given numbers stand for the kept axes from right to left; learned ones have them all. */
static quern__id spread_over(quern__graph *g, quern__variable *v, const quern_shape *spread, uint32_t keep)
{
    quern_shape to = *spread;
    int own = v->shape.rank;
    for (int i = to.rank - 1; i >= 0; i--)
        to.dims[i] = (keep >> i & 1) && own > 0 ? v->shape.dims[--own] : 1;
    return quern__reshape(g, quern__graph_variable(g, v), &to);
}

static quern__id normalization_call(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern_shape shape, spread;
    uint32_t keep;
    quern_error err = { 0 };
    (void)n, (void)training;
    if (state_shape(l, quern__shape_of(g, in[0]), &shape, &spread, &err) < 0)
        return quern__graph_fail(g, err.code, "%s", err.text);
    kept(l->config, spread.rank, &keep);
    quern__variable *const *state = l->n_constants ? l->constants : l->weights;
    quern__id mean = spread_over(g, state[0], &spread, keep), variance = spread_over(g, state[1], &spread, keep);
    quern__id deviation = quern__unary(g, QUERN__CLIP, quern__unary(g, QUERN__SQRT, variance, 0, 0, 0), 1e-7, INFINITY, 0);
    if (quern__config_bool(l->config, "invert"))
        return quern__add2(g, mean, quern__mul2(g, in[0], deviation));
    return quern__div2(g, quern__sub2(g, in[0], mean), deviation);
}

/* Means and variances of all seen so far and of a batch, merged (Chan, Golub, LeVeque: "Updating formulae …", 1979). The weights
 * hold them between batches. */
static int normalization_adapt(quern__layer *l, const quern_tensor *batch, int64_t seen, quern_error *err)
{
    quern_shape shape, spread;
    if (l->n_constants)
        return QUERN_OK;
    int status = state_shape(l, &batch->shape, &shape, &spread, err);
    int64_t places = status < 0 ? 0 : quern_shape_count(&shape), total = quern_shape_count(&batch->shape);
    int64_t each = places > 0 ? total / places : 0;
    double *sums = each > 0 ? quern__zalloc(2 * (size_t)places, sizeof *sums) : NULL;
    if (!sums)
        return status < 0 ? status : quern__fail_memory(err, 2 * (size_t)places * sizeof *sums);
    const float *x = batch->data;
    int64_t stride[QUERN_MAX_RANK], step = 1;
    uint32_t keep;
    kept(l->config, batch->shape.rank, &keep);
    for (int a = batch->shape.rank - 1; a >= 0; a--) {
        stride[a] = keep >> a & 1 ? step : 0;
        step *= keep >> a & 1 ? batch->shape.dims[a] : 1;
    }
    float *mean = l->weights[0]->data, *variance = l->weights[1]->data;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < total; i++) {
            int64_t left = i, place = 0;
            for (int a = batch->shape.rank - 1; a >= 0; a--) {
                place += left % batch->shape.dims[a] * stride[a];
                left /= batch->shape.dims[a];
            }
            double gap = x[i] - sums[place];
            sums[pass ? places + place : place] += pass ? gap * gap / (double)each : x[i] / (double)each;
        }
    double part = (double)each / (double)(seen + each);
    for (int64_t k = 0; k < places; k++) {
        double before = mean[k], now = before * (1 - part) + sums[k] * part;
        variance[k] = (float)((variance[k] + (before - now) * (before - now)) * (1 - part) +
                              (sums[places + k] + (sums[k] - now) * (sums[k] - now)) * part);
        mean[k] = (float)now;
    }
    quern__free(sums);
    return QUERN_OK;
}

static const quern__field normalization_fields[] = { { "axis", QUERN__F_ANY, "-1" },
                                                     { "mean", QUERN__F_ANY, "null" },
                                                     { "variance", QUERN__F_ANY, "null" },
                                                     { "invert", QUERN__F_BOOL, "false" },
                                                     { 0 } };
const quern__class quern__normalization_class = { .group = QUERN__LAYER,
                                                  .name = "Normalization",
                                                  .aliases = "",
                                                  .module = "keras.layers",
                                                  .fields = normalization_fields,
                                                  .build = normalization_build,
                                                  .call = normalization_call,
                                                  .adapt = normalization_adapt };
