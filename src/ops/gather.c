/* gather: table rows by index, and the gradient: rows are added at their indices, in the order of
 * the indices. Embedding layers consist of it.
 *
 * The gradient of a table is a scatter node: indices (…) and rows (…, C) to (rows, C). It is dense,
 * but quern__scattered recognises it, and sums of such nodes, by their structure. Then an optimizer
 * can transform the rows before they are added, as TensorFlow does with tf.IndexedSlices. scatter
 * is divided by columns, so that no two threads add to the same element. */
#include "build.h"

int64_t quern__call_row(const quern__call *c, const quern_tensor *ids, int64_t i, int64_t rows)
{
    double id = quern__get(ids, i);
    if (id >= 0 && id < (double)rows)
        return (int64_t)id;
    const quern_shape *s = &ids->shape;
    int64_t count = quern_shape_count(s), per = s->rank && s->dims[0] ? count / s->dims[0] : 1;
    quern__call_fault(c, QUERN_INVALID, i / per, id, (double)rows - 1, "index");
    return -1;
}

/* ---- gather: a table (rows, C), indices (…) of any dtype: (…, C) ---- */

static int gather_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t rows = c->in[0].shape.dims[0], width = c->in[0].shape.dims[1];
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t i = p.start / width; i < (p.start + p.length) / width; i++) {
        int64_t row = quern__call_row(c, &c->in[1], i, rows);
        if (row < 0)
            return QUERN_INVALID;
        for (int64_t k = 0; k < width; k++)
            quern__set(&c->out[0], i * width + k, quern__get(&c->in[0], row * width + k));
    }
    return 0;
}

static void gather_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                            quern__id *dx)
{
    dx[0] = quern__build(g, &quern__op_scatter, (quern__id[]){ node->in[1], dy[0] }, 2, NULL,
                         quern__shape_of(g, node->in[0]), quern__dtype_of(g, node->in[0]));
}

const quern__op quern__op_gather = { .name = "gather",
                                     .ways = quern__ways_rows,
                                     .gradient = gather_gradient,
                                     .reference = gather_reference };

quern__id quern__gather(quern__graph *g, quern__id table, quern__id ids)
{
    if (!table || !ids)
        return 0;
    quern_shape t = *quern__shape_of(g, table), out = *quern__shape_of(g, ids);
    if (t.rank != 2 || out.rank == QUERN_MAX_RANK)
        return quern__graph_fail(g, QUERN_SHAPE, "the table must be a matrix");
    out.dims[out.rank++] = t.dims[1];
    return quern__build(g, &quern__op_gather, (quern__id[]){ table, ids }, 2, NULL, &out,
                        quern__dtype_of(g, table));
}

/* ---- scatter: indices, rows (…, C): the table of their sums; partitioned by columns ---- */

static int ways_columns(const quern__graph *g, const quern__node *node)
{
    (void)g, (void)node;
    return QUERN__WAY_COLUMNS;
}

static int scatter_reference(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *s = &c->out[0].shape;
    int64_t rows = s->dims[0], width = s->dims[1], n = quern_shape_count(&c->in[0].shape);
    if (c->axis < 0)
        begin = 0, end = width;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = begin; k < end; k++)
            quern__set(&c->out[0], r * width + k, 0);
    for (int64_t i = 0; i < n; i++) {
        int64_t row = quern__call_row(c, &c->in[0], i, rows);
        if (row < 0)
            return QUERN_INVALID;
        for (int64_t k = begin; k < end; k++)
            quern__set(&c->out[0], row * width + k,
                       quern__get(&c->out[0], row * width + k) +
                           quern__get(&c->in[1], i * width + k));
    }
    return 0;
}

static void scatter_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                             quern__id *dx)
{
    dx[1] = quern__gather(g, dy[0], node->in[0]);
}

const quern__op quern__op_scatter = { .name = "scatter",
                                      .ways = ways_columns,
                                      .gradient = scatter_gradient,
                                      .reference = scatter_reference };

quern__id quern__scatter(quern__graph *g, quern__id ids, quern__id rows, int64_t count)
{
    if (!ids || !rows)
        return 0;
    const quern_shape *s = quern__shape_of(g, ids), *r = quern__shape_of(g, rows);
    bool fits = r->rank == s->rank + 1 && count > 0;
    for (int i = 0; fits && i < s->rank; i++)
        fits = s->dims[i] == r->dims[i];
    if (!fits)
        return quern__graph_fail(g, QUERN_SHAPE, "scatter needs a row for each index");
    quern_shape table = { .rank = 2, .dims = { count, r->dims[r->rank - 1] } };
    return quern__build(g, &quern__op_scatter, (quern__id[]){ ids, rows }, 2, NULL, &table,
                        quern__dtype_of(g, rows));
}

/* ---- sparse gradients: tables of added rows ---- */

/* The node that computes x; NULL: x is a leaf. */
static const quern__node *maker(const quern__graph *g, quern__id x)
{
    const quern__value *v = quern__graph_value(g, x);
    return v->kind == QUERN__VALUE_NODE ? quern__graph_node_at(g, v->node) : NULL;
}

static bool is_sum(const quern__node *n)
{
    return n && n->op == &quern__op_binary && n->attr.i[0] == QUERN__ADD;
}

bool quern__scattered(const quern__graph *g, quern__id x)
{
    const quern__node *n = x ? maker(g, x) : NULL;
    return n && (n->op == &quern__op_scatter ||
                 (is_sum(n) && quern__scattered(g, n->in[0]) && quern__scattered(g, n->in[1])));
}

/* A function of the added rows, or of a dense gradient. */
typedef quern__id changer(quern__graph *g, quern__id x, const void *how);

/* Applies a function to each summand of a sparse gradient, or to a dense one. */
static quern__id map_summands(quern__graph *g, quern__id x, changer *change, const void *how)
{
    if (!quern__scattered(g, x))
        return change(g, x, how);
    const quern__node *n = maker(g, x);
    quern_shape shape = *quern__shape_of(g, x);
    quern__id first = n->in[0], second = n->in[1];
    if (is_sum(n))
        return quern__add2(g, map_summands(g, first, change, how),
                           map_summands(g, second, change, how));
    quern__id in[2] = { first, change(g, second, how) };
    return quern__build(g, &quern__op_scatter, in, 2, NULL, &shape, quern__dtype_of(g, x));
}

typedef struct applied {
    int function; /* of quern__unary, with parameters a and b */
    double a, b;
} applied;

static quern__id apply(quern__graph *g, quern__id x, const void *how)
{
    const applied *f = how;
    return quern__unary(g, f->function, x, f->a, f->b, 0);
}

static quern__id scale(quern__graph *g, quern__id x, const void *how)
{
    return quern__mul2(g, x, *(const quern__id *)how);
}

quern__id quern__each_row(quern__graph *g, quern__id x, int function, double a, double b)
{
    return map_summands(g, x, apply, &(applied){ function, a, b });
}

quern__id quern__scaled_rows(quern__graph *g, quern__id x, quern__id factor)
{
    return map_summands(g, x, scale, &factor);
}
