/* pad_sequences, to_categorical and normalize, except Keras's cases, which the conformance group
 * `preprocessing` runs. */
#include "check.h"

#include <math.h>
#include <quern/text.h>

static void integers_are_exact_and_checked_for_range(void **state)
{
    int64_t big[] = { ((int64_t)1 << 53) + 1, 2 }, got[4];
    int32_t narrow[4];
    double bad = NAN;
    quern_tensor row = { .dtype = QUERN_INT64, .shape = { .rank = 1, .dims = { 2 } }, .data = big },
                 out = { .dtype = QUERN_INT64, .data = got };
    (void)state;
    out.shape.dims[1] = 4;
    assert_int_equal(quern_pad_sequences(&row, 1, "post", NULL, -1, &out, NULL), 0);
    assert_memory_equal(got, ((int64_t[]){ big[0], 2, -1, -1 }), sizeof got);
    out.dtype = QUERN_INT32;
    out.data = narrow;
    assert_int_equal(quern_pad_sequences(&row, 1, NULL, NULL, 0, &out, NULL), QUERN_NUMBER);
    row = (quern_tensor){ .dtype = QUERN_FLOAT64,
                          .shape = { .rank = 1, .dims = { 1 } },
                          .data = &bad };
    assert_int_equal(quern_pad_sequences(&row, 1, NULL, NULL, 0, &out, NULL), QUERN_NUMBER);
    row.dtype = QUERN_UINT8;
    assert_int_equal(quern_pad_sequences(&row, 1, NULL, NULL, 0, &out, NULL), QUERN_DTYPE);
    assert_int_equal(quern_pad_sequences(&row, 1, NULL, "left", 0, &out, NULL), QUERN_INVALID);
}

static void shapes_are_reported_without_data(void **state)
{
    float rows[] = { 1, 2, 3, 4, 5, 6 };
    quern_tensor two[] = {
        { .dtype = QUERN_FLOAT32, .shape = { .rank = 2, .dims = { 2, 2 } }, .data = rows },
        { .dtype = QUERN_FLOAT32, .shape = { .rank = 2, .dims = { 1, 2 } }, .data = rows + 4 }
    };
    quern_tensor out = { .dtype = QUERN_FLOAT32, .shape = { .dims = { 0, -1 } } },
                 classes = { .dtype = QUERN_FLOAT32 };
    (void)state;
    assert_int_equal(quern_pad_sequences(two, 2, NULL, NULL, 0, &out, NULL), 0);
    assert_int_equal(out.shape.rank, 3);
    assert_memory_equal(out.shape.dims, ((int64_t[]){ 2, 2, 2 }), 3 * sizeof(int64_t));
    assert_int_equal(quern_to_categorical(&two[0], 0, &classes, NULL), 0);
    assert_int_equal(classes.shape.rank, 3);
    assert_int_equal(classes.shape.dims[2], 5);
    assert_int_equal(quern_to_categorical(&two[0], INT64_MAX, &classes, NULL), QUERN_SHAPE);
    rows[1] = INFINITY;
    assert_int_equal(quern_to_categorical(&two[0], 0, &classes, NULL), QUERN_NUMBER);
    two[0].dtype = QUERN_BOOL;
    assert_int_equal(quern_to_categorical(&two[0], 0, &classes, NULL), QUERN_DTYPE);
}

/* Norms of order inf, -inf and 0: the largest size, the smallest, and the number of nonzero
 * elements; of 3, -4, 0 they are 4, 0 and 2. */
static void norms_of_every_order_match_the_definition(void **state)
{
    const double orders[] = { INFINITY, -INFINITY, 0, 1, 2 },
                 norms[] = { 4, 1, 2, 7, 5 }; /* a norm of 0 does not divide */
    int32_t x_data[] = { 3, -4, 0 };
    float got[3];
    quern_tensor x = { .dtype = QUERN_INT32,
                       .shape = { .rank = 2, .dims = { 1, 3 } },
                       .data = x_data },
                 out = { .dtype = QUERN_FLOAT32, .data = got };
    (void)state;
    for (int k = 0; k < 5; k++) {
        assert_int_equal(quern_normalize(&x, -1, orders[k], &out, NULL), 0);
        for (int i = 0; i < 3; i++)
            CHECK_NEAR(got[i], x_data[i] / norms[k], 1e-6, 0);
    }
    assert_int_equal(quern_normalize(&x, 2, 2, &out, NULL), QUERN_SHAPE);
    assert_int_equal(quern_normalize(&x, 0, NAN, &out, NULL), QUERN_SHAPE);
    out.dtype = QUERN_INT32;
    assert_int_equal(quern_normalize(&x, 0, 2, &out, NULL), QUERN_DTYPE);
    assert_int_equal(quern_make_sampling_table(3, 0, (double[3]){ 0 }, NULL), QUERN_INVALID);
}

/* Invalid arguments, and a word equal to oov_token, which Keras 2's cases do not cover. */
static void word_index_rejects_invalid_arguments(void **state)
{
    quern_error err = { 0 };
    int64_t ids[4], negative = -1;
    double row[8];
    char text[4];
    (void)state;
    assert_null(quern_word_index_new(&(quern_word_opts){ .num_words = -1 }, &err));
    assert_null(quern_word_index_new(&(quern_word_opts){ .split = "" }, &err));
    assert_int_equal(
        quern_text_to_word_sequence("a", 1, &(quern_word_opts){ .split = "" }, NULL, NULL, &err),
        QUERN_INVALID);
    quern_word_index *w = quern_word_index_new(&(quern_word_opts){ .oov_token = "b" }, &err);
    assert_int_equal(quern_word_index_fit(w, "\xff", 1, &err), QUERN_FORMAT);
    assert_int_equal(quern_word_index_sequence(w, "a", 1, ids, 4, &err), QUERN_INVALID);
    assert_int_equal(quern_word_index_fit(w, "a a B \xc4\xb0", 8, &err), 0);
    assert_int_equal(quern_word_index_finish(w, &err), 0);
    assert_int_equal(quern_word_index_size(w), 4);
    assert_int_equal(quern_word_index_columns(w), 5);
    assert_null(quern_word_index_word(w, 1, NULL, NULL, NULL));
    assert_string_equal(quern_word_index_word(w, 4, NULL, NULL, NULL), "i\xcc\x87");
    assert_int_equal(quern_word_index_sequence(w, "x b a", 5, ids, 2, &err), 3);
    assert_memory_equal(ids, ((int64_t[]){ 3, 3 }), 2 * sizeof *ids);
    assert_int_equal(quern_word_index_text(w, ids, 2, text, 2, &err), QUERN_INVALID);
    assert_int_equal(quern_word_index_text(w, ids, 2, text, 3, &err), 3);
    assert_memory_equal(text, "b b", 3);
    assert_int_equal(quern_word_index_row(w, ids, 2, "often", row, &err), QUERN_INVALID);
    assert_int_equal(quern_word_index_row(w, &negative, 1, "count", row, &err), QUERN_NUMBER);
    assert_int_equal(quern_word_index_texts(w), 2);
    quern_word_index_free(w);
    quern_word_index_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_exact_and_checked_for_range),
        cmocka_unit_test(shapes_are_reported_without_data),
        cmocka_unit_test(norms_of_every_order_match_the_definition),
        cmocka_unit_test(word_index_rejects_invalid_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
