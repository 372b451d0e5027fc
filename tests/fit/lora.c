/* LoRA: a file has the sum of the kernel and its two matrices, as Keras writes it; a run that goes
 * on from a checkpoint has the matrices themselves (P12). */
#include "common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { batch = 10 };

static quern_model *adapted(void)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec(
        "input 6 | dense 16 tanh lora_rank=3 | dense 3 softmax lora_rank=2", 7, &err);
    if (!m || quern_compile(m, "adam learning_rate=0.01", "sparse_categorical_crossentropy",
                            "accuracy", &err) < 0)
        fail_msg("%s: %s", err.where, err.text);
    return m;
}

static void predict(quern_model *m, float *out)
{
    quern_error err = { 0 };
    quern_tensor x = { .dtype = QUERN_FLOAT32,
                       .shape = { .rank = 2, .dims = { records, width } },
                       .data = xs };
    if (quern_predict(m, &x, batch, &out, &err) < 0)
        fail_msg("%s: %s", err.where, err.text);
}

static void train(quern_model *m, quern_fit_opts o)
{
    quern_generator *g = array();
    quern_history_free(fit(m, g, o));
    quern_generator_free(g);
}

static void a_file_has_the_sum(void **state)
{
    static float before[records * 3], after[records * 3];
    char path[] = "/tmp/quern-lora-XXXXXX.keras";
    quern_error err = { 0 };
    quern_model *m = adapted();
    (void)state;
    assert_int_equal(quern_model_weights(m), 8);
    quern_tensor kernel = quern_model_weight(m, 0, NULL);
    float first = ((const float *)kernel.data)[0];
    train(m, (quern_fit_opts){ .epochs = 3, .batch_size = batch });
    assert_true(((const float *)quern_model_weight(m, 0, NULL).data)[0] == first);
    predict(m, before);
    close(mkstemps(path, 6));
    assert_int_equal(quern_model_save(m, path, &err), 0);
    quern_model *again = quern_model_open(path, &err);
    assert_non_null(again);
    predict(again, after);
    for (int i = 0; i < records * 3; i++)
        assert_true(fabsf(before[i] - after[i]) < 1e-6f);
    assert_true(((const float *)quern_model_weight(again, 0, NULL).data)[0] != first);
    quern_tensor a = quern_model_weight(again, 2, NULL);
    for (int64_t i = 0; i < quern_shape_count(&a.shape); i++)
        assert_true(((const float *)a.data)[i] == 0);
    quern_model_free(m);
    quern_model_free(again);
    unlink(path);
}

static void a_run_goes_on_to_the_same_bits(void **state)
{
    char path[] = "/tmp/quern-lora-XXXXXX.keras", previous[64];
    quern_fit_opts o = { .epochs = 4, .batch_size = batch };
    quern_model *straight = adapted(), *first = adapted(), *second = adapted();
    (void)state;
    close(mkstemps(path, 6));
    unlink(path);
    train(straight, o);
    o.checkpoint = path;
    o.epochs = 2;
    train(first, o);
    o.epochs = 4;
    o.resume = 1;
    train(second, o);
    check_same(straight, second);
    quern_model_free(straight);
    quern_model_free(first);
    quern_model_free(second);
    snprintf(previous, sizeof previous, "%s.previous", path);
    unlink(path);
    unlink(previous);
}

static void a_constraint_is_refused(void **state)
{
    quern_error err = { 0 };
    (void)state;
    assert_null(
        quern_model_from_spec("input 6 | dense 4 lora_rank=2 kernel_constraint=non_neg", 7, &err));
    assert_non_null(strstr(err.text, "LoRA does not work with a kernel_constraint"));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_file_has_the_sum),
                                        cmocka_unit_test(a_run_goes_on_to_the_same_bits),
                                        cmocka_unit_test(a_constraint_is_refused) };
    fill();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
