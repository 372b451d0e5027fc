/* fit: a run of training: open, resume, epochs, finish, close. quern_fit_generator is at the end of
 * the file; an epoch is in epoch.c. */
#include "fitting.h"

#include <string.h>
#include <unistd.h>

/* The status at the end of a run: an error if the weights are not finite. If a hook stopped
 * training, the status is QUERN_OK and the history has the error. */
static int check_weights_at_end(quern__fitting *f, quern_error *err)
{
    bool restored = quern__best_is_restored(f->o.callbacks, f->o.n_callbacks),
         stopped = !strcmp(f->h->reason, "stopped");
    quern_error own = restored ? (quern_error){ 0 } : f->h->broken;
    if (!own.code)
        quern__weights_are_broken(f->m, f->epoch, f->steps, &own);
    f->h->broken = own;
    if (own.code && !stopped)
        *err = own;
    return stopped ? QUERN_OK : own.code;
}

/* Sets the shapes of validation batches, which may have other sizes at open axes. */
static int validation_shapes(quern__fitting *f, quern_batch_spec *spec, quern_error *err)
{
    int status = quern__close_over(f->m, f->o.validation_data, err);
    if (status < 0)
        return status;
    quern_batch_spec own = quern__queue_opts_of(f->m, QUERN__TEST, spec->batch_size).spec;
    memcpy(spec->shapes, own.shapes, sizeof own.shapes);
    memcpy(spec->weights, own.weights, sizeof own.weights);
    return quern__close_over(f->m, f->source, err);
}

/* Creates queues, history, class weights and callbacks. */
static int prepare_run(quern__fitting *f, quern_error *err)
{
    const quern_fit_opts *o = &f->o;
    quern_plan plan = { 0 };
    int status = quern__budget(f->m, f->source, o, &plan, err);
    if (status < 0)
        return status;
    quern__queue_opts q = quern__queue_opts_of(f->m, QUERN__TRAIN, o->batch_size);
    if (!(f->h = quern__history_new(quern__fit_epochs(o), err)))
        return QUERN_NOMEM;
    q.shuffle = !o->no_shuffle;
    q.depth = plan.max_queue_size ? plan.max_queue_size
              : o->max_queue_size ? o->max_queue_size
                                  : 10;
    q.workers = o->no_workers ? 0 : o->workers ? o->workers : 1;
    q.forever = o->steps_per_epoch > 0;
    q.restart = o->on_exhausted == QUERN_EXHAUSTED_RESTART;
    q.interrupt = o->interrupt;
    if (!(f->train = quern__queue_open(f->source, &q, err)))
        return quern__leave(err, QUERN_INVALID);
    if ((status = quern__adopt_schema(f->m, f->source, err)) < 0)
        return status;
    q.spec.schema = quern_model_schema(f->m); /* matches the columns of validation data */
    if ((status = quern__class_weights_read(o->class_weight, &q.spec, &f->classes, err)) < 0)
        return status;
    q.shuffle = q.forever = q.restart = false;
    if (quern__model_open(f->m) && o->validation_data &&
        (status = validation_shapes(f, &q.spec, err)) < 0)
        return status;
    if (o->validation_data && !(f->valid = quern__queue_open(o->validation_data, &q, err)))
        return quern__leave(err, QUERN_INVALID);
    for (int i = 0; i < o->n_callbacks; i++)
        f->callbacks[f->n_callbacks++] = o->callbacks[i];
    if (o->verbose &&
        (f->progress = quern_progress_callback(STDERR_FILENO, o->verbose, isatty(STDERR_FILENO))))
        f->callbacks[f->n_callbacks++] = f->progress;
    f->logs.event =
        (quern_event){ .model = f->m, .epochs = quern__fit_epochs(o), .steps = o->steps_per_epoch };
    int64_t records = quern__generator_records(f->source);
    if (!f->logs.event.steps && records > 0)
        f->logs.event.steps = (records + q.spec.batch_size - 1) / q.spec.batch_size;
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
    status =
        o->checkpoint ? quern__queue_fingerprint(f->train, &f->check.fingerprint, err) : QUERN_OK;
    return status < 0 || !o->checkpoint ? status : quern__checkpoint_open(&f->check, err);
}

/* Restores a checkpoint if the options ask for it. */
static int resume_run(quern__fitting *f, quern_error *err)
{
    quern__place p;
    int status = f->o.resume ? quern__checkpoint_find(&f->check, &p, err) : QUERN_END;
    if (status != QUERN_OK)
        return status < 0 ? status : QUERN_OK;
    f->place = p;
    f->batches = p.batches;
    f->logs.resumed = true;
    quern__note("the run resumes in epoch %lld after %lld steps (%s)", (long long)p.epoch + 1,
                (long long)p.step, f->o.checkpoint);
    return QUERN_OK;
}

/* Sets the batch size if the generator defines it. A resumed run keeps the size of its checkpoint.
 */
static int learn_batches(quern__fitting *f, quern_error *err)
{
    int64_t size = f->o.batch_size;
    if (!size && f->o.resume && quern__generator_sets_batches(f->source))
        size = quern__checkpoint_batch_size(f->o.checkpoint);
    int status =
        quern__own_batches(f->m, f->source, f->o.validation_data, f->o.interrupt, &size, err);
    f->o.batch_size = size;
    return status;
}

/* Checks the options, reads ahead, plans, and opens the queues. QUERN_CANCELED: an interrupt came
 * before the queues are open. */
static int open_run(quern__fitting *f, quern_error *err)
{
    int status = quern__fit_check(f->m, f->source, &f->o, err);
    if (status < 0)
        return status;
    quern__model_run_begin(f->m, true);
    f->counted = true;
    status = quern__fit_backup(&f->o, &f->backup, err);
    if (status >= 0)
        status = quern__fit_look_ahead(f->m, f->source, &f->o, err);
    if (status >= 0)
        status = learn_batches(f, err);
    if (status >= 0)
        status = quern__close_over(f->m, f->source, err);
    return status < 0 ? status : prepare_run(f, err);
}

/* Runs the epochs that are not done. Returns QUERN_END if a callback or an interrupt ended the run.
 */
static int run_epochs(quern__fitting *f, quern_error *err)
{
    int64_t first = f->o.initial_epoch, last = quern__fit_epochs(&f->o), next = first;
    if (f->place.epoch > first)
        next = f->place.epoch;
    if (f->place.epoch >= 0 && (f->place.ended || next >= last)) /* all epochs are done */
        return quern__model_prepare(f->m, QUERN__TRAIN, f->check.batch_size, NULL, err) < 0
                   ? quern__leave(err, QUERN_INVALID)
                   : quern__checkpoint_finish(&f->check, err);
    int status = QUERN_OK;
    bool runs = next < last, last_written = f->o.checkpoint_steps || f->o.checkpoint_seconds > 0;
    for (bool resumed = true; status == QUERN_OK && next < last; next++, resumed = false) {
        f->epoch = next;
        status = quern__fit_epoch(f, resumed, err);
    }
    if (status != QUERN_OK || !runs || !last_written)
        return status;
    return quern__fit_checkpoint(f, f->epoch + 1, 0, 0, false, err);
}

/* Ends training: the optimizer's averages become the weights, callbacks are called, the weights are
 * checked. */
static int finish_run(quern__fitting *f, quern_error *err)
{
    if (!f->interrupted && quern__fit_epochs(&f->o) > 0)
        quern__optimizer_finalize(quern__model_optimizer(f->m));
    int status = quern__fit_call_hooks(f, QUERN__TRAIN_END, &f->logs, err);
    return status < 0 ? status : check_weights_at_end(f, err);
}

/* Closes what open_run opened, on each path. Returns the status of the run. */
static int close_run(quern__fitting *f, int status, quern_error *err)
{
    quern__checkpoint_forget(&f->check);
    int written = quern__checkpoint_close(&f->check, err);
    if (status >= 0)
        status = written;
    if (status >= 0 && f->backup.remove && *f->backup.path && !f->interrupted && !f->h->broken.code)
        quern__backup_remove(&f->backup);
    if (f->h)
        quern__history_keep_bad(f->h, f->source);
    quern__queue_close(f->train);
    quern__queue_close(f->valid);
    quern__model_release_arena(f->m);
    quern__free(f->classes.weight);
    quern_callback_free(f->progress);
    if (f->counted)
        quern__model_run_end(f->m, true);
    return status;
}

/* The result of fit: the history, also of an interrupted run, and of a failed run with at least one
 * epoch. */
static quern_history *run_result(quern_history *h, int status, quern_error *err)
{
    if (!h && status == QUERN_CANCELED && (h = quern__history_new(1, err))) {
        h->reason = "interrupted";
        return h;
    }
    if (status >= 0)
        return h;
    quern__fail(err, status, NULL, "%s", quern_status_text(status));
    if (h && h->n > 0) {
        h->reason = "failed";
        h->broken = *err;
        return h;
    }
    quern_history_free(h);
    return NULL;
}

quern_history *quern_fit_generator(quern_model *m, quern_generator *train,
                                   const quern_fit_opts *opts, quern_error *err)
{
    QUERN__ENTER(err, NULL, "model", m, "train", train);
    quern__fitting *f = quern__zalloc(1, sizeof *f);
    if (!f) {
        quern__fail_memory(err, sizeof *f);
        return NULL;
    }
    f->m = m;
    f->source = train;
    int status = QUERN__OPTIONS(f->o, QUERN__FIT_OPTS_0_1, opts, err);
    if (status >= 0)
        status = open_run(f, err);
    if (status >= 0)
        status = resume_run(f, err);
    f->start = quern__now();
    if (status >= 0)
        status = quern__fit_call_hooks(f, QUERN__TRAIN_BEGIN, &f->logs, err);
    if (status >= 0)
        status = run_epochs(f, err);
    if (status >= 0)
        status = finish_run(f, err);
    status = close_run(f, status, err);
    quern_history *h = f->h;
    quern__free(f);
    return run_result(h, status, err);
}
