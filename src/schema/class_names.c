/* Sorted sets of class names. Learned names are in byte order, which is the order of the
 * classes. Names from a file keep the order of the file and have an additional index in byte
 * order, for binary search. */
#include "base/utf8.h"
#include "schema.h"

#include <string.h>

/* The position of a name in byte order, or the position at which it would be inserted. */
static int names_search(const quern__names *s, const char *name, bool *found)
{
    int low = 0, high = s->n;
    *found = false;
    while (low < high) {
        int middle = (low + high) / 2;
        int order = strcmp(name, s->list[s->sorted ? s->sorted[middle] : middle]);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

int quern__names_find(const quern__names *s, const char *name)
{
    bool found;
    int at = names_search(s, name, &found);
    return !found ? -1 : s->sorted ? s->sorted[at] : at;
}

int quern__names_add(quern__names *s, const char *name, quern_error *err)
{
    bool found;
    int at = names_search(s, name, &found);
    if (found)
        return QUERN_OK;
    if (s->n == QUERN__MOST_CLASSES)
        return quern__fail(err, QUERN_INVALID, NULL, "more than %d different names",
                           QUERN__MOST_CLASSES);
    if (strlen(name) > QUERN__MOST_NAME)
        return quern__fail(err, QUERN_INVALID, NULL, "the name '%.40s…' exceeds %d bytes", name,
                           QUERN__MOST_NAME);
    if (!quern__utf8_valid(name, strlen(name))) {
        quern__fail(err, QUERN_FORMAT, NULL, "the name '%.40s' is not UTF-8 text", name);
        quern__hint(err, "set the encoding of the file, such as --encoding latin1");
        return QUERN_FORMAT;
    }
    if (s->n == s->room) {
        int room = s->room ? 2 * s->room : 16;
        char **grown = quern__realloc(s->list, (size_t)room * sizeof *grown);
        if (!grown)
            return quern__fail_memory(err, (size_t)room * sizeof *grown);
        s->list = grown;
        s->room = room;
    }
    char *own = quern__strdup(name);
    if (!own)
        return quern__fail_memory(err, strlen(name));
    memmove(s->list + at + 1, s->list + at, (size_t)(s->n - at) * sizeof *s->list);
    s->list[at] = own;
    s->n++;
    return QUERN_OK;
}

int quern__names_join(quern__names *s, const quern__names *from, quern_error *err)
{
    int status = QUERN_OK;
    for (int i = 0; i < from->n && status >= 0; i++)
        status = quern__names_add(s, from->list[i], err);
    return status;
}

int quern__names_copy(quern__names *to, const quern__names *from, quern_error *err)
{
    *to = (quern__names){ .list = quern__zalloc((size_t)from->n + 1, sizeof *to->list),
                          .room = from->n + 1 };
    if (from->sorted)
        to->sorted = quern__zalloc((size_t)from->n + 1, sizeof *to->sorted);
    bool whole = to->list && (to->sorted || !from->sorted);
    for (; whole && to->n < from->n; to->n += whole) {
        to->list[to->n] = quern__strdup(from->list[to->n]);
        whole = to->list[to->n] != NULL;
        if (whole && to->sorted)
            to->sorted[to->n] = from->sorted[to->n];
    }
    return whole ? QUERN_OK : quern__fail_memory(err, (size_t)from->n * sizeof *to->list);
}

void quern__names_free(quern__names *s)
{
    for (int i = 0; i < s->n; i++)
        quern__free(s->list[i]);
    quern__free(s->list);
    quern__free(s->sorted);
    *s = (quern__names){ 0 };
}
