/* config.json: the model as Keras serialises it, and back. */
#include "files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- writing ---- */

static json_t *shape_json(const quern_shape *s)
{
    json_t *a = json_array();
    for (int i = 0; i < s->rank; i++)
        json_array_append_new(a, s->dims[i] < 0 ? json_null() : json_integer(s->dims[i]));
    return a;
}

static json_t *layer_json(const quern__layer *l)
{
    json_t *config = json_deep_copy(l->config), *out;
    if (json_is_null(json_object_get(config, "activity_regularizer")))
        json_object_del(config, "activity_regularizer");
    if (quern__same_name(l->kind->name, "InputLayer")) {
        json_object_del(config, "trainable");
        json_object_del(config, "batch_size");
    }
    if (!strncmp(l->kind->name, "SpatialDropout", 14)) /* Keras's constructors of these do not take it */
        json_object_del(config, "trainable");
    out = quern__serialize(l->kind, config);
    json_decref(config);
    if (l->n_in == 1)
        json_object_set_new(out, "build_config", json_pack("{s:o}", "input_shape", shape_json(&l->in[0])));
    return out;
}

static json_t *tensor_json(const quern_model *m, int value)
{
    const quern__applied *a = &m->b->nodes[value];
    return json_pack("{s:s, s:{s:o, s:s, s:[s,i,i]}}", "class_name", "__keras_tensor__", "config", "shape", shape_json(&a->shape),
                     "dtype", "float32", "keras_history", a->layer->name, 0, 0);
}

static json_t *functional_layer(const quern_model *m, int k)
{
    const quern__applied *a = &m->b->nodes[k];
    json_t *out = layer_json(a->layer), *nodes = json_array(), *args = json_array();
    for (int i = 0; i < a->n_in; i++)
        json_array_append_new(args, tensor_json(m, a->in[i]));
    if (a->n_in) {
        bool list = a->n_in > 1 || !strcmp(a->layer->kind->name, "Add") || !strcmp(a->layer->kind->name, "Concatenate");
        json_array_append_new(nodes, json_pack("{s:o, s:{}}", "args", list ? json_pack("[O]", args) : json_incref(args), "kwargs"));
    }
    json_decref(args);
    json_object_set_new(out, "name", json_string(a->layer->name));
    json_object_set_new(out, "inbound_nodes", nodes);
    return out;
}

static json_t *ends_json(const quern_model *m, const int *values, int n)
{
    json_t *out = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(out, json_pack("[s,i,i]", m->b->nodes[values[i]].layer->name, 0, 0));
    return out;
}

/* What compile was given, with the rate of now. */
static json_t *compile_json(const quern_model *m)
{
    json_t *out = json_deep_copy(m->compile), *optimizer = json_object_get(out, "optimizer");
    json_t *config = json_deep_copy(m->optimizer->config), *own;
    if (!m->optimizer->schedule)
        json_object_set_new(config, "learning_rate", json_real(*(float *)m->optimizer->rate->data));
    own = quern__serialize(m->optimizer->kind, config);
    if (json_is_object(optimizer))
        json_object_update(optimizer, own);
    else
        json_object_set(out, "optimizer", own);
    json_decref(own);
    json_decref(config);
    return out;
}

json_t *quern__config_write(const quern_model *m)
{
    json_t *layers = json_array(), *config, *root;
    for (int k = 0; k < m->b->n; k++)
        json_array_append_new(layers, m->sequential ? layer_json(m->b->nodes[k].layer) : functional_layer(m, k));
    config = json_pack("{s:s, s:b, s:s, s:o}", "name", m->name, "trainable", 1, "dtype", "float32", "layers", layers);
    if (m->sequential)
        json_object_set_new(config, "build_input_shape", shape_json(&m->b->nodes[m->in[0]].shape));
    else {
        json_object_set_new(config, "input_layers", ends_json(m, m->in, m->n_in));
        json_object_set_new(config, "output_layers", ends_json(m, m->out, m->n_out));
    }
    root = json_pack("{s:s, s:s, s:o, s:o}", "module", m->sequential ? "keras" : "keras.src.models.functional", "class_name",
                     m->sequential ? "Sequential" : "Functional", "config", config, "registered_name",
                     m->sequential ? json_null() : json_string("Functional"));
    if (m->optimizer)
        json_object_set_new(root, "compile_config", compile_json(m));
    return root;
}

/* ---- reading ---- */

static int find_value(const quern_blueprint *b, json_t *history)
{
    const char *name = json_string_value(json_array_get(history, 0));
    for (int i = 0; name && i < b->n; i++)
        if (!strcmp(b->nodes[i].layer->name, name))
            return i;
    return -1;
}

/* The values that feed a layer: every __keras_tensor__ in its only node. */
static int collect(const quern_blueprint *b, json_t *args, int *values, int n)
{
    json_t *item;
    const char *key;
    size_t k;
    if (json_is_object(args) &&
        !strcmp(quern__config_text(args, "class_name") ? quern__config_text(args, "class_name") : "", "__keras_tensor__")) {
        if (n < 64)
            values[n] = find_value(b, json_object_get(json_object_get(args, "config"), "keras_history"));
        return n + 1;
    }
    if (json_is_array(args))
        json_array_foreach(args, k, item) n = collect(b, item, values, n);
    else if (json_is_object(args))
        json_object_foreach(args, key, item) n = collect(b, item, values, n);
    return n;
}

static int read_layer(quern_blueprint *b, json_t *spec, bool sequential, quern_error *err)
{
    json_t *config = NULL, *nodes = json_object_get(spec, "inbound_nodes");
    const char *name = quern__config_text(spec, "class_name"), *own = quern__config_text(json_object_get(spec, "config"), "name");
    int values[64], n = 0;
    char where[128];
    snprintf(where, sizeof where, "layer %.80s", own ? own : name ? name : "?");
    const quern__class *c = quern__object(QUERN__LAYER, spec, &config, err);
    if (!c)
        return quern__fail(err, QUERN_UNSUPPORTED, where, "no such layer in this version");
    if (sequential && b->n)
        values[n++] = b->n - 1;
    else if (!sequential && json_array_size(nodes) > 1)
        return json_decref(config),
               quern__fail(err, QUERN_UNSUPPORTED, where, "a layer that is called several times is not in this version");
    else if (!sequential)
        n = collect(b, json_array_get(nodes, 0), values, 0);
    if (quern__blueprint_add(b, c, config, values, n, where) < 0) {
        if (err && !err->code)
            *err = b->error;
        return b->error.code;
    }
    return QUERN_OK;
}

static int ends(const quern_blueprint *b, json_t *list, int *out)
{
    json_t *item;
    size_t k;
    int n = 0;
    if (json_is_string(json_array_get(list, 0))) {
        out[0] = find_value(b, list);
        return 1;
    }
    json_array_foreach(list, k, item) if (n < QUERN__MAX_IO) out[n++] = find_value(b, item);
    return n;
}

quern_model *quern__config_read(json_t *root, size_t room, quern_error *err)
{
    const char *kind = quern__config_text(root, "class_name");
    json_t *config = json_object_get(root, "config"), *layers = json_object_get(config, "layers"), *spec;
    bool sequential = kind && !strcmp(kind, "Sequential");
    int in[QUERN__MAX_IO] = { 0 }, out[QUERN__MAX_IO], n_in = 1, n_out = 1, status = QUERN_OK;
    size_t k;
    if (!sequential && (!kind || strcmp(kind, "Functional"))) {
        quern__fail(err, QUERN_UNSUPPORTED, "config.json", "a model of class '%.60s' is not in this version", kind ? kind : "?");
        return NULL;
    }
    quern_blueprint *b = quern_blueprint_new(0);
    if (b)
        b->room = room;
    json_array_foreach(layers, k, spec) if (b && status >= 0) status = read_layer(b, spec, sequential, err);
    if (!b || status < 0) {
        quern_blueprint_free(b);
        return NULL;
    }
    out[0] = b->n - 1;
    if (!sequential) {
        n_in = ends(b, json_object_get(config, "input_layers"), in);
        n_out = ends(b, json_object_get(config, "output_layers"), out);
    }
    quern_model *m = quern_model_new(b, in, n_in, out, n_out, err);
    const char *name = quern__config_text(config, "name");
    if (m && name) {
        quern__free(m->name);
        m->name = quern__strdup(name);
    }
    if (m)
        m->sequential = sequential;
    json_t *compile = json_object_get(root, "compile_config");
    if (m && json_object_get(compile, "optimizer") && quern__compile(m, json_deep_copy(compile), err) < 0) {
        quern_model_free(m);
        return NULL;
    }
    return m;
}

/* ---- the file ---- */

enum { most_bytes = INT32_MAX };
/* What weights may take in memory is bounded by what their file holds, which may be compressed. */
static const size_t expansion = 64, least_room = 1 << 20;

quern_model *quern_model_open(const char *path, quern_error *err)
{
    quern__member members[] = { { .name = "config.json" }, { .name = "model.weights.h5" } };
    json_error_t why;
    quern_model *m = NULL;
    if (quern__archive_read(path, members, 2, most_bytes, err) < 0)
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
    json_decref(root);
    quern__free(members[0].bytes);
    quern__free(members[1].bytes);
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
                                { "model.weights.h5", NULL, 0 } };
    int status = members[1].bytes ? quern__weights_write(m, &members[2].bytes, &members[2].n, err) : quern__fail_memory(err, 1);
    if (status >= 0) {
        members[1].n = strlen(members[1].bytes);
        status = quern__archive_write(path, members, 3, err);
    }
    free(members[1].bytes);
    quern__free(members[2].bytes);
    json_decref(root);
    return status;
}
