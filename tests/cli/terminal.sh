#!/usr/bin/env bash
# The progress bar on terminals: narrow ones, resized ones, dumb ones, and after SIGTSTP; and
# ignored signals. $1: the command, $2: the terminal.
quern=$1 terminal=$2
# shellcheck source=tests/cli/expect.sh
. "${BASH_SOURCE[0]%/*}/expect.sh"
npy() { printf '\x93NUMPY\x01\x00\x76\x00%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': $1, }"; }
{ npy '(4, 2)'; head -c 32 /dev/zero; npy '(4, 1)'; head -c 16 /dev/zero; } > batch
expect 0 "" "$quern" new m.keras 'input 2 | dense 1' --optimizer sgd --loss mse --metrics mae
export TERM=xterm NO_COLOR=1
slow='for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do cat batch; sleep 0.05; done'
# screen COLUMNS ACTION OPTIONS…: the screen after two epochs of ten steps
screen() {
    local columns=$1 action=$2
    shift 2
    "$terminal" "$columns" "$action" "$quern" fit m.keras --generator "$slow" --steps-per-epoch 10 --epochs 2 --output o.keras "$@" > rows
    local got=$?
    [ $got != 77 ] || { echo "skipped: no pseudo terminal here"; exit 77; }
    [ $got = 0 ] || fail "$columns $action: exit $got: $(cat rows)"
}
# bars N: checks that N rows have a bar, each complete and at the start of its row
bars() {
    [ "$(grep -c ━ rows)" = "$1" ] && [ "$(grep -c '^10/10 ━━━━━━━━━━━━━━━━━━━━ ' rows)" = 2 ] && [ "$(grep -c '^Epoch [12]/2$' rows)" = 2 ] ||
        fail "$2: $(cat rows)"
}
screen 100 none
bars 2 "100 columns"
[ "$(wc -l < rows)" -le 6 ] || fail "100 columns: $(cat rows)"
for columns in 40 30; do # the last line of an epoch is whole: it takes two rows
    screen $columns none
    bars 2 "$columns columns"
    [ "$(tr -d '\n' < rows | grep -o 'mae: 0\.' | wc -l)" = 2 ] || fail "$columns columns: $(cat rows)"
done
screen 100 resize:40 # the bar that was too long stays once
bars 3 "resized to 40 columns"
screen 40 resize:100
bars 2 "resized to 100 columns"
screen 100 stop
bars 2 "stopped and continued"
for kind in dumb ''; do
    TERM=$kind screen 80 none
    grep -q '━' rows && fail "TERM='$kind': $(cat rows)"
    [ "$(grep -c '^Epoch [12]/2 - 10/10 - ' rows)" = 2 ] || fail "TERM='$kind': $(cat rows)"
done
# A message clears the bar; an interrupted run leaves the bar on a row of its own.
awk 'BEGIN { print "a,b,y"; for (i = 0; i < 40; i++) print (i == 30 ? "x" : 1) ",1,1" }' > bad.csv
"$terminal" 100 none "$quern" fit m.keras bad.csv --target y --batch-size 1 --output o.keras --no-shuffle > rows
[ $? = 1 ] || fail "a bad record: $(cat rows)"
"$terminal" 100 none "$quern" fit m.keras bad.csv --target y --batch-size 1 --output o.keras --bad-records skip:9 >> rows || fail "skip: $(cat rows)"
"$terminal" 100 none env --default-signal=TERM "$quern" fit m.keras --generator "$slow; kill -TERM \$PPID; $slow" --steps-per-epoch 40 --output o.keras >> rows
[ $? = 143 ] || fail "SIGTERM: $(cat rows)"
[ "$(grep -c '^quern: bad.csv:32' rows)" = 1 ] || fail "the error begins no row: $(cat rows)"
[ "$(grep -c '^interrupted: total ' rows)" = 1 ] || fail "the end begins no row: $(cat rows)"
[ "$(grep -c '^quern: warning: ' rows)" -ge 1 ] || fail "no warning: $(cat rows)"
grep ━ rows | grep -q 'quern:\|peak' && fail "a message follows the bar: $(cat rows)"
# SIGINT that is ignored at the start (nohup, trap '' INT) stays ignored.
batches='for i in 1 2 3 4 5; do cat batch; kill -INT $PPID; done'
(trap '' INT && "$quern" fit m.keras --generator "$batches" --output i.keras) > said 2>&1 || fail "SIGINT is ignored: exit $?: $(cat said)"
grep -q 'exhausted:\|completed:' said || fail "SIGINT is ignored: $(cat said)"
env --default-signal=INT "$quern" fit m.keras --generator "kill -INT \$PPID; sleep 0.2; $slow" --output i.keras > said 2>&1
[ $? = 130 ] || fail "SIGINT is not ignored: $(cat said)"
exit $failed
