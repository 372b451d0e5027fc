/* Model files. `.keras`: config.json and model.weights.h5 as Keras has them, tokenizer.json for language models, schema.json
 * of the data, and what else somebody put there, which is kept. Whole-model `.h5`: legacy_h5.c. */
#include "base/json.h"
#include "files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What weights may take in memory is bounded by what their file holds, which may be compressed. */
static const size_t expansion = 64, least_room = 1 << 20, most_kept = 256 << 20;

static size_t room_for(size_t bytes) { return expansion * bytes + least_room; }

/* Members that quern writes itself. */
static bool ours(const char *name)
{
    static const char *const own[] = { "config.json", "metadata.json", "model.weights.h5", "tokenizer.json",
                                       "schema.json", QUERN__RUN_JSON, QUERN__RUN_BYTES };
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

/* Files of layers that no layer here has read. */
static int check_assets(const quern_model *m, const char *path, quern_error *err)
{
    quern__member *read;
    int n, status = quern__assets_write(m, &read, &n, err);
    for (int i = 0; status >= 0 && i < m->n_members; i++) {
        bool found = strncmp(m->members[i].name, "assets/", 7) != 0;
        for (int k = 0; k < n && !found; k++)
            found = !strcmp(m->members[i].name, read[k].name);
        if (!found)
            status = quern__fail(err, QUERN_UNSUPPORTED, path, "no layer of this version reads %.200s", m->members[i].name);
    }
    quern__assets_free(read, n);
    return status;
}

/* The names of columns and classes; what is broken is said with the way out. */
static int read_schema(quern_model *m, const char *path, const quern__member *schema, quern_error *err)
{
    quern_error own = { 0 };
    m->schema = quern_schema_from_json(schema->bytes, schema->n, &own);
    for (int t = 0; t < quern_schema_targets(m->schema); t++)
        if (quern_schema_target_output(m->schema, t) >= m->n_out)
            quern__fail(&own, QUERN_FORMAT, "schema", "target %d belongs to output %d, the model has %d", t + 1,
                        quern_schema_target_output(m->schema, t), m->n_out);
    if (!own.code)
        return QUERN_OK;
    quern__fail(err, own.code, path, "schema.json: %s", own.text);
    quern__hint(err, "zip -d FILE schema.json takes it out; fit learns it again");
    return own.code;
}

static int read_parts(quern_model *m, const char *path, const quern__member *weights, const quern__member *tokenizer,
                      const quern__member *schema, quern_error *err)
{
    int status = quern__weights_read(m, path, weights->bytes, weights->n, err);
    status = status < 0 ? status : quern__assets_read(m, path, QUERN__MOST_BYTES, err);
    status = status < 0 ? status : keep_members(m, path, err);
    status = status < 0 ? status : check_assets(m, path, err);
    if (status >= 0 && tokenizer->bytes && !(m->tokenizer = quern_tokenizer_from_json(tokenizer->bytes, tokenizer->n, err)))
        status = QUERN_FORMAT;
    return status < 0 || !schema->bytes ? status : read_schema(m, path, schema, err);
}

/* Whether the file is of Keras 2, whose `.keras` files have the configs of its `.h5` files. */
static bool is_keras_2(const quern__member *metadata)
{
    json_t *root = metadata->bytes ? json_loadb(metadata->bytes, metadata->n, 0, NULL) : NULL;
    const char *version = quern__config_text(root, "keras_version");
    bool old = version && *version == '2';
    json_decref(root);
    return old;
}

static quern_model *open_archive(const char *path, quern_error *err)
{
    quern__member members[] = { { .name = "config.json", .limit = QUERN__MOST_JSON },
                                { .name = "model.weights.h5" },
                                { .name = "tokenizer.json", .optional = true },
                                { .name = "schema.json", .limit = QUERN__MOST_JSON, .optional = true },
                                { .name = "metadata.json", .limit = 1 << 16, .optional = true } };
    enum { n = sizeof members / sizeof *members };
    quern_model *m = NULL;
    if (quern__archive_read(path, members, n, QUERN__MOST_BYTES, err) < 0)
        return NULL;
    json_t *root = quern__json_read(members[0].bytes, members[0].n, path, "config.json", err);
    if (root && is_keras_2(&members[4])) {
        json_t *now = quern__legacy_archive_config(root);
        json_decref(root);
        root = now;
    }
    if (root)
        m = quern__config_read(root, room_for(members[1].n), err);
    if (m && read_parts(m, path, &members[1], &members[2], &members[3], err) < 0) {
        quern_model_free(m);
        m = NULL;
    }
    json_decref(root);
    for (int i = 0; i < n; i++)
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

/* A model of which no part is missing because memory has run out. Takes `m`; returns it, or NULL with an error. */
static quern_model *whole(quern_model *m, const char *path, quern_error *err)
{
    if (m && !quern__memory_short())
        return m;
    quern__fail(err, QUERN_NOMEM, path, "out of memory");
    quern_model_free(m);
    return NULL;
}

quern_model *quern_model_open(const char *path, quern_error *err)
{
    QUERN__ENTER(err, NULL, "path", path);
    char *bytes;
    size_t n;
    if (!is_hdf5(path))
        return whole(open_archive(path, err), path, err);
    if (quern__file_read(path, QUERN__MOST_BYTES, &bytes, &n, err) < 0)
        return NULL;
    quern_model *m = quern__legacy_read(path, bytes, n, room_for(n), err);
    quern__free(bytes);
    return whole(m, path, err);
}

/* ---- writing ---- */

static bool among(const quern__members *all, const char *name)
{
    for (int i = 0; i < all->n; i++)
        if (!strcmp(all->list[i].name, name))
            return true;
    return false;
}

/* Takes `bytes` (quern__free), unless they are borrowed like the name. */
static int add_member(quern__members *all, const char *name, char *bytes, size_t n, bool borrowed, quern_error *err)
{
    quern__member *grown = quern__realloc(all->list, ((size_t)all->n + 1) * sizeof *grown);
    const char *own = borrowed ? name : quern__strdup(name);
    all->list = grown ? grown : all->list;
    if (grown && own && bytes) {
        all->list[all->n++] = (quern__member){ .name = own, .bytes = bytes, .n = n, .borrowed = borrowed };
        return QUERN_OK;
    }
    if (!borrowed) {
        quern__free((void *)(uintptr_t)own);
        quern__free(bytes);
    }
    return quern__fail_memory(err, n);
}

static int add_text(quern__members *all, const char *name, const char *text, quern_error *err)
{
    return add_member(all, name, text ? quern__strdup(text) : NULL, text ? strlen(text) : 0, false, err);
}

static int add_config(quern__members *all, const quern_model *m, quern_error *err)
{
    char metadata[128], date[32];
    time_t now = time(NULL);
    struct tm tm;
    strftime(date, sizeof date, "%Y-%m-%d@%H:%M:%S", gmtime_r(&now, &tm));
    snprintf(metadata, sizeof metadata, "{\"keras_version\": \"" QUERN__KERAS_VERSION "\", \"date_saved\": \"%s\"}", date);
    json_t *root = quern__config_write(m);
    char *text = quern__json_text(root, 0);
    int status = add_text(all, "metadata.json", metadata, err);
    status = status < 0 ? status : add_text(all, "config.json", text, err);
    free(text);
    json_decref(root);
    return status;
}

static int add_tokenizer(quern__members *all, const quern_model *m, quern_error *err)
{
    size_t n;
    char *text = quern_tokenizer_json(m->tokenizer, &n, err);
    int status = text ? add_text(all, "tokenizer.json", text, err) : err && err->code ? err->code : QUERN_NOMEM;
    free(text);
    return status;
}

static int add_schema(quern__members *all, const quern_model *m, quern_error *err)
{
    char *text = quern_schema_json(m->schema, err);
    int status = text ? add_text(all, "schema.json", text, err) : err && err->code ? err->code : QUERN_NOMEM;
    free(text);
    return status;
}

/* Members of ours, those of the caller, vocabularies, then those that were there and are neither. */
int quern__model_members(const quern_model *m, const char *beside, quern__image *image, quern__members *out, quern_error *err)
{
    quern__members assets = { 0 };
    int status = add_config(out, m, err);
    status = status < 0 ? status : quern__weights_write(m, beside, image, err);
    if (status >= 0 && beside)
        status = add_member(out, "model.weights.h5", quern__strdup(""), 0, false, err);
    else if (status >= 0)
        status = add_member(out, "model.weights.h5", image->bytes, image->n, true, err);
    if (status >= 0 && beside && !(out->list[out->n - 1].file = quern__strdup(beside)))
        status = quern__fail_memory(err, strlen(beside));
    status = status < 0 || !m->tokenizer ? status : add_tokenizer(out, m, err);
    status = status < 0 || !m->schema ? status : add_schema(out, m, err);
    status = status < 0 ? status : quern__assets_write(m, &assets.list, &assets.n, err);
    for (int i = 0; status >= 0 && i < assets.n; i++) {
        status = add_member(out, assets.list[i].name, assets.list[i].bytes, assets.list[i].n, false, err);
        assets.list[i].bytes = NULL;
    }
    quern__assets_free(assets.list, assets.n);
    for (int i = 0; status >= 0 && i < m->n_members; i++)
        if (!among(out, m->members[i].name))
            status = add_member(out, m->members[i].name, m->members[i].bytes, m->members[i].n, true, err);
    if (status < 0 && beside)
        unlink(beside);
    return status;
}

void quern__members_free(quern__members *m)
{
    for (int i = 0; i < m->n; i++) {
        if (m->list[i].file)
            unlink(m->list[i].file);
        quern__free(m->list[i].file);
        if (!m->list[i].borrowed) {
            quern__free((void *)(uintptr_t)m->list[i].name);
            quern__free(m->list[i].bytes);
        }
    }
    quern__free(m->list);
    *m = (quern__members){ 0 };
}

int quern__members_add(quern__members *m, const char *name, char *bytes, size_t n, quern_error *err)
{
    return add_member(m, name, bytes, n, false, err);
}

static int save_legacy(const quern_model *m, const char *path, quern_error *err)
{
    char beside[4096];
    if (m->schema)
        quern__warn("%s: an .h5 file does not keep the names of columns and classes; a .keras file does", path);
    int status = quern__file_beside(path, "", beside, err);
    status = status < 0 ? status : quern__legacy_write(m, beside, err);
    quern__file_place(err, beside, path);
    return status < 0 ? status : quern__file_replace(beside, path, err);
}

int quern_model_save(const quern_model *m, const char *path, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m, "path", path);
    quern__members all = { 0 };
    char beside[4096];
    if (quern__is_legacy_name(path))
        return quern__leave_file(err, path, save_legacy(m, path, err));
    int status = quern__file_beside(path, ".h5", beside, err);
    status = status < 0 ? status : quern__model_members(m, beside, NULL, &all, err);
    quern__file_place(err, beside, path);
    status = status < 0 ? status : quern__archive_write(path, all.list, all.n, err);
    quern__members_free(&all);
    return quern__leave_file(err, path, status);
}
