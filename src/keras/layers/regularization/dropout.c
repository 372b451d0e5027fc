/* dropout: Dropout, SpatialDropout and ActivityRegularization. */
#include "keras/layers/convolutional/spatial.h"
#include "keras/layers/layer_rows.h"

#include <math.h>

static int dropout_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    (void)in, (void)n;
    double rate = quern__config_number(l->config, "rate");
    return rate >= 0 && rate <= 1
               ? QUERN_OK
               : quern__fail(err, QUERN_INVALID, l->name, "rate %g is outside 0 … 1", rate);
}

uint32_t quern__shared_axes(const quern__layer *l)
{
    json_t *shape = json_object_get(l->config, "noise_shape"), *d;
    uint32_t shared = 0;
    size_t k;
    json_array_foreach(shape, k, d) shared |=
        k < QUERN_MAX_RANK && json_integer_value(d) == 1 ? 1u << k : 0;
    return shared;
}

static quern__id dropout_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                              bool training)
{
    (void)n;
    uint64_t own = quern__config_seed(l->config, l->seed);
    return training ? quern__dropout(g, in[0], quern__config_number(l->config, "rate"), own,
                                     quern__shared_axes(l))
                    : in[0];
}

/* Drops whole channels: all positions of the spatial axes share one random number. */
static quern__id spatial_dropout_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                      bool training)
{
    (void)n;
    int rank = quern__shape_of(g, in[0])->rank, first = quern__channels_first(l) ? 2 : 1;
    uint32_t shared = 0;
    for (int i = 0; i < rank - 2; i++)
        shared |= 1u << (first + i);
    uint64_t own = quern__config_seed(l->config, l->seed);
    return training ? quern__dropout(g, in[0], quern__config_number(l->config, "rate"), own, shared)
                    : in[0];
}

/* Returns the input and adds a penalty on it. */
static quern__id activity_regularization_call(quern__layer *l, quern__graph *g, const quern__id *in,
                                              int n, bool training)
{
    (void)n, (void)training;
    json_t *spec =
        json_pack("{s:s, s:{s:O, s:O}}", "class_name", "L1L2", "config", "l1",
                  json_object_get(l->config, "l1"), "l2", json_object_get(l->config, "l2"));
    quern__layer_penalise(l, g, spec, in[0]);
    json_decref(spec);
    return in[0];
}

static const quern__field dropout_fields[] = { { "rate", QUERN__F_NUMBER, NULL },
                                               { "noise_shape", QUERN__F_ANY, "null" },
                                               { "seed", QUERN__F_INT, "null" },
                                               { 0 } };
static const quern__field drop1_fields[] = { { "rate", QUERN__F_NUMBER, NULL },
                                             { "seed", QUERN__F_INT, "null" },
                                             { 0 } };
static const quern__field drop_fields[] = { { "rate", QUERN__F_NUMBER, NULL },
                                            QUERN__DATA_FORMAT_FIELD,
                                            { "seed", QUERN__F_INT, "null" },
                                            { 0 } };
static const quern__field penalty_fields[] = { { "l1", QUERN__F_NUMBER, "0.0" },
                                               { "l2", QUERN__F_NUMBER, "0.0" },
                                               { 0 } };

QUERN__LAYER_ROW(dropout, "Dropout", "", dropout_fields, dropout_build, dropout_call, PASSES);
QUERN__LAYER_ROW(spatial_dropout1d, "SpatialDropout1D", "", drop1_fields, NULL,
                 spatial_dropout_call, PASSES);
QUERN__LAYER_ROW(spatial_dropout2d, "SpatialDropout2D", "", drop_fields, NULL, spatial_dropout_call,
                 PASSES);
QUERN__LAYER_ROW(spatial_dropout3d, "SpatialDropout3D", "", drop_fields, NULL, spatial_dropout_call,
                 PASSES);
QUERN__LAYER_ROW(activity_regularization, "ActivityRegularization", "", penalty_fields, NULL,
                 activity_regularization_call, PASSES);
