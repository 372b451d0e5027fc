/* A user-defined layer, loss, metric and optimizer, made of ops. Their gradients are automatic, a
 * pipeline can use their names, and a file with them opens in any program that registers them. */
#include <quern/quern.h>

#include <math.h>
#include <stdio.h>

/* A layer that scales each number by a learned factor: x * sigmoid(w). */
static int share_build(quern_custom *self, const quern_shape *in, int n_in, quern_error *err)
{
    quern_shape shape = { .rank = 1, .dims = { in->dims[in->rank - 1] } };
    (void)n_in;
    return quern_add_weight(self, "logits", &shape, "zeros", 1, err);
}

static quern_node share_call(quern_custom *self, quern_graph *g, const quern_node *in, int n_in,
                             int training)
{
    (void)n_in, (void)training;
    quern_node share = quern_node_unary(g, "sigmoid", quern_weight(self, g, 0));
    return quern_node_binary(g, "mul", in[0], share);
}

/* A loss for quantiles: mean over the last axis of max(q e, (q - 1) e) with e = truth - prediction
 * (Koenker and Bassett, 1978). */
static quern_node pinball(quern_custom *self, quern_graph *g, quern_node truth,
                          quern_node prediction)
{
    double q = quern_argument_number(self, "quantile");
    quern_node e = quern_node_binary(g, "sub", truth, prediction);
    quern_node above = quern_node_binary(g, "mul", e, quern_node_constant(g, q));
    quern_node below = quern_node_binary(g, "mul", e, quern_node_constant(g, q - 1));
    return quern_node_reduce(g, "mean", quern_node_binary(g, "maximum", above, below),
                             (int[]){ -1 }, 1, 0);
}

/* A metric: the fraction of predictions that are above the target. */
static quern_node covered(quern_custom *self, quern_graph *g, quern_node truth,
                          quern_node prediction)
{
    (void)self;
    return quern_node_reduce(g, "mean", quern_node_binary(g, "greater_equal", prediction, truth),
                             (int[]){ -1 }, 1, 0);
}

/* An optimizer: steps of constant size against the sign of a moving mean of the gradient. */
static quern_node sign_step(quern_custom *self, quern_graph *g, quern_node weight,
                            quern_node gradient, quern_node rate, quern_node iteration,
                            quern_node *slots)
{
    double beta = quern_argument_number(self, "beta");
    (void)iteration;
    quern_node kept = quern_node_binary(g, "mul", slots[0], quern_node_constant(g, beta));
    slots[0] = quern_node_binary(
        g, "add", kept, quern_node_binary(g, "mul", gradient, quern_node_constant(g, 1 - beta)));
    return quern_node_binary(
        g, "sub", weight, quern_node_binary(g, "mul", rate, quern_node_unary(g, "sign", slots[0])));
}

static int register_all(quern_error *err)
{
    static const quern_argument quantile[] = { { "quantile", "0.5" }, { 0 } },
                                beta[] = { { "beta", "0.9" }, { 0 } };
    static const char *const slots[] = { "momentum", NULL };
    int status = quern_register_layer("example>Share", NULL, share_build, share_call, err);
    if (status >= 0)
        status = quern_register_loss("example>Pinball", quantile, pinball, err);
    if (status >= 0)
        status = quern_register_metric("example>Covered", NULL, covered, err);
    return status < 0
               ? status
               : quern_register_optimizer("example>SignMomentum", beta, slots, sign_step, err);
}

int main(int argc, char **argv)
{
    enum { records = 1024 };
    static float x[records * 2], y[records];
    quern_error err = { 0 };
    for (int i = 0; i < records; i++) {
        x[2 * i] = (float)(i % 37) / 37;
        x[2 * i + 1] = (float)(i % 61) / 61;
        y[i] = x[2 * i] + (float)(i * 7919 % 101) /
                              100; /* the second input has no information; noise from 0 to 1 */
    }
    quern_tensor tx = { .dtype = QUERN_FLOAT32,
                        .shape = { .rank = 2, .dims = { records, 2 } },
                        .data = x },
                 ty = { .dtype = QUERN_FLOAT32,
                        .shape = { .rank = 2, .dims = { records, 1 } },
                        .data = y };
    quern_history *h = NULL;
    quern_model *m =
        register_all(&err) < 0
            ? NULL
            : quern_model_from_spec("input 2 | share | dense 16 relu | dense 1", 3, &err);
    if (m &&
        quern_compile(m, "sign_momentum learning_rate=0.002", "pinball 0.9", "covered", &err) >= 0)
        h = quern_fit(m, &tx, &ty, NULL, &(quern_fit_opts){ .epochs = 20, .batch_size = 32 }, &err);
    int last = h ? quern_history_epochs(h) - 1 : 0;
    if (h)
        printf("nine tenths of the truth should lie below the prediction: %.3f do (loss %.4f)\n",
               quern_history_value(h, "covered", last), quern_history_value(h, "loss", last));
    if (h && argc > 1 && quern_model_save(m, argv[1], &err) < 0)
        fprintf(stderr, "custom: %s: %s\n", err.where, err.text);
    int well = h && fabs(quern_history_value(h, "covered", last) - 0.9) < 0.05 && !err.code;
    if (!h || err.code)
        fprintf(stderr, "custom: %s: %s\n", err.where, err.text);
    quern_history_free(h);
    quern_model_free(m);
    return !well;
}
