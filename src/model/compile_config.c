/* compile_config: the compile settings of a model in the form that Keras 3 reads: every object has
 * its module, names that Keras does not know become objects, and lists of metrics have no null
 * entries.
 *
 * quern accepts more than Keras writes: names in any spelling, objects without a module, and
 * settings of Keras 2. Files contain the strict form, so that keras.models.load_model reads them.
 * The optimizer is written with its current learning rate. */
#include "model_struct.h"

#include <stdio.h>
#include <string.h>

/* Whether Keras finds a loss or metric of row `c` by this name. Keras knows fewer names than quern.
 */
static bool keras_knows(const quern__class *c, const char *name)
{
    static const char *const known[] = { "mse", "mae",  "mape", "msle", "bce", "MSE",
                                         "MAE", "MAPE", "MSLE", "BCE",  "kld", "KLD" };
    static const char *const objects[] = { "FBetaScore", "CategoricalGeneralizedCrossEntropy" };
    char snake[96];
    size_t n = sizeof known / sizeof *known -
               (c->group == QUERN__METRIC ? 2 : 0); /* the last two are losses only */
    for (size_t i = 0; i < n; i++)
        if (!strcmp(name, known[i]))
            return true;
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++)
        if (!strcmp(c->name, objects[i]))
            return false;
    quern__snake_case(c->name, snake, sizeof snake);
    return !c->function && (!strcmp(name, c->name) || !strcmp(name, snake));
}

/* The position of a loss or metric; the output of a metric decides the meaning of "crossentropy".
 */
typedef struct place {
    const quern_model *m;
    quern__group group;
    int output;
} place;

/* The object of a class; a metric keeps its name. */
static json_t *object(const quern__class *c, const char *name)
{
    json_t *config = c->group == QUERN__METRIC ? json_pack("{s:s}", "name", name) : json_object(),
           *out = quern__serialize(c, config);
    json_decref(config);
    return out;
}

/* A name that Keras knows stays a string. A metric that becomes an object keeps its name in the
 * logs. */
static json_t *named(const place *at, json_t *given)
{
    const char *name = json_string_value(given), *meant = name;
    quern_shape truth, prediction = quern_model_output_shape(at->m, at->output);
    if (at->group == QUERN__METRIC &&
        (quern__same_name(name, "accuracy") || quern__same_name(name, "acc")))
        return json_incref(given); /* Keras resolves this name by shapes too */
    quern_model_target(at->m, at->output, &truth);
    if (at->group == QUERN__METRIC)
        meant = quern__metric_meaning(name, &truth, &prediction);
    const quern__class *c = quern__class_find(at->group, meant, NULL);
    return c && (meant != name || !keras_knows(c, name)) ? object(c, name) : json_incref(given);
}

/* Adds the module to an object, unless it has one or its class is unknown. */
static json_t *with_module(quern__group group, json_t *given)
{
    json_t *config = json_object_get(given, "config"), *module = json_object_get(given, "module");
    const char *name = quern__config_text(given, "class_name");
    const quern__class *c = module || !name ? NULL : quern__class_find(group, name, NULL);
    if (json_is_string(config) || !c) {
        json_t *same = json_deep_copy(given);
        if (!module && name && !strcmp(name, "MeanMetricWrapper"))
            json_object_set_new(same, "module", json_string("keras.metrics"));
        return same;
    }
    json_t *own = config ? json_incref(config) : json_object(), *out = quern__serialize(c, own);
    json_decref(own);
    return out;
}

/* The JSON that Keras 3 reads for a loss, a metric, or a list of metrics. Returns new. */
static json_t *config_written(const place *at, json_t *given)
{
    json_t *out, *v;
    size_t k;
    if (json_is_string(given))
        return named(at, given);
    if (json_is_object(given))
        return with_module(at->group, given);
    if (!json_is_array(given))
        return json_incref(given);
    out = json_array();
    json_array_foreach(given, k, v) if (!json_is_null(v))
        json_array_append_new(out, config_written(at, v));
    if (json_array_size(out) || !json_array_size(given))
        return out;
    json_decref(out); /* only null entries, which Keras 3 rejects */
    return json_null();
}

/* The index of an output by name; 0 if it is unknown. */
static int output_of(const quern_model *m, const char *name)
{
    for (int i = 0; i < m->n_out; i++)
        if (!strcmp(quern_model_output_name(m, i), name))
            return i;
    return 0;
}

/* A list by output, an object by name of output, or one value for all. */
static json_t *by_output(const quern_model *m, quern__group group, json_t *given)
{
    place at = { m, group, 0 };
    bool listed = json_is_array(given) && m->n_out > 1;
    json_t *out, *v;
    const char *key;
    size_t k;
    if (!listed && (!json_is_object(given) || json_object_get(given, "class_name")))
        return given ? config_written(&at, given) : NULL;
    out = listed ? json_array() : json_object();
    json_array_foreach(given, k, v)
    {
        at.output = k < (size_t)m->n_out ? (int)k : 0;
        json_array_append_new(out, config_written(&at, v));
    }
    json_object_foreach(given, key, v)
    {
        at.output = output_of(m, key);
        json_object_set_new(out, key, config_written(&at, v));
    }
    /* Keras 3 requires an entry for every name, null where an output has no loss */
    for (int i = 0; i < m->n_out && group == QUERN__LOSS && !listed; i++)
        if (!json_object_get(out, quern_model_output_name(m, i)))
            json_object_set_new(out, quern_model_output_name(m, i), json_null());
    return out;
}

/* Sets a member, unless the new value is missing. */
static void replace(json_t *compile, const char *key, json_t *own)
{
    if (own)
        json_object_set_new(compile, key, own);
}

json_t *quern__compiled_json(const quern_model *m)
{
    json_t *out = json_deep_copy(m->compile), *optimizer = json_object_get(out, "optimizer");
    json_t *config = quern__optimizer_config(m->optimizer),
           *own = quern__serialize(m->optimizer->kind, config);
    json_object_del(out, "keras_2"); /* the file is written in the format of Keras 3 */
    if (json_is_object(optimizer))
        json_object_update(optimizer, own);
    else
        json_object_set(out, "optimizer", own);
    replace(out, "loss", by_output(m, QUERN__LOSS, json_object_get(out, "loss")));
    replace(out, "metrics", by_output(m, QUERN__METRIC, json_object_get(out, "metrics")));
    replace(out, "weighted_metrics",
            by_output(m, QUERN__METRIC, json_object_get(out, "weighted_metrics")));
    json_decref(own);
    json_decref(config);
    return out;
}
