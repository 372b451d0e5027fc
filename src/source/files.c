/* Files by the words that name them. */
#include "source.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>

const char *quern_generator_class(const quern_generator *g, int target, int i)
{
    return g->class_name ? g->class_name(g, target, i) : NULL;
}

static int idx(const char *words, const quern_file_opts *o, quern__stream *s, quern_error *err)
{
    char x[1024] = "", y[1024] = "", more[16] = "";
    sscanf(words, "%1023s %1023s %15s", x, y, more);
    const char *only_csv = o->target     ? "--target"
                           : o->features ? "--features"
                           : o->weight   ? "--weight"
                           : o->missing  ? "--missing"
                                         : NULL;
    if (only_csv)
        return quern__fail(err, QUERN_INVALID, only_csv, "applies to CSV only");
    if ((*y && strncmp(y, "y=", 2)) || *more)
        return quern__fail(err, QUERN_INVALID, *more ? more : y, "expected x=FILE y=FILE");
    return quern__idx_open(x + 2, *y ? y + 2 : NULL, s, err);
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
    int status = !strncmp(words, "x=", 2) ? idx(words, opts ? opts : &none, &s, err) : csv(words, opts ? opts : &none, &s, err);
    return status < 0 ? NULL : quern__stream_generator(&s, err);
}
