/* Callbacks that write: CSVLogger, ModelCheckpoint; and TerminateOnNaN. https://keras.io/api/callbacks/ */
#include "callbacks.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- CSVLogger ---- */

typedef struct logger {
    json_t *config;
    const quern__ready *kind;
    FILE *file;
    int n; /* columns after the epoch; 0 before the first line */
    char names[2 * QUERN__MAX_MEANS + QUERN__EXTRA_LOGS][100];
} logger;

static int logger_begin(void *user, const quern_event *event, quern_error *err)
{
    logger *s = user;
    const char *path = quern__config_text(s->config, "filename");
    if (s->file)
        fclose(s->file);
    s->n = 0;
    s->file = fopen(path, quern__event_resumed(event) ? "r+" : quern__config_bool(s->config, "append") ? "a" : "w");
    return s->file ? QUERN_OK : quern__fail(err, QUERN_IO, path, "cannot be written: %s", strerror(errno));
}

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

/* Columns are the sorted names of the first epoch; where nothing was validated yet, those with val_ too. */
static void name_columns(logger *s, const quern_event *event)
{
    bool validated = false;
    for (int i = 0; i < event->n_logs; i++) {
        validated = validated || !strncmp(event->names[i], "val_", 4);
        snprintf(s->names[s->n++], sizeof *s->names, "%s", event->names[i]);
    }
    qsort(s->names, (size_t)s->n, sizeof *s->names, by_name);
    for (int i = 0, n = s->n; i < n && !validated; i++)
        snprintf(s->names[s->n++], sizeof *s->names, "val_%.90s", s->names[i]);
}

static int logger_epoch(void *user, const quern_event *event, quern_error *err)
{
    logger *s = user;
    const char *separator = quern__config_text(s->config, "separator"), *path = quern__config_text(s->config, "filename");
    if (s->n == 0) {
        name_columns(s, event);
        fseek(s->file, 0, SEEK_END);
        if (ftell(s->file) == 0) {
            fputs("epoch", s->file);
            for (int i = 0; i < s->n; i++)
                fprintf(s->file, "%s%s", separator, s->names[i]);
            fputc('\n', s->file);
        }
    }
    fprintf(s->file, "%lld", (long long)event->epoch);
    for (int i = 0; i < s->n; i++) {
        int at = -1;
        for (int k = 0; k < event->n_logs; k++)
            at = strcmp(event->names[k], s->names[i]) ? at : k;
        if (at < 0)
            fprintf(s->file, "%sNA", separator);
        else
            fprintf(s->file, "%s%.17g", separator, event->logs[at]);
    }
    fputc('\n', s->file);
    return fflush(s->file) == 0 ? QUERN_OK : quern__fail(err, QUERN_IO, path, "cannot be written: %s", strerror(errno));
}

/* Some disks say only now what they could not write. */
static int logger_train_end(void *user, const quern_event *event, quern_error *err)
{
    logger *s = user;
    (void)event;
    int failed = s->file ? fclose(s->file) : 0;
    s->file = NULL;
    return failed ? quern__fail(err, QUERN_IO, quern__config_text(s->config, "filename"), "cannot be written: %s", strerror(errno))
                  : QUERN_OK;
}

/* How long the file is, and its columns: lines of epochs that are run again are cut off. */
static json_t *logger_save(const void *user)
{
    const logger *s = user;
    json_t *names = json_array();
    for (int i = 0; i < s->n; i++)
        json_array_append_new(names, json_string(s->names[i]));
    return json_pack("{s:I, s:o}", "bytes", (json_int_t)(s->file ? ftell(s->file) : 0), "names", names);
}

/* A checkpoint that remembers its lines must not outlive them. */
static int logger_sync(void *user, quern_error *err)
{
    const logger *s = user;
    return !s->file || fsync(fileno(s->file)) == 0
               ? QUERN_OK
               : quern__fail(err, QUERN_IO, quern__config_text(s->config, "filename"), "cannot be written: %s", strerror(errno));
}

static int logger_restore(void *user, json_t *kept, quern_error *err)
{
    logger *s = user;
    json_t *names = json_object_get(kept, "names");
    const char *path = quern__config_text(s->config, "filename");
    int64_t bytes = quern__config_int(kept, "bytes");
    s->n = 0;
    for (size_t i = 0; i < json_array_size(names) && s->n < (int)(sizeof s->names / sizeof *s->names); i++)
        snprintf(s->names[s->n++], sizeof *s->names, "%s", json_string_value(json_array_get(names, i)));
    fseek(s->file, 0, SEEK_END);
    if (bytes < 0 || ftell(s->file) < bytes)
        return quern__fail(err, QUERN_INVALID, path, "is shorter than the run had left it");
    if (ftruncate(fileno(s->file), (off_t)bytes) || fseek(s->file, (long)bytes, SEEK_SET))
        return quern__fail(err, QUERN_IO, path, "cannot be cut: %s", strerror(errno));
    return QUERN_OK;
}

static void logger_free(void *user)
{
    logger *s = user;
    if (s->file)
        fclose(s->file);
}

static const quern__field logger_fields[] = {
    { "filename", QUERN__F_TEXT, NULL }, { "separator", QUERN__F_TEXT, "\",\"" }, { "append", QUERN__F_BOOL, "false" }, { 0 }
};
const quern__ready quern__csv_logger = {
    .row = QUERN__CALLBACK_ROW("CSVLogger", logger_fields),
    .hooks = { .on_train_begin = logger_begin, .on_epoch_end = logger_epoch, .on_train_end = logger_train_end },
    .state_bytes = sizeof(logger),
    .end = logger_free,
    .save = logger_save,
    .restore = logger_restore,
    .sync = logger_sync,
};

/* ---- ModelCheckpoint ---- */

typedef struct checkpoint {
    json_t *config;
    const quern__ready *kind;
    quern__monitor m;
    int64_t batches; /* since it last saved */
} checkpoint;

static int checkpoint_start(void *user, quern_error *err)
{
    checkpoint *s = user;
    const char *path = quern__config_text(s->config, "filepath"), *dot = path ? strrchr(path, '.') : NULL;
    json_t *freq = json_object_get(s->config, "save_freq");
    bool by_epoch = json_is_string(freq) && !strcmp(json_string_value(freq), "epoch");
    size_t length = path ? strlen(path) : 0;
    if (quern__config_bool(s->config, "save_weights_only")) {
        if (length < 11 || strcmp(path + length - 11, ".weights.h5"))
            return quern__fail(err, QUERN_INVALID, "model_checkpoint", "filepath must end in .weights.h5 with save_weights_only");
    } else if (!dot || (strcmp(dot, ".keras") && strcmp(dot, ".h5")))
        return quern__fail(err, QUERN_INVALID, "model_checkpoint", "filepath must end in .keras or .h5");
    if (!by_epoch && !(json_is_integer(freq) && json_integer_value(freq) > 0))
        return quern__fail(err, QUERN_INVALID, "model_checkpoint", "save_freq is epoch or a number of batches");
    return quern__monitor_start(&s->m, s->config, "model_checkpoint", err);
}

/* As Python writes a float: the shortest digits that give it again, with an exponent only where it is very small or large. */
static void shortest(double v, char *out, size_t size)
{
    bool plain = v == 0 || (fabs(v) >= 1e-4 && fabs(v) < 1e16);
    int digits = 1;
    while (snprintf(out, size, plain ? "%.*f" : "%.*g", digits, v), digits < 22 && isfinite(v) && strtod(out, NULL) != v)
        digits++;
}

/* One field "{name}" or "{name:format}" of a file name; false when nothing is so called, or the format is none: digits, a point and
 * d, f, e or g. */
static bool format_field(const char *field, size_t n, const quern_event *event, char *out, size_t size)
{
    size_t name = 0;
    char format[16] = "", full[32];
    while (name < n && field[name] != ':')
        name++;
    if (n > name + sizeof format)
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
    if (letters > 1 || (!count && !value) || (letters && !strchr(count ? "d" : "feg", format[digits])))
        return false;
    snprintf(full, sizeof full, "%%%.*s%s%c", (int)digits, format, count ? "ll" : "", count ? 'd' : letters ? format[digits] : 'g');
    if (count)
        snprintf(out, size, full, (long long)count); // NOLINT: digits, '.' and one letter
    else if (*format)
        snprintf(out, size, full, *value); // NOLINT
    else
        shortest(*value, out, size);
    return true;
}

static int file_name(const checkpoint *s, const quern_event *event, char *out, size_t size, quern_error *err)
{
    const char *p = quern__config_text(s->config, "filepath");
    size_t at = 0;
    while (*p && at + 64 < size) {
        const char *end = *p == '{' ? strchr(p, '}') : NULL;
        if (!end)
            out[at++] = *p++;
        else if (format_field(p + 1, (size_t)(end - p - 1), event, out + at, 64)) {
            at += strlen(out + at);
            p = end + 1;
        } else
            return quern__fail(err, QUERN_INVALID, "model_checkpoint", "'%.*s' is no epoch, batch or log in digits",
                               (int)(end - p + 1), p);
    }
    out[at] = 0;
    return *p ? quern__fail(err, QUERN_INVALID, "model_checkpoint", "the file name is too long") : QUERN_OK;
}

static int save(checkpoint *s, const quern_event *event, quern_error *err)
{
    char path[1024];
    double value = NAN;
    bool verbose = quern__config_int(s->config, "verbose") > 0;
    quern_error broken = { 0 };
    s->batches = 0;
    if (!quern__model_finite(event->model, &broken)) {
        quern__warn("model_checkpoint: nothing is saved in epoch %lld: %s: %s", (long long)event->epoch + 1, broken.where,
                    broken.text);
        return QUERN_OK;
    }
    if (quern__config_bool(s->config, "save_best_only") && quern__monitor_read(&s->m, event, "model_checkpoint", &value)) {
        if (isnan(s->m.best))
            s->m.best = quern__config_number(s->config, "initial_value_threshold");
        if (!quern__monitor_better(&s->m, value, s->m.best, 0)) {
            if (verbose)
                quern__note("epoch %lld: %s did not improve from %.5f", (long long)event->epoch + 1, s->m.name, s->m.best);
            return QUERN_OK;
        }
        s->m.best = value;
    }
    int status = file_name(s, event, path, sizeof path, err);
    bool weights = quern__config_bool(s->config, "save_weights_only");
    status = status < 0 ? status : quern__make_folders(path, err);
    status = status < 0 ? status
             : weights  ? quern_model_save_weights(event->model, path, NULL, err)
                        : quern_model_save(event->model, path, err);
    if (status >= 0 && verbose)
        quern__note("epoch %lld: saved to %s", (long long)event->epoch + 1, path);
    return status;
}

static int checkpoint_epoch(void *user, const quern_event *event, quern_error *err)
{
    checkpoint *s = user;
    return json_is_string(json_object_get(s->config, "save_freq")) ? save(s, event, err) : QUERN_OK;
}

static int checkpoint_batch(void *user, const quern_event *event, quern_error *err)
{
    checkpoint *s = user;
    json_t *freq = json_object_get(s->config, "save_freq");
    return json_is_integer(freq) && ++s->batches >= json_integer_value(freq) ? save(s, event, err) : QUERN_OK;
}

static json_t *checkpoint_save(const void *user)
{
    const checkpoint *s = user;
    return json_pack("{s:I, s:o}", "batches", (json_int_t)s->batches, "monitor", quern__monitor_save(&s->m));
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
                                                  { "initial_value_threshold", QUERN__F_NUMBER, "null" },
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
    .save = checkpoint_save,
    .restore = checkpoint_restore,
};

/* ---- TerminateOnNaN: an invalid loss ends training, and is no error ---- */

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
        return quern__fail(err, QUERN_NUMBER, "loss", "is not finite in batch %lld", (long long)event->batch + 1);
    quern__warn("batch %lld: invalid loss, training ends", (long long)event->batch + 1);
    return QUERN_END;
}

static const quern__field terminator_fields[] = { { "raise_error", QUERN__F_BOOL, "false" }, { 0 } };
const quern__ready quern__terminate_on_nan = {
    .row = QUERN__CALLBACK_ROW("TerminateOnNaN", terminator_fields),
    .hooks = { .on_train_batch_end = terminator_batch },
    .state_bytes = sizeof(terminator),
};
