/* A program with a locale that writes 0,5: reading and writing numbers does not change. localedef
 * creates the locale. */
#include "check.h"

#include <locale.h>
#include <quern/quern.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[64];

static int comma_locale(void **state)
{
    char command[200];
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/quern-locale-%d", (int)getpid());
    snprintf(command, sizeof command,
             "mkdir -p %s && localedef -c -i de_DE -f UTF-8 %s/de_DE.UTF-8 > /dev/null 2>&1",
             folder, folder);
    if (system(command) < 0)
        return -1;
    setenv("LOCPATH", folder, 1);
    if (!setlocale(LC_ALL, "de_DE.UTF-8"))
        fail_msg("no locale with a comma: install localedef and the package locales");
    char text[16];
    snprintf(text, sizeof text, "%.1f", 0.5);
    assert_string_equal(text, "0,5");
    return 0;
}

static int remove_locale(void **state)
{
    char command[100];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static void words_and_files(void **state)
{
    (void)state;
    quern_error err = { 0 };
    char path[100], csv[100];
    snprintf(path, sizeof path, "%s/m.keras", folder);
    snprintf(csv, sizeof csv, "%s/d.csv", folder);
    FILE *f = fopen(csv, "w");
    fputs("a,b,y\n0.5,1e-3,0.25\n1.5,16777217.5,1\n", f);
    fclose(f);
    quern_model *m =
        quern_model_from_spec("input 2 | dropout 0.5 | dense 1 kernel_initializer=zeros", 1, &err);
    CHECK_OK(m ? 0 : err.code, err);
    CHECK_OK(quern_compile(m, "adam learning_rate=exponential_decay(1e-3, 1000, 0.9)",
                           "huber delta=0.5", "mae", &err),
             err);
    char log[120];
    snprintf(log, sizeof log, "csv_logger %s/log.csv", folder);
    quern_callback *c[2] = { quern_callback_from_spec("early_stopping monitor=loss min_delta=0.5",
                                                      &err),
                             quern_callback_from_spec(log, &err) };
    CHECK_OK(c[0] && c[1] ? 0 : err.code, err);
    quern_generator *g =
        quern_file_generator(csv, &(quern_file_opts){ .target = "y", .missing = "0.5" }, &err);
    CHECK_OK(g ? 0 : err.code, err);
    quern_history *h =
        quern_fit_generator(m, g, &(quern_fit_opts){ .callbacks = c, .n_callbacks = 2 }, &err);
    CHECK_OK(err.code, err);
    assert_true(quern_history_value(h, "loss", 0) > 0);
    quern_history_free(h);
    quern_generator_free(g);
    quern_callback_free(c[0]);
    quern_callback_free(c[1]);
    CHECK_OK(quern_model_save(m, path, &err), err);
    quern_model_free(m);
    m = quern_model_open(path, &err);
    CHECK_OK(m ? 0 : err.code, err);
    quern_model_free(m);
    snprintf(log, sizeof log, "%s/log.csv", folder);
    char line[200] = "";
    f = fopen(log, "r");
    int commas[2] = { 0 };
    for (int row = 0; row < 2; row++) {
        assert_non_null(fgets(line, sizeof line, f));
        for (char *p = line; *p; p++)
            commas[row] += *p == ',';
    }
    fclose(f);
    if (commas[0] != commas[1])
        fail_msg("%d commas in the header, %d in '%s'", commas[0], commas[1], line);
    assert_null(quern_model_from_spec("input 2 | dropout 1.5", 1, &err));
    assert_non_null(strstr(err.text, "1.5"));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(words_and_files) };
    return cmocka_run_group_tests(tests, comma_locale, remove_locale);
}
