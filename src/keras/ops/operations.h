/* What the rows of keras.ops share. */
#ifndef QUERN__OPERATIONS_H
#define QUERN__OPERATIONS_H

#include "keras/keras.h"

/* During a call: the argument of that name, a value or a constant that the call was given. 0: the graph has failed. */
quern__id quern__operand(quern__layer *layer, quern__graph *g, const quern__id *in, int n_in, const char *name);

#endif
