/* grad: reverse-mode differentiation. From the loss backward, the rule of each op adds the nodes of
 * its gradient, and gradients of a value with several users are summed. Only nodes between `wrt`
 * and the loss are visited.
 *
 * Two arrays by value id carry the walk. `needed` is true for values that depend on `wrt`;
 * `gradient` has the id of the sum of the gradients so far, 0 for none. Nodes are visited in
 * reverse order, so a value's gradient is complete before the node that computes it is visited.
 *
 * Each new node records its forward node (quern__graph_gradient_of). Activation recomputation uses
 * it to cut the backward pass. */
#include "grad.h"

/* Marks the values that depend on any of `wrt`. */
static void mark(const quern__graph *g, const quern__id *wrt, int n, bool *needed)
{
    for (int i = 0; i < n; i++)
        needed[wrt[i]] = true;
    for (int k = 0; k < quern__graph_nodes(g); k++) {
        const quern__node *node = quern__graph_node_at(g, k);
        bool any = false;
        for (int i = 0; node->op->gradient && i < node->n_in; i++)
            any = any || needed[node->in[i]];
        for (int i = 0; i < node->n_out; i++)
            needed[node->out[i]] = needed[node->out[i]] || any;
    }
}

/* Adds the gradients that flow from one node to its inputs. */
static void step_back(quern__graph *g, int k, const bool *needed, quern__id *gradient)
{
    quern__node node = *quern__graph_node_at(g, k); /* a copy: rules may read it freely */
    quern__id dy[4] = { 0 }, few[64] = { 0 }, *dx = few;
    bool any = false, wanted = false;
    for (int i = 0; i < node.n_out; i++) {
        dy[i] = gradient[node.out[i]];
        any = any || dy[i];
    }
    for (int i = 0; i < node.n_in; i++)
        wanted = wanted || needed[node.in[i]];
    if (!any || !wanted || !node.op->gradient)
        return;
    if (node.n_in > 64 && !(dx = quern__zalloc((size_t)node.n_in, sizeof *dx))) {
        quern__graph_fail(g, QUERN_NOMEM, "%s: out of memory for the gradients of %d inputs",
                          node.name, node.n_in);
        return;
    }
    node.op->gradient(g, &node, dy, dx);
    /* sum with the gradients of other users; a constant input needs none */
    for (int i = 0; i < node.n_in; i++)
        if (dx[i] && needed[node.in[i]])
            gradient[node.in[i]] =
                gradient[node.in[i]] ? quern__add2(g, gradient[node.in[i]], dx[i]) : dx[i];
    if (dx != few)
        quern__free(dx);
}

int quern__gradients(quern__graph *g, quern__id loss, quern__id seed, const quern__id *wrt, int n,
                     quern__id *out, quern_error *err)
{
    if (quern__graph_status(g))
        return quern__fail(err, quern__graph_status(g), quern__graph_error(g)->where, "%s",
                           quern__graph_error(g)->text);
    int values = quern__graph_values(g), nodes = quern__graph_nodes(g);
    bool *needed = quern__zalloc((size_t)values + 1, sizeof *needed);
    quern__id *gradient = quern__zalloc((size_t)values + 1, sizeof *gradient);
    if (!needed || !gradient) {
        quern__free(needed);
        quern__free(gradient);
        return quern__fail_memory(err, (size_t)values * 5);
    }
    /* the gradient of the loss itself: `seed`, or ones */
    mark(g, wrt, n, needed);
    quern__graph_gradient_of(g, quern__graph_value(g, loss)->node);
    gradient[loss] =
        seed ? seed
             : quern__broadcast(g, quern__graph_constant(g, 1, quern__graph_value(g, loss)->dtype),
                                quern__shape_of(g, loss));
    /* nodes that the walk adds have higher numbers and are not visited */
    for (int k = nodes - 1; k >= 0; k--) {
        quern__graph_gradient_of(g, k);
        step_back(g, k, needed, gradient);
    }
    quern__graph_gradient_of(g, -1);
    for (int i = 0; i < n; i++)
        out[i] = gradient[wrt[i]];
    quern__free(needed);
    quern__free(gradient);
    if (quern__graph_status(g))
        return quern__fail(err, quern__graph_status(g), quern__graph_error(g)->where, "%s",
                           quern__graph_error(g)->text);
    return QUERN_OK;
}
