/* Models: compile per output, Keras's names of logs, constraints, schedules, values that are not
 * finite, the profile, the summary, the self-check. */
#include "check.h"
#include "tensors.h"

#include <math.h>
#include <pthread.h>
#include <quern/quern.h>

static quern_model *two_outputs(quern_error *err)
{
    quern_blueprint *b = quern_blueprint_new(3);
    int x = quern_input(b, "4 name=numbers"), h = quern_apply(b, "dense 8 tanh", x);
    int out[] = { quern_apply(b, "dense 1 name=price", h),
                  quern_apply(b, "dense 3 softmax name=kind", h) };
    quern_model *m = quern_model_new(b, &x, 1, out, 2, err);
    if (!m)
        fail_msg("%s: %s", err->where, err->text);
    return m;
}

static void check_names(const quern_model *m, const char *const *names)
{
    int n = 0;
    for (; names[n]; n++)
        assert_string_equal(quern_model_log_name(m, n), names[n]);
    assert_int_equal(quern_model_logs(m), n);
}

/* keras.src.trainers.compile_utils: a loss and metrics per output; names start with the name of the
 * output. */
static void logs_are_named_as_keras_names_them(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *m = two_outputs(&err);
    CHECK_OK(quern_compile(m, "sgd", "price:mse,kind:sparse_categorical_crossentropy",
                           "kind:accuracy,price:mae,price:rmse", &err),
             err);
    check_names(m, (const char *const[]){ "loss", "price_loss", "kind_loss", "price_mae",
                                          "price_rmse", "kind_accuracy", NULL });
    float x[8] = { 1, 2, 3, 4, 4, 3, 2, 1 }, price[2] = { 1, 2 };
    int32_t kind[2] = { 0, 2 };
    double logs[8];
    CHECK_OK(quern_test_on_batch(m, &FLOATS(x, 2, 4),
                                 (quern_tensor[]){ FLOATS(price, 2, 1), INTS(kind, 2) }, NULL, logs,
                                 &err),
             err);
    CHECK_NEAR(logs[0], logs[1] + logs[2], 1e-6, 0);
    CHECK_NEAR(logs[4] * logs[4], logs[1], 1e-5, 0); /* rmse of one output, and its mse */
    CHECK_OK(quern_compile(m, "sgd", "mse,sparse_categorical_crossentropy", "", &err), err);
    check_names(m, (const char *const[]){ "loss", "price_loss", "kind_loss", NULL });
    /* NULL keeps the present setting */
    quern_model_set_seed(m, 9);
    CHECK_OK(quern_compile(m, "adam", NULL, "price:mae", &err), err);
    CHECK_OK(quern_compile(m, NULL, NULL, NULL, &err), err);
    check_names(m, (const char *const[]){ "loss", "price_loss", "kind_loss", "price_mae", NULL });
    CHECK_NEAR(quern_model_learning_rate(m), 0.001, 1e-6, 0);
    const char *const wrong[][3] = {
        { "prise:mse", NULL, "no output is called 'prise'" },
        { "mse,mse,mse", NULL, "3 entries for 2 outputs" },
        { "price:mse,mse", NULL, "either all or none must have a name" },
        { "mse,sparse_categorical_crossentropy", "kid:mae", "no output is called 'kid'" },
        { "mse,sparse_categorical_crossentropy", "mean", "as a metric of targets" }
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        err = (quern_error){ 0 };
        assert_true(quern_compile(m, "sgd", wrong[i][0], wrong[i][1], &err) < 0);
        if (!strstr(err.text, wrong[i][2]))
            fail_msg("%s: %s", wrong[i][0], err.text);
    }
    quern_model_free(m);
}

static float xs[64 * 3], ys[64];

static quern_model *line(const char *pipeline, const char *optimizer)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec(pipeline, 1, &err);
    if (!m || quern_compile(m, optimizer, "mse", NULL, &err) < 0)
        fail_msg("%s: %s", err.where, err.text);
    for (int i = 0; i < 64 * 3; i++)
        xs[i] = (float)sin(i);
    for (int i = 0; i < 64; i++)
        ys[i] = 2 * xs[3 * i] - xs[3 * i + 1];
    return m;
}

static void train(quern_model *m, int steps)
{
    quern_error err = { 0 };
    double logs[4];
    for (int s = 0; s < steps; s++)
        CHECK_OK(quern_train_on_batch(m, &FLOATS(xs, 64, 3), &FLOATS(ys, 64), NULL, logs, &err),
                 err);
}

/* Objects in spec strings have positional arguments. The penalty of an output is factor * sum of
 * squares / batch size. */
static void penalties_are_added_to_the_loss(void **state)
{
    (void)state;
    quern_error err = { 0 };
    double plain[1], more[1], half[1];
    const float *out;
    quern_model *m[3] = { line("input 3 | dense 2 | dense 1", "sgd"),
                          line("input 3 | dense 2 | dense 1 activity_regularizer=l2(0.5)", "sgd"),
                          line("input 3 | dense 2 | dense 1 kernel_regularizer=l1_l2(0.0,0.25)",
                               "sgd") };
    for (int k = 0; k < 3; k++)
        CHECK_OK(quern_test_on_batch(m[k], &FLOATS(xs, 64, 3), &FLOATS(ys, 64), NULL,
                                     k == 0   ? plain
                                     : k == 1 ? more
                                              : half,
                                     &err),
                 err);
    CHECK_OK(quern_predict_on_batch(m[0], &FLOATS(xs, 64, 3), &out, &err), err);
    double squares = 0;
    for (int i = 0; i < 64; i++)
        squares += (double)out[i] * out[i];
    CHECK_NEAR(more[0] - plain[0], 0.5 * squares / 64, 1e-4, 1e-6);
    const float *w = quern_model_weight(m[2], 2, NULL).data;
    CHECK_NEAR(half[0] - plain[0], 0.25 * (w[0] * w[0] + w[1] * w[1]), 1e-4, 1e-6);
    assert_null(quern_model_from_spec("input 3 | normalization mean=(1,2,3) variance=1", 1, &err));
    quern_error empty = { 0 };
    assert_null(quern_model_from_spec(" ", 1, &empty));
    assert_int_equal(empty.code, QUERN_INVALID);
    assert_non_null(strstr(err.text, "must have the same shape"));
    for (int k = 0; k < 3; k++)
        quern_model_free(m[k]);
}

static void constraints_hold_after_each_step(void **state)
{
    (void)state;
    quern_model *m = line("input 3 | dense 1 kernel_constraint=non_neg", "sgd learning_rate=0.1");
    train(m, 60);
    const float *w = quern_model_weight(m, 0, NULL).data;
    if (!(w[0] > 0.5f && w[1] == 0 && w[2] >= 0))
        fail_msg("%g %g %g", (double)w[0], (double)w[1], (double)w[2]);
    quern_model_free(m);
    m = line("input 3 | dense 1 kernel_constraint=max_norm(0.5)", "adam learning_rate=0.1");
    train(m, 60);
    w = quern_model_weight(m, 0, NULL).data;
    CHECK_NEAR(sqrt(w[0] * w[0] + w[1] * w[1] + w[2] * w[2]), 0.5, 1e-5, 0);
    quern_model_free(m);
}

/* initial * rate^(steps / decay_steps) with the rate of each step: 0.5, 0.25, 0.125 */
static void schedules_set_the_rate_of_each_step(void **state)
{
    (void)state;
    quern_model *m =
        line("input 3 | dense 1",
             "sgd learning_rate=exponential_decay(0.5, decay_steps=1, decay_rate=0.5)");
    for (int s = 0; s < 3; s++) {
        train(m, 1);
        CHECK_NEAR(quern_model_learning_rate(m), 0.5 * pow(0.5, s), 1e-6, 0);
    }
    quern_model_free(m);
    quern_error err = { 0 };
    m = line("input 3 | dense 1", "sgd");
    assert_true(quern_compile(m, "sgd learning_rate=exponential_decai(0.5, 1, 0.5)", "mse", NULL,
                              &err) < 0);
    assert_string_equal(err.hint, "did you mean 'exponential_decay'?");
    quern_model_free(m);
}

/* P13: with `watch`, the error names the first value that is not finite with its layer and record.
 */
static void values_that_are_not_finite_are_named(void **state)
{
    (void)state;
    double logs[1];
    quern_error err = { 0 };
    quern_model *m = line("input 3 | dense 4 name=first | dense 1 exponential name=second", "sgd");
    xs[3 * 17] = NAN;
    assert_int_equal(quern_model_set_watch(m, 1), QUERN_OK);
    assert_int_equal(quern_train_on_batch(m, &FLOATS(xs, 64, 3), &FLOATS(ys, 64), NULL, logs, &err),
                     QUERN_NUMBER);
    assert_string_equal(err.where, "first");
    assert_non_null(strstr(err.text, "record 17 of the batch"));
    quern_model_set_watch(m, 0);
    quern_model_free(m);
}

static void steps_are_profiled(void **state)
{
    (void)state;
    quern_model *m = line("input 3 | dense 4 | dense 1", "adam");
    quern_model_set_profile(m, 1);
    train(m, 5);
    char *text = quern_model_profile(m);
    assert_non_null(strstr(text, "matmul"));
    assert_non_null(strstr(text, "adam"));
    assert_non_null(strstr(text, "5 steps, ")); /* every one of them */
    free(text);
    float x[6] = { 0 };
    const float *out;
    quern_error err = { 0 };
    quern_tensor t = { .dtype = QUERN_FLOAT32,
                       .shape = { .rank = 2, .dims = { 2, 3 } },
                       .data = x };
    CHECK_OK(quern_predict_on_batch(m, &t, &out, &err), err);
    text = quern_model_profile(m);
    assert_non_null(strstr(text, "1 steps, ")); /* of the prediction */
    assert_null(strstr(text, "adam"));
    free(text);
    quern_model_free(m);
}

static void summaries_list_the_layers(void **state)
{
    (void)state;
    quern_model *m = line("input 3 | dense 1000 | dense 1", "adam");
    char *text = quern_model_summary(m), *json = quern_model_summary_json(m);
    /* keras.Sequential([Input((3,)), Dense(1000), Dense(1)]).summary() */
    assert_non_null(strstr(
        text, "│ dense (Dense)                   │ (None, 1000)           │         4,000 │\n"));
    assert_non_null(
        strstr(text, " Total params: 5,001 (19.54 KB)\n Trainable params: 5,001 (19.54 KB)\n"));
    assert_non_null(strstr(
        json,
        "{\"name\":\"dense\",\"class\":\"Dense\",\"output_shape\":[null,1000],\"params\":4000}"));
    assert_non_null(strstr(json, "\"params\":5001,\"trainable\":5001}"));
    free(text);
    free(json);
    quern_model_free(m);
}

/* A metric with several results: their mean, as in Keras's progress bar, then each. The scores of
 * the three classes are 1, 4/5 and 0; the last record has weight 0. */
static void several_results_are_logged(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec("input 3 | activation linear", 1, &err);
    CHECK_OK(quern_compile(
                 m, "sgd", "mse",
                 "f1_score,precision thresholds=(0.3, 0.6),weighted recall,auc num_thresholds=3",
                 &err),
             err);
    check_names(m, (const char *const[]){ "loss", "f1_score", "f1_score[0]", "f1_score[1]",
                                          "f1_score[2]", "precision", "precision[0]",
                                          "precision[1]", "auc", "recall", NULL });
    float x[12] = { 1, 0, 0, 0, 1, 0, 0, 0.5F, 0.2F, 0, 0.25F, 0 },
          y[12] = { 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0 }, w[4] = { 1, 1, 1, 0 };
    double logs[10];
    CHECK_OK(quern_test_on_batch(m, &FLOATS(x, 4, 3), &FLOATS(y, 4, 3), &FLOATS(w, 4), logs, &err),
             err);
    CHECK_NEAR(logs[2], 1, 1e-6, 0);
    CHECK_NEAR(logs[3], 0.8, 1e-6, 0); /* two of three found, no false positives */
    CHECK_NEAR(logs[4], 0, 0, 1e-9);
    CHECK_NEAR(logs[1], (logs[2] + logs[3] + logs[4]) / 3, 1e-12, 0);
    CHECK_NEAR(logs[6], 2.0 / 3, 1e-12, 0); /* above 0.3: two truths and the 0.5 */
    CHECK_NEAR(logs[7], 1, 1e-12, 0);
    CHECK_NEAR(logs[9], 2.0 / 3, 1e-12, 0); /* of three weighted truths, two are above 0.5 */
    quern_model_free(m);
}

static void count_check(void *user, const char *check, int ok, const char *detail)
{
    if (!ok)
        fail_msg("%s: %s", check, detail);
    ++*(int *)user;
}

static void the_library_checks_itself(void **state)
{
    (void)state;
    int n = 0;
    assert_int_equal(quern_self_check(count_check, &n), QUERN_OK);
    assert_true(n >= 10);
}

/* A step with SpectralNormalization equals that of a plain layer with the kernel k / sigma, where
 * sigma is estimated from u (Miyato et al., 2018). */
static void normalised_kernels_are_trained(void **state)
{
    static float x[8 * 5], y[8 * 4];
    quern_error err = { 0 };
    double logs[1], v[5] = { 0 }, u[4] = { 0 }, sigma = 0, length = 0, fit[20];
    (void)state;
    for (int i = 0; i < 8 * 5; i++)
        x[i] = (float)sin(1.3 * i);
    for (int i = 0; i < 8 * 4; i++)
        y[i] = (float)cos(0.7 * i);
    quern_model *a = quern_model_from_spec("input 5 | spectral_normalization dense(4)", 3, &err),
                *b = quern_model_from_spec("input 5 | dense 4", 3, &err);
    if (!a || !b)
        fail_msg("%s: %s", err.where, err.text);
    float *k = quern_model_weight(a, 0, NULL).data, *before = quern_model_weight(a, 1, NULL).data;
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 4; j++)
            v[i] += (double)before[j] * k[4 * i + j];
    for (int i = 0; i < 5; i++)
        length += v[i] * v[i];
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 4; j++)
            u[j] += v[i] / sqrt(length) * k[4 * i + j];
    for (int j = 0; j < 4; j++)
        sigma += u[j] * u[j];
    for (int i = 0; i < 20; i++)
        fit[i] = k[i] / sqrt(sigma);
    for (int i = 0; i < 20; i++)
        ((float *)quern_model_weight(b, 0, NULL).data)[i] = (float)fit[i];
    for (int i = 0; i < 2; i++) {
        quern_model *m = i ? b : a;
        CHECK_OK(quern_compile(m, "sgd learning_rate=0.5", "mse", NULL, &err), err);
        CHECK_OK(quern_train_on_batch(m, &FLOATS(x, 8, 5), &FLOATS(y, 8, 4), NULL, logs, &err),
                 err);
    }
    const float *own = quern_model_weight(a, 0, NULL).data,
                *plain = quern_model_weight(b, 0, NULL).data;
    for (int i = 0; i < 20; i++) {
        assert_true(fabs((double)own[i] - plain[i]) < 1e-5);
        assert_true(fabs((double)plain[i] - fit[i]) > 0);
    }
    quern_model_free(a);
    quern_model_free(b);
}

static void *predict_image(void *user)
{
    static const float image[28 * 28];
    const float *out;
    quern_error *err = user;
    quern_model *m = quern_model_from_spec("input 28 28 1 | conv2d 8 3", 1, err);
    quern_predict_on_batch(m, &FLOATS(image, 1, 28, 28, 1), &out, err);
    quern_model_free(m);
    return NULL;
}

/* The kernel of a convolution may need 320 KiB of stack. */
static void a_stack_that_is_too_small_is_refused(void **state)
{
    quern_error err = { 0 };
    pthread_t thread;
    pthread_attr_t a;
    (void)state;
    assert_int_equal(pthread_attr_init(&a), 0);
    assert_int_equal(pthread_attr_setstacksize(&a, 256 << 10), 0);
    assert_int_equal(pthread_create(&thread, &a, predict_image, &err), 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&a);
    assert_int_equal(err.code, QUERN_UNSUPPORTED);
    assert_string_equal(err.where, "stack");
    assert_non_null(strstr(err.text, "the kernels need 393216"));
    assert_non_null(strstr(err.hint, "ulimit -s"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logs_are_named_as_keras_names_them),
        cmocka_unit_test(constraints_hold_after_each_step),
        cmocka_unit_test(penalties_are_added_to_the_loss),
        cmocka_unit_test(a_stack_that_is_too_small_is_refused),
        cmocka_unit_test(schedules_set_the_rate_of_each_step),
        cmocka_unit_test(normalised_kernels_are_trained),
        cmocka_unit_test(values_that_are_not_finite_are_named),
        cmocka_unit_test(steps_are_profiled),
        cmocka_unit_test(summaries_list_the_layers),
        cmocka_unit_test(several_results_are_logged),
        cmocka_unit_test(the_library_checks_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
