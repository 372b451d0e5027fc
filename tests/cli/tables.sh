#!/usr/bin/env bash
# P22: realistic tables. What the schema stores about missing values and shared classes, file
# formats, names of predictions, and which options apply. $1: the command.
quern=$1
# shellcheck source=tests/cli/expect.sh
. "${BASH_SOURCE[0]%/*}/expect.sh"
new() { # FILE PIPELINE LOSS
    "$quern" new "$1" "$2" --optimizer 'adam learning_rate=0.05' --loss "$3" --seed 1 --force
}
classifier='input 2 | dense 8 tanh | dense 3 softmax'
printf 'a,b,k\n-3,0,ant\n0,2,bee\n3,0,cow\n' > train.csv
new m.keras "$classifier" sparse_categorical_crossentropy
"$quern" fit m.keras train.csv --target k --epochs 30 --quiet

# ---- the schema stores the replacement of a missing value ----
new r.keras 'input 2 | dense 1' mse
printf 'a,b,y\n1,-,3\n2,2,5\n' > dash.csv
expect 0 "" "$quern" fit r.keras dash.csv --target y --missing-values=- --missing b=7 --quiet
expect 0 "loss" "$quern" evaluate r.keras dash.csv
expect 0 "y" "$quern" predict r.keras dash.csv --output -
printf 'a,b,k\n-3,0,ant\n0,2,\n3,0,cow\n' > gap.csv
new g.keras "$classifier" sparse_categorical_crossentropy
expect 0 "classes: ant 0, cow 1" "$quern" fit g.keras gap.csv --target k --missing k=ant
expect 0 "loss" "$quern" evaluate g.keras gap.csv

# ---- label columns of the same output share one numbering ----
new s.keras 'input 3 | embedding 5 4 | dense 2 softmax' sparse_categorical_crossentropy
printf 'a,b,c,x,y,z\n1,2,3,N,V,N\n4,0,1,V,V,N\n' > words.csv
cp s.keras q.keras
expect 0 "classes of y: N 0, V 1" "$quern" fit s.keras words.csv --target x,y,z
"$quern" prepare words.csv --target x,y,z --classes x,y,z --output words.qrec > /dev/null
expect 0 "classes of z: N 0, V 1" "$quern" fit q.keras words.qrec
expect 0 "loss" "$quern" evaluate q.keras words.csv
expect 0 "x,x:probability,y,y:probability,z,z:probability" "$quern" predict s.keras words.csv --output - --classes
expect 0 "x:N,x:V,y:N,y:V,z:N,z:V" "$quern" predict s.keras words.csv --output -
sed 's/V,V/V,A/' words.csv > three.csv
expect 1 "column 'x' has 3 classes" "$quern" fit s.keras three.csv --target x,y,z --new-schema
printf 'a,b,c,x,y,z\n1,2,3,N,V,0\n' > both.csv
expect 1 "column 'z' contains numbers" "$quern" fit s.keras both.csv --target x,y,z --new-schema

# ---- text in a numeric column is an error at any row ----
new b.keras 'input 2 | dense 1 sigmoid' binary_crossentropy
printf 'a,b,y\n1,2,maybe\n3,4,0\n' > first.csv
printf 'a,b,y\n1,2,0\n3,4,maybe\n' > later.csv
expect 1 "first.csv:2: column 'y': 'maybe' is not a number" "$quern" fit b.keras first.csv --target y
expect 1 "--classes y to read all values as names" "$quern" fit b.keras first.csv --target y
expect 1 "later.csv:3: column 'y': 'maybe' is not a number" "$quern" fit b.keras later.csv --target y
expect 1 "--classes y to read all values as names" "$quern" fit b.keras later.csv --target y
expect 0 "classes: 0 0, maybe 1" "$quern" fit b.keras first.csv --target y --classes y --output o.keras
printf 'a,b,y\n1,2,NA\n1,2,US\n1,2,Inf\n' > inf.csv
new i.keras "$classifier" sparse_categorical_crossentropy
expect 0 "classes: Inf 0, NA 1, US 2" "$quern" fit i.keras inf.csv --target y
printf 'a,b,y\n1,2,1.5\n' > half.csv
expect 1 "label 1.5 is not an integer" "$quern" fit i.keras half.csv --target y --new-schema
expect 1 "a pipe allows one" bash -c "cat train.csv | '$quern' fit i.keras - --target k --new-schema"

# ---- names of predictions ----
printf 'a,b,y\n1,2,yes\n2,3,yes\n' > one.csv
expect 0 "" "$quern" fit b.keras one.csv --target y --new-schema --quiet
expect 0 "!y:yes" "$quern" predict b.keras one.csv --output -
expect 2 "predicts numbers, not classes" "$quern" predict r.keras dash.csv --output - --classes
new t.keras 'input 1 | dense 2' mse
expect 0 "" "$quern" fit t.keras half.csv --target a,y --quiet
expect 0 "a,y" "$quern" predict t.keras half.csv --output -
new h.keras 'input 2 | dense 1 tanh' hinge
printf 'a,b,y\n1,2,yes\n-2,3,no\n' > pair.csv
expect 0 "" "$quern" fit h.keras pair.csv --target y --quiet
expect 0 "y,y:score" "$quern" predict h.keras pair.csv --output - --classes
new c.keras "$classifier" categorical_crossentropy
printf 'a,b,x,y,z\n1,2,0,1,0\n' > hot.csv
expect 0 "" "$quern" fit c.keras hot.csv --target x,y,z --epochs 60 --quiet
expect 0 $'dense_1,dense_1:probability\ny,' "$quern" predict c.keras hot.csv --output - --classes
new l.keras 'input 2 | dense 3 sigmoid' binary_crossentropy
printf 'a,b,x,y,z\n1,2,yes,hot,1\n3,4,no,cold,0\n' > multi.csv
expect 0 "" "$quern" fit l.keras multi.csv --target x,y,z --quiet
expect 0 "x:yes,y:hot,z" "$quern" predict l.keras multi.csv --output -
expect 1 "!k:ant" "$quern" predict m.keras dash.csv --output - --missing 0
expect 2 "more than 8 columns" "$quern" predict m.keras train.csv --output - --keep a,b,k,d,e,f,g,h,i
expect 2 "names a column twice" "$quern" predict m.keras train.csv --output - --keep a,a
printf 'a,b,k\n1,2,\351\n' > latin.csv
expect 0 '\ufffd' "$quern" predict m.keras latin.csv --output - --json --keep k

# ---- names of columns ----
printf '"x,1",b,"the ""y"", really"\n1,2,3\n' > comma.csv
expect 0 "loss" "$quern" fit r.keras comma.csv --new-schema --target '"the ""y"", really"' --features '"x,1",b' --missing '"x,1"=4'
expect 0 '"x,1","the ""y"", really"' "$quern" predict r.keras comma.csv --output - --keep '"x,1"'
sed 's/^a,b/ A ,b/' train.csv > upper.csv
expect 1 "did you mean ' A '?" "$quern" evaluate m.keras upper.csv
sed 's/^a,b/b,q/' train.csv > gone.csv
expect 1 "use one of its columns: 'b', 'q', 'k'" "$quern" evaluate m.keras gone.csv
printf 'a,b,k\n1,2,"q\nr"\n' > lines.csv
expect 1 "'q r' is not a class" "$quern" evaluate m.keras lines.csv
printf 'a,b,k\n1,2,\351\n' > latin.csv
expect 1 "'?' is not UTF-8" "$quern" fit m.keras latin.csv --new-schema --target k --output o.keras

# ---- formats of files ----
iconv -f UTF-8 -t UTF-16LE train.csv > le.csv
expect 1 "is UTF-16 without a byte order mark" "$quern" evaluate m.keras le.csv
expect 1 "--encoding utf-16le" "$quern" evaluate m.keras le.csv
iconv -f UTF-8 -t UTF-32 train.csv > u32.csv
expect 0 "loss" "$quern" evaluate m.keras u32.csv
sed 's/bee/é/' train.csv | iconv -f UTF-8 -t latin1 > l1.csv
(printf '\xef\xbb\xbf' && sed 's/bee/é/' train.csv) > mark.csv
new e.keras "$classifier" sparse_categorical_crossentropy
expect 0 "é 2" "$quern" fit e.keras l1.csv --target k --encoding latin1
expect 0 "loss" "$quern" evaluate e.keras l1.csv
expect 0 "loss" "$quern" evaluate e.keras mark.csv
tr , '\t' < train.csv > tabs.txt
expect 2 "--format tsv" "$quern" evaluate m.keras tabs.txt
tail -n +2 train.csv > rows.csv
new n.keras "$classifier" sparse_categorical_crossentropy
"$quern" fit n.keras rows.csv --no-header --target 3 --quiet
expect 1 "remove --no-header if the first line is a header" "$quern" evaluate n.keras train.csv
for begin in 'version https://git-lfs' '%%PDF-1.4' 'ORC' 'Obj\001' '\200\004\225' '\004"M\030'; do
    printf "$begin\n1,2\n" > other.csv
    expect 1 "other.csv: is " "$quern" evaluate m.keras other.csv
done
printf 'sep=;\na;b;k\n1;2;ant\n' > sheet.csv
expect 1 "tail -n +2 FILE | quern … - --separator ';'" "$quern" evaluate m.keras sheet.csv
printf '\na,b,k\n1,2,ant\n' > blank.csv
expect 1 "the first line is empty" "$quern" evaluate m.keras blank.csv
printf 'a;b;k\n1.5;2;ant\n' > point.csv
expect 1 "add --decimal . if numbers have a decimal point" "$quern" evaluate m.keras point.csv --separator ';' --decimal ,
# quotes in fields, and newlines in quotes, in a file that is shuffled by file blocks
for i in $(seq 0 999); do printf '5" pipe,1,1\n"a ""b"", c",2,2\n"1,2\n3,4\n",3,3\n'; done > part
(printf 'note,x,y\n' && for i in $(seq 70); do cat part; done) > big.csv
new w.keras 'input 1 | dense 1 kernel_initializer=ones' mse
expect 0 '"samples":210000,' "$quern" fit w.keras big.csv --features x --target y --batch-size 1000 --json --output o.keras

# ---- options that cannot apply, and the learned schema ----
expect 1 "column 'a' is not a target" "$quern" evaluate m.keras train.csv --classes a
printf 'a,b,y\n-3,0,0\n0,2,1\n3,0,2\n' > labels.csv
new y.keras "$classifier" sparse_categorical_crossentropy
"$quern" fit y.keras labels.csv --target y --quiet
expect 1 "contains numbers in the model's schema" "$quern" evaluate y.keras labels.csv --classes y
sed 's/k$/y/' train.csv > names.csv
expect 1 "learn class names with fit --new-schema" "$quern" fit y.keras names.csv --target y
expect 1 "column 'k' is not a target" "$quern" prepare train.csv --classes k --output x.qrec
for option in --target --features --weight --missing --missing-values --separator --decimal --encoding --unknown-class --classes; do
    value=k
    [ $option != --unknown-class ] || value=skip
    [[ $option != --separator && $option != --decimal ]] || value=,
    expect 2 "$option: applies to CSV" "$quern" fit m.keras --generator 'true' $option $value --output o.keras
done
expect 2 "--new-schema: needs column names" "$quern" fit m.keras x=x.npy y=y.npy --new-schema
expect 1 "the class has a weight already" "$quern" fit m.keras train.csv --class-weight ant:1,ant:3,bee:1,cow:1
expect 1 "('cow'), which has no weight" "$quern" fit m.keras train.csv --class-weight ant:1,bee:3
[ "$("$quern" fit --help | grep -c -- --data-format)" = 1 ] || fail "an option is told twice"
printf 'w,k,a,b\n1,ant,1,2\n0,bee,2,3\n' > weights.csv
expect 1 "column 'a' is one of the features of the model" "$quern" fit m.keras weights.csv --weight a
for separator in 1 x - + '"'; do
    expect 1 "cannot separate columns" "$quern" evaluate m.keras train.csv --separator "$separator"
done
tr , ' ' < train.csv > blanks.csv
expect 1 "the header has one column, 'a b k'" "$quern" evaluate m.keras blanks.csv
sed 's/bee/elk/' train.csv > elk.csv
expect 0 "1 record was skipped: the model does not know its class" "$quern" evaluate m.keras elk.csv --unknown-class skip
# a resumed run uses the columns of its start
new z.keras "$classifier" sparse_categorical_crossentropy
expect 0 "" "$quern" fit z.keras train.csv --target k --features a,b --epochs 2 --checkpoint z.checkpoint --quiet --output o.keras
expect 0 "" "$quern" fit z.keras train.csv --target k --features a,b --epochs 3 --checkpoint z.checkpoint --resume --quiet --output o.keras
expect 1 "different columns or classes" "$quern" fit z.keras train.csv --target k --features b,a --epochs 4 --checkpoint z.checkpoint --resume --output o.keras
# an invalid schema is an error with the file and a remedy
cp m.keras broken.keras
printf '{' > schema.json
python3 - <<'PY' 2> /dev/null || zip -q broken.keras schema.json
import zipfile
old = zipfile.ZipFile("m.keras")
with zipfile.ZipFile("broken.keras", "w") as new:
    for one in old.infolist():
        new.writestr(one.filename, open("schema.json", "rb").read() if one.filename == "schema.json" else old.read(one.filename))
PY
expect 1 "broken.keras: schema.json: line 1" "$quern" evaluate broken.keras train.csv
exit $failed
