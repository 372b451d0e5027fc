/* A plan while it is made: for plan.c, schedule_fast.c and schedule_low_memory.c only. */
#ifndef QUERN__PLAN_MAKING_H
#define QUERN__PLAN_MAKING_H

#include "plan.h"

/* Lists behind each other: that of number i is list[first[i]] … list[first[i + 1] - 1]. */
typedef struct quern__lists {
    int32_t *first, *list;
} quern__lists;

typedef struct quern__planner {
    const quern__graph *g;
    quern__plan *p;
    const quern__id *outputs;
    int n_outputs, n_values, n_nodes;
    quern__id *
        views; /* by value: whose numbers it shows; the plan's roots say whose memory it has, which others may have written since */
    quern__partition *splits;    /* by root value                                              */
    quern__lists readers;        /* by what it shows: nodes that read it, views are none       */
    bool thrift;                 /* memory before time                                         */
    bool *live, *done;           /* by node                                                    */
    int32_t *phase;              /* by node                                                    */
    int32_t *born, *dies, *uses; /* by root value: phases, and how many inputs read it         */
} quern__planner;

/* Turns counts, which stand one place further, into where lists begin, and makes room for them; and where they end, after they were
 * filled by counting on, into where they begin again. */
bool quern__lists_begin(quern__lists *l, int n);
void quern__lists_done(quern__lists *l, int n);
/* The shape of a value for a full batch. */
quern_shape quern__making_shape(const quern__planner *m, quern__id id);
/* Whether a value's numbers lie in the slab. */
bool quern__making_in_slab(const quern__planner *m, quern__id id);
/* Whether a node may run in the present phase beside one that wrote root value `r` in that phase (through input i). */
bool quern__making_own_part(const quern__planner *m, const quern__node *node, int i, quern__id r);
/* Whether node n may run in `phase`, in which the nodes are that `phase` of the making says: 1: now; 0: after a barrier; -1: what
 * it needs is not done yet. */
int quern__making_ready(const quern__planner *m, int n, int phase);
/* Fills the entries: all that can run without waiting, then a barrier, and so on. */
int quern__schedule_fast(quern__planner *m, quern_error *err);
/* Each entry is a phase of its own, so that no value lives longer than from where it is written to where it is read last; what
 * sets memory free goes first. */
int quern__schedule_low_memory(quern__planner *m, quern_error *err);
/* Makes one phase of entries behind each other that need not wait for each other, where no more lives in it than in the fullest
 * phase. Lifetimes are known, and are to be found anew. */
int quern__making_merge(quern__planner *m, quern_error *err);
/* Bytes of a root value in the slab; 0: it lies elsewhere; -1: too many. */
int64_t quern__making_bytes(const quern__planner *m, quern__id id);

#endif
