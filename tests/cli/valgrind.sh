#!/usr/bin/env bash
# P19: valgrind finds no error and no leaked block, reachable or not, in a program that uses the
# library (test_life) and in the command, for every source. Its processor lacks AVX-512, so the
# kernels for AVX2 run. $1: the command; $2: test_life.
quern=$1 life=$2
# shellcheck source=tests/cli/expect.sh
. "${BASH_SOURCE[0]%/*}/expect.sh"
awk 'BEGIN { print "a,b,c,y"; for (i = 0; i < 100; i++) { a = i * 7919 % 601 / 601; b = i * 104729 % 499 / 499; c = i % 37 / 37
    printf "%.6f,%.6f,%.6f,%d\n", a, b, c, (a + b > c + 0.5) } }' > d.csv
for ((i = 0; i < 60; i++)); do echo "the quick brown fox $i jumps"; done > t.txt
gzip -k d.csv
# Arrays: 100 records of three bytes, and one byte for each.
printf '\0\0\10\2\0\0\0\144\0\0\0\3' > x && head -c 300 t.txt >> x
printf '\0\0\10\1\0\0\0\144' > y && for ((i = 0; i < 50; i++)); do printf '\0\1'; done >> y
# checked CODE COMMAND…: the command exits with CODE, and valgrind reports nothing
checked() {
    local code=$1 got
    shift
    valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=all --errors-for-leak-kinds=all "$@" > out 2> said < "${input:-/dev/null}"
    got=$?
    [ $got = "$code" ] && ! grep -q '^==' said || fail "${*:1:4}: exit $got, $code was expected: $(grep -A12 -m1 '^==' said || tail -2 said)"
    runs=$((runs + 1))
}
runs=0
compiled=(--loss sparse_categorical_crossentropy --optimizer adam --seed 1)
fit() { checked 0 "$quern" fit "$@" --quiet; }
checked 0 "$life"
checked 0 "$quern" new m.keras 'input 3 | dense 40 relu | dropout 0.1 | dense 2 softmax' "${compiled[@]}"
checked 0 "$quern" new i.keras 'input 3 | reshape (3,1,1) | conv2d 4 1 relu | batch_normalization | flatten | dense 2 softmax' "${compiled[@]}"
checked 0 "$quern" new t.keras 'input 8 | embedding vocab 4 | lstm 4 sequences | dense vocab softmax' "${compiled[@]}" --text t.txt --tokenizer word
checked 2 "$quern" new no.keras 'input 3 | dense' "${compiled[@]}"
checked 2 "$quern" fit m.keras --nonsense
checked 1 "$quern" fit m.keras missing.csv
checked 1 "$quern" fit m.keras d.csv --target none
fit m.keras d.csv --target y --epochs 2 --checkpoint c.keras --callback 'csv_logger log.csv'
fit m.keras d.csv --target y --epochs 3 --checkpoint c.keras --resume --callback 'csv_logger log.csv' --validation d.csv
fit m.keras d.csv.gz --target y
checked 0 "$quern" prepare d.csv --target y --output d.qrec --quiet
fit m.keras d.qrec --validation-split 0.1 --workers 2
fit i.keras x=x y=y
input=d.csv fit m.keras - --target y
fit t.keras t.txt --steps-per-epoch 3 --callback 'generate length=3 filepath=samples'
npy() { printf '\x93NUMPY\x01\x00\x76\x00%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': ($1), }" && head -c "$2" /dev/zero; }
{ npy '4, 3' 48 && npy '4,' 16; } > batch
fit m.keras --generator 'while cat batch; do :; done' --steps-per-epoch 3
fit m.keras --generator 'cat batch batch' --validation-generator 'cat batch'
checked 0 "$quern" evaluate m.keras d.csv --target y
for to in csv npy npz jsonl; do checked 0 "$quern" predict m.keras d.csv --output p.$to; done
checked 0 "$quern" generate t.keras --length 5 --prompt 'the quick'
checked 0 "$quern" generate t.keras --length 5 --beams 3 --prompt 'the'
for to in keras h5 weights.h5 safetensors npz; do checked 0 "$quern" convert m.keras o.$to; done
checked 0 "$quern" convert o.h5 from.keras
checked 0 "$quern" summary m.keras
checked 0 "$quern" plan m.keras --batch-size 8
checked 0 "$quern" doctor
echo "$runs runs"
exit $failed
