/* Partitioning: the axis along which a node is divided and the size of its blocks. The ways that
 * the op's row allows, the blocks of its inputs, and the shapes decide. The number of threads does
 * not, so results do not depend on it.
 *
 * A node takes over the blocks of an input where it can: then no barrier is needed between the two.
 * plan.c calls quern__plan_partition for each node in graph order, so the inputs are partitioned
 * first. Shapes are those of a full batch.
 *
 * A product (B, N) has column blocks if N fills at least two of them, otherwise row blocks. A
 * product over sequences (B, T, N) and the gradient of its weight have row blocks. */
#include "plan.h"

enum {
    panel = QUERN__PANEL, /* columns of a block */
    slice = QUERN__SLICE, /* records of a block */
    large = 512,          /* elements of a record that is worth a block of its own */
    few = 8,              /* steps from which a product over sequences is divided by records */
    near = 1 << 16 /* elements of a block of images that stay in L2 together with their results */
};

static quern_shape closed_shape(const quern__graph *g, quern__id id, int64_t capacity)
{
    return quern__shape_close(*quern__shape_of(g, id), capacity);
}

bool quern__plan_same_blocks(const quern_shape *from, quern__partition split, const quern_shape *to,
                             quern__partition read)
{
    if (split.axis < 0 || read.axis < 0)
        return split.axis < 0 && read.axis < 0;
    bool first = split.axis == 0 && read.axis == 0,
         last = split.axis == from->rank - 1 && read.axis == to->rank - 1;
    return (first || last) && split.grain == read.grain &&
           from->dims[split.axis] == to->dims[read.axis];
}

/* The partition of input `id`, in terms of its own shape; axis -1: it has none. */
static quern__partition split_of_input(const quern__graph *g, quern__id id, const quern__id *root,
                                       const quern__partition *splits, int64_t capacity)
{
    quern__partition none = { -1, 0 }, s = splits[root[id]];
    if (s.axis < 0)
        return none;
    quern_shape from = closed_shape(g, root[id], capacity), to = closed_shape(g, id, capacity);
    if (s.axis == 0 && to.rank && to.dims[0] == from.dims[0])
        return s;
    if (s.axis == from.rank - 1 && to.rank && to.dims[to.rank - 1] == from.dims[from.rank - 1])
        return (quern__partition){ to.rank - 1, s.grain };
    return none;
}

/* Blocks of 32 records, or of as many as the op asks for. A few large records make eight blocks. */
static quern__partition row_partition(const quern_shape *s, bool open, int64_t own)
{
    int64_t grain = own ? own : open ? slice : panel;
    if (open && !own && s->rank && s->dims[0] < 2 * grain &&
        quern_shape_count(s) >= s->dims[0] * large)
        grain = (s->dims[0] + 7) / 8;
    while (open && !own && s->rank > 3 && grain > 1 &&
           quern_shape_count(s) / s->dims[0] * grain > near)
        grain /= 2;
    return s->rank && s->dims[0] >= 2 * grain ? (quern__partition){ 0, grain }
                                              : (quern__partition){ -1, 0 };
}

/* Whether every block reads all of input i. The flags of an op are for its first 32 inputs. */
static bool reads_whole(const quern__node *node, int i)
{
    return i < 32 && node->op->whole >> i & 1;
}

/* A product with at most four rows (generation of one sequence) is bound by reading its matrix: it
 * gets smaller blocks. */
static bool few_row_partition(const quern_shape *s)
{
    return quern_shape_count(s) <= 4 * s->dims[s->rank - 1];
}

quern__partition quern__plan_partition(const quern__graph *g, const quern__node *node,
                                       int64_t capacity, const quern__id *root,
                                       const quern__partition *splits)
{
    quern_shape out = closed_shape(g, node->out[0], capacity);
    bool open = out.rank && quern__shape_of(g, node->out[0])->dims[0] < 0;
    int ways = node->op->ways(g, node), last = out.rank - 1;
    if (ways == QUERN__WAY_WHOLE || out.rank == 0)
        return (quern__partition){ -1, 0 };
    if (ways == QUERN__WAY_PRODUCT && open && out.rank > 2 && out.dims[1] >= few &&
        row_partition(&out, open, 0).axis == 0)
        return row_partition(&out, open,
                             0); /* sequences: a record has many rows, and the ops that follow
                                       are divided by records */
    if (ways == QUERN__WAY_PRODUCT && !open && quern__shape_of(g, node->in[0])->rank > 2 &&
        out.dims[0] > out.dims[last])
        return row_partition(
            &out, false,
            0); /* a weight's gradient over sequences: fewer distant rows are read twice */
    if (ways == QUERN__WAY_PRODUCT && few_row_partition(&out) && last > 0 &&
        out.dims[last] >= panel && out.dims[last] < 2 * panel)
        return (quern__partition){ last, panel / 2 };
    if (ways == QUERN__WAY_PRODUCT)
        return out.dims[last] >= 2 * panel && last > 0 ? (quern__partition){ last, panel }
                                                       : row_partition(&out, open, 0);
    /* ops that fix their own blocks */
    if (ways == QUERN__WAY_EIGHTHS)
        return (quern__partition){ 0, (out.dims[0] + 7) / 8 };
    if (node->op->slice)
        return row_partition(&out, open, node->op->slice);
    for (int i = node->n_in - 1; i >= 0;
         i--) { /* take over an input's blocks; gradients are the last inputs */
        quern__partition s = split_of_input(g, node->in[i], root, splits, capacity);
        quern_shape in = closed_shape(g, node->in[i], capacity);
        if (reads_whole(node, i) || s.axis < 0 ||
            (ways != QUERN__WAY_ELEMENTS && s.axis != (ways == QUERN__WAY_ROWS ? 0 : in.rank - 1)))
            continue;
        int axis = ways == QUERN__WAY_COLUMNS ? last : s.axis;
        bool same = ways == QUERN__WAY_ELEMENTS
                        ? in.rank == out.rank && quern_shape_equal(&in, &out)
                        : in.dims[s.axis] == out.dims[axis];
        if (same)
            return (quern__partition){ axis, s.grain };
    }
    /* no input has suitable blocks: start new ones, but leave small arrays whole */
    if (ways == QUERN__WAY_COLUMNS)
        return out.dims[last] >= 2 * panel ? (quern__partition){ last, panel }
                                           : (quern__partition){ -1, 0 };
    return open || quern_shape_count(&out) >= 1 << 14 ? row_partition(&out, open, 0)
                                                      : (quern__partition){ -1, 0 };
}

int quern__plan_access(const quern__graph *g, const quern__node *node, int axis, int i,
                       int64_t capacity)
{
    int ways = node->op->ways(g, node);
    if (axis < 0 || ways == QUERN__WAY_EIGHTHS || reads_whole(node, i))
        return -1;
    quern_shape out = closed_shape(g, node->out[0], capacity),
                in = closed_shape(g, node->in[i], capacity);
    if (ways == QUERN__WAY_PRODUCT) {
        bool transposed = node->attr.i[i];
        if (i != (axis == 0 ? 0 : 1))
            return -1;
        return (axis == 0) != transposed ? 0 : in.rank - 1;
    }
    /* the same axis of the input, where its size agrees; elementwise shapes align to the right */
    int own = ways == QUERN__WAY_ROWS      ? 0
              : ways == QUERN__WAY_COLUMNS ? in.rank - 1
                                           : axis - (out.rank - in.rank);
    return own >= 0 && own < in.rank && in.dims[own] == out.dims[axis] ? own : -1;
}
