/* Selects the kernel of a call. The first entry of the table that accepts the call wins. */
#include "cpu.h"

quern__kernel *quern__kernel_of(const quern__call *call)
{
    quern__kernel *(*const all[])(const quern__call *) = {
        quern__cpu_gemm,      quern__cpu_elementwise,    quern__cpu_softmax_crossentropy,
        quern__cpu_reduce,    quern__cpu_update,         quern__cpu_dropout,
        quern__cpu_normalize, quern__cpu_attention,      quern__cpu_recurrence,
        quern__cpu_gather,    quern__cpu_convolve,       quern__cpu_transpose_broadcast,
        quern__cpu_pool,      quern__cpu_batch_normalize
    };
    quern__kernel *kernel = NULL;
    for (size_t i = 0; i < sizeof all / sizeof *all && !kernel; i++)
        kernel = all[i](call);
    return kernel;
}
