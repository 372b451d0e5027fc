#!/usr/bin/env bash
# P10: an argument has an effect or is refused with a hint: options that are misspelt, abbreviated,
# out of range or from another program, extra words, names of older Keras versions, texts that are
# too short. $1: the command.
quern=$1
# shellcheck source=tests/cli/expect.sh
. "${BASH_SOURCE[0]%/*}/expect.sh"
printf 'a,b,y\n1,2,3\n4,5,9\n' > two.csv
"$quern" new m.keras 'input 2 | dense 1' --optimizer sgd --loss mse --seed 1
cp m.keras before.keras

# ---- options ----
expect 2 "did you mean --target?" "$quern" fit m.keras two.csv --taget y
expect 2 "--targ: no such option of quern fit" "$quern" fit m.keras two.csv --targ y
expect 2 "did you mean --batch-size?" "$quern" fit m.keras two.csv --target y --batch_size 2
expect 2 "--optimizer 'adam learning_rate=1e-3'" "$quern" fit m.keras two.csv --target y --lr 0.1
expect 2 "--callback 'early_stopping patience=3'" "$quern" fit m.keras two.csv --target y --patience 3
expect 2 "lists its options" "$quern" fit m.keras two.csv --zzzzzzzzzzz
expect 2 "--target: its value is missing (COLUMN" "$quern" fit m.keras two.csv --target
expect 2 "--quiet: takes no value" "$quern" fit m.keras two.csv --target y --quiet=1
expect 2 "--keep: does not apply to fit" "$quern" fit m.keras two.csv --target y --keep a
expect 2 "options begin with two dashes" "$quern" fit m.keras two.csv -t y
expect 0 "loss" "$quern" fit --target=y m.keras --epochs=1 two.csv --output o.keras
expect 0 "loss" "$quern" evaluate --target y -- m.keras two.csv
expect 2 "did you mean quern fit?" "$quern" fitt m.keras
expect 2 "quern --help lists the commands" "$quern" zzzzzzzzzz
expect 2 "'three': unexpected word" "$quern" new new.keras 'input 2 | dense 1' three
for command in summary plan; do
    expect 2 "'two.csv': unexpected word" "$quern" $command m.keras two.csv
done
expect 2 "unexpected word" "$quern" convert m.keras o.keras p.keras
expect 2 "unexpected word" "$quern" doctor m.keras
# A value that is invalid, out of range or unused: the error names it, and the bound.
for value in '' ' 3' '3 ' +3 1e3 0x10 3.5 -1 0; do
    text="must be an integer of at least 1, not '$value'"
    for option in epochs batch-size steps-per-epoch validation-steps validation-freq max-queue-size threads; do
        expect 2 "--$option: $text" "$quern" fit m.keras two.csv --target y "--$option=$value"
    done
done
for limit in epochs:2147483647 batch-size:2147483647 validation-freq:2147483647 initial-epoch:2147483647 workers:64 threads:64 max-queue-size:1024 \
    stall-timeout:1000000000; do
    for value in 4294967297 99999999999999999999; do
        expect 2 "--${limit%:*}: must be an integer of at most ${limit#*:}, not '$value'" \
            "$quern" fit m.keras two.csv --target y "--${limit%:*}" $value
    done
done
expect 2 "must be an integer of at most 9223372036854775807, not" "$quern" fit m.keras two.csv --target y --steps-per-epoch 99999999999999999999
expect 2 "--workers: must be an integer of at least 0, not '-1'" "$quern" fit m.keras two.csv --target y --workers -1
expect 0 "loss" "$quern" fit m.keras two.csv --target y --initial-epoch 0 --output o.keras
expect 0 "warning: --initial-epoch 3 of 2 epochs: nothing is left" "$quern" fit m.keras two.csv --target y --initial-epoch 3 --epochs 2 --output o.keras
expect 2 "--on-exhausted: must be stop, error or restart, not 'reset'" "$quern" fit m.keras two.csv --target y --on-exhausted reset
for size in 12Q 64MB ' 64M' 0x10M -5M; do
    expect 2 "--memory: '$size' is not a size" "$quern" fit m.keras two.csv --target y --memory "$size"
done
for option in target weight output checkpoint validation generator validation-generator callback optimizer loss class-weight format; do
    expect 2 "--$option: its value is empty" "$quern" fit m.keras two.csv --target=y "--$option" ''
done
expect 2 "word 2 is empty" "$quern" fit m.keras '' two.csv --target y
expect 2 "word 1 is empty" "$quern" summary ''
expect 0 "warning: --epochs: is given twice, '3' counts and '2' does not" "$quern" fit m.keras two.csv --target y --epochs 2 --epochs=3 --output o.keras
expect 0 "" "$quern" fit m.keras two.csv --target y --target y --quiet --quiet --output o.keras
for option in '--target y' '--features a' '--missing 0' '--no-header' '--format npy'; do
    # shellcheck disable=SC2086
    expect 2 "${option%% *}: applies to " "$quern" fit m.keras --generator true $option
done
expect 1 "the generator is empty" "$quern" fit m.keras --generator true --validation two.csv --target y
ln -s m.keras link.keras
for file in m.keras ./m.keras link.keras; do
    expect 2 "--checkpoint: $file is MODEL" "$quern" fit m.keras two.csv --target y --checkpoint $file
done
expect 2 "--checkpoint: o.keras is --output too" "$quern" fit m.keras two.csv --target y --output o.keras --checkpoint o.keras
[ "$("$quern" fit --help | grep -c -e --data-format)" = 1 ] || fail "--data-format stands in the help twice"

# ---- names in spec strings ----
expect 1 "did you mean 'learning_rate'?" "$quern" fit m.keras two.csv --target y --optimizer 'adam lr=0.1'
expect 1 "use a schedule: learning_rate=" "$quern" fit m.keras two.csv --target y --optimizer 'sgd decay=1e-3'
expect 2 "'early_stopping patience=1'" "$quern" fit m.keras two.csv --target y --callback 'EarlyStopping(patience=1)'
expect 2 "add an input before the layer" "$quern" new new.keras 'input 2 | dense 3 input_shape=(2)'
expect 2 "did you mean 'units'?" "$quern" new new.keras 'input 2 | dense output_dim=3'
expect 2 "did you mean 'rate'?" "$quern" new new.keras 'input 2 | dropout p=0.5'
expect 2 "did you mean 'recurrent_activation'?" "$quern" new new.keras 'input 8 2 | lstm 3 inner_activation=relu'
expect 2 "did you mean 'negative_slope'?" "$quern" new new.keras 'input 2 | leaky_relu alpha=0.1'
expect 2 "did you mean 'data_format'?" "$quern" new new.keras 'input 8 8 1 | conv2d 3 2 dim_ordering=tf'
expect 2 "did you mean 'mse'?" "$quern" new new.keras 'input 2 | dense 1' --optimizer sgd --loss msee
expect 2 "did you mean 'terminate_on_nan'?" "$quern" fit m.keras two.csv --target y --callback terminate_on_nans
for layer in 'dense 3 units=4' 'dense units=3 units=4'; do
    expect 2 "'units' is given twice" "$quern" new new.keras "input 2 | $layer"
done
expect 2 "'learning_rate' is given twice" "$quern" new new.keras 'input 2 | dense 1' --optimizer 'sgd learning_rate=1 learning_rate=2' --loss mse
expect 2 "'l2' is given twice" "$quern" new new.keras 'input 2 | dense 1 kernel_regularizer=l2(l2=1,l2=2)'
for pipeline in '| dense 1' 'input 2 |' 'input 2 | | dense 1'; do
    expect 2 "a layer is missing here" "$quern" new new.keras "$pipeline"
done
for join in add concatenate multiply average 'dot 1'; do
    expect 2 "'${join%% *}' merges several values, but it received 1" "$quern" new new.keras "input 2 | dense 2 | $join"
done
expect 2 "two values are called 'h'" "$quern" new new.keras 'input 2 | dense 2 as h | dense 2 as h'
expect 2 "did you mean 'padding'?" "$quern" new new.keras 'input 8 8 1 | conv2d 2 3 border_mode=same'
expect 2 "the pipeline starts with 'dense', expected an input" "$quern" new new.keras 'dense 8 relu | dense 3'
expect 2 "'input 4 | dense 8 relu | ...'" "$quern" new new.keras 'dense 8 relu | dense 3'
expect 1 "MODEL is the first word: quern fit m.keras two.csv" "$quern" fit two.csv m.keras --target y
"$quern" new u.keras 'input 2 | dense 1'
expect 1 "--optimizer and --loss" "$quern" fit u.keras two.csv --target y
expect 1 "--optimizer and --loss" "$quern" evaluate u.keras two.csv --target y
expect 2 "convert a table with quern prepare" "$quern" fit m.keras two.csv --target y --validation-split 0.5
expect 1 "needs random access" "$quern" fit m.keras two.csv --target y --workers 2

# ---- texts ----
printf 'the mill turns and the wind turns the mill ' > text.txt
printf 'hello' > short.txt
: > empty.txt
printf 'caf\xe9 au lait' > latin1.txt
lm='input 8 | embedding vocab 8 | gru 8 sequences | dense vocab'
compile=(--optimizer adam --loss 'sparse_categorical_crossentropy from_logits=true' --seed 1)
expect 0 "" "$quern" new lm.keras "$lm" --text text.txt --tokenizer char "${compile[@]}"
expect 2 "--prompt 'the mill' to continue it" "$quern" generate lm.keras 'the mill' --length 5
expect 0 "the" bash -c "printf the | '$quern' generate lm.keras - --length 5"
expect 2 "--top-p: must be a number from 0 to 1" "$quern" generate lm.keras --top-p 90
expect 2 "--min-p: must be a number from 0 to 1" "$quern" generate lm.keras --min-p -0.1
expect 2 "--typical: must be a number from 0 to 1" "$quern" generate lm.keras --typical 1.5
expect 2 "--temperature: must be a number of at least 0" "$quern" generate lm.keras --temperature -1
expect 2 "--top-k: must be an integer of at least 0" "$quern" generate lm.keras --top-k -1
expect 0 "the" "$quern" generate lm.keras --prompt the --length 5 --order llama.cpp --top-k 0
for value in 99999999999999999999 1e3 '' 0; do
    expect 2 "--length: " "$quern" generate lm.keras --length "$value"
    expect 2 "--beams: " "$quern" generate lm.keras --beams "$value"
done
for value in inf nan 0x3 ' 1' +1; do
    expect 2 "--temperature: must be a number of at least 0, not '$value'" "$quern" generate lm.keras --temperature "$value"
done
expect 2 "--repetition-penalty: must be a number above 0, not '0'" "$quern" generate lm.keras --repetition-penalty 0
expect 2 "--temperature: does not combine with --beams" "$quern" generate lm.keras --prompt the --beams 2 --temperature 0.5
expect 2 "vocab: is the size" "$quern" new new.keras 'input 2 | dense vocab'
[[ $("$quern" new new.keras 'input 2 | dense vocab' 2>&1) != *$'\n'* ]] || fail "an error of two lines"
printf 'the' > three.txt
expect 1 "three.txt: the text has 3 tokens, a window needs 8 and one more" "$quern" fit lm.keras three.txt
expect 1 "three.txt: the text has 3 tokens" "$quern" evaluate lm.keras three.txt
expect 1 "three.txt: the text has 3 tokens" "$quern" fit lm.keras text.txt --validation three.txt --output o.keras
expect 1 "empty.txt: the text has 0 tokens" "$quern" fit lm.keras empty.txt
expect 1 "empty.txt: the text is empty" "$quern" new new.keras "$lm" --text empty.txt --tokenizer char
expect 1 "empty.txt: the text is empty" "$quern" new new.keras "$lm" --text empty.txt --tokenizer word
expect 1 "latin1.txt: byte 3 (0xe9) is not UTF-8 text" "$quern" new new.keras "$lm" --text latin1.txt --tokenizer char
expect 1 "iconv -f latin1 -t utf-8" "$quern" new new.keras "$lm" --text latin1.txt --tokenizer char
[ ! -e o.keras ] || cmp -s o.keras /dev/null || rm -f o.keras
cmp -s m.keras before.keras || fail "a use that was refused changed the model"
exit $failed
