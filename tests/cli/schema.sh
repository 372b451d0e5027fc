#!/usr/bin/env bash
# P22: one model, one meaning. Names, order, classes and kinds are compared wherever two sources are
# used with one model. $1: the command.
quern=$1
# shellcheck source=tests/cli/expect.sh
. "${BASH_SOURCE[0]%/*}/expect.sh"
rows() { # three classes that two numbers tell apart; $1: header, $2: awk's order of a, b, kind
    echo "$1"
    for i in $(seq 0 9); do printf '%s\n' "-3,0.$i,ant" "0,2.$i,bee" "3,0.$i,cow"; done | awk -F, -v OFS=, "{print $2}"
}
classifier='input 2 | dense 8 tanh | dense 3 softmax'
new() { # FILE PIPELINE LOSS
    "$quern" new "$1" "$2" --optimizer 'adam learning_rate=0.05' --loss "$3" --metrics accuracy --seed 1 --force
}

# ---- classes and columns by name: training, validation, evaluation, a second run, prepared records, prediction ----
rows a,b,kind '$1,$2,$3' > train.csv
rows kind,b,a '$3,$2,$1' > other.csv
rows a,b,kind '$1,$2,$3' | grep -v ant > two.csv
new m.keras "$classifier" sparse_categorical_crossentropy
expect 0 "classes: ant 0, bee 1, cow 2" "$quern" fit m.keras train.csv --target kind --epochs 30 --validation two.csv
expect 0 "!classes:" "$quern" fit m.keras other.csv --epochs 2 --quiet
for data in train.csv other.csv two.csv; do
    expect 0 "accuracy 1.0000" "$quern" evaluate m.keras $data
done
expect 0 "accuracy 1.0000" "$quern" evaluate m.keras two.csv --target kind --features b,a
expect 1 "'b' is not one of the targets of the model" "$quern" evaluate m.keras train.csv --target b
expect 1 "1 columns, the model has 2 features" "$quern" evaluate m.keras train.csv --features a
expect 0 "" "$quern" prepare two.csv --target kind --classes kind --output two.qrec
expect 0 "accuracy 1.0000" "$quern" evaluate m.keras two.qrec
expect 0 "" "$quern" prepare other.csv --target kind --classes kind --output other.qrec
expect 0 "accuracy 1.0000" "$quern" evaluate m.keras other.qrec
new q.keras "$classifier" sparse_categorical_crossentropy
expect 0 "classes: ant 0, bee 1, cow 2" "$quern" fit q.keras other.qrec --epochs 30
expect 0 "accuracy 1.0000" "$quern" evaluate q.keras train.csv
sed 's/cow/zebra/' two.csv > zebra.csv
expect 1 "zebra.csv:3: column 'kind': 'zebra' is not a class of the model" "$quern" evaluate m.keras zebra.csv
expect 1 "zebra.csv:3" "$quern" fit m.keras train.csv --validation zebra.csv
expect 1 "zebra.csv:3" "$quern" fit m.keras zebra.csv
expect 0 '"samples":10' "$quern" evaluate m.keras zebra.csv --unknown-class skip --json
expect 0 "10 records were skipped" "$quern" evaluate m.keras zebra.csv --unknown-class skip
expect 2 "must be skip or error" "$quern" evaluate m.keras zebra.csv --unknown-class keep
expect 0 "" "$quern" prepare zebra.csv --target kind --classes kind --output zebra.qrec
expect 1 "'zebra' is not a class of the model" "$quern" evaluate m.keras zebra.qrec
sed 's/^a,/c,/' two.csv > renamed.csv
expect 1 "no column is called 'a'" "$quern" evaluate m.keras renamed.csv
expect 1 "no column is called 'a'" "$quern" predict m.keras renamed.csv --output -
expect 0 "" "$quern" prepare renamed.csv --target kind --classes kind --output renamed.qrec
expect 1 "no column is called 'a'" "$quern" evaluate m.keras renamed.qrec
sed 's/^/7,/; 1s/^7/id/' two.csv > extra.csv
expect 0 "the model does not use column 'id'" "$quern" evaluate m.keras extra.csv
expect 0 "accuracy 1.0000" "$quern" evaluate m.keras extra.csv
expect 0 "" "$quern" prepare extra.csv --target kind --classes kind --output extra.qrec
expect 0 "accuracy 1.0000" "$quern" evaluate m.keras extra.qrec
cp m.keras again.keras
expect 1 "'zebra' is not a class" "$quern" fit again.keras zebra.csv --target kind
expect 0 "classes: bee 0, zebra 1" "$quern" fit again.keras zebra.csv --target kind --new-schema

# ---- predictions ----
expect 0 "kind:ant,kind:bee,kind:cow" "$quern" predict m.keras two.csv --output -
"$quern" predict m.keras extra.csv --output p.csv --classes --keep id,kind 2> /dev/null
[ "$(cut -d, -f1-3 p.csv | head -n 3)" = $'id,kind,kind:predicted\n7,bee,bee\n7,cow,cow' ] || fail "$(head -n 3 p.csv)"
expect 0 '{"kind":"bee","kind:probability":0.' "$quern" predict m.keras two.csv --output - --json --classes
for kind in csv tsv npy npz jsonl; do
    expect 0 "" "$quern" predict m.keras two.csv --output p.$kind
done
for kind in txt json parquet; do
    expect 2 "must be FILE.csv" "$quern" predict m.keras two.csv --output p.$kind
    [ ! -e p.$kind ] || fail "p.$kind was written"
done
expect 2 "cannot store text" "$quern" predict m.keras two.csv --output p.npy --classes
expect 1 "no column is called 'ID'" "$quern" predict m.keras extra.csv --output - --keep ID
head -n 1 two.csv > none.csv
expect 1 "the data has no records" "$quern" predict m.keras none.csv --output none.out.csv
[ ! -e none.out.csv ] || fail "predictions of nothing were written"
printf 'a,b,note\n-3,0,"says ""hi"", twice"\n3,0,\n' > note.csv
expect 0 $'note,kind,kind:probability\n"says ""hi"", twice",ant,' "$quern" predict m.keras note.csv --output - --classes --keep note
"$quern" new s.keras 'input 2 | dense 8 relu as h | dense 1 name=price as p | @h | dense 2 softmax name=kind as k | output @p @k' \
    --optimizer adam --loss 'price:mse,kind:sparse_categorical_crossentropy' --seed 1
printf 'a,b\n1,2\n3,4\n' > ab.csv
expect 0 "price,kind:0,kind:1" "$quern" predict s.keras ab.csv --output -
expect 2 "has one array" "$quern" predict s.keras ab.csv --output p.npy
expect 0 "" "$quern" predict s.keras ab.csv --output p.npz
# labels without names are classes of the column too
printf 'a,b,y\n1,2,0\n4,5,2\n' > labels.csv
new n.keras 'input 2 | dense 3 softmax' sparse_categorical_crossentropy
expect 0 "" "$quern" fit n.keras labels.csv --target y
expect 0 "y:0,y:1,y:2" "$quern" predict n.keras labels.csv --output -
expect 0 "y,y:probability" "$quern" predict n.keras labels.csv --output - --classes
# targets go to the outputs that have their names
printf 'a,b,kind,price\n1,2,x,10.5\n3,4,y,20\n' > named.csv
expect 0 "classes of kind: x 0, y 1" "$quern" fit s.keras named.csv --target kind,price
expect 0 "price,kind:x,kind:y" "$quern" predict s.keras ab.csv --output -

# ---- text and numbers ----
"$quern" new r.keras 'input 2 | dense 1' --optimizer sgd --loss mse
printf 'a,b,price\n1,2,unknown\n3,4,1000.5\n' > first.csv
printf 'a,b,price\n1,2,20\n3,4,unknown\n' > later.csv
expect 1 "first.csv:2: column 'price': 'unknown' is not a number" "$quern" fit r.keras first.csv --target price
expect 1 "later.csv:3: column 'price': 'unknown' is not a number" "$quern" fit r.keras later.csv --target price
expect 1 "first.csv:2: column 'price'" "$quern" prepare first.csv --target price --output p.qrec
expect 0 "loss" "$quern" fit r.keras first.csv --target price --missing-values unknown --missing 5 --output o.keras
expect 1 "is not a number" "$quern" fit m.keras first.csv --target price --new-schema --features a,price --target b
new c.keras 'input 2 | dense 3 softmax' sparse_categorical_crossentropy
printf 'a,b,y\n1,2,0\n3,4,ant\n' > mixed.csv
expect 1 "mixed.csv:3: column 'y': 'ant' is not a number" "$quern" fit c.keras mixed.csv --target y
expect 0 "classes: 0 0, ant 1" "$quern" fit c.keras mixed.csv --target y --classes y --output o.keras
printf 'a,b,country\n-3,0,DE\n0,3,NA\n3,0,FR\n0,3,\n' > na.csv
expect 1 "na.csv:5: column 'country': a value is missing" "$quern" fit c.keras na.csv --target country
expect 0 "classes: DE 0, FR 1, NA 2" "$quern" fit c.keras na.csv --target country --missing country=DE --output o.keras
expect 1 "'IT' is not one of its classes" "$quern" fit c.keras na.csv --target country --missing country=IT
expect 0 "classes: DE 0, FR 1" "$quern" fit c.keras na.csv --target country --missing-values NA --bad-records skip --output o.keras

# ---- labels and their possible meanings ----
printf 'a,b,y\n1,2,1\n4,5,2\n4,5,3\n' > from1.csv
printf 'a,b,y\n1,2,cat\n4,5,dog\n4,5,eel\n4,5,fox\n' > four.csv
expect 1 "from1.csv:4: column 'y': label 3 is outside 0 … 2" "$quern" fit c.keras from1.csv --target y
expect 1 "number labels from 0" "$quern" fit c.keras from1.csv --target y
expect 0 "classes: 1 0, 2 1, 3 2" "$quern" fit c.keras from1.csv --target y --classes y --output o.keras
expect 1 "column 'y' has 4 classes ('cat', 'dog', …), the model has 3" "$quern" fit c.keras four.csv --target y
new b.keras 'input 2 | dense 1 sigmoid' binary_crossentropy
expect 1 "has 4 classes ('cat', 'dog', …), the model has 2" "$quern" fit b.keras four.csv --target y
expect 1 "target 2 of output 'dense' is outside 0 … 1" "$quern" fit b.keras from1.csv --target y --no-shuffle
head -n 3 four.csv > pair.csv
expect 0 "classes: cat 0, dog 1" "$quern" fit b.keras pair.csv --target y
expect 0 "y:dog" "$quern" predict b.keras pair.csv --output -
new h.keras 'input 2 | dense 3 softmax' categorical_crossentropy
expect 1 "use sparse_categorical_crossentropy for labels" "$quern" fit h.keras from1.csv --target y
printf 'a,b,y,z,w\n1,2,0,1,0\n' > hot.csv
expect 1 "use categorical_crossentropy for one-hot targets" "$quern" fit c.keras hot.csv --target y,z,w
expect 1 "name the predicted columns with --target" "$quern" fit c.keras from1.csv
printf 'a,b\n0.5,1\n0.25,2\n' > real.csv
"$quern" new w.keras 'input 1 | dense 1' --optimizer sgd --loss mse
expect 1 "which is not a class" "$quern" fit w.keras real.csv --target a --class-weight 0:1,1:4
expect 0 "" "$quern" fit b.keras pair.csv --class-weight cat:1,dog:4
expect 1 "'eel' is not a class" "$quern" fit b.keras pair.csv --class-weight cat:1,eel:4
expect 1 "class 2: the classes are 0 … 1" "$quern" fit b.keras pair.csv --class-weight 0:1,2:4

# arrays, from files and programs: the error names the alternative loss, and the file with the
# labels
npy() { # FILE SHAPE NUMBERS…: float32
    local file=$1 shape=$2 head
    shift 2
    head="{'descr': '<f4', 'fortran_order': False, 'shape': ($shape), }"
    { printf '\x93NUMPY\x01\x00\x76\x00%-117s\n' "$head"; for v; do case $v in 0) printf '\0\0\0\0' ;; 1) printf '\0\0\200\077' ;; 2) printf '\0\0\0\100' ;; 3) printf '\0\0\100\100' ;; esac; done; } > "$file"
}
npy x.npy '3, 2' 0 1 1 0 1 1
npy l.npy '3,' 0 1 2
npy l1.npy '3,' 1 2 3
npy hot.npy '3, 3' 1 0 0 0 1 0 0 0 1
for y in l hot; do
    loss=$([ $y = l ] && echo sparse_categorical_crossentropy || echo categorical_crossentropy)
    model=$([ $y = l ] && echo h.keras || echo c.keras)
    expect 1 "use $loss" "$quern" fit $model x=x.npy y=$y.npy
    expect 1 "use $loss" "$quern" fit $model --generator "cat x.npy $y.npy"
done
expect 1 "l1.npy: record 3: label 3 is outside 0 … 2" "$quern" fit c.keras x=x.npy y=l1.npy --no-shuffle
expect 1 "l.npy: record 3: target 2 of output 'dense' is outside 0 … 1" "$quern" fit b.keras x=x.npy y=l.npy --no-shuffle

# ---- formats of tables ----
"$quern" new l.keras 'input 2 | dense 1 kernel_initializer=ones' --optimizer sgd --loss mse
printf 'a,y,y\n1,2,3\n' > twice.csv
expect 1 "twice.csv:1: columns 2 and 3 are both called 'y'" "$quern" evaluate l.keras twice.csv --target y
printf 'a,b,y\n1,2\0009,3\n' > nul.csv
expect 1 "nul.csv:2: column 'b': the field contains a NUL byte" "$quern" evaluate l.keras nul.csv --target y
printf 'a;b;y\n1,5;2;3\n' > semicolon.csv
expect 1 "--separator ';'" "$quern" evaluate l.keras semicolon.csv --target y
expect 1 "'1,5' is not a number" "$quern" evaluate l.keras semicolon.csv --target y --separator ';'
expect 0 "loss 0.2500" "$quern" evaluate l.keras semicolon.csv --target y --separator ';' --decimal ,
printf 'a\tb\ty\n1\t2\t3\n' > tab.csv
expect 1 "--format tsv" "$quern" evaluate l.keras tab.csv --target y
expect 0 "loss 0.0000" "$quern" evaluate l.keras tab.csv --target y --format tsv
expect 0 "loss 0.0000" "$quern" evaluate l.keras tab.csv --target y --separator tab
printf '1,2,3\n4,5,9\n' > nohead.csv
expect 0 "add --no-header" "$quern" evaluate l.keras nohead.csv --target 3
expect 0 '"samples":2' "$quern" evaluate l.keras nohead.csv --target 3 --no-header --json
printf 'a,b,y\n1,2,3\n' | iconv -f UTF-8 -t UTF-16 > utf16.csv
expect 0 "loss 0.0000" "$quern" evaluate l.keras utf16.csv --target y
printf 'a,b,gr\xf6\xdfe\n1,2,3\n' > latin.csv
expect 1 "not UTF-8 text" "$quern" evaluate l.keras latin.csv --target größe
expect 0 "loss 0.0000" "$quern" evaluate l.keras latin.csv --target größe --encoding latin1
expect 1 "not an encoding" "$quern" evaluate l.keras latin.csv --target y --encoding rot13
printf 'a,b,y\r1,2,3\r' > oldmac.csv
expect 1 "end in CR only" "$quern" evaluate l.keras oldmac.csv --target y
printf '# made\na,b,y\n1,2,3\n' > comment.csv
expect 1 "is a comment" "$quern" evaluate l.keras comment.csv --target y
printf '{"a":1}\n' > lines.csv
expect 1 "is JSON" "$quern" evaluate l.keras lines.csv --target y
for begin in 'BZh91' 'PAR1' 'PK\003\004' '\375\067zXZ' 'SQLite format 3'; do
    printf "$begin\n1,2\n" > other.csv
    expect 1 "other.csv: is " "$quern" evaluate l.keras other.csv --target y --format csv
done
printf 'text,y\n5" pipe,0\nplain,1\n6" pipe,0\n"a ""b"", c",1\nlast,1\n' > inches.csv
"$quern" new t.keras 'input 1 name=text dtype=string | text_vectorization 20 output_sequence_length=4 | embedding 20 4 | global_average_pooling1d | dense 2 softmax' \
    --optimizer adam --loss sparse_categorical_crossentropy
expect 0 "" "$quern" fit t.keras inches.csv --target y --adapt --quiet
"$quern" predict t.keras inches.csv --output p.csv --keep text && [ "$(wc -l < p.csv)" = 6 ] || fail "$(cat p.csv)"
grep -q '^"5"" pipe",' p.csv || fail "$(cat p.csv)"
# two files with the same columns in another order are not one table
rows kind,b,a "\$3,\$2,\$1" > other2.csv
expect 1 "column 1 is 'kind', in train.csv it is 'a'" "$quern" fit m.keras train.csv other2.csv --output o.keras
exit $failed
