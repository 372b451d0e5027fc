/* History: the logs of every epoch that ran. */
#include "fit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { most_names = 2 * QUERN__MAX_MEANS + QUERN__EXTRA_LOGS };

int64_t quern_history_epochs(const quern_history *h) { return h->n; }
const char *quern_history_reason(const quern_history *h) { return h->reason; }

const quern_error *quern_history_error(const quern_history *h) { return h->broken.code ? &h->broken : NULL; }

double quern_history_value(const quern_history *h, const char *name, int64_t i)
{
    for (int k = 0; i >= 0 && i < h->n && k < h->n_names; k++)
        if (!strcmp(h->names[k], name))
            return h->values[i * most_names + k];
    return NAN;
}

void quern_history_free(quern_history *h)
{
    if (h) {
        quern__free(h->values);
        quern__free(h->bad);
    }
    quern__free(h);
}

quern_history *quern__history_new(int64_t epochs, quern_error *err)
{
    quern_history *h = quern__zalloc(1, sizeof *h);
    if (h) {
        h->capacity = epochs;
        h->reason = "completed";
        h->values = quern__zalloc((size_t)epochs + 1, most_names * sizeof *h->values);
    }
    if (h && h->values)
        return h;
    quern_history_free(h);
    quern__fail_memory(err, (size_t)epochs * most_names * sizeof(double));
    return NULL;
}

/* The column of a name, new when it is not there. */
static int column(quern_history *h, const char *name)
{
    for (int k = 0; k < h->n_names; k++)
        if (!strcmp(h->names[k], name))
            return k;
    if (h->n_names == most_names)
        return -1;
    snprintf(h->names[h->n_names], sizeof *h->names, "%s", name);
    for (int64_t e = 0; e < h->n; e++)
        h->values[e * most_names + h->n_names] = NAN;
    return h->n_names++;
}

void quern__history_add(quern_history *h, const quern__logs *logs)
{
    if (h->n == h->capacity)
        return;
    for (int k = 0; k < most_names; k++)
        h->values[h->n * most_names + k] = NAN;
    for (int i = 0; i < logs->n; i++) {
        int k = column(h, logs->names[i]);
        if (k >= 0)
            h->values[h->n * most_names + k] = logs->values[i];
    }
    h->n++;
}

const quern_error *quern_history_bad_record(const quern_history *h, int64_t i)
{
    return i >= 0 && i < h->n_bad ? &h->bad[i] : NULL;
}

void quern__history_keep_bad(quern_history *h, const quern_generator *train)
{
    if (!h || !quern_generator_bad_record(train, 0) || !(h->bad = quern__zalloc(QUERN__BAD_KEPT, sizeof *h->bad)))
        return;
    for (const quern_error *e; (e = quern_generator_bad_record(train, h->n_bad)); h->n_bad++)
        h->bad[h->n_bad] = *e;
}
