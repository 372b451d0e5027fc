/* Arena layout: live ranges with sizes become offsets such that values that are live at the same
 * time do not overlap (dynamic storage allocation). A range is a rectangle: its phases wide, its
 * bytes high. Only offsets are free.
 *
 * First fit is run over several orders of the ranges, until the height is within 1 % of the lower
 * bound: the largest sum of live values in one phase. First come four sorted orders. Then local
 * search moves one range of the last order towards its front. The best offsets are kept. The random
 * choices of the search are hashes of the try's number, so the layout is deterministic.
 *
 * One first fit takes O(n²) for n ranges; most_work limits the total. */
#include "plan.h"

#include <string.h>

enum { alignment = 64, most_tries = 400, enough_percent = 1, most_work = 40000000 };

typedef struct placing {
    quern__live_range *ranges;
    int n;
    int *order, *placed, *best_order; /* ranges to fill; placed ones by offset; last order */
    int64_t *best;                    /* by range: the offset in the best layout */
} placing;

/* Whether two ranges are live in a common phase. */
static bool live_together(const quern__live_range *a, const quern__live_range *b)
{
    return a->start <= b->end && b->start <= a->end;
}

/* First fit: each range in turn at the lowest free offset. Returns the height; stops as soon as the
 * height reaches `best`. */
static size_t place_first_fit(placing *p, size_t best)
{
    size_t height = 0;
    int n_placed = 0;
    for (int k = 0; k < p->n && height < best; k++) {
        quern__live_range *next = &p->ranges[p->order[k]];
        /* raise the offset above each placed range that is live at the same time, until a gap is
         * large enough */
        size_t at = 0;
        for (int i = 0; i < n_placed; i++) { /* in order of offsets */
            const quern__live_range *other = &p->ranges[p->placed[i]];
            if ((size_t)other->offset >= at + next->bytes)
                break;
            if (live_together(other, next) && (size_t)other->offset + other->bytes > at)
                at = (size_t)other->offset + other->bytes;
        }
        next->offset = (int64_t)at;
        /* insert into the list of placed ranges, sorted by offset */
        int i = n_placed++;
        for (; i > 0 && p->ranges[p->placed[i - 1]].offset > next->offset; i--)
            p->placed[i] = p->placed[i - 1];
        p->placed[i] = p->order[k];
        height = at + next->bytes > height ? at + next->bytes : height;
    }
    return height;
}

/* Sort keys, largest first: size, size × length, length, earliest start. Ties keep their order. */
static double sort_key(const quern__live_range *x, int by)
{
    double length = (double)x->end - (double)x->start + 1;
    const double keys[] = { (double)x->bytes, (double)x->bytes * length, length,
                            -(double)x->start };
    return keys[by];
}

static void sort_ranges(placing *p, int by)
{
    for (int k = 0; k < p->n; k++)
        p->order[k] = k;
    for (int gap = p->n / 2; gap > 0; gap /= 2) /* Shell sort: qsort passes no context */
        for (int k = gap; k < p->n; k++) {
            int own = p->order[k], i = k;
            double w = sort_key(&p->ranges[own], by);
            for (; i >= gap; i -= gap) {
                int other = p->order[i - gap];
                double v = sort_key(&p->ranges[other], by);
                if (v > w || (v == w && other < own))
                    break;
                p->order[i] = other;
            }
            p->order[i] = own;
        }
}

/* Stores the layout of this try if it is the best so far. */
static void keep_best(placing *p, size_t height, size_t *best)
{
    if (height >= *best)
        return;
    *best = height;
    memcpy(p->best_order, p->order, (size_t)p->n * sizeof *p->order);
    for (int k = 0; k < p->n; k++)
        p->best[k] = p->ranges[k].offset;
}

/* Local search: the topmost range of the best layout moves towards the front of the order, because
 * a late range gets a high offset. Every second try moves a pseudo-random range instead. Every
 * third try moves it to the front, the others half of the way. */
static void promote_range(placing *p, size_t best, int64_t number)
{
    int at = 0;
    memcpy(p->order, p->best_order, (size_t)p->n * sizeof *p->order);
    for (int k = 0; k < p->n; k++)
        if ((size_t)p->best[p->order[k]] + p->ranges[p->order[k]].bytes == best)
            at = k;
    if (number % 2 || !at)
        at = (int)(quern__hash64((uint64_t)number) % (uint64_t)p->n);
    int own = p->order[at], to = number % 3 ? at / 2 : 0;
    memmove(p->order + to + 1, p->order + to, (size_t)(at - to) * sizeof *p->order);
    p->order[to] = own;
}

/* Fills `live` with the bytes of each phase by a running sum. Returns the largest. */
static size_t lower_bound(const quern__live_range *ranges, int n, int n_phases, size_t *live)
{
    size_t most = 0, now = 0;
    memset(live, 0, ((size_t)n_phases + 1) * sizeof *live);
    for (int k = 0; k < n; k++) {
        live[ranges[k].start] += ranges[k].bytes;
        if (ranges[k].end + 1 < n_phases)
            live[ranges[k].end + 1] -= ranges[k].bytes; /* modulo 2^64; the running sum is right */
    }
    for (int i = 0; i < n_phases; i++) {
        now += live[i];
        live[i] = now;
        most = now > most ? now : most;
    }
    return most;
}

int quern__plan_arena_layout(quern__live_range *ranges, int n, int n_phases, size_t *live,
                             quern__arena *out, quern_error *err)
{
    size_t count = (size_t)n + 1, best = SIZE_MAX;
    placing p = { .ranges = ranges, .n = n };
    p.order = quern__alloc(3 * count * sizeof *p.order);
    p.best = quern__alloc(count * sizeof *p.best);
    int status = p.order && p.best ? QUERN_OK : quern__fail_memory(err, count * 20);
    if (status >= 0) {
        p.placed = p.order + count;
        p.best_order = p.placed + count;
        out->bound = lower_bound(ranges, n, n_phases, live);
        /* the number of tries falls with the square of the number of ranges */
        size_t enough = out->bound + out->bound / 100 * enough_percent;
        int64_t tries = most_work / (1 + (int64_t)n * n);
        tries = tries < 4 ? 4 : tries > most_tries ? most_tries : tries;
        for (int64_t k = 0; k < tries && best > enough; k++) {
            if (k < 4)
                sort_ranges(&p, (int)k);
            else
                promote_range(&p, best, k);
            if (k < 4)
                keep_best(&p, place_first_fit(&p, best), &best);
            else {
                size_t height = place_first_fit(&p, best);
                if (height >=
                    best) { /* the search continues from the new order, without its offsets */
                    memcpy(p.best_order, p.order, (size_t)n * sizeof *p.order);
                    continue;
                }
                keep_best(&p, height, &best);
            }
        }
        for (int k = 0; k < n; k++)
            ranges[k].offset = p.best[k];
        out->height = n ? best : 0;
    }
    quern__free(p.order);
    quern__free(p.best);
    return status;
}
