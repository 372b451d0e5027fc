/* step: runs a plan on one batch. The threads of a team (the caller is the first) walk the plan's
 * list of entries; each computes its own blocks. The list includes the barriers. A step does not
 * allocate. A model owns one team. */
#ifndef QUERN__STEP_H
#define QUERN__STEP_H

#include "plan/plan.h"

typedef struct quern__team quern__team;

/* Creates a team of `threads` (1 … 64) with the caller as the first. Returns new. */
quern__team *quern__team_new(int threads, quern_error *err);
int quern__team_threads(const quern__team *t);
void quern__team_free(quern__team *t);

/* Time of each entry of the plan, for --profile. */
typedef struct quern__profile {
    double *seconds; /* n_entries: time of thread 0, with its waits */
    int64_t steps;
} quern__profile;

typedef struct quern__step_run {
    void *arena;
    void *const *arrays; /* arrays of the batch, by slot */
    int64_t records, epoch, first;
    uint64_t seed;
    bool watch; /* checks every output; the first number that is not finite is an error with the
                   layer's name */
    quern__profile *profile; /* NULL: not used */
} quern__step_run;

/* Runs the whole plan. If the data has an invalid number (a label out of range), `err` names layer,
 * record of the batch and value. Variables whose update had not started are unchanged. */
int quern__step(quern__team *team, quern__plan *plan, const quern__step_run *run, quern_error *err);

#endif
