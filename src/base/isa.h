/* isa: the kinds of processor for which this build has kernels. The choice affects the bits of the
 * results listed in docs/bits.md. */
#ifndef QUERN__BASE_ISA_H
#define QUERN__BASE_ISA_H

#include "base.h"

/* X(NAME), the widest first; the last one runs on every processor of the build's architecture. */
#if defined(__x86_64__)
#define QUERN__EACH_ISA(X) X(avx512) X(avx2) X(sse2)
#elif defined(__aarch64__)
#define QUERN__EACH_ISA(X) X(neon)
#else
#define QUERN__EACH_ISA(X) X(portable)
#endif

/* The index of the kind in use; the first call chooses QUERN_ISA or the widest. Returns a negative
 * status on failure. */
int quern__isa(quern_error *err);
/* Whether results of two kinds are bit-identical. */
bool quern__isa_same_bits(const char *a, const char *b);

#endif
