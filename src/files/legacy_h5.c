/* legacy_h5: whole-model `.h5` files, and weights that Keras 2 saves alone:
 * model_weights/<layer>/<names in weight_names>, and optimizer_weights. Reads files of Keras 2 and
 * 3; writes those of Keras 3 (keras.src.legacy.saving.legacy_h5_format). */
#include "base/json.h"
#include "legacy.h"
#include "model/model_struct.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef quern__names names;

void quern__legacy_names_free(names *l) { quern__h5_strings_free(l->list, l->n); }

int quern__legacy_names(quern__h5 *h, uint64_t object, const char *name, names *out,
                        quern_error *err)
{
    char own[64];
    *out = (names){ 0 };
    int status = quern__h5_strings(h, object, name, &out->list, &out->n, err);
    for (int k = 0; status == QUERN_END && k < 1 << 16; k++) {
        names more = { 0 };
        snprintf(own, sizeof own, "%s%d", name, k);
        int got = quern__h5_strings(h, object, own, &more.list, &more.n, err);
        if (got == QUERN_END)
            return k ? QUERN_OK : QUERN_END;
        char **grown =
            got < 0
                ? NULL
                : quern__realloc(out->list, ((size_t)out->n + (size_t)more.n + 1) * sizeof *grown);
        if (!grown) {
            quern__legacy_names_free(&more);
            if (got < 0)
                return got;
            return quern__fail_memory(err, (size_t)more.n * sizeof *grown);
        }
        for (int i = 0; i < more.n; i++)
            grown[out->n++] = more.list[i];
        out->list = grown;
        quern__free(more.list);
    }
    return status;
}

/* The JSON of an attribute. Returns new; NULL: it does not exist, or there is an error. */
static json_t *read_json(quern__h5 *h, const char *name, quern_error *err)
{
    names text;
    int status = quern__h5_strings(h, h->root, name, &text.list, &text.n, err);
    bool fits = status == QUERN_OK && text.n == 1 && strlen(text.list[0]) <= QUERN__MOST_JSON;
    json_t *out =
        fits ? quern__json_read(text.list[0], strlen(text.list[0]), h->where, name, err) : NULL;
    if (status == QUERN_OK && !out)
        quern__fail(err, QUERN_FORMAT, h->where, "%s is not JSON", name);
    if (status == QUERN_OK)
        quern__legacy_names_free(&text);
    return out;
}

/* ---- reading weights ---- */

/* The weights of a layer in the order of these files: trained ones first. The caller frees the
 * list. */
static quern__variable **ordered(const quern__layer *l)
{
    quern__variable **out = quern__zalloc((size_t)l->n_weights + 1, sizeof *out);
    int n = 0;
    for (int pass = 1; out && pass >= 0; pass--)
        for (int i = 0; i < l->n_weights; i++)
            if (l->weights[i]->trainable == (pass == 1))
                out[n++] = l->weights[i];
    return out;
}

/* Converts weights of CuDNN layers, whose gates are transposed and which have two biases. `raw` has
 * the file's numbers. */
static void from_cudnn(float *out, const float *raw, const quern_shape *s, int gates,
                       bool recurrent, bool bias)
{
    int64_t columns = s->dims[s->rank - 1] / gates, rows = s->rank > 1 ? s->dims[0] : 1,
            all = columns * gates;
    if (bias)
        for (int64_t k = 0; k < all; k++)
            out[k] = gates == 4 ? raw[k] + raw[all + k] : raw[k];
    if (bias)
        memcpy(out + all, raw + all, gates == 3 ? (size_t)all * sizeof *out : 0);
    if (!bias)
        for (int64_t g = 0; g < gates; g++)
            for (int64_t i = 0; i < rows; i++)
                for (int64_t j = 0; j < columns; j++) {
                    /* input kernels are stored by columns; recurrent kernels are transposed */
                    int64_t at = recurrent ? j * columns + i : j * rows + i;
                    out[i * all + g * columns + j] =
                        raw[at / columns * all + g * columns + at % columns];
                }
}

typedef struct layer_weights {
    quern__h5 *h;
    uint64_t group;
    const names *paths;
    const char *layer;
} layer_weights;

static int find_weight(const layer_weights *w, int i, uint64_t *object, quern_error *err)
{
    int status = quern__h5_find(w->h, w->group, w->paths->list[i], object, err);
    return status == QUERN_END
               ? quern__fail(err, QUERN_FORMAT, w->h->where,
                             "layer %s does not have a weight %.100s", w->layer, w->paths->list[i])
               : status;
}

/* The number of gates of a layer that CuDNN computed, recognised by its bias of double size; 0: it
 * is another layer. */
static int cudnn_gates(const layer_weights *w, const quern__layer *l, quern_error *err)
{
    int gates = !strcmp(l->kind->name, "LSTM") ? 4 : !strcmp(l->kind->name, "GRU") ? 3 : 0;
    quern__h5_set set;
    uint64_t object;
    if (!gates || l->n_weights != 3 || w->paths->n != 3 || find_weight(w, 2, &object, err) < 0 ||
        quern__h5_dataset(w->h, object, &set, err) < 0)
        return 0;
    int64_t units = l->weights[1]->shape.dims[0];
    return set.shape.rank == 1 && set.shape.dims[0] == 2 * gates * units ? gates : 0;
}

/* Reads kernel, recurrent kernel and bias of a CuDNN layer with a conversion of their layout. */
static int read_cudnn(const layer_weights *w, const quern__layer *l, int gates, quern_error *err)
{
    for (int i = 0; i < 3; i++) {
        quern__variable *v = l->weights[i];
        int64_t count =
            i < 2 ? quern_shape_count(&v->shape) : 2 * gates * l->weights[1]->shape.dims[0];
        quern__h5_set set;
        uint64_t object;
        float *raw = quern__zalloc((size_t)count + 1, sizeof *raw);
        quern_tensor out = { .dtype = QUERN_FLOAT32, .data = raw };
        int status = raw ? find_weight(w, i, &object, err)
                         : quern__fail_memory(err, (size_t)count * sizeof *raw);
        if (status >= 0)
            status = quern__h5_dataset(w->h, object, &set, err);
        if (status >= 0 && (set.count != count || (i == 2 && gates == 3 && v->shape.rank != 2)))
            status = quern__fail(err, QUERN_SHAPE, w->h->where,
                                 "%s: the weights do not match a CuDNN layer", w->layer);
        if (status >= 0)
            status = quern__h5_read(w->h, &set, &out, err);
        if (status >= 0)
            from_cudnn(quern__variable_numbers(v), raw, &v->shape, gates, i == 1, i == 2);
        quern__free(raw);
        if (status < 0)
            return status;
    }
    return QUERN_OK;
}

/* Reads the weights of a layer in the order of the file's names. */
static int read_layer(const layer_weights *w, const quern__layer *l, quern_error *err)
{
    if (w->paths->n != l->n_weights)
        return quern__fail(err, QUERN_SHAPE, w->h->where,
                           "layer %s has %d weights in the file, %s has %d", w->layer, w->paths->n,
                           l->name, l->n_weights);
    int gates = cudnn_gates(w, l, err), status = QUERN_OK;
    if (gates)
        return read_cudnn(w, l, gates, err);
    quern__variable **own = ordered(l);
    if (!own)
        return quern__fail_memory(err, (size_t)l->n_weights * sizeof *own);
    for (int i = 0; i < l->n_weights && status >= 0; i++) {
        uint64_t object;
        status = find_weight(w, i, &object, err);
        if (status >= 0)
            status = quern__h5_read_variable(w->h, object, w->h->where, own[i], err);
    }
    quern__free(own);
    return status;
}

/* The layer `name`, or (name NULL) the k-th layer with weights. */
static const quern__layer *layer_with_weights(const quern_model *m, int k, const char *name)
{
    for (int i = 0; i < m->b->n; i++) {
        const quern__layer *l = m->b->nodes[i].layer;
        if (!m->b->nodes[i].again && l->n_weights && (name ? !strcmp(l->name, name) : k-- == 0))
            return l;
    }
    return NULL;
}

/* Matches layers by name when the model has all names, otherwise by order, as Keras does. */
static int read_layers(quern_model *m, quern__h5 *h, uint64_t group, const names *layers,
                       quern_error *err)
{
    bool named = true;
    int with = 0, status = QUERN_OK;
    for (int pass = 0; pass < 2 && status >= 0; pass++)
        for (int k = 0, place = 0; k < layers->n && status >= 0; k++) {
            names paths;
            layer_weights w = { .h = h, .paths = &paths, .layer = layers->list[k] };
            status = quern__h5_find(h, group, layers->list[k], &w.group, err);
            if (status == QUERN_OK)
                status = quern__legacy_names(h, w.group, "weight_names", &paths, err);
            if (status < 0)
                return status;
            if (status == QUERN_END)
                return quern__fail(err, QUERN_FORMAT, h->where, "layer %s is missing",
                                   layers->list[k]);
            const quern__layer *l =
                paths.n ? layer_with_weights(m, place++, named ? layers->list[k] : NULL) : NULL;
            with += pass == 0 && paths.n > 0;
            named = named && (pass || !paths.n || l);
            if (pass == 1 && paths.n)
                status = l ? read_layer(&w, l, err)
                           : quern__fail(err, QUERN_SHAPE, h->where,
                                         "more layers with weights than the model has");
            quern__legacy_names_free(&paths);
        }
    return status >= 0 && layer_with_weights(m, with, NULL)
               ? quern__fail(err, QUERN_SHAPE, h->where,
                             "%d layers with weights, the model has more", with)
               : status;
}

/* ---- reading models ---- */

/* Checks for weights of the model itself, which do not belong to a layer. */
static int check_top_level(quern__h5 *h, uint64_t group, quern_error *err)
{
    uint64_t object;
    names own;
    int status = quern__h5_find(h, group, "top_level_model_weights", &object, err);
    if (status < 0)
        return status;
    if (status != QUERN_OK)
        return QUERN_OK;
    status = quern__legacy_names(h, object, "weight_names", &own, err);
    if (status < 0)
        return status;
    if (status != QUERN_OK)
        return QUERN_OK;
    if (own.n)
        status = quern__fail(err, QUERN_UNSUPPORTED, h->where,
                             "the weight %.100s does not belong to a layer", own.list[0]);
    quern__legacy_names_free(&own);
    return status;
}

int quern__legacy_weights(quern_model *m, quern__h5 *h, quern_error *err)
{
    uint64_t group = h->root;
    names layers;
    int status = quern__h5_find(h, h->root, "model_weights", &group, err);
    if (status == QUERN_END)
        group = h->root;
    if (status >= 0)
        status = quern__legacy_names(h, group, "layer_names", &layers, err);
    if (status < 0)
        return status;
    if (status == QUERN_END)
        return QUERN_END;
    status = read_layers(m, h, group, &layers, err);
    quern__legacy_names_free(&layers);
    if (status < 0)
        return status;
    return check_top_level(h, group, err);
}

quern_model *quern__legacy_read(const char *path, const char *bytes, size_t n, size_t room,
                                quern_error *err)
{
    quern__h5 h;
    quern_error none = { 0 };
    names version = { 0 };
    quern_model *m = NULL;
    if (quern__h5_open(&h, bytes, n, path, err) < 0)
        return NULL;
    json_t *config = read_json(&h, "model_config", err),
           *training = config ? read_json(&h, "training_config", &none) : NULL;
    if (!config) {
        quern__fail(err, QUERN_FORMAT, path, "contains weights only; load them into a model");
        return NULL;
    }
    bool known = quern__h5_strings(&h, h.root, "keras_version", &version.list, &version.n, &none) ==
                     QUERN_OK &&
                 version.n == 1;
    json_t *root = quern__legacy_config(config, training, !known || version.list[0][0] < '3');
    m = root ? quern__config_read(root, room, err) : NULL;
    int status = m ? quern__legacy_weights(m, &h, err) : QUERN_OK;
    if (m && status == QUERN_END)
        status = quern__fail(err, QUERN_FORMAT, path, "has no weights");
    if (m && (status < 0 || quern__legacy_optimizer(m, &h, err) < 0)) {
        quern_model_free(m);
        m = NULL;
    }
    quern__legacy_names_free(&version);
    json_decref(root);
    json_decref(config);
    json_decref(training);
    return m;
}

/* ---- writing ---- */

/* Writes a group with variables and the list of their names. */
static int write_group(quern__h5_file *f, const char *group, quern__variable *const *own,
                       const char *const *called, int n, quern_error *err)
{
    char path[700];
    int status = quern__h5_write_group(f, group, NULL, NULL, err);
    if (status >= 0)
        status = quern__h5_write_texts(f, group, "weight_names", called, n, err);
    for (int i = 0; i < n && status >= 0; i++) {
        snprintf(path, sizeof path, "%s/%s", group, called[i]);
        status = quern__h5_write_variable(f, path, own[i], err);
    }
    return status;
}

/* Writes the group of a layer with its weights and their names. */
static int write_layer(quern__h5_file *f, const quern__layer *l, quern_error *err)
{
    char group[300];
    quern__variable **own = ordered(l);
    const char **called = quern__zalloc((size_t)l->n_weights + 1, sizeof *called);
    snprintf(group, sizeof group, "model_weights/%.200s", l->name);
    int status =
        own && called ? QUERN_OK : quern__fail_memory(err, (size_t)l->n_weights * sizeof *own);
    for (int i = 0; status >= 0 && i < l->n_weights; i++)
        called[i] = own[i]->path;
    if (status >= 0)
        status = write_group(f, group, own, called, l->n_weights, err);
    quern__free(own);
    quern__free(called);
    return status;
}

/* Writes the groups of all layers and the list of their names. */
static int write_layers(quern__h5_file *f, const quern_model *m, quern_error *err)
{
    const char **layers = quern__zalloc((size_t)m->b->n + 1, sizeof *layers);
    int n = 0, status = layers ? quern__h5_write_group(f, "model_weights", NULL, NULL, err)
                               : quern__fail_memory(err, 1);
    for (int k = 0; status >= 0 && k < m->b->n; k++)
        if (!m->b->nodes[k].again && !(m->sequential && m->b->nodes[k].n_in == 0)) {
            layers[n++] = m->b->nodes[k].layer->name;
            status = write_layer(f, m->b->nodes[k].layer, err);
        }
    if (status >= 0)
        status = quern__h5_write_texts(f, "model_weights", "layer_names", layers, n, err);
    if (status >= 0)
        status = quern__h5_write_text(f, "model_weights", "backend", "tensorflow", err);
    if (status >= 0)
        status =
            quern__h5_write_text(f, "model_weights", "keras_version", QUERN__KERAS_VERSION, err);
    if (status >= 0)
        status = write_group(f, "model_weights/top_level_model_weights", NULL, NULL, 0, err);
    quern__free(layers);
    return status;
}

/* Names like those of Keras: "adam/iteration", "adam/dense_kernel_momentum"; a number makes equal
 * names unique. */
static int write_optimizer(quern__h5_file *f, const quern__optimizer *o, quern_error *err)
{
    int n = quern__optimizer_count(o, false), status = QUERN_OK;
    quern__variable **own = quern__zalloc((size_t)n, sizeof *own);
    char **called = quern__zalloc((size_t)n, sizeof *called), kind[64], name[512];
    quern__snake_case(o->kind->name, kind, sizeof kind);
    if (own && called)
        for (int i = 0; i < n; i++) {
            own[i] = quern__optimizer_variable(o, i);
            const char *path = own[i]->path;
            path += !strncmp(path, "optimizer/", 10) ? 10 : 0;
            int length = snprintf(name, sizeof name, "%s/", kind);
            snprintf(name + length, sizeof name - (size_t)length, "%.400s", path);
            for (char *p = name + length; *p; p++)
                *p = *p == '/' ? '_' : *p;
            for (int k = 0; k < i; k++)
                if (!strcmp(called[k], name))
                    snprintf(name + strlen(name), sizeof name - strlen(name), "_%d", i);
            if (!(called[i] = quern__strdup(name)))
                status = quern__fail_memory(err, sizeof name);
            if (status < 0)
                break;
        }
    if (!own || !called)
        status = quern__fail_memory(err, (size_t)n * sizeof *own);
    if (status >= 0)
        status = write_group(f, "optimizer_weights", own, (const char *const *)called, n, err);
    quern__h5_strings_free(called, called ? n : 0);
    quern__free(own);
    return status;
}

/* Writes JSON as an attribute of the file. */
static int write_json(quern__h5_file *f, const char *name, json_t *v, quern_error *err)
{
    char *text = quern__json_text(v, 0);
    int status = text ? quern__h5_write_text(f, "", name, text, err) : quern__fail_memory(err, 1);
    free(text);
    return status;
}

/* Full names of losses: Keras does not accept abbreviations such as "mse" in these files. */
static json_t *whole_names(json_t *loss)
{
    char name[96];
    const char *key;
    json_t *v, *out;
    size_t k;
    if (json_is_string(loss)) {
        const quern__class *c = quern__class_find(QUERN__LOSS, json_string_value(loss), NULL);
        quern__snake_case(c ? c->name : "", name, sizeof name);
        return json_string(c ? name : json_string_value(loss));
    }
    if (json_is_array(loss)) {
        out = json_array();
        json_array_foreach(loss, k, v) json_array_append_new(out, whole_names(v));
        return out;
    }
    if (!json_is_object(loss) || json_object_get(loss, "class_name"))
        return json_incref(loss);
    out = json_object();
    json_object_foreach(loss, key, v) json_object_set_new(out, key, whole_names(v));
    return out;
}

/* compile_config in the format of these files. */
static json_t *training_config(json_t *compile)
{
    json_t *out = json_copy(compile);
    json_object_set(out, "optimizer_config", json_object_get(compile, "optimizer"));
    json_object_del(out, "optimizer");
    json_object_set_new(out, "loss", whole_names(json_object_get(compile, "loss")));
    if (!json_object_get(out, "loss_weights"))
        json_object_set_new(out, "loss_weights", json_null());
    return out;
}

int quern__legacy_write(const quern_model *m, const char *path, quern_error *err)
{
    quern__h5_file *f = quern__h5_create(path, NULL, err);
    json_t *root = quern__config_write(m),
           *compile = json_incref(json_object_get(root, "compile_config"));
    json_object_del(root, "compile_config");
    int status = f && root ? QUERN_OK : f ? quern__fail_memory(err, 1) : QUERN_IO;
    if (status >= 0)
        status = quern__h5_write_text(f, "", "backend", "tensorflow", err);
    if (status >= 0)
        status = quern__h5_write_text(f, "", "keras_version", QUERN__KERAS_VERSION, err);
    if (status >= 0)
        status = write_json(f, "model_config", root, err);
    if (status >= 0 && compile) {
        json_t *training = training_config(compile);
        status = write_json(f, "training_config", training, err);
        json_decref(training);
    }
    if (status >= 0)
        status = write_layers(f, m, err);
    if (status >= 0 && m->optimizer)
        status = write_optimizer(f, m->optimizer, err);
    if (status >= 0)
        status = quern__h5_finish(f, err);
    else
        quern__h5_close(f);
    json_decref(root);
    json_decref(compile);
    return status;
}
