/* The current operation of a reader thread. The reader sets it before each operation that may
 * block; the trainer reads it when a wait exceeds the limit. */
#include "generator_struct.h"

#include <stdio.h>
#include <string.h>

static _Thread_local quern__activity *here;

void quern__doing_here(quern__activity *d) { here = d; }

void quern__activity_set(const char *stage, const char *where, const char *unit, int64_t n)
{
    quern__activity *d = here;
    if (!d)
        return;
    size_t length = strnlen(where, sizeof d->where - 1);
    pthread_mutex_lock(&d->lock);
    d->stage = stage;
    d->unit = unit;
    d->n = n;
    memcpy(d->where, where, length);
    d->where[length] = 0;
    pthread_mutex_unlock(&d->lock);
}

void quern__begin_next(int64_t n)
{
    quern__activity *d = here;
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    d->n = n;
    pthread_mutex_unlock(&d->lock);
}

const char *quern__doing_text(quern__activity *d, char *where, size_t room)
{
    pthread_mutex_lock(&d->lock);
    const char *stage = d->stage ? d->stage : "reading";
    snprintf(where, room, "%s, %s %lld", d->where, d->unit ? d->unit : "batch", (long long)d->n);
    pthread_mutex_unlock(&d->lock);
    return stage;
}

int quern_generator_set_stall_timeout(quern_generator *g, double seconds, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "generator", g);
    if (!(seconds >= 0 && seconds <= 1e9))
        return quern__fail(err, QUERN_INVALID, "stall_timeout", "%g seconds is outside 0 … 1e9",
                           seconds);
    g->stall_timeout = seconds;
    return QUERN_OK;
}
