/* Training in memory: the machine's limit, a small network, and what fit_generator adds to a batch. */
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
/* Products of 512 x 512 for about a second; the best ten in a row count. */
static void *multiply(void *out)
{
    float *a = calloc(3 * side * (side + 16), sizeof *a), *b = a + side * (side + 16), *c = b + side * (side + 16);
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

double bench_mlp(void)
{
    quern_error err = { 0 };
    float *x = malloc(sizeof(float) * records * width);
    int32_t *y = malloc(sizeof(int32_t) * records);
    double best = 1e9, logs[1];
    quern_model *m = quern_model_from_words("input 784 | dense 128 relu | dense 10", 1, &err);
    if (!x || !y || !m || quern_compile(m, "adam", "sparse_categorical_crossentropy from_logits=true", NULL, &err) < 0)
        bench_fail(&err);
    for (int i = 0; i < records * width; i++)
        x[i] = (float)(i * 2654435761u >> 8) / 16777216.0f;
    for (int i = 0; i < records; i++)
        y[i] = i % 10;
    for (int e = 0; e < 20; e++) {
        double start = bench_now();
        for (int r = 0; r < records; r += batch)
            if (quern_train_on_batch(m, (void *[]){ x + (size_t)r * width }, (void *[]){ y + r }, NULL, batch, logs, &err) < 0)
                bench_fail(&err);
        double seconds = bench_now() - start;
        best = seconds < best ? seconds : best;
    }
    quern_model_free(m);
    free(x);
    free(y);
    return records / best;
}

enum { texts = 960, steps = 64, symbols = 96, text_batch = 32 };

/* The small GPT of peers.py: symbols and their places, two blocks of width 128, an answer for every step. */
static quern_model *gpt(quern_error *err)
{
    quern_blueprint *b = quern_blueprint_new(1);
    int in[2] = { quern_input(b, "64 name=symbols"), quern_input(b, "64 name=places") };
    int both[2] = { quern_apply(b, "embedding 96 128", in[0]), quern_apply(b, "embedding 64 128", in[1]) };
    int x = quern_apply_n(b, "add", both, 2);
    for (int k = 0; k < 2; k++) {
        int y = quern_apply(b, "multi_head_attention 4 32 use_causal_mask=true", quern_apply(b, "layer_normalization", x));
        x = quern_apply_n(b, "add", (int[]){ x, y }, 2);
        y = quern_apply(b, "dense 512 gelu", quern_apply(b, "layer_normalization", x));
        x = quern_apply_n(b, "add", (int[]){ x, quern_apply(b, "dense 128", y) }, 2);
    }
    int out = quern_apply(b, "dense 96", quern_apply(b, "layer_normalization", x));
    return quern_model_new(b, in, 2, &out, 1, err);
}

double bench_gpt(void)
{
    quern_error err = { 0 };
    float *x = malloc(sizeof(float) * texts * steps), *places = malloc(sizeof(float) * texts * steps);
    int32_t *y = malloc(sizeof(int32_t) * texts * steps);
    double best = 1e9, logs[1];
    quern_model *m = gpt(&err);
    if (!x || !places || !y || !m || quern_compile(m, "adam", "sparse_categorical_crossentropy from_logits=true", NULL, &err) < 0)
        bench_fail(&err);
    for (int i = 0; i < texts * steps; i++) {
        x[i] = (float)((i * 2654435761u >> 8) % symbols);
        places[i] = (float)(i % steps);
        y[i] = (int32_t)(((i + 1) * 2654435761u >> 8) % symbols);
    }
    for (int e = 0; e < 12; e++) {
        double start = bench_now();
        for (size_t r = 0; r < texts; r += text_batch)
            if (quern_train_on_batch(m, (void *[]){ x + r * steps, places + r * steps }, (void *[]){ y + r * steps }, NULL,
                                     text_batch, logs, &err) < 0)
                bench_fail(&err);
        double seconds = bench_now() - start;
        best = seconds < best ? seconds : best;
    }
    quern_model_free(m);
    free(x);
    free(places);
    free(y);
    return texts * steps / best;
}

static int no_work(void *user, quern_batch *b, quern_error *err)
{
    (void)user, (void)err;
    ((float *)b->arrays[0])[0] = ((float *)b->arrays[1])[0] = 0;
    b->size = 1;
    return QUERN_OK;
}

/* Batches of one number through fit_generator and its queue, less the same through train_on_batch. */
double bench_overhead(void)
{
    enum { batches = 20000 };
    quern_error err = { 0 };
    quern_model *m = quern_model_from_words("input 1 | dense 1", 1, &err);
    quern_generator *g = quern_callback_generator(&(quern_callback_ops){ no_work, NULL }, NULL);
    double best = 1e9, logs[1];
    float one[1] = { 0 };
    if (!m || !g || quern_compile(m, "sgd", "mse", NULL, &err) < 0 || quern_model_set_threads(m, 1, &err) < 0)
        bench_fail(&err);
    for (int k = 0; k < 3; k++) {
        double start = bench_now();
        quern_history *h = quern_fit_generator(m, g, &(quern_fit_opts){ .batch_size = 1, .steps_per_epoch = batches }, &err);
        if (!h)
            bench_fail(&err);
        quern_history_free(h);
        double through = bench_now() - start;
        start = bench_now();
        for (int i = 0; i < batches; i++)
            quern_train_on_batch(m, (void *[]){ one }, (void *[]){ one }, NULL, 1, logs, &err);
        double direct = bench_now() - start;
        best = through - direct < best ? through - direct : best;
    }
    quern_generator_free(g);
    quern_model_free(m);
    return best / batches * 1e6;
}
