/* Helpers of the tests of shuffled records: whether each came once, and the reported shuffle
 * quality. */
#ifndef QUERN_TESTS_SHUFFLING_H
#define QUERN_TESTS_SHUFFLING_H

#include "check.h"

#include <quern/quern.h>
#include <stdbool.h>
#include <stdlib.h>

/* Whether the numbers are a permutation of 0 … n-1. */
static inline bool each_once(const int32_t *numbers, int n)
{
    char *seen = calloc((size_t)n + 1, 1);
    bool once = true;
    for (int i = 0; i < n; i++) {
        once = once && numbers[i] >= 0 && numbers[i] < n && !seen[numbers[i]];
        if (once)
            seen[numbers[i]] = 1;
    }
    free(seen);
    return once;
}

/* The reported index of dispersion (0: no report), and the number of warnings. */
static double said;
static int warnings;

static inline void hear(void *user, int level, const char *text)
{
    (void)user;
    const char *number = strstr(text, "index of dispersion is ");
    if (number) {
        said = atof(number + strlen("index of dispersion is "));
        warnings += level == 1;
    }
}

/* Resets both and starts to listen. */
static inline void hear_dispersion(void)
{
    said = warnings = 0;
    quern_set_log(hear, NULL);
}

#endif
