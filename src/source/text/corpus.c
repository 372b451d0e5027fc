/* Reads a corpus in blocks: with pread by block index, or sequentially through a buffer. corpus.h
 * defines the borders of blocks.
 *
 * Random access needs regular files without compression; their concatenation has a size, so block k
 * is at a known place. All other input is sequential. At most 64 files are open at a time. Both
 * ways search a border in the quarter of a block after its nominal start, so that they agree. */
#include "corpus.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- random access ---- */

/* Adds a file to the corpus. QUERN_END: the corpus must be read sequentially. */
static int add_file(quern__corpus *c, int i, quern_error *err)
{
    struct stat st;
    if (!strcmp(c->paths[i], "-"))
        return QUERN_END;
    bool there = !stat(c->paths[i], &st);
    if (there && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return QUERN_END; /* a pipe is opened only once: its writer would see a reader open and
                             close it */
    int fd = there ? open(c->paths[i], O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return quern__fail(err, QUERN_IO, c->paths[i], "cannot be opened: %s", strerror(errno));
    bool zipped = quern__is_gzip(fd, 0);
    close(fd);
    if (S_ISDIR(st.st_mode))
        return quern__fail(err, QUERN_IO, c->paths[i], "is a directory");
    c->size += st.st_size;
    c->ends[i] = c->size;
    return zipped ? QUERN_END : QUERN_OK;
}

int quern__corpus_open(quern__corpus *c, const char *words, quern_error *err)
{
    *c = (quern__corpus){ 0 };
    for (int i = 0; i < QUERN__CORPUS_FILES; i++)
        c->fds[i] = -1;
    int status = quern__paths_find(words, &c->paths, &c->n_paths, err);
    if (status >= 0 && !(c->ends = quern__zalloc((size_t)c->n_paths, sizeof *c->ends)))
        status = quern__fail_memory(err, (size_t)c->n_paths * sizeof *c->ends);
    for (int i = 0; i < c->n_paths && status == QUERN_OK; i++)
        status = add_file(c, i, err);
    if (status == QUERN_END && !(c->reader = quern_text_reader_open(words, err)))
        status = err && err->code ? err->code : QUERN_IO;
    return status < 0 ? status : QUERN_OK;
}

int quern__corpus_cut(quern__corpus *c, int64_t block, quern_error *err)
{
    c->block = block;
    c->n_blocks = (c->size + block - 1) / block;
    c->room = (size_t)(2 * quern__corpus_most(c)) + 1;
    quern__free(c->text);
    c->text = quern__alloc(c->room);
    c->begin = c->end = 0;
    return c->text ? QUERN_OK : quern__fail_memory(err, c->room);
}

/* The descriptor of file i; opens it and closes the file of the same entry. */
static int descriptor(quern__corpus *c, int i, quern_error *err)
{
    int k = i % QUERN__CORPUS_FILES;
    if (c->fds[k] >= 0 && c->holds[k] == i)
        return c->fds[k];
    if (c->fds[k] >= 0)
        close(c->fds[k]);
    c->holds[k] = i;
    c->fds[k] = open(c->paths[i], O_RDONLY | O_CLOEXEC);
    return c->fds[k] >= 0
               ? c->fds[k]
               : quern__fail(err, QUERN_IO, c->paths[i], "cannot be opened: %s", strerror(errno));
}

/* Reads n bytes at an offset of the corpus, across files. The range is within the corpus. */
static int bytes_at(quern__corpus *c, int64_t at, char *to, size_t n, quern_error *err)
{
    int low = 0, high = c->n_paths - 1;
    while (low < high) { /* the first file that ends after the offset */
        int middle = (low + high) / 2;
        if (c->ends[middle] > at)
            high = middle;
        else
            low = middle + 1;
    }
    for (int i = low; n > 0; i++) {
        int64_t begins = i ? c->ends[i - 1] : 0, left = c->ends[i] - at;
        quern__activity_set("reading", c->paths[i], "byte", at - begins + 1);
        int fd = left > 0 ? descriptor(c, i, err) : 0;
        if (fd < 0)
            return fd;
        while (left > 0 && n > 0) {
            ssize_t got = pread(fd, to, n < (size_t)left ? n : (size_t)left, at - begins);
            if (got < 0 && errno == EINTR)
                continue;
            if (got <= 0)
                return quern__fail(err, QUERN_IO, c->paths[i], "cannot be read: %s",
                                   got ? strerror(errno) : "it became shorter");
            at += got;
            to += got;
            n -= (size_t)got;
            left -= got;
        }
    }
    return QUERN_OK;
}

/* ---- blocks ---- */

static bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

/* The start of a block near `nominal`: the next start of white space before `limit`, else the
 * next character. text[nominal - 1] is valid. */
static size_t block_border(const char *text, size_t nominal, size_t limit)
{
    for (size_t i = nominal; i < limit; i++)
        if (is_blank(text[i]) && !is_blank(text[i - 1]))
            return i;
    size_t i = nominal;
    while (i < limit && i < nominal + 3 && ((unsigned char)text[i] & 0xc0) == 0x80)
        i++;
    return i;
}

/* Random access: reads block k with one byte before it and a quarter of a block after it. */
static int read_at_index(quern__corpus *c, int64_t k, const char **text, size_t *n, int64_t *at,
                         quern_error *err)
{
    size_t before = k > 0, quarter = (size_t)c->block / 4, next = before + (size_t)c->block;
    int64_t from = k * c->block - (int64_t)before, left = c->size - from;
    if (k >= c->n_blocks)
        return QUERN_END;
    size_t have = left < (int64_t)(next + quarter) ? (size_t)left : next + quarter;
    int status = bytes_at(c, from, c->text, have, err);
    if (status < 0)
        return status;
    /* both borders are searched with the same rule, so that neighbouring blocks agree */
    size_t first = k == 0 ? 0 : block_border(c->text, 1, 1 + quarter < have ? 1 + quarter : have);
    size_t end = have <= next ? have : block_border(c->text, next, have);
    *text = c->text + first;
    *n = end - first;
    *at = from + (int64_t)first;
    return QUERN_OK;
}

/* Sequential: the buffer begins at the start of block `next`. */
static int read_sequential(quern__corpus *c, const char **text, size_t *n, int64_t *at,
                           quern_error *err)
{
    memmove(c->text, c->text + c->begin, c->end - c->begin);
    c->at += (int64_t)c->begin;
    c->end -= c->begin;
    c->begin = 0;
    /* read a quarter of a block after the nominal end, to find the border */
    size_t next = (size_t)((c->next + 1) * c->block - c->at), wanted = next + (size_t)c->block / 4;
    while (!c->ended && c->end < wanted) {
        int64_t got =
            quern_text_reader_read(c->reader, c->text + c->end, (int64_t)(wanted - c->end), err);
        if (got < 0)
            return (int)got;
        c->ended = got == 0;
        c->end += (size_t)got;
    }
    if (c->end == 0)
        return QUERN_END;
    c->begin =
        c->end <= next ? c->end : block_border(c->text, next, c->end < wanted ? c->end : wanted);
    c->next++;
    *text = c->text;
    *n = c->begin;
    *at = c->at;
    return QUERN_OK;
}

int quern__corpus_read(quern__corpus *c, int64_t k, const char **text, size_t *n, int64_t *at,
                       quern_error *err)
{
    return c->reader ? read_sequential(c, text, n, at, err) : read_at_index(c, k, text, n, at, err);
}

int quern__corpus_rewind(quern__corpus *c, quern_error *err)
{
    c->begin = c->end = 0;
    c->at = c->next = 0;
    c->ended = false;
    return c->reader ? quern__text_reader_rewind(c->reader, err) : QUERN_OK;
}

void quern__corpus_where(const quern__corpus *c, int64_t at, char *where, size_t room)
{
    int i = 0;
    int64_t in_file = at;
    const char *path;
    if (c->reader)
        path = quern__text_reader_where(c->reader, at, &in_file);
    else {
        while (i + 1 < c->n_paths && c->ends[i] <= at)
            i++;
        in_file = at - (i ? c->ends[i - 1] : 0);
        path = c->paths[i];
    }
    snprintf(where, room, "%.200s: from byte %lld", path, (long long)in_file);
}

void quern__corpus_close(quern__corpus *c)
{
    quern_text_reader_close(c->reader);
    for (int i = 0; i < QUERN__CORPUS_FILES; i++)
        if (c->fds[i] >= 0)
            close(c->fds[i]);
    quern__paths_free(c->paths, c->n_paths);
    quern__free(c->ends);
    quern__free(c->text);
}
