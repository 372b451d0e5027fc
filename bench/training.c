/* Training in memory: the machine's limit, a small network, and the overhead of fit_generator per
 * batch. */
#include "bench.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef QUERN_HAVE_ONEDNN
#include <dnnl.h>
#include <omp.h>
#endif

enum { records = 19200, width = 784, batch = 64, side = 512 };

#ifdef QUERN_HAVE_ONEDNN
/* Products of 512 x 512 for about one second; the best ten consecutive products count. */
static void *multiply(void *out)
{
    float *a = calloc(3 * side * (side + 16), sizeof *a), *b = a + side * (side + 16),
          *c = b + side * (side + 16);
    double best = 1e9, began = bench_now();
    omp_set_num_threads(1);
    while (a && bench_now() - began < 1) {
        double start = bench_now();
        for (int k = 0; k < 10; k++)
            dnnl_sgemm('N', 'N', side, side, side, 1, a, side + 16, b, side + 16, 0, c, side + 16);
        double seconds = (bench_now() - start) / 10;
        best = seconds < best ? seconds : best;
    }
    free(a);
    *(double *)out = 2.0 * side * side * side / best / 1e9;
    return NULL;
}

double bench_limit(void)
{
    double rates[2] = { 0 };
    pthread_t other;
    if (pthread_create(&other, NULL, multiply, &rates[1]))
        return 0;
    multiply(&rates[0]);
    pthread_join(other, NULL);
    return rates[0] + rates[1];
}
#else
double bench_limit(void) { return 0; }
#endif

quern_tensor bench_inputs(const quern_model *m, int i, const float *numbers, int64_t n)
{
    quern_tensor t = { .dtype = QUERN_FLOAT32,
                       .shape = quern_model_input_shape(m, i),
                       .const_data = numbers };
    t.shape.dims[0] = n;
    return t;
}

quern_tensor bench_labels(const quern_model *m, const int32_t *labels, int64_t n)
{
    quern_tensor t = { .const_data = labels };
    t.dtype = quern_model_target(m, 0, &t.shape);
    t.shape.dims[0] = n;
    return t;
}

double bench_mlp(void)
{
    quern_error err = { 0 };
    float *x = malloc(sizeof(float) * records * width);
    int32_t *y = malloc(sizeof(int32_t) * records);
    double best = 1e9, logs[1];
    quern_model *m = quern_model_from_spec("input 784 | dense 128 relu | dense 10", 1, &err);
    if (!x || !y || !m ||
        quern_compile(m, "adam", "sparse_categorical_crossentropy from_logits=true", NULL, &err) <
            0)
        bench_fail(&err);
    for (int i = 0; i < records * width; i++)
        x[i] = (float)(i * 2654435761u >> 8) / 16777216.0f;
    for (int i = 0; i < records; i++)
        y[i] = i % 10;
    for (int e = 0; e < 20; e++) {
        double start = bench_now();
        for (int r = 0; r < records; r += batch) {
            quern_tensor in = bench_inputs(m, 0, x + (size_t)r * width, batch),
                         labels = bench_labels(m, y + r, batch);
            if (quern_train_on_batch(m, &in, &labels, NULL, logs, &err) < 0)
                bench_fail(&err);
        }
        double seconds = bench_now() - start;
        best = seconds < best ? seconds : best;
    }
    quern_model_free(m);
    free(x);
    free(y);
    return records / best;
}

static int no_work(void *user, quern_batch *b, quern_error *err)
{
    (void)user, (void)err;
    ((float *)b->arrays[0])[0] = ((float *)b->arrays[1])[0] = 0;
    b->size = 1;
    return QUERN_OK;
}

/* The time of batches of one number through fit_generator and its queue, minus the time with
 * train_on_batch. */
double bench_overhead(void)
{
    enum { batches = 20000 };
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec("input 1 | dense 1", 1, &err);
    quern_generator *g = quern_callback_generator(&(quern_callback_ops){ no_work, NULL }, NULL);
    double best = 1e9, logs[1];
    float one[1] = { 0 };
    quern_tensor number = { .dtype = QUERN_FLOAT32,
                            .shape = { .rank = 2, .dims = { 1, 1 } },
                            .data = one };
    if (!m || !g || quern_compile(m, "sgd", "mse", NULL, &err) < 0 ||
        quern_model_set_threads(m, 1, &err) < 0)
        bench_fail(&err);
    for (int k = 0; k < 3; k++) {
        double start = bench_now();
        quern_history *h = quern_fit_generator(
            m, g, &(quern_fit_opts){ .batch_size = 1, .steps_per_epoch = batches }, &err);
        if (!h || err.code)
            bench_fail(&err);
        quern_history_free(h);
        double through = bench_now() - start;
        start = bench_now();
        for (int i = 0; i < batches; i++)
            quern_train_on_batch(m, &number, &number, NULL, logs, &err);
        double direct = bench_now() - start;
        best = through - direct < best ? through - direct : best;
    }
    quern_generator_free(g);
    quern_model_free(m);
    return best / batches * 1e6;
}
