/* Image networks, trained on images in memory: LeNet, Keras's mnist_convnet, ResNet-20. peers.py
 * has the same work. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char lenet[] = "input 28 28 1 | conv2d 6 5 relu padding=same | max_pooling2d | conv2d "
                            "16 5 relu | max_pooling2d | flatten"
                            " | dense 120 relu | dense 84 relu | dense 10";
static const char convnet[] =
    "input 28 28 1 | conv2d 32 3 relu | max_pooling2d | conv2d 64 3 relu | max_pooling2d | flatten"
    " | dropout 0.5 | dense 10";

/* Three stages of `blocks` residual blocks on images of 32 x 32 x 3 (He et al., "Deep Residual
 * Learning", 2015). */
void bench_resnet_words(int blocks, char *words, size_t size)
{
    char *end = words + size;
    words += snprintf(words, size,
                      "input 32 32 3 | conv2d 16 3 padding=same use_bias=false | "
                      "batch_normalization | re_lu as x");
    for (int stage = 0; stage < 3; stage++)
        for (int k = 0; k < blocks; k++) {
            int filters = 16 << stage, stride = stage && !k ? 2 : 1, n = stage * blocks + k;
            const char *side = k || !stage ? "x" : "s";
            words +=
                snprintf(words, (size_t)(end - words),
                         " | conv2d %d 3 strides=%d padding=same use_bias=false | "
                         "batch_normalization | re_lu"
                         " | conv2d %d 3 padding=same use_bias=false | batch_normalization as y%d",
                         filters, stride, filters, n);
            char shortcut[32];
            snprintf(shortcut, sizeof shortcut, n ? "x%d" : "x", n);
            if (*side == 's')
                words += snprintf(words, (size_t)(end - words),
                                  " | @%s | conv2d %d 1 strides=%d padding=same use_bias=false | "
                                  "batch_normalization | add @y%d",
                                  shortcut, filters, stride, n);
            else
                words += snprintf(words, (size_t)(end - words), " | add @%s", shortcut);
            words += snprintf(words, (size_t)(end - words), " | re_lu as x%d", n + 1);
        }
    snprintf(words, (size_t)(end - words), " | global_average_pooling2d | dense 10");
}

static void train_epoch(quern_model *m, const float *x, int64_t per, const int32_t *y,
                        int64_t records, int64_t batch)
{
    quern_error err = { 0 };
    double logs[1];
    for (int64_t r = 0; r < records; r += batch) {
        quern_tensor in = bench_inputs(m, 0, x + r * per, batch),
                     labels = bench_labels(m, y + r, batch);
        if (quern_train_on_batch(m, &in, &labels, NULL, logs, &err) < 0)
            bench_fail(&err);
    }
}

/* The best of `epochs` epochs, in images per second. */
static double train(const char *words, int64_t per, int64_t records, int64_t batch, int epochs)
{
    quern_error err = { 0 };
    float *x = malloc(sizeof(float) * (size_t)(records * per));
    int32_t *y = malloc(sizeof(int32_t) * (size_t)records);
    double best = 1e9;
    quern_model *m = quern_model_from_spec(words, 1, &err);
    if (!x || !y || !m ||
        quern_compile(m, "adam", "sparse_categorical_crossentropy from_logits=true", NULL, &err) <
            0)
        bench_fail(&err);
    for (int64_t i = 0; i < records * per; i++)
        x[i] = (float)((uint32_t)i * 2654435761u >> 8) / 16777216.0f;
    for (int64_t i = 0; i < records; i++)
        y[i] = (int32_t)(((uint32_t)i * 2654435761u >> 8) % 10);
    for (int e = 0; e < epochs; e++) {
        double start = bench_now();
        train_epoch(m, x, per, y, records, batch);
        double seconds = bench_now() - start;
        best = seconds < best ? seconds : best;
    }
    if (getenv("QUERN_BENCH_PROFILE") && quern_model_set_profile(m, 1) >= 0) {
        train_epoch(m, x, per, y, records, batch);
        char *table = quern_model_profile(m);
        fputs(table ? table : "", stderr);
        free(table);
    }
    quern_model_free(m);
    free(x);
    free(y);
    return (double)records / best;
}

double bench_lenet(void) { return train(lenet, 28 * 28, 6400, 64, 8); }
double bench_convnet(void) { return train(convnet, 28 * 28, 3840, 128, 6); }
double bench_resnet20(void)
{
    char words[8192];
    bench_resnet_words(3, words, sizeof words);
    return train(words, 32 * 32 * 3, 512, 32, 5);
}
