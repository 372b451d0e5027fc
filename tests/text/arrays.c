/* pad_sequences and to_categorical beyond Keras's cases, which the conformance group `preprocessing` runs. */
#include "check.h"

#include <math.h>
#include <quern/text.h>

static void integers_stay_exact_and_must_fit(void **state)
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
    row = (quern_tensor){ .dtype = QUERN_FLOAT64, .shape = { .rank = 1, .dims = { 1 } }, .data = &bad };
    assert_int_equal(quern_pad_sequences(&row, 1, NULL, NULL, 0, &out, NULL), QUERN_NUMBER);
    row.dtype = QUERN_UINT8;
    assert_int_equal(quern_pad_sequences(&row, 1, NULL, NULL, 0, &out, NULL), QUERN_DTYPE);
    assert_int_equal(quern_pad_sequences(&row, 1, NULL, "left", 0, &out, NULL), QUERN_INVALID);
}

static void shapes_are_told_before_there_is_room(void **state)
{
    float rows[] = { 1, 2, 3, 4, 5, 6 };
    quern_tensor two[] = { { .dtype = QUERN_FLOAT32, .shape = { .rank = 2, .dims = { 2, 2 } }, .data = rows },
                           { .dtype = QUERN_FLOAT32, .shape = { .rank = 2, .dims = { 1, 2 } }, .data = rows + 4 } };
    quern_tensor out = { .dtype = QUERN_FLOAT32, .shape = { .dims = { 0, -1 } } }, classes = { .dtype = QUERN_FLOAT32 };
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_stay_exact_and_must_fit),
        cmocka_unit_test(shapes_are_told_before_there_is_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
