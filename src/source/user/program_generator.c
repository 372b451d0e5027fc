/* A generator from another program, whose standard output is a stream of `.npy` arrays
 * (npy_stream.h). The program runs in its own process group, which is terminated at the end of
 * the run. posix_spawn avoids a copy of the trainer's address space. */
#include "source/arrays/npy_stream.h"
#include "source/generator_struct.h"
#include "tensor/array_axes.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { kept_words = 400, most_groups = 64 };

/* Process groups of running programs, for quern_programs_stop (async-signal-safe); 0: free. */
static atomic_int groups[most_groups];

static void note_group(pid_t from, pid_t to)
{
    for (int i = 0; i < most_groups; i++) {
        int held = from;
        if (atomic_compare_exchange_strong(&groups[i], &held, to))
            return;
    }
}

void quern_programs_stop(void)
{
    for (int i = 0; i < most_groups; i++) {
        int group = atomic_load(&groups[i]);
        if (group > 0)
            kill(-group, SIGTERM);
    }
}

typedef struct program {
    quern__protocol in; /* first member: hear casts it to the program */
    char *command, *arrays, *phase,
        *data_format;           /* data_format: an invalid word, which the run reports */
    pid_t pid;                  /* 0: not running */
    char words[kept_words + 1]; /* the end of its standard error */
    uint64_t seed;
} program;

/* Copies the program's standard error to ours and keeps its end for an error message. */
static void program_hear(quern__protocol *in)
{
    program *p = (program *)in;
    char said[1024];
    for (ssize_t n; p->in.said >= 0 && (n = read(p->in.said, said, sizeof said)) > 0;) {
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

/* Whether the program has exited; its status is not consumed. */
static bool program_gone(quern__protocol *in)
{
    siginfo_t is = { 0 };
    pid_t pid = ((program *)in)->pid;
    return pid && waitid(P_PID, (id_t)pid, &is, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           is.si_pid == pid;
}

/* Terminates the children of a program that has exited; its process group still exists. */
static void end_children(const program *p)
{
    kill(-p->pid, SIGTERM);
    nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
    kill(-p->pid, SIGKILL);
}

/* The kept standard error on one line. */
static const char *last_words(program *p)
{
    size_t n = strlen(p->words);
    while (n && strchr("\n\r ", p->words[n - 1]))
        p->words[--n] = 0;
    for (char *c = p->words; *c; c++)
        *c = *c == '\n' || *c == '\r' ? ' ' : *c;
    return p->words;
}

/* Waits for the program after the end of its output. A status other than 0 is an error. */
static int program_wait(program *p, quern_error *err)
{
    int status = 0;
    char what[560];
    if (p->pid && p->in.held)
        end_children(p);
    if (p->pid) {
        note_group(p->pid, 0);
        waitpid(p->pid, &status, 0);
    }
    p->pid = 0;
    program_hear(&p->in);
    if (status == 0 && p->in.held)
        quern__warn("%.120s: the program has ended while its child holds the standard output; the "
                    "data ends here",
                    p->command);
    if (status == 0)
        return QUERN_END;
    snprintf(what, sizeof what, "the program %s %d%s%s",
             WIFSIGNALED(status) ? "was terminated by signal" : "ended with exit status",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), *p->words ? ": " : "",
             last_words(p));
    return quern__protocol_fail(&p->in, QUERN_USER, err, what);
}

static int program_next(quern_generator *g, quern_batch *b, quern_error *err)
{
    program *p = g->self;
    p->in.interrupt = g->interrupt;
    int status = p->pid ? quern__protocol_next(&p->in, g->spec, b, err) : QUERN_END;
    return status == QUERN_END && p->pid ? program_wait(p, err) : status;
}

/* Sends SIGTERM to the process group, and SIGKILL after half a second. */
static void stop_program(program *p)
{
    int status;
    if (p->in.fd >= 0)
        close(p->in.fd);
    if (p->in.said >= 0)
        close(p->in.said);
    p->in.fd = p->in.said = -1;
    if (p->pid) {
        note_group(p->pid, 0);
        kill(-p->pid, SIGTERM);
        for (int i = 0; i < 100 && waitpid(p->pid, &status, WNOHANG) == 0; i++)
            nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
        kill(-p->pid, SIGKILL);
        waitpid(p->pid, &status, 0);
    }
    p->pid = 0;
}

/* Starts the program with /bin/sh, with pipes for its output and errors. Epoch, seed and phase
 * are environment variables. */
static int start_program(program *p, int64_t epoch, quern_error *err)
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
    (void)fcntl(ends[0], F_SETPIPE_SZ,
                1 << 20); /* fewer context switches between the two programs */
    snprintf(text, sizeof text,
             "QUERN_EPOCH=%lld QUERN_SEED=%llu QUERN_PHASE=%s; export QUERN_EPOCH QUERN_SEED "
             "QUERN_PHASE; ",
             (long long)epoch + 1, (unsigned long long)p->seed, p->phase);
    quern__text line = { 0 };
    quern__text_add(&line, "%s%s%s", text,
                    epoch ? "QUERN_RESUME_STEP=0; export QUERN_RESUME_STEP; " : "", p->command);
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
    p->in.fd = ends[0];
    p->in.said = errors[0];
    quern__protocol_begin(&p->in);
    p->in.stop = false;
    if (code) {
        p->pid = 0;
        return quern__fail(err, QUERN_IO, p->command, "cannot be started: %s", strerror(code));
    }
    note_group(0, p->pid);
    return QUERN_OK;
}

/* Whether the program runs with this seed and nothing was taken from it. */
static bool is_begun(program *p, uint64_t seed)
{
    bool begun = p->pid && quern__protocol_fresh(&p->in) && p->seed == seed;
    p->seed = seed;
    return begun;
}

static int program_open(quern_generator *g, const quern_batch_spec *spec, bool shuffle,
                        uint64_t seed, quern_error *err)
{
    program *p = g->self;
    (void)shuffle;
    g->spec = spec;
    int status = quern__protocol_open(&p->in, spec, err);
    if (status >= 0 && p->data_format)
        status = quern__data_format(p->data_format, &p->in.channels_first, err);
    return status < 0 || is_begun(p, seed) ? status : start_program(p, 0, err);
}

/* Starts the program again, unless nothing was read from it. */
static int program_reset(quern_generator *g, int64_t epoch, quern_error *err)
{
    program *p = g->self;
    return epoch == 0 && is_begun(p, p->seed) ? QUERN_OK : start_program(p, epoch, err);
}

static int64_t program_first(quern_generator *g, uint64_t seed, const volatile int *interrupt,
                             quern_error *err)
{
    program *p = g->self;
    int status = is_begun(p, seed) ? QUERN_OK : start_program(p, 0, err);
    return status < 0 ? status : quern__protocol_first(&p->in, interrupt, err);
}

static void program_cancel(quern_generator *g)
{
    __atomic_store_n(&((program *)g->self)->in.stop, true, __ATOMIC_RELEASE);
}
static void program_close(quern_generator *g) { stop_program(g->self); }

static void program_free(quern_generator *g)
{
    program *p = g->self;
    stop_program(p);
    quern__free(p->command);
    quern__free(p->arrays);
    quern__free(p->phase);
    quern__free(p->data_format);
    quern__free(p->in.scratch);
    quern__free(p);
}

quern_generator *quern_program_generator(const char *command, const quern_program_opts *opts)
{
    if (!command)
        return NULL;
    static const quern__source_ops kind = { .open = program_open,
                                            .next = program_next,
                                            .reset = program_reset,
                                            .cancel = program_cancel,
                                            .close = program_close,
                                            .free = program_free,
                                            .first = program_first,
                                            .bytes = quern__protocol_bytes };
    enum { opts_0_1 = 40 };
    quern_program_opts o;
    if (QUERN__OPTIONS(o, opts_0_1, opts, NULL) < 0)
        return NULL;
    program *p = quern__zalloc(1, sizeof *p);
    quern_generator *g = p ? quern__generator_new(&kind, p) : NULL;
    if (!g) {
        quern__free(p);
        return NULL;
    }
    p->command = quern__strdup(command);
    p->phase = quern__strdup(o.validation ? "validation" : "train");
    p->arrays = o.arrays ? quern__strdup(o.arrays) : NULL;
    p->in = (quern__protocol){ .where = p->command,
                               .arrays = p->arrays,
                               .fd = -1,
                               .said = -1,
                               .hear = program_hear,
                               .gone = program_gone,
                               .timeout = o.stall_timeout };
    if (quern__data_format(o.data_format, &p->in.channels_first, NULL) < 0)
        p->data_format = quern__strdup(o.data_format);
    g->stall_timeout = o.stall_timeout;
    g->watches = true;
    g->bad.can = 1u << QUERN_BAD_SKIP;
    g->where = p->command;
    g->restarts = true;
    if (p->command && p->phase && (p->arrays || !o.arrays))
        return g;
    quern_generator_free(g);
    return NULL;
}
