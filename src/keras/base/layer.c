/* layer: creates a layer from its config, builds its weights for input shapes, and calls it with
 * the conversions, penalties and masks that all classes have in common.
 *
 * A layer owns its weights, constants, states and inner layers. Four arrays run parallel to
 * `weights`: `roles` (the initializer's key without its suffix), `places` (the path in a file),
 * `options` (the config with regularizers and constraints) and the weights themselves. A wrapper
 * has the weights of its inner layers in its own list, where files expect them, while the inner
 * layers stay their owners.
 *
 * A layer is built once and called once per graph and layer call. */
#include "keras/keras.h"

#include <stdio.h>
#include <string.h>

quern__layer *quern__layer_new(const quern__class *kind, json_t *config, quern_error *err)
{
    const char *name = quern__config_text(config, "name");
    quern__layer *l = quern__zalloc(1, sizeof *l);
    if (!l || !(l->name = quern__strdup(name ? name : ""))) {
        quern__free(l);
        json_decref(config);
        quern__fail_memory(err, sizeof *l);
        return NULL;
    }
    l->kind = kind;
    l->config = config;
    l->trainable = quern__config_bool(config, "trainable");
    return l;
}

void quern__layer_free(quern__layer *l)
{
    if (!l)
        return;
    if (l->kind->destroy_state)
        l->kind->destroy_state(l);
    for (int i = 0; i < l->n_inner; i++)
        quern__layer_free(l->inner[i]);
    if (!l->owned_by_wrapper)
        for (int i = 0; i < l->n_weights; i++)
            quern__variable_free(l->weights[i]);
    for (int i = 0; i < l->n_constants; i++)
        quern__variable_free(l->constants[i]);
    for (int i = 0; i < l->n_states; i++)
        quern__variable_free(l->states[i]);
    quern__free(l->inner);
    quern__free(l->weights);
    quern__free(l->roles);
    quern__free(l->places);
    quern__free(l->options);
    quern__free(l->scratch);
    json_decref(l->config);
    quern__free(l->name);
    quern__free(l);
}

/* Ensures capacity for `more` weights. */
static bool grow_weights(quern__layer *l, int more)
{
    int capacity = l->weight_capacity ? l->weight_capacity : 4;
    while (capacity < l->n_weights + more)
        capacity *= 2;
    if (capacity == l->weight_capacity)
        return true;
    quern__variable **weights = quern__realloc(l->weights, (size_t)capacity * sizeof *weights);
    l->weights = weights ? weights : l->weights;
    void *roles = quern__realloc(l->roles, (size_t)capacity * sizeof *l->roles);
    l->roles = roles ? roles : l->roles;
    void *places = quern__realloc(l->places, (size_t)capacity * sizeof *l->places);
    l->places = places ? places : l->places;
    json_t **options = quern__realloc(l->options, (size_t)capacity * sizeof *options);
    l->options = options ? options : l->options;
    bool ok = weights && roles && places && options;
    l->weight_capacity = ok ? capacity : l->weight_capacity;
    return ok;
}

/* Ensures capacity for one more inner layer. */
static bool grow_inner(quern__layer *l)
{
    quern__layer **inner = quern__realloc(l->inner, ((size_t)l->n_inner + 1) * sizeof *inner);
    l->inner = inner ? inner : l->inner;
    return inner != NULL;
}

quern__variable *quern__layer_weight_of(quern__layer *l, const char *name, const quern_shape *shape,
                                        json_t *initializer, const char *role, quern_error *err)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", l->name, name);
    size_t bytes;
    if (l->room && (!quern__shape_bytes(shape, QUERN_FLOAT32, &bytes) || bytes > *l->room)) {
        quern__fail(err, QUERN_FORMAT, path, "the weight exceeds the memory limit for weights");
        return NULL;
    }
    if (l->room)
        *l->room -= bytes;
    quern__variable *v = quern__variable_new(path, QUERN_FLOAT32, shape, l->trainable, err);
    /* the initial content, unless a file provides it */
    if (v && initializer && !l->unfilled &&
        quern__initialize(initializer, v, l->seed + (uint64_t)l->n_weights, err) < 0) {
        quern__variable_free(v);
        return NULL;
    }
    if (v && !grow_weights(l, 1)) {
        quern__fail_memory(err, sizeof *l->places);
        quern__variable_free(v);
        return NULL;
    }
    if (v) {
        snprintf(l->places[l->n_weights], sizeof *l->places, "vars/%d", l->n_weights);
        l->options[l->n_weights] = l->config;
        snprintf(l->roles[l->n_weights], sizeof *l->roles, "%s", role);
    }
    return v ? l->weights[l->n_weights++] = v : NULL;
}

quern__variable *quern__layer_weight(quern__layer *l, const char *name, const quern_shape *shape,
                                     const char *initializer, quern_error *err)
{
    char role[sizeof *l->roles];
    snprintf(role, sizeof role, "%.*s", (int)strcspn(initializer, "_"), initializer);
    return quern__layer_weight_of(l, name, shape, json_object_get(l->config, initializer), role,
                                  err);
}

quern__layer *quern__layer_inside(quern__layer *l, json_t *spec, const char *name, quern_error *err)
{
    json_t *config = NULL;
    char path[256];
    const quern__class *c = quern__object(QUERN__LAYER, spec, &config, err);
    if (!c)
        return NULL;
    if (l->n_inner == QUERN__MAX_INNER) {
        json_decref(config);
        quern__fail(err, QUERN_UNSUPPORTED, l->name, "more than %d inner layers", QUERN__MAX_INNER);
        return NULL;
    }
    if (l->depth == QUERN__MAX_DEPTH) {
        json_decref(config);
        quern__fail(err, QUERN_UNSUPPORTED, l->name, "layers are nested more than %d deep",
                    QUERN__MAX_DEPTH);
        return NULL;
    }
    quern__layer *inner = quern__layer_new(c, config, err);
    if (!inner || !grow_inner(l)) {
        quern__layer_free(inner);
        return NULL;
    }
    snprintf(path, sizeof path, "%s/%s", l->name, name);
    quern__free(inner->name);
    inner->name = quern__strdup(path);
    inner->owned_by_wrapper = true;
    inner->depth = l->depth + 1;
    inner->room = l->room;
    inner->nesting = l->nesting;
    inner->unfilled = l->unfilled;
    return l->inner[l->n_inner++] = inner;
}

/* Appends the weights of an inner layer to the list of the wrapper, which takes the inner layer.
 * Fails without memory only. */
static int join_weights(quern__layer *l, quern__layer *inner, const char *part, quern_error *err)
{
    int status = QUERN_OK;
    inner->owned_by_wrapper = grow_weights(l, inner->n_weights);
    if (!inner->owned_by_wrapper)
        return quern__fail_memory(err, (size_t)inner->n_weights * sizeof *l->places);
    for (int i = 0; i < inner->n_weights; i++) {
        int k = l->n_weights++;
        l->weights[k] = inner->weights[i];
        l->options[k] = inner->options[i];
        memcpy(l->roles[k], inner->roles[i], sizeof *l->roles);
        if (!*inner->places[i]) /* files do not store it */
            *l->places[k] = 0;
        else if ((size_t)snprintf(l->places[k], sizeof *l->places, "%s/%s", part,
                                  inner->places[i]) >= sizeof *l->places)
            status = quern__fail(err, QUERN_UNSUPPORTED, l->name,
                                 "the paths of its weights are too long");
    }
    return status;
}

int quern__layer_build_inside(quern__layer *l, quern__layer *inner, const quern_shape *in, int n_in,
                              const char *part, quern_error *err)
{
    int status = quern__layer_build(inner, in, n_in,
                                    l->seed + 0x9e3779b9u * (uint64_t)(l->n_weights + 1), err);
    int joined = join_weights(l, inner, part, err);
    if (status < 0)
        return status;
    return joined;
}

int quern__layer_adopt(quern__layer *l, quern__layer *inner, const char *part, quern_error *err)
{
    if (!grow_inner(l))
        return quern__fail_memory(err, sizeof *l->inner);
    int status = join_weights(l, inner, part, err);
    if (inner->owned_by_wrapper)
        l->inner[l->n_inner++] = inner;
    return status;
}

void quern__layer_place(quern__layer *l, int n, const char *part)
{
    for (int i = 0; i < n; i++)
        snprintf(l->places[l->n_weights - n + i], sizeof *l->places, "%s%svars/%d",
                 part ? part : "", part ? "/" : "", i);
}

/* Writes the numbers of a nested list to `out` in C order; the shape comes from the first element
 * of each list. */
static int64_t flatten(json_t *v, float *out, quern_shape *shape, int depth)
{
    int64_t n = 0;
    json_t *item;
    size_t k;
    if (!json_is_array(v)) {
        if (out)
            *out = json_is_boolean(v) ? (float)json_is_true(v) : (float)json_number_value(v);
        return json_is_number(v) || json_is_boolean(v) ? 1 : -1;
    }
    if (depth >= QUERN_MAX_RANK)
        return -1;
    shape->rank = depth + 1 > shape->rank ? depth + 1 : shape->rank;
    shape->dims[depth] = (int64_t)json_array_size(v);
    json_array_foreach(v, k, item)
    {
        int64_t more = flatten(item, out ? out + n : NULL, shape, depth + 1);
        if (more < 0)
            return -1;
        n += more;
    }
    return n;
}

quern__variable *quern__layer_constant(quern__layer *l, const char *path, json_t *numbers,
                                       quern_error *err)
{
    quern_shape shape = { 0 };
    int64_t n = flatten(numbers, NULL, &shape, 0);
    if (n < 1 || n != quern_shape_count(&shape) ||
        l->n_constants == (int)(sizeof l->constants / sizeof *l->constants)) {
        quern__fail(err, QUERN_INVALID, l->name, "expected a number or a list of numbers");
        return NULL;
    }
    quern__variable *v = quern__variable_new(path, QUERN_FLOAT32, &shape, false, err);
    if (v)
        flatten(numbers, v->data, &shape, 0);
    return v ? l->constants[l->n_constants++] = v : NULL;
}

/* Sets which weights are trained: a weight is trained when its layer and all enclosing layers are
 * trainable. The flag of a nested model applies to its layers. */
static void settle(quern__layer *l, bool on)
{
    bool own = on && (l->trainable || l->kind->model);
    for (int i = 0; i < l->n_weights; i++)
        l->weights[i]->trainable = l->weights[i]->learned && own;
    for (int i = 0; i < l->n_inner; i++)
        settle(l->inner[i], own);
}

int quern__layer_build(quern__layer *l, const quern_shape *in, int n_in, uint64_t seed,
                       quern_error *err)
{
    bool trainable = l->trainable;
    if (l->built)
        return QUERN_OK;
    l->seed = quern__hash64(seed);
    l->built = true;
    l->n_in = n_in < QUERN_MAX_RANK ? n_in : QUERN_MAX_RANK;
    for (int i = 0; i < l->n_in; i++)
        l->in[i] = in[i];
    l->trainable = true; /* moving statistics are marked when they are created */
    int status = quern__refuse_quantized(l, err);
    if (status >= 0 && l->kind->build)
        status = l->kind->build(l, in, n_in, err);
    l->trainable = trainable;
    for (int i = 0; i < l->n_weights; i++)
        if (l->options[i] == l->config) /* a weight of this layer, not of an inner layer */
            l->weights[i]->learned = l->weights[i]->trainable;
    settle(l, true);
    return status;
}

/* Sets the flag of a layer and of its inner layers, also in their configs. */
static void set_trainable(quern__layer *l, bool on)
{
    l->trainable = on;
    if (json_object_get(l->config, "trainable"))
        json_object_set_new(l->config, "trainable", json_boolean(on));
    for (int i = 0; i < l->n_inner; i++)
        set_trainable(l->inner[i], on);
}

void quern__layer_set_trainable(quern__layer *l, bool on)
{
    set_trainable(l, on);
    settle(l, true);
}

/* The key of the regularizer or constraint is the role, which is the initializer's key without
 * "_initializer", and the suffix. */
json_t *quern__layer_option(const quern__layer *l, int weight, const char *suffix)
{
    char key[96];
    snprintf(key, sizeof key, "%s_%s", l->roles[weight], suffix);
    return json_object_get(l->options[weight], key);
}

/* Adds a penalty. `by_record`: a penalty on an output is divided by the batch size, as in Keras. */
static void add_penalty(quern__layer *l, quern__graph *g, json_t *spec, quern__id x, bool by_record)
{
    quern__id p = quern__penalty(g, spec, x);
    const quern_shape open = { .rank = 1,
                               .dims = { by_record ? quern__shape_of(g, x)->dims[0] : 1 } };
    if (p && by_record) {
        quern__id ones = quern__broadcast(g, quern__graph_constant(g, 1, QUERN_FLOAT32), &open);
        p = quern__div2(g, p, quern__reduce(g, QUERN__SUM, ones, ~0u, false));
    }
    if (p)
        l->penalty = l->penalty ? quern__add2(g, l->penalty, p) : p;
}

void quern__layer_penalise(quern__layer *l, quern__graph *g, json_t *spec, quern__id x)
{
    add_penalty(l, g, spec, x, quern__shape_of(g, x)->rank > 0);
}

quern__id quern__layer_argument(const quern__layer *l, const quern__id *in, int n_in,
                                const char *name, int k)
{
    for (int i = 0; i < n_in; i++) {
        int own = l->context->arguments ? l->context->arguments[i] : 0;
        if (!strcmp(l->kind->call_args ? l->kind->call_args[own].name : "inputs", name) && k-- == 0)
            return in[i];
    }
    return 0;
}

int quern__layer_place_of(const quern__layer *l, int n_in, const char *name)
{
    const int *arguments = l->context ? l->context->arguments : l->arguments;
    for (int i = 0; i < n_in; i++)
        if (!strcmp(l->kind->call_args ? l->kind->call_args[arguments ? arguments[i] : 0].name
                                       : "inputs",
                    name))
            return i;
    return -1;
}

bool quern__layer_flag(const quern__layer *l, const char *name)
{
    return json_is_true(json_object_get(l->context->options, name));
}

void quern__layer_result(quern__layer *l, quern__id value, quern__id mask)
{
    quern__context *p = l->context;
    if (p->n_out < QUERN__MAX_RESULTS) {
        p->out[p->n_out] = value;
        p->mask_out[p->n_out++] = mask;
    }
}

quern__variable *quern__layer_state(quern__layer *l, quern__graph *g, int k,
                                    const quern_shape *shape)
{
    quern__stepping *s = l->context->stepping;
    quern__variable **at = s && s->asked < QUERN__MAX_STATES    ? &s->states[s->asked++]
                           : !s && k < QUERN__MAX_STATES_OF_ONE ? &l->states[k]
                                                                : NULL;
    int *n = s ? &s->n_states : &l->n_states;
    quern_shape closed = *shape;
    closed.dims[0] = s ? s->texts : l->records;
    if (at && !*at) {
        quern_error err = { 0 };
        *at = quern__variable_new(l->name, QUERN_FLOAT32, &closed, false, &err);
        *n += *at != NULL;
    }
    if (at && *at && !quern_shape_equal(&(*at)->shape, &closed)) {
        quern__graph_fail(g, QUERN_UNSUPPORTED,
                          "the states of a stateful layer cannot change their shape");
        return NULL;
    }
    if (!at || !*at)
        quern__graph_fail(g, QUERN_NOMEM, "out of memory for the states of the layer");
    return at ? *at : NULL;
}

/* Sets the mask of the first output by the rule of the row, unless the layer has set it. */
static void pass_masks(quern__layer *l, quern__graph *g, int n_in)
{
    if (l->kind->masks == QUERN__MASK_PASSES && !l->context->mask_out[0])
        l->context->mask_out[0] = quern__layer_merged_mask(l, g, n_in);
}

/* Converts the inputs to types that the layer accepts. Returns false and fails the graph when it
 * accepts none. */
static bool take_all(const quern__layer *l, quern__graph *g, const quern__id *in, int n_in,
                     quern__id *taken)
{
    for (int i = 0; i < n_in; i++) {
        int dtype = in[i] ? quern__graph_value(g, in[i])->dtype : 0;
        bool whole = dtype == QUERN_INT32 || dtype == QUERN_INT64;
        if (dtype == QUERN_STRING && !l->kind->strings)
            return quern__graph_fail(g, QUERN_INVALID, "the input is text, %s needs numbers",
                                     l->kind->name);
        taken[i] = whole && !l->kind->whole && !l->kind->model
                       ? quern__cast(g, in[i], QUERN_FLOAT32)
                       : in[i];
    }
    return true;
}

/* Calls the class. */
static quern__id call(quern__layer *l, quern__graph *g, const quern__id *in, int n_in,
                      bool training)
{
    quern__id taken[QUERN__MAX_ARGUMENTS], y;
    if (n_in > QUERN__MAX_ARGUMENTS || !take_all(l, g, in, n_in, taken))
        return 0;
    for (int i = 0; i < n_in && l->closed; i++)
        taken[i] = quern__layer_close_batch(l, g, taken[i]);
    y = l->kind->call(l, g, taken, n_in, training);
    if (l->kind->group != QUERN__OPERATION || !l->records)
        return y;
    for (int i = 1; i < l->context->n_out; i++)
        l->context->out[i] = quern__layer_reopen_batch(l, g, l->context->out[i]);
    return quern__layer_reopen_batch(l, g, y);
}

quern__id quern__layer_call_inside(quern__layer *l, quern__layer *inner, quern__graph *g,
                                   const quern__id *in, int n_in, quern__context *context)
{
    inner->context = context;
    inner->penalty = 0;
    inner->records = l->records;
    context->stepping = l->context->stepping;
    context->n_out = 1;
    memset(context->mask_out, 0, sizeof context->mask_out);
    quern__id y = call(inner, g, in, n_in, context->training);
    context->out[0] = y;
    pass_masks(inner, g, n_in);
    if (y)
        add_penalty(inner, g, json_object_get(inner->config, "activity_regularizer"), y,
                    quern__shape_of(g, y)->rank > 0);
    if (inner->penalty)
        l->penalty = l->penalty ? quern__add2(g, l->penalty, inner->penalty) : inner->penalty;
    inner->context = NULL;
    return y;
}

quern__id quern__layer_call(quern__layer *l, quern__graph *g, const quern__id *in, int n_in,
                            quern__context *context)
{
    quern__graph_scope(g, l->name);
    l->context = context;
    context->n_out = 1;
    memset(context->mask_out, 0, sizeof context->mask_out);
    quern__id y = call(l, g, in, n_in, context->training);
    context->out[0] = y;
    pass_masks(l, g, n_in);
    /* penalties of weights once per layer, of outputs for each call */
    for (int i = 0; y && i < l->n_weights && !context->again; i++)
        if (l->weights[i]->trainable) /* a frozen weight does not have a penalty */
            add_penalty(l, g, quern__layer_option(l, i, "regularizer"),
                        quern__graph_variable(g, l->weights[i]), false);
    if (y)
        add_penalty(l, g, json_object_get(l->config, "activity_regularizer"), y,
                    quern__shape_of(g, y)->rank > 0);
    l->context = NULL;
    return y;
}
