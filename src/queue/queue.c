/* The ring: ticket t lies in slot t mod slots, from when a worker takes the ticket until the trainer releases the batch. One lock;
 * the source is never called while it is held. */
#include "queue.h"

#include <pthread.h>

typedef struct slot {
    quern_batch batch;
    bool made;
    int status;
    quern_error error;
} slot;

struct quern__queue {
    quern_generator *g;
    quern__queue_opts opts;
    int slots;
    slot *ring;
    pthread_t threads[QUERN__MAX_WORKERS];
    int running, working;              /* threads; those that make a batch now */
    bool stop, advancing;              /* advancing: a plain source is being read */
    int64_t next, taken, limit, ended; /* tickets: next to give out, released, at most, first that cannot be made */
    int64_t base, pass;                /* indexed: tickets before this epoch since the last restart, and the pass it began with */
    int64_t epoch, first;              /* plain: records so far in the epoch */
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
    size_t bytes = (size_t)o->spec.batch_size * (sizeof(float) + sizeof(int64_t));
    for (int i = 0; i < o->spec.n_inputs + o->spec.n_targets; i++)
        bytes += array_bytes(&o->spec, i);
    return bytes * (size_t)(o->depth + (o->workers ? o->workers : 1));
}

static bool indexed(const quern__queue *q) { return q->g->ops->read != NULL; }

/* Indexed: records of all tickets before `ticket`, counted from the last restart. */
static int64_t records_before(const quern__queue *q, int64_t ticket)
{
    int64_t size = q->opts.spec.batch_size, count = q->g->count, per_pass = (count + size - 1) / size;
    int64_t within = ticket % per_pass * size;
    return ticket / per_pass * count + within;
}

static int make_indexed(quern__queue *q, quern_batch *b, int64_t ticket, quern_error *err)
{
    int64_t size = q->opts.spec.batch_size, count = q->g->count, per_pass = (count + size - 1) / size, all = q->base + ticket;
    int64_t first = count ? all % per_pass * size : 0;
    if (count < 1 || (!q->opts.forever && ticket >= per_pass))
        return QUERN_END;
    b->size = count - first < size ? count - first : size;
    b->first = records_before(q, all) - records_before(q, q->base);
    return q->g->ops->read(q->g, q->pass + all / per_pass, first, b, err);
}

static int make_plain(quern__queue *q, quern_batch *b, quern_error *err)
{
    int status = q->g->ops->next(q->g, b, err);
    if (status == QUERN_END && q->g->finite && q->opts.forever && q->g->ops->reset) {
        status = q->g->ops->reset(q->g, ++q->pass, err);
        b->size = q->opts.spec.batch_size;
        status = status < 0 ? status : q->g->ops->next(q->g, b, err);
    }
    b->first = q->first;
    q->first += status == QUERN_OK ? b->size : 0;
    return status;
}

/* The batch of a ticket into its slot. */
static int make(quern__queue *q, slot *s, int64_t ticket)
{
    quern_batch *b = &s->batch;
    b->size = q->opts.spec.batch_size;
    b->has_weights = false;
    b->epoch = q->epoch;
    s->error = (quern_error){ 0 };
    int status = indexed(q) ? make_indexed(q, b, ticket, &s->error) : make_plain(q, b, &s->error);
    if (status == QUERN_OK && (b->size < 1 || b->size > q->opts.spec.batch_size))
        return quern__fail(&s->error, QUERN_INVALID, "generator", "a batch of %lld records, there is room for 1 … %lld",
                           (long long)b->size, (long long)q->opts.spec.batch_size);
    if (status < 0 && !s->error.code)
        quern__fail(&s->error, status, "generator", "failed: %s", quern_status_text(status));
    return status;
}

/* Whether a ticket may be given out now. */
static bool wanted(const quern__queue *q)
{
    return (q->limit < 0 || q->next < q->limit) && q->next < q->ended && q->next - q->taken < q->slots &&
           (indexed(q) || !q->advancing);
}

static void *reader(void *arg)
{
    quern__queue *q = arg;
    pthread_mutex_lock(&q->lock);
    while (!q->stop) {
        if (!wanted(q)) {
            pthread_cond_wait(&q->changed, &q->lock);
            continue;
        }
        int64_t ticket = q->next++;
        slot *s = &q->ring[ticket % q->slots];
        q->working++;
        q->advancing = true;
        pthread_mutex_unlock(&q->lock);
        int status = make(q, s, ticket);
        pthread_mutex_lock(&q->lock);
        s->status = status;
        s->made = true;
        q->advancing = false;
        q->working--;
        if (status != QUERN_OK && ticket < q->ended)
            q->ended = ticket;
        pthread_cond_broadcast(&q->changed);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

static int allocate(quern__queue *q, quern_error *err)
{
    const quern_batch_spec *s = &q->opts.spec;
    q->ring = quern__zalloc((size_t)q->slots, sizeof *q->ring);
    for (int k = 0; q->ring && k < q->slots; k++) {
        quern_batch *b = &q->ring[k].batch;
        b->spec = s;
        b->weights = quern__zalloc((size_t)s->batch_size, sizeof *b->weights);
        b->indices = quern__zalloc((size_t)s->batch_size, sizeof *b->indices);
        for (int i = 0; i < s->n_inputs + s->n_targets; i++)
            if (!(b->arrays[i] = quern__alloc_aligned(array_bytes(s, i), 64)))
                return quern__fail_memory(err, array_bytes(s, i));
        if (!b->weights || !b->indices)
            return quern__fail_memory(err, (size_t)s->batch_size * 12);
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
    q->slots = opts->depth + (opts->workers ? opts->workers : 1);
    q->limit = 0; /* until an epoch begins */
    q->ended = INT64_MAX;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->changed, NULL);
    int status = allocate(q, err);
    status = status < 0 ? status : g->ops->open(g, &q->opts.spec, opts->shuffle, opts->seed, err);
    if (status >= 0)
        q->g = g;
    int threads = status < 0 ? 0 : g->ops->read ? opts->workers : opts->workers > 0;
    for (; q->running < threads && status >= 0; q->running += status >= 0)
        if (pthread_create(&q->threads[q->running], NULL, reader, q))
            status = quern__fail(err, QUERN_NOMEM, "queue", "cannot start its threads");
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
    q->base += q->taken;
    if (restart) {
        q->pass = epoch;
        q->base = 0;
        if (q->g->ops->reset)
            status = q->g->ops->reset(q->g, epoch, err);
    }
    q->next = q->taken = q->first = 0;
    q->limit = status < 0 ? 0 : steps;
    q->epoch = epoch;
    q->ended = INT64_MAX;
    for (int k = 0; k < q->slots; k++)
        q->ring[k].made = false;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
    return status;
}

int quern__queue_take(quern__queue *q, quern_batch **out, quern_error *err)
{
    slot *s = &q->ring[q->taken % q->slots];
    if (q->limit >= 0 && q->taken >= q->limit)
        return QUERN_END;
    *out = &s->batch;
    double start = 0;
    if (!q->running) {
        start = quern__now();
        s->status = q->taken < q->ended ? make(q, s, q->next++) : QUERN_END;
        q->ended = s->status == QUERN_OK ? q->ended : q->taken;
    } else {
        pthread_mutex_lock(&q->lock);
        start = s->made ? 0 : quern__now();
        while (!s->made && q->taken < q->ended)
            pthread_cond_wait(&q->changed, &q->lock);
        pthread_mutex_unlock(&q->lock);
    }
    q->waited += start > 0 ? quern__now() - start : 0;
    int status = s->made || !q->running ? s->status : QUERN_END;
    if (status < 0 && err && !err->code)
        *err = s->error;
    return status;
}

void quern__queue_release(quern__queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->ring[q->taken % q->slots].made = false;
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
    for (int k = 0; k < q->running; k++)
        pthread_join(q->threads[k], NULL);
    if (q->g && q->g->ops->close)
        q->g->ops->close(q->g);
    for (int k = 0; q->ring && k < q->slots; k++) {
        quern__free(q->ring[k].batch.weights);
        quern__free(q->ring[k].batch.indices);
        for (int i = 0; i < 2 * QUERN_MAX_ARRAYS; i++)
            quern__free_aligned(q->ring[k].batch.arrays[i]);
    }
    quern__free(q->ring);
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->changed);
    quern__free(q);
}
