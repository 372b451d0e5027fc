/* layer_order: the order of a functional model's layers in files. Keras computes it when it opens a
 * file, and weights are stored in that order: by depth above the outputs, and within one depth in
 * the order in which a depth-first walk from the outputs meets the layers
 * (keras.src.ops.function.map_graph).
 *
 * Three steps: visit() walks from the outputs to the inputs, and lists each node after the nodes of
 * its inputs. find_depths() reads that list backwards: an output has depth 0, and an input is
 * deeper than all its users. before() compares two nodes, largest depth first. The order of the
 * nodes in the blueprint stays a valid order of execution.
 *
 * Keras runs the calls of a depth in another order, that in which find_depths reaches them. This
 * matters for masks only: MultiHeadAttention removes the masks of its inputs, so calls that run
 * later do not see them. */
#include "model_struct.h"

#include <stdlib.h>
#include <string.h>

typedef struct walk {
    const quern_blueprint *b;
    int *finished, n_finished; /* nodes, each after the nodes of its inputs */
    int *met; /* by node of a layer's first call: the rank at which the walk met the layer; -1: not
                 yet */
    int n_met;
    int *reached, n_reached; /* by node: when find_depths reached it; 0: not yet */
    int *depth;              /* by node */
    bool *seen;              /* by node */
    int *layers;             /* by node: the node of the layer's first call */
} walk;

/* Whether Keras visits input a of a call before input b: positional arguments first, then keywords
 * in sorted order. */
static bool taken_before(const quern__call_node *node, int a, int b)
{
    int x = node->arguments[a], y = node->arguments[b];
    bool named_x = x < 32 && node->keywords >> x & 1, named_y = y < 32 && node->keywords >> y & 1;
    if (named_x != named_y)
        return named_y;
    if (x == y || !named_x)
        return a < b;
    return strcmp(node->layer->kind->call_args[x].name, node->layer->kind->call_args[y].name) < 0;
}

/* The inputs of a call in the order in which Keras visits them. */
static void taken(const quern__call_node *node, int *order)
{
    for (int i = 0; i < node->n_in; i++) {
        int at = i;
        for (; at > 0 && taken_before(node, i, order[at - 1]); at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

/* Visits a value and everything that it depends on. The depth of the recursion is the depth of the
 * model. */
static void visit(walk *w, int value)
{
    int k = w->b->values[value].node;
    const quern__call_node *node = &w->b->nodes[k];
    if (w->seen[k])
        return;
    w->seen[k] = true;
    if (w->met[w->layers[k]] < 0)
        w->met[w->layers[k]] = w->n_met++;
    int order[QUERN__MAX_ARGUMENTS];
    taken(node, order);
    for (int i = 0; i < node->n_in; i++)
        visit(w, node->in[order[i]]);
    w->finished[w->n_finished++] = k;
}

static void reach(walk *w, int node)
{
    if (!w->reached[node])
        w->reached[node] = ++w->n_reached;
}

/* Whether Keras runs node a before node b. */
static bool runs_before(const walk *w, int a, int b)
{
    return w->depth[a] != w->depth[b] ? w->depth[a] > w->depth[b] : w->reached[a] < w->reached[b];
}

/* Marks the inputs whose masks an earlier call removes. */
static void find_lost_masks(quern_blueprint *b, const walk *w)
{
    for (int j = 0; j < b->n; j++)
        for (int i = 0; i < b->nodes[j].n_in && b->nodes[j].layer->kind->removes_masks; i++)
            for (int k = 0; k < b->n; k++)
                for (int in = 0; in < b->nodes[k].n_in && k != j && w->seen[k]; in++)
                    if (b->nodes[k].in[in] == b->nodes[j].in[i] && runs_before(w, j, k))
                        b->nodes[k].unmasked |= (uint64_t)1 << in;
}

/* Sets the depth of each node and layer: one more than the largest depth of its users. Users come
 * before inputs. */
static void find_depths(walk *w)
{
    int order[QUERN__MAX_ARGUMENTS];
    for (int at = w->n_finished - 1; at >= 0; at--) {
        int k = w->finished[at], *of_layer = &w->depth[w->b->n + w->layers[k]];
        const quern__call_node *node = &w->b->nodes[k];
        int depth = w->depth[k] > *of_layer ? w->depth[k] : *of_layer;
        w->depth[k] = *of_layer = depth;
        reach(w, k);
        taken(node, order);
        for (int i = 0; i < node->n_in; i++) {
            int input = w->b->values[node->in[order[i]]].node, *below = &w->depth[input];
            *below = *below > depth + 1 ? *below : depth + 1;
            reach(w, input);
        }
    }
}

/* Whether node a comes before node b. Depth 0 starts with unused inputs; other unused nodes are
 * last. */
static bool before(const walk *w, int a, int b)
{
    bool unused_a = !w->seen[a] && w->b->nodes[a].n_in,
         unused_b = !w->seen[b] && w->b->nodes[b].n_in;
    if (unused_a != unused_b)
        return unused_b;
    if (unused_a || w->depth[a] != w->depth[b])
        return unused_a ? a < b : w->depth[a] > w->depth[b];
    int met_a = w->met[w->layers[a]], met_b = w->met[w->layers[b]];
    return met_a != met_b ? met_a < met_b : a < b;
}

/* Reorders the nodes. The first call of a layer in the new order owns the layer. */
static void rearrange(quern_blueprint *b, const walk *w, int *order, quern__call_node *nodes)
{
    for (int k = 0; k < b->n; k++) {
        int at = k;
        for (; at > 0 && before(w, k, order[at - 1]); at--)
            order[at] = order[at - 1];
        order[at] = k;
    }
    memcpy(nodes, b->nodes, (size_t)b->n * sizeof *nodes);
    for (int k = 0; k < b->n; k++) {
        b->nodes[k] = nodes[order[k]];
        b->nodes[k].again = false;
        for (int i = 0; i < k; i++)
            b->nodes[k].again = b->nodes[k].again || b->nodes[i].layer == b->nodes[k].layer;
        for (int i = 0; i < b->nodes[k].n_out; i++)
            b->values[b->nodes[k].first + i].node = k;
    }
}

int quern__blueprint_order(quern_blueprint *b, const int *outputs, int n_outputs)
{
    size_t n = (size_t)b->n;
    walk w = { .b = b };
    int *order = quern__zalloc(n + 1, sizeof *order);
    quern__call_node *nodes = quern__zalloc(n + 1, sizeof *nodes);
    w.finished = quern__zalloc(n + 1, sizeof *w.finished);
    w.met = quern__zalloc(n + 1, sizeof *w.met);
    w.reached = quern__zalloc(n + 1, sizeof *w.reached);
    w.depth = quern__zalloc(2 * n + 1, sizeof *w.depth);
    w.layers = quern__zalloc(n + 1, sizeof *w.layers);
    w.seen = quern__zalloc(n + 1, sizeof *w.seen);
    bool ok = order && nodes && w.finished && w.met && w.reached && w.depth && w.layers && w.seen;
    for (int k = 0; ok && k < b->n; k++) {
        w.met[k] = -1;
        w.layers[k] = k;
        for (int i = k - 1; i >= 0; i--)
            if (b->nodes[i].layer == b->nodes[k].layer)
                w.layers[k] = i;
    }
    for (int i = 0; ok && i < n_outputs; i++)
        visit(&w, outputs[i]);
    if (ok) {
        find_depths(&w);
        find_lost_masks(b, &w);
        rearrange(b, &w, order, nodes);
    }
    quern__free(order);
    quern__free(nodes);
    quern__free(w.finished);
    quern__free(w.met);
    quern__free(w.reached);
    quern__free(w.depth);
    quern__free(w.layers);
    quern__free(w.seen);
    return ok ? QUERN_OK : QUERN_NOMEM;
}
