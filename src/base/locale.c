/* locale: numbers as text in the C locale, so that a program's locale with a decimal comma has no
 * effect. */
#include "base.h"

#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static locale_t c_locale; /* lives until the program ends; 0: creation failed, and the program's
                             locale is used */

static void make(void) { c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); }

double quern__strtod(const char *text, char **end)
{
    pthread_once(&once, make);
    return c_locale ? strtod_l(text, end, c_locale) : strtod(text, end);
}

float quern__strtof(const char *text, char **end)
{
    pthread_once(&once, make);
    return c_locale ? strtof_l(text, end, c_locale) : strtof(text, end);
}

int quern__vformat(char *out, size_t size, const char *format, va_list args)
{
    pthread_once(&once, make);
    locale_t before = c_locale ? uselocale(c_locale) : (locale_t)0;
    int n = vsnprintf(out, size, format, args);
    if (before)
        uselocale(before);
    return n;
}

int quern__format(char *out, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = quern__vformat(out, size, format, args);
    va_end(args);
    return n;
}
