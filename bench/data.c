/* Data pipeline: CSV, gzipped IDX, a generator program, and the time to the first step. */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[64];

static int ignore(void *user, const float *const *out, int64_t n)
{
    (void)user, (void)out, (void)n;
    return 0;
}

/* 64 MB of six-digit numbers in 32 columns; the best of four reads. */
double bench_csv(void)
{
    enum { columns = 32 };
    quern_error err = { 0 };
    double best = 1e9, bytes = 0;
    snprintf(path, sizeof path, "/tmp/quern-bench-%d.csv", (int)getpid());
    FILE *f = fopen(path, "w");
    for (int k = 0; f && k < columns; k++)
        bytes += fprintf(f, "%sf%d", k ? "," : "", k);
    for (uint32_t seed = 1; f && bytes < 64e6;)
        for (int k = 0; k < columns; k++) {
            seed = seed * 1664525u + 1013904223u;
            bytes += fprintf(f, "%c%.6f", k ? ',' : '\n', (double)(int32_t)seed / 1e9);
        }
    if (!f || fclose(f))
        return NAN;
    for (int k = 0; k < 4; k++) {
        quern_model *m = quern_model_from_spec("input 32 | flatten", 0, &err);
        quern_generator *g = quern_file_generator(path, NULL, &err);
        double start = bench_now();
        if (!m || !g || quern_model_set_threads(m, 1, &err) < 0 ||
            quern_predict_generator(m, g, 256, 0, ignore, NULL, &err) < 0)
            bench_fail(&err);
        double seconds = bench_now() - start;
        best = seconds < best ? seconds : best;
        quern_generator_free(g);
        quern_model_free(m);
    }
    unlink(path);
    return bytes / best / 1e6;
}

typedef struct share {
    double best;
} share;

static int on_epoch_end(void *user, const quern_event *e, quern_error *err)
{
    share *s = user;
    (void)err;
    double now = e->wait_seconds / e->seconds;
    s->best = e->epoch > 0 && now < s->best ? now : s->best;
    return QUERN_OK;
}

double bench_gzip(void)
{
    static const char folder[] = "/usr/share/datasets/fashion-mnist";
    char words[300];
    quern_error err = { 0 };
    share s = { 1 };
    snprintf(words, sizeof words, "x=%s/train-images-idx3-ubyte.gz y=%s/train-labels-idx1-ubyte.gz",
             folder, folder);
    quern_generator *g = quern_file_generator(words, NULL, &err);
    if (!g)
        return NAN;
    quern_model *m = quern_model_from_spec(
        "input 28 28 1 | rescaling 1/255 | flatten | dense 128 relu | dense 10 softmax", 1, &err);
    quern_callback *c = quern_callback_new(&(quern_hooks){ .on_epoch_end = on_epoch_end }, &s);
    if (!m || !c || quern_compile(m, "adam", "sparse_categorical_crossentropy", NULL, &err) < 0)
        bench_fail(&err);
    quern_history *h = quern_fit_generator(
        m, g, &(quern_fit_opts){ .epochs = 6, .batch_size = 64, .callbacks = &c, .n_callbacks = 1 },
        &err);
    if (!h || err.code)
        bench_fail(&err);
    quern_history_free(h);
    quern_callback_free(c);
    quern_generator_free(g);
    quern_model_free(m);
    return 100 * s.best;
}

enum { pipe_rows = 64, pipe_columns = 16384, pipe_batches = 400 };

int bench_write(int batches)
{
    static float x[pipe_rows * pipe_columns];
    char head[128];
    memcpy(head, "\x93NUMPY\x01\x00\x76\x00", 10);
    int n =
        snprintf(head + 10, 118, "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }",
                 pipe_rows, pipe_columns);
    memset(head + 10 + n, ' ', (size_t)(118 - n));
    head[127] = '\n';
    for (int k = 0; k < batches; k++)
        if (fwrite(head, 1, sizeof head, stdout) != sizeof head ||
            fwrite(x, sizeof x, 1, stdout) != 1)
            return 1;
    return fflush(stdout) ? 1 : 0;
}

double bench_pipe(void)
{
    char command[600];
    quern_error err = { 0 };
    snprintf(command, sizeof command, "'%s/bench' --write %d", bench_folder(), pipe_batches);
    quern_model *m = quern_model_from_spec("input 16384 | flatten", 0, &err);
    quern_generator *g = quern_program_generator(command, NULL);
    double start = bench_now();
    if (!m || !g || quern_predict_generator(m, g, pipe_rows, 0, ignore, NULL, &err) < 0)
        bench_fail(&err);
    double seconds = bench_now() - start;
    quern_generator_free(g);
    quern_model_free(m);
    return (double)pipe_batches * pipe_rows * pipe_columns * 4 / seconds / 1e9;
}

/* `quern fit` of a small network on a small table, as a process; the best of ten. The command
 * itself reports the time of the first step. */
double bench_start(void)
{
    char command[1200], line[1000];
    double best = 1e9;
    snprintf(path, sizeof path, "/tmp/quern-bench-%d", (int)getpid());
    snprintf(command, sizeof command,
             "Q='%s/quern'; P=%s; { echo a,b,c,y; for i in 1 2 3 4 5 6 7 8; do echo 1,2,3,0; echo "
             "3,2,1,1; done; } > $P.csv; "
             "$Q new $P.keras 'input 3 | dense 128 relu | dense 2 softmax' --force --optimizer "
             "adam --loss "
             "sparse_categorical_crossentropy",
             bench_folder(), path);
    if (system(command))
        return NAN;
    snprintf(command, sizeof command, "'%s/quern' fit %s.keras %s.csv --target y --json",
             bench_folder(), path, path);
    for (int k = 0; k < 10; k++) {
        FILE *f = popen(command, "r");
        while (f && fgets(line, sizeof line, f)) {
            const char *at = strstr(line, "\"first_step_seconds\":");
            double seconds = at ? strtod(at + 21, NULL) : 1e9;
            best = seconds > 0 && seconds < best ? seconds : best;
        }
        if (f)
            pclose(f);
    }
    snprintf(command, sizeof command, "rm -f %s.csv %s.keras", path, path);
    return system(command) ? NAN : best * 1e3;
}
