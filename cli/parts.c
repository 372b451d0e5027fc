/* The names of a model's output columns. An output that predicts several columns has a part for
 * each. An output of several steps has a part for each step if the most probable class is printed.
 */
#include "predict.h"

#include <stdlib.h>
#include <string.h>

/* Whether the numbers of the part are scores of classes. */
bool cli_part_has_winner(const part *p)
{
    if (p->means == QUERN_MEANS_NUMBERS)
        return false;
    return p->classes > 0 || p->width > 1 || p->means == QUERN_MEANS_BINARY ||
           p->means == QUERN_MEANS_SIGN;
}

const char *cli_part_class(const writing *w, const part *p, int64_t k)
{
    return p->one_hot ? quern_schema_target(w->schema, p->target + (int)k)
                      : quern_schema_class(w->schema, p->target, (int)k);
}

/* "NAME", "NAME:STEP", or "NAME:predicted" if --keep prints the column NAME too. NULL: out of
 * memory. */
static char *name_of(const writing *w, const char *name, int64_t step)
{
    bool kept = false;
    char *out = malloc(strlen(name) + 32);
    for (int i = 0; i < w->n_kept; i++)
        kept = kept || !strcmp(w->kept[i], name);
    if (out && step >= 0)
        sprintf(out, "%s:%lld", name, (long long)step);
    else if (out)
        sprintf(out, "%s%s", name, kept ? ":predicted" : "");
    return out;
}

/* The parts of output i, which predicts n columns of the schema from `first` on. */
static int64_t parts_of(const writing *w, const predicted *o, int means, int n)
{
    int64_t last = o->shape.dims[o->shape.rank - 1];
    if (n > 1 && o->width % n == 0 && !(means == QUERN_MEANS_ONE_HOT && n == last && n == o->width))
        return n;
    return w->winner && n < 2 && means != QUERN_MEANS_NUMBERS && o->shape.rank > 2 ? o->width / last
                                                                                   : 1;
}

static bool add_parts(writing *w, const quern_model *m, int i)
{
    const predicted *o = &w->outputs[i];
    int n = 0, first = -1, means = quern_model_output_means(m, i);
    for (int t = quern_schema_targets(w->schema) - 1; t >= 0; t--)
        if (quern_schema_target_output(w->schema, t) == i) {
            n++;
            first = t;
        }
    int64_t parts = parts_of(w, o, means, n);
    part *grown = realloc(w->parts, (size_t)(w->n_parts + parts) * sizeof *grown);
    if (!grown)
        return false;
    w->parts = grown;
    for (int64_t k = 0; k < parts; k++) {
        bool named = n == parts && n > 0;
        part p = { .output = i,
                   .means = means,
                   .logits = quern_model_output_logits(m, i),
                   .width = o->width / parts };
        p.from = k * p.width;
        p.whole = parts == 1;
        p.one_hot = means == QUERN_MEANS_ONE_HOT && n > 1 && n == o->width && parts == 1;
        p.target = named ? first + (int)k : n == 1 || p.one_hot ? first : -1;
        p.classes = p.one_hot ? n : quern_schema_classes(w->schema, p.target);
        if (p.classes > p.width && !(p.classes <= 2 && p.width == 1))
            p.classes = 0;
        bool column = named && !p.one_hot &&
                      (p.classes || p.width == 1 || n > 1 || means == QUERN_MEANS_CLASS);
        p.name = name_of(w, column ? quern_schema_target(w->schema, p.target) : o->name,
                         parts > 1 && !named ? k : -1);
        if (!p.name)
            return false;
        w->parts[w->n_parts++] = p;
    }
    return true;
}

bool cli_parts_make(writing *w, const quern_model *m)
{
    bool made = true;
    for (int i = 0; i < w->n_outputs && made; i++)
        made = add_parts(w, m, i);
    return made;
}

void cli_parts_free(writing *w)
{
    for (int64_t i = 0; i < w->n_parts; i++)
        free(w->parts[i].name);
    free(w->parts);
}
