/* A user-defined generator: an endless loop that fills a batch and yields it. It generates points
 * and labels them as inside or outside a circle; the network learns the circle. Memory does not
 * depend on the number of points. */
#include <quern/quern.h>

#include <math.h>
#include <stdio.h>

static unsigned state = 1;

static float next_number(void)
{
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / 8388608.0f - 1; /* -1 … 1 */
}

static int points(quern_yielder *yielder, void *arg)
{
    (void)arg;
    for (quern_batch *b; (b = quern_next_batch(yielder));) {
        float *x = b->arrays[0], *y = b->arrays[1];
        for (int64_t i = 0; i < b->size; i++) {
            x[2 * i] = next_number();
            x[2 * i + 1] = next_number();
            y[i] = hypotf(x[2 * i], x[2 * i + 1]) < 0.7f;
        }
        if (quern_yield(yielder, b) < 0)
            break;
    }
    return QUERN_OK;
}

int main(void)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec("input 2 | dense 32 tanh | dense 1 sigmoid", 42, &err);
    quern_generator *train = quern_function_generator(points, NULL);
    quern_history *h = NULL;
    if (m && train &&
        quern_compile(m, "adam learning_rate=0.01", "binary_crossentropy", "accuracy", &err) >= 0)
        h = quern_fit_generator(
            m, train, &(quern_fit_opts){ .steps_per_epoch = 500, .epochs = 4, .batch_size = 64 },
            &err);
    for (int64_t e = 0; h && e < quern_history_epochs(h); e++)
        printf("epoch %lld: loss %.4f, accuracy %.4f\n", (long long)e + 1,
               quern_history_value(h, "loss", e), quern_history_value(h, "accuracy", e));
    if (err.code)
        fprintf(stderr, "%s: %s\n", err.where, err.text);
    int good = h && !err.code && quern_history_value(h, "accuracy", 3) > 0.95;
    quern_history_free(h);
    quern_generator_free(train);
    quern_model_free(m);
    return good ? 0 : 1;
}
