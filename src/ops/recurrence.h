/* recurrence: a whole sequence through a recurrent cell as one op, and its backward pass as
 * another. The product of all inputs with the kernel is a separate op; this one computes the
 * product with the state at each step, and the cell.
 *
 * Cells (keras.src.layers.rnn; h and c are the previous states, R the recurrent kernel, z the
 * product of the input):
 *
 *   simple: h' = f(z + b + h R)
 *   LSTM:   i, f, g, o = z + b + h R;  c' = σ(f) c + σ(i) tanh(g);  h' = σ(o) tanh(c')
 *   GRU:    z, r, n = z + b;  z', r', n' = h R + b';  z = σ(z + z'), r = σ(r + r'),
 *           n = tanh(n + r n');  h' = z h + (1 - z) n
 *
 * A step whose mask is 0 leaves the states unchanged.
 *
 * The backward pass needs the gates of every step, four times the size of the states. The forward
 * pass stores them; in a lean graph it does not. Then the backward pass recomputes the product of
 * the input, computes each step's gates from it and from the states, and writes the gradients over
 * it. Results are equal, for one more product. The simple cell needs its states only. */
#ifndef QUERN__OPS_RECURRENCE_H
#define QUERN__OPS_RECURRENCE_H

#include "ops.h"

enum { QUERN__CELL_SIMPLE, QUERN__CELL_LSTM, QUERN__CELL_GRU };

typedef struct quern__recurrence {
    int cell;
    int function; /* of the simple cell: QUERN__TANH, QUERN__RELU0 or QUERN__AFFINE (linear) */
    quern__id z, kernel; /* (B, T, gates * units), (units, gates * units) */
    quern__id bias,
        own_bias;   /* (gates * units): added to z; GRU: added to the recurrent product; 0: none */
    quern__id h, c; /* (B, units): the initial states */
    quern__id mask; /* (B, T); 0: none */
    quern__id own;  /* for a single step instead of the kernel: h R, (B, gates * units); without a
                       gradient */
} quern__recurrence;

/* Adds the op. `h` gets the states after all steps, (B, T, units), `c` those of LSTM. */
void quern__recur(quern__graph *g, const quern__recurrence *r, quern__id *h, quern__id *c);

/* The arrays of a call; an optional input that is missing is NULL. */
typedef struct quern__recurring {
    int cell, function, gates,
        kept;  /* kept: arrays of `units` numbers per step for the backward pass */
    bool lean; /* the forward pass stores nothing for the backward pass */
    int64_t records, steps, units; /* B, T, units */
    const quern_tensor *z, *kernel, *packed, *h0, *c0, *bias, *own_bias, *mask, *own;
    const quern_tensor *h, *c, *left, *dh, *dc,
        *forward; /* of the backward pass; forward: the kernel packed as in the forward pass */
} quern__recurring;
quern__recurring quern__recurring_of(const quern__call *call);
/* Outputs of the forward pass: states h; numbers for the backward pass, in a layout of the kernel;
 * scratch; states c of LSTM. */
enum { QUERN__FORWARD_H, QUERN__FORWARD_LEFT, QUERN__FORWARD_WORK, QUERN__FORWARD_C };
/* Outputs of the backward pass: gradients of z and of the initial h, scratch, then of the initial c
 * (LSTM) or of the recurrent product (GRU). */
enum {
    QUERN__BACK_DZ,
    QUERN__BACK_DH0,
    QUERN__BACK_WORK,
    QUERN__BACK_DC0,
    QUERN__BACK_DOWN = QUERN__BACK_DC0
};

/* The rows: the forward op quern__op_recurrence, the backward op quern__op_recurrence_back, and the
 * backward op that recomputes gates, quern__op_recurrence_again: its input 0 is the recomputed
 * product of the input, and its first output can have the same memory. */
/* Scratch rows of `units` numbers per record where gates are recomputed, in addition to those that
 * a step keeps: the state before the step as the product reads it; z with bias, or c; and h. */
enum { QUERN__AGAIN_UNITS = 5 };
/* Records per block of these ops: few, because a record has many steps. */
enum { QUERN__RECUR_SLICE = 16 };

#endif
