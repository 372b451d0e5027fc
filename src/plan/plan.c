/* Makes the plan: live nodes, views, division, order in phases, lifetimes, places. */
#include "plan.h"

#include <string.h>

typedef struct making {
    const quern__graph *g;
    quern__plan *p;
    const quern__id *outputs;
    int n_outputs, n_values, n_nodes;
    quern__split *splits;        /* by root value                                              */
    bool *live, *done;           /* by node                                                    */
    int32_t *phase;              /* by node                                                    */
    int32_t *born, *dies, *uses; /* by root value: phases, and how many inputs read it         */
} making;

/* Nodes that an output or a variable's update needs. */
static void mark_live(making *m)
{
    for (int n = m->n_nodes - 1; n >= 0; n--) {
        const quern__node *node = quern__graph_node_at(m->g, n);
        for (int k = 0; k < m->n_outputs; k++)
            m->live[n] |= quern__graph_value(m->g, m->outputs[k])->node == n;
        m->live[n] |= node->op->updates > 0;
        for (int i = 0; m->live[n] && i < node->n_in; i++) {
            const quern__value *v = quern__graph_value(m->g, node->in[i]);
            if (v->kind == QUERN__VALUE_NODE)
                m->live[v->node] = true;
        }
        if (m->live[n] && node->gate)
            m->live[quern__graph_value(m->g, node->gate)->node] = true;
    }
}

/* Views share memory with what they view; new contents lie in their variable. */
static void find_roots(making *m)
{
    quern__id *root = m->p->root;
    for (int id = 0; id <= m->n_values; id++)
        root[id] = id;
    for (int n = 0; n < m->n_nodes; n++) {
        const quern__node *node = quern__graph_node_at(m->g, n);
        if (node->op->view)
            root[node->out[0]] = root[node->in[0]];
        m->splits[node->out[0]] = (quern__split){ -1, 0 };
        if (m->live[n] && !node->op->view) {
            quern__split s = quern__plan_divide(m->g, node, m->p->capacity, root, m->splits);
            for (int k = 0; k < node->n_out; k++)
                m->splits[node->out[k]] = s;
            for (int i = 0; i < node->n_in; i++)
                m->uses[root[node->in[i]]]++;
            if (node->gate)
                m->uses[root[node->gate]]++;
        }
    }
    for (int k = 0; k < m->n_outputs; k++)
        m->uses[root[m->outputs[k]]] += 2;
}

static quern_shape closed(const making *m, quern__id id) { return quern__shape_close(*quern__shape_of(m->g, id), m->p->capacity); }

/* Whether a node may run in the present phase beside one that wrote root value `r` in that phase (through input i). */
static bool reads_own_part(const making *m, const quern__node *node, int i, quern__id r)
{
    quern__split own = m->splits[node->out[0]];
    quern__split read = { quern__plan_access(m->g, node, own.axis, i, m->p->capacity), own.grain };
    if (own.axis >= 0 && read.axis < 0)
        return false;
    quern_shape from = closed(m, r), to = closed(m, node->in[i]);
    return quern__plan_aligned(&from, m->splits[r], &to, read);
}

/* 1: may run now; 0: after a barrier; -1: what it needs is not there yet. */
static int ready(const making *m, int n, int phase)
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
        if (m->phase[v->node] == phase && !reads_own_part(m, node, i, r))
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
                if (m->phase[k] == phase && !reads_own_part(m, reader, i, written))
                    state = 0;
            }
        }
    return state;
}

/* Puts the nodes in order: all that can run without waiting, then a barrier, and so on. */
static int order(making *m, quern_error *err)
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

static bool in_slab(const making *m, quern__id id)
{
    const quern__value *v = quern__graph_value(m->g, id);
    return v->kind == QUERN__VALUE_NODE && !v->variable;
}

/* An op that may work in place takes over its input's memory when nobody else reads it. */
static void share_in_place(making *m)
{
    for (int e = 0; e < m->p->n_entries; e++) {
        const quern__node *node = m->p->entries[e].node;
        quern__id out = node->out[0], in = node->n_in ? m->p->root[node->in[0]] : 0;
        size_t a, b;
        quern_shape so = closed(m, out), si = closed(m, in);
        if (!in || !node->op->in_place || !in_slab(m, in) || m->uses[in] != 1 ||
            !quern__shape_bytes(&so, quern__graph_value(m->g, out)->dtype, &a) ||
            !quern__shape_bytes(&si, quern__graph_value(m->g, in)->dtype, &b) || a != b || !reads_own_part(m, node, 0, in))
            continue;
        for (int id = 1; id <= m->n_values; id++)
            if (m->p->root[id] == out)
                m->p->root[id] = in;
        m->uses[in] = m->uses[out];
    }
}

static void lifetimes(making *m)
{
    for (int e = 0; e < m->p->n_entries; e++) {
        const quern__node *node = m->p->entries[e].node;
        int phase = m->p->entries[e].phase;
        for (int k = 0; k < node->n_in + node->n_out; k++) {
            quern__id r = m->p->root[k < node->n_in ? node->in[k] : node->out[k - node->n_in]];
            if (m->born[r] < 0)
                m->born[r] = phase;
            if (m->dies[r] < phase)
                m->dies[r] = phase;
        }
        if (node->gate && m->dies[m->p->root[node->gate]] < phase)
            m->dies[m->p->root[node->gate]] = phase;
    }
    for (int k = 0; k < m->n_outputs; k++)
        m->dies[m->p->root[m->outputs[k]]] = INT32_MAX;
}

/* The largest value first, each at the lowest place where nobody lives at the same time. */
static int place(making *m, quern_error *err)
{
    quern__plan *p = m->p;
    size_t *bytes = quern__zalloc((size_t)m->n_values + 1, sizeof *bytes);
    if (!bytes)
        return quern__fail_memory(err, (size_t)m->n_values * sizeof *bytes);
    for (;;) {
        quern__id next = 0;
        for (int id = 1; id <= m->n_values; id++)
            if (p->root[id] == id && p->offset[id] < 0 && m->born[id] >= 0 && in_slab(m, id)) {
                quern_shape s = closed(m, id);
                if (!quern__shape_bytes(&s, quern__graph_value(m->g, id)->dtype, &bytes[id]) || bytes[id] > SIZE_MAX / 4) {
                    quern__free(bytes);
                    return quern__fail(err, QUERN_SHAPE, "plan", "a value of the model is too large");
                }
                bytes[id] = (bytes[id] + 63) & ~(size_t)63;
                if (!next || bytes[id] > bytes[next])
                    next = id;
            }
        if (!next)
            break;
        size_t at = 0;
        for (bool moved = true; moved;) {
            moved = false;
            for (int id = 1; id <= m->n_values; id++)
                if (p->offset[id] >= 0 && p->root[id] == id && m->born[id] <= m->dies[next] && m->born[next] <= m->dies[id] &&
                    at < (size_t)p->offset[id] + bytes[id] && (size_t)p->offset[id] < at + bytes[next]) {
                    at = (size_t)p->offset[id] + bytes[id];
                    moved = true;
                }
        }
        p->offset[next] = (int64_t)at;
        if (at + bytes[next] > p->slab_bytes)
            p->slab_bytes = at + bytes[next];
        if (bytes[next] > p->largest_bytes)
            p->largest_bytes = bytes[next];
    }
    quern__free(bytes);
    return QUERN_OK;
}

/* The calls: tensors, kernels. */
static int make_calls(making *m, quern_error *err)
{
    quern__plan *p = m->p;
    size_t count = 0;
    for (int e = 0; e < p->n_entries; e++)
        count += (size_t)(p->entries[e].node->n_in + p->entries[e].node->n_out);
    p->tensors = quern__zalloc(count + 1, sizeof *p->tensors);
    if (!p->tensors)
        return quern__fail_memory(err, count * sizeof *p->tensors);
    quern_tensor *t = p->tensors;
    for (int e = 0; e < p->n_entries; e++) {
        quern__entry *entry = &p->entries[e];
        const quern__node *node = entry->node;
        quern__split s = m->splits[node->out[0]];
        entry->grain = s.grain;
        entry->call = (quern__call){ .op = node->op,
                                     .attr = &node->attr,
                                     .n_in = node->n_in,
                                     .n_out = node->n_out,
                                     .in = t,
                                     .out = t + node->n_in,
                                     .axis = s.axis,
                                     .order = e,
                                     .scope = node->scope };
        t += node->n_in + node->n_out;
        if (node->gate)
            entry->gate = (quern_tensor){ .dtype = quern__graph_value(m->g, node->gate)->dtype };
        for (int k = 0; k < node->n_in + node->n_out; k++) {
            quern__id id = k < node->n_in ? node->in[k] : node->out[k - node->n_in];
            entry->call.in[k].dtype = quern__graph_value(m->g, id)->dtype;
            entry->call.in[k].shape = closed(m, id);
            if (p->panels[id]) {
                entry->call.panel = p->panels[id];
                entry->call.panelled |= 1u << (k < node->n_in ? k : 16 + k - node->n_in);
            }
        }
        entry->kernel = quern__kernel_for(&entry->call, &entry->kernel_name);
    }
    for (int id = 1; id <= m->n_values; id++) {
        const quern__value *v = quern__graph_value(m->g, id);
        quern_tensor number = { .dtype = v->dtype, .data = &p->constants[id] };
        if (v->kind == QUERN__VALUE_CONSTANT)
            quern__set(&number, 0, v->constant);
    }
    return QUERN_OK;
}

static int make(making *m, quern_error *err)
{
    mark_live(m);
    find_roots(m);
    int status = order(m, err);
    if (status < 0)
        return status;
    status = quern__plan_panels(m->g, m->live, m->outputs, m->n_outputs, m->splits, m->p, err);
    if (status < 0)
        return status;
    share_in_place(m);
    lifetimes(m);
    status = place(m, err);
    return status < 0 ? status : make_calls(m, err);
}

quern__plan *quern__plan_new(const quern__graph *g, const quern__id *outputs, int n_outputs, int64_t capacity, quern_error *err)
{
    int values = quern__graph_values(g), nodes = quern__graph_nodes(g);
    size_t v = (size_t)values + 1, n = (size_t)nodes + 1;
    quern__plan *p = quern__zalloc(1, sizeof *p);
    making m = { .g = g, .p = p, .outputs = outputs, .n_outputs = n_outputs, .n_values = values, .n_nodes = nodes };
    m.splits = quern__alloc(v * sizeof *m.splits);
    m.live = quern__zalloc(2 * n, sizeof *m.live);
    m.phase = quern__zalloc(n, sizeof *m.phase);
    m.born = quern__zalloc(3 * v, sizeof *m.born);
    bool ok = p && m.splits && m.live && m.phase && m.born;
    if (ok) {
        *p = (quern__plan){ .graph = g, .capacity = capacity, .batch = capacity };
        p->entries = quern__zalloc(n, sizeof *p->entries);
        p->offset = quern__alloc(v * sizeof *p->offset);
        p->root = quern__alloc(v * sizeof *p->root);
        p->constants = quern__zalloc(v, sizeof *p->constants);
        p->panels = quern__zalloc(v, sizeof *p->panels);
        ok = p->entries && p->offset && p->root && p->constants && p->panels;
    }
    int status = ok ? QUERN_OK : quern__fail_memory(err, v * 64);
    if (ok) {
        m.done = m.live + n;
        m.dies = m.born + v;
        m.uses = m.dies + v;
        for (size_t i = 0; i < v; i++) {
            m.born[i] = m.dies[i] = -1;
            p->offset[i] = -1;
            m.splits[i] = (quern__split){ -1, 0 };
        }
        status = make(&m, err);
    }
    quern__free(m.splits);
    quern__free(m.live);
    quern__free(m.phase);
    quern__free(m.born);
    if (status < 0) {
        quern__plan_free(p);
        return NULL;
    }
    return p;
}

void quern__plan_free(quern__plan *p)
{
    if (!p)
        return;
    quern__free(p->entries);
    quern__free(p->offset);
    quern__free(p->root);
    quern__free(p->constants);
    quern__free(p->panels);
    quern__free(p->tensors);
    quern__free(p);
}

void quern__plan_batch(quern__plan *p, int64_t records)
{
    if (p->batch == records)
        return;
    p->batch = records;
    for (int e = 0; e < p->n_entries; e++) {
        const quern__node *node = p->entries[e].node;
        for (int k = 0; k < node->n_in + node->n_out; k++) {
            quern__id id = k < node->n_in ? node->in[k] : node->out[k - node->n_in];
            p->entries[e].call.in[k].shape = quern__shape_close(*quern__shape_of(p->graph, id), records);
        }
    }
}

void *quern__plan_address(const quern__plan *p, quern__id id, void *slab, void *const *arrays)
{
    quern__id r = p->root[id];
    const quern__value *v = quern__graph_value(p->graph, r);
    if (v->variable)
        return p->panels[r] ? quern__variable_panels(v->variable) : quern__variable_numbers(v->variable);
    if (v->kind == QUERN__VALUE_CONSTANT)
        return &p->constants[r];
    if (v->kind == QUERN__VALUE_BATCH)
        return arrays[v->slot];
    return (char *)slab + p->offset[r];
}

void quern__plan_bind(quern__plan *p, void *slab, void *const *arrays)
{
    for (int e = 0; e < p->n_entries; e++) {
        const quern__node *node = p->entries[e].node;
        for (int k = 0; k < node->n_in + node->n_out; k++)
            p->entries[e].call.in[k].data =
                quern__plan_address(p, k < node->n_in ? node->in[k] : node->out[k - node->n_in], slab, arrays);
        if (node->gate)
            p->entries[e].gate.data = quern__plan_address(p, node->gate, slab, arrays);
    }
    for (int e = 0; e < p->n_entries; e++)
        for (int k = 0; k < p->entries[e].call.n_out; k++) {
            quern__variable *v = quern__graph_value(p->graph, p->entries[e].node->out[k])->variable;
            if (v)
                v->panels_newer = v->panels && p->panels[p->entries[e].node->out[k]];
        }
}
