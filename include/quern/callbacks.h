/* Callbacks: what a run tells while it trains, evaluates or predicts, at the places where Keras tells it, and the ready-made ones.
 *
 *     quern_callback *stop = quern_callback_from_words("early_stopping monitor=val_loss patience=3", &err);
 */
#ifndef QUERN_CALLBACKS_H
#define QUERN_CALLBACKS_H

#include <quern/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a hook is told. Everything is borrowed for the call. */
typedef struct quern_event {
    quern_model *model;
    int64_t epoch;                /* from 0                                                                     */
    int64_t batch;                /* of the epoch, from 0; after the last batch: how many there were            */
    int64_t records;              /* in the epoch up to now                                                     */
    int64_t epochs, steps;        /* what the run was asked for; steps 0: until the data ends                   */
    double seconds, wait_seconds; /* since the epoch (or the evaluation) began; of them, waiting for data       */
    int32_t n_logs, validating;   /* validating: test hooks within an epoch                                     */
    const char *const *names;     /* loss and metrics up to now; at the end of an epoch those with val_ too     */
    const double *logs;
} quern_event;

/* Returns QUERN_OK, QUERN_END to stop training after this batch (validation and the hooks of the epoch's end still run), or a
 * negative status with `err` filled, which ends the run. All hooks are called on the thread that called fit. A hook may predict
 * with the model of its run and save it, read and set its weights, and set its learning rate; evaluate it too, but not between the
 * first batch and the last of an epoch or a validation, whose sums it would spoil. What would change the model under the run
 * (training, compiling, adapting, freezing it, another schema or tokenizer, another plan) is QUERN_INVALID until the run has ended,
 * and quern_model_free does nothing then but warn. */
typedef int quern_hook(void *user, const quern_event *event, quern_error *err);

/* Keras's hooks; NULL: not wanted. */
typedef struct quern_hooks {
    quern_hook *on_train_begin, *on_train_end, *on_epoch_begin, *on_epoch_end;
    quern_hook *on_train_batch_begin, *on_train_batch_end;
    quern_hook *on_test_begin, *on_test_end, *on_test_batch_begin, *on_test_batch_end;
    quern_hook *on_predict_begin, *on_predict_end, *on_predict_batch_begin, *on_predict_batch_end;
} quern_hooks;

/* Threads: in one run at a time, on whose thread its hooks are called. */
typedef struct quern_callback quern_callback;

/* A callback of one's own. Copies `hooks`, borrows `user`. Returns new, NULL when there is no memory. */
QUERN_API quern_callback *quern_callback_new(const quern_hooks *hooks, void *user);
/* A ready-made callback in words, with Keras's names and defaults: csv_logger, early_stopping, model_checkpoint,
 * backup_and_restore, terminate_on_nan, learning_rate_scheduler (with a schedule of the epoch: "learning_rate_scheduler
 * exponential_decay(1e-3, 10, 0.5)"), reduce_lr_on_plateau; and generate, after whose epochs a language model writes samples to
 * standard output or a file: "generate prompt=... length=200 temperatures=(0.2,0.5,1.0,1.2) every=1 seed=0 filepath=...". Returns
 * new, NULL on failure. */
QUERN_API quern_callback *quern_callback_from_words(const char *words, quern_error *err);
/* Keras's progress on a file descriptor: verbose 1 is a bar that is drawn again at most twenty times a second, 2 a line an epoch
 * below its number, 3 the same on one line; `colour` true uses the terminal's. On a terminal the bar takes one row. Returns new,
 * NULL when there is no memory. */
QUERN_API quern_callback *quern_progress_callback(int fd, int verbose, int colour);
QUERN_API void quern_callback_free(quern_callback *callback);

/* Adds a number to the logs of the epoch that ends; only in on_epoch_end. It reaches later callbacks and the history. The name is
 * copied. QUERN_INVALID elsewhere, or when there are more than eight. */
QUERN_API int quern_event_log(const quern_event *event, const char *name, double value);

/* The learning rate of the optimizer. Setting it is QUERN_INVALID when it follows a schedule. */
QUERN_API double quern_model_learning_rate(const quern_model *m);
QUERN_API int quern_model_set_learning_rate(quern_model *m, double rate, quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
