/* Selects the kernel of a call. The first entry of the table that accepts the call wins. */
#include "plain.h"

quern__kernel *quern__kernel_of(const quern__call *call)
{
    quern__kernel *(*const all[])(const quern__call *) = {
        quern__plain_product,  quern__plain_elementwise, quern__plain_classes,   quern__plain_reduce,         quern__plain_update,
        quern__plain_dropout,  quern__plain_normalize,   quern__plain_attention, quern__plain_recurrence,     quern__plain_gather,
        quern__plain_convolve, quern__plain_move,        quern__plain_pool,      quern__plain_batch_normalize
    };
    quern__kernel *kernel = NULL;
    for (size_t i = 0; i < sizeof all / sizeof *all && !kernel; i++)
        kernel = all[i](call);
    return kernel;
}
