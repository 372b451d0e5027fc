/* Custom classes: results equal those of Keras's classes with the same function, files store them,
 * and errors name their mistakes. */
#include "check.h"
#include "tensors.h"

#include <quern/quern.h>

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { records = 40, width = 6 };

static int product_build(quern_custom *self, const quern_shape *in, int n_in, quern_error *err)
{
    int64_t units = (int64_t)quern_argument_number(self, "units");
    quern_shape kernel = { .rank = 2, .dims = { in->dims[n_in > 0 ? 1 : 0], units } },
                bias = { .rank = 1, .dims = { units } };
    int status = quern_add_weight(self, "kernel", &kernel, "constant 0.1", 1, err);
    return status < 0 ? status : quern_add_weight(self, "bias", &bias, "zeros", 1, err);
}

static quern_node product_call(quern_custom *self, quern_graph *g, const quern_node *in, int n_in,
                               int training)
{
    (void)n_in, (void)training;
    quern_node y = quern_node_matmul(g, in[0], quern_weight(self, g, 0));
    y = quern_node_binary(g, "add", y, quern_weight(self, g, 1));
    return quern_node_unary(g, quern_argument_text(self, "activation"), y);
}

/* The moving mean of BatchNormalization, and its square as a loss. */
static int mean_build(quern_custom *self, const quern_shape *in, int n_in, quern_error *err)
{
    quern_shape row = { .rank = 1, .dims = { in->dims[1] } };
    (void)n_in;
    return quern_add_weight(self, "mean", &row, "ones", 0, err);
}

static quern_node mean_call(quern_custom *self, quern_graph *g, const quern_node *in, int n_in,
                            int training)
{
    (void)n_in;
    quern_node batch = quern_node_reduce(g, "mean", in[0], (int[]){ 0 }, 1, 0),
               kept = quern_weight(self, g, 0);
    if (training)
        quern_weight_becomes(
            self, g, 0,
            quern_node_binary(g, "add",
                              quern_node_binary(g, "mul", kept, quern_node_constant(g, 0.75)),
                              quern_node_binary(g, "mul", batch, quern_node_constant(g, 0.25))));
    quern_add_loss(
        self, g,
        quern_node_reduce(g, "sum", quern_node_unary(g, "square", in[0]), (int[]){ -1 }, 1, 0));
    return quern_node_stop_gradient(g, in[0]);
}

static quern_node squared(quern_custom *self, quern_graph *g, quern_node truth,
                          quern_node prediction)
{
    (void)self;
    quern_node square =
        quern_node_unary(g, "square", quern_node_binary(g, "sub", truth, prediction));
    return quern_node_reduce(g, "mean", square, (int[]){ -1 }, 1, 0);
}

static quern_node momentum(quern_custom *self, quern_graph *g, quern_node weight,
                           quern_node gradient, quern_node rate, quern_node iteration,
                           quern_node *slots)
{
    (void)iteration;
    quern_node kept = quern_node_binary(g, "mul", slots[0],
                                        quern_node_constant(g, quern_argument_number(self, "m")));
    slots[0] = quern_node_binary(g, "sub", kept, quern_node_binary(g, "mul", gradient, rate));
    return quern_node_binary(g, "add", weight, slots[0]);
}

/* Calls every other op once; the output shape shows that it is the named one. */
static quern_node shapes_call(quern_custom *self, quern_graph *g, const quern_node *in, int n_in,
                              int training)
{
    (void)self, (void)n_in, (void)training;
    quern_shape s = quern_node_shape(g, in[0]),
                two = { .rank = 3, .dims = { s.dims[0], s.dims[1] / 2, 2 } };
    quern_node x = quern_node_transpose(g, quern_node_reshape(g, in[0], &two), (int[]){ 0, 2, 1 });
    quern_node first = quern_node_slice(g, x, 1, 0, 1), second = quern_node_slice(g, x, -2, 1, 1);
    quern_node larger =
        quern_node_select(g, quern_node_binary(g, "greater", first, second), first, second);
    return quern_node_softmax(g, quern_node_concat(g, (quern_node[]){ first, larger }, 2, 2));
}

static quern_node wrong_call(quern_custom *self, quern_graph *g, const quern_node *in, int n_in,
                             int training)
{
    (void)self, (void)n_in, (void)training;
    return quern_node_unary(g, "tanq", in[0]);
}

static float x[records * width], y[records * 2];

static int registered(void **state)
{
    static const quern_argument product[] = { { "units", NULL },
                                              { "activation", "\"linear\"" },
                                              { 0 } },
                                m[] = { { "m", "0.0" }, { 0 } };
    static const char *const slots[] = { "momentum", NULL };
    quern_error err = { 0 };
    (void)state;
    for (int i = 0; i < records * width; i++)
        x[i] = (float)sin(1.7 * i);
    for (int i = 0; i < records * 2; i++)
        y[i] = (float)cos(0.9 * i);
    CHECK_OK(quern_register_layer("test>Product", product, product_build, product_call, &err), err);
    CHECK_OK(quern_register_layer("test>Mean", NULL, mean_build, mean_call, &err), err);
    CHECK_OK(quern_register_layer("test>Shapes", NULL, NULL, shapes_call, &err), err);
    CHECK_OK(quern_register_layer("test>Wrong", NULL, NULL, wrong_call, &err), err);
    CHECK_OK(quern_register_loss("test>Squared", NULL, squared, &err), err);
    CHECK_OK(quern_register_metric("test>SquaredToo", NULL, squared, &err), err);
    CHECK_OK(quern_register_optimizer("test>Momentum", m, slots, momentum, &err), err);
    return 0;
}

static quern_model *trained(const char *words, const char *optimizer, const char *loss,
                            const char *metric, double *logs)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec(words, 1, &err);
    if (!m || quern_compile(m, optimizer, loss, metric, &err) < 0)
        fail_msg("%s: %s: %s", words, err.where, err.text);
    for (int step = 0; step < 6; step++)
        CHECK_OK(quern_train_on_batch(m, &FLOATS(x, records, width), &FLOATS(y, records, 2), NULL,
                                      logs, &err),
                 err);
    return m;
}

static void same_weights(const quern_model *a, const quern_model *b, double within)
{
    assert_int_equal(quern_model_weights(a), quern_model_weights(b));
    for (int i = 0; i < quern_model_weights(a); i++) {
        quern_tensor u = quern_model_weight(a, i, NULL), v = quern_model_weight(b, i, NULL);
        assert_true(quern_shape_equal(&u.shape, &v.shape));
        for (int64_t k = 0; k < quern_shape_count(&u.shape); k++)
            if (!(fabs((double)((float *)u.data)[k] - ((float *)v.data)[k]) <= within))
                fail_msg("weight %d, number %lld: %g and %g", i, (long long)k,
                         (double)((float *)u.data)[k], (double)((float *)v.data)[k]);
    }
}

static void results_match_keras(void **state)
{
    double own[3], keras[3];
    (void)state;
    quern_model *a =
        trained("input 6 | product 5 tanh | product 2",
                "momentum m=0.9 learning_rate=0.1 clipnorm=1", "squared", "squared_too", own);
    quern_model *b = trained("input 6 | dense 5 tanh kernel_initializer=constant(0.1) | dense 2 "
                             "kernel_initializer=constant(0.1)",
                             "sgd momentum=0.9 learning_rate=0.1 clipnorm=1", "mse", "mse", keras);
    same_weights(a, b, 1e-6);
    for (int k = 0; k < 2; k++)
        assert_true(fabs(own[k] - keras[k]) < 1e-6);
    quern_model_free(a);
    quern_model_free(b);
}

static void files_store_them(void **state)
{
    double logs[3], again[3];
    char path[256];
    quern_error err = { 0 };
    (void)state;
    snprintf(path, sizeof path, "%s/custom_test.keras", QUERN_BINARY_DIR);
    quern_model *a = trained("input 6 | product 5 tanh | mean | product 2",
                             "momentum 0.9 learning_rate=0.1", "squared", "squared_too", logs);
    CHECK_OK(quern_model_save(a, path, &err), err);
    quern_model *b = quern_model_open(path, &err);
    if (!b)
        fail_msg("%s: %s", err.where, err.text);
    same_weights(a, b, 0);
    for (int k = 0; k < 2; k++)
        CHECK_OK(quern_train_on_batch(k ? b : a, &FLOATS(x, records, width), &FLOATS(y, records, 2),
                                      NULL, k ? again : logs, &err),
                 err);
    same_weights(a, b, 0);
    assert_true(logs[0] == again[0] && logs[1] == again[1]);
    quern_model_free(a);
    quern_model_free(b);
    remove(path);
}

/* moving = 0.75 moving + 0.25 * batch mean, six times, starting at 1; the loss is the mean of
 * squares and has no gradient. */
static void weights_change_and_losses_add(void **state)
{
    double logs[1], squares = 0, mean = 0;
    (void)state;
    quern_model *m = trained("input 6 | mean | dense 2 kernel_initializer=zeros trainable=false",
                             "sgd", "mse", NULL, logs);
    for (int i = 0; i < records * width; i++)
        squares += (double)x[i] * x[i] / records;
    for (int i = 0; i < records; i++)
        mean += (double)x[i * width + 1] / records;
    double truth = 0, kept = 1;
    for (int i = 0; i < records * 2; i++)
        truth += (double)y[i] * y[i] / (records * 2);
    for (int i = 0; i < 6; i++)
        kept = 0.75 * kept + 0.25 * mean;
    quern_tensor w = quern_model_weight(m, 0, NULL);
    assert_true(fabs(((float *)w.data)[1] - kept) < 1e-6);
    assert_true(fabs(logs[0] - truth - squares) < 1e-5);
    quern_model_free(m);
}

static void every_op_is_reached(void **state)
{
    quern_error err = { 0 };
    const float *out;
    (void)state;
    quern_model *m = quern_model_from_spec("input 6 | shapes", 1, &err);
    if (!m)
        fail_msg("%s: %s", err.where, err.text);
    CHECK_OK(quern_predict_on_batch(m, &FLOATS(x, 2, width), &out, &err), err);
    for (int r = 0; r < 2; r++) {
        double e[6], sum = 0;
        for (int k = 0; k < 3; k++) {
            e[k] = exp(x[r * width + 2 * k]);
            e[3 + k] = exp(fmax(x[r * width + 2 * k], x[r * width + 2 * k + 1]));
        }
        for (int k = 0; k < 6; k++)
            sum += e[k];
        for (int k = 0; k < 6; k++)
            assert_true(fabs(out[r * 6 + k] - e[k] / sum) < 1e-6);
    }
    quern_model_free(m);
}

static void mistakes_are_reported(void **state)
{
    static const quern_argument bad[] = { { "a", "{" }, { 0 } };
    quern_error err = { 0 };
    (void)state;
    assert_int_equal(quern_register_layer("test>Product", NULL, NULL, shapes_call, &err),
                     QUERN_INVALID);
    assert_non_null(strstr(err.text, "already"));
    err = (quern_error){ 0 };
    assert_int_equal(quern_register_layer("test>Dense", NULL, NULL, shapes_call, &err),
                     QUERN_INVALID);
    static const char *const names[] = { "Plain", ">Class", "package>", "a>b>c", NULL };
    for (int i = 0; i < 5; i++) {
        err = (quern_error){ 0 };
        assert_int_equal(quern_register_loss(names[i], NULL, squared, &err), QUERN_INVALID);
    }
    err = (quern_error){ 0 };
    assert_int_equal(quern_register_metric("test>Bad", bad, squared, &err), QUERN_INVALID);
    assert_non_null(strstr(err.text, "not JSON"));
    err = (quern_error){ 0 };
    assert_null(quern_model_from_spec("input 6 | wrong", 1, &err));
    assert_non_null(strstr(err.text, "tanq"));
    err = (quern_error){ 0 };
    assert_null(quern_model_from_spec("input 6 | product", 1, &err));
    assert_non_null(strstr(err.text, "units"));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(results_match_keras),
                                        cmocka_unit_test(files_store_them),
                                        cmocka_unit_test(weights_change_and_losses_add),
                                        cmocka_unit_test(every_op_is_reached),
                                        cmocka_unit_test(mistakes_are_reported) };
    return cmocka_run_group_tests(tests, registered, NULL);
}
