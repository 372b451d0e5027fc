/* Options of a run. Each is applied, or is an error with its name, before the run reads data. */
#include "fitting.h"

#include <unistd.h>

static int class_weight_error(const quern_model *m, quern_error *err)
{
    int status = quern__fail(err, QUERN_INVALID, "class_weight", "the model has %d outputs",
                             quern_model_outputs(m));
    quern__hint(err, "use sample weights: --weight COLUMN of a CSV, or w:NAME=FILE for an output");
    return status;
}

int quern__fit_callbacks_given(const quern_fit_opts *o, quern_error *err)
{
    if (o->n_callbacks < 0 || o->n_callbacks > 60)
        return quern__fail(err, QUERN_INVALID, "callbacks", "%d is outside 0 … 60", o->n_callbacks);
    if (o->n_callbacks && quern__missing(err, "callbacks", o->callbacks, NULL))
        return QUERN_INVALID;
    for (int i = 0; i < o->n_callbacks; i++)
        if (!o->callbacks[i])
            return quern__fail(err, QUERN_INVALID, "callbacks", "element %d is NULL", i + 1);
    return QUERN_OK;
}

/* Checks validation data: another generator than `train`, which can start again if there are
 * several validations. */
static int check_validation(const quern_generator *train, const quern_fit_opts *o, quern_error *err)
{
    const quern_generator *g = o->validation_data;
    int64_t times = quern__fit_validations(o);
    if (g == train)
        return quern__fail(err, QUERN_INVALID, "validation_data",
                           "is the generator of the training data");
    if (quern__generator_finite(g) || quern__generator_restarts(g) || o->validation_steps ||
        times < 2)
        return QUERN_OK;
    int status = quern__fail(err, QUERN_INVALID, "validation_data",
                             "%s ends after the first of %lld validations and cannot restart",
                             quern__generator_where(g, "the generator"), (long long)times);
    quern__hint(err, "set `reset` of a pull generator, or set validation_steps");
    return status;
}

int quern__fit_check(const quern_model *m, quern_generator *train, const quern_fit_opts *o,
                     quern_error *err)
{
    const struct {
        const char *name;
        int64_t value, most;
    } ranges[] = { { "steps_per_epoch", o->steps_per_epoch, INT64_MAX },
                   { "epochs", o->epochs, INT32_MAX },
                   { "initial_epoch", o->initial_epoch, INT32_MAX },
                   { "batch_size", o->batch_size, INT32_MAX },
                   { "validation_steps", o->validation_steps, INT64_MAX },
                   { "validation_freq", o->validation_freq, INT32_MAX },
                   { "max_queue_size", o->max_queue_size, 1024 },
                   { "workers", o->workers, QUERN__MAX_WORKERS },
                   { "on_exhausted", o->on_exhausted, QUERN_EXHAUSTED_RESTART },
                   { "verbose", o->verbose, 2 },
                   { "split_batch", o->split_batch, QUERN_SPLIT_ANY } };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (ranges[i].value < 0 || ranges[i].value > ranges[i].most)
            return quern__fail(err, QUERN_INVALID, ranges[i].name, "%lld is outside 0 … %lld",
                               (long long)ranges[i].value, (long long)ranges[i].most);
    if (quern__fit_callbacks_given(o, err) < 0 || quern__model_waits(m, "another run", err) < 0)
        return QUERN_INVALID;
    if (!quern__model_compiled(m))
        return quern__not_compiled(m, err);
    if (o->on_exhausted == QUERN_EXHAUSTED_RESTART && !quern__generator_finite(train) &&
        !quern__generator_restarts(train))
        return quern__fail(err, QUERN_INVALID, "on_exhausted", "the generator cannot restart");
    if ((o->validation_steps || o->validation_freq) && !o->validation_data)
        return quern__fail(err, QUERN_INVALID,
                           o->validation_steps ? "validation_steps" : "validation_freq",
                           "needs validation_data");
    int valid = o->validation_data ? check_validation(train, o, err) : QUERN_OK;
    if (valid < 0)
        return valid;
    if (o->class_weight && quern_model_outputs(m) > 1)
        return class_weight_error(m, err);
    if (o->workers > 1 && (!quern__generator_indexed(train) || o->no_workers))
        return quern__fail(err, QUERN_INVALID, "workers",
                           o->no_workers ? "must be 0 or 1 with no_workers"
                                         : "needs random access: uncompressed arrays, .qrec files "
                                           "or an indexed generator");
    if (o->validation_split != 0)
        return quern__fail(err, QUERN_INVALID, "validation_split", "applies to arrays only");
    if (!o->checkpoint && (o->resume || o->checkpoint_steps || o->checkpoint_seconds != 0))
        return quern__fail(err, QUERN_INVALID, "checkpoint",
                           "is missing: it names the file of the checkpoints");
    if (o->checkpoint_steps < 0 || !(o->checkpoint_seconds >= 0))
        return quern__fail(
            err, QUERN_INVALID, o->checkpoint_steps < 0 ? "checkpoint_steps" : "checkpoint_seconds",
            "%g is below 0",
            o->checkpoint_steps < 0 ? (double)o->checkpoint_steps : o->checkpoint_seconds);
    return QUERN_OK;
}

int quern__fit_backup(quern_fit_opts *o, quern__backup *backup, quern_error *err)
{
    int status = o->n_callbacks > 0
                     ? quern__backup_wanted(o->callbacks, o->n_callbacks, backup, err)
                     : QUERN_OK;
    if (status < 0 || !*backup->path)
        return status;
    if (o->checkpoint)
        return quern__fail(err, QUERN_INVALID, "checkpoint",
                           "backup_and_restore writes its own checkpoint");
    status = quern__make_folders(backup->path, err);
    if (status < 0)
        return status;
    o->checkpoint = backup->path;
    o->checkpoint_steps = backup->steps;
    o->resume = true;
    return QUERN_OK;
}

/* The log entries that callbacks can expect from the run. */
static quern__outlook look_ahead(const quern_model *m, const quern_generator *train,
                                 const quern_fit_opts *o)
{
    int64_t freq = quern__fit_validation_freq(o);
    bool valid = o->validation_data != NULL;
    return (quern__outlook){
        .model = m,
        .validates = valid && quern__fit_validations(o) > 0,
        .at_first = valid && (o->initial_epoch + 1) % freq == 0,
        .always = valid && freq == 1,
        .bad = quern__generator_bad_policy(train) != QUERN_BAD_FAIL,
        .val_bad = valid && quern__generator_bad_policy(o->validation_data) != QUERN_BAD_FAIL,
        .resumed = o->resume && o->checkpoint && access(o->checkpoint, F_OK) == 0
    };
}

int quern__fit_look_ahead(const quern_model *m, const quern_generator *train,
                          const quern_fit_opts *o, quern_error *err)
{
    const quern__outlook outlook = look_ahead(m, train, o);
    int status = o->checkpoint ? quern__file_check(o->checkpoint, err) : QUERN_OK;
    return status < 0 || !o->n_callbacks
               ? status
               : quern__callbacks_check(o->callbacks, o->n_callbacks, &outlook, err);
}

/* Raises *size to the size of the generator's first batch. */
static int grow_batch_size(const quern_model *m, quern_generator *g, const volatile int *interrupt,
                           int64_t *size, quern_error *err)
{
    int64_t records = g ? quern__generator_first(g, quern__model_seed(m), interrupt, err) : 0;
    *size = records > *size ? records : *size;
    return records < 0 ? (int)records : QUERN_OK;
}

int quern__own_batches(const quern_model *m, quern_generator *g, quern_generator *valid,
                       const volatile int *interrupt, int64_t *batch_size, quern_error *err)
{
    int64_t size = 0;
    if (*batch_size || quern__model_records(m) || !g ||
        !quern__generator_sets_batches(g)) /* the run itself sets the size of batches of records */
        return QUERN_OK;
    int status = grow_batch_size(m, g, interrupt, &size, err);
    if (status >= 0)
        status = grow_batch_size(m, valid, interrupt, &size, err);
    *batch_size = status < 0 ? 0 : size;
    return status;
}
