/* Keras 2's text_to_word_sequence and Tokenizer: words between separators, with indices by
 * descending count; words of equal count are in order of first occurrence. */
#include "base/utf8.h"
#include "string_table.h"

#include <math.h>
#include <quern/text.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define FILTERS "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n"

enum { opts_0_1 = 48 }; /* bytes of quern_word_opts in version 0.1 */

struct quern_word_index {
    char *filters, *split, *oov;
    quern_word_opts o;
    quern__strings words;
    int32_t *order, *place; /* words by index; index of each word; NULL until finish */
    int64_t texts, oov_index;
};

/* ---- words of a text ---- */

/* Copies the text in lower case and replaces each character of `filters` with the separator.
 * `whole`: no filters. */
static int clean_text(const char *text, size_t n, const quern_word_opts *o, bool whole,
                      quern__text *out, quern_error *err)
{
    const char *filters = o->filters ? o->filters : FILTERS, *split = o->split ? o->split : " ";
    for (size_t at = 0; at < n;) {
        uint32_t c;
        char bytes[8], as_it_was[8] = { 0 };
        int length = quern__utf8_read(text + at, n - at, &c);
        if (length < 1)
            return quern__fail(err, QUERN_FORMAT, "text", "byte %zu is not valid UTF-8", at);
        at += (size_t)length;
        if (!o->keep_case &&
            c == 0x130) { /* the only character whose lower case has two characters */
            quern__text_add_bytes(out, "i\xcc\x87", 3);
            continue;
        }
        c = o->keep_case ? c : (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
        length = quern__utf8_write(c, bytes);
        memcpy(as_it_was, bytes, (size_t)length);
        if (!whole && c && strstr(filters, as_it_was))
            quern__text_add_bytes(out, split, strlen(split));
        else
            quern__text_add_bytes(out, bytes, (size_t)length);
    }
    return out->failed ? quern__fail_memory(err, n) : QUERN_OK;
}

/* Calls `word` for each word or character of a text. Returns their number, or a negative status. */
static int64_t each_word(const char *text, size_t n, const quern_word_opts *o, quern_word *word,
                         void *user, quern_error *err)
{
    quern__text t = { 0 };
    const char *split = o->split ? o->split : " ";
    size_t width = strlen(split), from = 0;
    int64_t words = 0;
    int status = width ? clean_text(text, n, o, o->char_level, &t, err)
                       : quern__fail(err, QUERN_INVALID, "split", "is empty");
    while (status >= 0 && from < t.length) {
        uint32_t c;
        const char *found =
            o->char_level ? NULL : memmem(t.data + from, t.length - from, split, width);
        size_t length = o->char_level ? (size_t)quern__utf8_read(t.data + from, t.length - from, &c)
                        : found       ? (size_t)(found - t.data) - from
                                      : t.length - from;
        if (length) {
            status = word(user, t.data + from, length, err);
            words++;
        }
        from += length + (o->char_level ? 0 : width);
    }
    quern__text_free(&t);
    return status < 0 ? status : words;
}

int64_t quern_text_to_word_sequence(const char *text, size_t n, const quern_word_opts *opts,
                                    quern_word *word, void *user, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "text", n ? text : "", "word", word);
    quern_word_opts o;
    int status = QUERN__OPTIONS(o, opts_0_1, opts, err);
    return status < 0 ? status : each_word(text, n, &o, word, user, err);
}

/* ---- fit ---- */

void quern_word_index_free(quern_word_index *w)
{
    if (!w)
        return;
    quern__strings_free(&w->words);
    quern__free(w->filters);
    quern__free(w->split);
    quern__free(w->oov);
    quern__free(w->order);
    quern__free(w->place);
    quern__free(w);
}

/* Copies a text that may be NULL. False: out of memory. */
static bool copied(const char *text, char **out)
{
    *out = text ? quern__strdup(text) : NULL;
    return !text || *out;
}

quern_word_index *quern_word_index_new(const quern_word_opts *opts, quern_error *err)
{
    QUERN__ENTER_ANY(err);
    quern_word_opts o;
    if (QUERN__OPTIONS(o, opts_0_1, opts, err) < 0)
        return NULL;
    if (o.num_words < 0 || (o.split && !*o.split)) {
        quern__fail(err, QUERN_INVALID, o.num_words < 0 ? "num_words" : "split",
                    o.num_words < 0 ? "is negative" : "is empty");
        return NULL;
    }
    quern_word_index *w = quern__zalloc(1, sizeof *w);
    if (w)
        w->o = o;
    if (!w || !copied(w->o.filters, &w->filters) || !copied(w->o.split, &w->split) ||
        !copied(w->o.oov_token, &w->oov)) {
        quern_word_index_free(w);
        quern__fail_memory(err, sizeof *w);
        return NULL;
    }
    w->o.filters = w->filters;
    w->o.split = w->split;
    w->o.oov_token = w->oov;
    return w;
}

static int count_word(void *user, const char *word, size_t n, quern_error *err)
{
    quern_word_index *w = user;
    int64_t number = quern__strings_count(&w->words, word, n, err);
    if (number < 0)
        return (int)number;
    quern__string *s = &w->words.items[number];
    s->texts += s->last_text != w->texts;
    s->last_text = w->texts;
    return QUERN_OK;
}

int quern_word_index_fit(quern_word_index *w, const char *text, size_t n, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "word index", w, "text", n ? text : "");
    quern__free(w->order);
    quern__free(w->place);
    w->order = w->place = NULL;
    w->texts++;
    int64_t words = each_word(text, n, &w->o, count_word, w, err);
    return words < 0 ? (int)words : QUERN_OK;
}

static int by_count(const void *a, const void *b, void *context)
{
    const quern__strings *s = context;
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    if (s->items[x].count != s->items[y].count)
        return s->items[x].count < s->items[y].count ? 1 : -1;
    return (x > y) - (x < y);
}

int quern_word_index_finish(quern_word_index *w, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "word index", w);
    size_t n = (size_t)w->words.n;
    if (w->order)
        return QUERN_OK;
    w->order = quern__zalloc(n + 1, sizeof *w->order);
    w->place = quern__zalloc(n + 1, sizeof *w->place);
    if (!w->order || !w->place) {
        quern__free(w->order);
        quern__free(w->place);
        w->order = w->place = NULL;
        return quern__fail_memory(err, n * sizeof *w->order);
    }
    for (size_t i = 0; i < n; i++)
        w->order[i] = (int32_t)i;
    qsort_r(w->order, n, sizeof *w->order, by_count, &w->words);
    for (size_t i = 0; i < n; i++)
        w->place[w->order[i]] = (int32_t)i;
    int64_t own = w->oov ? quern__strings_find(&w->words, w->oov, strlen(w->oov)) : -1;
    w->oov_index = !w->oov   ? 0
                   : own < 0 ? 1
                             : w->place[own] + 2; /* a word equal to oov_token takes its index */
    return QUERN_OK;
}

/* ---- results ---- */

int64_t quern_word_index_size(const quern_word_index *w)
{
    return w && w->order ? w->words.n + (w->oov != NULL) : 0;
}
int64_t quern_word_index_texts(const quern_word_index *w) { return w ? w->texts : 0; }

const char *quern_word_index_word(const quern_word_index *w, int64_t index, size_t *size,
                                  int64_t *count, int64_t *texts)
{
    if (!w)
        return NULL;
    int64_t k = index - 1 - (w->oov != NULL);
    bool special = w->oov && index == 1 && w->oov_index == 1 && w->order,
         known = w->order && k >= 0 && k < w->words.n;
    const quern__string *s = known ? &w->words.items[w->order[k]] : NULL;
    if (size)
        *size = s ? s->length : special ? strlen(w->oov) : 0;
    if (count)
        *count = s ? s->count : 0;
    if (texts)
        *texts = s ? s->texts : 0;
    return s ? w->words.bytes + s->start : special ? w->oov : NULL;
}

typedef struct sequence {
    const quern_word_index *w;
    int64_t *ids, room, n;
} sequence;

static int take_index(void *user, const char *word, size_t n, quern_error *err)
{
    sequence *s = user;
    const quern_word_index *w = s->w;
    int64_t number = quern__strings_find(&w->words, word, n),
            index = number < 0 ? 0 : w->place[number] + 1 + (w->oov != NULL);
    (void)err;
    if (index == 0 || (w->o.num_words && index >= w->o.num_words))
        index = w->oov_index;
    if (index && s->n < s->room)
        s->ids[s->n] = index;
    s->n += index > 0;
    return QUERN_OK;
}

static int finished(const quern_word_index *w, quern_error *err)
{
    return w->order ? QUERN_OK
                    : quern__fail(err, QUERN_INVALID, "word index",
                                  "quern_word_index_finish was not called");
}

int64_t quern_word_index_sequence(const quern_word_index *w, const char *text, size_t n,
                                  int64_t *ids, int64_t room, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "word index", w, "text", n ? text : "", "ids",
                 room > 0 ? (const void *)ids : "");
    sequence s = { w, ids, room, 0 };
    int64_t status = finished(w, err);
    if (status >= 0)
        status = each_word(text, n, &w->o, take_index, &s, err);
    return status < 0 ? status : s.n;
}

int64_t quern_word_index_text(const quern_word_index *w, const int64_t *ids, int64_t n, char *out,
                              size_t room, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "word index", w, "ids", n > 0 ? (const void *)ids : "", "out",
                 room ? out : "");
    size_t used = 0, length;
    int status = finished(w, err);
    for (int64_t i = 0; i < n && status >= 0; i++) {
        const char *word = quern_word_index_word(w, ids[i], &length, NULL, NULL);
        if (!word || (w->o.num_words && ids[i] >= w->o.num_words))
            word =
                w->oov_index ? quern_word_index_word(w, w->oov_index, &length, NULL, NULL) : NULL;
        if (!word)
            continue;
        if (room - used < length + (used > 0))
            return quern__fail(err, QUERN_INVALID, "word index", "the text exceeds %zu bytes",
                               room);
        if (used)
            out[used++] = ' ';
        memcpy(out + used, word, length);
        used += length;
    }
    return status < 0 ? status : (int64_t)used;
}

int64_t quern_word_index_columns(const quern_word_index *w)
{
    return !w ? 0 : w->o.num_words ? w->o.num_words : quern_word_index_size(w) + 1;
}

int quern_word_index_row(const quern_word_index *w, const int64_t *ids, int64_t n, const char *mode,
                         double *row, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "word index", w, "ids", n > 0 ? (const void *)ids : "", "mode",
                 mode, "row", row);
    static const char *const modes[] = { "binary", "count", "tfidf", "freq" };
    int64_t columns = quern_word_index_columns(w), texts;
    size_t m = 0;
    int status = finished(w, err);
    while (m < 4 && mode && strcmp(mode, modes[m]))
        m++;
    if (status < 0)
        return status;
    if (m == 4)
        return quern__fail(err, QUERN_INVALID, "mode",
                           "'%.40s' is not binary, count, tfidf or freq", mode);
    memset(row, 0, (size_t)columns * sizeof *row);
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0)
            return quern__fail(err, QUERN_NUMBER, "word index", "index %lld is negative",
                               (long long)ids[i]);
        if (ids[i] < columns)
            row[ids[i]]++;
    }
    for (int64_t j = 0; j < columns; j++) {
        if (!(row[j] > 0) || m == 1)
            continue;
        quern_word_index_word(w, j, NULL, NULL, &texts);
        /* tfidf = (1 + log tf) log(1 + N / (1 + df)) */
        row[j] = m == 2   ? (1 + log(row[j])) * log(1 + (double)w->texts / (1 + (double)texts))
                 : m == 3 ? row[j] / (double)n
                          : 1;
    }
    return QUERN_OK;
}
