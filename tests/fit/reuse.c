/* An error struct can be reused, its code is the return value of functions, and a hook cannot
 * change the model of its run. */
#include "check.h"

#include <quern/quern.h>
#include <stdbool.h>

static float x[64];
static int32_t y[64];
static const float *outputs[4];
static double logs[8];
static quern_tensor array = { .dtype = QUERN_FLOAT32,
                              .shape = { .rank = 2, .dims = { 8, 4 } },
                              .data = x },
                    labels = { .dtype = QUERN_INT32,
                               .shape = { .rank = 2, .dims = { 8, 1 } },
                               .data = y };

static quern_model *fresh(void)
{
    return quern_model_from_spec("input 4 | dense 3 relu | dense 2 softmax", 1, NULL);
}

static quern_model *ready(void)
{
    quern_model *m = fresh();
    quern_compile(m, "adam", "sparse_categorical_crossentropy", "accuracy", NULL);
    return m;
}

/* ---- reuse of an error ---- */

static void an_error_can_be_reused(void **state)
{
    quern_error err;
    (void)state;
    memset(&err, 0x55, sizeof err);
    assert_null(quern_model_from_spec("input 2 | nonsense", 1, &err));
    assert_int_equal(err.code, QUERN_NOTFOUND);
    assert_null(quern_model_open("not/there.keras", &err)); /* the later failure is reported */
    assert_string_equal(err.where, "not/there.keras");
    quern_model *m = fresh();
    assert_int_equal(quern_compile(m, "sgd", "sparse_categorical_crossentropy", NULL, &err),
                     QUERN_OK);
    assert_int_equal(err.code, QUERN_OK); /* a success resets the error */
    assert_string_equal(err.text, "");
    quern_compile(m, "nonsense", NULL, NULL, &err);
    quern_error_clear(&err);
    assert_true(!err.code && !err.step && !*err.where && !*err.text && !*err.hint);
    quern_error_clear(NULL);
    quern_model_free(m);
}

/* The return value is the error's code, also without an error struct; `where` is the caller's
 * path. */
static void the_status_equals_the_error_code(void **state)
{
    static const char *const paths[] = { "no/such/m.keras", "no/such/m.h5", "no/such/m.weights.h5",
                                         "no/such/m.npz", "no/such/m.safetensors" };
    quern_model *m = ready();
    quern_error err;
    (void)state;
    for (int i = 0; i < 5; i++) {
        int status = i < 2 ? quern_model_save(m, paths[i], &err)
                           : quern_model_save_weights(m, paths[i], NULL, &err);
        assert_int_equal(status, err.code);
        assert_int_equal(status, QUERN_IO);
        assert_string_equal(err.where, paths[i]);
        status = i < 2 ? quern_model_save(m, paths[i], NULL)
                       : quern_model_save_weights(m, paths[i], NULL, NULL);
        assert_int_equal(status, QUERN_IO);
    }
    quern_generator *g = quern_array_generator(&array, 1, NULL, 0, NULL, &err);
    assert_int_equal(quern_evaluate_generator(m, g, 4, 0, logs, &err), QUERN_SHAPE);
    assert_int_equal(err.code, QUERN_SHAPE);
    assert_int_equal(quern_evaluate_generator(m, g, 4, 0, logs, NULL), QUERN_SHAPE);
    assert_int_equal(quern_compile(m, "nonsense", NULL, NULL, NULL), QUERN_NOTFOUND);
    quern_generator_free(g);
    quern_model_free(m);
}

/* ---- hooks ---- */

typedef struct doing {
    quern_generator *data;
    int calls, fit, compile, train, evaluate, test, predict, schema;
} doing;

static int meddle(void *user, const quern_event *e, quern_error *err)
{
    doing *d = user;
    quern_error own;
    quern_model *m = e->model;
    (void)err;
    d->calls++;
    quern_history *h = quern_fit(m, &array, &labels, NULL, NULL, &own);
    d->fit = h ? 0 : own.code;
    quern_history_free(h);
    d->compile = quern_compile(m, "sgd", NULL, NULL, &own);
    d->train = quern_train_on_batch(m, &array, &labels, NULL, logs, &own);
    d->test = quern_test_on_batch(m, &array, &labels, NULL, logs, &own);
    d->evaluate = (int)quern_evaluate(m, &array, &labels, NULL, 4, logs, &own);
    d->predict = quern_predict_on_batch(m, &array, outputs, &own);
    d->schema = quern_model_set_schema(m, NULL, &own);
    quern_model_free(m); /* the hook does not change it */
    return QUERN_OK;
}

static void a_hook_cannot_change_the_model_of_its_run(void **state)
{
    (void)state;
    for (int end = 0; end < 2; end++) {
        quern_error err;
        doing d = { 0 };
        quern_model *m = ready(), *other = ready();
        quern_hooks hooks = { .on_train_batch_end = end ? NULL : meddle,
                              .on_epoch_end = end ? meddle : NULL };
        quern_callback *c = quern_callback_new(&hooks, &d);
        quern_fit_opts o = { .epochs = 2, .callbacks = &c, .n_callbacks = 1 };
        quern_history *h = quern_fit(m, &array, &labels, NULL, &o, &err);
        CHECK_OK(h ? 0 : err.code, err);
        o.n_callbacks = 0;
        quern_history *same = quern_fit(other, &array, &labels, NULL, &o, &err);
        CHECK_OK(same ? 0 : err.code, err);
        assert_int_equal(d.calls, 2);
        assert_true(d.fit == QUERN_INVALID && d.compile == QUERN_INVALID &&
                    d.train == QUERN_INVALID && d.schema == QUERN_INVALID);
        assert_int_equal(d.evaluate, end ? 8 : QUERN_INVALID);
        assert_int_equal(d.test, end ? QUERN_OK : QUERN_INVALID);
        assert_int_equal(d.predict, QUERN_OK);
        for (int i = 0; i < 2; i++) /* the run is unaffected */
            assert_true(quern_history_value(h, "loss", i) == quern_history_value(same, "loss", i));
        quern_history_free(h);
        quern_history_free(same);
        quern_callback_free(c);
        CHECK_OK(quern_compile(m, "sgd", NULL, NULL, &err), err); /* the run is over */
        quern_model_free(m);
        quern_model_free(other);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(an_error_can_be_reused),
                                        cmocka_unit_test(the_status_equals_the_error_code),
                                        cmocka_unit_test(
                                            a_hook_cannot_change_the_model_of_its_run) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
