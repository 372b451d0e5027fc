/* matrix_ops: operations of keras.ops on parts of matrices and on vectors: triangles, diagonals,
 * cross and Kronecker products, distances. Semantics: keras.src.backend.tensorflow.numpy and math
 * of Keras 3.15. */
#include "operations.h"

#define X(NAME) quern__operand(l, g, in, n, NAME)

/* ---- triangles and diagonals ---- */

quern__id quern__op_band(quern__graph *g, int64_t rows, int64_t columns, int64_t least,
                         int64_t most)
{
    quern_shape down = { .rank = 2, .dims = { rows, 1 } };
    quern__id row = quern__reshape(g, quern__iota(g, rows), &down),
              gap = quern__sub2(g, quern__iota(g, columns), row);
    quern__id low = quern__binary(g, QUERN__GREATER_EQUAL, gap, quern__op_number(g, (double)least)),
              high = quern__binary(g, QUERN__LESS_EQUAL, gap, quern__op_number(g, (double)most));
    return quern__mul2(g, low, high);
}

/* x with the axes a and b as the last two. Both have a fixed size. */
static quern__id pair_last(quern__graph *g, quern__id x, int a, int b)
{
    int order[QUERN_MAX_RANK], n = 0, rank = quern__op_rank(g, x);
    if (!quern__op_closed(g, x, a, "a diagonal") || !quern__op_closed(g, x, b, "a diagonal"))
        return 0;
    if (a == b)
        return quern__graph_fail(g, QUERN_SHAPE, "both axes of a diagonal are axis %d", a);
    for (int i = 0; i < rank; i++)
        if (i != a && i != b)
            order[n++] = i;
    order[n++] = a;
    order[n] = b;
    return quern__transpose(g, x, order);
}

/* The elements are m + 1 apart in a matrix of m columns. */
quern__id quern__op_diagonal(quern__graph *g, quern__id x, int a, int b, int64_t offset)
{
    x = pair_last(g, x, a, b);
    if (!x)
        return 0;
    quern_shape s = *quern__shape_of(g, x);
    int64_t n = s.dims[s.rank - 2], m = s.dims[s.rank - 1],
            start = offset < 0 ? -offset * m : offset, rows = offset < 0 ? n + offset : n,
            columns = offset < 0 ? m : m - offset, count = rows < columns ? rows : columns;
    if (offset <= -n || offset >= m)
        return quern__graph_fail(g, QUERN_UNSUPPORTED,
                                 "a diagonal without elements is not in this version");
    s.rank--;
    s.dims[s.rank - 1] = n * m;
    return quern__op_stride(g, quern__reshape(g, x, &s), s.rank - 1, start, m + 1, count);
}

/* row->extra 1: the lower triangle; 0: the upper one. */
static quern__id triangle(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          bool training)
{
    (void)training;
    const int64_t far = 1 << 24;
    quern__id x = X("x");
    int rank = quern__op_rank(g, x);
    int64_t k = quern__config_int(l->config, "k");
    if (!x || rank < 2)
        return x ? quern__graph_fail(g, QUERN_SHAPE, "a triangle of a tensor of %d axes", rank) : 0;
    if (!quern__op_closed(g, x, rank - 2, "a triangle") ||
        !quern__op_closed(g, x, rank - 1, "a triangle"))
        return 0;
    const quern_shape *s = quern__shape_of(g, x);
    quern__id inside = quern__op_band(g, s->dims[rank - 2], s->dims[rank - 1],
                                      l->kind->extra ? -far : k, l->kind->extra ? k : far);
    return quern__select(g, inside, x, quern__op_number(g, 0));
}

/* row->extra 1: the sum of the diagonal. */
static quern__id diagonal(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          bool training)
{
    (void)training;
    quern__id x = X("x");
    int rank = quern__op_rank(g, x), a = x ? quern__op_axis(l, g, "axis1", rank) : -1,
        b = a < 0 ? -1 : quern__op_axis(l, g, "axis2", rank);
    quern__id y =
        b < 0 ? 0 : quern__op_diagonal(g, x, a, b, quern__config_int(l->config, "offset"));
    return y && l->kind->extra ? quern__reduce(g, QUERN__SUM, y, 1u << (rank - 2), false) : y;
}

/* A matrix with a vector as its diagonal k. */
static quern__id with_diagonal(quern__graph *g, quern__id x, int64_t k)
{
    if (!quern__op_closed(g, x, 0, "a diagonal matrix"))
        return 0;
    int64_t size = quern__shape_of(g, x)->dims[0] + (k < 0 ? -k : k);
    quern_shape down = { .rank = 2, .dims = { size, 1 } };
    quern__id zero = quern__op_number(g, 0), rows = quern__pad(g, x, 0, -k, k, zero);
    return quern__select(g, quern__op_band(g, size, size, k, k), quern__reshape(g, rows, &down),
                         zero);
}

/* A matrix of a vector, or the diagonal of a matrix; row->extra 1: of all elements (diagflat). */
static quern__id diag(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)training;
    quern__id x = X("x");
    int rank = quern__op_rank(g, x);
    int64_t k = quern__config_int(l->config, "k");
    if (x && l->kind->extra) {
        quern_shape flat = { .rank = 1, .dims = { quern_shape_count(quern__shape_of(g, x)) } };
        if (rank && !quern__op_closed(g, x, 0, "diagflat"))
            return 0;
        return with_diagonal(g, quern__reshape(g, x, &flat), k);
    }
    if (!x || rank < 1 || rank > 2)
        return x ? quern__graph_fail(g, QUERN_SHAPE, "diag of a tensor of %d axes", rank) : 0;
    return rank == 1 ? with_diagonal(g, x, k) : quern__op_diagonal(g, x, 0, 1, k);
}

/* ---- products and distances ---- */

/* The axis config[key], or config.axis if it is given, moved to the end; two components get a third,
 * 0. `plane`: whether there were two. */
static quern__id vectors(quern__layer *l, quern__graph *g, quern__id x, const char *key,
                         bool *plane)
{
    bool same = !json_is_null(json_object_get(l->config, "axis"));
    int rank = quern__op_rank(g, x),
        axis = x ? quern__op_axis(l, g, same ? "axis" : key, rank) : -1;
    int64_t size = axis < 0 ? 0 : quern__shape_of(g, x)->dims[axis];
    if (axis < 0 || (size != 2 && size != 3))
        return axis < 0 ? 0
                        : quern__graph_fail(g, QUERN_SHAPE,
                                            "a cross product of vectors with 2 or 3 numbers, not "
                                            "%lld",
                                            (long long)size);
    x = quern__op_move_axis(g, x, axis, rank - 1);
    *plane = size == 2;
    return size == 2 ? quern__pad(g, x, rank - 1, 0, 1, quern__op_number(g, 0)) : x;
}

/* Component i of the last axis, which stays with size 1. */
static quern__id part(quern__graph *g, quern__id x, int i)
{
    return quern__slice(g, x, quern__op_rank(g, x) - 1, i % 3, 1);
}

static quern__id cross(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)training;
    bool flat_a = false, flat_b = false, same = !json_is_null(json_object_get(l->config, "axis"));
    quern__id a = vectors(l, g, X("x1"), "axisa", &flat_a),
              b = a ? vectors(l, g, X("x2"), "axisb", &flat_b) : 0, c[3];
    for (int i = 0; i < 3 && b; i++)
        c[i] = quern__sub2(g, quern__mul2(g, part(g, a, i + 1), part(g, b, i + 2)),
                           quern__mul2(g, part(g, a, i + 2), part(g, b, i + 1)));
    if (!a || !b)
        return 0;
    int rank = quern__op_rank(g, c[2]);
    if (flat_a && flat_b)
        return quern__op_drop(g, c[2], rank - 1);
    int axis = quern__op_axis(l, g, same ? "axis" : "axisc", rank);
    return axis < 0 ? 0 : quern__op_move_axis(g, quern__concat(g, c, 3, rank - 1), rank - 1, axis);
}

/* Each element of x1 times x2: axes of x1 and x2 alternate, then each pair becomes one axis. */
static quern__id kron(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)training;
    quern__id a = X("x1"), b = X("x2");
    while (a && b && quern__op_rank(g, a) < quern__op_rank(g, b))
        a = quern__op_expand(g, a, 0);
    while (a && b && quern__op_rank(g, b) < quern__op_rank(g, a))
        b = quern__op_expand(g, b, 0);
    if (!a || !b)
        return 0;
    quern_shape s = *quern__shape_of(g, a), t = *quern__shape_of(g, b),
                left = { .rank = 2 * s.rank }, right = left, to = { .rank = s.rank };
    if (2 * s.rank > QUERN_MAX_RANK)
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "kron of tensors of more than %d axes",
                                 QUERN_MAX_RANK / 2);
    if (s.rank && ((s.dims[0] < 0 && t.dims[0] != 1) || t.dims[0] < 0))
        return quern__graph_fail(g, QUERN_UNSUPPORTED,
                                 "kron that repeats the records of a batch is not in this version");
    for (int i = 0; i < s.rank; i++) {
        left.dims[2 * i] = s.dims[i];
        right.dims[2 * i + 1] = t.dims[i];
        left.dims[2 * i + 1] = right.dims[2 * i] = 1;
        to.dims[i] = s.dims[i] * t.dims[i];
    }
    return quern__reshape(
        g, quern__mul2(g, quern__reshape(g, a, &left), quern__reshape(g, b, &right)), &to);
}

/* The sum of the products of all elements. */
static quern__id vdot(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)training;
    quern__id a = X("x1"), b = X("x2");
    quern__id same = a && b ? quern__reshape(g, b, quern__shape_of(g, a)) : 0;
    return quern__reduce(g, QUERN__SUM, quern__mul2(g, a, same), ~0u, false);
}

/* Distances of all pairs of vectors: (…, m, d) and (…, n, d) to (…, m, n). */
static quern__id cdist(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)training;
    quern__id a = X("x"), b = X("y");
    int ra = quern__op_rank(g, a), rb = quern__op_rank(g, b);
    if (!a || !b || ra < 2 || rb < 2)
        return a && b ? quern__graph_fail(g, QUERN_SHAPE, "cdist needs tensors of two axes") : 0;
    quern__id gap = quern__sub2(g, quern__op_expand(g, a, ra - 1), quern__op_expand(g, b, rb - 2));
    return quern__sqrt(g, quern__reduce(g, QUERN__SUM, quern__square(g, gap),
                                        1u << (quern__op_rank(g, gap) - 1), false));
}

static const quern__call_arg xy_args[] = { { "x", false }, { "y", false }, { 0 } };
static const quern__field k_fields[] = { { "k", QUERN__F_INT, "0" }, { 0 } };
static const quern__field diagonal_fields[] = { { "offset", QUERN__F_INT, "0" },
                                                { "axis1", QUERN__F_INT, "0" },
                                                { "axis2", QUERN__F_INT, "1" },
                                                { 0 } };
static const quern__field cross_fields[] = { { "axisa", QUERN__F_INT, "-1" },
                                             { "axisb", QUERN__F_INT, "-1" },
                                             { "axisc", QUERN__F_INT, "-1" },
                                             { "axis", QUERN__F_ANY, "null" },
                                             { 0 } };

#define ROW(ID, NAME, FIELDS, CALL, ARGS, EXTRA) \
    QUERN__OPERATION_ROW(ID, NAME, "numpy", FIELDS, CALL, ARGS, EXTRA)
ROW(tril, "Tril", k_fields, triangle, quern__args_x, 1);
ROW(triu, "Triu", k_fields, triangle, quern__args_x, 0);
ROW(diagonal, "Diagonal", diagonal_fields, diagonal, quern__args_x, 0);
ROW(trace, "Trace", diagonal_fields, diagonal, quern__args_x, 1);
ROW(diag, "Diag", k_fields, diag, quern__args_x, 0);
ROW(diagflat, "Diagflat", k_fields, diag, quern__args_x, 1);
ROW(cross, "Cross", cross_fields, cross, quern__args_x1_x2, 0);
ROW(kron, "Kron", NULL, kron, quern__args_x1_x2, 0);
ROW(vdot, "Vdot", NULL, vdot, quern__args_x1_x2, 0);
QUERN__OPERATION_ROW(cdist, "CDist", "math", NULL, cdist, xy_args, 0);
