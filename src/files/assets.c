/* assets/: the vocabularies of layers that look up, one token a line, where Keras has them. TextVectorization's stands there twice:
 * Keras writes it for the layer and for the one inside. */
#include "files.h"

#include <stdio.h>
#include <string.h>

static const char *const places[] = { "", "/_lookup_layer" };

static bool looks_up(const quern_model *m, int k) { return !m->b->nodes[k].again && quern__layer_looks_up(m->b->nodes[k].layer); }

static void name_of(const quern_model *m, int k, const char *place, char *out, size_t size)
{
    char group[160];
    quern__layer_group(m, k, group, sizeof group);
    snprintf(out, size, "assets/%s%s/vocabulary.txt", group, place);
}

void quern__assets_free(quern__member *list, int n)
{
    for (int i = 0; list && i < n; i++) {
        quern__free((void *)(uintptr_t)list[i].name);
        quern__free(list[i].bytes);
    }
    quern__free(list);
}

int quern__assets_write(const quern_model *m, quern__member **list, int *n, quern_error *err)
{
    char name[256];
    *n = 0;
    *list = quern__zalloc(2 * (size_t)m->b->n + 1, sizeof **list);
    if (!*list)
        return quern__fail_memory(err, (size_t)m->b->n * sizeof **list);
    for (int k = 0; k < m->b->n; k++)
        for (int p = 0; looks_up(m, k) && p < 1 + quern__layer_is_text(m->b->nodes[k].layer); p++) {
            quern__text lines = { 0 };
            if (!quern__layer_vocabulary_text(m->b->nodes[k].layer, &lines))
                break;
            name_of(m, k, places[p], name, sizeof name);
            (*list)[*n] = (quern__member){ .name = quern__strdup(name), .bytes = lines.data, .n = lines.length };
            if (!(*list)[(*n)++].name || lines.failed)
                return quern__fail_memory(err, lines.capacity);
        }
    return QUERN_OK;
}

int quern__assets_read(quern_model *m, const char *path, size_t limit, quern_error *err)
{
    int status = QUERN_OK;
    for (int k = 0; k < m->b->n && status >= 0; k++) {
        char name[256];
        quern__layer *l = m->b->nodes[k].layer;
        if (!looks_up(m, k) || l->given)
            continue;
        name_of(m, k, places[0], name, sizeof name);
        quern__member member = { .name = name, .optional = true };
        status = quern__archive_read(path, &member, 1, limit, err);
        if (status >= 0 && member.bytes)
            status = quern__layer_read_vocabulary(l, member.bytes, member.n, err);
        quern__free(member.bytes);
    }
    return status;
}
