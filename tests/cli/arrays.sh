#!/usr/bin/env bash
# Arrays through the command: every command compares axes for every kind of data, --data-format
# transposes, every type of .npy is read. $1: the command; $2: tests/data/field.
quern=$1 data=$2
# shellcheck source=tests/cli/expect.sh
. "${BASH_SOURCE[0]%/*}/expect.sh"
cp "$data"/channels-first/*.npy "$data"/npy-kinds/{half,big,fortran,nocolumns}.npy .
cp "$data"/npy-kinds/y.npy targets.npy
gzip -k first.npy
cat first.npy y.npy > first.stream
cat last.npy y.npy > last.stream
"$quern" new m.keras 'input 4 4 3 | global_average_pooling2d | dense 2 softmax' --optimizer 'adam learning_rate=0.3' \
    --loss sparse_categorical_crossentropy --metrics accuracy --seed 1
expect 0 "" "$quern" fit m.keras x=last.npy y=y.npy --epochs 40 --quiet
whole=$("$quern" evaluate m.keras x=last.npy y=y.npy --batch-size 60 --json)
axes='axis 1 is 3, the model expects 4 (None, 4, 4, 3)'
hint='add --data-format channels_first: the channels are on axis 1'
for words in "x=first.npy y=y.npy --batch-size 60" "x=first.npy.gz y=y.npy --batch-size 60" "first.stream --format npy --batch-size 60" "--generator 'cat first.stream' --batch-size 60"; do
    for command in "fit m.keras --output t.keras" "evaluate m.keras"; do
        expect 1 "$axes" bash -c "'$quern' $command $words"
        expect 1 "$hint" bash -c "'$quern' $command $words"
        expect 0 "accuracy" bash -c "'$quern' $command $words --data-format channels_first"
    done
    expect 0 "$whole" bash -c "'$quern' evaluate m.keras $words --data-format channels_first --json"
done
expect 1 "$axes" "$quern" fit m.keras x=last.npy y=y.npy --validation 'x=first.npy y=y.npy' --output t.keras
expect 1 "$axes" "$quern" fit m.keras x=last.npy y=y.npy --validation-generator 'cat first.stream' --batch-size 60 --output t.keras
expect 1 "$axes" "$quern" predict m.keras x=first.npy --output -
[ "$("$quern" predict m.keras x=first.npy --data-format channels_first --output -)" = "$("$quern" predict m.keras x=last.npy --output -)" ] ||
    fail "predictions of transposed arrays"
expect 0 "" "$quern" prepare x=first.npy y=y.npy --output first.qrec
expect 1 "$axes" "$quern" evaluate m.keras first.qrec
expect 0 "" "$quern" prepare x=first.npy y=y.npy --data-format channels_first --output last.qrec
expect 0 "accuracy" "$quern" evaluate m.keras last.qrec
expect 1 "--data-format: applies to arrays; pass it to 'quern prepare'" "$quern" evaluate m.keras last.qrec --data-format channels_first
printf 'a,b\n1,2\n' > t.csv
expect 1 "--data-format: applies to arrays" "$quern" fit m.keras t.csv --target b --data-format channels_last
expect 2 "--data-format: must be channels_first or channels_last" "$quern" fit m.keras x=first.npy y=y.npy --data-format first
expect 2 "--data-format: must be channels_first or channels_last" "$quern" fit m.keras --generator 'cat first.stream' --data-format first
"$quern" new flat.keras 'input 48 | dense 2 softmax' --optimizer adam --loss sparse_categorical_crossentropy
expect 1 "hint: add flatten to the model, or save x.reshape(-1, 48)" "$quern" fit flat.keras x=last.npy y=y.npy
"$quern" new sum.keras 'input 2 | dense 1 kernel_initializer=ones' --optimizer sgd --loss mse
for kind in half big fortran; do
    expect 0 "loss" "$quern" evaluate sum.keras x=$kind.npy y=targets.npy
    gzip -kf $kind.npy
    expect 0 "$("$quern" evaluate sum.keras x=$kind.npy y=targets.npy --json)" "$quern" evaluate sum.keras x=$kind.npy.gz y=targets.npy --json
    expect 0 "$("$quern" evaluate sum.keras x=$kind.npy y=targets.npy --json)" \
        "$quern" evaluate sum.keras --generator "cat $kind.npy targets.npy" --json
done
expect 1 "shape (6, 0) has no elements" "$quern" evaluate sum.keras x=nocolumns.npy y=targets.npy
# batches of sequences with their own length from a program
npy() { printf '\x93NUMPY\x01\x00\x76\x00%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': ($1), }" && head -c "$2" /dev/zero; }
for steps in 5 2 7 5; do npy "3, $steps, 2" $((3 * steps * 8)) && npy "3, $steps, 1" $((3 * steps * 4)); done > ragged.stream
"$quern" new ragged.keras 'input None 2 | lstm 4 sequences | dense 1' --optimizer sgd --loss mse --seed 1
expect 1 "does not state the size of axis 1" "$quern" fit ragged.keras --generator 'cat ragged.stream' --output t.keras
expect 0 "completed" "$quern" fit ragged.keras --generator 'cat ragged.stream' --input-shape 8x2 --output t.keras
expect 0 "completed" "$quern" fit ragged.keras --generator 'cat ragged.stream' --input-shape 8x2 --memory 1G --output t.keras
expect 1 "has shape (None, 7, 2), the largest is (None, 6, 2)" "$quern" fit ragged.keras --generator 'cat ragged.stream' --input-shape 6x2 --output t.keras
expect 0 '"samples":12' "$quern" evaluate ragged.keras --generator 'cat ragged.stream' --input-shape 8x2 --json
expect 1 "predictions of shape (None, 5, 1)" "$quern" predict ragged.keras --generator 'cat ragged.stream' --arrays x,y --input-shape 8x2 --output p.npy
exit $failed
