/* sort: the order of the last axis, and elements of it by index. argsort gives the indices of the
 * elements in sorted order; take_along selects elements by them, and its gradient, place_along,
 * adds elements at those indices. Sorting a tensor is take_along of its argsort. */
#include "build.h"

#include <math.h>

enum { most_places = 1 << 24 }; /* indices are float32 */

/* By rows, unless the first axis is the last one too. */
static int ways_of_rows(const quern__graph *g, const quern__node *node)
{
    return quern__shape_of(g, node->in[0])->rank > 1 ? QUERN__WAY_ROWS : QUERN__WAY_WHOLE;
}

/* ---- argsort: i[0] 1: from the largest to the smallest ---- */

/* Whether element a of a row comes before element b. Equal elements keep their order, and NaN is
 * last, as in NumPy. */
static bool sorts_before(const quern_tensor *x, int64_t row, bool down, int64_t a, int64_t b)
{
    double u = quern__get(x, row + a), v = quern__get(x, row + b);
    if (isnan(u) || isnan(v))
        return isnan(u) == isnan(v) ? a < b : isnan(v);
    if (u == v)
        return a < b;
    return down ? u > v : u < v;
}

/* Moves place `at` down the heap of the first n places, whose root is the last in the order. */
static void sift(const quern_tensor *x, int64_t row, bool down, float *places, int64_t at,
                 int64_t n)
{
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n &&
            sorts_before(x, row, down, (int64_t)places[child], (int64_t)places[child + 1]))
            child++;
        if (!sorts_before(x, row, down, (int64_t)places[at], (int64_t)places[child]))
            return;
        float other = places[at];
        places[at] = places[child];
        places[child] = other;
    }
}

/* Heapsort (Williams, "Algorithm 232", 1964) of the indices: it needs no memory besides the output,
 * and the comparison of indices makes it stable. */
static int argsort_reference(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *s = &c->in[0].shape;
    int64_t n = s->dims[s->rank - 1];
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    bool down = c->attr->i[0];
    for (int64_t row = p.start; row < p.start + p.length; row += n) {
        float *places = (float *)c->out[0].data + row;
        for (int64_t k = 0; k < n; k++)
            places[k] = (float)k;
        for (int64_t k = n / 2 - 1; k >= 0; k--)
            sift(&c->in[0], row, down, places, k, n);
        for (int64_t k = n - 1; k > 0; k--) {
            float last = places[0];
            places[0] = places[k];
            places[k] = last;
            sift(&c->in[0], row, down, places, 0, k);
        }
    }
    return 0;
}

const quern__op quern__op_argsort = { .name = "argsort",
                                      .ways = ways_of_rows,
                                      .reference = argsort_reference };

quern__id quern__argsort(quern__graph *g, quern__id x, bool down)
{
    if (!x)
        return 0;
    const quern_shape *s = quern__shape_of(g, x);
    if (s->rank < 1 || s->dims[s->rank - 1] < 1 || s->dims[s->rank - 1] > most_places)
        return quern__graph_fail(g, QUERN_SHAPE, "the axis to sort has 1 to %d elements",
                                 most_places);
    return quern__build(g, &quern__op_argsort, &x, 1, &(quern__attr){ .i = { down } }, s,
                        QUERN_FLOAT32);
}

/* ---- take_along and place_along: x (…, n), places (…, k) ---- */

/* The index of an element within its row; a negative index counts from the end. -1: outside. */
static int64_t place_of(const quern_tensor *places, int64_t i, int64_t n)
{
    double at = quern__get(places, i);
    at += at < 0 ? (double)n : 0;
    return at >= 0 && at < (double)n ? (int64_t)at : -1;
}

static int take_along_reference(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *s = &c->in[0].shape;
    int64_t n = s->dims[s->rank - 1], k = c->out[0].shape.dims[s->rank - 1];
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t i = p.start; i < p.start + p.length; i++) {
        int64_t at = place_of(&c->in[1], i, n);
        quern__set(&c->out[0], i, at < 0 ? NAN : quern__get(&c->in[0], i / k * n + at));
    }
    return 0;
}

static int place_along_reference(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *s = &c->out[0].shape;
    int64_t n = s->dims[s->rank - 1], k = c->in[0].shape.dims[s->rank - 1];
    quern__part p = quern__call_part(c, s, begin, end);
    for (int64_t row = p.start / n; row < (p.start + p.length) / n; row++) {
        for (int64_t i = 0; i < n; i++)
            quern__set(&c->out[0], row * n + i, 0);
        for (int64_t i = row * k; i < (row + 1) * k; i++) {
            int64_t at = place_of(&c->in[1], i, n);
            if (at >= 0)
                quern__set(&c->out[0], row * n + at,
                           quern__get(&c->out[0], row * n + at) + quern__get(&c->in[0], i));
        }
    }
    return 0;
}

static void take_along_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                                quern__id *dx)
{
    quern__id in[2] = { dy[0], node->in[1] }, x = node->in[0];
    dx[0] = quern__build(g, &quern__op_place_along, in, 2, NULL, quern__shape_of(g, x),
                         quern__dtype_of(g, dy[0]));
}

static void place_along_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                                 quern__id *dx)
{
    dx[0] = quern__take_along(g, dy[0], node->in[1]);
}

const quern__op quern__op_take_along = { .name = "take_along",
                                         .ways = ways_of_rows,
                                         .gradient = take_along_gradient,
                                         .reference = take_along_reference };
const quern__op quern__op_place_along = { .name = "place_along",
                                          .ways = ways_of_rows,
                                          .gradient = place_along_gradient,
                                          .reference = place_along_reference };

quern__id quern__take_along(quern__graph *g, quern__id x, quern__id places)
{
    if (!x || !places)
        return 0;
    const quern_shape *s = quern__shape_of(g, x), *p = quern__shape_of(g, places);
    char a[96], b[96];
    bool fits = s->rank == p->rank && s->rank > 0;
    for (int i = 0; fits && i + 1 < s->rank; i++)
        fits = s->dims[i] == p->dims[i];
    if (!fits)
        return quern__graph_fail(g, QUERN_SHAPE, "indices %s do not fit %s",
                                 quern_shape_text(p, a, sizeof a),
                                 quern_shape_text(s, b, sizeof b));
    return quern__build(g, &quern__op_take_along, (quern__id[]){ x, places }, 2, NULL, p,
                        quern__dtype_of(g, x));
}
