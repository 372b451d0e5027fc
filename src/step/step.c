/* step: runs a plan on one batch. Each thread walks the list of entries and computes its own
 * blocks. */
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

/* Reports the first output element that is not finite as a fault. */
static void check_finite(const quern__call *c, int64_t begin, int64_t end)
{
    for (int k = 0; k < c->n_out; k++) {
        const quern_tensor *t = &c->out[k];
        quern__part p = quern__call_part(c, &t->shape, begin, end);
        int64_t per =
            t->shape.rank && t->shape.dims[0] ? quern_shape_count(&t->shape) / t->shape.dims[0] : 1;
        for (int64_t o = 0; o < p.outer; o++)
            for (int64_t i = 0, at = o * p.stride + p.start; i < p.length; i++, at++)
                if (!isfinite(quern__get(t, at))) {
                    quern__call_fault(c, QUERN_NUMBER, at / per, quern__get(t, at), 0, c->op->name);
                    return;
                }
    }
}

static int run_block(running *r, quern__entry *e, int64_t begin, int64_t end, double *seconds)
{
    double start = seconds ? quern__now() : 0;
    if (e->gate.data && quern__get(&e->gate, 0) == 0)
        return QUERN_OK;
    int status = e->kernel(&e->call, begin, end);
    if (status >= 0 && r->run->watch)
        check_finite(&e->call, begin, end);
    if (seconds)
        *seconds += quern__now() - start;
    return status;
}

static int64_t axis_length(const quern__entry *e)
{
    return e->call.out[0].shape.dims[e->call.axis];
}

/* The end of the group of calls from `i` on: calls with the same partition and no barrier between.
 * A thread may take each of its blocks through the whole group while the block is in cache, because
 * no call of the group reads another block of the group's outputs (plan/partition.c). */
static int end_of_group(const running *r, int i)
{
    const quern__entry *e = &r->plan->entries[i];
    int end = i + 1;
    while (e->call.axis >= 0 && end < r->plan->n_entries) {
        const quern__entry *next = &r->plan->entries[end];
        if (next->barrier || next->call.axis < 0 || next->grain != e->grain ||
            axis_length(next) != axis_length(e))
            break;
        end++;
    }
    return end;
}

/* Runs this thread's blocks of a group: consecutive blocks, the same in every step. After a failure
 * it still runs the calls before the failed one, because a fault there would be earlier. */
static int run_group(running *r, int first, int end, int thread)
{
    quern__entry *entries = r->plan->entries;
    double *seconds = thread == 0 && r->run->profile ? r->run->profile->seconds : NULL;
    int limit = end;
    if (entries[first].call.axis < 0)
        return thread == 0 ? run_block(r, &entries[first], 0, 0, seconds ? seconds + first : NULL)
                           : QUERN_OK;
    int64_t dim = axis_length(&entries[first]), grain = entries[first].grain,
            blocks = (dim + grain - 1) / grain;
    int64_t threads = r->team->threads, last = blocks * (thread + 1) / threads;
    if (end == first + 1 &&
        !entries[first]
             .call.panel) { /* a single call: its blocks are one run, which reads inputs once */
        int64_t begin = blocks * thread / threads * grain,
                upto = last * grain < dim ? last * grain : dim;
        return begin < upto
                   ? run_block(r, &entries[first], begin, upto, seconds ? seconds + first : NULL)
                   : QUERN_OK;
    }
    for (int64_t b = blocks * thread / threads; b < last; b++)
        for (int i = first; i < limit; i++) {
            int64_t begin = b * grain, upto = begin + grain < dim ? begin + grain : dim;
            if (run_block(r, &entries[i], begin, upto, seconds ? seconds + i : NULL) < 0)
                limit = i;
        }
    return limit < end ? QUERN_INVALID : QUERN_OK;
}

/* Whether a call before entry `i` failed. It is called after a barrier only, where all earlier
 * faults are known. All threads therefore finish the same phase, and the reported fault is the
 * earliest, whatever the thread timing. */
static bool failed_before(running *r, int i)
{
    return __atomic_load_n(&r->fault.code, __ATOMIC_ACQUIRE) &&
           __atomic_load_n(&r->fault.order, __ATOMIC_RELAXED) < i;
}

static void run_entries(void *arg, int thread)
{
    running *r = arg;
    quern__profile *profile = thread == 0 ? r->run->profile : NULL;
    bool skip = false;
    for (int i = 0, end; i < r->plan->n_entries; i = end) {
        double start = profile ? quern__now() : 0;
        if (r->plan->entries[i].barrier) {
            quern__team_barrier(r->team);
            skip = skip || failed_before(r, i);
        }
        if (profile)
            profile->seconds[i] += quern__now() - start;
        end = end_of_group(r, i);
        skip = skip || run_group(r, i, end, thread) < 0;
    }
}

static int report_fault(const running *r, quern_error *err)
{
    const quern__fault *f = &r->fault;
    char where[256];
    snprintf(where, sizeof where, "record %lld of the batch", (long long)f->record);
    if (f->code == QUERN_NUMBER)
        return quern__fail(err, f->code, f->scope, "%s produced %g first, at %s", f->what, f->value,
                           where);
    if (f->code == QUERN_NOTFOUND)
        return quern__fail(err, f->code, where, "%s (%s)", f->what, f->scope);
    return quern__fail(err, f->code, where, "%s %g is outside 0 … %g (%s)", f->what, f->value,
                       f->limit, f->scope);
}

int quern__step(quern__team *team, quern__plan *plan, const quern__step_run *run, quern_error *err)
{
    running r = { .team = team, .plan = plan, .run = run };
    r.shared = (quern__run){ .batch = run->records,
                             .epoch = run->epoch,
                             .first = run->first,
                             .seed = run->seed,
                             .fault = &r.fault };
    quern__plan_batch(plan, run->records);
    quern__plan_bind(plan, run->arena, run->arrays);
    for (int i = 0; i < plan->n_entries; i++)
        plan->entries[i].call.run = &r.shared;
    if (run->profile)
        run->profile->steps++;
    quern__team_run(team, run_entries, &r);
    return r.fault.code ? report_fault(&r, err) : QUERN_OK;
}
