/* rnn_cells: SimpleRNNCell, LSTMCell, GRUCell and StackedRNNCells: their weights, and one step
 * written from ops (keras.src.layers.rnn). Layers use the fused op instead where it supports their
 * options.
 *
 * The weights are kernel (C, gates * units), recurrent kernel (units, gates * units) and bias. The
 * order of gates is Keras's: input, forget, candidate, output for LSTM; update, reset, candidate
 * for GRU. A GRU with reset_after has a bias of two rows: for the input and for the recurrent
 * product. */
#include "rnn.h"

#include <string.h>

/* Gates of a cell: 4 for LSTM, 3 for GRU, otherwise 1. */
static int gates_of(const quern__layer *l)
{
    return l->kind->extra == QUERN__CELL_LSTM ? 4 : l->kind->extra == QUERN__CELL_GRU ? 3 : 1;
}

/* Whether a GRU applies the reset gate after the recurrent product. */
static bool resets_after(const quern__layer *l)
{
    return l->kind->extra == QUERN__CELL_GRU && quern__config_bool(l->config, "reset_after");
}

int quern__cell_states(const quern__layer *l) { return l->kind->extra == QUERN__CELL_LSTM ? 2 : 1; }

int quern__cell_build(quern__layer *l, int64_t width, const char *part, quern_error *err)
{
    int64_t units = quern__config_int(l->config, "units"), wide = gates_of(l) * units;
    if (units < 1 || units > 1 << 24)
        return quern__fail(err, QUERN_INVALID, l->name, "units must be at least 1");
    if (width < 1)
        return quern__fail(err, QUERN_SHAPE, l->name, "the inputs do not have a fixed last axis");
    quern_shape kernel = { .rank = 2, .dims = { width, wide } },
                own = { .rank = 2, .dims = { units, wide } },
                bias = { .rank = 1, .dims = { wide } };
    if (resets_after(l))
        bias = (quern_shape){ .rank = 2, .dims = { 2, wide } };
    if (!quern__layer_weight(l, "kernel", &kernel, "kernel_initializer", err) ||
        !quern__layer_weight(l, "recurrent_kernel", &own, "recurrent_initializer", err))
        return QUERN_NOMEM;
    quern__variable *b = NULL;
    if (quern__config_bool(l->config, "use_bias") &&
        !(b = quern__layer_weight(l, "bias", &bias, "bias_initializer", err)))
        return QUERN_NOMEM;
    /* the forget gate starts open: a bias of 1 */
    for (int64_t u = units; b && l->kind->extra == QUERN__CELL_LSTM &&
                            quern__config_bool(l->config, "unit_forget_bias") && u < 2 * units;
         u++)
        ((float *)b->data)[u] = 1;
    if (part)
        quern__layer_place(l, l->n_weights, part);
    return QUERN_OK;
}

/* Weight k of the cell; 0: it does not exist. */
static quern__id weight(const quern__layer *l, quern__graph *g, int k)
{
    return k < l->n_weights ? quern__graph_variable(g, l->weights[k]) : 0;
}

/* Row k of a bias with two rows. */
static quern__id bias_row(quern__graph *g, quern__id bias, int64_t k)
{
    const quern_shape *s = quern__shape_of(g, bias);
    quern_shape row = { .rank = 1, .dims = { s->dims[1] } };
    return quern__reshape(g, quern__slice(g, bias, 0, k, 1), &row);
}

static quern__id plus(quern__graph *g, quern__id x, quern__id bias)
{
    return bias ? quern__add2(g, x, bias) : x;
}

/* Gate k of z (B, gates * units), through an activation of the config; NULL: none. */
static quern__id gate(quern__layer *l, quern__graph *g, quern__id z, int k, const char *activation)
{
    int64_t units = quern__config_int(l->config, "units");
    quern__id own = quern__slice(g, z, 1, k * units, units);
    return activation ? quern__activation(g, json_object_get(l->config, activation), own) : own;
}

/* One step of LSTM; z is the sum of both products and the bias. */
static void lstm_step(quern__layer *l, quern__graph *g, quern__id z, quern__id *states)
{
    quern__id i = gate(l, g, z, 0, "recurrent_activation"),
              f = gate(l, g, z, 1, "recurrent_activation"), c = gate(l, g, z, 2, "activation"),
              o = gate(l, g, z, 3, "recurrent_activation");
    states[1] = quern__add2(g, quern__mul2(g, f, states[1]), quern__mul2(g, i, c));
    states[0] = quern__mul2(
        g, o, quern__activation(g, json_object_get(l->config, "activation"), states[1]));
}

/* One step of GRU; reset_after decides whether the reset gate applies before or after the recurrent
 * product. */
static void gru_step(quern__layer *l, quern__graph *g, quern__id x, quern__id h, quern__id own_bias,
                     quern__id *states)
{
    int64_t units = quern__config_int(l->config, "units");
    json_t *inner = json_object_get(l->config, "recurrent_activation");
    bool after = resets_after(l);
    quern__id kernel = weight(l, g, 1), two = quern__slice(g, kernel, 1, 0, 2 * units);
    quern__id own = plus(g, quern__matmul(g, h, after ? kernel : two, false, false), own_bias);
    quern__id z = quern__activation(
        g, inner, quern__add2(g, gate(l, g, x, 0, NULL), gate(l, g, own, 0, NULL)));
    quern__id r = quern__activation(
        g, inner, quern__add2(g, gate(l, g, x, 1, NULL), gate(l, g, own, 1, NULL)));
    quern__id last =
        after ? quern__mul2(g, r, gate(l, g, own, 2, NULL))
              : quern__matmul(g, quern__mul2(g, r, h), quern__slice(g, kernel, 1, 2 * units, units),
                              false, false);
    quern__id n = quern__activation(g, json_object_get(l->config, "activation"),
                                    quern__add2(g, gate(l, g, x, 2, NULL), last));
    quern__id rest = quern__unary(g, QUERN__AFFINE, z, -1, 1, 0);
    states[0] = quern__add2(g, quern__mul2(g, z, states[0]), quern__mul2(g, rest, n));
}

void quern__cell_step(quern__layer *l, quern__graph *g, quern__id x, quern__id *states,
                      quern__id drop)
{
    quern__id bias = weight(l, g, 2), own_bias = 0,
              h = drop ? quern__mul2(g, states[0], drop) : states[0];
    if (bias && resets_after(l)) {
        own_bias = bias_row(g, bias, 1);
        bias = bias_row(g, bias, 0);
    }
    quern__id z = plus(g, quern__matmul(g, x, weight(l, g, 0), false, false), bias);
    if (l->kind->extra == QUERN__CELL_GRU) {
        gru_step(l, g, z, h, own_bias, states);
        return;
    }
    z = quern__add2(g, z, quern__matmul(g, h, weight(l, g, 1), false, false));
    if (l->kind->extra == QUERN__CELL_LSTM)
        lstm_step(l, g, z, states);
    else
        states[0] = quern__activation(g, json_object_get(l->config, "activation"), z);
}

/* ---- rows; as layers, cells occur inside RNN only ---- */

static int cell_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    (void)n;
    return quern__cell_build(l, in->dims[in->rank - 1], NULL, err);
}

/* The cells of a stack, from the input on. */
static int stack_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    json_t *cells = json_object_get(l->config, "cells"), *spec;
    quern_shape shape = *in;
    size_t k;
    (void)n;
    json_array_foreach(cells, k, spec)
    {
        char name[64], base[64], part[64];
        quern__snake_case(
            quern__config_text(spec, "class_name") ? quern__config_text(spec, "class_name") : "",
            base, sizeof base);
        int same = 0;
        for (int i = 0; i < l->n_inner; i++)
            same += quern__same_name(l->inner[i]->kind->name, base);
        snprintf(part, sizeof part, same ? "cells/%.40s_%d" : "cells/%.40s", base, same);
        snprintf(name, sizeof name, same ? "%.40s_%d" : "%.40s", base, same);
        quern__layer *cell = quern__layer_inside(l, spec, name, err);
        int status =
            cell ? quern__layer_build_inside(l, cell, &shape, 1, part, err) : QUERN_INVALID;
        if (status < 0)
            return status;
        shape.dims[shape.rank - 1] = quern__config_int(cell->config, "units");
    }
    return l->n_inner ? QUERN_OK
                      : quern__fail(err, QUERN_INVALID, l->name, "the list of cells is empty");
}

/* The `call` of a cell: fails, because only RNN steps it. */
static quern__id alone(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)in, (void)n, (void)training;
    return quern__graph_fail(g, QUERN_INVALID, "%s can be used inside RNN only", l->kind->name);
}

static const quern__field simple_fields[] = {
    QUERN__CELL_UNITS, QUERN__CELL_WEIGHTS, QUERN__CELL_LIMITS, QUERN__CELL_SEED, { 0 }
};
static const quern__field lstm_fields[] = { QUERN__CELL_UNITS,
                                            QUERN__CELL_INNER,
                                            QUERN__CELL_WEIGHTS,
                                            { "unit_forget_bias", QUERN__F_BOOL, "true" },
                                            QUERN__CELL_LIMITS,
                                            QUERN__CELL_SEED,
                                            { 0 } };
static const quern__field gru_fields[] = { QUERN__CELL_UNITS,
                                           QUERN__CELL_INNER,
                                           QUERN__CELL_WEIGHTS,
                                           QUERN__CELL_LIMITS,
                                           { "reset_after", QUERN__F_BOOL, "true" },
                                           QUERN__CELL_SEED,
                                           { 0 } };
static const quern__field stack_fields[] = { { "cells", QUERN__F_ANY, NULL }, { 0 } };

#define CELL(ID, NAME, FIELDS, BUILD, EXTRA)                           \
    const quern__class quern__layer_##ID = { .group = QUERN__LAYER,    \
                                             .name = NAME,             \
                                             .aliases = "",            \
                                             .module = "keras.layers", \
                                             .fields = FIELDS,         \
                                             .build = BUILD,           \
                                             .call = alone,            \
                                             .extra = EXTRA }
CELL(simple_rnn_cell, "SimpleRNNCell", simple_fields, cell_build, QUERN__CELL_SIMPLE);
CELL(lstm_cell, "LSTMCell", lstm_fields, cell_build, QUERN__CELL_LSTM);
CELL(gru_cell, "GRUCell", gru_fields, cell_build, QUERN__CELL_GRU);
CELL(stacked_rnn_cells, "StackedRNNCells", stack_fields, stack_build, 0);
