/* Checkpoints: a run that is stopped at any step and resumed is bit-identical to an uninterrupted
 * run (P12), for any source, any number of workers and any queue. Damaged files, different data and
 * different models are refused (P12). A failed write loses nothing (P20). */
#include "run_files.h"

#include "source/csv/csv.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { batch = 10, epochs = 3 };

static char path[64], previous[80], log_path[64];
static volatile int interrupt;

typedef enum kind {
    ARRAY,
    STEPS,
    CSV,
    GZIPPED,
    BAD_CSV,
    BAD_NUMBERS,
    BAD_STEPS,
    CALLBACK,
    FUNCTION,
    KINDS
} kind;

/* An infinite stream without a resume position. */
static int next_batch(void *user, quern_batch *b, quern_error *err)
{
    int *at = user;
    (void)err;
    for (int64_t r = 0; r < b->size; r++, *at = (*at + 1) % records) {
        memcpy((float *)b->arrays[0] + r * width, xs + *at * width, width * sizeof(float));
        ((int32_t *)b->arrays[1])[r] = ys[*at];
    }
    return QUERN_OK;
}

static int yield_batches(quern_yielder *y, void *arg)
{
    int at = 0;
    (void)arg;
    for (;;) {
        quern_batch *b = quern_next_batch(y);
        if (!b)
            return QUERN_OK;
        next_batch(&at, b, NULL);
        if (quern_yield(y, b) < 0)
            return QUERN_OK;
    }
}

static quern_generator *source(kind k, int *at)
{
    quern_error err = { 0 };
    quern_callback_ops pull = { .next = next_batch };
    char csv[80], numbers[160];
    bool bad = k == BAD_CSV || k == BAD_NUMBERS || k == BAD_STEPS;
    snprintf(csv, sizeof csv, k == BAD_CSV ? "%s.bad" : "%s.csv", path);
    snprintf(numbers, sizeof numbers,
             k == GZIPPED ? "x=%s.x.gz y=%s.y.gz" : "x=%s.x.npy y=%s.y.npy", path, path);
    quern__csv_block = k == BAD_CSV ? 16 : 0; /* which is then shuffled by file blocks */
    quern_generator *g =
        k == CALLBACK   ? quern_callback_generator(&pull, at)
        : k == FUNCTION ? quern_function_generator(yield_batches, NULL)
        : k == CSV || k == BAD_CSV
            ? quern_file_generator(csv, &(quern_file_opts){ .target = "y", .format = "csv" }, &err)
        : bad || k == GZIPPED ? quern_file_generator(numbers, NULL, &err)
                              : array();
    if (!g || (bad && quern_generator_set_bad_records(g, QUERN_BAD_SKIP, 0, &err) < 0))
        fail_msg("%s: %s", err.where, err.text);
    return g;
}

/* Everything that has a state: dropout, moving means, moments, a plateau, early stopping with the
 * best weights. */
static quern_model *everything(void)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec(
        "input 6 | dense 16 tanh | dropout 0.2 | batch_normalization | dense 3 softmax", 7, &err);
    if (!m || quern_compile(m, "adam learning_rate=0.01 use_ema=true ema_overwrite_frequency=5",
                            "sparse_categorical_crossentropy", "accuracy", &err) < 0)
        fail_msg("%s: %s", err.where, err.text);
    return m;
}

typedef struct ending {
    int64_t after, done; /* the step after which the run is stopped; 0: never */
} ending;

static int on_batch(void *user, const quern_event *e, quern_error *err)
{
    ending *end = user;
    (void)e, (void)err;
    if (++end->done == end->after)
        interrupt = 1;
    return QUERN_OK;
}

/* One run, which may be stopped after a step. Returns its history, or NULL with the error. */
static quern_history *run(quern_model *m, kind k, quern_fit_opts o, ending *end, quern_error *err)
{
    static const quern_hooks hooks = { .on_train_batch_end = on_batch };
    static const char *const words[] = {
        "early_stopping monitor=loss patience=50 restore_best_weights=true",
        "reduce_lr_on_plateau monitor=loss patience=0 min_delta=10 factor=0.7"
    };
    char logger[96];
    int at = 0;
    quern_callback *c[4] = { quern_callback_new(&hooks, end) };
    snprintf(logger, sizeof logger, "csv_logger %s", log_path);
    for (int i = 0; i < 3; i++)
        if (!(c[1 + i] = quern_callback_from_spec(i < 2 ? words[i] : logger, err)))
            fail_msg("%s", err->text);
    quern_generator *g = source(k, &at);
    interrupt = 0;
    o.batch_size = batch;
    o.epochs = o.epochs ? o.epochs : epochs;
    o.steps_per_epoch = k == STEPS || k >= BAD_STEPS ? 8 : 0;
    o.checkpoint = path;
    o.interrupt = &interrupt;
    o.callbacks = c;
    o.n_callbacks = 4;
    quern_history *h = quern_fit_generator(m, g, &o, err);
    quern_generator_free(g);
    for (int i = 0; i < 4; i++)
        quern_callback_free(c[i]);
    return h;
}

static char *whole_file(const char *from, long *n)
{
    FILE *f = fopen(from, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *n = ftell(f);
    rewind(f);
    char *bytes = malloc((size_t)*n + 1);
    assert_int_equal(fread(bytes, 1, (size_t)*n, f), *n);
    fclose(f);
    return bytes;
}

static void forget(void)
{
    unlink(path);
    unlink(previous);
}

static void check_history(const quern_history *a, const quern_history *b)
{
    static const char *const names[] = { "loss", "accuracy", "learning_rate", "bad_records" };
    assert_int_equal(quern_history_epochs(a), quern_history_epochs(b));
    for (int64_t e = 0; e < quern_history_epochs(a); e++)
        for (int i = 0; i < 4; i++) {
            double u = quern_history_value(a, names[i], e), v = quern_history_value(b, names[i], e);
            assert_true(u == v || (isnan(u) && isnan(v)));
        }
}

static void a_resumed_run_is_bit_identical(void **state)
{
    (void)state;
    for (kind k = 0; k < KINDS; k++) {
        quern_error err = { 0 };
        ending none = { 0 };
        quern_model *straight = everything();
        forget();
        quern_history *whole = run(straight, k, (quern_fit_opts){ 0 }, &none, &err);
        if (!whole)
            fail_msg("kind %d: %s: %s", k, err.where, err.text);
        bool bad = k == BAD_CSV || k == BAD_NUMBERS || k == BAD_STEPS;
        assert_true(bad == (quern_history_bad_record(whole, 0) != NULL) &&
                    !quern_history_bad_record(whole, 16));
        long log_bytes, again_bytes;
        char *log = whole_file(log_path, &log_bytes);
        for (int64_t step = 1; step <= none.done; step++) {
            ending end = { .after = step }, rest = { 0 };
            quern_fit_opts o = { .checkpoint_steps = step % 4 ? 3 : 0 };
            quern_model *m = everything();
            forget();
            quern_history *h = run(m, k, o, &end, &err);
            assert_non_null(h);
            assert_string_equal(quern_history_reason(h), "interrupted");
            quern_history_free(h);
            quern_model_free(m);
            m = everything(); /* as before the run */
            o = (quern_fit_opts){ .resume = 1,
                                  .max_queue_size = 1 + (int32_t)(step % 3),
                                  .workers = k <= STEPS || k == BAD_NUMBERS || k == BAD_STEPS
                                                 ? 1 + (int32_t)(step % 4)
                                                 : 1 };
            h = run(m, k, o, &rest, &err);
            if (!h || err.code)
                fail_msg("kind %d, step %lld: %s: %s", k, (long long)step, err.where, err.text);
            assert_int_equal(end.done + rest.done, none.done);
            check_same(straight, m);
            check_history(whole, h);
            char *again = whole_file(log_path, &again_bytes);
            assert_int_equal(log_bytes, again_bytes);
            assert_memory_equal(log, again, (size_t)log_bytes);
            free(again);
            quern_history_free(h);
            quern_model_free(m);
        }
        free(log);
        quern_history_free(whole);
        quern_model_free(straight);
    }
}

/* Each epoch is a run of its own: metric sums do not continue in the next. */
static void epochs_of_several_runs_equal_those_of_one(void **state)
{
    (void)state;
    for (kind k = 0; k < KINDS; k++)
        for (int every = 0; every < 6; every += 5) {
            quern_error err = { 0 };
            ending none = { 0 };
            quern_model *straight = everything(), *m = NULL;
            forget();
            quern_history *whole = run(straight, k, (quern_fit_opts){ 0 }, &none, &err), *h = NULL;
            forget();
            for (int e = 1; e <= epochs; e++) {
                quern_history_free(h);
                quern_model_free(m);
                m = everything();
                h = run(m, k,
                        (quern_fit_opts){ .epochs = e, .resume = 1, .checkpoint_steps = every },
                        &none, &err);
                if (!h || err.code)
                    fail_msg("kind %d, epoch %d: %s: %s", k, e, err.where, err.text);
            }
            check_history(whole, h);
            check_same(straight, m);
            quern_history_free(whole);
            quern_history_free(h);
            quern_model_free(straight);
            quern_model_free(m);
        }
}

/* Checkpoints after steps 6 and 9, and the model of the whole run. */
static quern_model *two_checkpoints(void)
{
    quern_error err = { 0 };
    ending none = { 0 }, end = { .after = 9 };
    quern_model *straight = everything(), *m = everything();
    forget();
    quern_history_free(run(straight, ARRAY, (quern_fit_opts){ 0 }, &none, &err));
    forget();
    quern_history_free(run(m, ARRAY, (quern_fit_opts){ .checkpoint_steps = 6 }, &end, &err));
    quern_model_free(m);
    quern_checkpoint at;
    CHECK_OK(quern_checkpoint_read(path, &at, &err), err);
    assert_int_equal(at.batches, 9);
    CHECK_OK(quern_checkpoint_read(previous, &at, &err), err);
    assert_int_equal(at.batches, 6);
    return straight;
}

static void goes_on(quern_model *straight, int64_t steps_left)
{
    quern_error err = { 0 };
    ending rest = { 0 };
    quern_model *m = everything();
    quern_history *h = run(m, ARRAY, (quern_fit_opts){ .resume = 1 }, &rest, &err);
    if (!h || err.code)
        fail_msg("%s: %s", err.where, err.text);
    assert_int_equal(rest.done, steps_left);
    check_same(straight, m);
    quern_history_free(h);
    quern_model_free(m);
}

static void write_file(const char *to, const char *bytes, long n)
{
    FILE *f = fopen(to, "wb");
    assert_true(f && fwrite(bytes, 1, (size_t)n, f) == (size_t)n && !fclose(f));
}

/* If the newest file is truncated or changed, the previous one is used. The slow run changes every
 * byte. */
static void damaged_files_are_skipped(void **state)
{
    (void)state;
    long n, m, by = getenv("QUERN_SLOW") ? 97 : 4999;
    quern_model *straight = two_checkpoints();
    char *newest = whole_file(path, &n), *older = whole_file(previous, &m);
    for (long i = 0; i < n; i += by) {
        bool cut = i / by % 2;
        char was = newest[i];
        newest[i] = (char)(was ^ 0x55);
        write_file(path, newest, cut ? i : n);
        write_file(previous, older, m);
        newest[i] = was;
        quern_error err = { 0 };
        quern_checkpoint at;
        assert_int_equal(quern_checkpoint_read(path, &at, &err), QUERN_OK);
        goes_on(straight,
                33 - at.batches); /* a byte without effect (a date) leaves the newest file valid */
        assert_true(at.batches == 6 || at.batches == 9);
    }
    free(newest);
    free(older);
    quern_model_free(straight);
}

static void another_run_is_refused(void **state)
{
    (void)state;
    quern_model_free(two_checkpoints());
    const struct {
        const char *words;
        int64_t batch_size;
        int other_data, no_shuffle, seed;
        const char *text, *optimizer;
    } all[] = { { "input 6 | dense 17 tanh | dropout 0.2 | batch_normalization | dense 3 softmax",
                  batch, 0, 0, 7, "a different model", NULL },
                { NULL, 20, 0, 0, 7, "batch_size", NULL },
                { NULL, batch, 1, 0, 7, "different data", NULL },
                { NULL, batch, 0, 1, 7, "shuffle", NULL },
                { NULL, batch, 0, 0, 7, "different compile arguments", "sgd" },
                { NULL, batch, 0, 0, 8, "seed", NULL } };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        quern_error err = { 0 };
        quern_model *m = all[i].words ? quern_model_from_spec(all[i].words, 7, &err) : everything();
        if (all[i].words || all[i].optimizer)
            CHECK_OK(quern_compile(m, all[i].optimizer ? all[i].optimizer : "adam",
                                   "sparse_categorical_crossentropy", "accuracy", &err),
                     err);
        quern_model_set_seed(m, (uint64_t)all[i].seed);
        xs[0] += (float)all[i].other_data;
        quern_generator *g = array();
        quern_fit_opts o = { .epochs = 3,
                             .batch_size = all[i].batch_size,
                             .no_shuffle = all[i].no_shuffle,
                             .checkpoint = path,
                             .resume = 1 };
        assert_null(quern_fit_generator(m, g, &o, &err));
        xs[0] -= (float)all[i].other_data;
        if (!strstr(err.text, all[i].text))
            fail_msg("%s: expected %s", err.text, all[i].text);
        quern_generator_free(g);
        quern_model_free(m);
    }
}

/* ThreadSanitizer cannot follow a child process that starts threads. */
static void skip_under_threads_sanitizer(void)
{
#ifdef __SANITIZE_THREAD__
    skip();
#endif
}

/* If the disk cannot be written, or is full after some bytes, the run fails and the valid file
 * stays. */
static void a_full_disk_loses_nothing(void **state)
{
    (void)state;
    skip_under_threads_sanitizer();
    quern_model *straight = two_checkpoints();
    long n;
    free(whole_file(path, &n));
    for (long most = 0; most < n + 4096; most += n / 5) {
        pid_t child = fork();
        if (!child) {
            struct rlimit limit = { (rlim_t)most, (rlim_t)most };
            quern_error err = { 0 };
            ending none = { 0 };
            signal(SIGXFSZ, SIG_IGN);
            setrlimit(RLIMIT_FSIZE, &limit);
            run(everything(), ARRAY, (quern_fit_opts){ .resume = 1, .checkpoint_steps = 2 }, &none,
                &err);
            _exit(!err.code ? 0 : err.code == QUERN_IO ? 1 : 2);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) &&
                    WEXITSTATUS(status) == (most < n ? 1 : WEXITSTATUS(status)) &&
                    WEXITSTATUS(status) < 2);
        quern_error err = { 0 };
        quern_checkpoint at;
        CHECK_OK(quern_checkpoint_read(path, &at, &err), err);
        write_file(log_path, "", 0);
    }
    quern_model_free(straight);
}

/* After SIGKILL at any moment, also during the write of a checkpoint, a valid checkpoint exists and
 * the resumed run is bit-identical. */
static void a_killed_run_resumes(void **state)
{
    (void)state;
    skip_under_threads_sanitizer();
    int times = getenv("QUERN_SLOW") ? 200 : 12;
    quern_error err = { 0 };
    ending none = { 0 };
    quern_model *straight = everything();
    forget();
    quern_history_free(run(straight, ARRAY, (quern_fit_opts){ 0 }, &none, &err));
    forget();
    for (int k = 0; k < times; k++) {
        pid_t child = fork();
        if (!child) {
            ending rest = { 0 };
            quern_model *m = everything();
            quern_history *h =
                run(m, ARRAY, (quern_fit_opts){ .resume = 1, .checkpoint_steps = 1 }, &rest, &err);
            _exit(h && !err.code ? 0 : 1);
        }
        usleep((useconds_t)((k * 7919) % 23 * 400));
        kill(child, SIGKILL);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
        if (!WIFSIGNALED(status))
            forget();
    }
    quern_model *m = everything();
    ending rest = { 0 };
    quern_history *h = run(m, ARRAY, (quern_fit_opts){ .resume = 1 }, &rest, &err);
    if (!h || err.code)
        fail_msg("%s: %s", err.where, err.text);
    check_same(straight, m);
    quern_history_free(h);
    quern_model_free(m);
    quern_model_free(straight);
}

static int set_up(void **state)
{
    char csv[80];
    (void)state;
    fill();
    snprintf(path, sizeof path, "/tmp/quern-checkpoint-%d.keras", (int)getpid());
    snprintf(previous, sizeof previous, "%s.previous", path);
    snprintf(log_path, sizeof log_path, "/tmp/quern-checkpoint-%d.log", (int)getpid());
    snprintf(csv, sizeof csv, "%s.csv", path);
    write_csv(csv, false);
    snprintf(csv, sizeof csv, "%s.bad", path);
    write_csv(csv, true);
    snprintf(csv, sizeof csv, "%s.x.npy", path);
    write_npy(csv, false);
    snprintf(csv, sizeof csv, "%s.y.npy", path);
    write_npy(csv, true);
    snprintf(csv, sizeof csv, "%s.x.gz", path);
    write_gzipped(csv, false);
    snprintf(csv, sizeof csv, "%s.y.gz", path);
    write_gzipped(csv, true);
    return 0;
}

static int clear_up(void **state)
{
    char csv[80];
    (void)state;
    forget();
    unlink(log_path);
    for (int i = 0; i < 5; i++) {
        snprintf(csv, sizeof csv, "%s%s", path,
                 (const char *[]){ ".bad", ".x.npy", ".y.npy", ".x.gz", ".y.gz" }[i]);
        unlink(csv);
    }
    snprintf(csv, sizeof csv, "%s.csv", path);
    return unlink(csv);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_resumed_run_is_bit_identical),
                                        cmocka_unit_test(epochs_of_several_runs_equal_those_of_one),
                                        cmocka_unit_test(damaged_files_are_skipped),
                                        cmocka_unit_test(another_run_is_refused),
                                        cmocka_unit_test(a_full_disk_loses_nothing),
                                        cmocka_unit_test(a_killed_run_resumes) };
    return cmocka_run_group_tests(tests, set_up, clear_up);
}
