/* rearrange_ops: Rearrange, the pattern language of einops: "b (h w) c -> b c h w". The axes of the
 * left side are split, transposed and merged. Semantics: keras.src.ops.einops of Keras 3.15. */
#include "operations.h"

#include <string.h>

enum { most = QUERN_MAX_RANK, name_size = 32 };

/* One side of a pattern: names of axes, in groups that are one axis of the tensor. */
typedef struct side {
    char name[most][name_size];
    int group[most], n, groups;
} side;

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Reads a side up to "->" or the end. Returns false: not a pattern. */
static bool read_side(const char **at, side *s)
{
    bool open = false;
    for (; **at && strncmp(*at, "->", 2);) {
        size_t length = 0;
        while (is_name((*at)[length]))
            length++;
        if (length) {
            if (s->n == most || length >= name_size)
                return false;
            memcpy(s->name[s->n], *at, length);
            s->group[s->n++] = open ? s->groups - 1 : s->groups++;
            *at += length;
        } else if (**at == '(' && !open && s->groups < most)
            open = true, s->groups++, ++*at;
        else if (**at == ')' && open)
            open = false, ++*at;
        else if (**at == ' ')
            ++*at;
        else
            return false;
    }
    return !open;
}

static int find(const side *s, const char *name)
{
    for (int i = 0; i < s->n; i++)
        if (!strcmp(s->name[i], name))
            return i;
    return -1;
}

/* The sizes of the names of a side, from the sizes of its groups and of the call. In a group, one
 * name may be without a size. */
static bool name_sizes(json_t *given, const side *s, const quern_shape *shape, int64_t *sizes)
{
    for (int group = 0; group < s->groups; group++) {
        int64_t known = 1;
        int open = -1, count = 0, last = 0;
        for (int i = 0; i < s->n; i++) {
            json_t *own = json_object_get(given, s->name[i]);
            if (s->group[i] != group)
                continue;
            count++;
            last = i;
            sizes[i] = json_integer_value(own);
            if (!json_is_integer(own) && open >= 0)
                return false;
            open = json_is_integer(own) ? open : i;
            known *= json_is_integer(own) ? sizes[i] : 1;
        }
        if (count == 1)
            sizes[last] = shape->dims[group];
        else if (!count || known < 1 || shape->dims[group] % known ||
                 (open < 0 && known != shape->dims[group]))
            return false;
        else if (open >= 0)
            sizes[open] = shape->dims[group] / known;
    }
    return true;
}

/* Checks that all keywords of the call are names of a side. */
static bool names_fit(json_t *given, const side *s)
{
    const char *key;
    json_t *v;
    json_object_foreach(given, key, v) if (strcmp(key, "pattern") && find(s, key) < 0) return false;
    return true;
}

static quern__id rearrange(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    (void)training;
    quern__id x = quern__operand(l, g, in, n, "tensor");
    const char *text = quern__config_text(l->context->options, "pattern"), *at = text ? text : "";
    side from = { .n = 0 }, to = { .n = 0 };
    int64_t sizes[most] = { 0 };
    quern_shape apart = { 0 }, out = { 0 };
    int order[most];
    if (!x)
        return 0;
    bool fits = read_side(&at, &from) && !strncmp(at, "->", 2);
    at += fits ? 2 : 0;
    fits = fits && read_side(&at, &to) && !*at && from.n == to.n &&
           from.groups == quern__op_rank(g, x) && names_fit(l->context->options, &from) &&
           name_sizes(l->context->options, &from, quern__shape_of(g, x), sizes);
    apart.rank = from.n;
    out.rank = to.groups;
    for (int i = 0; i < to.groups; i++)
        out.dims[i] = 1;
    for (int i = 0; fits && i < to.n; i++) {
        order[i] = find(&from, to.name[i]);
        fits = order[i] >= 0;
        apart.dims[i] = sizes[i];
        if (fits)
            out.dims[to.group[i]] *= sizes[order[i]];
    }
    if (!fits)
        return quern__graph_fail(g, QUERN_INVALID, "the pattern '%.60s' does not fit",
                                 text ? text : "?");
    return quern__reshape(g, quern__transpose(g, quern__reshape(g, x, &apart), order), &out);
}

static const quern__call_arg rearrange_args[] = {
    { "tensor", false }, { "pattern", false }, { "**axes_lengths", false }, { 0 }
};
QUERN__OPERATION_ROW(rearrange, "Rearrange", "einops", NULL, rearrange, rearrange_args, 0);
