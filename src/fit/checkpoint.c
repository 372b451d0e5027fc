/* Checkpoints. A checkpoint is a `.keras` file with two more members. run.json has the resume
 * position, the options that change results, and the settings of callbacks. run.bin has the metric
 * accumulators, the states of layers and the states of callbacks. A resumed run is bit-identical to
 * an uninterrupted one. The write is atomic and keeps the previous file as FILE.previous. */
#include "checkpoint.h"

#include "base/isa.h"
#include "base/json.h"
#include "schema/schema.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int quern__checkpoint_previous(const char *path, char *out, size_t size, quern_error *err)
{
    return (size_t)snprintf(out, size, "%s.previous", path) < size
               ? QUERN_OK
               : quern__fail(err, QUERN_INVALID, path, "the name is too long");
}

/* ---- run.bin: pieces, each a length and its bytes ---- */

/* The k-th piece of state, at its present address. */
void *quern__checkpoint_piece(const quern__checkpointing *c, int k, size_t *size)
{
    int variables = 0;
    for (void *data; (data = quern__model_run_array(c->m, variables, size)); variables++)
        if (variables == k)
            return data;
    return quern__callbacks_bytes(c->callbacks, c->n_callbacks, k - variables, size);
}

static char *pack_state(const quern__checkpointing *c, size_t *n, quern_error *err)
{
    size_t size;
    const void *from;
    *n = 0;
    for (int k = 0; quern__checkpoint_piece(c, k, &size); k++)
        *n += sizeof(uint64_t) + size;
    char *out = quern__alloc(*n + 1), *at = out;
    for (int k = 0; out && (from = quern__checkpoint_piece(c, k, &size)); k++) {
        uint64_t length = size;
        memcpy(at, &length, sizeof length);
        memcpy(at + sizeof length, from, size);
        at += sizeof length + size;
    }
    if (!out)
        quern__fail_memory(err, *n);
    return out;
}

/* ---- run.json ---- */

static json_t *hex_text(const uint8_t *bytes, size_t n)
{
    char text[2 * QUERN_MAX_STATE + 1];
    for (size_t i = 0; i < n; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    text[2 * n] = 0;
    return json_string(text);
}

/* The options that change the results of a run. */
json_t *quern__checkpoint_options(const quern__checkpointing *c)
{
    char data[24], seed[24];
    snprintf(data, sizeof data, "%016llx", (unsigned long long)c->fingerprint);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)quern__model_seed(c->m));
    json_t *all =
        json_pack("{s:I, s:I, s:I, s:b, s:s?, s:i, s:s, s:s}", "batch_size",
                  (json_int_t)c->batch_size, "parts", (json_int_t)quern__model_micro_batches(c->m),
                  "steps_per_epoch", (json_int_t)c->o->steps_per_epoch, "shuffle",
                  !c->o->no_shuffle, "class_weight", c->o->class_weight, "bad_records",
                  quern__generator_bad_policy(c->source), "seed", seed, "data", data);
    if (all && quern_model_schema(c->m))
        json_object_set_new(all, "schema", quern__schema_write(quern_model_schema(c->m)));
    return all;
}

static json_t *run_json(const quern__checkpointing *c, const quern__place *p)
{
    uint8_t state[QUERN_MAX_STATE];
    size_t size = 0;
    json_t *position = NULL;
    if (quern_generator_save(c->source, state, sizeof state, &size, NULL) >= 0)
        position = hex_text(state, size);
    return json_pack("{s:i, s:s?, s:b, s:I, s:I, s:I, s:I, s:I, s:o?, s:o, s:o, s:o}", "format",
                     QUERN__RUN_FORMAT, "isa", quern_isa(), "ended", (int)p->ended, "epoch",
                     (json_int_t)p->epoch, "step", (json_int_t)p->step, "records",
                     (json_int_t)p->records, "batches", (json_int_t)p->batches, "bad_records",
                     (json_int_t)p->bad, "position", position, "asked",
                     quern__checkpoint_options(c), "history", quern__history_json(c->h),
                     "callbacks", quern__callbacks_save(c->callbacks, c->n_callbacks));
}

/* ---- writing ---- */

/* Renames the previous valid file. One valid file exists at every moment. */
static int keep_previous(const char *path, quern_error *err)
{
    char previous[4096];
    int status = quern__checkpoint_previous(path, previous, sizeof previous, err);
    if (status < 0 || access(path, F_OK))
        return status;
    unlink(previous);
    if (link(path, previous) && rename(path, previous)) /* some file systems have no hard links */
        return quern__fail(err, QUERN_IO, previous, "cannot be written: %s", strerror(errno));
    return QUERN_OK;
}

/* Writes the members to a temporary file, which then replaces `path`. */
static int write_members(const char *path, bool single, const quern__members *all, quern_error *err)
{
    char beside[4096];
    if ((size_t)snprintf(beside, sizeof beside, "%s.next", path) >= sizeof beside)
        return quern__fail(err, QUERN_INVALID, path, "the name is too long");
    int status = quern__archive_write(beside, all->list, all->n, err);
    if (status >= 0)
        status = keep_previous(path, err);
    char previous[4096];
    if (status >= 0) {
        status = quern__file_replace(beside, path, err);
        if (status >= 0 && single &&
            quern__checkpoint_previous(path, previous, sizeof previous, err) >= 0)
            unlink(previous);
        return status;
    }
    unlink(beside);
    return status;
}

/* The writer: one thread for the whole run, which writes a checkpoint while training continues. */
struct quern__checkpoint_writer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    const char *path;
    bool single;
    quern__members members;
    quern__image image; /* copy of the weights; all checkpoints reuse its memory */
    bool given, stop;
    quern_error error; /* of the last checkpoint */
};

static void *writer_main(void *arg)
{
    quern__checkpoint_writer *w = arg;
    pthread_mutex_lock(&w->lock);
    while (!w->stop || w->given) {
        if (!w->given) {
            pthread_cond_wait(&w->changed, &w->lock);
            continue;
        }
        pthread_mutex_unlock(&w->lock);
        quern_error error = { 0 };
        write_members(w->path, w->single, &w->members, &error);
        quern__members_free(&w->members);
        pthread_mutex_lock(&w->lock);
        w->error = error;
        w->given = false;
        pthread_cond_broadcast(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int quern__checkpoint_open(quern__checkpointing *c, quern_error *err)
{
    quern__checkpoint_writer *w = quern__zalloc(1, sizeof *w);
    if (!w)
        return quern__fail_memory(err, sizeof *w);
    w->path = c->o->checkpoint;
    w->single = c->single;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    if (quern__thread_start(&w->thread, writer_main, w)) {
        quern__free(w);
        return quern__fail(err, QUERN_NOMEM, "checkpoint", "its thread cannot start");
    }
    c->writer = w;
    return QUERN_OK;
}

/* Waits until the writer is idle. Returns the status of its last write. */
static int wait_for_writer(quern__checkpoint_writer *w, quern_error *err)
{
    pthread_mutex_lock(&w->lock);
    while (w->given)
        pthread_cond_wait(&w->changed, &w->lock);
    quern_error error = w->error;
    w->error = (quern_error){ 0 };
    pthread_mutex_unlock(&w->lock);
    if (error.code && err && !err->code)
        *err = error;
    return error.code;
}

int quern__checkpoint_failed(quern__checkpointing *c, quern_error *err)
{
    quern__checkpoint_writer *w = c->writer;
    if (!w)
        return QUERN_OK;
    pthread_mutex_lock(&w->lock);
    bool failed = !w->given && w->error.code;
    pthread_mutex_unlock(&w->lock);
    return failed ? wait_for_writer(w, err) : QUERN_OK;
}

int quern__checkpoint_close(quern__checkpointing *c, quern_error *err)
{
    quern__checkpoint_writer *w = c->writer;
    if (!w)
        return QUERN_OK;
    int status = wait_for_writer(w, err);
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->changed);
    quern__free(w->image.bytes);
    quern__free(w);
    c->writer = NULL;
    return status;
}

/* Adds run.json and run.bin. */
static int add_run(const quern__checkpointing *c, const quern__place *p, quern__members *all,
                   quern_error *err)
{
    size_t n;
    json_t *run = run_json(c, p);
    char *text = quern__json_text(run, 0), *own = text ? quern__strdup(text) : NULL;
    int status = quern__members_add(all, QUERN__RUN_JSON, own, own ? strlen(own) : 0, err);
    char *bytes = status < 0 ? NULL : pack_state(c, &n, err);
    if (status >= 0)
        status = bytes ? quern__members_add(all, QUERN__RUN_BYTES, bytes, n, err) : QUERN_NOMEM;
    json_decref(run);
    free(text);
    return status;
}

int quern__checkpoint_write(quern__checkpointing *c, const quern__place *p, quern_error *err)
{
    quern__checkpoint_writer *w = c->writer;
    quern__members all = { 0 };
    int status = wait_for_writer(w, err); /* at most one write is in progress */
    if (status >= 0)
        status = quern__callbacks_sync(c->callbacks, c->n_callbacks, err);
    if (status >= 0)
        status = quern__model_members(c->m, NULL, &w->image, &all, err);
    if (status >= 0)
        status = add_run(c, p, &all, err);
    if (status < 0) {
        quern__members_free(&all);
        return status;
    }
    pthread_mutex_lock(&w->lock);
    w->members = all;
    w->given = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    return QUERN_OK;
}
