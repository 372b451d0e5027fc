/* ModelCheckpoint, which saves models, and TerminateOnNaN. https://keras.io/api/callbacks/ */
#include "callbacks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- ModelCheckpoint ---- */

typedef struct checkpoint {
    json_t *config;
    const quern__ready *kind;
    quern__monitor m;
    int64_t batches; /* batches since the last save */
} checkpoint;

static int checkpoint_start(void *user, quern_error *err)
{
    checkpoint *s = user;
    const char *path = quern__config_text(s->config, "filepath"),
               *dot = path ? strrchr(path, '.') : NULL;
    json_t *freq = json_object_get(s->config, "save_freq");
    bool by_epoch = json_is_string(freq) && !strcmp(json_string_value(freq), "epoch");
    size_t length = path ? strlen(path) : 0;
    if (quern__config_bool(s->config, "save_weights_only")) {
        if (length < 11 || strcmp(path + length - 11, ".weights.h5"))
            return quern__fail(err, QUERN_INVALID, "model_checkpoint",
                               "filepath must end in .weights.h5 with save_weights_only");
    } else if (!dot || (strcmp(dot, ".keras") && strcmp(dot, ".h5")))
        return quern__fail(err, QUERN_INVALID, "model_checkpoint",
                           "filepath must end in .keras or .h5");
    if (!by_epoch && !(json_is_integer(freq) && json_integer_value(freq) > 0))
        return quern__fail(err, QUERN_INVALID, "model_checkpoint",
                           "save_freq must be epoch or a number of batches");
    return quern__monitor_start(&s->m, s->config, "model_checkpoint", err);
}

/* Formats a float as Python's repr: the shortest digits that represent it, with an exponent only
 * for very small or large values. */
static void shortest(double v, char *out, size_t size)
{
    bool plain = v == 0 || (fabs(v) >= 1e-4 && fabs(v) < 1e16);
    int digits = 1;
    while (quern__format(out, size, plain ? "%.*f" : "%.*g", digits, v),
           digits < 22 && isfinite(v) && quern__strtod(out, NULL) != v)
        digits++;
}

/* Formats one field "{name}" or "{name:format}" of a file name. False: no log has the name, or
 * the format is not digits, a point and d, f, e or g. */
static bool format_field(const char *field, size_t n, const quern_event *event, char *out,
                         size_t size)
{
    size_t name = 0;
    char format[16] = "", full[32];
    while (name < n && field[name] != ':')
        name++;
    if (n > name + sizeof format || n - name > 6) /* limits the width: a field has 64 bytes */
        return false;
    if (name < n)
        snprintf(format, sizeof format, "%.*s", (int)(n - name - 1), field + name + 1);
    size_t digits = strspn(format, "0123456789."), letters = strlen(format) - digits;
    const int64_t count = name == 5 && !strncmp(field, "epoch", 5)   ? event->epoch + 1
                          : name == 5 && !strncmp(field, "batch", 5) ? event->batch + 1
                                                                     : 0;
    const double *value = NULL;
    for (int i = 0; i < event->n_logs && !count; i++)
        if (strlen(event->names[i]) == name && !strncmp(event->names[i], field, name))
            value = &event->logs[i];
    if (letters > 1 || (!count && !value) ||
        (letters && !strchr(count ? "d" : "feg", format[digits])))
        return false;
    snprintf(full, sizeof full, "%%%.*s%s%c", (int)digits, format, count ? "ll" : "",
             count     ? 'd'
             : letters ? format[digits]
                       : 'g');
    if (count)
        snprintf(out, size, full, (long long)count); // NOLINT: digits, '.' and one letter
    else if (*format)
        quern__format(out, size, full, *value); // NOLINT
    else
        shortest(*value, out, size);
    return true;
}

/* Fails because of an invalid field; the hint lists the valid names. */
static int field_error(const char *from, const char *end, const quern_event *event,
                       quern_error *err)
{
    char all[200] = "epoch, batch";
    size_t at = strlen(all);
    for (int i = 0; i < event->n_logs && at + strlen(event->names[i]) + 3 < sizeof all; i++)
        at += (size_t)snprintf(all + at, sizeof all - at, ", %s", event->names[i]);
    int status = quern__fail(err, QUERN_INVALID, "model_checkpoint",
                             "filepath: '%.*s' is not epoch, batch or a log with a numeric format",
                             (int)(end - from + 1), from);
    quern__hint(err, "use one of %s, as in {epoch:02d} or {loss:.3f}", all);
    return status;
}

/* Formats the file name with the logs of the event. */
static int file_name(const checkpoint *s, const quern_event *event, char *out, size_t size,
                     quern_error *err)
{
    const char *p = quern__config_text(s->config, "filepath");
    size_t at = 0;
    while (*p && at + 64 < size) {
        const char *end = *p == '{' ? strchr(p, '}') : NULL;
        if (*p == '{' && !end)
            return quern__fail(err, QUERN_INVALID, "model_checkpoint",
                               "filepath: '}' is missing after '%s'", p);
        if (!end)
            out[at++] = *p++;
        else if (format_field(p + 1, (size_t)(end - p - 1), event, out + at, 64)) {
            at += strlen(out + at);
            p = end + 1;
        } else
            return field_error(p, end, event, err);
    }
    out[at] = 0;
    return *p ? quern__fail(err, QUERN_INVALID, "model_checkpoint", "the file name is too long")
              : QUERN_OK;
}

/* Saves the model under its formatted name. A model with values that are not finite is not
 * saved. */
static int checkpoint_write(checkpoint *s, const quern_event *event, quern_error *err)
{
    char path[1024];
    double value = NAN;
    bool verbose = quern__config_int(s->config, "verbose") > 0;
    quern_error broken = { 0 };
    s->batches = 0;
    if (!quern__model_finite(event->model, &broken)) {
        quern__warn("model_checkpoint: the model of epoch %lld is not saved: %s: %s",
                    (long long)event->epoch + 1, broken.where, broken.text);
        return QUERN_OK;
    }
    if (quern__config_bool(s->config, "save_best_only") &&
        quern__monitor_read(&s->m, event, "model_checkpoint", &value)) {
        if (isnan(s->m.best))
            s->m.best = quern__config_number(s->config, "initial_value_threshold");
        if (!quern__monitor_better(&s->m, value, s->m.best, 0)) {
            if (verbose)
                quern__note("epoch %lld: %s did not improve from %.5f", (long long)event->epoch + 1,
                            s->m.name, s->m.best);
            return QUERN_OK;
        }
        s->m.best = value;
    }
    int status = file_name(s, event, path, sizeof path, err);
    bool weights = quern__config_bool(s->config, "save_weights_only");
    if (status >= 0)
        status = quern__make_folders(path, err);
    if (status >= 0)
        status = weights ? quern_model_save_weights(event->model, path, NULL, err)
                         : quern_model_save(event->model, path, err);
    if (status >= 0 && verbose)
        quern__note("epoch %lld: saved to %s", (long long)event->epoch + 1, path);
    return status;
}

/* Checks that the file name can be formatted with the logs of any epoch (or batch), and creates
 * its folders. */
static int checkpoint_check(void *user, const quern__outlook *o, quern_error *err)
{
    checkpoint *s = user;
    char path[1024];
    double values[sizeof o->names / sizeof *o->names] = { 0 };
    const char *names[sizeof o->names / sizeof *o->names];
    bool batches = !json_is_string(json_object_get(s->config, "save_freq"));
    quern_event any = { .names = names, .logs = values };
    for (int i = 0; i < (batches ? quern_model_logs(o->model) : o->n); i++)
        if (o->always || strncmp(o->names[i], "val_", 4))
            names[any.n_logs++] = o->names[i];
    int status = quern__config_bool(s->config, "save_best_only")
                     ? quern__monitor_check(&s->m, o, batches, "model_checkpoint", err)
                     : QUERN_OK;
    if (status < 0 || o->open)
        return status;
    status = file_name(s, &any, path, sizeof path, err);
    if (status < 0)
        return status;
    bool varies = strcmp(path, quern__config_text(s->config, "filepath")) != 0;
    status = varies ? QUERN_OK : quern__make_folders(path, err);
    return status < 0 || varies ? status : quern__file_check(path, err);
}

static int checkpoint_epoch(void *user, const quern_event *event, quern_error *err)
{
    checkpoint *s = user;
    return json_is_string(json_object_get(s->config, "save_freq")) ? checkpoint_write(s, event, err)
                                                                   : QUERN_OK;
}

static int checkpoint_batch(void *user, const quern_event *event, quern_error *err)
{
    checkpoint *s = user;
    json_t *freq = json_object_get(s->config, "save_freq");
    return json_is_integer(freq) && ++s->batches >= json_integer_value(freq)
               ? checkpoint_write(s, event, err)
               : QUERN_OK;
}

static json_t *checkpoint_save(const void *user)
{
    const checkpoint *s = user;
    return json_pack("{s:I, s:o}", "batches", (json_int_t)s->batches, "monitor",
                     quern__monitor_save(&s->m));
}

static int checkpoint_restore(void *user, json_t *kept, quern_error *err)
{
    checkpoint *s = user;
    (void)err;
    s->batches = quern__config_int(kept, "batches");
    quern__monitor_restore(&s->m, json_object_get(kept, "monitor"));
    return QUERN_OK;
}

static const quern__field checkpoint_fields[] = { { "filepath", QUERN__F_TEXT, NULL },
                                                  { "monitor", QUERN__F_TEXT, "\"val_loss\"" },
                                                  { "verbose", QUERN__F_INT, "0" },
                                                  { "save_best_only", QUERN__F_BOOL, "false" },
                                                  { "save_weights_only", QUERN__F_BOOL, "false" },
                                                  { "mode", QUERN__F_TEXT, "\"auto\"" },
                                                  { "save_freq", QUERN__F_ANY, "\"epoch\"" },
                                                  { "initial_value_threshold", QUERN__F_NUMBER,
                                                    "null" },
                                                  { 0 } };
static size_t checkpoint_bytes(const void *user, const quern_model *m)
{
    (void)user;
    return quern__model_bytes(m).writing;
}

const quern__ready quern__model_checkpoint = {
    .row = QUERN__CALLBACK_ROW("ModelCheckpoint", checkpoint_fields),
    .hooks = { .on_epoch_end = checkpoint_epoch, .on_train_batch_end = checkpoint_batch },
    .state_bytes = sizeof(checkpoint),
    .takes = checkpoint_bytes,
    .start = checkpoint_start,
    .check = checkpoint_check,
    .save = checkpoint_save,
    .restore = checkpoint_restore,
};

/* ---- TerminateOnNaN: an invalid loss ends training without an error ---- */

typedef struct terminator {
    json_t *config;
    const quern__ready *kind;
} terminator;

static int terminator_batch(void *user, const quern_event *event, quern_error *err)
{
    bool raise = quern__config_bool(((terminator *)user)->config, "raise_error");
    if (event->n_logs < 1 || isfinite(event->logs[0]))
        return QUERN_OK;
    if (raise)
        return quern__fail(err, QUERN_NUMBER, "loss", "is not finite in batch %lld",
                           (long long)event->batch + 1);
    quern__warn("batch %lld: the loss is not finite; training stops", (long long)event->batch + 1);
    return QUERN_END;
}

static const quern__field terminator_fields[] = { { "raise_error", QUERN__F_BOOL, "false" },
                                                  { 0 } };
const quern__ready quern__terminate_on_nan = {
    .row = QUERN__CALLBACK_ROW("TerminateOnNaN", terminator_fields),
    .hooks = { .on_train_batch_end = terminator_batch },
    .state_bytes = sizeof(terminator),
};
