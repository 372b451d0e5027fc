/* Models with text inputs: a Keras file with a vocabulary, against the predictions of Keras;
 * vocabularies that are learned from a stream, saved and opened again; data that is not text, or
 * too long, is refused by name. */
#include "common.h"

#include "queue/queue.h"

static quern_string of(const char *s) { return (quern_string){ s, (int64_t)strlen(s) }; }

static quern_tensor texts_of(quern_string *s, int64_t n)
{
    return (
        quern_tensor){ .dtype = QUERN_STRING, .shape = { .rank = 1, .dims = { n } }, .data = s };
}

static quern_model *must(quern_model *m, const quern_error *err)
{
    if (!m)
        fail_msg("%s: %s", err->where, err->text);
    return m;
}

/* The predictions of Keras 3.15.1 for the texts below. */
static const float keras_says[4 * 15] = {
    -0.023721f, -0.041063f, 0.048974f,  0.019745f,  0.020206f, 0.026177f, -0.023721f, -0.041063f,
    0.048974f,  -0.037509f, -0.014725f, -0.047998f, 0.039084f, 0.022867f, 0.031099f,  -0.005519f,
    0.042407f,  0.032690f,  0.045092f,  0.049902f,  0.042706f, 0.020115f, -0.029355f, 0.030784f,
    0.030677f,  0.031144f,  -0.003349f, 0.013208f,  0.016683f, 0.005557f, 0.039084f,  0.022867f,
    0.031099f,  0.039084f,  0.022867f,  0.031099f,  0.039084f, 0.022867f, 0.031099f,  0.039084f,
    0.022867f,  0.031099f,  0.039084f,  0.022867f,  0.031099f, 0.041574f, 0.011396f,  -0.015981f,
    0.041574f,  0.011396f,  -0.015981f, 0.039084f,  0.022867f, 0.031099f, 0.039084f,  0.022867f,
    0.031099f,  0.039084f,  0.022867f,  0.031099f
};

static void keras_opens_and_trains(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_string s[4] = { of("The wheel, the MILL!"), of("grain über straße 東京 — the b a z"),
                          of(""), of("unknown words") };
    quern_tensor x = texts_of(s, 4);
    static float out[60], again[60], zeros[60];
    quern_tensor y = { .dtype = QUERN_FLOAT32,
                       .shape = { .rank = 3, .dims = { 4, 5, 3 } },
                       .data = zeros };
    quern_model *m = must(
        quern_model_open(QUERN_TEST_DATA "/keras/preprocessing/with_vocabulary.keras", &err), &err);
    assert_int_equal(quern_predict(m, &x, 3, (float *[]){ out }, &err), 4);
    for (int i = 0; i < 60; i++)
        CHECK_NEAR(out[i], keras_says[i], 0, 1e-6);
    assert_int_equal(quern_compile(m, "sgd learning_rate=0.1", "mse", NULL, &err), QUERN_OK);
    quern_history *h =
        quern_fit(m, &x, &y, NULL, &(quern_fit_opts){ .epochs = 3, .batch_size = 3 }, &err);
    assert_non_null(h);
    assert_true(quern_history_value(h, "loss", 2) < 0.95 * quern_history_value(h, "loss", 0));
    quern_history_free(h);
    assert_int_equal(quern_predict(m, &x, 3, (float *[]){ out }, &err), 4);
    assert_int_equal(quern_model_save(m, QUERN_BINARY_DIR "/tests/words.keras", &err), QUERN_OK);
    quern_model_free(m);
    m = must(quern_model_open(QUERN_BINARY_DIR "/tests/words.keras", &err), &err);
    assert_int_equal(quern_predict(m, &x, 4, (float *[]){ again }, &err), 4);
    assert_memory_equal(out, again, sizeof out);
    quern_model_free(m);
}

/* Layers, texts for adapt, inputs, and the expected ids, by Keras's rules: descending frequency,
 * ties in descending byte order. */
static void vocabularies_are_learned(void **state)
{
    (void)state;
    quern_string learned[4] = { of("b a"), of("b\nB!"), of("c"), of("b a") },
                 asked[2] = { of("a b B x"), of("c") };
    const struct {
        const char *words;
        int columns;
        float want[12];
    } cases[] = {
        /* 2 b (three and one in upper case), 3 a, 4 c */
        { "input dtype=string | text_vectorization 5 output_sequence_length=5",
          5,
          { 3, 2, 2, 1, 0, 4 } },
        { "input dtype=string | text_vectorization 6 output_mode=count pad_to_max_tokens=true",
          6,
          { 1, 2, 1, 0, 0, 0, 0, 0, 0, 1 } },
        /* the most frequent character is b, then a */
        { "input dtype=string | text_vectorization 3 split=character output_mode=multi_hot "
          "pad_to_max_tokens=true",
          3,
          { 1, 1, 1, 1, 0, 0 } },
        { "input dtype=string | string_lookup", 1, { 0, 2 } }, /* 1 "b a", 2 "c", 3 "b\nB!" */
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        quern_error err = { 0 };
        float out[12], again[12];
        quern_tensor x = texts_of(learned, 4), ask = texts_of(asked, 2);
        quern_model *m = must(quern_model_from_spec(cases[k].words, 1, &err), &err);
        quern_generator *g = quern_array_generator(&x, 1, NULL, 0, NULL, &err);
        for (int twice = 0; twice < 2; twice++) /* adapt starts from the beginning */
            if (quern_adapt(m, NULL, g, 3, 0, &err) != 1)
                fail_msg("%s: %s: %s", cases[k].words, err.where, err.text);
        quern_generator_free(g);
        if (quern_predict(m, &ask, 2, (float *[]){ out }, &err) != 2)
            fail_msg("%s: %s: %s", cases[k].words, err.where, err.text);
        for (int i = 0; i < 2 * cases[k].columns; i++)
            if (out[i] != cases[k].want[i])
                fail_msg("%s: number %d is %g, not %g", cases[k].words, i, (double)out[i],
                         (double)cases[k].want[i]);
        assert_int_equal(quern_model_save(m, QUERN_BINARY_DIR "/tests/learned.keras", &err),
                         QUERN_OK);
        quern_model_free(m);
        m = must(quern_model_open(QUERN_BINARY_DIR "/tests/learned.keras", &err), &err);
        assert_int_equal(quern_predict(m, &ask, 2, (float *[]){ again }, &err), 2);
        assert_memory_equal(out, again, (size_t)(2 * cases[k].columns) * sizeof *out);
        quern_model_free(m);
    }
}

/* Integers are looked up as numbers; the file stores the weights of tf_idf. */
static void integers_and_tf_idf(void **state)
{
    (void)state;
    quern_error err = { 0 };
    int64_t seen[6] = { 7, 7, -2, 7, -2, 5 }, asked[3] = { -2, 9, 7 };
    float out[9], again[9];
    quern_tensor x = { .dtype = QUERN_INT64,
                       .shape = { .rank = 2, .dims = { 3, 2 } },
                       .data = seen };
    quern_tensor ask = { .dtype = QUERN_INT64,
                         .shape = { .rank = 2, .dims = { 1, 2 } },
                         .data = asked };
    for (int way = 0; way < 2; way++) {
        quern_model *m =
            must(quern_model_from_spec(
                     way ? "input 2 | integer_lookup 4 output_mode=tf_idf pad_to_max_tokens=true"
                         : "input 2 | integer_lookup num_oov_indices=3",
                     1, &err),
                 &err);
        quern_generator *g = quern_array_generator(&x, 1, NULL, 0, NULL, &err);
        if (quern_adapt(m, NULL, g, 2, 0, &err) != 1 ||
            quern_predict(m, &ask, 1, (float *[]){ out }, &err) != 1)
            fail_msg("%s: %s", err.where, err.text);
        quern_generator_free(g);
        /* three records: 7 in two of them, -2 in two, 5 in one; ln(1 + 3 / (1 + records)); the
         * unknown token has the mean */
        double two = log(1 + 3.0 / 3), one = log(1 + 3.0 / 2);
        const double want[2][4] = { { 4, 0 }, { (two + two + one) / 3, 0, two, 0 } };
        for (int i = 0; i < (way ? 4 : 2); i++)
            CHECK_NEAR(out[i], want[way][i], 1e-6, 0);
        assert_int_equal(quern_model_save(m, QUERN_BINARY_DIR "/tests/integers.keras", &err),
                         QUERN_OK);
        quern_model_free(m);
        m = must(quern_model_open(QUERN_BINARY_DIR "/tests/integers.keras", &err), &err);
        assert_int_equal(quern_predict(m, &ask, 1, (float *[]){ again }, &err), 1);
        assert_memory_equal(out, again, (way ? 4 : 2) * sizeof *out);
        quern_model_free(m);
    }
}

static void mistakes_are_named(void **state)
{
    (void)state;
    static const char *const words[][2] = {
        { "input 2 dtype=string | dense 3", "the input is text" },
        { "input 3 | text_vectorization output_sequence_length=4", "the input must be text" },
        { "input 3 | string_lookup", "the input must be text" },
        { "input dtype=string | integer_lookup", "the input must be numbers" },
        { "input dtype=string | text_vectorization", "output_sequence_length" },
        { "input dtype=string | text_vectorization output_mode=count", "pad_to_max_tokens" },
        { "input dtype=string | string_lookup invert=true", "invert" },
        { "input 4 dtype=string | text_vectorization output_sequence_length=4", "(None, 1)" },
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        quern_error err = { 0 };
        quern_model *m = quern_model_from_spec(words[i][0], 1, &err);
        if (m || !strstr(err.text, words[i][1]))
            fail_msg("%s: '%s: %s'", words[i][0], m ? "works" : err.where, err.text);
    }
    quern_error err = { 0 };
    quern_model *m =
        must(quern_model_from_spec("input dtype=string | string_lookup num_oov_indices=0", 1, &err),
             &err);
    static char much[QUERN_MOST_STRING + 1];
    quern_string s[2] = { of("a"), { much, sizeof much } }, known[2] = { of("a"), of("b") },
                 other[2] = { of("b"), of("c") };
    quern_tensor x = texts_of(s, 2), k = texts_of(known, 2), o = texts_of(other, 2);
    float out[2], number = 1;
    assert_true(quern_predict(m, &x, 2, (float *[]){ out }, &err) < 0);
    assert_non_null(strstr(err.text, "record 1: a string of 65537 bytes"));
    err = (quern_error){ 0 };
    quern_tensor n = { .dtype = QUERN_FLOAT32,
                       .shape = { .rank = 1, .dims = { 1 } },
                       .data = &number };
    assert_true(quern_predict(m, &n, 2, (float *[]){ out }, &err) < 0);
    assert_non_null(strstr(err.text, "has type float32, the model expects string"));
    err = (quern_error){ 0 };
    quern_generator *g = quern_array_generator(&k, 1, NULL, 0, NULL, &err);
    assert_int_equal(quern_adapt(m, NULL, g, 2, 0, &err), 1);
    assert_true(quern_predict(m, &o, 2, (float *[]){ out }, &err) < 0);
    assert_non_null(strstr(err.where, "record 1"));
    assert_non_null(strstr(err.text, "not in the vocabulary"));
    quern_generator_free(g);
    quern_model_free(m);
}

/* Before adapt, Keras's table is "not initialized". */
static void a_lookup_before_adapt_fails(void **state)
{
    (void)state;
    static const char *const words[] = {
        "input dtype=string | text_vectorization output_sequence_length=2",
        "input 1 | integer_lookup",
        "input dtype=string | string_lookup max_tokens=4 output_mode=one_hot pad_to_max_tokens=true"
    };
    quern_string s = of("a");
    float number = 3, out[4];
    quern_tensor text = texts_of(&s, 1), numbers = { .dtype = QUERN_FLOAT32,
                                                     .shape = { .rank = 1, .dims = { 1 } },
                                                     .data = &number };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        quern_error err = { 0 };
        quern_model *m = must(quern_model_from_spec(words[i], 1, &err), &err);
        if (quern_predict(m, i == 1 ? &numbers : &text, 1, (float *[]){ out }, &err) >= 0 ||
            !strstr(err.text, "is not learned"))
            fail_msg("%s: '%s'", words[i], err.text);
        quern_model_free(m);
    }
}

/* A pull callback whose strings are copied into the batch's buffer: its own buffer may change. */
static int next(void *user, quern_batch *b, quern_error *err)
{
    int64_t *size = user;
    static char buffer[QUERN_MOST_STRING];
    memset(buffer, 'a', sizeof buffer);
    for (int64_t r = 0; r < b->size; r++) {
        buffer[0] = (char)('a' + r % 26);
        int status = quern_batch_put_string(b, 0, r, buffer, *size, err);
        if (status < 0)
            return status;
    }
    return QUERN_OK;
}

static void string_memory_is_bounded(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        quern_error err = { 0 };
        int64_t size = way == 0 ? 1 : way == 1 ? QUERN_STRING_ROOM : QUERN_STRING_ROOM + 1;
        quern_generator *g = quern_callback_generator(&(quern_callback_ops){ .next = next }, &size);
        quern__queue_opts o = { .spec = { .n_inputs = 1,
                                          .batch_size = 40,
                                          .shapes = { { .rank = 1, .dims = { -1 } } },
                                          .dtypes = { QUERN_STRING },
                                          .names = { "text" } },
                                .depth = 2,
                                .workers = 1 };
        quern__queue *q = quern__queue_open(g, &o, &err);
        quern_batch *b;
        assert_non_null(q);
        assert_int_equal(quern__queue_begin(q, 0, 5, false, &err), QUERN_OK);
        for (int k = 0; k < 5 && way < 2; k++) {
            assert_int_equal(quern__queue_take(q, &b, &err), QUERN_OK);
            const quern_string *s = b->arrays[0];
            for (int r = 0; r < 40; r++)
                assert_true(s[r].size == size && s[r].data[0] == 'a' + r % 26);
            quern__queue_release(q);
        }
        if (way == 2) {
            assert_true(quern__queue_take(q, &b, &err) < 0);
            assert_non_null(strstr(err.text, "record 39 of the batch"));
        }
        quern__queue_close(q);
        quern_generator_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keras_opens_and_trains),      cmocka_unit_test(vocabularies_are_learned),
        cmocka_unit_test(integers_and_tf_idf),         cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(a_lookup_before_adapt_fails), cmocka_unit_test(string_memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
