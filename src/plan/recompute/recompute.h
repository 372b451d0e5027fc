/* Activation recomputation (gradient checkpointing): the backward pass computes activations again
 * instead of keeping them. recompute_stages.c cuts the forward pass into a chain of stages,
 * recompute_dp.c finds the fastest schedule of the stages within some memory, recompute_rewrite.c
 * writes the graph. For these three only; plan.h has what other modules call. */
#ifndef QUERN__PLAN_RECOMPUTE_H
#define QUERN__PLAN_RECOMPUTE_H

#include "plan/plan.h"

enum { QUERN__STAGES = 48 };

/* A stage: consecutive nodes. Bytes are those of its results; seconds are estimates. */
typedef struct quern__stage {
    int first, end; /* nodes */
    double seconds,
        slight; /* of all recomputable nodes; of the cheap ones among them, all but products */
    int64_t kept, light; /* results that the backward pass and later stages read; without those that
                            cheap nodes can recompute */
    int64_t passing;     /* peak while it runs and keeps only what later stages read */
    int64_t keeping;     /* peak while it runs and keeps all that the backward pass reads */
    int64_t back;        /* peak of gradients in its backward pass */
} quern__stage;

typedef struct quern__chain {
    const quern__graph *g;  /* the training graph; borrowed */
    int64_t capacity;       /* records of a full batch */
    int n_nodes, n_forward; /* nodes 0 … n_forward - 1 are the forward pass */
    bool *live, *again;     /* by node: an output needs it; it is recomputable */
    quern__id *root;        /* by value: the value that it is a view of */
    int32_t *
        stage; /* by node: its stage; of a backward node, the stage of its forward node; -1: none */
    int n;     /* number of stages */
    quern__stage stages[QUERN__STAGES];
    int64_t across[QUERN__STAGES][QUERN__STAGES + 1]; /* [i][j]: bytes that stages i … j-1 make and
                                                         stages j … read */
} quern__chain;

/* Returns new; n is 0 when no node can be recomputed. */
quern__chain *quern__chain_new(const quern__graph *g, const quern__id *outputs, int n_outputs,
                               int64_t capacity, quern_error *err);
void quern__chain_free(quern__chain *c);

/* The actions of a schedule: `make` runs a stage forward, `slight` recomputes its cheap nodes,
 * `back` runs its backward pass. */
typedef struct quern__steps {
    void (*make)(void *user, int stage);
    void (*slight)(void *user, int stage);
    void (*back)(void *user, int stage);
    void *user;
} quern__steps;
/* Executes the fastest schedule at a level: memory falls geometrically from what keeping everything
 * takes (level 0) to the smallest that works (the last level). Returns the estimated seconds of
 * recomputation; negative: out of memory. */
double quern__schedule(const quern__chain *c, int level, const quern__steps *steps);

#endif
