/* fitting: the state of a run of fit, for module fit only. */
#ifndef QUERN__FITTING_H
#define QUERN__FITTING_H

#include "checkpoint.h"

typedef struct quern__fitting {
    quern_model *m;
    quern_fit_opts o; /* the caller's, with those that callbacks imply */
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
    quern__place place; /* resume position; epoch -1: the start */
    int64_t batches;    /* in total */
    quern__backup backup;
    double written; /* time of the last checkpoint */
    bool interrupted;
    bool counted;    /* in model->runs */
    int64_t steps;   /* of the last epoch */
    bool fell_short; /* the warning about a short validation was given */
    bool trained;    /* on at least one batch */
} quern__fitting;

static inline int64_t quern__fit_epochs(const quern_fit_opts *o)
{
    return o->epochs ? o->epochs : 1;
}
static inline int64_t quern__fit_validation_freq(const quern_fit_opts *o)
{
    return o->validation_freq ? o->validation_freq : 1;
}
/* Number of validations in the run. */
static inline int64_t quern__fit_validations(const quern_fit_opts *o)
{
    int64_t freq = quern__fit_validation_freq(o);
    return quern__fit_epochs(o) / freq - o->initial_epoch / freq;
}

/* ---- epoch.c ---- */
/* Calls all callbacks, with the present times. */
int quern__fit_call_hooks(quern__fitting *f, quern__moment moment, quern__logs *logs,
                          quern_error *err);
/* Writes a checkpoint if the options ask for one and the weights are finite. */
int quern__fit_checkpoint(quern__fitting *f, int64_t epoch, int64_t step, int64_t records,
                          bool ended, quern_error *err);
/* Runs one epoch. Returns QUERN_END if training must stop. */
int quern__fit_epoch(quern__fitting *f, bool first, quern_error *err);

#endif
