/* image_ops: operations on images (B, H, W, C) or (B, C, H, W): resizing, patches, depth and space.
 * Semantics: keras.src.ops.image and nn of Keras 3.15 on TensorFlow. */
#include "keras/layers/preprocessing/image.h"
#include "operations.h"

#include <string.h>

enum { most_patch = QUERN__MAX_ARGUMENTS };

quern__id quern__op_image(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          const char *name)
{
    quern__id x = quern__operand(l, g, in, n, name);
    if (x && quern__shape_of(g, x)->rank != 4)
        return quern__graph_fail(g, QUERN_UNSUPPORTED,
                                 "a tensor of %d axes, expected an image of 4",
                                 quern__shape_of(g, x)->rank);
    return quern__channels_last(l, g, x);
}

/* One or two integers of config[key]. */
static void pair(const quern__layer *l, const char *key, int64_t out[2])
{
    json_t *v = json_object_get(l->config, key);
    out[0] = json_integer_value(json_is_array(v) ? json_array_get(v, 0) : v);
    out[1] = json_integer_value(json_is_array(v) ? json_array_get(v, 1) : v);
}

/* The part of the image with the aspect ratio of `size`, cropped or padded. */
static quern__id with_aspect(quern__layer *l, quern__graph *g, quern__id x, const int64_t size[2])
{
    bool pad = quern__config_bool(l->config, "pad_to_aspect_ratio"),
         crop = quern__config_bool(l->config, "crop_to_aspect_ratio");
    int64_t part[2], start[2];
    if (!x || (!pad && !crop))
        return x;
    if (pad && crop)
        return quern__graph_fail(g, QUERN_INVALID,
                                 "crop_to_aspect_ratio and pad_to_aspect_ratio are both set");
    const int64_t *in = quern__shape_of(g, x)->dims + 1;
    quern__aspect_part((int64_t[]){ in[0], in[1] }, size, pad, part, start);
    quern__id fill = quern__op_number(g, quern__config_number(l->config, "fill_value"));
    for (int i = 0; i < 2; i++)
        x = pad ? quern__pad(g, x, 1 + i, start[i], start[i], fill)
                : quern__slice(g, x, 1 + i, start[i], part[i]);
    return x;
}

/* A product with a matrix of weights along each axis. The matrices are constants of the layer. */
static quern__id resize(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = quern__op_image(l, g, in, n, "images");
    int64_t size[2];
    (void)training;
    pair(l, "size", size);
    if (size[0] < 1 || size[0] > 1 << 16 || size[1] < 1 || size[1] > 1 << 16)
        return quern__graph_fail(g, QUERN_INVALID, "size must be from 1 to %d", 1 << 16);
    x = with_aspect(l, g, x, size);
    for (int i = 0; x && i < 2; i++)
        x = quern__resized(l, g, x, 1 + i, quern__config_text(l->config, "interpolation"),
                           quern__config_bool(l->config, "antialias"), size[i]);
    return quern__channels_back(l, g, x);
}

/* (B, H, W, b b C) to (B, H b, W b, C); row->extra 1: the inverse. */
static quern__id depth_to_space(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                bool training)
{
    quern__id x = quern__op_image(l, g, in, n, "x");
    int64_t b = quern__config_int(l->config, "block_size");
    (void)training;
    if (!x)
        return 0;
    quern_shape s = *quern__shape_of(g, x), split = { .rank = 6 },
                to = { .rank = 4, .dims = { s.dims[0] } };
    bool deep = l->kind->extra;
    if (b < 1 || (deep ? s.dims[1] % b || s.dims[2] % b : s.dims[3] % (b * b)))
        return quern__graph_fail(g, QUERN_SHAPE, "block_size %lld does not divide the image",
                                 (long long)b);
    const int64_t out[] = { s.dims[0], s.dims[1], s.dims[2], b, b, s.dims[3] / (b * b) },
                  into[] = { s.dims[0], s.dims[1] / b, b, s.dims[2] / b, b, s.dims[3] };
    memcpy(split.dims, deep ? into : out, sizeof out);
    to.dims[1] = deep ? s.dims[1] / b : s.dims[1] * b;
    to.dims[2] = deep ? s.dims[2] / b : s.dims[2] * b;
    to.dims[3] = deep ? s.dims[3] * b * b : s.dims[3] / (b * b);
    static const int from_depth[] = { 0, 1, 3, 2, 4, 5 }, to_depth[] = { 0, 1, 3, 2, 4, 5 };
    x = quern__transpose(g, quern__reshape(g, x, &split), deep ? to_depth : from_depth);
    return quern__channels_back(l, g, quern__reshape(g, x, &to));
}

/* Elements of each window of an image with channels last, as parts of the last axis: row by row.
 * Returns the number of windows along both axes in `count`. */
static quern__id patches(quern__graph *g, quern__id x, const int64_t size[2],
                         const int64_t stride[2], const int64_t dilation[2], int64_t count[2])
{
    quern__id parts[most_patch];
    for (int64_t i = 0, k = 0; i < size[0]; i++)
        for (int64_t j = 0; j < size[1]; j++, k++)
            parts[k] =
                quern__op_stride(g, quern__op_stride(g, x, 1, i * dilation[0], stride[0], count[0]),
                                 2, j * dilation[1], stride[1], count[1]);
    return quern__concat(g, parts, (int)(size[0] * size[1]), 3);
}

/* Whether windows can be cut out; otherwise the graph fails. */
static bool is_window(quern__graph *g, const int64_t size[2], const int64_t stride[2],
                      const int64_t dilation[2])
{
    bool fits = size[0] >= 1 && size[1] >= 1 && size[0] <= most_patch && size[1] <= most_patch &&
                size[0] * size[1] <= most_patch && stride[0] >= 1 && stride[1] >= 1 &&
                dilation[0] >= 1 && dilation[1] >= 1;
    if (!fits)
        quern__graph_fail(g, QUERN_UNSUPPORTED,
                          "patches of more than %d pixels are not in this version", most_patch);
    return fits;
}

/* (B, C, H, W) to (B, C h w, windows). */
static quern__id unfold(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x = quern__operand(l, g, in, n, "x"), zero = quern__op_number(g, 0);
    int64_t size[2], stride[2], dilation[2], padding[2], count[2];
    (void)training;
    pair(l, "kernel_size", size);
    pair(l, "stride", stride);
    pair(l, "dilation", dilation);
    pair(l, "padding", padding);
    if (!x || quern__op_rank(g, x) != 4)
        return x ? quern__graph_fail(g, QUERN_SHAPE, "unfold needs images (B, C, H, W)") : 0;
    if (!is_window(g, size, stride, dilation))
        return 0;
    x = quern__transpose(g, x, (int[]){ 0, 2, 3, 1 });
    for (int i = 0; i < 2; i++) {
        x = padding[i] > 0 ? quern__pad(g, x, 1 + i, padding[i], padding[i], zero) : x;
        int64_t length = x ? quern__shape_of(g, x)->dims[1 + i] : 0;
        count[i] = (length - (size[i] - 1) * dilation[i] - 1) / stride[i] + 1;
        if (!x || length < (size[i] - 1) * dilation[i] + 1)
            return x ? quern__graph_fail(g, QUERN_SHAPE, "patches are larger than the image") : 0;
    }
    quern_shape s = *quern__shape_of(g, x);
    int64_t places = size[0] * size[1], windows = count[0] * count[1];
    quern_shape apart = { .rank = 4, .dims = { s.dims[0], windows, places, s.dims[3] } },
                to = { .rank = 3, .dims = { s.dims[0], s.dims[3] * places, windows } };
    x = quern__reshape(g, patches(g, x, size, stride, dilation, count), &apart);
    return quern__reshape(g, quern__transpose(g, x, (int[]){ 0, 3, 2, 1 }), &to);
}

/* (B, H, W, C) to (B, rows, columns, h w C): the elements of each window, channels last. */
static quern__id extract_patches(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                 bool training)
{
    quern__id x = quern__op_image(l, g, in, n, "images");
    int64_t size[2], stride[2], dilation[2], count[2];
    (void)training;
    pair(l, "size", size);
    pair(l, json_is_null(json_object_get(l->config, "strides")) ? "size" : "strides", stride);
    pair(l, "dilation_rate", dilation);
    if (!x || !is_window(g, size, stride, dilation))
        return 0;
    for (int i = 0; i < 2 && x; i++) {
        int64_t length = quern__shape_of(g, x)->dims[1 + i], span = (size[i] - 1) * dilation[i] + 1;
        bool same = quern__config_is(l, "padding", "same");
        count[i] = same ? (length + stride[i] - 1) / stride[i] : (length - span) / stride[i] + 1;
        int64_t lack = same ? (count[i] - 1) * stride[i] + span - length : 0;
        if (count[i] < 1 || dilation[i] < 1)
            return quern__graph_fail(g, QUERN_SHAPE, "patches are larger than the image");
        x = lack > 0 ? quern__pad(g, x, 1 + i, lack / 2, lack - lack / 2, quern__op_number(g, 0))
                     : x;
    }
    return x ? quern__channels_back(l, g, patches(g, x, size, stride, dilation, count)) : 0;
}

static const quern__call_arg images_args[] = { { "images", false }, { 0 } };
static const quern__field resize_fields[] = { { "size", QUERN__F_SIZES, NULL },
                                              { "interpolation", QUERN__F_TEXT, "\"bilinear\"" },
                                              { "antialias", QUERN__F_BOOL, "false" },
                                              { "crop_to_aspect_ratio", QUERN__F_BOOL, "false" },
                                              { "pad_to_aspect_ratio", QUERN__F_BOOL, "false" },
                                              { "fill_mode", QUERN__F_ONLY_DEFAULT,
                                                "\"constant\"" },
                                              { "fill_value", QUERN__F_NUMBER, "0.0" },
                                              { "data_format", QUERN__F_TEXT, "\"channels_last\"" },
                                              { 0 } };
static const quern__field block_fields[] = { { "block_size", QUERN__F_INT, NULL },
                                             { "data_format", QUERN__F_TEXT, "\"channels_last\"" },
                                             { 0 } };
static const quern__field patch_fields[] = { { "size", QUERN__F_SIZES, NULL },
                                             { "strides", QUERN__F_SIZES, "null" },
                                             { "dilation_rate", QUERN__F_SIZES, "1" },
                                             { "padding", QUERN__F_TEXT, "\"valid\"" },
                                             { "data_format", QUERN__F_TEXT, "\"channels_last\"" },
                                             { 0 } };
static const quern__field unfold_fields[] = { { "kernel_size", QUERN__F_SIZES, NULL },
                                              { "dilation", QUERN__F_SIZES, "1" },
                                              { "padding", QUERN__F_SIZES, "0" },
                                              { "stride", QUERN__F_SIZES, "1" },
                                              { 0 } };
QUERN__OPERATION_ROW(unfold, "Unfold", "nn", unfold_fields, unfold, quern__args_x, 0);
QUERN__OPERATION_ROW(resize, "Resize", "image", resize_fields, resize, images_args, 0);
QUERN__OPERATION_ROW(extract_patches, "ExtractPatches", "image", patch_fields, extract_patches,
                     images_args, 0);
QUERN__OPERATION_ROW(depth_to_space, "DepthToSpace", "nn", block_fields, depth_to_space,
                     quern__args_x, 0);
QUERN__OPERATION_ROW(space_to_depth, "SpaceToDepth", "nn", block_fields, depth_to_space,
                     quern__args_x, 1);
