/* Convolution of float32 images, built on a tile of eight windows (or eight kernel positions) by 32
 * filters. An image is read in place. If windows exceed the image, a box of it is first copied with
 * zero padding, in pieces that fit in L2. The kernel is packed in panels of 32 filters. */
#include "conv_microkernel.h"
#include "vector.h"

#include "ops/convolve.h"

#include <string.h>

enum { rows_of_tile = QUERN__TILE_ROWS, columns_of_tile = QUERN__TILE_COLUMNS, room = 1 << 16 };

/* Windows [from, to) of each axis. */
typedef struct box {
    int64_t from[3], to[3];
} box;

/* The input of those windows: position k of the first is at data + k * dilation * pitch. */
typedef struct view {
    const float *data;
    int64_t pitch[3]; /* numbers from a position to the next, by axis */
} view;

static int64_t window_extent(const quern__space *s, int a, int64_t windows)
{
    return (windows - 1) * s->stride[a] + (s->kernel[a] - 1) * s->dilation[a] + 1;
}

static bool padded(const quern__space *s)
{
    for (int a = 0; a < 3; a++)
        if (s->before[a] > 0 || window_extent(s, a, s->out[a]) - s->before[a] > s->in[a])
            return true;
    return false;
}

/* Sets the number of windows of a box along each axis, so that their input fits the buffer; the
 * last axis is reduced last. Returns false if not even one window fits. */
static bool box_size(const quern__space *s, int64_t *size)
{
    memcpy(size, s->out, 3 * sizeof *size);
    for (int a = 0; a < 3;) {
        int64_t numbers = s->channels;
        for (int k = 0; k < 3; k++)
            numbers *= window_extent(s, k, size[k]);
        if (numbers <= room)
            return true;
        if (size[a] > 1)
            size[a] = (size[a] + 1) / 2;
        else
            a++;
    }
    return false;
}

/* Iterates over the boxes of an image, `size` windows each. Returns 1 while there is another. */
static bool next_box(const quern__space *s, const int64_t *size, box *b)
{
    for (int a = 2; a >= 0; a--) {
        b->from[a] += size[a];
        if (b->from[a] < s->out[a])
            break;
        if (a == 0)
            return false;
        b->from[a] = 0;
    }
    for (int a = 0; a < 3; a++)
        b->to[a] = b->from[a] + size[a] < s->out[a] ? b->from[a] + size[a] : s->out[a];
    return true;
}

static void first_box(const quern__space *s, const int64_t *size, box *b)
{
    for (int a = 0; a < 3; a++) {
        b->from[a] = 0;
        b->to[a] = size[a] < s->out[a] ? size[a] : s->out[a];
    }
}

/* Copies the input of a box of windows, with zeros outside the image. */
static view copy_box(const quern__space *s, const float *x, const box *b, float *to)
{
    int64_t from[3], n[3], c = s->channels;
    for (int a = 0; a < 3; a++) {
        from[a] = b->from[a] * s->stride[a] - s->before[a];
        n[a] = window_extent(s, a, b->to[a] - b->from[a]);
    }
    int64_t left = from[2] < 0 ? -from[2] : 0,
            last = s->in[2] - from[2] < n[2] ? s->in[2] - from[2] : n[2];
    left = left < n[2] ? left : n[2];
    last = last > left ? last : left;
    for (int64_t i = 0; i < n[0]; i++)
        for (int64_t j = 0; j < n[1]; j++) {
            float *row = to + (i * n[1] + j) * n[2] * c;
            int64_t at0 = from[0] + i, at1 = from[1] + j;
            if (at0 < 0 || at0 >= s->in[0] || at1 < 0 || at1 >= s->in[1]) {
                memset(row, 0, sizeof *row * (size_t)(n[2] * c));
                continue;
            }
            const float *own = x + ((at0 * s->in[1] + at1) * s->in[2] + from[2] + left) * c;
            memset(row, 0, sizeof *row * (size_t)(left * c));
            memcpy(row + left * c, own, sizeof *row * (size_t)((last - left) * c));
            memset(row + last * c, 0, sizeof *row * (size_t)((n[2] - last) * c));
        }
    return (view){ to, { n[1] * n[2] * c, n[2] * c, c } };
}

static view in_place(const quern__space *s, const float *x)
{
    return (view){ x, { s->in[1] * s->in[2] * s->channels, s->in[2] * s->channels, s->channels } };
}

/* ---- forward pass ---- */

/* Windows in C order of the output: `n` along records and axes. */
typedef struct block {
    view v;
    int64_t n[4], pitch[4]; /* records, then axes: distance in the view to the next */
    float *out;
} block;

/* One tile of windows by one panel of filters, summed over all kernel positions. `over`: numbers
 * after its columns may be overwritten, because later tiles write them. */
static void tile_of_windows(const quern__space *s, const view *v,
                            const float *const a[rows_of_tile], const float *panel, float *c,
                            int64_t rows, int64_t columns, bool over)
{
    bool joined = s->dilation[2] == 1; /* positions of a row are contiguous */
    int64_t k2 = joined ? 1 : s->kernel[2],
            length = joined ? s->kernel[2] * s->channels : s->channels;
    quern__runs r = { s->kernel[1],
                      length,
                      s->dilation[1] * v->pitch[1],
                      1,
                      s->kernel[2] * s->channels * columns_of_tile,
                      columns_of_tile };
    const float *row[rows_of_tile];
    if (s->kernel[0] == 1 && joined) {
        (over ? quern__runs_tile_over : quern__runs_tile)(&r, a, panel, c, s->filters, false, rows,
                                                          columns);
        return;
    }
    for (int64_t i = 0; i < s->kernel[0]; i++)
        for (int64_t j = 0; j < k2; j++) {
            int64_t shift = i * s->dilation[0] * v->pitch[0] + j * s->dilation[2] * v->pitch[2];
            for (int q = 0; q < rows_of_tile; q++)
                row[q] = a[q] + shift;
            quern__runs_tile(&r, row,
                             panel + (i * s->kernel[1] * s->kernel[2] + j) * s->channels *
                                         columns_of_tile,
                             c, s->filters, i + j > 0, rows, columns);
        }
}

/* A walk over the windows of a block: the input of window m, with m ascending from call to call. */
typedef struct walk {
    int64_t at[4]; /* indices of the next window, as n of block */
    const float *place;
} walk;

static const float *next_window(const block *b, walk *w)
{
    const float *place = w->place;
    for (int a = 3; a >= 0; a--) {
        w->place += b->pitch[a];
        if (++w->at[a] < b->n[a])
            break;
        w->place -= b->n[a] * b->pitch[a];
        w->at[a] = 0;
    }
    return place;
}

static void forward_block(const quern__space *s, const block *b, const float *packed)
{
    int64_t count = b->n[0] * b->n[1] * b->n[2] * b->n[3], depth = s->places * s->channels;
    for (int64_t f = 0; f < s->filters; f += columns_of_tile) {
        int64_t columns = s->filters - f < columns_of_tile ? s->filters - f : columns_of_tile;
        walk w = { .place = b->v.data };
        for (int64_t m = 0; m < count; m += rows_of_tile) {
            int64_t rows = count - m < rows_of_tile ? count - m : rows_of_tile;
            const float *a[rows_of_tile];
            for (int64_t i = 0; i < rows_of_tile; i++)
                a[i] = i < rows ? next_window(b, &w) : a[0];
            bool over = s->filters < columns_of_tile &&
                        (count - m - rows_of_tile) * s->filters >= columns_of_tile;
            tile_of_windows(s, &b->v, a, packed + f * depth, b->out + m * s->filters + f, rows,
                            columns, over);
        }
    }
}

/* A box of one record, in as few blocks as are contiguous in the output. */
static void forward_box(const quern__space *s, const view *v, const box *b, float *y,
                        const float *packed)
{
    int64_t n[3];
    for (int a = 0; a < 3; a++)
        n[a] = b->to[a] - b->from[a];
    bool rows = n[2] == s->out[2], planes = rows && n[1] == s->out[1];
    for (int64_t i = 0; i < (planes ? 1 : n[0]); i++)
        for (int64_t j = 0; j < (rows ? 1 : n[1]); j++) {
            int64_t at = ((b->from[0] + i) * s->out[1] + b->from[1] + j) * s->out[2] + b->from[2];
            block k = { .v = *v,
                        .n = { 1, planes ? n[0] : 1, rows ? n[1] : 1, n[2] },
                        .pitch = { 0, s->stride[0] * v->pitch[0], s->stride[1] * v->pitch[1],
                                   s->stride[2] * v->pitch[2] },
                        .out = y + at * s->filters };
            k.v.data += i * s->stride[0] * v->pitch[0] + j * s->stride[1] * v->pitch[1];
            forward_block(s, &k, packed);
        }
}

static int convolve_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    float copy[room] __attribute__((aligned(64)));
    quern__space s = quern__space_of(c->attr, &c->in[0].shape, &c->out[0].shape);
    int64_t first = c->axis < 0 ? 0 : begin, last = c->axis < 0 ? s.records : end, size[3];
    int64_t in = quern__space_numbers(s.in, s.channels),
            out = quern__space_numbers(s.out, s.filters);
    const float *x = c->in[0].data, *packed = c->in[2].data;
    float *y = c->out[0].data;
    if (!padded(&s)) {
        view v = in_place(&s, x + first * in);
        block b = { v,
                    { last - first, s.out[0], s.out[1], s.out[2] },
                    { in, s.stride[0] * v.pitch[0], s.stride[1] * v.pitch[1],
                      s.stride[2] * v.pitch[2] },
                    y + first * out };
        forward_block(&s, &b, packed);
        return 0;
    }
    box_size(&s, size);
    for (int64_t r = first; r < last; r++) {
        box b;
        first_box(&s, size, &b);
        do {
            view v = copy_box(&s, x + r * in, &b, copy);
            forward_box(&s, &v, &b, y + r * out, packed);
        } while (next_box(&s, size, &b));
    }
    return 0;
}

/* ---- gradient of the kernel ---- */

/* The input of kernel position m for the first window of a view. */
static const float *window_input(const quern__space *s, const view *v, int64_t m)
{
    int64_t q = m % s->channels, k = m / s->channels;
    int64_t k2 = k % s->kernel[2], k1 = k / s->kernel[2] % s->kernel[1],
            k0 = k / s->kernel[2] / s->kernel[1];
    return v->data + k0 * s->dilation[0] * v->pitch[0] + k1 * s->dilation[1] * v->pitch[1] +
           k2 * s->dilation[2] * v->pitch[2] + q;
}

/* The tile at the end of the right factor's array, where nothing after the end may be read. Windows
 * too near to the end for a full-width read are computed singly, with their filters copied. */
static void tile_at_end(const quern__runs *r, const float *const *a, const float *right, float *dw,
                        int64_t filters, bool add, int64_t rows, int64_t columns)
{
    int64_t near_end = (columns_of_tile + filters - 1) / filters,
            last_runs = (near_end + r->length - 1) / r->length;
    quern__runs whole = *r, rest = *r, one = *r;
    last_runs = last_runs < r->runs ? last_runs : r->runs;
    whole.runs -= last_runs;
    rest.runs = one.runs = one.length = 1;
    rest.length = last_runs == 1 && r->length > near_end ? r->length - near_end : 0;
    quern__runs_tile(&whole, a, right, dw, filters, add, rows, columns);
    for (int64_t n = whole.runs; n < r->runs; n++) {
        const float *row[rows_of_tile], *from = right + n * r->b_run;
        for (int q = 0; q < rows_of_tile; q++)
            row[q] = a[q] + n * r->a_run;
        quern__runs_tile(&rest, row, from, dw, filters, true, rows, columns);
        for (int64_t k = rest.length; k < r->length; k++) {
            float last[columns_of_tile] = { 0 };
            const float *own[rows_of_tile];
            memcpy(last, from + k * r->ldb, sizeof *last * (size_t)columns);
            for (int q = 0; q < rows_of_tile; q++)
                own[q] = row[q] + k * r->step;
            quern__runs_tile(&one, own, last, dw, filters, true, rows, columns);
        }
    }
}

/* Adds the windows of a box to rows [begin, end) of the gradient, which start at `dw`; `dy` belongs
 * to the record. `last`: nothing after it may be read. */
static void add_box(const quern__space *s, const view *v, const box *b, const float *dy, bool last,
                    int64_t begin, int64_t end, float *dw, bool add)
{
    bool ends = last && s->filters % 16;
    int64_t n[3];
    for (int a = 0; a < 3; a++)
        n[a] = b->to[a] - b->from[a];
    quern__runs r = { n[1],
                      n[2],
                      s->stride[1] * v->pitch[1],
                      s->stride[2] * v->pitch[2],
                      s->out[2] * s->filters,
                      s->filters };
    for (int64_t i = 0; i < n[0]; i++)
        for (int64_t f = 0; f < s->filters; f += columns_of_tile) {
            int64_t columns = s->filters - f < columns_of_tile ? s->filters - f : columns_of_tile;
            const float *right =
                dy +
                (((b->from[0] + i) * s->out[1] + b->from[1]) * s->out[2] + b->from[2]) *
                    s->filters +
                f;
            for (int64_t m = begin; m < end; m += rows_of_tile) {
                int64_t rows = end - m < rows_of_tile ? end - m : rows_of_tile;
                const float *a[rows_of_tile];
                for (int64_t q = 0; q < rows_of_tile; q++)
                    a[q] = q < rows ? window_input(s, v, m + q) + i * s->stride[0] * v->pitch[0]
                                    : a[0];
                float *to = dw + (m - begin) * s->filters + f;
                if (ends && columns % 16)
                    tile_at_end(&r, a, right, to, s->filters, add || i > 0, rows, columns);
                else
                    quern__runs_tile(&r, a, right, to, s->filters, add || i > 0, rows, columns);
            }
        }
}

/* Adds records [first, last) to rows [begin, end). */
static void add_records(const quern__call *c, const quern__space *s, int64_t first, int64_t last,
                        int64_t begin, int64_t end, float *dw)
{
    float copy[room] __attribute__((aligned(64)));
    int64_t in = quern__space_numbers(s->in, s->channels),
            out = quern__space_numbers(s->out, s->filters), size[3];
    bool outside = padded(s);
    if (outside)
        box_size(s, size);
    else
        memcpy(size, s->out, sizeof size);
    if (first == last)
        memset(dw, 0, sizeof *dw * (size_t)((end - begin) * s->filters));
    for (int64_t r = first; r < last; r++) {
        const float *x = (const float *)c->in[0].data + r * in,
                    *dy = (const float *)c->in[1].data + r * out;
        box b;
        first_box(s, size, &b);
        bool add = r > first;
        do {
            view v = outside ? copy_box(s, x, &b, copy) : in_place(s, x);
            add_box(s, &v, &b, dy, r == s->records - 1, begin, end, dw, add);
            add = true;
        } while (next_box(s, size, &b));
    }
}

static int weights_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    quern__space s = quern__space_of(c->attr, &c->in[0].shape, &c->in[1].shape);
    int64_t parts = c->attr->i[QUERN__WEIGHTS_PARTS], rows = s.places * s.channels;
    if (c->axis < 0)
        begin = 0, end = parts * rows;
    for (int64_t part = begin / rows; part * rows < end; part++) {
        int64_t from = begin > part * rows ? begin - part * rows : 0,
                to = end < (part + 1) * rows ? end - part * rows : rows;
        add_records(c, &s, s.records * part / parts, s.records * (part + 1) / parts, from, to,
                    (float *)c->out[0].data + (part * rows + from) * s.filters);
    }
    return 0;
}

/* ---- gradient of the image: windows times the kernel, whose columns are added at their input
 * positions (col2im) ---- */

/* Columns at a time, the most pieces, and the products of some windows with them; they fit in L1
 * and L2. */
enum { columns_of_back = 512, most_pieces = columns_of_back, room_of_back = 16 * columns_of_back };

/* Columns [from, to) are positions of one kernel row from `first` on, starting at `channel`. They
 * are contiguous in the image too (if dilated, within one position only). */
typedef struct piece {
    int64_t from, to, row[2], first, channel;
} piece;

static int pieces_of(const quern__space *s, int64_t at, int64_t columns, piece *p)
{
    int64_t along =
        s->dilation[2] == 1 ? s->kernel[2] * s->channels : s->channels; /* contiguous numbers */
    int n = 0;
    for (int64_t j = 0; j < columns; n++) {
        int64_t q = (at + j) % s->channels, k = (at + j) / s->channels,
                room_left = along - (at + j) % along;
        int64_t length = room_left < columns - j ? room_left : columns - j;
        p[n] = (piece){ j,
                        j + length,
                        { k / s->kernel[2] / s->kernel[1], k / s->kernel[2] % s->kernel[1] },
                        k % s->kernel[2],
                        q };
        j += length;
    }
    return n;
}

/* Adds a piece of `count` windows in C order from window `m` on. */
static void add_piece(const quern__space *s, const piece *p, int64_t m, int64_t count,
                      const float *z, int64_t ld, float *dx)
{
    int64_t o[3] = { m / s->out[2] / s->out[1], m / s->out[2] % s->out[1], m % s->out[2] },
            length = p->to - p->from;
    for (int64_t i = 0; i < count; i++, z += ld) {
        int64_t at0 = o[0] * s->stride[0] - s->before[0] + p->row[0] * s->dilation[0],
                at1 = o[1] * s->stride[1] - s->before[1] + p->row[1] * s->dilation[1],
                at2 = o[2] * s->stride[2] - s->before[2] + p->first * s->dilation[2];
        if (at0 >= 0 && at0 < s->in[0] && at1 >= 0 && at1 < s->in[1]) {
            int64_t from = at2 < 0 ? -at2 * s->channels - p->channel : 0,
                    to = (s->in[2] - at2) * s->channels - p->channel;
            float *own = dx + ((at0 * s->in[1] + at1) * s->in[2] + at2) * s->channels + p->channel;
            from = from > 0 ? from : 0;
            to = to < length ? to : length;
            for (int64_t j = from; j < to; j++)
                own[j] += z[p->from + j];
        }
        for (int a = 2; a >= 0 && ++o[a] == s->out[a]; a--)
            o[a] = 0;
    }
}

/* Adds the windows of a record, for columns [from, to) of the kernel, to the image. */
static void back_columns(const quern__space *s, int64_t from, int64_t to, const float *y,
                         const float *packed, float *z, float *dx)
{
    piece pieces[most_pieces];
    int64_t windows = quern__space_numbers(s->out, 1),
            ld = (to - from + columns_of_tile - 1) / columns_of_tile * columns_of_tile;
    int64_t at_once = room_of_back / ld / rows_of_tile * rows_of_tile;
    int n = pieces_of(s, from, to - from, pieces);
    for (int64_t m = 0; m < windows; m += at_once) {
        int64_t count = windows - m < at_once ? windows - m : at_once;
        quern__tile_product(count, ld, s->filters,
                            (quern__left){ y + m * s->filters, s->filters, 1 },
                            packed + from * s->filters, z, ld, false);
        for (int k = 0; k < n; k++)
            add_piece(s, &pieces[k], m, count, z, ld, dx);
    }
}

static int back_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    float z[room_of_back] __attribute__((aligned(64)));
    quern__space s = quern__space_of(c->attr, &c->out[0].shape, &c->in[0].shape);
    int64_t first = c->axis < 0 ? 0 : begin, last = c->axis < 0 ? s.records : end;
    int64_t image = quern__space_numbers(s.in, s.channels),
            windows = quern__space_numbers(s.out, 1), all = s.places * s.channels;
    for (int64_t r = first; r < last; r++) {
        float *dx = (float *)c->out[0].data + r * image;
        memset(dx, 0, sizeof *dx * (size_t)image);
        for (int64_t j = 0; j < all; j += columns_of_back)
            back_columns(&s, j, all - j < columns_of_back ? all : j + columns_of_back,
                         (const float *)c->in[0].data + r * windows * s.filters, c->in[2].data, z,
                         dx);
    }
    return 0;
}

/* ---- transposed kernel ---- */

static int turn_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *s = &c->in[0].shape;
    int64_t filters = s->dims[s->rank - 1], channels = s->dims[s->rank - 2],
            places = quern_shape_count(s) / channels / filters;
    (void)begin, (void)end;
    for (int64_t k = 0; k < places; k++) {
        const float *from = (const float *)c->in[0].data + k * channels * filters;
        float *to = (float *)c->out[0].data + (places - 1 - k) * channels * filters;
        for (int64_t q = 0; q < channels; q++)
            for (int64_t f = 0; f < filters; f++)
                to[f * channels + q] = from[q * filters + f];
    }
    return 0;
}

/* Whether the input of one window fits in the copy buffer. */
static bool window_fits(const quern__call *c)
{
    int64_t size[3];
    bool forward = c->op == &quern__op_convolve, weights = c->op == &quern__op_convolve_weights;
    if (!forward && !weights)
        return true;
    quern__space s =
        quern__space_of(c->attr, &c->in[0].shape, forward ? &c->out[0].shape : &c->in[1].shape);
    return !padded(&s) || box_size(&s, size);
}

quern__kernel *quern__cpu_convolve(const quern__call *c)
{
    static const quern__op_kernel all[] = { { &quern__op_convolve, convolve_kernel },
                                            { &quern__op_convolve_weights, weights_kernel },
                                            { &quern__op_convolve_back, back_kernel },
                                            { &quern__op_convolve_turn, turn_kernel },
                                            { 0 } };
    quern__kernel *kernel = quern__kernel_among(c, all);
    return kernel && window_fits(c) ? kernel : NULL;
}
