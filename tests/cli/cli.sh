#!/usr/bin/env bash
# The contract of the command: exit codes, one line per error, no partial files. $1: the command.
quern=$1
# shellcheck source=tests/cli/expect.sh
. "${BASH_SOURCE[0]%/*}/expect.sh"
{
    echo "a,b,y"
    for i in $(seq 0 199); do echo "$((i % 7)),$((i % 5)),$((i % 7 > 3))"; done
} > train.csv
expect 0 "" "$quern" new m.keras 'input 2 | dense 8 relu | dense 2 softmax' --optimizer adam --loss sparse_categorical_crossentropy --metrics accuracy --seed 3
expect 2 "already exists" "$quern" new m.keras 'input 2 | dense 2'
expect 2 "did you mean 'dense'?" "$quern" new n.keras 'input 2 | dens 2'
expect 2 "layer 2 of the pipeline" "$quern" new n.keras 'input 2 | dense 2 3 4 5 6 7 8 9 10 11 12'
expect 0 "accuracy" "$quern" fit m.keras train.csv --target y --epochs 3 --batch-size 16
expect 0 "" "$quern" fit m.keras train.csv --target y --callback 'model_checkpoint w.weights.h5 save_weights_only=true'
expect 0 "" "$quern" convert m.keras same.keras --weights w.weights.h5
expect 0 '"event":"end","reason":"completed","epochs":2' "$quern" fit m.keras train.csv --target y --epochs 2 --json
expect 0 '"samples":200' "$quern" evaluate m.keras train.csv --target y --json
cp m.keras before.keras
printf 'a,b,y\n1,2,0\n1,?,1\n' > missing.csv
expect 1 "missing.csv:3: column 'b'" "$quern" fit m.keras missing.csv --target y
printf 'a,b,y\n1,2,0\n1,2,7\n' > label.csv
expect 1 "label 7 is outside 0 … 1" "$quern" fit m.keras label.csv --target y
expect 1 "missing.csv:3" "$quern" fit m.keras missing.csv --target y --bad-records fail
expect 0 "missing.csv:3: column 'b'" "$quern" fit m.keras missing.csv --target y --bad-records skip
expect 0 '"skipped":1}' "$quern" fit m.keras missing.csv --target y --bad-records skip:1 --json
expect 0 '"samples":2' "$quern" evaluate m.keras missing.csv --target y --bad-records substitute --json
printf '3,4\n' >> missing.csv
expect 1 "more than 1 bad records in an epoch" "$quern" fit m.keras missing.csv --target y --bad-records skip:1
for wrong in skip:0 skip:x skip: drop fail:3 ''; do
    expect 2 "--bad-records: must be fail, skip" "$quern" fit m.keras train.csv --target y --bad-records "$wrong"
done
expect 2 "'substitute' does not apply" "$quern" fit m.keras --generator 'true' --bad-records substitute
expect 2 "'skip' does not apply" "$quern" fit m.keras train.csv --target y --window 2 --bad-records skip
cp before.keras m.keras
expect 1 "cannot be opened" "$quern" fit m.keras train.csv --target y --validation nowhere.csv
expect 1 "no column is called 'z'" "$quern" fit m.keras train.csv --target z
expect 1 "." "$quern" fit m.keras . --target y
expect 3 "training needs" "$quern" fit m.keras train.csv --target y --memory 1M
expect 2 "does not apply to summary" "$quern" summary m.keras --epochs 3
expect 2 "--epochs" "$quern" fit m.keras train.csv --target y --epochs x
expect 2 "--seed: must be an integer" "$quern" fit m.keras train.csv --target y --seed x
expect 2 "--seed: must be an integer" "$quern" new n.keras 'input 2 | dense 2' --seed -1
expect 2 "its name must end in" "$quern" convert m.keras m.bin
expect 2 "not supported in this version" "$quern" convert m.keras m.onnx
expect 2 "needs IN and OUT" "$quern" convert m.keras
expect 2 "needs --weights" "$quern" convert m.keras m.h5 --map map
expect 0 "" "$quern" convert m.keras m.h5
expect 0 "" "$quern" convert m.h5 m.safetensors
expect 2 "has weights only" "$quern" convert m.safetensors m.keras
expect 0 "" "$quern" convert m.keras n.npz --weights m.safetensors
expect 0 "" "$quern" convert m.keras m.npz
cmp -s m.npz n.npz || fail "weights changed in the conversion"
expect 1 "nowhere.npz" "$quern" convert m.keras n.npz --weights nowhere.npz
expect 1 "the model has no tokenizer" "$quern" generate m.keras
expect 2 "no such command" "$quern" fitt
expect 1 "is not a zip archive" "$quern" summary train.csv
expect 1 "" "$quern" summary nowhere.keras
cmp -s m.keras before.keras || fail "a run that failed changed the model"
expect 0 "" "$quern" predict m.keras train.csv --target y --output p.npy
[ "$(stat -c %s p.npy)" = $((128 + 200 * 2 * 4)) ] || fail "p.npy has the wrong size"
expect 0 "bit-identical on 1 and 2 threads" "$quern" doctor
expect 0 "Trainable params: 42 (168.00 B)" "$quern" summary m.keras
expect 0 '"fits":true' "$quern" plan m.keras --memory 1G --json
# P2: the smallest budget that plan prints works for a file, and one byte less is refused; limits
# are checked before data is read.
smallest=$("$quern" plan m.keras --json | sed 's/.*"smallest_bytes":\([0-9]*\).*/\1/')
expect 0 "the largest part" "$quern" plan m.keras --memory "$smallest" --plot plan.svg
[[ $(tail -n 1 plan.svg) == '</svg>' ]] || fail "plan.svg is not an SVG"
expect 3 "training needs $smallest bytes" "$quern" plan m.keras --memory $((smallest - 1))
expect 0 "" "$quern" fit m.keras train.csv --target y --memory "$smallest" --output small.keras
expect 0 "" "$quern" fit m.keras train.csv --target y --memory auto --output small.keras
expect 2 "is not a size" "$quern" plan m.keras --memory 12Q
expect 0 "needs" "$quern" plan m.keras --budgets 1M,1G
expect 0 "1024.0M" "$quern" plan m.keras --budgets 1M,1G
expect 2 "must be a list of sizes" "$quern" plan m.keras --budgets 1M,12Q
expect 2 "does not combine with --budgets" "$quern" plan m.keras --budgets 1M,1G --memory 1G
"$quern" new large.keras 'input 2 | dense 512 relu | dense 512 relu | dense 2' --optimizer sgd --loss mse
expect 3 "limit of address space" bash -c "ulimit -v 400000 && '$quern' fit --split-batch never --threads 1 large.keras train.csv --target y,a --batch-size 65536"
expect 2 "auto, never or any" "$quern" plan large.keras --split-batch always
expect 3 "limit of data" bash -c "ulimit -d 200000 && '$quern' fit --split-batch never large.keras train.csv --target y,a --batch-size 65536"
for threads in 1 2 3; do
    cp before.keras t.keras
    "$quern" fit t.keras train.csv --target y --threads $threads --quiet && "$quern" predict t.keras train.csv --target y --output t$threads.npy
done
cmp -s t1.npy t2.npy && cmp -s t1.npy t3.npy || fail "the number of threads changed the weights"
# A generator program: arrays written by the shell, so that Python is not needed.
cat > gen.sh <<'G'
array() { # DESCR SHAPE, then numbers as escapes
    local head="{'descr': '$1', 'fortran_order': False, 'shape': $2, }"
    printf '\x93NUMPY\x01\x00\x76\x00%-117s\n' "$head"
    printf "$3"
}
for i in 1 2 3 4 5; do
    array '<f4' '(2, 2)' '\0\0\200\077\0\0\0\0\0\0\200\077\0\0\0\0'
    array '|u1' '(2,)' '\0\1'
    [ "${2:-}" = w ] && array '<f4' '(2,)' '\0\0\200\077\0\0\0\100'
    [ "$i" = "${1:-9}" ] && { echo "no more $QUERN_PHASE data" >&2; exit 3; }
done
[ "${1:-9}" = cut ] && printf '\x93NUMPY\x01'
[ "${1:-9}" = wide ] && array '<f4' '(1, 3)' '\0\0\0\0\0\0\0\0\0\0\0\0'
[ "${1:-9}" = sleep ] && sleep 30
exit 0
G
expect 0 "loss" "$quern" fit m.keras --generator 'bash gen.sh' --steps-per-epoch 5 --batch-size 4 --output out.keras
expect 0 "completed" "$quern" fit m.keras --generator 'bash gen.sh' --validation-generator 'bash gen.sh' --output out.keras
expect 1 "exit status 3" "$quern" fit m.keras --generator 'bash gen.sh 3' --steps-per-epoch 5
expect 1 "exit status 3: no more train data" "$quern" fit m.keras --generator 'bash gen.sh 3' --steps-per-epoch 5
expect 1 "no more validation data" "$quern" fit m.keras --generator 'bash gen.sh' --validation-generator 'bash gen.sh 3' --output out.keras
expect 0 "loss" "$quern" fit m.keras --generator 'bash gen.sh 9 w' --arrays x,y,w --steps-per-epoch 5 --output out.keras
expect 1 "'dense_1' is missing from the list" "$quern" fit m.keras --generator 'bash gen.sh' --arrays x --steps-per-epoch 5
expect 1 "'q' is not an input or output" "$quern" fit m.keras --generator 'bash gen.sh' --arrays x,q --steps-per-epoch 5
expect 1 "batch 6, byte" "$quern" fit m.keras --generator 'bash gen.sh cut' --steps-per-epoch 6
expect 1 "(1, 3)" "$quern" fit m.keras --generator 'bash gen.sh wide' --steps-per-epoch 6
expect 1 "the generator is empty" "$quern" fit m.keras --generator true
expect 1 "stall timeout" "$quern" fit m.keras --generator 'bash gen.sh sleep' --steps-per-epoch 6 --stall-timeout 1
# The same arrays on standard input, in a file, from a named pipe.
bash gen.sh > stream.npy
expect 0 "loss" bash -c "bash gen.sh | '$quern' fit m.keras - --format npy --steps-per-epoch 5 --batch-size 4 --output out.keras"
expect 0 '"samples":10' bash -c "bash gen.sh | '$quern' evaluate m.keras - --format npy --json"
expect 0 '"samples":10' bash -c "bash gen.sh 9 w | '$quern' evaluate m.keras - --format npy --arrays x,y,w --json"
expect 0 "" bash -c "bash gen.sh | '$quern' predict m.keras - --format npy --arrays x,y --output p.npy"
[ "$(stat -c %s p.npy)" = $((128 + 10 * 2 * 4)) ] || fail "predictions from standard input"
expect 0 "completed" "$quern" fit m.keras stream.npy --format npy --validation stream.npy --epochs 2 --steps-per-epoch 2 --output out.keras
mkfifo pipe && (bash gen.sh > pipe &) && expect 0 '"samples":10' "$quern" evaluate m.keras pipe --format npy --json
expect 1 "standard input: batch 6, byte" bash -c "bash gen.sh cut | '$quern' fit m.keras - --format npy --steps-per-epoch 6"
expect 1 "cannot restart" bash -c "cat stream.npy | '$quern' fit m.keras stream.npy --format npy --validation - --epochs 2 --steps-per-epoch 2 --output out.keras"
expect 1 "hint: add --format npy for concatenated arrays" bash -c "'$quern' fit m.keras - --target y < stream.npy"
expect 1 "stall timeout" bash -c "(cat stream.npy; sleep 3) | '$quern' fit m.keras - --format npy --steps-per-epoch 6 --stall-timeout 1"
rm -f pipe && mkfifo pipe && ( (head -n 40 train.csv; sleep 4) > pipe &) && expect 1 "pipe, line 41: reading takes longer than the stall timeout of 1 s; batch 1 of epoch 1" "$quern" fit m.keras pipe --target y --stall-timeout 1
# Formats: by --format, by name, by content; options that do not apply.
cp train.csv train.dat
tr , '\t' < train.csv > tabs.csv
expect 0 '"samples":200' "$quern" evaluate m.keras train.dat --target y --json
expect 0 '"samples":200' "$quern" evaluate m.keras tabs.csv --target y --format tsv --json
expect 1 "is an array without a role" "$quern" evaluate m.keras out.npy
cp stream.npy named-otherwise
expect 1 "is an array without a role" "$quern" evaluate m.keras named-otherwise
expect 1 "is npy, expected idx" "$quern" evaluate m.keras x=stream.npy y=stream.npy --format idx
expect 1 "did you mean 'npz'?" "$quern" evaluate m.keras train.csv --format npzz
expect 1 "tfrecord is not supported in this version" "$quern" evaluate m.keras train.csv --format tfrecord
expect 1 "hdf5 is not supported in this version" "$quern" evaluate m.keras data.h5
expect 2 "is text, and the model has no tokenizer" "$quern" evaluate m.keras corpus.txt
expect 1 "--arrays: applies to a generator and to --format npy only" "$quern" evaluate m.keras train.csv --target y --arrays x,y
expect 1 "--target: applies to CSV only" "$quern" evaluate m.keras stream.npy --format npy --target y
expect 2 "replaces DATA" "$quern" fit m.keras train.csv --generator true
# Prepared records: the same records in an order of their own.
expect 0 '"records":200' "$quern" prepare train.csv --target y --output train.qrec --json
expect 0 '"samples":200' "$quern" evaluate m.keras train.qrec --json
expect 0 "val_loss" "$quern" fit m.keras train.qrec --workers 3 --validation-split 0.2 --output out.keras
expect 2 "--output: missing" "$quern" prepare train.csv --target y
expect 2 "have no order in time" "$quern" evaluate m.keras train.qrec --window 4
expect 2 "must end in .qrec" "$quern" prepare train.csv --target y --output train.bin
expect 2 "is text" "$quern" prepare corpus.txt --output text.qrec
expect 3 "preparing needs" "$quern" prepare train.csv --target y --output train.qrec --memory 1M
expect 2 "does not apply to prepare" "$quern" prepare --generator 'bash gen.sh' --output g.qrec
# Rows in time order: a record is a window of rows. b is a one step earlier, so the window
# determines it.
(echo a,b; for i in $(seq 0 199); do echo "$((i * 7 % 10)),$(((i + 9) * 7 % 10))"; done) > rows.csv
expect 0 "" "$quern" new rows.keras 'input 4 1 | flatten | dense 1' --optimizer adam --loss mse --force
expect 0 '"samples":196' "$quern" evaluate rows.keras rows.csv --target b --window 4 --json
expect 0 '"samples":97' "$quern" evaluate rows.keras rows.csv --target b --window 4 --stride 2 --sampling-rate 2 --json
expect 0 '"samples":190' "$quern" fit rows.keras rows.csv --target b --window 4 --horizon 7 --json
expect 1 "windows of 3 rows" "$quern" fit rows.keras rows.csv --target b --window 3
expect 2 "needs --window" "$quern" fit rows.keras rows.csv --target b --horizon 3
expect 2 "at least 1" "$quern" fit rows.keras rows.csv --target b --window 4 --horizon 0
pgrep -f 'gen.sh sleep' > /dev/null && fail "a generator outlived its run"
# P1: with a hundred times the data, the peak memory is the same (within 2 %).
(head -n 1 train.csv; for i in $(seq 300); do tail -n +2 train.csv; done) > large.csv
peak() { "$quern" fit m.keras "$1" --target y --json --output out.keras | sed -n 's/.*"end".*"peak_bytes":\([0-9]*\).*/\1/p'; }
small=$(peak train.csv) large=$(peak large.csv)
[ $((large * 100)) -le $((small * 140)) ] || fail "peak memory grew from $small to $large with the data"
# The same for any number of epochs (within 1 MB).
peak() { "$quern" fit m.keras train.csv --target y --batch-size 200 --json --output out.keras "$@" | sed -n 's/.*"end".*"peak_bytes":\([0-9]*\).*/\1/p'; }
stop='early_stopping monitor=loss min_delta=1'
few=$(peak --epochs 2 --callback "$stop")
for epochs in 1000000 100000000; do
    many=$(peak --epochs $epochs --callback "$stop")
    [ $((many - few)) -lt 1000000 ] || fail "--epochs $epochs: the peak is $many, $few for two"
done
many=$(peak --epochs 5000 --callback 'csv_logger log.csv')
[ $((many - few)) -lt 1000000 ] || fail "after 5000 epochs the peak is $many, $few after two"
exit $failed
