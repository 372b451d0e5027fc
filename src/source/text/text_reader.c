/* Sequential reader of the concatenated text of files: plain, gzipped, or standard input. */
#include "corpus.h"

#include <stdio.h>
#include <string.h>

enum { buffer_bytes = 1 << 16 };

struct quern_text_reader {
    char **paths;
    int n, at; /* number of files; index of the open one */
    bool fresh;
    quern__bytes bytes;
    int64_t given, *starts; /* bytes read so far; by file: offset of its first byte */
};

static int open_file(quern_text_reader *r, int k, quern_error *err)
{
    r->at = k;
    r->starts[k] = k ? r->given : 0;
    r->given = r->starts[k];
    return quern__bytes_open(&r->bytes, r->paths[k], buffer_bytes, err);
}

quern_text_reader *quern_text_reader_open(const char *paths, quern_error *err)
{
    QUERN__ENTER(err, NULL, "paths", paths);
    quern_text_reader *r = quern__zalloc(1, sizeof *r);
    if (!r) {
        quern__fail_memory(err, sizeof *r);
        return NULL;
    }
    r->bytes.fd = -1;
    r->fresh = true;
    int status = quern__paths_find(paths, &r->paths, &r->n, err);
    if (status >= 0 && !(r->starts = quern__zalloc((size_t)r->n, sizeof *r->starts)))
        status = quern__fail_memory(err, (size_t)r->n * sizeof *r->starts);
    if (status >= 0 && open_file(r, 0, err) >= 0)
        return r;
    quern_text_reader_close(r);
    return NULL;
}

int64_t quern_text_reader_read(void *reader, char *to, int64_t room, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "reader", reader, "to", to);
    quern_text_reader *r = reader;
    quern__bytes *b = &r->bytes;
    r->fresh = false;
    while (b->begin == b->end) {
        quern__activity_set("reading", r->paths[r->at], "byte", r->given - r->starts[r->at] + 1);
        int64_t got = quern__bytes_more(b, buffer_bytes, err);
        if (got < 0 || (got == 0 && r->at + 1 == r->n))
            return got;
        if (got == 0) {
            int status = open_file(r, r->at + 1, err);
            if (status < 0)
                return status;
        }
    }
    size_t n = b->end - b->begin < (size_t)room ? b->end - b->begin : (size_t)room;
    memcpy(to, b->buffer + b->begin, n);
    b->begin += n;
    r->given += (int64_t)n;
    return (int64_t)n;
}

bool quern__text_reader_once(const quern_text_reader *r)
{
    return r->n == 1 && r->bytes.offset < 0 && !r->bytes.gz;
}

int quern__text_reader_rewind(quern_text_reader *r, quern_error *err)
{
    if (r->fresh)
        return QUERN_OK;
    r->fresh = true;
    r->given = 0;
    return r->n > 1 ? open_file(r, 0, err) : quern__bytes_rewind(&r->bytes, err);
}

const char *quern__text_reader_where(const quern_text_reader *r, int64_t at, int64_t *in_file)
{
    int k = r->at;
    while (k > 0 && r->starts[k] > at)
        k--;
    *in_file = at - r->starts[k];
    return r->paths[k];
}

void quern_text_reader_close(quern_text_reader *r)
{
    if (!r)
        return;
    quern__bytes_close(&r->bytes);
    quern__paths_free(r->paths, r->n);
    quern__free(r->starts);
    quern__free(r);
}
