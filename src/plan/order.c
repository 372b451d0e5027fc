/* The order in which nodes run, and where threads wait for each other: for speed, or for memory. Neither changes a number. */
#include "making.h"

quern_shape quern__making_shape(const quern__making *m, quern__id id)
{
    return quern__shape_close(*quern__shape_of(m->g, id), m->p->capacity);
}

bool quern__making_own_part(const quern__making *m, const quern__node *node, int i, quern__id r)
{
    quern__split own = m->splits[node->out[0]];
    quern__split read = { quern__plan_access(m->g, node, own.axis, i, m->p->capacity), own.grain };
    if (own.axis >= 0 && read.axis < 0)
        return false;
    quern_shape from = quern__making_shape(m, r), to = quern__making_shape(m, node->in[i]);
    return quern__plan_aligned(&from, m->splits[r], &to, read);
}

/* 1: may run now; 0: after a barrier; -1: what it needs is not there yet. */
static int ready(const quern__making *m, int n, int phase)
{
    const quern__node *node = quern__graph_node_at(m->g, n);
    int state = 1, gate = node->gate ? quern__graph_value(m->g, m->p->root[node->gate])->node : -1;
    if (gate >= 0 && !m->done[gate])
        return -1;
    if (gate >= 0 && m->phase[gate] == phase)
        state = 0;
    for (int i = 0; i < node->n_in; i++) {
        quern__id r = m->p->root[node->in[i]];
        const quern__value *v = quern__graph_value(m->g, r);
        if (v->kind != QUERN__VALUE_NODE)
            continue;
        if (!m->done[v->node])
            return -1;
        if (m->phase[v->node] == phase && !quern__making_own_part(m, node, i, r))
            state = 0;
    }
    for (int u = 0; u < node->n_out && u < node->op->updates; u++) /* everybody has read the old content */
        for (int k = 0; k < m->n_nodes; k++) {
            const quern__node *reader = quern__graph_node_at(m->g, k);
            for (int i = 0; k != n && m->live[k] && !reader->op->view && i < reader->n_in; i++) {
                if (m->p->root[reader->in[i]] != m->p->root[node->in[u]])
                    continue;
                if (!m->done[k])
                    return -1;
                quern__id written = node->out[u];
                if (m->phase[k] == phase && !quern__making_own_part(m, reader, i, written))
                    state = 0;
            }
        }
    return state;
}

int quern__making_order(quern__making *m, quern_error *err)
{
    int left = 0, phase = 0, placed = 0;
    for (int n = 0; n < m->n_nodes; n++) {
        m->done[n] = quern__graph_node_at(m->g, n)->op->view; /* nothing to compute */
        left += m->live[n] && !m->done[n];
    }
    for (; left; phase++) {
        int before = placed, moved = 1, waiting = 0;
        while (moved) {
            moved = waiting = 0;
            for (int n = 0; n < m->n_nodes; n++) {
                int state = m->live[n] && !m->done[n] ? ready(m, n, phase) : -1;
                waiting += state == 0;
                if (state != 1)
                    continue;
                const quern__node *node = quern__graph_node_at(m->g, n);
                m->p->entries[placed] = (quern__entry){ .node = node, .phase = phase, .barrier = phase > 0 && placed == before };
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

bool quern__making_in_slab(const quern__making *m, quern__id id)
{
    const quern__value *v = quern__graph_value(m->g, id);
    return v->kind == QUERN__VALUE_NODE && !v->variable;
}

/* ---- memory before time ---- */

/* What a thrifty order looks at: by node what it waits for, by root value who still reads it. */
typedef struct thrifty {
    quern__making *m;
    int32_t *waits, *left;
    int64_t *bytes;
} thrifty;

/* Whether node n must come after node k. */
static bool depends(const quern__making *m, const quern__node *node, int k)
{
    const quern__node *before = quern__graph_node_at(m->g, k);
    for (int i = 0; i < node->n_in; i++) {
        const quern__value *v = quern__graph_value(m->g, m->p->root[node->in[i]]);
        if (v->kind == QUERN__VALUE_NODE && v->node == k)
            return true;
    }
    if (node->gate && quern__graph_value(m->g, m->p->root[node->gate])->node == k)
        return true;
    for (int u = 0; u < node->n_out && u < node->op->updates; u++) /* it has read the old content */
        for (int i = 0; i < before->n_in; i++)
            if (m->p->root[before->in[i]] == m->p->root[node->in[u]])
                return true;
    return false;
}

/* Bytes more that live behind a node: what it makes, less what it reads last. */
static int64_t growth(const thrifty *t, const quern__node *node)
{
    int64_t more = 0;
    for (int k = 0; k < node->n_out; k++)
        more += t->bytes[node->out[k]];
    for (int i = 0; i < node->n_in; i++) {
        quern__id r = t->m->p->root[node->in[i]];
        int32_t own = 0;
        bool counted = false;
        for (int k = 0; k < node->n_in; k++) {
            own += t->m->p->root[node->in[k]] == r;
            counted = counted || (k < i && t->m->p->root[node->in[k]] == r);
        }
        more -= !counted && t->left[r] == own ? t->bytes[r] : 0;
    }
    return more;
}

static int next_of(const thrifty *t)
{
    int first = -1, best = -1;
    int64_t least = 0;
    for (int n = 0; n < t->m->n_nodes; n++) {
        if (!t->m->live[n] || t->m->done[n] || t->waits[n])
            continue;
        int64_t more = growth(t, quern__graph_node_at(t->m->g, n));
        first = first < 0 ? n : first;
        if (more < least) {
            least = more;
            best = n;
        }
    }
    return best < 0 ? first : best;
}

static void finish(thrifty *t, int n)
{
    quern__making *m = t->m;
    const quern__node *node = quern__graph_node_at(m->g, n);
    m->done[n] = true;
    for (int i = 0; i < node->n_in; i++)
        t->left[m->p->root[node->in[i]]]--;
    for (int k = 0; k < m->n_nodes; k++)
        if (k != n && m->live[k] && !m->done[k] && depends(m, quern__graph_node_at(m->g, k), n))
            t->waits[k]--;
}

static void look(thrifty *t)
{
    quern__making *m = t->m;
    for (int id = 1; id <= m->n_values; id++) {
        size_t bytes;
        quern_shape s = quern__making_shape(m, id);
        t->left[id] = m->uses[id];
        bool own = m->p->root[id] == id && quern__making_in_slab(m, id);
        t->bytes[id] = own && quern__shape_bytes(&s, quern__graph_value(m->g, id)->dtype, &bytes) && bytes < INT64_MAX / 1024
                           ? (int64_t)bytes
                           : 0;
    }
    for (int n = 0; n < m->n_nodes; n++) {
        m->done[n] = quern__graph_node_at(m->g, n)->op->view;
        for (int k = 0; m->live[n] && !m->done[n] && k < m->n_nodes; k++)
            t->waits[n] +=
                k != n && m->live[k] && !quern__graph_node_at(m->g, k)->op->view && depends(m, quern__graph_node_at(m->g, n), k);
    }
}

int quern__making_order_thrifty(quern__making *m, quern_error *err)
{
    size_t values = (size_t)m->n_values + 1, nodes = (size_t)m->n_nodes + 1;
    thrifty t = { .m = m,
                  .waits = quern__zalloc(nodes + values, sizeof *t.waits),
                  .bytes = quern__zalloc(values, sizeof *t.bytes) };
    int placed = 0, status = t.waits && t.bytes ? QUERN_OK : quern__fail_memory(err, values * sizeof *t.bytes);
    if (status >= 0) {
        t.left = t.waits + nodes;
        look(&t);
        for (int n; (n = next_of(&t)) >= 0; placed++) {
            m->p->entries[placed] = (quern__entry){ .node = quern__graph_node_at(m->g, n), .phase = placed, .barrier = placed > 0 };
            m->phase[n] = placed;
            finish(&t, n);
        }
        for (int n = 0; n < m->n_nodes && status >= 0; n++)
            if (m->live[n] && !m->done[n])
                status = quern__fail(err, QUERN_INTERNAL, "plan", "node %d waits for one that waits for it", n);
    }
    m->p->n_entries = m->p->n_phases = placed;
    quern__free(t.waits);
    quern__free(t.bytes);
    return status;
}
