/* Tokenizer files: files of the tokenizers library give the same ids, and invalid files are
 * errors. */
#include "text/tokens.h"

enum { MOST = 1 << 14 };

static int32_t ids[MOST];

static quern_tokenizer *open_data(const char *name, quern_error *err)
{
    char path[500];
    snprintf(path, sizeof path, "%s/text/%s", QUERN_TEST_DATA, name);
    return quern_tokenizer_open(path, err);
}

/* Compares every text of `texts`, as a whole and in chunks. */
static void compare_with_library(const char *tokenizer, const char *texts, int64_t size)
{
    quern_error err = { 0 };
    size_t n, k, i, used;
    char *bytes = file_of(texts, &n), out[4000];
    json_t *cases = json_loadb(bytes, n, 0, NULL), *one, *id;
    quern_tokenizer *t = open_data(tokenizer, &err);
    assert_non_null(t);
    assert_int_equal(quern_tokenizer_size(t), size);
    json_array_foreach(cases, k, one)
    {
        const char *text = json_string_value(json_object_get(one, "text"));
        json_t *want = json_object_get(one, "ids");
        int64_t got = quern_tokenizer_encode(t, text, strlen(text), 1, ids, MOST, &used, &err);
        CHECK_OK(got, err);
        assert_int_equal(got, json_array_size(want));
        json_array_foreach(want, i, id) assert_int_equal(ids[i], json_integer_value(id));
        assert_int_equal(quern_tokenizer_decode(t, ids, got, out, sizeof out, &err), strlen(text));
        assert_memory_equal(out, text, strlen(text));
        assert_int_equal(encode_chunked(t, text, strlen(text), ids, 1 + k % 7, k), got);
        json_array_foreach(want, i, id) assert_int_equal(ids[i], json_integer_value(id));
    }
    quern_tokenizer_free(t);
    json_decref(cases);
    free(bytes);
}

static void ids_match_the_tokenizers_library(void **state)
{
    (void)state;
    compare_with_library("added.json", "text/encoded.json", 483);
    compare_with_library("later3.json", "text/later3_encoded.json", 481);
    compare_with_library("later1.json", "text/later1_encoded.json", 481);
}

/* Runs longer than a pre-token, of one class, or with another class at the end. */
static void long_runs_are_independent_of_chunks(void **state)
{
    static const char *const units[] = { "a", " ", "7", "!", "\n", "é", " \n", "!\n", "\xff" };
    static char text[12000];
    static int32_t chunked[MOST];
    quern_error err = { 0 };
    quern_tokenizer *t = open_data("later3.json", &err);
    size_t used;
    (void)state;
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        size_t n = 0;
        while (n < sizeof text - 8) {
            memcpy(text + n, units[u], strlen(units[u]));
            n += strlen(units[u]);
        }
        text[n++] = u % 2 ? 'x' : '?';
        int64_t got = quern_tokenizer_encode(t, text, n, 1, ids, MOST, &used, &err);
        CHECK_OK(got, err);
        assert_int_equal(used, n);
        for (uint64_t seed = 0; seed < 4; seed++) {
            assert_int_equal(encode_chunked(t, text, n, chunked, 3000, seed), got);
            assert_memory_equal(ids, chunked, (size_t)got * sizeof *ids);
        }
    }
    quern_tokenizer_free(t);
}

static void vocab_and_merges_equal_tokenizer_json(void **state)
{
    quern_error err = { 0 };
    quern_tokenizer *a = open_data("learned.json", &err), *b = open_data("pair", &err),
                    *c = open_data("pair/vocab.json", &err);
    (void)state;
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    char *x = quern_tokenizer_json(a, NULL, &err), *y = quern_tokenizer_json(b, NULL, &err),
         *z = quern_tokenizer_json(c, NULL, &err);
    assert_string_equal(x, y);
    assert_string_equal(x, z);
    quern_tokenizer_free(a);
    quern_tokenizer_free(b);
    quern_tokenizer_free(c);
    free(x);
    free(y);
    free(z);
    assert_null(open_data("nowhere.json", &err));
    assert_int_equal(err.code, QUERN_NOTFOUND);
    assert_non_null(strstr(err.where, "nowhere.json"));
    err = (quern_error){ 0 };
    assert_null(open_data("..", &err)); /* a folder without tokenizer files */
    assert_int_equal(err.code, QUERN_NOTFOUND);
}

/* A written tokenizer equals the original after reading, also with added tokens. */
static void written_tokenizers_are_read_identically(void **state)
{
    static const char *const names[] = { "added.json", "later3.json", "later1.json" };
    (void)state;
    for (int i = 0; i < 3; i++) {
        quern_error err = { 0 };
        quern_tokenizer *a = open_data(names[i], &err);
        char *x = quern_tokenizer_json(a, NULL, &err);
        quern_tokenizer *b = quern_tokenizer_from_json(x, strlen(x), &err);
        assert_non_null(b);
        char *y = quern_tokenizer_json(b, NULL, &err);
        assert_string_equal(x, y);
        assert_string_equal(quern_tokenizer_token(b, 480, NULL), "<|endoftext|>");
        quern_tokenizer_free(a);
        quern_tokenizer_free(b);
        free(x);
        free(y);
    }
}

static int code_of(const char *json)
{
    quern_error err = { 0 };
    quern_tokenizer *t = quern_tokenizer_from_json(json, strlen(json), &err);
    assert_true(t || err.text[0]);
    quern_tokenizer_free(t);
    return t ? 0 : err.code;
}

#define WORDS(rest)                                      \
    "{\"model\":{\"type\":\"WordLevel\",\"vocab\":" rest \
    "},\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"}}"
#define PAIRS(rest) \
    "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},\"pre_tokenizer\":" rest "}"
#define CHARS(vocab) \
    "{\"model\":{\"type\":\"BPE\",\"vocab\":" vocab ",\"merges\":[],\"byte_fallback\":false}}"

static void unsupported_settings_are_rejected(void **state)
{
    static const struct {
        const char *json;
        int code;
    } cases[] = {
        { "", QUERN_FORMAT },
        { "[]", QUERN_FORMAT },
        { "{}", QUERN_FORMAT },
        { "{\"model\":3}", QUERN_FORMAT },
        { "{\"model\":{\"vocab\":[]}}", QUERN_FORMAT },
        { CHARS("{\"a\":0,\"b\":1}"), 0 },
        { CHARS("{\"a\":0,\"b\":0}"), QUERN_FORMAT },
        { CHARS("{\"a\":0,\"a\":1}"), QUERN_FORMAT },
        { CHARS("{\"a\":0,\"b\":2}"), QUERN_FORMAT },
        { CHARS("{\"ab\":0}"), QUERN_FORMAT },
        { CHARS("{\"\":0}"), QUERN_FORMAT },
        { CHARS("{\"a\":-1}"), QUERN_FORMAT },
        { CHARS("{\"a\":4000000}"), QUERN_FORMAT },
        { CHARS("{\"a\":9000000000000000000}"), QUERN_FORMAT },
        { CHARS("{\"a\":0.5}"), QUERN_FORMAT },
        { CHARS("{\"a\\u0000\":0}"), QUERN_FORMAT },
        { WORDS("{\"\":0,\"[UNK]\":1,\"mill\":2}"), 0 },
        { WORDS("{\"\":0,\"mill\":1}"), QUERN_UNSUPPORTED },
        { WORDS("{\"\":0,\"[UNK]\":1,\"mill\":3}"), QUERN_UNSUPPORTED },
        { PAIRS("{\"type\":\"ByteLevel\"}"), QUERN_UNSUPPORTED }, /* without all bytes */
        { PAIRS("{\"type\":\"ByteLevel\",\"add_prefix_space\":true}"), QUERN_UNSUPPORTED },
        { PAIRS("{\"type\":\"ByteLevel\",\"use_regex\":false}"), QUERN_UNSUPPORTED },
        { PAIRS("{\"type\":\"Metaspace\"}"), QUERN_UNSUPPORTED },
        { "{\"model\":{\"type\":\"Unigram\",\"vocab\":{}}}", QUERN_UNSUPPORTED },
        { "{\"normalizer\":{\"type\":\"NFC\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}",
          QUERN_UNSUPPORTED },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"byte_fallback\":true}}",
          QUERN_UNSUPPORTED },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (code_of(cases[i].json) != cases[i].code)
            fail_msg("%s: %d, expected %d", cases[i].json, code_of(cases[i].json), cases[i].code);
    char *deep = malloc(200001); /* unclosed brackets */
    memset(deep, '[', 200000);
    deep[200000] = 0;
    assert_int_equal(code_of(deep), QUERN_FORMAT);
    free(deep);
    quern_tokenizer *t = train_on("char bytes=true", "ab"); /* the token of one byte is missing */
    char *json = quern_tokenizer_json(t, NULL, NULL), *byte = strstr(json, "\"<0x41>\"");
    assert_non_null(byte);
    memset(byte, ' ', strcspn(byte, ",") + 1);
    assert_int_equal(code_of(json), QUERN_FORMAT);
    quern_tokenizer_free(t);
    free(json);
}

/* Encodes a short text with the tokenizer read from corrupt bytes. */
static void try_bytes(const char *bytes, size_t n)
{
    static const char text[] = "the mill's  東京\xff <|endoftext|> 42\n";
    quern_error err = { 0 };
    size_t used;
    char *own = malloc(n + 1); /* exact size, so that a sanitizer detects reads past the end */
    memcpy(own, bytes, n);
    quern_tokenizer *t = quern_tokenizer_from_json(own, n, &err);
    if (t) {
        int64_t got = quern_tokenizer_encode(t, text, sizeof text - 1, 1, ids, MOST, &used, &err);
        for (int64_t i = 0; i < got; i++)
            assert_non_null(quern_tokenizer_token(t, ids[i], NULL));
    } else
        assert_true(err.code < 0 && err.text[0]);
    quern_tokenizer_free(t);
    free(own);
}

static void corrupt_files_are_errors(void **state)
{
    static const char *const words[] = { "char", "char bytes=true", "word", NULL };
    size_t n;
    (void)state;
    for (int k = 0; k < 4; k++) {
        quern_error err = { 0 };
        quern_tokenizer *t =
            words[k] ? train_on(words[k], "the mill") : open_data("added.json", &err);
        char *json = quern_tokenizer_json(t, &n, &err);
        quern_tokenizer_free(t);
        size_t step = k == 3 ? 11 : 1;
        for (size_t i = 0; i < n; i += step) {
            try_bytes(json, i);
            char was = json[i];
            for (int bit = 0; bit < 8; bit += k == 3 ? 3 : 1) {
                json[i] = (char)(was ^ 1 << bit);
                try_bytes(json, n);
            }
            json[i] = was;
        }
        free(json);
    }
}

static void out_of_memory_is_an_error(void **state)
{
    size_t n;
    char *json = file_of("text/added.json", &n);
    size_t live = quern__memory().live_blocks;
    (void)state;
    for (size_t nth = 1, done = 0; !done; nth++) {
        quern_error err = { 0 };
        quern__memory_fail_at(nth);
        quern_tokenizer *t = quern_tokenizer_from_json(json, n, &err);
        done = t != NULL;
        quern__memory_fail_at(0);
        assert_true(t || err.code == QUERN_NOMEM);
        quern_tokenizer_free(t);
        assert_int_equal(quern__memory().live_blocks, live);
    }
    free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_match_the_tokenizers_library),
        cmocka_unit_test(long_runs_are_independent_of_chunks),
        cmocka_unit_test(vocab_and_merges_equal_tokenizer_json),
        cmocka_unit_test(written_tokenizers_are_read_identically),
        cmocka_unit_test(unsupported_settings_are_rejected),
        cmocka_unit_test(corrupt_files_are_errors),
        cmocka_unit_test(out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
