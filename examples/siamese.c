/* A siamese network: one encoder reads two curves, and the distance of its two outputs decides
 * whether the curves are of one kind. The encoder is a nested model that is called twice, so both
 * calls share its weights. The loss is the contrastive loss of Hadsell, Chopra and LeCun (2006), a
 * user-defined loss. The kinds of the evaluation do not occur in training: the network learns to
 * compare. */
#include <quern/quern.h>

#include <math.h>
#include <stdio.h>

enum { length = 64, kinds = 16 };

static unsigned state = 3;

/* 0 … 1 */
static double chance(void)
{
    state = state * 1664525u + 1013904223u;
    return (double)(state >> 8) / 16777216.0;
}

/* A kind is a frequency; phase, amplitude and noise have no information. */
static void draw(float *curve, int kind)
{
    double phase = 6.2832 * chance(), height = 0.5 + chance();
    for (int i = 0; i < length; i++)
        curve[i] = (float)(height * sin(phase + 6.2832 * (1 + kind * 0.75) * i / length) +
                           0.2 * (chance() - 0.5));
}

/* Endless pairs; `arg` selects the kinds: odd ones (1) or even ones (0). Half of the pairs are of
 * one kind. */
static int pairs(quern_yielder *yielder, void *arg)
{
    for (quern_batch *b; (b = quern_next_batch(yielder));) {
        float *left = b->arrays[0], *right = b->arrays[1], *alike = b->arrays[2];
        for (int64_t i = 0; i < b->size; i++) {
            int kind = (int)(chance() * kinds / 2),
                other = (kind + 1 + (int)(chance() * (kinds / 2 - 1))) % (kinds / 2);
            alike[i] = chance() < 0.5;
            draw(left + i * length, 2 * kind + *(int *)arg);
            draw(right + i * length, 2 * (alike[i] > 0 ? kind : other) + *(int *)arg);
        }
        if (quern_yield(yielder, b) < 0)
            break;
    }
    return QUERN_OK;
}

/* alike d² + (1 - alike) max(1 - d, 0)²: pulls pairs of one kind together and pushes others to a
 * distance of 1. */
static quern_node contrastive(quern_custom *self, quern_graph *g, quern_node alike, quern_node d)
{
    quern_node one = quern_node_constant(g, 1),
               margin = quern_node_unary(g, "relu", quern_node_binary(g, "sub", one, d));
    quern_node near = quern_node_binary(g, "mul", alike, quern_node_unary(g, "square", d)),
               far = quern_node_binary(g, "mul", quern_node_binary(g, "sub", one, alike),
                                       quern_node_unary(g, "square", margin));
    (void)self;
    return quern_node_reduce(g, "mean", quern_node_binary(g, "add", near, far), (int[]){ -1 }, 1,
                             0);
}

/* The fraction of pairs that a threshold of 1/2 on the distance classifies correctly. */
static quern_node told_apart(quern_custom *self, quern_graph *g, quern_node alike, quern_node d)
{
    quern_node close = quern_node_binary(g, "greater_equal", quern_node_constant(g, 0.5), d);
    (void)self;
    return quern_node_reduce(g, "mean", quern_node_binary(g, "equal", alike, close), (int[]){ -1 },
                             1, 0);
}

/* The length of a vector. */
static quern_node norm(quern_custom *self, quern_graph *g, const quern_node *in, int n_in,
                       int training)
{
    (void)self, (void)n_in, (void)training;
    quern_node sum =
        quern_node_reduce(g, "sum", quern_node_unary(g, "square", in[0]), (int[]){ -1 }, 1, 1);
    return quern_node_unary(g, "sqrt",
                            quern_node_binary(g, "maximum", sum, quern_node_constant(g, 1e-7)));
}

static quern_model *siamese(quern_error *err)
{
    quern_model *encoder =
        quern_model_from_spec("input 64 1 | conv1d 16 9 relu same | conv1d 32 9 relu same strides=2"
                              " | global_average_pooling1d | dense 32 relu | dense 8",
                              1, err);
    quern_blueprint *b = quern_blueprint_new(2);
    int in[] = { quern_input(b, "64 1 name=left"), quern_input(b, "64 1 name=right") };
    int left = quern_apply_model(b, encoder, "encoder", &in[0], 1);
    int both[] = { left, quern_apply_again(b, left, &in[1], 1) };
    int distance = quern_apply(b, "norm", quern_apply_n(b, "subtract", both, 2));
    return quern_model_new(b, in, 2, &distance, 1, err);
}

int main(int argc, char **argv)
{
    quern_error err = { 0 };
    quern_history *h = NULL;
    double logs[2] = { 0 };
    int odd = 1, even = 0;
    quern_generator *train = quern_function_generator(pairs, &odd),
                    *others = quern_function_generator(pairs, &even);
    int status = quern_register_loss("example>Contrastive", NULL, contrastive, &err);
    if (status >= 0)
        status = quern_register_metric("example>ToldApart", NULL, told_apart, &err);
    if (status >= 0)
        status = quern_register_layer("example>Norm", NULL, NULL, norm, &err);
    quern_model *m = status < 0 ? NULL : siamese(&err);
    if (m && quern_compile(m, "adam learning_rate=0.003", "contrastive", "told_apart", &err) >= 0)
        h = quern_fit_generator(
            m, train, &(quern_fit_opts){ .steps_per_epoch = 200, .epochs = 2, .verbose = 2 }, &err);
    int failed = !h || err.code || quern_evaluate_generator(m, others, 0, 50, logs, &err) < 0;
    if (!failed && argc > 1)
        failed = quern_model_save(m, argv[1], &err) < 0;
    if (failed)
        fprintf(stderr, "siamese: %s: %s\n", err.where, err.text);
    else
        printf("pairs of unseen classes: %.1f %% are classified correctly\n", 100 * logs[1]);
    quern_history_free(h);
    quern_model_free(m);
    quern_generator_free(train);
    quern_generator_free(others);
    return failed || logs[1] < 0.8; /* a guess is right for half of the pairs */
}
