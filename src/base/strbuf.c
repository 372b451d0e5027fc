/* strbuf: growing strings, nearest names, and numbers in text. */
#include "base.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ensures capacity for `more` bytes and a terminating 0. */
static bool reserve(quern__text *t, size_t more)
{
    size_t need = t->length + more + 1;
    if (t->failed)
        return false;
    if (need <= t->capacity)
        return true;
    size_t capacity = need * 2;
    char *data = quern__realloc(t->data, capacity);
    if (!data) {
        t->failed = true;
        return false;
    }
    t->data = data;
    t->capacity = capacity;
    return true;
}

void quern__text_add_bytes(quern__text *t, const char *bytes, size_t n)
{
    if (!reserve(t, n))
        return;
    memcpy(t->data + t->length, bytes, n);
    t->length += n;
    t->data[t->length] = 0;
}

void quern__text_append(quern__text *t, const quern__text *from)
{
    t->failed = t->failed || from->failed;
    quern__text_add_bytes(t, from->data ? from->data : "", from->length);
}

void quern__text_add(quern__text *t, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = quern__vformat(NULL, 0, format, args);
    if (n >= 0 && reserve(t, (size_t)n)) {
        quern__vformat(t->data + t->length, (size_t)n + 1, format, again);
        t->length += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

void quern__text_free(quern__text *t)
{
    quern__free(t->data);
    *t = (quern__text){ 0 };
}

size_t quern__word_length(const char *p)
{
    size_t n = 0;
    while (p[n] && p[n] != ' ')
        n += p[n] == '\\' && p[n + 1] ? 2 : 1;
    return n;
}

void quern__word_plain(char *word)
{
    char *to = word;
    for (const char *p = word; *p; p++) {
        p += *p == '\\' && p[1];
        *to++ = *p;
    }
    *to = 0;
}

static const char *next_letter(const char *s)
{
    while (*s == '_' || *s == '-')
        s++;
    return s;
}

bool quern__same_name(const char *a, const char *b)
{
    for (;; a++, b++) {
        a = next_letter(a);
        b = next_letter(b);
        if (tolower((unsigned char)*a) != tolower((unsigned char)*b))
            return false;
        if (!*a)
            return true;
    }
}

/* Levenshtein distance without case, for names of at most 63 characters. */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b), row[64];
    if (n > 63 || m > 63)
        return 64;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t change =
                diagonal + (tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]));
            size_t least = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            diagonal = row[j];
            row[j] = change < least ? change : least;
        }
    }
    return row[m];
}

const char *quern__nearest(const char *name, const void *names, size_t count, size_t stride)
{
    const char *best = NULL;
    size_t least = strlen(name) / 3 + 2;
    for (size_t i = 0; i < count; i++) {
        const char *candidate;
        memcpy(&candidate, (const char *)names + i * stride, sizeof candidate);
        if (!candidate)
            continue;
        size_t d = distance(name, candidate);
        if (d < least) {
            least = d;
            best = candidate;
        }
    }
    return best;
}

bool quern__parse_number(const char *text, double *out)
{
    char *end;
    if (isspace((unsigned char)*text))
        return false;
    double value = quern__strtod(text, &end);
    if (end == text)
        return false;
    if (*end == '/' && end[1] && !isspace((unsigned char)end[1])) {
        const char *below = end + 1;
        double divisor = quern__strtod(below, &end);
        if (end == below || divisor == 0)
            return false;
        value /= divisor;
    }
    if (*end || !isfinite(value))
        return false;
    *out = value;
    return true;
}

const char *quern_nearest(const char *name, const char *const *names, size_t count)
{
    return name && names ? quern__nearest(name, names, count, sizeof *names) : NULL;
}
