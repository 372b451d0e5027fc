/* optimizer: an optimizer with its slots, and the nodes that update the trained variables.
 * optimizers.h is internal to the files of optimizers. */
#ifndef QUERN__OPTIMIZER_H
#define QUERN__OPTIMIZER_H

#include "keras/registry/class.h"

enum { QUERN__SLOTS = 3 };
typedef struct quern__optimizer {
    const quern__class *kind;
    json_t *config;
    quern__variable *iteration, *rate; /* number of calls, which with gradient accumulation exceeds
                                          the number of steps; rate */
    int n, n_slots;
    quern__variable **trained;  /* borrowed */
    quern__variable **slots;    /* in the order in which Keras saves them, after averages and
                                   accumulated gradients */
    int (*place)[QUERN__SLOTS]; /* by variable: indices of its slots; -1: none */
    bool *automatic; /* by slot: a wrapped optimizer does not save it, because Keras does not track
                        it there */
    bool inside;     /* this optimizer is wrapped by a LossScaleOptimizer */
    quern__variable **averages, **sums; /* by variable, among the slots: moving average, accumulated
                                           gradient; NULL: not used */
    const char *within;   /* prefix of Keras's paths: the name of a sequential model; "": none */
    bool *undecayed;      /* by variable: it is excluded from weight decay */
    json_t **constraints; /* by variable; borrowed, NULL: none */
    json_t *schedule;     /* of the rate; borrowed from config, NULL: none */
    struct quern__optimizer **inner; /* of a wrapper: the optimizers that update the variables */
    int n_inner, *inner_of;          /* by variable: the index into `inner` */
    quern__id
        common; /* while a graph is built: a value that the updates of several variables share */
    quern__id *squares; /* while a graph is built, by variable: result of quern__squares; 0: it
                           computes them */
    bool
        sums_rows; /* Keras 2: gradients of repeated table rows are added before they are squared */
} quern__optimizer;

/* An optimizer for n variables (borrowed; the array is copied) and their constraints (borrowed;
 * NULL: none). Takes `config`, borrows `within`. Returns new. */
quern__optimizer *quern__optimizer_new(const quern__class *kind, json_t *config,
                                       quern__variable *const *trained, json_t *const *constraints,
                                       int n, const char *within, quern_error *err);
void quern__optimizer_free(quern__optimizer *o);
/* The i-th variable of the optimizer in the order in which Keras saves them, those of inner
 * optimizers last; NULL: no more. */
quern__variable *quern__optimizer_variable(const quern__optimizer *o, int i);
/* The number of these variables. `unused`: the number in files that Keras wrote before the first
 * step. */
int quern__optimizer_count(const quern__optimizer *o, bool unused);
/* The optimizer that has the rate and counts the steps: `o`, or the one that it wraps. Returns
 * borrowed. */
quern__optimizer *quern__optimizer_leader(quern__optimizer *o);
/* The learning rate of a leader, and whether a schedule or several optimizers with their own rates
 * determine it instead of quern__optimizer_set_rate. */
double quern__optimizer_rate(const quern__optimizer *o);
void quern__optimizer_set_rate(quern__optimizer *o, double rate);
bool quern__optimizer_has_schedule(const quern__optimizer *o);
bool quern__optimizer_has_several(const quern__optimizer *o);
/* nadam_adafactor_muon.c: recomputes the momentum product of Nadam from the step count, for a file
 * that lacks it. */
void quern__nadam_resume(quern__optimizer *o);
/* The config with the current rates, for files. Returns new. */
json_t *quern__optimizer_config(const quern__optimizer *o);
/* Before each step: sets the rate of a schedule, and at step 0 the slots that start as copies of
 * the weights. */
void quern__optimizer_prepare(quern__optimizer *o);
/* The squared gradient of variable k where it differs from gradient * gradient, as for the table of
 * a gather; 0: it does not. */
quern__id quern__squares(const quern__optimizer *o, quern__graph *g, int k, quern__id gradient);
/* Whether the optimizer clips gradients. */
bool quern__optimizer_clips(const quern__optimizer *o);
/* The loss to differentiate: scaled where the optimizer says so. */
quern__id quern__optimizer_scale(const quern__optimizer *o, quern__graph *g, quern__id loss);
/* Adds clipping, weight decay, the update of each variable, averages, constraints and the count of
 * iterations. gradients[k] is 0 for a variable that the loss does not depend on. */
void quern__optimizer_nodes(quern__optimizer *o, quern__graph *g, quern__id *gradients);
/* After the last step of a run: copies the moving averages (use_ema) to the weights. */
void quern__optimizer_finalize(quern__optimizer *o);

#endif
