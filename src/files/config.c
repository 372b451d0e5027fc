/* config.json: the model as Keras serialises it, and back. */
#include "files.h"

#include <stdio.h>
#include <string.h>

/* ---- writing ---- */

/* `records`: in every batch, where that is fixed; 0: open. */
static json_t *shape_json(const quern_shape *s, int64_t records)
{
    json_t *a = json_array();
    for (int i = 0; i < s->rank; i++)
        json_array_append_new(a, s->dims[i] == -1 && records ? json_integer(records)
                                 : s->dims[i] < 0            ? json_null()
                                                             : json_integer(s->dims[i]));
    return a;
}

/* Keras's constructors of these do not take `trainable`. */
static bool takes_trainable(const quern__layer *l)
{
    static const char *const rows[] = { "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "Discretization", "Pipeline" };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(l->kind->name, rows[i]))
            return false;
    return true;
}

static json_t *layer_json(const quern__layer *l)
{
    json_t *config = json_deep_copy(l->config), *out;
    bool operation = l->kind->module && !strncmp(l->kind->module, "keras.src.ops", 13);
    if (quern__layer_looks_up(l))
        quern__layer_inline_vocabulary(l, config);
    if (json_is_null(json_object_get(config, "activity_regularizer")))
        json_object_del(config, "activity_regularizer");
    if (quern__same_name(l->kind->name, "InputLayer")) {
        json_object_del(config, "trainable");
        json_object_del(config, "batch_size");
    }
    if (!takes_trainable(l) || operation)
        json_object_del(config, "trainable");
    if (operation || !strcmp(l->kind->name, "Pipeline"))
        json_object_del(config, "dtype");
    out = quern__serialize(l->kind, config);
    if (operation)
        json_object_set_new(out, "registered_name", json_string(l->kind->name));
    json_decref(config);
    if (l->n_in == 1 && !operation)
        json_object_set_new(out, "build_config", json_pack("{s:o}", "input_shape", shape_json(&l->in[0], l->records)));
    return out;
}

static json_t *tensor_json(const quern_model *m, int value)
{
    const quern__applied *a = quern__maker(m->b, value);
    const char *dtype = a->n_in ? NULL : quern__config_text(a->layer->config, "dtype");
    return json_pack("{s:s, s:{s:o, s:s, s:[s,i,i]}}", "class_name", "__keras_tensor__", "config", "shape",
                     shape_json(quern__made_shape(m->b, value), m->b->records), "dtype", dtype ? dtype : "float32", "keras_history",
                     a->layer->name, a->call, m->b->values[value].output);
}

/* Where the inputs of a call stand in Python: {"args": [...], "kwargs": {...}}. Leading arguments go by position. */
static json_t *inbound_node(const quern_model *m, const quern__applied *a)
{
    const quern__class *c = a->layer->kind;
    json_t *args = json_array(), *kwargs = a->options ? json_deep_copy(a->options) : json_object();
    bool list = a->n_in > 1 || !strcmp(c->name, "Add") || !strcmp(c->name, "Concatenate");
    for (int i = 0, next = 0; i < a->n_in; next++) {
        int own = a->arguments[i];
        bool many = c->takes ? c->takes[own].many : list;
        json_t *given = many ? json_array() : tensor_json(m, a->in[i]);
        for (; many && i < a->n_in && a->arguments[i] == own; i++)
            json_array_append_new(given, tensor_json(m, a->in[i]));
        i += !many;
        if (own == next && json_object_size(kwargs) == json_object_size(a->options))
            json_array_append_new(args, given);
        else
            json_object_set_new(kwargs, c->takes[own].name, given);
    }
    return json_pack("{s:o, s:o}", "args", args, "kwargs", kwargs);
}

static json_t *functional_layer(const quern_model *m, int k)
{
    const quern__applied *a = &m->b->nodes[k];
    json_t *out = layer_json(a->layer), *nodes = json_array();
    for (int call = 0, found = a->n_in > 0; found; call++) {
        found = false;
        for (int i = k; i < m->b->n && !found; i++)
            if (m->b->nodes[i].layer == a->layer && m->b->nodes[i].call == call) {
                json_array_append_new(nodes, inbound_node(m, &m->b->nodes[i]));
                found = true;
            }
    }
    json_object_set_new(out, "name", json_string(a->layer->name));
    json_object_set_new(out, "inbound_nodes", nodes);
    return out;
}

static json_t *ends_json(const quern_model *m, const int *values, int n)
{
    json_t *out = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(out, json_pack("[s,i,i]", quern__maker(m->b, values[i])->layer->name,
                                             quern__maker(m->b, values[i])->call, m->b->values[values[i]].output));
    return out;
}

/* What compile was given, with the rate of now. */
static json_t *compile_json(const quern_model *m)
{
    json_t *out = json_deep_copy(m->compile), *optimizer = json_object_get(out, "optimizer");
    json_t *config = quern__optimizer_config(m->optimizer), *own;
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
        if (!m->b->nodes[k].again)
            json_array_append_new(layers, m->sequential ? layer_json(m->b->nodes[k].layer) : functional_layer(m, k));
    config = json_pack("{s:s, s:b, s:s, s:o}", "name", m->name, "trainable", 1, "dtype", "float32", "layers", layers);
    if (m->sequential)
        json_object_set_new(config, "build_input_shape", shape_json(quern__made_shape(m->b, m->in[0]), m->b->records));
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

/* The value [layer, call, output]; -1: not there (yet). */
static int find_value(const quern_blueprint *b, json_t *history)
{
    const char *name = json_string_value(json_array_get(history, 0));
    json_int_t call = json_integer_value(json_array_get(history, 1)), output = json_integer_value(json_array_get(history, 2));
    for (int i = 0; name && i < b->n; i++)
        if (!strcmp(b->nodes[i].layer->name, name) && b->nodes[i].call == call)
            return output >= 0 && output < b->nodes[i].n_out ? b->nodes[i].first + (int)output : -1;
    return -1;
}

/* What a call is given, as it is read. */
typedef struct reading {
    int values[QUERN__MAX_ARGUMENTS], arguments[QUERN__MAX_ARGUMENTS], n;
    json_t *options;
    bool early; /* some input is not there yet */
} reading;

static bool is_tensor(json_t *v)
{
    const char *name = quern__config_text(v, "class_name");
    return name && !strcmp(name, "__keras_tensor__");
}

/* Every __keras_tensor__ in what is given for an argument. */
static void collect(const quern_blueprint *b, json_t *given, int argument, reading *r)
{
    json_t *item;
    const char *key;
    size_t k;
    if (is_tensor(given)) {
        int value = find_value(b, json_object_get(json_object_get(given, "config"), "keras_history"));
        r->early = r->early || value < 0;
        if (r->n < QUERN__MAX_ARGUMENTS) {
            r->values[r->n] = value;
            r->arguments[r->n] = argument;
        }
        r->n++;
    } else if (json_is_array(given))
        json_array_foreach(given, k, item) collect(b, item, argument, r);
    else if (json_is_object(given))
        json_object_foreach(given, key, item) collect(b, item, argument, r);
}

static int argument_named(const quern__class *c, const char *name)
{
    for (int i = 0; c->takes && c->takes[i].name; i++)
        if (!strcmp(c->takes[i].name, name))
            return i;
    return -1;
}

/* One inbound node: values by argument, and what else the call is told. */
static int read_call(const quern_blueprint *b, const quern__class *c, json_t *node, reading *r, const char *where, quern_error *err)
{
    json_t *item, *args = json_object_get(node, "args");
    const char *key;
    size_t k;
    int n_takes = 1;
    while (c->takes && c->takes[n_takes].name)
        n_takes++;
    *r = (reading){ .options = json_object() };
    json_array_foreach(args, k, item)
    {
        int argument = c->takes && (int)k < n_takes ? (int)k : 0;
        collect(b, item, argument, r);
        if (c->takes && json_is_number(item)) /* a number that stands for a value */
            json_object_set(r->options, c->takes[argument].name, item);
    }
    json_object_foreach(json_object_get(node, "kwargs"), key, item)
    {
        int before = r->n, argument = argument_named(c, key);
        collect(b, item, argument < 0 ? 0 : argument, r);
        if (r->n > before && argument < 0)
            return quern__fail(err, QUERN_UNSUPPORTED, where, "the argument '%.60s' of its call is not in this version", key);
        if (r->n == before && !json_is_null(item))
            json_object_set(r->options, key, item);
    }
    if (r->n > QUERN__MAX_ARGUMENTS)
        return quern__fail(err, QUERN_UNSUPPORTED, where, "more than %d inputs", QUERN__MAX_ARGUMENTS);
    return QUERN_OK;
}

/* A layer of a functional model as far as it was read: calls may come before those whose values they need. */
typedef struct pending {
    json_t *spec;
    const quern__class *kind;
    json_t *config; /* NULL once the layer is made */
    int node, done; /* its first node; calls made */
} pending;

/* Makes the calls of one layer whose inputs are there. How many, or a negative status. */
static int advance(quern_blueprint *b, pending *p, quern_error *err)
{
    json_t *nodes = json_object_get(p->spec, "inbound_nodes");
    const char *own = quern__config_text(json_object_get(p->spec, "config"), "name");
    int n = 0, calls = (int)json_array_size(nodes);
    bool input = calls == 0;
    char where[128];
    reading r;
    snprintf(where, sizeof where, "layer %.80s", own ? own : p->kind->name);
    for (; p->done < calls + input; p->done++, n++) {
        int status = read_call(b, p->kind, input ? NULL : json_array_get(nodes, (size_t)p->done), &r, where, err);
        if (status >= 0 && !r.early) {
            quern__inputs in = { r.values, r.arguments, r.n, json_object_size(r.options) ? r.options : NULL };
            status = p->config ? quern__blueprint_add(b, p->kind, json_incref(p->config), &in, where)
                               : quern__blueprint_again(b, p->node, &in, where);
            if (status >= 0 && p->config) {
                p->node = b->values[status].node;
                json_decref(p->config);
                p->config = NULL;
            }
            if (status < 0)
                status = quern__fail(err, b->error.code, b->error.where, "%s", b->error.text);
        }
        json_decref(r.options);
        if (status < 0)
            return status;
        if (r.early)
            break;
    }
    return n;
}

/* Layers by their calls, in an order in which all that is needed comes first. */
static int read_functional(quern_blueprint *b, json_t *layers, quern_error *err)
{
    size_t n = json_array_size(layers), left = n;
    pending *all = quern__zalloc(n + 1, sizeof *all);
    int status = all ? QUERN_OK : quern__fail_memory(err, n * sizeof *all), moved = 1;
    for (size_t k = 0; status >= 0 && k < n; k++) {
        json_t *spec = json_array_get(layers, k);
        const char *own = quern__config_text(json_object_get(spec, "config"), "name");
        char where[128];
        snprintf(where, sizeof where, "layer %.80s", own ? own : "?");
        all[k].spec = spec;
        all[k].kind = quern__object(QUERN__LAYER, spec, &all[k].config, err);
        if (!all[k].kind)
            status = quern__fail(err, QUERN_UNSUPPORTED, where, "no such layer in this version");
    }
    while (status >= 0 && left && moved) {
        left = 0;
        moved = 0;
        for (size_t k = 0; k < n && status >= 0; k++) {
            json_t *nodes = json_object_get(all[k].spec, "inbound_nodes");
            int calls = json_array_size(nodes) ? (int)json_array_size(nodes) : 1;
            if (all[k].done < calls && (status = advance(b, &all[k], err)) > 0)
                moved += status;
            left += all[k].done < calls;
        }
    }
    if (status >= 0 && left)
        status = quern__fail(err, QUERN_FORMAT, "config.json", "%zu layers need values that nothing makes", left);
    for (size_t k = 0; all && k < n; k++)
        json_decref(all[k].config);
    quern__free(all);
    return status < 0 ? status : QUERN_OK;
}

static int read_sequential(quern_blueprint *b, json_t *layers, quern_error *err)
{
    json_t *spec, *config = NULL;
    size_t k;
    json_array_foreach(layers, k, spec)
    {
        const char *own = quern__config_text(json_object_get(spec, "config"), "name");
        char where[128];
        int value = b->n_values - 1;
        snprintf(where, sizeof where, "layer %.80s", own ? own : "?");
        const quern__class *c = quern__object(QUERN__LAYER, spec, &config, err);
        if (!c)
            return quern__fail(err, QUERN_UNSUPPORTED, where, "no such layer in this version");
        if (b->n)
            value = b->nodes[b->n - 1].first;
        if (quern__blueprint_add(b, c, config, &(quern__inputs){ .values = &value, .n = b->n > 0 }, where) < 0)
            return quern__fail(err, b->error.code, b->error.where, "%s", b->error.text);
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
    json_t *config = json_object_get(root, "config"), *layers = json_object_get(config, "layers");
    bool sequential = kind && !strcmp(kind, "Sequential");
    int in[QUERN__MAX_IO] = { 0 }, out[QUERN__MAX_IO], n_in = 1, n_out = 1, status = QUERN_OK;
    if (!sequential && (!kind || strcmp(kind, "Functional"))) {
        quern__fail(err, QUERN_UNSUPPORTED, "config.json", "a model of class '%.60s' is not in this version", kind ? kind : "?");
        return NULL;
    }
    quern_blueprint *b = quern_blueprint_new(0);
    if (b) {
        b->room = room;
        b->unfilled = true;
    }
    if (b)
        status = sequential ? read_sequential(b, layers, err) : read_functional(b, layers, err);
    if (!b || status < 0) {
        quern_blueprint_free(b);
        return NULL;
    }
    out[0] = b->n ? b->nodes[b->n - 1].first : -1;
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
