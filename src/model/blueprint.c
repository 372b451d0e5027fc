/* blueprint: a model under construction: layer calls and their values. Each call builds its layer
 * for the shapes of its inputs, so that errors name the layer.
 *
 * A blueprint has two arrays: nodes (layer calls) and values. A node has the values `first` … first
 * + n_out - 1, and the public functions name values by index. A call builds its layer once, in a
 * temporary graph, which also gives the shapes of the results. The graphs of the model are built
 * from the same calls later.
 *
 * Errors are sticky, as in a graph: the first one stays in the blueprint, later calls return -1,
 * and quern_model_new reports it. The blueprint owns the layers; a shared layer belongs to its
 * first call. */
#include "model_struct.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

quern_blueprint *quern_blueprint_new(uint64_t seed)
{
    quern_blueprint *b = quern__zalloc(1, sizeof *b);
    if (b) {
        b->seed = seed;
        b->room = (size_t)1 << 40;
    }
    return b;
}

/* Frees what a node owns, except its layer. */
static void free_node(quern__call_node *node)
{
    quern__free(node->in);
    quern__free(node->arguments);
    json_decref(node->options);
}

void quern_blueprint_free(quern_blueprint *b)
{
    if (b)
        for (int i = 0; i < b->n; i++) {
            if (!b->nodes[i].again &&
                !b->nodes[i].layer->owned_by_wrapper) /* a nested model borrows the layers that its
                                                         parent owns */
                quern__layer_free(b->nodes[i].layer);
            free_node(&b->nodes[i]);
        }
    if (b) {
        quern__free(b->nodes);
        quern__free(b->values);
    }
    quern__free(b);
}

/* Names a layer without a name as Keras does: the class in snake case, with a number from the
 * second on. */
static int name_layer(quern_blueprint *b, const quern__class *c, json_t *config)
{
    char base[64], name[96];
    if (quern__config_text(config, "name"))
        return 0;
    quern__snake_case(c->name, base, sizeof base);
    for (int k = 0;; k++) {
        bool taken = false;
        snprintf(name, sizeof name, k ? "%s_%d" : "%s", base, k);
        for (int i = 0; i < b->n; i++)
            taken = taken || !strcmp(b->nodes[i].layer->name, name);
        if (!taken)
            return json_object_set_new(config, "name", json_string(name));
    }
}

/* The shape of an input: {"shape": [28, 28]} or {"batch_shape": [null, 28, 28]}; null or "None" is
 * an open axis. `records` gets a fixed batch size. */
static int input_shape(json_t *config, quern__symbolic_tensor *input, int64_t *records,
                       quern_error *err)
{
    quern_shape *out = &input->shape;
    json_t *shape = json_object_get(config, "shape"),
           *batch = json_object_get(config, "batch_shape"), *d;
    bool whole = !json_is_array(shape);
    size_t k, n = json_array_size(whole ? batch : shape);
    *out = (quern_shape){ .rank = 1, .dims = { -1 } };
    if (n + !whole > QUERN_MAX_RANK || (whole && n < 1))
        return quern__fail(err, QUERN_SHAPE, "input", "a shape must have 1 to %d axes",
                           QUERN_MAX_RANK);
    json_array_foreach(whole ? batch : shape, k, d)
    {
        if (whole && k == 0)
            continue;
        bool open = json_is_null(d);
        if (!open && (!json_is_integer(d) || json_integer_value(d) < 1))
            return quern__fail(err, QUERN_SHAPE, "input",
                               "the size of axis %zu must be None or an integer of at least 1",
                               k + !whole);
        input->open |= (uint32_t)open << out->rank;
        out->dims[out->rank++] = open ? QUERN__OPEN_SIZE : json_integer_value(d);
    }
    input->second = *out;
    for (int i = 1; i < out->rank; i++)
        if (input->open >> i & 1)
            input->second.dims[i] = QUERN__OPEN_SECOND;
    /* store the shape as Keras does: batch_shape with the batch size or null */
    json_t *full = json_array(),
           *first = whole ? json_array_get(batch, 0) : json_object_get(config, "batch_size");
    if (json_is_integer(first) && json_integer_value(first) < 1) {
        json_decref(full);
        return quern__fail(err, QUERN_SHAPE, "input", "batch_size must be at least 1");
    }
    if (json_is_integer(first))
        *records = json_integer_value(first);
    json_array_append(full, json_is_integer(first) ? first : json_null());
    for (int i = 1; i < out->rank; i++)
        json_array_append_new(full,
                              input->open >> i & 1 ? json_null() : json_integer(out->dims[i]));
    json_object_set_new(config, "batch_shape", full);
    json_object_del(config, "shape");
    return QUERN_OK;
}

int quern__tensor_dtype(const quern_blueprint *b, int value)
{
    const quern__call_node *a = quern__producer(b, value);
    const char *dtype = a->n_in ? NULL : quern__config_text(a->layer->config, "dtype");
    int type = dtype ? quern_dtype_from_name(dtype) : 0;
    return type == QUERN_STRING || type == QUERN_INT32 || type == QUERN_INT64 ? type
                                                                              : QUERN_FLOAT32;
}

/* Adds the nodes of a call to a temporary graph and gets the shapes of its outputs: the present
 * ones, or the second ones. */
static int shapes_of_call(quern_blueprint *b, quern__call_node *node, bool second,
                          quern__symbolic_tensor *out, quern_error *err)
{
    quern__id ids[QUERN__MAX_ARGUMENTS];
    quern__context pass = { .training = true,
                            .arguments = node->arguments,
                            .options = node->options };
    quern__graph *g = quern__graph_new();
    int status = g ? QUERN_OK : quern__fail_memory(err, sizeof *node);
    for (int i = 0; i < node->n_in && g; i++) {
        const quern__symbolic_tensor *v = &b->values[node->in[i]];
        ids[i] = quern__graph_batch(g, i, quern__tensor_dtype(b, node->in[i]),
                                    second ? &v->second : &v->shape);
    }
    if (g && !quern__layer_call(node->layer, g, ids, node->n_in, &pass))
        status = quern__fail(err, quern__graph_status(g), quern__graph_error(g)->where, "%s",
                             quern__graph_error(g)->text);
    for (int i = 0; status >= 0 && i < pass.n_out; i++)
        *(second ? &out[i].second : &out[i].shape) = *quern__shape_of(g, pass.out[i]);
    node->n_out = pass.n_out;
    quern__graph_free(g);
    return status;
}

/* The same. An operation that refuses the dynamic batch dimension takes the fixed batch size of the
 * model. */
static int call_shapes(quern_blueprint *b, quern__call_node *node, bool second,
                       quern__symbolic_tensor *out, quern_error *err)
{
    quern__layer *l = node->layer;
    quern_error own = { 0 };
    bool may_close = b->records > 0 && l->kind->group == QUERN__OPERATION && !l->closed;
    int status = shapes_of_call(b, node, second, out, may_close ? &own : err);
    if (status >= 0 || !may_close)
        return status;
    l->closed = true;
    status = shapes_of_call(b, node, second, out, err);
    l->closed = status >= 0;
    return status;
}

/* The same for the second sizes of open axes; axes of outputs that differ are open too. */
static int infer_open(quern_blueprint *b, quern__call_node *node, quern__symbolic_tensor *out,
                      quern_error *err)
{
    quern_error own = { 0 };
    int n_out = node->n_out, status = call_shapes(b, node, true, out, &own);
    if (status < 0 || node->n_out != n_out) {
        status = quern__fail(err, status < 0 ? status : QUERN_SHAPE, own.where,
                             "an axis that is None needs a fixed size: %s", own.text);
        quern__hint(err, "give the input a fixed size");
        return status;
    }
    for (int i = 0; i < n_out; i++)
        for (int k = 0; k < out[i].shape.rank; k++)
            out[i].open |= (uint32_t)(out[i].shape.dims[k] != out[i].second.dims[k]) << k;
    return QUERN_OK;
}

/* Sets the number and shapes of a node's outputs. */
static int infer(quern_blueprint *b, quern__call_node *node, quern__symbolic_tensor *out,
                 quern_error *err)
{
    quern_shape in[QUERN__MAX_ARGUMENTS];
    uint32_t open = 0;
    quern__layer *l = node->layer;
    for (int i = 0; i < node->n_in; i++) {
        in[i] = b->values[node->in[i]].shape;
        open |= b->values[node->in[i]].open;
    }
    l->records = b->records;
    l->arguments = node->arguments;
    int status =
        quern__layer_build(l, in, node->n_in, quern__hash64(b->seed) + (uint64_t)b->n, err);
    for (int i = 0; i < l->n_in && i < node->n_in && !node->again; i++)
        l->in[i] = quern__symbolic_shape(b, node->in[i]);
    if (status >= 0)
        status = call_shapes(b, node, false, out, err);
    for (int i = 0; i < node->n_out && status >= 0; i++)
        out[i].second = out[i].shape;
    return status < 0 || !open ? status : infer_open(b, node, out, err);
}

/* Ensures capacity for one more node and its values. The number is limited, because recursive
 * functions visit models. */
static bool grow(quern_blueprint *b)
{
    if (b->n == QUERN__MAX_NODES)
        return false;
    if (b->n == b->capacity) {
        int capacity = b->capacity ? 2 * b->capacity : 16;
        quern__call_node *grown = quern__realloc(b->nodes, (size_t)capacity * sizeof *grown);
        if (!grown)
            return false;
        b->nodes = grown;
        b->capacity = capacity;
    }
    if (b->n_values + QUERN__MAX_RESULTS > b->value_capacity) {
        int capacity = 2 * b->value_capacity + QUERN__MAX_RESULTS;
        quern__symbolic_tensor *grown = quern__realloc(b->values, (size_t)capacity * sizeof *grown);
        if (!grown)
            return false;
        b->values = grown;
        b->value_capacity = capacity;
    }
    return true;
}

/* The argument of input i, when only the order is known: one input per argument; the first argument
 * with `many` takes the rest. */
static int argument_by_order(const quern__class *c, int i)
{
    int k = 0;
    while (c->call_args && k < i && !c->call_args[k].many && c->call_args[k + 1].name)
        k++;
    return k;
}

/* The largest number of values that a layer accepts. */
static int most_inputs(const quern__class *c)
{
    bool own = c->registered || !c->module; /* a custom class checks the number itself */
    int n = 1;
    if (c->list || c->model || own)
        return QUERN__MAX_ARGUMENTS;
    for (n = c->call_args ? 0 : 1; c->call_args && c->call_args[n].name; n++)
        if (c->call_args[n].many)
            return QUERN__MAX_ARGUMENTS;
    return n;
}

/* Checks that the layer accepts this number of inputs. */
static int check_count(const quern__layer *l, int n, const char *words, quern_error *err)
{
    int most = most_inputs(l->kind);
    if (n <= most)
        return QUERN_OK;
    int status = quern__fail(err, QUERN_INVALID, words,
                             "layer '%.60s' expects %d input%s, but it received %d", l->name, most,
                             most == 1 ? "" : "s", n);
    quern__hint(
        err,
        "use '| @NAME |' alone to continue from that value; concatenate, add, … merge several");
    return status;
}

/* Adds a node to the blueprint. */
static int blueprint_add_node(quern_blueprint *b, quern__call_node *node, const quern__inputs *in,
                              const quern__symbolic_tensor *input, const char *words)
{
    quern__symbolic_tensor out[QUERN__MAX_RESULTS] = { 0 };
    const quern__class *c = node->layer->kind;
    node->n_in = in->n;
    node->in = quern__zalloc((size_t)in->n + 1, sizeof *node->in);
    node->arguments = quern__zalloc((size_t)in->n + 1, sizeof *node->arguments);
    node->options = json_incref(in->options);
    node->keywords = in->keywords;
    int status = node->in && node->arguments && grow(b)
                     ? QUERN_OK
                     : quern__fail_memory(&b->error, sizeof *node);
    for (int i = 0; status >= 0 && i < in->n; i++) {
        node->in[i] = in->values[i];
        node->arguments[i] = in->arguments ? in->arguments[i] : argument_by_order(c, i);
    }
    /* an input has its given shape; other layers infer theirs */
    node->n_out = 1;
    out[0] = *input;
    if (status >= 0)
        status = check_count(node->layer, in->n, words, &b->error);
    if (status >= 0 && in->n)
        status = infer(b, node, out, &b->error);
    if (status < 0) {
        quern__fail(&b->error, status, words, "cannot create this layer");
        free_node(node);
        return status;
    }
    /* the values of the call */
    node->first = b->n_values;
    for (int i = 0; i < node->n_out; i++) {
        out[i].node = b->n;
        out[i].output = i;
        b->values[b->n_values++] = out[i];
    }
    b->open = b->open || (!node->n_in && input->open);
    b->nodes[b->n++] = *node;
    return node->first;
}

/* Whether all inputs are values of the blueprint. */
static bool values_fit(const quern_blueprint *b, const quern__inputs *in)
{
    bool fits = in->n >= 0 && in->n <= QUERN__MAX_ARGUMENTS;
    for (int i = 0; i < in->n && fits; i++)
        fits = in->values[i] >= 0 && in->values[i] < b->n_values;
    return fits;
}

/* Adds a layer. Takes `object`, the nested model (NULL: none). */
static int add_layer(quern_blueprint *b, const quern__class *c, json_t *config, void *object,
                     const quern__inputs *in, const char *words)
{
    bool input = quern__same_name(c->name, "InputLayer"), fits = values_fit(b, in);
    if (input != (in->n == 0) || !fits) {
        json_decref(config);
        quern_model_free(object);
        quern__fail(&b->error, QUERN_INVALID, words, "%s",
                    !fits   ? "the input is not a value of the blueprint"
                    : in->n ? "an input must be the first layer"
                            : "the first layer must be an input");
        return -1;
    }
    quern__symbolic_tensor shape = { 0 };
    name_layer(b, c, config);
    int status = in->n ? QUERN_OK : input_shape(config, &shape, &b->records, &b->error);
    quern__call_node node = { .layer = quern__layer_new(c, config, &b->error) };
    if (node.layer) {
        node.layer->room = &b->room;
        node.layer->nesting = &quern__nested_model;
        node.layer->unfilled = b->unfilled;
        node.layer->depth = b->depth;
        node.layer->object = object;
    } else
        quern_model_free(object);
    if (node.layer && status >= 0)
        status = blueprint_add_node(b, &node, in, &shape, words);
    if (!node.layer || status < 0) {
        quern__fail(&b->error, status < 0 ? status : QUERN_NOMEM, words,
                    "cannot create this layer");
        quern__layer_free(node.layer);
        return -1;
    }
    if (quern__memory_short()) { /* the config may be incomplete */
        quern__fail(&b->error, QUERN_NOMEM, words, "out of memory");
        return -1;
    }
    return status;
}

int quern__blueprint_add(quern_blueprint *b, const quern__class *c, json_t *config,
                         const quern__inputs *in, const char *words)
{
    return add_layer(b, c, config, NULL, in, words);
}

int quern__blueprint_add_model(quern_blueprint *b, const quern__class *c, json_t *config,
                               quern_model *m, const quern__inputs *in)
{
    return add_layer(b, c, config, m, in, m->name);
}

int quern__blueprint_again(quern_blueprint *b, int node, const quern__inputs *in, const char *words)
{
    if (!values_fit(b, in) || in->n == 0) {
        quern__fail(&b->error, QUERN_INVALID, words, "the input is not a value of the blueprint");
        return -1;
    }
    quern__call_node again = { .layer = b->nodes[node].layer, .again = true };
    for (int k = 0; k < b->n; k++)
        again.call += b->nodes[k].layer == again.layer;
    int value = blueprint_add_node(b, &again, in, &(quern__symbolic_tensor){ 0 }, words);
    return value < 0 ? -1 : value;
}

/* Adds the layer of a spec string, an input or one with n values, for the public functions. Returns
 * the first output; -1 on failure. */
static int blueprint_add_text(quern_blueprint *b, const char *words, const int *values, int n,
                              bool input)
{
    json_t *config = NULL;
    char text[512];
    quern__memory_watch();
    if (!b || b->error.code ||
        quern__missing(&b->error, "words", words, "values", n > 0 ? (const void *)values : "",
                       NULL))
        return -1;
    snprintf(text, sizeof text, "%s%s", input ? "input " : "", words);
    const quern__class *c = quern__parse_spec(QUERN__LAYER, text, &config, &b->error);
    if (!c)
        return -1;
    json_t *call = json_incref(json_object_get(config, "call"));
    if (call)
        json_object_del(config, "call");
    int twice[2] = { n > 0 ? values[0] : 0, n > 0 ? values[0] : 0 };
    bool itself =
        n == 1 && c->call_args &&
        !strcmp(c->call_args[0].name, "query"); /* self-attention: the value is the query */
    quern__inputs in = { .values = itself ? twice : values, .n = itself ? 2 : n, .options = call };
    int value = quern__blueprint_add(b, c, config, &in, text);
    json_decref(call);
    return value;
}

int quern_input(quern_blueprint *b, const char *words)
{
    return blueprint_add_text(b, words, NULL, 0, true);
}
int quern_apply(quern_blueprint *b, const char *words, int value)
{
    return blueprint_add_text(b, words, &value, 1, false);
}
int quern_apply_n(quern_blueprint *b, const char *words, const int *values, int n)
{
    return blueprint_add_text(b, words, values, n, false);
}

/* Checks that an output has one row for each record. */
static int check_output(const quern_blueprint *b, int value, quern_error *err)
{
    char text[96];
    const quern_shape *s = quern__tensor_shape(b, value);
    if (s->rank > 0 && s->dims[0] < 0)
        return QUERN_OK;
    return quern__fail(err, QUERN_UNSUPPORTED, quern__producer(b, value)->layer->name,
                       "an output of shape %s does not have the records on axis 0",
                       quern_shape_text(s, text, sizeof text));
}

quern_model *quern_model_new(quern_blueprint *b, const int *inputs, int n_inputs,
                             const int *outputs, int n_outputs, quern_error *err)
{
    QUERN__ENTER_ANY(err);
    quern_model *m = NULL;
    if (quern__missing(err, "blueprint", b, "inputs", inputs, "outputs", outputs, NULL) ||
        b->error.code) {
        if (!err->code)
            *err = b->error;
        quern_blueprint_free(b);
        return NULL;
    }
    /* check inputs and outputs, then sort the layers as Keras does */
    bool fits =
        n_inputs >= 1 && n_outputs >= 1 && n_inputs <= QUERN__MAX_IO && n_outputs <= QUERN__MAX_IO;
    for (int i = 0; fits && i < n_inputs; i++)
        fits =
            inputs[i] >= 0 && inputs[i] < b->n_values && quern__producer(b, inputs[i])->n_in == 0;
    for (int i = 0; fits && i < n_outputs; i++)
        fits = outputs[i] >= 0 && outputs[i] < b->n_values &&
               quern__tensor_dtype(b, outputs[i]) != QUERN_STRING;
    for (int i = 0; fits && i < n_outputs; i++)
        fits = check_output(b, outputs[i], err) >= 0;
    if (fits && quern__blueprint_order(b, outputs, n_outputs) < 0)
        fits = quern__fail_memory(err, 1) >= 0;
    if (!fits || !(m = quern__zalloc(1, sizeof *m)) || !(m->name = quern__strdup("model"))) {
        quern__fail(err, QUERN_INVALID, "model",
                    "a model needs 1 to %d inputs and outputs, which are values of its blueprint, "
                    "and outputs without strings",
                    QUERN__MAX_IO);
        quern_blueprint_free(b);
        quern__free(m);
        return NULL;
    }
    m->b = b;
    m->n_in = n_inputs;
    m->n_out = n_outputs;
    memcpy(m->in, inputs, (size_t)n_inputs * sizeof *inputs);
    memcpy(m->out, outputs, (size_t)n_outputs * sizeof *outputs);
    m->threads = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? 2 : 1;
    return m;
}
