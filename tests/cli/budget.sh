# P2, P3: for several models and optimizers, the smallest budget works, and one byte less is refused
# before data is read (exit 3). Every budget between it and the peak of a run without a budget is
# kept (VmHWM of the process) and gives bit-identical weights. A smaller budget uses micro-batches
# with a warning, but never for a model with batch normalization. $1: the command; $2: number of
# budgets.
quern=$1 steps=$2 runs=0 again=0 divided=0 split=never
optimizers=(sgd adam)
[ "$steps" -lt 10 ] || optimizers+=('sgd momentum=0.9 nesterov=true' 'adam global_clipnorm=1' 'rmsprop momentum=0.5')
# shellcheck source=tests/cli/expect.sh
. "${BASH_SOURCE[0]%/*}/expect.sh"
octal() { printf '\\x%02x' $(($1 >> 24)) $(($1 >> 16 & 255)) $(($1 >> 8 & 255)) $(($1 & 255)); }
# idx FILE RECORDS BYTES-OF-A-RECORD TEXT: an IDX file of repeated TEXT
idx() {
    if [ "$3" -gt 1 ]; then printf "\\0\\0\\10\\2$(octal "$2")$(octal "$3")" > "$1"
    else printf "\\0\\0\\10\\1$(octal "$2")" > "$1"; fi
    while :; do printf "$4"; done | head -c $(($2 * $3)) >> "$1"
}
records=1100 # the last batch is a short one
idx images $records 784 'the quick brown fox jumps over the lazy dog; '
idx digits $records 1 '\0\1\2\3\4\5\6\7\10\11\3'
idx texts $records 64 'Whoever reads a text predicts what comes. '
idx next $records 64 'hoever reads a text predicts what comes. W'
logits='sparse_categorical_crossentropy from_logits=true'
# train MODEL MEMORY DATA…: trains; writes the peak to `peak`, the bytes of the plan to `planned`,
# weights to out.safetensors
train() {
    local model=$1 memory=$2
    shift 2
    runs=$((runs + 1))
    "$quern" fit "$model" "$@" --batch-size "$batch" --epochs 2 --seed 3 --json --output out.keras --split-batch $split ${memory:+--memory "$memory"} \
        > said 2> errors
    code=$?
    peak=$(sed -n 's/.*"event":"end".*"peak_bytes":\([0-9]*\).*/\1/p' said)
    again=$((again + $(grep -c '"recompute":[1-9]' said)))
    planned=$(sed -n 's/.*"event":"plan","bytes":\([0-9]*\).*/\1/p' said)
    [ "$code" != 0 ] || "$quern" convert out.keras out.safetensors
}
# The heap is counted in steps of 64 KiB, and its size differs by some hundred bytes between
# processes (a random seed decides the layout of JSON objects). A process may need one step more or
# less than the one that printed the smallest budget.
step=65536
by_a_step() { # a budget of $1 was refused: for that step alone
    local needed
    needed=$(sed -n 's/.*training needs \([0-9]*\) bytes.*/\1/p' errors)
    [ "$code" = 3 ] && [ -n "$needed" ] && [ $((needed - $1)) -le $step ]
}
# sweep NAME BATCH LOSS PIPELINE DATA…
sweep() {
    local name=$1 loss=$3 words=$4 optimizer free smallest k budget
    batch=$2
    shift 4
    for optimizer in "${optimizers[@]}"; do
        "$quern" new m.keras "$words" --optimizer "$optimizer" --loss "$loss" --seed 1 --force || { fail "$name: new"; return; }
        train m.keras '' "$@"
        [ "$code" = 0 ] || fail "$name $optimizer: without a budget: $(cat errors)"
        free=$planned
        mv out.safetensors free.safetensors
        [ "$peak" -le "$free" ] || fail "$name $optimizer: planned $free, peak $peak"
        rm -f out.keras
        train m.keras 1K "$@"
        smallest=$(sed -n 's/.*training needs \([0-9]*\) bytes.*/\1/p' errors)
        [ "$code" = 3 ] && [ -n "$smallest" ] && [ ! -s said ] && [ ! -e out.keras ] ||
            { fail "$name $optimizer: 1K: exit $code: $(cat errors)"; continue; }
        grep -q 'the largest part is the' errors || fail "$name $optimizer: the largest part is not named"
        train m.keras $((smallest - 1)) "$@"
        [ "$code" = 3 ] || train m.keras $((smallest - step - 1)) "$@"
        [ "$code" = 3 ] || fail "$name $optimizer: a byte less than the smallest: exit $code"
        for ((k = 0; k <= steps; k++)); do
            budget=$((smallest + (free - smallest) * k / steps))
            train m.keras $budget "$@"
            ! by_a_step $budget || train m.keras $((budget += step)) "$@"
            [ "$code" = 0 ] || { fail "$name $optimizer: $budget, above $smallest, is refused: $(cat errors)"; continue; }
            [ "$peak" -le $budget ] && [ "$planned" -le $budget ] || fail "$name $optimizer: budget $budget, planned $planned, peak $peak"
            cmp -s out.safetensors free.safetensors || fail "$name $optimizer: budget $budget: other weights"
        done
        split=auto
        train m.keras 1K "$@"
        budget=$(sed -n 's/.*training needs \([0-9]*\) bytes.*/\1/p' errors)
        [ "$name" != convolutional ] || [ "$budget" -ge $((smallest - step)) ] || fail "$name $optimizer: split despite batch normalization"
        if [ "$budget" -lt "$smallest" ]; then
            divided=$((divided + 1))
            train m.keras "$budget" "$@"
            ! by_a_step "$budget" || train m.keras $((budget += step)) "$@"
            [ "$code" = 0 ] && [ "$peak" -le "$budget" ] || fail "$name $optimizer: $budget, micro-batches: exit $code, peak $peak"
            grep -q 'micro-batches: gradient' errors || fail "$name $optimizer: no warning about micro-batches"
        fi
        split=never
        echo "$name $optimizer: smallest $budget, batches whole $smallest, free $free"
    done
}
sweep mlp 1024 "$logits" 'input 784 | rescaling 1/255 | dense 512 relu | dense 512 relu | dropout 0.3 | dense 512 relu | dense 10' x=images y=digits
sweep convolutional 256 "$logits" "input 784 | rescaling 1/255 | reshape (28,28,1) | conv2d 16 3 padding=same | batch_normalization
    | re_lu | conv2d 16 3 padding=same | batch_normalization | re_lu | max_pooling2d | conv2d 32 3 relu | batch_normalization | flatten
    | dropout 0.5 | dense 10" x=images y=digits
sweep lstm 256 "$logits" 'input 64 | embedding 128 32 | lstm 64 sequences dropout=0.2 | lstm 64 sequences | dense 128' x=texts y=next
sweep gpt 256 "$logits" "input 64 | embedding 128 64 as x | layer_normalization | multi_head_attention 4 16 causal dropout=0.1
    | add @x as y | layer_normalization | dense 256 gelu | dense 64 | add @y | layer_normalization | dense 128" x=texts y=next
sweep unet 256 "$logits" "input 784 | rescaling 1/255 | reshape (28,28,1) | conv2d 8 3 relu same as a | max_pooling2d | conv2d 16 3 relu same
    as b | max_pooling2d | conv2d 32 3 relu same | dropout 0.2 | conv2d_transpose 16 2 strides=2 | concatenate @b | conv2d 16 3 relu same
    | conv2d_transpose 8 2 strides=2 | concatenate @a | conv2d 8 3 relu same | global_average_pooling2d | dense 10" x=images y=digits
sweep outputs 1024 "digit:$logits, other:$logits" "input 784 | rescaling 1/255 | dense 512 relu | dense 512 relu as h | dense 10 name=digit as d
    | @h | dropout 0.2 | dense 10 name=other as o | output @d @o" x=images y:digit=digits y:other=digits
idx many 2304 784 'the quick brown fox jumps over the lazy dog; '
idx many-digits 2304 1 '\0\1\2\3\4\5\6\7\10\11\3'
# Both the weights and the values of a step are large, and a copy of the weights exists at the same
# time as the values.
sweep checkpoints 2048 "$logits" 'input 784 | rescaling 1/255 | dense 1024 relu | dense 1024 relu | dropout 0.3 | dense 10' \
    x=many y=many-digits --checkpoint run.keras --checkpoint-every 1 --callback 'early_stopping monitor=loss restore_best_weights=true'
[ "$again" -gt 0 ] || fail "no budget led to recomputation"
[ "$divided" -gt 5 ] || fail "only $divided models used micro-batches"
echo "$runs runs, in $again values were computed again"
exit $failed
