/* machine: supported machines and compilers. Others would build a library with wrong results, or
 * would not build; they stop here with the reason. CMakeLists.txt compiles this file at
 * configuration. */
#ifndef QUERN__BASE_MACHINE_H
#define QUERN__BASE_MACHINE_H

#if !defined(__GNUC__)
#error "quern needs GCC or clang: its kernels use their vector types"
#elif __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "quern needs a little-endian machine: it reads the numbers of files without conversion"
#elif __SIZEOF_POINTER__ != 8
#error "quern needs a 64-bit machine: sizes of files, arrays and budgets have 64 bits"
#elif !defined(__linux__)
#error "quern needs Linux: threads wait by futex, and the memory budget reads /proc and cgroups"
#else
#include <features.h>
#if !defined(__GLIBC__)
#error "quern needs the GNU C library: the memory budget reads its mallinfo2"
#endif
#endif

#endif
