/* dot_product_attention: Attention and AdditiveAttention on [query, value, key], with one head and
 * without projections, and Masking. Dot-product attention is one fused op unless the call returns
 * scores. Other variants use small ops, whose scores need memory for each pair of steps, (B, Tq,
 * Tk). */
#include "keras/keras.h"

#include <string.h>

#define ID quern__id

enum { widest = 256 }; /* largest size of a key for which the fused op is fast */

/* The arguments of a call. */
typedef struct given {
    ID q, v, k, q_mask, v_mask, scale, weight; /* weight: the scale of score_mode "concat" */
} given;

/* Collects the inputs and masks of a call. */
static given given_of(const quern__layer *l, quern__graph *g, const ID *in, int n)
{
    given a = { .q = quern__layer_argument(l, in, n, "inputs", 0),
                .v = quern__layer_argument(l, in, n, "inputs", 1),
                .k = quern__layer_argument(l, in, n, "inputs", 2),
                .q_mask = quern__layer_argument(l, in, n, "mask", 0),
                .v_mask = quern__layer_argument(l, in, n, "mask", 1) };
    a.k = a.k ? a.k : a.v;
    a.q_mask = a.q_mask ? quern__cast(g, a.q_mask, QUERN_FLOAT32) : quern__layer_mask(l, 0);
    a.v_mask = a.v_mask ? quern__cast(g, a.v_mask, QUERN_FLOAT32)
               : n > 1  ? quern__layer_mask(l, 1)
                        : 0;
    bool scaled = quern__config_bool(l->config, "use_scale");
    a.scale = scaled ? quern__graph_variable(g, l->weights[0]) : 0;
    a.weight = l->n_weights > scaled ? quern__graph_variable(g, l->weights[scaled]) : 0;
    return a;
}

/* Inserts an axis of size 1. */
static ID with_axis(quern__graph *g, ID x, int axis)
{
    quern_shape s = *quern__shape_of(g, x), to = { .rank = s.rank + 1 };
    for (int i = 0; i < to.rank; i++)
        to.dims[i] = i < axis ? s.dims[i] : i == axis ? 1 : s.dims[i - 1];
    return quern__reshape(g, x, &to);
}

/* sum(tanh(q + k)) over the last axis for each pair of steps. `inside` weights each term (additive)
 * or scales before tanh (concat). */
static ID pair_scores(quern__graph *g, const given *a, bool additive)
{
    ID both = quern__add2(g, with_axis(g, a->q, 2), with_axis(g, a->k, 1));
    if (a->scale && !additive)
        both = quern__mul2(g, both, a->scale);
    both = quern__unary_of(g, QUERN__TANH, both);
    if (a->scale && additive)
        both = quern__mul2(g, both, a->scale);
    ID sum = quern__reduce(g, QUERN__SUM, both, 1u << 3, false);
    return a->weight ? quern__mul2(g, sum, a->weight) : sum;
}

/* 1 where the key is at or before the query, otherwise 0: (1, Tq, Tk). */
static ID past_mask(quern__graph *g, int64_t queries, int64_t keys)
{
    quern_shape row = { .rank = 3, .dims = { 1, queries, 1 } },
                column = { .rank = 3, .dims = { 1, 1, keys } };
    return quern__binary(g, QUERN__GREATER_EQUAL, quern__reshape(g, quern__iota(g, queries), &row),
                         quern__reshape(g, quern__iota(g, keys), &column));
}

/* Subtracts 1e9 from masked scores, applies softmax and dropout, and multiplies with the values. */
static ID applied(quern__layer *l, quern__graph *g, const given *a, ID scores, double dropout,
                  uint64_t seed)
{
    if (!scores)
        return 0;
    quern_shape s = *quern__shape_of(g, scores);
    ID mask = a->v_mask ? with_axis(g, a->v_mask, 1) : 0;
    if (quern__layer_flag(l, "use_causal_mask")) {
        ID past = past_mask(g, s.dims[1], s.dims[2]);
        mask = mask ? quern__mul2(g, mask, past) : past;
    }
    if (mask)
        scores = quern__add2(g, scores, quern__unary(g, QUERN__AFFINE, mask, 1e9, -1e9, 0));
    ID shares =
        quern__dropout(g, quern__softmax(g, scores), l->context->training ? dropout : 0, seed, 0);
    ID y = quern__batched_matmul(g, shares, a->v, false, false);
    l->context->out[1] = shares;
    return y;
}

/* Dot-product attention as the fused op. */
static ID fused(quern__layer *l, quern__graph *g, const given *a, double dropout, uint64_t seed)
{
    quern_shape mask = { .rank = 4, .dims = { 1, 1, 1, quern__shape_of(g, a->k)->dims[1] } };
    if (a->v_mask)
        mask.dims[0] = quern__shape_of(g, a->v_mask)->dims[0];
    return quern__attention(
        g, &(quern__attended){ .q = a->scale ? quern__mul2(g, a->q, a->scale) : a->q,
                               .k = a->k,
                               .v = a->v,
                               .mask = a->v_mask ? quern__reshape(g, a->v_mask, &mask) : 0,
                               .heads = 1,
                               .shared = 1,
                               .causal = quern__layer_flag(l, "use_causal_mask"),
                               .scale = 1,
                               .dropout = l->context->training ? dropout : 0,
                               .seed = seed });
}

/* Uses the fused op for dot products without returned scores, otherwise small ops. */
static ID attention_call(quern__layer *l, quern__graph *g, const ID *in, int n, bool training)
{
    given a = given_of(l, g, in, n);
    double dropout = quern__config_number(l->config, "dropout");
    const char *mode = quern__config_text(l->config, "score_mode");
    bool additive = l->kind->extra, dots = !additive && (!mode || !strcmp(mode, "dot"));
    bool wanted = quern__layer_flag(l, "return_attention_scores");
    uint64_t seed = quern__config_seed(l->config, l->seed);
    (void)training;
    if (!a.q || !a.v)
        return quern__graph_fail(g, QUERN_INVALID,
                                 "needs a list of query, value and optionally key");
    if (quern__shape_of(g, a.q)->rank != 3 || quern__shape_of(g, a.v)->rank != 3 ||
        quern__shape_of(g, a.k)->rank != 3)
        return quern__graph_fail(g, QUERN_UNSUPPORTED,
                                 "only inputs (records, steps, width) are in this version");
    bool narrow =
        quern__shape_of(g, a.q)->dims[2] <= widest && quern__shape_of(g, a.v)->dims[2] <= widest;
    ID y, scores;
    if (dots && !wanted && narrow)
        y = fused(l, g, &a, dropout, seed);
    else {
        scores =
            dots ? quern__batched_matmul(g, a.q, a.k, false, true) : pair_scores(g, &a, additive);
        if (dots && a.scale)
            scores = quern__mul2(g, scores, a.scale);
        y = applied(l, g, &a, scores, dropout, seed);
    }
    if (a.q_mask)
        y = quern__select(g, with_axis(g, a.q_mask, 2), y,
                          quern__graph_constant(g, 0, QUERN_FLOAT32));
    l->context->mask_out[0] = a.q_mask;
    if (wanted)
        quern__layer_result(l, l->context->out[1], 0);
    return y;
}

/* Checks the inputs and the config; adds the weights of scaled and additive scores. */
static int attention_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    const char *mode = quern__config_text(l->config, "score_mode");
    bool additive = l->kind->extra;
    quern_shape scalar = { 0 }, row = { .rank = 1, .dims = { in[0].dims[in[0].rank - 1] } };
    double rate = quern__config_number(l->config, "dropout");
    if (n < 2)
        return quern__fail(err, QUERN_INVALID, l->name,
                           "needs a list of query, value and optionally key");
    if (!(rate >= 0 && rate <= 1))
        return quern__fail(err, QUERN_INVALID, l->name, "dropout %g is outside 0 … 1", rate);
    if (mode && strcmp(mode, "dot") && strcmp(mode, "concat"))
        return quern__fail(err, QUERN_INVALID, l->name, "score_mode '%s' is not dot or concat",
                           mode);
    if (quern__config_bool(l->config, "use_scale")) {
        json_t *spec = json_string("glorot_uniform");
        quern__variable *v = quern__layer_weight(l, "scale", additive ? &row : &scalar, "", err);
        int status = v && additive ? quern__initialize(spec, v, l->seed, err)
                     : v           ? QUERN_OK
                                   : QUERN_NOMEM;
        json_decref(spec);
        if (status < 0)
            return status;
        if (!additive)
            *(float *)v->data = 1;
    }
    if (mode && !strcmp(mode, "concat")) {
        quern__variable *v = quern__layer_weight(l, "concat_score_weight", &scalar, "", err);
        if (!v)
            return QUERN_NOMEM;
        *(float *)v->data = 1;
    }
    return QUERN_OK;
}

/* ---- Masking: steps whose elements all equal mask_value are masked and become 0 ---- */

static ID masking_call(quern__layer *l, quern__graph *g, const ID *in, int n, bool training)
{
    (void)n, (void)training;
    int last = quern__shape_of(g, in[0])->rank - 1;
    ID value =
        quern__graph_constant(g, quern__config_number(l->config, "mask_value"), QUERN_FLOAT32);
    ID other = quern__reduce(g, QUERN__REDUCE_MAX, quern__binary(g, QUERN__NOT_EQUAL, in[0], value),
                             1u << last, true);
    quern_shape steps = *quern__shape_of(g, in[0]);
    steps.rank--;
    l->context->mask_out[0] = quern__reshape(g, other, &steps);
    return quern__select(g, other, in[0], quern__graph_constant(g, 0, QUERN_FLOAT32));
}

static const quern__field attention_fields[] = { { "use_scale", QUERN__F_BOOL, "false" },
                                                 { "score_mode", QUERN__F_TEXT, "\"dot\"" },
                                                 { "dropout", QUERN__F_NUMBER, "0.0" },
                                                 { "seed", QUERN__F_INT, "null" },
                                                 { 0 } };
static const quern__field additive_fields[] = { { "use_scale", QUERN__F_BOOL, "true" },
                                                { "dropout", QUERN__F_NUMBER, "0.0" },
                                                { "seed", QUERN__F_INT, "null" },
                                                { 0 } };
static const quern__field masking_fields[] = { { "mask_value", QUERN__F_NUMBER, "0.0" }, { 0 } };
/* Call flags. */
static const quern__field told[] = { { "use_causal_mask", QUERN__F_BOOL, "false" },
                                     { "return_attention_scores", QUERN__F_BOOL, "false" },
                                     { 0 } };
static const quern__call_arg list_takes[] = { { "inputs", true }, { "mask", true }, { 0 } };

const quern__class quern__layer_attention = { .group = QUERN__LAYER,
                                              .name = "Attention",
                                              .aliases = "",
                                              .module = "keras.layers",
                                              .fields = attention_fields,
                                              .build = attention_build,
                                              .call = attention_call,
                                              .call_args = list_takes,
                                              .call_flags = told,
                                              .masks = QUERN__MASK_OWN };
const quern__class quern__layer_additive_attention = { .group = QUERN__LAYER,
                                                       .name = "AdditiveAttention",
                                                       .aliases = "",
                                                       .module = "keras.layers",
                                                       .fields = additive_fields,
                                                       .build = attention_build,
                                                       .call = attention_call,
                                                       .call_args = list_takes,
                                                       .call_flags = told,
                                                       .masks = QUERN__MASK_OWN,
                                                       .extra = 1 };
const quern__class quern__layer_masking = { .group = QUERN__LAYER,
                                            .name = "Masking",
                                            .aliases = "",
                                            .module = "keras.layers",
                                            .fields = masking_fields,
                                            .call = masking_call,
                                            .masks = QUERN__MASK_OWN,
                                            .by_step = true };
