/* recurrence: a whole sequence through a recurrent cell, and back, as one op each. The product of all inputs with the kernel comes
 * from outside, at once; what is left is the product with the state at each step, and the cell.
 *
 * Cells (keras.src.layers.rnn; h and c are the states before, R the recurrent kernel, z the product of the input):
 *   simple  h' = f(z + b + h R)
 *   LSTM    i, f, g, o = z + b + h R;  c' = σ(f) c + σ(i) tanh(g);  h' = σ(o) tanh(c')
 *   GRU     z, r, n = z + b;  z', r', n' = h R + b';  z = σ(z + z'), r = σ(r + r'), n = tanh(n + r n');  h' = z h + (1 - z) n
 * A step whose mask is 0 leaves the states as they are.
 *
 * The way back needs the gates of every step: four times as much as the states. Forth keeps them, or, in a lean graph, leaves them
 * out: then the way back makes the product of the input again, each step's gates out of that and the states before it, and writes
 * the slopes in its place. The same numbers, for one product more. The simple cell needs nothing but its states. */
#ifndef QUERN__OPS_RECURRENCE_H
#define QUERN__OPS_RECURRENCE_H

#include "ops.h"

enum { QUERN__CELL_SIMPLE, QUERN__CELL_LSTM, QUERN__CELL_GRU };

typedef struct quern__recurrence {
    int cell;
    int function;             /* of the simple cell: QUERN__TANH, QUERN__RELU0 or QUERN__AFFINE (none)       */
    quern__id z, kernel;      /* (records, steps, gates × units), (units, gates × units)                     */
    quern__id bias, own_bias; /* (gates × units) added to z; GRU: the one of the recurrent product; 0: none  */
    quern__id h, c;           /* (records, units): the states before the first step                          */
    quern__id mask;           /* (records, steps); 0: none                                                   */
    quern__id own;            /* of a single step, instead of the kernel: h R, (records, gates × units); no gradient */
} quern__recurrence;

/* Adds it. `h` gets the state after every step, (records, steps, units), `c` that of LSTM. */
void quern__recur(quern__graph *g, const quern__recurrence *r, quern__id *h, quern__id *c);

/* How a node's arrays are found by kernels: inputs that are not there are NULL. i[0] cell, i[1] function, i[2] which there are,
 * i[3] whether it is lean. */
typedef struct quern__recurring {
    int cell, function, gates, kept; /* kept: arrays of `units` numbers that a step leaves for the way back */
    bool lean;                       /* only the last step's */
    int64_t records, steps, units;
    const quern_tensor *z, *kernel, *packed, *h0, *c0, *bias, *own_bias, *mask, *own;
    const quern_tensor *h, *c, *left, *dh, *dc, *forth; /* of the way back; forth: packed as the way forth has it */
} quern__recurring;
quern__recurring quern__recurring_of(const quern__call *call);
/* Outputs. Forth: the states h; what the way back needs, in an order of the kernel's own; room to work in; the states c of LSTM. */
enum { QUERN__FORTH_H, QUERN__FORTH_LEFT, QUERN__FORTH_WORK, QUERN__FORTH_C };
/* Back: the gradients of z, of the first h, room to work in, then of the first c (LSTM), or of the recurrent product (GRU). */
enum { QUERN__BACK_DZ, QUERN__BACK_DH0, QUERN__BACK_WORK, QUERN__BACK_DC0, QUERN__BACK_DOWN = QUERN__BACK_DC0 };

/* The way back; the same where gates are made again: input 0 is the product of the input, in whose place the first output may lie.
 */
extern const quern__op quern__op_recurrence, quern__op_recurrence_back, quern__op_recurrence_again;
/* Rows of `units` numbers that a record has to work in where gates are made again, beside what is kept of a step: its state before
 * the step as the product reads it; z with its bias, or c; and h, which is there already. */
enum { QUERN__AGAIN_UNITS = 5 };
/* Records that a block of these ops has: few, because each is long. */
enum { QUERN__RECUR_SLICE = 16 };

#endif
