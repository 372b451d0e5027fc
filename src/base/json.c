/* json: a recursive-descent parser: one function per kind of value, which moves `p` after the
 * value. */
#include "json.h"
#include "utf8.h"

#include <errno.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>

enum { most_depth = 2048 };

typedef struct reader {
    const char *p, *end;
    int line, depth;
    const char *why;     /* the error; NULL without a value: out of memory */
    quern__text scratch; /* for a string or a number */
} reader;

static json_t *read_value(reader *r);

/* Sets the error unless there is one. */
static bool json_fail(reader *r, const char *why)
{
    r->why = r->why ? r->why : why;
    return false;
}

static void skip_blanks(reader *r)
{
    for (; r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r');
         r->p++)
        r->line += *r->p == '\n';
}

/* Skips blanks and the byte c. Returns false when another byte follows. */
static bool json_skip_byte(reader *r, char c)
{
    skip_blanks(r);
    bool there = r->p < r->end && *r->p == c;
    r->p += there;
    return there;
}

/* Four hexadecimal digits; -1: other characters. */
static int32_t four_digits(reader *r)
{
    int32_t value = 0;
    for (int i = 0; i < 4; i++, r->p++) {
        const char *digits = "0123456789abcdefABCDEF",
                   *at = r->p < r->end && *r->p ? strchr(digits, *r->p) : NULL;
        if (!at)
            return -1;
        value = value << 4 | (int32_t)(at - digits > 15 ? at - digits - 6 : at - digits);
    }
    return value;
}

/* Reads the character after "\u", with a second one for a surrogate pair. */
static bool read_unicode(reader *r)
{
    char bytes[4];
    int32_t c = four_digits(r);
    if (c >= 0xd800 && c < 0xdc00 && r->end - r->p > 2 && r->p[0] == '\\' && r->p[1] == 'u') {
        r->p += 2;
        int32_t low = four_digits(r);
        c = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00) : -1;
    }
    if (c < 0 || (c >= 0xd800 && c < 0xe000))
        return json_fail(r, "\\u without a valid character");
    if (c == 0)
        return json_fail(r, "\\u0000 is not allowed");
    quern__text_add_bytes(&r->scratch, bytes, (size_t)quern__utf8_write((uint32_t)c, bytes));
    return true;
}

/* Reads an escape sequence into the scratch buffer. */
static bool read_escape(reader *r)
{
    static const char named[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    char c = ++r->p < r->end ? *r->p : 0;
    const char *at = c ? strchr(named, c) : NULL;
    r->p += r->p < r->end;
    if (c == 'u')
        return read_unicode(r);
    if (!at)
        return json_fail(r, "a backslash without a valid escape");
    quern__text_add_bytes(&r->scratch, meant + (at - named), 1);
    return true;
}

/* Reads a string after its opening quote into the scratch buffer. */
static bool read_text(reader *r)
{
    r->scratch.length = 0;
    quern__text_add_bytes(&r->scratch, "", 0);
    while (!r->scratch.failed) {
        const char *from = r->p;
        while (r->p < r->end && *r->p != '"' && *r->p != '\\' && (unsigned char)*r->p >= 0x20)
            r->p++;
        quern__text_add_bytes(&r->scratch, from, (size_t)(r->p - from));
        if (r->p == r->end)
            return json_fail(r, "the text ends inside a string");
        if (*r->p == '"')
            break;
        if (*r->p != '\\')
            return json_fail(r, "a control character in a string");
        if (!read_escape(r))
            return false;
    }
    r->p++;
    if (!r->scratch.failed && !quern__utf8_valid(r->scratch.data, r->scratch.length))
        return json_fail(r, "invalid UTF-8 in a string");
    return !r->scratch.failed;
}

static size_t digits(reader *r)
{
    const char *from = r->p;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
        r->p++;
    return (size_t)(r->p - from);
}

/* Skips a number. Returns whether it is valid; `real`: it has a point or an exponent. */
static bool number_form(reader *r, bool *real)
{
    r->p += *r->p == '-';
    bool zero = r->p < r->end && *r->p == '0';
    size_t whole = digits(r);
    bool good = whole == 1 || (whole && !zero);
    if (r->p < r->end && *r->p == '.') {
        r->p++;
        *real = true;
        good = digits(r) > 0 && good;
    }
    if (r->p < r->end && (*r->p == 'e' || *r->p == 'E')) {
        r->p++;
        r->p += r->p < r->end && (*r->p == '-' || *r->p == '+');
        *real = true;
        good = digits(r) > 0 && good;
    }
    return good;
}

/* Reads an integer (64 bits) or a double, in the C locale. Returns new; NULL on failure. */
static json_t *read_number(reader *r)
{
    const char *from = r->p;
    bool real = false, good = number_form(r, &real);
    r->scratch.length = 0;
    quern__text_add_bytes(&r->scratch, from, (size_t)(r->p - from));
    if (!good)
        json_fail(r, "an invalid number");
    if (!good || r->scratch.failed)
        return NULL;
    int before = errno;
    errno = 0;
    double v = real ? quern__strtod(r->scratch.data, NULL) : 0;
    long long whole = real ? 0 : strtoll(r->scratch.data, NULL, 10);
    bool fits = real ? v - v == 0 : errno != ERANGE;
    errno = before;
    if (!fits) {
        json_fail(r, real ? "a number exceeds the range of double" : "an integer exceeds 64 bits");
        return NULL;
    }
    return real ? json_real(v) : json_integer(whole);
}

/* The word of Python for an infinite number, which is not JSON. jansson's values are finite, so it
 * becomes the largest double, whose float32 is infinite. */
static const char infinity[] = "Infinity", largest[] = "1.7976931348623157e308";

/* Reads true, false, null, or an infinite number. Returns new; NULL on failure. */
static json_t *read_word(reader *r)
{
    bool negative = r->p < r->end && *r->p == '-';
    size_t sign = negative ? 1 : 0, n = sizeof infinity - 1;
    if ((size_t)(r->end - r->p) >= sign + n && !memcmp(r->p + sign, infinity, n)) {
        r->p += sign + n;
        return json_real(negative ? -DBL_MAX : DBL_MAX);
    }
    static const struct {
        const char *name;
        size_t n;
        json_t *(*make)(void);
    } words[] = { { "true", 4, json_true }, { "false", 5, json_false }, { "null", 4, json_null } };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if ((size_t)(r->end - r->p) >= words[i].n && !memcmp(r->p, words[i].name, words[i].n)) {
            r->p += words[i].n;
            return words[i].make();
        }
    bool nan = r->end - r->p >= 3 && !memcmp(r->p, "NaN", 3);
    json_fail(r, nan             ? "NaN is not in this version"
                 : r->p < r->end ? "expected a value"
                                 : "the text ends where a value is expected");
    return NULL;
}

/* Reads a key and its value. */
static bool read_member(reader *r, json_t *object)
{
    if (!json_skip_byte(r, '"'))
        return json_fail(r, "expected a key in quotes");
    char *key = read_text(r) ? quern__strdup(r->scratch.data) : NULL;
    json_t *value = NULL;
    if (key && json_object_get(object, key))
        json_fail(r, "a key occurs twice in an object");
    else if (key && !json_skip_byte(r, ':'))
        json_fail(r, "expected ':' after a key");
    else if (key)
        value = read_value(r);
    bool good = value && json_object_set_new_nocheck(object, key, value) == 0;
    quern__free(key);
    return good;
}

static bool read_element(reader *r, json_t *array)
{
    json_t *value = read_value(r);
    return value && json_array_append_new(array, value) == 0;
}

/* Reads the elements of an array or object after its opening bracket. Takes `into`; returns it, or
 * NULL. */
static json_t *read_many(reader *r, json_t *into, char end, bool (*one)(reader *r, json_t *into))
{
    bool good = into != NULL;
    if (good && !json_skip_byte(r, end)) {
        do
            good = one(r, into);
        while (good && json_skip_byte(r, ','));
        if (good && !json_skip_byte(r, end))
            good = json_fail(r, end == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
    }
    if (good)
        return into;
    json_decref(into);
    return NULL;
}

/* Reads any value, within the limit of nesting. Returns new; NULL on failure. */
static json_t *read_value(reader *r)
{
    json_t *out = NULL;
    skip_blanks(r);
    char c = r->p < r->end ? *r->p : 0;
    if (++r->depth > most_depth)
        json_fail(r, "values are nested more than 2048 deep");
    else if (c == '{' || c == '[') {
        r->p++;
        out = c == '{' ? read_many(r, json_object(), '}', read_member)
                       : read_many(r, json_array(), ']', read_element);
    } else if (c == '"') {
        r->p++;
        out = read_text(r) ? json_string_nocheck(r->scratch.data) : NULL;
    } else
        out = (c == '-' && !(r->p + 1 < r->end && r->p[1] == *infinity)) || (c >= '0' && c <= '9')
                  ? read_number(r)
                  : read_word(r);
    r->depth--;
    return out;
}

json_t *quern__json_read(const char *text, size_t n, const char *where, const char *what,
                         quern_error *err)
{
    reader r = { .p = text, .end = text + n, .line = 1 };
    json_t *out = read_value(&r);
    skip_blanks(&r);
    if (out && r.p < r.end) {
        json_fail(&r, "unexpected text after the value");
        json_decref(out);
        out = NULL;
    }
    quern__text_free(&r.scratch);
    if (!out && r.why)
        quern__fail(err, QUERN_FORMAT, where, "%s%sline %d: %s", what ? what : "", what ? ", " : "",
                    r.line, r.why);
    else if (!out)
        quern__fail(err, QUERN_NOMEM, where, "out of memory");
    return out;
}

bool quern__json_is(const json_t *v, const char *text)
{
    json_t *value = quern__json_read(text, strlen(text), "json", NULL, NULL);
    bool same = value && json_equal(v, value);
    json_decref(value);
    return same;
}

/* Writes infinite numbers as Python does. The text becomes shorter. */
static void write_infinity(char *text)
{
    bool inside = false;
    char *to = text;
    for (const char *p = text; *p;) {
        bool escape = inside && *p == '\\' && p[1];
        if (*p == '"')
            inside = !inside;
        if (!inside && !strncmp(p, largest, sizeof largest - 1)) {
            memcpy(to, infinity, sizeof infinity - 1);
            to += sizeof infinity - 1;
            p += sizeof largest - 1;
            continue;
        }
        *to++ = *p++;
        if (escape)
            *to++ = *p++;
    }
    *to = 0;
}

char *quern__json_text(const json_t *value, size_t flags)
{
    char *text =
        value && !quern__memory_short() ? json_dumps(value, flags | JSON_ENCODE_ANY) : NULL;
    if (!text || !quern__memory_short()) {
        if (text && strstr(text, largest))
            write_infinity(text);
        return text;
    }
    free(text); /* jansson omits a key when memory runs out */
    return NULL;
}
