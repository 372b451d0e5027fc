/* Checks the requirements of callbacks before the first batch: a monitored log exists, the
 * learning rate can be set, a file can be written. */
#include "callbacks.h"

#include <stdio.h>
#include <string.h>

static void add_log(quern__outlook *o, const char *name)
{
    for (int i = 0; i < o->n; i++)
        if (!strcmp(o->names[i], name))
            return;
    if (o->n < (int)(sizeof o->names / sizeof *o->names))
        o->names[o->n++] = name;
}

/* Adds the logs of the run's epochs, without those that callbacks add. */
static void fill_logs(quern__outlook *o, char (*val_names)[100])
{
    const quern_model *m = o->model;
    int n = quern_model_logs(m);
    for (int i = 0; i < n; i++)
        add_log(o, quern_model_log_name(m, i));
    for (int i = 0; i < n && o->validates; i++) {
        snprintf(val_names[i], sizeof *val_names, "val_%.90s", quern_model_log_name(m, i));
        add_log(o, val_names[i]);
    }
    if (o->bad)
        add_log(o, "bad_records");
    if (o->val_bad && o->validates)
        add_log(o, "val_bad_records");
}

static int check_all(quern_callback *const *callbacks, int n, quern__outlook *o, quern_error *err)
{
    int status = QUERN_OK;
    for (int i = 0; i < n && status >= 0; i++) {
        const quern__ready *kind = quern__ready_kind(callbacks[i]);
        if (!kind) {
            o->open = o->open || callbacks[i]->hooks.on_epoch_end;
            continue;
        }
        if (kind == &quern__reduce_lr_on_plateau || kind == &quern__learning_rate_scheduler)
            add_log(o, "learning_rate");
        status = kind->check ? kind->check(callbacks[i]->user, o, err) : QUERN_OK;
    }
    return status;
}

int quern__callbacks_check(quern_callback *const *callbacks, int n, const quern__outlook *outlook,
                           quern_error *err)
{
    quern__outlook *o = quern__alloc(sizeof *o);
    char(*val_names)[100] = quern__alloc(QUERN__MAX_MEANS * sizeof *val_names);
    int status = o && val_names
                     ? QUERN_OK
                     : quern__fail_memory(err, sizeof *o + QUERN__MAX_MEANS * sizeof *val_names);
    if (status >= 0) {
        *o = *outlook;
        o->n = 0;
        fill_logs(o, val_names);
        status = check_all(callbacks, n, o, err);
    }
    quern__free(o);
    quern__free(val_names);
    return status;
}

bool quern__outlook_has(const quern__outlook *o, const char *name, bool batches)
{
    for (int i = 0; i < (batches ? quern_model_logs(o->model) : o->n); i++)
        if (!strcmp(o->names[i], name))
            return true;
    return false;
}

int quern__monitor_check(const quern__monitor *m, const quern__outlook *o, bool batches,
                         const char *callback, quern_error *err)
{
    char all[240] = "";
    size_t at = 0;
    int n = batches ? quern_model_logs(o->model) : o->n, shown = 0;
    if (quern__outlook_has(o, m->name, batches) || o->open)
        return QUERN_OK;
    for (; shown < n && at + strlen(o->names[shown]) + 8 < sizeof all; shown++)
        at +=
            (size_t)snprintf(all + at, sizeof all - at, "%s%s", shown ? ", " : "", o->names[shown]);
    int status =
        quern__fail(err, QUERN_INVALID, callback, "monitor: '%.60s' is not in the logs of %s: %s%s",
                    m->name, batches ? "a batch" : "an epoch", all, shown < n ? ", …" : "");
    bool val = !strncmp(m->name, "val_", 4) && quern__outlook_has(o, m->name + 4, true);
    const char *near = quern__nearest(m->name, o->names, (size_t)n, sizeof *o->names);
    if (val && !batches)
        quern__hint(err, "add validation data, or set monitor=%.60s", m->name + 4);
    else if (val)
        quern__hint(err, "set save_freq=epoch, or monitor=%.60s", m->name + 4);
    else if (near)
        quern__hint(err, "did you mean '%s'?", near);
    return status;
}

int quern__rate_check(const quern_model *m, const char *callback, quern_error *err)
{
    const quern__optimizer *o = quern__optimizer_leader(quern__model_optimizer(m));
    bool several = o && quern__optimizer_has_several(o);
    if (!o || (!several && !quern__optimizer_has_schedule(o)))
        return QUERN_OK;
    int status = quern__fail(err, QUERN_INVALID, callback, "the learning rate cannot be set: %s",
                             several ? "each of the optimizers has its own rate"
                                     : "the optimizer has a schedule");
    quern__hint(err,
                several ? "remove the callback"
                        : "set learning_rate of the optimizer to a number, or remove the callback");
    return status;
}
