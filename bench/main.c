/* bench [--json] [--against] [NAME …]: the figures of README, each with its unit, its fraction of
 * the machine's limit if arithmetic limits it, and the peak memory of this process. --against
 * alternates with peers.py and prints the ratio to the fastest peer; QUERN_PEERS_PYTHON names the
 * Python that has the peers. Use it on an idle machine. */
#include "bench.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct {
    const char *name, *unit, *peer; /* peer: the same work in peers.py */
    double (*run)(void);
    double flops; /* per unit; 0: arithmetic is not the limit */
    bool less;    /* less is better */
} all[] = {
    { "limit", "GFLOP/s", NULL, bench_limit, 0, false },
    /* forward pass, weight gradients, and after the first layer the input gradients */
    { "mlp", "samples/s", "mlp", bench_mlp, 2.0 * (2 * 784 * 128 + 3 * 128 * 10), false },
    /* each convolution: forward pass, kernel gradient, and after the first the image gradient */
    { "lenet", "images/s", "lenet", bench_lenet,
      2.0 * (2 * 784 * 25 * 6 + 3 * (100 * 150 * 16 + 400 * 120 + 120 * 84 + 840)), false },
    { "convnet", "images/s", "convnet", bench_convnet,
      2.0 * (2 * 676 * 9 * 32 + 3 * (121 * 288 * 64 + 16000)), false },
    { "resnet20", "images/s", "resnet20", bench_resnet20,
      2.0 * (2 * 1024 * 27 * 16 + 3 * (40813184.0 - 1024 * 27 * 16)), false },
    /* three times the products: two blocks of 12 width², the logits; scores and their use, half of
     * which is visible */
    { "gpt", "tokens/s", "gpt", bench_gpt, 3 * 2.0 * (2 * (12 * 128 * 128 + 64 * 128) + 128 * 96),
      false },
    { "char_lstm", "chars/s", "char_lstm", bench_char_lstm, 2.0 * (2 * 57 * 512 + 3 * 128 * 512),
      false },
    { "lstm", "chars/s", "lstm", bench_lstm, 3 * 2.0 * (64 * 2048 + 512 * 2048 + 512 * 96), false },
    { "gru", "chars/s", "gru", bench_gru, 3 * 2.0 * (64 * 1536 + 512 * 1536 + 512 * 96), false },
    { "generate_lstm", "chars/s", "generate_lstm", bench_generate_lstm, 0, false },
    { "generate_gpt", "tokens/s", "generate_gpt", bench_generate_gpt, 0, false },
    { "generate_long", "tokens/s", NULL, bench_generate_long, 0, false },
    { "overhead", "us/batch", NULL, bench_overhead, 0, true },
    { "csv", "MB/s", NULL, bench_csv, 0, false },
    { "gzip", "% waiting", NULL, bench_gzip, 0, true },
    { "pipe", "GB/s", NULL, bench_pipe, 0, false },
    { "start", "ms", NULL, bench_start, 0, true },
    { "prepare", "% of copying twice", NULL, bench_prepare, 0, false },
    { "qrec", "% of pread", NULL, bench_qrec, 0, false },
    { "checkpoint", "% slower", NULL, bench_checkpoint, 0, true },
    { "resume", "ms", NULL, bench_resume, 0, true },
    { "planning", "ms", NULL, bench_planning, 0, true },
    { "packing", "of bound", NULL, bench_packing, 0, true },
};
enum { n_all = sizeof all / sizeof *all };
static const char *const peers[] = { "torch", "torch-compiled", "keras-tf", "keras-jax" };
enum { n_peers = sizeof peers / sizeof *peers, turns = 2 };

static char folder[1024] = ".";

double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void bench_fail(const quern_error *err)
{
    fprintf(stderr, "bench: %s: %s\n", err->where, err->text);
    exit(1);
}

const char *bench_folder(void) { return folder; }

static double peak_megabytes(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[128];
    double kib = 0;
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "VmHWM:", 6))
            kib = strtod(line + 6, NULL);
    if (f)
        fclose(f);
    return kib * 1024 / 1e6;
}

static void report(int k, double figure, double limit, bool json)
{
    double share = all[k].flops > 0 && limit > 0 ? figure * all[k].flops / limit / 1e9 : NAN;
    if (json) {
        printf("{\"name\":\"%s\",\"figure\":%.6g,\"unit\":\"%s\"", all[k].name, figure,
               all[k].unit);
        if (!isnan(share))
            printf(",\"share_of_limit\":%.3f", share);
        printf(",\"peak_megabytes\":%.1f}\n", peak_megabytes());
    } else {
        printf("%-10s %12.6g %-10s", all[k].name, figure, all[k].unit);
        if (!isnan(share))
            printf(" %3.0f %% of the limit", 100 * share);
        printf("  (peak %.1f MB)\n", peak_megabytes());
    }
    fflush(stdout);
}

/* The best result of a peer for a benchmark; 0 if the peer is not installed. */
static double run_peer(const char *peer, const char *work)
{
    char command[1400], line[2000];
    const char *python = getenv("QUERN_PEERS_PYTHON");
    double figure = 0;
    snprintf(command, sizeof command, "'%s' '%s/peers.py' %s %s 2>/dev/null",
             python ? python : "python3", QUERN_BENCH_SOURCE, peer, work);
    FILE *f = popen(command, "r");
    while (f && fgets(line, sizeof line, f)) {
        const char *at = strstr(line, "\"best\":");
        figure = at ? strtod(at + 7, NULL) : figure;
    }
    if (f)
        pclose(f);
    return figure;
}

/* Alternates between quern and each peer. Keeps the best of each. */
static void against(int k, double ours, bool json)
{
    double best[n_peers] = { 0 }, fastest = 0;
    for (int turn = 0; turn < turns; turn++)
        for (int p = 0; p < n_peers; p++) {
            double theirs = turn && best[p] == 0 ? 0 : run_peer(peers[p], all[k].peer),
                   again = theirs > 0 ? all[k].run() : 0;
            best[p] = theirs > best[p] ? theirs : best[p];
            ours = again > ours ? again : ours;
        }
    for (int p = 0; p < n_peers; p++) {
        if (best[p] == 0)
            fprintf(stderr, "bench: %s is not installed, or failed\n", peers[p]);
        else if (!json)
            printf("  %-16s %12.6g %s\n", peers[p], best[p], all[k].unit);
        else
            printf("{\"name\":\"%s\",\"peer\":\"%s\",\"figure\":%.6g}\n", all[k].name, peers[p],
                   best[p]);
        fastest = best[p] > fastest ? best[p] : fastest;
    }
    if (fastest > 0)
        printf(json ? "{\"name\":\"%s\",\"best\":%.6g,\"times_the_fastest_peer\":%.3f}\n"
                    : "  %s: %.6g, %.2f times the fastest peer\n",
               all[k].name, ours, ours / fastest);
}

int main(int argc, char **argv)
{
    bool json = false, peer = false;
    int chosen[n_all] = { 0 }, n = 0;
    char *slash = strrchr(argv[0], '/');
    if (slash)
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - argv[0]), argv[0]);
    if (argc == 3 && !strcmp(argv[1], "--write"))
        return bench_write(atoi(argv[2]));
    if (argc == 3 && !strcmp(argv[1], "--csv"))
        return bench_rows(strtod(argv[2], NULL));
    for (int i = 1; i < argc; i++) {
        int k = 0;
        while (k < n_all && strcmp(argv[i], all[k].name))
            k++;
        if (!strcmp(argv[i], "--json"))
            json = true;
        else if (!strcmp(argv[i], "--against"))
            peer = true;
        else if (k < n_all)
            chosen[k] = ++n;
        else
            return fprintf(stderr, "bench: no benchmark is called '%s'\n", argv[i]), 2;
    }
    double limit = 0;
    for (int k = 0; k < n_all; k++)
        if (all[k].flops > 0 && (!n || chosen[k]) && limit == 0)
            limit = bench_limit();
    for (int k = 0; k < n_all; k++) {
        if (n && !chosen[k])
            continue;
        double figure = all[k].run();
        report(k, figure, limit, json);
        if (peer && all[k].peer)
            against(k, figure, json);
    }
    return 0;
}
