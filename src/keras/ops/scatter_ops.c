/* scatter_ops: operations of keras.ops that add, replace or reduce elements by index: segments,
 * scatter, slices by start and size, unravel_index. Semantics: keras.src.backend.tensorflow.math,
 * core and numpy of Keras 3.15. */
#include "operations.h"

#include <float.h>
#include <string.h>

#define X(NAME) quern__operand(l, g, in, n, NAME)

/* ---- segments ---- */

enum { segment_sum, segment_max, segment_min, segment_prod };

/* The largest index of a constant, or of nested lists; -1: not integers. */
static int64_t largest(json_t *given)
{
    json_t *v;
    size_t k;
    int64_t most = -1;
    if (json_is_integer(given))
        return json_integer_value(given);
    json_array_foreach(given, k, v)
    {
        int64_t own = largest(v);
        most = own > most ? own : most;
    }
    return most;
}

/* config.num_segments, or the number of segments that constant ids have. 0: the graph has an error.
 */
static int64_t segments(quern__layer *l, quern__graph *g)
{
    json_t *given = json_object_get(l->config, "num_segments"),
           *ids = quern__op_numbers(json_object_get(l->context->options, "segment_ids"));
    int64_t count = json_is_integer(given) ? json_integer_value(given) : largest(ids) + 1;
    if (count < 1)
        quern__graph_fail(g, QUERN_UNSUPPORTED,
                          "num_segments is missing: the size of the result depends on values");
    return count < 1 ? 0 : count;
}

/* (N, …) as (N, width). */
static quern__id as_rows(quern__graph *g, quern__id x, int axes)
{
    quern_shape s = *quern__shape_of(g, x), to = { .rank = 2, .dims = { 1, 1 } };
    for (int i = 0; i < s.rank; i++)
        to.dims[i < axes ? 0 : 1] *= s.dims[i];
    return quern__reshape(g, x, &to);
}

/* (N, width) and ids (N) to (segments, width): the extremum or product of each segment. Elements of
 * other segments become `none`. */
static quern__id by_segment(quern__graph *g, quern__id rows, quern__id ids, int64_t count, int what)
{
    static const double none[] = {
        [segment_max] = -FLT_MAX, [segment_min] = FLT_MAX, [segment_prod] = 1
    };
    quern_shape s = *quern__shape_of(g, rows),
                wide = { .rank = 3, .dims = { 1, s.dims[0], s.dims[1] } },
                own = { .rank = 3, .dims = { 1, s.dims[0], 1 } },
                each = { .rank = 3, .dims = { count, 1, 1 } },
                to = { .rank = 2, .dims = { count, s.dims[1] } };
    quern__id inside = quern__binary(g, QUERN__EQUAL, quern__reshape(g, ids, &own),
                                     quern__reshape(g, quern__iota(g, count), &each)),
              all = quern__select(g, inside, quern__reshape(g, rows, &wide),
                                  quern__op_number(g, none[what]));
    if (what == segment_prod)
        return quern__reshape(g, quern__op_product(g, all, 1), &to);
    return quern__reduce(g, what == segment_max ? QUERN__REDUCE_MAX : QUERN__REDUCE_MIN, all, 2u,
                         false);
}

/* row->extra: the reduction. */
static quern__id segment(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                         bool training)
{
    (void)training;
    quern__id x = X("data"), ids = X("segment_ids");
    int64_t count = x && ids ? segments(l, g) : 0;
    if (!count || !quern__op_rank(g, x) || quern__op_rank(g, ids) != 1)
        return count ? quern__graph_fail(g, QUERN_SHAPE, "segments need data and a vector of ids")
                     : 0;
    if (!quern__op_closed(g, x, 0, "a segment"))
        return 0;
    quern_shape to = *quern__shape_of(g, x);
    quern__id rows = as_rows(g, x, 1), y;
    to.dims[0] = count;
    y = l->kind->extra == segment_sum ? quern__scatter(g, ids, rows, count)
                                      : by_segment(g, rows, ids, count, l->kind->extra);
    return quern__reshape(g, y, &to);
}

/* ---- scatter ---- */

/* Indices (…, depth) into the first `depth` axes of a shape, as indices (N) of rows. */
static quern__id flat_ids(quern__graph *g, quern__id ids, const quern_shape *s, int *depth)
{
    int last = quern__op_rank(g, ids) - 1;
    *depth = last < 0 ? 0 : (int)quern__shape_of(g, ids)->dims[last];
    if (*depth < 1 || *depth > s->rank || (s->rank && s->dims[0] < 0))
        return ids ? quern__graph_fail(g, QUERN_UNSUPPORTED,
                                       "these indices do not fit, or would move records")
                   : 0;
    quern__id flat = 0;
    for (int k = 0; k < *depth; k++) {
        quern__id own = quern__slice(g, ids, last, k, 1);
        flat = k ? quern__add2(g, quern__scale(g, flat, (double)s->dims[k]), own) : own;
    }
    return flat ? quern__reshape(
                      g, flat,
                      &(quern_shape){ .rank = 1,
                                      .dims = { quern_shape_count(quern__shape_of(g, flat)) } })
                : 0;
}

/* The sums of `updates` at the indices, in that shape. */
static quern__id scattered(quern__graph *g, quern__id ids, quern__id updates, const quern_shape *s)
{
    int depth;
    int64_t rows = 1, width = 1;
    quern__id flat = flat_ids(g, ids, s, &depth);
    for (int i = 0; flat && i < s->rank; i++)
        *(i < depth ? &rows : &width) *= s->dims[i];
    if (!flat || !updates)
        return 0;
    quern_shape to = { .rank = 2, .dims = { quern__shape_of(g, flat)->dims[0], width } };
    return quern__reshape(g, quern__scatter(g, flat, quern__reshape(g, updates, &to), rows), s);
}

static quern__id scatter(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                         bool training)
{
    (void)training;
    int64_t sizes[QUERN_MAX_RANK];
    int rank = quern__op_integers(l, g, "shape", sizes, QUERN_MAX_RANK);
    quern_shape s = { .rank = rank < 0 ? 0 : rank };
    for (int i = 0; i < rank; i++)
        s.dims[i] = sizes[i];
    return rank < 0 ? 0 : scattered(g, X("indices"), X("values"), &s);
}

/* Whether no two rows of a constant list are equal. */
static bool is_distinct(json_t *given)
{
    for (size_t i = 0; i < json_array_size(given); i++)
        for (size_t k = 0; k < i; k++)
            if (json_equal(json_array_get(given, i), json_array_get(given, k)))
                return false;
    return json_is_array(given);
}

/* Replaces elements, or adds, multiplies and compares. Except for sums, no index may occur twice. */
static quern__id scatter_update(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                bool training)
{
    (void)training;
    const char *how = quern__config_text(l->config, "reduction");
    quern__id x = X("inputs"), ids = X("indices"), updates = X("updates");
    if (!x || !ids || !updates)
        return 0;
    quern_shape s = *quern__shape_of(g, x);
    quern__id added = scattered(g, ids, updates, &s);
    if (how && !strcmp(how, "add"))
        return quern__add2(g, x, added);
    if (!is_distinct(quern__op_numbers(json_object_get(l->context->options, "indices"))))
        return quern__graph_fail(g, QUERN_UNSUPPORTED,
                                 "indices that are not constants, or occur twice, are in this "
                                 "version for reduction='add' only");
    quern__id ones = quern__broadcast(g, quern__op_number(g, 1), quern__shape_of(g, updates)),
              hit = scattered(g, ids, ones, &s), changed = added;
    if (how && (!strcmp(how, "max") || !strcmp(how, "min")))
        changed = quern__binary(g, how[1] == 'a' ? QUERN__MAXIMUM : QUERN__MINIMUM, x, added);
    else if (how && !strcmp(how, "mul"))
        changed = quern__mul2(g, x, added);
    else if (how)
        return quern__graph_fail(g, QUERN_INVALID, "reduction '%.20s' does not exist", how);
    return quern__select(g, hit, changed, x);
}

/* ---- slices ---- */

/* The constant start of each axis. Returns false: the graph has an error. */
static bool read_starts(quern__layer *l, quern__graph *g, int rank, int64_t *out)
{
    json_t *given = quern__op_numbers(json_object_get(l->context->options, "start_indices")), *v;
    size_t k;
    bool fits = (int)json_array_size(given) == rank;
    json_array_foreach(given, k, v)
    {
        fits = fits && json_is_integer(v) && json_integer_value(v) >= 0;
        if (fits)
            out[k] = json_integer_value(v);
    }
    if (!fits)
        quern__graph_fail(g, QUERN_UNSUPPORTED,
                          "start_indices must be a constant with one integer for each axis");
    return fits;
}

static quern__id slice(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)training;
    quern__id x = X("inputs");
    int64_t start[QUERN_MAX_RANK], size[QUERN_MAX_RANK];
    int rank = quern__op_rank(g, x),
        count = quern__op_integers(l, g, "shape", size, QUERN_MAX_RANK);
    if (!x || count != rank || !read_starts(l, g, rank, start))
        return x && count >= 0 && count != rank
                   ? quern__graph_fail(g, QUERN_SHAPE, "shape needs a size for each axis")
                   : 0;
    for (int i = 0; i < rank && x; i++) {
        int64_t own = quern__shape_of(g, x)->dims[i], left = own - start[i];
        if (start[i] == 0 && (size[i] == own || size[i] < 0 || (i == 0 && size[i] == l->records)))
            continue;
        if (!quern__op_closed(g, x, i, "a slice"))
            return 0;
        x = quern__slice(g, x, i, start[i], size[i] < 0 ? left : size[i]);
    }
    return x;
}

/* Replaces a part of a tensor. */
static quern__id slice_update(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                              bool training)
{
    (void)training;
    quern__id x = X("inputs"), part = X("updates"), zero = quern__op_number(g, 0), hit;
    int64_t start[QUERN_MAX_RANK];
    int rank = quern__op_rank(g, x);
    if (!x || !part || rank != quern__op_rank(g, part) || !read_starts(l, g, rank, start))
        return x && part && rank != quern__op_rank(g, part)
                   ? quern__graph_fail(g, QUERN_SHAPE, "updates need the axes of the tensor")
                   : 0;
    hit = quern__broadcast(g, quern__op_number(g, 1), quern__shape_of(g, part));
    for (int i = 0; i < rank && part; i++) {
        int64_t whole = quern__shape_of(g, x)->dims[i], own = quern__shape_of(g, part)->dims[i],
                after = whole - own - start[i];
        if (whole == own && start[i] == 0)
            continue;
        if (!quern__op_closed(g, x, i, "a slice") || !quern__op_closed(g, part, i, "a slice"))
            return 0;
        if (after < 0) /* TensorFlow moves the part into the tensor */
            start[i] += after, after = 0;
        if (start[i] < 0)
            return quern__graph_fail(g, QUERN_SHAPE, "updates are larger than the tensor");
        part = quern__pad(g, part, i, start[i], after, zero);
        hit = quern__pad(g, hit, i, start[i], after, zero);
    }
    return quern__select(g, hit, part, x);
}

/* The coordinates of an index into a shape, one result for each axis. Of a tensor of several axes,
 * Keras on TensorFlow divides by the first size first. */
static quern__id unravel_index(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                               bool training)
{
    (void)training;
    quern__id rest = X("indices"), parts[QUERN_MAX_RANK];
    int64_t sizes[QUERN_MAX_RANK];
    int rank = quern__op_integers(l, g, "shape", sizes, QUERN_MAX_RANK);
    bool vector = quern__op_rank(g, rest) == 1;
    if (!rest || rank < 1)
        return 0;
    for (int k = 0; k < rank; k++) {
        quern__id size = quern__op_number(g, (double)sizes[vector ? rank - 1 - k : k]);
        parts[rank - 1 - k] = quern__binary(g, QUERN__FLOOR_MOD, rest, size);
        rest = quern__binary(g, QUERN__FLOOR_DIV, rest, size);
    }
    for (int k = 1; k < rank; k++)
        quern__layer_result(l, parts[k], 0);
    return parts[0];
}

static const quern__call_arg segment_args[] = { { "data", false },
                                                { "segment_ids", false },
                                                { 0 } };
static const quern__call_arg scatter_args[] = { { "indices", false }, { "values", false }, { 0 } };
static const quern__call_arg update_args[] = {
    { "inputs", false }, { "indices", false }, { "updates", false }, { 0 }
};
static const quern__call_arg slice_args[] = { { "inputs", false },
                                              { "start_indices", false },
                                              { 0 } };
static const quern__call_arg slice_update_args[] = {
    { "inputs", false }, { "start_indices", false }, { "updates", false }, { 0 }
};
static const quern__call_arg indices_args[] = { { "indices", false }, { 0 } };
static const quern__field segment_fields[] = { { "num_segments", QUERN__F_ANY, "null" },
                                               { "sorted", QUERN__F_BOOL, "false" },
                                               { 0 } };
static const quern__field shape_fields[] = { { "shape", QUERN__F_ANY, NULL }, { 0 } };
static const quern__field reduction_fields[] = { { "reduction", QUERN__F_ANY, "null" }, { 0 } };

#define SEGMENT(ID, NAME) \
    QUERN__OPERATION_ROW(ID, NAME, "math", segment_fields, segment, segment_args, ID)
SEGMENT(segment_sum, "SegmentSum");
SEGMENT(segment_max, "SegmentMax");
SEGMENT(segment_min, "SegmentMin");
SEGMENT(segment_prod, "SegmentProd");
QUERN__OPERATION_ROW(scatter, "Scatter", "core", shape_fields, scatter, scatter_args, 0);
QUERN__OPERATION_ROW(scatter_update, "ScatterUpdate", "core", reduction_fields, scatter_update,
                     update_args, 0);
QUERN__OPERATION_ROW(slice, "Slice", "core", shape_fields, slice, slice_args, 0);
QUERN__OPERATION_ROW(slice_update, "SliceUpdate", "core", NULL, slice_update, slice_update_args, 0);
QUERN__OPERATION_ROW(unravel_index, "UnravelIndex", "numpy", shape_fields, unravel_index,
                     indices_args, 0);
