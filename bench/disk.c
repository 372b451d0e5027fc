/* Files: preparation of records, shuffled reads, checkpoints during training, and resume. The data
 * is created in $TMPDIR (/tmp) and removed. */
#include "bench.h"

#include "queue/queue.h"
#include "source/io/direct_io.h"
#include "source/prepared/qrec.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { width = 784, records = 1 << 17, chunk = 1 << 20 };

static void name(char *out, size_t size, const char *ending)
{
    const char *folder = getenv("TMPDIR");
    snprintf(out, size, "%s/quern-bench-%d%s", folder ? folder : "/tmp", (int)getpid(), ending);
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* 400 MB of float32 as .npy, and labels. */
static void make_arrays(const char *x, const char *y)
{
    static float row[width];
    for (int k = 0; k < 2; k++) {
        char head[128] = "\x93NUMPY\x01\x00\x76";
        FILE *f = fopen(k ? y : x, "wb");
        if (!f)
            fail(k ? y : x);
        int n = snprintf(head + 10, 117,
                         "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", records,
                         k ? 1 : width);
        memset(head + 10 + n, ' ', (size_t)(117 - n));
        head[127] = '\n';
        fwrite(head, 1, sizeof head, f);
        for (int r = 0; r < records; r++) {
            for (int i = 0; i < width; i++)
                row[i] = (float)((uint32_t)(r * width + i) * 2654435761u >> 8) / 16777216.0f;
            row[0] = k ? (float)(r % 10) : row[0];
            fwrite(row, sizeof *row, k ? 1 : width, f);
        }
        if (fclose(f))
            fail("fclose");
    }
}

/* Copies and syncs. Returns the seconds. */
static double copy(const char *from, const char *to)
{
    double start = bench_now();
    char *bytes = malloc(chunk);
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    for (ssize_t n; (n = read(in, bytes, chunk)) > 0;)
        if (write(out, bytes, (size_t)n) != n)
            fail(to);
    if (fsync(out) || close(out) || close(in))
        fail(to);
    free(bytes);
    return bench_now() - start;
}

static quern_generator *open_words(const char *words)
{
    quern_error err = { 0 };
    quern_generator *g = quern_file_generator(words, NULL, &err);
    if (!g)
        bench_fail(&err);
    return g;
}

static double prepare(const char *x, const char *y, const char *to)
{
    quern_error err = { 0 };
    char words[4096];
    snprintf(words, sizeof words, "x=%s y=%s", x, y);
    quern_generator *g = open_words(words);
    double start = bench_now();
    if (quern_prepare(g, NULL, to, &err) < 0)
        bench_fail(&err);
    double seconds = bench_now() - start;
    quern_generator_free(g);
    return seconds;
}

typedef struct files {
    char x[1024], y[1024], copies[2][1024], prepared[1024];
} files;

static files names(void)
{
    files f;
    name(f.x, sizeof f.x, "-x.npy");
    name(f.y, sizeof f.y, "-y.npy");
    name(f.copies[0], sizeof f.copies[0], "-a");
    name(f.copies[1], sizeof f.copies[1], "-b");
    name(f.prepared, sizeof f.prepared, ".qrec");
    return f;
}

static void remove_all(const files *f)
{
    unlink(f->x);
    unlink(f->y);
    unlink(f->copies[0]);
    unlink(f->copies[1]);
    unlink(f->prepared);
}

double bench_prepare(void)
{
    files f = names();
    double best_copy = 1e9, best = 1e9;
    make_arrays(f.x, f.y);
    for (int k = 0; k < 3; k++) {
        double twice = copy(f.x, f.copies[0]) + copy(f.copies[0], f.copies[1]),
               own = prepare(f.x, f.y, f.prepared);
        best_copy = twice < best_copy ? twice : best_copy;
        best = own < best ? own : best;
    }
    remove_all(&f);
    return 100 * best_copy / best;
}

static void forget(const char *path)
{
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fsync(fd) || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) || close(fd))
        fail(path);
}

static double read_through(const char *path)
{
    char *bytes = malloc(chunk);
    int fd = open(path, O_RDONLY);
    double start = bench_now();
    off_t at = 0;
    for (ssize_t n; (n = pread(fd, bytes, chunk, at)) > 0;)
        at += n;
    double seconds = bench_now() - start;
    close(fd);
    free(bytes);
    return seconds;
}

static quern__queue *open_queue(quern_generator *g)
{
    quern_error err = { 0 };
    static const quern__queue_opts o = { .spec = { .n_inputs = 1,
                                                   .n_targets = 1,
                                                   .batch_size = 256,
                                                   .shapes = { { .rank = 2, .dims = { -1, width } },
                                                               { .rank = 2, .dims = { -1, 1 } } },
                                                   .dtypes = { QUERN_FLOAT32, QUERN_FLOAT32 },
                                                   .names = { "x", "y" },
                                                   .weights = { { .rank = 1, .dims = { -1 } } } },
                                         .shuffle = true,
                                         .seed = 1,
                                         .depth = 10,
                                         .workers = 2 };
    quern__queue *q = quern__queue_open(g, &o, &err);
    if (!q)
        bench_fail(&err);
    return q;
}

/* All batches of a shuffled epoch, with two reader threads and a queue as in training. */
static double read_shuffled(quern__queue *q, int64_t pass)
{
    quern_error err = { 0 };
    double start = bench_now();
    if (quern__queue_begin(q, pass, -1, true, &err) < 0)
        bench_fail(&err);
    quern_batch *b;
    int status;
    while ((status = quern__queue_take(q, &b, &err)) == QUERN_OK)
        quern__queue_release(q);
    if (status != QUERN_END)
        bench_fail(&err);
    return bench_now() - start;
}

double bench_qrec(void)
{
    files f = names();
    double best_plain = 1e9, best = 1e9;
    make_arrays(f.x, f.y);
    prepare(f.x, f.y, f.prepared);
    quern__qrec_window = (size_t)64 << 20;
    quern__direct_always = 1; /* as for a file that is larger than memory */
    quern_generator *g = open_words(f.prepared);
    quern__queue *q = open_queue(g);
    for (int k = 0; k < 4; k++) {
        forget(f.prepared);
        double plain = read_through(f.prepared);
        forget(f.prepared);
        double own = read_shuffled(q, k);
        best_plain = plain < best_plain ? plain : best_plain;
        best = own < best ? own : best;
    }
    quern__queue_close(q);
    quern_generator_free(g);
    remove_all(&f);
    return 100 * best_plain / best;
}

/* ---- checkpoints ---- */

static int some(void *user, quern_batch *b, quern_error *err)
{
    (void)user, (void)err;
    for (int64_t i = 0; i < b->spec->batch_size * 1024; i++)
        ((float *)b->arrays[0])[i] = (float)(i & 255) / 256;
    for (int64_t i = 0; i < b->spec->batch_size * 1024; i++)
        ((float *)b->arrays[1])[i] = (float)(i & 127) / 128;
    b->size = b->spec->batch_size;
    return QUERN_OK;
}

/* The start of the first step, and the end of each. */
enum { most_steps = 1 << 14 };
static double first_step, ends[most_steps];
static int n_ends;
static int note_begin(void *user, const quern_event *event, quern_error *err)
{
    (void)user, (void)event, (void)err;
    first_step = first_step > 0 ? first_step : bench_now();
    return QUERN_OK;
}
static int note_end(void *user, const quern_event *event, quern_error *err)
{
    (void)user, (void)event, (void)err;
    if (n_ends < most_steps)
        ends[n_ends++] = bench_now();
    return QUERN_OK;
}

/* 25 million weights. Returns the seconds from the start to the first step. */
static double train(int64_t steps, int64_t epochs, const char *checkpoint, double every,
                    bool resume)
{
    quern_error err = { 0 };
    quern_model *m = quern_model_from_spec(
        "input 1024 | dense 4096 relu | dense 4096 relu | dense 1024", 1, &err);
    quern_generator *g = quern_callback_generator(&(quern_callback_ops){ .next = some }, NULL);
    if (!m || !g || quern_compile(m, "sgd", "mse", NULL, &err) < 0)
        bench_fail(&err);
    quern_callback *c = quern_callback_new(
        &(quern_hooks){ .on_train_batch_begin = note_begin, .on_train_batch_end = note_end }, NULL);
    quern_fit_opts o = { .batch_size = 64,
                         .steps_per_epoch = steps,
                         .epochs = epochs,
                         .callbacks = &c,
                         .n_callbacks = 1,
                         .checkpoint = checkpoint,
                         .checkpoint_seconds = every,
                         .no_replay = true,
                         .resume = resume };
    first_step = n_ends = 0;
    double start = bench_now();
    quern_history *h = quern_fit_generator(m, g, &o, &err);
    if (!h || err.code)
        bench_fail(&err);
    quern_history_free(h);
    quern_callback_free(c);
    quern_generator_free(g);
    quern_model_free(m);
    return first_step - start;
}

static void remove_checkpoint(const char *path)
{
    char previous[1100];
    snprintf(previous, sizeof previous, "%s.previous", path);
    unlink(path);
    unlink(previous);
}

static int by_size(const void *a, const void *b)
{
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_size);
    return n ? v[n / 2] : 0;
}

/* Divides the steps into periods. Returns the median excess over the usual step time, as a
 * fraction: one slow period does not count, a pause in each period does. */
static double beyond(double period)
{
    static double lengths[most_steps];
    double shares[64];
    int periods = 0;
    for (int i = 1, from = 1; i < n_ends && periods < 64; i++) {
        lengths[i - from] = ends[i] - ends[i - 1];
        if (ends[i] - ends[from - 1] < period)
            continue;
        int n = i + 1 - from;
        double usual = median(lengths, n) * n;
        shares[periods++] = (ends[i] - ends[from - 1] - usual) / usual;
        from = i + 1;
    }
    return median(shares, periods);
}

double bench_checkpoint(void)
{
    enum { every = 10, periods = 5 };
    char path[1024];
    double shares[2];
    name(path, sizeof path, ".keras");
    train(100, 1, NULL, 0, false);
    int64_t steps = (int64_t)((every * periods + 2) * n_ends / (ends[n_ends - 1] - first_step));
    for (int k = 0; k < 2; k++) {
        train(steps, 1, k ? path : NULL, k ? every : 0, false);
        shares[k] = beyond(every);
        remove_checkpoint(path);
    }
    return 100 * (shares[1] - shares[0]);
}

double bench_resume(void)
{
    char path[1024];
    double best = 1e9;
    name(path, sizeof path, ".keras");
    train(3, 1, path, 0, false);
    for (int k = 0; k < 3; k++) {
        double reading = read_through(path), first = train(3, 2 + k, path, 0, true);
        best = first - reading < best ? first - reading : best;
    }
    remove_checkpoint(path);
    return best * 1e3;
}
