/* Benchmarks: `bench [--json] [NAME …]`. mlp: training of 784-128-10 (ReLU, Adam, batch 64, data in memory), the best epoch of
 * twenty; overhead: what fit_generator adds to a batch of an in-memory generator. */
#include <quern/quern.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { records = 19200, width = 784, batch = 64 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double train_epochs(void)
{
    quern_error err = { 0 };
    float *x = malloc(sizeof(float) * records * width);
    int32_t *y = malloc(sizeof(int32_t) * records);
    double best = 1e9, logs[1];
    quern_model *m = quern_model_from_words("input 784 | dense 128 relu | dense 10", 1, &err);
    if (!x || !y || !m || quern_compile(m, "adam", "sparse_categorical_crossentropy from_logits=true", NULL, &err) < 0)
        exit(fprintf(stderr, "bench: %s\n", err.text));
    for (int i = 0; i < records * width; i++)
        x[i] = (float)(i * 2654435761u >> 8) / 16777216.0f;
    for (int i = 0; i < records; i++)
        y[i] = i % 10;
    for (int e = 0; e < 20; e++) {
        double start = now();
        for (int r = 0; r < records; r += batch)
            if (quern_train_on_batch(m, (void *[]){ x + (size_t)r * width }, (void *[]){ y + r }, NULL, batch, logs, &err) < 0)
                exit(fprintf(stderr, "bench: %s\n", err.text));
        double seconds = now() - start;
        best = seconds < best ? seconds : best;
    }
    quern_model_free(m);
    free(x);
    free(y);
    return records / best;
}

/* Microseconds that a batch of one number costs from source to sink: nearly all of it is passing batches along. */
static double batch_overhead(void)
{
    enum { batches = 20000 };
    quern_error err = { 0 };
    static float x[batches];
    quern_tensor t = { .dtype = QUERN_FLOAT32, .shape = { .rank = 2, .dims = { batches, 1 } }, .data = x };
    quern_tensor y = { .dtype = QUERN_FLOAT32, .shape = { .rank = 2, .dims = { batches, 1 } }, .data = x };
    quern_model *m = quern_model_from_words("input 1 | dense 1", 1, &err);
    quern_generator *g = quern_array_generator(&t, 1, &y, 1, NULL, &err);
    double best = 1e9, logs[1], direct;
    float one[1] = { 0 };
    quern_compile(m, "sgd", "mse", NULL, &err);
    quern_model_set_threads(m, 1, &err);
    for (int k = 0; k < 3; k++) {
        double start = now();
        quern_history_free(quern_fit_generator(m, g, &(quern_fit_opts){ .batch_size = 1, .no_workers = 1 }, &err));
        double through = now() - start;
        start = now();
        for (int i = 0; i < batches; i++)
            quern_train_on_batch(m, (void *[]){ one }, (void *[]){ one }, NULL, 1, logs, &err);
        direct = now() - start;
        best = through - direct < best ? through - direct : best;
    }
    quern_generator_free(g);
    quern_model_free(m);
    return best / batches * 1e6;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name, *unit;
        double (*run)(void);
    } all[] = { { "mlp", "samples/s", train_epochs }, { "overhead", "us/batch", batch_overhead } };
    int json = argc > 1 && !strcmp(argv[1], "--json"), found = 0;
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        int wanted = argc == 1 + json;
        for (int i = 1 + json; i < argc; i++)
            wanted = wanted || !strcmp(argv[i], all[k].name);
        if (wanted)
            printf(json ? "{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\"}\n" : "%-10s %12.6g %s\n", all[k].name, all[k].run(),
                   all[k].unit);
        found += wanted;
    }
    if (!found)
        fprintf(stderr, "bench: no such benchmark (mlp, overhead)\n");
    return found ? 0 : 2;
}
