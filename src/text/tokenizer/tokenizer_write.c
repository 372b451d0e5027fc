/* Writes tokenizers as tokenizer.json of the Hugging Face library. */
#include "base/json.h"
#include "tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Writes the spelling of a token in a file: in GPT-2's alphabet, as text, or as <0x..>. `out`
 * has twice the token's length and 8 bytes. Returns the length. */
static size_t token_spelling(const quern_tokenizer *t, int32_t id, char *out)
{
    size_t n, length = 0;
    const char *token = quern_tokenizer_token(t, id, &n);
    bool raw = t->kind != QUERN__BPE;
    for (int32_t i = 0; i < t->n_added; i++)
        raw = raw || t->added[i] == id;
    if (t->kind == QUERN__CHAR && t->first_byte >= 0 && id >= t->first_byte)
        return (size_t)sprintf(out, "<0x%02X>", (uint8_t)*token);
    if (raw) {
        length = n;
        memcpy(out, token, n);
    }
    for (size_t i = 0; !raw && i < n; i++)
        length += (size_t)quern__utf8_write(quern__byte_character((uint8_t)token[i]), out + length);
    out[length] = 0;
    return length;
}

static json_t *token_json(const quern_tokenizer *t, int32_t id)
{
    char text[2 * QUERN_PIECE_BYTES + 8];
    size_t n = token_spelling(t, id, text);
    return json_stringn(text, n);
}

/* Fills the vocabulary. A word may have any bytes, but JSON holds only UTF-8: other words are an
 * error. */
static int add_vocab(const quern_tokenizer *t, json_t *vocab, quern_error *err)
{
    char text[2 * QUERN_PIECE_BYTES + 8];
    for (int32_t id = 0; id < t->size; id++) {
        size_t n;
        if (!quern_tokenizer_token(t, id, NULL))
            continue;
        n = token_spelling(t, id, text);
        if (strlen(text) != n || json_object_set_new(vocab, text, json_integer(id)) < 0)
            return quern__fail(err, QUERN_FORMAT, NULL,
                               "token %d cannot be written as JSON: it is not UTF-8 text", id);
    }
    return QUERN_OK;
}

static json_t *merges_json(const quern_tokenizer *t, quern_error *err)
{
    json_t *merges = json_array();
    const quern__merge **by_rank = quern__zalloc(t->n_merges, sizeof *by_rank);
    if (!by_rank || !merges) {
        quern__fail_memory(err, t->n_merges * sizeof *by_rank);
        quern__free(by_rank);
        json_decref(merges);
        return NULL;
    }
    for (size_t i = 0; i < t->n_slots; i++)
        if (t->merges[i].rank != UINT32_MAX)
            by_rank[t->merges[i].rank] = &t->merges[i];
    for (uint32_t k = 0; k < t->n_merges; k++)
        if (by_rank[k])
            json_array_append_new(merges, json_pack("[o,o]", token_json(t, by_rank[k]->left),
                                                    token_json(t, by_rank[k]->right)));
    quern__free(by_rank);
    return merges;
}

static json_t *added_json(const quern_tokenizer *t)
{
    json_t *added = json_array();
    for (int32_t i = 0; i < t->n_added; i++)
        json_array_append_new(added,
                              json_pack("{s:i, s:o, s:b, s:b, s:b, s:b, s:b}", "id", t->added[i],
                                        "content", token_json(t, t->added[i]), "single_word", 0,
                                        "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1));
    return added;
}

static json_t *normalizer_json(const quern_tokenizer *t)
{
    json_t *steps = json_array();
    if (t->strip)
        json_array_append_new(steps, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern",
                                               "Regex", QUERN__PUNCTUATION, "content", ""));
    if (t->lower)
        json_array_append_new(steps, json_pack("{s:s}", "type", "Lowercase"));
    if (json_array_size(steps))
        return json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", steps);
    json_decref(steps);
    return json_null();
}

static json_t *byte_level_json(bool regex)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                     "trim_offsets", 1, "use_regex", regex);
}

static json_t *cutter_json(const quern_tokenizer *t)
{
    char pattern[200];
    if (t->kind == QUERN__WORD)
        return json_pack("{s:s}", "type", "WhitespaceSplit");
    if (t->kind == QUERN__CHAR || !t->digits)
        return t->kind == QUERN__CHAR ? json_null() : byte_level_json(true);
    snprintf(pattern, sizeof pattern, QUERN__LATER_PATTERN, t->digits == 1 ? "" : "{1,3}");
    return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}", "type", "Sequence", "pretokenizers",
                     "type", "Split", "pattern", "Regex", pattern, "behavior", "Isolated", "invert",
                     0, byte_level_json(false));
}

static json_t *decoder_json(const quern_tokenizer *t)
{
    if (t->kind == QUERN__WORD)
        return json_null();
    return t->kind == QUERN__BPE ? byte_level_json(true)
                                 : json_pack("{s:s, s:[{s:s}, {s:s}]}", "type", "Sequence",
                                             "decoders", "type", "ByteFallback", "type", "Fuse");
}

/* Adds model, pre-tokenizer and decoder of the kind. */
static void add_kind(const quern_tokenizer *t, json_t *root, json_t *model)
{
    json_object_set_new(root, "pre_tokenizer", cutter_json(t));
    json_object_set_new(root, "decoder", decoder_json(t));
    if (t->kind == QUERN__WORD) {
        json_object_set_new(model, "type", json_string("WordLevel"));
        json_object_set_new(model, "unk_token", json_string("[UNK]"));
        return;
    }
    json_object_set_new(model, "type", json_string("BPE"));
    json_object_set_new(model, "dropout", json_null());
    json_object_set_new(model, "unk_token", json_null());
    json_object_set_new(model, "continuing_subword_prefix", json_null());
    json_object_set_new(model, "end_of_word_suffix", json_null());
    json_object_set_new(model, "fuse_unk", json_false());
    json_object_set_new(model, "byte_fallback", json_boolean(t->first_byte >= 0));
    json_object_set_new(model, "ignore_merges", json_boolean(t->ignore_merges));
}

char *quern_tokenizer_json(const quern_tokenizer *t, size_t *size, quern_error *err)
{
    QUERN__ENTER(err, NULL, "tokenizer", t);
    json_t *root = json_pack("{s:s, s:n, s:n, s:o, s:o}", "version", "1.0", "truncation", "padding",
                             "added_tokens", added_json(t), "normalizer", normalizer_json(t));
    json_t *model = json_object(), *vocab = json_object(), *merges = NULL;
    char *out = NULL;
    add_kind(t, root, model);
    json_object_set_new(root, "post_processor", json_null());
    if (add_vocab(t, vocab, err) >= 0 && (merges = merges_json(t, err))) {
        json_object_set(model, "vocab", vocab);
        if (t->kind != QUERN__WORD)
            json_object_set(model, "merges", merges);
        json_object_set(root, "model", model);
        if (!(out = quern__json_text(root, JSON_COMPACT)))
            quern__fail(err, QUERN_NOMEM, NULL, "out of memory");
    }
    json_decref(merges);
    json_decref(vocab);
    json_decref(model);
    json_decref(root);
    if (size)
        *size = out ? strlen(out) : 0;
    return out;
}
