/* Declarations that the files of cpu/ share. Each file is compiled once per instruction set
 * (CMakeLists.txt). QUERN__ISA is the name of that set, and shared symbols have it as suffix. */
#ifndef QUERN__KERNELS_PLAIN_H
#define QUERN__KERNELS_PLAIN_H

#include "kernels/kernels.h"

#define QUERN__JOINED(name, isa)        name##_##isa
#define QUERN__OWN_OF(name, isa)        QUERN__JOINED(name, isa)
#define QUERN__OWN(name)                QUERN__OWN_OF(name, QUERN__ISA)
#define quern__kernel_of                QUERN__OWN(quern__kernel_of)
#define quern__cpu_gemm                 QUERN__OWN(quern__cpu_gemm)
#define quern__cpu_elementwise          QUERN__OWN(quern__cpu_elementwise)
#define quern__cpu_softmax_crossentropy QUERN__OWN(quern__cpu_softmax_crossentropy)
#define quern__cpu_reduce               QUERN__OWN(quern__cpu_reduce)
#define quern__cpu_update               QUERN__OWN(quern__cpu_update)
#define quern__cpu_dropout              QUERN__OWN(quern__cpu_dropout)
#define quern__cpu_recurrence           QUERN__OWN(quern__cpu_recurrence)
#define quern__cpu_convolve             QUERN__OWN(quern__cpu_convolve)
#define quern__cpu_pool                 QUERN__OWN(quern__cpu_pool)
#define quern__cpu_batch_normalize      QUERN__OWN(quern__cpu_batch_normalize)
#define quern__cpu_transpose_broadcast  QUERN__OWN(quern__cpu_transpose_broadcast)
#define quern__cpu_gather               QUERN__OWN(quern__cpu_gather)
#define quern__cpu_normalize            QUERN__OWN(quern__cpu_normalize)
#define quern__cpu_attention            QUERN__OWN(quern__cpu_attention)
#define quern__tile                     QUERN__OWN(quern__tile)
#define quern__tile_strip               QUERN__OWN(quern__tile_strip)
#define quern__tile_row                 QUERN__OWN(quern__tile_row)
#define quern__tile_pack                QUERN__OWN(quern__tile_pack)
#define quern__tile_pack_all            QUERN__OWN(quern__tile_pack_all)
#define quern__tile_product             QUERN__OWN(quern__tile_product)
#define quern__runs_tile                QUERN__OWN(quern__runs_tile)
#define quern__runs_tile_over           QUERN__OWN(quern__runs_tile_over)
#define quern__small_product            QUERN__OWN(quern__small_product)

/* The kernel of cpu/ for a call; NULL: none. */
quern__kernel *quern__kernel_of(const quern__call *call);

/* Kernels by op; NULL: the call is not supported. */
quern__kernel *quern__cpu_gemm(const quern__call *call);
quern__kernel *quern__cpu_elementwise(const quern__call *call);
quern__kernel *quern__cpu_softmax_crossentropy(const quern__call *call);
quern__kernel *quern__cpu_reduce(const quern__call *call);
quern__kernel *quern__cpu_update(const quern__call *call);
quern__kernel *quern__cpu_dropout(const quern__call *call);
quern__kernel *quern__cpu_recurrence(const quern__call *call);
quern__kernel *quern__cpu_convolve(const quern__call *call);
quern__kernel *quern__cpu_pool(const quern__call *call);
quern__kernel *quern__cpu_batch_normalize(const quern__call *call);
quern__kernel *quern__cpu_transpose_broadcast(const quern__call *call);
quern__kernel *quern__cpu_gather(const quern__call *call);
quern__kernel *quern__cpu_normalize(const quern__call *call);
quern__kernel *quern__cpu_attention(const quern__call *call);

/* Loop pragmas: unroll N times, or no dependence between iterations. */
#define QUERN__PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define QUERN__UNROLL(n) QUERN__PRAGMA(clang loop unroll(full))
#define QUERN__APART     QUERN__PRAGMA(clang loop vectorize(assume_safety))
#else
#define QUERN__UNROLL(n) QUERN__PRAGMA(GCC unroll n)
#define QUERN__APART     QUERN__PRAGMA(GCC ivdep)
#endif

#endif
