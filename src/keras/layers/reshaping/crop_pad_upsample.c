/* crop_pad_upsample: Cropping, ZeroPadding and UpSampling over one to three spatial axes. */
#include "keras/layers/layer_rows.h"
#include "keras/layers/preprocessing/image.h"

#include <string.h>

/* The sizes before and after an axis, from a config with a number, a pair, or a pair per axis. */
static void edges(json_t *spec, int axis, int64_t *before, int64_t *behind)
{
    json_t *own = json_is_array(spec) ? json_array_get(spec, (size_t)axis) : spec;
    *before = *behind = json_integer_value(own);
    if (json_is_array(own)) {
        *before = json_integer_value(json_array_get(own, 0));
        *behind = json_integer_value(json_array_get(own, 1));
    }
}

/* 1D layers have a pair where other layers have a list of pairs. */
static json_t *by_axis(json_t *spec, int axes)
{
    return axes == 1 && json_is_array(spec) ? json_pack("[O]", spec) : json_incref(spec);
}

/* Crops or pads each spatial axis by the sizes of config[key]. */
static quern__id cut_or_pad(quern__layer *l, quern__graph *g, quern__id x, const char *key,
                            bool pad)
{
    int rank = quern__shape_of(g, x)->rank, first = quern__channels_first(l) ? 2 : 1,
        axes = rank - 2;
    if (axes > 1 && !quern__sizes_fit(l, g, axes))
        return 0;
    json_t *spec = by_axis(json_object_get(l->config, key), axes);
    for (int i = 0; i < axes && x; i++) {
        int64_t before, behind;
        int axis = first + i;
        edges(spec, i, &before, &behind);
        if (before < 0 || behind < 0)
            x = quern__graph_fail(g, QUERN_INVALID, "%s is negative", key);
        else if (pad)
            x = quern__pad(g, x, axis, before, behind, quern__graph_constant(g, 0, QUERN_FLOAT32));
        else
            x = quern__slice(g, x, axis, before,
                             quern__shape_of(g, x)->dims[axis] - before - behind);
    }
    json_decref(spec);
    return x;
}

static quern__id crop_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    (void)n, (void)training;
    return cut_or_pad(l, g, in[0], "cropping", false);
}

static quern__id zero_pad_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                               bool training)
{
    (void)n, (void)training;
    return cut_or_pad(l, g, in[0], "padding", true);
}

static int64_t times_of(const quern__layer *l, int axis)
{
    json_t *size = json_object_get(l->config, "size");
    return json_integer_value(json_is_array(size) ? json_array_get(size, (size_t)axis) : size);
}

/* Interpolations other than nearest use the matrices of Resizing. */
static int up_sampling_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    const char *how = quern__config_text(l->config, "interpolation");
    (void)n;
    int status = how && strcmp(how, "nearest") ? quern__picture_check(l, in, n, err) : QUERN_OK;
    for (int i = 0; how && strcmp(how, "nearest") && i < 2 && status >= 0; i++) {
        int64_t size = in->dims[(quern__channels_first(l) ? 2 : 1) + i], times = times_of(l, i);
        if (times < 1 || times > 1 << 16 || size * times > 1 << 16)
            return quern__fail(err, QUERN_INVALID, l->name,
                               "size must be at least 1, and the output size at most %d", 1 << 16);
        status = quern__resizing_weights(l, how, false, size, size * times, err);
    }
    return status;
}

/* Repeats every element `size` times along each spatial axis. */
static quern__id up_sample_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                bool training)
{
    (void)n, (void)training;
    quern__id x = in[0];
    int rank = quern__shape_of(g, x)->rank, first = quern__channels_first(l) ? 2 : 1;
    if (!quern__sizes_fit(l, g, rank - 2))
        return 0;
    const char *how = quern__config_text(l->config, "interpolation");
    if (how && strcmp(how, "nearest")) {
        for (int i = 0; i < 2; i++)
            x = quern__resized(l, g, x, first + i, how, false,
                               quern__shape_of(g, x)->dims[first + i] * times_of(l, i));
        return x;
    }
    for (int i = 0; i < rank - 2; i++) {
        int64_t times = times_of(l, i);
        quern_shape s = *quern__shape_of(g, x), one = { .rank = 3, .dims = { s.dims[0], 1, 1 } },
                    many, out = s;
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

static const quern__field crop_fields[] = { { "cropping", QUERN__F_EDGES, "1" },
                                            QUERN__DATA_FORMAT_FIELD,
                                            { 0 } };
static const quern__field crop1_fields[] = { { "cropping", QUERN__F_EDGES, "[1, 1]" }, { 0 } };
static const quern__field crop2_fields[] = { { "cropping", QUERN__F_EDGES, "[[0, 0], [0, 0]]" },
                                             QUERN__DATA_FORMAT_FIELD,
                                             { 0 } };
static const quern__field pad_fields[] = { { "padding", QUERN__F_EDGES, "1" },
                                           QUERN__DATA_FORMAT_FIELD,
                                           { 0 } };
static const quern__field up1_fields[] = { { "size", QUERN__F_SIZES, "2" }, { 0 } };
static const quern__field up_fields[] = { { "size", QUERN__F_SIZES, "2" },
                                          QUERN__DATA_FORMAT_FIELD,
                                          { "interpolation", QUERN__F_TEXT, "\"nearest\"" },
                                          { 0 } };
static const quern__field up3_fields[] = { { "size", QUERN__F_SIZES, "2" },
                                           QUERN__DATA_FORMAT_FIELD,
                                           { 0 } };

QUERN__LAYER_ROW(cropping1d, "Cropping1D", "", crop1_fields, NULL, crop_call, ENDS);
QUERN__LAYER_ROW(cropping2d, "Cropping2D", "", crop2_fields, NULL, crop_call, ENDS);
QUERN__LAYER_ROW(cropping3d, "Cropping3D", "", crop_fields, NULL, crop_call, ENDS);
QUERN__LAYER_ROW(zero_padding1d, "ZeroPadding1D", "", pad_fields, NULL, zero_pad_call, ENDS);
QUERN__LAYER_ROW(zero_padding2d, "ZeroPadding2D", "", pad_fields, NULL, zero_pad_call, ENDS);
QUERN__LAYER_ROW(zero_padding3d, "ZeroPadding3D", "", pad_fields, NULL, zero_pad_call, ENDS);
QUERN__LAYER_ROW(up_sampling1d, "UpSampling1D", "", up1_fields, NULL, up_sample_call, ENDS);
QUERN__LAYER_ROW(up_sampling2d, "UpSampling2D", "", up_fields, up_sampling_build, up_sample_call,
                 ENDS);
QUERN__LAYER_ROW(up_sampling3d, "UpSampling3D", "", up3_fields, NULL, up_sample_call, ENDS);
