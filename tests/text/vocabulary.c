/* Vocabularies and TextVectorization, except the cases of the conformance group `preprocessing`. */
#include "text/keras/farmhash.h"
#include "text/keras/text_vectorization.h"
#include "text/tokens.h"

static quern__vocabulary *vocabulary(const char *config, bool integers, quern_error *err)
{
    json_t *root = json_loads(config, 0, NULL);
    assert_non_null(root);
    quern__vocabulary *v = quern__vocabulary_new(root, integers, err);
    json_decref(root);
    return v;
}

static quern__vectorizer *vectorizer(const char *config, quern_error *err)
{
    json_t *root = json_loads(config, 0, NULL);
    assert_non_null(root);
    quern__vectorizer *z = quern__vectorizer_new(root, err);
    json_decref(root);
    return z;
}

/* TensorFlow's fingerprints of strings of length 0 to 299. */
static void fingerprints_match_tensorflow(void **state)
{
    size_t n, k;
    char *bytes = file_of("text/fingerprints.json", &n), text[300];
    json_t *want = json_loadb(bytes, n, 0, NULL), *one;
    (void)state;
    assert_int_equal(json_array_size(want), 300);
    json_array_foreach(want, k, one)
    {
        for (size_t i = 0; i < k; i++)
            text[i] = (char)((i * 7 + k) % 251);
        assert_int_equal(quern__fingerprint64(text, k) % INT64_MAX, json_integer_value(one));
    }
    json_decref(want);
    free(bytes);
}

static void integer_keys_keep_the_order(void **state)
{
    static const int64_t values[] = { INT64_MIN, -256, -2, -1, 0, 1, 255, 256, INT64_MAX };
    char key[8], last[8];
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        quern__vocabulary_key(values[i], key);
        assert_int_equal(quern__vocabulary_value(key), values[i]);
        assert_true(i == 0 || memcmp(last, key, 8) < 0);
        memcpy(last, key, 8);
    }
}

static void arguments_that_keras_rejects_are_rejected(void **state)
{
    static const struct {
        const char *config;
        int code;
    } cases[] = {
        { "{\"output_mode\":\"hot\"}", QUERN_INVALID },
        { "{\"max_tokens\":1}", QUERN_INVALID },
        { "{\"num_oov_indices\":-1}", QUERN_INVALID },
        { "{\"pad_to_max_tokens\":true}", QUERN_INVALID },
        { "{\"invert\":true,\"output_mode\":\"count\"}", QUERN_INVALID },
        { "{\"vocabulary\":[]}", QUERN_INVALID },
        { "{\"vocabulary\":[1]}", QUERN_INVALID },
        { "{\"vocabulary\":[\"a\",\"b\",\"a\"]}", QUERN_INVALID },
        { "{\"vocabulary\":[\"a\",\"\"],\"mask_token\":\"\"}", QUERN_INVALID },
        { "{\"vocabulary\":[\"a\",\"b\"],\"max_tokens\":2}", QUERN_INVALID },
        { "{\"vocabulary\":[\"a\"],\"output_mode\":\"tf_idf\"}", QUERN_INVALID },
        { "{\"vocabulary\":[\"a\"],\"idf_weights\":[1]}", QUERN_INVALID },
        { "{\"vocabulary\":[\"a\"],\"idf_weights\":[1,2],\"output_mode\":\"tf_idf\"}",
          QUERN_INVALID },
        { "{\"vocabulary\":[\"[UNK]\"],\"invert\":true,\"num_oov_indices\":2}", QUERN_INVALID },
        { "{\"mask_token\":7}", QUERN_INVALID },
        { "{\"vocabulary\":\"words.txt\"}", QUERN_UNSUPPORTED },
        { "{\"sparse\":true}", QUERN_UNSUPPORTED },
        { "{\"salt\":3}", QUERN_UNSUPPORTED },
        { "{\"encoding\":\"latin-1\"}", QUERN_UNSUPPORTED },
    };
    static const char *const texts[] = { "{\"standardize\":\"upper\"}", "{\"split\":\"lines\"}",
                                         "{\"split\":{\"class_name\":\"function\"}}",
                                         "{\"ngrams\":2,\"split\":null}" };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        quern_error err = { 0 };
        assert_null(vocabulary(cases[i].config, false, &err));
        if (err.code != cases[i].code)
            fail_msg("%s: %d", cases[i].config, err.code);
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        quern_error err = { 0 };
        assert_null(vectorizer(texts[i], &err));
        assert_int_equal(err.code, QUERN_UNSUPPORTED);
    }
    quern_error err = { 0 };
    assert_null(vectorizer("{\"output_mode\":\"count\",\"output_sequence_length\":3}", &err));
    assert_int_equal(err.code, QUERN_INVALID);
}

/* Lists with and without the special tokens are equivalent, and get_vocabulary() can be set
 * again. */
static void vocabulary_lists_round_trip(void **state)
{
    static const char *const lists[] = { "[\"b\",\"a\"]", "[\"\",\"[UNK]\",\"b\",\"a\"]" };
    (void)state;
    for (int i = 0; i < 2; i++) {
        quern_error err = { 0 };
        quern__vocabulary *v = vocabulary("{\"mask_token\":\"\"}", false, &err);
        json_t *list = json_loads(lists[i], 0, NULL), *whole = json_loads(lists[1], 0, NULL);
        CHECK_OK(quern__vocabulary_set(v, list, NULL, &err), err);
        json_t *got = quern__vocabulary_list(v);
        assert_true(json_equal(got, whole));
        assert_int_equal(quern__vocabulary_size(v), 4);
        assert_int_equal(quern__vocabulary_find(v, "a", 1, &err), 3);
        assert_int_equal(quern__vocabulary_find(v, "", 0, &err), 0);
        assert_int_equal(quern__vocabulary_find(v, "zz", 2, &err), 1);
        json_decref(got);
        json_decref(list);
        json_decref(whole);
        quern__vocabulary_free(v);
    }
}

static void vocabularies_of_the_config_cannot_adapt(void **state)
{
    quern_error err = { 0 };
    quern__vocabulary *v =
        vocabulary("{\"vocabulary\":[\"a\"],\"num_oov_indices\":0}", false, &err);
    (void)state;
    assert_int_equal(quern__vocabulary_reset(v, &err), QUERN_INVALID);
    err = (quern_error){ 0 };
    assert_int_equal(quern__vocabulary_find(v, "b", 1, &err), QUERN_NUMBER);
    assert_non_null(strstr(err.text, "'b'"));
    quern__vocabulary_free(v);
    quern__vocabulary_free(NULL);
}

/* A second adapt starts from zero; the previous vocabulary is valid until it finishes. */
static void adapt_starts_from_zero(void **state)
{
    quern_error err = { 0 };
    quern__vectorizer *z = vectorizer("{}", &err);
    int64_t ids[4];
    (void)state;
    for (int pass = 0; pass < 2; pass++) {
        CHECK_OK(quern__vocabulary_reset(z->vocabulary, &err), err);
        CHECK_OK(quern__vectorize_adapt(z, pass ? "b b a" : "a a b", 5, &err), err);
        CHECK_OK(quern__vocabulary_finish(z->vocabulary, &err), err);
        assert_int_equal(quern__vectorize_ids(z, "A b, c", 6, ids, 4, &err), 3);
        assert_memory_equal(ids, ((int64_t[]){ pass ? 3 : 2, pass ? 2 : 3, 1 }),
                            sizeof(int64_t) * 3);
    }
    assert_int_equal(quern__vectorize_ids(z, "a b c d", 7, ids, 2, &err),
                     4); /* returns 4 indices, writes 2 */
    assert_int_equal(quern__vectorize_ids(z, "", 0, ids, 2, &err), 0);
    quern__vectorizer_free(z);
    quern__vectorizer_free(NULL);
}

static void out_of_memory_is_an_error(void **state)
{
    static const char config[] = "{\"ngrams\":2,\"output_mode\":\"tf_idf\"}",
                      text[] = "the mill grinds the grain";
    size_t live = quern__memory().live_blocks;
    (void)state;
    for (size_t nth = 1, done = 0; !done; nth++) {
        quern_error err = { 0 };
        float row[64];
        quern__memory_fail_at(nth);
        quern__vectorizer *z = vectorizer(config, &err);
        done = z && quern__vectorize_adapt(z, text, strlen(text), &err) >= 0 &&
               quern__vocabulary_finish(z->vocabulary, &err) >= 0 &&
               quern__vectorize_row(z, text, strlen(text), row, &err) >= 0;
        quern__memory_fail_at(0);
        assert_true(done || err.code == QUERN_NOMEM);
        quern__vectorizer_free(z);
        assert_int_equal(quern__memory().live_blocks, live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fingerprints_match_tensorflow),
        cmocka_unit_test(integer_keys_keep_the_order),
        cmocka_unit_test(arguments_that_keras_rejects_are_rejected),
        cmocka_unit_test(vocabulary_lists_round_trip),
        cmocka_unit_test(vocabularies_of_the_config_cannot_adapt),
        cmocka_unit_test(adapt_starts_from_zero),
        cmocka_unit_test(out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
