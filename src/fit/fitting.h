/* fitting: a run of fit, as its files share it. Not for other rooms. */
#ifndef QUERN__FITTING_H
#define QUERN__FITTING_H

#include "checkpoint.h"

typedef struct quern__fitting {
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
} quern__fitting;

static inline int64_t quern__fit_epochs(const quern_fit_opts *o) { return o->epochs ? o->epochs : 1; }
static inline int64_t quern__fit_validation_freq(const quern_fit_opts *o) { return o->validation_freq ? o->validation_freq : 1; }
/* How many epochs validation data is evaluated after. */
static inline int64_t quern__fit_validations(const quern_fit_opts *o)
{
    int64_t freq = quern__fit_validation_freq(o);
    return quern__fit_epochs(o) / freq - o->initial_epoch / freq;
}

/* ---- epoch.c ---- */
/* Tells all callbacks, with the times so far. */
int quern__fit_tell(quern__fitting *f, quern__moment moment, quern__logs *logs, quern_error *err);
/* A checkpoint of now, where it is asked for and the model's numbers are good. */
int quern__fit_checkpoint(quern__fitting *f, int64_t epoch, int64_t step, int64_t records, bool ended, quern_error *err);
/* One epoch. Returns QUERN_END when training must stop. */
int quern__fit_epoch(quern__fitting *f, bool first, quern_error *err);

#endif
