/* Opens files by the words of DATA. The kind of a file is determined by --format, else by the
 * end of its name, else by its first bytes. */
#include "generator_struct.h"
#include "source/prepared/qrec.h"
#include "tensor/array_axes.h"

#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef enum kind { UNKNOWN, TABLE, TABS, ARRAY, ZIPPED, TEXT, PREPARED, LATER } kind;

/* Formats: the word of --format, the end of names, and the first n bytes of the content. */
static const struct {
    const char *word, *ends;
    kind kind;
    int n;
    const char *begins;
} formats[] = {
    { "csv", ".csv", TABLE, 0, NULL },        { "tsv", ".tsv", TABS, 0, NULL },
    { "npy", ".npy", ARRAY, 6, "\x93NUMPY" }, { "idx", "-ubyte", ARRAY, 3, "\0\0\10" },
    { "npz", ".npz", ZIPPED, 4, "PK\3\4" },   { "text", ".txt", TEXT, 0, NULL },
    { "qrec", ".qrec", PREPARED, 4, "QREC" }, { "hdf5", ".h5", LATER, 4, "\x89HDF" },
    { "hdf5", ".hdf5", LATER, 0, NULL },      { "tfrecord", ".tfrecord", LATER, 0, NULL },
    { "tar", ".tar", LATER, 0, NULL },        { "sqlite", ".sqlite", LATER, 6, "SQLite" },
    { "images", "/", LATER, 0, NULL },
};
enum { n_formats = sizeof formats / sizeof *formats };

const char *quern_generator_class(const quern_generator *g, int target, int i)
{
    return g && g->class_name ? g->class_name(g, target, i) : NULL;
}

const quern_schema *quern_generator_schema(const quern_generator *g)
{
    return g && g->schema ? g->schema(g) : NULL;
}

/* Rejects options that the kind of file does not use. */
static int reject_options(const quern_file_opts *o, bool table, bool protocol, bool prepared,
                          quern_error *err)
{
    const struct {
        bool given;
        const char *name;
    } of_tables[] = { { o->target, "--target" },
                      { o->features, "--features" },
                      { o->weight, "--weight" },
                      { o->missing, "--missing" },
                      { o->missing_values, "--missing-values" },
                      { o->classes, "--classes" },
                      { o->separator, "--separator" },
                      { o->decimal, "--decimal" },
                      { o->no_header, "--no-header" },
                      { o->encoding, "--encoding" },
                      { o->unknown_class, "--unknown-class" } };
    if (o->data_format && (table || prepared))
        return quern__fail(err, QUERN_INVALID, "--data-format",
                           prepared ? "applies to arrays; pass it to 'quern prepare'"
                                    : "applies to arrays; columns have no channels");
    for (size_t i = 0; i < sizeof of_tables / sizeof *of_tables; i++)
        if (of_tables[i].given && !table)
            return quern__fail(err, QUERN_INVALID, of_tables[i].name, "applies to CSV only");
    if (!protocol && o->arrays)
        return quern__fail(err, QUERN_INVALID, "--arrays",
                           "applies to a generator and to --format npy only");
    return QUERN_OK;
}

/* ---- the kind of a file ---- */

/* The row of the format that --format names. */
static int row_of_word(const char *word, quern_error *err)
{
    for (int i = 0; i < n_formats; i++)
        if (!strcmp(formats[i].word, word))
            return i;
    quern__fail(err, QUERN_INVALID, "--format", "'%.40s' is not a format", word);
    const char *near = quern__nearest(word, &formats[0].word, n_formats, sizeof *formats);
    if (near)
        quern__hint(err, "did you mean '%s'?", near);
    return QUERN_INVALID;
}

/* The row by the end of a name (without ".gz"), else by the first bytes; -1: unknown. */
static int row_of_file(const char *path)
{
    char head[8] = { 0 };
    size_t n = strlen(path), end = n > 3 && !strcmp(path + n - 3, ".gz") ? n - 3 : n;
    const char *query = strstr(path, ".sqlite?");
    end = query ? (size_t)(query - path) + 7 : end;
    for (int i = 0; i < n_formats; i++)
        if (end > strlen(formats[i].ends) && !strncmp(path + end - strlen(formats[i].ends),
                                                      formats[i].ends, strlen(formats[i].ends)))
            return i;
    struct stat st; /* a pipe is not opened: its writer would see a reader open and close it */
    int fd = !stat(path, &st) && S_ISREG(st.st_mode) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t got = fd >= 0 ? pread(fd, head, sizeof head, 0) : -1;
    if (fd >= 0)
        close(fd);
    for (int i = 0; i < n_formats; i++)
        if (formats[i].n && got >= formats[i].n &&
            !memcmp(head, formats[i].begins, (size_t)formats[i].n))
            return i;
    return -1;
}

/* Whether the words are of the form "x=FILE …". */
static bool has_roles(const char *words)
{
    return *words && strchr("xyw", *words) &&
           (words[1] == '=' || (words[1] == ':' && strchr(words, '=')));
}

/* ---- opening ---- */

void quern__paths_free(char **paths, int n)
{
    if (paths)
        for (int i = 0; i < n; i++)
            quern__free(paths[i]);
    quern__free(paths);
}

typedef struct path_list {
    char **list;
    int n;
} path_list;

static int add_path(path_list *all, const char *path, quern_error *err)
{
    char **grown = quern__realloc(all->list, ((size_t)all->n + 1) * sizeof *grown);
    all->list = grown ? grown : all->list;
    if (!grown || !(grown[all->n] = quern__strdup(path)))
        return quern__fail_memory(err, strlen(path));
    all->n++;
    return QUERN_OK;
}

/* Adds the files of one word: the file of that name if it exists, else the matches of the
 * pattern. */
static int add_word(path_list *all, char *word, quern_error *err)
{
    char plain[QUERN__WORD];
    glob_t found;
    struct stat is;
    strcpy(plain, word);
    quern__word_plain(plain);
    if (!strcmp(plain, "-") || lstat(plain, &is) == 0)
        return add_path(all, plain, err);
    int none = glob(word, 0, NULL, &found), status = QUERN_OK;
    if (none && none != GLOB_NOMATCH)
        return quern__fail(err, QUERN_NOTFOUND, plain, "the search for its files failed");
    for (size_t i = 0; !none && i < found.gl_pathc && status >= 0; i++)
        status = add_path(all, found.gl_pathv[i], err);
    if (!none)
        globfree(&found);
    return none ? add_path(all, plain, err) : status;
}

int quern__paths_find(const char *words, char ***list, int *n_paths, quern_error *err)
{
    path_list all = { 0 };
    char word[QUERN__WORD];
    int status = QUERN_OK;
    *list = NULL;
    for (const char *p = words; status >= 0 && *(p += strspn(p, " "));) {
        size_t n = quern__word_length(p);
        snprintf(word, sizeof word, "%.*s", (int)n, p);
        p += n;
        if (n >= sizeof word || (!strcmp(word, "-") && quern__word_length(words) != strlen(words)))
            status = quern__fail(err, QUERN_INVALID, word,
                                 n >= sizeof word ? "is too long"
                                                  : "standard input cannot be combined with files");
        else
            status = add_word(&all, word, err);
    }
    if (status >= 0 && all.n == 0)
        status = quern__fail(err, QUERN_INVALID, "data", "no file is given");
    if (status < 0) {
        quern__paths_free(all.list, all.n);
        return status;
    }
    *list = all.list;
    *n_paths = all.n;
    return QUERN_OK;
}

static int open_csv(const char *words, const quern_file_opts *o, bool tabs, quern__stream *s,
                    quern_error *err)
{
    char **paths;
    int n, status = quern__paths_find(words, &paths, &n, err);
    if (status < 0)
        return status;
    status = quern__csv_open(paths, n, tabs ? '\t' : ',', o, s, err);
    quern__paths_free(paths, n);
    return status;
}

/* Opens files of one kind. `first`: the first path; `word`: the name of the format. */
static quern_generator *open_kind(const char *words, const char *first, kind is, const char *word,
                                  const quern_file_opts *o, quern_error *err)
{
    quern__stream s = { 0 };
    bool one = quern__word_length(words) == strlen(words);
    bool table = is == UNKNOWN || is == TABLE || is == TABS,
         stream = is == ARRAY && o->format && !has_roles(words), first_channel;
    if (quern__data_format(o->data_format, &first_channel, err) < 0)
        return NULL;
    if (is == LATER || is == TEXT)
        quern__fail(err, QUERN_UNSUPPORTED, first,
                    is == TEXT ? "is text; text needs a tokenizer"
                               : "%s is not supported in this version",
                    word);
    else if (reject_options(o, table, stream, is == PREPARED, err) < 0)
        return NULL;
    else if (is == PREPARED && one)
        return quern__qrec_open(first, err);
    else if (is == PREPARED)
        quern__fail(err, QUERN_INVALID, first, "a .qrec file must be the only file");
    else if (table)
        return open_csv(words, o, is == TABS, &s, err) < 0 ? NULL
                                                           : quern__stream_generator(&s, err);
    else if (is == ZIPPED || has_roles(words))
        return quern__records_open(words, o->format ? word : NULL, first_channel, err);
    else if (stream && !strcmp(word, "npy") && one)
        return quern__input_open(first, o, err);
    else
        quern__fail(err, QUERN_INVALID, first,
                    "is an array without a role: write x=FILE or y=FILE");
    return NULL;
}

quern_generator *quern_file_generator(const char *words, const quern_file_opts *opts,
                                      quern_error *err)
{
    QUERN__ENTER(err, NULL, "words", words);
    enum { opts_0_1 = 120 };
    char first[QUERN__WORD];
    quern_file_opts own, *o = &own;
    if (QUERN__OPTIONS(own, opts_0_1, opts, err) < 0)
        return NULL;
    words += strspn(words, " ");
    snprintf(first, sizeof first, "%.*s", (int)quern__word_length(words), words);
    quern__word_plain(first);
    int row = -1;
    if (o->format)
        row = row_of_word(o->format, err);
    else if (has_roles(words))
        row = 2;
    else if (strcmp(first, "-"))
        row = row_of_file(first);
    if (o->format && row < 0)
        return NULL;
    quern_generator *g = open_kind(words, first, row < 0 ? UNKNOWN : formats[row].kind,
                                   row < 0 ? "" : formats[row].word, o, err);
    if (g && quern_generator_set_stall_timeout(g, o->stall_timeout, err) < 0) {
        quern_generator_free(g);
        return NULL;
    }
    return g;
}
