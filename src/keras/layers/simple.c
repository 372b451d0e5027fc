/* Layers that are a few nodes each: merging, activations with arguments, shapes, sums over space. */
#include "keras/layers/preprocessing/image.h"

#include <math.h>
#include <string.h>

#define CALL(NAME) static quern__id NAME(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
#define UNUSED     (void)l, (void)g, (void)in, (void)n, (void)training

static double number(const quern__layer *l, const char *key, double null)
{
    double v = quern__config_number(l->config, key);
    return isnan(v) ? null : v;
}

/* ---- merging ---- */

static quern__id merged(quern__graph *g, int function, const quern__id *in, int n)
{
    quern__id x[QUERN__MAX_ARGUMENTS], y;
    quern__equal_ranks(g, in, n, x);
    y = x[0];
    for (int i = 1; i < n; i++)
        y = quern__binary(g, function, y, x[i]);
    return y;
}

CALL(subtract)
{
    UNUSED;
    return n == 2 ? merged(g, QUERN__SUB, in, n) : quern__graph_fail(g, QUERN_INVALID, "takes two inputs");
}
/* Where a mask does not look a factor counts as 1, and where none of them looks the product is 0, as Keras has it. */
CALL(multiply)
{
    UNUSED;
    quern__id all = quern__layer_merged_mask(l, g, n), y = 0, equal[QUERN__MAX_ARGUMENTS];
    quern__equal_ranks(g, in, n, equal);
    if (quern__layer_masks_all(l)) /* Keras 2 multiplies whatever masks say */
        return merged(g, QUERN__MUL, in, n);
    for (int i = 0; i < n; i++) {
        quern__id x = equal[i], mask = quern__layer_mask(l, i);
        quern_shape wide = *quern__shape_of(g, x);
        for (int k = 2; k < wide.rank; k++)
            wide.dims[k] = 1;
        if (mask)
            x = quern__select(g, quern__reshape(g, mask, &wide), x, quern__graph_constant(g, 1, QUERN_FLOAT32));
        y = y ? quern__mul2(g, y, x) : x;
        if (i + 1 == n && all)
            y = quern__select(g, quern__reshape(g, all, &wide), y, quern__graph_constant(g, 0, QUERN_FLOAT32));
    }
    return y;
}
CALL(average)
{
    UNUSED;
    return quern__scale(g, merged(g, QUERN__ADD, in, n), 1.0 / n);
}
CALL(maximum)
{
    UNUSED;
    return merged(g, QUERN__MAXIMUM, in, n);
}
CALL(minimum)
{
    UNUSED;
    return merged(g, QUERN__MINIMUM, in, n);
}

/* ---- activations with arguments ---- */

/* Over several axes at once. */
static quern__id softmax_over(quern__graph *g, quern__id x, uint32_t mask)
{
    quern__id most = quern__stop_gradient(g, quern__reduce(g, QUERN__REDUCE_MAX, x, mask, true));
    quern__id e = quern__unary(g, QUERN__EXP, quern__sub2(g, x, most), 0, 0, 0);
    return quern__div2(g, e, quern__reduce(g, QUERN__SUM, e, mask, true));
}

/* Where the mask does not look: -1e9 before, and zero after, in case it looks nowhere. */
static quern__id softmax_masked(quern__layer *l, quern__graph *g, quern__id x, quern__id mask)
{
    quern__context *pass = l->context, bare = { 0 };
    l->context = &bare;
    quern__id far = quern__select(g, mask, x, quern__graph_constant(g, -1e9, QUERN_FLOAT32));
    quern__id y = far ? l->kind->call(l, g, &far, 1, pass->training) : 0;
    l->context = pass;
    return quern__select(g, mask, y, quern__graph_constant(g, 0, QUERN_FLOAT32));
}

CALL(softmax)
{
    UNUSED;
    if (quern__layer_mask(l, 0))
        return softmax_masked(l, g, in[0], quern__layer_mask(l, 0));
    if (json_is_array(json_object_get(l->config, "axis")))
        return softmax_over(g, in[0], quern__config_axes(l->config, "axis", quern__shape_of(g, in[0])->rank));
    json_t *spec = json_pack("{s:s, s:{s:O}}", "class_name", "softmax", "config", "axis", json_object_get(l->config, "axis"));
    quern__id y = quern__activation(g, spec, in[0]);
    json_decref(spec);
    return y;
}
CALL(relu)
{
    UNUSED;
    return quern__unary(g, QUERN__RELU, in[0], number(l, "negative_slope", 0), number(l, "max_value", INFINITY),
                        number(l, "threshold", 0));
}
CALL(leaky_relu)
{
    UNUSED;
    return quern__unary(g, QUERN__LEAKY_RELU, in[0], number(l, "negative_slope", 0.3), 0, 0);
}
CALL(elu)
{
    UNUSED;
    return quern__unary(g, QUERN__ELU, in[0], number(l, "alpha", 1), 0, 0);
}

/* A slope for each number of a record, or one along the shared axes. */
static int prelu_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    quern_shape shape = { .rank = in->rank - 1 };
    json_t *axes = json_object_get(l->config, "shared_axes"), *axis;
    size_t k;
    (void)n;
    for (int i = 1; i < in->rank; i++)
        shape.dims[i - 1] = in->dims[i];
    json_array_foreach(axes, k, axis)
    {
        int64_t at = json_integer_value(axis);
        if (at < 1 || at >= in->rank)
            return quern__fail(err, QUERN_SHAPE, l->name, "shared_axes: there is no axis %lld", (long long)at);
        shape.dims[at - 1] = 1;
    }
    return quern__layer_weight(l, "alpha", &shape, "alpha_initializer", err) ? QUERN_OK : QUERN_NOMEM;
}

CALL(prelu)
{
    UNUSED;
    quern__id below = quern__unary(g, QUERN__RELU0, quern__scale(g, in[0], -1), 0, 0, 0);
    quern__id slope = quern__mul2(g, quern__graph_variable(g, l->weights[0]), below);
    return quern__sub2(g, quern__unary(g, QUERN__RELU0, in[0], 0, 0, 0), slope);
}

/* ---- shapes ---- */

CALL(identity)
{
    UNUSED;
    return in[0];
}

/* dims count from 1 behind the records. */
CALL(permute)
{
    UNUSED;
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
               : quern__graph_fail(g, QUERN_SHAPE, "dims do not name every axis once");
}

CALL(repeat_vector)
{
    UNUSED;
    quern_shape s = *quern__shape_of(g, in[0]), one = { .rank = 3, .dims = { s.dims[0], 1, s.dims[1] } }, many = one;
    many.dims[1] = quern__config_int(l->config, "n");
    return s.rank == 2 && many.dims[1] > 0 ? quern__broadcast(g, quern__reshape(g, in[0], &one), &many)
                                           : quern__graph_fail(g, QUERN_SHAPE, "takes an array of two axes, and n of at least 1");
}

/* Before and behind an axis, of a config that is a number, a pair, or pairs by axis. */
static void edges(json_t *spec, int axis, int64_t *before, int64_t *behind)
{
    json_t *own = json_is_array(spec) ? json_array_get(spec, (size_t)axis) : spec;
    *before = *behind = json_integer_value(own);
    if (json_is_array(own)) {
        *before = json_integer_value(json_array_get(own, 0));
        *behind = json_integer_value(json_array_get(own, 1));
    }
}

/* Layers over one axis take a pair where the others take pairs by axis. */
static json_t *by_axis(json_t *spec, int axes)
{
    return axes == 1 && json_is_array(spec) ? json_pack("[O]", spec) : json_incref(spec);
}

static quern__id cut_or_pad(quern__layer *l, quern__graph *g, quern__id x, const char *key, bool pad)
{
    int rank = quern__shape_of(g, x)->rank, first = quern__channels_first(l) ? 2 : 1, axes = rank - 2;
    if (axes > 1 && !quern__sizes_fit(l, g, axes))
        return 0;
    json_t *spec = by_axis(json_object_get(l->config, key), axes);
    for (int i = 0; i < axes && x; i++) {
        int64_t before, behind;
        quern_shape s = *quern__shape_of(g, x), edge = s;
        quern__id zero = quern__graph_constant(g, 0, QUERN_FLOAT32), parts[3];
        int n = 0, axis = first + i;
        edges(spec, i, &before, &behind);
        if (before < 0 || behind < 0)
            x = quern__graph_fail(g, QUERN_INVALID, "%s is negative", key);
        else if (!pad)
            x = quern__slice(g, x, axis, before, s.dims[axis] - before - behind);
        else {
            edge.dims[axis] = before;
            if (before)
                parts[n++] = quern__broadcast(g, zero, &edge);
            parts[n++] = x;
            edge.dims[axis] = behind;
            if (behind)
                parts[n++] = quern__broadcast(g, zero, &edge);
            x = quern__concat(g, parts, n, axis);
        }
    }
    json_decref(spec);
    return x;
}

CALL(crop)
{
    UNUSED;
    return cut_or_pad(l, g, in[0], "cropping", false);
}
CALL(zero_pad)
{
    UNUSED;
    return cut_or_pad(l, g, in[0], "padding", true);
}

static int64_t times_of(const quern__layer *l, int axis)
{
    json_t *size = json_object_get(l->config, "size");
    return json_integer_value(json_is_array(size) ? json_array_get(size, (size_t)axis) : size);
}

/* Interpolations but the nearest are those of Resizing. */
static int up_sampling_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    const char *how = quern__config_text(l->config, "interpolation");
    (void)n;
    int status = how && strcmp(how, "nearest") ? quern__picture_check(l, in, n, err) : QUERN_OK;
    for (int i = 0; how && strcmp(how, "nearest") && i < 2 && status >= 0; i++) {
        int64_t size = in->dims[(quern__channels_first(l) ? 2 : 1) + i], times = times_of(l, i);
        if (times < 1 || times > 1 << 16 || size * times > 1 << 16)
            return quern__fail(err, QUERN_INVALID, l->name, "size must be at least 1, and give no more than %d", 1 << 16);
        status = quern__resizing_weights(l, how, false, size, size * times, err);
    }
    return status;
}

/* Every number again `size` times along each axis of space. */
CALL(up_sample)
{
    UNUSED;
    quern__id x = in[0];
    int rank = quern__shape_of(g, x)->rank, first = quern__channels_first(l) ? 2 : 1;
    if (!quern__sizes_fit(l, g, rank - 2))
        return 0;
    if (l->n_constants)
        return quern__resized_along(g, quern__resized_along(g, x, first, l->constants[0]), first + 1, l->constants[1]);
    for (int i = 0; i < rank - 2; i++) {
        int64_t times = times_of(l, i);
        quern_shape s = *quern__shape_of(g, x), one = { .rank = 3, .dims = { s.dims[0], 1, 1 } }, many, out = s;
        for (int k = 1; k <= first + i; k++)
            one.dims[0] *= s.dims[k];
        for (int k = first + i + 1; k < rank; k++)
            one.dims[2] *= s.dims[k];
        many = one;
        many.dims[1] = times;
        out.dims[first + i] *= times;
        if (times < 1)
            return quern__graph_fail(g, QUERN_INVALID, "size must be at least 1");
        x = quern__reshape(g, quern__broadcast(g, quern__reshape(g, x, &one), &many), &out);
    }
    return x;
}

/* ---- over space ---- */

static quern__id over_space(quern__layer *l, quern__graph *g, quern__id x, int what)
{
    int rank = quern__shape_of(g, x)->rank, first = quern__channels_first(l) ? 2 : 1;
    uint32_t axes = 0;
    for (int i = 0; i < rank - 2; i++)
        axes |= 1u << (first + i);
    return quern__reduce(g, what, x, axes, quern__config_bool(l->config, "keepdims"));
}

/* The mean of the steps that a mask (records, steps) leaves. */
static quern__id masked_average(quern__layer *l, quern__graph *g, quern__id x, quern__id mask)
{
    quern_shape s = *quern__shape_of(g, x), spread = s;
    int axis = quern__channels_first(l) ? 2 : 1;
    bool keep = quern__config_bool(l->config, "keepdims");
    spread.dims[3 - axis] = 1;
    mask = quern__reshape(g, mask, &spread);
    quern__id zero = quern__graph_constant(g, 0, QUERN_FLOAT32);
    quern__id sum = quern__reduce(g, QUERN__SUM, quern__select(g, mask, x, zero), 1u << axis, keep);
    return quern__div2(g, sum, quern__reduce(g, QUERN__SUM, mask, 1u << axis, keep));
}

CALL(global_average)
{
    UNUSED;
    quern__id given = quern__layer_argument(l, in, n, "mask", 0), mask = given ? given : quern__layer_mask(l, 0);
    if (mask && quern__shape_of(g, in[0])->rank == 3)
        return masked_average(l, g, in[0], mask);
    return over_space(l, g, in[0], QUERN__MEAN);
}
CALL(global_max)
{
    UNUSED;
    return over_space(l, g, in[0], QUERN__REDUCE_MAX);
}

/* Whole channels are dropped: the axes of space share one draw. */
CALL(spatial_dropout)
{
    (void)n;
    int rank = quern__shape_of(g, in[0])->rank, first = quern__channels_first(l) ? 2 : 1;
    uint32_t shared = 0;
    for (int i = 0; i < rank - 2; i++)
        shared |= 1u << (first + i);
    uint64_t own = quern__config_seed(l->config, l->seed);
    return training ? quern__dropout(g, in[0], number(l, "rate", 0), own, shared) : in[0];
}

/* x / max(length, 1e-12) along axes. */
CALL(unit_normalization)
{
    UNUSED;
    uint32_t axes = quern__config_axes(l->config, "axis", quern__shape_of(g, in[0])->rank);
    quern__id squares = quern__reduce(g, QUERN__SUM, quern__unary(g, QUERN__SQUARE, in[0], 0, 0, 0), axes, true);
    quern__id inverse = quern__unary(g, QUERN__RSQRT, quern__unary(g, QUERN__CLIP, squares, 1e-12, INFINITY, 0), 0, 0, 0);
    return quern__mul2(g, in[0], inverse);
}

/* An input as it is, with a penalty on it. */
CALL(activity_regularization)
{
    UNUSED;
    json_t *spec = json_pack("{s:s, s:{s:O, s:O}}", "class_name", "L1L2", "config", "l1", json_object_get(l->config, "l1"), "l2",
                             json_object_get(l->config, "l2"));
    quern__layer_penalise(l, g, spec, in[0]);
    json_decref(spec);
    return in[0];
}

/* ---- rows ---- */

#define AXIS                       \
    {                              \
        "axis", QUERN__F_ANY, "-1" \
    }
#define FORMAT                                            \
    {                                                     \
        "data_format", QUERN__F_TEXT, "\"channels_last\"" \
    }
static const quern__field axis_fields[] = { AXIS, { 0 } };
static const quern__field relu_fields[] = { { "max_value", QUERN__F_NUMBER, "null" },
                                            { "negative_slope", QUERN__F_NUMBER, "0.0" },
                                            { "threshold", QUERN__F_NUMBER, "0.0" },
                                            { 0 } };
static const quern__field leaky_fields[] = { { "negative_slope", QUERN__F_NUMBER, "0.3" }, { 0 } };
static const quern__field elu_fields[] = { { "alpha", QUERN__F_NUMBER, "1.0" }, { 0 } };
static const quern__field prelu_fields[] = { { "alpha_initializer", QUERN__F_INITIALIZER, "\"zeros\"" },
                                             { "alpha_regularizer", QUERN__F_REGULARIZER, "null" },
                                             { "alpha_constraint", QUERN__F_CONSTRAINT, "null" },
                                             { "shared_axes", QUERN__F_ANY, "null" },
                                             { 0 } };
static const quern__field permute_fields[] = { { "dims", QUERN__F_ANY, NULL }, { 0 } };
static const quern__field repeat_fields[] = { { "n", QUERN__F_INT, NULL }, { 0 } };
static const quern__field pool_fields[] = { FORMAT, { "keepdims", QUERN__F_BOOL, "false" }, { 0 } };
static const quern__field crop_fields[] = { { "cropping", QUERN__F_EDGES, "1" }, FORMAT, { 0 } };
static const quern__field crop1_fields[] = { { "cropping", QUERN__F_EDGES, "[1, 1]" }, { 0 } };
static const quern__field crop2_fields[] = { { "cropping", QUERN__F_EDGES, "[[0, 0], [0, 0]]" }, FORMAT, { 0 } };
static const quern__field pad_fields[] = { { "padding", QUERN__F_EDGES, "1" }, FORMAT, { 0 } };
static const quern__field up1_fields[] = { { "size", QUERN__F_SIZES, "2" }, { 0 } };
static const quern__field up_fields[] = {
    { "size", QUERN__F_SIZES, "2" }, FORMAT, { "interpolation", QUERN__F_TEXT, "\"nearest\"" }, { 0 }
};
static const quern__field up3_fields[] = { { "size", QUERN__F_SIZES, "2" }, FORMAT, { 0 } };
static const quern__field drop1_fields[] = { { "rate", QUERN__F_NUMBER, NULL }, { "seed", QUERN__F_INT, "null" }, { 0 } };
static const quern__field drop_fields[] = { { "rate", QUERN__F_NUMBER, NULL }, FORMAT, { "seed", QUERN__F_INT, "null" }, { 0 } };
static const quern__field penalty_fields[] = { { "l1", QUERN__F_NUMBER, "0.0" }, { "l2", QUERN__F_NUMBER, "0.0" }, { 0 } };

static const quern__takes masked_takes[] = { { "inputs", false }, { "mask", false }, { 0 } };

#define LAYER(ID, NAME, ALIASES, FIELDS, BUILD, CALL_, MASKS)              \
    const quern__class quern__layer_##ID = { .group = QUERN__LAYER,        \
                                             .name = NAME,                 \
                                             .aliases = ALIASES,           \
                                             .module = "keras.layers",     \
                                             .fields = FIELDS,             \
                                             .build = BUILD,               \
                                             .call = CALL_,                \
                                             .masks = QUERN__MASK_##MASKS, \
                                             .by_step = QUERN__MASK_##MASKS != QUERN__MASK_ENDS }
#define MERGE(ID, NAME, CALL_)                                            \
    const quern__class quern__layer_##ID = { .group = QUERN__LAYER,       \
                                             .name = NAME,                \
                                             .aliases = "",               \
                                             .module = "keras.layers",    \
                                             .call = CALL_,               \
                                             .list = true,                \
                                             .masks = QUERN__MASK_PASSES, \
                                             .by_step = true }
MERGE(subtract, "Subtract", subtract);
MERGE(multiply, "Multiply", multiply);
MERGE(average, "Average", average);
MERGE(maximum, "Maximum", maximum);
MERGE(minimum, "Minimum", minimum);
LAYER(softmax, "Softmax", "", axis_fields, NULL, softmax, PASSES);
LAYER(re_lu, "ReLU", "", relu_fields, NULL, relu, PASSES);
LAYER(leaky_re_lu, "LeakyReLU", "", leaky_fields, NULL, leaky_relu, PASSES);
LAYER(elu, "ELU", "", elu_fields, NULL, elu, PASSES);
LAYER(p_re_lu, "PReLU", "", prelu_fields, prelu_build, prelu, PASSES);
const quern__class quern__layer_identity = { .group = QUERN__LAYER,
                                             .name = "Identity",
                                             .aliases = "",
                                             .module = "keras.layers",
                                             .call = identity,
                                             .masks = QUERN__MASK_PASSES,
                                             .whole = true,
                                             .by_step = true };
LAYER(permute, "Permute", "", permute_fields, NULL, permute, ENDS);
LAYER(repeat_vector, "RepeatVector", "", repeat_fields, NULL, repeat_vector, ENDS);
LAYER(cropping1d, "Cropping1D", "", crop1_fields, NULL, crop, ENDS);
LAYER(cropping2d, "Cropping2D", "", crop2_fields, NULL, crop, ENDS);
LAYER(cropping3d, "Cropping3D", "", crop_fields, NULL, crop, ENDS);
LAYER(zero_padding1d, "ZeroPadding1D", "", pad_fields, NULL, zero_pad, ENDS);
LAYER(zero_padding2d, "ZeroPadding2D", "", pad_fields, NULL, zero_pad, ENDS);
LAYER(zero_padding3d, "ZeroPadding3D", "", pad_fields, NULL, zero_pad, ENDS);
LAYER(up_sampling1d, "UpSampling1D", "", up1_fields, NULL, up_sample, ENDS);
LAYER(up_sampling2d, "UpSampling2D", "", up_fields, up_sampling_build, up_sample, ENDS);
LAYER(up_sampling3d, "UpSampling3D", "", up3_fields, NULL, up_sample, ENDS);
const quern__class quern__layer_global_average_pooling1d = { .group = QUERN__LAYER,
                                                             .name = "GlobalAveragePooling1D",
                                                             .aliases = "GlobalAvgPool1D",
                                                             .module = "keras.layers",
                                                             .fields = pool_fields,
                                                             .call = global_average,
                                                             .takes = masked_takes };
LAYER(global_average_pooling2d, "GlobalAveragePooling2D", "GlobalAvgPool2D", pool_fields, NULL, global_average, ENDS);
LAYER(global_average_pooling3d, "GlobalAveragePooling3D", "GlobalAvgPool3D", pool_fields, NULL, global_average, ENDS);
LAYER(global_max_pooling1d, "GlobalMaxPooling1D", "GlobalMaxPool1D", pool_fields, NULL, global_max, ENDS);
LAYER(global_max_pooling2d, "GlobalMaxPooling2D", "GlobalMaxPool2D", pool_fields, NULL, global_max, ENDS);
LAYER(global_max_pooling3d, "GlobalMaxPooling3D", "GlobalMaxPool3D", pool_fields, NULL, global_max, ENDS);
LAYER(spatial_dropout1d, "SpatialDropout1D", "", drop1_fields, NULL, spatial_dropout, PASSES);
LAYER(spatial_dropout2d, "SpatialDropout2D", "", drop_fields, NULL, spatial_dropout, PASSES);
LAYER(spatial_dropout3d, "SpatialDropout3D", "", drop_fields, NULL, spatial_dropout, PASSES);
LAYER(unit_normalization, "UnitNormalization", "", axis_fields, NULL, unit_normalization, PASSES);
LAYER(activity_regularization, "ActivityRegularization", "", penalty_fields, NULL, activity_regularization, PASSES);
