/* Files by the words that name them. */
#include "source.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>

const char *quern_generator_class(const quern_generator *g, int target, int i)
{
    return g->class_name ? g->class_name(g, target, i) : NULL;
}

/* Options of CSV that other files have no use for. */
static int refuse(const quern_file_opts *o, quern_error *err)
{
    const char *given = o->target     ? "--target"
                        : o->features ? "--features"
                        : o->weight   ? "--weight"
                        : o->missing  ? "--missing"
                                      : NULL;
    return given ? quern__fail(err, QUERN_INVALID, given, "applies to CSV only") : QUERN_OK;
}

/* "x=FILE …", or a first word that ends in .npz. */
static bool names_arrays(const char *words)
{
    size_t n = strcspn(words, " ");
    return (*words && strchr("xyw", *words) && (words[1] == '=' || words[1] == ':')) ||
           (n > 4 && !strncmp(words + n - 4, ".npz", 4));
}

/* Words are paths or patterns; each pattern stands for its files in byte order. */
static int csv(const char *words, const quern_file_opts *o, quern__stream *s, quern_error *err)
{
    glob_t found = { 0 };
    char word[1024];
    int status = QUERN_OK;
    for (const char *p = words; status >= 0 && *(p += strspn(p, " "));) {
        size_t n = strcspn(p, " ");
        snprintf(word, sizeof word, "%.*s", (int)n, p);
        p += n;
        if (n >= sizeof word || (!strcmp(word, "-") && strcspn(words, " ") != strlen(words)))
            status = quern__fail(err, QUERN_INVALID, word, n >= sizeof word ? "is too long" : "standard input stands alone");
        else if (glob(word, GLOB_NOCHECK | (found.gl_pathc ? GLOB_APPEND : 0), NULL, &found))
            status = quern__fail(err, QUERN_NOTFOUND, word, "cannot be looked for");
    }
    if (status >= 0 && found.gl_pathc == 0)
        status = quern__fail(err, QUERN_INVALID, "data", "no file is named");
    if (status >= 0)
        status = quern__csv_open(found.gl_pathv, (int)found.gl_pathc, o, s, err);
    globfree(&found);
    return status;
}

quern_generator *quern_file_generator(const char *words, const quern_file_opts *opts, quern_error *err)
{
    static const quern_file_opts none;
    quern__stream s = { 0 };
    opts = opts ? opts : &none;
    words += strspn(words, " ");
    if (names_arrays(words))
        return refuse(opts, err) < 0 ? NULL : quern__records_open(words, err);
    return csv(words, opts, &s, err) < 0 ? NULL : quern__stream_generator(&s, err);
}
