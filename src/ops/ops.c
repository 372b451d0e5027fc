/* ops: the table of all rows, and the functions with which builders add nodes. */
#include "build.h"

const quern__op *const quern__ops[] = {
#define OP(NAME) &quern__op_##NAME,
#include "op_rows.def"
#undef OP
    NULL
};

const quern__op *quern__op_of(const quern__graph *g, quern__id id)
{
    const quern__value *v = quern__graph_value(g, id);
    return v->kind == QUERN__VALUE_NODE ? quern__graph_node_at(g, v->node)->op : NULL;
}

quern__id quern__build(quern__graph *g, const quern__op *op, const quern__id *in, int n_in,
                       const quern__attr *attr, const quern_shape *shape, int dtype)
{
    for (int i = 0; i < n_in; i++)
        if (!in[i])
            return 0;
    quern__id out;
    quern_shape own = *shape; /* a copy: `shape` may belong to a value of this graph */
    return quern__graph_node(g, op, op->name, in, n_in, attr, &own, &dtype, 1, &out);
}

int quern__dtype_of(const quern__graph *g, quern__id id)
{
    return quern__graph_value(g, id)->dtype;
}
const quern_shape *quern__shape_of(const quern__graph *g, quern__id id)
{
    return &quern__graph_value(g, id)->shape;
}

int quern__ways_whole(const quern__graph *g, const quern__node *node)
{
    (void)g, (void)node;
    return QUERN__WAY_WHOLE;
}

int quern__ways_rows(const quern__graph *g, const quern__node *node)
{
    (void)g, (void)node;
    return QUERN__WAY_ROWS;
}
