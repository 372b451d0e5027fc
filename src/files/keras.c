/* `.keras` files: config.json and model.weights.h5 as Keras has them, and tokenizer.json for language models, which Keras ignores.
 */
#include "files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { most_bytes = INT32_MAX };
/* What weights may take in memory is bounded by what their file holds, which may be compressed. */
static const size_t expansion = 64, least_room = 1 << 20;

quern_model *quern_model_open(const char *path, quern_error *err)
{
    quern__member members[] = { { .name = "config.json" },
                                { .name = "model.weights.h5" },
                                { .name = "tokenizer.json", .optional = true } };
    json_error_t why;
    quern_model *m = NULL;
    if (quern__archive_read(path, members, 3, most_bytes, err) < 0)
        return NULL;
    json_t *root = json_loadb(members[0].bytes, members[0].n, JSON_REJECT_DUPLICATES, &why);
    if (!root)
        quern__fail(err, QUERN_FORMAT, path, "config.json, line %d: %s", why.line, why.text);
    else
        m = quern__config_read(root, expansion * members[1].n + least_room, err);
    if (m && quern__weights_read(m, path, members[1].bytes, members[1].n, err) < 0) {
        quern_model_free(m);
        m = NULL;
    }
    if (m && quern__assets_read(m, path, most_bytes, err) < 0) {
        quern_model_free(m);
        m = NULL;
    }
    if (m && members[2].bytes && !(m->tokenizer = quern_tokenizer_from_json(members[2].bytes, members[2].n, err))) {
        quern_model_free(m);
        m = NULL;
    }
    json_decref(root);
    for (int i = 0; i < 3; i++)
        quern__free(members[i].bytes);
    return m;
}

static int write_all(const char *path, const quern__member *front, int n_front, const quern__member *assets, int n,
                     quern_error *err)
{
    quern__member *all = quern__zalloc((size_t)(n_front + n), sizeof *all);
    if (!all)
        return quern__fail_memory(err, (size_t)(n_front + n) * sizeof *all);
    memcpy(all, front, (size_t)n_front * sizeof *all);
    if (n)
        memcpy(all + n_front, assets, (size_t)n * sizeof *all);
    int status = quern__archive_write(path, all, n_front + n, err);
    quern__free(all);
    return status;
}

int quern_model_save(const quern_model *m, const char *path, quern_error *err)
{
    char metadata[128], date[32];
    time_t now = time(NULL);
    struct tm tm;
    strftime(date, sizeof date, "%Y-%m-%d@%H:%M:%S", gmtime_r(&now, &tm));
    snprintf(metadata, sizeof metadata, "{\"keras_version\": \"3.15.1\", \"date_saved\": \"%s\"}", date);
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
        const quern__member front[] = { metadata_member, config, weights, tokenizer };
        status = write_all(path, front, m->tokenizer ? 4 : 3, assets, n, err);
    }
    free(config.bytes);
    free(tokenizer.bytes);
    quern__free(weights.bytes);
    quern__assets_free(assets, n);
    json_decref(root);
    return status;
}
