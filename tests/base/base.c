/* base: the first failure fills an error, allocations are counted, and random numbers equal the
 * known answers and depend on their counter only. */
#include "base/base.h"
#include "base/isa.h"
#include "check.h"
#include "tensor/tensor.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static void first_failure_wins(void **state)
{
    (void)state;
    quern_error err = { 0 };
    assert_int_equal(quern__fail(&err, QUERN_IO, "a", "one\ntwo"), QUERN_IO);
    assert_int_equal(quern__fail(&err, QUERN_SHAPE, "b", "later"), QUERN_SHAPE);
    assert_int_equal(err.code, QUERN_IO);
    assert_string_equal(err.text, "one two");
    char text[] = "a\tb\x7f\xc3\xa9\xff";
    quern__one_line(text);
    assert_string_equal(text, "a b \xc3\xa9?");
    assert_int_equal(quern__fail(NULL, QUERN_SHAPE, "b", "ignored"), QUERN_SHAPE);
    assert_string_equal(quern_status_text(QUERN_END), "no further batch");
    assert_string_equal(quern_version(), "0.1.0");
    assert_int_equal(QUERN_VERSION, 100);
}

static void memory_is_counted_and_can_fail(void **state)
{
    (void)state;
    size_t live = quern__memory().live_blocks;
    void *a = quern__alloc(10), *b = quern__alloc_aligned(100, 64);
    assert_true(a && b && (uintptr_t)b % 64 == 0);
    assert_int_equal(quern__memory().live_blocks, live + 2);
    quern__free(a);
    quern__free_aligned(b);
    assert_int_equal(quern__memory().live_blocks, live);
    quern__memory_fail_at(2);
    a = quern__alloc(1);
    assert_non_null(a);
    assert_null(quern__alloc(1));
    quern__memory_fail_at(0);
    quern__free(a);
    assert_null(quern__zalloc(SIZE_MAX, 2));
}

/* The known answers of Random123's kat_vectors file for philox4x32 with 10 rounds. */
static void philox_known_answers(void **state)
{
    (void)state;
    uint32_t r[4];
    quern__random4((quern__random_key){ { 0, 0 } }, 0, 0, r);
    assert_int_equal(r[0], 0x6627e8d5);
    quern__random4((quern__random_key){ { 0xa4093822, 0x299f31d0 } }, 0x0370734413198a2eu,
                   0x85a308d3243f6a88u, r);
    assert_int_equal(r[0], 0xd16cfe09);
    assert_int_equal(r[1], 0x94fdcceb);
    assert_int_equal(r[2], 0x5001e420);
    assert_int_equal(r[3], 0x24126ea1);
}

static void permutation_is_one(void **state)
{
    (void)state;
    quern__random_key key = quern__random_key_of(7, 1, 2);
    for (uint64_t n = 1; n < 200; n += 13) {
        uint8_t seen[200] = { 0 };
        for (uint64_t i = 0; i < n; i++)
            seen[quern__random_permute(key, n, i)]++;
        for (uint64_t i = 0; i < n; i++)
            assert_int_equal(seen[i], 1);
    }
}

static void normal_has_its_moments(void **state)
{
    (void)state;
    quern__random_key key = quern__random_key_of(1, 2, 3);
    double sum = 0, square = 0, uniform = 0;
    enum { n = 100000 };
    for (int i = 0; i < n; i++) {
        double x = quern__random_normal(key, 0, (uint64_t)i);
        sum += x, square += x * x, uniform += quern__random_uniform(key, 1, (uint64_t)i);
    }
    CHECK_NEAR(sum / n, 0, 0, 0.02);
    CHECK_NEAR(square / n, 1, 0.02, 0);
    CHECK_NEAR(uniform / n, 0.5, 0.01, 0);
}

static void names_and_numbers(void **state)
{
    (void)state;
    static const char *names[] = { "relu", "sigmoid", "softmax" };
    double x;
    assert_string_equal(quern__nearest("sofmax", names, 3, sizeof *names), "softmax");
    assert_null(quern__nearest("zzzzzzzzzzzz", names, 3, sizeof *names));
    assert_string_equal(quern_nearest("sigmod", names, 3), "sigmoid");
    assert_true(quern__same_name("Conv2D", "conv_2d"));
    assert_false(quern__same_name("Conv2D", "conv_2"));
    assert_true(quern__parse_number("1/255", &x));
    CHECK_NEAR(x, 1 / 255.0, 0, 0);
    assert_false(quern__parse_number("1/0", &x));
    assert_false(quern__parse_number("3x", &x));
    assert_false(quern__parse_number("nan", &x));
    assert_false(quern__parse_number("", &x));
}

static void shapes(void **state)
{
    (void)state;
    char text[64];
    quern_shape s = quern__shape(2, (int64_t[]){ -1, 28 });
    assert_string_equal(quern_shape_text(&s, text, sizeof text), "(None, 28)");
    assert_int_equal(quern_shape_count(&s), -1);
    s = quern__shape_close(s, 3);
    assert_int_equal(quern_shape_count(&s), 84);
    quern_shape one = quern__shape(1, (int64_t[]){ 5 }),
                huge = quern__shape(2, (int64_t[]){ INT64_MAX, 4 });
    assert_string_equal(quern_shape_text(&one, text, sizeof text), "(5,)");
    assert_int_equal(quern_shape_count(&huge), -1);
    assert_false(quern_shape_equal(&one, &s));
    assert_int_equal(quern_dtype_from_name("float32"), QUERN_FLOAT32);
    assert_int_equal(quern_dtype_size(QUERN_INT64), 8);
    assert_string_equal(quern_dtype_name(QUERN_BOOL), "bool");
}

/* Complete reads and writes, or a partial count with the reason: errno 0 is the end of the file. */
static void reads_and_writes_are_complete(void **state)
{
    (void)state;
    char name[] = "/tmp/quern-base-XXXXXX", got[8] = "";
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    unlink(name);
    assert_true(quern__write_at(fd, "abcde", 5, 3));
    assert_int_equal(quern__read_at(fd, got, 5, 3), 5);
    assert_memory_equal(got, "abcde", 5);
    assert_int_equal(quern__read_at(fd, got, 8, 6), 2);
    assert_int_equal(errno, 0);
    close(fd);
    assert_false(quern__write_at(fd, "a", 1, 0));
    assert_int_equal(errno, EBADF);
    assert_int_equal(quern__read_at(fd, got, 1, 0), 0);
    assert_int_equal(errno, EBADF);
}

/* P26: a temporary file has a unique name and replaces the target of a link; a lock is exclusive.
 */
static void files_are_replaced_whole(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_lock *lock, *again;
    char folder[] = "/tmp/quern-output-XXXXXX", path[64], link[64], one[4096], two[4096],
         word[8] = "";
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/file", folder);
    snprintf(link, sizeof link, "%s/link", folder);
    assert_int_equal(symlink("file", link), 0);
    CHECK_OK(quern_file_check(link, &err), err);
    CHECK_OK(quern_file_beside(link, one, &err), err);
    CHECK_OK(quern_file_beside(link, two, &err), err);
    assert_string_not_equal(one, two);
    assert_memory_equal(one, folder, strlen(folder));
    FILE *f = fopen(one, "wx");
    fputs("word", f);
    fclose(f);
    CHECK_OK(quern_file_replace(one, link, &err), err);
    f = fopen(path, "r");
    assert_non_null(fgets(word, sizeof word, f));
    fclose(f);
    assert_string_equal(word, "word");
    CHECK_OK(quern_lock_take(link, &lock, &err), err);
    assert_non_null(lock);
    assert_int_equal(quern_lock_take(path, &again, &err),
                     QUERN_INVALID); /* the link's target is the same file */
    assert_null(again);
    assert_non_null(strstr(err.text, "is being written by process"));
    quern_lock_give(lock);
    err = (quern_error){ 0 };
    CHECK_OK(quern_lock_take(path, &again, &err), err);
    quern_lock_give(again);
    quern_lock_give(NULL);
    assert_true(quern_file_check("/nowhere/file", &err) < 0);
    unlink(link);
    unlink(path);
    assert_int_equal(rmdir(folder), 0); /* no temporary file remains */
}

static void instruction_sets(void **state)
{
    (void)state;
    quern_error err = { 0 };
    int n = 0;
    while (quern_isa_name(n))
        n++;
    assert_true(n > 0);
    unsetenv("QUERN_ISA");
    CHECK_OK(quern_set_isa(NULL, &err), err);
    assert_string_equal(quern_isa(), quern_isa_name(0));
    for (int k = 0; k < n; k++) {
        CHECK_OK(quern_set_isa(quern_isa_name(k), &err), err);
        assert_string_equal(quern_isa(), quern_isa_name(k));
    }
    assert_int_equal(quern_set_isa("avx1024", &err), QUERN_INVALID);
    assert_string_equal(err.text, "'avx1024' is not a kind of processor of this build");
    assert_string_equal(quern_isa(), quern_isa_name(n - 1)); /* a failed choice changes nothing */
    setenv("QUERN_ISA", "", 1);
    CHECK_OK(quern_set_isa(NULL, &err), err);
    assert_string_equal(quern_isa(), quern_isa_name(0));
    setenv("QUERN_ISA", quern_isa_name(n - 1), 1);
    CHECK_OK(quern_set_isa(NULL, &err), err);
    assert_string_equal(quern_isa(), quern_isa_name(n - 1));
    setenv("QUERN_ISA", "none", 1);
    assert_int_equal(quern_set_isa(NULL, &err), QUERN_INVALID);
    assert_string_equal(err.where, "QUERN_ISA");
    unsetenv("QUERN_ISA");
    assert_true(quern__isa_same_bits("avx512", "avx2") && !quern__isa_same_bits("avx2", "sse2"));
    assert_true(quern__isa_same_bits("neon", "neon"));
}

/* A consequence of a failed allocation is reported as one, until the next function begins. A too
 * small budget is not. */
static void out_of_memory_is_reported(void **state)
{
    quern_error errs[4] = { 0 };
    (void)state;
    quern__memory_watch();
    assert_int_equal(quern__fail(&errs[0], QUERN_INVALID, "x", "is missing"), QUERN_INVALID);
    quern__memory_fail_at(1);
    assert_null(quern__alloc(8));
    quern__memory_fail_at(0);
    assert_true(quern__memory_short());
    assert_int_equal(quern__fail(&errs[1], QUERN_INVALID, "x", "is missing"), QUERN_NOMEM);
    assert_string_equal(errs[1].text, "out of memory");
    assert_string_equal(errs[1].where, "x");
    assert_int_equal(quern__fail(&errs[2], QUERN_BUDGET, "x", "needs more"), QUERN_BUDGET);
    quern__memory_watch();
    assert_int_equal(quern__fail(&errs[3], QUERN_INVALID, "x", "is missing"), QUERN_INVALID);
    assert_string_equal(errs[3].text, "is missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(out_of_memory_is_reported),
        cmocka_unit_test(first_failure_wins),
        cmocka_unit_test(memory_is_counted_and_can_fail),
        cmocka_unit_test(philox_known_answers),
        cmocka_unit_test(permutation_is_one),
        cmocka_unit_test(normal_has_its_moments),
        cmocka_unit_test(names_and_numbers),
        cmocka_unit_test(files_are_replaced_whole),
        cmocka_unit_test(shapes),
        cmocka_unit_test(reads_and_writes_are_complete),
        cmocka_unit_test(instruction_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
