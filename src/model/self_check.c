/* self_check: compares every fast kernel that small graphs reach with its reference kernel, and a
 * training run on one thread with one on two threads. */
#include "grad/grad.h"
#include "model_struct.h"
#include "ops/recurrence.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct checking {
    quern_check_fn *report;
    void *user;
    bool ok;
} checking;

static void report_check(checking *c, const char *name, bool ok, const char *detail)
{
    c->ok = c->ok && ok;
    c->report(c->user, name, ok, detail);
}

/* Runs the call with its reference kernel into separate memory. Returns the largest error relative
 * to 1 + |value|. */
static double distance(const quern__entry *e)
{
    quern_tensor out[4];
    double worst = 0;
    quern__call again = e->call;
    if (again.op->updates || again.n_out > 4)
        return 0;
    for (int k = 0; k < again.n_out; k++) {
        size_t bytes = 0;
        out[k] = e->call.out[k];
        if (!quern__shape_bytes(&out[k].shape, out[k].dtype, &bytes) ||
            !(out[k].data = quern__zalloc(bytes + 64, 1)))
            return NAN;
    }
    again.out = out;
    again.axis = -1;
    if (again.op->reference(&again, 0, 0) < 0)
        worst = NAN;
    for (int k = 0; k < again.n_out; k++) {
        if (!(again.op->inner >> k & 1))
            for (int64_t i = 0; i < quern_shape_count(&out[k].shape); i++) {
                double a = quern__get(&e->call.out[k], i), b = quern__get(&out[k], i),
                       gap = fabs(a - b) / (1 + fabs(b));
                worst = gap > worst || isnan(gap) ? gap : worst;
            }
        quern__free(out[k].data);
    }
    return worst;
}

enum { rows = 67, columns = 130, most_values = 128 };

/* Adds values that depend on two matrices. Returns their number. */
typedef int builder(quern__graph *g, quern__id a, quern__id b, quern__id *ids);

static int unary(quern__graph *g, quern__id a, quern__id b, quern__id *ids)
{
    (void)b;
    quern__id inside = quern__scale(g, a, 0.3), above = quern__shift(g, a, 1);
    for (int f = 0; f < QUERN__UNARY_COUNT; f++) {
        bool below_1 = f == QUERN__ASIN || f == QUERN__ACOS || f == QUERN__ATANH ||
                       f == QUERN__ERFINV; /* arguments from -1 to 1; of acosh, from 1 on */
        ids[f] = quern__unary(g, f,
                              below_1             ? inside
                              : f == QUERN__ACOSH ? above
                                                  : a,
                              0.5, 1.5, 0.25);
    }
    return QUERN__UNARY_COUNT;
}

static int binary(quern__graph *g, quern__id a, quern__id b, quern__id *ids)
{
    for (int f = 0; f < QUERN__BINARY_COUNT; f++)
        ids[f] = quern__binary(g, f, a, b);
    return QUERN__BINARY_COUNT;
}

static int products(quern__graph *g, quern__id a, quern__id b, quern__id *ids)
{
    ids[0] = quern__matmul(g, a, b, true, false);
    ids[1] = quern__matmul(g, a, b, false, true);
    ids[2] = quern__matmul(g, a, ids[0], false, false);
    return 3;
}

/* Forward and backward pass of softmax and cross-entropy, and reductions. */
static int classes(quern__graph *g, quern__id a, quern__id b, quern__id *ids)
{
    quern_error err = { 0 };
    quern__id labels = quern__argmax(g, b),
              loss = quern__sparse_crossentropy(g, labels, a, QUERN__NO_LABEL);
    quern__id sum = quern__reduce(g, QUERN__SUM, loss, ~0u, false);
    const quern__id values[] = { labels,
                                 loss,
                                 sum,
                                 quern__softmax(g, a),
                                 quern__log_softmax(g, a),
                                 quern__reduce(g, QUERN__MEAN, a, 1, false),
                                 quern__reduce(g, QUERN__SUM, a, 2, false) };
    memcpy(ids, values, sizeof values);
    quern__gradients(g, sum, 0, &a, 1, &ids[7], &err);
    return 8;
}

/* Forward and backward pass of LSTM and GRU over one long record. */
static int recurrences(quern__graph *g, quern__id a, quern__id b, quern__id *ids)
{
    int n = 0;
    for (int cell = QUERN__CELL_LSTM; cell <= QUERN__CELL_GRU; cell++) {
        quern_error err = { 0 };
        int64_t gates = cell == QUERN__CELL_LSTM ? 4 : 3, units = columns / gates;
        quern_shape z = { .rank = 3, .dims = { 1, rows, gates * units } };
        quern__id wide = quern__slice(g, a, 1, 0, gates * units),
                  kernel = quern__slice(g, quern__slice(g, b, 0, 0, units), 1, 0, gates * units);
        quern__id state = quern__slice(g, quern__slice(g, b, 0, 0, 1), 1, 0, units);
        quern__recurrence r = { .cell = cell,
                                .z = quern__reshape(g, wide, &z),
                                .kernel = quern__scale(g, kernel, 0.1),
                                .h = state,
                                .c = cell == QUERN__CELL_LSTM ? state : 0 };
        quern__id c, wrt[2] = { a, b };
        quern__recur(g, &r, &ids[n], &c);
        quern__gradients(g, quern__reduce(g, QUERN__SUM, ids[n], ~0u, false), 0, wrt, 2,
                         &ids[n + 1], &err);
        n += 3;
    }
    return n;
}

/* Forward and backward pass of attention and normalization. */
static int sequences(quern__graph *g, quern__id a, quern__id b, quern__id *ids)
{
    quern_error err = { 0 };
    quern_shape one = { .rank = 3, .dims = { 1, rows, columns } };
    quern__id q = quern__reshape(g, a, &one), k = quern__reshape(g, b, &one), wrt[2] = { a, b };
    ids[0] = quern__attention(
        g, &(quern__attended){
               .q = q, .k = k, .v = k, .heads = 2, .shared = 2, .causal = true, .scale = 0.1 });
    ids[1] = quern__normalize(g, a, 0, 0, true, 1e-3);
    quern__gradients(g, quern__reduce(g, QUERN__SUM, ids[0], ~0u, false), 0, wrt, 2, &ids[2], &err);
    quern__gradients(g, quern__reduce(g, QUERN__SUM, quern__square(g, ids[1]), ~0u, false), 0, &a,
                     1, &ids[4], &err);
    return 5;
}

/* Forward and backward pass of convolution and pooling on three images with 10 channels. */
static int images(quern__graph *g, quern__id a, quern__id b, quern__id *ids)
{
    quern_shape all = { .rank = 1, .dims = { rows * columns } },
                image = { .rank = 4, .dims = { 3, 28, 10, 10 } };
    quern_shape kernel = { .rank = 4, .dims = { 3, 3, 10, 37 } },
                own = { .rank = 3, .dims = { 3, 3, 10 } };
    quern__frame same = { 2, { 1, 3, 3 }, { 1, 1, 1 }, { 1, 1, 1 }, { 0, 1, 1 }, { 1, 28, 10 } },
                 half = same;
    half.stride[1] = half.stride[2] = 2;
    half.out[1] = 14, half.out[2] = 5;
    quern__id x = quern__reshape(
                  g, quern__slice(g, quern__reshape(g, a, &all), 0, 0, quern_shape_count(&image)),
                  &image),
              moments;
    quern__id flat = quern__reshape(g, b, &all);
    quern__id w =
        quern__reshape(g, quern__slice(g, flat, 0, 0, quern_shape_count(&kernel)), &kernel);
    quern__id each = quern__reshape(g, quern__slice(g, flat, 0, 0, quern_shape_count(&own)), &own);
    int n = 0;
    for (int k = 0; k < 2; k++) {
        ids[n++] = quern__convolve(g, x, w, k ? &half : &same);
        ids[n++] = quern__depthwise(g, x, each, k ? &half : &same);
        ids[n++] = quern__pool(g, x, k, &half);
    }
    ids[n++] = quern__batch_normalize(g, x, 0, 0, 1e-3, &moments);
    for (int k = 0, forward = n; k < forward; k++) {
        quern_error err = { 0 };
        quern__id d[2] = { 0 };
        if (quern__gradients(g, quern__reduce(g, QUERN__SUM, quern__square(g, ids[k]), ~0u, false),
                             0, (quern__id[]){ a, b }, 2, d, &err) >= 0)
            for (int i = 0; i < 2; i++)
                if (d[i])
                    ids[n++] = d[i];
    }
    return n;
}

/* Runs the graph of `build`, keeps all values, and compares each node with its reference kernel. */
static void check_kernels(checking *c, const char *name, builder *build, double tolerance)
{
    quern_error err = { 0 };
    quern_shape shape = { .rank = 2, .dims = { rows, columns } };
    char detail[160] = "";
    double worst = 0;
    quern__variable *v[2] = { quern__variable_new("a", QUERN_FLOAT32, &shape, false, &err),
                              quern__variable_new("b", QUERN_FLOAT32, &shape, false, &err) };
    quern__team *team = quern__team_new(2, &err);
    quern__graph *g = v[0] && v[1] && team ? quern__graph_new() : NULL;
    quern__id ids[most_values];
    if (g)
        for (int i = 0; i < rows * columns; i++) {
            ((float *)v[0]->data)[i] = (float)(0.1 + 3 * fabs(sin(i)));
            ((float *)v[1]->data)[i] = (float)(0.2 + 2 * fabs(cos(3.0 * i)));
        }
    int n = g ? build(g, quern__graph_variable(g, v[0]), quern__graph_variable(g, v[1]), ids) : 0;
    int all = g ? quern__graph_values(g) : 0;
    quern__id *kept =
        quern__zalloc((size_t)all + 1, sizeof *kept); /* all values are outputs, so that the arena
                                                         keeps the inputs of every node */
    for (int id = n = 0; kept && id < all; id++)
        if (quern__graph_value(g, id + 1)->kind == QUERN__VALUE_NODE)
            kept[n++] = id + 1;
    quern__plan *p = n && !quern__graph_status(g) ? quern__plan_new(g, kept, n, 1, &err) : NULL;
    quern__free(kept);
    void *arena = p ? quern__alloc_aligned((p->arena_bytes + 127) / 64 * 64, 64) : NULL;
    int status =
        arena ? quern__step(team, p, &(quern__step_run){ .arena = arena, .records = 1 }, &err)
              : QUERN_NOMEM;
    for (int e = 0; status >= 0 && e < p->n_entries; e++) {
        double gap = distance(&p->entries[e]);
        if (gap > worst || isnan(gap)) {
            worst = gap;
            quern__format(detail, sizeof detail, "within %.2g (%s by %s)", gap,
                          p->entries[e].node->name, p->entries[e].kernel_name);
        }
    }
    report_check(c, name, status >= 0 && worst <= tolerance, *err.text ? err.text : detail);
    quern__free_aligned(arena);
    quern__plan_free(p);
    quern__graph_free(g);
    quern__team_free(team);
    quern__variable_free(v[0]);
    quern__variable_free(v[1]);
}

static float sample[64 * 200];
static int32_t labels[64];

/* Trains a small network for a few steps. */
static quern_model *trained(const char *words, const char *optimizer, int threads, quern_error *err)
{
    double logs[4];
    for (int i = 0; i < 64 * 200; i++)
        sample[i] = (float)(i * 37 % 101) / 101;
    for (int i = 0; i < 64; i++)
        labels[i] = i % 10;
    quern_model *m = quern_model_from_spec(words, 1, err);
    if (!m ||
        quern_compile(m, optimizer, "sparse_categorical_crossentropy from_logits=true", "accuracy",
                      err) < 0 ||
        quern_model_set_threads(m, threads, err) < 0)
        return m;
    quern_tensor x = { .dtype = QUERN_FLOAT32,
                       .shape = quern_model_input_shape(m, 0),
                       .data = sample },
                 y = { .dtype = QUERN_INT32,
                       .shape = { .rank = 1, .dims = { 64 } },
                       .data = labels };
    x.shape.dims[0] = 64;
    for (int s = 0; s < 5 && !err->code; s++)
        quern_train_on_batch(m, &x, &y, NULL, logs, err);
    return m;
}

/* Compares the weights after training on one and on two threads. */
static void check_training(checking *c, const char *what, const char *words, const char *optimizer)
{
    quern_error err = { 0 };
    char name[128];
    quern_model *a = trained(words, optimizer, 1, &err), *b = trained(words, optimizer, 2, &err);
    bool same = !err.code;
    for (int i = 0; same && i < quern_model_weights(a); i++) {
        quern_tensor u = quern_model_weight(a, i, NULL), v = quern_model_weight(b, i, NULL);
        same = !memcmp(u.data, v.data, (size_t)quern_shape_count(&u.shape) * sizeof(float));
    }
    snprintf(name, sizeof name, "%s: bit-identical on 1 and 2 threads", what);
    report_check(c, name, same, err.text);
    quern_model_free(a);
    quern_model_free(b);
}

/* Reports the kind of processor that is in use and those that are available. */
static void report_isa(checking *c)
{
    char detail[128];
    const char *used = quern_isa(), *name;
    int n = snprintf(detail, sizeof detail, "%s of", used ? used : "unknown QUERN_ISA; one");
    for (int k = 0; (name = quern_isa_name(k)) && n < (int)sizeof detail; k++)
        n += snprintf(detail + n, sizeof detail - (size_t)n, "%s %s", k ? "," : "", name);
    report_check(c, "kind of processor", used != NULL, detail);
}

int quern_self_check(quern_check_fn *report, void *user)
{
    checking c = { .report = report, .user = user, .ok = true };
    report_check(&c, "quern", true, quern_version());
#ifdef QUERN_HAVE_ISAL
    report_check(&c, "gzip by", true, "ISA-L");
#else
    report_check(&c, "gzip by", true, "zlib");
#endif
    report_isa(&c);
    check_kernels(&c, "unary functions", unary, 2e-6);
    check_kernels(&c, "binary functions", binary, 2e-6);
    check_kernels(&c, "matrix products", products, 2e-5);
    check_kernels(&c, "classes and sums", classes, 2e-6);
    check_kernels(&c, "recurrence", recurrences, 2e-5);
    check_kernels(&c, "attention and normalization", sequences, 2e-5);
    check_kernels(&c, "images", images, 2e-5);
    static const char plain
        [] = "input 200 | dense 192 relu | dropout 0.2 | dense 10",
   picture[] =
        "input 200 | reshape (10,10,2) | conv2d 16 3 padding=same | batch_normalization | re_lu"
        " | max_pooling2d | depthwise_conv2d 3 | conv2d 24 3 strides=2 relu | flatten | dense 10";
    check_training(&c, "sgd momentum=0.9", plain, "sgd momentum=0.9");
    check_training(&c, "rmsprop", plain, "rmsprop");
    check_training(&c, "adam", plain, "adam");
    static const char averaged[] =
        "nadam gradient_accumulation_steps=2 use_ema=true ema_overwrite_frequency=3";
    check_training(&c, averaged, plain, averaged);
    check_training(&c, "loss_scale_optimizer muon", plain, "loss_scale_optimizer muon");
    check_training(&c, "images", picture, "adam");
    return c.ok ? QUERN_OK : QUERN_INTERNAL;
}
