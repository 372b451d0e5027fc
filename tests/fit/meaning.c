/* P22 from C: the model learns the schema of its data once, stores it in its file, and matches
 * later data by name. */
#include "check.h"

#include <quern/quern.h>
#include <stdlib.h>
#include <unistd.h>

static char csv[64], other[64], file[64], part[64];

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static quern_model *made(const char *words, const char *loss)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec(words, 1, &err);
    CHECK_OK(m ? 0 : err.code, err);
    CHECK_OK(quern_compile(m, "adam learning_rate=0.1", loss, "accuracy", &err), err);
    return m;
}

static double accuracy(quern_model *m, const char *path, quern_error *err)
{
    double logs[4] = { 0 };
    quern_generator *g = quern_file_generator(path, NULL, err);
    int64_t n = g ? quern_evaluate_generator(m, g, 0, 0, logs, err) : err->code;
    quern_generator_free(g);
    return n < 0 ? -1 : logs[1];
}

static void a_schema_is_learned_once(void **state)
{
    (void)state;
    quern_error err = { 0 };
    write_file(csv, "a,b,kind\n-3,0,ant\n0,3,bee\n3,0,cow\n");
    write_file(other, "kind,b,a\nbee,3,0\ncow,0,3\n");
    quern_model *m = made("input 2 | dense 3 softmax name=out", "sparse_categorical_crossentropy");
    assert_null(quern_model_schema(m));
    quern_generator *g = quern_file_generator(csv, &(quern_file_opts){ .target = "kind" }, &err);
    CHECK_OK(g ? 0 : err.code, err);
    quern_history *h = quern_fit_generator(m, g, &(quern_fit_opts){ .epochs = 100 }, &err);
    CHECK_OK(err.code, err);
    const quern_schema *s = quern_model_schema(m);
    assert_int_equal(quern_schema_targets(s), 1);
    assert_string_equal(quern_schema_target(quern_generator_schema(g), 0), "kind");
    assert_string_equal(quern_schema_class(s, 0, 2), "cow");
    assert_string_equal(quern_generator_class(g, 0, 2), "cow");
    quern_history_free(h);
    quern_generator_free(g);
    CHECK_OK(quern_model_save(m, file, &err), err);
    quern_model_free(m);
    m = quern_model_open(file, &err);
    CHECK_OK(m ? 0 : err.code, err);
    assert_true(accuracy(m, other, &err) == 1 && accuracy(m, csv, &err) == 1);
    write_file(other, "kind,b,a\nbee,3,0\nzebra,0,3\n");
    assert_true(accuracy(m, other, &err) < 0);
    assert_non_null(strstr(err.where, ":3: column 'kind'"));
    CHECK_OK(quern_model_set_schema(m, NULL, &(quern_error){ 0 }), err);
    assert_null(quern_model_schema(m));
    quern_model_free(m);
}

typedef struct seen {
    int64_t n;
    char names[4][16];
} seen;

static int note(void *user, const quern_prediction *p)
{
    seen *s = user;
    assert_int_equal(p->n_kept, 1);
    for (int64_t r = 0; r < p->records; r++, s->n++)
        snprintf(s->names[s->n], sizeof s->names[0], "%.*s", (int)p->kept[0][r].size,
                 p->kept[0][r].data);
    return 0;
}

static void columns_are_kept(void **state)
{
    (void)state;
    quern_error err = { 0 };
    seen s = { 0 };
    write_file(csv, "a,id,b\n1,\"x,1\",2\n3,,4\n5,z,6\n");
    quern_model *m = made("input 2 | dense 2 softmax", "categorical_crossentropy from_logits=true");
    quern_generator *g = quern_file_generator(csv, &(quern_file_opts){ .features = "a,b" }, &err);
    quern_predict_opts o = { .batch_size = 2, .keep = "id" };
    assert_int_equal(quern_predict_with(m, g, &o, note, &s, &err), 3);
    assert_string_equal(s.names[0], "x,1");
    assert_string_equal(s.names[1], "");
    assert_string_equal(s.names[2], "z");
    o.keep = "id,nowhere";
    assert_true(quern_predict_with(m, g, &o, note, &s, &err) < 0);
    assert_non_null(strstr(err.text, "'nowhere'"));
    quern_generator_free(g);
    float numbers[4] = { 0 };
    quern_tensor x = { .dtype = QUERN_FLOAT32,
                       .shape = { .rank = 2, .dims = { 2, 2 } },
                       .data = numbers };
    g = quern_array_generator(&x, 1, NULL, 0, NULL, &err);
    err = (quern_error){ 0 };
    o.keep = "id";
    assert_int_equal(quern_predict_with(m, g, &o, note, &s, &err), QUERN_INVALID);
    assert_string_equal(err.where, "keep");
    quern_generator_free(g);
    assert_string_equal(quern_model_output_name(m, 0), "dense");
    assert_null(quern_model_output_name(m, 1));
    assert_int_equal(quern_model_output_logits(m, 0), QUERN_LOGITS_SOFTMAX);
    quern_model_free(m);
    m = made("input 2 | dense 1", "binary_crossentropy from_logits=true");
    assert_int_equal(quern_model_output_logits(m, 0), QUERN_LOGITS_SIGMOID);
    assert_int_equal(quern_model_output_means(m, 0), QUERN_MEANS_BINARY);
    assert_int_equal(quern_model_output_means(m, 1), QUERN_MEANS_ANYTHING);
    quern_model_free(m);
    m = made("input 2 | dense 1", "mse");
    assert_int_equal(quern_model_output_logits(m, 0), QUERN_LOGITS_NONE);
    quern_model_free(m);
}

static void arrays_are_packed(void **state)
{
    (void)state;
    quern_error err = { 0 };
    FILE *f = fopen(part, "wb");
    char head[128] =
        "\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }";
    memset(head + strlen(head + 10) + 10, ' ', sizeof head - strlen(head + 10) - 10);
    memcpy(head + 8, "\x76\x00", 2);
    head[127] = '\n';
    const float numbers[6] = { 1, 2, 3, 4, 5, 6 };
    fwrite(head, 1, sizeof head, f);
    fwrite(numbers, sizeof *numbers, 6, f);
    fclose(f);
    CHECK_OK(quern_npz_pack(other, (const char *[]){ "x" }, (const char *[]){ part }, 1, &err),
             err);
    char words[100];
    snprintf(words, sizeof words, "x=%s:/x", other);
    quern_generator *g = quern_file_generator(words, &(quern_file_opts){ .format = "npz" }, &err);
    CHECK_OK(g ? 0 : err.code, err);
    assert_int_equal(quern_generator_count(g), 3);
    quern_generator_free(g);
    assert_true(quern_npz_pack("/nowhere/a.npz", (const char *[]){ "x" }, (const char *[]){ part },
                               1, &err) < 0);
}

/* Arrays in memory are compared with each other before data is read. */
static void arrays_must_agree(void **state)
{
    (void)state;
    static float numbers[16], out[16];
    float *outs[1] = { out };
    double logs[4];
    quern_model *m = made("input 2 | dense 1", "mse");
    quern_tensor x = { .dtype = QUERN_FLOAT32,
                       .shape = { .rank = 2, .dims = { 8, 2 } },
                       .data = numbers },
                 y = x, none = x;
    y.shape = (quern_shape){ .rank = 2, .dims = { 6, 1 } };
    none.data = NULL;
    const struct {
        const quern_tensor *x, *y;
        int status;
        const char *where, *said;
    } cases[] = { { &x, &y, QUERN_SHAPE, "y[0]", "has 6 records, x[0] has 8" },
                  { &none, &x, QUERN_INVALID, "x[0]", "data is NULL" },
                  { NULL, &y, QUERN_INVALID, "x", "is NULL" },
                  { &x, NULL, QUERN_INVALID, "y", "is NULL" },
                  { &(quern_tensor){ .dtype = 99, .shape = x.shape, .data = numbers }, &x,
                    QUERN_DTYPE, "x[0]", "unknown dtype" },
                  { &(quern_tensor){ .dtype = QUERN_FLOAT32, .data = numbers }, &x, QUERN_SHAPE,
                    "x[0]", "has rank 0" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        quern_error err = { 0 }, again = { 0 };
        assert_null(quern_fit(m, cases[i].x, cases[i].y, NULL, NULL, &err));
        assert_int_equal(err.code, cases[i].status);
        if (strcmp(err.where, cases[i].where) || !strstr(err.text, cases[i].said))
            fail_msg("case %zu: %s: %s", i, err.where, err.text);
        assert_int_equal(quern_evaluate(m, cases[i].x, cases[i].y, NULL, 0, logs, &again),
                         cases[i].status);
        assert_int_equal(quern_evaluate(m, cases[i].x, cases[i].y, NULL, 0, logs, NULL),
                         cases[i].status);
        if (*cases[i].where == 'x')
            assert_int_equal(quern_predict(m, cases[i].x, 0, outs, NULL), cases[i].status);
    }
    quern_model_free(m);
}

int main(void)
{
    snprintf(csv, sizeof csv, "/tmp/quern-meaning-%d.csv", (int)getpid());
    snprintf(other, sizeof other, "/tmp/quern-meaning-%d.other", (int)getpid());
    snprintf(file, sizeof file, "/tmp/quern-meaning-%d.keras", (int)getpid());
    snprintf(part, sizeof part, "/tmp/quern-meaning-%d.npy", (int)getpid());
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_schema_is_learned_once),
                                        cmocka_unit_test(columns_are_kept),
                                        cmocka_unit_test(arrays_must_agree),
                                        cmocka_unit_test(arrays_are_packed) };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(csv);
    unlink(other);
    unlink(file);
    unlink(part);
    return failed;
}
