#!/bin/bash
# P1, P2: in a real memory cgroup, with a much larger file: neither the process nor the private
# memory of the group exceeds the budget, `--memory auto` fits without options, and a group that is
# too small is refused at the start (exit 3), not killed. $1: the command; $2: bench, which writes
# rows; $3: tools/in-cgroup; $4: bytes of the file.
quern=$1 bench=$2 inside=$3
# shellcheck source=tests/cli/expect.sh
. "${BASH_SOURCE[0]%/*}/expect.sh"
"$inside" 64M figures true 2> said || { echo "skipped: $(cat said)"; exit 0; }
"$bench" --csv "$4" > rows.csv
dd of=rows.csv oflag=nocache conv=notrunc,fdatasync count=0 status=none # read from the disk, within the group
"$quern" new m.keras 'input 16 | dense 64 relu | dense 2' --optimizer adam --loss 'sparse_categorical_crossentropy from_logits=true'
# run GROUP MEMORY: trains; writes the peak of the process to `peak`, the private memory of the
# group to `private`
run() {
    "$inside" "$(numfmt --from=iec "$1")" figures "$quern" fit m.keras rows.csv --target y --batch-size 256 --memory "$2" --json \
        --output out.keras > said 2> errors
    code=$?
    peak=$(sed -n 's/.*"event":"end".*"peak_bytes":\([0-9]*\).*/\1/p' said)
    private=$(sed -n 's/^anonymous //p' figures)
}
for memory in 40M auto; do
    run 64M $memory
    budget=$(sed -n 's/.*"event":"plan".*"budget":\([0-9]*\).*/\1/p' said)
    [ "$code" = 0 ] && [ -n "$budget" ] && [ "$budget" -le 67108864 ] && [ "$peak" -le "$budget" ] && [ "$private" -le "$budget" ] ||
        fail "--memory $memory: exit $code, budget ${budget:-none}, peak ${peak:-none}, private ${private:-none}: $(cat errors)"
    echo "--memory $memory: budget $budget, peak $peak, private $private"
done
for memory in auto 64M; do
    rm -f out.keras
    run 20M $memory
    [ "$code" = 3 ] && grep -q 'memory cgroup: training needs' errors && [ ! -e out.keras ] ||
        fail "a group of 20M with --memory $memory: exit $code: $(cat errors)"
done
exit $failed
