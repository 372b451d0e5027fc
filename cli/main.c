/* The quern command: reads the words, calls the library, prints. Only public headers. The contract is man/quern.1. */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

static const struct {
    const char *name;
    int letter;
    int (*run)(const arguments *a);
    int most; /* words; 0: any number of them, -1: none */
    const char *usage;
} commands[] = {
    { "new", N, cli_new, 2, "MODEL 'PIPELINE'" },
    { "fit", F, cli_fit, 0, "MODEL DATA" },
    { "evaluate", E, cli_evaluate, 0, "MODEL DATA" },
    { "predict", P, cli_predict, 0, "MODEL DATA" },
    { "generate", G, cli_generate, 2, "MODEL" },
    { "summary", S, cli_summary, 1, "MODEL" },
    { "plan", L, cli_plan, 1, "MODEL" },
    { "convert", C, cli_convert, 2, "IN OUT" },
    { "prepare", Q, cli_prepare, 0, "DATA" },
    { "doctor", D, cli_doctor, -1, "" },
};
enum { n_commands = sizeof commands / sizeof *commands };

bool cli_bar;

void cli_clear_bar(void)
{
    if (cli_bar)
        fputs("\r\033[K", stderr);
}

int cli_fail(int status, const quern_error *err)
{
    cli_clear_bar();
    fprintf(stderr, "quern: %s%s%s\n", err->where, *err->where ? ": " : "", *err->text ? err->text : quern_status_text(status));
    if (*err->hint)
        fprintf(stderr, "hint: %s\n", err->hint);
    return status == QUERN_BUDGET ? 3 : 1;
}

int cli_fail_words(int status, const quern_error *err)
{
    cli_fail(status, err);
    return status == QUERN_NOMEM ? 1 : 2;
}

int cli_no_memory(void)
{
    fprintf(stderr, "quern: out of memory\n");
    return 1;
}

int cli_wrong(const char *where, const char *what)
{
    fprintf(stderr, "quern: %s: %s\n", where, what);
    return 2;
}

int cli_wrong_value(const arguments *a, const char *name, const char *what)
{
    fprintf(stderr, "quern: --%s: %s, not '%s'\n", name, what, cli_option(a, name));
    return 2;
}

bool cli_count(const arguments *a, const char *name, int64_t *out) { return cli_range(a, name, 1, INT64_MAX, out); }

bool cli_range(const arguments *a, const char *name, int64_t least, int64_t most, int64_t *out)
{
    const char *text = cli_option(a, name);
    char *end, what[80];
    if (!text)
        return true;
    errno = 0;
    *out = strtoll(text, &end, 10);
    bool whole = !*end && isdigit((unsigned char)text[*text == '-']); /* no blank, no '+' */
    if (whole && !errno && *out >= least && *out <= most)
        return true;
    bool above = whole && *out >= least;
    snprintf(what, sizeof what, "must be a whole number of at %s %lld", above ? "most" : "least",
             (long long)(above ? most : least));
    return cli_wrong_value(a, name, what), false;
}

bool cli_seed(const arguments *a, uint64_t *out)
{
    const char *text = cli_option(a, "seed");
    char *end;
    if (!text)
        return true;
    errno = 0;
    *out = strtoull(text, &end, 10);
    if (errno || *end || !isdigit((unsigned char)*text)) /* a sign would be taken modulo 2^64 */
        return cli_wrong_value(a, "seed", "must be a whole number of at most 64 bits"), false;
    return true;
}

static void usage(FILE *to, int letter)
{
    for (int i = 0; i < n_commands; i++)
        if (!letter || commands[i].letter == letter)
            fprintf(to, "quern %s %s\n", commands[i].name, commands[i].usage);
    if (letter)
        cli_options_help(to, letter);
    else
        fprintf(to, "quern COMMAND --help tells its options.\n");
}

static void log_line(void *user, int level, const char *text)
{
    if (*(bool *)user)
        return;
    cli_clear_bar();
    fprintf(stderr, level <= 1 ? "quern: warning: %s\n" : "quern: %s\n", text);
}

static int run(int which, int argc, char **argv)
{
    double first_step = 0;
    quern_plan plan = { 0 };
    arguments a = { .command = commands[which].name, .started = cli_start_time(), .first_step = &first_step, .plan = &plan };
    int code = cli_read(&a, commands[which].letter, argc - 1, argv + 1);
    if (code)
        return code;
    if (cli_option(&a, "help"))
        return usage(stdout, commands[which].letter), 0;
    int most = commands[which].most < 0 ? 0 : commands[which].most;
    if (commands[which].most && a.n > most) {
        fprintf(stderr, "quern: '%s': is a word too many: quern %s %s\n", a.words[most], a.command, commands[which].usage);
        return 2;
    }
    for (int i = 0; i < a.n; i++)
        if (!*a.words[i] && (commands[which].letter != N || i != 1)) { /* a pipeline says more of itself */
            fprintf(stderr, "quern: word %d is empty: quern %s %s\n", i + 1, a.command, commands[which].usage);
            return 2;
        }
    quern_error err = { 0 };
    int status = quern_set_isa(cli_option(&a, "isa"), &err);
    return status < 0 ? (cli_fail(status, &err), 2) : commands[which].run(&a);
}

/* A command that is none; prints, with the nearest name. */
static int unknown(const char *name)
{
    const char *names[n_commands];
    for (int i = 0; i < n_commands; i++)
        names[i] = commands[i].name;
    const char *near = quern_nearest(name, names, n_commands);
    fprintf(stderr, "quern: %s: no such command\nhint: ", name);
    return fprintf(stderr, near ? "did you mean quern %s?\n" : "quern --help lists the commands\n", near), 2;
}

/* What the first word asks for. */
static int command(int argc, char **argv)
{
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "help"))
        return usage(argc < 2 ? stderr : stdout, 0), argc < 2 ? 2 : 0;
    if (!strcmp(argv[1], "--version"))
        return printf("quern %s\n", quern_version()), 0;
    for (int i = 0; i < n_commands; i++)
        if (!strcmp(argv[1], commands[i].name))
            return run(i, argc - 1, argv + 1);
    return unknown(argv[1]);
}

typedef struct words {
    int argc, code;
    char **argv;
} words;

static void *run_words(void *user)
{
    words *w = user;
    w->code = command(w->argc, w->argv);
    return NULL;
}

/* Runs the command; where the limit of the stack (ulimit -s) is small, on a thread with a stack of its own. */
static int run_with_stack(int argc, char **argv)
{
    enum { small = 2 << 20, large = 8 << 20 };
    words w = { .argc = argc, .argv = argv };
    struct rlimit limit;
    pthread_attr_t a;
    pthread_t thread;
    bool apart = !getrlimit(RLIMIT_STACK, &limit) && limit.rlim_cur < small && !pthread_attr_init(&a);
    if (apart) {
        apart = !pthread_attr_setstacksize(&a, large) && !pthread_create(&thread, &a, run_words, &w);
        pthread_attr_destroy(&a);
    }
    if (apart)
        pthread_join(thread, NULL);
    else
        run_words(&w);
    return w.code;
}

int main(int argc, char **argv)
{
    mallopt(M_MMAP_THRESHOLD, 128 << 10); /* what is given back is gone: malloc would keep more and more for itself, */
    mallopt(M_TRIM_THRESHOLD, 128 << 10); /* which a plan of the memory cannot know                                   */
    static bool quiet;
    for (int i = 2; i < argc; i++)
        quiet = quiet || !strcmp(argv[i], "--quiet");
    cli_output_begin();
    quern_set_log(log_line, &quiet);
    return cli_output_end(run_with_stack(argc, argv));
}
