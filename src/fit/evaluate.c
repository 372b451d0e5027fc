/* Evaluation and prediction; fit, evaluation and prediction from arrays; adapt. */
#include "fit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

int64_t quern_evaluate_generator(quern_model *m, quern_generator *data, int64_t batch_size,
                                 int64_t steps, double *logs, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m, "data", data);
    int status = quern__pass_check(m, QUERN__TEST, batch_size, steps, err);
    if (status >= 0)
        status = quern__own_batches(m, data, NULL, NULL, &batch_size, err);
    if (status >= 0)
        status = quern__close_over(m, data, err);
    if (status < 0)
        return status;
    quern__queue_opts o = quern__queue_opts_of(m, QUERN__TEST, batch_size);
    o.workers = 1;
    quern__pass p = { .m = m,
                      .mode = QUERN__TEST,
                      .steps = steps ? steps : -1,
                      .queue = quern__queue_open(data, &o, err) };
    quern__model_reset(m);
    quern__model_run_begin(m, false);
    status = p.queue ? quern__queue_begin(p.queue, 0, p.steps, false, err) : QUERN_INVALID;
    if (status >= 0)
        status = quern__pass_run(&p, err);
    quern__model_run_end(m, false);
    quern__queue_close(p.queue);
    if (status >= 0 && p.samples == 0)
        return quern__source_empty(data, err);
    quern__pass_warn_short(&p, status, "evaluation");
    if (status >= 0 && logs)
        quern__model_read_logs(m, logs);
    return status < 0 ? quern__leave(err, status) : p.samples;
}

/* ---- arrays ---- */

/* A view of the records [from, to) of an array. */
static quern_tensor records_of(const quern_tensor *t, int64_t from, int64_t to)
{
    quern_tensor part = *t;
    int64_t per = 1;
    for (int i = 1; i < t->shape.rank; i++)
        per *= t->shape.dims[i];
    part.shape.dims[0] = to - from;
    part.data = (char *)t->data + (size_t)(from * per) * quern_dtype_size(t->dtype);
    return part;
}

static quern_generator *part_generator(const quern_model *m, const quern_tensor *x,
                                       const quern_tensor *y, const float *weights, int64_t from,
                                       int64_t to, quern_error *err)
{
    quern_tensor xs[QUERN__MAX_IO], ys[QUERN__MAX_IO];
    int n_x = quern_model_inputs(m), n_y = y ? quern_model_outputs(m) : 0;
    for (int i = 0; i < n_x; i++)
        xs[i] = records_of(&x[i], from, to);
    for (int i = 0; i < n_y; i++)
        ys[i] = records_of(&y[i], from, to);
    return quern_array_generator(xs, n_x, ys, n_y, weights ? weights + from : NULL, err);
}

/* The number of records, equal for all arrays; y is NULL without targets. */
static int64_t count_of(const quern_model *m, const quern_tensor *x, const quern_tensor *y,
                        quern_error *err)
{
    int64_t records = x[0].shape.rank > 0 ? x[0].shape.dims[0] : 0;
    int status = QUERN_OK, n_x = quern_model_inputs(m), n_y = y ? quern_model_outputs(m) : 0;
    char where[16];
    for (int i = 0; i < n_x + n_y && status >= 0; i++) {
        bool input = i < n_x;
        int k = input ? i : i - n_x;
        snprintf(where, sizeof where, "%c[%d]", input ? 'x' : 'y', k);
        status = quern__array_check(input ? &x[k] : &y[k], where, records, err);
    }
    return status < 0 ? status : records;
}

quern_history *quern_fit(quern_model *m, const quern_tensor *x, const quern_tensor *y,
                         const float *weights, const quern_fit_opts *opts, quern_error *err)
{
    QUERN__ENTER(err, NULL, "model", m, "x", x, "y", y);
    quern_fit_opts o;
    if (QUERN__OPTIONS(o, QUERN__FIT_OPTS_0_1, opts, err) < 0)
        return NULL;
    double split = o.validation_split;
    int64_t count = count_of(m, x, y, err), kept = count;
    if (count < 0)
        return NULL;
    if (!(split >= 0 && split < 1) || (split > 0 && o.validation_data)) {
        quern__fail(err, QUERN_INVALID, "validation_split",
                    split >= 0 && split < 1 ? "does not combine with validation_data"
                                            : "%g is outside 0 … 1",
                    split);
        return NULL;
    }
    if (split > 0) /* as Keras: the last part, before shuffling */
        kept = (int64_t)floor((double)count * (1 - split));
    if (kept < 1 || (split > 0 && kept == count)) {
        quern__fail(err, QUERN_INVALID, split > 0 ? "validation_split" : "x",
                    "leaves %lld of %lld records for training", (long long)kept, (long long)count);
        return NULL;
    }
    o.validation_split = 0;
    quern_generator *train = part_generator(m, x, y, weights, 0, kept, err), *rest = NULL;
    if (train && split > 0)
        rest = o.validation_data = part_generator(m, x, y, weights, kept, count, err);
    quern_history *h =
        train && (rest || split <= 0) ? quern_fit_generator(m, train, &o, err) : NULL;
    quern_generator_free(train);
    quern_generator_free(rest);
    return h;
}

int64_t quern_evaluate(quern_model *m, const quern_tensor *x, const quern_tensor *y,
                       const float *weights, int64_t batch_size, double *logs, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m, "x", x, "y", y);
    int64_t count = count_of(m, x, y, err);
    if (count < 0)
        return count;
    quern_generator *g = part_generator(m, x, y, weights, 0, count, err);
    int64_t n = g ? quern_evaluate_generator(m, g, batch_size, 0, logs, err)
                  : quern__leave(err, QUERN_INVALID);
    quern_generator_free(g);
    return n;
}

/* The arrays that receive predictions. */
typedef struct room {
    const quern_model *m;
    float *const *out;
    int64_t at;
} room;

static int keep_outputs(void *user, const float *const *outputs, int64_t records)
{
    room *r = user;
    for (int i = 0; i < quern_model_outputs(r->m); i++) {
        quern_shape s = quern_model_output_shape(r->m, i);
        size_t per = 1;
        for (int k = 1; k < s.rank; k++)
            per *= (size_t)s.dims[k];
        memcpy(r->out[i] + (size_t)r->at * per, outputs[i], (size_t)records * per * sizeof(float));
    }
    r->at += records;
    return 0;
}

int64_t quern_predict(quern_model *m, const quern_tensor *x, int64_t batch_size, float *const *out,
                      quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m, "x", x, "out", out);
    room r = { .m = m, .out = out };
    for (int i = 0; i < quern_model_outputs(m); i++)
        if (!out[i])
            return quern__fail(err, QUERN_INVALID, "out", "element %d is NULL", i);
    int64_t count = count_of(m, x, NULL, err);
    if (count < 0)
        return count;
    quern_generator *g = part_generator(m, x, NULL, NULL, 0, count, err);
    int64_t n = g ? quern_predict_generator(m, g, batch_size, 0, keep_outputs, &r, err)
                  : quern__leave(err, QUERN_INVALID);
    quern_generator_free(g);
    return n;
}

/* ---- adapt ---- */

/* Runs one pass that computes the input of the layer at a node and passes it to the layer. */
static int adapt_node(quern_model *m, int node, quern__queue *q, int64_t steps, bool again,
                      quern_error *err)
{
    quern__layer *l = quern__model_layer_of_call(m, node);
    int64_t seen = 0;
    int status = quern__queue_begin(q, 0, steps ? steps : -1, again, err);
    quern_batch *b;
    while (status == QUERN_OK && (status = quern__queue_take(q, &b, err)) == QUERN_OK) {
        quern_tensor in;
        status =
            quern__model_layer_input(m, node, b->arrays, b->size, b->spec->batch_size, &in, err);
        if (status >= 0)
            status = quern__layer_adapt(l, &in, &seen, err);
        quern__queue_release(q);
    }
    quern__model_forget(m);
    if (status >= 0 && seen > 0)
        status = quern__layer_adapted(l, err);
    if (status >= 0 && seen == 0)
        return quern__source_empty(quern__queue_source(q), err);
    return status;
}

int quern_adapt(quern_model *m, const char *layer, quern_generator *data, int64_t batch_size,
                int64_t steps, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m, "data", data);
    int status = quern__pass_check(m, QUERN__PREDICT, batch_size, steps, err), n = 0;
    if (status >= 0)
        status = quern__model_waits(m, "adapting", err);
    if (status >= 0)
        status = quern__own_batches(m, data, NULL, NULL, &batch_size, err);
    if (status >= 0)
        status = quern__close_over(m, data, err);
    if (status < 0)
        return status;
    quern__queue_opts o = quern__queue_opts_of(m, QUERN__PREDICT, batch_size);
    o.workers = 1;
    quern__queue *q = quern__queue_open(data, &o, err);
    status = q ? QUERN_OK : QUERN_INVALID;
    quern__model_run_begin(m, false);
    for (int k = 0; k < quern__model_calls(m) && status >= 0; k++) {
        const quern__layer *l = quern__model_layer_of_call(m, k);
        if (!l)
            continue;
        bool learns = quern__layer_learns(l);
        if (layer ? strcmp(l->name, layer) != 0 : !learns)
            continue;
        status = learns ? adapt_node(m, k, q, steps, n > 0, err)
                        : quern__fail(err, QUERN_INVALID, layer, "has nothing to adapt");
        n++;
    }
    quern__model_run_end(m, false);
    quern__queue_close(q);
    if (status >= 0 && layer && n == 0)
        return quern__fail(err, QUERN_NOTFOUND, layer, "no layer has this name");
    return status < 0 ? quern__leave(err, status) : n;
}
