/* options: the table of options, and how the words of the command line are read by it. */
#ifndef QUERN_CLI_OPTIONS_H
#define QUERN_CLI_OPTIONS_H

#include "cli.h"

/* A letter for each command: those that an option applies to. */
enum { N = 1, F = 2, E = 4, P = 8, S = 16, L = 32, D = 64, G = 128, C = 256, Q = 512, ALL = 1023 };

/* Reads options into the values of `a` and leaves the other words, which move to the front of argv, as its words. Returns 0, or the
 * exit code after printing. */
int cli_read(arguments *a, int letter, int argc, char **argv);
/* A line for each option of a command. */
void cli_options_help(FILE *to, int letter);

#endif
