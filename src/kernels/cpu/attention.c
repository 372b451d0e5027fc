/* Attention of float32 in tiles of 64 queries by 64 keys, after Dao et al., "FlashAttention", 2022.
 * Scores, exponentials and their products with the values are on the stack, in L1 and L2. When a
 * later tile of keys has a larger score, the earlier sums of the row are scaled down. A causal
 * kernel does not compute scores of future keys.
 *
 * Arrays are those of ops/attention.c. A head of q, k, v or y is a matrix with a leading dimension
 * of all heads, read in place; ld… is that dimension.
 *
 * Forward, for each head and 64 queries: for each 64 keys, s = q kᵀ; then the exponentials with the
 * running maximum; then sums += s v. At the end the sums are divided by the sum of exponentials.
 *
 * Backward, for each head of keys: for each 64 keys, dk and dv are accumulated over all queries of
 * all heads that share them. dq is accumulated over the tiles of keys, in order, in the output. All
 * sums have a fixed order. */
#include "small_gemm.h"
#include "vector.h"

#include <string.h>

#define NOWHERE -0x1p100f /* as ops/attention.c has it */
enum { tile = 64, widest = 256, lanes = 16, columns = 32 };
typedef float lane __attribute__((vector_size(64), aligned(4)));
typedef int32_t mask_lane __attribute__((vector_size(64), aligned(4)));
typedef float numbers[tile * widest] __attribute__((aligned(64)));
typedef float square[tile * tile] __attribute__((aligned(64)));

/* One head of a record. */
typedef struct head {
    int64_t steps, keys, d, e, ldq, ldk, ldv, ldy; /* T, S, sizes of a head */
    const float *q, *k, *v, *mask;
    int64_t mask_query, mask_key; /* strides of the mask */
    bool causal, zeros;
    int64_t offset, number; /* of the causal rule; index of the head */
    float scale;
    double rate; /* dropout rate */
    quern__random_key key;
    uint64_t record;
} head;

static int64_t min_int64(int64_t a, int64_t b) { return a < b ? a : b; }
/* Rounded up to whole tiles of 32 columns. */
static int64_t padded_width(int64_t n) { return (n + columns - 1) / columns * columns; }
/* Whether to omit the future. With a mask it is not omitted: a query that may attend to no key
 * attends to all. */
static int causal_part(const head *h, int part)
{
    return h->causal && !h->mask ? part : QUERN__SMALL_WHOLE;
}

/* Transposes `rows` rows: to[p * tile + i]. Pads with zeros to a whole vector. */
static void transpose(const float *x, int64_t ld, int64_t rows, int64_t width, float *to)
{
    for (int64_t i = 0; i < padded_width(rows); i++)
        for (int64_t p = 0; p < width; p++)
            to[p * tile + i] = i < rows ? x[i * ld + p] : 0;
}

/* Rows of a width of whole vectors: in place, or copied with zeros after them. */
static const float *padded_rows(const float *x, int64_t ld, int64_t rows, int64_t width,
                                float *room, int64_t *ldx)
{
    int64_t whole = padded_width(width);
    *ldx = whole == width ? ld : whole;
    if (whole == width)
        return x;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t p = 0; p < whole; p++)
            room[i * whole + p] = p < width ? x[i * ld + p] : 0;
    return room;
}

/* Number of keys of a tile that query t attends to. */
static int64_t visible_keys(const head *h, int64_t t, int64_t first, int64_t keys)
{
    int64_t n = h->causal ? t + h->offset + 1 - first : keys;
    return n < 0 ? 0 : min_int64(n, keys);
}

/* Scales and masks the scores of a query. Returns the number of keys of the tile in use. */
static inline __attribute__((always_inline)) int64_t
mask_scores(const head *h, int64_t t, int64_t first, int64_t keys, float *s)
{
    int64_t n = visible_keys(h, t, first, keys);
    for (int64_t j = 0; j < n; j++)
        s[j] *= h->scale;
    if (!h->mask)
        return n;
    const float *mask = h->mask + t * h->mask_query + first * h->mask_key;
    for (int64_t j = 0; j < keys; j++)
        s[j] = j < n && mask[j * h->mask_key] != 0 ? s[j] : NOWHERE;
    return keys;
}

/* Reduces a vector to one number by folding halves. */
#define FOLD(each, better)                         \
    for (int half = lanes / 2; half; half /= 2)    \
        for (int j = 0; j < half; j++) {           \
            float x = each[j], y = each[j + half]; \
            each[j] = better;                      \
        }

/* Maximum and sum of a row of whole vectors: by lane, then across lanes. */
static inline __attribute__((always_inline)) float row_max(const float *s, int64_t n, float most)
{
    lane best = { 0 };
    float each[lanes];
    best += most;
    for (int64_t i = 0; i < n; i += lanes) {
        mask_lane more = *(const lane *)(s + i) > best;
        best = (lane)((*(const mask_lane *)(s + i) & more) | ((mask_lane)best & ~more));
    }
    memcpy(each, &best, sizeof each);
    FOLD(each, y > x ? y : x)
    return each[0];
}

static inline __attribute__((always_inline)) float row_sum(const float *s, int64_t n)
{
    lane sum = { 0 };
    float each[lanes];
    for (int64_t i = 0; i < n; i += lanes)
        sum += *(const lane *)(s + i);
    memcpy(each, &sum, sizeof each);
    FOLD(each, x + y)
    return each[0];
}

/* n exponentials, n a multiple of the vector width. */
static inline __attribute__((always_inline)) void exponentials(float *s, int64_t n, float shift,
                                                               float factor)
{
    for (int64_t j = 0; j < n; j++)
        s[j] = quern__exp_falling(s[j] - shift) * factor;
}

/* Applies dropout to the probabilities of query t for keys first … first + n; n is a multiple of
 * four (ops/attention.c). */
static void dropout_factors(const head *h, int64_t t, int64_t first, int64_t n, float *chance)
{
    float left = h->rate < 1 ? (float)(1 / (1 - h->rate)) : 0;
    uint64_t at = (uint64_t)((h->number * h->steps + t) * ((h->keys + 3) / 4) + first / 4);
    for (int64_t j = 0; j < n; j += 4) {
        uint32_t bits[4];
        quern__random4(h->key, h->record, at + (uint64_t)j / 4, bits);
        for (int k = 0; k < 4; k++)
            chance[j + k] = (double)bits[k] * 0x1p-32 >= h->rate ? left : 0;
    }
}

/* Converts scores to exponentials and updates the running maximum and sum of each row; `factor`
 * scales the earlier sums. */
static void softmax_tile(const head *h, int64_t t, int64_t rows, int64_t first, int64_t keys,
                         float *s, float *most, float *sum, float *factor)
{
    for (int64_t i = 0; i < rows; i++, s += tile) {
        int64_t n = mask_scores(h, t + i, first, keys, s), whole = padded_width(n);
        for (int64_t j = n; j < whole; j++)
            s[j] = NOWHERE;
        float now = row_max(s, whole, most[i]);
        factor[i] = first && most[i] != now ? quern__exp_falling(most[i] - now) : 1;
        most[i] = now;
        exponentials(s, whole, now, 1);
        for (int64_t j = n; j < tile; j++)
            s[j] = 0;
        sum[i] = sum[i] * factor[i] + row_sum(s, whole);
        if (h->rate > 0) {
            float chance[tile];
            dropout_factors(h, t + i, first, whole, chance);
            for (int64_t j = 0; j < whole; j++)
                s[j] *= chance[j];
        }
    }
}

/* Queries t … t + rows of a head. `kept` belongs to the first of them, with `stride` between
 * queries. */
static void forward_queries(const head *h, int64_t t, int64_t rows, float *y, float *kept,
                            int64_t stride)
{
    numbers turned, room, sums;
    square s;
    float most[tile], sum[tile] = { 0 }, factor[tile];
    int64_t ep = padded_width(h->e),
            last = h->mask ? h->keys : visible_keys(h, t + rows - 1, 0, h->keys), ldv;
    for (int64_t i = 0; i < rows; i++)
        most[i] = NOWHERE;
    for (int64_t first = 0; first < last; first += tile) {
        int64_t n = min_int64(tile, last - first), shift = t + h->offset - first;
        const float *v = padded_rows(h->v + first * h->ldv, h->ldv, n, h->e, room, &ldv);
        /* scores: queries by transposed keys */
        transpose(h->k + first * h->ldk, h->ldk, n, h->d, turned);
        quern__small_product(&(quern__small){ rows, padded_width(n), h->d, h->q + t * h->ldq,
                                              h->ldq, 1, turned, tile, s, tile, false,
                                              causal_part(h, QUERN__SMALL_BELOW), shift });
        softmax_tile(h, t, rows, first, n, s, most, sum, factor);
        /* the sums so far, relative to the new maximum, then this tile's share */
        for (int64_t i = 0; first && i < rows; i++)
            for (int64_t p = 0; factor[i] != 1 && p < ep; p++)
                sums[i * ep + p] *= factor[i];
        quern__small_product(&(quern__small){ rows, ep, n, s, tile, 1, v, ldv, sums, ep, first > 0,
                                              causal_part(h, QUERN__SMALL_UP_TO), shift });
    }
    /* the result, and the statistics for the backward pass */
    for (int64_t i = 0; i < rows; i++) {
        float inverse = h->zeros && most[i] == NOWHERE ? 0 : 1 / sum[i];
        kept[i * stride] = most[i];
        kept[i * stride + 1] = inverse;
        for (int64_t p = 0; p < h->e; p++)
            y[i * h->ldy + p] = sums[i * ep + p] * inverse;
    }
}

/* Head `k` of record r, with its key and value heads. */
static head head_of(const quern__call *c, int64_t r, int64_t k)
{
    const quern__attr *a = c->attr;
    int64_t heads = a->i[QUERN__ATTENTION_HEADS], shared = a->i[QUERN__ATTENTION_SHARED];
    head h = { .steps = c->in[0].shape.dims[1],
               .keys = c->in[1].shape.dims[1],
               .ldq = c->in[0].shape.dims[2],
               .ldk = c->in[1].shape.dims[2],
               .ldv = c->in[2].shape.dims[2],
               .causal = a->i[QUERN__ATTENTION_CAUSAL],
               .zeros = a->i[QUERN__ATTENTION_ZEROS],
               .number = k,
               .scale = (float)a->f[QUERN__ATTENTION_SCALE],
               .rate = a->f[QUERN__ATTENTION_DROPOUT],
               .record = (uint64_t)(c->run->first + r) };
    if (h.rate > 0)
        h.key = quern__random_key_of(c->run->seed ^
                                         quern__hash64((uint64_t)a->i[QUERN__ATTENTION_SEED]),
                                     QUERN__RANDOM_DROPOUT, (uint64_t)c->run->epoch);
    h.d = h.ldq / heads;
    h.e = h.ldv / shared;
    h.ldy = h.e * heads;
    h.q = (const float *)c->in[0].data + r * h.steps * h.ldq + k * h.d;
    h.k = (const float *)c->in[1].data + r * h.keys * h.ldk + k / (heads / shared) * h.d;
    h.v = (const float *)c->in[2].data + r * h.keys * h.ldv + k / (heads / shared) * h.e;
    h.offset = a->i[QUERN__ATTENTION_OFFSET]
                   ? (int64_t)((const float *)c->in[a->i[QUERN__ATTENTION_OFFSET]].data)[0]
                   : 0;
    if (a->i[QUERN__ATTENTION_MASK]) {
        const int64_t *m = c->in[a->i[QUERN__ATTENTION_MASK]].shape.dims;
        h.mask = (const float *)c->in[a->i[QUERN__ATTENTION_MASK]].data +
                 (m[0] > 1 ? r * m[1] * m[2] * m[3] : 0) + (m[1] > 1 ? k * m[2] * m[3] : 0);
        h.mask_query = m[2] > 1 ? m[3] : 0;
        h.mask_key = m[3] > 1;
    }
    return h;
}

/* The first and last record of a call. */
static void record_range(const quern__call *c, int64_t *begin, int64_t *end)
{
    if (c->axis < 0)
        *begin = 0, *end = c->out[0].shape.dims[0];
}

/* Forward pass of records [begin, end): for each head, 64 queries at a time. */
static int attention_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    int64_t heads = c->attr->i[QUERN__ATTENTION_HEADS];
    record_range(c, &begin, &end);
    for (int64_t r = begin; r < end; r++)
        for (int64_t k = 0; k < heads; k++) {
            head h = head_of(c, r, k);
            for (int64_t t = 0; t < h.steps; t += tile)
                forward_queries(&h, t, min_int64(tile, h.steps - t),
                                (float *)c->out[0].data + (r * h.steps + t) * h.ldy + k * h.e,
                                (float *)c->out[1].data + ((r * h.steps + t) * heads + k) * 2,
                                2 * heads);
        }
    return 0;
}

/* ---- backward pass ---- */

/* Inputs of a tile of queries, and accumulators of a tile of keys. */
typedef struct back {
    const float *y, *kept, *dy; /* of the head */
    int64_t stride;             /* of kept */
    float *dq;
    numbers k_turned, v_turned, k_room, q_room, dy_room, dk, dv, part;
    square s, grad;
} back;

/* Probabilities of query t and their gradients, under dropout. */
static void dropout_grad(const head *h, int64_t t, int64_t first, int64_t n, float along, float *s,
                         float *grad)
{
    float chance[tile];
    dropout_factors(h, t, first, n, chance);
    for (int64_t j = 0; j < n; j++) {
        grad[j] = s[j] * (grad[j] * chance[j] - along) * h->scale;
        s[j] *= chance[j];
    }
}

/* Converts scores to probabilities, and gradients of probabilities to gradients of scores. */
static void score_grads(const head *h, const back *b, int64_t t, int64_t rows, int64_t first,
                        int64_t keys, float *s, float *grad)
{
    for (int64_t i = 0; i < rows; i++, s += tile, grad += tile) {
        const float *y = b->y + (t + i) * h->ldy, *dy = b->dy + (t + i) * h->ldy,
                    *kept = b->kept + (t + i) * b->stride;
        int64_t n = mask_scores(h, t + i, first, keys, s), whole = padded_width(n), p = 0;
        float along = 0, most = kept[0], inverse = kept[1];
        /* along = sum(dy y) of the query */
        lane sum = { 0 };
        for (; p + lanes <= h->e; p += lanes)
            sum += *(const lane *)(y + p) * *(const lane *)(dy + p);
        for (; p < h->e; p++)
            along += y[p] * dy[p];
        along += row_sum((const float *)&sum, lanes);
        for (int64_t j = n; j < whole; j++)
            s[j] = NOWHERE;
        exponentials(s, whole, most, inverse);
        if (h->rate > 0)
            dropout_grad(h, t + i, first, whole, along, s, grad);
        else
            for (int64_t j = 0; j < whole; j++)
                grad[j] = s[j] * (grad[j] - along) * h->scale;
        if (most <= NOWHERE) /* all keys are masked: probabilities are uniform, gradients are 0 */
            memset(grad, 0, sizeof(float) * tile);
        for (int64_t j = n; j < tile; j++)
            s[j] = grad[j] = 0;
    }
}

/* Queries t … t + rows of a head against keys first … first + n. Writes or adds to dq; adds to dk
 * and dv. */
static void backward_tile(const head *h, back *b, int64_t t, int64_t rows, int64_t first, int64_t n,
                          const float *k, int64_t ldk)
{
    int64_t dp = padded_width(h->d), ep = padded_width(h->e), shift = t + h->offset - first, ldq,
            ldy;
    int below = causal_part(h, QUERN__SMALL_BELOW), up_to = causal_part(h, QUERN__SMALL_UP_TO),
        from = causal_part(h, QUERN__SMALL_FROM);
    const float *q = h->q + t * h->ldq, *dy = b->dy + t * h->ldy;
    const float *q_rows = padded_rows(q, h->ldq, rows, h->d, b->q_room, &ldq),
                *dy_rows = padded_rows(dy, h->ldy, rows, h->e, b->dy_room, &ldy);
    /* the scores again, and the gradients of the probabilities: dy vᵀ */
    quern__small_product(&(quern__small){ rows, padded_width(n), h->d, q, h->ldq, 1, b->k_turned,
                                          tile, b->s, tile, false, below, shift });
    quern__small_product(&(quern__small){ rows, padded_width(n), h->e, dy, h->ldy, 1, b->v_turned,
                                          tile, b->grad, tile, false, below, shift });
    /* s becomes the probabilities, grad the gradients of the scores */
    score_grads(h, b, t, rows, first, n, b->s, b->grad);
    quern__small_product(
        &(quern__small){ n, ep, rows, b->s, 1, tile, dy_rows, ldy, b->dv, ep, true, from, shift });
    quern__small_product(&(quern__small){ n, dp, rows, b->grad, 1, tile, q_rows, ldq, b->dk, dp,
                                          true, from, shift });
    quern__small_product(
        &(quern__small){ rows, dp, n, b->grad, tile, 1, k, ldk, b->part, dp, false, up_to, shift });
    /* dq += grad k; the first tile of keys writes */
    for (int64_t i = 0; i < rows; i++)
        for (int64_t p = 0; p < h->d; p++) {
            float *to = b->dq + (t + i) * h->ldq + p;
            *to = (first ? *to : 0) + b->part[i * dp + p];
        }
}

/* One key-value head of a record, with all query heads that share it. */
static void backward_head(const quern__call *c, int64_t r, int64_t shared)
{
    int64_t heads = c->attr->i[QUERN__ATTENTION_HEADS],
            group = heads / c->attr->i[QUERN__ATTENTION_SHARED];
    const quern_tensor *y = &c->in[c->n_in - 3];
    head h = head_of(c, r, shared * group);
    int64_t dp = padded_width(h.d), ep = padded_width(h.e), ldk;
    back b; /* not cleared: every element in use is written before it is read */
    b.stride = 2 * heads;
    for (int64_t first = 0; first < h.keys; first += tile) {
        int64_t n = min_int64(tile, h.keys - first);
        const float *k = padded_rows(h.k + first * h.ldk, h.ldk, n, h.d, b.k_room, &ldk);
        transpose(h.k + first * h.ldk, h.ldk, n, h.d, b.k_turned);
        transpose(h.v + first * h.ldv, h.ldv, n, h.e, b.v_turned);
        memset(b.dk, 0, sizeof(float) * (size_t)(n * dp));
        memset(b.dv, 0, sizeof(float) * (size_t)(n * ep));
        /* all heads of queries that share these keys */
        for (int64_t m = shared * group; m < (shared + 1) * group; m++) {
            h = head_of(c, r, m);
            b.y = (const float *)y[0].data + r * h.steps * h.ldy + m * h.e;
            b.kept = (const float *)y[1].data + (r * h.steps * heads + m) * 2;
            b.dy = (const float *)y[2].data + r * h.steps * h.ldy + m * h.e;
            b.dq = (float *)c->out[0].data + r * h.steps * h.ldq + m * h.d;
            for (int64_t t = 0; t < h.steps; t += tile) {
                int64_t rows = min_int64(tile, h.steps - t);
                if (h.mask || visible_keys(&h, t + rows - 1, first, n) > 0)
                    backward_tile(&h, &b, t, rows, first, n, k, ldk);
            }
        }
        /* the gradients of these keys and values are complete */
        for (int64_t i = 0; i < n; i++) {
            memcpy((float *)c->out[1].data + (r * h.keys + first + i) * h.ldk + shared * h.d,
                   b.dk + i * dp, sizeof(float) * (size_t)h.d);
            memcpy((float *)c->out[2].data + (r * h.keys + first + i) * h.ldv + shared * h.e,
                   b.dv + i * ep, sizeof(float) * (size_t)h.e);
        }
    }
}

static int attention_grad_kernel(const quern__call *c, int64_t begin, int64_t end)
{
    record_range(c, &begin, &end);
    for (int64_t r = begin; r < end; r++)
        for (int64_t shared = 0; shared < c->attr->i[QUERN__ATTENTION_SHARED]; shared++)
            backward_head(c, r, shared);
    return 0;
}

quern__kernel *quern__cpu_attention(const quern__call *c)
{
    bool forward_pass = c->op == &quern__op_attention,
         back_pass = c->op == &quern__op_attention_grad;
    if ((!forward_pass && !back_pass) || !quern__inputs_are_floats(c))
        return NULL;
    if (c->in[0].shape.dims[2] / c->attr->i[QUERN__ATTENTION_HEADS] > widest ||
        c->in[2].shape.dims[2] / c->attr->i[QUERN__ATTENTION_SHARED] > widest)
        return NULL;
    return forward_pass ? attention_kernel : attention_grad_kernel;
}
