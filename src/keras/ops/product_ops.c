/* product_ops: matrix products: matmul, dot, tensordot, inner, outer. Each becomes one
 * product of (batch, M, K) and (batch, K, N), with transposes before and after it. Semantics:
 * keras.src.ops.numpy of Keras 3.15.
 *
 * All of them but outer are described as an einsum: each axis of both operands and of the result
 * has a label, one character. contracted() sorts the labels by where they occur. A label in both
 * operands and the result is a batch axis, one in both operands only is summed by the product (K).
 * One in a single operand and the result is M or N, and one in a single operand only is summed
 * first. */
#include "contraction.h"

#include <string.h>

enum { most = QUERN_MAX_RANK };

static quern_shape shape_of(const quern__contraction *c, const char *labels)
{
    quern_shape s = { 0 };
    for (; *labels; labels++)
        s.dims[s.rank++] = c->size[(unsigned char)*labels];
    return s;
}

quern__id quern__op_ordered(quern__graph *g, quern__id x, const char *from, const char *to)
{
    int order[most];
    for (int i = 0; to[i]; i++)
        order[i] = (int)(strchr(from, to[i]) - from);
    return strcmp(from, to) ? quern__transpose(g, x, order) : x;
}

quern__id quern__op_summed(quern__graph *g, quern__id x, char *labels, const char *other,
                           const char *out)
{
    uint32_t axes = 0;
    int left = 0;
    for (int i = 0; labels[i]; i++) {
        bool kept = strchr(other, labels[i]) || strchr(out, labels[i]);
        axes |= kept ? 0 : 1u << i;
        if (kept)
            labels[left++] = labels[i];
    }
    labels[left] = 0;
    return axes ? quern__reduce(g, QUERN__SUM, x, axes, false) : x;
}

/* Appends the labels of `from` that are in x (or not) and in y (or not). */
static void collect(const char *from, const char *x, bool in_x, const char *y, bool in_y, char *out)
{
    size_t n = strlen(out);
    for (; *from; from++)
        if ((strchr(x, *from) != NULL) == in_x && (strchr(y, *from) != NULL) == in_y)
            out[n++] = *from;
    out[n] = 0;
}

/* The product of the sizes of labels; negative if one is the batch dimension. */
static int64_t count_of(const quern__contraction *c, const char *labels)
{
    int64_t count = 1;
    for (; *labels; labels++)
        count *= c->size[(unsigned char)*labels];
    return count;
}

/* The product as (batch, M, K) (batch, K, N), or one matrix product where no label is in all three.
 */
static quern__id contracted(quern__graph *g, quern__contraction *c, quern__id a, quern__id b)
{
    char batch[most + 1] = "", m[most + 1] = "", k[most + 1] = "", n[most + 1] = "",
                      la[3 * most] = "", lb[3 * most] = "", ly[3 * most] = "";
    a = quern__op_summed(g, a, c->a, c->b, c->out);
    b = quern__op_summed(g, b, c->b, c->a, c->out);
    collect(c->out, c->a, true, c->b, true, batch);
    collect(c->a, c->b, false, c->out, true, m);
    collect(c->a, c->b, true, c->out, false, k);
    collect(c->b, c->a, false, c->out, true, n);
    if (count_of(c, n) < 0) /* the left operand has the batch dimension */
    {
        quern__contraction turned = *c;
        memcpy(turned.a, c->b, sizeof turned.a);
        memcpy(turned.b, c->a, sizeof turned.b);
        return contracted(g, &turned, b, a);
    }
    /* both operands in the order of their labels, then as matrices */
    strcat(strcat(strcat(la, batch), m), k);
    strcat(strcat(strcat(lb, batch), k), n);
    strcat(strcat(strcat(ly, batch), m), n);
    quern_shape left = { .rank = 3,
                         .dims = { count_of(c, batch), count_of(c, m), count_of(c, k) } },
                right = { .rank = 3,
                          .dims = { count_of(c, batch), count_of(c, k), count_of(c, n) } },
                out = shape_of(c, ly);
    a = quern__op_ordered(g, a, c->a, la);
    b = quern__op_ordered(g, b, c->b, lb);
    quern__id y;
    if (*batch)
        y = quern__batched_matmul(g, quern__reshape(g, a, &left), quern__reshape(g, b, &right),
                                  false, false);
    else {
        quern_shape rows = { .rank = 2, .dims = { left.dims[1], left.dims[2] } },
                    columns = { .rank = 2, .dims = { right.dims[1], right.dims[2] } };
        y = quern__matmul(g, quern__reshape(g, a, &rows), quern__reshape(g, b, &columns), false,
                          false);
    }
    return quern__op_ordered(g, quern__reshape(g, y, &out), ly, c->out);
}

/* Sets the sizes of labels from an operand; size 1 broadcasts. Returns false when two sizes differ.
 */
static bool sizes(quern__contraction *c, const char *labels, const quern_shape *s)
{
    for (int i = 0; labels[i]; i++) {
        int64_t *own = &c->size[(unsigned char)labels[i]];
        if (*own && *own != 1 && s->dims[i] != 1 && *own != s->dims[i])
            return false;
        *own = !*own || *own == 1 ? s->dims[i] : *own;
    }
    return true;
}

/* Broadcasts x to the sizes of its labels. */
static quern__id widened(quern__graph *g, const quern__contraction *c, quern__id x,
                         const char *labels)
{
    quern_shape s = shape_of(c, labels);
    return quern_shape_equal(&s, quern__shape_of(g, x)) ? x : quern__broadcast(g, x, &s);
}

/* Broadcasts both operands to the sizes of their labels, then contracts them. */
quern__id quern__op_contract(quern__graph *g, quern__contraction *c, quern__id a, quern__id b)
{
    if (!a || !b)
        return 0;
    if (!sizes(c, c->a, quern__shape_of(g, a)) || !sizes(c, c->b, quern__shape_of(g, b)))
        return quern__graph_fail(g, QUERN_SHAPE, "the shapes of the operands do not fit");
    a = widened(g, c, a, c->a);
    b = widened(g, c, b, c->b);
    return contracted(g, c, a, b);
}

/* Appends `count` labels: first, first + 1, … */
static void label(char *out, char first, int count)
{
    size_t n = strlen(out);
    for (int i = 0; i < count; i++)
        out[n++] = (char)(first + i);
    out[n] = 0;
}

/* (..., m, k) (..., k, n) with broadcasting of the leading axes; a tensor of one axis is a row or a
 * column. */
static quern__id matmul(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id a = quern__operand(l, g, in, n, "x1"), b = quern__operand(l, g, in, n, "x2");
    int ra = quern__op_rank(g, a), rb = quern__op_rank(g, b), lead = (ra > rb ? ra : rb) - 2;
    quern__contraction c = { .a = "" };
    (void)training;
    if (!a || !b || ra < 1 || rb < 1)
        return a && b ? quern__graph_fail(g, QUERN_SHAPE, "a product with a scalar") : 0;
    lead = lead < 0 ? 0 : lead;
    label(c.a, (char)('a' + lead - (ra > 2 ? ra - 2 : 0)), ra > 2 ? ra - 2 : 0);
    label(c.b, (char)('a' + lead - (rb > 2 ? rb - 2 : 0)), rb > 2 ? rb - 2 : 0);
    label(c.out, 'a', lead);
    strcat(c.a, ra > 1 ? "yz" : "z");
    strcat(c.b, rb > 1 ? "zx" : "z");
    strcat(c.out, ra > 1 ? "y" : "");
    strcat(c.out, rb > 1 ? "x" : "");
    return quern__op_contract(g, &c, a, b);
}

/* Contracts the last axis of x1 with the last but one of x2 (row->extra 0), or with its last (1).
 */
static quern__id dot(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id a = quern__operand(l, g, in, n, "x1"), b = quern__operand(l, g, in, n, "x2");
    int ra = quern__op_rank(g, a), rb = quern__op_rank(g, b);
    quern__contraction c = { .a = "" };
    (void)training;
    if (!a || !b || ra < 1 || rb < 1)
        return a && b ? quern__mul2(g, a, b) : 0;
    label(c.a, 'a', ra - 1);
    strcat(c.a, "z");
    int with = l->kind->extra || rb < 2 ? rb - 1 : rb - 2;
    for (int i = 0, k = 0; i < rb; i++)
        label(c.b, i == with ? 'z' : (char)('m' + k++), 1);
    label(c.out, 'a', ra - 1);
    label(c.out, 'm', rb - 1);
    return quern__op_contract(g, &c, a, b);
}

static quern__id outer(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id a = quern__operand(l, g, in, n, "x1"), b = quern__operand(l, g, in, n, "x2");
    (void)training;
    if (!a || !b)
        return 0;
    if (quern__op_rank(g, a) != 1 || quern__op_rank(g, b) != 1)
        return quern__graph_fail(g, QUERN_UNSUPPORTED,
                                 "outer of tensors of more than one axis is not in this version");
    return quern__mul2(g, quern__op_expand(g, a, 1), quern__op_expand(g, b, 0));
}

/* axes: the number of last axes of x1 and first axes of x2, or two lists of axes. */
static quern__id tensordot(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    quern__id a = quern__operand(l, g, in, n, "x1"), b = quern__operand(l, g, in, n, "x2");
    json_t *axes = json_object_get(l->config, "axes"), *first = json_array_get(axes, 0),
           *second = json_array_get(axes, 1);
    int ra = quern__op_rank(g, a), rb = quern__op_rank(g, b);
    char la[most + 1] = "", lb[most + 1] = "";
    quern__contraction c = { .a = "" };
    (void)training;
    label(la, 'a', ra);
    label(lb, 'm', rb);
    int64_t count = json_is_integer(axes)  ? json_integer_value(axes)
                    : json_is_array(first) ? (int64_t)json_array_size(first)
                                           : 1;
    for (int64_t k = 0; k < count; k++) {
        int64_t i = json_is_integer(axes)
                        ? ra - count + k
                        : json_integer_value(json_is_array(first) ? json_array_get(first, (size_t)k)
                                                                  : first),
                j = json_is_integer(axes)
                        ? k
                        : json_integer_value(
                              json_is_array(second) ? json_array_get(second, (size_t)k) : second);
        i += i < 0 ? ra : 0;
        j += j < 0 ? rb : 0;
        if (i < 0 || i >= ra || j < 0 || j >= rb)
            return quern__graph_fail(g, QUERN_SHAPE, "axes do not fit tensors of %d and %d axes",
                                     ra, rb);
        lb[j] = la[i];
    }
    strcpy(c.a, la);
    strcpy(c.b, lb);
    collect(la, lb, false, "", false, c.out);
    collect(lb, la, false, "", false, c.out);
    return quern__op_contract(g, &c, a, b);
}

static const quern__field tensordot_fields[] = { { "axes", QUERN__F_ANY, "2" }, { 0 } };

#define ROW(ID, NAME, FIELDS, CALL, ARGS, EXTRA) \
    QUERN__OPERATION_ROW(ID, NAME, "numpy", FIELDS, CALL, ARGS, EXTRA)
ROW(matmul, "Matmul", NULL, matmul, quern__args_x1_x2, 0);
ROW(dot, "Dot", NULL, dot, quern__args_x1_x2, 0);
ROW(inner, "Inner", NULL, dot, quern__args_x1_x2, 1);
ROW(outer, "Outer", NULL, outer, quern__args_x1_x2, 0);
ROW(tensordot, "Tensordot", tensordot_fields, tensordot, quern__args_x1_x2, 0);
