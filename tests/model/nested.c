/* Nested models made in C: shared weights, names, freezing, summaries. Conformance tests nested
 * models that Keras made. */
#include "check.h"
#include "tensors.h"

#include <quern/quern.h>

/* y = tower(a) - tower(b), where tower is dense 3 (linear), then dense 1. */
static quern_model *twins(void)
{
    quern_error err = { 0 };
    quern_model *tower = quern_model_from_spec(
        "input 2 | dense 3 name=wide kernel_regularizer=l2(0.5) | dense 1 name=thin", 3, &err);
    quern_blueprint *b = quern_blueprint_new(5);
    int in[2] = { quern_input(b, "2 name=a"), quern_input(b, "2 name=b") }, sides[2];
    sides[0] = quern_apply_model(b, tower, "tower", &in[0], 1);
    sides[1] = quern_apply_again(b, sides[0], &in[1], 1);
    int out = quern_apply_n(b, "subtract", sides, 2);
    quern_model *m = quern_model_new(b, in, 2, &out, 1, &err);
    if (!m || quern_compile(m, "sgd learning_rate=0.1", "mse", "", &err) < 0)
        fail_msg("%s: %s", err.where, err.text);
    return m;
}

static double step(quern_model *m)
{
    float a[4] = { 1, 2, 3, -1 }, b[4] = { 0, 1, 0.5f, 2 }, y[2] = { 1, -1 };
    double logs[4];
    quern_error err = { 0 };
    CHECK_OK(quern_train_on_batch(m, (quern_tensor[]){ FLOATS(a, 2, 2), FLOATS(b, 2, 2) },
                                  &FLOATS(y, 2), NULL, logs, &err),
             err);
    return logs[0];
}

static void set(quern_model *m)
{
    float wide[6] = { 1, 0, 2, -1, 1, 0.5f }, zeros[3] = { 0 }, thin[3] = { 1, -2, 0.5f };
    quern_error err = { 0 };
    quern_tensor own[4] = {
        { .dtype = QUERN_FLOAT32, .shape = { .rank = 2, .dims = { 2, 3 } }, .data = wide },
        { .dtype = QUERN_FLOAT32, .shape = { .rank = 1, .dims = { 3 } }, .data = zeros },
        { .dtype = QUERN_FLOAT32, .shape = { .rank = 2, .dims = { 3, 1 } }, .data = thin },
        { .dtype = QUERN_FLOAT32, .shape = { .rank = 1, .dims = { 1 } }, .data = zeros }
    };
    CHECK_OK(quern_model_set_weights(m, "tower/wide", own, 2, &err), err);
    CHECK_OK(quern_model_set_weights(m, "tower", own, 4, &err), err);
    assert_true(quern_model_set_weights(m, "tower/thin", own, 2, &err) == QUERN_SHAPE);
    assert_true(quern_model_set_weights(m, "tower/thin", own, 1, &(quern_error){ 0 }) < 0);
}

static void calls_share_their_weights(void **state)
{
    (void)state;
    quern_model *m = twins();
    quern_error err = { 0 };
    quern_tensor w[8];
    float a[2] = { 1, 2 }, b[2] = { 0, 1 };
    const float *y;
    const char *path;
    set(m);
    assert_int_equal(quern_model_weights(m), 4);
    assert_int_equal(quern_model_get_weights(m, "tower/thin", w, 8, &err), 2);
    assert_int_equal(w[0].shape.dims[0], 3);
    quern_model_weight(m, 1, &path);
    assert_string_equal(path, "tower/wide/bias");
    CHECK_OK(
        quern_predict_on_batch(m, (quern_tensor[]){ FLOATS(a, 1, 2), FLOATS(b, 1, 2) }, &y, &err),
        err);
    /* (a - b) wide thin = (1 1) (1 0 2; -1 1 0.5) = (0 1 2.5); times (1 -2 0.5) = -0.75 */
    CHECK_NEAR(y[0], -0.75, 1e-6, 0);
    /* The kernel's penalty counts once for two calls of the layer: 0.5 * (1 + 4 + 1 + 1 + 0.25).
     * The errors are those of (-0.75 - 1) and ((2.5 -3) wide thin - -1) = (5.5 -3 3.5) thin + 1
     * = 14.25. */
    CHECK_NEAR(step(m), 0.5 * 7.25 + (1.75 * 1.75 + 14.25 * 14.25) / 2, 1e-6, 0);
    assert_int_equal(quern_model_layers(m), 4);
    assert_string_equal(quern_model_layer(m, 2), "tower");
    assert_null(quern_model_layer(m, 4));
    quern_model_free(m);
}

static void frozen_weights_do_not_change(void **state)
{
    (void)state;
    quern_model *m = twins();
    quern_error err = { 0 };
    quern_tensor w[4];
    set(m);
    assert_int_equal(quern_model_trainable(m, "tower/wide", &err), 1);
    CHECK_OK(quern_model_set_trainable(m, "tower/wide", 0, &err), err);
    assert_int_equal(quern_model_trainable(m, "tower/wide", &err), 0);
    CHECK_NEAR(step(m), (1.75 * 1.75 + 14.25 * 14.25) / 2, 1e-6,
               0); /* frozen weights do not have a penalty */
    quern_model_get_weights(m, "tower", w, 4, &err);
    assert_true(((float *)w[0].data)[2] == 2.0f);
    assert_true(((float *)w[2].data)[0] != 1.0f);
    char *text = quern_model_summary(m),
         *told = quern_model_summary_with(
             m, &(quern_summary_opts){ .expand_nested = 1, .show_trainable = 1 });
    assert_non_null(
        strstr(text, " Trainable params: 4 (16.00 B)\n Non-trainable params: 9 (36.00 B)\n"));
    assert_null(strstr(text, "wide"));
    assert_non_null(strstr(told, "   └ wide"));
    free(text);
    free(told);
    CHECK_OK(quern_model_set_trainable(m, NULL, 1, &err), err);
    step(m);
    quern_model_get_weights(m, "tower/wide", w, 4, &err);
    assert_true(((float *)w[0].data)[2] != 2.0f);
    CHECK_OK(quern_model_set_trainable(m, "tower", 0, &err), err);
    assert_int_equal(quern_model_trainable(m, "tower/thin", &err), 0);
    assert_true(quern_model_set_trainable(m, "towel", 0, &err) == QUERN_NOTFOUND);
    assert_string_equal(err.hint, "did you mean 'tower'?");
    quern_model_free(m);
}

/* Compares the summary with Keras's output for the same file, byte by byte. */
static void summaries_are_those_of_keras(void **state)
{
    (void)state;
    quern_error err = { 0 };
    static char want[1 << 16];
    FILE *f = fopen(QUERN_TEST_DATA "/summary/nested_shared.txt", "rb");
    assert_non_null(f);
    want[fread(want, 1, sizeof want - 1, f)] = 0;
    fclose(f);
    quern_model *m =
        quern_model_open(QUERN_TEST_DATA "/keras/models/nested_shared/model.keras", &err);
    if (!m)
        fail_msg("%s: %s", err.where, err.text);
    char *deep = quern_model_summary_with(m, &(quern_summary_opts){ .expand_nested = 1 }),
         *told = quern_model_summary_with(
             m, &(quern_summary_opts){ .expand_nested = 1, .show_trainable = 1 });
    assert_memory_equal(deep, want, strlen(deep));
    assert_string_equal(told, want + strlen(deep));
    free(deep);
    free(told);
    quern_model_free(m);
}

static void shapes_must_fit(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *tower = quern_model_from_spec("input 2 | dense 3", 3, &err);
    quern_blueprint *b = quern_blueprint_new(5);
    int in = quern_input(b, "4");
    assert_int_equal(quern_apply_model(b, tower, NULL, &in, 1), -1);
    assert_int_equal(quern_apply_again(b, in, &in, 1), -1);
    assert_null(quern_model_new(b, &in, 1, &in, 1, &err));
    assert_string_equal(err.text, "input 0 has shape (None, 4), expected (None, 2)");
}

/* A language model with a nested model generates the same text as one without, step by step. */
static void nested_model_generates(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *line = quern_model_from_spec(
                    "input 6 | embedding 5 4 | lstm 3 sequences | dense 5 softmax", 3, &err),
                *body = quern_model_from_spec("input 6 4 | lstm 3 sequences | dense 5 softmax", 4,
                                              &err);
    quern_blueprint *b = quern_blueprint_new(5);
    int in = quern_input(b, "6"), table = quern_apply(b, "embedding 5 4", in),
        out = quern_apply_model(b, body, "body", &table, 1);
    quern_model *m = quern_model_new(b, &in, 1, &out, 1, &err);
    quern_tensor w[6];
    int32_t ids[4] = { 1, 4, 2, 0 };
    const float *want, *got;
    assert_non_null(m);
    assert_int_equal(quern_model_get_weights(line, NULL, w, 6, &err), 6);
    CHECK_OK(quern_model_set_weights(m, NULL, w, 6, &err), err);
    quern_decoder *a = quern_decoder_new(line, 1, 0, &err), *c = quern_decoder_new(m, 1, 0, &err);
    assert_true(a && c);
    assert_null(quern_decoder_blocking_layer(c));
    for (int i = 0; i < 4; i += 2) {
        CHECK_OK(quern_decoder_feed(a, ids + i, 2, &want, &err), err);
        CHECK_OK(quern_decoder_feed(c, ids + i, 2, &got, &err), err);
        for (int k = 0; k < 5; k++)
            CHECK_NEAR(got[k], want[k], 1e-6, 1e-7);
    }
    quern_decoder_free(a);
    quern_decoder_free(c);
    quern_model_free(line);
    quern_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_share_their_weights),
        cmocka_unit_test(frozen_weights_do_not_change),
        cmocka_unit_test(summaries_are_those_of_keras),
        cmocka_unit_test(shapes_must_fit),
        cmocka_unit_test(nested_model_generates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
