/* The arena of a prediction: a chain of large values needs few of them at a time, so the arena is
 * near its lower bound, and results have the bits of the fast schedule. */
#include "check.h"

#include <math.h>
#include <quern/quern.h>
#include <stdbool.h>
#include <stdlib.h>

#include "model/model.h"

enum { side = 64, channels = 16, most = 32 };

static quern_model *chain(void)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec(
        "input 64 64 16 | conv2d 16 3 same | batch_normalization | activation relu | "
        "conv2d 16 3 same | batch_normalization | activation relu | conv2d 16 3 same | "
        "batch_normalization | activation relu | conv2d 16 3 same | batch_normalization | "
        "activation relu | conv2d 16 3 same | batch_normalization | activation relu | "
        "global_average_pooling2d | dense 3 softmax",
        1, &err);
    if (!m)
        fail_msg("%s: %s", err.where, err.text);
    return m;
}

static void a_chain_of_images_needs_few_at_a_time(void **state)
{
    quern_error err = { 0 };
    quern_model *m = chain();
    size_t image = (size_t)most * side * side * channels * sizeof(float);
    (void)state;
    CHECK_OK(quern__model_plan(m, QUERN__PREDICT, most, NULL, &err), err);
    quern__plan_size size = quern__model_plan_size(m, QUERN__PREDICT);
    assert_true(size.arena <= size.lower_bound + size.lower_bound / 10);
    assert_true(size.arena < 3 * image);
    quern_model_free(m);
}

/* Batches of 1 use the fast schedule, batches of 32 the low-memory schedule. */
static void both_schedules_give_the_same_bits(void **state)
{
    quern_error err = { 0 };
    quern_model *m = chain();
    int64_t per = (int64_t)side * side * channels;
    float *x = malloc((size_t)(most * per) * sizeof *x), all[most * 3];
    const float *out;
    (void)state;
    assert_non_null(x);
    for (int64_t i = 0; i < most * per; i++)
        x[i] = (float)sin((double)i);
    quern_tensor t = { .dtype = QUERN_FLOAT32,
                       .shape = { .rank = 4, .dims = { 1, side, side, channels } },
                       .data = x };
    for (int i = 0; i < most; i++) {
        t.data = x + i * per;
        CHECK_OK(quern_predict_on_batch(m, &t, &out, &err), err);
        memcpy(all + (size_t)i * 3, out, 3 * sizeof *all);
    }
    t.data = x;
    t.shape.dims[0] = most;
    CHECK_OK(quern_predict_on_batch(m, &t, &out, &err), err);
    assert_memory_equal(all, out, sizeof all);
    free(x);
    quern_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_chain_of_images_needs_few_at_a_time),
                                        cmocka_unit_test(both_schedules_give_the_same_bits) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
