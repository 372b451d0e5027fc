#!/usr/bin/env bash
# A convolutional autoencoder from the command line: a picture of 784 bytes becomes 32 numbers and a picture again. The target is
# the input: x and y are the same file. Pictures are bytes, so the last layer goes back to 0 … 255.
#
#     examples/autoencoder.sh DIRECTORY [EPOCHS] [QUERN]
#
# DIRECTORY has the pictures of MNIST or Fashion-MNIST under their names, gzipped or not. docs/uses.md says what comes out.
set -eu
data=$1 epochs=${2:-5} quern=${3:-build/quern}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
train=$(ls "$data"/train-images*) test=$(ls "$data"/t10k-images*) # with or without .gz

"$quern" new "$work/autoencoder.keras" 'input 28 28 1 | rescaling 1/255
  | conv2d 16 3 relu same strides=2 | conv2d 32 3 relu same strides=2 | flatten | dense 32 name=code
  | dense 1568 relu | reshape (7,7,32) | conv2d_transpose 32 3 relu same strides=2 | conv2d_transpose 16 3 relu same strides=2
  | conv2d 1 3 sigmoid same | rescaling 255' --optimizer 'adam learning_rate=2e-3' --loss mse --seed 1
"$quern" fit "$work/autoencoder.keras" x="$train" y="$train" --epochs "$epochs" --batch-size 64
lost=$("$quern" evaluate "$work/autoencoder.keras" x="$test" y="$test" --json | sed 's/.*"loss":\([0-9.]*\).*/\1/')

# A picture that is the same grey all over loses at least the variance of the bytes; 32 numbers must keep two thirds of that.
gzip -dcf "$test" | tail -c +17 | head -c $((784 * 500)) | od -An -v -tu1 -w28 | awk -v lost="$lost" '
  { for (i = 1; i <= NF; i++) { sum += $i; squares += $i * $i; n++ } }
  END {
    variance = squares / n - (sum / n) ^ 2
    printf "squared error %.1f, variance of the bytes %.1f: %.1f %% is kept\n", lost, variance, 100 * (1 - lost / variance)
    exit !(lost < variance / 3)
  }' || { echo "FAILED: it learned too little"; exit 1; }
