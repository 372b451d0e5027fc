/* wrappers: Bidirectional and TimeDistributed (keras.src.layers.rnn).
 *
 * Bidirectional owns two layers of opposite direction, each of which gets its half of the initial
 * states. The output of the backward layer is reversed, so that both have the order of time, and
 * then merged.
 *
 * TimeDistributed moves the steps into the records: (B, T, …) to (B * T, …), one call, and back.
 * The first dimension is -T then, that is T times the batch size. */
#include "rnn.h"

#include <stdio.h>
#include <string.h>

/* ---- Bidirectional: inner[0] runs forward, inner[1] backward in time ---- */

/* Builds both layers; without backward_layer, the backward one is a copy of the config of `layer`.
 */
static int bidirectional_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    static const char *const parts[2] = { "forward_layer", "backward_layer" };
    json_t *own = json_object_get(l->config, "layer"),
           *other = json_object_get(l->config, "backward_layer");
    (void)n;
    for (int k = 0; k < 2; k++) {
        bool copied = k == 1 && json_is_null(other);
        const char *name =
            quern__config_text(json_object_get(k && !copied ? other : own, "config"), "name");
        char path[128];
        snprintf(path, sizeof path, "%s_%.100s", k ? "backward" : "forward",
                 name && !strncmp(name, "forward_", 8) ? name + 8
                 : name                                ? name
                                                       : "layer");
        quern__layer *inner = quern__layer_inside(l, k && !copied ? other : own, path, err);
        if (!inner)
            return QUERN_UNSUPPORTED;
        if (!inner->kind->call_args || !json_object_get(inner->config, "go_backwards"))
            return quern__fail(err, QUERN_INVALID, l->name, "%s is not a recurrent layer",
                               inner->kind->name);
        if (copied)
            json_object_set_new(
                inner->config, "go_backwards",
                json_boolean(!quern__config_bool(l->inner[0]->config, "go_backwards")));
        json_object_set(inner->config, "zero_output_for_mask",
                        json_object_get(inner->config, "return_sequences"));
        int status = quern__layer_build_inside(l, inner, in, 1, parts[k], err);
        if (status < 0)
            return status;
    }
    bool same = quern__config_bool(l->inner[0]->config, "go_backwards") ==
                quern__config_bool(l->inner[1]->config, "go_backwards");
    return same ? quern__fail(err, QUERN_INVALID, l->name, "both layers have the same direction")
                : QUERN_OK;
}

/* Merges both sequences; without a mode, returns two outputs. */
static quern__id merge(quern__layer *l, quern__graph *g, quern__id a, quern__id b)
{
    const char *mode = quern__config_text(l->config, "merge_mode");
    if (!a || !b || !mode)
        return a;
    if (!strcmp(mode, "concat"))
        return quern__concat(g, (quern__id[]){ a, b }, 2, quern__shape_of(g, a)->rank - 1);
    if (!strcmp(mode, "mul"))
        return quern__mul2(g, a, b);
    if (!strcmp(mode, "sum"))
        return quern__add2(g, a, b);
    return !strcmp(mode, "ave")
               ? quern__scale(g, quern__add2(g, a, b), 0.5)
               : quern__graph_fail(g, QUERN_INVALID, "no merge_mode is called '%s'", mode);
}

/* Calls both layers, the backward one on the reversed sequence, and merges their outputs. */
static quern__id bidirectional_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                    bool training)
{
    quern__context side[2];
    quern__id given = quern__layer_argument(l, in, n, "mask", 0), y[2],
              args[1 + QUERN__MAX_CELL_STATES];
    quern__id mask = given ? given : quern__layer_mask(l, 0);
    int n_states = 0;
    while (quern__layer_argument(l, in, n, "initial_state", n_states))
        n_states++;
    for (int k = 0; k < 2; k++) {
        quern__id masks[1 + QUERN__MAX_CELL_STATES] = { mask };
        int arguments[1 + QUERN__MAX_CELL_STATES] = { 0 }, count = 1;
        args[0] = in[0];
        for (int i = 0; i < n_states / 2 && count <= QUERN__MAX_CELL_STATES; i++) {
            args[count] = quern__layer_argument(l, in, n, "initial_state", k * (n_states / 2) + i);
            arguments[count++] = 1;
        }
        side[k] = (quern__context){ .training = training, .masks = masks, .arguments = arguments };
        y[k] = quern__layer_call_inside(l, l->inner[k], g, args, count, &side[k]);
        side[k].masks = NULL;
        side[k].arguments = NULL;
    }
    if (l->context->stepping)
        l->context->stepping->refused = l->name;
    if (quern__config_bool(l->inner[0]->config, "return_sequences"))
        y[1] = quern__reverse(g, y[1], 1);
    quern__id out = merge(l, g, y[0], y[1]);
    l->context->mask_out[0] = side[0].mask_out[0];
    if (json_is_null(json_object_get(l->config, "merge_mode")))
        quern__layer_result(l, y[1], side[0].mask_out[0]);
    for (int k = 0; k < 2; k++)
        for (int i = 1; i < side[k].n_out; i++)
            quern__layer_result(l, side[k].out[i], 0);
    return out;
}

/* ---- TimeDistributed: the steps of all records become records ---- */

/* The shape (B * T, …) of (B, T, …). */
static quern_shape folded(const quern_shape *s)
{
    quern_shape out = { .rank = s->rank - 1, .dims = { s->dims[0] * s->dims[1] } };
    for (int i = 2; i < s->rank; i++)
        out.dims[i - 1] = s->dims[i];
    return out;
}

static quern_shape unfolded(const quern_shape *s, const quern_shape *like)
{
    quern_shape out = { .rank = s->rank + 1, .dims = { like->dims[0], like->dims[1] } };
    for (int i = 1; i < s->rank; i++)
        out.dims[i + 1] = s->dims[i];
    return out;
}

/* Builds the inner layer for the shape of one step. */
static int distributed_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    quern__layer *inner = quern__layer_inside(l, json_object_get(l->config, "layer"), "layer", err);
    quern_shape one = { .rank = in->rank - 1, .dims = { -1 } };
    (void)n;
    if (!inner)
        return QUERN_UNSUPPORTED;
    if (in->rank < 3)
        return quern__fail(err, QUERN_SHAPE, l->name, "needs inputs (records, steps, …)");
    for (int i = 2; i < in->rank; i++)
        one.dims[i - 1] = in->dims[i];
    return quern__layer_build_inside(l, inner, &one, 1, "layer", err);
}

/* Step by step: a layer that reads the whole batch (BatchNormalization) sees one step at a time, as
 * in Keras's loop. */
static quern__id each_step(quern__layer *l, quern__graph *g, quern__id x)
{
    enum { most = 1024 };
    quern_shape s = *quern__shape_of(g, x), one = { 0 };
    quern__id steps[most];
    if (s.dims[1] < 1 || s.dims[1] > most)
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "more than %d unrolled steps", most);
    for (int64_t t = 0; t < s.dims[1]; t++) {
        quern__context context = { .training = l->context->training };
        quern__id in = quern__step_of(g, x, t);
        steps[t] = in ? quern__layer_call_inside(l, l->inner[0], g, &in, 1, &context) : 0;
        if (!steps[t])
            return 0;
        one = *quern__shape_of(g, steps[t]);
        for (int i = one.rank++; i > 1; i--)
            one.dims[i] = one.dims[i - 1];
        one.dims[1] = 1;
        steps[t] = quern__reshape(g, steps[t], &one);
    }
    return quern__concat(g, steps, (int)s.dims[1], 1);
}

/* Whether a class has the call argument `mask`. */
static bool takes_mask(const quern__class *c)
{
    for (int i = 0; c->call_args && c->call_args[i].name; i++)
        if (!strcmp(c->call_args[i].name, "mask"))
            return true;
    return false;
}

/* Calls the inner layer with (B * T, …), or step by step where it reads the whole batch. */
static quern__id distributed_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                  bool training)
{
    quern_shape s = *quern__shape_of(g, in[0]), many = folded(&s);
    quern__id x = quern__reshape(g, in[0], &many);
    quern__context context = { .training = training };
    quern__id given = quern__layer_argument(l, in, n, "mask", 0);
    if (given && takes_mask(l->inner[0]->kind))
        return quern__graph_fail(g, QUERN_UNSUPPORTED,
                                 "a mask for each step of %s is not in this version",
                                 l->inner[0]->kind->name);
    l->context->mask_out[0] = given ? given : quern__layer_mask(l, 0);
    if (training && !strcmp(l->inner[0]->kind->name, "BatchNormalization"))
        return each_step(l, g, in[0]);
    quern__id y = quern__layer_call_inside(l, l->inner[0], g, &x, 1, &context);
    if (!y)
        return 0;
    quern_shape back = unfolded(quern__shape_of(g, y), &s);
    return quern__reshape(g, y, &back);
}

static const quern__field bidirectional_fields[] = { { "layer", QUERN__F_LAYER, NULL },
                                                     { "merge_mode", QUERN__F_TEXT, "\"concat\"" },
                                                     { "weights", QUERN__F_ONLY_DEFAULT, "null" },
                                                     { "backward_layer", QUERN__F_LAYER, "null" },
                                                     { 0 } };
static const quern__call_arg distributed_args[] = { { "inputs", false }, { "mask", false }, { 0 } };
static const quern__field distributed_fields[] = { { "layer", QUERN__F_LAYER, NULL }, { 0 } };

const quern__class quern__layer_bidirectional = { .group = QUERN__LAYER,
                                                  .name = "Bidirectional",
                                                  .aliases = "",
                                                  .module = "keras.layers",
                                                  .fields = bidirectional_fields,
                                                  .build = bidirectional_build,
                                                  .call = bidirectional_call,
                                                  .call_args = quern__sequence_takes,
                                                  .masks = QUERN__MASK_OWN };
const quern__class quern__layer_time_distributed = { .group = QUERN__LAYER,
                                                     .name = "TimeDistributed",
                                                     .aliases = "",
                                                     .module = "keras.layers",
                                                     .fields = distributed_fields,
                                                     .build = distributed_build,
                                                     .call = distributed_call,
                                                     .call_args = distributed_args,
                                                     .masks = QUERN__MASK_OWN,
                                                     .by_step = true };
