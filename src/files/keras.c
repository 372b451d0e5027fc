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
    if (m && members[2].bytes && !(m->tokenizer = quern_tokenizer_from_json(members[2].bytes, members[2].n, err))) {
        quern_model_free(m);
        m = NULL;
    }
    json_decref(root);
    for (int i = 0; i < 3; i++)
        quern__free(members[i].bytes);
    return m;
}

int quern_model_save(const quern_model *m, const char *path, quern_error *err)
{
    char metadata[128], date[32];
    time_t now = time(NULL);
    struct tm tm;
    strftime(date, sizeof date, "%Y-%m-%d@%H:%M:%S", gmtime_r(&now, &tm));
    snprintf(metadata, sizeof metadata, "{\"keras_version\": \"3.15.1\", \"date_saved\": \"%s\"}", date);
    json_t *root = quern__config_write(m);
    quern__member members[] = { { "metadata.json", metadata, strlen(metadata) },
                                { "config.json", json_dumps(root, 0), 0 },
                                { "model.weights.h5", NULL, 0 },
                                { "tokenizer.json", NULL, 0 } };
    if (m->tokenizer && !(members[3].bytes = quern_tokenizer_json(m->tokenizer, &members[3].n, err))) {
        free(members[1].bytes);
        json_decref(root);
        return err && err->code ? err->code : QUERN_NOMEM;
    }
    int status = members[1].bytes ? quern__weights_write(m, &members[2].bytes, &members[2].n, err) : quern__fail_memory(err, 1);
    if (status >= 0) {
        members[1].n = strlen(members[1].bytes);
        status = quern__archive_write(path, members, m->tokenizer ? 4 : 3, err);
    }
    free(members[1].bytes);
    free(members[3].bytes);
    quern__free(members[2].bytes);
    json_decref(root);
    return status;
}
