/* The options of the command. One table describes each option for the parser, for --help, and for
 * the hint after a misspelt name. Options are never abbreviated. Words and options may be mixed;
 * after "--" all arguments are words. */
#include "options.h"

#include <stdlib.h>
#include <string.h>

/* The groups of options in --help, in this order. */
enum {
    GROUP_MODEL,
    GROUP_TOKENIZER,
    GROUP_DATA,
    GROUP_TABLE,
    GROUP_TRAINING,
    GROUP_VALIDATION,
    GROUP_CHECKPOINT,
    GROUP_SAMPLING,
    GROUP_RESOURCES,
    GROUP_OUTPUT,
    n_groups
};
static const char *const group_titles[n_groups] = { "Model",       "Tokenizer", "Data",
                                                    "CSV files",   "Training",  "Validation",
                                                    "Checkpoints", "Sampling",  "Resources",
                                                    "Output" };

/* An option: its name, its value in --help (NULL: a flag), the commands it applies to, its group,
 * and its help. */
static const struct {
    const char *name, *value;
    int commands; /* a set of CLI_… */
    int group;
    const char *help;
} table[] = {
    { "optimizer", "WORDS", CLI_NEW | CLI_FIT | CLI_PLAN | CLI_EVALUATE, GROUP_MODEL,
      "\"adam learning_rate=3e-4\"; instead of the file's" },
    { "loss", "WORDS", CLI_NEW | CLI_FIT | CLI_PLAN | CLI_EVALUATE, GROUP_MODEL,
      "\"sparse_categorical_crossentropy from_logits=true\"; NAME:loss for an output" },
    { "metrics", "WORDS", CLI_NEW | CLI_FIT | CLI_PLAN | CLI_EVALUATE, GROUP_MODEL,
      "metrics between commas" },
    { "input-shape", "SHAPE", CLI_FIT | CLI_PLAN | CLI_EVALUATE | CLI_PREDICT | CLI_GENERATE,
      GROUP_MODEL,
      "sizes of axes that are None: 64, or 224x224x3; NAME=SHAPE between commas for an input" },
    { "seed", "N", CLI_NEW | CLI_FIT | CLI_GENERATE | CLI_PREPARE, GROUP_MODEL,
      "seed of all random numbers" },
    { "force", NULL, CLI_NEW, GROUP_MODEL, "overwrite MODEL" },
    { "text", "FILE", CLI_NEW, GROUP_TOKENIZER,
      "a text from which the tokenizer learns, for a language model" },
    { "tokenizer", "KIND", CLI_NEW, GROUP_TOKENIZER,
      "char, word or bpe (\"char bytes=true\"), which need --text; or a tokenizer.json" },
    { "vocab-size", "N", CLI_NEW, GROUP_TOKENIZER, "largest number of ids of the tokenizer" },
    { "targets", "WHICH", CLI_FIT | CLI_EVALUATE, GROUP_DATA,
      "of a text: next (every next token) or last (the token after the window); by default as the "
      "model's output" },
    { "stride", "N", CLI_FIT | CLI_EVALUATE | CLI_PREDICT, GROUP_DATA,
      "tokens (rows with --window) from the start of a window to the next" },
    { "prompt", "TEXT", CLI_GENERATE, GROUP_SAMPLING,
      "the text that the generated text continues" },
    { "prompt-file", "FILE", CLI_GENERATE, GROUP_SAMPLING,
      "the same from a file; - is standard input" },
    { "length", "N", CLI_GENERATE, GROUP_SAMPLING, "tokens to generate; default 200" },
    { "count", "N", CLI_GENERATE, GROUP_SAMPLING, "number of texts from the prompt" },
    { "temperature", "T", CLI_GENERATE, GROUP_SAMPLING,
      "divides the logits; 0: always the most probable token; default 1" },
    { "top-k", "N", CLI_GENERATE, GROUP_SAMPLING, "keep the N most probable tokens" },
    { "top-p", "P", CLI_GENERATE, GROUP_SAMPLING,
      "keep the fewest tokens whose probabilities sum to P" },
    { "min-p", "P", CLI_GENERATE, GROUP_SAMPLING,
      "keep tokens at least P times as probable as the most probable" },
    { "typical", "P", CLI_GENERATE, GROUP_SAMPLING,
      "keep tokens whose surprise is nearest to the entropy, up to probability P" },
    { "repetition-penalty", "R", CLI_GENERATE, GROUP_SAMPLING,
      "reduces the logits of tokens that occurred already" },
    { "order", "NAMES", CLI_GENERATE, GROUP_SAMPLING,
      "order of the filters, between commas; or keras, transformers, llama.cpp, vllm" },
    { "stop", "TEXT", CLI_GENERATE, GROUP_SAMPLING,
      "end the text before this string; may be repeated" },
    { "context", "POLICY", CLI_GENERATE, GROUP_SAMPLING,
      "slide or stop when the text is longer than the model's context" },
    { "beams", "N", CLI_GENERATE, GROUP_SAMPLING, "beam search with N beams instead of sampling" },
    { "target", "COLUMN,…", CLI_FIT | CLI_EVALUATE | CLI_PREDICT | CLI_PREPARE, GROUP_TABLE,
      "target columns of a CSV" },
    { "features", "COLUMN,…", CLI_FIT | CLI_EVALUATE | CLI_PREDICT | CLI_PREPARE, GROUP_TABLE,
      "feature columns of a CSV; default: all others" },
    { "weight", "COLUMN", CLI_FIT | CLI_EVALUATE | CLI_PREPARE, GROUP_TABLE,
      "column of a CSV with sample weights" },
    { "missing", "VALUE", CLI_FIT | CLI_EVALUATE | CLI_PREDICT | CLI_PREPARE, GROUP_TABLE,
      "replacement of a missing value of a CSV: a number, or age=30,kind=cat" },
    { "missing-values", "TEXT,…", CLI_FIT | CLI_EVALUATE | CLI_PREDICT | CLI_PREPARE, GROUP_TABLE,
      "texts that mark a missing value, in addition to an empty field; default ?,NA,nan in "
      "numbers" },
    { "separator", "BYTE", CLI_FIT | CLI_EVALUATE | CLI_PREDICT | CLI_PREPARE, GROUP_TABLE,
      "separator of a CSV: ';', or tab; default: a comma" },
    { "decimal", "BYTE", CLI_FIT | CLI_EVALUATE | CLI_PREDICT | CLI_PREPARE, GROUP_TABLE,
      "decimal separator of numbers: . or ," },
    { "no-header", NULL, CLI_FIT | CLI_EVALUATE | CLI_PREDICT | CLI_PREPARE, GROUP_TABLE,
      "the first line of a CSV is a record; columns are called 1, 2, …" },
    { "encoding", "NAME", CLI_FIT | CLI_EVALUATE | CLI_PREDICT | CLI_PREPARE, GROUP_TABLE,
      "encoding of a CSV: latin1, utf-16le, …; default UTF-8, or UTF-16 with a byte order mark" },
    { "classes", "COLUMN,…", CLI_FIT | CLI_EVALUATE | CLI_PREPARE, GROUP_TABLE,
      "targets whose values are class names, even if they look like numbers" },
    { "classes", NULL, CLI_PREDICT, GROUP_TABLE,
      "print the name and probability of the most probable class only" },
    { "unknown-class", "POLICY", CLI_FIT | CLI_EVALUATE, GROUP_TABLE,
      "error or skip, for records whose class the model does not know" },
    { "new-schema", NULL, CLI_FIT, GROUP_MODEL,
      "learn names of columns and classes from DATA again" },
    { "keep", "COLUMN,…", CLI_PREDICT, GROUP_TABLE,
      "columns of a CSV to write before the predictions, as text" },
    { "window", "N", CLI_FIT | CLI_EVALUATE | CLI_PREDICT, GROUP_DATA,
      "records are windows of N rows of DATA; the target is of a later row" },
    { "sampling-rate", "N", CLI_FIT | CLI_EVALUATE | CLI_PREDICT, GROUP_DATA,
      "rows from one row of a window to its next; default 1" },
    { "horizon", "N", CLI_FIT | CLI_EVALUATE | CLI_PREDICT, GROUP_DATA,
      "rows from the last row of a window to its target; default 1" },
    { "generator", "COMMAND", CLI_FIT | CLI_EVALUATE | CLI_PREDICT, GROUP_DATA,
      "a program that writes .npy arrays: x, then y, for each batch" },
    { "validation-generator", "COMMAND", CLI_FIT, GROUP_VALIDATION,
      "the same for validation; started for each validation" },
    { "format", "NAME", CLI_FIT | CLI_EVALUATE | CLI_PREDICT | CLI_PREPARE, GROUP_DATA,
      "format of DATA: csv, tsv, npy, idx, npz, qrec, text; default: by name, then by content" },
    { "data-format", "WHERE", CLI_FIT | CLI_EVALUATE | CLI_PREDICT | CLI_PREPARE, GROUP_DATA,
      "channels_first reads arrays (N, C, ...) as (N, ..., C); default channels_last" },
    { "arrays", "x,y,w", CLI_FIT | CLI_EVALUATE | CLI_PREDICT, GROUP_DATA,
      "arrays of a program or of --format npy; or names of inputs and outputs" },
    { "stall-timeout", "SECONDS", CLI_FIT | CLI_EVALUATE | CLI_PREDICT, GROUP_DATA,
      "limit of the wait for data, after which the run fails" },
    { "bad-records", "POLICY", CLI_FIT | CLI_EVALUATE | CLI_PREDICT, GROUP_DATA,
      "fail, skip or substitute bad records; skip:MAX: at most MAX an epoch, default 100" },
    { "validation", "DATA", CLI_FIT, GROUP_VALIDATION, "data to evaluate after epochs" },
    { "validation-split", "PART", CLI_FIT, GROUP_VALIDATION,
      "fraction of the data for validation, from its end: 0.1" },
    { "epochs", "N", CLI_FIT, GROUP_TRAINING, "number of the last epoch; default 1" },
    { "checkpoint", "FILE", CLI_FIT, GROUP_CHECKPOINT,
      "a .keras file from which the run can resume" },
    { "checkpoint-every", "N|TIME", CLI_FIT, GROUP_CHECKPOINT,
      "steps or time (30s, 10m, 2h) between checkpoints; default: an epoch" },
    { "resume", NULL, CLI_FIT, GROUP_CHECKPOINT,
      "resume from the newest valid checkpoint, if there is one" },
    { "generator-resumes", NULL, CLI_FIT, GROUP_DATA,
      "the program starts at batch QUERN_RESUME_STEP; default: quern discards the batches before "
      "it" },
    { "initial-epoch", "N", CLI_FIT, GROUP_TRAINING,
      "number of epochs that earlier runs completed" },
    { "batch-size", "N", CLI_FIT | CLI_EVALUATE | CLI_PREDICT | CLI_PLAN, GROUP_TRAINING,
      "records of a batch; default 32; of programs: as in their first batch" },
    { "steps-per-epoch", "N", CLI_FIT, GROUP_TRAINING,
      "batches of an epoch; default: until the data ends" },
    { "steps", "N", CLI_EVALUATE | CLI_PREDICT, GROUP_TRAINING,
      "number of batches; default: until the data ends" },
    { "validation-steps", "N", CLI_FIT, GROUP_VALIDATION, "batches of a validation" },
    { "validation-freq", "N", CLI_FIT, GROUP_VALIDATION, "validate after every Nth epoch" },
    { "max-queue-size", "N", CLI_FIT | CLI_PLAN, GROUP_DATA,
      "most prefetched batches; default 10" },
    { "workers", "N", CLI_FIT, GROUP_DATA,
      "reader threads for data with random access; default 1; 0: the trainer reads" },
    { "class-weight", "0:1,1:4", CLI_FIT, GROUP_TRAINING, "loss weight of each class" },
    { "callback", "WORDS", CLI_FIT, GROUP_TRAINING,
      "\"early_stopping patience=3\"; may be repeated" },
    { "on-exhausted", "POLICY", CLI_FIT, GROUP_TRAINING,
      "stop, error or restart when a generator ends early" },
    { "adapt", NULL, CLI_FIT, GROUP_MODEL,
      "first adapt layers to the data: Normalization, Discretization, vocabularies" },
    { "no-shuffle", NULL, CLI_FIT, GROUP_DATA, "read records in their own order" },
    { "profile", NULL, CLI_FIT | CLI_EVALUATE | CLI_PREDICT, GROUP_OUTPUT,
      "print the time of each kernel at the end" },
    { "watch", NULL, CLI_FIT, GROUP_OUTPUT,
      "name the first layer whose output is not finite (slow)" },
    { "memory", "SIZE", CLI_FIT | CLI_PLAN | CLI_PREPARE, GROUP_RESOURCES,
      "memory budget of the process: 64M; auto: the limit of the cgroup and ulimit; exit 3 if no "
      "plan fits. Of prepare: piles and buffers" },
    { "split-batch", "HOW", CLI_FIT | CLI_PLAN, GROUP_RESOURCES,
      "micro-batches when the budget needs them: auto (if only rounding changes), never, any" },
    { "plot", "FILE", CLI_PLAN, GROUP_OUTPUT, "plot the live bytes of each phase: plan.svg" },
    { "budgets", "SIZE,SIZE...", CLI_PLAN, GROUP_RESOURCES,
      "print estimated time and memory for each budget" },
    { "output", "FILE", CLI_FIT | CLI_PREDICT | CLI_PREPARE, GROUP_OUTPUT,
      "file to write; fit: instead of MODEL; predict: .csv, .tsv, .npy, .npz, .jsonl or -; "
      "prepare: .qrec" },
    { "threads", "N", CLI_FIT | CLI_EVALUATE | CLI_PREDICT | CLI_GENERATE, GROUP_RESOURCES,
      "number of threads that compute" },
    { "isa", "KIND", CLI_FIT | CLI_EVALUATE | CLI_PREDICT | CLI_GENERATE | CLI_DOCTOR,
      GROUP_RESOURCES,
      "kernels of an instruction set: avx512, avx2, sse2, neon; default: the widest" },
    { "weights", "FILE", CLI_CONVERT, GROUP_MODEL,
      "weights to load into the model: .weights.h5, .h5, .keras, .safetensors, .npz" },
    { "map", "FILE", CLI_CONVERT, GROUP_MODEL,
      "names in .safetensors and .npz: lines \"dense/kernel = fc1.weight transposed\"" },
    { "expand-nested", NULL, CLI_SUMMARY, GROUP_MODEL, "show the layers of nested models" },
    { "show-trainable", NULL, CLI_SUMMARY, GROUP_MODEL, "show which layers are trainable" },
    { "json", NULL, CLI_ALL, GROUP_OUTPUT, "print one JSON object on each line" },
    { "quiet", NULL, CLI_ALL, GROUP_OUTPUT, "print no progress" },
    { "verbose", NULL, CLI_ALL, GROUP_OUTPUT, "print notes and the reasons of choices" },
    { "help", NULL, CLI_ALL, GROUP_OUTPUT, "print this help" },
};
enum { n_options = sizeof table / sizeof *table };

/* Options of other programs, and the hint for each. */
static const struct {
    const char *name, *hint;
} habits[] = {
    { "lr",
      "learning_rate is an argument of the optimizer: --optimizer 'adam learning_rate=1e-3'" },
    { "learning-rate",
      "learning_rate is an argument of the optimizer: --optimizer 'adam learning_rate=1e-3'" },
    { "patience", "patience is an argument of a callback: --callback 'early_stopping patience=3'" },
    { "callbacks", "one --callback for each: --callback 'early_stopping patience=3'" },
    { "nb-epoch", "did you mean --epochs?" },
    { "samples-per-epoch", "--steps-per-epoch counts batches" },
    { "nb-val-samples", "--validation-steps counts batches" },
    { "validation-data", "did you mean --validation?" },
    { "model", "MODEL is the first word: quern fit MODEL DATA" },
    { "data", "DATA are the words after MODEL: quern fit MODEL DATA" },
    { "text-prompt", "did you mean --prompt?" },
};

const char *cli_option(const arguments *a, const char *name)
{
    const char *value = NULL; /* two commands may use one name differently */
    for (int i = 0; i < n_options; i++)
        if (!strcmp(table[i].name, name) && a->values[i])
            value = a->values[i];
    return value;
}

/* The row of an option of this command (*own true) or of another one; -1: no command has it. */
static int find_option(const char *name, size_t n, int letter, bool *own)
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

/* Reports an unknown option, with the nearest name as a hint. Returns 2. */
static int unknown_option(const char *word, size_t n, const char *command, int letter)
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

/* Whether an option accepts an empty value, or its reader reports an empty value itself. */
static bool may_be_empty(const char *name, const char *value)
{
    return !strcmp(value, "N") || !strcmp(value, "POLICY") || !strcmp(name, "metrics") ||
           !strcmp(name, "prompt") || !strcmp(name, "missing-values");
}

/* Stores the value of an option. Returns false after an error message. */
static bool take_value(arguments *a, int row, const char *value)
{
    const char *name = table[row].name;
    bool callback = !strcmp(name, "callback"), stop = !strcmp(name, "stop");
    if (!*value && !may_be_empty(name, table[row].value))
        return fprintf(stderr, "quern: --%s: its value is empty (%s)\n", name, table[row].value),
               false;
    if (a->values[row] && !callback && !stop && strcmp(a->values[row], value))
        fprintf(stderr, "quern: warning: --%s: is given twice, '%s' counts and '%s' does not\n",
                name, value, a->values[row]);
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
                return cli_wrong(word,
                                 "options begin with two dashes (--help); after -- all are words");
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
        int row = find_option(word + 2, n, letter, &own);
        snprintf(where, sizeof where, "%.*s", (int)(n + 2 < 79 ? n + 2 : 79), word);
        if (row < 0)
            return unknown_option(word, n, a->command, letter);
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
        if (!take_value(a, row, !table[row].value ? "yes" : given ? word + 3 + n : argv[++i]))
            return 2;
    }
    a->json = cli_option(a, "json") != NULL;
    return 0;
}

/* Prints the options of a command, one group. */
static void print_group(FILE *to, int command, int group)
{
    bool titled = false;
    for (int i = 0; i < n_options; i++) {
        char option[64];
        if (!(table[i].commands & command) || table[i].group != group)
            continue;
        if (!titled)
            fprintf(to, "\n%s:\n", group_titles[group]);
        titled = true;
        snprintf(option, sizeof option, "--%s %s", table[i].name,
                 table[i].value ? table[i].value : "");
        fprintf(to, "  %-30s %s\n", option, table[i].help);
    }
}

void cli_options_help(FILE *to, int command)
{
    for (int group = 0; group < n_groups; group++)
        print_group(to, command, group);
}
