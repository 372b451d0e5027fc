# P1: with a file a hundred times the memory limit (sparse, so that it takes no disk), and with a
# thousand short epochs, the process needs less than 64 MiB of private memory (ulimit -d, which the
# kernel enforces), its peak is the same as with a hundredth of the data, and it does not grow from
# the first epochs to the last.
quern=$1 failed=0
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
idx() { # FILE RECORDS BYTES-OF-A-RECORD: an IDX file of zeros
    if [ "$3" -gt 1 ]; then printf "\\0\\0\\10\\2\\x$(printf %02x $(($2 >> 24)))\\x$(printf %02x $(($2 >> 16 & 255)))\\x$(printf %02x $(($2 >> 8 & 255)))\\x$(printf %02x $(($2 & 255)))\\0\\0\\x$(printf %02x $(($3 >> 8)))\\x$(printf %02x $(($3 & 255)))" > "$1"
    else printf "\\0\\0\\10\\1\\x$(printf %02x $(($2 >> 24)))\\x$(printf %02x $(($2 >> 16 & 255)))\\x$(printf %02x $(($2 >> 8 & 255)))\\x$(printf %02x $(($2 & 255)))" > "$1"; fi
    truncate -s $(($(stat -c %s "$1") + $2 * $3)) "$1"
}
records=1640000 # of 4096 bytes: 6.7 GB
idx large-x $records 4096
idx large-y $records 1
idx small-x $((records / 100)) 4096
idx small-y $((records / 100)) 1
"$quern" new m.keras 'input 4096 | rescaling 1/255 | dense 2 softmax' --optimizer sgd --loss sparse_categorical_crossentropy
run() { # NAME EPOCHS: the peaks, epoch by epoch
    (ulimit -d 65536 && "$quern" fit m.keras x="$1"-x y="$1"-y --epochs "$2" --batch-size 128 --json --output out.keras) |
        sed -n 's/.*"peak_bytes":\([0-9]*\).*/\1/p'
}
small=$(run small 1 | tail -n 1) large=$(run large 1 | tail -n 1)
[ -n "$small" ] && [ -n "$large" ] && [ $((large * 100)) -le $((small * 102)) ] ||
    { echo "FAILED: peak memory ${small:-none} with a hundredth of the data, ${large:-none} with all"; failed=1; }
[ "${large:-99999999999}" -le 67108864 ] || { echo "FAILED: peak memory $large"; failed=1; }
idx tiny-x 300 4096
idx tiny-y 300 1
run tiny 1000 > peaks
early=$(sed -n 20p peaks) half=$(sed -n 500p peaks) late=$(sed -n 1000p peaks)
# Pages of code that are used for the first time (such as printf of very small numbers) count too,
# but only once.
[ -n "$early" ] && [ $((late - early)) -le 65536 ] && [ "$half" = "$late" ] ||
    { echo "FAILED: peak memory ${early:-none} after 20 epochs, ${half:-none} after 500, ${late:-none} after 1000"; failed=1; }
echo "peak $large bytes on 6.7 GB, $small on 67 MB; $early after 20 epochs, $late after 1000"
exit $failed
