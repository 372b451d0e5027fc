/* Converts text to UTF-8 with iconv; the contract is in text_encoding.h. */
#include "text_encoding.h"

#include <errno.h>
#include <iconv.h>
#include <string.h>

struct quern__decoder {
    iconv_t to_utf8;
    const char *path; /* borrowed */
    char name[32];
    char *raw;
    size_t begin, end, room;
    int64_t done; /* file bytes converted so far */
};

quern__decoder *quern__decoder_new(const char *encoding, const char *path, const char *raw,
                                   size_t n, quern_error *err)
{
    quern__decoder *d = quern__zalloc(1, sizeof *d);
    if (!d) {
        quern__fail_memory(err, sizeof *d);
        return NULL;
    }
    d->room = n > QUERN__DECODE_BYTES ? n : QUERN__DECODE_BYTES;
    d->raw = quern__alloc(d->room);
    d->to_utf8 = iconv_open("UTF-8", encoding);
    d->path = path;
    d->end = n;
    strncpy(d->name, encoding, sizeof d->name - 1);
    if (d->raw && d->to_utf8 != (iconv_t)-1) {
        memcpy(d->raw, raw, n);
        return d;
    }
    if (!d->raw)
        quern__fail_memory(err, d->room);
    else {
        quern__fail(err, QUERN_INVALID, "encoding", "'%.60s' is not an encoding of this system",
                    encoding);
        quern__hint(err, "list the encodings with iconv -l");
    }
    quern__decoder_free(d);
    return NULL;
}

char *quern__decoder_room(quern__decoder *d, size_t *n)
{
    memmove(d->raw, d->raw + d->begin, d->end - d->begin);
    d->end -= d->begin;
    d->begin = 0;
    *n = d->room - d->end;
    return d->raw + d->end;
}

void quern__decoder_put(quern__decoder *d, size_t n) { d->end += n; }

int64_t quern__decoder_take(quern__decoder *d, char *to, size_t n, bool last, quern_error *err)
{
    char *in = d->raw + d->begin, *out = to;
    size_t left = d->end - d->begin, room = n;
    errno = 0;
    size_t result = left ? iconv(d->to_utf8, &in, &left, &out, &room) : 0;
    int why = result == (size_t)-1 ? errno : 0;
    d->done += (in - d->raw) - (int64_t)d->begin;
    d->begin = (size_t)(in - d->raw);
    if (why == EILSEQ && out == to)
        return quern__fail(err, QUERN_FORMAT, d->path, "byte %lld: is not %s text",
                           (long long)d->done, d->name);
    if (why == EINVAL && last && out == to)
        return quern__fail(err, QUERN_FORMAT, d->path, "byte %lld: %s text ends within a character",
                           (long long)d->done, d->name);
    return out - to;
}

void quern__decoder_reset(quern__decoder *d)
{
    iconv(d->to_utf8, NULL, NULL, NULL, NULL);
    d->begin = d->end = 0;
    d->done = 0;
}

void quern__decoder_free(quern__decoder *d)
{
    if (!d)
        return;
    if (d->to_utf8 && d->to_utf8 != (iconv_t)-1)
        iconv_close(d->to_utf8);
    quern__free(d->raw);
    quern__free(d);
}
