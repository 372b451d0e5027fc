/* Patterns in the configs of optimizers, which Python reads as regular expressions: what both it and POSIX mean alike. Files hold
 * them, so they are short and repeat nothing by number. */
#include "optimizers.h"

#include <ctype.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>

enum { longest = 200 };

static const char *unfit(const char *pattern)
{
    if (strlen(pattern) > longest)
        return "is too long";
    for (const char *p = pattern; *p; p++)
        if (*p == '{' || (p[0] == '\\' && isalnum((unsigned char)p[1])) || (p[0] == '(' && p[1] == '?'))
            return "holds {, an escaped letter or (?, which are not in this version";
    return NULL;
}

int quern__pattern_fits(const char *pattern, const char *text, bool whole, quern_error *err)
{
    const char *why = unfit(pattern);
    regex_t expression;
    regmatch_t match;
    if (why)
        return quern__fail(err, QUERN_UNSUPPORTED, NULL, "the pattern '%.60s' %s", pattern, why);
    char framed[longest + 8];
    snprintf(framed, sizeof framed, whole ? "^(%s)$" : "%s", pattern);
    if (regcomp(&expression, framed, REG_EXTENDED))
        return quern__fail(err, QUERN_INVALID, NULL, "'%.60s' is no pattern", pattern);
    int found = regexec(&expression, text, 1, &match, 0) == 0;
    regfree(&expression);
    return found;
}
