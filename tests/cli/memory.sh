#!/usr/bin/env bash
# P20, P26: the n-th allocation of quern or of a library fails, once or from then on. For every n,
# the command ends without a signal. Its output and files are those of an undisturbed run, or it
# exits with 1 and one line with `out of memory`, the previous files are intact, and no temporary
# file is left. $1: the command; $2: fault.so; $3: the step of n.
quern=$1 fault=$2 by=$3 runs=0
# shellcheck source=tests/cli/expect.sh
. "${BASH_SOURCE[0]%/*}/expect.sh"
awk 'BEGIN { print "a,b,c,y"; for (i = 0; i < 40; i++) { a = i * 7919 % 601 / 601; b = i * 104729 % 499 / 499; c = i % 37 / 37
    printf "%.6f,%.6f,%.6f,%d\n", a, b, c, (a + b > c + 0.5) } }' > d.csv
for ((i = 0; i < 60; i++)); do echo "the quick brown fox $i jumps"; done > t.txt
compiled=(--loss sparse_categorical_crossentropy --optimizer adam --seed 1)
language='input 8 | embedding vocab 4 | gru 4 sequences | dense vocab softmax'
once=(--target y --quiet --threads 1)
{ "$quern" new m.keras 'input 3 | dense 4 relu | dense 2 softmax' "${compiled[@]}" &&
    "$quern" new t.keras "$language" "${compiled[@]}" --text t.txt --tokenizer char &&
    "$quern" fit m.keras d.csv "${once[@]}" --output f.keras && "$quern" convert f.keras f.h5 &&
    "$quern" fit m.keras d.csv "${once[@]}" --epochs 2 --output o.keras --checkpoint c.keras &&
    rm o.keras; } 2> said || fail "no files at all: $(cat said)"
mkdir first
mv ./*.* first

# The content of a file: its bytes, without the time of day in archives.
content() {
    case $1 in
    *.keras) unzip -p "$1" -x metadata.json ;;
    *.npz) unzip -p "$1" ;;
    *) cat "$1" ;;
    esac
}
# The files of folder t, by name.
contents() { for file in t/*; do echo "$file $(content "$file" | sha256sum)"; done; }
# run N COMMAND…: runs in folder t; `out` is its output without times
run() {
    (cd t && LD_PRELOAD=$fault FAULT_MEMORY=$1 FAULT_SAID=$work/place "$quern" "${@:2}") > out 2> said < /dev/null
    code=$?
    sed -i 's/"seconds":[0-9.]*//' out
}
again() { rm -rf t place && cp -r first t; }
# The n-th allocation of a command fails; `good` has the files and `good.out` the output of a run
# without a failure.
disturbed() {
    local what="$from allocation $1 of $total: quern ${*:2}" now
    again
    run "$@"
    runs=$((runs + 1))
    now=$(contents)
    if [ $code -gt 128 ] || [ $code = 255 ]; then fail "$what: exit $code: $(cat said place)"
    elif [ $code = 0 ]; then
        grep -qv warning said && fail "$what: $(cat said)"
        [ "$(grep -v "^t/[ck]" <<< "$now")" = "$(grep -v "^t/[ck]" <<< "$good")" ] && cmp -s out good.out || fail "$what: exit 0 with different output or files"
    else
        [ $code = 1 ] && [ "$(grep '^quern: ' said | grep -vc warning)" = 1 ] && grep -q 'out of memory' said || fail "$what: exit $code: $(cat said)"
        while read -r file _; do # a file is that of before, or that of an undisturbed run; checkpoints lie between
            case $file in
            t/[ck].keras*) "$quern" summary "$file" > /dev/null 2>&1 || fail "$what: $file is invalid" ;;
            t/k.log) ;;
            *) grep -qxF "$(grep -F "$file " <<< "$now")" <<< "$before
$good" || fail "$what: $file is neither old nor new" ;;
            esac
        done <<< "$now"
    fi
}
# every STEP COMMAND…: the n-th allocation of a command fails, for every STEP-th n
every() {
    local step=$1
    shift
    again
    before=$(contents)
    run 0 "$@"
    total=$(cat place)
    good=$(contents)
    cp out good.out
    [ $code = 0 ] && [ "$total" -gt 100 ] || { fail "quern $*: exit $code, $total allocations: $(cat said)"; return; }
    for ((n = 1 + RANDOM % step; n <= total; n += step)); do from=''; disturbed "$n" "$@"; done
    export FAULT_MEMORY_FROM=1
    for ((n = 1 + RANDOM % (4 * step); n <= total; n += 4 * step)); do from='from '; disturbed "$n" "$@"; done
    unset FAULT_MEMORY_FROM
    echo "$total allocations: quern $*"
}
every "$by" summary m.keras
every "$by" summary m.keras --json
every "$by" new o.keras 'input 3 | dense 4 relu | dense 2 softmax' "${compiled[@]}"
every "$by" new o.keras "$language" "${compiled[@]}" --text t.txt --tokenizer char
every "$by" fit m.keras d.csv "${once[@]}"
every "$by" fit t.keras t.txt --quiet --threads 1 --steps-per-epoch 2
every $((2 * by)) fit m.keras d.csv "${once[@]}" --epochs 2 --checkpoint k.keras --resume --checkpoint-every 1 --callback 'csv_logger k.log'
every "$by" fit m.keras d.csv "${once[@]}" --epochs 3 --checkpoint c.keras --resume
every "$by" evaluate f.keras d.csv --target y
every "$by" predict f.keras d.csv --output o.csv
every "$by" predict f.keras d.csv --output o.npz
every "$by" generate t.keras --length 5
every "$by" generate t.keras --length 5 --json --count 2
every "$by" prepare d.csv --target y --output o.qrec --quiet
every "$by" plan m.keras --batch-size 4
for to in keras h5 weights.h5 safetensors npz; do every "$by" convert f.keras o.$to; done
every "$by" convert f.h5 o.keras
echo "$runs runs without memory"
exit $failed
