/* The epoch loop: take a batch, step, release; logs; validation; the end. */
#include "model/model.h"
#include "queue/queue.h"
#include <quern/fit.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct quern_history {
    int64_t n, capacity;
    int n_names;
    char names[2 * QUERN__MAX_MEANS][100];
    double *values; /* n × n_names */
    const char *reason;
};

int64_t quern_history_epochs(const quern_history *h) { return h->n; }
const char *quern_history_reason(const quern_history *h) { return h->reason; }

double quern_history_value(const quern_history *h, const char *name, int64_t i)
{
    for (int k = 0; i >= 0 && i < h->n && k < h->n_names; k++)
        if (!strcmp(h->names[k], name))
            return h->values[i * h->n_names + k];
    return NAN;
}

void quern_history_free(quern_history *h)
{
    if (h)
        quern__free(h->values);
    quern__free(h);
}

/* Room for all epochs, so that nothing is allocated between them. */
static quern_history *history_new(const quern_model *m, int64_t epochs, quern_error *err)
{
    quern_history *h = quern__zalloc(1, sizeof *h);
    if (h) {
        h->capacity = epochs;
        h->n_names = 2 * m->n_means;
        h->reason = "completed";
        h->values = quern__zalloc((size_t)epochs + 1, (size_t)h->n_names * sizeof *h->values);
        for (int k = 0; k < m->n_means; k++) {
            snprintf(h->names[k], sizeof h->names[k], "%s", m->means[k].name);
            snprintf(h->names[m->n_means + k], sizeof h->names[k], "val_%s", m->means[k].name);
        }
    }
    if (h && h->values)
        return h;
    quern_history_free(h);
    quern__fail_memory(err, (size_t)epochs);
    return NULL;
}

/* ---- class weights: "0:1,1:4" ---- */

enum { most_classes = 65536 };
typedef struct classes {
    int64_t n;
    float *weight; /* NaN for a class that is not named */
} classes;

static int classes_read(const char *text, classes *out, quern_error *err)
{
    for (int pass = 0; text && pass < 2; pass++) {
        for (const char *p = text; *p;) {
            char *end, *after;
            long k = strtol(p, &end, 10);
            double w = *end == ':' ? strtod(end + 1, &after) : 0;
            if (*end != ':' || after == end + 1 || (*after && *after != ',') || k < 0 || k >= most_classes || !(w >= 0) || isinf(w))
                return quern__fail(err, QUERN_INVALID, "class_weight", "'%s' is not CLASS:WEIGHT,…", text);
            if (pass == 0)
                out->n = k + 1 > out->n ? k + 1 : out->n;
            else
                out->weight[k] = (float)w;
            p = *after ? after + 1 : after;
        }
        if (pass == 0 && !(out->weight = quern__alloc((size_t)out->n * sizeof *out->weight + 4)))
            return quern__fail_memory(err, (size_t)out->n * 4);
        for (int64_t i = 0; pass == 0 && i < out->n; i++)
            out->weight[i] = NAN;
    }
    return QUERN_OK;
}

/* The class of a record: its label, or the place of the largest of its one-hot target. */
static int64_t class_of(const quern_batch *b, int64_t r)
{
    const quern_batch_spec *s = b->spec;
    int at = s->n_inputs;
    int64_t per = 1, best = 0;
    for (int i = 1; i < s->shapes[at].rank; i++)
        per *= s->shapes[at].dims[i];
    if (s->dtypes[at] == QUERN_INT32)
        return ((const int32_t *)b->arrays[at])[r * per];
    const float *y = (const float *)b->arrays[at] + r * per;
    if (per == 1)
        return (int64_t)lrintf(y[0]);
    for (int64_t k = 1; k < per; k++)
        best = y[k] > y[best] ? k : best;
    return best;
}

static int weigh(quern_batch *b, const classes *c, quern_error *err)
{
    for (int64_t r = 0; c->weight && r < b->size; r++) {
        int64_t k = class_of(b, r);
        if (k < 0 || k >= c->n || isnan(c->weight[k]))
            return quern__fail(err, QUERN_INVALID, "class_weight", "record %lld of the epoch has class %lld, which has no weight",
                               (long long)(b->first + r + 1), (long long)k);
        b->weights[r] = c->weight[k] * (b->has_weights ? b->weights[r] : 1);
    }
    b->has_weights = b->has_weights || c->weight;
    return QUERN_OK;
}

/* ---- one batch ---- */

static quern__queue_opts queue_opts(const quern_model *m, quern__mode mode, int64_t batch_size)
{
    quern__queue_opts o = { .seed = m->b->seed, .depth = 1 };
    o.spec.n_inputs = m->n_in;
    o.spec.n_targets = mode == QUERN__PREDICT ? 0 : m->n_out;
    o.spec.batch_size = batch_size ? batch_size : 32;
    for (int i = 0; i < m->n_in; i++) {
        o.spec.shapes[i] = quern_model_input_shape(m, i);
        o.spec.dtypes[i] = QUERN_FLOAT32;
    }
    for (int i = 0; i < o.spec.n_targets; i++)
        o.spec.dtypes[m->n_in + i] = quern_model_target(m, i, &o.spec.shapes[m->n_in + i]);
    return o;
}

static int run_batch(quern_model *m, quern__mode mode, quern_batch *b, quern_error *err)
{
    void *arrays[3 * QUERN_MAX_ARRAYS];
    int n = b->spec->n_inputs + b->spec->n_targets;
    memcpy(arrays, b->arrays, (size_t)n * sizeof *arrays);
    for (int i = 0; i < b->spec->n_targets; i++)
        arrays[n + i] = b->weights;
    /* A model that has been weighted once stays so: the other batches' records count 1. */
    bool weighted = mode != QUERN__PREDICT && (b->has_weights || m->programs[mode].weighted);
    for (int64_t r = 0; weighted && !b->has_weights && r < b->size; r++)
        b->weights[r] = 1;
    return quern__model_run(m, mode, arrays, weighted, b->size, b->spec->batch_size, b->epoch, b->first, err);
}

/* Batches of one epoch through the model. Returns QUERN_OK, or QUERN_END when the source ended before `steps`. */
static int pass(quern_model *m, quern__mode mode, quern__queue *q, int64_t steps, const classes *c, int64_t *done, int64_t *samples,
                quern_error *err)
{
    for (*done = *samples = 0; steps < 0 || *done < steps; ++*done) {
        quern_batch *b;
        int status = quern__queue_take(q, &b, err);
        if (status != QUERN_OK)
            return status;
        if (c)
            status = weigh(b, c, err);
        if (status >= 0)
            status = run_batch(m, mode, b, err);
        if (status >= 0 && mode != QUERN__PREDICT &&
            !isfinite(*(double *)m->means[0].total->data)) /* the first step that broke it */
            status = quern__fail(err, QUERN_NUMBER, "loss", "is not finite after step %lld of epoch %lld", (long long)*done + 1,
                                 (long long)b->epoch + 1);
        *samples += b->size;
        quern__queue_release(q);
        if (status < 0) {
            if (err)
                err->step = (int32_t)(*done + 1);
            return status;
        }
    }
    return QUERN_OK;
}

/* ---- fit ---- */

typedef struct fitting {
    quern_model *m;
    const quern_fit_opts *o;
    quern__queue *train, *valid;
    classes classes;
    quern_history *h;
    quern_generator *source;
} fitting;

static int validate(fitting *f, double *logs, quern_error *err)
{
    int64_t steps = f->o->validation_steps ? f->o->validation_steps : -1, done, samples;
    quern__model_reset(f->m);
    int status = quern__queue_begin(f->valid, 0, steps, true, err);
    status = status < 0 ? status : pass(f->m, QUERN__TEST, f->valid, steps, NULL, &done, &samples, err);
    if (status >= 0 && samples == 0)
        return quern__fail(err, QUERN_INVALID, "validation", "the data is empty");
    quern__model_read_logs(f->m, logs);
    return status;
}

/* One epoch. Returns QUERN_END when training must stop. */
static int run_epoch(fitting *f, int64_t epoch, bool first, quern_error *err)
{
    const quern_fit_opts *o = f->o;
    int64_t steps = o->steps_per_epoch ? o->steps_per_epoch : -1, samples = 0, done = 0;
    double start = quern__now(), waited = quern__queue_waited(f->train);
    bool anew = f->source->finite && (steps < 0 || first);
    quern__model_reset(f->m);
    int status = quern__queue_begin(f->train, epoch, steps, anew, err);
    status = status < 0 ? status
                        : pass(f->m, QUERN__TRAIN, f->train, steps, f->classes.weight ? &f->classes : NULL, &done, &samples, err);
    bool exhausted = status == QUERN_END && !f->source->finite;
    if (status < 0)
        return status;
    if (samples == 0)
        return f->h->n == 0 ? quern__fail(err, QUERN_INVALID, "data", "the generator is empty")
                            : (f->h->reason = "exhausted", QUERN_END);
    if (exhausted && o->on_exhausted == QUERN_EXHAUSTED_ERROR)
        return quern__fail(err, QUERN_INVALID, "data", "the generator ended in epoch %lld after %lld steps", (long long)epoch + 1,
                           (long long)done);
    int n = f->m->n_means;
    double *logs = f->h->values + f->h->n * f->h->n_names;
    for (int k = 0; k < f->h->n_names; k++)
        logs[k] = NAN;
    quern__model_read_logs(f->m, logs);
    int64_t freq = o->validation_freq ? o->validation_freq : 1;
    bool validated = f->valid && (epoch + 1) % freq == 0;
    if (validated && (status = validate(f, logs + n, err)) < 0)
        return status;
    f->h->n++;
    const char *names[2 * QUERN__MAX_MEANS];
    for (int k = 0; k < f->h->n_names; k++)
        names[k] = f->h->names[k];
    quern_epoch told = { .epoch = epoch,
                         .steps = done,
                         .samples = samples,
                         .seconds = quern__now() - start,
                         .wait_seconds = quern__queue_waited(f->train) - waited,
                         .n = validated ? 2 * n : n,
                         .names = names,
                         .logs = logs };
    if (o->on_epoch_end && o->on_epoch_end(o->user, &told))
        return f->h->reason = "stopped", QUERN_END;
    if (exhausted && o->on_exhausted == QUERN_EXHAUSTED_RESTART)
        return quern__queue_begin(f->train, epoch + 1, 0, true, err);
    if (exhausted && epoch + 1 < (o->epochs ? o->epochs : 1)) {
        quern__warn("the generator ended in epoch %lld after %lld steps: training stops", (long long)epoch + 1, (long long)done);
        return f->h->reason = "exhausted", QUERN_END;
    }
    return QUERN_OK;
}

static int check_options(const quern_model *m, quern_generator *train, const quern_fit_opts *o, quern_error *err)
{
    if (!m->optimizer)
        return quern__fail(err, QUERN_INVALID, m->name, "the model is not compiled");
    if (o->steps_per_epoch < 0 || o->epochs < 0 || o->initial_epoch < 0 || o->validation_freq < 0 || o->validation_steps < 0 ||
        o->batch_size < 0 || o->max_queue_size < 0 || o->max_queue_size > 1024 || o->on_exhausted < 0 ||
        o->on_exhausted > QUERN_EXHAUSTED_RESTART)
        return quern__fail(err, QUERN_INVALID, "fit", "an option is out of its range");
    if (o->on_exhausted == QUERN_EXHAUSTED_RESTART && !train->finite && !train->restarts)
        return quern__fail(err, QUERN_INVALID, "on_exhausted", "this generator cannot begin anew");
    if ((o->validation_steps || o->validation_freq) && !o->validation_data)
        return quern__fail(err, QUERN_INVALID, o->validation_steps ? "validation_steps" : "validation_freq",
                           "there is no validation data");
    if (o->class_weight && m->n_out > 1)
        return quern__fail(err, QUERN_INVALID, "class_weight", "the model has %d outputs", m->n_out);
    return QUERN_OK;
}

quern_history *quern_fit_generator(quern_model *m, quern_generator *train, const quern_fit_opts *opts, quern_error *err)
{
    quern_fit_opts none = { 0 };
    fitting f = { .m = m, .o = opts ? opts : &none, .source = train };
    int64_t epochs = f.o->epochs ? f.o->epochs : 1, count = epochs > f.o->initial_epoch ? epochs - f.o->initial_epoch : 0;
    int status = check_options(m, train, f.o, err);
    status = status < 0 ? status : classes_read(f.o->class_weight, &f.classes, err);
    if (status >= 0) {
        quern__queue_opts q = queue_opts(m, QUERN__TRAIN, f.o->batch_size);
        q.shuffle = !f.o->no_shuffle;
        q.depth = f.o->max_queue_size ? f.o->max_queue_size : 10;
        q.threaded = !f.o->no_workers;
        q.forever = f.o->steps_per_epoch > 0;
        f.h = history_new(m, count, err);
        f.train = f.h ? quern__queue_open(train, &q, err) : NULL;
        q.shuffle = q.forever = false;
        if (f.train && f.o->validation_data && !(f.valid = quern__queue_open(f.o->validation_data, &q, err)))
            status = QUERN_INVALID;
        status = f.train ? status : QUERN_INVALID;
    }
    for (int64_t e = 0; status == QUERN_OK && e < count; e++)
        status = run_epoch(&f, f.o->initial_epoch + e, e == 0, err);
    quern__queue_close(f.train);
    quern__queue_close(f.valid);
    quern__free(f.classes.weight);
    if (status >= 0)
        return f.h;
    quern_history_free(f.h);
    return NULL;
}

/* ---- evaluate and predict ---- */

int64_t quern_evaluate_generator(quern_model *m, quern_generator *data, int64_t batch_size, int64_t steps, double *logs,
                                 quern_error *err)
{
    int64_t done, samples = 0;
    if (!m->optimizer)
        return quern__fail(err, QUERN_INVALID, m->name, "the model is not compiled");
    quern__queue_opts o = queue_opts(m, QUERN__TEST, batch_size);
    o.threaded = true;
    quern__queue *q = quern__queue_open(data, &o, err);
    quern__model_reset(m);
    int status = q ? quern__queue_begin(q, 0, steps ? steps : -1, false, err) : QUERN_INVALID;
    status = status < 0 ? status : pass(m, QUERN__TEST, q, steps ? steps : -1, NULL, &done, &samples, err);
    quern__queue_close(q);
    if (status >= 0 && samples == 0)
        return quern__fail(err, QUERN_INVALID, "data", "the data is empty");
    if (status >= 0)
        quern__model_read_logs(m, logs);
    return status < 0 ? status : samples;
}

int64_t quern_predict_generator(quern_model *m, quern_generator *data, int64_t batch_size, int64_t steps, quern_sink *sink,
                                void *user, quern_error *err)
{
    int64_t samples = 0;
    const float *out[QUERN__MAX_IO];
    quern__queue_opts o = queue_opts(m, QUERN__PREDICT, batch_size);
    o.threaded = true;
    quern__queue *q = quern__queue_open(data, &o, err);
    int status = q ? quern__queue_begin(q, 0, steps ? steps : -1, false, err) : QUERN_INVALID;
    while (status == QUERN_OK) {
        quern_batch *b;
        if ((status = quern__queue_take(q, &b, err)) != QUERN_OK)
            break;
        status = quern__model_prepare(m, QUERN__PREDICT, o.spec.batch_size, false, err);
        status = status < 0 ? status : quern_predict_on_batch(m, b->arrays, b->size, out, err);
        if (status >= 0 && sink(user, out, b->size))
            status = QUERN_END;
        samples += b->size;
        quern__queue_release(q);
    }
    quern__queue_close(q);
    return status < 0 ? status : samples;
}

/* ---- what it costs ---- */

static size_t variable_bytes(const quern__variable *v)
{
    size_t bytes = 0;
    quern__shape_bytes(&v->shape, v->dtype, &bytes);
    return bytes;
}

int quern_plan_training(quern_model *m, int64_t batch_size, int max_queue_size, quern_plan *out, quern_error *err)
{
    size_t before = quern__peak_bytes();
    quern__queue_opts q = queue_opts(m, QUERN__TRAIN, batch_size);
    q.depth = max_queue_size ? max_queue_size : 10;
    int status = quern__model_prepare(m, QUERN__TRAIN, q.spec.batch_size, false, err);
    if (status < 0)
        return status;
    *out = (quern_plan){ .queue = quern__queue_bytes(&q), .activations = m->programs[QUERN__TRAIN].plan->slab_bytes };
    for (int i = 0; i < quern_model_weights(m); i++)
        out->weights += variable_bytes(quern__model_variable(m, i));
    for (int i = 0; i < m->optimizer->n_slots; i++)
        out->optimizer += variable_bytes(m->optimizer->slots[i]);
    size_t model = out->weights + out->optimizer;
    out->runtime = before > model ? before - model : before;
    out->total = out->runtime + model + out->activations + out->queue;
    return QUERN_OK;
}
