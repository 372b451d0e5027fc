/* The pages of the classes: for each its names, its spec string, and its other properties. */
#include "words.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The arguments that every class of the group takes in addition: "`name`, `trainable=true`". */
static void write_common(quern__text *out, quern__group group)
{
    json_t *common = words_common(group), *v;
    const char *key;
    int n = 0;
    json_object_foreach(common, key, v)
    {
        quern__text_add(out, n++ ? ", `%s=" : " In addition, each class takes `%s=", key);
        words_value(out, v);
        quern__text_add(out, "`");
    }
    quern__text_add(out, n ? ".\n" : "\n");
    json_decref(common);
}

static void write_aliases(quern__text *out, const quern__class *c)
{
    int n = 0;
    for (const char *p = c->aliases ? c->aliases : ""; *p; p += strspn(p, " ")) {
        size_t length = strcspn(p, " ");
        quern__text_add(out, "%s`%.*s`", n++ ? ", " : "Other names: ", (int)length, p);
        p += length;
    }
    quern__text_add(out, n ? ".\n\n" : "");
}

/* "Sentence `a`, `b`." of the fields for which `wanted` is true. */
static void write_list(quern__text *out, const char *sentence, const char *const *names, int n)
{
    for (int i = 0; i < n; i++)
        quern__text_add(out, "%s`%s`", i ? ", " : sentence, names[i]);
    quern__text_add(out, n ? ". " : "");
}

static void write_class(quern__text *out, words_names *all, const words_module *m,
                        const quern__class *c)
{
    const char *held[16], *takes[16], *told[16], *but = words_but(all, m->module, c);
    int n_held = 0, n_takes = 0, n_told = 0;
    for (int i = 0; c->fields && c->fields[i].name && n_held < 16; i++)
        if (c->fields[i].kind == QUERN__F_ONLY_DEFAULT)
            held[n_held++] = c->fields[i].name;
    for (int i = 0; c->call_args && c->call_args[i].name && n_takes < 16; i++)
        takes[n_takes++] = c->call_args[i].name;
    for (int i = 0; c->call_flags && c->call_flags[i].name && n_told < 16; i++)
        told[n_told++] = c->call_flags[i].name;
    quern__text_add(out, "\n### %s\n\n", c->name);
    write_aliases(out, c);
    words_phrase(out, c);
    size_t before = out->length;
    quern__text_add(out, "\n");
    write_list(out, "Only the default is supported: ", held, n_held);
    write_list(out, "Call arguments: ", takes, n_takes);
    write_list(out, "Call flags (true or false): ", told, n_told);
    quern__text_add(out, c->strings ? "Accepts text. " : "");
    quern__text_add(out, c->adapt ? "`--adapt` learns its state. " : "");
    quern__text_add(out, c->function ? "Keras has it as a function. " : "");
    if (c->written)
        quern__text_add(out, "Its name in files is `%s`. ", c->written);
    if (but)
        quern__text_add(out, "Limit: %s. ", but);
    if (out->length == before + 1)
        out->length = before;
    else
        out->data[out->length - 1] = '\n';
}

bool words_belongs(const quern__class *c, const words_module *m)
{
    return !strncmp(c->module, "keras.", 6) && !strcmp(c->module + 6, m->module);
}

static int by_name(const void *a, const void *b)
{
    return strcasecmp((*(const quern__class *const *)a)->name,
                      (*(const quern__class *const *)b)->name);
}

static void write_group(quern__text *out, words_names *all, const words_module *m)
{
    const quern__class *sorted[256];
    int n = 0, strangers = 0;
    for (const quern__class *const *row = quern__classes((quern__group)m->group); row[n] && n < 256;
         n++)
        sorted[n] = row[n];
    qsort(sorted, (size_t)n, sizeof *sorted, by_name);
    quern__text_add(out, "\n## keras.%s\n\n[keras.io](https://keras.io/api/%s/).", m->module,
                    m->link);
    write_common(out, (quern__group)m->group);
    for (int i = 0; i < n; i++)
        if (words_belongs(sorted[i], m))
            write_class(out, all, m, sorted[i]);
    for (int i = 0; i < n; i++)
        if (!words_belongs(sorted[i], m)) {
            if (!strangers++)
                quern__text_add(
                    out, "\n## Names in files only\n\nKeras writes these into files by itself.\n");
            write_class(out, all, m, sorted[i]);
        }
}

void words_page_of_classes(quern__text *out, words_names *all, const char *title, const char *page)
{
    quern__text_add(
        out,
        "# %s\n\n"
        "This page has the spec string of each class.\n"
        "Arguments are positional in this order, or have their names.\n"
        "CAPITALS mark a required argument; other values are the defaults.\n"
        "The command line, C and files use the same names.\n"
        "Names are compared without case and underscores.\n\n"
        "`make docs` writes this page, and `make check` compares it with the registry.\n",
        title);
    for (int i = 0; i < words_n_modules; i++)
        if (words_modules[i].page && !strcmp(words_modules[i].page, page))
            write_group(out, all, &words_modules[i]);
}
