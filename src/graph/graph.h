/* graph: what is to be computed, as values and the nodes that make them. It holds no numbers but scalar constants and knows
 * no op by name; the room ops builds nodes, grad adds the reverse walk, plan makes the whole runnable.
 *
 * A value's first dimension may be open (-k: k times the records of the batch); a plan closes it. Errors are sticky: the
 * first is kept, every later call returns 0, and id 0 flows through every builder. */
#ifndef QUERN__GRAPH_H
#define QUERN__GRAPH_H

#include "tensor/tensor.h"

/* A value of a graph; 0 is none. */
typedef int32_t quern__id;

/* Numbers that outlive a step: weights, optimizer slots, counters, metric totals. Owned by the model. */
typedef struct quern__variable {
    char *path; /* "dense/kernel"; unique in the model */
    int32_t dtype;
    bool trainable;
    bool learned;   /* trained wherever its layer is; set by the layer */
    bool optimizer; /* a slot or counter of the optimizer, not a weight of a layer */
    quern_shape shape;
    void *data; /* aligned to 64 bytes; ask quern__variable_numbers where a plan may have run */
    /* A matrix may lie in panels of `panel` columns, each whole and by itself, while training: its owner's cache then has no line
     * of another's. At most one of the two forms is newer. */
    float *panels;
    int64_t panel;
    bool panels_newer, plain_newer;
} quern__variable;

/* A variable of zeros. Returns new; path is copied. */
quern__variable *quern__variable_new(const char *path, int dtype, const quern_shape *shape, bool trainable, quern_error *err);
void quern__variable_free(quern__variable *v);
/* Gives a float32 matrix room for panels of that width, which divides its columns. False when there is no memory, or it has panels
 * of another width. */
bool quern__variable_divide(quern__variable *v, int64_t width);
/* The numbers in C order, up to date; they are the newest from now on (they may be written). */
void *quern__variable_numbers(quern__variable *v);
/* The same numbers as panels, up to date. */
float *quern__variable_panels(quern__variable *v);

typedef enum quern__kind {
    QUERN__VALUE_NODE,     /* made by a node                                              */
    QUERN__VALUE_BATCH,    /* array `slot` of the batch: inputs, then targets, then weights */
    QUERN__VALUE_VARIABLE, /* the variable's content when the step begins                 */
    QUERN__VALUE_CONSTANT  /* one number, broadcast as it is used                         */
} quern__kind;

typedef struct quern__value {
    int32_t kind, dtype;
    quern_shape shape;
    int32_t node, slot;        /* node and output number; or the batch array; or what replaces a variable (0: nothing) */
    quern__variable *variable; /* of a VARIABLE leaf, and of a node's output that is written into a variable */
    double constant;
} quern__value;

/* What an op is told beside its inputs. The op's row says what each number means. */
typedef struct quern__attr {
    int64_t i[16];
    double f[8];
} quern__attr;

struct quern__op;
typedef struct quern__node {
    const struct quern__op *op;
    const char *name;  /* of the op, borrowed from its row */
    const char *scope; /* the layer or part that made it ("dense_1", "loss", "adam"); owned by the graph */
    int32_t n_in, n_out;
    quern__id *in, *out;
    quern__id gate; /* a number that a node makes: where it is 0 in a step this node is left out, and what it would write stays as
                       it was; 0: none */
    int32_t of;     /* of a node on the way back: whose gradient it is part of; -1: it is none */
    quern__attr attr;
} quern__node;

typedef struct quern__graph quern__graph;

/* Returns new, NULL when there is no memory. Freed with quern__graph_free. */
quern__graph *quern__graph_new(void);
void quern__graph_free(quern__graph *g);

/* The sticky error: its code (0 while all is well), and the whole of it (borrowed). */
int quern__graph_status(const quern__graph *g);
const quern_error *quern__graph_error(const quern__graph *g);
/* Makes the graph fail, with the present scope as the place; returns 0. */
quern__id quern__graph_fail(quern__graph *g, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Nodes made from here on belong to that scope (copied). */
void quern__graph_scope(quern__graph *g, const char *scope);

/* Nodes made from here on have that gate (0: none); returns the one before. */
quern__id quern__graph_gate(quern__graph *g, quern__id gate);

/* Nodes made from here on are part of the gradient of that node (-1: of none). */
void quern__graph_gradient_of(quern__graph *g, int node);

/* Nodes made from here on leave nothing behind for the way back that it can make again itself, in memory that it writes anyway. */
void quern__graph_lean(quern__graph *g, bool lean);
bool quern__graph_is_lean(const quern__graph *g);

/* Leaves. A variable asked for twice is the same leaf. */
quern__id quern__graph_batch(quern__graph *g, int slot, int dtype, const quern_shape *shape);
quern__id quern__graph_variable(quern__graph *g, quern__variable *v);
/* From here on the variable is that new content of it: who asks for it gets `content`, and gradients flow to that. */
void quern__graph_replace(quern__graph *g, quern__variable *v, quern__id content);
quern__id quern__graph_constant(quern__graph *g, double number, int dtype);

/* Adds a node with one output per given shape; the ids of the outputs go to `out`. Returns the first. */
quern__id quern__graph_node(quern__graph *g, const struct quern__op *op, const char *name, const quern__id *in, int n_in,
                            const quern__attr *attr, const quern_shape *shapes, const int *dtypes, int n_out, quern__id *out);

int quern__graph_values(const quern__graph *g); /* ids run from 1 to this */
int quern__graph_nodes(const quern__graph *g);
/* Borrowed; both stay where they are as long as the graph lives. */
quern__value *quern__graph_value(const quern__graph *g, quern__id id);
quern__node *quern__graph_node_at(const quern__graph *g, int node);

/* Every input made before it is used, ids in range, outputs point back. For tests and after each pass. */
int quern__graph_verify(const quern__graph *g, quern_error *err);
/* One line a node: "%7 = matmul(%1, dense/kernel) (None, 10) float32 [dense]". */
void quern__graph_print(const quern__graph *g, quern__text *out);
/* The same for Graphviz. */
void quern__graph_dot(const quern__graph *g, quern__text *out);

#endif
