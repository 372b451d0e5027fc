/* What the command's files share. */
#ifndef QUERN_CLI_H
#define QUERN_CLI_H

#include <quern/quern.h>
#include <stdbool.h>
#include <stdio.h>

typedef struct arguments {
    const char *command;
    const char *values[128]; /* by option, NULL when not given */
    bool json;
    int n;
    char **words;
    double started;     /* seconds since boot at which the process began */
    quern_plan *plan;   /* of fit, once it is made */
    double *first_step; /* seconds from there to the end of the first training step; 0 before */
    int n_stops;
    const char *stops[16]; /* of --stop */
    int n_callbacks;
    const char *callbacks[16]; /* of --callback, in order */
} arguments;

const char *cli_option(const arguments *a, const char *name);
/* A whole number of at least 1; left as it is when the option is not given. Prints and returns false when it is none. */
bool cli_count(const arguments *a, const char *name, int64_t *out);
/* The same from `least` to `most`. */
bool cli_range(const arguments *a, const char *name, int64_t least, int64_t most, int64_t *out);
/* --seed, any whole number of 64 bits; the same rules. */
bool cli_seed(const arguments *a, uint64_t *out);
/* Prints an error of the library; returns the exit code. */
int cli_fail(int status, const quern_error *err);
/* The same where words of the command line are wrong: returns 2, or 1 where there was no memory for them. */
int cli_fail_words(int status, const quern_error *err);
/* Prints that memory has run out; returns 1. */
int cli_no_memory(void);
/* Prints a wrong use; returns 2. */
int cli_wrong(const char *where, const char *what);
/* Prints that the value of an option is wrong, and the value; returns 2. */
int cli_wrong_value(const arguments *a, const char *name, const char *what);
/* Whether a progress bar may stand on the row of the cursor. */
extern bool cli_bar;
/* Clears the row of a progress bar, so that a message can stand there. */
void cli_clear_bar(void);
/* When the process began, as cli_now has it; without /proc, now. */
double cli_start_time(void);
/* ---- output.c ---- */
/* Standard streams that are closed are opened in a way in which they fail, so that no file of the user takes their place. */
void cli_output_begin(void);
/* What was written so far appears; false where it could not be written. */
bool cli_output_flush(void);
/* Ends standard output. Returns the exit code: 1, after printing, where it could not be written and `code` is 0. */
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
