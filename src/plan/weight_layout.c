/* The blocked layout of weights. The columns of a weight (K, N) are divided among owner threads. In
 * C order their parts of a row are neighbours, and the hardware prefetcher of one core fetches
 * lines that another core writes (false sharing). A weight that only products read and only the
 * optimizer updates therefore uses a blocked layout: N / 64 panels of (K, 64). Its optimizer slots
 * and its gradient, its weight group, use the same layout.
 *
 * A group is eligible when each member has one layout for all readers and writers. The products
 * read the weight as right factor, not transposed, in column blocks. The gradient comes from a
 * product in column blocks that the update alone reads. No member is a view or an output of the
 * plan. */
#include "plan.h"

enum { smallest = 1 << 12 };

typedef struct search {
    const quern__graph *g;
    const bool *live;
    const quern__id *root, *outputs;
    int n_outputs, n_nodes;
    const quern__partition *splits; /* by root value */
    int64_t capacity;
} search;

/* Whether the node writes a matrix in column blocks. */
static bool divided_by_columns(const search *l, const quern__node *node)
{
    quern__partition s = l->splits[node->out[0]];
    return s.axis == 1 && quern__shape_of(l->g, node->out[0])->rank == 2;
}

/* A candidate weight and the optimizer update that writes it. */
typedef struct weight_group {
    quern__id weight;
    int update; /* node; -1: the weight is not updated */
    bool fits;
} weight_group;

/* Whether the node is a product that reads input i, its right factor, in column blocks of its
 * own. */
static bool product_reads(const search *l, const quern__node *node, int i)
{
    quern__partition s = l->splits[node->out[0]];
    int rank = quern__shape_of(l->g, node->out[0])->rank;
    return node->op == &quern__op_matmul && i == 1 && !node->attr.i[1] && s.axis == rank - 1;
}

/* The number of live nodes that read root value r. A view or an output of the plan disqualifies it.
 */
static int count_readers(const search *l, quern__id r, bool *viewed)
{
    int n = 0;
    for (int k = 0; k < l->n_nodes; k++) {
        const quern__node *node = quern__graph_node_at(l->g, k);
        for (int i = 0; l->live[k] && i < node->n_in; i++)
            if (l->root[node->in[i]] == r) {
                n++;
                *viewed = *viewed || node->in[i] != r || node->op->view;
            }
    }
    for (int i = 0; i < l->n_outputs; i++)
        *viewed = *viewed || l->root[l->outputs[i]] == r;
    return n;
}

/* Whether the other matrices of an update may use the layout: slots that only the update reads, and
 * a gradient that a product makes for it alone. */
static bool update_fits(const search *l, const quern__node *node)
{
    const quern_shape *shape = quern__shape_of(l->g, node->out[0]);
    for (int i = 0; i < node->n_in; i++) {
        if (!quern_shape_equal(quern__shape_of(l->g, node->in[i]), shape))
            continue;
        quern__id r = l->root[node->in[i]];
        const quern__value *v = quern__graph_value(l->g, r);
        bool viewed = false;
        int n = count_readers(l, r, &viewed);
        if (viewed || (i > 0 && n != 1) || v->dtype != QUERN_FLOAT32)
            return false;
        const quern__node *maker =
            v->kind == QUERN__VALUE_NODE ? quern__graph_node_at(l->g, v->node) : NULL;
        if (i >= node->n_out &&
            (!maker || maker->op != &quern__op_matmul || !divided_by_columns(l, maker)))
            return false;
        if (i < node->n_out && v->kind != QUERN__VALUE_VARIABLE)
            return false;
    }
    return divided_by_columns(l, node);
}

/* Checks all readers of a weight. At most one may update it; the others must be products. */
static weight_group find_weight_group(const search *l, quern__id weight)
{
    weight_group f = { .weight = weight, .update = -1, .fits = true };
    bool viewed = false;
    int n = count_readers(l, weight, &viewed);
    f.fits = n > 0 && !viewed;
    for (int k = 0; f.fits && k < l->n_nodes; k++) {
        const quern__node *node = quern__graph_node_at(l->g, k);
        for (int i = 0; f.fits && l->live[k] && i < node->n_in; i++) {
            if (node->in[i] != weight)
                continue;
            if (i == 0 && node->op->updates > 0 && f.update < 0) {
                f.update = k;
                f.fits = update_fits(l, node);
            } else
                f.fits = product_reads(l, node, i);
        }
    }
    return f;
}

/* Sets the layout of the weight group: `panels` gets the columns of a panel by value id. */
static void mark_group(const search *l, const weight_group *f, int64_t width, int64_t *panels)
{
    panels[f->weight] = width;
    if (f->update < 0)
        return;
    const quern__node *node = quern__graph_node_at(l->g, f->update);
    for (int i = 0; i < node->n_in; i++)
        if (quern_shape_equal(quern__shape_of(l->g, node->in[i]),
                              quern__shape_of(l->g, node->out[0])))
            panels[node->in[i]] = width;
    for (int k = 0; k < node->n_out; k++)
        panels[node->out[k]] = width;
}

int quern__plan_weight_layout(const quern__graph *g, const bool *live, const quern__id *outputs,
                              int n_outputs, const quern__partition *splits, quern__plan *p,
                              quern_error *err)
{
    search l = { .g = g,
                 .live = live,
                 .root = p->root,
                 .outputs = outputs,
                 .n_outputs = n_outputs,
                 .n_nodes = quern__graph_nodes(g),
                 .splits = splits,
                 .capacity = p->capacity };
    /* large float32 matrices whose columns divide into at least two panels */
    for (quern__id id = 1; id <= quern__graph_values(g); id++) {
        const quern__value *v = quern__graph_value(g, id);
        const int64_t width = QUERN__PANEL;
        if (v->kind != QUERN__VALUE_VARIABLE || v->dtype != QUERN_FLOAT32 || v->shape.rank != 2 ||
            v->shape.dims[1] % width || v->shape.dims[1] <= width ||
            quern_shape_count(&v->shape) < smallest)
            continue;
        weight_group f = find_weight_group(&l, id);
        if (f.fits)
            mark_group(&l, &f, width, p->panels);
    }
    /* the copies of the variables in the blocked layout */
    for (quern__id id = 1; id <= quern__graph_values(g); id++) {
        const quern__value *v = quern__graph_value(g, id);
        if (p->panels[id] && v->variable && !quern__variable_divide(v->variable, p->panels[id]))
            return quern__fail_memory(err, (size_t)quern_shape_count(&v->shape) * sizeof(float));
    }
    return QUERN_OK;
}
