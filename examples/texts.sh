#!/usr/bin/env bash
# A classifier of texts from the command line: TextVectorization learns a vocabulary from the column of a table (--adapt), an
# embedding makes vectors of its words, a convolution looks at three of them at once.
#
#     examples/texts.sh [TRAIN.csv TEST.csv [QUERN]]
#
# The tables have the columns text and label, of two kinds. Without them (or with - for each) reviews are made up: the word that
# says what was thought stands anywhere among others, and a "not" before it turns it around. docs/uses.md has a larger text.
set -eu
train=${1:--} test=${2:--} quern=${3:-build/quern}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
reviews() { # ROWS SEED
  awk -v rows="$1" -v seed="$2" 'BEGIN {
    srand(seed)
    split("good great fine lovely bad awful poor dull", opinion, " "); split("the a film plot actors music was and with of", filler, " ")
    print "text,label"
    for (i = 0; i < rows; i++) {
      words = 6 + int(rand() * 12); place = 1 + int(rand() * words); which = 1 + int(rand() * 8); turned = rand() < 0.5; text = ""
      for (w = 1; w <= words; w++)
        text = text (w > 1 ? " " : "") (w == place ? (turned ? "NOT " : "") opinion[which] : filler[1 + int(rand() * 10)])
      print "\"" text ", indeed!\"," ((which <= 4) != turned ? "liked" : "hated")
    }
  }'
}
[ "$train" != - ] || { reviews 3000 1 > "$work/train.csv"; train=$work/train.csv; }
[ "$test" != - ] || { reviews 500 2 > "$work/test.csv"; test=$work/test.csv; }

"$quern" new "$work/model.keras" 'input 1 dtype=string | text_vectorization max_tokens=8000 output_sequence_length=40
  | embedding 8000 32 | dropout 0.3 | conv1d 32 3 relu same | global_max_pooling1d | dropout 0.5 | dense 1 sigmoid' \
  --optimizer adam --loss binary_crossentropy --metrics accuracy --seed 1
"$quern" fit "$work/model.keras" "$train" --target label --adapt --epochs 6
result=$("$quern" evaluate "$work/model.keras" "$test" --target label --json)
echo "$result"

# Who always says what is more frequent is right in that share of the rows (half of the reviews); half of the errors must go.
tail -n +2 "$test" | sed 's/.*,//' | sort | uniq -c | awk -v result="$result" '
  { rows += $1; most = $1 > most ? $1 : most }
  END { sub(/.*"accuracy":/, "", result); exit !(1 - result < (1 - most / rows) / 2) }' || { echo "FAILED: it learned too little"; exit 1; }
