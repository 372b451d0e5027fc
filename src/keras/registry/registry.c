/* registry: searches classes by name, and completes configs with Keras's defaults. */
#include "base/json.h"
#include "keras/keras.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

extern const quern__class *const quern__constraint_classes[],
    *const quern__schedule_classes[], *const quern__layer_classes[],
                                          *const quern__loss_classes[],
                                              *const quern__metric_classes[],
                                                  *const quern__optimizer_classes[],
                                                      *const quern__initializer_classes[],
                                                          *const quern__regularizer_classes[],
                                                              *const quern__operation_classes[];

static const struct {
    const char *name;
    const quern__class *const *rows;
} groups[QUERN__GROUPS] = {
    [QUERN__LAYER] = { "layer", quern__layer_classes },
    [QUERN__LOSS] = { "loss", quern__loss_classes },
    [QUERN__METRIC] = { "metric", quern__metric_classes },
    [QUERN__OPTIMIZER] = { "optimizer", quern__optimizer_classes },
    [QUERN__INITIALIZER] = { "initializer", quern__initializer_classes },
    [QUERN__REGULARIZER] = { "regularizer", quern__regularizer_classes },
    [QUERN__CONSTRAINT] = { "constraint", quern__constraint_classes },
    [QUERN__SCHEDULE] = { "learning rate schedule", quern__schedule_classes },
    [QUERN__OPERATION] = { "operation of keras.ops", quern__operation_classes },
};

enum { most_near = 256 };

const quern__class *const *quern__classes(quern__group group) { return groups[group].rows; }
const char *quern__group_name(quern__group group) { return groups[group].name; }

static bool has_alias(const char *aliases, const char *name)
{
    char word[64];
    for (const char *p = aliases ? aliases : ""; *p;) {
        size_t n = strcspn(p, " ");
        snprintf(word, sizeof word, "%.*s", (int)n, p);
        if (n && quern__same_name(word, name))
            return true;
        p += n + strspn(p + n, " ");
    }
    return false;
}

const quern__class *quern__class_find(quern__group group, const char *name, quern_error *err)
{
    return quern__class_among(groups[group].rows, groups[group].name, name, err);
}

/* Appends the names of a class, in snake case, that are near the searched one: its own and its
 * aliases. Returns the new number. */
static int add_names(const quern__class *c, char (*snakes)[48], const char **names, int n)
{
    quern__snake_case(c->name, snakes[n], sizeof snakes[n]);
    if (!strcmp(snakes[n], "terminate_on_na_n"))
        snprintf(snakes[n], sizeof snakes[n], "terminate_on_nan");
    names[n] = snakes[n];
    n += n + 1 < most_near;
    for (const char *p = c->aliases ? c->aliases : ""; *p && n + 1 < most_near; n++) {
        size_t length = strcspn(p, " ");
        snprintf(snakes[n], sizeof snakes[n], "%.*s", (int)length, p);
        names[n] = snakes[n];
        p += length + strspn(p + length, " ");
    }
    return n;
}

const quern__class *quern__class_among(const quern__class *const *rows, const char *what,
                                       const char *name, quern_error *err)
{
    const char *names[most_near];
    char snakes[most_near][48];
    int n = 0;
    for (int k = 0; k < QUERN__GROUPS; k++) {
        const quern__class *own =
            groups[k].rows == rows ? quern__registered((quern__group)k, name) : NULL;
        if (own)
            return own;
    }
    for (int i = 0; rows[i]; i++) {
        if (quern__same_name(rows[i]->name, name) || has_alias(rows[i]->aliases, name))
            return rows[i];
        n = add_names(rows[i], snakes, names, n);
    }
    char snake[64];
    quern__snake_case(name, snake, sizeof snake);
    const char *near = quern__nearest(snake, names, (size_t)n, sizeof *names);
    quern__fail(err, QUERN_NOTFOUND, NULL, "no %s is called '%s'", what, name);
    size_t call = strcspn(name, "(");
    if (name[call]) { /* the text looks like a Python call */
        char own[48];
        snprintf(own, sizeof own, "%.*s", (int)(call < sizeof own ? call : sizeof own - 1), name);
        quern__snake_case(own, snake, sizeof snake);
        quern__hint(err, "put arguments after the name, separated by blanks: '%s %.*s'", snake,
                    (int)strcspn(name + call + 1, ",)"), name + call + 1);
    } else if (near && rows != quern__operation_classes)
        quern__hint(err, "did you mean '%s'?", near);
    return NULL;
}

void quern__snake_case(const char *name, char *out, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; name[i] && n + 2 < size; i++) {
        bool upper = isupper((unsigned char)name[i]);
        bool after_lower =
            i && (islower((unsigned char)name[i - 1]) ||
                  (isdigit((unsigned char)name[i - 1]) && islower((unsigned char)name[i + 1])));
        bool before_lower =
            i && isupper((unsigned char)name[i - 1]) && islower((unsigned char)name[i + 1]);
        if (upper && (after_lower || before_lower))
            out[n++] = '_';
        out[n++] = (char)tolower((unsigned char)name[i]);
    }
    out[n] = 0;
}

double quern__config_number(json_t *config, const char *key)
{
    json_t *v = json_object_get(config, key);
    if (json_is_boolean(v))
        return json_is_true(v) ? 1 : 0;
    return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

int64_t quern__config_int(json_t *config, const char *key)
{
    double v = quern__config_number(config, key);
    return isfinite(v) && fabs(v) < 9e15 ? (int64_t)v : 0;
}

uint64_t quern__config_seed(json_t *config, uint64_t otherwise)
{
    json_t *seed = json_object_get(config, "seed");
    return json_is_integer(seed) ? (uint64_t)json_integer_value(seed) : otherwise;
}

bool quern__config_bool(json_t *config, const char *key)
{
    return quern__config_int(config, key) != 0;
}
uint32_t quern__config_axes(json_t *config, const char *key, int rank)
{
    json_t *axes = json_object_get(config, key), *axis;
    uint32_t mask = json_is_integer(axes) && rank > 0
                        ? 1u << ((json_integer_value(axes) % rank + rank) % rank)
                        : 0;
    size_t k;
    json_array_foreach(axes, k, axis) mask |=
        rank > 0 ? 1u << ((json_integer_value(axis) % rank + rank) % rank) : 0;
    return mask;
}

const char *quern__config_text(json_t *config, const char *key)
{
    return json_string_value(json_object_get(config, key));
}

bool quern__is_class(json_t *spec, const char *name)
{
    const char *own = quern__config_text(spec, "class_name");
    return own && !strcmp(own, name);
}

static bool whole(json_t *v)
{
    return json_is_number(v) && json_number_value(v) == floor(json_number_value(v));
}

/* Whether v is an integer or an array of integers, nested at most `depth` deep. */
static bool sizes(json_t *v, int depth)
{
    size_t k;
    json_t *item;
    bool fits = json_is_array(v) ? depth > 0 && json_array_size(v) : json_is_integer(v);
    json_array_foreach(v, k, item) fits = fits && sizes(item, depth - 1);
    return fits;
}

/* Whether JSON is a possible value of a kind of argument. null fits any kind here. */
static bool kind_fits(quern__kind_of_field kind, json_t *v)
{
    if (json_is_null(v))
        return true;
    switch (kind) {
    case QUERN__F_NUMBER:
        return json_is_number(v);
    case QUERN__F_INT:
        return whole(v);
    case QUERN__F_BOOL:
        return json_is_boolean(v);
    case QUERN__F_TEXT:
        return json_is_string(v);
    case QUERN__F_SIZES:
        return sizes(v, 1);
    case QUERN__F_EDGES:
        return sizes(v, 2);
    default:
        return true;
    }
}

int quern__field_group(const quern__field *f)
{
    switch (f->kind) {
    case QUERN__F_INITIALIZER:
        return QUERN__INITIALIZER;
    case QUERN__F_REGULARIZER:
        return QUERN__REGULARIZER;
    case QUERN__F_CONSTRAINT:
        return QUERN__CONSTRAINT;
    case QUERN__F_RATE:
        return QUERN__SCHEDULE;
    case QUERN__F_LAYER:
        return QUERN__LAYER;
    case QUERN__F_OPTIMIZER:
        return QUERN__OPTIMIZER;
    default:
        return -1;
    }
}

/* Checks one argument: its kind, and that an unsupported one has its default. */
static int check_field(const quern__class *c, const quern__field *f, json_t *v, json_t *fallback,
                       quern_error *err)
{
    static const char *const kinds[] = { "a number",
                                         "an integer",
                                         "true or false",
                                         "a name",
                                         "an integer or a tuple of integers",
                                         "an integer, or a tuple of integers or of pairs" };
    if (!kind_fits(f->kind, v)) {
        char *text = quern__json_text(v, 0);
        int status = quern__fail(err, QUERN_INVALID, c->name, "%s=%s is not %s", f->name,
                                 text ? text : "?", kinds[f->kind]);
        free(text);
        return status;
    }
    json_t *ignored = NULL;
    int group = quern__field_group(f);
    bool plain = json_is_null(v) || (f->kind == QUERN__F_RATE && json_is_number(v));
    if (group >= 0 && !plain && !quern__object((quern__group)group, v, &ignored, err))
        return err ? err->code : QUERN_INVALID;
    json_decref(ignored);
    if (f->kind == QUERN__F_ACTIVATION)
        return quern__activation_check(v, err);
    if (f->kind == QUERN__F_ONLY_DEFAULT && !json_equal(v, fallback) && !json_is_null(v))
        return quern__fail(err, QUERN_UNSUPPORTED, c->name, "%s is not in this version", f->name);
    return QUERN_OK;
}

/* Arguments of every class of a group. */
static const quern__field common_layer[] = { { "name", QUERN__F_TEXT, "null" },
                                             { "trainable", QUERN__F_BOOL, "true" },
                                             { "dtype", QUERN__F_ANY, "\"float32\"" },
                                             { "activity_regularizer", QUERN__F_REGULARIZER,
                                               "null" },
                                             { 0 } };
static const quern__field common_named[] = { { "name", QUERN__F_TEXT, "null" },
                                             { "dtype", QUERN__F_ANY, "\"float32\"" },
                                             { 0 } };
static const quern__field common_operation[] = { { "name", QUERN__F_TEXT, "null" }, { 0 } };
static const quern__field common_none[] = { { 0 } };

/* Checks the given arguments of `fields` and completes `out` with defaults. */
static int fill_config(const quern__class *c, const quern__field *fields, json_t *given,
                       json_t *out, quern_error *err)
{
    for (int i = 0; fields && fields[i].name; i++) {
        json_t *v = json_object_get(given, fields[i].name),
               *fallback = fields[i].fallback
                               ? quern__json_read(fields[i].fallback, strlen(fields[i].fallback),
                                                  NULL, NULL, NULL)
                               : NULL;
        if (fields[i].fallback && !fallback)
            return quern__fail_memory(err, sizeof *fallback);
        if (json_object_get(out, fields[i].name)) {
            json_decref(fallback);
            continue;
        }
        int status = QUERN_OK;
        if (!v && !fallback)
            status = quern__fail(err, QUERN_INVALID, c->name, "%s is missing", fields[i].name);
        else if (v)
            status = check_field(c, &fields[i], v, fallback, err);
        if (status >= 0)
            json_object_set(out, fields[i].name, v ? v : fallback);
        json_decref(fallback);
        if (status < 0)
            return status;
    }
    return QUERN_OK;
}

/* Argument names of older Keras versions with their present names. */
static const struct {
    const char *old, *now;
} renamed[] = {
    { "lr", "learning_rate" },
    { "decay", "use a schedule: learning_rate=inverse_time_decay(1e-3, 1, 1e-4)" },
    { "nb_filter", "filters" },
    { "nb_row", "kernel_size" },
    { "border_mode", "padding" },
    { "subsample", "strides" },
    { "subsample_length", "strides" },
    { "stride", "strides" },
    { "filter_length", "kernel_size" },
    { "atrous_rate", "dilation_rate" },
    { "dim_ordering", "data_format" },
    { "inner_activation", "recurrent_activation" },
    { "inner_init", "recurrent_initializer" },
    { "dropout_W", "dropout" },
    { "dropout_U", "recurrent_dropout" },
    { "alpha", "negative_slope" },
    { "input_length", "set it in the input: input 4 | embedding 100 8" },
    { "init", "kernel_initializer" },
    { "W_regularizer", "kernel_regularizer" },
    { "b_regularizer", "bias_regularizer" },
    { "W_constraint", "kernel_constraint" },
    { "bias", "use_bias" },
    { "output_dim", "units" },
    { "p", "rate" },
    { "pool_length", "pool_size" },
    { "ratio", "rate" },
    { "sigma", "stddev" },
    { "epsilon", "min_delta" },
    { "period", "save_freq" },
    { "input_shape", "add an input before the layer: input 4 | dense 8" },
    { "batch_input_shape", "add an input before the layer: input 4 batch_size=32 | dense 8" },
    { "input_dim", "add an input before the layer: input 4 | dense 8" },
};

/* The present name of an old argument that the class has, or a hint; NULL: the argument is unknown.
 */
static const char *name_now(const quern__class *c, const char *key)
{
    for (size_t i = 0; i < sizeof renamed / sizeof *renamed; i++)
        if (!strcmp(renamed[i].old, key)) {
            bool has = strchr(renamed[i].now, ' ') != NULL;
            for (int k = 0; c->fields && c->fields[k].name && !has; k++)
                has = !strcmp(c->fields[k].name, renamed[i].now);
            if (has)
                return renamed[i].now;
        }
    return NULL;
}

/* Checks that every argument is known, before the check for missing ones: the unknown argument can
 * be a misspelled one. */
static int check_known(const quern__class *c, const quern__field *common, json_t *given,
                       quern_error *err)
{
    const char *key, *names[64];
    json_t *v;
    int n = 0;
    for (; c->fields && c->fields[n].name && n < 64; n++)
        names[n] = c->fields[n].name;
    json_object_foreach(given, key, v)
    {
        if (quern__is_field(c->fields, key) || quern__is_field(common, key))
            continue;
        const char *now = name_now(c, key),
                   *near = now ? now : quern__nearest(key, names, (size_t)n, sizeof *names);
        int status = quern__fail(err, QUERN_INVALID, c->name, "no argument is called '%s'", key);
        if (near)
            quern__hint(err, strchr(near, ' ') ? "%s" : "did you mean '%s'?", near);
        return status;
    }
    return QUERN_OK;
}

/* The arguments that all classes of the group have. */
static const quern__field *common_fields(const quern__class *c)
{
    switch ((int)c->group) {
    case QUERN__LAYER:
        return common_layer;
    case QUERN__LOSS:
    case QUERN__METRIC:
        return common_named;
    case QUERN__OPERATION:
        return common_operation;
    default:
        return common_none;
    }
}

json_t *quern__config(const quern__class *c, json_t *given, bool strict, quern_error *err)
{
    json_t *out = json_object();
    const quern__field *common = common_fields(c);
    if ((strict && check_known(c, common, given, err) < 0) ||
        fill_config(c, c->fields, given, out, err) < 0 ||
        fill_config(c, common, given, out, err) < 0) {
        json_decref(out);
        return NULL;
    }
    json_object_update_missing(out, given); /* unknown members from a file stay */
    return out;
}

const quern__class *quern__object(quern__group group, json_t *spec, json_t **config,
                                  quern_error *err)
{
    const char *name =
        json_is_string(spec) ? json_string_value(spec) : quern__config_text(spec, "class_name");
    json_t *given = json_object_get(spec, "config");
    if (json_is_string(
            given)) { /* a function is {"class_name": "function", "config": "mean_squared_error"} */
        name = json_string_value(given);
        given = NULL;
    }
    json_t *fn = json_object_get(given, "fn"), *own = NULL;
    if (name && fn &&
        quern__same_name(
            name, "MeanMetricWrapper")) { /* the arguments of the function are next to its name */
        name = json_is_string(fn) ? json_string_value(fn) : quern__config_text(fn, "config");
        own = json_copy(given);
        json_object_del(own, "fn");
        given = own;
    }
    if (!name) {
        json_decref(own);
        quern__fail(err, QUERN_FORMAT, NULL, "a %s must be a name or an object",
                    groups[group].name);
        return NULL;
    }
    const quern__class *c = quern__class_find(group, name, err);
    bool understood = c && quern__understood(c, common_fields(c), given, err) >= 0;
    *config = understood ? quern__config(c, given, false, err) : NULL;
    json_decref(own);
    return *config ? c : NULL;
}

json_t *quern__serialize_function(const quern__class *c)
{
    return json_pack("{s:s, s:s, s:s, s:s}", "module", "builtins", "class_name", "function",
                     "config", c->name, "registered_name", "function");
}

json_t *quern__serialize(const quern__class *c, json_t *config)
{
    json_t *own = json_copy(config);
    if (json_is_null(json_object_get(
            own, "name"))) /* Keras generates a name then; not every class accepts null */
        json_object_del(own, "name");
    if (c->function) {
        if (!json_object_get(own, "name"))
            json_object_set_new(own, "name", json_string(c->name));
        json_object_set_new(own, "fn", quern__serialize_function(c));
        return json_pack("{s:s, s:s, s:o, s:n}", "module", c->module, "class_name",
                         "MeanMetricWrapper", "config", own, "registered_name");
    }
    return json_pack("{s:s?, s:s, s:o, s:s?}", "module", c->module, "class_name",
                     c->written ? c->written : c->name, "config", own, "registered_name",
                     c->registered);
}
