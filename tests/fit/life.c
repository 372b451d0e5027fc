/* All phases of the library in a program: models are created, trained from every kind of generator,
 * profiled, saved, opened, applied and freed. tests/cli/valgrind.sh runs it under valgrind, where
 * no block may be left. */
#include "check.h"

#include <quern/quern.h>
#include <unistd.h>

enum { records = 40, batch = 8 };
static float x[records][4];
static int32_t y[records];

static quern_tensor inputs(void)
{
    return (quern_tensor){ .dtype = QUERN_FLOAT32,
                           .shape = { .rank = 2, .dims = { records, 4 } },
                           .data = x };
}

static quern_tensor targets(void)
{
    return (quern_tensor){ .dtype = QUERN_INT32,
                           .shape = { .rank = 1, .dims = { records } },
                           .data = y };
}

static void fill(quern_batch *b, const int64_t *numbers)
{
    for (int64_t i = 0; i < b->size; i++) {
        int64_t r = numbers ? numbers[i] : i;
        memcpy((float *)b->arrays[0] + 4 * i, x[r], sizeof x[r]);
        ((int32_t *)b->arrays[1])[i] = y[r];
    }
}

static int pull(void *user, quern_batch *b, quern_error *err)
{
    int *left = user;
    (void)err;
    if (!(*left)--)
        return QUERN_END;
    fill(b, NULL);
    return QUERN_OK;
}

static int rewind_pull(void *user, quern_error *err)
{
    (void)err;
    *(int *)user = 3;
    return QUERN_OK;
}

static int by_number(void *user, quern_batch *b, quern_error *err)
{
    (void)user, (void)err;
    fill(b, b->indices);
    return QUERN_OK;
}

static int loop(quern_yielder *yielder, void *arg)
{
    (void)arg;
    for (quern_batch *b; (b = quern_next_batch(yielder));) {
        fill(b, NULL);
        if (quern_yield(yielder, b) < 0)
            break;
    }
    return QUERN_OK;
}

static int count_epoch(void *user, const quern_event *e, quern_error *err)
{
    (void)e, (void)err;
    ++*(int *)user;
    return QUERN_OK;
}

static int take(void *user, const float *const *outputs, int64_t n)
{
    (void)outputs;
    *(int64_t *)user += n;
    return 0;
}

static quern_model *made(void)
{
    quern_error err = { 0 };
    quern_model *m =
        quern_model_from_spec("input 4 | dense 8 relu | dropout 0.2 | dense 3 softmax", 1, &err);
    assert_non_null(m);
    CHECK_OK(quern_compile(m, "adam", "sparse_categorical_crossentropy", "accuracy", &err), err);
    return m;
}

/* Two epochs from a generator, which is then freed. */
static void train(quern_model *m, quern_generator *g, const char *words, int workers)
{
    static const quern_hooks hooks = { .on_epoch_end = count_epoch };
    quern_error err = { 0 };
    int epochs = 0;
    assert_non_null(g);
    quern_callback *callbacks[] = {
        quern_callback_new(&hooks, &epochs), quern_callback_from_spec(words, &err),
        quern_callback_from_spec("early_stopping monitor=loss restore_best_weights=true", &err)
    };
    quern_fit_opts o = { .epochs = 2,
                         .batch_size = batch,
                         .steps_per_epoch = 3,
                         .workers = workers,
                         .callbacks = callbacks,
                         .n_callbacks = 3 };
    quern_history *h = quern_fit_generator(m, g, &o, &err);
    if (!h)
        fail_msg("%s: %s", err.where, err.text);
    assert_int_equal(epochs, quern_history_epochs(h));
    quern_history_free(h);
    for (int i = 0; i < 3; i++)
        quern_callback_free(callbacks[i]);
    quern_generator_free(g);
}

static void every_generator(void **state)
{
    quern_error err = { 0 };
    quern_tensor in = inputs(), out = targets();
    int left = 3;
    (void)state;
    quern_model *m = made();
    train(m, quern_array_generator(&in, 1, &out, 1, NULL, &err), "csv_logger life.csv", 2);
    train(m,
          quern_callback_generator(&(quern_callback_ops){ .next = pull, .reset = rewind_pull },
                                   &left),
          "terminate_on_nan", 1);
    train(m, quern_indexed_generator(by_number, NULL, records),
          "model_checkpoint life.best.keras monitor=loss save_best_only=true", 2);
    train(m, quern_function_generator(loop, NULL), "reduce_lr_on_plateau monitor=loss", 1);
    quern_model_free(m);
    unlink("life.csv");
    unlink("life.best.keras");
}

/* A run that fails, one that ends early, and one that resumes from its checkpoint. */
static void failed_stopped_and_resumed_runs(void **state)
{
    quern_error err = { 0 };
    quern_tensor in = inputs(), out = targets();
    (void)state;
    quern_model *m = made();
    in.shape.dims[1] = 3;
    quern_generator *g = quern_array_generator(&in, 1, &out, 1, NULL, &err);
    assert_null(quern_fit_generator(m, g, NULL, &err));
    assert_int_equal(err.code, QUERN_SHAPE);
    quern_generator_free(g);
    in.shape.dims[1] = 4;
    for (int64_t epochs = 1; epochs < 3; epochs++) {
        quern_fit_opts o = { .epochs = epochs,
                             .batch_size = batch,
                             .checkpoint = "life.checkpoint.keras",
                             .resume = epochs > 1 };
        quern_history *h = quern_fit(m, &in, &out, NULL, &o, &err);
        if (!h)
            fail_msg("%s: %s", err.where, err.text);
        quern_history_free(h);
    }
    quern_model_free(m);
    unlink("life.checkpoint.keras");
    unlink("life.checkpoint.keras.previous");
}

static void files(void **state)
{
    static const char *const names[] = { "life.keras", "life.h5" };
    static float predictions[records][3];
    float *out[] = { predictions[0] };
    quern_error err = { 0 };
    quern_tensor in = inputs(), labels = targets();
    double logs[4];
    int64_t taken = 0;
    (void)state;
    for (int i = 0; i < 2; i++) {
        quern_model *m = made();
        CHECK_OK(quern_model_save(m, names[i], &err), err);
        CHECK_OK(quern_model_save_weights(m, "life.weights.h5", NULL, &err), err);
        CHECK_OK(quern_model_load_weights(m, "life.weights.h5", NULL, &err), err);
        quern_model_free(m);
        m = quern_model_open(names[i], &err);
        assert_non_null(m);
        assert_int_equal(quern_evaluate(m, &in, &labels, NULL, batch, logs, &err), records);
        assert_int_equal(quern_predict(m, &in, batch, out, &err), records);
        quern_generator *g = quern_array_generator(&in, 1, NULL, 0, NULL, &err);
        assert_int_equal(quern_predict_generator(m, g, batch, 0, take, &taken, &err), records);
        quern_generator_free(g);
        char *text = quern_model_summary(m);
        assert_non_null(text);
        free(text);
        quern_model_free(m);
        unlink(names[i]);
    }
    assert_int_equal(taken, 2 * records);
    unlink("life.weights.h5");
    assert_null(quern_model_open("life.keras", &err));
}

int main(void)
{
    for (int i = 0; i < records; i++) {
        for (int k = 0; k < 4; k++)
            x[i][k] = (float)((i * 7 + k * 5) % 11) / 11;
        y[i] = i % 3;
    }
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_generator),
                                        cmocka_unit_test(failed_stopped_and_resumed_runs),
                                        cmocka_unit_test(files) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
