/* tokenizer: the interface between the files of the tokenizers. A trainer (tokenizer_train.c,
 * bpe_merges.c) or reader (tokenizer_read.c) fills a tokenizer and finishes it. After that it is
 * immutable, so any number of threads may use it. */
#ifndef QUERN__TOKENIZER_H
#define QUERN__TOKENIZER_H

#include "base/utf8.h"
#include "text/keras/string_table.h"

#include <jansson.h>
#include <quern/text.h>

enum { QUERN__CHAR, QUERN__WORD, QUERN__BPE };
enum {
    QUERN__MOST_TOKENS = 1 << 22,
    QUERN__MOST_ADDED = 4096,    /* added tokens; the split into pre-tokens does not divide them */
    QUERN__ADDED_BYTES = 1024,   /* bytes of an added token */
    QUERN__FILE_BYTES = 64 << 20 /* bytes of a tokenizer.json */
};

/* A merge of two tokens; a lower rank merges first. `rank` UINT32_MAX: a free slot. */
typedef struct quern__merge {
    int32_t left, right;
    uint32_t rank;
} quern__merge;

struct quern_tokenizer {
    int kind;
    int64_t size;
    quern__strings tokens; /* `count` of a string is its first id */
    int32_t *string_of;    /* by id: index in `tokens`; -1: the id has no token */

    bool lower;         /* char, word: convert to lower case */
    bool strip;         /* word: remove punctuation */
    int32_t first_byte; /* char: id of byte 0, the other 255 follow; -1: no ids for bytes */
    uint16_t *pages;    /* char: by code point / 256, index of a page of `ids` */
    int32_t *ids;       /* by page and code point % 256; -1: no id */

    int32_t byte_ids[256]; /* bpe: by byte */
    quern__merge *merges; /* hash table; the number of slots is a power of two; at most half full */
    size_t n_slots;
    int32_t *products; /* by rank: id of the merged token */
    uint32_t n_merges;
    int digits; /* 0: GPT-2's pattern; else the later pattern, with at most `digits` digits in a
                   pre-token */
    bool ignore_merges; /* a pre-token that is a token is not split into merges */
    int32_t *added;     /* ids of added tokens, sorted by their bytes */
    int32_t n_added,
        added_from[257]; /* those that begin with byte b: added_from[b] … added_from[b+1]-1 */
};

/* ---- tokenizer.c ---- */
/* A tokenizer with `size` ids without tokens. Returns new; NULL on failure. */
quern_tokenizer *quern__tokenizer_new(int kind, int64_t size, quern_error *err);
/* Sets the bytes of an id. QUERN_FORMAT if the id already has a token. */
int quern__tokenizer_set(quern_tokenizer *t, int64_t id, const char *bytes, size_t n,
                         quern_error *err);
/* Ends an encode function: `count` ids were written for `at` bytes. `needed`: ids of the
 * pre-token that did not fit, or 0; an error if it was the first. */
int64_t quern__encoded(int64_t count, size_t at, size_t *used, int64_t needed, int64_t room,
                       quern_error *err);

/* ---- one file per kind; the encode functions have the contract of quern_tokenizer_encode ---- */
int64_t quern__char_encode(const quern_tokenizer *t, const char *text, size_t n, bool final,
                           int32_t *ids, int64_t room, size_t *used, quern_error *err);
/* Builds the pages from the tokens. */
int quern__char_finish(quern_tokenizer *t, quern_error *err);

int64_t quern__word_encode(const quern_tokenizer *t, const char *text, size_t n, bool final,
                           int32_t *ids, int64_t room, size_t *used, quern_error *err);
/* ASCII white space. */
static inline bool quern__is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
/* The next word: *skip bytes of white space, then a word of the returned length. 0: no word, or
 * its end is not in the text. */
size_t quern__word_next(const char *text, size_t n, bool final, size_t *skip);
/* Writes the word as in the vocabulary to `out` (n bytes). Returns its length. */
size_t quern__word_clean(const char *word, size_t n, bool lower, bool strip, char *out);

int64_t quern__bpe_encode(const quern_tokenizer *t, const char *text, size_t n, bool final,
                          int32_t *ids, int64_t room, size_t *used, quern_error *err);
/* Allocates the table for n_merges merges. Then add_merge inserts them by ascending rank; of
 * equal pairs the last is used. */
int quern__bpe_reserve(quern_tokenizer *t, size_t n_merges, quern_error *err);
void quern__bpe_add_merge(quern_tokenizer *t, int32_t left, int32_t right, int32_t product);
/* Checks that every byte has a token, and sorts `added`. */
int quern__bpe_finish(quern_tokenizer *t, quern_error *err);

/* ---- pre_tokens.c ---- */
/* The length of the pre-token at the start of the text (n > 0); 0: more text is needed. *added
 * is the id of an added token of `t` (may be NULL), or -1. */
size_t quern__pre_token_length(const quern_tokenizer *t, const char *text, size_t n, bool final,
                               int32_t *added);

/* ---- tokenizer_read.c ---- */
/* Creates a tokenizer from a tokenizer.json. Borrows `root`. Returns new; NULL on failure. */
quern_tokenizer *quern__tokenizer_read(json_t *root, quern_error *err);
/* The later pattern as in files, with "%s" for the digits: "{1,3}" or "". */
#define QUERN__LATER_PATTERN                                                \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}%s| " \
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
/* The pattern of files for ASCII punctuation. */
#define QUERN__PUNCTUATION "[!-/:-@\\[-`{-~]"

/* ---- bpe_merges.c ---- */
/* Learns merges from counted pre-tokens, by descending count; ties by the lowest ids. Borrows
 * `pieces`. Returns new; NULL on failure. */
quern_tokenizer *quern__bpe_learn(const quern__strings *pieces, int64_t vocab_size,
                                  int64_t min_count, quern_error *err);

/* ---- byte_alphabet.c ---- */
/* Files of kind "bpe" have a character for each byte, as in GPT-2. The functions convert a byte
 * to its character and back (-1: none). */
uint32_t quern__byte_character(int byte);
int quern__character_byte(uint32_t c);
/* Byte i in the order of these characters. */
int quern__byte_at(int i);

#endif
