/* A generator that is another program: its standard output is a stream of `.npy` arrays, x then y, batch after batch. It runs in a
 * process group of its own, which is gone when the run ends. End of stream between batches is StopIteration; inside one it is an
 * error that names batch and byte. posix_spawn, so that the trainer is never copied. */
#include "source.h"
#include "tensor/npy.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { WEIGHTS = -1, most_arrays = 2 * QUERN_MAX_ARRAYS + 1, kept_words = 400 };

typedef struct program {
    char *command, *arrays, *phase;
    pid_t pid;                  /* 0: not running */
    int out, error;             /* its standard output and standard error */
    int n, order[most_arrays];  /* what comes in a batch: arrays of the batch by number, or WEIGHTS */
    char words[kept_words + 1]; /* the last it said on standard error */
    int64_t batch, bytes;
    uint64_t seed;
    double timeout; /* seconds of silence that are an error; 0: none */
    bool stop;
    uint8_t *scratch; /* an array in another dtype, before it is converted */
    size_t scratch_bytes;
} program;

static int fail(const program *p, int code, quern_error *err, const char *what)
{
    char where[256];
    snprintf(where, sizeof where, "%.120s: batch %lld, byte %lld", p->command, (long long)p->batch + 1, (long long)p->bytes);
    return quern__fail(err, code, where, "%s", what);
}

/* What it says on standard error goes on to ours; the end of it is kept for the message should it fail. */
static void hear(program *p)
{
    char said[1024];
    for (ssize_t n; p->error >= 0 && (n = read(p->error, said, sizeof said)) > 0;) {
        size_t kept = strlen(p->words), more = (size_t)n < kept_words ? (size_t)n : kept_words;
        if (write(STDERR_FILENO, said, (size_t)n) < 0)
            break;
        if (kept + more > kept_words) {
            memmove(p->words, p->words + kept + more - kept_words, kept_words - more);
            kept = kept_words - more;
        }
        memcpy(p->words + kept, said + (size_t)n - more, more);
        p->words[kept + more] = 0;
    }
}

/* The last lines it said, on one line. */
static const char *last_words(program *p)
{
    size_t n = strlen(p->words);
    while (n && strchr("\n\r ", p->words[n - 1]))
        p->words[--n] = 0;
    for (char *c = p->words; *c; c++)
        *c = *c == '\n' || *c == '\r' ? ' ' : *c;
    return p->words;
}

/* Reads n bytes, or fewer at the end of the stream; negative on failure or when the run is over. */
static ssize_t read_some(program *p, void *to, size_t n, quern_error *err)
{
    size_t got = 0;
    double since = quern__now();
    while (got < n) {
        struct pollfd fds[2] = { { .fd = p->out, .events = POLLIN }, { .fd = p->error, .events = POLLIN } };
        if (__atomic_load_n(&p->stop, __ATOMIC_ACQUIRE))
            return QUERN_CLOSED;
        int some = poll(fds, 2, 50);
        if (fds[1].revents)
            hear(p);
        if (fds[1].revents & POLLHUP && !(fds[1].revents & POLLIN)) {
            close(p->error);
            p->error = -1;
        }
        if (some > 0 && !fds[0].revents)
            continue;
        if (some == 0) {
            if (p->timeout > 0 && quern__now() - since > p->timeout)
                return fail(p, QUERN_STALLED, err, "the program has written nothing for longer than the stall timeout");
            continue;
        }
        ssize_t k = read(p->out, (char *)to + got, n - got);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return fail(p, QUERN_IO, err, strerror(errno));
        if (k == 0)
            break;
        got += (size_t)k;
        p->bytes += k;
        since = quern__now();
    }
    return (ssize_t)got;
}

/* Waits for the program, which closed its output; a status other than 0 is an error. */
static int ended(program *p, quern_error *err)
{
    int status = 0;
    char what[560];
    if (p->pid)
        waitpid(p->pid, &status, 0);
    p->pid = 0;
    hear(p);
    if (status == 0)
        return QUERN_END;
    snprintf(what, sizeof what, "the program %s %d%s%s", WIFSIGNALED(status) ? "was ended by signal" : "ended with exit status",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), *p->words ? ": " : "", last_words(p));
    return fail(p, QUERN_USER, err, what);
}

/* The header of the next array. QUERN_END at the end of the stream before its first byte. */
static int read_header(program *p, quern__npy *npy, quern_error *err)
{
    uint8_t head[QUERN__NPY_HEADER_LIMIT + 16];
    size_t total = 0, have = QUERN__NPY_PROLOGUE;
    ssize_t got = read_some(p, head, have, err);
    if (got < 0)
        return (int)got;
    if (got == 0)
        return QUERN_END;
    if ((size_t)got == have && head[6] > 1) {
        ssize_t more = read_some(p, head + have, 2, err);
        got = more < 0 ? more : got + more;
        have += 2;
    }
    if (got >= 0 && (size_t)got < have)
        return fail(p, QUERN_FORMAT, err, "the stream ends inside an array's header");
    int status = got < 0 ? (int)got : quern__npy_header_bytes(head, have, &total, p->command, err);
    if (status < 0)
        return status;
    if (total < have || total > sizeof head)
        return fail(p, QUERN_FORMAT, err, "an array's header is longer than 4096 bytes");
    got = read_some(p, head + have, total - have, err);
    if (got < 0 || (size_t)got != total - have)
        return got < 0 ? (int)got : fail(p, QUERN_FORMAT, err, "the stream ends inside an array's header");
    return quern__npy_parse(head, total, npy, p->command, err);
}

/* One array into its place in the batch (place `at` of those that come): straight from the pipe when the type is right. */
static int read_array(program *p, const quern__npy *npy, const quern_batch_spec *s, int at, quern_batch *b, quern_error *err)
{
    static const quern_shape one = { .rank = 1, .dims = { -1 } };
    int i = p->order[at], dtype = i == WEIGHTS ? QUERN_FLOAT32 : s->dtypes[i];
    const quern_shape *shape = i == WEIGHTS ? &one : &s->shapes[i];
    void *to = i == WEIGHTS ? b->weights : b->arrays[i];
    int64_t per = 1, have = 1, records = npy->shape.rank ? npy->shape.dims[0] : 0;
    char want[96], got[96], what[256];
    for (int k = 1; k < shape->rank; k++)
        per *= shape->dims[k];
    for (int k = 1; k < npy->shape.rank; k++)
        have *= npy->shape.dims[k];
    if (have != per || records < 1 || records > s->batch_size || (at > 0 && records != b->size) ||
        (npy->fortran && npy->shape.rank > 1)) {
        snprintf(what, sizeof what, "array %d has shape %s%s; the model wants %s with 1 to %lld records, the same in each array",
                 at + 1, quern_shape_text(&npy->shape, got, sizeof got), npy->fortran ? ", columns first" : "",
                 quern_shape_text(shape, want, sizeof want), (long long)s->batch_size);
        return fail(p, QUERN_SHAPE, err, what);
    }
    b->size = records;
    bool direct = npy->dtype == dtype;
    if (!direct && npy->data_bytes > p->scratch_bytes) { /* only while batches grow */
        quern__free(p->scratch);
        p->scratch = quern__alloc(npy->data_bytes);
        p->scratch_bytes = p->scratch ? npy->data_bytes : 0;
        if (!p->scratch)
            return quern__fail_memory(err, npy->data_bytes);
    }
    quern_tensor from = { .dtype = npy->dtype, .data = p->scratch };
    ssize_t n = read_some(p, direct ? to : p->scratch, npy->data_bytes, err);
    if (n < 0 || (size_t)n != npy->data_bytes)
        return n < 0 ? (int)n : fail(p, QUERN_FORMAT, err, "the stream ends inside an array");
    for (int64_t k = 0; !direct && k < records * per; k++) {
        double v = quern__number_of(&from, k);
        if (dtype == QUERN_INT32 && !(v == floor(v) && fabs(v) <= INT32_MAX)) {
            snprintf(what, sizeof what, "record %lld has label %g, which is no whole number", (long long)(k / per) + 1, v);
            return fail(p, QUERN_INVALID, err, what);
        }
        if (dtype == QUERN_INT32)
            ((int32_t *)to)[k] = (int32_t)v;
        else
            ((float *)to)[k] = (float)v;
    }
    return QUERN_OK;
}

static int program_next(quern_generator *g, quern_batch *b, quern_error *err)
{
    program *p = g->self;
    if (!p->pid)
        return QUERN_END;
    b->has_weights = false;
    for (int i = 0; i < p->n; i++) {
        quern__npy npy;
        int status = read_header(p, &npy, err);
        if (status == QUERN_END)
            return i == 0 ? ended(p, err) : fail(p, QUERN_FORMAT, err, "the stream ends between the arrays of a batch");
        status = status < 0 ? status : read_array(p, &npy, g->spec, i, b, err);
        if (status < 0)
            return status;
        b->has_weights = b->has_weights || p->order[i] == WEIGHTS;
    }
    p->batch++;
    return QUERN_OK;
}

/* Its group is told to stop, and killed after half a second. */
static void stop_program(program *p)
{
    int status;
    if (p->out >= 0)
        close(p->out);
    if (p->error >= 0)
        close(p->error);
    p->out = p->error = -1;
    if (p->pid) {
        kill(-p->pid, SIGTERM);
        for (int i = 0; i < 100 && waitpid(p->pid, &status, WNOHANG) == 0; i++)
            nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
        kill(-p->pid, SIGKILL);
        waitpid(p->pid, &status, 0);
    }
    p->pid = 0;
}

static int start(program *p, int64_t epoch, quern_error *err)
{
    int ends[2], errors[2];
    char text[200];
    stop_program(p);
    if (pipe2(ends, O_CLOEXEC))
        return quern__fail(err, QUERN_IO, p->command, "%s", strerror(errno));
    if (pipe2(errors, O_CLOEXEC | O_NONBLOCK)) {
        close(ends[0]);
        close(ends[1]);
        return quern__fail(err, QUERN_IO, p->command, "%s", strerror(errno));
    }
    *p->words = 0;
    (void)fcntl(ends[0], F_SETPIPE_SZ, 1 << 20); /* fewer changes between the two programs */
    snprintf(text, sizeof text, "QUERN_EPOCH=%lld QUERN_SEED=%llu QUERN_PHASE=%s; export QUERN_EPOCH QUERN_SEED QUERN_PHASE; ",
             (long long)epoch + 1, (unsigned long long)p->seed, p->phase);
    quern__text line = { 0 };
    quern__text_add(&line, "%s%s", text, p->command);
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, ends[1], 1);
    posix_spawn_file_actions_adddup2(&files, errors[1], 2);
    posix_spawnattr_init(&how);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETPGROUP);
    char *argv[] = { "sh", "-c", line.data, NULL };
    int code = line.failed ? ENOMEM : posix_spawn(&p->pid, "/bin/sh", &files, &how, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&how);
    quern__text_free(&line);
    close(ends[1]);
    close(errors[1]);
    p->out = ends[0];
    p->error = errors[0];
    p->batch = p->bytes = 0;
    p->stop = false;
    if (code) {
        p->pid = 0;
        return quern__fail(err, QUERN_IO, p->command, "cannot be started: %s", strerror(code));
    }
    return QUERN_OK;
}

/* The array that a name stands for: x and y the next input and target, w the weights, else an input or output of the model. */
static int array_named(const program *p, const quern_batch_spec *spec, const char *name, size_t n)
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
    bool x = n == 1 && *name == 'x' && inputs < spec->n_inputs, y = n == 1 && *name == 'y' && targets < spec->n_targets;
    return x ? inputs : y ? spec->n_inputs + targets : all;
}

/* What comes, and in which order: all inputs and targets unless `arrays` names them. */
static int order_arrays(program *p, const quern_batch_spec *spec, quern_error *err)
{
    bool seen[most_arrays] = { false };
    int all = spec->n_inputs + spec->n_targets;
    for (p->n = 0; !p->arrays && p->n < all; p->n++)
        p->order[p->n] = p->n;
    for (const char *at = p->arrays; at && *at;) {
        size_t n = strcspn(at, ",");
        int i = p->n < most_arrays ? array_named(p, spec, at, n) : all;
        if (i == all || seen[i + 1])
            return quern__fail(err, QUERN_INVALID, "arrays", "'%.*s' is no input or output of the model, or named twice", (int)n,
                               at);
        seen[i + 1] = true;
        p->order[p->n++] = i;
        at += n + (at[n] == ',');
    }
    for (int i = 0; i < all && p->arrays; i++)
        if (!seen[i + 1])
            return quern__fail(err, QUERN_INVALID, "arrays", "nothing is said of '%s'", spec->names[i] ? spec->names[i] : "?");
    return QUERN_OK;
}

static int program_open(quern_generator *g, const quern_batch_spec *spec, bool shuffle, uint64_t seed, quern_error *err)
{
    program *p = g->self;
    (void)shuffle;
    g->spec = spec;
    p->seed = seed;
    int status = order_arrays(p, spec, err);
    return status < 0 ? status : start(p, 0, err);
}

/* Started anew, unless it has not been read from. */
static int program_reset(quern_generator *g, int64_t epoch, quern_error *err)
{
    program *p = g->self;
    return p->pid && p->bytes == 0 && epoch == 0 ? QUERN_OK : start(p, epoch, err);
}

static void program_cancel(quern_generator *g) { __atomic_store_n(&((program *)g->self)->stop, true, __ATOMIC_RELEASE); }
static void program_close(quern_generator *g) { stop_program(g->self); }

static void program_free(quern_generator *g)
{
    program *p = g->self;
    stop_program(p);
    quern__free(p->command);
    quern__free(p->arrays);
    quern__free(p->phase);
    quern__free(p->scratch);
    quern__free(p);
}

quern_generator *quern_program_generator(const char *command, const quern_program_opts *opts)
{
    static const quern__source_ops kind = { .open = program_open,
                                            .next = program_next,
                                            .reset = program_reset,
                                            .cancel = program_cancel,
                                            .close = program_close,
                                            .free = program_free };
    static const quern_program_opts none;
    const quern_program_opts *o = opts ? opts : &none;
    program *p = quern__zalloc(1, sizeof *p);
    quern_generator *g = p ? quern__generator_new(&kind, p) : NULL;
    if (!g) {
        quern__free(p);
        return NULL;
    }
    p->command = quern__strdup(command);
    p->phase = quern__strdup(o->validation ? "validation" : "train");
    p->arrays = o->arrays ? quern__strdup(o->arrays) : NULL;
    p->out = p->error = -1;
    p->timeout = o->stall_timeout;
    g->where = p->command;
    g->restarts = true;
    if (p->command && p->phase && (p->arrays || !o->arrays))
        return g;
    quern_generator_free(g);
    return NULL;
}
