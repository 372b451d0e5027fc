/* step: runs a plan on one batch. A team of threads (the caller is the first) goes through the plan's list; each computes the
 * blocks it owns; barriers are part of the list. Nothing allocates. One team, one owner of threads: the model. */
#ifndef QUERN__STEP_H
#define QUERN__STEP_H

#include "plan/plan.h"

typedef struct quern__team quern__team;

/* A team of `threads` (1 … 64), the caller among them. Returns new. */
quern__team *quern__team_new(int threads, quern_error *err);
int quern__team_threads(const quern__team *t);
void quern__team_free(quern__team *t);

/* Time by entry of the plan, for --profile. */
typedef struct quern__profile {
    double *seconds; /* n_entries, thread 0's share and its waiting */
    int64_t steps;
} quern__profile;

typedef struct quern__step_run {
    void *arena;
    void *const *arrays; /* of the batch, by slot */
    int64_t records, epoch, first;
    uint64_t seed;
    bool watch;              /* look at every output: the first that is not finite is an error naming its layer */
    quern__profile *profile; /* NULL: none */
} quern__step_run;

/* Runs the whole plan. On a bad number in the data (a label outside the classes) the variables are as they were before the step, as
 * far as no update had begun, and `err` names layer, record within the batch and value. */
int quern__step(quern__team *team, quern__plan *plan, const quern__step_run *run, quern_error *err);

#endif
