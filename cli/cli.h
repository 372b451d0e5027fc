/* Declarations that all files of the command share. */
#ifndef QUERN_CLI_H
#define QUERN_CLI_H

#include <quern/quern.h>
#include <stdbool.h>
#include <stdio.h>

typedef struct arguments {
    const char *command;
    const char *values[128]; /* by option; NULL: not given */
    bool json;
    int n;
    char **words;
    double started;   /* start of the process, in seconds since boot */
    quern_plan *plan; /* the plan of fit, after planning */
    double
        *first_step; /* seconds from the start to the end of the first training step; 0: not yet */
    int n_stops;
    const char *stops[16]; /* values of --stop */
    int n_callbacks;
    const char *callbacks[16]; /* values of --callback, in order */
} arguments;

const char *cli_option(const arguments *a, const char *name);
/* Reads an integer of at least 1; without the option, *out is unchanged. Returns false after an
 * error message. */
bool cli_count(const arguments *a, const char *name, int64_t *out);
/* As cli_count, for an integer from `least` to `most`. */
bool cli_range(const arguments *a, const char *name, int64_t least, int64_t most, int64_t *out);
/* As cli_count, for --seed: any integer of 64 bits. */
bool cli_seed(const arguments *a, uint64_t *out);
/* Prints an error of the library. Returns the exit status. */
int cli_fail(int status, const quern_error *err);
/* Prints an error in the words of the command line. Returns 2, or 1 if memory is short. */
int cli_fail_words(int status, const quern_error *err);
/* Prints that memory is short. Returns 1. */
int cli_no_memory(void);
/* Prints a usage error. Returns 2. */
int cli_wrong(const char *where, const char *what);
/* Prints that the value of an option is invalid, with the value. Returns 2. */
int cli_wrong_value(const arguments *a, const char *name, const char *what);
/* Whether a progress bar may use the row of the cursor. */
extern bool cli_bar;
/* Clears the row of a progress bar for a message. */
void cli_clear_bar(void);
/* Start of the process on the clock of cli_now; without /proc, the present time. */
double cli_start_time(void);
/* ---- output.c ---- */
/* Opens closed standard streams on /dev/null in the wrong direction, so that their use fails and no
 * file of the user gets their descriptors. */
void cli_output_begin(void);
/* Flushes standard output. Returns false if it cannot be written. */
bool cli_output_flush(void);
/* Closes standard output. Returns the exit status: `code`, or 1 after an error message if `code` is
 * 0 and the output cannot be written. */
int cli_output_end(int code);

int cli_new(const arguments *a);
int cli_fit(const arguments *a);
int cli_evaluate(const arguments *a);
int cli_predict(const arguments *a);
int cli_generate(const arguments *a);
int cli_summary(const arguments *a);
int cli_plan(const arguments *a);
int cli_convert(const arguments *a);
int cli_prepare(const arguments *a);
int cli_doctor(const arguments *a);

#endif
