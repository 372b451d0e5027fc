/* The first error is reported completely (P13): one error at each stage of a run, on the caller's
 * thread, on a reader thread, on one of eight reader threads. Fit reports place and fact within a
 * step. */
#include "check.h"

#include <quern/quern.h>
#include <stdbool.h>
#include <unistd.h>

enum { records = 96, batch = 8, bad = 37 }; /* record 37 is in batch 4, counted from 0 */
static char csv[64] = "/tmp/quern-errors-XXXXXX", valid[64] = "/tmp/quern-errors-XXXXXX";
static int n_steps;

/* The cause of a failure at a stage, and the expected error. */
typedef enum stage {
    NONE,
    READ,
    SIZE,
    LABEL,
    CLASS,
    NOT_FINITE,
    HOOK,
    PARSE,
    COLUMN,
    CHECKPOINT,
    VALIDATION
} stage;
typedef struct broken {
    stage stage;
    const char *where, *said;
    int steps; /* the most steps before the error */
} broken;

static const broken table[] = {
    { READ, "the reader", "record 37 cannot be read", 5 },
    { SIZE, "generator", "returned 7 records, expected 8", 5 },
    { LABEL, "record 38", "label 9 is outside 0 … 2", 5 },
    { CLASS, "class_weight", "class 2", 5 },
    { NOT_FINITE, "dense", "record 5 of the batch", 5 },
    { HOOK, "the hook", "says no", 3 },
    { PARSE, ":39", "column 'b'", 5 }, /* the header is line 1 */
    { COLUMN, ":39", "2 fields, expected 3", 5 },
    { CHECKPOINT, "/nowhere/c.keras", "cannot be written",
      15 }, /* after epoch 1, during training */
    { VALIDATION, ":39", "column 'b'", 12 },
};

static void write_csv(const char *path, stage s)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "a,b,y\n");
    for (int i = 0; i < records; i++)
        fprintf(f,
                i == bad && s == PARSE    ? "1,word,%d\n"
                : i == bad && s == COLUMN ? "1,%d\n"
                                          : "1,2,%d\n",
                i % 3);
    fclose(f);
}

static int read_records(void *user, quern_batch *b, quern_error *err)
{
    stage s = *(stage *)user;
    for (int64_t i = 0; i < b->size; i++) {
        int64_t r = b->indices[i];
        ((float *)b->arrays[0])[2 * i] = r == bad && s == NOT_FINITE ? 1e38f * 1e38f : 1;
        ((float *)b->arrays[0])[2 * i + 1] = 2;
        ((int32_t *)b->arrays[1])[i] = r == bad && s == LABEL   ? 9
                                       : r == bad && s == CLASS ? 2
                                                                : (int32_t)(r % 2);
        if (r == bad && s == READ) {
            snprintf(err->where, sizeof err->where, "the reader");
            snprintf(err->text, sizeof err->text, "record %d cannot be read", bad);
            return err->code = QUERN_IO;
        }
    }
    b->size -= s == SIZE && b->indices[0] <= bad && bad < b->indices[0] + b->size;
    return QUERN_OK;
}

static int count(void *user, const quern_event *event, quern_error *err)
{
    (void)event;
    n_steps++;
    if (*(stage *)user == CHECKPOINT && n_steps > 12)
        usleep(100000);
    if (*(stage *)user != HOOK || n_steps < 3)
        return QUERN_OK;
    snprintf(err->where, sizeof err->where, "the hook");
    snprintf(err->text, sizeof err->text, "says no");
    return err->code = QUERN_USER;
}

/* Trains until it fails. Tables have one reader thread. */
static void run(const broken *k, int workers, quern_error *err)
{
    bool table_data = k->stage == PARSE || k->stage == COLUMN;
    stage s = k->stage;
    write_csv(csv, s);
    write_csv(valid, s == VALIDATION ? PARSE : NONE);
    quern_model *m = quern_model_from_spec("input 2 | dense 4 relu | dense 3 softmax", 1, err);
    assert_true(m && quern_compile(m, "sgd", "sparse_categorical_crossentropy", NULL, err) >= 0);
    quern_model_set_watch(m, s == NOT_FINITE);
    quern_generator *g = table_data
                             ? quern_file_generator(
                                   csv, &(quern_file_opts){ .target = "y", .format = "csv" }, err)
                             : quern_indexed_generator(read_records, &s, records),
                    *v = quern_file_generator(
                        valid, &(quern_file_opts){ .target = "y", .format = "csv" }, err);
    assert_true(g && v);
    quern_callback *c = quern_callback_new(&(quern_hooks){ .on_train_batch_end = count }, &s);
    quern_fit_opts o = { .batch_size = batch,
                         .epochs = 2,
                         .no_shuffle = true,
                         .workers = table_data && workers > 1 ? 1 : workers,
                         .no_workers = workers == 0,
                         .class_weight = s == CLASS ? "0:1,1:2" : NULL,
                         .callbacks = &c,
                         .n_callbacks = 1,
                         .checkpoint = s == CHECKPOINT ? "/nowhere/c.keras" : NULL,
                         .validation_data = s == VALIDATION ? v : NULL };
    n_steps = 0;
    quern_history *h = quern_fit_generator(m, g, &o, err);
    assert_true(err->code < 0);
    if (h) { /* the epochs that were completed */
        assert_string_equal(quern_history_reason(h), "failed");
        assert_string_equal(quern_history_error(h)->text, err->text);
    }
    quern_history_free(h);
    quern_callback_free(c);
    quern_generator_free(g);
    quern_generator_free(v);
    quern_model_free(m);
}

static void errors_are_reported_completely(void **state)
{
    (void)state;
    static const int workers[] = { 0, 1, 8 };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        for (int w = 0; w < 3; w++) {
            quern_error err = { 0 };
            run(&table[i], workers[w], &err);
            char all[sizeof err.where + sizeof err.text + 2];
            snprintf(all, sizeof all, "%s: %s", err.where, err.text);
            if (!err.code || !strstr(all, table[i].where) || !strstr(all, table[i].said) ||
                n_steps > table[i].steps)
                fail_msg(
                    "stage %d, %d workers: after %d steps '%s: %s', expected '%s: %s' after %d",
                    (int)table[i].stage, workers[w], n_steps, err.where, err.text, table[i].where,
                    table[i].said, table[i].steps);
        }
}

/* A file that cannot be opened is an error before the run starts. */
static void failed_open_leaves_no_state(void **state)
{
    (void)state;
    quern_error err = { 0 };
    assert_null(quern_file_generator("/nowhere/t.csv", NULL, &err));
    assert_string_equal(err.where, "/nowhere/t.csv");
    assert_true(err.code < 0 && *err.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(errors_are_reported_completely),
                                        cmocka_unit_test(failed_open_leaves_no_state) };
    close(mkstemp(csv));
    close(mkstemp(valid));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(csv);
    unlink(valid);
    return failed;
}
