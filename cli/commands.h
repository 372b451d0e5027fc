/* Declarations of the commands that open models and data. */
#ifndef QUERN_CLI_COMMANDS_H
#define QUERN_CLI_COMMANDS_H

#include "cli.h"

/* Opens the model of the first word and applies --optimizer, --loss, --metrics and --threads.
 * Returns NULL with the exit status set. */
quern_model *cli_open(const arguments *a, int words, quern_error *err, int *code);
/* Writes the table of --profile to standard error, if the option is given. */
void cli_print_profile(const arguments *a, const quern_model *m);
/* Applies --input-shape. Returns the exit status. */
int cli_input_shape(const arguments *a, quern_model *m, quern_error *err);
/* Opens the data of `words`, or the generator program of an option instead. Returns NULL with the
 * exit status set. */
quern_generator *cli_data(const arguments *a, quern_model *m, const char *option, char **words,
                          int n, quern_error *err, int *code);
/* Splits the data by --validation-split. Returns the exit status. */
int cli_split(const arguments *a, quern_model *m, quern_generator *train, quern_generator **valid,
              quern_error *err);
/* ---- plan_command.c ---- */
/* Reads --memory; without the option, or with "auto", *out is unchanged. Returns false after an
 * error message. */
bool cli_memory(const arguments *a, size_t *out);
bool cli_split_batch(const arguments *a, int32_t *out);
/* Prints a plan as a line of JSON: of quern plan, or the event of fit. */
void cli_plan_json(const quern_plan *p, bool event);

/* ---- signals.c ---- */
/* Installs the signal handlers. Returns the signal that asked to end the run (SIGTERM also for
 * SIGHUP), 0 before one arrives. An ignored signal stays ignored. */
const volatile int *cli_signals(void);
/* A signal now ends the process at once: the handler stops programs and unlinks the file. The
 * caller keeps `path` valid until cli_left; NULL: no file. */
void cli_leave_nothing(const char *path);
/* No signal unlinks a file any more. */
void cli_left(void);

/* Prints a JSON string. */
void cli_json_text(FILE *to, const char *text, size_t n);
/* Prints a size as a member of a JSON object; 0, which means unknown, is null. */
void cli_json_size(FILE *to, const char *name, size_t bytes);
double cli_now(void);
/* Peak resident bytes; 0: unknown, because /proc is not mounted. */
size_t cli_peak(void);

/* ---- text.c ---- */
/* Whether DATA is a text: by --format, by its name, or because the model has a tokenizer and DATA
 * has no other format. */
bool cli_is_text(const arguments *a, const quern_model *m, const char *words);
quern_generator *cli_text(const arguments *a, const quern_model *m, const char *words,
                          quern_error *err, int *code);
/* The tokenizer of --tokenizer, --text and --vocab-size. Returns NULL without these options, or
 * with *code set after an error message. */
quern_tokenizer *cli_tokenizer(const arguments *a, quern_error *err, int *code);
/* The pipeline, with each word "vocab" replaced by the size of the tokenizer. Returns new; NULL
 * with the exit status set. */
char *cli_with_vocabulary(const char *pipeline, const quern_tokenizer *t, int *code);

#endif
