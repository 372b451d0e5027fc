/* Model files. `.keras`: config.json and model.weights.h5 as Keras has them, tokenizer.json for language models, and what else
 * somebody put there, which is kept. Whole-model `.h5`: legacy.c. */
#include "files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What weights may take in memory is bounded by what their file holds, which may be compressed. */
static const size_t expansion = 64, least_room = 1 << 20, most_kept = 256 << 20;

static size_t room_for(size_t bytes) { return expansion * bytes + least_room; }

/* Members that quern writes itself. */
static bool ours(const char *name)
{
    static const char *const own[] = { "config.json",    "metadata.json", "model.weights.h5",
                                       "tokenizer.json", QUERN__RUN_JSON, QUERN__RUN_BYTES };
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (!strcmp(name, own[i]))
            return true;
    return false;
}

static int keep_members(quern_model *m, const char *path, quern_error *err)
{
    quern__member *list;
    int n, status = quern__archive_others(path, ours, most_kept, &list, &n, err);
    m->members = n ? quern__zalloc((size_t)n, sizeof *m->members) : NULL;
    if (n && !m->members)
        status = quern__fail_memory(err, (size_t)n * sizeof *m->members);
    for (int i = 0; status >= 0 && i < n; i++) {
        m->members[m->n_members++] = (quern__kept_member){ (char *)(uintptr_t)list[i].name, list[i].bytes, list[i].n };
        list[i].name = NULL;
        list[i].bytes = NULL;
    }
    quern__assets_free(list, n);
    return status;
}

static int read_parts(quern_model *m, const char *path, const quern__member *weights, const quern__member *tokenizer,
                      quern_error *err)
{
    int status = quern__weights_read(m, path, weights->bytes, weights->n, err);
    status = status < 0 ? status : quern__assets_read(m, path, QUERN__MOST_BYTES, err);
    status = status < 0 ? status : keep_members(m, path, err);
    if (status >= 0 && tokenizer->bytes && !(m->tokenizer = quern_tokenizer_from_json(tokenizer->bytes, tokenizer->n, err)))
        status = QUERN_FORMAT;
    return status;
}

static quern_model *open_archive(const char *path, quern_error *err)
{
    quern__member members[] = { { .name = "config.json", .limit = QUERN__MOST_JSON },
                                { .name = "model.weights.h5" },
                                { .name = "tokenizer.json", .optional = true } };
    json_error_t why;
    quern_model *m = NULL;
    if (quern__archive_read(path, members, 3, QUERN__MOST_BYTES, err) < 0)
        return NULL;
    json_t *root = json_loadb(members[0].bytes, members[0].n, JSON_REJECT_DUPLICATES, &why);
    if (!root)
        quern__fail(err, QUERN_FORMAT, path, "config.json, line %d: %s", why.line, why.text);
    else
        m = quern__config_read(root, room_for(members[1].n), err);
    if (m && read_parts(m, path, &members[1], &members[2], err) < 0) {
        quern_model_free(m);
        m = NULL;
    }
    json_decref(root);
    for (int i = 0; i < 3; i++)
        quern__free(members[i].bytes);
    return m;
}

/* Whether a file begins as HDF5 does. */
static bool is_hdf5(const char *path)
{
    char head[8] = { 0 };
    FILE *f = fopen(path, "rbe");
    bool is = f && fread(head, 1, sizeof head, f) == sizeof head && !memcmp(head, "\x89HDF\r\n\x1a\n", sizeof head);
    if (f)
        fclose(f);
    return is;
}

quern_model *quern_model_open(const char *path, quern_error *err)
{
    char *bytes;
    size_t n;
    if (!is_hdf5(path))
        return open_archive(path, err);
    if (quern__file_read(path, QUERN__MOST_BYTES, &bytes, &n, err) < 0)
        return NULL;
    quern_model *m = quern__legacy_read(path, bytes, n, room_for(n), err);
    quern__free(bytes);
    return m;
}

/* ---- writing ---- */

static bool among(const quern__member *all, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(all[i].name, name))
            return true;
    return false;
}

/* Members of ours, vocabularies, then those that were there and are neither. */
static int write_all(const char *path, const quern_model *m, const quern__member *front, int n_front, const quern__member *assets,
                     int n, quern_error *err)
{
    size_t most = (size_t)n_front + (size_t)n + (size_t)m->n_members;
    quern__member *all = quern__zalloc(most, sizeof *all);
    if (!all)
        return quern__fail_memory(err, most * sizeof *all);
    memcpy(all, front, (size_t)n_front * sizeof *all);
    if (n)
        memcpy(all + n_front, assets, (size_t)n * sizeof *all);
    n += n_front;
    for (int i = 0; i < m->n_members; i++)
        if (!among(all, n, m->members[i].name))
            all[n++] = (quern__member){ .name = m->members[i].name, .bytes = m->members[i].bytes, .n = m->members[i].n };
    int status = quern__archive_write(path, all, n, err);
    quern__free(all);
    return status;
}

static int save_legacy(const quern_model *m, const char *path, quern_error *err)
{
    char *bytes = NULL;
    size_t n = 0;
    int status = quern__legacy_write(m, &bytes, &n, err);
    status = status < 0 ? status : quern__file_write(path, bytes, n, err);
    quern__free(bytes);
    return status;
}

int quern__model_save_with(const quern_model *m, const char *path, const quern__member *more, int n_more, quern_error *err)
{
    char metadata[128], date[32];
    time_t now = time(NULL);
    struct tm tm;
    strftime(date, sizeof date, "%Y-%m-%d@%H:%M:%S", gmtime_r(&now, &tm));
    snprintf(metadata, sizeof metadata, "{\"keras_version\": \"" QUERN__KERAS_VERSION "\", \"date_saved\": \"%s\"}", date);
    json_t *root = quern__config_write(m);
    quern__member metadata_member = { "metadata.json", metadata, strlen(metadata) };
    quern__member config = { "config.json", json_dumps(root, 0), 0 }, weights = { .name = "model.weights.h5" };
    quern__member tokenizer = { .name = "tokenizer.json" }, *assets = NULL;
    int n = 0, status = config.bytes ? quern__weights_write(m, &weights.bytes, &weights.n, err) : quern__fail_memory(err, 1);
    if (status >= 0 && m->tokenizer && !(tokenizer.bytes = quern_tokenizer_json(m->tokenizer, &tokenizer.n, err)))
        status = err && err->code ? err->code : QUERN_NOMEM;
    status = status < 0 ? status : quern__assets_write(m, &assets, &n, err);
    if (status >= 0) {
        config.n = strlen(config.bytes);
        quern__member front[8] = { metadata_member, config, weights };
        int n_front = 3;
        if (m->tokenizer)
            front[n_front++] = tokenizer;
        for (int i = 0; i < n_more && n_front < 8; i++)
            front[n_front++] = more[i];
        status = write_all(path, m, front, n_front, assets, n, err);
    }
    free(config.bytes);
    free(tokenizer.bytes);
    quern__free(weights.bytes);
    quern__assets_free(assets, n);
    json_decref(root);
    return status;
}

int quern_model_save(const quern_model *m, const char *path, quern_error *err)
{
    return quern__is_legacy_name(path) ? save_legacy(m, path, err) : quern__model_save_with(m, path, NULL, 0, err);
}
