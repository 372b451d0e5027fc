/* plan: makes a graph runnable for batches of at most `capacity` records. Planning removes dead
 * nodes, partitions each node into blocks, schedules the nodes with barriers, and gives every value
 * an offset in one arena. A plan is data; step executes it.
 *
 * Partitioning is static and follows from shapes alone: blocks of 64 columns or of 32 records. One
 * thread owns a block. A value that is written and read in the same blocks stays with its owner. A
 * barrier is only needed where a thread reads a block of another owner. */
#ifndef QUERN__PLAN_H
#define QUERN__PLAN_H

#include "kernels/kernels.h"

typedef struct quern__entry {
    quern__call call;
    quern__kernel *kernel;
    const char *kernel_name; /* static, for profiles */
    const quern__node *node; /* borrowed from the graph */
    int64_t grain;           /* block size along the call's axis */
    quern_tensor gate;       /* the call is skipped when it is 0; data NULL: the call has no gate */
    bool barrier;            /* all threads meet before this call */
    int32_t phase;           /* barriers before this entry */
} quern__entry;

typedef struct quern__plan {
    const quern__graph *graph;
    int64_t capacity, batch; /* records: the largest batch, the present batch */
    int n_entries, n_phases; /* a phase ends at each barrier */
    quern__entry *entries;   /* in the order of execution */
    size_t arena_bytes;      /* of all values except variables, inputs of the batch and constants */
    size_t lower_bound_bytes; /* lower bound of the arena: the largest sum of live values in one
                                 phase */
    size_t gradient_bytes;    /* of that sum: gradients that an update reads */
    double seconds;           /* estimated time of a step; use it to compare plans only */
    size_t stack_bytes;       /* that one call may use of a thread's stack */
    size_t *live;             /* by phase: bytes of live values */
    int64_t *offset;          /* by value id: offset in the arena; -1: the value is elsewhere */
    quern__id *root;          /* by value id: the value whose memory it uses */
    double *constants;        /* by value id */
    int64_t *panels;       /* by value id: columns of a panel in the blocked layout; 0: C order */
    quern_tensor *tensors; /* of all calls: inputs, then outputs, call by call */
} quern__plan;

/* Plans what `outputs` and the updates of variables need. Borrows the graph. Returns new. */
quern__plan *quern__plan_new(const quern__graph *g, const quern__id *outputs, int n_outputs,
                             int64_t capacity, quern_error *err);
/* The same; `low_memory` selects the low-memory schedule, which minimises live ranges: threads meet
 * after every call, and a weight is updated as soon as its gradient is complete. Results are
 * bit-identical. */
quern__plan *quern__plan_new_with(const quern__graph *g, const quern__id *outputs, int n_outputs,
                                  int64_t capacity, bool low_memory, quern_error *err);
void quern__plan_free(quern__plan *p);
/* Activation recomputation: a graph in which the backward pass computes activations again instead
 * of reading kept ones. `level` is 1 … QUERN__RECOMPUTE_LEVELS; the last level uses the least
 * memory. Results are bit-identical: kernels are deterministic and random numbers are
 * counter-based. `id` gets the new id of each old value (capacity: all values and 0). Returns new;
 * NULL with err->code QUERN_NOTFOUND when no node can be recomputed. */
enum { QUERN__RECOMPUTE_LEVELS = 10 };
quern__graph *quern__plan_recompute(const quern__graph *g, const quern__id *outputs, int n_outputs,
                                    int64_t capacity, int level, quern__id *id, quern_error *err);
/* Sets the plan to batches of `records` <= capacity: dynamic dimensions are resolved again, offsets
 * do not change. */
void quern__plan_batch(quern__plan *p, int64_t records);
/* Sets the addresses of the arena and of the batch's arrays, by slot. Variables and constants have
 * their own. */
void quern__plan_bind(quern__plan *p, void *arena, void *const *arrays);
/* The address of a value, once bound. */
void *quern__plan_address(const quern__plan *p, quern__id id, void *arena, void *const *arrays);

/* Dead-node elimination: marks the nodes that an output or the update of a variable needs. */
void quern__plan_mark(const quern__graph *g, const quern__id *outputs, int n_outputs, bool *live);
/* The estimated time of a node on two threads, from its products and the bytes that it reads and
 * writes (plan_cost.c). */
double quern__plan_seconds(const quern__graph *g, int node, int64_t capacity);

/* The passes of planning, one file each. partition.c: the axis and size of a node's blocks, and the
 * part of an input that a block reads. */
enum { QUERN__PANEL = 64, QUERN__SLICE = 32 };
typedef struct quern__partition {
    int32_t axis; /* of the value; -1: one block */
    int64_t grain;
} quern__partition;
quern__partition quern__plan_partition(const quern__graph *g, const quern__node *node,
                                       int64_t capacity, const quern__id *root,
                                       const quern__partition *splits);
/* The axis of input i along which a block of the node reads only its own part; -1: a block reads
 * all of it. */
int quern__plan_access(const quern__graph *g, const quern__node *node, int axis, int i,
                       int64_t capacity);
/* weight_layout.c: chooses the matrices that use the blocked layout (p->panels) and allocates their
 * copies. */
int quern__plan_weight_layout(const quern__graph *g, const bool *live, const quern__id *outputs,
                              int n_outputs, const quern__partition *splits, quern__plan *p,
                              quern_error *err);
/* arena_layout.c: offsets for live ranges such that no two overlap in phases and bytes. Both phases
 * of a range belong to it. `live` gets the bytes of live values by phase. */
typedef struct quern__live_range {
    quern__id id;
    int32_t start, end;
    size_t bytes; /* a multiple of 64 */
    int64_t offset;
} quern__live_range;
typedef struct quern__arena {
    size_t height, bound; /* bytes of the arena; its lower bound, the largest of `live` */
} quern__arena;
int quern__plan_arena_layout(quern__live_range *ranges, int n, int n_phases, size_t *live,
                             quern__arena *out, quern_error *err);
/* Whether blocks written as `split` of `from` are those read along `axis` of `to` with `grain`. */
bool quern__plan_same_blocks(const quern_shape *from, quern__partition split, const quern_shape *to,
                             quern__partition read);

#endif
