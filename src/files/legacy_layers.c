/* legacy_layers: converts layers of Keras 2 to those of Keras 3: old names of classes and
 * arguments, removed arguments, and activations and masks with other semantics. An argument that
 * affects results and has no counterpart stays in the config, so that the reader of the model
 * rejects it by name. The tables come from get_config of tf_keras 2.21 and Keras 2.4. */
#include "base/json.h"
#include "legacy.h"

#include <string.h>

static const struct {
    const char *old, *now;
} classes[] = { { "CuDNNLSTM", "LSTM" },
                { "CuDNNGRU", "GRU" },
                { "BatchNormalizationV1", "BatchNormalization" },
                { "BatchNormalizationV2", "BatchNormalization" },
                { "Model", "Functional" } };

/* Arguments without effect when they have that value (JSON; NULL: any value). `of`: NULL for every
 * class. */
static const struct {
    const char *of, *name, *value;
} gone[] = {
    { NULL, "batch_input_shape", NULL }, /* the shape of the first layer is read before */
    { NULL, "batch_size", NULL },
    { NULL, "input_dtype", NULL },
    { NULL, "input_shape", NULL },
    { NULL, "activity_regularizer", "null" },
    { "InputLayer", "sparse", "false" },
    { "InputLayer", "ragged", "false" },
    { "Embedding", "input_length", NULL },
    { "Embedding", "sparse", "false" },
    { "LSTM", "implementation", NULL },
    { "LSTMCell", "implementation", NULL },
    { "GRU", "implementation", NULL },
    { "GRUCell", "implementation", NULL },
    { "SimpleRNN", "implementation", NULL },
    { NULL, "time_major", "false" },
    { NULL, "groups", "1" },
    { "BatchNormalization", "renorm", "false" },
    { "BatchNormalization", "renorm_clipping", NULL },
    { "BatchNormalization", "renorm_momentum", NULL },
    { "BatchNormalization", "virtual_batch_size", "null" },
    { "BatchNormalization", "adjustment", "null" },
    { "BatchNormalization", "fused", NULL },
    { "BatchNormalization", "mode", "0" },
    { "SeparableConv1D", "kernel_initializer",
      NULL }, /* inherited from a base class; the layer does not have such a kernel */
    { "SeparableConv1D", "kernel_regularizer", "null" },
    { "SeparableConv1D", "kernel_constraint", "null" },
    { "SeparableConv2D", "kernel_initializer", NULL },
    { "SeparableConv2D", "kernel_regularizer", "null" },
    { "SeparableConv2D", "kernel_constraint", "null" },
    { "SpatialDropout1D", "noise_shape", "null" },
    { "SpatialDropout2D", "noise_shape", "null" },
    { "SpatialDropout3D", "noise_shape", "null" },
    { "MultiHeadAttention", "query_shape", NULL }, /* recorded at build time */
    { "MultiHeadAttention", "key_shape", NULL },
    { "MultiHeadAttention", "value_shape", NULL },
    { "MultiHeadAttention", "softmax_robust_masking", "false" },
    { "Attention", "causal", "false" },
    { "AdditiveAttention", "causal", "false" },
    { "RandomBrightness", "rng_type", NULL },
    { "RandomContrast", "rng_type", NULL },
    { "RandomCrop", "rng_type", NULL },
    { "RandomFlip", "rng_type", NULL },
    { "RandomRotation", "rng_type", NULL },
    { "RandomTranslation", "rng_type", NULL },
    { "RandomZoom", "rng_type", NULL },
};

static bool attends(json_t *spec)
{
    return quern__is_class(spec, "Attention") || quern__is_class(spec, "AdditiveAttention");
}

static void rename_class(json_t *spec, json_t *config)
{
    if (quern__is_class(spec, "CuDNNGRU"))
        json_object_set_new(config, "reset_after", json_true());
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (quern__is_class(spec, classes[i].old)) {
            json_object_set_new(spec, "class_name", json_string(classes[i].now));
            break;
        }
}

/* Removes members that Keras 3's constructors reject and that have no effect. */
static void drop_gone(const quern__class *c, json_t *config)
{
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) {
        json_t *v = json_object_get(config, gone[i].name);
        if (!v || (gone[i].of && strcmp(gone[i].of, c->name) != 0) ||
            quern__is_field(c->fields, gone[i].name))
            continue;
        if (!gone[i].value || quern__json_is(v, gone[i].value))
            json_object_del(config, gone[i].name);
    }
}

/* Adds the module that Keras 3 needs for the class of an object inside a config. */
static void name_module(json_t *spec)
{
    if (json_object_get(spec, "module"))
        return;
    json_object_set_new(spec, "module", json_string("keras.layers"));
    json_object_set_new(spec, "registered_name", json_null());
}

static void rename_member(json_t *config, const char *old, const char *now)
{
    json_t *v = json_object_get(config, old);
    if (v && !json_object_get(config, now))
        json_object_set(config, now, v);
    json_object_del(config, old);
}

/* Converts an activation: Keras 2's hard_sigmoid is clip(0.2 x + 0.5, 0, 1), Keras 3's relu6(x + 3)
 * / 6. A layer can replace a function. */
static void modern_activation(json_t *config, const char *name)
{
    json_t *v = json_object_get(config, name);
    if (json_is_string(v) && !strcmp(json_string_value(v), "hard_sigmoid")) {
        json_object_set_new(config, name, json_string("keras2_hard_sigmoid")); /* frees v */
        return;
    }
    if (quern__is_class(v, "LeakyReLU"))
        rename_member(json_object_get(v, "config"), "alpha", "negative_slope");
    if (json_is_object(v) &&
        json_is_object(json_object_get(v, "config"))) /* a layer as an activation */
        name_module(v);
}

/* Converts arguments with a new name, and sets old defaults that are different now. */
static void modern_arguments(const quern__class *c, json_t *config)
{
    modern_activation(config, "activation");
    modern_activation(config, "recurrent_activation");
    if (!strcmp(c->name, "LeakyReLU"))
        rename_member(config, "alpha", "negative_slope");
    if (!strncmp(c->name, "GRU", 3) && !json_object_get(config, "reset_after"))
        json_object_set_new(config, "reset_after", json_false());
}

void quern__legacy_layer(json_t *spec)
{
    json_t *config = json_object_get(spec, "config");
    rename_class(spec, config);
    if (quern__is_class(spec, "ThresholdedReLU")) { /* x where x > theta, otherwise 0 */
        json_object_set_new(spec, "class_name", json_string("ReLU"));
        rename_member(config, "theta", "threshold");
    }
    const char *name = quern__config_text(spec, "class_name");
    const quern__class *c = name ? quern__class_find(QUERN__LAYER, name, NULL) : NULL;
    if (!c || c->model || !c->module || c->registered)
        return;
    name_module(spec);
    modern_arguments(c, config);
    if (attends(spec) && json_object_get(spec, "inbound_nodes")) /* the call has it in Keras 3 */
        json_object_del(config, "causal");
    drop_gone(c, config);
}

/* ---- calls ---- */

static bool takes_states(const quern__class *c)
{
    for (int i = 0; c && c->call_args && c->call_args[i].name; i++)
        if (!strcmp(c->call_args[i].name, "initial_state"))
            return true;
    return false;
}

/* Keras 2 writes inputs and initial states of a recurrent layer as one list, and a causal mask of
 * attention in the config. */
void quern__legacy_call(json_t *spec, json_t *call)
{
    const char *name = quern__config_text(spec, "class_name");
    const quern__class *c = name ? quern__class_find(QUERN__LAYER, name, NULL) : NULL;
    json_t *args = json_object_get(call, "args"), *list = json_array_get(args, 0),
           *kwargs = json_object_get(call, "kwargs");
    if (takes_states(c) && json_is_array(list) && json_array_size(list) > 1) {
        json_t *first = json_incref(json_array_get(list, 0)), *states = json_copy(list);
        json_array_remove(states, 0);
        json_array_set_new(args, 0, first);
        json_object_set_new(kwargs, "initial_state", states);
    }
    if (attends(spec) && json_is_true(json_object_get(json_object_get(spec, "config"), "causal")))
        json_object_set_new(kwargs, "use_causal_mask", json_true());
}

/* ---- masks ---- */

static bool merges(json_t *spec)
{
    static const char *const rows[] = { "Add",     "Subtract", "Multiply",   "Average",
                                        "Maximum", "Minimum",  "Concatenate" };
    const char *module = quern__config_text(spec, "module");
    bool operation = module && !strncmp(module, "keras.src.ops", 13);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!operation && quern__is_class(spec, rows[i]))
            return true;
    return false;
}

/* What occurs anywhere in a model of Keras 2. */
typedef struct found {
    bool masks, merges, hard_sigmoid, local;
} found;

static void look(json_t *v, found *f)
{
    const char *key, *text = json_string_value(v);
    json_t *item;
    size_t k;
    f->masks =
        f->masks || quern__is_class(v, "Masking") || json_is_true(json_object_get(v, "mask_zero"));
    f->merges = f->merges || merges(v);
    f->local = f->local || quern__is_class(v, "LocallyConnected1D") ||
               quern__is_class(v, "LocallyConnected2D");
    f->hard_sigmoid = f->hard_sigmoid || (text && !strcmp(text, "keras2_hard_sigmoid"));
    json_array_foreach(v, k, item) look(item, f);
    json_object_foreach(v, key, item) look(item, f);
}

static void mark_merges(json_t *v)
{
    const char *key;
    json_t *item;
    size_t k;
    if (merges(v))
        json_object_set_new(json_object_get(v, "config"), "mask_all", json_true());
    json_array_foreach(v, k, item) mark_merges(item);
    json_object_foreach(v, key, item) mark_merges(item);
}

/* Layers that merge values use the intersection of masks in Keras 2 and their union in Keras 3,
 * which does not have an argument for it. */
void quern__legacy_finish(json_t *model)
{
    found f = { 0 };
    look(model, &f);
    if (f.masks && f.merges) {
        mark_merges(model);
        quern__warn("layers that merge masked values follow Keras 2; Keras 3 cannot open the model "
                    "when it is saved here");
    }
    if (f.local)
        quern__warn("LocallyConnected layers are those of Keras 2; Keras 3 cannot open the model "
                    "when it is saved here");
    if (f.hard_sigmoid)
        quern__warn("hard_sigmoid is that of Keras 2, clip(0.2 x + 0.5, 0, 1); when the model is "
                    "saved here, Keras 3 opens "
                    "it only with custom_objects={'keras2_hard_sigmoid': ...}");
}
