/* Conversions of models and weights between file formats are bit-identical, and unknown members are
 * kept. */
#include "check.h"

#include "files/files.h"

#include <quern/quern.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODELS QUERN_TEST_DATA "/keras/models/"

static char folder[64];

static const char *in_folder(const char *name)
{
    static char paths[4][200];
    static int at;
    at = (at + 1) % 4;
    snprintf(paths[at], sizeof paths[at], "%s/%s", folder, name);
    return paths[at];
}

static quern_model *opened(const char *path)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_open(path, &err);
    if (!m)
        fail_msg("%s: %s", err.where, err.text);
    return m;
}

static void same_weights(const quern_model *m, const quern_model *n)
{
    assert_int_equal(quern_model_weights(m), quern_model_weights(n));
    for (int i = 0; i < quern_model_weights(m); i++) {
        const char *pm, *pn;
        quern_tensor a = quern_model_weight(m, i, &pm), b = quern_model_weight(n, i, &pn);
        assert_string_equal(pm, pn);
        assert_memory_equal(a.data, b.data,
                            quern_dtype_size(a.dtype) * (size_t)quern_shape_count(&a.shape));
    }
}

static void zero(quern_model *m)
{
    for (int i = 0; i < quern_model_weights(m); i++) {
        quern_tensor w = quern_model_weight(m, i, NULL);
        memset(w.data, 0, quern_dtype_size(w.dtype) * (size_t)quern_shape_count(&w.shape));
    }
}

static const char *const models[] = { "nested_shared", "nested_frozen", "bilstm_mask", "mlp_adam",
                                      "masked_functional" };
enum { n_models = sizeof models / sizeof *models };

static void models_round_trip(void **state)
{
    (void)state;
    for (int i = 0; i < n_models; i++) {
        static const char *const kinds[] = { "m.keras", "m.h5" };
        char path[300];
        quern_error err = { 0 };
        snprintf(path, sizeof path, MODELS "%s/model.keras", models[i]);
        quern_model *m = opened(path);
        char *want = quern_model_summary_with(
            m, &(quern_summary_opts){ .expand_nested = 1, .show_trainable = 1 });
        for (int k = 0; k < 2; k++) {
            CHECK_OK(quern_model_save(m, in_folder(kinds[k]), &err), err);
            quern_model *n = opened(in_folder(kinds[k]));
            char *got = quern_model_summary_with(
                n, &(quern_summary_opts){ .expand_nested = 1, .show_trainable = 1 });
            same_weights(m, n);
            assert_string_equal(got, want);
            assert_int_equal(quern_model_logs(m), quern_model_logs(n));
            free(got);
            quern_model_free(n);
        }
        free(want);
        quern_model_free(m);
    }
}

static void weights_round_trip(void **state)
{
    (void)state;
    static const char *const kinds[] = { "w.weights.h5", "w.safetensors", "w.npz" };
    for (int i = 0; i < n_models; i++)
        for (int k = 0; k < 3; k++) {
            char path[300];
            quern_error err = { 0 };
            snprintf(path, sizeof path, MODELS "%s/model.keras", models[i]);
            quern_model *m = opened(path), *n = opened(path);
            zero(n);
            CHECK_OK(quern_model_save_weights(m, in_folder(kinds[k]), NULL, &err), err);
            CHECK_OK(quern_model_load_weights(n, in_folder(kinds[k]), NULL, &err), err);
            same_weights(m, n);
            zero(n);
            CHECK_OK(quern_model_load_weights(n, path, NULL, &err), err);
            same_weights(m, n);
            quern_model_free(m);
            quern_model_free(n);
        }
}

/* Weights of CuDNN layers as Keras's loader converts them, which are next to the file. */
static void weights_of_cudnn_are_transposed(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *m = opened(QUERN_TEST_DATA "/h5/cudnn.h5"),
                *n = opened(QUERN_TEST_DATA "/h5/cudnn.h5");
    zero(n);
    CHECK_OK(quern_model_load_weights(n, QUERN_TEST_DATA "/h5/cudnn.safetensors", NULL, &err), err);
    same_weights(m, n);
    quern_model_free(m);
    quern_model_free(n);
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void maps_rename_weights(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec("input 2 | dense 3", 4, &err),
                *n = quern_model_from_spec("input 2 | dense 3", 5, &err);
    write_text(
        in_folder("map"),
        "# of another program\ndense/kernel = fc.weight transposed\n\ndense/bias  =\tfc.bias\n");
    for (int k = 0; k < 2; k++) {
        const char *file = in_folder(k ? "fc.npz" : "fc.safetensors");
        CHECK_OK(quern_model_save_weights(m, file, in_folder("map"), &err), err);
        assert_int_equal(quern_model_load_weights(n, file, NULL, &err), QUERN_NOTFOUND);
        assert_non_null(strstr(err.text, "has no array 'dense/kernel'"));
        err = (quern_error){ 0 };
        zero(n);
        CHECK_OK(quern_model_load_weights(n, file, in_folder("map"), &err), err);
        same_weights(m, n);
    }
    quern_model *other = quern_model_from_spec("input 3 | dense 2 name=turned", 5, &err);
    write_text(in_folder("straight"), "turned/kernel = fc.weight\nturned/bias = short");
    assert_int_equal(
        quern_model_load_weights(other, in_folder("fc.safetensors"), in_folder("straight"), &err),
        QUERN_NOTFOUND);
    /* a matrix that was written transposed is read as its transpose without a map */
    quern_tensor a = quern_model_weight(m, 0, NULL), b = quern_model_weight(other, 0, NULL);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            assert_true(((float *)a.data)[3 * i + j] == ((float *)b.data)[2 * j + i]);
    static const char *const wrong[][2] = {
        { "dense/kernle = a", "no weight is called 'dense/kernle'" },
        { "dense/kernel a", "expected: weight = name [transposed]" },
        { "dense/kernel = a twisted", "expected: weight = name [transposed]" },
        { "dense/bias = a transposed", "not a matrix" },
        { "dense/bias = dense/kernel", "two weights are called 'dense/kernel'" }
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        err = (quern_error){ 0 };
        write_text(in_folder("wrong"), wrong[i][0]);
        assert_true(quern_model_save_weights(m, in_folder("fc.npz"), in_folder("wrong"), &err) < 0);
        if (!strstr(err.text, wrong[i][1]))
            fail_msg("%s: %s", wrong[i][0], err.text);
    }
    err = (quern_error){ 0 };
    assert_true(quern_model_save_weights(m, in_folder("fc.weights.h5"), in_folder("map"), &err) <
                0);
    assert_true(quern_model_save_weights(m, in_folder("fc.bin"), NULL, &err) < 0);
    quern_model_free(m);
    quern_model_free(n);
    quern_model_free(other);
}

static void another_model_is_refused(void **state)
{
    (void)state;
    static const char *const kinds[] = { "a.weights.h5", "a.safetensors", "a.npz", "a.h5" };
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec("input 2 | dense 3", 4, &err),
                *n = quern_model_from_spec("input 2 | dense 4", 4, &err);
    CHECK_OK(quern_model_save(m, in_folder("a.h5"), &err), err);
    for (int k = 0; k < 4; k++) {
        err = (quern_error){ 0 };
        if (k < 3)
            CHECK_OK(quern_model_save_weights(m, in_folder(kinds[k]), NULL, &err), err);
        assert_int_equal(quern_model_load_weights(n, in_folder(kinds[k]), NULL, &err), QUERN_SHAPE);
    }
    quern_model_free(m);
    quern_model_free(n);
}

/* Unknown members of a file are written back. */
static void unknown_members_stay(void **state)
{
    (void)state;
    static const char config[] =
        "{\"module\": \"keras\", \"class_name\": \"Sequential\", \"config\": {\"name\": \"m\", "
        "\"trainable\": true, "
        "\"layers\": [{\"module\": \"keras.layers\", \"class_name\": \"InputLayer\", \"config\": "
        "{\"batch_shape\": [null, 2], "
        "\"name\": \"i\", \"optional\": false}}, {\"module\": \"keras.layers\", \"class_name\": "
        "\"Dense\", \"config\": {\"name\": "
        "\"d\", "
        "\"units\": 1}}]}}";
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec("input 2 name=i | dense 1 name=d", 4, &err);
    quern__image weights = { 0 };
    CHECK_OK(quern__weights_write(m, NULL, &weights, &err), err);
    quern__member members[] = {
        { .name = "config.json", .bytes = (char *)(uintptr_t)config, .n = strlen(config) },
        { .name = "model.weights.h5", .bytes = weights.bytes, .n = weights.n },
        { .name = "notes/readme.txt", .bytes = (char *)(uintptr_t) "hello", .n = 5 }
    };
    CHECK_OK(quern__archive_write(in_folder("u.keras"), members, 3, &err), err);
    quern_model *own = opened(in_folder("u.keras"));
    CHECK_OK(quern_model_save(own, in_folder("u.keras"), &err), err);
    quern_model_free(own);
    own = opened(in_folder("u.keras"));
    CHECK_OK(quern_model_save(own, in_folder("v.keras"), &err), err);
    quern__member back[] = { { .name = "config.json" }, { .name = "notes/readme.txt" } };
    CHECK_OK(quern__archive_read(in_folder("v.keras"), back, 2, 1 << 20, &err), err);
    assert_string_equal(back[1].bytes, "hello");
    assert_non_null(strstr(back[0].bytes, "\"optional\": false"));
    quern__free(back[0].bytes);
    quern__free(back[1].bytes);
    quern__free(weights.bytes);
    quern_model_free(own);
    quern_model_free(m);
}

static void python_code_is_refused(void **state)
{
    (void)state;
    static const char *const layers[][2] = {
        { "{\"module\": \"keras.layers\", \"class_name\": \"Lambda\", \"config\": {\"name\": "
          "\"l\"}}",
          "Lambda" },
        { "{\"module\": null, \"class_name\": \"Mine\", \"config\": {\"name\": \"l\"}, "
          "\"registered_name\": \"pack>Mine\"}",
          "Mine" },
        { "{\"module\": \"builtins\", \"class_name\": \"eval\", \"config\": {\"name\": \"l\"}}",
          "eval" }
    };
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        quern_error err = { 0 };
        json_t *layer = json_loads(layers[i][0], 0, NULL), *root;
        root = json_pack("{s:s, s:{s:s, s:[{s:s, s:{s:s, s:[n,i]}}, o]}}", "class_name",
                         "Sequential", "config", "name", "m", "layers", "class_name", "InputLayer",
                         "config", "name", "i", "batch_shape", 2, layer);
        assert_null(quern__config_read(root, 1 << 20, &err));
        assert_string_equal(err.where, "layer l");
        assert_non_null(strstr(err.text, layers[i][1]));
        assert_non_null(strstr(err.text, "Python code"));
        json_decref(root);
    }
}

/* The nesting of models is limited, below the limit of the stack. */
static void depth_has_a_limit(void **state)
{
    (void)state;
    quern_error err = { 0 };
    json_t *inner =
        json_pack("{s:s, s:{s:s, s:i}}", "class_name", "Dense", "config", "name", "d", "units", 1);
    for (int i = 0; i < 200; i++)
        inner = json_pack("{s:s, s:{s:s, s:[{s:s, s:{s:s, s:[n,i]}}, o]}}", "class_name",
                          "Sequential", "config", "name", "m", "layers", "class_name", "InputLayer",
                          "config", "name", "i", "batch_shape", 1, inner);
    assert_null(quern__config_read(inner, 1 << 20, &err));
    assert_non_null(strstr(err.text, "nested more than"));
    json_decref(inner);
}

/* P19: a header with wrong sizes, types and offsets. */
static void wrong_headers_are_refused(void **state)
{
    (void)state;
    static const char *const headers[] = {
        "{\"dense/kernel\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,1000000]}}",
        ("{\"dense/kernel\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],"
         "\"data_offsets\":[0,0]}}"),
        "{\"dense/kernel\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[-24,0]}}",
        "{\"dense/kernel\":{\"dtype\":\"F8\",\"shape\":[2,3],\"data_offsets\":[0,6]}}",
        "{\"dense/kernel\":{\"dtype\":\"F32\",\"shape\":[2,-3],\"data_offsets\":[0,24]}}",
        "{\"dense/kernel\":7}",
        "[]",
        "{\"a\":1,\"a\":2}",
        "",
    };
    quern_error none = { 0 };
    quern_model *m = quern_model_from_spec("input 2 | dense 3", 4, &none);
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        char file[400] = { 0 };
        quern_error err = { 0 };
        size_t n = strlen(headers[i]);
        file[0] = (char)n;
        memcpy(file + 8, headers[i], n);
        CHECK_OK(quern__file_write(in_folder("l.safetensors"), file, 8 + n + 24, &err), err);
        assert_true(quern_model_load_weights(m, in_folder("l.safetensors"), NULL, &err) < 0);
    }
    quern_error err = { 0 };
    CHECK_OK(quern__file_write(in_folder("l.safetensors"), "\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10,
                               &err),
             err);
    assert_true(quern_model_load_weights(m, in_folder("l.safetensors"), NULL, &err) < 0);
    quern_model_free(m);
}

/* P19: a member with an impossible compression ratio, and too many members. */
static void zip_bombs_are_refused(void **state)
{
    (void)state;
    quern_error err = { 0 };
    char *bytes;
    size_t n;
    quern__member m = { .name = "config.json", .bytes = (char *)(uintptr_t) "{}", .n = 2 };
    CHECK_OK(quern__archive_write(in_folder("b.zip"), &m, 1, &err), err);
    CHECK_OK(quern__file_read(in_folder("b.zip"), 1 << 20, &bytes, &n, &err), err);
    for (size_t i = 0; i + 4 < n;
         i++) { /* its size, in its local header and in the central directory */
        size_t at = !memcmp(bytes + i, "PK\3\4", 4)   ? i + 22
                    : !memcmp(bytes + i, "PK\1\2", 4) ? i + 24
                                                      : 0;
        if (at)
            memcpy(bytes + at, "\0\0\0\2", 4);
    }
    CHECK_OK(quern__file_write(in_folder("b.zip"), bytes, n, &err), err);
    quern__free(bytes);
    m.bytes = NULL;
    assert_int_equal(quern__archive_read(in_folder("b.zip"), &m, 1, QUERN__MOST_BYTES, &err),
                     QUERN_FORMAT);
    assert_non_null(strstr(err.text, "compressed ones: impossible"));
    m.limit = 1 << 10;
    err = (quern_error){ 0 };
    assert_int_equal(quern__archive_read(in_folder("b.zip"), &m, 1, QUERN__MOST_BYTES, &err),
                     QUERN_FORMAT);
    assert_non_null(strstr(err.text, "expected at most 1024"));
}

/* Keras rejects a Hashing layer of indices with dtype float32; int64 is its default. Arrays of rows
 * are float32. */
static void hashing_is_written_as_keras_wants_it(void **state)
{
    (void)state;
    const char *const words[] = { "input 1 dtype=int64 | hashing 10",
                                  "input 1 dtype=int64 | hashing 10 output_mode=one_hot" };
    for (int k = 0; k < 2; k++) {
        quern_error err = { 0 };
        quern_model *m = quern_model_from_spec(words[k], 1, &err);
        CHECK_OK(m ? quern_model_save(m, in_folder("h.keras"), &err) : err.code, err);
        quern__member back = { .name = "config.json" };
        CHECK_OK(quern__archive_read(in_folder("h.keras"), &back, 1, 1 << 20, &err), err);
        const char *layer = strstr(back.bytes, "\"Hashing\""),
                   *dtype = layer ? strstr(layer, "\"dtype\": ") : NULL;
        assert_non_null(dtype);
        const char *want = k ? "\"float32\"" : "\"int64\"";
        assert_memory_equal(dtype + 9, want, strlen(want));
        assert_non_null(strstr(back.bytes, "\"dtype\": \"int64\"")); /* of the input */
        quern__free(back.bytes);
        quern_model_free(m);
        unlink(in_folder("h.keras"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_round_trip),
        cmocka_unit_test(weights_round_trip),
        cmocka_unit_test(weights_of_cudnn_are_transposed),
        cmocka_unit_test(maps_rename_weights),
        cmocka_unit_test(another_model_is_refused),
        cmocka_unit_test(unknown_members_stay),
        cmocka_unit_test(python_code_is_refused),
        cmocka_unit_test(depth_has_a_limit),
        cmocka_unit_test(wrong_headers_are_refused),
        cmocka_unit_test(zip_bombs_are_refused),
        cmocka_unit_test(hashing_is_written_as_keras_wants_it),
    };
    snprintf(folder, sizeof folder, "/tmp/quern-formats-%d", (int)getpid());
    mkdir(folder, 0700);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[100];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command) ? 1 : failed;
}
