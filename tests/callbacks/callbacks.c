/* Hooks in Keras's order, and the built-in callbacks by Keras's rules (keras.src.callbacks). */
#include "check.h"

#include <math.h>
#include <quern/quern.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

enum { records = 10, width = 3 };
static float xs[records * width], ys[records];

static void fill(void)
{
    for (int i = 0; i < records * width; i++)
        xs[i] = (float)sin(1.3 * i);
    for (int i = 0; i < records; i++)
        ys[i] = xs[i * width] - xs[i * width + 1];
}

static quern_model *model(const char *optimizer)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec("input 3 | dense 1", 3, &err);
    if (!m || quern_compile(m, optimizer, "mse", "mae", &err) < 0)
        fail_msg("%s: %s", err.where, err.text);
    return m;
}

static quern_tensor x(void)
{
    return (quern_tensor){ .dtype = QUERN_FLOAT32,
                           .shape = { .rank = 2, .dims = { records, width } },
                           .data = xs };
}
static quern_tensor y(void)
{
    return (quern_tensor){ .dtype = QUERN_FLOAT32,
                           .shape = { .rank = 2, .dims = { records, 1 } },
                           .data = ys };
}

static quern_history *fit(quern_model *m, quern_fit_opts o, quern_callback *const *callbacks, int n)
{
    quern_error err = { 0 };
    quern_tensor input = x(), target = y();
    o.callbacks = callbacks;
    o.n_callbacks = n;
    quern_history *h = quern_fit(m, &input, &target, NULL, &o, &err);
    if (!h || err.code)
        fail_msg("%s: %s", err.where, err.text);
    return h;
}

/* ---- the order of hooks ---- */

typedef struct heard {
    char text[600];
    int stop_at; /* train batch (counted over the run) whose end requests a stop; -1: none */
    int batches;
} heard;

static int hear(void *user, const char *what)
{
    heard *h = user;
    strncat(h->text, what, sizeof h->text - strlen(h->text) - 1);
    return QUERN_OK;
}
#define HOOK(NAME, SAID)                                                    \
    static int NAME(void *user, const quern_event *event, quern_error *err) \
    {                                                                       \
        (void)event, (void)err;                                             \
        return hear(user, SAID);                                            \
    }
HOOK(train_begin, "T")
HOOK(train_end, "t")
HOOK(epoch_begin, "E")
HOOK(batch_begin, "B")
HOOK(test_begin, "V")
HOOK(test_end, "v")
HOOK(test_batch_begin, "D")
HOOK(test_batch_end, "d")

static int batch_end(void *user, const quern_event *event, quern_error *err)
{
    heard *h = user;
    (void)err;
    assert_string_equal(event->names[0], "loss");
    assert_true(isfinite(event->logs[0]));
    hear(user, "b");
    return h->batches++ == h->stop_at ? QUERN_END : QUERN_OK;
}

static int epoch_end(void *user, const quern_event *event, quern_error *err)
{
    (void)err;
    assert_int_equal(event->n_logs, 4);
    assert_string_equal(event->names[2], "val_loss");
    assert_int_equal(quern_event_log(event, "own", 7 + (double)event->epoch), QUERN_OK);
    return hear(user, "e");
}

static void hooks_come_in_order(void **state)
{
    (void)state;
    const quern_hooks hooks = { .on_train_begin = train_begin,
                                .on_train_end = train_end,
                                .on_epoch_begin = epoch_begin,
                                .on_epoch_end = epoch_end,
                                .on_train_batch_begin = batch_begin,
                                .on_train_batch_end = batch_end,
                                .on_test_begin = test_begin,
                                .on_test_end = test_end,
                                .on_test_batch_begin = test_batch_begin,
                                .on_test_batch_end = test_batch_end };
    const struct {
        int stop_at;
        const char *want, *reason;
    } runs[] = { { -1, "TEBbBbVDdveEBbBbVDdvet", "completed" }, { 0, "TEBbVDdvet", "stopped" } };
    for (int k = 0; k < 2; k++) {
        heard h = { .stop_at = runs[k].stop_at };
        quern_model *m = model("sgd");
        quern_callback *c = quern_callback_new(&hooks, &h);
        /* 10 records, 2 of them for validation; batches of 4 */
        quern_history *history = fit(
            m, (quern_fit_opts){ .epochs = 2, .batch_size = 4, .validation_split = 0.2 }, &c, 1);
        assert_string_equal(h.text, runs[k].want);
        assert_string_equal(quern_history_reason(history), runs[k].reason);
        assert_true(quern_history_value(history, "own", 0) == 7);
        assert_true(k || quern_history_value(history, "own", 1) == 8);
        quern_history_free(history);
        quern_callback_free(c);
        quern_model_free(m);
    }
}

/* ---- built-in callbacks ---- */

static quern_callback *made(const char *words)
{
    quern_error err = { 0 };
    quern_callback *c = quern_callback_from_spec(words, &err);
    if (!c)
        fail_msg("%s: %s: %s", words, err.where, err.text);
    return c;
}

/* With learning rate 0 nothing improves after the first epoch: training stops after `patience`
 * more. */
static void early_stopping_waits_and_restores(void **state)
{
    (void)state;
    quern_callback *c = made("early_stopping monitor=loss patience=2 restore_best_weights=true");
    quern_model *m = model("sgd learning_rate=0");
    quern_history *h = fit(m, (quern_fit_opts){ .epochs = 9, .no_shuffle = 1 }, &c, 1);
    assert_int_equal(quern_history_epochs(h), 3);
    assert_string_equal(quern_history_reason(h), "stopped");
    quern_history_free(h);
    quern_callback_free(c);
    quern_model_free(m);
    /* mode max: a decreasing loss never improves; the weights of the end of the first epoch are
     * restored */
    float after[2][width];
    for (int k = 0; k < 2; k++) {
        m = model("sgd learning_rate=0.1");
        c = made("early_stopping monitor=loss mode=max patience=3 restore_best_weights=true");
        h = fit(m, (quern_fit_opts){ .epochs = k ? 9 : 1, .no_shuffle = 1 }, &c, 1);
        assert_int_equal(quern_history_epochs(h), k ? 4 : 1);
        memcpy(after[k], quern_model_weight(m, 0, NULL).data, sizeof *after);
        quern_history_free(h);
        quern_callback_free(c);
        quern_model_free(m);
    }
    assert_memory_equal(after[0], after[1], sizeof *after);
}

static void learning_rate_callbacks_follow_keras(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_callback *c =
        made("reduce_lr_on_plateau monitor=loss factor=0.5 patience=2 min_lr=0.02 mode=max");
    quern_model *m = model("sgd learning_rate=0.1");
    quern_history *h = fit(m, (quern_fit_opts){ .epochs = 8 }, &c, 1);
    /* the loss decreases but mode max expects an increase: epochs 2, 3 wait -> 0.05 after epoch
     * 3, 0.025 after 5, 0.02 after 7 */
    const double want[] = { 0.1, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.02 };
    for (int e = 0; e < 8; e++)
        CHECK_NEAR(quern_history_value(h, "learning_rate", e), want[e], 1e-6, 0);
    quern_history_free(h);
    quern_callback_free(c);
    quern_model_free(m);

    c = made("learning_rate_scheduler exponential_decay(0.1, decay_steps=1, decay_rate=0.5)");
    m = model("sgd");
    h = fit(m, (quern_fit_opts){ .epochs = 3 }, &c, 1);
    for (int e = 0; e < 3; e++)
        CHECK_NEAR(quern_history_value(h, "learning_rate", e), 0.1 * pow(0.5, e), 1e-6, 0);
    CHECK_NEAR(quern_model_learning_rate(m), 0.025, 1e-6, 0);
    quern_history_free(h);
    quern_callback_free(c);
    quern_model_free(m);
    /* the rate of an optimizer with a schedule cannot be set */
    m = model("sgd learning_rate=exponential_decay(0.1, 10, 0.5)");
    assert_int_equal(quern_model_set_learning_rate(m, 1, &err), QUERN_INVALID);
    quern_model_free(m);
}

static void invalid_loss_ends_training(void **state)
{
    (void)state;
    quern_callback *c = made("terminate_on_nan");
    quern_model *m = model("sgd learning_rate=1e30");
    quern_error err = { 0 };
    quern_tensor input = x(), target = y();
    assert_null(quern_fit(m, &input, &target, NULL,
                          &(quern_fit_opts){ .epochs = 9, .batch_size = 2 }, &err));
    assert_int_equal(err.code, QUERN_NUMBER);
    quern_model_free(m);
    m = model("sgd learning_rate=1e30");
    quern_history *h = fit(m, (quern_fit_opts){ .epochs = 9, .batch_size = 2 }, &c, 1);
    assert_string_equal(quern_history_reason(h), "stopped");
    assert_int_equal(quern_history_epochs(h), 1);
    assert_int_equal(quern_history_error(h)->code, QUERN_NUMBER);
    assert_non_null(strstr(quern_history_error(h)->text, " of epoch 1"));
    quern_history_free(h);
    quern_callback_free(c);
    quern_model_free(m);
    m = model("sgd learning_rate=0.1");
    h = fit(m, (quern_fit_opts){ .epochs = 1, .batch_size = 2 }, NULL, 0);
    assert_null(quern_history_error(h));
    quern_history_free(h);
    quern_model_free(m);
}

static void loggers_and_checkpoints_write_files(void **state)
{
    (void)state;
    char csv[64], path[64], words[200], line[300];
    quern_error err = { 0 };
    snprintf(csv, sizeof csv, "/tmp/quern-callbacks-%d.csv", (int)getpid());
    snprintf(path, sizeof path, "/tmp/quern-callbacks-%d-2.keras", (int)getpid());
    snprintf(words, sizeof words, "csv_logger %s separator=;", csv);
    quern_callback *c[2] = { made(words) };
    snprintf(words, sizeof words, "model_checkpoint /tmp/quern-callbacks-%d-{epoch}.keras",
             (int)getpid());
    c[1] = made(words);
    quern_model *m = model("adam");
    quern_history *h = fit(m, (quern_fit_opts){ .epochs = 2, .validation_split = 0.2 }, c, 2);
    FILE *f = fopen(csv, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    assert_string_equal(line, "epoch;loss;mae;val_loss;val_mae\n");
    for (int e = 0; e < 2; e++) {
        double number, loss;
        assert_non_null(fgets(line, sizeof line, f));
        assert_int_equal(sscanf(line, "%lf;%lf", &number, &loss), 2);
        assert_true(number == e && loss == quern_history_value(h, "loss", e));
    }
    assert_null(fgets(line, sizeof line, f));
    fclose(f);
    quern_model *again = quern_model_open(path, &err);
    assert_non_null(again);
    assert_memory_equal(quern_model_weight(again, 0, NULL).data,
                        quern_model_weight(m, 0, NULL).data, width * sizeof(float));
    quern_model_free(again);
    unlink(csv);
    unlink(path);
    path[strlen(path) - 7] = '1';
    assert_int_equal(unlink(path), 0);
    quern_history_free(h);
    for (int i = 0; i < 2; i++)
        quern_callback_free(c[i]);
    quern_model_free(m);
}

static int log_numbers(void *user, const quern_event *e, quern_error *err)
{
    (void)user, (void)err;
    quern_event_log(e, "v", 0.123456789);
    quern_event_log(e, "two", 2);
    quern_event_log(e, "small", 1e-7);
    quern_event_log(e, "million", 1e6);
    return QUERN_OK;
}

/* File names as Python's str.format gives them. Folders are created. Without the monitored log
 * every epoch is saved, as in Keras. */
static void file_names_follow_python_format(void **state)
{
    (void)state;
    static const char *const names[][2] = {
        { "{epoch:02d}-{v:.2f}.keras", "01-0.12.keras" },
        { "{v}.keras", "0.123456789.keras" },
        { "{v:.3e}.keras", "1.235e-01.keras" },
        { "{v:g}.h5", "0.123457.h5" },
        { "{v:8.3f}.keras", "   0.123.keras" },
        { "{epoch:4d}.keras", "   1.keras" },
        { "{two}-{small}-{million}.keras save_best_only=true monitor=unknown",
          "2.0-1e-07-1000000.0.keras" },
        { "{epoch}.weights.h5 save_weights_only=true", "1.weights.h5" }
    };
    char folder[] = "/tmp/quern-callbacks-XXXXXX", words[200], path[200];
    assert_non_null(mkdtemp(folder));
    quern_callback *c[2] = { quern_callback_new(&(quern_hooks){ .on_epoch_end = log_numbers },
                                                NULL) };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *options = strchr(names[i][0], ' ');
        int n = (int)(options ? options - names[i][0] : (ptrdiff_t)strlen(names[i][0]));
        snprintf(words, sizeof words, "model_checkpoint '%s/a/b/%.*s'%s", folder, n, names[i][0],
                 options ? options : "");
        c[1] = made(words);
        quern_model *m = model("adam");
        quern_history_free(fit(m, (quern_fit_opts){ 0 }, c, 2));
        snprintf(path, sizeof path, "%s/a/b/%s", folder, names[i][1]);
        if (access(path, F_OK))
            fail_msg("%s: %s does not exist", words, path);
        unlink(path);
        quern_callback_free(c[1]);
        quern_model_free(m);
    }
    const char *const wrong[] = { "{epoch:02f}", "{v:d}", "{v:.2fx}", "{unknown}", "{v:.2%}" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        quern_error err = { 0 };
        quern_tensor input = x(), target = y();
        snprintf(words, sizeof words, "model_checkpoint '%s/%s.keras'", folder, wrong[i]);
        c[1] = made(words);
        quern_model *m = model("adam");
        quern_fit_opts o = { .callbacks = c, .n_callbacks = 2 };
        assert_null(quern_fit(m, &input, &target, NULL, &o, &err));
        assert_non_null(strstr(err.text, wrong[i]));
        quern_callback_free(c[1]);
        quern_model_free(m);
    }
    quern_callback_free(c[0]);
    snprintf(path, sizeof path, "%s/a/b", folder);
    assert_int_equal(rmdir(path), 0);
    *strrchr(path, '/') = 0;
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void errors_name_their_cause(void **state)
{
    (void)state;
    const char *const words[][2] = { { "early_stoping", "early_stopping" },
                                     { "early_stopping patiense=3", "patiense" },
                                     { "early_stopping mode=up", "mode" },
                                     { "reduce_lr_on_plateau factor=2", "factor" },
                                     { "model_checkpoint a.txt", ".keras" },
                                     { "model_checkpoint a.keras save_weights_only=true",
                                       "save_weights_only" },
                                     { "csv_logger", "filename" } };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        quern_error err = { 0 };
        assert_null(quern_callback_from_spec(words[i][0], &err));
        if (!strstr(err.text, words[i][1]) && !strstr(err.hint, words[i][1]))
            fail_msg("%s: %s (%s)", words[i][0], err.text, err.hint);
    }
}

/* The line of verbose 2 as Keras writes it. */
static void progress_equals_keras(void **state)
{
    (void)state;
    int ends[2];
    char text[4000];
    assert_int_equal(pipe(ends), 0);
    quern_callback *c = quern_progress_callback(ends[1], 2, 0);
    quern_model *m = model("sgd");
    quern_history_free(fit(m, (quern_fit_opts){ .epochs = 2, .batch_size = 5 }, &c, 1));
    quern_callback_free(c);
    c = quern_progress_callback(ends[1], 3, 0);
    quern_history_free(fit(m, (quern_fit_opts){ .epochs = 2, .batch_size = 5 }, &c, 1));
    quern_callback_free(c);
    c = quern_progress_callback(ends[1], 1, 0);
    quern_history_free(fit(m, (quern_fit_opts){ .batch_size = 5 }, &c, 1));
    close(ends[1]);
    ssize_t n = read(ends[0], text, sizeof text - 1);
    assert_true(n > 0);
    text[n] = 0;
    close(ends[0]);
    assert_true(!strncmp(text, "Epoch 1/2\n2/2 - 0s - ", 21));
    assert_non_null(strstr(text, "Epoch 2/2\n2/2 - "));
    assert_non_null(strstr(text, "\nEpoch 1/2 - 2/2 - 0s - "));
    assert_non_null(strstr(text, "us/step - loss: "));
    assert_true(strstr(text, " - loss: ") < strstr(text, " - mae: "));
    assert_non_null(strstr(text, "2/2 ━━━━━━━━━━━━━━━━━━━━ 0s "));
    quern_callback_free(c);
    quern_model_free(m);
}

int main(void)
{
    fill();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hooks_come_in_order),
        cmocka_unit_test(early_stopping_waits_and_restores),
        cmocka_unit_test(learning_rate_callbacks_follow_keras),
        cmocka_unit_test(invalid_loss_ends_training),
        cmocka_unit_test(loggers_and_checkpoints_write_files),
        cmocka_unit_test(file_names_follow_python_format),
        cmocka_unit_test(errors_name_their_cause),
        cmocka_unit_test(progress_equals_keras),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
