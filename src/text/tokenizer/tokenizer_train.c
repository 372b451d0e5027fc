/* Trains tokenizers: parses the spec string, counts in one pass over the text, and builds the
 * vocabulary from the counts. */
#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

typedef struct train_options {
    int kind;
    int64_t vocab_size, min_count;
    bool bytes, lower, strip;
} train_options;

/* The counts of the pass. */
typedef struct tally {
    const train_options *w;
    quern__strings pieces; /* word, bpe: by word or pre-token */
    int64_t *characters;   /* char: by code point */
} tally;

enum { CODE_POINTS = 0x110000, CHUNK = 1 << 16 };

/* ---- the spec string ---- */

static int option_error(quern_error *err, const char *word, size_t length)
{
    quern__fail(err, QUERN_INVALID, "tokenizer", "'%.*s' is not an option of this kind",
                (int)length, word);
    quern__hint(err, "use char [vocab_size=N bytes=true lower=true], word [vocab_size=N "
                     "min_count=N …], bpe [vocab_size=N min_count=N]");
    return QUERN_INVALID;
}

/* Reads one "name=value"; the valid names depend on the kind. */
static int read_option(train_options *w, const char *word, size_t length, quern_error *err)
{
    char value[32];
    double number;
    size_t name = strcspn(word, "= ");
    bool is_char = w->kind == QUERN__CHAR, is_word = w->kind == QUERN__WORD;
    if (name + 1 >= length || length - name - 1 >= sizeof value)
        return option_error(err, word, length);
    memcpy(value, word + name + 1, length - name - 1);
    value[length - name - 1] = 0;
    bool yes = !strcmp(value, "true"), truth = yes || !strcmp(value, "false");
    bool whole = quern__parse_number(value, &number) && number >= 0 &&
                 number <= QUERN__MOST_TOKENS && number == (int64_t)number;
    if (whole && !strncmp(word, "vocab_size=", 11))
        w->vocab_size = (int64_t)number;
    else if (whole && !is_char && !strncmp(word, "min_count=", 10))
        w->min_count = (int64_t)number;
    else if (truth && w->kind != QUERN__BPE && !strncmp(word, "lower=", 6))
        w->lower = yes;
    else if (truth && is_char && !strncmp(word, "bytes=", 6))
        w->bytes = yes;
    else if (is_word && !strncmp(word, "punctuation=", 12) &&
             (!strcmp(value, "keep") || !strcmp(value, "strip")))
        w->strip = !strcmp(value, "strip");
    else
        return option_error(err, word, length);
    return QUERN_OK;
}

/* Parses a spec string: the kind, then its options. */
static int read_words(train_options *w, const char *words, quern_error *err)
{
    static const train_options kinds[] = {
        { .kind = QUERN__CHAR },
        { .kind = QUERN__WORD, .min_count = 1, .lower = true, .strip = true },
        { .kind = QUERN__BPE, .vocab_size = 1000, .min_count = 2 }
    };
    static const char *const names[] = { "char", "word", "bpe" };
    size_t length;
    int k = 0;
    words += strspn(words, " ");
    length = strcspn(words, " ");
    while (k < 3 && (strlen(names[k]) != length || strncmp(words, names[k], length)))
        k++;
    if (k == 3)
        return quern__fail(err, QUERN_INVALID, "tokenizer", "'%.*s' is not char, word or bpe",
                           (int)length, words);
    *w = kinds[k];
    for (words += length; *(words += strspn(words, " ")); words += length) {
        length = strcspn(words, " ");
        int status = read_option(w, words, length, err);
        if (status < 0)
            return status;
    }
    int64_t least = k == QUERN__WORD ? 2 : k == QUERN__BPE || w->bytes ? 256 : 0;
    if (w->vocab_size ? w->vocab_size < least : k == QUERN__BPE)
        return quern__fail(err, QUERN_INVALID, "tokenizer",
                           "vocab_size=%lld is below %lld, the minimum for kind %s",
                           (long long)w->vocab_size, (long long)least, names[k]);
    return QUERN_OK;
}

/* ---- the pass ---- */

/* The count_ functions count the complete items at the start of the text. They return the number
 * of bytes counted, or a negative status. `before`: bytes counted before. */
static int64_t count_characters(tally *all, const char *text, size_t n, bool final, int64_t before,
                                quern_error *err)
{
    size_t at = 0;
    while (at < n) {
        uint32_t c = 0;
        int length = quern__utf8_read(text + at, n - at, &c);
        if (length == 0 && !final)
            break;
        if (length > 0 && c) /* U+0000 is not counted: vocabulary files cannot contain it */
            all->characters[all->w->lower ? (uint32_t)utf8proc_tolower((utf8proc_int32_t)c) : c]++;
        else if (!all->w->bytes) {
            quern__fail(err, QUERN_FORMAT, "tokenizer", "byte %lld (0x%02x) is not UTF-8 text",
                        (long long)before + (long long)at, (uint8_t)text[at]);
            quern__hint(err, "convert Latin-1 with iconv -f latin1 -t utf-8 FILE, or use "
                             "--tokenizer 'char bytes=true'");
            return QUERN_FORMAT;
        }
        at += length > 0 ? (size_t)length : 1;
    }
    return (int64_t)at;
}

/* Whether a vocabulary file can contain the word; other words stay unknown. */
static bool is_text(const char *word, size_t n)
{
    for (size_t at = 0; at < n;) {
        uint32_t c = 0;
        int length = quern__utf8_read(word + at, n - at, &c);
        if (length <= 0 || !c)
            return false;
        at += (size_t)length;
    }
    return n > 0;
}

static int64_t count_words(tally *all, const char *text, size_t n, bool final, quern_error *err)
{
    char clean[QUERN_PIECE_BYTES];
    size_t at = 0, skip, length;
    while ((length = quern__word_next(text + at, n - at, final, &skip)) > 0) {
        size_t kept =
            quern__word_clean(text + at + skip, length, all->w->lower, all->w->strip, clean);
        int64_t status =
            is_text(clean, kept) ? quern__strings_count(&all->pieces, clean, kept, err) : QUERN_OK;
        if (status < 0)
            return status;
        at += skip + length;
    }
    return (int64_t)(at + skip);
}

static int64_t count_pieces(tally *all, const char *text, size_t n, bool final, quern_error *err)
{
    size_t at = 0, length;
    int32_t added;
    while (at < n &&
           (length = quern__pre_token_length(NULL, text + at, n - at, final, &added)) > 0) {
        int64_t status = quern__strings_count(&all->pieces, text + at, length, err);
        if (status < 0)
            return status;
        at += length;
    }
    return (int64_t)at;
}

static int64_t count_text(tally *all, const char *text, size_t n, bool final, int64_t before,
                          quern_error *err)
{
    switch (all->w->kind) {
    case QUERN__CHAR:
        return count_characters(all, text, n, final, before, err);
    case QUERN__WORD:
        return count_words(all, text, n, final, err);
    default:
        return count_pieces(all, text, n, final, err);
    }
}

/* Reads the whole text in chunks; the incomplete end of a chunk moves to the start of the next. */
static int read_all(tally *all, quern_text_read *read, void *user, quern_error *err)
{
    char *chunk = quern__alloc(CHUNK);
    size_t held = 0;
    int64_t got = 1, taken = 0, before = 0;
    if (!chunk)
        return quern__fail_memory(err, CHUNK);
    while (got > 0 && taken >= 0) {
        got = read(user, chunk + held, (int64_t)(CHUNK - held), err);
        if (got < 0 || got > (int64_t)(CHUNK - held)) {
            taken = quern__fail(err, got < 0 && got >= QUERN_STALLED ? (int)got : QUERN_USER,
                                "tokenizer", "the text cannot be read");
            break;
        }
        held += (size_t)got;
        taken = count_text(all, chunk, held, got == 0, before, err);
        if (taken > 0) {
            held -= (size_t)taken;
            before += taken;
            memmove(chunk, chunk + taken, held);
        }
    }
    quern__free(chunk);
    if (taken >= 0 && before + (int64_t)held == 0)
        return quern__fail(err, QUERN_INVALID, "tokenizer", "the text is empty");
    return taken < 0 ? (int)taken : QUERN_OK;
}

/* ---- the vocabulary ---- */

/* The lowest count among the `most` most frequent characters; *ties: how many of the characters
 * with that count are among them. */
static int64_t rarest_kept(const int64_t *counts, int64_t most, int64_t *ties)
{
    int64_t low = 1, high = INT64_MAX, above;
    while (low < high) { /* the largest count that at least `most` characters reach, or 1 */
        int64_t middle = low + (high - low) / 2 + 1, n = 0;
        for (int c = 0; c < CODE_POINTS; c++)
            n += counts[c] >= middle;
        if (n >= most)
            low = middle;
        else
            high = middle - 1;
    }
    above = 0;
    for (int c = 0; c < CODE_POINTS; c++)
        above += counts[c] > low;
    *ties = most - above;
    return low;
}

/* Builds the vocabulary of characters by code point, then 256 bytes if requested. */
static quern_tokenizer *make_characters(const train_options *w, int64_t *counts, quern_error *err)
{
    int64_t seen = 0, least = 1, ties = INT64_MAX, id = 0,
            most = w->vocab_size ? w->vocab_size - 256 * w->bytes : INT64_MAX;
    for (int c = 0; c < CODE_POINTS; c++)
        seen += counts[c] > 0;
    if (seen > most) {
        least = most ? rarest_kept(counts, most, &ties) : INT64_MAX;
        seen = most;
    }
    quern_tokenizer *t = quern__tokenizer_new(QUERN__CHAR, seen + 256 * w->bytes, err);
    int status = t ? QUERN_OK : QUERN_NOMEM;
    for (int c = 0; status >= 0 && c < CODE_POINTS; c++) {
        char bytes[4];
        if (counts[c] > least || (counts[c] == least && ties-- > 0))
            status = quern__tokenizer_set(t, id++, bytes,
                                          (size_t)quern__utf8_write((uint32_t)c, bytes), err);
    }
    if (w->bytes)
        for (int b = 0; status >= 0 && b < 256; b++)
            status = quern__tokenizer_set(t, id++, &(char){ (char)b }, 1, err);
    if (status >= 0) {
        t->lower = w->lower;
        t->first_byte = w->bytes ? (int32_t)seen : -1;
        status = quern__char_finish(t, err);
    }
    if (status >= 0)
        return t;
    quern_tokenizer_free(t);
    return NULL;
}

/* Builds the vocabulary of words by descending count, after "" and "[UNK]". */
static quern_tokenizer *make_words(const train_options *w, const quern__strings *pieces,
                                   quern_error *err)
{
    int64_t n = 0, most = w->vocab_size ? w->vocab_size - 2 : QUERN__MOST_TOKENS - 2;
    int32_t *order = quern__alloc((size_t)pieces->n * sizeof *order);
    if (!order) {
        quern__fail_memory(err, (size_t)pieces->n * sizeof *order);
        return NULL;
    }
    quern__strings_sort(pieces, order);
    while (n < pieces->n && n < most && pieces->items[order[n]].count >= w->min_count)
        n++;
    quern_tokenizer *t = quern__tokenizer_new(QUERN__WORD, n + 2, err);
    int status = t ? quern__tokenizer_set(t, 0, "", 0, err) : QUERN_NOMEM;
    if (status >= 0)
        status = quern__tokenizer_set(t, 1, "[UNK]", 5, err);
    for (int64_t i = 0; status >= 0 && i < n; i++)
        status = quern__tokenizer_set(t, i + 2, quern__strings_at(pieces, order[i]),
                                      pieces->items[order[i]].length, err);
    quern__free(order);
    if (status >= 0) {
        t->lower = w->lower;
        t->strip = w->strip;
        return t;
    }
    quern_tokenizer_free(t);
    return NULL;
}

quern_tokenizer *quern_tokenizer_train(const char *words, quern_text_read *read, void *user,
                                       quern_error *err)
{
    QUERN__ENTER(err, NULL, "words", words, "read", read);
    train_options w;
    tally all = { .w = &w };
    quern_tokenizer *t = NULL;
    if (read_words(&w, words, err) < 0)
        return NULL;
    if (w.kind == QUERN__CHAR)
        all.characters = quern__zalloc(CODE_POINTS, sizeof *all.characters);
    if (w.kind == QUERN__CHAR && !all.characters) {
        quern__fail_memory(err, CODE_POINTS * sizeof *all.characters);
        return NULL;
    }
    if (read_all(&all, read, user, err) >= 0)
        t = w.kind == QUERN__CHAR   ? make_characters(&w, all.characters, err)
            : w.kind == QUERN__WORD ? make_words(&w, &all.pieces, err)
                                    : quern__bpe_learn(&all.pieces, w.vocab_size, w.min_count, err);
    quern__strings_free(&all.pieces);
    quern__free(all.characters);
    return t;
}
