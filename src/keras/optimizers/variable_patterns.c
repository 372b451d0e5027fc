/* variable_patterns: patterns in the configs of optimizers. Keras reads them as Python regular
 * expressions; quern supports the syntax that has the same meaning in POSIX. Files can contain any
 * pattern, so length and back references are limited. */
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
        if (*p == '{' || (p[0] == '\\' && isalnum((unsigned char)p[1])) ||
            (p[0] == '(' && p[1] == '?'))
            return "has {, an escaped letter or (?, which are not in this version";
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
        return quern__fail(err, QUERN_INVALID, NULL, "'%.60s' is not a pattern", pattern);
    int found = regexec(&expression, text, 1, &match, 0) == 0;
    regfree(&expression);
    return found;
}
