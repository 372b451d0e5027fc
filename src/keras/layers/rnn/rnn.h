/* recurrent: what SimpleRNN, LSTM, GRU, RNN and the cells share. A cell has kernel, recurrent kernel and bias as its weights,
 * whether it is a layer of its own (LSTMCell in RNN) or the inside of one (LSTM). */
#ifndef QUERN__LAYERS_RECURRENT_H
#define QUERN__LAYERS_RECURRENT_H

#include "keras/keras.h"

#include "ops/recurrence.h"

enum { QUERN__MAX_CELL_STATES = 16 };

/* Makes a cell's weights for inputs of `width` numbers, below `part` in a file. `extra` of the row is its QUERN__CELL_…. */
int quern__cell_build(quern__layer *l, int64_t width, const char *part, quern_error *err);
/* How many states it has, each of `units` numbers. */
int quern__cell_states(const quern__layer *l);
/* One step: x (records, width), the states before; `states` gets the new ones, the output is the first. `drop` (0: none) multiplies
 * what the recurrent kernel sees. */
void quern__cell_step(quern__layer *l, quern__graph *g, quern__id x, quern__id *states, quern__id drop);
/* Arguments of cells and of the layers around one, in Keras's order. */
#define QUERN__CELL_UNITS \
    { "units", QUERN__F_INT, NULL }, { "activation", QUERN__F_ACTIVATION, "\"tanh\"" }
#define QUERN__CELL_INNER                                          \
    {                                                              \
        "recurrent_activation", QUERN__F_ACTIVATION, "\"sigmoid\"" \
    }
#define QUERN__CELL_WEIGHTS                                                                                      \
    { "use_bias", QUERN__F_BOOL, "true" }, { "kernel_initializer", QUERN__F_INITIALIZER, "\"glorot_uniform\"" }, \
        { "recurrent_initializer", QUERN__F_INITIALIZER, "\"orthogonal\"" },                                     \
    {                                                                                                            \
        "bias_initializer", QUERN__F_INITIALIZER, "\"zeros\""                                                    \
    }
#define QUERN__CELL_LIMITS                                                                                             \
    { "kernel_regularizer", QUERN__F_REGULARIZER, "null" }, { "recurrent_regularizer", QUERN__F_REGULARIZER, "null" }, \
        { "bias_regularizer", QUERN__F_REGULARIZER, "null" }, { "kernel_constraint", QUERN__F_CONSTRAINT, "null" },    \
        { "recurrent_constraint", QUERN__F_CONSTRAINT, "null" }, { "bias_constraint", QUERN__F_CONSTRAINT, "null" },   \
        { "dropout", QUERN__F_NUMBER, "0.0" },                                                                         \
    {                                                                                                                  \
        "recurrent_dropout", QUERN__F_NUMBER, "0.0"                                                                    \
    }
#define QUERN__CELL_SEED             \
    {                                \
        "seed", QUERN__F_INT, "null" \
    }
/* The options of all recurrent layers. */
#define QUERN__SEQUENCE_FIELDS                                                                  \
    { "return_sequences", QUERN__F_BOOL, "false" }, { "return_state", QUERN__F_BOOL, "false" }, \
        { "go_backwards", QUERN__F_BOOL, "false" }, { "stateful", QUERN__F_BOOL, "false" },     \
    {                                                                                           \
        "unroll", QUERN__F_BOOL, "false"                                                        \
    }
/* Keras takes this one by name only: it stands behind all others. */
#define QUERN__SEQUENCE_ZEROS                          \
    {                                                  \
        "zero_output_for_mask", QUERN__F_BOOL, "false" \
    }

/* What a call of a recurrent layer, or of one around it, takes. */
extern const quern__call_arg quern__sequence_takes[];

/* A sequence as a layer sees it: inputs, their mask, the states it begins with. */
typedef struct quern__sequence {
    quern__id x, mask, carried; /* carried: the mask that goes on with the outputs */
    int n_states;
    quern__id states[QUERN__MAX_CELL_STATES];
    quern__variable *kept[QUERN__MAX_CELL_STATES]; /* where the last states go; NULL: nowhere */
    bool given;                                    /* states were given or kept, so that they may be other than zero */
} quern__sequence;
/* Takes inputs, mask and states of a call; `shapes` are those of the states, whose records are set here. */
void quern__sequence_begin(quern__layer *l, quern__graph *g, const quern__id *in, int n, const quern_shape *shapes, int n_states,
                           quern__sequence *s);
/* Gives what the layer returns: the outputs of all steps (records, steps, …) in the order of the steps as they were taken, and
 * the last states, which a stateful layer keeps. */
quern__id quern__sequence_end(quern__layer *l, quern__graph *g, quern__sequence *s, quern__id outputs);
/* Step t of (records, steps, …): (records, …). */
quern__id quern__step_of(quern__graph *g, quern__id x, int64_t t);
/* Step by step, as a graph: `step` is told the input of a step and changes the states; returns the step's output. */
typedef quern__id quern__stepper(void *user, quern__graph *g, quern__id x, quern__id *states);
quern__id quern__unrolled(quern__layer *l, quern__graph *g, quern__sequence *s, quern__stepper *step, void *user);

#endif
