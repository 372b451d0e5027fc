/* multi_head_attention: MultiHeadAttention and GroupQueryAttention: projections of queries, keys
 * and values, attention per head, output projection. Kernels have Keras's shapes, (C, heads, D),
 * and are used as matrices (C, heads * D). Heads are adjacent in the last axis, so no transpose is
 * needed. Masks are combined as in keras.src.layers.attention. */
#include "keras/keras.h"

#include <math.h>
#include <stdio.h>

typedef struct form {
    int heads, shared;      /* query heads; key and value heads */
    int64_t dim, value_dim; /* size of a head: D */
    bool bias, gate;
    bool grouped; /* GroupQueryAttention, which combines masks differently */
    int at[4];    /* index of the first weight of query, key, gate, value; the output's are last */
} form;

enum { QUERY, KEY, GATE, VALUE };

/* Reads the config. */
static form form_of(const quern__layer *l)
{
    form f = { .bias = quern__config_bool(l->config, "use_bias"),
               .gate = quern__config_bool(l->config, "use_gate"),
               .grouped = l->kind->extra };
    f.heads = (int)quern__config_int(l->config, f.grouped ? "num_query_heads" : "num_heads");
    f.shared = f.grouped ? (int)quern__config_int(l->config, "num_key_value_heads") : f.heads;
    f.dim = f.value_dim = quern__config_int(l->config, f.grouped ? "head_dim" : "key_dim");
    if (!f.grouped && json_is_integer(json_object_get(l->config, "value_dim")))
        f.value_dim = quern__config_int(l->config, "value_dim");
    for (int k = 0, at = 0; k < 4; k++) {
        f.at[k] = at;
        at += k == GATE && !f.gate ? 0 : 1 + f.bias;
    }
    return f;
}

/* ---- weights ---- */

/* A kernel and optional bias that map `from` to `to`. The initializer sees a matrix; the weight has
 * Keras's shape. */
static int projection(quern__layer *l, const char *name, const char *place, const quern_shape *from,
                      const quern_shape *to, bool bias, quern_error *err)
{
    char path[64];
    quern_shape kernel = *from;
    for (int i = 0; i < to->rank && kernel.rank < QUERN_MAX_RANK; i++)
        kernel.dims[kernel.rank++] = to->dims[i];
    quern_shape matrix = { .rank = 2, .dims = { quern_shape_count(from), quern_shape_count(to) } };
    snprintf(path, sizeof path, "%s/kernel", name);
    quern__variable *v = quern__layer_weight(l, path, &matrix, "kernel_initializer", err);
    if (!v)
        return QUERN_NOMEM;
    v->shape = kernel;
    snprintf(path, sizeof path, "%s/bias", name);
    if (bias && !quern__layer_weight(l, path, to, "bias_initializer", err))
        return QUERN_NOMEM;
    quern__layer_place(l, 1 + bias, place);
    return QUERN_OK;
}

/* The shape of the output projection: the width of the queries, or output_shape. */
static int output_of(const quern__layer *l, int64_t width, quern_shape *out, quern_error *err)
{
    json_t *shape = json_object_get(l->config, "output_shape"), *d;
    size_t k;
    *out = (quern_shape){ .rank = 1,
                          .dims = { json_is_integer(shape) ? json_integer_value(shape) : width } };
    if (json_array_size(shape) > QUERN_MAX_RANK - 2)
        return quern__fail(err, QUERN_UNSUPPORTED, l->name, "output_shape has too many axes");
    if (json_array_size(shape))
        out->rank = 0;
    json_array_foreach(shape, k, d) out->dims[out->rank++] = json_integer_value(d);
    for (int i = 0; i < out->rank; i++)
        if (out->dims[i] < 1)
            return quern__fail(err, QUERN_INVALID, l->name, "output_shape must be positive");
    return QUERN_OK;
}

/* Checks the config and the shapes of queries, keys and values. */
static int check(const quern__layer *l, const form *f, const quern_shape *q, const quern_shape *k,
                 const quern_shape *v, quern_error *err)
{
    json_t *axes = json_object_get(l->config, "attention_axes"),
           *only = json_is_array(axes) ? json_array_get(axes, 0) : axes;
    double rate = quern__config_number(l->config, "dropout");
    char a[96], b[96];
    if (f->heads < 1 || f->shared < 1 || f->dim < 1 || f->value_dim < 1 || f->heads > 1 << 20 ||
        f->heads % f->shared)
        return quern__fail(err, QUERN_INVALID, l->name,
                           "%d heads of size %lld, %d heads of keys and values", f->heads,
                           (long long)f->dim, f->shared);
    if (!(rate >= 0 && rate <= 1))
        return quern__fail(err, QUERN_INVALID, l->name, "dropout %g is outside 0 … 1", rate);
    if (json_array_size(axes) > 1 ||
        (json_is_integer(only) && json_integer_value(only) != 1 && json_integer_value(only) != -2))
        return quern__fail(
            err, QUERN_UNSUPPORTED, l->name,
            "attention_axes: attention along axes other than 1 is not in this version");
    if (q->rank != 3 || k->rank != 3 || v->rank != 3)
        return quern__fail(
            err, QUERN_UNSUPPORTED, l->name,
            "queries %s and values %s: only (records, steps, width) is in this version",
            quern_shape_text(q, a, sizeof a), quern_shape_text(v, b, sizeof b));
    if (k->dims[1] != v->dims[1])
        return quern__fail(err, QUERN_SHAPE, l->name, "%lld keys for %lld values",
                           (long long)k->dims[1], (long long)v->dims[1]);
    return QUERN_OK;
}

/* The indices of the inputs that are query, key and value. */
static void places(const quern__layer *l, int n, int *query, int *key, int *value)
{
    *query = quern__layer_place_of(l, n, "query");
    *value = quern__layer_place_of(l, n, "value");
    *key = quern__layer_place_of(l, n, "key");
    *value = *value < 0 ? *query : *value;
    *key = *key < 0 ? *value : *key;
}

/* Adds the kernels and biases of all projections. */
static int heads_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    form f = form_of(l);
    int query, key, value;
    places(l, n, &query, &key, &value);
    if (query < 0)
        return quern__fail(err, QUERN_INVALID, l->name, "no query");
    const quern_shape *q = &in[query], *k = &in[key], *v = &in[value];
    quern_shape width = { .rank = 1 }, own = { .rank = 2, .dims = { f.heads, f.dim } },
                shared = { .rank = 2, .dims = { f.shared, f.dim } },
                values = { .rank = 2, .dims = { f.shared, f.value_dim } },
                joined = { .rank = 2, .dims = { f.heads, f.value_dim } }, out;
    int status = check(l, &f, q, k, v, err);
    if (status >= 0)
        status = output_of(l, q->dims[2], &out, err);
    width.dims[0] = status < 0 ? 0 : q->dims[2];
    if (status >= 0)
        status = projection(l, "query", f.grouped ? "_query_dense" : "query_dense", &width, &own,
                            f.bias, err);
    width.dims[0] = k->dims[2];
    if (status >= 0)
        status = projection(l, "key", f.grouped ? "_key_dense" : "key_dense", &width, &shared,
                            f.bias, err);
    width.dims[0] = q->dims[2];
    if (status >= 0 && f.gate)
        status = projection(l, "gate", "_gate_dense", &width, &joined, f.bias, err);
    width.dims[0] = v->dims[2];
    if (status >= 0)
        status = projection(l, "value", f.grouped ? "_value_dense" : "value_dense", &width, &values,
                            f.bias, err);
    if (status >= 0)
        status = projection(l, "attention_output", f.grouped ? "_output_dense" : "output_dense",
                            &joined, &out, f.bias, err);
    return status;
}

/* x times weight `at`, used as a matrix: the first `inner` axes of the kernel are its rows. */
static quern__id projected(const quern__layer *l, quern__graph *g, quern__id x, int at, int inner,
                           bool bias)
{
    const quern_shape *kernel = &l->weights[at]->shape;
    quern_shape matrix = { .rank = 2, .dims = { 1, 1 } };
    for (int i = 0; i < kernel->rank; i++)
        matrix.dims[i >= inner] *= kernel->dims[i];
    quern__id y = quern__matmul(
        g, x, quern__reshape(g, quern__graph_variable(g, l->weights[at]), &matrix), false, false);
    quern_shape row = { .rank = 1, .dims = { matrix.dims[1] } };
    return bias ? quern__add2(g, y,
                              quern__reshape(g, quern__graph_variable(g, l->weights[at + 1]), &row))
                : y;
}

/* ---- masks ---- */

/* Inserts axes of size 1 into a mask, so that it becomes (B, heads, Tq, Tk). */
static quern__id four_axes(quern__graph *g, quern__id mask, bool of_queries)
{
    quern_shape s = mask ? *quern__shape_of(g, mask) : (quern_shape){ 0 },
                to = { .rank = 4, .dims = { 1, 1, 1, 1 } };
    if (!mask || s.rank == 4)
        return mask;
    if (s.rank > 4 || s.rank < 2)
        return quern__graph_fail(g, QUERN_SHAPE, "a mask must have two to four axes");
    if (s.rank == 3) /* (B, Tq, Tk) */
        to = (quern_shape){ .rank = 4, .dims = { s.dims[0], 1, s.dims[1], s.dims[2] } };
    else
        to = (quern_shape){ .rank = 4,
                            .dims = { s.dims[0], 1, of_queries ? s.dims[1] : 1,
                                      of_queries ? 1 : s.dims[1] } };
    return quern__reshape(g, mask, &to);
}

/* The intersection of two masks; 0 stands for no mask. */
static quern__id both(quern__graph *g, quern__id a, quern__id b)
{
    return a && b ? quern__mul2(g, a, b) : a ? a : b;
}
/* A mask as float32. */
static quern__id as_float(quern__graph *g, quern__id x)
{
    return x && quern__graph_value(g, x)->dtype != QUERN_FLOAT32 ? quern__cast(g, x, QUERN_FLOAT32)
                                                                 : x;
}

/* 1 where |query - key| < window. */
static quern__id window_mask(quern__graph *g, int64_t queries, int64_t keys, int64_t window)
{
    quern_shape row = { .rank = 4, .dims = { 1, 1, queries, 1 } },
                column = { .rank = 4, .dims = { 1, 1, 1, keys } };
    quern__id gap = quern__sub2(g, quern__reshape(g, quern__iota(g, queries), &row),
                                quern__reshape(g, quern__iota(g, keys), &column));
    return quern__binary(g, QUERN__LESS, quern__unary_of(g, QUERN__ABS, gap),
                         quern__graph_constant(g, (double)window, QUERN_FLOAT32));
}

/* Combines the masks of queries, values and keys with the attention mask; the causal mask is
 * separate. MultiHeadAttention knows only the mask of its query input; the mask of keys counts when
 * keys are given. */
static quern__id mask_of(const quern__layer *l, quern__graph *g, const quern__id *in, int n,
                         const form *f)
{
    int query, key, value;
    places(l, n, &query, &key, &value);
    quern__id of_query = f->grouped ? quern__layer_argument(l, in, n, "query_mask", 0) : 0;
    quern__id of_value = quern__layer_argument(l, in, n, "value_mask", 0),
              of_key = quern__layer_argument(l, in, n, "key_mask", 0);
    /* masks that the call gives, otherwise those that the inputs carry */
    of_query = of_query ? of_query : quern__layer_mask(l, query);
    of_value = of_value ? of_value : quern__layer_mask(l, value);
    of_key = of_key || quern__layer_place_of(l, n, "key") < 0 ? of_key : quern__layer_mask(l, key);
    quern__id mask = four_axes(g, as_float(g, of_query), true);
    mask = both(g, mask, four_axes(g, as_float(g, of_value), false));
    if (of_key != of_value)
        mask = both(g, mask, four_axes(g, as_float(g, of_key), false));
    if (json_is_integer(json_object_get(l->config, "sliding_window")))
        mask = both(g, mask,
                    window_mask(g, quern__shape_of(g, in[query])->dims[1],
                                quern__shape_of(g, in[value])->dims[1],
                                quern__config_int(l->config, "sliding_window")));
    return both(
        g, mask,
        four_axes(g, as_float(g, quern__layer_argument(l, in, n, "attention_mask", 0)), false));
}

/* ---- small ops, for calls that return scores, or heads too large for the fused op ---- */

enum { widest = 256 };

/* (B, T, heads * D) to (B, heads * times, T, D); each head occurs `times` times. */
static quern__id by_head(quern__graph *g, quern__id x, int heads, int times)
{
    quern_shape s = *quern__shape_of(g, x),
                apart = { .rank = 5,
                          .dims = { s.dims[0], s.dims[1], heads, 1, s.dims[2] / heads } },
                many = apart,
                joined = { .rank = 4,
                           .dims = { s.dims[0], s.dims[1], heads * times, apart.dims[4] } };
    many.dims[3] = times;
    x = quern__reshape(g, quern__broadcast(g, quern__reshape(g, x, &apart), &many), &joined);
    return quern__transpose(g, x, (int[]){ 0, 2, 1, 3 });
}

/* 1 where the key is at or before the query, otherwise 0. */
static quern__id past_mask(quern__graph *g, int64_t queries, int64_t keys)
{
    quern_shape row = { .rank = 4, .dims = { 1, 1, queries, 1 } },
                column = { .rank = 4, .dims = { 1, 1, 1, keys } };
    return quern__binary(g, QUERN__GREATER_EQUAL, quern__reshape(g, quern__iota(g, queries), &row),
                         quern__reshape(g, quern__iota(g, keys), &column));
}

/* Attention from small ops; `scores` gets the attention weights. */
static quern__id with_scores(quern__layer *l, quern__graph *g, const quern__attended *a,
                             quern__id *scores)
{
    int times = a->heads / a->shared;
    quern__id q = by_head(g, quern__scale(g, a->q, a->scale), a->heads, 1),
              k = by_head(g, a->k, a->shared, times), v = by_head(g, a->v, a->shared, times),
              s = quern__batched_matmul(g, q, k, false, true), mask = a->mask;
    if (!s || !v)
        return 0;
    quern_shape whole = *quern__shape_of(g, s), back = *quern__shape_of(g, a->q);
    back.dims[2] = quern__shape_of(g, v)->dims[3] * a->heads;
    if (a->causal)
        mask = both(g, mask, past_mask(g, whole.dims[2], whole.dims[3]));
    if (mask)
        s = quern__select(g, mask, s, quern__graph_constant(g, -1e9, QUERN_FLOAT32));
    s = quern__softmax(g, s);
    if (mask)
        s = quern__select(g, mask, s, quern__graph_constant(g, 0, QUERN_FLOAT32));
    *scores = s;
    if (l->context->training && a->dropout > 0)
        s = quern__dropout(g, s, a->dropout, a->seed, 0);
    return quern__reshape(
        g, quern__transpose(g, quern__batched_matmul(g, s, v, false, false), (int[]){ 0, 2, 1, 3 }),
        &back);
}

/* ---- calls ---- */

/* Incremental decoding: appends keys and values to those of earlier steps. Only causal
 * self-attention supports it. */
static void keep_past(quern__layer *l, quern__graph *g, quern__attended *a, bool own)
{
    quern__stepping *s = l->context->stepping;
    if (!s)
        return;
    if (!own || !a->causal || a->mask) {
        s->refused = l->name;
        return;
    }
    for (int k = 0; k < 2; k++) {
        quern__id *x = k ? &a->v : &a->k;
        quern_shape shape = { .rank = 3,
                              .dims = { -1, s->context, quern__shape_of(g, *x)->dims[2] } };
        quern__variable *past = quern__layer_state(l, g, k, &shape);
        *x = past ? quern__append(g, past, quern__graph_variable(g, s->position), *x) : 0;
    }
    a->offset = quern__graph_variable(g, s->position);
}

static quern__id heads_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                            bool training)
{
    form f = form_of(l);
    int query, key, value;
    places(l, n, &query, &key, &value);
    double dropout = quern__config_number(l->config, "dropout");
    quern__attended a = { .q = projected(l, g, in[query], f.at[QUERY], 1, f.bias),
                          .k = projected(l, g, in[key], f.at[KEY], 1, f.bias),
                          .v = projected(l, g, in[value], f.at[VALUE], 1, f.bias),
                          .mask = mask_of(l, g, in, n, &f),
                          .heads = f.heads,
                          .shared = f.shared,
                          .causal = quern__layer_flag(l, "use_causal_mask"),
                          .zeros =
                              dropout > 0, /* Keras uses the variant without the fused op then */
                          .scale = 1 / sqrt((double)f.dim),
                          .dropout = training ? dropout : 0,
                          .seed = quern__config_seed(l->config, l->seed) };
    keep_past(l, g, &a, in[query] == in[value] && in[key] == in[value]);
    bool wanted = quern__layer_flag(l, "return_attention_scores"),
         narrow = f.dim <= widest && f.value_dim <= widest;
    quern__id scores = 0, y = wanted || (!narrow && !a.offset) ? with_scores(l, g, &a, &scores)
                                                               : quern__attention(g, &a);
    if (f.gate)
        y = quern__mul2(
            g, y,
            quern__unary_of(g, QUERN__SIGMOID, projected(l, g, in[query], f.at[GATE], 1, f.bias)));
    y = projected(l, g, y, l->n_weights - 1 - f.bias, 2, f.bias);
    const quern_shape *out = &l->weights[l->n_weights - 1 - f.bias]->shape;
    if (y && out->rank > 3) { /* output_shape has several axes */
        quern_shape s = *quern__shape_of(g, y);
        for (s.rank = 2; s.rank < out->rank; s.rank++)
            s.dims[s.rank] = out->dims[s.rank];
        y = quern__reshape(g, y, &s);
    }
    l->context->mask_out[0] = quern__layer_mask(l, query);
    if (wanted)
        quern__layer_result(l, scores, 0);
    return y;
}

/* ---- rows ---- */

#define COMMON \
    { "dropout", QUERN__F_NUMBER, "0.0" }, { "use_bias", QUERN__F_BOOL, "true" }
#define WEIGHTS                                                                              \
    { "sliding_window", QUERN__F_INT, "null" }, { "flash_attention", QUERN__F_ANY, "null" }, \
        QUERN__KERNEL_AND_BIAS_FIELDS, { "use_gate", QUERN__F_BOOL, "false" },               \
        { "seed", QUERN__F_INT, "null" },                                                    \
    {                                                                                        \
        0                                                                                    \
    }
static const quern__field multi_fields[] = { { "num_heads", QUERN__F_INT, NULL },
                                             { "key_dim", QUERN__F_INT, NULL },
                                             { "value_dim", QUERN__F_INT, "null" },
                                             COMMON,
                                             { "output_shape", QUERN__F_ANY, "null" },
                                             { "attention_axes", QUERN__F_ANY, "null" },
                                             WEIGHTS };
static const quern__field grouped_fields[] = { { "head_dim", QUERN__F_INT, NULL },
                                               { "num_query_heads", QUERN__F_INT, NULL },
                                               { "num_key_value_heads", QUERN__F_INT, NULL },
                                               COMMON,
                                               WEIGHTS };
/* Call flags. */
static const quern__field told[] = { { "use_causal_mask", QUERN__F_BOOL, "false" },
                                     { "return_attention_scores", QUERN__F_BOOL, "false" },
                                     { 0 } };
static const quern__call_arg heads_takes[] = {
    { "query" },    { "value" },          { "key" }, { "query_mask" }, { "value_mask" },
    { "key_mask" }, { "attention_mask" }, { 0 }
};

#define LAYER(ID, NAME, ALIASES, WRITTEN, FIELDS, EXTRA)                \
    const quern__class quern__layer_##ID = { .group = QUERN__LAYER,     \
                                             .name = NAME,              \
                                             .aliases = ALIASES,        \
                                             .written = WRITTEN,        \
                                             .module = "keras.layers",  \
                                             .fields = FIELDS,          \
                                             .build = heads_build,      \
                                             .call = heads_call,        \
                                             .call_args = heads_takes,  \
                                             .call_flags = told,        \
                                             .masks = QUERN__MASK_OWN,  \
                                             .removes_masks = !(EXTRA), \
                                             .by_step = true,           \
                                             .extra = EXTRA }
LAYER(multi_head_attention, "MultiHeadAttention", "", NULL, multi_fields, 0);
LAYER(grouped_query_attention, "GroupedQueryAttention", "GroupQueryAttention",
      "GroupQueryAttention", grouped_fields, 1);
