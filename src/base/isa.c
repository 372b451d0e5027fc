/* isa: kinds of processor: which of them this processor has, and which one is in use. */
#include "isa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}
static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
static bool has_sse2(void) { return true; }
#elif defined(__aarch64__)
static bool has_neon(void) { return true; }
#else
static bool has_portable(void) { return true; }
#endif

static const struct {
    const char *name;
    bool (*is_here)(void);
} all[] = {
#define ROW(NAME) { #NAME, has_##NAME },
    QUERN__EACH_ISA(ROW)
};
enum { count = sizeof all / sizeof *all, none = -1 };

static int chosen = none;

const char *quern_isa_name(int i)
{
    for (int k = 0; k < count; k++)
        if (all[k].is_here() && i-- == 0)
            return all[k].name;
    return NULL;
}

/* The names of the kinds that this processor has, separated by commas. */
static const char *names_here(char *to, size_t size)
{
    const char *name;
    size_t n = 0;
    *to = 0;
    for (int i = 0; (name = quern_isa_name(i)) && n < size; i++)
        n += (size_t)snprintf(to + n, size - n, "%s%s", i ? ", " : "", name);
    return to;
}

/* The index of a kind by its name, or a negative status. */
static int place_of(const char *name, const char *where, quern_error *err)
{
    int k = 0;
    char here[64];
    while (k < count && strcmp(all[k].name, name))
        k++;
    if (k < count && all[k].is_here())
        return k;
    int status = k < count ? quern__fail(err, QUERN_UNSUPPORTED, where,
                                         "this processor does not have %s", name)
                           : quern__fail(err, QUERN_INVALID, where,
                                         "'%s' is not a kind of processor of this build", name);
    quern__hint(err, "use one of: %s", names_here(here, sizeof here));
    return status;
}

int quern_set_isa(const char *name, quern_error *err)
{
    QUERN__ENTER_ANY(err);
    const char *wanted = name ? name : getenv("QUERN_ISA");
    int k = place_of(wanted && (name || *wanted) ? wanted : quern_isa_name(0),
                     name ? "--isa" : "QUERN_ISA", err);
    if (k < 0)
        return k;
    __atomic_store_n(&chosen, k, __ATOMIC_RELAXED);
    return QUERN_OK;
}

int quern__isa(quern_error *err)
{
    int k = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
    if (k != none)
        return k;
    int status = quern_set_isa(NULL, err);
    return status < 0 ? status : __atomic_load_n(&chosen, __ATOMIC_RELAXED);
}

const char *quern_isa(void)
{
    int k = quern__isa(NULL);
    return k < 0 ? NULL : all[k].name;
}

/* Both use fused multiply-add in the same order. */
static bool is_wide(const char *name) { return !strcmp(name, "avx512") || !strcmp(name, "avx2"); }

bool quern__isa_same_bits(const char *a, const char *b)
{
    return !strcmp(a, b) || (is_wide(a) && is_wide(b));
}
