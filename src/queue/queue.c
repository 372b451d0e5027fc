/* The ring: slots [taken, ready) hold batches in order. One lock; the source is never called while it is held. */
#include "queue.h"

#include <pthread.h>

struct quern__queue {
    quern_generator *g;
    quern__queue_opts opts;
    int slots;
    quern_batch *ring;
    pthread_t thread;
    bool running, working, stop, ended;
    int64_t ready, taken, limit, pass, epoch, first; /* batches of this epoch made, lent; at most; passes over a finite source */
    int status;
    quern_error error;
    double waited;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static size_t array_bytes(const quern_batch_spec *s, int i)
{
    size_t bytes = 0;
    quern_shape shape = quern__shape_close(s->shapes[i], s->batch_size);
    return quern__shape_bytes(&shape, s->dtypes[i], &bytes) ? (bytes + 127) / 64 * 64 : SIZE_MAX / 1024;
}

size_t quern__queue_bytes(const quern__queue_opts *o)
{
    size_t bytes = (size_t)o->spec.batch_size * sizeof(float);
    for (int i = 0; i < o->spec.n_inputs + o->spec.n_targets; i++)
        bytes += array_bytes(&o->spec, i);
    return bytes * (size_t)(o->depth + 1);
}

/* One batch from the source into a slot. */
static int make(quern__queue *q, quern_batch *b, quern_error *err)
{
    b->size = q->opts.spec.batch_size;
    b->has_weights = false;
    int status = q->g->ops->next(q->g, b, err);
    if (status == QUERN_END && q->g->finite && q->opts.forever && q->g->ops->reset) {
        status = q->g->ops->reset(q->g, ++q->pass, err);
        b->size = q->opts.spec.batch_size;
        status = status < 0 ? status : q->g->ops->next(q->g, b, err);
    }
    if (status == QUERN_OK && (b->size < 1 || b->size > q->opts.spec.batch_size))
        return quern__fail(err, QUERN_INVALID, "generator", "a batch of %lld records, there is room for 1 … %lld",
                           (long long)b->size, (long long)q->opts.spec.batch_size);
    b->epoch = q->epoch;
    b->first = q->first;
    q->first += status == QUERN_OK ? b->size : 0;
    return status;
}

static void *reader(void *arg)
{
    quern__queue *q = arg;
    pthread_mutex_lock(&q->lock);
    for (;;) {
        bool wanted =
            !q->stop && !q->ended && q->status >= 0 && (q->limit < 0 || q->ready < q->limit) && q->ready - q->taken < q->opts.depth;
        if (q->stop)
            break;
        if (!wanted) {
            q->working = false;
            pthread_cond_broadcast(&q->changed);
            pthread_cond_wait(&q->changed, &q->lock);
            continue;
        }
        q->working = true;
        quern_batch *b = &q->ring[q->ready % q->slots];
        pthread_mutex_unlock(&q->lock);
        quern_error err = { 0 };
        int status = make(q, b, &err);
        pthread_mutex_lock(&q->lock);
        if (status < 0) {
            q->status = status;
            q->error = err;
        } else if (status == QUERN_END)
            q->ended = true;
        else
            q->ready++;
        pthread_cond_broadcast(&q->changed);
    }
    q->working = false;
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

static int allocate(quern__queue *q, quern_error *err)
{
    const quern_batch_spec *s = &q->opts.spec;
    q->ring = quern__zalloc((size_t)q->slots, sizeof *q->ring);
    for (int k = 0; q->ring && k < q->slots; k++) {
        quern_batch *b = &q->ring[k];
        b->spec = s;
        b->weights = quern__zalloc((size_t)s->batch_size, sizeof *b->weights);
        for (int i = 0; i < s->n_inputs + s->n_targets; i++)
            if (!(b->arrays[i] = quern__alloc_aligned(array_bytes(s, i), 64)))
                return quern__fail_memory(err, array_bytes(s, i));
        if (!b->weights)
            return quern__fail_memory(err, (size_t)s->batch_size * 4);
    }
    return q->ring ? QUERN_OK : quern__fail_memory(err, (size_t)q->slots * sizeof *q->ring);
}

quern__queue *quern__queue_open(quern_generator *g, const quern__queue_opts *opts, quern_error *err)
{
    quern__queue *q = quern__zalloc(1, sizeof *q);
    if (!q) {
        quern__fail_memory(err, sizeof *q);
        return NULL;
    }
    q->opts = *opts;
    q->slots = opts->depth + 1;
    q->ended = true; /* until an epoch begins */
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->changed, NULL);
    int status = allocate(q, err);
    status = status < 0 ? status : g->ops->open(g, &q->opts.spec, opts->shuffle, opts->seed, err);
    if (status >= 0)
        q->g = g;
    if (status >= 0 && opts->threaded) {
        q->running = !pthread_create(&q->thread, NULL, reader, q);
        status = q->running ? status : quern__fail(err, QUERN_NOMEM, "queue", "cannot start its thread");
    }
    if (status < 0) {
        quern__queue_close(q);
        return NULL;
    }
    return q;
}

int quern__queue_begin(quern__queue *q, int64_t epoch, int64_t steps, bool restart, quern_error *err)
{
    pthread_mutex_lock(&q->lock);
    while (q->working)
        pthread_cond_wait(&q->changed, &q->lock);
    int status = QUERN_OK;
    if (restart && q->g->ops->reset)
        status = q->g->ops->reset(q->g, q->pass = epoch, err);
    q->ready = q->taken = q->first = 0;
    q->limit = steps;
    q->epoch = epoch;
    q->ended = false;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
    return status;
}

int quern__queue_take(quern__queue *q, quern_batch **out, quern_error *err)
{
    if (q->limit >= 0 && q->taken >= q->limit)
        return QUERN_END;
    *out = &q->ring[q->taken % q->slots];
    if (!q->running) {
        double start = quern__now();
        int status = make(q, *out, err);
        q->waited += quern__now() - start;
        return status;
    }
    pthread_mutex_lock(&q->lock);
    double start = q->ready > q->taken ? 0 : quern__now();
    while (q->ready <= q->taken && !q->ended && q->status >= 0)
        pthread_cond_wait(&q->changed, &q->lock);
    q->waited += start > 0 ? quern__now() - start : 0;
    int status = q->ready > q->taken ? QUERN_OK : q->status < 0 ? q->status : QUERN_END;
    if (status < 0 && err && !err->code)
        *err = q->error;
    pthread_mutex_unlock(&q->lock);
    return status;
}

void quern__queue_release(quern__queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->taken++;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

double quern__queue_waited(const quern__queue *q) { return q->waited; }

void quern__queue_close(quern__queue *q)
{
    if (!q)
        return;
    pthread_mutex_lock(&q->lock);
    q->stop = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
    if (q->g && q->g->ops->cancel)
        q->g->ops->cancel(q->g);
    if (q->running)
        pthread_join(q->thread, NULL);
    if (q->g && q->g->ops->close)
        q->g->ops->close(q->g);
    for (int k = 0; q->ring && k < q->slots; k++) {
        quern__free(q->ring[k].weights);
        for (int i = 0; i < 2 * QUERN_MAX_ARRAYS; i++)
            quern__free_aligned(q->ring[k].arrays[i]);
    }
    quern__free(q->ring);
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->changed);
    quern__free(q);
}
