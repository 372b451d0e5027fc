/* Files of Keras 2 (tf_keras): a model before and during its training, and runs of the real
 * fit_generator. */
#include "models.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* One run of fit_generator from the weights of the file: a limited number of batches, then the
 * generator ends. */
static void check_run(model_case *k, const char *name, json_t *run)
{
    json_t *arguments = json_object_get(run, "arguments"), *sizes = json_array(),
           *own = json_object_get(k->c->spec, "batch_sizes");
    const char *validation = quern__config_text(run, "validation"), *key;
    char file[300], prefix[64], weights[200] = "";
    quern_error err = { 0 };
    feed train, valid;
    json_t *w;
    for (json_int_t i = 0; i < json_integer_value(json_object_get(run, "generator_batches")); i++)
        json_array_append(sizes, json_array_get(own, (size_t)i));
    json_object_foreach(json_object_get(arguments, "class_weight"), key, w)
        snprintf(weights + strlen(weights), sizeof weights - strlen(weights), "%s%s:%.17g",
                 *weights ? "," : "", key, json_number_value(w));
    snprintf(file, sizeof file, "%.250s.h5", k->c->name);
    snprintf(prefix, sizeof prefix, "%.60s.", name);
    quern_callback_ops ops = { feed_next, feed_reset };
    bool ready = open_model(k, file) && feed_of(k, "", sizes, &train);
    if (ready && quern_compile(k->m, "adam learning_rate=0.01",
                               quern__config_text(k->c->spec, "loss"), "accuracy", &err) < 0)
        case_error(k->c, &err);
    quern_fit_opts o = {
        .epochs = json_integer_value(json_object_get(arguments, "epochs")),
        .initial_epoch = json_integer_value(json_object_get(arguments, "initial_epoch")),
        .batch_size = 8,
        .steps_per_epoch = json_integer_value(json_object_get(arguments, "steps_per_epoch")),
        .validation_steps = json_integer_value(json_object_get(arguments, "validation_steps")),
        .validation_freq = json_integer_value(json_object_get(arguments, "validation_freq")),
        .class_weight = *weights ? weights : NULL,
        .no_shuffle = true
    };
    bool arrays = validation && !strcmp(validation, "arrays");
    json_t *batches = arrays ? NULL : json_object_get(k->c->spec, "val_batch_sizes");
    if (ready && validation && feed_of(k, "v", batches, &valid)) {
        valid.records =
            arrays ? 20 : valid.records; /* in batches of 8: means over records are the same */
        o.validation_data = quern_callback_generator(&ops, &valid);
    }
    quern_generator *g = ready ? quern_callback_generator(&ops, &train) : NULL;
    quern_history *h = k->c->result == PASSED ? quern_fit_generator(k->m, g, &o, &err) : NULL;
    if (h) {
        check_history(k, h, 0, json_object_get(run, "history"), prefix);
        check_weights(k, prefix);
    } else if (k->c->result == PASSED)
        case_error(k->c, &err);
    quern_history_free(h);
    quern_generator_free(g);
    quern_generator_free(o.validation_data);
    json_decref(sizes);
}

void run_legacy(test_case *c)
{
    model_case k = { .c = c,
                     .fit = json_object_get(c->spec, "fit"),
                     .tolerance = json_object_get(c->spec, "tolerance") };
    json_t *runs = json_object_get(c->spec, "runs"), *run;
    const char *name;
    char file[300];
    char *slash = strrchr(c->folder, '/'); /* files next to the case */
    *(slash ? slash : c->folder) = 0;
    k.batch_size = runs ? 8 : json_integer_value(json_object_get(k.fit, "batch_size"));
    json_object_foreach(runs, name, run) if (c->result == PASSED) check_run(&k, name, run);
    snprintf(file, sizeof file, "%.250s.h5", c->name);
    if (!runs && open_model(&k, file)) {
        check_predictions(&k, "y", "predict");
        check_training(&k, 0);
        check_predictions(&k, "y_after", "after");
    }
    snprintf(file, sizeof file, "%.250s.trained.h5", c->name);
    if (!runs && c->result == PASSED && open_model(&k, file)) {
        check_training(&k, 2);
        check_predictions(&k, "y_after", "after");
    }
    quern_model_free(k.m);
}
