/* recurrence: rows, reference kernels and the gradient of recurrent ops. See recurrence.h for the
 * formulas.
 *
 * The reference kernels compute one unit of one step at a time, in double, straight from the
 * formulas. Arrays are indexed as (B, T, units) or (B, T, gates * units), gate by gate.
 *
 * The inputs of the three ops are optional in part. Bits of QUERN__RECURRENCE_OPTIONAL say which
 * are present, and quern__recurring_of assigns names to them in order. The fast kernels use that
 * function too.
 *
 * The gradient consists of nodes. The backward op gives dz, the gradients of the states, and for
 * GRU the gradient of the recurrent product. One matrix product over all steps then gives the
 * gradient of the recurrent kernel, and sums over (B, T) give those of the biases. */
#include "recurrence.h"

#include "build.h"

#include <math.h>
#include <string.h>

/* Bits of QUERN__RECURRENCE_OPTIONAL: the optional inputs of a node. */
enum { HAS_C = 1, HAS_BIAS = 2, HAS_OWN_BIAS = 4, HAS_MASK = 8, HAS_DC = 16, HAS_OWN = 32 };
enum { AT_C, AT_BIAS, AT_OWN_BIAS, AT_MASK }; /* the indices of optional inputs of the forward op */

static int gates_of(int cell)
{
    return cell == QUERN__CELL_LSTM ? 4 : cell == QUERN__CELL_GRU ? 3 : 1;
}
static int kept_of(int cell) { return cell == QUERN__CELL_SIMPLE ? 1 : 4; }

quern__recurring quern__recurring_of(const quern__call *call)
{
    const quern__attr *a = call->attr;
    bool back = call->op != &quern__op_recurrence, again = call->op == &quern__op_recurrence_again;
    quern__recurring r = { .cell = (int)a->i[QUERN__RECURRENCE_CELL],
                           .function = (int)a->i[QUERN__RECURRENCE_FUNCTION],
                           .gates = gates_of((int)a->i[QUERN__RECURRENCE_CELL]),
                           .lean = a->i[QUERN__RECURRENCE_LEAN] };
    const quern_tensor *next = call->in;
    /* in the order in which quern__recur and inputs_back append them */
    r.kept = kept_of(r.cell);
    if (!back || again)
        r.z = next++;
    r.own = a->i[QUERN__RECURRENCE_OPTIONAL] & HAS_OWN ? next++ : NULL;
    r.kernel = r.own ? NULL : next++;
    r.packed = r.own ? NULL : next++;
    r.h0 = next++;
    r.c0 = a->i[QUERN__RECURRENCE_OPTIONAL] & HAS_C ? next++ : NULL;
    r.bias = (!back || again) && a->i[QUERN__RECURRENCE_OPTIONAL] & HAS_BIAS ? next++ : NULL;
    r.own_bias =
        (!back || again) && a->i[QUERN__RECURRENCE_OPTIONAL] & HAS_OWN_BIAS ? next++ : NULL;
    r.mask = a->i[QUERN__RECURRENCE_OPTIONAL] & HAS_MASK ? next++ : NULL;
    if (back) {
        r.h = next++;
        r.left = r.lean ? NULL : next++;
        r.dh = next++;
        r.c = a->i[QUERN__RECURRENCE_OPTIONAL] & HAS_C ? next++ : NULL;
        r.dc = a->i[QUERN__RECURRENCE_OPTIONAL] & HAS_DC ? next++ : NULL;
        r.forward = again ? next++ : NULL;
    }
    const quern_shape *s = back ? &r.dh->shape : &call->out[0].shape;
    r.records = s->dims[0];
    r.steps = s->dims[1];
    r.units = s->dims[2];
    return r;
}

/* ---- forward ---- */

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static double simple(int function, double x)
{
    return function == QUERN__TANH ? tanh(x) : function == QUERN__RELU0 && x < 0 ? 0 : x;
}

/* The derivative of the simple cell's function, from its result y. */
static double simple_grad(int function, double y)
{
    return function == QUERN__TANH ? 1 - y * y : function == QUERN__RELU0 && y <= 0 ? 0 : 1;
}

/* Element i, or `none` if the optional array is missing. */
static double at_or(const quern_tensor *t, int64_t i, double none)
{
    return t ? quern__get(t, i) : none;
}

/* The state of a unit before step t. */
static double before(const quern_tensor *all, const quern_tensor *first, const quern__recurring *r,
                     int64_t b, int64_t t, int64_t u)
{
    return t ? quern__get(all, (b * r->steps + t - 1) * r->units + u)
             : quern__get(first, b * r->units + u);
}

/* Column `column` of h R + own bias, with h the state before step t. A decoder gives h R as an
 * input. */
static double recurrent_product(const quern__recurring *r, const quern_tensor *h, int64_t b,
                                int64_t t, int64_t column)
{
    double sum = at_or(r->own_bias, column, 0) + at_or(r->own, b * r->gates * r->units + column, 0);
    for (int64_t k = 0; k < r->units && r->kernel; k++)
        sum +=
            before(h, r->h0, r, b, t, k) * quern__get(r->kernel, k * r->gates * r->units + column);
    return sum;
}

/* The results of a step for one unit: the state h, the state c of LSTM, and `kept` numbers for the
 * backward pass. */
typedef struct made {
    double h, c, kept[4];
} made;

/* Computes one step of one unit from the states before it. */
static made cell_reference(const quern__recurring *r, const quern_tensor *h, const quern_tensor *c,
                           int64_t b, int64_t t, int64_t u)
{
    int64_t n = r->units;
    double z[4];
    for (int k = 0; k < r->gates; k++) {
        double own = recurrent_product(r, h, b, t, k * n + u);
        z[k] = quern__get(r->z, (b * r->steps + t) * r->gates * n + k * n + u) +
               at_or(r->bias, k * n + u, 0);
        if (r->cell == QUERN__CELL_GRU && k == 2)
            z[3] = own;
        else
            z[k] += own;
    }
    if (r->cell == QUERN__CELL_SIMPLE)
        return (made){ .h = simple(r->function, z[0]) };
    if (r->cell == QUERN__CELL_LSTM) {
        double i = sigmoid(z[0]), f = sigmoid(z[1]), g = tanh(z[2]), o = sigmoid(z[3]),
               cell = f * before(c, r->c0, r, b, t, u) + i * g;
        return (made){ .h = o * tanh(cell), .c = cell, .kept = { i, f, g, o } };
    }
    double zg = sigmoid(z[0]), rg = sigmoid(z[1]), ng = tanh(z[2] + rg * z[3]);
    return (made){ .h = zg * before(h, r->h0, r, b, t, u) + (1 - zg) * ng,
                   .kept = { zg, rg, z[3], ng } };
}

/* One unit of one step: stores the gates and the new states; a masked step repeats the old
 * states. */
static void step_reference(const quern__call *call, const quern__recurring *r, int64_t b, int64_t t,
                           int64_t u)
{
    const quern_tensor *h = &call->out[QUERN__FORWARD_H],
                       *c = r->cell == QUERN__CELL_LSTM ? &call->out[QUERN__FORWARD_C] : NULL;
    int64_t at = (b * r->steps + t) * r->units + u;
    made now = cell_reference(r, h, c, b, t, u);
    for (int k = 0; k < r->kept && !r->lean; k++)
        quern__set(&call->out[QUERN__FORWARD_LEFT],
                   (b * r->steps + t) * r->kept * r->units + k * r->units + u, now.kept[k]);
    bool on = at_or(r->mask, b * r->steps + t, 1) != 0;
    quern__set(&call->out[QUERN__FORWARD_H], at, on ? now.h : before(h, r->h0, r, b, t, u));
    if (c)
        quern__set(&call->out[QUERN__FORWARD_C], at, on ? now.c : before(c, r->c0, r, b, t, u));
}

/* The records of a call; a call without an axis has all of them. */
static void records_of(const quern__call *c, const quern__recurring *r, int64_t *begin,
                       int64_t *end)
{
    if (c->axis < 0)
        *begin = 0, *end = r->records;
}

static int recurrence_reference(const quern__call *c, int64_t begin, int64_t end)
{
    quern__recurring r = quern__recurring_of(c);
    records_of(c, &r, &begin, &end);
    for (int64_t b = begin; b < end; b++)
        for (int64_t t = 0; t < r.steps; t++)
            for (int64_t u = 0; u < r.units; u++)
                step_reference(c, &r, b, t, u);
    return 0;
}

/* ---- backward pass: dh and dc are carried from step to step in the outputs dh0 and dc0 ---- */

typedef struct flowing {
    quern_tensor *dz, *down, *dh, *dc; /* outputs; down, dc: NULL where the cell has none */
} flowing;

/* The backward pass of one unit at one step: gradients of its gates and of the state c. */
static void cell_back(const quern__recurring *r, const flowing *f, int64_t b, int64_t t, int64_t u)
{
    int64_t n = r->units, step = b * r->steps + t, at = step * n + u, kept = step * r->kept * n + u,
            z = step * r->gates * n + u;
    double dh = quern__get(f->dh, b * n + u), before_h = before(r->h, r->h0, r, b, t, u),
           a[4] = { 0 };
    /* the gates: recomputed, or as the forward pass stored them */
    if (r->z)
        memcpy(a, cell_reference(r, r->h, r->c, b, t, u).kept, sizeof a);
    for (int k = 0; k < r->kept && r->left; k++)
        a[k] = quern__get(r->left, kept + k * n);
    if (r->cell == QUERN__CELL_SIMPLE) {
        quern__set(f->dz, z, dh * simple_grad(r->function, quern__get(r->h, at)));
        quern__set(f->dh, b * n + u, 0);
    } else if (r->cell == QUERN__CELL_LSTM) {
        /* with c' = f c + i g and h' = o tanh(c'); a[] is i, f, g, o; dc is the gradient of c' */
        double y = tanh(quern__get(r->c, at)),
               dc = quern__get(f->dc, b * n + u) + dh * a[3] * (1 - y * y);
        quern__set(f->dz, z, dc * a[2] * a[0] * (1 - a[0]));
        quern__set(f->dz, z + n, dc * before(r->c, r->c0, r, b, t, u) * a[1] * (1 - a[1]));
        quern__set(f->dz, z + 2 * n, dc * a[0] * (1 - a[2] * a[2]));
        quern__set(f->dz, z + 3 * n, dh * y * a[3] * (1 - a[3]));
        quern__set(f->dc, b * n + u, dc * a[1]);
        quern__set(f->dh, b * n + u, 0);
    } else {
        /* a[] is z, r, the recurrent part of n, n; dn is the gradient before tanh */
        double dn = dh * (1 - a[0]) * (1 - a[3] * a[3]),
               grads[] = { dh * (before_h - a[3]) * a[0] * (1 - a[0]),
                           dn * a[2] * a[1] * (1 - a[1]), dn };
        for (int k = 0; k < 3; k++) {
            quern__set(f->dz, z + k * n, grads[k]);
            quern__set(f->down, z + k * n, k < 2 ? grads[k] : dn * a[1]);
        }
        quern__set(f->dh, b * n + u, dh * a[0]);
    }
}

/* The backward pass of one step of a record: first all units, then the product with the recurrent
 * kernel. */
static void step_back(const quern__recurring *r, const flowing *f, int64_t b, int64_t t)
{
    int64_t n = r->units, columns = r->gates * n, step = b * r->steps + t;
    const quern_tensor *through = f->down ? f->down : f->dz;
    /* dh and dc: what later steps passed back, and what the outputs of this step get */
    for (int64_t u = 0; u < n; u++) {
        quern__set(f->dh, b * n + u,
                   quern__get(f->dh, b * n + u) + quern__get(r->dh, step * n + u));
        if (r->dc)
            quern__set(f->dc, b * n + u,
                       quern__get(f->dc, b * n + u) + quern__get(r->dc, step * n + u));
    }
    if (at_or(r->mask, step, 1) == 0) { /* a masked step passes the gradients on */
        for (int64_t k = 0; k < columns; k++) {
            quern__set(f->dz, step * columns + k, 0);
            if (f->down)
                quern__set(f->down, step * columns + k, 0);
        }
        return;
    }
    for (int64_t u = 0; u < n; u++)
        cell_back(r, f, b, t, u);
    for (int64_t u = 0; u < n; u++) {
        double sum = quern__get(f->dh, b * n + u);
        for (int64_t k = 0; k < columns; k++)
            sum += quern__get(through, step * columns + k) * quern__get(r->kernel, u * columns + k);
        quern__set(f->dh, b * n + u, sum);
    }
}

static int back_reference(const quern__call *c, int64_t begin, int64_t end)
{
    quern__recurring r = quern__recurring_of(c);
    bool lstm = r.cell == QUERN__CELL_LSTM, gru = r.cell == QUERN__CELL_GRU;
    flowing f = { &c->out[QUERN__BACK_DZ], gru ? &c->out[QUERN__BACK_DOWN] : NULL,
                  &c->out[QUERN__BACK_DH0], lstm ? &c->out[QUERN__BACK_DC0] : NULL };
    records_of(c, &r, &begin, &end);
    for (int64_t b = begin; b < end; b++) {
        for (int64_t u = 0; u < r.units; u++) {
            quern__set(f.dh, b * r.units + u, 0);
            if (f.dc)
                quern__set(f.dc, b * r.units + u, 0);
        }
        for (int64_t t = r.steps - 1; t >= 0; t--)
            step_back(&r, &f, b, t);
    }
    return 0;
}

/* ---- the gradient as nodes ---- */

/* An array of zeros, for an output that the loss does not use. */
static quern__id zeros(quern__graph *g, const quern_shape *shape, int dtype)
{
    return quern__broadcast(g, quern__graph_constant(g, 0, dtype), shape);
}

/* The state before each step: (B, T, units). */
static quern__id states_before(quern__graph *g, quern__id first, quern__id all)
{
    quern_shape s = *quern__shape_of(g, all), one = s;
    one.dims[1] = 1;
    quern__id parts[2] = { quern__reshape(g, first, &one),
                           s.dims[1] > 1 ? quern__slice(g, all, 1, 0, s.dims[1] - 1) : 0 };
    return s.dims[1] > 1 ? quern__concat(g, parts, 2, 1) : parts[0];
}

/* A second node for a product, so that it is recomputed; another value is returned as it is. */
static quern__id made_again(quern__graph *g, quern__id id)
{
    const quern__value *v = quern__graph_value(g, id);
    const quern__node *node =
        v->kind == QUERN__VALUE_NODE ? quern__graph_node_at(g, v->node) : NULL;
    if (!node || !node->op->work || node->n_out > 1 || node->gate)
        return id;
    return quern__graph_node(g, node->op, node->name, node->in, node->n_in, &node->attr, &v->shape,
                             &v->dtype, 1, &id);
}

/* Collects the inputs of the backward node of `node`, whose optional inputs are at `at`. Returns
 * their number. */
static int inputs_back(quern__graph *g, const quern__node *node, const int *at, const quern__id *dy,
                       quern__id *in)
{
    bool lstm = node->attr.i[QUERN__RECURRENCE_CELL] == QUERN__CELL_LSTM,
         lean = node->attr.i[QUERN__RECURRENCE_LEAN],
         again = lean && node->attr.i[QUERN__RECURRENCE_CELL] != QUERN__CELL_SIMPLE;
    quern__id h = node->out[QUERN__FORWARD_H];
    quern_shape s = *quern__shape_of(g, h);
    int n = 0;
    if (again)
        in[n++] = made_again(g, node->in[0]);
    in[n++] = node->in[1];
    in[n++] = quern__pack(g, node->in[1], true);
    in[n++] = node->in[3];
    for (int k = 0; k < 4; k++)
        if (at[k] && (again || k == AT_C || k == AT_MASK))
            in[n++] = node->in[at[k]];
    in[n++] = h;
    if (!lean)
        in[n++] = node->out[QUERN__FORWARD_LEFT];
    in[n++] = dy[QUERN__FORWARD_H] ? dy[QUERN__FORWARD_H] : zeros(g, &s, quern__dtype_of(g, h));
    if (lstm)
        in[n++] = node->out[QUERN__FORWARD_C];
    if (lstm && dy[QUERN__FORWARD_C])
        in[n++] = dy[QUERN__FORWARD_C];
    if (again)
        in[n++] = node->in[2];
    return n;
}

/* Adds the backward op, and the gradients of kernel and biases from the gradients of all steps. */
static void recurrence_gradient(quern__graph *g, const quern__node *node, const quern__id *dy,
                                quern__id *dx)
{
    quern__attr attr = node->attr;
    int cell = (int)attr.i[QUERN__RECURRENCE_CELL], dtype = quern__dtype_of(g, node->in[0]),
        at[4] = { 0 }, next = 4;
    bool lstm = cell == QUERN__CELL_LSTM,
         again = attr.i[QUERN__RECURRENCE_LEAN] && cell != QUERN__CELL_SIMPLE;
    quern__id h0 = node->in[3], h = node->out[0], in[14], out[4];
    quern_shape zs = *quern__shape_of(g, node->in[0]), hs = *quern__shape_of(g, h0), work = hs;
    for (int k = 0; k < 4; k++)
        at[k] = attr.i[QUERN__RECURRENCE_OPTIONAL] & 1 << k ? next++ : 0;
    int n = inputs_back(g, node, at, dy, in);
    attr.i[QUERN__RECURRENCE_OPTIONAL] |= lstm && dy[QUERN__FORWARD_C] ? HAS_DC : 0;
    work.dims[1] =
        zs.dims[2] + hs.dims[1] + (again ? (kept_of(cell) + QUERN__AGAIN_UNITS) * hs.dims[1] : 0);
    quern_shape shapes[4] = { zs, hs, work, lstm ? hs : zs };
    int dtypes[4] = { dtype, dtype, dtype, dtype };
    const quern__op *op = again ? &quern__op_recurrence_again : &quern__op_recurrence_back;
    if (!quern__graph_node(g, op, op->name, in, n, &attr, shapes, dtypes, cell ? 4 : 3, out))
        return;
    /* gradients of the inputs: z, the recurrent kernel, the states, the biases */
    quern__id through = cell == QUERN__CELL_GRU ? out[QUERN__BACK_DOWN] : out[QUERN__BACK_DZ];
    dx[0] = out[QUERN__BACK_DZ];
    dx[1] = quern__matmul(g, states_before(g, h0, h), through, true, false);
    dx[3] = out[QUERN__BACK_DH0];
    if (at[AT_C])
        dx[at[AT_C]] = out[QUERN__BACK_DC0];
    if (at[AT_BIAS])
        dx[at[AT_BIAS]] =
            quern__unbroadcast(g, out[QUERN__BACK_DZ], quern__shape_of(g, node->in[at[AT_BIAS]]));
    if (at[AT_OWN_BIAS])
        dx[at[AT_OWN_BIAS]] =
            quern__unbroadcast(g, through, quern__shape_of(g, node->in[at[AT_OWN_BIAS]]));
}

/* The product with the state at each step; in the backward pass also that with its gradient. */
static double recurrence_work(const quern__attr *attr, const quern_shape *in,
                              const quern_shape *out)
{
    (void)in;
    const quern_shape *h = &out[QUERN__FORWARD_H];
    return (double)quern_shape_count(h) *
           (double)(gates_of((int)attr->i[QUERN__RECURRENCE_CELL]) * h->dims[h->rank - 1]);
}

static double back_work(const quern__attr *attr, const quern_shape *in, const quern_shape *out)
{
    (void)in;
    const quern_shape *dz = &out[QUERN__BACK_DZ];
    return (double)quern_shape_count(dz) * (double)dz->dims[dz->rank - 1] /
           gates_of((int)attr->i[QUERN__RECURRENCE_CELL]);
}

static double again_work(const quern__attr *attr, const quern_shape *in, const quern_shape *out)
{
    return 2 * back_work(attr, in, out);
}

const quern__op quern__op_recurrence = { .name = "recurrence",
                                         .ways = quern__ways_rows,
                                         .slice = QUERN__RECUR_SLICE,
                                         .inner =
                                             1u << QUERN__FORWARD_LEFT | 1u << QUERN__FORWARD_WORK,
                                         .gradient = recurrence_gradient,
                                         .reference = recurrence_reference,
                                         .work = recurrence_work };
const quern__op quern__op_recurrence_back = { .name = "recurrence_back",
                                              .ways = quern__ways_rows,
                                              .slice = QUERN__RECUR_SLICE,
                                              .inner = 1u << QUERN__BACK_WORK,
                                              .reference = back_reference,
                                              .work = back_work };
const quern__op quern__op_recurrence_again = { .name = "recurrence_again",
                                               .ways = quern__ways_rows,
                                               .slice = QUERN__RECUR_SLICE,
                                               .in_place = true,
                                               .inner = 1u << QUERN__BACK_WORK,
                                               .reference = back_reference,
                                               .work = again_work };

void quern__recur(quern__graph *g, const quern__recurrence *r, quern__id *h, quern__id *c)
{
    quern__id in[8], out[4] = { 0 };
    bool lstm = r->cell == QUERN__CELL_LSTM;
    int n = 0;
    *h = *c = 0;
    if (!r->z || (!r->kernel && !r->own) || !r->h || (lstm && !r->c))
        return;
    /* check the shapes: z (B, T, gates * units), kernel (units, gates * units), h (B, units) */
    quern_shape zs = *quern__shape_of(g, r->z), hs = *quern__shape_of(g, r->h), s = zs, left = zs,
                work = hs;
    int64_t units = hs.dims[hs.rank - 1], wide = gates_of(r->cell) * units;
    const quern_shape *ks = quern__shape_of(g, r->own ? r->own : r->kernel);
    if (zs.rank != 3 || hs.rank != 2 || ks->rank != 2 || ks->dims[1] != wide ||
        (!r->own && ks->dims[0] != units) || zs.dims[2] != wide) {
        quern__graph_fail(g, QUERN_SHAPE, "the recurrent kernel does not fit");
        return;
    }
    /* outputs: states, numbers for the backward pass, scratch, states c */
    s.dims[2] = units;
    bool lean = r->cell == QUERN__CELL_SIMPLE || quern__graph_is_lean(g);
    left.dims[1] = lean ? 1 : zs.dims[1];
    left.dims[2] = kept_of(r->cell) * units;
    work.dims[1] = wide + units;
    quern__attr attr = { .i = { [QUERN__RECURRENCE_CELL] = r->cell,
                                [QUERN__RECURRENCE_FUNCTION] = r->function,
                                [QUERN__RECURRENCE_LEAN] = lean } };
    const struct {
        quern__id id;
        int bit;
    } optional[] = { { lstm ? r->c : 0, HAS_C },
                     { r->bias, HAS_BIAS },
                     { r->own_bias, HAS_OWN_BIAS },
                     { r->mask, HAS_MASK } };
    /* inputs: the required ones, then the optional ones with their bits */
    in[n++] = r->z;
    in[n++] = r->own ? r->own : r->kernel;
    if (r->own)
        attr.i[QUERN__RECURRENCE_OPTIONAL] |= HAS_OWN;
    else
        in[n++] = quern__pack(g, r->kernel, false);
    in[n++] = r->h;
    for (size_t k = 0; k < sizeof optional / sizeof *optional; k++)
        if (optional[k].id) {
            in[n++] = optional[k].id;
            attr.i[QUERN__RECURRENCE_OPTIONAL] |= optional[k].bit;
        }
    int dtype = quern__dtype_of(g, r->z), dtypes[4] = { dtype, dtype, dtype, dtype };
    quern_shape shapes[4] = { s, left, work, s };
    quern__graph_node(g, &quern__op_recurrence, "recurrence", in, n, &attr, shapes, dtypes,
                      lstm ? 4 : 3, out);
    *h = out[QUERN__FORWARD_H];
    *c = out[QUERN__FORWARD_C];
}
