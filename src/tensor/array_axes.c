/* Compares shapes axis by axis. Arrays with equal sizes in another order of axes do not match;
 * the hint says how to reorder them. */
#include "array_axes.h"

#include <stdio.h>
#include <string.h>

static bool same_dims(const int64_t *a, const int64_t *b, int n)
{
    return n <= 0 || !memcmp(a, b, (size_t)n * sizeof *a);
}

bool quern__axes_fit(const quern_shape *have, const quern_shape *want)
{
    int least = have->rank < want->rank ? have->rank : want->rank;
    const quern_shape *more = have->rank > want->rank ? have : want;
    return least >= 1 && same_dims(have->dims + 1, want->dims + 1, least - 1) &&
           (more->rank == least || (more->rank == least + 1 && more->dims[least] == 1));
}

quern_shape quern__axes_turned(const quern_shape *s)
{
    quern_shape out = *s;
    if (s->rank < 3)
        return out;
    memmove(out.dims + 1, out.dims + 2, (size_t)(s->rank - 2) * sizeof *out.dims);
    out.dims[s->rank - 1] = s->dims[1];
    return out;
}

bool quern__has_channels(const quern_shape *have, const quern_shape *want)
{
    return have->rank >= 3 && have->rank >= want->rank;
}

int quern__data_format(const char *word, bool *first, quern_error *err)
{
    *first = word && !strcmp(word, "channels_first");
    if (!word || *first || !strcmp(word, "channels_last"))
        return QUERN_OK;
    return quern__fail(err, QUERN_INVALID, "data_format",
                       "'%.40s' is not channels_first or channels_last", word);
}

/* ---- hints ---- */

static int64_t record_size(const quern_shape *s)
{
    int64_t n = 1;
    for (int i = 1; i < s->rank; i++)
        if (__builtin_mul_overflow(n, s->dims[i], &n))
            return -1;
    return n;
}

/* Finds the permutation of axes from `have` to `want`: places[i] is the axis of `have`. False:
 * it does not exist. */
static bool axes_permuted(const quern_shape *have, const quern_shape *want, int *places)
{
    unsigned used = 0;
    bool all = have->rank == want->rank;
    for (int i = 1; i < want->rank && all; i++) {
        int k = 1;
        while (k < have->rank && (used & 1u << k || have->dims[k] != want->dims[i]))
            k++;
        all = k < have->rank;
        used |= 1u << k;
        places[i] = k;
    }
    return all;
}

/* The arguments of NumPy's reshape: "-1, 28, 28". */
static const char *reshape_text(const quern_shape *want, char *text, size_t size)
{
    size_t n = (size_t)snprintf(text, size, "-1");
    for (int i = 1; i < want->rank && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, ", %lld", (long long)want->dims[i]);
    return text;
}

/* Adds the hint: transpose, permute or reshape, whichever gives the wanted shape. */
static void axes_hint(const quern_shape *have, const quern_shape *want, bool input,
                      quern_error *err)
{
    char text[160] = "0";
    int places[QUERN_MAX_RANK];
    quern_shape last = quern__axes_turned(have);
    const char *array = input ? "x" : "y";
    if (have->rank < 1 || have->rank > QUERN_MAX_RANK)
        return;
    if (have->rank >= 3 && input && quern__axes_fit(&last, want))
        quern__hint(err, "add --data-format channels_first: the channels are on axis 1");
    else if (axes_permuted(have, want, places)) {
        size_t n = 1;
        for (int i = 1; i < want->rank; i++)
            n += (size_t)snprintf(text + n, sizeof text - n, ", %d", places[i]);
        quern__hint(err, "reorder the axes: save np.transpose(%s, (%s))", array, text);
    } else if (record_size(have) == record_size(want) && want->rank == 2 && input)
        quern__hint(err, "add flatten to the model, or save x.reshape(%s)",
                    reshape_text(want, text, sizeof text));
    else if (record_size(have) == record_size(want))
        quern__hint(err, "save %s.reshape(%s)", array, reshape_text(want, text, sizeof text));
}

int quern__axes_check(const char *where, const quern_shape *have, const quern_shape *want,
                      const char *name, bool input, quern_error *err)
{
    char has[96], wants[96], of[80] = "";
    int axis = 1;
    if (quern__axes_fit(have, want))
        return QUERN_OK;
    if (name && *name)
        snprintf(of, sizeof of, " for '%.60s'", name);
    quern_shape_text(have, has, sizeof has);
    quern_shape_text(want, wants, sizeof wants);
    while (axis < have->rank && axis < want->rank && have->dims[axis] == want->dims[axis])
        axis++;
    if (have->rank == want->rank && axis < have->rank)
        quern__fail(err, QUERN_SHAPE, where,
                    "has shape %s: axis %d is %lld, the model expects %lld %s%s", has, axis,
                    (long long)have->dims[axis], (long long)want->dims[axis], wants, of);
    else
        quern__fail(err, QUERN_SHAPE, where, "has shape %s, the model expects %s%s", has, wants,
                    of);
    axes_hint(have, want, input, err);
    return QUERN_SHAPE;
}

/* ---- order of elements ---- */

quern__walk quern__walk_of(const quern_shape *s, int from, bool fortran, int channel)
{
    quern__walk w = { .n = s->rank - from };
    int64_t step = 1, steps[QUERN_MAX_RANK] = { 0 };
    if (channel >= 0) {
        steps[channel] = step;
        step *= s->dims[channel];
    }
    for (int i = s->rank - 1; i >= from; i--)
        if (i != channel) {
            steps[i] = step;
            step *= s->dims[i];
        }
    for (int i = 0; i < w.n; i++) {
        int axis = fortran ? from + i : s->rank - 1 - i;
        w.size[i] = s->dims[axis];
        w.step[i] = steps[axis];
    }
    return w;
}
