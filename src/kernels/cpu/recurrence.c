/* Recurrent layers of float32. A block of records runs through all steps without a barrier. Each
 * step is one product of its states with the packed recurrent kernel, then the cell. The formulas
 * are in ops/recurrence.h.
 *
 * Layouts, for a group of n <= 16 records and `units` units:
 *
 *   z, h, c, dz      as the op has them: (B, T, gates * units) or (B, T, units)
 *   tiles            the left factor of the product: eight records, transposed (width, 8)
 *   kept values      by step, then by record: (T, n, kept * units), so the rows of a step
 *                    are contiguous; with `lean` the rows of one step only
 *   packed kernel    panels of 32 columns, as quern__tile_pack_all writes them
 *
 * The product adds to the kept rows of a step: begin_row writes z and the biases there first. The
 * cell then replaces the sums by the gates. The scratch `work` has the tiles, then other rows of
 * the step.
 *
 * The backward pass walks from the last step to the first. dh and dc are carried in the outputs for
 * the initial states. */
#include "gemm_microkernel.h"
#include "vector.h"

#include "ops/recurrence.h"

#include <string.h>

enum { tile_rows = QUERN__TILE_ROWS, group = QUERN__RECUR_SLICE };

/* A group of records, with the arrays of a call as floats. */
typedef struct running {
    quern__recurring r;
    int64_t first, n; /* records */
    int64_t room;     /* numbers of `work` per record */
    const float *z, *h0, *c0, *bias, *own_bias, *own, *packed;
    float *h, *c, *left, *work;
    const float *dh_in, *dc_in, *forward;
    float *dz, *down, *dh, *dc;
    float *rows; /* kept values of the group, of all steps or of the present one */
} running;

static float *floats(const quern_tensor *t) { return t ? t->data : NULL; }

/* The start of the group's rows in the kept values. */
static float *left_rows(const running *k)
{
    return k->left + k->first * (k->r.lean ? 1 : k->r.steps) * k->r.kept * k->r.units;
}

/* The row of record b of the group at step t in the kept values. */
static float *left_row(const running *k, int64_t b, int64_t t)
{
    return k->rows + ((k->r.lean ? 0 : t) * k->n + b) * k->r.kept * k->r.units;
}

/* Whether step t of record b counts (mask). */
static bool is_on(const running *k, int64_t b, int64_t t)
{
    return !k->r.mask || quern__get(k->r.mask, (k->first + b) * k->r.steps + t) != 0;
}

/* The numbers of record b of the group in tiles of `width` rows. A tile has eight records, the last
 * one fewer. */
static float *tiled(float *tiles, const running *k, int64_t b, int64_t width, int64_t *step)
{
    int64_t from = b / tile_rows * tile_rows;
    *step = k->n - from < tile_rows ? k->n - from : tile_rows;
    return tiles + from * width + (b - from);
}

/* Writes the numbers of one record into the tiles. */
static void put_tiled(float *tiles, const running *k, int64_t b, int64_t width, const float *row)
{
    int64_t step;
    float *to = tiled(tiles, k, b, width, &step);
    for (int64_t i = 0; i < width; i++)
        to[i * step] = row[i];
}

/* rows += tiles × packed: (group, depth) by (depth, columns). */
static void product(const running *k, const float *packed, float *tiles, int64_t depth,
                    int64_t columns, float *rows, int64_t ld)
{
    for (int64_t j = 0; j < columns; j += QUERN__TILE_COLUMNS)
        for (int64_t b = 0; b < k->n; b += tile_rows) {
            int64_t step,
                width = columns - j < QUERN__TILE_COLUMNS ? columns - j : QUERN__TILE_COLUMNS;
            const float *left = tiled(tiles, k, b, depth, &step), *panel = packed + j * depth;
            for (int64_t p = 0; p < depth; p += QUERN__TILE_DEPTH)
                quern__tile(depth - p < QUERN__TILE_DEPTH ? depth - p : QUERN__TILE_DEPTH,
                            (quern__left){ left + p * step, 1, step },
                            panel + p * QUERN__TILE_COLUMNS, QUERN__TILE_COLUMNS, rows + b * ld + j,
                            ld, true, step, width);
        }
}

static void sum_of(int64_t n, const float *restrict a, const float *restrict b, float *restrict to)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = a[i] + b[i];
}

static void add_to(int64_t n, const float *restrict a, float *restrict to)
{
    for (int64_t i = 0; i < n; i++)
        to[i] += a[i];
}

/* ---- cells, forward ---- */

/* a: z + b + h R; replaced by the gates */
static void lstm_forward(int64_t n, float *restrict a, const float *restrict before,
                         float *restrict c, float *restrict h)
{
    float *restrict i = a, *restrict f = a + n, *restrict g = a + 2 * n, *restrict o = a + 3 * n;
    for (int64_t u = 0; u < n; u++) {
        i[u] = quern__sigmoid(i[u]);
        f[u] = quern__sigmoid(f[u]);
        g[u] = quern__tanh(g[u]);
        o[u] = quern__sigmoid(o[u]);
        c[u] = f[u] * before[u] + i[u] * g[u];
        h[u] = o[u] * quern__tanh(c[u]);
    }
}

/* a: h R + b', replaced by z, r, n' and n; x: z + b */
static void gru_forward(int64_t n, float *restrict a, const float *restrict x,
                        const float *restrict before, float *restrict h)
{
    float *restrict z = a, *restrict r = a + n, *restrict own = a + 2 * n,
                    *restrict new = a + 3 * n;
    for (int64_t u = 0; u < n; u++) {
        z[u] = quern__sigmoid(z[u] + x[u]);
        r[u] = quern__sigmoid(r[u] + x[n + u]);
        new[u] = quern__tanh(x[2 * n + u] + r[u] * own[u]);
        h[u] = z[u] * before[u] + (1 - z[u]) * new[u];
    }
}

/* The simple cell: h = f(a). */
static void tanh_forward(int64_t n, const float *restrict a, float *restrict h)
{
    for (int64_t u = 0; u < n; u++)
        h[u] = quern__tanh(a[u]);
}

static void relu_forward(int64_t n, const float *restrict a, float *restrict h)
{
    for (int64_t u = 0; u < n; u++)
        h[u] = a[u] > 0 ? a[u] : a[u] * 0;
}

/* Initializes a kept row with the terms that the product is added to. */
static void begin_row(const running *k, int64_t b, int64_t t)
{
    int64_t n = k->r.units, wide = k->r.gates * n;
    const float *z = k->z + ((k->first + b) * k->r.steps + t) * wide;
    float *a = left_row(k, b, t);
    if (k->own) {
        memcpy(a, k->own + (k->first + b) * wide, (size_t)wide * sizeof *a);
        if (k->r.cell != QUERN__CELL_GRU)
            add_to(wide, z, a);
        if (k->r.cell != QUERN__CELL_GRU && k->bias)
            add_to(wide, k->bias, a);
        if (k->own_bias)
            add_to(wide, k->own_bias, a);
    } else if (k->r.cell == QUERN__CELL_GRU && k->own_bias)
        memcpy(a, k->own_bias, (size_t)wide * sizeof *a);
    else if (k->r.cell == QUERN__CELL_GRU)
        memset(a, 0, (size_t)wide * sizeof *a);
    else if (k->bias)
        sum_of(wide, z, k->bias, a);
    else
        memcpy(a, z, (size_t)wide * sizeof *a);
}

/* The state of record b before step t. */
static const float *state_before(const running *k, const float *all, const float *first, int64_t b,
                                 int64_t t)
{
    int64_t n = k->r.units;
    return t ? all + ((k->first + b) * k->r.steps + t - 1) * n : first + (k->first + b) * n;
}

/* z plus its bias, in `x` if there is a bias. */
static const float *with_bias(const running *k, int64_t b, int64_t t, float *x)
{
    int64_t wide = k->r.gates * k->r.units;
    const float *z = k->z + ((k->first + b) * k->r.steps + t) * wide;
    if (!k->bias)
        return z;
    sum_of(wide, z, k->bias, x);
    return x;
}

/* The cell of one record at step t; a masked step copies the states. `x`: scratch for z and a
 * bias. */
static void cell_forward(const running *k, int64_t b, int64_t t, float *x)
{
    int64_t n = k->r.units, at = ((k->first + b) * k->r.steps + t) * n;
    const float *h = state_before(k, k->h, k->h0, b, t),
                *c = k->c ? state_before(k, k->c, k->c0, b, t) : NULL;
    float *a = left_row(k, b, t);
    if (!is_on(k, b, t)) {
        memcpy(k->h + at, h, (size_t)n * sizeof *h);
        if (c)
            memcpy(k->c + at, c, (size_t)n * sizeof *c);
    } else if (k->r.cell == QUERN__CELL_LSTM)
        lstm_forward(n, a, c, k->c + at, k->h + at);
    else if (k->r.cell == QUERN__CELL_GRU)
        gru_forward(n, a, with_bias(k, b, t, x), h, k->h + at);
    else if (k->r.function == QUERN__TANH)
        tanh_forward(n, a, k->h + at);
    else if (k->r.function == QUERN__RELU0)
        relu_forward(n, a, k->h + at);
    else
        memcpy(k->h + at, a, (size_t)n * sizeof *a);
}

/* A group of records through all steps. */
static void group_forward(running *k)
{
    int64_t n = k->r.units, kept = k->r.kept * n;
    float *tiles = k->work + k->first * k->room, *x = tiles + k->n * n;
    k->rows = left_rows(k);
    for (int64_t b = 0; b < k->n && !k->own; b++)
        put_tiled(tiles, k, b, n, k->h0 + (k->first + b) * n);
    for (int64_t t = 0; t < k->r.steps; t++) {
        for (int64_t b = 0; b < k->n; b++)
            begin_row(k, b, t);
        if (!k->own)
            product(k, k->packed, tiles, n, k->r.gates * n, left_row(k, 0, t), kept);
        for (int64_t b = 0; b < k->n; b++) {
            cell_forward(k, b, t, x);
            if (!k->own)
                put_tiled(tiles, k, b, n, k->h + ((k->first + b) * k->r.steps + t) * n);
        }
    }
}

/* ---- cells, backward ---- */

/* dc: gradient from the next step, replaced by that for the previous step; dz: gradients of the
 * gates. */
static void lstm_back(int64_t n, const float *restrict a, const float *restrict c,
                      const float *restrict before, const float *restrict dh, float *restrict dc,
                      float *restrict dz)
{
    const float *restrict i = a, *restrict f = a + n, *restrict g = a + 2 * n,
                          *restrict o = a + 3 * n;
    for (int64_t u = 0; u < n; u++) {
        float y = quern__tanh(c[u]), d = dc[u] + dh[u] * o[u] * (1 - y * y);
        dz[u] = d * g[u] * i[u] * (1 - i[u]);
        dz[n + u] = d * before[u] * f[u] * (1 - f[u]);
        dz[2 * n + u] = d * i[u] * (1 - g[u] * g[u]);
        dz[3 * n + u] = dh[u] * y * o[u] * (1 - o[u]);
        dc[u] = d * f[u];
    }
}

/* dh: gradient of h, replaced by its direct part for the previous step; down: gradients of h R. */
static void gru_back(int64_t n, const float *restrict a, const float *restrict before,
                     float *restrict dh, float *restrict dz, float *restrict down)
{
    const float *restrict z = a, *restrict r = a + n, *restrict own = a + 2 * n,
                          *restrict new = a + 3 * n;
    for (int64_t u = 0; u < n; u++) {
        float d = dh[u] * (1 - z[u]) * (1 - new[u] * new[u]);
        down[u] = dz[u] = dh[u] * (before[u] - new[u]) * z[u] * (1 - z[u]);
        down[n + u] = dz[n + u] = d * own[u] * r[u] * (1 - r[u]);
        dz[2 * n + u] = d;
        down[2 * n + u] = d * r[u];
        dh[u] *= z[u];
    }
}

/* dz = f' dh; f' follows from h. */
static void simple_back(int64_t n, int function, const float *restrict h, const float *restrict dh,
                        float *restrict dz)
{
    if (function == QUERN__TANH)
        for (int64_t u = 0; u < n; u++)
            dz[u] = dh[u] * (1 - h[u] * h[u]);
    else if (function == QUERN__RELU0)
        for (int64_t u = 0; u < n; u++)
            dz[u] = h[u] > 0 ? dh[u] : 0;
    else
        memcpy(dz, dh, (size_t)n * sizeof *dz);
}

/* The backward pass of one record at step t. Its gradients of h R go into the tiles. */
static void cell_back(const running *k, int64_t b, int64_t t, float *tiles)
{
    int64_t n = k->r.units, wide = k->r.gates * n, at = ((k->first + b) * k->r.steps + t) * n;
    float *dh = k->dh + (k->first + b) * n, *dc = k->dc ? k->dc + (k->first + b) * n : NULL,
          *dz = k->dz + at * k->r.gates, *down = k->down ? k->down + at * k->r.gates : dz;
    const float *before = state_before(k, k->h, k->h0, b, t);
    add_to(n, k->dh_in + at, dh);
    if (k->dc_in)
        add_to(n, k->dc_in + at, dc);
    if (!is_on(k, b, t)) {
        memset(dz, 0, (size_t)wide * sizeof *dz);
        memset(down, 0, (size_t)wide * sizeof *dz);
    } else if (k->r.cell == QUERN__CELL_LSTM) {
        lstm_back(n, left_row(k, b, t), k->c + at, state_before(k, k->c, k->c0, b, t), dh, dc, dz);
        memset(dh, 0, (size_t)n * sizeof *dh);
    } else if (k->r.cell == QUERN__CELL_GRU)
        gru_back(n, left_row(k, b, t), before, dh, dz, down);
    else {
        simple_back(n, k->r.function, k->h + at, dh, dz);
        memset(dh, 0, (size_t)n * sizeof *dh);
    }
    put_tiled(tiles, k, b, wide, down);
}

/* Recomputes the gates of a step from z and the previous states. `states` has the capacity for the
 * states as tiles, then for a row of z and the new states. */
static void gates_again(const running *k, int64_t t, float *states)
{
    int64_t n = k->r.units, wide = k->r.gates * n;
    float *x = states + k->n * n;
    for (int64_t b = 0; b < k->n; b++) {
        put_tiled(states, k, b, n, state_before(k, k->h, k->h0, b, t));
        begin_row(k, b, t);
    }
    product(k, k->forward, states, n, wide, left_row(k, 0, t), k->r.kept * n);
    for (int64_t b = 0; b < k->n; b++) {
        if (!is_on(k, b, t))
            continue;
        if (k->r.cell == QUERN__CELL_LSTM)
            lstm_forward(n, left_row(k, b, t), state_before(k, k->c, k->c0, b, t), x, x + n);
        else
            gru_forward(n, left_row(k, b, t), with_bias(k, b, t, x),
                        state_before(k, k->h, k->h0, b, t), x + wide);
    }
}

/* A group of records from the last step to the first. */
static void group_back(running *k)
{
    int64_t n = k->r.units, wide = k->r.gates * n;
    float *tiles = k->work + k->first * k->room,
          *states = tiles + k->n * (wide + n + k->r.kept * n);
    k->rows = k->z ? tiles + k->n * (wide + n) : k->left ? left_rows(k) : NULL;
    memset(k->dh + k->first * n, 0, (size_t)(k->n * n) * sizeof *k->dh);
    if (k->dc)
        memset(k->dc + k->first * n, 0, (size_t)(k->n * n) * sizeof *k->dc);
    for (int64_t t = k->r.steps - 1; t >= 0; t--) {
        if (k->z)
            gates_again(k, t, states);
        for (int64_t b = 0; b < k->n; b++)
            cell_back(k, b, t, tiles);
        /* dh += the gradients of h R, times the transposed kernel */
        product(k, k->packed, tiles, wide, n, k->dh + k->first * n, n);
    }
}

/* ---- kernels ---- */

/* Runs the groups of a call in order. */
static int each_group(running *k, const quern__call *c, int64_t begin, int64_t end,
                      void (*run)(running *k))
{
    if (c->axis < 0)
        begin = 0, end = k->r.records;
    for (k->first = begin; k->first < end; k->first += group) {
        k->n = end - k->first < group ? end - k->first : group;
        run(k);
    }
    return 0;
}

/* The inputs that both passes have. */
static running running_of(const quern__call *c)
{
    running k = { .r = quern__recurring_of(c) };
    k.z = floats(k.r.z);
    k.h0 = floats(k.r.h0);
    k.c0 = floats(k.r.c0);
    k.bias = floats(k.r.bias);
    k.own_bias = floats(k.r.own_bias);
    k.own = floats(k.r.own);
    k.packed = floats(k.r.packed);
    return k;
}

static int forward_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    running k = running_of(c);
    k.h = c->out[QUERN__FORWARD_H].data;
    k.left = c->out[QUERN__FORWARD_LEFT].data;
    k.work = c->out[QUERN__FORWARD_WORK].data;
    k.room = c->out[QUERN__FORWARD_WORK].shape.dims[1];
    k.c = k.r.cell == QUERN__CELL_LSTM ? c->out[QUERN__FORWARD_C].data : NULL;
    return each_group(&k, c, begin, end, group_forward);
}

static int back_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    running k = running_of(c);
    k.h = floats(k.r.h);
    k.c = floats(k.r.c);
    k.left = floats(k.r.left);
    k.forward = floats(k.r.forward);
    k.dh_in = floats(k.r.dh);
    k.dc_in = floats(k.r.dc);
    k.dz = c->out[QUERN__BACK_DZ].data;
    k.dh = c->out[QUERN__BACK_DH0].data;
    k.work = c->out[QUERN__BACK_WORK].data;
    k.room = c->out[QUERN__BACK_WORK].shape.dims[1];
    k.dc = k.r.cell == QUERN__CELL_LSTM ? c->out[QUERN__BACK_DC0].data : NULL;
    k.down = k.r.cell == QUERN__CELL_GRU ? c->out[QUERN__BACK_DOWN].data : NULL;
    return each_group(&k, c, begin, end, group_back);
}

/* Panels [begin, end) of a packed matrix. */
static int pack_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    bool t = c->attr->i[0];
    int64_t rows = c->in[0].shape.dims[t], columns = c->in[0].shape.dims[!t],
            ld = c->in[0].shape.dims[1], width = QUERN__TILE_COLUMNS;
    if (c->axis < 0)
        begin = 0, end = c->out[0].shape.dims[0];
    for (int64_t p = begin; p < end; p++) {
        int64_t from = p * width;
        const float *b = c->in[0].data;
        quern__tile_pack(t, t ? b + from * ld : b + from, ld, rows,
                         columns - from < width ? columns - from : width,
                         (float *)c->out[0].data + p * rows * width);
    }
    return 0;
}

quern__kernel *quern__cpu_recurrence(const quern__call *c)
{
    static const quern__op_kernel all[] = { { &quern__op_recurrence, forward_kernel },
                                            { &quern__op_recurrence_back, back_kernel },
                                            { &quern__op_recurrence_again, back_kernel },
                                            { &quern__op_pack, pack_kernel },
                                            { 0 } };
    if (c->in[0].dtype != QUERN_FLOAT32)
        return NULL;
    for (const quern__op_kernel *k = all; k->op; k++)
        if (c->op == k->op)
            return k->kernel;
    return NULL;
}
