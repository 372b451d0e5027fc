/* Bad records: skipped, substituted, or the end of the run. A reader thread adds them to the
 * list of its batch. The trainer counts and logs them when it takes the batch. Therefore the
 * record that exceeds the limit depends on the order of batches only, not on threads. */
#include "generator_struct.h"

#include <string.h>

enum { usual_most = 100, most_logged = 10 };
static const char *const words[] = { "fail", "skip", "substitute" };

int quern_generator_set_bad_records(quern_generator *g, int policy, int64_t most, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "generator", g);
    const char *where = g->where ? g->where : "generator";
    if (policy < QUERN_BAD_FAIL || policy > QUERN_BAD_SUBSTITUTE || most < 0)
        return quern__fail(err, QUERN_INVALID, "bad_records", "policy %d or limit %lld is invalid",
                           policy, (long long)most);
    if (policy != QUERN_BAD_FAIL && !(g->bad.can >> policy & 1))
        return quern__fail(
            err, QUERN_INVALID, "bad_records", "'%s' does not apply to %s%s", words[policy], where,
            g->bad.can >> QUERN_BAD_SKIP & 1         ? ": no record can substitute a bad one"
            : g->bad.can >> QUERN_BAD_SUBSTITUTE & 1 ? ": the rows of a window must be consecutive"
                                                     : ": no record can be skipped");
    if (policy != QUERN_BAD_FAIL && !g->bad.places &&
        !(g->bad.places = quern__zalloc(QUERN__BAD_KEPT, sizeof *g->bad.places)))
        return quern__fail_memory(err, QUERN__BAD_KEPT * sizeof *g->bad.places);
    g->bad.policy = policy;
    g->bad.most = most ? most : usual_most;
    g->bad.epoch = g->bad.all = 0;
    return QUERN_OK;
}

int64_t quern_generator_bad_records(const quern_generator *g) { return g ? g->bad.all : 0; }

const quern_error *quern_generator_bad_record(const quern_generator *g, int64_t i)
{
    if (!g)
        return NULL;
    return i >= 0 && i < g->bad.all && i < QUERN__BAD_KEPT ? &g->bad.places[i] : NULL;
}

int quern__bad_record(quern__bad *bad, int status, const quern_error *own, quern_error *err)
{
    bool of_data = status == QUERN_FORMAT || status == QUERN_INVALID || status == QUERN_NUMBER ||
                   status == QUERN_SHAPE || status == QUERN_IO;
    if (bad && of_data) {
        if (bad->count < QUERN__BAD_KEPT)
            bad->places[bad->count] = *own;
        if (++bad->count <= bad->most)
            return QUERN_OK;
    }
    if (err && !err->code)
        *err = *own;
    return status;
}

/* Fills the error of the record that exceeds the limit. */
static int bad_limit_error(const quern__bad_records *r, const quern__bad *bad,
                           const quern_error *last, quern_error *err)
{
    int64_t at = r->most - (r->epoch - bad->count),
            noted = bad->count < QUERN__BAD_KEPT ? bad->count : QUERN__BAD_KEPT;
    const quern_error *e = at < noted ? &bad->places[at] : last ? last : &bad->places[noted - 1];
    int status =
        quern__fail(err, e->code, e->where, "%.300s; more than %lld bad records in an epoch",
                    e->text, (long long)r->most);
    if (*e->hint)
        quern__hint(err, "%s", e->hint);
    return status;
}

int quern__bad_report(quern_generator *g, quern__bad *bad, const quern_error *last,
                      quern_error *err)
{
    quern__bad_records *r = &g->bad;
    if (!bad || !bad->count)
        return QUERN_OK;
    for (int64_t i = 0; i < bad->count && i < QUERN__BAD_KEPT; i++) {
        const quern_error *e = &bad->places[i];
        if (r->all + i < QUERN__BAD_KEPT)
            r->places[r->all + i] = *e;
        if (r->all + i < most_logged)
            quern__warn("%s: %s; the record is %s", e->where, e->text,
                        bad->policy == QUERN_BAD_SKIP ? "skipped" : "substituted");
    }
    r->all += bad->count;
    r->epoch += bad->count;
    int status = r->epoch > r->most ? bad_limit_error(r, bad, last, err) : QUERN_OK;
    bad->count = 0;
    return status;
}

void quern__bad_close(const quern_generator *g)
{
    if (g->bad.all > most_logged)
        quern__warn("%s: %lld bad records were %s in total", g->where ? g->where : "generator",
                    (long long)g->bad.all,
                    g->bad.policy == QUERN_BAD_SKIP ? "skipped" : "substituted");
}
