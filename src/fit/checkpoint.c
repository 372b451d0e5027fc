/* Checkpoints. A checkpoint is a `.keras` file with two more members. run.json has the resume position, the options that change
 * results, and the settings of callbacks. run.bin has the metric accumulators, the states of layers and the states of callbacks.
 * A resumed run is bit-identical to an uninterrupted one. The write is atomic and keeps the previous file as FILE.previous. */
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

enum { format_now = 1, most_run_bytes = 1 << 30 };

static int previous_path(const char *path, char *out, size_t size, quern_error *err)
{
    return (size_t)snprintf(out, size, "%s.previous", path) < size ? QUERN_OK
                                                                   : quern__fail(err, QUERN_INVALID, path, "the name is too long");
}

/* ---- run.bin: pieces, each a length and its bytes ---- */

/* The k-th piece of state, at its present address. */
static void *piece(const quern__checkpointing *c, int k, size_t *size)
{
    int variables = 0;
    for (quern__variable *v; (v = quern__model_run_variable(c->m, variables)); variables++)
        if (variables == k)
            return quern__shape_bytes(&v->shape, v->dtype, size) ? v->data : NULL;
    return quern__callbacks_bytes(c->callbacks, c->n_callbacks, k - variables, size);
}

static char *pack(const quern__checkpointing *c, size_t *n, quern_error *err)
{
    size_t size;
    const void *from;
    *n = 0;
    for (int k = 0; piece(c, k, &size); k++)
        *n += sizeof(uint64_t) + size;
    char *out = quern__alloc(*n + 1), *at = out;
    for (int k = 0; out && (from = piece(c, k, &size)); k++) {
        uint64_t length = size;
        memcpy(at, &length, sizeof length);
        memcpy(at + sizeof length, from, size);
        at += sizeof length + size;
    }
    if (!out)
        quern__fail_memory(err, *n);
    return out;
}

static int unpack(const quern__checkpointing *c, const char *bytes, size_t n, const char *path, quern_error *err)
{
    size_t at = 0, size;
    void *to;
    for (int k = 0; (to = piece(c, k, &size)); k++) {
        uint64_t length;
        if (n - at < sizeof length || (memcpy(&length, bytes + at, sizeof length), length != size) || n - at - sizeof length < size)
            return quern__fail(err, QUERN_INVALID, path, "the run had other metrics, states or callbacks");
        memcpy(to, bytes + at + sizeof length, size);
        at += sizeof length + size;
    }
    return at == n ? QUERN_OK : quern__fail(err, QUERN_INVALID, path, "the run had more metrics, states or callbacks");
}

/* ---- run.json ---- */

static json_t *hex(const uint8_t *bytes, size_t n)
{
    char text[2 * QUERN_MAX_STATE + 1];
    for (size_t i = 0; i < n; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    text[2 * n] = 0;
    return json_string(text);
}

/* Number of bytes in a hexadecimal text; -1: not hexadecimal. */
static int64_t unhex(json_t *v, uint8_t *out)
{
    const char *text = json_string_value(v);
    size_t n = text ? strlen(text) : 1;
    if (n % 2 || n > 2 * QUERN_MAX_STATE)
        return -1;
    for (size_t i = 0; i < n / 2; i++) {
        unsigned byte;
        if (sscanf(text + 2 * i, "%2x", &byte) != 1)
            return -1;
        out[i] = (uint8_t)byte;
    }
    return (int64_t)(n / 2);
}

/* The options that change the results of a run. */
static json_t *asked(const quern__checkpointing *c)
{
    char data[24], seed[24];
    snprintf(data, sizeof data, "%016llx", (unsigned long long)c->fingerprint);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)c->m->b->seed);
    int64_t parts = c->m->parts.n ? c->m->parts.n : 1;
    json_t *all = json_pack("{s:I, s:I, s:I, s:b, s:s?, s:i, s:s, s:s}", "batch_size", (json_int_t)c->batch_size, "parts",
                            (json_int_t)parts, "steps_per_epoch", (json_int_t)c->o->steps_per_epoch, "shuffle", !c->o->no_shuffle,
                            "class_weight", c->o->class_weight, "bad_records", c->source->bad.policy, "seed", seed, "data", data);
    if (all && c->m->schema)
        json_object_set_new(all, "schema", quern__schema_write(c->m->schema));
    return all;
}

static json_t *run_json(const quern__checkpointing *c, const quern__place *p)
{
    uint8_t state[QUERN_MAX_STATE];
    size_t size = 0;
    json_t *position = NULL;
    if (quern_generator_save(c->source, state, sizeof state, &size, NULL) >= 0)
        position = hex(state, size);
    return json_pack("{s:i, s:s?, s:b, s:I, s:I, s:I, s:I, s:I, s:o?, s:o, s:o, s:o}", "format", format_now, "isa", quern_isa(),
                     "ended", (int)p->ended, "epoch", (json_int_t)p->epoch, "step", (json_int_t)p->step, "records",
                     (json_int_t)p->records, "batches", (json_int_t)p->batches, "bad_records", (json_int_t)p->bad, "position",
                     position, "asked", asked(c), "history", quern__history_json(c->h), "callbacks",
                     quern__callbacks_save(c->callbacks, c->n_callbacks));
}

/* ---- writing ---- */

/* Renames the previous valid file. One valid file exists at every moment. */
static int keep_previous(const char *path, quern_error *err)
{
    char previous[4096];
    int status = previous_path(path, previous, sizeof previous, err);
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
        if (status >= 0 && single && previous_path(path, previous, sizeof previous, err) >= 0)
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

static void *writer_runs(void *arg)
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
    if (quern__thread_start(&w->thread, writer_runs, w)) {
        quern__free(w);
        return quern__fail(err, QUERN_NOMEM, "checkpoint", "cannot start its thread");
    }
    c->writer = w;
    return QUERN_OK;
}

/* Waits until the writer is idle. Returns the status of its last write. */
static int wait_for(quern__checkpoint_writer *w, quern_error *err)
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
    return failed ? wait_for(w, err) : QUERN_OK;
}

int quern__checkpoint_close(quern__checkpointing *c, quern_error *err)
{
    quern__checkpoint_writer *w = c->writer;
    if (!w)
        return QUERN_OK;
    int status = wait_for(w, err);
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
static int add_run(const quern__checkpointing *c, const quern__place *p, quern__members *all, quern_error *err)
{
    size_t n;
    json_t *run = run_json(c, p);
    char *text = quern__json_text(run, 0), *own = text ? quern__strdup(text) : NULL;
    int status = quern__members_add(all, QUERN__RUN_JSON, own, own ? strlen(own) : 0, err);
    char *bytes = status < 0 ? NULL : pack(c, &n, err);
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
    int status = wait_for(w, err); /* at most one write is in progress */
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

/* ---- reading ---- */

/* A checkpoint in memory. */
typedef struct taken {
    quern__member members[4]; /* config, weights, run.json, run.bin */
    json_t *config, *run;
} taken;

static void taken_free(taken *t)
{
    for (int i = 0; i < 4; i++)
        quern__free(t->members[i].bytes);
    json_decref(t->config);
    json_decref(t->run);
    *t = (taken){ 0 };
}

static int take(const char *path, taken *t, quern_error *err)
{
    *t = (taken){ .members = { { .name = "config.json", .limit = QUERN__MOST_JSON },
                               { .name = "model.weights.h5" },
                               { .name = QUERN__RUN_JSON, .limit = QUERN__MOST_JSON },
                               { .name = QUERN__RUN_BYTES, .limit = most_run_bytes } } };
    int status = quern__archive_read(path, t->members, 4, QUERN__MOST_BYTES, err);
    if (status >= 0) {
        t->config = quern__json_read(t->members[0].bytes, t->members[0].n, path, t->members[0].name, err);
        t->run = t->config ? quern__json_read(t->members[2].bytes, t->members[2].n, path, t->members[2].name, err) : NULL;
        if (!t->run || quern__config_int(t->run, "format") != format_now)
            status = quern__fail(err, QUERN_FORMAT, path, "is no checkpoint of this version");
    }
    if (status < 0)
        taken_free(t);
    return status;
}

/* The compile config without the learning rate, which may change during a run. Returns new. */
static json_t *settings(json_t *config)
{
    json_t *own = json_deep_copy(json_object_get(config, "compile_config"));
    json_object_del(json_object_get(json_object_get(own, "optimizer"), "build_config"), "learning_rate");
    json_object_del(json_object_get(json_object_get(own, "optimizer"), "config"), "learning_rate");
    return own;
}

/* Checks that the file has this model and that its run had the same options. */
static int same_run(const quern__checkpointing *c, const taken *t, const char *path, quern_error *err)
{
    json_t *now = quern__config_write(c->m), *own = asked(c), *before = json_object_get(t->run, "asked"), *v;
    json_t *compiled = settings(now), *then_compiled = settings(t->config);
    const char *key;
    int status = QUERN_OK;
    if (!json_equal(json_object_get(now, "config"), json_object_get(t->config, "config")))
        status = quern__fail(err, QUERN_INVALID, path, "is of another model");
    else if (!json_equal(compiled, then_compiled))
        status = quern__fail(err, QUERN_INVALID, path, "is of a model that was compiled otherwise");
    json_object_foreach(own, key, v)
    {
        json_t *then = json_object_get(before, key);
        if (status < 0 || json_equal(v, then))
            continue;
        bool names = !strcmp(key, "schema");
        if (names || !strcmp(key, "data")) {
            status = quern__fail(err, QUERN_INVALID, path, "is of a run on other %s", names ? "columns or classes" : "data");
            continue;
        }
        char *was = quern__json_text(then, 0), *is = quern__json_text(v, 0);
        status =
            quern__fail(err, QUERN_INVALID, path, "is of a run with %s %s, this one has %s", key, was ? was : "?", is ? is : "?");
        if (!strcmp(key, "parts"))
            quern__hint(err, "the memory decides into how many parts a batch is divided");
        free(was);
        free(is);
    }
    json_decref(now);
    json_decref(own);
    json_decref(compiled);
    json_decref(then_compiled);
    return status;
}

/* Warns if the run used kernels of another instruction set, whose results differ in bits. Older files do not record it. */
static void tell_isa(const taken *t, const char *path)
{
    const char *then = json_string_value(json_object_get(t->run, "isa")), *now = quern_isa(), *same;
    int k = 0;
    if (!then || !now || quern__isa_same_bits(then, now))
        return;
    while ((same = quern_isa_name(k)) && !quern__isa_same_bits(then, same))
        k++;
    quern__warn("%s: the run was computed by %s, this one goes on by %s, which rounds otherwise; %s%s%s", path, then, now,
                same ? "--isa " : "this processor has no kind of its bits", same ? same : "", same ? " gives the same bits" : "");
}

static int go_on(quern__checkpointing *c, const taken *t, const char *path, quern__place *p, quern_error *err)
{
    uint8_t state[QUERN_MAX_STATE];
    json_t *position = json_object_get(t->run, "position");
    int status = same_run(c, t, path, err);
    *p = (quern__place){ .epoch = quern__config_int(t->run, "epoch"),
                         .step = quern__config_int(t->run, "step"),
                         .records = quern__config_int(t->run, "records"),
                         .batches = quern__config_int(t->run, "batches"),
                         .bad = quern__config_int(t->run, "bad_records"),
                         .ended = json_is_true(json_object_get(t->run, "ended")),
                         .placed = json_is_string(position) };
    if (status >= 0 && (p->epoch < 0 || p->step < 0 || p->records < 0 || p->batches < p->step || p->bad < 0))
        status = quern__fail(err, QUERN_FORMAT, path, "%s is broken", QUERN__RUN_JSON);
    if (status >= 0)
        status = quern__weights_read(c->m, path, t->members[1].bytes, t->members[1].n, err);
    if (status >= 0 && p->placed) {
        int64_t n = unhex(position, state);
        c->source->position.going = false; /* the queue is open, but no epoch has started */
        status = n < 0 ? quern__fail(err, QUERN_FORMAT, path, "the position in the data is broken")
                       : quern_generator_restore(c->source, state, (size_t)n, err);
        c->source->position.going = true;
    }
    if (status >= 0)
        quern__history_read(c->h, json_object_get(t->run, "history"));
    return status;
}

int quern__checkpoint_find(quern__checkpointing *c, quern__place *p, quern_error *err)
{
    char previous[4096];
    quern_error first = { 0 }, second = { 0 };
    int status = previous_path(c->o->checkpoint, previous, sizeof previous, err);
    const char *path = c->o->checkpoint;
    taken *t = status < 0 ? NULL : quern__zalloc(1, sizeof *t);
    c->found = t;
    if (!t)
        return status < 0 ? status : quern__fail_memory(err, sizeof *t);
    if (take(path, t, &first) < 0) {
        bool missing = first.code == QUERN_NOTFOUND;
        path = previous;
        if (take(path, t, &second) < 0) {
            quern__checkpoint_forget(c);
            if (missing && second.code == QUERN_NOTFOUND)
                return QUERN_END;
            *err = missing ? second : first;
            return err->code;
        }
        quern__warn("%s: %s; the one before it is used", c->o->checkpoint, first.text);
    }
    status = go_on(c, t, path, p, err);
    if (status < 0)
        quern__checkpoint_forget(c);
    else
        tell_isa(t, path);
    return status;
}

int quern__checkpoint_finish(quern__checkpointing *c, quern_error *err)
{
    const taken *t = c->found;
    int status = quern__callbacks_restore(c->callbacks, c->n_callbacks, json_object_get(t->run, "callbacks"), err);
    if (status >= 0)
        status = unpack(c, t->members[3].bytes, t->members[3].n, c->o->checkpoint, err);
    quern__checkpoint_forget(c);
    return status;
}

void quern__checkpoint_forget(quern__checkpointing *c)
{
    if (c->found)
        taken_free(c->found);
    quern__free(c->found);
    c->found = NULL;
}

/* Opens the newest valid file: `path` or path.previous. */
static int take_newest(const char *path, taken *t, quern_error *err)
{
    char previous[4096];
    quern_error first = { 0 };
    int status = previous_path(path, previous, sizeof previous, err);
    if (status < 0 || take(path, t, &first) >= 0 || take(previous, t, NULL) >= 0)
        return status;
    *err = first;
    return first.code;
}

int64_t quern__checkpoint_batch_size(const char *path)
{
    quern_error err = { 0 };
    taken t;
    if (take_newest(path, &t, &err) < 0)
        return 0;
    int64_t size = quern__config_int(json_object_get(t.run, "asked"), "batch_size");
    taken_free(&t);
    return size > 0 && size <= INT32_MAX ? size : 0;
}

int quern_checkpoint_read(const char *path, quern_checkpoint *out, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "path", path, "out", out);
    taken t;
    int status = take_newest(path, &t, err);
    if (status < 0)
        return status;
    *out = (quern_checkpoint){ .epoch = quern__config_int(t.run, "epoch"),
                               .step = quern__config_int(t.run, "step"),
                               .batches = quern__config_int(t.run, "batches") };
    taken_free(&t);
    return QUERN_OK;
}
