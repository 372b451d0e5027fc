/* reshaping: layers that keep all elements and change the shape: Flatten, Reshape, Permute,
 * RepeatVector. */
#include "keras/layers/layer_rows.h"

#include <string.h>

static quern__id flatten_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                              bool training)
{
    (void)n, (void)training;
    quern_shape s = *quern__shape_of(g, in[0]), flat = { .rank = 2, .dims = { s.dims[0], 1 } };
    const char *format = quern__config_text(l->config, "data_format");
    int order[QUERN_MAX_RANK] = { 0 };
    for (int i = 1; i < s.rank; i++) {
        flat.dims[1] *= s.dims[i];
        order[i] = i + 1 < s.rank ? i + 1 : 1; /* move channels to the end */
    }
    bool first = format && !strcmp(format, "channels_first") && s.rank > 2;
    return quern__reshape(g, first ? quern__transpose(g, in[0], order) : in[0], &flat);
}

/* Reshapes each record to target_shape, in which one size can be -1. */
static quern__id reshape_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                              bool training)
{
    (void)n, (void)training;
    quern_shape s = *quern__shape_of(g, in[0]), to = { .rank = 1, .dims = { s.dims[0] } };
    json_t *target = json_object_get(l->config, "target_shape"), *d;
    int64_t count = 1, known = 1;
    int guess = 0;
    size_t k;
    for (int i = 1; i < s.rank; i++)
        count *= s.dims[i];
    if (json_array_size(target) > QUERN_MAX_RANK - 1)
        return quern__graph_fail(g, QUERN_SHAPE, "target_shape has too many axes");
    json_array_foreach(target, k, d)
    {
        to.dims[to.rank] = json_integer_value(d);
        if (to.dims[to.rank] < 0)
            guess = to.rank;
        else
            known *= to.dims[to.rank];
        to.rank++;
    }
    if (guess && known && count % known == 0)
        to.dims[guess] = count / known;
    return quern__reshape(g, in[0], &to);
}

/* `dims` counts from 1, after the batch axis. */
static quern__id permute_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                              bool training)
{
    (void)n, (void)training;
    json_t *dims = json_object_get(l->config, "dims");
    int rank = quern__shape_of(g, in[0])->rank, order[QUERN_MAX_RANK] = { 0 };
    uint32_t seen = 1;
    for (int i = 1; i < rank; i++) {
        int64_t from = json_integer_value(json_array_get(dims, (size_t)i - 1));
        order[i] = from > 0 && from < rank ? (int)from : 0;
        seen |= 1u << order[i];
    }
    return (int)json_array_size(dims) + 1 == rank && seen == (1u << rank) - 1
               ? quern__transpose(g, in[0], order)
               : quern__graph_fail(g, QUERN_SHAPE, "dims must be a permutation of all axes");
}

static quern__id repeat_vector_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                    bool training)
{
    (void)n, (void)training;
    quern_shape s = *quern__shape_of(g, in[0]),
                one = { .rank = 3, .dims = { s.dims[0], 1, s.dims[1] } }, many = one;
    many.dims[1] = quern__config_int(l->config, "n");
    return s.rank == 2 && many.dims[1] > 0
               ? quern__broadcast(g, quern__reshape(g, in[0], &one), &many)
               : quern__graph_fail(g, QUERN_SHAPE,
                                   "needs an input (records, features), and n of at least 1");
}

static const quern__field flatten_fields[] = {
    { "data_format", QUERN__F_TEXT, "\"channels_last\"" }, { 0 }
};
static const quern__field reshape_fields[] = { { "target_shape", QUERN__F_ANY, NULL }, { 0 } };
static const quern__field permute_fields[] = { { "dims", QUERN__F_ANY, NULL }, { 0 } };
static const quern__field repeat_fields[] = { { "n", QUERN__F_INT, NULL }, { 0 } };

QUERN__LAYER_ROW_OF(flatten, "Flatten", "", flatten_fields, NULL, flatten_call, ENDS, true);
QUERN__LAYER_ROW_OF(reshape, "Reshape", "", reshape_fields, NULL, reshape_call, ENDS, true);
QUERN__LAYER_ROW(permute, "Permute", "", permute_fields, NULL, permute_call, ENDS);
QUERN__LAYER_ROW(repeat_vector, "RepeatVector", "", repeat_fields, NULL, repeat_vector_call, ENDS);
