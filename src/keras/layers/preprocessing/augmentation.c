/* augmentation: Keras's augmentation layers: the rows of augmentations, their configs, and the
 * layers. In prediction they return their input.
 * https://keras.io/api/layers/preprocessing_layers/image_augmentation/
 *
 * A row of `changes` has the function that changes one image in place, the ranges of its factors,
 * and its scratch size in images. A layer has an object (quern__augmentation) with the numbers of
 * its config; the op quern__each_record calls it for each record. Composed augmentations have other
 * augmentations as parts.
 *
 * All random numbers of a record have the counter (record, base + k). A part has a base of its own,
 * so a draw does not depend on the parts before it. */
#include "augmentation.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const quern__change changes[] = {
    { "RandomFlip", quern__flip, .copies = 0 },
    { "RandomRotation", quern__rotate, { { "factor", -1, 1, QUERN__MIRRORED } }, .copies = 1 },
    { "RandomZoom",
      quern__zoom,
      { { "height_factor", -1, 1, QUERN__MIRRORED }, { "width_factor", -1, 1, QUERN__MIRRORED } },
      .copies = 1 },
    { "RandomTranslation",
      quern__translate,
      { { "height_factor", -1, 1, QUERN__MIRRORED }, { "width_factor", -1, 1, QUERN__MIRRORED } },
      .copies = 1 },
    { "RandomShear",
      quern__shear,
      { { "x_factor", 0, 1, QUERN__MIRRORED }, { "y_factor", 0, 1, QUERN__MIRRORED } },
      .copies = 1 },
    { "RandomPerspective",
      quern__skew,
      { { "factor", 0, 1, QUERN__TO_BOUND }, { "scale", 0, 1, QUERN__POINT } },
      .copies = 1 },
    { "RandomElasticTransform",
      quern__bend,
      { { "factor", 0, 1, QUERN__TO_BOUND }, { "scale", 0, 1, QUERN__TO_BOUND } },
      .copies = 3 },
    { "RandomContrast", quern__contrast, { { "factor", 0, 1, QUERN__TO_BOUND } } },
    { "RandomBrightness", quern__brightness, { { "factor", -1, 1, QUERN__MIRRORED } } },
    { "RandomHue", quern__hue, { { "factor", 0, 1, QUERN__TO_BOUND } }, .colours = 3 },
    { "RandomSaturation",
      quern__saturation,
      { { "factor", -1, 1, QUERN__MIRRORED } },
      .colours = 3 },
    { "RandomSharpness", quern__sharpness, { { "factor", 0, 1, QUERN__TO_BOUND } }, .copies = 1 },
    { "RandomGrayscale", quern__grayscale, { { "factor", 0, 1, QUERN__POINT } }, .colours = 1 },
    { "RandomInvert", quern__invert, { { "factor", 0, 1, QUERN__TO_BOUND } } },
    { "RandomPosterization", quern__posterize, { { "factor", 1, 8, QUERN__TO_BOUND } } },
    { "Solarization",
      quern__solarize,
      { { "addition_factor", 0, 1, QUERN__TO_BOUND },
        { "threshold_factor", 0, 1, QUERN__TO_BOUND } } },
    { "RandomColorDegeneration",
      quern__degenerate,
      { { "factor", -1, 1, QUERN__MIRRORED } },
      .colours = 1 },
    { "RandomGaussianBlur",
      quern__blur,
      { { "factor", 0, 1, QUERN__TO_BOUND }, { "sigma", 0, 1, QUERN__TO_BOUND } },
      .copies = 1 },
    { "RandomErasing",
      quern__erase,
      { { "factor", 0, 1, QUERN__TO_BOUND }, { "scale", 0, 1, QUERN__TO_BOUND } } },
    { "AutoContrast", quern__auto_contrast, .always = true },
    { "Equalization", quern__equalize },
    { "RandomColorJitter", quern__jitter,
      .list = { "RandomBrightness", "RandomContrast", "RandomSaturation", "RandomHue" } },
    { "RandAugment",
      quern__rand_augment,
      { { "factor", 0, 1, QUERN__TO_BOUND } },
      .list = { "RandomShear", "RandomTranslation", "RandomRotation", "RandomBrightness",
                "RandomColorDegeneration", "RandomContrast", "RandomSharpness",
                "RandomPosterization", "Solarization", "AutoContrast", "Equalization" } },
    { "AugMix",
      quern__aug_mix,
      { { "factor", 0, 1, QUERN__TO_BOUND } },
      .copies = 2,
      .list = { "RandomShear", "RandomTranslation", "RandomRotation", "RandomPosterization",
                "Solarization", "AutoContrast", "Equalization", "RandomBrightness",
                "RandomColorDegeneration", "RandomContrast", "RandomSharpness" } },
};

/* The row of a name, which exists. */
static const quern__change *change_of(const char *name)
{
    size_t k = 0;
    while (strcmp(changes[k].name, name))
        k++;
    return &changes[k];
}

/* ---- configs ---- */

/* A factor is a number f or a range. */
static int take_factor(quern__augmentation *a, int k, json_t *v, const char *where,
                       quern_error *err)
{
    double low = a->change->factors[k].low, high = a->change->factors[k].high, *range = a->range[k];
    int style = a->change->factors[k].style;
    if (json_is_null(v) || !v) { /* as in Keras: 0, or the factor of the height */
        range[0] = range[1] = strcmp(a->change->factors[k].key, "width_factor") ? 0 : NAN;
        return QUERN_OK;
    }
    bool pair = json_array_size(v) == 2 && json_is_number(json_array_get(v, 0)) &&
                json_is_number(json_array_get(v, 1));
    double one = pair ? json_number_value(json_array_get(v, 0)) : json_number_value(v),
           two = json_number_value(json_array_get(v, 1));
    if (pair)
        range[0] = fmin(one, two);
    else if (style == QUERN__POINT)
        range[0] = one;
    else
        range[0] = style == QUERN__MIRRORED ? -fabs(one) : fmax(-fabs(one), low);
    range[1] = pair ? fmax(one, two) : fabs(one);
    bool fits =
        pair ? one <= high && two >= low && range[1] <= fmax(high, 1) && range[0] >= fmin(low, -1)
             : one >= low && one <= high;
    return fits && (pair || json_is_number(v)) && !(pair && style == QUERN__POINT)
               ? QUERN_OK
               : quern__fail(err, QUERN_INVALID, where,
                             "%s must be a number or a list of two, in %g … %g",
                             a->change->factors[k].key, low, high);
}

/* Reads value_range and fill_value. */
static int take_values(quern__augmentation *a, json_t *config, const char *where, quern_error *err)
{
    json_t *range = json_object_get(config, "value_range"),
           *fill = json_object_get(config, "fill_value"), *v;
    size_t k;
    double one = range ? json_number_value(json_array_get(range, 0)) : 0,
           two = range ? json_number_value(json_array_get(range, 1)) : 255;
    a->low = fmin(one, two);
    a->high = fmax(one, two);
    if (range && (json_array_size(range) != 2 || !(a->low < a->high)))
        return quern__fail(err, QUERN_INVALID, where, "value_range must be a list of two numbers");
    a->n_fill = json_is_number(fill);
    a->fill[0] = json_number_value(fill);
    if (json_is_array(fill) && (json_array_size(fill) != 3 || a->of.picture.channels != 3))
        return quern__fail(err, QUERN_INVALID, where,
                           "fill_value must be a number, or three for three channels");
    json_array_foreach(fill, k, v)
    {
        a->fill[k] = json_number_value(v);
        a->n_fill = 3;
    }
    return QUERN_OK;
}

/* The index of the word that a key has; 0: the key is missing, -1: it is another word. */
static int word_of(json_t *config, const char *key, const char *const *words, int n)
{
    const char *word = quern__config_text(config, key);
    if (word)
        for (int k = 0; k < n; k++)
            if (!strcmp(word, words[k]))
                return k;
    return word ? -1 : 0;
}

/* Reads interpolation, fill_mode and mode. */
static int take_words(quern__augmentation *a, json_t *config, const char *where, quern_error *err)
{
    static const char *const fills[] = { "constant", "nearest", "wrap", "reflect" },
                             *const ways[] = { "bilinear", "nearest" },
                             *const modes[] = { "", "horizontal", "vertical",
                                                "horizontal_and_vertical" };
    int way = word_of(config, "interpolation", ways, 2);
    a->fill_mode = word_of(config, "fill_mode", fills, 4);
    a->mode = word_of(config, "mode", modes, 4);
    a->nearest = way == 1;
    return way < 0 || a->fill_mode < 0 || a->mode < 0
               ? quern__fail(err, QUERN_INVALID, where, "%s is not a value that Keras has here",
                             way < 0       ? "interpolation"
                             : a->mode < 0 ? "mode"
                                           : "fill_mode")
               : QUERN_OK;
}

/* An integer of the config; `none` if it is missing. */
static int64_t whole_of(json_t *config, const char *key, int64_t none)
{
    json_t *v = json_object_get(config, key);
    return v ? json_integer_value(v) : none;
}

/* Reads kernel_size, bins and the numbers of composed augmentations, and checks their limits. */
static int take_sizes(quern__augmentation *a, json_t *config, const char *where, quern_error *err)
{
    json_t *kernel = json_object_get(config, "kernel_size");
    double side = (double)(a->of.picture.height < a->of.picture.width ? a->of.picture.height
                                                                      : a->of.picture.width);
    for (int k = 0; k < 2; k++) {
        a->kernel[k] =
            json_integer_value(json_is_array(kernel) ? json_array_get(kernel, (size_t)k) : kernel);
        if (kernel &&
            (a->kernel[k] < 1 || a->kernel[k] > QUERN__MOST_KERNEL || a->kernel[k] % 2 == 0))
            return quern__fail(err, QUERN_INVALID, where, "kernel_size must be odd, at most %d",
                               QUERN__MOST_KERNEL);
    }
    if (!strcmp(a->change->name, "RandomElasticTransform") &&
        6 * side * 0.05 * a->range[1][1] >= QUERN__MOST_CURVE)
        return quern__fail(err, QUERN_UNSUPPORTED, where,
                           "images of %g pixels are too large in this version", side);
    a->bins = whole_of(config, "bins", 256);
    a->chosen = whole_of(config, "num_ops", 2);
    a->chains = whole_of(config, "num_chains", 3);
    a->depth = whole_of(config, "chain_depth", 3);
    a->alpha = json_object_get(config, "alpha") ? quern__config_number(config, "alpha") : 1;
    if (a->bins < 2 || a->bins > QUERN__MOST_BINS || a->chosen < 0 || a->chosen > 64 ||
        a->chains < 1 || a->chains > 64 || a->depth < 0 || a->depth > 64 || !(a->alpha > 0))
        return quern__fail(err, QUERN_INVALID, where,
                           "bins, num_ops, num_chains, chain_depth or alpha is out of range");
    return QUERN_OK;
}

/* Frees an augmentation with its parts. */
static void augmentation_free(void *self)
{
    quern__augmentation *a = self;
    for (int k = 0; a && k < a->n_parts; k++)
        augmentation_free(a->parts[k]);
    quern__free(a);
}

static int take_parts(quern__augmentation *a, json_t *config, const char *where, quern_error *err);

/* An augmentation from its config; missing keys have Keras's defaults. Returns new. */
static quern__augmentation *augmentation_new(const quern__change *change, json_t *config,
                                             const quern__picture *picture, const char *where,
                                             quern_error *err)
{
    quern__augmentation *a = quern__zalloc(1, sizeof *a);
    int status = a ? QUERN_OK : quern__fail_memory(err, sizeof *a);
    if (!a)
        return NULL;
    *a = (quern__augmentation){ .of.picture = *picture, .change = change };
    if (change->colours && picture->channels != 3 && picture->channels != change->colours)
        status = quern__fail(err, QUERN_SHAPE, where,
                             "needs images with three channels: red, green, blue");
    for (int k = 0; k < 3 && change->factors[k].key && status >= 0; k++)
        status = take_factor(a, k, json_object_get(config, change->factors[k].key), where, err);
    if (status >= 0)
        status = take_values(a, config, where, err);
    if (status >= 0)
        status = take_words(a, config, where, err);
    if (status >= 0)
        status = take_sizes(a, config, where, err);
    a->each.scratch = change->copies * quern__picture_size(picture) +
                      (change->make == quern__equalize ? a->bins : 0);
    if (status >= 0)
        status = take_parts(a, config, where, err);
    if (status < 0) {
        augmentation_free(a);
        return NULL;
    }
    return a;
}

/* The config of part k: RandomColorJitter has a factor for each part (NULL: the part is off), other
 * layers one factor for all. */
static json_t *part_config(const quern__augmentation *a, json_t *config, int k)
{
    static const char *const own[] = { "brightness_factor", "contrast_factor", "saturation_factor",
                                       "hue_factor" };
    const quern__change *part = change_of(a->change->list[k]);
    json_t *out = json_object(), *range = json_object_get(config, "value_range"),
           *way = json_object_get(config, "interpolation");
    json_object_set(out, "value_range", range);
    if (part->copies && way)
        json_object_set(out, "interpolation", way);
    json_object_set_new(out, "fill_mode", json_string("reflect"));
    for (int i = 0; i < 3 && part->factors[i].key; i++)
        if (a->change->make == quern__jitter)
            json_object_set(out, part->factors[i].key, json_object_get(config, own[k]));
        else if (part->make == quern__posterize)
            json_object_set_new(out, "factor", json_real(fmax(1, floor(8 * a->range[0][1]))));
        else
            json_object_set_new(out, part->factors[i].key,
                                json_pack("[f,f]", a->range[0][0], a->range[0][1]));
    if (a->change->make == quern__jitter && json_is_null(json_object_get(out, "factor"))) {
        json_decref(out);
        return NULL;
    }
    return out;
}

static int take_parts(quern__augmentation *a, json_t *config, const char *where, quern_error *err)
{
    json_t *all = json_object_get(config, "all_ops");
    int64_t room = 0;
    int n = a->change->make == quern__aug_mix && json_is_false(all) ? 7 : QUERN__MOST_PARTS;
    for (int k = 0; k < n && a->change->list[k]; k++) {
        json_t *own = part_config(a, config, k);
        if (!own)
            continue;
        quern__augmentation *part =
            augmentation_new(change_of(a->change->list[k]), own, &a->of.picture, where, err);
        json_decref(own);
        if (!part)
            return QUERN_INVALID;
        a->parts[a->n_parts++] = part;
        room = part->each.scratch > room ? part->each.scratch : room;
    }
    a->each.scratch += room;
    return QUERN_OK;
}

/* ---- layers ---- */

/* Copies the record and changes the copy; called by the op on any thread. */
static void make_record(const void *self, quern__draws draws, const float *in, float *out,
                        float *scratch)
{
    const quern__augmentation *a = self;
    memcpy(out, in, (size_t)quern__picture_size(&a->of.picture) * sizeof *out);
    a->change->make(a, &draws, out, scratch);
}

/* An augmentation of a layer for images of one size. Returns new. */
static void *layer_augmentation(const quern__layer *l, const quern_shape *shape, quern_error *err)
{
    quern__picture picture = quern__picture_of(l, shape);
    quern__augmentation *a =
        augmentation_new(change_of(l->kind->name), l->config, &picture, l->name, err);
    if (a) {
        a->each.make = make_record;
        a->each.self = a;
        a->each.seed = quern__config_seed(l->config, l->seed);
    }
    return a;
}

static int augmentation_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    int status = quern__picture_check(l, in, n, err);
    if (status < 0)
        return status;
    l->object = layer_augmentation(l, in, err);
    return l->object ? QUERN_OK : err && err->code ? err->code : QUERN_INVALID;
}

static quern__id augmentation_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                   bool training)
{
    const quern__augmentation *a = l->object;
    (void)n;
    if (!training && !a->change->always)
        return in[0];
    quern__id x = quern__cast(g, in[0], QUERN_FLOAT32);
    a = quern__state_of_size(l, g, quern__shape_of(g, x), layer_augmentation);
    return a ? quern__each_record(g, x, &a->each, quern__shape_of(g, x)) : 0;
}

static void augmentation_drop(quern__layer *l)
{
    quern__states_of_sizes_free(l, augmentation_free);
}

#define F(NAME, KIND, FALLBACK)         \
    {                                   \
        NAME, QUERN__F_##KIND, FALLBACK \
    }
#define RANGE   F("value_range", ANY, "[0, 255]")
#define FORMAT  F("data_format", TEXT, "\"channels_last\"")
#define SEED    F("seed", INT, "null")
#define MODE    F("fill_mode", TEXT, "\"reflect\"")
#define WAY     F("interpolation", TEXT, "\"bilinear\"")
#define FILL    F("fill_value", NUMBER, "0.0")
#define FACTOR  F("factor", ANY, NULL)
#define CERTAIN F("factor", ANY, "1.0")

#define LAYER(ID, NAME, ...)                                              \
    static const quern__field ID##_fields[] = { __VA_ARGS__, { 0 } };     \
    const quern__class quern__layer_##ID = { .group = QUERN__LAYER,       \
                                             .name = NAME,                \
                                             .aliases = "",               \
                                             .module = "keras.layers",    \
                                             .fields = ID##_fields,       \
                                             .build = augmentation_build, \
                                             .call = augmentation_call,   \
                                             .destroy_state = augmentation_drop }
LAYER(random_flip, "RandomFlip", F("mode", TEXT, "\"horizontal_and_vertical\""), SEED, FORMAT);
LAYER(random_rotation, "RandomRotation", FACTOR, MODE, WAY, SEED, FILL, FORMAT);
LAYER(random_zoom, "RandomZoom", F("height_factor", ANY, NULL), F("width_factor", ANY, "null"),
      MODE, WAY, SEED, FILL, FORMAT);
LAYER(random_translation, "RandomTranslation", F("height_factor", ANY, NULL),
      F("width_factor", ANY, NULL), MODE, WAY, SEED, FILL, FORMAT);
LAYER(random_shear, "RandomShear", F("x_factor", ANY, "0.0"), F("y_factor", ANY, "0.0"), WAY, MODE,
      FILL, FORMAT, SEED);
LAYER(random_perspective, "RandomPerspective", CERTAIN, F("scale", ANY, "1.0"), WAY, FILL, SEED,
      FORMAT);
LAYER(random_elastic_transform, "RandomElasticTransform", CERTAIN, F("scale", ANY, "1.0"), WAY,
      MODE, FILL, RANGE, SEED, FORMAT);
LAYER(random_contrast, "RandomContrast", FACTOR, RANGE, SEED, FORMAT);
LAYER(random_brightness, "RandomBrightness", FACTOR, RANGE, SEED, FORMAT);
LAYER(random_hue, "RandomHue", FACTOR, RANGE, FORMAT, SEED);
LAYER(random_saturation, "RandomSaturation", FACTOR, RANGE, FORMAT, SEED);
LAYER(random_sharpness, "RandomSharpness", FACTOR, RANGE, FORMAT, SEED);
LAYER(random_grayscale, "RandomGrayscale", F("factor", ANY, "0.5"), FORMAT, SEED);
LAYER(random_invert, "RandomInvert", CERTAIN, RANGE, SEED, FORMAT);
LAYER(random_posterization, "RandomPosterization", FACTOR, RANGE, FORMAT, SEED);
LAYER(solarization, "Solarization", F("addition_factor", ANY, "0.0"),
      F("threshold_factor", ANY, "0.0"), RANGE, SEED, FORMAT);
LAYER(random_color_degeneration, "RandomColorDegeneration", FACTOR, RANGE, FORMAT, SEED);
LAYER(random_gaussian_blur, "RandomGaussianBlur", CERTAIN, F("kernel_size", ANY, "3"),
      F("sigma", ANY, "1.0"), RANGE, FORMAT, SEED);
LAYER(random_erasing, "RandomErasing", CERTAIN, F("scale", ANY, "[0.02, 0.33]"),
      F("fill_value", ANY, "null"), RANGE, SEED, FORMAT);
LAYER(auto_contrast, "AutoContrast", RANGE, FORMAT);
LAYER(equalization, "Equalization", RANGE, F("bins", INT, "256"), FORMAT);
LAYER(random_color_jitter, "RandomColorJitter", RANGE, F("brightness_factor", ANY, "null"),
      F("contrast_factor", ANY, "null"), F("saturation_factor", ANY, "null"),
      F("hue_factor", ANY, "null"), SEED, FORMAT);
LAYER(rand_augment, "RandAugment", RANGE, F("num_ops", INT, "2"), F("factor", ANY, "0.5"), WAY,
      SEED, FORMAT);
LAYER(aug_mix, "AugMix", RANGE, F("num_chains", INT, "3"), F("chain_depth", INT, "3"),
      F("factor", ANY, "0.3"), F("alpha", NUMBER, "1.0"), F("all_ops", BOOL, "true"), WAY, SEED,
      FORMAT);
