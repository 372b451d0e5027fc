/* optimizer: the variables of an optimizer in Keras's order, and the nodes of one call: loss
 * unscaling, gradient accumulation, clipping, the update of each variable, moving averages,
 * constraints (keras.src.optimizers.base_optimizer).
 *
 * An optimizer owns its slots; the trained variables belong to the layers. Slots are one list in
 * the order in which Keras saves them, and place[k][i] is the index of slot i of variable k. A
 * class (its descriptor row) has two functions: `slots` creates its slots, `step` adds the nodes
 * that update one variable. Everything else is here.
 *
 * Nodes that only some calls execute have a gate: the update with gradient accumulation, and the
 * copy of moving averages to the weights. A gate inside another one is their product. Counts of
 * calls are computed in float64. */
#include "optimizers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- slots ---- */

quern__variable *quern__slot_made(quern__optimizer *o, int k, int which, const char *path,
                                  int dtype, const quern_shape *shape, quern_error *err)
{
    quern__variable *v = quern__variable_new(path, dtype, shape, false, err);
    if (v) {
        v->optimizer = true;
        if (k >= 0)
            o->place[k][which] = o->n_slots;
        o->slots[o->n_slots++] = v;
    }
    return v;
}

void quern__slot_automatic(quern__optimizer *o) { o->automatic[o->n_slots - 1] = true; }

quern__variable *quern__slot(quern__optimizer *o, int k, int which, const char *name,
                             quern_error *err)
{
    char path[256];
    snprintf(path, sizeof path, "optimizer/%s_%s", o->trained[k]->path, name);
    return quern__slot_made(o, k, which, path, QUERN_FLOAT32, &o->trained[k]->shape, err);
}

quern__variable *quern__slot_of(const quern__optimizer *o, int k, int which)
{
    return o->place[k][which] < 0 ? NULL : o->slots[o->place[k][which]];
}

int quern__slots_of_all(quern__optimizer *o, int which, const char *name, bool wanted,
                        quern_error *err)
{
    if (wanted)
        for (int k = 0; k < o->n; k++)
            if (!quern__slot(o, k, which, name, err))
                return QUERN_NOMEM;
    return QUERN_OK;
}

/* Adds a slot to each variable for the base optimizer, next to the slots of the class. */
static int add_base_slots(quern__optimizer *o, const char *name, quern__variable **of,
                          quern_error *err)
{
    char path[256];
    for (int k = 0; k < o->n; k++) {
        snprintf(path, sizeof path, "optimizer/%s_%s", o->trained[k]->path, name);
        if (!(of[k] = quern__slot_made(o, -1, 0, path, QUERN_FLOAT32, &o->trained[k]->shape, err)))
            return QUERN_NOMEM;
    }
    return QUERN_OK;
}

/* ---- creation ---- */

/* The number of clipping arguments that are set; at most one is valid. */
static int clippings(const quern__optimizer *o)
{
    static const char *const clips[] = { "clipnorm", "clipvalue", "global_clipnorm" };
    int n = 0;
    for (int i = 0; i < 3; i++)
        n += !isnan(quern__option(o, clips[i]));
    return n;
}

bool quern__optimizer_clips(const quern__optimizer *o) { return clippings(o) > 0; }

/* Checks the arguments that all optimizers have. */
static int check_options(const quern__optimizer *o, quern_error *err)
{
    json_t *steps = json_object_get(o->config, "gradient_accumulation_steps"),
           *every = json_object_get(o->config, "ema_overwrite_frequency");
    double momentum = quern__option(o, "ema_momentum");
    if (clippings(o) > 1)
        return quern__fail(err, QUERN_INVALID, o->kind->name,
                           "only one of clipnorm, clipvalue, global_clipnorm can be set");
    if (json_is_number(steps) && json_number_value(steps) != 0 && !(json_number_value(steps) >= 2))
        return quern__fail(err, QUERN_INVALID, o->kind->name,
                           "gradient_accumulation_steps must be at least 2");
    if (quern__config_bool(o->config, "use_ema") && !(momentum >= 0 && momentum <= 1))
        return quern__fail(err, QUERN_INVALID, o->kind->name, "ema_momentum=%g is outside 0 … 1",
                           momentum);
    if (json_is_number(every) && json_number_value(every) != 0 && !(json_number_value(every) >= 1))
        return quern__fail(err, QUERN_INVALID, o->kind->name,
                           "ema_overwrite_frequency must be at least 1");
    return QUERN_OK;
}

/* Allocates the arrays by variable and by slot. */
static bool make_room(quern__optimizer *o)
{
    size_t n = (size_t)o->n + 1;
    o->trained = quern__zalloc(n, sizeof *o->trained);
    o->slots = quern__zalloc((QUERN__SLOTS + 2) * n + 2, sizeof *o->slots);
    o->automatic = quern__zalloc((QUERN__SLOTS + 2) * n + 2, sizeof *o->automatic);
    o->place = quern__zalloc(n, sizeof *o->place);
    o->averages = quern__zalloc(n, sizeof *o->averages);
    o->sums = quern__zalloc(n, sizeof *o->sums);
    o->undecayed = quern__zalloc(n, sizeof *o->undecayed);
    o->constraints = quern__zalloc(n, sizeof *o->constraints);
    o->inner_of = quern__zalloc(n, sizeof *o->inner_of);
    o->squares = quern__zalloc(n, sizeof *o->squares);
    return o->trained && o->slots && o->automatic && o->place && o->averages && o->sums &&
           o->undecayed && o->constraints && o->inner_of && o->squares;
}

/* The last part of a path: "kernel" of "dense/kernel". */
static const char *last_part(const char *path)
{
    return strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
}

/* Sets undecayed[k] for variables whose names contain one of the patterns. */
static int exclude(quern__optimizer *o, quern_error *err)
{
    json_t *given = json_object_get(o->config, "exclude_from_weight_decay"), *one;
    size_t i, n = json_is_array(given) ? json_array_size(given) : json_is_string(given);
    if (given && !json_is_null(given) && !json_is_array(given) && !json_is_string(given))
        return quern__fail(err, QUERN_INVALID, o->kind->name,
                           "exclude_from_weight_decay must be a pattern or a list of patterns");
    for (i = 0; i < n; i++) {
        one = json_is_array(given) ? json_array_get(given, i) : given;
        for (int k = 0; k < o->n; k++) {
            const char *pattern = json_string_value(one);
            int fits =
                pattern ? quern__pattern_fits(pattern, last_part(o->trained[k]->path), false, err)
                        : quern__fail(err, QUERN_INVALID, o->kind->name,
                                      "exclude_from_weight_decay must have patterns");
            if (fits < 0)
                return fits;
            o->undecayed[k] = o->undecayed[k] || fits;
        }
    }
    return QUERN_OK;
}

/* Creates iteration, learning rate, moving averages, accumulators and the slots of the class. */
static int make_variables(quern__optimizer *o, quern_error *err)
{
    quern_shape scalar = { 0 };
    json_t *rate = json_object_get(o->config, "learning_rate");
    o->iteration = quern__variable_new("optimizer/iteration", QUERN_INT64, &scalar, false, err);
    o->rate = o->iteration ? quern__variable_new("optimizer/learning_rate", QUERN_FLOAT32, &scalar,
                                                 false, err)
                           : NULL;
    if (!o->rate)
        return QUERN_NOMEM;
    o->schedule = json_is_object(rate) || json_is_string(rate) ? rate : NULL;
    *(float *)o->rate->data = o->schedule ? 0 : (float)json_number_value(rate);
    o->rate->optimizer = o->iteration->optimizer = true;
    int status = quern__config_bool(o->config, "use_ema")
                     ? add_base_slots(o, "average", o->averages, err)
                     : QUERN_OK;
    if (status >= 0 && quern__config_int(o->config, "gradient_accumulation_steps"))
        status = add_base_slots(o, "gradient_accumulator", o->sums, err);
    if (status < 0)
        return status;
    return o->kind->slots(o, err);
}

quern__optimizer *quern__optimizer_new(const quern__class *kind, json_t *config,
                                       quern__variable *const *trained, json_t *const *constraints,
                                       int n, const char *within, quern_error *err)
{
    quern__optimizer *o = quern__zalloc(1, sizeof *o);
    if (!o) {
        json_decref(config);
        quern__fail_memory(err, sizeof *o);
        return NULL;
    }
    *o = (quern__optimizer){ .kind = kind, .config = config, .n = n, .within = within };
    int status = make_room(o) ? check_options(o, err)
                              : quern__fail_memory(err, (size_t)n * sizeof *o->slots);
    for (int k = 0; status >= 0 && k < n; k++) {
        o->trained[k] = trained[k];
        o->constraints[k] = constraints ? constraints[k] : NULL;
        for (int i = 0; i < QUERN__SLOTS; i++)
            o->place[k][i] = -1;
    }
    if (status >= 0)
        status = exclude(o, err);
    if (status >= 0)
        status = make_variables(o, err);
    if (status >= 0)
        return o;
    quern__optimizer_free(o);
    return NULL;
}

void quern__optimizer_free(quern__optimizer *o)
{
    if (!o)
        return;
    for (int i = 0; o->slots && i < o->n_slots; i++)
        quern__variable_free(o->slots[i]);
    for (int i = 0; i < o->n_inner; i++)
        quern__optimizer_free(o->inner[i]);
    quern__variable_free(o->iteration);
    quern__variable_free(o->rate);
    quern__free(o->inner);
    quern__free(o->inner_of);
    quern__free(o->squares);
    quern__free(o->trained);
    quern__free(o->slots);
    quern__free(o->automatic);
    quern__free(o->place);
    quern__free(o->averages);
    quern__free(o->sums);
    quern__free(o->undecayed);
    quern__free(o->constraints);
    json_decref(o->config);
    quern__free(o);
}

/* ---- variables ---- */

quern__variable *quern__optimizer_variable(const quern__optimizer *o, int i)
{
    int first = o->schedule ? 1 : 2,
        own = first; /* with a schedule, Keras does not save the rate */
    /* the counter, the rate, the slots, then the variables of inner optimizers */
    if (i < first)
        return i == 0 ? o->iteration : o->rate;
    for (int k = 0; k < o->n_slots; k++)
        if (!(o->inside && o->automatic[k]) && own++ == i)
            return o->slots[k];
    for (int k = 0, at = own; k < o->n_inner; k++)
        for (int j = 0;; j++, at++) {
            quern__variable *v = quern__optimizer_variable(o->inner[k], j);
            if (!v)
                break;
            if (at == i)
                return v;
        }
    return NULL;
}

int quern__optimizer_count(const quern__optimizer *o, bool unused)
{
    int n = o->schedule ? 1 : 2;
    if (!unused)
        for (int k = 0; k < o->n_slots; k++)
            n += !(o->inside && o->automatic[k]);
    for (int i = 0; i < o->n_inner; i++)
        n += quern__optimizer_count(o->inner[i], unused);
    return n;
}

void quern__keras_path(const quern__optimizer *o, int k, char *out, size_t size)
{
    snprintf(out, size, "%s%s%s", o->within, *o->within ? "/" : "", o->trained[k]->path);
}

void quern__optimizer_prepare(quern__optimizer *o)
{
    for (int i = 0; i < o->n_inner; i++)
        quern__optimizer_prepare(o->inner[i]);
    if (o->schedule)
        *(float *)o->rate->data =
            (float)quern__schedule_rate(o->schedule, (double)*(int64_t *)o->iteration->data);
    if (o->kind->init_slots && *(int64_t *)o->iteration->data == 0)
        o->kind->init_slots(o);
}

void quern__optimizer_finalize(quern__optimizer *o)
{
    for (int i = 0; i < o->n_inner; i++)
        quern__optimizer_finalize(o->inner[i]);
    for (int k = 0; k < o->n; k++)
        if (o->averages[k])
            memcpy(quern__variable_numbers(o->trained[k]), quern__variable_numbers(o->averages[k]),
                   (size_t)quern_shape_count(&o->trained[k]->shape) * sizeof(float));
}

/* ---- gradients ---- */

quern__id quern__squares(const quern__optimizer *o, quern__graph *g, int k, quern__id gradient)
{
    if (o->squares[k])
        return o->squares[k];
    return quern__scattered(g, gradient) ? quern__each_row(g, gradient, QUERN__SQUARE, 0, 0) : 0;
}

/* The sum of squares of a gradient; of a sparse one row by row, as Keras on TensorFlow. */
static quern__id square_sum(quern__graph *g, quern__id x)
{
    return quern__reduce(g, QUERN__SUM, quern__each_row(g, x, QUERN__SQUARE, 0, 0), ~0u, false);
}

/* x * c / max(norm, c). The gradient of a table stays sparse, except for the global norm (Keras on
 * TensorFlow multiplies the sum). */
static quern__id to_norm(quern__graph *g, quern__id x, quern__id squares, double c, bool rows)
{
    quern__id norm = quern__sqrt(g, squares);
    quern__id most =
        quern__binary(g, QUERN__MAXIMUM, norm, quern__graph_constant(g, c, QUERN_FLOAT32));
    quern__id factor = quern__scale(g, quern__unary_of(g, QUERN__RECIPROCAL, most), c);
    return rows ? quern__scaled_rows(g, x, factor) : quern__mul2(g, x, factor);
}

/* Adds the clipping of gradients: by value, by norm, or by global norm. */
static void clip(quern__optimizer *o, quern__graph *g, quern__id *gradients)
{
    double norm = quern__option(o, "clipnorm"), value = quern__option(o, "clipvalue"),
           global = quern__option(o, "global_clipnorm");
    quern__id all = 0;
    if (global > 0)
        for (int k = 0; k < o->n; k++)
            if (gradients[k])
                all = all ? quern__add2(g, all, square_sum(g, gradients[k]))
                          : square_sum(g, gradients[k]);
    for (int k = 0; k < o->n; k++) {
        if (!gradients[k])
            continue;
        if (norm > 0)
            gradients[k] = to_norm(g, gradients[k], square_sum(g, gradients[k]), norm, true);
        else if (value > 0)
            gradients[k] = quern__each_row(g, gradients[k], QUERN__CLIP, -value, value);
        else if (global > 0)
            gradients[k] = to_norm(g, gradients[k], all, global, false);
    }
}

/* ---- conditional nodes ---- */

/* Combines the current gate with this one. Returns the previous gate, which the caller restores. */
static quern__id narrow(quern__graph *g, quern__id gate)
{
    quern__id before = quern__graph_gate(g, 0);
    quern__graph_gate(g, before && gate ? quern__mul2(g, before, gate) : gate);
    return before;
}

/* floor(count / n) for integers, computed with an offset against rounding. */
static quern__id whole_parts(quern__graph *g, quern__id count, double n)
{
    return quern__unary_of(g, QUERN__ROUND,
                           quern__unary(g, QUERN__AFFINE, count, 1 / n, 0.5 / n - 0.5, 0));
}

/* 1 where the count is a multiple of n, otherwise 0. */
static quern__id divides(quern__graph *g, double n, quern__id count)
{
    return quern__binary(g, QUERN__EQUAL, quern__scale(g, whole_parts(g, count, n), n), count);
}

/* Adds the gradients to those of earlier calls. When a step is due, `gradients` gets the mean of
 * all. Returns whether it is due. */
static quern__id accumulate(quern__optimizer *o, quern__graph *g, quern__id *gradients,
                            double steps, quern__id calls)
{
    quern__id due = divides(g, steps, quern__shift(g, calls, 1)),
              none = quern__graph_constant(g, 0, QUERN_FLOAT32);
    for (int k = 0; k < o->n; k++) {
        if (!gradients[k])
            continue;
        quern__id sum = quern__add2(g, quern__graph_variable(g, o->sums[k]), gradients[k]);
        quern__assign(g, o->sums[k], quern__select(g, due, none, sum));
        gradients[k] = quern__scale(g, sum, 1 / steps);
    }
    return due;
}

/* Updates the moving average of each variable, which starts as the first content; copies it to the
 * variable when that is due. */
static void average(quern__optimizer *o, quern__graph *g, quern__id *contents, quern__id steps)
{
    double every = quern__option(o, "ema_overwrite_frequency");
    quern__id later =
        quern__binary(g, QUERN__NOT_EQUAL, steps, quern__graph_constant(g, 0, QUERN_FLOAT64));
    quern__id momentum = quern__scale(g, later, quern__option(o, "ema_momentum"));
    quern__id rest = quern__unary(g, QUERN__AFFINE, momentum, -1, 1, 0);
    quern__id due = every > 0 ? divides(g, every, quern__shift(g, steps, 1)) : 0;
    for (int k = 0; k < o->n; k++) {
        quern__id v = contents[k] ? contents[k] : quern__graph_variable(g, o->trained[k]);
        quern__id kept = quern__mul2(g, momentum, quern__graph_variable(g, o->averages[k]));
        quern__id now =
            quern__assign(g, o->averages[k], quern__add2(g, kept, quern__mul2(g, rest, v)));
        if (!due)
            continue;
        quern__id before = narrow(g, due);
        contents[k] = quern__assign(g, o->trained[k], now);
        quern__graph_gate(g, before);
    }
}

/* ---- one call ---- */

/* Adds the update of each variable that has a gradient. contents[k] gets its new content. */
static void steps_of(quern__optimizer *o, quern__graph *g, const quern__id *gradients,
                     quern__id *contents, quern__id iteration)
{
    double decay = quern__option(o, "weight_decay");
    quern__id rate = quern__graph_variable(g, o->rate);
    if (o->kind->begin)
        o->kind->begin(o, g, iteration);
    for (int k = 0; k < o->n; k++)
        if (gradients[k])
            contents[k] = o->kind->step(o, g, k, gradients[k], rate, iteration,
                                        isnan(decay) || o->undecayed[k] ? 0 : decay);
}

/* Adds the nodes of one call, from unscaling of the gradients to constraints. */
static void add_update_nodes(quern__optimizer *o, quern__graph *g, quern__id *gradients,
                             quern__id *contents)
{
    double steps = quern__option(o, "gradient_accumulation_steps"),
           scale = quern__option(o, "loss_scale_factor");
    quern__id iteration = quern__graph_variable(g, o->iteration),
              calls = quern__cast(g, iteration, QUERN_FLOAT64), due = 0;
    /* undo the scale of the loss, then accumulate, clip and update */
    if (!isnan(scale))
        for (int k = 0; k < o->n; k++)
            if (gradients[k])
                gradients[k] = quern__scaled_rows(
                    g, gradients[k], quern__graph_constant(g, 1 / scale, QUERN_FLOAT32));
    if (steps >= 2) {
        due = accumulate(o, g, gradients, steps, calls);
        calls = whole_parts(g, calls, steps);
    }
    quern__id before = due ? narrow(g, due) : quern__graph_gate(g, 0);
    if (!due)
        quern__graph_gate(g, before);
    clip(o, g, gradients);
    steps_of(o, g, gradients, contents, steps >= 2 ? calls : iteration);
    quern__graph_gate(g, before);
    /* moving averages and constraints see the new contents */
    if (quern__config_bool(o->config, "use_ema"))
        average(o, g, contents, calls);
    for (int k = 0; k < o->n; k++) {
        quern__id fit =
            contents[k] && gradients[k] ? quern__constrained(g, o->constraints[k], contents[k]) : 0;
        if (fit)
            quern__assign(g, o->trained[k], fit);
    }
    quern__assign(g, o->iteration, quern__shift(g, iteration, 1));
}

void quern__optimizer_nodes(quern__optimizer *o, quern__graph *g, quern__id *gradients)
{
    char scope[64];
    if (o->sums_rows)
        for (int k = 0; k < o->n; k++)
            if (gradients[k] && quern__scattered(g, gradients[k]))
                gradients[k] = quern__unary(g, QUERN__AFFINE, gradients[k], 1, 0, 0);
    if (o->kind->wrap) {
        o->kind->wrap(o, g, gradients);
        return;
    }
    quern__snake_case(o->kind->name, scope, sizeof scope);
    quern__graph_scope(g, scope);
    quern__id *contents = quern__zalloc((size_t)o->n + 1, sizeof *contents);
    if (contents)
        add_update_nodes(o, g, gradients, contents);
    else
        quern__graph_fail(g, QUERN_NOMEM, "out of memory");
    quern__free(contents);
}

quern__id quern__optimizer_scale(const quern__optimizer *o, quern__graph *g, quern__id loss)
{
    double scale = quern__option(o, "loss_scale_factor");
    if (o->kind->scale)
        return o->kind->scale(o, g, loss);
    return isnan(scale) ? loss : quern__scale(g, loss, scale);
}
