/* Callbacks: hooks that a run calls where Keras calls them, and the ready-made
 * callbacks of Keras.
 *
 *     quern_callback *stop = quern_callback_from_spec(
 *         "early_stopping monitor=val_loss patience=3", &err);
 */
#ifndef QUERN_CALLBACKS_H
#define QUERN_CALLBACKS_H

#include <quern/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- hooks ---- */

/* The argument of a hook. All members are borrowed for the call. */
typedef struct quern_event {
    quern_model *model;
    int64_t epoch; /* index of the epoch, from 0 */
    /* Index of the batch in the epoch, from 0; after the last batch: their number. */
    int64_t batch;
    int64_t records; /* records of the epoch so far */
    /* The requested epochs and steps per epoch; steps 0: until the data ends. */
    int64_t epochs, steps;
    /* Seconds since the epoch or evaluation began, and the part spent waiting for
     * data. */
    double seconds, wait_seconds;
    /* Number of logs; validating 1: a test hook within an epoch. */
    int32_t n_logs, validating;
    /* Names and values of loss and metrics so far; at the end of an epoch those
     * with the prefix val_ too. */
    const char *const *names;
    const double *logs;
} quern_event;

/* A hook. Returns 0; QUERN_END to stop training after this batch (validation and
 * the hooks at the end of the epoch still run); or a negative status with `err`
 * filled, which ends the run. The thread that called fit calls all hooks.
 *
 * A hook may predict with the model, save it, read and set its weights, and set
 * its learning rate. It may evaluate the model, but not between the first and the
 * last batch of an epoch or a validation, because that resets the metrics. A
 * function that changes the model itself (train, compile, adapt, freeze, set a
 * schema or a tokenizer, plan) is QUERN_INVALID during a run, and
 * quern_model_free then only logs a warning. */
typedef int quern_hook(void *user, const quern_event *event, quern_error *err);

/* The hooks of Keras; NULL: no hook. */
typedef struct quern_hooks {
    quern_hook *on_train_begin, *on_train_end, *on_epoch_begin, *on_epoch_end;
    quern_hook *on_train_batch_begin, *on_train_batch_end;
    quern_hook *on_test_begin, *on_test_end, *on_test_batch_begin, *on_test_batch_end;
    quern_hook *on_predict_begin, *on_predict_end, *on_predict_batch_begin, *on_predict_batch_end;
} quern_hooks;

/* Adds a number to the logs of the epoch; valid in on_epoch_end only. Later
 * callbacks and the history see it. Copies `name`. Returns 0; QUERN_INVALID in
 * another hook or after eight numbers. */
QUERN_API int quern_event_log(const quern_event *event, const char *name, double value);

/* ---- callbacks ---- */

/* A callback. Threads: one run at a time, which calls its hooks on its thread. */
typedef struct quern_callback quern_callback;

/* A user-defined callback. Copies `hooks`, borrows `user`. Returns new, NULL if
 * memory is short. */
QUERN_API quern_callback *quern_callback_new(const quern_hooks *hooks, void *user);

/* A ready-made callback from a spec string, with the names and defaults of Keras:
 *
 *     csv_logger               early_stopping         model_checkpoint
 *     backup_and_restore       terminate_on_nan       reduce_lr_on_plateau
 *     learning_rate_scheduler  with a schedule of the epoch:
 *                              "learning_rate_scheduler
 *                              exponential_decay(1e-3, 10, 0.5)"
 *     generate                 writes samples of a language model after epochs:
 *                              "generate prompt=... length=200
 *                              temperatures=(0.2,0.5,1.0,1.2) every=1 seed=0
 *                              filepath=..."; default: standard output
 *
 * Returns new, NULL on failure. */
QUERN_API quern_callback *quern_callback_from_spec(const char *spec, quern_error *err);

/* The progress output of Keras on file descriptor `fd`. `verbose` 1: a bar,
 * redrawn in one row at most 20 times a second; 2: one line for each epoch, after
 * its number; 3: the same on one line. `colour` 1: with colours of the terminal.
 * Returns new, NULL if memory is short. */
QUERN_API quern_callback *quern_progress_callback(int fd, int verbose, int colour);

/* Frees a callback. NULL: does nothing. */
QUERN_API void quern_callback_free(quern_callback *callback);

/* ---- learning rate ---- */

/* The learning rate of the optimizer; 0: the model is not compiled. */
QUERN_API double quern_model_learning_rate(const quern_model *m);

/* Sets the learning rate. Returns 0; QUERN_INVALID if it follows a schedule. */
QUERN_API int quern_model_set_learning_rate(quern_model *m, double rate, quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
