/* Kinds of processor for which this build has kernels. Which of them computes decides the bits of results, with what docs/bits.md
 * lists. */
#ifndef QUERN__BASE_ISA_H
#define QUERN__BASE_ISA_H

#include "base.h"

/* X(NAME), the widest first; the last one runs on every processor of the build. */
#if defined(__x86_64__)
#define QUERN__EACH_ISA(X) X(avx512) X(avx2) X(sse2)
#elif defined(__aarch64__)
#define QUERN__EACH_ISA(X) X(neon)
#else
#define QUERN__EACH_ISA(X) X(portable)
#endif

/* The place among them of the kind that is chosen; the first call takes QUERN_ISA or else the widest. Or a negative status. */
int quern__isa(quern_error *err);
/* Whether two kinds give the same bits. */
bool quern__isa_same_bits(const char *a, const char *b);

#endif
