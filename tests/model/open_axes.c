/* Axes of inputs that are None: a model takes arrays of any size there, with the same bits in any
 * order of the sizes, trains and validates on different sizes, and is saved with None. */
#include "check.h"

#include "base/base.h"

#include <math.h>
#include <quern/quern.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

enum { records = 12, classes = 3, width = 2 };

static quern_model *sequences(uint64_t seed)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec(
        "input None 2 | conv1d 4 3 same relu | lstm 5 | dense 3 softmax", seed, &err);
    if (!m || quern_compile(m, "adam learning_rate=0.01", "sparse_categorical_crossentropy",
                            "accuracy", &err) < 0)
        fail_msg("%s: %s", err.where, err.text);
    return m;
}

static float *numbers(int64_t steps)
{
    float *x = malloc((size_t)(records * steps * width) * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < records * steps * width; i++)
        x[i] = (float)sin((double)i * 0.7 + (double)steps);
    return x;
}

static const int32_t labels[records] = { 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2 };

static quern_tensor xs(const float *x, int64_t steps)
{
    return (quern_tensor){ .dtype = QUERN_FLOAT32,
                           .shape = { .rank = 3, .dims = { records, steps, width } },
                           .const_data = x };
}

static quern_tensor ys(void)
{
    return (quern_tensor){ .dtype = QUERN_INT32,
                           .shape = { .rank = 1, .dims = { records } },
                           .const_data = labels };
}

/* Predictions of one length do not depend on the lengths before, and equal those of a model with
 * that fixed length. */
static void any_order_of_lengths_gives_the_same_bits(void **state)
{
    static const int64_t lengths[] = { 7, 20, 7, 1, 33, 20, 7 };
    quern_error err = { 0 };
    quern_model *open = sequences(5);
    float first[34][records * classes];
    bool seen[34] = { false };
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        int64_t n = lengths[i];
        const float *out;
        float *x = numbers(n);
        quern_tensor t = xs(x, n);
        CHECK_OK(quern_predict_on_batch(open, &t, &out, &err), err);
        if (seen[n])
            assert_memory_equal(out, first[n], sizeof first[n]);
        memcpy(first[n], out, sizeof first[n]);
        seen[n] = true;
        free(x);
    }
    quern_model *fixed = quern_model_from_spec(
        "input 7 2 | conv1d 4 3 same relu | lstm 5 | dense 3 softmax", 5, &err);
    float *x = numbers(7);
    quern_tensor t = xs(x, 7);
    const float *out;
    CHECK_OK(quern_predict_on_batch(fixed, &t, &out, &err), err);
    assert_memory_equal(out, first[7], sizeof first[7]);
    free(x);
    quern_model_free(fixed);
    quern_model_free(open);
}

/* More lengths than a model keeps programs for. */
static void many_lengths_are_planned_again(void **state)
{
    quern_error err = { 0 };
    quern_model *m = sequences(6);
    float once[70][records * classes];
    (void)state;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t n = 1; n < 70; n++) {
            const float *out;
            float *x = numbers(n);
            quern_tensor t = xs(x, n);
            CHECK_OK(quern_predict_on_batch(m, &t, &out, &err), err);
            if (pass)
                assert_memory_equal(out, once[n], sizeof once[n]);
            memcpy(once[n], out, sizeof once[n]);
            free(x);
        }
    quern_model_free(m);
}

/* One training step on each of several lengths equals the same steps of models with fixed lengths,
 * which pass their weights on. Plain SGD has no other state. */
static void training_steps_of_any_length(void **state)
{
    static const int64_t lengths[] = { 9, 4, 9 };
    quern_error err = { 0 };
    quern_model *open = sequences(7);
    quern_tensor w[8], v[8];
    double log[2], want[2];
    (void)state;
    CHECK_OK(quern_compile(open, "sgd learning_rate=0.1", "sparse_categorical_crossentropy",
                           "accuracy", &err),
             err);
    for (int i = 0; i < 3; i++) {
        char text[100];
        snprintf(text, sizeof text, "input %d 2 | conv1d 4 3 same relu | lstm 5 | dense 3 softmax",
                 (int)lengths[i]);
        quern_model *fixed = quern_model_from_spec(text, 1, &err);
        assert_non_null(fixed);
        CHECK_OK(quern_compile(fixed, "sgd learning_rate=0.1", "sparse_categorical_crossentropy",
                               "accuracy", &err),
                 err);
        int n = quern_model_get_weights(open, NULL, w, 8, &err);
        CHECK_OK(quern_model_set_weights(fixed, NULL, w, n, &err), err);
        float *x = numbers(lengths[i]);
        quern_tensor t = xs(x, lengths[i]), y = ys();
        CHECK_OK(quern_train_on_batch(open, &t, &y, NULL, log, &err), err);
        CHECK_OK(quern_train_on_batch(fixed, &t, &y, NULL, want, &err), err);
        assert_true(log[0] == want[0] && log[1] == want[1]);
        n = quern_model_get_weights(open, NULL, w, 8, &err);
        assert_int_equal(quern_model_get_weights(fixed, NULL, v, 8, &err), n);
        for (int k = 0; k < n; k++)
            assert_memory_equal(w[k].data, v[k].data,
                                (size_t)quern_shape_count(&w[k].shape) * sizeof(float));
        free(x);
        quern_model_free(fixed);
    }
    quern_model_free(open);
}

/* Training data and validation data have different lengths. */
static void validation_of_another_length(void **state)
{
    quern_error err = { 0 };
    quern_model *m = sequences(8);
    float *x = numbers(10), *v = numbers(15);
    quern_tensor t = xs(x, 10), of_validation = xs(v, 15), y = ys();
    double log[2];
    (void)state;
    quern_generator *train = quern_array_generator(&t, 1, &y, 1, NULL, &err),
                    *validation = quern_array_generator(&of_validation, 1, &y, 1, NULL, &err);
    quern_history *h = quern_fit_generator(
        m, train, &(quern_fit_opts){ .epochs = 2, .batch_size = 4, .validation_data = validation },
        &err);
    if (!h)
        fail_msg("%s: %s", err.where, err.text);
    assert_int_equal(quern_evaluate(m, &of_validation, &y, NULL, 4, log, &err), records);
    assert_true(log[0] == quern_history_value(h, "val_loss", 1));
    CHECK_OK(quern_model_set_input_shapes_from(m, train, &err), err);
    assert_int_equal(quern_model_input_shape(m, 0).dims[1], 10);
    quern_history_free(h);
    quern_generator_free(train);
    quern_generator_free(validation);
    free(x);
    free(v);
    quern_model_free(m);
}

/* Batches whose sequences have another length each: a callback sets it. */
typedef struct ragged {
    int at;
    bool too_long, wrong_target;
} ragged;

static const int64_t own_lengths[] = { 6, 3, 9, 6 };

static int next_ragged(void *user, quern_batch *b, quern_error *err)
{
    ragged *r = user;
    if (r->at == 4)
        return QUERN_END;
    int64_t steps = own_lengths[r->at++];
    quern_shape shape = { .rank = 3, .dims = { -1, r->too_long ? 90 : steps, width } },
                target = { .rank = 2, .dims = { -1, r->wrong_target ? steps - 1 : steps } };
    float *x = numbers(steps);
    b->size = records;
    if (quern_batch_set_shape(b, 0, &shape, err) < 0 ||
        (b->spec->n_targets && quern_batch_set_shape(b, 1, &target, err) < 0)) {
        free(x);
        return err->code;
    }
    memcpy(b->arrays[0], x, (size_t)(records * steps * width) * sizeof *x);
    for (int64_t i = 0; b->spec->n_targets && i < records * steps; i++)
        ((int32_t *)b->arrays[1])[i] = (int32_t)(i % classes);
    free(x);
    return QUERN_OK;
}

static int restart_ragged(void *user, quern_error *err)
{
    (void)err;
    ((ragged *)user)->at = 0;
    return QUERN_OK;
}

static quern_model *taggers(void)
{
    quern_error err = { 0 };
    quern_shape largest = { .rank = 3, .dims = { -1, 9, width } };
    quern_model *m =
        quern_model_from_spec("input None 2 | lstm 5 sequences | dense 3 softmax", 3, &err);
    if (!m ||
        quern_compile(m, "sgd learning_rate=0.1", "sparse_categorical_crossentropy", NULL, &err) <
            0 ||
        quern_model_set_input_shapes(m, &largest, &err) < 0)
        fail_msg("%s: %s", err.where, err.text);
    return m;
}

/* A run over such batches equals train_on_batch with each of them. */
static void each_batch_has_its_own_length(void **state)
{
    quern_error err = { 0 };
    quern_model *run = taggers(), *step = taggers();
    ragged r = { 0 };
    quern_tensor w[8], v[8];
    (void)state;
    quern_generator *g = quern_callback_generator(
        &(quern_callback_ops){ .next = next_ragged, .reset = restart_ragged }, &r);
    quern_fit_opts o = { .batch_size = records,
                         .epochs = 2,
                         .steps_per_epoch = 4,
                         .on_exhausted = QUERN_EXHAUSTED_RESTART };
    quern_history *h = quern_fit_generator(run, g, &o, &err);
    if (!h || err.code)
        fail_msg("%s: %s", err.where, err.text);
    for (int i = 0; i < 8; i++) {
        int64_t steps = own_lengths[i % 4];
        float *x = numbers(steps);
        int32_t tags[records * 9];
        for (int64_t k = 0; k < records * steps; k++)
            tags[k] = (int32_t)(k % classes);
        quern_tensor t = xs(x, steps), y = { .dtype = QUERN_INT32,
                                             .shape = { .rank = 2, .dims = { records, steps } },
                                             .data = tags };
        CHECK_OK(quern_train_on_batch(step, &t, &y, NULL, NULL, &err), err);
        free(x);
    }
    int n = quern_model_get_weights(run, NULL, w, 8, &err);
    assert_int_equal(quern_model_get_weights(step, NULL, v, 8, &err), n);
    for (int k = 0; k < n; k++)
        assert_memory_equal(w[k].data, v[k].data,
                            (size_t)quern_shape_count(&w[k].shape) * sizeof(float));
    quern_history_free(h);
    quern_generator_free(g);
    quern_model_free(run);
    quern_model_free(step);
}

static int count_records(void *user, const float *const *out, int64_t n)
{
    (void)out;
    *(int64_t *)user += n;
    return 0;
}

static void batches_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        quern_error err = { 0 };
        quern_model *m = taggers();
        ragged r = { .too_long = way == 0, .wrong_target = way == 1 };
        int64_t seen = 0;
        quern_generator *g = quern_callback_generator(
            &(quern_callback_ops){ .next = next_ragged, .reset = restart_ragged }, &r);
        if (way < 2)
            assert_null(
                quern_fit_generator(m, g, &(quern_fit_opts){ .batch_size = records }, &err));
        else
            assert_true(quern_predict_generator(m, g, records, 0, count_records, &seen, &err) < 0);
        assert_int_equal(err.code, QUERN_SHAPE);
        assert_non_null(strstr(err.text, way == 0   ? "array 0 has shape (None, 90, 2), the largest"
                                         : way == 1 ? "the target has shape (None, 5), the output"
                                                    : "have shape (None, 3, 3), those before"));
        quern_generator_free(g);
        quern_model_free(m);
    }
}

static void files_keep_none(void **state)
{
    char path[64];
    quern_error err = { 0 };
    quern_model *m = sequences(9);
    (void)state;
    snprintf(path, sizeof path, "/tmp/quern-open-%d.keras", (int)getpid());
    quern_shape twenty = { .rank = 3, .dims = { -1, 20, 2 } };
    CHECK_OK(quern_model_set_input_shapes(m, &twenty, &err), err);
    CHECK_OK(quern_model_save(m, path, &err), err);
    quern_model *again = quern_model_open(path, &err);
    assert_non_null(again);
    assert_int_equal(quern_model_input_open(again, 0), 1 << 1);
    char *summary = quern_model_summary(again);
    assert_non_null(strstr(summary, "(None, None, 4)"));
    free(summary);
    quern_model_free(again);
    quern_model_free(m);
    unlink(path);
}

static int pull(void *user, quern_batch *b, quern_error *err)
{
    (void)user, (void)b, (void)err;
    return QUERN_END;
}

static void impossible_shapes_are_refused(void **state)
{
    quern_error err = { 0 };
    quern_model *m = sequences(9);
    (void)state;
    quern_shape wrong = { .rank = 3, .dims = { -1, 20, 3 } },
                zero = { .rank = 3, .dims = { -1, 0, 2 } };
    assert_int_equal(quern_model_set_input_shapes(m, &wrong, &err), QUERN_SHAPE);
    assert_string_equal(err.text, "has shape (None, 20, 3), the model expects (None, None, 2)");
    assert_int_equal(quern_model_set_input_shapes(m, &zero, &err), QUERN_SHAPE);
    float *x = numbers(5);
    quern_tensor t = xs(x, 5);
    const float *out;
    t.shape.dims[2] = 5;
    t.shape.dims[1] = 2;
    err = (quern_error){ 0 };
    assert_int_equal(quern_predict_on_batch(m, &t, &out, &err), QUERN_SHAPE);
    quern_model *fresh = sequences(9);
    quern_generator *g = quern_callback_generator(&(quern_callback_ops){ .next = pull }, NULL);
    err = (quern_error){ 0 };
    assert_null(quern_fit_generator(fresh, g, NULL, &err));
    assert_non_null(strstr(err.text, "does not state the size of axis 1"));
    assert_non_null(strstr(err.hint, "quern_model_set_input_shapes"));
    quern_generator_free(g);
    quern_model_free(fresh);
    err = (quern_error){ 0 };
    assert_null(quern_model_from_spec("input None 2 | flatten | dense 3", 1, &err));
    assert_non_null(strstr(err.text, "an axis that is None needs a fixed size"));
    err = (quern_error){ 0 }; /* a size that a layer cannot have: valid padding, 5 positions */
    quern_model *narrow = quern_model_from_spec(
        "input None 2 | conv1d 4 5 | global_average_pooling1d | dense 3", 1, &err);
    assert_non_null(narrow);
    quern_shape four = { .rank = 3, .dims = { -1, 4, 2 } };
    assert_true(quern_model_set_input_shapes(narrow, &four, &err) < 0);
    assert_int_equal(quern_model_input_shape(narrow, 0).dims[1], 96);
    free(x);
    quern_model_free(narrow);
    quern_model_free(m);
}

/* A failure of any allocation: the model keeps the shapes that it had, also after the failure. */
static void no_memory_keeps_the_shapes(void **state)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec("input None 2 | conv1d 4 3 same | dense 3", 1, &err);
    quern_shape ten = { .rank = 3, .dims = { -1, 10, 2 } }, own = ten;
    int status = -1, n = 0;
    (void)state;
    assert_non_null(m);
    CHECK_OK(quern_model_set_input_shapes(m, &ten, &err), err);
    own.dims[1] = 20;
    while (status < 0) {
        quern__memory_fail_at((size_t)++n);
        status = quern_model_set_input_shapes(m, &own, &err);
        quern__memory_fail_at(0);
        assert_true(status >= 0 || status == QUERN_NOMEM);
        assert_int_equal(quern_model_input_shape(m, 0).dims[1], status < 0 ? 10 : 20);
        assert_int_equal(quern_model_output_shape(m, 0).dims[1], status < 0 ? 10 : 20);
    }
    assert_true(n > 2);
    quern_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_order_of_lengths_gives_the_same_bits),
        cmocka_unit_test(many_lengths_are_planned_again),
        cmocka_unit_test(training_steps_of_any_length),
        cmocka_unit_test(validation_of_another_length),
        cmocka_unit_test(each_batch_has_its_own_length),
        cmocka_unit_test(batches_that_do_not_fit_are_refused),
        cmocka_unit_test(files_keep_none),
        cmocka_unit_test(impossible_shapes_are_refused),
        cmocka_unit_test(no_memory_keeps_the_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
