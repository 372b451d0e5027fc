/* config_read: creates a model from its config, as Keras serialises it: layers, their calls, and
 * nested models.
 *
 * A sequential model is a list of layers. A functional model is a list of layers with their calls
 * (inbound_nodes), in any order: read_functional repeats rounds over the list, and adds every call
 * whose inputs exist. A round without progress means that the file is wrong.
 *
 * The input is hostile: unknown members and classes are errors, Python code is never run, and all
 * sizes are limited. compile_config is read last; a class of it that quern does not know leaves the
 * model uncompiled. */
#include "model_struct.h"

#include <stdio.h>
#include <string.h>

/* Whether an object contains Python code, which quern never runs. A registered custom class does
 * not count. */
static bool is_python(json_t *spec, const char *kind)
{
    const char *registered = quern__config_text(spec, "registered_name"),
               *module = quern__config_text(spec, "module");
    if (registered && quern__registered(QUERN__LAYER, registered))
        return false;
    return !strcmp(kind, "Lambda") || !strcmp(kind, "TorchModuleWrapper") ||
           !strcmp(kind, "TFSMLayer") || !strcmp(kind, "JaxLayer") || !strcmp(kind, "FlaxLayer") ||
           (registered && strchr(registered, '>')) || (module && strncmp(module, "keras", 5));
}

/* An operation and a layer can have the same class name; the module decides. */
static bool is_operation(json_t *spec)
{
    const char *module = quern__config_text(spec, "module");
    return module && (!strncmp(module, "keras.src.ops", 13) || !strncmp(module, "keras.ops", 9));
}

/* Checks that an object does not have members other than the known ones. */
static int check_members(json_t *object, const char *const *known, size_t n, const char *where,
                         const char *what, quern_error *err)
{
    const char *key;
    json_t *v;
    json_object_foreach(object, key, v)
    {
        bool found = false;
        for (size_t i = 0; i < n && !found; i++)
            found = !strcmp(key, known[i]);
        if (!found)
            return quern__fail(err, QUERN_UNSUPPORTED, where,
                               "%s has the member '%.60s', which is not in this version", what,
                               key);
    }
    return QUERN_OK;
}

/* Checks the members of a layer's object. */
static int check_object(json_t *spec, const char *where, quern_error *err)
{
    static const char *const known[] = { "module",          "class_name",       "config",
                                         "registered_name", "build_config",     "name",
                                         "inbound_nodes",   "shared_object_id", "compile_config" };
    return check_members(spec, known, sizeof known / sizeof *known, where, "its object", err);
}

/* Checks the members of config.json and of the model's config. */
static int check_model(json_t *root, quern_error *err)
{
    static const char *const network[] = {
        "layers", "input_layers", "output_layers", "build_input_shape", "name", "trainable", "dtype"
    };
    int status = check_object(root, "config.json", err);
    if (status >= 0)
        status = check_members(json_object_get(root, "config"), network,
                               sizeof network / sizeof *network, "config.json",
                               "the model's config", err);
    return status;
}

/* The row and config of a layer object; `where` gets its name for messages. */
static const quern__class *layer_object(json_t *spec, json_t **config, char *where, size_t size,
                                        quern_error *err)
{
    const char *name = quern__config_text(json_object_get(spec, "config"), "name"),
               *kind = quern__config_text(spec, "class_name");
    snprintf(where, size, "layer %.80s", name ? name : "?");
    if (check_object(spec, where, err) < 0)
        return NULL;
    /* classes that cannot be read: functions of TensorFlow and Python code */
    const char *function = quern__config_text(json_object_get(spec, "config"), "function");
    if (kind && function && (!strcmp(kind, "TFOpLambda") || !strcmp(kind, "SlicingOpLambda"))) {
        quern__fail(err, QUERN_UNSUPPORTED, where,
                    "TensorFlow's function %.60s is not in this version", function);
        return NULL;
    }
    if (kind && is_python(spec, kind)) {
        const char *registered = quern__config_text(spec, "registered_name");
        quern__fail(err, QUERN_UNSUPPORTED, where,
                    "%.60s contains Python code, which quern does not run", kind);
        if (registered && strchr(registered, '>'))
            quern__hint(err, "open the file in a program that registers %.80s (<quern/custom.h>)",
                        registered);
        return NULL;
    }
    /* the row of the class; an error says which layer has it */
    quern_error own = { 0 };
    const quern__class *c =
        quern__object(is_operation(spec) ? QUERN__OPERATION : QUERN__LAYER, spec, config, &own);
    if (c)
        return c;
    bool named = own.where[0] && !strstr(where, own.where);
    quern__fail(err, own.code ? own.code : QUERN_UNSUPPORTED, where, named ? "%s: %s" : "%s%s",
                named ? own.where : "", own.text);
    if (own.hint[0])
        quern__hint(err, "%s", own.hint);
    return NULL;
}

/* A layer of a functional model that is read in part: a call waits until the values of its inputs
 * exist. */
typedef struct pending {
    json_t *spec;
    const quern__class *kind;
    json_t *config; /* NULL after the layer is created */
    int node, done; /* its first node; the number of finished calls */
} pending;

/* Adds the calls of a layer whose inputs exist. Returns their number or a negative status. */
static int advance(quern_blueprint *b, pending *p, quern_error *err)
{
    json_t *nodes = json_object_get(p->spec, "inbound_nodes");
    const char *own = quern__config_text(json_object_get(p->spec, "config"), "name");
    int n = 0, calls = (int)json_array_size(nodes);
    bool input = calls == 0;
    char where[128];
    quern__inbound r;
    snprintf(where, sizeof where, "layer %.80s", own ? own : p->kind->name);
    /* an input layer has no call in the file, but counts as one here */
    for (; p->done < calls + input; p->done++, n++) {
        int status = quern__inbound_read(
            b, p->kind, input ? NULL : json_array_get(nodes, (size_t)p->done), &r, where, err);
        if (status >= 0 && !r.early) {
            quern__inputs in = { r.values, r.arguments, r.n,
                                 json_object_size(r.options) ? r.options : NULL, r.keywords };
            status = p->config
                         ? quern__blueprint_add(b, p->kind, json_incref(p->config), &in, where)
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

/* Reads layers by their calls, in rounds, until every call has its inputs. */
static int read_functional(quern_blueprint *b, json_t *layers, quern_error *err)
{
    size_t n = json_array_size(layers), left = n;
    pending *all = quern__zalloc(n + 1, sizeof *all);
    int status = all ? QUERN_OK : quern__fail_memory(err, n * sizeof *all), moved = 1;
    for (size_t k = 0; status >= 0 && k < n; k++) {
        json_t *spec = json_array_get(layers, k);
        char where[128];
        all[k].spec = spec;
        all[k].kind = layer_object(spec, &all[k].config, where, sizeof where, err);
        if (!all[k].kind)
            status = err && err->code < 0 ? err->code : QUERN_UNSUPPORTED;
    }
    /* rounds: each adds all calls whose inputs exist */
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
        status = quern__fail(err, QUERN_FORMAT, "config.json",
                             "%zu layers need values that no layer computes", left);
    if (all)
        for (size_t k = 0; k < n; k++)
            json_decref(all[k].config);
    quern__free(all);
    return status < 0 ? status : QUERN_OK;
}

/* The batch shape at the start of a sequential model: of its input layer, otherwise of its config,
 * its first layer or `env`. */
static json_t *first_shape(json_t *config, json_t *spec, const quern__network_env *env)
{
    json_t *own = json_object_get(json_object_get(spec, "config"), "batch_shape"), *shape;
    own = own ? own : json_object_get(config, "build_input_shape");
    if (json_is_array(own) || !env->shape)
        return json_incref(own);
    shape = json_pack("[n]");
    for (int i = 1; i < env->shape->rank; i++)
        json_array_append_new(shape, json_integer(env->shape->dims[i]));
    return shape;
}

/* Adds an input layer with that batch shape (NULL is an error). */
static int add_input(quern_blueprint *b, json_t *shape, quern_error *err)
{
    json_t *given = json_pack("{s:O}", "batch_shape", shape ? shape : json_null());
    const quern__class *c = quern__class_find(QUERN__LAYER, "InputLayer", err);
    json_t *config = shape && c ? quern__config(c, given, false, err) : NULL;
    json_decref(given);
    if (!shape)
        return quern__fail(err, QUERN_UNSUPPORTED, "config.json", "the model has no input shape");
    if (!config || quern__blueprint_add(b, c, config, &(quern__inputs){ 0 }, "input") < 0)
        return quern__fail(err, b->error.code ? b->error.code : QUERN_INVALID, b->error.where, "%s",
                           b->error.text);
    return QUERN_OK;
}

/* Adds the layers of a sequential model, each called with the output of the previous one. */
static int read_sequential(quern_blueprint *b, json_t *model, const quern__network_env *env,
                           quern_error *err)
{
    json_t *layers = json_object_get(model, "layers"), *spec, *config = NULL;
    size_t k;
    json_array_foreach(layers, k, spec)
    {
        char where[128];
        const quern__class *c = layer_object(spec, &config, where, sizeof where, err);
        if (!c)
            return QUERN_UNSUPPORTED;
        bool input = quern__same_name(c->name, "InputLayer");
        if (!b->n && !input) {
            json_t *shape = first_shape(model, spec, env);
            int status = add_input(b, shape, err);
            json_decref(shape);
            if (status < 0) {
                json_decref(config);
                return status;
            }
        }
        int value = b->n ? b->nodes[b->n - 1].first : -1;
        if (quern__blueprint_add(b, c, config, &(quern__inputs){ .values = &value, .n = b->n > 0 },
                                 where) < 0)
            return quern__fail(err, b->error.code, b->error.where, "%s", b->error.text);
    }
    return QUERN_OK;
}

/* The value of [layer, call, output]. Keras counts the calls of functional models from 1. */
static int end_value(const quern_blueprint *b, json_t *end)
{
    json_int_t call = json_integer_value(json_array_get(end, 1));
    const char *name = json_string_value(json_array_get(end, 0));
    if (name)
        for (int i = 0; i < b->n; i++)
            if (!strcmp(b->nodes[i].layer->name, name)) {
                const quern__layer *l = b->nodes[i].layer;
                call -= l->kind->model && !((const quern_model *)l->object)->sequential;
                break;
            }
    json_t *own = json_pack("[O,I,O]", json_array_get(end, 0), call, json_array_get(end, 2));
    int value = own ? quern__find_value(b, own) : -1;
    json_decref(own);
    return value;
}

/* Reads one value, a list, or an object in the order of its keys. Returns the number of values. */
static int ends(const quern_blueprint *b, json_t *list, int *out)
{
    const char *keys[QUERN__MAX_IO];
    json_t *item;
    size_t k;
    int n = 0;
    if (json_is_string(json_array_get(list, 0))) {
        out[0] = end_value(b, list);
        return 1;
    }
    json_array_foreach(list, k, item) if (n < QUERN__MAX_IO) out[n++] = end_value(b, item);
    if (!json_is_object(list))
        return n;
    n = quern__sorted_keys(list, keys, QUERN__MAX_IO);
    for (int i = 0; i < n; i++)
        out[i] = end_value(b, json_object_get(list, keys[i]));
    return n < 0 ? 0 : n;
}

/* The sorted keys of a dictionary of inputs or outputs. Returns new; NULL: it is a list. */
static json_t *keys_of(json_t *list)
{
    const char *keys[QUERN__MAX_IO];
    int n = json_is_object(list) ? quern__sorted_keys(list, keys, QUERN__MAX_IO) : -1;
    json_t *out = n < 0 ? NULL : json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(out, json_string(keys[i]));
    return out;
}

/* Members of a model's config that quern does not use; files keep them. Returns new. */
static json_t *kept_members(json_t *config)
{
    static const char *const known[] = { "layers", "input_layers", "output_layers",
                                         "build_input_shape", "name" };
    json_t *kept = json_copy(config);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        json_object_del(kept, known[i]);
    return kept;
}

quern_model *quern__network_read(json_t *config, bool sequential, const quern__network_env *env,
                                 quern_error *err)
{
    int in[QUERN__MAX_IO] = { 0 }, out[QUERN__MAX_IO], n_in = 1, n_out = 1, status = QUERN_OK;
    quern_blueprint *b = quern_blueprint_new(env->seed);
    if (b) {
        b->room = env->room;
        b->unfilled = env->unfilled;
        b->depth = env->depth;
        status = sequential ? read_sequential(b, config, env, err)
                            : read_functional(b, json_object_get(config, "layers"), err);
    }
    if (!b || status < 0) {
        quern_blueprint_free(b);
        return NULL;
    }
    /* inputs and outputs; a sequential model has the first and the last value */
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
    if (m) {
        m->sequential = sequential;
        m->kept = kept_members(config);
        m->in_keys = sequential ? NULL : keys_of(json_object_get(config, "input_layers"));
        m->out_keys = sequential ? NULL : keys_of(json_object_get(config, "output_layers"));
    }
    return m;
}

/* Whether a subclass of Model has the config of a functional model: named layers, inputs and
 * outputs. */
static bool is_functional_config(json_t *config)
{
    return json_is_array(json_object_get(config, "layers")) &&
           json_object_get(config, "input_layers") && json_object_get(config, "output_layers");
}

/* Compiles with the settings of the file. Where they name an unknown class, the model opens
 * uncompiled with a warning. */
static int compile_from(quern_model *m, json_t *compile, quern_error *err)
{
    static const char *const known[] = {
        "optimizer",   "loss",        "loss_weights",        "metrics",         "weighted_metrics",
        "run_eagerly", "jit_compile", "steps_per_execution", "auto_scale_loss", "keras_2"
    };
    quern_error own = { 0 };
    if (!json_object_get(compile, "optimizer"))
        return QUERN_OK;
    if (check_members(compile, known, sizeof known / sizeof *known, "config.json", "compile_config",
                      &own) >= 0 &&
        quern__compile(m, json_deep_copy(compile), &own) >= 0)
        return QUERN_OK;
    if (own.code != QUERN_NOTFOUND && own.code != QUERN_UNSUPPORTED)
        return quern__fail(err, own.code, own.where, "%s", own.text);
    quern__uncompile(m);
    quern__warn(
        "the model opens uncompiled: %s%s%s; --optimizer and --loss, or quern_compile, compile it",
        own.where, own.where[0] ? ": " : "", own.text);
    return QUERN_OK;
}

quern_model *quern__config_read(json_t *root, size_t room, quern_error *err)
{
    const char *kind = quern__config_text(root, "class_name");
    json_t *config = json_object_get(root, "config");
    bool sequential = kind && !strcmp(kind, "Sequential");
    bool functional = kind && (!strcmp(kind, "Functional") || !strcmp(kind, "Model"));
    if (!sequential && !functional && !is_functional_config(config)) {
        quern__fail(err, QUERN_UNSUPPORTED, "config.json",
                    "a model of class '%.60s' is not in this version", kind ? kind : "?");
        return NULL;
    }
    if (!sequential && !functional)
        quern__warn("the class '%.60s' opens as the Functional model of its config; its Python "
                    "methods do not run",
                    kind ? kind : "?");
    if (check_model(root, err) < 0)
        return NULL;
    quern_model *m = quern__network_read(
        config, sequential, &(quern__network_env){ .room = room, .unfilled = true }, err);
    /* in Keras, no layer of the model is trained then */
    if (m && !sequential && json_is_false(json_object_get(config, "trainable")))
        for (int k = 0; k < m->b->n; k++)
            quern__layer_set_trainable(m->b->nodes[k].layer, false);
    if (m && compile_from(m, json_object_get(root, "compile_config"), err) < 0) {
        quern_model_free(m);
        return NULL;
    }
    if (m)
        quern__warn_policies(m);
    return m;
}
