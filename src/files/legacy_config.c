/* legacy_config: converts configs of whole-model `.h5` files of Keras 2 (keras, tf_keras) and Keras
 * 3 to those of `.keras` files: old names of classes and arguments, calls as nested lists, calls of
 * models that count from 1, metrics that wrap their function.
 */
#include "legacy.h"

#include <stdio.h>
#include <string.h>

static void set_class(json_t *spec, const char *name)
{
    json_object_set_new(spec, "class_name", json_string(name));
}

/* ---- layers ---- */

static void modern_network(json_t *spec, bool old);

/* Converts a layer in place, with its inner layers and nested models. */
static void modern_layer(json_t *spec, bool old)
{
    static const char *const inside[] = { "layer", "backward_layer", "forward_layer", "cell" };
    json_t *config = json_object_get(spec, "config"), *v;
    size_t k;
    if (!json_is_object(config) && !json_is_array(config))
        return;
    const char *name = quern__config_text(spec, "class_name");
    const quern__class *c = name ? quern__class_find(QUERN__LAYER, name, NULL) : NULL;
    if (c && c->model) {
        modern_network(spec, old);
        return;
    }
    if (c && !strcmp(c->name, "InputLayer") && !json_object_get(config, "batch_shape"))
        json_object_set(config, "batch_shape", json_object_get(config, "batch_input_shape"));
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++)
        modern_layer(json_object_get(config, inside[i]), old);
    json_array_foreach(json_object_get(config, "cells"), k, v) modern_layer(v, old);
    if (old)
        quern__legacy_layer(spec);
}

/* ---- calls ---- */

/* Whether calls of this layer count from 1: it is a model, for which call 0 is the model itself. */
static bool counts_from_1(json_t *layers, const char *name)
{
    json_t *layer;
    size_t k;
    json_array_foreach(layers, k, layer)
    {
        json_t *own = json_object_get(layer, "name"),
               *inner = json_object_get(json_object_get(layer, "config"), "layers");
        const char *first = quern__config_text(json_array_get(inner, 0), "class_name");
        if (json_is_string(own) && !strcmp(json_string_value(own), name))
            return first && !strcmp(first, "InputLayer");
    }
    return false;
}

json_t *quern__legacy_tensor(json_t *layers, json_t *list)
{
    json_t *name = json_array_get(list, 0), *call = json_array_get(list, 1),
           *output = json_array_get(list, 2);
    if (!json_is_string(name) || !json_is_integer(call) || !json_is_integer(output))
        return NULL;
    return json_pack(
        "{s:s, s:{s:[O,I,O]}}", "class_name", "__keras_tensor__", "config", "keras_history", name,
        json_integer_value(call) - counts_from_1(layers, json_string_value(name)), output);
}

/* One call: [[layer, call, output, {…}], …]. */
static json_t *modern_call(json_t *layers, json_t *call)
{
    json_t *given = json_array(), *kwargs = json_object(), *args, *v, *one;
    const char *key;
    size_t k;
    if (json_is_string(json_array_get(call, 0)))
        call = one = json_pack("[O]", call);
    else
        one = NULL;
    json_array_foreach(call, k, v)
    {
        json_t *tensor = quern__legacy_tensor(layers, v), *told;
        if (tensor)
            json_array_append_new(given, tensor);
        json_object_foreach(json_array_get(v, 3), key, told)
        {
            tensor = json_is_array(told) ? quern__legacy_tensor(layers, told) : NULL;
            if (tensor)
                json_object_set_new(kwargs, key, tensor);
            else
                json_object_set(kwargs, key, told);
        }
    }
    args = json_array_size(given) == 1 ? json_pack("[O]", json_array_get(given, 0))
                                       : json_pack("[O]", given);
    json_decref(given);
    json_decref(one);
    return json_pack("{s:o, s:o}", "args", args, "kwargs", kwargs);
}

/* One [layer, call, output] or a list of them; in Keras 3, functional models count from 1. */
static void modern_end(json_t *layers, json_t *end)
{
    json_t *layer, *v;
    size_t k;
    if (!json_is_string(json_array_get(end, 0))) {
        json_array_foreach(end, k, v) modern_end(layers, v);
        return;
    }
    const char *name = json_string_value(json_array_get(end, 0));
    json_int_t call = json_integer_value(json_array_get(end, 1)) - counts_from_1(layers, name);
    json_array_foreach(layers, k, layer)
    {
        const char *own = quern__config_text(layer, "name"),
                   *kind = quern__config_text(layer, "class_name");
        if (own && kind && !strcmp(own, name) &&
            (!strcmp(kind, "Functional") || !strcmp(kind, "Model")))
            call++;
    }
    json_array_set_new(end, 1, json_integer(call));
}

/* The first layer of a sequential model of Keras 2 can have the input shape instead of an
 * InputLayer. */
static void insert_input(json_t *layers)
{
    json_t *first = json_object_get(json_array_get(layers, 0), "config"),
           *shape = json_object_get(first, "batch_input_shape");
    const char *kind = quern__config_text(json_array_get(layers, 0), "class_name"),
               *name = quern__config_text(first, "name");
    char own[128];
    if (!shape || !kind || !strcmp(kind, "InputLayer"))
        return;
    snprintf(own, sizeof own, "%.100s_input", name ? name : "model");
    json_array_insert_new(layers, 0,
                          json_pack("{s:s, s:{s:s, s:O}}", "class_name", "InputLayer", "config",
                                    "name", own, "batch_shape", shape));
}

/* Converts a model in place: its layers, their calls, and its inputs and outputs. */
static void modern_network(json_t *spec, bool old)
{
    json_t *config = json_object_get(spec, "config"), *layers, *layer, *call;
    size_t k, i;
    if (json_is_array(config)) { /* before 2.2, the config was a list of layers */
        config = json_pack("{s:O}", "layers", config);
        json_object_set_new(spec, "config", config);
    }
    layers = json_object_get(config, "layers");
    const char *kind = quern__config_text(spec, "class_name");
    if (kind && !strcmp(kind, "Sequential"))
        insert_input(layers);
    if (old) {
        modern_end(layers, json_object_get(config, "input_layers"));
        modern_end(layers, json_object_get(config, "output_layers"));
    }
    json_array_foreach(layers, k, layer)
    {
        if (old && quern__legacy_operation(layers, layer)) /* it may replace the calls */
            continue;
        json_t *calls = json_object_get(layer, "inbound_nodes");
        json_array_foreach(calls, i, call) if (json_is_array(call))
        {
            json_t *now = modern_call(layers, call);
            if (old)
                quern__legacy_call(layer, now);
            json_array_set_new(calls, i, now);
        }
    }
    json_array_foreach(layers, k, layer) modern_layer(layer, old);
}

/* ---- compile settings ---- */

/* The argument `decay`: the rate is 1 / (1 + decay * step), which is a schedule in Keras 3. */
static void modern_decay(json_t *config)
{
    double decay = json_number_value(json_object_get(config, "decay"));
    json_t *rate = json_object_get(config, "learning_rate");
    if (decay > 0 && json_is_number(rate))
        json_object_set_new(config, "learning_rate",
                            json_pack("{s:s, s:s, s:{s:O, s:f, s:f, s:b}, s:n}", "module",
                                      "keras.optimizers.schedules", "class_name",
                                      "InverseTimeDecay", "config", "initial_learning_rate", rate,
                                      "decay_steps", 1.0, "decay_rate", decay, "staircase", 0,
                                      "registered_name"));
}

/* A schedule in the format of Keras 3: with its module, and without an empty name. */
static void modern_rate(json_t *config)
{
    json_t *rate = json_object_get(config, "learning_rate");
    const char *name = quern__config_text(rate, "class_name");
    const quern__class *c = name ? quern__class_find(QUERN__SCHEDULE, name, NULL) : NULL;
    if (c)
        json_object_set_new(config, "learning_rate",
                            quern__serialize(c, json_object_get(rate, "config")));
}

/* Keras 2 writes "Custom>Adam" for its own Adam; a registered custom class with that name takes
 * precedence. */
static void bare_name(json_t *spec)
{
    const char *name = quern__config_text(spec, "class_name");
    char own[64];
    if (!name || strncmp(name, "Custom>", 7) != 0 || quern__registered(QUERN__OPTIMIZER, name))
        return;
    snprintf(own, sizeof own, "%.60s", name + 7);
    set_class(spec, own);
}

/* Removes arguments of Keras 2 optimizers that Keras 3 does not have: execution options, and decays
 * that were read before. */
static void drop_gone(const quern__class *c, json_t *config)
{
    static const char *const gone[] = { "jit_compile", "is_legacy_optimizer", "decay", "lr",
                                        "schedule_decay" };
    if (c)
        for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
            if (!quern__is_field(c->fields, gone[i]))
                json_object_del(config, gone[i]);
}

/* Converts an optimizer, its schedule and its arguments. Returns new. */
static json_t *modern_optimizer(json_t *given)
{
    json_t *spec = json_deep_copy(given), *config = json_object_get(spec, "config");
    bare_name(spec);
    const char *name = quern__config_text(spec, "class_name");
    bool before_2_11 = !json_object_get(config, "use_ema");
    if (before_2_11 && name && !strcmp(name, "RMSprop") &&
        json_number_value(json_object_get(config, "momentum")) == 0)
        quern__warn("RMSprop: Keras before 2.11 adds epsilon to the root of the velocity, quern "
                    "and Keras 3 add it inside the root: "
                    "weights with small gradients move less");
    const quern__class *c = name ? quern__class_find(QUERN__OPTIMIZER, name, NULL) : NULL;
    if (json_object_get(config, "lr") && !json_object_get(config, "learning_rate"))
        json_object_set(config, "learning_rate", json_object_get(config, "lr"));
    if (!c || strcmp(c->name, "Nadam") != 0)
        modern_decay(config);
    else if (json_number_value(json_object_get(config, "decay")) > 0 ||
             json_object_get(config, "schedule_decay"))
        quern__warn("Nadam: schedule_decay of Keras 2 is ignored: Keras 3 uses 0.96^step");
    modern_rate(config);
    if (!json_is_true(
            json_object_get(config, "use_ema"))) { /* defaults of moving averages without use_ema */
        json_object_del(config, "ema_momentum");
        json_object_del(config, "ema_overwrite_frequency");
    }
    drop_gone(c, config);
    return spec;
}

/* Removes arguments that Keras 3 does not know, with a warning that their effect is lost. */
static void drop_arguments(const quern__class *c, json_t *config)
{
    const char *key;
    json_t *v;
    void *next;
    json_object_foreach_safe(config, next, key, v)
    {
        if (quern__is_field(c->fields, key) || !strcmp(key, "name") || !strcmp(key, "dtype"))
            continue;
        if (!json_is_null(v))
            quern__warn("%s: the argument %s of Keras 2 is ignored: Keras 3 does not have it",
                        c->name, key);
        json_object_del(config, key);
    }
}

/* Replaces a loss or metric that wraps its function (`wrapper`) by the function with its arguments.
 * Returns new. */
static json_t *unwrapped(quern__group group, json_t *given, const char *wrapper)
{
    json_t *spec = json_deep_copy(given), *config = json_object_get(spec, "config"),
           *fn = json_object_get(config, "fn");
    const char *kind = quern__config_text(spec, "class_name");
    if (kind && fn && !strcmp(kind, wrapper))
        set_class(spec,
                  json_is_string(fn) ? json_string_value(fn) : quern__config_text(fn, "config"));
    json_object_del(config, "fn");
    kind = quern__config_text(spec, "class_name");
    const quern__class *c = kind ? quern__class_find(group, kind, NULL) : NULL;
    if (c && c->module)
        drop_arguments(c, config);
    return spec;
}

/* Converts one metric, or the list of one output, whose name may have the output's name as a
 * prefix. Returns new. */
static json_t *modern_metric(json_t *given, const char *output)
{
    json_t *list, *v;
    size_t k, n = output ? strlen(output) : 0;
    if (json_is_array(given)) {
        list = json_array();
        json_array_foreach(given, k, v) json_array_append_new(list, modern_metric(v, output));
        return list;
    }
    if (!json_is_object(given) || !json_object_get(given, "class_name"))
        return json_deep_copy(given);
    json_t *spec = unwrapped(QUERN__METRIC, given, "MeanMetricWrapper"),
           *config = json_object_get(spec, "config");
    const char *name = quern__config_text(config, "name");
    if (n && name && !strncmp(name, output, n) && name[n] == '_')
        json_object_set_new(config, "name", json_string(name + n + 1));
    return spec;
}

/* Whether a list of metrics applies to every output: in Keras 2, a list without inner lists does.
 */
static bool for_every_output(json_t *given)
{
    json_t *v;
    size_t k;
    json_array_foreach(given, k, v) if (json_is_array(v)) return false;
    return json_array_size(given) > 0;
}

/* Converts metrics: an object by output, a list, or a list for each of n outputs. Returns new. */
static json_t *modern_metrics(json_t *given, const char *const *outputs, int n)
{
    json_t *out, *v;
    const char *key;
    size_t k;
    if (json_is_object(given) && !json_object_get(given, "class_name")) {
        out = json_object();
        json_object_foreach(given, key, v)
            json_object_set_new(out, key, modern_metric(v, n > 1 ? key : NULL));
        return out;
    }
    if (!json_is_array(given) || n < 2)
        return modern_metric(given, NULL);
    out = json_array();
    if (for_every_output(given))
        for (int i = 0; i < n; i++)
            json_array_append_new(out, modern_metric(given, outputs[i]));
    else
        json_array_foreach(given, k, v)
            json_array_append_new(out, modern_metric(v, k < (size_t)n ? outputs[k] : NULL));
    return out;
}

/* Converts losses. Returns new. */
static json_t *modern_losses(json_t *loss)
{
    json_t *out, *v;
    const char *key;
    size_t k;
    if (json_is_array(loss)) {
        out = json_array();
        json_array_foreach(loss, k, v) json_array_append_new(out, modern_losses(v));
        return out;
    }
    if (!json_is_object(loss))
        return loss ? json_deep_copy(loss) : json_null();
    if (!json_object_get(loss, "class_name")) {
        out = json_object();
        json_object_foreach(loss, key, v) json_object_set_new(out, key, modern_losses(v));
        return out;
    }
    out = unwrapped(QUERN__LOSS, loss, "LossFunctionWrapper");
    json_t *config = json_object_get(out, "config");
    const char *reduction = quern__config_text(config, "reduction");
    if (reduction && !strcmp(reduction, "auto"))
        json_object_del(config, "reduction");
    return out;
}

/* The names of the model's outputs, at most `room`. Returns their number. */
static int output_names(json_t *config, const char **names, int room)
{
    json_t *ends = json_object_get(config, "output_layers"), *v;
    size_t k;
    int n = 0;
    json_array_foreach(ends, k, v) if (n < room && json_is_string(json_array_get(v, 0)))
        names[n++] = json_string_value(json_array_get(v, 0));
    return n;
}

/* Warns about unknown members of the training config. sample_weight_mode is known: weights per step
 * are used wherever the targets have steps. */
static void warn_unknown(json_t *training)
{
    static const char *const known[] = { "optimizer_config",
                                         "loss",
                                         "metrics",
                                         "weighted_metrics",
                                         "loss_weights",
                                         "run_eagerly",
                                         "jit_compile",
                                         "auto_scale_loss",
                                         "sample_weight_mode",
                                         "steps_per_execution" };
    const char *key;
    json_t *v;
    json_object_foreach(training, key, v)
    {
        bool told = json_is_null(v);
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            told = told || !strcmp(key, known[i]);
        if (!told)
            quern__warn("the model was compiled with %s, which is ignored", key);
    }
}

json_t *quern__legacy_config(json_t *model, json_t *training, bool old)
{
    static const char *const same[] = { "loss_weights", "run_eagerly", "steps_per_execution",
                                        "jit_compile", "auto_scale_loss" };
    json_t *root = json_deep_copy(model), *compile;
    const char *outputs[QUERN__MAX_IO];
    const char *kind = quern__config_text(root, "class_name");
    if (kind && !strcmp(kind, "Model"))
        set_class(root, "Functional");
    modern_network(root, old);
    if (old)
        quern__legacy_finish(root);
    if (!json_object_get(training, "optimizer_config"))
        return root;
    warn_unknown(training);
    int n = output_names(json_object_get(root, "config"), outputs, QUERN__MAX_IO);
    json_t *loss = json_object_get(training, "loss"),
           *metrics = json_object_get(training, "metrics"),
           *weighted = json_object_get(training, "weighted_metrics");
    compile = json_pack("{s:o, s:o?, s:o?, s:o?}", "optimizer",
                        modern_optimizer(json_object_get(training, "optimizer_config")), "loss",
                        old ? modern_losses(loss) : json_deep_copy(loss), "metrics",
                        old ? modern_metrics(metrics, outputs, n) : json_deep_copy(metrics),
                        "weighted_metrics",
                        old ? modern_metrics(weighted, outputs, n) : json_deep_copy(weighted));
    if (compile)
        for (size_t i = 0; i < sizeof same / sizeof *same; i++)
            if (json_object_get(training, same[i]))
                json_object_set(compile, same[i], json_object_get(training, same[i]));
    if (old)
        json_object_set_new(compile, "keras_2", json_true());
    json_object_set_new(root, "compile_config", compile);
    return root;
}

json_t *quern__legacy_archive_config(json_t *root)
{
    json_t *model = json_copy(root),
           *training = json_deep_copy(json_object_get(root, "compile_config")), *out;
    json_object_del(model, "compile_config");
    json_t *optimizer = json_object_get(training, "optimizer");
    if (json_is_string(optimizer)) /* a name means the default arguments */
        json_object_set_new(training, "optimizer_config",
                            json_pack("{s:O, s:{}}", "class_name", optimizer, "config"));
    else if (optimizer)
        json_object_set(training, "optimizer_config", optimizer);
    json_object_del(training, "optimizer");
    out = quern__legacy_config(model, training, true);
    json_decref(model);
    json_decref(training);
    return out;
}
