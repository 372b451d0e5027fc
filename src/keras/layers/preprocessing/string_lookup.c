/* string_lookup: TextVectorization, StringLookup and IntegerLookup: strings and integers become
 * indices of a vocabulary. The config or a file has the vocabulary, or adapt learns it from a
 * stream. https://keras.io/api/layers/preprocessing_layers/ */
#include "keras/keras.h"

#include "text/keras/text_vectorization.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { most_depth = 1 << 24 };
enum { text = 1, strings, integers }; /* `extra` of the rows */

typedef struct lookup {
    quern__look look;
    quern__vocabulary *v; /* the vocabulary of z where z exists */
    quern__vectorizer *z;
    int64_t given;        /* size of the config's or file's vocabulary */
    quern__variable *idf; /* tf_idf: the weights in the form that files have; NULL: none */
} lookup;

static int named(const quern__layer *l, int status, quern_error *err)
{
    if (status < 0 && err && !*err->where)
        snprintf(err->where, sizeof err->where, "%s", l->name);
    return status;
}

/* ---- records ---- */

/* Whether the vocabulary exists and fits the output; otherwise sets `why`. */
static bool ready(const lookup *k, const char **why)
{
    bool row = k->v->mode != QUERN__INT,
         empty = quern__vocabulary_size(k->v) == quern__vocabulary_start(k->v);
    *why = empty ? "the vocabulary is not learned: adapt first"
                 : "the size of the vocabulary differs from the size of the output";
    return !empty && (!row || quern__vocabulary_depth(k->v) == k->given);
}

static int look_text(const void *self, const quern_tensor *in, int64_t at, int64_t n, float *out,
                     const char **why)
{
    const lookup *k = self;
    const quern_string *s = (const quern_string *)in->data + at;
    quern_error err = { 0 };
    (void)n;
    if (!ready(k, why))
        return QUERN_NOTFOUND;
    *why = "a text is too long, or a word is not in the vocabulary";
    const char *bytes = s->data ? s->data : "";
    if (s->size < 0 || s->size > QUERN__VECTORIZE_BYTES)
        return QUERN_NOTFOUND;
    int status = k->v->mode == QUERN__INT
                     ? quern__vectorize_padded(k->z, bytes, (size_t)s->size, out, k->given, &err)
                     : quern__vectorize_row(k->z, bytes, (size_t)s->size, out, &err);
    return status < 0 ? QUERN_NOTFOUND : QUERN_OK;
}

/* Element i as a token. Returns false when it is not an exact integer. */
static bool token_at(const quern_tensor *in, int64_t i, char key[8], const char **bytes, size_t *n)
{
    if (in->dtype == QUERN_STRING) {
        const quern_string *s = (const quern_string *)in->data + i;
        *bytes = s->data ? s->data : "";
        *n = s->size > 0 ? (size_t)s->size : 0;
        return true;
    }
    int64_t x;
    if (!quern__whole_at(in, i, &x))
        return false;
    *bytes = quern__vocabulary_key(x, key);
    *n = 8;
    return true;
}

static int look_token(const void *self, const quern_tensor *in, int64_t at, int64_t n, float *out,
                      const char **why)
{
    const lookup *k = self;
    bool row = k->v->mode != QUERN__INT;
    char key[8];
    if (!ready(k, why))
        return QUERN_NOTFOUND;
    if (row)
        memset(out, 0, (size_t)k->given * sizeof *out);
    for (int64_t i = at; i < at + n; i++) {
        const char *bytes;
        size_t length;
        quern_error err = { 0 };
        *why = "a number is not an integer or exceeds 2^24, the exact range of float32; use "
               "dtype=int64 for the input";
        if (!token_at(in, i, key, &bytes, &length))
            return QUERN_NOTFOUND;
        int64_t index = quern__vocabulary_find(k->v, bytes, length, &err);
        *why = "a token is not in the vocabulary, and num_oov_indices is 0";
        if (index < 0)
            return QUERN_NOTFOUND;
        if (row)
            quern__vocabulary_mark(k->v, index, out);
        else
            *out = (float)index;
    }
    if (k->v->mode == QUERN__TF_IDF)
        quern__vocabulary_weigh(k->v, out);
    return QUERN_OK;
}

/* ---- the layer ---- */

/* The columns of one-hot outputs: the size of the vocabulary, or pad_to_max_tokens. */
static int64_t depth_of(const quern__layer *l)
{
    const lookup *k = l->object;
    json_t *size = json_object_get(l->config, "vocabulary_size");
    return l->given || k->v->pad   ? quern__vocabulary_depth(k->v)
           : json_is_integer(size) ? json_integer_value(size)
                                   : 0;
}

static int check(const quern__layer *l, quern_error *err)
{
    const lookup *k = l->object;
    if (k->v->invert)
        return quern__fail(err, QUERN_UNSUPPORTED, l->name,
                           "invert=True is not in this version: a layer cannot return strings");
    if (k->v->mode == QUERN__INT && k->z && (k->z->length < 1 || k->z->length > most_depth))
        return quern__fail(err, QUERN_UNSUPPORTED, l->name,
                           "output_mode int needs output_sequence_length, at least 1");
    int64_t depth = k->v->mode == QUERN__INT ? 1 : depth_of(l);
    if (depth < 1 || depth > most_depth)
        return quern__fail(err, QUERN_INVALID, l->name,
                           "this output_mode needs a vocabulary, or max_tokens and "
                           "pad_to_max_tokens, when the layer is built");
    return QUERN_OK;
}

/* Copies the weights of the vocabulary to the variable that files store. */
static void keep_idf(lookup *k)
{
    if (k->idf && k->v->idf)
        memcpy(k->idf->data, k->v->idf, (size_t)quern__vocabulary_depth(k->v) * sizeof(float));
}

static int lookup_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    (void)in, (void)n;
    lookup *k = l->object = quern__zalloc(1, sizeof *k);
    if (!k)
        return quern__fail_memory(err, sizeof *k);
    if (l->kind->extra == text)
        k->z = quern__vectorizer_new(l->config, err);
    k->v = k->z ? k->z->vocabulary
           : l->kind->extra == text
               ? NULL
               : quern__vocabulary_new(l->config, l->kind->extra == integers, err);
    if (!k->v)
        return named(l, err && err->code ? err->code : QUERN_INVALID, err);
    k->look = (quern__look){ k->z ? look_text : look_token, k };
    l->given = k->v->fixed;
    l->trainable = false;
    int status = check(l, err);
    quern_shape columns = { .rank = 1, .dims = { status < 0 ? 0 : depth_of(l) } };
    if (status < 0 || k->v->mode != QUERN__TF_IDF)
        return status;
    k->idf = quern__variable_new(l->name, QUERN_FLOAT32, &columns, false, err);
    keep_idf(k);
    return k->idf ? QUERN_OK : QUERN_NOMEM;
}

static void lookup_drop(quern__layer *l)
{
    lookup *k = l->object;
    if (k && k->z)
        quern__vectorizer_free(k->z);
    else if (k)
        quern__vocabulary_free(k->v);
    if (k)
        quern__variable_free(k->idf);
    quern__free(k);
}

static quern__id lookup_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                             bool training)
{
    lookup *k = l->object;
    quern_shape s = *quern__shape_of(g, in[0]), out = s;
    int64_t last = s.rank > 1 ? s.dims[s.rank - 1] : 1, taken = 1;
    bool row = k->v->mode != QUERN__INT;
    char shape[96];
    (void)n, (void)training;
    if ((quern__graph_value(g, in[0])->dtype == QUERN_STRING) != (l->kind->extra != integers))
        return quern__graph_fail(g, QUERN_INVALID,
                                 l->kind->extra == integers
                                     ? "the input must be numbers"
                                     : "the input must be text; use an input with dtype=string");
    if ((k->z && (last != 1 || s.rank > 2)) ||
        (row && !k->z && k->v->mode != QUERN__ONE_HOT && s.rank != 2))
        return quern__graph_fail(g, QUERN_SHAPE, "the input is %s, expected %s",
                                 quern_shape_text(&s, shape, sizeof shape),
                                 k->z ? "(None,) or (None, 1)"
                                      : "(None, tokens) for this output_mode");
    k->given = row ? depth_of(l) : k->z ? k->z->length : 1;
    if (k->z || (row && last == 1 &&
                 s.rank > 1)) /* Keras removes a last axis of size 1 before it appends its own */
        out.rank = s.rank > 1 ? s.rank - 1 : 1;
    if (row && !k->z && k->v->mode != QUERN__ONE_HOT) {
        out.rank = 1;
        taken = last;
    }
    if ((row || k->z) && out.rank == QUERN_MAX_RANK)
        return quern__graph_fail(g, QUERN_SHAPE, "the output has too many axes");
    if (row || k->z)
        out.dims[out.rank++] = k->given;
    return quern__lookup(g, in, 1, &k->look, taken, k->given, &out);
}

/* ---- learning ---- */

static int lookup_adapt(quern__layer *l, const quern_tensor *batch, int64_t seen, quern_error *err)
{
    lookup *k = l->object;
    int64_t count = quern_shape_count(&batch->shape),
            per = batch->shape.dims[0] ? count / batch->shape.dims[0] : 1;
    int status = seen == 0 ? quern__vocabulary_reset(k->v, err) : QUERN_OK;
    for (int64_t i = 0; i < count && status >= 0; i++) {
        const char *bytes;
        size_t n;
        char key[8];
        if (!token_at(batch, i, key, &bytes, &n))
            status = quern__fail(err, QUERN_INVALID, l->name,
                                 "record %lld of a batch has a number that is not an integer or "
                                 "exceeds 2^24; use dtype=int64 for the input",
                                 (long long)(i / per));
        else
            status = k->z ? quern__vectorize_adapt(k->z, bytes, n, err)
                          : quern__vocabulary_count(k->v, bytes, n, err);
        if (!k->z && i % per == per - 1) /* a record is one text */
            quern__vocabulary_end_text(k->v);
    }
    return named(l, status, err);
}

static int learned(quern__layer *l, quern_error *err)
{
    lookup *k = l->object;
    int64_t depth = k->v->mode == QUERN__INT ? 0 : depth_of(l), size = quern__vocabulary_size(k->v);
    if (depth && quern__vocabulary_depth(k->v) != depth)
        return quern__fail(err, QUERN_SHAPE, l->name,
                           "the vocabulary has %lld entries, the output %lld columns",
                           (long long)quern__vocabulary_depth(k->v), (long long)depth);
    keep_idf(k);
    json_object_set_new(l->config, "vocabulary_size", json_integer(size));
    return QUERN_OK;
}

static int lookup_adapted(quern__layer *l, quern_error *err)
{
    lookup *k = l->object;
    int status = quern__vocabulary_finish(k->v, err);
    return status < 0 ? named(l, status, err) : learned(l, err);
}

/* ---- files ---- */

bool quern__layer_looks_up(const quern__layer *l)
{
    return l->kind->destroy_state == lookup_drop && l->object;
}
quern__variable *quern__layer_idf(const quern__layer *l)
{
    return quern__layer_looks_up(l) ? ((lookup *)l->object)->idf : NULL;
}

bool quern__layer_is_text(const quern__layer *l) { return l->kind->extra == text; }

/* Whether vocabulary.txt cannot hold the vocabulary as Keras reads it, so that the config gets it.
 */
static bool inlined(const quern__vocabulary *v)
{
    bool lines = v->mode != QUERN__TF_IDF;
    if (!v->integers)
        for (int64_t i = 0; i < v->tokens.n && lines; i++)
            for (uint32_t b = 0; b < v->tokens.items[i].length && lines; b++)
                lines = !strchr("\n\v\f\r\x1c\x1d\x1e", quern__strings_at(&v->tokens, i)[b]);
    return !lines;
}

void quern__layer_inline_vocabulary(const quern__layer *l, json_t *config)
{
    const lookup *k = l->object;
    int64_t start = quern__vocabulary_start(k->v);
    if (l->given || !k->v->tokens.n || !inlined(k->v))
        return;
    json_t *all = quern__vocabulary_list(k->v), *own = json_array(), *idf = json_array();
    for (int64_t i = start; i < start + k->v->tokens.n; i++) {
        json_array_append(own, json_array_get(all, (size_t)i));
        json_array_append_new(idf, json_real(k->v->idf ? (double)k->v->idf[i] : 0));
    }
    json_object_set_new(config, "vocabulary", own);
    json_object_set_new(config, "idf_weights",
                        k->v->mode == QUERN__TF_IDF ? json_incref(idf) : json_null());
    json_decref(idf);
    json_decref(all);
}

bool quern__layer_vocabulary_text(const quern__layer *l, quern__text *out)
{
    const lookup *k = l->object;
    if (l->given || inlined(k->v))
        return false;
    for (int64_t i = 0; i < quern__vocabulary_size(k->v); i++) {
        size_t n;
        const char *token = quern__vocabulary_token(k->v, i, &n);
        quern__text_add_bytes(out, "\n", i > 0);
        if (k->v->integers)
            quern__text_add(out, "%lld", (long long)quern__vocabulary_value(token));
        else
            quern__text_add_bytes(out, token, n);
    }
    return true;
}

int quern__layer_read_vocabulary(quern__layer *l, const char *lines, size_t n, quern_error *err)
{
    lookup *k = l->object;
    json_t *list = json_array();
    int status = list ? QUERN_OK : quern__fail_memory(err, 1);
    while (n &&
           (lines[n - 1] == '\n' || lines[n - 1] == '\r')) /* trailing empty lines do not count */
        n--;
    for (size_t at = 0, length; at < n && status >= 0; at += length + 1) {
        const char *newline = memchr(lines + at, '\n', n - at);
        length = newline ? (size_t)(newline - lines) - at : n - at;
        size_t own = length && lines[at + length - 1] == '\r' ? length - 1 : length;
        char number[32] = "", *end = number;
        snprintf(number, sizeof number, "%.*s", (int)(own < 31 ? own : 31), lines + at);
        json_t *token = k->v->integers ? json_integer(strtoll(number, &end, 10))
                                       : json_stringn(lines + at, own);
        if (!token || (k->v->integers && (*end || end == number)) ||
            json_array_append_new(list, token))
            status =
                quern__fail(err, QUERN_FORMAT, l->name, "line %zu of the vocabulary is not a token",
                            json_array_size(list) + 1);
    }
    if (status >= 0 && (int64_t)json_array_size(list) > quern__vocabulary_start(k->v)) {
        json_t *idf = k->idf ? json_array() : NULL; /* the weights are read before */
        for (size_t i = 0;
             k->idf && i < json_array_size(list) && (int64_t)i < k->idf->shape.dims[0]; i++)
            json_array_append_new(idf, json_real((double)((float *)k->idf->data)[i]));
        status = named(l, quern__vocabulary_set(k->v, list, idf, err), err);
        json_decref(idf);
        if (status >= 0)
            status = learned(l, err);
    }
    json_decref(list);
    return status;
}

static const quern__field text_fields[] = { { "max_tokens", QUERN__F_ANY, "null" },
                                            { "standardize", QUERN__F_ANY,
                                              "\"lower_and_strip_punctuation\"" },
                                            { "split", QUERN__F_ANY, "\"whitespace\"" },
                                            { "ngrams", QUERN__F_ANY, "null" },
                                            { "output_mode", QUERN__F_TEXT, "\"int\"" },
                                            { "output_sequence_length", QUERN__F_ANY, "null" },
                                            { "pad_to_max_tokens", QUERN__F_BOOL, "false" },
                                            { "vocabulary", QUERN__F_ANY, "null" },
                                            { "idf_weights", QUERN__F_ANY, "null" },
                                            { "sparse", QUERN__F_ONLY_DEFAULT, "false" },
                                            { "ragged", QUERN__F_ONLY_DEFAULT, "false" },
                                            { "encoding", QUERN__F_TEXT, "\"utf-8\"" },
                                            { "vocabulary_size", QUERN__F_ANY, "null" },
                                            { 0 } };
static const quern__field string_fields[] = { { "max_tokens", QUERN__F_ANY, "null" },
                                              { "num_oov_indices", QUERN__F_INT, "1" },
                                              { "mask_token", QUERN__F_ANY, "null" },
                                              { "oov_token", QUERN__F_ANY, "\"[UNK]\"" },
                                              { "vocabulary", QUERN__F_ANY, "null" },
                                              { "idf_weights", QUERN__F_ANY, "null" },
                                              { "invert", QUERN__F_BOOL, "false" },
                                              { "output_mode", QUERN__F_TEXT, "\"int\"" },
                                              { "pad_to_max_tokens", QUERN__F_BOOL, "false" },
                                              { "sparse", QUERN__F_ONLY_DEFAULT, "false" },
                                              { "encoding", QUERN__F_TEXT, "\"utf-8\"" },
                                              { "salt", QUERN__F_ONLY_DEFAULT, "null" },
                                              { "vocabulary_size", QUERN__F_ANY, "null" },
                                              { 0 } };
static const quern__field integer_fields[] = { { "max_tokens", QUERN__F_ANY, "null" },
                                               { "num_oov_indices", QUERN__F_INT, "1" },
                                               { "mask_token", QUERN__F_ANY, "null" },
                                               { "oov_token", QUERN__F_ANY, "-1" },
                                               { "vocabulary", QUERN__F_ANY, "null" },
                                               { "vocabulary_dtype", QUERN__F_ONLY_DEFAULT,
                                                 "\"int64\"" },
                                               { "idf_weights", QUERN__F_ANY, "null" },
                                               { "invert", QUERN__F_BOOL, "false" },
                                               { "output_mode", QUERN__F_TEXT, "\"int\"" },
                                               { "sparse", QUERN__F_ONLY_DEFAULT, "false" },
                                               { "pad_to_max_tokens", QUERN__F_BOOL, "false" },
                                               { "oov_method", QUERN__F_TEXT, "\"floormod\"" },
                                               { "salt", QUERN__F_ONLY_DEFAULT, "null" },
                                               { "vocabulary_size", QUERN__F_ANY, "null" },
                                               { 0 } };

#define LOOKUP(ID, NAME, KIND, FIELDS)                      \
    const quern__class ID = { .group = QUERN__LAYER,        \
                              .name = NAME,                 \
                              .aliases = "",                \
                              .module = "keras.layers",     \
                              .fields = FIELDS,             \
                              .build = lookup_build,        \
                              .call = lookup_call,          \
                              .masks = QUERN__MASK_ENDS,    \
                              .strings = true,              \
                              .whole = true,                \
                              .destroy_state = lookup_drop, \
                              .adapt = lookup_adapt,        \
                              .adapted = lookup_adapted,    \
                              .extra = KIND }
LOOKUP(quern__layer_text_vectorization, "TextVectorization", text, text_fields);
LOOKUP(quern__layer_string_lookup, "StringLookup", strings, string_fields);
LOOKUP(quern__layer_integer_lookup, "IntegerLookup", integers, integer_fields);
