/* plan: prints the memory plan of training as a table or a line of JSON, and plots the live bytes
 * of each phase. */
#include "commands.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Parses a size such as 64M or 1.5G into bytes. */
static bool parse_size(const char *text, size_t *out)
{
    char *end;
    double v = strtod(text, &end);
    static const char units[] = "KMG";
    const char *unit = *end ? strchr(units, *end) : NULL;
    int shift = unit ? 10 * (int)(unit - units + 1) : 0;
    v *= (double)((size_t)1 << shift);
    if (!isdigit((unsigned char)*text) || strpbrk(text, "xX") || !(v >= 1 && v < 9e18) ||
        (shift ? end[1] : *end))
        return false;
    *out = (size_t)v;
    return true;
}

bool cli_split_batch(const arguments *a, int32_t *out)
{
    static const char *const names[] = {
        [QUERN_SPLIT_AUTO] = "auto", [QUERN_SPLIT_NEVER] = "never", [QUERN_SPLIT_ANY] = "any"
    };
    const char *text = cli_option(a, "split-batch");
    for (int i = 0; i < 3; i++)
        if (!text || !strcmp(text, names[i])) {
            *out = text ? i : *out;
            return true;
        }
    return cli_wrong_value(a, "split-batch", "must be auto, never or any"), false;
}

bool cli_memory(const arguments *a, size_t *out)
{
    const char *text = cli_option(a, "memory");
    if (!text || !strcmp(text, "auto") || parse_size(text, out))
        return true;
    fprintf(stderr, "quern: --memory: '%s' is not a size (64M, 1.5G, auto)\n", text);
    return false;
}

typedef struct part {
    const char *name, *what;
    size_t bytes;
    bool unknown;
} part;

enum { n_parts = 10 };

static void parts_of(const quern_plan *p, part *out)
{
    const part all[n_parts] = {
        { "weights", "with copies in the blocked layout", p->weights },
        { "gradients", "of the weights and of micro-batches", p->gradients },
        { "optimizer", "slots of each weight, such as moments", p->optimizer },
        { "activations", "outputs of layers, kept for the backward pass", p->activations },
        { "workspace", "thread stacks", p->workspace },
        { "queue", "prefetched batches", p->queue },
        { "readers", "shuffle buffers and read buffers", p->readers },
        { "callbacks", "copies of weights, checkpoints in memory", p->callbacks },
        { "files", "extra bytes to save the model", p->files },
        { "runtime", "program, libraries, the model's graphs", p->runtime, !p->runtime }
    };
    memcpy(out, all, sizeof all);
}

void cli_plan_json(const quern_plan *p, bool event)
{
    part parts[n_parts];
    parts_of(p, parts);
    printf("{%s\"bytes\":%zu,", event ? "\"event\":\"plan\"," : "", p->total);
    if (!event) {
        cli_json_size(stdout, "smallest_bytes", p->runtime ? p->smallest : 0);
        putchar(',');
    } else if (p->budget == SIZE_MAX)
        printf("\"budget\":null,");
    else
        printf("\"budget\":%zu,", p->budget);
    for (int i = 0; i < n_parts; i++) {
        fputs(i ? "," : "\"parts\":{", stdout);
        if (parts[i].unknown)
            cli_json_size(stdout, parts[i].name, 0);
        else
            printf("\"%s\":%zu", parts[i].name, parts[i].bytes);
    }
    printf("},\"max_queue_size\":%d,\"schedule\":\"%s\",\"recompute\":%d,\"micro_batches\":%lld",
           p->max_queue_size, p->low_memory ? "low_memory" : "fast", p->recompute,
           (long long)p->micro_batches);
    printf(",\"relative_time\":%.3f", p->relative_time);
    if (!event)
        printf(",\"largest\":\"%s\",\"packing\":%.4f,\"fits\":%s", p->largest,
               p->arena_lower_bound ? (double)p->arena / (double)p->arena_lower_bound : 1,
               p->fits ? "true" : "false");
    printf("}\n");
    cli_output_flush();
}

/* Prints the live bytes of the phases as a bar chart; a column shows the largest of its phases. */
static void print_blocks(const size_t *live, int n)
{
    static const char *const eighths[] = { " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
    enum { width = 64, height = 4 };
    int columns = n < width ? n : width;
    size_t most = 1, column[width] = { 0 };
    for (int i = 0; i < n; i++) {
        size_t *c = &column[(int64_t)i * columns / n];
        *c = live[i] > *c ? live[i] : *c;
        most = live[i] > most ? live[i] : most;
    }
    for (int row = height - 1; row >= 0; row--) {
        printf("  ");
        for (int i = 0; i < columns; i++) {
            int full = (int)((double)column[i] / (double)most * 8 * height + 0.5) - 8 * row;
            fputs(eighths[full < 0 ? 0 : full > 8 ? 8 : full], stdout);
        }
        printf("%s", row == height - 1 ? " largest live sum of a step: " : "");
        printf(row == height - 1 ? "%.1f MiB\n" : "\n", (double)most / 1048576);
    }
}

/* Writes the choices of a plan as text; returns `out`. */
static const char *plan_choices(const quern_plan *p, char *out, size_t size)
{
    int n = snprintf(out, size, "queue of %d, %s schedule", p->max_queue_size,
                     p->low_memory ? "low-memory" : "fast");
    if (p->recompute)
        n += snprintf(out + n, size - (size_t)n, ", recomputes %d/10 of the activations",
                      p->recompute);
    if (p->micro_batches > 1)
        snprintf(out + n, size - (size_t)n, ", %lld micro-batches (changes rounding)",
                 (long long)p->micro_batches);
    return out;
}

static void print_plan_table(const quern_plan *p)
{
    char text[192];
    part parts[n_parts];
    parts_of(p, parts);
    printf("%-12s %10s  %12s\n", "part", "MiB", "bytes");
    for (int i = 0; i < n_parts; i++)
        if (parts[i].unknown)
            printf("%-12s %10s  %12s  %s; /proc is not mounted\n", parts[i].name, "unknown", "",
                   parts[i].what);
        else
            printf("%-12s %10.2f  %12zu  %s%s\n", parts[i].name, (double)parts[i].bytes / 1048576,
                   parts[i].bytes, parts[i].what,
                   strcmp(parts[i].name, p->largest) ? "" : " (the largest part)");
    printf("%-12s %10.2f  %12zu%s\n", "total", (double)p->total / 1048576, p->total,
           p->runtime ? "" : "  without the runtime");
    if (p->runtime)
        printf("%-12s %10.2f  %12zu  least memory that works: --memory %zu\n", "smallest",
               (double)p->smallest / 1048576, p->smallest, p->smallest);
    if (p->budget != SIZE_MAX)
        printf("%-12s %10.2f  %12zu  %s: %s\n", "budget", (double)p->budget / 1048576, p->budget,
               p->limit, p->fits ? "fits" : "does not fit");
    printf("chosen: %s\n", plan_choices(p, text, sizeof text));
    printf("estimated step time: %.2f times the fastest plan; arena: %.1f %% of its lower bound\n",
           p->relative_time,
           p->arena_lower_bound ? 100.0 * (double)p->arena / (double)p->arena_lower_bound : 100.0);
}

/* Writes the same chart to `path` as SVG. */
static int print_live_chart(const char *path, const size_t *live, int n)
{
    enum { width = 960, height = 240, border = 40 };
    quern_error err = { 0 };
    char beside[4096];
    FILE *f = quern_file_check(path, &err) < 0 || quern_file_beside(path, beside, &err) < 0
                  ? NULL
                  : fopen(beside, "wx");
    size_t most = 1;
    for (int i = 0; i < n; i++)
        most = live[i] > most ? live[i] : most;
    if (!f)
        return err.code ? cli_fail(err.code, &err) : (cli_wrong(path, "cannot be written"), 1);
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n"
            "<text x=\"%d\" y=\"20\">live bytes of a training step, at most %zu; %d "
            "phases</text>\n<path fill=\"#47a\" "
            "d=\"M%d %d",
            width + 2 * border, height + 2 * border, border, most, n, border, height + border);
    for (int i = 0; i < n; i++)
        fprintf(f, " L%.2f %.2f L%.2f %.2f", border + (double)width * i / n,
                border + height * (1 - (double)live[i] / (double)most),
                border + (double)width * (i + 1) / n,
                border + height * (1 - (double)live[i] / (double)most));
    fprintf(f, " L%d %d Z\"/>\n</svg>\n", border + width, height + border);
    if (ferror(f) | fclose(f)) {
        remove(beside);
        return cli_wrong(path, "cannot be written"), 1;
    }
    return quern_file_replace(beside, path, &err) < 0 ? cli_fail(err.code, &err) : 0;
}

/* Prints the chart, and writes it to the file of --plot. */
static int write_plots(const arguments *a, const quern_model *m)
{
    const char *path = cli_option(a, "plot");
    int n = quern_plan_live(m, NULL, 0);
    size_t *live = calloc((size_t)n + 1, sizeof *live);
    if (live)
        quern_plan_live(m, live, n);
    if (live && n && !a->json)
        print_blocks(live, n);
    int code = !live ? cli_no_memory() : n && path ? print_live_chart(path, live, n) : 0;
    free(live);
    return code;
}

/* Takes the first size of a list between commas. */
static bool next_budget(const char **list, size_t *out)
{
    size_t n = strcspn(*list, ",");
    char text[32];
    snprintf(text, sizeof text, "%.*s", (int)n, *list);
    *list += n + ((*list)[n] == ',');
    return n < sizeof text && parse_size(text, out);
}

/* --budgets: prints one line with memory and step time for each budget. */
static int print_budgets(const arguments *a, quern_model *m, quern_fit_opts *o)
{
    enum { width = 24 };
    char text[192];
    quern_plan p;
    quern_error err = { 0 };
    if (!a->json)
        printf("%10s %10s  %s\n", "budget", "takes", "relative step time (estimate)");
    for (const char *list = cli_option(a, "budgets"); *list;)
        if (!next_budget(&list, &o->memory))
            return cli_wrong("--budgets", "must be a list of sizes: 32M,64M,1.5G");
    for (const char *list = cli_option(a, "budgets"); next_budget(&list, &o->memory);) {
        int status = quern_plan_fit(m, NULL, o, &p, &err);
        if (status < 0 && status != QUERN_BUDGET)
            return cli_fail(status, &err);
        if (a->json) {
            cli_plan_json(&p, false);
            continue;
        }
        printf("%9.1fM ", (double)p.budget / 1048576);
        if (!p.fits)
            printf("%10s  needs %.1fM at least: --memory %zu\n", "-", (double)p.smallest / 1048576,
                   p.smallest);
        else {
            printf("%9.1fM  %6.2f x  ", (double)p.total / 1048576, p.relative_time);
            for (int i = 0; i < width && i < (int)(p.relative_time * width / 2 + 0.5); i++)
                fputs("█", stdout);
            printf("  %s\n", plan_choices(&p, text, sizeof text));
        }
    }
    return 0;
}

int cli_plan(const arguments *a)
{
    quern_error err = { 0 };
    quern_fit_opts o = { 0 };
    quern_plan p;
    int64_t queue = 0;
    int code;
    if (!cli_range(a, "batch-size", 1, INT32_MAX, &o.batch_size) ||
        !cli_range(a, "max-queue-size", 1, 1024, &queue) || !cli_memory(a, &o.memory) ||
        !cli_split_batch(a, &o.split_batch))
        return 2;
    o.max_queue_size = (int32_t)queue;
    for (int i = 0; i < 2 && cli_option(a, "budgets"); i++)
        if (cli_option(a, i ? "plot" : "memory"))
            return cli_wrong(i ? "--plot" : "--memory", "does not combine with --budgets");
    quern_model *m = cli_open(a, 1, &err, &code);
    if (m && cli_option(a, "budgets")) {
        code = print_budgets(a, m, &o);
        quern_model_free(m);
        return code;
    }
    int status = m ? quern_plan_fit(m, NULL, &o, &p, &err) : 0;
    if (m && (status >= 0 || status == QUERN_BUDGET)) {
        if (a->json)
            cli_plan_json(&p, false);
        else
            print_plan_table(&p);
        code = write_plots(a, m);
    }
    if (status < 0)
        code = cli_fail(status, &err);
    quern_model_free(m);
    return code;
}
