/* Recurrent and attention models train bit-identically for any number of threads (P5) and any level
 * of activation recomputation (P2), with masks, dropout and a short last batch. Pipelines can
 * branch. */
#include "check.h"
#include "tensors.h"

#include "model/model_struct.h"

#include <quern/quern.h>
#include <stdbool.h>

enum { steps = 12, symbols = 40, records = 70, batch = 32 };

static const char *const words[] = {
    "input 12 | embedding 40 32 mask_zero=true | lstm 64 sequences dropout=0.2 | gru 48 | dense 40",
    "input 12 | embedding 40 32 | bidirectional lstm(32, return_sequences=true) | time_distributed "
    "dense(24) | simple_rnn 16 | "
    "dense 40",
    "input 12 | embedding 40 64 as x | layer_normalization | multi_head_attention 4 16 causal "
    "dropout=0.1 | add @x as y"
    " | rms_normalization | dense 128 gelu | dense 64 | add @y | global_average_pooling1d | dense "
    "40",
    "input 12 | embedding 40 32 mask_zero=true | gru 40 sequences | lstm 24 use_bias=false | dense "
    "40",
    "input 12 | embedding 40 32 | conv1d 64 3 causal relu | gru 32 reset_after=false "
    "recurrent_dropout=0.1 | dense 40",
    "input 12 | embedding 40 9 | reshape (9,12,1) | conv2d 24 3 padding=same use_bias=false | "
    "batch_normalization | re_lu as x"
    " | conv2d 24 3 padding=same | batch_normalization | add @x | re_lu | max_pooling2d 2 | "
    "depthwise_conv2d 3 padding=same"
    " | conv2d_transpose 16 3 strides=2 relu | separable_conv2d 20 3 strides=2 | "
    "global_average_pooling2d | dense 40",
};

static float x[records * steps];
static int32_t y[records];

static quern_model *made(const char *model, int threads)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec(model, 9, &err);
    if (!m ||
        quern_compile(m, "adam clipnorm=1", "sparse_categorical_crossentropy from_logits=true",
                      "accuracy", &err) < 0 ||
        quern_model_set_threads(m, threads, &err) < 0)
        fail_msg("%s: %s: %s", model, err.where, err.text);
    return m;
}

/* All weights in sequence, new; frees the model. */
static float *weights_of(quern_model *m, size_t *n)
{
    float *all = NULL;
    *n = 0;
    for (int i = 0; i < quern_model_weights(m); i++) {
        quern_tensor w = quern_model_weight(m, i, NULL);
        size_t count = (size_t)quern_shape_count(&w.shape);
        all = realloc(all, (*n + count) * sizeof *all);
        memcpy(all + *n, w.data, count * sizeof *all);
        *n += count;
    }
    quern_model_free(m);
    return all;
}

/* The weights after two epochs, new. */
static float *trained(const char *model, int threads, size_t *n)
{
    quern_error err = { 0 };
    quern_tensor tx = { .dtype = QUERN_FLOAT32,
                        .shape = { .rank = 2, .dims = { records, steps } },
                        .data = x },
                 ty = { .dtype = QUERN_INT32,
                        .shape = { .rank = 1, .dims = { records } },
                        .data = y };
    quern_model *m = made(model, threads);
    quern_history *h =
        quern_fit(m, &tx, &ty, NULL, &(quern_fit_opts){ .epochs = 2, .batch_size = batch }, &err);
    if (!h || err.code)
        fail_msg("%s: %s: %s", model, err.where, err.text);
    assert_true(quern_history_value(h, "loss", 1) < quern_history_value(h, "loss", 0));
    quern_history_free(h);
    return weights_of(m, n);
}

static int make_texts(void **state)
{
    (void)state;
    for (int i = 0; i < records * steps; i++)
        x[i] = (float)((i * 2654435761u >> 9) % symbols);
    for (int i = 0; i < records; i++)
        y[i] = (int32_t)x[i * steps + 3];
    return 0;
}

/* The weights after some batches at a recomputation level, new; also the size of the arena. */
static float *trained_low_memory(const char *model, int low_memory, size_t *n, size_t *bytes)
{
    quern_error err = { 0 };
    quern_model *m = made(model, 2);
    quern__model_set_low_memory(m, low_memory);
    for (int k = 0; k < 6; k++) {
        int from = k % 3 * batch;
        int64_t size = from + batch < records ? batch : records - from;
        CHECK_OK(quern_train_on_batch(m, &FLOATS(x + from * steps, size, steps),
                                      &INTS(y + from, size), NULL, NULL, &err),
                 err);
    }
    *bytes = m->programs[QUERN__TRAIN].plan->arena_bytes;
    return weights_of(m, n);
}

static void recomputation_is_bit_identical(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
        size_t n, other, all, less;
        float *kept = trained_low_memory(words[k], QUERN__LOW_MEMORY_SCHEDULE, &n, &all);
        for (int low_memory = QUERN__LOW_MEMORY_RECOMPUTE; low_memory <= QUERN__LOW_MEMORY_MOST;
             low_memory += 4) {
            float *again = trained_low_memory(words[k], low_memory, &other, &less);
            assert_int_equal(n, other);
            if (memcmp(kept, again, n * sizeof *kept))
                fail_msg("%s: recomputation level %d gives other weights", words[k], low_memory);
            free(again);
        }
        if (less >= all)
            fail_msg("%s: recomputation saves nothing: %zu bytes, %zu without", words[k], less,
                     all);
        free(kept);
    }
}

static void threads_are_bit_identical(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
        size_t n, other;
        float *one = trained(words[k], 1, &n);
        for (int threads = 2; threads <= 3; threads++) {
            float *more = trained(words[k], threads, &other);
            assert_int_equal(n, other);
            if (memcmp(one, more, n * sizeof *one))
                fail_msg("%s: %d threads give other weights", words[k], threads);
            free(more);
        }
        free(one);
    }
}

static void pipelines_branch(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec("input 3 name=a as a | dense 4 relu\n   as left | input "
                                           "3 name=b | dense 4 | add @left | dense 2 as p"
                                           " | @left | dense 1 as q | output @p @q",
                                           1, &err);
    if (!m)
        fail_msg("%s: %s", err.where, err.text);
    assert_int_equal(quern_model_inputs(m), 2);
    assert_int_equal(quern_model_outputs(m), 2);
    assert_int_equal(quern_model_output_shape(m, 0).dims[1], 2);
    assert_int_equal(quern_model_output_shape(m, 1).dims[1], 1);
    quern_model_free(m);
    static const char *const wrong[] = { "input 3 | dense 2 | add @missing", "input 3 | output",
                                         "input 3 | dense 2 as",
                                         "input 3 as x | concatenate @x @" };
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        err = (quern_error){ 0 };
        assert_null(quern_model_from_spec(wrong[k], 1, &err));
        assert_true(err.code < 0 && *err.text);
    }
}

static void states_are_kept_and_reset(void **state)
{
    (void)state;
    quern_error err = { 0 };
    const float *out;
    float in[2 * 3 * 2], first[2 * 4], second[2 * 4];
    for (int i = 0; i < 12; i++)
        in[i] = 0.1f * (float)i;
    quern_model *m = quern_model_from_spec("input 3 2 batch_size=2 | gru 4 stateful=true", 1, &err);
    if (!m)
        fail_msg("%s: %s", err.where, err.text);
    assert_true(quern_model_stateful(m));
    CHECK_OK(quern_predict_on_batch(m, &FLOATS(in, 2, 3, 2), &out, &err), err);
    memcpy(first, out, sizeof first);
    CHECK_OK(quern_predict_on_batch(m, &FLOATS(in, 2, 3, 2), &out, &err), err);
    memcpy(second, out, sizeof second);
    assert_memory_not_equal(first, second, sizeof first);
    quern_model_reset_states(m);
    CHECK_OK(quern_predict_on_batch(m, &FLOATS(in, 2, 3, 2), &out, &err), err);
    assert_memory_equal(first, out, sizeof first);
    assert_int_equal(quern_predict_on_batch(m, &FLOATS(in, 1, 3, 2), &out, &err), QUERN_SHAPE);
    quern_model_free(m);
    err = (quern_error){ 0 };
    m = quern_model_from_spec("input 3 2 | gru 4 stateful=true", 1, &err);
    assert_null(m);
    assert_non_null(strstr(err.text, "batch_size=N"));
    m = quern_model_from_spec("input 3 2 | gru 4", 1, &err);
    assert_false(quern_model_stateful(m));
    quern_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(threads_are_bit_identical),
                                        cmocka_unit_test(recomputation_is_bit_identical),
                                        cmocka_unit_test(pipelines_branch),
                                        cmocka_unit_test(states_are_kept_and_reset) };
    return cmocka_run_group_tests(tests, make_texts, NULL);
}
