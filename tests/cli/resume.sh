#!/bin/bash
# Interrupt and resume from the command line: exit 130 and 143 after a checkpoint, then
# bit-identical results (P20, P12). A program without a resume position is read again, or starts at
# the position itself.
set -u
quern=$1 dir=$(mktemp -d) failed=0
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1

check() { # WHAT: whether the last command was well
    if [ $? -eq 0 ]; then echo "ok   $1"; else echo "FAIL $1"; failed=1; fi
}

awk 'BEGIN { print "a,b,c,y"; for (i = 0; i < 600; i++) { a = i * 7919 % 601 / 601; b = i * 104729 % 499 / 499; c = i % 37 / 37
    printf "%.6f,%.6f,%.6f,%d\n", a, b, c, (a + b > c + 0.5) } }' > d.csv
"$quern" new start.keras 'input 3 | dense 32 relu | dropout 0.3 | batch_normalization | dense 2' --optimizer adam \
    --loss 'sparse_categorical_crossentropy from_logits=true' --metrics accuracy --seed 3
cp start.keras straight.keras
fit() { "$quern" fit "$1" d.csv --target y --batch-size 10 --epochs "$2" "${@:3}"; }
fit straight.keras 60 --quiet 2> /dev/null

# During validation: the validation stops at once, and runs again after the resume.
cat > slow.sh <<'END'
while [ -e slow ] && sleep 0.05; do cat v.npy w.npy; done
cat v.npy w.npy
END
npy() { printf '\x93NUMPY\x01\x00\x76\x00%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': $2, }" > "$1" && head -c "$3" /dev/zero >> "$1"; }
npy v.npy '(2, 3)' 24
npy w.npy '(2,)' 8
validated() { exec env --default-signal "$quern" fit "$1.keras" d.csv --target y --batch-size 10 --epochs 3 --validation-generator 'sh slow.sh' --checkpoint v.ckpt.keras --resume \
    --callback "csv_logger $1.log" --quiet; }
cp start.keras whole.keras
(validated whole)
rm -f v.ckpt.keras*
cp start.keras cut.keras
touch slow
validated cut 2> said & pid=$!
sleep 0.6
kill -TERM $pid
wait $pid
[ $? -eq 143 ] && [ -e v.ckpt.keras ]
check "SIGTERM ends validation, after a checkpoint"
cmp -s start.keras cut.keras
check "the model is unchanged"
rm slow
(validated cut 2> said)
cmp -s whole.log cut.log
check "the same logs after it"
rm -f v.ckpt.keras*

for signal in INT TERM; do
    cp start.keras cut.keras
    env --default-signal "$quern" fit cut.keras d.csv --target y --batch-size 10 --epochs 60 --checkpoint c.keras --checkpoint-every 50 2> said & pid=$!
    for _ in $(seq 500); do [ -e c.keras ] && break; sleep 0.01; done
    kill -$signal $pid
    wait $pid
    code=$?
    [ $code -eq $((128 + $(kill -l $signal))) ]
    check "SIG$signal ends with $code"
    grep -q 'resume continues from c.keras' said
    check "it says how to go on"
    cmp -s start.keras cut.keras
    check "the model is unchanged"
    fit cut.keras 60 --checkpoint c.keras --checkpoint-every 50 --resume 2> said
    grep -q 'resumes in epoch' said
    check "it says where it goes on"
    for m in straight cut; do "$quern" predict $m.keras d.csv --target y --output $m.csv --quiet; done
    cmp -s straight.csv cut.csv
    check "the same numbers after SIG$signal"
    rm -f c.keras*
done

# a program: two arrays per batch, endless; with --generator-resumes it starts at QUERN_RESUME_STEP
cat > batches.sh <<'END'
npy() { printf '\x93NUMPY\x01\x00\x76\x00'; printf "%-117s\n" "{'descr': '$1', 'fortran_order': False, 'shape': ($2), }"; }
i=0
[ "$1" = resumes ] && i=$QUERN_RESUME_STEP
while :; do
    b=$((i % 50 + 65))
    { npy '|u1' '4, 3'; printf "%b" "$(printf '\\x%x' $b $((b + 1)) $((b + 2)) $b $b $((b + 3)) $((b + 2)) $b 70 71 $b 72)"
      npy '|u1' '4,'; printf '\0\1\1\0'; } || exit 0
    i=$((i + 1))
done
END
for how in repeats resumes; do
    option=; [ $how = resumes ] && option=--generator-resumes
    cp start.keras whole.keras; cp start.keras parts.keras
    program() { "$quern" fit "$1" --generator "bash batches.sh $how" --batch-size 4 --steps-per-epoch 7 --epochs "$2" --quiet "${@:3}"; }
    program whole.keras 3 2> /dev/null
    program parts.keras 2 --checkpoint p.keras 2> /dev/null
    cp start.keras parts.keras
    program parts.keras 3 --checkpoint p.keras --resume $option 2> said
    check "a program that $how"
    for m in whole parts; do "$quern" predict $m.keras d.csv --target y --output $m.csv --quiet; done
    cmp -s whole.csv parts.csv
    check "the same numbers from a program that $how"
    rm -f p.keras*
done

# BackupAndRestore: after SIGKILL the same command resumes without options; at the end the backup
# and its folder are removed.
for double in false true; do
    words="backup_and_restore backup_dir=backup save_freq=50 double_checkpoint=$double"
    cp start.keras cut.keras
    "$quern" fit cut.keras d.csv --target y --batch-size 10 --epochs 60 --callback "$words" --quiet 2> /dev/null & pid=$!
    for _ in $(seq 500); do [ -e backup/backup.keras ] && break; sleep 0.01; done
    sleep 0.1
    kill -KILL $pid
    wait $pid 2> /dev/null
    : > backup/.quern-0123456789abcdef # as one that was killed while it wrote leaves
    [ -e backup/backup.keras ]
    check "there is a backup (double_checkpoint=$double)"
    fit cut.keras 60 --callback "$words" 2> said
    grep -q 'resumes in epoch' said
    check "it goes on by itself"
    "$quern" predict cut.keras d.csv --target y --output cut.csv --quiet
    "$quern" predict straight.keras d.csv --target y --output straight.csv --quiet
    cmp -s straight.csv cut.csv
    check "the same numbers from a backup"
    [ ! -e backup ]
    check "the backup is gone"
done
fit start.keras 1 --callback 'backup_and_restore backup_dir=backup delete_checkpoint=false' --quiet --output kept.keras 2> /dev/null
[ -e backup/backup.keras ]
check "delete_checkpoint=false leaves it"
fit start.keras 1 --callback 'backup_and_restore backup_dir=backup' --checkpoint c.keras 2> said; [ $? -eq 1 ] && grep -q 'writes its own' said
check "a checkpoint beside it is refused"

"$quern" fit start.keras d.csv --target y --resume 2> said; [ $? -eq 2 ] && grep -q -- '--checkpoint' said
check "--resume needs --checkpoint"
"$quern" fit start.keras d.csv --target y --checkpoint c.keras --checkpoint-every 3x 2> said; [ $? -eq 2 ]
check "--checkpoint-every 3x is refused"
exit $failed
