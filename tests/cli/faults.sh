#!/bin/bash
# P20, P12: in a run, the n-th call for a disk fails, finds the disk full from then on, kills the
# process, or cuts the power. For every n, the newest valid checkpoint opens, and the resumed run is
# bit-identical to an undisturbed run, with the same log; the model file is the old or the new one;
# and the error is one line that names a file. Then the same on a small file system that fills up.
# $1: the command; $2: fault.so; $3: the step of n (1: all).
quern=$1 fault=$2 by=$3 runs=0 with=(env)
# shellcheck source=tests/cli/expect.sh
. "${BASH_SOURCE[0]%/*}/expect.sh"

awk 'BEGIN { print "a,b,c,y"; for (i = 0; i < 200; i++) { a = i * 7919 % 601 / 601; b = i * 104729 % 499 / 499; c = i % 37 / 37
    printf "%.6f,%.6f,%.6f,%d\n", a, b, c, (a + b > c + 0.5) } }' > d.csv
"$quern" new start.keras 'input 3 | dense 32 relu | dropout 0.3 | dense 2' --optimizer adam \
    --loss 'sparse_categorical_crossentropy from_logits=true' --metrics accuracy --seed 3
weights() { "$quern" convert "$1" "$work/w.safetensors" 2> "$work/convert" && sha256sum < "$work/w.safetensors"; }
# fit FOLDER EPOCHS …: resumes the run of FOLDER, where all files are
fit() {
    "${with[@]}" "$quern" fit "$1/m.keras" d.csv --target y --batch-size 10 --epochs "$2" --quiet --threads 1 --checkpoint "$1/c.keras" --resume \
        --callback "csv_logger $1/log.csv" --callback "model_checkpoint $1/best.keras monitor=loss save_best_only=true" "${@:3}"
}
# The files before the run: two epochs, with a checkpoint after each.
mkdir first straight
cp start.keras first/m.keras
fit first 1 2> said && cp start.keras first/m.keras && fit first 2 2> said || fail "no run at all: $(cat said)"
cp start.keras first/m.keras
cp start.keras straight/m.keras
fit straight 4 2> said || fail "the undisturbed run: $(cat said)"
old=$(weights start.keras) new=$(weights straight/m.keras)
[ "$old" != "$new" ] || fail "it learned nothing"

# after HOW: checks what the disturbed run left in folder t, and resumes it
after() {
    local is
    [ ! -e t/c.keras ] || weights t/c.keras > /dev/null || fail "$1: c.keras is invalid: $(cat convert)"
    [ -e t/c.keras ] || weights t/c.keras.previous > /dev/null || fail "$1: no checkpoint is left"
    is=$(weights t/m.keras)
    [ "$is" = "$old" ] || [ "$is" = "$new" ] || fail "$1: the model is neither the old nor the new one: $is $(cat convert)"
    cp start.keras t/m.keras
    fit t 4 2> said || fail "$1: it cannot resume: $(cat said)"
    [ "$(weights t/m.keras)" = "$new" ] || fail "$1: not bit-identical at the end"
    cmp -s t/log.csv straight/log.csv || fail "$1: the log differs at the end"
    [ "$(weights t/best.keras)" = "$(weights straight/best.keras)" ] || fail "$1: the best model differs at the end"
}
# disturbed HOW CODE: whether the run ended as expected: with a line that names a file, or without a
# message. A failure that loses data must have a message. A call with an alternative needs none (a
# link, an unlink, the sync of a folder, the text of a lock, a read).
disturbed() {
    [ "$2" != 0 ] || [ ! -e call ] || grep -q '\.lock' call || ! grep -q '^\(write\|pwrite\|fwrite\|fflush\|fclose\|close\|ftruncate\|rename\|fsync\) .*/t/' call ||
        fail "$1: no message"
    [ "$2" -le 1 ] || fail "$1: exit $2: $(cat said)"
    [ "$2" = 0 ] || { [ "$(grep -c '^quern: ' said)" = 1 ] && grep -q "^quern: $work/t/" said; } ||
        fail "$1: one line with a file was expected: $(cat said)"
}
for how in EIO ENOSPC kill cut; do
    for ((n = 1 + RANDOM % by; ; n += by)); do
        rm -rf t call
        mkdir t
        cp first/* t
        (with=(env LD_PRELOAD="$fault" FAULT_UNDER="$work/t" FAULT_AT=$n FAULT_HOW=$how FAULT_SAID="$work/call")
            fit "$work/t" 4 2> said; exit $?) 2> /dev/null
        code=$?
        [ -e call ] || break
        runs=$((runs + 1)) what="$how at call $n ($(sed "s,$work/,," call))"
        [ $code = 137 ] && [[ $how = cut || $how = kill ]] || disturbed "$what" $code
        [ $how != EIO ] || [ $code != 0 ] || ! grep -E "^(fsync|fclose|fwrite|fflush|rename) $work/t/" call | grep -qv 'fclose.*log.csv' ||
            fail "$what: no message"
        [ $code = 137 ] || ! ls t | grep -q 'next\|quern-' || grep -q unlink call || fail "$what: left behind: $(ls t)"
        after "$what"
    done
    [ $n -gt 30 ] || fail "$how: only $n calls were seen"
done
echo "$runs runs with a fault"

# full SIZE FOLDER: the run on a file system of SIZE (KiB); copies its files to FOLDER.
full() {
    mount -t tmpfs -o "size=$1k" quern t && cp first/* t || exit 125
    fit "$work/t" 4 2> said
    code=$?
    cp t/* "$2"
    exit $code
}
fitted=0
for ((size = $(du -sk first | cut -f 1) + 4; ; size += by > 1 ? 12 : 4)); do
    rm -rf t after
    mkdir t after
    (export -f full fit; export quern work; unshare -m bash -c 'with=(env); full "$@"' bash "$size" after) 2> mounted
    code=$?
    [ $code != 125 ] && [ -e after/m.keras ] || { echo "skipped: no file system can be mounted here: $(cat mounted)"; break; }
    disturbed "a disk of $size KiB" $code
    rm -rf t && mv after t
    after "a disk of $size KiB"
    [ $code != 0 ] || { echo "full below $size KiB, $fitted times"; break; }
    fitted=$((fitted + 1))
done
exit $failed
