/* The quern command: parses the arguments and runs one command. It uses public headers only;
 * man/quern.1 is its contract. */
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
    int id; /* a CLI_… */
    int (*run)(const arguments *a);
    int most; /* words: the largest number; 0: any number, -1: the command does not take words */
    const char *usage, *summary;
} commands[] = {
    { "new", CLI_NEW, cli_new, 2, "MODEL 'PIPELINE'", "create a model from a pipeline of layers" },
    { "fit", CLI_FIT, cli_fit, 0, "MODEL DATA", "train a model" },
    { "evaluate", CLI_EVALUATE, cli_evaluate, 0, "MODEL DATA", "compute loss and metrics" },
    { "predict", CLI_PREDICT, cli_predict, 0, "MODEL DATA", "write predictions" },
    { "generate", CLI_GENERATE, cli_generate, 2, "MODEL", "generate text with a language model" },
    { "summary", CLI_SUMMARY, cli_summary, 1, "MODEL", "print the layers of a model" },
    { "plan", CLI_PLAN, cli_plan, 1, "MODEL", "print the memory that training needs" },
    { "convert", CLI_CONVERT, cli_convert, 2, "IN OUT", "convert a model or weights file" },
    { "prepare", CLI_PREPARE, cli_prepare, 0, "DATA", "shuffle data into a .qrec file" },
    { "doctor", CLI_DOCTOR, cli_doctor, -1, "", "check the library on this machine" },
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
    fprintf(stderr, "quern: %s%s%s\n", err->where, *err->where ? ": " : "",
            *err->text ? err->text : quern_status_text(status));
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

bool cli_count(const arguments *a, const char *name, int64_t *out)
{
    return cli_range(a, name, 1, INT64_MAX, out);
}

bool cli_range(const arguments *a, const char *name, int64_t least, int64_t most, int64_t *out)
{
    const char *text = cli_option(a, name);
    char *end, what[80];
    if (!text)
        return true;
    errno = 0;
    *out = strtoll(text, &end, 10);
    bool whole = !*end && isdigit((unsigned char)text[*text == '-']); /* no space, no '+' */
    if (whole && !errno && *out >= least && *out <= most)
        return true;
    bool above = whole && *out >= least;
    snprintf(what, sizeof what, "must be an integer of at %s %lld", above ? "most" : "least",
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
    if (errno || *end ||
        !isdigit((unsigned char)*text)) /* strtoull would take a negative number modulo 2^64 */
        return cli_wrong_value(a, "seed", "must be an integer of at most 64 bits"), false;
    return true;
}

/* Prints the help of a command, or of all (id 0). */
static void print_usage(FILE *to, int id)
{
    if (!id)
        fprintf(to, "Trains and runs Keras models. Usage:\n\n");
    for (int i = 0; i < n_commands; i++)
        if (!id)
            fprintf(to, "quern %-8s %-18s %s\n", commands[i].name, commands[i].usage,
                    commands[i].summary);
        else if (commands[i].id == id)
            fprintf(to, "quern %s %s\n  %s\n", commands[i].name, commands[i].usage,
                    commands[i].summary);
    if (id == CLI_FIT)
        fprintf(
            to,
            "\nExample:\n  quern new iris.keras 'input 4 | dense 16 relu | dense 3 softmax' --loss "
            "sparse_categorical_crossentropy\n"
            "  quern fit iris.keras iris.csv --target species --epochs 20 --validation-split "
            "0.2\n");
    if (id)
        cli_options_help(to, id);
    else
        fprintf(to, "\nquern COMMAND --help lists the options of a command.\n");
}

static void log_line(void *user, int level, const char *text)
{
    if (*(bool *)user)
        return;
    cli_clear_bar();
    fprintf(stderr, level <= 1 ? "quern: warning: %s\n" : "quern: %s\n", text);
}

static int run_arguments(int which, int argc, char **argv)
{
    double first_step = 0;
    quern_plan plan = { 0 };
    arguments a = { .command = commands[which].name,
                    .started = cli_start_time(),
                    .first_step = &first_step,
                    .plan = &plan };
    int code = cli_read(&a, commands[which].id, argc - 1, argv + 1);
    if (code)
        return code;
    if (cli_option(&a, "help"))
        return print_usage(stdout, commands[which].id), 0;
    int most = commands[which].most < 0 ? 0 : commands[which].most;
    if (commands[which].most && a.n > most) {
        fprintf(stderr, "quern: '%s': unexpected word; usage: quern %s %s\n", a.words[most],
                a.command, commands[which].usage);
        return 2;
    }
    for (int i = 0; i < a.n; i++)
        if (!*a.words[i] &&
            (commands[which].id != CLI_NEW || i != 1)) { /* pipeline reports an empty text itself */
            fprintf(stderr, "quern: word %d is empty: quern %s %s\n", i + 1, a.command,
                    commands[which].usage);
            return 2;
        }
    quern_error err = { 0 };
    int status = quern_set_isa(cli_option(&a, "isa"), &err);
    return status < 0 ? (cli_fail(status, &err), 2) : commands[which].run(&a);
}

/* Reports an unknown command, with the nearest name as a hint. Returns 2. */
static int unknown_command(const char *name)
{
    const char *names[n_commands];
    for (int i = 0; i < n_commands; i++)
        names[i] = commands[i].name;
    const char *near = quern_nearest(name, names, n_commands);
    fprintf(stderr, "quern: %s: no such command\nhint: ", name);
    return fprintf(stderr, near ? "did you mean quern %s?\n" : "quern --help lists the commands\n",
                   near),
           2;
}

/* Runs the command of the first argument. Returns the exit status. */
static int run_command(int argc, char **argv)
{
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "help"))
        return print_usage(argc < 2 ? stderr : stdout, 0), argc < 2 ? 2 : 0;
    if (!strcmp(argv[1], "--version"))
        return printf("quern %s\n", quern_version()), 0;
    for (int i = 0; i < n_commands; i++)
        if (!strcmp(argv[1], commands[i].name))
            return run_arguments(i, argc - 1, argv + 1);
    return unknown_command(argv[1]);
}

/* The arguments and the exit status of a command that runs on a thread. */
typedef struct invocation {
    int argc, status;
    char **argv;
} invocation;

static void *run_invocation(void *user)
{
    invocation *i = user;
    i->status = run_command(i->argc, i->argv);
    return NULL;
}

/* Runs the command. If the stack limit (ulimit -s) is small, the command runs on a thread with a
 * larger stack. */
static int run_with_stack(int argc, char **argv)
{
    enum { small = 2 << 20, large = 8 << 20 };
    invocation i = { .argc = argc, .argv = argv };
    struct rlimit limit;
    pthread_attr_t a;
    pthread_t thread;
    bool separate =
        !getrlimit(RLIMIT_STACK, &limit) && limit.rlim_cur < small && !pthread_attr_init(&a);
    if (separate) {
        separate = !pthread_attr_setstacksize(&a, large) &&
                   !pthread_create(&thread, &a, run_invocation, &i);
        pthread_attr_destroy(&a);
    }
    if (separate)
        pthread_join(thread, NULL);
    else
        run_invocation(&i);
    return i.status;
}

int main(int argc, char **argv)
{
    /* malloc returns freed blocks to the system, so that the memory plan matches the resident
     * bytes. */
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
    mallopt(M_TRIM_THRESHOLD, 128 << 10);
    static bool quiet;
    for (int i = 2; i < argc; i++)
        quiet = quiet || !strcmp(argv[i], "--quiet");
    cli_output_begin();
    quern_set_log(log_line, &quiet);
    return cli_output_end(run_with_stack(argc, argv));
}
