/* Writes the graph of a schedule: nodes are copied in the order of the schedule, as often as it
 * runs them, and each copy reads the most recent copy of its inputs. All other nodes follow in
 * their order. Planning removes copies that no node reads.
 *
 * recompute_dp.c calls make, slight and back of quern__steps with stage numbers, in the order of
 * the schedule.
 * The new graph is valid by construction: a stage runs forward before its backward pass, and a copy
 * of a node precedes its readers. */
#include "recompute.h"

typedef struct writing {
    const quern__chain *c;
    quern__graph *to;
    quern__id *id; /* by old value: its most recent copy; 0: none yet */
} writing;

/* The copy that a reader uses now. Leaves are created at their first use. */
static quern__id copy_of(writing *w, quern__id old)
{
    const quern__value *v = quern__graph_value(w->c->g, old);
    if (!old || w->id[old])
        return w->id[old];
    if (v->kind == QUERN__VALUE_BATCH)
        w->id[old] = quern__graph_batch(w->to, v->slot, v->dtype, &v->shape);
    else if (v->kind == QUERN__VALUE_VARIABLE)
        w->id[old] = quern__graph_variable(w->to, v->variable);
    else if (v->kind == QUERN__VALUE_CONSTANT)
        w->id[old] = quern__graph_constant(w->to, v->constant, v->dtype);
    return w->id[old];
}

/* Appends a copy of node n with the same attributes, scope and gate. Its outputs become the most
 * recent copies. `of` is not set: the new graph is planned, not cut into stages again. */
static void copy_node(writing *w, int n)
{
    enum { few = 64 };
    const quern__node *node = quern__graph_node_at(w->c->g, n);
    quern__id some[few],
        *in = node->n_in > few ? quern__zalloc((size_t)node->n_in, sizeof *in) : some, out[16];
    quern_shape shapes[16];
    int dtypes[16];
    if (!in || node->n_out > 16) {
        quern__graph_fail(w->to, QUERN_NOMEM, "out of memory for a copy of %s", node->name);
        return;
    }
    for (int i = 0; i < node->n_in; i++)
        in[i] = copy_of(w, node->in[i]);
    for (int k = 0; k < node->n_out; k++) {
        shapes[k] = quern__graph_value(w->c->g, node->out[k])->shape;
        dtypes[k] = quern__graph_value(w->c->g, node->out[k])->dtype;
    }
    quern__graph_scope(w->to, node->scope);
    quern__graph_gate(w->to, node->gate ? copy_of(w, node->gate) : 0);
    quern__graph_node(w->to, node->op, node->name, in, node->n_in, &node->attr, shapes, dtypes,
                      node->n_out, out);
    for (int k = 0; k < node->n_out && out[k]; k++) {
        w->id[node->out[k]] = out[k];
        quern__graph_value(w->to, out[k])->variable =
            quern__graph_value(w->c->g, node->out[k])->variable;
    }
    if (in != some)
        quern__free(in);
}

/* Copies the nodes of a stage. The second copy has recomputable nodes only; `slight`: of these the
 * cheap ones only, all but products. */
static void copy_stage_nodes(writing *w, int stage, bool slight)
{
    const quern__chain *c = w->c;
    for (int n = c->stages[stage].first; n < c->stages[stage].end; n++) {
        const quern__node *node = quern__graph_node_at(c->g, n);
        bool first = !w->id[node->out[0]];
        if (c->live[n] && (first || (c->again[n] && !(slight && node->op->work))))
            copy_node(w, n);
    }
}

static void copy_stage(void *user, int stage) { copy_stage_nodes(user, stage, false); }
static void copy_cheap_nodes(void *user, int stage) { copy_stage_nodes(user, stage, true); }

/* The backward pass of a stage: all nodes whose forward node is in the stage. */
static void copy_backward_stage(void *user, int stage)
{
    writing *w = user;
    for (int n = w->c->n_forward; n < w->c->n_nodes; n++)
        if (w->c->live[n] && w->c->stage[n] == stage)
            copy_node(w, n);
}

quern__graph *quern__plan_recompute(const quern__graph *g, const quern__id *outputs, int n_outputs,
                                    int64_t capacity, int level, quern__id *id, quern_error *err)
{
    quern__chain *c = quern__chain_new(g, outputs, n_outputs, capacity, err);
    if (!c)
        return NULL;
    writing w = { .c = c, .to = c->n ? quern__graph_new() : NULL, .id = id };
    quern__steps steps = {
        .make = copy_stage, .slight = copy_cheap_nodes, .back = copy_backward_stage, .user = &w
    };
    int status = !c->n ? quern__fail(err, QUERN_NOTFOUND, "plan",
                                     "the graph has no nodes that can be recomputed")
                 : w.to && quern__schedule(c, level, &steps) >= 0
                     ? QUERN_OK
                     : quern__fail_memory(err, sizeof *c);
    for (int n = c->n_forward; status >= 0 && n < c->n_nodes; n++)
        if (c->live[n] && c->stage[n] < 0)
            copy_node(&w, n);
    if (status >= 0 && quern__graph_status(w.to))
        status = quern__fail(err, quern__graph_status(w.to), "plan", "%s",
                             quern__graph_error(w.to)->text);
    quern__chain_free(c);
    if (status >= 0)
        return w.to;
    quern__graph_free(w.to);
    return NULL;
}
