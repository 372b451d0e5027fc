/* JSON of RFC 8259, and infinite numbers as Python writes them: valid and invalid texts, and
 * failures of any allocation. */
#include "base/json.h"
#include "check.h"

static json_t *read_all(const char *text, quern_error *err)
{
    return quern__json_read(text, strlen(text), "here", "it", err);
}

/* Texts and their canonical form in jansson. */
static void values(void **state)
{
    static const char *const cases[][2] = {
        { "null", "null" },
        { " true\n", "true" },
        { "false", "false" },
        { "0", "0" },
        { "-0", "0" },
        { "-12", "-12" },
        { "9223372036854775807", "9223372036854775807" },
        { "-9223372036854775808", "-9223372036854775808" },
        { "0.5", "0.5" },
        { "-1.5e3", "-1500.0" },
        { "1E+2", "100.0" },
        { "2e-1", "0.20000000000000001" },
        { "\"\"", "\"\"" },
        { "\"a\\\"\\\\\\/\\b\\f\\n\\r\\tz\"", "\"a\\\"\\\\/\\b\\f\\n\\r\\tz\"" },
        { "\"\\u00e9\\uD834\\uDD1E\"", "\"\xc3\xa9\xf0\x9d\x84\x9e\"" },
        { "\"\xc3\xa9\x7f\"", "\"\xc3\xa9\x7f\"" },
        { "[]", "[]" },
        { "[Infinity, -Infinity,0.5]", "[Infinity,-Infinity,0.5]" },
        { "[\"\\\"1.7976931348623157e308\", -Infinity]",
          "[\"\\\"1.7976931348623157e308\",-Infinity]" },
        { "[1,\r\n [2\t, 3] ]", "[1,[2,3]]" },
        { "{}", "{}" },
        { "{\"b\" : {\"\":null}, \"a\":[{}]}", "{\"a\":[{}],\"b\":{\"\":null}}" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        quern_error err = { 0 };
        json_t *got = read_all(cases[i][0], &err);
        if (!got)
            fail_msg("%s: %s", cases[i][0], err.text);
        char *text = quern__json_text(got, JSON_COMPACT | JSON_SORT_KEYS);
        assert_string_equal(text, cases[i][1]);
        free(text);
        json_decref(got);
    }
}

static void invalid_texts_are_errors(void **state)
{
    static const char *const cases[][2] = {
        { "", "it, line 1: the text ends where a value is expected" },
        { "\n\n tru", "it, line 3: expected a value" },
        { "nul", "expected a value" },
        { "NaN", "NaN is not in this version" },
        { "Infinit", "expected a value" },
        { "-Infinit", "expected a value" },
        { "+1", "expected a value" },
        { ".5", "expected a value" },
        { "01", "an invalid number" },
        { "-", "an invalid number" },
        { "1.", "an invalid number" },
        { "1.e2", "an invalid number" },
        { "1e", "an invalid number" },
        { "1e+", "an invalid number" },
        { "9223372036854775808", "64 bits" },
        { "1e999", "exceeds the range of double" },
        { "1 2", "after the value" },
        { "[1]]", "after the value" },
        { "\"", "inside a string" },
        { "\"a\\", "without a valid escape" },
        { "\"\\x\"", "without a valid escape" },
        { "\"\\u12\"", "without a valid character" },
        { "\"\\uD800\"", "without a valid character" },
        { "\"\\uD800\\u0041\"", "without a valid character" },
        { "\"\\uDC00\"", "without a valid character" },
        { "\"\\u0000\"", "u0000" },
        { "\"a\nb\"", "control character" },
        { "\"\xff\"", "UTF-8" },
        { "\"\xed\xa0\x80\"", "UTF-8" },
        { "[1", "',' or ']'" },
        { "[1,]", "expected a value" },
        { "[,1]", "expected a value" },
        { "[1 2]", "',' or ']'" },
        { "{", "key in quotes" },
        { "{1:2}", "key in quotes" },
        { "{\"a\"}", "expected ':'" },
        { "{\"a\":1,}", "key in quotes" },
        { "{\"a\":1 \"b\":2}", "',' or '}'" },
        { "{\"a\":1,\"a\":2}", "twice" },
        { "{\"a\\u0000\":1}", "u0000" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        quern_error err = { 0 };
        assert_null(read_all(cases[i][0], &err));
        if (err.code != QUERN_FORMAT || strcmp(err.where, "here") || !strstr(err.text, cases[i][1]))
            fail_msg("%s: %d %s: %s", cases[i][0], err.code, err.where, err.text);
    }
    assert_null(quern__json_read("1", 0, NULL, NULL, NULL)); /* the parser reads no byte */
    assert_null(quern__json_read("\"\0\"", 3, NULL, NULL, NULL));
}

/* Nesting is limited, so that no file exhausts the stack. */
static void depth(void **state)
{
    enum { most = 2048 };
    static char text[4 * most];
    (void)state;
    for (int n = most; n <= most + 1; n++) {
        quern_error err = { 0 };
        memset(text, '[', (size_t)n);
        memset(text + n, ']', (size_t)n);
        json_t *got = quern__json_read(text, 2 * (size_t)n, "here", NULL, &err);
        assert_int_equal(got == NULL, n > most);
        assert_int_equal(err.code, n > most ? QUERN_FORMAT : QUERN_OK);
        json_decref(got);
    }
}

static void values_are_compared(void **state)
{
    json_t *one = json_integer(1);
    (void)state;
    assert_true(quern__json_is(one, "1"));
    assert_false(quern__json_is(one, "1.0")); /* an integer is not a real number */
    assert_false(quern__json_is(one, "true"));
    assert_false(quern__json_is(one, "1 1"));
    assert_true(quern__json_is(json_null(), " null "));
    assert_false(quern__json_is(NULL, "null"));
    json_decref(one);
}

static void no_memory(void **state)
{
    size_t before = quern__memory().live_blocks;
    json_t *got = NULL;
    int n = 0;
    (void)state;
    while (!got) {
        quern_error err = { 0 };
        quern__memory_fail_at((size_t)++n);
        got = read_all("{\"a long key, longer than a buffer\": [\"and \\u00e9 a long string after "
                       "it\", 1.5e10, 12]}",
                       &err);
        quern__memory_fail_at(0);
        assert_int_equal(err.code, got ? QUERN_OK : QUERN_NOMEM);
        assert_int_equal(quern__memory().live_blocks, before);
    }
    assert_true(n > 3);
    json_decref(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values), cmocka_unit_test(invalid_texts_are_errors),
        cmocka_unit_test(depth), cmocka_unit_test(values_are_compared), cmocka_unit_test(no_memory)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
