/* image_color_ops: operations of keras.ops on the colors and borders of images: HSV, grayscale,
 * blur, crops and pads. Semantics: keras.src.ops.image of Keras 3.15 on TensorFlow. */
#include "operations.h"

#include "keras/layers/convolutional/spatial.h"

#include <math.h>

/* The image, when it has that number of channels. */
static quern__id colors(quern__layer *l, quern__graph *g, const quern__id *in, int n)
{
    quern__id x = quern__op_image(l, g, in, n, "images");
    if (x && quern__shape_of(g, x)->dims[3] != 3)
        return quern__graph_fail(g, QUERN_SHAPE, "%lld channels, expected red, green and blue",
                                 (long long)quern__shape_of(g, x)->dims[3]);
    return x;
}

static quern__id channel(quern__graph *g, quern__id x, int k)
{
    return quern__slice(g, x, 3, k, 1);
}

/* a x + b */
static quern__id affine(quern__graph *g, quern__id x, double a, double b)
{
    return quern__unary(g, QUERN__AFFINE, x, a, b, 0);
}

/* The hue of a color whose largest channel exceeds the least by `range`: sixths of a circle. */
static quern__id hue_of(quern__graph *g, const quern__id c[3], quern__id value, quern__id range)
{
    quern__id zero = quern__op_number(g, 0), one = quern__op_number(g, 1),
              gray = quern__binary(g, QUERN__EQUAL, range, zero), sector[3];
    quern__id sixth = quern__scale(g, quern__select(g, gray, one, range), 6);
    for (int k = 0; k < 3; k++)
        sector[k] = affine(g, quern__div2(g, quern__sub2(g, c[(k + 1) % 3], c[(k + 2) % 3]), sixth),
                           1, k / 3.0);
    quern__id hue =
        quern__select(g, quern__binary(g, QUERN__EQUAL, value, c[1]), sector[1], sector[2]);
    hue = quern__select(g, quern__binary(g, QUERN__EQUAL, value, c[0]), sector[0], hue);
    hue = quern__select(g, gray, zero, hue);
    return quern__add2(g, hue, quern__binary(g, QUERN__LESS, hue, zero));
}

static quern__id rgb_to_hsv(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                            bool training)
{
    (void)training;
    quern__id x = colors(l, g, in, n), c[3];
    for (int k = 0; k < 3; k++)
        c[k] = x ? channel(g, x, k) : 0;
    quern__id value = quern__binary(g, QUERN__MAXIMUM, quern__binary(g, QUERN__MAXIMUM, c[0], c[1]),
                                    c[2]),
              least = quern__binary(g, QUERN__MINIMUM, quern__binary(g, QUERN__MINIMUM, c[0], c[1]),
                                    c[2]),
              range = quern__sub2(g, value, least), zero = quern__op_number(g, 0),
              bright = quern__binary(g, QUERN__GREATER, value, zero),
              safe = quern__select(g, bright, value, quern__op_number(g, 1)),
              saturation = quern__select(g, bright, quern__div2(g, range, safe), zero);
    if (!value)
        return 0;
    quern__id hsv[3] = { hue_of(g, c, value, range), saturation, value };
    return quern__channels_back(l, g, quern__concat(g, hsv, 3, 3));
}

/* Each channel is ((d - 1) s + 1) v, where d is its share at that hue. TensorFlow has no gradient for
 * it. */
static quern__id hsv_to_rgb(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                            bool training)
{
    (void)training;
    static const double centre[] = { 3, 2, 4 };
    quern__id x = colors(l, g, in, n), rgb[3];
    if (!x)
        return 0;
    quern__id hue = quern__scale(g, channel(g, x, 0), 6), saturation = channel(g, x, 1),
              value = channel(g, x, 2);
    for (int k = 0; k < 3; k++) {
        quern__id away = quern__unary_of(g, QUERN__ABS, quern__shift(g, hue, -centre[k])),
                  share = quern__unary(
                      g, QUERN__CLIP, k ? affine(g, away, -1, 2) : affine(g, away, 1, -1), 0, 1, 0);
        quern__id mixed = quern__mul2(g, quern__shift(g, share, -1), saturation);
        rgb[k] = quern__mul2(g, quern__shift(g, mixed, 1), value);
    }
    return quern__channels_back(l, g, quern__stop_gradient(g, quern__concat(g, rgb, 3, 3)));
}

static quern__id rgb_to_grayscale(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                  bool training)
{
    (void)training;
    quern__id image = quern__op_image(l, g, in, n, "images");
    if (!image || quern__shape_of(g, image)->dims[3] == 1)
        return quern__channels_back(l, g, image);
    quern__id x = colors(l, g, in, n);
    if (!x)
        return 0;
    quern__id y = quern__add2(g, quern__scale(g, channel(g, x, 0), 0.2989),
                              quern__scale(g, channel(g, x, 1), 0.587));
    return quern__channels_back(l, g, quern__add2(g, y, quern__scale(g, channel(g, x, 2), 0.114)));
}

/* ---- blur ---- */

enum { most_blur = 64 };

/* Weights of a Gaussian with the sum 1. */
static void gaussian(int64_t size, double sigma, double *out)
{
    double sum = 0;
    for (int64_t k = 0; k < size; k++) {
        double at = ((double)k - (double)(size - 1) / 2) / sigma;
        sum += out[k] = exp(-0.5 * at * at);
    }
    for (int64_t k = 0; k < size; k++)
        out[k] /= sum;
}

/* The weights (height, width, channels). Keras computes the second Gaussian times the first and
 * reshapes it, so that element k is of row k / height. */
static quern__variable *blur_weights(quern__layer *l, const int64_t size[2], const double sigma[2],
                                     int64_t channels, quern_error *err)
{
    double first[most_blur], second[most_blur];
    quern_shape shape = { .rank = 3, .dims = { size[0], size[1], channels } };
    if (l->n_constants)
        return l->constants[0];
    quern__variable *v = quern__variable_new(l->name, QUERN_FLOAT32, &shape, false, err);
    if (!v)
        return NULL;
    gaussian(size[0], sigma[0], first);
    gaussian(size[1], sigma[1], second);
    for (int64_t k = 0; k < size[0] * size[1]; k++)
        for (int64_t c = 0; c < channels; c++)
            ((float *)v->data)[k * channels + c] =
                (float)(second[k / size[0]] * first[k % size[0]]);
    return l->constants[l->n_constants++] = v;
}

/* One or two numbers of config[key]. */
static void two_numbers(const quern__layer *l, const char *key, double out[2])
{
    json_t *v = json_object_get(l->config, key);
    out[0] = json_number_value(json_is_array(v) ? json_array_get(v, 0) : v);
    out[1] = json_number_value(json_is_array(v) ? json_array_get(v, 1) : v);
}

static quern__id gaussian_blur(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                               bool training)
{
    (void)training;
    quern__id x = quern__op_image(l, g, in, n, "images");
    double sizes[2], sigma[2];
    quern_error err = { 0 };
    two_numbers(l, "kernel_size", sizes);
    two_numbers(l, "sigma", sigma);
    int64_t size[2] = { (int64_t)sizes[0], (int64_t)sizes[1] };
    if (!x || size[0] < 1 || size[1] < 1 || size[0] > most_blur || size[1] > most_blur ||
        !(sigma[0] > 0) || !(sigma[1] > 0))
        return x ? quern__graph_fail(g, QUERN_INVALID,
                                     "kernel_size must be from 1 to %d and sigma above 0",
                                     most_blur)
                 : 0;
    const int64_t *dims = quern__shape_of(g, x)->dims;
    if (!quern__op_closed(g, x, 1, "blur") || !quern__op_closed(g, x, 2, "blur"))
        return 0;
    quern__frame f = { 2,
                       { 1, size[0], size[1] },
                       { 1, 1, 1 },
                       { 1, 1, 1 },
                       { 0, (size[0] - 1) / 2, (size[1] - 1) / 2 },
                       { 1, dims[1], dims[2] } };
    quern__variable *w = blur_weights(l, size, sigma, dims[3], &err);
    if (!w)
        return quern__graph_fail(g, err.code, "%s", err.text);
    return quern__channels_back(l, g, quern__depthwise(g, x, quern__graph_variable(g, w), &f));
}

/* ---- borders ---- */

/* Reads what is before, after and left of an axis of `size`; two of the three are given. For a pad,
 * `sign` is -1: the target is larger than the image. */
static bool borders(const quern__layer *l, const char *const keys[3], int64_t size, int sign,
                    int64_t out[3])
{
    json_t *v[3];
    for (int i = 0; i < 3; i++) {
        v[i] = json_object_get(l->config, keys[i]);
        out[i] = json_is_integer(v[i]) ? json_integer_value(v[i]) : 0;
    }
    if (!json_is_integer(v[0]))
        out[0] = sign * (size - out[2]) - out[1];
    if (!json_is_integer(v[1]))
        out[1] = sign * (size - out[2]) - out[0];
    out[2] = size - sign * (out[0] + out[1]);
    return out[0] >= 0 && out[1] >= 0 && out[2] >= 1;
}

/* row->extra 1: crops; -1: pads with zeros. */
static quern__id border(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)training;
    static const char *const crops[2][3] = { { "top_cropping", "bottom_cropping", "target_height" },
                                             { "left_cropping", "right_cropping",
                                               "target_width" } },
                             *const pads[2][3] = {
                                 { "top_padding", "bottom_padding", "target_height" },
                                 { "left_padding", "right_padding", "target_width" }
                             };
    quern__id x = quern__op_image(l, g, in, n, "images");
    int sign = l->kind->extra;
    for (int i = 0; i < 2 && x; i++) {
        int64_t at[3];
        if (!quern__op_closed(g, x, 1 + i, "a border"))
            return 0;
        if (!borders(l, sign > 0 ? crops[i] : pads[i], quern__shape_of(g, x)->dims[1 + i], sign,
                     at))
            return quern__graph_fail(g, QUERN_SHAPE, "the borders do not fit the image");
        x = sign > 0 ? quern__slice(g, x, 1 + i, at[0], at[2])
                     : quern__pad(g, x, 1 + i, at[0], at[1], quern__op_number(g, 0));
    }
    return quern__channels_back(l, g, x);
}

#define FORMAT                                            \
    {                                                     \
        "data_format", QUERN__F_TEXT, "\"channels_last\"" \
    }
static const quern__call_arg images_args[] = { { "images", false }, { 0 } };
static const quern__field format_fields[] = { FORMAT, { 0 } };
static const quern__field blur_fields[] = { { "kernel_size", QUERN__F_ANY, "[3, 3]" },
                                            { "sigma", QUERN__F_ANY, "[1.0, 1.0]" },
                                            FORMAT,
                                            { 0 } };
static const quern__field crop_fields[] = { { "top_cropping", QUERN__F_ANY, "null" },
                                            { "left_cropping", QUERN__F_ANY, "null" },
                                            { "bottom_cropping", QUERN__F_ANY, "null" },
                                            { "right_cropping", QUERN__F_ANY, "null" },
                                            { "target_height", QUERN__F_ANY, "null" },
                                            { "target_width", QUERN__F_ANY, "null" },
                                            FORMAT,
                                            { 0 } };
static const quern__field pad_fields[] = { { "top_padding", QUERN__F_ANY, "null" },
                                           { "left_padding", QUERN__F_ANY, "null" },
                                           { "bottom_padding", QUERN__F_ANY, "null" },
                                           { "right_padding", QUERN__F_ANY, "null" },
                                           { "target_height", QUERN__F_ANY, "null" },
                                           { "target_width", QUERN__F_ANY, "null" },
                                           FORMAT,
                                           { 0 } };

#define ROW(ID, NAME, FIELDS, CALL, EXTRA) \
    QUERN__OPERATION_ROW(ID, NAME, "image", FIELDS, CALL, images_args, EXTRA)
ROW(rgb_to_hsv, "RGBToHSV", format_fields, rgb_to_hsv, 0);
ROW(hsv_to_rgb, "HSVToRGB", format_fields, hsv_to_rgb, 0);
ROW(rgb_to_grayscale, "RGBToGrayscale", format_fields, rgb_to_grayscale, 0);
ROW(gaussian_blur, "GaussianBlur", blur_fields, gaussian_blur, 0);
ROW(crop_images, "CropImages", crop_fields, border, 1);
ROW(pad_images, "PadImages", pad_fields, border, -1);
