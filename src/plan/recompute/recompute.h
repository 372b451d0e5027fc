/* Recomputing: a graph in which values of the way forward are made again on the way back instead of being kept. recompute_stages.c
 * sees the way forward as a chain of stages, recompute_dp.c finds the fastest way through them within some memory,
 * recompute_rewrite.c writes the graph. For these three only; plan.h has what others call. */
#ifndef QUERN__PLAN_RECOMPUTE_H
#define QUERN__PLAN_RECOMPUTE_H

#include "plan/plan.h"

enum { QUERN__STAGES = 48 };

/* A stage: nodes behind each other. Bytes are of values that it makes; seconds are estimates. */
typedef struct quern__stage {
    int first, end;         /* nodes                                                                             */
    double seconds, slight; /* of all that may run again; of those nodes among them that only read and write      */
    int64_t kept, light;    /* what the way back and later stages read; the part that `slight` nodes cannot make again */
    int64_t passing;        /* the most that lives while it runs and keeps only what later stages read            */
    int64_t keeping;        /* while it runs and keeps all that the way back reads                                */
    int64_t back;           /* gradients, the most that live on its way back                                      */
} quern__stage;

typedef struct quern__chain {
    const quern__graph *g;
    int64_t capacity;
    int n_nodes, n_forward; /* nodes from 0 to n_forward - 1 are the way forward */
    bool *live, *again;     /* by node: it runs at all; it may run again       */
    quern__id *root;        /* by value: whose numbers it shows                */
    int32_t *stage;         /* by node: its own, or that of the node whose gradient it is part of; -1: none */
    int n;
    quern__stage stages[QUERN__STAGES];
    int64_t across[QUERN__STAGES][QUERN__STAGES + 1]; /* [i][j]: what stages i … j-1 make and stages from j on read */
} quern__chain;

/* Returns new; n is 0 when nothing can run again. */
quern__chain *quern__chain_new(const quern__graph *g, const quern__id *outputs, int n_outputs, int64_t capacity, quern_error *err);
void quern__chain_free(quern__chain *c);

/* What is done with stages, one after the other: `make` runs a stage forward, `slight` again what only reads and writes, `back` is
 * its way back. */
typedef struct quern__steps {
    void (*make)(void *user, int stage);
    void (*slight)(void *user, int stage);
    void (*back)(void *user, int stage);
    void *user;
} quern__steps;
/* Goes through the fastest schedule for the level-th of QUERN__RECOMPUTE_LEVELS parts of memory, from all to the least that works.
 * The estimated seconds that it runs things again are returned; negative: no memory for finding it. */
double quern__schedule(const quern__chain *c, int level, const quern__steps *steps);

#endif
