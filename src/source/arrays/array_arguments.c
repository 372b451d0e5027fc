/* Parses the words of a DATA of arrays: x=FILE y=FILE [w=FILE], or one NPZ with members x, y, w.
 * Several inputs and outputs have x:NAME= and y:NAME=. */
#include "array_dataset.h"

#include <stdio.h>
#include <string.h>

void quern__records_forget(quern__records *r)
{
    for (int k = 0; k < r->kept; k++)
        for (int i = 0; i < r->n; i++)
            quern__gunzip_mark_free(r->places[k][i].mark);
    r->kept = 0;
}

void quern__records_free(void *self)
{
    quern__records *r = self;
    for (int i = 0; i < r->n; i++)
        quern__array_file_close(&r->parts[i]);
    quern__records_forget(r);
    quern__free(r);
}

static int add_array(quern__records *r, char role, const char *name, const char *file,
                     const char *member, quern_error *err)
{
    if (r->n == QUERN__RECORDS_PARTS)
        return quern__fail(err, QUERN_INVALID, file, "more than %d arrays", QUERN__RECORDS_PARTS);
    int status = quern__array_file_open(&r->parts[r->n], file, member, err);
    r->roles[r->n] = role;
    snprintf(r->names[r->n], sizeof *r->names, "%s", name);
    r->n++;
    if (status >= 0 && r->parts[r->n - 1].records != r->parts[0].records)
        return quern__fail(err, QUERN_FORMAT, file, "%lld records, %s has %lld",
                           (long long)r->parts[r->n - 1].records, r->parts[0].where,
                           (long long)r->parts[0].records);
    return status;
}

/* "x=FILE", "y:NAME=FILE" */
static int add_word(quern__records *r, const char *word, quern_error *err)
{
    const char *equals = strchr(word, '=');
    char name[64] = "", member[2] = { *word, 0 };
    if (!equals || !strchr("xyw", *word) || (word[1] != '=' && word[1] != ':'))
        return quern__fail(err, QUERN_INVALID, word,
                           "expected x=FILE, y=FILE or w=FILE (x:NAME=FILE)");
    if (word[1] == ':')
        snprintf(name, sizeof name, "%.*s", (int)(equals - word - 2), word + 2);
    return add_array(r, *word, name, equals + 1, *name ? name : member, err);
}

/* Adds the members of an NPZ: x, and y and w if they exist. */
static int add_npz(quern__records *r, const char *path, quern_error *err)
{
    char file[QUERN__WORD + 8];
    static const char roles[] = "xyw";
    for (int i = 0; i < 3; i++) {
        quern_error own = { 0 };
        snprintf(file, sizeof file, "%s:/%c", path, roles[i]);
        int status = add_array(r, roles[i], "", file, "", &own);
        if (status == QUERN_NOTFOUND && i > 0)
            quern__array_file_close(&r->parts[--r->n]);
        else if (status < 0) {
            if (err)
                *err = own;
            return status;
        }
    }
    return QUERN_OK;
}

/* Checks that a file has the format of --format. */
static int check_format(const quern__array_file *p, const char *format, quern_error *err)
{
    const char *is = p->zip ? "npz" : p->idx ? "idx" : "npy";
    return !format || !strcmp(format, is)
               ? QUERN_OK
               : quern__fail(err, QUERN_FORMAT, p->where, "is %s, expected %s as --format says", is,
                             format);
}

quern__records *quern__records_words(const char *words, const char *format, quern_error *err)
{
    quern__records *r = quern__zalloc(1, sizeof *r);
    char word[QUERN__WORD];
    int status = r ? QUERN_OK : quern__fail_memory(err, sizeof *r);
    for (const char *p = words; status >= 0 && *(p += strspn(p, " "));) {
        size_t n = quern__word_length(p);
        snprintf(word, sizeof word, "%.*s", (int)n, p);
        quern__word_plain(word);
        p += n;
        status = n >= sizeof word ? quern__fail(err, QUERN_INVALID, word, "is too long")
                 : strchr("xyw", *word) && strpbrk(word, "=") ? add_word(r, word, err)
                                                              : add_npz(r, word, err);
        for (int i = 0; i < r->n && status >= 0; i++)
            status = check_format(&r->parts[i], format, err);
    }
    if (status >= 0)
        return r;
    if (r)
        quern__records_free(r);
    return NULL;
}
