/* The state of planning: for plan.c, schedule_fast.c and schedule_low_memory.c only. */
#ifndef QUERN__PLAN_PLANNER_H
#define QUERN__PLAN_PLANNER_H

#include "plan.h"

/* Lists in one array: list i is list[first[i]] … list[first[i + 1] - 1]. */
typedef struct quern__lists {
    int32_t *first, *list;
} quern__lists;

typedef struct quern__planner {
    const quern__graph *g;
    quern__plan *p;
    const quern__id *outputs;
    int n_outputs, n_values, n_nodes;
    quern__id *views; /* by value: the value that it is a view of. p->root is the owner of the
                         memory, which an in-place op may have overwritten */
    quern__partition *splits; /* by root value                                              */
    quern__lists readers;     /* by viewed value: the nodes that read it; views do not count */
    bool low_memory;          /* use the low-memory schedule */
    bool *live, *done;        /* by node                                                    */
    int32_t *phase;           /* by node                                                    */
    int32_t *start, *end,
        *uses; /* by root value: the live range in phases, and the number of inputs that read it */
} quern__planner;

/* Counting sort. begin: turns counts (of list i in first[i + 1]) into the first index of each list
 * and allocates. done: restores the first indices after filling, which advanced them. */
bool quern__lists_begin(quern__lists *l, int n);
void quern__lists_done(quern__lists *l, int n);
/* The shape of a value for a full batch. */
quern_shape quern__planner_shape(const quern__planner *m, quern__id id);
/* Whether a value is in the arena. */
bool quern__planner_in_arena(const quern__planner *m, quern__id id);
/* Whether a node may run in the same phase as the writer of root value `r`, which it reads through
 * input i: each thread reads only what it wrote. */
bool quern__planner_own_part(const quern__planner *m, const quern__node *node, int i, quern__id r);
/* Whether node n may run in `phase`. 1: yes; 0: only after a barrier; -1: a node that it depends on
 * has not run. */
int quern__planner_ready(const quern__planner *m, int n, int phase);
/* Fills the entries: all nodes that can run without a barrier, then a barrier, and so on. */
int quern__schedule_fast(quern__planner *m, quern_error *err);
/* Fills the entries, one phase each, so that live ranges are minimal. A node that frees memory runs
 * first. */
int quern__schedule_low_memory(quern__planner *m, quern_error *err);
/* Merges consecutive entries that need no barrier into one phase, where the phase then holds no
 * more than the fullest one. Reads the live ranges and invalidates them. */
int quern__planner_merge(quern__planner *m, quern_error *err);
/* Bytes of a root value in the arena; 0: it is elsewhere; -1: the size overflows. */
int64_t quern__planner_bytes(const quern__planner *m, quern__id id);

#endif
