/* Compile settings in files: files of Keras 2, written with tf_keras by
 * tests/data/keras/compiled/make.py, give its logs and training steps. Written files name every
 * loss and metric as Keras 3 finds it. */
#include "check.h"

#include "files/files.h"
#include "model/model_struct.h"

#include <quern/quern.h>
#include <unistd.h>

#define CASES QUERN_TEST_DATA "/keras/compiled/"
enum { RECORDS = 12, MOST = 64 };

static json_t *expected;

static int numbers(json_t *v, float *out)
{
    json_t *item;
    size_t k;
    int n = 0;
    if (json_is_number(v))
        out[n++] = (float)json_number_value(v);
    json_array_foreach(v, k, item) n += numbers(item, out + n);
    return n;
}

static quern_tensor tensor(json_t *v, float *room)
{
    quern_tensor t = { .dtype = QUERN_FLOAT32,
                       .data = room,
                       .shape = { .rank = 2, .dims = { RECORDS } } };
    t.shape.dims[1] = numbers(v, room) / RECORDS;
    return t;
}

static quern_model *opened(const char *path)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_open(path, &err);
    if (!m)
        fail_msg("%s: %s", err.where, err.text);
    return m;
}

/* Keras 3 searches an object in its module, and a name in lists that are shorter than quern's. */
static void check_written(json_t *v, const char *what)
{
    static const char *const unknown[] = { "ce", "crossentropy", "huber_loss", "logcosh",
                                           "cosine_proximity" };
    const char *key;
    json_t *item;
    size_t k;
    for (size_t i = 0; json_is_string(v) && i < sizeof unknown / sizeof *unknown; i++)
        assert_string_not_equal(json_string_value(v), unknown[i]);
    if (json_object_get(v, "class_name")) {
        if (!json_is_string(json_object_get(v, "module")))
            fail_msg("%s: %s has no module", what, json_dumps(v, 0));
        return;
    }
    json_array_foreach(v, k, item) check_written(item, what);
    json_object_foreach(v, key, item) check_written(item, what);
}

/* Metrics of an output are a list without null. */
static void check_gaps(json_t *metrics)
{
    json_t *list, *one;
    size_t k, i;
    json_array_foreach(metrics, k, list) json_array_foreach(list, i, one)
        assert_false(json_is_null(one));
}

static void check_config(const quern_model *m, const char *what)
{
    json_t *root = quern__config_write(m), *compile = json_object_get(root, "compile_config");
    static const char *const keys[] = { "loss", "metrics", "weighted_metrics" };
    for (int i = 0; i < 3; i++)
        check_written(json_object_get(compile, keys[i]), what);
    check_gaps(json_object_get(compile, "metrics"));
    check_gaps(json_object_get(compile, "weighted_metrics"));
    json_t *loss = json_object_get(compile, "loss");
    if (json_is_object(loss) && !json_object_get(loss, "class_name"))
        assert_int_equal(json_object_size(loss), m->n_out); /* Keras 3 requires every name */
    json_decref(root);
}

static void check_logs(const quern_model *m, const double *got, json_t *want, bool all,
                       const char *what)
{
    const char *key;
    json_t *v;
    json_object_foreach(want, key, v)
    {
        bool found = false;
        for (int i = 0; i < quern_model_logs(m); i++)
            if (!strcmp(quern_model_log_name(m, i), key)) {
                found = true;
                CHECK_NEAR(got[i], json_number_value(v), 1e-4, 1e-6);
            }
        /* Keras 3 does not log one loss for several outputs separately. */
        if (!found && (all || !strstr(key, "_loss")))
            fail_msg("%s: no log is called %s", what, key);
    }
}

static void check_weights(const quern_model *m, json_t *after, const char *what)
{
    float want[MOST];
    assert_int_equal(json_array_size(after), quern_model_weights(m));
    for (int i = 0; i < quern_model_weights(m); i++) {
        quern_tensor w = quern_model_weight(m, i, NULL);
        int n = numbers(json_array_get(after, (size_t)i), want);
        assert_int_equal(n, quern_shape_count(&w.shape));
        for (int k = 0; k < n; k++) {
            double gap = (double)((float *)w.data)[k] - (double)want[k];
            if (gap > 2e-5 || gap < -2e-5)
                fail_msg("%s: weight %d differs by %g", what, i, gap);
        }
    }
}

static void check_model(const char *path, const char *name, json_t *one, bool keras_2)
{
    float x_room[MOST], w[MOST], y_room[2][MOST];
    quern_error err = { 0 };
    quern_model *m = opened(path);
    json_t *targets = json_object_get(json_object_get(expected, "y"),
                                      json_string_value(json_object_get(one, "y")));
    quern_tensor x = tensor(json_object_get(expected, "x"), x_room), y[2];
    double logs[QUERN__MAX_MEANS];
    int n = (int)json_array_size(targets);
    for (int i = 0; i < n; i++)
        y[i] = tensor(json_array_get(targets, (size_t)i), y_room[i]);
    assert_int_equal(numbers(json_object_get(expected, "w"), w), RECORDS);
    assert_int_equal(m->n_out, n);
    assert_true(n <= 2);
    check_config(m, name);
    CHECK_OK(quern_evaluate(m, &x, y, n > 1 ? NULL : w, RECORDS, logs, &err), err);
    check_logs(m, logs, json_object_get(one, "logs"), keras_2, name);
    quern_history *h =
        quern_fit(m, &x, y, n > 1 ? NULL : w,
                  &(quern_fit_opts){ .epochs = 1, .batch_size = 6, .no_shuffle = true }, &err);
    if (!h || err.code)
        fail_msg("%s: %s: %s", name, err.where, err.text);
    quern_history_free(h);
    check_weights(m, json_object_get(one, "after"), name);
    quern_model_free(m);
}

static void files_of_keras_2(void **state)
{
    (void)state;
    const char *name;
    json_t *one;
    json_object_foreach(json_object_get(expected, "cases"), name, one)
    {
        char path[300];
        snprintf(path, sizeof path, CASES "%s.h5", name);
        check_model(path, name, one, true);
    }
}

/* Converts to `.keras` and then to `.h5` of Keras 3: logs and steps stay the same. */
static void converted_files(void **state)
{
    (void)state;
    const char *name;
    json_t *one;
    char folder[] = "/tmp/quern-compiled-XXXXXX", keras[64], h5[64];
    quern_error err = { 0 };
    assert_non_null(mkdtemp(folder));
    snprintf(keras, sizeof keras, "%s/m.keras", folder);
    snprintf(h5, sizeof h5, "%s/m.h5", folder);
    json_object_foreach(json_object_get(expected, "cases"), name, one)
    {
        char path[300];
        snprintf(path, sizeof path, CASES "%s.h5", name);
        quern_model *m = opened(path);
        CHECK_OK(quern_model_save(m, keras, &err), err);
        quern_model_free(m);
        check_model(keras, name, one, false);
        m = opened(keras);
        CHECK_OK(quern_model_save(m, h5, &err), err);
        quern_model_free(m);
        check_model(h5, name, one, false);
        unlink(keras);
        unlink(h5);
    }
    rmdir(folder);
}

/* Names that Keras does not know are written as objects. */
static void names_of_quern_become_objects(void **state)
{
    (void)state;
    static const char *const losses[] = { "huber_loss", "logcosh", "cosine_proximity" };
    quern_error err = { 0 };
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        quern_model *m = quern_model_from_spec("input 4 | dense 3 softmax", 1, &err);
        CHECK_OK(quern_compile(m, "sgd", losses[i], "ce,crossentropy,cosine_proximity", &err), err);
        check_config(m, losses[i]);
        quern_model_free(m);
    }
}

/* An .h5 file of Keras 3 wraps a function in a mean without a module. */
static void means_of_functions(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec("input 4 | dense 3 softmax", 1, &err);
    json_t *compile = json_loads(
        "{\"optimizer\": \"sgd\", \"loss\": \"mse\", \"metrics\": [{\"class_name\": "
        "\"MeanMetricWrapper\", "
        "\"config\": {\"name\": \"h\", \"delta\": 0.5, \"fn\": {\"module\": \"builtins\", "
        "\"class_name\": \"function\", \"config\": \"huber\", \"registered_name\": "
        "\"function\"}}}]}",
        0, NULL);
    CHECK_OK(quern__compile(m, compile, &err), err);
    assert_string_equal(quern_model_log_name(m, 1), "h");
    check_config(m, "MeanMetricWrapper");
    quern_model_free(m);
}

/* Files of Keras 2.0 to 2.2 do not have weighted metrics; their metrics are names for all outputs.
 */
static void the_oldest_settings(void **state)
{
    (void)state;
    json_t *model = json_loads("{\"class_name\": \"Model\", \"config\": {\"name\": \"m\", "
                               "\"layers\": [], \"input_layers\": [], "
                               "\"output_layers\": [[\"a\", 0, 0], [\"b\", 0, 0]]}}",
                               0, NULL);
    json_t *training =
        json_loads("{\"optimizer_config\": {\"class_name\": \"SGD\", \"config\": {\"lr\": 0.5}}, "
                   "\"loss\": \"mse\", "
                   "\"metrics\": [\"acc\"], \"sample_weight_mode\": null, \"loss_weights\": null}",
                   0, NULL);
    json_t *root = quern__legacy_config(model, training, true),
           *compile = json_object_get(root, "compile_config");
    assert_non_null(compile);
    char *metrics = json_dumps(json_object_get(compile, "metrics"), JSON_COMPACT);
    assert_string_equal(metrics, "[[\"acc\"],[\"acc\"]]");
    assert_true(json_is_null(json_object_get(compile, "weighted_metrics")));
    free(metrics);
    json_decref(root);
    json_decref(training);
    json_decref(model);
}

int main(void)
{
    json_error_t why;
    expected = json_load_file(CASES "expected.txt", 0, &why);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_of_keras_2),
        cmocka_unit_test(converted_files),
        cmocka_unit_test(names_of_quern_become_objects),
        cmocka_unit_test(means_of_functions),
        cmocka_unit_test(the_oldest_settings),
    };
    int failed = expected ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
    json_decref(expected);
    return failed;
}
