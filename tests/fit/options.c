/* Options structs of programs that were compiled for an older or a newer version of the library
 * (docs/abi.md). */
#include "common.h"

#include <stddef.h>

/* A later version: fields after those of this version. */
typedef struct later_fit_opts {
    quern_fit_opts now;
    int64_t later;
} later_fit_opts;

/* Fits one epoch with an options struct of any size. */
static int fitted(const void *opts, quern_error *err)
{
    quern_model *m = model();
    quern_tensor x = { .dtype = QUERN_FLOAT32,
                       .shape = { .rank = 2, .dims = { records, width } },
                       .data = xs };
    quern_tensor y = { .dtype = QUERN_INT32,
                       .shape = { .rank = 1, .dims = { records } },
                       .data = ys };
    quern_generator *g = quern_array_generator(&x, 1, &y, 1, NULL, NULL);
    *err = (quern_error){ 0 };
    quern_history *h = quern_fit_generator(m, g, opts, err);
    int epochs = h ? quern_history_epochs(h) : err->code;
    quern_history_free(h);
    quern_generator_free(g);
    quern_model_free(m);
    return epochs;
}

static void sizes_of_other_versions_are_understood(void **state)
{
    quern_error err;
    later_fit_opts o = { .now = { .epochs = 2 } };
    (void)state;
    assert_int_equal(fitted(&o, &err), 2); /* size 0: version 0.1 */
    o.later = 1;                           /* and is then not read */
    assert_int_equal(fitted(&o, &err), 2);
    o.now.size = sizeof o.now;
    assert_int_equal(fitted(&o, &err), 2);
    o.now.size = sizeof o;
    assert_int_equal(fitted(&o, &err), QUERN_UNSUPPORTED);
    assert_string_equal(err.where, "quern_fit_generator");
    assert_non_null(strstr(err.text, "byte 176 of the options is set, this library knows 176"));
    assert_non_null(strstr(err.hint, "install the version"));
    o.later = 0; /* a newer program that does not use the new fields */
    assert_int_equal(fitted(&o, &err), 2);
    assert_int_equal(fitted(NULL, &err), 1);
}

static void an_invalid_size_is_an_error(void **state)
{
    static const size_t wrong[] = { 1, 8, sizeof(quern_fit_opts) - 8, (size_t)1 << 20, SIZE_MAX };
    quern_error err;
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        quern_fit_opts o = { .size = wrong[i], .epochs = 2 };
        assert_int_equal(fitted(&o, &err), QUERN_INVALID);
        assert_non_null(strstr(err.text, "expected 176"));
        assert_non_null(strstr(err.hint, "sizeof"));
    }
}

static int64_t some_text(void *user, char *to, int64_t room, quern_error *err)
{
    int *calls = user;
    (void)room, (void)err;
    *to = 'a';
    return (*calls)++ == 0;
}

/* Each function with options refuses an invalid size, whatever it returns. */
static void each_function_checks_the_size(void **state)
{
    quern_error err;
    quern_model *m = model();
    quern_tensor x = { .dtype = QUERN_FLOAT32,
                       .shape = { .rank = 2, .dims = { records, width } },
                       .data = xs };
    quern_tensor y = { .dtype = QUERN_INT32,
                       .shape = { .rank = 1, .dims = { records } },
                       .data = ys };
    quern_generator *g = quern_array_generator(&x, 1, &y, 1, NULL, NULL);
    quern_tokenizer *t = quern_tokenizer_train("char", some_text, &(int){ 0 }, NULL);
    quern_generated text;
    quern_plan plan;
    (void)state;
    assert_non_null(g);
#define REFUSED(name, call)                                \
    do {                                                   \
        err = (quern_error){ 0 };                          \
        assert_true((int64_t)(call) <= 0);                 \
        assert_int_equal(err.code, QUERN_INVALID);         \
        assert_string_equal(err.where, name);              \
        assert_non_null(strstr(err.text, "have size 1,")); \
    } while (0)
    REFUSED("quern_fit",
            (intptr_t)quern_fit(m, &x, &y, NULL, &(quern_fit_opts){ .size = 1 }, &err));
    REFUSED("quern_plan_fit", quern_plan_fit(m, g, &(quern_fit_opts){ .size = 1 }, &plan, &err));
    REFUSED("quern_predict_with",
            quern_predict_with(m, g, &(quern_predict_opts){ .size = 1 },
                               (quern_prediction_sink *)(void (*)(void))abort, NULL, &err));
    REFUSED("quern_generate",
            quern_generate(m, "a", &(quern_generate_opts){ .size = 1 }, &text, &err));
    REFUSED("quern_file_generator",
            (intptr_t)quern_file_generator("none.csv", &(quern_file_opts){ .size = 1 }, &err));
    REFUSED("quern_prepare",
            quern_prepare(g, &(quern_prepare_opts){ .size = 1 }, "none.qrec", &err));
    REFUSED("quern_text_generator",
            (intptr_t)quern_text_generator("none.txt", t, &(quern_text_opts){ .size = 1 }, &err));
    REFUSED("quern_series_array_generator", (intptr_t)quern_series_array_generator(
                                                &x, &y, &(quern_series_opts){ .size = 1 }, &err));
    REFUSED("quern_word_index_new",
            (intptr_t)quern_word_index_new(&(quern_word_opts){ .size = 1 }, &err));
    assert_null(quern_model_summary_with(m, &(quern_summary_opts){ .size = 1 }));
    assert_null(quern_program_generator("true", &(quern_program_opts){ .size = 1 }));
    quern_tokenizer_free(t);
    quern_generator_free(g);
    quern_model_free(m);
}

/* The layout of version 0.1 on 64-bit machines: a program that was compiled for it works with every
 * later library. */
static void the_layout_of_version_0_1_stays(void **state)
{
    static const struct {
        const char *name;
        size_t size, last, size_0_1, last_0_1;
    } structs[] = {
#define ROW(type, field, size, last) { #type, sizeof(type), offsetof(type, field), size, last }
        ROW(quern_fit_opts, plan, 176, 168),
        ROW(quern_predict_opts, keep, 32, 24),
        ROW(quern_generate_opts, user, 96, 88),
        ROW(quern_summary_opts, show_trainable, 16, 12),
        ROW(quern_file_opts, unknown_class, 120, 112),
        ROW(quern_prepare_opts, interrupt, 32, 24),
        ROW(quern_program_opts, data_format, 40, 32),
        ROW(quern_text_opts, memory, 40, 32),
        ROW(quern_series_opts, reserved, 64, 60),
        ROW(quern_word_opts, char_level, 48, 44),
    };
    (void)state;
    for (size_t i = 0; i < sizeof structs / sizeof *structs; i++)
        if (structs[i].size < structs[i].size_0_1 || structs[i].last != structs[i].last_0_1)
            fail_msg("%s: size %zu, last field at %zu", structs[i].name, structs[i].size,
                     structs[i].last);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_of_other_versions_are_understood),
        cmocka_unit_test(an_invalid_size_is_an_error),
        cmocka_unit_test(each_function_checks_the_size),
        cmocka_unit_test(the_layout_of_version_0_1_stays),
    };
    fill();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
