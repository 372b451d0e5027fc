/* Character tokenizer: a two-level table maps code points to ids, through pages of 256. */
#include "tokenizer.h"

#include <string.h>
#include <utf8proc.h>

enum { PAGES = 0x1100, PAGE = 256 };

/* The id of a character; -1: none. */
static int32_t char_id(const quern_tokenizer *t, uint32_t c)
{
    return t->ids[t->pages[c / PAGE] * PAGE + c % PAGE];
}

/* Sets the id of a character, on a new page if necessary. Page 0 is shared by all code points
 * without ids. */
static int set_id(quern_tokenizer *t, uint32_t c, int32_t id, int *n_pages, quern_error *err)
{
    if (!t->pages[c / PAGE]) {
        int32_t *ids = quern__realloc(t->ids, (size_t)(*n_pages + 1) * PAGE * sizeof *ids);
        if (!ids)
            return quern__fail_memory(err, (size_t)(*n_pages + 1) * PAGE * sizeof *ids);
        t->ids = ids;
        memset(ids + *n_pages * PAGE, 0xff, PAGE * sizeof *ids);
        t->pages[c / PAGE] = (uint16_t)(*n_pages)++;
    }
    t->ids[t->pages[c / PAGE] * PAGE + c % PAGE] = id;
    return QUERN_OK;
}

/* With `lower`, capital letters get the ids of the small ones, so that encoding needs no
 * conversion. */
static int add_capitals(quern_tokenizer *t, int *n_pages, quern_error *err)
{
    int status = QUERN_OK;
    for (uint32_t c = 0; status >= 0 && c < PAGES * PAGE; c++) {
        uint32_t small = (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
        if (small != c && char_id(t, small) >= 0)
            status = set_id(t, c, char_id(t, small), n_pages, err);
    }
    return status;
}

int quern__char_finish(quern_tokenizer *t, quern_error *err)
{
    int n_pages = 0, status = QUERN_OK;
    int64_t characters = t->first_byte >= 0 ? t->first_byte : t->size;
    t->pages = quern__zalloc(PAGES, sizeof *t->pages);
    if (!t->pages)
        return quern__fail_memory(err, PAGES * sizeof *t->pages);
    t->ids = quern__alloc(PAGE * sizeof *t->ids);
    if (!t->ids)
        return quern__fail_memory(err, PAGE * sizeof *t->ids);
    memset(t->ids, 0xff, PAGE * sizeof *t->ids);
    n_pages = 1;
    for (int64_t id = 0; status >= 0 && id < characters; id++) {
        size_t length;
        uint32_t c = 0;
        const char *token = quern_tokenizer_token(t, (int32_t)id, &length);
        if (!token || !length || quern__utf8_read(token, length, &c) != (int)length)
            status = quern__fail(err, QUERN_FORMAT, NULL, "token %lld is not a single character",
                                 (long long)id);
        else
            status = set_id(t, c, (int32_t)id, &n_pages, err);
    }
    return status >= 0 && t->lower ? add_capitals(t, &n_pages, err) : status;
}

static int char_error(const char *text, size_t at, int length, uint32_t c, quern_error *err)
{
    if (length < 0)
        quern__fail(err, QUERN_FORMAT, NULL, "byte %zu (0x%02x) is not UTF-8", at,
                    (uint8_t)text[at]);
    else
        quern__fail(err, QUERN_NUMBER, NULL,
                    "the character U+%04X at byte %zu is not in the vocabulary", c, at);
    quern__hint(err, "use a tokenizer of kind \"char bytes=true\" to encode such text as bytes");
    return length < 0 ? QUERN_FORMAT : QUERN_NUMBER;
}

int64_t quern__char_encode(const quern_tokenizer *t, const char *text, size_t n, bool final,
                           int32_t *ids, int64_t room, size_t *used, quern_error *err)
{
    int64_t count = 0, needed = 0;
    size_t at = 0;
    while (at < n && !needed) {
        uint32_t c = 0;
        int length = quern__utf8_read(text + at, n - at, &c);
        if (length == 0 && !final)
            break;
        int32_t id = length > 0 ? char_id(t, c) : -1;
        int bytes = id >= 0 ? 0 : length > 0 ? length : 1;
        if (bytes && t->first_byte < 0)
            return char_error(text, at, length > 0 ? length : -1, c, err);
        if (room - count < (bytes ? bytes : 1)) {
            needed = bytes ? bytes : 1;
        } else if (id >= 0) {
            ids[count++] = id;
            at += (size_t)length;
        } else {
            for (int i = 0; i < bytes; i++)
                ids[count++] = t->first_byte + (uint8_t)text[at++];
        }
    }
    return quern__encoded(count, at, used, needed, room, err);
}
