/* One step of beam search: selects the best of all continuations by insertion into the short
 * list of kept beams. The value of a beam is score / length^length_penalty. */
#include "base/base.h"

#include <math.h>
#include <quern/text.h>

static double scale_of(int64_t length, double length_penalty)
{
    return length_penalty == 0 || length < 1 ? 1 : pow((double)length, length_penalty);
}

/* The best beams so far, in descending order. */
typedef struct ranking {
    quern_beam *best;
    int64_t n, keep;
    double length_penalty, worst; /* worst: value of the last beam */
} ranking;

static double value_at(const ranking *r, int64_t i)
{
    return r->best[i].score / scale_of(r->best[i].length, r->length_penalty);
}

/* Inserts a continuation in descending order of value. Equal values keep the order of beam and
 * token. */
static void ranking_insert(ranking *r, quern_beam b, double value)
{
    if (r->n == r->keep && !(value > r->worst))
        return;
    int64_t at = r->n < r->keep ? r->n++ : r->n - 1;
    for (; at > 0 && value > value_at(r, at - 1); at--)
        r->best[at] = r->best[at - 1];
    r->best[at] = b;
    r->worst = value_at(r, r->n - 1);
}

int64_t quern_beam_step(const quern_beam *beams, int64_t n, const float *log_probs,
                        int64_t vocabulary, int32_t end, double length_penalty, quern_beam *best,
                        int64_t keep, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "beams", beams, "log_probs", log_probs, "best", best);
    ranking r = { .best = best, .keep = keep, .length_penalty = length_penalty };
    if (n < 1 || n > INT32_MAX || vocabulary < 1 || vocabulary > INT32_MAX || keep < 1 ||
        !isfinite(length_penalty))
        return quern__fail(
            err, QUERN_INVALID, "beam search",
            "invalid arguments: %lld beams of %lld tokens, %lld kept, length_penalty %g",
            (long long)n, (long long)vocabulary, (long long)keep, length_penalty);
    for (int32_t from = 0; from < (int32_t)n; from++) {
        const quern_beam *b = &beams[from];
        double scale = scale_of(b->length + !b->ended, length_penalty);
        if (b->ended)
            ranking_insert(&r, (quern_beam){ b->score, b->length, from, -1, 1, 0 },
                           b->score / scale);
        for (int32_t token = 0; !b->ended && token < (int32_t)vocabulary; token++) {
            double p = (double)log_probs[from * vocabulary + token], score = b->score + p;
            if (isnan(p) || p == INFINITY)
                return quern__fail(err, QUERN_NUMBER, "beam search",
                                   "log-probability of token %d of beam %d is %g", token, from, p);
            if (p != -INFINITY)
                ranking_insert(&r,
                               (quern_beam){ score, b->length + 1, from, token, token == end, 0 },
                               score / scale);
        }
    }
    return r.n;
}
