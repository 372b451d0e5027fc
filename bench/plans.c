/* The time to make a plan, and the packing of its arena. */
#include "bench.h"

#include <stdio.h>

/* A GPT of width 128 over 64 symbols. */
static void gpt(int blocks, char *words, size_t size)
{
    size_t n = (size_t)snprintf(words, size,
                                "input 64 name=symbols | embedding 96 128 as s | input 64 "
                                "name=places | embedding 64 128 | add @s as x0");
    for (int k = 0; k < blocks; k++)
        n += (size_t)snprintf(words + n, size - n,
                              " | layer_normalization | multi_head_attention 4 32 causal | add "
                              "@x%d as y%d | layer_normalization"
                              " | dense 512 gelu | dense 128 | add @y%d as x%d",
                              k, k, k, k + 1);
    snprintf(words + n, size - n, " | layer_normalization | dense 96");
}

/* Plans training on batches of 32. Returns the milliseconds. */
static double plan(const char *words, quern_plan *out)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec(words, 1, &err);
    if (!m || quern_compile(m, "adam", "sparse_categorical_crossentropy from_logits=true", NULL,
                            &err) < 0)
        bench_fail(&err);
    double start = bench_now();
    if (quern_plan_fit(m, NULL, NULL, out, &err) < 0)
        bench_fail(&err);
    double seconds = bench_now() - start;
    quern_model_free(m);
    return 1e3 * seconds;
}

double bench_planning(void)
{
    char words[2][16384];
    double slower = 0;
    gpt(12, words[0], sizeof words[0]);
    bench_resnet_words(8, words[1], sizeof words[1]);
    for (int i = 0; i < 2; i++) {
        quern_plan p;
        double best = 1e9;
        for (int k = 0; k < 3; k++) {
            double ms = plan(words[i], &p);
            best = ms < best ? ms : best;
        }
        slower = best > slower ? best : slower;
    }
    return slower;
}

double bench_packing(void)
{
    char words[4][16384] = { "input 784 | dense 128 relu | dense 10",
                             "input 28 28 1 | conv2d 32 3 relu | max_pooling2d | conv2d 64 3 relu "
                             "| max_pooling2d | flatten"
                             " | dropout 0.5 | dense 10" };
    double worst = 0;
    gpt(2, words[2], sizeof words[2]);
    bench_resnet_words(3, words[3], sizeof words[3]);
    for (int i = 0; i < 4; i++) {
        quern_plan p;
        plan(words[i], &p);
        double share = (double)p.arena / (double)p.arena_lower_bound;
        worst = share > worst ? share : worst;
    }
    return worst;
}
