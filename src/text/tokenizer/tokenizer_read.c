/* Reads tokenizers: tokenizer.json of the Hugging Face library, and GPT-2's vocab.json with
 * merges.txt. Every setting that affects tokenization is implemented, or rejected by name. */
#include "base/json.h"
#include "tokenizer.h"

#include <stdio.h>
#include <string.h>

static const char *string_member(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static bool has_member(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return value && !json_is_null(value) && !json_is_false(value);
}

/* ---- the vocabulary ---- */

/* Decodes a token in GPT-2's alphabet to bytes in `out` (at most as long as the token). -1: it
 * is not in this alphabet. */
static int64_t alphabet_bytes(const char *token, size_t n, char *out)
{
    size_t at = 0, length = 0;
    while (at < n) {
        uint32_t c;
        int step = quern__utf8_read(token + at, n - at, &c),
            byte = step > 0 ? quern__character_byte(c) : -1;
        if (byte < 0)
            return -1;
        out[length++] = (char)byte;
        at += (size_t)step;
    }
    return (int64_t)length;
}

static int set_token(quern_tokenizer *t, int64_t id, const char *token, size_t n, quern_error *err)
{
    char bytes[QUERN_PIECE_BYTES];
    int64_t length =
        t->kind == QUERN__BPE && n <= sizeof bytes ? alphabet_bytes(token, n, bytes) : -1;
    if (n > sizeof bytes)
        return quern__fail(err, QUERN_FORMAT, NULL,
                           "the token of id %lld has %zu bytes, the limit is %d", (long long)id, n,
                           QUERN_PIECE_BYTES);
    return length >= 0 ? quern__tokenizer_set(t, id, bytes, (size_t)length, err)
                       : quern__tokenizer_set(t, id, token, n, err);
}

/* One more than the largest id of the vocabulary and the added tokens; a negative status for
 * invalid ids. */
static int64_t count_ids(json_t *vocab, json_t *added, quern_error *err)
{
    int64_t most = -1, id;
    const char *key;
    json_t *value;
    size_t k;
    json_object_foreach(vocab, key, value)
    {
        id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || id >= QUERN__MOST_TOKENS)
            return quern__fail(err, QUERN_FORMAT, NULL,
                               "the id of token '%.40s' is not a number from 0 to %d", key,
                               QUERN__MOST_TOKENS);
        most = id > most ? id : most;
    }
    json_array_foreach(added, k, value)
    {
        id = json_is_integer(json_object_get(value, "id"))
                 ? json_integer_value(json_object_get(value, "id"))
                 : -1;
        if (id < 0 || id >= QUERN__MOST_TOKENS || !*string_member(value, "content"))
            return quern__fail(err, QUERN_FORMAT, NULL,
                               "added token %zu without content, or without id from 0 to %d", k,
                               QUERN__MOST_TOKENS);
        most = id > most ? id : most;
    }
    int64_t listed = (int64_t)json_object_size(vocab) + (int64_t)json_array_size(added);
    if (most >= 2 * listed + 1024) /* limits the memory in proportion to the size of the file */
        return quern__fail(err, QUERN_FORMAT, NULL, "id %lld is too large for %lld tokens",
                           (long long)most, (long long)listed);
    return most + 1;
}

static int read_vocab(quern_tokenizer *t, json_t *vocab, quern_error *err)
{
    const char *key;
    json_t *value;
    int status = QUERN_OK;
    json_object_foreach(vocab, key, value)
    {
        if (status >= 0)
            status = set_token(t, json_integer_value(value), key, strlen(key), err);
    }
    return status;
}

static int add_token(quern_tokenizer *t, json_t *added, quern_error *err)
{
    static const char *const trims[] = { "lstrip", "rstrip", "single_word" };
    const char *content = string_member(added, "content");
    size_t n = strlen(content), had;
    int32_t id = (int32_t)json_integer_value(json_object_get(added, "id"));
    for (int i = 0; i < 3; i++)
        if (has_member(added, trims[i]))
            return quern__fail(err, QUERN_UNSUPPORTED, NULL,
                               "added token '%.40s': %s is not supported", content, trims[i]);
    if (n > QUERN__ADDED_BYTES || t->n_added == QUERN__MOST_ADDED)
        return quern__fail(err, QUERN_FORMAT, NULL,
                           "added token '%.40s' exceeds %d tokens or %d bytes", content,
                           QUERN__MOST_ADDED, QUERN__ADDED_BYTES);
    const char *token = quern_tokenizer_token(t, id, &had);
    if (token && (had != n || memcmp(token, content, n)))
        return quern__fail(err, QUERN_FORMAT, NULL, "id %d has two tokens", id);
    t->added[t->n_added++] = id;
    return token ? QUERN_OK : quern__tokenizer_set(t, id, content, n, err);
}

static int read_added(quern_tokenizer *t, json_t *added, quern_error *err)
{
    size_t k;
    json_t *value;
    int status = QUERN_OK;
    if (!json_array_size(added))
        return QUERN_OK;
    t->added = quern__alloc(QUERN__MOST_ADDED * sizeof *t->added);
    if (!t->added)
        return quern__fail_memory(err, QUERN__MOST_ADDED * sizeof *t->added);
    json_array_foreach(added, k, value)
    {
        if (status >= 0)
            status = add_token(t, value, err);
    }
    return status;
}

/* ---- merges ---- */

/* The id of one half of a merge, given in the alphabet; -1: unknown. */
static int32_t half_id(const quern_tokenizer *t, const char *token, size_t n, char *bytes,
                       size_t *length)
{
    int64_t got = n <= QUERN_PIECE_BYTES ? alphabet_bytes(token, n, bytes) : -1;
    int64_t found = got < 0 ? -1 : quern__strings_find(&t->tokens, bytes, (size_t)got);
    *length = got < 0 ? 0 : (size_t)got;
    return found < 0 ? -1 : (int32_t)t->tokens.items[found].count;
}

static int add_merge(quern_tokenizer *t, const char *left, size_t n_left, const char *right,
                     size_t n_right, quern_error *err)
{
    char bytes[2 * QUERN_PIECE_BYTES];
    size_t n = 0, m = 0;
    int32_t a = half_id(t, left, n_left, bytes, &n), b = half_id(t, right, n_right, bytes + n, &m);
    int64_t product =
        a < 0 || b < 0 || !n || !m ? -1 : quern__strings_find(&t->tokens, bytes, n + m);
    if (product < 0)
        return quern__fail(err, QUERN_FORMAT, NULL,
                           "merge %u, '%.*s' and '%.*s', is not in the vocabulary", t->n_merges,
                           (int)(n_left < 40 ? n_left : 40), left,
                           (int)(n_right < 40 ? n_right : 40), right);
    quern__bpe_add_merge(t, a, b, (int32_t)t->tokens.items[product].count);
    return QUERN_OK;
}

/* Reads a merge: "a b", or ["a", "b"]. */
static int read_merge(quern_tokenizer *t, json_t *merge, quern_error *err)
{
    const char *line = json_string_value(merge), *space = line ? strchr(line, ' ') : NULL;
    const char *left = json_string_value(json_array_get(merge, 0)),
               *right = json_string_value(json_array_get(merge, 1));
    if (space)
        return add_merge(t, line, (size_t)(space - line), space + 1, strlen(space + 1), err);
    if (left && right && json_array_size(merge) == 2)
        return add_merge(t, left, strlen(left), right, strlen(right), err);
    return quern__fail(err, QUERN_FORMAT, NULL, "merge %u is not a pair", t->n_merges);
}

/* ---- kinds ---- */

/* Reads vocabulary, merges and added tokens of a BPE model. */
static int read_bpe(quern_tokenizer *t, json_t *model, json_t *added, quern_error *err)
{
    static const char *const others[] = { "dropout", "continuing_subword_prefix",
                                          "end_of_word_suffix" };
    json_t *merges = json_object_get(model, "merges"), *merge;
    size_t k;
    for (int i = 0; i < 3; i++)
        if (has_member(model, others[i]) && (!json_is_string(json_object_get(model, others[i])) ||
                                             *string_member(model, others[i])))
            return quern__fail(err, QUERN_UNSUPPORTED, NULL, "%s of the model is not supported",
                               others[i]);
    t->ignore_merges = has_member(model, "ignore_merges");
    int status = read_vocab(t, json_object_get(model, "vocab"), err);
    if (status >= 0)
        status = quern__bpe_reserve(t, json_array_size(merges), err);
    json_array_foreach(merges, k, merge)
    {
        if (status >= 0)
            status = read_merge(t, merge, err);
    }
    if (status >= 0)
        status = read_added(t, added, err);
    return status < 0 ? status : quern__bpe_finish(t, err);
}

/* With byte_fallback the last tokens <0x00> … <0xFF> are bytes. */
static int read_char(quern_tokenizer *t, json_t *model, quern_error *err)
{
    const char *key;
    json_t *value;
    int status = QUERN_OK;
    if (has_member(model, "byte_fallback"))
        t->first_byte = t->size >= 256 ? (int32_t)t->size - 256 : 0;
    json_object_foreach(json_object_get(model, "vocab"), key, value)
    {
        char name[8], byte;
        int64_t id = json_integer_value(value);
        if (status < 0)
            break;
        if (t->first_byte < 0 || id < t->first_byte) {
            status = set_token(t, id, key, strlen(key), err);
            continue;
        }
        byte = (char)(id - t->first_byte);
        snprintf(name, sizeof name, "<0x%02X>", (uint8_t)byte);
        status = strcmp(name, key)
                     ? quern__fail(err, QUERN_UNSUPPORTED, NULL, "the token of id %lld is not %s",
                                   (long long)id, name)
                     : quern__tokenizer_set(t, id, &byte, 1, err);
    }
    for (int64_t id = t->first_byte; status >= 0 && id >= 0 && id < t->size; id++)
        if (t->string_of[id] < 0)
            status = quern__fail(err, QUERN_FORMAT, NULL, "no token for byte 0x%02x",
                                 (int)(id - t->first_byte));
    return status < 0 ? status : quern__char_finish(t, err);
}

static int read_word(quern_tokenizer *t, json_t *model, quern_error *err)
{
    int status = read_vocab(t, json_object_get(model, "vocab"), err);
    for (int64_t id = 0; status >= 0 && id < t->size; id++)
        if (t->string_of[id] < 0 ||
            (id < 2 && strcmp(quern_tokenizer_token(t, (int32_t)id, NULL), id ? "[UNK]" : "")))
            status = quern__fail(
                err, QUERN_UNSUPPORTED, NULL,
                "the vocabulary of words has an unexpected token, or no token, for id %lld",
                (long long)id);
    return status;
}

/* ---- normalizer and pre-tokenizer ---- */

/* The number of steps: one entry {"type": …}, or those of a Sequence; then the k-th step. */
static size_t count_steps(const json_t *entry, const char *list)
{
    if (!json_is_object(entry))
        return 0;
    return strcmp(string_member(entry, "type"), "Sequence")
               ? 1
               : json_array_size(json_object_get(entry, list));
}

static const json_t *step_at(const json_t *entry, const char *list, size_t k)
{
    return strcmp(string_member(entry, "type"), "Sequence")
               ? entry
               : json_array_get(json_object_get(entry, list), k);
}

static int read_normalizer(const json_t *normalizer, bool *lower, bool *strip, quern_error *err)
{
    for (size_t k = 0; k < count_steps(normalizer, "normalizers"); k++) {
        const json_t *step = step_at(normalizer, "normalizers", k);
        const char *type = string_member(step, "type");
        if (!strcmp(type, "Lowercase"))
            *lower = true;
        else if (!strcmp(type, "Replace") &&
                 !strcmp(string_member(json_object_get(step, "pattern"), "Regex"),
                         QUERN__PUNCTUATION) &&
                 !*string_member(step, "content"))
            *strip = true;
        else
            return quern__fail(err, QUERN_UNSUPPORTED, NULL, "normalizer '%.40s' is not supported",
                               type);
    }
    return QUERN_OK;
}

/* The maximum of digits in the later pattern; 0: the pre-tokenizer has another pattern. */
static int later_digits(const json_t *cutter)
{
    const json_t *steps = json_object_get(cutter, "pretokenizers"),
                 *split = json_array_get(steps, 0), *bytes = json_array_get(steps, 1);
    const char *pattern = string_member(json_object_get(split, "pattern"), "Regex");
    char one[200], three[200];
    snprintf(one, sizeof one, QUERN__LATER_PATTERN, "");
    snprintf(three, sizeof three, QUERN__LATER_PATTERN, "{1,3}");
    if (json_array_size(steps) != 2 || strcmp(string_member(split, "type"), "Split") ||
        strcmp(string_member(split, "behavior"), "Isolated") || has_member(split, "invert") ||
        strcmp(string_member(bytes, "type"), "ByteLevel") ||
        has_member(bytes, "add_prefix_space") ||
        !json_is_false(json_object_get(bytes, "use_regex")))
        return 0;
    return !strcmp(pattern, one) ? 1 : !strcmp(pattern, three) ? 3 : 0;
}

/* The kind of a model with its pre-tokenizer. */
static int kind_of(json_t *root, json_t *model, int *digits, quern_error *err)
{
    const json_t *cutter = json_object_get(root, "pre_tokenizer");
    const char *type = string_member(model, "type"),
               *cut = json_is_object(cutter) ? string_member(cutter, "type") : "";
    bool bpe = !strcmp(type, "BPE") || (!*type && json_is_array(json_object_get(model, "merges")));
    if (bpe && !strcmp(cut, "ByteLevel") && !has_member(cutter, "add_prefix_space") &&
        !json_is_false(json_object_get(cutter, "use_regex")))
        return QUERN__BPE;
    if (bpe && !strcmp(cut, "Sequence") && (*digits = later_digits(cutter)) > 0)
        return QUERN__BPE;
    if (bpe && !*cut && !json_array_size(json_object_get(model, "merges")))
        return QUERN__CHAR;
    if (!strcmp(type, "WordLevel") && !strcmp(cut, "WhitespaceSplit"))
        return QUERN__WORD;
    return quern__fail(err, QUERN_UNSUPPORTED, NULL,
                       "model '%.40s' with pre_tokenizer '%.40s'%s%s is not supported", type, cut,
                       has_member(cutter, "add_prefix_space") ? ", add_prefix_space" : "",
                       json_is_false(json_object_get(cutter, "use_regex")) ? ", no use_regex" : "");
}

quern_tokenizer *quern__tokenizer_read(json_t *root, quern_error *err)
{
    json_t *model = json_object_get(root, "model"), *added = json_object_get(root, "added_tokens");
    bool lower = false, strip = false;
    int digits = 0;
    if (!json_is_object(json_object_get(model, "vocab"))) {
        quern__fail(err, QUERN_FORMAT, NULL, "the model with its vocabulary is missing");
        return NULL;
    }
    int kind = kind_of(root, model, &digits, err);
    int status =
        kind < 0 ? kind : read_normalizer(json_object_get(root, "normalizer"), &lower, &strip, err);
    if (status >= 0 && ((kind == QUERN__BPE && (lower || strip)) ||
                        (kind != QUERN__BPE && json_array_size(added))))
        status = quern__fail(err, QUERN_UNSUPPORTED, NULL,
                             kind == QUERN__BPE ? "a normalizer of a BPE model is not supported"
                                                : "added tokens of this kind are not supported");
    int64_t size = status < 0 ? status : count_ids(json_object_get(model, "vocab"), added, err);
    quern_tokenizer *t = size < 0 ? NULL : quern__tokenizer_new(kind, size, err);
    if (!t)
        return NULL;
    t->lower = lower;
    t->strip = strip;
    t->digits = digits;
    status = kind == QUERN__BPE    ? read_bpe(t, model, added, err)
             : kind == QUERN__CHAR ? read_char(t, model, err)
                                   : read_word(t, model, err);
    if (status >= 0)
        return t;
    quern_tokenizer_free(t);
    return NULL;
}

quern_tokenizer *quern_tokenizer_from_json(const char *json, size_t size, quern_error *err)
{
    QUERN__ENTER(err, NULL, "json", json);
    if (size > QUERN__FILE_BYTES) {
        quern__fail(err, QUERN_NOMEM, NULL, "a tokenizer of %zu bytes exceeds %d", size,
                    QUERN__FILE_BYTES);
        return NULL;
    }
    json_t *root = quern__json_read(json, size, NULL, NULL, err);
    quern_tokenizer *t = root ? quern__tokenizer_read(root, err) : NULL;
    json_decref(root);
    return t;
}
