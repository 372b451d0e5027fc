# Every command and option of --help is in the man page.
quern=$1 page=$2 failed=0
for command in new fit evaluate predict summary plan doctor; do
    grep -q "Cm $command" "$page" || { echo "FAILED: man page without $command"; failed=1; }
    for option in $("$quern" $command --help | sed -n 's/^  --\([a-z-]*\).*/\1/p'); do
        grep -q -- "\\\\-$option" "$page" || { echo "FAILED: man page without --$option"; failed=1; }
    done
done
exit $failed
