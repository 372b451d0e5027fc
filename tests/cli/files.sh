#!/usr/bin/env bash
# P26: the user's files are safe. Links are followed to their target, modes stay, pipes and devices
# are written to, no temporary file is left, two runs do not write the same file, and a path that is
# not writable is an error before training. $1: the command.
quern=$1
# shellcheck source=tests/cli/expect.sh
. "${BASH_SOURCE[0]%/*}/expect.sh"
under=(timeout 20)
awk 'BEGIN { srand(1); print "a,b,c,label"; for (i = 0; i < 500; i++) { a = rand(); b = rand(); c = rand(); print a "," b "," c "," (a + b + c > 1.5) } }' > d.csv
new() { "$quern" new "$1" 'input 3 | dense 2 softmax' --loss sparse_categorical_crossentropy --optimizer adam --force; }
fit() { "$quern" fit "$@" --target label --quiet; }

mkdir real
new real/m.keras
ln -s real/m.keras link.keras
before=$(stat -c %i real/m.keras)
fit link.keras d.csv || fail "fit of a link"
[ -L link.keras ] && [ "$(stat -c %i real/m.keras)" != "$before" ] || fail "a link was replaced, or its target was not written"
ln -s real/new.keras dangling.keras
fit real/m.keras d.csv --output dangling.keras && [ -L dangling.keras ] && [ -f real/new.keras ] || fail "a link to what is not there"
ln -s loop.keras loop.keras
expect 1 "loop.keras: cannot be written: Too many levels of symbolic links" "$quern" fit real/m.keras d.csv --target label --output loop.keras
new p.keras
chmod 640 p.keras
fit p.keras d.csv
[ "$(stat -c %a p.keras)" = 640 ] || fail "mode 640 became $(stat -c %a p.keras)"
(umask 027 && new u.keras)
[ "$(stat -c %a u.keras)" = 640 ] || fail "a new file has mode $(stat -c %a u.keras), the umask says 640"
echo precious > precious.txt
for name in s.keras.partial s.keras.partial.h5; do ln -s precious.txt $name; done
new s.keras
fit s.keras d.csv
[ "$(cat precious.txt)" = precious ] || fail "a planted link was followed"
mkfifo pipe
(timeout 20 cat pipe > through.keras) &
timeout 20 "$quern" fit p.keras d.csv --target label --quiet --output pipe || fail "fit into a pipe"
wait $!
[ -p pipe ] || fail "a pipe was replaced"
expect 0 "Trainable params: 8" "$quern" summary through.keras
(timeout 20 cat pipe > through.csv) &
timeout 20 "$quern" predict p.keras d.csv --output pipe.csv && rm pipe.csv || fail "predict"
ln -s pipe piped.csv
timeout 20 "$quern" predict p.keras d.csv --output piped.csv
wait $!
[ -p pipe ] && [ "$(wc -l < through.csv)" = 501 ] || fail "predictions into a pipe: $(wc -l < through.csv) lines"
if [ "$(id -u)" != 0 ]; then
    chmod 444 p.keras
    expect 1 "p.keras: cannot be written: Permission denied" "$quern" fit p.keras d.csv --target label
fi
long=$(printf 'n%.0s' $(seq 1 249)).keras
expect 0 "" "$quern" fit p.keras d.csv --target label --quiet --output "$long"
[ -f "$long" ] || fail "a name of 255 bytes"
expect 1 "File name too long" "$quern" fit p.keras d.csv --target label --output "n$long"
expect 1 "missing/o.keras: cannot be written: No such file or directory" "$quern" fit p.keras d.csv --target label --output missing/o.keras
expect 1 "real: cannot be written: Is a directory" "$quern" fit p.keras d.csv --target label --output real
expect 1 "missing/p.csv: cannot be written" "$quern" predict p.keras d.csv --output missing/p.csv
expect 1 "missing/p.npz: cannot be written" "$quern" predict p.keras d.csv --output missing/p.npz

left=$(find . -name '.quern-*' -o -name '*.lock')
[ -z "$left" ] || fail "left behind: $left"

# ---- names with blanks, quotes, commas, newlines; a quoted pattern ----
mkdir 'My Data'
printf 'a,b,y\n1,2,3\n4,5,9\n' > 'My Data/d.csv'
"$quern" new y.keras 'input 2 | dense 1' --optimizer sgd --loss mse
n=1
for name in "e'f\"g.csv" 'we[i]rd,x=1.csv' $'new\nline.csv' 'back\slash.csv' '*.csv'; do
    cp 'My Data/d.csv' "My Data/$name"
    n=$((n + 1))
    expect 0 '"samples":2' "$quern" evaluate y.keras "My Data/$name" --target y --json
done
rm 'My Data/*.csv'
expect 0 "\"samples\":$((2 * n - 2))" "$quern" evaluate y.keras 'My Data/*.csv' --target y --json
expect 0 "val_loss" "$quern" fit y.keras 'My Data/d.csv' 'My Data/back\slash.csv' --target y --validation 'My Data/d.csv' --output o.keras
expect 0 "val_loss" "$quern" fit y.keras 'My Data/d.csv' --target y --validation 'My\ Data/d.csv My\ Data/back\\slash.csv' --output o.keras
expect 1 "no such file.csv: cannot be opened" "$quern" evaluate y.keras 'no such file.csv' --target y
expect 0 '"records":2' "$quern" prepare 'My Data/d.csv' --target y --output 'My Data/p q.qrec' --json
expect 0 '"samples":2' "$quern" evaluate y.keras 'My Data/p q.qrec' --json

# ---- two runs ----
"$quern" fit p.keras d.csv --target label --epochs 100000 --quiet --checkpoint c.keras &
first=$!
for _ in $(seq 100); do [ -e .p.keras.lock ] && break; sleep 0.05; done
sleep 0.1
expect 1 "p.keras: is being written by process $first" "$quern" fit p.keras d.csv --target label
expect 1 "p.keras: is being written by process" "$quern" fit s.keras d.csv --target label --output p.keras
expect 1 "c.keras: is being written by process" "$quern" fit s.keras d.csv --target label --checkpoint c.keras
kill -9 $first
wait $first 2> /dev/null
expect 0 "" "$quern" fit p.keras d.csv --target label --quiet
[ ! -e .p.keras.lock ] || fail "a lock is left"
exit $failed
