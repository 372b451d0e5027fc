/* fit: the epoch loop; declarations that its files share. See <quern/fit.h>. */
#ifndef QUERN__FIT_H
#define QUERN__FIT_H

#include "callbacks/callbacks.h"
#include "class_weights.h"
#include "queue/queue.h"
#include <quern/fit.h>

/* ---- history.c ---- */
struct quern_history {
    int64_t n, block; /* epochs; index of the block in memory (earlier ones are in a file) */
    int n_names, fd;  /* the file; -1: none */
    int failed;       /* errno of a failed write */
    int64_t filed;    /* epochs in the file; those between it and the block are lost */
    char names[2 * QUERN__MAX_MEANS + QUERN__EXTRA_LOGS][100];
    double *columns[2 * QUERN__MAX_MEANS + QUERN__EXTRA_LOGS]; /* of the block */
    int64_t since[2 * QUERN__MAX_MEANS + QUERN__EXTRA_LOGS];   /* first epoch that has the column */
    const char *reason;
    quern_error broken; /* why the weights are unusable or the run failed; code 0: no error */
    int n_bad;          /* number of `bad`, places of bad records */
    quern_error *bad;
};
quern_history *quern__history_new(int64_t epochs, quern_error *err);
/* The most bytes that it needs, for any number of epochs. */
size_t quern__history_bytes(const quern_model *m);
/* Appends the logs of an epoch. */
void quern__history_add(quern_history *h, const quern__logs *logs);
/* The history as JSON that restores the same bits (new); and reads it into an empty history. */
json_t *quern__history_json(const quern_history *h);
void quern__history_read(quern_history *h, json_t *kept);
/* Copies the places of the run's bad records. */
void quern__history_keep_bad(quern_history *h, const quern_generator *train);

/* ---- fit_options.c ---- */
/* Checks the options of a run. */
enum { QUERN__FIT_OPTS_0_1 = 176 }; /* sizeof (quern_fit_opts) in version 0.1 */
int quern__fit_check(const quern_model *m, quern_generator *train, const quern_fit_opts *o,
                     quern_error *err);
/* Checks that no callback is NULL. */
int quern__fit_callbacks_given(const quern_fit_opts *o, quern_error *err);
/* Sets the options that a callback implies (BackupAndRestore); `checkpoint` is borrowed from
 * `backup`. */
int quern__fit_backup(quern_fit_opts *o, quern__backup *backup, quern_error *err);
/* If no batch size is given, sets it to the size of the first batch of the generators that define
 * their own. */
int quern__own_batches(const quern_model *m, quern_generator *g, quern_generator *valid,
                       const volatile int *interrupt, int64_t *batch_size, quern_error *err);
/* data_shapes.c: closes the open axes of a model over the shapes of the data. */
int quern__close_over(quern_model *m, const quern_generator *g, quern_error *err);
/* Reports errors that are known before the run reads data: files that are not writable, callbacks
 * that cannot act. */
int quern__fit_look_ahead(const quern_model *m, const quern_generator *train,
                          const quern_fit_opts *o, quern_error *err);

/* ---- budget.c ---- */
/* Runs quern_plan_fit if there is a memory limit or the caller asks for the plan, and applies it to
 * the model. */
int quern__budget(quern_model *m, quern_generator *train, const quern_fit_opts *o, quern_plan *plan,
                  quern_error *err);

/* ---- learn_schema.c ---- */
/* Gives the schema of the data to a model without one, and logs the classes. */
int quern__adopt_schema(quern_model *m, const quern_generator *data, quern_error *err);

/* ---- batch_pass.c ---- */
/* A pass over batches: its parts and its results. */
typedef struct quern__pass {
    quern_model *m;
    quern__mode mode;
    quern__queue *queue;
    int64_t steps; /* -1: until the source ends */
    const quern__class_weights *classes;
    quern_callback *const *callbacks;
    int n_callbacks;
    quern__logs *logs;
    quern_prediction_sink *sink;
    void *user;
    quern_shape outputs[QUERN__MAX_IO]; /* of predictions: the shapes in the first batch */
    int64_t done, samples; /* batches and records; a resumed pass includes the earlier ones */
    int64_t before; /* records of the epoch before the queue's first: the base of random-number
                       counters */
    int (*after)(struct quern__pass *p,
                 quern_error *err); /* called after each batch; QUERN_END stops; NULL: not used */
    bool stopped;                   /* a hook asked to stop */
    quern_error *broken; /* receives the error of a loss that is not finite if a hook stops the run
                            for it; NULL: not wanted */
} quern__pass;
/* Checks the arguments of evaluate, predict and adapt: counts, and that no other run uses the
 * model's accumulators. */
int quern__pass_check(const quern_model *m, quern__mode mode, int64_t batch_size, int64_t steps,
                      quern_error *err);
/* Runs the pass. Returns QUERN_OK; QUERN_END if the source ended before `steps`. */
int quern__pass_run(quern__pass *p, quern_error *err);
/* Writes "ended after 5 of 20 steps". */
void quern__pass_shortfall(const quern__pass *p, char *out, size_t size);
/* Warns if a pass that is not an epoch had fewer steps than asked for. */
void quern__pass_warn_short(const quern__pass *p, int status, const char *what);
/* finite_batches.c: the error of a batch whose loss is not finite. It names the first number of the
 * batch that is not finite, if any. */
int quern__loss_is_broken(const quern__pass *p, const quern_batch *b, quern_error *err);
/* The error after a step, unless all weights of the model are finite. */
int quern__weights_are_broken(const quern_model *m, int64_t epoch, int64_t step, quern_error *err);
/* The options of a queue for this model. */
quern__queue_opts quern__queue_opts_of(const quern_model *m, quern__mode mode, int64_t batch_size);
/* Appends the present loss and metrics to the logs, from entry `at` on. */
void quern__logs_read(quern__logs *logs, const quern_model *m, int at);
/* Sets the names of the logs: the model's means, then those with "val_" if `validated`. */
void quern__logs_name(quern__logs *logs, const quern_model *m, char (*val_names)[100],
                      bool validated);

#endif
