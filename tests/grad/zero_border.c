/* ZeroPadding before a convolution: the border becomes padding of the convolution, so the results
 * are those of a convolution that pads itself, and no copy of the image is made. */
#include "check.h"

#include <math.h>
#include <quern/quern.h>
#include <stdbool.h>
#include <stdlib.h>

enum { records = 3, size = 8, channels = 2 };

static quern_model *model_of(const char *spec)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec(spec, 4, &err);
    if (!m || quern_compile(m, "sgd learning_rate=0.1", "mse", NULL, &err) < 0)
        fail_msg("%s: %s", err.where, err.text);
    return m;
}

static void images(float *x, int n)
{
    for (int i = 0; i < n; i++)
        x[i] = (float)cos(i * 1.3);
}

/* Gives both models the same weights and runs predictions and one step of training. */
static void compare(const char *padded, const char *pads_itself, bool trains)
{
    quern_error err = { 0 };
    quern_model *a = model_of(padded), *b = model_of(pads_itself);
    static float x[records * size * size * channels], y[records];
    quern_tensor w[8], v[8];
    int n = quern_model_get_weights(a, NULL, w, 8, &err);
    CHECK_OK(quern_model_set_weights(b, NULL, w, n, &err), err);
    images(x, records * size * size * channels);
    quern_tensor image = { .dtype = QUERN_FLOAT32,
                           .shape = { .rank = 4, .dims = { records, size, size, channels } },
                           .data = x },
                 target = { .dtype = QUERN_FLOAT32,
                            .shape = { .rank = 2, .dims = { records, 1 } },
                            .data = y };
    const float *one, *other;
    float kept[records];
    CHECK_OK(quern_predict_on_batch(a, &image, &one, &err), err);
    memcpy(kept, one, sizeof kept);
    CHECK_OK(quern_predict_on_batch(b, &image, &other, &err), err);
    assert_memory_equal(kept, other, sizeof kept);
    if (trains) {
        CHECK_OK(quern_train_on_batch(a, &image, &target, NULL, NULL, &err), err);
        CHECK_OK(quern_train_on_batch(b, &image, &target, NULL, NULL, &err), err);
        quern_model_get_weights(a, NULL, w, 8, &err);
        quern_model_get_weights(b, NULL, v, 8, &err);
        for (int i = 0; i < n; i++)
            for (int64_t k = 0; k < quern_shape_count(&w[i].shape); k++)
                CHECK_NEAR(((float *)w[i].data)[k], ((float *)v[i].data)[k], 1e-6, 1e-7);
    }
    quern_model_free(a);
    quern_model_free(b);
}

static void a_border_becomes_padding(void **state)
{
    (void)state;
    compare("input 8 8 2 | zero_padding2d 1 | conv2d 4 3 | flatten | dense 1",
            "input 8 8 2 | conv2d 4 3 same | flatten | dense 1", true);
    compare("input 8 8 2 | zero_padding2d 2 | conv2d 4 3 dilation_rate=2 | flatten | dense 1",
            "input 8 8 2 | conv2d 4 3 same dilation_rate=2 | flatten | dense 1", true);
    compare("input 8 8 2 | zero_padding2d 1 | depthwise_conv2d 3 | flatten | dense 1",
            "input 8 8 2 | depthwise_conv2d 3 same | flatten | dense 1", true);
    /* "same" with stride 2 and an even size pads at the end only */
    compare("input 8 8 2 | zero_padding2d ((0,1),(0,1)) | conv2d 4 3 strides=2 | flatten | dense 1",
            "input 8 8 2 | conv2d 4 3 strides=2 same | flatten | dense 1", true);
    /* after another convolution, whose gradient goes through the border */
    compare(
        "input 8 8 2 | conv2d 3 3 same relu | zero_padding2d 1 | conv2d 4 3 | flatten | dense 1",
        "input 8 8 2 | conv2d 3 3 same relu | conv2d 4 3 same | flatten | dense 1", true);
}

/* The plan does not copy the padded image. */
static void no_copy_is_made(void **state)
{
    quern_error err = { 0 };
    quern_model *m = model_of("input 8 8 2 | zero_padding2d 1 | conv2d 4 3 | flatten | dense 1");
    static float x[records * size * size * channels];
    quern_tensor image = { .dtype = QUERN_FLOAT32,
                           .shape = { .rank = 4, .dims = { records, size, size, channels } },
                           .data = x };
    const float *out;
    (void)state;
    quern_model_set_profile(m, 1);
    CHECK_OK(quern_predict_on_batch(m, &image, &out, &err), err);
    char *text = quern_model_profile(m);
    assert_non_null(strstr(text, "convolve"));
    assert_null(strstr(text, "concat"));
    free(text);
    quern_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_border_becomes_padding),
                                        cmocka_unit_test(no_copy_is_made) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
