#!/usr/bin/env bash
# Language models from the command line: a tokenizer, text as data, generation; options that do not
# apply, and texts of any bytes.
quern=$1
# shellcheck source=tests/cli/expect.sh
. "${BASH_SOURCE[0]%/*}/expect.sh"
for i in $(seq 400); do echo "the mill grinds a handful at a time, and never holds the harvest $((i % 7))."; done > corpus.txt
compile=(--optimizer 'adam learning_rate=0.01' --loss 'sparse_categorical_crossentropy from_logits=true' --seed 1)

# new
expect 2 'add --tokenizer' "$quern" new lm.keras 'input 16 | embedding vocab 8 | lstm 32 sequences | dense vocab'
expect 2 "--text: is missing" "$quern" new lm.keras 'input 16 | dense vocab' --tokenizer char
expect 2 "--tokenizer: is missing" "$quern" new lm.keras 'input 16 | dense 3' --text corpus.txt
expect 1 "" "$quern" new lm.keras 'input 16 | dense 3' --text nowhere.txt --tokenizer char
expect 2 "did you mean '@skip'" "$quern" new lm.keras 'input 16 as skip | dense 4 | add @skib'
expect 0 "" "$quern" new lm.keras 'input 16 | embedding vocab 8 | lstm 32 sequences | dense vocab' --text corpus.txt --tokenizer char "${compile[@]}"
expect 0 "" "$quern" new gpt.keras 'input 16 name=tokens | embedding vocab 16 as t | input 16 name=positions | embedding 16 16 | add @t as x | layer_normalization | multi_head_attention 2 8 causal | add @x as y | layer_normalization | dense 32 gelu | dense 16 | add @y | dense vocab' --text corpus.txt --tokenizer 'bpe vocab_size=280' "${compile[@]}"
expect 0 "" "$quern" new last.keras 'input 16 31 | lstm 32 | dense 31 softmax' --text corpus.txt --tokenizer char --optimizer rmsprop --loss categorical_crossentropy
expect 0 "" "$quern" new words.keras 'input 4 | embedding vocab 8 | gru 16 sequences | dense vocab' --text corpus.txt --tokenizer word "${compile[@]}"
expect 0 "" "$quern" new kept.keras 'input 16 batch_size=8 | embedding vocab 8 | gru 16 sequences stateful=true | dense vocab' --text corpus.txt --tokenizer char "${compile[@]}"

# fit: from a file, gzipped, from a pipe, from several files; targets as the output of the model
gzip -k corpus.txt
split -n l/3 corpus.txt part-
expect 0 "" "$quern" fit lm.keras corpus.txt --epochs 4 --batch-size 16
expect 0 "" "$quern" fit gpt.keras corpus.txt.gz --epochs 2 --batch-size 16 --validation corpus.txt
expect 0 "" "$quern" fit words.keras part-aa part-ab part-ac --epochs 2
expect 0 "" "$quern" fit kept.keras corpus.txt
expect 2 "" "$quern" fit last.keras corpus.txt --targets every
"$quern" new onehot.keras "input 16 $(tr -d '\n' < corpus.txt | fold -w1 | sort -u | wc -l | awk '{print $1 + 1}') | lstm 16 | dense $(tr -d '\n' < corpus.txt | fold -w1 | sort -u | wc -l | awk '{print $1 + 1}') softmax" --text corpus.txt --tokenizer char --optimizer rmsprop --loss sparse_categorical_crossentropy || fail "one-hot model"
expect 0 "" "$quern" fit onehot.keras corpus.txt --stride 5
cat corpus.txt | "$quern" fit lm.keras - --format text --quiet || fail "text from a pipe"
expect 2 "does not apply to text" "$quern" fit lm.keras corpus.txt --target y
expect 2 "applies to text only" "$quern" fit lm.keras x.csv --stride 2
expect 0 '"samples"' "$quern" evaluate lm.keras corpus.txt --json
expect 0 "----- epoch 1, temperature 0.5" "$quern" fit lm.keras corpus.txt --callback 'generate prompt="the mill" length=10 temperatures=(0.5,1)'

# generate
one=$("$quern" generate lm.keras --prompt 'the mill' --length 80 --temperature 0.3 --seed 5)
two=$("$quern" generate lm.keras --prompt 'the mill' --length 80 --temperature 0.3 --seed 5 --threads 1)
[ "$one" = "$two" ] || fail "another number of threads wrote another text"
grep -q '^the mill' <<< "$one" || fail "the prompt stands first: $one"
grep -qE 'grinds|handful|holds|harvest' <<< "$one" || fail "it learned nothing: $one"
[ "$("$quern" generate lm.keras --prompt 'the mill' --length 80 --temperature 0.3 --seed 6)" != "$one" ] || fail "another seed wrote the same"
[ "$("$quern" generate lm.keras --prompt the --count 3 --json --length 5 | grep -c '"tokens":5')" = 3 ] || fail "three texts"
echo -n 'the mill' | "$quern" generate lm.keras - --length 80 --temperature 0.3 --seed 5 | cmp -s - <(echo "$one") || fail "a prompt from standard input"
expect 0 "" "$quern" generate gpt.keras --prompt 'the mill grinds' --length 60 --temperature 0
expect 0 "" "$quern" generate gpt.keras --prompt 'the mill' --length 60 --context stop
expect 0 "" "$quern" generate words.keras --prompt 'the mill' --length 5 --top-k 3 --top-p 0.9 --min-p 0.01 --typical 0.9 --repetition-penalty 1.1
expect 0 "" "$quern" generate lm.keras --prompt the --beams 3 --length 10
expect 0 "" "$quern" generate lm.keras
[ "$("$quern" generate lm.keras --prompt 'the mill' --temperature 0 --stop at --length 200 | tr -d '\n')" = "the mill grinds a handful " ] || fail "a stop string"
expect 1 "top_k" "$quern" generate lm.keras --order 'top_k,top_k'
expect 2 "must be a number" "$quern" generate lm.keras --temperature warm
expect 2 "must be an integer" "$quern" generate lm.keras --seed abc
expect 1 "cannot be read" "$quern" generate lm.keras --prompt-file .
expect 2 "temperature" "$quern" generate lm.keras --temperature -1
expect 2 "slide or stop" "$quern" generate lm.keras --context forget
expect 1 "" "$quern" generate lm.keras --prompt 'Ωmega'
expect 2 "does not apply to generate" "$quern" generate lm.keras --epochs 2

# any bytes: refused with the position, or read; the command never crashes, and the model file stays
# unchanged
cp lm.keras before.keras
head -c 20000 /dev/urandom > noise.txt
expect 1 "noise.txt" "$quern" fit lm.keras noise.txt
cmp -s lm.keras before.keras || fail "a run that failed changed the model"
: > empty.txt
expect 1 "empty" "$quern" fit lm.keras empty.txt
expect 0 "" "$quern" fit gpt.keras noise.txt

# a length of None: windows of --input-shape in training; any context when it generates
"$quern" new open.keras 'input None | embedding vocab 8 as e | multi_head_attention 2 4 causal | add @e | dense vocab' \
    --text corpus.txt --tokenizer char "${compile[@]}" || fail "new with None"
expect 1 "does not state the size of axis 1" "$quern" fit open.keras corpus.txt
expect 1 "has shape (None, 8, 2)" "$quern" fit open.keras corpus.txt --input-shape 8x2
expect 2 "a shape is" "$quern" fit open.keras corpus.txt --input-shape 8x
expect 2 "does not have" "$quern" fit open.keras corpus.txt --input-shape other=8
expect 0 "" "$quern" fit open.keras corpus.txt --input-shape 16 --epochs 2
expect 0 "" "$quern" evaluate open.keras corpus.txt --input-shape 24
"$quern" summary open.keras | grep -q '(None, None, 8)' || fail "the summary of a length of None"
[ "$("$quern" generate open.keras --prompt 'the mill' --length 150 --context stop --json | grep -c '"tokens":150')" = 1 ] || fail "150 tokens"
[ "$("$quern" generate open.keras --prompt 'the mill' --length 150 --context stop --input-shape 20 --json | grep -c '"tokens":13')" = 1 ] ||
    fail "a context of 20"
exit $failed
