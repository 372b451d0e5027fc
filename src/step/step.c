/* One batch through a plan. */
#include "team.h"

#include <math.h>
#include <stdio.h>

typedef struct running {
    quern__team *team;
    quern__plan *plan;
    const quern__step_run *run;
    quern__run shared;
    quern__fault fault;
} running;

/* The first number of the outputs that is not finite, told as a fault. */
static void watch(const quern__call *c, int64_t begin, int64_t end)
{
    for (int k = 0; k < c->n_out; k++) {
        const quern_tensor *t = &c->out[k];
        quern__part p = quern__call_part(c, &t->shape, begin, end);
        int64_t per = t->shape.rank && t->shape.dims[0] ? quern_shape_count(&t->shape) / t->shape.dims[0] : 1;
        for (int64_t o = 0; o < p.outer; o++)
            for (int64_t i = 0, at = o * p.stride + p.start; i < p.length; i++, at++)
                if (!isfinite(quern__get(t, at))) {
                    quern__call_fault(c, QUERN_NUMBER, at / per, quern__get(t, at), 0, c->op->name);
                    return;
                }
    }
}

/* The blocks of one call that belong to this thread: a run of them, the same in every step. */
static int run_entry(running *r, quern__entry *e, int thread)
{
    quern__call *c = &e->call;
    if (c->axis < 0) {
        int status = thread == 0 ? e->kernel(c, 0, 0) : QUERN_OK;
        if (thread == 0 && r->run->watch)
            watch(c, 0, 0);
        return status;
    }
    int64_t dim = c->out[0].shape.dims[c->axis], blocks = (dim + e->grain - 1) / e->grain, threads = r->team->threads;
    int64_t first = blocks * thread / threads, last = blocks * (thread + 1) / threads;
    for (int64_t b = first; b < last; b++) {
        int64_t begin = b * e->grain, end = begin + e->grain < dim ? begin + e->grain : dim;
        int status = e->kernel(c, begin, end);
        if (status < 0)
            return status; /* its later blocks hold later records */
        if (r->run->watch)
            watch(c, begin, end);
    }
    return QUERN_OK;
}

/* Whether a call before entry `i` failed. Asked only where a barrier makes all of them known, so that every thread finishes the
 * phase in which another one failed, and the earliest record is named whichever thread was quicker. */
static bool failed_before(running *r, int i)
{
    return __atomic_load_n(&r->fault.code, __ATOMIC_ACQUIRE) && __atomic_load_n(&r->fault.order, __ATOMIC_RELAXED) < i;
}

static void work(void *arg, int thread)
{
    running *r = arg;
    quern__profile *profile = thread == 0 ? r->run->profile : NULL;
    bool skip = false;
    for (int i = 0; i < r->plan->n_entries; i++) {
        quern__entry *e = &r->plan->entries[i];
        double start = profile ? quern__now() : 0;
        if (e->barrier) {
            quern__team_barrier(r->team);
            skip = skip || failed_before(r, i);
        }
        skip = skip || run_entry(r, e, thread) < 0;
        if (profile)
            profile->seconds[i] += quern__now() - start;
    }
}

static int tell(const running *r, quern_error *err)
{
    const quern__fault *f = &r->fault;
    char where[256];
    snprintf(where, sizeof where, "record %lld of the batch", (long long)f->record);
    if (f->code == QUERN_NUMBER)
        return quern__fail(err, f->code, f->scope, "%s gave %g first, at %s", f->what, f->value, where);
    if (f->code == QUERN_NOTFOUND)
        return quern__fail(err, f->code, where, "%s (%s)", f->what, f->scope);
    return quern__fail(err, f->code, where, "%s %g is outside 0 … %g (%s)", f->what, f->value, f->limit, f->scope);
}

int quern__step(quern__team *team, quern__plan *plan, const quern__step_run *run, quern_error *err)
{
    running r = { .team = team, .plan = plan, .run = run };
    r.shared =
        (quern__run){ .batch = run->records, .epoch = run->epoch, .first = run->first, .seed = run->seed, .fault = &r.fault };
    quern__plan_batch(plan, run->records);
    quern__plan_bind(plan, run->slab, run->arrays);
    for (int i = 0; i < plan->n_entries; i++)
        plan->entries[i].call.run = &r.shared;
    if (run->profile)
        run->profile->steps++;
    quern__team_run(team, work, &r);
    return r.fault.code ? tell(&r, err) : QUERN_OK;
}
