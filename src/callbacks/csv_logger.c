/* CSVLogger: one line of logs per epoch. https://keras.io/api/callbacks/csv_logger/ */
#include "callbacks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct logger {
    json_t *config;
    const quern__ready *kind;
    FILE *file;
    int n; /* columns after the epoch; 0 before the first line */
    char names[2 * QUERN__MAX_MEANS + QUERN__EXTRA_LOGS][100];
} logger;

static int not_written(const logger *s, quern_error *err)
{
    return quern__fail(err, QUERN_IO, quern__config_text(s->config, "filename"),
                       "cannot be written: %s", strerror(errno ? errno : EIO));
}

static int logger_begin(void *user, const quern_event *event, quern_error *err)
{
    logger *s = user;
    const char *path = quern__config_text(s->config, "filename");
    if (s->file)
        fclose(s->file);
    s->n = 0;
    s->file = fopen(path, quern__event_resumed(event)               ? "r+"
                          : quern__config_bool(s->config, "append") ? "a"
                                                                    : "w");
    return s->file ? QUERN_OK : not_written(s, err);
}

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

/* Sets the columns: the sorted names of the first epoch. If that epoch has no validation, names
 * with val_ are added. */
static void name_columns(logger *s, const char *const *names, int n_names)
{
    bool validated = false;
    s->n = 0;
    for (int i = 0; i < n_names; i++) {
        validated = validated || !strncmp(names[i], "val_", 4);
        snprintf(s->names[s->n++], sizeof *s->names, "%s", names[i]);
    }
    qsort(s->names, (size_t)s->n, sizeof *s->names, by_name);
    for (int i = 0, n = s->n; i < n && !validated; i++)
        snprintf(s->names[s->n++], sizeof *s->names, "val_%.90s", s->names[i]);
}

/* Writes the header line of this run to `out`. */
static void header_text(const logger *s, quern__text *out)
{
    quern__text_add(out, "epoch");
    for (int i = 0; i < s->n; i++)
        quern__text_add(out, "%s%s", quern__config_text(s->config, "separator"), s->names[i]);
}

/* Checks that a file that is appended to has the same columns. */
static int check_header(const logger *s, quern_error *err)
{
    const char *path = quern__config_text(s->config, "filename");
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    ssize_t n = f ? getline(&line, &room, f) : -1;
    quern__text own = { 0 };
    header_text(s, &own);
    if (n > 0 && line[n - 1] == '\n')
        line[--n] = 0;
    int status = QUERN_OK;
    if (n > 0 && own.data && strcmp(line, own.data)) {
        status = quern__fail(err, QUERN_INVALID, path,
                             "the file has columns %.150s, this run has %.150s", line, own.data);
        quern__hint(err, "set append=false to overwrite the file");
    }
    quern__text_free(&own);
    free(line);
    if (f)
        fclose(f);
    return status;
}

static int logger_check(void *user, const quern__outlook *o, quern_error *err)
{
    logger *s = user;
    const char *names[sizeof o->names / sizeof *o->names];
    int n = 0;
    const char *separator = quern__config_text(s->config, "separator");
    if (!separator || strlen(separator) != 1 || strchr("\n\r\"", *separator))
        return quern__fail(err, QUERN_INVALID, "csv_logger",
                           "separator must be one character, not '%s'", separator ? separator : "");
    int status = quern__file_check(quern__config_text(s->config, "filename"), err);
    if (status < 0 || o->resumed || o->open || !quern__config_bool(s->config, "append"))
        return status;
    for (int i = 0; i < o->n; i++)
        if (o->at_first || strncmp(o->names[i], "val_", 4))
            names[n++] = o->names[i];
    name_columns(s, names, n);
    return check_header(s, err);
}

/* Writes the line of an epoch; a column without a log is NA. The first line is the header. */
static int logger_epoch(void *user, const quern_event *event, quern_error *err)
{
    logger *s = user;
    const char *separator = quern__config_text(s->config, "separator");
    errno = 0;
    if (s->n == 0) {
        name_columns(s, event->names, event->n_logs);
        fseek(s->file, 0, SEEK_END);
        if (ftell(s->file) == 0) {
            quern__text header = { 0 };
            header_text(s, &header);
            fprintf(s->file, "%s\n", header.data ? header.data : "");
            quern__text_free(&header);
        } else if (check_header(s, err) < 0)
            return QUERN_INVALID;
    }
    char text[40];
    fprintf(s->file, "%lld", (long long)event->epoch);
    for (int i = 0; i < s->n; i++) {
        int at = -1;
        for (int k = 0; k < event->n_logs; k++)
            at = strcmp(event->names[k], s->names[i]) ? at : k;
        snprintf(text, sizeof text, "NA");
        if (at >= 0)
            quern__format(text, sizeof text, "%.17g", event->logs[at]);
        fprintf(s->file, "%s%s", separator, text);
    }
    fputc('\n', s->file);
    return fflush(s->file) == 0 && !ferror(s->file) ? QUERN_OK : not_written(s, err);
}

/* some disks report write errors only on close */
static int logger_train_end(void *user, const quern_event *event, quern_error *err)
{
    logger *s = user;
    (void)event;
    int failed = s->file ? fclose(s->file) : 0;
    s->file = NULL;
    return failed ? not_written(s, err) : QUERN_OK;
}

/* Saves the length of the file and its columns. restore truncates the file, because its last
 * epochs run again. */
static json_t *logger_save(const void *user)
{
    const logger *s = user;
    json_t *names = json_array();
    for (int i = 0; i < s->n; i++)
        json_array_append_new(names, json_string(s->names[i]));
    return json_pack("{s:I, s:o}", "bytes", (json_int_t)(s->file ? ftell(s->file) : 0), "names",
                     names);
}

/* The lines that a checkpoint refers to must be on the disk before it. */
static int logger_sync(void *user, quern_error *err)
{
    const logger *s = user;
    return !s->file || fsync(fileno(s->file)) == 0 ? QUERN_OK : not_written(s, err);
}

static int logger_restore(void *user, json_t *kept, quern_error *err)
{
    logger *s = user;
    json_t *names = json_object_get(kept, "names");
    const char *path = quern__config_text(s->config, "filename");
    int64_t bytes = quern__config_int(kept, "bytes");
    s->n = 0;
    for (size_t i = 0;
         i < json_array_size(names) && s->n < (int)(sizeof s->names / sizeof *s->names); i++)
        snprintf(s->names[s->n++], sizeof *s->names, "%s",
                 json_string_value(json_array_get(names, i)));
    fseek(s->file, 0, SEEK_END);
    if (bytes < 0 || ftell(s->file) < bytes)
        return quern__fail(err, QUERN_INVALID, path, "is shorter than at the checkpoint");
    if (ftruncate(fileno(s->file), (off_t)bytes) || fseek(s->file, (long)bytes, SEEK_SET))
        return quern__fail(err, QUERN_IO, path, "cannot be truncated: %s", strerror(errno));
    return QUERN_OK;
}

static void logger_free(void *user)
{
    logger *s = user;
    if (s->file)
        fclose(s->file);
}

static const quern__field logger_fields[] = { { "filename", QUERN__F_TEXT, NULL },
                                              { "separator", QUERN__F_TEXT, "\",\"" },
                                              { "append", QUERN__F_BOOL, "false" },
                                              { 0 } };
const quern__ready quern__csv_logger = {
    .row = QUERN__CALLBACK_ROW("CSVLogger", logger_fields),
    .hooks = { .on_train_begin = logger_begin,
               .on_epoch_end = logger_epoch,
               .on_train_end = logger_train_end },
    .state_bytes = sizeof(logger),
    .end = logger_free,
    .check = logger_check,
    .save = logger_save,
    .restore = logger_restore,
    .sync = logger_sync,
};
