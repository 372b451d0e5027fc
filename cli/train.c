/* The commands fit and evaluate: they read options, run the library, and report epochs and the end
 * of the run. */
#include "commands.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void put_number(FILE *to, double v, bool json)
{
    if (isfinite(v))
        fprintf(to, json ? "%.9g" : "%.4f", v);
    else
        fprintf(to, json ? "null" : "%f", v);
}

/* Prints a line of JSON for each epoch. */
static int on_epoch_end(void *user, const quern_event *e, quern_error *err)
{
    (void)err;
    printf("{\"event\":\"epoch\",\"epoch\":%lld,\"steps\":%lld,\"samples\":%lld,\"seconds\":%.6f,"
           "\"wait_seconds\":%.6f,",
           (long long)e->epoch + 1, (long long)e->batch, (long long)e->records, e->seconds,
           e->wait_seconds);
    cli_json_size(stdout, "peak_bytes", cli_peak());
    fputs(",\"logs\":{", stdout);
    for (int i = 0; i < e->n_logs; i++) {
        printf("%s\"%s\":", i ? "," : "", e->names[i]);
        put_number(stdout, e->logs[i], true);
    }
    putchar('}');
    for (int i = 0; i < e->n_logs; i++)
        if (!strcmp(e->names[i], "bad_records") &&
            !strncmp(cli_option(user, "bad-records"), "skip", 4))
            printf(",\"skipped\":%.0f", e->logs[i]);
    printf("}\n");
    cli_output_flush();
    return QUERN_OK;
}

/* Prints the plan as a line of JSON. */
static int on_train_begin(void *user, const quern_event *e, quern_error *err)
{
    const arguments *a = user;
    (void)e, (void)err;
    cli_plan_json(a->plan, true);
    return QUERN_OK;
}

/* Stores the time of the first training step, in seconds since the process started. */
static int on_train_batch_end(void *user, const quern_event *e, quern_error *err)
{
    const arguments *a = user;
    double *first = a->first_step;
    (void)e, (void)err;
    if (*first == 0)
        *first = cli_now() - a->started;
    return QUERN_OK;
}

/* Whether standard error is a terminal that can draw a line again. */
static bool can_redraw(const arguments *a)
{
    const char *kind = getenv("TERM");
    return !a->json && isatty(STDERR_FILENO) && kind && *kind && strcmp(kind, "dumb");
}

enum { most_callbacks = 32 };

/* Creates the callbacks of --callback and the callbacks that print. Returns their number, or -1
 * with *code set. */
static int make_callbacks(const arguments *a, quern_callback **out, quern_error *err, int *code)
{
    static const quern_hooks json = { .on_train_begin = on_train_begin,
                                      .on_epoch_end = on_epoch_end },
                             first = { .on_train_batch_end = on_train_batch_end };
    bool quiet = cli_option(a, "quiet") != NULL, draws = can_redraw(a);
    int n = 0;
    for (int i = 0; i < a->n_callbacks; i++)
        if (!(out[n++] = quern_callback_from_spec(a->callbacks[i], err))) {
            *code = cli_fail_words(err->code, err);
            return -1;
        }
    out[n++] = quern_callback_new(&first, (void *)(size_t)a);
    if (a->json)
        out[n++] = quern_callback_new(&json, (void *)(size_t)a);
    else if (!quiet)
        out[n++] =
            quern_progress_callback(STDERR_FILENO, draws ? 1 : 3, draws && !getenv("NO_COLOR"));
    cli_bar = draws && !quiet;
    for (int i = 0; i < n; i++)
        if (!out[i])
            return *code = cli_no_memory(), -1;
    return n;
}

/* Reads --checkpoint-every: steps ("500") or a time ("30s", "10m", "2h"). Returns false after an
 * error message. */
static bool read_every(const arguments *a, quern_fit_opts *o)
{
    const char *text = cli_option(a, "checkpoint-every");
    static const char units[] = "smh";
    static const double seconds[] = { 1, 60, 3600 };
    char *end;
    double v = strtod(text, &end);
    const char *unit = *end ? strchr(units, *end) : NULL;
    if (end == text || !(v > 0) || v > 1e15 || (*end && (!unit || end[1])) ||
        (!unit && v != floor(v)))
        return cli_wrong_value(a, "checkpoint-every",
                               "must be a number of steps, or a time: 500, 30s, 10m, 2h"),
               false;
    if (unit)
        o->checkpoint_seconds = v * seconds[unit - units];
    else
        o->checkpoint_steps = (int64_t)v;
    return true;
}

/* Reads the options of checkpoints. Returns false after an error message. */
static bool read_checkpoint(const arguments *a, quern_fit_opts *o)
{
    const char *every = cli_option(a, "checkpoint-every");
    o->checkpoint = cli_option(a, "checkpoint");
    o->resume = cli_option(a, "resume") != NULL;
    o->no_replay = cli_option(a, "generator-resumes") != NULL;
    if (!o->checkpoint && (every || o->resume || o->no_replay))
        return cli_wrong(every       ? "--checkpoint-every"
                         : o->resume ? "--resume"
                                     : "--generator-resumes",
                         "needs --checkpoint"),
               false;
    if (o->no_replay && !cli_option(a, "generator"))
        return cli_wrong("--generator-resumes", "applies to --generator"), false;
    return !every || read_every(a, o);
}

/* Sets QUERN_RESUME_STEP for generator programs. Returns 0, or the exit status after an error
 * message. */
static int export_resume_step(const quern_fit_opts *o)
{
    quern_checkpoint at;
    char step[24];
    bool found = o->resume && quern_checkpoint_read(o->checkpoint, &at, NULL) >= 0;
    snprintf(step, sizeof step, "%lld", found ? (long long)at.batches : 0LL);
    return setenv("QUERN_RESUME_STEP", step, 1) ? cli_no_memory() : 0;
}

/* Reads the other options of fit. Returns false after an error message. */
static bool read_options(const arguments *a, quern_fit_opts *o)
{
    int64_t queue = 0, workers = 0;
    const char *policy = cli_option(a, "on-exhausted");
    static const char *const policies[] = { "stop", "error", "restart" };
    o->epochs = 1;
    if (!cli_range(a, "epochs", 1, INT32_MAX, &o->epochs) ||
        !cli_range(a, "initial-epoch", 0, INT32_MAX, &o->initial_epoch) ||
        !cli_range(a, "batch-size", 1, INT32_MAX, &o->batch_size) ||
        !cli_count(a, "steps-per-epoch", &o->steps_per_epoch) ||
        !cli_count(a, "validation-steps", &o->validation_steps) ||
        !cli_range(a, "validation-freq", 1, INT32_MAX, &o->validation_freq) ||
        !cli_range(a, "max-queue-size", 1, 1024, &queue) ||
        !cli_range(a, "workers", 0, 64, &workers) || !cli_memory(a, &o->memory) ||
        !cli_split_batch(a, &o->split_batch))
        return false;
    o->no_workers = cli_option(a, "workers") && !workers;
    if (o->initial_epoch >= o->epochs && !cli_option(a, "quiet"))
        fprintf(stderr,
                "quern: warning: --initial-epoch %lld of %lld epochs: nothing is left to train\n",
                (long long)o->initial_epoch, (long long)o->epochs);
    o->max_queue_size = (int32_t)queue;
    o->workers = (int32_t)workers;
    o->class_weight = cli_option(a, "class-weight");
    o->no_shuffle = cli_option(a, "no-shuffle") != NULL;
    o->on_exhausted = -!!policy;
    for (int i = 0; policy && i < 3; i++)
        if (!strcmp(policy, policies[i]))
            o->on_exhausted = i;
    return o->on_exhausted >= 0 ||
           (cli_wrong_value(a, "on-exhausted", "must be stop, error or restart"), false);
}

/* Checks before training that `path` is writable. Returns false after an error message. */
static bool can_write(const char *path)
{
    quern_error err = { 0 };
    return quern_file_check(path, &err) >= 0 || (cli_fail(err.code, &err), false);
}

static bool same_file(const char *a, const char *b)
{
    struct stat is, other;
    return !strcmp(a, b) || (!stat(a, &is) && !stat(b, &other) && is.st_dev == other.st_dev &&
                             is.st_ino == other.st_ino);
}

/* Checks that the checkpoint is neither MODEL nor --output, so that MODEL changes only after a
 * successful run. Returns 0, or the exit status after an error message. */
static int check_checkpoint_path(const arguments *a, const char *output)
{
    const char *checkpoint = cli_option(a, "checkpoint");
    for (int i = 0; checkpoint && i < 2; i++)
        if (same_file(checkpoint, i ? output : a->words[0])) {
            fprintf(stderr,
                    "quern: --checkpoint: %s is %s\nhint: use another file for the checkpoint\n",
                    checkpoint, i ? "--output too" : "MODEL");
            return 2;
        }
    return 0;
}

/* Prints the last line: the reason of the end, times and peak memory. */
static void report_end(const arguments *a, const quern_history *h)
{
    char peak[32] = "unknown";
    size_t bytes = cli_peak();
    if (a->json) {
        printf("{\"event\":\"end\",\"reason\":\"%s\",\"epochs\":%lld,", quern_history_reason(h),
               (long long)quern_history_epochs(h));
        cli_json_size(stdout, "peak_bytes", bytes);
        printf(",\"first_step_seconds\":%.6f}\n", *a->first_step);
        return;
    }
    if (bytes)
        snprintf(peak, sizeof peak, "%.1f MB", (double)bytes / 1e6);
    if (!cli_option(a, "quiet"))
        fprintf(stderr, "%s: total %.2f s, first step at %.3f s, peak memory %s\n",
                quern_history_reason(h), cli_now() - a->started, *a->first_step, peak);
}

/* Checks that the data of --new-schema has column names. Returns false after an error message. */
static bool can_learn_names(const arguments *a)
{
    const char *format = cli_option(a, "format");
    bool arrays =
        cli_option(a, "generator") ||
        (format && (!strcmp(format, "npy") || !strcmp(format, "npz") || !strcmp(format, "idx")));
    for (int i = 1; i < a->n && !format; i++) {
        size_t n = strlen(a->words[i]), name = strcspn(a->words[i], "=:/.");
        arrays = arrays || a->words[i][name] == '=' || a->words[i][name] == ':' ||
                 (n > 4 && !strcmp(a->words[i] + n - 4, ".npz"));
    }
    return !cli_option(a, "new-schema") || !arrays ||
           (cli_wrong("--new-schema", "needs column names, which arrays do not have"), false);
}

/* Opens the training data and the validation data, if there is any. */
static quern_generator *open_data(const arguments *a, quern_model *m,
                                  quern_generator **validation_data, quern_error *err, int *code)
{
    char *validation = (char *)(size_t)cli_option(a, "validation");
    if (cli_option(a, "new-schema") && quern_model_set_schema(m, NULL, err) < 0)
        *code = cli_fail(err->code, err);
    quern_generator *data =
        *code ? NULL : cli_data(a, m, "generator", a->words + 1, a->n - 1, err, code);
    if (data && (validation || cli_option(a, "validation-generator")))
        *validation_data =
            cli_data(a, m, "validation-generator", &validation, validation != NULL, err, code);
    if (!*code && cli_option(a, "validation-split"))
        *code = *validation_data
                    ? cli_wrong("--validation-split", "does not combine with --validation")
                    : cli_split(a, m, data, validation_data, err);
    return data;
}

/* Adapts preprocessing layers, if the options ask for it. The memory is planned before data is
 * read. */
static int adapt_layers(const arguments *a, quern_model *m, quern_generator *data,
                        const quern_fit_opts *o, quern_error *err)
{
    if (!cli_option(a, "adapt"))
        return 0;
    if (quern_plan_fit(m, data, o, o->plan, err) < 0 ||
        quern_adapt(m, NULL, data, o->batch_size, o->steps_per_epoch, err) < 0)
        return cli_fail(err->code, err);
    return 0;
}

/* Prints how to continue an interrupted run. Returns the exit status. */
static int report_interrupt(const arguments *a, const quern_fit_opts *o)
{
    if (o->checkpoint && access(o->checkpoint, F_OK) == 0)
        fprintf(stderr, "quern: interrupted; --resume continues from %s\n", o->checkpoint);
    else
        fprintf(stderr, "quern: interrupted; %s is unchanged\n", a->words[0]);
    return 128 + *o->interrupt;
}

static int run_fit(const arguments *a)
{
    quern_error err = { 0 };
    quern_fit_opts o = { 0 };
    quern_callback *callbacks[most_callbacks] = { 0 };
    uint64_t seed = 0;
    int code;
    if (!read_options(a, &o) || !read_checkpoint(a, &o) || !cli_seed(a, &seed) ||
        !can_learn_names(a))
        return 2;
    const char *output = cli_option(a, "output");
    code = export_resume_step(&o);
    quern_model *m = code ? NULL : cli_open(a, 1, &err, &code);
    if (!m)
        return code;
    output = output ? output : a->words[0];
    code = can_write(output) ? check_checkpoint_path(a, output) : 1;
    if (code) {
        quern_model_free(m);
        return code;
    }
    quern_generator *data = open_data(a, m, &o.validation_data, &err, &code);
    if (!code && cli_option(a, "seed"))
        quern_model_set_seed(m, seed);
    int n = code ? 0 : make_callbacks(a, callbacks, &err, &code);
    o.callbacks = callbacks;
    o.n_callbacks = n < 0 ? 0 : n;
    o.plan = a->plan;
    if (!code)
        code = adapt_layers(a, m, data, &o, &err);
    quern_model_set_watch(m, cli_option(a, "watch") != NULL);
    o.interrupt = cli_signals();
    quern_history *h = code ? NULL : quern_fit_generator(m, data, &o, &err);
    if (!code && !h)
        code = cli_fail(err.code, &err);
    if (h && quern_history_error(h))
        code = cli_fail(quern_history_error(h)->code, quern_history_error(h));
    bool cut = h && !strcmp(quern_history_reason(h), "interrupted");
    if (h && !code && !cut && quern_model_save(m, output, &err) < 0)
        code = cli_fail(err.code, &err);
    if (h && !code)
        report_end(a, h);
    if (h && !code)
        cli_print_profile(a, m);
    if (cut && !code)
        code = report_interrupt(a, &o);
    quern_history_free(h);
    for (int i = 0; i < most_callbacks; i++)
        quern_callback_free(callbacks[i]);
    quern_generator_free(data);
    quern_generator_free(o.validation_data);
    quern_model_free(m);
    return code;
}

/* Locks the files of a run, so that two runs do not write the same model or checkpoint, and runs
 * fit. */
int cli_fit(const arguments *a)
{
    quern_error err = { 0 };
    quern_lock *model = NULL, *checkpoint = NULL;
    const char *output = cli_option(a, "output") ? cli_option(a, "output")
                         : a->n                  ? a->words[0]
                                                 : NULL,
               *at = cli_option(a, "checkpoint");
    int code = 0;
    if ((output && quern_lock_take(output, &model, &err) < 0) ||
        (at && output && !same_file(at, output) && quern_lock_take(at, &checkpoint, &err) < 0))
        code = cli_fail(err.code, &err);
    code = code ? code : run_fit(a);
    quern_lock_give(checkpoint);
    quern_lock_give(model);
    return code;
}

int cli_evaluate(const arguments *a)
{
    quern_error err = { 0 };
    int64_t batch_size = 0, steps = 0;
    int code;
    if (!cli_range(a, "batch-size", 1, INT32_MAX, &batch_size) || !cli_count(a, "steps", &steps))
        return 2;
    cli_leave_nothing(NULL);
    quern_model *m = cli_open(a, 1, &err, &code);
    double *logs = m ? calloc((size_t)quern_model_logs(m) + 1, sizeof *logs) : NULL;
    if (m && !logs)
        code = cli_no_memory();
    quern_generator *data =
        logs ? cli_data(a, m, "generator", a->words + 1, a->n - 1, &err, &code) : NULL;
    int64_t samples = data ? quern_evaluate_generator(m, data, batch_size, steps, logs, &err) : 0;
    if (data && samples < 0)
        code = cli_fail((int)samples, &err);
    for (int i = 0; data && samples >= 0 && i < quern_model_logs(m); i++) {
        printf(a->json ? "%s\"%s\":" : "%s%s ", a->json ? (i ? "," : "{") : "",
               quern_model_log_name(m, i));
        put_number(stdout, logs[i], a->json);
        fputs(a->json ? "" : "\n", stdout);
    }
    if (data && samples >= 0 && a->json)
        printf(",\"samples\":%lld}\n", (long long)samples);
    if (data && samples >= 0)
        cli_print_profile(a, m);
    free(logs);
    quern_generator_free(data);
    quern_model_free(m);
    return code;
}
