/* Tokenizers: the learned vocabulary, and the identity of decode(encode(text)) for any chunks. */
#include "text/tokens.h"

enum { MOST = 1 << 16 };

static int32_t ids[MOST], again[MOST];
static char out[4 * MOST];

static const char *const inverse_kinds[] = { "char bytes=true", "char bytes=true vocab_size=270",
                                             "bpe vocab_size=300", "bpe vocab_size=256" };

static int64_t encode(const quern_tokenizer *t, const char *text, size_t n)
{
    quern_error err = { 0 };
    size_t used;
    int64_t got = quern_tokenizer_encode(t, text, n, 1, ids, MOST, &used, &err);
    CHECK_OK(got, err);
    assert_int_equal(used, n);
    return got;
}

/* Checks that the text as a whole and in chunks has the same ids, and that they decode to the
 * same bytes. */
static void check_inverse(const quern_tokenizer *t, const char *text, size_t n, uint64_t seed)
{
    quern_error err = { 0 };
    int64_t count = encode(t, text, n),
            bytes = quern_tokenizer_decode(t, ids, count, out, sizeof out, &err);
    CHECK_OK(bytes, err);
    assert_int_equal(bytes, n);
    assert_memory_equal(out, text, n);
    assert_int_equal(encode_chunked(t, text, n, again, 1 + seed % 200, seed), count);
    assert_memory_equal(ids, again, (size_t)count * sizeof *ids);
}

/* Random bytes with frequent UTF-8 characters, spaces and quotes. */
static size_t random_text(char *text, size_t most, uint64_t *seed)
{
    static const char *const parts[] = { " ",        "  ",       "\n",   "'s",       "'ll",  "the",
                                         "mill",     "42",       "ü",    "東",       "🌾",    "!?",
                                         "\xe6\x9d", "\xf0\x9f", "\x80", "\xc2\xa0", "\xff", "'" };
    size_t n = 0, want = next_random(seed) % most;
    while (n + 8 < want) {
        uint64_t r = next_random(seed);
        if (r % 8 == 0) {
            text[n++] = (char)(r >> 32);
            continue;
        }
        const char *part = parts[(r >> 8) % (sizeof parts / sizeof *parts)];
        memcpy(text + n, part, strlen(part));
        n += strlen(part);
    }
    return n;
}

static void every_byte_sequence_is_decoded_exactly(void **state)
{
    static char text[9000];
    uint64_t seed = 1;
    (void)state;
    for (size_t k = 0; k < sizeof inverse_kinds / sizeof *inverse_kinds; k++) {
        quern_tokenizer *t =
            train_on(inverse_kinds[k], "the mill grinds 42 東 ü the mill 'll \n\n the mills");
        for (int i = 0; i < 300; i++) {
            size_t n = random_text(text, i % 10 ? 200 : sizeof text, &seed);
            check_inverse(t, text, n, seed);
        }
        for (int b = 0; b < 256; b++)
            text[b] = (char)b;
        check_inverse(t, text, 256, 3);
        quern_tokenizer_free(t);
    }
}

static void long_runs_are_divided_at_a_fixed_length(void **state)
{
    static const char *const units[] = { "a", " ", "é", "東", "!", "7", "\xff", "\n" };
    static char text[20000];
    (void)state;
    for (size_t u = 0; u < sizeof units / sizeof *units; u++)
        for (size_t length = QUERN_PIECE_BYTES - 5; length < 3 * QUERN_PIECE_BYTES;
             length += length < QUERN_PIECE_BYTES + 5 ? 1 : 997) {
            size_t n = 0, unit = strlen(units[u]);
            while (n < length) {
                memcpy(text + n, units[u], unit);
                n += unit;
            }
            text[n++] = 'x';
            for (size_t k = 1; k < 4; k += 2) {
                quern_tokenizer *t = train_on(inverse_kinds[k - 1], "aaaa aaaa ééé 東東 !!!! 7777");
                check_inverse(t, text, n, length * 131);
                quern_tokenizer_free(t);
            }
            if (length > 2 * QUERN_PIECE_BYTES)
                break;
        }
}

static void characters_are_numbered_in_order(void **state)
{
    quern_error err = { 0 };
    quern_tokenizer *t = train_on("char", "banana bär");
    const char *const want[] = { " ", "a", "b", "n", "r", "ä" };
    size_t used, size;
    (void)state;
    assert_string_equal(quern_tokenizer_kind(t), "char");
    assert_int_equal(quern_tokenizer_size(t), 6);
    for (int i = 0; i < 6; i++) {
        assert_string_equal(quern_tokenizer_token(t, i, &size), want[i]);
        assert_int_equal(size, strlen(want[i]));
    }
    assert_null(quern_tokenizer_token(t, 6, &size));
    assert_null(quern_tokenizer_token(t, -1, NULL));
    assert_int_equal(quern_tokenizer_encode(t, "abc", 3, 1, ids, MOST, &used, &err), QUERN_NUMBER);
    assert_non_null(strstr(err.text, "U+0063 at byte 2"));
    err = (quern_error){ 0 };
    assert_int_equal(quern_tokenizer_encode(t, "ab\xff", 3, 1, ids, MOST, &used, &err),
                     QUERN_FORMAT);
    assert_non_null(strstr(err.text, "byte 2"));
    quern_tokenizer_free(t);

    t = train_on("char vocab_size=2",
                 "bbbaacdd"); /* a and d occur twice each: the lower one is kept */
    assert_int_equal(quern_tokenizer_size(t), 2);
    assert_string_equal(quern_tokenizer_token(t, 0, NULL), "a");
    assert_string_equal(quern_tokenizer_token(t, 1, NULL), "b");
    quern_tokenizer_free(t);

    t = train_on("char lower=true", "ÄaB");
    assert_int_equal(quern_tokenizer_size(t), 3);
    assert_int_equal(encode(t, "ÄäAaBb", 8), 6);
    assert_memory_equal(ids, ((int32_t[]){ 2, 2, 0, 0, 1, 1 }), 6 * sizeof *ids);
    quern_tokenizer_free(t);
}

/* Keras's vocabulary for these texts. Keras's adapt had separate texts; newlines separate words
 * in the same way. */
static void words_match_text_vectorization(void **state)
{
    size_t n, k;
    char *bytes = file_of("keras/preprocessing/text_vectorization.json", &n), text[2000] = "";
    json_t *root = json_loadb(bytes, n, 0, NULL),
           *one = json_array_get(json_object_get(root, "cases"), 0), *line;
    json_t *vocabulary = json_object_get(json_object_get(one, "expected"), "vocabulary");
    json_t *want =
        json_object_get(json_object_get(json_object_get(one, "expected"), "output"), "data");
    (void)state;
    json_array_foreach(json_object_get(one, "adapt"), k, line)
    {
        strcat(text, json_string_value(line));
        strcat(text, "\n");
    }
    quern_tokenizer *t = train_on("word", text);
    assert_int_equal(quern_tokenizer_size(t), json_array_size(vocabulary));
    json_array_foreach(vocabulary, k, line)
        assert_string_equal(quern_tokenizer_token(t, (int32_t)k, NULL), json_string_value(line));
    json_array_foreach(json_object_get(one, "input"), k, line)
    {
        const char *input = json_string_value(line);
        int64_t count = encode(t, input, strlen(input));
        for (int64_t i = 0; i < count; i++)
            assert_int_equal(ids[i], json_integer_value(json_array_get(want, k * 8 + (size_t)i)));
        assert_int_equal(encode_chunked(t, input, strlen(input), again, 3, k), count);
        assert_memory_equal(ids, again, (size_t)count * sizeof *ids);
    }
    quern_error err = { 0 };
    int64_t length = quern_tokenizer_decode(t, (int32_t[]){ 2, 4, 0, 1 }, 4, out, sizeof out, &err);
    assert_int_equal(length, 14);
    assert_memory_equal(out, "the mill [UNK]", 14);
    quern_tokenizer_free(t);
    t = train_on("word vocab_size=4 punctuation=keep lower=false", text);
    assert_int_equal(quern_tokenizer_size(t), 4);
    assert_string_equal(quern_tokenizer_token(t, 2, NULL), "wheel");
    quern_tokenizer_free(t);
    json_decref(root);
    free(bytes);
}

/* The tokenizers library was trained on the same file. */
static void merges_match_the_tokenizers_library(void **state)
{
    size_t n, m, size;
    char *text = file_of("text/learn.txt", &n), *other = file_of("text/learned.json", &m);
    quern_error err = { 0 };
    json_t *whole = json_loadb(other, m, 0, NULL), *theirs = json_object_get(whole, "model");
    (void)state;
    for (size_t step = 0; step < 60; step += 29) {
        quern_tokenizer *t = train("bpe vocab_size=480", text, n, step, &err);
        assert_non_null(t);
        char *json = quern_tokenizer_json(t, &size, &err);
        assert_non_null(json);
        assert_int_equal(size, strlen(json));
        json_t *root = json_loadb(json, size, 0, NULL), *ours = json_object_get(root, "model");
        assert_true(json_equal(json_object_get(ours, "vocab"), json_object_get(theirs, "vocab")));
        assert_true(json_equal(json_object_get(ours, "merges"), json_object_get(theirs, "merges")));
        json_decref(root);
        free(json);
        quern_tokenizer_free(t);
    }
    json_decref(whole);
    free(text);
    free(other);
}

static void training_does_not_depend_on_read_sizes(void **state)
{
    static const char *const words[] = { "char", "char bytes=true lower=true", "word",
                                         "bpe vocab_size=400" };
    size_t n;
    char *text = file_of("text/learn.txt", &n);
    (void)state;
    for (int k = 0; k < 4; k++) {
        quern_error err = { 0 };
        quern_tokenizer *a = train(words[k], text, n, 0, &err),
                        *b = train(words[k], text, n, 1, &err);
        char *x = quern_tokenizer_json(a, NULL, &err), *y = quern_tokenizer_json(b, NULL, &err);
        assert_string_equal(x, y);
        quern_tokenizer *c = quern_tokenizer_from_json(x, strlen(x), &err);
        assert_non_null(c);
        char *z = quern_tokenizer_json(c, NULL, &err);
        assert_string_equal(x, z);
        assert_int_equal(quern_tokenizer_size(a), quern_tokenizer_size(c));
        assert_string_equal(quern_tokenizer_kind(a), quern_tokenizer_kind(c));
        quern_tokenizer_free(a);
        quern_tokenizer_free(b);
        quern_tokenizer_free(c);
        free(x);
        free(y);
        free(z);
    }
    free(text);
}

static void buffer_sizes_and_options_are_checked(void **state)
{
    static const char *const wrong[] = { "",
                                         "chars",
                                         "char min_count=2",
                                         "bpe vocab_size=255",
                                         "bpe lower=true",
                                         "word vocab_size=1",
                                         "char bytes=yes",
                                         "char bytes=true vocab_size=255",
                                         "bpe vocab_size=-3",
                                         "bpe vocab_size=1e300",
                                         "bpe vocab_size",
                                         "word size=3" };
    quern_error err = { 0 };
    quern_tokenizer *t = train_on("bpe vocab_size=256", "abc");
    size_t used;
    (void)state;
    assert_int_equal(quern_tokenizer_encode(t, "abc def", 7, 1, ids, 2, &used, &err),
                     QUERN_INVALID);
    assert_int_equal(quern_tokenizer_encode(t, "abc def", 7, 1, ids, 5, &used, NULL),
                     3); /* " def" needs 4 ids */
    assert_int_equal(used, 3);
    assert_int_equal(quern_tokenizer_encode(t, "", 0, 1, ids, 0, &used, NULL), 0);
    assert_int_equal(quern_tokenizer_decode(t, ids, 3, out, 2, NULL), QUERN_INVALID);
    assert_int_equal(quern_tokenizer_decode(t, (int32_t[]){ 256 }, 1, out, 9, NULL), QUERN_NUMBER);
    quern_tokenizer_free(t);
    quern_tokenizer_free(NULL);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        err = (quern_error){ 0 };
        assert_null(train(wrong[i], "abc", 3, 0, &err));
        assert_int_equal(err.code, QUERN_INVALID);
    }
    err = (quern_error){ 0 };
    assert_null(train("char", "ab\xff", 3, 0, &err));
    assert_int_equal(err.code, QUERN_FORMAT);
    assert_non_null(strstr(err.text, "byte 2"));
}

/* A million distinct words exceed the limit of counted words; frequent words are kept. */
static void counting_has_bounded_memory(void **state)
{
    size_t n = 0;
    char *text = malloc(12 << 20);
    (void)state;
    for (int i = 0; i < 1000000; i++)
        n += (size_t)sprintf(text + n, i % 50 ? "w%d " : "w%d mill ", i);
    quern_error err = { 0 };
    quern_tokenizer *t = train("word vocab_size=3", text, n, 0, &err);
    assert_non_null(t);
    assert_string_equal(quern_tokenizer_token(t, 2, NULL), "mill");
    quern_tokenizer_free(t);
    free(text);
}

static void encoding_does_not_allocate_and_out_of_memory_is_an_error(void **state)
{
    size_t n;
    char *text = file_of("text/learn.txt", &n);
    static const char *const words[] = { "char", "word", "bpe vocab_size=300" };
    (void)state;
    for (int k = 0; k < 3; k++) {
        quern_tokenizer *t = train_on(words[k], text);
        size_t before = quern__memory().allocations, live;
        encode(t, text, n);
        assert_int_equal(quern__memory().allocations, before);
        quern_tokenizer_free(t);
        live = quern__memory().live_blocks;
        for (size_t nth = 1, done = 0; !done; nth += 1 + nth / 8) {
            quern_error err = { 0 };
            quern__memory_fail_at(nth);
            t = train(words[k], text, n, 0, &err);
            done = t != NULL;
            quern__memory_fail_at(0);
            assert_true(t || err.code == QUERN_NOMEM);
            quern_tokenizer_free(t);
            assert_int_equal(quern__memory().live_blocks, live);
        }
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_sequence_is_decoded_exactly),
        cmocka_unit_test(long_runs_are_divided_at_a_fixed_length),
        cmocka_unit_test(characters_are_numbered_in_order),
        cmocka_unit_test(words_match_text_vectorization),
        cmocka_unit_test(merges_match_the_tokenizers_library),
        cmocka_unit_test(training_does_not_depend_on_read_sizes),
        cmocka_unit_test(buffer_sizes_and_options_are_checked),
        cmocka_unit_test(counting_has_bounded_memory),
        cmocka_unit_test(encoding_does_not_allocate_and_out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
