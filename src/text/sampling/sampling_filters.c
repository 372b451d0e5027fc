/* Filters of a sampler. All except temperature and min-p keep a prefix of a sorted order. A heap
 * provides the order one token at a time, so that only the kept tokens of a large vocabulary are
 * sorted. */
#include "sampler.h"

#include <math.h>
#include <string.h>

/* ---- the heap ---- */

static bool comes_before(quern__choice a, quern__choice b)
{
    return a.key != b.key ? a.key > b.key : a.id < b.id;
}

static void heap_sift_down(quern__choice *heap, int64_t n, int64_t at)
{
    quern__choice own = heap[at];
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && comes_before(heap[child + 1], heap[child]))
            child++;
        if (!comes_before(heap[child], own))
            break;
        heap[at] = heap[child];
    }
    heap[at] = own;
}

static void make_heap(quern__choice *heap, int64_t n)
{
    for (int64_t at = n / 2 - 1; at >= 0; at--)
        heap_sift_down(heap, n, at);
}

/* Removes the first of n entries. */
static quern__choice heap_take(quern__choice *heap, int64_t n)
{
    quern__choice first = heap[0];
    heap[0] = heap[n - 1];
    heap_sift_down(heap, n - 1, 0);
    return first;
}

/* Keeps the marked tokens and clears the marks. */
static void keep_marked(quern_sampler *s)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->n_kept; i++) {
        int32_t id = s->kept[i];
        if (s->marks[id])
            s->kept[n++] = id;
        s->marks[id] = 0;
    }
    s->n_kept = n;
}

/* ---- weights ---- */

/* The largest logit of the kept tokens. */
static double largest(const quern_sampler *s)
{
    double most = -INFINITY;
    for (int64_t i = 0; i < s->n_kept; i++)
        most = s->logits[s->kept[i]] > most ? s->logits[s->kept[i]] : most;
    return most;
}

/* A kept logit may be -infinity by underflow at a small temperature. If all are, all tokens get
 * the same weight. */
void quern__sample_weights(quern_sampler *s)
{
    double most = largest(s);
    s->total = 0;
    for (int64_t i = 0; i < s->n_kept; i++) {
        double l = s->logits[s->kept[i]];
        s->total += s->weights[i] = l == most ? 1 : exp(l - most);
    }
}

/* ---- filters ---- */

int quern__sample_penalty(quern_sampler *s, const int32_t *window, int64_t n, quern_error *err)
{
    double r = s->how.repetition_penalty;
    int64_t from =
        s->how.repetition_window && n > s->how.repetition_window ? n - s->how.repetition_window : 0;
    if (!++s->draw) { /* the counter has overflowed: old entries could equal new ones */
        memset(s->seen, 0, (size_t)s->vocabulary * sizeof *s->seen);
        s->draw = 1;
    }
    for (int64_t i = from; i < n; i++) {
        if (window[i] < 0 || window[i] >= s->vocabulary)
            return quern__fail(err, QUERN_INVALID, NULL,
                               "token %d at index %lld of the window is outside the %lld tokens",
                               window[i], (long long)i, (long long)s->vocabulary);
        if (s->seen[window[i]] == s->draw)
            continue;
        s->seen[window[i]] = s->draw;
        double *l = &s->logits[window[i]];
        bool finite = isfinite(*l);
        *l = *l <= 0 ? *l * r : *l / r;
        if (finite && !isfinite(*l))
            return quern__fail(err, QUERN_NUMBER, NULL, "logit %d is too large for a penalty of %g",
                               window[i], r);
    }
    return QUERN_OK;
}

void quern__sample_begin(quern_sampler *s)
{
    s->n_kept = 0;
    for (int64_t i = 0; i < s->vocabulary; i++)
        if (s->logits[i] != -INFINITY)
            s->kept[s->n_kept++] = (int32_t)i;
    if (s->how.temperature > 0)
        return;
    int32_t best = s->kept[0];
    for (int64_t i = 1; i < s->n_kept; i++)
        best = s->logits[s->kept[i]] > s->logits[best] ? s->kept[i] : best;
    s->kept[0] = best;
    s->n_kept = 1;
}

static void filter_temperature(quern_sampler *s)
{
    double most = largest(s), t = s->how.temperature;
    for (int64_t i = 0; i < s->n_kept;
         i++) /* the difference first: large logits or a small temperature cannot give NaN */
        s->logits[s->kept[i]] = (s->logits[s->kept[i]] - most) / t;
}

static void filter_top_k(quern_sampler *s)
{
    if (s->how.top_k >= s->n_kept)
        return;
    for (int64_t i = 0; i < s->n_kept; i++)
        s->heap[i] = (quern__choice){ s->logits[s->kept[i]], s->kept[i] };
    make_heap(s->heap, s->n_kept);
    for (int64_t i = 0; i < s->how.top_k; i++)
        s->marks[heap_take(s->heap, s->n_kept - i).id] = 1;
    keep_marked(s);
}

/* Nucleus sampling (Holtzman et al., 2020): keeps the most probable tokens up to a total of
 * top_p. */
static void filter_top_p(quern_sampler *s)
{
    double sum = 0;
    quern__sample_weights(s);
    for (int64_t i = 0; i < s->n_kept; i++)
        s->heap[i] = (quern__choice){ s->logits[s->kept[i]], s->kept[i] };
    make_heap(s->heap, s->n_kept);
    double most = s->heap[0].key;
    for (int64_t i = 0; i < s->n_kept && (i == 0 || sum < s->how.top_p); i++) {
        quern__choice next = heap_take(s->heap, s->n_kept - i);
        s->marks[next.id] = 1;
        sum += (next.key == most ? 1 : exp(next.key - most)) / s->total;
    }
    keep_marked(s);
}

static void filter_min_p(quern_sampler *s)
{
    quern__sample_weights(s); /* the most probable token has weight 1 */
    for (int64_t i = 0; i < s->n_kept; i++)
        s->marks[s->kept[i]] = s->weights[i] >= s->how.min_p;
    keep_marked(s);
}

/* Locally typical sampling (Meister et al., 2022): keeps the tokens with a surprise nearest to
 * the entropy. */
static void filter_typical(quern_sampler *s)
{
    double entropy = 0, sum = 0, most = largest(s);
    quern__sample_weights(s);
    /* surprise = -log p; typical tokens have a surprise near the entropy */
    double log_total = log(s->total);
    for (int64_t i = 0; i < s->n_kept; i++) {
        double surprise = log_total - (s->logits[s->kept[i]] - most), p = s->weights[i] / s->total;
        if (p > 0)
            entropy += p * surprise;
        s->heap[i] = (quern__choice){ surprise, s->kept[i] };
    }
    for (int64_t i = 0; i < s->n_kept; i++)
        s->heap[i].key = -fabs(s->heap[i].key - entropy);
    make_heap(s->heap, s->n_kept);
    for (int64_t i = 0; i < s->n_kept && (i == 0 || sum <= s->how.typical); i++) {
        int32_t id = heap_take(s->heap, s->n_kept - i).id;
        s->marks[id] = 1;
        sum += exp(s->logits[id] - most) / s->total;
    }
    keep_marked(s);
}

void quern__sample_filter(quern_sampler *s, int filter)
{
    static void (*const filters[QUERN__FILTERS])(quern_sampler *) = {
        NULL, filter_temperature, filter_top_k, filter_top_p, filter_min_p, filter_typical
    };
    filters[filter](s);
}
