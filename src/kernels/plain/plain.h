/* Declarations that the files of plain/ share. Each file is compiled once per instruction set (CMakeLists.txt). QUERN__ISA is
 * the name of that set, and shared symbols have it as suffix. */
#ifndef QUERN__KERNELS_PLAIN_H
#define QUERN__KERNELS_PLAIN_H

#include "kernels/kernels.h"

#define QUERN__JOINED(name, isa)     name##_##isa
#define QUERN__OWN_OF(name, isa)     QUERN__JOINED(name, isa)
#define QUERN__OWN(name)             QUERN__OWN_OF(name, QUERN__ISA)
#define quern__kernel_of             QUERN__OWN(quern__kernel_of)
#define quern__plain_product         QUERN__OWN(quern__plain_product)
#define quern__plain_elementwise     QUERN__OWN(quern__plain_elementwise)
#define quern__plain_classes         QUERN__OWN(quern__plain_classes)
#define quern__plain_reduce          QUERN__OWN(quern__plain_reduce)
#define quern__plain_update          QUERN__OWN(quern__plain_update)
#define quern__plain_dropout         QUERN__OWN(quern__plain_dropout)
#define quern__plain_recurrence      QUERN__OWN(quern__plain_recurrence)
#define quern__plain_convolve        QUERN__OWN(quern__plain_convolve)
#define quern__plain_pool            QUERN__OWN(quern__plain_pool)
#define quern__plain_batch_normalize QUERN__OWN(quern__plain_batch_normalize)
#define quern__plain_move            QUERN__OWN(quern__plain_move)
#define quern__plain_gather          QUERN__OWN(quern__plain_gather)
#define quern__plain_normalize       QUERN__OWN(quern__plain_normalize)
#define quern__plain_attention       QUERN__OWN(quern__plain_attention)
#define quern__tile                  QUERN__OWN(quern__tile)
#define quern__tile_strip            QUERN__OWN(quern__tile_strip)
#define quern__tile_row              QUERN__OWN(quern__tile_row)
#define quern__tile_pack             QUERN__OWN(quern__tile_pack)
#define quern__tile_pack_all         QUERN__OWN(quern__tile_pack_all)
#define quern__tile_product          QUERN__OWN(quern__tile_product)
#define quern__runs_tile             QUERN__OWN(quern__runs_tile)
#define quern__runs_tile_over        QUERN__OWN(quern__runs_tile_over)
#define quern__small_product         QUERN__OWN(quern__small_product)

/* The kernel of plain/ for a call; NULL: none. */
quern__kernel *quern__kernel_of(const quern__call *call);

/* Kernels by op; NULL: the call is not supported. */
quern__kernel *quern__plain_product(const quern__call *call);
quern__kernel *quern__plain_elementwise(const quern__call *call);
quern__kernel *quern__plain_classes(const quern__call *call);
quern__kernel *quern__plain_reduce(const quern__call *call);
quern__kernel *quern__plain_update(const quern__call *call);
quern__kernel *quern__plain_dropout(const quern__call *call);
quern__kernel *quern__plain_recurrence(const quern__call *call);
quern__kernel *quern__plain_convolve(const quern__call *call);
quern__kernel *quern__plain_pool(const quern__call *call);
quern__kernel *quern__plain_batch_normalize(const quern__call *call);
quern__kernel *quern__plain_move(const quern__call *call);
quern__kernel *quern__plain_gather(const quern__call *call);
quern__kernel *quern__plain_normalize(const quern__call *call);
quern__kernel *quern__plain_attention(const quern__call *call);

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
