/* The quern command: reads the words, calls the library, prints. Only public headers. The contract is man/quern.1. */
#include "cli.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* Options, described once: name, whether it takes a value, the commands (letters) it applies to, where the value goes. */
enum { N = 1, F = 2, E = 4, P = 8, S = 16, L = 32, D = 64, G = 128, C = 256, Q = 512, ALL = 1023 };
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

static const struct {
    const char *name;
    int letter;
    int (*run)(const arguments *a);
    const char *usage;
} commands[] = {
    { "new", N, cli_new, "MODEL 'PIPELINE'" },
    { "fit", F, cli_fit, "MODEL DATA" },
    { "evaluate", E, cli_evaluate, "MODEL DATA" },
    { "predict", P, cli_predict, "MODEL DATA" },
    { "generate", G, cli_generate, "MODEL" },
    { "summary", S, cli_summary, "MODEL" },
    { "plan", L, cli_plan, "MODEL" },
    { "convert", C, cli_convert, "IN OUT" },
    { "prepare", Q, cli_prepare, "DATA" },
    { "doctor", D, cli_doctor, "" },
};
enum { n_commands = sizeof commands / sizeof *commands };
static const char *const later_options[] = { "report" };

const char *cli_option(const arguments *a, const char *name)
{
    const char *value = NULL; /* a name may have a row for each of two kinds of command */
    for (int i = 0; i < n_options; i++)
        if (!strcmp(table[i].name, name) && a->values[i])
            value = a->values[i];
    return value;
}

int cli_fail(int status, const quern_error *err)
{
    fprintf(stderr, "quern: %s%s%s\n", err->where, *err->where ? ": " : "", *err->text ? err->text : quern_status_text(status));
    if (*err->hint)
        fprintf(stderr, "hint: %s\n", err->hint);
    return status == QUERN_BUDGET ? 3 : 1;
}

int cli_wrong(const char *where, const char *what)
{
    fprintf(stderr, "quern: %s: %s\n", where, what);
    return 2;
}

bool cli_count(const arguments *a, const char *name, int64_t *out)
{
    const char *text = cli_option(a, name);
    char *end;
    if (!text)
        return true;
    *out = strtoll(text, &end, 10);
    if (*end || end == text || *out < 1) {
        char where[64];
        snprintf(where, sizeof where, "--%s", name);
        cli_wrong(where, "must be a whole number of at least 1");
        return false;
    }
    return true;
}

bool cli_seed(const arguments *a, uint64_t *out)
{
    const char *text = cli_option(a, "seed");
    char *end;
    if (!text)
        return true;
    errno = 0;
    *out = strtoull(text, &end, 10);
    if (errno || *end || !isdigit((unsigned char)*text)) /* a sign would be taken modulo 2^64 */
        return cli_wrong("--seed", "must be a whole number of at most 64 bits"), false;
    return true;
}

static void usage(FILE *to, int letter)
{
    for (int i = 0; i < n_commands; i++)
        if (!letter || commands[i].letter == letter)
            fprintf(to, "quern %s %s\n", commands[i].name, commands[i].usage);
    for (int i = 0; letter && i < n_options; i++)
        if (table[i].commands & letter) {
            char option[64];
            snprintf(option, sizeof option, "--%s %s", table[i].name, table[i].value ? table[i].value : "");
            fprintf(to, "  %-30s %s\n", option, table[i].help);
        }
    if (!letter)
        fprintf(to, "quern COMMAND --help tells its options.\n");
}

static void log_line(void *user, int level, const char *text)
{
    if (!*(bool *)user)
        fprintf(stderr, level <= 1 ? "quern: warning: %s\n" : "quern: %s\n", text);
}

static int run(int which, int argc, char **argv)
{
    struct option options[n_options + 1] = { { 0 } };
    double first_step = 0;
    quern_plan plan = { 0 };
    arguments a = { .command = commands[which].name, .started = cli_start_time(), .first_step = &first_step, .plan = &plan };
    int n = 0; /* rows of this command before others of the same name */
    for (int own = 1; own >= 0; own--)
        for (int i = 0; i < n_options; i++)
            if (own == !!(table[i].commands & commands[which].letter))
                options[n++] = (struct option){ table[i].name, table[i].value ? required_argument : no_argument, NULL, 256 + i };
    opterr = 0;
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        for (size_t i = 0; c < 256 && i < sizeof later_options / sizeof *later_options; i++)
            if (!strncmp(argv[optind - 1], "--", 2) && !strcmp(argv[optind - 1] + 2, later_options[i]))
                return cli_wrong(argv[optind - 1], "not in this version");
        if (c < 256) {
            fprintf(stderr, "quern: %s: no such option, or its value is missing\nhint: quern %s --help\n", argv[optind - 1],
                    commands[which].name);
            return 2;
        }
        if (!(table[c - 256].commands & commands[which].letter)) {
            fprintf(stderr, "quern: --%s: does not apply to %s\n", table[c - 256].name, commands[which].name);
            return 2;
        }
        if (!strcmp(table[c - 256].name, "callback")) {
            if (a.n_callbacks == 16)
                return cli_wrong("--callback", "more than 16");
            a.callbacks[a.n_callbacks++] = optarg;
        }
        if (!strcmp(table[c - 256].name, "stop")) {
            if (a.n_stops == 16)
                return cli_wrong("--stop", "more than 16");
            a.stops[a.n_stops++] = optarg;
        }
        a.values[c - 256] = table[c - 256].value ? optarg : "yes";
    }
    if (cli_option(&a, "help"))
        return usage(stdout, commands[which].letter), 0;
    a.json = cli_option(&a, "json") != NULL;
    a.n = argc - optind;
    a.words = argv + optind;
    return commands[which].run(&a);
}

int main(int argc, char **argv)
{
    mallopt(M_MMAP_THRESHOLD, 128 << 10); /* what is given back is gone: malloc would keep more and more for itself, */
    mallopt(M_TRIM_THRESHOLD, 128 << 10); /* which a plan of the memory cannot know                                   */
    static bool quiet;
    for (int i = 2; i < argc; i++)
        quiet = quiet || !strcmp(argv[i], "--quiet");
    quern_set_log(log_line, &quiet);
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "help"))
        return usage(argc < 2 ? stderr : stdout, 0), argc < 2 ? 2 : 0;
    if (!strcmp(argv[1], "--version"))
        return printf("quern %s\n", quern_version()), 0;
    for (int i = 0; i < n_commands; i++)
        if (!strcmp(argv[1], commands[i].name))
            return run(i, argc - 1, argv + 1);
    return cli_wrong(argv[1], "no such command (quern --help)");
}
