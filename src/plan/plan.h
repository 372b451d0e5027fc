/* plan: a graph made runnable for batches of at most `capacity` records: which nodes live, how each is divided into blocks, in
 * which order and with which barriers they run, and where every value lies in one slab. A plan is data; step runs it.
 *
 * Blocks follow from shapes alone: panels of 64 columns or slices of 32 records. A value written in blocks and read in the same
 * blocks never leaves its owner; a barrier stands only where somebody reads another owner's part. */
#ifndef QUERN__PLAN_H
#define QUERN__PLAN_H

#include "kernels/kernels.h"

typedef struct quern__entry {
    quern__call call;
    quern__kernel *kernel;
    const char *kernel_name;
    const quern__node *node;
    int64_t grain;     /* of a block along the call's axis */
    quern_tensor gate; /* where it is 0 the call is left out; no data: there is none */
    bool barrier;      /* wait for all threads first       */
    int32_t phase;
} quern__entry;

typedef struct quern__plan {
    const quern__graph *graph;
    int64_t capacity, batch; /* records it was made for, records it is set to */
    int n_entries, n_phases;
    quern__entry *entries;
    size_t slab_bytes;     /* all values that are no variables, batches or constants           */
    size_t bound_bytes;    /* the largest sum of what lives in one phase: no slab can be smaller */
    size_t gradient_bytes; /* of that sum: gradients of what is updated                        */
    double seconds;        /* of a step, estimated: good for comparing plans                    */
    size_t stack_bytes;    /* that a call may use of a thread's stack                          */
    size_t *live;          /* by phase: the sum                                                */
    int64_t *offset;       /* by value id: place in the slab, -1 elsewhere */
    quern__id *root;       /* by value id: whose memory it is */
    double *constants;     /* by value id */
    int64_t *panels;       /* by value id: width of the panels it lies in, 0: C order */
    quern_tensor *tensors;
} quern__plan;

/* Plans all that `outputs` and the variables' updates need. Borrows the graph. Returns new. */
quern__plan *quern__plan_new(const quern__graph *g, const quern__id *outputs, int n_outputs, int64_t capacity, quern_error *err);
/* The same, and with `thrift` memory goes before time: threads wait for each other after every call, so that values live as short
 * as they can, and each weight is updated as soon as its gradient is there. The numbers are the same, bit for bit. */
quern__plan *quern__plan_made(const quern__graph *g, const quern__id *outputs, int n_outputs, int64_t capacity, bool thrift,
                              quern_error *err);
void quern__plan_free(quern__plan *p);
/* The same graph with values of the way forward made again on the way back, as much as the level (1 … QUERN__RECOMPUTE_LEVELS, the
 * last for the least memory) asks for: the numbers that it computes are the same, bit for bit, because every kernel and every
 * random number is. `id` gets the new id of each old value (room for all of them and 0). Returns new; NULL with err->code
 * QUERN_NOTFOUND when the graph has nothing that could run again. */
enum { QUERN__RECOMPUTE_LEVELS = 10 };
quern__graph *quern__plan_recompute(const quern__graph *g, const quern__id *outputs, int n_outputs, int64_t capacity, int level,
                                    quern__id *id, quern_error *err);
/* Sets the plan to batches of `records` <= capacity: shapes change, places do not. */
void quern__plan_batch(quern__plan *p, int64_t records);
/* Sets the addresses: the slab, and the arrays of a batch by slot (variables and constants are known). */
void quern__plan_bind(quern__plan *p, void *slab, void *const *arrays);
/* Where a value lies once bound. */
void *quern__plan_address(const quern__plan *p, quern__id id, void *slab, void *const *arrays);

/* Which nodes an output or a variable's update needs, by node. */
void quern__plan_mark(const quern__graph *g, const quern__id *outputs, int n_outputs, bool *live);
/* Seconds that a node takes two threads, estimated by what it multiplies, reads and writes (plan_cost.c). */
double quern__plan_seconds(const quern__graph *g, int node, int64_t capacity);

/* The parts of planning, each its own file. partition.c: axis and grain of a node's blocks, and where an input is read by a block.
 */
enum { QUERN__PANEL = 64, QUERN__SLICE = 32 };
typedef struct quern__partition {
    int32_t axis; /* of the value; -1: one block */
    int64_t grain;
} quern__partition;
quern__partition quern__plan_divide(const quern__graph *g, const quern__node *node, int64_t capacity, const quern__id *root,
                                    const quern__partition *splits);
/* The axis of input i along which a block of the node reads only its own part; -1: it reads all. */
int quern__plan_access(const quern__graph *g, const quern__node *node, int axis, int i, int64_t capacity);
/* weight_layout.c: which matrices lie in panels (p->panels), with room for them. */
int quern__plan_panels(const quern__graph *g, const bool *live, const quern__id *outputs, int n_outputs,
                       const quern__partition *splits, quern__plan *p, quern_error *err);
/* arena_layout.c: offsets of values that live from one phase to another (both belong to it), so that no two overlap; `live` gets
 * the bytes that live in each phase. */
typedef struct quern__piece {
    quern__id id;
    int32_t born, dies;
    size_t bytes; /* a multiple of 64 */
    int64_t offset;
} quern__piece;
typedef struct quern__placement {
    size_t height, bound; /* reached; the largest of `live` */
} quern__placement;
int quern__plan_place(quern__piece *pieces, int n, int n_phases, size_t *live, quern__placement *out, quern_error *err);
/* Whether blocks written as `split` of `from` are those read along `axis` of `to` with `grain`. */
bool quern__plan_aligned(const quern_shape *from, quern__partition split, const quern_shape *to, quern__partition read);

#endif
