#!/usr/bin/env bash
# Keras's own first picture example (https://keras.io/examples/vision/mnist_convnet), from the command line: two convolutions,
# dropout, a softmax over ten classes.
#
#     examples/convnet.sh DIRECTORY [EPOCHS] [QUERN]
#
# DIRECTORY has the four files of MNIST under their names, gzipped or not. On Fashion-MNIST (Debian's dataset-fashion-mnist,
# /usr/share/datasets/fashion-mnist) and on the digits of examples/digits.c docs/uses.md says what comes out.
set -eu
data=$1 epochs=${2:-15} quern=${3:-build/quern}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
array() { ls "$data/$1"*; } # with or without .gz

"$quern" new "$work/convnet.keras" 'input 28 28 1 | rescaling 1/255 | conv2d 32 3 relu | max_pooling2d 2
  | conv2d 64 3 relu | max_pooling2d 2 | flatten | dropout 0.5 | dense 10 softmax' \
  --optimizer adam --loss sparse_categorical_crossentropy --metrics accuracy --seed 1
"$quern" summary "$work/convnet.keras"
"$quern" fit "$work/convnet.keras" x="$(array train-images)" y="$(array train-labels)" --epochs "$epochs" --batch-size 128
result=$("$quern" evaluate "$work/convnet.keras" x="$(array t10k-images)" y="$(array t10k-labels)" --json)
echo "$result"

# Ten classes of equal size: a guess is right once in ten, a network that learned at least eight times.
sed 's/.*"accuracy":\([0-9.]*\).*/\1/' <<< "$result" | awk '{ exit !($1 > 0.8) }' || { echo "FAILED: it learned too little"; exit 1; }
