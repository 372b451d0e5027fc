/* Random order of CSV file blocks in a shuffled epoch. A block is a fixed number of bytes; its
 * records are those that begin in them. The epoch visits blocks in the order of a counter-based
 * permutation.
 *
 * The start of the first record is inferred from the bytes after the block's start: it follows a
 * newline outside quotes. The reader parses both ways, inside and outside quotes. The reading with
 * a quote that RFC 4180 does not allow is wrong. If both readings have such quotes, the number of
 * fields per record decides.
 *
 * At the end of an epoch the sums of hashes of all block starts and all block ends must be equal;
 * else a record was lost or read twice.
 *
 * Compressed files, pipes and files in another encoding are read in file order. So are files with
 * fewer than 64 blocks, which the shuffle buffer shuffles alone. Line numbers are counted only when
 * a message needs one: the numbers at the starts of 1024 stripes of a file are kept. */
#include "csv.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    least_block = 16 << 10,
    most_block = 64 << 10,
    records_wanted = 512, /* per block: a shuffle buffer of 65,536 records holds 128 blocks */
    least_records = 8,    /* minimum per block: the search for the first record reads the block */
    worth = 64,           /* blocks; the shuffle buffer is sufficient for fewer */
    around = 64,          /* bytes before a block that the search uses */
    beyond = 4 << 10,     /* bytes after a block, for its last record */
    far = 64 << 10,       /* bytes that the search uses in files with quotes */
    ahead = 16,           /* blocks that posix_fadvise announces */
    stripes = 1024
};
int64_t quern__csv_block = 0;

struct quern__csv_lines {
    int file, known;     /* stripes of the file whose first line number is known */
    int64_t stripe;      /* bytes of a stripe */
    int64_t at[stripes]; /* line number at the start of a stripe */
};

/* ---- division into blocks ---- */

/* Bytes of a regular file without compression; -1: not such a file. */
static int64_t csv_regular_size(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool plain = fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) && !quern__is_gzip(fd, 0);
    if (fd >= 0)
        close(fd);
    return plain ? (int64_t)st.st_size : -1;
}

/* Bytes of a block, from the mean record size in the buffer. */
static int64_t csv_block_size(const quern__csv *f)
{
    const char *p = f->bytes.buffer + f->bytes.begin, *end = f->bytes.buffer + f->bytes.end;
    int64_t bytes = end - p, lines = 1;
    for (; (p = memchr(p, '\n', (size_t)(end - p))); p++)
        lines++;
    int64_t record = bytes / lines, wanted = record * records_wanted, most = record * least_records;
    most = most > most_block ? most : most_block;
    if (quern__csv_block)
        return quern__csv_block;
    return wanted < least_block ? least_block : wanted > most ? most : wanted;
}

/* Whether records in the buffer have quotes inside unquoted fields, which RFC 4180 does not
 * allow. */
static bool has_literal(const quern__csv *f)
{
    const char *p = f->bytes.buffer + f->bytes.begin, *end = f->bytes.buffer + f->bytes.end;
    quern__csv_state s = { .fresh = true };
    while (p < end) {
        if (*p == '"' && !s.inside && !s.fresh)
            return true;
        p = quern__csv_step(&s, p, end, f->separator);
    }
    return false;
}

int quern__csv_cut(quern__csv *f, quern_error *err)
{
    quern__csv_blocks *b = &f->blocks;
    if (f->bytes.gz || f->bytes.offset < 0 || f->bytes.decoder)
        return QUERN_OK;
    b->size = csv_block_size(f);
    b->quoted = memchr(f->bytes.buffer, '"', f->bytes.end) != NULL;
    b->literal = b->quoted && has_literal(f);
    b->ends = quern__zalloc((size_t)f->n_paths, sizeof *b->ends);
    b->lines = quern__zalloc(1, sizeof *b->lines);
    if (!b->ends || !b->lines)
        return quern__fail_memory(err, sizeof *b->lines);
    for (int k = 0; k < f->n_paths; k++) {
        int64_t bytes = csv_regular_size(f->paths[k]);
        if (bytes < 0) {
            b->n = 0;
            return QUERN_OK;
        }
        b->bytes = f->n_paths == 1 ? bytes : 0;
        b->n += bytes / b->size + 1;
        b->ends[k] = b->n;
    }
    b->n = b->n < worth ? 0 : b->n;
    return QUERN_OK;
}

void quern__csv_cut_free(quern__csv *f)
{
    quern__ahead_close(&f->blocks.next);
    quern__free(f->blocks.ends);
    quern__free(f->blocks.lines);
    quern__free(f->blocks.marks);
}

/* ---- line numbers ---- */

/* Newlines in bytes [from, to) of the open file. */
static int64_t newlines(const quern__csv *f, int64_t from, int64_t to)
{
    char bytes[4096];
    int64_t found = 0;
    while (from < to) {
        size_t n = to - from < (int64_t)sizeof bytes ? (size_t)(to - from) : sizeof bytes;
        size_t got = quern__read_at(f->bytes.fd, bytes, n, from);
        for (const char *p = bytes; (p = memchr(p, '\n', (size_t)(bytes + got - p))); p++)
            found++;
        from = got < n ? to : from + (int64_t)n;
    }
    return found;
}

int64_t quern__csv_line(const quern__csv *f)
{
    struct quern__csv_lines *l = f->blocks.lines;
    struct stat st;
    if (!f->blocks.on || fstat(f->bytes.fd, &st))
        return f->line;
    int64_t place = quern__bytes_place(&f->bytes);
    if (!l->known || l->file != f->at)
        *l = (struct quern__csv_lines){
            .file = f->at, .known = 1, .stripe = (int64_t)st.st_size / stripes + 1, .at = { 1 }
        };
    int64_t stripe = place / l->stripe < stripes ? place / l->stripe : stripes - 1;
    for (; l->known <= stripe; l->known++)
        l->at[l->known] =
            l->at[l->known - 1] + newlines(f, (l->known - 1) * l->stripe, l->known * l->stripe);
    return l->at[stripe] + newlines(f, stripe * l->stripe, place);
}

/* ---- the start of a block ---- */

/* The result of parsing the bytes after p with a given assumption: inside quotes or not. */
typedef struct reading {
    int well; /* records with the expected number of fields minus the others */
    /* The first quote that RFC 4180 does not allow: inside an unquoted field, or closing a field
     * that continues; or the end. */
    const char *wrong;
} reading;

/* Parses the bytes after p to the end of the buffer under one assumption. */
static reading read_as(const quern__csv *f, const char *p, const char *end, bool inside)
{
    reading r = { .wrong = end };
    quern__csv_state s = { .inside = inside,
                           .fresh = !inside && (*p == f->separator || *p == '\n') };
    const char *begin = NULL; /* start of a record that is complete */
    int separators = 0;
    for (const char *at = p + 1, *next; at < end; at = next) {
        bool was = s.inside, literal = *at == '"' && !s.inside && !s.fresh;
        next = quern__csv_step(&s, at, end, f->separator);
        bool closed = was && !s.inside && next < end && *next != f->separator && *next != '\r' &&
                      *next != '\n';
        r.wrong = (literal || closed) && r.wrong == end ? at : r.wrong;
        separators += *at == f->separator && !was;
        if (*at != '\n' || was)
            continue;
        if (begin && at - begin > 1)
            r.well += separators + 1 == f->n ? 1 : -1;
        separators = 0;
        begin = at + 1;
    }
    if (f->bytes.ended && s.inside)
        r.well = INT_MIN; /* a file cannot end inside quotes */
    else if (f->bytes.ended && begin && begin < end)
        r.well += separators + 1 == f->n ? 1 : -1;
    return r;
}

/* Whether the bytes after p are inside quotes. The reading with an earlier invalid quote is
 * wrong. If both readings are valid, or the file is known to have such quotes, the number of
 * fields decides. */
static bool enclosed(const quern__csv *f, const char *p, const char *end)
{
    if (!memchr(p + 1, '"', (size_t)(end - p - 1)))
        return false;
    /* the earlier invalid quote decides, unless the file is known to have such quotes */
    reading in = read_as(f, p, end, true), out = read_as(f, p, end, false);
    if (in.wrong != out.wrong && (!f->blocks.literal || in.wrong < out.wrong))
        return out.wrong < in.wrong;
    return in.well > out.well;
}

/* The first record that begins at byte `at` of the file or later. The buffer begins before it.
 * NULL: more bytes are needed. */
static char *first_record(const quern__csv *f, int64_t at)
{
    const quern__bytes *b = &f->bytes;
    char *start = b->buffer + b->begin, *end = b->buffer + b->end;
    char *last = start + (at - 1 - quern__bytes_place(b)), *p = last; /* the byte before `at` */
    if (last >= end)
        return b->ended ? end : NULL;
    /* the state at the block's start is known */
    if (f->blocks.marks) {
        int64_t block = (f->at ? f->blocks.ends[f->at - 1] : 0) + f->blocks.number;
        const char *first = quern__csv_first(f->blocks.marks[block], last + 1, end, f->separator);
        return first ? start + (first - start) : b->ended ? end : NULL;
    }
    /* begin the parse before a run of quotes, which must not be divided */
    while (p > start && *p == '"')
        p--;
    quern__csv_state s = { .inside = enclosed(f, p, end) };
    s.fresh = !s.inside && (*p == f->separator || *p == '\n');
    /* the block begins directly after a record */
    if (p == last && *p == '\n' && !s.inside)
        return p + 1;
    for (const char *q = p + 1; q < end;) {
        if (*q == '\n' && !s.inside && q >= last)
            return p + (q - p) + 1;
        q = quern__csv_step(&s, q, end, f->separator);
    }
    return b->ended ? end : NULL;
}

/* The offset at which the read of a block begins: `around` bytes before it. */
static int64_t csv_read_start(const quern__csv *f, int64_t at)
{
    return at - around > f->first_byte ? at - around : f->first_byte;
}

/* The offset up to which the search needs bytes, and the end of the read. */
static int64_t csv_search_end(const quern__csv *f, int64_t at)
{
    return at + (f->blocks.quoted ? far : 0);
}
static int64_t csv_read_end(const quern__csv *f, int64_t at)
{
    int64_t stop = at + f->blocks.size + beyond, enough = csv_search_end(f, at);
    return stop > enough ? stop : enough;
}

/* Reads until the first record of the block is found. */
static int find_first(quern__csv *f, int64_t at, quern_error *err)
{
    quern__bytes *b = &f->bytes;
    char *p;
    while (!(p = b->offset < csv_search_end(f, at) && !b->ended ? NULL : first_record(f, at))) {
        int64_t got = quern__bytes_more(b, QUERN__CSV_RECORD, err);
        if (got < 0)
            return (int)got;
    }
    b->begin = (size_t)(p - b->buffer);
    return QUERN_OK;
}

/* ---- the blocks of an epoch ---- */

void quern__csv_order(void *self, const quern__random_key *key, int64_t epoch)
{
    quern__csv *f = self;
    (void)epoch; /* the key already depends on the epoch */
    f->blocks.on = key && f->blocks.n;
    if (key)
        f->blocks.key = *key;
}

void quern__csv_restart(quern__csv *f)
{
    if (f->blocks.past)
        quern__ahead_forget(&f->blocks.next);
    f->blocks.place = 0;
    f->blocks.open = false;
    f->blocks.begins = f->blocks.ended = 0;
}

int64_t quern__csv_places(void *self, int64_t *all)
{
    const quern__csv *f = self;
    *all = f->blocks.on ? f->blocks.n : 0;
    return f->blocks.on ? f->blocks.place : 1;
}

/* The block at a position of the epoch's order: returns its file and sets its index in the file. */
static int block_at(const quern__csv *f, int64_t place, int64_t *number)
{
    const quern__csv_blocks *b = &f->blocks;
    int64_t k = (int64_t)quern__random_permute(b->key, (uint64_t)b->n, (uint64_t)place);
    /* binary search for the file of the block */
    int low = 0, high = f->n_paths - 1;
    while (low < high) {
        int middle = (low + high) / 2;
        if (k < b->ends[middle])
            high = middle;
        else
            low = middle + 1;
    }
    *number = k - (low ? b->ends[low - 1] : 0);
    return low;
}

/* Maximum bytes that one read of a block takes. */
static size_t csv_read_size(const quern__csv *f) { return (size_t)(csv_read_end(f, 0) + around); }

/* Whether blocks can use read-ahead: one file, and blocks small relative to the buffer. */
static bool csv_can_read_ahead(const quern__csv *f)
{
    return f->blocks.n && f->blocks.bytes && csv_read_size(f) <= quern__csv_buffer / 2;
}

size_t quern__csv_blocks_size(const quern__csv *f)
{
    return (csv_can_read_ahead(f) ? quern__ahead_size(csv_read_size(f)) : 0) +
           (f->blocks.literal ? (size_t)f->blocks.n : 0);
}

/* Starts the reads of the next blocks, or announces them to the system. */
static void csv_read_ahead(quern__csv *f)
{
    quern__csv_blocks *b = &f->blocks;
    int64_t number;
    if (b->place == 0 && !b->past && csv_can_read_ahead(f) && quern__direct_wanted(b->bytes)) {
        quern__ahead_open(&b->next, f->bytes.path, f->bytes.fd, csv_read_size(f));
        b->past = b->next.memory != NULL;
    }
    while (b->past && b->next.asked < b->place + QUERN__AHEAD && b->next.asked < b->n) {
        block_at(f, b->next.asked, &number);
        int64_t from = csv_read_start(f, number * b->size);
        quern__ahead_ask(&b->next, from, (size_t)(csv_read_end(f, number * b->size) - from));
    }
    for (int64_t place = b->place ? b->place + ahead - 1 : 0;
         !b->past && place < b->place + ahead && place < b->n; place++)
        if (block_at(f, place, &number) == f->at)
            posix_fadvise(f->bytes.fd, (off_t)csv_read_start(f, number * b->size),
                          (off_t)csv_read_size(f), POSIX_FADV_WILLNEED);
}

/* The hash of a block boundary, a term of the two sums. */
static uint64_t boundary(int file, int64_t number, int64_t place)
{
    return quern__hash64(quern__hash64((uint64_t)place ^ (uint64_t)file << 48) + (uint64_t)number);
}

static void end_block(quern__csv *f)
{
    quern__csv_blocks *b = &f->blocks;
    if (b->open && b->limit < INT64_MAX)
        b->ended +=
            boundary(f->at, b->number + 1, quern__bytes_place(&f->bytes) + (int64_t)f->used);
    b->open = false;
}

int quern__csv_next_block(quern__csv *f, quern_error *err)
{
    quern__csv_blocks *b = &f->blocks;
    end_block(f);
    if (b->place == b->n) {
        /* all blocks were read: their boundaries must agree */
        if (b->begins == b->ended)
            return QUERN_END;
        b->begins = b->ended;
        f->passed = true; /* a policy that skips bad records also skips this error */
        quern__fail(err, QUERN_FORMAT, f->paths[0],
                    "the start of records inside the file is ambiguous: quotes do not pair");
        quern__hint(err,
                    "read it in order with --no-shuffle, or shuffle it once with 'quern prepare'");
        return QUERN_FORMAT;
    }
    int file = block_at(f, b->place, &b->number),
        status = b->literal && !b->marks ? quern__csv_mark(f, err) : QUERN_OK;
    if (status < 0)
        return status;
    if (file != f->at)
        status = quern__csv_open_file(f, file, err);
    if (status < 0)
        return status;
    int64_t at = b->number * b->size, blocks = b->ends[file] - (file ? b->ends[file - 1] : 0);
    csv_read_ahead(f);
    b->place++;
    b->limit = b->number + 1 == blocks ? INT64_MAX : at + b->size;
    f->used = 0;
    f->inner = 0;
    quern__activity_set("reading", f->bytes.path, "byte", at);
    quern__bytes_seek(&f->bytes, csv_read_start(f, at), csv_read_end(f, at));
    if (b->past)
        quern__bytes_put(&f->bytes, quern__ahead_take(&b->next, csv_read_start(f, at),
                                                      f->bytes.buffer, f->bytes.capacity));
    if (at > f->first_byte)
        status = find_first(f, at, err);
    if (status < 0)
        return status;
    b->open = true;
    if (b->number)
        b->begins += boundary(file, b->number, quern__bytes_place(&f->bytes));
    return QUERN_OK;
}
