/* compile: creates an optimizer, a loss per output, and the log entries from a compile_config,
 * which comes from a file or from spec strings. Log entries are the loss, the losses of several
 * outputs, metrics and weighted metrics, with Keras's names (keras.src.trainers.compile_utils).
 *
 * Both ways lead to quern__compile, which reads one JSON object, as Keras's compile_config.
 * quern_compile writes the spec strings into such an object first; arguments that it does not get
 * keep their present value. The object stays in the model, and files contain it.
 *
 * For several outputs, a loss or a metric can be one value for all, a list by index, or an object
 * by name of output. */
#include "model_struct.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void quern__uncompile(quern_model *m)
{
    for (int i = 0; i < QUERN__MODES; i++)
        quern__model_drop(m, (quern__mode)i);
    for (int i = 0; i < m->n_means; i++) {
        quern__free(m->means[i].name);
        quern__accumulator_free(m->means[i].measure);
    }
    for (int i = 0; i < QUERN__MAX_IO; i++) {
        json_decref(m->loss_configs[i]);
        m->loss_configs[i] = NULL;
        m->loss_rows[i] = NULL;
    }
    json_decref(m->compile);
    m->compile = NULL;
    quern__model_set_micro_batches(m, 1, false, NULL);
    quern__optimizer_free(m->optimizer);
    m->optimizer = NULL;
    m->n_means = 0;
}

/* The part of `spec` for one output: a list by index, an object by name, or one value for all.
 * NULL: nothing. */
static json_t *of_output(const quern_model *m, json_t *spec, int output)
{
    json_t *own = spec;
    if (json_is_array(spec) && (json_array_size(spec) == (size_t)m->n_out || m->n_out == 1))
        own = json_array_get(spec, (size_t)output);
    else if (json_is_object(spec) && !json_object_get(spec, "class_name"))
        own = json_object_get(spec, quern_model_output_name(m, output));
    return json_is_null(own) ? NULL : own;
}

/* Checks that the keys of an object are names of outputs. */
static int check_names(const quern_model *m, json_t *spec, const char *what, quern_error *err)
{
    const char *key, *names[QUERN__MAX_IO];
    json_t *v;
    for (int i = 0; i < m->n_out; i++)
        names[i] = quern_model_output_name(m, i);
    if (json_array_size(spec) > 0 && m->n_out > 1 && json_array_size(spec) != (size_t)m->n_out)
        return quern__fail(err, QUERN_INVALID, what, "%zu entries for %d outputs",
                           json_array_size(spec), m->n_out);
    if (!json_is_object(spec) || json_object_get(spec, "class_name"))
        return QUERN_OK;
    json_object_foreach(spec, key, v)
    {
        bool known = false;
        for (int i = 0; i < m->n_out; i++)
            known = known || !strcmp(key, names[i]);
        if (known)
            continue;
        const char *near = quern__nearest(key, names, (size_t)m->n_out, sizeof *names);
        int status = quern__fail(err, QUERN_INVALID, what, "no output is called '%s'", key);
        if (near)
            quern__hint(err, "did you mean '%s'?", near);
        return status;
    }
    return QUERN_OK;
}

/* ---- log entries ---- */

/* Appends a number to the name when it is in use. */
static void unique_name(const quern_model *m, const char *wanted, char *out, size_t size)
{
    snprintf(out, size, "%s", wanted);
    for (int again = 1, i = 0; i < m->n_means; i++)
        if (!strcmp(m->means[i].name, out)) {
            snprintf(out, size, "%s_%d", wanted, again++);
            i = -1;
        }
}

/* Adds a log entry. Takes `measure`, which may be NULL. */
static quern__mean *add_mean(quern_model *m, const char *name, quern__accumulator *measure,
                             quern_error *err)
{
    char own[160];
    if (m->n_means == QUERN__MAX_MEANS) {
        quern__accumulator_free(measure);
        quern__fail(err, QUERN_UNSUPPORTED, "metrics", "more than %d log entries",
                    QUERN__MAX_MEANS);
        return NULL;
    }
    unique_name(m, name, own, sizeof own);
    quern__mean *mean = &m->means[m->n_means++];
    *mean = (quern__mean){ .name = quern__strdup(own), .measure = measure, .output = -1 };
    if (!mean->name)
        quern__fail_memory(err, sizeof own);
    return mean->name ? mean : NULL;
}

/* Adds the loss of an output as a log entry; output -1: the total loss. */
static int add_loss(quern_model *m, const char *name, int output, quern_error *err)
{
    quern_shape scalar = { 0 };
    quern__accumulator *measure = quern__accumulator_new(NULL, NULL, name, &scalar, &scalar, err);
    quern__mean *mean = measure ? add_mean(m, name, measure, err) : NULL;
    if (mean)
        mean->output = output;
    return mean ? QUERN_OK : QUERN_NOMEM;
}

/* Whether a log entry has this name. */
static bool taken(const quern_model *m, const char *name)
{
    for (int i = 0; i < m->n_means; i++)
        if (!strcmp(m->means[i].name, name))
            return true;
    return false;
}

/* Adds one metric of one output, from a name ("accuracy" depends on the shapes) or an object. */
static int add_metric(quern_model *m, json_t *spec, int output, bool weighted, quern_error *err)
{
    quern_shape truth, prediction = quern_model_output_shape(m, output);
    json_t *config = NULL;
    char name[96], full[200];
    quern_model_target(m, output, &truth);
    const char *given = json_string_value(spec),
               *own = quern__config_text(json_object_get(spec, "config"), "name");
    if (!given && json_is_string(json_object_get(
                      spec, "config"))) /* a function: {"class_name": "function", "config": name} */
        given = json_string_value(json_object_get(spec, "config"));
    /* the class that is meant: "accuracy" has three meanings, by the shapes */
    json_t *meant =
        given ? json_string(quern__metric_meaning(given, &truth, &prediction)) : json_incref(spec);
    const quern__class *row = quern__object(QUERN__METRIC, meant, &config, err);
    json_decref(meant);
    if (!row)
        return QUERN_NOTFOUND;
    if (row->value && row->extra >= QUERN__METRIC_OF_VALUES) {
        json_decref(config);
        return quern__fail(err, QUERN_INVALID, row->name,
                           "cannot be used as a metric of targets and predictions");
    }
    /* the name of the log entry: with its output, and with "weighted_" if the name is in use */
    if (own || given)
        snprintf(name, sizeof name, "%s", own ? own : given);
    else
        quern__snake_case(row->name, name, sizeof name);
    for (int again = 0; again < 2; again++) {
        const char *prefix = again ? "weighted_" : "";
        if (m->n_out > 1)
            snprintf(full, sizeof full, "%s_%s%s", quern_model_output_name(m, output), prefix,
                     name);
        else
            snprintf(full, sizeof full, "%s%s", prefix, name);
        if (!weighted || !taken(m, full))
            break;
    }
    quern__accumulator *measure =
        quern__accumulator_new(row, config, full, &truth, &prediction, err);
    /* a metric with several results has an entry for their mean, then one for each */
    int results = measure ? measure->n_results : -1;
    for (int k = 0; k <= results && (k == 0 || results > 1); k++) {
        quern__mean *mean = add_mean(m, full, k ? NULL : measure, err);
        if (!mean)
            return QUERN_NOMEM;
        mean->output = output;
        mean->weighted = weighted;
        mean->part = k;
        if (k == 0)
            snprintf(name, sizeof name, "%.90s", mean->name);
        if (k < results)
            snprintf(full, sizeof full, "%s[%d]", name, k);
    }
    return measure ? QUERN_OK : QUERN_INVALID;
}

/* Adds the metrics of one output; lists can be nested. */
static int add_metrics(quern_model *m, json_t *specs, int output, bool weighted, quern_error *err)
{
    json_t *spec;
    size_t k;
    if (!specs || json_is_null(specs))
        return QUERN_OK;
    if (!json_is_array(specs))
        return add_metric(m, specs, output, weighted, err);
    json_array_foreach(specs, k, spec)
    {
        int status = add_metrics(m, spec, output, weighted, err);
        if (status < 0)
            return status;
    }
    return QUERN_OK;
}

/* Adds the metrics of all outputs from a member of the compile settings. */
static int set_metrics(quern_model *m, const char *key, bool weighted, quern_error *err)
{
    json_t *specs = json_object_get(m->compile, key);
    int status = check_names(m, specs, key, err);
    for (int o = 0; o < m->n_out && status >= 0; o++) {
        bool by_name = json_is_object(specs) && !json_object_get(specs, "class_name");
        status = add_metrics(m, m->n_out == 1 && !by_name ? specs : of_output(m, specs, o), o,
                             weighted, err);
    }
    return status;
}

/* ---- losses and the optimizer ---- */

/* "crossentropy" is binary for outputs with one element. Otherwise Keras decides by the targets,
 * which are unknown here, so the name is ambiguous. Returns new; NULL on failure. */
static json_t *loss_meant(const quern_model *m, json_t *own, int output, quern_error *err)
{
    const char *name = json_string_value(own);
    quern_shape s = quern_model_output_shape(m, output);
    if (!name || (!quern__same_name(name, "crossentropy") && !quern__same_name(name, "ce")))
        return json_incref(own);
    if (s.rank && s.dims[s.rank - 1] == 1)
        return json_string("binary_crossentropy");
    quern__fail(err, QUERN_INVALID, "loss",
                "use sparse_categorical_crossentropy or categorical_crossentropy instead of '%s'",
                name);
    return NULL;
}

/* Sets the loss and loss weight of each output, and adds their log entries. At least one output
 * needs a loss. */
static int set_losses(quern_model *m, quern_error *err)
{
    json_t *losses = json_object_get(m->compile, "loss"),
           *weights = json_object_get(m->compile, "loss_weights");
    char name[160];
    int n = 0, status = check_names(m, losses, "loss", err);
    if (status >= 0)
        status = check_names(m, weights, "loss_weights", err);
    for (int i = 0; i < m->n_out && status >= 0; i++) {
        json_t *own = of_output(m, losses, i), *weight = of_output(m, weights, i);
        m->loss_weights[i] = weight ? json_number_value(weight) : 1;
        json_t *meant = own ? loss_meant(m, own, i, err) : NULL;
        m->loss_rows[i] =
            meant ? quern__object(QUERN__LOSS, meant, &m->loss_configs[i], err) : NULL;
        json_decref(meant);
        if (own && !m->loss_rows[i])
            return QUERN_NOTFOUND;
        n += own != NULL;
    }
    if (status >= 0 && n == 0)
        return quern__fail(err, QUERN_INVALID, "loss", "no output has a loss");
    if (status >= 0)
        status = add_loss(m, "loss", -1, err);
    for (int i = 0; i < m->n_out && status >= 0 && (n > 1 || (m->keras_2 && m->n_out > 1)); i++) {
        snprintf(name, sizeof name, "%s_loss", quern_model_output_name(m, i));
        if (m->loss_rows[i])
            status = add_loss(m, name, i, err);
    }
    return status;
}

/* Creates the optimizer for all trainable weights, with their constraints. */
static int set_optimizer(quern_model *m, quern_error *err)
{
    json_t *config = NULL;
    const quern__class *row =
        quern__object(QUERN__OPTIMIZER, json_object_get(m->compile, "optimizer"), &config, err);
    int n = 0, all = quern_model_weights(m);
    quern__variable **trained = quern__zalloc((size_t)all + 1, sizeof *trained);
    json_t **constraints = quern__zalloc((size_t)all + 1, sizeof *constraints);
    /* all trainable weights in the order of the model, with the constraints of their layers */
    if (trained && constraints)
        for (int k = 0; k < m->b->n; k++) {
            const quern__layer *l = m->b->nodes[k].layer;
            if (!m->b->nodes[k].again)
                for (int i = 0; i < l->n_weights; i++)
                    if (l->weights[i]->trainable) {
                        constraints[n] = quern__layer_option(l, i, "constraint");
                        trained[n++] = l->weights[i];
                    }
        }
    if (row && trained && constraints)
        m->optimizer = quern__optimizer_new(row, config, trained, constraints, n,
                                            m->sequential ? m->name : "", err);
    if (m->optimizer)
        m->optimizer->sums_rows = m->keras_2;
    quern__free(trained);
    quern__free(constraints);
    return m->optimizer ? QUERN_OK : QUERN_INVALID;
}

int quern__not_compiled(const quern_model *m, quern_error *err)
{
    quern__fail(err, QUERN_INVALID, m->name, "the model is not compiled");
    quern__hint(err, "compile it with --optimizer and --loss (quern_compile)");
    return QUERN_INVALID;
}

int quern__compile(quern_model *m, json_t *compile, quern_error *err)
{
    quern__uncompile(m);
    m->compile = compile;
    m->keras_2 = json_is_true(json_object_get(compile, "keras_2"));
    if (set_losses(m, err) >= 0 && set_optimizer(m, err) >= 0 &&
        set_metrics(m, "metrics", false, err) >= 0 &&
        set_metrics(m, "weighted_metrics", true, err) >= 0 && !quern__memory_short())
        return QUERN_OK;
    if (quern__memory_short())
        quern__fail(err, QUERN_NOMEM, "compile", "out of memory");
    quern__uncompile(m);
    return err && err->code ? err->code : QUERN_INVALID;
}

/* ---- spec strings ---- */

/* Copies the k-th part between commas outside of parentheses. Returns false when it does not exist.
 */
static bool piece(const char *text, int k, char *out, size_t size)
{
    const char *start = text;
    for (int depth = 0;; text++) {
        depth += *text == '(' ? 1 : *text == ')' ? -1 : 0;
        if (*text && (*text != ',' || depth > 0))
            continue;
        if (k-- == 0) {
            start += strspn(start, " ");
            snprintf(out, size, "%.*s", (int)(text - start), start);
            return *out != 0;
        }
        if (!*text)
            return false;
        start = text + 1;
    }
}

/* The object of a spec string. "accuracy" and similar names, whose meaning depends on shapes, stay
 * strings. */
static json_t *object_of(quern__group group, const char *words, quern_error *err)
{
    json_t *config = NULL;
    static const char *const shapes[] = { "accuracy", "acc", "crossentropy", "ce" };
    for (size_t i = group == QUERN__METRIC ? 0
                    : group == QUERN__LOSS ? 2
                                           : 4;
         i < sizeof shapes / sizeof *shapes; i++)
        if (quern__same_name(words, shapes[i]))
            return json_string(words);
    const quern__class *c = quern__parse_spec(group, words, &config, err);
    if (!c)
        return NULL;
    if (!strpbrk(words, " (") &&
        (group == QUERN__METRIC ||
         group == QUERN__LOSS)) { /* a name without arguments stays a string */
        json_decref(config);
        return c->function ? quern__serialize_function(c) : json_string(words);
    }
    json_t *spec = quern__serialize(c, config);
    json_decref(config);
    return spec;
}

/* Prefix of metrics that use sample weights. */
static const char weighted_word[] = "weighted ";
typedef enum which { ONE, PLAIN_METRICS, WEIGHTED_METRICS } which;

/* Parses "mse", "mse,mae" or "price:mse,kind:bce" into one object, a list, or an object by name of
 * output. Metrics are always lists; `asked` selects weighted or unweighted ones. */
static json_t *objects_of(quern__group group, const char *words, which asked, quern_error *err)
{
    char one[300];
    bool listed = asked != ONE;
    json_t *list = json_array(), *named = json_object(), *out;
    for (int k = 0; piece(words, k, one, sizeof one); k++) {
        size_t n = strspn(one, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");
        bool by_name = one[n] == ':';
        const char *own = by_name ? one + n + 1 : one;
        bool weighted = listed && !strncmp(own, weighted_word, sizeof weighted_word - 1);
        if (listed && weighted != (asked == WEIGHTED_METRICS))
            continue;
        json_t *spec = object_of(group, weighted ? own + sizeof weighted_word - 1 : own, err);
        one[n] = by_name ? 0 : one[n];
        if (!spec) {
            json_decref(list);
            json_decref(named);
            return NULL;
        }
        if (!by_name)
            json_array_append_new(list, spec);
        else if (!listed)
            json_object_set_new(named, one, spec);
        else {
            if (!json_object_get(named, one))
                json_object_set_new(named, one, json_array());
            json_array_append_new(json_object_get(named, one), spec);
        }
    }
    if (json_object_size(named) && json_array_size(list)) {
        quern__fail(err, QUERN_INVALID, words, "either all or none must have a name of an output");
        out = NULL;
    } else if (json_object_size(named))
        out = json_incref(named);
    else
        out = !listed && json_array_size(list) == 1 ? json_incref(json_array_get(list, 0))
                                                    : json_incref(list);
    json_decref(list);
    json_decref(named);
    return out;
}

/* The given value, otherwise the present one of the model. */
static json_t *given_or_kept(quern_model *m, const char *words, const char *key, json_t *made)
{
    return words ? made : json_incref(json_object_get(m->compile, key));
}

/* Metrics of a spec string. With several outputs, each output gets all metrics without a name.
 * Returns new; NULL on failure. */
static json_t *metrics_of(const quern_model *m, const char *words, which asked, quern_error *err)
{
    json_t *t = objects_of(QUERN__METRIC, words, asked, err), *each;
    if (!t || !json_is_array(t) || m->n_out == 1)
        return t;
    each = json_array();
    for (int i = 0; i < m->n_out; i++)
        json_array_append(each, t);
    json_decref(t);
    return each;
}

int quern_compile(quern_model *m, const char *optimizer, const char *loss, const char *metrics,
                  quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m);
    if (quern__model_waits(m, "compiling", err) < 0)
        return QUERN_INVALID;
    const char *missing = !m->compile && !optimizer ? "optimizer"
                          : !m->compile && !loss    ? "loss"
                                                    : NULL;
    if (missing)
        return quern__fail(err, QUERN_INVALID, missing,
                           "is missing: the model is not compiled yet");
    /* each setting: from its spec string, otherwise the present one */
    json_t *o = given_or_kept(m, optimizer, "optimizer",
                              optimizer ? object_of(QUERN__OPTIMIZER, optimizer, err) : NULL);
    json_t *l =
        o ? given_or_kept(m, loss, "loss", loss ? objects_of(QUERN__LOSS, loss, ONE, err) : NULL)
          : NULL;
    json_t *t = metrics && l ? metrics_of(m, metrics, PLAIN_METRICS, err) : NULL;
    json_t *w = t ? metrics_of(m, metrics, WEIGHTED_METRICS, err) : NULL, *config = NULL;
    /* the new compile_config */
    if (o && l && (w || !metrics)) {
        config = m->compile
                     ? json_deep_copy(m->compile)
                     : json_pack("{s:n, s:n, s:[], s:n, s:b, s:i, s:b}", "optimizer",
                                 "loss_weights", "metrics", "weighted_metrics", "run_eagerly", 0,
                                 "steps_per_execution", 1, "jit_compile", 0);
        json_object_set(config, "optimizer", o);
        json_object_set(config, "loss", l);
        if (w) {
            json_object_set(config, "metrics", t);
            json_object_set_new(config, "weighted_metrics",
                                json_array_size(w) || json_object_size(w) ? json_incref(w)
                                                                          : json_null());
        }
    }
    json_decref(w);
    json_decref(o);
    json_decref(l);
    json_decref(t);
    if (config)
        return quern__compile(m, config, err);
    quern__fail(err, QUERN_NOMEM, "compile", "out of memory");
    return err->code;
}
