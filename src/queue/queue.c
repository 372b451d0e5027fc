/* The prefetch queue; ring.h describes its slots, their states and the lock. A reader takes a
 * ticket under the lock, fills the slot without it, and sets `made`. The trainer waits for its next
 * ticket. Random access: any reader fills any ticket. Sequential: `advancing` admits one reader at
 * a time. The source reads records without the lock; quern__queue_begin resets it under the lock,
 * when no reader works. */
#include "ring.h"

#include <string.h>

static size_t array_bytes(const quern_batch_spec *s, int i)
{
    size_t bytes = 0;
    quern_shape shape = quern__shape_close(s->shapes[i], s->batch_size);
    return quern__shape_bytes(&shape, s->dtypes[i], &bytes) ? (bytes + 127) / 64 * 64
                                                            : SIZE_MAX / 1024;
}

static size_t weight_bytes(const quern_batch_spec *s, int i)
{
    size_t bytes = 0;
    quern_shape shape = quern__shape_close(s->weights[i], s->batch_size);
    return quern__shape_bytes(&shape, QUERN_FLOAT32, &bytes) ? (bytes + 127) / 64 * 64
                                                             : SIZE_MAX / 1024;
}

size_t quern__queue_bytes(const quern__queue_opts *o)
{
    size_t bytes = (size_t)o->spec.batch_size * (sizeof(float) + sizeof(int64_t));
    for (int i = 0; i < o->spec.n_inputs + o->spec.n_targets; i++)
        bytes += array_bytes(&o->spec, i);
    for (int i = 0; i < o->spec.n_targets; i++)
        bytes += weight_bytes(&o->spec, i);
    int64_t room = quern__string_room(&o->spec);
    bytes += room < 0 ? SIZE_MAX / 4096 : (size_t)room;
    bytes += o->bad ? sizeof(quern__bad) : 0;
    return bytes * (size_t)(o->depth + (o->workers ? o->workers : 1));
}

static bool indexed(const quern__queue *q) { return q->g->ops->read != NULL; } /* random access */

/* Random access: tickets of one pass. */
static int64_t per_pass(const quern__queue *q)
{
    return (q->g->count + q->opts.spec.batch_size - 1) / q->opts.spec.batch_size;
}

/* Random access: records of all tickets before `ticket`, counted from the last restart. */
static int64_t records_before(const quern__queue *q, int64_t ticket)
{
    return ticket / per_pass(q) * q->g->count + ticket % per_pass(q) * q->opts.spec.batch_size;
}

static int fill_indexed(quern__queue *q, quern_batch *b, int64_t ticket, quern_error *err)
{
    int64_t size = q->opts.spec.batch_size, count = q->g->count, all = q->base + ticket;
    if (count < 1 || (!q->opts.forever && all >= per_pass(q)))
        return QUERN_END;
    int64_t first = all % per_pass(q) * size;
    quern__batch_begin(b, count - first < size ? count - first : size);
    b->first = records_before(q, all) - records_before(q, q->base);
    return q->g->ops->read(q->g, q->pass + all / per_pass(q), first, b, err);
}

/* Whether a source that ends inside an epoch restarts. */
static bool restarts_in_epoch(const quern__queue *q)
{
    return q->opts.forever && q->g->ops->reset &&
           (q->g->finite || (q->opts.restart && q->g->restarts));
}

static int fill_sequential(quern__queue *q, quern_batch *b, quern_error *err)
{
    int status = q->g->ops->next(q->g, b, err);
    if (status == QUERN_END && restarts_in_epoch(q)) {
        status = q->g->ops->reset(q->g, ++q->pass, err);
        quern__batch_begin(b, q->opts.spec.batch_size);
        if (status >= 0)
            status = q->g->ops->next(q->g, b, err);
        if (status == QUERN_END && !q->g->finite) /* an empty generator would restart endlessly */
            status = quern__fail(err, QUERN_INVALID, q->g->where ? q->g->where : "generator",
                                 "the generator is empty");
    }
    b->first = q->first;
    q->first += status == QUERN_OK ? b->size : 0;
    return status;
}

/* Reads the resume position of a source that saves itself. */
static int save_position(const quern__queue *q, uint8_t *state, size_t *size, quern_error *err)
{
    int status = q->g->ops->save(q->g, state, QUERN_MAX_STATE, size, err);
    return status >= 0 && *size > QUERN_MAX_STATE
               ? quern__fail(err, QUERN_INVALID, "generator", "a state of %zu bytes exceeds %d",
                             *size, QUERN_MAX_STATE)
               : status;
}

/* Fills a slot with the batch of a ticket. Returns QUERN_OK, QUERN_END or an error, which is in
 * s->error. */
static int fill_slot(quern__queue *q, quern__slot *s, int64_t ticket)
{
    quern_batch *b = &s->batch;
    quern__batch_begin(b, q->opts.spec.batch_size);
    b->has_weights = false;
    b->text_used = 0;
    memset(b->weighs, 0, sizeof b->weighs);
    b->epoch = q->epoch;
    s->error = (quern_error){ 0 };
    quern__activity_set("reading", q->g->where ? q->g->where : "generator", "batch", ticket + 1);
    if (b->bad)
        b->bad->count = 0;
    int status =
        indexed(q) ? fill_indexed(q, b, ticket, &s->error) : fill_sequential(q, b, &s->error);
    bool none = b->size == 0 && indexed(q) && b->bad && b->bad->count; /* all its records are bad */
    if (status == QUERN_OK && ((b->size < 1 && !none) || b->size > q->opts.spec.batch_size))
        return quern__fail(&s->error, QUERN_INVALID, "generator",
                           "a batch of %lld records, expected 1 to %lld (batch_size)",
                           (long long)b->size, (long long)q->opts.spec.batch_size);
    if (status == QUERN_OK && s->state)
        status = save_position(q, s->state, &s->state_size, &s->error);
    if (status < 0 && status != QUERN_CANCELED && !s->error.code)
        quern__fail(&s->error, status, "generator", "failed: %s", quern_status_text(status));
    return status;
}

/* Whether a reader may take a ticket now: within the epoch's limit, with a free slot. */
static bool ticket_available(const quern__queue *q)
{
    return (q->limit < 0 || q->next < q->limit) && q->next < q->ended &&
           q->next - q->taken < q->slots && (indexed(q) || !q->advancing);
}

/* A reader thread: fills slots until the queue stops. A failed ticket ends the epoch at that
 * ticket. */
static void *queue_reader(void *arg)
{
    quern__reader *me = arg;
    quern__queue *q = me->queue;
    quern__doing_here(&me->doing);
    pthread_mutex_lock(&q->lock);
    while (!q->stop) {
        if (!ticket_available(q)) {
            pthread_cond_wait(&q->changed, &q->lock);
            continue;
        }
        int64_t ticket = q->next++;
        quern__slot *s = &q->ring[ticket % q->slots];
        s->reader = (int)(me - q->readers);
        q->working++;
        q->advancing = true;
        pthread_mutex_unlock(&q->lock);
        int status = fill_slot(q, s, ticket);
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

/* Allocates the ring and the buffers of all its slots; `saves`: with a resume position each. */
static int allocate(quern__queue *q, bool saves, quern_error *err)
{
    const quern_batch_spec *s = &q->opts.spec;
    q->ring = quern__zalloc((size_t)q->slots, sizeof *q->ring);
    if (!q->ring)
        return quern__fail_memory(err, (size_t)q->slots * sizeof *q->ring);
    for (int k = 0; k < q->slots; k++) {
        quern_batch *b = &q->ring[k].batch;
        b->spec = s;
        b->weights = quern__zalloc((size_t)s->batch_size, sizeof *b->weights);
        b->indices = quern__zalloc((size_t)s->batch_size, sizeof *b->indices);
        for (int i = 0; i < s->n_inputs + s->n_targets; i++)
            if (!(b->arrays[i] = quern__alloc_aligned(array_bytes(s, i), 64)))
                return quern__fail_memory(err, array_bytes(s, i));
        for (int i = 0; i < s->n_targets; i++)
            if (!(b->target_weights[i] = quern__alloc_aligned(weight_bytes(s, i), 64)))
                return quern__fail_memory(err, weight_bytes(s, i));
        int64_t room = quern__string_room(s);
        b->text_room = room;
        if (room && !(b->text = room > 0 ? quern__alloc((size_t)room) : NULL))
            return quern__fail_memory(err, (size_t)room);
        for (int i = 0; i < s->n_inputs;
             i++) /* string elements stay valid if a source does not set them */
            if (s->dtypes[i] == QUERN_STRING)
                memset(b->arrays[i], 0, array_bytes(s, i));
        if (q->g->bad.policy && !(b->bad = quern__zalloc(1, sizeof *b->bad)))
            return quern__fail_memory(err, sizeof *b->bad);
        if (b->bad) {
            b->bad->policy = q->g->bad.policy;
            b->bad->most = q->g->bad.most;
        }
        if (saves && !(q->ring[k].state = quern__alloc(QUERN_MAX_STATE)))
            return quern__fail_memory(err, QUERN_MAX_STATE);
        if (!b->weights || !b->indices)
            return quern__fail_memory(err, (size_t)s->batch_size * 12);
    }
    return QUERN_OK;
}

/* Whether a generator can take part in a run with these options. */
static int can_start(const quern_generator *g, const quern__queue_opts *o, quern_error *err)
{
    if (__atomic_load_n(&g->runs, __ATOMIC_ACQUIRE) > 0)
        return quern__fail(err, QUERN_STALLED, g->where ? g->where : "generator",
                           "an earlier run still uses it");
    if (g->stall_timeout <= 0 || g->watches || o->workers)
        return QUERN_OK;
    int status = quern__fail(err, QUERN_INVALID, "stall_timeout",
                             "it needs a reader thread, but workers is 0");
    quern__hint(err, "set workers=1");
    return status;
}

static int start_readers(quern__queue *q, int n, quern_error *err)
{
    q->readers = quern__zalloc((size_t)n, sizeof *q->readers);
    if (!q->readers)
        return quern__fail_memory(err, (size_t)n * sizeof *q->readers);
    for (; q->running < n; q->running++) {
        quern__reader *r = &q->readers[q->running];
        r->queue = q;
        pthread_mutex_init(&r->doing.lock, NULL);
        if (quern__thread_start(&r->thread, queue_reader, r))
            return quern__fail(err, QUERN_NOMEM, "queue", "cannot start a thread");
    }
    return QUERN_OK;
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
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->changed, &clock);
    pthread_condattr_destroy(&clock);
    int status = can_start(g, opts, err);
    /* a generator takes part in one run at a time */
    bool taken = status >= 0 && !__atomic_test_and_set(&g->taken, __ATOMIC_ACQUIRE);
    if (status >= 0 && !taken)
        status = quern__fail(err, QUERN_INVALID, g->where ? g->where : "generator",
                             "is in use by another run");
    for (int i = 0; i < q->opts.spec.n_inputs && status >= 0 && !g->strings; i++)
        if (q->opts.spec.dtypes[i] == QUERN_STRING)
            status = quern__fail(err, QUERN_INVALID, g->where ? g->where : "generator",
                                 "provides numbers, input '%s' expects text",
                                 q->opts.spec.names[i] ? q->opts.spec.names[i] : "?");
    if (taken) {
        q->g = g;
        g->interrupt = opts->workers
                           ? NULL
                           : opts->interrupt; /* with workers, the wait for a reader ends instead */
        g->bad.epoch = g->bad.all = 0;
    }
    if (status >= 0)
        status = allocate(q, g->saves, err);
    if (status >= 0 && g->saves && !g->position.state &&
        !(g->position.state = quern__alloc(QUERN_MAX_STATE)))
        status = quern__fail_memory(err, QUERN_MAX_STATE);
    if (status >= 0)
        status = g->ops->open(g, &q->opts.spec, opts->shuffle, opts->seed, err);
    if (status < 0)
        q->g = NULL;
    if (taken)
        g->position.going = status >= 0;
    if (taken && status < 0)
        __atomic_clear(&g->taken, __ATOMIC_RELEASE);
    if (status >= 0)
        status = start_readers(q, g->ops->read ? opts->workers : opts->workers > 0, err);
    if (status < 0) {
        quern__queue_close(q);
        return NULL;
    }
    return q;
}

/* Sets the resume position to the start of ticket `ticket` of the epoch. Sequential sources: the
 * state after slot `s`; NULL: the source's current state. */
static int set_position(quern__queue *q, int64_t ticket, const quern__slot *s, quern_error *err)
{
    quern__position *p = &q->g->position;
    const quern__queue_opts *o = &q->opts;
    if (indexed(q)) {
        int64_t all = q->base + ticket, passes = q->g->count ? all / per_pass(q) : 0;
        *p = (quern__position){ .known = true,
                                .going = true,
                                .shuffle = o->shuffle,
                                .seed = o->seed,
                                .pass = q->pass + passes,
                                .batch_size = o->spec.batch_size };
        p->first = q->g->count ? all % per_pass(q) * o->spec.batch_size : 0;
        return QUERN_OK;
    }
    if (!q->g->saves)
        return QUERN_OK;
    p->restored = false;
    if (!s)
        return save_position(q, p->state, &p->size, err);
    memcpy(p->state, s->state, s->state_size);
    p->size = s->state_size;
    return QUERN_OK;
}

/* Moves the source to the start of a pass, or to the restored position. */
static int go_to_start(quern__queue *q, int64_t epoch, bool restart, quern_error *err)
{
    quern__position *p = &q->g->position;
    q->base += q->taken;
    if (!restart && !p->restored)
        return QUERN_OK;
    q->base = 0;
    q->pass = p->restored ? p->pass : epoch;
    if (!p->restored)
        return q->g->ops->reset ? q->g->ops->reset(q->g, epoch, err) : QUERN_OK;
    if (!indexed(q))
        return QUERN_OK;
    q->base = p->first / q->opts.spec.batch_size;
    return quern__position_check(q->g, q->opts.shuffle, q->opts.seed, q->opts.spec.batch_size, err);
}

int quern__queue_begin(quern__queue *q, int64_t epoch, int64_t steps, bool restart,
                       quern_error *err)
{
    pthread_mutex_lock(&q->lock);
    while (q->working)
        pthread_cond_wait(&q->changed, &q->lock);
    int status = go_to_start(q, epoch, restart, err);
    if (status >= 0)
        status = set_position(q, 0, NULL, err);
    q->next = q->taken = q->first = q->given = 0;
    q->g->bad.epoch = 0;
    q->limit = status < 0 ? 0 : steps;
    q->epoch = epoch;
    q->ended = INT64_MAX;
    for (int k = 0; k < q->slots; k++)
        q->ring[k].made = false;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
    return status;
}

/* Takes the batch of the next ticket. It has no records if all of them are bad. */
static int take_ticket(quern__queue *q, quern_batch **out, quern_error *err)
{
    quern__slot *s = &q->ring[q->taken % q->slots];
    if (q->limit >= 0 && q->taken >= q->limit)
        return QUERN_END;
    *out = &s->batch;
    double start = 0;
    int waited = QUERN_OK;
    /* without readers the trainer fills the slot itself */
    if (!q->running) {
        start = quern__now();
        s->status = q->taken < q->ended ? fill_slot(q, s, q->next++) : QUERN_END;
        q->ended = s->status == QUERN_OK ? q->ended : q->taken;
    } else {
        pthread_mutex_lock(&q->lock);
        start = s->made ? 0 : quern__now();
        waited = quern__queue_wait(q, s, err);
        pthread_mutex_unlock(&q->lock);
    }
    q->waited += start > 0 ? quern__now() - start : 0;
    if (waited < 0)
        return waited;
    int status = s->made || !q->running ? s->status : QUERN_END;
    int told = quern__bad_report(q->g, s->batch.bad, status < 0 ? &s->error : NULL, err);
    if (told < 0)
        return told;
    if (status < 0 && err && !err->code)
        *err = s->error;
    q->given += status == QUERN_OK ? s->batch.size : 0;
    return status == QUERN_OK ? set_position(q, q->taken + 1, s, err) : status;
}

int quern__queue_take(quern__queue *q, quern_batch **out, quern_error *err)
{
    for (int64_t empty = 0;;) {
        int status = take_ticket(q, out, err);
        if (status != QUERN_OK || (*out)->size > 0)
            return status;
        if (++empty > per_pass(q))
            return quern__fail(err, QUERN_FORMAT, q->g->where, "all records of a pass are bad");
        pthread_mutex_lock(&q->lock);
        q->limit += q->limit >= 0; /* an empty batch does not count as a step of the epoch */
        pthread_mutex_unlock(&q->lock);
        quern__queue_release(q);
    }
}

int64_t quern__queue_bad(const quern__queue *q) { return q->g->bad.epoch; }
void quern__queue_restore_bad_count(quern__queue *q, int64_t n) { q->g->bad.epoch = n; }

void quern__queue_release(quern__queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->ring[q->taken % q->slots].made = false;
    q->taken++;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

double quern__queue_waited(const quern__queue *q) { return q->waited; }
const quern_generator *quern__queue_source(const quern__queue *q) { return q->g; }

void quern__queue_close(quern__queue *q)
{
    if (!q)
        return;
    if (q->stalled)
        quern__queue_abandon(q);
    else
        quern__queue_end(q);
}

/* Extends the hash h by n bytes, 8 at a time. */
static uint64_t hash_bytes(uint64_t h, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    uint64_t part = 0;
    for (size_t i = 0; i < n; i++) {
        part = part << 8 | p[i];
        if (i % 8 == 7 || i + 1 == n)
            h = quern__hash64(h ^ part);
    }
    return quern__hash64(h ^ n);
}

static uint64_t hash_string(uint64_t h, const quern_string *s)
{
    return hash_bytes(h, s->data, (size_t)s->size);
}

static uint64_t hash_batch(uint64_t h, const quern_batch *b)
{
    for (int i = 0; i < b->spec->n_inputs + b->spec->n_targets; i++) {
        int64_t n = quern__per_record(&b->shapes[i]) * b->size;
        size_t size = quern_dtype_size(b->spec->dtypes[i]);
        if (b->spec->dtypes[i] != QUERN_STRING)
            h = hash_bytes(h, b->arrays[i], (size_t)n * size);
        else
            for (int64_t k = 0; k < n; k++)
                h = hash_string(h, (const quern_string *)b->arrays[i] + k);
    }
    return h;
}

enum { most_sampled = 16 };

int quern__queue_fingerprint(quern__queue *q, uint64_t *out, quern_error *err)
{
    quern_batch *b = &q->ring[0].batch;
    const char *name = q->g->where ? q->g->where : "generator";
    *out = hash_bytes(1, name, indexed(q) ? 0 : strlen(name));
    int64_t batches = indexed(q) && q->g->count > 0 ? per_pass(q) : 0,
            sampled = batches < most_sampled ? batches : most_sampled;
    for (int64_t k = 0; k < sampled; k++) {
        /* evenly spaced batches, the first and the last included */
        int64_t at = sampled > 1 ? k * (batches - 1) / (sampled - 1) : 0,
                first = at * q->opts.spec.batch_size, left = q->g->count - first;
        quern__batch_begin(b, left < q->opts.spec.batch_size ? left : q->opts.spec.batch_size);
        b->text_used = 0;
        b->epoch = 0;
        if (b->bad)
            b->bad->count = 0;
        int status = q->g->ops->read(q->g, 0, first, b, err);
        if (status < 0)
            return status;
        *out = hash_batch(quern__hash64(*out ^ (uint64_t)q->g->count), b);
    }
    return QUERN_OK;
}

int quern__queue_skip(quern__queue *q, int64_t n, quern_error *err)
{
    for (int64_t k = 0; k < n; k++) {
        quern_batch *b;
        int status = quern__queue_take(q, &b, err);
        if (status != QUERN_OK)
            return status < 0 ? status : QUERN_OK;
        quern__queue_release(q);
    }
    return QUERN_OK;
}
