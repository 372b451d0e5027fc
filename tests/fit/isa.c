/* A checkpoint stores the instruction set that computed it. A resumed run with kernels of different
 * rounding warns (P12). */
#include "base/isa.h"
#include "common.h"
#include "files/files.h"

#include <stdlib.h>
#include <string.h>

static char path[64], said[1024];

static void listen(void *user, int level, const char *text)
{
    (void)user;
    if (level == 1)
        snprintf(said, sizeof said, "%s", text);
}

static void run_until(int epochs)
{
    quern_model *m = model();
    quern_generator *g = array();
    *said = 0;
    quern_history_free(
        fit(m, g, (quern_fit_opts){ .epochs = epochs, .checkpoint = path, .resume = 1 }));
    quern_generator_free(g);
    quern_model_free(m);
}

/* Writes another instruction set into the checkpoint; NULL: none, as in older files. */
static void rewrite(const char *isa)
{
    enum { n = 4 };
    quern_error err = { 0 };
    quern__member all[n] = { { .name = "config.json" },
                             { .name = "model.weights.h5" },
                             { .name = "run.json" },
                             { .name = "run.bin" } };
    CHECK_OK(quern__archive_read(path, all, n, 1 << 24, &err), err);
    json_t *run = json_loads(all[2].bytes, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(run, "isa")), quern_isa());
    if (isa)
        json_object_set_new(run, "isa", json_string(isa));
    else
        json_object_del(run, "isa");
    quern__free(all[2].bytes);
    char *text = json_dumps(run, 0);
    all[2].bytes = quern__strdup(text);
    all[2].n = strlen(text);
    free(text);
    json_decref(run);
    CHECK_OK(quern__archive_write(path, all, n, &err), err);
    for (int k = 0; k < n; k++)
        quern__free(all[k].bytes);
}

static void another_instruction_set_warns(void **state)
{
    (void)state;
    quern_error err = { 0 };
    const char *widest = quern_isa_name(0), *next = quern_isa_name(1), *narrowest = widest;
    for (int k = 0; quern_isa_name(k); k++)
        narrowest = quern_isa_name(k);
    snprintf(path, sizeof path, "/tmp/quern-isa-%d.keras", (int)getpid());
    quern_set_log(listen, NULL);
    CHECK_OK(quern_set_isa(widest, &err), err);
    run_until(1);
    run_until(2);
    assert_string_equal(said, "");
    rewrite("vector9000");
    run_until(3);
    if (!strstr(said, "used vector9000 kernels, this run uses ") || !strstr(said, widest) ||
        !strstr(said, "which round differently; this processor has no kernels with equal results"))
        fail_msg("said: %s", said);
    rewrite(NULL);
    run_until(4);
    assert_string_equal(said, "");
    if (strcmp(widest, narrowest)) {
        rewrite(narrowest);
        run_until(5);
        assert_non_null(strstr(said, "; --isa "));
        assert_non_null(strstr(said, narrowest));
    }
    if (next && quern__isa_same_bits(widest, next)) {
        rewrite(next);
        run_until(6);
        assert_string_equal(said, "");
    }
    quern_set_log(NULL, NULL);
    unlink(path);
    strcat(path, ".previous");
    unlink(path);
}

int main(void)
{
    fill();
    const struct CMUnitTest tests[] = { cmocka_unit_test(another_instruction_set_warns) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
