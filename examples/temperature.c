/* Sampling with a temperature in its smallest form: a model's logits, divided by a temperature,
 * become probabilities, and one token is drawn. The network memorizes a line from a generator and
 * then continues from one letter, at a low or a high temperature. */
#include <quern/quern.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { window = 8, letters = 27 }; /* a blank, a to z */
static const char line[] = "the mill turns by the water and the grain is ground to flour ";

static int letter(size_t i)
{
    char c = line[i % (sizeof line - 1)];
    return c == ' ' ? 0 : c - 'a' + 1;
}

static int windows(void *user, quern_batch *b, quern_error *err)
{
    size_t *at = user;
    (void)err;
    for (int64_t i = 0; i < b->size; i++, ++*at)
        for (int k = 0; k < window; k++) {
            ((float *)b->arrays[0])[i * window + k] = (float)letter(*at + (size_t)k);
            ((int32_t *)b->arrays[1])[i * window + k] = letter(*at + (size_t)k + 1);
        }
    return QUERN_OK;
}

/* softmax(logits / temperature), then a draw by the number u in [0, 1). */
static int draw(const float *logits, double temperature, double u)
{
    double p[letters], most = -INFINITY, sum = 0, so_far = 0;
    for (int i = 0; i < letters; i++)
        most = logits[i] > most ? (double)logits[i] : most;
    for (int i = 0; i < letters; i++)
        sum += p[i] = exp((logits[i] - most) / temperature);
    for (int i = 0; i < letters; i++)
        if ((so_far += p[i]) > u * sum)
            return i;
    return letters - 1;
}

int main(void)
{
    quern_error err = { 0 };
    size_t at = 0;
    int32_t id = 20; /* t */
    int right = 0;
    quern_model *m =
        quern_model_from_spec("input 8 | embedding 27 16 | lstm 48 sequences | dense 27", 7, &err);
    quern_generator *g = quern_callback_generator(&(quern_callback_ops){ .next = windows }, &at);
    quern_history *h = NULL;
    if (m && quern_compile(m, "adam learning_rate=0.01",
                           "sparse_categorical_crossentropy from_logits=true", NULL, &err) >= 0)
        h = quern_fit_generator(m, g, &(quern_fit_opts){ .steps_per_epoch = 300, .batch_size = 32 },
                                &err);
    quern_decoder *s = h && !err.code ? quern_decoder_new(m, 1, QUERN_CONTEXT_SLIDE, &err) : NULL;
    for (double temperature = 0.2; s && temperature < 1.7; temperature += 0.7) {
        printf("temperature %.1f: t", temperature);
        quern_decoder_reset(s);
        id = 20;
        char last[4] = "  t"; /* at a low temperature it generates the line that it learned */
        for (int i = 0; i < 60; i++) {
            const float *logits;
            if (quern_decoder_feed(s, &id, 1, &logits, &err) < 0)
                break;
            id = draw(logits, temperature, quern_sampling_uniform(1, 0, (uint64_t)i));
            memmove(last, last + 1, 2);
            last[2] = (char)(id ? 'a' + id - 1 : ' ');
            right += temperature < 0.3 && strstr(line, last);
            putchar(last[2]);
        }
        putchar('\n');
    }
    if (!s || err.code)
        fprintf(stderr, "%s: %s\n", err.where, err.text);
    quern_decoder_free(s);
    quern_history_free(h);
    quern_generator_free(g);
    quern_model_free(m);
    return s && right >= 50 ? 0 : 1;
}
