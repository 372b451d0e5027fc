/* Unknown parts of a model file are errors with their name: keys, arguments, members and weights,
 * for every class and for whole files. The order of arguments does not matter. */
#include "check.h"
#include "files/files.h"
#include "model/model_struct.h"

#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static const char *in_folder(const char *name)
{
    static char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* Every class of every group, with an unknown key. */
static void unknown_keys_are_named(void **state)
{
    (void)state;
    int n = 0;
    for (int group = 0; group < QUERN__CALLBACK; group++)
        for (const quern__class *const *c = quern__classes((quern__group)group); *c; c++, n++) {
            quern_error err = { 0 };
            json_t *config, *spec = json_pack("{s:s, s:{s:i}}", "class_name", (*c)->name, "config",
                                              "wobble", 3);
            assert_null(quern__object((quern__group)group, spec, &config, &err));
            if (!strstr(err.text, "wobble=3"))
                fail_msg("%s: %s", (*c)->name, err.text);
            json_decref(spec);
        }
    assert_true(n > 250);
}

static void expect_call_refused(const quern__class *c, const char *node, const char *name)
{
    quern_error err = { 0 };
    quern__inbound call;
    quern_blueprint *b = quern_blueprint_new(1);
    json_t *own = json_loads(node, 0, NULL);
    assert_non_null(own);
    int status = quern__inbound_read(b, c, own, &call, "layer l", &err);
    if (status != QUERN_UNSUPPORTED || !strstr(err.text, name))
        fail_msg("%s, %s: %d %s", c->name, node, status, err.text);
    json_decref(call.options);
    json_decref(own);
    quern_blueprint_free(b);
}

/* Every layer and operation, with an unknown keyword argument, an extra positional argument, and an
 * unknown member of the node. */
static void unknown_arguments_are_named(void **state)
{
    (void)state;
    static const int groups[] = { QUERN__LAYER, QUERN__OPERATION };
    for (int k = 0; k < 2; k++)
        for (const quern__class *const *c = quern__classes((quern__group)groups[k]); *c; c++) {
            if (strcmp((*c)->name, "Rearrange")) /* its keywords are names in the pattern */
                expect_call_refused(*c, "{\"args\": [], \"kwargs\": {\"wobble\": 3}}", "'wobble'");
            expect_call_refused(
                *c, "{\"args\": [null, null, null, null, null, null, null, 3], \"kwargs\": {}}",
                "'8'");
            expect_call_refused(*c, "{\"args\": [], \"kwargs\": {}, \"wobble\": 3}", "'wobble'");
        }
}

/* A file with this config and the weights of `m`. */
static void write_model(const quern_model *m, const char *config)
{
    quern_error err = { 0 };
    quern__image weights = { 0 };
    CHECK_OK(quern__weights_write(m, NULL, &weights, &err), err);
    quern__member members[] = {
        { .name = "config.json", .bytes = (char *)(uintptr_t)config, .n = strlen(config) },
        { .name = "model.weights.h5", .bytes = weights.bytes, .n = weights.n }
    };
    CHECK_OK(quern__archive_write(in_folder("m.keras"), members, 2, &err), err);
    quern__free(weights.bytes);
}

static void expect_refused(const quern_model *m, json_t *root, const char *text)
{
    quern_error err = { 0 };
    char *config = json_dumps(root, 0);
    write_model(m, config);
    quern_model *own = quern_model_open(in_folder("m.keras"), &err);
    if (own || !strstr(err.text, text))
        fail_msg("expected '%s': %s", text, own ? "it opens" : err.text);
    free(config);
}

static char warned[1000];

static void note_warning(void *user, int level, const char *text)
{
    (void)user, (void)level;
    snprintf(warned, sizeof warned, "%s", text);
}

static void expect_uncompiled(const quern_model *m, json_t *root, const char *text)
{
    quern_error err = { 0 };
    char *config = json_dumps(root, 0);
    write_model(m, config);
    quern_set_log(note_warning, NULL);
    quern_model *own = quern_model_open(in_folder("m.keras"), &err);
    quern_set_log(NULL, NULL);
    if (!own || own->optimizer || !strstr(warned, text))
        fail_msg("expected a warning with '%s': %s, %s", text, own ? warned : err.text,
                 own && own->optimizer ? "compiled" : "");
    quern_model_free(own);
    free(config);
}

/* A dtype policy that rounds values otherwise than float32 is reported; float32 is not. */
static void other_policies_are_reported(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec("input 4 | dense 3 | dense 2", 1, &err);
    assert_non_null(m);
    json_t *root = quern__config_write(m),
           *layer = json_array_get(json_object_get(json_object_get(root, "config"), "layers"), 2);
    for (int other = 0; other < 2; other++) {
        json_object_set_new(json_object_get(layer, "config"), "dtype",
                            json_pack("{s:s, s:s, s:{s:s}, s:n}", "module", "keras", "class_name",
                                      "DTypePolicy", "config", "name",
                                      other ? "mixed_float16" : "float32", "registered_name"));
        char *config = json_dumps(root, 0);
        write_model(m, config);
        *warned = 0;
        quern_set_log(note_warning, NULL);
        quern_model *own = quern_model_open(in_folder("m.keras"), &err);
        quern_set_log(NULL, NULL);
        if (!own)
            fail_msg("%s: %s", err.where, err.text);
        assert_string_equal(warned, other ? "layer 'dense_1' has the dtype policy mixed_float16; "
                                            "this version computes in float32"
                                          : "");
        quern_model_free(own);
        free(config);
    }
    json_decref(root);
    quern_model_free(m);
}

/* An additional key at each level of a config. */
static void unknown_members_are_named(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec(
        "input 4 | dense 3 kernel_initializer=random_normal(0.1) | dropout 0.5", 1, &err);
    assert_non_null(m);
    CHECK_OK(quern_compile(m, "adam", "mse", "", &err), err);
    json_t *root = quern__config_write(m), *config = json_object_get(root, "config"),
           *layer = json_array_get(json_object_get(config, "layers"), 1);
    json_t *const places[] = { root, config, layer, json_object_get(layer, "config"),
                               json_object_get(json_object_get(json_object_get(layer, "config"),
                                                               "kernel_initializer"),
                                               "config") };
    json_t *compile = json_object_get(root, "compile_config"), *const compiled[] = {
        compile, json_object_get(json_object_get(compile, "optimizer"), "config")
    };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        assert_true(json_is_object(places[i]));
        json_object_set_new(places[i], "wobble", json_integer(3));
        expect_refused(m, root, "wobble");
        json_object_del(places[i], "wobble");
    }
    for (int i = 0; i < 2; i++) { /* a compile part that is not understood: uncompiled, with a
                                     warning that names it */
        json_object_set_new(compiled[i], "wobble", json_integer(3));
        expect_uncompiled(m, root, "wobble");
        json_object_del(compiled[i], "wobble");
    }
    json_decref(root);
    quern_model_free(m);
}

/* Weights of a layer that the model does not have, and an extra weight of a layer that it has. */
static void extra_weights_are_named(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *small = quern_model_from_spec("input 4 | dense 3", 1, &err),
                *large = quern_model_from_spec("input 4 | dense 3 | dense 2", 1, &err),
                *bare = quern_model_from_spec("input 4 | dense 3 use_bias=false", 1, &err);
    assert_true(small && large && bare);
    const char *path = in_folder("w.weights.h5");
    CHECK_OK(quern_model_save_weights(large, path, NULL, &err), err);
    assert_int_equal(quern_model_load_weights(small, path, NULL, &err), QUERN_UNSUPPORTED);
    assert_non_null(strstr(err.text, "layers/dense_1/vars/0"));
    CHECK_OK(quern_model_save_weights(small, path, NULL, &err), err);
    assert_int_equal(quern_model_load_weights(bare, path, NULL, &err), QUERN_UNSUPPORTED);
    assert_non_null(strstr(err.text, "layers/dense/vars/1"));
    quern_model_free(small);
    quern_model_free(large);
    quern_model_free(bare);
}

/* Every layer group of Keras's files, with an additional dataset. */
typedef struct spare {
    quern__h5_file *to;
    const char *only;
    int met;
} spare;

static int copy_layer(void *user, quern__layer *l, const char *group, quern_error *err)
{
    spare *s = user;
    char path[512];
    int status = QUERN_OK;
    for (int i = 0; status >= 0 && i < l->n_weights && !l->kind->model; i++) {
        snprintf(path, sizeof path, "%s/%s", group, l->places[i]);
        status = quern__h5_write_variable(s->to, path, l->weights[i], err);
    }
    if (status < 0 || !s->only || strcmp(s->only, group) != 0)
        return status;
    quern_shape shape = { .rank = 1, .dims = { 1 } };
    quern__variable *v = quern__variable_new("spare", QUERN_FLOAT32, &shape, false, err);
    snprintf(path, sizeof path, "%s/vars/77", group);
    status = v ? quern__h5_write_variable(s->to, path, v, err) : QUERN_NOMEM;
    quern__variable_free(v);
    return status;
}

typedef struct groups {
    char names[32][200];
    int n;
} groups;

static int note_group(void *user, quern__layer *l, const char *group, quern_error *err)
{
    groups *g = user;
    (void)l, (void)err;
    if (g->n < 32)
        snprintf(g->names[g->n++], sizeof g->names[0], "%s", group);
    return QUERN_OK;
}

static void extra_weights_of_every_layer_are_named(void **state)
{
    (void)state;
    static const char *const models[] = { "nested_shared",    "bilstm_mask", "mini_gpt",
                                          "time_distributed", "wide_deep",   "conv1d_text" };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char path[300], want[260];
        quern_error err = { 0 };
        groups all = { 0 };
        snprintf(path, sizeof path, QUERN_TEST_DATA "/keras/models/%s/model.keras", models[i]);
        quern_model *m = quern_model_open(path, &err);
        if (!m)
            fail_msg("%s: %s", err.where, err.text);
        CHECK_OK(quern__model_walk(m, note_group, &all, &err), err);
        for (int k = 0; k < all.n; k++) {
            quern__image image = { 0 };
            spare s = { .to = quern__h5_create(NULL, &image, &err), .only = all.names[k] };
            CHECK_OK(quern__model_walk(m, copy_layer, &s, &err), err);
            CHECK_OK(quern__h5_finish(s.to, &err), err);
            snprintf(want, sizeof want, "%s/vars/77", all.names[k]);
            if (quern__weights_read(m, "w.h5", image.bytes, image.n, &err) != QUERN_UNSUPPORTED ||
                !strstr(err.text, want))
                fail_msg("%s: %s is ignored: %s", models[i], want, err.text);
            err = (quern_error){ 0 };
            quern__free(image.bytes);
        }
        quern_model_free(m);
    }
}

/* Members of assets/ that no layer reads. */
static void extra_assets_are_named(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec("input 4 | dense 3", 1, &err);
    json_t *root = quern__config_write(m);
    char *config = json_dumps(root, 0);
    quern__image weights = { 0 };
    CHECK_OK(quern__weights_write(m, NULL, &weights, &err), err);
    quern__member members[] = {
        { .name = "config.json", .bytes = config, .n = strlen(config) },
        { .name = "model.weights.h5", .bytes = weights.bytes, .n = weights.n },
        { .name = "assets/layers/dense/table.txt", .bytes = config, .n = 3 }
    };
    CHECK_OK(quern__archive_write(in_folder("m.keras"), members, 3, &err), err);
    assert_null(quern_model_open(in_folder("m.keras"), &err));
    assert_non_null(strstr(err.text, "assets/layers/dense/table.txt"));
    free(config);
    quern__free(weights.bytes);
    json_decref(root);
    quern_model_free(m);
}

/* docs/files.md names every supported operation. */
static void operations_are_documented(void **state)
{
    (void)state;
    static char text[1 << 16];
    FILE *f = fopen(QUERN_SOURCE_DIR "/docs/files.md", "rb");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    for (const quern__class *const *c = quern__classes(QUERN__OPERATION); *c; c++) {
        const char *at = text;
        size_t n = strlen((*c)->name);
        while ((at = strstr(at, (*c)->name)) && (at[-1] != ' ' || (at[n] != ',' && at[n] != ' ')))
            at++;
        if (!at)
            fail_msg("docs/files.md does not name the operation %s", (*c)->name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_keys_are_named),
        cmocka_unit_test(unknown_arguments_are_named),
        cmocka_unit_test(unknown_members_are_named),
        cmocka_unit_test(other_policies_are_reported),
        cmocka_unit_test(extra_weights_are_named),
        cmocka_unit_test(extra_weights_of_every_layer_are_named),
        cmocka_unit_test(extra_assets_are_named),
        cmocka_unit_test(operations_are_documented),
    };
    snprintf(folder, sizeof folder, "/tmp/quern-unread-%d", (int)getpid());
    mkdir(folder, 0700);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[100];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command) ? 1 : failed;
}
