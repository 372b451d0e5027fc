/* The forward pass of a training graph as a chain of stages. Cuts are at local minima of the bytes
 * that cross them: articulation points of the graph or nodes near them. A value that bypasses a
 * stage (a skip connection) counts for every cut that it crosses.
 *
 * The passes, in order: find_forward (what may run again), read_values (size and readers of each
 * value), find_across and cut_stages (the stages), then the weights of the stages. weigh_values
 * computes the bytes of results, peak_live_bytes the peaks, weigh_gradients the gradients.
 * recompute_dp.c uses these weights only.
 *
 * The order of nodes is that of the graph, so the peaks are estimates. "Cheap" or "slight" nodes
 * have no `work` in their op row: they are bound by memory. */
#include "recompute.h"

#include <string.h>

/* The root values while the chain is made. */
typedef struct looking {
    quern__chain *c;
    int n_values;
    int64_t *bytes;        /* 0: the value is elsewhere, or is always kept */
    int32_t *start, *last; /* the node that makes it; its last reader in the forward pass */
    bool *back;            /* the backward pass reads it */
} looking;

/* Whether the node computes something that the plan needs. */
static bool node_runs(const quern__chain *c, int n)
{
    return c->live[n] && !quern__graph_node_at(c->g, n)->op->view;
}
/* Whether the node is recomputable and cheap. */
static bool is_cheap(const quern__chain *c, int n)
{
    return c->again[n] && !quern__graph_node_at(c->g, n)->op->work;
}

/* Finds the end of the forward pass and its recomputable nodes: these write no variable, read none
 * that the pass writes, and have no gate. */
static bool find_forward(quern__chain *c)
{
    bool *changed = quern__zalloc((size_t)quern__graph_values(c->g) + 1, sizeof *changed);
    if (!changed)
        return false;
    /* the first node with a forward node begins the backward pass */
    while (c->n_forward < c->n_nodes && quern__graph_node_at(c->g, c->n_forward)->of < 0)
        c->n_forward++;
    c->n_forward = c->n_forward == c->n_nodes ? 0 : c->n_forward;
    /* variables that the forward pass writes, such as moving averages */
    for (int n = 0; n < c->n_forward; n++) {
        const quern__node *node = quern__graph_node_at(c->g, n);
        for (int u = 0; c->live[n] && u < node->op->updates; u++)
            changed[c->root[node->in[u]]] = true;
    }
    for (int n = 0; n < c->n_forward; n++) {
        const quern__node *node = quern__graph_node_at(c->g, n);
        c->again[n] = c->live[n] && !node->gate && !node->op->updates;
        for (int i = 0; i < node->n_in; i++)
            c->again[n] = c->again[n] && !changed[c->root[node->in[i]]];
    }
    quern__free(changed);
    return true;
}

/* By root value: its bytes, the node that makes it, its last reader, and whether the backward pass
 * reads it. Variables and values of nodes that run once have 0 bytes: they are not chosen. */
static void read_values(looking *l)
{
    quern__chain *c = l->c;
    for (int n = 0; n < c->n_nodes; n++) {
        const quern__node *node = quern__graph_node_at(c->g, n);
        for (int k = 0; c->live[n] && n < c->n_forward && !node->op->view && k < node->n_out; k++) {
            quern_shape s = quern__shape_close(*quern__shape_of(c->g, node->out[k]), c->capacity);
            const quern__value *v = quern__graph_value(c->g, node->out[k]);
            size_t bytes = 0;
            if (c->again[n] && !v->variable && quern__shape_bytes(&s, v->dtype, &bytes) &&
                bytes < INT64_MAX >> 16)
                l->bytes[node->out[k]] = (int64_t)bytes;
            l->start[node->out[k]] = l->last[node->out[k]] = n;
        }
        for (int i = 0; node_runs(c, n) && i < node->n_in; i++) {
            quern__id r = c->root[node->in[i]];
            if (n < c->n_forward)
                l->last[r] = n;
            else
                l->back[r] = true;
        }
    }
}

/* By node: bytes of values that cross the cut before it. */
static void find_across(const looking *l, int64_t *across)
{
    for (int id = 1; id <= l->n_values; id++)
        if (l->bytes[id] && l->last[id] > l->start[id]) {
            across[l->start[id] + 1] += l->bytes[id];
            across[l->last[id] + 1] -= l->bytes[id];
        }
    for (int n = 1; n <= l->c->n_forward; n++)
        across[n] += across[n - 1];
}

/* Cuts at local minima; of many, the smallest in each of QUERN__STAGES equal parts of the estimated
 * time. */
static void cut_stages(quern__chain *c, const int64_t *across)
{
    double all = 0, now = 0;
    int before = -1, best[QUERN__STAGES], n_cuts = 0;
    memset(best, -1, sizeof best);
    for (int n = 0; n < c->n_forward; n++)
        all += node_runs(c, n) ? quern__plan_seconds(c->g, n, c->capacity) : 0;
    /* the best local minimum in each part of the time; `before` and `next` are its neighbours */
    for (int n = 0; n < c->n_forward; n++) {
        if (!node_runs(c, n))
            continue;
        int next = n + 1, part = (int)(now / all * QUERN__STAGES);
        while (next < c->n_forward && !node_runs(c, next))
            next++;
        part = part < QUERN__STAGES ? part : QUERN__STAGES - 1;
        bool low = before >= 0 && next < c->n_forward && across[n] <= across[before] &&
                   across[n] <= across[next];
        if (low && (best[part] < 0 || across[n] < across[best[part]]))
            best[part] = n;
        now += quern__plan_seconds(c->g, n, c->capacity);
        before = n;
    }
    /* stages from cut to cut; the last stage ends with the forward pass */
    for (int part = 0, first = 0; part < QUERN__STAGES && c->n < QUERN__STAGES; part++) {
        n_cuts += best[part] > 0;
        if (best[part] > 0 && c->n < QUERN__STAGES - 1) {
            c->stages[c->n++] = (quern__stage){ .first = first, .end = best[part] };
            first = best[part];
        }
        if (part == QUERN__STAGES - 1)
            c->stages[c->n++] = (quern__stage){ .first = first, .end = c->n_forward };
    }
    c->n = n_cuts ? c->n : 0;
    for (int s = 0; s < c->n; s++)
        for (int n = c->stages[s].first; n < c->stages[s].end; n++)
            c->stage[n] = s;
    /* a node of the backward pass belongs to the stage of its forward node */
    for (int n = c->n_forward; n < c->n_nodes; n++) {
        int of = quern__graph_node_at(c->g, n)->of;
        c->stage[n] = of >= 0 && c->n ? c->stage[of] : -1;
    }
}

/* Whether a cheap node reads the value in the stage that makes it. */
static bool read_slightly(const quern__chain *c, const quern__stage *s, quern__id id)
{
    for (int n = s->first; n < s->end; n++) {
        const quern__node *node = quern__graph_node_at(c->g, n);
        for (int i = 0; is_cheap(c, n) && !node->op->view && i < node->n_in; i++)
            if (c->root[node->in[i]] == id)
                return true;
    }
    return false;
}

/* Adds the bytes of each value to its stage and to the cuts that it crosses. */
static void weigh_values(looking *l)
{
    quern__chain *c = l->c;
    for (int id = 1; id <= l->n_values; id++) {
        if (!l->bytes[id])
            continue;
        int own = c->stage[l->start[id]], upto = c->stage[l->last[id]];
        quern__stage *s = &c->stages[own];
        bool later = upto > own;
        s->kept += later || l->back[id] ? l->bytes[id] : 0;
        if (later || (!is_cheap(c, l->start[id]) && (l->back[id] || read_slightly(c, s, id))))
            s->light += l->bytes[id];
        for (int j = own + 1; j <= upto; j++)
            for (int i = 0; i <= own; i++)
                c->across[i][j] += l->bytes[id];
    }
}

/* The peak of a stage's own results while it runs. `keeping`: what the backward pass reads stays
 * live. */
static int64_t peak_live_bytes(const looking *l, const quern__stage *s, bool keeping)
{
    int64_t now = 0, most = 0;
    for (int n = s->first; n < s->end; n++) {
        const quern__node *node = quern__graph_node_at(l->c->g, n);
        for (int k = 0; node_runs(l->c, n) && k < node->n_out; k++)
            now += l->bytes[node->out[k]];
        most = now > most ? now : most;
        for (int i = 0; node_runs(l->c, n) && i < node->n_in + node->n_out; i++) {
            quern__id r = l->c->root[i < node->n_in ? node->in[i] : node->out[i - node->n_in]];
            bool again = false;
            for (int k = 0; k < i; k++)
                again = again ||
                        l->c->root[k < node->n_in ? node->in[k] : node->out[k - node->n_in]] == r;
            if (!again && l->last[r] == n && l->start[r] >= s->first && !(keeping && l->back[r]))
                now -= l->bytes[r];
        }
    }
    return most;
}

/* The peak of gradients in the backward pass of each stage. A gradient is free after its optimizer
 * update. */
static bool weigh_gradients(looking *l)
{
    quern__chain *c = l->c;
    int32_t *left = quern__zalloc((size_t)l->n_values + 1, sizeof *left);
    int64_t now = 0;
    if (!left)
        return false;
    for (int n = c->n_forward; n < c->n_nodes; n++)
        for (int i = 0;
             node_runs(c, n) && c->stage[n] >= 0 && i < quern__graph_node_at(c->g, n)->n_in; i++)
            left[c->root[quern__graph_node_at(c->g, n)->in[i]]]++;
    for (int n = c->n_forward; n < c->n_nodes; n++) {
        const quern__node *node = quern__graph_node_at(c->g, n);
        int64_t gone = 0;
        if (!node_runs(c, n) || c->stage[n] < 0)
            continue;
        /* `gone`: outputs that no node reads, and inputs that this node reads last */
        for (int k = 0; k < node->n_out + node->n_in; k++) {
            quern__id id = k < node->n_out ? node->out[k] : c->root[node->in[k - node->n_out]];
            quern_shape s = quern__shape_close(*quern__shape_of(c->g, id), c->capacity);
            const quern__value *v = quern__graph_value(c->g, id);
            size_t bytes = 0;
            if (v->kind != QUERN__VALUE_NODE || v->node < c->n_forward ||
                !quern__shape_bytes(&s, v->dtype, &bytes))
                continue;
            if (k < node->n_out)
                now += (int64_t)bytes;
            else
                left[id]--;
            if (!left[id])
                gone += (int64_t)bytes;
        }
        quern__stage *s = &c->stages[c->stage[n]];
        s->back = now > s->back ? now : s->back;
        now -= gone;
    }
    quern__free(left);
    return true;
}

/* Finds the stages and their weights. `across` has one zero per node. Returns false without
 * memory. */
static bool find_stages(looking *l, int64_t *across)
{
    quern__chain *c = l->c;
    if (!find_forward(c))
        return false;
    read_values(l);
    find_across(l, across);
    if (c->n_forward)
        cut_stages(c, across);
    if (!c->n)
        return true;
    weigh_values(l);
    for (int i = 0; i < c->n; i++) {
        quern__stage *s = &c->stages[i];
        s->passing = peak_live_bytes(l, s, false);
        s->keeping = peak_live_bytes(l, s, true);
        for (int n = s->first; n < s->end; n++) {
            double seconds =
                node_runs(c, n) && c->again[n] ? quern__plan_seconds(c->g, n, c->capacity) : 0;
            s->seconds += seconds;
            s->slight += is_cheap(c, n) ? seconds : 0;
        }
    }
    return weigh_gradients(l);
}

quern__chain *quern__chain_new(const quern__graph *g, const quern__id *outputs, int n_outputs,
                               int64_t capacity, quern_error *err)
{
    int values = quern__graph_values(g), nodes = quern__graph_nodes(g);
    size_t v = (size_t)values + 1, n = (size_t)nodes + 2;
    quern__chain *c = quern__zalloc(1, sizeof *c);
    looking l = { .c = c, .n_values = values, .bytes = quern__zalloc(v + n, sizeof *l.bytes) };
    l.start = quern__zalloc(2 * v, sizeof *l.start);
    l.back = quern__zalloc(v, sizeof *l.back);
    bool ok = c && l.bytes && l.start && l.back;
    if (ok) {
        *c = (quern__chain){ .g = g, .capacity = capacity, .n_nodes = nodes };
        c->live = quern__zalloc(2 * n, sizeof *c->live);
        c->root = quern__zalloc(v, sizeof *c->root);
        c->stage = quern__zalloc(n, sizeof *c->stage);
        ok = c->live && c->root && c->stage;
    }
    if (ok) {
        c->again = c->live + n;
        l.last = l.start + v;
        quern__plan_mark(g, outputs, n_outputs, c->live);
        for (int id = 0; id <= values; id++)
            c->root[id] = id;
        for (int k = 0; k < nodes; k++)
            if (quern__graph_node_at(g, k)->op->view)
                c->root[quern__graph_node_at(g, k)->out[0]] =
                    c->root[quern__graph_node_at(g, k)->in[0]];
        ok = find_stages(&l, l.bytes + v);
    }
    quern__free(l.bytes);
    quern__free(l.start);
    quern__free(l.back);
    if (ok)
        return c;
    quern__chain_free(c);
    quern__fail_memory(err, v * sizeof *l.bytes);
    return NULL;
}

void quern__chain_free(quern__chain *c)
{
    if (!c)
        return;
    quern__free(c->live);
    quern__free(c->root);
    quern__free(c->stage);
    quern__free(c);
}
