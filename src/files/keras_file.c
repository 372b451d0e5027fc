/* keras_file: model files. `.keras`: config.json and model.weights.h5 as in Keras, tokenizer.json
 * of language models, schema.json of the data; unknown members are kept. Whole-model `.h5` files:
 * legacy_h5.c. */
#include "base/json.h"
#include "files.h"
#include "model/model_struct.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The memory for weights is bounded by the size of their file times a factor, because the file can
 * be compressed. */
static const size_t expansion = 64, least_room = 1 << 20, most_kept = 256 << 20;

/* The largest number of bytes of weights for a file of that size. */
static size_t room_for(size_t bytes) { return expansion * bytes + least_room; }

/* Members that quern writes. */
static bool ours(const char *name)
{
    static const char *const own[] = { "config.json",    "metadata.json", "model.weights.h5",
                                       "tokenizer.json", "schema.json",   QUERN__RUN_JSON,
                                       QUERN__RUN_BYTES };
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (!strcmp(name, own[i]))
            return true;
    return false;
}

/* Stores the unknown members of an archive in the model, which writes them back. */
static int keep_members(quern_model *m, const char *path, quern_error *err)
{
    quern__member *list;
    int n, status = quern__archive_others(path, ours, most_kept, &list, &n, err);
    m->members = n ? quern__zalloc((size_t)n, sizeof *m->members) : NULL;
    if (n && !m->members)
        status = quern__fail_memory(err, (size_t)n * sizeof *m->members);
    for (int i = 0; status >= 0 && i < n; i++) {
        m->members[m->n_members++] =
            (quern__kept_member){ (char *)(uintptr_t)list[i].name, list[i].bytes, list[i].n };
        list[i].name = NULL;
        list[i].bytes = NULL;
    }
    quern__assets_free(list, n);
    return status;
}

/* Checks that a layer has read each member of assets/. */
static int check_assets(const quern_model *m, const char *path, quern_error *err)
{
    quern__member *read;
    int n, status = quern__assets_write(m, &read, &n, err);
    for (int i = 0; status >= 0 && i < m->n_members; i++) {
        bool found = strncmp(m->members[i].name, "assets/", 7) != 0;
        for (int k = 0; k < n && !found; k++)
            found = !strcmp(m->members[i].name, read[k].name);
        if (!found)
            status = quern__fail(err, QUERN_UNSUPPORTED, path,
                                 "no layer reads %.200s in this version", m->members[i].name);
    }
    quern__assets_free(read, n);
    return status;
}

/* Reads the names of columns and classes. The hint for an invalid schema says how to remove it. */
static int read_schema(quern_model *m, const char *path, const quern__member *schema,
                       quern_error *err)
{
    quern_error own = { 0 };
    m->schema = quern_schema_from_json(schema->bytes, schema->n, &own);
    for (int t = 0; t < quern_schema_targets(m->schema); t++)
        if (quern_schema_target_output(m->schema, t) >= m->n_out)
            quern__fail(&own, QUERN_FORMAT, "schema",
                        "target %d belongs to output %d, the model has %d outputs", t + 1,
                        quern_schema_target_output(m->schema, t), m->n_out);
    if (!own.code)
        return QUERN_OK;
    quern__fail(err, own.code, path, "schema.json: %s", own.text);
    quern__hint(err, "remove it with zip -d FILE schema.json; fit learns it again");
    return own.code;
}

/* Reads weights, vocabularies, unknown members, tokenizer and schema into a model. */
static int read_parts(quern_model *m, const char *path, const quern__member *weights,
                      const quern__member *tokenizer, const quern__member *schema, quern_error *err)
{
    int status = quern__weights_read(m, path, weights->bytes, weights->n, err);
    if (status >= 0)
        status = quern__assets_read(m, path, QUERN__MOST_BYTES, err);
    if (status >= 0)
        status = keep_members(m, path, err);
    if (status >= 0)
        status = check_assets(m, path, err);
    if (status >= 0 && tokenizer->bytes &&
        !(m->tokenizer = quern_tokenizer_from_json(tokenizer->bytes, tokenizer->n, err)))
        status = QUERN_FORMAT;
    return status < 0 || !schema->bytes ? status : read_schema(m, path, schema, err);
}

/* Whether Keras 2 wrote the file; its `.keras` files have the same configs as its `.h5` files. */
static bool is_keras_2(const quern__member *metadata)
{
    json_t *root = metadata->bytes
                       ? quern__json_read(metadata->bytes, metadata->n, "metadata.json", NULL, NULL)
                       : NULL;
    const char *version = quern__config_text(root, "keras_version");
    bool old = version && *version == '2';
    json_decref(root);
    return old;
}

/* Opens a `.keras` file. Returns new. */
static quern_model *open_archive(const char *path, quern_error *err)
{
    quern__member members[] = {
        { .name = "config.json", .limit = QUERN__MOST_JSON },
        { .name = "model.weights.h5" },
        { .name = "tokenizer.json", .optional = true },
        { .name = "schema.json", .limit = QUERN__MOST_JSON, .optional = true },
        { .name = "metadata.json", .limit = 1 << 16, .optional = true }
    };
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

/* Whether a file starts with the signature of HDF5. */
static bool is_hdf5(const char *path)
{
    char head[8] = { 0 };
    FILE *f = fopen(path, "rbe");
    bool is = f && fread(head, 1, sizeof head, f) == sizeof head &&
              !memcmp(head, "\x89HDF\r\n\x1a\n", sizeof head);
    if (f)
        fclose(f);
    return is;
}

/* Checks that memory did not run out while the model was read. Takes `m`; returns it, or NULL with
 * an error. */
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

/* Whether a member of this name is in the list. */
static bool among(const quern__members *all, const char *name)
{
    for (int i = 0; i < all->n; i++)
        if (!strcmp(all->list[i].name, name))
            return true;
    return false;
}

/* Takes `bytes` (quern__free); a borrowed member borrows name and bytes. */
static int add_member(quern__members *all, const char *name, char *bytes, size_t n, bool borrowed,
                      quern_error *err)
{
    quern__member *grown = quern__realloc(all->list, ((size_t)all->n + 1) * sizeof *grown);
    const char *own = borrowed ? name : quern__strdup(name);
    all->list = grown ? grown : all->list;
    if (grown && own && bytes) {
        all->list[all->n++] =
            (quern__member){ .name = own, .bytes = bytes, .n = n, .borrowed = borrowed };
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
    return add_member(all, name, text ? quern__strdup(text) : NULL, text ? strlen(text) : 0, false,
                      err);
}

/* Adds metadata.json and config.json. */
static int add_config(quern__members *all, const quern_model *m, quern_error *err)
{
    char metadata[128], date[32];
    time_t now = time(NULL);
    struct tm tm;
    strftime(date, sizeof date, "%Y-%m-%d@%H:%M:%S", gmtime_r(&now, &tm));
    snprintf(metadata, sizeof metadata,
             "{\"keras_version\": \"" QUERN__KERAS_VERSION "\", \"date_saved\": \"%s\"}", date);
    json_t *root = quern__config_write(m);
    char *text = quern__json_text(root, 0);
    int status = add_text(all, "metadata.json", metadata, err);
    if (status >= 0)
        status = add_text(all, "config.json", text, err);
    free(text);
    json_decref(root);
    return status;
}

static int add_tokenizer(quern__members *all, const quern_model *m, quern_error *err)
{
    size_t n;
    char *text = quern_tokenizer_json(m->tokenizer, &n, err);
    int status = text               ? add_text(all, "tokenizer.json", text, err)
                 : err && err->code ? err->code
                                    : QUERN_NOMEM;
    free(text);
    return status;
}

static int add_schema(quern__members *all, const quern_model *m, quern_error *err)
{
    char *text = quern_schema_json(m->schema, err);
    int status = text               ? add_text(all, "schema.json", text, err)
                 : err && err->code ? err->code
                                    : QUERN_NOMEM;
    free(text);
    return status;
}

/* Members that quern writes, those of the caller, vocabularies, and unknown members that were read.
 */
int quern__model_members(const quern_model *m, const char *beside, quern__image *image,
                         quern__members *out, quern_error *err)
{
    quern__members assets = { 0 };
    int status = add_config(out, m, err);
    if (status >= 0)
        status = quern__weights_write(m, beside, image, err);
    if (status >= 0 && beside)
        status = add_member(out, "model.weights.h5", quern__strdup(""), 0, false, err);
    else if (status >= 0)
        status = add_member(out, "model.weights.h5", image->bytes, image->n, true, err);
    if (status >= 0 && beside && !(out->list[out->n - 1].file = quern__strdup(beside)))
        status = quern__fail_memory(err, strlen(beside));
    status = status < 0 || !m->tokenizer ? status : add_tokenizer(out, m, err);
    status = status < 0 || !m->schema ? status : add_schema(out, m, err);
    if (status >= 0)
        status = quern__assets_write(m, &assets.list, &assets.n, err);
    for (int i = 0; status >= 0 && i < assets.n; i++) {
        status = add_member(out, assets.list[i].name, assets.list[i].bytes, assets.list[i].n, false,
                            err);
        assets.list[i].bytes = NULL;
    }
    quern__assets_free(assets.list, assets.n);
    for (int i = 0; status >= 0 && i < m->n_members; i++)
        if (!among(out, m->members[i].name))
            status = add_member(out, m->members[i].name, m->members[i].bytes, m->members[i].n, true,
                                err);
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

/* Writes a whole-model `.h5` file atomically. */
static int save_legacy(const quern_model *m, const char *path, quern_error *err)
{
    char beside[4096];
    if (m->schema)
        quern__warn(
            "%s: an .h5 file cannot store the names of columns and classes; use a .keras file",
            path);
    int status = quern__file_beside(path, "", beside, err);
    if (status >= 0)
        status = quern__legacy_write(m, beside, err);
    quern__file_place(err, beside, path);
    if (status < 0)
        return status;
    return quern__file_replace(beside, path, err);
}

int quern_model_save(const quern_model *m, const char *path, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m, "path", path);
    quern__members all = { 0 };
    char beside[4096];
    if (quern__is_legacy_name(path))
        return quern__leave_file(err, path, save_legacy(m, path, err));
    int status = quern__file_beside(path, ".h5", beside, err);
    if (status >= 0)
        status = quern__model_members(m, beside, NULL, &all, err);
    quern__file_place(err, beside, path);
    if (status >= 0)
        status = quern__archive_write(path, all.list, all.n, err);
    quern__members_free(&all);
    return quern__leave_file(err, path, status);
}
