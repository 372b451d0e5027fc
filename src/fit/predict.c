/* Prediction: runs batches in order and passes their outputs and kept columns to the caller. */
#include "fit.h"
#include "schema/schema.h"

#include <string.h>

enum { most_kept = 8 };

/* Kept columns are additional text inputs, which the model does not read. */
static int add_kept(quern_batch_spec *s, char *names, const quern_generator *data, quern_error *err)
{
    char stop;
    for (char *name; names && (name = quern__next_name(&names, ",", &stop));) {
        if (s->n_kept == most_kept)
            return quern__fail(err, QUERN_INVALID, "keep", "more than %d columns", most_kept);
        if (!quern__generator_keeps(data))
            return quern__fail(err, QUERN_INVALID, "keep", "applies to the columns of a CSV");
        s->shapes[s->n_inputs] = (quern_shape){ .rank = 1, .dims = { -1 } };
        s->dtypes[s->n_inputs] = QUERN_STRING;
        s->names[s->n_inputs++] = name;
        s->n_kept++;
    }
    return QUERN_OK;
}

static int run_prediction(quern__pass *p, const quern__queue_opts *o, quern_generator *data,
                          quern_error *err)
{
    p->queue = quern__queue_open(data, o, err);
    int status = p->queue ? quern__queue_begin(p->queue, 0, p->steps, false, err) : QUERN_INVALID;
    if (status >= 0)
        status = quern__pass_run(p, err);
    quern__queue_close(p->queue);
    quern__pass_warn_short(p, status, "prediction");
    return status >= 0 && !p->samples ? quern__source_empty(data, err) : status;
}

int64_t quern_predict_with(quern_model *m, quern_generator *data, const quern_predict_opts *opts,
                           quern_prediction_sink *sink, void *user, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m, "data", data, "sink", sink);
    enum { opts_0_1 = 32 };
    quern_predict_opts with;
    int status = QUERN__OPTIONS(with, opts_0_1, opts, err);
    int64_t batch_size = with.batch_size;
    if (status >= 0)
        status = quern__pass_check(m, QUERN__PREDICT, batch_size, with.steps, err);
    if (status >= 0)
        status = quern__own_batches(m, data, NULL, NULL, &batch_size, err);
    if (status >= 0)
        status = quern__close_over(m, data, err);
    if (status < 0)
        return status;
    quern__queue_opts o = quern__queue_opts_of(m, QUERN__PREDICT, batch_size);
    quern__pass p = { .m = m,
                      .mode = QUERN__PREDICT,
                      .steps = with.steps ? with.steps : -1,
                      .sink = sink,
                      .user = user };
    char *names = with.keep ? quern__strdup(with.keep) : NULL;
    o.workers = 1;
    status = with.keep && !names ? quern__fail_memory(err, strlen(with.keep))
                                 : add_kept(&o.spec, names, data, err);
    quern__model_run_begin(m, false);
    if (status >= 0)
        status = run_prediction(&p, &o, data, err);
    quern__model_run_end(m, false);
    quern__free(names);
    return status < 0 ? quern__leave(err, status) : p.samples;
}

typedef struct plain {
    quern_sink *sink;
    void *user;
} plain;

static int give_outputs(void *user, const quern_prediction *p)
{
    const plain *to = user;
    return to->sink(to->user, p->outputs, p->records);
}

int64_t quern_predict_generator(quern_model *m, quern_generator *data, int64_t batch_size,
                                int64_t steps, quern_sink *sink, void *user, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m, "data", data, "sink", sink);
    plain to = { sink, user };
    return quern_predict_with(m, data,
                              &(quern_predict_opts){ .batch_size = batch_size, .steps = steps },
                              give_outputs, &to, err);
}
