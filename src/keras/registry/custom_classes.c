/* custom_classes: classes that the program registers. Each gets a descriptor row whose functions
 * call the program's functions. */
#include "base/json.h"
#include "keras/losses/losses.h"
#include "keras/optimizers/optimizers.h"

#include <quern/custom.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { most_classes = 256, most_arguments = 32 };

typedef struct registered {
    quern__class row;
    char name[128];
    quern__field fields[most_arguments + 16];
    quern_build_fn *build;
    quern_call_fn *call;
    quern_value_fn *value;
    quern_update_fn *update;
    char slots[QUERN__SLOTS][48];
    int n_slots;
} registered;

static registered *all[most_classes];
static int n_all;

struct quern_custom {
    json_t *config;
    quern__layer *layer;
};

const quern__class *quern__registered(quern__group group, const char *name)
{
    for (int i = 0; i < n_all; i++)
        if (all[i]->row.group == group &&
            (!strcmp(all[i]->name, name) || quern__same_name(all[i]->row.name, name)))
            return &all[i]->row;
    return NULL;
}

static const registered *registered_of(const quern__class *row) { return (const registered *)row; }

/* ---- functions of the rows ---- */

static int build_layer(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    quern_custom self = { l->config, l };
    return registered_of(l->kind)->build(&self, in, n, err);
}

static quern__id call_layer(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                            bool training)
{
    quern_custom self = { l->config, l };
    return registered_of(l->kind)->call(&self, g, in, n, training);
}

static quern__id own_value(const quern__class *c, quern__graph *g, json_t *config, quern__id truth,
                           quern__id prediction)
{
    quern_custom self = { config, NULL };
    quern__match_ranks(g, &truth, &prediction);
    return truth && prediction
               ? registered_of(c)->value(&self, g, quern__cast(g, truth, QUERN_FLOAT32), prediction)
               : 0;
}

static int own_slots(quern__optimizer *o, quern_error *err)
{
    const registered *r = registered_of(o->kind);
    for (int k = 0; k < r->n_slots; k++)
        if (quern__slots_of_all(o, k, r->slots[k], true, err) < 0)
            return QUERN_NOMEM;
    return QUERN_OK;
}

/* Calls the update function of a custom optimizer. */
static quern__id own_step(quern__optimizer *o, quern__graph *g, int k, quern__id gradient,
                          quern__id rate, quern__id iteration, double decay)
{
    const registered *r = registered_of(o->kind);
    quern_custom self = { o->config, NULL };
    quern__id slots[QUERN__SLOTS] = { 0 };
    for (int i = 0; i < r->n_slots; i++)
        slots[i] = quern__before(o, g, k, i);
    quern__id weight = quern__decayed(o, g, k, rate, decay);
    quern__id next = r->update(&self, g, weight, gradient, rate,
                               quern__cast(g, iteration, QUERN_FLOAT32), slots);
    for (int i = 0; i < r->n_slots; i++)
        quern__keep(o, g, k, i, slots[i]);
    return quern__assign(g, o->trained[k], next);
}

/* ---- registration ---- */

/* Appends the arguments of the class and then those of the group. */
static int take_arguments(registered *r, const quern_argument *arguments, const quern__field *rest,
                          quern_error *err)
{
    int n = 0;
    for (; arguments && arguments[n].name; n++) {
        if (n == most_arguments)
            return quern__fail(err, QUERN_INVALID, r->name, "more than %d arguments",
                               most_arguments);
        const char *text = arguments[n].fallback;
        quern_error why = { 0 };
        json_t *fallback = text ? quern__json_read(text, strlen(text), NULL, NULL, &why) : NULL;
        if (why.code == QUERN_NOMEM)
            return quern__fail(err, QUERN_NOMEM, r->name, "%s", why.text);
        if (why.code)
            return quern__fail(err, QUERN_INVALID, r->name, "the default of %s is not JSON: %s",
                               arguments[n].name, text);
        json_decref(fallback);
        r->fields[n] =
            (quern__field){ quern__strdup(arguments[n].name), QUERN__F_ANY,
                            arguments[n].fallback ? quern__strdup(arguments[n].fallback) : NULL };
        if (!r->fields[n].name || (arguments[n].fallback && !r->fields[n].fallback))
            return quern__fail_memory(err, 64);
    }
    for (; rest && rest->name; rest++)
        r->fields[n++] = *rest;
    return QUERN_OK;
}

/* Adds a row that lives until the program ends. Returns borrowed; NULL on failure. */
static registered *add_class(quern__group group, const char *name, const quern_argument *arguments,
                             const quern__field *rest, quern_error *err)
{
    const char *own = name ? strchr(name, '>') : NULL;
    quern_error none = { 0 };
    if (!own || own == name || !own[1] || strlen(name) >= sizeof all[0]->name ||
        strchr(own + 1, '>')) {
        quern__fail(err, QUERN_INVALID, "register", "'%s' is not \"package>Class\"",
                    name ? name : "");
        return NULL;
    }
    if (quern__class_find(group, own + 1, &none)) {
        quern__fail(err, QUERN_INVALID, "register", "a %s called '%s' exists already",
                    quern__group_name(group), own + 1);
        return NULL;
    }
    registered *r = n_all < most_classes ? quern__zalloc(1, sizeof *r) : NULL;
    if (!r) {
        quern__fail_memory(err, sizeof *r);
        return NULL;
    }
    snprintf(r->name, sizeof r->name, "%s", name);
    r->row =
        (quern__class){ .group = group, .registered = r->name, .aliases = "", .fields = r->fields };
    r->row.name = strchr(r->name, '>') + 1;
    if (take_arguments(r, arguments, rest, err) < 0) {
        for (int i = 0;
             i < most_arguments && r->fields[i].name && r->fields[i].kind == QUERN__F_ANY; i++) {
            quern__free((void *)r->fields[i].name);
            quern__free((void *)r->fields[i].fallback);
        }
        quern__free(r);
        return NULL;
    }
    return all[n_all++] = r;
}

int quern_register_layer(const char *name, const quern_argument *arguments, quern_build_fn *build,
                         quern_call_fn *call, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "name", name, "call", call);
    registered *r = add_class(QUERN__LAYER, name, arguments, NULL, err);
    if (!r)
        return QUERN_INVALID;
    r->build = build;
    r->call = call;
    r->row.build = build ? build_layer : NULL;
    r->row.call = call_layer;
    r->row.masks = QUERN__MASK_PASSES;
    return QUERN_OK;
}

static int add_values(quern__group group, const char *name, const quern_argument *arguments,
                      quern_value_fn *value, quern_error *err)
{
    static const quern__field reduction[] = {
        { "reduction", QUERN__F_TEXT, "\"sum_over_batch_size\"" }, { 0 }
    };
    registered *r = add_class(group, name, arguments, group == QUERN__LOSS ? reduction : NULL, err);
    if (!r)
        return QUERN_INVALID;
    r->value = value;
    r->row.own_value = own_value;
    return QUERN_OK;
}

int quern_register_loss(const char *name, const quern_argument *arguments, quern_value_fn *value,
                        quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "name", name, "value", value);
    return add_values(QUERN__LOSS, name, arguments, value, err);
}

int quern_register_metric(const char *name, const quern_argument *arguments, quern_value_fn *value,
                          quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "name", name, "value", value);
    return add_values(QUERN__METRIC, name, arguments, value, err);
}

int quern_register_optimizer(const char *name, const quern_argument *arguments,
                             const char *const *slots, quern_update_fn *update, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "name", name, "update", update);
    static const quern__field rest[] = { { "learning_rate", QUERN__F_RATE, "0.001" },
                                         QUERN__OPTIMIZER_FIELDS("null"),
                                         QUERN__OPTIMIZER_FIELDS_END };
    int n = 0;
    while (slots && slots[n])
        n++;
    if (n > QUERN__SLOTS)
        return quern__fail(err, QUERN_INVALID, "register", "more than %d slots", QUERN__SLOTS);
    registered *r = add_class(QUERN__OPTIMIZER, name, arguments, rest, err);
    if (!r)
        return QUERN_INVALID;
    for (int i = 0; i < n; i++)
        snprintf(r->slots[i], sizeof r->slots[i], "%s", slots[i]);
    r->n_slots = n;
    r->update = update;
    r->row.slots = own_slots;
    r->row.step = own_step;
    return QUERN_OK;
}

/* ---- functions for use within those functions ---- */

double quern_argument_number(const quern_custom *self, const char *name)
{
    return self && name ? quern__config_number(self->config, name) : NAN;
}
const char *quern_argument_text(const quern_custom *self, const char *name)
{
    return self && name ? quern__config_text(self->config, name) : NULL;
}

int quern_add_weight(quern_custom *self, const char *name, const quern_shape *shape,
                     const char *initializer, int trainable, quern_error *err)
{
    if (quern__missing(err, "self", self, "name", name, "shape", shape, "initializer", initializer,
                       NULL))
        return QUERN_INVALID;
    quern__layer *l = self->layer;
    json_t *config = NULL;
    const quern__class *c =
        l ? quern__parse_spec(QUERN__INITIALIZER, initializer, &config, err) : NULL;
    if (!c)
        return l ? QUERN_INVALID
                 : quern__fail(err, QUERN_INVALID, "custom", "only layers have weights");
    quern__variable *v = quern__layer_weight(l, name, shape, name, err);
    json_t *spec = v ? quern__serialize(c, config) : NULL;
    int status = v ? QUERN_OK : QUERN_NOMEM;
    if (v && !l->unfilled)
        status = quern__initialize(spec, v, l->seed + (uint64_t)l->n_weights - 1, err);
    if (v)
        v->trainable = v->trainable && trainable;
    json_decref(spec);
    json_decref(config);
    return status;
}

quern_node quern_weight(quern_custom *self, quern_graph *g, int k)
{
    if (!self || !g)
        return 0;
    quern__layer *l = self->layer;
    return l && k >= 0 && k < l->n_weights
               ? quern__graph_variable(g, l->weights[k])
               : quern__graph_fail(g, QUERN_INVALID, "weight %d does not exist", k);
}

void quern_weight_becomes(quern_custom *self, quern_graph *g, int k, quern_node x)
{
    if (!self || !g)
        return;
    quern__layer *l = self->layer;
    if (!l || k < 0 || k >= l->n_weights || x < 0 || x > quern__graph_values(g))
        quern__graph_fail(g, QUERN_INVALID, "weight %d or value %d does not exist", k, x);
    else
        quern__assign(g, l->weights[k], quern__stop_gradient(g, x));
}

void quern_add_loss(quern_custom *self, quern_graph *g, quern_node values)
{
    if (!self || !g)
        return;
    quern__layer *l = self->layer;
    quern__id mean = values > 0 && values <= quern__graph_values(g)
                         ? quern__reduce(g, QUERN__MEAN, values, ~0u, false)
                         : 0;
    if (l && mean)
        l->penalty = l->penalty ? quern__add2(g, l->penalty, mean) : mean;
}
