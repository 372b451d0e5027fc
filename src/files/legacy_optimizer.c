/* legacy_optimizer: the state of optimizers in `.h5` files. Keras 3 writes it in its order. Keras 2
 * writes names of slots: before TensorFlow 2.11 "Adam/dense/kernel/m:0", slot by slot; since then
 * "Adam/m/dense/kernel:0", variable by variable. */
#include "legacy.h"
#include "model/model_struct.h"

#include <string.h>

enum { SLOTS = 3, AVERAGE = SLOTS, PRODUCT, NO_SLOT = -1 };

static bool is_kind(const quern__optimizer *o, const char *name)
{
    return !strcmp(o->kind->name, name);
}

/* The slot for a word of Keras 2; -1: none. */
static int slot_called(const quern__optimizer *o, const char *word, size_t n)
{
    static const struct {
        const char *name;
        int which;
    } slots[] = { { "m", 0 },
                  { "v", 1 },
                  { "u", 1 },
                  { "vhat", 2 },
                  { "rms", 0 },
                  { "mg", 2 },
                  { "velocity", 0 },
                  { "average_gradient", 2 },
                  { "accumulator", 0 },
                  { "accum_grad", 0 },
                  { "accum_var", 1 },
                  { "accumulated_grad", 0 },
                  { "accumulated_delta_var", 1 },
                  { "momentum", 0 },
                  { "linear", 1 },
                  { "average", AVERAGE },
                  { "momentum_cache", PRODUCT } };
    bool factors = is_kind(o, "Adafactor");
    if (factors && n == 1 && (*word == 'r' || *word == 'c' || *word == 'v'))
        return *word == 'r' ? 0 : *word == 'c' ? 1 : 2;
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++)
        if (strlen(slots[i].name) == n && !strncmp(word, slots[i].name, n))
            return !strcmp(slots[i].name, "momentum") && is_kind(o, "RMSprop") ? 1 : slots[i].which;
    return NO_SLOT;
}

/* The slot for a full name: for its last word, or (`second`, since TensorFlow 2.11) for its second.
 */
static int slot_of(const quern__optimizer *o, const char *name, bool second)
{
    const char *slash = second ? strchr(name, '/') : strrchr(name, '/');
    return slash ? slot_called(o, slash + 1, strcspn(slash + 1, second ? "/" : ":")) : NO_SLOT;
}

static bool is_rate(const char *name)
{
    const char *slash = strrchr(name, '/'), *last = slash ? slash + 1 : name;
    return !strncmp(last, "learning_rate", 13) || !strncmp(last, "current_learning_rate", 21);
}

/* Whether each name except the first two has a word for a slot. */
static bool by_slots(const quern__optimizer *o, const quern__names *file, bool second)
{
    for (int i = 1; i < file->n; i++)
        if (!is_rate(file->list[i]) && slot_of(o, file->list[i], second) == NO_SLOT)
            return false;
    return file->n > 1;
}

/* The next variable with that slot: Keras 2 has factored moments of matrices only. */
static quern__variable *next_slot(const quern__optimizer *o, int which, int *counts)
{
    int k = counts[which]++;
    if (is_kind(o, "Adafactor") && which < 2)
        for (; k < o->n && o->trained[k]->shape.rank < 2; k++)
            counts[which]++;
    if (k >= o->n)
        return NULL;
    if (which == AVERAGE)
        return o->averages ? o->averages[k] : NULL;
    return o->place[k][which] < 0 ? NULL : o->slots[o->place[k][which]];
}

/* Matches the names of Keras 2 with variables. SGD without momentum has slots there that are not
 * read. */
static bool match_slots(const quern__optimizer *o, const quern__names *file, bool second,
                        quern__variable **out)
{
    int counts[AVERAGE + 1] = { 0 };
    bool idle = is_kind(o, "SGD") && o->n && o->place[0][0] < 0;
    out[0] = o->iteration;
    for (int i = 1; i < file->n; i++) {
        int which = slot_of(o, file->list[i], second);
        if (is_rate(file->list[i]))
            out[i] = o->schedule ? NULL : o->rate;
        else if (which == PRODUCT)
            out[i] = is_kind(o, "Nadam") ? o->slots[o->n_slots - 1] : NULL;
        else if (!(out[i] = next_slot(o, which, counts)) && !(idle && which == 0))
            return false;
    }
    return true;
}

/* Matches by Keras 3's order; Keras 2 may omit the rate. */
static bool match_order(const quern__optimizer *o, const quern__names *file, quern__variable **out)
{
    int n = quern__optimizer_count(o, false), first = o->schedule ? 1 : 2;
    bool rate = file->n > 1 && is_rate(file->list[1]);
    for (int i = 0; i < file->n; i++) {
        out[i] =
            i == 0 ? o->iteration : quern__optimizer_variable(o, rate || first == 1 ? i : i + 1);
        if (!out[i])
            return false;
    }
    return file->n == n || (!rate && file->n + first - 1 == n);
}

/* Matches the file's variables by slot names or by order, and reads them; a mismatch is a warning.
 */
static int read_state(quern_model *m, quern__h5 *h, uint64_t group, const quern__names *file,
                      quern_error *err)
{
    quern__optimizer *o = m->optimizer;
    quern__variable **own = quern__zalloc((size_t)file->n, sizeof *own);
    if (!own)
        return quern__fail_memory(err, (size_t)file->n * sizeof *own);
    bool late = by_slots(o, file, true), early = !late && by_slots(o, file, false);
    bool fits = late || early ? match_slots(o, file, late, own) : match_order(o, file, own),
         product = false;
    int status = QUERN_OK;
    uint64_t object;
    if (!fits &&
        file->n > 2) /* otherwise the optimizer only has its count and rate: it never made a step */
        quern__warn(
            "%s: the optimizer starts from the beginning: its state in the file is not that of %s",
            h->where, o->kind->name);
    for (int i = 0; i < file->n && status >= 0 && fits; i++) {
        if (!own[i])
            continue;
        status = quern__h5_find(h, group, file->list[i], &object, err);
        if (status == QUERN_END)
            status = quern__fail(err, QUERN_FORMAT, h->where, "optimizer weight %.100s is missing",
                                 file->list[i]);
        if (status >= 0)
            status = quern__h5_read_variable(h, object, h->where, own[i], err);
        product = product || (o->n_slots && own[i] == o->slots[o->n_slots - 1]);
    }
    if (fits && late && !product && is_kind(o, "Nadam"))
        quern__nadam_resume(o);
    quern__free(own);
    return status;
}

int quern__legacy_optimizer(quern_model *m, quern__h5 *h, quern_error *err)
{
    uint64_t group;
    quern__names file;
    int status = quern__h5_find(h, h->root, "optimizer_weights", &group, err);
    if (status < 0)
        return status;
    if (!m->optimizer || status != QUERN_OK)
        return QUERN_OK;
    status = quern__legacy_names(h, group, "weight_names", &file, err);
    if (status < 0)
        return status;
    if (status != QUERN_OK || file.n == 0)
        return QUERN_OK;
    status = read_state(m, h, group, &file, err);
    quern__legacy_names_free(&file);
    return status;
}
