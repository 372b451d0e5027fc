/* Makes the plan in passes: dead-node elimination, views, partitioning, scheduling, weight layout,
 * in-place ops, live ranges, arena layout, and the list of calls that a step executes.
 *
 * quern__planner (planner.h) holds the arrays that passes share; it exists only during planning.
 * Nodes and values are numbers, so most results are arrays indexed by node or value id.
 *
 * Two maps between values matter. `views` maps a view (reshape) to the value whose memory it shows.
 * `root` starts equal; an in-place op then also maps to the owner of its input's memory. Only a
 * root has an offset in the arena.
 *
 * The tensors of a call are consecutive: inputs first, then outputs. The loops over n_in + n_out
 * tensors of call.in rely on it. */
#include "planner.h"

#include "base/isa.h"

#include <string.h>

void quern__plan_mark(const quern__graph *g, const quern__id *outputs, int n_outputs, bool *live)
{
    /* inputs precede their users, so one walk from the end is enough */
    for (int n = quern__graph_nodes(g) - 1; n >= 0; n--) {
        const quern__node *node = quern__graph_node_at(g, n);
        for (int k = 0; k < n_outputs; k++)
            live[n] |= quern__graph_value(g, outputs[k])->node == n;
        live[n] |= node->op->updates > 0;
        for (int i = 0; live[n] && i < node->n_in; i++) {
            const quern__value *v = quern__graph_value(g, node->in[i]);
            if (v->kind == QUERN__VALUE_NODE)
                live[v->node] = true;
        }
        if (live[n] && node->gate)
            live[quern__graph_value(g, node->gate)->node] = true;
    }
}

/* Finds the owner of each value's memory: a view has that of its input. Partitions the nodes in
 * graph order. */
static void find_roots(quern__planner *m)
{
    quern__id *root = m->p->root;
    for (int id = 0; id <= m->n_values; id++)
        root[id] = id;
    for (int n = 0; n < m->n_nodes; n++) {
        const quern__node *node = quern__graph_node_at(m->g, n);
        if (node->op->view)
            root[node->out[0]] = root[node->in[0]];
        m->splits[node->out[0]] = (quern__partition){ -1, 0 };
        if (m->live[n] && !node->op->view) {
            quern__partition s = quern__plan_partition(m->g, node, m->p->capacity, root, m->splits);
            for (int k = 0; k < node->n_out; k++)
                m->splits[node->out[k]] = s;
            for (int i = 0; i < node->n_in; i++)
                m->uses[root[node->in[i]]]++;
            if (node->gate)
                m->uses[root[node->gate]]++;
        }
    }
    /* two more uses, so that no op takes over the memory of an output of the plan */
    for (int k = 0; k < m->n_outputs; k++)
        m->uses[root[m->outputs[k]]] += 2;
    memcpy(m->views, root, ((size_t)m->n_values + 1) * sizeof *root);
}

bool quern__lists_begin(quern__lists *l, int n)
{
    for (int i = 0; i < n; i++)
        l->first[i + 1] += l->first[i];
    l->list = quern__alloc(((size_t)l->first[n] + 1) * sizeof *l->list);
    return l->list != NULL;
}

void quern__lists_done(quern__lists *l, int n)
{
    memmove(l->first + 1, l->first, (size_t)n * sizeof *l->first);
    l->first[0] = 0;
}

/* Fills m->readers: pass 0 counts the readers of each value, pass 1 writes the lists. */
static int find_readers(quern__planner *m, quern_error *err)
{
    for (int pass = 0; pass < 2; pass++) {
        for (int n = 0; n < m->n_nodes; n++) {
            const quern__node *node = quern__graph_node_at(m->g, n);
            for (int i = 0; m->live[n] && !node->op->view && i < node->n_in; i++) {
                quern__id of = m->views[node->in[i]];
                if (pass == 0)
                    m->readers.first[of + 1]++;
                else
                    m->readers.list[m->readers.first[of]++] = n;
            }
        }
        if (pass == 0 && !quern__lists_begin(&m->readers, m->n_values + 1))
            return quern__fail_memory(err, (size_t)m->n_values * sizeof *m->readers.list);
    }
    quern__lists_done(&m->readers, m->n_values + 1);
    return QUERN_OK;
}

/* Whether each thread writes the part of output 0 that it read of input 0, or the input's producer
 * ran in an earlier phase. */
static bool lies_alike(const quern__planner *m, const quern__node *node, int phase, quern__id root)
{
    int axis = m->splits[node->out[0]].axis;
    quern_shape out = quern__planner_shape(m, node->out[0]), in = quern__planner_shape(m, root);
    if (quern__planner_own_part(m, node, 0, root))
        return true;
    return m->phase[quern__graph_value(m->g, m->views[node->in[0]])->node] < phase &&
           quern_shape_equal(&out, &in) &&
           quern__plan_access(m->g, node, axis, 0, m->p->capacity) == axis;
}

/* An op that may work in place takes over the memory of input 0 when no other node reads it. */
static void share_in_place(quern__planner *m)
{
    for (int e = 0; e < m->p->n_entries; e++) {
        const quern__node *node = m->p->entries[e].node;
        quern__id out = node->out[0], in = node->n_in ? m->p->root[node->in[0]] : 0;
        size_t a, b;
        quern_shape so = quern__planner_shape(m, out), si = quern__planner_shape(m, in);
        if (!in || !node->op->in_place || !quern__planner_in_arena(m, in) || m->uses[in] != 1 ||
            !quern__shape_bytes(&so, quern__graph_value(m->g, out)->dtype, &a) ||
            !quern__shape_bytes(&si, quern__graph_value(m->g, in)->dtype, &b) || a != b ||
            !lies_alike(m, node, m->p->entries[e].phase, in))
            continue;
        for (int id = out; id <= m->n_values; id++) /* the value and its views */
            if (m->p->root[id] == out)
                m->p->root[id] = in;
        m->uses[in] = m->uses[out];
    }
}

/* The live range of each root value, in phases. It covers the whole phase of the first write and of
 * the last read, because threads run a phase at different speeds. */
static void lifetimes(quern__planner *m)
{
    for (int id = 0; id <= m->n_values; id++)
        m->start[id] = m->end[id] = -1;
    for (int e = 0; e < m->p->n_entries; e++) {
        const quern__node *node = m->p->entries[e].node;
        int phase = m->p->entries[e].phase;
        for (int k = 0; k < node->n_in + node->n_out; k++) {
            quern__id r = m->p->root[k < node->n_in ? node->in[k] : node->out[k - node->n_in]];
            if (m->start[r] < 0)
                m->start[r] = phase;
            if (m->end[r] < phase)
                m->end[r] = phase;
        }
        if (node->gate && m->end[m->p->root[node->gate]] < phase)
            m->end[m->p->root[node->gate]] = phase;
    }
    for (int k = 0; k < m->n_outputs; k++)
        m->end[m->p->root[m->outputs[k]]] = INT32_MAX;
}

/* Gradients: the inputs of an update that have the shape of its variable. */
static void mark_gradients(const quern__planner *m, bool *gradient)
{
    for (int e = 0; e < m->p->n_entries; e++) {
        const quern__node *node = m->p->entries[e].node;
        for (int i = 1; node->op->updates > 0 && i < node->n_in; i++)
            gradient[m->p->root[node->in[i]]] |= quern_shape_equal(
                quern__shape_of(m->g, node->in[i]), quern__shape_of(m->g, node->in[0]));
    }
}

/* The live ranges of the root values in the arena. */
static int gather_ranges(const quern__planner *m, quern__live_range *ranges, quern_error *err)
{
    int n = 0;
    for (int id = 1; id <= m->n_values; id++) {
        if (m->start[id] < 0 || !quern__planner_in_arena(m, id))
            continue;
        int64_t bytes = quern__planner_bytes(m, id);
        if (bytes < 0)
            return quern__fail(err, QUERN_SHAPE, "plan", "a value of the model is too large");
        int32_t last = m->end[id] < m->p->n_phases ? m->end[id] : m->p->n_phases - 1;
        ranges[n++] = (quern__live_range){
            .id = id, .start = m->start[id], .end = last, .bytes = (size_t)bytes
        };
    }
    return n;
}

/* Bytes of gradients in the fullest phase. */
static void count_gradients(quern__plan *p, const quern__live_range *ranges, int n,
                            const bool *gradient)
{
    int most = 0;
    for (int i = 1; i < p->n_phases; i++)
        most = p->live[i] > p->live[most] ? i : most;
    for (int k = 0; k < n; k++)
        if (gradient[ranges[k].id] && ranges[k].start <= most && most <= ranges[k].end)
            p->gradient_bytes += ranges[k].bytes;
}

/* Runs the arena layout and stores its results in the plan. */
static int place_values(quern__planner *m, quern_error *err)
{
    quern__plan *p = m->p;
    quern__live_range *ranges = quern__alloc(((size_t)m->n_values + 1) * sizeof *ranges);
    bool *gradient = quern__zalloc((size_t)m->n_values + 1, sizeof *gradient);
    p->live = quern__zalloc((size_t)p->n_phases + 1, sizeof *p->live);
    int n = ranges && gradient && p->live
                ? gather_ranges(m, ranges, err)
                : quern__fail_memory(err, (size_t)m->n_values * sizeof *ranges);
    quern__arena done = { 0 };
    int status = n < 0 ? n : quern__plan_arena_layout(ranges, n, p->n_phases, p->live, &done, err);
    if (status >= 0) {
        for (int k = 0; k < n; k++)
            p->offset[ranges[k].id] = ranges[k].offset;
        p->arena_bytes = done.height;
        p->lower_bound_bytes = done.bound;
        mark_gradients(m, gradient);
        count_gradients(p, ranges, n, gradient);
    }
    quern__free(ranges);
    quern__free(gradient);
    return status;
}

/* The calls that a step executes: tensors, kernel, block size and gate of each entry. */
static int make_calls(quern__planner *m, quern_error *err)
{
    quern__plan *p = m->p;
    size_t count = 0;
    for (int e = 0; e < p->n_entries; e++)
        count += (size_t)(p->entries[e].node->n_in + p->entries[e].node->n_out);
    p->tensors = quern__zalloc(count + 1, sizeof *p->tensors);
    if (!p->tensors)
        return quern__fail_memory(err, count * sizeof *p->tensors);
    /* the call of each entry: shapes for a full batch; quern__plan_bind sets the addresses */
    quern_tensor *t = p->tensors;
    for (int e = 0; e < p->n_entries; e++) {
        quern__entry *entry = &p->entries[e];
        const quern__node *node = entry->node;
        quern__partition s = m->splits[node->out[0]];
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
            entry->call.in[k].shape = quern__planner_shape(m, id);
            if (p->panels[id]) {
                entry->call.panel = p->panels[id];
                entry->call.panelled |= 1u << (k < node->n_in ? k : 16 + k - node->n_in);
            }
        }
        /* the fastest kernel that accepts the call, and what it costs */
        entry->kernel = quern__kernel_for(&entry->call, &entry->kernel_name);
        p->seconds +=
            quern__plan_seconds(m->g, quern__graph_value(m->g, node->out[0])->node, p->capacity);
        size_t stack = quern__kernel_stack(&entry->call);
        p->stack_bytes = stack > p->stack_bytes ? stack : p->stack_bytes;
    }
    /* constants are stored in their dtype, where quern__plan_address finds them */
    for (int id = 1; id <= m->n_values; id++) {
        const quern__value *v = quern__graph_value(m->g, id);
        quern_tensor number = { .dtype = v->dtype, .data = &p->constants[id] };
        if (v->kind == QUERN__VALUE_CONSTANT)
            quern__set(&number, 0, v->constant);
    }
    return QUERN_OK;
}

/* The thread that calls the library executes kernels too. */
static int check_stack(const quern__plan *p, quern_error *err)
{
    enum { of_callers = 64 << 10 };
    size_t left = quern__stack_left(), needed = p->stack_bytes + of_callers;
    if (left >= needed)
        return QUERN_OK;
    int status = quern__fail(err, QUERN_UNSUPPORTED, "stack",
                             "this thread has %zu bytes left, the kernels need %zu", left, needed);
    quern__hint(err, "call from a thread with a larger stack (pthread_attr_setstacksize), or raise "
                     "the limit (ulimit -s)");
    return status;
}

static int run_passes(quern__planner *m, quern_error *err)
{
    int status = quern__isa(
        err); /* an unknown instruction set is reported here, before kernels are chosen */
    if (status < 0)
        return status;
    /* what runs, in which blocks, who reads it, and in which order */
    quern__plan_mark(m->g, m->outputs, m->n_outputs, m->live);
    find_roots(m);
    status = find_readers(m, err);
    if (status >= 0)
        status = m->low_memory ? quern__schedule_low_memory(m, err) : quern__schedule_fast(m, err);
    if (status < 0)
        return status;
    status =
        quern__plan_weight_layout(m->g, m->live, m->outputs, m->n_outputs, m->splits, m->p, err);
    if (status < 0)
        return status;
    /* where values are stored */
    share_in_place(m);
    lifetimes(m);
    /* merged phases make live ranges longer: compute them once more */
    if (m->low_memory) {
        status = quern__planner_merge(m, err);
        lifetimes(m);
    }
    if (status >= 0)
        status = place_values(m, err);
    if (status >= 0)
        status = make_calls(m, err);
    return status < 0 ? status : check_stack(m->p, err);
}

quern__plan *quern__plan_new_with(const quern__graph *g, const quern__id *outputs, int n_outputs,
                                  int64_t capacity, bool low_memory, quern_error *err)
{
    int values = quern__graph_values(g), nodes = quern__graph_nodes(g);
    size_t v = (size_t)values + 1, n = (size_t)nodes + 1;
    quern__plan *p = quern__zalloc(1, sizeof *p);
    quern__planner m = { .g = g,
                         .p = p,
                         .outputs = outputs,
                         .n_outputs = n_outputs,
                         .n_values = values,
                         .n_nodes = nodes,
                         .low_memory = low_memory };
    m.splits = quern__alloc(v * sizeof *m.splits);
    m.views = quern__alloc(v * sizeof *m.views);
    m.readers.first = quern__zalloc(v + 1, sizeof *m.readers.first);
    m.live = quern__zalloc(2 * n, sizeof *m.live);
    m.phase = quern__zalloc(n, sizeof *m.phase);
    m.start = quern__zalloc(3 * v, sizeof *m.start);
    bool ok = p && m.splits && m.views && m.readers.first && m.live && m.phase && m.start;
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
        /* these arrays share an allocation with the one before them */
        m.done = m.live + n;
        m.end = m.start + v;
        m.uses = m.end + v;
        for (size_t i = 0; i < v; i++) {
            p->offset[i] = -1;
            m.splits[i] = (quern__partition){ -1, 0 };
        }
        status = run_passes(&m, err);
    }
    quern__free(m.splits);
    quern__free(m.views);
    quern__free(m.readers.first);
    quern__free(m.readers.list);
    quern__free(m.live);
    quern__free(m.phase);
    quern__free(m.start);
    if (status < 0) {
        quern__plan_free(p);
        return NULL;
    }
    return p;
}

quern__plan *quern__plan_new(const quern__graph *g, const quern__id *outputs, int n_outputs,
                             int64_t capacity, quern_error *err)
{
    return quern__plan_new_with(g, outputs, n_outputs, capacity, false, err);
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
    quern__free(p->live);
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
            p->entries[e].call.in[k].shape =
                quern__shape_close(*quern__shape_of(p->graph, id), records);
        }
    }
}

void *quern__plan_address(const quern__plan *p, quern__id id, void *arena, void *const *arrays)
{
    quern__id r = p->root[id];
    const quern__value *v = quern__graph_value(p->graph, r);
    if (v->variable)
        return p->panels[r] ? quern__variable_panels(v->variable)
                            : quern__variable_numbers(v->variable);
    if (v->kind == QUERN__VALUE_CONSTANT)
        return &p->constants[r];
    if (v->kind == QUERN__VALUE_BATCH)
        return arrays[v->slot];
    return (char *)arena + p->offset[r];
}

void quern__plan_bind(quern__plan *p, void *arena, void *const *arrays)
{
    /* a step writes these variables in the layout of the plan */
    for (int e = 0; e < p->n_entries; e++) {
        const quern__node *node = p->entries[e].node;
        for (int k = 0; k < node->n_in + node->n_out; k++)
            p->entries[e].call.in[k].data = quern__plan_address(
                p, k < node->n_in ? node->in[k] : node->out[k - node->n_in], arena, arrays);
        if (node->gate)
            p->entries[e].gate.data = quern__plan_address(p, node->gate, arena, arrays);
    }
    for (int e = 0; e < p->n_entries; e++)
        for (int k = 0; k < p->entries[e].call.n_out; k++) {
            quern__variable *v = quern__graph_value(p->graph, p->entries[e].node->out[k])->variable;
            if (v)
                v->panels_newer = v->panels && p->panels[p->entries[e].node->out[k]];
        }
}
