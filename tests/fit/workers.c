/* Several reader threads (P5, P13), functions for arrays (P11), and layers that adapt to a
 * stream. */
#include "common.h"
#include "tensors.h"

#include "base/base.h"

/* Random-access records after a random sleep: many threads, one order. */
typedef struct numbered {
    int sleeps;
    unsigned seed;
} numbered;

static int numbered_read(void *user, quern_batch *b, quern_error *err)
{
    numbered *n = user;
    (void)err;
    if (n->sleeps)
        usleep((unsigned)(b->indices[0] * 37 + b->epoch * 11) % 400);
    for (int64_t r = 0; r < b->size; r++) {
        memcpy((float *)b->arrays[0] + r * width, xs + b->indices[r] * width,
               width * sizeof(float));
        ((int32_t *)b->arrays[1])[r] = ys[b->indices[r]];
    }
    return QUERN_OK;
}

/* P5: any number of workers and any queue give the same weights, shuffled, over epochs that end
 * within a pass; every record occurs once per pass. */
static void workers_change_nothing(void **state)
{
    (void)state;
    const int workers[] = { 0, 1, 2, 3, 8, 16 }, queues[] = { 1, 2, 100 };
    quern_model *want[2] = { 0 };
    for (int w = 0; w < 6; w++)
        for (int q = 0; q < 3; q++)
            for (int within = 0; within < 2; within++) {
                quern_model *m = model();
                numbered n = { .sleeps = w > 1 };
                quern_generator *g = quern_indexed_generator(numbered_read, &n, records);
                quern_fit_opts o = { .epochs = 3,
                                     .batch_size = 10,
                                     .steps_per_epoch = within ? 7 : 0,
                                     .max_queue_size = queues[q],
                                     .workers = workers[w],
                                     .no_workers = workers[w] == 0 };
                quern_history *h = fit(m, g, o);
                if (want[within]) {
                    check_same(want[within], m);
                    quern_model_free(m);
                } else
                    want[within] = m;
                quern_history_free(h);
                quern_generator_free(g);
            }
    quern_model_free(want[0]);
    quern_model_free(want[1]);
}

typedef struct census {
    int seen[records], batches;
} census;

static int count_read(void *user, quern_batch *b, quern_error *err)
{
    census *c = user;
    for (int64_t r = 0; r < b->size; r++)
        __atomic_fetch_add(&c->seen[b->indices[r]], 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&c->batches, 1, __ATOMIC_RELAXED);
    return numbered_read(&(numbered){ 0 }, b, err);
}

static void every_record_occurs_once(void **state)
{
    (void)state;
    for (int batch = 1; batch <= records + 1; batch += 17)
        for (int workers = 1; workers < 5; workers += 3) {
            census c = { .batches = 0 };
            quern_model *m = model();
            quern_generator *g = quern_indexed_generator(count_read, &c, records);
            quern_history_free(fit(
                m, g, (quern_fit_opts){ .epochs = 2, .batch_size = batch, .workers = workers }));
            for (int i = 0; i < records; i++)
                assert_int_equal(c.seen[i], 2);
            assert_int_equal(c.batches, 2 * ((records + batch - 1) / batch));
            quern_generator_free(g);
            quern_model_free(m);
        }
}

/* An indexed source that fails on one record: the error is complete for any number of workers
 * (P13). */
static int failing_read(void *user, quern_batch *b, quern_error *err)
{
    for (int64_t r = 0; r < b->size; r++)
        if (b->indices[r] >= *(int *)user) {
            err->code = QUERN_FORMAT;
            snprintf(err->where, sizeof err->where, "record %lld", (long long)b->indices[r]);
            snprintf(err->text, sizeof err->text, "is torn");
            return QUERN_FORMAT;
        }
    return numbered_read(&(numbered){ .sleeps = 1 }, b, err);
}

static void the_first_error_is_reported(void **state)
{
    (void)state;
    for (int workers = 0; workers <= 8; workers += workers ? 7 : 1) {
        int bad = 57;
        quern_error err = { 0 };
        quern_model *m = model();
        quern_generator *g = quern_indexed_generator(failing_read, &bad, records);
        quern_fit_opts o = {
            .batch_size = 10, .no_shuffle = 1, .workers = workers, .no_workers = workers == 0
        };
        assert_null(quern_fit_generator(m, g, &o, &err));
        assert_string_equal(err.where, "record 57");
        assert_string_equal(err.text, "is torn");
        assert_int_equal(err.code, QUERN_FORMAT);
        assert_int_equal(err.step, 6);
        quern_generator_free(g);
        quern_model_free(m);
    }
}

/* P11: quern_fit, evaluate and predict on arrays equal the functions for generators; the split is
 * the last part, before shuffling. */
static void functions_for_arrays(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *a = model(), *b = model();
    quern_tensor x = { .dtype = QUERN_FLOAT32,
                       .shape = { .rank = 2, .dims = { records, width } },
                       .data = xs },
                 head = x, tail = x;
    quern_tensor y = { .dtype = QUERN_INT32,
                       .shape = { .rank = 1, .dims = { records } },
                       .data = ys },
                 head_y = y, tail_y = y;
    head.shape.dims[0] = head_y.shape.dims[0] = 77; /* floor(103 * 0.75) */
    tail.shape.dims[0] = tail_y.shape.dims[0] = records - 77;
    tail.data = xs + 77 * width;
    tail_y.data = ys + 77;
    quern_generator *train = quern_array_generator(&head, 1, &head_y, 1, NULL, &err);
    quern_generator *valid = quern_array_generator(&tail, 1, &tail_y, 1, NULL, &err);
    quern_history *h = fit(a, train, (quern_fit_opts){ .epochs = 3, .validation_data = valid });
    quern_history *k = quern_fit(b, &x, &y, NULL,
                                 &(quern_fit_opts){ .epochs = 3, .validation_split = 0.25 }, &err);
    if (!k)
        fail_msg("%s: %s", err.where, err.text);
    check_same(a, b);
    assert_true(quern_history_value(h, "val_loss", 2) == quern_history_value(k, "val_loss", 2));
    double logs[2], other[2];
    static float out[records * 3];
    assert_int_equal(quern_evaluate(b, &tail, &tail_y, NULL, 0, logs, &err), records - 77);
    assert_int_equal(quern_evaluate_generator(a, valid, 0, 0, other, &err), records - 77);
    assert_true(logs[0] == other[0] && logs[1] == other[1]);
    float *const outs[] = { out };
    const float *one;
    assert_int_equal(quern_predict(b, &x, 7, outs, &err), records);
    assert_true(quern_predict_on_batch(b, &FLOATS(xs + 100 * width, 3, width), &one, &err) >= 0);
    for (int i = 0; i < 9; i++) /* another number of rows may round a product differently */
        CHECK_NEAR(one[i], out[100 * 3 + i], 1e-5, 0);
    assert_null(quern_fit_generator(a, train, &(quern_fit_opts){ .validation_split = 0.25 }, &err));
    assert_string_equal(err.where, "validation_split");
    quern_history_free(h);
    quern_history_free(k);
    quern_generator_free(train);
    quern_generator_free(valid);
    quern_model_free(a);
    quern_model_free(b);
}

/* Normalization adapts to a stream; the second layer adapts to the output of the first. */
static void layers_adapt(void **state)
{
    (void)state;
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec(
        "input 6 | normalization | rescaling 3 1 | normalization name=second | dense 3", 1, &err);
    quern_generator *g = array();
    assert_non_null(m);
    assert_int_equal(quern_adapt(m, NULL, g, 10, 0, &err), 2);
    for (int k = 0; k < width; k++) {
        double mean = 0, variance = 0;
        for (int i = 0; i < records; i++)
            mean += xs[i * width + k] / (double)records;
        for (int i = 0; i < records; i++)
            variance += (xs[i * width + k] - mean) * (xs[i * width + k] - mean) / records;
        CHECK_NEAR(((float *)quern_model_weight(m, 0, NULL).data)[k], mean, 1e-5, 1e-6);
        CHECK_NEAR(((float *)quern_model_weight(m, 1, NULL).data)[k], variance, 1e-5, 1e-6);
        CHECK_NEAR(((float *)quern_model_weight(m, 3, NULL).data)[k], 1, 1e-4, 1e-4);
        CHECK_NEAR(((float *)quern_model_weight(m, 4, NULL).data)[k], 9, 1e-4, 1e-4);
    }
    assert_int_equal(quern_adapt(m, "dense", g, 10, 0, &err), QUERN_INVALID);
    quern_generator_free(g);
    quern_model_free(m);
}

/* P4: repeated start and stop, also within an epoch, with 1 to 64 workers: no descriptor and no
 * thread is left, and close takes no time. The slow run repeats it ten thousand times. */
static void nothing_is_left_behind(void **state)
{
    (void)state;
    int cycles = getenv("QUERN_SLOW") ? 10000 : 300, files = 0, threads = 0;
    quern_model *m = model();
    for (int k = 0; k < cycles; k++) {
        numbered n = { .sleeps = 0 };
        quern_generator *g = quern_indexed_generator(numbered_read, &n, records);
        /* two of the seven batches of an epoch: the workers are ahead when it ends */
        quern_fit_opts o = { .batch_size = 16,
                             .steps_per_epoch = 2,
                             .workers = 1 + k % 64,
                             .max_queue_size = 1 + k % 9 };
        quern_history_free(fit(m, g, o));
        double before = quern__now();
        quern_generator_free(g);
        assert_true(quern__now() - before < 0.1);
        if (k == 5) {
            files = entries("/proc/self/fd");
            threads = entries("/proc/self/task");
        }
    }
    assert_int_equal(entries("/proc/self/fd"), files);
    assert_int_equal(entries("/proc/self/task"), threads);
    quern_model_free(m);
}

int main(void)
{
    fill();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_change_nothing),
        cmocka_unit_test(every_record_occurs_once),
        cmocka_unit_test(the_first_error_is_reported),
        cmocka_unit_test(functions_for_arrays),
        cmocka_unit_test(layers_adapt),
        cmocka_unit_test(nothing_is_left_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
