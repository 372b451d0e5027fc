/* The pieces into which a text is cut before bytes merge: those of GPT-2's pattern,
 *   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * or those of the later one that models since GPT-4 share, but for how many digits stay together.
 * Bytes that are no UTF-8 count as signs. A run ends where the next character would take it over QUERN_PIECE_BYTES, and before a
 * token that is looked for first. */
#include "tokenizer.h"

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

/* What a piece is cut from. */
typedef struct view {
    const quern_tokenizer *t; /* NULL: no tokens are looked for first */
    const char *text;
    size_t n;
    bool final;
} view;

/* The class of the character at `at`, and its length. */
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

/* Whether the ASCII letters `end` stand at `at`, in either case where `fold` says so: U+017F is an s then. *length: how many bytes.
 */
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

/* Length of a contraction ('s, 're …) at the start, 0 for none, 1 when it is not all here. */
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

/* The run of one class from `at` on: where it ends. *next gets the class behind it, which is that of the run itself where it had to
 * be cut, and *last the length of its last character. */
static size_t run_of(const view *v, size_t at, int class, int *next, size_t *last)
{
    size_t length = 0;
    while ((*next = class_at(v, at, &length)) == class && at + length <= QUERN_PIECE_BYTES) {
        at += length;
        *last = length;
    }
    return at;
}

/* ---- GPT-2's pattern, the contractions of which have been looked for ---- */

static size_t piece_of_gpt2(const view *v)
{
    size_t length = 0, last = 0, at = 0;
    int next, class = class_at(v, 0, &length);
    if (class == SPACE && *v->text == ' ') { /* it goes with what follows, unless that is more space, or nothing */
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
    at = run_of(v, at, class, &next, &last);
    if (next == CUT)
        return 0;
    /* the last of several spaces goes with the word behind them */
    return class == SPACE && next < SPACE && at > last ? at - last : at;
}

/* ---- the later pattern (QUERN__LATER_PATTERN) ---- */

static bool is_line_end(char c) { return c == '\r' || c == '\n'; }

/* White space from the start: up to its last line end, or without the last space if something follows. */
static size_t later_space(const view *v)
{
    size_t last = 0;
    int next;
    size_t end = run_of(v, 0, SPACE, &next, &last), line = end;
    if (next == CUT)
        return 0;
    while (line > 0 && !is_line_end(v->text[line - 1]))
        line--;
    return line ? line : next < SPACE && end > last ? end - last : end;
}

/* Signs from `at` on, and the line ends behind them. */
static size_t later_signs(const view *v, size_t at)
{
    size_t last, length = 0;
    int next;
    at = run_of(v, at, SIGN, &next, &last);
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

static size_t later_piece(const view *v)
{
    size_t length = 0, ignored = 0, last;
    int class = class_at(v, 0, &length), next = LETTER;
    if (class == NUMBER)
        return later_numbers(v);
    if (class == CUT)
        return 0;
    if (class != LETTER) { /* any one character but a number or a line end goes with the letters behind it */
        next = is_line_end(*v->text) ? SPACE : class_at(v, length, &ignored);
        if (next == CUT)
            return 0;
    }
    if (next == LETTER) {
        size_t end = run_of(v, class == LETTER ? 0 : length, LETTER, &next, &last);
        return next == CUT ? 0 : end;
    }
    if (class == SIGN || (*v->text == ' ' && next == SIGN))
        return later_signs(v, class == SIGN ? 0 : 1);
    return later_space(v);
}

size_t quern__pre_token_length(const quern_tokenizer *t, const char *text, size_t n, bool final, int32_t *added)
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
    return later ? later_piece(&v) : piece_of_gpt2(&v);
}
