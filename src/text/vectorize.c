/* A text becomes tokens: ASCII rules for case and punctuation, as TensorFlow has them, then words or characters, then n-grams. */
#include "text/vectorize.h"

#include "text/tokenizer.h"

#include <string.h>

/* ---- the config ---- */

static int read_grams(quern__vectorizer *z, const json_t *grams, quern_error *err)
{
    bool list = json_is_array(grams);
    int64_t n = list ? (int64_t)json_array_size(grams) : json_integer_value(grams);
    if (!grams || json_is_null(grams))
        return QUERN_OK;
    if (n < 1 || n > QUERN__MOST_GRAMS)
        return quern__fail(err, QUERN_INVALID, NULL, "ngrams: from 1 to %d", QUERN__MOST_GRAMS);
    for (int i = 0; i < (int)n; i++) {
        int64_t width = list ? json_integer_value(json_array_get(grams, (size_t)i)) : i + 1;
        if (width < 1 || width > 1000)
            return quern__fail(err, QUERN_INVALID, NULL, "ngrams of %lld tokens", (long long)width);
        z->grams[z->n_grams++] = (int)width;
    }
    return z->split ? QUERN_OK : quern__fail(err, QUERN_UNSUPPORTED, NULL, "ngrams without split");
}

/* A name, null, or nothing (then `otherwise`); a function of Python's has no name. */
static const char *word_of(const json_t *config, const char *key, const char *otherwise)
{
    const json_t *value = json_object_get(config, key);
    return !value ? otherwise : json_is_null(value) ? "" : json_is_string(value) ? json_string_value(value) : "a function";
}

static int read_config(quern__vectorizer *z, const json_t *config, quern_error *err)
{
    const char *standard = word_of(config, "standardize", "lower_and_strip_punctuation"),
               *split = word_of(config, "split", "whitespace");
    const json_t *length = json_object_get(config, "output_sequence_length");
    z->lower = !strncmp(standard, "lower", 5);
    z->strip = strstr(standard, "strip_punctuation") != NULL;
    z->split = !strcmp(split, "whitespace") ? ' ' : !strcmp(split, "character") ? 'c' : 0;
    z->length = json_is_integer(length) ? json_integer_value(length) : -1;
    z->ragged = json_is_true(json_object_get(config, "ragged"));
    if (*standard && strcmp(standard, "lower") && strcmp(standard, "strip_punctuation") &&
        strcmp(standard, "lower_and_strip_punctuation"))
        return quern__fail(err, QUERN_UNSUPPORTED, NULL, "standardize: %.40s", standard);
    if (*split && !z->split)
        return quern__fail(err, QUERN_UNSUPPORTED, NULL, "split: %.40s", split);
    if (z->vocabulary->mode != QUERN__INT && (z->length >= 0 || z->ragged))
        return quern__fail(err, QUERN_INVALID, NULL, "%s with an output_mode other than int",
                           z->ragged ? "ragged" : "output_sequence_length");
    if (length && !json_is_null(length) && z->length < 0)
        return quern__fail(err, QUERN_INVALID, NULL, "output_sequence_length");
    return read_grams(z, json_object_get(config, "ngrams"), err);
}

quern__vectorizer *quern__vectorizer_new(const json_t *config, quern_error *err)
{
    quern__vectorizer *z = quern__zalloc(1, sizeof *z);
    json_t *own = json_copy((json_t *)(uintptr_t)config); /* one level: it gets the mask that StringLookup has here */
    if (!z || !own)
        quern__fail_memory(err, sizeof *z);
    else {
        json_object_set_new(own, "mask_token", json_string(""));
        z->vocabulary = quern__vocabulary_new(own, false, err);
    }
    json_decref(own);
    if (z && z->vocabulary && read_config(z, config, err) >= 0)
        return z;
    quern__vectorizer_free(z);
    return NULL;
}

void quern__vectorizer_free(quern__vectorizer *z)
{
    if (z)
        quern__vocabulary_free(z->vocabulary);
    quern__free(z);
}

/* ---- tokens ---- */

/* Whoever gets the tokens of a text, one by one. */
typedef int token_sink(void *user, const char *token, size_t n, quern_error *err);

typedef struct span {
    size_t from, length;
} span;

/* Where the tokens of the cleaned text lie, in `out` (NULL: only counted). */
static size_t find_spans(const quern__vectorizer *z, const char *text, size_t n, span *out)
{
    size_t count = 0, at = 0, from;
    while (at < n && z->split == ' ') {
        while (at < n && quern__is_space(text[at]))
            at++;
        for (from = at; at < n && !quern__is_space(text[at]);)
            at++;
        if (at > from) {
            if (out)
                out[count] = (span){ from, at - from };
            count++;
        }
    }
    while (at < n && z->split == 'c') {
        uint32_t c;
        int length = quern__utf8_read(text + at, n - at, &c);
        if (out)
            out[count] = (span){ at, length > 0 ? (size_t)length : 1 };
        count++;
        at += length > 0 ? (size_t)length : 1;
    }
    if (!z->split) {
        if (out)
            *out = (span){ 0, n };
        count = 1;
    }
    return count;
}

/* One token; a byte that is no UTF-8 is U+FFFD where characters are split, as in TensorFlow. */
static int give(const quern__vectorizer *z, const char *text, span s, token_sink *sink, void *user, quern_error *err)
{
    uint32_t c;
    if (z->split == 'c' && s.length == 1 && quern__utf8_read(text + s.from, 1, &c) <= 0)
        return sink(user, "\xef\xbf\xbd", 3, err);
    return sink(user, text + s.from, s.length, err);
}

/* All runs of `width` tokens, joined by spaces. */
static int give_grams(const char *text, const span *spans, size_t n, size_t width, token_sink *sink, void *user, quern_error *err)
{
    quern__text joined = { 0 };
    int status = QUERN_OK;
    for (size_t i = 0; status >= 0 && i + width <= n; i++) {
        joined.length = 0;
        for (size_t k = 0; k < width; k++) {
            quern__text_add_bytes(&joined, " ", k > 0);
            quern__text_add_bytes(&joined, text + spans[i + k].from, spans[i + k].length);
        }
        status = joined.failed ? quern__fail_memory(err, joined.capacity) : sink(user, joined.data, joined.length, err);
    }
    quern__text_free(&joined);
    return status;
}

static int for_each_token(const quern__vectorizer *z, const char *text, size_t n, token_sink *sink, void *user, quern_error *err)
{
    char *clean = quern__alloc(n);
    size_t length = clean ? quern__word_clean(text, n, z->lower, z->strip, clean) : 0;
    size_t count = clean ? find_spans(z, clean, length, NULL) : 0;
    span *spans = quern__zalloc(count, sizeof *spans);
    int status = clean && spans ? QUERN_OK : quern__fail_memory(err, n + count * sizeof *spans);
    if (status >= 0)
        find_spans(z, clean, length, spans);
    for (size_t i = 0; status >= 0 && !z->n_grams && i < count; i++)
        status = give(z, clean, spans[i], sink, user, err);
    for (int g = 0; status >= 0 && g < z->n_grams; g++)
        status = give_grams(clean, spans, count, (size_t)z->grams[g], sink, user, err);
    quern__free(clean);
    quern__free(spans);
    return status;
}

/* ---- what becomes of them ---- */

static int sink_count(void *user, const char *token, size_t n, quern_error *err)
{
    return quern__vocabulary_count(user, token, n, err);
}

int quern__vectorize_adapt(quern__vectorizer *z, const char *text, size_t n, quern_error *err)
{
    int status = for_each_token(z, text, n, sink_count, z->vocabulary, err);
    quern__vocabulary_end_text(z->vocabulary);
    return status;
}

typedef struct output {
    const quern__vocabulary *vocabulary;
    int64_t *ids, room, n;
    float *row;
} output;

static int sink_find(void *user, const char *token, size_t n, quern_error *err)
{
    output *o = user;
    int64_t index = quern__vocabulary_find(o->vocabulary, token, n, err);
    if (index < 0)
        return (int)index;
    if (o->row)
        quern__vocabulary_mark(o->vocabulary, index, o->row);
    else if (o->n < o->room)
        o->ids[o->n] = index;
    o->n++;
    return QUERN_OK;
}

int64_t quern__vectorize_ids(const quern__vectorizer *z, const char *text, size_t n, int64_t *ids, int64_t room, quern_error *err)
{
    output o = { .vocabulary = z->vocabulary, .ids = ids, .room = room };
    int status = for_each_token(z, text, n, sink_find, &o, err);
    return status < 0 ? status : o.n;
}

int quern__vectorize_row(const quern__vectorizer *z, const char *text, size_t n, float *row, quern_error *err)
{
    output o = { .vocabulary = z->vocabulary, .row = row };
    memset(row, 0, (size_t)quern__vocabulary_depth(z->vocabulary) * sizeof *row);
    int status = for_each_token(z, text, n, sink_find, &o, err);
    if (z->vocabulary->mode == QUERN__TF_IDF)
        quern__vocabulary_weigh(z->vocabulary, row);
    return status;
}
