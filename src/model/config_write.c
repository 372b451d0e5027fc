/* config_write: writes config.json of a model, as Keras serialises it
 * (keras.src.saving.serialization_lib), with nested models.
 *
 * A layer becomes {module, class_name, config, registered_name, build_config}. In a functional
 * model it also has its name and its calls. Members that quern does not know, from the file that
 * the model was read from, are written back. */
#include "model_struct.h"

#include <stdio.h>
#include <string.h>

/* `records`: the batch size when it is fixed; 0: dynamic. */
static json_t *shape_json(const quern_shape *s, int64_t records)
{
    json_t *a = json_array();
    for (int i = 0; i < s->rank; i++)
        json_array_append_new(a, i == 0 && s->dims[i] == -1 && records ? json_integer(records)
                                 : s->dims[i] < 0                      ? json_null()
                                                                       : json_integer(s->dims[i]));
    return a;
}

/* The shape of a value, with null at open axes. */
static json_t *value_shape_json(const quern_model *m, int value)
{
    quern_shape shape = quern__symbolic_shape(m->b, value);
    return shape_json(&shape, m->b->records);
}

static json_t *network_json(const quern_model *m, json_t *kept);

/* Keras's constructors of these classes do not accept `trainable`. */
static bool takes_trainable(const quern__layer *l)
{
    static const char *const rows[] = { "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D",
                                        "Discretization", "Pipeline" };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(l->kind->name, rows[i]))
            return false;
    return true;
}

/* The config of a nested model: its present state, and the unknown members from its file. */
static json_t *nested_json(const quern__layer *l)
{
    const quern_model *m = l->object;
    json_t *kept = json_deep_copy(l->config), *out;
    json_object_del(
        kept,
        "activity_regularizer"); /* common fields, which Keras's constructor does not accept here */
    if (!m->sequential)
        json_object_del(kept, "dtype");
    json_object_set_new(kept, "trainable", json_boolean(l->trainable));
    out = network_json(m, kept);
    json_decref(kept);
    return out;
}

/* The object of a layer, without its calls: class, config, module and build shapes. Returns new. */
static json_t *layer_json(const quern__layer *l)
{
    if (l->kind->model)
        return nested_json(l);
    json_t *config = json_deep_copy(l->config), *out;
    bool operation = l->kind->group == QUERN__OPERATION;
    if (quern__layer_looks_up(l))
        quern__layer_inline_vocabulary(l, config);
    if (json_is_null(json_object_get(config, "activity_regularizer")))
        json_object_del(config, "activity_regularizer");
    quern__kernel_config(config);
    if (quern__same_name(l->kind->name, "InputLayer")) {
        json_object_del(config, "trainable");
        json_object_del(config, "batch_size");
    }
    if (!takes_trainable(l))
        json_object_del(config, "trainable");
    if (!strcmp(l->kind->name, "Pipeline"))
        json_object_del(config, "dtype");
    out = quern__serialize(l->kind, config);
    if (operation)
        json_object_set_new(out, "registered_name", json_string(l->kind->name));
    json_decref(config);
    if (l->n_in == 1 && !operation)
        json_object_set_new(out, "build_config",
                            json_pack("{s:o}", "input_shape", shape_json(&l->in[0], l->records)));
    return out;
}

static json_t *tensor_json(const quern_model *m, int value)
{
    const quern__call_node *a = quern__producer(m->b, value);
    const char *dtype = a->n_in ? NULL : quern__config_text(a->layer->config, "dtype");
    return json_pack("{s:s, s:{s:o, s:s, s:[s,i,i]}}", "class_name", "__keras_tensor__", "config",
                     "shape", value_shape_json(m, value), "dtype", dtype ? dtype : "float32",
                     "keras_history", a->layer->name, a->call, m->b->values[value].output);
}

/* The values of one argument, a single one or a list, from input `*i` on; moves `*i` after them. */
static json_t *given_values(const quern_model *m, const quern__call_node *a, bool many, int *i)
{
    int own = a->arguments[*i];
    if (!many)
        return tensor_json(m, a->in[(*i)++]);
    json_t *list = json_array();
    for (; *i < a->n_in && a->arguments[*i] == own; ++*i)
        json_array_append_new(list, tensor_json(m, a->in[*i]));
    return list;
}

/* Appends Python's *args: the values from input i on, and the constants that `kwargs` has by place.
 */
static void append_variadic(const quern_model *m, const quern__call_node *a, int i, json_t *args,
                            json_t *kwargs)
{
    for (;;) {
        char place[32];
        snprintf(place, sizeof place, "%zu", json_array_size(args) + 1);
        json_t *constant = json_object_get(kwargs, place);
        if (!constant && i >= a->n_in)
            return;
        if (constant)
            json_array_append(args, constant);
        else
            json_array_append_new(args, tensor_json(m, a->in[i++]));
        json_object_del(kwargs, place);
    }
}

/* The constant that an operation has for argument `own`; NULL: none. Some classes of Keras take it
 * by place only. */
static json_t *constant_at(const quern__class *c, json_t *kwargs, int own)
{
    for (int k = 0; c->group == QUERN__OPERATION && c->call_args && c->call_args[k].name; k++)
        if (k == own)
            return json_object_get(kwargs, c->call_args[k].name);
    return NULL;
}

/* The arguments of a call in Python: {"args": [...], "kwargs": {...}}. Leading arguments are
 * positional, unless the file had them as keywords. */
static json_t *inbound_node(const quern_model *m, const quern__call_node *a)
{
    const quern__class *c = a->layer->kind;
    json_t *args = json_array(), *kwargs = a->options ? json_deep_copy(a->options) : json_object();
    bool list = a->n_in > 1 || !strcmp(c->name, "Add") || !strcmp(c->name, "Concatenate"),
         single = c->model && a->n_in == 1, leading = true;
    for (int i = 0, own = 0; i < a->n_in || (leading && constant_at(c, kwargs, own)); own++) {
        const char *name = c->call_args ? c->call_args[own].name : NULL;
        json_t *constant = name ? json_object_get(kwargs, name) : NULL;
        bool values = i < a->n_in && a->arguments[i] == own,
             many = c->call_args ? c->call_args[own].many && !single : list;
        leading = leading && (values || constant) && !(own < 32 && a->keywords >> own & 1);
        if (!values && !(leading && constant))
            continue;
        if (values && name && *name == '*') {
            append_variadic(m, a, i, args, kwargs);
            break;
        }
        json_t *given = values ? given_values(m, a, many, &i) : json_incref(constant);
        if (!leading)
            json_object_set_new(kwargs, name, given);
        else {
            json_array_append_new(args, given);
            json_object_del(kwargs, name ? name : "");
        }
    }
    return json_pack("{s:o, s:o}", "args", args, "kwargs", kwargs);
}

/* The object of the layer of node k in a functional model, with all its calls in order. Returns
 * new. */
static json_t *functional_layer(const quern_model *m, int k)
{
    const quern__call_node *a = &m->b->nodes[k];
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

/* Keras counts the calls of functional models from 1, because call 0 is the model itself. */
static json_t *ends_json(const quern_model *m, const int *values, int n, json_t *keys)
{
    json_t *out = keys ? json_object() : json_array();
    for (int i = 0; i < n; i++) {
        const quern__call_node *a = quern__producer(m->b, values[i]);
        bool functional =
            a->layer->kind->model && !((const quern_model *)a->layer->object)->sequential;
        json_t *end = json_pack("[s,i,i]", a->layer->name, a->call + functional,
                                m->b->values[values[i]].output);
        if (keys)
            json_object_set_new(out, json_string_value(json_array_get(keys, (size_t)i)), end);
        else
            json_array_append_new(out, end);
    }
    return out;
}

/* The object of a model without compile_config. `kept` has the unknown members of its config. */
static json_t *network_json(const quern_model *m, json_t *kept)
{
    json_t *layers = json_array(),
           *config = json_pack("{s:s, s:b}", "name", m->name, "trainable", 1), *v;
    const char *key;
    for (int k = 0; k < m->b->n; k++)
        if (!m->b->nodes[k].again)
            json_array_append_new(layers, m->sequential ? layer_json(m->b->nodes[k].layer)
                                                        : functional_layer(m, k));
    json_object_foreach(kept, key, v) if (strcmp(key, "name")) json_object_set(config, key, v);
    json_object_set_new(config, "layers", layers);
    if (m->sequential)
        json_object_set_new(config, "build_input_shape", value_shape_json(m, m->in[0]));
    else {
        json_object_set_new(config, "input_layers", ends_json(m, m->in, m->n_in, m->in_keys));
        json_object_set_new(config, "output_layers", ends_json(m, m->out, m->n_out, m->out_keys));
    }
    return json_pack("{s:s, s:s, s:o, s:o}", "module",
                     m->sequential ? "keras" : "keras.src.models.functional", "class_name",
                     m->sequential ? "Sequential" : "Functional", "config", config,
                     "registered_name", m->sequential ? json_null() : json_string("Functional"));
}

json_t *quern__config_write(const quern_model *m)
{
    json_t *root = network_json(m, m->kept);
    if (m->optimizer)
        json_object_set_new(root, "compile_config", quern__compiled_json(m));
    return root;
}
