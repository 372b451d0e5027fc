/* Layers with random numbers. The numbers depend on seed, epoch and record index only, for any
 * batch size; they have the right distribution; results are checked by definition, because Keras
 * uses other random numbers. */
#include "check.h"

#include "keras/layers/preprocessing/augmentation.h"
#include "step/step.h"

#include <math.h>
#include <quern/quern.h>
#include <string.h>

enum { records = 12, height = 6, width = 8, channels = 3, size = height * width * channels };

static float pictures[records * size], numbers[1 << 16];

static void fill(void)
{
    quern__random_key key = quern__random_key_of(5, QUERN__RANDOM_INIT, 0);
    for (int i = 0; i < records * size; i++)
        pictures[i] = (float)(255 * quern__random_uniform(key, 0, (uint64_t)i));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        numbers[i] = (float)quern__random_normal(key, 1, (uint64_t)i);
}

static quern__layer *layer(const char *words, const quern_shape *in)
{
    quern_error err = { 0 };
    json_t *config = NULL;
    const quern__class *row = quern__parse_spec(QUERN__LAYER, words, &config, &err);
    quern__layer *l = row ? quern__layer_new(row, config, &err) : NULL;
    if (!l || quern__layer_build(l, in, 1, 7, &err) < 0)
        fail_msg("%s: %s: %s", words, err.where, err.text);
    return l;
}

static int64_t numbers_of(const quern_shape *s)
{
    int64_t n = 1;
    for (int i = 1; i < s->rank; i++)
        n *= s->dims[i];
    return n;
}

/* Runs n records from index `first` of an epoch on. Returns the number of elements of a record. */
static int64_t run(quern__layer *l, const quern_shape *in, const float *x, int64_t first, int64_t n,
                   int64_t epoch, bool training, float *out)
{
    quern_error err = { 0 };
    quern__graph *g = quern__graph_new();
    quern__id leaf = quern__graph_batch(g, 0, QUERN_FLOAT32, in);
    quern__id y = quern__layer_call(l, g, &leaf, 1, &(quern__context){ .training = training });
    y = y ? quern__scale(g, y, 1) : 0;
    quern__plan *p = y ? quern__plan_new(g, &y, 1, n, &err) : NULL;
    if (!p)
        fail_msg("%s: %s %s", l->name, quern__graph_error(g)->text, err.text);
    int64_t per = numbers_of(quern__shape_of(g, y)), given = numbers_of(in);
    void *arena = quern__alloc_aligned((p->arena_bytes + 127) / 64 * 64, 64),
         *arrays[1] = { (void *)(uintptr_t)(x + first * given) };
    quern__team *team = quern__team_new(2, &err);
    quern__step_run r = {
        .arena = arena, .arrays = arrays, .records = n, .first = first, .epoch = epoch, .seed = 3
    };
    CHECK_OK(quern__step(team, p, &r, &err), err);
    memcpy(out, quern__plan_address(p, y, arena, arrays), (size_t)(n * per) * sizeof *out);
    quern__team_free(team);
    quern__free_aligned(arena);
    quern__plan_free(p);
    quern__graph_free(g);
    return per;
}

static const quern_shape picture = { .rank = 4, .dims = { -1, height, width, channels } };

/* ---- counters ---- */

static void random_numbers_depend_on_the_record(void **state)
{
    static const char *const words[] = { "gaussian_noise 0.5",
                                         "gaussian_dropout 0.3",
                                         "alpha_dropout 0.4",
                                         "spatial_dropout2d 0.5",
                                         "random_flip",
                                         "random_rotation 0.2",
                                         "random_zoom 0.3",
                                         "random_translation 0.3 0.2",
                                         "random_crop 3 4",
                                         "random_contrast 0.5",
                                         "random_brightness 0.3",
                                         "random_shear 0.3 0.2",
                                         "random_perspective 0.9",
                                         "random_elastic_transform 0.9",
                                         "random_hue 0.5",
                                         "random_saturation 0.5",
                                         "random_sharpness 0.5",
                                         "random_grayscale 0.5",
                                         "random_invert 0.9",
                                         "random_posterization 5",
                                         "solarization 0.4 0.4",
                                         "random_color_degeneration 0.5",
                                         "random_gaussian_blur 0.9",
                                         "random_erasing 0.9",
                                         "random_color_jitter brightness_factor=0.2 hue_factor=0.2",
                                         "rand_augment",
                                         "aug_mix" };
    static float whole[records * size], part[records * size], later[records * size];
    (void)state;
    fill();
    for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
        quern__layer *l = layer(words[k], &picture);
        int64_t per = run(l, &picture, pictures, 0, records, 2, true, whole);
        for (int64_t at = 0; at < records; at += 5)
            run(l, &picture, pictures, at, records - at < 5 ? records - at : 5, 2, true,
                part + at * per);
        assert_memory_equal(whole, part, (size_t)(records * per) * sizeof *whole);
        run(l, &picture, pictures, 0, records, 3, true, later);
        if (!memcmp(whole, later, (size_t)(records * per) * sizeof *whole))
            fail_msg("%s: another epoch draws the same", words[k]);
        for (int64_t i = 0; i < records * per; i++)
            if (!isfinite(whole[i]))
                fail_msg("%s: number %lld is %g", words[k], (long long)i, (double)whole[i]);
        if (per == size && run(l, &picture, pictures, 0, records, 2, false, later) == size)
            assert_memory_equal(later, pictures, sizeof pictures);
        quern__layer_free(l);
    }
}

/* ---- distributions ---- */

static void moments(const float *x, int64_t n, double *mean, double *deviation)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i];
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        squares += ((double)x[i] - *mean) * ((double)x[i] - *mean);
    *deviation = sqrt(squares / (double)n);
}

/* For 2^16 numbers: the mean is off by less than 0.02, the deviation by less than 2 %. */
static void noise_has_its_moments(void **state)
{
    enum { n = 1 << 16 };
    static float out[n], ones[n];
    const quern_shape flat = { .rank = 2, .dims = { -1, 64 } };
    double mean, deviation;
    (void)state;
    fill();
    for (int i = 0; i < n; i++)
        ones[i] = 1;
    quern__layer *l = layer("gaussian_noise 0.5", &flat);
    run(l, &flat, ones, 0, n / 64, 0, true, out);
    moments(out, n, &mean, &deviation);
    CHECK_NEAR(mean, 1, 0, 0.02);
    CHECK_NEAR(deviation, 0.5, 0, 0.01);
    quern__layer_free(l);
    l = layer("gaussian_dropout 0.2", &flat);
    run(l, &flat, ones, 0, n / 64, 0, true, out);
    moments(out, n, &mean, &deviation);
    CHECK_NEAR(mean, 1, 0, 0.02);
    CHECK_NEAR(deviation, 0.5, 0, 0.01); /* sqrt(0.2 / 0.8) */
    quern__layer_free(l);
    /* standard normal numbers keep mean and deviation; a fraction of 0.3 has the same value */
    l = layer("alpha_dropout 0.3", &flat);
    run(l, &flat, numbers, 0, n / 64, 0, true, out);
    moments(out, n, &mean, &deviation);
    CHECK_NEAR(mean, 0, 0, 0.02);
    CHECK_NEAR(deviation, 1, 0, 0.02);
    int64_t same = 0;
    const double least = -1.7580993408473766, a = 1 / sqrt(0.7 * (1 + 0.3 * least * least));
    for (int i = 0; i < n; i++)
        same += fabs((double)out[i] - (a * least - a * least * 0.3)) < 1e-5;
    CHECK_NEAR((double)same / n, 0.3, 0, 0.01);
    quern__layer_free(l);
}

/* `count` images of one pixel, so that the factor or term of a layer is visible. */
static void level_of(const char *words, float value, float *out, int count)
{
    const quern_shape dot = { .rank = 4, .dims = { -1, 1, 1, 1 } };
    static float in[4096];
    for (int i = 0; i < count; i++)
        in[i] = value;
    quern__layer *l = layer(words, &dot);
    run(l, &dot, in, 0, count, 0, true, out);
    quern__layer_free(l);
}

static void factors_are_uniform(void **state)
{
    enum { n = 4096 };
    static float out[n];
    double mean, deviation;
    (void)state;
    level_of("random_brightness 0.2", 100, out, n); /* 100 + 255 · uniform(-0.2, 0.2) */
    moments(out, n, &mean, &deviation);
    CHECK_NEAR(mean, 100, 0, 2);
    CHECK_NEAR(deviation, 102 / sqrt(12), 0, 1.5);
    level_of("random_invert", 55, out,
             n); /* the probability is uniform itself, so half of them change */
    moments(out, n, &mean, &deviation);
    CHECK_NEAR(mean, (55 + 200) / 2.0, 0, 4);
    level_of("random_grayscale 0.5", 55, out, n);
    for (int i = 0; i < n; i++)
        assert_true(out[i] == 55);                   /* a single channel is gray already */
    level_of("random_posterization 4", 255, out, n); /* 1, 2 or 3 bits remain: 128, 192, 224 */
    moments(out, n, &mean, &deviation);
    CHECK_NEAR(mean, (128 + 192 + 224) / 3.0, 0, 3);
    level_of("solarization 0.4", 10, out, n); /* 255 - (10 + uniform(0, 102)): the threshold is 0 */
    moments(out, n, &mean, &deviation);
    CHECK_NEAR(mean, 245 - 51, 0, 2);
}

/* ---- by definition ---- */

static float at(const float *p, int y, int x, int c) { return p[(y * width + x) * channels + c]; }

static void flips_are_one_of_two(void **state)
{
    static const char *const modes[] = { "horizontal", "vertical", "horizontal_and_vertical" };
    static float out[records * size];
    (void)state;
    fill();
    for (int mode = 0; mode < 3; mode++) {
        char words[64];
        int flipped = 0;
        snprintf(words, sizeof words, "random_flip %s", modes[mode]);
        quern__layer *l = layer(words, &picture);
        run(l, &picture, pictures, 0, records, 0, true, out);
        for (int r = 0; r < records; r++) {
            const float *from = pictures + r * size, *to = out + r * size;
            bool flips = memcmp(from, to, size * sizeof *to) != 0;
            flipped += flips;
            for (int i = 0; i < height * width * channels && flips; i++) {
                int y = i / channels / width, x = i / channels % width, c = i % channels;
                assert_true(at(to, y, x, c) ==
                            at(from, mode ? height - 1 - y : y, mode != 1 ? width - 1 - x : x, c));
            }
        }
        assert_in_range(flipped, 1, records - 1);
        quern__layer_free(l);
    }
}

static void crops_are_parts(void **state)
{
    static float out[records * size];
    int met = 0;
    (void)state;
    fill();
    quern__layer *l = layer("random_crop 3 4", &picture);
    assert_int_equal(run(l, &picture, pictures, 0, records, 0, true, out), 3 * 4 * channels);
    for (int r = 0; r < records; r++) {
        bool found = false;
        for (int place = 0; place < 4 * 5 && !found; place++) {
            found = true;
            for (int i = 0; i < 3 * 4 * channels; i++)
                found = found && out[r * 36 + i] == at(pictures + r * size, place / 5 + i / 12,
                                                       place % 5 + i / 3 % 4, i % 3);
            met |= found << place;
        }
        assert_true(found);
    }
    assert_true(__builtin_popcount((unsigned)met) > 4);
    quern__layer_free(l);
}

/* A shear moves a row by the factor times its index in either direction; with factor 1, by whole
 * pixels. */
static void shears_go_both_ways(void **state)
{
    static float out[records * size];
    int signs = 0;
    (void)state;
    fill();
    quern__layer *l = layer("random_shear (1,1) 0 fill_mode=constant fill_value=7", &picture);
    run(l, &picture, pictures, 0, records, 0, true, out);
    for (int r = 0; r < records; r++)
        for (int sign = -1; sign <= 1; sign += 2) {
            bool same = true;
            for (int i = 0; i < size; i++) {
                int y = i / channels / width, x = i / channels % width + sign * y;
                float want = x < 0 || x >= width ? 7 : at(pictures + r * size, y, x, i % channels);
                same = same && fabsf(out[r * size + i] - want) < 1e-3f;
            }
            signs |= same << (sign + 1);
        }
    assert_int_equal(signs, 5);
    quern__layer_free(l);
}

/* Erases a rectangle whose sides are about half of the image's, with one value per channel. */
static void erasing_fills_a_rectangle(void **state)
{
    static float out[records * size];
    (void)state;
    fill();
    quern__layer *l = layer("random_erasing (1,1) scale=(0.25,0.25) fill_value=(1,2,3)", &picture);
    run(l, &picture, pictures, 0, records, 0, true, out);
    for (int r = 0; r < records; r++) {
        int top = height, left = width, bottom = -1, right = -1, n = 0;
        for (int i = 0; i < height * width; i++) {
            const float *p = out + (r * height * width + i) * channels;
            if (p[0] == 1 && p[1] == 2 && p[2] == 3) {
                int y = i / width, x = i % width;
                top = y < top ? y : top;
                left = x < left ? x : left;
                bottom = y > bottom ? y : bottom;
                right = x > right ? x : right;
                n++;
            } else
                assert_memory_equal(p, pictures + (r * height * width + i) * channels,
                                    channels * sizeof *p);
        }
        assert_int_equal(n, (bottom - top + 1) * (right - left + 1));
        assert_int_equal(bottom - top + 1, height / 2);
        assert_int_equal(right - left + 1, width / 2);
    }
    quern__layer_free(l);
}

/* The projection maps the corners back to their origin. */
static void perspective_maps_corners(void **state)
{
    const double start[4][2] = { { 0, 0 }, { 7, 0 }, { 0, 5 }, { 7, 5 } },
                 end[4][2] = { { 0, 0 }, { 6.1, 0.4 }, { -0.3, 4.2 }, { 8, 6 } };
    const double flat[4][2] = { { 0, 0 }, { 1, 0 }, { 2, 0 }, { 3, 0 } };
    double t[8];
    (void)state;
    assert_true(quern__homography(start, end, t));
    for (int k = 0; k < 4; k++) {
        double depth = t[6] * end[k][0] + t[7] * end[k][1] + 1;
        CHECK_NEAR((t[0] * end[k][0] + t[1] * end[k][1] + t[2]) / depth, start[k][0], 0, 1e-9);
        CHECK_NEAR((t[3] * end[k][0] + t[4] * end[k][1] + t[5]) / depth, start[k][1], 0, 1e-9);
    }
    assert_false(quern__homography(start, flat, t));
}

/* NaN and values outside of the value range do not cause accesses outside of tables and images. */
static void numbers_out_of_range_are_safe(void **state)
{
    static const char *const words[] = { "equalization",
                                         "auto_contrast",
                                         "random_posterization 5",
                                         "random_hue 0.5",
                                         "rand_augment num_ops=9",
                                         "random_perspective 1",
                                         "random_elastic_transform 1" };
    static const float wild[] = { NAN, INFINITY, -INFINITY, 1e38f, -1e38f, 1e-40f };
    static float out[records * size];
    (void)state;
    for (int i = 0; i < records * size; i++)
        pictures[i] = wild[i % 6];
    for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
        quern__layer *l = layer(words[k], &picture);
        assert_int_equal(run(l, &picture, pictures, 0, records, 0, true, out), size);
        quern__layer_free(l);
    }
}

/* ---- invalid arguments ---- */

static void invalid_arguments_are_refused(void **state)
{
    static const char *const words[] = { "random_rotation 2",
                                         "random_zoom (0.1,0.2,0.3)",
                                         "random_flip sideways",
                                         "random_contrast -0.1",
                                         "random_gaussian_blur 1 4",
                                         "random_brightness 0.1 value_range=(1,1)",
                                         "random_rotation 0.1 fill_mode=mirror",
                                         "equalization bins=1",
                                         "random_posterization 9",
                                         "resizing 0 3",
                                         "resizing 3 3 cubic",
                                         "resizing 3 3 fill_mode=reflect",
                                         "random_erasing fill_value=(1,2)",
                                         "gaussian_dropout 1",
                                         "gaussian_noise 1.5",
                                         "aug_mix alpha=0" };
    const quern_shape two = { .rank = 4, .dims = { -1, height, width, 2 } },
                      flat = { .rank = 2, .dims = { -1, 4 } };
    (void)state;
    for (size_t k = 0; k < sizeof words / sizeof *words + 2; k++) {
        quern_error err = { 0 };
        json_t *config = NULL;
        const char *own = k < sizeof words / sizeof *words ? words[k] : "random_hue 0.1";
        const quern__class *row = quern__parse_spec(QUERN__LAYER, own, &config, &err);
        quern__layer *l = row ? quern__layer_new(row, config, &err) : NULL;
        const quern_shape *in = k < sizeof words / sizeof *words    ? &picture
                                : k == sizeof words / sizeof *words ? &two
                                                                    : &flat;
        if (l && quern__layer_build(l, in, 1, 7, &err) >= 0)
            fail_msg("%s is taken", own);
        assert_true(*err.text && !strstr(err.text, "at character"));
        quern__layer_free(l);
    }
}

/* A trained layer before the op would need its gradient, which is an error. */
static void no_gradient_is_an_error(void **state)
{
    quern_error err = { 0 };
    (void)state;
    quern_model *m =
        quern_model_from_spec("input 4 4 1 | dense 1 | random_flip | flatten | dense 1", 0, &err);
    assert_non_null(m);
    int status = quern_compile(m, "sgd", "mse", NULL, &err);
    float x[16] = { 0 }, y[1] = { 0 };
    quern_tensor tx = { .dtype = QUERN_FLOAT32,
                        .shape = { .rank = 4, .dims = { 1, 4, 4, 1 } },
                        .data = x },
                 ty = { .dtype = QUERN_FLOAT32,
                        .shape = { .rank = 2, .dims = { 1, 1 } },
                        .data = y };
    quern_history *h =
        status < 0 ? NULL : quern_fit(m, &tx, &ty, NULL, &(quern_fit_opts){ .epochs = 1 }, &err);
    assert_null(h);
    assert_non_null(strstr(err.text, "has no gradient"));
    quern_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_numbers_depend_on_the_record),
        cmocka_unit_test(noise_has_its_moments),
        cmocka_unit_test(factors_are_uniform),
        cmocka_unit_test(flips_are_one_of_two),
        cmocka_unit_test(crops_are_parts),
        cmocka_unit_test(shears_go_both_ways),
        cmocka_unit_test(erasing_fills_a_rectangle),
        cmocka_unit_test(perspective_maps_corners),
        cmocka_unit_test(numbers_out_of_range_are_safe),
        cmocka_unit_test(invalid_arguments_are_refused),
        cmocka_unit_test(no_gradient_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
