/* Machines and compilers that quern is for: each that would build and be wrong, or build in part, is refused here, with the reason.
 * CMakeLists.txt asks this file when it configures. */
#ifndef QUERN__BASE_MACHINE_H
#define QUERN__BASE_MACHINE_H

#if !defined(__GNUC__)
#error "quern needs GCC or clang: its kernels are written in their vector types"
#elif __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "quern needs a little-endian machine: files of models and data are little-endian, and their numbers are read as they lie"
#elif __SIZEOF_POINTER__ != 8
#error "quern needs a 64-bit machine: sizes of files, arrays and budgets are 64-bit numbers in memory"
#elif !defined(__linux__)
#error "quern needs Linux: threads wait by futex, and the memory budget reads /proc and cgroups"
#else
#include <features.h>
#if !defined(__GLIBC__)
#error "quern needs the GNU C library: the memory budget counts what its malloc holds (mallinfo2, mallopt)"
#endif
#endif

#endif
