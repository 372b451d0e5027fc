/* Images of any size: augmentation and resizing layers, whose state depends on the size, train as
 * those of models with a fixed size. */
#include "check.h"

#include <math.h>
#include <quern/quern.h>
#include <stdlib.h>

enum { records = 4, channels = 3 };

#define REST                                                                   \
    " | random_flip | random_rotation 0.2 | random_crop 6 6 | resizing 9 7 | " \
    "up_sampling2d 2 interpolation=bilinear | conv2d 2 3 relu | "              \
    "global_average_pooling2d | dense 1"

static quern_model *compiled(const char *spec)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec(spec, 5, &err);
    if (!m || quern_compile(m, "sgd learning_rate=0.01", "mse", NULL, &err) < 0)
        fail_msg("%s: %s", err.where, err.text);
    return m;
}

static void steps_equal_those_of_fixed_sizes(void **state)
{
    static const int sizes[][2] = { { 12, 10 }, { 7, 16 }, { 12, 10 }, { 20, 20 } };
    quern_error err = { 0 };
    quern_model *open = compiled("input None None 3" REST);
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char spec[400];
        int h = sizes[i][0], w = sizes[i][1];
        snprintf(spec, sizeof spec, "input %d %d 3" REST, h, w);
        quern_model *fixed = compiled(spec);
        quern_tensor weights[8], others[8];
        int n = quern_model_get_weights(open, NULL, weights, 8, &err);
        CHECK_OK(quern_model_set_weights(fixed, NULL, weights, n, &err), err);
        float *x = malloc((size_t)(records * h * w * channels) * sizeof *x), y[records] = { 1, 2 };
        assert_non_null(x);
        for (int k = 0; k < records * h * w * channels; k++)
            x[k] = (float)(127 + 100 * sin(k * 0.3));
        quern_tensor image = { .dtype = QUERN_FLOAT32,
                               .shape = { .rank = 4, .dims = { records, h, w, channels } },
                               .data = x },
                     target = { .dtype = QUERN_FLOAT32,
                                .shape = { .rank = 2, .dims = { records, 1 } },
                                .data = y };
        double own, want;
        CHECK_OK(quern_train_on_batch(open, &image, &target, NULL, &own, &err), err);
        CHECK_OK(quern_train_on_batch(fixed, &image, &target, NULL, &want, &err), err);
        assert_true(own == want);
        quern_model_get_weights(open, NULL, weights, 8, &err);
        assert_int_equal(quern_model_get_weights(fixed, NULL, others, 8, &err), n);
        for (int k = 0; k < n; k++)
            assert_memory_equal(weights[k].data, others[k].data,
                                (size_t)quern_shape_count(&weights[k].shape) * sizeof(float));
        free(x);
        quern_model_free(fixed);
    }
    quern_model_free(open);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(steps_equal_those_of_fixed_sizes) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
