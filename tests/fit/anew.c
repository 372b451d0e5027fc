/* Generators restart as the headers state, belong to one run at a time and leave no thread;
 * the history of a failed run has its completed epochs. */
#include "check.h"

#include <pthread.h>
#include <quern/quern.h>
#include <stdbool.h>
#include <unistd.h>

static quern_model *line(void)
{
    quern_model *m = quern_model_from_spec("input 1 | dense 1", 1, NULL);
    assert_true(m && quern_compile(m, "sgd learning_rate=1e-4", "mse", NULL, NULL) >= 0);
    return m;
}

static int before; /* threads of the process, including those of a sanitizer */

static int threads(void)
{
    char text[128];
    int n = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(text, sizeof text, f))
        sscanf(text, "Threads: %d", &n);
    fclose(f);
    return n;
}

/* Batches of consecutive numbers from 0. */
typedef struct counting {
    int most, begun, resets, at, wrong; /* wrong: returned instead of batch `at` 7 */
} counting;

static void fill_batch(quern_batch *b, int at)
{
    for (int64_t i = 0; i < b->size; i++)
        ((float *)b->arrays[0])[i] = ((float *)b->arrays[1])[i] = (float)at / 16;
}

static int counted(quern_yielder *yielder, void *arg)
{
    counting *c = arg;
    c->begun++;
    for (int at = 0; at < c->most || c->most < 0; at++) {
        quern_batch *b = quern_next_batch(yielder);
        if (!b)
            return QUERN_OK;
        fill_batch(b, at);
        if (quern_yield(yielder, b) < 0)
            return QUERN_OK;
    }
    return QUERN_OK;
}

static int next(void *user, quern_batch *b, quern_error *err)
{
    counting *c = user;
    (void)err;
    if (c->wrong && c->at == 7)
        return c->wrong;
    if (c->most >= 0 && c->at >= c->most)
        return QUERN_END;
    fill_batch(b, c->at++);
    return QUERN_OK;
}

static int reset(void *user, quern_error *err)
{
    counting *c = user;
    (void)err;
    c->resets++;
    c->at = 0;
    return QUERN_OK;
}

static quern_generator *pull(counting *c, bool resets)
{
    return quern_callback_generator(
        &(quern_callback_ops){ .next = next, .reset = resets ? reset : NULL }, c);
}

/* /proc lists a thread for a moment after it was joined. */
static void assert_no_thread_left(void)
{
    for (int i = 0; i < 200 && threads() != before; i++)
        usleep(10000);
    assert_int_equal(threads(), before);
}

/* The function is called again for each validation, on a new thread. */
static void a_function_validates_each_epoch(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        counting train = { .most = -1 }, valid = { .most = way == 1 ? -1 : 5 };
        quern_generator *g = quern_function_generator(counted, &train),
                        *v = quern_function_generator(counted, &valid);
        quern_model *m = line();
        quern_error err;
        quern_fit_opts o = { .steps_per_epoch = 3,
                             .epochs = 4,
                             .validation_data = v,
                             .validation_steps = way == 1 ? 2 : 0 };
        o.no_workers = way == 2;
        quern_history *h = quern_fit_generator(m, g, &o, &err);
        CHECK_OK(err.code, err);
        assert_int_equal(quern_history_epochs(h), 4);
        assert_int_equal(train.begun, 1);
        assert_int_equal(valid.begun, 4);
        quern_history_free(h);
        quern_model_free(m);
        assert_no_thread_left();
        quern_generator_free(g);
        quern_generator_free(v);
    }
}

static void a_function_restarts(void **state)
{
    (void)state;
    counting c = { .most = 5 };
    quern_generator *g = quern_function_generator(counted, &c);
    quern_model *m = line();
    quern_error err;
    double logs[1];
    quern_fit_opts o = { .steps_per_epoch = 4,
                         .epochs = 3,
                         .on_exhausted = QUERN_EXHAUSTED_RESTART };
    quern_history *h = quern_fit_generator(m, g, &o, &err); /* 12 steps of 5, 5, 2 */
    CHECK_OK(err.code, err);
    assert_string_equal(quern_history_reason(h), "completed");
    assert_int_equal(c.begun, 3);
    assert_int_equal(quern_evaluate_generator(m, g, 2, 0, logs, &err), 10);
    assert_int_equal(quern_evaluate_generator(m, g, 2, 0, logs, &err), 10);
    quern_history_free(h);
    quern_generator_free(g);
    quern_model_free(m);
    assert_no_thread_left();
}

/* A pull generator with `reset` restarts in each run. One without `reset` continues, and its error
 * at the end names the missing function. */
static void a_callback_restarts_in_each_run(void **state)
{
    (void)state;
    quern_error err;
    double logs[1];
    for (int policy = QUERN_EXHAUSTED_STOP; policy <= QUERN_EXHAUSTED_RESTART; policy++) {
        counting c = { .most = 5 };
        quern_generator *g = pull(&c, true);
        quern_model *m = line();
        for (int run = 0; run < 3; run++) {
            quern_history *h = quern_fit_generator(
                m, g, &(quern_fit_opts){ .steps_per_epoch = 5, .on_exhausted = policy }, &err);
            CHECK_OK(err.code, err);
            assert_string_equal(quern_history_reason(h), "completed");
            assert_int_equal(c.resets, run);
            quern_history_free(h);
        }
        assert_int_equal(quern_evaluate_generator(m, g, 2, 0, logs, &err), 10);
        assert_int_equal(quern_evaluate_generator(m, g, 2, 0, logs, &err), 10);
        quern_generator_free(g);
        quern_model_free(m);
    }
    counting c = { .most = 5 };
    quern_generator *g = pull(&c, false);
    quern_model *m = line();
    assert_int_equal(quern_evaluate_generator(m, g, 2, 3, logs, &err), 6);
    assert_int_equal(quern_evaluate_generator(m, g, 2, 0, logs, &err), 4);
    assert_int_equal(quern_evaluate_generator(m, g, 2, 0, logs, &err), QUERN_INVALID);
    assert_string_equal(err.text, "has ended and cannot restart");
    assert_non_null(strstr(err.hint, "reset"));
    quern_generator_free(g);
    quern_model_free(m);
}

/* Validation data that cannot restart is refused before the first epoch, not after it. */
static void validation_that_cannot_restart_is_refused(void **state)
{
    (void)state;
    quern_error err;
    counting train = { .most = -1 }, valid = { .most = 5 };
    quern_generator *g = pull(&train, false), *v = pull(&valid, false);
    quern_model *m = line();
    quern_fit_opts o = { .steps_per_epoch = 3, .epochs = 2, .validation_data = v };
    assert_null(quern_fit_generator(m, g, &o, &err));
    assert_string_equal(err.where, "validation_data");
    assert_true(strstr(err.text, "cannot restart") && strstr(err.hint, "reset"));
    assert_int_equal(train.at, 0);
    o.validation_data = g;
    assert_null(quern_fit_generator(m, g, &o, &err));
    assert_string_equal(err.text, "is the generator of the training data");
    o.validation_data = v;
    o.validation_freq = 2; /* a single validation is possible */
    quern_history *h = quern_fit_generator(m, g, &o, &err);
    CHECK_OK(err.code, err);
    quern_history_free(h);
    quern_generator_free(g);
    quern_generator_free(v);
    quern_model_free(m);
}

/* ---- one run at a time ---- */

static int inner, inner_code;
static int use_again(void *user, const quern_event *e, quern_error *err)
{
    quern_error own;
    quern_model *other = line();
    double logs[1];
    (void)e, (void)err;
    inner = (int)quern_evaluate_generator(other, user, 2, 1, logs, &own);
    inner_code = own.code;
    assert_string_equal(own.text, "is in use by another run");
    quern_model_free(other);
    return QUERN_OK;
}

static void a_generator_belongs_to_one_run(void **state)
{
    (void)state;
    counting c = { .most = -1 };
    quern_generator *g = quern_function_generator(counted, &c);
    quern_callback *hook = quern_callback_new(&(quern_hooks){ .on_epoch_end = use_again }, g);
    quern_model *m = line();
    quern_error err;
    for (int run = 0; run < 2; run++) { /* the refusal does not affect the run */
        quern_fit_opts o = {
            .steps_per_epoch = 3, .epochs = 2, .callbacks = &hook, .n_callbacks = 1
        };
        quern_history *h = quern_fit_generator(m, g, &o, &err);
        CHECK_OK(err.code, err);
        assert_int_equal(inner, QUERN_INVALID);
        assert_int_equal(inner_code, QUERN_INVALID);
        assert_int_equal(quern_history_epochs(h), 2);
        quern_history_free(h);
    }
    assert_int_equal(c.begun, 2);
    quern_callback_free(hook);
    quern_generator_free(g);
    quern_model_free(m);
    assert_no_thread_left();
}

/* ---- a run that fails ---- */

static void a_failed_run_keeps_completed_epochs(void **state)
{
    (void)state;
    static const struct {
        int wrong, steps, epochs, code;
        const char *text;
    } cases[] = { { -7, 3, 2, QUERN_FORMAT, "failed" },
                  { 77, 3, 2, QUERN_INVALID, "77" },
                  { -7, 9, 0, QUERN_FORMAT, "failed" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int with = 0; with < 2; with++) {
            counting c = { .most = -1, .wrong = cases[i].wrong };
            quern_generator *g = pull(&c, false);
            quern_model *m = line();
            quern_error err;
            quern_fit_opts o = { .steps_per_epoch = cases[i].steps, .epochs = 5 };
            quern_history *h = quern_fit_generator(m, g, &o, with ? &err : NULL);
            assert_int_equal(h != NULL, cases[i].epochs > 0);
            const quern_error *said = with ? &err : quern_history_error(h);
            if (said) {
                assert_int_equal(said->code, cases[i].code);
                assert_non_null(strstr(said->text, cases[i].text));
            }
            if (h) {
                assert_int_equal(quern_history_epochs(h), cases[i].epochs);
                assert_string_equal(quern_history_reason(h), "failed");
                assert_true(quern_history_value(h, "loss", 1) >= 0);
            }
            quern_history_free(h);
            quern_generator_free(g);
            quern_model_free(m);
        }
}

static void *nothing(void *unused) { return unused; }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_function_validates_each_epoch),
        cmocka_unit_test(a_function_restarts),
        cmocka_unit_test(a_callback_restarts_in_each_run),
        cmocka_unit_test(validation_that_cannot_restart_is_refused),
        cmocka_unit_test(a_generator_belongs_to_one_run),
        cmocka_unit_test(a_failed_run_keeps_completed_epochs),
    };
    pthread_t first; /* a sanitizer starts its threads with it */
    if (pthread_create(&first, NULL, nothing, NULL) || pthread_join(first, NULL))
        return 1;
    before = threads();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
