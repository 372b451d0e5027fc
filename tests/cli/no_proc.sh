#!/usr/bin/env bash
# Without /proc the command works, and values that only /proc has are unknown. $1: the command.
quern=$1
# shellcheck source=tests/cli/expect.sh
. "${BASH_SOURCE[0]%/*}/expect.sh"
unshare --mount mount -t tmpfs none /proc 2> said || { echo "skipped: /proc cannot be hidden here: $(cat said)"; exit 77; }
# hidden COMMAND…: runs with an empty /proc
hidden() { unshare --mount sh -c 'mount -t tmpfs none /proc && exec "$@"' sh "$@"; }
awk 'BEGIN { print "a,b,y"; for (i = 0; i < 100; i++) printf "%.4f,%.4f,%d\n", i * 37 % 101 / 101, i * 53 % 97 / 97, i % 2 }' > d.csv
expect 0 "" "$quern" new m.keras 'input 2 | dense 1' --optimizer sgd --loss mse
expect 0 "peak memory unknown" hidden "$quern" fit m.keras d.csv --target y --output o.keras
expect 0 '"peak_bytes":null' hidden "$quern" fit m.keras d.csv --target y --output o.keras --json
[[ $said == *'"runtime":null'* && $said != *'"peak_bytes":0'* ]] || fail "a number is invented: $said"
expect 1 "memory: the memory of the process is unknown: /proc/self/status cannot be read" \
    hidden "$quern" fit m.keras d.csv --target y --output o.keras --memory 1G
expect 0 "without the runtime" hidden "$quern" plan m.keras
[[ $said == *$'\n'runtime*unknown* && $said != *--memory* ]] || fail "plan: $said"
expect 0 '"smallest_bytes":null' hidden "$quern" plan m.keras --json
expect 0 '"peak_bytes":null' hidden "$quern" prepare d.csv --target y --output d.qrec --json
expect 0 "" hidden "$quern" predict m.keras d.csv --target y --output p.csv
expect 0 "" hidden "$quern" doctor
# With /proc all of these values are known.
expect 0 '"peak_bytes":' "$quern" fit m.keras d.csv --target y --output o.keras --json
[[ $said != *null* ]] || [[ $said == *'"budget":null'* && $said != *'bytes":null'* && $said != *'runtime":null'* ]] || fail "unknown: $said"
exit $failed
