#!/usr/bin/env bash
# A run does what the options say, or reports the difference: how it ends, and that it does not
# overwrite good files. $1: the command.
quern=$1
# shellcheck source=tests/cli/expect.sh
. "${BASH_SOURCE[0]%/*}/expect.sh"
# unsaid TEXT: the output of the last command must not contain TEXT
unsaid() { [[ $said != *"$1"* ]] || fail "unexpected text '$1' in: ${said:0:200}"; }
# same FILE FILE
same() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }
# npy FILE SHAPE NUMBERS: float32 as words, from bytes in octal ("nan" and "one" are known)
npy() {
    local file=$1 header="{'descr': '<f4', 'fortran_order': False, 'shape': $2, }" n
    shift 2
    printf '\x93NUMPY\x01\x00\x76\x00%-117s\n' "$header" > "$file"
    for n in "$@"; do
        case $n in
        nan) printf '\0\0\300\177' ;;
        inf) printf '\0\0\200\177' ;;
        1) printf '\0\0\200\077' ;;
        0) printf '\0\0\0\0' ;;
        esac
    done >> "$file"
}
awk 'BEGIN { print "a,b,y"; for (i = 0; i < 100; i++) printf "%.4f,%.4f,%d\n", i * 37 % 101 / 101, i * 53 % 97 / 97, i % 2 }' > d.csv
new() { rm -f "$1" && expect 0 "" "$quern" new "$@" --seed 1; }

# ---- numbers that are not finite: MODEL, OUTPUT and checkpoints stay as they were (P20) ----
new steep.keras 'input 2 | dense 8 relu | dense 1' --optimizer 'sgd learning_rate=1e6' --loss mse
cp steep.keras before.keras
for with in '' '--callback terminate_on_nan' '--callback terminate_on_nan --checkpoint c.keras --checkpoint-every 1'; do
    # shellcheck disable=SC2086
    expect 1 "of epoch 1" "$quern" fit steep.keras d.csv --target y --epochs 3 --output o.keras $with
    same steep.keras before.keras
    [ ! -e o.keras ] || fail "o.keras was written"
done
if [ -e c.keras ]; then # it holds no nan
    expect 0 "" "$quern" predict c.keras d.csv --target y --output -
    unsaid nan
fi
# The loss of the last step is finite, the weights after it are not.
new last.keras 'input 2 | dense 1' --optimizer 'sgd learning_rate=1e38' --loss mse
sed 's/^0[^,]*,/9,/' d.csv > nine.csv
cp last.keras before.keras
expect 1 "after step 1 of epoch 1" "$quern" fit last.keras nine.csv --target y --batch-size 100 --checkpoint l.keras
same last.keras before.keras
[ ! -e l.keras ] || fail "a checkpoint with weights that are not finite was written"
# A run with weights that are not finite does not replace an earlier model; save_best_only keeps the
# earlier best model.
expect 1 "of epoch 1" "$quern" fit last.keras nine.csv --target y --batch-size 100 --callback 'model_checkpoint best.keras'
[ ! -e best.keras ] || fail "model_checkpoint wrote weights that are not finite"
expect 0 "stopped" "$quern" fit last.keras nine.csv --target y --epochs 9 --callback terminate_on_nan \
    --callback 'early_stopping monitor=loss patience=5 restore_best_weights=true'
expect 0 "" "$quern" predict last.keras d.csv --target y --output -
unsaid nan

# The backup stays if the run fails.
new steep.keras 'input 2 | dense 8 relu | dense 1' --optimizer 'sgd learning_rate=1e6' --loss mse
expect 1 "of epoch 1" "$quern" fit steep.keras d.csv --target y --epochs 3 --callback terminate_on_nan --callback 'backup_and_restore backup save_freq=1'
[ -e backup/backup.keras ] || fail "the backup is gone: $(ls backup)"

# ---- the error names such a number in the data ----
new n.keras 'input 2 | dense 1' --optimizer sgd --loss mse
npy x.npy '(4, 2)' 1 0 1 1 0 nan 1 1
npy y.npy '(4, 1)' 1 0 1 0
npy good.npy '(4, 2)' 1 0 1 1 0 1 1 1
npy inf.npy '(4, 1)' 1 0 1 inf
expect 1 "quern: x.npy: record 3, number 2: nan; the loss is not finite after step" "$quern" fit n.keras x=x.npy y=y.npy --batch-size 2
expect 1 "quern: inf.npy: record 4, number 1: inf; the loss is not finite after step 1 of epoch 1" "$quern" fit n.keras x=good.npy y=inf.npy
expect 1 "quern: cat good.npy y.npy x.npy y.npy: 'input_layer', record 3 of the batch, number 2: nan; the loss is not finite after step 2 of epoch 1" \
    "$quern" fit n.keras --generator 'cat good.npy y.npy x.npy y.npy'
expect 1 "quern: x.npy: record 3, number 2: nan; the loss is not finite after step 1 of epoch 1" \
    "$quern" fit n.keras x=x.npy y=y.npy --callback terminate_on_nan
expect 1 "x.npy: record 3, number 2: nan; the loss is not finite after batch 1 of the evaluation" "$quern" evaluate n.keras x=x.npy y=y.npy
expect 1 "x.npy: record 3, number 2: nan; the loss is not finite after batch 1 of the validation" \
    "$quern" fit n.keras x=good.npy y=y.npy --validation 'x=x.npy y=y.npy'

# ---- signals: once, twice, while a program is silent, and ignored (P20) ----
new s.keras 'input 2 | dense 1' --optimizer adam --loss mse
cp s.keras before.keras
batches='while cat good.npy y.npy; do sleep 0.02; done'
# signalled CODE PROGRAM SIGNAL…: sends the signals, 2 ms apart, after the first checkpoint. A
# background job of a script ignores SIGINT by default.
signalled() {
    local code=$1 program=$2 one got pid
    shift 2
    rm -f s.ckpt.keras*
    env --default-signal "$quern" fit s.keras --generator "$program" --checkpoint s.ckpt.keras --checkpoint-every 1 --quiet 2> said &
    pid=$!
    for _ in $(seq 500); do [ -e s.ckpt.keras ] && break; sleep 0.01; done
    sleep 0.1
    for one; do
        kill "-$one" $pid 2> kill
        sleep 0.002
    done
    wait $pid 2> killed
    got=$?
    [ $got = "$code" ] || fail "$*: exit $got, expected $code; said: $(cat said)"
    same s.keras before.keras
    expect 0 "" "$quern" summary s.ckpt.keras
    [ ! -e s.ckpt.keras.next ] || [ "$code" = 130 ] || fail "$*: s.ckpt.keras.next is left"
}
signalled 143 "$batches" TERM
signalled 143 "$batches" TERM TERM TERM
signalled 143 "$batches" HUP
signalled 143 "$batches" HUP TERM HUP CONT
signalled 130 "$batches" INT
signalled 130 "$batches" INT INT
grep -q . kill && fail "the signals came too late: $(cat kill)"
signalled 143 'cat good.npy y.npy good.npy y.npy; sleep 60' TERM
(trap '' HUP && "$quern" fit s.keras --generator 'for i in 1 2 3 4 5; do cat good.npy y.npy; kill -HUP $PPID; done' --output o.keras) 2> said ||
    fail "SIGHUP is ignored: exit $?, said: $(cat said)"

# Other commands end at once, and leave no program and no file; so does the second SIGINT of fit.
for how in "evaluate s.keras" "predict s.keras --arrays x --output p.csv" "predict s.keras --arrays x --output p.npz"; do
    for one in TERM INT HUP; do
        # shellcheck disable=SC2086
        env --default-signal timeout -s $one 0.3 "$quern" $how --generator 'cat good.npy; sleep 43' 2> said
        [ $? = 124 ] || fail "$how: SIG$one did not end it"
        sleep 0.1
        pgrep -f '^sleep 43$' > pids && fail "$how: SIG$one left the program running"
        [ -z "$(ls p.* 2> missing)" ] || fail "$how: SIG$one left $(ls p.*)"
    done
done
env --default-signal "$quern" fit s.keras --generator 'sleep 43' --quiet 2> said &
sleep 0.3
kill -INT $!
kill -INT $!
wait $! 2> killed
sleep 0.1
pgrep -f '^sleep 43$' > pids && fail "two SIGINT left the program running"

# ---- steps: as many as the options say, or a message with their number (P6, P7) ----
npy other.npy '(4, 2)' 0 1 1 0 1 1 0 0
cat good.npy y.npy > 1.npy
five='for i in 1 1 1 1; do cat 1.npy; done; cat other.npy y.npy'
expect 0 "warning: epoch 1 ended after 5 of 20 steps: the generator is exhausted"$'\n' "$quern" fit n.keras --generator "$five" --steps-per-epoch 20
[[ $said = *$'\n'"exhausted:"* ]] || fail "a different reason: $said"
expect 0 "warning: epoch 2 ended after 2 of 3 steps: the generator is exhausted, training stops" \
    "$quern" fit n.keras --generator "$five" --steps-per-epoch 3 --epochs 3
expect 0 "warning: epoch 1 ended after 5 steps: the generator is exhausted, training stops" "$quern" fit n.keras --generator "$five" --epochs 3
expect 0 "warning: epoch 2 ended after 0 of 5 steps: the generator is exhausted, training stops" \
    "$quern" fit n.keras --generator "$five" --steps-per-epoch 5 --epochs 3
expect 0 "completed" "$quern" fit n.keras --generator "$five" --steps-per-epoch 5
unsaid warning
cp n.keras before.keras
expect 1 "epoch 2 ended after 2 of 3 steps: the generator is exhausted" \
    "$quern" fit n.keras --generator "$five" --steps-per-epoch 3 --epochs 3 --on-exhausted error
expect 0 "" cmp n.keras before.keras # the epoch that was completed is not written
expect 0 "warning: validation ended after 5 of 50 steps: the data is exhausted" \
    "$quern" fit n.keras --generator "$five" --validation-generator "$five" --validation-steps 50 --epochs 1
expect 1 "validation: ended after 5 of 50 steps" \
    "$quern" fit n.keras --generator "$five" --validation-generator "$five" --validation-steps 50 --on-exhausted error
expect 0 "warning: validation ended after 1 of 2 steps" "$quern" fit n.keras x=good.npy y=y.npy --validation 'x=good.npy y=y.npy' --validation-steps 2
expect 0 "warning: evaluation ended after 5 of 7 steps: the data is exhausted" "$quern" evaluate n.keras --generator "$five" --steps 7
expect 0 "warning: prediction ended after 1 of 2 steps" "$quern" predict n.keras x=good.npy --steps 2 --output -
expect 0 "" "$quern" evaluate n.keras --generator "$five" --steps 5
unsaid warning
# Restart: every epoch has its steps, with a worker and after a checkpoint bit-identically; a pass
# without a batch is an error.
for how in straight twice; do
    new $how.keras 'input 2 | dense 4 relu | dropout 0.5 | dense 1' --optimizer adam --loss mse
    for epochs in 2 5; do
        [ $how = twice ] || epochs=5
        expect 0 "Epoch $epochs/$epochs - 3/3" "$quern" fit $how.keras --generator "$five" --steps-per-epoch 3 --epochs $epochs \
            --on-exhausted restart --checkpoint $how.ckpt --resume
        [ $how = twice ] || break
        [ $epochs = 5 ] || new $how.keras 'input 2 | dense 4 relu | dropout 0.5 | dense 1' --optimizer adam --loss mse
    done
    expect 0 "" "$quern" predict $how.keras x=good.npy --output $how.npy
done
same straight.npy twice.npy
expect 1 "the generator is empty" "$quern" fit n.keras --generator true --steps-per-epoch 3 --on-exhausted restart
expect 1 "the generator is empty" "$quern" fit n.keras --generator '[ $QUERN_EPOCH != 1 ] || cat 1.npy' --steps-per-epoch 3 --on-exhausted restart
expect 0 "3/3" "$quern" fit n.keras x=good.npy y=y.npy --steps-per-epoch 3
unsaid warning

# ---- an impossible option is refused before the first epoch (P10) ----
new e.keras 'input 2 | dense 1' --optimizer sgd --loss mse --metrics mae
new schedule.keras 'input 2 | dense 1' --optimizer 'sgd learning_rate=exponential_decay(0.01,10,0.5)' --loss mse
# refused TEXT HINT OPTION…: nothing is trained, and nothing is written
refused() {
    local text=$1 hint=$2
    shift 2
    cp e.keras before.keras
    expect 1 "$text" "$quern" fit e.keras x=good.npy y=y.npy --epochs 3 "$@"
    [[ $said = *"hint: $hint"* || -z $hint ]] || fail "$*: no hint '$hint' in: $said"
    unsaid Epoch
    same e.keras before.keras
}
valid=(--validation 'x=good.npy y=y.npy')
refused "early_stopping: monitor: 'val_acc' is not in the logs of an epoch: loss, mae, val_loss, val_mae" "did you mean 'val_mae'?" \
    "${valid[@]}" --callback 'early_stopping monitor=val_acc'
refused "'val_loss' is not in the logs of an epoch: loss, mae" "add validation data, or set monitor=loss" --callback early_stopping
refused "'val_loss' is not in" "" "${valid[@]}" --validation-freq 4 --callback early_stopping
refused "'mea' is not in" "did you mean 'mae'?" --callback 'reduce_lr_on_plateau monitor=mea'
refused "'val_loss' is not in" "" --callback 'model_checkpoint b.keras save_best_only=true'
refused "'val_loss' is not in the logs of a batch" "set save_freq=epoch, or monitor=loss" "${valid[@]}" \
    --callback 'model_checkpoint b.keras save_best_only=true save_freq=1'
refused "'{acc}' is not epoch" "" --callback 'model_checkpoint b-{acc}.keras'
refused "'{val_loss}' is not epoch, batch or a log" "use one of epoch, batch, loss, mae" --callback 'model_checkpoint b-{val_loss}.keras'
refused "filepath: '}' is missing after '{epoch.keras'" "" --callback 'model_checkpoint {epoch.keras'
refused "'{epoch:99999d}' is no" "" --callback 'model_checkpoint {epoch:99999d}.keras'
refused "csv_logger: separator must be one character, not ''" "" --callback 'csv_logger log.csv separator=""'
refused "csv_logger: separator must be one character, not ', '" "" --callback 'csv_logger log.csv separator=", "'
for argument in patience start_from_epoch; do
    expect 2 "early_stopping: $argument must be at least 0, not -1" "$quern" fit e.keras d.csv --target y --callback "early_stopping $argument=-1"
done
for argument in patience cooldown min_lr factor; do
    expect 2 "reduce_lr_on_plateau: $argument must be at least 0, not -1" \
        "$quern" fit e.keras d.csv --target y --callback "reduce_lr_on_plateau $argument=-1"
done
refused "generate: the model has no tokenizer" "" --callback generate
refused "nowhere/log.csv: cannot be written: No such file or directory" "" --callback 'csv_logger nowhere/log.csv'
refused "nowhere/c.keras: cannot be written: No such file or directory" "" --checkpoint nowhere/c.keras
refused "nowhere/o.keras: cannot be written: No such file or directory" "" --output nowhere/o.keras
mkdir -p folder.keras
refused "folder.keras: cannot be written: Is a directory" "" --output folder.keras
refused "folder.keras: cannot be written: Is a directory" "" --callback 'model_checkpoint folder.keras'
for callback in 'reduce_lr_on_plateau monitor=loss patience=4' 'learning_rate_scheduler exponential_decay(0.1,1,0.5)'; do
    expect 1 "${callback%% *}: the learning rate cannot be set: the optimizer has a schedule" \
        "$quern" fit schedule.keras d.csv --target y --epochs 9 --callback "$callback"
    unsaid Epoch
done
expect 0 "Epoch 2/2" "$quern" fit e.keras x=good.npy y=y.npy --epochs 2 "${valid[@]}" --validation-freq 2 --callback 'early_stopping patience=3' \
    --callback 'reduce_lr_on_plateau monitor=loss' --callback 'model_checkpoint b.keras save_best_only=true monitor=learning_rate'
# A CSVLogger appends only to a file with the same columns.
log() { "$quern" fit "$1" x=good.npy y=y.npy --callback 'csv_logger log.csv append=true' --quiet "${@:2}"; }
expect 0 "" log schedule.keras
cp log.csv before.csv
expect 1 "log.csv: the file has columns epoch,loss,val_loss, this run has epoch,loss,mae,val_loss,val_mae" log e.keras
same log.csv before.csv
expect 0 "" log schedule.keras --initial-epoch 1 --epochs 2
[ "$(wc -l < log.csv)" = 3 ] || fail "log.csv: $(cat log.csv)"

# ---- batches of a program have any size; the first one sets the capacity ----
many() { local i; for ((i = 0; i < $1; i++)); do echo "$2"; done; }
# shellcheck disable=SC2046
{
    npy x64.npy '(64, 2)' $(many 128 1) && npy y64.npy '(64, 1)' $(many 64 0)
    npy x96.npy '(96, 2)' $(many 192 1) && npy y96.npy '(96, 1)' $(many 96 0)
}
new b.keras 'input 2 | dense 1' --optimizer adam --loss mse
sizes='cat x64.npy y64.npy good.npy y.npy x64.npy y64.npy'
expect 0 '"steps":3,"samples":132' "$quern" fit b.keras --generator "$sizes" --json
expect 0 '"samples":132' "$quern" evaluate b.keras --generator "$sizes" --json
expect 0 '"samples":132' "$quern" evaluate b.keras - --format npy --json < <(eval "$sizes")
expect 0 "" "$quern" predict b.keras --generator "cat x96.npy x64.npy" --arrays x --output p.csv
[ "$(wc -l < p.csv)" = 161 ] || fail "predict: $(wc -l < p.csv) lines, a header and 160 rows are expected"
expect 0 "val_loss" "$quern" fit b.keras --generator "$sizes" --validation-generator 'cat x96.npy y96.npy'
expect 1 "batch 2, byte 1152: 96 records exceed the batch size 64"$'\n'"hint: set --batch-size 96" \
    "$quern" fit b.keras --generator 'cat x64.npy y64.npy x96.npy y96.npy'
expect 1 "64 records exceed the batch size 32"$'\n'"hint: set --batch-size 64" "$quern" fit b.keras --generator "$sizes" --batch-size 32
npy huge.npy '(1000000000000, 2)'
expect 1 "1000000000000 records exceed the batch size 65536" "$quern" fit b.keras --generator 'cat huge.npy'
# Arrays keep batches of 32 records, whatever the batch size of the validation data.
expect 0 '"steps":2,"samples":64' "$quern" fit b.keras x=x64.npy y=y64.npy --validation-generator 'cat good.npy y.npy' --json
# A resumed run keeps its capacity.
cat > resumes.sh <<'END'
[ "$QUERN_RESUME_STEP" != 0 ] || cat x64.npy y64.npy
while :; do cat good.npy y.npy; done
END
expect 0 "" "$quern" fit b.keras --generator 'sh resumes.sh' --steps-per-epoch 2 --checkpoint b.ckpt.keras
expect 0 "Epoch 2/2 - 2/2" "$quern" fit b.keras --generator 'sh resumes.sh' --steps-per-epoch 2 --epochs 2 --checkpoint b.ckpt.keras --resume \
    --generator-resumes
# A program that is silent before its first batch can be interrupted too.
env --default-signal timeout 0.3 "$quern" fit b.keras --generator 'sleep 60' --quiet 2> said
[ $? = 124 ] && grep -q "interrupted; b.keras is unchanged" said || fail "a silent program: $(cat said)"

# ---- a program whose output is not an array, or whose child inherits its pipe (P13) ----
expect 1 "quern: echo Loading data ...; cat 1.npy: batch 1, byte 0: not a .npy array: found 'Loading data ...\\n" \
    "$quern" fit n.keras --generator 'echo Loading data ...; cat 1.npy'
[[ $said = *$'\n'"hint: print other output to standard error" ]] || fail "no hint: $said"
expect 1 "batch 2, byte 304: not a .npy array: found 'done\\n', expected" "$quern" fit n.keras --generator 'cat 1.npy; echo done'
expect 1 "batch 2, byte 304: .npy " "$quern" fit n.keras --generator 'cat 1.npy; head -c 100 good.npy | tr "<{" "??"; cat good.npy'
expect 1 "batch 1, byte 0: not a .npy array: found 'x\\n'" "$quern" evaluate n.keras - --format npy < <(echo x)
# seconds COMMAND…: checks the duration
time_of() { local start=$SECONDS; "$@" > said 2>&1; code=$?; took=$((SECONDS - start)) said=$(cat said); }
time_of "$quern" fit n.keras --generator 'cat 1.npy; sleep 41 &'
[ $code = 0 ] && [ $took -lt 9 ] && [[ $said = *"its child holds the standard output"* ]] || fail "a child holds the pipe: $code, $took s, $said"
pgrep -f '^sleep 41$' > pids && fail "the child outlived the run"
time_of "$quern" fit n.keras --generator 'cat good.npy; sleep 41 &'
[ $code = 1 ] && [ $took -lt 9 ] && [[ $said = *"the stream ends between the arrays of a batch"*"the program itself has ended"* ]] ||
    fail "a child holds the pipe within a batch: $code, $took s, $said"
time_of "$quern" fit n.keras --generator 'cat 1.npy; sleep 41 & exit 3'
[ $code = 1 ] && [[ $said = *"ended with exit status 3"* ]] || fail "a child holds the pipe of one that failed: $code, $said"

# ---- a value that a layer does not accept is refused (P10) ----
for layer in 'dense 3' relu 'dropout 0.1' flatten 'unit_normalization' 'rescaling 2' identity; do
    expect 2 "expects 1 input, but it received 2" "$quern" new two.keras "input 2 | dense 8 as h | dense 8 | $layer @h"
    [[ $said = *"hint: use '| @NAME |' alone"* ]] || fail "$layer: no hint: $said"
done
expect 2 "expects 1 input, but it received 3" "$quern" new two.keras 'input 8 8 1 as i | conv2d 3 3 @i @i'
expect 2 "expects 2 inputs, but it received 3" "$quern" new two.keras 'input 2 as i | batch_normalization @i @i'
for join in add subtract multiply average maximum minimum concatenate 'dot 1'; do
    expect 0 "" "$quern" new two.keras "input 2 | dense 8 as h | dense 8 | $join @h" --force
done
expect 0 "" "$quern" new two.keras 'input 8 | dense 16 relu as h | dense 1 as price | @h | dense 3 softmax as kind | output @price @kind' --force

# ---- an error is one line, and is correct about the order of earlier records ----
printf 'a,b,y\n1,2,3\n4,five,9\n' > five.csv
expect 1 "quern: five.csv:3: column 'b'" "$quern" fit n.keras five.csv --target y
unsaid warning
awk 'BEGIN { print "a,b,y"; for (i = 0; i < 3000; i++) print i % 7 "," i % 5 "," (i == 2000 ? "x" : i % 2) }' > late.csv
expect 1 "quern: late.csv:2002: column 'y'" "$quern" fit n.keras late.csv --target y
unsaid warning

# ---- a model without layers is a usage error ----
for pipeline in '' ' ' $'\n'; do
    expect 2 "pipeline: is empty" "$quern" new empty.keras "$pipeline" --optimizer sgd --loss mse
    [ ! -e empty.keras ] || fail "an empty model was written"
done

# ---- workers 0: the trainer reads itself, bit-identically (P5, P10) ----
for workers in 0 1; do
    new w.keras 'input 2 | dense 4 relu | dense 1' --optimizer adam --loss mse
    expect 0 "completed" "$quern" fit w.keras d.csv --target y --epochs 2 --workers $workers
    expect 0 "" "$quern" predict w.keras d.csv --target y --output w$workers.csv
done
same w0.csv w1.csv
expect 0 "completed" "$quern" fit w.keras --generator "$five" --workers 0 --stall-timeout 5
expect 1 "stall_timeout: it needs a reader thread, but workers is 0"$'\n'"hint: set workers=1" \
    "$quern" fit w.keras d.csv --target y --workers 0 --stall-timeout 5
expect 2 "--workers" "$quern" fit w.keras d.csv --target y --workers 00x
expect 2 "--workers" "$quern" fit w.keras d.csv --target y --workers -1

env --default-signal timeout 0.3 "$quern" fit w.keras --generator "cat 1.npy; sleep 60" --workers 0 --quiet 2> said
[ $? = 124 ] && grep -q "interrupted; w.keras is unchanged" said || fail "a silent program without a worker: $(cat said)"

# ---- class weights of a model of two outputs: the hint names the alternative ----
expect 0 "" "$quern" new outputs.keras 'input 2 | dense 4 as h | dense 1 name=p as p | @h | dense 1 name=q as q | output @p @q' \
    --optimizer sgd --loss mse --force
expect 1 "class_weight: the model has 2 outputs"$'\n'"hint: use sample weights: --weight COLUMN of a CSV, or w:NAME=FILE for an output" \
    "$quern" fit outputs.keras x=good.npy y:p=y.npy y:q=y.npy --class-weight 0:1,1:4
exit $failed
