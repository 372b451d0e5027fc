/* An epoch: hooks, batches, validation, logs, checkpoints. */
#include "fitting.h"

#include <string.h>

int quern__fit_call_hooks(quern__fitting *f, quern__moment moment, quern__logs *logs,
                          quern_error *err)
{
    logs->event.seconds = quern__now() - f->start;
    logs->event.wait_seconds = f->train ? quern__queue_waited(f->train) - f->waited : 0;
    return quern__callbacks_call(f->callbacks, f->n_callbacks, moment, logs, err);
}

/* Reports a validation with fewer steps than validation_steps: a warning once, or an error. */
static int validation_shortfall(quern__fitting *f, const quern__pass *p, quern_error *err)
{
    char what[100];
    quern__pass_shortfall(p, what, sizeof what);
    if (f->o.on_exhausted == QUERN_EXHAUSTED_ERROR)
        return quern__fail(err, QUERN_INVALID, "validation", "%s: the data is exhausted", what);
    if (!f->fell_short)
        quern__warn("validation %s: the data is exhausted", what);
    f->fell_short = true;
    return QUERN_OK;
}

static bool is_interrupted(const quern__fitting *f) { return f->o.interrupt && *f->o.interrupt; }

/* Whether a wait for a batch ended by an interrupt. A program that received the same signal counts
 * too. */
static bool ended_by_interrupt(const quern__fitting *f, int status)
{
    return (status == QUERN_CANCELED || status == QUERN_USER) && is_interrupted(f);
}

static int after_validation_batch(quern__pass *p, quern_error *err)
{
    (void)err;
    return is_interrupted(p->user) ? QUERN_CANCELED : QUERN_OK;
}

/* Runs validation, between the last batch and the end of an epoch. */
static int validate(quern__fitting *f, quern_error *err)
{
    quern__pass p = { .m = f->m,
                      .mode = QUERN__TEST,
                      .queue = f->valid,
                      .steps = f->o.validation_steps ? f->o.validation_steps : -1,
                      .callbacks = f->callbacks,
                      .n_callbacks = f->n_callbacks,
                      .logs = &f->test_logs,
                      .after = after_validation_batch,
                      .user = f };
    quern__model_reset(f->m);
    quern__model_set_totals_in_use(f->m, true);
    f->test_logs.event = f->logs.event;
    f->test_logs.event.validating = true;
    f->test_logs.event.steps = f->o.validation_steps;
    quern__logs_name(&f->test_logs, f->m, f->val_names, false);
    int status = quern__fit_call_hooks(f, QUERN__TEST_BEGIN, &f->test_logs, err);
    if (status >= 0)
        status = quern__queue_begin(f->valid, 0, p.steps, true, err);
    if (status >= 0)
        status = quern__pass_run(&p, err);
    if (status < 0)
        return status;
    if (p.samples == 0)
        return quern__source_empty(f->o.validation_data, err);
    if (status == QUERN_END && !p.stopped && p.steps >= 0 && validation_shortfall(f, &p, err) < 0)
        return QUERN_INVALID;
    quern__logs_read(&f->test_logs, f->m, 0);
    quern__model_set_totals_in_use(f->m, false);
    f->test_logs.event.batch = p.done;
    return quern__fit_call_hooks(f, QUERN__TEST_END, &f->test_logs, err);
}

/* Logs the number of bad records, if the policy does not fail the run. */
static void log_bad(quern__fitting *f, bool validated)
{
    f->logs.open = true;
    if (quern__generator_bad_policy(f->source))
        quern_event_log(&f->logs.event, "bad_records", (double)quern__queue_bad(f->train));
    if (validated && quern__generator_bad_policy(f->o.validation_data))
        quern_event_log(&f->logs.event, "val_bad_records", (double)quern__queue_bad(f->valid));
}

/* Runs validation. An interrupted validation does not count: a checkpoint after the epoch's last
 * batch repeats it. */
static int validate_or_leave(quern__fitting *f, const quern__pass *p, quern_error *err)
{
    char *kept = f->o.interrupt && f->o.checkpoint
                     ? quern__alloc(quern__model_copy_totals(f->m, NULL, false) + 1)
                     : NULL;
    if (kept)
        quern__model_copy_totals(f->m, kept, false);
    int status = validate(f, err);
    if (ended_by_interrupt(f, status)) {
        f->interrupted = true;
        if (err)
            *err = (quern_error){ 0 };
        if (kept)
            quern__model_copy_totals(f->m, kept, true);
        int written =
            kept ? quern__fit_checkpoint(f, f->epoch, p->done, p->samples, false, err) : QUERN_OK;
        status = written < 0 ? written : QUERN_CANCELED;
    }
    quern__free(kept);
    return status;
}

/* Completes the logs of the epoch, and passes them to callbacks and history. */
static int close_epoch(quern__fitting *f, const quern__pass *p, quern_error *err)
{
    bool validated = f->valid && (f->epoch + 1) % quern__fit_validation_freq(&f->o) == 0;
    quern__logs_name(&f->logs, f->m, f->val_names, validated);
    quern__logs_read(&f->logs, f->m, 0);
    quern__model_set_totals_in_use(f->m, false);
    f->logs.event.batch = p->done;
    f->logs.event.records = p->samples;
    int status = validated ? validate_or_leave(f, p, err) : QUERN_OK;
    if (status < 0)
        return status;
    int n = quern_model_logs(f->m);
    for (int i = 0; validated && i < n; i++)
        f->logs.values[n + i] = f->test_logs.values[i];
    log_bad(f, validated);
    status = quern__fit_call_hooks(f, QUERN__EPOCH_END, &f->logs, err);
    if (status >= 0)
        quern__history_add(f->h, &f->logs);
    return status;
}

/* Writes a checkpoint if the options ask for one. */
int quern__fit_checkpoint(quern__fitting *f, int64_t epoch, int64_t step, int64_t records,
                          bool ended, quern_error *err)
{
    quern__place p = { .epoch = epoch,
                       .step = step,
                       .records = records,
                       .batches = f->batches,
                       .bad = step ? quern__queue_bad(f->train) : 0,
                       .ended = ended };
    bool good = f->o.checkpoint && !f->h->broken.code &&
                quern__model_finite(f->m, NULL); /* else the previous file stays */
    int status = good ? quern__checkpoint_write(&f->check, &p, err) : QUERN_OK;
    f->written = quern__now();
    return status;
}

static int after_batch(quern__pass *p, quern_error *err)
{
    quern__fitting *f = p->user;
    const quern_fit_opts *o = &f->o;
    f->batches++;
    f->steps = p->done;
    f->trained = true;
    f->interrupted = o->interrupt && *o->interrupt;
    bool due = (o->checkpoint_steps && f->batches % o->checkpoint_steps == 0) ||
               (o->checkpoint_seconds > 0 && quern__now() - f->written >= o->checkpoint_seconds);
    int status = due || f->interrupted
                     ? quern__fit_checkpoint(f, f->epoch, p->done, p->samples, false, err)
                     : QUERN_OK;
    if (status >= 0)
        status = quern__checkpoint_failed(&f->check, err);
    return status < 0 ? status : f->interrupted ? QUERN_END : QUERN_OK;
}

/* Trains on the batches of an epoch, from the resume position on. */
static int begin_batches(quern__fitting *f, const quern__pass *p, bool first, quern_error *err)
{
    const quern_fit_opts *o = &f->o;
    bool finite = quern__generator_finite(f->source), forever = p->steps >= 0,
         resumed = first && f->place.epoch >= 0, placed = f->place.placed;
    int64_t left = forever ? p->steps - p->done : -1, known = f->logs.event.steps;
    if (resumed && p->done && known && p->done >= known)
        left = 0; /* all batches are done; validation is not */
    if (!resumed || placed || o->no_replay) {
        if (resumed && placed && finite && !forever && !p->done)
            quern__generator_start_over(f->source);
        return quern__queue_begin(f->train, f->epoch, left, finite && (!forever || first), err);
    }
    int64_t skip = finite && !forever ? f->place.step : f->place.batches;
    int status = quern__queue_begin(f->train, finite && !forever ? f->epoch : o->initial_epoch,
                                    finite && !forever ? -1 : skip, finite, err);
    if (status >= 0)
        status = quern__queue_skip(f->train, skip, err);
    return status < 0 || (finite && !forever)
               ? status
               : quern__queue_begin(f->train, f->epoch, left, false, err);
}

/* Restores accumulators and callbacks in the middle of an epoch. */
static int resume_epoch(quern__fitting *f, quern__pass *p, quern_error *err)
{
    p->done = f->place.step;
    p->samples = f->place.records;
    bool counted = !f->place.placed && !f->o.no_replay && quern__generator_finite(f->source) &&
                   p->steps < 0; /* the queue discards and counts the earlier batches */
    p->before = counted ? 0 : f->place.records;
    if (f->place.placed && quern__generator_indexed(f->source) &&
        quern__generator_bad_policy(f->source) == QUERN_BAD_SKIP)
        p->before += f->place.bad; /* keeps the indexes of later records */
    int status = quern__model_prepare(f->m, QUERN__TRAIN, f->check.batch_size, NULL, err);
    if (status >= 0)
        status = quern__checkpoint_finish(&f->check, err);
    if (f->place.step == 0) /* the accumulators belong to the previous epoch */
        quern__model_reset(f->m);
    return status;
}

/* Handles a generator that ended in this epoch. Returns QUERN_END if training must stop or the last
 * epoch stays incomplete. */
static int handle_exhausted(quern__fitting *f, const quern__pass *p, quern_error *err)
{
    char what[100];
    bool more = f->epoch + 1 < quern__fit_epochs(&f->o);
    if (f->o.on_exhausted == QUERN_EXHAUSTED_RESTART || (!more && p->steps < 0))
        return QUERN_OK;
    quern__pass_shortfall(p, what, sizeof what);
    if (f->o.on_exhausted == QUERN_EXHAUSTED_ERROR)
        return quern__fail(err, QUERN_INVALID, "data", "epoch %lld %s: the generator is exhausted",
                           (long long)f->epoch + 1, what);
    quern__warn("epoch %lld %s: the generator is exhausted%s", (long long)f->epoch + 1, what,
                more ? ", training stops" : "");
    f->h->reason = "exhausted";
    return QUERN_END;
}

/* Runs one epoch. Returns QUERN_END if training must stop. */
int quern__fit_epoch(quern__fitting *f, bool first, quern_error *err)
{
    const quern_fit_opts *o = &f->o;
    int64_t steps = o->steps_per_epoch ? o->steps_per_epoch : -1;
    quern__pass p = { .m = f->m,
                      .mode = QUERN__TRAIN,
                      .queue = f->train,
                      .steps = steps,
                      .classes = f->classes.weight ? &f->classes : NULL,
                      .callbacks = f->callbacks,
                      .n_callbacks = f->n_callbacks,
                      .logs = &f->logs,
                      .broken = &f->h->broken,
                      .after = after_batch,
                      .user = f };
    f->start = quern__now();
    f->waited = quern__queue_waited(f->train);
    f->logs.event.epoch = f->epoch;
    f->logs.event.batch = f->logs.event.records = 0;
    quern__logs_name(&f->logs, f->m, f->val_names, false);
    quern__model_reset(f->m);
    quern__model_set_totals_in_use(f->m, true);
    f->logs.n = 0; /* no log values yet */
    int begun = quern__fit_call_hooks(f, QUERN__EPOCH_BEGIN, &f->logs, err);
    f->logs.n = quern_model_logs(f->m);
    int status = begun < 0 || !first || f->place.epoch < 0 ? begun : resume_epoch(f, &p, err);
    if (status >= 0)
        status = begin_batches(f, &p, first, err);
    if (first && f->place.epoch >= 0)
        quern__queue_restore_bad_count(f->train, f->place.bad);
    if (status >= 0)
        status = quern__pass_run(&p, err);
    bool exhausted = status == QUERN_END && !quern__generator_finite(f->source);
    if (ended_by_interrupt(f, status)) { /* during the wait for a batch */
        f->interrupted = true;
        if (err)
            *err = (quern_error){ 0 };
        status = f->trained ? quern__fit_checkpoint(f, f->epoch, p.done, p.samples, false, err)
                            : QUERN_OK;
    }
    if (status < 0)
        return status;
    if (f->interrupted)
        return f->h->reason = "interrupted", QUERN_END;
    if (p.samples == 0 && f->h->n == 0)
        return quern__source_empty(f->source, err);
    int ends = exhausted ? handle_exhausted(f, &p, err) : QUERN_OK;
    if (ends < 0 || p.samples == 0)
        return ends < 0 ? ends : QUERN_END;
    int closed = close_epoch(f, &p, err);
    if (closed == QUERN_CANCELED && f->interrupted)
        return f->h->reason = "interrupted", QUERN_END;
    bool ended = p.stopped || begun == QUERN_END || closed == QUERN_END;
    if (closed >= 0 && (ended || (!o->checkpoint_steps && o->checkpoint_seconds == 0))) {
        int written = quern__fit_checkpoint(f, f->epoch + 1, 0, 0, ended, err);
        closed = written < 0 ? written : closed;
    }
    if (closed < 0)
        return closed;
    if (ended)
        return f->h->reason = "stopped", QUERN_END;
    if (exhausted && o->on_exhausted == QUERN_EXHAUSTED_RESTART)
        return quern__queue_begin(f->train, f->epoch + 1, 0, true, err);
    return ends;
}
