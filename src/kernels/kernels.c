/* Selects the kernel of a call: one of cpu/ for the selected instruction set, or the op's reference
 * kernel.
 *
 * The files of cpu/ are compiled once per instruction set, with names that end in the set
 * (cpu/cpu.h). base/isa.c selects the set once per process. The selection depends on shapes and
 * dtypes only, so it happens once, when the plan is made. */
#include "kernels.h"

#include "base/isa.h"

bool quern__inputs_are_floats(const quern__call *call)
{
    for (int i = 0; i < call->n_in; i++)
        if (call->in[i].dtype != QUERN_FLOAT32)
            return false;
    return true;
}

quern__kernel *quern__kernel_among(const quern__call *call, const quern__op_kernel *all)
{
    for (; all->op; all++)
        if (call->op == all->op)
            return quern__inputs_are_floats(call) ? all->kernel : NULL;
    return NULL;
}

#define DECLARED(NAME) quern__kernel *quern__kernel_of_##NAME(const quern__call *call);
QUERN__EACH_ISA(DECLARED)

quern__kernel *quern__kernel_for(const quern__call *call, const char **name)
{
    static quern__kernel *(*const kernels_of[])(const quern__call *) = {
#define ROW(NAME) quern__kernel_of_##NAME,
        QUERN__EACH_ISA(ROW)
    };
    int isa = quern__isa(NULL);
    quern__kernel *kernel = isa < 0 ? NULL : kernels_of[isa](call);
    *name = kernel ? "fast" : "reference";
    return kernel ? kernel : call->op->reference;
}

/* Stack use as the compiler reports it (-fstack-usage), plus 20 %. */
size_t quern__kernel_stack(const quern__call *call)
{
    static const struct {
        const quern__op *op;
        size_t bytes;
    } large[] = {
        { &quern__op_attention, 256 << 10 },
        { &quern__op_attention_grad, 656 << 10 },
        { &quern__op_convolve, 320 << 10 },
        { &quern__op_convolve_back, 320 << 10 },
        { &quern__op_convolve_weights, 320 << 10 },
        { &quern__op_convolve_turn, 320 << 10 },
        { &quern__op_matmul, 96 << 10 },
        { &quern__op_batched_matmul, 96 << 10 },
        { &quern__op_recurrence, 96 << 10 },
        { &quern__op_recurrence_back, 96 << 10 },
        { &quern__op_recurrence_again, 96 << 10 },
    };
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        if (call->op == large[i].op)
            return large[i].bytes;
    return 16 << 10;
}
