/* rnn: SimpleRNN, LSTM, GRU and RNN over cells (keras.src.layers.rnn). A layer uses the fused op of
 * ops/recurrence.h where it can. It is unrolled over time with other activations, recurrent
 * dropout, GRU with reset_after=false, or masks with states that are not zero.
 *
 * Every call has three parts. quern__sequence_begin reads x (B, T, C), mask (B, T) and the initial
 * states (B, units), and reverses the steps with go_backwards. Then the fused op or quern__unrolled
 * computes all steps. quern__sequence_end returns the last or all outputs, and stores the states
 * that are kept.
 *
 * States are kept between batches with `stateful`, and between calls of the decoder (stepping).
 * They are variables of the layer or of the decoder, with a fixed number of records, so a rebatch
 * node converts them. */
#include "rnn.h"

#include <stdio.h>
#include <string.h>

/* ---- sequences ---- */

/* Whether the states persist after the call. */
static bool keeps(const quern__layer *l)
{
    return l->context->stepping || quern__config_bool(l->config, "stateful");
}

void quern__sequence_begin(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           const quern_shape *shapes, int n_states, quern__sequence *s)
{
    int64_t records = quern__shape_of(g, in[0])->dims[0];
    quern__id given = quern__layer_argument(l, in, n, "mask", 0);
    *s = (quern__sequence){ .x = in[0],
                            .mask = given ? given : quern__layer_mask(l, 0),
                            .n_states = n_states };
    if (!l->context->stepping && quern__config_bool(l->config, "stateful") && l->records < 1) {
        quern__graph_fail(g, QUERN_SHAPE,
                          "a stateful layer needs a fixed batch size; use input … batch_size=N");
        return;
    }
    s->carried = s->mask;
    for (int k = 0; k < n_states; k++) {
        quern_shape shape = shapes[k];
        shape.dims[0] = records;
        quern__id initial = quern__layer_argument(l, in, n, "initial_state", k);
        quern__variable *v = s->kept[k] = keeps(l) ? quern__layer_state(l, g, k, &shape) : NULL;
        s->given = s->given || initial || v;
        s->states[k] =
            initial ? initial
            : v     ? quern__rebatch(g, quern__graph_variable(g, v), shape.dims[0])
                    : quern__broadcast(g, quern__graph_constant(g, 0, QUERN_FLOAT32), &shape);
    }
    if (l->context->stepping && quern__config_bool(l->config, "go_backwards"))
        l->context->stepping->refused = l->name;
    if (quern__config_bool(l->config, "go_backwards")) {
        s->x = quern__reverse(g, s->x, 1);
        s->mask = s->mask ? quern__reverse(g, s->mask, 1) : 0;
    }
}

quern__id quern__sequence_end(quern__layer *l, quern__graph *g, quern__sequence *s,
                              quern__id outputs)
{
    bool all = quern__config_bool(l->config, "return_sequences");
    if (!outputs)
        return 0;
    quern_shape shape = *quern__shape_of(g, outputs);
    if (s->mask && quern__config_bool(l->config, "zero_output_for_mask")) {
        quern_shape wide = *quern__shape_of(g, s->mask);
        while (wide.rank < shape.rank)
            wide.dims[wide.rank++] = 1;
        outputs = quern__mul2(g, outputs, quern__reshape(g, s->mask, &wide));
    }
    for (int k = 0; k < s->n_states; k++)
        if (s->kept[k])
            quern__assign(g, s->kept[k],
                          quern__rebatch(g, s->states[k], s->kept[k]->shape.dims[0]));
    l->context->mask_out[0] = all ? s->carried : 0;
    l->context->ended = !all;
    if (quern__config_bool(l->config, "return_state"))
        for (int k = 0; k < s->n_states; k++)
            quern__layer_result(l, s->states[k], 0);
    return all ? outputs : quern__step_of(g, outputs, shape.dims[1] - 1);
}

quern__id quern__step_of(quern__graph *g, quern__id x, int64_t t)
{
    quern_shape s = *quern__shape_of(g, x), one = { .rank = s.rank - 1, .dims = { s.dims[0] } };
    for (int i = 2; i < s.rank; i++)
        one.dims[i - 1] = s.dims[i];
    return quern__reshape(g, quern__slice(g, x, 1, t, 1), &one);
}

quern__id quern__unrolled(quern__layer *l, quern__graph *g, quern__sequence *s,
                          quern__stepper *step, void *user)
{
    enum { most = 4096 };
    int64_t steps = quern__shape_of(g, s->x)->dims[1];
    if (steps < 1 || steps > most)
        return quern__graph_fail(g, QUERN_UNSUPPORTED, "more than %d unrolled steps", most);
    quern__id *all = quern__zalloc((size_t)steps, sizeof *all), last = 0, out = 0;
    for (int64_t t = 0; all && t < steps && !quern__graph_status(g); t++) {
        /* one step */
        quern__id before[QUERN__MAX_CELL_STATES], on = 0, y;
        memcpy(before, s->states, sizeof before);
        y = step(user, g, quern__step_of(g, s->x, t), s->states);
        if (s->mask && y) {
            quern_shape column = { .rank = quern__shape_of(g, y)->rank,
                                   .dims = { quern__shape_of(g, s->mask)->dims[0] } };
            for (int i = 1; i < column.rank; i++)
                column.dims[i] = 1;
            on = quern__reshape(g, quern__slice(g, s->mask, 1, t, 1), &column);
        }
        /* a masked step repeats the last output (zeros at first) and keeps the states */
        if (on) {
            last = last ? last
                        : quern__broadcast(g, quern__graph_constant(g, 0, QUERN_FLOAT32),
                                           quern__shape_of(g, y));
            y = quern__select(g, on, y, last);
        }
        if (on)
            for (int k = 0; k < s->n_states; k++)
                s->states[k] = quern__select(g, on, s->states[k], before[k]);
        /* the output as (B, 1, …), for the concatenation */
        quern_shape shape = y ? *quern__shape_of(g, y) : (quern_shape){ 0 };
        last = y;
        for (int i = shape.rank++; i > 1; i--)
            shape.dims[i] = shape.dims[i - 1];
        shape.dims[1] = 1;
        all[t] = y ? quern__reshape(g, y, &shape) : 0;
    }
    if (all)
        out = quern__concat(g, all, (int)steps, 1);
    quern__free(all);
    (void)l;
    return out;
}

/* ---- one cell: SimpleRNN, LSTM, GRU ---- */

/* Adds the weights of the cell for inputs (B, T, C). */
static int layer_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    (void)n;
    char text[96];
    if (in->rank != 3)
        return quern__fail(err, QUERN_SHAPE, l->name,
                           "needs inputs (records, steps, features), got %s",
                           quern_shape_text(in, text, sizeof text));
    return quern__cell_build(l, in->dims[2], "cell", err);
}

/* The function of ops/functions.def for an activation without arguments; -1: the fused op does not
 * support it. */
static int function_of(json_t *spec)
{
    const char *name = json_string_value(spec);
    if (!name || quern__same_name(name, "linear"))
        return json_is_object(spec) ? -1 : QUERN__AFFINE;
    if (quern__same_name(name, "tanh"))
        return QUERN__TANH;
    return quern__same_name(name, "relu") ? QUERN__RELU0 : -1;
}

/* Whether the fused op supports the layer's options and this sequence. */
static bool fused(const quern__layer *l, const quern__sequence *s, bool training)
{
    json_t *inner = json_object_get(l->config, "recurrent_activation");
    int function = function_of(json_object_get(l->config, "activation"));
    if (training && quern__config_number(l->config, "recurrent_dropout") > 0)
        return false;
    if (s->mask && s->given)
        return false;
    if (l->kind->extra == QUERN__CELL_SIMPLE)
        return function >= 0;
    if (l->kind->extra == QUERN__CELL_GRU && !quern__config_bool(l->config, "reset_after"))
        return false;
    return function == QUERN__TANH && json_is_string(inner) &&
           quern__same_name(json_string_value(inner), "sigmoid");
}

/* Dropout by the rate `key` of the config; `salt` separates uses of one seed; `shared` as in
 * quern__dropout. */
static quern__id seeded_dropout(quern__layer *l, quern__graph *g, quern__id x, const char *key,
                                uint64_t salt, uint32_t shared)
{
    uint64_t own = quern__config_seed(l->config, l->seed) + salt;
    return quern__dropout(g, x, quern__config_number(l->config, key), own, shared);
}

/* The factor of recurrent dropout for the states, the same for all steps; 0: none. */
static quern__id state_drop(quern__layer *l, quern__graph *g, quern__id state, bool training)
{
    if (!training || !(quern__config_number(l->config, "recurrent_dropout") > 0))
        return 0;
    quern__id ones =
        quern__broadcast(g, quern__graph_constant(g, 1, QUERN_FLOAT32), quern__shape_of(g, state));
    return seeded_dropout(l, g, ones, "recurrent_dropout", 1, 0);
}

/* Adds the product of the input and the fused op. */
static quern__id fused_call(quern__layer *l, quern__graph *g, quern__sequence *s)
{
    quern__id weights[3] = { 0 }, c, y;
    for (int k = 0; k < l->n_weights; k++)
        weights[k] = quern__graph_variable(g, l->weights[k]);
    quern__recurrence r = { .cell = l->kind->extra,
                            .function = function_of(json_object_get(l->config, "activation")),
                            .z = quern__matmul(g, s->x, weights[0], false, false),
                            .kernel = weights[1],
                            .bias = weights[2],
                            .h = s->states[0],
                            .c = s->n_states > 1 ? s->states[1] : 0,
                            .mask = s->mask };
    /* row 0 of the bias belongs to the input, row 1 to the recurrent product */
    if (r.bias && r.cell == QUERN__CELL_GRU) {
        quern_shape row = { .rank = 1, .dims = { quern__shape_of(g, r.bias)->dims[1] } };
        r.own_bias = quern__reshape(g, quern__slice(g, weights[2], 0, 1, 1), &row);
        r.bias = quern__reshape(g, quern__slice(g, weights[2], 0, 0, 1), &row);
    }
    int64_t steps = quern__shape_of(g, s->x)->dims[1];
    if (l->context->stepping && steps == 1) /* a separate product is divided among threads */
        r.own = quern__matmul(g, r.h, r.kernel, false, false);
    quern__recur(g, &r, &y, &c);
    if (!y)
        return 0;
    s->states[0] = quern__step_of(g, y, steps - 1);
    if (c)
        s->states[1] = quern__step_of(g, c, steps - 1);
    return y;
}

typedef struct one_cell {
    quern__layer *l;
    quern__id drop;
} one_cell;

/* A step of a single cell, for quern__unrolled. */
static quern__id one_step(void *user, quern__graph *g, quern__id x, quern__id *states)
{
    one_cell *c = user;
    quern__cell_step(c->l, g, x, states, c->drop);
    return states[0];
}

/* Calls a layer with a single cell: fused, or unrolled. */
static quern__id layer_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                            bool training)
{
    quern_shape state = { .rank = 2, .dims = { 0, quern__config_int(l->config, "units") } };
    quern__sequence s;
    quern__sequence_begin(l, g, in, n, (quern_shape[]){ state, state }, quern__cell_states(l), &s);
    if (training && quern__config_number(l->config, "dropout") > 0)
        s.x = seeded_dropout(l, g, s.x, "dropout", 0, 1u << 1);
    if (quern__graph_status(g))
        return 0;
    one_cell cell = { l, state_drop(l, g, s.states[0], training) };
    quern__id y =
        fused(l, &s, training) ? fused_call(l, g, &s) : quern__unrolled(l, g, &s, one_step, &cell);
    return quern__sequence_end(l, g, &s, y);
}

/* ---- RNN: a cell, or a stack of cells ---- */

/* Builds the cell or stack of cells. */
static int rnn_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    json_t *spec = json_object_get(l->config, "cell");
    quern_shape step = { .rank = 2, .dims = { in->dims[0], in->dims[2] } };
    (void)n;
    if (in->rank != 3)
        return quern__fail(err, QUERN_SHAPE, l->name, "needs inputs (records, steps, features)");
    const char *name = quern__config_text(spec, "class_name");
    quern__layer *cell =
        name && strstr(name, "Cell") ? quern__layer_inside(l, spec, "cell", err) : NULL;
    if (!cell)
        return quern__fail(err, QUERN_UNSUPPORTED, l->name,
                           "a cell of class '%s' is not in this version", name ? name : "?");
    return quern__layer_build_inside(l, cell, &step, 1, "cell", err);
}

typedef struct cell_stack {
    quern__layer *const *cells;
    int n;
    bool training;
    quern__id drops[QUERN__MAX_INNER];
} cell_stack;

/* One step through all cells of a stack; each gets its own states. */
static quern__id stack_step(void *user, quern__graph *g, quern__id x, quern__id *states)
{
    cell_stack *s = user;
    for (int k = 0; k < s->n; k++) {
        quern__layer *l = s->cells[k];
        if (s->training && quern__config_number(l->config, "dropout") > 0)
            x = seeded_dropout(l, g, x, "dropout", 0,
                               0); /* the counter is the record: the same mask for all steps */
        quern__cell_step(l, g, x, states, s->drops[k]);
        x = states[0];
        states += quern__cell_states(l);
    }
    return x;
}

/* Calls RNN: unrolls its cells. */
static quern__id rnn_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                          bool training)
{
    quern__layer *cell = l->inner[0];
    bool single = cell->n_inner == 0;
    cell_stack stack = { .cells = single ? l->inner : cell->inner,
                         .n = single ? 1 : cell->n_inner,
                         .training = training };
    quern_shape states[QUERN__MAX_CELL_STATES] = { 0 };
    int n_states = 0;
    quern__sequence s;
    /* the states of all cells, in order */
    for (int k = 0; k < stack.n; k++)
        for (int i = 0; i < quern__cell_states(stack.cells[k]); i++)
            states[n_states++] =
                (quern_shape){ .rank = 2,
                               .dims = { 0, quern__config_int(stack.cells[k]->config, "units") } };
    quern__sequence_begin(l, g, in, n, states, n_states, &s);
    for (int k = 0, at = 0; k < stack.n && !quern__graph_status(g);
         at += quern__cell_states(stack.cells[k++]))
        stack.drops[k] = state_drop(stack.cells[k], g, s.states[at], training);
    return quern__graph_status(g)
               ? 0
               : quern__sequence_end(l, g, &s, quern__unrolled(l, g, &s, stack_step, &stack));
}

/* ---- rows ---- */

#define CUDNN                                 \
    {                                         \
        "use_cudnn", QUERN__F_ANY, "\"auto\"" \
    }
static const quern__field simple_fields[] = { QUERN__CELL_UNITS,
                                              QUERN__CELL_WEIGHTS,
                                              QUERN__CELL_LIMITS,
                                              QUERN__SEQUENCE_FIELDS,
                                              QUERN__CELL_SEED,
                                              QUERN__SEQUENCE_ZEROS,
                                              { 0 } };
static const quern__field lstm_fields[] = {
    QUERN__CELL_UNITS,      QUERN__CELL_INNER,
    QUERN__CELL_WEIGHTS,    { "unit_forget_bias", QUERN__F_BOOL, "true" },
    QUERN__CELL_LIMITS,     QUERN__CELL_SEED,
    QUERN__SEQUENCE_FIELDS, CUDNN,
    QUERN__SEQUENCE_ZEROS,  { 0 }
};
static const quern__field gru_fields[] = { QUERN__CELL_UNITS,
                                           QUERN__CELL_INNER,
                                           QUERN__CELL_WEIGHTS,
                                           QUERN__CELL_LIMITS,
                                           QUERN__CELL_SEED,
                                           QUERN__SEQUENCE_FIELDS,
                                           { "reset_after", QUERN__F_BOOL, "true" },
                                           CUDNN,
                                           QUERN__SEQUENCE_ZEROS,
                                           { 0 } };
static const quern__field rnn_fields[] = {
    { "cell", QUERN__F_ANY, NULL }, QUERN__SEQUENCE_FIELDS, QUERN__SEQUENCE_ZEROS, { 0 }
};
const quern__call_arg quern__sequence_takes[] = {
    { "sequences", false }, { "initial_state", true }, { "mask", false }, { 0 }
};

#define RECURRENT(ID, NAME, FIELDS, BUILD, CALL, EXTRA)                          \
    const quern__class quern__layer_##ID = { .group = QUERN__LAYER,              \
                                             .name = NAME,                       \
                                             .aliases = "",                      \
                                             .module = "keras.layers",           \
                                             .fields = FIELDS,                   \
                                             .build = BUILD,                     \
                                             .call = CALL,                       \
                                             .call_args = quern__sequence_takes, \
                                             .masks = QUERN__MASK_OWN,           \
                                             .by_step = true,                    \
                                             .extra = EXTRA }
RECURRENT(simple_rnn, "SimpleRNN", simple_fields, layer_build, layer_call, QUERN__CELL_SIMPLE);
RECURRENT(lstm, "LSTM", lstm_fields, layer_build, layer_call, QUERN__CELL_LSTM);
RECURRENT(gru, "GRU", gru_fields, layer_build, layer_call, QUERN__CELL_GRU);
RECURRENT(rnn, "RNN", rnn_fields, rnn_build, rnn_call, 0);
