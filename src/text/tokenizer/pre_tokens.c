/* Splits a text into pre-tokens, by GPT-2's pattern,
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * or by the later pattern of models since GPT-4 (QUERN__LATER_PATTERN), which limits the digits
 * of a number.
 * Invalid UTF-8 bytes count as signs. A run ends before it exceeds QUERN_PIECE_BYTES, and before
 * an added token. */
#include "tokenizer.h"

#include <string.h>
#include <utf8proc.h>

enum {
    SIGN,
    LETTER,
    NUMBER,
    SPACE,
    CUT,
    END
}; /* CUT: more text is needed. END: the end of the text, or an added token */

/* The class of a code point. */
static int class_of(uint32_t c)
{
    if (c < 0x80) { /* unsigned differences: one comparison tests a range */
        if ((c | 32) - 'a' < 26)
            return LETTER;
        if (c - '0' < 10)
            return NUMBER;
        return c == ' ' || c - 9 < 5 ? SPACE : SIGN;
    }
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return NUMBER;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return SPACE;
    default:
        return c == 0x85
                   ? SPACE
                   : SIGN; /* "next line" is a control character that the pattern counts as space */
    }
}

/* Finds the longest added token at the start of the text. Returns its id; -1: none; -2: more
 * text is needed. */
static int32_t added_at(const quern_tokenizer *t, const char *text, size_t n, bool final)
{
    int32_t found = -1;
    size_t longest = 0;
    int first = (uint8_t)*text;
    for (int32_t i = t->added_from[first]; i < t->added_from[first + 1]; i++) {
        size_t length;
        const char *token = quern_tokenizer_token(t, t->added[i], &length);
        if (length > n) {
            if (!final && !memcmp(token, text, n))
                return -2;
        } else if (length > longest && !memcmp(token, text, length)) {
            found = t->added[i];
            longest = length;
        }
    }
    return found;
}

/* The text at which a pre-token begins. */
typedef struct view {
    const quern_tokenizer *t; /* NULL: without added tokens */
    const char *text;
    size_t n;
    bool final;
} view;

/* The class of the character at `at`, and its length in bytes. */
static int class_at(const view *v, size_t at, size_t *length)
{
    const char *text = v->text + at;
    uint32_t c;
    if (at == v->n)
        return v->final ? END : CUT;
    if (v->t && v->t->n_added) {
        int32_t id = added_at(v->t, text, v->n - at, v->final);
        if (id != -1)
            return id < 0 ? CUT : END;
    }
    int got = quern__utf8_read(text, v->n - at, &c);
    *length = got > 0 ? (size_t)got : 1;
    return got > 0 ? class_of(c) : got == 0 && !v->final ? CUT : SIGN;
}

/* Whether the ASCII letters `end` are at `at`. `fold`: in either case; U+017F is then an s.
 * *length: bytes of the match. */
static bool ends_with(const view *v, size_t at, const char *end, bool fold, size_t *length)
{
    size_t from = at;
    for (; *end; end++, at++) {
        if (fold && *end == 's' && v->n - at >= 2 && !memcmp(v->text + at, "\xc5\xbf", 2))
            at++;
        else if (at == v->n || (v->text[at] != *end && !(fold && v->text[at] == *end - 32)))
            return false;
    }
    *length = at - from;
    return true;
}

/* The length of a contraction ('s, 're …) at the start; 0: none; 1: more text is needed. */
static size_t contraction(const view *v, bool fold)
{
    static const char *const ends[] = { "s", "t", "m", "d", "re", "ve", "ll" };
    size_t length, more;
    if (*v->text != '\'')
        return 0;
    if (v->n < 3 && !v->final)
        return 1;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        if (!ends_with(v, 1, ends[i], fold, &more))
            continue;
        for (size_t k = 1; k <= more; k++) {
            int class = class_at(v, k, &length);
            if (class >= CUT)
                return class == CUT;
        }
        return more + 1;
    }
    return 0;
}

/* The end of a run of one class from `at` on. *next is the class after it (the same class if the
 * run exceeds the limit), *last the length of its last character. */
static size_t class_run(const view *v, size_t at, int class, int *next, size_t *last)
{
    size_t length = 0;
    while ((*next = class_at(v, at, &length)) == class && at + length <= QUERN_PIECE_BYTES) {
        at += length;
        *last = length;
    }
    return at;
}

/* ---- GPT-2's pattern, after contractions ---- */

/* The length of the pre-token at the start; 0: more text is needed. */
static size_t gpt2_piece(const view *v)
{
    size_t length = 0, last = 0, at = 0;
    int next, class = class_at(v, 0, &length);
    if (class == SPACE &&
        *v->text ==
            ' ') { /* a space belongs to the following run, unless that is white space or the end */
        next = class_at(v, 1, &length);
        if (next == CUT)
            return 0;
        if (next < SPACE) {
            class = next;
            at = 1;
        }
    }
    if (class == CUT)
        return 0;
    at = class_run(v, at, class, &next, &last);
    if (next == CUT)
        return 0;
    /* the last of several spaces belongs to the following word */
    return class == SPACE && next < SPACE && at > last ? at - last : at;
}

/* ---- the later pattern (QUERN__LATER_PATTERN) ---- */

static bool is_line_end(char c) { return c == '\r' || c == '\n'; }

/* White space at the start: up to its last line end, else without its last space if a word
 * follows. */
static size_t later_space(const view *v)
{
    size_t last = 0;
    int next;
    size_t end = class_run(v, 0, SPACE, &next, &last), line = end;
    if (next == CUT)
        return 0;
    while (line > 0 && !is_line_end(v->text[line - 1]))
        line--;
    return line ? line : next < SPACE && end > last ? end - last : end;
}

/* Signs from `at` on, with the line ends after them. */
static size_t later_signs(const view *v, size_t at)
{
    size_t last, length = 0;
    int next;
    at = class_run(v, at, SIGN, &next, &last);
    while (next == SPACE && is_line_end(v->text[at]) && at < QUERN_PIECE_BYTES)
        next = class_at(v, ++at, &length);
    return next == CUT ? 0 : at;
}

static size_t later_numbers(const view *v)
{
    size_t at = 0, length = 0;
    int class = NUMBER;
    for (int i = 0; i < v->t->digits && (class = class_at(v, at, &length)) == NUMBER; i++)
        at += length;
    return class == CUT ? 0 : at;
}

/* The same for the later pattern. */
static size_t later_piece(const view *v)
{
    size_t length = 0, ignored = 0, last;
    int class = class_at(v, 0, &length), next = LETTER;
    if (class == NUMBER)
        return later_numbers(v);
    if (class == CUT)
        return 0;
    if (class != LETTER) { /* one character that is not a number or line end belongs to the
                              following letters */
        next = is_line_end(*v->text) ? SPACE : class_at(v, length, &ignored);
        if (next == CUT)
            return 0;
    }
    if (next == LETTER) {
        size_t end = class_run(v, class == LETTER ? 0 : length, LETTER, &next, &last);
        return next == CUT ? 0 : end;
    }
    /* a space before signs belongs to them */
    if (class == SIGN || (*v->text == ' ' && next == SIGN))
        return later_signs(v, class == SIGN ? 0 : 1);
    return later_space(v);
}

size_t quern__pre_token_length(const quern_tokenizer *t, const char *text, size_t n, bool final,
                               int32_t *added)
{
    view v = { t, text, n, final };
    bool later = t && t->digits;
    *added = -1;
    if (t && t->n_added && (*added = added_at(t, text, n, final)) != -1) {
        size_t size = 0;
        if (*added >= 0)
            quern_tokenizer_token(t, *added, &size);
        return size;
    }
    size_t short_form = contraction(&v, later);
    if (short_form)
        return short_form > 1 ? short_form : 0;
    return later ? later_piece(&v) : gpt2_piece(&v);
}
