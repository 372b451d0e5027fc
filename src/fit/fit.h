/* fit: the epoch loop. What its files share. See <quern/fit.h>. */
#ifndef QUERN__FIT_H
#define QUERN__FIT_H

#include "callbacks/callbacks.h"
#include "class_weights.h"
#include "queue/queue.h"
#include <quern/fit.h>

/* ---- history.c ---- */
struct quern_history {
    int64_t n, block; /* epochs; the block of them that is in memory, the others are in a file */
    int n_names, fd;  /* the file; -1: there is none */
    int failed;       /* why: errno */
    int64_t filed;    /* epochs that it has; those between it and the block are lost */
    char names[2 * QUERN__MAX_MEANS + QUERN__EXTRA_LOGS][100];
    double *columns[2 * QUERN__MAX_MEANS + QUERN__EXTRA_LOGS]; /* of the block */
    int64_t since[2 * QUERN__MAX_MEANS + QUERN__EXTRA_LOGS];   /* the first epoch that has it */
    const char *reason;
    quern_error broken; /* why the weights cannot be used, or the run failed; code 0: nothing is wrong */
    int n_bad;          /* places of bad records */
    quern_error *bad;
};
quern_history *quern__history_new(int64_t epochs, quern_error *err);
/* Bytes that it takes at most, however many epochs there are. */
size_t quern__history_bytes(const quern_model *m);
/* Appends the logs of an epoch. */
void quern__history_add(quern_history *h, const quern__logs *logs);
/* All of it as JSON that gives the same bits (new), and read into one that is empty. */
json_t *quern__history_json(const quern_history *h);
void quern__history_read(quern_history *h, json_t *kept);
/* Copies the places of the run's bad records. */
void quern__history_keep_bad(quern_history *h, const quern_generator *train);

/* ---- fit_options.c ---- */
/* Whether a run can be as its options ask. */
enum { QUERN__FIT_OPTS_0_1 = 176 }; /* bytes of quern_fit_opts in version 0.1 */
int quern__fit_check(const quern_model *m, quern_generator *train, const quern_fit_opts *o, quern_error *err);
/* Whether all callbacks are there. */
int quern__fit_callbacks_given(const quern_fit_opts *o, quern_error *err);
/* Options that a callback stands for: `own` with them takes the place of *o. */
int quern__fit_backup(const quern_fit_opts **o, quern_fit_opts *own, quern__backup *backup, quern_error *err);
/* Where no batch size is given: that of the first batch of the generators, where their batches come as large as they are. */
int quern__own_batches(const quern_model *m, quern_generator *g, quern_generator *valid, const volatile int *interrupt,
                       int64_t *batch_size, quern_error *err);
/* What can be known before anything is read: files that cannot be written, callbacks that cannot act. */
int quern__fit_look_ahead(const quern_model *m, const quern_generator *train, const quern_fit_opts *o, quern_error *err);

/* ---- budget.c ---- */
/* quern_plan_fit, where something limits the process or asks for the plan; then the model is set to it. */
int quern__budget(quern_model *m, quern_generator *train, const quern_fit_opts *o, quern_plan *plan, quern_error *err);

/* ---- learn_schema.c ---- */
/* A model that has no schema takes that of the data, and tells the classes. */
int quern__adopt_schema(quern_model *m, const quern_generator *data, quern_error *err);

/* ---- batch_pass.c ---- */
/* A pass over batches: what it needs, and what came of it. */
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
    int64_t done, samples; /* batches and records; a pass that goes on begins with those of before */
    int64_t before;        /* records of the epoch before the queue's first: addresses of random numbers */
    int (*after)(struct quern__pass *p, quern_error *err); /* each batch; QUERN_END stops; NULL: nothing */
    bool stopped;                                          /* a hook asked for it */
    quern_error *broken; /* gets the error of a loss that is not finite, where a hook stops the run for it; NULL: nobody asks */
} quern__pass;
/* What evaluate, predict and adapt are given: counts that are none, and a model whose sums are another run's, are refused. */
int quern__pass_check(const quern_model *m, quern__mode mode, int64_t batch_size, int64_t steps, quern_error *err);
/* Runs it. QUERN_OK, or QUERN_END when the source ended before `steps`. */
int quern__pass_run(quern__pass *p, quern_error *err);
/* "ended after 5 of 20 steps". */
void quern__pass_shortfall(const quern__pass *p, char *out, size_t size);
/* Warns where a pass that is no epoch had fewer steps than asked for. */
void quern__pass_told_short(const quern__pass *p, int status, const char *what);
/* finite_batches.c: the error of a batch whose loss is not finite, which names the first such number of the batch where it has one.
 */
int quern__loss_is_broken(const quern__pass *p, const quern_batch *b, quern_error *err);
/* An error where the model's numbers are not all finite after that step. */
int quern__weights_are_broken(const quern_model *m, int64_t epoch, int64_t step, quern_error *err);
/* What a queue of that model needs to know. */
quern__queue_opts quern__queue_opts_of(const quern_model *m, quern__mode mode, int64_t batch_size);
/* Loss and metrics up to now into the logs, with that prefix ("" or "val_"), behind those that are there. */
void quern__logs_read(quern__logs *logs, const quern_model *m, int at);
/* Logs with the names of the model's means, and after them those with "val_" where `validated`. */
void quern__logs_name(quern__logs *logs, const quern_model *m, char (*val_names)[100], bool validated);

#endif
