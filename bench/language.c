/* Language models: training on windows in memory (recurrent models, a small GPT), and generation of
 * one text. peers.py has the same work. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    texts = 960,
    steps = 64,
    symbols = 96,
    text_batch = 32,
    characters = 57,
    maxlen = 40,
    char_batch = 128,
    char_records = 3840
};

/* The small GPT of peers.py: token and position embeddings, two blocks of width 128, logits for
 * every time step. */
static const char gpt_words[] = "input 64 name=symbols | embedding 96 128 as symbol | input 64 "
                                "name=positions | embedding 64 128 | add @symbol as x"
                                " | layer_normalization | multi_head_attention 4 32 causal | add "
                                "@x as y | layer_normalization | dense 512 gelu | dense 128"
                                " | add @y as x2 | layer_normalization | multi_head_attention 4 32 "
                                "causal | add @x2 as y2 | layer_normalization | dense 512 "
                                "gelu"
                                " | dense 128 | add @y2 | layer_normalization | dense 96";
static const char lstm_words[] = "input 64 | embedding 96 64 | lstm 512 sequences | dense 96";
static const char gru_words[] = "input 64 | embedding 96 64 | gru 512 sequences | dense 96";

static quern_model *model(const char *words, const char *optimizer, const char *loss)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec(words, 1, &err);
    if (!m || (optimizer && quern_compile(m, optimizer, loss, NULL, &err) < 0))
        bench_fail(&err);
    return m;
}

/* The best of `epochs` epochs of complete training steps, in units per second. */
static double train(quern_model *m, float *x, int64_t per, int32_t *y, int64_t answers,
                    int64_t records, int64_t batch, int epochs)
{
    quern_error err = { 0 };
    float *places = malloc(sizeof(float) * (size_t)(batch * steps));
    double best = 1e9, logs[1];
    for (int64_t i = 0; places && i < batch * steps; i++)
        places[i] = (float)(i % steps);
    for (int e = 0; places && e < epochs; e++) {
        double start = bench_now();
        for (int64_t r = 0; r < records; r += batch) {
            quern_tensor in[2] = { bench_inputs(m, 0, x + r * per, batch),
                                   bench_inputs(m, 1, places, batch) },
                         labels = bench_labels(m, y + r * answers, batch);
            if (quern_train_on_batch(m, in, &labels, NULL, logs, &err) < 0)
                bench_fail(&err);
        }
        double seconds = bench_now() - start;
        best = seconds < best ? seconds : best;
    }
    free(places);
    quern_model_free(m);
    return 1 / best;
}

static double train_on_symbols(const char *words, int64_t records, int epochs)
{
    float *x = malloc(sizeof(float) * (size_t)(records * steps));
    int32_t *y = malloc(sizeof(int32_t) * (size_t)(records * steps));
    for (int64_t i = 0; x && y && i < records * steps; i++) {
        x[i] = (float)((i * 2654435761u >> 8) % symbols);
        y[i] = (int32_t)(((i + 1) * 2654435761u >> 8) % symbols);
    }
    quern_model *m = model(words, "adam", "sparse_categorical_crossentropy from_logits=true");
    double rate =
        train(m, x, steps, y, steps, records, text_batch, epochs) * (double)(records * steps);
    free(x);
    free(y);
    return rate;
}

double bench_gpt(void) { return train_on_symbols(gpt_words, texts, 12); }
double bench_lstm(void) { return train_on_symbols(lstm_words, texts / 2, 6); }
double bench_gru(void) { return train_on_symbols(gru_words, texts / 2, 6); }

double bench_char_lstm(void)
{
    enum { wide = maxlen * characters };
    float *x = calloc((size_t)char_records * wide, sizeof *x);
    int32_t *y = malloc(sizeof(int32_t) * char_records);
    for (int64_t i = 0; x && i < char_records * maxlen; i++)
        x[i * characters + (i * 2654435761u >> 8) % characters] = 1;
    for (int i = 0; y && i < char_records; i++)
        y[i] = i % characters;
    quern_model *m = model("input 40 57 | lstm 128 | dense 57", "rmsprop learning_rate=0.01",
                           "sparse_categorical_crossentropy from_logits=true");
    double rate = train(m, x, wide, y, 1, char_records, char_batch, 10) * char_records * maxlen;
    free(x);
    free(y);
    return rate;
}

/* One text, sampled at temperature 0.6. Returns tokens per second. */
static double speak(const char *words, int64_t length, int64_t again)
{
    quern_error err = { 0 };
    quern_model *m = model(words, NULL, NULL);
    quern_sampling sampling = QUERN_SAMPLING_DEFAULTS;
    sampling.temperature = 0.6;
    quern_decoder *s = quern_decoder_new(m, 1, QUERN_CONTEXT_SLIDE, &err);
    quern_sampler *sampler = quern_sampler_new(&sampling, symbols, &err);
    double best = 1e9;
    if (!s || !sampler)
        bench_fail(&err);
    for (int64_t k = 0; k < again; k++) {
        const float *logits;
        int32_t id = 1;
        double start = bench_now();
        quern_decoder_reset(s);
        for (int64_t i = 0; i < length; i++) {
            if (quern_decoder_feed(s, &id, 1, &logits, &err) < 0 ||
                (id = quern_sampler_draw(sampler, logits, NULL, 0,
                                         quern_sampling_uniform(1, 0, (uint64_t)i), &err)) < 0)
                bench_fail(&err);
        }
        double seconds = bench_now() - start;
        best = seconds < best ? seconds : best;
    }
    quern_decoder_free(s);
    quern_sampler_free(sampler);
    quern_model_free(m);
    return (double)length / best;
}

double bench_generate_lstm(void) { return speak(lstm_words, 2000, 20); }
double bench_generate_gpt(void) { return speak(gpt_words, steps, 400); }
double bench_generate_long(void) { return speak(gpt_words, 40 * steps, 10); }
