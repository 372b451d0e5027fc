/* Quantized models: all formats have the same whole numbers, and other quantizations are refused.
 */
#include "check.h"

#include <quern/quern.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODELS QUERN_TEST_DATA "/keras_ops/models/"

static char folder[64];
static const char *const models[] = { "int8_words", "int4_words", "int4_groups", "int4_channels",
                                      "float8_dense" };

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
        quern_tensor a = quern_model_weight(m, i, NULL), b = quern_model_weight(n, i, NULL);
        assert_true(quern_shape_equal(&a.shape, &b.shape));
        assert_memory_equal(a.data, b.data,
                            quern_dtype_size(a.dtype) * (size_t)quern_shape_count(&a.shape));
    }
}

static void all_formats_have_the_same_numbers(void **state)
{
    static const char *const kinds[] = { "m.keras", "m.h5", "m.weights.h5", "m.npz",
                                         "m.safetensors" };
    (void)state;
    for (size_t k = 0; k < sizeof models / sizeof *models; k++)
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
            char from[300], to[300];
            quern_error err = { 0 };
            snprintf(from, sizeof from, MODELS "%s/model.keras", models[k]);
            snprintf(to, sizeof to, "%s/%s", folder, kinds[i]);
            quern_model *m = opened(from), *n = opened(from);
            CHECK_OK(i < 2 ? quern_model_save(m, to, &err)
                           : quern_model_save_weights(m, to, NULL, &err),
                     err);
            if (i < 2) {
                quern_model_free(n);
                n = opened(to);
            } else {
                for (int w = 0; w < quern_model_weights(n); w++) {
                    quern_tensor t = quern_model_weight(n, w, NULL);
                    memset(t.data, 0, sizeof(float) * (size_t)quern_shape_count(&t.shape));
                }
                CHECK_OK(quern_model_load_weights(n, to, NULL, &err), err);
            }
            same_weights(m, n);
            quern_model_free(m);
            quern_model_free(n);
            unlink(to);
        }
}

/* The text of the error for a layer of a spec string with this dtype policy. */
static void check_refused(const char *layer, const char *policy, const char *want)
{
    char spec[200];
    quern_error err = { 0 };
    snprintf(spec, sizeof spec, "input 4 | %s dtype=%s", layer, policy);
    assert_null(quern_model_from_spec(spec, 1, &err));
    if (!strstr(err.text, want))
        fail_msg("'%s', not '%s'", err.text, want);
}

static void other_quantizations_are_refused(void **state)
{
    (void)state;
    check_refused("dense 2", "gptq/4/128_from_float32",
                  "the quantization 'gptq/4/128' is not in this version");
    check_refused("dense 2", "int4/0_from_float32", "block_size must be at least 1, or -1");
    check_refused("dense 2", "int4/x_from_float32", "the quantization 'int4/x' is not");
    check_refused("embedding 4 2", "float8_from_float32", "the quantization 'float8' is not");
    check_refused("dropout 0.2", "int8_from_float32",
                  "Dropout with the quantization 'int8' is not in this version");
}

static void float8_is_not_trained(void **state)
{
    quern_error err = { 0 };
    float x[12] = { 0 }, y[6] = { 0 };
    quern_model *m = opened(MODELS "float8_dense/model.keras");
    quern_tensor in = { .dtype = QUERN_FLOAT32,
                        .shape = { .rank = 2, .dims = { 2, 6 } },
                        .data = x },
                 out = { .dtype = QUERN_FLOAT32,
                         .shape = { .rank = 2, .dims = { 2, 3 } },
                         .data = y };
    quern_generator *g = quern_array_generator(&in, 1, &out, 1, NULL, NULL);
    (void)state;
    CHECK_OK(quern_compile(m, "sgd", "mse", NULL, &err), err);
    assert_null(quern_fit_generator(m, g, &(quern_fit_opts){ .epochs = 1 }, &err));
    if (!strstr(err.text, "training with rounding to"))
        fail_msg("%s: %s", err.where, err.text);
    quern_generator_free(g);
    quern_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(all_formats_have_the_same_numbers),
                                        cmocka_unit_test(other_quantizations_are_refused),
                                        cmocka_unit_test(float8_is_not_trained) };
    snprintf(folder, sizeof folder, "/tmp/quern-quantized-XXXXXX");
    if (!mkdtemp(folder))
        return 1;
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(folder);
    return status;
}
