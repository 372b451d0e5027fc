/* assets: vocabularies of lookup layers in assets/, one token per line, at Keras's paths. The
 * vocabulary of TextVectorization is stored twice: Keras writes it for the layer and for its inner
 * StringLookup. */
#include "files.h"

#include <stdio.h>
#include <string.h>

static const char *const places[] = { "", "/_lookup_layer" };

static void name_of(const char *group, const char *place, char *out, size_t size)
{
    snprintf(out, size, "assets/%s%s/vocabulary.txt", group, place);
}

void quern__assets_free(quern__member *list, int n)
{
    if (list)
        for (int i = 0; i < n; i++) {
            quern__free((void *)(uintptr_t)list[i].name);
            quern__free(list[i].bytes);
        }
    quern__free(list);
}

typedef struct collecting {
    quern__member *list;
    int n;
} collecting;

/* Appends the vocabulary of a lookup layer to the list of members, once per path of Keras. */
static int collect(void *user, quern__layer *l, const char *group, quern_error *err)
{
    collecting *c = user;
    char name[400];
    if (quern__layer_looks_up(l))
        for (int p = 0; p < 1 + quern__layer_is_text(l); p++) {
            quern__text lines = { 0 };
            if (!quern__layer_vocabulary_text(l, &lines))
                break;
            quern__member *grown = quern__realloc(c->list, ((size_t)c->n + 1) * sizeof *grown);
            name_of(group, places[p], name, sizeof name);
            c->list = grown ? grown : c->list;
            if (!grown || lines.failed || !(grown[c->n].name = quern__strdup(name))) {
                quern__text_free(&lines);
                return quern__fail_memory(err, lines.capacity);
            }
            grown[c->n].bytes = lines.data;
            grown[c->n].n = lines.length;
            grown[c->n++].optional = false;
        }
    return QUERN_OK;
}

int quern__assets_write(const quern_model *m, quern__member **list, int *n, quern_error *err)
{
    collecting c = { 0 };
    int status = quern__model_walk(m, collect, &c, err);
    *list = c.list;
    *n = c.n;
    return status;
}

typedef struct reading {
    const char *path;
    size_t limit;
} reading;

/* Reads the vocabulary of a lookup layer, unless its config has it. */
static int read_into(void *user, quern__layer *l, const char *group, quern_error *err)
{
    const reading *r = user;
    char name[400];
    if (!quern__layer_looks_up(l) || l->given)
        return QUERN_OK;
    name_of(group, places[0], name, sizeof name);
    quern__member member = { .name = name, .optional = true };
    int status = quern__archive_read(r->path, &member, 1, r->limit, err);
    if (status >= 0 && member.bytes)
        status = quern__layer_read_vocabulary(l, member.bytes, member.n, err);
    quern__free(member.bytes);
    return status;
}

int quern__assets_read(quern_model *m, const char *path, size_t limit, quern_error *err)
{
    return quern__model_walk(m, read_into, &(reading){ path, limit }, err);
}
