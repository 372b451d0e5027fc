/* Sample weights of outputs, one per record or one per time step, against the definition of a
 * weighted mean; their product with class weights; invalid weights are refused. */
#include "common.h"

enum { steps = 3, features = 2, classes = 2 };
static float x[records * steps * features], ya[records * steps * classes], yb[records],
    by_step[records * steps], by_record[records];
static const quern_tensor X = { .dtype = QUERN_FLOAT32,
                                .shape = { .rank = 3, .dims = { records, steps, features } },
                                .data = x };
static const quern_tensor Y[2] = {
    { .dtype = QUERN_FLOAT32,
      .shape = { .rank = 3, .dims = { records, steps, classes } },
      .data = ya },
    { .dtype = QUERN_FLOAT32, .shape = { .rank = 2, .dims = { records, 1 } }, .data = yb },
};

static quern_model *made(int outputs)
{
    quern_error err = { 0 };
    quern_blueprint *b = quern_blueprint_new(3);
    int in = quern_input(b, "3 2"), a = quern_apply(b, "dense 2 name=a", in);
    int c = quern_apply(b, "dense 1 name=c", quern_apply(b, "flatten", in));
    quern_model *m = quern_model_new(b, &in, 1, (int[]){ a, c }, outputs, &err);
    if (!m || quern_compile(m, "sgd learning_rate=0.01", "mse", NULL, &err) < 0)
        fail_msg("%s: %s", err.where, err.text);
    return m;
}

static void fill_all(void)
{
    for (int i = 0; i < records * steps * features; i++)
        x[i] = (float)sin(i * 1.3);
    for (int i = 0; i < records * steps * classes; i++)
        ya[i] = (float)cos(i * 0.7);
    for (int i = 0; i < records * steps; i++)
        by_step[i] = (float)(i % 5) / 2;
    for (int i = 0; i < records; i++) {
        yb[i] = (float)(i % 2);
        by_record[i] = (float)(i % 7) / 3;
    }
}

/* The sum of weighted squares divided by their number; `per` consecutive numbers share a weight. */
static double weighted(const float *y, const float *truth, const float *w, int n, int per)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += pow((double)y[i] - truth[i], 2) * w[i / per];
    return sum / n;
}

static void each_output_has_its_own(void **state)
{
    (void)state;
    static float pa[records * steps * classes], pb[records];
    quern_error err = { 0 };
    double logs[8];
    fill_all();
    quern_model *m = made(2);
    quern_tensor ws = { .dtype = QUERN_FLOAT32,
                        .shape = { .rank = 2, .dims = { records, steps } },
                        .data = by_step };
    quern_tensor wr = { .dtype = QUERN_FLOAT32,
                        .shape = { .rank = 1, .dims = { records } },
                        .data = by_record };
    assert_true(quern_predict(m, &X, 32, (float *[]){ pa, pb }, &err) == records);
    for (int way = 0; way < 3;
         way++) { /* each its own; the first alone; the first, and one array for all others */
        quern_generator *g = quern_array_generator(&X, 1, Y, 2, way == 2 ? by_record : NULL, &err);
        assert_int_equal(quern_array_generator_weights(g, 0, &ws, &err), QUERN_OK);
        if (way == 0)
            assert_int_equal(quern_array_generator_weights(g, 1, &wr, &err), QUERN_OK);
        if (quern_evaluate_generator(m, g, records, 0, logs, &err) < 0)
            fail_msg("%s: %s", err.where, err.text);
        static const float one = 1;
        CHECK_NEAR(logs[1], weighted(pa, ya, by_step, records * steps * classes, classes), 1e-5,
                   1e-7);
        CHECK_NEAR(logs[2],
                   weighted(pb, yb, way == 1 ? &one : by_record, records, way == 1 ? records : 1),
                   1e-5, 1e-7);
        CHECK_NEAR(logs[0], logs[1] + logs[2], 1e-5, 1e-7);
        quern_generator_free(g);
    }
    quern_model_free(m);
}

/* Weights by time step that are equal in all steps of a record train like a weight of the record;
 * also through the queue, and with class weights. */
static void equal_step_weights_equal_a_record_weight(void **state)
{
    (void)state;
    static float spread[records * steps];
    quern_error err = { 0 };
    fill_all();
    for (int i = 0; i < records * steps; i++)
        spread[i] = by_record[i / steps];
    quern_tensor w[2] = {
        { .dtype = QUERN_FLOAT32,
          .shape = { .rank = 2, .dims = { records, steps } },
          .data = spread },
        { .dtype = QUERN_FLOAT32, .shape = { .rank = 1, .dims = { records } }, .data = by_record }
    };
    for (int outputs = 1; outputs < 3; outputs++) {
        quern_model *m[2];
        quern_history *h[2];
        for (int way = 0; way < 2; way++) {
            m[way] = made(outputs);
            quern_generator *g =
                quern_array_generator(&X, 1, Y, outputs, way ? by_record : NULL, &err);
            for (int i = 0; i < outputs && !way; i++)
                assert_int_equal(quern_array_generator_weights(g, i, &w[i], &err), QUERN_OK);
            h[way] = fit(m[way], g,
                         (quern_fit_opts){ .epochs = 3,
                                           .batch_size = 16,
                                           .class_weight =
                                               outputs == 1 ? "0:1,1:4,2:1,3:1,4:1,5:1" : NULL });
            quern_generator_free(g);
        }
        check_same(m[0], m[1]);
        assert_true(quern_history_value(h[0], "loss", 2) == quern_history_value(h[1], "loss", 2));
        for (int way = 0; way < 2; way++) {
            quern_history_free(h[way]);
            quern_model_free(m[way]);
        }
    }
}

static void invalid_weights_are_refused(void **state)
{
    (void)state;
    quern_error err = { 0 };
    double logs[8];
    fill_all();
    quern_model *m = made(2);
    quern_generator *g = quern_array_generator(&X, 1, Y, 2, NULL, &err);
    quern_tensor two = { .dtype = QUERN_FLOAT32,
                         .shape = { .rank = 2, .dims = { records, 2 } },
                         .data = by_step };
    quern_tensor few = { .dtype = QUERN_FLOAT32,
                         .shape = { .rank = 1, .dims = { records - 1 } },
                         .data = by_record };
    assert_int_equal(quern_array_generator_weights(g, 2, &two, &err), QUERN_INVALID);
    err = (quern_error){ 0 };
    assert_int_equal(quern_array_generator_weights(g, 0, &few, &err), QUERN_SHAPE);
    err = (quern_error){ 0 };
    assert_int_equal(quern_array_generator_weights(g, 1, &two, &err), QUERN_OK);
    assert_true(quern_evaluate_generator(m, g, 32, 0, logs, &err) < 0);
    assert_non_null(strstr(err.text, "the model expects (None,)"));
    quern_generator_free(g);
    quern_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_output_has_its_own),
        cmocka_unit_test(equal_step_weights_equal_a_record_weight),
        cmocka_unit_test(invalid_weights_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
