/* rnn: functions that SimpleRNN, LSTM, GRU, RNN and the cells share. A cell has kernel, recurrent
 * kernel and bias as weights. It is a layer of its own (LSTMCell in RNN) or the inner part of one
 * (LSTM). */
#ifndef QUERN__LAYERS_RECURRENT_H
#define QUERN__LAYERS_RECURRENT_H

#include "keras/keras.h"

#include "ops/recurrence.h"

enum { QUERN__MAX_CELL_STATES = 16 };

/* Adds a cell's weights for inputs of `width` features; files store them below `part`. `extra` of
 * the row is a QUERN__CELL_…. */
int quern__cell_build(quern__layer *l, int64_t width, const char *part, quern_error *err);
/* The number of states, each (B, units). */
int quern__cell_states(const quern__layer *l);
/* Adds one step for x (B, C) and the previous states. `states` gets the new states; the first is
 * the output. The recurrent kernel multiplies states * drop (0: no dropout). */
void quern__cell_step(quern__layer *l, quern__graph *g, quern__id x, quern__id *states,
                      quern__id drop);
/* Arguments of cells and of the layers around them, in Keras's order. */
#define QUERN__CELL_UNITS \
    { "units", QUERN__F_INT, NULL }, { "activation", QUERN__F_ACTIVATION, "\"tanh\"" }
#define QUERN__CELL_INNER                                          \
    {                                                              \
        "recurrent_activation", QUERN__F_ACTIVATION, "\"sigmoid\"" \
    }
#define QUERN__CELL_WEIGHTS                                                   \
    { "use_bias", QUERN__F_BOOL, "true" },                                    \
        { "kernel_initializer", QUERN__F_INITIALIZER, "\"glorot_uniform\"" }, \
        { "recurrent_initializer", QUERN__F_INITIALIZER, "\"orthogonal\"" },  \
    {                                                                         \
        "bias_initializer", QUERN__F_INITIALIZER, "\"zeros\""                 \
    }
#define QUERN__CELL_LIMITS                                                                         \
    { "kernel_regularizer", QUERN__F_REGULARIZER, "null" },                                        \
        { "recurrent_regularizer", QUERN__F_REGULARIZER, "null" },                                 \
        { "bias_regularizer", QUERN__F_REGULARIZER, "null" },                                      \
        { "kernel_constraint", QUERN__F_CONSTRAINT, "null" },                                      \
        { "recurrent_constraint", QUERN__F_CONSTRAINT, "null" },                                   \
        { "bias_constraint", QUERN__F_CONSTRAINT, "null" }, { "dropout", QUERN__F_NUMBER, "0.0" }, \
    {                                                                                              \
        "recurrent_dropout", QUERN__F_NUMBER, "0.0"                                                \
    }
#define QUERN__CELL_SEED             \
    {                                \
        "seed", QUERN__F_INT, "null" \
    }
/* Options of all recurrent layers. */
#define QUERN__SEQUENCE_FIELDS                                                                  \
    { "return_sequences", QUERN__F_BOOL, "false" }, { "return_state", QUERN__F_BOOL, "false" }, \
        { "go_backwards", QUERN__F_BOOL, "false" }, { "stateful", QUERN__F_BOOL, "false" },     \
    {                                                                                           \
        "unroll", QUERN__F_BOOL, "false"                                                        \
    }
/* A keyword argument of Keras, so it is after all others. */
#define QUERN__SEQUENCE_ZEROS                          \
    {                                                  \
        "zero_output_for_mask", QUERN__F_BOOL, "false" \
    }

/* The call arguments of a recurrent layer or of a wrapper of one. */
extern const quern__call_arg quern__sequence_takes[];

/* The arguments of a call: inputs, their mask, initial states. */
typedef struct quern__sequence {
    quern__id x, mask, carried; /* carried: the mask of the outputs */
    int n_states;
    quern__id states[QUERN__MAX_CELL_STATES];
    quern__variable
        *kept[QUERN__MAX_CELL_STATES]; /* variables for the last states; NULL: not kept */
    bool given;                        /* the states are given or kept, so they can be nonzero */
} quern__sequence;
/* Reads inputs, mask and states of a call. `shapes` are the shapes of the states; this function
 * sets their batch size. */
void quern__sequence_begin(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           const quern_shape *shapes, int n_states, quern__sequence *s);
/* Returns the results of the layer: the outputs of all steps (B, T, …), in the order of
 * computation, or the last one, and the last states. A stateful layer keeps the states. */
quern__id quern__sequence_end(quern__layer *l, quern__graph *g, quern__sequence *s,
                              quern__id outputs);
/* Step t of (B, T, …): (B, …). */
quern__id quern__step_of(quern__graph *g, quern__id x, int64_t t);
/* Unrolls a sequence: `step` gets the input of a step, updates the states, and returns the output
 * of the step. */
typedef quern__id quern__stepper(void *user, quern__graph *g, quern__id x, quern__id *states);
quern__id quern__unrolled(quern__layer *l, quern__graph *g, quern__sequence *s,
                          quern__stepper *step, void *user);

#endif
