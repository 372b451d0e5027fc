/* The low-memory schedule: list scheduling in which the ready node that frees most bytes runs
 * first, else the first in graph order. Every entry is a phase of its own, so live ranges are
 * minimal. Afterwards consecutive entries that need no barrier are merged into one phase where that
 * does not raise the peak, so that threads meet less often.
 *
 * A node is ready when its count of predecessors in `waits` is 0. Predecessors are the producers of
 * its inputs and of its gate, and the readers of a variable that it updates. The lists of
 * successors are built in two passes: pass 0 counts, pass 1 fills.
 *
 * The ready list is sorted by node, so ties follow the graph order and the result is deterministic.
 * `more` caches the growth of each ready node. finish_node() recomputes it only for readers of the
 * inputs of the finished node. */
#include "planner.h"

#include <string.h>

typedef struct scheduler {
    quern__planner *m;
    quern__lists later; /* by node: its successors */
    int32_t *waits;     /* by node: predecessors that have not run */
    int32_t *left;      /* by root value: inputs that have not read it yet */
    int32_t *seen;      /* by node: the last successor that was noted */
    int32_t *ready;     /* nodes whose predecessors have run, in graph order */
    int n_ready;
    int64_t *bytes; /* by root value: bytes in the arena */
    int64_t *more;  /* by ready node: its growth */
} scheduler;

/* Whether the node is an entry of the plan: it is needed, and it computes something. */
static bool node_runs(const quern__planner *m, int n)
{
    return m->live[n] && !quern__graph_node_at(m->g, n)->op->view;
}

/* Notes once that node k precedes node n. */
static void wait_for(scheduler *t, int n, int k, int pass)
{
    if (k == n || t->seen[k] == n || !node_runs(t->m, k))
        return;
    t->seen[k] = n;
    if (pass == 0) {
        t->waits[n]++;
        t->later.first[k + 1]++;
    } else
        t->later.list[t->later.first[k]++] = n;
}

/* Predecessors: the producers of the inputs and the gate; for an update also all readers of the old
 * content. */
static void find_waits(scheduler *t, int n, int pass)
{
    quern__planner *m = t->m;
    const quern__node *node = quern__graph_node_at(m->g, n);
    for (int i = 0; i <= node->n_in; i++) {
        quern__id id = i < node->n_in ? node->in[i] : node->gate;
        const quern__value *v = quern__graph_value(m->g, m->p->root[id]);
        if (id && v->kind == QUERN__VALUE_NODE)
            wait_for(t, n, v->node, pass);
    }
    for (int u = 0; u < node->n_out && u < node->op->updates; u++) {
        quern__id r = m->p->root[node->in[u]];
        for (int i = m->readers.first[r]; i < m->readers.first[r + 1]; i++)
            wait_for(t, n, m->readers.list[i], pass);
    }
}

/* Fills `waits` and the lists of successors. Returns false without memory. */
static bool find_order(scheduler *t)
{
    quern__planner *m = t->m;
    for (int pass = 0; pass < 2; pass++) {
        for (int n = 0; n < m->n_nodes; n++)
            t->seen[n] = -1;
        for (int n = 0; n < m->n_nodes; n++)
            if (node_runs(m, n))
                find_waits(t, n, pass);
        if (pass == 0 && !quern__lists_begin(&t->later, m->n_nodes))
            return false;
    }
    quern__lists_done(&t->later, m->n_nodes);
    return true;
}

/* The change of live bytes by a node: its outputs less the inputs that it reads last. */
static int64_t byte_growth(const scheduler *t, const quern__node *node)
{
    const quern__id *root = t->m->p->root;
    int64_t more = 0;
    for (int k = 0; k < node->n_out; k++)
        more += t->bytes[node->out[k]];
    for (int i = 0; i < node->n_in; i++) {
        quern__id r = root[node->in[i]];
        int32_t own = 0;
        bool counted = !t->bytes[r];
        for (int k = 0; k < node->n_in && !counted; k++) {
            own += root[node->in[k]] == r;
            counted = k < i && root[node->in[k]] == r;
        }
        more -= !counted && t->left[r] == own ? t->bytes[r] : 0;
    }
    return more;
}

/* Adds a node to the ready list, sorted by node. */
static void heap_insert(scheduler *t, int n)
{
    t->more[n] = byte_growth(t, quern__graph_node_at(t->m->g, n));
    int i = t->n_ready++;
    for (; i > 0 && t->ready[i - 1] > n; i--)
        t->ready[i] = t->ready[i - 1];
    t->ready[i] = n;
}

/* The ready node that frees most bytes, else the first. */
static int next_of(scheduler *t)
{
    int best = 0;
    int64_t least = 0;
    for (int i = 0; i < t->n_ready; i++) {
        if (t->more[t->ready[i]] < least) {
            least = t->more[t->ready[i]];
            best = i;
        }
    }
    int n = t->ready[best];
    memmove(t->ready + best, t->ready + best + 1, (size_t)(--t->n_ready - best) * sizeof *t->ready);
    return n;
}

/* After node n ran: its inputs have one reader less, and successors may become ready. */
static void finish_node(scheduler *t, int n)
{
    quern__planner *m = t->m;
    const quern__node *node = quern__graph_node_at(m->g, n);
    m->done[n] = true;
    for (int i = 0; i < node->n_in; i++)
        t->left[m->p->root[node->in[i]]]--;
    for (int i = 0; i < node->n_in; i++) { /* a reader may have become the last one */
        quern__id r = m->p->root[node->in[i]];
        for (int k = m->readers.first[r]; t->bytes[r] && k < m->readers.first[r + 1]; k++) {
            int other = m->readers.list[k];
            if (!m->done[other] && !t->waits[other])
                t->more[other] = byte_growth(t, quern__graph_node_at(m->g, other));
        }
    }
    for (int i = t->later.first[n]; i < t->later.first[n + 1]; i++)
        if (--t->waits[t->later.list[i]] == 0)
            heap_insert(t, t->later.list[i]);
}

/* The initial state: no value was read, and nodes without predecessors are ready. */
static void build_schedule(scheduler *t)
{
    quern__planner *m = t->m;
    for (int id = 1; id <= m->n_values; id++) {
        int64_t bytes = quern__planner_bytes(m, id);
        t->left[id] = m->uses[id];
        t->bytes[id] = bytes > 0 && bytes < INT64_MAX / 1024 ? bytes : 0;
    }
    for (int n = 0; n < m->n_nodes; n++) {
        m->done[n] = !node_runs(m, n);
        if (!m->done[n] && !t->waits[n])
            heap_insert(t, n);
    }
}

int quern__schedule_low_memory(quern__planner *m, quern_error *err)
{
    size_t values = (size_t)m->n_values + 2, nodes = (size_t)m->n_nodes + 2;
    scheduler t = { .m = m, .bytes = quern__zalloc(values + nodes, sizeof *t.bytes) };
    int32_t *room = quern__zalloc(values + 4 * nodes, sizeof *room);
    int placed = 0, wanted = 0, status = QUERN_OK;
    /* two allocations, divided into the arrays of the scheduler */
    if (room && t.bytes) {
        t.more = t.bytes + values;
        t.left = room;
        t.later.first = t.left + values;
        t.waits = t.later.first + nodes;
        t.seen = t.waits + nodes;
        t.ready = t.seen + nodes;
    }
    if (!room || !t.bytes || !find_order(&t))
        status = quern__fail_memory(err, values * sizeof *t.bytes);
    else
        build_schedule(&t);
    for (int n = 0; n < m->n_nodes; n++)
        wanted += node_runs(m, n);
    while (status >= 0 && t.n_ready) {
        int n = next_of(&t);
        m->p->entries[placed] = (quern__entry){ .node = quern__graph_node_at(m->g, n),
                                                .phase = placed,
                                                .barrier = placed > 0 };
        m->phase[n] = placed++;
        finish_node(&t, n);
    }
    if (status >= 0 && placed < wanted)
        status = quern__fail(err, QUERN_INTERNAL, "plan", "%d nodes wait for each other",
                             wanted - placed);
    m->p->n_entries = m->p->n_phases = placed;
    quern__free(t.later.list);
    quern__free(room);
    quern__free(t.bytes);
    return status;
}

/* ---- phases ---- */

/* By entry: bytes of live values into `live`, bytes of its outputs into `made`. Returns the peak.
 */
static int64_t count_living(const quern__planner *m, int64_t *live, int64_t *made)
{
    int64_t most = 0, now = 0;
    for (int id = 1; id <= m->n_values; id++) {
        int64_t bytes = quern__planner_bytes(m, id);
        if (bytes <= 0 || m->start[id] < 0)
            continue;
        live[m->start[id]] += bytes;
        made[m->start[id]] += bytes;
        if (m->end[id] < m->p->n_entries - 1)
            live[m->end[id] + 1] -= bytes;
    }
    for (int e = 0; e < m->p->n_entries; e++) {
        live[e] = now += live[e];
        most = now > most ? now : most;
    }
    return most;
}

int quern__planner_merge(quern__planner *m, quern_error *err)
{
    quern__plan *p = m->p;
    size_t n = (size_t)p->n_entries + 1;
    int64_t *live = quern__zalloc(2 * n, sizeof *live), within = 0;
    if (!live)
        return quern__fail_memory(err, 2 * n * sizeof *live);
    /* `within`: bytes live in the phase so far; values that die inside it count until its end */
    int64_t *made = live + n, most = count_living(m, live, made);
    int32_t phase = -1;
    for (int i = 0; i < m->n_nodes; i++)
        m->done[i] = !node_runs(m, i);
    for (int e = 0; e < p->n_entries; e++) {
        int node = quern__graph_value(m->g, p->entries[e].node->out[0])->node;
        /* a new phase: at the first entry, above the peak, or where the entry needs a barrier */
        bool apart =
            phase < 0 || within + made[e] > most || quern__planner_ready(m, node, phase) != 1;
        phase += apart;
        within = apart ? live[e] : within + made[e];
        p->entries[e].barrier = apart && phase > 0;
        p->entries[e].phase = m->phase[node] = phase;
        m->done[node] = true;
    }
    p->n_phases = phase + 1;
    quern__free(live);
    return QUERN_OK;
}
