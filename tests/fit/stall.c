/* P14: a reader that blocks on record k is named with its operation, its position and the number of
 * prefetched batches: an error within the limit, or one log line. This holds for every source, and
 * no memory is left after the reader returns. */
#include "common.h"

#include "base/base.h"
#include "queue/queue.h"
#include "source/prepared/qrec.h"

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { batch = 10, blocked_at = 57 }; /* record 57 is in the sixth batch */

/* A gate at which readers wait. */
typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int shut, waiting;
    int64_t next;
} gate;

static void enter(gate *d)
{
    pthread_mutex_lock(&d->lock);
    d->waiting++;
    while (d->shut)
        pthread_cond_wait(&d->changed, &d->lock);
    d->waiting--;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

static void open_gate(gate *d)
{
    pthread_mutex_lock(&d->lock);
    d->shut = 0;
    pthread_cond_broadcast(&d->changed);
    while (d->waiting)
        pthread_cond_wait(&d->changed, &d->lock);
    pthread_mutex_unlock(&d->lock);
}

static void put(quern_batch *b, int64_t at, int64_t record)
{
    memcpy((float *)b->arrays[0] + at * width, xs + record * width, width * sizeof(float));
    ((int32_t *)b->arrays[1])[at] = ys[record];
}

static int numbered(void *user, quern_batch *b, quern_error *err)
{
    (void)err;
    for (int64_t r = 0; r < b->size; r++) {
        if (b->indices[r] == blocked_at)
            enter(user);
        put(b, r, b->indices[r]);
    }
    return QUERN_OK;
}

static int pulled(void *user, quern_batch *b, quern_error *err)
{
    gate *d = user;
    (void)err;
    for (int64_t r = 0; r < b->size; r++, d->next++) {
        if (d->next == blocked_at)
            enter(d);
        put(b, r, d->next % records);
    }
    return QUERN_OK;
}

static int yielded(quern_yielder *y, void *arg)
{
    for (quern_batch *b; (b = quern_next_batch(y));)
        if (pulled(arg, b, NULL) < 0 || quern_yield(y, b) < 0)
            break;
    return QUERN_OK;
}

/* ---- files on a disk that does not respond ---- */

static char pipe_path[64], arrays_words[200], prepared_path[80];
static _Atomic(gate *) disk; /* blocks reads beyond this byte; a detached reader reads it later */
static _Atomic off_t disk_at;

/* Replaces the function of the C library. */
ssize_t pread(int fd, void *to, size_t n, off_t at)
{
    gate *d = disk;
    if (d && at + (off_t)n > disk_at)
        enter(d);
    return syscall(SYS_pread64, fd, to, n, at);
}

static void write_arrays(void)
{
    for (int k = 0; k < 2; k++) {
        char head[128], name[80];
        snprintf(name, sizeof name, "%s.%c.npy", pipe_path, "xy"[k]);
        FILE *f = fopen(name, "wb");
        assert_non_null(f);
        npy_head(head, k ? "<i4" : "<f4", records, k ? 0 : width);
        fwrite(head, 1, sizeof head, f);
        fwrite(k ? (void *)ys : (void *)xs, sizeof *xs, (size_t)(records * (k ? 1 : width)), f);
        assert_int_equal(fclose(f), 0);
    }
    snprintf(arrays_words, sizeof arrays_words, "x=%s.x.npy y=%s.y.npy", pipe_path, pipe_path);
    snprintf(prepared_path, sizeof prepared_path, "%s.qrec", pipe_path);
    quern_error err = { 0 };
    quern_generator *g = quern_file_generator(arrays_words, NULL, &err);
    if (!g || quern_prepare(g, NULL, prepared_path, &err) != records)
        fail_msg("%s: %s", err.where, err.text);
    quern_generator_free(g);
}

static void remove_arrays(void)
{
    static const char *const endings[] = { ".x.npy", ".y.npy", ".qrec" };
    char name[80];
    for (int k = 0; k < 3; k++) {
        snprintf(name, sizeof name, "%s%s", pipe_path, endings[k]);
        unlink(name);
    }
}

/* ---- a pipe without a writer ---- */

typedef struct writer {
    pthread_t thread;
    gate *gate;
    int text;
} writer;

static void *write_pipe(void *arg)
{
    writer *w = arg;
    FILE *f = fopen(pipe_path, "w");
    assert_non_null(f);
    if (!w->text)
        fprintf(f, "a,b,c,d,e,f,y\n");
    for (int i = 0; i < records; i++) {
        if (i == blocked_at) {
            fflush(f);
            enter(w->gate);
        }
        fprintf(f, w->text ? "abcdefghi\n" : "1,2,3,4,5,6,%d\n", ys[i]);
    }
    fclose(f);
    return NULL;
}

typedef enum kind {
    NUMBERED,
    PULLED,
    YIELDED,
    TABLE,
    ROWS,
    TEXT,
    PROGRAM,
    ARRAYS,
    PREPARED,
    KINDS
} kind;

static quern_generator *source(kind k, gate *d, writer *w, const quern_tokenizer *t,
                               quern_error *err)
{
    quern_callback_ops pull = { .next = pulled };
    quern_file_opts table = { .target = "y" };
    quern_program_opts program = { .stall_timeout = 0.3 };
    if (k == TABLE || k == ROWS || k == TEXT) {
        w->gate = d;
        w->text = k == TEXT;
        unlink(pipe_path);
        assert_int_equal(mkfifo(pipe_path, 0600), 0);
        assert_int_equal(pthread_create(&w->thread, NULL, write_pipe, w), 0);
    }
    switch (k) {
    case ARRAYS:
        return quern_file_generator(arrays_words, NULL, err);
    case PREPARED:
        quern__qrec_window = 1 << 10;
        return quern_file_generator(prepared_path, NULL, err);
    case NUMBERED:
        return quern_indexed_generator(numbered, d, records);
    case PULLED:
        return quern_callback_generator(&pull, d);
    case YIELDED:
        return quern_function_generator(yielded, d);
    case PROGRAM:
        return quern_program_generator("sleep 5", &program);
    case TEXT:
        return quern_text_generator(
            pipe_path, t,
            &(quern_text_opts){ .window = width, .targets = QUERN_TARGETS_LAST, .memory = 4096 },
            err);
    case ROWS:
        return quern_series_generator(quern_file_generator(pipe_path, &table, err),
                                      &(quern_series_opts){ .sequence_length = 1 }, err);
    default:
        return quern_file_generator(pipe_path, &table, err);
    }
}

static int64_t give(void *user, char *to, int64_t room, quern_error *err)
{
    int *given = user;
    (void)err, (void)room;
    memcpy(to, "abcdefghi\n", 10);
    return (*given)++ ? 0 : 10;
}

static quern_model *model_for(kind k)
{
    quern_error err = { 0 };
    quern_model *m = k == TEXT ? quern_model_from_spec("input 6 | dense 16", 7, &err)
                     : k == ROWS
                         ? quern_model_from_spec("input 1 6 | flatten | dense 3 softmax", 7, &err)
                         : model();
    if (!m ||
        (k != TEXT && quern_compile(m, "sgd", "sparse_categorical_crossentropy", NULL, &err) < 0) ||
        (k == TEXT && quern_compile(m, "sgd", "sparse_categorical_crossentropy from_logits=true",
                                    NULL, &err) < 0))
        fail_msg("%s: %s", err.where, err.text);
    return m;
}

/* A second run is refused while the first reader has not returned. */
static void check_in_use(quern_model *m, quern_generator *g, const quern_fit_opts *o)
{
    quern_error err = { 0 };
    assert_null(quern_fit_generator(m, g, o, &err));
    assert_true(err.code == QUERN_STALLED && strstr(err.text, "an earlier run still uses"));
}

static void a_stall_is_an_error_that_names_it(void **state)
{
    (void)state;
    static const struct {
        const char *where, *text;
        int step;
    } told[KINDS] = { [NUMBERED] = { "generator, records from number 50",
                                     "waiting for the callback takes longer than the stall timeout "
                                     "of 0.3 s; batch 6 of epoch 1, "
                                     "from record 51, is pending; ",
                                     6 },
                      [PULLED] = { "generator, batch 6", "reading takes longer than", 6 },
                      [YIELDED] = { "generator, batch 6",
                                    "waiting for the function takes longer than", 6 },
                      [TABLE] = { "/tmp/quern-stall-", "reading takes longer than", 1 },
                      [ROWS] = { "/tmp/quern-stall-", "reading takes longer than", 1 },
                      [TEXT] = { "/tmp/quern-stall-", "reading takes longer than", 1 },
                      [PROGRAM] = { "sleep 5: batch 1, byte 0", "stall timeout", 1 },
                      [ARRAYS] = { ".x.npy, record 58", "reading takes longer than", 6 },
                      [PREPARED] = { ".qrec, record 58", "reading takes longer than", 5 } };
    int given = 0;
    quern_error err = { 0 };
    quern_tokenizer *t = quern_tokenizer_train("char", give, &given, &err);
    assert_non_null(t);
    for (kind k = 0; k < KINDS; k++)
        for (int workers = 1; workers <= (k == NUMBERED ? 8 : 1); workers += 7) {
            static gate doors[KINDS + 1]; /* a detached callback uses its own until it returns */
            gate *d = &doors[workers > 1 ? KINDS : (int)k];
            *d = (gate){ PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 1, 0, 0 };
            writer w = { 0 };
            quern_model *m = model_for(k);
            err = (quern_error){ 0 };
            quern_generator *g = source(k, d, &w, t, &err);
            if (!g || (k != PROGRAM && quern_generator_set_stall_timeout(g, 0.3, &err) < 0))
                fail_msg("%s: %s", err.where, err.text);
            disk = k >= ARRAYS ? d : NULL;
            disk_at = k == ARRAYS ? 128 + blocked_at * width * (off_t)sizeof *xs
                                  : 4096 + blocked_at * (width + 2) * 4;
            quern_fit_opts o = { .batch_size = batch,
                                 .no_shuffle = 1,
                                 .workers = workers,
                                 .steps_per_epoch = k > NUMBERED && k < TABLE ? 20 : 0 };
            double start = quern__now();
            assert_null(quern_fit_generator(m, g, &o, &err));
            double seconds = quern__now() - start;
            if (err.code != QUERN_STALLED || !strstr(err.where, told[k].where) ||
                !strstr(err.text, told[k].text) || err.step != told[k].step)
                fail_msg("kind %d, workers %d: %s: %s (step %d)", k, workers, err.where, err.text,
                         err.step);
            assert_true(seconds > 0.25 && seconds < 3);
            if (k == TABLE || k == ROWS) /* the line that does not exist yet */
                assert_non_null(strstr(err.where, ", line 59"));
            if (k == NUMBERED) /* eleven batches, five of them trained on */
                assert_non_null(strstr(err.text, workers == 1
                                                     ? " 0 of 10 batches prefetched, 1 in"
                                                     : " 5 of 10 batches prefetched, 1 in"));
            if (k == TEXT)
                assert_non_null(strstr(err.where, ", byte 571"));
            if (k != PROGRAM) /* the reader has not returned */
                check_in_use(m, g, &o);
            quern_model_free(m);
            quern_generator_free(g);
            open_gate(d);
            disk = NULL;
            quern__qrec_window = 4 << 20;
            if (w.gate)
                pthread_join(w.thread, NULL);
        }
    quern_tokenizer_free(t);
}

/* ---- one warning, then a wait ---- */

static int warnings;
static char said[512];

static void log_line(void *user, int level, const char *text)
{
    (void)user;
    if (level <= 1 && strstr(text, " takes longer than ")) {
        warnings++;
        snprintf(said, sizeof said, "%s", text);
    }
}

static double patience;

static void *open_later(void *arg)
{
    usleep((useconds_t)(2.5e6 * patience));
    open_gate(arg);
    return NULL;
}

/* A run whose gate is open (quick), or opens after 2.5 times the patience. Returns the model. */
static quern_model *run_past(kind k, int workers, bool quick)
{
    gate d = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, !quick, 0, 0 };
    writer w = { 0 };
    pthread_t thread;
    quern_error err = { 0 };
    warnings = 0;
    quern_model *m = model();
    quern_generator *g = source(k, &d, &w, NULL, &err);
    quern_fit_opts o = { .batch_size = batch,
                         .no_shuffle = 1,
                         .workers = workers,
                         .steps_per_epoch = k == NUMBERED || k == TABLE ? 0 : 8 };
    pthread_create(&thread, NULL, open_later, &d);
    quern_history_free(fit(m, g, o));
    pthread_join(thread, NULL);
    if (w.gate)
        pthread_join(w.thread, NULL);
    quern_generator_free(g);
    return m;
}

/* Without a limit, a long wait is reported once, and the run continues unchanged. On a slow machine
 * the test raises the patience until an open gate gives no warning. */
static void stall_without_timeout_warns_once(void **state)
{
    (void)state;
    static const char *const told[] = {
        [NUMBERED] = ("generator, records from number 50: waiting for the callback takes longer "
                      "than %g s; batch 6 "
                      "of epoch 1, from record 51, is pending; "),
        [PULLED] = "generator, batch 6: reading takes longer than %g s; batch 6 of epoch 1, from "
                   "record 51",
        [YIELDED] = "generator, batch 6: waiting for the function takes longer than %g s; batch 6",
        [TABLE] = ", line 59: reading takes longer than %g s; batch 1 of epoch 1, from record 1"
    };
    double before = quern__queue_patience;
    char expected[200];
    quern_set_log(log_line, NULL);
    quern__queue_patience = patience = 0.2;
    for (kind k = NUMBERED; k <= TABLE; k++)
        for (int workers = 1; workers <= (k == NUMBERED ? 8 : 1); workers += 7) {
            quern_model *quick = run_past(k, workers, true);
            for (; warnings && patience < 10; quick = run_past(k, workers, true)) {
                quern_model_free(quick);
                quern__queue_patience = patience *= 2;
            }
            quern_model *slow = run_past(k, workers, false);
            snprintf(expected, sizeof expected, told[k], patience); // NOLINT: of the table above
            if (warnings != 1 || !strstr(said, expected))
                fail_msg("kind %d, %d workers: told %d times: %s", k, workers, warnings, said);
            check_same(slow, quick);
            quern_model_free(slow);
            quern_model_free(quick);
        }
    quern_set_log(NULL, NULL);
    quern__queue_patience = before;
}

/* P10: without workers, no thread observes the reader. */
static void stall_timeout_without_workers_is_refused(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *m = model();
    quern_generator *g = array();
    assert_int_equal(quern_generator_set_stall_timeout(g, -1, &err), QUERN_INVALID);
    err = (quern_error){ 0 };
    CHECK_OK(quern_generator_set_stall_timeout(g, 5, &err), err);
    assert_null(quern_fit_generator(m, g, &(quern_fit_opts){ .no_workers = 1 }, &err));
    assert_true(err.code == QUERN_INVALID && !strcmp(err.where, "stall_timeout"));
    quern_history_free(fit(m, g, (quern_fit_opts){ .workers = 2 }));
    quern_generator_free(g);
    quern_model_free(m);
}

static int set_up(void **state)
{
    (void)state;
    fill();
    signal(SIGPIPE, SIG_IGN); /* the pipe may be closed early */
    snprintf(pipe_path, sizeof pipe_path, "/tmp/quern-stall-%d", (int)getpid());
    write_arrays();
    return 0;
}

static int clear_up(void **state)
{
    (void)state;
    remove_arrays();
    return unlink(pipe_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_stall_is_an_error_that_names_it),
                                        cmocka_unit_test(stall_without_timeout_warns_once),
                                        cmocka_unit_test(
                                            stall_timeout_without_workers_is_refused) };
    return cmocka_run_group_tests(tests, set_up, clear_up);
}
