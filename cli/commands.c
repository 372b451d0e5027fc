/* The commands new, summary and doctor, and the functions that open models and data for all
 * commands. */
#include "commands.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double cli_start_time(void)
{
    FILE *f = fopen("/proc/self/stat", "r");
    unsigned long long ticks = 0;
    double now = cli_now();
    if (f) {
        if (fscanf(f,
                   "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
                   "%*d %*d %*d %llu",
                   &ticks) != 1)
            ticks = 0;
        fclose(f);
    }
    return ticks ? (double)ticks / (double)sysconf(_SC_CLK_TCK) : now;
}

double cli_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

size_t cli_peak(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[128];
    unsigned long long kib = 0;
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "VmHWM:", 6))
            kib = strtoull(line + 6, NULL, 10);
    if (f)
        fclose(f);
    return (size_t)kib << 10;
}

void cli_json_size(FILE *to, const char *name, size_t bytes)
{
    fprintf(to, bytes ? "\"%s\":%zu" : "\"%s\":null", name, bytes);
}

/* The bytes of a UTF-8 character with this first byte; 0: no character begins with it. */
static size_t first_byte_length(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

/* Bytes of the UTF-8 character at the start of n bytes; 0: not UTF-8. */
static size_t utf8_length(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t length = first_byte_length(*s);
    if (length > n)
        return 0;
    for (size_t i = 1; i < length; i++)
        if (s[i] >> 6 != 2)
            return 0;
    bool too_long = (*s == 0xe0 && s[1] < 0xa0) || (*s == 0xf0 && s[1] < 0x90);
    return too_long || (*s == 0xed && s[1] > 0x9f) || (*s == 0xf4 && s[1] > 0x8f) ? 0 : length;
}

void cli_json_text(FILE *to, const char *text, size_t n)
{
    putc('"', to);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            fprintf(to, "\\%c", c);
        else if (c < 0x20)
            fprintf(to, "\\u%04x", c);
        else if (!utf8_length(text + i, n - i)) /* JSON permits UTF-8 only */
            fputs("\\ufffd", to);
        else {
            size_t length = utf8_length(text + i, n - i);
            fwrite(text + i, 1, length, to);
            i += length - 1;
        }
    }
    putc('"', to);
}

quern_model *cli_open(const arguments *a, int words, quern_error *err, int *code)
{
    if (a->n < words) {
        *code = cli_wrong(words > 1 ? "MODEL DATA" : "MODEL", "missing (--help)");
        return NULL;
    }
    quern_model *m = quern_model_open(a->words[0], err);
    for (int i = 1; !m && i < a->n; i++)
        if (strstr(a->words[i], ".keras") && !strstr(a->words[0], ".keras"))
            snprintf(err->hint, sizeof err->hint, "MODEL is the first word: quern %s %.40s %.20s",
                     a->command, a->words[i], a->words[0]);
    const char *o = cli_option(a, "optimizer"), *l = cli_option(a, "loss"),
               *t = cli_option(a, "metrics");
    int64_t threads = 0;
    *code = m ? 0 : cli_fail(err->code, err);
    if (m && (o || l || t) && quern_compile(m, o, l, t, err) < 0)
        *code = cli_fail(err->code, err);
    if (m && !*code && !cli_range(a, "threads", 1, 64, &threads))
        *code = 2;
    if (m && !*code && threads && quern_model_set_threads(m, (int)threads, err) < 0)
        *code = cli_fail(err->code, err);
    if (m && !*code)
        *code = cli_input_shape(a, m, err);
    if (m && !*code)
        quern_model_set_profile(m, cli_option(a, "profile") != NULL);
    if (*code) {
        quern_model_free(m);
        return NULL;
    }
    return m;
}

void cli_print_profile(const arguments *a, const quern_model *m)
{
    if (!cli_option(a, "profile"))
        return;
    char *text = quern_model_profile(m);
    fputs(text ? text : "quern: warning: out of memory for the profile\n", stderr);
    free(text);
}

/* Checks the value of --data-format. Returns false after an error message. */
static bool check_data_format(const arguments *a)
{
    const char *word = cli_option(a, "data-format");
    bool known = !word || !strcmp(word, "channels_first") || !strcmp(word, "channels_last");
    if (!known)
        cli_wrong_value(a, "data-format", "must be channels_first or channels_last");
    return known;
}

/* Opens the generator program of an option. */
static quern_generator *open_program(const arguments *a, const char *option, const char *command,
                                     int *code)
{
    int64_t timeout = 0;
    if (!cli_range(a, "stall-timeout", 1, 1000000000, &timeout) || !check_data_format(a)) {
        *code = 2;
        return NULL;
    }
    quern_program_opts o = { .stall_timeout = (double)timeout,
                             .arrays = cli_option(a, "arrays"),
                             .data_format = cli_option(a, "data-format"),
                             .validation = !strcmp(option, "validation-generator") };
    quern_generator *g = quern_program_generator(command, &o);
    if (!g)
        *code = cli_no_memory();
    return g;
}

/* Opens the same files again for validation, and limits each generator to its part: the last part
 * is validation data. */
int cli_split(const arguments *a, quern_model *m, quern_generator *train, quern_generator **valid,
              quern_error *err)
{
    const char *text = cli_option(a, "validation-split");
    char *end;
    double part = strtod(text, &end);
    int64_t count = quern_generator_count(train), kept = (int64_t)((double)count * (1 - part));
    int code = 0;
    if (*end || !(part > 0 && part < 1))
        return cli_wrong_value(a, "validation-split", "must be a number between 0 and 1");
    if (count < 0)
        return cli_wrong("--validation-split", "needs random access (uncompressed arrays, .qrec): "
                                               "convert a table with quern prepare, or use "
                                               "--validation");
    *valid = cli_data(a, m, "generator", a->words + 1, a->n - 1, err, &code);
    if (*valid && (quern_generator_slice(train, 0, kept, err) < 0 ||
                   quern_generator_slice(*valid, kept, count, err) < 0))
        return cli_fail(err->code, err);
    return code;
}

/* Applies the options of windows over rows. Takes ownership of `rows`. */
static quern_generator *open_windows(const arguments *a, quern_generator *rows, bool prepared,
                                     quern_error *err, int *code)
{
    int64_t horizon = 1;
    quern_series_opts o = { .sampling_rate = 1 };
    const char *stray = cli_option(a, "sampling-rate") ? "--sampling-rate"
                        : cli_option(a, "horizon")     ? "--horizon"
                                                       : NULL;
    if (!rows || (!cli_option(a, "window") && !stray))
        return rows;
    if (!cli_option(a, "window"))
        *code = cli_wrong(stray, "needs --window");
    else if (prepared)
        *code = cli_wrong("--window",
                          "does not apply to prepared records, which have no order in time");
    else if (!cli_count(a, "window", &o.sequence_length) ||
             !cli_count(a, "stride", &o.sequence_stride) ||
             !cli_count(a, "sampling-rate", &o.sampling_rate) || !cli_count(a, "horizon", &horizon))
        *code = 2;
    else if (o.sequence_length > 1 << 24 || o.sampling_rate > 1 << 24)
        *code = cli_wrong("--window", "spans too many rows");
    if (*code) {
        quern_generator_free(rows);
        return NULL;
    }
    o.target_offset = (o.sequence_length - 1) * o.sampling_rate + horizon;
    quern_generator *g = quern_series_generator(rows, &o, err);
    if (!g)
        *code = cli_fail(err->code, err);
    return g;
}

/* Applies --bad-records: "skip", "skip:10". Takes ownership of the generator. */
static quern_generator *apply_bad_records(const arguments *a, quern_generator *g, quern_error *err,
                                          int *code)
{
    static const char *const names[] = { "fail", "skip", "substitute" };
    const char *text = cli_option(a, "bad-records");
    size_t n = text ? strcspn(text, ":") : 0;
    char *end = NULL;
    int64_t most = text && text[n] ? strtoll(text + n + 1, &end, 10) : 0;
    int policy = -1;
    if (!g || !text)
        return g;
    for (int i = 0; i < 3; i++)
        if (strlen(names[i]) == n && !strncmp(text, names[i], n) && (i || !text[n]))
            policy = i;
    if (policy < 0 || (end && (*end || end == text + n + 1 || most < 1)))
        *code = cli_wrong_value(a, "bad-records",
                                "must be fail, skip, skip:MAX, substitute or substitute:MAX");
    else if (quern_generator_set_bad_records(g, policy, most, err) < 0)
        *code = cli_fail_words(err->code, err);
    else
        return g;
    quern_generator_free(g);
    return NULL;
}

/* Reads one byte, or "tab". Returns 0 without the option; sets *code after an error message. */
static char read_byte(const arguments *a, const char *name, int *code)
{
    const char *text = cli_option(a, name);
    if (!text)
        return 0;
    if (!strcmp(text, "tab") || !strcmp(text, "\\t"))
        return '\t';
    if (strlen(text) != 1)
        *code = cli_wrong_value(a, name, "must be one byte, or tab");
    return *text;
}

/* Reads the options of files; sets *code after an error message. */
static quern_file_opts file_options(const arguments *a, const quern_model *m, int *code)
{
    int64_t timeout = 0;
    const char *unknown = cli_option(a, "unknown-class");
    /* --arrays and --stall-timeout then apply to the programs. */
    bool programs = cli_option(a, "generator") || cli_option(a, "validation-generator");
    if (!cli_range(a, "stall-timeout", 1, 1000000000, &timeout) || !check_data_format(a))
        *code = 2;
    if (unknown && strcmp(unknown, "skip") && strcmp(unknown, "error"))
        *code = cli_wrong_value(a, "unknown-class", "must be skip or error");
    return (quern_file_opts){
        .target = cli_option(a, "target"),
        .features = cli_option(a, "features"),
        .weight = cli_option(a, "weight"),
        .missing = cli_option(a, "missing"),
        .missing_values = cli_option(a, "missing-values"),
        .classes = m && !strcmp(a->command, "predict") ? NULL : cli_option(a, "classes"),
        .encoding = cli_option(a, "encoding"),
        .separator = read_byte(a, "separator", code),
        .decimal = read_byte(a, "decimal", code),
        .no_header = cli_option(a, "no-header") != NULL,
        .unknown_class =
            unknown && !strcmp(unknown, "skip") ? QUERN_UNKNOWN_SKIP : QUERN_UNKNOWN_ERROR,
        .schema = m ? quern_model_schema(m) : NULL,
        .format = cli_option(a, "format"),
        .data_format = cli_option(a, "data-format"),
        .arrays = programs ? NULL : cli_option(a, "arrays"),
        .stall_timeout = programs ? 0 : (double)timeout
    };
}

/* The first option of tables that is given, with its dashes; NULL: none. */
static const char *table_option(const arguments *a)
{
    static const char *const options[] = { "--target",       "--features",       "--weight",
                                           "--missing",      "--missing-values", "--separator",
                                           "--decimal",      "--no-header",      "--encoding",
                                           "--unknown-class" };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (cli_option(a, options[i] + 2))
            return options[i];
    return cli_option(a, "classes") && strcmp(a->command, "predict") ? "--classes" : NULL;
}

/* Joins shell words to one DATA text, and escapes spaces and backslashes within a word. A `list`
 * (spaces between words) is not escaped unless it is the name of a file. Returns false if it does
 * not fit. */
static bool join_words(char **words, int n, bool list, char *out, size_t room)
{
    size_t used = 0;
    for (int i = 0; i < n; i++) {
        bool whole = !list || access(words[i], F_OK) == 0;
        if (i && used + 1 < room)
            out[used++] = ' ';
        for (const char *p = words[i]; *p; p++) {
            if (used + 3 > room)
                return false;
            if (whole && (*p == ' ' || *p == '\\'))
                out[used++] = '\\';
            out[used++] = *p;
        }
    }
    out[used] = 0;
    return true;
}

/* Opens the data without a policy for bad records. */
static quern_generator *open_plain_data(const arguments *a, const quern_model *m,
                                        const char *option, char **words, int n, quern_error *err,
                                        int *code)
{
    char joined[64 << 10] = "";
    const char *command = cli_option(a, option);
    if (command && n) {
        *code = cli_wrong(option, "replaces DATA: use one of them");
        return NULL;
    }
    const char *stray = command && !strcmp(option, "generator") && !cli_option(a, "validation")
                            ? table_option(a)
                            : NULL;
    if (stray || (command && !n && !cli_option(a, "validation") && cli_option(a, "format"))) {
        *code =
            cli_wrong(stray ? stray : "--format", stray ? "applies to CSV; a program gives arrays"
                                                        : "applies to files, not to a program");
        return NULL;
    }
    if (command)
        return open_windows(a, open_program(a, option, command, code), false, err, code);
    if (!n) {
        *code = cli_wrong("DATA", "is missing (--help)");
        return NULL;
    }
    if (!join_words(words, n, !strcmp(option, "validation-generator"), joined, sizeof joined)) {
        *code = cli_wrong("DATA",
                          "is longer than 64 KiB: quote a pattern ('*.csv') instead of its files");
        return NULL;
    }
    if (cli_is_text(a, m, words[0]) && cli_option(a, "data-format")) {
        *code = cli_wrong("--data-format", "applies to arrays");
        return NULL;
    }
    if (cli_is_text(a, m, words[0]))
        return cli_text(a, m, joined, err, code);
    if (cli_option(a, "targets") || (cli_option(a, "stride") && !cli_option(a, "window"))) {
        *code =
            cli_wrong(cli_option(a, "targets") ? "--targets" : "--stride",
                      cli_option(a, "targets") ? "applies to text only"
                                               : "applies to text only, or to rows with --window");
        return NULL;
    }
    quern_file_opts o = file_options(a, m, code);
    if (*code)
        return NULL;
    quern_generator *g = quern_file_generator(joined, &o, err);
    if (!g)
        *code = cli_fail(err->code, err);
    size_t length = strlen(joined);
    return open_windows(a, g, length > 5 && !strcmp(joined + length - 5, ".qrec"), err, code);
}

quern_generator *cli_data(const arguments *a, quern_model *m, const char *option, char **words,
                          int n, quern_error *err, int *code)
{
    quern_generator *g =
        apply_bad_records(a, open_plain_data(a, m, option, words, n, err, code), err, code);
    if (!g || !m || quern_model_set_input_shapes_from(m, g, err) >= 0)
        return g;
    *code = cli_fail(err->code, err);
    quern_generator_free(g);
    return NULL;
}

int cli_new(const arguments *a)
{
    quern_error err = { 0 };
    const char *optimizer = cli_option(a, "optimizer"), *loss = cli_option(a, "loss");
    uint64_t seed = 0;
    if (a->n != 2)
        return cli_wrong("new", "needs MODEL and 'PIPELINE'");
    if ((optimizer != NULL) != (loss != NULL))
        return cli_wrong(optimizer ? "--loss" : "--optimizer", "is missing");
    if (!cli_option(a, "force") && access(a->words[0], F_OK) == 0)
        return cli_wrong(a->words[0], "already exists (--force overwrites it)");
    if (!cli_seed(a, &seed))
        return 2;
    int code;
    quern_tokenizer *tokenizer = cli_tokenizer(a, &err, &code);
    char *pipeline = code ? NULL : cli_with_vocabulary(a->words[1], tokenizer, &code);
    quern_model *m = pipeline ? quern_model_from_spec(pipeline, seed, &err) : NULL;
    if (m && tokenizer && quern_model_set_tokenizer(m, tokenizer, &err) < 0) {
        quern_model_free(m);
        m = NULL;
    }
    quern_tokenizer_free(tokenizer);
    free(pipeline);
    if (!m)
        return code ? code : cli_fail_words(err.code, &err);
    int status =
        optimizer ? quern_compile(m, optimizer, loss, cli_option(a, "metrics"), &err) : QUERN_OK;
    code = status < 0 ? cli_fail_words(status, &err) : 0;
    if (!code && (status = quern_model_save(m, a->words[0], &err)) < 0)
        code = cli_fail(status, &err);
    quern_model_free(m);
    return code;
}

int cli_summary(const arguments *a)
{
    quern_error err = { 0 };
    int code;
    quern_model *m = cli_open(a, 1, &err, &code);
    if (!m)
        return code;
    quern_summary_opts o = { .expand_nested = cli_option(a, "expand-nested") != NULL,
                             .show_trainable = cli_option(a, "show-trainable") != NULL };
    char *text = a->json ? quern_model_summary_json(m) : quern_model_summary_with(m, &o);
    if (text)
        printf(a->json ? "%s\n" : "%s", text);
    else
        code = cli_no_memory();
    free(text);
    quern_model_free(m);
    return code;
}

static void report_check(void *user, const char *check, int ok, const char *detail)
{
    const arguments *a = user;
    if (a->json)
        printf("{\"check\":\"%s\",\"ok\":%s,\"detail\":\"%s\"}\n", check, ok ? "true" : "false",
               detail);
    else
        printf("%-6s %-44s %s\n", ok ? "ok" : "FAILED", check, detail);
}

int cli_doctor(const arguments *a)
{
    return quern_self_check(report_check, (void *)(size_t)a) < 0 ? 1 : 0;
}
