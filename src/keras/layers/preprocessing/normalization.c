/* normalization: Normalization: (x - mean) / sqrt(variance) per index of the kept axes. The config
 * has mean and variance, or adapt learns them from a stream.
 * https://keras.io/api/layers/preprocessing_layers/numerical/normalization/ */
#include "keras/keras.h"

#include <math.h>
#include <string.h>

/* The kept axes as a bit mask. Returns false when an axis is out of range. */
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

/* The shape of mean and variance: the kept axes; `spread` has size 1 on the other axes. */
static int state_shape(const quern__layer *l, const quern_shape *in, quern_shape *shape,
                       quern_shape *spread, quern_error *err)
{
    uint32_t keep;
    *shape = *spread = (quern_shape){ 0 };
    if (!kept(l->config, in->rank, &keep))
        return quern__fail(err, QUERN_SHAPE, l->name, "axis is outside the %d axes of the input",
                           in->rank);
    for (int i = 0; i < in->rank; i++) {
        bool own = keep >> i & 1;
        if (own && in->dims[i] < 0)
            return quern__fail(err, QUERN_SHAPE, l->name, "axis %d does not have a fixed size", i);
        spread->dims[spread->rank++] = own ? in->dims[i] : 1;
        if (own)
            shape->dims[shape->rank++] = in->dims[i];
    }
    return QUERN_OK;
}

static int normalization_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    quern_shape shape, spread, scalar = { 0 };
    json_t *mean = json_object_get(l->config, "mean"),
           *variance = json_object_get(l->config, "variance");
    (void)n;
    int status = state_shape(l, in, &shape, &spread, err);
    if (status < 0)
        return status;
    if (json_is_null(mean) != json_is_null(variance))
        return quern__fail(err, QUERN_INVALID, l->name, "mean and variance must be given together");
    if (!json_is_null(mean) && json_array_size(mean) != json_array_size(variance))
        return quern__fail(err, QUERN_SHAPE, l->name, "mean and variance must have the same shape");
    if (!json_is_null(mean))
        return quern__layer_constant(l, l->name, mean, err) &&
                       quern__layer_constant(l, l->name, variance, err)
                   ? QUERN_OK
                   : QUERN_INVALID;
    l->trainable = false;
    quern__variable *weights[2] = { quern__layer_weight(l, "mean", &shape, "mean_initializer", err),
                                    quern__layer_weight(l, "variance", &shape,
                                                        "variance_initializer", err) };
    if (!weights[0] || !weights[1])
        return QUERN_NOMEM;
    for (int64_t i = 0; i < quern_shape_count(&shape); i++)
        ((float *)weights[1]->data)[i] = 1;
    quern__variable *count = quern__layer_weight(l, "count", &scalar, "count_initializer", err);
    if (!count)
        return QUERN_NOMEM;
    count->dtype = QUERN_INT64; /* Keras saves this count for compatibility; it is always 0 */
    return QUERN_OK;
}

/* Given statistics align with the kept axes from the right; learned ones have all kept axes. */
static quern__id spread_over(quern__graph *g, quern__variable *v, const quern_shape *spread,
                             uint32_t keep)
{
    quern_shape to = *spread;
    int own = v->shape.rank;
    for (int i = to.rank - 1; i >= 0; i--)
        to.dims[i] = (keep >> i & 1) && own > 0 ? v->shape.dims[--own] : 1;
    return quern__reshape(g, quern__graph_variable(g, v), &to);
}

static quern__id normalization_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                    bool training)
{
    quern_shape shape, spread;
    uint32_t keep;
    quern_error err = { 0 };
    (void)n, (void)training;
    if (state_shape(l, quern__shape_of(g, in[0]), &shape, &spread, &err) < 0)
        return quern__graph_fail(g, err.code, "%s", err.text);
    kept(l->config, spread.rank, &keep);
    quern__variable *const *state = l->n_constants ? l->constants : l->weights;
    quern__id mean = spread_over(g, state[0], &spread, keep),
              variance = spread_over(g, state[1], &spread, keep);
    quern__id deviation = quern__unary(g, QUERN__CLIP, quern__sqrt(g, variance), 1e-7, INFINITY, 0);
    if (quern__config_bool(l->config, "invert"))
        return quern__add2(g, mean, quern__mul2(g, in[0], deviation));
    return quern__div2(g, quern__sub2(g, in[0], mean), deviation);
}

/* The state of adapt in double precision: means and variances so far, sums of a batch, and the
 * statistic of each element of a record. */
typedef struct learning {
    double *mean, *variance, *sum, *squares;
    int32_t *place;
} learning;

static learning learning_in(quern__layer *l, int64_t places)
{
    double *d = l->scratch;
    return (learning){ d, d + places, d + 2 * places, d + 3 * places, (int32_t *)(d + 4 * places) };
}

/* Allocates the state at the first batch. The batch axis is never kept. */
static int begin_learning(quern__layer *l, const quern_tensor *batch, int64_t places,
                          quern_error *err)
{
    int64_t per = quern_shape_count(&batch->shape) / batch->shape.dims[0], stride[QUERN_MAX_RANK],
            step = 1;
    uint32_t keep;
    quern__free(l->scratch);
    l->scratch = quern__zalloc(4 * (size_t)places + (size_t)per, sizeof(double));
    if (!l->scratch)
        return quern__fail_memory(err, (4 * (size_t)places + (size_t)per) * sizeof(double));
    learning w = learning_in(l, places);
    kept(l->config, batch->shape.rank, &keep);
    for (int a = batch->shape.rank - 1; a > 0; a--) {
        stride[a] = keep >> a & 1 ? step : 0;
        step *= keep >> a & 1 ? batch->shape.dims[a] : 1;
    }
    for (int64_t i = 0; i < per; i++)
        for (int64_t a = batch->shape.rank - 1, left = i; a > 0; left /= batch->shape.dims[a], a--)
            w.place[i] += (int32_t)(left % batch->shape.dims[a] * stride[a]);
    return QUERN_OK;
}

/* Merges mean and variance of earlier batches with those of one batch (Chan, Golub, LeVeque:
 * "Updating formulae …", 1979). */
static int normalization_adapt(quern__layer *l, const quern_tensor *batch, int64_t seen,
                               quern_error *err)
{
    quern_shape shape, spread;
    int status = state_shape(l, &batch->shape, &shape, &spread, err);
    int64_t places = status < 0 ? 0 : quern_shape_count(&shape),
            total = quern_shape_count(&batch->shape);
    if (status < 0 || total < 1 ||
        (seen == 0 && (status = begin_learning(l, batch, places, err)) < 0))
        return status;
    learning w = learning_in(l, places);
    int64_t per = total / batch->shape.dims[0], each = total / places;
    const float *x = batch->data;
    for (int64_t k = 0; k < places; k++)
        w.sum[k] = w.squares[k] = 0;
    for (int64_t i = 0; i < total; i++)
        w.sum[w.place[i % per]] += x[i];
    for (int64_t k = 0; k < places; k++)
        w.sum[k] /= (double)each;
    for (int64_t i = 0; i < total; i++) {
        double gap = x[i] - w.sum[w.place[i % per]];
        w.squares[w.place[i % per]] += gap * gap;
    }
    double part = (double)each / (double)(seen + each);
    for (int64_t k = 0; k < places; k++) {
        double before = w.mean[k], now = before * (1 - part) + w.sum[k] * part,
               own = w.squares[k] / (double)each;
        w.variance[k] = (w.variance[k] + (before - now) * (before - now)) * (1 - part) +
                        (own + (w.sum[k] - now) * (w.sum[k] - now)) * part;
        w.mean[k] = now;
        ((float *)l->weights[0]->data)[k] = (float)now;
        ((float *)l->weights[1]->data)[k] = (float)w.variance[k];
    }
    return QUERN_OK;
}

static const quern__field normalization_fields[] = { { "axis", QUERN__F_ANY, "-1" },
                                                     { "mean", QUERN__F_ANY, "null" },
                                                     { "variance", QUERN__F_ANY, "null" },
                                                     { "invert", QUERN__F_BOOL, "false" },
                                                     { 0 } };
const quern__class quern__layer_normalization = { .group = QUERN__LAYER,
                                                  .name = "Normalization",
                                                  .aliases = "",
                                                  .module = "keras.layers",
                                                  .fields = normalization_fields,
                                                  .build = normalization_build,
                                                  .call = normalization_call,
                                                  .masks = QUERN__MASK_PASSES,
                                                  .adapt = normalization_adapt };
