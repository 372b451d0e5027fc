/* Kinds of processor: the kernels of plain/ are compiled for each, and the widest that this processor has is chosen. */
#include "kernels.h"

#if defined(__x86_64__)
#define EACH_ISA(X) X(avx512) X(avx2) X(sse2)
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2");
}
static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
static bool has_sse2(void) { return true; }
#elif defined(__aarch64__)
#define EACH_ISA(X) X(neon)
static bool has_neon(void) { return true; }
#else
#define EACH_ISA(X) X(portable)
static bool has_portable(void) { return true; }
#endif

#define DECLARED(NAME) quern__kernel *quern__kernel_of_##NAME(const quern__call *call);
EACH_ISA(DECLARED)

static const struct {
    const char *name;
    bool (*is_here)(void);
    quern__kernel *(*kernel_of)(const quern__call *call);
} all[] = {
#define ROW(NAME) { #NAME, has_##NAME, quern__kernel_of_##NAME },
    EACH_ISA(ROW) /* the widest first */
};

quern__kernel *quern__isa_kernel(const quern__call *call)
{
    int k = 0;
    while (!all[k].is_here())
        k++;
    return all[k].kernel_of(call);
}
