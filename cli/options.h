/* The parser of the command line. */
#ifndef QUERN_CLI_OPTIONS_H
#define QUERN_CLI_OPTIONS_H

#include "cli.h"

/* The commands, as bits: a row of the table names the set of commands that accept the option. */
enum {
    CLI_NEW = 1,
    CLI_FIT = 2,
    CLI_EVALUATE = 4,
    CLI_PREDICT = 8,
    CLI_SUMMARY = 16,
    CLI_PLAN = 32,
    CLI_DOCTOR = 64,
    CLI_GENERATE = 128,
    CLI_CONVERT = 256,
    CLI_PREPARE = 512,
    CLI_ALL = 1023
};

/* Parses argv for `command` (a CLI_…): options into the values of `a`, the other words into its
 * words, which it moves to the front of argv. Returns 0, or the exit status after an error message.
 */
int cli_read(arguments *a, int command, int argc, char **argv);
/* Prints the options of `command`, in groups. */
void cli_options_help(FILE *to, int command);

#endif
