/* The functions that all kinds of tokenizers share. */
#include "tokenizer.h"

#include <string.h>

quern_tokenizer *quern__tokenizer_new(int kind, int64_t size, quern_error *err)
{
    if (size < 0 || size > QUERN__MOST_TOKENS) {
        quern__fail(err, QUERN_NOMEM, NULL, "%lld tokens exceed %d", (long long)size,
                    QUERN__MOST_TOKENS);
        return NULL;
    }
    quern_tokenizer *t = quern__zalloc(1, sizeof *t);
    if (t && !(t->string_of = quern__alloc((size_t)size * sizeof *t->string_of))) {
        quern__free(t);
        t = NULL;
    }
    if (!t) {
        quern__fail_memory(err, sizeof *t + (size_t)size * sizeof *t->string_of);
        return NULL;
    }
    t->kind = kind;
    t->size = size;
    t->first_byte = -1;
    memset(t->string_of, 0xff, (size_t)size * sizeof *t->string_of);
    return t;
}

int quern__tokenizer_set(quern_tokenizer *t, int64_t id, const char *bytes, size_t n,
                         quern_error *err)
{
    if (id < 0 || id >= t->size || t->string_of[id] >= 0)
        return quern__fail(err, QUERN_FORMAT, NULL, "id %lld has two tokens, or is out of range",
                           (long long)id);
    int64_t before = t->tokens.n, number = quern__strings_add(&t->tokens, bytes, n, err);
    if (number < 0)
        return (int)number;
    if (number == before) /* of several ids with the same bytes the first is used */
        t->tokens.items[number].count = id;
    t->string_of[id] = (int32_t)number;
    return QUERN_OK;
}

void quern_tokenizer_free(quern_tokenizer *t)
{
    if (!t)
        return;
    quern__strings_free(&t->tokens);
    quern__free(t->string_of);
    quern__free(t->pages);
    quern__free(t->ids);
    quern__free(t->merges);
    quern__free(t->products);
    quern__free(t->added);
    quern__free(t);
}

int64_t quern_tokenizer_size(const quern_tokenizer *t) { return t ? t->size : 0; }

const char *quern_tokenizer_kind(const quern_tokenizer *t)
{
    static const char *const names[] = { "char", "word", "bpe" };
    return t ? names[t->kind] : NULL;
}

int64_t quern_tokenizer_encode(const quern_tokenizer *t, const char *text, size_t bytes, int final,
                               int32_t *ids, int64_t room, size_t *used, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "tokenizer", t, "text", bytes ? text : "", "ids",
                 room > 0 ? (const void *)ids : "", "used", used);
    static int64_t (*const encode[])(
        const quern_tokenizer *, const char *, size_t, bool, int32_t *, int64_t, size_t *,
        quern_error *) = { quern__char_encode, quern__word_encode, quern__bpe_encode };
    *used = 0;
    return encode[t->kind](t, text, bytes, final, ids, room, used, err);
}

int64_t quern__encoded(int64_t count, size_t at, size_t *used, int64_t needed, int64_t room,
                       quern_error *err)
{
    if (at == 0 && needed > room)
        return quern__fail(err, QUERN_INVALID, NULL,
                           "a buffer of %lld ids is too small for a pre-token of %lld",
                           (long long)room, (long long)needed);
    *used = at;
    return count;
}

const char *quern_tokenizer_token(const quern_tokenizer *t, int32_t id, size_t *size)
{
    if (!t)
        return NULL;
    if (size)
        *size = 0;
    if (id < 0 || id >= t->size || t->string_of[id] < 0)
        return NULL;
    if (size)
        *size = t->tokens.items[t->string_of[id]].length;
    return quern__strings_at(&t->tokens, t->string_of[id]);
}

int64_t quern_tokenizer_decode(const quern_tokenizer *t, const int32_t *ids, int64_t n, char *out,
                               size_t room, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "tokenizer", t, "ids", n > 0 ? (const void *)ids : "", "out",
                 room ? out : "");
    size_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        size_t length;
        const char *token = quern_tokenizer_token(t, ids[i], &length);
        if (!token)
            return quern__fail(err, QUERN_NUMBER, NULL,
                               "id %d at index %lld is outside the %lld tokens", ids[i],
                               (long long)i, (long long)t->size);
        bool space = t->kind == QUERN__WORD && at && length;
        if (room - at < length + space)
            return quern__fail(err, QUERN_INVALID, NULL,
                               "a buffer of %zu bytes is too small for %lld ids", room,
                               (long long)n);
        if (space)
            out[at++] = ' ';
        memcpy(out + at, token, length);
        at += length;
    }
    return (int64_t)at;
}
