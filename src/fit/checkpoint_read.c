/* checkpoint_read: finds the newest valid checkpoint, compares its run with this one by model,
 * options and data, and restores the weights, the history, the generator, the callbacks and the
 * accumulators. */
#include "checkpoint.h"

#include "base/isa.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

/* Number of bytes in a hexadecimal text; -1: not hexadecimal. */
static int64_t bytes_of_hex(json_t *v, uint8_t *out)
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

static int unpack_state(const quern__checkpointing *c, const char *bytes, size_t n,
                        const char *path, quern_error *err)
{
    size_t at = 0, size;
    void *to;
    for (int k = 0; (to = quern__checkpoint_piece(c, k, &size)); k++) {
        uint64_t length;
        if (n - at < sizeof length ||
            (memcpy(&length, bytes + at, sizeof length), length != size) ||
            n - at - sizeof length < size)
            return quern__fail(err, QUERN_INVALID, path,
                               "the run had different metrics, states or callbacks");
        memcpy(to, bytes + at + sizeof length, size);
        at += sizeof length + size;
    }
    return at == n ? QUERN_OK
                   : quern__fail(err, QUERN_INVALID, path,
                                 "the run had more metrics, states or callbacks than this run");
}

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

static int read_checkpoint(const char *path, taken *t, quern_error *err)
{
    *t = (taken){ .members = { { .name = "config.json", .limit = QUERN__MOST_JSON },
                               { .name = "model.weights.h5" },
                               { .name = QUERN__RUN_JSON, .limit = QUERN__MOST_JSON },
                               { .name = QUERN__RUN_BYTES, .limit = QUERN__MOST_BYTES } } };
    int status = quern__archive_read(path, t->members, 4, QUERN__MOST_BYTES, err);
    if (status >= 0) {
        t->config =
            quern__json_read(t->members[0].bytes, t->members[0].n, path, t->members[0].name, err);
        t->run = t->config ? quern__json_read(t->members[2].bytes, t->members[2].n, path,
                                              t->members[2].name, err)
                           : NULL;
        if (!t->run || quern__config_int(t->run, "format") != QUERN__RUN_FORMAT)
            status = quern__fail(err, QUERN_FORMAT, path, "is not a checkpoint of this version");
    }
    if (status < 0)
        taken_free(t);
    return status;
}

/* The compile config without the learning rate, which may change during a run. Returns new. */
static json_t *compile_settings(json_t *config)
{
    json_t *own = json_deep_copy(json_object_get(config, "compile_config"));
    json_object_del(json_object_get(json_object_get(own, "optimizer"), "build_config"),
                    "learning_rate");
    json_object_del(json_object_get(json_object_get(own, "optimizer"), "config"), "learning_rate");
    return own;
}

/* Checks that the file has this model and that its run had the same options. */
static int same_run(const quern__checkpointing *c, const taken *t, const char *path,
                    quern_error *err)
{
    json_t *now = quern__config_write(c->m), *own = quern__checkpoint_options(c),
           *before = json_object_get(t->run, "asked"), *v;
    json_t *compiled = compile_settings(now), *then_compiled = compile_settings(t->config);
    const char *key;
    int status = QUERN_OK;
    if (!json_equal(json_object_get(now, "config"), json_object_get(t->config, "config")))
        status = quern__fail(err, QUERN_INVALID, path, "belongs to a different model");
    else if (!json_equal(compiled, then_compiled))
        status = quern__fail(err, QUERN_INVALID, path,
                             "belongs to a model with different compile arguments");
    json_object_foreach(own, key, v)
    {
        json_t *then = json_object_get(before, key);
        if (status < 0 || json_equal(v, then))
            continue;
        bool names = !strcmp(key, "schema");
        if (names || !strcmp(key, "data")) {
            status = quern__fail(err, QUERN_INVALID, path, "belongs to a run with different %s",
                                 names ? "columns or classes" : "data");
            continue;
        }
        char *was = quern__json_text(then, 0), *is = quern__json_text(v, 0);
        status =
            quern__fail(err, QUERN_INVALID, path, "belongs to a run with %s %s, this run has %s",
                        key, was ? was : "?", is ? is : "?");
        if (!strcmp(key, "parts"))
            quern__hint(
                err, "the memory budget decides the number of micro-batches: use the same budget");
        free(was);
        free(is);
    }
    json_decref(now);
    json_decref(own);
    json_decref(compiled);
    json_decref(then_compiled);
    return status;
}

/* Warns if the run used kernels of another instruction set, whose results differ in bits. Older
 * files do not record it. */
static void warn_isa(const taken *t, const char *path)
{
    const char *then = json_string_value(json_object_get(t->run, "isa")), *now = quern_isa(), *same;
    int k = 0;
    if (!then || !now || quern__isa_same_bits(then, now))
        return;
    while ((same = quern_isa_name(k)) && !quern__isa_same_bits(then, same))
        k++;
    quern__warn(
        "%s: the run used %s kernels, this run uses %s kernels, which round differently; %s%s%s",
        path, then, now, same ? "--isa " : "this processor has no kernels with equal results",
        same ? same : "", same ? " is bit-identical" : "");
}

static int restore_run(quern__checkpointing *c, const taken *t, const char *path, quern__place *p,
                       quern_error *err)
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
    if (status >= 0 &&
        (p->epoch < 0 || p->step < 0 || p->records < 0 || p->batches < p->step || p->bad < 0))
        status = quern__fail(err, QUERN_FORMAT, path, "%s is not valid", QUERN__RUN_JSON);
    if (status >= 0)
        status = quern__weights_read(c->m, path, t->members[1].bytes, t->members[1].n, err);
    if (status >= 0 && p->placed) {
        int64_t n = bytes_of_hex(position, state);
        status = n < 0 ? quern__fail(err, QUERN_FORMAT, path, "the resume position is not valid")
                       : quern__generator_place(c->source, state, (size_t)n, err);
    }
    if (status >= 0)
        quern__history_read(c->h, json_object_get(t->run, "history"));
    return status;
}

int quern__checkpoint_find(quern__checkpointing *c, quern__place *p, quern_error *err)
{
    char previous[4096];
    quern_error first = { 0 }, second = { 0 };
    int status = quern__checkpoint_previous(c->o->checkpoint, previous, sizeof previous, err);
    const char *path = c->o->checkpoint;
    taken *t = status < 0 ? NULL : quern__zalloc(1, sizeof *t);
    c->found = t;
    if (!t)
        return status < 0 ? status : quern__fail_memory(err, sizeof *t);
    if (read_checkpoint(path, t, &first) < 0) {
        bool missing = first.code == QUERN_NOTFOUND;
        path = previous;
        if (read_checkpoint(path, t, &second) < 0) {
            quern__checkpoint_forget(c);
            if (missing && second.code == QUERN_NOTFOUND)
                return QUERN_END;
            *err = missing ? second : first;
            return err->code;
        }
        quern__warn("%s: %s; the run resumes from %s", c->o->checkpoint, first.text, path);
    }
    status = restore_run(c, t, path, p, err);
    if (status < 0)
        quern__checkpoint_forget(c);
    else
        warn_isa(t, path);
    return status;
}

int quern__checkpoint_finish(quern__checkpointing *c, quern_error *err)
{
    const taken *t = c->found;
    int status = quern__callbacks_restore(c->callbacks, c->n_callbacks,
                                          json_object_get(t->run, "callbacks"), err);
    if (status >= 0)
        status = unpack_state(c, t->members[3].bytes, t->members[3].n, c->o->checkpoint, err);
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
static int read_newest_checkpoint(const char *path, taken *t, quern_error *err)
{
    char previous[4096];
    quern_error first = { 0 };
    int status = quern__checkpoint_previous(path, previous, sizeof previous, err);
    if (status < 0 || read_checkpoint(path, t, &first) >= 0 ||
        read_checkpoint(previous, t, NULL) >= 0)
        return status;
    *err = first;
    return first.code;
}

int64_t quern__checkpoint_batch_size(const char *path)
{
    quern_error err = { 0 };
    taken t;
    if (read_newest_checkpoint(path, &t, &err) < 0)
        return 0;
    int64_t size = quern__config_int(json_object_get(t.run, "asked"), "batch_size");
    taken_free(&t);
    return size > 0 && size <= INT32_MAX ? size : 0;
}

int quern_checkpoint_read(const char *path, quern_checkpoint *out, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "path", path, "out", out);
    taken t;
    int status = read_newest_checkpoint(path, &t, err);
    if (status < 0)
        return status;
    *out = (quern_checkpoint){ .epoch = quern__config_int(t.run, "epoch"),
                               .step = quern__config_int(t.run, "step"),
                               .batches = quern__config_int(t.run, "batches") };
    taken_free(&t);
    return QUERN_OK;
}
