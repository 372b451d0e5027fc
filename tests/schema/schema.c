/* P22: the JSON form of a schema, and the rejection of invalid schemas. */
#include "check.h"

#include "schema/schema.h"

#include <stdlib.h>

static const char whole[] = "{\"version\":1,\"separator\":\";\",\"decimal\":\",\",\"header\":false,"
                            "\"encoding\":\"latin1\",\"missing\":[\"-\"],"
                            "\"features\":[{\"name\":\"a\",\"kind\":\"number\",\"fill\":2.5},{"
                            "\"name\":\"t\",\"kind\":\"text\"}],"
                            "\"targets\":[{\"name\":\"k\",\"kind\":\"class\",\"output\":1,\"fill\":"
                            "\"a\",\"classes\":[\"b\",\"a\",\"c\"]}]}";

static void json_round_trip_is_identical(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_schema *s = quern_schema_from_json(whole, strlen(whole), &err);
    CHECK_OK(s ? 0 : err.code, err);
    assert_int_equal(quern_schema_features(s), 2);
    assert_string_equal(quern_schema_feature(s, 1), "t");
    assert_null(quern_schema_feature(s, 2));
    assert_string_equal(quern_schema_target(s, 0), "k");
    assert_int_equal(quern_schema_target_output(s, 0), 1);
    assert_int_equal(quern_schema_classes(s, 0), 3);
    assert_string_equal(quern_schema_class(s, 0, 1), "a"); /* in the order of the file */
    assert_int_equal(quern_schema_find_class(s, 0, "a"), 1);
    assert_int_equal(quern_schema_find_class(s, 0, "c"), 2);
    assert_int_equal(quern_schema_find_class(s, 0, "d"), -1);
    assert_true(s->separator == ';' && s->decimal == ',' && s->no_header && s->missing_given &&
                s->columns[0].fill == 2.5);
    assert_string_equal(s->columns[2].fill_class, "a");
    quern_schema *copy = quern__schema_copy(s, &err);
    char *a = quern_schema_json(s, &err), *b = quern_schema_json(copy, &err);
    assert_string_equal(a, b);
    json_t *one = json_loads(a, 0, NULL), *two = json_loads(whole, 0, NULL);
    assert_true(json_equal(one, two));
    json_decref(one);
    json_decref(two);
    free(a);
    free(b);
    quern_schema_free(copy);
    quern_schema_free(s);
}

/* Each change makes the schema invalid. */
static void invalid_schemas_are_rejected(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
    } changes[] = { { "\"version\":1", "\"version\":2" },
                    { "\"separator\":\";\"", "\"separator\":\";;\"" },
                    { "\"decimal\":\",\",", "" },
                    { "\"header\"", "\"heading\"" },
                    { "\"header\":false", "\"header\":0" },
                    { "\"encoding\":\"latin1\"", "\"encoding\":1" },
                    { "\"fill\":2.5", "\"fill\":\"2.5\"" },
                    { "\"fill\":\"a\"", "\"fill\":1" },
                    { "\"kind\":\"text\"", "\"kind\":\"class\",\"classes\":[\"x\"]" },
                    { "[\"b\",\"a\",\"c\"]", "[]" },
                    { "\"targets\":[",
                      "\"targets\":[{\"name\":\"k\",\"kind\":\"number\",\"output\":0}," },
                    { "\"kind\":\"text\"", "\"kind\":\"words\"" },
                    { "\"name\":\"t\"", "\"name\":\"a\"" },
                    { "\"name\":\"t\"", "\"nom\":\"t\"" },
                    { "\"output\":1", "\"output\":-1" },
                    { "\"output\":1,", "" },
                    { "\"a\",\"c\"", "\"b\",\"c\"" },
                    { "\"classes\":[\"b\"", "\"classes\":[1" },
                    { ",\"classes\":[\"b\",\"a\",\"c\"]", "" },
                    { "\"targets\":[", "\"targets\":7,\"x\":[" } };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char text[1024];
        quern_error err = { 0 };
        const char *at = strstr(whole, changes[i].from);
        assert_non_null(at);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - whole), whole, changes[i].to,
                 at + strlen(changes[i].from));
        quern_schema *s = quern_schema_from_json(text, strlen(text), &err);
        if (s || !err.code || !*err.text)
            fail_msg("change %zu is accepted: %s", i, text);
    }
    for (size_t n = 0; n < strlen(whole); n++)
        assert_null(quern_schema_from_json(whole, n, NULL));
}

static void comma_separated_names_are_parsed(void **state)
{
    (void)state;
    char text[] = "a,\"b,\"\"c\"\"\",,d=\"e,f\"", *rest = text, stop;
    assert_string_equal(quern__next_name(&rest, ",=", &stop), "a");
    assert_string_equal(quern__next_name(&rest, ",=", &stop), "b,\"c\"");
    assert_int_equal(stop, ',');
    assert_string_equal(quern__next_name(&rest, ",=", &stop), "");
    assert_string_equal(quern__next_name(&rest, ",=", &stop), "d");
    assert_int_equal(stop, '=');
    assert_string_equal(quern__next_name(&rest, ",", &stop), "e,f");
    assert_int_equal(stop, 0);
    assert_null(quern__next_name(&rest, ",", &stop));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(json_round_trip_is_identical),
                                        cmocka_unit_test(invalid_schemas_are_rejected),
                                        cmocka_unit_test(comma_separated_names_are_parsed) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
