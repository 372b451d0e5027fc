/* Vectors of each width, and the processors that have them. */
#ifndef QUERN__KERNELS_TARGETS_H
#define QUERN__KERNELS_TARGETS_H

typedef float wide __attribute__((vector_size(64), aligned(4)));
typedef float half __attribute__((vector_size(32), aligned(4)));
typedef float quarter __attribute__((vector_size(16), aligned(4)));

#define NARROW
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define V3 __attribute__((target("arch=x86-64-v3")))
#define V4 __attribute__((target("arch=x86-64-v4")))
#endif

#endif
