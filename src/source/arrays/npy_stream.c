/* Reads concatenated .npy arrays: the header of each array, then its elements, directly into the
 * batch if type and order match.
 *
 * The stream is a pipe from a program, or standard input. It is read with poll, so that a wait can
 * end: by a stop, an interrupt, the end of the program, or the stall timeout. A batch is one array
 * for each input and target, in the order of the model or as `arrays` says. A batch with a wrong
 * shape or value is a bad record if all its bytes could be read, because only then is the next
 * header at a known place.
 *
 * The first header can be read before a run opens (`ahead`), to learn the batch size. */
#include "npy_stream.h"
#include "source/column_map.h"
#include "tensor/array_axes.h"
#include "tensor/convert_dtype.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { WEIGHTS = -1, IGNORED = -2, patience = 30, grace = 2 };

static void format_place(const quern__protocol *p, int64_t byte, char *where, size_t size)
{
    snprintf(where, size, "%.120s: batch %lld, byte %lld", p->where, (long long)p->batch + 1,
             (long long)byte);
}

int quern__protocol_fail(const quern__protocol *p, int code, quern_error *err, const char *what)
{
    char where[256];
    format_place(p, p->bytes, where, sizeof where);
    int status = quern__fail(err, code, where, "%s", what);
    if (p->held)
        quern__hint(
            err, "close the standard output of the program's child: the program itself has ended");
    return status;
}

/* Handles a timeout of poll. Returns QUERN_OK to wait on, QUERN_END if the writer has ended, or
 * an error after the stall timeout. */
static int stream_idle(quern__protocol *p, double since, double *gone, quern_error *err)
{
    double now = quern__now();
    if (p->alone && now - since > patience) {
        quern__warn("%.120s: the first batch takes longer than %d s", p->where, patience);
        p->alone = false;
    }
    if (*gone == 0 && p->gone && p->gone(p))
        *gone = now;
    p->held = *gone > 0 && now - *gone > grace && now - since > grace;
    if (p->held)
        return QUERN_END;
    return p->timeout > 0 && now - since > p->timeout
               ? quern__protocol_fail(p, QUERN_STALLED, err,
                                      "no data for longer than the stall timeout")
               : QUERN_OK;
}

/* Reads n bytes, or fewer at the end of the stream. Negative on failure, or when the run is
 * over. */
static ssize_t read_some(quern__protocol *p, void *to, size_t n, quern_error *err)
{
    size_t got = 0;
    double since = quern__now(), gone = 0;
    while (got < n) {
        struct pollfd fds[2] = { { .fd = p->fd, .events = POLLIN },
                                 { .fd = p->said, .events = POLLIN } };
        if (__atomic_load_n(&p->stop, __ATOMIC_ACQUIRE))
            return QUERN_CLOSED;
        if (p->interrupt && *p->interrupt)
            return QUERN_CANCELED;
        int some = poll(fds, 2, 50);
        if (some < 0 && errno == EINTR)
            continue; /* revents are undefined */
        /* copy the program's standard error, also while no data arrives */
        if (fds[1].revents)
            p->hear(p);
        if (fds[1].revents & POLLHUP && !(fds[1].revents & POLLIN)) {
            close(p->said);
            p->said = -1;
        }
        if (some > 0 && !fds[0].revents)
            continue;
        if (some == 0) {
            int status = stream_idle(p, since, &gone, err);
            if (status != QUERN_OK)
                return status < 0 ? status : (ssize_t)got;
            continue;
        }
        ssize_t k = read(p->fd, (char *)to + got, n - got);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return quern__protocol_fail(p, QUERN_IO, err, strerror(errno));
        if (k == 0)
            break;
        got += (size_t)k;
        p->bytes += k;
        since = quern__now();
    }
    return (ssize_t)got;
}

/* Formats bytes as printable text. */
static void printable(const uint8_t *bytes, size_t n, char *out, size_t size)
{
    size_t at = 0;
    for (size_t i = 0; i < n && at + 5 < size; i++)
        at += (size_t)snprintf(out + at, size - at,
                               bytes[i] == '\n'                    ? "\\n"
                               : bytes[i] >= ' ' && bytes[i] < 127 ? "%c"
                                                                   : "\\x%02x",
                               bytes[i]);
}

/* Fails because the next bytes do not start an array. The message contains the n bytes of `head`
 * and those that can be read at once. */
static int not_an_array(quern__protocol *p, const uint8_t *head, size_t n, int64_t begin,
                        quern_error *err)
{
    uint8_t bytes[40];
    char where[256], text[170] = "";
    memcpy(bytes, head, n);
    struct pollfd more = { .fd = p->fd, .events = POLLIN };
    ssize_t k = poll(&more, 1, 20) > 0 ? read(p->fd, bytes + n, sizeof bytes - n) : 0;
    n += k > 0 ? (size_t)k : 0;
    printable(bytes, n, text, sizeof text);
    format_place(p, begin, where, sizeof where);
    int status = quern__fail(err, QUERN_FORMAT, where,
                             "not a .npy array: found '%s', expected \\x93NUMPY", text);
    quern__hint(err, "print other output to standard error");
    return status;
}

/* Reads the header of the next array. QUERN_END if the stream ends before its first byte. */
static int read_header(quern__protocol *p, quern__npy *npy, quern_error *err)
{
    uint8_t head[QUERN__NPY_HEADER_LIMIT + 16];
    char where[256];
    size_t total = 0, have = QUERN__NPY_PROLOGUE;
    int64_t begin = p->bytes;
    if (p->ahead) {
        p->ahead = false;
        *npy = p->npy;
        return QUERN_OK;
    }
    quern__activity_set(p->hear ? "waiting for the program" : "waiting for input", p->where,
                        "batch", p->batch + 1);
    ssize_t got = read_some(p, head, have, err);
    if (got < 0)
        return (int)got;
    if (got == 0)
        return QUERN_END;
    if (memcmp(head, "\x93NUMPY", got < 6 ? (size_t)got : 6))
        return not_an_array(p, head, (size_t)got, begin, err);
    if ((size_t)got == have && head[6] > 1) {
        ssize_t more = read_some(p, head + have, 2, err);
        got = more < 0 ? more : got + more;
        have += 2;
    }
    if (got >= 0 && (size_t)got < have)
        return quern__protocol_fail(p, QUERN_FORMAT, err, "the stream ends inside an array header");
    format_place(p, begin, where, sizeof where);
    int status = got < 0 ? (int)got : quern__npy_header_bytes(head, have, &total, where, err);
    if (status < 0)
        return status;
    /* the header must fit the buffer */
    if (total < have || total > sizeof head)
        return quern__protocol_fail(p, QUERN_FORMAT, err, "an array header exceeds 4096 bytes");
    got = read_some(p, head + have, total - have, err);
    if (got < 0 || (size_t)got != total - have)
        return got < 0 ? (int)got
                       : quern__protocol_fail(p, QUERN_FORMAT, err,
                                              "the stream ends inside an array header");
    return quern__npy_parse(head, total, npy, where, err);
}

/* Skips the elements of an array, such as targets during prediction. */
static int skip_bytes(quern__protocol *p, size_t bytes, quern_error *err)
{
    char passed[4096];
    while (bytes) {
        size_t n = bytes < sizeof passed ? bytes : sizeof passed;
        ssize_t got = read_some(p, passed, n, err);
        if (got < 0 || (size_t)got != n)
            return got < 0 ? (int)got
                           : quern__protocol_fail(p, QUERN_FORMAT, err,
                                                  "the stream ends inside an array");
        bytes -= n;
    }
    return QUERN_OK;
}

/* Fails because an array has more records than the batch size. */
static int too_large(const quern__protocol *p, int64_t records, int64_t room, quern_error *err)
{
    char what[100];
    snprintf(what, sizeof what, "%lld records exceed the batch size %lld", (long long)records,
             (long long)room);
    int status = quern__protocol_fail(p, QUERN_SHAPE, err, what);
    quern__hint(err,
                "set --batch-size %lld, or remove the option: the first batch then sets the size",
                (long long)records);
    return status;
}

/* Checks the array at position `at` of a batch: the axes of the model, and the number of
 * records. */
static int check_shape(quern__protocol *p, const quern__npy *npy, const quern_batch_spec *s, int at,
                       quern_batch *b, bool channels, quern_error *err)
{
    static const quern_shape one = { .rank = 1, .dims = { -1 } };
    int i = p->order[at];
    const quern_shape *want = i == WEIGHTS ? &one : &s->shapes[i];
    quern_shape have = channels ? quern__axes_turned(&npy->shape) : npy->shape;
    int64_t records = have.rank ? have.dims[0] : 0;
    char wants[96], has[96], what[256], where[256];
    if (records > s->batch_size && quern__axes_fit(&have, want))
        return too_large(p, records, s->batch_size, err);
    if (records < 1 || records > s->batch_size || (at > 0 && records != b->size)) {
        snprintf(what, sizeof what,
                 "array %d has shape %s; the model expects %s with 1 to %lld records, equal in all "
                 "arrays",
                 at + 1, quern_shape_text(&have, has, sizeof has),
                 quern_shape_text(want, wants, sizeof wants), (long long)s->batch_size);
        return quern__protocol_fail(p, QUERN_SHAPE, err, what);
    }
    snprintf(where, sizeof where, "%.120s: batch %lld, byte %lld: array %d", p->where,
             (long long)p->batch + 1, (long long)p->bytes, at + 1);
    if (i == WEIGHTS)
        return quern__axes_check(where, &have, want, "w", false, err);
    if (s->open[i] && have.rank == want->rank) { /* a batch has its own sizes */
        quern_error own = { 0 };
        int status = quern_batch_set_shape(b, i, &have, &own);
        if (status < 0) {
            quern__fail(err, status, where, "%s", strstr(own.text, "has shape"));
            quern__hint(err, "%s", own.hint);
        }
        return status;
    }
    return quern__deal_axes(s, i, where, &have, err);
}

/* Grows the conversion buffer; it allocates only while batches grow. */
static int make_scratch(quern__protocol *p, size_t bytes, quern_error *err)
{
    if (bytes <= p->scratch_bytes)
        return QUERN_OK;
    quern__free(p->scratch);
    p->scratch = quern__alloc(bytes);
    p->scratch_bytes = p->scratch ? bytes : 0;
    return p->scratch ? QUERN_OK : quern__fail_memory(err, bytes);
}

/* Reads the array at position `at` into the batch: directly if type, byte order and memory order
 * match. */
static int read_array(quern__protocol *p, const quern__npy *npy, const quern_batch_spec *s, int at,
                      quern_batch *b, quern_error *err)
{
    int i = p->order[at], dtype = i == WEIGHTS ? QUERN_FLOAT32 : s->dtypes[i];
    void *to = i == WEIGHTS ? b->weights : b->arrays[i];
    bool channels = p->channels_first && i >= 0 && i < s->n_inputs &&
                    quern__has_channels(&npy->shape, &s->shapes[i]);
    char why[128], what[160];
    int status = check_shape(p, npy, s, at, b, channels, err);
    if (status < 0) {
        p->passed = !b->bad || skip_bytes(p, npy->data_bytes, NULL) >= 0;
        return status;
    }
    int64_t records = npy->shape.dims[0], all = quern_shape_count(&npy->shape);
    /* without conversion the elements go directly to the batch */
    bool fortran = npy->fortran && npy->shape.rank > 1,
         direct = npy->dtype == dtype && !npy->swapped && !fortran && !channels;
    b->size = records;
    status = direct ? QUERN_OK : make_scratch(p, npy->data_bytes, err);
    if (status < 0)
        return status;
    ssize_t n = read_some(p, direct ? to : p->scratch, npy->data_bytes, err);
    if (n < 0 || (size_t)n != npy->data_bytes)
        return n < 0
                   ? (int)n
                   : quern__protocol_fail(p, QUERN_FORMAT, err, "the stream ends inside an array");
    if (direct)
        return QUERN_OK;
    if (npy->swapped)
        quern__swap_bytes(p->scratch, all, quern_dtype_size(npy->dtype));
    quern__walk walk = quern__walk_of(&npy->shape, 0, fortran, channels ? 1 : -1);
    int64_t good = fortran || channels
                       ? quern__convert_walk(p->scratch, npy->dtype, all, to, dtype, &walk)
                       : quern__convert(p->scratch, npy->dtype, all, to, dtype, 0);
    if (good == all)
        return QUERN_OK;
    p->passed = true;
    snprintf(what, sizeof what, "record %lld: %s",
             (long long)(fortran ? good % records : good / (all / records)) + 1,
             quern__convert_why(p->scratch, npy->dtype, good, dtype, why));
    return quern__protocol_fail(p, QUERN_INVALID, err, what);
}

/* Reads one batch. p->passed: it was refused, but all its bytes were read. */
static int read_batch(quern__protocol *p, const quern_batch_spec *spec, quern_batch *b,
                      quern_error *err)
{
    int refused = QUERN_OK;
    b->has_weights = false;
    for (int i = 0; i < p->n; i++) {
        quern__npy npy;
        p->passed = false;
        int status = read_header(p, &npy, refused < 0 ? NULL : err);
        if (status == QUERN_END)
            status = i == 0 ? QUERN_END
                            : quern__protocol_fail(p, QUERN_FORMAT, err,
                                                   "the stream ends between the arrays of a batch");
        else if (status >= 0)
            status = p->order[i] == IGNORED || refused < 0 ? skip_bytes(p, npy.data_bytes, err)
                                                           : read_array(p, &npy, spec, i, b, err);
        if (status < 0 && p->passed && b->bad)
            refused = status;
        else if (status != QUERN_OK)
            return status;
        b->has_weights = b->has_weights || p->order[i] == WEIGHTS;
    }
    p->passed = refused < 0;
    p->batch++;
    return refused;
}

int quern__protocol_next(quern__protocol *p, const quern_batch_spec *spec, quern_batch *b,
                         quern_error *err)
{
    for (;;) {
        quern_error own = { 0 };
        int status = read_batch(p, spec, b, &own);
        if (status == QUERN_OK || status == QUERN_END)
            return status;
        status = quern__bad_record(p->passed ? b->bad : NULL, status, &own, err);
        if (status < 0)
            return status;
        b->size = spec->batch_size;
    }
}

/* The array of a name: x and y are the next input and target, w the weights; other names are
 * inputs and outputs of the model. */
static int array_named(const quern__protocol *p, const quern_batch_spec *spec, const char *name,
                       size_t n)
{
    int inputs = 0, targets = 0, all = spec->n_inputs + spec->n_targets;
    if (n == 1 && *name == 'w')
        return WEIGHTS;
    for (int i = 0; i < all; i++)
        if (spec->names[i] && strlen(spec->names[i]) == n && !strncmp(spec->names[i], name, n))
            return i;
    for (int i = 0; i < p->n; i++) {
        inputs += p->order[i] >= 0 && p->order[i] < spec->n_inputs;
        targets += p->order[i] >= spec->n_inputs;
    }
    if (n == 1 && *name == 'x' && inputs < spec->n_inputs)
        return inputs;
    if (n == 1 && *name == 'y' && targets < spec->n_targets)
        return spec->n_inputs + targets;
    return n == 1 && *name == 'y' && !spec->n_targets ? IGNORED : all;
}

/* Sets the order of the arrays: all inputs and targets, or those that `arrays` names. */
int quern__protocol_open(quern__protocol *p, const quern_batch_spec *spec, quern_error *err)
{
    bool seen[QUERN__PROTOCOL_ARRAYS] = { false };
    int all = spec->n_inputs + spec->n_targets;
    for (p->n = 0; !p->arrays && p->n < all; p->n++)
        p->order[p->n] = p->n;
    for (const char *at = p->arrays; at && *at;) {
        size_t n = strcspn(at, ",");
        int i = p->n < QUERN__PROTOCOL_ARRAYS ? array_named(p, spec, at, n) : all;
        if (i == all || (i != IGNORED && seen[i + 1]))
            return quern__fail(err, QUERN_INVALID, "arrays",
                               "'%.*s' is not an input or output of the model, or is named twice",
                               (int)n, at);
        if (i != IGNORED)
            seen[i + 1] = true;
        p->order[p->n++] = i;
        at += n + (at[n] == ',');
    }
    for (int i = 0; i < all && p->arrays; i++)
        if (!seen[i + 1])
            return quern__fail(err, QUERN_INVALID, "arrays", "'%s' is missing from the list",
                               spec->names[i] ? spec->names[i] : "?");
    return QUERN_OK;
}

bool quern__protocol_fresh(const quern__protocol *p)
{
    return p->bytes == 0 || (p->ahead && p->batch == 0);
}

void quern__protocol_begin(quern__protocol *p)
{
    p->batch = p->bytes = 0;
    p->ahead = p->held = false;
}

int64_t quern__protocol_first(quern__protocol *p, const volatile int *interrupt, quern_error *err)
{
    enum { most = 1 << 16 };
    if (!p->ahead && p->batch > 0)
        return 0; /* a run has read from the stream: its position is not the start */
    p->interrupt = interrupt;
    p->alone = true;
    int status = p->ahead ? QUERN_OK : read_header(p, &p->npy, err);
    p->interrupt = NULL;
    p->alone = false;
    if (status != QUERN_OK)
        return status == QUERN_END ? 0 : status;
    p->ahead = true;
    int64_t records = p->npy.shape.rank ? p->npy.shape.dims[0] : 0;
    return records > most ? too_large(p, records, most, err) : records;
}
