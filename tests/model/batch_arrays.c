/* Arrays of one batch: all dtypes, shapes and sample weights, invalid arrays, and no allocation
 * after the first batch. Expected values follow from definitions: a row of the table, NumPy's
 * astype, the mean of squares. */
#include "check.h"
#include "tensors.h"

#include "base/base.h"
#include <quern/quern.h>

static quern_model *made(const char *words, const char *loss)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec(words, 1, &err);
    if (!m || (loss && quern_compile(m, "sgd learning_rate=0.1", loss, "", &err) < 0))
        fail_msg("%s: %s", err.where, err.text);
    return m;
}

/* The embedding of id k is row k of the table, whatever the type of the id. */
static void ids_of_every_type_are_read(void **state)
{
    static const float f32[] = { 3, 7 };
    static const double f64[] = { 3, 7 };
    static const uint16_t f16[] = { 0x4200, 0x4700 }; /* IEEE 754: 3 and 7 */
    static const int8_t i8[] = { 3, 7 };
    static const uint8_t u8[] = { 3, 7 };
    static const int16_t i16[] = { 3, 7 };
    static const uint16_t u16[] = { 3, 7 };
    static const int32_t i32[] = { 3, 7 };
    static const uint32_t u32[] = { 3, 7 };
    static const int64_t i64[] = { 3, 7 };
    static const uint64_t u64[] = { 3, 7 };
    static const struct {
        int dtype;
        const void *ids;
    } types[] = { { QUERN_FLOAT32, f32 }, { QUERN_FLOAT64, f64 }, { QUERN_FLOAT16, f16 },
                  { QUERN_INT8, i8 },     { QUERN_UINT8, u8 },    { QUERN_INT16, i16 },
                  { QUERN_UINT16, u16 },  { QUERN_INT32, i32 },   { QUERN_UINT32, u32 },
                  { QUERN_INT64, i64 },   { QUERN_UINT64, u64 } };
    static const char *const words[] = { "input 2 | embedding 10 3",
                                         "input 2 dtype=int32 | embedding 10 3",
                                         "input 2 dtype=int64 | embedding 10 3" };
    (void)state;
    for (size_t w = 0; w < sizeof words / sizeof *words; w++) {
        quern_model *m = made(words[w], NULL);
        const float *table = quern_model_weight(m, 0, NULL).const_data, *out;
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            quern_error err = { 0 };
            quern_tensor ids = TENSOR(types[t].dtype, types[t].ids, 1, 2);
            CHECK_OK(quern_predict_on_batch(m, &ids, &out, &err), err);
            assert_memory_equal(out, table + 3 * 3, 3 * sizeof *out);
            assert_memory_equal(out + 3, table + 7 * 3, 3 * sizeof *out);
        }
        quern_model_free(m);
    }
}

/* Numbers of other types train as their float32 and int32 do. */
static void other_types_train_the_same(void **state)
{
    const double x[] = { 0.1, -2, 0.3, 4, 1e-3, 6, 7, -0.8, 9, 0, 0.5, 1 };
    const int64_t y[] = { 2, 0, 1 };
    const double w[] = { 1, 0.5, 0.1 };
    float x32[12], w32[3];
    int32_t y32[3];
    double logs[1], same[1];
    quern_error err = { 0 };
    (void)state;
    for (int i = 0; i < 12; i++)
        x32[i] = (float)x[i];
    for (int i = 0; i < 3; i++)
        y32[i] = (int32_t)y[i], w32[i] = (float)w[i];
    quern_model *a = made("input 4 | dense 3 softmax", "sparse_categorical_crossentropy"),
                *b = made("input 4 | dense 3 softmax", "sparse_categorical_crossentropy");
    for (int i = 0; i < 3; i++) {
        CHECK_OK(quern_train_on_batch(a, &TENSOR(QUERN_FLOAT64, x, 3, 4),
                                      &TENSOR(QUERN_INT64, y, 3, 1), &TENSOR(QUERN_FLOAT64, w, 3),
                                      logs, &err),
                 err);
        CHECK_OK(quern_train_on_batch(b, &FLOATS(x32, 3, 4), &INTS(y32, 3), &FLOATS(w32, 3, 1),
                                      same, &err),
                 err);
        assert_true(*logs == *same && *logs > 0);
    }
    assert_memory_equal(quern_model_weight(a, 0, NULL).data, quern_model_weight(b, 0, NULL).data,
                        12 * sizeof(float));
    quern_model_free(a);
    quern_model_free(b);
}

/* The loss of an output is the sum of weight * error^2 over its values, divided by their number. */
static void each_output_has_its_weights(void **state)
{
    const float a[] = { 1, 2, 3, 4, 5, 6 }, zeros[6] = { 0 }, by_record[] = { 2, 0 },
                by_step[] = { 1, 0, 0, 0, 0, 3 };
    double logs[3];
    quern_error err = { 0 };
    (void)state;
    quern_model *m = made("input 3 1 as x | activation linear name=p as p | @x | activation linear "
                          "name=q as q | output @p @q",
                          "mse,mse");
    quern_tensor x = FLOATS(a, 2, 3, 1), y[2] = { FLOATS(zeros, 2, 3, 1), FLOATS(zeros, 2, 3) },
                 w[2] = { FLOATS(by_record, 2), FLOATS(by_step, 2, 3) };
    CHECK_OK(quern_test_on_batch(m, &x, y, w, logs, &err), err);
    CHECK_NEAR(logs[1], 2.0 * (1 + 4 + 9) / 6, 1e-6, 0);
    CHECK_NEAR(logs[2], (1.0 + 3 * 36) / 6, 1e-6, 0);
    w[0] = (quern_tensor){ 0 };
    CHECK_OK(quern_test_on_batch(m, &x, y, w, logs, &err), err);
    CHECK_NEAR(logs[1], (1.0 + 4 + 9 + 16 + 25 + 36) / 6, 1e-6, 0);
    CHECK_NEAR(logs[2], (1.0 + 3 * 36) / 6, 1e-6, 0);
    quern_model_free(m);
}

static void what_does_not_fit_is_refused(void **state)
{
    const float x[8] = { 0 }, y[8] = { 0, 1.5f };
    const int64_t large[2] = { 1, 3000000000 };
    const quern_string texts[4] = { { "a", 1 } };
    const quern_tensor good_x = FLOATS(x, 2, 4), good_y = FLOATS(x, 2);
    const struct {
        quern_tensor x, y, w;
        const char *where, *text;
    } wrong[] = {
        { FLOATS(x, 8),
          good_y,
          { 0 },
          "x[0]",
          "has shape (8,), the model expects (None, 4) for 'input'" },
        { FLOATS(x, 2, 3),
          good_y,
          { 0 },
          "x[0]",
          "has shape (2, 3): axis 1 is 3, the model expects 4 (None, 4) for 'input'" },
        { FLOATS(x, 2, -4), good_y, { 0 }, "x[0]", "axis 1 is -4" },
        { FLOATS(NULL, 2, 4), good_y, { 0 }, "x[0]", "data is NULL" },
        { FLOATS(x, 0, 4), FLOATS(x, 0), { 0 }, "x[0]", "has no records" },
        { TENSOR(99, x, 2, 4), good_y, { 0 }, "x[0]", "has an unknown dtype (99)" },
        { TENSOR(QUERN_STRING, texts, 1, 4),
          FLOATS(x, 1),
          { 0 },
          "x[0]",
          "has dtype string, the model expects float32" },
        { good_x, FLOATS(x, 3), { 0 }, "y[0]", "has 3 records, x[0] has 2" },
        { good_x,
          FLOATS(x, 2, 2),
          { 0 },
          "y[0]",
          "has shape (2, 2), the model expects (None,) for 'd'" },
        { good_x, FLOATS(y, 2), { 0 }, "y[0]", "record 1: 1.5 is not an integer" },
        { good_x,
          TENSOR(QUERN_INT64, large, 2),
          { 0 },
          "y[0]",
          "record 1: 3000000000 is outside int32 (-2147483648 to 2147483647)" },
        { good_x, good_y, FLOATS(x, 3), "w[0]", "has 3 records, x[0] has 2" },
        { good_x, good_y, FLOATS(x, 2, 2), "w[0]",
          "has shape (2, 2), the model expects (None,) for 'd'" },
        { good_x, good_y, TENSOR(QUERN_STRING, texts, 2), "w[0]",
          "has dtype string, the model expects float32" },
    };
    float before[12];
    (void)state;
    quern_model *m =
        made("input 4 name=input | dense 3 softmax name=d", "sparse_categorical_crossentropy");
    memcpy(before, quern_model_weight(m, 0, NULL).data, sizeof before);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        quern_error err = { 0 };
        double logs[1] = { -1 };
        int status = quern_train_on_batch(m, &wrong[i].x, &wrong[i].y, &wrong[i].w, logs, &err);
        if (status >= 0 || strcmp(err.where, wrong[i].where) || strcmp(err.text, wrong[i].text))
            fail_msg("%zu: status %d, %s: %s", i, status, err.where, err.text);
        assert_int_equal(status, err.code);
        assert_true(*logs < 0);
    }
    assert_memory_equal(before, quern_model_weight(m, 0, NULL).data, sizeof before);
    quern_model_free(m);
}

static void no_later_batch_allocates(void **state)
{
    const int64_t ids[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    const double y[4] = { 1, 2, 3, 4 };
    double logs[1];
    const float *out;
    quern_error err = { 0 };
    (void)state;
    quern_model *m = made("input 2 | embedding 10 3 | flatten | dense 1", "mse");
    for (int pass = 0; pass < 2; pass++) {
        size_t before = quern__memory().allocations;
        for (int64_t records = 4; records > 0; records--) {
            quern_tensor x = TENSOR(QUERN_INT64, ids, records, 2),
                         target = TENSOR(QUERN_FLOAT64, y, records);
            CHECK_OK(quern_train_on_batch(m, &x, &target, NULL, logs, &err), err);
            CHECK_OK(quern_test_on_batch(m, &x, &target, NULL, logs, &err), err);
            CHECK_OK(quern_predict_on_batch(m, &x, &out, &err), err);
        }
        if (pass)
            assert_int_equal(quern__memory().allocations, before);
    }
    quern_model_free(m);
}

static void strings_are_read(void **state)
{
    static const quern_string texts[2] = { { "no", 2 }, { "a", 1 } };
    quern_string broken[2] = { { "no", 2 }, { "a", -1 } };
    const float *out;
    quern_error err = { 0 };
    (void)state;
    quern_model *m = made("input 1 dtype=string | string_lookup vocabulary=(a,b)", NULL);
    CHECK_OK(quern_predict_on_batch(m, &TENSOR(QUERN_STRING, texts, 2, 1), &out, &err), err);
    assert_true(out[0] == 0 && out[1] == 1); /* StringLookup: 0 is out of the vocabulary */
    assert_int_equal(quern_predict_on_batch(m, &TENSOR(QUERN_STRING, broken, 2, 1), &out, &err),
                     QUERN_INVALID);
    assert_non_null(strstr(err.text, "record 1: a string of -1 bytes"));
    quern_model_free(m);
}

static void inputs_and_outputs_have_names_shapes_and_types(void **state)
{
    (void)state;
    quern_model *m = made("input 2 dtype=int64 name=ids as a | embedding 9 3 | flatten | input 4 "
                          "name=numbers | concatenate @a"
                          " | dense 5 name=out",
                          NULL);
    quern_shape shape = quern_model_input_shape(m, 0);
    assert_true(shape.rank == 2 && shape.dims[0] == -1 && shape.dims[1] == 2);
    assert_string_equal(quern_model_input_name(m, 0), "ids");
    assert_string_equal(quern_model_input_name(m, 1), "numbers");
    assert_null(quern_model_input_name(m, 2));
    assert_int_equal(quern_model_input_dtype(m, 0), QUERN_INT64);
    assert_int_equal(quern_model_input_dtype(m, 1), QUERN_FLOAT32);
    shape = quern_model_output_shape(m, 0);
    assert_true(shape.rank == 2 && shape.dims[0] == -1 && shape.dims[1] == 5);
    assert_string_equal(quern_model_output_name(m, 0), "out");
    assert_int_equal(quern_model_output_dtype(m, 0), QUERN_FLOAT32);
    assert_int_equal(quern_model_output_dtype(m, 1), QUERN_DTYPE_DEFAULT);
    quern_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(ids_of_every_type_are_read),
                                        cmocka_unit_test(other_types_train_the_same),
                                        cmocka_unit_test(each_output_has_its_weights),
                                        cmocka_unit_test(what_does_not_fit_is_refused),
                                        cmocka_unit_test(no_later_batch_allocates),
                                        cmocka_unit_test(strings_are_read),
                                        cmocka_unit_test(
                                            inputs_and_outputs_have_names_shapes_and_types) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
