#!/bin/sh
# The compiler and the configuration refuse unsupported machines and compilers, with the reason
# (P23). The test overrides the machine macros of the compiler. Usage: tests/machines.sh SOURCE
# COMPILER
set -eu
source=$1 compiler=$2 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*"; failed=1; }

compile() { "$compiler" -fsyntax-only -x c "$@" "$source/src/base/machine.h" > "$work/said" 2>&1; }
compile || { cat "$work/said"; fail "this machine is refused"; }
refused() { # REASON FLAG…: the compiler refuses
    reason=$1
    shift
    if compile "$@"; then fail "$* is not refused"; fi
    [ "$(grep -c "error:.*quern needs" "$work/said")" = 1 ] || fail "$*: more or less than one error"
    grep -q "quern needs $reason" "$work/said" || { cat "$work/said"; fail "$*: other reason"; }
}
refused "a little-endian machine: .* without conversion" -U__BYTE_ORDER__ -D__BYTE_ORDER__=4321
refused "a 64-bit machine: sizes" -U__SIZEOF_POINTER__ -D__SIZEOF_POINTER__=4
refused "GCC or clang: its kernels" -U__GNUC__
refused "Linux: threads wait by futex" -U__linux__
: > "$work/features.h" # as another C library has it
refused "the GNU C library: the memory budget" -I "$work"

if cmake -S "$source" -B "$work/build" -DCMAKE_C_COMPILER="$compiler" -DCMAKE_C_FLAGS="-U__BYTE_ORDER__ -D__BYTE_ORDER__=4321" > "$work/said" 2>&1; then
    fail "cmake configures for a big-endian machine"
fi
tr '\n' ' ' < "$work/said" | tr -s ' ' | grep -q "quern needs a little-endian machine: it reads" || { cat "$work/said"; fail "cmake gives another reason"; }
exit $failed
