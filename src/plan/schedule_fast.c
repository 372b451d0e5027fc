/* The fast schedule: every node that needs no barrier joins the present phase; then a barrier opens
 * the next phase. It minimises the number of barriers. schedule_low_memory.c minimises live ranges
 * instead. Both are bit-identical.
 *
 * A node is ready when its inputs and its gate were written. Where it updates a variable in place,
 * every reader of the old content must also have run. It needs a barrier when it reads a block of
 * another owner in the present phase.
 *
 * quern__planner_ready is the rule; quern__planner_merge uses it too. The loop scans the nodes in
 * graph order until a scan adds none, then it starts the next phase. */
#include "planner.h"

quern_shape quern__planner_shape(const quern__planner *m, quern__id id)
{
    return quern__shape_close(*quern__shape_of(m->g, id), m->p->capacity);
}

bool quern__planner_own_part(const quern__planner *m, const quern__node *node, int i, quern__id r)
{
    quern__partition own = m->splits[node->out[0]];
    quern__partition read = { quern__plan_access(m->g, node, own.axis, i, m->p->capacity),
                              own.grain };
    if (own.axis >= 0 && read.axis < 0)
        return false;
    quern_shape from = quern__planner_shape(m, r), to = quern__planner_shape(m, node->in[i]);
    return quern__plan_same_blocks(&from, m->splits[r], &to, read);
}

int quern__planner_ready(const quern__planner *m, int n, int phase)
{
    const quern__node *node = quern__graph_node_at(m->g, n);
    int state = 1, gate = node->gate ? quern__graph_value(m->g, m->views[node->gate])->node : -1;
    if (gate >= 0 && !m->done[gate])
        return -1;
    /* every thread reads the gate, so its writer must be in an earlier phase */
    if (gate >= 0 && m->phase[gate] == phase)
        state = 0;
    /* the producers of the inputs */
    for (int i = 0; i < node->n_in; i++) {
        quern__id r = m->views[node->in[i]];
        const quern__value *v = quern__graph_value(m->g, r);
        if (v->kind != QUERN__VALUE_NODE)
            continue;
        if (!m->done[v->node])
            return -1;
        if (m->phase[v->node] == phase && !quern__planner_own_part(m, node, i, r))
            state = 0;
    }
    for (int u = 0; u < node->n_out && u < node->op->updates;
         u++) { /* all readers of the old content must have run */
        quern__id old = m->views[node->in[u]];
        for (int k = m->readers.first[old]; k < m->readers.first[old + 1]; k++) {
            int other = m->readers.list[k];
            const quern__node *reader = quern__graph_node_at(m->g, other);
            if (other != n && !m->done[other])
                return -1;
            for (int i = 0; other != n && m->phase[other] == phase && i < reader->n_in; i++)
                if (m->views[reader->in[i]] == old &&
                    !quern__planner_own_part(m, reader, i, node->out[u]))
                    state = 0;
        }
    }
    return state;
}

int quern__schedule_fast(quern__planner *m, quern_error *err)
{
    int left = 0, phase = 0, placed = 0;
    for (int n = 0; n < m->n_nodes; n++) {
        m->done[n] = quern__graph_node_at(m->g, n)->op->view; /* a view computes nothing */
        left += m->live[n] && !m->done[n];
    }
    for (; left; phase++) {
        int before = placed, moved = 1, waiting = 0;
        /* scan until no node joins this phase; `waiting` counts nodes that need a barrier first */
        while (moved) {
            moved = waiting = 0;
            for (int n = 0; n < m->n_nodes; n++) {
                int state = m->live[n] && !m->done[n] ? quern__planner_ready(m, n, phase) : -1;
                waiting += state == 0;
                if (state != 1)
                    continue;
                const quern__node *node = quern__graph_node_at(m->g, n);
                m->p->entries[placed] = (quern__entry){ .node = node,
                                                        .phase = phase,
                                                        .barrier = phase > 0 && placed == before };
                m->phase[n] = phase;
                m->done[n] = true;
                placed++, left--, moved++;
            }
        }
        if (placed == before && !waiting)
            return quern__fail(err, QUERN_INTERNAL, "plan", "%d nodes wait for each other", left);
    }
    m->p->n_entries = placed;
    m->p->n_phases = phase;
    return QUERN_OK;
}

bool quern__planner_in_arena(const quern__planner *m, quern__id id)
{
    const quern__value *v = quern__graph_value(m->g, id);
    return m->p->root[id] == id && v->kind == QUERN__VALUE_NODE && !v->variable;
}

int64_t quern__planner_bytes(const quern__planner *m, quern__id id)
{
    size_t bytes;
    quern_shape s = quern__planner_shape(m, id);
    if (!quern__planner_in_arena(m, id))
        return 0;
    if (!quern__shape_bytes(&s, quern__graph_value(m->g, id)->dtype, &bytes) ||
        bytes > SIZE_MAX / 4)
        return -1;
    return (int64_t)((bytes + 63) & ~(size_t)63);
}
