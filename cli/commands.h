/* What the commands that open models and data share. */
#ifndef QUERN_CLI_COMMANDS_H
#define QUERN_CLI_COMMANDS_H

#include "cli.h"

/* The model of the first word, with --optimizer, --loss, --metrics and --threads applied. NULL with the exit code set. */
quern_model *cli_open(const arguments *a, int words, quern_error *err, int *code);
/* The data that words name, or the program of an option that stands for them. NULL with the exit code set. */
quern_generator *cli_data(const arguments *a, const quern_model *m, const char *option, char **words, int n, quern_error *err,
                          int *code);
/* Cuts --validation-split off the data. Returns the exit code. */
int cli_split(const arguments *a, const quern_model *m, quern_generator *train, quern_generator **valid, quern_error *err);
/* ---- plan_command.c ---- */
/* --memory; left as it is when that is not given, or auto. Prints and returns false when it is no size. */
bool cli_memory(const arguments *a, size_t *out);
bool cli_split_batch(const arguments *a, int32_t *out);
/* A plan as a line of JSON: of quern plan, or the event of fit. */
void cli_plan_json(const quern_plan *p, bool event);

/* ---- signals.c ---- */
/* Listens from now on: the signal that asks for the end (SIGTERM for SIGHUP), 0 before it comes. One that is ignored stays so. */
const volatile int *cli_signals(void);
/* From now on a signal ends the process at once: its programs are told to stop, and the file (kept by the caller until cli_left;
 * may be NULL) is removed. */
void cli_leave_nothing(const char *path);
/* No file is to be removed any more. */
void cli_left(void);

/* A string of JSON. */
void cli_json_text(FILE *to, const char *text, size_t n);
/* A member of a JSON object that is a size; null where it is 0, which stands for unknown. */
void cli_json_size(FILE *to, const char *name, size_t bytes);
double cli_now(void);
/* The most bytes that were resident; 0: unknown, because /proc is not mounted. */
size_t cli_peak(void);

/* ---- text.c ---- */
/* Whether DATA is a text: by --format, by its name, or because the model has a tokenizer and DATA is no other kind. */
bool cli_is_text(const arguments *a, const quern_model *m, const char *words);
quern_generator *cli_text(const arguments *a, const quern_model *m, const char *words, quern_error *err, int *code);
/* The tokenizer of --tokenizer, --text and --vocab-size; NULL without one, or (*code not 0) after printing why there is none. */
quern_tokenizer *cli_tokenizer(const arguments *a, quern_error *err, int *code);
/* The pipeline with the tokenizer's size for each word "vocab". Returns new; NULL with the exit code set. */
char *cli_with_vocabulary(const char *pipeline, const quern_tokenizer *t, int *code);

#endif
