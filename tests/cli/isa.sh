#!/bin/bash
# The instruction set of the kernels (P10, P12): --isa or QUERN_ISA selects it, doctor prints it,
# wrong names are errors. Instruction sets that are documented as bit-identical are.
quern=$1
. "$(dirname "$0")/expect.sh"
unset QUERN_ISA

here=$("$quern" doctor | sed -n 's/^ok *kind of processor *[a-z0-9]* of //p' | tr -d ,)
[ -n "$here" ] || fail "doctor names no instruction set"
for isa in $here; do
    expect 0 " $isa of " "$quern" doctor --isa "$isa"
    expect 0 " $isa of " env QUERN_ISA="$isa" "$quern" doctor
done
widest=${here%% *} narrowest=${here##* }
expect 0 " $widest of " env QUERN_ISA= "$quern" doctor
expect 0 " $narrowest of " env QUERN_ISA="$widest" "$quern" doctor --isa "$narrowest"
expect 2 "quern: --isa: 'avx1024' is not a kind" "$quern" doctor --isa avx1024
expect 2 "hint: use one of: $widest" "$quern" doctor --isa avx1024
expect 2 "quern: QUERN_ISA: 'AVX2' is not a kind" env QUERN_ISA=AVX2 "$quern" new x.keras 'input 2 | dense 2'
expect 2 "--isa: does not apply to new" "$quern" new x.keras 'input 2 | dense 2' --isa "$widest"

# A run with every op that has a fast kernel, for each instruction set: the files are bit-identical
# as documented.
awk 'BEGIN { print "a,b,c,d,y"; for (i = 0; i < 300; i++) printf "%.4f,%.4f,%.4f,%.4f,%d\n", i * 7919 % 601 / 601, i * 104729 % 499 / 499, i % 37 / 37, i % 11 / 11, i % 3 }' > d.csv
"$quern" new m.keras 'input 4 | dense 40 tanh | reshape (10,4) | lstm 24 sequences | gru 20 sequences | multi_head_attention 2 8 | layer_normalization |
    conv1d 16 3 elu | batch_normalization | dropout 0.2 | global_average_pooling1d | dense 3 softmax' --optimizer adam \
    --loss sparse_categorical_crossentropy --seed 3 || fail "no model"
for isa in $here; do
    expect 0 "" "$quern" fit m.keras d.csv --target y --epochs 2 --quiet --isa "$isa" --output "$isa.keras"
    expect 0 "" "$quern" predict "$isa.keras" d.csv --target y --isa "$isa" --output "$isa.npy"
done
if [ -e avx512.npy ]; then
    cmp avx512.npy avx2.npy || fail "AVX-512 and AVX2 are not bit-identical"
fi
if [ -e avx2.npy ]; then
    cmp -s avx2.npy sse2.npy && fail "AVX2 and SSE2 are bit-identical: --isa has no effect"
fi

# A checkpoint stores the instruction set; a resume with different rounding is a warning that names
# both.
resume() { cp m.keras run.keras; "$quern" fit run.keras d.csv --target y --checkpoint c.keras "$@"; }
expect 0 "" resume --isa "$narrowest"
expect 0 "!the run used" resume --isa "$narrowest" --resume --epochs 2
if [ "$narrowest" != "$widest" ]; then
    expect 0 "warning: c.keras: the run used $narrowest kernels, this run uses $widest kernels, which round differently; --isa $narrowest is bit-identical" \
        resume --resume --epochs 3
fi
exit $failed
