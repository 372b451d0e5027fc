/* optimizer_wrappers: LossScaleOptimizer scales the loss up before differentiation and skips steps
 * with gradients that are not finite. MultiOptimizer assigns each variable to one of several
 * optimizers. Formulas: keras-team/keras 3.
 *
 * A wrapper has inner optimizers instead of a `step`; `wrap` adds their nodes. It owns them, and
 * its variables come before theirs in files. LossScaleOptimizer doubles the scale after
 * dynamic_growth_steps finite steps, and halves it after a step that is not finite. The step itself
 * has a gate, so that no weight and no slot changes. */
#include "optimizers.h"

#include <math.h>
#include <string.h>

enum { most_inner = 64 };

/* Creates an inner optimizer from its config, for the variables of `o` with mine[k] (NULL: all). */
static int add_inner(quern__optimizer *o, json_t *spec, const bool *mine, quern_error *err)
{
    json_t *config = NULL;
    const quern__class *row = quern__object(QUERN__OPTIMIZER, spec, &config, err);
    int n = 0, status = row ? QUERN_OK : QUERN_INVALID;
    quern__variable **trained = quern__zalloc((size_t)o->n + 1, sizeof *trained);
    json_t **constraints = quern__zalloc((size_t)o->n + 1, sizeof *constraints);
    if (row && row->wrap)
        status = quern__fail(err, QUERN_INVALID, o->kind->name, "%s cannot be an inner optimizer",
                             row->name);
    else if (row && (!trained || !constraints))
        status = quern__fail_memory(err, (size_t)o->n * sizeof *trained);
    for (int k = 0; status >= 0 && k < o->n; k++)
        if (!mine || mine[k]) {
            o->inner_of[k] = o->n_inner;
            constraints[n] = o->constraints[k];
            trained[n++] = o->trained[k];
        }
    if (status >= 0) /* the wrapper does the scaling */
        json_object_set(config, "loss_scale_factor",
                        mine ? json_object_get(o->config, "loss_scale_factor") : json_null());
    o->inner[o->n_inner] =
        status < 0 ? NULL
                   : quern__optimizer_new(row, config, trained, constraints, n, o->within, err);
    if (status < 0)
        json_decref(config);
    else if (o->inner[o->n_inner])
        o->n_inner++;
    else
        status = QUERN_INVALID;
    quern__free(trained);
    quern__free(constraints);
    return status;
}

/* Allocates the list of n inner optimizers. */
static int room_for(quern__optimizer *o, size_t n, quern_error *err)
{
    if (n > most_inner)
        return quern__fail(err, QUERN_UNSUPPORTED, o->kind->name, "more than %d optimizers",
                           most_inner);
    o->inner = quern__zalloc(n, sizeof *o->inner);
    return o->inner ? QUERN_OK : quern__fail_memory(err, n * sizeof *o->inner);
}

quern__optimizer *quern__optimizer_leader(quern__optimizer *o)
{
    return o && o->kind == &quern__loss_scale_optimizer ? o->inner[0] : o;
}

double quern__optimizer_rate(const quern__optimizer *o) { return *(const float *)o->rate->data; }

void quern__optimizer_set_rate(quern__optimizer *o, double rate)
{
    *(float *)o->rate->data = (float)rate;
}

bool quern__optimizer_has_schedule(const quern__optimizer *o) { return o->schedule; }
bool quern__optimizer_has_several(const quern__optimizer *o) { return o->n_inner > 0; }

/* ---- LossScaleOptimizer ---- */

enum { COUNTER, SCALE };

/* Adds the step counter and the scale, and creates the inner optimizer. */
static int scaling_slots(quern__optimizer *o, quern_error *err)
{
    quern_shape scalar = { 0 };
    quern__variable *scale = NULL;
    double initial = quern__option(o, "initial_scale");
    if (!(initial > 0))
        return quern__fail(err, QUERN_INVALID, o->kind->name, "initial_scale=%g is not above 0",
                           initial);
    if (quern__slot_made(o, -1, 0, "optimizer/step_counter", QUERN_INT64, &scalar, err))
        scale = quern__slot_made(o, -1, 0, "optimizer/dynamic_scale", QUERN_FLOAT32, &scalar, err);
    if (!scale)
        return QUERN_NOMEM;
    *(float *)scale->data = (float)initial;
    int status = room_for(o, 1, err);
    if (status >= 0)
        status = add_inner(o, json_object_get(o->config, "inner_optimizer"), NULL, err);
    if (status >= 0)
        o->inner[0]->inside = true;
    return status;
}

static quern__id scaling_scale(const quern__optimizer *o, quern__graph *g, quern__id loss)
{
    return quern__mul2(g, loss, quern__graph_variable(g, o->slots[SCALE]));
}

/* 1 where every element of every gradient is finite, otherwise 0. */
static quern__id all_finite(quern__graph *g, const quern__id *gradients, int n)
{
    quern__id all = 0;
    for (int k = 0; k < n; k++) {
        quern__id finite =
            gradients[k]
                ? quern__reduce(g, QUERN__REDUCE_MIN,
                                quern__unary_of(g, QUERN__FINITE, gradients[k]), ~0u, false)
                : 0;
        all = all && finite ? quern__mul2(g, all, finite) : all ? all : finite;
    }
    return all;
}

/* Adds the inner step with a gate on finite gradients, and the update of the scale. */
static void scaling_wrap(quern__optimizer *o, quern__graph *g, quern__id *gradients)
{
    quern__graph_scope(g, "loss_scale_optimizer");
    quern__id finite = all_finite(g, gradients, o->n),
              scale = quern__graph_variable(g, o->slots[SCALE]);
    quern__id inverse = quern__unary_of(g, QUERN__RECIPROCAL, scale),
              none = quern__graph_constant(g, 0, QUERN_FLOAT32);
    quern__id counter = quern__cast(g, quern__graph_variable(g, o->slots[COUNTER]), QUERN_FLOAT32);
    quern__id last =
        quern__graph_constant(g, quern__option(o, "dynamic_growth_steps") - 1, QUERN_FLOAT32);
    /* the next scale and count after a finite step */
    quern__id full = quern__binary(g, QUERN__EQUAL, counter, last);
    quern__id grown = quern__select(g, full, quern__scale(g, scale, 2), scale);
    quern__id next = quern__select(g, full, none, quern__shift(g, counter, 1));
    if (!finite)
        return;
    quern__assign(g, o->slots[SCALE], quern__select(g, finite, grown, quern__scale(g, scale, 0.5)));
    quern__assign(g, o->slots[COUNTER],
                  quern__cast(g, quern__select(g, finite, next, none), QUERN_INT64));
    for (int k = 0; k < o->n; k++)
        gradients[k] = gradients[k] ? quern__scaled_rows(g, gradients[k], inverse) : 0;
    quern__id before = quern__graph_gate(g, finite);
    quern__optimizer_nodes(o->inner[0], g, gradients);
    quern__graph_gate(g, before);
}

/* ---- MultiOptimizer ---- */

/* Marks the variables that a pattern selects: the one with exactly this path, otherwise those whose
 * whole path matches. */
static int claimed(const quern__optimizer *o, json_t *map, const char *key, bool *mine,
                   quern_error *err)
{
    char path[512];
    for (int k = 0; k < o->n; k++) {
        quern__keras_path(o, k, path, sizeof path);
        bool named = json_object_get(map, path) != NULL;
        int fits = named ? !strcmp(path, key) : quern__pattern_fits(key, path, true, err);
        if (fits < 0)
            return fits;
        if (fits && o->inner_of[k] >= 0)
            return quern__fail(err, QUERN_INVALID, o->kind->name, "several optimizers match %s",
                               path);
        mine[k] = fits;
    }
    return QUERN_OK;
}

/* Creates the inner optimizers and assigns the variables by patterns. */
static int multi_slots(quern__optimizer *o, quern_error *err)
{
    json_t *spec = json_object_get(json_object_get(o->config, "optimizer_map"), "config"), *one;
    json_t *map = json_object_get(spec, "optimizer_map"),
           *rest = json_object_get(spec, "default_optimizer");
    const char *key;
    bool *mine = quern__zalloc((size_t)o->n + 1, sizeof *mine);
    if (!rest) {
        quern__free(mine);
        return quern__fail(err, QUERN_INVALID, o->kind->name,
                           "optimizer_map is not an OptimizerMap");
    }
    int status =
        mine ? room_for(o, json_object_size(map) + 1, err) : quern__fail_memory(err, (size_t)o->n);
    for (int k = 0; k < o->n; k++)
        o->inner_of[k] = -1;
    json_object_foreach(map, key, one)
    {
        if (status >= 0)
            status = claimed(o, map, key, mine, err);
        if (status >= 0)
            status = add_inner(o, one, mine, err);
    }
    if (mine)
        for (int k = 0; k < o->n; k++)
            mine[k] = o->inner_of[k] < 0;
    if (status >= 0)
        status = add_inner(o, rest, mine, err);
    quern__free(mine);
    return status;
}

/* Runs each inner optimizer with the gradients of its variables. */
static void multi_wrap(quern__optimizer *o, quern__graph *g, quern__id *gradients)
{
    quern__id *own = quern__zalloc((size_t)o->n + 1, sizeof *own);
    if (!own) {
        quern__graph_fail(g, QUERN_NOMEM, "out of memory");
        return;
    }
    for (int i = 0; i < o->n_inner; i++) {
        int n = 0;
        for (int k = 0; k < o->n; k++)
            if (o->inner_of[k] == i)
                own[n++] = gradients[k];
        if (n)
            quern__optimizer_nodes(o->inner[i], g, own);
    }
    quern__free(own);
    quern__assign(g, o->iteration, quern__shift(g, quern__graph_variable(g, o->iteration), 1));
}

/* ---- files ---- */

/* The object of an optimizer in a config, with the current rates. Returns new. */
static json_t *spec_of(const quern__optimizer *o)
{
    json_t *config = quern__optimizer_config(o), *spec = quern__serialize(o->kind, config);
    json_decref(config);
    return spec;
}

json_t *quern__optimizer_config(const quern__optimizer *o)
{
    json_t *config = json_deep_copy(o->config), *map, *one;
    const char *key;
    void *next;
    int i = 0;
    json_object_del(config, "exclude_from_weight_decay");
    if (!o->kind->wrap && !o->schedule)
        json_object_set_new(config, "learning_rate", json_real(*(float *)o->rate->data));
    if (o->kind == &quern__loss_scale_optimizer)
        json_object_set_new(config, "inner_optimizer", spec_of(o->inner[0]));
    if (o->kind != &quern__multi_optimizer)
        return config;
    map = json_object_get(json_object_get(config, "optimizer_map"), "config");
    json_object_foreach_safe(json_object_get(map, "optimizer_map"), next, key, one)
        json_object_set_new(json_object_get(map, "optimizer_map"), key, spec_of(o->inner[i++]));
    json_object_set_new(map, "default_optimizer", spec_of(o->inner[i]));
    return config;
}

/* ---- rows ---- */

static const quern__field scaling_fields[] = { { "inner_optimizer", QUERN__F_OPTIMIZER, NULL },
                                               { "initial_scale", QUERN__F_NUMBER, "32768.0" },
                                               { "dynamic_growth_steps", QUERN__F_INT, "2000" },
                                               { "name", QUERN__F_TEXT, "null" },
                                               { 0 } };
static const quern__field multi_fields[] = { { "optimizer_map", QUERN__F_ANY, NULL },
                                             { "loss_scale_factor", QUERN__F_NUMBER, "null" },
                                             { "name", QUERN__F_TEXT, "null" },
                                             { 0 } };
const quern__class quern__loss_scale_optimizer = { .group = QUERN__OPTIMIZER,
                                                   .name = "LossScaleOptimizer",
                                                   .aliases = "",
                                                   .module = "keras.optimizers",
                                                   .fields = scaling_fields,
                                                   .slots = scaling_slots,
                                                   .scale = scaling_scale,
                                                   .wrap = scaling_wrap };
const quern__class quern__multi_optimizer = { .group = QUERN__OPTIMIZER,
                                              .name = "MultiOptimizer",
                                              .aliases = "",
                                              .module = "keras.optimizers",
                                              .fields = multi_fields,
                                              .slots = multi_slots,
                                              .wrap = multi_wrap };
