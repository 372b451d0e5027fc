#!/usr/bin/env bash
# A small stack limit (ulimit -s) changes nothing: kernels with large stack frames run in fit,
# generate, predict and convert, with the same results. $1: the command.
quern=$1
# shellcheck source=tests/cli/expect.sh
. "${BASH_SOURCE[0]%/*}/expect.sh"
for _ in $(seq 60); do echo 'the mill grinds the corn and the wind turns the mill'; done > corpus.txt
awk 'BEGIN { for (i = 0; i < 64; i++) printf "c%d,", i; print "y"; for (r = 0; r < 40; r++) { for (i = 0; i < 64; i++) printf "%g,", (r * i * 37 % 101) / 101; print r % 3 } }' > d.csv
compile=(--optimizer adam --loss 'sparse_categorical_crossentropy from_logits=true' --seed 1)
expect 0 "" "$quern" new image.keras 'input 64 | reshape (8,8,1) | conv2d 16 3 relu | flatten | dense 3' "${compile[@]}"
expect 0 "" "$quern" new text.keras 'input 16 | embedding vocab 16 as x | multi_head_attention 2 8 causal | add @x | lstm 16 sequences | dense vocab' --text corpus.txt --tokenizer char "${compile[@]}"
# results FOLDER: the output of every command
results() {
    mkdir "$1"
    expect 0 "" "$quern" fit image.keras d.csv --target y --epochs 2 --quiet --output "$1/image.keras" --workers 1
    expect 0 "" "$quern" predict "$1/image.keras" d.csv --target y --output "$1/image.csv"
    expect 0 "" "$quern" fit text.keras corpus.txt --epochs 1 --quiet --output "$1/text.keras" --checkpoint "$1/c.keras" --checkpoint-every 5
    "$quern" generate "$1/text.keras" --prompt 'the mill' --length 40 --seed 5 > "$1/text" || fail "generate: exit $?"
    expect 0 "" "$quern" convert "$1/text.keras" "$1/text.safetensors"
}
results large
ulimit -s 256
results small
for file in image.csv text text.safetensors; do
    cmp -s large/$file small/$file || fail "$file is another with a small stack"
done
exit $failed
