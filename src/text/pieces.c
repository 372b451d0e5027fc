/* The pieces into which GPT-2 cuts a text before it merges bytes:
 *   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * Bytes that are no UTF-8 count as signs. A run ends where the next character would take it over QUERN_PIECE_BYTES, and before a
 * token that is looked for first. */
#include "text/tokenizer.h"

#include <string.h>
#include <utf8proc.h>

enum { SIGN, LETTER, NUMBER, SPACE, CUT, END }; /* CUT: not all here yet. END: of the text, or a token that is looked for first */

static int class_of(uint32_t c)
{
    if (c < 0x80)
        return (c | 32) - 'a' < 26 ? LETTER : c - '0' < 10 ? NUMBER : c == ' ' || c - 9 < 5 ? SPACE : SIGN;
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
        return c == 0x85 ? SPACE : SIGN; /* "next line", a control that the pattern counts as space */
    }
}

/* Looks for a token that goes before all pieces: its id, -1 for none, -2 when the text ends within what may be one. The longest
 * wins. */
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

/* The class of the character at the start of the text, and its length. */
static int next_class(const quern_tokenizer *t, const char *text, size_t n, bool final, size_t *length)
{
    uint32_t c;
    if (!n)
        return final ? END : CUT;
    if (t && t->n_added) {
        int32_t id = added_at(t, text, n, final);
        if (id != -1)
            return id < 0 ? CUT : END;
    }
    int got = quern__utf8_read(text, n, &c);
    *length = got > 0 ? (size_t)got : 1;
    return got > 0 ? class_of(c) : got == 0 && !final ? CUT : SIGN;
}

/* Length of a contraction ('s, 're …) at the start, 0 for none, 1 when it is not all here. */
static size_t contraction(const quern_tokenizer *t, const char *text, size_t n, bool final)
{
    static const char *const ends[] = { "s", "t", "m", "d", "re", "ve", "ll" };
    size_t length;
    if (*text != '\'')
        return 0;
    if (n < 3 && !final)
        return 1;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t more = strlen(ends[i]);
        if (n <= more || memcmp(text + 1, ends[i], more))
            continue;
        for (size_t k = 1; k <= more; k++) {
            int class = next_class(t, text + k, n - k, final, &length);
            if (class >= CUT)
                return class == CUT;
        }
        return more + 1;
    }
    return 0;
}

/* The run of one class from `at` on, whose first character is there: where it ends. *next gets the class behind it, which is that
 * of the run itself where it had to be cut, and *last the length of its last character. */
static size_t run_of(const quern_tokenizer *t, const char *text, size_t at, size_t n, bool final, int class, int *next,
                     size_t *last)
{
    size_t length = 0;
    while ((*next = next_class(t, text + at, n - at, final, &length)) == class && at + length <= QUERN_PIECE_BYTES) {
        at += length;
        *last = length;
    }
    return at;
}

size_t quern__piece(const quern_tokenizer *t, const char *text, size_t n, bool final, int32_t *added)
{
    size_t length = 0, last = 0, at = 0;
    int next;
    *added = -1;
    if (t && t->n_added && (*added = added_at(t, text, n, final)) != -1) {
        size_t size = 0;
        if (*added >= 0)
            quern_tokenizer_token(t, *added, &size);
        return size;
    }
    size_t short_form = contraction(t, text, n, final);
    if (short_form)
        return short_form > 1 ? short_form : 0;
    int class = next_class(t, text, n, final, &length);
    if (class == SPACE && *text == ' ') { /* it goes with what follows, unless that is more space, or nothing */
        next = next_class(t, text + 1, n - 1, final, &length);
        if (next == CUT)
            return 0;
        if (next < SPACE) {
            class = next;
            at = 1;
        }
    }
    if (class == CUT)
        return 0;
    at = run_of(t, text, at, n, final, class, &next, &last);
    if (next == CUT)
        return 0;
    /* the last of several spaces goes with the word behind them */
    return class == SPACE && next < SPACE && at > last ? at - last : at;
}
