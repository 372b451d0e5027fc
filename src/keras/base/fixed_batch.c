/* fixed_batch: operations in a model with a fixed batch size. An operation that refuses the dynamic
 * batch dimension gets tensors whose axis 0 has that size, and its results get the dynamic one back.
 * Every batch of such a model must have the fixed size (quern__model_has_fixed_batch). */
#include "keras/keras.h"

quern__id quern__layer_close_batch(const quern__layer *l, quern__graph *g, quern__id x)
{
    int rank = x ? quern__shape_of(g, x)->rank : 0, order[QUERN_MAX_RANK];
    for (int k = 0; k < rank; k++) {
        if (quern__shape_of(g, x)->dims[k] != -1)
            continue;
        for (int i = 0; i < rank; i++)
            order[i] = i == 0 ? k : i == k ? 0 : i;
        x = k ? quern__transpose(g, x, order) : x;
        x = quern__rebatch(g, x, l->records);
        x = k ? quern__transpose(g, x, order) : x;
    }
    return x;
}

quern__id quern__layer_reopen_batch(quern__layer *l, quern__graph *g, quern__id x)
{
    bool own = x && quern__shape_of(g, x)->rank && quern__shape_of(g, x)->dims[0] == l->records;
    l->closed = l->closed || own;
    return own ? quern__rebatch(g, x, -1) : x;
}
