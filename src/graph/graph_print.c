/* graph_print: the graph as text, and in the DOT language of Graphviz, for debugging and
 * documentation. Both writers print the nodes in their order. */
#include "graph.h"

/* Writes a variable's path, a constant, the array of a batch, or the id of a node's output. */
static void print_id(const quern__graph *g, quern__id id, quern__text *out)
{
    const quern__value *v = quern__graph_value(g, id);
    if (v->kind == QUERN__VALUE_VARIABLE)
        quern__text_add(out, "%s", v->variable->path);
    else if (v->kind == QUERN__VALUE_CONSTANT)
        quern__text_add(out, "%g", v->constant);
    else if (v->kind == QUERN__VALUE_BATCH)
        quern__text_add(out, "batch[%d]", v->slot);
    else
        quern__text_add(out, "%%%d", id);
}

/* Writes a node with outputs, inputs, shape, dtype, scope and gate. */
static void print_node(const quern__graph *g, const quern__node *node, quern__text *out)
{
    char shape[96];
    for (int i = 0; i < node->n_out; i++)
        quern__text_add(out, "%s%%%d", i ? ", " : "", node->out[i]);
    quern__text_add(out, " = %s(", node->name);
    for (int i = 0; i < node->n_in; i++) {
        quern__text_add(out, "%s", i ? ", " : "");
        print_id(g, node->in[i], out);
    }
    const quern__value *v = quern__graph_value(g, node->out[0]);
    quern__text_add(out, ") %s %s [%s]", quern_shape_text(&v->shape, shape, sizeof shape),
                    quern_dtype_name(v->dtype), node->scope);
    if (v->variable)
        quern__text_add(out, " -> %s", v->variable->path);
    if (node->gate)
        quern__text_add(out, " if %%%d", node->gate);
}

void quern__graph_print(const quern__graph *g, quern__text *out)
{
    for (int n = 0; n < quern__graph_nodes(g); n++) {
        print_node(g, quern__graph_node_at(g, n), out);
        quern__text_add(out, "\n");
    }
}

void quern__graph_dot(const quern__graph *g, quern__text *out)
{
    quern__text_add(out, "digraph quern {\n  node [shape=box];\n");
    for (int n = 0; n < quern__graph_nodes(g); n++) {
        const quern__node *node = quern__graph_node_at(g, n);
        quern__text_add(out, "  n%d [label=\"", n);
        print_node(g, node, out);
        quern__text_add(out, "\"];\n");
        for (int i = 0; i < node->n_in; i++) {
            const quern__value *v = quern__graph_value(g, node->in[i]);
            if (v->kind == QUERN__VALUE_NODE)
                quern__text_add(out, "  n%d -> n%d;\n", v->node, n);
        }
    }
    quern__text_add(out, "}\n");
}
