/* prepare: writes a file of records in a uniformly random order. */
#include "commands.h"

#include <stdlib.h>
#include <string.h>

int cli_prepare(const arguments *a)
{
    quern_error err = { 0 };
    quern_prepare_opts o = { 0 };
    const char *output = cli_option(a, "output");
    double start = cli_now();
    int code = 0;
    if (a->n < 1 || !output)
        return cli_wrong(a->n < 1 ? "DATA" : "--output", "missing (--help)");
    if (strlen(output) < 6 || strcmp(output + strlen(output) - 5, ".qrec"))
        return cli_wrong("--output", "must end in .qrec");
    if (cli_option(a, "memory") && !strcmp(cli_option(a, "memory"), "auto"))
        return cli_wrong("--memory", "must be a size, such as 64M");
    if (!cli_memory(a, &o.memory) || !cli_seed(a, &o.seed))
        return 2;
    if (cli_is_text(a, NULL, a->words[0]))
        return cli_wrong(
            a->words[0],
            "is text; fit shuffles the windows of a text while it reads, so prepare is not needed");
    quern_generator *g = cli_data(a, NULL, "generator", a->words, a->n, &err, &code);
    if (!g)
        return code;
    o.interrupt = cli_signals();
    int64_t n = quern_prepare(g, &o, output, &err);
    quern_generator_free(g);
    if (n < 0) {
        code = cli_fail((int)n, &err);
        return n == QUERN_CANCELED && *o.interrupt ? 128 + *o.interrupt : code;
    }
    if (a->json) {
        printf("{\"records\":%lld,\"seconds\":%.3f,", (long long)n, cli_now() - start);
        cli_json_size(stdout, "peak_bytes", cli_peak());
        puts("}");
    } else if (!cli_option(a, "quiet"))
        fprintf(stderr, "%lld records in %s\n", (long long)n, output);
    return 0;
}
