/* Training from generators: flat memory (P1, P21), the number of batches that a run takes (P6), the
 * end of the data (P7), validation (P8), order (P9), options (P10), arrays and streams
 * bit-identical (P11), with and without a queue (P5), one run against real Keras. */
#include "common.h"
#include "tensors.h"

#include <pthread.h>
#include <unistd.h>

/* A stream over the records: batches of `batch`, at most `most` batches in total; infinite if
 * negative. */
typedef struct stream {
    int at, batch, calls, most, resets, again; /* again: number of batches after a reset */
    int first[64];                             /* first record of each batch */
    const float *weight_of_class;
} stream;

static int stream_next(void *user, quern_batch *b, quern_error *err)
{
    stream *s = user;
    (void)err;
    if (s->most >= 0 && s->calls >= s->most)
        return QUERN_END;
    int n = records - s->at < s->batch ? records - s->at : s->batch;
    memcpy(b->arrays[0], xs + s->at * width, sizeof(float) * (size_t)(n * width));
    if (b->spec->n_targets)
        memcpy(b->arrays[1], ys + s->at, sizeof(int32_t) * (size_t)n);
    for (int i = 0; s->weight_of_class && i < n; i++)
        b->weights[i] = s->weight_of_class[ys[s->at + i]];
    b->has_weights = s->weight_of_class != NULL;
    b->size = n;
    if (s->calls < 64)
        s->first[s->calls] = s->at;
    s->calls++;
    s->at = (s->at + n) % records;
    return QUERN_OK;
}

static int stream_reset(void *user, quern_error *err)
{
    stream *s = user;
    (void)err;
    s->at = 0;
    s->resets++;
    s->most += s->again;
    return QUERN_OK;
}

static const quern_callback_ops streaming = { stream_next, stream_reset },
                                endless = { stream_next, NULL };

/* P11, P5: arrays and a stream of the same batches, with and without a queue, with class weights,
 * give the same weights and logs. */
static void arrays_and_streams_agree(void **state)
{
    (void)state;
    const float weights[] = { 1, 3, 0.5f };
    quern_model *want = NULL;
    double loss = 0;
    for (int way = 0; way < 6; way++) {
        quern_model *m = model();
        stream s = { .batch = 16, .most = -1, .weight_of_class = way == 2 ? weights : NULL };
        quern_generator *g = way < 2 ? array() : quern_callback_generator(&streaming, &s);
        quern_fit_opts o = { .epochs = 4,
                             .batch_size = 16,
                             .no_shuffle = true,
                             .class_weight = way == 2 ? NULL : "0:1,1:3,2:0.5",
                             .no_workers = way % 2,
                             .max_queue_size = way == 4 ? 1 : 0,
                             .steps_per_epoch = way < 2 ? 0 : 7 };
        if (way == 5)
            assert_true(quern_model_set_threads(m, 3, NULL) >= 0);
        quern_history *h = fit(m, g, o);
        assert_int_equal(quern_history_epochs(h), 4);
        if (want) {
            check_same(want, m);
            assert_true(quern_history_value(h, "loss", 3) == loss);
            quern_model_free(m);
        } else {
            want = m;
            loss = quern_history_value(h, "loss", 3);
        }
        quern_history_free(h);
        quern_generator_free(g);
    }
    assert_true(loss < 1.2);
    quern_model_free(want);
}

/* P11: class weights multiply sample weights: the result equals that of premultiplied weights. */
static void weights_multiply(void **state)
{
    (void)state;
    static float own[records], both[records];
    const float by_class[] = { 1, 3, 0.5f };
    quern_tensor x = { .dtype = QUERN_FLOAT32,
                       .shape = { .rank = 2, .dims = { records, width } },
                       .data = xs };
    quern_tensor y = { .dtype = QUERN_INT32,
                       .shape = { .rank = 1, .dims = { records } },
                       .data = ys };
    quern_error err = { 0 };
    for (int i = 0; i < records; i++) {
        own[i] = (float)(1 + i % 4) / 2;
        both[i] = own[i] * by_class[ys[i]];
    }
    quern_model *a = model(), *b = model();
    quern_history *h = quern_fit(
        a, &x, &y, own, &(quern_fit_opts){ .epochs = 2, .class_weight = "0:1,1:3,2:0.5" }, &err);
    quern_history *k = quern_fit(b, &x, &y, both, &(quern_fit_opts){ .epochs = 2 }, &err);
    if (!h || !k)
        fail_msg("%s: %s", err.where, err.text);
    check_same(a, b);
    assert_true(quern_history_value(h, "loss", 1) == quern_history_value(k, "loss", 1));
    quern_history_free(h);
    quern_history_free(k);
    quern_model_free(a);
    quern_model_free(b);
}

/* P6: the run takes as many batches as it needs, and the next read continues after them. */
static void a_run_takes_the_exact_number_of_batches(void **state)
{
    (void)state;
    quern_model *m = model();
    stream s = { .batch = 8, .most = -1 }, v = { .batch = 8, .most = -1 };
    quern_generator *g = quern_callback_generator(&endless, &s),
                    *valid = quern_callback_generator(&streaming, &v);
    quern_history_free(fit(
        m, g,
        (quern_fit_opts){
            .epochs = 3, .steps_per_epoch = 5, .validation_data = valid, .validation_steps = 2 }));
    assert_int_equal(s.calls, 15);
    assert_int_equal(v.calls, 6);
    for (int e = 0; e < 3; e++) { /* P8: the same records each time */
        assert_int_equal(v.first[2 * e], 0);
        assert_int_equal(v.first[2 * e + 1], 8);
    }
    double logs[2];
    assert_int_equal(quern_evaluate_generator(m, g, 8, 4, logs, NULL), 32);
    assert_int_equal(s.calls, 19);
    quern_generator_free(g);
    quern_generator_free(valid);
    quern_model_free(m);
}

/* P7: a short and an empty pass, under each policy. */
static void an_early_end_follows_the_policy(void **state)
{
    (void)state;
    const char *reasons[] = { "exhausted", "failed", "completed" };
    for (int policy = 0; policy < 3; policy++) {
        quern_error err = { 0 };
        quern_model *m = model();
        stream s = { .batch = 8, .most = 7, .again = 7 };
        quern_generator *g = quern_callback_generator(&streaming, &s);
        quern_fit_opts o = { .epochs = 2, .steps_per_epoch = 4, .on_exhausted = policy };
        quern_history *h = quern_fit_generator(m, g, &o, &err);
        assert_non_null(h);
        assert_string_equal(quern_history_reason(h), reasons[policy]);
        assert_int_equal(quern_history_epochs(h), policy == QUERN_EXHAUSTED_ERROR ? 1 : 2);
        if (policy == QUERN_EXHAUSTED_ERROR)
            assert_non_null(strstr(err.text, "epoch 2 ended after 3 of 4 steps"));
        else
            assert_int_equal(s.calls, policy ? 8 : 7); /* one batch of the next pass */
        quern_history_free(h);
        quern_generator_free(g);
        stream none = { .batch = 8, .most = 0 };
        g = quern_callback_generator(&streaming, &none);
        err = (quern_error){ 0 };
        assert_null(quern_fit_generator(m, g, &o, &err));
        assert_string_equal(err.text, "the generator is empty");
        quern_generator_free(g);
        quern_model_free(m);
    }
    quern_model *m = model();
    stream s = { .batch = 8, .most = 6 };
    quern_generator *g = quern_callback_generator(&endless, &s);
    quern_history *h = fit(m, g, (quern_fit_opts){ .epochs = 9, .steps_per_epoch = 4 });
    assert_int_equal(quern_history_epochs(h),
                     2); /* 4 steps, then 2: an epoch never has zero batches */
    assert_string_equal(quern_history_reason(h), "exhausted");
    quern_history_free(h);
    quern_generator_free(g);
    quern_model_free(m);
}

static int64_t seen;
static int in_order(void *user, const float *const *out, int64_t n)
{
    quern_model *m = user;
    const float *one;
    float row[3];
    for (int64_t r = 0; r < n; r++, seen++) {
        memcpy(row, out[0] + 3 * r, sizeof row);
        (void)m, (void)one;
        assert_true(fabs((double)(row[0] + row[1] + row[2]) - 1) < 1e-5);
    }
    return 0;
}

/* P9: predictions are in the order of the records. */
static void predict_keeps_order(void **state)
{
    (void)state;
    quern_model *m = model(), *twin = model();
    quern_generator *g = array();
    seen = 0;
    assert_int_equal(quern_predict_generator(m, g, 10, 0, in_order, m, NULL), records);
    assert_int_equal(seen, records);
    const float *all, *one;
    assert_true(quern_predict_on_batch(m, &FLOATS(xs, records, width), &all, NULL) >= 0);
    for (int i = 0; i < records; i += 17) {
        assert_true(quern_predict_on_batch(twin, &FLOATS(xs + i * width, 1, width), &one, NULL) >=
                    0);
        for (int k = 0; k < 3; k++)
            CHECK_NEAR(all[3 * i + k], one[k], 1e-5, 1e-6);
    }
    quern_generator_free(g);
    quern_model_free(m);
    quern_model_free(twin);
}

/* P10: an option that cannot apply is refused by name. */
static void options_are_refused_by_name(void **state)
{
    (void)state;
    const struct {
        quern_fit_opts o;
        const char *where;
    } cases[] = { { { .validation_steps = 3 }, "validation_steps" },
                  { { .validation_freq = 2 }, "validation_freq" },
                  { { .on_exhausted = QUERN_EXHAUSTED_RESTART }, "on_exhausted" },
                  { { .class_weight = "0=1" }, "class_weight" },
                  { { .steps_per_epoch = 1, .class_weight = "0:1,2:1" }, "class_weight" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        quern_error err = { 0 };
        quern_model *m = model();
        stream s = { .batch = 32, .most = -1 };
        quern_generator *g = quern_callback_generator(&endless, &s);
        assert_null(quern_fit_generator(m, g, &cases[i].o, &err));
        assert_string_equal(err.where, cases[i].where);
        quern_generator_free(g);
        quern_model_free(m);
    }
    quern_error err = { 0 };
    assert_null(quern_model_from_spec("input 6 | dense 16 rellu", 0, &err));
    assert_non_null(strstr(err.text, "rellu"));
    err = (quern_error){ 0 };
    assert_null(quern_model_from_spec("input 6 | dens 16", 0, &err));
    assert_string_equal(err.hint, "did you mean 'dense'?");
    err = (quern_error){ 0 };
    assert_null(quern_model_from_spec("input 6 | dropout 0.5 seed=half", 0, &err));
    assert_non_null(strstr(err.text, "seed=\"half\" is not an integer"));
    /* Sizes by axis: as in Keras, a value that is not a number, or a list of another length, is an
     * error. */
    static const char *const sizes[][2] = {
        { "conv2d 2 3 sam", "strides=\"sam\" is not an integer" },
        { "conv2d 2 3 strides=1.5", "strides=1.5 is not an integer" },
        { "conv2d 2 3 dilation_rate=(1,1,1)", "dilation_rate has 3 entries for 2 spatial axes" },
        { "conv2d_transpose 2 3 strides=(2,2,2)", "strides has 3 entries" },
        { "conv2d_transpose 2 3 strides=2 output_padding=one", "output_padding=\"one\" is not" },
        { "separable_conv2d 2 3 strides=((1,1),1)", "is not an integer or a tuple" },
        { "max_pooling2d (2,2,2)", "pool_size has 3 entries" },
        { "adaptive_max_pooling2d (2,2,2)", "output_size has 3 entries" },
        { "zero_padding2d one", "padding=\"one\" is not an integer" },
        { "zero_padding2d (1,1,1)", "padding has 3 entries" },
        { "cropping2d ((1,(1,1)),1)", "is not an integer" },
        { "up_sampling2d (2,2,2)", "size has 3 entries" },
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char words[96];
        snprintf(words, sizeof words, "input 8 8 1 | %s", sizes[i][0]);
        err = (quern_error){ 0 };
        assert_null(quern_model_from_spec(words, 0, &err));
        if (!strstr(err.text, sizes[i][1]))
            fail_msg("%s: %s", words, err.text);
    }
}

static int own_loop(quern_yielder *y, void *arg)
{
    int *made = arg;
    for (quern_batch *b; (b = quern_next_batch(y));) {
        b->size = 8;
        memcpy(b->arrays[0], xs, sizeof(float) * 8 * width);
        memcpy(b->arrays[1], ys, sizeof(int32_t) * 8);
        if (*made == 12) {
            snprintf(quern_yielder_error(y)->text, sizeof quern_yielder_error(y)->text,
                     "the disk is gone");
            quern_yielder_error(y)->code = QUERN_USER;
            return QUERN_USER;
        }
        ++*made;
        if (quern_yield(y, b) < 0)
            break;
    }
    return QUERN_OK;
}

/* A function on its own thread: as many batches as requested; its error is reported completely
 * (P13); repeated start and stop (P4). */
static void a_function_yields(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *m = model();
    int made = 0;
    quern_generator *g = quern_function_generator(own_loop, &made);
    quern_history_free(fit(m, g, (quern_fit_opts){ .steps_per_epoch = 10 }));
    assert_true(made == 10);
    assert_null(quern_fit_generator(m, g, &(quern_fit_opts){ .steps_per_epoch = 10 }, &err));
    assert_string_equal(err.text, "the disk is gone");
    assert_int_equal(err.code, QUERN_USER);
    for (int i = 0; i < 300; i++) {
        made = 0;
        quern_history_free(fit(m, g, (quern_fit_opts){ .steps_per_epoch = 1 + i % 3 }));
    }
    quern_generator_free(g);
    quern_model_free(m);
}

/* A generator program through the library: a program that ends at once is empty; a missing program
 * is an error. */
static void a_program_generates(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *m = model();
    quern_generator *g = quern_program_generator("exit 7", NULL);
    assert_null(quern_fit_generator(m, g, NULL, &err));
    assert_non_null(strstr(err.text, "exit status 7"));
    quern_generator_free(g);
    quern_model_free(m);
}

static void *stop_soon(void *done)
{
    do { /* the program may not have started yet */
        usleep(20000);
        quern_programs_stop();
    } while (!__atomic_load_n((int *)done, __ATOMIC_ACQUIRE));
    return NULL;
}

/* quern_programs_stop stops all programs, from any caller. */
static void programs_are_stopped(void **state)
{
    (void)state;
    quern_error err = { 0 };
    int done = 0;
    pthread_t thread;
    quern_model *m = model();
    quern_generator *g = quern_program_generator("sleep 40", NULL);
    assert_int_equal(pthread_create(&thread, NULL, stop_soon, &done), 0);
    assert_null(quern_fit_generator(m, g, NULL, &err));
    __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    assert_non_null(strstr(err.text, "terminated by signal 15"));
    quern_generator_free(g);
    quern_model_free(m);
}

static size_t counted;
static void *counting(void *context, void *old, size_t bytes)
{
    (void)context;
    if (!bytes)
        return free(old), NULL;
    counted++;
    return realloc(old, bytes);
}
static void say(void *user, int level, const char *text)
{
    *(int *)user += level > 0 && *text != 0;
}

/* P1, P21: the plan precedes the run, and after the first epoch nothing is allocated, for any
 * number of epochs. */
static void memory_is_flat(void **state)
{
    (void)state;
    size_t calls[2];
    int lines = 0;
    quern_plan plan;
    quern_set_memory(counting, NULL);
    quern_set_log(say, &lines);
    for (int k = 0; k < 2; k++) {
        quern_model *m = model();
        quern_generator *g = array();
        assert_true(quern_plan_fit(m, g, &(quern_fit_opts){ .batch_size = 16, .max_queue_size = 2 },
                                   &plan, NULL) >= 0);
        assert_true(plan.weights == 4 * (6 * 16 + 16 + 16 * 3 + 3) &&
                    plan.optimizer == 2 * plan.weights + sizeof(int64_t) + sizeof(float) &&
                    plan.total > plan.queue);
        counted = 0;
        quern_history_free(fit(m, g, (quern_fit_opts){ .epochs = k ? 1000 : 2, .batch_size = 16 }));
        calls[k] = counted;
        quern_generator_free(g);
        quern_model_free(m);
    }
    assert_int_equal(calls[0], calls[1]);
    stream s = { .batch = 8, .most = 3 };
    quern_model *m = model();
    quern_generator *g = quern_callback_generator(&endless, &s);
    quern_history_free(fit(m, g, (quern_fit_opts){ .epochs = 5, .steps_per_epoch = 2 }));
    assert_int_equal(lines, 1);
    quern_shape shape;
    double logs[2];
    assert_true(quern_model_target(m, 0, &shape) == QUERN_INT32 && shape.rank == 1);
    assert_int_equal(quern_model_output_shape(m, 0).dims[1], 3);
    assert_true(quern_test_on_batch(m, &FLOATS(xs, records, width), &INTS(ys, records), NULL, logs,
                                    NULL) >= 0);
    assert_true(logs[0] > 0 && logs[1] >= 0 && logs[1] <= 1);
    quern_generator_free(g);
    quern_model_free(m);
    quern_blueprint_free(quern_blueprint_new(0));
    quern_set_log(NULL, NULL);
    quern_set_memory(NULL, NULL);
}

/* A .npy of float64 from NumPy. */
static double *load(const char *name, long *n)
{
    char path[512], head[10];
    snprintf(path, sizeof path, "%s/mlp_adam/%s.npy", QUERN_TEST_DATA, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(head, 1, 10, f), 10);
    long at = 10 + (uint8_t)head[8] + 256 * (uint8_t)head[9];
    fseek(f, 0, SEEK_END);
    *n = (ftell(f) - at) / 8;
    fseek(f, at, SEEK_SET);
    double *out = calloc((size_t)*n, sizeof *out);
    assert_int_equal(fread(out, 8, (size_t)*n, f), *n);
    fclose(f);
    return out;
}

/* A model and data from Keras: the history and the weights of Keras. */
static void trains_as_keras_does(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *m = quern_model_open(QUERN_TEST_DATA "/mlp_adam/model.keras", &err);
    if (!m)
        fail_msg("%s: %s", err.where, err.text);
    long nx, nt, nh, nw, ny;
    double *x = load("x0", &nx), *t = load("t0", &nt), *loss = load("history_loss", &nh),
           *y = load("y0", &ny);
    quern_shape shape = quern_model_input_shape(m, 0);
    long rows = nx / shape.dims[1];
    quern_tensor tx = { .dtype = QUERN_FLOAT64,
                        .shape = { .rank = 2, .dims = { rows, shape.dims[1] } },
                        .data = x };
    quern_tensor ty = { .dtype = QUERN_FLOAT64,
                        .shape = { .rank = 2, .dims = { rows, nt / rows } },
                        .data = t };
    const float *p;
    assert_true(quern_predict_on_batch(m, &tx, &p, &err) >= 0);
    for (long i = 0; i < ny; i++)
        CHECK_NEAR(p[i], y[i], 1e-4, 1e-5);
    quern_generator *g = quern_array_generator(&tx, 1, &ty, 1, NULL, &err);
    quern_history *h =
        fit(m, g, (quern_fit_opts){ .epochs = nh, .batch_size = 16, .no_shuffle = true });
    for (long e = 0; e < nh; e++)
        CHECK_NEAR(quern_history_value(h, "loss", e), loss[e], 1e-4, 1e-5);
    for (int i = 0; i < quern_model_weights(m); i++) {
        char name[32];
        snprintf(name, sizeof name, "w_after_%d", i);
        double *w = load(name, &nw);
        for (long k = 0; k < nw; k++)
            CHECK_NEAR(((float *)quern_model_weight(m, i, NULL).data)[k], w[k], 1e-3, 1e-4);
        free(w);
    }
    quern_history_free(h);
    quern_generator_free(g);
    quern_model_free(m);
    free(x), free(t), free(loss), free(y);
}

int main(void)
{
    fill();
    const struct CMUnitTest tests[] = { cmocka_unit_test(weights_multiply),
                                        cmocka_unit_test(arrays_and_streams_agree),
                                        cmocka_unit_test(a_run_takes_the_exact_number_of_batches),
                                        cmocka_unit_test(an_early_end_follows_the_policy),
                                        cmocka_unit_test(predict_keeps_order),
                                        cmocka_unit_test(options_are_refused_by_name),
                                        cmocka_unit_test(a_function_yields),
                                        cmocka_unit_test(a_program_generates),
                                        cmocka_unit_test(programs_are_stopped),
                                        cmocka_unit_test(memory_is_flat),
                                        cmocka_unit_test(trains_as_keras_does) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
