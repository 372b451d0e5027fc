/* Words, as in Keras's TextVectorization by default: only ASCII rules, so "Über" and "über" are
 * two words. */
#include "tokenizer.h"

/* The 32 ASCII punctuation characters, independent of the locale. */
static bool is_sign(char c)
{
    return (c > ' ' && c < '0') || (c > '9' && c < 'A') || (c > 'Z' && c < 'a') ||
           (c > 'z' && c < 0x7f);
}

size_t quern__word_next(const char *text, size_t n, bool final, size_t *skip)
{
    size_t from = 0, to;
    while (from < n && quern__is_space(text[from]))
        from++;
    for (to = from; to < n && to - from < QUERN_PIECE_BYTES && !quern__is_space(text[to]);)
        to++;
    *skip = from;
    return to == n && !final && to - from < QUERN_PIECE_BYTES ? 0 : to - from;
}

size_t quern__word_clean(const char *word, size_t n, bool lower, bool strip, char *out)
{
    size_t length = 0;
    for (size_t i = 0; i < n; i++) {
        char c = word[i];
        if (strip && is_sign(c))
            continue;
        out[length++] = lower && c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    return length;
}

int64_t quern__word_encode(const quern_tokenizer *t, const char *text, size_t n, bool final,
                           int32_t *ids, int64_t room, size_t *used, quern_error *err)
{
    char clean[QUERN_PIECE_BYTES];
    int64_t count = 0;
    size_t at = 0, skip, length;
    while ((length = quern__word_next(text + at, n - at, final, &skip)) > 0) {
        size_t kept = quern__word_clean(text + at + skip, length, t->lower, t->strip, clean);
        if (kept && count == room)
            return quern__encoded(count, at, used, 1, room, err);
        at += skip + length;
        if (!kept)
            continue;
        int64_t found = quern__strings_find(&t->tokens, clean, kept);
        ids[count++] = found >= 0 ? (int32_t)t->tokens.items[found].count : 1;
    }
    /* white space is consumed even if the word after it is incomplete */
    return quern__encoded(count, at + skip, used, 0, room, err);
}
