/* Every name of Keras and its state: the list of names from tools/keras-names, and the list of
 * reasons (reasons.txt, which explains its format). */
#include "words.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { most_names = 800, most_reasons = 200, line_bytes = 4096 };

/* A name of Keras. */
typedef struct name {
    char *line, *module, *own; /* module and name are in the line */
    const char *same;          /* the name of which this is an alias; NULL: none */
    char *arguments;           /* of a class, between spaces; NULL: none */
} name;

/* The reason why a name, or a part of it, is missing. */
typedef struct reason {
    char *line, *module, *own; /* module "*": any */
    const char *text;
    bool part, used;
} reason;

struct words_names {
    int n, n_reasons;
    name names[most_names];
    reason reasons[most_reasons];
};

/* The next line that is not empty or a comment, without its newline; new. NULL: the end of the
 * file. */
static char *next_line(FILE *f)
{
    static char line[line_bytes];
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        if (*line && *line != '#')
            return strdup(line);
    }
    return NULL;
}

/* Splits "optimizers.schedules.CosineDecay" after the module. Returns false if it has no module. */
static bool split_path(char *path, char **module, char **own)
{
    char *dot = strrchr(path, '.');
    if (!dot || dot == path || !dot[1])
        return false;
    *dot = 0;
    *module = path;
    *own = dot + 1;
    return true;
}

/* NAME "class" {argument} | NAME "function" | NAME "module" | NAME "=" NAME */
static bool read_name(name *n, char *line)
{
    char *rest = strchr(line, ' ');
    *n = (name){ .line = line };
    if (!rest)
        return false;
    *rest++ = 0;
    if (!strncmp(rest, "= ", 2))
        n->same = rest + 2;
    else if (!strncmp(rest, "class", 5) && (!rest[5] || rest[5] == ' '))
        n->arguments = rest + 5;
    else if (strcmp(rest, "function") && strcmp(rest, "module"))
        return false;
    return split_path(line, &n->module, &n->own);
}

/* NAME ": " reason | NAME " but: " what is missing */
static bool read_reason(reason *r, char *line)
{
    char *colon = strstr(line, ": "), *but = strstr(line, " but: ");
    *r = (reason){ .line = line, .part = but != NULL && but + 4 == colon };
    if (!colon)
        return false;
    r->text = colon + 2;
    *(r->part ? but : colon) = 0;
    return !strchr(line, ' ') && split_path(line, &r->module, &r->own);
}

words_names *words_names_read(const char *names, const char *reasons)
{
    words_names *all = calloc(1, sizeof *all);
    FILE *f = fopen(names, "r"), *g = fopen(reasons, "r");
    char *line;
    while (all && f && all->n < most_names && (line = next_line(f)))
        if (!read_name(&all->names[all->n++], line))
            words_mistake("%s: '%s' is not a valid line", names, line);
    while (all && g && all->n_reasons < most_reasons && (line = next_line(g)))
        if (!read_reason(&all->reasons[all->n_reasons++], line))
            words_mistake("%s: '%s' is not a valid line", reasons, line);
    if (!all || !f || !g || all->n == most_names || all->n_reasons == most_reasons)
        words_mistake("%s or %s cannot be read", names, reasons);
    if (f)
        fclose(f);
    if (g)
        fclose(g);
    return all;
}

void words_names_free(words_names *all)
{
    for (int i = 0; all && i < all->n; i++)
        free(all->names[i].line);
    for (int i = 0; all && i < all->n_reasons; i++)
        free(all->reasons[i].line);
    free(all);
}

static const char *reason_of(words_names *all, const char *module, const char *own, bool part)
{
    for (int i = 0; i < all->n_reasons; i++) {
        reason *r = &all->reasons[i];
        bool here = r->module && (!strcmp(r->module, "*") || !strcmp(r->module, module));
        if (here && r->part == part && !strcmp(r->own, own)) {
            r->used = true;
            return r->text;
        }
    }
    return NULL;
}

const char *words_but(words_names *all, const char *module, const quern__class *c)
{
    return reason_of(all, module, c->name, true);
}

/* ---- one name ---- */

static const quern__class *row_of(const words_module *m, const char *own)
{
    quern_error none = { 0 };
    if (m->group == QUERN__LAYER && !strcmp(own, "Input"))
        own = "InputLayer"; /* a function that creates it; its spec string is the same */
    return m->group < 0 ? NULL : quern__class_find((quern__group)m->group, own, &none);
}

static bool is_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = strstr(list, word); p; p = strstr(p + 1, word))
        if ((p == list || p[-1] == ' ') && (!p[n] || p[n] == ' '))
            return true;
    return false;
}

static bool has_field(const quern__class *c, const char *argument)
{
    int i = 0;
    while (c->fields && c->fields[i].name && strcmp(c->fields[i].name, argument))
        i++;
    return c->fields && c->fields[i].name;
}

static bool knows(const quern__class *c, json_t *common, const char *argument)
{
    return has_field(c, argument) || json_object_get(common, argument);
}

/* An argument without its name is the same one in both: the arguments of Keras that exist here come
 * first, in Keras's order. */
static void check_order(const name *n, const quern__class *c)
{
    char list[line_bytes];
    int at = 0;
    snprintf(list, sizeof list, "%s", n->arguments);
    for (char *save = NULL, *word = strtok_r(list, " ", &save); word;
         word = strtok_r(NULL, " ", &save)) {
        if (!has_field(c, word))
            continue;
        if (strcmp(c->fields[at].name, word)) {
            words_mistake("%s.%s: argument %d is %s in Keras, here %s", n->module, n->own, at + 1,
                          word, c->fields[at].name);
            return;
        }
        at++;
    }
}

/* "; `sparse` only at its default; without `lora_rank`": the arguments of a class that are
 * missing. */
static void write_arguments(quern__text *out, const name *n, const quern__class *c)
{
    char list[line_bytes];
    int held = 0, missing = 0;
    json_t *common = words_common(c->group);
    for (int i = 0; c->fields && c->fields[i].name; i++)
        if (c->fields[i].kind == QUERN__F_ONLY_DEFAULT && is_word(n->arguments, c->fields[i].name))
            quern__text_add(out, "%s `%s`", held++ ? "," : ";", c->fields[i].name);
    quern__text_add(out, held > 1 ? " only at their defaults" : held ? " only at its default" : "");
    snprintf(list, sizeof list, "%s", n->arguments);
    for (char *save = NULL, *word = strtok_r(list, " ", &save); word;
         word = strtok_r(NULL, " ", &save))
        if (!knows(c, common, word))
            quern__text_add(out, "%s `%s`", missing++ ? "," : "; without", word);
    json_decref(common);
}

static void write_name(quern__text *out, words_names *all, const words_module *m, const name *n)
{
    const quern__class *row = row_of(m, n->own), *other = n->same ? row_of(m, n->same) : row;
    bool works = row || (m->group < 0 && quern__is_activation(n->own));
    const char *why = reason_of(all, n->module, n->own, false),
               *but = reason_of(all, n->module, n->own, true);
    if (works && why)
        words_mistake("%s.%s works, though a reason is given why it does not", n->module, n->own);
    if (!works && !why)
        words_mistake("%s.%s is neither a row nor has a reason why not", n->module, n->own);
    if (!works && but)
        words_mistake("%s.%s does not work, though something is said of what of it does not",
                      n->module, n->own);
    if (row != other)
        words_mistake("%s.%s is %s in Keras, but not here", n->module, n->own, n->same);
    if (row) {
        quern__text_add(out, "| [`%s`](%s#", n->own, m->page);
        for (const char *p = row->name; *p; p++)
            quern__text_add(out, "%c", tolower((unsigned char)*p));
        quern__text_add(out, ") | ");
    } else
        quern__text_add(out, "| `%s` | ", n->own);
    if (n->same)
        quern__text_add(out, "`%s` |\n", n->same);
    else if (!works)
        quern__text_add(out, "no: %s |\n", why ? why : "");
    else {
        quern__text_add(out, "works");
        if (row && n->arguments) {
            check_order(n, row);
            write_arguments(out, n, row);
        }
        quern__text_add(out, but ? "; limit: %s |\n" : "%s |\n", but ? but : "");
    }
}

/* Layers of Keras 2 that files have and Keras 3 does not. */
static bool is_of_keras_2(const quern__class *row)
{
    return !strcmp(row->name, "LocallyConnected1D") || !strcmp(row->name, "LocallyConnected2D");
}

/* Every row of the module has a name in Keras. */
static void check_rows(const words_names *all, const words_module *m)
{
    for (const quern__class *const *row = m->group < 0 ? NULL
                                                       : quern__classes((quern__group)m->group);
         row && *row; row++) {
        bool named = !words_belongs(*row, m) || is_of_keras_2(*row);
        for (int i = 0; i < all->n && !named; i++)
            named = all->names[i].module && !strcmp(all->names[i].module, m->module) &&
                    row_of(m, all->names[i].own) == *row;
        if (!named)
            words_mistake("%s is a row of keras.%s, where Keras has no such name", (*row)->name,
                          m->module);
    }
}

void words_page_of_names(quern__text *out, words_names *all)
{
    quern__text_add(
        out, "# Keras's names\n\n"
             "This page lists every public name of nine modules of Keras 3.15.\n"
             "A name works, is another name of one that works, or has a reason why it is not "
             "supported.\n"
             "These pages describe the arguments:\n\n"
             "- [layers](layers.md)\n- [losses](losses.md)\n- [metrics](metrics.md)\n- [optimizers "
             "and schedules](optimizers.md)\n"
             "- [initializers, regularizers, constraints](weights.md)\n\n"
             "An unknown name, or an argument value that is not supported, is an error that names "
             "it.\n\n"
             "`make docs` writes this page, and `make check` compares it with the registry.\n");
    for (int k = 0; k < words_n_modules; k++) {
        const words_module *m = &words_modules[k];
        quern__text_add(out,
                        "\n## keras.%s\n\n[keras.io](https://keras.io/api/%s/)\n\n| name | in "
                        "quern |\n|---|---|\n",
                        m->module, m->link);
        for (int i = 0; i < all->n; i++)
            if (all->names[i].module && !strcmp(all->names[i].module, m->module))
                write_name(out, all, m, &all->names[i]);
        check_rows(all, m);
    }
    for (int i = 0; i < all->n_reasons; i++)
        if (all->reasons[i].own && !all->reasons[i].used)
            words_mistake("%s.%s is not a name of Keras, but has a reason", all->reasons[i].module,
                          all->reasons[i].own);
}
