/* What the files of tokenizers share. A tokenizer is filled by its trainer (tokenizer_train.c, bpe_merges.c) or its reader
 * (tokenizer_read.c), finished once, and never changed again. */
#ifndef QUERN__TOKENIZER_H
#define QUERN__TOKENIZER_H

#include "base/utf8.h"
#include "text/keras/string_table.h"

#include <jansson.h>
#include <quern/text.h>

enum { QUERN__CHAR, QUERN__WORD, QUERN__BPE };
enum {
    QUERN__MOST_TOKENS = 1 << 22,
    QUERN__MOST_ADDED = 4096,    /* tokens that are looked for before the text is cut into pieces */
    QUERN__ADDED_BYTES = 1024,   /* of one of them */
    QUERN__FILE_BYTES = 64 << 20 /* of a tokenizer.json */
};

/* Two tokens that become one; the lowest rank first. `rank` UINT32_MAX: a free slot. */
typedef struct quern__merge {
    int32_t left, right;
    uint32_t rank;
} quern__merge;

struct quern_tokenizer {
    int kind;
    int64_t size;
    quern__strings tokens; /* count: the (first) id */
    int32_t *string_of;    /* by id: its number in `tokens`, -1: the id has no token */

    bool lower;         /* char and word */
    bool strip;         /* word: punctuation is deleted */
    int32_t first_byte; /* char: id of byte 0, the other 255 follow; -1: bytes have none */
    uint16_t *pages;    /* char: by code point / 256 a page of `ids` */
    int32_t *ids;       /* -1: the character has none */

    int32_t byte_ids[256]; /* bpe */
    quern__merge *merges;  /* a hash table with a power of two of slots, at most half full */
    size_t n_slots;
    int32_t *products; /* by rank */
    uint32_t n_merges;
    int digits;                       /* 0: GPT-2's pattern; else the later one, with at most so many digits in a piece */
    bool ignore_merges;               /* a piece that is a token is that token, whatever the merges say */
    int32_t *added;                   /* ids, sorted by their bytes */
    int32_t n_added, added_from[257]; /* those that begin with byte b: added_from[b] … added_from[b+1]-1 */
};

/* ---- tokenizer.c ---- */
/* New and empty, of that kind, with room for `size` ids that have no tokens yet. */
quern_tokenizer *quern__tokenizer_new(int kind, int64_t size, quern_error *err);
/* Gives the id its bytes. QUERN_FORMAT when it has some already. */
int quern__tokenizer_set(quern_tokenizer *t, int64_t id, const char *bytes, size_t n, quern_error *err);
/* The end of every encode: `count` ids of `at` bytes. `needed`: ids of the piece for which there was no more room, or 0; if it was
 * the first, that is an error. */
int64_t quern__encoded(int64_t count, size_t at, size_t *used, int64_t needed, int64_t room, quern_error *err);

/* ---- one file a kind; encode and its like as quern_tokenizer_encode ---- */
int64_t quern__char_encode(const quern_tokenizer *t, const char *text, size_t n, bool final, int32_t *ids, int64_t room,
                           size_t *used, quern_error *err);
/* Builds the pages from the tokens. */
int quern__char_finish(quern_tokenizer *t, quern_error *err);

int64_t quern__word_encode(const quern_tokenizer *t, const char *text, size_t n, bool final, int32_t *ids, int64_t room,
                           size_t *used, quern_error *err);
/* White space of ASCII. */
static inline bool quern__is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
/* The next word of `text`: *skip bytes of white space, then the result's length. 0: there is none, or its end is not here yet. */
size_t quern__word_next(const char *text, size_t n, bool final, size_t *skip);
/* The word as the vocabulary has it, in `out` (room for n); how long that is. */
size_t quern__word_clean(const char *word, size_t n, bool lower, bool strip, char *out);

int64_t quern__bpe_encode(const quern_tokenizer *t, const char *text, size_t n, bool final, int32_t *ids, int64_t room,
                          size_t *used, quern_error *err);
/* Makes the table for that many merges, then enters them by rising rank; of equal pairs the last counts. */
int quern__bpe_reserve(quern_tokenizer *t, size_t n_merges, quern_error *err);
void quern__bpe_add_merge(quern_tokenizer *t, int32_t left, int32_t right, int32_t product);
/* Sees that every byte has a token, and sorts what `added` holds. */
int quern__bpe_finish(quern_tokenizer *t, quern_error *err);

/* ---- pre_tokens.c ---- */
/* Length of GPT-2's piece at the start of the text (n > 0); 0: its end is not here yet. *added gets the id of a token of `t` (NULL:
 * has none) that is looked for before, or -1. */
size_t quern__pre_token_length(const quern_tokenizer *t, const char *text, size_t n, bool final, int32_t *added);

/* ---- tokenizer_read.c ---- */
/* What a tokenizer.json says. Borrows `root`. Returns new, NULL on failure. */
quern_tokenizer *quern__tokenizer_read(json_t *root, quern_error *err);
/* The later pattern of pieces as files have it, with "%s" for the digits: "{1,3}" or "". */
#define QUERN__LATER_PATTERN                                                \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}%s| " \
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
/* The pattern that files have for ASCII punctuation. */
#define QUERN__PUNCTUATION "[!-/:-@\\[-`{-~]"

/* ---- bpe_merges.c ---- */
/* Merges learned from counted pieces, by falling count, ties by the lowest pair of ids. Takes nothing. */
quern_tokenizer *quern__bpe_learn(const quern__strings *pieces, int64_t vocab_size, int64_t min_count, quern_error *err);

/* ---- byte_alphabet.c ---- */
/* Tokens of "bpe" are written with a character for each byte, as GPT-2 does: which, and which byte a character stands for (-1:
 * none). */
uint32_t quern__byte_character(int byte);
int quern__character_byte(uint32_t c);
/* The byte at place i of the order of these characters. */
int quern__byte_at(int i);

#endif
