#!/usr/bin/env bash
# P26: output that cannot be written is an error with exit 1: standard output (full, closed) of
# every command that prints, and files. A reader that closes the pipe ends the command, as it ends
# cat. $1: the command.
quern=$1
# shellcheck source=tests/cli/expect.sh
. "${BASH_SOURCE[0]%/*}/expect.sh"
awk 'BEGIN { srand(1); print "a,b,c,label"; for (i = 0; i < 100; i++) { a = rand(); b = rand(); c = rand(); print a "," b "," c "," (a + b + c > 1.5) } }' > d.csv
for i in $(seq 400); do echo "the quick brown fox $i jumps"; done > t.txt
"$quern" new m.keras 'input 3 | dense 2 softmax' --loss sparse_categorical_crossentropy --optimizer adam &&
    "$quern" fit m.keras d.csv --target label --quiet || fail "new"
"$quern" new t.keras 'input 8 | embedding vocab 4 | gru 4 sequences | dense vocab softmax' --loss sparse_categorical_crossentropy --optimizer adam \
    --text t.txt --tokenizer char || fail "new of a language model"

# Each line is a command that prints.
prints='--help
--version
help
new --help
fit --help
evaluate --help
predict --help
generate --help
summary --help
plan --help
convert --help
prepare --help
doctor --help
summary m.keras
summary m.keras --json
plan m.keras --batch-size 4
plan m.keras --batch-size 4 --json
plan m.keras --batch-size 4 --budgets 64M,128M
doctor
doctor --json
evaluate m.keras d.csv --target label
evaluate m.keras d.csv --target label --json
predict m.keras d.csv --output -
predict m.keras d.csv --output - --json
predict m.keras d.csv --output p.csv --json
generate t.keras --length 5
generate t.keras --length 5 --count 2
generate t.keras --length 5 --json
fit m.keras d.csv --target label --json
fit m.keras d.csv --target label --json --quiet
prepare d.csv --target label --output d.qrec --json'
n=0
while read -r line; do
    # shellcheck disable=SC2086 # words
    "$quern" $line > /dev/null 2> said < /dev/null || fail "$line: exit $?: $(cat said)"
    for how in /dev/full closed; do
        # shellcheck disable=SC2086
        if [ $how = closed ]; then "$quern" $line >&- 2> said < /dev/null; else "$quern" $line > $how 2> said < /dev/null; fi
        code=$?
        [ $code = 1 ] && [ "$(grep -c '^quern: ' said)" = 1 ] && grep -q '^quern: standard output: cannot be written: ' said ||
            fail "$line > $how: exit $code: $(cat said)"
        n=$((n + 1))
    done
done <<< "$prints"
[ $n = 62 ] || fail "$n commands were tried"
grep -q 'Bad file descriptor' said || fail "a closed standard output has another message: $(cat said)"
for command in $("$quern" --help | sed -n 's/^quern \([a-z]*\) .*/\1/p'); do
    [ "$command" = new ] || [ "$command" = convert ] || grep -q "^$command [^-]\|^doctor$" <<< "$prints" || fail "$command is not in the table"
done
# A command that prints nothing does not need standard output, and no file gets a closed descriptor.
"$quern" fit m.keras d.csv --target label --quiet >&- <&- 2>&- || fail "fit without standard streams: exit $?"
expect 0 "Trainable params: 8" "$quern" summary m.keras

# A reader that closes the pipe.
{ "$quern" plan m.keras --batch-size 4 --budgets "$(seq -s, 1000000 2000 20000000)"; echo $? > code; } 2> said | head -1 > first
[ "$(cat code)" = 141 ] && [ ! -s said ] && [ -s first ] || fail "a reader that closes the pipe: exit $(cat code): $(cat said)"

# Files on a full disk.
for name in full.csv full.npy full.npz full.jsonl full.keras full.h5 full.weights.h5 full.safetensors full.qrec full.svg full.log; do ln -s /dev/full $name; done
full() {
    expect 1 "cannot be written" "$quern" "$@"
    [[ $(grep '^quern: ' <<< "$said" | grep -vc warning) = 1 && $said == *"quern: full."* ]] || fail "$*: one line with the file was expected: $said"
}
full new full.keras 'input 3 | dense 2' --force
for to in csv npy npz jsonl; do full predict m.keras d.csv --output full.$to; done
for to in keras h5 weights.h5 safetensors npz; do full convert m.keras full.$to; done
full prepare d.csv --target label --output full.qrec
full plan m.keras --batch-size 4 --plot full.svg
full fit m.keras d.csv --target label --quiet --output full.keras
full fit m.keras d.csv --target label --quiet --callback 'csv_logger full.log'
full fit m.keras d.csv --target label --quiet --callback 'model_checkpoint full.keras'
full fit m.keras d.csv --target label --quiet --checkpoint full.keras
full fit t.keras t.txt --quiet --callback 'generate filepath=full.log length=3'
"$quern" fit t.keras t.txt --quiet --callback 'generate length=3' > /dev/full 2> said
[ $? = 1 ] && [ "$(cat said)" = "quern: standard output: cannot be written: No space left on device" ] || fail "generate to a full standard output: $(cat said)"
left=$(find . -name '.quern-*' -o -name '*.lock')
[ -z "$left" ] || fail "left behind: $left"
exit $failed
