/* Callbacks that monitor a log: EarlyStopping and ReduceLROnPlateau, with their common part, and
 * LearningRateScheduler. https://keras.io/api/callbacks/ */
#include "callbacks.h"

#include <math.h>
#include <string.h>

int quern__monitor_start(quern__monitor *m, json_t *config, const char *callback, quern_error *err)
{
    static const char *const least_0[] = { "patience", "start_from_epoch", "cooldown", "min_lr",
                                           "factor" };
    const char *mode = quern__config_text(config, "mode");
    for (size_t i = 0; i < sizeof least_0 / sizeof *least_0; i++)
        if (quern__config_number(config, least_0[i]) < 0)
            return quern__fail(err, QUERN_INVALID, callback, "%s must be at least 0, not %g",
                               least_0[i], quern__config_number(config, least_0[i]));
    *m = (quern__monitor){ .name = quern__config_text(config, "monitor"), .best = NAN };
    if (!m->name || !mode || (strcmp(mode, "auto") && strcmp(mode, "min") && strcmp(mode, "max")))
        return quern__fail(err, QUERN_INVALID, callback, "mode must be auto, min or max, not '%s'",
                           mode ? mode : "");
    m->resolved = strcmp(mode, "auto") != 0;
    m->rises = !strcmp(mode, "max");
    return QUERN_OK;
}

/* Determines the direction: that of the metric's class; a loss decreases. */
static void monitor_resolve(quern__monitor *m, const quern_event *event)
{
    const char *name = strncmp(m->name, "val_", 4) ? m->name : m->name + 4;
    for (int i = 0; i < quern_model_logs(event->model); i++)
        if (!strcmp(quern_model_log_name(event->model, i), name))
            m->rises = quern__model_log_rises(event->model, i);
    m->resolved = true;
}

bool quern__monitor_read(quern__monitor *m, const quern_event *event, const char *callback,
                         double *value)
{
    for (int i = 0; i < event->n_logs; i++)
        if (!strcmp(event->names[i], m->name) && !isnan(event->logs[i])) {
            if (!m->resolved)
                monitor_resolve(m, event);
            *value = event->logs[i];
            return true;
        }
    quern__warn("%s: '%s' is not in the logs of epoch %lld", callback, m->name,
                (long long)event->epoch + 1);
    return false;
}

bool quern__monitor_better(const quern__monitor *m, double value, double than, double delta)
{
    than = isnan(than) ? (m->rises ? -INFINITY : INFINITY) : than; /* no value yet */
    return m->rises ? value - delta > than : value + delta < than;
}

json_t *quern__monitor_save(const quern__monitor *m)
{
    return json_pack("{s:o, s:b, s:b}", "best", quern__json_bits(m->best), "rises", (int)m->rises,
                     "resolved", (int)m->resolved);
}

void quern__monitor_restore(quern__monitor *m, json_t *kept)
{
    m->best = quern__json_bits_read(json_object_get(kept, "best"));
    m->rises = json_is_true(json_object_get(kept, "rises"));
    m->resolved = json_is_true(json_object_get(kept, "resolved"));
}

static double rate_of(const quern_event *event) { return quern_model_learning_rate(event->model); }

/* ---- EarlyStopping ---- */

typedef struct stopping {
    json_t *config;
    const quern__ready *kind;
    quern__monitor m;
    int64_t wait, best_epoch, stopped;
    size_t weight_bytes;
    char *weights; /* of the best epoch; NULL: restore_best_weights is false */
} stopping;

static int stopping_start(void *user, quern_error *err)
{
    stopping *s = user;
    return quern__monitor_start(&s->m, s->config, "early_stopping", err);
}

static int stopping_check(void *user, const quern__outlook *o, quern_error *err)
{
    return quern__monitor_check(&((stopping *)user)->m, o, false, "early_stopping", err);
}

/* Copies all weights to, or from, the snapshot. */
static void copy_weights(const quern_model *m, char *snapshot, bool restore)
{
    size_t at = 0, bytes;
    for (int i = 0; i < quern_model_weights(m); i++) {
        quern__variable *v = quern__model_variable(m, i);
        if (!quern__shape_bytes(&v->shape, v->dtype, &bytes))
            continue;
        if (restore)
            memcpy(quern__variable_numbers(v), snapshot + at, bytes);
        else
            memcpy(snapshot + at, quern__variable_numbers(v), bytes);
        at += bytes;
    }
}

/* Resets the state and allocates the snapshot of the best weights. */
static int stopping_begin(void *user, const quern_event *event, quern_error *err)
{
    stopping *s = user;
    size_t bytes;
    s->wait = s->best_epoch = 0;
    s->stopped = -1;
    s->m.best = NAN;
    quern__free(s->weights);
    s->weights = NULL;
    s->weight_bytes = 0;
    if (!quern__config_bool(s->config, "restore_best_weights"))
        return QUERN_OK;
    for (int i = 0; i < quern_model_weights(event->model); i++) {
        const quern__variable *v = quern__model_variable(event->model, i);
        s->weight_bytes += quern__shape_bytes(&v->shape, v->dtype, &bytes) ? bytes : 0;
    }
    s->weights = quern__alloc(s->weight_bytes + 1);
    if (!s->weights)
        return quern__fail_memory(err, s->weight_bytes);
    copy_weights(event->model, s->weights, false);
    return QUERN_OK;
}

/* Counts epochs without improvement. Returns QUERN_END after `patience` of them. */
static int stopping_epoch(void *user, const quern_event *event, quern_error *err)
{
    stopping *s = user;
    double value, baseline = quern__config_number(s->config, "baseline"),
                  delta = fabs(quern__config_number(s->config, "min_delta"));
    (void)err;
    if (!quern__monitor_read(&s->m, event, "early_stopping", &value) ||
        event->epoch < quern__config_int(s->config, "start_from_epoch"))
        return QUERN_OK;
    s->wait++;
    if (quern__monitor_better(&s->m, value, s->m.best, delta)) {
        s->m.best = value;
        s->best_epoch = event->epoch;
        if (s->weights)
            copy_weights(event->model, s->weights, false);
        if (isnan(baseline) || quern__monitor_better(&s->m, value, baseline, delta))
            s->wait = 0;
        return QUERN_OK;
    }
    if (s->wait < quern__config_int(s->config, "patience") || event->epoch == 0)
        return QUERN_OK;
    s->stopped = event->epoch;
    return QUERN_END;
}

static int stopping_end(void *user, const quern_event *event, quern_error *err)
{
    stopping *s = user;
    bool verbose = quern__config_int(s->config, "verbose") > 0;
    (void)err;
    if (s->stopped >= 0 && verbose)
        quern__note("epoch %lld: early stopping", (long long)s->stopped + 1);
    if (s->weights && verbose)
        quern__note("restored the weights of the end of epoch %lld, the best epoch",
                    (long long)s->best_epoch + 1);
    if (s->weights)
        copy_weights(event->model, s->weights, true);
    return QUERN_OK;
}

static json_t *stopping_save(const void *user)
{
    const stopping *s = user;
    return json_pack("{s:I, s:I, s:o}", "wait", (json_int_t)s->wait, "best_epoch",
                     (json_int_t)s->best_epoch, "monitor", quern__monitor_save(&s->m));
}

static int stopping_restore(void *user, json_t *kept, quern_error *err)
{
    stopping *s = user;
    (void)err;
    s->wait = quern__config_int(kept, "wait");
    s->best_epoch = quern__config_int(kept, "best_epoch");
    quern__monitor_restore(&s->m, json_object_get(kept, "monitor"));
    return QUERN_OK;
}

static void *stopping_bytes(void *user, size_t *size)
{
    stopping *s = user;
    *size = s->weight_bytes;
    return s->weights;
}

static size_t stopping_takes(const void *user, const quern_model *m)
{
    return quern__config_bool(((const stopping *)user)->config, "restore_best_weights")
               ? quern__model_bytes(m).snapshot
               : 0;
}

static void stopping_free(void *user) { quern__free(((stopping *)user)->weights); }

static const quern__field stopping_fields[] = { { "monitor", QUERN__F_TEXT, "\"val_loss\"" },
                                                { "min_delta", QUERN__F_NUMBER, "0" },
                                                { "patience", QUERN__F_INT, "0" },
                                                { "verbose", QUERN__F_INT, "0" },
                                                { "mode", QUERN__F_TEXT, "\"auto\"" },
                                                { "baseline", QUERN__F_NUMBER, "null" },
                                                { "restore_best_weights", QUERN__F_BOOL, "false" },
                                                { "start_from_epoch", QUERN__F_INT, "0" },
                                                { 0 } };
const quern__ready quern__early_stopping = {
    .row = QUERN__CALLBACK_ROW("EarlyStopping", stopping_fields),
    .hooks = { .on_train_begin = stopping_begin,
               .on_epoch_end = stopping_epoch,
               .on_train_end = stopping_end },
    .state_bytes = sizeof(stopping),
    .takes = stopping_takes,
    .start = stopping_start,
    .check = stopping_check,
    .end = stopping_free,
    .save = stopping_save,
    .restore = stopping_restore,
    .bytes = stopping_bytes,
};

bool quern__best_is_restored(quern_callback *const *callbacks, int n)
{
    for (int i = 0; i < n; i++) {
        const stopping *s = quern__ready_state(callbacks[i], &quern__early_stopping);
        if (s && s->weights)
            return true;
    }
    return false;
}

/* ---- ReduceLROnPlateau ---- */

typedef struct plateau {
    json_t *config;
    const quern__ready *kind;
    quern__monitor m;
    int64_t wait, cooldown;
} plateau;

static int plateau_start(void *user, quern_error *err)
{
    plateau *s = user;
    if (!(quern__config_number(s->config, "factor") < 1))
        return quern__fail(err, QUERN_INVALID, "reduce_lr_on_plateau",
                           "factor must be below 1, not %g",
                           quern__config_number(s->config, "factor"));
    return quern__monitor_start(&s->m, s->config, "reduce_lr_on_plateau", err);
}

static int plateau_check(void *user, const quern__outlook *o, quern_error *err)
{
    int status = quern__rate_check(o->model, "reduce_lr_on_plateau", err);
    return status < 0
               ? status
               : quern__monitor_check(&((plateau *)user)->m, o, false, "reduce_lr_on_plateau", err);
}

static int plateau_begin(void *user, const quern_event *event, quern_error *err)
{
    plateau *s = user;
    (void)event, (void)err;
    s->wait = s->cooldown = 0;
    s->m.best = NAN;
    return QUERN_OK;
}

/* Multiplies the learning rate by `factor` after `patience` epochs without improvement. */
static int plateau_epoch(void *user, const quern_event *event, quern_error *err)
{
    plateau *s = user;
    double value, rate = rate_of(event), least = quern__config_number(s->config, "min_lr");
    int status = quern_event_log(event, "learning_rate", rate);
    if (status < 0 || !quern__monitor_read(&s->m, event, "reduce_lr_on_plateau", &value))
        return status;
    if (s->cooldown > 0) {
        s->cooldown--;
        s->wait = 0;
    }
    if (quern__monitor_better(&s->m, value, s->m.best,
                              quern__config_number(s->config, "min_delta"))) {
        s->m.best = value;
        s->wait = 0;
        return QUERN_OK;
    }
    /* no improvement: wait for `patience` epochs, not below min_lr */
    if (s->cooldown > 0 || ++s->wait < quern__config_int(s->config, "patience") ||
        !((float)rate > (float)least))
        return QUERN_OK;
    double lower = fmax(rate * quern__config_number(s->config, "factor"), least);
    s->cooldown = quern__config_int(s->config, "cooldown");
    s->wait = 0;
    if (quern__config_int(s->config, "verbose") > 0)
        quern__note("epoch %lld: the learning rate is now %g", (long long)event->epoch + 1, lower);
    return quern_model_set_learning_rate(event->model, lower, err);
}

static json_t *plateau_save(const void *user)
{
    const plateau *s = user;
    return json_pack("{s:I, s:I, s:o}", "wait", (json_int_t)s->wait, "cooldown",
                     (json_int_t)s->cooldown, "monitor", quern__monitor_save(&s->m));
}

static int plateau_restore(void *user, json_t *kept, quern_error *err)
{
    plateau *s = user;
    (void)err;
    s->wait = quern__config_int(kept, "wait");
    s->cooldown = quern__config_int(kept, "cooldown");
    quern__monitor_restore(&s->m, json_object_get(kept, "monitor"));
    return QUERN_OK;
}

static const quern__field plateau_fields[] = { { "monitor", QUERN__F_TEXT, "\"val_loss\"" },
                                               { "factor", QUERN__F_NUMBER, "0.1" },
                                               { "patience", QUERN__F_INT, "10" },
                                               { "verbose", QUERN__F_INT, "0" },
                                               { "mode", QUERN__F_TEXT, "\"auto\"" },
                                               { "min_delta", QUERN__F_NUMBER, "0.0001" },
                                               { "cooldown", QUERN__F_INT, "0" },
                                               { "min_lr", QUERN__F_NUMBER, "0.0" },
                                               { 0 } };
const quern__ready quern__reduce_lr_on_plateau = {
    .row = QUERN__CALLBACK_ROW("ReduceLROnPlateau", plateau_fields),
    .hooks = { .on_train_begin = plateau_begin, .on_epoch_end = plateau_epoch },
    .state_bytes = sizeof(plateau),
    .start = plateau_start,
    .check = plateau_check,
    .save = plateau_save,
    .restore = plateau_restore,
};

/* ---- LearningRateScheduler: a schedule by epoch ---- */

typedef struct scheduler {
    json_t *config;
    const quern__ready *kind;
} scheduler;

static int scheduler_start(void *user, quern_error *err)
{
    json_t *schedule = json_object_get(((scheduler *)user)->config, "schedule");
    return json_is_number(schedule)
               ? quern__fail(err, QUERN_INVALID, "learning_rate_scheduler",
                             "expected a schedule such as exponential_decay(1e-3, 10, 0.5)")
               : QUERN_OK;
}

static int scheduler_check(void *user, const quern__outlook *o, quern_error *err)
{
    (void)user;
    return quern__rate_check(o->model, "learning_rate_scheduler", err);
}

static int scheduler_begin(void *user, const quern_event *event, quern_error *err)
{
    scheduler *s = user;
    double rate =
        quern__schedule_rate(json_object_get(s->config, "schedule"), (double)event->epoch);
    if (quern__config_int(s->config, "verbose") > 0)
        quern__note("epoch %lld: the learning rate is %g", (long long)event->epoch + 1, rate);
    return quern_model_set_learning_rate(event->model, rate, err);
}

static int scheduler_epoch(void *user, const quern_event *event, quern_error *err)
{
    (void)user, (void)err;
    return quern_event_log(event, "learning_rate", rate_of(event));
}

static const quern__field scheduler_fields[] = { { "schedule", QUERN__F_RATE, NULL },
                                                 { "verbose", QUERN__F_INT, "0" },
                                                 { 0 } };
const quern__ready quern__learning_rate_scheduler = {
    .row = QUERN__CALLBACK_ROW("LearningRateScheduler", scheduler_fields),
    .hooks = { .on_epoch_begin = scheduler_begin, .on_epoch_end = scheduler_epoch },
    .state_bytes = sizeof(scheduler),
    .start = scheduler_start,
    .check = scheduler_check,
};
