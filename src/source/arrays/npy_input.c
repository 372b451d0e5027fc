/* Concatenated .npy arrays from standard input, a file or a named pipe (npy_stream.h). A regular
 * file restarts for each epoch and validation; a pipe is read once. */
#include "npy_stream.h"
#include "source/generator_struct.h"
#include "tensor/array_axes.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

typedef struct input {
    quern__protocol in; /* its descriptor is open for the life of the generator */
    char *path, *arrays;
    off_t start; /* offset at open; -1: not seekable */
} input;

static int input_open(quern_generator *g, const quern_batch_spec *spec, bool shuffle, uint64_t seed,
                      quern_error *err)
{
    input *p = g->self;
    (void)shuffle, (void)seed;
    g->spec = spec;
    p->in.stop = false;
    return quern__protocol_open(&p->in, spec, err);
}

static int input_next(quern_generator *g, quern_batch *b, quern_error *err)
{
    input *p = g->self;
    p->in.interrupt = g->interrupt;
    return quern__protocol_next(&p->in, g->spec, b, err);
}

static int input_reset(quern_generator *g, int64_t epoch, quern_error *err)
{
    input *p = g->self;
    (void)epoch;
    if (quern__protocol_fresh(&p->in))
        return QUERN_OK;
    if (p->start < 0 || lseek(p->in.fd, p->start, SEEK_SET) < 0)
        return quern__fail(err, QUERN_IO, p->path, "cannot be read again from its start");
    quern__protocol_begin(&p->in);
    return QUERN_OK;
}

static int64_t input_first(quern_generator *g, uint64_t seed, const volatile int *interrupt,
                           quern_error *err)
{
    (void)seed;
    return quern__protocol_first(&((input *)g->self)->in, interrupt, err);
}

static void input_cancel(quern_generator *g)
{
    __atomic_store_n(&((input *)g->self)->in.stop, true, __ATOMIC_RELEASE);
}

static void input_free(quern_generator *g)
{
    input *p = g->self;
    if (p->in.fd >= 0)
        close(p->in.fd);
    quern__free(p->in.scratch);
    quern__free(p->path);
    quern__free(p->arrays);
    quern__free(p);
}

quern_generator *quern__input_open(const char *path, const quern_file_opts *o, quern_error *err)
{
    static const quern__source_ops kind = { .open = input_open,
                                            .next = input_next,
                                            .reset = input_reset,
                                            .cancel = input_cancel,
                                            .free = input_free,
                                            .first = input_first,
                                            .bytes = quern__protocol_bytes };
    input *p = quern__zalloc(1, sizeof *p);
    quern_generator *g = p ? quern__generator_new(&kind, p) : NULL;
    if (!g) {
        quern__free(p);
        quern__fail_memory(err, sizeof *p);
        return NULL;
    }
    bool standard = !strcmp(path, "-");
    p->path = quern__strdup(standard ? "standard input" : path);
    p->arrays = o->arrays ? quern__strdup(o->arrays) : NULL;
    p->in = (quern__protocol){
        .where = p->path, .arrays = p->arrays, .timeout = o->stall_timeout, .said = -1
    };
    quern__data_format(o->data_format, &p->in.channels_first, NULL); /* opening checked the word */
    p->in.fd = standard ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    p->start = p->in.fd >= 0 ? lseek(p->in.fd, 0, SEEK_CUR) : -1;
    g->watches = true;
    g->bad.can = 1u << QUERN_BAD_SKIP;
    g->where = p->path;
    g->restarts = p->start >= 0;
    if (p->path && (p->arrays || !o->arrays) && p->in.fd >= 0)
        return g;
    if (p->path && p->in.fd < 0)
        quern__fail(err, QUERN_IO, path, "cannot be opened: %s", strerror(errno));
    else
        quern__fail_memory(err, strlen(path));
    quern_generator_free(g);
    return NULL;
}
