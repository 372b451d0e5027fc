/* graph: values and nodes, and the builder with its sticky error. The graph owns everything in it,
 * except variables, which the model owns.
 *
 * Values and nodes are separate allocations in arrays of pointers, so an address stays valid
 * while the graph grows. Ids of values start at 1; values[0] stands for "none". A node is appended
 * after its inputs, so the order of nodes is a valid order of execution.
 *
 * The scope, gate and forward node are a state of the builder: each new node copies them. After the
 * first error no builder adds anything, so callers check the status once, at the end. */
#include "graph.h"

#include <stdio.h>
#include <string.h>

struct quern__graph {
    quern_error error;
    int n_values, cap_values;
    quern__value **values; /* separate allocations, so that addresses stay while the graph grows */
    quern__value none;     /* of id 0 */
    int n_leaves, cap_leaves;
    quern__id *leaves; /* of variables */
    int n_nodes, cap_nodes;
    quern__node **nodes;
    int n_scopes, cap_scopes;
    char **scopes; /* all scope names; the last is the present one */
    const char *scope;
    quern__id gate; /* of the next nodes, like `of` and `lean` */
    int32_t of;
    bool lean;
};

/* Ensures capacity for one more element; the array doubles. */
static bool grow(void **array, int count, int *capacity, size_t size)
{
    if (count < *capacity)
        return true;
    size_t n = *capacity ? 2 * (size_t)*capacity : 16, bytes;
    if (n > INT32_MAX || !quern__mul(n, size, &bytes))
        return false;
    void *p = quern__realloc(*array, bytes);
    if (!p)
        return false;
    *array = p;
    *capacity = (int)n;
    return true;
}

quern__graph *quern__graph_new(void)
{
    quern__graph *g = quern__zalloc(1, sizeof *g);
    if (!g || !grow((void **)&g->values, 0, &g->cap_values, sizeof *g->values)) {
        quern__free(g);
        return NULL;
    }
    g->values[0] = &g->none;
    g->scope = "";
    g->of = -1;
    return g;
}

void quern__graph_free(quern__graph *g)
{
    if (!g)
        return;
    for (int i = 0; i < g->n_nodes; i++) {
        quern__free(g->nodes[i]->in);
        quern__free(g->nodes[i]);
    }
    for (int i = 1; i <= g->n_values; i++)
        quern__free(g->values[i]);
    for (int i = 0; i < g->n_scopes; i++)
        quern__free(g->scopes[i]);
    quern__free(g->scopes);
    quern__free(g->leaves);
    quern__free(g->nodes);
    quern__free(g->values);
    quern__free(g);
}

int quern__graph_status(const quern__graph *g) { return g ? g->error.code : QUERN_NOMEM; }
const quern_error *quern__graph_error(const quern__graph *g) { return &g->error; }

quern__id quern__graph_fail(quern__graph *g, int code, const char *format, ...)
{
    if (g->error.code)
        return 0;
    va_list arguments;
    va_start(arguments, format);
    char text[sizeof g->error.text];
    quern__vformat(text, sizeof text, format, arguments);
    va_end(arguments);
    quern__fail(&g->error, code, g->scope, "%s", text);
    return 0;
}

void quern__graph_scope(quern__graph *g, const char *scope)
{
    for (int i = g->n_scopes - 1; i >= 0; i--) /* usually the last */
        if (!strcmp(g->scopes[i], scope)) {
            g->scope = g->scopes[i];
            return;
        }
    char *copy = quern__strdup(scope);
    if (!copy || !grow((void **)&g->scopes, g->n_scopes, &g->cap_scopes, sizeof *g->scopes)) {
        quern__free(copy);
        quern__graph_fail(g, QUERN_NOMEM, "out of memory");
        return;
    }
    g->scope = g->scopes[g->n_scopes++] = copy;
}

quern__id quern__graph_gate(quern__graph *g, quern__id gate)
{
    quern__id before = g->gate;
    if (gate && g->values[gate]->kind != QUERN__VALUE_NODE)
        quern__graph_fail(g, QUERN_INTERNAL, "the gate is not the output of a node");
    g->gate = gate;
    return before;
}

void quern__graph_lean(quern__graph *g, bool lean) { g->lean = lean; }

bool quern__graph_is_lean(const quern__graph *g) { return g->lean; }

void quern__graph_gradient_of(quern__graph *g, int node) { g->of = node; }

/* Adds a copy of a value. Returns its id; 0 on failure. */
static quern__id add_value(quern__graph *g, quern__value value)
{
    if (g->error.code)
        return 0;
    quern__value *own = quern__alloc(sizeof *own);
    if (!own || !grow((void **)&g->values, g->n_values + 1, &g->cap_values, sizeof *g->values)) {
        quern__free(own);
        return quern__graph_fail(g, QUERN_NOMEM, "out of memory");
    }
    *own = value;
    g->values[++g->n_values] = own;
    return g->n_values;
}

quern__id quern__graph_batch(quern__graph *g, int slot, int dtype, const quern_shape *shape)
{
    for (int i = 1; i <= g->n_values; i++)
        if (g->values[i]->kind == QUERN__VALUE_BATCH && g->values[i]->slot == slot)
            return i;
    return add_value(g, (quern__value){ .kind = QUERN__VALUE_BATCH,
                                        .dtype = dtype,
                                        .shape = *shape,
                                        .node = -1,
                                        .slot = slot });
}

/* The leaf of a variable and its id. Returns borrowed; NULL: the graph does not use the variable.
 */
static quern__value *leaf_of(const quern__graph *g, const quern__variable *v, quern__id *id)
{
    for (int i = 0; i < g->n_leaves; i++)
        if (g->values[ *id = g->leaves[i]]->variable == v)
            return g->values[*id];
    return NULL;
}

quern__id quern__graph_variable(quern__graph *g, quern__variable *v)
{
    quern__id id;
    const quern__value *leaf = leaf_of(g, v, &id);
    if (leaf)
        return leaf->slot ? leaf->slot : id;
    if (!grow((void **)&g->leaves, g->n_leaves, &g->cap_leaves, sizeof *g->leaves))
        return quern__graph_fail(g, QUERN_NOMEM, "out of memory for a graph of %d variables",
                                 g->n_leaves);
    id = add_value(g, (quern__value){ .kind = QUERN__VALUE_VARIABLE,
                                      .dtype = v->dtype,
                                      .shape = v->shape,
                                      .node = -1,
                                      .variable = v });
    if (id)
        g->leaves[g->n_leaves++] = id;
    return id;
}

void quern__graph_replace(quern__graph *g, quern__variable *v, quern__id content)
{
    quern__id id;
    quern__value *leaf = content ? leaf_of(g, v, &id) : NULL;
    if (leaf)
        leaf->slot = content;
}

quern__id quern__graph_constant(quern__graph *g, double number, int dtype)
{
    return add_value(
        g, (quern__value){
               .kind = QUERN__VALUE_CONSTANT, .dtype = dtype, .node = -1, .constant = number });
}

quern__id quern__graph_node(quern__graph *g, const struct quern__op *op, const char *name,
                            const quern__id *in, int n_in, const quern__attr *attr,
                            const quern_shape *shapes, const int *dtypes, int n_out, quern__id *out)
{
    for (int i = 0; i < n_out; i++)
        out[i] = 0;
    /* check the inputs before anything is allocated */
    for (int i = 0; i < n_in; i++)
        if (in[i] < 1 || in[i] > g->n_values)
            return quern__graph_fail(g, QUERN_INTERNAL, "%s: input %d is missing", name, i);
    if (g->error.code)
        return 0;
    /* inputs and outputs share one array of ids */
    quern__id *ids = quern__zalloc((size_t)n_in + (size_t)n_out, sizeof *ids);
    quern__node *node = quern__alloc(sizeof *node);
    if (!ids || !node || !grow((void **)&g->nodes, g->n_nodes, &g->cap_nodes, sizeof *g->nodes)) {
        quern__free(ids);
        quern__free(node);
        return quern__graph_fail(g, QUERN_NOMEM, "out of memory");
    }
    for (int i = 0; i < n_in; i++)
        ids[i] = in[i];
    *node = (quern__node){ .op = op,
                           .name = name,
                           .scope = g->scope,
                           .n_in = n_in,
                           .n_out = n_out,
                           .in = ids,
                           .out = ids + n_in,
                           .gate = g->gate,
                           .of = g->of };
    if (attr)
        node->attr = *attr;
    g->nodes[g->n_nodes++] = node;
    /* one value for each output */
    for (int i = 0; i < n_out; i++) {
        quern__value v = { .kind = QUERN__VALUE_NODE,
                           .dtype = dtypes[i],
                           .shape = shapes[i],
                           .node = g->n_nodes - 1,
                           .slot = i };
        out[i] = node->out[i] = add_value(g, v);
    }
    return out[0];
}

int quern__graph_values(const quern__graph *g) { return g->n_values; }
int quern__graph_nodes(const quern__graph *g) { return g->n_nodes; }
quern__value *quern__graph_value(const quern__graph *g, quern__id id) { return g->values[id]; }
quern__node *quern__graph_node_at(const quern__graph *g, int node) { return g->nodes[node]; }

int quern__graph_verify(const quern__graph *g, quern_error *err)
{
    for (int n = 0; n < g->n_nodes; n++) {
        const quern__node *node = g->nodes[n];
        for (int i = 0; i < node->n_in; i++) {
            quern__id id = node->in[i];
            if (id < 1 || id > g->n_values)
                return quern__fail(err, QUERN_INTERNAL, node->name,
                                   "node %d: input %d is not a value", n, i);
            if (g->values[id]->kind == QUERN__VALUE_NODE && g->values[id]->node >= n)
                return quern__fail(err, QUERN_INTERNAL, node->name,
                                   "node %d: input %%%d is computed later", n, id);
        }
        if (node->gate && g->values[node->gate]->node >= n)
            return quern__fail(err, QUERN_INTERNAL, node->name,
                               "node %d: its gate %%%d is computed later", n, node->gate);
        for (int i = 0; i < node->n_out; i++) {
            const quern__value *v = g->values[node->out[i]];
            if (v->kind != QUERN__VALUE_NODE || v->node != n || v->slot != i)
                return quern__fail(err, QUERN_INTERNAL, node->name,
                                   "node %d: output %d does not point back", n, i);
        }
    }
    return QUERN_OK;
}
