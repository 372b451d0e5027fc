/* .keras files: a round trip is bit-identical, training resumes, and broken files are errors (P19).
 */
#include "check.h"
#include "tensors.h"

#include "files/files.h"

#include <quern/quern.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

static char path[64];

static quern_model *two_inputs(void)
{
    quern_error err = { 0 };
    quern_blueprint *b = quern_blueprint_new(3);
    int in[2] = { quern_input(b, "4 name=left"), quern_input(b, "3") }, h[2];
    h[0] = quern_apply(b, "dense 5 relu kernel_regularizer=l2(0.01)", in[0]);
    h[1] = quern_apply(b, "dense 5 leaky_relu", in[1]);
    int sum = quern_apply_n(b, "add", h, 2), both[2] = { sum, quern_apply(b, "dropout 0.1", h[1]) };
    int out[2] = { quern_apply(b, "dense 1", quern_apply_n(b, "concatenate", both, 2)),
                   quern_apply(b, "dense 3 softmax", sum) };
    quern_model *m = quern_model_new(b, in, 2, out, 2, &err);
    if (!m || quern_compile(m, "rmsprop momentum=0.5 clipnorm=1",
                            "mse,sparse_categorical_crossentropy", "accuracy", &err) < 0)
        fail_msg("%s: %s", err.where, err.text);
    return m;
}

static void train(quern_model *m)
{
    quern_error err = { 0 };
    float a[8 * 4], b[8 * 3], y[8];
    int32_t k[8];
    double logs[16];
    for (int i = 0; i < 32; i++)
        a[i] = (float)(i % 7) / 7;
    for (int i = 0; i < 24; i++)
        b[i] = (float)(i % 5) / 5;
    for (int i = 0; i < 8; i++)
        y[i] = (float)i / 8, k[i] = i % 3;
    for (int s = 0; s < 5; s++)
        CHECK_OK(quern_train_on_batch(m, (quern_tensor[]){ FLOATS(a, 8, 4), FLOATS(b, 8, 3) },
                                      (quern_tensor[]){ FLOATS(y, 8), INTS(k, 8) }, NULL, logs,
                                      &err),
                 err);
}

static void a_round_trip_keeps_everything(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *m = two_inputs();
    train(m);
    CHECK_OK(quern_model_save(m, path, &err), err);
    quern_model *n = quern_model_open(path, &err);
    if (!n)
        fail_msg("%s: %s", err.where, err.text);
    assert_int_equal(quern_model_logs(m), quern_model_logs(n));
    assert_int_equal(quern_model_inputs(n), 2);
    assert_int_equal(quern_model_outputs(n), 2);
    for (int i = 0; i < quern_model_logs(m); i++)
        assert_string_equal(quern_model_log_name(m, i), quern_model_log_name(n, i));
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < quern_model_weights(m); i++) {
            const char *pm, *pn;
            quern_tensor a = quern_model_weight(m, i, &pm), b = quern_model_weight(n, i, &pn);
            assert_string_equal(pm, pn);
            if (pass == 0) /* dropout uses the seed, which the file does not contain */
                assert_memory_equal(a.data, b.data,
                                    sizeof(float) * (size_t)quern_shape_count(&a.shape));
        }
        train(n);
    }
    char *summary = quern_model_summary(n);
    assert_non_null(strstr(summary, "(Concatenate)"));
    free(summary);
    quern_model_free(m);
    quern_model_free(n);
}

static void broken_files_are_errors(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec("input 2 | dense 1", 0, &err);
    CHECK_OK(quern_model_save(m, path, &err), err);
    quern_model_free(m);
    FILE *f = fopen(path, "rb");
    char whole[16384], broken[16384];
    size_t n = fread(whole, 1, sizeof whole, f);
    fclose(f);
    int refused = 0;
    for (size_t i = 0; i < 2 * n; i += i < 600 || (i > n && i < n + 60) ? 1 : 7) {
        memcpy(broken, whole, n);
        if (i < n)
            broken[i] ^= 0x5a;
        f = fopen(path, "wb");
        fwrite(broken, 1, i < n ? n : i - n, f);
        fclose(f);
        err = (quern_error){ 0 };
        m = quern_model_open(path, &err);
        assert_true(m != NULL || (err.code < 0 && *err.text));
        refused += m == NULL;
        quern_model_free(m);
    }
    assert_true(refused > 500);
    err = (quern_error){ 0 };
    assert_null(quern_model_open("/", &err));
    assert_null(quern_model_open("/nowhere/at/all.keras", &err));
}

static void a_failed_write_leaves_the_old_file(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec("input 2 | dense 1", 0, &err);
    assert_true(quern_model_save(m, "/nowhere/at/all.keras", &err) < 0);
    assert_non_null(strstr(err.text, "cannot be written"));
    quern_model_free(m);
}

/* P19: a config that needs more memory than its file can contain is an error before the allocation.
 */
static void a_config_larger_than_its_file_is_refused(void **state)
{
    (void)state;
    quern_error err = { 0 };
    size_t limit = 1 << 20;
    json_t *root = json_loads(
        "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"m\", \"layers\": ["
        "{\"class_name\": \"InputLayer\", \"config\": {\"name\": \"i\", \"batch_shape\": [null, "
        "100000]}},"
        "{\"class_name\": \"Dense\", \"config\": {\"name\": \"d\", \"units\": 1000000}}]}}",
        0, NULL);
    assert_non_null(root);
    assert_null(quern__config_read(root, limit, &err));
    assert_non_null(strstr(err.text, "exceeds the memory limit for weights"));
    json_decref(root);
}

/* A full disk while saving: an error, and the previous file stays. */
static void a_full_disk_keeps_the_old_file(void **state)
{
    (void)state;
    char own[64], before[1 << 16], after[1 << 16];
    struct rlimit old, small = { 4096, RLIM_INFINITY };
    quern_error err = { 0 };
    snprintf(own, sizeof own, "/tmp/quern-full-%d.keras", (int)getpid());
    quern_model *m = quern_model_from_spec("input 30 | dense 60 | dense 2", 1, &err);
    CHECK_OK(quern_model_save(m, own, &err), err);
    FILE *f = fopen(own, "rb");
    size_t n = fread(before, 1, sizeof before, f);
    fclose(f);
    quern_model *other = quern_model_from_spec("input 30 | dense 60 | dense 2", 2, &err);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN); /* write fails as on a full disk */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_true(quern_model_save(other, own, &err) < 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_true(err.code < 0 && *err.text && strstr(err.where, "quern-full"));
    f = fopen(own, "rb");
    assert_int_equal(fread(after, 1, sizeof after, f), n);
    fclose(f);
    assert_memory_equal(before, after, n);
    unlink(own);
    quern_model_free(m);
    quern_model_free(other);
}

int main(void)
{
    snprintf(path, sizeof path, "/tmp/quern-%d.keras", (int)getpid());
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_config_larger_than_its_file_is_refused),
                                        cmocka_unit_test(a_full_disk_keeps_the_old_file),
                                        cmocka_unit_test(a_round_trip_keeps_everything),
                                        cmocka_unit_test(broken_files_are_errors),
                                        cmocka_unit_test(a_failed_write_leaves_the_old_file) };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
