/* P5, P9, P11 for every kind of source and several families of models: the weights are equal for
 * any number of workers and any queue, and equal to those from arrays without shuffling;
 * predictions are in the order of the records. The slow run tests all combinations. */
#include "kinds.h"

enum { epochs = 2 };

static const char *const families[] = {
    "input 6 | dense 8 tanh | dropout 0.2 | dense 3 softmax",
    "input 6 | reshape (6,1) | conv1d 4 3 relu | batch_normalization | flatten | dense 3 softmax",
    "input 6 | reshape (6,1) | lstm 5 | dense 3 softmax",
    ("input 6 | reshape (6,1) | dense 4 as h | multi_head_attention 2 4 @h @h | flatten | dense 3 "
     "softmax"),
};
enum { n_families = sizeof families / sizeof *families };

static quern_model *trained(int family, const struct kind *k, int workers, int queue, bool shuffle)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec(families[family], 7, &err);
    if (!m || quern_compile(m, "adam learning_rate=0.01", "sparse_categorical_crossentropy",
                            "accuracy", &err) < 0)
        fail_msg("%s: %s", err.where, err.text);
    quern_generator *g = opened(k);
    quern_history_free(fit(m, g,
                           (quern_fit_opts){ .epochs = epochs,
                                             .batch_size = batch,
                                             .steps_per_epoch = steps,
                                             .max_queue_size = queue,
                                             .workers = workers,
                                             .no_workers = workers == 0,
                                             .no_shuffle = !shuffle }));
    quern_generator_free(g);
    return m;
}

static void workers_and_queues_change_nothing(void **state)
{
    static const int workers[] = { 0, 1, 3, 2, 8, 16 }, queues[] = { 2, 1, 100 };
    bool all = getenv("QUERN_SLOW") != NULL;
    (void)state;
    for (int f = 0; f < n_families; f++)
        for (int shuffle = 0; shuffle < 2; shuffle++) {
            quern_model *plain = trained(f, &kinds[0], 0, 1, shuffle);
            for (int k = 0; k < n_kinds; k++) {
                if (!all && k % n_families != f)
                    continue;
                quern_model *first = NULL;
                for (int w = 0; w < (!kinds[k].many ? 2 : all ? 6 : 3); w++)
                    for (int q = 0; q < (all ? 3 : 2); q++) {
                        quern_model *m = trained(f, &kinds[k], workers[w], queues[q], shuffle);
                        if (first)
                            check_same(first, m);
                        if (!shuffle && !kinds[k].mixed)
                            check_same(plain, m);
                        quern_model_free(first ? m : NULL);
                        first = first ? first : m;
                    }
                quern_model_free(first);
            }
            quern_model_free(plain);
        }
}

typedef struct rows_seen {
    int64_t n;
    float out[records * 3];
} rows_seen;

static int keep(void *user, const float *const *out, int64_t n)
{
    rows_seen *r = user;
    memcpy(r->out + r->n * 3, out[0], (size_t)n * 3 * sizeof(float));
    r->n += n;
    return 0;
}

/* P9 */
static void predictions_keep_the_order(void **state)
{
    quern_error err = { 0 };
    (void)state;
    for (int f = 0; f < n_families; f++) {
        static rows_seen want, got;
        quern_model *m = trained(f, &kinds[0], 0, 1, true);
        for (int k = 0; k < n_kinds - 1; k++) { /* except the program, which also gives targets */
            quern_generator *g = opened(&kinds[k]);
            got = (rows_seen){ 0 };
            int64_t n = quern_predict_generator(m, g, batch, steps, keep, &got, &err);
            if (n < 0)
                fail_msg("%s: %s: %s", kinds[k].words, err.where, err.text);
            assert_int_equal(n, records);
            if (k == 0)
                want = got;
            if (!kinds[k].mixed)
                assert_memory_equal(want.out, got.out, sizeof want.out);
            quern_generator_free(g);
        }
        quern_model_free(m);
    }
}

int main(void)
{
    fill();
    const struct CMUnitTest tests[] = { cmocka_unit_test(workers_and_queues_change_nothing),
                                        cmocka_unit_test(predictions_keep_the_order) };
    return cmocka_run_group_tests(tests, write_files, remove_files);
}
