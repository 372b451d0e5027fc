/* graph: a computation as values and the nodes that compute them. It stores no arrays, only scalar
 * constants, and does not know any op by name: module ops adds nodes, grad the backward pass, and
 * plan makes the graph executable.
 *
 * The first dimension of a value can be dynamic: -k means k times the batch size, which a plan
 * sets. Errors are sticky: the first one stays, later calls return 0, and every builder accepts id
 * 0. */
#ifndef QUERN__GRAPH_H
#define QUERN__GRAPH_H

#include "tensor/tensor.h"

/* Id of a value; 0: none. */
typedef int32_t quern__id;

/* Files store an array in its dtype; as int8; or as int4, two numbers of the last axis in a byte,
 * the first in the low half. */
enum { QUERN__STORED_AS_IS, QUERN__STORED_INT8, QUERN__STORED_INT4 };

/* An array that persists between steps: a weight, an optimizer slot, a counter, a metric total. The
 * model owns it. */
typedef struct quern__variable {
    char *path; /* "dense/kernel"; unique in the model */
    int32_t dtype;
    int32_t stored; /* how files store whole numbers of a float32 array, QUERN__STORED_… */
    bool trainable;
    bool learned;   /* trained when its layer is trainable; the layer sets it */
    bool optimizer; /* a slot or counter of the optimizer, not a weight of a layer */
    quern_shape shape;
    void *data; /* aligned to 64 bytes; read it with quern__variable_numbers after a plan has run */
    /* Blocked layout: in training, a matrix can be stored as column blocks of `panel` columns, each
     * contiguous, so that no cache line has columns of two threads. At most one of the two layouts
     * is newer than the other. */
    float *panels;
    int64_t panel;
    bool panels_newer, plain_newer;
} quern__variable;

/* A variable of zeros; copies path. Returns new. */
quern__variable *quern__variable_new(const char *path, int dtype, const quern_shape *shape,
                                     bool trainable, quern_error *err);
void quern__variable_free(quern__variable *v);
/* Allocates the blocked layout of a float32 matrix, with blocks of `width`, a divisor of its
 * columns. Returns false without memory, or when it has blocks of another width. */
bool quern__variable_divide(quern__variable *v, int64_t width);
/* The current array in C order. It counts as newer afterwards, because the caller may write it.
 * Returns borrowed. */
void *quern__variable_numbers(quern__variable *v);
/* The current array in the blocked layout. Returns borrowed. */
float *quern__variable_panels(quern__variable *v);

typedef enum quern__kind {
    QUERN__VALUE_NODE,     /* the output of a node */
    QUERN__VALUE_BATCH,    /* array `slot` of the batch: inputs, then targets, then weights */
    QUERN__VALUE_VARIABLE, /* the content of a variable at the start of a step */
    QUERN__VALUE_CONSTANT  /* a scalar, broadcast where it is used */
} quern__kind;

typedef struct quern__value {
    int32_t kind, dtype;
    quern_shape shape;
    int32_t node, slot; /* node and output index; or the batch array; or the replacement of a
                           variable (0: none) */
    quern__variable
        *variable; /* of a VARIABLE leaf, or of a node output that is written to the variable */
    double constant;
} quern__value;

/* The attributes of a node, besides its inputs. `ops/attributes.h` names the indices. */
typedef struct quern__attr {
    int64_t i[16];
    double f[8];
} quern__attr;

struct quern__op;
typedef struct quern__node {
    const struct quern__op *op;
    const char *name;  /* name of the op, borrowed from its row */
    const char *scope; /* the layer or part that added the node ("dense_1", "loss", "adam"); owned
                          by the graph */
    int32_t n_in, n_out;
    quern__id *in, *out;
    quern__id gate; /* a scalar: in steps in which it is 0, the node does not run and its outputs
                       keep their content; 0: none */
    int32_t of;     /* of a node of the backward pass: its forward node; -1: none */
    quern__attr attr;
} quern__node;

typedef struct quern__graph quern__graph;

/* Returns new; NULL: no memory. Freed with quern__graph_free. */
quern__graph *quern__graph_new(void);
void quern__graph_free(quern__graph *g);

/* The sticky error: its code (0: none), and the error itself (borrowed). */
int quern__graph_status(const quern__graph *g);
const quern_error *quern__graph_error(const quern__graph *g);
/* Fails the graph, with the present scope as the place. Returns 0. */
quern__id quern__graph_fail(quern__graph *g, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Sets the scope of the following nodes (copied). */
void quern__graph_scope(quern__graph *g, const char *scope);

/* Sets the gate of the following nodes (0: none). Returns the previous gate. */
quern__id quern__graph_gate(quern__graph *g, quern__id gate);

/* Sets the forward node of the following nodes (-1: none). */
void quern__graph_gradient_of(quern__graph *g, int node);

/* Lean nodes do not store what the backward pass can recompute in memory that it writes anyway. */
void quern__graph_lean(quern__graph *g, bool lean);
bool quern__graph_is_lean(const quern__graph *g);

/* Leaves. Each variable has one leaf. */
quern__id quern__graph_batch(quern__graph *g, int slot, int dtype, const quern_shape *shape);
quern__id quern__graph_variable(quern__graph *g, quern__variable *v);
/* Replaces a variable by its new content for the following nodes; gradients flow to `content`. */
void quern__graph_replace(quern__graph *g, quern__variable *v, quern__id content);
quern__id quern__graph_constant(quern__graph *g, double number, int dtype);

/* Adds a node with one output per given shape; `out` gets the ids of the outputs. Returns the
 * first. */
quern__id quern__graph_node(quern__graph *g, const struct quern__op *op, const char *name,
                            const quern__id *in, int n_in, const quern__attr *attr,
                            const quern_shape *shapes, const int *dtypes, int n_out,
                            quern__id *out);

int quern__graph_values(const quern__graph *g); /* number of values; ids are 1 to this number */
int quern__graph_nodes(const quern__graph *g);
/* Returns borrowed; addresses are valid as long as the graph. */
quern__value *quern__graph_value(const quern__graph *g, quern__id id);
quern__node *quern__graph_node_at(const quern__graph *g, int node);

/* Checks that inputs precede their users, ids are in range, and outputs point to their node. For
 * tests, after each pass. */
int quern__graph_verify(const quern__graph *g, quern_error *err);
/* Writes one line per node: "%7 = matmul(%1, dense/kernel) (None, 10) float32 [dense]". */
void quern__graph_print(const quern__graph *g, quern__text *out);
/* Writes the graph in the DOT language of Graphviz. */
void quern__graph_dot(const quern__graph *g, quern__text *out);

#endif
