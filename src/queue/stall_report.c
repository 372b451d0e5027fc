/* Waits for a batch, reports stalls, and ends the queue.
 *
 * The trainer's thread waits in quern__queue_wait. A wait that exceeds quern__queue_patience is
 * logged once. A wait that exceeds the generator's stall_timeout is an error: the run ends, and the
 * stuck reader is detached.
 *
 * The message comes from the activity that each reader publishes (source/activity.c). It names the
 * file, the line or record, and the number of prefetched batches.
 *
 * Two ways end a queue. quern__queue_end cancels the source, joins all readers and frees
 * everything. quern__queue_abandon lets a detached thread do the same. The generator then has a
 * reference, because the stuck reader still uses its data. */
#include "ring.h"

#include <math.h>
#include <time.h>

double quern__queue_patience = 30;

/* The time in `seconds` from now, on the monotonic clock, as pthread_cond_timedwait expects it. */
static struct timespec deadline_after(double seconds)
{
    struct timespec t;
    double whole = floor(seconds);
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)whole;
    t.tv_nsec += (long)((seconds - whole) * 1e9);
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

/* Fills the error that describes the wait: the reader's current operation, and the number of
 * prefetched batches. */
static void describe_wait(const quern__queue *q, const quern__slot *s, double seconds,
                          quern_error *out)
{
    char where[256];
    int ready = 0;
    /* a ticket that no reader has taken waits for the readers in general: the first one is named */
    bool begun = q->taken < q->next;
    for (int k = 0; k < q->slots; k++)
        ready += q->ring[k].made && q->ring[k].status == QUERN_OK;
    const char *stage =
        quern__doing_text(&q->readers[begun ? s->reader : 0].doing, where, sizeof where);
    quern__fail(out, QUERN_STALLED, where,
                "%s takes longer than %s%g s; batch %lld of epoch %lld, from record %lld, is "
                "pending; %d of %d batches "
                "prefetched, %d in progress",
                stage, q->g->stall_timeout > 0 && !q->g->watches ? "the stall timeout of " : "",
                seconds, (long long)q->taken + 1, (long long)q->epoch + 1, (long long)q->given + 1,
                ready, q->opts.depth, q->working);
}

/* Waits for a change, at most `seconds`; with an interrupt flag at most 1/20 s. */
static void wait_once(quern__queue *q, double seconds)
{
    enum { polls = 20 }; /* per second */
    if (q->opts.interrupt && seconds > 1.0 / polls)
        seconds = 1.0 / polls;
    struct timespec until = deadline_after(seconds < 0 ? 0 : seconds > 1e9 ? 1e9 : seconds);
    pthread_cond_timedwait(&q->changed, &q->lock, &until);
}

int quern__queue_wait(quern__queue *q, const quern__slot *s, quern_error *err)
{
    /* `watches`: the source reports its own timeout, so the wait is only logged here */
    bool fatal = q->g->stall_timeout > 0 && !q->g->watches, told = false;
    double patience = fatal ? q->g->stall_timeout : quern__queue_patience;
    double since = quern__now();
    while (!s->made && q->taken < q->ended) {
        quern_error what = { 0 };
        if (q->opts.interrupt && *q->opts.interrupt)
            return QUERN_CANCELED;
        wait_once(q, told ? HUGE_VAL : since + patience - quern__now());
        if (told || s->made || q->taken >= q->ended || quern__now() - since < patience)
            continue;
        told = true;
        describe_wait(q, s, patience, &what);
        if (fatal) {
            q->stalled = true;
            if (err && !err->code)
                *err = what;
            return QUERN_STALLED;
        }
        pthread_mutex_unlock(&q->lock); /* the log callback may take long */
        quern__warn("%s: %s", what.where, what.text);
        pthread_mutex_lock(&q->lock);
    }
    return QUERN_OK;
}

void quern__queue_end(quern__queue *q)
{
    /* wake the readers: those that wait for a ticket see `stop`, one in the source is canceled */
    pthread_mutex_lock(&q->lock);
    q->stop = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
    if (q->g && q->g->ops->cancel)
        q->g->ops->cancel(q->g);
    for (int k = 0; k < q->running; k++)
        pthread_join(q->readers[k].thread, NULL);
    for (int k = 0; k < q->running; k++)
        pthread_mutex_destroy(&q->readers[k].doing.lock);
    quern__free(q->readers);
    /* no thread uses the source any more: end the run of the generator */
    if (q->g && q->g->ops->close)
        q->g->ops->close(q->g);
    if (q->g) {
        quern__bad_close(q->g);
        q->g->position.going = false;
        q->g->interrupt = NULL;
        if (!q->g->finite) /* a later run continues at the generator's own position */
            q->g->position.size = 0;
        __atomic_clear(&q->g->taken, __ATOMIC_RELEASE);
    }
    /* free the batches */
    if (q->ring)
        for (int k = 0; k < q->slots; k++) {
            quern__free(q->ring[k].batch.weights);
            quern__free(q->ring[k].batch.indices);
            quern__free(q->ring[k].state);
            quern__free(q->ring[k].batch.text);
            quern__free(q->ring[k].batch.bad);
            for (int i = 0; i < 2 * QUERN_MAX_ARRAYS; i++)
                quern__free_aligned(q->ring[k].batch.arrays[i]);
            for (int i = 0; i < QUERN_MAX_ARRAYS; i++)
                quern__free_aligned(q->ring[k].batch.target_weights[i]);
        }
    quern__free(q->ring);
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->changed);
    quern__free(q);
}

/* The detached thread of quern__queue_abandon: waits for the readers, then drops the reference. */
static void *abandon_thread(void *queue)
{
    quern__queue *q = queue;
    quern_generator *g = q->g;
    quern__queue_end(q);
    quern_generator_free(g);
    return NULL;
}

void quern__queue_abandon(quern__queue *q)
{
    pthread_t thread;
    /* the caller may free its generator before the stuck reader returns */
    quern__generator_keep(q->g);
    if (quern__thread_start(&thread, abandon_thread, q))
        abandon_thread(q);
    else
        pthread_detach(thread);
}
