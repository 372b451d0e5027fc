/* Language models: tokenizers for new, text as data, and the command generate. */
#include "commands.h"

#include <ctype.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- text as data ---- */

static bool ends_with(const char *word, size_t n, const char *end)
{
    return n >= strlen(end) && !strncmp(word + n - strlen(end), end, strlen(end));
}

bool cli_is_text(const arguments *a, const quern_model *m, const char *words)
{
    static const char *const others[] = { ".csv",    ".tsv",    ".npz",    ".npy",
                                          ".csv.gz", ".tsv.gz", ".npy.gz", ".qrec" };
    const char *format = cli_option(a, "format");
    size_t n = strlen(words);
    if (format)
        return !strcmp(format, "text");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (ends_with(words, n, others[i]))
            return false;
    if (ends_with(words, n, ".txt") || ends_with(words, n, ".txt.gz"))
        return true;
    return m && quern_model_tokenizer(m) && !memchr(words, '=', n);
}

/* The first given option that does not apply to text; NULL: none. */
static const char *not_for_text(const arguments *a)
{
    static const char *const names[] = {
        "target",  "features",      "weight",   "missing",       "missing-values", "separator",
        "decimal", "no-header",     "encoding", "unknown-class", "new-schema",     "keep",
        "window",  "sampling-rate", "horizon",  "arrays"
    };
    if (cli_option(a, "classes") && strcmp(a->command, "predict"))
        return "classes";
    bool programs = cli_option(a, "generator") || cli_option(a, "validation-generator");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (cli_option(a, names[i]) && !(programs && !strcmp(names[i], "arrays")))
            return names[i];
    return NULL;
}

quern_generator *cli_text(const arguments *a, const quern_model *m, const char *words,
                          quern_error *err, int *code)
{
    quern_text_opts o = { 0 };
    const char *targets = cli_option(a, "targets"), *wrong = not_for_text(a);
    char where[64];
    if (!quern_model_tokenizer(m)) {
        *code = cli_wrong(words, "is text, and the model has no tokenizer (quern new --tokenizer)");
        fprintf(stderr, "hint: --format csv or --format tsv reads a table\n");
        return NULL;
    }
    if (wrong) {
        snprintf(where, sizeof where, "--%s", wrong);
        *code = cli_wrong(where, "does not apply to text");
        return NULL;
    }
    if (!cli_count(a, "stride", &o.stride) ||
        (targets && strcmp(targets, "next") && strcmp(targets, "last"))) {
        *code =
            o.stride < 0 || !targets ? 2 : cli_wrong_value(a, "targets", "must be next or last");
        return NULL;
    }
    quern_shape in = quern_model_input_shape(m, 0), out = quern_model_output_shape(m, 0);
    bool each = out.rank == 3 && in.rank >= 2 && out.dims[1] == in.dims[1];
    o.targets = targets ? !strcmp(targets, "last") : !each;
    o.contiguous = quern_model_stateful(m); /* a record continues that of the previous batch */
    int64_t timeout = 0;
    if (!cli_range(a, "stall-timeout", 1, 1000000000, &timeout)) {
        *code = 2;
        return NULL;
    }
    quern_generator *g = quern_text_generator(words, quern_model_tokenizer(m), &o, err);
    if (g && !cli_option(a, "generator") && !cli_option(a, "validation-generator"))
        quern_generator_set_stall_timeout(g, (double)timeout, err);
    if (!g)
        *code = cli_fail(err->code, err);
    return g;
}

/* ---- new ---- */

static quern_tokenizer *train_tokenizer(const arguments *a, const char *kind, const char *text,
                                        quern_error *err)
{
    char words[300];
    const char *size = cli_option(a, "vocab-size");
    snprintf(words, sizeof words, size ? "%.200s vocab_size=%.40s" : "%.200s", kind, size);
    quern_text_reader *reader = quern_text_reader_open(text, err);
    quern_tokenizer *t =
        reader ? quern_tokenizer_train(words, quern_text_reader_read, reader, err) : NULL;
    if (reader && !t && !strcmp(err->where, "tokenizer"))
        snprintf(err->where, sizeof err->where, "%.200s", text);
    quern_text_reader_close(reader);
    return t;
}

quern_tokenizer *cli_tokenizer(const arguments *a, quern_error *err, int *code)
{
    const char *kind = cli_option(a, "tokenizer"), *text = cli_option(a, "text");
    int64_t size = 0;
    *code = cli_count(a, "vocab-size", &size) ? 0 : 2;
    if (*code)
        return NULL;
    if (!kind && (text || size))
        *code = cli_wrong("--tokenizer", "is missing: char, word or bpe");
    if (!kind)
        return NULL;
    bool file = strchr(kind, '/') || strstr(kind, ".json");
    if (file && (text || size))
        *code = cli_wrong(text ? "--text" : "--vocab-size",
                          "does not apply to a tokenizer that is read from a file");
    else if (!file && !text)
        *code = cli_wrong("--text", "is missing: the text from which the tokenizer learns");
    if (*code)
        return NULL;
    quern_tokenizer *t =
        file ? quern_tokenizer_open(kind, err) : train_tokenizer(a, kind, text, err);
    if (!t)
        *code = cli_fail(err->code, err);
    return t;
}

char *cli_with_vocabulary(const char *pipeline, const quern_tokenizer *t, int *code)
{
    size_t room = strlen(pipeline) * 4 + 32, n = 0;
    char *out = malloc(room);
    for (const char *p = pipeline; out && *p;) {
        bool begins = p == pipeline || !(isalnum((unsigned char)p[-1]) || p[-1] == '_'),
             ends = !strncmp(p, "vocab", 5) &&
                    !(isalnum((unsigned char)p[5]) || p[5] == '_' || p[5] == '=');
        if (begins && ends && !t) {
            *code = cli_wrong("vocab", "is the size of a vocabulary: add --tokenizer");
            free(out);
            return NULL;
        }
        if (begins && ends) {
            n += (size_t)snprintf(out + n, room - n, "%lld", (long long)quern_tokenizer_size(t));
            p += 5;
        } else
            out[n++] = *p++;
    }
    if (out)
        out[n] = 0;
    else
        *code = cli_no_memory();
    return out;
}

/* ---- generate ---- */

/* Reads a number of at least 0. Returns false after an error message. */
static bool read_number(const arguments *a, const char *name, double most, double *out)
{
    const char *text = cli_option(a, name);
    char *end, what[64];
    if (!text)
        return true;
    *out = strtod(text, &end);
    snprintf(what, sizeof what,
             most < INFINITY ? "must be a number from 0 to %g" : "must be a number of at least 0",
             most);
    bool decimal = isdigit((unsigned char)text[*text == '.']) &&
                   !strpbrk(text, "xX"); /* not a sign, inf or hexadecimal digits */
    return (decimal && !*end && *out <= fmin(most, DBL_MAX)) ||
           (cli_wrong_value(a, name, what), false);
}

/* Reads a whole file (new). Returns NULL if it cannot be read or is longer than 64 MiB. */
static char *file_text(const char *path)
{
    FILE *f = strcmp(path, "-") ? fopen(path, "rb") : stdin;
    size_t n = 0, room = 1 << 16, most = 64u << 20, got;
    char *out = f ? malloc(room) : NULL;
    while (out && (got = fread(out + n, 1, room - n - 1, f)) > 0 && n < most)
        if ((n += got) + 1 == room) {
            char *grown = realloc(out, room *= 2);
            if (!grown)
                free(out);
            out = grown;
        }
    bool whole = out && !ferror(f) && n < most;
    if (whole)
        out[n] = 0;
    if (f && f != stdin)
        fclose(f);
    if (whole)
        return out;
    free(out);
    return NULL;
}

/* Reads the options of generation. Returns false after an error message. */
static bool read_options(const arguments *a, quern_sampling *s, quern_generate_opts *o)
{
    const char *context = cli_option(a, "context");
    if (!read_number(a, "temperature", INFINITY, &s->temperature) ||
        !read_number(a, "top-p", 1, &s->top_p) || !read_number(a, "min-p", 1, &s->min_p) ||
        !read_number(a, "typical", 1, &s->typical) ||
        !read_number(a, "repetition-penalty", INFINITY, &s->repetition_penalty) ||
        !cli_range(a, "top-k", 0, INT32_MAX, &s->top_k) ||
        !cli_range(a, "length", 1, INT32_MAX, &o->length) ||
        !cli_range(a, "count", 1, 65536, &o->count) ||
        !cli_range(a, "beams", 1, 65536, &o->beams) || !cli_seed(a, &o->seed))
        return false;
    if (cli_option(a, "repetition-penalty") && !(s->repetition_penalty > 0))
        return cli_wrong_value(a, "repetition-penalty", "must be a number above 0"), false;
    if (context && strcmp(context, "slide") && strcmp(context, "stop"))
        return cli_wrong_value(a, "context", "must be slide or stop"), false;
    if (cli_option(a, "prompt") && cli_option(a, "prompt-file"))
        return cli_wrong("--prompt-file", "does not combine with --prompt"), false;
    static const char *const drawing[] = { "temperature", "top-k",   "top-p",
                                           "min-p",       "typical", "repetition-penalty",
                                           "order" };
    for (size_t i = 0; i < sizeof drawing / sizeof *drawing && o->beams; i++)
        if (cli_option(a, drawing[i]))
            return fprintf(stderr,
                           "quern: --%s: does not combine with --beams, which does not sample\n",
                           drawing[i]),
                   false;
    s->order = cli_option(a, "order");
    o->sampling = s;
    o->on_full = context && !strcmp(context, "stop") ? QUERN_CONTEXT_STOP : QUERN_CONTEXT_SLIDE;
    o->stop = a->stops;
    o->n_stop = a->n_stops;
    return true;
}

typedef struct printing {
    const char *prompt;
    bool begun;
} printing;

/* Prints a single text token by token. The prompt precedes the first token. */
static int print_piece(void *user, int64_t text, int32_t id, const char *bytes, size_t size)
{
    printing *p = user;
    (void)text, (void)id;
    if (!p->begun)
        fputs(p->prompt, stdout);
    p->begun = true;
    fwrite(bytes, 1, size, stdout);
    return !cli_output_flush();
}

static void print_all(const arguments *a, const char *prompt, const quern_generate_opts *o,
                      quern_generated *texts, double seconds)
{
    int64_t count = o->count ? o->count : 1;
    for (int64_t i = 0; i < count; i++) {
        if (a->json) {
            printf("{\"prompt\":");
            cli_json_text(stdout, prompt, strlen(prompt));
            printf(",\"text\":");
            cli_json_text(stdout, texts[i].text, texts[i].size);
            printf(",\"tokens\":%lld,\"seconds\":%.6f,\"seed\":%llu}\n", (long long)texts[i].tokens,
                   seconds, (unsigned long long)o->seed);
        } else if (!o->token) {
            printf("%s%s", i ? "\n" : "", prompt);
            fwrite(texts[i].text, 1, texts[i].size, stdout);
            printf("\n");
        }
        free(texts[i].text);
    }
    if (o->token)
        printf("\n");
}

/* The context of a model whose length is None: the prompt and the text to generate, unless
 * --input-shape sets it. A token has at least one byte. Returns the exit status. */
static int set_context(const arguments *a, quern_model *m, const char *prompt, int64_t length,
                       quern_error *err)
{
    enum { most = 1 << 16 };
    quern_shape shapes[QUERN_MAX_ARRAYS];
    bool open = false;
    int64_t context = (int64_t)strlen(prompt) + length;
    for (int i = 0; i < quern_model_inputs(m); i++) {
        shapes[i] = quern_model_input_shape(m, i);
        if (quern_model_input_open(m, i) & 1 << 1) {
            shapes[i].dims[1] = context < most ? context : most;
            open = true;
        }
    }
    if (!open || cli_option(a, "input-shape"))
        return 0;
    return quern_model_set_input_shapes(m, shapes, err) < 0 ? cli_fail(err->code, err) : 0;
}

int cli_generate(const arguments *a)
{
    quern_error err = { 0 };
    quern_sampling s = QUERN_SAMPLING_DEFAULTS;
    quern_generate_opts o = { 0 };
    printing p = { 0 };
    int code;
    if (!read_options(a, &s, &o))
        return 2;
    if (a->n > 1 && strcmp(a->words[1], "-")) {
        fprintf(stderr,
                "quern: '%s': unexpected word; usage: quern generate MODEL\nhint: use --prompt "
                "'%s' to continue it\n",
                a->words[1], a->words[1]);
        return 2;
    }
    const char *path = a->n > 1 && !strcmp(a->words[1], "-") ? "-" : cli_option(a, "prompt-file");
    quern_model *m = cli_open(a, 1, &err, &code);
    char *read = m && path ? file_text(path) : NULL;
    const char *prompt = read ? read : cli_option(a, "prompt") ? cli_option(a, "prompt") : "";
    if (m && path && !read)
        code = errno == ENOMEM ? cli_no_memory()
                               : (cli_wrong(path, "cannot be read, or is longer than 64 MiB"), 1);
    if (m && !code)
        code = set_context(a, m, prompt, o.length ? o.length : 200, &err);
    quern_generated *texts =
        m && !code ? calloc((size_t)(o.count ? o.count : 1), sizeof *texts) : NULL;
    if (m && !code && !texts)
        code = cli_no_memory();
    if (!a->json && (!o.count || o.count == 1) && !o.beams && texts) {
        o.token = print_piece;
        o.user = &p;
    }
    double start = cli_now();
    p.prompt = prompt;
    if (texts && quern_generate(m, prompt, &o, texts, &err) < 0) {
        if (p.begun)
            printf("\n");
        code = cli_fail(err.code, &err);
    } else if (texts)
        print_all(a, prompt, &o, texts, cli_now() - start);
    free(texts);
    free(read);
    quern_model_free(m);
    return code;
}
