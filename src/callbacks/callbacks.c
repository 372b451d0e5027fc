/* Creates callbacks, calls their hooks, and saves and restores their states. */
#include "callbacks.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

quern_callback *quern_callback_new(const quern_hooks *hooks, void *user)
{
    if (!hooks)
        return NULL;
    quern_callback *c = quern__zalloc(1, sizeof *c);
    if (c)
        *c = (quern_callback){ .hooks = *hooks, .user = user };
    return c;
}

void quern_callback_free(quern_callback *c)
{
    if (c && c->free)
        c->free(c->user);
    quern__free(c);
}

static quern_hook *hook_of(const quern_callback *c, quern__moment moment)
{
    const quern_hooks *h = &c->hooks;
    quern_hook *const all[] = {
        h->on_train_begin,         h->on_train_end,        h->on_epoch_begin,   h->on_epoch_end,
        h->on_train_batch_begin,   h->on_train_batch_end,  h->on_test_begin,    h->on_test_end,
        h->on_test_batch_begin,    h->on_test_batch_end,   h->on_predict_begin, h->on_predict_end,
        h->on_predict_batch_begin, h->on_predict_batch_end
    };
    return all[moment];
}

bool quern__listens(quern_callback *const *callbacks, int n, quern__moment moment)
{
    for (int i = 0; i < n; i++)
        if (hook_of(callbacks[i], moment))
            return true;
    return false;
}

int quern__callbacks_call(quern_callback *const *callbacks, int n, quern__moment moment,
                          quern__logs *logs, quern_error *err)
{
    int result = QUERN_OK;
    quern_error own = { 0 };
    logs->open = moment == QUERN__EPOCH_END;
    for (int i = 0; i < n && result >= 0; i++) {
        quern_hook *hook = hook_of(callbacks[i], moment);
        logs->event.n_logs = logs->n;
        int status = hook ? hook(callbacks[i]->user, &logs->event, err ? err : &own) : QUERN_OK;
        if (status < 0 && err && !err->code)
            quern__fail(err, status, "callback", "callback %d failed", i + 1);
        result = status < 0 ? status : status == QUERN_END ? QUERN_END : result;
    }
    logs->open = false;
    return result;
}

int quern_event_log(const quern_event *event, const char *name, double value)
{
    if (!event || !name)
        return QUERN_INVALID;
    quern__logs *logs = (quern__logs *)(uintptr_t)event;
    if (!logs->open)
        return QUERN_INVALID;
    for (int i = 0; i < logs->n; i++)
        if (!strcmp(logs->names[i], name)) {
            logs->values[i] = value;
            return QUERN_OK;
        }
    if (logs->n_own == QUERN__EXTRA_LOGS)
        return QUERN_INVALID;
    char *own = logs->own[logs->n_own++];
    snprintf(own, sizeof *logs->own, "%s", name);
    logs->names[logs->n] = own;
    logs->values[logs->n++] = value;
    logs->event.n_logs = logs->n;
    return QUERN_OK;
}

size_t quern__callback_bytes(const quern_callback *c, const quern_model *m)
{
    return c->bytes ? c->bytes(c->user, m) : 0;
}

double quern_model_learning_rate(const quern_model *m)
{
    if (!m)
        return 0;
    const quern__optimizer *o = quern__optimizer_leader(quern__model_optimizer(m));
    return o ? quern__optimizer_rate(o) : 0;
}

int quern_model_set_learning_rate(quern_model *m, double rate, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m);
    quern__optimizer *o = quern__optimizer_leader(quern__model_optimizer(m));
    const char *wrong = NULL;
    if (!o)
        wrong = "the model is not compiled";
    else if (quern__optimizer_has_several(o))
        wrong = "each of the optimizers has its own rate";
    else if (quern__optimizer_has_schedule(o))
        wrong = "the optimizer has a schedule";
    else if (!(rate >= 0))
        wrong = "must be at least 0";
    if (wrong)
        return quern__fail(err, QUERN_INVALID, "learning_rate", "%s", wrong);
    quern__optimizer_set_rate(o, rate);
    return QUERN_OK;
}

int quern__make_folders(const char *path, quern_error *err)
{
    char folder[4096];
    if ((size_t)snprintf(folder, sizeof folder, "%s", path) >= sizeof folder)
        return quern__fail(err, QUERN_INVALID, path, "the name is too long");
    for (char *slash = folder; (slash = strchr(slash + 1, '/'));) {
        *slash = 0;
        if (access(folder, F_OK) && mkdir(folder, 0777) && errno != EEXIST)
            return quern__fail(err, QUERN_IO, path, "its folder cannot be created: %s",
                               strerror(errno));
        *slash = '/';
    }
    return QUERN_OK;
}

/* ---- built-in callbacks ---- */

static const quern__ready *const ready[] = {
    &quern__csv_logger,        &quern__early_stopping,          &quern__model_checkpoint,
    &quern__terminate_on_nan,  &quern__learning_rate_scheduler, &quern__reduce_lr_on_plateau,
    &quern__generate_callback, &quern__backup_and_restore
};
enum { n_ready = sizeof ready / sizeof *ready };

/* The common first members of all states. */
typedef struct state {
    json_t *config;
    const quern__ready *kind;
} state;

static void state_free(void *user)
{
    state *s = user;
    if (s->kind->end)
        s->kind->end(s);
    json_decref(s->config);
    quern__free(s);
}

bool quern__event_resumed(const quern_event *event)
{
    return ((const quern__logs *)(const void *)event)->resumed;
}

json_t *quern__json_bits(double v)
{
    char text[48];
    quern__format(text, sizeof text, "%a", v);
    return json_string(text);
}

double quern__json_bits_read(json_t *v)
{
    const char *text = json_string_value(v);
    return text ? quern__strtod(text, NULL) : (double)NAN;
}

/* The state of a built-in callback; NULL: a user-defined one. */
static state *ready_state(const quern_callback *c)
{
    return c->free == state_free ? c->user : NULL;
}

void *quern__ready_state(const quern_callback *c, const quern__ready *kind)
{
    state *s = ready_state(c);
    return s && s->kind == kind ? s : NULL;
}

const quern__ready *quern__ready_kind(const quern_callback *c)
{
    const state *s = ready_state(c);
    return s ? s->kind : NULL;
}

json_t *quern__callbacks_save(quern_callback *const *callbacks, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        state *s = ready_state(callbacks[i]);
        if (s && s->kind->save)
            json_array_append_new(list, json_pack("{s:s, s:o}", "name", s->kind->row.name, "state",
                                                  s->kind->save(s)));
    }
    return list;
}

int quern__callbacks_restore(quern_callback *const *callbacks, int n, json_t *kept,
                             quern_error *err)
{
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        state *s = ready_state(callbacks[i]);
        if (!s || !s->kind->save)
            continue;
        json_t *own = json_array_get(kept, at++);
        const char *name = quern__config_text(own, "name");
        if (!name || strcmp(name, s->kind->row.name))
            return quern__fail(err, QUERN_INVALID, "resume",
                               "the run had %s, this run has %s instead",
                               name ? name : "no callback", s->kind->row.name);
        int status = s->kind->restore(s, json_object_get(own, "state"), err);
        if (status < 0)
            return status;
    }
    return at == json_array_size(kept)
               ? QUERN_OK
               : quern__fail(err, QUERN_INVALID, "resume", "this run has fewer callbacks");
}

int quern__callbacks_sync(quern_callback *const *callbacks, int n, quern_error *err)
{
    int status = QUERN_OK;
    for (int i = 0; i < n && status >= 0; i++) {
        state *s = ready_state(callbacks[i]);
        status = s && s->kind->sync ? s->kind->sync(s, err) : QUERN_OK;
    }
    return status;
}

void *quern__callbacks_bytes(quern_callback *const *callbacks, int n, int k, size_t *size)
{
    for (int i = 0; i < n; i++) {
        state *s = ready_state(callbacks[i]);
        void *bytes = s && s->kind->bytes ? s->kind->bytes(s, size) : NULL;
        if (bytes && k-- == 0)
            return bytes;
    }
    return NULL;
}

quern_callback *quern_callback_from_spec(const char *words, quern_error *err)
{
    QUERN__ENTER(err, NULL, "words", words);
    const quern__class *rows[n_ready + 1] = { 0 };
    json_t *config = NULL;
    for (int i = 0; i < n_ready; i++)
        rows[i] = &ready[i]->row;
    const quern__class *row = quern__parse_spec_among(rows, "callback", words, &config, err);
    if (!row)
        return NULL;
    const quern__ready *kind = NULL;
    for (int i = 0; i < n_ready; i++)
        kind = row == &ready[i]->row ? ready[i] : kind;
    state *s = quern__zalloc(1, kind->state_bytes);
    quern_callback *c = s ? quern_callback_new(&kind->hooks, s) : NULL;
    if (!c) {
        quern__free(s);
        json_decref(config);
        quern__fail_memory(err, kind->state_bytes);
        return NULL;
    }
    s->config = config;
    s->kind = kind;
    c->free = state_free;
    c->bytes = kind->takes;
    if (kind->start && kind->start(s, err) < 0) {
        quern_callback_free(c);
        return NULL;
    }
    return c;
}
