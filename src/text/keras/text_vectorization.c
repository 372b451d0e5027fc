/* TextVectorization: standardises a text with TensorFlow's ASCII rules for case and punctuation,
 * splits it into words or characters, and forms n-grams. */
#include "text_vectorization.h"

#include "text/tokenizer/tokenizer.h"

#include <string.h>

/* ---- the config ---- */

static int read_grams(quern__vectorizer *z, const json_t *grams, quern_error *err)
{
    bool list = json_is_array(grams);
    int64_t n = list ? (int64_t)json_array_size(grams) : json_integer_value(grams);
    if (!grams || json_is_null(grams))
        return QUERN_OK;
    if (n < 1 || n > QUERN__MOST_GRAMS)
        return quern__fail(err, QUERN_INVALID, NULL, "ngrams is out of range: 1 to %d",
                           QUERN__MOST_GRAMS);
    for (int i = 0; i < (int)n; i++) {
        int64_t width = list ? json_integer_value(json_array_get(grams, (size_t)i)) : i + 1;
        if (width < 1 || width > 1000)
            return quern__fail(err, QUERN_INVALID, NULL,
                               "ngrams of %lld tokens are out of range: 1 to 1000",
                               (long long)width);
        z->grams[z->n_grams++] = (int)width;
    }
    return z->split ? QUERN_OK : quern__fail(err, QUERN_UNSUPPORTED, NULL, "ngrams need split");
}

/* A string argument; null: ""; missing: `otherwise`; else (a Python function): "a function". */
static const char *string_argument(const json_t *config, const char *key, const char *otherwise)
{
    const json_t *value = json_object_get(config, key);
    if (!value)
        return otherwise;
    if (json_is_null(value))
        return "";
    return json_is_string(value) ? json_string_value(value) : "a function";
}

/* Reads standardize, split, ngrams and the output options. */
static int read_config(quern__vectorizer *z, const json_t *config, quern_error *err)
{
    const char *standard = string_argument(config, "standardize", "lower_and_strip_punctuation"),
               *split = string_argument(config, "split", "whitespace");
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
        return quern__fail(err, QUERN_INVALID, NULL, "%s needs output_mode int",
                           z->ragged ? "ragged" : "output_sequence_length");
    if (length && !json_is_null(length) && z->length < 0)
        return quern__fail(err, QUERN_INVALID, NULL,
                           "output_sequence_length is not an integer of at least 0");
    return read_grams(z, json_object_get(config, "ngrams"), err);
}

quern__vectorizer *quern__vectorizer_new(const json_t *config, quern_error *err)
{
    quern__vectorizer *z = quern__zalloc(1, sizeof *z);
    json_t *own = json_copy(
        (json_t *)(uintptr_t)
            config); /* shallow copy, which gets the mask token of the inner StringLookup */
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

/* Receives the tokens of a text, one at a time. */
typedef int token_sink(void *user, const char *token, size_t n, quern_error *err);

/* Position in a text. Standardisation is per token, so that the text is not copied. */
typedef struct walk {
    const quern__vectorizer *z;
    const char *text;
    size_t n, at;
} walk;

/* Writes the next token, standardised, to `to` (capacity: the rest of the text). False at the
 * end. */
static bool next_token(walk *w, char *to, size_t *length)
{
    const quern__vectorizer *z = w->z;
    *length = 0;
    while (w->at < w->n && z->split && !*length) {
        size_t from, skip = z->split == ' ';
        if (skip)
            for (; w->at < w->n && quern__is_space(w->text[w->at]); w->at++)
                ;
        from = w->at;
        if (skip)
            for (; w->at < w->n && !quern__is_space(w->text[w->at]); w->at++)
                ;
        if (z->split == 'c') {
            uint32_t c;
            int bytes = quern__utf8_read(w->text + from, w->n - from, &c);
            w->at += bytes > 0 ? (size_t)bytes : 1;
        }
        *length = quern__word_clean(w->text + from, w->at - from, z->lower, z->strip, to);
    }
    if (!z->split && w->at == 0) {
        w->at = w->n + 1;
        *length = quern__word_clean(w->text, w->n, z->lower, z->strip, to);
        return true;
    }
    return *length > 0;
}

/* Passes all n-grams of `width` tokens, joined by spaces, to the sink. */
static int emit_ngrams(walk w, size_t width, char *joined, token_sink *sink, void *user,
                       quern_error *err)
{
    size_t length, used = 1;
    int status = QUERN_OK;
    while (status >= 0 && used) {
        walk ahead = w;
        used = 0;
        for (size_t k = 0; k < width; k++) {
            joined[used] = ' ';
            if (!next_token(&ahead, joined + used + (k > 0), &length))
                return status;
            used += length + (k > 0);
        }
        status = sink(user, joined, used, err);
        next_token(&w, joined, &length);
    }
    return status;
}

static int emit_tokens(walk w, char *token, token_sink *sink, void *user, quern_error *err)
{
    size_t length;
    uint32_t c;
    int status = QUERN_OK;
    while (status >= 0 && next_token(&w, token, &length)) {
        /* with split="character" TensorFlow replaces an invalid byte with U+FFFD */
        bool broken = w.z->split == 'c' && length == 1 && quern__utf8_read(token, 1, &c) <= 0;
        status = broken ? sink(user, "\xef\xbf\xbd", 3, err) : sink(user, token, length, err);
    }
    return status;
}

/* Passes all tokens to the sink. Only texts longer than QUERN__VECTORIZE_BYTES allocate memory. */
static int for_each_token(const quern__vectorizer *z, const char *text, size_t n, token_sink *sink,
                          void *user, quern_error *err)
{
    char own[QUERN__VECTORIZE_BYTES + QUERN__VECTORIZE_BYTES / 2];
    size_t room = 2 * n + 16; /* one-byte characters with spaces between them */
    char *token = room <= sizeof own || (n <= QUERN__VECTORIZE_BYTES && z->split != 'c')
                      ? own
                      : quern__alloc(room);
    walk w = { .z = z, .text = text, .n = n };
    int status = token ? QUERN_OK : quern__fail_memory(err, room);
    if (status >= 0 && !z->n_grams)
        status = emit_tokens(w, token, sink, user, err);
    for (int g = 0; status >= 0 && g < z->n_grams; g++)
        status = emit_ngrams(w, (size_t)z->grams[g], token, sink, user, err);
    if (token != own)
        quern__free(token);
    return status;
}

/* ---- sinks ---- */

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
    float *places, *row; /* places: ids as float32 */
} output;

static int sink_find(void *user, const char *token, size_t n, quern_error *err)
{
    output *o = user;
    int64_t index = quern__vocabulary_find(o->vocabulary, token, n, err);
    if (index < 0)
        return (int)index;
    if (o->row)
        quern__vocabulary_mark(o->vocabulary, index, o->row);
    else if (o->n < o->room && o->places)
        o->places[o->n] = (float)index;
    else if (o->n < o->room)
        o->ids[o->n] = index;
    o->n++;
    return QUERN_OK;
}

int64_t quern__vectorize_ids(const quern__vectorizer *z, const char *text, size_t n, int64_t *ids,
                             int64_t room, quern_error *err)
{
    output o = { .vocabulary = z->vocabulary, .ids = ids, .room = room };
    int status = for_each_token(z, text, n, sink_find, &o, err);
    return status < 0 ? status : o.n;
}

int quern__vectorize_padded(const quern__vectorizer *z, const char *text, size_t n, float *ids,
                            int64_t length, quern_error *err)
{
    output o = { .vocabulary = z->vocabulary, .places = ids, .room = length };
    memset(ids, 0, (size_t)length * sizeof *ids);
    return for_each_token(z, text, n, sink_find, &o, err);
}

int quern__vectorize_row(const quern__vectorizer *z, const char *text, size_t n, float *row,
                         quern_error *err)
{
    output o = { .vocabulary = z->vocabulary, .row = row };
    memset(row, 0, (size_t)quern__vocabulary_depth(z->vocabulary) * sizeof *row);
    int status = for_each_token(z, text, n, sink_find, &o, err);
    if (z->vocabulary->mode == QUERN__TF_IDF)
        quern__vocabulary_weigh(z->vocabulary, row);
    return status;
}
