/* resizing: Resizing and CenterCrop. Resizing along an axis is a product with a sparse matrix (in,
 * out) of weights; TensorFlow's interpolations differ in the weights only.
 * https://keras.io/api/layers/preprocessing_layers/image_preprocessing/resizing/ */
#include "image.h"

#include <math.h>
#include <string.h>

enum { most_side = 1 << 16, bicubic_places = 1024 };

/* ---- weights ---- */

typedef double filter(double distance);

static double triangle(double x) { return x < 1 ? 1 - x : 0; }
static double
keys(double x) /* Keys, "Cubic convolution interpolation for digital image processing", 1981 */
{
    return x >= 2 ? 0 : x >= 1 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : (1.5 * x - 2.5) * x * x + 1;
}
static double lanczos(double x, double radius)
{
    const double pi = 3.14159265358979323846;
    return x > radius  ? 0
           : x <= 1e-3 ? 1
                       : radius * sin(pi * x) * sin(pi * x / radius) / (pi * pi * x * x);
}
static double lanczos3(double x) { return lanczos(x, 3); }
static double lanczos5(double x) { return lanczos(x, 5); }

/* Adds a weight to row `from` and column `to`, which are inside the matrix. */
static void add(float *w, int64_t out, int64_t from, int64_t to, double weight)
{
    w[from * out + to] += (float)weight;
}

/* The nearest index in 0 … n - 1. */
static int64_t within(int64_t i, int64_t n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }

/* Weights by distance with the sum 1. With `antialias`, the filter is wider when the axis shrinks.
 */
static void by_filter(float *w, int64_t in, int64_t out, filter *f, double radius, bool antialias)
{
    double scale = (double)in / (double)out, wide = antialias && scale > 1 ? scale : 1;
    for (int64_t to = 0; to < out; to++) {
        double place = ((double)to + 0.5) * scale, sum = 0;
        int64_t first = within((int64_t)ceil(place - radius * wide - 0.5), in),
                last = within((int64_t)floor(place + radius * wide - 0.5), in);
        for (int64_t i = first; i <= last; i++)
            sum += f(fabs(((double)i + 0.5 - place) / wide));
        for (int64_t i = first; i <= last; i++)
            add(w, out, i, to, f(fabs(((double)i + 0.5 - place) / wide)) / sum);
    }
}

/* The two neighbours of the center of each output, in float32 as TensorFlow. */
static void bilinear(float *w, int64_t in, int64_t out)
{
    float scale = (float)in / (float)out;
    for (int64_t to = 0; to < out; to++) {
        float place = ((float)to + 0.5f) * scale - 0.5f, low = floorf(place);
        add(w, out, within((int64_t)low, in), to, 1 - (double)(place - low));
        add(w, out, within((int64_t)low + 1, in), to, (double)(place - low));
    }
}

/* The input that contains the center of each output. */
static void nearest(float *w, int64_t in, int64_t out)
{
    float scale = (float)in / (float)out;
    for (int64_t to = 0; to < out; to++)
        add(w, out, within((int64_t)floorf(((float)to + 0.5f) * scale), in), to, 1);
}

/* TensorFlow reads distances from a table with 1024 entries, and ignores positions outside of the
 * image. */
static void bicubic(float *w, int64_t in, int64_t out)
{
    float scale = (float)in / (float)out;
    for (int64_t to = 0; to < out; to++) {
        float place = ((float)to + 0.5f) * scale - 0.5f, low = floorf(place);
        double step = (double)lrintf((place - low) * bicubic_places) / bicubic_places, weights[4],
               sum = 0;
        for (int k = 0; k < 4; k++) {
            int64_t i = (int64_t)low - 1 + k;
            weights[k] = i == within(i, in) ? keys(fabs(step + 1 - k)) : 0;
            sum += weights[k];
        }
        for (int k = 0; k < 4; k++)
            add(w, out, within((int64_t)low - 1 + k, in), to, weights[k] / sum);
    }
}

/* The mean of the interval that an output covers. */
static void area(float *w, int64_t in, int64_t out)
{
    double scale = (double)in / (double)out;
    for (int64_t to = 0; to < out; to++) {
        double begin = (double)to * scale, end = begin + scale;
        for (int64_t i = (int64_t)floor(begin); (double)i < end; i++) {
            double from = (double)i > begin ? (double)i : begin,
                   until = (double)i + 1 < end ? (double)i + 1 : end;
            add(w, out, within(i, in), to, (until - from) / scale);
        }
    }
}

/* Fills the matrix of an interpolation by name. QUERN_INVALID: no interpolation has this name. */
static int fill_weights(const char *how, bool antialias, float *w, int64_t in, int64_t out)
{
    static const struct {
        const char *name;
        void (*plain)(float *w, int64_t in, int64_t out); /* NULL: `f` gives the weights */
        filter *f;                                        /* for antialiasing; NULL: none */
        double radius;
    } ways[] = { { "bilinear", bilinear, triangle, 1 }, { "nearest", nearest, NULL, 0 },
                 { "bicubic", bicubic, keys, 2 },       { "lanczos3", NULL, lanczos3, 3 },
                 { "lanczos5", NULL, lanczos5, 5 },     { "area", area, NULL, 0 } };
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++)
        if (!strcmp(how, ways[k].name)) {
            if (ways[k].f && (antialias || !ways[k].plain))
                by_filter(w, in, out, ways[k].f, ways[k].radius, antialias);
            else
                ways[k].plain(w, in, out);
            return QUERN_OK;
        }
    return QUERN_INVALID;
}

/* ---- the region that is resized ---- */

void quern__aspect_part(const int64_t in[2], const int64_t out[2], bool pad, int64_t part[2],
                        int64_t start[2])
{
    for (int k = 0; k < 2; k++) {
        int64_t fits = (int64_t)((float)(in[1 - k] * out[k]) / (float)out[1 - k]);
        if (pad)
            part[k] = fits > in[k] ? fits : in[k];
        else
            part[k] = fits < 1 ? 1 : fits < in[k] ? fits : in[k];
        start[k] = (pad ? part[k] - in[k] : in[k] - part[k]) / 2;
        part[k] = pad ? in[k] + 2 * start[k] : part[k];
    }
}

typedef struct plan {
    int64_t in[2], part[2], start[2], out[2];
    bool pad;
} plan;

static bool flag(const quern__layer *l, const char *key)
{
    return json_is_true(json_object_get(l->config, key));
}

/* The crop or padding, and the size that is resized afterwards. */
static plan plan_of(const quern__layer *l, const quern_shape *s)
{
    quern__picture p = quern__picture_of(l, s);
    plan q = { .in = { p.height, p.width },
               .out = { quern__config_int(l->config, "height"),
                        quern__config_int(l->config, "width") },
               .pad = flag(l, "pad_to_aspect_ratio") };
    memcpy(q.part, q.in, sizeof q.part);
    bool larger = q.in[0] >= q.out[0] && q.in[1] >= q.out[1];
    if (l->kind->extra && larger)
        for (int k = 0; k < 2; k++) {
            q.part[k] = q.out[k];
            q.start[k] = (q.in[k] - q.out[k]) / 2;
        }
    else if (l->kind->extra || q.pad || flag(l, "crop_to_aspect_ratio"))
        quern__aspect_part(q.in, q.out, q.pad, q.part, q.start);
    if (l->kind->extra == QUERN__CUT)
        for (int k = 0; k < 2; k++)
            q.part[k] = q.out[k] < q.in[k] - q.start[k] ? q.out[k] : q.in[k] - q.start[k];
    return q;
}

int quern__resizing_weights(quern__layer *l, const char *how, bool antialias, int64_t in,
                            int64_t out, quern_error *err)
{
    quern_shape shape = { .rank = 2, .dims = { in, out } };
    if (l->n_constants == QUERN__MAX_CONSTANTS)
        return quern__fail(err, QUERN_UNSUPPORTED, l->name, "images of more than %d sizes",
                           QUERN__MAX_CONSTANTS);
    quern__variable *v = quern__variable_new(l->name, QUERN_FLOAT32, &shape, false, err);
    if (!v)
        return QUERN_NOMEM;
    l->constants[l->n_constants++] = v;
    if (fill_weights(how, antialias, v->data, in, out) >= 0)
        return QUERN_OK;
    return quern__fail(
        err, QUERN_INVALID, l->name,
        "interpolation '%.40s' is not bilinear, nearest, bicubic, lanczos3, lanczos5 or area", how);
}

static const char *how_of(const quern__layer *l)
{
    return l->kind->extra ? "bilinear" : quern__config_text(l->config, "interpolation");
}

int quern__resizing_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    const char *how = how_of(l),
               *fill = l->kind->extra ? "constant" : quern__config_text(l->config, "fill_mode");
    int status = quern__picture_check(l, in, n, err);
    if (status < 0)
        return status;
    plan q = plan_of(l, in);
    if (q.out[0] < 1 || q.out[1] < 1 || q.out[0] > most_side || q.out[1] > most_side)
        return quern__fail(err, QUERN_INVALID, l->name, "height and width must be in 1 … %d",
                           most_side);
    if (!how || !fill || strcmp(fill, "constant"))
        return quern__fail(err, QUERN_INVALID, l->name,
                           "fill_mode must be constant; Keras supports no other mode here");
    if (flag(l, "pad_to_aspect_ratio") && flag(l, "crop_to_aspect_ratio"))
        return quern__fail(err, QUERN_INVALID, l->name,
                           "crop_to_aspect_ratio and pad_to_aspect_ratio are both set");
    for (int k = 0; k < 2 && status >= 0; k++)
        status = quern__resizing_weights(l, how, flag(l, "antialias"), q.part[k], q.out[k], err);
    return status;
}

quern__id quern__resized(quern__layer *l, quern__graph *g, quern__id x, int axis, const char *how,
                         bool antialias, int64_t out)
{
    quern_error err = { 0 };
    quern_shape want = { .rank = 2, .dims = { x ? quern__shape_of(g, x)->dims[axis] : 0, out } };
    if (!x)
        return 0;
    for (int k = 0; k < l->n_constants; k++)
        if (quern_shape_equal(&l->constants[k]->shape, &want))
            return quern__resized_along(g, x, axis, l->constants[k]);
    if (quern__resizing_weights(l, how, antialias, want.dims[0], out, &err) < 0)
        return quern__graph_fail(g, err.code, "%s", err.text);
    return quern__resized_along(g, x, axis, l->constants[l->n_constants - 1]);
}

/* The product of one axis with a matrix; the axis moves to the end and back. */
quern__id quern__resized_along(quern__graph *g, quern__id x, int axis, quern__variable *w)
{
    int rank = quern__shape_of(g, x)->rank, there[QUERN_MAX_RANK];
    for (int i = 0; i < rank; i++)
        there[i] = i == axis ? rank - 1 : i == rank - 1 ? axis : i;
    x = quern__matmul(g, quern__transpose(g, x, there), quern__graph_variable(g, w), false, false);
    return quern__transpose(g, x, there);
}

quern__id quern__resizing_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                               bool training)
{
    (void)n, (void)training;
    quern__id x = quern__cast(g, in[0], QUERN_FLOAT32);
    plan q = plan_of(l, quern__shape_of(g, x));
    int first = quern__channels_first(l) ? 2 : 1;
    for (int k = 0; k < 2; k++)
        if (q.pad)
            x = quern__pad(g, x, first + k, q.start[k], q.start[k],
                           quern__graph_constant(g, quern__config_number(l->config, "fill_value"),
                                                 QUERN_FLOAT32));
        else if (q.part[k] < q.in[k])
            x = quern__slice(g, x, first + k, q.start[k], q.part[k]);
    for (int k = 0; k < 2; k++)
        x = q.part[k] == q.out[k]
                ? x
                : quern__resized(l, g, x, first + k, how_of(l), flag(l, "antialias"), q.out[k]);
    return x;
}

static const quern__field resizing_fields[] = { { "height", QUERN__F_INT, NULL },
                                                { "width", QUERN__F_INT, NULL },
                                                { "interpolation", QUERN__F_TEXT, "\"bilinear\"" },
                                                { "crop_to_aspect_ratio", QUERN__F_BOOL, "false" },
                                                { "pad_to_aspect_ratio", QUERN__F_BOOL, "false" },
                                                { "fill_mode", QUERN__F_TEXT, "\"constant\"" },
                                                { "fill_value", QUERN__F_NUMBER, "0.0" },
                                                { "antialias", QUERN__F_BOOL, "false" },
                                                { "data_format", QUERN__F_TEXT,
                                                  "\"channels_last\"" },
                                                { 0 } };
static const quern__field crop_fields[] = { { "height", QUERN__F_INT, NULL },
                                            { "width", QUERN__F_INT, NULL },
                                            { "data_format", QUERN__F_TEXT, "\"channels_last\"" },
                                            { 0 } };

const quern__class quern__layer_resizing = { .group = QUERN__LAYER,
                                             .name = "Resizing",
                                             .aliases = "",
                                             .module = "keras.layers",
                                             .fields = resizing_fields,
                                             .build = quern__resizing_build,
                                             .call = quern__resizing_call };
const quern__class quern__layer_center_crop = { .group = QUERN__LAYER,
                                                .name = "CenterCrop",
                                                .aliases = "",
                                                .module = "keras.layers",
                                                .fields = crop_fields,
                                                .build = quern__resizing_build,
                                                .call = quern__resizing_call,
                                                .extra = QUERN__CENTRE };
