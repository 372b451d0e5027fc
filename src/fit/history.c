/* History: the logs of every completed epoch, in bounded memory. A block of epochs is in memory, by
 * column. Full blocks go to an unlinked temporary file. */
#include "fit.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { per_block = 512, most_names = 2 * QUERN__MAX_MEANS + QUERN__EXTRA_LOGS };
enum {
    column_bytes = per_block * sizeof(double)
}; /* a page: a column without values is a hole in the file */

int64_t quern_history_epochs(const quern_history *h) { return h ? h->n : 0; }
const char *quern_history_reason(const quern_history *h) { return h ? h->reason : NULL; }
const quern_error *quern_history_error(const quern_history *h)
{
    return h && h->broken.code ? &h->broken : NULL;
}

size_t quern__history_bytes(const quern_model *m)
{
    return (size_t)(2 * quern_model_logs(m) + QUERN__EXTRA_LOGS) * column_bytes;
}

/* File offset of a number of an epoch. */
static off_t file_offset(int64_t epoch, int column)
{
    return (off_t)(epoch / per_block * most_names + column) * column_bytes +
           (off_t)(epoch % per_block * (int64_t)sizeof(double));
}

/* Column `k` in the i-th epoch. A column that was added later is a hole before its first epoch, or
 * is after the end of the file. */
static double column_value(const quern_history *h, int k, int64_t i)
{
    double v;
    if (i / per_block == h->block)
        return h->columns[k][i % per_block];
    if (i < h->since[k] || i >= h->filed ||
        pread(h->fd, &v, sizeof v, file_offset(i, k)) != sizeof v)
        return NAN;
    return v;
}

double quern_history_value(const quern_history *h, const char *name, int64_t i)
{
    for (int k = 0; h && name && i >= 0 && i < h->n && k < h->n_names; k++)
        if (!strcmp(h->names[k], name))
            return column_value(h, k, i);
    return NAN;
}

void quern_history_free(quern_history *h)
{
    if (h) {
        for (int k = 0; k < h->n_names; k++)
            quern__free(h->columns[k]);
        quern__free(h->bad);
        if (h->fd >= 0)
            close(h->fd);
    }
    quern__free(h);
}

/* Opens a temporary file without a name, which the kernel deletes on close. */
static int open_unlinked(void)
{
    const char *own = getenv("TMPDIR"), *const folders[] = { own ? own : "/var/tmp", "/var/tmp",
                                                             "/tmp" };
    char path[4096];
    int fd = -1;
    for (size_t i = 0; i < sizeof folders / sizeof *folders && fd < 0; i++)
        if (snprintf(path, sizeof path, "%s/quern-history-XXXXXX", folders[i]) < (int)sizeof path &&
            (fd = mkostemp(path, O_CLOEXEC)) >= 0)
            unlink(path);
    return fd;
}

quern_history *quern__history_new(int64_t epochs, quern_error *err)
{
    quern_history *h = quern__zalloc(1, sizeof *h);
    if (h) {
        h->reason = "completed";
        h->fd = epochs > per_block
                    ? open_unlinked()
                    : -1; /* opened here, so that the number of descriptors stays constant */
        h->failed = h->fd < 0 ? errno : 0;
    } else
        quern__fail_memory(err, sizeof *h);
    return h;
}

/* Writes the full block to the file and starts the next one. */
static void next_block(quern_history *h)
{
    bool lost = h->filed < h->block * per_block, kept = !lost && h->fd >= 0;
    for (int k = 0; k < h->n_names && kept; k++) {
        kept = pwrite(h->fd, h->columns[k], column_bytes, file_offset(h->block * per_block, k)) ==
               column_bytes;
        h->failed = errno;
    }
    if (!kept && !lost)
        quern__warn("history: the logs of all but the last %d epochs are lost: their file cannot "
                    "be written: %s",
                    per_block, strerror(h->failed));
    h->block++;
    h->filed += kept ? per_block : 0;
}

/* The column of a name; adds it if it does not exist. */
static int history_column(quern_history *h, const char *name)
{
    for (int k = 0; k < h->n_names; k++)
        if (!strcmp(h->names[k], name))
            return k;
    double *room = h->n_names < most_names ? quern__alloc(column_bytes) : NULL;
    if (!room)
        return -1;
    for (int i = 0; i < per_block; i++)
        room[i] = NAN;
    h->columns[h->n_names] = room;
    h->since[h->n_names] = h->n;
    snprintf(h->names[h->n_names], sizeof *h->names, "%s", name);
    return h->n_names++;
}

void quern__history_add(quern_history *h, const quern__logs *logs)
{
    if (h->n / per_block != h->block)
        next_block(h);
    for (int k = 0; k < h->n_names; k++)
        h->columns[k][h->n % per_block] = NAN;
    for (int i = 0; i < logs->n; i++) {
        int k = history_column(h, logs->names[i]);
        if (k >= 0)
            h->columns[k][h->n % per_block] = logs->values[i];
    }
    h->n++;
}

const quern_error *quern_history_bad_record(const quern_history *h, int64_t i)
{
    return h && i >= 0 && i < h->n_bad ? &h->bad[i] : NULL;
}

void quern__history_keep_bad(quern_history *h, const quern_generator *train)
{
    if (!h || !quern_generator_bad_record(train, 0) ||
        !(h->bad = quern__zalloc(QUERN__BAD_KEPT, sizeof *h->bad)))
        return;
    for (const quern_error *e; (e = quern_generator_bad_record(train, h->n_bad)); h->n_bad++)
        h->bad[h->n_bad] = *e;
}

json_t *quern__history_json(const quern_history *h)
{
    json_t *names = json_array(), *epochs = json_array();
    for (int k = 0; k < h->n_names; k++)
        json_array_append_new(names, json_string(h->names[k]));
    for (int64_t e = 0; e < h->n; e++) {
        json_t *row = json_array();
        for (int k = 0; k < h->n_names; k++)
            json_array_append_new(row, quern__json_bits(quern_history_value(h, h->names[k], e)));
        json_array_append_new(epochs, row);
    }
    return json_pack("{s:o, s:o}", "names", names, "epochs", epochs);
}

void quern__history_read(quern_history *h, json_t *kept)
{
    json_t *names = json_object_get(kept, "names"), *row;
    size_t e, k;
    json_array_foreach(json_object_get(kept, "epochs"), e, row)
    {
        quern__logs logs = { 0 };
        for (k = 0; k < json_array_size(names) && k < sizeof logs.names / sizeof *logs.names; k++) {
            logs.names[logs.n] = json_string_value(json_array_get(names, k));
            logs.values[logs.n] = quern__json_bits_read(json_array_get(row, k));
            logs.n += logs.names[logs.n] != NULL && !isnan(logs.values[logs.n]);
        }
        quern__history_add(h, &logs);
    }
}
