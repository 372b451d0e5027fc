/* The blocks of CSV files, which a shuffled epoch visits in an order of its own. A block is so many bytes of a file, and its
 * records are those that begin in them. Where its first one begins is found from the bytes behind its beginning: behind a newline
 * that no quotes enclose. Whether quotes enclose a place is told by the first run of quotes behind it that can only open a field,
 * or only close one. When all blocks have been read, it is seen whether each ended where the next one began. */
#include "csv.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    least_block = 16 << 10,
    most_block = 64 << 10,
    records_wanted = 512, /* of a block: a window of 65,536 holds 128 blocks, */
    least_records = 8,    /* and at least: to find where one begins, all of it is read */
    worth = 64,           /* blocks: less is shuffled by the window alone */
    around = 64,          /* bytes before a block that are looked at, */
    beyond = 4 << 10,     /* and behind it, where its last record ends */
    far = 64 << 10,       /* how far is looked for quotes where there are some */
    ahead = 16,           /* blocks that the disk is told of */
    stripes = 1024
};
int64_t quern__csv_block = 0;

struct quern__csv_lines {
    int file, known;     /* stripes of it whose first line is known */
    int64_t stripe;      /* bytes of one */
    int64_t at[stripes]; /* the line in which it begins */
};

/* ---- how files are cut ---- */

/* Bytes of a file that can be read from anywhere; -1: it cannot. */
static int64_t size_of(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool plain = fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) && !quern__is_gzip(fd, 0);
    if (fd >= 0)
        close(fd);
    return plain ? (int64_t)st.st_size : -1;
}

/* Bytes of a block, from the records that are in the buffer. */
static int64_t block_for(const quern__csv *f)
{
    const char *p = f->bytes.buffer + f->bytes.begin, *end = f->bytes.buffer + f->bytes.end;
    int64_t bytes = end - p, lines = 1;
    for (; (p = memchr(p, '\n', (size_t)(end - p))); p++)
        lines++;
    int64_t record = bytes / lines, wanted = record * records_wanted, most = record * least_records;
    most = most > most_block ? most : most_block;
    return quern__csv_block ? quern__csv_block : wanted < least_block ? least_block : wanted > most ? most : wanted;
}

/* Whether the records in the buffer have quotes within fields, which RFC 4180 does not allow. */
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
    b->size = block_for(f);
    b->quoted = memchr(f->bytes.buffer, '"', f->bytes.end) != NULL;
    b->literal = b->quoted && has_literal(f);
    b->ends = quern__zalloc((size_t)f->n_paths, sizeof *b->ends);
    b->lines = quern__zalloc(1, sizeof *b->lines);
    if (!b->ends || !b->lines)
        return quern__fail_memory(err, sizeof *b->lines);
    for (int k = 0; k < f->n_paths; k++) {
        int64_t bytes = size_of(f->paths[k]);
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

/* ---- lines ---- */

/* Newlines among bytes [from, to) of the file that is open. */
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
        *l = (struct quern__csv_lines){ .file = f->at, .known = 1, .stripe = (int64_t)st.st_size / stripes + 1, .at = { 1 } };
    int64_t stripe = place / l->stripe < stripes ? place / l->stripe : stripes - 1;
    for (; l->known <= stripe; l->known++)
        l->at[l->known] = l->at[l->known - 1] + newlines(f, (l->known - 1) * l->stripe, l->known * l->stripe);
    return l->at[stripe] + newlines(f, stripe * l->stripe, place);
}

/* ---- where a block begins ---- */

/* How the bytes behind the one at p read when quotes enclose them, or not. */
typedef struct reading {
    int well; /* how many more records have as many fields as the header than have not */
    const char
        *wrong; /* the first quote that no file of RFC 4180 has so: within a field, or closing one that goes on; or the end */
} reading;

static reading read_as(const quern__csv *f, const char *p, const char *end, bool inside)
{
    reading r = { .wrong = end };
    quern__csv_state s = { .inside = inside, .fresh = !inside && (*p == f->separator || *p == '\n') };
    const char *begin = NULL; /* of a record that is seen whole */
    int separators = 0;
    for (const char *at = p + 1, *next; at < end; at = next) {
        bool was = s.inside, literal = *at == '"' && !s.inside && !s.fresh;
        next = quern__csv_step(&s, at, end, f->separator);
        bool closed = was && !s.inside && next < end && *next != f->separator && *next != '\r' && *next != '\n';
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
        r.well = INT_MIN; /* no file ends so */
    else if (f->bytes.ended && begin && begin < end)
        r.well += separators + 1 == f->n ? 1 : -1;
    return r;
}

/* Whether quotes enclose what follows the byte at p. The reading that meets a quote which RFC 4180 does not have is the wrong one;
 * where both do, or the file is known to have such quotes, records that have their fields tell. */
static bool enclosed(const quern__csv *f, const char *p, const char *end)
{
    if (!memchr(p + 1, '"', (size_t)(end - p - 1)))
        return false;
    reading in = read_as(f, p, end, true), out = read_as(f, p, end, false);
    if (in.wrong != out.wrong && (!f->blocks.literal || in.wrong < out.wrong))
        return out.wrong < in.wrong;
    return in.well > out.well;
}

/* The first record that begins at byte `at` of the file or behind it, in a buffer that begins before it; NULL: it needs more. */
static char *first_record(const quern__csv *f, int64_t at)
{
    const quern__bytes *b = &f->bytes;
    char *start = b->buffer + b->begin, *end = b->buffer + b->end;
    char *last = start + (at - 1 - quern__bytes_place(b)), *p = last; /* the byte before it */
    if (last >= end)
        return b->ended ? end : NULL;
    if (f->blocks.marks) {
        int64_t block = (f->at ? f->blocks.ends[f->at - 1] : 0) + f->blocks.number;
        const char *first = quern__csv_first(f->blocks.marks[block], last + 1, end, f->separator);
        return first ? start + (first - start) : b->ended ? end : NULL;
    }
    while (p > start && *p == '"')
        p--;
    quern__csv_state s = { .inside = enclosed(f, p, end) };
    s.fresh = !s.inside && (*p == f->separator || *p == '\n');
    if (p == last && *p == '\n' && !s.inside)
        return p + 1;
    for (const char *q = p + 1; q < end;) {
        if (*q == '\n' && !s.inside && q >= last)
            return p + (q - p) + 1;
        q = quern__csv_step(&s, q, end, f->separator);
    }
    return b->ended ? end : NULL;
}

/* Where reading of a block begins: far enough before it to see what its first byte is. */
static int64_t from_of(const quern__csv *f, int64_t at) { return at - around > f->first_byte ? at - around : f->first_byte; }

/* How far quotes must be looked for, and what is read at once. */
static int64_t enough_of(const quern__csv *f, int64_t at) { return at + (f->blocks.quoted ? far : 0); }
static int64_t stop_of(const quern__csv *f, int64_t at)
{
    int64_t stop = at + f->blocks.size + beyond, enough = enough_of(f, at);
    return stop > enough ? stop : enough;
}

/* Reads on until the first record is found. */
static int find_first(quern__csv *f, int64_t at, quern_error *err)
{
    quern__bytes *b = &f->bytes;
    char *p;
    while (!(p = b->offset < enough_of(f, at) && !b->ended ? NULL : first_record(f, at))) {
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
    (void)epoch; /* the key is that of the epoch */
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

/* The block at a place of the epoch's order: its file, and its number in it. */
static int block_at(const quern__csv *f, int64_t place, int64_t *number)
{
    const quern__csv_blocks *b = &f->blocks;
    int64_t k = (int64_t)quern__random_permute(b->key, (uint64_t)b->n, (uint64_t)place);
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

/* Most bytes of what is read of a block at once. */
static size_t piece_of(const quern__csv *f) { return (size_t)(stop_of(f, 0) + around); }

/* Whether blocks can be read ahead, if that is wanted: of one file, and small against the buffer. */
static bool can_be_ahead(const quern__csv *f) { return f->blocks.n && f->blocks.bytes && piece_of(f) <= quern__csv_buffer / 2; }

size_t quern__csv_blocks_size(const quern__csv *f)
{
    return (can_be_ahead(f) ? quern__ahead_size(piece_of(f)) : 0) + (f->blocks.literal ? (size_t)f->blocks.n : 0);
}

/* Blocks that come soon are on their way, or the disk is told of them. */
static void look_ahead(quern__csv *f)
{
    quern__csv_blocks *b = &f->blocks;
    int64_t number;
    if (b->place == 0 && !b->past && can_be_ahead(f) && quern__direct_wanted(b->bytes)) {
        quern__ahead_open(&b->next, f->bytes.path, f->bytes.fd, piece_of(f));
        b->past = b->next.memory != NULL;
    }
    while (b->past && b->next.asked < b->place + QUERN__AHEAD && b->next.asked < b->n) {
        block_at(f, b->next.asked, &number);
        int64_t from = from_of(f, number * b->size);
        quern__ahead_ask(&b->next, from, (size_t)(stop_of(f, number * b->size) - from));
    }
    for (int64_t place = b->place ? b->place + ahead - 1 : 0; !b->past && place < b->place + ahead && place < b->n; place++)
        if (block_at(f, place, &number) == f->at)
            posix_fadvise(f->bytes.fd, (off_t)from_of(f, number * b->size), (off_t)piece_of(f), POSIX_FADV_WILLNEED);
}

/* What stands for a boundary of blocks in the sums that are compared when all have been read. */
static uint64_t boundary(int file, int64_t number, int64_t place)
{
    return quern__hash64(quern__hash64((uint64_t)place ^ (uint64_t)file << 48) + (uint64_t)number);
}

static void end_block(quern__csv *f)
{
    quern__csv_blocks *b = &f->blocks;
    if (b->open && b->limit < INT64_MAX)
        b->ended += boundary(f->at, b->number + 1, quern__bytes_place(&f->bytes) + (int64_t)f->used);
    b->open = false;
}

int quern__csv_next_block(quern__csv *f, quern_error *err)
{
    quern__csv_blocks *b = &f->blocks;
    end_block(f);
    if (b->place == b->n) {
        if (b->begins == b->ended)
            return QUERN_END;
        b->begins = b->ended;
        f->passed = true; /* whoever leaves out bad records leaves out this too */
        quern__fail(err, QUERN_FORMAT, f->paths[0],
                    "where records begin in the middle of a file cannot be told: quotes do not pair");
        quern__hint(err, "--no-shuffle reads it from its beginning, quern prepare shuffles it once");
        return QUERN_FORMAT;
    }
    int file = block_at(f, b->place, &b->number), status = b->literal && !b->marks ? quern__csv_mark(f, err) : QUERN_OK;
    if (status < 0)
        return status;
    if (file != f->at && (status = quern__csv_open_file(f, file, err)) < 0)
        return status;
    int64_t at = b->number * b->size, blocks = b->ends[file] - (file ? b->ends[file - 1] : 0);
    look_ahead(f);
    b->place++;
    b->limit = b->number + 1 == blocks ? INT64_MAX : at + b->size;
    f->used = 0;
    f->inner = 0;
    quern__activity_set("reading", f->bytes.path, "byte", at);
    quern__bytes_seek(&f->bytes, from_of(f, at), stop_of(f, at));
    if (b->past)
        quern__bytes_put(&f->bytes, quern__ahead_take(&b->next, from_of(f, at), f->bytes.buffer, f->bytes.capacity));
    if (at > f->first_byte && (status = find_first(f, at, err)) < 0)
        return status;
    b->open = true;
    if (b->number)
        b->begins += boundary(file, b->number, quern__bytes_place(&f->bytes));
    return QUERN_OK;
}
