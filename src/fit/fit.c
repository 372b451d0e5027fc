/* The epoch loop: hooks, batches, validation, logs, and why it ends. It reads from top to bottom at the end of the file. */
#include "checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct fitting {
    quern_model *m;
    const quern_fit_opts *o;
    quern_generator *source;
    quern__queue *train, *valid;
    quern__class_weights classes;
    quern_history *h;
    quern__logs logs, test_logs;
    char val_names[QUERN__MAX_MEANS][100];
    int n_callbacks;
    quern_callback *callbacks[64]; /* the caller's, then progress */
    quern_callback *progress;
    int64_t epoch;
    double start, waited;
    quern__checkpointing check;
    quern__place place; /* where it goes on; epoch -1: at the start */
    int64_t batches;    /* of the whole run                          */
    quern_fit_opts own; /* with what callbacks want of the run       */
    quern__backup backup;
    double written; /* when the last checkpoint was              */
    bool interrupted;
    int64_t steps;   /* of the last epoch */
    bool fell_short; /* validation did: it is said */
    bool trained;    /* on a batch at least */
} fitting;

static int64_t epochs_of(const quern_fit_opts *o) { return o->epochs ? o->epochs : 1; }

static int tell(fitting *f, quern__moment moment, quern__logs *logs, quern_error *err)
{
    logs->event.seconds = quern__now() - f->start;
    logs->event.wait_seconds = f->train ? quern__queue_waited(f->train) - f->waited : 0;
    return quern__tell(f->callbacks, f->n_callbacks, moment, logs, err);
}

/* Validation had fewer steps than asked for: said once, or an error. */
static int fell_short(fitting *f, const quern__pass *p, quern_error *err)
{
    char what[100];
    quern__pass_shortfall(p, what, sizeof what);
    if (f->o->on_exhausted == QUERN_EXHAUSTED_ERROR)
        return quern__fail(err, QUERN_INVALID, "validation", "%s: the data is exhausted", what);
    if (!f->fell_short)
        quern__warn("validation %s: the data is exhausted", what);
    f->fell_short = true;
    return QUERN_OK;
}

/* Validation, between the last batch and the end of an epoch. */
static int validate(fitting *f, quern_error *err)
{
    quern__pass p = { .m = f->m,
                      .mode = QUERN__TEST,
                      .queue = f->valid,
                      .steps = f->o->validation_steps ? f->o->validation_steps : -1,
                      .callbacks = f->callbacks,
                      .n_callbacks = f->n_callbacks,
                      .logs = &f->test_logs };
    quern__model_reset(f->m);
    f->test_logs.event = f->logs.event;
    f->test_logs.event.validating = true;
    f->test_logs.event.steps = f->o->validation_steps;
    quern__logs_name(&f->test_logs, f->m, f->val_names, false);
    int status = tell(f, QUERN__TEST_BEGIN, &f->test_logs, err);
    status = status < 0 ? status : quern__queue_begin(f->valid, 0, p.steps, true, err);
    status = status < 0 ? status : quern__pass_run(&p, err);
    if (status < 0)
        return status;
    if (p.samples == 0)
        return quern__fail(err, QUERN_INVALID, "validation", "the data is empty");
    if (status == QUERN_END && !p.stopped && p.steps >= 0 && fell_short(f, &p, err) < 0)
        return QUERN_INVALID;
    quern__logs_read(&f->test_logs, f->m, 0);
    f->test_logs.event.batch = p.done;
    return tell(f, QUERN__TEST_END, &f->test_logs, err);
}

/* How many records could not be used, where that is no error. */
static void log_bad(fitting *f, bool validated)
{
    f->logs.open = true;
    if (f->source->bad.policy)
        quern_event_log(&f->logs.event, "bad_records", (double)quern__queue_bad(f->train));
    if (validated && f->o->validation_data->bad.policy)
        quern_event_log(&f->logs.event, "val_bad_records", (double)quern__queue_bad(f->valid));
}

/* The logs of the epoch are complete: callbacks, history. */
static int close_epoch(fitting *f, const quern__pass *p, quern_error *err)
{
    int64_t freq = f->o->validation_freq ? f->o->validation_freq : 1;
    bool validated = f->valid && (f->epoch + 1) % freq == 0;
    quern__logs_name(&f->logs, f->m, f->val_names, validated);
    quern__logs_read(&f->logs, f->m, 0);
    f->logs.event.batch = p->done;
    f->logs.event.records = p->samples;
    int status = validated ? validate(f, err) : QUERN_OK;
    if (status < 0)
        return status;
    for (int i = 0; validated && i < f->m->n_means; i++)
        f->logs.values[f->m->n_means + i] = f->test_logs.values[i];
    log_bad(f, validated);
    status = tell(f, QUERN__EPOCH_END, &f->logs, err);
    if (status >= 0)
        quern__history_add(f->h, &f->logs);
    return status;
}

/* A checkpoint of now, where it is asked for. */
static int write_checkpoint(fitting *f, int64_t epoch, int64_t step, int64_t records, bool ended, quern_error *err)
{
    quern__place p = { .epoch = epoch,
                       .step = step,
                       .records = records,
                       .batches = f->batches,
                       .bad = step ? quern__queue_bad(f->train) : 0,
                       .ended = ended };
    bool good = f->o->checkpoint && !f->h->broken.code && quern__model_finite(f->m, NULL); /* else the one before it stays */
    int status = good ? quern__checkpoint_write(&f->check, &p, err) : QUERN_OK;
    f->written = quern__now();
    return status;
}

/* Whether an end leaves numbers that can be used. Where a hook let training end with a loss that is not finite, they are what the
 * history says they are; all else is an error. */
static int check_end(fitting *f, quern_error *err)
{
    bool restored = quern__best_is_restored(f->o->callbacks, f->o->n_callbacks), stopped = !strcmp(f->h->reason, "stopped");
    quern_error own = restored ? (quern_error){ 0 } : f->h->broken;
    if (!own.code)
        quern__weights_are_broken(f->m, f->epoch, f->steps, &own);
    f->h->broken = own;
    if (own.code && !stopped && err)
        *err = own;
    return stopped ? QUERN_OK : own.code;
}

static int after_batch(quern__pass *p, quern_error *err)
{
    fitting *f = p->user;
    const quern_fit_opts *o = f->o;
    f->batches++;
    f->steps = p->done;
    f->trained = true;
    f->interrupted = o->interrupt && *o->interrupt;
    bool due = (o->checkpoint_steps && f->batches % o->checkpoint_steps == 0) ||
               (o->checkpoint_seconds > 0 && quern__now() - f->written >= o->checkpoint_seconds);
    int status = due || f->interrupted ? write_checkpoint(f, f->epoch, p->done, p->samples, false, err) : QUERN_OK;
    status = status < 0 ? status : quern__checkpoint_failed(&f->check, err);
    return status < 0 ? status : f->interrupted ? QUERN_END : QUERN_OK;
}

/* The batches of an epoch, from where the run goes on. */
static int begin_batches(fitting *f, const quern__pass *p, bool first, quern_error *err)
{
    const quern_fit_opts *o = f->o;
    bool finite = f->source->finite, forever = p->steps >= 0, resumed = first && f->place.epoch >= 0, placed = f->place.placed;
    int64_t left = forever ? p->steps - p->done : -1, known = f->logs.event.steps;
    if (resumed && p->done && known && p->done >= known)
        left = 0; /* all are done; validation is not */
    if (!resumed || placed || o->no_replay) {
        if (resumed && placed && finite && !forever && !p->done)
            f->source->position.restored = false; /* a new pass */
        return quern__queue_begin(f->train, f->epoch, left, finite && (!forever || first), err);
    }
    int64_t skip = finite && !forever ? f->place.step : f->place.batches;
    int status =
        quern__queue_begin(f->train, finite && !forever ? f->epoch : o->initial_epoch, finite && !forever ? -1 : skip, finite, err);
    status = status < 0 ? status : quern__queue_skip(f->train, skip, err);
    return status < 0 || (finite && !forever) ? status : quern__queue_begin(f->train, f->epoch, left, false, err);
}

/* Sums and callbacks of the epoch that a run goes on in. */
static int go_on(fitting *f, quern__pass *p, quern_error *err)
{
    p->done = f->place.step;
    p->samples = f->place.records;
    bool counted = !f->place.placed && !f->o->no_replay && f->source->finite && p->steps < 0; /* as they are left out */
    p->before = counted ? 0 : f->place.records;
    if (f->place.placed && f->source->ops->read && f->source->bad.policy == QUERN_BAD_SKIP)
        p->before += f->place.bad; /* records have the places that they would have without it */
    int status = quern__model_prepare(f->m, QUERN__TRAIN, f->check.batch_size, NULL, err);
    status = status < 0 ? status : quern__checkpoint_finish(&f->check, err);
    if (f->place.step == 0) /* the sums are those of the epoch before */
        quern__model_reset(f->m);
    return status;
}

/* The generator ended in this epoch: QUERN_END where that ends training, or leaves the last epoch short. */
static int exhaust(fitting *f, const quern__pass *p, quern_error *err)
{
    char what[100];
    bool more = f->epoch + 1 < epochs_of(f->o);
    if (f->o->on_exhausted == QUERN_EXHAUSTED_RESTART || (!more && p->steps < 0))
        return QUERN_OK;
    quern__pass_shortfall(p, what, sizeof what);
    if (f->o->on_exhausted == QUERN_EXHAUSTED_ERROR)
        return quern__fail(err, QUERN_INVALID, "data", "epoch %lld %s: the generator is exhausted", (long long)f->epoch + 1, what);
    quern__warn("epoch %lld %s: the generator is exhausted%s", (long long)f->epoch + 1, what, more ? ", training stops" : "");
    f->h->reason = "exhausted";
    return QUERN_END;
}

/* One epoch. Returns QUERN_END when training must stop. */
static int run_epoch(fitting *f, bool first, quern_error *err)
{
    const quern_fit_opts *o = f->o;
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
    f->logs.n = 0; /* nothing is known yet */
    int begun = tell(f, QUERN__EPOCH_BEGIN, &f->logs, err);
    f->logs.n = f->m->n_means;
    int status = begun < 0 || !first || f->place.epoch < 0 ? begun : go_on(f, &p, err);
    status = status < 0 ? status : begin_batches(f, &p, first, err);
    if (first && f->place.epoch >= 0)
        quern__queue_had_bad(f->train, f->place.bad);
    status = status < 0 ? status : quern__pass_run(&p, err);
    bool exhausted = status == QUERN_END && !f->source->finite;
    if (status == QUERN_CANCELED && o->interrupt && *o->interrupt) { /* while it waited for a batch */
        f->interrupted = true;
        status = f->trained ? write_checkpoint(f, f->epoch, p.done, p.samples, false, err) : QUERN_OK;
    }
    if (status < 0)
        return status;
    if (f->interrupted)
        return f->h->reason = "interrupted", QUERN_END;
    if (p.samples == 0 && f->h->n == 0)
        return quern__fail(err, QUERN_INVALID, "data", "the generator is empty");
    int ends = exhausted ? exhaust(f, &p, err) : QUERN_OK;
    if (ends < 0 || p.samples == 0)
        return ends < 0 ? ends : QUERN_END;
    int closed = close_epoch(f, &p, err);
    bool ended = p.stopped || begun == QUERN_END || closed == QUERN_END;
    if (closed >= 0 && (ended || (!o->checkpoint_steps && o->checkpoint_seconds == 0))) {
        int written = write_checkpoint(f, f->epoch + 1, 0, 0, ended, err);
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

/* Queues, history, class weights, callbacks. */
static int prepare(fitting *f, quern_error *err)
{
    const quern_fit_opts *o = f->o;
    quern_plan plan = { 0 };
    int planned = quern__budget(f->m, f->source, o, &plan, err);
    if (planned < 0)
        return planned;
    quern__queue_opts q = quern__queue_opts_of(f->m, QUERN__TRAIN, o->batch_size);
    int status = o->class_weight ? quern__check_class_weight(f->m, err) : QUERN_OK;
    if (status < 0 || !(f->h = quern__history_new(epochs_of(o), err)))
        return status < 0 ? status : QUERN_NOMEM;
    q.shuffle = !o->no_shuffle;
    q.depth = plan.max_queue_size ? plan.max_queue_size : o->max_queue_size ? o->max_queue_size : 10;
    q.workers = o->no_workers ? 0 : o->workers ? o->workers : 1;
    q.forever = o->steps_per_epoch > 0;
    q.restart = o->on_exhausted == QUERN_EXHAUSTED_RESTART;
    q.interrupt = o->interrupt;
    f->train = quern__queue_open(f->source, &q, err);
    if (f->train && (status = quern__adopt_schema(f->m, f->source, err)) < 0)
        return status;
    q.spec.schema = f->m->schema; /* validation is matched with it */
    if (f->train && (status = quern__class_weights_read(o->class_weight, &q.spec, &f->classes, err)) < 0)
        return status;
    q.shuffle = q.forever = q.restart = false;
    q.interrupt = NULL;
    if (f->train && o->validation_data)
        f->valid = quern__queue_open(o->validation_data, &q, err);
    if (!f->train || (o->validation_data && !f->valid))
        return err && err->code ? err->code : QUERN_INVALID;
    for (int i = 0; i < o->n_callbacks; i++)
        f->callbacks[f->n_callbacks++] = o->callbacks[i];
    if (o->verbose && (f->progress = quern_progress_callback(STDERR_FILENO, o->verbose, isatty(STDERR_FILENO))))
        f->callbacks[f->n_callbacks++] = f->progress;
    f->logs.event = (quern_event){ .model = f->m, .epochs = epochs_of(o), .steps = o->steps_per_epoch };
    if (!f->logs.event.steps && f->source->count)
        f->logs.event.steps = (f->source->count + q.spec.batch_size - 1) / q.spec.batch_size;
    quern__logs_name(&f->logs, f->m, f->val_names, false);
    f->written = quern__now();
    f->place.epoch = -1;
    f->check = (quern__checkpointing){ .m = f->m,
                                       .o = o,
                                       .source = f->source,
                                       .h = f->h,
                                       .callbacks = o->callbacks,
                                       .n_callbacks = o->n_callbacks,
                                       .batch_size = q.spec.batch_size,
                                       .single = f->backup.single };
    status = o->checkpoint ? quern__queue_fingerprint(f->train, &f->check.fingerprint, err) : QUERN_OK;
    return status < 0 || !o->checkpoint ? status : quern__checkpoint_open(&f->check, err);
}

/* What an earlier run left, where it is asked for: 1 when there is nothing more to do. */
static int find_run(fitting *f, quern_error *err)
{
    quern__place p;
    int status = f->o->resume ? quern__checkpoint_find(&f->check, &p, err) : QUERN_END;
    if (status != QUERN_OK)
        return status < 0 ? status : QUERN_OK;
    f->place = p;
    f->batches = p.batches;
    f->logs.resumed = true;
    quern__note("the run goes on in epoch %lld after %lld steps (%s)", (long long)p.epoch + 1, (long long)p.step, f->o->checkpoint);
    return QUERN_OK;
}

/* How large batches are, where that is the generator's own; a run that goes on has those of before. */
static int learn_batches(fitting *f, quern_error *err)
{
    int64_t size = f->o->batch_size;
    if (!size && f->o->resume && f->source->ops->first)
        size = quern__checkpoint_batch_size(f->o->checkpoint);
    int status = quern__own_batches(f->m, f->source, f->o->validation_data, f->o->interrupt, &size, err);
    f->own = *f->o;
    f->own.batch_size = size;
    f->o = &f->own;
    return status;
}

/* It was interrupted before there was anything to close. */
static quern_history *cut_short(fitting *f, quern_error *err)
{
    quern_history *h = quern__history_new(1, err);
    if (h)
        h->reason = "interrupted";
    quern__free(f);
    return h;
}

quern_history *quern_fit_generator(quern_model *m, quern_generator *train, const quern_fit_opts *opts, quern_error *err)
{
    static const quern_fit_opts none;
    fitting *f = quern__zalloc(1, sizeof *f);
    if (!f) {
        quern__fail_memory(err, sizeof *f);
        return NULL;
    }
    f->m = m;
    f->source = train;
    f->o = opts ? opts : &none;
    int64_t count = epochs_of(f->o) > f->o->initial_epoch ? epochs_of(f->o) - f->o->initial_epoch : 0;
    int status = quern__fit_check(m, train, f->o, err);
    status = status < 0 ? status : quern__fit_backup(&f->o, &f->own, &f->backup, err);
    status = status < 0 ? status : quern__fit_look_ahead(m, train, f->o, err);
    status = status < 0 ? status : learn_batches(f, err);
    if (status == QUERN_CANCELED)
        return cut_short(f, err);
    status = status < 0 ? status : prepare(f, err);
    status = status < 0 ? status : find_run(f, err);
    int64_t done = f->place.epoch > f->o->initial_epoch ? f->place.epoch - f->o->initial_epoch : 0;
    f->start = quern__now();
    int begun = status < 0 ? status : tell(f, QUERN__TRAIN_BEGIN, &f->logs, err);
    status = begun < 0 ? begun : QUERN_OK;
    done = f->place.epoch >= 0 && f->place.ended ? count : done;
    if (status == QUERN_OK && f->place.epoch >= 0 && done >= count) /* nothing is left but the end */
        status = quern__model_prepare(m, QUERN__TRAIN, f->check.batch_size, NULL, err) < 0
                     ? (err ? err->code : QUERN_INVALID)
                     : quern__checkpoint_finish(&f->check, err);
    for (int64_t e = done; status == QUERN_OK && e < count; e++) {
        f->epoch = f->o->initial_epoch + e;
        status = run_epoch(f, e == done, err);
    }
    if (status == QUERN_OK && count > done && (f->o->checkpoint_steps || f->o->checkpoint_seconds > 0)) {
        int written = write_checkpoint(f, f->epoch + 1, 0, 0, false, err);
        status = written < 0 ? written : status;
    }
    if (status >= 0 && !f->interrupted && epochs_of(f->o) > 0)
        quern__optimizer_finalize(m->optimizer);
    if (status >= 0)
        status = tell(f, QUERN__TRAIN_END, &f->logs, err);
    if (status >= 0)
        status = check_end(f, err);
    quern__checkpoint_forget(&f->check);
    int written = quern__checkpoint_close(&f->check, err);
    status = status < 0 ? status : written;
    if (status >= 0 && f->backup.remove && *f->backup.path && !f->interrupted && !f->h->broken.code)
        quern__backup_remove(&f->backup);
    quern__history_keep_bad(f->h, train);
    quern__queue_close(f->train);
    quern__queue_close(f->valid);
    quern__model_rest(m);
    quern__free(f->classes.weight);
    quern_callback_free(f->progress);
    quern_history *h = f->h;
    quern__free(f);
    if (status >= 0)
        return h;
    quern_history_free(h);
    return NULL;
}
