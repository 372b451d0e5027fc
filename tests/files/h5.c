/* Reads HDF5 files that h5py wrote: every layout and datatype of weights, and unsupported features.
 * The arrays are 0 … 34 in seven rows, or next to the file. */
#include "check.h"

#include "files/files.h"
#include "files/h5.h"

static char *bytes;
static size_t size;

static quern__h5 opened(const char *name)
{
    char path[300];
    quern_error err = { 0 };
    quern__h5 h;
    snprintf(path, sizeof path, QUERN_TEST_DATA "/h5/%s", name);
    quern__free(bytes);
    CHECK_OK(quern__file_read(path, 1 << 20, &bytes, &size, &err), err);
    CHECK_OK(quern__h5_open(&h, bytes, size, "test", &err), err);
    return h;
}

static int64_t numbers(quern__h5 *h, const char *path, float *out, int64_t room)
{
    quern_error err = { 0 };
    uint64_t object;
    quern__h5_set set;
    quern_tensor to = { .dtype = QUERN_FLOAT32, .data = out };
    assert_int_equal(quern__h5_find(h, h->root, path, &object, &err), QUERN_OK);
    CHECK_OK(quern__h5_dataset(h, object, &set, &err), err);
    assert_true(set.count <= room);
    CHECK_OK(quern__h5_read(h, &set, &to, &err), err);
    return set.count;
}

static void numbers_of_every_kind(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        float factor, term;
    } kinds[] = { { "g/plain", 1, 0 },    { "g/double", 1, 0 }, { "g/half", 1, 0 },
                  { "g/big", 1, 0 },      { "g/int8", 1, -17 }, { "g/uint16", 1800, 0 },
                  { "/g/int64", 1, -20 }, { "g/chunks", 1, 0 }, { "g//deflated", 1, 0 } };
    quern__h5 h = opened("kinds.h5");
    float got[40];
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        assert_int_equal(numbers(&h, kinds[i].path, got, 40), 35);
        for (int k = 0; k < 35; k++)
            if (got[k] != kinds[i].factor * (float)k + kinds[i].term)
                fail_msg("%s: number %d is %g", kinds[i].path, k, (double)got[k]);
    }
    numbers(&h, "g/bool", got, 40);
    assert_true(got[0] == 1 && got[1] == 0 && got[34] == 1);
    assert_int_equal(numbers(&h, "g/unwritten", got, 40), 6);
    assert_true(got[5] == 0);
    assert_int_equal(numbers(&h, "g/scalar", got, 40), 1);
    assert_true(got[0] == 3.5f);
    assert_int_equal(numbers(&h, "many/layer_137", got, 40), 1);
    assert_true(got[0] == 137);
}

static void strings_of_every_kind(void **state)
{
    (void)state;
    quern__h5 h = opened("kinds.h5");
    quern_error err = { 0 };
    uint64_t g;
    char **list;
    int n;
    assert_int_equal(quern__h5_find(&h, h.root, "g", &g, &err), QUERN_OK);
    assert_int_equal(quern__h5_strings(&h, g, "any", &list, &n, &err), QUERN_OK);
    assert_int_equal(n, 3);
    assert_string_equal(list[1], "längere Worte");
    assert_string_equal(list[2], "");
    quern__h5_strings_free(list, n);
    assert_int_equal(quern__h5_strings(&h, g, "fixed", &list, &n, &err), QUERN_OK);
    assert_string_equal(list[0], "ab");
    assert_string_equal(list[1], "cdef");
    quern__h5_strings_free(list, n);
    assert_int_equal(quern__h5_strings(&h, g, "one", &list, &n, &err), QUERN_OK);
    assert_string_equal(list[0], "alone");
    quern__h5_strings_free(list, n);
    assert_int_equal(quern__h5_strings(&h, g, "none", &list, &n, &err), QUERN_OK);
    assert_int_equal(n, 0);
    assert_int_equal(quern__h5_strings(&h, g, "nothing", &list, &n, &err), QUERN_END);
}

/* P19: links outside of the file and filters in plugins are errors. */
static void external_data_is_refused(void **state)
{
    (void)state;
    static const char *const refused[][2] = { { "soft", "is not a hard link" },
                                              { "outside", "is not a hard link" },
                                              { "elsewhere", "external files" },
                                              { "virtual", "virtual" },
                                              { "g/lzf", "filter 32000" } };
    quern__h5 h = opened("kinds.h5");
    uint64_t object;
    quern__h5_set set;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        quern_error err = { 0 };
        int status = quern__h5_find(&h, h.root, refused[i][0], &object, &err);
        if (status >= 0)
            status = quern__h5_dataset(&h, object, &set, &err);
        assert_int_equal(status, QUERN_UNSUPPORTED);
        if (!strstr(err.text, refused[i][1]))
            fail_msg("%s: %s", refused[i][0], err.text);
    }
    assert_int_equal(quern__h5_find(&h, h.root, "g/nothing", &object, &(quern_error){ 0 }),
                     QUERN_END);
}

static void the_newer_format(void **state)
{
    (void)state;
    quern__h5 h = opened("latest.h5");
    quern_error err = { 0 };
    float got[6];
    uint64_t g;
    char **list;
    int n;
    assert_int_equal(numbers(&h, "g/plain", got, 6), 6);
    assert_true(got[5] == 5);
    quern__h5_find(&h, h.root, "g", &g, &err);
    assert_int_equal(quern__h5_strings(&h, g, "any", &list, &n, &err), QUERN_OK);
    assert_string_equal(list[1], "two");
    quern__h5_strings_free(list, n);
}

/* Visits everything in a file, with any result. */
static void walk(quern__h5 *h)
{
    static const char *const paths[] = { "g/plain",  "g/half",         "g/chunks", "g/deflated",
                                         "g/scalar", "many/layer_199", "soft",     "virtual" };
    static float room[4096];
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        quern_error err = { 0 };
        quern__h5_set set;
        uint64_t object;
        char **list;
        int n;
        quern_tensor to = { .dtype = QUERN_FLOAT32, .data = room };
        if (quern__h5_find(h, h->root, paths[i], &object, &err) == QUERN_OK &&
            quern__h5_dataset(h, object, &set, &err) >= 0 && set.count <= 4096)
            quern__h5_read(h, &set, &to, &err);
        if (i == 0 && quern__h5_find(h, h->root, "g", &object, &err) == QUERN_OK &&
            quern__h5_strings(h, object, "any", &list, &n, &err) == QUERN_OK)
            quern__h5_strings_free(list, n);
    }
}

/* P19: any wrong byte and any truncation. The full test is slow. */
static void any_wrong_byte_is_safe(void **state)
{
    size_t step = *state ? 1 : 41;
    quern_error err = { 0 };
    quern__h5 h = opened("kinds.h5");
    for (size_t i = 0; i < size; i += step) {
        static const char changes[] = { '\xff', 1, '\x80' };
        for (size_t k = 0; k < sizeof changes; k++) {
            bytes[i] ^= changes[k];
            if (quern__h5_open(&h, bytes, size, "test", &err) >= 0)
                walk(&h);
            bytes[i] ^= changes[k];
        }
        char *cut = malloc(i + 1);
        memcpy(cut, bytes, i);
        if (quern__h5_open(&h, cut, i, "test", &err) >= 0)
            walk(&h);
        free(cut);
    }
    quern__free(bytes);
    bytes = NULL;
}

int main(int argc, char **argv)
{
    static int whole = 1;
    (void)argv;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_of_every_kind),
        cmocka_unit_test(strings_of_every_kind),
        cmocka_unit_test(external_data_is_refused),
        cmocka_unit_test(the_newer_format),
        cmocka_unit_test_prestate(any_wrong_byte_is_safe, argc > 1 ? &whole : NULL),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
