/* merging: layers that merge several values into one: Add, Subtract, Multiply, Average, Maximum,
 * Minimum, Concatenate; and the union of their masks. */
#include "keras/layers/layer_rows.h"

void quern__match_input_ranks(quern__graph *g, const quern__id *in, int n, quern__id *out)
{
    int most = 0;
    for (int i = 0; i < n; i++)
        most = quern__shape_of(g, in[i])->rank > most ? quern__shape_of(g, in[i])->rank : most;
    for (int i = 0; i < n; i++) {
        quern_shape s = *quern__shape_of(g, in[i]), wide = { .rank = most, .dims = { s.dims[0] } };
        for (int k = 1; k < most; k++)
            wide.dims[k] = k > most - s.rank ? s.dims[k - most + s.rank] : 1;
        out[i] = s.rank == most || s.rank == 0 ? in[i] : quern__reshape(g, in[i], &wide);
    }
}

static quern__id merged(quern__graph *g, int function, const quern__id *in, int n)
{
    quern__id x[QUERN__MAX_ARGUMENTS], y;
    quern__match_input_ranks(g, in, n, x);
    y = x[0];
    for (int i = 1; i < n; i++)
        y = quern__binary(g, function, y, x[i]);
    return y;
}

static quern__id add_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          bool training)
{
    quern__id x[QUERN__MAX_ARGUMENTS], y;
    (void)l, (void)training;
    quern__match_input_ranks(g, in, n, x);
    y = x[0];
    for (int i = 1; i < n; i++)
        y = quern__add2(g, y, x[i]);
    return y;
}

static quern__id subtract_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                               bool training)
{
    (void)l, (void)training;
    return n == 2 ? merged(g, QUERN__SUB, in, n)
                  : quern__graph_fail(g, QUERN_INVALID, "needs two inputs");
}

/* As in Keras, a masked factor counts as 1, and the product is 0 where all factors are masked. */
static quern__id multiply_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                               bool training)
{
    (void)training;
    quern__id all = quern__layer_merged_mask(l, g, n), y = 0, equal[QUERN__MAX_ARGUMENTS];
    quern__match_input_ranks(g, in, n, equal);
    if (quern__layer_masks_all(l)) /* Keras 2 ignores masks here */
        return merged(g, QUERN__MUL, in, n);
    for (int i = 0; i < n; i++) {
        quern__id x = equal[i], mask = quern__layer_mask(l, i);
        quern_shape wide = *quern__shape_of(g, x);
        for (int k = 2; k < wide.rank; k++)
            wide.dims[k] = 1;
        if (mask)
            x = quern__select(g, quern__reshape(g, mask, &wide), x,
                              quern__graph_constant(g, 1, QUERN_FLOAT32));
        y = y ? quern__mul2(g, y, x) : x;
        if (i + 1 == n && all)
            y = quern__select(g, quern__reshape(g, all, &wide), y,
                              quern__graph_constant(g, 0, QUERN_FLOAT32));
    }
    return y;
}

static quern__id average_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                              bool training)
{
    (void)l, (void)training;
    return quern__scale(g, merged(g, QUERN__ADD, in, n), 1.0 / n);
}

static quern__id maximum_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                              bool training)
{
    (void)l, (void)training;
    return merged(g, QUERN__MAXIMUM, in, n);
}

static quern__id minimum_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                              bool training)
{
    (void)l, (void)training;
    return merged(g, QUERN__MINIMUM, in, n);
}

/* The masks of inputs that are concatenated along time; 0 when none has a mask. */
static quern__id steps_mask(quern__layer *l, quern__graph *g, const quern__id *in, int n)
{
    quern__id masks[QUERN__MAX_ARGUMENTS];
    bool any = false;
    for (int i = 0; i < n; i++) {
        const quern_shape *s = quern__shape_of(g, in[i]);
        quern_shape steps = { .rank = 2, .dims = { s->dims[0], s->dims[1] } };
        masks[i] = quern__layer_mask(l, i);
        any = any || masks[i];
        if (!masks[i])
            masks[i] = quern__broadcast(g, quern__graph_constant(g, 1, QUERN_FLOAT32), &steps);
    }
    return any ? quern__concat(g, masks, n, 1) : 0;
}

static quern__id concatenate_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                  bool training)
{
    (void)training;
    int axis = (int)quern__config_int(l->config, "axis"), rank = quern__shape_of(g, in[0])->rank;
    axis = axis < 0 ? axis + rank : axis;
    if (axis < 1 || axis >= rank)
        return quern__graph_fail(g, QUERN_SHAPE, "axis %d is out of range or the shapes differ",
                                 axis);
    l->context->mask_out[0] =
        axis == 1 ? steps_mask(l, g, in, n) : quern__layer_merged_mask(l, g, n);
    return quern__concat(g, in, n, axis);
}

static const quern__field concatenate_fields[] = { { "axis", QUERN__F_INT, "-1" }, { 0 } };

#define QUERN__MERGE_ROW(ID, NAME, FIELDS, CALL, MASKS)                    \
    const quern__class quern__layer_##ID = { .group = QUERN__LAYER,        \
                                             .name = NAME,                 \
                                             .aliases = "",                \
                                             .module = "keras.layers",     \
                                             .fields = FIELDS,             \
                                             .call = CALL,                 \
                                             .list = true,                 \
                                             .masks = QUERN__MASK_##MASKS, \
                                             .by_step = true }

QUERN__MERGE_ROW(add, "Add", NULL, add_call, PASSES);
QUERN__MERGE_ROW(subtract, "Subtract", NULL, subtract_call, PASSES);
QUERN__MERGE_ROW(multiply, "Multiply", NULL, multiply_call, PASSES);
QUERN__MERGE_ROW(average, "Average", NULL, average_call, PASSES);
QUERN__MERGE_ROW(maximum, "Maximum", NULL, maximum_call, PASSES);
QUERN__MERGE_ROW(minimum, "Minimum", NULL, minimum_call, PASSES);
QUERN__MERGE_ROW(concatenate, "Concatenate", concatenate_fields, concatenate_call, OWN);
