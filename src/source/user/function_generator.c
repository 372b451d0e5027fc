/* A generator from a C function with an endless loop, as in Keras a Python generator. The function
 * runs on its own thread and exchanges one batch at a time with the caller.
 *
 * The exchange is a rendezvous. function_next sets `wanted` to the batch of the caller.
 * quern_next_batch returns it to the function, which fills it, and quern_yield sets `given`. Then
 * function_next returns. No batch is copied. `closed` makes both calls of the function end its
 * loop; a reset joins the thread and starts a new one. */
#include "source/generator_struct.h"

#include <pthread.h>

struct quern_yielder {
    quern_function *fn;
    void *arg;
    pthread_t thread;
    bool running, closed, ended, left; /* left: the run is over; a new call ends at once */
    int status;
    int64_t n; /* batches requested */
    quern_error error;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    quern_batch *wanted; /* the buffer that the caller waits for */
    quern_batch *given;  /* the same buffer once it is filled */
};

quern_error *quern_yielder_error(quern_yielder *y) { return y ? &y->error : NULL; }

quern_batch *quern_next_batch(quern_yielder *y)
{
    if (!y)
        return NULL;
    pthread_mutex_lock(&y->lock);
    while (!y->wanted && !y->closed)
        pthread_cond_wait(&y->changed, &y->lock);
    quern_batch *b = y->closed ? NULL : y->wanted;
    pthread_mutex_unlock(&y->lock);
    return b;
}

int quern_yield(quern_yielder *y, quern_batch *batch)
{
    if (!y || !batch)
        return QUERN_INVALID;
    pthread_mutex_lock(&y->lock);
    if (!y->closed && batch == y->wanted) {
        y->given = batch;
        y->wanted = NULL;
        pthread_cond_broadcast(&y->changed);
    }
    bool closed = y->closed;
    pthread_mutex_unlock(&y->lock);
    return closed ? QUERN_CLOSED : QUERN_OK;
}

/* The thread: runs the function once and stores its status. */
static void *function_thread(void *arg)
{
    quern_yielder *y = arg;
    int status = y->fn(y, y->arg);
    pthread_mutex_lock(&y->lock);
    y->ended = true;
    y->status = status;
    pthread_cond_broadcast(&y->changed);
    pthread_mutex_unlock(&y->lock);
    return NULL;
}

/* Starts the function on a new thread. */
static int function_start(quern_yielder *y, quern_error *err)
{
    pthread_mutex_lock(&y->lock);
    y->closed = y->left;
    y->ended = false;
    y->wanted = y->given = NULL;
    pthread_mutex_unlock(&y->lock);
    y->n = 0;
    y->error = (quern_error){ 0 };
    if (pthread_create(&y->thread, NULL, function_thread, y))
        return quern__fail(err, QUERN_NOMEM, "generator", "cannot start its thread");
    y->running = true;
    return QUERN_OK;
}

/* Makes the function return and joins its thread. */
static void function_finish(quern_yielder *y)
{
    pthread_mutex_lock(&y->lock);
    y->closed = true;
    pthread_cond_broadcast(&y->changed);
    pthread_mutex_unlock(&y->lock);
    if (y->running)
        pthread_join(y->thread, NULL);
    y->running = false;
}

static int function_open(quern_generator *g, const quern_batch_spec *spec, bool shuffle,
                         uint64_t seed, quern_error *err)
{
    quern_yielder *y = g->self;
    (void)shuffle, (void)seed;
    g->spec = spec;
    y->left = false;
    return function_start(y, err);
}

/* Restarts the function, unless no batch was requested yet. */
static int function_reset(quern_generator *g, int64_t epoch, quern_error *err)
{
    quern_yielder *y = g->self;
    (void)epoch;
    if (y->running && y->n == 0)
        return QUERN_OK;
    function_finish(y);
    return function_start(y, err);
}

/* Passes the batch to the function's thread and waits until it is filled. */
static int function_next(quern_generator *g, quern_batch *batch, quern_error *err)
{
    quern_yielder *y = g->self;
    quern__activity_set("waiting for the function", "generator", "batch", ++y->n);
    pthread_mutex_lock(&y->lock);
    y->wanted = batch;
    pthread_cond_broadcast(&y->changed);
    while (!y->given && !y->ended && !y->closed)
        pthread_cond_wait(&y->changed, &y->lock);
    int status = y->status < 0 || y->status > QUERN_END ? y->status : QUERN_END;
    if (y->given)
        status = QUERN_OK;
    else if (y->closed)
        status = QUERN_CLOSED;
    y->wanted = y->given = NULL;
    pthread_mutex_unlock(&y->lock);
    if (status > QUERN_END)
        return quern__fail(err, QUERN_INVALID, "generator",
                           "the function returned %d, expected QUERN_OK or QUERN_END", status);
    if (status < 0 && status != QUERN_CLOSED) {
        if (y->error.code && err && !err->code)
            *err = y->error;
        quern__fail(err, status, "generator", "the function returned %d (%s)", status,
                    quern_status_text(status));
    }
    return status;
}

/* Wakes a blocked next; the function ends at its next call. */
static void function_cancel(quern_generator *g)
{
    quern_yielder *y = g->self;
    pthread_mutex_lock(&y->lock);
    y->closed = y->left = true;
    pthread_cond_broadcast(&y->changed);
    pthread_mutex_unlock(&y->lock);
}

static void function_close(quern_generator *g) { function_finish(g->self); }

static void function_free(quern_generator *g)
{
    quern_yielder *y = g->self;
    pthread_mutex_destroy(&y->lock);
    pthread_cond_destroy(&y->changed);
    quern__free(y);
}

quern_generator *quern_function_generator(quern_function *fn, void *arg)
{
    if (!fn)
        return NULL;
    static const quern__source_ops kind = { .open = function_open,
                                            .next = function_next,
                                            .reset = function_reset,
                                            .cancel = function_cancel,
                                            .close = function_close,
                                            .free = function_free };
    quern_yielder *y = quern__zalloc(1, sizeof *y);
    if (!y)
        return NULL;
    y->fn = fn;
    y->arg = arg;
    pthread_mutex_init(&y->lock, NULL);
    pthread_cond_init(&y->changed, NULL);
    quern_generator *g = quern__generator_new(&kind, y);
    if (g) {
        g->where = "function";
        g->strings = g->restarts = true;
    } else
        function_free(&(quern_generator){ .self = y });
    return g;
}
