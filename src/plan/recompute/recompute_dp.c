/* The fastest schedule of a chain of stages, forward and backward, within some memory: which
 * activations are kept, and which are recomputed. Exact dynamic programming over (first stage, last
 * stage, memory), as in Beaumont, Herrmann, Pallez and Shilova, "Optimal memory-aware
 * backpropagation of deep join networks" (2020).
 *
 * A part of the chain, stages first … last, whose inputs are available begins in one of three ways:
 *
 *   keep     store all: run the first stage and keep what its backward pass reads; the rest of
 *            the part; its backward pass
 *   lighten  store heavy ops only: keep products and what later stages read; the rest; recompute
 *            the cheap nodes; backward pass
 *   pass     checkpoint: run the stages before `upto` and keep only what goes across; the part
 *            from `upto`; the stages before it again
 *
 * The table has the seconds of the best beginning for each part and each memory. fill_row computes
 * it from shorter parts, so the table grows by length. It does not store the choices: emit_steps()
 * finds them again by best_choice, part by part.
 *
 * Memory is counted in `units`. The arena of the rewritten graph is measured afterwards. */
#include "recompute.h"

#include <math.h>

enum { units = 160 };

/* The sizes of a stage in units of memory; the names are those of quern__stage. */
typedef struct sizes {
    int kept, light, passing, keeping, back;
} sizes;

typedef struct table {
    const quern__chain *c;
    int n; /* stages */
    sizes sizes[QUERN__STAGES];
    int across[QUERN__STAGES][QUERN__STAGES + 1];
    float
        *least; /* [first][last][memory]: seconds of all forward runs; INFINITY: it does not fit */
} table;

typedef struct choice {
    enum { keep, lighten, pass } how;
    int upto; /* pass: the first stage after the checkpoint */
    float seconds;
} choice;

/* The cells of a part, by memory from 0 to `units`. */
static float *table_row(const table *t, int first, int last)
{
    return t->least + ((size_t)first * (size_t)t->n + (size_t)last) * (units + 1);
}

/* Seconds of the stages that remain; an empty part takes none. */
static float best_time(const table *t, int first, int last, int memory)
{
    return memory < 0 ? INFINITY : first > last ? 0 : table_row(t, first, last)[memory];
}

/* The better of keep and lighten. */
static choice begin_alone(const table *t, int first, int last, int memory)
{
    const quern__stage *s = &t->c->stages[first];
    const sizes *own = &t->sizes[first];
    choice best = { .seconds = INFINITY };
    if (own->kept + own->back > memory)
        return best;
    /* keep needs the peak of the stage now and its results during the rest */
    if (own->keeping <= memory)
        best = (choice){ keep, 0,
                         (float)s->seconds + best_time(t, first + 1, last, memory - own->kept) };
    /* lighten recomputes after the rest; without a rest it saves nothing */
    if (first < last) {
        choice other = { lighten, 0,
                         (float)(s->seconds + s->slight) +
                             best_time(t, first + 1, last, memory - own->light) };
        best = other.seconds < best.seconds ? other : best;
    }
    return best;
}

/* The peak of running stages first … upto - 1 without keeping. `before` is the same peak for upto -
 * 1; both include what goes across to the stage that runs. */
static int pass_peak(const table *t, int first, int upto, int before)
{
    int own = (upto - 1 > first ? t->across[first][upto - 1] : 0) + t->sizes[upto - 1].passing;
    return own > before ? own : before;
}

/* The seconds of one part for each memory. Rows of all shorter parts are complete. */
static void fill_row(const table *t, int first, int last)
{
    float *to = table_row(t, first, last), own = 0;
    for (int memory = 0; memory <= units; memory++)
        to[memory] = begin_alone(t, first, last, memory).seconds;
    /* checkpoints before stage `upto`: `held` goes across, `own` is the time of the first run */
    for (int upto = first + 1, least = 0; upto <= last; upto++) {
        int held = t->across[first][upto];
        const float *later = table_row(t, upto, last), *before = table_row(t, first, upto - 1);
        least = pass_peak(t, first, upto, least);
        own += (float)t->c->stages[upto - 1].seconds;
        for (int memory = least > held ? least : held; memory <= units; memory++) {
            float seconds = own + later[memory - held] + before[memory];
            to[memory] = seconds < to[memory] ? seconds : to[memory];
        }
    }
}

/* The choice whose seconds fill_row stored; the same comparisons in the same order. */
static choice best_choice(const table *t, int first, int last, int memory)
{
    choice best = begin_alone(t, first, last, memory);
    float own = 0;
    for (int upto = first + 1, least = 0; upto <= last; upto++) {
        int held = t->across[first][upto];
        least = pass_peak(t, first, upto, least);
        own += (float)t->c->stages[upto - 1].seconds;
        if (memory < least || memory < held)
            continue;
        float seconds =
            own + best_time(t, upto, last, memory - held) + best_time(t, first, upto - 1, memory);
        if (seconds < best.seconds)
            best = (choice){ pass, upto, seconds };
    }
    return best;
}

/* Runs the schedule of a part through the actions of `steps`. */
static void emit_steps(const table *t, int first, int last, int memory, const quern__steps *steps)
{
    if (first > last)
        return;
    choice how = best_choice(t, first, last, memory);
    const sizes *own = &t->sizes[first];
    /* forward to the checkpoint, the part after it, then the part before it from its start */
    if (how.how == pass) {
        for (int k = first; k < how.upto; k++)
            steps->make(steps->user, k);
        emit_steps(t, how.upto, last, memory - t->across[first][how.upto], steps);
        emit_steps(t, first, how.upto - 1, memory, steps);
        return;
    }
    steps->make(steps->user, first);
    emit_steps(t, first + 1, last, memory - (how.how == keep ? own->kept : own->light), steps);
    if (how.how == lighten)
        steps->slight(steps->user, first);
    steps->back(steps->user, first);
}

/* The peak when every activation is kept. */
static int64_t all_kept(const quern__chain *c)
{
    int64_t before = 0, most = 1;
    for (int i = 0; i < c->n; i++) {
        const quern__stage *s = &c->stages[i];
        int64_t own = before + (s->keeping > s->kept + s->back ? s->keeping : s->kept + s->back);
        most = own > most ? own : most;
        before += s->kept;
    }
    return most;
}

/* Converts bytes to units, rounded to the nearest. A unit is chosen so that rounding errors of all
 * stages together stay within `units`. */
static void set_unit(table *t)
{
    const quern__chain *c = t->c;
    double unit = (double)all_kept(c) / (units - t->n / 2);
    for (int i = 0; i < t->n; i++) {
        const quern__stage *s = &c->stages[i];
        t->sizes[i] = (sizes){ .kept = (int)((double)s->kept / unit + 0.5),
                               .light = (int)((double)s->light / unit + 0.5),
                               .passing = (int)((double)s->passing / unit + 0.5),
                               .keeping = (int)((double)s->keeping / unit + 0.5),
                               .back = (int)((double)s->back / unit + 0.5) };
        for (int j = 0; j <= t->n; j++)
            t->across[i][j] = (int)((double)c->across[i][j] / unit + 0.5);
    }
}

double quern__schedule(const quern__chain *c, int level, const quern__steps *steps)
{
    /* a float for each (first, last, memory), about 1.5 MB for 48 stages */
    size_t cells = (size_t)c->n * (size_t)c->n * (units + 1);
    table *t = quern__alloc(sizeof *t);
    float *cell = quern__alloc(cells * sizeof *cell);
    double once = 0, seconds = -1, part = (double)level / QUERN__RECOMPUTE_LEVELS;
    int least = 0;
    if (t && cell) {
        *t = (table){ .c = c, .n = c->n, .least = cell };
        set_unit(t);
        /* shorter parts first */
        for (int length = 1; length <= t->n; length++)
            for (int first = 0; first + length <= t->n; first++)
                fill_row(t, first, first + length - 1);
        /* the smallest memory that works; levels interpolate geometrically between it and all */
        while (least < units && isinf(table_row(t, 0, t->n - 1)[least]))
            least++;
        for (int k = 0; k < t->n; k++)
            once += c->stages[k].seconds;
        int memory = (int)(pow(units, 1 - part) * pow(least ? least : 1, part) + 0.5);
        seconds = table_row(t, 0, t->n - 1)[memory] - once;
        emit_steps(t, 0, t->n - 1, memory, steps);
        seconds = seconds > 0 ? seconds : 0;
    }
    quern__free(t);
    quern__free(cell);
    return seconds;
}
