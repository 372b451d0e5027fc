/* The options of the command: each described once, for reading, for --help, and for the names of those that are misspelt. Options
 * are never abbreviated; words and options may stand in any order, and all behind "--" are words. */
#include "options.h"

#include <stdlib.h>
#include <string.h>

/* Options, described once: name, whether it takes a value, the commands (letters) it applies to, where the value goes. */
static const struct {
    const char *name, *value;
    int commands;
    const char *help;
} table[] = {
    { "optimizer", "WORDS", N | F | L | E, "\"adam learning_rate=3e-4\"; instead of the file's" },
    { "loss", "WORDS", N | F | L | E, "\"sparse_categorical_crossentropy from_logits=true\"; NAME:loss for an output" },
    { "metrics", "WORDS", N | F | L | E, "between commas" },
    { "seed", "N", N | F | G | Q, "all that is random follows from it" },
    { "force", NULL, N, "overwrite MODEL" },
    { "text", "FILE", N, "a text from which the tokenizer is learned, for a language model" },
    { "tokenizer", "KIND", N, "char, word or bpe (\"char bytes=true\"), or a tokenizer.json; needs --text where it is learned" },
    { "vocab-size", "N", N, "ids of the tokenizer at most" },
    { "targets", "WHICH", F | E,
      "of a text: next (every next token) or last (the one behind the window); as the model's output is" },
    { "stride", "N", F | E | P, "tokens (or rows, with --window) from one window to the next" },
    { "prompt", "TEXT", G, "what the text goes on from" },
    { "prompt-file", "FILE", G, "the same from a file; - is standard input" },
    { "length", "N", G, "tokens to write; 200 when not given" },
    { "count", "N", G, "texts from the prompt" },
    { "temperature", "T", G, "divides the logits; 0 takes the likeliest always; 1 when not given" },
    { "top-k", "N", G, "draw among the N likeliest" },
    { "top-p", "P", G, "draw among the fewest that have this probability together" },
    { "min-p", "P", G, "draw among those at least P times as likely as the likeliest" },
    { "typical", "P", G, "draw among those whose surprise is nearest to what is expected" },
    { "repetition-penalty", "R", G, "divides the logits of tokens that were there already" },
    { "order", "NAMES", G, "of the filters, between commas; or keras, transformers, llama.cpp, vllm" },
    { "stop", "TEXT", G, "ends the text, and is no part of it; may be given again" },
    { "context", "POLICY", G, "slide or stop when the text is longer than the model's context" },
    { "beams", "N", G, "beam search with so many instead of drawing" },
    { "target", "COLUMN,…", F | E | P | Q, "of a CSV" },
    { "features", "COLUMN,…", F | E | P | Q, "of a CSV; all others when not given" },
    { "weight", "COLUMN", F | E | Q, "of a CSV: sample weights" },
    { "missing", "VALUE", F | E | P | Q, "what a missing value of a CSV becomes: a number, or age=30,kind=cat" },
    { "missing-values", "TEXT,…", F | E | P | Q,
      "what stands for a missing value, beside nothing at all: ?,NA,nan in numbers when not given" },
    { "separator", "BYTE", F | E | P | Q, "between the columns of a CSV: ';', or tab; a comma when not given" },
    { "decimal", "BYTE", F | E | P | Q, "before the fraction of numbers: . or ," },
    { "no-header", NULL, F | E | P | Q, "the first line of a CSV is a record; columns are called 1, 2, …" },
    { "encoding", "NAME", F | E | P | Q, "of a CSV: latin1, utf-16le, …; UTF-8 (or UTF-16 by its mark) when not given" },
    { "classes", "COLUMN,…", F | E | Q, "targets whose values are names of classes, numbers among them too" },
    { "classes", NULL, P, "the name of the likeliest class and its probability, instead of all of them" },
    { "unknown-class", "POLICY", F | E, "error, or skip records whose class the model does not know" },
    { "new-schema", NULL, F, "learn names of columns and classes anew from DATA" },
    { "keep", "COLUMN,…", P, "columns of a CSV that stand before the predictions, as text" },
    { "window", "N", F | E | P, "records are windows of N rows of DATA, the target that of a row behind" },
    { "sampling-rate", "N", F | E | P, "rows from one of a window to its next; 1 when not given" },
    { "horizon", "N", F | E | P, "rows from the last of a window to that of its target; 1 when not given" },
    { "generator", "COMMAND", F | E | P, "a program that writes .npy arrays: x then y, batch after batch" },
    { "validation-generator", "COMMAND", F, "the same for validation, started anew each time" },
    { "format", "NAME", F | E | P | Q,
      "of DATA: csv, tsv, npy, idx, npz, qrec, text; found by name, then by content, when not given" },
    { "data-format", "WHERE", F | E | P | Q,
      "of arrays: channels_first reads inputs (N, C, ...) as (N, ..., C); channels_last when not given" },
    { "arrays", "x,y,w", F | E | P, "what a program or --format npy gives; or names of inputs and outputs" },
    { "stall-timeout", "SECONDS", F | E | P, "of waiting for data that are an error, which tells what is waited for" },
    { "bad-records", "POLICY", F | E | P,
      "fail, skip or substitute a record that cannot be used; skip:MAX: at most so many an epoch, 100 when not given" },
    { "validation", "DATA", F, "evaluated after epochs" },
    { "validation-split", "PART", F, "the last part of the data for validation: 0.1" },
    { "epochs", "N", F, "the last epoch; 1 when not given" },
    { "checkpoint", "FILE", F, "a .keras file that the run can go on from" },
    { "checkpoint-every", "N|TIME", F, "steps, or a time (30s, 10m, 2h), between checkpoints; an epoch when not given" },
    { "resume", NULL, F, "go on from the newest good checkpoint, where there is one" },
    { "generator-resumes", NULL, F, "the program begins at batch QUERN_RESUME_STEP itself; else batches are left out" },
    { "initial-epoch", "N", F, "epochs that were run before" },
    { "batch-size", "N", F | E | P | L, "records a batch; 32 when not given, of programs as many as their first batch has" },
    { "steps-per-epoch", "N", F, "batches an epoch; until the data ends when not given" },
    { "steps", "N", E | P, "batches; until the data ends when not given" },
    { "validation-steps", "N", F, "batches a validation" },
    { "validation-freq", "N", F, "validate after every Nth epoch" },
    { "max-queue-size", "N", F | L, "batches that stand ready; 10 when not given" },
    { "workers", "N", F, "threads that read data that can be read by number; 1 when not given; 0: the trainer reads itself" },
    { "class-weight", "0:1,1:4", F, "weights by class" },
    { "callback", "WORDS", F, "\"early_stopping patience=3\"; may be given again" },
    { "on-exhausted", "POLICY", F, "stop, error or restart when a generator ends early" },
    { "adapt", NULL, F, "first let layers learn from a pass over the data: Normalization, Discretization, vocabularies" },
    { "no-shuffle", NULL, F, "records in their own order" },
    { "profile", NULL, F, "at the end, where the time of a step went" },
    { "watch", NULL, F, "name the layer whose output is not finite first (slow)" },
    { "memory", "SIZE", F | L | Q,
      "all that the process may take: 64M; auto: what cgroup and limits leave. Exit 3 when nothing fits. Of prepare: piles and "
      "buffers" },
    { "split-batch", "HOW", F | L,
      "may a batch go in parts when memory asks for it: auto (where only rounding changes), never, any" },
    { "plot", "FILE", L, "a picture of what lives within a step: plan.svg" },
    { "budgets", "SIZE,SIZE...", L, "predicted time against memory: a line for each budget" },
    { "output", "FILE", F | P | Q, "instead of MODEL; predictions: .csv, .tsv, .npy, .npz, .jsonl or -; prepared records: .qrec" },
    { "threads", "N", F | E | P | G, "that compute" },
    { "isa", "KIND", F | E | P | G | D,
      "kind of processor whose kernels compute (avx512, avx2, sse2, neon): the widest when not given" },
    { "weights", "FILE", C, "read into the model first: .weights.h5, .h5, .keras, .safetensors, .npz" },
    { "map", "FILE", C, "other names in .safetensors and .npz: lines \"dense/kernel = fc1.weight transposed\"" },
    { "expand-nested", NULL, S, "layers of models in the model too" },
    { "show-trainable", NULL, S, "which layers are trained" },
    { "json", NULL, ALL, "one JSON object a line" },
    { "quiet", NULL, ALL, "no progress" },
    { "verbose", NULL, ALL, "notes, and the causes of choices" },
    { "help", NULL, ALL, "this" },
};
enum { n_options = sizeof table / sizeof *table };

/* What people type who know other programs. */
static const struct {
    const char *name, *hint;
} habits[] = {
    { "lr", "learning_rate is an argument of the optimizer: --optimizer 'adam learning_rate=1e-3'" },
    { "learning-rate", "learning_rate is an argument of the optimizer: --optimizer 'adam learning_rate=1e-3'" },
    { "patience", "patience is an argument of a callback: --callback 'early_stopping patience=3'" },
    { "callbacks", "one --callback for each: --callback 'early_stopping patience=3'" },
    { "nb-epoch", "did you mean --epochs?" },
    { "samples-per-epoch", "--steps-per-epoch counts batches" },
    { "nb-val-samples", "--validation-steps counts batches" },
    { "validation-data", "did you mean --validation?" },
    { "model", "MODEL is the first word: quern fit MODEL DATA" },
    { "data", "DATA are the words behind MODEL: quern fit MODEL DATA" },
    { "text-prompt", "did you mean --prompt?" },
};

const char *cli_option(const arguments *a, const char *name)
{
    const char *value = NULL; /* a name may have a row for each of two kinds of command */
    for (int i = 0; i < n_options; i++)
        if (!strcmp(table[i].name, name) && a->values[i])
            value = a->values[i];
    return value;
}

/* The row of an option of a command, or of any (*own false); -1: there is none. */
static int row_of(const char *name, size_t n, int letter, bool *own)
{
    int other = -1;
    for (int i = 0; i < n_options; i++) {
        if (strlen(table[i].name) != n || strncmp(table[i].name, name, n))
            continue;
        other = i;
        if (table[i].commands & letter)
            return *own = true, i;
    }
    return *own = false, other;
}

/* An option that is none; prints, with the nearest name. */
static int unknown(const char *word, size_t n, const char *command, int letter)
{
    const char *names[n_options];
    char name[64];
    size_t count = 0;
    snprintf(name, sizeof name, "%.*s", (int)(n < 63 ? n : 63), word + 2);
    for (char *p = name; *p; p++)
        *p = *p == '_' ? '-' : *p;
    for (int i = 0; i < n_options; i++)
        if (table[i].commands & letter)
            names[count++] = table[i].name;
    fprintf(stderr, "quern: %.*s: no such option of quern %s\n", (int)n + 2, word, command);
    for (size_t i = 0; i < sizeof habits / sizeof *habits; i++)
        if (!strcmp(habits[i].name, name))
            return fprintf(stderr, "hint: %s\n", habits[i].hint), 2;
    const char *near = quern_nearest(name, names, count);
    if (near)
        fprintf(stderr, "hint: did you mean --%s?\n", near);
    else
        fprintf(stderr, "hint: quern %s --help lists its options\n", command);
    return 2;
}

/* Whether an empty value means something (no metrics, no prompt, nothing that stands for a missing value), or those who read it say
 * what they take. */
static bool may_be_empty(const char *name, const char *value)
{
    return !strcmp(value, "N") || !strcmp(value, "POLICY") || !strcmp(name, "metrics") || !strcmp(name, "prompt") ||
           !strcmp(name, "missing-values");
}

/* Notes a value; false after printing. */
static bool take(arguments *a, int row, const char *value)
{
    const char *name = table[row].name;
    bool callback = !strcmp(name, "callback"), stop = !strcmp(name, "stop");
    if (!*value && !may_be_empty(name, table[row].value))
        return fprintf(stderr, "quern: --%s: its value is empty (%s)\n", name, table[row].value), false;
    if (a->values[row] && !callback && !stop && strcmp(a->values[row], value))
        fprintf(stderr, "quern: warning: --%s: is given twice, '%s' counts and '%s' does not\n", name, value, a->values[row]);
    if ((callback && a->n_callbacks == 16) || (stop && a->n_stops == 16))
        return cli_wrong(callback ? "--callback" : "--stop", "is given more than 16 times"), false;
    if (callback)
        a->callbacks[a->n_callbacks++] = value;
    if (stop)
        a->stops[a->n_stops++] = value;
    a->values[row] = value;
    return true;
}

int cli_read(arguments *a, int letter, int argc, char **argv)
{
    a->words = argv; /* words move to the front */
    for (int i = 0; i < argc; i++) {
        char *word = argv[i], where[80];
        if (strncmp(word, "--", 2)) {
            if (word[0] == '-' && word[1])
                return cli_wrong(word, "options begin with two dashes (--help); behind -- all are words");
            a->words[a->n++] = word;
            continue;
        }
        if (!word[2]) {
            for (i++; i < argc; i++)
                a->words[a->n++] = argv[i];
            break;
        }
        size_t n = strcspn(word + 2, "=");
        bool own, given = word[2 + n] == '=';
        int row = row_of(word + 2, n, letter, &own);
        snprintf(where, sizeof where, "%.*s", (int)(n + 2 < 79 ? n + 2 : 79), word);
        if (row < 0)
            return unknown(word, n, a->command, letter);
        if (!own) {
            fprintf(stderr, "quern: %s: does not apply to %s\n", where, a->command);
            return 2;
        }
        if (!table[row].value && given)
            return cli_wrong(where, "takes no value");
        if (table[row].value && !given && i + 1 == argc) {
            fprintf(stderr, "quern: %s: its value is missing (%s)\n", where, table[row].value);
            return 2;
        }
        if (!take(a, row, !table[row].value ? "yes" : given ? word + 3 + n : argv[++i]))
            return 2;
    }
    a->json = cli_option(a, "json") != NULL;
    return 0;
}

void cli_options_help(FILE *to, int letter)
{
    for (int i = 0; i < n_options; i++)
        if (table[i].commands & letter) {
            char option[64];
            snprintf(option, sizeof option, "--%s %s", table[i].name, table[i].value ? table[i].value : "");
            fprintf(to, "  %-30s %s\n", option, table[i].help);
        }
}
