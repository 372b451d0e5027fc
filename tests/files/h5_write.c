/* Writes HDF5 files and reads them with a reader that is tested with files of h5py. Expected: the
 * numbers and names that were written, and the layout of the HDF5 File Format Specification 3.0. */
#include "check.h"

#include "files/files.h"
#include "files/h5.h"

#include <errno.h>
#include <unistd.h>

static quern__variable *variable(int dtype, quern_shape shape)
{
    quern_error err = { 0 };
    quern__variable *v = quern__variable_new("v", dtype, &shape, true, &err);
    assert_non_null(v);
    return v;
}

static uint64_t found(quern__h5 *h, const char *path)
{
    quern_error err = { 0 };
    uint64_t object = 0;
    if (quern__h5_find(h, h->root, path, &object, &err) != QUERN_OK)
        fail_msg("%s: %s", path, err.text);
    return object;
}

/* A group of that many datasets with their index as the name: one symbol table node, and B-trees of
 * one, two and three levels. */
static void groups_of_any_size(void **state)
{
    static const int sizes[] = { 0, 1, 8, 9, 255, 256, 257, 8192, 8193 };
    quern_error err = { 0 };
    quern__variable *v = variable(QUERN_INT64, (quern_shape){ .rank = 0 });
    char path[64];
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        quern__image image = { 0 };
        quern__h5 h;
        quern__h5_file *f = quern__h5_create(NULL, &image, &err);
        assert_non_null(f);
        CHECK_OK(quern__h5_write_group(f, "a/many", NULL, NULL, &err), err);
        for (int i = 0; i < sizes[s]; i++) {
            *(int64_t *)quern__variable_numbers(v) = i;
            snprintf(path, sizeof path, "a/many/%d", i);
            CHECK_OK(quern__h5_write_variable(f, path, v, &err), err);
        }
        CHECK_OK(quern__h5_finish(f, &err), err);
        CHECK_OK(quern__h5_open(&h, image.bytes, image.n, "test", &err), err);
        found(&h, "a/many");
        for (int i = 0; i < sizes[s]; i++) {
            snprintf(path, sizeof path, "a/many/%d", i);
            CHECK_OK(quern__h5_read_variable(&h, found(&h, path), "test", v, &err), err);
            assert_int_equal(*(int64_t *)quern__variable_numbers(v), i);
        }
        snprintf(path, sizeof path, "a/many/%d", sizes[s]);
        uint64_t object;
        assert_int_equal(quern__h5_find(&h, h.root, path, &object, &err), QUERN_END);
        quern__free(image.bytes);
    }
    quern__variable_free(v);
}

/* Every dtype, rank 0 to 3, and empty arrays. */
static void numbers(void **state)
{
    static const quern_shape shapes[] = { { .rank = 0 },
                                          { .rank = 1, .dims = { 5 } },
                                          { .rank = 3, .dims = { 2, 3, 4 } },
                                          { .rank = 2, .dims = { 0, 3 } } };
    static const int types[] = { QUERN_FLOAT32, QUERN_INT32, QUERN_INT64 };
    quern_error err = { 0 };
    (void)state;
    for (int t = 0; t < 3; t++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            quern__image image = { 0 };
            quern__h5 h;
            quern__variable *v = variable(types[t], shapes[s]),
                            *back = variable(types[t], shapes[s]);
            size_t bytes;
            quern__shape_bytes(&v->shape, v->dtype, &bytes);
            for (size_t i = 0; i < bytes; i++)
                ((char *)quern__variable_numbers(v))[i] = (char)(i + 1);
            quern__h5_file *f = quern__h5_create(NULL, &image, &err);
            CHECK_OK(quern__h5_write_variable(f, "v", v, &err), err);
            CHECK_OK(quern__h5_finish(f, &err), err);
            CHECK_OK(quern__h5_open(&h, image.bytes, image.n, "test", &err), err);
            CHECK_OK(quern__h5_read_variable(&h, found(&h, "v"), "test", back, &err), err);
            assert_memory_equal(quern__variable_numbers(v), quern__variable_numbers(back), bytes);
            quern__variable_free(v);
            quern__variable_free(back);
            quern__free(image.bytes);
        }
}

static void expect_text(quern__h5 *h, const char *path, const char *name, const char *want)
{
    quern_error err = { 0 };
    char **list;
    int n;
    CHECK_OK(quern__h5_strings(h, *path ? found(h, path) : h->root, name, &list, &n, &err), err);
    assert_int_equal(n, 1);
    assert_string_equal(list[0], want);
    quern__h5_strings_free(list, n);
}

/* Strings shorter and longer than a heap collection, many, none, and lists that fit or do not fit
 * into one attribute. */
static void attributes(void **state)
{
    enum { many = 700, longest = 100 };
    static char long_text[70001], names[many][longest + 1];
    static const char *list[many];
    quern_error err = { 0 };
    quern__image image = { 0 };
    quern__h5 h;
    char path[32], **back;
    int n;
    (void)state;
    memset(long_text, 'x', sizeof long_text - 1);
    quern__h5_file *f = quern__h5_create(NULL, &image, &err);
    CHECK_OK(quern__h5_write_text(f, "", "long", long_text, &err), err);
    for (int i = 0; i < 300; i++) {
        snprintf(path, sizeof path, "g/%d", i);
        CHECK_OK(quern__h5_write_group(f, path, "name", path, &err), err);
    }
    CHECK_OK(quern__h5_write_text(f, "g", "empty", "", &err), err);
    CHECK_OK(quern__h5_write_text(f, "g", "utf8", "\xc3\xa9", &err), err);
    for (int i = 0; i < many; i++) {
        memset(names[i], 'a' + i % 26, longest);
        snprintf(names[i], longest, "%d", i);
        list[i] = names[i];
    }
    memset(names[0], 'z', longest);
    CHECK_OK(quern__h5_write_texts(f, "g", "few", list, 3, &err), err);
    CHECK_OK(quern__h5_write_texts(f, "g", "none", list, 0, &err), err);
    CHECK_OK(quern__h5_write_texts(f, "g", "many", list, many, &err),
             err); /* an attribute holds 645 strings of 100 bytes */
    CHECK_OK(quern__h5_finish(f, &err), err);
    CHECK_OK(quern__h5_open(&h, image.bytes, image.n, "test", &err), err);
    expect_text(&h, "", "long", long_text);
    for (int i = 0; i < 300; i++) {
        snprintf(path, sizeof path, "g/%d", i);
        expect_text(&h, path, "name", path);
    }
    expect_text(&h, "g", "empty", "");
    expect_text(&h, "g", "utf8", "\xc3\xa9");
    static const struct {
        const char *name;
        int from, n;
    } lists[] = {
        { "few", 0, 3 }, { "none", 0, 0 }, { "many0", 0, 645 }, { "many1", 645, many - 645 }
    };
    for (int k = 0; k < 4; k++) {
        CHECK_OK(quern__h5_strings(&h, found(&h, "g"), lists[k].name, &back, &n, &err), err);
        assert_int_equal(n, lists[k].n);
        for (int i = 0; i < n; i++)
            assert_string_equal(back[i], names[lists[k].from + i]);
        quern__h5_strings_free(back, n);
    }
    quern__free(image.bytes);
}

static int write_some(quern__h5_file *f, quern_error *err)
{
    quern__variable *v = variable(QUERN_FLOAT32, (quern_shape){ .rank = 1, .dims = { 1000 } });
    int status = quern__h5_write_group(f, "layers/a/vars", "name", "a", err);
    if (status >= 0)
        status = quern__h5_write_variable(f, "layers/a/vars/0", v, err);
    if (status >= 0)
        status = quern__h5_write_group(f, "vars", NULL, NULL, err);
    quern__variable_free(v);
    return status;
}

/* The file on disk equals the one in memory, and a second write gives the same bytes. */
static void same_bytes(void **state)
{
    static const char path[] = "h5_write.h5";
    quern_error err = { 0 };
    quern__image images[2] = { 0 };
    char *bytes;
    size_t n;
    (void)state;
    for (int i = 0; i < 3; i++) {
        quern__h5_file *f = quern__h5_create(path, i < 2 ? &images[i] : NULL, &err);
        assert_non_null(f);
        CHECK_OK(write_some(f, &err), err);
        CHECK_OK(quern__h5_finish(f, &err), err);
    }
    CHECK_OK(quern__file_read(path, 1 << 20, &bytes, &n, &err), err);
    unlink(path);
    assert_int_equal(n, images[0].n);
    assert_int_equal(n, images[1].n);
    assert_memory_equal(bytes, images[0].bytes, n);
    assert_memory_equal(bytes, images[1].bytes, n);
    assert_int_equal(quern__h5_number((uint8_t *)bytes + 40, 8),
                     n); /* the end-of-file address in the superblock */
    quern__free(bytes);
    quern__free(images[0].bytes);
    quern__free(images[1].bytes);
}

/* A failure of any allocation: an error, no file, no leaked block. */
static void no_memory(void **state)
{
    static const char path[] = "h5_write_memory.h5";
    size_t before = quern__memory().live_blocks;
    int status = -1, n = 0;
    (void)state;
    while (status < 0) {
        quern_error err = { 0 };
        quern__memory_fail_at((size_t)++n + 1); /* the variable owns the first block */
        quern__h5_file *f = quern__h5_create(path, NULL, &err);
        quern__memory_fail_at(f ? (size_t)n + 1 : 0);
        quern__variable *v =
            f ? quern__variable_new("v", QUERN_FLOAT32, &(quern_shape){ .rank = 1, .dims = { 4 } },
                                    true, &err)
              : NULL;
        status = v ? quern__h5_write_group(f, "a/b", "name", "text", &err) : QUERN_NOMEM;
        if (status >= 0)
            status = quern__h5_write_variable(f, "a/b/0", v, &err);
        if (status < 0)
            quern__h5_close(f);
        else
            status = quern__h5_finish(f, &err);
        quern__memory_fail_at(0);
        quern__variable_free(v);
        assert_int_equal(quern__memory().live_blocks, before);
        assert_int_equal(access(path, F_OK) == 0, status >= 0);
        assert_true(status >= 0 || err.code == QUERN_NOMEM);
    }
    assert_true(n > 20);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(groups_of_any_size),
                                        cmocka_unit_test(numbers), cmocka_unit_test(attributes),
                                        cmocka_unit_test(same_bytes), cmocka_unit_test(no_memory) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
