/* A pass runs the batches of a training epoch, an evaluation or a prediction through the model, and
 * calls the hooks around each batch. */
#include "fit.h"
#include "tensor/array_axes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

int quern__pass_check(const quern_model *m, quern__mode mode, int64_t batch_size, int64_t steps,
                      quern_error *err)
{
    if (batch_size < 0 || batch_size > INT32_MAX || steps < 0)
        return quern__fail(err, QUERN_INVALID, steps < 0 ? "steps" : "batch_size",
                           "%lld is outside 0 … %lld", (long long)(steps < 0 ? steps : batch_size),
                           (long long)(steps < 0 ? INT64_MAX : INT32_MAX));
    if (mode == QUERN__TEST && !quern__model_compiled(m))
        return quern__not_compiled(m, err);
    return mode == QUERN__TEST && quern__model_totals_in_use(m)
               ? quern__model_waits(m, "an evaluation within an epoch", err)
               : QUERN_OK;
}

quern__queue_opts quern__queue_opts_of(const quern_model *m, quern__mode mode, int64_t batch_size)
{
    quern__queue_opts o = { .seed = quern__model_seed(m), .depth = 1 };
    quern__model_spec(m, mode, batch_size, &o.spec);
    return o;
}

void quern__logs_name(quern__logs *logs, const quern_model *m, char (*val_names)[100],
                      bool validated)
{
    logs->n = logs->n_own = 0;
    int n = quern_model_logs(m);
    for (int i = 0; i < n; i++)
        logs->names[logs->n++] = quern_model_log_name(m, i);
    for (int i = 0; i < n && validated; i++) {
        snprintf(val_names[i], sizeof *val_names, "val_%s", quern_model_log_name(m, i));
        logs->names[logs->n++] = val_names[i];
    }
    logs->event.names = logs->names;
    logs->event.logs = logs->values;
}

void quern__logs_read(quern__logs *logs, const quern_model *m, int at)
{
    quern__model_read_logs(m, logs->values + at);
}

/* Sets the sample weights of each target. A target that had weights once keeps them: a later batch
 * without weights gets weight 1. */
static int set_sample_weights(const quern__pass *p, quern_batch *b, quern__weighing *how,
                              void **weights, quern_error *err)
{
    quern__weighing planned = quern__model_weighing(p->m, p->mode);
    *how = (quern__weighing){ 0 };
    for (int i = 0; i < b->spec->n_targets; i++) {
        uint8_t own = (uint8_t)b->weighs[i], before = planned.of[i];
        uint8_t now = own ? own : b->has_weights ? QUERN_WEIGHTS_RECORDS : before;
        if (before && now != before && p->done > 0)
            return quern__fail(err, QUERN_SHAPE, b->spec->names[b->spec->n_inputs + i],
                               "the shape of its sample weights changed; until now there was one "
                               "weight per record%s",
                               before == QUERN_WEIGHTS_STEPS ? " and time step" : "");
        how->of[i] = now;
        weights[i] =
            own || !(b->has_weights || now) ? (void *)b->target_weights[i] : (void *)b->weights;
        if (own || b->has_weights || !now)
            continue;
        weights[i] = b->target_weights[i];
        quern_shape s = quern__shape_close(quern__model_weights_shape(p->m, i, now), b->size);
        for (int64_t k = 0; k < quern_shape_count(&s); k++)
            b->target_weights[i][k] = 1;
    }
    return QUERN_OK;
}

/* Closes a model with open axes over the shapes of a batch, and compares the targets with the
 * outputs that follow. */
static int close_over_batch(const quern__pass *p, const quern_batch *b, quern_error *err)
{
    int status = quern__model_close(p->m, b->shapes, err);
    for (int i = 0; status >= 0 && i < b->spec->n_targets && quern__model_open(p->m); i++) {
        char have[96], want[96];
        const quern_shape *own = &b->shapes[b->spec->n_inputs + i];
        quern_shape expected;
        quern_model_target(p->m, i, &expected);
        if (!quern__axes_fit(own, &expected))
            status = quern__fail(err, QUERN_SHAPE, b->spec->names[b->spec->n_inputs + i],
                                 "the target has shape %s, the output of these inputs needs %s",
                                 quern_shape_text(own, have, sizeof have),
                                 quern_shape_text(&expected, want, sizeof want));
    }
    return status;
}

/* Keeps the shapes of the outputs of the first batch, and compares those of later ones with them: as
 * in Keras, predictions of one run have one shape. */
static int check_outputs(quern__pass *p, quern_error *err)
{
    for (int i = 0; i < quern_model_outputs(p->m); i++) {
        char first[96], now[96];
        quern_shape own = quern_model_output_shape(p->m, i);
        if (p->samples == 0)
            p->outputs[i] = own;
        if (quern_shape_equal(&own, &p->outputs[i]))
            continue;
        int status = quern__fail(err, QUERN_SHAPE, quern_model_output_name(p->m, i),
                                 "the predictions of this batch have shape %s, those before %s",
                                 quern_shape_text(&own, now, sizeof now),
                                 quern_shape_text(&p->outputs[i], first, sizeof first));
        quern__hint(err, "predict batches of one size in a run");
        return status;
    }
    return QUERN_OK;
}

static int run_batch(quern__pass *p, quern_batch *b, quern_error *err)
{
    void *arrays[3 * QUERN_MAX_ARRAYS];
    const float *out[QUERN__MAX_IO];
    const quern_string *kept[QUERN_MAX_ARRAYS];
    int n = b->spec->n_inputs + b->spec->n_targets, status = close_over_batch(p, b, err);
    if (status < 0)
        return status;
    if (p->mode == QUERN__PREDICT) {
        status = quern__model_prepare(p->m, QUERN__PREDICT, b->spec->batch_size, NULL, err);
        if (status >= 0)
            status = quern__model_predict(p->m, b->arrays, b->size, out, err);
        if (status >= 0)
            status = check_outputs(p, err);
        quern_prediction made = { .records = b->size,
                                  .outputs = out,
                                  .kept = kept,
                                  .n_kept = b->spec->n_kept,
                                  .shapes = p->outputs };
        for (int i = 0; i < b->spec->n_kept; i++)
            kept[i] = b->arrays[b->spec->n_inputs - b->spec->n_kept + i];
        return status < 0 ? status : p->sink(p->user, &made) ? QUERN_END : QUERN_OK;
    }
    quern__weighing how;
    memcpy(arrays, b->arrays, (size_t)n * sizeof *arrays);
    status = set_sample_weights(p, b, &how, arrays + n, err);
    return status < 0 ? status
                      : quern__model_run(p->m, p->mode, arrays, &how, b->size, b->spec->batch_size,
                                         b->epoch, b->first + p->before, err);
}

/* Calls the hooks of a batch with its logs. */
static int call_batch_hooks(quern__pass *p, bool end, quern_error *err)
{
    static const quern__moment moments[QUERN__MODES][2] = {
        [QUERN__TRAIN] = { QUERN__TRAIN_BATCH_BEGIN, QUERN__TRAIN_BATCH_END },
        [QUERN__TEST] = { QUERN__TEST_BATCH_BEGIN, QUERN__TEST_BATCH_END },
        [QUERN__PREDICT] = { QUERN__PREDICT_BATCH_BEGIN, QUERN__PREDICT_BATCH_END },
    };
    quern__moment moment = moments[p->mode][end];
    if (!quern__listens(p->callbacks, p->n_callbacks, moment))
        return QUERN_OK;
    p->logs->event.batch = p->done;
    p->logs->event.records = p->samples;
    if (end && p->mode != QUERN__PREDICT)
        quern__logs_read(p->logs, p->m, 0);
    return quern__callbacks_call(p->callbacks, p->n_callbacks, moment, p->logs, err);
}

static int one_batch(quern__pass *p, quern_batch *b, quern_error *err)
{
    int status = quern__labels_check(b, quern__queue_source(p->queue), err);
    status = status < 0 || !p->classes ? status : quern__class_weights_weigh(p->classes, b, err);
    int began = status < 0 ? status : call_batch_hooks(p, false, err),
        ran = began < 0 ? began : run_batch(p, b, err);
    if (ran < 0)
        return ran;
    p->samples += b->size;
    int ended = call_batch_hooks(p, true, err);
    if (ended < 0)
        return ended;
    p->stopped = began == QUERN_END || ran == QUERN_END || ended == QUERN_END;
    if (p->mode == QUERN__PREDICT || isfinite(quern__model_loss_total(p->m)))
        return QUERN_OK;
    return !p->stopped ? quern__loss_is_broken(p, b, err) /* the first step with a bad loss */
           : p->broken ? (quern__loss_is_broken(p, b, p->broken), QUERN_OK)
                       : QUERN_OK;
}

int quern__pass_run(quern__pass *p, quern_error *err)
{
    for (p->stopped = false; !p->stopped && (p->steps < 0 || p->done < p->steps);) {
        quern_batch *b;
        int status = quern__queue_take(p->queue, &b, err);
        if (status == QUERN_OK) {
            status = one_batch(p, b, err);
            quern__queue_release(p->queue);
        }
        if (status < 0 && err)
            err->step = (int32_t)(p->done + 1);
        if (status != QUERN_OK)
            return status;
        p->done++;
        int after = p->after ? p->after(p, err) : QUERN_OK;
        if (after < 0)
            return after;
        p->stopped = p->stopped || after == QUERN_END;
    }
    return QUERN_OK;
}

void quern__pass_shortfall(const quern__pass *p, char *out, size_t size)
{
    int n = snprintf(out, size, "ended after %lld ", (long long)p->done);
    if (p->steps >= 0)
        n += snprintf(out + n, size - (size_t)n, "of %lld ", (long long)p->steps);
    snprintf(out + n, size - (size_t)n, "step%s",
             (p->steps >= 0 ? p->steps : p->done) == 1 ? "" : "s");
}

void quern__pass_warn_short(const quern__pass *p, int status, const char *what)
{
    char text[100];
    if (status != QUERN_END || p->stopped || p->steps < 0)
        return;
    quern__pass_shortfall(p, text, sizeof text);
    quern__warn("%s %s: the data is exhausted", what, text);
}
